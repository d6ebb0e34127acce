//! What is scanned: a workload with its images, and which digest of them runs.

use std::collections::BTreeMap;

use countersign_crypto::Digest;
use countersign_policy::images::{ImagesError, pod_spec_pointer, workload_images};
use countersign_policy::{Access, ContainerKind, CouldNotReason, GroupVersionKind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::NotListed;

/// Where what is in no file was read.
pub(super) const CLUSTER: &str = "cluster";

/// The name that no object can have, for all of a kind.
const EVERY: &str = "*";

/// Which object it is, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceName {
    /// Its `apiVersion`; empty for an image by itself.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty where none is named.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The file it was read from, or `cluster`.
    pub source: String,
}

impl ResourceName {
    /// Of this object, read there.
    #[must_use]
    pub fn of(object: &Value, source: &str) -> Self {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            source: source.to_owned(),
        }
    }

    /// Whether this stands for all objects of a kind, which could not be listed.
    #[must_use]
    pub fn is_kind(&self) -> bool {
        self.name == EVERY
    }
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An image in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placed {
    /// Where: `spec.containers[0].image`.
    pub path: String,
    /// What it is used for.
    pub kind: ContainerKind,
    /// The container's or the volume's name.
    pub container: String,
    /// The image as it is written.
    pub image: String,
    /// The digest that runs, when the object says so.
    pub running: Option<Digest>,
}

/// Why it cannot be told which images there are. Never a reason to look at none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotRead {
    /// A stable code.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl From<ImagesError> for NotRead {
    fn from(error: ImagesError) -> Self {
        Self { reason: "malformed", message: error.to_string() }
    }
}

/// A workload, or an image by itself.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Which it is.
    pub name: ResourceName,
    /// Its images, or why they cannot be told.
    pub images: Result<Vec<Placed>, NotRead>,
    /// The object, for policies; for an image by itself, a pod which runs it.
    pub object: Option<Value>,
    /// The lines of its file on which its images stand, by their paths; see [`super::locate`].
    pub lines: BTreeMap<String, u64>,
    /// What registries may be asked with for it. Nothing of its own, unless a cluster is there to read it from.
    pub access: Access,
    /// Whoever made it, for a pod that one of several alike.
    pub(crate) owner: Option<String>,
}

impl Resource {
    /// An object as what is scanned. `None` for a kind without pods, and for what another workload made and would make anew;
    /// but a pod that runs is looked at, since what runs may be something else than what its workload names.
    #[must_use]
    pub fn of(object: Value, source: &str) -> Option<Self> {
        let resource = Self::any(object, source)?;
        let Ok(images) = &resource.images else { return Some(resource) };
        let runs = images.iter().any(|image| image.running.is_some());
        (resource.owner.is_none() || runs).then_some(resource)
    }

    /// As [`of`](Self::of), whoever made it.
    pub(super) fn any(object: Value, source: &str) -> Option<Self> {
        let GroupVersionKind { kind, .. } = GroupVersionKind::of(&object);
        pod_spec_pointer(&kind)?;
        let images = workload_images(&object).map(|images| {
            let place = |image: countersign_policy::ImageUse| {
                let running = (kind == "Pod").then(|| running(&object, image.kind, &image.name)).flatten();
                Placed {
                    path: path(&image.pointer),
                    kind: image.kind,
                    container: image.name,
                    image: image.image,
                    running,
                }
            };
            images.into_iter().map(place).collect::<Vec<_>>()
        });
        let name = ResourceName::of(&object, source);
        let owner = Controller::of(&object).filter(Controller::is_workload).map(|owner| owner.to_string());
        let images = images.map_err(NotRead::from);
        Some(Self {
            name,
            images,
            object: Some(object),
            lines: BTreeMap::new(),
            access: Access::default(),
            owner,
        })
    }

