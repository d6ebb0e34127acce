//! Verification summaries: the seven steps, the words of levels, who may sign, and that what is written is read.

use countersign_attestation::predicate::levels::Word;
use countersign_attestation::statement::Subject as Named;
use countersign_bundle::{Bundle, Content, KeyMaterial};
use countersign_crypto::{HashAlgorithm, KeyType, Signer as _, ecdsa};
use countersign_slsa::summary::{self, Author, Expected, Signers, Summary, verify_summary, write_summary};
use countersign_slsa::{Report, wire};
use countersign_verify::revocation::{Entry, Revocation, RevocationList, Revocations, Target};
use countersign_verify::{Identity, Reason};
use serde_json::{Value, json};

use crate::world::*;

const VERIFIER: &str = "https://verifier.example/v1";
const RESOURCE: &str = "pkg:generic/shop@1.2.3";

fn vsa() -> Value {
    statement(
        "https://slsa.dev/verification_summary/v1",
        json!({ "verifier": { "id": VERIFIER },
        "timeVerified": "2023-11-14T22:13:20Z", "resourceUri": RESOURCE, "policy": { "uri": "https://policy.example" },
        "verificationResult": "PASSED", "slsaVersion": "1.2",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_UNEVALUATED", "SLSA_BUILD_REPRODUCED", "FEDRAMP_LOW"] }),
    )
}

fn sha256() -> (String, String) {
    ("sha256".into(), HashAlgorithm::Sha256.digest(ARTIFACT).to_hex())
}

fn expected() -> Expected {
    Expected {
        digests: vec![sha256()],
        verifier: VERIFIER.into(),
        resource: RESOURCE.into(),
        levels: vec![Word::parse("SLSA_BUILD_LEVEL_2").unwrap()],
        allow_unlogged: false,
        without_sct: false,
    }
}

fn judge(world: &World, bundle: &Bundle, expected: &Expected) -> Option<Reason> {
    let report = report(world, bundle, expected);
    report.verified().err().map(|refusal| refusal.reason)
}

fn report(world: &World, bundle: &Bundle, expected: &Expected) -> Report<Summary> {
    let signers = Signers::Keys(vec![world.signing.public_key().clone()]);
    verify_summary(&[piece(bundle)], &signers, expected, &world.material(), now()).unwrap()
}

#[test]
fn a_summary_by_key_and_one_by_identity_hold() {
    let world = World::new();
    assert_eq!(judge(&world, &world.sign(&Who::Key, &vsa()), &expected()), None);
    let bundle = world.sign(&workflow(WORKFLOW), &vsa());
    let by = |issuer: &str| Signers::Identities(vec![Identity::exact(WORKFLOW, issuer).unwrap()]);
    let judge = |signers: &Signers| {
        let report =
            verify_summary(&[piece(&bundle)], signers, &expected(), &world.material(), now()).unwrap();
        report.verified().map(|summary| summary.vsa.level("BUILD")).map_err(|refusal| refusal.reason)
    };
    assert_eq!(judge(&by(GITHUB)), Ok(Some(3)));
    assert_eq!(judge(&by("https://other.example")), Err(Reason::IssuerMismatch));
    let nobody =
        verify_summary(&[piece(&bundle)], &Signers::Keys(vec![]), &expected(), &world.material(), now());
    assert!(nobody.is_err());
}

#[test]
fn each_of_the_seven_steps_alone_makes_the_answer_no() {
    let world = World::new();
    let of = |statement: &Value| judge(&world, &world.sign(&Who::Key, statement), &expected());
    // 1: the signature.
    assert!(judge(&World::new(), &world.sign(&Who::Key, &vsa()), &expected()).is_some());
    // 2: the subject.
    let other = json!([{ "name": "x", "digest": { "sha256": "00" } }]);
    assert_eq!(of(&with(vsa(), "/subject", other)), Some(Reason::SubjectMismatch));
    // 3: the type.
    assert_eq!(of(&with(vsa(), "/predicateType", V1)), Some(Reason::PredicateTypeMismatch));
    // 4: the verifier, which goes with the key.
    assert_eq!(
        of(&with(vsa(), "/predicate/verifier/id", "https://verifier.example/v11")),
        Some(Reason::VerifierMismatch)
    );
    // 5: the resource.
    assert_eq!(
        of(&with(vsa(), "/predicate/resourceUri", "pkg:generic/shop@1.2.30")),
        Some(Reason::ResourceMismatch)
    );
    // 6: that it passed.
    assert_eq!(of(&with(vsa(), "/predicate/verificationResult", "FAILED")), Some(Reason::SummaryFailed));
    // 7: the levels.
    assert_eq!(
        of(&with(vsa(), "/predicate/verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"]))),
        Some(Reason::LevelTooLow)
    );
    assert_eq!(of(&with(vsa(), "/predicate/verifiedLevels", json!([]))), Some(Reason::LevelTooLow));
    assert_eq!(of(&with(vsa(), "/predicate", Value::Null)), Some(Reason::SummaryMalformed));
}

