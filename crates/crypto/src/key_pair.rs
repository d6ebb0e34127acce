//! Private keys held in memory.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::hash::Prehashed;
use crate::{CryptoError, Digest, HashAlgorithm, KeyType, PublicKey, Scheme, Signer, backend};

/// Fills a buffer from the operating system's generator.
///
/// # Errors
/// [`CryptoError::Signing`] when the system has no randomness to give.
pub fn random(buffer: &mut [u8]) -> Result<(), CryptoError> {
    SystemRandom::new().fill(buffer).map_err(|_| CryptoError::Signing("no randomness from the system".into()))
}

enum Private {
    Ecdsa(EcdsaKeyPair),
    Ed25519 { pair: Ed25519KeyPair, pkcs8: Zeroizing<Vec<u8>> },
    Rsa { pair: RsaKeyPair, pkcs8: Zeroizing<Vec<u8>> },
}

/// A private key in memory, with the scheme it signs with.
pub struct KeyPair {
    private: Private,
    public: PublicKey,
    scheme: Scheme,
}

impl KeyPair {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for an RSA size other than 3072 or 4096 bits: keys of 2048 are read, not made.
    pub fn generate(key_type: KeyType) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::PrivateKey("key generation failed".into());
        let pkcs8 = match key_type {
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
                let pair = EcdsaKeyPair::generate(ecdsa_algorithm(key_type, key_type.default_scheme())?)
                    .map_err(failed)?;
                Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
            }
            KeyType::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
            }
            KeyType::Rsa { bits } => {
                let size = match bits {
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => {
                        return Err(CryptoError::Unsupported(format!(
                            "a new RSA key of {bits} bits (3072 and 4096 are offered)"
                        )));
                    }
                };
                let pair = RsaKeyPair::generate(size).map_err(failed)?;
                Zeroizing::new(pair.as_der().map_err(failed)?.as_ref().to_vec())
            }
        };
        Self::from_pkcs8(&pkcs8)
    }

    /// Reads a DER PKCS#8 private key (RFC 5208) of any supported type.
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
            let scheme = key_type.default_scheme();
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(ecdsa_algorithm(key_type, scheme)?, der) {
                return Self::from_ecdsa(pair, scheme);
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = public_from(pair.public_key())?;
            let pkcs8 = Zeroizing::new(der.to_vec());
            return Ok(Self { private: Private::Ed25519 { pair, pkcs8 }, public, scheme: Scheme::Ed25519 });
        }
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            let public = public_from(pair.public_key())?;
            let scheme = public.key_type().default_scheme();
            let pkcs8 = Zeroizing::new(der.to_vec());
            return Ok(Self { private: Private::Rsa { pair, pkcs8 }, public, scheme });
        }
        Err(CryptoError::PrivateKey(
            "expected PKCS#8 with an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 4096 bits) key"
                .into(),
        ))
    }

    /// Reads a SEC 1 `ECPrivateKey` (RFC 5915) or a PKCS#1 `RSAPrivateKey` (RFC 8017 appendix A.1.2).
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`].
    pub fn from_traditional_der(der: &[u8]) -> Result<Self, CryptoError> {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
            let scheme = key_type.default_scheme();
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(ecdsa_algorithm(key_type, scheme)?, der) {
                return Self::from_ecdsa(pair, scheme);
            }
        }
        let failed = || CryptoError::PrivateKey("neither a SEC 1 nor a PKCS#1 private key".into());
        let pair = RsaKeyPair::from_der(der).map_err(|_| failed())?;
        let pkcs8 = pair.as_der().map_err(|_| failed())?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    fn from_ecdsa(pair: EcdsaKeyPair, scheme: Scheme) -> Result<Self, CryptoError> {
        let public = public_from(pair.public_key())?;
        Ok(Self { private: Private::Ecdsa(pair), public, scheme })
    }

    /// The same key, signing with another scheme that fits it: Ed25519ph or RSA-PSS.
    ///
    /// # Errors
    /// [`CryptoError::SchemeMismatch`].
    pub fn with_scheme(mut self, scheme: Scheme) -> Result<Self, CryptoError> {
        let key = self.public.key_type();
        if !scheme.fits(key) {
            return Err(CryptoError::SchemeMismatch { scheme, key });
        }
        // An ECDSA key signs with the hash of its curve, and with no other.
        if matches!(self.private, Private::Ecdsa(_)) {
            ecdsa_algorithm(key, scheme)?;
        }
        self.scheme = scheme;
        Ok(self)
    }

    /// The private key as DER PKCS#8, wiped when dropped.
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`] when the library cannot write it.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        match &self.private {
            Private::Ecdsa(pair) => pair
                .to_pkcs8v1()
                .map(|doc| Zeroizing::new(doc.as_ref().to_vec()))
                .map_err(|_| CryptoError::PrivateKey("the key cannot be written as PKCS#8".into())),
            Private::Ed25519 { pkcs8, .. } | Private::Rsa { pkcs8, .. } => Ok(pkcs8.clone()),
        }
    }
}

