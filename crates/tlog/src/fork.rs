//! Evidence that a log contradicts itself: two checkpoints which it signed and which cannot both be of one tree that grew.
//!
//! Of one size, two roots are enough. Of two sizes, the larger tree is shown to begin otherwise than the smaller: by the
//! roots of its complete subtrees, those over the leaves of the smaller one first. They make the root that was signed for
//! the larger one, and another one than was signed for the smaller. Whoever has the log's key can check that, years later.

use std::collections::HashMap;

use crate::note::NoteError;
use crate::proof::{self, HashSource, Node};
use crate::{Checkpoint, Hash, Note, NoteVerifier};

/// Why evidence shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// A note that the log did not sign, or that is no checkpoint.
    #[error("the {which} note: {source}")]
    Note {
        /// The first or the second.
        which: &'static str,
        /// What is wrong with it.
        source: NoteError,
    },
    /// Notes of two logs.
    #[error("expected two checkpoints of one log, found {first} and {second}")]
    Origins {
        /// The first one's origin.
        first: String,
        /// The second one's.
        second: String,
    },
    /// Nothing contradicts.
    #[error(
        "the checkpoints of {first} and {second} entries do not contradict each other, as far as this evidence shows"
    )]
    NoContradiction {
        /// The first one's size.
        first: u64,
        /// The second one's.
        second: u64,
    },
    /// Hashes that are not those of the larger tree.
    #[error("the hashes do not make the tree of {size} entries that was signed, so they show nothing")]
    Hashes {
        /// The larger tree's size.
        size: u64,
    },
}

/// What evidence shows: two roots for the same leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Which log.
    pub origin: String,
    /// How many leaves both roots are said to cover.
    pub size: u64,
    /// The root that was signed for them.
    pub signed: Hash,
    /// The root that the other note has for them.
    pub other: Hash,
}

/// Two notes of a log, and what shows that they contradict each other. Nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkEvidence {
    /// One note; of two sizes the smaller.
    pub first: Note,
    /// The other.
    pub second: Note,
    /// The roots of the complete subtrees of the larger tree, as [`cover`] names them; none for two of one size.
    pub hashes: Vec<Hash>,
}

/// What two checkpoints and the tree of the larger one come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// The larger tree continues the smaller one.
    Continues,
    /// They contradict each other, and this shows it.
    Contradicts(Box<ForkEvidence>),
    /// The hashes are not those of the larger tree.
    NotShown,
}

/// The complete subtrees by which a tree of `large` leaves is put together from one of `small` and the rest.
///
/// ```
/// use countersign_tlog::fork::cover;
/// let places: Vec<_> = cover(6, 9).iter().map(|node| (node.level, node.index)).collect();
/// assert_eq!(places, [(2, 0), (1, 2), (1, 3), (0, 8)]);
/// ```
#[must_use]
pub fn cover(small: u64, large: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (mut start, end) in [(0, small), (small, large)] {
        while start < end {
            let room = 63 - (end - start).leading_zeros();
            let level = room.min(start.trailing_zeros());
            nodes.push(Node { level: u8::try_from(level).unwrap_or_default(), index: start >> level });
            start += 1 << level;
        }
    }
    nodes
}

/// Hashes of a cover: larger subtrees are put together from their halves.
struct Known(HashMap<Node, Hash>);

impl HashSource for Known {
    type Error = ();

    fn node(&self, node: Node) -> Result<Hash, ()> {
        if let Some(hash) = self.0.get(&node) {
            return Ok(*hash);
        }
        let level = node.level.checked_sub(1).ok_or(())?;
        let half = |index| self.node(Node { level, index });
        let first = node.index.checked_mul(2).ok_or(())?;
        Ok(crate::merkle::node_hash(&half(first)?, &half(first | 1)?))
    }
}