#[test]
fn a_summary_of_an_artifact_that_was_revoked_is_refused() {
    let world = World::new();
    let bundle = world.sign(&Who::Key, &vsa());
    let judge = |artifact: &[u8]| {
        let target = Target::Digest(HashAlgorithm::Sha256.digest(artifact).to_string());
        let entry = Entry {
            id: 1,
            revoke: Some(Revocation { target, since: None, until: None, expires: None }),
            undo: None,
            reason: "it holds a stolen key".into(),
            by: "bob@example.com".into(),
            at: now(),
        };
        let expires = now() + jiff::SignedDuration::from_hours(1);
        let list = RevocationList { number: 1, issued_at: now(), expires, entries: vec![entry] };
        let list = Revocations::read(&list.to_json().unwrap(), "test").unwrap();
        let material = world.material().with_revocations(list.into());
        let signers = Signers::Keys(vec![world.signing.public_key().clone()]);
        let report = verify_summary(&[piece(&bundle)], &signers, &expected(), &material, now()).unwrap();
        report.verified().err().map(|refusal| refusal.reason)
    };
    assert_eq!(judge(b"another"), None);
    assert_eq!(judge(ARTIFACT), Some(Reason::Revoked));
}

#[test]
fn words_of_slsa_that_are_no_numbers_are_read() {
    let world = World::new();
    let bundle = world.sign(&Who::Key, &vsa());
    let ask = |word: &str| {
        judge(&world, &bundle, &Expected { levels: vec![Word::parse(word).unwrap()], ..expected() })
    };
    for has in ["SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_1", "SLSA_BUILD_REPRODUCED", "FEDRAMP_LOW"] {
        assert_eq!(ask(has), None, "{has}");
    }
    for lacks in ["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_TWO_PARTY_REVIEWED", "FEDRAMP_HIGH", "FEDRAMP_LO"] {
        assert_eq!(ask(lacks), Some(Reason::LevelTooLow), "{lacks}");
    }
    assert_eq!(judge(&world, &bundle, &Expected { levels: vec![], ..expected() }), None);
}

#[test]
fn all_digests_are_of_one_subject() {
    let world = World::new();
    let other = ("gce_image_id".to_owned(), "42".to_owned());
    let ask = |subjects: Value| {
        let bundle = world.sign(&Who::Key, &with(vsa(), "/subject", subjects));
        judge(&world, &bundle, &Expected { digests: vec![sha256(), other.clone()], ..expected() })
    };
    let hex = sha256().1;
    assert_eq!(ask(json!([{ "digest": { "sha256": hex, "gce_image_id": "42" } }])), None);
    let apart = json!([{ "digest": { "sha256": hex } }, { "digest": { "gce_image_id": "42" } }]);
    assert_eq!(ask(apart), Some(Reason::SubjectMismatch));
    let none = Expected { digests: vec![], ..expected() };
    assert_eq!(
        judge(&world, &world.sign(&Who::Key, &vsa()), &none),
        Some(Reason::SubjectMismatch),
        "about nothing is about nothing"
    );
    let only = json!([{ "digest": { "gce_image_id": "42" } }]);
    let bundle = world.sign(&Who::Key, &with(vsa(), "/subject", only));
    assert_eq!(
        judge(&world, &bundle, &Expected { digests: vec![other], ..expected() }),
        None,
        "a digest of its own kind"
    );
}

