//! `countersign admission plan`: what would be denied, before the webhook is asked. Data on standard output; the exit code tells.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use countersign_client::policy::{Source, SourceOptions};
use countersign_clock::{Clock, SystemClock};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{ApiCluster, Client, Namespaces};
use countersign_kubernetes::plan::{Plan as Planned, PlanOptions, SCHEMA_VERSION, Verdict, plan};
use countersign_kubernetes::policies::{Policies, PoliciesOptions};
use countersign_kubernetes::webhook::Metrics;

use super::serve::{texts, unusable};
use crate::args::cluster::ClusterArgs;
use crate::args::number;
use crate::args::registry::RegistryArgs;
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::commands::policy::{Roots, tell_trust_troubles, without_repository, without_revocations};
use crate::failure::{Failure, NETWORK, Outcome, REJECTED};
use crate::out::{Terminal, block_on};

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One JSON document with `schema` and `schemaVersion`
    Json,
    /// For a ticket
    Markdown,
}

/// Show what would be denied of what a cluster runs, before anything is
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign admission plan --cluster-policies                   by the cluster's own policies
  countersign admission plan --policy policies/                   by some that are not there yet
  countersign admission plan --policy new.yaml -n shop -n prod --format markdown > plan.md",
    after_help = "Each workload is judged as if it were made anew now, by the webhook's own rules: tags as the registry names them now, the pull \
secrets of its pods, and nothing in the namespaces that are exempt. Of pods that a workload makes, only those are judged whose \
images are not the workload's own. Nobody is taken to ask, so a policy for certain users only is not about anything. Nothing in \
the cluster is changed.

Exit codes: 0 nothing would be denied, 1 usage, 2 something would be, 6 nothing is known that would be, but not everything could \
be checked or listed."
)]
pub(crate) struct Plan {
    /// A file of policies, or a directory of such files
    #[arg(long, value_name = "FILE|DIR", required_unless_present = "cluster_policies")]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only these namespaces
    #[arg(short = 'n', long, visible_alias = "namespace", value_name = "NAME", value_delimiter = ',')]
    include_namespaces: Vec<String>,
    /// All but these namespaces
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    exclude_namespaces: Vec<String>,
    /// A namespace that is never judged, instead of kube-system and the webhook's own
    #[arg(long, value_name = "NAME")]
    exempt_namespace: Vec<String>,
    /// text, json or markdown
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    format: Form,
    /// How many workloads are judged at once
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>, default_value_t = 8, hide_short_help = true)]
    concurrency: usize,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Plan {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        without_repository(&self.registry)?;
        self.trust.refresh_revocations(terminal)?;
        let mut installation = Roots::of(&self.trust)?.named();
        let followed = match self.cluster.cluster_policies {
            true => self.revocation.followed(&self.trust, Vec::new())?,
            false => None,
        };
        if followed.is_some() {
            installation = without_revocations(installation);
        }
        let texts = texts(&self.policy)?;
        let planned = block_on(terminal, async {
            let client = self.cluster.client().await?;
            let source = Source::new(SourceOptions {
                registry: self.registry.options_for_any()?,
                cluster: Arc::new(ApiCluster::new(client.clone())),
                trust: installation.clone(),
            });
            let source = Arc::new(source.in_namespace(self.cluster.webhook_namespace()));
            match followed {
                Some(followed) => followed.once(&client, &source).await?,
                None => source.set_revocations(Ok(self.revocation.load(&self.trust)?)),
            }
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let mut admission = Admission::new(Arc::clone(&source), clock).exempting(self.exempt());
            if self.cluster.no_pull_secrets {
                admission = admission.without_secrets();
            }
            let admission = Arc::new(admission);
            let policies = Policies::new(PoliciesOptions {
                admission: Arc::clone(&admission),
                source: Arc::clone(&source),
                metrics: Arc::new(Metrics::default()),
                installation,
                exceptions: self.cluster.exceptions()?,
                files: !texts.is_empty(),
                cluster: self.cluster.cluster_policies,
            });
            if !texts.is_empty() {
                policies.set_files(&texts).map_err(|e| unusable(&e))?;
            }
            if self.cluster.cluster_policies {
                policies.set_controller(self.cluster.no_match(&client).await?);
                policies.set_cluster(self.cluster.policies(&client).await?);
            }
            tell_trust_troubles(terminal, &source).await;
            self.planned(&admission, client).await
        })?;
        match self.format {
            Form::Text => terminal.data(&planned.to_text())?,
            Form::Json => terminal.json("admission-plan", SCHEMA_VERSION, &planned)?,
            Form::Markdown => terminal.data(&planned.to_markdown())?,
        }
        Ok(match planned.verdict() {
            Verdict::Good => 0,
            Verdict::Denies => REJECTED,
            Verdict::Unknown => NETWORK,
        })
    }

    async fn planned(&self, admission: &Admission, client: Client) -> Result<Planned, Failure> {
        let none =
            || Failure::usage("expected at least one policy, found none: everything would be admitted");
        if admission.policies().is_none_or(|policies| policies.iter().next().is_none()) {
            return Err(none().next("--policy FILE; countersign policy explain shows what a policy demands"));
        }
        let set = |names: &[String]| names.iter().cloned().collect();
        let namespaces =
            Namespaces { included: set(&self.include_namespaces), excluded: set(&self.exclude_namespaces) };
        let options = PlanOptions { namespaces, at_once: self.concurrency };
        let planned = plan(admission, client, options).await.ok_or_else(none)?;
        if planned.all.workloads == 0 && planned.not_listed.is_empty() {
            // Nothing that was judged is not everything in order.
            return Err(Failure::usage("expected workloads to judge, found none")
                .next("kubectl get pods -A; or check the namespaces that are left out"));
        }
        Ok(planned)
    }

    fn exempt(&self) -> Vec<String> {
        if self.exempt_namespace.is_empty() {
            return vec!["kube-system".into(), self.cluster.webhook_namespace().to_owned()];
        }
        self.exempt_namespace.clone()
    }
}
