//! What somebody was not told yet: kept in the monitor's directory until they take it.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_attestation::json;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_kubernetes::continuous::{Sink, SinkError};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::told::LogAlert;
use crate::failure::Failure;

const FILE: &str = "untold.json";
const SCHEMA: &str = "countersign.log-untold";
/// The most alerts that wait for a sink. The newest are kept; all are in the journal.
const CAPACITY: usize = 10_000;
/// The largest file, in bytes.
const MAX_FILE: usize = 256 << 20;
/// How long to wait after the first failure; doubled with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a sink may take for one delivery.
const LONGEST: Duration = Duration::from_secs(120);

type Waiting = VecDeque<Arc<LogAlert>>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    schema: String,
    schema_version: u32,
    /// By the name of the sink.
    waiting: BTreeMap<String, VecDeque<LogAlert>>,
}

/// Sinks, each with what waits for it.
#[derive(Debug)]
pub(super) struct Untold {
    path: PathBuf,
    sinks: Vec<(Arc<dyn Sink<LogAlert>>, Waiting)>,
    /// What waits for sinks that are not named this time.
    others: BTreeMap<String, Waiting>,
    /// Whether some were dropped.
    lost: bool,
}

impl Untold {
    /// With what was left in the monitor's directory.
    pub(super) fn open(dir: &Path, sinks: Vec<Arc<dyn Sink<LogAlert>>>) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let mut others = read(&path)?;
        let with = |sink: Arc<dyn Sink<LogAlert>>| {
            let waiting = others.remove(sink.name()).unwrap_or_default();
            (sink, waiting)
        };
        let sinks = sinks.into_iter().map(with).collect();
        for (sink, waiting) in &others {
            tracing::warn!(sink, waiting = waiting.len(), "alerts wait for a sink that is not named");
        }
        Ok(Self { path, sinks, others, lost: false })
    }

    /// Has something told to everybody. It is not on the disk before [`Untold::keep`].
    pub(super) fn add(&mut self, alert: LogAlert) {
        let alert = Arc::new(alert);
        for (sink, waiting) in &mut self.sinks {
            waiting.push_back(Arc::clone(&alert));
            if waiting.len() > CAPACITY {
                waiting.pop_front();
                self.lost = true;
                let sink = sink.name();
                tracing::error!(sink, "an alert was dropped: too many wait; it is in alerts.jsonl");
            }
        }
    }

    /// Writes what waits, flushed.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        let named = self.sinks.iter().map(|(sink, waiting)| (sink.name(), waiting));
        let others = self.others.iter().map(|(name, waiting)| (name.as_str(), waiting));
        let waiting = named.chain(others).filter(|(_, waiting)| !waiting.is_empty());
        let plain = |(name, waiting): (&str, &Waiting)| {
            (name.to_owned(), waiting.iter().map(|alert| LogAlert::clone(alert)).collect())
        };
        let waiting: BTreeMap<_, _> = waiting.map(plain).collect();
        if waiting.is_empty() && !self.path.exists() {
            return Ok(());
        }
        let wire = Wire { schema: SCHEMA.to_owned(), schema_version: 1, waiting };
        let bytes = serde_json::to_vec(&wire).map_err(|e| Failure::internal(e.to_string()))?;
        Ok(write_atomically(&self.path, &bytes)?)
    }

    /// Tells what waits, each sink beside the others; one that is away is tried again for as long as this. Whether
    /// everybody was told everything.
    ///
    /// # Errors
    /// What is left cannot be kept.
    pub(super) async fn deliver(&mut self, patience: Duration) -> Result<bool, Failure> {
        if self.sinks.iter().all(|(_, waiting)| waiting.is_empty()) {
            return Ok(!std::mem::take(&mut self.lost));
        }
        let until = Instant::now() + patience;
        join_all(self.sinks.iter_mut().map(|(sink, waiting)| deliver(&**sink, waiting, until))).await;
        self.keep()?;
        let told = self.sinks.iter().all(|(_, waiting)| waiting.is_empty());
        Ok(!std::mem::take(&mut self.lost) && told)
    }
}

/// Takes out of what waits what the sink takes.
async fn deliver(sink: &dyn Sink<LogAlert>, waiting: &mut Waiting, until: Instant) {
    let (name, mut pause) = (sink.name(), PAUSE);
    // What was refused stays before what is sent: whoever looks after the sink can mend it.
    let mut refused = 0;
    loop {
        let batch: Vec<_> = waiting.iter().skip(refused).take(sink.at_once()).cloned().collect();
        if batch.is_empty() {
            break;
        }
        let count = batch.len();
        let sent = tokio::time::timeout(LONGEST, sink.send(&batch)).await;
        match sent.unwrap_or_else(|_| Err(SinkError::Away("no answer in time".into()))) {
            Ok(()) => {
                waiting.drain(refused..refused + count);
                pause = PAUSE;
            }
            Err(SinkError::Refused(why)) => {
                tracing::error!(sink = name, count, error = why, "alerts were refused");
                refused += count;
            }
            Err(SinkError::Away(why)) => {
                tracing::warn!(sink = name, count, error = why, "alerts could not be sent");
                if Instant::now() + pause >= until {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }
    if !waiting.is_empty() {
        tracing::error!(
            sink = name,
            left = waiting.len(),
            "alerts were not taken; they are told at the next look"
        );
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Waiting>, Failure> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let wrong = |e: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: expected {SCHEMA} 1: {e}", path.display()))
            .next("move it away: everything that was ever told is in alerts.jsonl beside it")
    };
    let bytes = read_limited(path, MAX_FILE)?;
    let wire: Wire = json::from_slice(&bytes, MAX_FILE).map_err(|e| wrong(&e))?;
    if (wire.schema.as_str(), wire.schema_version) != (SCHEMA, 1) {
        return Err(wrong(&format!("found {} {}", wire.schema, wire.schema_version)));
    }
    Ok(wire.waiting.into_iter().map(|(name, all)| (name, all.into_iter().map(Arc::new).collect())).collect())
}
