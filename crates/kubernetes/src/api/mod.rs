//! A client of the Kubernetes API: what policies ask of a cluster, the policies in it, and what the webhook keeps there.

mod cluster;
mod configuration;
mod controller;
mod events;
mod follow;
mod keeper;
mod lease;
mod listing;
mod object;
mod pace;
mod reports;
mod revocations;
mod watch;
mod workloads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use cluster::ApiCluster;
pub use configuration::keep_configurations;
pub use controller::{follow_controller, read_controller};
pub use events::{Doing, Event, EventCounts, EventError, EventWriter, Events, Reason, Reporter, events};
pub use follow::{follow_policies, read_policies};
pub use keeper::SecretKeeper;
pub use kube::Client;
pub use lease::{Candidate, while_leading};
pub use listing::Listing;
pub use object::ObjectRef;
use pace::Complaints;
pub use reports::{ReportCounts, ReportOptions, ReportWriter, Reports, reports};
pub use revocations::{follow_revocations, look_at_revocations, put_revocations, revocation_object};
pub use watch::Watching;
pub use workloads::{Namespaces, NotListed, Pages, WorkloadKind};

/// How long an API server may take to answer. A watch is silent for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an API server cannot be talked to.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API: {0}")]
pub struct ApiError(String);

/// A client: with this kubeconfig, else with the kubeconfig of the environment, else as a pod.
///
/// # Errors
/// [`ApiError`]. Nothing is asked yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ApiError> {
    connect_in(kubeconfig, None).await
}

/// A client, as [`connect`] gives it, in another context of the kubeconfig than the current one.
///
/// # Errors
/// [`ApiError`]. Nothing is asked yet.
pub async fn connect_in(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ApiError> {
    let failed = |e: &dyn std::error::Error| {
        ApiError(format!("{}; expected a service account's token in a pod, or a kubeconfig", with_causes(e)))
    };
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).map_err(|e| failed(&e))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|e| failed(&e))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|e| failed(&e))?,
        (None, None) => Config::infer().await.map_err(|e| failed(&e))?,
    };
    config.connect_timeout = Some(PATIENCE);
    Client::try_from(config).map_err(|e| failed(&e))
}

/// Asks for nothing: whether an API server is there at all, and takes who asks for somebody.
///
/// # Errors
/// [`ApiError`].
pub async fn reach(client: &Client) -> Result<(), ApiError> {
    in_time(client.apiserver_version()).await.map(drop).map_err(|e| ApiError(e.to_string()))
}

/// An answer within the time an API server may take.
async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    in_this_time(PATIENCE, asked).await
}

async fn in_this_time<T>(
    patience: Duration,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(patience, asked).await {
        Err(_) => Err(Trouble::Other(format!("no answer within {} s", patience.as_secs()))),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Trouble::NotFound,
            401 | 403 => Trouble::Forbidden(status.message),
            409 => Trouble::Conflict,
            410 => Trouble::Gone,
            429 | 503 => Trouble::Busy(status.message),
            400..=499 => Trouble::Invalid(status.message),
            _ => Trouble::Other(status.message),
        }),
        Ok(Err(error)) => Err(Trouble::Other(with_causes(&error))),
    }
}

/// An error with its causes: by itself, the client's says that it could not connect, and not why.
fn with_causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some already say what their causes say.
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What an API server says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    #[error("not found")]
    NotFound,
    #[error(
        "{0}; whoever asks (kubectl auth whoami; in a pod its service account) needs the right to do that"
    )]
    Forbidden(String),
    #[error("it was changed by somebody else")]
    Conflict,
    #[error("what was asked about is no longer kept")]
    Gone,
    #[error("{0}; the API server is busy")]
    Busy(String),
    /// It will never take what was sent.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Other(String),
}

/// What a watch writes and reviews read.
type Shared<T> = Arc<std::sync::RwLock<T>>;
