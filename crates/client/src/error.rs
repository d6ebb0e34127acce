//! What can go wrong between a signer and the services, and which exit code it means.

use std::path::PathBuf;

use countersign_crypto::CryptoError;
use countersign_http::HttpError;
use countersign_http::text::printable;
use countersign_keys::KeyError;
use countersign_registry::RegistryError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// What was asked for is not possible or contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// A file that cannot be read or written.
    #[error("{}: {action}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file or document which is not what it should be.
    #[error("{what}: {message}")]
    Malformed {
        /// The file or document.
        what: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A file that should hold a signature is not there.
    #[error("no signature found: {0}")]
    NoSignature(String),
    /// An exchange with a service that failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A registry, or an image in it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No identity token, or not a usable one.
    #[error("identity: {0}")]
    Identity(String),
    /// The trust root or signing configuration is missing, malformed or names no usable service.
    #[error("trust root: {0}")]
    Trust(String),
    /// A private key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signing itself.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What was just signed does not verify, so nothing was written.
    #[error("the new signature does not verify, so it was not written: {0}")]
    SelfCheck(String),
    /// There is no log where one was looked for.
    #[error("{0}")]
    NoLog(String),
    /// A proof that does not hold: the log contradicts itself or what is known of it.
    #[error("{0}")]
    Proof(String),
}

impl ClientError {
    /// The exit code of the program for this error: 1 usage, 2 verification failed, 3 no signature, 5 trust root,
    /// 6 network, 7 internal.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Key(KeyError::Crypto(CryptoError::KeyUnavailable(_)))
            | Self::Crypto(CryptoError::KeyUnavailable(_)) => 6,
            Self::Usage(_)
            | Self::File { .. }
            | Self::Identity(_)
            | Self::Key(_)
            | Self::Http(HttpError::Usage(_)) => 1,
            Self::Malformed { .. } | Self::NoLog(_) | Self::Proof(_) => 2,
            Self::NoSignature(_) => 3,
            Self::Registry(error) => of_registry(error),
            Self::Trust(_) => 5,
            Self::Http(_) => 6,
            Self::Crypto(_) | Self::SelfCheck(_) => 7,
        }
    }

    /// For `map_err` on a file operation.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, action, source }
    }

    /// A document which is not what it should be.
    pub(crate) fn malformed(what: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), message: printable(&message.to_string()) }
    }
}

/// An image that is not there is a mistake in the command, as is a file; what could not be looked at is the network's.
const fn of_registry(error: &RegistryError) -> u8 {
    match error {
        RegistryError::Usage(_) | RegistryError::NotFound { .. } | RegistryError::File { .. } => 1,
        RegistryError::WrongDigest { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Malformed { .. } => 2,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_and_refused_and_unsigned_have_different_exit_codes() {
        let network =
            ClientError::Http(HttpError::Network { service: "log", url: "u".into(), message: "m".into() });
        assert_eq!(network.exit_code(), 6);
        assert_eq!(ClientError::NoSignature("f".into()).exit_code(), 3);
        assert_eq!(ClientError::Trust("t".into()).exit_code(), 5);
        assert_eq!(ClientError::Proof("p".into()).exit_code(), 2);
        assert_eq!(ClientError::Usage("u".into()).exit_code(), 1);
        let away = CryptoError::KeyUnavailable("m".into());
        assert_eq!(ClientError::Key(KeyError::Crypto(away.clone())).exit_code(), 6);
        assert_eq!(ClientError::Crypto(away).exit_code(), 6);
    }
}
