//! The check of the index of a log at rest: that it is whole in itself, and the one that the log signed.

use std::path::Path;

use countersign_tlog::Hash;
use countersign_tlog::map::posting_hash;

use super::committed;
use super::postings::root;
use super::sqlite::{FILE, Sqlite};
use super::store::{CHUNK, Reader, StoreError};
use super::version::Version;
use crate::Finding;

/// What the check of an index found.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) finding: Option<Finding>,
    /// What could not be checked, and why.
    pub(crate) note: Option<String>,
}

/// Checks the index in the directory of a log that has so many entries and signed this checkpoint last; `None` if there is
/// no index.
pub(crate) fn check(directory: &Path, size: u64, checkpoint: &str) -> Option<Checked> {
    let checked = match Sqlite::at_rest(directory).transpose()? {
        Ok(index) => held(&index, size, checkpoint),
        Err(error) => Err(error.into()),
    };
    Some(match checked {
        Ok(note) => Checked { finding: None, note },
        Err(error) => {
            let what = format!("{error}; it is made anew by: countersign log reindex");
            Checked { finding: Some(Finding { path: FILE.into(), offset: None, what }), note: None }
        }
    })
}

/// What could not be checked of an index in which nothing is wrong.
fn held(index: &Sqlite, size: u64, checkpoint: &str) -> Result<Option<String>, StoreError> {
    index.integrity()?;
    let upto = index.upto()?;
    if upto > size {
        return Err(format!("it knows {upto} entries, the log has {size}").into());
    }
    let mut chunks = 0;
    index.each(&[0; 32], &[0xff; 32], &mut |key, leaf, last| {
        chunks += whole(index, &key, &leaf, last, upto)?;
        Ok(())
    })?;
    if index.parts()? != (chunks, chunks) {
        return Err("it has entries of terms that it does not have".into());
    }
    let Some(signed) = committed(checkpoint) else {
        return Ok(Some(format!(
            "{FILE} is whole, but no checkpoint commits to it, so it was not held against the entries; \
             countersign log reindex makes it anew from them"
        )));
    };
    if signed.size > upto {
        return Ok(Some(format!(
            "{FILE} is whole, but knows {upto} entries and the newest checkpoint commits to it at {}, so it was not held \
             against that; the next start goes on with it",
            signed.size
        )));
    }
    let found = Version::build(index, signed.size, signed.key_id)?.commitment();
    if found.root != signed.root {
        return Err(format!(
            "at {} entries it is not the index that the newest checkpoint commits to: damaged, or made by other rules or \
             under another key since",
            signed.size
        )
        .into());
    }
    Ok(None)
}

/// Checks that a term's record, its parts and the hashes over them say the same, and gives the number of its parts.
fn whole(reader: &dyn Reader, key: &Hash, leaf: &Hash, last: u64, upto: u64) -> Result<u64, StoreError> {
    let record = reader.term(key)?.ok_or("a term cannot be found")?;
    let hashes = reader.chunk_hashes(key, record.chunks)?;
    let mut next = 0;
    let mut ascend = |entries: &[u64]| {
        entries.iter().all(|index| {
            let ascends = *index >= next;
            next = index.saturating_add(1);
            ascends
        })
    };
    for (number, hash) in (0..record.chunks).zip(&hashes) {
        let entries = reader.chunk(key, number)?.ok_or("a part of a term's entries is missing")?;
        let made = root(entries.iter().map(|index| posting_hash(*index))).root();
        if entries.len() != CHUNK || !ascend(&entries) || made != *hash {
            return Err("the entries of a term are not those of their hash".into());
        }
    }
    let is_whole = hashes.len() as u64 == record.chunks
        && ascend(&record.tail)
        && record.tail.len() < CHUNK
        && record.last == last
        && last.checked_add(1) == Some(next)
        && next <= upto
        && root(hashes).peaks() == record.peaks
        && record.leaf(*key).hash() == *leaf;
    if is_whole { Ok(record.chunks) } else { Err("the record of a term is not that of its entries".into()) }
}
