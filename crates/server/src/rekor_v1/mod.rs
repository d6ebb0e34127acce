//! The log of Rekor v1: its shards, and what it says of an entry.
//!
//! A shard is one tree under one key. The last one takes entries; those before it were rotated out and are read only. An
//! entry has an index in its tree and one over all shards, the virtual one, which the log's promise is over.

mod admit;
mod search;

use std::sync::Arc;

use countersign_bundle::rekor::BodyV1;
use countersign_clock::Clock;
use countersign_crypto::encoding::{base64_encode, hex_encode};
use countersign_crypto::{CryptoError, Signer};
use countersign_log::{AppendError, Head, Leaf, Log, LogError, NewEntry, Receipt};
use countersign_tlog::Hash;
use countersign_tlog::merkle::leaf_hash;
use countersign_verify::terms::SearchKey;
use serde_json::{Value, json};

use crate::index::Index;
pub(crate) use admit::{CLOCKS_APART, admit, begins, valid_now};
pub(crate) use search::{Query, QueryError, terms_of};

/// Why an answer cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RekorError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the log's key: {0}")]
    Key(#[from] CryptoError),
    #[error("an entry is stored without its time")]
    Stored,
    #[error("the work was interrupted")]
    Interrupted,
}

/// One tree, open.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) log: Log,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) tree_id: u64,
    /// The virtual index of its first entry.
    first: u64,
    index: Index,
}

/// An entry with its proof, where it stands in which tree.
pub(crate) struct Found {
    index: u64,
    stored: bytes::Bytes,
    proof: Vec<Hash>,
    head: Head,
}

/// The whole log.
#[derive(Debug)]
pub(crate) struct RekorV1 {
    /// The retired ones, oldest first.
    retired: Vec<Arc<Shard>>,
    active: Arc<Shard>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The number by which an entry is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryId {
    /// Of one tree only, or of any.
    pub(crate) tree_id: Option<u64>,
    pub(crate) leaf: Hash,
}

impl EntryId {
    /// 64 hexadecimal digits, or 80 with the tree's number before them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = countersign_crypto::encoding::hex_decode(text).ok()?;
        let (tree, leaf) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        let tree_id = match tree {
            [] => None,
            tree => Some(u64::from_be_bytes(tree.try_into().ok()?)),
        };
        Some(Self { tree_id, leaf: leaf.try_into().ok()? })
    }
}

impl Shard {
    /// A shard whose entries begin at this virtual index.
    pub(crate) fn open(
        directory: &std::path::Path,
        log: Log,
        signer: Arc<dyn Signer>,
        first: u64,
        search_key: Option<Arc<SearchKey>>,
    ) -> Result<Self, LogError> {
        let tree_id =
            log.params().tree_id().ok_or_else(|| LogError::Params("this is no log of Rekor v1".into()))?;
        let index = search::open(directory, log.clone(), search_key)?;
        Ok(Self { log, signer, tree_id, first, index })
    }

