//! What an assessment reads of signed statements: self-assessments, source provenance, summaries.
#![no_main]

use countersign_slsa::assess::Assertion;
use countersign_slsa::source::record::SOURCE_TYPES;
use countersign_slsa::source::{Control, SourceRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(assertion) = Assertion::from_json(text, "somebody", "00") {
        assert!(assertion.made < assertion.until && !assertion.rows.is_empty());
    }
    for kind in SOURCE_TYPES.into_iter().chain(["https://slsa.dev/verification_summary/v1"]) {
        if let Ok(Some(record)) = SourceRecord::from_json(kind, text, "somebody", "00") {
            assert!(record.level() <= 4);
            for control in Control::ALL {
                let _ = record.since(control);
            }
        }
    }
});
