//! Clients of registries, each with the credentials that a request may use.

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::{Access, CouldNot, CouldNotReason, ObjectName, Provider};
use countersign_registry::auth::{Cloud, DockerConfig};
use countersign_registry::{Registry, RegistryError, RegistryOptions};

use super::cluster::{Cluster, SecretData};
use super::flight::{Flights, Room};

/// How long credentials of one kind of access are used before secrets are read again.
const KEPT: Duration = Duration::from_secs(60);
/// How long, when a secret was not there: somebody may be about to make it.
const KEPT_WITHOUT: Duration = Duration::from_secs(5);
/// How long it is not tried again when a secret could not be read.
const KEPT_ERROR: Duration = Duration::from_secs(3);
/// The most kinds of access whose credentials are kept.
const CAPACITY: usize = 1000;

/// Clients by what they may be asked with.
#[derive(Debug)]
pub(super) struct Registries {
    options: RegistryOptions,
    clients: Flights<Arc<Access>, Arc<Client>>,
}

/// A client, and the pull secrets that it does without.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) registry: Registry,
    missing: Vec<String>,
}

impl Registries {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self { options, clients: Flights::new(Room { answers: CAPACITY, bytes: usize::MAX, weigh: |_| 0 }) }
    }

    /// A client of registries with the credentials of an access. `own` is the namespace of secrets that name none.
    pub(super) async fn client(
        &self,
        access: &Arc<Access>,
        cluster: &dyn Cluster,
        own: Option<&str>,
    ) -> Result<Arc<Client>, CouldNot> {
        let make = async || self.make(access, cluster, own).await.map(Arc::new);
        self.clients.answer(access, None, kept_for, make).await.answer
    }

    /// As Kubernetes does, it goes without pull secrets that are not there. One that cannot be read is another matter:
    /// what a registry says to a stranger may not be what it says to its owner.
    async fn make(
        &self,
        access: &Access,
        cluster: &dyn Cluster,
        own: Option<&str>,
    ) -> Result<Client, CouldNot> {
        let mut secrets = access.secrets.clone();
        for account in &access.service_accounts {
            secrets.extend(cluster.pull_secrets(account).await?);
        }
        let mut options = self.options.clone();
        options.http.allow_plain_http |= access.insecure;
        let mut missing = Vec::new();
        for name in &secrets {
            let name = placed(name, own)?;
            match cluster.secret(&name).await {
                Ok(data) => {
                    options.credentials = options.credentials.with_config(credentials(&name, &data)?);
                }
                Err(error) if error.reason == CouldNotReason::NotFound => missing.push(name.to_string()),
                Err(error) => return Err(error),
            }
        }
        let clouds = access.providers.iter().filter_map(|provider| match provider {
            // The machine's own configuration is read for everybody.
            Provider::Default => None,
            Provider::Google => Some(Cloud::Google),
            Provider::Azure => Some(Cloud::Azure),
            Provider::Amazon => Some(Cloud::Amazon),
            Provider::Github => Some(Cloud::Github),
        });
        options.credentials = clouds.fold(options.credentials, |all, cloud| all.with_cloud(cloud));
        Ok(Client { registry: Registry::new(options), missing })
    }
}

fn kept_for(_: &Arc<Access>, client: &Result<Arc<Client>, CouldNot>) -> Duration {
    match client {
        Ok(client) if client.missing.is_empty() => KEPT,
        Ok(_) => KEPT_WITHOUT,
        Err(_) => KEPT_ERROR,
    }
}

/// A secret's name with its namespace.
fn placed(name: &ObjectName, own: Option<&str>) -> Result<ObjectName, CouldNot> {
    match (name.namespace.as_str(), own) {
        ("", None) => Err(CouldNot::new(
            CouldNotReason::Unsupported,
            format!(
                "the secret {}: the policy names no namespace for it, and in which namespace this runs is not known; write \
                 namespace/name, or say --namespace",
                name.name
            ),
        )),
        ("", Some(own)) => Ok(ObjectName { namespace: own.to_owned(), name: name.name.clone() }),
        _ => Ok(name.clone()),
    }
}

/// The credentials in a pull secret of either type. It may come from anybody, so that it names no program to be run.
fn credentials(name: &ObjectName, data: &SecretData) -> Result<DockerConfig, CouldNot> {
    let unusable =
        |text: String| CouldNot::new(CouldNotReason::Unusable, format!("the secret {name}: {text}"));
    let read = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
        (Some(bytes), _) => DockerConfig::parse(bytes),
        (None, Some(bytes)) => DockerConfig::parse_old(bytes),
        (None, None) => {
            let text = "expected a pull secret with \".dockerconfigjson\" or \".dockercfg\", found neither";
            return Err(unusable(text.into()));
        }
    };
    read.map(DockerConfig::without_helpers).map_err(|e| unusable(e.to_string()))
}

impl Client {
    /// A registry's error as an answer, which tells what it was asked without.
    pub(super) fn could_not(&self, error: &RegistryError) -> CouldNot {
        let reason = match error {
            RegistryError::NotFound { .. } => CouldNotReason::NotFound,
            RegistryError::Unauthorized { .. } | RegistryError::Forbidden { .. } => {
                CouldNotReason::Unauthorized
            }
            RegistryError::TooManyRequests { .. } => CouldNotReason::TooManyRequests,
            RegistryError::Unreachable { .. } => CouldNotReason::Unreachable,
            _ => CouldNotReason::Unusable,
        };
        let refused = matches!(reason, CouldNotReason::NotFound | CouldNotReason::Unauthorized);
        if !refused || self.missing.is_empty() {
            return CouldNot::new(reason, error.to_string());
        }
        let missing = self.missing.join(", ");
        CouldNot::new(
            reason,
            format!("{error}; it was asked without the pull secret {missing}, which does not exist"),
        )
    }
}
