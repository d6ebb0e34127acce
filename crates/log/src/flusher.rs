//! Makes tiles durable in the background, then removes the write-ahead segment that covered them.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use countersign_tlog::tile::{self, TILE_WIDTH, TileKind, TilePath};

use crate::Format;
use crate::health::Health;
use crate::index::IndexWriter;
use crate::storage::Storage;
use crate::wal::{WAL, segment_path};

/// A segment that will not be written to any more: it begins at one size and the next at another.
#[derive(Debug)]
pub(crate) struct FlushJob {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The tiles and bundles that became full between two sizes.
pub(crate) fn full_tiles(format: Format, from: u64, to: u64) -> impl Iterator<Item = TilePath> {
    let hashes = (0..8_u8).map(|level| (TileKind::Hashes { level }, level));
    hashes.chain([(format.entries(), 0)]).flat_map(move |(kind, level)| {
        let range = tile::items_at_level(level + 1, from)..tile::items_at_level(level + 1, to);
        range.map(move |index| TilePath { kind, index, width: TILE_WIDTH })
    })
}

/// Makes the tiles and bundles durable that became full between two sizes.
pub(crate) fn flush_tiles(storage: &dyn Storage, format: Format, from: u64, to: u64) -> io::Result<()> {
    let mut directories = BTreeSet::from([String::new()]);
    for path in full_tiles(format, from, to) {
        let path = path.to_string();
        storage.sync(&path)?;
        // The tile's directory and those above it: any of them may be new.
        let mut rest = path.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            directories.insert(parent.to_owned());
            rest = parent;
        }
    }
    directories.iter().rev().try_for_each(|directory| storage.sync_dir(directory))
}

/// Runs until no more jobs can come.
pub(crate) struct Flusher {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) format: Format,
    pub(crate) health: Arc<Health>,
    pub(crate) index: Option<IndexWriter>,
    pub(crate) jobs: Receiver<FlushJob>,
}

impl Flusher {
    pub(crate) fn run(self) {
        while self.jobs.recv().is_ok_and(|job| self.finish(&job)) {}
    }

    /// Does a job; says whether there may be another.
    pub(crate) fn finish(&self, job: &FlushJob) -> bool {
        // After an error nothing is known of what is on disk, so the segment stays, and later ones too.
        if self.health.is_failed() {
            return false;
        }
        let flushed = self.flush(job);
        if let Err(error) = &flushed {
            self.health.fail(&format!("flushing tiles: {error}"));
        }
        flushed.is_ok()
    }

    fn flush(&self, job: &FlushJob) -> io::Result<()> {
        flush_tiles(self.storage.as_ref(), self.format, job.from, job.to)?;
        // Keys which the index does not have must be found in the segment when the log is opened again.
        if self.index.as_ref().is_some_and(|index| !index.flush()) {
            return Ok(());
        }
        self.storage.remove(&segment_path(job.from))?;
        self.storage.sync_dir(WAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_named_once_as_the_tree_grows() {
        let sizes = [0, 1, 255, 256, 300, 511, 512, 5000, 65_535, 65_536, 65_537, 200_000];
        let mut seen = BTreeSet::new();
        for pair in sizes.windows(2) {
            for path in full_tiles(Format::Rekor, pair[0], pair[1]) {
                assert!(seen.insert(path), "{path} twice");
            }
        }
        assert_eq!(seen, full_tiles(Format::Rekor, 0, 200_000).collect());
        assert_eq!(seen.len(), 781 + 3 + 781);
    }
}
