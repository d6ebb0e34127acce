//! The loop: takes news of what runs, has workloads judged when they are due, and tells what changed.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use countersign_clock::Clock;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::alert::{Alert, Standing};
use super::judge::Judge;
use super::metrics::{Metrics, Tally};
use super::schedule::Schedule;
use super::sink::Sinks;
use super::state::At;
use super::workloads::{Id, Limits, News, Workloads};
use crate::api::Reports;
use crate::scan::ResourceResult;

/// How soon it is tried again when nobody could look: a registry's hiccup ends soon.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// How soon it is tried again while there is nothing to judge by.
const NOT_YET: Duration = Duration::from_secs(1);
/// The oldest evidence by which something new is judged. It may just have been signed.
const NEWS: Duration = Duration::from_secs(30);

/// How it is verified.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How often each workload is verified.
    pub interval: Duration,
    /// How many workloads are begun with in a second, at most: registries are not ours alone.
    pub per_second: u32,
    /// How many workloads are looked at at once.
    pub at_once: usize,
    /// How long it may be impossible to look before that is told.
    pub patience: Duration,
    /// How much is kept of what runs.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(600),
            per_second: 20,
            at_once: 8,
            patience: Duration::from_secs(900),
            limits: Limits::default(),
        }
    }
}

/// Has everything verified now: policies, trust, exceptions or revocations are others.
#[derive(Debug, Clone, Default)]
pub struct Rechecker(Arc<Notify>);

impl Rechecker {
    /// Everything, now. Askings that come before the first was heard are one.
    pub fn all(&self) {
        self.0.notify_one();
    }

    /// Everything, each time that this tells of a change; until nobody can tell any more.
    pub async fn follow(self, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            self.all();
        }
    }
}

/// Verifies what runs, for ever.
#[derive(Debug)]
pub struct Verifier {
    options: Options,
    judge: Arc<dyn Judge>,
    sinks: Arc<Sinks>,
    reports: Option<Reports>,
    clock: Arc<dyn Clock>,
    tally: Tally,
    metrics: Metrics,
    rechecker: Rechecker,
    workloads: Workloads,
    schedule: Schedule,
    begun: Instant,
    /// Those that are being looked at, with what has been asked meanwhile.
    looking: HashMap<Id, Option<Instant>>,
    checks: JoinSet<Checked>,
    /// When the next may be begun.
    free: Instant,
}

/// What came of a check, of which version of what, by evidence from when on.
#[derive(Debug)]
struct Checked {
    id: Id,
    version: u64,
    since: Instant,
    found: Found,
}

#[derive(Debug)]
enum Found {
    Result(Box<ResourceResult>),
    /// There is nothing to judge by yet.
    Nothing,
    /// A fault of the program, whose text stands in the log.
    Fault,
}

impl Verifier {
    /// One that knows of nothing yet.
    #[must_use]
    pub fn new(
        options: Options,
        judge: Arc<dyn Judge>,
        sinks: Arc<Sinks>,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let begun = Instant::now();
        let whole = judge.needs_objects();
        Self {
            options,
            judge,
            sinks,
            reports: None,
            clock,
            tally: Tally::new(metrics.clone()),
            metrics,
            rechecker: Rechecker::default(),
            workloads: Workloads::new(options.limits, whole),
            schedule: Schedule::new(options.interval, begun),
            begun,
            looking: HashMap::new(),
            checks: JoinSet::new(),
            free: begun,
        }
    }

    /// Listens to this one.
    #[must_use]
    pub fn rechecked_by(mut self, rechecker: Rechecker) -> Self {
        self.rechecker = rechecker;
        self
    }

    /// Keeps a report in the cluster of each workload, if this is there.
    #[must_use]
    pub fn reporting(self, reports: Option<Reports>) -> Self {
        Self { reports, ..self }
    }

