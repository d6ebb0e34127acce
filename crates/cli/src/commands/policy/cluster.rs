//! A cluster made of files: what a policy finds when it asks for namespaces and ConfigMaps.

use std::collections::BTreeMap;

use countersign_client::policy::{Cluster, SecretData, Told};
use countersign_policy::{CouldNot, CouldNotReason, Document, ObjectName};
use serde_json::Value;

use super::values::{Entries, Values};

/// A member of an object's metadata; empty where there is none.
pub(super) fn member<'a>(document: &'a Document, name: &str) -> &'a str {
    document.value.pointer(&format!("/metadata/{name}")).and_then(Value::as_str).unwrap_or_default()
}

/// What a cluster would tell, from the resources of a test.
#[derive(Debug, Clone)]
pub(super) struct Files {
    config_maps: BTreeMap<ObjectName, BTreeMap<String, String>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Files {
    pub(super) fn of(resources: &[Document], values: &Values) -> Self {
        let texts = |value: Option<&Value>| {
            let fields = value.and_then(Value::as_object).into_iter().flatten();
            fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let mut files = Self { config_maps: BTreeMap::new(), namespaces: BTreeMap::new() };
        for resource in resources {
            let name = member(resource, "name").to_owned();
            match (resource.api_version.as_str(), resource.kind.as_str()) {
                ("v1", "Namespace") => {
                    files.namespaces.insert(name, texts(resource.value.pointer("/metadata/labels")));
                }
                ("v1", "ConfigMap") => {
                    let namespace = match member(resource, "namespace") {
                        "" => "default",
                        namespace => namespace,
                    };
                    let name = ObjectName { namespace: namespace.to_owned(), name };
                    files.config_maps.insert(name, texts(resource.value.get("data")));
                }
                _ => {}
            }
        }
        for (name, labels) in values.namespaces() {
            files.namespaces.entry(name.clone()).or_default().extend(labels.clone());
        }
        files
    }

    /// The same with these entries in ConfigMaps.
    pub(super) fn with(mut self, entries: Entries) -> Self {
        for (name, key, value) in entries {
            self.config_maps.entry(name).or_default().insert(key, value);
        }
        self
    }
}

fn found<T: Clone + Send + 'static>(what: &str, value: Option<&T>) -> Told<'static, T> {
    let told = value.cloned().ok_or_else(|| {
        CouldNot::new(CouldNotReason::NotFound, format!("{what} is not among the resources of the test"))
    });
    Box::pin(async { told })
}

impl Cluster for Files {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        found(&format!("the ConfigMap {name}"), self.config_maps.get(name))
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        found(&format!("the namespace {name}"), self.namespaces.get(name))
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        found(&format!("the secret {name}"), None)
    }

    fn pull_secrets<'a>(&'a self, service_account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        found(&format!("the service account {service_account}"), None)
    }
}
