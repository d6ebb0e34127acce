//! SLSA provenance in all its forms: what is read names a builder, and what is written as v1 is read as the same source.
#![no_main]

use countersign_attestation::predicate::provenance::{Provenance, types};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in types() {
        let Ok(read) = Provenance::from_json(kind, text) else { continue };
        assert!(!read.builder.id.trim().is_empty());
        let Ok(written) = read.to_v1() else { continue };
        let again = Provenance::from_json(types()[0], written.get()).expect("what was written can be read");
        assert_eq!(
            (&again.builder, &again.build_type, again.started),
            (&read.builder, &read.build_type, read.started)
        );
    }
});
