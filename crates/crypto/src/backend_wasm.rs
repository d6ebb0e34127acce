//! The WebAssembly backend: RustCrypto, for verification only. RSA is not offered: the one maintained crate
//! for it is refused in this project (RUSTSEC-2023-0071), and a verdict of "unsupported" is an honest one.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::Digest as _;

use crate::ed25519::Ed25519Key;
use crate::{CryptoError, Digest, HashAlgorithm, KeyType, Scheme};

pub(crate) enum HashState {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl HashState {
    pub(crate) fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            HashAlgorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            HashAlgorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }
    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(data),
            Self::Sha384(h) => h.update(data),
            Self::Sha512(h) => h.update(data),
        }
    }
    pub(crate) fn finish(self) -> Digest {
        let (algorithm, bytes) = match self {
            Self::Sha256(h) => (HashAlgorithm::Sha256, h.finalize().to_vec()),
            Self::Sha384(h) => (HashAlgorithm::Sha384, h.finalize().to_vec()),
            Self::Sha512(h) => (HashAlgorithm::Sha512, h.finalize().to_vec()),
        };
        #[expect(clippy::expect_used, reason = "the hash gives exactly the algorithm's output length")]
        Digest::new(algorithm, &bytes).expect("length of a digest")
    }
}

pub(crate) fn digest(algorithm: HashAlgorithm, data: &[u8]) -> Digest {
    let mut state = HashState::new(algorithm);
    state.update(data);
    state.finish()
}

pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(data).into()
}

/// A public key that was found good. It is read anew for each signature: this backend is for few of them.
#[derive(Clone)]
pub(crate) struct ReadyKey(Vec<u8>);

impl ReadyKey {
    pub(crate) fn new(key: KeyType, raw: &[u8]) -> Result<Self, CryptoError> {
        let ok = match key {
            KeyType::EcdsaP256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(raw).is_ok(),
            KeyType::EcdsaP384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(raw).is_ok(),
            KeyType::EcdsaP521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(raw).is_ok(),
            KeyType::Ed25519 => return Ed25519Key::new(raw).map(|_| Self(raw.to_vec())),
            KeyType::Rsa { .. } => true,
        };
        if ok {
            Ok(Self(raw.to_vec()))
        } else {
            Err(CryptoError::PublicKey(format!("not a valid {key} key")))
        }
    }

    pub(crate) fn verify(
        &self,
        key: KeyType,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        match scheme.hash() {
            Some(hash) => self.verify_digest(key, scheme, &digest(hash, message), signature),
            None => Ed25519Key::new(&self.0)?.verify(message, signature),
        }
    }

    pub(crate) fn verify_digest(
        &self,
        key: KeyType,
        scheme: Scheme,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let raw = self.0.as_slice();
        macro_rules! ecdsa {
            ($curve:ident) => {{
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(raw)
                    .map_err(|_| CryptoError::PublicKey("not a valid curve point".into()))?;
                let signature = $curve::ecdsa::Signature::from_der(signature)
                    .map_err(|_| CryptoError::SignatureInvalid)?;
                key.verify_prehash(digest.as_bytes(), &signature).map_err(|_| CryptoError::SignatureInvalid)
            }};
        }
        match (key, scheme) {
            (KeyType::EcdsaP256, Scheme::Ecdsa(_)) => ecdsa!(p256),
            (KeyType::EcdsaP384, Scheme::Ecdsa(_)) => ecdsa!(p384),
            (KeyType::EcdsaP521, Scheme::Ecdsa(_)) => ecdsa!(p521),
            (KeyType::Ed25519, Scheme::Ed25519ph) => {
                Ed25519Key::new(raw)?.verify_prehashed(digest, signature)
            }
            _ => Err(CryptoError::Unsupported(format!("{scheme} in the WebAssembly build"))),
        }
    }
}
