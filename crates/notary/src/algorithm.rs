//! The six algorithms of the specification. The key decides which one it is; what an envelope says must agree.

use std::fmt;

use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme, Signer, ecdsa};

/// How an envelope is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256, for RSA keys of 2048 bits.
    Ps256,
    /// RSASSA-PSS with SHA-384, for RSA keys of 3072 bits.
    Ps384,
    /// RSASSA-PSS with SHA-512, for RSA keys of 4096 bits.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384, Self::Es512];

    /// The one algorithm that goes with keys of this type.
    #[must_use]
    pub fn of_key(key: KeyType) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.key_type() == key)
    }

    const fn key_type(self) -> KeyType {
        match self {
            Self::Ps256 => KeyType::Rsa { bits: 2048 },
            Self::Ps384 => KeyType::Rsa { bits: 3072 },
            Self::Ps512 => KeyType::Rsa { bits: 4096 },
            Self::Es256 => KeyType::EcdsaP256,
            Self::Es384 => KeyType::EcdsaP384,
            Self::Es512 => KeyType::EcdsaP521,
        }
    }

    /// The scheme under which a [`Signer`] must sign.
    #[must_use]
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Ps256 | Self::Ps384 | Self::Ps512 => Scheme::RsaPss(self.hash()),
            Self::Es256 | Self::Es384 | Self::Es512 => Scheme::Ecdsa(self.hash()),
        }
    }

    /// The hash; the digest of a signed file is by the same.
    #[must_use]
    pub const fn hash(self) -> HashAlgorithm {
        match self {
            Self::Ps256 | Self::Es256 => HashAlgorithm::Sha256,
            Self::Ps384 | Self::Es384 => HashAlgorithm::Sha384,
            Self::Ps512 | Self::Es512 => HashAlgorithm::Sha512,
        }
    }

    /// The name in JWS (RFC 7518 section 3.1).
    #[must_use]
    pub const fn jws_name(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    pub(crate) fn from_jws_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.jws_name() == name)
    }

    /// The number in COSE (RFC 9053 section 2.1, RFC 8230 section 2).
    #[must_use]
    pub const fn cose_number(self) -> i64 {
        match self {
            Self::Ps256 => -37,
            Self::Ps384 => -38,
            Self::Ps512 => -39,
            Self::Es256 => -7,
            Self::Es384 => -35,
            Self::Es512 => -36,
        }
    }

    pub(crate) fn from_cose_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.cose_number() == number)
    }

    /// Checks a signature in the form of JWS and COSE, where ECDSA has two numbers of fixed length.
    pub(crate) fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if key.key_type() != self.key_type() {
            return Err(CryptoError::SchemeMismatch { scheme: self.scheme(), key: key.key_type() });
        }
        if let Scheme::Ecdsa(_) = self.scheme() {
            let der = ecdsa::der_from_fixed(key.key_type(), signature)?;
            return key.verify(self.scheme(), message, &der);
        }
        key.verify(self.scheme(), message, signature)
    }

    /// Signs, and gives the signature in the form of JWS and COSE.
    pub(crate) fn sign(self, signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = signer.sign(message)?;
        match self.scheme() {
            Scheme::Ecdsa(_) => ecdsa::fixed_from_der(self.key_type(), &signature),
            _ => Ok(signature),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.jws_name())
    }
}
