//! Paths: what holds, and for each rule a path in which it alone makes the answer no.

use crate::support::{ANY_PURPOSE, CODE_SIGNING, Spec, TIME_STAMPING, at, key};
use countersign_crypto::{KeyPair, Signer as _};
use countersign_x509::Certificate;
use countersign_x509::chain::{ChainError, Purpose, verify};

const NOW: i64 = 10_300;

/// A root, an intermediate and a leaf, each of which may be spoilt.
struct Pki {
    root_key: KeyPair,
    middle_key: KeyPair,
    leaf_key: KeyPair,
    root: Spec,
    middle: Spec,
    leaf: Spec,
}

impl Pki {
    fn new() -> Self {
        Self {
            root_key: key(),
            middle_key: key(),
            leaf_key: key(),
            root: Spec::ca("root"),
            middle: Spec::ca("middle").with(|s| s.ca = Some((true, Some(0)))),
            leaf: Spec::leaf("leaf"),
        }
    }

    fn certificates(&self) -> [Certificate; 3] {
        [
            self.leaf.issue(&self.leaf_key, "middle", &self.middle_key),
            self.middle.issue(&self.middle_key, "root", &self.root_key),
            self.root.issue(&self.root_key, "root", &self.root_key),
        ]
    }

    fn verify_at(&self, purpose: Purpose, second: i64) -> Result<(), ChainError> {
        let [leaf, middle, root] = self.certificates();
        let chain =
            verify(&leaf, std::slice::from_ref(&middle), std::slice::from_ref(&root), purpose, at(second))?;
        assert_eq!(chain.certificates().collect::<Vec<_>>(), [&leaf, &middle, &root]);
        assert_eq!((chain.leaf(), chain.issuer(), chain.anchor()), (&leaf, &middle, &root));
        Ok(())
    }

    fn verify(&self) -> Result<(), ChainError> {
        self.verify_at(Purpose::CodeSigning, NOW)
    }
}

fn spoil(change: impl FnOnce(&mut Pki)) -> Result<(), ChainError> {
    let mut pki = Pki::new();
    change(&mut pki);
    pki.verify()
}

fn is_usage(result: &Result<(), ChainError>, of: &str, word: &str) -> bool {
    matches!(result, Err(ChainError::Usage { certificate, expected, .. })
        if certificate.contains(of) && expected.contains(word))
}

#[test]
fn a_good_path_holds_and_says_who_issued_the_leaf() {
    assert_eq!(Pki::new().verify(), Ok(()));
    assert_eq!(spoil(|p| p.leaf.purposes = Some((true, vec![TIME_STAMPING, CODE_SIGNING]))), Ok(()));
    assert_eq!(spoil(|p| p.middle.purposes = Some((false, vec![CODE_SIGNING]))), Ok(()));
    assert_eq!(spoil(|p| p.middle.purposes = Some((false, vec![ANY_PURPOSE]))), Ok(()));
    assert_eq!(spoil(|p| p.root.usage = None), Ok(()), "an anchor without key usage");
}

#[test]
fn the_order_of_what_is_offered_does_not_matter() {
    let pki = Pki::new();
    let [leaf, middle, root] = pki.certificates();
    let stranger = Spec::ca("stranger").issue(&key(), "nobody", &key());
    let other_root = Spec::ca("other").issue(&key(), "other", &key());
    let offered = [stranger, leaf.clone(), root.clone(), middle.clone()];
    let chain = verify(&leaf, &offered, &[other_root, root.clone()], Purpose::CodeSigning, at(NOW)).unwrap();
    assert_eq!(chain.certificates().count(), 3);
    // The intermediate itself may be the anchor, though it is not self-signed.
    let chain = verify(&leaf, &[], std::slice::from_ref(&middle), Purpose::CodeSigning, at(NOW)).unwrap();
    assert_eq!((chain.issuer(), chain.anchor()), (&middle, &middle));
}

#[test]
fn without_anchors_nothing_is_trusted() {
    let [leaf, middle, root] = Pki::new().certificates();
    let check = |offered: &[Certificate], anchors: &[Certificate]| {
        verify(&leaf, offered, anchors, Purpose::CodeSigning, at(NOW)).map(drop)
    };
    assert_eq!(check(&[middle.clone(), root.clone()], &[]), Err(ChainError::NoAnchors));
    assert!(matches!(check(&[], &[root]), Err(ChainError::Untrusted { .. })), "no intermediate");
    let other = Spec::ca("root").issue(&key(), "root", &key());
    assert!(
        matches!(check(&[middle], &[other]), Err(ChainError::Untrusted { certificate, .. }) if certificate.contains("middle")),
        "a root of the right name and another key"
    );
    assert!(
        matches!(check(&[], std::slice::from_ref(&leaf)), Err(ChainError::Untrusted { .. })),
        "a leaf does not vouch for itself"
    );
}

