//! What a cluster runs.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_client::policy::Source;
use countersign_clock::{Clock, SystemClock};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{ApiCluster, Client, Listing, Namespaces, WorkloadKind};
use countersign_kubernetes::policies::{Policies, PoliciesOptions};
use countersign_kubernetes::scan::{Control, Report, ScanOptions, Scanner};
use countersign_kubernetes::webhook::Metrics;
use countersign_policy::PolicySet;

use super::{CODES, How, RegistriesScan, Roots, Which, checks_something, found, source};
use crate::args::cluster::ClusterArgs;
use crate::commands::admission::{texts, unusable};
use crate::commands::policy;
use crate::failure::{Failure, NETWORK, Outcome};
use crate::out::{Terminal, block_on};

/// Check what a cluster runs: each workload once, by the digests that its pods run
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan cluster                                  all controls, over the current context
  countersign scan cluster -n shop,prod --context staging
  countersign scan cluster --cluster-policies --format policyreport | kubectl apply -f -
  countersign scan cluster --watch --alert-file changes.jsonl   go on, and tell what changes
  countersign scan control C-0237 -v                        one control, and what passes too",
    after_help = CODES
)]
pub(super) struct ClusterScan {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    how: How,
}

/// Check one workload of a cluster, by the digests that its pods run
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan workload Deployment/shop -n prod
  countersign scan workload cronjob/report -n prod -v",
    after_help = CODES
)]
pub(super) struct WorkloadScan {
    /// The kind and the name: Deployment/shop
    #[arg(value_name = "KIND/NAME", value_parser = workload)]
    workload: Workload,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Clone)]
struct Workload {
    kind: WorkloadKind,
    name: String,
}

fn workload(text: &str) -> Result<Workload, String> {
    let known = WorkloadKind::ALL.map(|kind| kind.kind).join(", ");
    let wrong = || format!("expected KIND/NAME with one of {known}");
    let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
    Ok(Workload { kind: WorkloadKind::parse(kind).ok_or_else(wrong)?, name: name.to_owned() })
}

impl ClusterScan {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        self.how.cluster(terminal, &Control::ALL, &self.cluster)
    }
}

impl WorkloadScan {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        self.how.watch.check_off("one workload")?;
        self.how.live(terminal, &Control::ALL, &self.cluster, async |live, scanner| {
            let mut listing = live.listing(&self.how.which, scanner);
            if listing.namespaces.included.is_empty() {
                listing.namespaces.included.insert(live.client.default_namespace().to_owned());
            }
            let Workload { kind, name } = &self.workload;
            let places = listing.namespaces.included.iter().cloned().collect::<Vec<_>>().join(", ");
            let one = listing.one(live.client.clone(), *kind, name).await;
            let one = one.map_err(|e| Failure::new(NETWORK, e.to_string()))?.ok_or_else(|| {
                let next = format!("kubectl get {} -A", kind.plural);
                Failure::usage(format!("expected {}/{name} in {places}, found none of this name", kind.kind))
                    .next(next)
            })?;
            Ok(scanner.scan([one]).await)
        })
    }
}

impl RegistriesScan {
    pub(super) fn of_cluster(&self, terminal: &Terminal, options: ScanOptions) -> Result<Report, Failure> {
        if self.cluster.cluster_policies {
            return Err(Failure::usage("--cluster-policies is for CS-0003, which is not asked for"));
        }
        let report = block_on(terminal, async {
            let client = self.cluster.client().await?;
            let live = Live { client, secrets: !self.cluster.no_pull_secrets };
            let source = source(&self.registry, &[], live.cluster(), Roots::new())?;
            let scanner = Scanner::new(options, source, Arc::new(SystemClock));
            let resources = live.listing(&self.which, &scanner).start(live.client.clone());
            Ok(scanner.scan_stream(resources).await)
        })?;
        listed(found(report)?)
    }
}

/// A report of something that could be listed.
fn listed(report: Report) -> Result<Report, Failure> {
    if report.results.iter().any(|result| !result.resource.is_kind()) {
        return Ok(report);
    }
    let mut images =
        report.results.iter().flat_map(|result| &result.controls).flat_map(|control| &control.images);
    let first = images.next().map(|image| image.message.clone()).unwrap_or_default();
    Err(Failure::new(
        NETWORK,
        format!("no kind of workload could be listed, so nothing was looked at: {first}"),
    )
    .next("kubectl auth can-i list pods --all-namespaces; or name namespaces that may be listed: -n NAME"))
}

/// Who takes policies and has them.
pub(super) struct Taking {
    pub(super) admission: Arc<Admission>,
    pub(super) policies: Arc<Policies>,
    /// Of files.
    pub(super) texts: Vec<(PathBuf, String)>,
}

