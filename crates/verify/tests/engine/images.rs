//! Images: cosign's older forms beside bundles, what is signed along with an image, and several signatures of one.
//! Names that begin with v and a number are rows of the list of past mistakes of verifiers.

use crate::common::{ARTIFACT, ISSUER, NAME, PREDICATE_TYPE, T, World, alice, at, reason, subject, window};
use countersign_attestation::dsse::{IN_TOTO_PAYLOAD_TYPE, Signature};
use countersign_attestation::{Envelope, SimpleSigning};
use countersign_bundle::{
    Bundle, BundleVersion, Content, KeyMaterial, TlogEntry, VerificationMaterial, legacy,
};
use countersign_crypto::{Digest, HashAlgorithm, KeyPair, KeyType, Signer as _, encoding};
use countersign_verify::{
    CheckName, Identity, Keys, Matcher, Payload, Reason, Report, Requirements, RequirementsBuilder,
    SIGN_PREDICATE_TYPE, Subject, TrustMaterial, nearest, verify, verify_each,
};

fn image() -> Digest {
    HashAlgorithm::Sha256.digest(ARTIFACT)
}

fn judge(world: &World, bundle: &Bundle, requirements: &Requirements) -> Report {
    let subject = Subject::from_digest(image());
    verify(&subject, bundle, &world.material(), requirements, at(T + 3600))
}

fn expect(world: &World, bundle: &Bundle, requirements: &Requirements, expected: Option<Reason>) {
    let report = judge(world, bundle, requirements);
    assert_eq!(reason(&report), expected, "{:?}", report.verified().err());
}

fn payload(digest: Digest, annotations: &[(&str, &str)]) -> Vec<u8> {
    let optional = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    SimpleSigning { docker_reference: "r.example/app".into(), digest, optional }.to_json().unwrap()
}

/// Who signs in the older forms.
#[derive(Clone, Copy)]
enum By {
    Certificate,
    Key,
}

fn material(world: &World, by: By) -> (KeyMaterial, String) {
    match by {
        By::Certificate => {
            let der = world.certificate(&[0]);
            let pem = encoding::pem_encode("CERTIFICATE", &der);
            (KeyMaterial::CertificateChain(vec![der]), pem)
        }
        By::Key => (KeyMaterial::PublicKeyHint(String::new()), world.signing.public_key().to_pem()),
    }
}

/// An entry of Rekor v1 with the log's promise, as cosign kept it.
fn promised(world: &World, body: String) -> TlogEntry {
    promised_by(&world.logs[0], T, world, body)
}

fn promised_by(log: &KeyPair, time: i64, world: &World, body: String) -> TlogEntry {
    let log_id = world.root.tlogs[0].log_id.clone();
    let signed = format!(
        "{{\"body\":\"{}\",\"integratedTime\":{time},\"logID\":\"{}\",\"logIndex\":5}}",
        encoding::base64_encode(body.as_bytes()),
        encoding::hex_encode(&log_id)
    );
    let head: serde_json::Value = serde_json::from_str(&body).unwrap();
    TlogEntry {
        log_index: 5,
        log_id,
        kind: head["kind"].as_str().unwrap().into(),
        version: head["apiVersion"].as_str().unwrap().into(),
        integrated_time: Some(time),
        inclusion_promise: Some(log.sign(signed.as_bytes()).unwrap()),
        inclusion_proof: None,
        canonicalized_body: body.into_bytes(),
    }
}

pub(crate) fn hashed_rekord(signed: &[u8], signature: &[u8], pem: &str) -> String {
    let b64 = encoding::base64_encode;
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{}"}}}},"signature":{{"content":"{}","publicKey":{{"content":"{}"}}}}}}}}"#,
        HashAlgorithm::Sha256.digest(signed).to_hex(),
        b64(signature),
        b64(pem.as_bytes())
    )
}

