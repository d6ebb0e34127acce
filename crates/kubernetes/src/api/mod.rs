//! A client of the Kubernetes API: what policies ask of a cluster, the policies in it, and what the webhook keeps there.

mod cluster;
mod configuration;
mod follow;
mod keeper;
mod revocations;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use cluster::ApiCluster;
pub use configuration::keep_bundle;
pub use follow::follow_policies;
pub use keeper::SecretKeeper;
pub use kube::Client;
pub use revocations::follow_revocations;

/// How long an API server may take to answer. A watch is silent for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an API server cannot be talked to.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API: {0}; expected a service account's token in a pod, or a kubeconfig")]
pub struct ApiError(String);

/// A client: with this kubeconfig, else as a pod, else with the kubeconfig of the environment.
///
/// # Errors
/// [`ApiError`]. Nothing is asked yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ApiError> {
    let failed = |e: &dyn std::error::Error| ApiError(with_causes(e));
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|e| failed(&e))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|e| failed(&e))?
        }
        None => Config::infer().await.map_err(|e| failed(&e))?,
    };
    config.connect_timeout = Some(PATIENCE);
    Client::try_from(config).map_err(|e| failed(&e))
}

/// An answer within the time an API server may take.
async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => Err(Trouble::Other(format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Trouble::NotFound,
            401 | 403 => Trouble::Forbidden(status.message),
            409 => Trouble::Conflict,
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
    #[error("{0}; the service account of the webhook needs the right to read it")]
    Forbidden(String),
    #[error("it was changed by somebody else")]
    Conflict,
    #[error("{0}")]
    Other(String),
}

/// What a watch writes and reviews read.
type Shared<T> = Arc<std::sync::RwLock<T>>;
