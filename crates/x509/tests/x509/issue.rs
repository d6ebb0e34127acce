//! What is issued can be read, holds as a path, and carries SCTs that verify; what must not be issued is not.

use crate::support::{at, key};
use countersign_crypto::{CryptoError, KeyPair, KeyType, Signer};
use countersign_x509::chain::{self, Purpose};
use countersign_x509::issue::{
    AuthorityProfile, IssueError, LeafProfile, Precertificate, intermediate_ca, root_ca, server_leaf,
    tsa_leaf,
};
use countersign_x509::sct::{Sct, SctError, signed_data};
use countersign_x509::{Certificate, FulcioExtensions, Name, San};

fn authority(cn: &str) -> AuthorityProfile {
    AuthorityProfile {
        subject: Name::new(Some("example"), Some(cn)),
        not_before: at(1_000),
        not_after: at(4_000_000_000),
        serial: [0xab; 20],
    }
}

fn read(der: impl AsRef<[u8]>) -> Certificate {
    Certificate::from_der(der.as_ref()).unwrap()
}

struct Ca {
    root: Certificate,
    root_key: KeyPair,
    middle: Certificate,
    key: KeyPair,
}

impl Ca {
    fn new(key_type: KeyType) -> Self {
        let root_key = KeyPair::generate(KeyType::EcdsaP384).unwrap();
        let root = read(root_ca(&authority("root"), Some(1), &root_key).unwrap());
        let key = KeyPair::generate(key_type).unwrap();
        let profile = authority("intermediate");
        let der =
            intermediate_ca(&profile, key.public_key(), Purpose::CodeSigning, &root, &root_key).unwrap();
        Self { root, root_key, middle: read(der), key }
    }
}

fn profile(key: &KeyPair, san: San) -> LeafProfile {
    let mut fulcio = FulcioExtensions::default();
    for arc in 1..=24 {
        fulcio.set(arc, &format!("value {arc}"));
    }
    LeafProfile {
        public_key: key.public_key().clone(),
        san,
        fulcio,
        not_before: at(2_000_000_000),
        not_after: at(2_000_000_600),
        serial: [0xff; 20],
    }
}

fn sct(precertificate: &Precertificate, log: &KeyPair) -> Sct {
    // The leaf's index, 3, as a static-ct log writes it.
    let extensions = vec![0, 0, 5, 0, 0, 0, 0, 3];
    let data = signed_data(5, precertificate.entry(), &extensions).unwrap();
    Sct {
        log_id: log.public_key().fingerprint(),
        timestamp_ms: 5,
        extensions,
        scheme: log.scheme(),
        signature: log.sign(&data).unwrap(),
    }
}

#[test]
fn leaves_of_every_name_and_key_type_are_issued_with_an_sct() {
    let log = key();
    for ca_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Ed25519] {
        let ca = Ca::new(ca_type);
        for (key_type, san) in [
            (KeyType::EcdsaP256, San::Email("a@example.com".into())),
            (KeyType::EcdsaP521, San::Uri("https://example.com/x".into())),
            (KeyType::Ed25519, San::username("user!example.com".into())),
        ] {
            let holder = KeyPair::generate(key_type).unwrap();
            let profile = profile(&holder, san.clone());
            let precertificate = Precertificate::build(&profile, &ca.middle, &ca.key).unwrap();
            let read_pre = read(precertificate.der());
            assert!(read_pre.is_precertificate());
            assert_eq!(read_pre.tbs_for_sct().unwrap(), precertificate.tbs_for_sct());

            let sct = sct(&precertificate, &log);
            let leaf =
                read(precertificate.clone().into_certificate(std::slice::from_ref(&sct), &ca.key).unwrap());
            assert_eq!(leaf.tbs_for_sct().unwrap(), precertificate.tbs_for_sct());
            assert_eq!(leaf.sans(), [san]);
            assert_eq!(leaf.fulcio(), &profile.fulcio);
            assert_eq!(leaf.fulcio().iter().count(), 23);
            assert_eq!(leaf.public_key(), holder.public_key());
            assert_eq!(leaf.serial()[0], 0x7f, "positive in 20 bytes");
            assert_eq!((leaf.not_before(), leaf.not_after()), (profile.not_before, profile.not_after));
            assert!(leaf.subject().is_empty());
            assert_eq!(leaf.authority_key_id(), ca.middle.subject_key_id());
            assert_eq!(leaf.scts().unwrap(), std::slice::from_ref(&sct));

            let path = chain::verify(
                &leaf,
                std::slice::from_ref(&ca.middle),
                std::slice::from_ref(&ca.root),
                Purpose::CodeSigning,
                profile.not_before,
            )
            .unwrap();
            sct.verify(&leaf, path.issuer().public_key(), log.public_key()).unwrap();
        }
    }
}