/// A simple signature over this payload, as a layer of a `.sig` manifest has it.
fn simple(world: &World, by: By, payload: &[u8]) -> Bundle {
    let (content, pem) = material(world, by);
    let signature = world.signing.sign(payload).unwrap();
    let entry = promised(world, hashed_rekord(payload, &signature, &pem));
    Bundle {
        version: BundleVersion::Legacy,
        verification_material: VerificationMaterial {
            content,
            tlog_entries: vec![entry],
            rfc3161_timestamps: vec![],
        },
        content: Content::SimpleSigning { payload: payload.to_vec(), signature },
    }
}

/// A statement, as a layer of an `.att` manifest has it.
fn stored(world: &World, by: By, payload_type: &str, payload: &str) -> Bundle {
    let (content, pem) = material(world, by);
    let mut envelope = Envelope {
        payload_type: payload_type.into(),
        payload: payload.as_bytes().to_vec(),
        signatures: vec![],
    };
    let sig = world.signing.sign(&envelope.pae()).unwrap();
    envelope.signatures.push(Signature { sig: sig.clone(), keyid: String::new() });
    let b64 = encoding::base64_encode;
    let body = format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{{"algorithm":"sha256","value":"{0}"}},"payloadHash":{{"algorithm":"sha256","value":"{0}"}},"signatures":[{{"signature":"{1}","verifier":"{2}"}}]}}}}"#,
        HashAlgorithm::Sha256.digest(payload.as_bytes()).to_hex(),
        b64(&sig),
        b64(pem.as_bytes())
    );
    let text = envelope.to_json();
    Bundle {
        version: BundleVersion::Legacy,
        verification_material: VerificationMaterial {
            content,
            tlog_entries: vec![promised(world, body)],
            rfc3161_timestamps: vec![],
        },
        content: Content::StoredDsse { envelope, text },
    }
}

fn statement(subjects: &str, kind: &str) -> String {
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subjects},"predicateType":"{kind}","predicate":{{}}}}"#
    )
}

fn by_key(world: &World) -> RequirementsBuilder<Keys> {
    Requirements::builder().key(world.signing.public_key().clone())
}

fn requirements(world: &World, by: By) -> Requirements {
    match by {
        By::Certificate => alice().build(),
        By::Key => by_key(world).build(),
    }
}

#[test]
fn cosigns_older_forms_are_verified_by_certificate_and_by_key() {
    let world = World::new();
    for by in [By::Certificate, By::Key] {
        let signed = simple(&world, by, &payload(image(), &[("commit", "abc")]));
        let report = judge(&world, &signed, &requirements(&world, by));
        let verified = report.into_verified().unwrap();
        assert_eq!(*verified.digest(), image());
        assert_eq!(verified.annotations().unwrap()["commit"], "abc");
        assert_eq!(verified.times()[0].time, at(T));
        let Payload::SimpleSigning { bytes, .. } = verified.value() else { panic!() };
        assert_eq!(*bytes, payload(image(), &[("commit", "abc")]));

        let attested = stored(&world, by, IN_TOTO_PAYLOAD_TYPE, &statement(&subject(), PREDICATE_TYPE));
        let verified = judge(&world, &attested, &requirements(&world, by)).into_verified().unwrap();
        assert_eq!(verified.statement().unwrap().predicate_type, PREDICATE_TYPE);
        assert_eq!(verified.annotations().unwrap()["k"], "v");
    }
}

#[test]
fn the_annotations_of_a_layer_and_the_bundle_say_the_same() {
    let world = World::new();
    for by in [By::Certificate, By::Key] {
        let payload = payload(image(), &[]);
        let mut signed = simple(&world, by, &payload);
        let token = world.tsa[0].stamp(signed.content.signature(), T);
        signed.verification_material.rfc3161_timestamps.push(token);
        let annotations = legacy::to_annotations(&signed, &[]);
        assert_eq!(legacy::from_signature_layer(&payload, &annotations).unwrap(), signed);
        expect(&world, &signed, &requirements(&world, by), None);

        let attested = stored(&world, by, IN_TOTO_PAYLOAD_TYPE, &statement(&subject(), PREDICATE_TYPE));
        let Content::StoredDsse { text, .. } = &attested.content else { panic!() };
        let annotations = legacy::to_annotations(&attested, &[]);
        assert_eq!(legacy::from_attestation_layer(text, &annotations).unwrap(), attested);
    }
}

