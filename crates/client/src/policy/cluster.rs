//! What a cluster can tell a policy.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use countersign_policy::{CouldNot, CouldNotReason, ObjectName};
use zeroize::Zeroizing;

/// An answer that is waited for.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = Result<T, CouldNot>> + Send + 'a>>;

/// The data of a secret.
pub type SecretData = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// A cluster, as far as policies need it.
pub trait Cluster: Send + Sync + Debug {
    /// The data of a ConfigMap.
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>>;

    /// The labels of a namespace.
    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>>;

    /// The data of a secret.
    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData>;

    /// The pull secrets of a service account.
    fn pull_secrets<'a>(&'a self, service_account: &'a ObjectName) -> Told<'a, Vec<ObjectName>>;
}

/// No cluster at all: policies over files and images.
#[derive(Debug, Clone, Copy)]
pub struct NoCluster;

fn no<T>(what: impl std::fmt::Display) -> Told<'static, T> {
    let text = format!("{what}: there is no cluster to ask; give the object in a file, or a kubeconfig");
    Box::pin(async { Err(CouldNot::new(CouldNotReason::Unsupported, text)) })
}

impl Cluster for NoCluster {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        no(format!("the ConfigMap {name}"))
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        no(format!("the namespace {name}"))
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        no(format!("the secret {name}"))
    }

    fn pull_secrets<'a>(&'a self, service_account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        no(format!("the service account {service_account}"))
    }
}
