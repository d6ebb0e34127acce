//! The verifiable map of a log's index: which entries have a term, so that an answer can be shown to be complete.
//!
//! A binary Merkle trie over the SHA-256 of the terms, bit by bit from the first. A subtree without keys has the hash
//! of nothing; one with a single key is that key's leaf, which therefore hangs as high as it can; every other is the
//! hash of its two halves. Leaves and nodes are hashed as in RFC 6962. A leaf commits to a term's number of entries and
//! to the root of the RFC 6962 tree over their indices, eight bytes each and ascending.
//!
//! The way that a key's bits lead down from the root ends at one place only, so there is one answer for each key and
//! root: this leaf, or another or none, and then the map does not have the key.
//!
//! ```
//! use countersign_tlog::map::{self, MapLeaf, MapProof, Page};
//! let page = Page { start: 0, peaks: vec![], entries: vec![4, 7] };
//! let leaf = MapLeaf { key: map::key_of("email:a@example.com"), count: 2, root: page.root() };
//! let root = map::Subtree::of(&[leaf.entry()], 0).hash();
//! let proof = MapProof::of(&[leaf], &leaf.key);
//! let found = proof.verify(&leaf.key, &root)?.ok_or("not in the map")?;
//! page.verify(&found)?;
//! assert_eq!(proof.verify(&map::key_of("email:b@example.com"), &root)?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use countersign_crypto::{encoding, sha256};

use crate::merkle::{Frontier, empty_root, leaf_hash, node_hash};
use crate::note::NoteError;
use crate::{Checkpoint, Hash};

/// The number of bits of a key.
const BITS: usize = 256;
const LEAF_LEN: usize = 32 + 8 + 32;
/// How the extension line of a checkpoint begins that commits to an index.
const LINE: &str = "countersign-index";

/// Why an answer of an index was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Bytes that are no proof.
    #[error("it is no proof of a map: {0}")]
    Malformed(&'static str),
    /// The proof leads to another root than the one committed to.
    #[error("the proof leads to another root than the index that the log has signed")]
    Root,
    /// The proof ends at a key that does not lie on the way of the one asked for.
    #[error("the proof ends at a key that does not lie on the way of the one asked for")]
    Way,
    /// The entries are not those that the index commits to.
    #[error("the entries are not those that the index commits to: {0}")]
    Entries(&'static str),
}

/// The key of a term.
#[must_use]
pub fn key_of(term: &str) -> Hash {
    sha256(term.as_bytes())
}

/// A bit of a key, from the first.
#[must_use]
pub fn bit(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8).is_some_and(|byte| byte >> (7 - depth % 8) & 1 == 1)
}

/// What a map has for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapLeaf {
    /// The hash of the term.
    pub key: Hash,
    /// The number of entries, one at least.
    pub count: u64,
    /// The root of the tree over their indices.
    pub root: Hash,
}

/// A key and the hash of its leaf: what a trie is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedHash {
    /// The key.
    pub key: Hash,
    /// The hash of its leaf.
    pub hash: Hash,
}

impl MapLeaf {
    fn to_bytes(self) -> Vec<u8> {
        [&self.key[..], &self.count.to_be_bytes(), &self.root].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (count, root) = rest.split_first_chunk()?;
        let count = u64::from_be_bytes(*count);
        (count > 0).then_some(Self { key: *key, count, root: root.try_into().ok()? })
    }

    /// Its hash in the trie.
    #[must_use]
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }

    /// Its key and hash.
    #[must_use]
    pub fn entry(&self) -> KeyedHash {
        KeyedHash { key: self.key, hash: self.hash() }
    }
}

/// A part of a trie: all keys that begin with the same bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subtree {
    /// It has no keys.
    #[default]
    Empty,
    /// It has one key, whose leaf has this hash.
    Leaf(Hash),
    /// It has more.
    Inner(Hash),
}

impl Subtree {
    /// The subtree of these leaves, which ascend by key, are distinct, and have the first `depth` bits in common.
    #[must_use]
    pub fn of(leaves: &[KeyedHash], depth: usize) -> Self {
        match leaves {
            [] => Self::Empty,
            [one] => Self::Leaf(one.hash),
            [first, ..] if depth >= BITS => Self::Leaf(first.hash),
            _ => {
                let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.key, depth)));
                Self::join(Self::of(left, depth + 1), Self::of(right, depth + 1))
            }
        }
    }

    /// The subtree of two halves.
    #[must_use]
    pub fn join(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Empty, only @ (Self::Empty | Self::Leaf(_))) | (only @ Self::Leaf(_), Self::Empty) => only,
            _ => Self::Inner(node_hash(&left.hash(), &right.hash())),
        }
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Empty => empty_root(),
            Self::Leaf(hash) | Self::Inner(hash) => *hash,
        }
    }
}

