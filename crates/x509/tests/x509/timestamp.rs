//! Timestamps: answers that verify, and for each rule a token in which it alone makes the answer no.

use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer};
use countersign_x509::chain::ChainError;
use countersign_x509::timestamp::{
    Authority, FailureInfo, Imprinted, Responder, ResponderError, SignerId, TimestampError, TimestampRequest,
    TimestampToken, VerifiedTimestamp, reject, respond,
};
use countersign_x509::{Certificate, oid};

use crate::support::{CODE_SIGNING, Spec, TIME_STAMPING, at, key};

const NOW: i64 = 10_300;
const DATA: &[u8] = b"a signature";

/// An authority: root, intermediate, leaf.
struct Tsa {
    root_key: KeyPair,
    middle_key: KeyPair,
    leaf_key: KeyPair,
    chain: Vec<Certificate>,
}

impl Tsa {
    fn with(key_type: KeyType, leaf: &Spec) -> Self {
        let (root_key, middle_key, leaf_key) = (key(), key(), KeyPair::generate(key_type).unwrap());
        let middle = Spec::ca("middle").with(|s| s.purposes = Some((false, vec![TIME_STAMPING])));
        let chain = vec![
            leaf.issue(&leaf_key, "middle", &middle_key),
            middle.issue(&middle_key, "root", &root_key),
            Spec::ca("root").issue(&root_key, "root", &root_key),
        ];
        Self { root_key, middle_key, leaf_key, chain }
    }

    fn new() -> Self {
        Self::with(KeyType::EcdsaP256, &Spec::tsa("tsa"))
    }

    fn responder(&self) -> Responder {
        Responder::new(self.chain[0].clone(), oid::SIGSTORE_TSA_POLICY, &self.leaf_key).unwrap()
    }

    fn answer(&self, request: &TimestampRequest) -> Vec<u8> {
        respond(&self.responder(), request, at(NOW), &[0x9c; 20], &self.leaf_key).unwrap()
    }

    fn authority(&self) -> Authority {
        Authority::from_chain(&self.chain).unwrap()
    }

    /// The same without the leaf, as in a trust root that leaves it to the token.
    fn authority_without_leaf(&self) -> Authority {
        Authority::from_chain(&self.chain[1..]).unwrap()
    }
}

fn request(cert_req: bool) -> TimestampRequest {
    let imprint = HashAlgorithm::Sha256.digest(DATA);
    TimestampRequest { imprint, policy: None, nonce: Some(vec![0x52, 0x71]), cert_req }
}

fn check(token: &[u8], authority: &Authority) -> Result<VerifiedTimestamp, TimestampError> {
    TimestampToken::parse(token)?.verify(Imprinted::Bytes(DATA), None, authority)
}

#[test]
fn answers_of_every_key_type_and_imprint_verify() {
    for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Ed25519] {
        let tsa = Tsa::with(key_type, &Spec::tsa("tsa"));
        for hash in HashAlgorithm::ALL {
            let request = TimestampRequest { imprint: hash.digest(DATA), ..request(false) };
            let token = TimestampToken::parse(&tsa.answer(&request)).unwrap();
            let verified = token
                .verify(Imprinted::Digest(&request.imprint), request.nonce.as_deref(), &tsa.authority())
                .unwrap();
            assert_eq!(verified.time(), at(NOW));
            let info = verified.info();
            assert_eq!(info.policy, oid::SIGSTORE_TSA_POLICY);
            assert_eq!(info.nonce, request.nonce);
            assert_eq!(info.accuracy, Some(std::time::Duration::from_secs(1)));
            assert_eq!(info.serial, [&[0][..], &[0x9c; 20]].concat());
            assert!(info.tsa.is_some());
            assert_eq!(verified.chain().leaf(), &tsa.chain[0]);
            assert_eq!(verified.chain().anchor(), &tsa.chain[2]);
        }
    }
}

