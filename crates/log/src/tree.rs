//! The tree in memory: its right edge, recent tiles, and any other tile read back and checked.
//!
//! A full tile on disk is believed only if its root is the hash which the tile above has for it, and so on up to
//! the edge in memory, whose root is the signed one. So a flipped bit is found when it is read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use countersign_tlog::proof::{HashSource, Node};
use countersign_tlog::tile::{self, TILE_WIDTH, TileKind, TilePath};
use countersign_tlog::{Hash, merkle};

use crate::storage::Storage;
use crate::wal::Base;
use crate::{Format, LogError};

/// How many full tiles stay in memory, at 16 KiB each.
const CACHED_TILES: usize = 1024;

/// A tile with its inner nodes, so that every node of a proof is looked up and not hashed again.
#[derive(Debug, Clone, Default)]
pub(crate) struct TileTree {
    /// Row `h` has the roots of the complete subtrees of 2^h hashes.
    rows: [Vec<Hash>; 9],
}

impl TileTree {
    pub(crate) fn from_hashes(hashes: &[Hash]) -> Self {
        let mut tree = Self::default();
        for hash in hashes {
            tree.push(*hash);
        }
        tree
    }

    fn push(&mut self, hash: Hash) {
        let mut node = hash;
        for row in &mut self.rows {
            row.push(node);
            match row.as_slice() {
                [.., left, right] if row.len() % 2 == 0 => node = merkle::node_hash(left, right),
                _ => return,
            }
        }
    }

    pub(crate) fn hashes(&self) -> &[Hash] {
        let [first, ..] = &self.rows;
        first
    }

    /// The root, once the tile is full.
    pub(crate) fn root(&self) -> Option<Hash> {
        let [.., last] = &self.rows;
        last.first().copied()
    }

    fn node(&self, height: u8, index: usize) -> Option<Hash> {
        self.rows.get(usize::from(height))?.get(index).copied()
    }

    /// The roots of the largest complete subtrees, largest first.
    pub(crate) fn peaks(&self) -> impl DoubleEndedIterator<Item = &Hash> {
        let width = self.hashes().len();
        self.rows
            .iter()
            .enumerate()
            .rev()
            .filter(move |(h, _)| width >> h & 1 == 1)
            .filter_map(|(_, r)| r.last())
    }
}

/// A tile that became full.
#[derive(Debug)]
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) tree: TileTree,
}

/// The right edge: the partial tile of each level.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<TileTree>,
}

impl Edge {
    pub(crate) fn from_base(base: &Base) -> Option<Self> {
        let fits = base.levels.iter().zip(0_u8..).all(|(hashes, level)| {
            tile::items_at_level(level, base.size) % u64::from(TILE_WIDTH) == hashes.len() as u64
        });
        let levels: Vec<_> = base.levels.iter().map(|hashes| TileTree::from_hashes(hashes)).collect();
        let above = u8::try_from(levels.len()).ok()?;
        (fits && tile::items_at_level(above, base.size) == 0).then_some(Self { size: base.size, levels })
    }

    /// What a segment of the write-ahead file begins with.
    pub(crate) fn to_base(&self, bundle: &[u8]) -> Base {
        let levels = self.levels.iter().map(|tree| tree.hashes().to_vec()).collect();
        Base { size: self.size, levels, bundle: bundle.to_vec() }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The number of entries in the partial bundle.
    pub(crate) fn width(&self) -> usize {
        self.levels.first().map_or(0, |tree| tree.hashes().len())
    }

    /// Adds a leaf; tiles that become full by it go to `full`.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0_u8..8 {
            if self.levels.len() == usize::from(level) {
                self.levels.push(TileTree::default());
            }
            let Some(tree) = self.levels.get_mut(usize::from(level)) else { return };
            tree.push(hash);
            let Some(root) = tree.root() else { return };
            let index = tile::items_at_level(level + 1, self.size) - 1;
            full.push(FullTile { level, index, tree: std::mem::take(tree) });
            hash = root;
        }
    }

    pub(crate) fn root(&self) -> Hash {
        // The highest level has the largest subtrees; from the right, the smallest come first.
        let mut peaks = self.levels.iter().flat_map(|tree| tree.peaks().rev());
        let Some(last) = peaks.next() else { return merkle::empty_root() };
        peaks.fold(*last, |right, left| merkle::node_hash(left, &right))
    }

    /// The partial tiles, with their paths.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = (TilePath, &TileTree)> {
        self.levels.iter().zip(0_u8..).filter_map(|(tree, level)| {
            let index = tile::items_at_level(level, self.size) / u64::from(TILE_WIDTH);
            let width = u16::try_from(tree.hashes().len()).ok().filter(|w| *w > 0)?;
            Some((TilePath { kind: TileKind::Hashes { level }, index, width }, tree))
        })
    }
}

