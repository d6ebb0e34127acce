//! What goes wrong, in the words of Sigstore's timestamp authority where it has some.

use countersign_clock::Timestamp;
use countersign_crypto::{CryptoError, HashAlgorithm};
use countersign_x509::X509Error;
use countersign_x509::chain::ChainError;
use countersign_x509::timestamp::{self, FailureInfo, RequestError, ResponderError};

/// Why a request got no timestamp. The text is what clients are shown; [`std::error::Error::source`] and `Debug`
/// tell the operator more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TsaError {
    /// The body is empty.
    #[error("request in body is required")]
    EmptyBody,
    /// Not a request: junk, bytes behind the end, JSON without the mandatory fields, too large, extensions.
    #[error("Error generating timestamp response")]
    BadRequest(#[source] BadRequest),
    /// A hash other than SHA-256, SHA-384 and SHA-512.
    #[error("Weak hash algorithm in timestamp request")]
    WeakHash {
        /// Its name or OID.
        found: String,
    },
    /// An imprint that does not fit its hash.
    #[error("Message digest has incorrect length for specified algorithm")]
    DigestLength {
        /// The hash.
        algorithm: HashAlgorithm,
        /// The length in bytes of its digests.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A policy which is not this authority's.
    #[error("unaccepted policy: requested TSA policy is not supported by the TSA")]
    UnacceptedPolicy {
        /// The authority's policy.
        expected: String,
        /// The policy asked for.
        found: String,
    },
    /// The clock shows an earlier time than that of the last timestamp.
    #[error("the time is not available")]
    ClockWentBack {
        /// The second of the last timestamp.
        last: Timestamp,
        /// What the clock shows.
        now: Timestamp,
    },
    /// A certificate of the authority's chain is not valid now.
    #[error("the time is not available")]
    OutsideValidity {
        /// The first second in which the whole chain is valid.
        from: Timestamp,
        /// The last.
        until: Timestamp,
        /// What the clock shows.
        now: Timestamp,
    },
    /// The key could not sign, or there was no randomness.
    #[error("Error generating timestamp response")]
    Signing(#[source] X509Error),
    /// The key cannot be reached now. The same request may succeed later.
    #[error("the signing key cannot be reached right now; try again")]
    KeyUnavailable(#[source] X509Error),
}

/// In what way a request is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// As DER.
    #[error(transparent)]
    Der(RequestError),
    /// As JSON.
    #[error("JSON request: {0}")]
    Json(String),
}

impl TsaError {
    /// The HTTP status of this error: 400 or 422 for the client's faults, 500 or 503 for the server's.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::EmptyBody => 422,
            Self::BadRequest(_)
            | Self::WeakHash { .. }
            | Self::DigestLength { .. }
            | Self::UnacceptedPolicy { .. } => 400,
            Self::ClockWentBack { .. } | Self::OutsideValidity { .. } | Self::KeyUnavailable(_) => 503,
            Self::Signing(_) => 500,
        }
    }

    /// The `code` in Sigstore's JSON error: the HTTP status, but 602 for an empty body.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::EmptyBody => 602,
            other => other.http_status(),
        }
    }

    /// The failure in terms of RFC 3161 section 2.4.2.
    #[must_use]
    pub const fn failure_info(&self) -> FailureInfo {
        match self {
            Self::EmptyBody | Self::BadRequest(BadRequest::Json(_)) => FailureInfo::BadDataFormat,
            Self::BadRequest(BadRequest::Der(RequestError::Extensions)) => FailureInfo::UnacceptedExtension,
            Self::BadRequest(BadRequest::Der(_)) | Self::DigestLength { .. } => FailureInfo::BadDataFormat,
            Self::WeakHash { .. } => FailureInfo::BadAlgorithm,
            Self::UnacceptedPolicy { .. } => FailureInfo::UnacceptedPolicy,
            Self::ClockWentBack { .. } | Self::OutsideValidity { .. } => FailureInfo::TimeNotAvailable,
            Self::Signing(_) | Self::KeyUnavailable(_) => FailureInfo::SystemFailure,
        }
    }

    /// A DER `TimeStampResp` that says so, for those who answer within the protocol instead of HTTP.
    #[must_use]
    pub fn rejection(&self) -> Vec<u8> {
        timestamp::reject(self.failure_info(), &self.to_string())
    }
}

impl From<X509Error> for TsaError {
    fn from(error: X509Error) -> Self {
        match &error {
            X509Error::Crypto { source: CryptoError::KeyUnavailable(_), .. } => Self::KeyUnavailable(error),
            _ => Self::Signing(error),
        }
    }
}

impl From<RequestError> for TsaError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::WeakHash { oid } => Self::WeakHash { found: oid },
            RequestError::ImprintLength { algorithm, expected, found } => {
                Self::DigestLength { algorithm, expected, found }
            }
            other => Self::BadRequest(BadRequest::Der(other)),
        }
    }
}

/// Why a chain and a key do not make a timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Fewer than two certificates: there is nothing to anchor the authority's own in.
    #[error("the chain needs the authority's certificate and at least one above it, found {found}")]
    ChainTooShort {
        /// How many certificates there are.
        found: usize,
    },
    /// The chain does not hold for time stamping now.
    #[error("the chain of the timestamp authority: {0}")]
    Chain(#[from] ChainError),
    /// The chain's order is not leaf first, each followed by its issuer.
    #[error("the chain is not in order: expected each certificate to be followed by its issuer")]
    Order,
    /// Certificate and key do not fit.
    #[error(transparent)]
    Responder(#[from] ResponderError),
}

impl From<CryptoError> for TsaError {
    fn from(source: CryptoError) -> Self {
        Self::Signing(X509Error::Crypto { what: "timestamp", source })
    }
}
