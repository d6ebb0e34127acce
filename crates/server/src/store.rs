//! Where an instance's logs are: in its directory, or past one machine.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_clock::Clock;
use countersign_crypto::Signer;
use countersign_keys::PasswordSource;
use countersign_log::storage::database::Database;
use countersign_log::storage::{
    Credentials, Distributed, Files, LEASE, Objects, Postgres, PostgresAccess, Storage,
};
use countersign_log::{Log, LogError, Migrated, Options, migrate};
use countersign_tlog::Hash;
use zeroize::Zeroizing;

use crate::ServerError;
use crate::config::{FILE_NAME, StoreSection};
use crate::instance::{Instance, InstanceKey, paths};
use crate::rotate::end;

const PASSWORD: &str = "PGPASSWORD";
/// The longest file with a password or credentials.
const MAX_SECRET: u64 = 16 << 10;

/// The logs of an instance, by the names of their directories.
#[derive(Debug)]
pub(crate) enum Store {
    Local(PathBuf),
    Distributed { database: Arc<dyn Database>, objects: Objects },
}

fn secret(path: &Path) -> Result<Zeroizing<String>, ServerError> {
    let failed = |message: String| ServerError::File { path: path.to_owned(), message };
    let size = std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?.len();
    if size > MAX_SECRET {
        return Err(failed(format!("expected at most {MAX_SECRET} bytes, found {size}")));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|e| failed(format!("cannot be read: {e}")))
}

/// Reads the first section of a credentials file as AWS's tools write it.
fn credentials(path: &Path) -> Result<Credentials, ServerError> {
    let text = secret(path)?;
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
    };
    let needed = |name: &str| {
        value(name).filter(|value| !value.is_empty()).ok_or_else(|| ServerError::File {
            path: path.to_owned(),
            message: format!("expected a line {name} = …, found none"),
        })
    };
    Ok(Credentials {
        id: needed("aws_access_key_id")?,
        secret: Zeroizing::new(needed("aws_secret_access_key")?),
        token: value("aws_session_token").map(Zeroizing::new),
    })
}

impl Store {
    /// The store that the configuration names.
    pub(crate) fn of(instance: &Instance) -> Result<Self, ServerError> {
        match &instance.config.store {
            None => Ok(Self::Local(instance.directory.clone())),
            Some(section) => Self::connect(instance, section),
        }
    }

    fn connect(instance: &Instance, section: &StoreSection) -> Result<Self, ServerError> {
        let config = |name: &str, error: std::io::Error| ServerError::Config {
            path: instance.directory.join(FILE_NAME),
            message: format!("store.{name}: {error}"),
        };
        let password = match &section.database_password_file {
            Some(path) => Some(Zeroizing::new(secret(&instance.directory.join(path))?.trim().to_owned())),
            None => std::env::var(PASSWORD).ok().map(Zeroizing::new),
        };
        let given = match &section.objects_credentials_file {
            Some(path) => Some(credentials(&instance.directory.join(path))?),
            None => None,
        };
        let objects = Objects::s3(&section.objects, given.as_ref()).map_err(|e| config("objects", e))?;
        let database = PostgresAccess::parse(&section.database, password.as_ref())
            .and_then(Postgres::connect)
            .map_err(|error| match error.kind() {
                ErrorKind::NotConnected | ErrorKind::TimedOut => ServerError::Away {
                    path: instance.directory.join(FILE_NAME),
                    message: format!("store.database: {error}"),
                },
                _ => config("database", error),
            })?;
        Ok(Self::Distributed { database: Arc::new(database), objects })
    }

    /// The files of a log.
    fn storage(&self, name: &str) -> Arc<dyn Storage> {
        match self {
            Self::Local(directory) => Arc::new(Files::new(&directory.join(name))),
            Self::Distributed { database, objects } => {
                Arc::new(Distributed::new(name, Arc::clone(database), objects, LEASE))
            }
        }
    }

    /// The checkpoint of a log that was published last.
    pub(crate) fn checkpoint(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.storage(name).read("checkpoint")
    }

