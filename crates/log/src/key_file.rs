//! The table of keys of a log on local files: a SQLite database beside the tiles.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::index::Key;
use crate::search::store::StoreError;
use crate::storage::KeyTable;
use crate::{Finding, LogError};

pub(crate) const FILE: &str = "index.db";
const BUSY: Duration = Duration::from_secs(10);

/// The database, open for writing by one thread and for looking up by any.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Not flushed at each commit: what is lost by a power cut is in the write-ahead file of the log.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

fn upto(connection: &Connection) -> rusqlite::Result<u64> {
    let upto: i64 = connection.query_row("SELECT upto FROM state", [], |row| row.get(0))?;
    Ok(upto.unsigned_abs())
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL);
         INSERT OR IGNORE INTO state VALUES (0, 0);",
    )?;
    upto(&connection)?;
    Ok(connection)
}

pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What cannot be removed shows when the database is made anew.
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// SQLite's own check of a database.
pub(crate) fn integrity(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(found.into()) }
}

impl KeyFile {
    /// Opens or makes the database in a log's directory. One that does not open is set aside for a new one.
    pub(crate) fn open(directory: &Path) -> Result<Self, LogError> {
        let path = directory.join(FILE);
        let connection = match prepare(&path) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "the index of duplicates does not open and is made anew");
                remove(&path);
                prepare(&path)?
            }
        };
        Ok(Self { path, writer: Mutex::new(connection), readers: Mutex::default() })
    }

    fn find_in_file(&self, keys: &[Key]) -> rusqlite::Result<HashMap<Key, u64>> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let mut found = HashMap::new();
        {
            let mut select = connection.prepare_cached("SELECT position FROM entries WHERE key = ?1")?;
            for key in keys {
                let position = select.query_row([key], |row| row.get::<_, i64>(0)).optional()?;
                if let Some(position) = position.and_then(|position| u64::try_from(position).ok()) {
                    found.insert(*key, position);
                }
            }
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(found)
    }

    fn write(&self, rows: &[(Key, u64)], upto: u64, durable: bool) -> rusqlite::Result<()> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            // The first entry of a key is the one to answer with.
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO entries VALUES (?1, ?2)")?;
            for (key, position) in rows {
                insert.execute(params![key, i64::try_from(*position).unwrap_or(i64::MAX)])?;
            }
            transaction.execute("UPDATE state SET upto = ?1", [i64::try_from(upto).unwrap_or(i64::MAX)])?;
        }
        transaction.commit()?;
        if durable {
            // Flushes SQLite's own write-ahead file and the database.
            let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy != 0 {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            }
        }
        Ok(())
    }
}

impl KeyTable for KeyFile {
    fn upto(&self) -> io::Result<u64> {
        upto(&self.writer.lock().unwrap_or_else(PoisonError::into_inner)).map_err(io::Error::other)
    }

    fn find(&self, keys: &[Key]) -> io::Result<HashMap<Key, u64>> {
        self.find_in_file(keys).map_err(io::Error::other)
    }

    fn add(&self, rows: &[(Key, u64)], upto: u64, durable: bool) -> io::Result<()> {
        self.write(rows, upto, durable).map_err(io::Error::other)
    }

    fn clear(&self) -> io::Result<()> {
        let renew = || {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
            // Closed before the new one is opened: as it closes, it removes files of these names.
            *writer = Connection::open_in_memory()?;
            remove(&self.path);
            *writer = prepare(&self.path)?;
            Ok(())
        };
        renew().map_err(|error: rusqlite::Error| io::Error::other(error))
    }
}

/// The index of a log at rest, for checking it.
pub(crate) struct Lookup {
    connection: Connection,
    upto: u64,
    /// Keys that led to an earlier entry than the one looked at: right if that one has the same key.
    elsewhere: RefCell<Vec<(u64, Key)>>,
}

impl Lookup {
    /// Opens the index in a directory; `None` if there is none or it is damaged, which is a finding.
    pub(crate) fn open(directory: &Path, findings: &mut Vec<Finding>) -> Option<Self> {
        let path = directory.join(FILE);
        path.exists().then_some(())?;
        let open = || -> Result<Self, StoreError> {
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let upto = upto(&connection)?;
            integrity(&connection)?;
            Ok(Self { connection, upto, elsewhere: RefCell::default() })
        };
        open().map_err(|error| findings.push(finding(&error.to_string()))).ok()
    }

    /// That the index leads a key to its entry, or to an earlier one.
    pub(crate) fn check(&self, position: u64, key: &Key) -> Option<Finding> {
        if position >= self.upto {
            return None;
        }
        let found = self
            .connection
            .prepare_cached("SELECT position FROM entries WHERE key = ?1")
            .and_then(|mut query| query.query_row([key], |row| row.get::<_, i64>(0)).optional());
        match found {
            Ok(Some(found)) if u64::try_from(found) == Ok(position) => None,
            Ok(Some(found)) if found.unsigned_abs() < position => {
                self.elsewhere.borrow_mut().push((found.unsigned_abs(), *key));
                None
            }
            Ok(Some(found)) => Some(finding(&format!("the key of entry {position} leads to entry {found}"))),
            Ok(None) => Some(finding(&format!("the key of entry {position} is missing"))),
            Err(error) => Some(finding(&error.to_string())),
        }
    }

    /// That keys which led to an earlier entry are keys of that entry.
    pub(crate) fn check_elsewhere(&self, key_at: impl Fn(u64) -> Option<Key>) -> Vec<Finding> {
        let wrong = self.elsewhere.borrow();
        let wrong = wrong.iter().filter(|(position, key)| key_at(*position) != Some(*key));
        wrong
            .map(|(position, _)| finding(&format!("the key of another entry leads to entry {position}")))
            .collect()
    }

    /// That it has no keys beside those of the log's entries.
    pub(crate) fn check_count(&self, size: u64) -> Option<Finding> {
        let count: rusqlite::Result<i64> =
            self.connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0));
        match count {
            Ok(count) if count.unsigned_abs() <= size.min(self.upto) && self.upto <= size => None,
            Ok(count) => Some(finding(&format!(
                "it has {count} keys up to entry {}, the log {size} entries",
                self.upto
            ))),
            Err(error) => Some(finding(&error.to_string())),
        }
    }
}

fn finding(what: &str) -> Finding {
    let what = format!("{what}; remove it while the log is stopped, and it is made anew");
    Finding { path: FILE.into(), offset: None, what }
}

/// Copies the index of a log that may run to another directory, up to a size; nothing if there is none.
pub(crate) fn copy(from: &Path, to: &Path, size: u64) -> rusqlite::Result<()> {
    let path = from.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY)?;
    let copy = to.join(FILE);
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    let copy = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    copy.execute("DELETE FROM entries WHERE position >= ?1", [size])?;
    copy.execute("UPDATE state SET upto = min(upto, ?1)", [size])?;
    Ok(())
}
