//! Ed25519 by one rule on every platform, dalek's strict one: no small-order keys or points, canonical encodings only.
//! aws-lc-rs offers neither that rule nor Ed25519ph.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::hash::Prehashed;
use crate::{CryptoError, Digest};

/// A public key that was found good.
#[derive(Clone)]
pub(crate) struct Ed25519Key(VerifyingKey);

impl Ed25519Key {
    pub(crate) fn new(raw: &[u8]) -> Result<Self, CryptoError> {
        let bad = |what: &str| CryptoError::PublicKey(what.to_owned());
        let bytes: [u8; 32] = raw.try_into().map_err(|_| bad("an Ed25519 key has 32 bytes"))?;
        if !is_canonical(&bytes) {
            return Err(bad("the Ed25519 key is not in its one spelling"));
        }
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| bad("not a valid Ed25519 key"))?;
        if key.is_weak() {
            return Err(bad("the Ed25519 key is of small order"));
        }
        Ok(Self(key))
    }

    /// Ed25519: the message is taken whole.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0.verify_strict(message, &read(signature)?).map_err(|_| CryptoError::SignatureInvalid)
    }

    /// Ed25519ph, with an empty context; the digest is SHA-512.
    pub(crate) fn verify_prehashed(&self, digest: &Digest, signature: &[u8]) -> Result<(), CryptoError> {
        self.0
            .verify_prehashed_strict(Prehashed::new(digest)?, None, &read(signature)?)
            .map_err(|_| CryptoError::SignatureInvalid)
    }
}

/// Whether the number in a key is below the prime, 2^255 - 19 (RFC 8032 section 5.1.3). dalek takes it modulo the prime;
/// of a signature's parts it checks this itself.
fn is_canonical(key: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = key;
    *first < 0xed || middle.iter().any(|b| *b != 0xff) || last & 0x7f != 0x7f
}

fn read(signature: &[u8]) -> Result<Signature, CryptoError> {
    Signature::from_slice(signature).map_err(|_| CryptoError::SignatureInvalid)
}
