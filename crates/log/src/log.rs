//! The log as its users hold it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use countersign_clock::Clock;
use countersign_crypto::Signer;
use countersign_tlog::{Hash, IndexCommitment, proof};
use tokio::sync::{oneshot, watch};

use crate::flusher::{FlushJob, Flusher};
use crate::health::Health;
use crate::index::{Index, Key, catch_up};
use crate::key_file::KeyFile;
use crate::lock_record::{FROZEN, LOCK_RECORD, LockRecord, MOVED};
use crate::mark::Mark;
use crate::params::PARAMS;
use crate::recovery::{CHECKPOINT, Recovered, read_params, recover};
use crate::sequencer::{Committed, MakeLeaf, Message, Pending, RESERVE, Sequencer, make_reserve};
use crate::shared::{Head, Shared};
use crate::storage::{Files, KeyTable, LockAttempt, Storage};
use crate::tree::TreeAt;
use crate::wal::{Base, BatchWriter, Segment, WAL, segment_path};
use crate::workers::{Driven, Workers};
use crate::{AppendError, Leaf, LogError, LogParams};

pub(crate) const LOCK: &str = "lock";
/// When a client of an overloaded log should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Finds the key of a stored entry, to make a lost index of duplicates anew.
pub type KeyOf = Arc<dyn Fn(&[u8]) -> Key + Send + Sync>;

/// How a log runs.
#[derive(Clone)]
pub struct Options {
    /// How long a batch waits for more entries when fewer came than last time. Default 5 ms.
    pub linger: Duration,
    /// The most entries of a batch. Default 4,096.
    pub max_batch: usize,
    /// The most entries waiting; more get [`AppendError::Overloaded`]. Default 16,384.
    pub queue: usize,
    /// The size in bytes at which a new write-ahead segment is begun. Default 32 MiB.
    pub segment_bytes: u64,
    /// The space in bytes set aside to finish a batch when the disk fills. Default 32 MiB; 0 for none.
    pub reserve_bytes: usize,
    /// How a lost index of duplicates gets its keys back from the entries, and a damaged one is found out; without
    /// it, a lost one begins empty and a damaged one is believed.
    pub key_of: Option<KeyOf>,
    /// A file outside of the log's directory in which the newest checkpoint is marked, so that a directory put back
    /// whole from an old copy is not signed upon. Without it only those put back in part are found out.
    pub mark: Option<Mark>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            max_batch: 4096,
            queue: 16_384,
            segment_bytes: 32 << 20,
            reserve_bytes: 32 << 20,
            key_of: None,
            mark: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("linger", &self.linger)
            .field("max_batch", &self.max_batch)
            .field("queue", &self.queue)
            .field("segment_bytes", &self.segment_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("key_of", &self.key_of.is_some())
            .field("mark", &self.mark)
            .finish()
    }
}

/// An entry to be appended.
pub struct NewEntry {
    /// What makes two requests the same: the second gets the first one's entry. A collision-resistant hash of
    /// all that tells requests apart.
    pub dedup_key: Key,
    /// Makes the leaf when its index is known. Called on the sequencer's thread: it should be quick.
    pub leaf: MakeLeaf,
}

impl std::fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEntry").field("dedup_key", &self.dedup_key).finish_non_exhaustive()
    }
}

/// What an acknowledged append gets: the entry is durable, and this proves that it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's index, from 1: the genesis entry has 0.
    pub index: u64,
    /// The inclusion proof in the tree of `tree_size`.
    pub proof: Vec<Hash>,
    /// The size of the tree.
    pub tree_size: u64,
    /// Its root.
    pub root: Hash,
    /// The signed checkpoint of that size and root.
    pub checkpoint: Arc<str>,
    /// The entry as it is stored; for a duplicate, the one stored first.
    pub leaf: Bytes,
    /// Whether the entry was there before.
    pub duplicate: bool,
}

/// A log open for appending and reading. Clones are the same log.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    closing: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
}

