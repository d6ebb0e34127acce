//! Bills of materials in all their forms: the digests they give are digests.
#![no_main]

use countersign_attestation::predicate::sbom::Sbom;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in ["https://spdx.dev/Document", "https://cyclonedx.org/bom"] {
        let Ok(read) = Sbom::from_json(kind, text) else { continue };
        assert!(read.missing().iter().all(|one| one.examples.len() <= one.count));
        assert!(read.digests.iter().all(|digest| digest.len() == 71 && digest.starts_with("sha256:")));
    }
});
