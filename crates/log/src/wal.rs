//! The write-ahead file: entries are made durable here, all of a batch in one write and one flush.
//!
//! A segment begins with a magic number and a [`Base`]: the size of the tree at its beginning and everything of
//! the right edge which is not in full tiles. So a segment and the full tiles before it are the whole log; what
//! is in partial tiles on disk never matters. Then come batches. Each record is
//!
//! ```text
//! u32 length of payload | u32 CRC-32 of payload | payload       (big endian)
//! ```
//!
//! The checksum finds torn tails; that the entries are the signed ones is shown by their root.

use std::io;

use countersign_tlog::Hash;
use countersign_tlog::tile::TILE_WIDTH;

use crate::LogError;
use crate::storage::{Storage, StorageFile};

/// The directory of the segments.
pub(crate) const WAL: &str = "wal";
const MAGIC: &[u8; 16] = b"countersign-wal1";
const HEADER: usize = 8;
const BASE: u8 = 0;
const BATCH: u8 = 1;
/// No record is longer, in bytes: a batch is closed well before.
const MAX_RECORD: usize = 1 << 30;
/// A key, a leaf hash and a length.
const ENTRY_OVERHEAD: usize = 32 + 32 + 4;

/// The right edge of the tree at the beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The number of entries.
    pub size: u64,
    /// The hashes of the partial tile of each level, from level 0.
    pub levels: Vec<Vec<Hash>>,
    /// The bytes of the partial entry bundle.
    pub bundle: Vec<u8>,
}

/// An entry in a batch, borrowed from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalEntry<'a> {
    /// The key by which duplicates are found.
    pub key: &'a [u8; 32],
    /// The hash in the tree.
    pub leaf_hash: &'a Hash,
    /// The bytes in the bundle.
    pub stored: &'a [u8],
}

/// A record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// The first record of every segment.
    Base(Base),
    /// Entries appended together.
    Batch {
        /// The index of the first.
        first: u64,
        /// The entries.
        entries: Vec<WalEntry<'a>>,
    },
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(head)
    }
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }
    fn len(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(*self.chunk()?)).ok()
    }
}

impl<'a> Record<'a> {
    /// Reads one record off the front; gives it and the bytes after it. `None` for anything torn or damaged.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader(bytes);
        let len = reader.len().filter(|l| *l <= MAX_RECORD)?;
        let sum = u32::from_be_bytes(*reader.chunk()?);
        let payload = reader.bytes(len)?;
        if crc32fast::hash(payload) != sum {
            return None;
        }
        Some((Self::parse_payload(payload)?, reader.0))
    }

    fn parse_payload(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let [kind] = *reader.chunk()?;
        let record = match kind {
            BASE => {
                let size = u64::from_be_bytes(*reader.chunk()?);
                let [levels] = *reader.chunk()?;
                let levels = (0..levels)
                    .map(|_| {
                        let width = u16::from_be_bytes(*reader.chunk()?);
                        let (hashes, _) = reader.bytes(usize::from(width) * 32)?.as_chunks::<32>();
                        (width < TILE_WIDTH).then(|| hashes.to_vec())
                    })
                    .collect::<Option<_>>()?;
                let len = reader.len()?;
                Self::Base(Base { size, levels, bundle: reader.bytes(len)?.to_vec() })
            }
            BATCH => {
                let first = u64::from_be_bytes(*reader.chunk()?);
                let count = reader.len()?;
                // Each entry takes its overhead at least, so a count cannot make a vector larger than the record.
                if count > reader.0.len() / ENTRY_OVERHEAD {
                    return None;
                }
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    let (key, leaf_hash) = (reader.chunk()?, reader.chunk()?);
                    let len = reader.len()?;
                    entries.push(WalEntry { key, leaf_hash, stored: reader.bytes(len)? });
                }
                Self::Batch { first, entries }
            }
            _ => return None,
        };
        reader.0.is_empty().then_some(record)
    }
}

