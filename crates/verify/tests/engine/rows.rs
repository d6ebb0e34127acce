//! Further rows of the list of past mistakes of verifiers, by their ids: chains, SCTs, and evidence that is there and
//! is about something else.

use std::sync::Arc;

use crate::common::{
    ARTIFACT, ISSUER, PREDICATE_TYPE, T, World, alice, at, deep_timestamp, log_name, reason, subject,
};
use crate::images::hashed_rekord;
use countersign_bundle::{Bundle, BundleVersion, CertificateAuthority, Content, KeyMaterial, TlogEntry};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, encoding};
use countersign_tlog::{NoteKind, NoteSigner};
use countersign_verify::{Identity, Reason, Report, Requirements, Subject, TrustMaterial, verify};

fn expect(world: &World, bundle: &Bundle, expected: Option<Reason>) {
    let report = world.judge(bundle, &alice().build());
    assert_eq!(reason(&report), expected, "{:?}", report.verified().err());
}

/// The authority of the trust root with other certificates: the issuing one first, the root last.
fn authority(world: &World, certificates: Vec<Vec<u8>>) -> CertificateAuthority {
    CertificateAuthority { certificates, ..world.root.certificate_authorities[0].clone() }
}

#[test]
fn v02_of_good_statements_none_of_the_wanted_type_is_none() {
    let world = World::new();
    let attested = world.attested(&subject());
    let wanted = |uri| alice().predicate_type(uri).unwrap().build();
    assert_eq!(reason(&world.judge(&attested, &wanted(PREDICATE_TYPE))), None);
    let other = world.judge(&attested, &wanted("https://slsa.dev/provenance/v1"));
    assert_eq!((reason(&other), other.exit_code()), (Some(Reason::PredicateTypeMismatch), 4));
}

#[test]
fn v04_a_signature_that_is_not_the_bundles_another_identity_and_junk_for_a_log_are_refused() {
    let world = World::new();
    let mut swapped = world.signed();
    let Content::MessageSignature { signature, .. } = &mut swapped.content else { panic!() };
    *signature = world.signing.sign(ARTIFACT).unwrap();
    assert!(world.judge(&swapped, &alice().build()).verified().is_err(), "another signature by the same key");

    let somebody =
        Requirements::builder().identity(Identity::exact("bob@example.com", ISSUER).unwrap()).build();
    assert_eq!(reason(&world.judge(&world.signed(), &somebody)), Some(Reason::IdentityMismatch));

    let mut junk = world.signed();
    junk.verification_material.tlog_entries[0].canonicalized_body = b"junk".to_vec();
    expect(&world, &junk, Some(Reason::InclusionProofInvalid));
    let mut unproven = world.signed();
    unproven.verification_material.tlog_entries[0].inclusion_proof = None;
    assert!(world.judge(&unproven, &alice().build()).verified().is_err());
}

#[test]
fn v06_an_intermediate_or_root_that_expired_before_the_signing_is_refused_though_the_leaf_was_valid() {
    let mut world = World::new();
    let (certificate, root) = world.under_an_intermediate();
    let bundle = world.signed();
    let with = |world: &mut World, until: i64| {
        let intermediate = certificate(world.issuing_key(), until);
        world.root.certificate_authorities = vec![authority(world, vec![intermediate, root.clone()])];
    };
    with(&mut world, T);
    expect(&world, &bundle, None);
    // The leaf is valid from T - 60 to T + 540; the signature is of T.
    for until in [T - 1, T - 59] {
        with(&mut world, until);
        expect(&world, &bundle, Some(Reason::CertificateNotValid));
    }

    // The same of an intermediate that came with the bundle.
    let mut sent = bundle;
    sent.version = BundleVersion::V0_2;
    let KeyMaterial::Certificate(leaf) = sent.verification_material.content.clone() else { panic!() };
    world.root.certificate_authorities = vec![authority(&world, vec![root.clone()])];
    for (until, expected) in [(T, None), (T - 1, Some(Reason::CertificateNotValid))] {
        let intermediate = certificate(world.issuing_key(), until);
        sent.verification_material.content = KeyMaterial::CertificateChain(vec![leaf.clone(), intermediate]);
        expect(&world, &sent, expected);
    }
}

