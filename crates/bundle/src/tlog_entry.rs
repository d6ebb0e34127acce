//! An entry of a transparency log with its proofs, as bundles and logs exchange it
//! (`dev.sigstore.rekor.v1.TransparencyLogEntry`).

use countersign_attestation::json::{self, Base64, Bounded, Index, Int64};
use serde::{Deserialize, Serialize};

use crate::bundle::MAX_BUNDLE_LEN;
use crate::wire::LogId;
use crate::{BundleError, shape};

/// The most hashes of one inclusion proof: one for each level of the largest tree.
const MAX_PROOF_HASHES: usize = 64;

/// That an entry is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the leaf in its tree (for Rekor v1: in the shard).
    pub log_index: u64,
    /// Root of the tree.
    pub root_hash: Vec<u8>,
    /// How many leaves the tree has.
    pub tree_size: u64,
    /// Hashes from the leaf's sibling to below the root.
    pub hashes: Vec<Vec<u8>>,
    /// A signed note with this root; empty when there is none (v0.1 bundles only).
    pub checkpoint: String,
}

/// An entry of a transparency log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogEntry {
    /// Index of the entry in the log as a whole.
    pub log_index: u64,
    /// The log's id: 32 bytes.
    pub log_id: Vec<u8>,
    /// What the body is, such as `hashedrekord`.
    pub kind: String,
    /// The version of the body, such as `0.0.2`.
    pub version: String,
    /// When the log says it took the entry in, in seconds since the Unix epoch. Says nothing without a promise
    /// which verifies. Zero on the wire is `None`: Rekor v2 gives no times.
    pub integrated_time: Option<i64>,
    /// The signed entry timestamp of Rekor v1.
    pub inclusion_promise: Option<Vec<u8>>,
    /// The proof of inclusion.
    pub inclusion_proof: Option<InclusionProof>,
    /// What the log stores, exactly.
    pub canonicalized_body: Vec<u8>,
}

impl TlogEntry {
    /// Reads an entry: a log's answer, or a part of a bundle.
    ///
    /// # Errors
    /// [`BundleError`]: limits, members missing or of another type, negative numbers.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        json::from_slice::<WireEntry>(bytes, MAX_BUNDLE_LEN)?.read()
    }

    /// The entry as JSON text: members in the order of the protobuf message, every index and size there even when zero,
    /// numbers as strings.
    ///
    /// ```
    /// use countersign_bundle::{InclusionProof, TlogEntry};
    /// let entry = TlogEntry {
    ///     log_index: 0, log_id: vec![1; 32], kind: "hashedrekord".into(), version: "0.0.2".into(),
    ///     integrated_time: None, inclusion_promise: None,
    ///     inclusion_proof: Some(InclusionProof {
    ///         log_index: 0, root_hash: vec![2; 32], tree_size: 1, hashes: vec![], checkpoint: "c".into() }),
    ///     canonicalized_body: b"{}".to_vec(),
    /// };
    /// let json = entry.to_json();
    /// assert!(String::from_utf8_lossy(&json).starts_with(r#"{"logIndex":"0","logId":"#));
    /// assert_eq!(TlogEntry::from_json(&json)?, entry);
    /// # Ok::<(), countersign_bundle::BundleError>(())
    /// ```
    #[must_use]
    #[expect(clippy::expect_used, reason = "strings and lists only: there is nothing JSON cannot say")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&WireEntry::of(self)).expect("an entry as JSON")
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireEntry {
    #[serde(alias = "log_index", default, deserialize_with = "json::null_is_default")]
    log_index: Index,
    #[serde(alias = "log_id")]
    log_id: LogId,
    #[serde(alias = "kind_version")]
    kind_version: WireKindVersion,
    #[serde(alias = "integrated_time", default, deserialize_with = "json::null_is_default")]
    integrated_time: Int64,
    #[serde(alias = "inclusion_promise", default, skip_serializing_if = "Option::is_none")]
    inclusion_promise: Option<WirePromise>,
    #[serde(alias = "inclusion_proof", default, skip_serializing_if = "Option::is_none")]
    inclusion_proof: Option<WireProof>,
    #[serde(alias = "canonicalized_body")]
    canonicalized_body: Base64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireKindVersion {
    kind: String,
    version: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePromise {
    #[serde(alias = "signed_entry_timestamp")]
    signed_entry_timestamp: Base64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireProof {
    #[serde(alias = "log_index", default, deserialize_with = "json::null_is_default")]
    log_index: Index,
    #[serde(alias = "root_hash", default, deserialize_with = "json::null_is_default")]
    root_hash: Base64,
    #[serde(alias = "tree_size", default, deserialize_with = "json::null_is_default")]
    tree_size: Index,
    #[serde(default, deserialize_with = "json::null_is_default")]
    hashes: Bounded<Base64, MAX_PROOF_HASHES>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<WireCheckpoint>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireCheckpoint {
    #[serde(default, deserialize_with = "json::null_is_default")]
    envelope: String,
}

impl WireEntry {
    pub(crate) fn read(self) -> Result<TlogEntry, BundleError> {
        if self.integrated_time.0 < 0 {
            return Err(shape(format!(
                "integratedTime: expected 0 or more, found {}",
                self.integrated_time.0
            )));
        }
        if self.inclusion_promise.as_ref().is_some_and(|p| p.signed_entry_timestamp.0.is_empty()) {
            return Err(shape(
                "inclusionPromise: expected a signature or no promise at all, found an empty one",
            ));
        }
        let inclusion_proof = match self.inclusion_proof {
            None => None,
            Some(proof) => Some(InclusionProof {
                log_index: proof.log_index.0,
                root_hash: proof.root_hash.0,
                tree_size: proof.tree_size.0,
                hashes: proof.hashes.0.into_iter().map(|h| h.0).collect(),
                checkpoint: proof.checkpoint.map(|c| c.envelope).unwrap_or_default(),
            }),
        };
        Ok(TlogEntry {
            log_index: self.log_index.0,
            log_id: self.log_id.key_id.0,
            kind: self.kind_version.kind,
            version: self.kind_version.version,
            integrated_time: (self.integrated_time.0 != 0).then_some(self.integrated_time.0),
            inclusion_promise: self.inclusion_promise.map(|p| p.signed_entry_timestamp.0),
            inclusion_proof,
            canonicalized_body: self.canonicalized_body.0,
        })
    }

    pub(crate) fn of(entry: &TlogEntry) -> Self {
        let inclusion_proof = entry.inclusion_proof.as_ref().map(|proof| WireProof {
            log_index: Index(proof.log_index),
            root_hash: Base64(proof.root_hash.clone()),
            tree_size: Index(proof.tree_size),
            hashes: Bounded(proof.hashes.iter().cloned().map(Base64).collect()),
            checkpoint: (!proof.checkpoint.is_empty())
                .then(|| WireCheckpoint { envelope: proof.checkpoint.clone() }),
        });
        Self {
            log_index: Index(entry.log_index),
            log_id: LogId { key_id: Base64(entry.log_id.clone()) },
            kind_version: WireKindVersion { kind: entry.kind.clone(), version: entry.version.clone() },
            integrated_time: Int64(entry.integrated_time.unwrap_or(0)),
            inclusion_promise: entry
                .inclusion_promise
                .clone()
                .map(|p| WirePromise { signed_entry_timestamp: Base64(p) }),
            inclusion_proof,
            canonicalized_body: Base64(entry.canonicalized_body.clone()),
        }
    }
}
