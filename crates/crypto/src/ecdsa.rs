//! The two forms of an ECDSA signature: DER (RFC 3279 section 2.2.3), as X.509 and Sigstore have it, and two numbers
//! of fixed length (IEEE P1363), as JWS, COSE and PKCS#11 have it.

use der::asn1::UintRef;
use der::{Decode as _, Encode as _, Sequence};

use crate::{CryptoError, KeyType};

/// `ECDSA-Sig-Value`.
#[derive(Sequence)]
struct Pair<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// How many bytes a number of the curve has; `None` for a key that is not of an elliptic curve.
pub(crate) const fn width(key: KeyType) -> Option<usize> {
    match key {
        KeyType::EcdsaP256 => Some(32),
        KeyType::EcdsaP384 => Some(48),
        KeyType::EcdsaP521 => Some(66),
        KeyType::Ed25519 | KeyType::Rsa { .. } => None,
    }
}

/// DER as `r ‖ s`, each as long as the curve's numbers.
///
/// # Errors
/// [`CryptoError::SignatureInvalid`] for bytes that are not such a signature, or of a longer curve, and for a key of
/// another kind.
pub fn fixed_from_der(key: KeyType, der: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let width = width(key).ok_or(CryptoError::SignatureInvalid)?;
    let pair = Pair::from_der(der).map_err(|_| CryptoError::SignatureInvalid)?;
    let mut fixed = Vec::with_capacity(width * 2);
    for number in [pair.r.as_bytes(), pair.s.as_bytes()] {
        let padding = width.checked_sub(number.len()).ok_or(CryptoError::SignatureInvalid)?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

/// `r ‖ s` as DER.
///
/// # Errors
/// [`CryptoError::SignatureInvalid`] for another length than the curve's, and for a key of another kind.
pub fn der_from_fixed(key: KeyType, fixed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let width = width(key).filter(|width| fixed.len() == width * 2).ok_or(CryptoError::SignatureInvalid)?;
    let (r, s) = fixed.split_at_checked(width).ok_or(CryptoError::SignatureInvalid)?;
    let number = |bytes| UintRef::new(bytes).map_err(|_| CryptoError::SignatureInvalid);
    Pair { r: number(r)?, s: number(s)? }.to_der().map_err(|_| CryptoError::SignatureInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyPair, Signer as _};

    #[test]
    fn both_forms_lead_to_each_other_and_verify() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
            let key = KeyPair::generate(key_type).unwrap();
            for message in 0..20_u8 {
                let der = key.sign(&[message]).unwrap();
                let fixed = fixed_from_der(key_type, &der).unwrap();
                assert_eq!(fixed.len(), width(key_type).unwrap() * 2);
                assert_eq!(der_from_fixed(key_type, &fixed).unwrap(), der);
                // The one form is never taken for the other.
                assert!(key.public_key().verify(key.scheme(), &[message], &fixed).is_err());
                assert!(der_from_fixed(key_type, &der).is_err());
            }
        }
    }

    #[test]
    fn other_lengths_and_other_keys_are_refused() {
        for length in [0, 1, 63, 65, 96, 132] {
            assert!(der_from_fixed(KeyType::EcdsaP256, &vec![1; length]).is_err(), "{length}");
        }
        assert!(der_from_fixed(KeyType::Ed25519, &[1; 64]).is_err());
        assert!(fixed_from_der(KeyType::Rsa { bits: 2048 }, &[0x30, 0]).is_err());
        let long = der_from_fixed(KeyType::EcdsaP384, &[1; 96]).unwrap();
        assert!(fixed_from_der(KeyType::EcdsaP256, &long).is_err());
        assert!(fixed_from_der(KeyType::EcdsaP384, &[&long[..], &[0]].concat()).is_err(), "trailing bytes");
    }
}
