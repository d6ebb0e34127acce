//! The lock record: which tree was signed last. The commit point of every batch.
//!
//! One file with two slots, made when the log is created and never again. A new tree head goes into the slot of
//! the older one, so a write torn by a crash leaves the newer intact, and the last two heads are always kept.
//! Before a slot is overwritten, both are read back and compared with what this process wrote last: a second
//! writer, however it got past the file lock, is found before anything of its is overwritten.

use std::io;

use countersign_crypto::sha256;
use countersign_tlog::{Hash, merkle};

use crate::LogError;
use crate::storage::{Storage, StorageFile};

/// The file with the lock record.
pub(crate) const LOCK_RECORD: &str = "lock-record";
/// The lock record of a log that was moved to another store, as it was then, with the move's own number.
pub(crate) const MOVED: &str = "lock-record.moved";
/// The lock record of a log that was rotated out, as it was then, with the name of its successor. Where there is a lock
/// record as well, it says nothing.
pub(crate) const FROZEN: &str = "lock-record.frozen";
const MAGIC: &[u8; 8] = b"cs-head1";
const SLOT: usize = 32 * 1024;
/// Magic, generation, size, time, root, length of the note.
const FIXED: usize = 8 + 8 + 8 + 8 + 32 + 4;
const MAX_NOTE: usize = SLOT - FIXED - 32;

/// A tree head as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeHead {
    /// Counts the commits.
    pub(crate) generation: u64,
    /// The number of entries.
    pub(crate) size: u64,
    /// The time of signing in milliseconds since 1970; never goes back.
    pub(crate) time_ms: u64,
    /// The root.
    pub(crate) root: Hash,
    /// The signed checkpoint; empty only in the head of the empty tree, which nobody signs.
    pub(crate) note: String,
}

impl TreeHead {
    fn encode(&self) -> Option<Vec<u8>> {
        if self.note.len() > MAX_NOTE {
            return None;
        }
        let mut out = Vec::with_capacity(FIXED + self.note.len() + 32);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.root);
        out.extend_from_slice(&u32::try_from(self.note.len()).ok()?.to_be_bytes());
        out.extend_from_slice(self.note.as_bytes());
        let sum = sha256(&out);
        out.extend_from_slice(&sum);
        Some(out)
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let rest = slot.strip_prefix(MAGIC)?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (time_ms, rest) = rest.split_first_chunk()?;
        let (root, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (note, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        let (content, _) = slot.split_at(slot.len() - rest.len());
        if rest.first_chunk::<32>() != Some(&sha256(content)) {
            return None;
        }
        Some(Self {
            generation: u64::from_be_bytes(*generation),
            size: u64::from_be_bytes(*size),
            time_ms: u64::from_be_bytes(*time_ms),
            root: *root,
            note: String::from_utf8(note.to_vec()).ok()?,
        })
    }
}

/// What stands in a slot.
pub(crate) enum Slot {
    /// Nothing was ever written.
    Empty,
    /// A tree head, and zeros after it.
    Whole(TreeHead),
    /// Neither; the offset in the slot from which on it is not.
    Damaged(u64),
}

/// The two slots of a record, with their offsets.
pub(crate) fn slots(bytes: &[u8]) -> Vec<(u64, Slot)> {
    let mut found: Vec<_> =
        (0_u64..).map(|number| number * SLOT as u64).zip(bytes.chunks(SLOT).map(slot)).collect();
    if bytes.len() != 2 * SLOT {
        found.push((bytes.len() as u64, Slot::Damaged(0)));
    }
    found
}

fn slot(bytes: &[u8]) -> Slot {
    let dirty =
        |from: usize| bytes.iter().skip(from).position(|byte| *byte != 0).map(|at| (from + at) as u64);
    match TreeHead::decode(bytes) {
        None if dirty(0).is_none() => Slot::Empty,
        None => Slot::Damaged(0),
        Some(head) => match dirty(FIXED + head.note.len() + 32) {
            Some(at) => Slot::Damaged(at),
            None => Slot::Whole(head),
        },
    }
}

/// Why a head was not committed.
#[derive(Debug)]
pub(crate) enum SwapError {
    /// The record is not as this process left it.
    Changed(String),
    /// Reading or writing failed; whether the head was committed is not known.
    Io(io::Error),
}

/// The open lock record.
#[derive(Debug)]
pub(crate) struct LockRecord {
    file: Box<dyn StorageFile>,
    current: TreeHead,
}

fn offset(generation: u64) -> u64 {
    (generation % 2) * (SLOT as u64)
}

fn read_slots(file: &mut dyn StorageFile) -> io::Result<[Option<TreeHead>; 2]> {
    let mut bytes = vec![0; 2 * SLOT];
    file.read_at(0, &mut bytes)?;
    let (first, second) = bytes.split_at(SLOT);
    Ok([TreeHead::decode(first), TreeHead::decode(second)])
}

/// The head committed last.
fn newest(slots: [Option<TreeHead>; 2]) -> Result<TreeHead, LogError> {
    let corrupt = |reason: &str| Err(LogError::corrupt(LOCK_RECORD, reason));
    match slots {
        [None, None] => corrupt("neither of its two slots is intact"),
        [Some(a), Some(b)] => {
            let (old, new) = if a.generation < b.generation { (a, b) } else { (b, a) };
            if old.generation.checked_add(1) != Some(new.generation) {
                return corrupt("its two slots do not follow each other");
            }
            if old.size > new.size || old.time_ms > new.time_ms {
                return corrupt("its newer slot has a smaller tree or an earlier time than its older");
            }
            Ok(new)
        }
        [Some(one), None] | [None, Some(one)] => Ok(one),
    }
}

/// Why there is no lock record.
pub(crate) fn missing(storage: &dyn Storage) -> LogError {
    match (storage.read(FROZEN), storage.read(MOVED)) {
        (Ok(Some(aside)), _) => LogError::Frozen { successor: successor(&aside) },
        (_, Ok(Some(_))) => LogError::Moved { record: MOVED },
        _ => LogError::NoLockRecord { expected: LOCK_RECORD },
    }
}

/// The head committed last, in the record of a log that another process may be writing; and the successor of a log
/// that was rotated out.
pub(crate) fn committed(storage: &dyn Storage) -> Result<(TreeHead, Option<String>), LogError> {
    let read = |path| storage.read(path).map_err(LogError::io("reading the lock record"));
    if let Some(record) = read(LOCK_RECORD)? {
        return Ok((parse(&record)?, None));
    }
    match read(FROZEN)? {
        Some(aside) => Ok((parse(&aside)?, Some(successor(&aside)))),
        None => Err(missing(storage)),
    }
}

/// The lock record in a file that was put aside, and what follows it there.
pub(crate) fn put_aside(aside: &[u8]) -> (&[u8], &[u8]) {
    aside.split_at(aside.len().min(2 * SLOT))
}

/// The successor of a log whose record was put aside.
pub(crate) fn successor(aside: &[u8]) -> String {
    String::from_utf8_lossy(put_aside(aside).1).into_owned()
}

/// The newest head in a record's bytes.
pub(crate) fn parse(record: &[u8]) -> Result<TreeHead, LogError> {
    let (first, second) = record.split_at(SLOT.min(record.len()));
    newest([TreeHead::decode(first), TreeHead::decode(second)])
}

impl LockRecord {
    /// Makes the record of a new log, with the head of the empty tree. Durable once the directory is flushed.
    pub(crate) fn create(storage: &dyn Storage) -> io::Result<()> {
        let head =
            TreeHead { generation: 0, size: 0, time_ms: 0, root: merkle::empty_root(), note: String::new() };
        Self::create_at(storage, &head)
    }

