//! What policies ask of a cluster.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use countersign_client::policy::{Cluster, SecretData, Told};
use countersign_policy::{CouldNot, CouldNotReason, ObjectName};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::{Shared, Trouble, in_time, with_causes};

/// How long to wait before namespaces that could not be watched are listed anew.
const PAUSE: Duration = Duration::from_secs(2);

type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// A cluster through its API server. The labels of namespaces come from a watch, as they are asked for with every review;
/// the rest is asked for.
#[derive(Clone)]
pub struct ApiCluster {
    client: Client,
    labels: Shared<Labels>,
}

impl std::fmt::Debug for ApiCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiCluster")
    }
}

impl ApiCluster {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, labels: Shared::default() }
    }

    /// Watches the namespaces, for ever. While a watch is broken nothing is remembered, and namespaces are asked for; then
    /// all are listed anew, since a watch that is only taken up again would tell of those alone that change.
    pub async fn watch_namespaces(self) {
        let all = Api::<Namespace>::all(self.client.clone());
        loop {
            let mut events = watcher(all.clone(), watcher::Config::default()).boxed();
            let mut listed = Labels::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => self.heard(event, &mut listed),
                    Err(error) => {
                        tracing::warn!(error = with_causes(&error), "the namespaces cannot be watched");
                        break;
                    }
                }
            }
            self.labels.write().unwrap_or_else(PoisonError::into_inner).clear();
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn heard(&self, event: Event<Namespace>, listed: &mut Labels) {
        let labels_of = |namespace: Namespace| {
            (namespace.metadata.name.unwrap_or_default(), namespace.metadata.labels.unwrap_or_default())
        };
        let mut known = self.labels.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(namespace) => listed.extend([labels_of(namespace)]),
            Event::InitDone => *known = std::mem::take(listed),
            Event::Apply(namespace) => known.extend([labels_of(namespace)]),
            Event::Delete(namespace) => drop(known.remove(&labels_of(namespace).0)),
        }
    }
}

fn could_not(what: &str, name: &dyn std::fmt::Display, trouble: &Trouble) -> CouldNot {
    let reason = match trouble {
        Trouble::NotFound => CouldNotReason::NotFound,
        Trouble::Forbidden(_) => CouldNotReason::Unauthorized,
        Trouble::Busy(_) => CouldNotReason::TooManyRequests,
        Trouble::Conflict | Trouble::Gone | Trouble::Invalid(_) | Trouble::Other(_) => {
            CouldNotReason::Unreachable
        }
    };
    CouldNot::new(reason, format!("the {what} {name}: {trouble}"))
}

impl Cluster for ApiCluster {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move {
            let api = Api::<ConfigMap>::namespaced(self.client.clone(), &name.namespace);
            let found = in_time(api.get(&name.name)).await;
            Ok(found.map_err(|e| could_not("ConfigMap", name, &e))?.data.unwrap_or_default())
        })
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move {
            let known = self.labels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
            if let Some(labels) = known {
                return Ok(labels);
            }
            let found = in_time(Api::<Namespace>::all(self.client.clone()).get(name)).await;
            let found = found.map_err(|e| could_not("namespace", &name, &e))?;
            Ok(found.metadata.labels.unwrap_or_default())
        })
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        Box::pin(async move {
            let api = Api::<Secret>::namespaced(self.client.clone(), &name.namespace);
            let found = in_time(api.get(&name.name)).await.map_err(|e| could_not("secret", name, &e))?;
            let data = found.data.unwrap_or_default().into_iter();
            Ok(data.map(|(key, value)| (key, Zeroizing::new(value.0))).collect())
        })
    }

    /// One that is not there yet has none: objects may be made before the account that their pods will run as.
    fn pull_secrets<'a>(&'a self, account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &account.namespace);
            let found = match in_time(api.get(&account.name)).await {
                Ok(found) => found,
                Err(Trouble::NotFound) => return Ok(Vec::new()),
                Err(e) => return Err(could_not("service account", account, &e)),
            };
            let secrets = found.image_pull_secrets.unwrap_or_default().into_iter();
            let named = |name| ObjectName { namespace: account.namespace.clone(), name };
            Ok(secrets.map(|secret| named(secret.name)).collect())
        })
    }
}
