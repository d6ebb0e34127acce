//! Transparency logs as data: Merkle trees and proofs, tiles, signed notes, checkpoints and cosignatures.
//!
//! Specifications: RFC 6962 and RFC 9162 (tree and proofs), and C2SP's `signed-note`, `tlog-checkpoint`,
//! `tlog-tiles`, `tlog-cosignature` and `static-ct-api`.
//!
//! The crate is pure: no I/O, no clock, no threads. Everything here takes bytes and gives bytes or a verdict.
//!
//! ```
//! use countersign_tlog::merkle;
//! // A tree of two leaves: the proof of leaf 0 is the hash of leaf 1.
//! let (a, b) = (merkle::leaf_hash(b"a"), merkle::leaf_hash(b"b"));
//! let root = merkle::node_hash(&a, &b);
//! merkle::verify_inclusion(&a, 0, 2, &[b], &root)?;
//! assert!(merkle::verify_inclusion(&a, 1, 2, &[b], &root).is_err());
//! # Ok::<(), countersign_tlog::merkle::ProofError>(())
//! ```

pub mod add_checkpoint;
pub mod checkpoint;
pub mod fork;
pub mod map;
pub mod merkle;
pub mod monitor;
pub mod note;
pub mod proof;
mod signature;
pub mod static_ct;
pub mod tile;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use map::IndexCommitment;
pub use merkle::Hash;
pub use note::{Note, NoteKind, NoteSigner, NoteVerifier, VerifiedSignature};
pub use witness::Witnesses;
