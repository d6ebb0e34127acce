//! Asks for the lease, and sequences what is in the queue for as long as it is ours.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use countersign_clock::Clock;
use countersign_crypto::Signer;
use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::form;
use crate::index::Key;
use crate::shared::Shared;
use crate::storage::database::{Answer, Database, Place, Request, RequestId};
use crate::storage::{Distributed, Storage};
use crate::{AppendError, Log, LogError, NewEntry, Options};

/// How often the lease is asked for while another has it, or after it could not be used.
const STAND_BY: Duration = Duration::from_secs(1);
/// How often the queue is looked at when nobody says that there is something in it.
const ASK: Duration = Duration::from_millis(100);
/// The most entries taken at once.
pub(super) const AT_ONCE: usize = 2048;
/// How often the queue is tidied, and how old is too old: nobody waits that long.
const TIDY: Duration = Duration::from_secs(60);
const OLD: Duration = Duration::from_secs(600);

pub(super) struct Holder {
    pub(super) storage: Distributed,
    /// The log as this process has it, whose search index the checkpoints state.
    pub(super) front: Arc<Shared>,
    pub(super) options: Options,
    pub(super) signers: Vec<Arc<dyn Signer>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Something is in the queue, or it is time to stop.
    pub(super) wakes: Receiver<()>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Holder {
    pub(super) fn run(self) {
        let runtime = match crate::storage::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "this process cannot sequence the log"),
        };
        while !self.stopped() {
            // There is nothing to sequence then, unless that is undone.
            if self.front.is_frozen() {
                self.pause(STAND_BY);
                continue;
            }
            match self.open() {
                Ok(log) => {
                    tracing::info!(log = self.storage.log(), size = log.head().size, "sequencing the log");
                    self.sequence(runtime, &log);
                    runtime.block_on(log.shutdown());
                    tracing::info!(log = self.storage.log(), "no longer sequencing the log");
                    continue;
                }
                Err(LogError::LockedBy { holder }) => {
                    tracing::debug!(holder, "another process sequences the log");
                }
                Err(LogError::Frozen { successor }) => {
                    tracing::debug!(successor, "the log was rotated out a moment ago");
                }
                Err(LogError::Io { doing, error }) => {
                    tracing::warn!(doing, %error, "the log cannot be taken up; trying again");
                }
                Err(error) => {
                    tracing::error!(%error, "the log cannot be sequenced by this process; trying again");
                }
            }
            self.pause(STAND_BY);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits for a call, or a time.
    fn pause(&self, most: Duration) {
        let end = Instant::now() + most;
        while !self.stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wakes.recv_timeout(left).is_err() {
                return;
            }
        }
    }

    fn open(&self) -> Result<Log, LogError> {
        // The queue makes the batches, and there is no disk to fill.
        let options = Options { linger: Duration::ZERO, reserve_bytes: 0, ..self.options.clone() };
        let storage: Arc<dyn Storage> = Arc::new(self.storage.clone());
        Log::open_on(&storage, options, self.signers.clone(), Arc::clone(&self.clock))
    }

    fn sequence(&self, runtime: &Handle, log: &Log) {
        let database = self.storage.database();
        let name = self.storage.log();
        let mut tidied = Instant::now();
        while !self.stopped() && log.failed().borrow().is_none() && self.storage.has_lease() {
            let requests = match database.waiting(name, self.options.max_batch.min(AT_ONCE)) {
                Ok(requests) => requests,
                Err(error) => {
                    tracing::warn!(%error, "the log's queue cannot be read; trying again");
                    std::thread::sleep(ASK);
                    continue;
                }
            };
            if requests.is_empty() {
                if tidied.elapsed() > TIDY {
                    tidied = Instant::now();
                    if let Err(error) = database.forget(name, OLD) {
                        tracing::debug!(%error, "the log's queue was not tidied");
                    }
                }
                // One call is as good as many.
                let _ = self.wakes.recv_timeout(ASK);
                self.wakes.try_iter().for_each(drop);
                continue;
            }
            log.commit_to(self.front.commitment());
            // What is not answered now is a duplicate the next time.
            if let Err(error) = serve(database, name, runtime, log, requests) {
                tracing::warn!(%error, "answers could not be written; trying again");
            }
        }
    }
}

/// Commits entries of the queue, and answers them there.
pub(super) fn serve(
    database: &dyn Database,
    name: &str,
    runtime: &Handle,
    log: &Log,
    requests: Vec<Request>,
) -> io::Result<()> {
    let answers = runtime.block_on(answers(log, requests));
    if answers.is_empty() { Ok(()) } else { database.answer(name, &answers) }
}

/// Commits entries together. Whatever has no answer stays in the queue.
async fn answers(log: &Log, requests: Vec<Request>) -> Vec<(RequestId, Answer)> {
    let shared = log.shared();
    // Before the look-up, which may then know more than this but not less.
    let checked_up_to = shared.indexed_upto();
    let keys: Vec<Key> = requests.iter().map(|request| request.key).collect();
    let known: HashMap<Key, u64> = shared.all_indexed(&keys);
    let commits = requests.into_iter().map(|request| {
        let known = known.get(&request.key).copied();
        async move {
            let Request { id, key, form } = request;
            if let Some(index) = known.filter(|index| shared.vouched(*index, &key).is_some()) {
                return Some((id, Ok(Place { index, duplicate: true })));
            }
            let Some(leaf) = form::decode(&form) else {
                return Some((
                    id,
                    Err(AppendError::InvalidLeaf("it is not written as a leaf in the queue".into())),
                ));
            };
            let format = shared.params.format;
            let entry =
                NewEntry { dedup_key: key, leaf: Box::new(move |index| format.at_index(leaf, index)) };
            match log.commit(entry, checked_up_to).await {
                Ok(committed) => {
                    Some((id, Ok(Place { index: committed.index, duplicate: committed.duplicate })))
                }
                Err(error @ (AppendError::InvalidLeaf(_) | AppendError::Signing(_) | AppendError::Full)) => {
                    Some((id, Err(error)))
                }
                Err(_) => None,
            }
        }
    });
    join_all(commits).await.into_iter().flatten().collect()
}