    /// Verifies what the news tell of, until nobody tells any more.
    pub async fn run(mut self, mut news: mpsc::Receiver<News>) {
        let asked = Arc::clone(&self.rechecker.0);
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                Some(done) = self.checks.join_next() => {
                    // A check catches its own faults; one that was cancelled is at the end.
                    if let Ok(checked) = done {
                        self.settle(checked);
                    }
                }
                told = news.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                () = asked.notified() => self.recheck(),
                () = sleep_until(wake.unwrap_or(self.begun)), if wake.is_some() => self.begin(),
            }
        }
    }

    /// When the next can be begun with; not while all places are taken.
    fn wake(&self) -> Option<Instant> {
        if self.looking.len() >= self.options.at_once.max(1) {
            return None;
        }
        Some(self.schedule.next()?.max(self.free))
    }

    fn hear(&mut self, news: News) {
        let happened = self.workloads.take(news);
        let now = Instant::now();
        if happened.full {
            let limits = self.options.limits;
            tracing::error!(
                workloads = limits.workloads,
                bytes = limits.bytes,
                "more runs than there is room for; what is beyond is not verified until there is"
            );
        }
        for id in happened.fresh {
            // The version before, if there was one, stays counted as it stands until the new one was judged.
            if let Some(workload) = self.workloads.get(id).filter(|workload| workload.version == 0) {
                self.tally.add(&workload.name().namespace, &workload.state);
            }
            self.schedule.at_once(id, now, self.earlier(now, NEWS));
        }
        for (id, workload) in happened.gone {
            self.schedule.forget(id);
            self.tally.remove(&workload.name().namespace, &workload.state);
            let (name, uid, at) = (workload.name().clone(), workload.uid().to_owned(), self.at());
            if let Some(reports) = &self.reports {
                reports.remove(&uid, &name);
            }
            self.tell(Alert::of(&name, &uid, workload.state.end(at), at.time));
        }
        self.metrics.kept(self.workloads.bytes(), self.workloads.beyond());
    }

    fn recheck(&mut self) {
        let now = Instant::now();
        // What it is judged by has changed, and not what is judged.
        let since = self.earlier(now, self.options.interval);
        tracing::info!(workloads = self.workloads.len(), "everything is verified now");
        for id in self.workloads.ids().collect::<Vec<_>>() {
            self.ask(id, now, since);
        }
    }

    fn ask(&mut self, id: Id, now: Instant, since: Instant) {
        match self.looking.get_mut(&id) {
            // What is under way may have begun too early.
            Some(again) => *again = (*again).max(Some(since)),
            None => self.schedule.at_once(id, now, since),
        }
    }

    /// What was found before this began does not count.
    fn earlier(&self, now: Instant, by: Duration) -> Instant {
        now.checked_sub(by).unwrap_or(self.begun).max(self.begun)
    }

    fn at(&self) -> At {
        At { instant: Instant::now(), time: self.clock.now(), patience: self.options.patience }
    }

    /// Begins with the next that is due.
    fn begin(&mut self) {
        let now = Instant::now();
        self.metrics.late(self.schedule.late(now));
        let Some((id, asked)) = self.schedule.pop(now) else { return };
        let Some(workload) = self.workloads.get(id) else { return };
        // In turn, by evidence that was found after the last look: by this one's next look, or by somebody's in between who
        // runs the same. So the evidence of an image is fetched once in an interval, and is never older.
        let since = asked.or(workload.looked).unwrap_or_else(|| self.earlier(now, NEWS));
        if self.looking.contains_key(&id) {
            return self.ask(id, now, since);
        }
        self.free = now + Duration::from_secs(1) / self.options.per_second.max(1);
        let (judge, resource, version) = (Arc::clone(&self.judge), workload.resource(), workload.version);
        self.looking.insert(id, None);
        self.checks.spawn(async move {
            let judging = AssertUnwindSafe(async { judge.judge(resource, since).await }).catch_unwind();
            let found = match judging.await {
                Ok(Some(result)) => Found::Result(Box::new(result)),
                Ok(None) => Found::Nothing,
                Err(_) => Found::Fault,
            };
            Checked { id, version, since, found }
        });
    }

    fn settle(&mut self, checked: Checked) {
        let Checked { id, version, since, found } = checked;
        let (now, at) = (Instant::now(), self.at());
        let again = self.looking.remove(&id).flatten();
        let Some(workload) = self.workloads.get_mut(id) else { return };
        workload.looked = Some(now);
        if let Some(again) = again {
            self.schedule.at_once(id, now, again);
        }
        if workload.version != version {
            // Another one came meanwhile, and is on its way to be judged.
            return;
        }
        let (name, uid) = (workload.name().clone(), workload.uid().to_owned());
        self.tally.remove(&name.namespace, &workload.state);
        let changes = match &found {
            Found::Result(result) => workload.state.take(result, at),
            Found::Nothing => Vec::new(),
            Found::Fault => workload.state.unchecked(at),
        };
        self.tally.add(&name.namespace, &workload.state);
        if let (Some(reports), Found::Result(result)) = (&self.reports, &found) {
            reports.put(workload.uid(), result);
        }
        let unchecked = workload.state.standings().any(|(_, standing)| standing == Standing::Unchecked);
        match &found {
            Found::Nothing => self.schedule.soon(id, now, NOT_YET),
            _ if unchecked => self.schedule.soon(id, now, TRY_AGAIN),
            _ => self.schedule.in_turn(id, now),
        }
        match found {
            Found::Result(result) => {
                self.metrics.verified();
                let images = result.controls.iter().flat_map(|control| &control.images);
                self.workloads.set_digests(id, images.filter_map(|image| image.digest.clone()).collect());
            }
            Found::Nothing => {}
            Found::Fault => {
                self.metrics.fault();
                tracing::error!(workload = %name, "a fault of the program while this was verified");
            }
        }
        // What changed for one is looked for in all that run the same, by the same evidence.
        let told = changes.iter().filter(|change| change.was.is_some());
        let digests: BTreeSet<&String> = told.filter_map(|change| change.digest.as_ref()).collect();
        let others: BTreeSet<Id> =
            digests.into_iter().flat_map(|digest| self.workloads.running(digest)).collect();
        others.into_iter().filter(|other| *other != id).for_each(|other| self.ask(other, now, since));
        self.tell(Alert::of(&name, &uid, changes, at.time));
    }

    fn tell(&self, alert: Option<Alert>) {
        let Some(alert) = alert else { return };
        for change in &alert.changes {
            self.metrics.changed(change.control, change.is);
        }
        self.sinks.tell(alert);
    }
}
