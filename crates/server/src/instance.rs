//! An instance at rest: making its directory, and opening what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{KeyType, PublicKey, Signer};
use countersign_keys::{
    KeyError, KeyRef, PasswordSource, create_key, create_key_pair, file, load_public_key, load_signer,
};
use countersign_log::KeyOf;
use countersign_x509::Certificate;
use zeroize::Zeroizing;

use crate::ServerError;
use crate::config::{Config, FILE_NAME, Role};

pub(crate) mod create;
mod open;
mod open_v1;
mod search_key;

pub use create::{InitOptions, InitReport, init};
pub(crate) use open::Documents;

/// The environment variable with the password of an instance's keys.
pub const PASSWORD_VARIABLE: &str = "COUNTERSIGN_PASSWORD";

/// A private key of an instance: what it is for, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum InstanceKey {
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
    /// Signs checkpoints and promises of the log of Rekor v1. An instance that has no such log has none.
    LogV1,
    /// Signs TUF's root and targets. Offline.
    TufRoot,
    /// Signs TUF's snapshot and timestamp.
    TufOnline,
    /// Signs revocation lists. An instance that was made before there were any has none until it first revokes.
    Revocation,
}

impl InstanceKey {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::CaRoot,
        Self::Ca,
        Self::Ct,
        Self::TsaRoot,
        Self::Tsa,
        Self::Log,
        Self::LogV1,
        Self::TufRoot,
        Self::TufOnline,
        Self::Revocation,
    ];

    /// What the log is called that it signs, and the directory of that log in the instance.
    pub(crate) const fn log(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Log => Some(("transparency", paths::LOG)),
            Self::LogV1 => Some(("Rekor v1", paths::LOG_V1)),
            Self::Ct => Some(("CT", paths::CT)),
            _ => None,
        }
    }

    /// Its name in `[keys]` of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CaRoot => "ca_root",
            Self::Ca => "ca",
            Self::Ct => "ct",
            Self::TsaRoot => "tsa_root",
            Self::Tsa => "tsa",
            Self::Log => "log",
            Self::LogV1 => "log_v1",
            Self::TufRoot => "tuf_root",
            Self::TufOnline => "tuf",
            Self::Revocation => "revocation",
        }
    }

    /// Path below the instance's directory, without extension.
    pub(crate) const fn stem(self) -> &'static str {
        match self {
            Self::CaRoot => "keys/offline/ca-root",
            Self::Ca => "keys/ca",
            Self::Ct => "keys/ct",
            Self::TsaRoot => "keys/offline/tsa-root",
            Self::Tsa => "keys/tsa",
            Self::Log => "keys/log",
            Self::LogV1 => "keys/log-v1",
            Self::TufRoot => "keys/offline/tuf-root",
            Self::TufOnline => "keys/tuf-online",
            Self::Revocation => "keys/revocation",
        }
    }

    /// P-384 where a signature is rare and lives long; Ed25519 for checkpoints, as every client of Rekor v2
    /// expects; P-256, the fastest of those all clients take, elsewhere.
    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::CaRoot | Self::TsaRoot => KeyType::EcdsaP384,
            Self::Log => KeyType::Ed25519,
            // Rekor v1's clients take no other for its promises.
            Self::LogV1 => KeyType::EcdsaP256,
            Self::Ca | Self::Ct | Self::Tsa | Self::TufRoot | Self::TufOnline | Self::Revocation => {
                KeyType::EcdsaP256
            }
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

    /// Whether a key of another type than [`InstanceKey::key_type`] will do, when it was made elsewhere. The logs'
    /// clients know one type each.
    const fn takes(self, found: KeyType) -> bool {
        match self {
            Self::Log => matches!(found, KeyType::Ed25519),
            Self::Ct | Self::LogV1 => matches!(found, KeyType::EcdsaP256),
            _ => matches!(found, KeyType::EcdsaP256 | KeyType::EcdsaP384),
        }
    }

    pub(crate) fn load_public(self, directory: &Path) -> Result<PublicKey, ServerError> {
        let path = self.public(directory);
        load_public_key(&KeyRef::File(path.clone()))
            .map_err(|e| ServerError::Key { path, message: e.to_string() })
    }
}

