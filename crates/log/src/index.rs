//! The index of duplicates: which entry a key got, so that a retried request gets the same one.
//!
//! A SQLite database beside the tiles, written by its own thread, off the way of an append. It may be behind the
//! log; then the keys it lacks are in the write-ahead file, because a segment is removed only after the index has
//! its keys on disk. It may be lost; then it is made anew from the entries, if their keys can be had from them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::{Finding, LogError};

/// A key by which duplicates are found, chosen by whoever appends.
pub(crate) type Key = [u8; 32];

const FILE: &str = "index.db";
const BUSY: Duration = Duration::from_secs(10);
/// How long rows are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(100);
const GATHER_ROWS: usize = 20_000;
/// How long to wait before trying again after an error: a full disk, most likely.
const RETRY: Duration = Duration::from_secs(1);

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
        let open = || -> rusqlite::Result<(Self, String)> {
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let upto: i64 = connection.query_row("SELECT upto FROM state", [], |row| row.get(0))?;
            let whole = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            Ok((Self { connection, upto: upto.unsigned_abs(), elsewhere: RefCell::default() }, whole))
        };
        match open() {
            Ok((lookup, whole)) if whole == "ok" => return Some(lookup),
            Ok((_, trouble)) => findings.push(finding(&trouble)),
            Err(error) => findings.push(finding(&error.to_string())),
        }
        None
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

/// What the writer is told.
enum Job {
    /// Keys of consecutive entries, and the size of the log with them.
    Add { rows: Vec<(Key, u64)>, upto: u64 },
    /// Make everything up to here durable, and answer.
    Flush { done: SyncSender<()> },
}

/// The index, open for looking up; any number of threads may.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    upto: AtomicU64,
    closing: AtomicBool,
}

/// The way to the thread that writes.
#[derive(Debug, Clone)]
pub(crate) struct IndexWriter(Sender<Job>);

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

fn prepare(path: &Path) -> rusqlite::Result<(Connection, u64)> {
    let connection = connect(path)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL);
         INSERT OR IGNORE INTO state VALUES (0, 0);",
    )?;
    let upto: i64 = connection.query_row("SELECT upto FROM state", [], |row| row.get(0))?;
    Ok((connection, upto.unsigned_abs()))
}

pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What cannot be removed shows when the database is made anew.
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

impl Index {
    /// Opens or makes the index of a log of some size, and starts the thread that writes.
    ///
    /// A database that does not open, or that knows more entries than the log has, is set aside for a new one.
    pub(crate) fn open(
        directory: &Path,
        size: u64,
    ) -> Result<(Arc<Self>, IndexWriter, JoinHandle<()>), LogError> {
        let path = directory.join(FILE);
        let (connection, upto) = match prepare(&path) {
            Ok((connection, upto)) if upto <= size => (connection, upto),
            other => {
                match other {
                    Err(error) => {
                        tracing::warn!(%error, "the index of duplicates does not open and is made anew");
                    }
                    // Closed before the new one is opened: as it closes, it removes files of these names.
                    Ok(larger) => drop(larger),
                }
                remove(&path);
                prepare(&path)?
            }
        };
        let index = Arc::new(Self {
            path,
            readers: Mutex::default(),
            upto: AtomicU64::new(upto),
            closing: AtomicBool::new(false),
        });
        let (sender, receiver) = channel();
        let shared = index.clone();
        let thread = std::thread::Builder::new()
            .name("log-index".into())
            .spawn(move || Writer { index: shared, connection, receiver }.run())
            .map_err(LogError::io("starting the thread of the index"))?;
        Ok((index, IndexWriter(sender), thread))
    }

    /// No more will be added: what cannot be written now stays behind, instead of being tried for ever.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// All entries below this index are in the database.
    pub(crate) fn upto(&self) -> u64 {
        self.upto.load(Ordering::Acquire)
    }