#[test]
fn a_signature_of_another_image_and_a_payload_that_is_none_are_refused() {
    let world = World::new();
    let other = HashAlgorithm::Sha256.digest(b"another image");
    let signed = simple(&world, By::Certificate, &payload(other, &[]));
    expect(&world, &signed, &alice().build(), Some(Reason::SubjectMismatch));
    let junk = simple(&world, By::Certificate, b"{\"critical\":null}");
    expect(&world, &junk, &alice().build(), Some(Reason::StatementMalformed));
    let mut changed = simple(&world, By::Certificate, &payload(other, &[]));
    let Content::SimpleSigning { payload: bytes, .. } = &mut changed.content else { panic!() };
    *bytes = payload(image(), &[]);
    expect(&world, &changed, &alice().build(), Some(Reason::EntryDigestMismatch));
    changed.verification_material.tlog_entries.clear();
    let token = world.tsa[0].stamp(changed.content.signature(), T);
    changed.verification_material.rfc3161_timestamps.push(token);
    let unlogged = alice().dangerous_without_log().build();
    expect(&world, &changed, &unlogged, Some(Reason::SignatureInvalid));
}

#[test]
fn v01_the_entry_of_another_signature_by_the_same_signer_is_refused() {
    let world = World::new();
    for by in [By::Certificate, By::Key] {
        let mut signed = simple(&world, by, &payload(image(), &[("a", "1")]));
        let other = simple(&world, by, &payload(image(), &[("a", "2")]));
        signed.verification_material.tlog_entries = other.verification_material.tlog_entries;
        if matches!(by, By::Certificate) {
            signed.verification_material.content = other.verification_material.content;
        }
        expect(&world, &signed, &requirements(&world, by), Some(Reason::EntrySignatureMismatch));
    }
}

#[test]
fn v02_another_kind_of_statement_does_not_stand_in_for_the_one_asked_for() {
    let world = World::new();
    let wanted = "https://slsa.dev/provenance/v1";
    let by_type = alice().predicate_type(wanted).unwrap().build();
    let text = statement(&subject(), PREDICATE_TYPE);
    let evidence = [
        world.attested(&subject()),
        stored(&world, By::Certificate, IN_TOTO_PAYLOAD_TYPE, &text),
        simple(&world, By::Certificate, &payload(image(), &[])),
    ];
    let reports =
        verify_each(&Subject::from_digest(image()), &evidence, &world.material(), &by_type, at(T + 1));
    assert!(reports.iter().all(|r| reason(r) == Some(Reason::PredicateTypeMismatch)));
    assert_eq!(nearest(&reports).unwrap().exit_code(), 4);
    let right = stored(&world, By::Certificate, IN_TOTO_PAYLOAD_TYPE, &statement(&subject(), wanted));
    expect(&world, &right, &by_type, None);
}

#[test]
fn v05_an_authentic_unrelated_entry_is_refused_in_all_eight_combinations() {
    let world = World::new();
    for by in [By::Certificate, By::Key] {
        let older = simple(&world, by, &payload(image(), &[]));
        let newer = match by {
            By::Certificate => world.signed(),
            By::Key => world.signed_by_key(),
        };
        for (mut bundle, expected) in
            [(older, Reason::EntrySignatureMismatch), (newer, Reason::EntrySignatureMismatch)]
        {
            // The entry is in the log, and of something else.
            let stranger = KeyPair::generate(KeyType::EcdsaP256).unwrap();
            let signature = stranger.sign(b"unrelated").unwrap();
            let body = hashed_rekord(b"unrelated", &signature, &stranger.public_key().to_pem());
            let mut entry = promised(&world, body);
            if bundle.version != BundleVersion::Legacy {
                bundle.version = BundleVersion::V0_1;
            }
            std::mem::swap(&mut bundle.verification_material.tlog_entries[0], &mut entry);
            expect(&world, &bundle, &requirements(&world, by), Some(expected));
            // With nobody in the trust root, and not even a log asked for.
            let lenient = match by {
                By::Certificate => {
                    alice().dangerous_without_log().dangerous_without_sct().dangerous_now_as_time().build()
                }
                By::Key => by_key(&world).dangerous_without_log().build(),
            };
            let subject = Subject::from_digest(image());
            let report = verify(&subject, &bundle, &TrustMaterial::empty(), &lenient, at(T + 1));
            assert!(report.verified().is_err());
            let binding = report.checks().iter().find(|c| c.reason == Some(Reason::EntrySignatureMismatch));
            assert!(binding.is_some(), "compared even where no log is trusted");
        }
    }
}

