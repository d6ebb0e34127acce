//! What the tests share: a judge who says what he is told to, a sink that can be away, workloads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_clock::{ManualClock, Timestamp};
use countersign_kubernetes::continuous::sink::Sending;
use countersign_kubernetes::continuous::{
    Alert, Judge, Judging, Metrics, News, Options, Origin, Rechecker, Sink, SinkError, Sinks, Standing,
    Verifier,
};
use countersign_kubernetes::scan::{Control, ControlResult, ImageResult, Resource, ResourceResult, Status};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Says of each image what it is told, after some time.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) said: Mutex<BTreeMap<String, Status>>,
    pub(crate) judged: Mutex<Vec<(String, Instant, Instant)>>,
    pub(crate) takes: Duration,
    pub(crate) looking: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) unready: AtomicBool,
}

impl Told {
    pub(crate) fn say(&self, image: &str, status: Status) {
        self.said.lock().unwrap().insert(image.to_owned(), status);
    }

    /// When each workload was judged, since the last time.
    pub(crate) fn times(&self) -> Vec<(String, Instant, Instant)> {
        std::mem::take(&mut self.judged.lock().unwrap())
    }
}

impl Judge for Told {
    fn judge(&self, resource: Resource, since: Instant) -> Judging<'_> {
        Box::pin(async move {
            if self.unready.load(Ordering::SeqCst) {
                return None;
            }
            self.judged.lock().unwrap().push((resource.name.name.clone(), Instant::now(), since));
            let looking = self.looking.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(looking, Ordering::SeqCst);
            if !self.takes.is_zero() {
                tokio::time::sleep(self.takes).await;
            }
            self.looking.fetch_sub(1, Ordering::SeqCst);
            let images = resource.images.unwrap().into_iter().map(|placed| {
                assert!(!placed.image.contains("fault"), "a fault, as the test wants it");
                let status = self.said.lock().unwrap().get(&placed.image).copied().unwrap_or(Status::Passed);
                ImageResult {
                    path: placed.path,
                    list: "containers".into(),
                    container: placed.container,
                    digest: Some(format!("digest of {}", placed.image)),
                    image: placed.image,
                    policy: None,
                    status,
                    reason: "told".into(),
                    message: "expected a signature, found none".into(),
                    next: "countersign tree".into(),
                    known: false,
                    line: None,
                    vulnerabilities: Default::default(),
                }
            });
            let controls = vec![ControlResult::new(Control::SignatureExists, images.collect())];
            Some(ResourceResult { resource: resource.name, controls })
        })
    }

    fn needs_objects(&self) -> bool {
        false
    }
}

/// Hands alerts on, unless it is away.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) to: mpsc::UnboundedSender<Arc<Alert>>,
    pub(crate) away: Arc<AtomicBool>,
    pub(crate) named: &'static str,
}

impl Sink for Seen {
    fn name(&self) -> &'static str {
        self.named
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<Alert>]) -> Sending<'a> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(SinkError::Away("away, as the test wants it".into()));
            }
            alerts.iter().for_each(|alert| self.to.send(Arc::clone(alert)).unwrap());
            Ok(())
        })
    }
}

/// A verifier that runs.
pub(crate) struct Bench {
    pub(crate) judge: Arc<Told>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) alerts: mpsc::UnboundedReceiver<Arc<Alert>>,
    pub(crate) metrics: Metrics,
    pub(crate) rechecker: Rechecker,
    pub(crate) begun: Instant,
}

impl Bench {
    pub(crate) fn start(options: Options) -> Self {
        Self::with(options, Told::default())
    }

    pub(crate) fn with(options: Options, judge: Told) -> Self {
        let judge = Arc::new(judge);
        let (to, alerts) = mpsc::unbounded_channel();
        let metrics = Metrics::default();
        let seen = Seen { to, away: Arc::default(), named: "seen" };
        let sinks = Arc::new(Sinks::start(vec![Arc::new(seen)], &metrics));
        let rechecker = Rechecker::default();
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let verifier = Verifier::new(options, Arc::clone(&judge) as _, sinks, metrics.clone(), clock);
        let (news, telling) = mpsc::channel(16);
        tokio::spawn(verifier.rechecked_by(rechecker.clone()).run(telling));
        Self { judge, news, alerts, metrics, rechecker, begun: Instant::now() }
    }

    pub(crate) async fn there(&self, name: &str, image: &str) {
        self.news.send(News::There(origin(), Box::new(deployment(name, image)))).await.unwrap();
    }

    /// The next alert: the workload, and each change.
    pub(crate) async fn alert(&mut self) -> (String, Vec<(Option<Standing>, Standing)>) {
        let alert = self.alerts.recv().await.unwrap();
        (alert.workload.name.clone(), alert.changes.iter().map(|change| (change.was, change.is)).collect())
    }

    /// A value of the page of metrics.
    pub(crate) fn value(&self, line: &str) -> Option<u64> {
        let page = self.metrics.page();
        let value =
            page.lines().find_map(|found| found.strip_prefix(&format!("countersign_continuous_{line} ")));
        value.map(|value| value.parse().unwrap())
    }
}

pub(crate) fn origin() -> Origin {
    Origin::from("deployments")
}

pub(crate) fn deployment(name: &str, image: &str) -> Resource {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}});
    Resource::of(object, "cluster").unwrap()
}

/// An alert, for tests of sinks.
pub(crate) async fn alert(name: &str) -> Arc<Alert> {
    let mut bench = Bench::start(Options::default());
    bench.judge.say("r.example/bad:1", Status::Failed);
    bench.there(name, "r.example/bad:1").await;
    bench.alerts.recv().await.unwrap()
}
