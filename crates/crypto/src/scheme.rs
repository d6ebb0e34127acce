//! Names of algorithms: key types, signature schemes, and their spellings in X.509 and Sigstore.

use std::fmt;

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};

use crate::{CryptoError, HashAlgorithm};

/// What kind of key a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
    /// Ed25519, for both the pure and the prehashed scheme.
    Ed25519,
    /// RSA, with the size of its modulus in bits: 2048 (no new keys), 3072 or 4096.
    Rsa {
        /// The size of the modulus in bits.
        bits: u32,
    },
}

impl KeyType {
    /// The scheme a signer of this type uses unless told otherwise; for X.509 and Sigstore alike.
    #[must_use]
    pub const fn default_scheme(self) -> Scheme {
        match self {
            Self::EcdsaP256 => Scheme::Ecdsa(HashAlgorithm::Sha256),
            Self::EcdsaP384 => Scheme::Ecdsa(HashAlgorithm::Sha384),
            Self::EcdsaP521 => Scheme::Ecdsa(HashAlgorithm::Sha512),
            Self::Ed25519 => Scheme::Ed25519,
            Self::Rsa { .. } => Scheme::RsaPkcs1(HashAlgorithm::Sha256),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

/// How a signature is made with a key: the padding and the hash. The curve or size is the key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// ECDSA over a digest, DER encoded (RFC 3279 section 2.2.3).
    Ecdsa(HashAlgorithm),
    /// Pure Ed25519 (RFC 8032 section 5.1). Needs the whole message.
    Ed25519,
    /// Ed25519ph (RFC 8032 section 5.1) over a SHA-512 digest, with an empty context.
    Ed25519ph,
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS (RFC 8017 section 8.1), MGF1 with the same hash, salt as long as the digest.
    RsaPss(HashAlgorithm),
}

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");

impl Scheme {
    /// ECDSA with SHA-256, the default of P-256 keys.
    pub const ECDSA_SHA256: Self = Self::Ecdsa(HashAlgorithm::Sha256);

    /// The hash applied to the message before signing; `None` for pure Ed25519, which takes the message whole.
    #[must_use]
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::Ecdsa(h) | Self::RsaPkcs1(h) | Self::RsaPss(h) => Some(h),
            Self::Ed25519 => None,
            Self::Ed25519ph => Some(HashAlgorithm::Sha512),
        }
    }

    /// Whether a key of this type can make or check signatures of this scheme.
    #[must_use]
    pub const fn fits(self, key: KeyType) -> bool {
        matches!(
            (self, key),
            (Self::Ecdsa(_), KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521)
                | (Self::Ed25519 | Self::Ed25519ph, KeyType::Ed25519)
                | (Self::RsaPkcs1(_) | Self::RsaPss(_), KeyType::Rsa { .. })
        )
    }

    /// The DER `AlgorithmIdentifier` for X.509 and CMS (RFC 5758, RFC 8410, RFC 4055).
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for Ed25519ph and RSA-PSS, which the certificates of this field do not use.
    pub fn x509_algorithm(self) -> Result<Vec<u8>, CryptoError> {
        let (oid, null) = match self {
            Self::Ecdsa(HashAlgorithm::Sha256) => (ECDSA_SHA256, false),
            Self::Ecdsa(HashAlgorithm::Sha384) => (ECDSA_SHA384, false),
            Self::Ecdsa(HashAlgorithm::Sha512) => (ECDSA_SHA512, false),
            Self::Ed25519 => (ED25519, false),
            Self::RsaPkcs1(HashAlgorithm::Sha256) => (RSA_SHA256, true),
            Self::RsaPkcs1(HashAlgorithm::Sha384) => (RSA_SHA384, true),
            Self::RsaPkcs1(HashAlgorithm::Sha512) => (RSA_SHA512, true),
            Self::Ed25519ph | Self::RsaPss(_) => {
                return Err(CryptoError::Unsupported(format!("{self} in a certificate")));
            }
        };
        let parameters = if null { Some(der::asn1::AnyRef::NULL) } else { None };
        spki::AlgorithmIdentifier { oid, parameters }
            .to_der()
            .map_err(|e| CryptoError::Unsupported(e.to_string()))
    }

    /// Reads a DER `AlgorithmIdentifier` of a certificate or CMS signer. SHA-1 and anything else not
    /// listed in [`Scheme::x509_algorithm`] is refused, as are parameters where none belong.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`].
    pub fn from_x509_algorithm(der: &[u8]) -> Result<Self, CryptoError> {
        let id = spki::AlgorithmIdentifierRef::from_der(der)
            .map_err(|e| CryptoError::Unsupported(format!("algorithm identifier: {e}")))?;
        let scheme = match id.oid {
            ECDSA_SHA256 => Self::Ecdsa(HashAlgorithm::Sha256),
            ECDSA_SHA384 => Self::Ecdsa(HashAlgorithm::Sha384),
            ECDSA_SHA512 => Self::Ecdsa(HashAlgorithm::Sha512),
            ED25519 => Self::Ed25519,
            RSA_SHA256 => Self::RsaPkcs1(HashAlgorithm::Sha256),
            RSA_SHA384 => Self::RsaPkcs1(HashAlgorithm::Sha384),
            RSA_SHA512 => Self::RsaPkcs1(HashAlgorithm::Sha512),
            other => return Err(CryptoError::Unsupported(format!("signature algorithm {other}"))),
        };
        let rsa = matches!(scheme, Self::RsaPkcs1(_));
        match id.parameters {
            None => Ok(scheme),
            Some(p) if rsa && p == der::asn1::AnyRef::NULL => Ok(scheme),
            Some(_) => Err(CryptoError::Unsupported(format!("parameters of signature algorithm {}", id.oid))),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecdsa(h) => write!(f, "ECDSA with {h}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Ed25519ph => f.write_str("Ed25519ph"),
            Self::RsaPkcs1(h) => write!(f, "RSA PKCS#1 v1.5 with {h}"),
            Self::RsaPss(h) => write!(f, "RSA-PSS with {h}"),
        }
    }
}

/// Key type and scheme under one name: Sigstore's `PublicKeyDetails` enumeration (protobuf-specs,
/// `sigstore_common.proto`; algorithm-registry.md says which pairs are allowed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDetails {
    /// The type of the key.
    pub key_type: KeyType,
    /// How it signs.
    pub scheme: Scheme,
}

