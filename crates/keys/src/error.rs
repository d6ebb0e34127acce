//! What can go wrong with a key reference, a key file or a password.

use std::io;
use std::path::{Path, PathBuf};

use countersign_crypto::CryptoError;

/// What can go wrong with a key reference, a key file or a password. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: "read", "write", …
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that would have been overwritten.
    #[error("{} exists already and is not overwritten; move it away or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A private key file which every user of the machine can reach.
    #[error(
        "the private key {} is open to every user of this machine (mode {mode:04o}, expected 0600): \
         run `chmod 600 {}`, and replace the key if others use this machine",
        path.display(), path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file or variable larger than any key.
    #[error("{what} is larger than the {limit} bytes a key can have")]
    TooLarge {
        /// Which input.
        what: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A reference to a home which cannot do what was asked for.
    #[error("the key {reference} {detail}")]
    Unsupported {
        /// The reference.
        reference: String,
        /// What it cannot do, and what can.
        detail: &'static str,
    },
    /// A reference which is not well formed.
    #[error("not a key reference: {0}")]
    Reference(String),
    /// An environment variable that is not set or not text.
    #[error("the environment variable {0} is not set (or not UTF-8)")]
    Variable(String),
    /// The home of a key refuses, or answers with something that is wrong.
    #[error("{0}")]
    Refused(String),
    /// The content is not a key file of a supported form.
    #[error("not a usable key file: {0}")]
    Malformed(String),
    /// Decryption failed: the one cause that matters is a wrong password.
    #[error("cannot decrypt the private key: wrong password, or the file is damaged")]
    WrongPassword,
    /// No password could be had.
    #[error("no password for the private key: {0}")]
    Password(String),
    /// A token's PIN is missing, or the token refuses it.
    #[error("{0}")]
    Pin(String),
    /// The home of the key can be reached and holds no such key.
    #[error("{0}")]
    NoSuchKey(String),
    /// A token cannot do what was asked for.
    #[error("{0}")]
    Token(String),
    /// The key itself is not usable.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl KeyError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
