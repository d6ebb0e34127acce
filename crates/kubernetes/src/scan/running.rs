//! What runs, by whoever made it: one resource for each workload, with the digests that its pods run.
//!
//! Pods come first, then what makes them: `ReplicaSet`s and `Job`s before `Deployment`s and `CronJob`s. Of each pod only its images
//! are kept.

use std::collections::{BTreeMap, HashMap};

use countersign_crypto::Digest;
use countersign_policy::images::{pod_spec_pointer, workload_images};
use countersign_policy::{Access, ContainerKind};
use serde_json::{Value, json};

use super::resource::{CLUSTER, Controller, Placed, Resource, ResourceName};
use crate::review::access_of;

/// Pods that the same workload made.
#[derive(Debug)]
struct Group {
    name: ResourceName,
    images: Vec<Placed>,
    /// One of them, for policies.
    pod: Option<Value>,
    access: Access,
}

/// What runs, gathered from pods.
#[derive(Debug)]
pub struct Running {
    whole: bool,
    secrets: bool,
    groups: HashMap<String, Group>,
}

impl Running {
    /// Nothing yet. `whole` keeps objects, for policies; `secrets` the names of the secrets that registries are asked with.
    #[must_use]
    pub fn new(whole: bool, secrets: bool) -> Self {
        Self { whole, secrets, groups: HashMap::new() }
    }

    /// Takes an object in. What nobody else made comes out: a pod by itself, or a workload with the digests that its pods run.
    pub fn take(&mut self, object: Value) -> Option<Resource> {
        let controller = Controller::of(&object);
        let is_pod = object.get("kind").and_then(Value::as_str) == Some("Pod");
        match controller {
            // What a node runs by itself is made by nobody.
            Some(owner) if is_pod && owner.kind != "Node" => self.pod(object, owner),
            Some(owner) if !is_pod && owner.is_workload() => {
                self.pass_on(&object, owner);
                None
            }
            // An older state of something that is not known here.
            Some(_) if !is_pod && is_asleep(&object) && !self.groups.contains_key(&uid(&object)) => None,
            _ => self.top(object),
        }
    }

    /// An object as what is scanned, whoever made it, with the digests that its pods run.
    pub fn top(&mut self, object: Value) -> Option<Resource> {
        let group = self.groups.remove(&uid(&object));
        let access = self.access(&object);
        let mut resource = Resource { access, owner: None, ..Resource::any(object, CLUSTER)? };
        if let (Ok(images), Some(group)) = (&mut resource.images, group) {
            *images = joined(std::mem::take(images), group.images);
        }
        resource.object = resource.object.filter(|_| self.whole);
        Some(resource)
    }

    /// What runs though nobody who makes it came: it is gone, may not be read, or is of a kind that is not known here.
    pub fn rest(self) -> impl Iterator<Item = Resource> {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups.into_iter().filter(|group| !group.images.is_empty()).map(|group| {
            let images = joined(Vec::new(), group.images);
            Resource {
                name: group.name,
                images: Ok(images),
                object: group.pod,
                lines: BTreeMap::new(),
                access: group.access,
                owner: None,
            }
        })
    }

    fn access(&self, object: &Value) -> Access {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if !self.secrets {
            return Access::default();
        }
        access_of(object, text("/kind"), text("/metadata/namespace"))
    }

    /// Keeps what a pod runs for whoever made it. One whose images cannot be told comes out.
    fn pod(&mut self, pod: Value, owner: Controller) -> Option<Resource> {
        let phase = pod.pointer("/status/phase").and_then(Value::as_str);
        if matches!(phase, Some("Succeeded" | "Failed")) {
            // What has ended runs no more.
            return None;
        }
        let access = self.access(&pod);
        let resource = Resource::any(pod, CLUSTER)?;
        let Ok(images) = resource.images else { return Some(resource) };
        let name = ResourceName {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            ..resource.name
        };
        let pod = resource.object.filter(|_| self.whole);
        let group =
            self.groups.entry(owner.uid).or_insert_with(|| Group { name, images: Vec::new(), pod, access });
        for image in images {
            if !group.images.contains(&image) {
                group.images.push(image);
            }
        }
        None
    }

    /// What runs for an object runs for whoever made it.
    fn pass_on(&mut self, object: &Value, owner: Controller) {
        let Some(mut group) = self.groups.remove(&uid(object)) else { return };
        match self.groups.get_mut(&owner.uid) {
            Some(known) => {
                group.images.retain(|image| !known.images.contains(image));
                known.images.append(&mut group.images);
            }
            None => {
                group.name.api_version = owner.api_version;
                (group.name.kind, group.name.name) = (owner.kind, owner.name);
                self.groups.insert(owner.uid, group);
            }
        }
    }
}

fn uid(object: &Value) -> String {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether a workload is to have no pods.
fn is_asleep(object: &Value) -> bool {
    object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0)
}

