//! The sequencer: the one thread that gives entries their places and commits them.
//!
//! A batch is what is queued. Its commit order is the heart of the log's promise:
//!
//! 1. the entries go to the write-ahead file, flushed;
//! 2. the checkpoint is signed and swapped into the lock record, flushed: from here on the batch is in the log;
//! 3. tiles and entry bundles are placed (not flushed: the write-ahead file can make them again);
//! 4. the checkpoint is published;
//! 5. the appends are acknowledged.
//!
//! A batch that fails at 1, or whose signing fails, is cut off again and nothing happened. Any failure from
//! the flush of 1 on leaves it open what is on disk, so the log stops for good; opening it again finds out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use countersign_clock::Clock;
use countersign_tlog::tile::{TILE_WIDTH, TilePath};
use countersign_tlog::{Checkpoint, Hash, NoteSigner};
use tokio::sync::oneshot;

use crate::flusher::FlushJob;
use crate::index::{IndexWriter, Key};
use crate::lock_record::{LockRecord, SwapError, TreeHead};
use crate::mark::Mark;
use crate::recovery::CHECKPOINT;
use crate::shared::{Head, Shared};
use crate::storage::Storage;
use crate::tree::{Edge, FullTile};
use crate::wal::{BatchWriter, Segment, SegmentError, WAL, WalEntry, segment_path};
use crate::{AppendError, Leaf, Options};

/// A batch is closed when it has this many bytes. With the partial bundle before it, of 16 MiB at most in a Rekor log,
/// it fits the usual reserve.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How many keys are kept in memory although the index has them.
const RECENT_KEYS: usize = 1 << 16;
pub(crate) const RESERVE: &str = "reserve";
const RESERVE_PIECE: usize = 1 << 20;

/// Makes the leaf of an entry when its index is known.
pub(crate) type MakeLeaf = Box<dyn FnOnce(u64) -> Leaf + Send>;

/// An entry on its way.
pub(crate) struct Pending {
    pub(crate) key: Key,
    pub(crate) leaf: MakeLeaf,
    /// The index of duplicates had every key below this entry when it was asked for this one and had it not.
    pub(crate) checked_up_to: u64,
    pub(crate) reply: oneshot::Sender<Result<Committed, AppendError>>,
}

pub(crate) enum Message {
    Append(Pending),
    /// Something happened elsewhere: see [`crate::cluster`].
    Wake,
    Shutdown,
}

/// What a waiting append is told; the proof is made by whoever waits.
pub(crate) struct Committed {
    pub(crate) index: u64,
    /// The stored bytes; not at hand for duplicates of entries of earlier batches.
    pub(crate) stored: Option<Bytes>,
    pub(crate) head: Arc<Head>,
    pub(crate) duplicate: bool,
}

/// The newest keys, complete from some entry on.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_key: HashMap<Key, u64>,
    in_order: VecDeque<(Key, u64)>,
    /// Every key of this entry and later ones is here.
    floor: u64,
}

impl Recent {
    pub(crate) fn new(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, key: Key, index: u64) {
        self.by_key.entry(key).or_insert(index);
        self.in_order.push_back((key, index));
    }

    /// Forgets old keys which the index of duplicates has.
    fn shrink(&mut self, indexed: u64) {
        while self.in_order.len() > RECENT_KEYS {
            match self.in_order.pop_front() {
                Some((key, index)) if index < indexed => {
                    self.by_key.remove(&key);
                    self.floor = index + 1;
                }
                Some(kept) => {
                    self.in_order.push_front(kept);
                    return;
                }
                None => return,
            }
        }
    }
}

/// An entry which has its place in the batch.
struct Staged {
    key: Key,
    hash: Hash,
    stored: Bytes,
}

type Waiting = (oneshot::Sender<Result<Committed, AppendError>>, u64, bool);

