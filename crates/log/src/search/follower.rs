//! Reads the entries that came since and adds their terms to the store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use countersign_crypto::encoding::hex_encode;
use countersign_tlog::Hash;
use countersign_tlog::map::key_of;

use super::postings::added;
use super::sqlite::Sqlite;
use super::store::Store;
use crate::{Log, LogError};

/// Tells what terms an entry has, from how it is stored.
pub type TermsOf = Arc<dyn Fn(&[u8]) -> Vec<String> + Send + Sync>;

/// What an index holds.
#[derive(Clone)]
pub struct Terms {
    /// The terms of an entry.
    pub of: TermsOf,
    /// Names the rules by which these are made. An index by others is made anew.
    pub rules: &'static str,
    /// The id of the key under which it has identities as hashes, if it does: a part of the rules, and of what checkpoints
    /// state.
    pub key_id: Option<Hash>,
}

impl Terms {
    /// The name of rules and key together.
    fn name(&self) -> String {
        let key = self.key_id.iter().map(|id| format!(" {}", hex_encode(id)));
        std::iter::once(self.rules.to_owned()).chain(key).collect()
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Where entries come from.
pub(super) trait Entries: Send {
    fn size(&self) -> u64;

    /// The entries from an index on to the end of its bundle or of a tree of this size; one at least.
    fn entries_from(&self, from: u64, size: u64) -> Result<Vec<Bytes>, LogError>;
}

impl Entries for Log {
    fn size(&self) -> u64 {
        self.head().size
    }

    fn entries_from(&self, from: u64, size: u64) -> Result<Vec<Bytes>, LogError> {
        Self::entries_from(self, from, size)
    }
}

/// The most entries of one transaction.
const STEP: u64 = 4096;

/// What a step added.
pub(super) struct Step {
    /// The number of entries in the store before it, and after it.
    pub(super) from: u64,
    pub(super) upto: u64,
    /// The terms that have got some.
    pub(super) keys: Vec<Hash>,
}

pub(super) struct Follower {
    pub(super) entries: Box<dyn Entries>,
    pub(super) terms: Terms,
    pub(super) store: Box<dyn Store>,
}

impl Follower {
    pub(super) fn open(directory: &Path, entries: Box<dyn Entries>, terms: Terms) -> Result<Self, LogError> {
        let store = Box::new(Sqlite::open(directory, entries.size(), &terms.name())?);
        Ok(Self { entries, terms, store })
    }

    pub(super) fn known(&self) -> Result<u64, LogError> {
        self.store.upto().map_err(LogError::Search)
    }

    /// Adds the terms of the next entries below `size`.
    pub(super) fn step(&mut self, size: u64) -> Result<Step, LogError> {
        let from = self.known()?;
        let (mut next, end) = (from, size.min(from.saturating_add(STEP)));
        let mut entries = BTreeMap::<Hash, Vec<u64>>::new();
        while next < end {
            let bundle = self.entries.entries_from(next, size)?;
            for (entry, index) in bundle.iter().zip(next..) {
                for term in (self.terms.of)(entry) {
                    entries.entry(key_of(&term)).or_default().push(index);
                }
            }
            next += bundle.len() as u64;
        }
        let batch = added(self.store.as_ref(), &entries, (from, next)).map_err(LogError::Search)?;
        self.store.write(&batch).map_err(LogError::Search)?;
        Ok(Step { from, upto: next, keys: entries.into_keys().collect() })
    }
}
