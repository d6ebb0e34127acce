//! Which entries have a term: a digest, an address, a key.
//!
//! Derived from the entries and from nothing else: a SQLite database beside the tiles that is brought up to the tree
//! before each answer, so that an entry can be found as soon as it is acknowledged and none is ever missed. It may be
//! lost or damaged; then it is made anew, and there are no answers until it has come near.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use countersign_crypto::sha256;
use countersign_tlog::tile::{TILE_WIDTH, TilePath};
use rusqlite::{Connection, params};

use crate::key_file::{connect, remove};
use crate::{Log, LogError};

/// Tells what terms an entry has, from how it is stored.
pub type TermsOf = Arc<dyn Fn(&[u8]) -> Vec<String> + Send + Sync>;

const FILE: &str = "terms.db";
/// How many entries an answer reads first, at most: some seconds' work.
const NEAR: u64 = 50_000;

/// The terms of a log's entries. All of it blocks: briefly, if it is kept [up to date](Terms::catch_up).
pub struct Terms {
    log: Log,
    terms_of: TermsOf,
    path: PathBuf,
    /// The terms of all entries below this index are in the database.
    upto: AtomicU64,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("path", &self.path).finish_non_exhaustive()
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS terms (term BLOB, position INTEGER, PRIMARY KEY (term, position)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL);
         INSERT OR IGNORE INTO state VALUES (0, 0);",
    )?;
    Ok(connection)
}

fn read_upto(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT upto FROM state", [], |row| row.get(0)).map(i64::unsigned_abs)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Terms {
    /// Opens or makes the index of a log that lies in this directory. One that does not open, or knows more entries
    /// than the log has, is made anew.
    ///
    /// # Errors
    /// [`LogError::Index`].
    pub fn open(directory: &Path, log: Log, terms_of: TermsOf) -> Result<Self, LogError> {
        let path = directory.join(FILE);
        let size = log.head().size;
        let usable = prepare(&path).ok().filter(|c| read_upto(c).is_ok_and(|known| known <= size));
        let writer = match usable {
            Some(connection) => connection,
            None => {
                tracing::warn!(path = %path.display(), "the index of terms is made anew from the entries");
                remove(&path);
                prepare(&path)?
            }
        };
        let upto = AtomicU64::new(read_upto(&writer)?);
        let (writer, reader) = (Mutex::new(writer), Mutex::new(connect(&path)?));
        Ok(Self { log, terms_of, path, upto, writer, reader })
    }

    /// Reads the entries that came since, unless somebody does already, and says of how many entries the terms are known
    /// then.
    ///
    /// # Errors
    /// [`LogError`]: an entry that cannot be read, a database that cannot be written.
    pub fn catch_up(&self) -> Result<u64, LogError> {
        match self.writer.try_lock() {
            Ok(mut writer) => self.caught_up(&mut writer),
            Err(TryLockError::Poisoned(writer)) => self.caught_up(&mut writer.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(self.upto.load(Ordering::Acquire)),
        }
    }

    fn caught_up(&self, connection: &mut Connection) -> Result<u64, LogError> {
        let size = self.log.head().size;
        let format = self.log.params().format;
        let mut known = read_upto(connection)?;
        while known < size {
            let number = known / u64::from(TILE_WIDTH);
            let Some(path) = TilePath::in_tree(format.entries(), number, size) else { break };
            let bundle = self
                .log
                .read(&path.to_string())?
                .ok_or_else(|| LogError::corrupt(path, "the bundle is missing"))?;
            let entries = format.split(path, &bundle)?;
            let first = number * u64::from(TILE_WIDTH);
            let transaction = connection.transaction()?;
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO terms VALUES (?1, ?2)")?;
            for (entry, position) in entries.iter().zip(first..).skip_while(|(_, at)| *at < known) {
                for term in (self.terms_of)(entry) {
                    insert.execute(params![sha256(term.as_bytes()), integer(position)])?;
                }
            }
            drop(insert);
            known = first + u64::from(path.width);
            transaction.execute("UPDATE state SET upto = ?1", [integer(known)])?;
            transaction.commit()?;
            self.upto.store(known, Ordering::Release);
        }
        Ok(known)
    }

    /// The entries that have a term, the newest first, at most `limit` of them.
    ///
    /// # Errors
    /// [`LogError::Behind`] while the index is being made, else as [`Terms::catch_up`].
    pub fn find(&self, term: &str, limit: usize) -> Result<Vec<u64>, LogError> {
        let (known, size) = (self.upto.load(Ordering::Acquire), self.log.head().size);
        if size > known {
            if size - known > NEAR {
                return Err(LogError::Behind { known, size });
            }
            self.caught_up(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut select = reader
            .prepare_cached("SELECT position FROM terms WHERE term = ?1 ORDER BY position DESC LIMIT ?2")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = select.query_map(params![sha256(term.as_bytes()), limit], |row| row.get::<_, i64>(0))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().map(i64::unsigned_abs).collect())
    }
}