/// Made once by `openssl ts -reply`: SHA-384 imprint, signing certificates with an explicit hash name and the
/// whole chain, accuracy in seconds and milliseconds.
#[test]
fn a_token_of_openssl_verifies() {
    let chain = Certificate::chain_from_pem(include_str!("../data/tsa_chain.pem")).unwrap();
    let token = TimestampToken::parse(include_bytes!("../data/openssl.tsr")).unwrap();
    let imprint = token.unverified_info().imprint;
    for chain in [&chain[..], &chain[1..]] {
        let authority = Authority::from_chain(chain).unwrap();
        let verified = token.verify(Imprinted::Digest(&imprint), None, &authority).unwrap();
        assert_eq!(verified.info().accuracy, Some(std::time::Duration::from_millis(1500)));
        assert_eq!(verified.info().policy.to_string(), "1.2.3.4");
    }
}

#[test]
fn the_certificate_comes_along_only_when_asked_for() {
    let tsa = Tsa::new();
    let without = TimestampToken::parse(&tsa.answer(&request(false))).unwrap();
    let with = TimestampToken::parse(&tsa.answer(&request(true))).unwrap();
    assert!(without.embedded_certificates().is_empty());
    assert_eq!(with.embedded_certificates(), [tsa.chain[0].der().to_vec()]);
    let issuer = tsa.chain[0].issuer().der.clone();
    assert_eq!(with.signer_id(), &SignerId::IssuerAndSerial { issuer, serial: vec![7] });
    assert!(check(&tsa.answer(&request(true)), &tsa.authority_without_leaf()).is_ok());
    assert_eq!(
        check(&tsa.answer(&request(false)), &tsa.authority_without_leaf()),
        Err(TimestampError::NoSignerCertificate)
    );
}

#[test]
fn a_timestamp_of_other_bytes_is_refused() {
    let tsa = Tsa::new();
    let token = TimestampToken::parse(&tsa.answer(&request(false))).unwrap();
    let other = token.verify(Imprinted::Bytes(b"another"), None, &tsa.authority());
    assert!(matches!(other, Err(TimestampError::Imprint { .. })), "{other:?}");
    let other_hash = HashAlgorithm::Sha512.digest(DATA);
    let other = token.verify(Imprinted::Digest(&other_hash), None, &tsa.authority());
    assert!(matches!(other, Err(TimestampError::Imprint { .. })), "{other:?}");
}

#[test]
fn v43_another_nonce_or_none_is_refused_when_one_was_sent() {
    let tsa = Tsa::new();
    let with = TimestampToken::parse(&tsa.answer(&request(false))).unwrap();
    let without =
        TimestampToken::parse(&tsa.answer(&TimestampRequest { nonce: None, ..request(false) })).unwrap();
    let check = |token: &TimestampToken, nonce: &[u8]| {
        token.verify(Imprinted::Bytes(DATA), Some(nonce), &tsa.authority()).map(drop)
    };
    assert_eq!(check(&with, &[0x52, 0x71]), Ok(()));
    assert_eq!(check(&with, &[0x52, 0x72]), Err(TimestampError::Nonce));
    assert_eq!(check(&without, &[0x52, 0x71]), Err(TimestampError::Nonce));
}

#[test]
fn v46_a_token_signed_by_another_key_with_the_real_certificate_inside_is_refused() {
    let tsa = Tsa::new();
    let forged = respond(&tsa.responder(), &request(true), at(NOW), &[1; 20], &key()).unwrap();
    for authority in [tsa.authority(), tsa.authority_without_leaf()] {
        assert!(matches!(check(&forged, &authority), Err(TimestampError::Signature(_))));
    }
}

#[test]
fn v47_the_signer_is_the_one_the_token_names_and_the_trust_root_knows() {
    let tsa = Tsa::new();
    // A second certificate of the same authorities, under another name.
    let other_key = key();
    let other = Spec::tsa("spoofed").with(|s| s.serial = 9).issue(&other_key, "middle", &tsa.middle_key);
    let responder = Responder::new(other, oid::SIGSTORE_TSA_POLICY, &other_key).unwrap();
    let token = respond(&responder, &request(true), at(NOW), &[1; 20], &other_key).unwrap();
    assert!(matches!(check(&token, &tsa.authority()), Err(TimestampError::OtherSigner { .. })));
    // Same issuer and serial number, other certificate: the signing certificate attribute tells them apart.
    let twin = Spec::tsa("twin").issue(&other_key, "middle", &tsa.middle_key);
    let responder = Responder::new(twin, oid::SIGSTORE_TSA_POLICY, &other_key).unwrap();
    let token = respond(&responder, &request(true), at(NOW), &[1; 20], &other_key).unwrap();
    let result = check(&token, &tsa.authority());
    assert!(
        matches!(result, Err(TimestampError::Attribute { attribute: "signingCertificateV2", .. })),
        "{result:?}"
    );
    // Without a leaf in the trust root the token's own is used, and must lead to the anchor.
    assert!(check(&token, &tsa.authority_without_leaf()).is_ok());
}