    /// The index that a key got.
    pub(crate) fn lookup(&self, key: &Key) -> rusqlite::Result<Option<u64>> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let found = connection
            .prepare_cached("SELECT position FROM entries WHERE key = ?1")?
            .query_row([key], |row| row.get::<_, i64>(0))
            .optional()?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(found.and_then(|position| u64::try_from(position).ok()))
    }
}

impl IndexWriter {
    /// Adds the keys of consecutive entries; `upto` is the size of the log with them.
    pub(crate) fn add(&self, rows: Vec<(Key, u64)>, upto: u64) {
        // The thread ends only after every sender is gone.
        let _ = self.0.send(Job::Add { rows, upto });
    }

    /// Waits until everything added before is on disk, and says whether it is: at shutdown it may not be.
    pub(crate) fn flush(&self) -> bool {
        let (done, wait) = sync_channel(1);
        self.0.send(Job::Flush { done }).is_ok() && wait.recv().is_ok()
    }
}

struct Writer {
    index: Arc<Index>,
    connection: Connection,
    receiver: Receiver<Job>,
}

impl Writer {
    fn run(mut self) {
        let mut open = true;
        while open {
            let Ok(first) = self.receiver.recv() else { return };
            let mut rows = Vec::new();
            let mut upto = self.index.upto();
            let mut waiting = Vec::new();
            let mut take = |job, rows: &mut Vec<_>, upto: &mut u64| match job {
                Job::Add { rows: more, upto: to } => {
                    rows.extend(more);
                    *upto = to.max(*upto);
                }
                Job::Flush { done } => waiting.push(done),
            };
            take(first, &mut rows, &mut upto);
            let end = Instant::now() + GATHER;
            while rows.len() < GATHER_ROWS {
                match self.receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(job) => take(job, &mut rows, &mut upto),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            let durable = !waiting.is_empty();
            while let Err(error) = self.write(&rows, upto, durable) {
                tracing::warn!(%error, "the index of duplicates cannot be written; trying again");
                // At shutdown the rows may stay behind: they are in the write-ahead file.
                if !open || self.index.closing.load(Ordering::Acquire) {
                    return;
                }
                std::thread::sleep(RETRY);
            }
            self.index.upto.store(upto, Ordering::Release);
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, rows: &[(Key, u64)], upto: u64, durable: bool) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
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
            let busy: i64 =
                self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy != 0 {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn keys_are_found_after_reopening_and_the_first_entry_of_a_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (index, writer, thread) = Index::open(dir.path(), 0).unwrap();
        writer.add((0..1000).map(|n| (key(n), n)).collect(), 1000);
        writer.add(vec![(key(5), 1000)], 1001);
        writer.flush();
        assert_eq!((index.upto(), index.lookup(&key(5)).unwrap()), (1001, Some(5)));
        drop(writer);
        thread.join().unwrap();
        let (index, _writer, _thread) = Index::open(dir.path(), 1001).unwrap();
        assert_eq!(index.upto(), 1001);
        assert_eq!(index.lookup(&key(999)).unwrap(), Some(999));
        assert_eq!(index.lookup(&key(1000)).unwrap(), None);
    }

    #[test]
    fn a_damaged_index_and_one_from_a_larger_log_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(FILE),
            b"this is not a database, and it is long enough to be read as one",
        )
        .unwrap();
        let (index, writer, thread) = Index::open(dir.path(), 10).unwrap();
        assert_eq!(index.upto(), 0);
        writer.add(vec![(key(1), 1)], 10);
        drop(writer);
        thread.join().unwrap();
        let (index, writer, _thread) = Index::open(dir.path(), 9).unwrap();
        assert_eq!((index.upto(), index.lookup(&key(1)).unwrap()), (0, None));
        // The old database, as it was closed, took no file of the new one with it.
        writer.add(vec![(key(2), 2)], 3);
        while index.upto() < 3 {
            std::thread::yield_now();
        }
        assert_eq!(index.lookup(&key(2)).unwrap(), Some(2));
    }
}
