//! Hashes, signatures and keys: the one registry of algorithms.
//!
//! Every other crate names an algorithm through the types here, so a new algorithm (ML-DSA, say) is an entry
//! in [`KeyType`], [`Scheme`] and [`KeyDetails`] and one arm in the backend, not a redesign. This is also the
//! only crate that names aws-lc-rs; for WebAssembly, where aws-lc does not build, RustCrypto verifies instead.
//!
//! The crate does no I/O and reads no clock.
//!
//! ```
//! use countersign_crypto::{KeyPair, KeyType, Scheme, Signer};
//! let key = KeyPair::generate(KeyType::EcdsaP256)?;
//! let signature = key.sign(b"hello")?;
//! let public = key.public_key();
//! public.verify(key.scheme(), b"hello", &signature)?;
//! assert!(public.verify(Scheme::ECDSA_SHA256, b"goodbye", &signature).is_err());
//! # Ok::<(), countersign_crypto::CryptoError>(())
//! ```

#[cfg(not(target_arch = "wasm32"))]
mod agreement;
#[cfg(not(target_arch = "wasm32"))]
mod backend_aws;
#[cfg(target_arch = "wasm32")]
mod backend_wasm;
pub mod ecdsa;
mod ed25519;
pub mod encoding;
mod forms;
mod hash;
#[cfg(not(target_arch = "wasm32"))]
mod key_pair;
mod public_key;
mod scheme;

#[cfg(not(target_arch = "wasm32"))]
use backend_aws as backend;
#[cfg(target_arch = "wasm32")]
use backend_wasm as backend;

#[cfg(not(target_arch = "wasm32"))]
pub use agreement::{hmac_sha256, x25519_once};
pub use hash::{Digest, HashAlgorithm, Hasher, sha256};
#[cfg(not(target_arch = "wasm32"))]
pub use key_pair::{KeyPair, random};
pub use public_key::{PublicKey, Signer};
pub use scheme::{KeyDetails, KeyType, Scheme};

/// What can go wrong with a key, a digest or a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The signature does not verify under this key, or is not even a signature of this form.
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// The bytes are not a key of a supported form.
    #[error("not a usable public key: {0}")]
    PublicKey(String),
    /// The bytes are not a private key of a supported form.
    #[error("not a usable private key: {0}")]
    PrivateKey(String),
    /// The scheme does not go with the key (a P-256 key asked for an RSA signature, say).
    #[error("{scheme} does not go with a {key} key")]
    SchemeMismatch {
        /// The scheme asked for.
        scheme: Scheme,
        /// The type of the key at hand.
        key: KeyType,
    },
    /// An algorithm name, identifier or size which is not supported.
    #[error("unsupported algorithm: {0}")]
    Unsupported(String),
    /// A digest whose length does not fit its algorithm.
    #[error("a {algorithm} digest has {expected} bytes, found {found}")]
    DigestLength {
        /// The algorithm the digest claims to be of.
        algorithm: HashAlgorithm,
        /// The length in bytes which that algorithm gives.
        expected: usize,
        /// The length in bytes found.
        found: usize,
    },
    /// Base64, hex or PEM that does not decode.
    #[error("{0}")]
    Encoding(String),
    /// The signing device or library failed.
    #[error("signing failed: {0}")]
    Signing(String),
    /// The place where the key lives (a token, a key service) cannot be reached now. It may come back.
    #[error("the signing key cannot be reached: {0}")]
    KeyUnavailable(String),
}
