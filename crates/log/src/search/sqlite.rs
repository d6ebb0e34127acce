//! The index in a SQLite database beside the tiles.

use std::path::{Path, PathBuf};

use countersign_tlog::Hash;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::store::{Batch, Reader, Store, StoreError, TermRecord};
use crate::key_file::{connect, integrity, remove};

pub(crate) const FILE: &str = "terms.db";
/// Raised when what lies in the database changes its form.
const LAYOUT: &str = "2";

pub(super) struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect()
}

fn bytes(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn number_at(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::unsigned_abs)
}

impl Sqlite {
    /// Opens or makes the database in a directory. One that does not open, was made by other rules, or knows more than
    /// `size` entries is made anew.
    pub(super) fn open(directory: &Path, size: u64, rules: &str) -> rusqlite::Result<Self> {
        let path = directory.join(FILE);
        let rules = format!("{LAYOUT} {rules}");
        let usable = Self::at(&path).ok().filter(|database| {
            database.rules().is_ok_and(|found| found.is_none_or(|found| found == rules))
                && database.known().is_ok_and(|known| known <= size)
        });
        let database = match usable {
            Some(database) => database,
            None => {
                tracing::warn!(path = %path.display(), "the index of terms is made anew from the entries");
                remove(&path);
                Self::at(&path)?
            }
        };
        database.connection.execute("UPDATE state SET rules = ?1", [rules])?;
        Ok(database)
    }

    /// The database of a log at rest, for checking it; `None` if there is none.
    pub(super) fn at_rest(directory: &Path) -> rusqlite::Result<Option<Self>> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Some(Self { path, connection }))
    }

    /// SQLite's own check of the file.
    pub(super) fn integrity(&self) -> Result<(), StoreError> {
        integrity(&self.connection)
    }

    /// How many parts of terms there are, and hashes of such.
    pub(super) fn parts(&self) -> Result<(u64, u64), StoreError> {
        let select = "SELECT (SELECT count(*) FROM chunks), (SELECT count(*) FROM hashes)";
        Ok(self.connection.query_row(select, [], |row| Ok((number_at(row, 0)?, number_at(row, 1)?)))?)
    }

    /// Removes the database of a directory.
    pub(super) fn remove(directory: &Path) {
        remove(&directory.join(FILE));
    }

    fn at(path: &Path) -> rusqlite::Result<Self> {
        let connection = connect(path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS terms (key BLOB PRIMARY KEY, leaf BLOB NOT NULL, last INTEGER NOT NULL,
                 chunks INTEGER NOT NULL, peaks BLOB NOT NULL, tail BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS hashes (key BLOB, number INTEGER, hash BLOB NOT NULL,
                 PRIMARY KEY (key, number)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS chunks (key BLOB, number INTEGER, entries BLOB NOT NULL,
                 PRIMARY KEY (key, number)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL, rules TEXT);
             INSERT OR IGNORE INTO state VALUES (0, 0, NULL);",
        )?;
        Ok(Self { path: path.to_owned(), connection })
    }

    fn known(&self) -> rusqlite::Result<u64> {
        self.connection.query_row("SELECT upto FROM state", [], |row| number_at(row, 0))
    }

    fn rules(&self) -> rusqlite::Result<Option<String>> {
        self.connection.query_row("SELECT rules FROM state", [], |row| row.get(0))
    }
}

impl Reader for Sqlite {
    fn upto(&self) -> Result<u64, StoreError> {
        Ok(self.known()?)
    }

    fn term(&self, key: &Hash) -> Result<Option<TermRecord>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT last, chunks, peaks, tail FROM terms WHERE key = ?1")?;
        let found = select.query_row([key], |row| {
            let peaks: Vec<u8> = row.get(2)?;
            let tail: Vec<u8> = row.get(3)?;
            Ok(TermRecord {
                last: number_at(row, 0)?,
                chunks: number_at(row, 1)?,
                peaks: peaks.as_chunks().0.to_vec(),
                tail: numbers(&tail),
            })
        });
        Ok(found.optional()?)
    }

    fn chunk(&self, key: &Hash, number: u64) -> Result<Option<Vec<u64>>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT entries FROM chunks WHERE key = ?1 AND number = ?2")?;
        let found = select.query_row(params![key, integer(number)], |row| row.get::<_, Vec<u8>>(0));
        Ok(found.optional()?.map(|entries| numbers(&entries)))
    }

    fn chunk_hashes(&self, key: &Hash, end: u64) -> Result<Vec<Hash>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT hash FROM hashes WHERE key = ?1 AND number < ?2 ORDER BY number")?;
        let rows = select.query_map(params![key, integer(end)], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn each(
        &self,
        first: &Hash,
        last: &Hash,
        look: &mut dyn FnMut(Hash, Hash, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT key, leaf, last FROM terms WHERE key BETWEEN ?1 AND ?2 ORDER BY key")?;
        let mut rows = select.query(params![first, last])?;
        while let Some(row) = rows.next()? {
            look(row.get(0)?, row.get(1)?, number_at(row, 2)?)?;
        }
        Ok(())
    }
}

impl Store for Sqlite {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        let (from, upto) = (integer(batch.from), integer(batch.upto));
        if transaction.execute("UPDATE state SET upto = ?1 WHERE upto = ?2", [upto, from])? != 1 {
            return Err("somebody else has written to it meanwhile".into());
        }
        {
            let mut term =
                transaction.prepare_cached("INSERT OR REPLACE INTO terms VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (key, record, leaf) in &batch.terms {
                let (last, chunks) = (integer(record.last), integer(record.chunks));
                term.execute(params![
                    key,
                    leaf,
                    last,
                    chunks,
                    record.peaks.as_flattened(),
                    bytes(&record.tail)
                ])?;
            }
            let mut hash = transaction.prepare_cached("INSERT INTO hashes VALUES (?1, ?2, ?3)")?;
            let mut entries = transaction.prepare_cached("INSERT INTO chunks VALUES (?1, ?2, ?3)")?;
            for chunk in &batch.chunks {
                hash.execute(params![chunk.key, integer(chunk.number), chunk.hash])?;
                entries.execute(params![chunk.key, integer(chunk.number), bytes(&chunk.entries)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(Self { path: self.path.clone(), connection: connect(&self.path)? }))
    }
}
