//! The index of duplicates: which entry a key got, so that a retried request gets the same one.
//!
//! A table beside the tiles, written by a thread of its own, off the way of an append. It may be behind the
//! log; then the keys it lacks are in the write-ahead file, because a segment is removed only after the index has
//! its keys on disk. It may be lost; then it is made anew from the entries, if their keys can be had from them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::LogError;
use crate::shared::Shared;
use crate::storage::KeyTable;

/// A key by which duplicates are found, chosen by whoever appends.
pub(crate) type Key = [u8; 32];

/// How long rows are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(100);
const GATHER_ROWS: usize = 20_000;
/// How long to wait before trying again after an error: a full disk, most likely.
const RETRY: Duration = Duration::from_secs(1);
/// How many bundles' keys may be on their way to the writer while the index is made anew.
const REBUILT_BUNDLES: u64 = 1024;

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
    table: Arc<dyn KeyTable>,
    upto: AtomicU64,
    closing: AtomicBool,
}

/// The way to the thread that writes.
#[derive(Debug, Clone)]
pub(crate) struct IndexWriter(Sender<Job>);

impl Index {
    /// Takes up the index of a log of some size, and starts the thread that writes. A table that knows more entries
    /// than the log has is begun anew.
    pub(crate) fn open(
        table: Arc<dyn KeyTable>,
        size: u64,
    ) -> Result<(Arc<Self>, IndexWriter, JoinHandle<()>), LogError> {
        let doing = || LogError::io("opening the index of duplicates");
        let mut upto = table.upto().map_err(doing())?;
        if upto > size {
            table.clear().map_err(doing())?;
            upto = 0;
        }
        let index = Arc::new(Self { table, upto: AtomicU64::new(upto), closing: AtomicBool::new(false) });
        let (sender, receiver) = channel();
        let shared = index.clone();
        let thread = std::thread::Builder::new()
            .name("log-index".into())
            .spawn(move || Writer { index: shared, receiver }.run())
            .map_err(LogError::io("starting the thread of the index"))?;
        Ok((index, IndexWriter(sender), thread))
    }

    /// No more will be added: what cannot be written now stays behind, instead of being tried for ever.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// All entries below this index are in the table.
    pub(crate) fn upto(&self) -> u64 {
        self.upto.load(Ordering::Acquire)
    }

    /// The indexes that keys got.
    pub(crate) fn find(&self, keys: &[Key]) -> io::Result<HashMap<Key, u64>> {
        self.table.find(keys)
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
    receiver: Receiver<Job>,
}

impl Writer {
    fn run(self) {
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
            while let Err(error) = self.index.table.add(&rows, upto, durable) {
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
}

/// Gives the index of duplicates the keys it lacks: from the entries below the write-ahead file if their keys can
/// be had from them, and from the write-ahead file.
pub(crate) fn catch_up(
    shared: &Shared,
    index: &Index,
    writer: &IndexWriter,
    keys: &[Key],
    first_key: u64,
) -> Result<(), LogError> {
    let mut next = index.upto();
    match &shared.key_of {
        Some(key_of) if next < first_key => {
            tracing::info!(
                from = next,
                to = first_key,
                "making the index of duplicates anew from the entries"
            );
            let mut bundles = 0;
            while next < first_key {
                let entries = shared.entries_from(next, first_key)?;
                let rows: Vec<_> = entries.iter().zip(next..).map(|(entry, i)| (key_of(entry), i)).collect();
                next += entries.len() as u64;
                writer.add(rows, next);
                bundles += 1;
                // Now and then, lest all the keys of a large log be in memory at once.
                if bundles % REBUILT_BUNDLES == 0 {
                    writer.flush();
                }
            }
            // Before anyone asks: these keys are nowhere else.
            writer.flush();
        }
        None if next < first_key => {
            tracing::warn!(upto = first_key, "the index of duplicates has lost the keys of old entries");
            next = first_key;
        }
        _ => {}
    }
    let rows: Vec<_> = keys.iter().copied().zip(first_key..).filter(|(_, i)| *i >= next).collect();
    writer.add(rows, shared.head().size);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::key_file::KeyFile;

    fn open(directory: &Path, size: u64) -> (Arc<Index>, IndexWriter, JoinHandle<()>) {
        Index::open(Arc::new(KeyFile::open(directory).unwrap()), size).unwrap()
    }

    fn lookup(index: &Index, key: Key) -> Option<u64> {
        index.find(&[key]).unwrap().get(&key).copied()
    }

    fn key(n: u64) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn keys_are_found_after_reopening_and_the_first_entry_of_a_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (index, writer, thread) = open(dir.path(), 0);
        writer.add((0..1000).map(|n| (key(n), n)).collect(), 1000);
        writer.add(vec![(key(5), 1000)], 1001);
        writer.flush();
        assert_eq!((index.upto(), lookup(&index, key(5))), (1001, Some(5)));
        drop(writer);
        thread.join().unwrap();
        let (index, _writer, _thread) = open(dir.path(), 1001);
        assert_eq!(index.upto(), 1001);
        assert_eq!(lookup(&index, key(999)), Some(999));
        assert_eq!(lookup(&index, key(1000)), None);
    }

    #[test]
    fn a_damaged_index_and_one_from_a_larger_log_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("index.db"),
            b"this is not a database, and it is long enough to be read as one",
        )
        .unwrap();
        let (index, writer, thread) = open(dir.path(), 10);
        assert_eq!(index.upto(), 0);
        writer.add(vec![(key(1), 1)], 10);
        drop(writer);
        thread.join().unwrap();
        let (index, writer, _thread) = open(dir.path(), 9);
        assert_eq!((index.upto(), lookup(&index, key(1))), (0, None));
        // The old database, as it was closed, took no file of the new one with it.
        writer.add(vec![(key(2), 2)], 3);
        while index.upto() < 3 {
            std::thread::yield_now();
        }
        assert_eq!(lookup(&index, key(2)), Some(2));
    }
}