#[test]
fn v30_a_junk_checkpoint_is_a_reason_and_never_a_crash() {
    let world = World::new();
    for junk in [
        "junk",
        "\n",
        "log0.example\n1\n",
        "log0.example\n1\nAAAA\n\n\u{2014} log0.example AAAAAAE=\n",
        "\u{2014}\n\n",
    ] {
        let mut bundle = world.signed();
        bundle.verification_material.tlog_entries[0].inclusion_proof.as_mut().unwrap().checkpoint =
            junk.into();
        expect(&world, &bundle, Some(Reason::CheckpointMalformed));
    }
}

#[test]
fn v31_an_sct_with_extensions_is_good_and_its_extensions_are_signed() {
    let mut world = World::new();
    world.sct_extensions = vec![0, 0, 5, 0, 0, 0, 0, 7];
    let bundle = world.signed();
    expect(&world, &bundle, None);
    // The same SCT with another extension: a certificate of the same authority that no CT log has seen.
    let KeyMaterial::Certificate(der) = &bundle.verification_material.content else { panic!() };
    let at = der.windows(8).position(|w| w == [0, 0, 5, 0, 0, 0, 0, 7]).unwrap();
    let mut changed = bundle.clone();
    let mut other = der.clone();
    other[at + 7] = 8;
    changed.verification_material.content = KeyMaterial::Certificate(other);
    assert!(world.judge(&changed, &alice().build()).verified().is_err());
}

#[test]
fn v44_of_two_intermediates_with_one_name_the_verified_parent_issues_the_scts() {
    let mut world = World::new();
    let (certificate, root) = world.under_an_intermediate();
    let bundle = world.signed();
    let twin_key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let own = vec![certificate(world.issuing_key(), T + 50_000), root.clone()];
    let twin = vec![certificate(&twin_key, T + 50_000), root.clone()];
    for order in [[own.clone(), twin.clone()], [twin.clone(), own.clone()]] {
        world.root.certificate_authorities = order.map(|chain| authority(&world, chain)).to_vec();
        let report = world.judge(&bundle, &alice().scts(1).unwrap().build());
        assert_eq!(reason(&report), None, "{:?}", report.verified().err());
    }
    world.root.certificate_authorities = vec![authority(&world, twin.clone())];
    expect(&world, &bundle, Some(Reason::CertificateUntrusted));

    // Both sent along, the wrong one first.
    let mut sent = bundle;
    sent.version = BundleVersion::V0_2;
    let KeyMaterial::Certificate(leaf) = sent.verification_material.content.clone() else { panic!() };
    world.root.certificate_authorities = vec![authority(&world, vec![root])];
    let both = [leaf, twin[0].clone(), own[0].clone()].to_vec();
    sent.verification_material.content = KeyMaterial::CertificateChain(both);
    expect(&world, &sent, None);
}

#[test]
fn v49_evidence_that_is_empty_is_a_refusal_with_an_exit_code() {
    let world = World::new();
    let judge = |bundle: &Bundle| -> Report {
        verify(&Subject::from_bytes(ARTIFACT), bundle, &TrustMaterial::empty(), &alice().build(), at(T))
    };
    let mut bundle = world.signed();
    assert_ne!(judge(&bundle).exit_code(), 0);
    bundle.verification_material.rfc3161_timestamps = vec![Vec::new()];
    for material in [KeyMaterial::Certificate(Vec::new()), KeyMaterial::CertificateChain(Vec::new())] {
        bundle.verification_material.content = material;
        for version in [BundleVersion::V0_2, BundleVersion::V0_3] {
            bundle.version = version;
            let report = world.judge(&bundle, &alice().build());
            assert_ne!(report.exit_code(), 0);
            assert!(report.verified().is_err());
        }
    }
}

#[test]
fn an_authority_that_was_sent_along_needs_room_in_every_path_length_above_it() {
    for (limit, expected) in [(2, None), (1, Some(Reason::CertificateUsage))] {
        let mut world = World::new();
        let [lower, upper, root] = world.under_two_intermediates(limit);
        let mut bundle = world.signed();
        bundle.version = BundleVersion::V0_2;
        let KeyMaterial::Certificate(leaf) = bundle.verification_material.content.clone() else { panic!() };
        bundle.verification_material.content = KeyMaterial::CertificateChain(vec![leaf, lower]);
        world.root.certificate_authorities = vec![authority(&world, vec![upper, root])];
        expect(&world, &bundle, expected);
    }
}

