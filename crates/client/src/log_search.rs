//! Asking a log's search index, and believing its answer only as far as the log has signed it.

use std::borrow::Cow;

use countersign_crypto::encoding::{base64_decode, hex_encode};
use countersign_http::text::printable;
use countersign_http::{Request, join};
use countersign_tlog::map::{self, MapProof, Page};
use countersign_tlog::{Checkpoint, Hash, IndexCommitment};
use countersign_verify::terms::{SearchKey, is_identity, may_hide};
use serde::Deserialize;

use crate::ClientError;
use crate::log::{LogReader, LogSource};

/// The largest answer, in bytes: ten thousand entries and a proof.
const MAX_ANSWER: usize = 1 << 20;

#[derive(Debug, Deserialize)]
struct WireAnswer {
    term: String,
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
    /// Whether it is proven that these are the term's. Of an identity in an index that hides them this is the log's word
    /// for whoever has not its key: what is proven then is the answer for a hash which the log says is the term's.
    pub own: bool,
}

impl LogReader<'_> {
    /// Whether there may be somebody to [ask](LogReader::indexed): a log in a directory has nobody who answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self.source(), LogSource::Web { .. })
    }

    /// The entries with a term in the index that a checkpoint commits to; `None` from a server that does not keep the
    /// index of this checkpoint any more, or has none. With `key` it is known under which hash an index that hides
    /// identities has one.
    ///
    /// That these are all is what the log has signed; that each of them has the term is for the caller to look at.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when the answer is not the one signed, [`ClientError::Http`], [`ClientError::Usage`] for a
    /// log in a directory, which has nobody who answers, and for a key that is not the index's.
    pub async fn indexed(
        &self,
        term: &str,
        index: &IndexCommitment,
        key: Option<&SearchKey>,
    ) -> Result<Option<Indexed>, ClientError> {
        let asked = Asked::new(term, index, key).map_err(ClientError::Usage)?;
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
        let (stored, own) = asked.stored(&answer.term).map_err(|e| wrong(&e))?;
        proven(&stored, own, index, found).map(Some).map_err(|e| wrong(&e))
    }
}