/// Goes down to the end of a key's way, from a subtree as deep as there are siblings, with all its leaves; gives the key
/// of the leaf where it ends.
#[must_use]
pub fn descend(leaves: &[KeyedHash], key: &Hash, siblings: &mut Vec<Hash>) -> Option<Hash> {
    let mut here = leaves;
    while here.len() > 1 && siblings.len() < BITS {
        let depth = siblings.len();
        let (left, right) = here.split_at(here.partition_point(|leaf| !bit(&leaf.key, depth)));
        let (own, beside) = if bit(key, depth) { (right, left) } else { (left, right) };
        siblings.push(Subtree::of(beside, depth + 1).hash());
        here = own;
    }
    here.first().map(|leaf| leaf.key)
}

/// Proves what a map has for a key, or that it does not have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapProof {
    /// The hashes beside the way, from the root down.
    pub siblings: Vec<Hash>,
    /// The leaf where the way ends: the key's own, another, or none.
    pub end: Option<MapLeaf>,
}

impl MapProof {
    /// The proof of a key in the trie of these leaves, which ascend by key and are distinct.
    #[must_use]
    pub fn of(leaves: &[MapLeaf], key: &Hash) -> Self {
        let entries: Vec<KeyedHash> = leaves.iter().map(MapLeaf::entry).collect();
        let mut siblings = Vec::new();
        let end = descend(&entries, key, &mut siblings);
        Self { siblings, end: leaves.iter().find(|leaf| Some(leaf.key) == end).copied() }
    }

    /// What the map of this root has for a key; `None` when it has nothing, which is proven as well.
    ///
    /// # Errors
    /// [`MapError::Root`], [`MapError::Way`].
    pub fn verify(&self, key: &Hash, root: &Hash) -> Result<Option<MapLeaf>, MapError> {
        let depth = self.siblings.len();
        if let Some(end) = &self.end
            && (0..depth).any(|at| bit(&end.key, at) != bit(key, at))
        {
            return Err(MapError::Way);
        }
        let start = self.end.as_ref().map_or_else(empty_root, MapLeaf::hash);
        let found = self.siblings.iter().enumerate().rev().fold(start, |hash, (at, sibling)| {
            if bit(key, at) { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) }
        });
        if depth > BITS || found != *root {
            return Err(MapError::Root);
        }
        Ok(self.end.filter(|end| end.key == *key))
    }

    /// The proof as bytes: the leaf, if there is one, behind a byte that says so, and the siblings.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.end.is_some())];
        bytes.extend(self.end.iter().flat_map(|end| end.to_bytes()));
        bytes.extend(self.siblings.as_flattened());
        bytes
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// [`MapError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MapError> {
        let malformed = MapError::Malformed;
        let (end, rest) = match bytes.split_first() {
            Some((0, rest)) => (None, rest),
            Some((1, rest)) => {
                let (leaf, rest) = rest.split_at_checked(LEAF_LEN).ok_or(malformed("its leaf is cut off"))?;
                (Some(MapLeaf::parse(leaf).ok_or(malformed("its leaf has no entries"))?), rest)
            }
            _ => return Err(malformed("it should begin with 0 or 1")),
        };
        let (siblings, []) = rest.as_chunks::<32>() else {
            return Err(malformed("its hashes should have 32 bytes each"));
        };
        if siblings.len() > BITS {
            return Err(malformed("it has more than 256 hashes"));
        }
        Ok(Self { siblings: siblings.to_vec(), end })
    }
}

/// The hash of an entry's index in the tree of a term.
#[must_use]
pub fn posting_hash(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

/// The end of a term's list of entries, from some place on, with what shows that it is this end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// How many entries come before.
    pub start: u64,
    /// The roots of the complete subtrees that these make up, largest first.
    pub peaks: Vec<Hash>,
    /// The entries' indices, ascending.
    pub entries: Vec<u64>,
}

impl Page {
    /// The root of the tree over the whole list, as this end of it gives it.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut frontier = Frontier::from_peaks(self.start, self.peaks.clone());
        for index in &self.entries {
            frontier.push(posting_hash(*index));
        }
        frontier.root()
    }

    /// Checks that these are the last entries of a term and that none is missing.
    ///
    /// # Errors
    /// [`MapError::Entries`].
    pub fn verify(&self, leaf: &MapLeaf) -> Result<(), MapError> {
        let wrong = |what| Err(MapError::Entries(what));
        if self.start.checked_add(self.entries.len() as u64) != Some(leaf.count) {
            return wrong("their number is another");
        }
        if self.peaks.len() != self.start.count_ones() as usize {
            return wrong("the hashes of those before do not fit their number");
        }
        if !self.entries.is_sorted_by(|a, b| a < b) {
            return wrong("they do not ascend");
        }
        if self.root() == leaf.root { Ok(()) } else { wrong("their root is another") }
    }
}