impl ForkEvidence {
    /// Compares two checkpoints of one log whose signatures were verified, with the tree of the larger one.
    ///
    /// # Errors
    /// The source's.
    pub fn compare<S: HashSource>(
        one: (&Note, &Checkpoint),
        other: (&Note, &Checkpoint),
        source: &S,
    ) -> Result<Compared, S::Error> {
        let (small, large) = if one.1.size <= other.1.size { (one, other) } else { (other, one) };
        if small.1.size == large.1.size {
            return Ok(Self::compare_hashes(small, large, Vec::new()));
        }
        let nodes = cover(small.1.size, large.1.size);
        let hashes = nodes.into_iter().map(|node| source.node(node)).collect::<Result<_, _>>()?;
        Ok(Self::compare_hashes(small, large, hashes))
    }

    fn compare_hashes(
        small: (&Note, &Checkpoint),
        large: (&Note, &Checkpoint),
        hashes: Vec<Hash>,
    ) -> Compared {
        match contradiction(small.1, large.1, &hashes) {
            Ok(_) => Compared::Contradicts(Box::new(Self {
                first: small.0.clone(),
                second: large.0.clone(),
                hashes,
            })),
            Err(ForkError::NoContradiction { .. }) => Compared::Continues,
            Err(_) => Compared::NotShown,
        }
    }

    /// Checks that both notes are signed by the log's key, and that they contradict each other.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn verify(&self, verifier: &NoteVerifier) -> Result<Contradiction, ForkError> {
        let read = |which, note| {
            Checkpoint::from_note(note, verifier).map_err(|source| ForkError::Note { which, source })
        };
        let (first, second) = (read("first", &self.first)?, read("second", &self.second)?);
        if first.origin != second.origin {
            return Err(ForkError::Origins { first: first.origin, second: second.origin });
        }
        contradiction(&first, &second, &self.hashes)
    }
}

