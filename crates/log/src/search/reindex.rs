//! The index of a log at rest, made anew from its tree.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use countersign_crypto::PublicKey;
use countersign_tlog::map::IndexCommitment;
use countersign_tlog::tile::{TILE_WIDTH, TilePath};

use super::follower::{Entries, Follower};
use super::sqlite::Sqlite;
use super::version::Version;
use super::{Terms, committed};
use crate::backup::state;
use crate::fsck::{lock_at_rest, verifier};
use crate::recovery::read_params;
use crate::shared::entries_in;
use crate::storage::{Files, Storage};
use crate::tree::Tree;
use crate::{Format, LogError};

/// An index that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reindexed {
    /// The index of the whole tree.
    pub index: IndexCommitment,
    /// Whether the index at the size that the newest checkpoint commits to is the one it commits to; `None` when it
    /// commits to none.
    pub as_signed: Option<bool>,
}

/// The tree that was signed last. What is read of it is checked against the signed root.
struct AtRest {
    tree: Tree,
    format: Format,
    size: u64,
    /// The last bundle, while it is not full, as the write-ahead file has it.
    partial: Bytes,
}

impl Entries for AtRest {
    fn size(&self) -> u64 {
        self.size
    }

    fn entries_from(&self, from: u64, size: u64) -> Result<Vec<Bytes>, LogError> {
        let path = TilePath::in_tree(self.format.entries(), from / u64::from(TILE_WIDTH), self.size)
            .ok_or_else(|| LogError::OutOfTree(format!("there is no entry {from}")))?;
        let bundle = if path.width < TILE_WIDTH {
            self.partial.clone()
        } else {
            let bundle = self.tree.bundle(path)?;
            bundle.ok_or_else(|| LogError::corrupt(path, "the bundle is missing"))?.into()
        };
        entries_in(self.format, path, &bundle, from..size)
    }
}

/// Makes the index of a log that nobody has open anew, from the tree that was signed last. `key` is that of its
/// checkpoints.
///
/// # Errors
/// [`LogError::LockedBy`] while a process has the log open; [`LogError::Corrupt`] when its entries are damaged;
/// [`LogError::Index`], [`LogError::Search`], [`LogError::Io`].
pub fn reindex(directory: &Path, key: &PublicKey, terms: Terms) -> Result<Reindexed, LogError> {
    let storage: Arc<dyn Storage> = Arc::new(Files::new(directory));
    let guard = lock_at_rest(directory, "making its index anew")?;
    let params = read_params(storage.as_ref())?;
    let state = state(storage.as_ref(), &params, &verifier(&params, key)?)?;
    let size = state.head.size;
    let tree = Tree::new(Arc::clone(&storage), params.format);
    tree.extend(Vec::new(), &state.replayed.edge);
    let entries = AtRest { tree, format: params.format, size, partial: state.replayed.bundle.into() };
    Sqlite::remove(directory);
    let key_id = terms.key_id;
    let mut follower = Follower::open(directory, Box::new(entries), terms)?;
    while follower.known()? < size {
        follower.step(size)?;
    }
    let at = |size| {
        let version = Version::build(follower.store.as_ref(), size, key_id).map_err(LogError::Search)?;
        Ok::<_, LogError>(version.commitment())
    };
    let index = at(size)?;
    let as_signed = match committed(&state.head.note) {
        Some(signed) => Some(at(signed.size)? == signed),
        None => None,
    };
    drop(guard);
    Ok(Reindexed { index, as_signed })
}
