//! An instance at rest: making its directory, and opening what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{KeyType, PublicKey, Signer};
use countersign_keys::{KeyRef, PasswordSource, create_key_pair, file, load_public_key, load_signer};
use countersign_x509::Certificate;
use zeroize::Zeroizing;

use crate::ServerError;
use crate::config::{Config, FILE_NAME};

pub(crate) mod create;
mod open;

pub use create::{InitOptions, InitReport, init};
pub(crate) use open::Documents;

/// The environment variable with the password of an instance's keys.
pub const PASSWORD_VARIABLE: &str = "COUNTERSIGN_PASSWORD";

/// A private key of an instance: what it is for, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstanceKey {
    /// Signs the issuing certificate. Offline.
    CaRoot,
    /// Issues certificates.
    Ca,
    /// Signs SCTs and the CT log's checkpoints.
    Ct,
    /// Signs the timestamping certificate. Offline.
    TsaRoot,
    /// Signs timestamps.
    Tsa,
    /// Signs the transparency log's checkpoints.
    Log,
    /// Signs TUF's root and targets. Offline.
    TufRoot,
    /// Signs TUF's snapshot and timestamp.
    TufOnline,
}

impl InstanceKey {
    pub(crate) const ALL: [Self; 8] = [
        Self::CaRoot,
        Self::Ca,
        Self::Ct,
        Self::TsaRoot,
        Self::Tsa,
        Self::Log,
        Self::TufRoot,
        Self::TufOnline,
    ];

    /// Path below the instance's directory, without extension.
    pub(crate) const fn stem(self) -> &'static str {
        match self {
            Self::CaRoot => "keys/offline/ca-root",
            Self::Ca => "keys/ca",
            Self::Ct => "keys/ct",
            Self::TsaRoot => "keys/offline/tsa-root",
            Self::Tsa => "keys/tsa",
            Self::Log => "keys/log",
            Self::TufRoot => "keys/offline/tuf-root",
            Self::TufOnline => "keys/tuf-online",
        }
    }

    /// P-384 where a signature is rare and lives long; Ed25519 for checkpoints, as every client of Rekor v2
    /// expects; P-256, the fastest of those all clients take, elsewhere.
    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::CaRoot | Self::TsaRoot => KeyType::EcdsaP384,
            Self::Log => KeyType::Ed25519,
            Self::Ca | Self::Ct | Self::Tsa | Self::TufRoot | Self::TufOnline => KeyType::EcdsaP256,
        }
    }

    pub(crate) const fn is_offline(self) -> bool {
        matches!(self, Self::CaRoot | Self::TsaRoot | Self::TufRoot)
    }

    pub(crate) fn private(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.key", self.stem()))
    }

    pub(crate) fn public(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.pub", self.stem()))
    }

    /// Makes the pair and writes both files.
    pub(crate) fn create(self, directory: &Path, password: &PasswordSource) -> Result<(), ServerError> {
        create_key_pair(&directory.join(self.stem()), self.key_type(), password)
            .map(drop)
            .map_err(|e| ServerError::Key { path: self.private(directory), message: e.to_string() })
    }

    pub(crate) fn load(
        self,
        directory: &Path,
        password: &PasswordSource,
    ) -> Result<Arc<dyn Signer>, ServerError> {
        let path = self.private(directory);
        load_signer(&KeyRef::File(path.clone()), password).map_err(|e| {
            let hint = if self.is_offline() {
                "; this key is needed for rotations only: bring it back to this path for the command"
            } else {
                ""
            };
            ServerError::Key { path, message: format!("{e}{hint}") }
        })
    }

    pub(crate) fn load_public(self, directory: &Path) -> Result<PublicKey, ServerError> {
        let path = self.public(directory);
        load_public_key(&KeyRef::File(path.clone()))
            .map_err(|e| ServerError::Key { path, message: e.to_string() })
    }
}

/// Files of an instance that are not keys, below its directory.
pub(crate) mod paths {
    pub(crate) const CA_CHAIN: &str = "certificates/ca-chain.pem";
    pub(crate) const TSA_CHAIN: &str = "certificates/tsa-chain.pem";
    pub(crate) const TUF: &str = "tuf";
    pub(crate) const LOG: &str = "log";
    pub(crate) const CT: &str = "ct";
    pub(crate) const PASSWORD: &str = "keys/password";
}

/// An instance's directory with its configuration, read and checked.
#[derive(Debug)]
pub struct Instance {
    /// The directory.
    pub directory: PathBuf,
    /// Its configuration.
    pub config: Config,
}

impl Instance {
    /// Reads the configuration of an instance.
    ///
    /// # Errors
    /// [`ServerError::Config`] when the directory is no instance or the file is unusable.
    pub fn open(directory: &Path) -> Result<Self, ServerError> {
        Ok(Self { directory: directory.to_owned(), config: Config::read(directory)? })
    }

    /// Where the password of this instance's keys comes from: the caller, the configured file, or the environment.
    pub(crate) fn password(&self, given: Option<&Zeroizing<String>>) -> PasswordSource {
        match (given, &self.config.keys.password_file) {
            (Some(password), _) => PasswordSource::Literal(password.clone()),
            (None, Some(path)) => PasswordSource::File(self.directory.join(path)),
            (None, None) => PasswordSource::Env(PASSWORD_VARIABLE.into()),
        }
    }

    /// Reads a certificate chain file, issuing or signing certificate first.
    pub(crate) fn chain(&self, relative: &str) -> Result<Vec<Certificate>, ServerError> {
        let path = self.directory.join(relative);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| ServerError::File { path: path.clone(), message: format!("cannot be read: {e}") })?;
        let chain = Certificate::chain_from_pem(&text)
            .map_err(|e| ServerError::File { path: path.clone(), message: e.to_string() })?;
        if chain.len() < 2 {
            return Err(ServerError::File {
                path,
                message: format!("expected a certificate and its root, found {} certificates", chain.len()),
            });
        }
        Ok(chain)
    }
}

/// Writes a public file of an instance, atomically, replacing what was there.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> Result<(), ServerError> {
    file::replace(path, content, file::PUBLIC)
        .map_err(|e| ServerError::File { path: path.to_owned(), message: e.to_string() })
}
