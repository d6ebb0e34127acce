//! Keys in the forms of others: numbers instead of DER, as JSON Web Keys and key services have them.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode as _, Encode as _};

use crate::ecdsa::width;
use crate::public_key::{EC_PUBLIC_KEY, ED25519, P256, P384, P521, RSA, RsaPublicKey};
use crate::{CryptoError, KeyType, PublicKey};

impl PublicKey {
    /// An elliptic curve key from the coordinates of its point.
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`] for coordinates of another length than the curve's and a point off it,
    /// [`CryptoError::Unsupported`] for a type without a curve.
    pub fn from_coordinates(key_type: KeyType, x: &[u8], y: &[u8]) -> Result<Self, CryptoError> {
        let width = width(key_type)
            .ok_or_else(|| CryptoError::Unsupported(format!("a curve's numbers for a {key_type} key")))?;
        if x.len() != width || y.len() != width {
            return Err(CryptoError::PublicKey("the coordinates have the wrong length".into()));
        }
        let curve = match key_type {
            KeyType::EcdsaP256 => P256,
            KeyType::EcdsaP384 => P384,
            _ => P521,
        };
        from_parts(EC_PUBLIC_KEY, Some(AnyRef::from(&curve)), &[&[4][..], x, y].concat())
    }

    /// An Ed25519 key from its 32 bytes.
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`].
    pub fn from_ed25519(bytes: &[u8]) -> Result<Self, CryptoError> {
        from_parts(ED25519, None, bytes)
    }

    /// An RSA key from its modulus and exponent, each big-endian.
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`] as for [`PublicKey::from_spki_der`].
    pub fn from_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, CryptoError> {
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(malformed)?,
            exponent: UintRef::new(exponent).map_err(malformed)?,
        };
        from_parts(RSA, Some(AnyRef::NULL), &key.to_der().map_err(malformed)?)
    }

    /// The coordinates of an elliptic curve key's point.
    #[must_use]
    pub fn coordinates(&self) -> Option<(&[u8], &[u8])> {
        self.raw().get(1..)?.split_at_checked(width(self.key_type())?)
    }

    /// Modulus and exponent of an RSA key.
    #[must_use]
    pub fn rsa_numbers(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let key = RsaPublicKey::from_der(self.raw()).ok()?;
        Some((key.modulus.as_bytes().to_vec(), key.exponent.as_bytes().to_vec()))
    }
}

fn from_parts(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: &[u8],
) -> Result<PublicKey, CryptoError> {
    let subject_public_key = BitStringRef::from_bytes(key).map_err(malformed)?;
    let algorithm = spki::AlgorithmIdentifier { oid, parameters };
    let der = spki::SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der().map_err(malformed)?;
    PublicKey::from_spki_der(&der)
}

fn malformed(error: der::Error) -> CryptoError {
    CryptoError::PublicKey(format!("malformed numbers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyPair, Scheme, Signer as _};

    #[test]
    fn keys_survive_the_way_through_numbers() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
            let key = KeyPair::generate(key_type).unwrap();
            let (x, y) = key.public_key().coordinates().unwrap();
            assert_eq!(&PublicKey::from_coordinates(key_type, x, y).unwrap(), key.public_key());
            assert!(PublicKey::from_coordinates(key_type, y, x).is_err(), "off the curve");
            assert!(PublicKey::from_coordinates(key_type, &x[1..], y).is_err());
            assert!(key.public_key().rsa_numbers().is_none());
        }
        let key = KeyPair::generate(KeyType::Ed25519).unwrap();
        assert_eq!(&PublicKey::from_ed25519(key.public_key().raw()).unwrap(), key.public_key());
        assert!(PublicKey::from_ed25519(&key.public_key().raw()[1..]).is_err());
        let key = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        let (modulus, exponent) = key.public_key().rsa_numbers().unwrap();
        assert_eq!(&PublicKey::from_rsa_numbers(&modulus, &exponent).unwrap(), key.public_key());
        assert!(PublicKey::from_rsa_numbers(&modulus[1..], &exponent).is_err());
        assert!(key.public_key().coordinates().is_none());
        assert_eq!(key.scheme(), Scheme::RsaPkcs1(crate::HashAlgorithm::Sha256));
    }
}