    /// Opens a log, or joins those that serve it.
    pub(crate) fn open(
        &self,
        name: &str,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Log, LogError> {
        match self {
            Self::Local(directory) => Log::open(&directory.join(name), options, signers, clock),
            Self::Distributed { database, objects } => {
                let storage = Distributed::new(name, Arc::clone(database), objects, LEASE);
                Log::join(&storage, options, signers, clock)
            }
        }
    }
}

/// Where logs are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// The store that the configuration names.
    Distributed,
    /// The instance's directory.
    Local,
}

impl std::str::FromStr for Destination {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "distributed" => Ok(Self::Distributed),
            "local" => Ok(Self::Local),
            other => Err(format!("expected distributed or local, found \"{other}\"")),
        }
    }
}

/// Moves the logs of an instance between its directory and the store of its configuration, and opens them there, which
/// checks them against their signed roots. Nobody else may have them open.
///
/// A log that is there already, from a run of this that was cut off, stays as it is.
///
/// # Errors
/// [`ServerError`]: no `[store]` in the configuration, a log in use, logs that do not open where they were moved to.
pub fn move_logs(
    directory: &Path,
    to: Destination,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(&'static str, Migrated)>, ServerError> {
    let instance = Instance::open(directory)?;
    let Some(section) = &instance.config.store else {
        return Err(ServerError::Config {
            path: directory.join(FILE_NAME),
            message: "expected a section [store] with database and objects, found none".into(),
        });
    };
    let password = instance.password(None);
    let stores = (Store::Local(instance.directory.clone()), Store::connect(&instance, section)?);
    let (source, target) = match to {
        Destination::Distributed => (&stores.0, &stores.1),
        Destination::Local => (&stores.1, &stores.0),
    };
    let v1 = instance.config.log.rekor_v1.then_some(("Rekor v1", paths::LOG_V1, InstanceKey::LogV1));
    [("transparency", paths::LOG, InstanceKey::Log), ("CT", paths::CT, InstanceKey::Ct)]
        .into_iter()
        .chain(v1)
        .map(|(log, name, key)| {
            let moved = move_log(&instance, source, target, name, key, &password, clock);
            moved.map(|moved| (log, moved)).map_err(|e| match e {
                MoveError::Log(e) => ServerError::Log { log, message: e.to_string() },
                MoveError::Server(e) => e,
            })
        })
        .collect()
}

enum MoveError {
    Log(LogError),
    Server(ServerError),
}

impl From<LogError> for MoveError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

fn move_log(
    instance: &Instance,
    source: &Store,
    target: &Store,
    name: &str,
    key: InstanceKey,
    password: &PasswordSource,
    clock: &Arc<dyn Clock>,
) -> Result<Migrated, MoveError> {
    let signer = instance.load_key(key, password).map_err(MoveError::Server)?;
    let open = |storage: &Arc<dyn Storage>| -> Result<(u64, Hash), MoveError> {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let log = Log::open_on(storage, options, vec![Arc::clone(&signer)], Arc::clone(clock))?;
        let head = log.head();
        end(&log).map_err(MoveError::Server)?;
        Ok((head.size, head.root))
    };
    let (from, to) = (source.storage(name), target.storage(name));
    // What does not open is not moved.
    let was_moved = match open(&from) {
        Ok(_) => false,
        Err(MoveError::Log(LogError::Moved { .. })) => true,
        Err(error) => return Err(error),
    };
    let moved = match migrate(&from, &to) {
        Ok(moved) => moved,
        // Moved by a run before this one, which was cut off at the other log.
        Err(LogError::Exists { .. }) if was_moved => {
            let (size, root) = open(&to)?;
            return Ok(Migrated { size, root, tiles: 0 });
        }
        Err(error) => return Err(error.into()),
    };
    let opened = open(&to)?;
    if opened == (moved.size, moved.root) {
        Ok(moved)
    } else {
        Err(LogError::Inconsistent(format!(
            "the log moved has size {}, and {} where it was moved to",
            moved.size, opened.0
        ))
        .into())
    }
}
