//! What can go wrong with a registry, kept apart so that "could not look" is never read as "there is nothing".

use std::io;
use std::path::Path;

use countersign_crypto::Digest;
use countersign_http::HttpError;
use countersign_http::text::printable;

/// An error of a registry, a layout or an archive. Holds no secret, and its foreign parts are printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A name, an option or a file of the user's that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The registry says that this does not exist. The only error that may be read as "nothing is there".
    #[error("{what} does not exist: {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry's words.
        message: String,
    },
    /// The registry wants to know who asks, and did not accept what it was told.
    #[error("{what}: the registry asks for a login: {message}")]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// What was tried, and what to do.
        message: String,
    },
    /// The registry knows who asks, and refuses.
    #[error("{what}: the registry refuses: {message}")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// The registry's words.
        message: String,
    },
    /// The registry was asked too often, and still says so after the waits that were tried.
    #[error("{what}: the registry is asked too often; try again later: {message}")]
    TooManyRequests {
        /// What was asked for.
        what: String,
        /// The registry's words.
        message: String,
    },
    /// The registry cannot be reached, failed, or its answer did not arrive whole.
    #[error("{what}: {message}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What happened.
        message: String,
    },
    /// Bytes that are not those which were asked for.
    #[error("{what}: expected the bytes of {expected}, found those of {found}")]
    WrongDigest {
        /// What was asked for.
        what: String,
        /// The digest asked for.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// More than the limit allows: bytes, entries, pages.
    #[error("{what}: more than {limit}, which is the limit")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// Something which does not have the form it should have.
    #[error("{what}: {message}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {message}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        message: String,
    },
}

impl RegistryError {
    pub(crate) fn malformed(what: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::Malformed { what: what.into(), message: printable(message.as_ref()) }
    }

    pub(crate) fn wrong_digest(what: impl Into<String>, expected: &Digest, found: &Digest) -> Self {
        Self::WrongDigest { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    pub(crate) fn too_large(what: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::TooLarge { what: what.into(), limit: limit.into() }
    }

    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::File { path: printable(&path.display().to_string()), message: error.to_string() }
    }

    pub(crate) fn not_found(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::NotFound { what: what.into(), message: message.into() }
    }

    /// An error of the network while asking for something.
    pub(crate) fn network(what: impl Into<String>, error: HttpError) -> Self {
        let what = what.into();
        match error {
            HttpError::Usage(message) => Self::Usage(message),
            HttpError::Network { url, message, .. } => {
                Self::Unreachable { what, message: format!("{url}: {message}") }
            }
            HttpError::TooLong { limit, .. } => Self::TooLarge { what, limit: format!("{limit} bytes") },
            HttpError::Status { status: 401, message, .. } => Self::Unauthorized { what, message },
            HttpError::Status { status: 403, message, .. } => Self::Forbidden { what, message },
            HttpError::Status { status: 404, message, .. } => Self::NotFound { what, message },
            HttpError::Status { status: 429, message, .. } => Self::TooManyRequests { what, message },
            HttpError::Status { url, status, message, .. } if status >= 500 => {
                Self::Unreachable { what, message: format!("{url} answered {status}: {message}") }
            }
            other => Self::Malformed { what, message: other.to_string() },
        }
    }
}

/// What a store lists must be there: that it is not is a fault of the store, and no absence of evidence.
pub(crate) fn listed<T>(result: Result<T, RegistryError>) -> Result<T, RegistryError> {
    match result {
        Err(RegistryError::NotFound { what, .. }) => Err(RegistryError::malformed(
            what,
            "it is listed, and is not there; the place is damaged, or was copied in part",
        )),
        other => other,
    }
}

/// `Some` for what is there, `None` only when the registry says that it is not.
pub(crate) fn optional<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
