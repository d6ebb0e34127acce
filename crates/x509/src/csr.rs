//! Certificate signing requests (PKCS#10, RFC 2986), read for their key.
//!
//! Fulcio takes nothing else from a request: who the certificate is for stands in the identity token. The
//! signature in the request proves possession of the private key.

use countersign_crypto::{PublicKey, Scheme};
use der::Tag;

use crate::asn1::{Cursor, check_limits, constructed};
use crate::{Name, X509Error};

/// The largest request read, in bytes. Real ones have 200 to 1,000.
pub const MAX_CSR_LEN: usize = 16 * 1024;

const WHAT: &str = "certificate signing request";

/// Reads a DER request, checks its signature with its own key, and returns that key.
///
/// # Errors
/// [`X509Error`] for more than [`MAX_CSR_LEN`] bytes, a malformed request, a key that is not supported, a
/// signature that does not verify ([`X509Error::Crypto`]), and bytes behind the end.
pub fn parse(der: &[u8]) -> Result<PublicKey, X509Error> {
    check_limits(WHAT, der, MAX_CSR_LEN)?;
    let mut outer = Cursor::new(WHAT, der)?;
    let mut parts = outer.sequence()?;
    outer.finish()?;
    let info = parts.expect(Tag::Sequence)?;
    let algorithm = parts.expect(Tag::Sequence)?;
    let signature = parts.bits()?;
    parts.finish()?;

    let mut fields = Cursor::new(WHAT, info.value)?;
    if fields.unsigned()? != [0] {
        return Err(X509Error::malformed(WHAT, "expected version 0, found another"));
    }
    Name::parse(WHAT, fields.expect(Tag::Sequence)?)?;
    let key = PublicKey::from_spki_der(fields.expect(Tag::Sequence)?.raw).map_err(X509Error::crypto(WHAT))?;
    // Attributes. Mandatory, but there are writers who leave out an empty set.
    fields.optional(constructed(0))?;
    fields.finish()?;

    let scheme = Scheme::from_x509_algorithm(algorithm.raw).map_err(X509Error::crypto(WHAT))?;
    key.verify(scheme, info.raw, signature).map_err(X509Error::crypto(WHAT))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use countersign_crypto::{CryptoError, KeyPair, KeyType, Signer};

    use super::*;
    use crate::write;

    fn request(key: &KeyPair, version: u8, rest: &[&[u8]]) -> Vec<u8> {
        let subject = Name::new(None, None).der;
        let info = write::sequence(&[
            &write::unsigned(&[version]),
            &subject,
            key.public_key().spki_der(),
            &rest.concat(),
        ]);
        let signature = key.sign(&info).unwrap();
        let algorithm = key.scheme().x509_algorithm().unwrap();
        write::sequence(&[&info, &algorithm, &write::bit_string(&signature)])
    }

    #[test]
    fn keys_of_every_type_are_read_from_requests() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Ed25519] {
            let key = KeyPair::generate(key_type).unwrap();
            assert_eq!(&parse(&request(&key, 0, &[])).unwrap(), key.public_key());
            assert_eq!(&parse(&request(&key, 0, &[&[0xa0, 0]])).unwrap(), key.public_key());
        }
    }

    #[test]
    fn requests_not_signed_by_their_own_key_are_refused() {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let mut der = request(&key, 0, &[]);
        *der.last_mut().unwrap() ^= 1;
        assert!(matches!(parse(&der), Err(X509Error::Crypto { source: CryptoError::SignatureInvalid, .. })));
        let other = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let mut der = request(&key, 0, &[]);
        let at = der.windows(65).position(|w| w == key.public_key().raw()).unwrap();
        der[at..at + 65].copy_from_slice(other.public_key().raw());
        assert!(parse(&der).is_err());
    }

    #[test]
    fn malformed_requests_are_refused() {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let good = request(&key, 0, &[]);
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err());
        }
        assert!(parse(&[good.as_slice(), &[0]].concat()).is_err(), "bytes behind the end");
        assert!(parse(&request(&key, 1, &[])).is_err(), "version");
        assert!(parse(&request(&key, 0, &[&[0x04, 0]])).is_err(), "an unknown field");
        assert!(matches!(parse(&[0x30; MAX_CSR_LEN + 1]), Err(X509Error::TooLarge { .. })));
    }
}
