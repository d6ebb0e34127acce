//! The images that an object names: every kind of workload, every kind of container, and image volumes.

use serde_json::Value;

/// The most images that one object may name. More is an error, never a shorter list.
pub const MAX_IMAGES: usize = 256;

/// What an image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `initContainers`
    Init,
    /// `containers`
    Container,
    /// `ephemeralContainers`
    Ephemeral,
    /// `volumes[].image`
    Volume,
    /// Found by an extractor of a policy.
    Custom,
}

impl ContainerKind {
    /// The name of the list in a pod.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Container => "containers",
            Self::Ephemeral => "ephemeralContainers",
            Self::Volume => "volumes",
            Self::Custom => "custom",
        }
    }
}

/// An image that an object names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageUse {
    /// Where in the object: a JSON pointer to the text.
    pub pointer: String,
    /// What it is used for.
    pub kind: ContainerKind,
    /// The container's or the volume's name.
    pub name: String,
    /// The image as it is written.
    pub image: String,
}

/// What is wrong with the images of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// Where an image or a list of them should be, something else is.
    #[error("{pointer}: expected {expected}, found {found}")]
    Malformed {
        /// Where.
        pointer: String,
        /// What should be there.
        expected: &'static str,
        /// What is.
        found: &'static str,
    },
    /// Too many.
    #[error("expected at most {MAX_IMAGES} images in one object, found more")]
    TooMany,
}

/// Where the pod's specification lies in an object of this kind; `None` for kinds that have none.
#[must_use]
pub fn pod_spec_pointer(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" => "/spec",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            "/spec/template/spec"
        }
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "PodTemplate" => "/template/spec",
        _ => return None,
    })
}

/// The images of a workload, in the order in which they stand in it. A kind that has no pods has none.
///
/// ```
/// use countersign_policy::images::workload_images;
/// let pod = serde_json::json!({"kind": "Pod", "spec": {"containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}]}});
/// let images = workload_images(&pod)?;
/// assert_eq!(images[0].pointer, "/spec/containers/0/image");
/// # Ok::<(), countersign_policy::images::ImagesError>(())
/// ```
///
/// # Errors
/// [`ImagesError`]. What is not understood is an error: an image that is not seen is one that is not judged.
pub fn workload_images(object: &Value) -> Result<Vec<ImageUse>, ImagesError> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(base) = pod_spec_pointer(kind) else { return Ok(Vec::new()) };
    let spec = match object.pointer(base) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(spec @ Value::Object(_)) => spec,
        Some(other) => return Err(malformed(base.to_owned(), "an object", other)),
    };
    let mut images = Vec::new();
    for list in
        [ContainerKind::Init, ContainerKind::Container, ContainerKind::Ephemeral, ContainerKind::Volume]
    {
        let pointer = format!("{base}/{}", list.code());
        let entries = match spec.get(list.code()) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(entries)) => entries,
            Some(other) => return Err(malformed(pointer, "a list", other)),
        };
        for (index, entry) in entries.iter().enumerate() {
            if !entry.is_object() {
                return Err(malformed(format!("{pointer}/{index}"), "an object", entry));
            }
            let name = entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let (pointer, image) = match list {
                ContainerKind::Volume => {
                    let Some(image) = entry.get("image").filter(|image| !image.is_null()) else { continue };
                    if !image.is_object() {
                        return Err(malformed(format!("{pointer}/{index}/image"), "an object", image));
                    }
                    (format!("{pointer}/{index}/image/reference"), image.get("reference"))
                }
                _ => (format!("{pointer}/{index}/image"), entry.get("image")),
            };
            match image {
                // A container without an image is one whose image a controller fills in later, and judged then.
                None | Some(Value::Null) => {}
                Some(Value::String(image)) if image.is_empty() => {}
                Some(Value::String(image)) => {
                    images.push(ImageUse { pointer, kind: list, name, image: image.clone() });
                }
                Some(other) => return Err(malformed(pointer, "the name of an image", other)),
            }
            if images.len() > MAX_IMAGES {
                return Err(ImagesError::TooMany);
            }
        }
    }
    Ok(images)
}

fn malformed(pointer: String, expected: &'static str, found: &Value) -> ImagesError {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ImagesError::Malformed { pointer, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_container_of_every_workload_is_seen() {
        let spec = json!({
            "initContainers": [{"name": "i", "image": "r.example/i"}],
            "containers": [{"name": "c", "image": "r.example/c"}, {"name": "d", "image": "r.example/d"}],
            "ephemeralContainers": [{"name": "e", "image": "r.example/e"}],
            "volumes": [{"name": "x", "emptyDir": {}}, {"name": "v", "image": {"reference": "r.example/v"}}],
        });
        for (kind, object) in [
            ("Pod", json!({"spec": spec})),
            ("Deployment", json!({"spec": {"template": {"spec": spec}}})),
            ("StatefulSet", json!({"spec": {"template": {"spec": spec}}})),
            ("DaemonSet", json!({"spec": {"template": {"spec": spec}}})),
            ("ReplicaSet", json!({"spec": {"template": {"spec": spec}}})),
            ("ReplicationController", json!({"spec": {"template": {"spec": spec}}})),
            ("Job", json!({"spec": {"template": {"spec": spec}}})),
            ("CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}})),
            ("PodTemplate", json!({"template": {"spec": spec}})),
        ] {
            let mut object = object;
            object["kind"] = kind.into();
            let images = workload_images(&object).unwrap();
            let names: Vec<_> = images.iter().map(|image| image.image.as_str()).collect();
            assert_eq!(
                names,
                ["r.example/i", "r.example/c", "r.example/d", "r.example/e", "r.example/v"],
                "{kind}"
            );
            for image in &images {
                assert_eq!(object.pointer(&image.pointer).unwrap(), &image.image, "{kind} {}", image.pointer);
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_not_left_out() {
        for spec in [
            json!({"containers": {"image": "r.example/c"}}),
            json!([]),
            json!({"containers": [{"image": 1}]}),
            json!({"containers": ["r.example/c"]}),
            json!({"volumes": [{"image": "r.example/v"}]}),
            json!({"volumes": [{"image": {"reference": []}}]}),
            json!({"containers": vec![json!({"image": "a"}); MAX_IMAGES + 1]}),
        ] {
            assert!(workload_images(&json!({"kind": "Pod", "spec": spec})).is_err(), "{spec}");
        }
    }

    #[test]
    fn kinds_without_pods_have_no_images() {
        assert_eq!(
            workload_images(&json!({"kind": "Service", "spec": {"containers": [{"image": "x"}]}})),
            Ok(vec![])
        );
    }
}