#[test]
fn every_certificate_is_valid_at_the_time_borders_included() {
    let pki = Pki::new();
    let (first, last) = pki.leaf.valid;
    assert_eq!(pki.verify_at(Purpose::CodeSigning, first), Ok(()));
    assert_eq!(pki.verify_at(Purpose::CodeSigning, last), Ok(()));
    assert!(matches!(
        pki.verify_at(Purpose::CodeSigning, first - 1),
        Err(ChainError::NotYetValid { certificate, .. }) if certificate.contains("leaf")
    ));
    assert!(matches!(
        pki.verify_at(Purpose::CodeSigning, last + 1),
        Err(ChainError::Expired { certificate, .. }) if certificate.contains("leaf")
    ));
    let root_too_old = spoil(|p| p.root.valid = (1_000, NOW - 1));
    assert!(
        matches!(root_too_old, Err(ChainError::Expired { certificate, .. }) if certificate.contains("root"))
    );
    let root_too_new = spoil(|p| p.root.valid = (NOW + 1, NOW + 2));
    assert!(matches!(root_too_new, Err(ChainError::NotYetValid { .. })));
}

#[test]
fn v06_an_intermediate_that_expired_before_the_time_of_signing_is_refused() {
    // Valid when the leaf was issued, no longer when it signed.
    let result = spoil(|p| p.middle.valid = (1_000, NOW - 100));
    assert!(matches!(result, Err(ChainError::Expired { certificate, .. }) if certificate.contains("middle")));
}

#[test]
fn v44_of_two_issuers_with_one_name_the_one_that_signed_is_found() {
    let pki = Pki::new();
    let [leaf, middle, root] = pki.certificates();
    let twin_key = key();
    let twin = pki.middle.issue(&twin_key, "root", &pki.root_key);
    for offered in [[twin.clone(), middle.clone()], [middle.clone(), twin.clone()]] {
        let chain =
            verify(&leaf, &offered, std::slice::from_ref(&root), Purpose::CodeSigning, at(NOW)).unwrap();
        assert_eq!(chain.issuer().public_key(), pki.middle_key.public_key());
    }
    assert!(matches!(
        verify(&leaf, &[twin], &[root], Purpose::CodeSigning, at(NOW)),
        Err(ChainError::Untrusted { .. })
    ));
}

#[test]
fn authorities_must_be_authorities() {
    let not_ca = spoil(|p| p.middle.ca = Some((false, None)));
    assert!(is_usage(&not_ca, "middle", "authority"), "{not_ca:?}");
    let no_constraints = spoil(|p| p.middle.ca = None);
    assert!(is_usage(&no_constraints, "middle", "authority"), "{no_constraints:?}");
    let no_cert_sign = spoil(|p| p.middle.usage = Some(0x80));
    assert!(is_usage(&no_cert_sign, "middle", "keyCertSign"), "{no_cert_sign:?}");
    let no_usage = spoil(|p| p.middle.usage = None);
    assert!(is_usage(&no_usage, "middle", "keyCertSign"), "{no_usage:?}");
    let root_not_ca = spoil(|p| p.root.ca = None);
    assert!(is_usage(&root_not_ca, "root", "authority"), "{root_not_ca:?}");
    let root_without_cert_sign = spoil(|p| p.root.usage = Some(0x02));
    assert!(is_usage(&root_without_cert_sign, "root", "keyCertSign"), "{root_without_cert_sign:?}");
    let other_purpose = spoil(|p| p.middle.purposes = Some((false, vec![TIME_STAMPING])));
    assert!(is_usage(&other_purpose, "middle", "code signing"), "{other_purpose:?}");
    let too_long = spoil(|p| p.root.ca = Some((true, Some(0))));
    assert!(is_usage(&too_long, "root", "at most 0"), "{too_long:?}");
}

#[test]
fn code_signing_leaves_must_be_code_signing_leaves() {
    let ca = spoil(|p| p.leaf.ca = Some((true, None)));
    assert!(is_usage(&ca, "leaf", "a leaf"), "{ca:?}");
    for usage in [None, Some(0x40), Some(0x06)] {
        let result = spoil(|p| p.leaf.usage = usage);
        assert!(is_usage(&result, "leaf", "digitalSignature"), "{result:?}");
    }
    for purposes in [None, Some((false, vec![TIME_STAMPING])), Some((false, vec![ANY_PURPOSE]))] {
        let result = spoil(|p| p.leaf.purposes = purposes);
        assert!(is_usage(&result, "leaf", "code signing"), "{result:?}");
    }
}

