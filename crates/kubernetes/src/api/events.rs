//! Events, `events.k8s.io/v1`: what was decided, told where people look, at the objects it is about.
//!
//! Whoever tells one need not wait: it goes into a queue that has an end, and is dropped, and counted, when that is full. Whoever
//! must know waits until it is written, and hears when it is not. An event's name is made of what it says and of what, so
//! that the same is one event with a count, for all replicas and over restarts. The client library has a recorder; its events have a name
//! for each process, and nothing holds it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_clock::Clock;
use countersign_crypto::HashAlgorithm;
use k8s_openapi::api::events::v1::{Event as WireEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::object::ObjectRef;
use super::pace::Pace;
use super::{Complaints, Trouble, in_time};
use crate::review::shortened;

/// How many events may wait.
const QUEUE: usize = 1024;
/// The longest note that an API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// How many writes there may be at once, and how often one more.
const BURST: u32 = 25;
const EVERY: Duration = Duration::from_millis(200);
/// How often what was told again is counted in the API server.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// How long an event is remembered after it was told last. An API server keeps them for an hour.
const REMEMBERED: Duration = Duration::from_secs(30 * 60);
/// How many events are remembered.
const MAX_REMEMBERED: usize = 4096;
/// How often a write is tried when somebody else writes the same event.
const ATTEMPTS: usize = 3;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Something does not hold that a policy demands.
    PolicyViolation,
    /// Something could not be checked that a policy demands.
    CouldNotCheck,
    /// What did not hold, or could not be checked, holds again.
    ImageVerified,
    /// A revocation list does not count: nobody signed it who may, or it is an older one.
    RevocationListRefused,
    /// Something that is nothing in the cluster, and that people must look at; in CamelCase.
    Alarm(&'static str),
}

impl Reason {
    /// As it stands in the event.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PolicyViolation => "PolicyViolation",
            Self::CouldNotCheck => "CouldNotCheck",
            Self::ImageVerified => "ImageVerified",
            Self::RevocationListRefused => "RevocationListRefused",
            Self::Alarm(code) => code,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::PolicyViolation | Self::CouldNotCheck | Self::RevocationListRefused | Self::Alarm(_) => {
                "Warning"
            }
            Self::ImageVerified => "Normal",
        }
    }
}

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doing {
    /// A request was refused, or what somebody put into the cluster.
    Refused,
    /// A request was admitted, and whoever asked was told.
    Warned,
    /// What runs was judged again, or something else looked at.
    Checked,
}

impl Doing {
    const fn code(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::Warned => "Warned",
            Self::Checked => "Checked",
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// What it is about: an object that is there, or nobody finds the event.
    pub regarding: ObjectRef,
    /// What else it is about, which need not be there.
    pub related: Option<ObjectRef>,
    /// What happened.
    pub reason: Reason,
    /// What was done about it.
    pub doing: Doing,
    /// For people. Only its first kilobyte is written.
    pub note: String,
}

impl Event {
    /// The name of an event that says the same of the same.
    fn name(&self) -> String {
        let ObjectRef { api_version: _, kind, namespace, name, uid } = &self.regarding;
        let parts = [kind, namespace, name, uid, self.reason.code(), self.doing.code(), &self.note];
        let mut text = Vec::new();
        for part in parts {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
        let digest = HashAlgorithm::Sha256.digest(&text).to_hex();
        format!("countersign-{}", digest.get(..32).unwrap_or_default())
    }

    /// Events stand in the namespace of what they are about; those about objects of the cluster, in `default`.
    fn namespace(&self) -> &str {
        if self.regarding.namespace.is_empty() { "default" } else { &self.regarding.namespace }
    }
}

/// What became of events.
#[derive(Debug, Clone, Default)]
pub struct EventCounts {
    /// Written: made, or counted in one that was there.
    pub written: Counter,
    /// Told again within a minute, to be counted with the next write.
    pub repeated: Counter,
    /// Dropped: the queue was full.
    pub dropped: Counter,
    /// The API server did not take them.
    pub failed: Counter,
}

impl EventCounts {
    /// Shows them on a page of metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("countersign_events");
        registry.register("written", "Events written", self.written.clone());
        let repeated = "Events told again, and counted with a later write";
        registry.register("repeated", repeated, self.repeated.clone());
        registry.register("dropped", "Events dropped because too many waited", self.dropped.clone());
        registry.register("failed", "Events that the API server did not take", self.failed.clone());
    }
}

/// Why an event was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It may be later.
    #[error("{0}")]
    NotNow(String),
    /// The API server does not take it: a right or the namespace is missing, or there is something wrong with it.
    #[error("{0}")]
    Refused(String),
}

