//! Which entries have a term: a digest, an address, a key.
//!
//! Derived from the entries and from nothing else: a database beside the tiles. It may be lost or damaged; then it is
//! made anew, and nothing is found until it has come near. [`Search`] follows the tree on a thread of its own; what it
//! has not reached is read from the entries, so that one is found as soon as it is acknowledged. Its answers can be
//! verified: the map of all terms (see [`countersign_tlog::map`]) has a root, which the log signs with its checkpoints.
//!
//! ```text
//!  entries ──► terms ──► terms.db ──► upper levels of the map ──► root ──► the next checkpoint
//!  (tiles)               (follower)   (one for each size kept)             (sequencer)
//! ```

pub(crate) mod check;
mod follower;
mod postings;
mod reindex;
mod sqlite;
pub mod store;
mod version;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_tlog::map::{IndexCommitment, MapProof, Page, key_of};
use countersign_tlog::{Checkpoint, Note};

pub use follower::{Terms, TermsOf};
pub use reindex::{Reindexed, reindex};

use crate::shared::Head;
use crate::{Log, LogError};
use follower::Follower;
use postings::{page, record_at};
pub(crate) use sqlite::FILE;
use store::{CHUNK, Reader};
use version::{BUCKETS, Version, bucket_of};

/// How often the tree is looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How long to wait after an error: a full disk, most likely.
const RETRY: Duration = Duration::from_secs(1);
/// How many earlier maps can be asked.
const KEPT: usize = 16;
/// How many are kept, at most, while the checkpoints commit to an old one: whoever signs them is stuck.
const MOST: usize = 64;
const READERS: usize = 4;
/// How many entries are read for an answer, at most: some seconds' work.
const NEAR: u64 = 50_000;

/// The entries of a term below a size, the newest first.
fn newest(reader: &dyn Reader, term: &str, size: u64, limit: usize) -> Result<Vec<u64>, LogError> {
    let key = key_of(term);
    let Some(record) = record_at(reader, &key, size).map_err(LogError::Search)? else {
        return Ok(Vec::new());
    };
    // A page begins where a chunk does, so this one may have more.
    let page = page(reader, &key, &record, limit.saturating_add(CHUNK)).map_err(LogError::Search)?;
    Ok(page.entries.into_iter().rev().take(limit).collect())
}

/// What the index says of a term, and what shows that it is all.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The tree in whose checkpoint the index is looked for.
    pub head: Arc<Head>,
    /// The index that the proof leads to; `None` while the checkpoint commits to none.
    pub index: Option<IndexCommitment>,
    /// That the map of this index has this for the term, or nothing.
    pub proof: MapProof,
    /// The newest entries of the term in the index.
    pub page: Page,
}

/// An index that follows a log. Dropping it ends its thread.
#[derive(Debug)]
pub struct Search {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    log: Log,
    terms: Terms,
    /// For those who ask; the follower has its own.
    readers: Vec<Mutex<Box<dyn Reader>>>,
    turn: AtomicUsize,
    known: AtomicU64,
    versions: RwLock<VecDeque<Arc<Version>>>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("known", &self.known).finish_non_exhaustive()
    }
}

/// What a checkpoint commits to. The log signed it, so it is not verified here.
fn committed(checkpoint: &str) -> Option<IndexCommitment> {
    let note = Note::parse(checkpoint.as_bytes()).ok()?;
    IndexCommitment::of(&Checkpoint::parse(note.text()).ok()?).ok()?
}