#[test]
fn p13_a_time_stamping_leaf_has_that_purpose_alone_and_critical() {
    let check = |change: &dyn Fn(&mut Spec)| {
        let mut pki = Pki::new();
        pki.leaf = Spec::tsa("tsa");
        change(&mut pki.leaf);
        pki.verify_at(Purpose::TimeStamping, NOW)
    };
    assert_eq!(check(&|_| ()), Ok(()));
    assert_eq!(check(&|s| s.usage = None), Ok(()));
    assert_eq!(check(&|s| s.usage = Some(0x40)), Ok(()), "contentCommitment");
    for (what, purposes) in [
        ("none", None),
        ("not critical", Some((false, vec![TIME_STAMPING]))),
        ("a further one", Some((true, vec![TIME_STAMPING, CODE_SIGNING]))),
        ("any", Some((true, vec![ANY_PURPOSE]))),
        ("another", Some((true, vec![CODE_SIGNING]))),
    ] {
        let result = check(&|s| s.purposes = purposes.clone());
        assert!(matches!(result, Err(ChainError::Usage { .. })), "{what}: {result:?}");
    }
    assert!(check(&|s| s.usage = Some(0x20)).is_err(), "keyEncipherment only");
    assert!(check(&|s| s.ca = Some((true, None))).is_err());
}

#[test]
fn unknown_critical_extensions_are_refused_anywhere() {
    // Name constraints: known elsewhere, not interpreted here.
    let unknown = || (vec![0x55, 0x1d, 30], true, vec![0x30, 0]);
    let changes: [fn(&mut Pki) -> &mut Spec; 3] = [|p| &mut p.leaf, |p| &mut p.middle, |p| &mut p.root];
    for of in changes {
        let result = spoil(|p| of(p).more.push(unknown()));
        assert!(
            matches!(&result, Err(ChainError::UnknownCriticalExtension { extension, .. }) if extension == "2.5.29.30"),
            "{result:?}"
        );
        assert_eq!(spoil(|p| of(p).more.push((vec![0x55, 0x1d, 30], false, vec![0x30, 0]))), Ok(()));
    }
}

#[test]
fn a_precertificate_is_never_valid() {
    let poison = (vec![0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3], true, vec![5, 0]);
    let result = spoil(|p| p.leaf.more.push(poison));
    assert!(matches!(result, Err(ChainError::Precertificate { .. })), "{result:?}");
}

#[test]
fn key_identifiers_that_contradict_exclude_an_issuer() {
    let same = |p: &mut Pki| {
        p.leaf.issuer_key_id = Some(vec![1]);
        p.middle.key_id = Some(vec![1]);
    };
    assert_eq!(spoil(same), Ok(()));
    let other = spoil(|p| {
        same(p);
        p.middle.key_id = Some(vec![2]);
    });
    assert!(matches!(other, Err(ChainError::Untrusted { .. })));
}

#[test]
fn algorithms_outside_of_the_registry_are_named() {
    let pki = Pki::new();
    let [leaf, middle, root] = pki.certificates();
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA1 in both places.
    let mut der = leaf.der().to_vec();
    let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    while let Some(at) = der.windows(8).position(|w| w == sha256) {
        der[at..at + 8].copy_from_slice(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01, 0x7f]);
    }
    let leaf = Certificate::from_der(&der).unwrap();
    let result = verify(&leaf, &[middle], &[root], Purpose::CodeSigning, at(NOW));
    assert!(matches!(result, Err(ChainError::Algorithm { .. })), "{result:?}");
}

#[test]
fn loops_end_and_crowds_are_refused() {
    let (a_key, b_key, leaf_key) = (key(), key(), key());
    let a = Spec::ca("a").issue(&a_key, "b", &b_key);
    let b = Spec::ca("b").issue(&b_key, "a", &a_key);
    let leaf = Spec::leaf("leaf").issue(&leaf_key, "a", &a_key);
    let root = Spec::ca("root").issue(&key(), "root", &key());
    let result = verify(&leaf, &[a.clone(), b], std::slice::from_ref(&root), Purpose::CodeSigning, at(NOW));
    assert!(matches!(result, Err(ChainError::Untrusted { .. })), "{result:?}");

    // Many certificates of one name and key, each of which signs each: every order would be a path.
    let crowd: Vec<Certificate> =
        (1..60).map(|n| Spec::ca("a").with(|s| s.serial = n).issue(&a_key, "a", &a_key)).collect();
    let result = verify(&leaf, &crowd, std::slice::from_ref(&root), Purpose::CodeSigning, at(NOW));
    assert!(matches!(result, Err(ChainError::TooComplex { .. })), "{result:?}");
    let result = verify(&leaf, &vec![a; 65], &[root], Purpose::CodeSigning, at(NOW));
    assert_eq!(result, Err(ChainError::TooComplex { limit: 64 }));
}
