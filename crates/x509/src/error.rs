//! Why bytes are not the structure they should be.

use countersign_crypto::CryptoError;

/// What is wrong with a certificate, request, SCT list or token that does not even parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// More bytes than the limit; nothing was parsed.
    #[error("{what}: at most {limit} bytes are accepted, found {found}")]
    TooLarge {
        /// What was to be read.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The length in bytes found.
        found: usize,
    },
    /// Values nested deeper than the limit.
    #[error("{what}: values are nested deeper than {limit} levels")]
    TooDeep {
        /// What was to be read.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// More items than the limit.
    #[error("{what}: at most {limit} are accepted, found more")]
    TooMany {
        /// What was to be read.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not DER, or not of this structure.
    #[error("{what}: {detail}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What was expected and what was found.
        detail: String,
    },
    /// A key, signature or algorithm that cannot be used.
    #[error("{what}: {source}")]
    Crypto {
        /// What was to be read.
        what: &'static str,
        /// What the crypto crate says.
        source: CryptoError,
    },
    /// Something which a later version may know, and this one does not.
    #[error("{what}: {detail} is not supported")]
    Unsupported {
        /// What was to be read.
        what: &'static str,
        /// What was found.
        detail: String,
    },
}

impl X509Error {
    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Malformed { what, detail: detail.into() }
    }

    pub(crate) fn crypto(what: &'static str) -> impl FnOnce(CryptoError) -> Self {
        move |source| Self::Crypto { what, source }
    }
}
