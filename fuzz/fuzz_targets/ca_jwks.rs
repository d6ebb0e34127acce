//! Key sets of issuers: one that is read has keys, and not too many.
#![no_main]

use countersign_ca::oidc::{JwkSet, MAX_KEYS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(set) = JwkSet::parse(data) {
        assert!((1..=MAX_KEYS).contains(&set.len()));
    }
});