#[test]
fn an_sct_counts_for_its_certificate_issuer_and_log_only() {
    let (ca, log) = (Ca::new(KeyType::EcdsaP256), key());
    let holder = key();
    let issue = |san: &str, stamp: &dyn Fn(&Precertificate) -> Sct| {
        let profile = profile(&holder, San::Email(san.into()));
        let precertificate = Precertificate::build(&profile, &ca.middle, &ca.key).unwrap();
        let sct = stamp(&precertificate);
        (read(precertificate.into_certificate(std::slice::from_ref(&sct), &ca.key).unwrap()), sct)
    };
    let (leaf, good) = issue("a@example.com", &|p| sct(p, &log));
    let issuer = ca.middle.public_key();
    assert_eq!(good.verify(&leaf, issuer, log.public_key()), Ok(()));

    let invalid = |result: Result<(), SctError>| {
        assert!(
            matches!(result, Err(SctError::Signature { source: CryptoError::SignatureInvalid, .. })),
            "{result:?}"
        );
    };
    invalid(good.verify(&leaf, ca.root.public_key(), log.public_key()));
    let (other, _) = issue("b@example.com", &|_| good.clone());
    invalid(good.verify(&other, issuer, log.public_key()));
    invalid(Sct { timestamp_ms: 6, ..good.clone() }.verify(&leaf, issuer, log.public_key()));
    invalid(Sct { extensions: vec![], ..good.clone() }.verify(&leaf, issuer, log.public_key()));
    assert!(matches!(good.verify(&leaf, issuer, key().public_key()), Err(SctError::OtherLog { .. })));
    assert_eq!(good.verify(&ca.middle, issuer, log.public_key()), Err(SctError::NotEmbedded));

    // A detached one is over the whole certificate instead.
    invalid(good.verify_detached(&leaf, log.public_key()));
    let data = signed_data(9, countersign_x509::sct::SignedEntry::Certificate(leaf.der()), &[]).unwrap();
    let detached = Sct { timestamp_ms: 9, extensions: vec![], signature: log.sign(&data).unwrap(), ..good };
    assert_eq!(detached.verify_detached(&leaf, log.public_key()), Ok(()));
    invalid(detached.verify(&leaf, issuer, log.public_key()));
}