impl EventError {
    /// A missing right or namespace may be there later, but one that waits for it would hold up those of other namespaces.
    fn of(trouble: &Trouble, namespace: &str) -> Self {
        match trouble {
            Trouble::NotFound => Self::Refused(format!("expected a namespace {namespace}, found none")),
            Trouble::Forbidden(_) | Trouble::Invalid(_) => Self::Refused(trouble.to_string()),
            Trouble::Conflict | Trouble::Gone | Trouble::Busy(_) | Trouble::Other(_) => {
                Self::NotNow(trouble.to_string())
            }
        }
    }
}

/// What waits to be written, and who waits for that.
#[derive(Debug)]
struct Waiting {
    event: Event,
    told: Option<oneshot::Sender<Result<(), EventError>>>,
}

/// Takes events. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Waiting>,
    counts: EventCounts,
}

impl Events {
    /// Tells an event. It never waits, and nothing depends on whether it is written.
    pub fn tell(&self, event: Event) {
        if self.queue.try_send(Waiting { event, told: None }).is_err() {
            self.counts.dropped.inc();
        }
    }

    /// Tells an event, and waits until it is written. One that was written within half an hour is counted with a later write.
    ///
    /// # Errors
    /// [`EventError`]: it is not written. Whether it is told again is for the caller to say.
    pub async fn write(&self, event: Event) -> Result<(), EventError> {
        let (told, written) = oneshot::channel();
        let ended = || EventError::NotNow("nobody writes events any more".into());
        self.queue.send(Waiting { event, told: Some(told) }).await.map_err(|_| ended())?;
        written.await.unwrap_or_else(|_| Err(ended()))
    }

    /// What became of all that were told.
    #[must_use]
    pub const fn counts(&self) -> &EventCounts {
        &self.counts
    }
}

/// Who writes events.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The program in its part, such as `countersign.dev/admission`.
    pub controller: String,
    /// Which of its replicas: the pod's name.
    pub instance: String,
}

/// Writes events. It is to be run by a task of its own.
pub struct EventWriter {
    client: Client,
    reporter: Reporter,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Waiting>,
    counts: EventCounts,
    known: HashMap<String, Known>,
    pace: Pace,
    complaints: Complaints,
}

impl std::fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWriter").field("reporter", &self.reporter).finish_non_exhaustive()
    }
}

/// An event that was told a while ago.
struct Known {
    event: Event,
    /// How often it was told since it was written.
    again: i32,
    told: Instant,
}

/// A queue for events and who empties it.
#[must_use]
pub fn events(client: Client, reporter: Reporter, clock: Arc<dyn Clock>) -> (Events, EventWriter) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let counts = EventCounts::default();
    let writer = EventWriter {
        client,
        reporter,
        clock,
        queue,
        counts: counts.clone(),
        known: HashMap::new(),
        pace: Pace::new(BURST, EVERY),
        complaints: Complaints::default(),
    };
    (Events { queue: sender, counts }, writer)
}

