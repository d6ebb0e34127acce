//! The few operations by which the log touches a disk.
//!
//! Everything durable goes through [`Storage`], so that a test can stand in for the disk: fail any operation,
//! lose what was not flushed, tear writes. Paths are relative to the log's directory, with slashes.

pub mod database;
mod distributed;
mod files;
mod objects;
mod postgres;
mod remote;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use database::lease_lost;
pub use distributed::{Distributed, LEASE};
pub use files::Files;
pub use objects::{Credentials, Objects};
pub use postgres::{Postgres, PostgresAccess};
pub(crate) use remote::runtime;

use crate::index::Key;

/// Holds a lock until dropped.
pub type LockGuard = Box<dyn Send + Sync>;

/// What came of trying to take a lock.
#[expect(missing_debug_implementations, reason = "a guard has nothing to show")]
pub enum LockAttempt {
    /// The lock is ours until the guard is dropped.
    Taken(LockGuard),
    /// Someone else has it; what they wrote about themselves.
    HeldBy(String),
}

/// A directory on a disk.
///
/// # Contract
/// - What was written is durable only after [`StorageFile::sync_data`] or [`Storage::sync`] of the file, and,
///   for a name that is new, after [`Storage::sync_dir`] of its directory. Until then a crash may lose any of it.
/// - [`Storage::replace`] is atomic for readers: they see the old content or the new.
/// - An error says nothing about whether the operation took effect.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Reads a whole file; `None` if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// What the system says; `NotFound` if there is none.
    fn open(&self, path: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Makes a file that does not exist, and its directories.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` if there is one.
    fn create(&self, path: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Puts a file with this content in place of what was there, making its directories.
    ///
    /// # Errors
    /// What the system says.
    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()>;

    /// Puts several files in place, in any order: all of them if it succeeds.
    ///
    /// # Errors
    /// What the system says; then some of them may be in place.
    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        files.iter().try_for_each(|(path, content)| self.replace(path, content))
    }

    /// Flushes a file by name.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self, path: &str) -> io::Result<()>;

    /// Flushes the names in a directory; `""` is the log's own.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Removes a file; it is no error if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes files which nobody needs any more, now or later. What stays behind does no harm.
    fn discard(&self, paths: Vec<String>) {
        for path in paths {
            let _ = self.remove(&path);
        }
    }

    /// Removes directories in which nobody needs anything any more and nothing will be put, now or later.
    fn discard_dirs(&self, paths: Vec<String>) {
        for path in paths {
            let _ = self.remove_dir(&path);
        }
    }

    /// Removes a directory and what is in it; it is no error if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// The names in a directory, sorted; none if there is no such directory.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Takes the lock of a file, or says at once who has it. The file is made if need be and never replaced;
    /// the holder's name is written into it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &str, holder: &str) -> io::Result<LockAttempt>;

    /// Where the directory is in the machine's file system, if it is there at all.
    fn location(&self) -> Option<&Path>;

    /// The storage's own table of keys, if it has one. Else one is kept in a file at its [location](Self::location).
    fn key_table(&self) -> Option<Arc<dyn KeyTable>> {
        None
    }
}

/// A table of the keys by which duplicates are found. It may be behind the log, and may be lost.
pub trait KeyTable: Send + Sync + fmt::Debug {
    /// All entries below this index have their keys in the table.
    ///
    /// # Errors
    /// What the system says.
    fn upto(&self) -> io::Result<u64>;

    /// The indexes of those of these keys that are in the table.
    ///
    /// # Errors
    /// What the system says.
    fn find(&self, keys: &[Key]) -> io::Result<HashMap<Key, u64>>;

    /// Adds keys, of which the first index of each stays; `upto` is the size of the log with them. `durable` says
    /// that it must be on disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn add(&self, rows: &[(Key, u64)], upto: u64, durable: bool) -> io::Result<()>;

    /// Forgets all keys.
    ///
    /// # Errors
    /// What the system says.
    fn clear(&self) -> io::Result<()>;
}

/// An open file.
pub trait StorageFile: Send + fmt::Debug {
    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Takes the file for this process alone, until it is closed; false if another process has it.
    ///
    /// # Errors
    /// What the system says.
    fn try_lock(&mut self) -> io::Result<bool>;

    /// Flushes content and length.
    ///
    /// # Errors
    /// What the system says. After an error nothing is known of any write since the last success.
    fn sync_data(&mut self) -> io::Result<()>;
}
