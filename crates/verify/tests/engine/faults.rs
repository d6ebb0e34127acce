//! The engine against bundles of a Sigstore of our own, one fault at a time. Names that begin with v and a number
//! are rows of the list of past mistakes of verifiers.

use crate::common::{ARTIFACT, ISSUER, NAME, PREDICATE_TYPE, T, World, alice, at, reason, subject, window};
use countersign_bundle::{Bundle, Content, KeyMaterial};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_verify::{
    CheckName, Identity, Matcher, Outcome, Reason, Report, Requirements, SigningKey, Subject, TimeSource,
    TrustMaterial, verify,
};

fn alice_only() -> Requirements {
    alice().build()
}

fn expect(world: &World, bundle: &Bundle, requirements: &Requirements, expected: Option<Reason>) {
    let report = world.judge(bundle, requirements);
    assert_eq!(reason(&report), expected, "{:?}", report.verified().err());
}

#[test]
fn a_good_bundle_is_verified_and_says_who_when_and_where() {
    let world = World::new();
    let report = world.judge(&world.signed(), &alice_only());
    let verified = report.verified().unwrap();
    assert_eq!(verified.signer().identity(), Some(NAME));
    assert_eq!(verified.signer().issuer(), Some(ISSUER));
    assert_eq!(verified.times()[0].time, at(T));
    assert_eq!(verified.times()[0].source, TimeSource::TimestampAuthority);
    assert_eq!(verified.entries()[0].log, "log0.example");
    assert!(report.checks().iter().all(|c| c.outcome != Outcome::Failed));
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn a_good_statement_is_verified() {
    let world = World::new();
    let report = world.judge(&world.attested(&subject()), &alice_only());
    let verified = report.into_verified().unwrap().into_statement().unwrap();
    assert_eq!(verified.value().predicate_type, PREDICATE_TYPE);
}

#[test]
fn each_requirement_alone_makes_the_answer_no() {
    let world = World::new();
    let signed = world.signed();
    let attested = world.attested(&subject());
    let exact = |text| Matcher::exact(text).unwrap();
    let with = |identity| Requirements::builder().identity(identity).build();
    let extended =
        |name, value| with(Identity::exact(NAME, ISSUER).unwrap().extension(name, exact(value)).unwrap());
    let repository = "source-repository-uri";
    for (requirements, expected) in [
        (with(Identity::exact("bob@example.com", ISSUER).unwrap()), Some(Reason::IdentityMismatch)),
        (with(Identity::exact(NAME, "https://other.example").unwrap()), Some(Reason::IssuerMismatch)),
        (
            with(Identity::new(Matcher::pattern("alice").unwrap(), exact(ISSUER))),
            Some(Reason::IdentityMismatch),
        ),
        (with(Identity::new(Matcher::pattern("alice@.*").unwrap(), exact(ISSUER))), None),
        (extended(repository, "https://git.example/b"), Some(Reason::ExtensionMismatch)),
        (extended("build-trigger", "push"), Some(Reason::ExtensionMismatch)),
        (extended(repository, "https://git.example/a"), None),
        (alice().logs(2).unwrap().build(), Some(Reason::TooFewLogs)),
        (alice().timestamps(2).unwrap().build(), Some(Reason::TooFewTimestamps)),
        (alice().timestamps(1).unwrap().build(), None),
        (alice().scts(2).unwrap().build(), Some(Reason::TooFewScts)),
        (alice().witnesses(2).unwrap().build(), Some(Reason::TooFewWitnesses)),
        (alice().witnesses(1).unwrap().build(), None),
        (
            alice().predicate_type("https://other.example").unwrap().build(),
            Some(Reason::PredicateTypeMismatch),
        ),
        (alice().annotation("k", "v").unwrap().build(), Some(Reason::AnnotationMismatch)),
    ] {
        expect(&world, &signed, &requirements, expected);
    }
    let typed = |uri| alice().predicate_type(uri).unwrap().build();
    expect(&world, &attested, &typed(PREDICATE_TYPE), None);
    expect(&world, &attested, &typed("https://slsa.dev/provenance/v1"), Some(Reason::PredicateTypeMismatch));
    expect(&world, &attested, &alice().annotation("k", "v").unwrap().build(), None);
    expect(
        &world,
        &attested,
        &alice().annotation("k", "w").unwrap().build(),
        Some(Reason::AnnotationMismatch),
    );
}

#[test]
fn one_of_several_identities_is_enough_and_none_is_not() {
    let world = World::new();
    let bob = Identity::exact("bob@example.com", ISSUER).unwrap();
    expect(&world, &world.signed(), &alice().identity(bob.clone()).build(), None);
    let any = Requirements::builder().dangerous_any_identity();
    expect(&world, &world.signed(), &any.build(), None);
    let named = Requirements::builder().dangerous_any_identity().identity(bob);
    expect(&world, &world.signed(), &named.build(), Some(Reason::IdentityMismatch));
}

#[test]
fn v01_v05_an_authentic_entry_of_another_signature_is_refused() {
    let world = World::new();
    let mut bundle = world.signed();
    // ECDSA signs differently each time: the same artifact and key, another signature.
    bundle.verification_material.tlog_entries = world.signed().verification_material.tlog_entries;
    let report = world.judge(&bundle, &alice_only());
    assert_eq!(reason(&report), Some(Reason::EntrySignatureMismatch));
}

#[test]
fn v07_v08_payloads_that_are_no_statement_and_null_subjects_are_refused() {
    let world = World::new();
    let json = world.enveloped("application/vnd.in-toto+json", b"not json");
    expect(&world, &json, &alice_only(), Some(Reason::StatementMalformed));
    expect(&world, &world.enveloped("text/plain", b"{}"), &alice_only(), Some(Reason::PayloadType));
    for subjects in ["[null]", "[]", r#"[{"digest":{"sha256":"00"}}]"#] {
        expect(&world, &world.attested(subjects), &alice_only(), Some(Reason::SubjectMismatch));
    }
}

#[test]
fn v19_two_entries_of_one_log_count_once_and_of_two_logs_twice() {
    let world = World::new();
    let two = alice().logs(2).unwrap().build();
    let mut bundle = world.signed();
    let entry = bundle.verification_material.tlog_entries[0].clone();
    bundle.verification_material.tlog_entries.push(entry);
    expect(&world, &bundle, &two, Some(Reason::TooFewLogs));
    let other = world.entry(1, &bundle.content, &bundle.verification_material.content);
    bundle.verification_material.tlog_entries.push(other);
    expect(&world, &bundle, &two, None);
}

#[test]
fn v19_two_scts_of_one_log_count_once_and_of_two_logs_twice() {
    let world = World::new();
    let two = alice().scts(2).unwrap().build();
    for (ct, expected) in [(&[0, 0], Some(Reason::TooFewScts)), (&[0, 1], None)] {
        let mut bundle = world.signed();
        let leaf = KeyMaterial::Certificate(world.certificate(ct));
        bundle.verification_material.tlog_entries = vec![world.entry(0, &bundle.content, &leaf)];
        bundle.verification_material.content = leaf;
        expect(&world, &bundle, &two, expected);
    }
}

#[test]
fn v20_two_tokens_of_one_authority_count_once_and_of_two_twice() {
    let world = World::new();
    let two = alice().timestamps(2).unwrap().build();
    let mut bundle = world.signed();
    let token = world.tsa[0].stamp(bundle.content.signature(), T + 1);
    bundle.verification_material.rfc3161_timestamps.push(token);
    expect(&world, &bundle, &two, Some(Reason::TooFewTimestamps));
    let token = world.tsa[1].stamp(bundle.content.signature(), T + 1);
    bundle.verification_material.rfc3161_timestamps.push(token);
    expect(&world, &bundle, &two, None);
}

#[test]
fn v21_a_key_signs_within_its_window_only() {
    let world = World::new();
    let key = SigningKey::new(world.signing.public_key().clone());
    let with = |key: SigningKey| Requirements::builder().key(key).build();
    let mut bundle = world.signed_by_key();
    expect(&world, &bundle, &with(key.clone()), None);
    expect(&world, &bundle, &with(key.clone().valid_for(window(T - 1, T))), None);
    expect(&world, &bundle, &with(key.clone().valid_for(window(0, T - 1))), Some(Reason::KeyNotValid));
    bundle.verification_material.rfc3161_timestamps.clear();
    expect(&world, &bundle, &with(key.clone()), None);
    expect(&world, &bundle, &with(key.valid_for(window(T - 1, T))), Some(Reason::NoTime));
}

#[test]
fn keys_and_identities_do_not_stand_in_for_each_other() {
    let world = World::new();
    let own = Requirements::builder().key(world.signing.public_key().clone()).build();
    let other = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let other = Requirements::builder().key(other.public_key().clone());
    expect(&world, &world.signed(), &own, Some(Reason::KeyExpected));
    expect(&world, &world.signed_by_key(), &alice_only(), Some(Reason::CertificateExpected));
    expect(&world, &world.signed_by_key(), &other.build(), Some(Reason::WrongKey));
}

#[test]
fn v24_v32_an_integrated_time_without_a_promise_does_not_count() {
    let world = World::new();
    let mut bundle = world.signed();
    bundle.verification_material.rfc3161_timestamps.clear();
    bundle.verification_material.tlog_entries[0].integrated_time = Some(T);
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTime));
}

