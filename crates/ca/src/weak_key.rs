//! RSA keys which are well formed and yet worth nothing.

use countersign_crypto::{KeyType, PublicKey};
use der::asn1::UintRef;
use der::{Decode as _, Sequence};

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// The primes whose residues show a modulus of the flawed Infineon library (CVE-2017-15361): those above two and
/// below 168.
const FINGERPRINT_PRIMES: std::ops::Range<u32> = 3..168;
/// No factor of a sound modulus is below this.
const SMALL: u32 = 1 << 12;

/// Refuses an RSA key with a small public exponent, a modulus with a small factor, or the fingerprint of a library
/// that made guessable primes. Other types have no weak keys that [`PublicKey`] lets through.
pub(crate) fn check(key: &PublicKey) -> Result<(), String> {
    if !matches!(key.key_type(), KeyType::Rsa { .. }) {
        return Ok(());
    }
    let rsa = RsaPublicKey::from_der(key.raw()).map_err(|e| e.to_string())?;
    let exponent = rsa.exponent.as_bytes().iter().fold(0_u64, |v, b| v << 8 | u64::from(*b));
    if exponent < 65537 {
        return Err(format!("expected an RSA exponent of at least 65537, found {exponent}"));
    }
    let mut flawed = true;
    for prime in (2..SMALL).filter(|n| is_prime(*n)) {
        let rest = residue(rsa.modulus.as_bytes(), prime);
        if rest == 0 {
            return Err(format!("the RSA modulus is divisible by {prime}"));
        }
        if FINGERPRINT_PRIMES.contains(&prime) {
            flawed = flawed && is_power_of_65537(rest, prime);
        }
    }
    if flawed { Err("the RSA key was made by a library with a known flaw (ROCA)".into()) } else { Ok(()) }
}

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn residue(number: &[u8], modulus: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % modulus)
}

/// Whether some power of 65537 leaves this rest.
fn is_power_of_65537(rest: u32, prime: u32) -> bool {
    let generator = 65537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use countersign_crypto::{KeyPair, Signer as _};
    use serde_json::json;

    use super::*;
    use crate::oidc::JwkSet;

    /// A key with this modulus and exponent, if it is well formed.
    fn rsa(modulus: &[u8], exponent: &str) -> PublicKey {
        let n = countersign_crypto::encoding::base64url_encode(modulus);
        let set = json!({"keys": [{"kty": "RSA", "n": n, "e": exponent}]}).to_string();
        let set = JwkSet::parse(set.as_bytes()).unwrap();
        set.candidates(None, crate::oidc::Algorithm::from_name("RS256").unwrap())[0].clone()
    }

    fn sound() -> Vec<u8> {
        let pair = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        RsaPublicKey::from_der(pair.public_key().raw()).unwrap().modulus.as_bytes().to_vec()
    }

    #[test]
    fn sound_keys_pass() {
        assert_eq!(check(&rsa(&sound(), "AQAB")), Ok(()));
        for key_type in [KeyType::EcdsaP256, KeyType::Ed25519] {
            assert_eq!(check(KeyPair::generate(key_type).unwrap().public_key()), Ok(()));
        }
    }

    #[test]
    fn a_small_exponent_is_refused() {
        assert!(check(&rsa(&sound(), "Aw")).unwrap_err().contains("found 3"));
    }

    #[test]
    fn a_modulus_with_a_small_factor_is_refused() {
        // Move a sound modulus to the next odd multiple of 3.
        let mut modulus = sound();
        while residue(&modulus, 3) != 0 {
            let last = modulus.last_mut().unwrap();
            *last = last.wrapping_add(2);
        }
        assert!(check(&rsa(&modulus, "AQAB")).unwrap_err().contains("divisible by"));
    }

    #[test]
    fn the_flawed_librarys_fingerprint_is_known() {
        // 65537^k for a large k has the fingerprint by construction, and no small factor: 65537 is prime.
        let mut power: Vec<u8> = vec![1];
        while power.len() < 256 || power[0] < 0x80 {
            let mut carry = 0_u64;
            for byte in power.iter_mut().rev() {
                let value = u64::from(*byte) * 65537 + carry;
                *byte = (value & 0xff) as u8;
                carry = value >> 8;
            }
            while carry > 0 {
                power.insert(0, (carry & 0xff) as u8);
                carry >>= 8;
            }
            if power.len() > 256 {
                break;
            }
        }
        power.retain({
            let mut first = true;
            move |b| {
                let keep = !first || *b != 0;
                first = first && *b == 0;
                keep
            }
        });
        for prime in FINGERPRINT_PRIMES.filter(|n| is_prime(*n)) {
            assert!(is_power_of_65537(residue(&power, prime), prime), "{prime}");
        }
        // And a sound one has not.
        let modulus = sound();
        assert!(
            FINGERPRINT_PRIMES.filter(|n| is_prime(*n)).any(|p| !is_power_of_65537(residue(&modulus, p), p))
        );
    }
}
