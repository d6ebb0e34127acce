//! Arguments about a Kubernetes cluster that is read, and who we are there.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_kubernetes::api::{Client, Reporter, connect_in, reach, read_controller, read_policies};
use countersign_policy::cluster_image::{CONFIG_NAMESPACE, NoMatch};
use countersign_policy::{Document, Glob};

use crate::failure::{Failure, NETWORK};

/// Which cluster, and what of it counts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// A kubeconfig; else KUBECONFIG, else ~/.kube/config, else the service account of the pod this runs in
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one
    #[arg(long, alias = "kube-context", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Ask registries with this machine's credentials only, and not with the pull secrets of workloads
    #[arg(long)]
    pub(crate) no_pull_secrets: bool,
    /// Take the policies, exceptions and trust roots of the cluster
    #[arg(long)]
    pub(crate) cluster_policies: bool,
    /// Namespaces in which Kyverno's exceptions of the cluster hold, as a pattern; none unless given
    #[arg(long, value_name = "PATTERN", requires = "cluster_policies")]
    pub(crate) exception_namespace: Vec<String>,
    /// The namespace of policy-controller's ConfigMap config-policy-controller, with its no-match-policy
    #[arg(long, value_name = "NAME", default_value = CONFIG_NAMESPACE, requires = "cluster_policies")]
    pub(crate) policy_controller_namespace: String,
    /// The namespace that the webhook runs in, where secrets are that policies name without one; countersign unless given
    #[arg(long, value_name = "NAME", requires = "cluster_policies")]
    pub(crate) webhook_namespace: Option<String>,
}

/// Where the webhook runs, unless something else is said.
const WEBHOOK_NAMESPACE: &str = "countersign";

/// A client of an API server that is there: the one of a kubeconfig, else of the environment.
pub(crate) async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, Failure> {
    let client = connect_in(kubeconfig, context)
        .await
        .map_err(|e| Failure::usage(e.to_string()).next("kubectl config get-contexts"))?;
    reach(&client).await.map_err(|e| Failure::new(NETWORK, e.to_string()).next("kubectl cluster-info"))?;
    Ok(client)
}

/// Who writes events: this program in a part of it. A pod's host name is its own; without one, as it is called `otherwise`.
pub(crate) fn reporter(part: &str, otherwise: &str) -> Reporter {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    Reporter {
        controller: format!("countersign.dev/{part}"),
        instance: host.unwrap_or_else(|| otherwise.to_owned()),
    }
}

impl ClusterArgs {
    /// The options that are given, for whoever cannot heed them.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("--kubeconfig", self.kubeconfig.is_some()),
            ("--context", self.context.is_some()),
            ("--no-pull-secrets", self.no_pull_secrets),
            ("--cluster-policies", self.cluster_policies),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    /// Where the webhook runs.
    pub(crate) fn webhook_namespace(&self) -> &str {
        self.webhook_namespace.as_deref().unwrap_or(WEBHOOK_NAMESPACE)
    }

    /// A client of an API server that is there.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        connect(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }

    /// The cluster's policies, when they are asked for.
    pub(crate) async fn policies(&self, client: &Client) -> Result<Vec<Document>, Failure> {
        if !self.cluster_policies {
            return Ok(Vec::new());
        }
        read_policies(client).await.map_err(|e| {
            Failure::new(NETWORK, format!("{e}: it may hold policies, so nothing is judged without it"))
        })
    }

    /// What policy-controller's ConfigMap says of images that no policy is about.
    pub(crate) async fn no_match(&self, client: &Client) -> Result<Option<NoMatch>, Failure> {
        let found = read_controller(client, &self.policy_controller_namespace).await;
        found.map_err(|e| Failure::new(NETWORK, e.to_string()))
    }

    /// Where Kyverno's exceptions hold.
    pub(crate) fn exceptions(&self) -> Result<Vec<Glob>, Failure> {
        let patterns = self.exception_namespace.iter().map(|pattern| Glob::wildcard(pattern));
        patterns.collect::<Result<_, _>>().map_err(|e| Failure::usage(format!("--exception-namespace: {e}")))
    }
}