#[test]
fn v33_the_certificate_must_be_valid_at_every_time() {
    let world = World::new();
    for time in [T - 61, T + 541] {
        let mut bundle = world.signed();
        let token = world.tsa[1].stamp(bundle.content.signature(), time);
        bundle.verification_material.rfc3161_timestamps.push(token);
        expect(&world, &bundle, &alice_only(), Some(Reason::CertificateNotValid));
    }
}

#[test]
fn v35_a_time_in_the_future_is_refused_by_a_second() {
    let world = World::new();
    let report = |now| {
        let material = world.material();
        verify(&Subject::from_bytes(ARTIFACT), &world.signed(), &material, &alice_only(), at(now))
    };
    assert_eq!(reason(&report(T)), None);
    assert_eq!(reason(&report(T - 1)), Some(Reason::TimeInFuture));
}

#[test]
fn v38_a_token_counts_only_inside_the_window_of_its_own_authority() {
    let mut world = World::new();
    world.root.timestamp_authorities[0].valid_for = window(T - 100, T - 1);
    expect(&world, &world.signed(), &alice_only(), Some(Reason::TimestampOutsideValidity));
    world.root.timestamp_authorities[0].valid_for = window(T - 100, T);
    expect(&world, &world.signed(), &alice_only(), None);
    world.root.timestamp_authorities[0].certificates.clear();
    expect(&world, &world.signed(), &alice_only(), Some(Reason::TimestampUntrusted));
}

