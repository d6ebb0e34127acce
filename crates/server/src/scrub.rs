//! The scrub: every tile of the logs run here is read from disk again, now and then, and held against the signed root.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_log::Log;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// The rest after each file, which leaves the disk to those who wait for an answer.
const REST: Duration = Duration::from_millis(2);
/// The first comes soon after the start, so that one is made also where the server starts anew every day.
const FIRST: Duration = Duration::from_secs(60);

/// What the scrubs of one log found.
#[derive(Debug)]
pub(crate) struct Scrub {
    name: &'static str,
    log: Log,
    period: Duration,
    damaged: AtomicU64,
}

impl Scrub {
    pub(crate) fn new(name: &'static str, log: Log, period: Duration) -> Self {
        Self { name, log, period, damaged: AtomicU64::new(0) }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// How many damaged places the last scrub found.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::SeqCst)
    }

    /// Scrubs again and again until it is over. Nothing is read any more when this returns.
    pub(crate) async fn run(self: Arc<Self>, metrics: Arc<Metrics>, mut over: watch::Receiver<bool>) {
        let mut rest = FIRST.min(self.period);
        // Whoever may say that it is over is gone only when it is.
        while tokio::time::timeout(rest, over.wait_for(|over| *over)).await.is_err() {
            let (scrub, metrics, asked) = (Arc::clone(&self), Arc::clone(&metrics), over.clone());
            let done = tokio::task::spawn_blocking(move || scrub.once(&metrics, &|| *asked.borrow())).await;
            if let Err(error) = done {
                tracing::error!(log = self.name, %error, "the scrub ended");
            }
            rest = self.period;
        }
    }

    /// Reads everything once. Blocks.
    pub(crate) fn once(&self, metrics: &Metrics, stopping: &dyn Fn() -> bool) {
        let start = Instant::now();
        let found = self.log.scrub(&mut || {
            std::thread::sleep(REST);
            !stopping()
        });
        let (files, findings) = match found {
            Ok(scrubbed) if !scrubbed.complete => return,
            Ok(scrubbed) => (scrubbed.files, scrubbed.findings.iter().map(ToString::to_string).collect()),
            Err(error) => (0, vec![error.to_string()]),
        };
        for finding in &findings {
            tracing::error!(
                log = self.name,
                finding,
                "the log's disk has lost something; keep the file and see `countersign log restore --help`"
            );
        }
        tracing::info!(
            log = self.name,
            files,
            damaged = findings.len(),
            seconds = start.elapsed().as_secs(),
            "scrubbed"
        );
        self.damaged.store(findings.len() as u64, Ordering::SeqCst);
        metrics.scrubbed(self.name, files, findings.len() as u64);
    }
}