/// Where a key came from when an instance was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// It was made.
    Made,
    /// It was there already, under the reference given.
    Found,
}

/// Files of an instance that are not keys, below its directory.
pub(crate) mod paths {
    pub(crate) const CA_CHAIN: &str = "certificates/ca-chain.pem";
    pub(crate) const TSA_CHAIN: &str = "certificates/tsa-chain.pem";
    pub(crate) const TUF: &str = "tuf";
    pub(crate) const LOG: &str = "log";
    pub(crate) const LOG_V1: &str = "log-v1";
    pub(crate) const CT: &str = "ct";
    pub(crate) const PASSWORD: &str = "keys/password";
    pub(crate) const REVOCATIONS: &str = "revocations.json";
    pub(crate) const SEARCH_KEY: &str = "keys/search.key";
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

    /// The keys that a role signs with while it runs.
    pub(crate) fn keys_of(&self, role: Role) -> &'static [InstanceKey] {
        match role {
            Role::Ca => &[InstanceKey::Ca, InstanceKey::Ct],
            Role::Log if self.config.log.rekor_v1 => &[InstanceKey::Log, InstanceKey::LogV1],
            Role::Log => &[InstanceKey::Log],
            Role::Tsa => &[InstanceKey::Tsa],
            Role::Trust => &[InstanceKey::TufOnline],
        }
    }

    /// The reference of a key that does not lie in `keys/`.
    pub(crate) fn reference(&self, key: InstanceKey) -> Option<KeyRef> {
        self.config.keys.reference(key).map(|reference| match reference {
            // Paths in the configuration start at the instance's directory.
            KeyRef::File(path) => KeyRef::File(self.directory.join(path)),
            other => other.clone(),
        })
    }

    /// Where a key is, for people.
    pub(crate) fn place(&self, key: InstanceKey) -> PathBuf {
        match self.reference(key) {
            Some(reference) => PathBuf::from(reference.to_string()),
            None => key.private(&self.directory),
        }
    }

    /// Makes a key where it belongs, or takes the one that is there under its reference, and writes its public half.
    /// Says which it was.
    pub(crate) fn create_key(
        &self,
        key: InstanceKey,
        password: &PasswordSource,
    ) -> Result<KeyOrigin, ServerError> {
        let failed = |e: KeyError| ServerError::Key { path: self.place(key), message: e.to_string() };
        let Some(reference) = self.reference(key) else {
            return create_key_pair(&self.directory.join(key.stem()), key.key_type(), password)
                .map(|_| KeyOrigin::Made)
                .map_err(failed);
        };
        let (public, origin) = match &reference {
            // What is only stored elsewhere is brought there before.
            KeyRef::File(_) | KeyRef::Env(_) | KeyRef::Kubernetes { .. } | KeyRef::GitLab { .. } => {
                let signer = load_signer(&reference, password).map_err(failed)?;
                (signer.public_key().clone(), KeyOrigin::Found)
            }
            _ => {
                // A plugin chooses the type itself. Where several will do, none is asked for, so that a key of any of
                // them which is there is taken; a new one is of the usual type then.
                let one = matches!(key, InstanceKey::Log | InstanceKey::LogV1 | InstanceKey::Ct);
                let wanted = (one && !matches!(reference, KeyRef::Plugin { .. })).then(|| key.key_type());
                let created = create_key(&reference, wanted, password).map_err(failed)?;
                (created.public, if created.is_new { KeyOrigin::Made } else { KeyOrigin::Found })
            }
        };
        if !key.takes(public.key_type()) {
            return Err(ServerError::Key {
                path: self.place(key),
                message: format!(
                    "expected {} as the {} key, found {}",
                    key.key_type(),
                    key.name(),
                    public.key_type()
                ),
            });
        }
        file::write_new(&key.public(&self.directory), public.to_pem().as_bytes(), file::PUBLIC)
            .map_err(failed)?;
        Ok(origin)
    }

    /// Loads a key from where it is. Blocks.
    pub(crate) fn load_key(
        &self,
        key: InstanceKey,
        password: &PasswordSource,
    ) -> Result<Arc<dyn Signer>, ServerError> {
        let reference = self.reference(key);
        let far = reference.is_some();
        let reference = reference.unwrap_or_else(|| KeyRef::File(key.private(&self.directory)));
        load_signer(&reference, password).map_err(|e| {
            let hint = match (key.is_offline(), far) {
                (true, true) => "; this key is needed for rotations only: plug its token in for the command",
                (true, false) => {
                    "; this key is needed for rotations only: bring it back to this path for the command"
                }
                (false, _) => "",
            };
            ServerError::Key { path: self.place(key), message: format!("{e}{hint}") }
        })
    }

    /// Where the password of this instance's keys comes from: the caller, the configured file, or the environment.
    pub(crate) fn password(&self, given: Option<&Zeroizing<String>>) -> PasswordSource {
        let source = match (given, &self.config.keys.password_file) {
            (Some(password), _) => PasswordSource::Literal(password.clone()),
            (None, Some(path)) => PasswordSource::File(self.directory.join(path)),
            (None, None) => PasswordSource::Env(PASSWORD_VARIABLE.into()),
        };
        source.once()
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

/// A log that lies in a directory, for who works on its files.
pub struct LogAtRest {
    /// Its directory in an instance or in a copy of one; empty for a log alone.
    pub name: &'static str,
    /// Its name in its checkpoints; empty when nothing but the log itself says it.
    pub origin: String,
    /// Where it lies.
    pub directory: PathBuf,
    /// The key of its checkpoints.
    pub key: PublicKey,
    /// How an entry's key in the index of duplicates is found.
    pub key_of: Option<KeyOf>,
    /// Where it is marked when whoever runs this process serves it.
    pub mark: Option<PathBuf>,
}

impl std::fmt::Debug for LogAtRest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogAtRest").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl LogAtRest {
    /// The names of the logs that an instance may have.
    pub const NAMES: [&'static str; 3] = [paths::LOG, paths::LOG_V1, paths::CT];

    /// A log in a directory.
    #[must_use]
    pub fn new(name: &'static str, directory: PathBuf, key: PublicKey) -> Self {
        // As the roles are opened: a transparency log's duplicates are those with the same body.
        let key_of: Option<KeyOf> = match name {
            paths::CT => None,
            paths::LOG_V1 => Some(open_v1::key_of_v1()),
            _ => (key.key_type() == KeyType::Ed25519).then(|| Arc::new(countersign_crypto::sha256) as KeyOf),
        };
        Self { name, origin: String::new(), directory, key, key_of, mark: None }
    }
}

impl Instance {
    /// The logs of the roles that this instance runs.
    ///
    /// # Errors
    /// [`ServerError::Key`] when a public key is missing; [`ServerError::Config`] when the logs are not in the directory.
    pub fn logs_at_rest(&self) -> Result<Vec<LogAtRest>, ServerError> {
        if self.config.store.is_some() {
            return Err(ServerError::Config {
                path: self.directory.join(FILE_NAME),
                message: "expected logs in the instance's directory, found [store]: copy the database and the bucket with \
                          their own tools, or move the logs here first, with `countersign log migrate --to local`"
                    .into(),
            });
        }
        let usual = crate::marks::usual(&self.directory);
        let mut logs = Vec::new();
        // That of Rekor v1 has a number in its origin which is chosen when the log is made.
        let v1 =
            self.config.log.rekor_v1.then_some((Role::Log, paths::LOG_V1, InstanceKey::LogV1, String::new()));
        for (role, name, key, origin) in [
            (Role::Log, paths::LOG, InstanceKey::Log, self.config.origin()),
            (Role::Ca, paths::CT, InstanceKey::Ct, self.ct_origin()),
        ]
        .into_iter()
        .chain(v1)
        {
            if self.config.roles.contains(&role) {
                let key = key.load_public(&self.directory)?;
                let mark = self.mark(&key, usual.as_deref()).map(|mark| mark.path);
                logs.push(LogAtRest { origin, mark, ..LogAtRest::new(name, self.directory.join(name), key) });
            }
        }
        Ok(logs)
    }
}

/// Writes a public file of an instance, atomically, replacing what was there.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> Result<(), ServerError> {
    file::replace(path, content, file::PUBLIC)
        .map_err(|e| ServerError::File { path: path.to_owned(), message: e.to_string() })
}
