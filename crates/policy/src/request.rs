//! What is judged: an object on its way into a cluster, or one that is there.

use std::collections::BTreeMap;
use std::fmt;

use countersign_crypto::Digest;
use serde_json::Value;

use crate::access::Access;
use crate::images::{ImageUse, ImagesError, workload_images};

/// The kind of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GroupVersionKind {
    /// The API group; empty for the core one.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// From `apiVersion` and `kind` of an object; empty where they are not there.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        Self { group: group.to_owned(), version: version.to_owned(), kind: text("kind").to_owned() }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{}/{}", self.version, self.kind)
        } else {
            write!(f, "{}/{}/{}", self.group, self.version, self.kind)
        }
    }
}

/// Objects that are no workloads, and that policies look into all the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CustomObject {
    /// All of a kind, whatever group serves it.
    Kind(String),
    /// A resource by its group and plural name. `*` is any group.
    Resource {
        /// The API group.
        group: String,
        /// The name.
        resource: String,
    },
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// An object is made, or is simply there.
    Create,
    /// An object is changed.
    Update,
    /// An object is taken away.
    Delete,
    /// A connection to an object is opened.
    Connect,
}

impl Operation {
    /// As Kubernetes spells it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
    /// The roles bound to it, as `namespace:name`.
    pub roles: Vec<String>,
    /// The cluster roles bound to it.
    pub cluster_roles: Vec<String>,
}

/// A file or a directory that is judged, and no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name, without the directories before it.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// What is judged.
#[derive(Debug, Clone)]
pub struct Request {
    /// The kind.
    pub kind: GroupVersionKind,
    /// The subresource, such as `ephemeralcontainers`; empty for none.
    pub subresource: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The name; empty when the server is to make one.
    pub name: String,
    /// What is being done.
    pub operation: Operation,
    /// The object as it would be.
    pub object: Value,
    /// The file or directory that is judged in place of an object.
    pub artifact: Option<Artifact>,
    /// The object as it is, for an update.
    pub old_object: Option<Value>,
    /// Who asks; nobody for an object that is simply there.
    pub user: User,
    /// Whether it is only tried.
    pub dry_run: bool,
    /// Whether nobody asks: what is there is looked over. Policies may be for requests or for this alone.
    pub background: bool,
    /// What registries may be asked with for this object: its pull secrets and service account.
    pub access: Access,
}

impl Request {
    /// The images that are to be judged: those of the object, and for a change only those that were not there before.
    /// An object that is on its way out is judged like any other.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn judged_images(&self) -> Result<Vec<ImageUse>, ImagesError> {
        let images = workload_images(&self.object)?;
        let Some(old) = self.old_object.as_ref().filter(|_| self.operation == Operation::Update) else {
            return Ok(images);
        };
        // What was there and cannot be read counts as not there: then everything is judged.
        let before = workload_images(old).unwrap_or_default();
        let same = |image: &ImageUse| {
            before
                .iter()
                .any(|old| (old.kind, &old.name, &old.image) == (image.kind, &image.name, &image.image))
        };
        Ok(images.into_iter().filter(|image| !same(image)).collect())
    }

    /// An object that is simply there, or in a file.
    #[must_use]
    pub fn of_object(object: Value) -> Self {
        let text = |name: &str| {
            object
                .pointer(&format!("/metadata/{name}"))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            kind: GroupVersionKind::of(&object),
            subresource: String::new(),
            namespace: text("namespace"),
            name: text("name"),
            operation: Operation::Create,
            old_object: None,
            user: User::default(),
            dry_run: false,
            background: false,
            access: Access::default(),
            object,
            artifact: None,
        }
    }

    /// A file or a directory.
    #[must_use]
    pub fn of_artifact(artifact: Artifact) -> Self {
        Self { artifact: Some(artifact), ..Self::of_object(Value::Null) }
    }
}

/// The labels of an object; what is no text is no label.
pub(crate) fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn update(old: Value, new: Value) -> Vec<String> {
        let mut request = Request::of_object(new);
        request.operation = Operation::Update;
        request.old_object = Some(old);
        request.judged_images().unwrap().into_iter().map(|image| image.image).collect()
    }

    #[test]
    fn only_what_a_change_changes_is_judged() {
        let pod = |containers: Value| json!({"kind": "Pod", "spec": {"containers": containers}});
        let a = json!({"name": "a", "image": "r.example/a:1"});
        let b = json!({"name": "b", "image": "r.example/b:1"});
        assert!(update(pod(json!([a, b])), pod(json!([b, a]))).is_empty(), "another order");
        assert_eq!(update(pod(json!([a])), pod(json!([a, b]))), ["r.example/b:1"]);
        let moved = json!({"name": "c", "image": "r.example/a:1"});
        assert_eq!(update(pod(json!([a])), pod(json!([moved]))), ["r.example/a:1"], "another container");
        assert_eq!(
            update(json!({"kind": "Pod", "spec": {"containers": 1}}), pod(json!([a]))),
            ["r.example/a:1"]
        );
    }

    #[test]
    fn cve_2023_34091_an_object_on_its_way_out_is_judged() {
        let pod = |image: &str| {
            json!({"kind": "Pod", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]},
                   "spec": {"containers": [{"name": "a", "image": image}]}})
        };
        assert_eq!(update(pod("r.example/a:1"), pod("r.example/a:2")), ["r.example/a:2"]);
    }
}