/// Puts the header of a record before its payload, which begins at [`HEADER`].
fn seal(record: &mut [u8]) -> io::Result<()> {
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidInput, "a record of the write-ahead file is too long");
    let (header, payload) = record.split_first_chunk_mut::<HEADER>().ok_or_else(too_long)?;
    if payload.len() > MAX_RECORD {
        return Err(too_long());
    }
    let len = u32::try_from(payload.len()).map_err(|_| too_long())?;
    let (l, s) = header.split_at_mut(4);
    l.copy_from_slice(&len.to_be_bytes());
    s.copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
    Ok(())
}

fn len32(len: usize) -> [u8; 4] {
    // A length that does not fit makes a record that `seal` refuses for its length.
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// A batch being written down; its buffer is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct BatchWriter {
    record: Vec<u8>,
    count: usize,
}

impl BatchWriter {
    /// Begins a batch.
    pub(crate) fn begin(&mut self, first: u64) {
        self.record.clear();
        self.record.extend_from_slice(&[0; HEADER]);
        self.record.push(BATCH);
        self.record.extend_from_slice(&first.to_be_bytes());
        self.record.extend_from_slice(&[0; 4]);
        self.count = 0;
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, entry: WalEntry<'_>) {
        self.record.extend_from_slice(entry.key);
        self.record.extend_from_slice(entry.leaf_hash);
        self.record.extend_from_slice(&len32(entry.stored.len()));
        self.record.extend_from_slice(entry.stored);
        self.count += 1;
    }

    /// The bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.record.len()
    }

    fn finish(&mut self) -> io::Result<&[u8]> {
        let count = len32(self.count);
        if let Some(place) = self.record.get_mut(HEADER + 9..HEADER + 13) {
            place.copy_from_slice(&count);
        }
        seal(&mut self.record)?;
        Ok(&self.record)
    }
}

