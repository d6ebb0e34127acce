//! One entry of a log of Rekor v1, by its index over all trees or by its id, with the proof that comes with it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_http::join;
use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
use countersign_tlog::{Hash, NoteVerifier};

use super::{Found, RekorV1, read, read_hashes, signed, tree_of};
use crate::ClientError;
use crate::log::VerifiedCheckpoint;

/// What an entry is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryName {
    /// Its index; of Rekor v1 over all trees of the log.
    Index(u64),
    /// Its UUID, in Rekor v1: the hash of its leaf, and before it the number of its tree, or nothing.
    Uuid {
        /// The number of the tree.
        tree: Option<u64>,
        /// The hash of the leaf.
        leaf: Hash,
    },
}

impl FromStr for EntryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        let uuid = |text: &str| {
            let bytes = hex_decode(text).ok()?;
            let (tree, leaf) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
            let tree = match tree {
                [] => None,
                tree => Some(u64::from_be_bytes(tree.try_into().ok()?)),
            };
            Some(Self::Uuid { tree, leaf: leaf.try_into().ok()? })
        };
        uuid(text).ok_or_else(|| {
            "expected an index, or the UUID of an entry of Rekor v1: 64 hexadecimal digits, or 80 with the tree's number".into()
        })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Uuid { tree, leaf } => {
                tree.map_or(Ok(()), |tree| write!(f, "{tree:016x}"))?;
                f.write_str(&hex_encode(leaf))
            }
        }
    }
}

/// An entry of Rekor v1, verified: it is in a tree that the log signed.
#[derive(Debug, Clone)]
pub struct EntryV1 {
    /// The number of its tree and the hash of its leaf.
    pub uuid: String,
    /// Its index over all trees of the log.
    pub index: u64,
    /// Its place in its own tree.
    pub in_tree: u64,
    /// What is hashed.
    pub body: Vec<u8>,
    /// What leads from it to the tree's root.
    pub proof: Vec<Hash>,
    /// The tree, as the log signed it.
    pub tree: VerifiedCheckpoint,
}

impl RekorV1<'_> {
    /// An entry with its proof in a tree that one of these keys signed. It is the one asked for: by its id, the leaf and the
    /// tree are those of the id; by its index, what precedes it in its tree and the trees before is as many.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when there is none, or it is not proven; [`ClientError::Http`].
    pub async fn entry(&self, wanted: &EntryName, keys: &[NoteVerifier]) -> Result<EntryV1, ClientError> {
        let place = self.place();
        let wrong = |why: &str| ClientError::Proof(format!("the entry {wanted} of {place}: {why}"));
        let url = match wanted {
            EntryName::Index(index) => {
                let mut url = join(&self.base, "/api/v1/log/entries");
                url.query_pairs_mut().append_pair("logIndex", &index.to_string());
                url
            }
            EntryName::Uuid { .. } => join(&self.base, &format!("/api/v1/log/entries/{wanted}")),
        };
        let response = self.request(&url).await?;
        if response.status == 404 {
            return Err(wrong("the log of Rekor v1 there says that it has none"));
        }
        let found: BTreeMap<String, Found> = read(&response.expect(&[200])?)?;
        let Found { body, log_index, verification, .. } =
            found.into_values().next().ok_or_else(|| wrong("the answer holds none"))?;
        let proof =
            verification.and_then(|v| v.inclusion_proof).ok_or_else(|| wrong("it comes without a proof"))?;
        let tree = signed(proof.checkpoint, keys).map_err(|why| self.wrong_checkpoint(&why))?;
        let (leaf, size) = (leaf_hash(&body.0), tree.checkpoint.size);
        let hashes = read_hashes(&proof.hashes.0)?;
        verify_inclusion(&leaf, proof.log_index, size, &hashes, &tree.checkpoint.root)
            .map_err(|e| wrong(&format!("it is not what the checkpoint beside it covers: {e}")))?;
        let id = tree_of(&tree.checkpoint.origin).and_then(|id| id.parse().ok());
        let id: u64 = id.ok_or_else(|| wrong("the origin of its checkpoint names no tree"))?;
        let index = self.offset(&tree.checkpoint).await?.saturating_add(proof.log_index);
        let is_it = match wanted {
            EntryName::Index(wanted) => index == *wanted && log_index == index,
            EntryName::Uuid { tree, leaf: wanted } => leaf == *wanted && tree.is_none_or(|tree| tree == id),
        };
        if !is_it {
            return Err(wrong(&format!("the log gave another, entry {index}")));
        }
        let uuid = EntryName::Uuid { tree: Some(id), leaf }.to_string();
        Ok(EntryV1 { uuid, index, in_tree: proof.log_index, body: body.0, proof: hashes, tree })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_named_by_its_index_or_its_uuid() {
        let leaf = [0x0a; 32];
        let of = |text: &str| text.parse::<EntryName>();
        assert_eq!(of("42"), Ok(EntryName::Index(42)));
        let short = "0A".repeat(32);
        assert_eq!(of(&short), Ok(EntryName::Uuid { tree: None, leaf }));
        let long = format!("0000000000000007{}", "0a".repeat(32));
        assert_eq!(of(&long), Ok(EntryName::Uuid { tree: Some(7), leaf }));
        assert_eq!(of(&long).unwrap().to_string(), long);
        for none in ["", "-1", "x", &short[1..], &format!("00{short}"), &format!("00{long}"), &"9".repeat(30)]
        {
            assert!(of(none).unwrap_err().contains("expected an index, or the UUID"), "{none}");
        }
    }
}