impl EventWriter {
    /// Writes what is told until nobody is left who could tell anything.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval_at(Instant::now() + COUNT_EVERY, COUNT_EVERY);
        loop {
            tokio::select! {
                told = self.queue.recv() => match told {
                    Some(waiting) => self.told(waiting).await,
                    None => break,
                },
                _ = tick.tick() => self.count().await,
            }
        }
        self.count().await;
    }

    async fn told(&mut self, waiting: Waiting) {
        let Waiting { event, told } = waiting;
        let namespace = event.namespace().to_owned();
        let result = self.take(event).await;
        match (told, result) {
            // Whoever has gone away meanwhile does not care.
            (Some(told), result) => drop(told.send(result.map_err(|e| EventError::of(&e, &namespace)))),
            (None, Err(trouble)) => self.complain(&trouble),
            (None, Ok(())) => {}
        }
    }

    /// Writes an event, or remembers that it was told again.
    async fn take(&mut self, mut event: Event) -> Result<(), Trouble> {
        event.note = shortened(&event.note, MAX_NOTE);
        let name = event.name();
        if let Some(known) = self.known.get_mut(&name) {
            (known.again, known.told) = (known.again.saturating_add(1), Instant::now());
            self.counts.repeated.inc();
            return Ok(());
        }
        if self.known.len() >= MAX_REMEMBERED {
            self.known.retain(|_, known| known.again > 0);
        }
        if self.known.len() >= MAX_REMEMBERED {
            self.counts.dropped.inc();
            return Err(Trouble::Busy("too many different events wait to be counted".into()));
        }
        self.write(&name, &event, 1).await?;
        self.known.insert(name, Known { event, again: 0, told: Instant::now() });
        Ok(())
    }

    fn complain(&mut self, trouble: &Trouble) {
        self.complaints.about("an event cannot be written", trouble);
    }

    /// Writes how often events were told again, and forgets old ones.
    async fn count(&mut self) {
        let again: Vec<(String, Event, i32)> = self
            .known
            .iter_mut()
            .filter(|(_, known)| known.again > 0)
            .map(|(name, known)| (name.clone(), known.event.clone(), std::mem::take(&mut known.again)))
            .collect();
        for (name, event, by) in again {
            if let Err(trouble) = self.write(&name, &event, by).await {
                self.complain(&trouble);
            }
        }
        self.known.retain(|_, known| known.told.elapsed() < REMEMBERED);
    }

    async fn write(&mut self, name: &str, event: &Event, by: i32) -> Result<(), Trouble> {
        self.pace.wait().await;
        let result = self.put(name, event, by).await;
        let count = if result.is_ok() { &self.counts.written } else { &self.counts.failed };
        count.inc();
        result
    }

    /// Makes an event, or counts it in the one that is there.
    async fn put(&self, name: &str, event: &Event, by: i32) -> Result<(), Trouble> {
        let api = Api::<WireEvent>::namespaced(self.client.clone(), event.namespace());
        let post = PostParams::default();
        let mut result = Err(Trouble::Conflict);
        for _ in 0..ATTEMPTS {
            result = in_time(api.create(&post, &self.wire(name, event, by))).await;
            if result != Err(Trouble::Conflict) {
                break;
            }
            let mut there = match in_time(api.get(name)).await {
                Err(Trouble::NotFound) => continue,
                there => there?,
            };
            let count = there.series.as_ref().map_or(1, |series| series.count);
            there.series = Some(self.series(count.saturating_add(by)));
            // Under the version that was read: another replica may count too.
            result = in_time(api.replace(name, &post, &there)).await;
            if result != Err(Trouble::Conflict) {
                break;
            }
        }
        result.map(drop)
    }

    fn series(&self, count: i32) -> EventSeries {
        EventSeries { count, last_observed_time: MicroTime(self.clock.now()) }
    }

    fn wire(&self, name: &str, event: &Event, count: i32) -> WireEvent {
        WireEvent {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(event.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(self.clock.now())),
            // One of one is no series.
            series: (count > 1).then(|| self.series(count)),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: Some(self.reporter.instance.clone()),
            action: Some(event.doing.code().to_owned()),
            reason: Some(event.reason.code().to_owned()),
            type_: Some(event.reason.kind().to_owned()),
            note: Some(event.note.clone()),
            regarding: Some(event.regarding.reference()),
            related: event.related.as_ref().map(ObjectRef::reference),
            ..WireEvent::default()
        }
    }
}
