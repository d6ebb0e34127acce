//! Scanning that goes on: what runs is verified again and again, and what changed is told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_client::policy::{Cluster, NoCluster, Source};
use countersign_clock::SystemClock;
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{
    ApiCluster, Client, Watching, follow_controller, follow_policies, reports,
};
use countersign_kubernetes::continuous::sink::lines::{Form, Lines};
use countersign_kubernetes::continuous::{
    Metrics, News, Origin, Rechecker, ScanJudge, Sinks, Verifier, serve_metrics,
};
use countersign_kubernetes::scan::{Control, Format, Resource, Scanner};
use countersign_policy::PolicySet;
use countersign_server::serve::Running;
use tokio::sync::{mpsc, watch};

use super::cluster::Taking;
use super::{How, Keep, Ready, checks_something, source};
use crate::args::alerts::AlertArgs;
use crate::args::cluster::ClusterArgs;
use crate::args::reports::ReportsName;
use crate::commands::admission::follow_files;
use crate::commands::init::server_failure;
use crate::commands::policy::{self, files, text_of};
use crate::commands::serve::{LogFormat, log_to_stderr, server_runtime, told_to_end};
use crate::failure::{Failure, Outcome};
use crate::out::{Color, Terminal, parse_duration};

/// How often each workload is verified, unless the person says otherwise.
const INTERVAL: Duration = Duration::from_secs(600);
/// How often it is looked whether policies, exceptions, settings and revocation lists are others.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long alerts may still be sent at the end.
const LAST_ALERTS: Duration = Duration::from_secs(5);
/// How much news may wait.
const NEWS: usize = 64;

/// Whether it goes on, and who is told.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Go on until told to end: verify again and again, and tell what changed
    #[arg(long, conflicts_with_all = ["output", "compliance_threshold", "severity_threshold", "show_all"])]
    watch: bool,
    /// How often each workload is verified, such as 10m (10m unless given)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "watch")]
    interval: Option<Duration>,
    /// Serve Prometheus' metrics there
    #[arg(long, value_name = "ADDRESS:PORT", requires = "watch")]
    metrics_listen: Option<SocketAddr>,
    /// Keep reports of what runs in the cluster, and which
    #[arg(long, value_enum, value_name = "WHICH", default_value = "off", requires = "watch")]
    reports: ReportsName,
    #[command(flatten)]
    alerts: AlertArgs,
}

impl WatchArgs {
    /// Whether it goes on. Without, nobody is told of changes.
    pub(super) fn is_on(&self) -> Result<bool, Failure> {
        match self.alerts.given().filter(|_| !self.watch) {
            None => Ok(self.watch),
            Some(flag) => Err(Failure::usage(format!("{flag} is for changes, which --watch tells"))),
        }
    }

    /// Refuses to go on where that is not possible.
    pub(super) fn check_off(&self, what: &str) -> Result<(), Failure> {
        if self.is_on()? {
            return Err(Failure::usage(format!("--watch is not for {what}"))
                .next("countersign scan --watch FILE, or countersign scan cluster --watch"));
        }
        Ok(())
    }
}

/// Where answers come from.
enum Answers {
    /// From a source that is made anew with each reading of the files.
    Files(Arc<dyn Cluster>),
    /// From one into which the policies, trust roots and revocation lists of a cluster are put as they change.
    Cluster(OfCluster),
}

/// What of a cluster counts, and is followed.
struct OfCluster {
    source: Arc<Source>,
    admission: Arc<Admission>,
    /// Tells when another revocation list holds.
    revocations: Option<watch::Receiver<u64>>,
}

/// A watch that is set up.
struct Watch {
    judge: Arc<ScanJudge>,
    verifier: Verifier,
    rechecker: Rechecker,
    sinks: Arc<Sinks>,
    /// Served for as long as it is there.
    _metrics: Option<Running>,
}

