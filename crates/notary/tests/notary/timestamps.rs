//! Timestamp counter-signatures: when they are needed, and for each rule one in which it alone makes the answer no.

use countersign_crypto::HashAlgorithm;
use countersign_notary::policy::Statement;
use countersign_notary::{AuthenticTime, Format, Reason, StoreName};
use countersign_x509::timestamp::{Responder, TimestampRequest, TimestampToken, respond};
use countersign_x509::{Certificate, oid};

use crate::support::{
    BOTH, CERT_SIGN, KEYS, List, NOW, Signing, Spec, World, YEAR, at, chain, chain_of, distribution_point,
    reasons, statement,
};

fn tsa_root() -> Spec {
    Spec::root().with(|s| s.subject = vec![(crate::support::CN, "tsa root")])
}

/// An authority with its root; the root's key signs the leaf.
struct Tsa {
    leaf: Certificate,
    root: Certificate,
}

impl Tsa {
    fn of(leaf: &Spec, root: &Spec) -> Self {
        Self {
            leaf: leaf.issue(&KEYS.other, root, &KEYS.middle),
            root: root.issue(&KEYS.middle, root, &KEYS.middle),
        }
    }

    fn new() -> Self {
        Self::of(&Spec::tsa(), &tsa_root())
    }

    /// A `TimeStampToken` over some bytes.
    fn stamp(&self, bytes: &[u8], second: i64) -> Vec<u8> {
        let responder = Responder::new(self.leaf.clone(), oid::SIGSTORE_TSA_POLICY, &KEYS.other).unwrap();
        let imprint = HashAlgorithm::Sha256.digest(bytes);
        let request = TimestampRequest { imprint, policy: None, nonce: None, cert_req: true };
        let response = respond(&responder, &request, at(second), &[7; 20], &KEYS.other).unwrap();
        TimestampToken::token_of(&response).unwrap()
    }

    fn sign(&self, signing: &Signing, second: i64) -> Vec<u8> {
        let draft = signing.draft();
        draft.finish(Some(&self.stamp(draft.signature(), second))).unwrap().0
    }

