//! `WWW-Authenticate`: read without a panic, within bounds.
#![no_main]

use countersign_registry::auth::parse_challenges;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = parse_challenges(text);
    assert!(found.len() <= text.len());
    for challenge in found {
        assert!(!challenge.scheme.is_empty());
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        assert!(challenge.parameters.keys().all(|name| !name.is_empty()));
    }
});