#[test]
fn v47_certificates_injected_into_the_bag_change_nothing_or_are_refused() {
    let tsa = Tsa::new();
    let good = tsa.answer(&request(true));
    let twin = Spec::tsa("twin").issue(&key(), "middle", &tsa.middle_key);
    let stranger = Spec::tsa("stranger").issue(&key(), "nobody", &key());
    for (injected, without_leaf_ok) in [(&twin, false), (&stranger, true)] {
        let token = inject(&good, tsa.chain[0].der(), injected.der());
        assert_eq!(TimestampToken::parse(&token).unwrap().embedded_certificates().len(), 2);
        let verified = check(&token, &tsa.authority()).unwrap();
        assert_eq!(verified.chain().leaf(), &tsa.chain[0]);
        let without_leaf = check(&token, &tsa.authority_without_leaf());
        assert_eq!(without_leaf.is_ok(), without_leaf_ok, "{without_leaf:?}");
    }
}

/// Puts a certificate in front of another in the bag of a token, which is not signed, and corrects the lengths
/// around it.
fn inject(token: &[u8], before: &[u8], injected: &[u8]) -> Vec<u8> {
    let at = token.windows(before.len()).position(|w| w == before).unwrap();
    let mut out = token.to_vec();
    out.splice(at..at, injected.iter().copied());
    // The values that hold the place, outermost first; all of them have two length bytes.
    let mut position = 0;
    while position < at {
        let length = usize::from(u16::from_be_bytes([token[position + 2], token[position + 3]]));
        let holds = token[position + 1] == 0x82 && position + 4 + length > at;
        if holds {
            let longer = u16::try_from(length + injected.len()).unwrap().to_be_bytes();
            out[position + 2..position + 4].copy_from_slice(&longer);
            position += 4;
        } else {
            // Pass over it, whatever the form of its length.
            position += match token[position + 1] {
                short @ 0..=0x7f => 2 + usize::from(short),
                0x81 => 3 + usize::from(token[position + 2]),
                _ => 4 + length,
            };
        }
    }
    out
}

#[test]
fn v38_each_authority_stands_for_itself() {
    let (one, two) = (Tsa::new(), Tsa::new());
    let token = one.answer(&request(true));
    assert!(check(&token, &two.authority()).is_err());
    assert!(check(&token, &two.authority_without_leaf()).is_err());
    // The leaf of one under the anchor of the other.
    let mixed = [one.chain[0].clone(), two.chain[1].clone(), two.chain[2].clone()];
    let result = check(&token, &Authority::from_chain(&mixed).unwrap());
    assert!(matches!(result, Err(TimestampError::Chain(ChainError::Untrusted { .. }))), "{result:?}");
    for (chain, what) in [(&[][..], "nothing"), (&one.chain[..1], "a leaf alone")] {
        assert_eq!(Authority::from_chain(chain).err(), Some(TimestampError::NoAuthority), "{what}");
    }
}

#[test]
fn the_chain_is_checked_at_the_time_in_the_token() {
    let tsa = Tsa::new();
    // One authority for all: what it remembers of its path is not the times.
    let kept = tsa.authority();
    for (second, good) in [(9_999, false), (10_000, true), (10_600, true), (10_601, false)] {
        let token = respond(&tsa.responder(), &request(false), at(second), &[1; 20], &tsa.leaf_key).unwrap();
        let result = check(&token, &tsa.authority());
        assert_eq!(result.is_ok(), good, "{second}: {result:?}");
        assert_eq!(check(&token, &kept), result, "{second}");
    }
}