impl Log {
    /// Makes a log in a directory, which is made too. Nothing is signed yet; the first [`Log::open`] signs the
    /// tree with the genesis entry.
    ///
    /// # Errors
    /// [`LogError::Exists`] when a log or what is left of one is there, [`LogError::Params`], [`LogError::Io`].
    pub fn create(directory: &Path, params: &LogParams) -> Result<(), LogError> {
        std::fs::create_dir_all(directory)
            .map_err(LogError::io(format!("making the directory {}", directory.display())))?;
        Self::create_on(&Files::new(directory), params)?;
        // The directory's own name.
        let parent = match directory.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        Files::new(parent).sync_dir("").map_err(LogError::io("flushing the directory's name"))
    }

    /// Makes a log on any storage.
    ///
    /// # Errors
    /// As [`Log::create`].
    pub fn create_on(storage: &dyn Storage, params: &LogParams) -> Result<(), LogError> {
        params.check()?;
        // Nobody else makes it at the same time, nor writes one that is there.
        let _guard = match storage.lock(LOCK, &holder()).map_err(LogError::io("taking the log's lock"))? {
            LockAttempt::Taken(guard) => guard,
            LockAttempt::HeldBy(holder) => return Err(LogError::LockedBy { holder }),
        };
        let names = storage.list("").map_err(LogError::io("listing the log's directory"))?;
        if let Some(found) =
            names.iter().find(|n| [LOCK_RECORD, FROZEN, MOVED, CHECKPOINT, "tile"].contains(&n.as_str()))
        {
            return Err(LogError::Exists { found: found.clone() });
        }
        let doing = || LogError::io("creating the log");
        // A creation that did not come to its end left these at most.
        storage.remove_dir(WAL).map_err(doing())?;
        storage.remove(&segment_path(0)).map_err(doing())?;
        storage.replace(PARAMS, &params.encode()).map_err(doing())?;
        storage.sync(PARAMS).map_err(doing())?;
        Segment::create(storage, &Base { size: 0, levels: Vec::new(), bundle: Vec::new() })
            .map_err(doing())?;
        storage.sync_dir("").map_err(doing())?;
        // Last, because it makes the directory a log.
        LockRecord::create(storage).map_err(doing())?;
        storage.sync_dir("").map_err(doing())
    }

    /// Opens a log, recovers it and starts its threads. The first signer's signature is the one by which the
    /// log knows its own checkpoints: Ed25519 for Rekor, P-256 for static CT.
    ///
    /// This blocks while it reads the write-ahead file, well under a second as a rule.
    ///
    /// # Errors
    /// [`LogError::LockedBy`] at once when another process has the log open; [`LogError::Inconsistent`],
    /// [`LogError::Corrupt`] and [`LogError::NoLockRecord`] when the files do not lead to the tree that was
    /// signed last; [`LogError::Signers`]; [`LogError::Io`].
    pub fn open(
        directory: &Path,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let storage: Arc<dyn Storage> = Arc::new(Files::new(directory));
        Self::open_on(&storage, options, signers, clock)
    }

    /// Who has the log in a directory open, to be told before anything that takes long is done; nobody as a rule.
    #[must_use]
    pub fn holder_of(directory: &Path) -> Option<String> {
        match Files::new(directory).lock(LOCK, &holder()) {
            Ok(LockAttempt::HeldBy(holder)) => Some(holder),
            // What goes wrong here goes wrong again when the log is opened.
            Ok(LockAttempt::Taken(_)) | Err(_) => None,
        }
    }