#[test]
fn v07_a_payload_that_is_no_statement_and_another_type_are_refused_in_the_older_form_too() {
    let world = World::new();
    let by_type = alice().predicate_type(PREDICATE_TYPE).unwrap().build();
    for (payload_type, payload, expected) in [
        (IN_TOTO_PAYLOAD_TYPE, "hello".to_owned(), Reason::StatementMalformed),
        ("text/plain", statement(&subject(), PREDICATE_TYPE), Reason::PayloadType),
        (IN_TOTO_PAYLOAD_TYPE, statement(&subject(), "https://other.example"), Reason::PredicateTypeMismatch),
    ] {
        expect(&world, &stored(&world, By::Certificate, payload_type, &payload), &by_type, Some(expected));
    }
}

#[test]
fn a_payload_type_that_names_a_predicate_is_taken_and_not_believed() {
    let world = World::new();
    let by_type = alice().predicate_type(PREDICATE_TYPE).unwrap().build();
    let named = "application/vnd.in-toto.provenance+json";
    let signed = |kind: &str| stored(&world, By::Certificate, named, &statement(&subject(), kind));
    expect(&world, &signed(PREDICATE_TYPE), &by_type, None);
    expect(&world, &signed("https://other.example"), &by_type, Some(Reason::PredicateTypeMismatch));
}

#[test]
fn v08_null_subjects_name_no_image() {
    let world = World::new();
    for subjects in ["[null]", "null", "[]"] {
        let attested =
            stored(&world, By::Key, IN_TOTO_PAYLOAD_TYPE, &statement(subjects, SIGN_PREDICATE_TYPE));
        expect(&world, &attested, &by_key(&world).build(), Some(Reason::SubjectMismatch));
    }
}

#[test]
fn v13_a_promise_that_is_there_is_checked_even_when_no_log_is_asked_for() {
    let world = World::new();
    let lenient = by_key(&world).dangerous_without_log().build();
    let mut signed = simple(&world, By::Key, &payload(image(), &[]));
    expect(&world, &signed, &lenient, None);
    signed.verification_material.tlog_entries[0].integrated_time = Some(T + 1);
    expect(&world, &signed, &lenient, Some(Reason::PromiseInvalid));
    signed.verification_material.tlog_entries[0].log_id = vec![9; 32];
    expect(&world, &signed, &lenient, Some(Reason::LogUntrusted));
}

#[test]
fn each_annotation_alone_makes_the_answer_no_in_both_forms() {
    let world = World::new();
    let older = simple(&world, By::Certificate, &payload(image(), &[("k", "v")]));
    let newer = world.attested(&subject());
    for bundle in [&older, &newer] {
        for (key, value, expected) in [
            ("k", "v", None),
            ("k", "w", Some(Reason::AnnotationMismatch)),
            ("l", "v", Some(Reason::AnnotationMismatch)),
        ] {
            expect(&world, bundle, &alice().annotation(key, value).unwrap().build(), expected);
        }
    }
    let plain = alice().annotation("k", "v").unwrap().build();
    expect(&world, &world.signed(), &plain, Some(Reason::AnnotationMismatch));
    let number = simple(&world, By::Certificate, &{
        let text = String::from_utf8(payload(image(), &[("k", "1")])).unwrap();
        text.replace("\"1\"", "1").into_bytes()
    });
    let one = alice().annotation("k", "1").unwrap().build();
    expect(&world, &number, &one, Some(Reason::AnnotationMismatch));
}