impl Signer for KeyPair {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match (&self.private, self.scheme.hash()) {
            (Private::Ed25519 { pair, .. }, None) => Ok(pair
                .try_sign(message)
                .map_err(|_| CryptoError::Signing("the library refused".into()))?
                .as_ref()
                .to_vec()),
            (_, Some(hash)) => self.sign_digest(&hash.digest(message)),
            (_, None) => {
                Err(CryptoError::SchemeMismatch { scheme: self.scheme, key: self.public.key_type() })
            }
        }
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        if self.scheme.hash() != Some(digest.algorithm()) {
            return Err(CryptoError::Unsupported(format!(
                "{} cannot sign a {} digest",
                self.scheme,
                digest.algorithm()
            )));
        }
        let failed = |_| CryptoError::Signing("the library refused".into());
        let imported = backend::imported(digest).map_err(failed)?;
        match &self.private {
            Private::Ecdsa(pair) => Ok(pair.sign_digest(&imported).map_err(failed)?.as_ref().to_vec()),
            Private::Ed25519 { pair, .. } => sign_ed25519ph(pair, digest),
            Private::Rsa { pair, .. } => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(self.scheme)?, &imported, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?}, {})", self.public, self.scheme)
    }
}

fn public_from<'a>(key: &impl AsDer<PublicKeyX509Der<'a>>) -> Result<PublicKey, CryptoError> {
    let der = key.as_der().map_err(|_| CryptoError::PrivateKey("no public half".into()))?;
    PublicKey::from_spki_der(der.as_ref())
}

fn sign_ed25519ph(pair: &Ed25519KeyPair, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
    let failed = || CryptoError::Signing("the library refused".into());
    let seed = pair.seed().map_err(|_| failed())?;
    let bytes = aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&seed).map_err(|_| failed())?;
    let secret: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_ref().try_into().map_err(|_| failed())?);
    let signature = SigningKey::from_bytes(&secret)
        .sign_prehashed(Prehashed::new(digest)?, None)
        .map_err(|_| failed())?;
    Ok(signature.to_bytes().to_vec())
}

fn ecdsa_algorithm(key: KeyType, scheme: Scheme) -> Result<&'static EcdsaSigningAlgorithm, CryptoError> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    Ok(match (key, scheme) {
        (KeyType::EcdsaP256, Scheme::Ecdsa(Sha256)) => &lc::ECDSA_P256_SHA256_ASN1_SIGNING,
        (KeyType::EcdsaP384, Scheme::Ecdsa(Sha384)) => &lc::ECDSA_P384_SHA384_ASN1_SIGNING,
        (KeyType::EcdsaP521, Scheme::Ecdsa(Sha512)) => &lc::ECDSA_P521_SHA512_ASN1_SIGNING,
        _ => return Err(CryptoError::SchemeMismatch { scheme, key }),
    })
}

