//! Asking a log's search index, and believing its answer only as far as the log has signed it.

use countersign_crypto::encoding::base64_decode;
use countersign_http::{Request, join};
use countersign_tlog::map::{self, MapProof, Page};
use countersign_tlog::{Checkpoint, Hash, IndexCommitment};
use serde::Deserialize;

use crate::ClientError;
use crate::log::{LogReader, LogSource};

/// The largest answer, in bytes: ten thousand entries and a proof.
const MAX_ANSWER: usize = 1 << 20;

#[derive(Debug, Deserialize)]
struct WireAnswer {
    index: Option<WireIndex>,
}

#[derive(Debug, Deserialize)]
struct WireIndex {
    proof: String,
    start: u64,
    peaks: Vec<String>,
    entries: Vec<u64>,
}

/// What the index of a log has for a term, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The newest entries, ascending.
    pub entries: Vec<u64>,
    /// How many older ones there are which were not listed.
    pub older: u64,
}

impl LogReader<'_> {
    /// Whether there may be somebody to [ask](LogReader::indexed): a log in a directory has nobody who answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self.source(), LogSource::Web { .. })
    }

    /// The entries with a term in the index that a checkpoint commits to; `None` from a server that does not keep the
    /// index of this checkpoint any more, or has none.
    ///
    /// That these are all is what the log has signed; that each of them has the term is for the caller to look at.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when the answer is not the one signed, [`ClientError::Http`], [`ClientError::Usage`] for a
    /// log in a directory, which has nobody who answers.
    pub async fn indexed(&self, term: &str, index: &IndexCommitment) -> Result<Option<Indexed>, ClientError> {
        let LogSource::Web { http, base } = self.source() else {
            return Err(ClientError::Usage("a log in a directory has no search index that answers".into()));
        };
        let mut url = join(base, "/api/v1/search");
        url.query_pairs_mut().append_pair("term", term).append_pair("size", &index.size.to_string());
        let response = http.send(Request::get("the log's search index", &url).limit(MAX_ANSWER)).await?;
        if response.status == 404 {
            return Ok(None);
        }
        let body = response.expect(&[200])?.body;
        let wrong = |what: &dyn std::fmt::Display| {
            ClientError::Proof(format!("the answer of the search index of {}: {what}", self.place()))
        };
        let answer: WireAnswer = serde_json::from_slice(&body).map_err(|e| wrong(&e))?;
        let Some(found) = answer.index else { return Ok(None) };
        proven(term, index, found).map(Some).map_err(|e| wrong(&e))
    }
}

fn proven(term: &str, index: &IndexCommitment, found: WireIndex) -> Result<Indexed, String> {
    let proof = base64_decode(&found.proof).map_err(|e| e.to_string())?;
    let proof = MapProof::parse(&proof).map_err(|e| e.to_string())?;
    let peak = |text: &String| base64_decode(text).ok().and_then(|hash| Hash::try_from(hash).ok());
    let peaks = found.peaks.iter().map(peak).collect::<Option<_>>().ok_or("a hash has not 32 bytes")?;
    let page = Page { start: found.start, peaks, entries: found.entries };
    match proof.verify(&map::key_of(term), &index.root).map_err(|e| e.to_string())? {
        Some(leaf) => page.verify(&leaf).map_err(|e| e.to_string())?,
        None if page == Page::default() => {}
        None => return Err("it lists entries, and proves that there are none".into()),
    }
    if page.entries.last().is_some_and(|last| *last >= index.size) {
        return Err("it lists entries that the index does not reach".into());
    }
    Ok(Indexed { entries: page.entries, older: page.start })
}

/// What a verified checkpoint commits to.
///
/// # Errors
/// [`ClientError::Proof`] when the line cannot be read.
pub fn commitment(checkpoint: &Checkpoint) -> Result<Option<IndexCommitment>, ClientError> {
    IndexCommitment::of(checkpoint).map_err(|e| ClientError::Proof(e.to_string()))
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::base64_encode;
    use countersign_tlog::map::{MapLeaf, Subtree};

    use super::*;

    fn answer(entries: &[u64], leaf: &MapLeaf, asked: &str) -> WireIndex {
        let proof = MapProof::of(std::slice::from_ref(leaf), &map::key_of(asked));
        let proof = base64_encode(&proof.to_bytes());
        WireIndex { proof, start: 0, peaks: vec![], entries: entries.to_vec() }
    }

    #[test]
    fn an_answer_is_believed_only_when_the_signed_root_proves_all_of_it() {
        let page = Page { entries: vec![3, 8], ..Page::default() };
        let leaf = MapLeaf { key: map::key_of("email:a"), count: 2, root: page.root() };
        let index = IndexCommitment { size: 9, root: Subtree::of(&[leaf.entry()], 0).hash() };
        let ask = |term: &str, found: WireIndex| proven(term, &index, found);
        let all = Indexed { entries: vec![3, 8], older: 0 };
        assert_eq!(ask("email:a", answer(&[3, 8], &leaf, "email:a")), Ok(all));
        let nothing = Indexed { entries: vec![], older: 0 };
        assert_eq!(ask("email:b", answer(&[], &leaf, "email:b")), Ok(nothing));
        for hidden in [&[3][..], &[], &[3, 7], &[3, 8, 8], &[8, 3]] {
            assert!(ask("email:a", answer(hidden, &leaf, "email:a")).is_err(), "{hidden:?}");
        }
        // Entries of a term that is proven to have none; a proof of absence of one that has some.
        assert!(ask("email:b", answer(&[3], &leaf, "email:b")).is_err());
        let absent = WireIndex { proof: base64_encode(&[0]), ..answer(&[], &leaf, "email:a") };
        assert!(ask("email:a", absent).is_err());
        let small = IndexCommitment { size: 8, ..index };
        assert!(proven("email:a", &small, answer(&[3, 8], &leaf, "email:a")).is_err());
    }
}