#[test]
fn signatures_of_two_bare_numbers_are_read_and_short_ones_are_errors() {
    let world = World::new();
    let envelope = world.envelope(vsa().to_string().as_bytes());
    let fixed = ecdsa::fixed_from_der(KeyType::EcdsaP256, &envelope.signatures[0].sig).unwrap();
    let unlogged = Expected { allow_unlogged: true, ..expected() };
    let with = |sig: Vec<u8>| {
        let mut envelope = envelope.clone();
        envelope.signatures[0].sig = sig;
        let pieces = wire::read(&envelope.to_json()).unwrap();
        match &pieces[0].bundle {
            Ok(bundle) => judge(&world, bundle, &unlogged),
            Err(_) => Some(Reason::BundleMalformed),
        }
    };
    assert_eq!(with(envelope.signatures[0].sig.clone()), None);
    assert_eq!(with(fixed.clone()), None);
    for length in [0, 1, 31, 32, 33, 63, 65] {
        let mut short = fixed.clone();
        short.resize(length, 1);
        assert!(with(short).is_some(), "{length}");
    }
    assert_eq!(with(vec![0; 64]), Some(Reason::NoKeyVerifies));
    let logged =
        judge(&world, wire::read(&envelope.to_json()).unwrap()[0].bundle.as_ref().unwrap(), &expected());
    assert_eq!(logged, Some(Reason::NoLogEntry), "no log entry is accepted only when that is said");
}

#[test]
fn what_is_written_is_read_and_a_failure_is_no_success() {
    let world = World::new();
    let report = world.judge(&[world.sign(&workflow(GENERATOR), &generic())], &public(), &from_shop());
    let build = report.verified().unwrap();
    let author = Author {
        verifier: VERIFIER.into(),
        version: "1".into(),
        resource: RESOURCE.into(),
        policy: ("https://policy.example".into(), Some(HashAlgorithm::Sha256.digest(b"policy"))),
    };
    let subjects = || vec![Named::of("shop.tar", &HashAlgorithm::Sha256.digest(ARTIFACT))];
    let sign = |statement: countersign_attestation::Statement| {
        let value: Value = serde_json::from_slice(&statement.to_json().unwrap()).unwrap();
        world.sign(&Who::Key, &value)
    };
    let passed = sign(write_summary(subjects(), Some(build), &author, now()).unwrap());
    let wanted = Expected { levels: vec![Word::parse("SLSA_BUILD_LEVEL_3").unwrap()], ..expected() };
    assert_eq!(judge(&world, &passed, &wanted), None);
    let failed = sign(write_summary(subjects(), None, &author, now()).unwrap());
    let any = Expected { levels: vec![], ..expected() };
    assert_eq!(judge(&world, &failed, &any), Some(Reason::SummaryFailed));
    assert!(write_summary(vec![], Some(build), &author, now()).is_err(), "about nothing");
    assert!(
        write_summary(subjects(), Some(build), &Author { resource: String::new(), ..author.clone() }, now())
            .is_err()
    );
    assert_eq!(summary::digest("sha256:00"), Ok(("sha256".into(), "00".into())));
    for bad in ["sha256", "sha256:", ":00", ""] {
        assert!(summary::digest(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_summary_is_of_its_own_payload_type_or_the_usual_one() {
    let world = World::new();
    let mut bundle = world.sign(&Who::Key, &vsa());
    let Content::Dsse(envelope) = &mut bundle.content else { unreachable!("an envelope") };
    envelope.payload_type = "text/plain".into();
    envelope.signatures[0].sig = world.signing.sign(&envelope.pae()).unwrap();
    bundle.verification_material.tlog_entries.clear();
    bundle.verification_material.rfc3161_timestamps.clear();
    bundle.version = countersign_bundle::BundleVersion::Legacy;
    let unlogged = Expected { allow_unlogged: true, ..expected() };
    assert_eq!(judge(&world, &bundle, &unlogged), Some(Reason::PayloadType));
    let Content::Dsse(envelope) = &mut bundle.content else { unreachable!("an envelope") };
    envelope.payload_type = "application/vnd.in-toto.vsa+json".into();
    envelope.signatures[0].sig = world.signing.sign(&envelope.pae()).unwrap();
    assert_eq!(judge(&world, &bundle, &unlogged), None);
    assert!(matches!(bundle.verification_material.content, KeyMaterial::PublicKeyHint(_)));
}
