//! Signatures and keys made by others: RSA of 2048 bits by openssl, Ed25519ph from RFC 8032.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use countersign_crypto::encoding::{base64_decode, hex_decode};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme};

const MESSAGE: &[u8] = b"message";
const PKCS1: &str = include_str!("data/rsa2048-pkcs1.b64");
const PKCS1_SHA512: &str = include_str!("data/rsa2048-pkcs1-sha512.b64");
const PSS: &str = include_str!("data/rsa2048-pss.b64");
const PSS_SALT20: &str = include_str!("data/rsa2048-pss-salt20.b64");

fn bytes(base64: &str) -> Vec<u8> {
    base64_decode(base64.trim()).unwrap()
}

fn rsa() -> PublicKey {
    PublicKey::from_spki_der(&bytes(include_str!("data/rsa2048.b64"))).unwrap()
}

#[test]
fn rsa_signatures_of_2048_bits_verify_under_their_own_scheme_only() {
    use HashAlgorithm::{Sha256, Sha512};
    let key = rsa();
    assert_eq!(key.key_type(), KeyType::Rsa { bits: 2048 });
    let schemes =
        [Scheme::RsaPkcs1(Sha256), Scheme::RsaPkcs1(Sha512), Scheme::RsaPss(Sha256), Scheme::RsaPss(Sha512)];
    for (signature, of) in [
        (PKCS1, Some(schemes[0])),
        (PKCS1_SHA512, Some(schemes[1])),
        (PSS, Some(schemes[2])),
        (PSS_SALT20, None),
    ] {
        let signature = bytes(signature);
        for scheme in schemes {
            let good = of == Some(scheme);
            assert_eq!(key.verify(scheme, MESSAGE, &signature).is_ok(), good, "{scheme}");
            let digest = scheme.hash().unwrap().digest(MESSAGE);
            assert_eq!(key.verify_digest(scheme, &digest, &signature).is_ok(), good, "{scheme}, digest");
            assert!(key.verify(scheme, b"massage", &signature).is_err());
            assert!(key.verify(scheme, MESSAGE, &signature[1..]).is_err());
        }
    }
}

#[test]
fn rsa_keys_of_other_sizes_and_with_odd_exponents_are_refused() {
    let (modulus, exponent) = rsa().rsa_numbers().unwrap();
    assert_eq!(exponent, [1, 0, 1]);
    assert_eq!(PublicKey::from_rsa_numbers(&modulus, &exponent).unwrap(), rsa());
    for len in [128, 192, 255, 257, 320, 1024] {
        let mut other = modulus.repeat(4);
        other.truncate(len);
        other[len - 1] |= 1;
        assert!(PublicKey::from_rsa_numbers(&other, &exponent).is_err(), "{len} bytes");
    }
    let mut short = modulus.clone();
    short[0] &= 0x7f;
    assert!(PublicKey::from_rsa_numbers(&short, &exponent).is_err(), "2047 bits");
    for bad in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[0xff; 9]] {
        assert!(PublicKey::from_rsa_numbers(&modulus, bad).is_err(), "exponent {bad:02x?}");
    }
    assert!(PublicKey::from_rsa_numbers(&modulus, &[3]).is_ok());
}

/// RFC 8032 section 7.3, the message "abc".
#[test]
fn ed25519ph_is_that_of_rfc_8032() {
    let hex = |text| hex_decode(text).unwrap();
    let raw = hex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf");
    let signature = hex(concat!(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41",
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    ));
    let key = PublicKey::from_ed25519(&raw).unwrap();
    assert_eq!(key.verify(Scheme::Ed25519ph, b"abc", &signature), Ok(()));
    let digest = HashAlgorithm::Sha512.digest(b"abc");
    assert_eq!(key.verify_digest(Scheme::Ed25519ph, &digest, &signature), Ok(()));
    assert_eq!(key.verify(Scheme::Ed25519, b"abc", &signature), Err(CryptoError::SignatureInvalid));
}
