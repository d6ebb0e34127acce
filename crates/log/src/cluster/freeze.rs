//! The end of a log in the distributed store: rotated out, it takes no more entries, and stays where it is to be read.
//!
//! The lock record is put aside under the lease, which is taken from whoever has it. So nobody appends to it after that,
//! however long they were held up: what they write under an older token takes no effect, and without a lock record no log
//! opens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_clock::Clock;
use countersign_crypto::Signer;
use countersign_tlog::Hash;

use super::holder::{AT_ONCE, serve};
use crate::lock_record::{FROZEN, LOCK_RECORD, parse, put_aside, successor};
use crate::log::{LOCK, holder};
use crate::storage::{Distributed, LockAttempt, LockGuard, Storage};
use crate::{Log, LogError, Options};

/// How long what is in the queue is committed. There is no end to it while others put entries there; who comes later is
/// told to ask again.
const DRAIN: Duration = Duration::from_secs(5);
/// How often it is begun anew because somebody else took the lease in between, and committed something.
const TRIES: usize = 10;

/// A log that was rotated out, as it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen {
    /// The number of entries.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

fn doing(what: &'static str) -> impl FnOnce(std::io::Error) -> LogError {
    LogError::io(what)
}

fn take_over(storage: &Distributed) -> Result<LockGuard, LogError> {
    match storage.lock(LOCK, &holder()).map_err(doing("taking the log's lease"))? {
        LockAttempt::Taken(guard) => Ok(guard),
        LockAttempt::HeldBy(holder) => Err(LogError::LockedBy { holder }),
    }
}

/// Ends a log for good: what is in its queue is committed, its tiles are placed, and its lock record is put aside with the
/// name of the log that takes its place. Whoever sequences it loses the lease. A log that ended so before, with this same
/// successor, stays as it is.
///
/// Blocks, and not for a runtime's thread.
///
/// # Errors
/// [`LogError::Frozen`] when another successor took its place; what [`Log::open`] says of a log that does not open;
/// [`LogError::Io`].
pub fn freeze(
    storage: &Distributed,
    options: &Options,
    signers: &[Arc<dyn Signer>],
    clock: &Arc<dyn Clock>,
    successor: &str,
) -> Result<Frozen, LogError> {
    let storage = storage.taking_over();
    for _ in 0..TRIES {
        let known = match commit_queued(&storage, options, signers, clock) {
            Err(LogError::Frozen { successor: named }) if named == successor => return frozen(&storage),
            other => other?,
        };
        let _guard = take_over(&storage)?;
        let record = storage.read(LOCK_RECORD).map_err(doing("reading the lock record"))?;
        let Some(record) = record else { continue };
        let head = parse(&record)?;
        // Whoever took the lease in between may have ended before its tiles were placed.
        if (head.size, head.root) != (known.size, known.root) {
            continue;
        }
        let aside = [record.as_slice(), successor.as_bytes()].concat();
        storage
            .replace(FROZEN, &aside)
            .and_then(|()| storage.remove(LOCK_RECORD))
            .map_err(doing("putting the lock record aside"))?;
        return Ok(known);
    }
    Err(LogError::LockedBy { holder: "that takes the log's lease again and again".into() })
}

/// Opens the log, which recovers it, and commits what is in its queue.
fn commit_queued(
    storage: &Distributed,
    options: &Options,
    signers: &[Arc<dyn Signer>],
    clock: &Arc<dyn Clock>,
) -> Result<Frozen, LogError> {
    let runtime = crate::storage::runtime().map_err(doing("starting a runtime"))?;
    let options = Options { linger: Duration::ZERO, reserve_bytes: 0, ..options.clone() };
    let opened: Arc<dyn Storage> = Arc::new(storage.clone());
    let log = Log::open_on(&opened, options, signers.to_vec(), Arc::clone(clock))?;
    let (database, name, end) = (storage.database(), storage.log(), Instant::now() + DRAIN);
    let drained = loop {
        let done = database.waiting(name, AT_ONCE).and_then(|requests| {
            let more = !requests.is_empty();
            serve(database, name, runtime, &log, requests).map(|()| more)
        });
        match done {
            Ok(true) if Instant::now() < end && log.failed().borrow().is_none() => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    runtime.block_on(log.shutdown());
    drained.map_err(doing("committing what is in the log's queue"))?;
    if let Some(cause) = log.failed().borrow().as_deref() {
        return Err(doing("committing what is in the log's queue")(std::io::Error::other(cause)));
    }
    let head = log.head();
    Ok(Frozen { size: head.size, root: head.root })
}

/// The name of the log that took the place of this one, if it was rotated out.
///
/// # Errors
/// [`LogError::NoLockRecord`], [`LogError::Moved`], [`LogError::Corrupt`] and [`LogError::Io`].
pub fn successor_of(storage: &dyn Storage) -> Result<Option<String>, LogError> {
    crate::lock_record::committed(storage).map(|(_, successor)| successor)
}

/// The state of a log that has ended.
fn frozen(storage: &dyn Storage) -> Result<Frozen, LogError> {
    let (head, _) = crate::lock_record::committed(storage)?;
    Ok(Frozen { size: head.size, root: head.root })
}

/// Undoes [`freeze`]: the log goes on. Only whoever rotated it out may, and only while nothing was published of the
/// successor.
///
/// # Errors
/// [`LogError::Frozen`] when another successor took its place; [`LogError::Io`].
pub fn thaw(storage: &Distributed, named: &str) -> Result<(), LogError> {
    let storage = storage.taking_over();
    let _guard = take_over(&storage)?;
    let read = |path| storage.read(path).map_err(doing("reading the lock record"));
    let Some(aside) = read(FROZEN)? else { return Ok(()) };
    // It was put aside halfway.
    if read(LOCK_RECORD)?.is_none() {
        if successor(&aside) != named {
            return Err(LogError::Frozen { successor: successor(&aside) });
        }
        storage.replace(LOCK_RECORD, put_aside(&aside).0).map_err(doing("putting the lock record back"))?;
    }
    storage.remove(FROZEN).map_err(doing("putting the lock record back"))
}
