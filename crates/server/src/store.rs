//! Where an instance's logs are: in its directory, or past one machine.

pub(crate) mod names;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_clock::Clock;
use countersign_crypto::Signer;
use countersign_keys::PasswordSource;
use countersign_log::fsck;
use countersign_log::storage::database::Database;
use countersign_log::storage::{
    Credentials, Distributed, Files, LEASE, Objects, Postgres, PostgresAccess, Storage,
};
use countersign_log::{KeyOf, Log, LogError, LogParams, Migrated, Options, migrate, migrate_retired};
use countersign_tlog::Hash;
use zeroize::Zeroizing;

use crate::ServerError;
use crate::config::{FILE_NAME, Role, StoreSection};
use crate::instance::{Instance, InstanceKey};
use crate::retired;
use crate::rotate::end;

const PASSWORD: &str = "PGPASSWORD";
/// The longest file with a password or credentials.
const MAX_SECRET: u64 = 16 << 10;

/// The logs of an instance, by the paths of their directories below its own.
#[derive(Debug)]
pub(crate) enum Store {
    Local(PathBuf),
    Distributed { instance: PathBuf, database: Arc<dyn Database>, objects: Objects },
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
        Ok(Self::Distributed { instance: instance.directory.clone(), database: Arc::new(database), objects })
    }

    /// The files of a log that lies past one machine, and its name there.
    pub(crate) fn distributed(&self, place: &str) -> std::io::Result<Option<(String, Distributed)>> {
        let Self::Distributed { instance, database, objects } = self else { return Ok(None) };
        let name = names::of(instance, place)?;
        let storage = Distributed::new(&name, Arc::clone(database), objects, LEASE);
        Ok(Some((name, storage)))
    }

    /// The files of a log.
    pub(crate) fn storage(&self, place: &str) -> std::io::Result<Arc<dyn Storage>> {
        Ok(match (self, self.distributed(place)?) {
            (_, Some((_, storage))) => Arc::new(storage),
            (Self::Local(instance) | Self::Distributed { instance, .. }, None) => {
                Arc::new(Files::new(&instance.join(place)))
            }
        })
    }

    /// The files of a log that was rotated out. One that was in this directory then has stayed there.
    pub(crate) fn retired(&self, tree: &Path) -> std::io::Result<Arc<dyn Storage>> {
        match self {
            Self::Distributed { instance, .. } if names::is_in_store(tree) => {
                let place = tree.strip_prefix(instance).unwrap_or(tree);
                self.storage(&place.to_string_lossy())
            }
            _ => Ok(Arc::new(Files::new(tree))),
        }
    }

    /// Makes a log.
    pub(crate) fn create(&self, place: &str, params: &LogParams) -> Result<(), LogError> {
        match self {
            Self::Local(instance) => Log::create(&instance.join(place), params),
            Self::Distributed { .. } => Log::create_on(self.named(place)?.as_ref(), params),
        }
    }

    /// Opens a log, or joins those that serve it.
    pub(crate) fn open(
        &self,
        place: &str,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Log, LogError> {
        match (self, self.distributed(place).map_err(unnamed)?) {
            (_, Some((_, storage))) => Log::join(&storage, options, signers, clock),
            (Self::Local(instance) | Self::Distributed { instance, .. }, None) => {
                Log::open(&instance.join(place), options, signers, clock)
            }
        }
    }

    /// Opens a log that was rotated out, to be read.
    pub(crate) fn open_retired(
        &self,
        tree: &Path,
        key_of: KeyOf,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Log, LogError> {
        if matches!(self, Self::Distributed { .. }) && names::is_in_store(tree) {
            return Log::open_to_read(&self.retired(tree).map_err(unnamed)?, Some(key_of), vec![signer]);
        }
        let run = Options { key_of: Some(Arc::clone(&key_of)), reserve_bytes: 0, ..Options::default() };
        match (self, Log::open(tree, run, vec![Arc::clone(&signer)], clock)) {
            // By another process that serves the instance; to read it takes no lock.
            (Self::Distributed { .. }, Err(LogError::LockedBy { .. })) => {
                let files: Arc<dyn Storage> = Arc::new(Files::new(tree));
                Log::open_to_read(&files, Some(key_of), vec![signer])
            }
            (_, opened) => opened,
        }
    }

    fn named(&self, place: &str) -> Result<Arc<dyn Storage>, LogError> {
        self.storage(place).map_err(unnamed)
    }
}

/// It is not known where a log is.
fn unnamed(error: std::io::Error) -> LogError {
    LogError::Io { doing: "finding the log in the store".into(), error }
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
/// A log that is there already, from a run of this that was cut off, stays as it is. What was rotated out of the store
/// comes with them into the directory.
///
/// # Errors
/// [`ServerError`]: no `[store]` in the configuration, a log in use, logs that do not open where they were moved to.
pub fn move_logs(
    directory: &Path,
    to: Destination,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(String, Migrated)>, ServerError> {
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
    let v1 = instance.config.log.rekor_v1.then_some(InstanceKey::LogV1);
    let mut done = Vec::new();
    for key in [InstanceKey::Log, InstanceKey::Ct].into_iter().chain(v1) {
        let Some((log, place)) = key.log() else { continue };
        if to == Destination::Distributed {
            name_apart(&stores.0, &stores.1, &instance.directory, place, clock)?;
        }
        let moved = move_log(&instance, source, target, place, key, &password, clock);
        done.push((
            log.to_owned(),
            moved.map_err(|e| match e {
                MoveError::Log(e) => ServerError::Log { log, message: e.to_string() },
                MoveError::Server(e) => e,
            })?,
        ));
    }
    if to == Destination::Local {
        for (name, tree) in retired::find(directory, Role::ALL) {
            if names::is_in_store(&tree) {
                let moved = move_retired(&stores.1, &name, &tree)
                    .map_err(|e| ServerError::File { path: tree.clone(), message: e.to_string() })?;
                done.push((format!("retired {name}"), moved));
            }
        }
    }
    Ok(done)
}

/// Gives a log another name in the store than that of its directory, if another log lies there under this one: the one of
/// before, when it was rotated in its directory.
fn name_apart(
    local: &Store,
    store: &Store,
    instance: &Path,
    place: &str,
    clock: &Arc<dyn Clock>,
) -> Result<(), ServerError> {
    const PARAMS: &str = "params";
    let failed = |e: std::io::Error| ServerError::File { path: instance.join(place), message: e.to_string() };
    let params = |store: &Store| store.storage(place).and_then(|files| files.read(PARAMS)).map_err(failed);
    match (params(store)?, params(local)?) {
        (Some(there), Some(own)) if there != own => {
            names::write(&instance.join(place), names::NAME, &names::fresh(place, clock.now())?)
        }
        _ => Ok(()),
    }
}

/// Moves a log that was rotated out into its directory, and checks every byte of it.
fn move_retired(store: &Store, name: &str, tree: &Path) -> Result<Migrated, LogError> {
    let (from, to) = (store.retired(tree).map_err(unnamed)?, Arc::new(Files::new(tree)) as Arc<dyn Storage>);
    let moved = migrate_retired(&from, &to)?;
    let key = retired::public_key(tree, name).map_err(|e| LogError::Signers(e.to_string()))?;
    let report = fsck::check(to.as_ref(), &key, None)?;
    match report.damage() {
        None if report.size == moved.size => Ok(moved),
        None => Err(LogError::Inconsistent(format!(
            "{} entries were moved, {} are there",
            moved.size, report.size
        ))),
        Some(finding) => Err(LogError::Inconsistent(format!("after it was moved: {finding}"))),
    }
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
    place: &str,
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
    let (from, to) = (source.named(place)?, target.named(place)?);
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