impl How {
    /// Watches files, which are read again at each interval.
    pub(super) fn watch_files(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        paths: &[PathBuf],
    ) -> Outcome {
        if paths.iter().any(|path| path == Path::new("-")) {
            return Err(Failure::usage(
                "standard input cannot be read again and again; name a file or a directory",
            ));
        }
        if self.watch.reports != ReportsName::Off {
            return Err(Failure::usage("--reports is for what a cluster runs, not for files")
                .next("countersign scan cluster --watch --reports auto"));
        }
        self.watching(terminal, async {
            let objects = controls.contains(&Control::Policy) && !self.policies.is_empty();
            let keep = Keep { objects, lines: false };
            let read = || tokio::task::block_in_place(|| self.which.read(&silent(), paths, keep));
            let first = self.which.read(terminal, paths, keep)?;
            if first.is_empty() {
                return Err(Failure::usage("expected workloads with images, found none"));
            }
            let answers = Answers::Files(Arc::new(NoCluster));
            let watch = self.prepare(terminal, controls, &answers).await?;
            let (news, telling) = mpsc::channel(NEWS);
            let (judge, rechecker) = (Arc::clone(&watch.judge), watch.rechecker.clone());
            let reading = async {
                let mut origins = BTreeSet::new();
                tell(&news, &mut origins, first).await;
                let mut tick = tokio::time::interval(self.interval());
                tick.tick().await;
                loop {
                    tick.tick().await;
                    match read() {
                        Ok(resources) => tell(&news, &mut origins, resources).await,
                        Err(failure) => {
                            tracing::error!(
                                error = failure.message,
                                "the files cannot be read; what was in them is verified"
                            );
                        }
                    }
                }
            };
            tokio::select! {
                () = watch.verifier.run(telling) => {}
                () = reading => {}
                () = self.follow(controls, &answers, &judge, &rechecker) => {}
                told = ended() => told?,
            }
            watch.sinks.finish(LAST_ALERTS).await;
            Ok(())
        })
    }

    /// Watches what a cluster runs.
    pub(super) fn watch_cluster(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        args: &ClusterArgs,
    ) -> Outcome {
        self.watching(terminal, async {
            let client = args.client().await?;
            let cluster: Arc<dyn Cluster> = Arc::new(ApiCluster::new(client.clone()));
            let answers = match args.cluster_policies {
                true => Answers::Cluster(self.following(terminal, controls, args, &client, cluster).await?),
                false => Answers::Files(cluster),
            };
            let watch = self.prepare(terminal, controls, &answers).await?;
            let (news, telling) = mpsc::channel(NEWS);
            let watching = Watching { namespaces: self.which.namespaces(), secrets: !args.no_pull_secrets };
            let reports = self.watch.reports.options(self.interval()).map(|options| {
                let (reports, writer) = reports(client.clone(), options, Arc::new(SystemClock));
                tokio::spawn(writer.run());
                reports
            });
            tokio::select! {
                () = watch.verifier.reporting(reports).run(telling) => {}
                () = watching.run(client, news) => {}
                () = self.follow(controls, &answers, &watch.judge, &watch.rechecker) => {}
                told = ended() => told?,
            }
            watch.sinks.finish(LAST_ALERTS).await;
            Ok(())
        })
    }

    fn interval(&self) -> Duration {
        self.watch.interval.unwrap_or(INTERVAL)
    }

    /// Runs until it is told to end.
    fn watching(&self, terminal: &Terminal, work: impl Future<Output = Result<(), Failure>>) -> Outcome {
        if terminal.timeout.is_some() {
            return Err(Failure::usage("--timeout is not for --watch: it runs until it is told to end"));
        }
        self.registry.check_no_login()?;
        let level = if terminal.verbose { "debug" } else { "warn" };
        log_to_stderr(LogFormat::Text, if terminal.quiet { "error" } else { level })?;
        server_runtime()?.block_on(work)?;
        Ok(0)
    }