#[derive(Debug, Default)]
struct Tiles {
    /// The partial tile of each level and recent or recently read full tiles.
    by_place: HashMap<(u8, u64), Arc<TileTree>>,
    /// The full ones, oldest first.
    full: VecDeque<(u8, u64)>,
}

/// The whole tree, as far as it is committed. Shared by the writer and all readers.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) format: Format,
    tiles: RwLock<Tiles>,
}

impl Tree {
    pub(crate) fn new(storage: Arc<dyn Storage>, format: Format) -> Self {
        Self { storage, format, tiles: RwLock::default() }
    }

    /// Takes in what a batch added: the tiles that became full, and the new edge.
    pub(crate) fn extend(&self, full: Vec<FullTile>, edge: &Edge) {
        let mut tiles = self.tiles.write().unwrap_or_else(PoisonError::into_inner);
        for tile in full {
            tiles.by_place.insert((tile.level, tile.index), Arc::new(tile.tree));
            tiles.full.push_back((tile.level, tile.index));
        }
        tiles.put(edge);
    }

    /// Takes in the edge of a larger tree that another process wrote: what became full by it is in the storage.
    pub(crate) fn follow(&self, edge: &Edge) {
        let mut tiles = self.tiles.write().unwrap_or_else(PoisonError::into_inner);
        // Together: who reads in between would find no edge.
        tiles.by_place.retain(|_, tile| tile.root().is_some());
        tiles.put(edge);
    }

    fn cached(&self, level: u8, index: u64) -> Option<Arc<TileTree>> {
        self.tiles.read().unwrap_or_else(PoisonError::into_inner).by_place.get(&(level, index)).cloned()
    }

    /// A tile of the tree, from memory or from disk; from disk only if the tile above vouches for it.
    pub(crate) fn tile(&self, level: u8, index: u64) -> Result<Arc<TileTree>, LogError> {
        if let Some(tree) = self.cached(level, index) {
            return Ok(tree);
        }
        let path = TilePath { kind: TileKind::Hashes { level }, index, width: TILE_WIDTH };
        if level >= 7 {
            return Err(LogError::OutOfTree(format!("{path} is not in the tree")));
        }
        let above = self.tile(level + 1, index / u64::from(TILE_WIDTH))?;
        let place = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        let expected = *above
            .hashes()
            .get(place)
            .ok_or_else(|| LogError::OutOfTree(format!("{path} is not in the tree")))?;
        let tree = Arc::new(self.read_full(path, &expected)?);
        let mut tiles = self.tiles.write().unwrap_or_else(PoisonError::into_inner);
        if tiles.by_place.insert((level, index), tree.clone()).is_none() {
            tiles.full.push_back((level, index));
        }
        tiles.shrink();
        Ok(tree)
    }

    fn read_full(&self, path: TilePath, expected: &Hash) -> Result<TileTree, LogError> {
        let name = path.to_string();
        let bytes = self
            .storage
            .read(&name)
            .map_err(LogError::io(format!("reading {name}")))?
            .ok_or_else(|| LogError::corrupt(&name, "the tile is missing"))?;
        let hashes = tile::parse_hashes(&bytes, TILE_WIDTH).map_err(|e| LogError::corrupt(&name, e))?;
        let tree = TileTree::from_hashes(&hashes);
        if tree.root().as_ref() == Some(expected) {
            Ok(tree)
        } else {
            Err(LogError::corrupt(&name, "its hashes are not those of the signed tree"))
        }
    }

    /// The entries of a bundle, each checked against its hash in the tree. The path's width says how much of the
    /// bundle there is at some size; the file may have grown since.
    pub(crate) fn bundle(&self, path: TilePath) -> Result<Option<Vec<u8>>, LogError> {
        let name = path.to_string();
        let read = |name: &str| self.storage.read(name).map_err(LogError::io(format!("reading {name}")));
        let Some(bytes) = read(&name)? else { return Ok(None) };
        let hashes = self.tile(0, path.index)?;
        let entries = self.format.split(path, &bytes)?;
        for (entry, (expected, place)) in entries.iter().zip(hashes.hashes().iter().zip(0_u16..)) {
            if self.format.leaf_hash(entry).as_ref() != Some(expected) {
                return Err(LogError::corrupt(name, format!("entry {place} is not that of the signed tree")));
            }
        }
        if entries.len() > hashes.hashes().len() {
            return Err(LogError::corrupt(name, "it has entries beyond the signed tree"));
        }
        Ok(Some(bytes))
    }
}

