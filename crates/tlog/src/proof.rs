//! Making proofs: from any source of subtree hashes, or from tiles.
//!
//! Proofs need only the roots of complete subtrees, which never change once the subtree is full. So one source
//! serves every size of the tree up to the newest, and the same code runs in the log, which has its right edge
//! in memory, and in a client, which fetches tiles.

use std::collections::HashMap;

use crate::merkle::{Frontier, node_hash};
use crate::tile::{self, TILE_HEIGHT, TILE_WIDTH, TileError, TileKind, TilePath};
use crate::{Hash, merkle};

/// A complete subtree: 2^level leaves, beginning at leaf index · 2^level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// The height of the subtree; 0 is a leaf.
    pub level: u8,
    /// Which subtree of that height, from 0.
    pub index: u64,
}

/// Where the roots of complete subtrees come from.
pub trait HashSource {
    /// What goes wrong in finding one.
    type Error;

    /// The root of a complete subtree.
    ///
    /// # Errors
    /// The source's own, when the subtree is not complete or cannot be read.
    fn node(&self, node: Node) -> Result<Hash, Self::Error>;
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// No such leaf.
    #[error("leaf {index} is not in a tree of size {size}")]
    IndexOutOfTree {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// No tree continues a larger one.
    #[error("a tree of size {new} cannot continue one of size {old}")]
    Shrinking {
        /// The size of the older tree.
        old: u64,
        /// The size of the newer tree.
        new: u64,
    },
    /// The source failed.
    #[error(transparent)]
    Source(#[from] E),
}

/// The largest power of two below `n`, which is at least 2: where RFC 6962 splits a tree.
fn split(n: u64) -> u64 {
    1_u64 << (63 - (n - 1).leading_zeros())
}

/// The complete subtrees that make up the leaves `start..end`, largest first. `start` is a multiple of a power
/// of two not below their number, as in every range of a proof.
fn subtrees(start: u64, end: u64) -> impl DoubleEndedIterator<Item = Node> {
    let count = end - start;
    (0..64_u8).rev().filter(move |level| count >> level & 1 == 1).map(move |level| {
        // The leaves of the larger subtrees come first.
        let before = (count >> level ^ 1) << level;
        Node { level, index: (start + before) >> level }
    })
}

fn range_root<S: HashSource>(source: &S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let mut root = None;
    for node in subtrees(start, end).rev() {
        let left = source.node(node)?;
        root = Some(root.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(root.unwrap_or_else(merkle::empty_root))
}

/// The root of the tree of some size.
///
/// # Errors
/// The source's.
pub fn root<S: HashSource>(source: &S, size: u64) -> Result<Hash, S::Error> {
    range_root(source, 0, size)
}

/// The right edge of the tree of some size, to add leaves to.
///
/// # Errors
/// The source's.
pub fn frontier<S: HashSource>(source: &S, size: u64) -> Result<Frontier, S::Error> {
    let peaks = subtrees(0, size).map(|node| source.node(node)).collect::<Result<Vec<_>, _>>()?;
    Ok(Frontier::from_peaks(size, peaks))
}

/// The inclusion proof of a leaf in the tree of some size (RFC 6962 section 2.1.1).
///
/// # Errors
/// [`BuildError::IndexOutOfTree`] and the source's.
pub fn inclusion<S: HashSource>(
    source: &S,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, BuildError<S::Error>> {
    if index >= size {
        return Err(BuildError::IndexOutOfTree { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut ranges = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    Ok(ranges.iter().rev().map(|(s, e)| range_root(source, *s, *e)).collect::<Result<_, _>>()?)
}

/// The consistency proof from an older to a newer size of the tree (RFC 6962 section 2.1.2); empty from the
/// empty tree and between equal sizes.
///
/// # Errors
/// [`BuildError::Shrinking`] and the source's.
pub fn consistency<S: HashSource>(source: &S, old: u64, new: u64) -> Result<Vec<Hash>, BuildError<S::Error>> {
    if old > new {
        return Err(BuildError::Shrinking { old, new });
    }
    let mut ranges = Vec::new();
    if old > 0 {
        let (mut start, mut end) = (0, new);
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                ranges.push((middle, end));
                end = middle;
            } else {
                ranges.push((start, middle));
                start = middle;
            }
        }
        // The old tree itself is known to whoever asks; a subtree of it is not.
        if start > 0 {
            ranges.push((start, end));
        }
    }
    Ok(ranges.iter().rev().map(|(s, e)| range_root(source, *s, *e)).collect::<Result<_, _>>()?)
}

/// Where a node is found in tiles: the tile's level and index, and the hashes in it to be hashed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInTile {
    /// The level of the tile.
    pub level: u8,
    /// The index of the tile on its level.
    pub index: u64,
    /// The first hash in the tile, 0 to 255.
    pub first: u16,
    /// How many hashes, a power of two up to 128.
    pub count: u16,
}

impl Node {
    /// Where this node is found in the tiles of a tree of some size.
    ///
    /// # Errors
    /// [`TileError::OutOfTree`] when the subtree is not complete in that tree.
    pub fn in_tiles(self, size: u64) -> Result<NodeInTile, TileError> {
        let end = (u128::from(self.index) + 1) << self.level.min(64);
        if self.level >= 64 || end > u128::from(size) {
            return Err(TileError::OutOfTree { size });
        }
        let height = self.level % TILE_HEIGHT;
        let first = self.index << height;
        Ok(NodeInTile {
            level: self.level / TILE_HEIGHT,
            index: first / u64::from(TILE_WIDTH),
            first: u16::try_from(first % u64::from(TILE_WIDTH)).unwrap_or(0),
            count: 1 << height,
        })
    }
}

/// Tiles at hand, as a source of hashes. A missing one is named in the error, so a client fetches it, puts it
/// in and asks again.
///
/// Nothing here is verified: whoever makes a proof from fetched tiles verifies it against a signed root.
///
/// ```
/// use countersign_tlog::{merkle, proof, tile::TileError};
/// let leaves = [merkle::leaf_hash(b"a"), merkle::leaf_hash(b"b")];
/// let root = merkle::node_hash(&leaves[0], &leaves[1]);
/// let mut tiles = proof::TileSet::new(2);
/// let made = loop {
///     match proof::inclusion(&tiles, 0, 2) {
///         Err(proof::BuildError::Source(TileError::Missing(path))) => tiles.insert(path, &leaves.concat())?,
///         other => break other,
///     }
/// };
/// merkle::verify_inclusion(&leaves[0], 0, 2, &made?, &root)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TileSet {
    size: u64,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
}

impl TileSet {
    /// An empty set for a tree of some size.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, tiles: HashMap::new() }
    }

    /// Puts a hash tile in.
    ///
    /// # Errors
    /// [`TileError::Length`] when the bytes do not fit the width, [`TileError::Path`] when it is no hash tile,
    /// [`TileError::OutOfTree`] when it is narrower than the tile of this tree.
    pub fn insert(&mut self, path: TilePath, bytes: &[u8]) -> Result<(), TileError> {
        let TileKind::Hashes { level } = path.kind else {
            return Err(TileError::Path("it is not one of a hash tile"));
        };
        match TilePath::in_tree(path.kind, path.index, self.size) {
            Some(own) if own.width <= path.width => {}
            _ => return Err(TileError::OutOfTree { size: self.size }),
        }
        self.tiles.insert((level, path.index), tile::parse_hashes(bytes, path.width)?);
        Ok(())
    }
}

impl HashSource for TileSet {
    type Error = TileError;

    fn node(&self, node: Node) -> Result<Hash, TileError> {
        let size = self.size;
        let place = node.in_tiles(size)?;
        let missing = || {
            TilePath::in_tree(TileKind::Hashes { level: place.level }, place.index, size)
                .map_or(TileError::OutOfTree { size }, TileError::Missing)
        };
        let hashes = self.tiles.get(&(place.level, place.index)).ok_or_else(missing)?;
        let first = usize::from(place.first);
        hashes.get(first..first + usize::from(place.count)).and_then(tile::subtree_root).ok_or_else(missing)
    }
}

/// A whole tree as a source: the hashes of all of its leaves.
///
/// ```
/// use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
/// use countersign_tlog::proof::{Leaves, inclusion, root};
/// let tree = Leaves((0..5_u8).map(|entry| leaf_hash(&[entry])).collect());
/// let proof = inclusion(&tree, 3, 5)?;
/// verify_inclusion(&leaf_hash(&[3]), 3, 5, &proof, &root(&tree, 5)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves(pub Vec<Hash>);

impl HashSource for Leaves {
    type Error = TileError;

    fn node(&self, node: Node) -> Result<Hash, TileError> {
        let outside = || TileError::OutOfTree { size: self.0.len() as u64 };
        let place = |index: u64| {
            let leaf = u128::from(index) << node.level.min(64);
            usize::try_from(leaf).map_err(|_| outside())
        };
        let leaves = place(node.index)?..place(node.index.saturating_add(1))?;
        self.0.get(leaves).and_then(tile::subtree_root).ok_or_else(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf_hash, verify_consistency, verify_inclusion};

    fn leaves(n: u64) -> Leaves {
        Leaves((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    fn tiles_of(leaves: &Leaves) -> TileSet {
        let mut row = leaves.0.clone();
        let size = row.len() as u64;
        let mut set = TileSet::new(size);
        for level in 0.. {
            for (index, chunk) in row.chunks(256).enumerate() {
                let path = TilePath::in_tree(TileKind::Hashes { level }, index as u64, size).unwrap();
                set.insert(path, &chunk.concat()).unwrap();
            }
            row = row.as_chunks::<256>().0.iter().map(|c| tile::subtree_root(c).unwrap()).collect();
            if row.is_empty() {
                return set;
            }
        }
        set
    }

    #[test]
    fn proofs_for_every_size_to_300_verify() {
        let source = leaves(300);
        let mut tree = Frontier::default();
        for size in 1..=300_u64 {
            tree.push(source.0[usize::try_from(size).unwrap() - 1]);
            assert_eq!(root(&source, size).unwrap(), tree.root());
            assert_eq!(frontier(&source, size).unwrap(), tree);
            let step = if size < 40 { 1 } else { 17 };
            for index in (0..size).step_by(step) {
                let proof = inclusion(&source, index, size).unwrap();
                let leaf = source.0[usize::try_from(index).unwrap()];
                verify_inclusion(&leaf, index, size, &proof, &tree.root()).unwrap();
                let old_root = root(&source, index).unwrap();
                let proof = consistency(&source, index, size).unwrap();
                verify_consistency(index, &old_root, size, &tree.root(), &proof).unwrap();
            }
            assert!(consistency(&source, size, size).unwrap().is_empty());
        }
        assert!(matches!(inclusion(&source, 5, 5), Err(BuildError::IndexOutOfTree { index: 5, size: 5 })));
        assert!(matches!(consistency(&source, 6, 5), Err(BuildError::Shrinking { old: 6, new: 5 })));
    }

    #[test]
    fn tiles_give_the_same_proofs_as_the_whole_tree() {
        for size in [1, 2, 255, 256, 257, 511, 512, 600, 65_535, 65_536, 65_537, 66_000] {
            let source = leaves(size);
            let tiles = tiles_of(&source);
            assert_eq!(root(&tiles, size).unwrap(), root(&source, size).unwrap());
            for index in [0, 1, 255, 256, size / 2, size - 1].into_iter().filter(|i| *i < size) {
                assert_eq!(inclusion(&tiles, index, size).unwrap(), inclusion(&source, index, size).unwrap());
                let old = index + 1;
                assert_eq!(consistency(&tiles, old, size).unwrap(), consistency(&source, old, size).unwrap());
            }
            assert_eq!(tiles.node(Node { level: 0, index: size }), Err(TileError::OutOfTree { size }));
        }
    }

    #[test]
    fn missing_and_narrow_tiles_are_named() {
        let mut tiles = TileSet::new(300);
        let missing = TilePath { kind: TileKind::Hashes { level: 0 }, index: 1, width: 44 };
        assert_eq!(inclusion(&tiles, 299, 300), Err(BuildError::Source(TileError::Missing(missing))));
        assert!(tiles.insert(TilePath { width: 43, ..missing }, &[0; 43 * 32]).is_err());
        assert!(tiles.insert(TilePath { kind: TileKind::Entries, ..missing }, &[0; 44 * 32]).is_err());
        assert!(tiles.insert(missing, &[0; 45 * 32]).is_err());
        assert!(tiles.insert(TilePath { index: 2, ..missing }, &[0; 44 * 32]).is_err());
        // A full tile serves where a partial one was asked for.
        tiles.insert(missing.full(), &[0; 256 * 32]).unwrap();
        assert!(tiles.node(Node { level: 2, index: 64 }).is_ok());
    }

    #[test]
    fn nodes_at_the_edges_of_the_number_range_are_refused_without_overflow() {
        for level in [0, 8, 63, 64, 65, 255] {
            for index in [1, u64::MAX / 2, u64::MAX] {
                let placed = Node { level, index }.in_tiles(u64::MAX);
                assert_eq!(
                    placed.is_ok(),
                    level < 9 && index == 1 || level == 0 && index < u64::MAX,
                    "{level} {index}"
                );
            }
        }
        assert_eq!(split(u64::MAX), 1 << 63);
        assert_eq!(subtrees(0, u64::MAX).count(), 64);
    }

    proptest::proptest! {
        #[test]
        fn any_two_sizes_are_consistent(new in 1_u64..2000, at in 0_u64..2000) {
            let old = at % (new + 1);
            let source = leaves(new);
            let (old_root, new_root) = (root(&source, old).unwrap(), root(&source, new).unwrap());
            let mut proof = consistency(&source, old, new).unwrap();
            verify_consistency(old, &old_root, new, &new_root, &proof).unwrap();
            if let Some(hash) = proof.last_mut() {
                hash[0] ^= 1;
                proptest::prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof).is_err());
            }
        }
    }
}