#[test]
fn v09_without_authorities_in_the_trust_root_the_answer_says_so() {
    let mut world = World::new();
    let bundle = world.signed();
    let full = world.root.clone();
    world.root.timestamp_authorities.clear();
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTrustedTimestampAuthority));
    world.root = full.clone();
    world.root.certificate_authorities.clear();
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTrustedAuthority));
    world.root = full.clone();
    world.root.ctlogs.clear();
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTrustedCtLog));
    world.root = full;
    world.root.tlogs.clear();
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTrustedLog));
}

#[test]
fn windows_of_authorities_and_logs_are_kept() {
    let mut world = World::new();
    let bundle = world.signed();
    let full = world.root.clone();
    world.root.certificate_authorities[0].valid_for = window(0, T - 1);
    expect(&world, &bundle, &alice_only(), Some(Reason::AuthorityNotValid));
    world.root = full.clone();
    world.root.ctlogs[0].public_key.valid_for = window(0, T - 61);
    expect(&world, &bundle, &alice_only(), Some(Reason::SctOutsideValidity));
    world.root = full;
    world.root.tlogs[0].public_key.valid_for = window(0, T - 1);
    expect(&world, &bundle, &alice_only(), Some(Reason::LogKeyNotValid));
}

#[test]
fn v41_without_a_log_the_signature_is_checked_all_the_same() {
    let world = World::new();
    let key = Requirements::builder().key(world.signing.public_key().clone());
    let requirements = key.dangerous_without_log().build();
    let mut bundle = world.signed_by_key();
    bundle.verification_material.tlog_entries.clear();
    bundle.verification_material.rfc3161_timestamps.clear();
    let judge = |bundle: &Bundle| {
        let subject = Subject::from_bytes(ARTIFACT);
        reason(&verify(&subject, bundle, &TrustMaterial::empty(), &requirements, at(T)))
    };
    assert_eq!(judge(&bundle), None, "no trust root is needed");
    let Content::MessageSignature { signature, .. } = &mut bundle.content else { panic!() };
    *signature = world.signing.sign(b"something else").unwrap();
    assert_eq!(judge(&bundle), Some(Reason::SignatureInvalid));
}

