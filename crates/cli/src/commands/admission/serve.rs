//! `countersign admission serve`: the webhook, running.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countersign_client::policy::{Cluster, NoCluster, Source, SourceOptions};
use countersign_clock::{Clock, SystemClock};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{
    ApiCluster, Client, Events, SecretKeeper, connect, events, follow_controller, follow_policies,
    follow_revocations, keep_configurations,
};
use countersign_kubernetes::certificate::{CertificateError, Certificates, Directory, Keeper, Memory};
use countersign_kubernetes::continuous::Metrics as ContinuousMetrics;
use countersign_kubernetes::load::Limits;
use countersign_kubernetes::policies::{FileError, Policies, PoliciesOptions};
use countersign_kubernetes::revocation::{RevocationLists, RevocationOptions};
use countersign_kubernetes::telling::Teller;
use countersign_kubernetes::webhook::{Metrics, WebhookOptions, start};
use countersign_policy::Glob;
use countersign_policy::cluster_image::{CONFIG_NAMESPACE, NoMatch};
use countersign_server::listen::Patience;
use countersign_x509::San;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::reverify::{Reverification, ReverifyArgs};
use crate::args::cluster::reporter;
use crate::args::registry::RegistryArgs;
use crate::args::revocation::{Followed, RevocationArgs, address};
use crate::args::services::TrustArgs;
use crate::commands::init::server_failure;
use crate::commands::policy::{Roots, files, text_of, without_repository, without_revocations};
use crate::commands::serve::{LogFormat, log_to_stderr, run_until_told, server_runtime, told_to_end};
use crate::failure::{Failure, INTERNAL, NETWORK, Outcome};
use crate::out::Terminal;

/// How often files of policies are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long the lease of a process that ends may take to be given up.
const GIVING_UP: Duration = Duration::from_secs(2);
/// The names under which the webhook keeps what must survive a restart.
const AUTHORITY_KEY: &str = "ca.pem";
const LIST_KEY: &str = "revocations.json";
/// Where a pod is told its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign admission serve --policy policy.yaml --trusted-root trusted_root.json
  countersign admission serve --cluster --listen 0.0.0.0:8443      in a pod, by its policies
  countersign admission serve --cluster --reverify 10m              what runs is verified again
  countersign admission serve --policy policies/ --tls-dir tls --print-ca-bundle",
    after_help = "Reviews are answered at /mutate and /validate; /healthz, /readyz and /metrics are for operators. Namespaces that are \
exempt are never judged, so that the cluster can be repaired: kube-system and the webhook's own, unless --exempt-namespace \
says otherwise; the webhook configurations should leave out the same. Files of policies are read again when they change. \
Revocation lists are obeyed when it is said who may sign them: of RevocationList objects, files and addresses the highest holds. \
SIGTERM ends it: running reviews are answered."
)]
pub(crate) struct Serve {
    /// A file of policies, or a directory of such files
    #[arg(long, value_name = "FILE|DIR", required_unless_present = "cluster")]
    policy: Vec<PathBuf>,
    /// Take policies, exceptions and trust roots from the cluster's API server too, and keep the webhook configurations right
    #[arg(long)]
    cluster: bool,
    /// A kubeconfig for the API server; else the pod's service account, else KUBECONFIG
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The directory in which the webhook's own certificate authority is kept; else a secret with --cluster, else nowhere
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// A name or address under which the API server reaches the webhook; else the service's, localhost and the address
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// Print what the webhook's certificates are checked with (the caBundle), before serving
    #[arg(long)]
    print_ca_bundle: bool,
    /// The namespace the webhook runs in; else the pod's, else countersign
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The name of the webhook's service, its configurations and its secret
    #[arg(long, value_name = "NAME", default_value = "countersign-admission")]
    name: String,
    /// A namespace that is never judged, instead of kube-system and the webhook's own
    #[arg(long, value_name = "NAME")]
    exempt_namespace: Vec<String>,
    /// Namespaces in which Kyverno's exceptions hold, as a pattern; none unless given
    #[arg(long, value_name = "PATTERN")]
    exception_namespace: Vec<String>,
    /// What to do with images that no ClusterImagePolicy is about, whatever policy-controller's ConfigMap says: with --cluster in
    /// namespaces labelled policy.sigstore.dev/include=true, else in all
    #[arg(long, value_enum, value_name = "WHAT")]
    no_match_policy: Option<NoMatchName>,
    /// The namespace of policy-controller's ConfigMap config-policy-controller, which says the same
    #[arg(long, value_name = "NAME", default_value = CONFIG_NAMESPACE, requires = "cluster")]
    policy_controller_namespace: String,
    /// How many reviews are evaluated at once; more wait, and are refused when their time is over
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().reviews)]
    max_reviews: usize,
    /// How much memory the bodies of all reviews may take together, in MiB; what is beyond it is refused at once
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().bytes >> 20, value_parser = mebibytes)]
    max_review_memory: usize,
    /// The form of the log on standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    log_format: LogFormat,
    /// The address of a revocation list, fetched every 30 s: INSTANCE/revocations.json
    #[arg(long, value_name = "URL", help_heading = "Revocation")]
    revocation_url: Vec<String>,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    reverify: ReverifyArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What happens to an image that no policy is about.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NoMatchName {
    /// It is refused
    Deny,
    /// Whoever asks is told
    Warn,
    /// It may run
    Allow,
}