pub(crate) struct Sequencer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) messages: Receiver<Message>,
    pub(crate) lock: LockRecord,
    pub(crate) segment: Segment,
    pub(crate) edge: Edge,
    /// The partial entry bundle.
    pub(crate) bundle: Vec<u8>,
    pub(crate) recent: Recent,
    pub(crate) signers: Vec<NoteSigner>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) index: Option<IndexWriter>,
    pub(crate) flusher: Sender<FlushJob>,
    pub(crate) options: Options,
    pub(crate) batch: BatchWriter,
    /// Entries that did not fit the batch before.
    pub(crate) carried: VecDeque<Pending>,
    /// How many entries the last batch had: as many are expected again.
    pub(crate) expected: usize,
    /// Whether the reserve is there; without it nothing is begun.
    pub(crate) reserve: bool,
    /// The partial tiles and bundle on disk.
    pub(crate) partial: Vec<TilePath>,
    /// Where the newest checkpoint is marked outside of the directory.
    pub(crate) mark: Option<Mark>,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Sequencer {
    /// Commits batch after batch until told to stop or until storage fails. Gives the lock record back, whose lock keeps
    /// others out: the flusher may be about to remove what another would build upon.
    pub(crate) fn run(mut self) -> LockRecord {
        let mut stopping = false;
        while self.step(&mut stopping) {}
        self.lock
    }

    /// Commits one batch; says whether there may be another.
    pub(crate) fn step(&mut self, stopping: &mut bool) -> bool {
        if self.shared.health.is_failed() {
            return false;
        }
        let mut waiting = Vec::new();
        let more = catch_unwind(AssertUnwindSafe(|| self.turn(stopping, &mut waiting)));
        if more.is_err() {
            // Before those who wait are let go: their entries may be in the log.
            self.shared.health.fail("the sequencer panicked");
        }
        more.unwrap_or(false)
    }

    /// Gathers a batch and commits it; says whether there may be another.
    fn turn(&mut self, stopping: &mut bool, waiting: &mut Vec<Waiting>) -> bool {
        let (pending, stop) = self.gather(*stopping);
        *stopping |= stop;
        if pending.is_empty() {
            return !*stopping;
        }
        self.process(pending, waiting);
        true
    }

    /// Waits for entries, then a little longer for more; says too whether it was told to stop.
    fn gather(&mut self, stopping: bool) -> (Vec<Pending>, bool) {
        let mut pending: Vec<_> = self.carried.drain(..).collect();
        let mut stop = false;
        if pending.is_empty() && !stopping {
            match self.messages.recv() {
                Ok(Message::Append(entry)) => pending.push(entry),
                Ok(Message::Wake) => {}
                Ok(Message::Shutdown) | Err(_) => stop = true,
            }
        }
        // Clients that wait for their answers come back together: wait for as many as came last time, not long.
        let end = Instant::now() + if stop || stopping { Duration::ZERO } else { self.options.linger };
        while pending.len() < self.options.max_batch {
            let message = match self.messages.try_recv() {
                Err(TryRecvError::Empty) if pending.len() < self.expected => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    match self.messages.recv_timeout(left) {
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => Message::Shutdown,
                        Ok(message) => message,
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => Message::Shutdown,
                Ok(message) => message,
            };
            match message {
                Message::Append(entry) => pending.push(entry),
                Message::Wake => {}
                Message::Shutdown => {
                    stop = true;
                    break;
                }
            }
        }
        self.expected = pending.len();
        (pending, stop)
    }

    /// The index a key has already, in the log or in the batch being put together.
    fn find(&self, entry: &Pending, staged: &HashMap<Key, u64>) -> Option<u64> {
        if let Some(index) = self.recent.by_key.get(&entry.key).or_else(|| staged.get(&entry.key)) {
            return Some(*index);
        }
        // Between the look-up before queueing and now, keys may have left memory for the index.
        if entry.checked_up_to < self.recent.floor {
            let index = self.shared.indexed(&entry.key)?;
            return self.shared.vouched(index, &entry.key).map(|_| index);
        }
        None
    }

    fn process(&mut self, pending: Vec<Pending>, waiting: &mut Vec<Waiting>) {
        let first = self.edge.size();
        let mut staged: Vec<Staged> = Vec::with_capacity(pending.len());
        let mut keys = HashMap::with_capacity(pending.len());
        self.batch.begin(first);
        let mut queue = pending.into_iter();
        while self.batch.len() < MAX_BATCH_BYTES {
            let Some(entry) = queue.next() else { break };
            if let Some(index) = self.find(&entry, &keys) {
                waiting.push((entry.reply, index, true));
                continue;
            }
            let index = first + staged.len() as u64;
            match self.make_leaf(entry.leaf, index) {
                Err(error) => {
                    // Who stopped waiting needs no answer.
                    let _ = entry.reply.send(Err(error));
                }
                Ok((hash, stored)) => {
                    self.batch.push(WalEntry { key: &entry.key, leaf_hash: &hash, stored: &stored });
                    keys.insert(entry.key, index);
                    staged.push(Staged { key: entry.key, hash, stored: stored.into() });
                    waiting.push((entry.reply, index, false));
                }
            }
        }
        self.carried.extend(queue);
        let result = if staged.is_empty() { Ok(self.shared.head()) } else { self.commit(&staged) };
        match result {
            Ok(head) => {
                for (reply, index, duplicate) in waiting.drain(..) {
                    let stored = index
                        .checked_sub(first)
                        .and_then(|i| staged.get(usize::try_from(i).ok()?))
                        .map(|entry| entry.stored.clone());
                    let _ = reply.send(Ok(Committed { index, stored, head: head.clone(), duplicate }));
                }
                self.after(&staged);
            }
            Err(error) => {
                for (reply, index, _) in waiting.drain(..) {
                    // Duplicates of entries committed before are none the worse for this.
                    let answer = if index < first {
                        Ok(Committed { index, stored: None, head: self.shared.head(), duplicate: true })
                    } else {
                        Err(error.clone())
                    };
                    let _ = reply.send(answer);
                }
            }
        }
    }

    fn make_leaf(&self, make: MakeLeaf, index: u64) -> Result<(Hash, Vec<u8>), AppendError> {
        let leaf = catch_unwind(AssertUnwindSafe(|| make(index)))
            .map_err(|_| AppendError::InvalidLeaf("making the leaf failed".into()))?;
        self.shared.params.format.check(&leaf)?;
        Ok((countersign_tlog::merkle::leaf_hash(&leaf.merkle_leaf), leaf.stored))
    }

    /// Commits one entry before the thread runs: the first of a new log.
    pub(crate) fn commit_first(&mut self, key: Key, leaf: Leaf) -> Result<(), AppendError> {
        self.batch.begin(self.edge.size());
        let (hash, stored) = self.make_leaf(Box::new(|_| leaf), 0)?;
        self.batch.push(WalEntry { key: &key, leaf_hash: &hash, stored: &stored });
        let staged = [Staged { key, hash, stored: stored.into() }];
        self.commit(&staged)?;
        self.after(&staged);
        Ok(())
    }

    fn commit(&mut self, staged: &[Staged]) -> Result<Arc<Head>, AppendError> {
        if !self.reserve {
            self.make_reserve()?;
        }
        let mut edge = self.edge.clone();
        let mut full = Vec::new();
        for entry in staged {
            edge.push(entry.hash, &mut full);
        }
        let root = edge.root();

        // 1. The entries, durable.
        match self.segment.append(&mut self.batch) {
            Ok(()) => {}
            Err(SegmentError::Write(error)) if is_full(&error) => {
                self.roll_back(0)?;
                return Err(AppendError::Full);
            }
            Err(SegmentError::Write(error) | SegmentError::Flush(error)) => {
                return Err(self.fail("writing the write-ahead file", &error));
            }
        }

        // 2. The checkpoint, signed and durable.
        let current = self.lock.current();
        let now = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let (generation, time_ms) = (current.generation + 1, now.max(current.time_ms));
        let checkpoint = Checkpoint {
            origin: self.shared.params.origin.clone(),
            size: edge.size(),
            root,
            extensions: self.shared.extensions(),
        };
        let note = match checkpoint.sign(&self.signers, time_ms) {
            Ok(note) => note.to_string(),
            Err(error) => {
                self.roll_back(self.batch.len())?;
                return Err(AppendError::Signing(error.to_string()));
            }
        };
        let next = TreeHead { generation, size: edge.size(), time_ms, root, note: note.clone() };
        match self.lock.swap(next) {
            Ok(()) => {}
            Err(SwapError::Io(error)) => return Err(self.fail("writing the lock record", &error)),
            Err(SwapError::Changed(what)) => return Err(self.fail("committing the checkpoint", &what)),
        }

        // 3. Tiles and bundles. They are in the log now, so a full disk calls on the reserve.
        let placed = self.place(staged, &full, &edge);
        placed.map_err(|error| self.fail("placing tiles", &error))?;
        let filled: Vec<_> = full.iter().map(|tile| (tile.level, tile.index)).collect();
        self.shared.tree.extend(full, &edge);
        self.edge = edge;

        // 4. The checkpoint, for everyone to see.
        let published = self.write(&[(CHECKPOINT.to_owned(), note.as_bytes().to_vec())]);
        published.map_err(|error| self.fail("publishing the checkpoint", &error))?;
        if let Some(mark) = &self.mark
            && let Err(error) = mark.write(&note)
        {
            tracing::error!(%error, "the checkpoint could not be marked: an old copy may go unnoticed");
            // Nobody asked for it: it is told once.
            self.mark = self.mark.take().filter(|mark| mark.needed);
        }
        let head = Arc::new(Head { size: self.edge.size(), root, time_ms, checkpoint: note.into() });
        self.shared.publish(head.clone());
        self.remove_partial(&filled);
        Ok(head)
    }

    /// Stops the log for good.
    fn fail(&self, doing: &str, error: &dyn std::fmt::Display) -> AppendError {
        let reason = format!("{doing}: {error}");
        self.shared.health.fail(&reason);
        AppendError::Storage(reason)
    }

    /// Undoes a batch that is not committed.
    fn roll_back(&mut self, undo: usize) -> Result<(), AppendError> {
        let undone = self.segment.roll_back(undo);
        undone.map_err(|error| self.fail("cutting an unfinished batch off the write-ahead file", &error))
    }

    /// Writes files of a committed batch; gives the reserve up if the disk is full.
    fn write(&mut self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let storage = &self.shared.tree.storage;
        match storage.replace_all(files) {
            Err(error) if is_full(&error) && self.reserve && self.options.reserve_bytes > 0 => {
                tracing::warn!("the log's disk is full; finishing the batch from the reserve");
                storage.remove(RESERVE)?;
                self.reserve = false;
                storage.replace_all(files)
            }
            other => other,
        }
    }

    /// Sets space aside with which a batch that is committed can be finished.
    pub(crate) fn make_reserve(&mut self) -> Result<(), AppendError> {
        let made = make_reserve(self.shared.tree.storage.as_ref(), self.options.reserve_bytes);
        match made {
            Ok(()) => {
                self.reserve = true;
                Ok(())
            }
            Err(error) if is_full(&error) => {
                // A part of a reserve would take the space that others may need.
                let _ = self.shared.tree.storage.remove(RESERVE);
                Err(AppendError::Full)
            }
            Err(error) => Err(self.fail("setting the reserve aside", &error)),
        }
    }

    fn place(&mut self, staged: &[Staged], full: &[FullTile], edge: &Edge) -> io::Result<()> {
        let format = self.shared.params.format;
        let mut files = Vec::new();
        let mut width = self.edge.width();
        let mut index = self.edge.size() / u64::from(TILE_WIDTH);
        for entry in staged {
            format.push(&mut self.bundle, &entry.stored).map_err(io::Error::other)?;
            width += 1;
            if width == usize::from(TILE_WIDTH) {
                let path = TilePath { kind: format.entries(), index, width: TILE_WIDTH };
                let bundle = std::mem::take(&mut self.bundle);
                files.push((path.to_string(), bundle));
                width = 0;
                index += 1;
            }
        }
        for tile in full {
            let kind = countersign_tlog::tile::TileKind::Hashes { level: tile.level };
            let path = TilePath { kind, index: tile.index, width: TILE_WIDTH };
            files.push((path.to_string(), tile.tree.hashes().as_flattened().to_vec()));
        }
        for (path, tree) in edge.tiles() {
            files.push((path.to_string(), tree.hashes().as_flattened().to_vec()));
        }
        if let Some(path) = TilePath::in_tree(format.entries(), index, edge.size()) {
            files.push((path.to_string(), self.bundle.clone()));
        }
        self.write(&files)
    }

    /// Removes partial tiles which are now wider or full. They stay readable through the log, which cuts them
    /// from the wider ones; a file that stays behind does no harm.
    fn remove_partial(&mut self, filled: &[(u8, u64)]) {
        let storage = &self.shared.tree.storage;
        let now = partial_paths(&self.edge, self.shared.params.format);
        let outdated = self.partial.drain(..).filter(|path| !now.contains(path));
        storage.discard(outdated.map(|path| path.to_string()).collect());
        let mut directories = Vec::new();
        for (level, index) in filled {
            let hashes = TilePath {
                kind: countersign_tlog::tile::TileKind::Hashes { level: *level },
                index: *index,
                width: TILE_WIDTH,
            };
            directories.push(format!("{hashes}.p"));
            if *level == 0 {
                directories
                    .push(format!("{}.p", TilePath { kind: self.shared.params.format.entries(), ..hashes }));
            }
        }
        storage.discard_dirs(directories);
        self.partial = now;
    }

    /// What is left to do when the appends have their answers.
    fn after(&mut self, staged: &[Staged]) {
        let first = self.edge.size() - staged.len() as u64;
        let rows: Vec<_> = staged.iter().map(|e| e.key).zip(first..).collect();
        for (key, index) in &rows {
            self.recent.insert(*key, *index);
        }
        if let Some(index) = &self.index {
            index.add(rows, self.edge.size());
        }
        self.recent.shrink(self.shared.index.as_ref().map_or(0, |index| index.upto()));
        // A segment without entries is not finished, however long its beginning: its successor would be itself.
        if self.segment.len() >= self.options.segment_bytes && self.segment.base() < self.edge.size() {
            self.rotate();
        }
    }

    /// Begins a new segment; the old one goes when its tiles are durable.
    fn rotate(&mut self) {
        let from = self.segment.base();
        let base = self.edge.to_base(&self.bundle);
        match Segment::create(self.shared.tree.storage.as_ref(), &base) {
            Ok(segment) => {
                self.segment = segment;
                // The flusher ends only after this thread.
                let _ = self.flusher.send(FlushJob { from, to: base.size });
            }
            Err(error) if is_full(&error) => {
                // The old one serves until there is space; it is no worse for being long. What was begun of the new
                // one must go: the old one will have the entries which it would begin with.
                let storage = &self.shared.tree.storage;
                let removed = storage.remove(&segment_path(base.size)).and_then(|()| storage.sync_dir(WAL));
                if let Err(error) = removed {
                    self.fail("removing an unfinished write-ahead segment", &error);
                }
            }
            Err(error) => {
                self.fail("beginning a new write-ahead segment", &error);
            }
        }
    }
}

/// The partial tiles and bundle of a tree.
pub(crate) fn partial_paths(edge: &Edge, format: crate::Format) -> Vec<TilePath> {
    let index = edge.size() / u64::from(TILE_WIDTH);
    let bundle = TilePath::in_tree(format.entries(), index, edge.size());
    edge.tiles().map(|(path, _)| path).chain(bundle).collect()
}

/// Writes the reserve, unless all of it is there.
pub(crate) fn make_reserve(storage: &dyn Storage, bytes: usize) -> io::Result<()> {
    let mut file = match storage.create(RESERVE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let Some(last) = bytes.checked_sub(1) else { return Ok(()) };
            match storage.open(RESERVE)?.read_at(last as u64, &mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                other => return other,
            }
            // The process that wrote it ended before it had.
            storage.remove(RESERVE)?;
            storage.create(RESERVE)?
        }
        other => other?,
    };
    let piece = vec![0; RESERVE_PIECE.min(bytes)];
    let mut written = 0;
    while written < bytes {
        file.write_at(written as u64, &piece)?;
        written += piece.len();
    }
    file.sync_data()
}
