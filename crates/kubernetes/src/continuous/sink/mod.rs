//! Where alerts go. Each sink has a queue of its own with an end: one that is away delays no other, and no verification.

pub mod email;
pub mod event;
pub mod lines;
pub mod webhook;

use std::collections::VecDeque;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::alert::Alert;
use super::metrics::{Metrics, SinkLabels};

/// The most alerts that wait for a sink. The newest are kept.
const CAPACITY: usize = 1000;
/// The most alerts that a sink is given at once, unless it says otherwise.
const BATCH: usize = 100;
/// How long to wait after the first failure; doubled with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a sink did not take alerts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It may take them later.
    #[error("{0}")]
    Away(String),
    /// It will never take these.
    #[error("{0}")]
    Refused(String),
}

/// A delivery that is waited for.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Something that people are told: as JSON, and in words.
pub trait Told: Serialize + Display + Debug + Send + Sync + 'static {
    /// What several of them are about, in one line: the subject of a message.
    fn subject(all: &[Arc<Self>]) -> String;

    /// Writes to the program's own log that this is told.
    fn note(&self);
}

/// Takes alerts.
pub trait Sink<A = Alert>: Send + Sync + Debug {
    /// The stable name, in snake case.
    fn name(&self) -> &'static str;

    /// Takes alerts, the oldest first; all or none.
    fn send<'a>(&'a self, alerts: &'a [Arc<A>]) -> Sending<'a>;

    /// How many alerts it takes at once.
    fn at_once(&self) -> usize {
        BATCH
    }

    /// How long to gather alerts before they are sent together.
    fn gathers(&self) -> Duration {
        Duration::ZERO
    }
}

/// What waits for one sink.
#[derive(Debug)]
struct Queue<A> {
    labels: SinkLabels,
    waiting: Mutex<VecDeque<Arc<A>>>,
    filled: Notify,
    emptied: Notify,
    /// Nothing is to be waited for any more.
    ending: Notify,
    metrics: Metrics,
}

impl<A> Queue<A> {
    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, alert: Arc<A>) {
        let mut waiting = self.waiting();
        waiting.push_back(alert);
        let dropped = waiting.len() > CAPACITY;
        if dropped {
            waiting.pop_front();
        }
        self.count(waiting.len());
        drop(waiting);
        if dropped {
            self.metrics.dropped.get_or_create(&self.labels).inc();
            tracing::error!(
                sink = self.labels.sink,
                waiting = CAPACITY,
                "an alert was dropped: the sink has been away for long"
            );
        }
        self.filled.notify_one();
    }

    fn count(&self, waiting: usize) {
        self.metrics.waiting.get_or_create(&self.labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn batch(&self, most: usize) -> Vec<Arc<A>> {
        self.waiting().iter().take(most).cloned().collect()
    }

    /// Takes out what was sent. What was dropped meanwhile is not there any more.
    fn done(&self, sent: &[Arc<A>]) {
        let mut waiting = self.waiting();
        while waiting.front().is_some_and(|first| sent.iter().any(|alert| Arc::ptr_eq(alert, first))) {
            waiting.pop_front();
        }
        self.count(waiting.len());
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.ending.notified() => {}
        }
    }

    async fn deliver(&self, sink: &dyn Sink<A>) {
        let mut pause = PAUSE;
        loop {
            if self.waiting().is_empty() {
                self.emptied.notify_waiters();
                self.filled.notified().await;
                self.pause(sink.gathers()).await;
            }
            let batch = self.batch(sink.at_once());
            if batch.is_empty() {
                continue;
            }
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let name = self.labels.sink;
            match sink.send(&batch).await {
                Ok(()) => {
                    pause = PAUSE;
                    self.done(&batch);
                    self.metrics.told.get_or_create(&self.labels).inc_by(count);
                }
                Err(SinkError::Refused(why)) => {
                    tracing::error!(sink = name, count, error = why, "alerts were refused");
                    self.done(&batch);
                    self.metrics.refused.get_or_create(&self.labels).inc_by(count);
                }
                Err(SinkError::Away(why)) => {
                    tracing::warn!(
                        sink = name,
                        count,
                        error = why,
                        again_in = pause.as_secs(),
                        "alerts could not be sent"
                    );
                    self.pause(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// All sinks.
#[derive(Debug)]
pub struct Sinks<A = Alert> {
    queues: Vec<(Arc<Queue<A>>, JoinHandle<()>)>,
}

impl<A> Default for Sinks<A> {
    fn default() -> Self {
        Self { queues: Vec::new() }
    }
}

impl<A: Told> Sinks<A> {
    /// Starts delivering to these.
    #[must_use]
    pub fn start(sinks: Vec<Arc<dyn Sink<A>>>, metrics: &Metrics) -> Self {
        let start = |sink: Arc<dyn Sink<A>>| {
            let queue = Arc::new(Queue {
                labels: SinkLabels { sink: sink.name() },
                waiting: Mutex::default(),
                filled: Notify::new(),
                emptied: Notify::new(),
                ending: Notify::new(),
                metrics: metrics.clone(),
            });
            let delivering = Arc::clone(&queue);
            let task = tokio::spawn(async move { delivering.deliver(&*sink).await });
            (queue, task)
        };
        Self { queues: sinks.into_iter().map(start).collect() }
    }

    /// Tells all of them, without waiting for any.
    pub fn tell(&self, alert: A) {
        alert.note();
        let alert = Arc::new(alert);
        for (queue, _) in &self.queues {
            queue.put(Arc::clone(&alert));
        }
    }

    /// Waits until everything was sent, for as long as this.
    pub async fn finish(&self, patience: Duration) {
        self.queues.iter().for_each(|(queue, _)| queue.ending.notify_one());
        let sent = async {
            for (queue, _) in &self.queues {
                loop {
                    let emptied = queue.emptied.notified();
                    if queue.waiting().is_empty() {
                        break;
                    }
                    emptied.await;
                }
            }
        };
        if tokio::time::timeout(patience, sent).await.is_err() {
            for (queue, _) in &self.queues {
                let left = queue.waiting().len();
                if left > 0 {
                    tracing::error!(sink = queue.labels.sink, left, "alerts were not sent before the end");
                }
            }
        }
    }
}

impl<A> Drop for Sinks<A> {
    fn drop(&mut self) {
        self.queues.iter().for_each(|(_, task)| task.abort());
    }
}