    /// Makes the record of a copy of a log, with the head of its tree. Durable once the directory is flushed.
    pub(crate) fn create_at(storage: &dyn Storage, head: &TreeHead) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the signed checkpoint is too long");
        let slot = head.encode().ok_or_else(too_long)?;
        let mut bytes = vec![0; usize::try_from(offset(head.generation)).unwrap_or_default()];
        bytes.extend(slot);
        bytes.resize(2 * SLOT, 0);
        let mut file = storage.create(LOCK_RECORD)?;
        file.write_at(0, &bytes)?;
        file.sync_data()
    }

    /// Opens the record of a log.
    pub(crate) fn open(storage: &dyn Storage) -> Result<Self, LogError> {
        let doing = || LogError::io("reading the lock record");
        let mut file = match storage.open(LOCK_RECORD) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(storage)),
            other => other.map_err(doing())?,
        };
        // The lock file has been taken already; but it may have been deleted under another process, by someone who
        // thought it was left over, and made anew. This file cannot be: without it no log opens.
        if !file.try_lock().map_err(doing())? {
            return Err(LogError::LockedBy { holder: "unknown (its lock file was deleted)".into() });
        }
        Self::read(file)
    }

    fn read(mut file: Box<dyn StorageFile>) -> Result<Self, LogError> {
        let slots = read_slots(file.as_mut()).map_err(LogError::io("reading the lock record"))?;
        Ok(Self { file, current: newest(slots)? })
    }

    /// The head committed last.
    pub(crate) const fn current(&self) -> &TreeHead {
        &self.current
    }

    /// Writes the current head once more and flushes it.
    ///
    /// What an earlier process wrote and did not get flushed can be read all the same, until the machine loses power.
    /// Nothing may be published or built upon before it is known to be on the disk; and as a flush that failed once
    /// may be forgotten by the system, flushing alone would not make it so.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the signed checkpoint is too long");
        let bytes = self.current.encode().ok_or_else(too_long)?;
        self.file.write_at(offset(self.current.generation), &bytes)?;
        self.file.sync_data()
    }

    /// Commits a head in place of the current one. Durable when this returns.
    pub(crate) fn swap(&mut self, next: TreeHead) -> Result<(), SwapError> {
        let changed = |what: &str| Err(SwapError::Changed(what.to_owned()));
        let current = &self.current;
        let follows = current.generation.checked_add(1) == Some(next.generation);
        if !follows || next.size < current.size || next.time_ms < current.time_ms {
            return changed("the new tree head does not follow the committed one");
        }
        if next.size == current.size && next.root != current.root {
            return changed("the new tree head has the committed one's size and another root");
        }
        let Some(mut bytes) = next.encode() else {
            return changed("the signed checkpoint is too long for the lock record");
        };
        let slots = read_slots(self.file.as_mut()).map_err(SwapError::Io)?;
        let (ours, other) = match slots {
            [a, b] if current.generation.is_multiple_of(2) => (a, b),
            [a, b] => (b, a),
        };
        if ours.as_ref() != Some(current) {
            return changed(
                "the committed tree head is not the one this process wrote: another writer was here",
            );
        }
        if other.as_ref().is_some_and(|o| o.generation >= current.generation) {
            return changed("the lock record holds a newer tree head: another writer was here");
        }
        // To the end of what stood there, so that a slot is a record and zeros, and a flipped bit in it shows.
        let before = other.map_or(SLOT, |head| FIXED + head.note.len() + 32);
        bytes.resize(bytes.len().max(before), 0);
        self.file.write_at(offset(next.generation), &bytes).map_err(SwapError::Io)?;
        self.file.sync_data().map_err(SwapError::Io)?;
        self.current = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Files;

    fn head(generation: u64) -> TreeHead {
        let note = format!("note {generation}");
        TreeHead { generation, size: generation * 3, time_ms: generation, root: [1; 32], note }
    }

    fn record() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        LockRecord::create(&files).unwrap();
        (dir, files)
    }

    /// The record as another process would read it that gets past every lock.
    fn read(files: &Files) -> Result<LockRecord, LogError> {
        LockRecord::read(files.open(LOCK_RECORD).unwrap())
    }

    fn raw(dir: &tempfile::TempDir) -> std::path::PathBuf {
        dir.path().join(LOCK_RECORD)
    }

    #[test]
    fn heads_survive_reopening_and_never_go_back() {
        let (_dir, files) = record();
        let mut lock = LockRecord::open(&files).unwrap();
        for generation in 1..6 {
            lock.swap(head(generation)).unwrap();
            assert_eq!(read(&files).unwrap().current(), &head(generation));
        }
        assert!(matches!(lock.swap(head(5)), Err(SwapError::Changed(_))));
        assert!(matches!(lock.swap(head(7)), Err(SwapError::Changed(_))));
        assert!(matches!(lock.swap(TreeHead { size: 14, ..head(6) }), Err(SwapError::Changed(_))));
        assert!(matches!(lock.swap(TreeHead { time_ms: 4, ..head(6) }), Err(SwapError::Changed(_))));
        assert!(matches!(
            lock.swap(TreeHead { size: 15, root: [2; 32], ..head(6) }),
            Err(SwapError::Changed(_))
        ));
        assert!(matches!(
            lock.swap(TreeHead { note: "x".repeat(SLOT), ..head(6) }),
            Err(SwapError::Changed(_))
        ));
        lock.swap(head(6)).unwrap();
    }

    #[test]
    fn a_torn_write_leaves_the_head_before() {
        let (dir, files) = record();
        let mut lock = LockRecord::open(&files).unwrap();
        lock.swap(head(1)).unwrap();
        lock.swap(head(2)).unwrap();
        let good = std::fs::read(raw(&dir)).unwrap();
        let len = head(2).encode().unwrap().len();
        for at in 0..len {
            let mut torn = good.clone();
            torn[at] ^= 0x80;
            std::fs::write(raw(&dir), &torn).unwrap();
            assert_eq!(read(&files).unwrap().current(), &head(1), "byte {at}");
        }
        let mut both = good;
        both[8] ^= 1;
        both[SLOT + 8] ^= 1;
        std::fs::write(raw(&dir), both).unwrap();
        assert!(matches!(read(&files), Err(LogError::Corrupt { .. })));
    }

    /// S13: a record deleted by accident is not made anew.
    #[test]
    fn s13_a_missing_record_is_not_made_anew() {
        let (dir, files) = record();
        std::fs::remove_file(raw(&dir)).unwrap();
        assert!(matches!(LockRecord::open(&files), Err(LogError::NoLockRecord { .. })));
        assert!(!raw(&dir).exists());
    }

    #[test]
    fn a_second_writer_is_found_before_anything_is_overwritten() {
        let (dir, files) = record();
        let mut ours = LockRecord::open(&files).unwrap();
        assert!(matches!(LockRecord::open(&files), Err(LogError::LockedBy { .. })));
        let mut other = read(&files).unwrap();
        other.swap(head(1)).unwrap();
        let before = std::fs::read(raw(&dir)).unwrap();
        assert!(matches!(ours.swap(TreeHead { size: 9, ..head(1) }), Err(SwapError::Changed(_))));
        other.swap(head(2)).unwrap();
        assert!(matches!(ours.swap(head(1)), Err(SwapError::Changed(_))));
        assert_eq!(std::fs::read(raw(&dir)).unwrap()[SLOT..], before[SLOT..]);
    }
}