/// What a workload names, in its place, with what runs of it; then what runs beside it: put in by others, or to look inside.
fn joined(named: Vec<Placed>, running: Vec<Placed>) -> Vec<Placed> {
    let same_place = |a: &Placed, b: &Placed| (a.kind, &a.container) == (b.kind, &b.container);
    let mut all = Vec::new();
    let (inside, beside): (Vec<Placed>, Vec<Placed>) =
        running.into_iter().partition(|runs| named.iter().any(|own| same_place(own, runs)));
    for own in named {
        let here: Vec<&Placed> = inside.iter().filter(|runs| same_place(&own, runs)).collect();
        let is_run = |image: &str| here.iter().any(|runs| runs.image == image && runs.running.is_some());
        let starts_own = |runs: &Placed| runs.running.is_none() && is_image(&own.image, &runs.image);
        // What still starts is told by its twin that runs, or as what the workload names.
        let told = |runs: &Placed| runs.running.is_some() || (!is_run(&runs.image) && !starts_own(runs));
        let runs: Vec<Placed> = here
            .iter()
            .filter(|runs| told(runs))
            .map(|runs| Placed { path: own.path.clone(), ..(*runs).clone() })
            .collect();
        // What no pod runs yet is what runs next.
        let is_next = !runs.iter().any(|runs| is_image(&own.image, &runs.image));
        all.extend(runs);
        if is_next {
            all.push(own);
        }
    }
    for image in &beside {
        let is_twin = |other: &Placed| same_place(image, other) && other.image == image.image;
        if image.running.is_none() && beside.iter().any(|other| is_twin(other) && other.running.is_some()) {
            continue;
        }
        all.push(Placed { path: format!("pods: {}", image.path), ..image.clone() });
    }
    all
}

/// Whether a pod's image is the one that its workload names, or that one pinned.
pub(super) fn is_image(named: &str, runs: &str) -> bool {
    runs.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// An object with all its images, those that only its pods have too; and once more for each that was drawn by a tag which has
/// moved, as what runs.
pub(super) fn forms_of(mut object: Value, images: &[Placed], moved: &[(&Placed, Digest)]) -> Vec<Value> {
    let own: Vec<String> =
        workload_images(&object).unwrap_or_default().into_iter().map(|image| image.image).collect();
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let spec = pod_spec_pointer(kind).unwrap_or_default();
    let mut added: Vec<&str> = Vec::new();
    for placed in images {
        if own.contains(&placed.image) || added.contains(&placed.image.as_str()) {
            continue;
        }
        if let Some(spec) = object.pointer_mut(spec).and_then(Value::as_object_mut) {
            let list = if placed.kind == ContainerKind::Init { "initContainers" } else { "containers" };
            let list = spec.entry(list).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                // Names stand once in a list.
                let name = format!("{}-{}", placed.container, list.len());
                list.push(json!({ "name": name, "image": placed.image }));
                added.push(&placed.image);
            }
        }
    }
    let mut forms = vec![object];
    for (placed, digest) in moved {
        let Some(mut form) = forms.first().cloned() else { break };
        let drawn = workload_images(&form).unwrap_or_default();
        for image in drawn.into_iter().filter(|image| image.image == placed.image) {
            if let Some(text) = form.pointer_mut(&image.pointer) {
                *text = format!("{}@{digest}", placed.image).into();
            }
        }
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn placed(container: &str, image: &str, runs: bool) -> Placed {
        Placed {
            path: "spec.containers[0].image".into(),
            kind: ContainerKind::Container,
            container: container.into(),
            image: image.into(),
            running: runs.then(|| countersign_registry::parse_digest(&format!("sha256:{HEX}")).unwrap()),
        }
    }

    fn shown(all: &[Placed]) -> Vec<String> {
        let runs = |image: &Placed| if image.running.is_some() { "!" } else { "" };
        all.iter().map(|image| format!("{}{}", image.image, runs(image))).collect()
    }

    #[test]
    fn what_runs_and_what_runs_next_are_told_once_each() {
        let named = || vec![placed("a", "app:2", false)];
        for (running, expected) in [
            (vec![], &["app:2"][..]),
            (vec![placed("a", "app:2", true)], &["app:2!"]),
            (vec![placed("a", "app:2", false)], &["app:2"]),
            (vec![placed("a", "app:2", false), placed("a", "app:2", true)], &["app:2!"]),
            (vec![placed("a", "app:2@sha256:1", true)], &["app:2@sha256:1!"]),
            (vec![placed("a", "app:22", true)], &["app:22!", "app:2"]),
            // One that cannot start is to run all the same.
            (vec![placed("a", "app:1", false)], &["app:1", "app:2"]),
            (vec![placed("a", "app:1", true), placed("a", "app:2", false)], &["app:1!", "app:2"]),
            (vec![placed("b", "side:1", false), placed("b", "side:1", true)], &["app:2", "side:1!"]),
            (
                vec![placed("b", "side:1", false), placed("b", "side:2", true)],
                &["app:2", "side:1", "side:2!"],
            ),
        ] {
            assert_eq!(shown(&joined(named(), running.clone())), expected, "{running:?}");
        }
    }

    #[test]
    fn policies_see_what_only_pods_have_and_what_runs_of_a_tag_that_has_moved() {
        let object = json!({"kind": "Deployment", "spec": {"template": {"spec": {
            "containers": [{"name": "a", "image": "app:2"}]}}}});
        let images = [placed("a", "app:2", true), placed("b", "side:1", true)];
        let digest = images[0].running.unwrap();
        let forms = forms_of(object.clone(), &images, &[(&images[0], digest)]);
        let names =
            |form: &Value| workload_images(form).unwrap().into_iter().map(|i| i.image).collect::<Vec<_>>();
        assert_eq!(
            forms.iter().map(names).collect::<Vec<_>>(),
            [
                vec!["app:2".to_owned(), "side:1".to_owned()],
                vec![format!("app:2@sha256:{HEX}"), "side:1".to_owned()],
            ]
        );
        assert_eq!(forms_of(object.clone(), &images[..1], &[]), [object]);
    }
}