    /// Opens a log on any storage. Without a [table of keys](Storage::key_table) or a [location](Storage::location) for
    /// one there is no index of duplicates; then only keys in the write-ahead file are found again.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(
        storage: &Arc<dyn Storage>,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let (log, workers) = Self::prepare(storage, options, signers, clock)?;
        workers.start()?;
        Ok(log)
    }

    /// Opens a log without threads: its work is done by whoever holds what is given beside it.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_driven(
        storage: &Arc<dyn Storage>,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Driven), LogError> {
        let (log, workers) = Self::prepare(storage, options, signers, clock)?;
        Ok((log, Driven::new(workers)))
    }

    fn prepare(
        storage: &Arc<dyn Storage>,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Workers), LogError> {
        let params = read_params(storage.as_ref())?;
        let guard = match storage.lock(LOCK, &holder()).map_err(LogError::io("taking the log's lock"))? {
            LockAttempt::Taken(guard) => guard,
            LockAttempt::HeldBy(holder) => return Err(LogError::LockedBy { holder }),
        };
        let signers = signers
            .into_iter()
            .map(|signer| params.format.signer(&params.origin, signer))
            .collect::<Result<Vec<_>, _>>()?;
        let recovered = recover(storage, &params, &signers)?;
        let Recovered { lock, tree, edge, bundle, segment, recent, keys, first_key, partial, finished } =
            recovered;

        let committed = lock.current();
        let mark = match options.mark.clone() {
            Some(mark) => mark.check(&tree, committed, &signers)?,
            None => None,
        };
        let table = match (storage.key_table(), storage.location()) {
            (Some(table), _) => Some(table),
            (None, Some(directory)) => Some(Arc::new(KeyFile::open(directory)?) as Arc<dyn KeyTable>),
            (None, None) => None,
        };
        let (index, writer, index_thread) = match table {
            Some(table) => {
                let (index, writer, thread) = Index::open(table, committed.size)?;
                (Some(index), Some(writer), Some(thread))
            }
            None => (None, None, None),
        };
        let head = Head {
            size: committed.size,
            root: committed.root,
            time_ms: committed.time_ms,
            checkpoint: committed.note.as_str().into(),
        };
        let health = Arc::new(Health::new());
        let shared = Arc::new(Shared {
            params,
            tree,
            health: health.clone(),
            index: index.clone(),
            others_keys: None,
            key_of: options.key_of.clone(),
            head: RwLock::new(Arc::new(head)),
            frozen: AtomicBool::new(false),
            commitment: RwLock::default(),
        });
        if let (Some(index), Some(writer)) = (&index, &writer) {
            catch_up(&shared, index, writer, &keys, first_key)?;
        }

        let (jobs, receiver) = channel();
        for (from, to) in finished {
            // The receiver is at hand.
            let _ = jobs.send(FlushJob { from, to });
        }
        let flusher = Flusher {
            storage: storage.clone(),
            format: shared.params.format,
            health,
            index: writer.clone(),
            jobs: receiver,
        };
        let (queue, messages) = sync_channel(options.queue);
        let reserve = make_reserve(storage.as_ref(), options.reserve_bytes).is_ok();
        if !reserve {
            tracing::warn!("there is no space for the log's reserve; it takes no entries until there is");
            storage.remove(RESERVE).map_err(LogError::io("removing an unfinished reserve"))?;
        }
        let mut sequencer = Sequencer {
            shared: shared.clone(),
            messages,
            lock,
            segment,
            edge,
            bundle,
            recent,
            signers,
            clock,
            index: writer,
            flusher: jobs,
            options,
            batch: BatchWriter::default(),
            carried: Default::default(),
            expected: 1,
            reserve,
            partial,
            mark,
        };
        if shared.head().size == 0 {
            let genesis = shared.params.genesis.clone();
            let key = countersign_tlog::merkle::leaf_hash(&genesis.merkle_leaf);
            sequencer.commit_first(key, genesis).map_err(|error| match error {
                AppendError::Signing(reason) => LogError::Signers(reason),
                other => LogError::Io {
                    doing: "writing the log's first entry".into(),
                    error: std::io::Error::other(other),
                },
            })?;
        }
        let (end, ended) = watch::channel(false);
        let index = index.zip(index_thread);
        let workers = Workers { sequencer, flusher, index, guard, end };
        Ok((Self::assemble(shared, queue, ended), workers))
    }

    /// A log whose messages some thread takes until it says that it has ended.
    pub(crate) fn assemble(
        shared: Arc<Shared>,
        queue: SyncSender<Message>,
        ended: watch::Receiver<bool>,
    ) -> Self {
        Self { shared, queue, closing: Arc::new(AtomicBool::new(false)), ended }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Appends an entry. When this returns a receipt, the entry is durable, and the receipt proves it.
    ///
    /// A key that the log has already gets the first entry's index and a fresh proof.
    ///
    /// # Errors
    /// [`AppendError`]; see there what each says about the entry.
    pub async fn append(&self, entry: NewEntry) -> Result<Receipt, AppendError> {
        let shared = &self.shared;
        self.check_open()?;
        // Before the look-up, which may then know more than this but not less.
        let checked_up_to = shared.indexed_upto();
        let key = entry.dedup_key;
        if let Some(index) = shared.indexed(&key)
            && let Some(stored) = self.blocking(move |shared| shared.vouched(index, &key)).await.flatten()
        {
            let (stored, head) = (Some(stored), shared.head());
            return self.receipt(key, Committed { index, stored, head, duplicate: true }).await;
        }
        let committed = self.commit(entry, checked_up_to).await?;
        self.receipt(key, committed).await
    }

    fn check_open(&self) -> Result<(), AppendError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(AppendError::ShuttingDown);
        }
        if self.shared.health.is_failed() {
            return Err(AppendError::Storage(self.shared.health.reason().to_string()));
        }
        if self.shared.is_frozen() {
            return Err(AppendError::RotatedOut);
        }
        Ok(())
    }

    /// Commits an entry whose key was looked up in the index, which had all keys up to this one.
    pub(crate) async fn commit(&self, entry: NewEntry, checked_up_to: u64) -> Result<Committed, AppendError> {
        self.check_open()?;
        let (reply, answer) = oneshot::channel();
        let pending = Pending { key: entry.dedup_key, leaf: entry.leaf, checked_up_to, reply };
        match self.queue.try_send(Message::Append(pending)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(AppendError::Overloaded { retry_after: RETRY_AFTER }),
            Err(TrySendError::Disconnected(_)) => return Err(self.stopped()),
        }
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(self.stopped()),
        }
    }

    /// Does what may take a while where it keeps nobody else from being served.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.ok()
    }

    /// Why nothing answers any more.
    fn stopped(&self) -> AppendError {
        if self.shared.health.is_failed() {
            AppendError::Storage(self.shared.health.reason().to_string())
        } else {
            AppendError::ShuttingDown
        }
    }

    async fn receipt(&self, key: Key, committed: Committed) -> Result<Receipt, AppendError> {
        let Committed { index, stored, head, duplicate } = committed;
        let failed = |error: &dyn std::fmt::Display| AppendError::Storage(error.to_string());
        let source = TreeAt { tree: &self.shared.tree, size: head.size };
        let proof = proof::inclusion(&source, index, head.size).map_err(|e| failed(&e))?;
        let leaf = match stored {
            Some(stored) => stored,
            // Of a duplicate only the place was told, past one machine by another process.
            None => match self.blocking(move |shared| shared.vouched(index, &key)).await.flatten() {
                Some(entry) => entry,
                None => return Err(failed(&"the entry of a duplicate cannot be read, or is another")),
            },
        };
        let checkpoint = head.checkpoint.clone();
        Ok(Receipt { index, proof, tree_size: head.size, root: head.root, checkpoint, leaf, duplicate })
    }

    /// What the log is.
    #[must_use]
    pub fn params(&self) -> &LogParams {
        &self.shared.params
    }

    /// The newest published tree.
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.shared.head()
    }

    /// Set to the reason when the log has failed and takes no more entries; the process should then end with an
    /// error, and the next one opens the log again.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.health.watch()
    }

    /// Whether the log was rotated out by somebody else while this process has it: it is only read then.
    #[must_use]
    pub fn is_rotated_out(&self) -> bool {
        self.shared.is_frozen()
    }

    /// Reads a file of the log as it is served: `checkpoint` or a tile path. `None` for what is not there.
    ///
    /// A partial tile may be asked for at any width up to the present one. Data tiles of static CT are given as
    /// they are, uncompressed. What comes from disk is checked against the signed tree; this blocks briefly.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when what is on disk is not what was logged, [`LogError::Io`].
    pub fn read(&self, path: &str) -> Result<Option<Bytes>, LogError> {
        self.shared.read(path)
    }

    /// An entry as it is stored, checked against the signed tree. Blocks briefly.
    ///
    /// # Errors
    /// [`LogError::OutOfTree`], and as [`Log::read`].
    pub fn entry(&self, index: u64) -> Result<Bytes, LogError> {
        self.shared.entry(index)
    }

    /// The leaf hash of an entry, without reading the entry. Blocks briefly.
    ///
    /// # Errors
    /// [`LogError::OutOfTree`], and as [`Log::read`].
    pub fn leaf_hash(&self, index: u64) -> Result<Hash, LogError> {
        self.shared.leaf_hash(index)
    }

    /// The index of the entry with this leaf hash, in a log whose [keys](NewEntry::dedup_key) are the leaf hashes of
    /// its entries. Blocks briefly; for longer when there is no index of duplicates.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn find_leaf(&self, leaf: &Hash) -> Result<Option<u64>, LogError> {
        self.shared.find_leaf(leaf)
    }

    /// The entries from an index on to the end of its bundle or of a tree of this size, as they are stored; one at least.
    ///
    /// # Errors
    /// [`LogError::OutOfTree`], and as [`Log::read`].
    pub fn entries_from(&self, from: u64, size: u64) -> Result<Vec<Bytes>, LogError> {
        self.shared.entries_from(from, size)
    }

    /// What the checkpoints say of the search index from the next one on.
    pub(crate) fn commit_to(&self, index: Option<IndexCommitment>) {
        *self.shared.commitment.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// The index of the entry with this [key](NewEntry::dedup_key), in a log whose keys can be had from its entries
    /// ([`Options::key_of`]); in another it finds nothing. Blocks briefly; for longer when there is no index of duplicates.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn find_key(&self, key: &[u8; 32]) -> Result<Option<u64>, LogError> {
        self.shared.find_key(key)
    }

    /// The inclusion proof of an entry in the tree of some size up to the present one.
    ///
    /// # Errors
    /// [`LogError::OutOfTree`], and as [`Log::read`].
    pub fn proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        proof::inclusion(&self.shared.tree_up_to(size)?, index, size).map_err(build_error)
    }

    /// The consistency proof from an older size to a newer, up to the present one.
    ///
    /// # Errors
    /// [`LogError::OutOfTree`], and as [`Log::read`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        proof::consistency(&self.shared.tree_up_to(new)?, old, new).map_err(build_error)
    }

    /// Takes no more entries, commits those that wait, and ends the threads. The lock is free afterwards.
    /// Every clone of the log stops with it; reading goes on.
    pub async fn shutdown(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            let queue = self.queue.clone();
            // Sending may wait for a place in the queue.
            let sent = tokio::task::spawn_blocking(move || queue.send(Message::Shutdown).is_ok());
            // If there is no receiver the thread has ended already.
            let _ = sent.await;
        }
        // The sender is dropped only after it has sent.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

fn build_error(error: proof::BuildError<LogError>) -> LogError {
    match error {
        proof::BuildError::Source(error) => error,
        other => LogError::OutOfTree(other.to_string()),
    }
}

/// What the lock file says of this process.
pub(crate) fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "this host" } else { host.trim() };
    format!("{} on {host}\n", std::process::id())
}

/// A leaf whose stored form is its Merkle leaf, as in Rekor.
impl From<Vec<u8>> for Leaf {
    fn from(bytes: Vec<u8>) -> Self {
        Self { merkle_leaf: bytes.clone(), stored: bytes }
    }
}