#[test]
fn signer_and_annotations_must_be_of_one_and_the_same_signature() {
    let world = World::new();
    let other = World::new();
    let mut foreign = simple(&other, By::Key, &payload(image(), &[("reviewed", "yes")]));
    foreign.verification_material.tlog_entries.clear();
    let mut own = simple(&world, By::Key, &payload(image(), &[]));
    own.verification_material.tlog_entries.clear();
    let wanted = by_key(&world).dangerous_without_log().annotation("reviewed", "yes").unwrap().build();
    let subject = Subject::from_digest(image());
    let evidence = [foreign, own];
    let reports = verify_each(&subject, &evidence, &world.material(), &wanted, at(T + 1));
    assert!(reports.iter().all(|r| r.verified().is_err()), "one has the signer, the other the annotation");
    assert_eq!(nearest(&reports).unwrap().exit_code(), 4);
    let mut both = simple(&world, By::Key, &payload(image(), &[("reviewed", "yes")]));
    both.verification_material.tlog_entries.clear();
    let evidence = [evidence[0].clone(), both];
    let reports = verify_each(&subject, &evidence, &world.material(), &wanted, at(T + 1));
    assert!(nearest(&reports).unwrap().verified().is_ok());
    assert!(nearest(&[]).is_none());
}

#[test]
fn a_statement_about_an_image_is_no_signature_of_it() {
    let world = World::new();
    let signature = alice().signature_of_artifact().build();
    expect(&world, &world.attested(&subject()), &signature, Some(Reason::PredicateTypeMismatch));
    let text = statement(&subject(), SIGN_PREDICATE_TYPE);
    expect(&world, &world.enveloped(IN_TOTO_PAYLOAD_TYPE, text.as_bytes()), &signature, None);
    expect(&world, &simple(&world, By::Certificate, &payload(image(), &[])), &signature, None);
    expect(&world, &world.signed(), &signature, None);
}

/// The same by the key, once with and once without its log entry.
fn by_key_logged_and_not(world: &World, spoil: impl Fn(&mut Bundle)) -> [Bundle; 2] {
    let mut logged = simple(world, By::Key, &payload(image(), &[]));
    spoil(&mut logged);
    let mut unlogged = logged.clone();
    unlogged.verification_material.tlog_entries.clear();
    [logged, unlogged]
}

#[test]
fn in_a_form_that_names_no_key_the_log_entry_says_who_signed_and_else_nobody_does() {
    let world = World::new();
    let stranger = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let own = || by_key(&world).dangerous_without_log();
    let other = || Requirements::builder().key(stranger.public_key().clone()).dangerous_without_log();
    let second = |world: &World| other().key(world.signing.public_key().clone());

    let good = by_key_logged_and_not(&world, |_| ());
    for (bundle, of_another) in good.iter().zip([Reason::WrongKey, Reason::NoKeyVerifies]) {
        expect(&world, bundle, &own().build(), None);
        expect(&world, bundle, &second(&world).build(), None);
        expect(&world, bundle, &other().build(), Some(of_another));
        let told = judge(&world, bundle, &other().build());
        assert_eq!(told.verified().unwrap_err().check, CheckName::KeyMaterial);
    }
    let altered = by_key_logged_and_not(&world, |bundle| {
        let Content::SimpleSigning { payload: bytes, .. } = &mut bundle.content else { panic!() };
        *bytes = payload(image(), &[("reviewed", "yes")]);
    });
    let found = |bundle: &Bundle, requirements: Requirements| {
        let report = judge(&world, bundle, &requirements);
        report.checks().iter().filter_map(|c| c.reason).collect::<Vec<_>>()
    };
    for requirements in [own().build(), second(&world).build()] {
        let reasons = found(&altered[0], requirements.clone());
        assert_eq!(reasons, [Reason::EntryDigestMismatch, Reason::SignatureInvalid]);
        assert_eq!(found(&altered[1], requirements), [Reason::NoKeyVerifies]);
    }
}

