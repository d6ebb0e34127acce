//! Whether what a search found is all: proofs of the index, whose root the log signs with its checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_log::search::Answer;
use countersign_log::search::store::CHUNK;
use countersign_log::{Head, LogError};
use countersign_tlog::map::{IndexCommitment, key_of};

use super::find::MOST;
use crate::index::Index;

/// What the index proves of some terms together.
#[derive(Debug)]
pub(super) struct Proven {
    index: IndexCommitment,
    /// The size of the tree whose checkpoint states the index.
    pub(super) tree: u64,
    /// Entries from this one on are known to be all.
    from: u64,
    entries: BTreeSet<u64>,
}

impl Proven {
    /// Asks the index that the checkpoint of this tree states; `None` when it states none, or is not kept any more. Blocks.
    pub(super) fn ask(asked: &Index, head: &Arc<Head>, terms: &[String]) -> Result<Option<Self>, LogError> {
        let mut proven: Option<Self> = None;
        for term in terms {
            let size = proven.as_ref().map(|so_far| so_far.index.size);
            let Some((term, answer)) = asked.answer(head, term, size, MOST + 1 + CHUNK)? else {
                return Ok(None);
            };
            let Some(index) = answer.index else { return Ok(None) };
            if let Err(error) = verified(&term, &answer, &index) {
                tracing::error!(term, %error, "the search index does not prove what it says");
                return Ok(None);
            }
            let so_far = proven.get_or_insert_with(|| Self {
                index,
                tree: answer.head.size,
                from: 0,
                entries: BTreeSet::new(),
            });
            if so_far.index != index {
                return Ok(None);
            }
            if answer.page.start > 0 {
                so_far.from = so_far.from.max(answer.page.entries.first().copied().unwrap_or(index.size));
            }
            so_far.entries.extend(answer.page.entries);
        }
        Ok(proven)
    }

    /// Of how many entries the index is that the checkpoint states.
    pub(super) const fn size(&self) -> u64 {
        self.index.size
    }

    /// Whether these entries, which were found afterwards and descend, are those that the index proves, as far as it goes
    /// and as far back as both go.
    pub(super) fn agrees(&self, found: &[u64]) -> bool {
        let oldest = if found.len() > MOST { found.last().copied().unwrap_or_default() } else { 0 };
        let range = self.from.max(oldest)..self.index.size;
        let found: BTreeSet<u64> = found.iter().copied().filter(|index| range.contains(index)).collect();
        !range.is_empty() && self.entries.iter().filter(|index| range.contains(index)).eq(&found)
    }
}

fn verified(term: &str, answer: &Answer, index: &IndexCommitment) -> Result<(), String> {
    match answer.proof.verify(&key_of(term), &index.root).map_err(|e| e.to_string())? {
        Some(leaf) => answer.page.verify(&leaf).map_err(|e| e.to_string()),
        None if answer.page.entries.is_empty() => Ok(()),
        None => Err("it has entries for a term that its map has not".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(from: u64, entries: impl IntoIterator<Item = u64>) -> Proven {
        let index = IndexCommitment { size: 1000, root: [0; 32], key_id: None };
        Proven { index, tree: 1002, from, entries: entries.into_iter().collect() }
    }

    #[test]
    fn only_what_the_index_proves_is_called_complete() {
        assert!(proven(0, []).agrees(&[]));
        assert!(proven(0, [3, 7]).agrees(&[7, 3]));
        assert!(proven(0, [3, 7]).agrees(&[1001, 7, 3]), "newer ones are not in it yet");
        assert!(!proven(0, [3, 7]).agrees(&[7]), "one was left out");
        assert!(!proven(0, [3]).agrees(&[7, 3]), "one was made up");
        // Older ones than the page of the index, or than what is shown, are not looked at.
        assert!(proven(5, [7]).agrees(&[7, 3]) && !proven(3, [7]).agrees(&[7, 3]));
        let all: Vec<u64> = (0..=MOST as u64).rev().map(|n| n + 500).collect();
        assert!(proven(0, (0..1000).filter(|n| *n < 400 || all.contains(n))).agrees(&all));
        assert!(!proven(0, 0..1000).agrees(&all));
        assert!(!proven(1000, []).agrees(&[]), "nothing was looked at");
    }
}
