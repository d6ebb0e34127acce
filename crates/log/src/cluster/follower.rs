//! Follows the tree that another process writes: every head is signed, continues the one before, and is the root of
//! the tiles that are read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use countersign_tlog::tile::{self, TILE_WIDTH, TileKind, TilePath};
use countersign_tlog::{NoteSigner, merkle, proof};

use crate::health::Health;
use crate::lock_record::{TreeHead, committed};
use crate::log::KeyOf;
use crate::recovery::{check_signed, edge_from_segments};
use crate::shared::{Head, Shared};
use crate::storage::Storage;
use crate::tree::{Edge, Tree, TreeAt};
use crate::wal::Base;
use crate::{LogError, LogParams};

/// How often the newest head's tiles are looked for before the write-ahead file is read instead: they go when a larger
/// tree has come.
const TRIES: usize = 5;

#[derive(Debug)]
pub(super) struct Follower {
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    signers: Vec<NoteSigner>,
    /// The commit that was taken in last.
    generation: Option<u64>,
}

impl Follower {
    /// Follows a log of which nothing is known yet.
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        params: LogParams,
        signers: Vec<NoteSigner>,
        key_of: Option<KeyOf>,
    ) -> Self {
        let tree = Tree::new(Arc::clone(&storage), params.format);
        let head = Head { size: 0, root: merkle::empty_root(), time_ms: 0, checkpoint: "".into() };
        let shared = Shared {
            params,
            tree,
            health: Arc::new(Health::new()),
            index: None,
            others_keys: storage.key_table(),
            key_of,
            head: RwLock::new(Arc::new(head)),
            frozen: AtomicBool::new(false),
            commitment: RwLock::default(),
        };
        Self { storage, shared: Arc::new(shared), signers, generation: None }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes in the newest tree head.
    pub(super) fn refresh(&mut self) -> Result<(), LogError> {
        let (mut head, successor) = committed(self.storage.as_ref())?;
        self.note_successor(successor.as_deref());
        for _ in 0..TRIES {
            if Some(head.generation) == self.generation {
                return Ok(());
            }
            if let Some(edge) = self.edge(&head)? {
                return self.adopt(&head, &edge);
            }
            (head, _) = committed(self.storage.as_ref())?;
        }
        let edge = edge_from_segments(self.storage.as_ref(), self.shared.params.format, &head)?;
        self.adopt(&head, &edge)
    }

    /// Whether the log has a successor now. A rotation that failed has put it back.
    fn note_successor(&self, successor: Option<&str>) {
        let was_frozen = self.shared.frozen.swap(successor.is_some(), Ordering::AcqRel);
        let origin = &self.shared.params.origin;
        match successor {
            Some(successor) if !was_frozen => {
                tracing::warn!(origin, successor, "the log was rotated out, and is only read from now on");
            }
            None if was_frozen => tracing::info!(origin, "the log goes on: its rotation was undone"),
            _ => {}
        }
    }

    /// The right edge of a tree from its partial tiles; `None` if one of them is not there, or no longer.
    fn edge(&self, head: &TreeHead) -> Result<Option<Edge>, LogError> {
        let mut levels = Vec::new();
        for level in 0..8_u8 {
            let items = tile::items_at_level(level, head.size);
            if items == 0 {
                break;
            }
            let width = u16::try_from(items % u64::from(TILE_WIDTH)).unwrap_or_default();
            if width == 0 {
                levels.push(Vec::new());
                continue;
            }
            let kind = TileKind::Hashes { level };
            let path = TilePath { kind, index: items / u64::from(TILE_WIDTH), width }.to_string();
            let bytes = self.storage.read(&path).map_err(LogError::io(format!("reading {path}")))?;
            let Some(bytes) = bytes else { return Ok(None) };
            levels.push(tile::parse_hashes(&bytes, width).map_err(|e| LogError::corrupt(path, e))?);
        }
        Ok(Edge::from_base(&Base { size: head.size, levels, bundle: Vec::new() }))
    }

    fn adopt(&mut self, next: &TreeHead, edge: &Edge) -> Result<(), LogError> {
        check_signed(next, &self.shared.params.origin, &self.signers)?;
        if edge.root() != next.root {
            return Err(LogError::corrupt(
                format!("the right edge of the tree of size {}", next.size),
                "its hashes are not those of the signed tree",
            ));
        }
        let now = self.shared.head();
        if next.size < now.size {
            return Err(self.forked(format!("it had size {} and has size {} now", now.size, next.size)));
        }
        self.shared.tree.follow(edge);
        if now.size > 0 {
            let source = TreeAt { tree: &self.shared.tree, size: next.size };
            if proof::root(&source, now.size)? != now.root {
                return Err(self.forked(format!(
                    "the signed tree of size {} does not continue the signed one of size {}",
                    next.size, now.size
                )));
            }
        }
        self.shared.publish(Arc::new(Head {
            size: next.size,
            root: next.root,
            time_ms: next.time_ms,
            checkpoint: next.note.as_str().into(),
        }));
        self.generation = Some(next.generation);
        Ok(())
    }

    /// Stops for good: the log was restored from an old backup, or two of them write.
    fn forked(&self, what: String) -> LogError {
        self.shared.health.fail(&format!("the log has forked: {what}"));
        LogError::Inconsistent(what)
    }

    /// Whether an entry with these bytes is at a place in the tree.
    pub(super) fn has(&self, index: u64, stored: &[u8]) -> Result<bool, LogError> {
        let tile = self.shared.tree.tile(0, index / u64::from(TILE_WIDTH))?;
        let place = usize::try_from(index % u64::from(TILE_WIDTH))
            .map_err(|e| LogError::io("finding an entry's place")(io::Error::other(e)))?;
        Ok(tile.hashes().get(place).copied() == self.shared.params.format.leaf_hash(stored))
    }
}
