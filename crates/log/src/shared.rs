//! What the sequencer and the users of a log share, and reading from it: every byte from disk is checked against the
//! signed tree before it is given to anyone.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use countersign_tlog::proof::{HashSource as _, Node};
use countersign_tlog::tile::{TILE_WIDTH, TileKind, TilePath};
use countersign_tlog::{Hash, IndexCommitment};

use crate::health::Health;
use crate::index::{Index, Key};
use crate::log::KeyOf;
use crate::recovery::CHECKPOINT;
use crate::storage::KeyTable;
use crate::tree::{Tree, TreeAt};
use crate::{Format, LogError, LogParams};

/// The tree as it was committed and published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of entries, the genesis entry included.
    pub size: u64,
    /// The root.
    pub root: Hash,
    /// The time in the checkpoint, in milliseconds since 1970.
    pub time_ms: u64,
    /// The signed checkpoint, a note.
    pub checkpoint: Arc<str>,
}

pub(crate) struct Shared {
    pub(crate) params: LogParams,
    pub(crate) tree: Tree,
    pub(crate) health: Arc<Health>,
    pub(crate) index: Option<Arc<Index>>,
    /// The table of keys that another process writes, for looking up.
    pub(crate) others_keys: Option<Arc<dyn KeyTable>>,
    pub(crate) key_of: Option<KeyOf>,
    pub(crate) head: RwLock<Arc<Head>>,
    /// Whether the log was rotated out.
    pub(crate) frozen: AtomicBool,
    /// The search index that the next checkpoint commits to.
    pub(crate) commitment: RwLock<Option<IndexCommitment>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("params", &self.params)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn head(&self) -> Arc<Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, head: Arc<Head>) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// The index of duplicates has the keys of all entries below this one.
    pub(crate) fn indexed_upto(&self) -> u64 {
        self.index.as_ref().map_or(0, |index| index.upto())
    }

    /// Where the index of duplicates has a key. Finding duplicates is a courtesy and an entry twice is no harm to the
    /// log, so whatever goes wrong here and in [`Shared::vouched`] means that there is none.
    pub(crate) fn indexed(&self, key: &Key) -> Option<u64> {
        self.all_indexed(&[*key]).get(key).copied()
    }

    /// Where the index of duplicates has those of these keys that it has.
    pub(crate) fn all_indexed(&self, keys: &[Key]) -> HashMap<Key, u64> {
        let size = self.head().size;
        let found = self.index.as_ref().map_or_else(|| Ok(HashMap::new()), |index| index.find(keys));
        match found {
            Ok(mut found) => {
                found.retain(|_, position| *position < size);
                found
            }
            Err(error) => {
                tracing::warn!(%error, "looking duplicates up failed");
                HashMap::new()
            }
        }
    }

    /// The entry at a position, if it is the one of this key. The index is no part of the signed tree: a damaged one
    /// must not answer a request with somebody else's entry. Blocks: a bundle may have 16 MiB.
    pub(crate) fn vouched(&self, position: u64, key: &Key) -> Option<Bytes> {
        let entry = match self.entry(position) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(position, %error, "the entry of a duplicate cannot be read");
                return None;
            }
        };
        if self.key_of.as_ref().is_some_and(|key_of| key_of(&entry) != *key) {
            tracing::error!(
                position,
                "the index of duplicates is damaged: it names another entry. Stop the log and remove index.db; \
                 it is made anew"
            );
            return None;
        }
        Some(entry)
    }

    /// A file of the log as it is served.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Bytes>, LogError> {
        if path == CHECKPOINT {
            return Ok(Some(Bytes::copy_from_slice(self.head().checkpoint.as_bytes())));
        }
        let Ok(path) = TilePath::parse(path) else { return Ok(None) };
        let size = self.head().size;
        if TilePath::in_tree(path.kind, path.index, size).is_none_or(|own| own.width < path.width) {
            return Ok(None);
        }
        match path.kind {
            TileKind::Hashes { level } => {
                let tile = self.tree.tile(level, path.index)?;
                let hashes = tile.hashes().get(..usize::from(path.width)).unwrap_or_default();
                Ok(Some(Bytes::copy_from_slice(hashes.as_flattened())))
            }
            kind if kind == self.params.format.entries() => {
                let (own, bundle) = self.bundle(path.index)?;
                if own.width == path.width {
                    return Ok(Some(bundle));
                }
                let entries = self.params.format.split(own, &bundle)?;
                let mut narrow = Vec::new();
                for entry in entries.iter().take(usize::from(path.width)) {
                    self.params.format.push(&mut narrow, entry)?;
                }
                Ok(Some(narrow.into()))
            }
            _ => Ok(None),
        }
    }

    /// A bundle as wide as it is now, checked.
    fn bundle(&self, index: u64) -> Result<(TilePath, Bytes), LogError> {
        let kind = self.params.format.entries();
        let mut size = self.head().size;
        loop {
            let path = TilePath::in_tree(kind, index, size).ok_or_else(|| {
                LogError::OutOfTree(format!("there is no bundle {index} in a tree of size {size}"))
            })?;
            if let Some(bundle) = self.tree.bundle(path)? {
                return Ok((path, bundle.into()));
            }
            // A partial bundle goes when a wider one is published.
            let now = self.head().size;
            if now == size {
                return Err(LogError::corrupt(path, "the bundle is missing"));
            }
            size = now;
        }
    }

    /// An entry as it is stored.
    pub(crate) fn entry(&self, index: u64) -> Result<Bytes, LogError> {
        let (path, bundle) = self.bundle(index / u64::from(TILE_WIDTH))?;
        let place = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        let entries = self.params.format.split(path, &bundle)?;
        match entries.get(place) {
            Some(entry) => Ok(bundle.slice_ref(entry)),
            None => Err(LogError::OutOfTree(format!("there is no entry {index}"))),
        }
    }

    /// The entries from an index on to the end of its bundle or of a tree of this size; one at least.
    pub(crate) fn entries_from(&self, from: u64, size: u64) -> Result<Vec<Bytes>, LogError> {
        let (path, bundle) = self.bundle(from / u64::from(TILE_WIDTH))?;
        entries_in(self.params.format, path, &bundle, from..size)
    }

    /// The search index that the next checkpoint commits to.
    pub(crate) fn commitment(&self) -> Option<IndexCommitment> {
        *self.commitment.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The extension lines of the next checkpoint.
    pub(crate) fn extensions(&self) -> Vec<String> {
        self.commitment().iter().map(IndexCommitment::to_line).collect()
    }

    /// The leaf hash of an entry, from the tree alone.
    pub(crate) fn leaf_hash(&self, index: u64) -> Result<Hash, LogError> {
        let tree = self.tree_up_to(self.head().size)?;
        if index < tree.size {
            tree.node(Node { level: 0, index })
        } else {
            Err(LogError::OutOfTree(format!("there is no entry {index}")))
        }
    }

    /// Up to where keys can be looked up, and where this one was found.
    fn look_up(&self, key: &Key) -> Result<(u64, Option<u64>), LogError> {
        // What is known is asked before the look-up, which may then know more but not less.
        let Some(table) = &self.others_keys else {
            let upto = self.indexed_upto();
            return Ok((upto, self.indexed(key)));
        };
        let failed = || LogError::io("looking a key up");
        let upto = table.upto().map_err(failed())?;
        Ok((upto, table.find(&[*key]).map_err(failed())?.get(key).copied()))
    }

    /// The position of the entry with this leaf hash, in a log whose keys are the leaf hashes of its entries.
    pub(crate) fn find_leaf(&self, leaf: &Hash) -> Result<Option<u64>, LogError> {
        let (indexed, found) = self.look_up(leaf)?;
        let size = self.head().size;
        let tree = self.tree_up_to(size)?;
        let is_at = |index: u64| tree.node(Node { level: 0, index }).map(|hash| hash == *leaf);
        // The index is no part of the signed tree, and what it says is held against that.
        if let Some(found) = found
            && found < size
            && is_at(found)?
        {
            return Ok(Some(found));
        }
        // The index is behind by a moment.
        for index in indexed..size {
            if is_at(index)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The position of the entry with this key, in a log whose keys can be had from its entries.
    pub(crate) fn find_key(&self, key: &Key) -> Result<Option<u64>, LogError> {
        let Some(key_of) = &self.key_of else { return Ok(None) };
        let (mut next, found) = self.look_up(key)?;
        let size = self.head().size;
        if let Some(found) = found
            && found < size
            && self.vouched(found, key).is_some()
        {
            return Ok(Some(found));
        }
        // The first entry is in the index under its leaf hash, whatever the keys of the others are.
        if key_of(&self.params.genesis.stored) == *key {
            return Ok((size > 0).then_some(0));
        }
        // The index is behind by a moment.
        while next < size {
            let (path, bundle) = self.bundle(next / u64::from(TILE_WIDTH))?;
            let first = path.index * u64::from(TILE_WIDTH);
            let entries = self.params.format.split(path, &bundle)?;
            let place = entries.iter().zip(first..).find(|(entry, at)| *at >= next && key_of(entry) == *key);
            if let Some((_, found)) = place {
                return Ok(Some(found));
            }
            next = first + u64::from(path.width);
        }
        Ok(None)
    }

    /// The tree as it was at some size up to the present one.
    pub(crate) fn tree_up_to(&self, size: u64) -> Result<TreeAt<'_>, LogError> {
        let now = self.head().size;
        if size > now {
            return Err(LogError::OutOfTree(format!("the tree has size {now}, {size} was asked for")));
        }
        Ok(TreeAt { tree: &self.tree, size })
    }
}

/// The entries of a bundle from the first one of a range on, to its end; one at least.
pub(crate) fn entries_in(
    format: Format,
    path: TilePath,
    bundle: &Bytes,
    wanted: std::ops::Range<u64>,
) -> Result<Vec<Bytes>, LogError> {
    let first = path.index * u64::from(TILE_WIDTH);
    let entries = format.split(path, bundle)?;
    let within = entries.iter().zip(first..wanted.end).skip_while(|(_, index)| *index < wanted.start);
    let found: Vec<Bytes> = within.map(|(entry, _)| bundle.slice_ref(entry)).collect();
    if found.is_empty() {
        let (from, size) = (wanted.start, wanted.end);
        return Err(LogError::OutOfTree(format!("there is no entry {from} in a tree of size {size}")));
    }
    Ok(found)
}
