//! Package URLs: what is read is the same after writing and reading again, and covers itself.
#![no_main]

use countersign_attestation::purl::Purl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(purl) = Purl::parse(text) else { return };
    assert!(purl.covers(&purl));
    assert_eq!(Purl::parse(&purl.to_string()), Some(purl));
});
