//! OpenVEX documents, and their statements against an image and its findings: what clears a vulnerability says why.
#![no_main]

use countersign_attestation::predicate::openvex::{OpenVex, Status};
use countersign_attestation::predicate::triage::{Image, latest};
use countersign_attestation::predicate::vulnerabilities::{Finding, Package};
use countersign_crypto::HashAlgorithm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = OpenVex::from_json(text) else { return };
    let digest = HashAlgorithm::Sha256.digest(b"a manifest");
    let image = Image { digest: &digest, repository: "registry.example/shop" };
    for statement in &document.statements {
        let named = !statement.vulnerability.is_empty();
        let why = statement.justification.is_some() || !statement.words.is_empty();
        assert!(named && (statement.status != Status::NotAffected || why));
        let finding = Finding {
            id: statement.vulnerability[0].clone(),
            aliases: Vec::new(),
            package: Package::default(),
            severity: None,
            fixed: Vec::new(),
        };
        let about =
            document.statements.iter().filter(|other| other.is_of(&image, &finding)).map(|other| (other, ()));
        let last = latest(about).map(|(last, ())| last.time);
        assert!(!statement.is_of(&image, &finding) || last >= Some(statement.time));
    }
});
