//! A search index of an instance. It is asked in plain terms, whether it has identities as they are or as hashes.

use std::path::Path;
use std::sync::Arc;

use countersign_log::search::Answer;
use countersign_log::{Head, Log, LogError, Search, Terms, TermsOf};
use countersign_verify::terms::{RULES, SearchKey};

/// Tells the plain terms of an entry, from how it is stored.
pub(crate) type PlainTerms = fn(&[u8]) -> Vec<String>;

/// What an index holds, under the key if there is one.
pub(crate) fn terms(of: PlainTerms, key: Option<Arc<SearchKey>>) -> Terms {
    let key_id = key.as_ref().map(|key| key.id());
    let of: TermsOf = match key {
        None => Arc::new(of),
        Some(key) => {
            Arc::new(move |stored| of(stored).iter().map(|term| key.hide(term).into_owned()).collect())
        }
    };
    Terms { of, rules: RULES, key_id }
}

/// An index that follows a log.
#[derive(Debug)]
pub(crate) struct Index {
    search: Search,
    /// The key under which it has identities as hashes.
    key: Option<Arc<SearchKey>>,
}

impl Index {
    /// Opens or makes the index of a log that lies in this directory; see [`Search::open`].
    pub(crate) fn open(
        directory: &Path,
        log: Log,
        of: PlainTerms,
        key: Option<Arc<SearchKey>>,
        commit: bool,
    ) -> Result<Self, LogError> {
        let search = Search::open(directory, log, terms(of, key.clone()), commit)?;
        Ok(Self { search, key })
    }

    /// Whether nobody can read identities out of it.
    pub(crate) const fn hides(&self) -> bool {
        self.key.is_some()
    }

    /// Of how many entries the terms are known.
    pub(crate) fn known(&self) -> u64 {
        self.search.known()
    }

    /// A plain term as the index has it.
    fn stored(&self, term: &str) -> String {
        self.key.as_ref().map_or_else(|| term.to_owned(), |key| key.hide(term).into_owned())
    }

    /// The entries that have a plain term; see [`Search::find`]. Blocks.
    pub(crate) fn find(&self, term: &str, limit: usize) -> Result<Vec<u64>, LogError> {
        self.search.find(&self.stored(term), limit)
    }

    /// What the index says of a plain term, and the term that the proof is about; see [`Search::answer_in`]. Blocks.
    pub(crate) fn answer(
        &self,
        head: &Arc<Head>,
        term: &str,
        size: Option<u64>,
        limit: usize,
    ) -> Result<Option<(String, Answer)>, LogError> {
        let stored = self.stored(term);
        Ok(self.search.answer_in(Arc::clone(head), &stored, size, limit)?.map(|answer| (stored, answer)))
    }
}
