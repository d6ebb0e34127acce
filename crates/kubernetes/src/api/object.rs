//! Which object of a cluster something is about.

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;

/// An object of a cluster. What is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for one of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The id that the API server gave it: an object of the same name that is made later has another.
    pub uid: String,
}

impl ObjectRef {
    /// Of an object as it stands in the API. `None` without a kind or a name.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let text = |pointer: &str| text_at(object, pointer);
        let found = Self {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
        };
        (!found.kind.is_empty() && !found.name.is_empty()).then_some(found)
    }

    /// The controller of an object, which has made it and would make it again.
    #[must_use]
    pub fn controller_of(object: &Value, namespace: &str) -> Option<Self> {
        let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner =
            owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
        let found = Self {
            api_version: text_at(owner, "/apiVersion"),
            kind: text_at(owner, "/kind"),
            namespace: namespace.to_owned(),
            name: text_at(owner, "/name"),
            uid: text_at(owner, "/uid"),
        };
        (!found.kind.is_empty() && !found.name.is_empty()).then_some(found)
    }

    /// A namespace, as if it were in itself: so events about it stand there and not in `default`. `None` if no namespace can
    /// have this name.
    #[must_use]
    pub fn of_namespace(name: &str) -> Option<Self> {
        is_namespace_name(name).then(|| Self {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            namespace: name.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        })
    }

    /// As API objects name others.
    pub(super) fn reference(&self) -> ObjectReference {
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        ObjectReference {
            api_version: known(&self.api_version),
            kind: known(&self.kind),
            namespace: known(&self.namespace),
            name: known(&self.name),
            uid: known(&self.uid),
            ..ObjectReference::default()
        }
    }
}

/// Whether a namespace can have this name: then it can stand in an address.
pub(super) fn is_namespace_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(known)
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_its_controller_and_a_namespace_are_told() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a-1", "namespace": "shop", "uid": "u1", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "u2", "controller": true}]}});
        let found = ObjectRef::of(&pod).unwrap();
        assert_eq!((found.to_string().as_str(), found.uid.as_str()), ("Pod shop/a-1", "u1"));
        let owner = ObjectRef::controller_of(&pod, "shop").unwrap();
        assert_eq!((owner.to_string().as_str(), owner.uid.as_str()), ("ReplicaSet shop/a", "u2"));
        let namespace = ObjectRef::of_namespace("shop").unwrap();
        assert_eq!(
            (namespace.to_string().as_str(), namespace.api_version.as_str()),
            ("Namespace shop/shop", "v1")
        );
        for wrong in ["", "Shop", "a/b", "..", &"a".repeat(64)] {
            assert_eq!(ObjectRef::of_namespace(wrong), None);
        }
        assert_eq!(ObjectRef::of(&json!({"kind": "Pod", "metadata": {"generateName": "a-"}})), None);
        assert_eq!(
            ObjectRef::controller_of(&json!({"metadata": {"ownerReferences": [{"name": "n"}]}}), ""),
            None
        );
    }
}