#[test]
fn what_must_not_be_issued_is_not() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let holder = key();
    let good = profile(&holder, San::Email("a@example.com".into()));
    let build = |p: &LeafProfile, issuer: &Certificate, signer: &KeyPair| {
        Precertificate::build(p, issuer, signer).map(drop)
    };
    assert_eq!(build(&good, &ca.middle, &ca.key), Ok(()));
    assert!(matches!(build(&good, &ca.middle, &holder), Err(IssueError::OtherKey { .. })));
    let leaf = Precertificate::build(&good, &ca.middle, &ca.key).unwrap();
    let leaf_certificate = read(leaf.der());
    assert!(matches!(build(&good, &leaf_certificate, &holder), Err(IssueError::Issuer { .. })));
    let too_late = LeafProfile { not_after: at(4_000_000_001), ..good.clone() };
    assert!(matches!(build(&too_late, &ca.middle, &ca.key), Err(IssueError::Validity { .. })));
    let backwards = LeafProfile { not_after: at(1_999_999_999), ..good.clone() };
    assert!(matches!(build(&backwards, &ca.middle, &ca.key), Err(IssueError::Validity { .. })));
    let anonymous = LeafProfile { fulcio: FulcioExtensions::default(), ..good.clone() };
    assert!(matches!(build(&anonymous, &ca.middle, &ca.key), Err(IssueError::Missing(_))));
    let mut zero = [0; 20];
    zero[0] = 0x80;
    assert_eq!(
        build(&LeafProfile { serial: zero, ..good.clone() }, &ca.middle, &ca.key),
        Err(IssueError::Serial)
    );
    for san in [San::Email(String::new()), San::Email("é@example.com".into()), San::username(String::new())]
    {
        let result = build(&LeafProfile { san, ..good.clone() }, &ca.middle, &ca.key);
        assert!(matches!(result, Err(IssueError::Encoding(_))), "{result:?}");
    }
    assert!(matches!(leaf.clone().into_certificate(&[], &ca.key), Err(IssueError::Missing(_))), "no SCT");
    let stamp = sct(&leaf, &key());
    assert!(matches!(leaf.into_certificate(&[stamp], &holder), Err(IssueError::OtherKey { .. })));
    let nameless = AuthorityProfile { subject: Name::new(None, None), ..authority("") };
    assert!(matches!(root_ca(&nameless, None, &ca.key), Err(IssueError::Missing(_))));
    let below =
        intermediate_ca(&authority("x"), holder.public_key(), Purpose::CodeSigning, &ca.middle, &ca.key);
    assert!(matches!(below, Err(IssueError::Issuer { .. })), "path length 0");
}

#[test]
fn authorities_are_written_as_their_profile_asks() {
    let ca = Ca::new(KeyType::EcdsaP256);
    assert!(ca.root.is_self_signed() && !ca.middle.is_self_signed());
    assert_eq!(ca.root.basic_constraints().unwrap().path_len, Some(1));
    assert_eq!(ca.middle.basic_constraints().unwrap().path_len, Some(0));
    assert!(ca.root.extended_key_usage().is_none());
    for authority in [&ca.root, &ca.middle] {
        let usage = authority.key_usage().unwrap();
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    }
    let key = key();
    let tsa = read(tsa_leaf(&authority("tsa"), key.public_key(), &ca.root, &ca.root_key).unwrap());
    chain::verify(&tsa, &[], std::slice::from_ref(&ca.root), Purpose::TimeStamping, at(2_000_000_000))
        .unwrap();
    let code_only = tsa_leaf(&authority("tsa"), key.public_key(), &ca.middle, &ca.key).unwrap();
    assert!(
        chain::verify(
            &read(code_only),
            std::slice::from_ref(&ca.middle),
            &[ca.root],
            Purpose::TimeStamping,
            at(2_000_000_000)
        )
        .is_err(),
        "the intermediate is for code signing"
    );
}

#[test]
fn a_servers_certificate_has_its_names_and_no_other_use() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = key();
    let names = [San::Dns("a.svc".into()), San::ip([127, 0, 0, 1].into()), San::ip([0_u16; 8].into())];
    let issue =
        |names: &[San]| server_leaf(&authority("server"), names, key.public_key(), &ca.root, &ca.root_key);
    let server = read(issue(&names).unwrap());
    assert_eq!(server.sans(), names);
    assert!(!server.is_ca());
    assert!(matches!(issue(&[]), Err(IssueError::Missing(_))));
    assert!(issue(&[San::Dns("a\0b".into())]).is_err());
    for purpose in [Purpose::CodeSigning, Purpose::TimeStamping] {
        let roots = std::slice::from_ref(&ca.root);
        assert!(chain::verify(&server, &[], roots, purpose, at(2_000_000_000)).is_err(), "{purpose}");
    }
}
