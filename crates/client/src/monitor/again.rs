//! Reading old entries of a log kept as tiles once more: a log may show another entry in the place of one that it signed,
//! and sign nothing new.

use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
use countersign_tlog::proof::{HashSource, Leaves, Node, TileSet, inclusion};
use countersign_tlog::tile::{self, TILE_WIDTH, TileError, TileKind, TilePath};
use countersign_tlog::{Checkpoint, Hash};

use crate::ClientError;
use crate::log::LogReader;

/// The hashes of a bundle's entries, from this one on, and tiles for all other hashes.
struct Reread<'a> {
    first: u64,
    leaves: &'a Leaves,
    tiles: &'a TileSet,
}

impl HashSource for Reread<'_> {
    type Error = TileError;

    fn node(&self, node: Node) -> Result<Hash, TileError> {
        let (first, level) = (u128::from(self.first), node.level.min(64));
        let (start, end) = (u128::from(node.index) << level, (u128::from(node.index) + 1) << level);
        if start < first || end > first + self.leaves.0.len() as u128 {
            return self.tiles.node(node);
        }
        // A bundle begins where each subtree in it could.
        self.leaves.node(Node { index: node.index - (self.first >> level), ..node })
    }
}

/// Reads a bundle of entries and holds each entry against the tree. Where one is that the log did not sign there, in words;
/// nothing when there is none.
pub(super) async fn changed(
    reader: &LogReader<'_>,
    number: u64,
    tree: &Checkpoint,
) -> Result<Option<String>, ClientError> {
    let (size, first) = (tree.size, number.saturating_mul(u64::from(TILE_WIDTH)));
    let wanted = TilePath::in_tree(TileKind::Entries, number, size)
        .ok_or_else(|| ClientError::Proof(format!("there is no bundle {number}")))?;
    let end = first + u64::from(wanted.width);
    let (path, bytes) = reader.tile(wanted).await?;
    let Ok(entries) = tile::parse_entries(&bytes, path.width) else {
        return Ok(Some(format!("{path} is no bundle of entries any more")));
    };
    // A full bundle may be there where a part of it is wanted.
    let wanted = entries.iter().take(usize::from(wanted.width));
    let leaves = Leaves(wanted.map(|entry| leaf_hash(entry)).collect());
    let is_signed = |index: u64, leaf: &Hash, proof: &[Hash]| {
        verify_inclusion(leaf, index, size, proof, &tree.root).is_ok()
    };
    // One proof is over all of them: the others are beside its entry.
    let own = |tiles: &TileSet| inclusion(&Reread { first, leaves: &leaves, tiles }, first, size);
    let proof = reader.build(size, own).await?;
    if leaves.0.first().is_some_and(|leaf| is_signed(first, leaf, &proof)) {
        return Ok(None);
    }
    let each = |tiles: &TileSet| (first..end).map(|index| inclusion(tiles, index, size)).collect();
    let proofs: Vec<Vec<Hash>> = reader.build(size, each).await?;
    let wrong: Vec<u64> = (first..end)
        .zip(leaves.0.iter().zip(&proofs))
        .filter(|(index, (leaf, proof))| !is_signed(*index, leaf, proof))
        .map(|(index, _)| index)
        .collect();
    Ok(match wrong.as_slice() {
        // The tiles were others a moment ago.
        [] => None,
        [index] => Some(format!("entry {index}, in {path}, is another")),
        all if all.len() == leaves.0.len() => Some(format!(
            "entries {first} to {}, in {path}, or the hashes above them are others",
            end.saturating_sub(1)
        )),
        [index, rest @ ..] => Some(format!("entry {index} and {} more, in {path}, are others", rest.len())),
    })
}

/// Where the first entry is that was changed below `old`; nothing when the tree is of the entries that are there now, or
/// when it cannot be read.
pub(super) async fn where_changed(reader: &LogReader<'_>, old: u64, tree: &Checkpoint) -> Option<String> {
    for number in 0..old.div_ceil(u64::from(TILE_WIDTH)) {
        if let Some(place) = changed(reader, number, tree).await.ok()? {
            return Some(place);
        }
    }
    None
}