    /// The virtual index after its last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.log.head().size
    }

    fn entry_id(&self, leaf: &Hash) -> String {
        format!("{:016x}{}", self.tree_id, hex_encode(leaf))
    }

    /// An entry of this tree with a proof in the newest one. Blocks.
    fn read(&self, index: u64) -> Result<Found, RekorError> {
        let head = Head::clone(&self.log.head());
        let stored = self.log.entry(index)?;
        let proof = self.log.proof(index, head.size)?;
        Ok(Found { index, stored, proof, head })
    }

    /// An entry as the log gives it out: its id, and what the log says of it. May block, when the key lives elsewhere.
    fn tell(&self, found: &Found) -> Result<(String, Value), RekorError> {
        let (seconds, body) = Leaf::parts_v1(&found.stored).ok_or(RekorError::Stored)?;
        let text = base64_encode(body);
        let log_id = hex_encode(&self.signer.public_key().fingerprint());
        let virtual_index = self.first + found.index;
        // JCS orders members by name; base64, hex and integers need no escaping.
        let promised = format!(
            "{{\"body\":\"{text}\",\"integratedTime\":{seconds},\"logID\":\"{log_id}\",\"logIndex\":{virtual_index}}}"
        );
        let promise = self.signer.sign(promised.as_bytes())?;
        let hashes: Vec<String> = found.proof.iter().map(|h| hex_encode(h)).collect();
        let entry = json!({
            "body": text,
            "integratedTime": seconds,
            "logID": log_id,
            "logIndex": virtual_index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": &*found.head.checkpoint,
                    "hashes": hashes,
                    "logIndex": found.index,
                    "rootHash": hex_encode(&found.head.root),
                    "treeSize": found.head.size,
                },
                "signedEntryTimestamp": base64_encode(&promise),
            },
        });
        Ok((self.entry_id(&leaf_hash(body)), entry))
    }

    /// The state of the tree, as `GET /api/v1/log` has it.
    pub(crate) fn state(&self) -> serde_json::Map<String, Value> {
        let head = self.log.head();
        [
            ("rootHash", Value::from(hex_encode(&head.root))),
            ("signedTreeHead", Value::from(&*head.checkpoint)),
            ("treeID", Value::from(self.tree_id.to_string())),
            ("treeSize", Value::from(head.size)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// What became of an entry that was admitted.
pub(crate) enum Appended {
    /// It is new: its id, and what the log says of it.
    New(String, Value),
    /// It was there before, under this id.
    Before(String),
}

/// Why an entry was not appended.
pub(crate) enum NotAppended {
    Append(AppendError),
    Told(RekorError),
}

impl RekorV1 {
    /// The log of these shards, the oldest first.
    pub(crate) fn new(retired: Vec<Shard>, active: Shard, clock: Arc<dyn Clock>) -> Self {
        let retired = retired.into_iter().map(Arc::new).collect();
        Self { retired, active: Arc::new(active), clock }
    }

    pub(crate) fn active(&self) -> &Arc<Shard> {
        &self.active
    }

    pub(crate) fn retired(&self) -> &[Arc<Shard>] {
        &self.retired
    }

    /// Every shard, the newest first.
    fn shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        std::iter::once(&self.active).chain(self.retired.iter().rev())
    }

    /// The shard of a tree, or the active one.
    pub(crate) fn shard(&self, tree_id: Option<u64>) -> Option<&Arc<Shard>> {
        match tree_id {
            None => Some(&self.active),
            Some(id) => self.shards().find(|shard| shard.tree_id == id),
        }
    }

    /// Appends an entry that was admitted. The time in it is that of the commit.
    pub(crate) async fn append(&self, body: &BodyV1) -> Result<Appended, NotAppended> {
        let canonical = body.canonical_body();
        let clock = Arc::clone(&self.clock);
        let shard = Arc::clone(&self.active);
        let receipt = shard
            .log
            .append(NewEntry {
                dedup_key: leaf_hash(&canonical),
                leaf: Box::new(move |_| {
                    Leaf::v1(u64::try_from(clock.now().as_second()).unwrap_or_default(), canonical)
                }),
            })
            .await
            .map_err(NotAppended::Append)?;
        let Receipt { index, proof, tree_size, root, checkpoint, leaf, duplicate } = receipt;
        let head = Head { size: tree_size, root, time_ms: 0, checkpoint };
        let found = Found { index, stored: leaf, proof, head };
        let told = blocking(move || shard.tell(&found)).await.map_err(NotAppended::Told)?;
        Ok(if duplicate { Appended::Before(told.0) } else { Appended::New(told.0, told.1) })
    }

    /// The entry of an id, with what the log says of it. Blocks.
    pub(crate) fn by_id(&self, id: &EntryId) -> Result<Option<(String, Value)>, RekorError> {
        for shard in self.shards().filter(|s| id.tree_id.is_none_or(|tree| tree == s.tree_id)) {
            if let Some(index) = shard.log.find_leaf(&id.leaf)? {
                return shard.tell(&shard.read(index)?).map(Some);
            }
        }
        Ok(None)
    }

    /// The entry of a virtual index. Blocks.
    pub(crate) fn by_index(&self, index: u64) -> Result<Option<(String, Value)>, RekorError> {
        match self.shards().find(|s| (s.first..s.end()).contains(&index)) {
            Some(shard) => shard.tell(&shard.read(index - shard.first)?).map(Some),
            None => Ok(None),
        }
    }

    /// The ids of the entries that a question finds, the newest first. Blocks.
    pub(crate) fn search(&self, query: &Query) -> Result<Vec<String>, RekorError> {
        let mut ids = Vec::new();
        for shard in self.shards() {
            for index in query.ask(&shard.index)? {
                // From the tree and not from the entries: an answer may have thousands, and a bundle is large.
                ids.push(shard.entry_id(&shard.log.leaf_hash(index)?));
            }
        }
        Ok(ids)
    }
}

/// Does what may take a while where it keeps nobody else from being served.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RekorError> + Send + 'static,
) -> Result<T, RekorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(RekorError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_two_lengths_and_of_hexadecimal_digits_only() {
        let leaf = "ab".repeat(32);
        assert_eq!(EntryId::parse(&leaf), Some(EntryId { tree_id: None, leaf: [0xab; 32] }));
        let id = EntryId::parse(&format!("00000000000000ff{leaf}")).unwrap();
        assert_eq!(id.tree_id, Some(255));
        for bad in [
            "",
            "zz",
            &leaf[1..],
            &leaf[2..],
            &format!("ff{leaf}"),
            &format!("{leaf}{leaf}"),
            &"g".repeat(64),
        ] {
            assert_eq!(EntryId::parse(bad), None, "{bad}");
        }
    }
}