    /// What stands for all objects of a kind that could not be listed: nobody could look at them.
    #[must_use]
    pub fn not_listed(missing: &NotListed) -> Self {
        let reason =
            if missing.forbidden { CouldNotReason::Unauthorized } else { CouldNotReason::Unreachable };
        let name = ResourceName {
            api_version: missing.api_version.clone(),
            kind: missing.kind.to_owned(),
            namespace: missing.namespace.clone().unwrap_or_default(),
            name: EVERY.into(),
            source: CLUSTER.into(),
        };
        let images = Err(NotRead { reason: reason.code(), message: missing.to_string() });
        Self { name, images, object: None, lines: BTreeMap::new(), access: Access::default(), owner: None }
    }

    /// An image by itself.
    #[must_use]
    pub fn of_image(image: &str) -> Self {
        let name = ResourceName {
            api_version: String::new(),
            kind: "Image".into(),
            namespace: String::new(),
            name: image.to_owned(),
            source: String::new(),
        };
        let placed = Placed {
            path: "image".into(),
            kind: ContainerKind::Custom,
            container: String::new(),
            image: image.to_owned(),
            running: None,
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "image", "namespace": "default" },
            "spec": { "containers": [{ "name": "image", "image": image }] },
        });
        Self {
            name,
            images: Ok(vec![placed]),
            object: Some(pod),
            lines: BTreeMap::new(),
            access: Access::default(),
            owner: None,
        }
    }
}

/// Whoever made an object, and would make it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Controller {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Controller {
    /// Of this object, if it has one.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner =
            owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
        let text = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
        })
    }

    /// Whether it is looked at itself.
    pub(super) fn is_workload(&self) -> bool {
        pod_spec_pointer(&self.kind).is_some()
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.name, self.uid)
    }
}

/// The digest that a pod's status names for a container. `docker://sha256:…` and a bare digest are the id of the image's
/// configuration, which says nothing about its manifest.
fn running(pod: &Value, kind: ContainerKind, container: &str) -> Option<Digest> {
    let list = match kind {
        ContainerKind::Init => "initContainerStatuses",
        ContainerKind::Container => "containerStatuses",
        ContainerKind::Ephemeral => "ephemeralContainerStatuses",
        ContainerKind::Volume | ContainerKind::Custom => return None,
    };
    let statuses = pod.pointer(&format!("/status/{list}"))?.as_array()?;
    let status = statuses.iter().find(|s| s.get("name").and_then(Value::as_str) == Some(container))?;
    let (_, digest) = status.get("imageID")?.as_str()?.rsplit_once('@')?;
    countersign_registry::parse_digest(digest).ok()
}

/// A JSON pointer as people write it: `spec.containers[0].image`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn pod(image_id: &str, owner: bool) -> Value {
        let owners = json!([{ "kind": "ReplicaSet", "name": "app-1", "uid": "u", "controller": true }]);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "app", "namespace": "prod", "ownerReferences": if owner { owners } else { Value::Null } },
            "spec": { "initContainers": [{ "name": "app", "image": "r.example/init:1" }],
                      "containers": [{ "name": "app", "image": "r.example/app:1" }] },
            "status": { "containerStatuses": [{ "name": "app", "imageID": image_id }] },
        })
    }

    #[test]
    fn the_digest_that_runs_is_taken_from_the_status_of_that_container() {
        for (id, found) in [
            (format!("docker-pullable://r.example/app@sha256:{HEX}"), true),
            (format!("r.example/app@sha256:{HEX}"), true),
            (format!("docker://sha256:{HEX}"), false),
            (format!("sha256:{HEX}"), false),
            (String::new(), false),
        ] {
            let images = Resource::of(pod(&id, false), "f").unwrap().images.unwrap();
            assert_eq!(images[0].path, "spec.initContainers[0].image");
            assert_eq!(images[0].running, None, "the status of another list");
            assert_eq!(images[1].running.is_some(), found, "{id}");
        }
    }

    #[test]
    fn what_another_workload_made_is_left_out_unless_it_runs() {
        assert!(Resource::of(pod("", true), "f").is_none());
        assert!(Resource::of(pod(&format!("r.example/app@sha256:{HEX}"), true), "f").is_some());
        assert!(Resource::of(json!({"kind": "Service"}), "f").is_none());
        let malformed = json!({"kind": "Pod", "spec": {"containers": 1}});
        assert!(Resource::of(malformed, "f").unwrap().images.is_err());
    }
}
