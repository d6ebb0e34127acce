//! Secrets shared with others: message authentication with a shared key, and agreement on a fresh one.

use aws_lc_rs::{agreement, hmac, rand::SystemRandom};
use zeroize::Zeroizing;

use crate::CryptoError;

/// HMAC-SHA256 (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    out.copy_from_slice(tag.as_ref());
    out
}

/// Agrees on a secret with the holder of an X25519 key (RFC 7748), by a key made for this once: the public half of
/// that key, and the secret. The secret is no key yet: derive one from it.
///
/// # Errors
/// [`CryptoError::PublicKey`] for a key of small order, [`CryptoError::Signing`] without randomness.
pub fn x25519_once(theirs: &[u8; 32]) -> Result<([u8; 32], Zeroizing<[u8; 32]>), CryptoError> {
    let no_randomness = |_| CryptoError::Signing("no randomness from the system".into());
    let own = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new())
        .map_err(no_randomness)?;
    let mut public = [0; 32];
    public.copy_from_slice(own.compute_public_key().map_err(no_randomness)?.as_ref());
    let theirs = agreement::UnparsedPublicKey::new(&agreement::X25519, theirs);
    let unusable = CryptoError::PublicKey("no X25519 key to agree with".into());
    let secret = agreement::agree_ephemeral(own, theirs, unusable, |shared| {
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(shared);
        Ok(secret)
    })?;
    Ok((public, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::hex_encode;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex_encode(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn agreement_with_a_point_of_small_order_is_refused() {
        assert!(x25519_once(&[0; 32]).is_err());
        let mut base = [0; 32];
        base[0] = 9;
        let (public, secret) = x25519_once(&base).unwrap();
        assert_eq!(public, *secret, "the base point times our key is our public key");
    }
}