impl From<NoMatchName> for NoMatch {
    fn from(name: NoMatchName) -> Self {
        match name {
            NoMatchName::Deny => Self::Deny,
            NoMatchName::Warn => Self::Warn,
            NoMatchName::Allow => Self::Allow,
        }
    }
}

fn mebibytes(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (8..=1 << 20).contains(count));
    count.ok_or_else(|| {
        format!("expected a number from 8, which is one review, to {}, found \"{text}\"", 1 << 20)
    })
}

/// A webhook that is set up, but for its certificates.
struct Parts {
    client: Option<Client>,
    admission: Arc<Admission>,
    source: Arc<Source>,
    events: Option<Events>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
}

impl Serve {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        if terminal.timeout.is_some() {
            return Err(Failure::usage("--timeout is not for a server: it runs until it is told to end"));
        }
        let level = match (terminal.quiet, terminal.verbose) {
            (true, _) => "error",
            (false, true) => "debug",
            (false, false) => "info",
        };
        log_to_stderr(self.log_format, level)?;
        server_runtime()?.block_on(self.serve(terminal))?;
        Ok(0)
    }

    async fn serve(&self, terminal: &Terminal) -> Result<(), Failure> {
        let told = told_to_end()?;
        tokio::pin!(told);
        let reverifying = self.reverify.read()?;
        let parts = self.parts().await?;
        let (ending, over) = oneshot::channel();
        let mut reverification = None;
        let running = async {
            let certificates = Arc::new(self.certificates(&parts).await?);
            if self.print_ca_bundle {
                terminal.data(&certificates.bundle())?;
            }
            let revocations = self.revocations(&parts).await?;
            if let Some(client) = &parts.client {
                let (name, admission) = (self.name.clone(), Arc::clone(&parts.admission));
                tokio::spawn(keep_configurations(client.clone(), name, Arc::clone(&certificates), admission));
                tokio::spawn(follow_policies(client.clone(), Arc::clone(&parts.policies)));
                let namespace = self.policy_controller_namespace.clone();
                tokio::spawn(follow_controller(client.clone(), namespace, Arc::clone(&parts.policies)));
                if let Some(reverifying) = reverifying {
                    let one = self.reverification(client, &parts, revocations);
                    reverification = Some(tokio::spawn(one.run(reverifying, over)));
                }
            }
            tokio::spawn(Arc::clone(&parts.policies).keep_trust_roots(Arc::new(SystemClock)));
            let options = WebhookOptions {
                listen: self.listen,
                admission: Arc::clone(&parts.admission),
                certificates,
                metrics: Arc::clone(&parts.metrics),
                patience: Patience::default(),
            };
            start(options).await.map_err(|e| server_failure(&e))
        };
        let running = tokio::select! {
            () = &mut told => return Ok(()),
            running = running => running?,
        };
        terminal.line(&format!("serving {}", running.url))?;
        let ended = run_until_told(running, told).await;
        drop(ending);
        if let Some(reverification) = reverification {
            // Another replica goes on at once. One that hangs does not keep the process.
            let _ = timeout(GIVING_UP, reverification).await;
        }
        ended
    }

    async fn parts(&self) -> Result<Parts, Failure> {
        let client = match self.cluster {
            true => {
                Some(connect(self.kubeconfig.as_deref()).await.map_err(|e| Failure::usage(e.to_string()))?)
            }
            false => None,
        };
        let cluster: Arc<dyn Cluster> = match &client {
            None => Arc::new(NoCluster),
            Some(client) => {
                let cluster = ApiCluster::new(client.clone());
                tokio::spawn(cluster.clone().watch_namespaces());
                Arc::new(cluster)
            }
        };
        without_repository(&self.registry)?;
        let installation = without_revocations(Roots::of(&self.trust)?.named());
        let trust = installation.clone();
        let registry = self.registry.options_for_any()?;
        let source =
            Source::new(SourceOptions { registry, cluster, trust }).in_namespace(self.own_namespace());
        let source = Arc::new(source);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits { bytes: self.max_review_memory << 20, reviews: self.max_reviews };
        let admission = Admission::new(Arc::clone(&source), clock).exempting(self.exempt());
        let mut admission = admission.within(limits);
        if !self.cluster {
            admission = admission.without_secrets();
        }
        let metrics = Arc::new(Metrics::default());
        let mut told = None;
        if let Some(client) = &client {
            let (events, writer) =
                events(client.clone(), reporter("admission", &self.name), Arc::new(SystemClock));
            metrics.add(|registry| events.counts().register(registry));
            tokio::spawn(writer.run());
            admission = admission.telling(Teller::new(events.clone()));
            told = Some(events);
        }
        let admission = Arc::new(admission);
        let exceptions = self.exception_namespace.iter().map(|pattern| Glob::wildcard(pattern));
        let policies = Policies::new(PoliciesOptions {
            admission: Arc::clone(&admission),
            source: Arc::clone(&source),
            metrics: Arc::clone(&metrics),
            installation,
            exceptions: exceptions
                .collect::<Result<_, _>>()
                .map_err(|e| Failure::usage(format!("--exception-namespace: {e}")))?,
            files: !self.policy.is_empty(),
            cluster: self.cluster,
        });
        let policies = Arc::new(match self.no_match_policy {
            None => policies,
            Some(no_match) => policies.without_match(no_match.into()),
        });
        if !self.policy.is_empty() {
            let texts = texts(&self.policy)?;
            policies.set_files(&texts).map_err(|e| unusable(&e))?;
            tokio::spawn(follow_files(self.policy.clone(), texts, Arc::clone(&policies)));
        }
        Ok(Parts { client, admission, source, events: told, policies, metrics })
    }

    fn reverification(
        &self,
        client: &Client,
        parts: &Parts,
        revocations: Option<watch::Receiver<u64>>,
    ) -> Reverification {
        let metrics = ContinuousMetrics::default();
        parts.metrics.add(|registry| metrics.register(registry));
        Reverification {
            client: client.clone(),
            admission: Arc::clone(&parts.admission),
            source: Arc::clone(&parts.source),
            events: parts.events.clone(),
            revocations,
            metrics,
            page: Arc::clone(&parts.metrics),
            namespace: self.own_namespace(),
            lease: format!("{}-reverify", self.name),
        }
    }

    /// Follows what is revoked, where somebody is named who may say so, and from then on until the end. Gives who tells when
    /// that changes.
    async fn revocations(&self, parts: &Parts) -> Result<Option<watch::Receiver<u64>>, Failure> {
        let named = self.revocation_url.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        let Some(Followed { authority, material, places }) = self.revocation.followed(&self.trust, named)?
        else {
            if let Some(client) = &parts.client {
                let nobody = Err(Arc::clone(&parts.metrics));
                tokio::spawn(follow_revocations(client.clone(), nobody, parts.events.clone()));
            }
            return Ok(None);
        };
        if places.is_empty() && parts.client.is_none() {
            return Err(Failure::usage(
                "it is said who may sign revocation lists, and no list is named: add --revocations FILE, --revocation-url URL or --cluster",
            ));
        }
        let lists = Arc::new(RevocationLists::new(RevocationOptions {
            authority,
            material,
            keeper: self.keeper(parts, "revocations", LIST_KEY),
            source: Arc::clone(&parts.source),
            metrics: Arc::clone(&parts.metrics),
            clock: Arc::new(SystemClock),
        }));
        if let Err(error) = lists.restore().await {
            lists.tell("the webhook's own record", &error.to_string());
        }
        for place in places {
            // Before the first review. What is wrong with it is told in the log.
            drop(lists.look(&place).await);
            tokio::spawn(Arc::clone(&lists).follow(place));
        }
        if let Some(client) = &parts.client {
            let lists = Ok(Arc::clone(&lists));
            tokio::spawn(follow_revocations(client.clone(), lists, parts.events.clone()));
        }
        Ok(Some(lists.changes()))
    }

    fn own_namespace(&self) -> String {
        let told = || std::fs::read_to_string(OWN_NAMESPACE).ok().map(|name| name.trim().to_owned());
        self.namespace.clone().or_else(told).unwrap_or_else(|| "countersign".into())
    }

    fn exempt(&self) -> Vec<String> {
        if self.exempt_namespace.is_empty() {
            return vec!["kube-system".into(), self.own_namespace()];
        }
        self.exempt_namespace.clone()
    }

    /// Where something is kept over restarts: in the directory, else in a secret, else nowhere.
    fn keeper(&self, parts: &Parts, what: &str, key: &'static str) -> Arc<dyn Keeper> {
        match (&self.tls_dir, &parts.client) {
            (Some(directory), _) => Arc::new(Directory::new(directory).under(key)),
            (None, Some(client)) => {
                let name = format!("{}-{what}", self.name);
                Arc::new(SecretKeeper::new(client.clone(), self.own_namespace(), name).under(key))
            }
            (None, None) => Arc::new(Memory::default()),
        }
    }

    async fn certificates(&self, parts: &Parts) -> Result<Certificates, Failure> {
        let keeper = self.keeper(parts, "tls", AUTHORITY_KEY);
        let failed = |e: CertificateError| {
            let code = if matches!(e, CertificateError::Keeper(_)) { NETWORK } else { INTERNAL };
            Failure::new(code, e.to_string())
        };
        Certificates::open(keeper, self.tls_names(), Arc::new(SystemClock)).await.map_err(failed)
    }

    fn tls_names(&self) -> Vec<San> {
        let name = |text: &String| match text.parse::<IpAddr>() {
            Ok(address) => San::ip(address),
            Err(_) => San::Dns(text.clone()),
        };
        if !self.tls_name.is_empty() {
            return self.tls_name.iter().map(name).collect();
        }
        let service = format!("{}.{}.svc", self.name, self.own_namespace());
        vec![San::Dns(service), San::Dns("localhost".into()), San::ip(self.listen.ip())]
    }
}