#[test]
fn what_a_timestamp_brings_along_needs_that_room_too() {
    for (limit, expected) in [(2, None), (1, Some(Reason::TimestampUntrusted))] {
        let mut world = World::new();
        let mut bundle = world.signed();
        let (token, above) = deep_timestamp(limit, bundle.content.signature());
        bundle.verification_material.rfc3161_timestamps = vec![token];
        world.root.timestamp_authorities[0].certificates = above;
        expect(&world, &bundle, expected);
    }
}

#[test]
fn v19_witnesses_of_different_checkpoints_are_not_added_up() {
    let mut world = World::new();
    let first = world.witness.clone();
    let mut bundle = world.signed();
    world.witness = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
    let second = world.entry(1, &bundle.content, &bundle.verification_material.content);
    bundle.verification_material.tlog_entries.push(second);
    let material =
        |world: &World| world.material().with_witness("witness.example", first.public_key().clone()).unwrap();
    let judge = |bundle: &Bundle, logs: usize, witnesses: usize| {
        let wanted = alice().logs(logs).unwrap().witnesses(witnesses).unwrap().build();
        reason(&verify(&Subject::from_bytes(ARTIFACT), bundle, &material(&world), &wanted, at(T + 1)))
    };
    for logs in [1, 2] {
        assert_eq!(judge(&bundle, logs, 1), None);
        assert_eq!(judge(&bundle, logs, 2), Some(Reason::TooFewWitnesses), "one has seen each log");
    }
    // A log that nobody has seen is not made good by one that somebody has.
    let entry = &mut bundle.verification_material.tlog_entries[1];
    let proof = entry.inclusion_proof.as_mut().unwrap();
    let kept = proof.checkpoint.rfind("\u{2014} witness.example").unwrap();
    proof.checkpoint.truncate(kept);
    assert_eq!(judge(&bundle, 1, 1), None);
    assert_eq!(judge(&bundle, 2, 1), Some(Reason::TooFewWitnesses));
}

#[test]
fn a_statement_named_by_digests_that_cannot_be_had_is_not_a_mismatch() {
    let world = World::new();
    let sha512 = HashAlgorithm::Sha512.digest(ARTIFACT);
    let bundle = world.attested(&subject());
    let judge = |subject: Subject<'_>| {
        reason(&verify(&subject, &bundle, &world.material(), &alice().build(), at(T + 1)))
    };
    assert_eq!(judge(Subject::from_digest(sha512)), Some(Reason::DigestUnavailable));
    assert_eq!(judge(Subject::from_bytes(ARTIFACT)), None);
    assert_eq!(judge(Subject::from_bytes(b"other")), Some(Reason::SubjectMismatch));
}

#[test]
fn the_digest_of_a_verdict_is_the_one_that_the_signature_covers() {
    let mut world = World::new();
    world.signing = KeyPair::generate(KeyType::EcdsaP384).unwrap();
    let mut bundle = world.signed_by_key();
    bundle.verification_material.tlog_entries.clear();
    bundle.verification_material.rfc3161_timestamps.clear();
    let Content::MessageSignature { digest, .. } = &mut bundle.content else { panic!() };
    *digest = None;
    let key = Requirements::builder().key(world.signing.public_key().clone());
    // That the other digest is of the same artifact is the caller's word, and nobody's who signed.
    let signed = HashAlgorithm::Sha384.digest(ARTIFACT);
    let subject = Subject::from_digests([HashAlgorithm::Sha256.digest(b"other"), signed]);
    let requirements = key.dangerous_without_log().build();
    let report = verify(&subject, &bundle, &TrustMaterial::empty(), &requirements, at(T));
    assert_eq!(*report.verified().unwrap().digest(), signed);
}

#[test]
fn without_a_promise_an_index_is_the_one_that_was_proven() {
    let world = World::new();
    let mut bundle = world.signed();
    let KeyMaterial::Certificate(leaf) = &bundle.verification_material.content else { panic!() };
    let pem = encoding::pem_encode("CERTIFICATE", leaf);
    let body = hashed_rekord(ARTIFACT, bundle.content.signature(), &pem);
    let signer = NoteSigner::new(NoteKind::RekorV1, &log_name(0), world.logs[0].clone()).unwrap();
    let entry = world.only_leaf(0, signer, ("hashedrekord", "0.0.1"), body.into_bytes());
    // In the log as a whole, says the bundle, and nobody signed that.
    bundle.verification_material.tlog_entries = vec![TlogEntry { log_index: 77, ..entry }];
    let report = world.judge(&bundle, &alice().build());
    assert_eq!(report.verified().unwrap().entries()[0].index, 0);
}
