//! All workloads of a cluster as what is scanned, one after the other, while the rest is still being read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use countersign_client::policy::Cluster;
use countersign_policy::ObjectName;
use futures_util::stream::{self, Stream};
use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{ApiCluster, Namespaces, NotListed, Pages, WorkloadKind};
use crate::scan::{Resource, Running};

/// How many resources wait to be looked at.
const WAITING: usize = 64;

/// What of a cluster is looked at, and how.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Whether objects are kept whole, for policies.
    pub whole: bool,
    /// Whether registries are asked with the pull secrets of workloads.
    pub secrets: bool,
}

impl Listing {
    /// Lists all workloads. A kind that could not be listed is a resource too, at which nobody could look. What is listed
    /// waits until it is taken.
    pub fn start(self, client: Client) -> impl Stream<Item = Resource> {
        let (given, mut taken) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            // Whoever took them has gone away.
            let _ = self.list(client, &given).await;
        });
        stream::poll_fn(move |context| taken.poll_recv(context))
    }

    async fn list(self, client: Client, given: &mpsc::Sender<Resource>) -> Result<(), Gone> {
        let mut reader = Reader::new(client, &self);
        for kind in WorkloadKind::ALL {
            let mut pages = reader.pages(kind, self.namespaces.clone());
            loop {
                match pages.next().await {
                    Ok(None) => break,
                    Ok(Some(objects)) => {
                        for object in objects {
                            if let Some(resource) = reader.running.take(object) {
                                given.send(reader.with_secrets(resource).await).await.map_err(|_| Gone)?;
                            }
                        }
                    }
                    Err(missing) => given.send(Resource::not_listed(&missing)).await.map_err(|_| Gone)?,
                }
            }
        }
        let rest = std::mem::replace(&mut reader.running, Running::new(false, false)).rest();
        for resource in rest {
            given.send(reader.with_secrets(resource).await).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// One workload by its name; `None` when there is none. The namespace is the only one that is included.
    ///
    /// # Errors
    /// [`NotListed`].
    pub async fn one(
        self,
        client: Client,
        kind: WorkloadKind,
        name: &str,
    ) -> Result<Option<Resource>, NotListed> {
        let mut reader = Reader::new(client, &self);
        let makers = match kind.kind {
            "Pod" => &[][..],
            "Deployment" => &["Pod", "ReplicaSet"],
            "CronJob" => &["Pod", "Job"],
            _ => &["Pod"],
        };
        let is = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
        for below in WorkloadKind::ALL.into_iter().filter(|kind| makers.contains(&kind.kind)) {
            let mut pages = reader.pages(below, self.namespaces.clone());
            while let Some(objects) = pages.next().await? {
                objects.into_iter().for_each(|object| drop(reader.running.take(object)));
            }
        }
        let mut pages = reader.pages(kind, self.namespaces.clone());
        while let Some(objects) = pages.next().await? {
            if let Some(object) = objects.into_iter().find(is) {
                let Some(resource) = reader.running.top(object) else { return Ok(None) };
                return Ok(Some(reader.with_secrets(resource).await));
            }
        }
        Ok(None)
    }
}

/// Nobody takes what is listed.
struct Gone;

/// What has been read so far.
struct Reader {
    client: Client,
    cluster: ApiCluster,
    running: Running,
    /// The pull secrets of service accounts.
    accounts: HashMap<ObjectName, Arc<BTreeSet<ObjectName>>>,
}

impl Reader {
    fn new(client: Client, listing: &Listing) -> Self {
        let running = Running::new(listing.whole, listing.secrets);
        let cluster = ApiCluster::new(client.clone());
        Self { client, cluster, running, accounts: HashMap::new() }
    }

    fn pages(&self, kind: WorkloadKind, namespaces: Namespaces) -> Pages {
        Pages::new(self.client.clone(), kind, namespaces)
    }

    /// Puts the secrets of service accounts into the place of the accounts: most have none, and what is asked for without a
    /// secret is the same in all namespaces.
    async fn with_secrets(&mut self, mut resource: Resource) -> Resource {
        let accounts = std::mem::take(&mut resource.access.service_accounts);
        for account in accounts {
            match self.secrets_of(&account).await {
                Some(secrets) => resource.access.secrets.extend(secrets.iter().cloned()),
                // Whoever asks a registry with it finds out, and says, why it cannot be read.
                None => drop(resource.access.service_accounts.insert(account)),
            }
        }
        resource
    }

    async fn secrets_of(&mut self, account: &ObjectName) -> Option<Arc<BTreeSet<ObjectName>>> {
        if let Some(known) = self.accounts.get(account) {
            return Some(Arc::clone(known));
        }
        let secrets = self.cluster.pull_secrets(account).await.ok()?;
        let secrets = Arc::new(secrets.into_iter().collect());
        self.accounts.insert(account.clone(), Arc::clone(&secrets));
        Some(secrets)
    }
}
