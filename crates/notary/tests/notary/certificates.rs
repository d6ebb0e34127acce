//! What the specification asks of certificates: for each rule a chain in which it alone makes the answer no.

use countersign_crypto::{KeyPair, KeyType};
use countersign_notary::chain::check_code_signing;
use countersign_notary::{Format, Reason, SignError, SignRequest, SigningScheme, sign};
use countersign_x509::Certificate;

use crate::support::{
    CERT_SIGN, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEYS, NOW, Signing, Spec, TIME_STAMPING, World,
    YEAR, chain, chain_of, now, store_of, target, with_scheme,
};

fn reason(chain: &[Certificate]) -> Result<(), Reason> {
    check_code_signing(chain).map_err(|refusal| refusal.reason)
}

fn leaf(spoil: impl FnOnce(&mut Spec)) -> Result<(), Reason> {
    reason(&chain_of(&Spec::leaf().with(spoil), &Spec::middle(), &Spec::root()))
}

fn middle(spoil: impl FnOnce(&mut Spec)) -> Result<(), Reason> {
    reason(&chain_of(&Spec::leaf(), &Spec::middle().with(spoil), &Spec::root()))
}

fn root(spoil: impl FnOnce(&mut Spec)) -> Result<(), Reason> {
    reason(&chain_of(&Spec::leaf(), &Spec::middle(), &Spec::root().with(spoil)))
}

const USAGE: Result<(), Reason> = Err(Reason::CertificateUsage);
const BROKEN: Result<(), Reason> = Err(Reason::CertificateChain);

#[test]
fn leaves_are_for_signing_and_for_nothing_else() {
    assert_eq!(leaf(|_| {}), Ok(()));
    assert_eq!(leaf(|s| s.usage = None), USAGE);
    assert_eq!(leaf(|s| s.usage = Some((false, DIGITAL_SIGNATURE))), USAGE, "not critical");
    assert_eq!(leaf(|s| s.usage = Some((true, 0x4000))), USAGE, "no digitalSignature");
    assert_eq!(leaf(|s| s.usage = Some((true, DIGITAL_SIGNATURE | 0x4000))), Ok(()), "contentCommitment");
    for (bit, name) in [
        (0x2000, "keyEncipherment"),
        (0x1000, "dataEncipherment"),
        (0x0800, "keyAgreement"),
        (CERT_SIGN, "keyCertSign"),
        (CRL_SIGN, "cRLSign"),
        (0x0100, "encipherOnly"),
        (0x0080, "decipherOnly"),
    ] {
        assert_eq!(leaf(|s| s.usage = Some((true, DIGITAL_SIGNATURE | bit))), USAGE, "{name}");
    }
    assert_eq!(leaf(|s| s.constraints = Some((true, true, None))), USAGE, "an authority");
    assert_eq!(leaf(|s| s.constraints = Some((false, false, None))), Ok(()));
}

#[test]
fn extended_key_usage_is_optional_and_never_foreign() {
    assert_eq!(leaf(|s| s.purposes = None), Ok(()));
    assert_eq!(leaf(|s| s.purposes = Some((true, vec![CODE_SIGNING]))), Ok(()));
    // Of a private arc: neither code signing nor one of those that are forbidden.
    assert_eq!(leaf(|s| s.purposes = Some((false, vec![&[0x06, 3, 0x2b, 6, 99]]))), Ok(()));
    let other = |last: u8| -> &'static [u8] {
        match last {
            1 => &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1],
            2 => &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2],
            4 => &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 4],
            9 => &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9],
            _ => &[0x06, 4, 0x55, 0x1d, 0x25, 0],
        }
    };
    for last in [0, 1, 2, 4, 9] {
        assert_eq!(leaf(|s| s.purposes = Some((false, vec![CODE_SIGNING, other(last)]))), USAGE, "{last}");
    }
    assert_eq!(leaf(|s| s.purposes = Some((false, vec![TIME_STAMPING]))), USAGE);
}

