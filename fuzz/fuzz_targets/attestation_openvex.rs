//! OpenVEX documents, and their statements against an image and its findings: what clears a vulnerability says why.
#![no_main]

use countersign_attestation::predicate::openvex::{OpenVex, Status};
use countersign_attestation::predicate::triage::{Image, Triage};
use countersign_attestation::predicate::vulnerabilities::{Finding, Package};
use countersign_crypto::HashAlgorithm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = OpenVex::from_json(text) else { return };
    let digest = HashAlgorithm::Sha256.digest(b"a manifest");
    let image = Image { digest: &digest, repository: "registry.example/shop" };
    let documents = [document];
    let triage = Triage::of(image, &[], &documents);
    for statement in documents.iter().flat_map(|document| &document.statements) {
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
        // Without a product, it is about whatever the document is attached to.
        let held = triage.held(&finding).map(|held| held.statement);
        assert!(!statement.products.is_empty() || held.is_some_and(|held| held.time >= statement.time));
    }
});