#[test]
fn v13_entries_that_are_there_are_checked_even_when_none_is_required() {
    let world = World::new();
    let requirements = alice().dangerous_without_log().build();
    let mut bundle = world.signed();
    bundle.verification_material.tlog_entries[0].log_id = vec![9; 32];
    expect(&world, &bundle, &requirements, Some(Reason::LogUntrusted));
    bundle.verification_material.tlog_entries.clear();
    expect(&world, &bundle, &requirements, None);
    expect(&world, &bundle, &alice_only(), Some(Reason::NoLogEntry));
}

#[test]
fn the_time_of_verification_counts_only_when_asked_for_and_no_other_is_there() {
    let world = World::new();
    let mut bundle = world.signed();
    bundle.verification_material.rfc3161_timestamps.clear();
    let requirements = alice().dangerous_now_as_time().build();
    let subject = Subject::from_bytes(ARTIFACT);
    let judge = |now| reason(&verify(&subject, &bundle, &world.material(), &requirements, at(now)));
    assert_eq!(judge(T), None);
    assert_eq!(judge(T + 3600), Some(Reason::CertificateNotValid));
    expect(&world, &bundle, &alice_only(), Some(Reason::NoTime));
}

#[test]
fn a_certificate_without_a_known_sct_passes_only_when_none_is_required() {
    let mut world = World::new();
    let bundle = world.signed();
    world.root.ctlogs.remove(0);
    expect(&world, &bundle, &alice_only(), Some(Reason::SctUntrusted));
    expect(&world, &bundle, &alice().dangerous_without_sct().build(), None);
}

#[test]
fn v22_v42_changed_bodies_proofs_and_checkpoints_are_refused() {
    let world = World::new();
    let spoil = |f: &dyn Fn(&mut countersign_bundle::TlogEntry)| {
        let mut bundle = world.signed();
        f(&mut bundle.verification_material.tlog_entries[0]);
        reason(&world.judge(&bundle, &alice_only()))
    };
    let invalid = Some(Reason::InclusionProofInvalid);
    assert_eq!(spoil(&|e| e.canonicalized_body.push(b' ')), invalid);
    for size in [0, 2, u64::MAX] {
        assert_eq!(spoil(&|e| e.inclusion_proof.as_mut().unwrap().tree_size = size), invalid, "{size}");
    }
    assert_eq!(spoil(&|e| e.inclusion_proof.as_mut().unwrap().hashes.push(vec![0; 32])), invalid);
    assert_eq!(spoil(&|e| e.inclusion_proof.as_mut().unwrap().root_hash = vec![0; 31]), invalid);
    let replace = |from: &'static str, to: &'static str| {
        spoil(&move |e| {
            let checkpoint = &mut e.inclusion_proof.as_mut().unwrap().checkpoint;
            *checkpoint = checkpoint.replace(from, to);
        })
    };
    assert_eq!(replace("log0.example", "log1.example"), Some(Reason::CheckpointUntrusted));
    assert_eq!(replace("log0.example\n1\n", "log0.example\n2\n"), Some(Reason::CheckpointInvalid));
    assert_eq!(replace("log0.example\n1\n", "log0.example\nx\n"), Some(Reason::CheckpointMalformed));
}