/// What a checkpoint says of the log's index: an extension line with its size and root, and whether it hides identities.
///
/// The last is signed too, or a server could prove of an index that has no address as it is written that it lacks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexCommitment {
    /// Of how many entries the index has the terms.
    pub size: u64,
    /// The root of the map.
    pub root: Hash,
    /// The id of the key under which the index has identities as hashes; `None` when it has them as they are.
    pub key_id: Option<Hash>,
}

impl IndexCommitment {
    /// The extension line.
    #[must_use]
    pub fn to_line(&self) -> String {
        let key_id = self.key_id.map(|id| format!(" {}", encoding::base64_encode(&id))).unwrap_or_default();
        format!("{LINE} {} {}{key_id}", self.size, encoding::base64_encode(&self.root))
    }

    /// What a checkpoint commits to; `None` when it says nothing of an index.
    ///
    /// # Errors
    /// [`NoteError::Checkpoint`] when it says so twice, of more entries than there are, or not in this form.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Self>, NoteError> {
        let bad = |what: &str| NoteError::Checkpoint(format!("the line \"{LINE}\" {what}"));
        let mut lines = checkpoint.extensions.iter().filter(|line| line.split(' ').next() == Some(LINE));
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(bad("is there twice"));
        }
        let hash = |text: &str| -> Option<Hash> { encoding::base64_decode(text).ok()?.try_into().ok() };
        let read = || {
            let mut words = line.split(' ').skip(1);
            let (size, root) = (words.next()?.parse().ok()?, hash(words.next()?)?);
            let key_id = words.next().map(|text| hash(text).ok_or(())).transpose().ok()?;
            Some(Self { size, root, key_id })
        };
        let found = read().filter(|found| found.to_line() == *line);
        let found =
            found.ok_or_else(|| bad("should have a size, a root and, if any, a key's id in base64"))?;
        if found.size > checkpoint.size {
            return Err(bad("is of more entries than the log has"));
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The trie as the header words it: of any set of leaves, halved by looking at every key's bit.
    fn naive(leaves: &[MapLeaf], depth: usize) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => one.hash(),
            _ => {
                let half = |side| -> Vec<_> {
                    leaves.iter().filter(|l| bit(&l.key, depth) == side).copied().collect()
                };
                node_hash(&naive(&half(false), depth + 1), &naive(&half(true), depth + 1))
            }
        }
    }

    fn leaf(key: Hash, count: u64) -> MapLeaf {
        MapLeaf { key, count, root: sha256(&count.to_be_bytes()) }
    }

    fn page(entries: &[u64], start: usize) -> (Page, MapLeaf) {
        let mut before = Frontier::default();
        entries[..start].iter().for_each(|index| before.push(posting_hash(*index)));
        let peaks = before.peaks().to_vec();
        let page = Page { start: start as u64, peaks, entries: entries[start..].to_vec() };
        let whole = Page { start: 0, peaks: vec![], entries: entries.to_vec() };
        (page, MapLeaf { key: [7; 32], count: entries.len() as u64, root: whole.root() })
    }

    /// Keys of random bits, and keys which share long beginnings.
    fn keys() -> impl proptest::strategy::Strategy<Value = Vec<Hash>> {
        use proptest::prelude::*;
        let near = (0_usize..256, any::<u8>()).prop_map(|(at, last)| {
            let mut key = [0; 32];
            key[at / 8] = 1 << (at % 8);
            key[31] |= last & 3;
            key
        });
        proptest::collection::vec(prop_oneof![any::<Hash>(), near], 0..40)
    }

    proptest::proptest! {
        #[test]
        fn every_key_has_one_answer_and_it_is_the_models(keys in keys(), asked in keys()) {
            let model: BTreeMap<Hash, MapLeaf> = keys.iter().zip(1..).map(|(k, n)| (*k, leaf(*k, n))).collect();
            let leaves: Vec<MapLeaf> = model.values().copied().collect();
            let root = naive(&leaves, 0);
            let entries: Vec<KeyedHash> = leaves.iter().map(MapLeaf::entry).collect();
            proptest::prop_assert_eq!(Subtree::of(&entries, 0).hash(), root);
            for key in keys.iter().chain(&asked) {
                let proof = MapProof::of(&leaves, key);
                proptest::prop_assert_eq!(proof.verify(key, &root), Ok(model.get(key).copied()));
                proptest::prop_assert_eq!(MapProof::parse(&proof.to_bytes()), Ok(proof.clone()));
                for other in asked.iter().filter(|k| model.get(*k) != model.get(key)) {
                    // The proof of a key may serve another that the map does not have, and never lies about it.
                    if let Ok(found) = proof.verify(other, &root) {
                        proptest::prop_assert_eq!(found, model.get(other).copied());
                    }
                }
            }
        }

        #[test]
        fn a_changed_proof_never_says_anything_else(
            keys in keys(), at in proptest::num::usize::ANY, bit in 0_u8..8, asked in proptest::array::uniform32(0_u8..)
        ) {
            let model: BTreeMap<Hash, MapLeaf> = keys.iter().zip(1..).map(|(k, n)| (*k, leaf(*k, n))).collect();
            let leaves: Vec<MapLeaf> = model.values().copied().collect();
            let root = naive(&leaves, 0);
            for key in keys.iter().chain([&asked]) {
                let mut bytes = MapProof::of(&leaves, key).to_bytes();
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
                if let Ok(changed) = MapProof::parse(&bytes) {
                    proptest::prop_assert!(changed.verify(key, &root).is_err());
                }
                for cut in (0..bytes.len()).step_by(29) {
                    if let Ok(changed) = MapProof::parse(&bytes[..cut]) {
                        proptest::prop_assert!(changed.verify(key, &root).is_err());
                    }
                }
            }
        }

        #[test]
        fn the_end_of_a_list_is_complete_or_refused(
            entries in proptest::collection::btree_set(0_u64..5000, 1..300), start in 0_usize..300, pick in 0_usize..300
        ) {
            let entries: Vec<u64> = entries.into_iter().collect();
            let (page, leaf) = page(&entries, start % entries.len());
            page.verify(&leaf).unwrap();
            let pick = pick % page.entries.len();
            let mut without = page.clone();
            without.entries.remove(pick);
            proptest::prop_assert!(without.verify(&leaf).is_err());
            without.start += 1;
            proptest::prop_assert!(without.verify(&leaf).is_err());
            let mut other = page.clone();
            other.entries[pick] += 5000;
            proptest::prop_assert!(other.verify(&leaf).is_err());
            let mut more = page;
            more.entries.push(9999);
            proptest::prop_assert!(more.verify(&leaf).is_err());
        }
    }

    #[test]
    fn an_empty_map_has_nothing_and_a_proof_has_at_most_256_hashes() {
        let nothing = MapProof::of(&[], &[1; 32]);
        assert_eq!(nothing.verify(&[1; 32], &empty_root()), Ok(None));
        assert_eq!(nothing.verify(&[1; 32], &[0; 32]), Err(MapError::Root));
        let (a, mut b) = ([0xaa; 32], [0xaa; 32]);
        b[31] ^= 1;
        let leaves = [leaf(a, 1), leaf(b, 2)];
        let deep = MapProof::of(&leaves, &b);
        assert_eq!(deep.siblings.len(), 256);
        assert_eq!(deep.verify(&b, &naive(&leaves, 0)), Ok(Some(leaves[1])));
        let mut bytes = deep.to_bytes();
        bytes.extend([0; 32]);
        assert!(matches!(MapProof::parse(&bytes), Err(MapError::Malformed(_))));
        let no_entries = MapProof { siblings: vec![], end: Some(MapLeaf { count: 0, ..leaves[0] }) };
        assert!(MapProof::parse(&no_entries.to_bytes()).is_err());
    }

    #[test]
    fn a_checkpoint_commits_to_one_index_in_one_form() {
        let commitment = IndexCommitment { size: 7, root: [9; 32], key_id: None };
        let of = |size, lines: &[&str]| {
            let extensions = lines.iter().map(|line| (*line).to_owned()).collect();
            IndexCommitment::of(&Checkpoint { origin: "log.example".into(), size, root: [0; 32], extensions })
        };
        let line = commitment.to_line();
        assert_eq!(of(7, &["other", &line]), Ok(Some(commitment)));
        assert_eq!(of(7, &["other", "countersign-indexes 1 x"]), Ok(None));
        assert!(of(6, &[&line]).is_err());
        assert!(of(7, &[&line, &line]).is_err());
        let hidden = IndexCommitment { key_id: Some([8; 32]), ..commitment };
        let named = hidden.to_line();
        assert_eq!(of(7, &[&named]), Ok(Some(hidden)));
        let long = line.replace(" 7 ", " 07 ");
        let [short, more, twice] =
            [format!("{line} AAAA"), format!("{line} "), format!("{named} {}", &named[named.len() - 44..])];
        for bad in [
            "countersign-index",
            "countersign-index 7",
            "countersign-index 7 AAAA",
            &long,
            &short,
            &more,
            &twice,
        ] {
            assert!(of(7, &[bad]).is_err(), "{bad}");
        }
    }
}
