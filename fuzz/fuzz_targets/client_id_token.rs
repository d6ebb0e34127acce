//! A token that a CI system, a file or a person gives: what it says of whom it names.
#![no_main]

use countersign_client::oidc::IdToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = IdToken::parse(text) {
        let _ = token.subject();
        let _ = token.has_audience("sigstore");
        assert_eq!(token.secret(), text.trim());
    }
});