#[test]
fn v29_v41_another_artifact_and_a_missing_digest_are_told_apart() {
    let world = World::new();
    let judge = |subject: Subject<'_>| {
        reason(&verify(&subject, &world.signed(), &world.material(), &alice_only(), at(T + 1)))
    };
    assert_eq!(judge(Subject::from_digest(HashAlgorithm::Sha256.digest(ARTIFACT))), None);
    assert_eq!(judge(Subject::from_bytes(b"other")), Some(Reason::DigestMismatch));
    let sha512 = Subject::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    assert_eq!(judge(sha512), Some(Reason::DigestUnavailable));
}

/// The failed checks of a report, each with the check it follows from.
fn failures(report: &Report) -> Vec<(CheckName, Option<CheckName>)> {
    let failed = report.checks().iter().filter(|c| c.outcome == Outcome::Failed);
    failed.map(|c| (c.name, c.consequence_of)).collect()
}

#[test]
fn of_another_artifact_the_digest_is_the_cause_and_all_else_follows() {
    let world = World::new();
    let requirements = alice().witnesses(1).unwrap().build();
    let judge = |bundle: &Bundle| {
        verify(&Subject::from_bytes(b"other"), bundle, &world.material(), &requirements, at(T + 1))
    };
    let digest = Some(CheckName::Digest);
    let mut bundle = world.signed();
    assert_eq!(
        failures(&judge(&bundle)),
        [
            (CheckName::Digest, None),
            (CheckName::LogBinding, digest),
            (CheckName::Logs, digest),
            (CheckName::Witnesses, digest),
            (CheckName::Signature, digest),
        ]
    );
    // With a signature that is bad for any artifact, its check stands by itself.
    let Content::MessageSignature { signature, .. } = &mut bundle.content else { panic!() };
    *signature = world.signing.sign(b"something else").unwrap();
    let found = failures(&judge(&bundle));
    assert!(found.contains(&(CheckName::Signature, None)), "{found:?}");
    assert!(found.contains(&(CheckName::LogBinding, None)), "{found:?}");
}

#[test]
fn counts_follow_from_refused_items_only_when_those_would_have_been_enough() {
    let world = World::new();
    let mut bundle = world.signed();
    bundle.verification_material.rfc3161_timestamps = vec![world.tsa[0].stamp(b"another signature", T)];
    let judged = |count| failures(&world.judge(&bundle, &alice().timestamps(count).unwrap().build()));
    assert!(judged(1).contains(&(CheckName::SigningTime, Some(CheckName::Timestamp))), "{:?}", judged(1));
    assert!(judged(2).contains(&(CheckName::SigningTime, None)), "{:?}", judged(2));

    let mut bundle = world.signed();
    let proof = bundle.verification_material.tlog_entries[0].inclusion_proof.as_mut().unwrap();
    proof.hashes.push(vec![0; 32]);
    let judged = |count| failures(&world.judge(&bundle, &alice().logs(count).unwrap().build()));
    let follows = (CheckName::Logs, Some(CheckName::InclusionProof));
    assert_eq!(judged(1), [(CheckName::InclusionProof, None), follows]);
    assert_eq!(judged(2), [(CheckName::InclusionProof, None), (CheckName::Logs, None)]);
}

#[test]
fn a_consequence_points_at_a_failure_that_is_none_and_never_changes_the_verdict() {
    let world = World::new();
    let spoils: [fn(&mut Bundle); 4] = [
        |b| b.verification_material.rfc3161_timestamps.clear(),
        |b| b.verification_material.tlog_entries[0].log_id = vec![9; 32],
        |b| b.verification_material.tlog_entries.clear(),
        |b| b.verification_material.rfc3161_timestamps[0].truncate(20),
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        let mut bundle = world.signed();
        spoil(&mut bundle);
        let report = world.judge(&bundle, &alice_only());
        let found = failures(&report);
        let (first, rest) = found.split_first().unwrap();
        assert_eq!((first.1, report.verified().unwrap_err().check), (None, first.0), "{i}: {found:?}");
        for cause in rest.iter().filter_map(|(_, cause)| *cause) {
            assert!(found.contains(&(cause, None)), "{i}: {found:?}");
        }
    }
}
