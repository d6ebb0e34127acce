//! Public keys, and the trait of everything that can sign.

use std::fmt;
use std::hash::{Hash, Hasher};

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode as _, Sequence};

use crate::{CryptoError, Digest, KeyDetails, KeyType, Scheme, backend, encoding, sha256};

pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(crate) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `RSAPublicKey` of RFC 8017 appendix A.1.1.
#[derive(Sequence)]
pub(crate) struct RsaPublicKey<'a> {
    pub(crate) modulus: UintRef<'a>,
    pub(crate) exponent: UintRef<'a>,
}

/// A public key: its `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7) and what was found in it.
///
/// Bytes are read by [`PublicKey::from_spki_der`] alone: a bare 32-byte Ed25519 key or a bare curve point is not
/// a key there. Who has numbers and knows of what says so ([`PublicKey::from_coordinates`] and its like).
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    key_type: KeyType,
    /// The content of the BIT STRING: curve point, Ed25519 key, or `RSAPublicKey`.
    raw: Vec<u8>,
    ready: backend::ReadyKey,
}

// All else follows from these bytes.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spki.hash(state);
    }
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`] for anything malformed, a point that is compressed or has the wrong length, an
    /// RSA modulus other than 2048, 3072 or 4096 bits, an RSA exponent which is even, below 3 or of more than 33 bits,
    /// an Ed25519 key that is of small order or not canonical, other parameters than belong there, and trailing bytes.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, CryptoError> {
        let bad = |what: &str| CryptoError::PublicKey(what.to_owned());
        let info = spki::SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(der)
            .map_err(|e| CryptoError::PublicKey(format!("SubjectPublicKeyInfo: {e}")))?;
        let raw = info
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| bad("the key is not a whole number of bytes"))?;
        let parameters = info.algorithm.parameters;
        let key_type = match info.algorithm.oid {
            EC_PUBLIC_KEY => {
                let curve: ObjectIdentifier = parameters
                    .ok_or_else(|| bad("no curve named"))?
                    .decode_as()
                    .map_err(|_| bad("the curve is not a named one"))?;
                let (key_type, len) = match curve {
                    P256 => (KeyType::EcdsaP256, 65),
                    P384 => (KeyType::EcdsaP384, 97),
                    P521 => (KeyType::EcdsaP521, 133),
                    other => {
                        return Err(CryptoError::PublicKey(format!("curve {other} is not supported")));
                    }
                };
                if raw.len() != len || raw.first() != Some(&4) {
                    return Err(bad("the curve point is not in uncompressed form"));
                }
                key_type
            }
            ED25519 => {
                if parameters.is_some() {
                    return Err(bad("an Ed25519 key has no parameters"));
                }
                if raw.len() != 32 {
                    return Err(bad("an Ed25519 key has 32 bytes"));
                }
                KeyType::Ed25519
            }
            RSA => {
                // Always there (RFC 3279 section 2.3.1), or one key would have two fingerprints.
                if parameters != Some(AnyRef::NULL) {
                    return Err(bad("the parameters of an RSA key are NULL"));
                }
                rsa_key_type(raw)?
            }
            other => return Err(CryptoError::PublicKey(format!("algorithm {other} is not supported"))),
        };
        let ready = backend::ReadyKey::new(key_type, raw)?;
        Ok(Self { raw: raw.to_vec(), spki: der.to_vec(), key_type, ready })
    }

    /// Reads a PEM file with exactly one `PUBLIC KEY` block.
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`] or [`CryptoError::Encoding`].
    pub fn from_pem(text: &str) -> Result<Self, CryptoError> {
        let blocks = encoding::pem_decode(text)?;
        match blocks.as_slice() {
            [block] if block.label == "PUBLIC KEY" => Self::from_spki_der(&block.der),
            [block] => Err(CryptoError::PublicKey(format!(
                "expected a PEM block \"PUBLIC KEY\", found \"{}\"",
                block.label
            ))),
            _ => Err(CryptoError::PublicKey("expected one PEM block, found several".into())),
        }
    }

    /// The key in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        encoding::pem_encode("PUBLIC KEY", &self.spki)
    }

    /// The DER `SubjectPublicKeyInfo`, byte for byte as it was read.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The content of the BIT STRING in the `SubjectPublicKeyInfo`: the point of an elliptic curve key
    /// (uncompressed), the 32 bytes of an Ed25519 key, the DER `RSAPublicKey` of an RSA key.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Key type and default scheme under Sigstore's name.
    #[must_use]
    pub const fn key_details(&self) -> KeyDetails {
        KeyDetails::default_for(self.key_type)
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`: the log id of Rekor v1 and CT logs, the hint in bundles.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// Checks a signature over a message.
    ///
    /// # Errors
    /// [`CryptoError::SchemeMismatch`] when the scheme does not go with the key, else
    /// [`CryptoError::SignatureInvalid`].
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.check_scheme(scheme)?;
        self.ready.verify(self.key_type, scheme, message, signature)
    }

    /// Checks a signature over a digest made before. The digest's algorithm must be the scheme's.
    ///
    /// # Errors
    /// As [`PublicKey::verify`], and [`CryptoError::Unsupported`] for pure Ed25519, which cannot be checked
    /// from a digest, and for a digest of another algorithm.
    pub fn verify_digest(
        &self,
        scheme: Scheme,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.check_scheme(scheme)?;
        if scheme.hash() != Some(digest.algorithm()) {
            return Err(CryptoError::Unsupported(format!(
                "{scheme} cannot be checked from a {} digest",
                digest.algorithm()
            )));
        }
        self.ready.verify_digest(self.key_type, scheme, digest, signature)
    }

    fn check_scheme(&self, scheme: Scheme) -> Result<(), CryptoError> {
        if scheme.fits(self.key_type) {
            Ok(())
        } else {
            Err(CryptoError::SchemeMismatch { scheme, key: self.key_type })
        }
    }
}

fn rsa_key_type(raw: &[u8]) -> Result<KeyType, CryptoError> {
    let key =
        RsaPublicKey::from_der(raw).map_err(|e| CryptoError::PublicKey(format!("RSAPublicKey: {e}")))?;
    let modulus = key.modulus.as_bytes();
    let bits = match (modulus.len(), modulus.first()) {
        (256, Some(0x80..)) => 2048,
        (384, Some(0x80..)) => 3072,
        (512, Some(0x80..)) => 4096,
        (len, _) => {
            return Err(CryptoError::PublicKey(format!(
                "an RSA modulus has 2048, 3072 or 4096 bits, found about {}",
                len.saturating_mul(8)
            )));
        }
    };
    let exponent = key.exponent.as_bytes();
    let value = exponent.iter().try_fold(0_u64, |v, b| (v < 1 << 32).then(|| v << 8 | u64::from(*b)));
    match value {
        Some(e) if e >= 3 && e % 2 == 1 && e < 1 << 33 => Ok(KeyType::Rsa { bits }),
        _ => Err(CryptoError::PublicKey("the RSA exponent is even, too small or too large".into())),
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, sha256:{})", self.key_type, encoding::hex_encode(&self.fingerprint()))
    }
}

/// Everything that can sign: a key in memory, in a file, in an HSM, behind a cloud's API.
///
/// A call may block (an HSM, a network); services call it from a thread which may.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The scheme [`Signer::sign`] uses.
    fn scheme(&self) -> Scheme;

    /// Signs a message.
    ///
    /// # Errors
    /// [`CryptoError::Signing`] when the key refuses, [`CryptoError::KeyUnavailable`] when it cannot be reached.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError>;

    /// Signs a digest made before; its algorithm must be the scheme's. A long artifact is thus hashed as a stream.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for pure Ed25519 or another digest, else as [`Signer::sign`].
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError>;
}

impl<T: Signer + ?Sized> Signer for std::sync::Arc<T> {
    fn public_key(&self) -> &PublicKey {
        (**self).public_key()
    }
    fn scheme(&self) -> Scheme {
        (**self).scheme()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        (**self).sign(message)
    }
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        (**self).sign_digest(digest)
    }
}