#[test]
fn v21_a_promise_without_a_time_does_not_escape_the_window_of_the_logs_key() {
    let mut world = World::new();
    let mut signed = simple(&world, By::Key, &payload(image(), &[]));
    let body = String::from_utf8(signed.verification_material.tlog_entries[0].canonicalized_body.clone());
    let timed = |time| promised_by(&world.logs[0], time, &world, body.clone().unwrap());
    let (at_zero, in_window) = (timed(0), timed(T));
    let wanted = by_key(&world).build();
    world.root.tlogs[0].public_key.valid_for = window(T - 10, T - 1);
    signed.verification_material.tlog_entries = vec![in_window];
    expect(&world, &signed, &wanted, Some(Reason::LogKeyNotValid));
    // The promise is over a time of zero, which is left out in the entry: there is nothing to hold the window against.
    signed.verification_material.tlog_entries = vec![TlogEntry { integrated_time: None, ..at_zero }];
    expect(&world, &signed, &wanted, Some(Reason::PromiseInvalid));
}

#[test]
fn v38_a_window_of_another_key_under_the_same_log_id_says_nothing() {
    let mut world = World::new();
    let signed = simple(&world, By::Key, &payload(image(), &[]));
    let wanted = by_key(&world).build();
    let id = world.root.tlogs[0].log_id.clone();
    world.root.tlogs[1].log_id = id;
    expect(&world, &signed, &wanted, None);
    // Whichever of them stands first.
    world.root.tlogs.reverse();
    expect(&world, &signed, &wanted, None);
    world.root.tlogs[1].public_key.valid_for = window(T - 10, T - 1);
    expect(&world, &signed, &wanted, Some(Reason::LogKeyNotValid));
    world.root.tlogs.reverse();
    expect(&world, &signed, &wanted, Some(Reason::LogKeyNotValid));
}

#[test]
fn a_root_sent_along_in_the_older_form_is_trusted_for_nothing() {
    let mut world = World::new();
    let root = world.root.certificate_authorities[0].certificates[0].clone();
    let mut signed = simple(&world, By::Certificate, &payload(image(), &[]));
    let KeyMaterial::CertificateChain(chain) = &mut signed.verification_material.content else { panic!() };
    chain.push(root.clone());
    expect(&world, &signed, &alice().build(), None);
    world.root.certificate_authorities[0].certificates =
        World::new().root.certificate_authorities[0].certificates.clone();
    expect(&world, &signed, &alice().build(), Some(Reason::CertificateUntrusted));
}

#[test]
fn a_timestamp_of_a_stored_statement_is_over_all_that_is_stored() {
    let world = World::new();
    let mut attested =
        stored(&world, By::Certificate, IN_TOTO_PAYLOAD_TYPE, &statement(&subject(), PREDICATE_TYPE));
    let stamped = alice().timestamps(1).unwrap().build();
    expect(&world, &attested, &stamped, Some(Reason::TooFewTimestamps));
    let token = world.tsa[0].stamp(attested.content.stamped(), T);
    attested.verification_material.rfc3161_timestamps = vec![token];
    expect(&world, &attested, &stamped, None);
    let token = world.tsa[0].stamp(attested.content.signature(), T);
    attested.verification_material.rfc3161_timestamps = vec![token];
    expect(&world, &attested, &stamped, Some(Reason::TimestampMismatch));
}

#[test]
fn without_an_issuer_the_name_alone_decides() {
    let world = World::new();
    let named = |name| {
        Requirements::builder().identity(Identity::dangerous_any_issuer(Matcher::exact(name).unwrap()))
    };
    expect(&world, &world.signed(), &named(NAME).build(), None);
    expect(&world, &world.signed(), &named("bob@example.com").build(), Some(Reason::IdentityMismatch));
    let report = world.judge(&world.signed(), &named(NAME).build());
    assert_eq!(report.verified().unwrap().signer().issuer(), Some(ISSUER));
}