fn encode_base(base: &Base) -> io::Result<Vec<u8>> {
    let mut out = vec![0; HEADER];
    out.push(BASE);
    out.extend_from_slice(&base.size.to_be_bytes());
    out.push(u8::try_from(base.levels.len()).unwrap_or(u8::MAX));
    for level in &base.levels {
        out.extend_from_slice(&u16::try_from(level.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(level.as_flattened());
    }
    out.extend_from_slice(&len32(base.bundle.len()));
    out.extend_from_slice(&base.bundle);
    seal(&mut out)?;
    Ok(out)
}

/// The name of the segment that begins at a size. Names sort as sizes do.
pub(crate) fn segment_path(base: u64) -> String {
    format!("{WAL}/{base:020}")
}

/// The sizes at which the segments in the directory begin, in order.
pub(crate) fn segments(storage: &dyn Storage) -> Result<Vec<u64>, LogError> {
    let names = storage.list(WAL).map_err(LogError::io("listing the write-ahead segments"))?;
    Ok(names.iter().filter(|n| n.len() == 20).filter_map(|n| n.parse().ok()).collect())
}

/// The records of a segment as far as they are intact; its first is its base. `None` when not even the base is:
/// the segment was being made when the process ended.
pub(crate) fn open_segment(content: &[u8]) -> Option<(Base, &[u8])> {
    match Record::parse(content.strip_prefix(MAGIC)?)? {
        (Record::Base(base), rest) => Some((base, rest)),
        (Record::Batch { .. }, _) => None,
    }
}

/// Where the first record begins that is not intact.
pub(crate) fn damage(content: &[u8]) -> Option<u64> {
    let Some((_, mut rest)) = open_segment(content) else {
        return Some(if content.starts_with(MAGIC) { MAGIC.len() as u64 } else { 0 });
    };
    while let Some((_, tail)) = Record::parse(rest) {
        rest = tail;
    }
    (!rest.is_empty()).then_some((content.len() - rest.len()) as u64)
}

/// A segment cut off where the entries beyond a size begin; `None` when its beginning is not whole.
pub(crate) fn committed(mut content: Vec<u8>, size: u64) -> Option<Vec<u8>> {
    let (_, mut rest) = open_segment(&content)?;
    while let Some((Record::Batch { first, .. }, tail)) = Record::parse(rest)
        && first < size
    {
        rest = tail;
    }
    let end = content.len() - rest.len();
    content.truncate(end);
    Some(content)
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Box<dyn StorageFile>,
    base: u64,
    len: u64,
}

impl Segment {
    /// Makes a segment, durable with its name.
    pub(crate) fn create(storage: &dyn Storage, base: &Base) -> io::Result<Self> {
        let record = encode_base(base)?;
        let path = segment_path(base.size);
        storage.remove(&path)?;
        let mut file = storage.create(&path)?;
        file.write_at(0, &[&MAGIC[..], &record].concat())?;
        file.sync_data()?;
        storage.sync_dir(WAL)?;
        Ok(Self { file, base: base.size, len: (MAGIC.len() + record.len()) as u64 })
    }

    /// Takes a segment up at a length, beyond which everything is cut off.
    pub(crate) fn resume(storage: &dyn Storage, base: u64, len: u64) -> io::Result<Self> {
        let mut file = storage.open(&segment_path(base))?;
        file.set_len(len)?;
        file.sync_data()?;
        Ok(Self { file, base, len })
    }

    /// Writes a batch and flushes it.
    pub(crate) fn append(&mut self, batch: &mut BatchWriter) -> Result<(), SegmentError> {
        let record = batch.finish().map_err(SegmentError::Write)?;
        self.file.write_at(self.len, record).map_err(SegmentError::Write)?;
        self.file.sync_data().map_err(SegmentError::Flush)?;
        self.len += record.len() as u64;
        Ok(())
    }

    /// Cuts off what was written at the end: a batch that failed, or one of `undo` bytes that was not signed.
    pub(crate) fn roll_back(&mut self, undo: usize) -> io::Result<()> {
        self.len = self.len.saturating_sub(undo as u64);
        self.file.set_len(self.len)
    }

    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}

/// Where an append failed.
#[derive(Debug)]
pub(crate) enum SegmentError {
    /// Writing: nothing was promised, and the tail can be cut off.
    Write(io::Error),
    /// Flushing: nothing is known of the file any more.
    Flush(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base { size: 258, levels: vec![vec![[1; 32]; 2], vec![[2; 32]]], bundle: b"bundle".to_vec() }
    }

    fn batch() -> Vec<u8> {
        let mut writer = BatchWriter::default();
        writer.begin(258);
        writer.push(WalEntry { key: &[3; 32], leaf_hash: &[4; 32], stored: b"one" });
        writer.push(WalEntry { key: &[5; 32], leaf_hash: &[6; 32], stored: b"" });
        writer.finish().unwrap().to_vec()
    }

    #[test]
    fn records_round_trip() {
        let bytes = [encode_base(&base()).unwrap(), batch(), b"tail".to_vec()].concat();
        let (first, rest) = Record::parse(&bytes).unwrap();
        assert_eq!(first, Record::Base(base()));
        let (second, rest) = Record::parse(rest).unwrap();
        let entries = vec![
            WalEntry { key: &[3; 32], leaf_hash: &[4; 32], stored: b"one" },
            WalEntry { key: &[5; 32], leaf_hash: &[6; 32], stored: b"" },
        ];
        assert_eq!(second, Record::Batch { first: 258, entries });
        assert_eq!(rest, b"tail");
    }

    #[test]
    fn torn_and_flipped_records_are_found() {
        for good in [encode_base(&base()).unwrap(), batch()] {
            for at in 0..good.len() {
                assert!(Record::parse(&good[..at]).is_none(), "cut to {at}");
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(Record::parse(&bad).is_none(), "byte {at}");
            }
        }
    }

    #[test]
    fn counts_beyond_the_record_are_refused_before_anything_is_allocated() {
        let mut bad = batch();
        bad[HEADER + 9..HEADER + 13].copy_from_slice(&u32::MAX.to_be_bytes());
        seal(&mut bad).unwrap();
        assert!(Record::parse(&bad).is_none());
    }
}