#[test]
fn authorities_may_issue_and_have_room() {
    for spoil in [middle, root] as [fn(fn(&mut Spec)) -> Result<(), Reason>; 2] {
        assert_eq!(spoil(|s| s.constraints = None), USAGE);
        assert_eq!(spoil(|s| s.constraints = Some((true, false, None))), USAGE);
        assert_eq!(spoil(|s| s.constraints = Some((false, true, None))), USAGE, "not critical");
        assert_eq!(spoil(|s| s.usage = None), USAGE);
        assert_eq!(spoil(|s| s.usage = Some((false, CERT_SIGN))), USAGE, "not critical");
        assert_eq!(spoil(|s| s.usage = Some((true, CRL_SIGN))), USAGE, "no keyCertSign");
    }
    assert_eq!(root(|s| s.constraints = Some((true, true, Some(1)))), Ok(()));
    assert_eq!(root(|s| s.constraints = Some((true, true, Some(0)))), USAGE, "no room for the middle one");
    assert_eq!(middle(|s| s.constraints = Some((true, true, Some(0)))), Ok(()));
}

#[test]
fn a_chain_is_whole_ordered_and_of_one_root() {
    let good = chain();
    let [leaf, middle, root] = good.as_slice() else { panic!() };
    let list = |all: &[&Certificate]| all.iter().map(|c| (*c).clone()).collect::<Vec<_>>();
    assert_eq!(reason(&[]), BROKEN);
    assert_eq!(reason(&list(&[leaf])), BROKEN, "the leaf alone");
    assert_eq!(reason(&list(&[leaf, middle])), BROKEN, "without the root");
    assert_eq!(reason(&list(&[leaf, root])), BROKEN, "without the middle one");
    assert!(reason(&list(&[leaf, root, middle])).is_err(), "in another order");
    assert!(reason(&list(&[middle, leaf, root])).is_err(), "in another order");
    assert!(reason(&list(&[root])).is_err(), "the root, which is no leaf");
    assert!(reason(&list(&[leaf, middle, root, root])).is_err(), "the root twice");
    let stranger = Spec::root().with(|s| s.serial = 9).issue(&KEYS.other, &Spec::root(), &KEYS.other);
    assert!(reason(&list(&[leaf, middle, root, &stranger])).is_err(), "a stranger behind it");
    assert!(reason(&list(&[leaf, middle, &stranger])).is_err(), "a root of the same name and another key");
    assert!(reason(&list(&[leaf, &stranger, middle, root])).is_err(), "a stranger in it");
    let same_name = Spec::middle().issue(&KEYS.other, &Spec::root(), &KEYS.root);
    assert_eq!(reason(&list(&[leaf, &same_name, root])), BROKEN, "the right name and another key");
}

#[test]
fn a_leaf_that_signs_itself_is_a_chain_of_one() {
    let alone = Spec::leaf().issue(&KEYS.leaf, &Spec::leaf(), &KEYS.leaf);
    assert_eq!(reason(std::slice::from_ref(&alone)), Ok(()));
    let signing = Signing::new(Format::Jws).with(|s| s.chain = vec![alone.clone()]);
    let world = World::new().with(|w| w.store = store_of("ca:acme", vec![alone]));
    world.accepted(&signing);
    let of_another = Spec::leaf().issue(&KEYS.leaf, &Spec::leaf(), &KEYS.other);
    assert_eq!(reason(&[of_another]), BROKEN, "its own name, and another's signature");
}

