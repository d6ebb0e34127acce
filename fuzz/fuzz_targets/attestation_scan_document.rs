//! Reports of scanners as files: those findings are taken away that were named, and no others.
#![no_main]

use countersign_attestation::predicate::scan_document::ScanDocument;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(read) = ScanDocument::read(text) else { return };
    let ids = |scan: &ScanDocument| scan.findings.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let mut own = ids(&read);
    // A document whose places do not fit its findings is refused.
    let Ok(left) = read.clone().without(&[0].into()) else { return };
    let left = ScanDocument::read(&left).expect("what is left is a report");
    if !own.is_empty() {
        own.remove(0);
    }
    assert_eq!(ids(&left), own);
});
