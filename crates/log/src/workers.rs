//! Who does an open log's work: threads of its own, or the caller's, step by step.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::LogError;
use crate::flusher::Flusher;
use crate::index::Index;
use crate::sequencer::Sequencer;
use crate::storage::LockGuard;

/// What does the work of an open log.
pub(crate) struct Workers {
    pub(crate) sequencer: Sequencer,
    pub(crate) flusher: Flusher,
    /// The index of duplicates, and the thread that writes it.
    pub(crate) index: Option<(Arc<Index>, JoinHandle<()>)>,
    pub(crate) guard: LockGuard,
    /// Told when all is done and the lock is free.
    pub(crate) end: watch::Sender<bool>,
}

impl Workers {
    /// Gives sequencer and flusher a thread each.
    pub(crate) fn start(self) -> Result<(), LogError> {
        let Self { sequencer, flusher, index, guard, end } = self;
        let start = |name: &str| std::thread::Builder::new().name(name.into());
        let starting = || LogError::io("starting the log's threads");
        let flush_thread = start("log-flusher").spawn(move || flusher.run()).map_err(starting())?;
        start("log-sequencer")
            .spawn(move || {
                let lock = sequencer.run();
                // The sequencer is gone, so the others end when they have done what it gave them, or cannot.
                if let Some((index, _)) = &index {
                    index.close();
                }
                let _ = flush_thread.join();
                if let Some((_, thread)) = index {
                    let _ = thread.join();
                }
                drop(lock);
                drop(guard);
                end.send_replace(true);
            })
            .map_err(starting())?;
        Ok(())
    }
}

/// The work of a log that was opened without threads: nothing is done unless it is done here.
///
/// So whoever holds it decides what happens when, and the same decisions give the same run. A simulator needs that.
/// Dropping it ends the log as a kill would; the lock is free afterwards.
pub struct Driven(Workers);

impl std::fmt::Debug for Driven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driven")
    }
}

impl Driven {
    pub(crate) const fn new(workers: Workers) -> Self {
        Self(workers)
    }

    /// Commits what is queued, as one batch, and answers it; false if there was nothing, or when the log has failed.
    pub fn commit(&mut self) -> bool {
        self.0.sequencer.step(&mut true)
    }

    /// Makes the tiles of one finished write-ahead segment durable and removes the segment; false if there was none
    /// or when the log has failed.
    pub fn flush(&mut self) -> bool {
        self.0.flusher.jobs.try_recv().is_ok_and(|job| self.0.flusher.finish(&job))
    }
}