impl Tiles {
    fn put(&mut self, edge: &Edge) {
        for (path, tree) in edge.tiles() {
            if let TileKind::Hashes { level } = path.kind {
                self.by_place.insert((level, path.index), Arc::new(tree.clone()));
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.full.len() > CACHED_TILES {
            if let Some(oldest) = self.full.pop_front() {
                self.by_place.remove(&oldest);
            }
        }
    }
}

/// The committed tree at some size; nodes beyond it are refused.
#[derive(Debug)]
pub(crate) struct TreeAt<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) size: u64,
}

impl HashSource for TreeAt<'_> {
    type Error = LogError;

    fn node(&self, node: Node) -> Result<Hash, LogError> {
        let place = node.in_tiles(self.size)?;
        let tile = self.tree.tile(place.level, place.index)?;
        let height = node.level % tile::TILE_HEIGHT;
        tile.node(height, usize::from(place.first >> height))
            .ok_or_else(|| LogError::OutOfTree(format!("{node:?} is not in the tree of size {}", self.size)))
    }
}

#[cfg(test)]
mod tests {
    use countersign_tlog::merkle::{Frontier, leaf_hash};
    use countersign_tlog::proof;

    use super::*;
    use crate::storage::Files;

    #[test]
    fn the_edge_has_the_root_of_the_tree_at_every_size() {
        let (mut edge, mut frontier, mut full) = (Edge::default(), Frontier::default(), Vec::new());
        assert_eq!(edge.root(), frontier.root());
        for i in 0..66_000_u32 {
            let leaf = leaf_hash(&i.to_be_bytes());
            edge.push(leaf, &mut full);
            frontier.push(leaf);
            if i < 700 || i % 97 == 0 || i > 65_500 {
                assert_eq!(edge.root(), frontier.root(), "size {}", i + 1);
                let again = Edge::from_base(&edge.to_base(b"")).unwrap();
                assert_eq!(again.root(), frontier.root());
                assert_eq!(again.width(), (i as usize + 1) % 256);
            }
        }
        let levels: Vec<_> = full.iter().filter(|t| t.level > 0).map(|t| (t.level, t.index)).collect();
        assert_eq!(levels, [(1, 0)]);
        assert_eq!(full.iter().filter(|t| t.level == 0).count(), 257);
        assert_eq!(full[256].index, 0, "the level 1 tile follows the tile that filled it");
    }

    #[test]
    fn who_reads_while_the_tree_is_followed_always_finds_its_edge() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(Arc::new(Files::new(dir.path())), Format::Rekor);
        let mut edge = Edge::default();
        for i in 0..100_u32 {
            edge.push(leaf_hash(&i.to_be_bytes()), &mut Vec::new());
        }
        tree.follow(&edge);
        std::thread::scope(|scope| {
            let following = scope.spawn(|| (0..20_000).for_each(|_| tree.follow(&edge)));
            while !following.is_finished() {
                tree.tile(0, 0).unwrap();
            }
        });
    }

    #[test]
    fn a_base_that_does_not_fit_its_size_is_refused() {
        let mut edge = Edge::default();
        for i in 0..300_u32 {
            edge.push(leaf_hash(&i.to_be_bytes()), &mut Vec::new());
        }
        let good = edge.to_base(b"");
        assert!(Edge::from_base(&good).is_some());
        assert!(Edge::from_base(&Base { size: 301, ..good.clone() }).is_none());
        assert!(Edge::from_base(&Base { size: 70_000, ..good.clone() }).is_none());
        assert!(Edge::from_base(&Base { levels: good.levels[..1].to_vec(), ..good }).is_none());
    }

    #[test]
    fn proofs_of_entries_far_back_come_from_checked_tiles() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(Arc::new(Files::new(dir.path())), Format::Rekor);
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for i in 0..1000_u32 {
            edge.push(leaf_hash(&i.to_be_bytes()), &mut full);
        }
        for tile in &full {
            let path =
                TilePath { kind: TileKind::Hashes { level: tile.level }, index: tile.index, width: 256 };
            tree.storage.replace(&path.to_string(), tile.tree.hashes().as_flattened()).unwrap();
        }
        // Only the edge is in memory.
        tree.extend(Vec::new(), &edge);
        let source = TreeAt { tree: &tree, size: 1000 };
        for index in [0, 255, 256, 767, 768, 999_u32] {
            let proof = proof::inclusion(&source, index.into(), 1000).unwrap();
            let leaf = leaf_hash(&index.to_be_bytes());
            merkle::verify_inclusion(&leaf, index.into(), 1000, &proof, &edge.root()).unwrap();
        }
        assert!(proof::inclusion(&source, 1000, 1000).is_err());
        assert!(tree.tile(0, 4).is_err() && tree.tile(1, 1).is_err() && tree.tile(0, u64::MAX).is_err());
    }
}