    /// Follows the policies and the revocation lists of a cluster, as the webhook does.
    async fn following(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        args: &ClusterArgs,
        client: &Client,
        cluster: Arc<dyn Cluster>,
    ) -> Result<OfCluster, Failure> {
        let (followed, roots) = tokio::task::block_in_place(|| {
            self.may_have_policies("--cluster-policies", controls)?;
            let ready = self.ready(terminal)?;
            let followed = self.revocation.followed(&self.trust, Vec::new())?;
            let roots = self.roots(&ready.settings, controls)?;
            let roots = if followed.is_some() { policy::without_revocations(roots) } else { roots };
            Ok::<_, Failure>((followed, roots))
        })?;
        let source = source(&self.registry, &[], cluster, roots.clone())?;
        let source = Arc::new(source.in_namespace(args.webhook_namespace()));
        let revocations = match followed {
            Some(followed) => Some(followed.follow(client, &source).await?),
            None => None,
        };
        let Taking { admission, policies, texts } = self.taking(args, Arc::clone(&source), roots)?;
        if !texts.is_empty() {
            tokio::spawn(follow_files(self.policies.clone(), texts, Arc::clone(&policies)));
        }
        let namespace = args.policy_controller_namespace.clone();
        tokio::spawn(follow_controller(client.clone(), namespace, Arc::clone(&policies)));
        tokio::spawn(follow_policies(client.clone(), Arc::clone(&policies)));
        tokio::spawn(policies.keep_trust_roots(Arc::new(SystemClock)));
        Ok(OfCluster { source, admission, revocations })
    }

    async fn prepare(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        answers: &Answers,
    ) -> Result<Watch, Failure> {
        let form = match self.format {
            Format::Pretty => Form::Text,
            Format::Json => Form::Json,
            _ => return Err(Failure::usage("--watch tells changes as pretty or json, not in another form")),
        };
        // What is wrong with an argument is said before anybody is asked.
        let options = self.watch.alerts.options(self.interval(), self.which.concurrency)?;
        let mut all = self.watch.alerts.sinks()?;
        let (scanner, ready) = self.tools(terminal, controls, answers).await?;
        all.insert(0, Arc::new(Lines::new(form, std::io::stdout())));
        let metrics = Metrics::default();
        let mut served = None;
        if let Some(address) = self.watch.metrics_listen {
            let running = serve_metrics(address, metrics.clone()).await.map_err(|e| server_failure(&e))?;
            terminal.talk(&format!("metrics at {}/metrics", running.url));
            served = Some(running);
        }
        metrics.active(true);
        let sinks = Arc::new(Sinks::start(all, &metrics));
        let mut judge = ScanJudge::new(scanner, ready.exceptions, ready.baseline);
        let rechecker = Rechecker::default();
        if let Answers::Cluster(own) = answers {
            judge = judge.by_policies_of(Arc::clone(&own.admission));
            tokio::spawn(rechecker.clone().follow(own.admission.changes()));
            if let Some(revocations) = own.revocations.clone() {
                tokio::spawn(rechecker.clone().follow(revocations));
            }
        }
        let judge = Arc::new(judge);
        let clock = Arc::new(SystemClock);
        let verifier = Verifier::new(options, Arc::clone(&judge) as _, Arc::clone(&sinks), metrics, clock);
        Ok(Watch {
            judge,
            verifier: verifier.rechecked_by(rechecker.clone()),
            rechecker,
            sinks,
            _metrics: served,
        })
    }

    /// What is judged with, as the files say now.
    async fn tools(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        answers: &Answers,
    ) -> Result<(Scanner, Ready), Failure> {
        let (ready, options, source, objects) = tokio::task::block_in_place(|| {
            let ready = self.ready(terminal)?;
            let (policies, source, objects) = match answers {
                Answers::Files(cluster) => {
                    let (policies, trust, objects) = self.policies(&ready.settings, controls)?;
                    (policies, Arc::new(self.source(&[], Arc::clone(cluster), trust)?), Some(objects))
                }
                Answers::Cluster(own) => (PolicySet::default(), Arc::clone(&own.source), None),
            };
            let options = self.options(controls, &ready.settings, policies)?;
            Ok::<_, Failure>((ready, options, source, objects))
        })?;
        let follows = objects.is_none();
        if let Some(objects) = objects {
            policy::fetch_trust_roots(terminal, &source, objects).await;
        }
        let scanner = Scanner::new(options, source, Arc::new(SystemClock));
        if !follows {
            // Policies of a cluster may come later.
            checks_something(&scanner, controls)?;
        }
        Ok((scanner, ready))
    }