/// What contradicts what, if anything does.
fn contradiction(
    first: &Checkpoint,
    second: &Checkpoint,
    hashes: &[Hash],
) -> Result<Contradiction, ForkError> {
    let none = ForkError::NoContradiction { first: first.size, second: second.size };
    let other = if first.size == second.size {
        second.root
    } else {
        let wrong = || ForkError::Hashes { size: second.size };
        if first.size > second.size {
            return Err(none);
        }
        let nodes = cover(first.size, second.size);
        if nodes.len() != hashes.len() {
            return Err(wrong());
        }
        let known = Known(nodes.into_iter().zip(hashes.iter().copied()).collect());
        let whole = proof::root(&known, second.size).map_err(|()| wrong())?;
        if whole != second.root {
            return Err(wrong());
        }
        proof::root(&known, first.size).map_err(|()| wrong())?
    };
    if other == first.root {
        return Err(none);
    }
    Ok(Contradiction { origin: first.origin.clone(), size: first.size, signed: first.root, other })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_crypto::{KeyPair, KeyType};

    use super::*;
    use crate::NoteSigner;
    use crate::merkle::leaf_hash;
    use crate::proof::Leaves;

    fn leaves(count: u64, changed: Option<u64>) -> Leaves {
        Leaves(
            (0..count)
                .map(|i| leaf_hash(&[i.to_be_bytes(), [u8::from(changed == Some(i)); 8]].concat()))
                .collect(),
        )
    }

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::rekor_v2(name, Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap())).unwrap()
    }

    fn signed(signer: &NoteSigner, origin: &str, size: u64, root: Hash) -> (Note, Checkpoint) {
        let checkpoint = Checkpoint { origin: origin.into(), size, root, extensions: vec![] };
        (checkpoint.sign(std::slice::from_ref(signer), 0).unwrap(), checkpoint)
    }

    fn of(signer: &NoteSigner, tree: &Leaves, size: u64) -> (Note, Checkpoint) {
        signed(signer, "log.test", size, proof::root(tree, size).unwrap())
    }

    #[test]
    fn r22_a_rewritten_leaf_is_shown_offline_for_every_pair_of_sizes() {
        let signer = signer("log.test");
        let honest = leaves(40, None);
        for small in 0..20 {
            for large in small..40 {
                let before = of(&signer, &honest, small);
                let after = of(&signer, &honest, large);
                let compare = |a: &(Note, Checkpoint), b: &(Note, Checkpoint), tree: &Leaves| {
                    ForkEvidence::compare((&a.0, &a.1), (&b.0, &b.1), tree).unwrap()
                };
                assert_eq!(compare(&before, &after, &honest), Compared::Continues, "{small} {large}");
                for changed in 0..small {
                    let other = leaves(40, Some(changed));
                    let forked = of(&signer, &other, large);
                    let Compared::Contradicts(evidence) = compare(&before, &forked, &other) else {
                        panic!("{small} {large} {changed}");
                    };
                    let found = evidence.verify(signer.verifier()).unwrap();
                    assert_eq!((found.size, found.signed), (small, before.1.root));
                    assert_eq!(found.other, proof::root(&other, small).unwrap());
                    if small < large {
                        assert_eq!(compare(&forked, &before, &other), Compared::Contradicts(evidence));
                        // Hashes of another tree than was signed show nothing.
                        assert_eq!(compare(&before, &forked, &honest), Compared::NotShown);
                    }
                }
            }
        }
    }

    #[test]
    fn evidence_that_shows_nothing_is_refused_and_told_why() {
        let (log, stranger) = (signer("log.test"), signer("log.test"));
        let (honest, other) = (leaves(9, None), leaves(9, Some(2)));
        let (small, large) = (of(&log, &honest, 5), of(&log, &honest, 9));
        let hashes: Vec<Hash> = cover(5, 9).into_iter().map(|node| honest.node(node).unwrap()).collect();
        let evidence = |first: &Note, second: &Note, hashes: &[Hash]| {
            ForkEvidence { first: first.clone(), second: second.clone(), hashes: hashes.to_vec() }
                .verify(log.verifier())
        };
        let none = Err(ForkError::NoContradiction { first: 5, second: 9 });
        assert_eq!(evidence(&small.0, &large.0, &hashes), none);
        assert_eq!(
            evidence(&small.0, &small.0, &[]),
            Err(ForkError::NoContradiction { first: 5, second: 5 })
        );
        assert!(matches!(evidence(&large.0, &small.0, &hashes), Err(ForkError::NoContradiction { .. })));
        for wrong in [&hashes[1..], &[], &[hashes.clone(), hashes.clone()].concat()] {
            assert_eq!(evidence(&small.0, &large.0, wrong), Err(ForkError::Hashes { size: 9 }));
        }
        for at in 0..hashes.len() {
            let mut wrong = hashes.clone();
            wrong[at][0] ^= 1;
            assert_eq!(evidence(&small.0, &large.0, &wrong), Err(ForkError::Hashes { size: 9 }));
        }
        let forged = of(&stranger, &other, 5);
        assert!(matches!(evidence(&small.0, &forged.0, &[]), Err(ForkError::Note { which: "second", .. })));
        assert!(matches!(evidence(&forged.0, &small.0, &[]), Err(ForkError::Note { which: "first", .. })));
        let elsewhere = signed(&log, "other.test", 5, [1; 32]);
        assert!(matches!(evidence(&small.0, &elsewhere.0, &[]), Err(ForkError::Origins { .. })));
        let two = signed(&log, "log.test", 5, [1; 32]);
        assert_eq!(evidence(&small.0, &two.0, &[]).unwrap().other, [1; 32]);
    }

    #[test]
    fn covers_of_any_sizes_are_bounded() {
        assert!(cover(u64::MAX / 3, u64::MAX).len() < 192);
        assert!(cover(0, 0).is_empty());
        assert_eq!(cover(0, u64::MAX).len(), 64);
    }
}