/// The files that are meant, and what is in them.
pub(in crate::commands) fn texts(paths: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Failure> {
    files(paths)?.into_iter().map(|path| text_of(&path).map(|text| (path, text))).collect()
}

pub(in crate::commands) fn unusable(error: &FileError) -> Failure {
    Failure::usage(error.to_string()).next(format!("countersign policy lint {}", error.path.display()))
}

/// Reads files of policies again when they change, for ever. While something is wrong in them, what held before goes on.
pub(in crate::commands) async fn follow_files(
    paths: Vec<PathBuf>,
    mut known: Vec<(PathBuf, String)>,
    policies: Arc<Policies>,
) {
    let mut told = None;
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    loop {
        tick.tick().await;
        let changed = match texts(&paths) {
            Ok(texts) if texts == known => continue,
            Ok(texts) => policies.set_files(&texts).map(|()| texts).map_err(|e| unusable(&e)),
            Err(failure) => Err(failure),
        };
        match changed {
            Ok(texts) => (known, told) = (texts, None),
            Err(failure) if told.as_ref() == Some(&failure.message) => {}
            Err(failure) => {
                tracing::error!(
                    error = failure.message,
                    "the files of policies cannot be used; what held before goes on"
                );
                told = Some(failure.message);
            }
        }
    }
}
