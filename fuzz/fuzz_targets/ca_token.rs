//! Identity tokens before anything is known about them: whatever is taken apart has three parts.
#![no_main]

use countersign_ca::oidc::{MAX_TOKEN_BYTES, parse_unverified};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = std::str::from_utf8(data)
        && parse_unverified(token).is_ok()
    {
        assert_eq!(token.matches('.').count(), 2);
        assert!(token.len() <= MAX_TOKEN_BYTES);
    }
});