impl Search {
    /// Opens or makes the index of a log that lies in this directory, and starts the thread that follows the log. An index
    /// that does not open, knows more entries than the log has, or was made by other rules for the terms or under another
    /// key is made anew.
    /// With `commit`, the log's checkpoints state its root, and answers can be proven.
    ///
    /// # Errors
    /// [`LogError::Index`], [`LogError::Search`], [`LogError::Io`].
    pub fn open(directory: &Path, log: Log, terms: Terms, commit: bool) -> Result<Self, LogError> {
        let follower = Follower::open(directory, Box::new(log.clone()), terms.clone())?;
        let reader = || follower.store.reader().map(Mutex::new).map_err(LogError::Search);
        let state = Arc::new(State {
            log,
            terms,
            readers: (0..READERS).map(|_| reader()).collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            known: AtomicU64::new(follower.known()?),
            versions: RwLock::default(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let (upto, touched) = (state.known.load(Ordering::Acquire), BTreeSet::new());
        let worker = Worker { state: Arc::clone(&state), follower, touched, upto, commit };
        let thread = std::thread::Builder::new()
            .name("log-search".into())
            .spawn(move || worker.run())
            .map_err(LogError::io("starting the thread of the search index"))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Of how many entries the terms are known.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.state.known.load(Ordering::Acquire)
    }

    /// The entries that have a term, the newest first, at most `limit` of them, in the tree of now: entries that are not
    /// in the index yet are read. Blocks.
    ///
    /// # Errors
    /// [`LogError::Behind`] while the index is being made, else any [`LogError`].
    pub fn find(&self, term: &str, limit: usize) -> Result<Vec<u64>, LogError> {
        let (known, size) = (self.known(), self.state.log.head().size);
        if size.saturating_sub(known) > NEAR {
            return Err(LogError::Behind { known, size });
        }
        let (mut next, mut since) = (known, Vec::new());
        while next < size {
            let entries = self.state.log.entries_from(next, size)?;
            let has = |entry: &[u8]| (self.state.terms.of)(entry).iter().any(|own| own == term);
            since.extend(entries.iter().zip(next..).filter(|(entry, _)| has(entry)).map(|(_, index)| index));
            next += entries.len() as u64;
        }
        let mut found: Vec<u64> = since.into_iter().rev().take(limit).collect();
        let rest = limit - found.len();
        found.extend(self.read(|reader| newest(reader, term, known, rest))?);
        Ok(found)
    }

    /// What the index says of a term at the size that the newest checkpoint commits to, or at another; `None` when that is
    /// older than what is kept, or not reached. At most about `limit` entries, the newest. Blocks.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn answer(&self, term: &str, size: Option<u64>, limit: usize) -> Result<Option<Answer>, LogError> {
        self.answer_in(self.state.log.head(), term, size, limit)
    }

    /// The same in another tree than the newest: one of before, or with cosignatures under its checkpoint.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn answer_in(
        &self,
        head: Arc<Head>,
        term: &str,
        size: Option<u64>,
        limit: usize,
    ) -> Result<Option<Answer>, LogError> {
        let signed = committed(&head.checkpoint);
        let Some(wanted) = size.or(signed.map(|index| index.size)) else {
            let (page, proof) = Default::default();
            return Ok(Some(Answer { head, index: None, proof, page }));
        };
        let key = key_of(term);
        self.read(|reader| {
            // One that another process made and had signed is made here too.
            let Some(version) = between(&self.state.versions(), reader, wanted)? else { return Ok(None) };
            let of_signed = signed.filter(|index| index.size == wanted);
            if of_signed.is_some_and(|index| index != version.commitment()) {
                return Ok(None);
            }
            let proof = version.prove(reader, &key).map_err(LogError::Search)?;
            let record = record_at(reader, &key, wanted).map_err(LogError::Search)?.unwrap_or_default();
            let page = page(reader, &key, &record, limit).map_err(LogError::Search)?;
            Ok(Some(Answer { head, index: Some(version.commitment()), proof, page }))
        })
    }

    fn read<T>(&self, work: impl FnOnce(&dyn Reader) -> Result<T, LogError>) -> Result<T, LogError> {
        let turn = self.state.turn.fetch_add(1, Ordering::Relaxed) % READERS;
        let Some(reader) = self.state.readers.get(turn) else {
            return Err(LogError::Search("no reader".into()));
        };
        work(reader.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        *self.state.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn versions(&self) -> VecDeque<Arc<Version>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopped(&self) -> bool {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless it is told to stop.
    fn wait(&self, time: Duration) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.stopped.wait_timeout_while(stop, time, |stop| !*stop);
    }
}

struct Worker {
    state: Arc<State>,
    follower: Follower,
    /// Parts of the map that changed since the newest version, in a store with so many entries.
    touched: BTreeSet<usize>,
    upto: u64,
    commit: bool,
}

impl Worker {
    fn run(mut self) {
        while !self.state.is_stopped() {
            let wait = match self.follow() {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::warn!(%error, "the search index cannot follow the log; trying again");
                    RETRY
                }
            };
            self.state.wait(wait);
        }
    }

    fn follow(&mut self) -> Result<(), LogError> {
        let size = self.state.log.head().size;
        loop {
            let known = self.follower.known()?;
            self.notice(known);
            if known >= size {
                break;
            }
            if self.state.is_stopped() {
                return Ok(());
            }
            let step = self.follower.step(size)?;
            self.notice(step.from);
            self.touched.extend(step.keys.iter().map(bucket_of));
            self.upto = step.upto;
            self.state.known.store(step.upto, Ordering::Release);
        }
        if !self.commit {
            return Ok(());
        }
        let mut versions = self.state.versions();
        let signed = committed(&self.state.log.head().checkpoint);
        if forget(&mut versions, signed)
            | self.renew(&mut versions, size)?
            | self.make_signed(&mut versions, signed)?
        {
            // Before it is signed: who reads it in a checkpoint may ask at once.
            let newest = versions.back().map(|newest| newest.commitment());
            *self.state.versions.write().unwrap_or_else(PoisonError::into_inner) = versions;
            self.state.log.commit_to(newest);
        }
        Ok(())
    }

    /// Takes in what another process has added, which serves the same log from the same directory: to which terms is not
    /// known.
    fn notice(&mut self, known: u64) {
        if known != self.upto {
            self.touched.extend(0..BUCKETS);
            self.upto = known;
            self.state.known.store(known, Ordering::Release);
        }
    }

    /// Makes the map of this size if there is none, and says whether there was.
    fn renew(&mut self, versions: &mut VecDeque<Arc<Version>>, size: u64) -> Result<bool, LogError> {
        let reader: &dyn Reader = self.follower.store.as_ref();
        let key_id = self.state.terms.key_id;
        let next = match versions.back() {
            Some(newest) if newest.size == size || versions.len() >= MOST => return Ok(false),
            Some(newest) => newest.renewed(reader, size, &self.touched),
            None => Version::build(reader, size, key_id),
        };
        versions.push_back(Arc::new(next.map_err(LogError::Search)?));
        self.touched.clear();
        Ok(true)
    }

    /// Makes the map that the newest checkpoint commits to if it is not there: the log signed it before it was opened, or
    /// another process did.
    fn make_signed(
        &self,
        versions: &mut VecDeque<Arc<Version>>,
        signed: Option<IndexCommitment>,
    ) -> Result<bool, LogError> {
        let Some(signed) = signed else { return Ok(false) };
        let at = versions.partition_point(|version| version.size < signed.size);
        let is_missing = versions.get(at).is_some_and(|next| next.size > signed.size);
        if is_missing {
            let reader: &dyn Reader = self.follower.store.as_ref();
            let version = match between(versions, reader, signed.size)? {
                Some(version) => version,
                None => {
                    let key_id = self.state.terms.key_id;
                    Arc::new(Version::build(reader, signed.size, key_id).map_err(LogError::Search)?)
                }
            };
            if version.commitment() != signed {
                tracing::warn!(
                    size = signed.size,
                    "the index is another than the one signed, as its rules are; the next checkpoint has the new one"
                );
            }
            versions.insert(at, version);
        }
        Ok(is_missing)
    }
}

/// Forgets old maps, but neither the one that is signed nor the one before it.
fn forget(versions: &mut VecDeque<Arc<Version>>, signed: Option<IndexCommitment>) -> bool {
    let is_past = |version: &Version| signed.is_none_or(|signed| version.size <= signed.size);
    let mut forgot = false;
    while versions.len() > KEPT && versions.get(1).is_some_and(|second| is_past(second)) {
        versions.pop_front();
        forgot = true;
    }
    forgot
}

/// The map of a size, from those of sizes around it.
fn between(
    versions: &VecDeque<Arc<Version>>,
    reader: &dyn Reader,
    size: u64,
) -> Result<Option<Arc<Version>>, LogError> {
    let at = versions.partition_point(|version| version.size < size);
    let Some(next) = versions.get(at) else { return Ok(None) };
    if next.size == size {
        return Ok(Some(Arc::clone(next)));
    }
    let before = at.checked_sub(1).and_then(|at| versions.get(at));
    let made = before.map(|before| before.renewed(reader, size, &next.touched));
    made.transpose().map(|made| made.map(Arc::new)).map_err(LogError::Search)
}
