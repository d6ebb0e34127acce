//! The Merkle tree of RFC 6962: hashes, proof verification, and the frontier from which roots are made.
//!
//! Verification is total: any index, size and list of hashes gives an answer, up to `u64::MAX`, without overflow. The
//! sizes say how many hashes a proof has, 65 at the most, and no other number is looked at.

use countersign_crypto::{HashAlgorithm, Hasher, encoding, sha256};

/// A SHA-256 hash of a leaf, a node or a tree.
pub type Hash = [u8; 32];

/// Why a proof was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf's index lies outside the tree.
    #[error("leaf {index} is not in a tree of size {size}")]
    IndexOutOfTree {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A consistency proof that goes backwards.
    #[error("a tree of size {new} cannot continue one of size {old}: a log never shrinks")]
    Shrinking {
        /// The size of the tree that should be the older.
        old: u64,
        /// The size of the tree that should be the newer.
        new: u64,
    },
    /// The number of hashes does not fit the sizes.
    #[error("the proof should have {expected} hashes, found {found}")]
    Length {
        /// The number that the sizes give.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// The proof leads to another root.
    #[error(
        "the proof leads to another root: expected {}, found {}",
        encoding::hex_encode(expected),
        encoding::hex_encode(found)
    )]
    RootMismatch {
        /// The root of the tree, from a checkpoint.
        expected: Hash,
        /// The root that the proof gives.
        found: Hash,
    },
}

/// The hash of a leaf: SHA-256 of a zero byte and the leaf (RFC 6962 section 2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    hasher.update(&[0]);
    hasher.update(leaf);
    let mut out = [0; 32];
    out.copy_from_slice(hasher.finish().as_bytes());
    out
}

/// The hash of an inner node: SHA-256 of a one byte, the left and the right hash (RFC 6962 section 2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [1; 65];
    let (l, r) = buffer.split_at_mut(33);
    if let Some(l) = l.get_mut(1..) {
        l.copy_from_slice(left);
    }
    r.copy_from_slice(right);
    sha256(&buffer)
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The number of bits of a number: 0 for 0, 64 for `u64::MAX`.
fn bit_len(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}

/// How many hashes an inclusion proof has: one per level on which the leaf's and the last leaf's paths are
/// apart, and one per left neighbour above.
fn inclusion_len(index: u64, size: u64) -> usize {
    let inner = bit_len(index ^ (size - 1));
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    (inner + border) as usize
}

/// Computes the root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// [`ProofError::IndexOutOfTree`] and [`ProofError::Length`]; both are found before anything is hashed.
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutOfTree { index, size });
    }
    let expected = inclusion_len(index, size);
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut root = *leaf;
    for sibling in proof {
        if node & 1 == 1 || node == last {
            root = node_hash(sibling, &root);
            // Skip the levels on which this node is the last one and has no sibling.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    Ok(root)
}

/// Checks that a leaf is in a tree, by its hash, its index and the tree's size and root.
///
/// # Errors
/// As [`root_from_inclusion`], and [`ProofError::RootMismatch`].
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    same_root(root, &root_from_inclusion(leaf, index, size, proof)?)
}

fn same_root(expected: &Hash, found: &Hash) -> Result<(), ProofError> {
    if expected == found {
        Ok(())
    } else {
        Err(ProofError::RootMismatch { expected: *expected, found: *found })
    }
}

