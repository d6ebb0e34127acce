//! Vulnerability scans: every form of them, and what scanners wrote into them. What is found has a name.
#![no_main]

use countersign_attestation::predicate::vulnerabilities::{TYPES, VulnerabilityScan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in TYPES {
        let Ok(scan) = VulnerabilityScan::from_json(kind, text) else { continue };
        assert!(scan.findings.iter().flatten().all(|finding| !finding.id.is_empty()));
    }
});