fn rsa_encoding(scheme: Scheme) -> Result<&'static dyn lc::RsaEncoding, CryptoError> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    Ok(match scheme {
        Scheme::RsaPkcs1(Sha256) => &lc::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1(Sha384) => &lc::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1(Sha512) => &lc::RSA_PKCS1_SHA512,
        Scheme::RsaPss(Sha256) => &lc::RSA_PSS_SHA256,
        Scheme::RsaPss(Sha384) => &lc::RSA_PSS_SHA384,
        Scheme::RsaPss(Sha512) => &lc::RSA_PSS_SHA512,
        other => return Err(CryptoError::Unsupported(format!("{other} with an RSA key"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [KeyType; 5] = [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ];

    #[test]
    fn every_type_signs_verifies_and_survives_pkcs8() {
        for key_type in TYPES {
            let key = KeyPair::generate(key_type).unwrap();
            assert_eq!(key.public_key().key_type(), key_type);
            let again = KeyPair::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let signature = again.sign(b"message").unwrap();
            key.public_key().verify(key.scheme(), b"message", &signature).unwrap();
            assert_eq!(
                key.public_key().verify(key.scheme(), b"massage", &signature),
                Err(CryptoError::SignatureInvalid)
            );
            assert!(key.public_key().verify(key.scheme(), b"message", b"").is_err());
            let pem = key.public_key().to_pem();
            assert_eq!(&PublicKey::from_pem(&pem).unwrap(), key.public_key());
        }
    }

    #[test]
    fn prehashed_schemes_verify_from_the_digest_and_from_the_message() {
        let cases = [
            (KeyType::Ed25519, Scheme::Ed25519ph),
            (KeyType::EcdsaP384, Scheme::Ecdsa(HashAlgorithm::Sha384)),
            (KeyType::Rsa { bits: 3072 }, Scheme::RsaPss(HashAlgorithm::Sha256)),
        ];
        for (key_type, scheme) in cases {
            let key = KeyPair::generate(key_type).unwrap().with_scheme(scheme).unwrap();
            let digest = scheme.hash().unwrap().digest(b"message");
            let signature = key.sign_digest(&digest).unwrap();
            key.public_key().verify_digest(scheme, &digest, &signature).unwrap();
            key.public_key().verify(scheme, b"message", &signature).unwrap();
            let other = scheme.hash().unwrap().digest(b"massage");
            assert!(key.public_key().verify_digest(scheme, &other, &signature).is_err());
        }
    }

    #[test]
    fn a_scheme_of_another_key_type_is_named_as_such() {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let signature = key.sign(b"m").unwrap();
        assert!(matches!(
            key.public_key().verify(Scheme::Ed25519, b"m", &signature),
            Err(CryptoError::SchemeMismatch { .. })
        ));
        assert!(key.with_scheme(Scheme::Ed25519ph).is_err());
        for (hash, good) in [(HashAlgorithm::Sha384, true), (HashAlgorithm::Sha256, false)] {
            let key = KeyPair::generate(KeyType::EcdsaP384).unwrap();
            assert_eq!(key.with_scheme(Scheme::Ecdsa(hash)).is_ok(), good, "{hash}");
        }
    }

    #[test]
    fn pure_ed25519_cannot_be_checked_from_a_digest() {
        let key = KeyPair::generate(KeyType::Ed25519).unwrap();
        let digest = HashAlgorithm::Sha512.digest(b"m");
        assert!(key.public_key().verify_digest(Scheme::Ed25519, &digest, &[0; 64]).is_err());
        assert!(key.sign_digest(&digest).is_err());
    }

    /// V34: one way to read a key; a bare 32-byte Ed25519 key is not a `SubjectPublicKeyInfo`.
    #[test]
    fn v34_raw_keys_are_refused() {
        let key = KeyPair::generate(KeyType::Ed25519).unwrap();
        assert!(PublicKey::from_spki_der(key.public_key().raw()).is_err());
        let mut trailing = key.public_key().spki_der().to_vec();
        trailing.push(0);
        assert!(PublicKey::from_spki_der(&trailing).is_err());
    }

    #[test]
    fn points_off_the_curve_and_small_order_keys_are_refused() {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let mut spki = key.public_key().spki_der().to_vec();
        *spki.last_mut().unwrap() ^= 1;
        assert!(PublicKey::from_spki_der(&spki).is_err());
        let mut small = crate::encoding::hex_decode("302a300506032b6570032100").unwrap();
        small.extend([1].into_iter().chain([0; 31]));
        assert!(PublicKey::from_spki_der(&small).is_err(), "the identity point");
    }

    /// Keys are counted by their bytes, so each has one spelling.
    #[test]
    fn v34_a_key_has_one_spelling() {
        // A number of 2^255 - 19 and above stands for one below 19.
        for first in 0xed_u8..=0xff {
            for last in [0x7f, 0xff] {
                let raw = [&[first][..], &[0xff; 30], &[last]].concat();
                assert!(PublicKey::from_ed25519(&raw).is_err(), "{first:x} {last:x}");
            }
        }
        let key = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        let good = key.public_key().spki_der().to_vec();
        let null = good.windows(2).position(|w| w == [5, 0]).unwrap();
        let mut without = good.clone();
        without.drain(null..null + 2);
        // The lengths around it: of the identifier, one byte, and of the whole, two.
        without[5] -= 2;
        let whole = u16::from_be_bytes([good[2], good[3]]) - 2;
        without[2..4].copy_from_slice(&whole.to_be_bytes());
        let error = PublicKey::from_spki_der(&without).unwrap_err().to_string();
        assert!(error.contains("NULL"), "{error}");
    }
}
