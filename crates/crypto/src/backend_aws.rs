//! The native backend: aws-lc-rs for everything but Ed25519, which has a rule of its own.

use aws_lc_rs::digest as lc_digest;
use aws_lc_rs::signature as lc;

use crate::ed25519::Ed25519Key;
use crate::{CryptoError, Digest, HashAlgorithm, KeyType, Scheme};

fn lc_algorithm(algorithm: HashAlgorithm) -> &'static lc_digest::Algorithm {
    match algorithm {
        HashAlgorithm::Sha256 => &lc_digest::SHA256,
        HashAlgorithm::Sha384 => &lc_digest::SHA384,
        HashAlgorithm::Sha512 => &lc_digest::SHA512,
    }
}

/// An aws-lc digest in our type; the length always fits because both name the same algorithm.
fn own_digest(algorithm: HashAlgorithm, digest: &lc_digest::Digest) -> Digest {
    #[expect(clippy::expect_used, reason = "aws-lc gives exactly the algorithm's output length")]
    Digest::new(algorithm, digest.as_ref()).expect("length of a digest")
}

/// Our digest in aws-lc's type.
pub(crate) fn imported(digest: &Digest) -> Result<lc_digest::Digest, aws_lc_rs::error::Unspecified> {
    lc_digest::Digest::import_less_safe(digest.as_bytes(), lc_algorithm(digest.algorithm()))
}

pub(crate) fn digest(algorithm: HashAlgorithm, data: &[u8]) -> Digest {
    own_digest(algorithm, &lc_digest::digest(lc_algorithm(algorithm), data))
}

pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(lc_digest::digest(&lc_digest::SHA256, data).as_ref());
    out
}

pub(crate) struct HashState {
    algorithm: HashAlgorithm,
    context: lc_digest::Context,
}

impl HashState {
    pub(crate) fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, context: lc_digest::Context::new(lc_algorithm(algorithm)) }
    }
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }
    pub(crate) fn finish(self) -> Digest {
        own_digest(self.algorithm, &self.context.finish())
    }
}

fn verification(key: KeyType, scheme: Scheme) -> Option<&'static dyn lc::VerificationAlgorithm> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    Some(match (key, scheme) {
        (KeyType::EcdsaP256, Scheme::Ecdsa(Sha256)) => &lc::ECDSA_P256_SHA256_ASN1,
        (KeyType::EcdsaP256, Scheme::Ecdsa(Sha384)) => &lc::ECDSA_P256_SHA384_ASN1,
        (KeyType::EcdsaP256, Scheme::Ecdsa(Sha512)) => &lc::ECDSA_P256_SHA512_ASN1,
        (KeyType::EcdsaP384, Scheme::Ecdsa(Sha256)) => &lc::ECDSA_P384_SHA256_ASN1,
        (KeyType::EcdsaP384, Scheme::Ecdsa(Sha384)) => &lc::ECDSA_P384_SHA384_ASN1,
        (KeyType::EcdsaP384, Scheme::Ecdsa(Sha512)) => &lc::ECDSA_P384_SHA512_ASN1,
        (KeyType::EcdsaP521, Scheme::Ecdsa(Sha256)) => &lc::ECDSA_P521_SHA256_ASN1,
        (KeyType::EcdsaP521, Scheme::Ecdsa(Sha384)) => &lc::ECDSA_P521_SHA384_ASN1,
        (KeyType::EcdsaP521, Scheme::Ecdsa(Sha512)) => &lc::ECDSA_P521_SHA512_ASN1,
        (KeyType::Rsa { .. }, Scheme::RsaPkcs1(Sha256)) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (KeyType::Rsa { .. }, Scheme::RsaPkcs1(Sha384)) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (KeyType::Rsa { .. }, Scheme::RsaPkcs1(Sha512)) => &lc::RSA_PKCS1_2048_8192_SHA512,
        (KeyType::Rsa { .. }, Scheme::RsaPss(Sha256)) => &lc::RSA_PSS_2048_8192_SHA256,
        (KeyType::Rsa { .. }, Scheme::RsaPss(Sha384)) => &lc::RSA_PSS_2048_8192_SHA384,
        (KeyType::Rsa { .. }, Scheme::RsaPss(Sha512)) => &lc::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A public key made ready: read, found good and kept, so that no signature pays for it again.
#[derive(Clone)]
pub(crate) enum ReadyKey {
    /// Under the default scheme of its type; for another scheme the library reads it anew.
    Lc(lc::ParsedPublicKey),
    /// Boxed, because it is much larger than the other.
    Ed25519(Box<Ed25519Key>),
}

impl ReadyKey {
    /// Refuses a key whose point is not on its curve, and an Ed25519 key of small order.
    pub(crate) fn new(key: KeyType, raw: &[u8]) -> Result<Self, CryptoError> {
        if key == KeyType::Ed25519 {
            return Ed25519Key::new(raw).map(|key| Self::Ed25519(Box::new(key)));
        }
        verification(key, key.default_scheme())
            .and_then(|algorithm| lc::ParsedPublicKey::new(algorithm, raw).ok())
            .map(Self::Lc)
            .ok_or_else(|| CryptoError::PublicKey(format!("not a valid {key} key")))
    }

    pub(crate) fn verify(
        &self,
        key: KeyType,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let result = match (self, scheme) {
            (Self::Ed25519(ready), Scheme::Ed25519) => return ready.verify(message, signature),
            (Self::Ed25519(ready), Scheme::Ed25519ph) => {
                return ready.verify_prehashed(&digest(HashAlgorithm::Sha512, message), signature);
            }
            (Self::Ed25519(_), _) => return Err(CryptoError::SchemeMismatch { scheme, key }),
            (Self::Lc(ready), _) if scheme == key.default_scheme() => ready.verify_sig(message, signature),
            (Self::Lc(ready), _) => unparsed(key, scheme, ready)?.verify(message, signature),
        };
        result.map_err(|_| CryptoError::SignatureInvalid)
    }

    pub(crate) fn verify_digest(
        &self,
        key: KeyType,
        scheme: Scheme,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let ready = match self {
            Self::Lc(ready) => ready,
            Self::Ed25519(ready) if scheme == Scheme::Ed25519ph => {
                return ready.verify_prehashed(digest, signature);
            }
            Self::Ed25519(_) => return Err(CryptoError::SchemeMismatch { scheme, key }),
        };
        let digest = imported(digest).map_err(|_| CryptoError::SignatureInvalid)?;
        let result = if scheme == key.default_scheme() {
            ready.verify_digest_sig(&digest, signature)
        } else {
            unparsed(key, scheme, ready)?.verify_digest(&digest, signature)
        };
        result.map_err(|_| CryptoError::SignatureInvalid)
    }
}

/// A key under another scheme than the default of its type.
fn unparsed(
    key: KeyType,
    scheme: Scheme,
    ready: &lc::ParsedPublicKey,
) -> Result<lc::UnparsedPublicKey<&[u8]>, CryptoError> {
    let algorithm = verification(key, scheme).ok_or(CryptoError::SchemeMismatch { scheme, key })?;
    Ok(lc::UnparsedPublicKey::new(algorithm, ready.as_ref()))
}
