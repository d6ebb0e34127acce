//! The entries of a term: adding to them, and reading them as they were at an earlier size of the log.

use std::collections::BTreeMap;

use countersign_tlog::Hash;
use countersign_tlog::map::{MapLeaf, Page, posting_hash};
use countersign_tlog::merkle::Frontier;

use super::store::{Batch, CHUNK, Chunk, Reader, StoreError, TermRecord};

/// The tree over these leaves.
pub(super) fn root(leaves: impl IntoIterator<Item = Hash>) -> Frontier {
    let mut frontier = Frontier::default();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf));
    frontier
}

/// What is to be written when these entries have these terms. An entry that a term has already is not added again.
pub(super) fn added(
    reader: &dyn Reader,
    entries: &BTreeMap<Hash, Vec<u64>>,
    (from, upto): (u64, u64),
) -> Result<Batch, StoreError> {
    let mut batch = Batch { from, upto, ..Batch::default() };
    for (key, new) in entries {
        let mut record = reader.term(key)?.unwrap_or_default();
        for index in new {
            if record.count() > 0 && *index <= record.last {
                continue;
            }
            record.tail.push(*index);
            record.last = *index;
            if record.tail.len() == CHUNK {
                let entries = std::mem::take(&mut record.tail);
                let hash = root(entries.iter().map(|index| posting_hash(*index))).root();
                let mut chunks = Frontier::from_peaks(record.chunks, record.peaks);
                chunks.push(hash);
                batch.chunks.push(Chunk { key: *key, number: record.chunks, hash, entries });
                record.peaks = chunks.peaks().to_vec();
                record.chunks += 1;
            }
        }
        let leaf = record.leaf(*key).hash();
        batch.terms.push((*key, record, leaf));
    }
    Ok(batch)
}

/// What the index had for a term when the log had `size` entries; `None` if nothing.
pub(super) fn record_at(
    reader: &dyn Reader,
    key: &Hash,
    size: u64,
) -> Result<Option<TermRecord>, StoreError> {
    let Some(mut record) = reader.term(key)? else { return Ok(None) };
    if record.last < size {
        return Ok(Some(record));
    }
    record.last = size.saturating_sub(1);
    record.tail.retain(|index| *index < size);
    if record.tail.is_empty() {
        while let Some(last) = record.chunks.checked_sub(1) {
            let entries = chunk(reader, key, last)?;
            if entries.last().is_some_and(|newest| *newest < size) {
                break;
            }
            record.chunks = last;
            record.tail = entries.into_iter().filter(|index| *index < size).collect();
            if !record.tail.is_empty() {
                break;
            }
        }
        record.peaks = root(reader.chunk_hashes(key, record.chunks)?).peaks().to_vec();
    }
    Ok(Some(record).filter(|record| record.count() > 0))
}

/// The leaf of a term as it was at a size.
pub(super) fn leaf_at(reader: &dyn Reader, key: &Hash, size: u64) -> Result<Option<MapLeaf>, StoreError> {
    Ok(record_at(reader, key, size)?.map(|record| record.leaf(*key)))
}

/// The last entries of a record, about so many at the most, a chunk's worth at least.
pub(super) fn page(
    reader: &dyn Reader,
    key: &Hash,
    record: &TermRecord,
    limit: usize,
) -> Result<Page, StoreError> {
    let wanted = limit.saturating_sub(record.tail.len()) / CHUNK;
    let first = record.chunks.saturating_sub(wanted as u64);
    let peaks = if first == record.chunks {
        record.peaks.clone()
    } else {
        root(reader.chunk_hashes(key, first)?).peaks().to_vec()
    };
    let mut entries = Vec::new();
    for number in first..record.chunks {
        entries.extend(chunk(reader, key, number)?);
    }
    entries.extend(&record.tail);
    Ok(Page { start: first * CHUNK as u64, peaks, entries })
}

fn chunk(reader: &dyn Reader, key: &Hash, number: u64) -> Result<Vec<u64>, StoreError> {
    reader.chunk(key, number)?.ok_or_else(|| "a part of a term's entries is missing; remove terms.db".into())
}
