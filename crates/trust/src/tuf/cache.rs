//! The client's cache: a directory of its own, mode 0700, every file written whole or not at all; or the memory of a
//! process, for as long as that runs.
//!
//! Nothing is written before it is verified, and nothing read from here is believed before it is verified
//! again. File names come from versions, percent-encoded role names and hashes, never from target names.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_keys::{KeyError, file};

use super::{TufError, pattern};

#[derive(Debug)]
pub(crate) enum Cache {
    /// In a directory.
    Directory(PathBuf),
    /// In memory, by the names that the files would have.
    Memory(Mutex<BTreeMap<PathBuf, Vec<u8>>>),
}

/// A file of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// A root by version.
    Root(u64),
    Timestamp,
    Snapshot,
    /// The targets of the top level (`targets`) or of a delegated role.
    Targets(&'a str),
    /// A target by its hash in hexadecimal.
    Target(&'a str),
}

impl Cache {
    pub(crate) fn open(dir: &Path) -> Result<Self, TufError> {
        for sub in ["roots", "delegated", "targets"] {
            file::create_private_dir(&dir.join(sub))?;
        }
        Ok(Self::Directory(dir.to_owned()))
    }

    pub(crate) fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// The bytes of a file, or nothing if there is none or it is larger than `limit`.
    pub(crate) fn read(&self, entry: Entry<'_>, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        let bytes = match self {
            Self::Memory(files) => held(files).get(&entry.name()?).cloned(),
            Self::Directory(dir) => read_file(dir.join(entry.name()?), limit)?,
        };
        Ok(bytes.filter(|bytes| bytes.len() as u64 <= limit))
    }

    pub(crate) fn write(&self, entry: Entry<'_>, bytes: &[u8]) -> Result<(), TufError> {
        match self {
            Self::Memory(files) => drop(held(files).insert(entry.name()?, bytes.to_vec())),
            Self::Directory(dir) => file::replace(&dir.join(entry.name()?), bytes, file::PRIVATE)?,
        }
        Ok(())
    }

    pub(crate) fn remove(&self, entry: Entry<'_>) -> Result<(), TufError> {
        let dir = match self {
            Self::Memory(files) => {
                held(files).remove(&entry.name()?);
                return Ok(());
            }
            Self::Directory(dir) => dir,
        };
        let path = dir.join(entry.name()?);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(KeyError::Io { action: "remove", path, source }.into())
            }
            _ => Ok(()),
        }
    }
}

type Held<'a> = MutexGuard<'a, BTreeMap<PathBuf, Vec<u8>>>;

fn held(files: &Mutex<BTreeMap<PathBuf, Vec<u8>>>) -> Held<'_> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a file up to one more than `limit`, or nothing if there is none.
fn read_file(path: PathBuf, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyError::Io { action: "read", path, source }.into()),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|source| KeyError::Io {
        action: "read",
        path,
        source,
    })?;
    Ok(Some(bytes))
}

impl Entry<'_> {
    /// The name of the file within the cache.
    fn name(self) -> Result<PathBuf, TufError> {
        Ok(match self {
            Self::Root(version) => Path::new("roots").join(format!("{version}.json")),
            Self::Timestamp => "timestamp.json".into(),
            Self::Snapshot => "snapshot.json".into(),
            Self::Targets("targets") => "targets.json".into(),
            Self::Targets(role) => Path::new("delegated").join(format!("{}.json", pattern::role_file(role)?)),
            Self::Target(hash) => Path::new("targets").join(pattern::role_file(hash)?),
        })
    }
}
