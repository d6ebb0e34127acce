//! The client's cache: a directory of its own, mode 0700, every file written whole or not at all.
//!
//! Nothing is written before it is verified, and nothing read from here is believed before it is verified
//! again. File names come from versions, percent-encoded role names and hashes, never from target names.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use countersign_keys::{KeyError, file};

use super::{TufError, pattern};

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
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
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, entry: Entry<'_>) -> Result<PathBuf, TufError> {
        Ok(match entry {
            Entry::Root(version) => self.dir.join("roots").join(format!("{version}.json")),
            Entry::Timestamp => self.dir.join("timestamp.json"),
            Entry::Snapshot => self.dir.join("snapshot.json"),
            Entry::Targets("targets") => self.dir.join("targets.json"),
            Entry::Targets(role) => {
                self.dir.join("delegated").join(format!("{}.json", pattern::role_file(role)?))
            }
            Entry::Target(hash) => self.dir.join("targets").join(pattern::role_file(hash)?),
        })
    }

    /// The bytes of a file, or nothing if there is none or it is larger than `limit`.
    pub(crate) fn read(&self, entry: Entry<'_>, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        let path = self.path(entry)?;
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
        Ok((bytes.len() as u64 <= limit).then_some(bytes))
    }

    pub(crate) fn write(&self, entry: Entry<'_>, bytes: &[u8]) -> Result<(), TufError> {
        Ok(file::replace(&self.path(entry)?, bytes, file::PRIVATE)?)
    }

    pub(crate) fn remove(&self, entry: Entry<'_>) -> Result<(), TufError> {
        let path = self.path(entry)?;
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(KeyError::Io { action: "remove", path, source }.into())
            }
            _ => Ok(()),
        }
    }
}
