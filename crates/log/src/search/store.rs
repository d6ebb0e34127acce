//! What the search index keeps, and where: a small interface, so that another store than SQLite can hold it.

use countersign_tlog::Hash;
use countersign_tlog::map::MapLeaf;
use countersign_tlog::merkle::Frontier;

/// How many entries of a term are kept together once there are so many. A power of two: together they are a complete
/// subtree of the tree over the term's entries.
pub const CHUNK: usize = 256;

/// What goes wrong in a store, in its own words.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// The entries of a term: full chunks, which lie apart, and those that make no full one yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermRecord {
    /// How many full chunks there are.
    pub chunks: u64,
    /// The roots of the complete subtrees that the full chunks make up.
    pub peaks: Vec<Hash>,
    /// The entries since, ascending, fewer than a chunk.
    pub tail: Vec<u64>,
    /// No entry lies above this one.
    pub last: u64,
}

/// A full chunk that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Whose it is.
    pub key: Hash,
    /// Which of the term's chunks.
    pub number: u64,
    /// The root of its subtree.
    pub hash: Hash,
    /// Its entries.
    pub entries: Vec<u64>,
}

impl TermRecord {
    /// The number of entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.chunks * CHUNK as u64 + self.tail.len() as u64
    }

    /// What the map commits to.
    #[must_use]
    pub fn leaf(&self, key: Hash) -> MapLeaf {
        let mut frontier = Frontier::from_peaks(self.chunks * CHUNK as u64, self.peaks.clone());
        self.tail.iter().for_each(|index| frontier.push(countersign_tlog::map::posting_hash(*index)));
        MapLeaf { key, count: self.count(), root: frontier.root() }
    }
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Of how many entries the terms are in the store now; of another number, nothing may be written.
    pub from: u64,
    /// Of how many entries the terms are in the store then.
    pub upto: u64,
    /// The records of terms that changed, with the hashes of their leaves.
    pub terms: Vec<(Hash, TermRecord, Hash)>,
    /// The chunks that became full.
    pub chunks: Vec<Chunk>,
}

/// Reading the index. Chunks never change, and entries are only added, so what is asked as of an earlier size has the
/// same answer for ever.
pub trait Reader: Send {
    /// Of how many entries the terms are known.
    ///
    /// # Errors
    /// The store's own; the same for all of these.
    fn upto(&self) -> Result<u64, StoreError>;

    /// The record of a term.
    ///
    /// # Errors
    /// The store's own.
    fn term(&self, key: &Hash) -> Result<Option<TermRecord>, StoreError>;

    /// The entries of a full chunk.
    ///
    /// # Errors
    /// The store's own.
    fn chunk(&self, key: &Hash, number: u64) -> Result<Option<Vec<u64>>, StoreError>;

    /// The hashes of a term's first chunks, below `end`.
    ///
    /// # Errors
    /// The store's own.
    fn chunk_hashes(&self, key: &Hash, end: u64) -> Result<Vec<Hash>, StoreError>;

    /// The keys from the first to the last one of these, ascending, each with the hash of its leaf and its newest entry.
    ///
    /// # Errors
    /// The store's own.
    fn each(
        &self,
        first: &Hash,
        last: &Hash,
        look: &mut dyn FnMut(Hash, Hash, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}

/// A store that holds the index.
pub trait Store: Reader {
    /// Writes all of this or nothing.
    ///
    /// # Errors
    /// The store's own.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Another way to read it, for another thread.
    ///
    /// # Errors
    /// The store's own.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}