#[test]
fn keys_and_algorithms_are_those_of_the_specification() {
    let ed25519 = KeyPair::generate(KeyType::Ed25519).unwrap();
    let certificate = Spec::leaf().issue(&ed25519, &Spec::middle(), &KEYS.middle);
    let above = chain().split_off(1);
    assert_eq!(reason(&[&[certificate], &above[..]].concat()), Err(Reason::AlgorithmUnsupported));
    const ECDSA_SHA1: &[u8] = &[0x30, 9, 0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    const RSA_SHA1: &[u8] = &[0x30, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0];
    for weak in [ECDSA_SHA1, RSA_SHA1] {
        assert_eq!(leaf(|s| s.algorithm = Some(weak)), Err(Reason::AlgorithmUnsupported));
        assert_eq!(middle(|s| s.algorithm = Some(weak)), Err(Reason::AlgorithmUnsupported));
        assert_eq!(root(|s| s.algorithm = Some(weak)), Err(Reason::AlgorithmUnsupported));
    }
}

#[test]
fn other_extensions_are_not_evaluated_and_a_report_names_the_critical_ones() {
    let spec = Spec::leaf().with(|s| s.more = vec![(vec![0x2b, 6, 1, 4, 1, 99], true, vec![0x05, 0x00])]);
    let chain = chain_of(&spec, &Spec::middle(), &Spec::root());
    let signing = Signing::new(Format::Cose).with(|s| s.chain = chain);
    let report = World::new().verify(Format::Cose, &signing.envelope());
    assert!(report.verified().is_some(), "{report:?}");
    assert!(report.checks().iter().any(|check| check.found.contains("1.3.6.1.4.1.99")), "{report:?}");
}

#[test]
fn validity_need_not_be_nested_but_every_certificate_must_be_valid() {
    let longer = Spec::leaf().with(|s| s.valid = (NOW - 20 * YEAR, NOW + 20 * YEAR));
    let signing = |leaf: &Spec, middle: &Spec, root: &Spec| {
        Signing::new(Format::Jws).with(|s| s.chain = chain_of(leaf, middle, root))
    };
    World::new().accepted(&signing(&longer, &Spec::middle(), &Spec::root()));
    let early = NOW - 5 * YEAR;
    for (name, leaf, middle, root) in [
        ("leaf", Spec::leaf().with(|s| s.valid.1 = NOW - 1), Spec::middle(), Spec::root()),
        ("middle", Spec::leaf(), Spec::middle().with(|s| s.valid.1 = NOW - 1), Spec::root()),
        ("root", Spec::leaf(), Spec::middle(), Spec::root().with(|s| s.valid.1 = NOW - 1)),
        (
            "leaf, not yet",
            Spec::leaf().with(|s| s.valid = (NOW + 1, NOW + YEAR)),
            Spec::middle(),
            Spec::root(),
        ),
    ] {
        let chain = chain_of(&leaf, &middle, &root);
        let store = store_of("ca:acme", vec![chain[2].clone()]);
        // Signed while all were valid, which is not what counts without anybody to say so.
        let time = if name.contains("yet") { NOW + 1 } else { early.max(leaf.valid.0) };
        let signing = signing(&leaf, &middle, &root).with(|s| s.signing_time = time);
        let world = World::new().with(|w| w.store = store);
        assert_eq!(world.refused(&signing), Reason::CertificateNotValid, "{name}");
    }
}

#[test]
fn nothing_is_signed_that_nobody_would_accept() {
    let all = chain();
    let request = |chain: &[Certificate], signer: &KeyPair, expiry: Option<i64>| {
        sign(&SignRequest {
            format: Format::Jws,
            scheme: SigningScheme::X509,
            target: &target(),
            signing_time: now(),
            expiry: expiry.map(crate::support::at),
            agent: None,
            chain,
            signer,
        })
    };
    assert!(request(&all, &KEYS.leaf, None).is_ok());
    assert!(matches!(request(&all, &KEYS.other, None), Err(SignError::OtherKey { .. })));
    assert!(
        matches!(request(&all[..2], &KEYS.leaf, None), Err(SignError::Refused(r)) if r.reason == Reason::CertificateChain)
    );
    assert!(matches!(request(&[], &KEYS.leaf, None), Err(SignError::Refused(_))));
    assert!(
        matches!(request(&all, &KEYS.leaf, Some(NOW)), Err(SignError::Refused(_))),
        "expired from the start"
    );
    let expired = chain_of(&Spec::leaf().with(|s| s.valid.1 = NOW - 1), &Spec::middle(), &Spec::root());
    assert!(
        matches!(request(&expired, &KEYS.leaf, None), Err(SignError::Refused(r)) if r.reason == Reason::CertificateNotValid)
    );
    let rsa = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
    let certificate = Spec::leaf().issue(&rsa, &Spec::middle(), &KEYS.middle);
    let chain = [certificate, all[1].clone(), all[2].clone()];
    assert!(matches!(request(&chain, &rsa, None), Err(SignError::Scheme { .. })), "PKCS #1 v1.5");
    assert!(request(&chain, &with_scheme(rsa), None).is_ok());
}
