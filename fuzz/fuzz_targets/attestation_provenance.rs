//! SLSA provenance in all its forms: what is read names a builder.
#![no_main]

use countersign_attestation::predicate::provenance::{Provenance, types};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in types() {
        let Ok(read) = Provenance::from_json(kind, text) else { continue };
        assert!(!read.builder.id.trim().is_empty());
    }
});