    /// What policies, exceptions, settings, baseline and revocation lists say; nothing while they cannot be read.
    fn texts(&self) -> Result<Vec<(PathBuf, String)>, Failure> {
        let mut paths = files(&self.policies)?;
        paths.extend(self.revocation.revocations.iter().cloned());
        paths.extend(self.trust.revocations_of()?.map(|own| own.kept).filter(|kept| kept.exists()));
        paths
            .extend([&self.exceptions, &self.controls_config, &self.baseline].into_iter().flatten().cloned());
        paths.into_iter().map(|path| text_of(&path).map(|text| (path, text))).collect()
    }

    /// Keeps what the instance revokes, and tells when that is in the way which was not.
    async fn follow_revocations(&self, told: &mut Option<String>) {
        let trouble = self.trust.follow_revocations().await.unwrap_or_else(|failure| Some(failure.message));
        if let Some(error) = trouble.as_ref().filter(|error| told.as_ref() != Some(error)) {
            tracing::error!(error, "what the instance revokes cannot be had; what was kept holds on");
        }
        *told = trouble;
    }

    /// Judges by other policies, exceptions, settings and revocation lists when they change, and by other trust at each
    /// interval. While something is wrong in them, what held before goes on.
    async fn follow(
        &self,
        controls: &[Control],
        answers: &Answers,
        judge: &ScanJudge,
        rechecker: &Rechecker,
    ) {
        let mut known = self.texts().ok();
        let (mut told, mut told_of_instance) = (None, None);
        let mut since = tokio::time::Instant::now();
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        loop {
            tick.tick().await;
            self.follow_revocations(&mut told_of_instance).await;
            let texts = tokio::task::block_in_place(|| self.texts());
            let changed = texts.as_ref().is_ok_and(|texts| Some(texts) != known.as_ref());
            // Exceptions end by themselves, and trust roots are renewed.
            if !changed && texts.is_ok() && since.elapsed() < self.interval() {
                continue;
            }
            let tools = async {
                let texts = texts?;
                let tools = self.tools(&silent(), controls, answers).await?;
                Ok::<_, Failure>((texts, tools))
            };
            let tools = tools.await;
            match tools {
                Ok((texts, (scanner, ready))) => {
                    judge.replace(scanner, ready.exceptions, ready.baseline);
                    (known, told, since) = (Some(texts), None, tokio::time::Instant::now());
                    if changed {
                        rechecker.all();
                    }
                }
                Err(failure) if told.as_ref() == Some(&failure.message) => {}
                Err(failure) => {
                    tracing::error!(
                        error = failure.message,
                        "what is judged with cannot be used; what held before goes on"
                    );
                    told = Some(failure.message);
                }
            }
        }
    }
}

async fn ended() -> Result<(), Failure> {
    told_to_end()?.await;
    Ok(())
}

/// For what was said at the beginning already.
fn silent() -> Terminal {
    Terminal::new(Color::Never, true, false, None)
}

/// Tells what is in the files now, file by file. One that is gone is read as an empty one.
async fn tell(news: &mpsc::Sender<News>, origins: &mut BTreeSet<Origin>, resources: Vec<Resource>) {
    origins.extend(resources.iter().map(|resource| Origin::from(resource.name.source.as_str())));
    let begun = origins.iter().cloned().map(News::Begun);
    let there = resources
        .into_iter()
        .map(|resource| News::There(Origin::from(resource.name.source.as_str()), Box::new(resource)));
    let read = origins.iter().cloned().map(News::Read);
    for one in begun.chain(there).chain(read) {
        // Who takes them goes away at the end only.
        let _ = news.send(one).await;
    }
}
