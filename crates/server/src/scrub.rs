//! The scrub: every tile of the logs run here is read from disk again, now and then, and held against the signed root.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_log::Log;

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

    /// Scrubs again and again until the server ends.
    pub(crate) async fn run(
        self: Arc<Self>,
        metrics: Arc<Metrics>,
        stopping: impl Fn() -> bool + Clone + Send + 'static,
    ) {
        tokio::time::sleep(FIRST.min(self.period)).await;
        loop {
            let (scrub, metrics, stopping) = (Arc::clone(&self), Arc::clone(&metrics), stopping.clone());
            let done = tokio::task::spawn_blocking(move || scrub.once(&metrics, &stopping)).await;
            if let Err(error) = done {
                tracing::error!(log = self.name, %error, "the scrub ended");
            }
            tokio::time::sleep(self.period).await;
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
