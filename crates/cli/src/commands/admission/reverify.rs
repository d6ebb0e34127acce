//! Verifying what runs in the webhook's process: one replica does it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_client::policy::Source;
use countersign_clock::{Clock, SystemClock};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{
    Candidate, Client, Events, Namespaces, ReportOptions, Watching, reports as reports_of, while_leading,
};
use countersign_kubernetes::continuous::sink::event::{EventSink, at_workload};
use countersign_kubernetes::continuous::{
    AdmissionJudge, Metrics, Options, Rechecker, Sink, Sinks, Verifier,
};
use countersign_kubernetes::scan::{Control, ScanOptions, Scanner, Settings};
use countersign_kubernetes::webhook::Metrics as Page;
use countersign_policy::PolicySet;
use tokio::sync::{mpsc, oneshot, watch};

use crate::args::alerts::AlertArgs;
use crate::args::reports::ReportsName;
use crate::failure::Failure;
use crate::out::parse_duration;

/// How many resources are looked at at once.
const AT_ONCE: usize = 8;
/// How much news may wait.
const NEWS: usize = 64;

/// Whether it is done, and who is told.
#[derive(Debug, Args)]
pub(super) struct ReverifyArgs {
    /// Verify what runs again in this interval, such as 10m, and tell what changed; one of several replicas does it
    #[arg(long, value_name = "INTERVAL", value_parser = interval, requires = "cluster")]
    reverify: Option<Duration>,
    /// Which reports of what runs are kept in the cluster
    #[arg(long, value_enum, value_name = "WHICH", default_value = "auto", requires = "reverify")]
    reports: ReportsName,
    #[command(flatten)]
    alerts: AlertArgs,
}

/// What was asked for, read.
pub(super) struct Reverifying {
    options: Options,
    sinks: Vec<Arc<dyn Sink>>,
    reports: Option<ReportOptions>,
}

/// Where it is done, and by what.
pub(super) struct Reverification {
    pub(super) client: Client,
    pub(super) admission: Arc<Admission>,
    pub(super) source: Arc<Source>,
    /// At the workloads.
    pub(super) events: Option<Events>,
    /// Tells when something else is revoked.
    pub(super) revocations: Option<watch::Receiver<u64>>,
    pub(super) metrics: Metrics,
    /// Shows what becomes of reports.
    pub(super) page: Arc<Page>,
    /// Where the lease lies, and its name.
    pub(super) namespace: String,
    pub(super) lease: String,
}

impl ReverifyArgs {
    /// What is asked for.
    pub(super) fn read(&self) -> Result<Option<Reverifying>, Failure> {
        match (self.reverify, self.alerts.given()) {
            (None, None) => Ok(None),
            (None, Some(flag)) => {
                Err(Failure::usage(format!("{flag} is for changes of what runs, which --reverify tells")))
            }
            (Some(interval), _) => Ok(Some(Reverifying {
                options: self.alerts.options(interval, AT_ONCE)?,
                sinks: self.alerts.sinks()?,
                reports: self.reports.options(interval),
            })),
        }
    }
}

impl Reverification {
    /// Verifies while the lease is ours, until it is over, and gives the lease up.
    pub(super) async fn run(self, asked: Reverifying, over: oneshot::Receiver<()>) {
        let Reverifying { options: pace, mut sinks, reports } = asked;
        let at_workload = |events| Arc::new(EventSink::new(events, at_workload)) as Arc<dyn Sink>;
        sinks.extend(self.events.map(at_workload));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (leads, told) = watch::channel(false);
        let candidate =
            Candidate::new(self.client.clone(), &self.namespace, &self.lease, holder(), Arc::clone(&clock));
        let lease = tokio::spawn(candidate.run(leads));
        let sinks = Arc::new(Sinks::start(sinks, &self.metrics));
        let rechecker = Rechecker::default();
        // Other policies or revocations, other verdicts.
        tokio::spawn(rechecker.clone().follow(self.admission.changes()));
        if let Some(revocations) = self.revocations {
            tokio::spawn(rechecker.clone().follow(revocations));
        }
        let options = ScanOptions {
            controls: vec![Control::Policy],
            settings: Settings::default(),
            policies: PolicySet::default(),
            repository: None,
            at_once: 1,
        };
        let scanner = Scanner::new(options, self.source, Arc::new(SystemClock));
        let judge = Arc::new(AdmissionJudge::new(self.admission, scanner));
        let reports = reports.map(|options| {
            let (reports, writer) = reports_of(self.client.clone(), options, Arc::clone(&clock));
            self.page.add(|registry| reports.counts().register(registry));
            tokio::spawn(writer.run());
            reports
        });
        let (metrics, client) = (self.metrics, self.client);
        let verifying = while_leading(told, || {
            let active = Active::new(&metrics);
            let verifier = Verifier::new(
                pace,
                Arc::clone(&judge) as _,
                Arc::clone(&sinks),
                metrics.clone(),
                Arc::clone(&clock),
            );
            let verifier = verifier.rechecked_by(rechecker.clone()).reporting(reports.clone());
            let (news, telling) = mpsc::channel(NEWS);
            let watching =
                Watching { namespaces: Namespaces::default(), secrets: true }.run(client.clone(), news);
            async move {
                let _active = active;
                tracing::info!("this replica verifies what runs");
                tokio::select! {
                    () = verifier.run(telling) => {}
                    () = watching => {}
                }
            }
        });
        tokio::select! {
            () = verifying => {}
            _ = over => {}
        }
        // Nobody listens to it any more.
        let _ = lease.await;
    }
}

/// Says for as long as it is there that this process verifies.
struct Active(Metrics);

impl Active {
    fn new(metrics: &Metrics) -> Self {
        metrics.active(true);
        Self(metrics.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active(false);
        tracing::info!("this replica does not verify what runs any more");
    }
}

/// What no other process calls itself: two in one pod, one after the other, are two.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "countersign".into());
    let since = SystemClock.now().as_nanosecond();
    format!("{host}_{}_{since}", std::process::id())
}

/// The interval, if it is one.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_secs(1) {
        Err("expected an interval of at least 1s".into())
    } else {
        Ok(interval)
    }
}