/// How an index has the term that is asked for.
#[derive(Debug)]
enum Asked<'a> {
    /// Like this: as it is, or under the key that is at hand.
    Known(Cow<'a, str>),
    /// As a hash that only the log knows.
    Hidden(&'a str),
}

impl<'a> Asked<'a> {
    fn new(term: &'a str, index: &IndexCommitment, key: Option<&SearchKey>) -> Result<Self, String> {
        match (index.key_id, key) {
            (Some(id), Some(key)) if key.id() != id => Err(format!(
                "expected the search key {} of the log's index, found {}; ask the log's operator for keys/search.key",
                hex_encode(&id),
                hex_encode(&key.id())
            )),
            (Some(_), Some(key)) => Ok(Self::Known(key.hide(term))),
            (Some(_), None) if is_identity(term) => Ok(Self::Hidden(term)),
            _ => Ok(Self::Known(term.into())),
        }
    }

    /// The term to be proven, and whether it is known to be the one asked for. `named` is what the log says it is.
    fn stored(self, named: &'a str) -> Result<(Cow<'a, str>, bool), String> {
        match self {
            Self::Known(term) => Ok((term, true)),
            Self::Hidden(term) if may_hide(named, term) => Ok((named.into(), false)),
            Self::Hidden(_) => Err(format!(
                "its index hides identities, and it names no hash of what was asked for but {}",
                printable(&named.chars().take(100).collect::<String>())
            )),
        }
    }
}

fn proven(stored: &str, own: bool, index: &IndexCommitment, found: WireIndex) -> Result<Indexed, String> {
    let proof = base64_decode(&found.proof).map_err(|e| e.to_string())?;
    let proof = MapProof::parse(&proof).map_err(|e| e.to_string())?;
    let peak = |text: &String| base64_decode(text).ok().and_then(|hash| Hash::try_from(hash).ok());
    let peaks = found.peaks.iter().map(peak).collect::<Option<_>>().ok_or("a hash has not 32 bytes")?;
    let page = Page { start: found.start, peaks, entries: found.entries };
    match proof.verify(&map::key_of(stored), &index.root).map_err(|e| e.to_string())? {
        Some(leaf) => page.verify(&leaf).map_err(|e| e.to_string())?,
        None if page == Page::default() => {}
        None => return Err("it lists entries, and proves that there are none".into()),
    }
    if page.entries.last().is_some_and(|last| *last >= index.size) {
        return Err("it lists entries that the index does not reach".into());
    }
    Ok(Indexed { entries: page.entries, older: page.start, own })
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
        let index = IndexCommitment { size: 9, root: Subtree::of(&[leaf.entry()], 0).hash(), key_id: None };
        let ask = |term: &str, found: WireIndex| proven(term, true, &index, found);
        let all = Indexed { entries: vec![3, 8], older: 0, own: true };
        assert_eq!(ask("email:a", answer(&[3, 8], &leaf, "email:a")), Ok(all));
        let nothing = Indexed { entries: vec![], older: 0, own: true };
        assert_eq!(ask("email:b", answer(&[], &leaf, "email:b")), Ok(nothing));
        for hidden in [&[3][..], &[], &[3, 7], &[3, 8, 8], &[8, 3]] {
            assert!(ask("email:a", answer(hidden, &leaf, "email:a")).is_err(), "{hidden:?}");
        }
        // Entries of a term that is proven to have none; a proof of absence of one that has some.
        assert!(ask("email:b", answer(&[3], &leaf, "email:b")).is_err());
        let absent = WireIndex { proof: base64_encode(&[0]), ..answer(&[], &leaf, "email:a") };
        assert!(ask("email:a", absent).is_err());
        let small = IndexCommitment { size: 8, ..index };
        assert!(proven("email:a", true, &small, answer(&[3, 8], &leaf, "email:a")).is_err());
    }

    #[test]
    fn an_identity_that_the_index_hides_is_the_logs_word_unless_its_key_is_at_hand() {
        let (key, other) = (SearchKey::generate().unwrap(), SearchKey::generate().unwrap());
        let plain = IndexCommitment { size: 9, root: [0; 32], key_id: None };
        let hidden = IndexCommitment { key_id: Some(key.id()), ..plain };
        let ask = |term: &str, index: &IndexCommitment, key: Option<&SearchKey>, named: &str| {
            let (stored, own) = Asked::new(term, index, key)?.stored(named)?;
            Ok::<_, String>((stored.into_owned(), own))
        };
        let (email, digest) = ("email:a", "digest:sha256:00");
        let hash = key.hide(email).into_owned();
        let known = |term: &str| Ok((term.to_owned(), true));
        // What the log names does not matter for a term that is known.
        for named in [email, &hash, "x"] {
            assert_eq!(ask(email, &plain, None, named), known(email));
            assert_eq!(ask(email, &plain, Some(&key), named), known(email));
            assert_eq!(ask(email, &hidden, Some(&key), named), known(&hash));
            assert_eq!(ask(digest, &hidden, None, named), known(digest));
            assert_eq!(ask(digest, &hidden, Some(&key), named), known(digest));
        }
        assert_eq!(ask(email, &hidden, None, &hash), Ok((hash.clone(), false)));
        // The name as it is, of which such an index is sure to have nothing; a hash of another kind; none at all.
        for named in [email, &key.hide("uri:a"), "", "email:hmac-sha256:", "\u{1b}[2J"] {
            let error = ask(email, &hidden, None, named).unwrap_err();
            assert!(error.contains("hides identities") && !error.contains('\u{1b}'), "{error}");
        }
        for term in [email, digest] {
            let error = ask(term, &hidden, Some(&other), &hash).unwrap_err();
            assert!(error.contains(&hex_encode(&key.id())) && error.contains("keys/search.key"), "{error}");
        }
    }
}
