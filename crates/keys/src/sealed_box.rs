//! libsodium's sealed box: a message for the holder of an X25519 key, from nobody.
//!
//! An ephemeral key agrees with the recipient's on a secret, HSalsa20 makes a key of it, XSalsa20-Poly1305 seals the
//! message under the nonce BLAKE2b-192(ephemeral key ‖ recipient's key). The box begins with the ephemeral key.

use blake2::digest::consts::U24;
use blake2::{Blake2b, Digest as _};
use countersign_crypto::x25519_once;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use zeroize::Zeroizing;

use crate::KeyError;

/// Seals a message.
pub(crate) fn seal(recipient: &[u8; 32], message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (ephemeral, secret) = x25519_once(recipient)?;
    let key = box_key(&secret);
    let nonce = nonce(&ephemeral, recipient);
    let sealed = XSalsa20Poly1305::new(key.as_slice().into())
        .encrypt(Nonce::from_slice(&nonce), message)
        .map_err(|_| KeyError::Malformed("the secret is too large to encrypt".into()))?;
    Ok([ephemeral.as_slice(), &sealed].concat())
}

/// The key of a box: HSalsa20 of the agreed secret with a nonce of zeros.
fn box_key(secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let key = salsa20::hsalsa::<salsa20::cipher::consts::U10>(secret.into(), &[0; 16].into());
    Zeroizing::new(key.into())
}

fn nonce(ephemeral: &[u8; 32], recipient: &[u8; 32]) -> [u8; 24] {
    Blake2b::<U24>::new().chain_update(ephemeral).chain_update(recipient).finalize().into()
}

/// Opens a box, for tests which play the recipient.
#[cfg(test)]
pub(crate) fn open(secret: [u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    use curve25519_dalek::MontgomeryPoint;
    let (ephemeral, sealed) = sealed.split_first_chunk::<32>()?;
    let own = MontgomeryPoint::mul_base_clamped(secret).to_bytes();
    let shared = MontgomeryPoint(*ephemeral).mul_clamped(secret).to_bytes();
    XSalsa20Poly1305::new(box_key(&shared).as_slice().into())
        .decrypt(Nonce::from_slice(&nonce(ephemeral, &own)), sealed)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_a_box() {
        let recipient = curve25519_dalek::MontgomeryPoint::mul_base_clamped([7; 32]).to_bytes();
        let sealed = seal(&recipient, b"secret").unwrap();
        assert_eq!(open([7; 32], &sealed).unwrap(), b"secret");
        assert!(open([8; 32], &sealed).is_none());
        assert_ne!(sealed, seal(&recipient, b"secret").unwrap(), "fresh each time");
        assert!(seal(&[0; 32], b"secret").is_err(), "no key");
    }
}