#[test]
fn p13_a_certificate_not_for_time_stamping_alone_neither_answers_nor_verifies() {
    let purposes = [
        Some((false, vec![TIME_STAMPING])),
        Some((true, vec![TIME_STAMPING, CODE_SIGNING])),
        Some((true, vec![CODE_SIGNING])),
        None,
    ];
    for purposes in purposes {
        let good = Tsa::new();
        let bad = Spec::tsa("tsa").with(|s| s.purposes = purposes);
        let bad = bad.issue(&good.leaf_key, "middle", &good.middle_key);
        let refused = Responder::new(bad.clone(), oid::SIGSTORE_TSA_POLICY, &good.leaf_key);
        assert!(matches!(refused, Err(ResponderError::Usage(_))), "{refused:?}");
        // The same key, issuer and serial number, in a trust root with the bad certificate.
        let mut chain = good.chain.clone();
        chain[0] = bad;
        assert!(check(&good.answer(&request(false)), &Authority::from_chain(&chain).unwrap()).is_err());
    }
    let tsa = Tsa::new();
    let other_key = Responder::new(tsa.chain[0].clone(), oid::SIGSTORE_TSA_POLICY, &tsa.root_key);
    assert!(matches!(other_key, Err(ResponderError::OtherKey { .. })));
}

/// The strongest statement about reading and checking together: whatever byte of a token is changed, it either
/// fails or still says the same.
#[test]
fn no_changed_byte_makes_a_token_say_something_else() {
    let tsa = Tsa::new();
    let good = tsa.answer(&request(true));
    let said = check(&good, &tsa.authority()).unwrap();
    let mut passed = 0;
    for at in 0..good.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if let Ok(verified) = check(&bytes, &tsa.authority()) {
                assert_eq!(verified, said, "byte {at}");
                passed += 1;
            }
        }
    }
    // Only the unsigned parts may change: versions, hints, the certificate that came along.
    assert!(passed < 4 * (tsa.chain[0].der().len() + 40), "{passed} changes passed");
    for end in 0..good.len() {
        assert!(TimestampToken::parse(&good[..end]).is_err());
    }
    assert!(TimestampToken::parse(&[good.as_slice(), &[0]].concat()).is_err(), "a byte behind the end");
    assert!(TimestampToken::parse(&vec![0x30; 65 * 1024]).is_err(), "too large");
}

#[test]
fn rejections_are_read_as_rejections() {
    for (failure, bits) in [
        (FailureInfo::BadAlgorithm, &[0x03, 2, 7, 0x80][..]),
        (FailureInfo::BadDataFormat, &[0x03, 2, 2, 0x04]),
        (FailureInfo::UnacceptedPolicy, &[0x03, 3, 0, 0x00, 0x01]),
        (FailureInfo::SystemFailure, &[0x03, 5, 6, 0, 0, 0, 0x40]),
    ] {
        let der = reject(failure, "no such policy");
        assert!(der.ends_with(bits), "{der:02x?}");
        let expected = TimestampError::NotGranted { status: 2, text: "no such policy".into() };
        assert_eq!(TimestampToken::parse(&der), Err(expected));
    }
    // Granted, without a token.
    assert!(TimestampToken::parse(&[0x30, 5, 0x30, 3, 0x02, 1, 0]).is_err());
}

#[test]
fn a_signer_that_fails_gives_an_error() {
    #[derive(Debug)]
    struct Broken(KeyPair);
    impl Signer for Broken {
        fn public_key(&self) -> &countersign_crypto::PublicKey {
            self.0.public_key()
        }
        fn scheme(&self) -> countersign_crypto::Scheme {
            self.0.scheme()
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
            Err(countersign_crypto::CryptoError::Signing("unplugged".into()))
        }
        fn sign_digest(
            &self,
            _: &countersign_crypto::Digest,
        ) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
            Err(countersign_crypto::CryptoError::Signing("unplugged".into()))
        }
    }
    let tsa = Tsa::new();
    let responder = tsa.responder();
    let error = respond(&responder, &request(false), at(NOW), &[1; 20], &Broken(tsa.leaf_key)).unwrap_err();
    assert!(error.to_string().contains("unplugged"), "{error}");
}