    fn world(&self) -> World {
        World::new().with(|w| {
            w.statement = policy(r#"{"level":"strict"}"#);
            w.store.add(StoreName::parse("tsa:clock").unwrap(), vec![self.root.clone()]).unwrap();
        })
    }
}

fn policy(verification: &str) -> Statement {
    statement(verification, r#"["ca:acme","tsa:clock"]"#, r#"["*"]"#)
}

fn reason(world: &World, format: Format, envelope: &[u8]) -> Reason {
    let report = world.verify(format, envelope);
    report.rejection().unwrap_or_else(|| panic!("accepted: {report:?}")).reason
}

/// Signed while valid, expired since.
fn expired() -> Signing {
    let leaf = Spec::leaf().with(|s| s.valid = (NOW - YEAR, NOW - 100));
    Signing::new(Format::Jws).with(|s| {
        s.chain = chain_of(&leaf, &Spec::middle(), &Spec::root());
        s.signing_time = NOW - 200;
    })
}

#[test]
fn a_timestamp_says_when_in_both_forms() {
    for format in BOTH {
        let tsa = Tsa::new();
        let envelope = tsa.sign(&Signing::new(format), NOW - 5);
        let report = tsa.world().verify(format, &envelope);
        let verified = report.verified().unwrap_or_else(|| panic!("{report:#?}"));
        assert!(matches!(verified.authentic_time(),
            Some(AuthenticTime::TimestampAuthority { time, .. }) if *time == at(NOW - 5)));
    }
}

#[test]
fn a_signature_outlives_its_certificate_by_a_timestamp_only() {
    let tsa = Tsa::new();
    let signing = expired();
    let report = tsa.world().verify(Format::Jws, &tsa.sign(&signing, NOW - 150));
    assert!(report.verified().is_some(), "{report:#?}");
    assert_eq!(World::new().refused(&signing), Reason::CertificateNotValid, "without a store for timestamps");
    let bare = signing.envelope();
    assert_eq!(reason(&tsa.world(), Format::Jws, &bare), Reason::TimestampMissing);
    // Not by a timestamp that is not asked for.
    let stamped = tsa.sign(&signing, NOW - 150);
    assert_eq!(reason(&World::new(), Format::Jws, &stamped), Reason::CertificateNotValid);
}

#[test]
fn a_timestamp_is_asked_for_always_or_after_expiry() {
    let tsa = Tsa::new();
    let bare = Signing::new(Format::Cose).envelope();
    assert_eq!(reason(&tsa.world(), Format::Cose, &bare), Reason::TimestampMissing);
    let later = || {
        tsa.world()
            .with(|w| w.statement = policy(r#"{"level":"strict","verifyTimestamp":"afterCertExpiry"}"#))
    };
    assert!(later().verify(Format::Cose, &bare).verified().is_some(), "no certificate has expired");
    assert_eq!(reason(&later(), Format::Jws, &expired().envelope()), Reason::TimestampMissing);
    assert!(later().verify(Format::Jws, &tsa.sign(&expired(), NOW - 150)).verified().is_some());
    let logged = tsa.world().with(|w| w.statement = policy(r#"{"level":"permissive"}"#));
    let report = logged.verify(Format::Cose, &bare);
    assert_eq!(reasons(report.verified().unwrap().logged()), [Reason::TimestampMissing]);
}

#[test]
fn a_timestamp_lies_within_the_validity_of_every_certificate_with_its_accuracy() {
    let tsa = Tsa::new();
    // Valid until NOW - 100; the authority is accurate to a second.
    for (second, good) in [(NOW - 102, true), (NOW - 101, true), (NOW - 100, false), (NOW - 50, false)] {
        let report = tsa.world().verify(Format::Jws, &tsa.sign(&expired(), second));
        match good {
            true => assert!(report.verified().is_some(), "{second}: {report:?}"),
            false => assert_eq!(report.rejection().unwrap().reason, Reason::CertificateNotValid, "{second}"),
        }
    }
    let future = tsa.sign(&Signing::new(Format::Jws), NOW + 5);
    assert_eq!(reason(&tsa.world(), Format::Jws, &future), Reason::TimeInFuture);
}

#[test]
fn a_timestamp_is_of_this_signature_by_a_trusted_authority() {
    let tsa = Tsa::new();
    let draft = Signing::new(Format::Jws).draft();
    let with = |token: &[u8]| draft.finish(Some(token)).unwrap().0;
    let other = with(&tsa.stamp(b"another signature", NOW - 5));
    assert_eq!(reason(&tsa.world(), Format::Jws, &other), Reason::TimestampMismatch);
    assert_eq!(reason(&tsa.world(), Format::Jws, &with(b"no token")), Reason::TimestampMalformed);
    let mut token = tsa.stamp(draft.signature(), NOW - 5);
    let last = token.len() - 1;
    token[last] ^= 1;
    assert_eq!(reason(&tsa.world(), Format::Jws, &with(&token)), Reason::TimestampInvalid);
    // The same names and another key at the root.
    let stranger = Tsa {
        leaf: Spec::tsa().issue(&KEYS.other, &tsa_root(), &KEYS.root),
        root: tsa_root().issue(&KEYS.root, &tsa_root(), &KEYS.root),
    };
    let foreign = with(&stranger.stamp(draft.signature(), NOW - 5));
    assert_eq!(reason(&tsa.world(), Format::Jws, &foreign), Reason::TimestampUntrusted);
    let empty = World::new().with(|w| w.statement = policy(r#"{"level":"strict"}"#));
    assert_eq!(
        reason(&empty, Format::Jws, &with(&tsa.stamp(draft.signature(), NOW - 5))),
        Reason::TrustStoreMissing
    );
    // The signer's own store is none for timestamps.
    let signers = World::new().with(|w| {
        w.statement = policy(r#"{"level":"strict"}"#);
        w.store.add(StoreName::parse("tsa:clock").unwrap(), vec![chain()[2].clone()]).unwrap();
    });
    assert_eq!(
        reason(&signers, Format::Jws, &with(&tsa.stamp(draft.signature(), NOW - 5))),
        Reason::TimestampUntrusted
    );
}

#[test]
fn a_timestamp_authoritys_certificates_follow_the_specification_too() {
    let refused = |leaf: Spec, root: Spec| {
        let tsa = Tsa::of(&leaf, &root);
        reason(&tsa.world(), Format::Jws, &tsa.sign(&Signing::new(Format::Jws), NOW - 5))
    };
    let usage = Reason::CertificateUsage;
    assert_eq!(refused(Spec::tsa().with(|s| s.usage = None), tsa_root()), usage, "no key usage");
    assert_eq!(
        refused(Spec::tsa().with(|s| s.usage = Some((true, 0xa000))), tsa_root()),
        usage,
        "keyEncipherment"
    );
    assert_eq!(refused(Spec::tsa(), tsa_root().with(|s| s.usage = None)), usage, "a root without key usage");
    assert_eq!(refused(Spec::tsa(), tsa_root().with(|s| s.constraints = Some((false, true, None)))), usage);
    // Here, a key usage need not be critical.
    for (leaf, root) in [
        (Spec::tsa().with(|s| s.usage = Some((false, 0x8000))), tsa_root()),
        (Spec::tsa(), tsa_root().with(|s| s.usage = Some((false, CERT_SIGN)))),
    ] {
        let tsa = Tsa::of(&leaf, &root);
        let report = tsa.world().verify(Format::Jws, &tsa.sign(&Signing::new(Format::Jws), NOW - 5));
        assert!(report.verified().is_some(), "{report:?}");
    }
    let tsa = Tsa::of(&Spec::tsa().with(|s| s.valid.1 = NOW - 50), &tsa_root());
    let late = tsa.sign(&Signing::new(Format::Jws), NOW - 5);
    assert_eq!(reason(&tsa.world(), Format::Jws, &late), Reason::CertificateNotValid, "after its own end");
}

#[test]
fn v57_a_revoked_timestamp_authority_vouches_for_nothing() {
    let leaf = Spec::tsa().with(|s| s.more = vec![distribution_point("http://crl.example.com/tsa")]);
    let tsa = Tsa::of(&leaf, &tsa_root());
    let envelope = tsa.sign(&Signing::new(Format::Jws), NOW - 5);
    let with = |list: List| tsa.world().with(|w| w.lists = vec![list.issue(&tsa_root(), &KEYS.middle)]);
    assert!(with(List::of(&[])).verify(Format::Jws, &envelope).verified().is_some());
    // Also when the certificate was revoked after it stamped: a lost key can stamp any time.
    for since in [NOW - 50, NOW - 1] {
        let revoked = with(List::of(&[(4, since, Some(1), None)]));
        assert_eq!(reason(&revoked, Format::Jws, &envelope), Reason::CertificateRevoked);
        // The policy's own word on revocation is about the signer, not about the authority.
        let skipping =
            revoked.with(|w| w.statement = policy(r#"{"level":"strict","override":{"revocation":"skip"}}"#));
        assert_eq!(reason(&skipping, Format::Jws, &envelope), Reason::CertificateRevoked);
    }
    assert_eq!(reason(&tsa.world(), Format::Jws, &envelope), Reason::RevocationNotChecked);
}

#[test]
fn a_key_that_was_lost_within_the_accuracy_of_the_timestamp_was_lost_before() {
    let leaf = Spec::leaf().with(|s| s.more = vec![distribution_point("http://crl.example.com/x")]);
    let signing =
        || Signing::new(Format::Jws).with(|s| s.chain = chain_of(&leaf, &Spec::middle(), &Spec::root()));
    let tsa = Tsa::new();
    // The authority is accurate to a second.
    let envelope = tsa.sign(&signing(), NOW - 5);
    for (lost, good) in [(NOW - 3, true), (NOW - 4, false), (NOW - 5, false)] {
        let list = List::of(&[(3, NOW - 1, Some(1), Some(lost))]).issue(&Spec::middle(), &KEYS.middle);
        let report = tsa.world().with(|w| w.lists = vec![list]).verify(Format::Jws, &envelope);
        match good {
            true => assert!(report.verified().is_some(), "{lost}: {report:?}"),
            false => assert_eq!(report.rejection().unwrap().reason, Reason::CertificateRevoked, "{lost}"),
        }
    }
}

#[test]
fn a_store_for_timestamps_holds_roots_only() {
    let tsa = Tsa::new();
    let name = StoreName::parse("tsa:clock").unwrap();
    let mut store = countersign_notary::TrustStore::new();
    assert_eq!(
        store.add(name.clone(), vec![tsa.leaf.clone()]).unwrap_err().reason,
        Reason::TrustStoreMalformed
    );
    assert_eq!(
        store.add(name.clone(), vec![chain()[1].clone()]).unwrap_err().reason,
        Reason::TrustStoreMalformed
    );
    assert_eq!(store.add(name.clone(), Vec::new()).unwrap_err().reason, Reason::TrustStoreMalformed);
    store.add(name, vec![tsa.root]).unwrap();
    let ca = StoreName::parse("ca:acme").unwrap();
    assert_eq!(
        store.add(ca.clone(), vec![chain()[0].clone()]).unwrap_err().reason,
        Reason::TrustStoreMalformed
    );
    store.add(ca, vec![chain()[1].clone()]).unwrap();
}
