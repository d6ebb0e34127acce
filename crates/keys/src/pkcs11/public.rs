//! From the numbers a token gives to the forms the rest of the program reads: `SubjectPublicKeyInfo` and signatures
//! in DER.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode as _, Encode as _, Sequence};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Two unsigned numbers: an `RSAPublicKey` (RFC 8017 appendix A.1.1) and an `Ecdsa-Sig-Value` (RFC 3279) alike.
#[derive(Sequence)]
struct Pair<'a> {
    first: UintRef<'a>,
    second: UintRef<'a>,
}

fn pair(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    Pair { first: UintRef::new(first).ok()?, second: UintRef::new(second).ok()? }.to_der().ok()
}

fn spki(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Vec<u8>> {
    let subject_public_key = BitStringRef::from_bytes(key).ok()?;
    SubjectPublicKeyInfo { algorithm: AlgorithmIdentifier { oid, parameters }, subject_public_key }
        .to_der()
        .ok()
}

pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    spki(RSA, Some(AnyRef::NULL), &pair(modulus, exponent)?)
}

/// `CKA_EC_PARAMS` is the curve's name in DER, `CKA_EC_POINT` the point in an OCTET STRING; some tokens give it bare.
pub(super) fn elliptic_spki(parameters: &[u8], point: &[u8]) -> Option<Vec<u8>> {
    spki(EC_PUBLIC_KEY, Some(AnyRef::from_der(parameters).ok()?), unwrapped(point))
}

pub(super) fn ed25519_spki(point: &[u8]) -> Option<Vec<u8>> {
    spki(ED25519, None, if point.len() == 32 { point } else { unwrapped(point) })
}

fn unwrapped(point: &[u8]) -> &[u8] {
    <&OctetStringRef>::from_der(point).map_or(point, OctetStringRef::as_bytes)
}

/// PKCS #11 gives `r` and `s` of the same length one after the other.
pub(super) fn ecdsa_der(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.is_empty() || !signature.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = signature.split_at_checked(signature.len() / 2)?;
    pair(r, s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer as _};

    #[test]
    fn what_a_token_says_about_its_keys_becomes_the_key() {
        for (key_type, parameters) in [
            (KeyType::EcdsaP256, "06082a8648ce3d030107"),
            (KeyType::EcdsaP384, "06052b81040022"),
            (KeyType::EcdsaP521, "06052b81040023"),
        ] {
            let key = KeyPair::generate(key_type).unwrap();
            let parameters = countersign_crypto::encoding::hex_decode(parameters).unwrap();
            let bare = key.public_key().raw().to_vec();
            let wrapped = OctetStringRef::new(&bare).unwrap().to_der().unwrap();
            for point in [bare, wrapped] {
                let spki = elliptic_spki(&parameters, &point).unwrap();
                assert_eq!(&PublicKey::from_spki_der(&spki).unwrap(), key.public_key());
            }
        }
        let key = KeyPair::generate(KeyType::Ed25519).unwrap();
        let bare = key.public_key().raw().to_vec();
        let wrapped = OctetStringRef::new(&bare).unwrap().to_der().unwrap();
        for point in [bare, wrapped] {
            assert_eq!(ed25519_spki(&point).unwrap(), key.public_key().spki_der());
        }
        let key = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        let numbers = Pair::from_der(key.public_key().raw()).unwrap();
        let spki = rsa_spki(numbers.first.as_bytes(), numbers.second.as_bytes()).unwrap();
        assert_eq!(spki, key.public_key().spki_der());
    }

    #[test]
    fn signatures_are_two_halves() {
        let signature = ecdsa_der(&[0, 0x80, 0, 1]).unwrap();
        assert_eq!(signature, [0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]);
        assert_eq!(ecdsa_der(&[]), None);
        assert_eq!(ecdsa_der(&[1, 2, 3]), None);
    }
}
