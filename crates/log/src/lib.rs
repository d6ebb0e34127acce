//! A durable transparency log, on local files or past one machine.
//!
//! [`Log::append`] returns when the entry is in the log for good: on disk, in a signed checkpoint, with its
//! inclusion proof. An acknowledged entry survives a kill at any instruction, a power cut, a full disk. The log
//! never signs a smaller or a different tree: it would rather not open.
//!
//! ```text
//!  append ──► queue ──► sequencer (one thread): what is queued is a batch
//!                          1  write-ahead file     wal/<size>       flushed
//!                          2  signed checkpoint    lock-record      flushed     ◄─ the commit
//!                          3  tiles, bundles       tile/…           flushed later, in the background
//!                          4  published            checkpoint
//!                          5  answers, from memory
//! ```
//!
//! The directory also has `lock` (held while the log is open), `params` (what the log is), `reserve` (space to
//! finish a batch on a full disk), `index.db` (which entry a retried request got; may be lost) and, if the log can be
//! [searched](search), `terms.db` (may be lost).
//!
//! The same log runs past one machine, on a database and an object store: see [`Log::join`] and
//! [`storage::Distributed`].
//!
//! Batches make it fast: two flushes and one signature for everything that came in meanwhile. The tiles are
//! those of C2SP `tlog-tiles` or `static-ct-api`.
//!
//! ```
//! use std::sync::Arc;
//! use countersign_clock::SystemClock;
//! use countersign_crypto::{KeyPair, KeyType, sha256};
//! use countersign_log::{Format, Log, LogParams, NewEntry, Options};
//!
//! # let directory = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let key = Arc::new(KeyPair::generate(KeyType::Ed25519)?);
//! let genesis = b"log.example begins".to_vec().into();
//! Log::create(directory.path(), &LogParams { origin: "log.example".into(), format: Format::Rekor, genesis })?;
//! let log = Log::open(directory.path(), Options::default(), vec![key], Arc::new(SystemClock))?;
//! let entry = b"an entry".to_vec();
//! let receipt = log
//!     .append(NewEntry { dedup_key: sha256(&entry), leaf: Box::new(|_index| entry.into()) })
//!     .await?;
//! assert_eq!((receipt.index, receipt.tree_size), (1, 2));
//! log.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backup;
mod cluster;
mod error;
mod flusher;
pub mod fsck;
mod health;
mod index;
mod key_file;
mod lock_record;
mod log;
mod mark;
mod migrate;
mod params;
mod recovery;
mod scrub;
pub mod search;
mod sequencer;
mod shared;
pub mod storage;
mod tree;
pub mod wal;
mod walk;
mod workers;

pub use cluster::{Frozen, freeze, successor_of, thaw};
pub use error::{AppendError, LogError};
pub use log::{KeyOf, Log, NewEntry, Options, Receipt};
pub use mark::Mark;
pub use migrate::{Migrated, migrate, migrate_retired};
pub use params::{Format, INTEGRATED_TIME_LEN, Leaf, LogParams, MAX_V1_BODY_BYTES};
pub use scrub::Scrubbed;
pub use search::{Search, Terms, TermsOf};
pub use shared::Head;
pub use walk::Finding;
pub use workers::Driven;
