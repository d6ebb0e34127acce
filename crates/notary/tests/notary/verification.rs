//! The engine: what is accepted, and for each rule a case in which it alone makes the answer no.

use countersign_crypto::HashAlgorithm;
use countersign_notary::policy::{Level, OciPolicy};
use countersign_notary::{
    AuthenticTime, CheckName, Format, Outcome, Reason, Report, SigningScheme, Subject, TrustStore, Verdict,
};

use crate::support::{
    BOTH, KEYS, List, NOW, Signing, Spec, World, at, chain, chain_of, distribution_point, reasons, statement,
    store_of, subject, target,
};

const ANYBODY: &str = r#"["*"]"#;
const ACME: &str = r#"["ca:acme"]"#;

fn level(level: &str) -> countersign_notary::policy::Statement {
    statement(&format!(r#"{{"level":"{level}"}}"#), ACME, r#"["x509.subject: C=US, ST=WA, O=acme"]"#)
}

#[test]
fn a_good_signature_is_accepted_in_both_forms() {
    for format in BOTH {
        let verified = World::new().accepted(&Signing::new(format).with(|s| s.expiry = Some(NOW + 1)));
        assert_eq!(verified.signer().unwrap(), &chain()[0]);
        assert_eq!(verified.target(), &target());
        assert_eq!((verified.statement(), verified.level()), ("all", Level::Strict));
        assert!(verified.logged().is_empty());
        assert!(verified.authentic_time().is_none(), "the signer's own word is nobody's");
    }
}

#[test]
fn the_artifact_is_compared_in_digest_size_and_type() {
    let signing = Signing::new(Format::Cose);
    let Subject::Manifest { media_type, digest, size } = subject() else { panic!() };
    let other = HashAlgorithm::Sha256.digest(b"another image");
    for changed in [
        Subject::Manifest { media_type: media_type.clone(), digest: other, size },
        Subject::Manifest { media_type: media_type.clone(), digest, size: size + 1 },
        Subject::Manifest { media_type: format!("{media_type}x"), digest, size },
    ] {
        assert_eq!(World::new().with(|w| w.subject = changed).refused(&signing), Reason::ArtifactMismatch);
    }
}

#[test]
fn a_file_is_compared_by_the_digest_of_the_keys_hash() {
    let signing = Signing::new(Format::Jws);
    let target = target();
    let file = |digests: Vec<_>, size, media_type: Option<&str>| Subject::Blob {
        digests,
        size,
        media_type: media_type.map(str::to_owned),
    };
    let all = vec![HashAlgorithm::Sha512.digest(b"an image"), target.digest];
    World::new().with(|w| w.subject = file(all.clone(), target.size, None)).accepted(&signing);
    World::new()
        .with(|w| w.subject = file(all.clone(), target.size, Some(&target.media_type)))
        .accepted(&signing);
    let refused = |subject| World::new().with(|w| w.subject = subject).refused(&signing);
    assert_eq!(refused(file(all.clone(), target.size, Some("a/b"))), Reason::ArtifactMismatch);
    assert_eq!(refused(file(all.clone(), 1, None)), Reason::ArtifactMismatch);
    assert_eq!(refused(file(all[..1].to_vec(), target.size, None)), Reason::DigestUnavailable);
    assert_eq!(refused(file(Vec::new(), target.size, None)), Reason::DigestUnavailable);
}

#[test]
fn metadata_that_is_asked_for_must_be_signed() {
    let signing = Signing::new(Format::Cose);
    let asked =
        |name: &str, value: &str| World::new().with(|w| drop(w.metadata.insert(name.into(), value.into())));
    asked("build", "42").accepted(&signing);
    assert_eq!(asked("build", "43").refused(&signing), Reason::MetadataMismatch);
    assert_eq!(asked("commit", "42").refused(&signing), Reason::MetadataMismatch);
}

#[test]
fn a_chain_must_end_in_a_store_that_the_policy_names() {
    let signing = Signing::new(Format::Jws);
    let stranger = Spec::root().issue(&KEYS.other, &Spec::root(), &KEYS.other);
    assert_eq!(
        World::new().with(|w| w.store = store_of("ca:acme", vec![stranger])).refused(&signing),
        Reason::CertificateUntrusted,
        "a root of the same name"
    );
    assert_eq!(
        World::new().with(|w| w.store = TrustStore::new()).refused(&signing),
        Reason::TrustStoreMissing
    );
    let unnamed = store_of("ca:other", vec![chain()[2].clone()]);
    assert_eq!(
        World::new().with(|w| w.store = unnamed).refused(&signing),
        Reason::TrustStoreMissing,
        "not named"
    );
    // A store of another type is no store for signers, whatever is in it.
    for kind in ["tsa", "signingAuthority"] {
        let policy = statement(r#"{"level":"strict"}"#, &format!(r#"["{kind}:acme"]"#), ANYBODY);
        let world = World::new().with(|w| {
            w.statement = policy;
            w.store = store_of(&format!("{kind}:acme"), vec![chain()[2].clone()]);
        });
        let report = world.verify(Format::Jws, &signing.envelope());
        assert_eq!(report.rejection().unwrap().check, CheckName::TrustStore, "{kind}");
    }
    // An issuing authority may be pinned.
    World::new().with(|w| w.store = store_of("ca:acme", vec![chain()[1].clone()])).accepted(&signing);
}

#[test]
fn identities_are_parts_of_the_signers_subject() {
    let signing = Signing::new(Format::Cose);
    let world = |identities: &str| {
        World::new().with(|w| w.statement = statement(r#"{"level":"strict"}"#, ACME, identities))
    };
    for good in [
        ANYBODY,
        r#"["x509.subject: C=US, ST=WA, O=acme"]"#,
        r#"["x509.subject: CN=signer,OU=build,O=acme,S=WA,C=US"]"#,
        r#"["x509.subject: C=US, ST=WA, O=other", "x509.subject: C=US, ST=WA, O=acme"]"#,
    ] {
        world(good).accepted(&signing);
    }
    for bad in [
        r#"["x509.subject: C=US, ST=WA, O=acm"]"#,
        r#"["x509.subject: C=US, ST=WA, O=acme, OU=release"]"#,
        r#"["x509.subject: C=US, ST=WA, O=acme, L=Seattle"]"#,
        r#"["x509.subject: C=us, ST=WA, O=acme"]"#,
        // The name of the root, not of the signer.
        r#"["x509.subject: C=US, ST=WA, O=acme, CN=acme root"]"#,
        r#"["com.example.plugin:anything"]"#,
    ] {
        assert_eq!(world(bad).refused(&signing), Reason::IdentityMismatch, "{bad}");
    }
    // An attribute that stands twice in the subject could be read in two ways.
    let twice = Spec::leaf().with(|s| s.subject.push((crate::support::O, "other")));
    let signing = signing.with(|s| s.chain = chain_of(&twice, &Spec::middle(), &Spec::root()));
    assert_eq!(World::new().refused(&signing), Reason::IdentityMismatch);
}

#[test]
fn an_expired_signature_is_refused_or_told_as_the_level_says() {
    let signing = Signing::new(Format::Jws).with(|s| s.expiry = Some(NOW));
    assert_eq!(World::new().refused(&signing), Reason::SignatureExpired);
    World::new().with(|w| w.now = NOW - 1).accepted(&signing);
    let verified = World::new().with(|w| w.statement = level("permissive")).accepted(&signing);
    assert_eq!(reasons(verified.logged()), [Reason::SignatureExpired]);
}

#[test]
fn audit_accepts_strangers_and_says_that_nobody_vouches_for_them() {
    let signing = Signing::new(Format::Cose);
    let stranger = Spec::root().issue(&KEYS.other, &Spec::root(), &KEYS.other);
    let world = World::new().with(|w| {
        w.statement = level("audit");
        w.store = store_of("ca:acme", vec![stranger]);
    });
    let verified = world.accepted(&signing);
    assert!(verified.signer().is_none());
    assert_eq!(reasons(verified.logged()), [Reason::CertificateUntrusted]);
    // Integrity is enforced at every level.
    let mut envelope = signing.envelope();
    let last = envelope.len() - 1;
    envelope[last] ^= 1;
    assert_eq!(world.verify(Format::Cose, &envelope).rejection().unwrap().reason, Reason::SignatureInvalid);
    let moved = world.with(|w| {
        w.subject = Subject::Manifest {
            media_type: target().media_type,
            digest: HashAlgorithm::Sha256.digest(b"x"),
            size: 528,
        }
    });
    assert_eq!(moved.refused(&signing), Reason::ArtifactMismatch);
}

#[test]
fn skip_verifies_nothing_and_is_no_success() {
    let document = br#"{"version":"1.0","trustPolicies":[{"name":"n","registryScopes":["a.b/c"],
        "signatureVerification":{"level":"skip"}}]}"#;
    let policy = OciPolicy::parse(document).unwrap();
    let world = World::new().with(|w| w.statement = policy.statement_for("a.b/c").unwrap().clone());
    let report = world.verify(Format::Jws, b"not even an envelope");
    assert!(matches!(report.verdict(), Verdict::Skipped));
    assert!(report.verified().is_none() && report.rejection().is_none());
}

#[test]
fn no_signature_is_told_apart_from_everything_else() {
    let report = Report::no_signature();
    assert_eq!((report.rejection().unwrap().reason, report.exit_code()), (Reason::NoSignature, 3));
}

#[test]
fn a_report_lists_every_check_and_the_first_that_failed_decides() {
    let signing = Signing::new(Format::Jws).with(|s| s.expiry = Some(NOW));
    let world = World::new().with(|w| w.store = TrustStore::new());
    let report = world.verify(Format::Jws, &signing.envelope());
    let names: Vec<CheckName> = report.checks().iter().map(|check| check.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let failed: Vec<Reason> = reasons(report.checks());
    assert_eq!(failed, [Reason::TrustStoreMissing, Reason::SignatureExpired]);
    assert_eq!(report.exit_code(), 5);
}

// --- signing authorities ---

fn by_authority() -> Signing {
    Signing::new(Format::Cose).with(|s| s.scheme = SigningScheme::SigningAuthority)
}

fn authority_world() -> World {
    World::new().with(|w| {
        w.statement = statement(r#"{"level":"strict"}"#, r#"["signingAuthority:acme"]"#, ANYBODY);
        w.store = store_of("signingAuthority:acme", vec![chain()[2].clone()]);
    })
}

#[test]
fn a_signing_authority_says_when_and_needs_a_store_of_its_own() {
    let verified = authority_world().accepted(&by_authority());
    assert_eq!(verified.authentic_time(), Some(&AuthenticTime::SigningAuthority(at(NOW - 10))));
    assert_eq!(World::new().refused(&by_authority()), Reason::CertificateUntrusted, "a store of type ca");
}

#[test]
fn a_signing_authoritys_time_counts_instead_of_now() {
    let expired = chain_of(&Spec::leaf().with(|s| s.valid.1 = NOW - 5), &Spec::middle(), &Spec::root());
    authority_world().accepted(&by_authority().with(|s| s.chain = expired));
    let future = by_authority().with(|s| s.signing_time = NOW + 1);
    assert_eq!(authority_world().refused(&future), Reason::TimeInFuture);
}

// --- revocation ---

/// A chain whose leaf and issuing certificate say where revocation lists are.
fn revocable() -> Signing {
    let point = |spec: Spec| spec.with(|s| s.more = vec![distribution_point("http://crl.example.com/x")]);
    let chain = chain_of(&point(Spec::leaf()), &point(Spec::middle()), &Spec::root());
    Signing::new(Format::Cose).with(|s| s.chain = chain)
}

/// What the issuing authority and the root have to say.
fn lists(of_middle: List, of_root: List) -> World {
    World::new().with(|w| {
        w.lists =
            vec![of_middle.issue(&Spec::middle(), &KEYS.middle), of_root.issue(&Spec::root(), &KEYS.root)];
    })
}

#[test]
fn a_chain_that_names_no_place_needs_no_list() {
    World::new().accepted(&Signing::new(Format::Cose));
}

#[test]
fn a_chain_that_names_a_place_needs_lists_of_both_authorities() {
    let none = || List::of(&[]);
    lists(none(), none()).accepted(&revocable());
    assert_eq!(World::new().refused(&revocable()), Reason::RevocationNotChecked);
    let only = |n: usize| lists(none(), none()).with(|w| drop(w.lists.remove(n)));
    assert_eq!(only(0).refused(&revocable()), Reason::RevocationNotChecked);
    assert_eq!(only(1).refused(&revocable()), Reason::RevocationNotChecked);
}

#[test]
fn v57_an_unchecked_revocation_is_enforced_logged_or_skipped_as_the_policy_says() {
    let with =
        |verification: &str| World::new().with(|w| w.statement = statement(verification, ACME, ANYBODY));
    assert_eq!(with(r#"{"level":"strict"}"#).refused(&revocable()), Reason::RevocationNotChecked);
    let logged = with(r#"{"level":"permissive"}"#).accepted(&revocable());
    assert_eq!(reasons(logged.logged()), [Reason::RevocationNotChecked]);
    let skipped = with(r#"{"level":"strict","override":{"revocation":"skip"}}"#);
    let report = skipped.verify(Format::Cose, &revocable().envelope());
    assert!(report.verified().unwrap().logged().is_empty());
    let check = report.checks().iter().find(|check| check.name == CheckName::Revocation).unwrap();
    assert_eq!(check.outcome, Outcome::NotApplicable);
}

#[test]
fn revoked_certificates_are_refused() {
    let none = || List::of(&[]);
    let revoked =
        |serial: u8, reason: Option<u8>| List::of(&[(9, NOW, None, None), (serial, NOW - 50, reason, None)]);
    assert_eq!(lists(revoked(3, None), none()).refused(&revocable()), Reason::CertificateRevoked, "the leaf");
    assert_eq!(
        lists(none(), revoked(2, Some(1))).refused(&revocable()),
        Reason::CertificateRevoked,
        "the issuer"
    );
    assert_eq!(
        lists(revoked(3, Some(6)), none()).refused(&revocable()),
        Reason::CertificateRevoked,
        "on hold"
    );
    lists(revoked(3, Some(8)), none()).accepted(&revocable());
    // Too old to clear anybody, and still good to say who was revoked.
    let old = revoked(3, None).with(|l| l.updates = (NOW - 100, Some(NOW - 1)));
    assert_eq!(lists(old, none()).refused(&revocable()), Reason::CertificateRevoked);
}

#[test]
fn a_list_must_be_of_now_and_of_the_right_authority() {
    let none = || List::of(&[]);
    for (name, list) in [
        ("too old", none().with(|l| l.updates = (NOW - 100, Some(NOW - 1)))),
        ("of the future", none().with(|l| l.updates = (NOW + 1, Some(NOW + 100)))),
        ("without an end", none().with(|l| l.updates = (NOW - 100, None))),
        ("with an unknown critical extension", none().with(|l| l.more = vec![(99, true, vec![5, 0])])),
        // IssuingDistributionPoint: another place; for authorities only; some reasons only; of other issuers.
        (
            "of another place",
            none().with(|l| l.more = vec![(28, true, elsewhere("http://crl.example.com/y"))]),
        ),
        ("for authorities", none().with(|l| l.more = vec![(28, true, vec![0x30, 3, 0x82, 1, 0xff])])),
        ("for some reasons", none().with(|l| l.more = vec![(28, true, vec![0x30, 4, 0x83, 2, 6, 0x40])])),
        ("of other issuers", none().with(|l| l.more = vec![(28, true, vec![0x30, 3, 0x84, 1, 0xff])])),
        ("with an addition that is not there", none().with(|l| l.more = vec![(46, false, vec![0x30, 0])])),
    ] {
        assert_eq!(lists(list, none()).refused(&revocable()), Reason::RevocationNotChecked, "{name}");
    }
    lists(none().with(|l| l.more = vec![(28, true, elsewhere("http://crl.example.com/x"))]), none())
        .accepted(&revocable());
    lists(none().with(|l| l.more = vec![(28, true, vec![0x30, 3, 0x81, 1, 0xff])]), none())
        .accepted(&revocable());
    let forged = World::new().with(|w| {
        w.lists = vec![none().issue(&Spec::middle(), &KEYS.other), none().issue(&Spec::root(), &KEYS.root)];
    });
    assert_eq!(forged.refused(&revocable()), Reason::RevocationNotChecked, "signed by another key");
    let without = Spec::middle().with(|s| {
        s.usage = Some((true, crate::support::CERT_SIGN));
        s.more = vec![distribution_point("http://crl.example.com/x")];
    });
    let leaf = Spec::leaf().with(|s| s.more = vec![distribution_point("http://crl.example.com/x")]);
    let signing = revocable().with(|s| s.chain = chain_of(&leaf, &without, &Spec::root()));
    assert_eq!(
        lists(none(), none()).refused(&signing),
        Reason::RevocationNotChecked,
        "an issuer without cRLSign"
    );
}

/// `IssuingDistributionPoint` with one address.
fn elsewhere(url: &str) -> Vec<u8> {
    use crate::support::tlv;
    tlv(0x30, &[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[url.as_bytes()])])])])
}

#[test]
fn additions_to_a_list_are_heard() {
    let base = || List::of(&[]).with(|l| l.more = vec![(46, false, vec![0x30, 0])]);
    let addition = |entries: &[_], number: u8, reaches: u8| {
        List::of(entries).with(|l| {
            l.number = number;
            l.more = vec![(27, true, vec![2, 1, reaches])];
        })
    };
    let with = |delta: List| {
        lists(base(), List::of(&[])).with(|w| w.lists.push(delta.issue(&Spec::middle(), &KEYS.middle)))
    };
    with(addition(&[], 6, 5)).accepted(&revocable());
    with(addition(&[], 6, 4)).accepted(&revocable());
    let revoked = [(3, NOW - 1, Some(1), None)];
    assert_eq!(with(addition(&revoked, 6, 5)).refused(&revocable()), Reason::CertificateRevoked);
    assert_eq!(
        with(addition(&[], 6, 6)).refused(&revocable()),
        Reason::RevocationNotChecked,
        "of a later list"
    );
    assert_eq!(with(addition(&[], 5, 5)).refused(&revocable()), Reason::RevocationNotChecked, "not newer");
    // An addition alone is no list.
    let alone = World::new().with(|w| {
        w.lists = vec![
            addition(&[], 6, 5).issue(&Spec::middle(), &KEYS.middle),
            List::of(&[]).issue(&Spec::root(), &KEYS.root),
        ];
    });
    assert_eq!(alone.refused(&revocable()), Reason::RevocationNotChecked);
    // On hold in the list, and taken off again later.
    let held = |later: u8| {
        lists(List::of(&[(3, NOW - 90, Some(6), None)]), List::of(&[])).with(|w| {
            let delta = addition(&[(3, NOW - 50, Some(later), None)], 6, 5);
            w.lists.push(delta.issue(&Spec::middle(), &KEYS.middle));
        })
    };
    held(8).accepted(&revocable());
    assert_eq!(held(6).refused(&revocable()), Reason::CertificateRevoked);
}

#[test]
fn a_key_that_was_lost_later_was_good_when_somebody_trusted_says_so() {
    let since = |second: i64| List::of(&[(3, NOW - 1, Some(1), Some(second))]);
    let world = |second: i64| {
        let lists = lists(since(second), List::of(&[])).lists;
        authority_world().with(|w| w.lists = lists)
    };
    let signing = || revocable().with(|s| s.scheme = SigningScheme::SigningAuthority);
    world(NOW - 5).accepted(&signing());
    assert_eq!(world(NOW - 20).refused(&signing()), Reason::CertificateRevoked, "lost before");
    // The signer's own word does not help.
    assert_eq!(lists(since(NOW - 5), List::of(&[])).refused(&revocable()), Reason::CertificateRevoked);
}

#[test]
fn the_word_of_a_signing_authority_that_nobody_trusts_excuses_nothing() {
    let lost_later = List::of(&[(3, NOW - 1, Some(1), Some(NOW - 5))]);
    let lists = lists(lost_later, List::of(&[])).lists;
    let verification = r#"{"level":"audit","override":{"revocation":"enforce"}}"#;
    let world = |certificate: usize| {
        let store = store_of("signingAuthority:acme", vec![chain()[certificate].clone()]);
        authority_world().with(|w| {
            w.statement = statement(verification, r#"["signingAuthority:acme"]"#, ANYBODY);
            w.store = store;
            w.lists = lists.clone();
        })
    };
    let signing = revocable().with(|s| s.scheme = SigningScheme::SigningAuthority);
    let verified = world(2).accepted(&signing);
    assert_eq!(verified.authentic_time(), Some(&AuthenticTime::SigningAuthority(at(NOW - 10))));
    let stranger = Spec::root().issue(&KEYS.other, &Spec::root(), &KEYS.other);
    let trusting_another =
        || world(2).with(|w| w.store = store_of("signingAuthority:acme", vec![stranger.clone()]));
    assert_eq!(trusting_another().refused(&signing), Reason::CertificateRevoked);
    let logged = trusting_another().with(|w| w.lists.clear()).with(|w| {
        w.statement = statement(r#"{"level":"audit"}"#, r#"["signingAuthority:acme"]"#, ANYBODY);
    });
    assert!(logged.accepted(&signing).authentic_time().is_none(), "nobody vouches for the time");
}

#[test]
fn a_list_that_is_given_is_heard_about_certificates_that_name_no_place() {
    let plain = Signing::new(Format::Cose);
    let revoked = |serial: u8| List::of(&[(serial, NOW - 50, Some(1), None)]);
    lists(List::of(&[]), List::of(&[])).accepted(&plain);
    assert_eq!(lists(revoked(3), List::of(&[])).refused(&plain), Reason::CertificateRevoked, "the leaf");
    assert_eq!(lists(List::of(&[]), revoked(2)).refused(&plain), Reason::CertificateRevoked, "the issuer");
    // One that says nothing, being too old or of another key, takes nothing from it either.
    let old = List::of(&[]).with(|l| l.updates = (NOW - 100, Some(NOW - 1)));
    lists(old, List::of(&[])).accepted(&plain);
    World::new().with(|w| w.lists = vec![revoked(3).issue(&Spec::middle(), &KEYS.other)]).accepted(&plain);
}

#[test]
fn a_long_list_is_searched_to_its_end() {
    let strangers = vec![(99, NOW - 1, Some(1), None); 1_000];
    lists(List::of(&strangers), List::of(&[])).accepted(&revocable());
    let with_leaf = [strangers, vec![(3, NOW - 1, Some(1), None)]].concat();
    assert_eq!(lists(List::of(&with_leaf), List::of(&[])).refused(&revocable()), Reason::CertificateRevoked);
}
