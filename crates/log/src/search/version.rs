//! The map as it was at a size of the log: its upper levels, in memory. What lies below is made from the store when it
//! is asked for, a few hundred keys at 10^6.

use std::collections::BTreeSet;

use countersign_tlog::Hash;
use countersign_tlog::map::{IndexCommitment, KeyedHash, MapProof, Subtree, bit, descend};

use super::postings::leaf_at;
use super::store::{Reader, StoreError};

/// How many levels are in memory.
const DEPTH: usize = 12;
pub(super) const BUCKETS: usize = 1 << DEPTH;

/// The upper levels of the map of one size.
pub(super) struct Version {
    pub(super) size: u64,
    key_id: Option<Hash>,
    /// The root is 1, the halves of `n` are `2n` and `2n + 1`.
    nodes: Vec<Subtree>,
    /// The parts below which have changed since the version before.
    pub(super) touched: BTreeSet<usize>,
}

/// The part of the map below the levels in memory where a key lies.
pub(super) fn bucket_of(key: &Hash) -> usize {
    (0..DEPTH).fold(0, |bucket, depth| bucket << 1 | usize::from(bit(key, depth)))
}

/// The first and the last key that begin with the same bits.
fn range(key: &Hash, bits: usize) -> (Hash, Hash) {
    let (mut first, mut last) = (*key, *key);
    for (at, (low, high)) in first.iter_mut().zip(&mut last).enumerate() {
        let kept = bits.saturating_sub(8 * at).min(8);
        let free = u8::try_from(0xff_u16 >> kept).unwrap_or_default();
        *low &= !free;
        *high |= free;
    }
    (first, last)
}

/// All leaves between two keys as they were at a size.
fn leaves(reader: &dyn Reader, (first, last): (Hash, Hash), size: u64) -> Result<Vec<KeyedHash>, StoreError> {
    let mut found = Vec::new();
    reader.each(&first, &last, &mut |key, hash, newest| {
        found.push((KeyedHash { key, hash }, newest));
        Ok(())
    })?;
    let mut leaves = Vec::with_capacity(found.len());
    for (entry, newest) in found {
        if newest < size {
            leaves.push(entry);
        } else {
            leaves.extend(leaf_at(reader, &entry.key, size)?.map(|leaf| leaf.entry()));
        }
    }
    Ok(leaves)
}

impl Version {
    /// The map of a size that the store has reached. `key_id` is that of its [`Terms`](super::Terms).
    pub(super) fn build(reader: &dyn Reader, size: u64, key_id: Option<Hash>) -> Result<Self, StoreError> {
        let nodes = vec![Subtree::Empty; 2 * BUCKETS];
        let empty = Self { size, key_id, nodes, touched: BTreeSet::new() };
        empty.renewed(reader, size, &(0..BUCKETS).collect())
    }

    /// The map of a later size, when only terms in these buckets have got entries since.
    pub(super) fn renewed(
        &self,
        reader: &dyn Reader,
        size: u64,
        buckets: &BTreeSet<usize>,
    ) -> Result<Self, StoreError> {
        let (key_id, nodes) = (self.key_id, self.nodes.clone());
        let mut next = Self { size, key_id, nodes, touched: buckets.clone() };
        let mut above = BTreeSet::new();
        for bucket in buckets {
            let mut key = [0; 32];
            let bits = u16::try_from(bucket << (16 - DEPTH)).unwrap_or_default();
            key.iter_mut().zip(bits.to_be_bytes()).for_each(|(byte, bits)| *byte = bits);
            let leaves = leaves(reader, range(&key, DEPTH), size)?;
            next.set(BUCKETS + bucket, Subtree::of(&leaves, DEPTH));
            above.insert((BUCKETS + bucket) / 2);
        }
        // From the largest number up: those below come first.
        while let Some(node) = above.pop_last() {
            next.set(node, Subtree::join(next.node(2 * node), next.node(2 * node + 1)));
            if node > 1 {
                above.insert(node / 2);
            }
        }
        Ok(next)
    }

    fn node(&self, at: usize) -> Subtree {
        self.nodes.get(at).copied().unwrap_or_default()
    }

    fn set(&mut self, at: usize, subtree: Subtree) {
        if let Some(node) = self.nodes.get_mut(at) {
            *node = subtree;
        }
    }

    /// What a checkpoint says of it.
    pub(super) fn commitment(&self) -> IndexCommitment {
        IndexCommitment { size: self.size, root: self.node(1).hash(), key_id: self.key_id }
    }

    /// Proves what it has for a key.
    pub(super) fn prove(&self, reader: &dyn Reader, key: &Hash) -> Result<MapProof, StoreError> {
        let mut siblings = Vec::new();
        let mut at = 1;
        while siblings.len() < DEPTH && matches!(self.node(at), Subtree::Inner(_)) {
            at = 2 * at + usize::from(bit(key, siblings.len()));
            siblings.push(self.node(at ^ 1).hash());
        }
        let end = match self.node(at) {
            Subtree::Empty => None,
            _ => descend(&leaves(reader, range(key, siblings.len()), self.size)?, key, &mut siblings),
        };
        let end = match end {
            Some(key) => leaf_at(reader, &key, self.size)?,
            None => None,
        };
        Ok(MapProof { siblings, end })
    }
}