/// Checks that a tree continues another: the older's leaves are the newer's first (RFC 9162 section 2.1.4.2).
///
/// Every tree continues the empty one and itself, with an empty proof.
///
/// # Errors
/// [`ProofError`]; a root which does not follow is [`ProofError::RootMismatch`].
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrinking { old: old_size, new: new_size });
    }
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(ProofError::Length { expected: 0, found: proof.len() });
        }
        if old_size == 0 {
            same_root(&empty_root(), old_root)?;
        }
        if old_size == new_size {
            same_root(new_root, old_root)?;
        }
        return Ok(());
    }
    // The proof is an inclusion proof of the largest complete subtree on the old tree's right edge, led by
    // that subtree's root unless the whole old tree is this subtree (its root is then known already).
    let shift = old_size.trailing_zeros();
    let whole = old_size.is_power_of_two();
    let (mut node, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let inner = bit_len(node ^ last);
    let border = node.checked_shr(inner).unwrap_or(0).count_ones();
    let expected = usize::from(!whole) + (inner + border) as usize;
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    let (first, rest) = match proof.split_first() {
        Some((first, rest)) if !whole => (first, rest),
        _ => (old_root, proof),
    };
    let (mut old, mut new) = (*first, *first);
    for hash in rest {
        if node & 1 == 1 || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    same_root(old_root, &old)?;
    same_root(new_root, &new)
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first. Enough to add leaves
/// and to know the root; 64 hashes at most.
///
/// ```
/// use countersign_tlog::merkle::{Frontier, leaf_hash, node_hash};
/// let mut tree = Frontier::default();
/// tree.push(leaf_hash(b"a"));
/// tree.push(leaf_hash(b"b"));
/// assert_eq!(tree.root(), node_hash(&leaf_hash(b"a"), &leaf_hash(b"b")));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Takes a tree up where it was left: its size and the roots of its complete subtrees, largest first; as many as the
    /// size has bits that are set. Of any other number, the root is that of no tree.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Self {
        Self { size, peaks }
    }

    /// As [`from_peaks`](Self::from_peaks), of what somebody else says. `None` when there are not as many as a tree of that
    /// size has.
    #[must_use]
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The roots of its complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree as it stands.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the trees of these tests have few leaves")]
mod tests {
    use super::*;

    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    /// Roots of the trees over the first 1, 2, … 8 of `LEAVES`, as published with RFC 6962's reference code.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// The tree, proofs and all, as RFC 6962 section 2.1 words them: slow and plain.
    mod naive {
        use super::super::*;

        fn split(n: usize) -> usize {
            n.next_power_of_two() / 2
        }
        pub(super) fn root(d: &[Hash]) -> Hash {
            match d {
                [] => empty_root(),
                [one] => *one,
                _ => {
                    let (l, r) = d.split_at(split(d.len()));
                    node_hash(&root(l), &root(r))
                }
            }
        }
        pub(super) fn path(m: usize, d: &[Hash]) -> Vec<Hash> {
            if d.len() <= 1 {
                return vec![];
            }
            let k = split(d.len());
            let (l, r) = d.split_at(k);
            let (mut proof, other) = if m < k { (path(m, l), root(r)) } else { (path(m - k, r), root(l)) };
            proof.push(other);
            proof
        }
        pub(super) fn consistency(m: usize, d: &[Hash]) -> Vec<Hash> {
            subproof(m, d, true)
        }
        fn subproof(m: usize, d: &[Hash], whole: bool) -> Vec<Hash> {
            if m == d.len() {
                return if whole { vec![] } else { vec![root(d)] };
            }
            let k = split(d.len());
            let (l, r) = d.split_at(k);
            let (mut proof, other) =
                if m <= k { (subproof(m, l, whole), root(r)) } else { (subproof(m - k, r, false), root(l)) };
            proof.push(other);
            proof
        }
    }

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn published_roots_are_reproduced() {
        let mut tree = Frontier::default();
        for (leaf, root) in LEAVES.iter().zip(ROOTS) {
            tree.push(leaf_hash(&encoding::hex_decode(leaf).unwrap()));
            assert_eq!(encoding::hex_encode(&tree.root()), root);
        }
        assert_eq!(
            encoding::hex_encode(&empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn every_inclusion_proof_to_size_300_verifies_and_only_at_its_place() {
        let all = leaves(300);
        let mut tree = Frontier::default();
        for size in 1..=300_u64 {
            let d = &all[..size as usize];
            tree.push(d[size as usize - 1]);
            let root = naive::root(d);
            assert_eq!(tree.root(), root);
            // Every index for small sizes; the edges and some in between for the others.
            let step = if size <= 70 { 1 } else { 13 };
            for index in (0..size).step_by(step).chain([size - 1]) {
                let proof = naive::path(index as usize, d);
                assert_eq!(proof.len(), inclusion_len(index, size));
                verify_inclusion(&d[index as usize], index, size, &proof, &root).unwrap();
                if size > 1 {
                    let other = (index + 1) % size;
                    assert!(verify_inclusion(&d[index as usize], other, size, &proof, &root).is_err());
                }
            }
        }
    }

    #[test]
    fn every_consistency_proof_to_size_130_verifies_and_only_for_its_roots() {
        let all = leaves(300);
        let sizes = (1..=130_usize).chain([255, 256, 257, 300]);
        for new in sizes {
            let new_root = naive::root(&all[..new]);
            for old in 1..=new {
                let old_root = naive::root(&all[..old]);
                let proof = naive::consistency(old, &all[..new]);
                verify_consistency(old as u64, &old_root, new as u64, &new_root, &proof).unwrap();
                let swapped = verify_consistency(old as u64, &new_root, new as u64, &old_root, &proof);
                assert_eq!(swapped.is_ok(), old == new);
            }
        }
    }

    #[test]
    fn the_empty_tree_is_continued_by_every_tree_but_has_one_root() {
        let root = naive::root(&leaves(5));
        verify_consistency(0, &empty_root(), 5, &root, &[]).unwrap();
        verify_consistency(0, &empty_root(), 0, &empty_root(), &[]).unwrap();
        assert!(verify_consistency(0, &root, 5, &root, &[]).is_err());
        assert!(verify_consistency(0, &empty_root(), 5, &root, &[root]).is_err());
        assert_eq!(
            verify_consistency(5, &root, 4, &root, &[]),
            Err(ProofError::Shrinking { old: 5, new: 4 })
        );
        assert!(verify_consistency(5, &root, 5, &empty_root(), &[]).is_err());
    }

    /// V42: sizes at the edge of the number range and proofs of the wrong length give an error, not an overflow.
    #[test]
    fn v42_proofs_at_the_edges_of_the_number_range() {
        let leaf = leaf_hash(b"x");
        for size in [0, 1, 2, 3, 255, 256, 257, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX] {
            for index in [0, 1, 2, size / 2, size.saturating_sub(1), size, u64::MAX] {
                for len in [0, 1, 2, 8, 62, 63, 64, 65, 66, 300] {
                    let proof = vec![leaf; len];
                    let result = root_from_inclusion(&leaf, index, size, &proof);
                    let fits = index < size && len == inclusion_len(index, size);
                    assert_eq!(result.is_ok(), fits, "index {index} size {size} len {len}");
                    assert!(verify_inclusion(&leaf, index, size, &proof, &[0; 32]).is_err());
                    if index != 0 || size != 0 {
                        let checked = verify_consistency(index, &leaf, size, &[0; 32], &proof);
                        assert!(checked.is_err(), "old {index} new {size} len {len}");
                    }
                }
            }
        }
        assert_eq!(
            inclusion_len(u64::MAX - 1, u64::MAX),
            63,
            "the last leaf: all but one level have a left neighbour"
        );
        assert_eq!(inclusion_len(0, u64::MAX), 64);
        // A tree of 2^63 + 1 leaves: the last leaf hangs directly under the root.
        assert_eq!(inclusion_len(1 << 63, (1 << 63) + 1), 1);
    }

    #[test]
    fn a_frontier_is_taken_up_where_it_was_left() {
        let all = leaves(77);
        let mut tree = Frontier::default();
        for leaf in &all {
            tree.push(*leaf);
            let again = Frontier::from_peaks(tree.size(), tree.peaks.clone());
            assert_eq!(again.root(), tree.root());
        }
    }

    proptest::proptest! {
        #[test]
        fn a_changed_proof_is_refused(size in 2_u64..200, at in 0_u64..200, byte in 0_usize..32, bit in 0_u8..8, pick in 0_usize..20) {
            let index = at % size;
            let d = leaves(size);
            let root = naive::root(&d);
            let mut proof = naive::path(index as usize, &d);
            let pick = pick % proof.len();
            proof[pick][byte] ^= 1 << bit;
            proptest::prop_assert!(verify_inclusion(&d[index as usize], index, size, &proof, &root).is_err());
            proof[pick][byte] ^= 1 << bit;
            proof.push(root);
            proptest::prop_assert!(verify_inclusion(&d[index as usize], index, size, &proof, &root).is_err());
            let old = index + 1;
            let mut proof = naive::consistency(old as usize, &d);
            if !proof.is_empty() {
                let pick = pick % proof.len();
                proof[pick][byte] ^= 1 << bit;
                proptest::prop_assert!(
                    verify_consistency(old, &naive::root(&d[..old as usize]), size, &root, &proof).is_err()
                );
            }
        }
    }
}