/// A cluster that is there.
struct Live {
    client: Client,
    secrets: bool,
}

impl Live {
    fn cluster(&self) -> Arc<ApiCluster> {
        Arc::new(ApiCluster::new(self.client.clone()))
    }

    fn listing(&self, which: &Which, scanner: &Scanner) -> Listing {
        let whole = scanner.needs_objects() && !scanner.skipped().contains_key(&Control::Policy);
        Listing { namespaces: which.namespaces(), whole, secrets: self.secrets }
    }
}

impl Which {
    /// The namespaces of a cluster that are meant.
    pub(super) fn namespaces(&self) -> Namespaces {
        let set = |names: &[String]| names.iter().cloned().collect();
        Namespaces { included: set(&self.include_namespaces), excluded: set(&self.exclude_namespaces) }
    }
}

impl How {
    /// Scans what a cluster runs.
    pub(super) fn cluster(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        cluster: &ClusterArgs,
    ) -> Outcome {
        if self.watch.is_on()? {
            return self.watch_cluster(terminal, controls, cluster);
        }
        self.live(terminal, controls, cluster, async |live, scanner| {
            let resources = live.listing(&self.which, scanner).start(live.client.clone());
            Ok(scanner.scan_stream(resources).await)
        })
    }

    fn live(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        cluster: &ClusterArgs,
        scan: impl AsyncFnOnce(&Live, &Scanner) -> Result<Report, Failure>,
    ) -> Outcome {
        self.registry.check_no_login()?;
        let ready = self.ready(terminal)?;
        let mut followed = None;
        let (policies, trust, objects) = if cluster.cluster_policies {
            self.may_have_policies("--cluster-policies", controls)?;
            followed = self.revocation.followed(&self.trust, Vec::new())?;
            let roots = self.roots(&ready.settings, controls)?;
            let roots = if followed.is_some() { policy::without_revocations(roots) } else { roots };
            (PolicySet::default(), roots, Vec::new())
        } else {
            self.policies(&ready.settings, controls)?
        };
        let report = block_on(terminal, async {
            let live = Live { client: cluster.client().await?, secrets: !cluster.no_pull_secrets };
            let options = self.options(controls, &ready.settings, policies)?;
            let source = match followed {
                Some(followed) => {
                    let source = source(&self.registry, &[], live.cluster(), trust.clone())?;
                    let source = Arc::new(source.in_namespace(cluster.webhook_namespace()));
                    followed.once(&live.client, &source).await?;
                    source
                }
                None => {
                    let source = self.source(&[], live.cluster(), trust.clone())?;
                    Arc::new(source.in_namespace(cluster.webhook_namespace()))
                }
            };
            let mut scanner = Scanner::new(options, Arc::clone(&source), Arc::new(SystemClock));
            if cluster.cluster_policies {
                let policies = self.of_cluster(cluster, &live.client, Arc::clone(&source), trust).await?;
                scanner = scanner.by_policies(policies);
            } else {
                source.set_trust_objects(objects);
            }
            policy::tell_trust_troubles(terminal, &source).await;
            checks_something(&scanner, controls)?;
            scan(&live, &scanner).await
        })?;
        self.end(terminal, listed(found(report)?)?, &ready)
    }

    /// The policies of a cluster, and of files, as the webhook would take them: what cannot be read there refuses.
    async fn of_cluster(
        &self,
        cluster: &ClusterArgs,
        client: &Client,
        source: Arc<Source>,
        installation: Roots,
    ) -> Result<Arc<PolicySet>, Failure> {
        let Taking { admission, policies, .. } = self.taking(cluster, source, installation)?;
        policies.set_controller(cluster.no_match(client).await?);
        policies.set_cluster(cluster.policies(client).await?);
        admission.policies().ok_or_else(|| Failure::internal("the policies were read and are not there"))
    }

    /// Who takes the policies of a cluster. Those of files are there.
    pub(super) fn taking(
        &self,
        cluster: &ClusterArgs,
        source: Arc<Source>,
        installation: Roots,
    ) -> Result<Taking, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let admission = Arc::new(Admission::new(Arc::clone(&source), clock));
        let texts = texts(&self.policies)?;
        let policies = Policies::new(PoliciesOptions {
            admission: Arc::clone(&admission),
            source,
            metrics: Arc::new(Metrics::default()),
            installation,
            exceptions: cluster.exceptions()?,
            files: !texts.is_empty(),
            cluster: true,
        });
        if !texts.is_empty() {
            policies.set_files(&texts).map_err(|e| unusable(&e))?;
        }
        Ok(Taking { admission, policies: Arc::new(policies), texts })
    }
}