const KEY_DETAILS: [(&str, KeyType, Scheme); 11] = [
    ("PKIX_ECDSA_P256_SHA_256", KeyType::EcdsaP256, Scheme::Ecdsa(HashAlgorithm::Sha256)),
    ("PKIX_ECDSA_P384_SHA_384", KeyType::EcdsaP384, Scheme::Ecdsa(HashAlgorithm::Sha384)),
    ("PKIX_ECDSA_P521_SHA_512", KeyType::EcdsaP521, Scheme::Ecdsa(HashAlgorithm::Sha512)),
    ("PKIX_ED25519", KeyType::Ed25519, Scheme::Ed25519),
    ("PKIX_ED25519_PH", KeyType::Ed25519, Scheme::Ed25519ph),
    ("PKIX_RSA_PKCS1V15_2048_SHA256", KeyType::Rsa { bits: 2048 }, Scheme::RsaPkcs1(HashAlgorithm::Sha256)),
    ("PKIX_RSA_PKCS1V15_3072_SHA256", KeyType::Rsa { bits: 3072 }, Scheme::RsaPkcs1(HashAlgorithm::Sha256)),
    ("PKIX_RSA_PKCS1V15_4096_SHA256", KeyType::Rsa { bits: 4096 }, Scheme::RsaPkcs1(HashAlgorithm::Sha256)),
    ("PKIX_RSA_PSS_2048_SHA256", KeyType::Rsa { bits: 2048 }, Scheme::RsaPss(HashAlgorithm::Sha256)),
    ("PKIX_RSA_PSS_3072_SHA256", KeyType::Rsa { bits: 3072 }, Scheme::RsaPss(HashAlgorithm::Sha256)),
    ("PKIX_RSA_PSS_4096_SHA256", KeyType::Rsa { bits: 4096 }, Scheme::RsaPss(HashAlgorithm::Sha256)),
];

impl KeyDetails {
    /// The pair that a signer of this key type uses by default.
    #[must_use]
    pub const fn default_for(key_type: KeyType) -> Self {
        Self { key_type, scheme: key_type.default_scheme() }
    }

    /// The protobuf name, such as `PKIX_ECDSA_P256_SHA_256`; `None` for a pair the registry does not list.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        KEY_DETAILS.iter().find(|(_, k, s)| (*k, *s) == (self.key_type, self.scheme)).map(|(n, _, _)| *n)
    }

    /// Reads the protobuf name.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for a name which is unknown, deprecated or not yet operational.
    pub fn from_name(name: &str) -> Result<Self, CryptoError> {
        KEY_DETAILS
            .iter()
            .find(|(n, _, _)| *n == name)
            .map(|&(_, key_type, scheme)| Self { key_type, scheme })
            .ok_or_else(|| CryptoError::Unsupported(format!("key details \"{name}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_details_names_round_trip_and_fit() {
        for (name, key_type, scheme) in KEY_DETAILS {
            let details = KeyDetails::from_name(name).unwrap();
            assert_eq!(details, KeyDetails { key_type, scheme });
            assert_eq!(details.name(), Some(name));
            assert!(scheme.fits(key_type));
        }
        assert!(KeyDetails::from_name("ML_DSA_65").is_err());
    }

    #[test]
    fn x509_algorithms_round_trip() {
        for scheme in [
            Scheme::Ecdsa(HashAlgorithm::Sha256),
            Scheme::Ecdsa(HashAlgorithm::Sha384),
            Scheme::Ecdsa(HashAlgorithm::Sha512),
            Scheme::Ed25519,
            Scheme::RsaPkcs1(HashAlgorithm::Sha256),
            Scheme::RsaPkcs1(HashAlgorithm::Sha384),
            Scheme::RsaPkcs1(HashAlgorithm::Sha512),
        ] {
            assert_eq!(Scheme::from_x509_algorithm(&scheme.x509_algorithm().unwrap()).unwrap(), scheme);
        }
        assert!(Scheme::Ed25519ph.x509_algorithm().is_err());
    }

    #[test]
    fn sha1_and_stray_parameters_are_refused() {
        // sha1WithRSAEncryption with NULL; ecdsa-with-SHA256 with NULL.
        let sha1 = crate::encoding::hex_decode("300d06092a864886f70d0101050500").unwrap();
        assert!(Scheme::from_x509_algorithm(&sha1).is_err());
        let stray = crate::encoding::hex_decode("300c06082a8648ce3d0403020500").unwrap();
        assert!(Scheme::from_x509_algorithm(&stray).is_err());
    }
}
