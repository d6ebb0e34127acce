//! What runs: workloads with their images, and as much of the objects as policies look at. Bounded in number and in bytes.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use countersign_policy::Access;
use serde_json::Value;
use tokio::time::Instant;

use super::state::State;
use crate::scan::{NotRead, Placed, Resource, ResourceName};

/// What `kubectl apply` keeps for itself: the object once more.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// About what an object takes that counts for a workload, beside its name.
const MEMBER: usize = 200;
/// The most that is counted of what is beyond the limits.
const MAX_BEYOND: usize = 1 << 20;

/// Which list something stands in: a kind of the cluster, a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Arc<str>);

impl From<&str> for Origin {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// News of what runs.
#[derive(Debug)]
pub enum News {
    /// A list is read from its beginning.
    Begun(Origin),
    /// A workload is there; it may be new, or other than it was.
    There(Origin, Box<Resource>),
    /// A workload is gone.
    Gone(Origin, ResourceName),
    /// A list was read to its end: what was not in it is gone.
    Read(Origin),
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most workloads; pods that are alike are one.
    pub workloads: usize,
    /// The most bytes of objects, names and images.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { workloads: 50_000, bytes: 256 << 20 }
    }
}

impl Limits {
    /// Whether there is room for so many bytes beside others.
    const fn fit(self, there: usize, more: usize) -> bool {
        there.saturating_add(more) <= self.bytes
    }
}

/// A workload by a number that is never given twice.
pub(super) type Id = u64;

/// A resource, without what nobody looks at again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    name: ResourceName,
    images: Result<Vec<Placed>, NotRead>,
    object: Option<Box<str>>,
    access: Access,
    owner: Option<String>,
}

impl Kept {
    fn of(resource: Resource, whole: bool) -> Self {
        let Resource { name, images, object, access, owner, .. } = resource;
        Self { name, images, object: object.filter(|_| whole).map(lean), access, owner }
    }

    fn bytes(&self) -> usize {
        let images = self.images.as_ref().map_or(0, |images| {
            images.iter().map(|i| i.path.len() + i.container.len() + i.image.len() + 120).sum()
        });
        let name = &self.name;
        let names = name.name.len() + name.namespace.len() + name.kind.len() + name.source.len();
        512 + images + names + self.object.as_ref().map_or(0, |object| object.len())
    }
}

/// An object as a text, without what the API server and `kubectl` put there for themselves.
fn lean(mut object: Value) -> Box<str> {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(APPLIED);
        }
    }
    object.to_string().into()
}

/// A workload.
#[derive(Debug)]
pub(super) struct Workload {
    kept: Kept,
    identity: Box<str>,
    /// The objects that count for it, with their identifiers.
    members: BTreeMap<Box<str>, Box<str>>,
    /// The identifier of the object that it is called by; empty outside of a cluster.
    uid: Box<str>,
    digests: BTreeSet<String>,
    /// Grows with each change, so that what was found of it before is known as that.
    pub(super) version: u64,
    /// When it was looked at last: to the end of that.
    pub(super) looked: Option<Instant>,
    pub(super) state: State,
}

impl Workload {
    pub(super) fn name(&self) -> &ResourceName {
        &self.kept.name
    }

    /// The identifier of the object that it is called by, also when that is gone; empty outside of a cluster.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// What is judged. A text that was written here can be read.
    pub(super) fn resource(&self) -> Resource {
        let Kept { name, images, object, access, owner } = self.kept.clone();
        let object = object.and_then(|text| serde_json::from_str(&text).ok());
        Resource { name, images, object, lines: BTreeMap::new(), access, owner }
    }
}

/// What became of a piece of news.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// What is to be judged now.
    pub(super) fresh: Vec<Id>,
    /// What is no more.
    pub(super) gone: Vec<(Id, Workload)>,
    /// Whether something had no room, for the first time.
    pub(super) full: bool,
}

/// All that runs, as far as it is known.
#[derive(Debug)]
pub(super) struct Workloads {
    limits: Limits,
    /// Whether objects are kept for policies.
    whole: bool,
    all: HashMap<Id, Workload>,
    identities: HashMap<Box<str>, Id>,
    /// Each object with the workload it counts for, and the reading of its list that it was last seen in.
    members: HashMap<Box<str>, (Id, u64)>,
    readings: HashMap<Origin, u64>,
    digests: HashMap<String, BTreeSet<Id>>,
    beyond: HashSet<u64>,
    hasher: RandomState,
    bytes: usize,
    last: Id,
}

impl Workloads {
    pub(super) fn new(limits: Limits, whole: bool) -> Self {
        Self {
            limits,
            whole,
            all: HashMap::new(),
            identities: HashMap::new(),
            members: HashMap::new(),
            readings: HashMap::new(),
            digests: HashMap::new(),
            beyond: HashSet::new(),
            hasher: RandomState::new(),
            bytes: 0,
            last: 0,
        }
    }

    pub(super) fn get(&self, id: Id) -> Option<&Workload> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Workload> {
        self.all.get_mut(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.all.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many objects had no room.
    pub(super) fn beyond(&self) -> usize {
        self.beyond.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn take(&mut self, news: News) -> Happened {
        let mut happened = Happened::default();
        match news {
            News::Begun(origin) => *self.readings.entry(origin).or_default() += 1,
            News::There(origin, resource) => self.there(&origin, *resource, &mut happened),
            News::Gone(origin, name) => self.leave(&member(&origin, &name), &mut happened),
            News::Read(origin) => {
                let (reading, prefix) = (self.reading(&origin), format!("{}\0", origin.0));
                let is_old = |key: &str, seen: u64| key.starts_with(&prefix) && seen < reading;
                let old = self.members.iter().filter(|(key, (_, seen))| is_old(key, *seen));
                let left: Vec<Box<str>> = old.map(|(key, _)| key.clone()).collect();
                left.iter().for_each(|key| self.leave(key, &mut happened));
            }
        }
        happened
    }

    fn reading(&self, origin: &Origin) -> u64 {
        self.readings.get(origin).copied().unwrap_or_default()
    }

    fn there(&mut self, origin: &Origin, resource: Resource, happened: &mut Happened) {
        let key = member(origin, &resource.name);
        // Without images there is nothing to verify.
        if resource.images.as_ref().is_ok_and(Vec::is_empty) {
            return self.leave(&key, happened);
        }
        let (identity, uid) = (identity(&key, &resource), uid(&resource));
        let kept = Kept::of(resource, self.whole);
        let reading = self.reading(origin);
        if let Some((id, seen)) = self.members.get_mut(&key)
            && let Some(workload) = self.all.get_mut(id)
            && workload.identity == identity
            && (kept.owner.is_some()
                || self.limits.fit(self.bytes.saturating_sub(workload.kept.bytes()), kept.bytes()))
        {
            *seen = reading;
            // One of the same name that was made anew has another.
            if let Some(known) = workload.members.get_mut(&key) {
                if workload.uid == *known {
                    workload.uid.clone_from(&uid);
                }
                *known = uid;
            }
            // Of those that are alike the first stands for all.
            if kept.owner.is_none() && workload.kept != kept {
                self.bytes = self.bytes.saturating_sub(workload.kept.bytes()) + kept.bytes();
                workload.kept = kept;
                workload.version += 1;
                happened.fresh.push(*id);
            }
            return;
        }
        self.leave(&key, happened);
        let known = self.identities.get(&identity).copied();
        let bytes = member_bytes(&key) + if known.is_some() { 0 } else { kept.bytes() };
        let is_one_more = known.is_none() && self.all.len() >= self.limits.workloads;
        if is_one_more || !self.limits.fit(self.bytes, bytes) {
            happened.full = self.beyond.is_empty();
            if self.beyond.len() < MAX_BEYOND {
                self.beyond.insert(self.hasher.hash_one(&key));
            }
            return;
        }
        self.bytes += bytes;
        let id = known.unwrap_or_else(|| {
            self.last += 1;
            self.identities.insert(identity.clone(), self.last);
            let workload = Workload {
                kept,
                identity,
                members: BTreeMap::new(),
                uid: uid.clone(),
                digests: BTreeSet::new(),
                version: 0,
                looked: None,
                state: State::default(),
            };
            self.all.insert(self.last, workload);
            happened.fresh.push(self.last);
            self.last
        });
        if let Some(workload) = self.all.get_mut(&id) {
            workload.members.insert(key.clone(), uid);
        }
        self.beyond.remove(&self.hasher.hash_one(&key));
        self.members.insert(key, (id, reading));
    }

    fn leave(&mut self, key: &str, happened: &mut Happened) {
        self.beyond.remove(&self.hasher.hash_one(key));
        let Some((id, _)) = self.members.remove(key) else { return };
        self.bytes = self.bytes.saturating_sub(member_bytes(key));
        let Some(workload) = self.all.get_mut(&id) else { return };
        workload.members.remove(key);
        let name = |key: &str| key.rsplit('\0').next().unwrap_or_default().to_owned();
        match workload.members.first_key_value() {
            // It is called by one that is there.
            Some((other, uid)) if name(key) == workload.kept.name.name => {
                workload.kept.name.name = name(other);
                workload.uid.clone_from(uid);
            }
            Some(_) => {}
            None => {
                self.set_digests(id, BTreeSet::new());
                if let Some(workload) = self.all.remove(&id) {
                    self.identities.remove(&workload.identity);
                    self.bytes = self.bytes.saturating_sub(workload.kept.bytes());
                    happened.gone.push((id, workload));
                }
            }
        }
    }

    /// Remembers which digests were judged for a workload.
    pub(super) fn set_digests(&mut self, id: Id, digests: BTreeSet<String>) {
        let Some(workload) = self.all.get_mut(&id) else { return };
        for digest in workload.digests.difference(&digests) {
            if let Slot::Occupied(mut slot) = self.digests.entry(digest.clone()) {
                slot.get_mut().remove(&id);
                if slot.get().is_empty() {
                    slot.remove();
                }
            }
        }
        for digest in digests.difference(&workload.digests) {
            self.digests.entry(digest.clone()).or_default().insert(id);
        }
        workload.digests = digests;
    }

    /// The workloads of a digest.
    pub(super) fn running(&self, digest: &str) -> impl Iterator<Item = Id> {
        self.digests.get(digest).into_iter().flatten().copied()
    }
}

/// About what it takes to know that an object counts for a workload, here and there.
const fn member_bytes(key: &str) -> usize {
    2 * key.len() + MEMBER
}

/// An object in its list. No name holds the separator.
fn member(origin: &Origin, name: &ResourceName) -> Box<str> {
    format!("{}\0{}\0{}\0{}", origin.0, name.kind, name.namespace, name.name).into()
}

fn uid(resource: &Resource) -> Box<str> {
    let uid = resource.object.as_ref().and_then(|object| object.pointer("/metadata/uid")?.as_str());
    uid.unwrap_or_default().into()
}

/// What makes pods one workload: who made them, and what runs in them. Anything else is itself.
fn identity(key: &str, resource: &Resource) -> Box<str> {
    let Some(owner) = &resource.owner else { return key.into() };
    let images = resource.images.as_ref().map_or(String::new(), |images| {
        let running = |image: &Placed| image.running.map(|digest| digest.to_string()).unwrap_or_default();
        images.iter().map(|i| format!("\0{}\0{}\0{}", i.path, i.image, running(i))).collect()
    });
    format!("{}\0{owner}{images}", resource.name.namespace).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(name: &str, image: &str) -> Box<Resource> {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop", "managedFields": ["much"], "annotations": {APPLIED: "more"}},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}, "status": {"replicas": 1}});
        Box::new(Resource::of(object, "cluster").unwrap())
    }

    fn pod(name: &str, digest: &str) -> Box<Resource> {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid of {name}"),
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}]},
            "spec": {"containers": [{"name": "a", "image": "r.example/a:1"}]},
            "status": {"containerStatuses": [{"name": "a", "imageID": format!("r.example/a@sha256:{}", digest.repeat(64))}]}});
        Box::new(Resource::of(object, "cluster").unwrap())
    }

    fn counts(happened: &Happened) -> (usize, usize) {
        (happened.fresh.len(), happened.gone.len())
    }

    #[test]
    fn only_what_is_new_or_other_is_news() {
        let mut all = Workloads::new(Limits::default(), true);
        let list = Origin::from("deployments");
        let there = |name, image| News::There(list.clone(), deployment(name, image));
        assert_eq!(counts(&all.take(there("web", "r.example/a:1"))), (1, 0));
        assert_eq!(counts(&all.take(there("web", "r.example/a:1"))), (0, 0));
        assert_eq!(counts(&all.take(there("web", "r.example/a:2"))), (1, 0));
        let object = all.get(1).unwrap().resource().object.unwrap();
        assert_eq!(object["metadata"], json!({"name": "web", "namespace": "shop", "annotations": {}}));
        assert_eq!(object.get("status"), None);
        let gone = News::Gone(list.clone(), deployment("web", "x").name);
        assert_eq!(counts(&all.take(gone)), (0, 1));
        assert_eq!((all.len(), all.bytes()), (0, 0));
    }

    #[test]
    fn what_a_list_no_longer_has_is_gone() {
        let mut all = Workloads::new(Limits::default(), false);
        let (one, other) = (Origin::from("one"), Origin::from("other"));
        for (list, name) in [(&one, "a"), (&one, "b"), (&other, "c")] {
            all.take(News::There(list.clone(), deployment(name, "r.example/a:1")));
        }
        all.take(News::Begun(one.clone()));
        all.take(News::There(one.clone(), deployment("b", "r.example/a:1")));
        let happened = all.take(News::Read(one));
        assert_eq!(happened.gone.len(), 1);
        assert_eq!(happened.gone[0].1.name().name, "a");
        assert_eq!(all.len(), 2);
        assert!(all.get(2).unwrap().resource().object.is_none(), "kept for policies only");
    }

    #[test]
    fn pods_that_are_alike_are_one_workload_until_the_last_is_gone() {
        let mut all = Workloads::new(Limits::default(), false);
        let pods = Origin::from("pods");
        assert_eq!(counts(&all.take(News::There(pods.clone(), pod("web-1-a", "0")))), (1, 0));
        assert_eq!(counts(&all.take(News::There(pods.clone(), pod("web-1-b", "0")))), (0, 0));
        // The tag names another image by now.
        assert_eq!(counts(&all.take(News::There(pods.clone(), pod("web-1-c", "1")))), (1, 0));
        assert_eq!(counts(&all.take(News::Gone(pods.clone(), pod("web-1-a", "0").name))), (0, 0));
        let named = all.get(1).unwrap();
        assert_eq!((&*named.name().name, named.uid()), ("web-1-b", "uid of web-1-b"));
        let gone = all.take(News::Gone(pods, pod("web-1-b", "0").name));
        assert_eq!(
            (counts(&gone), gone.gone[0].1.uid()),
            ((0, 1), "uid of web-1-b"),
            "what its report is called by"
        );
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn one_that_was_made_anew_under_the_same_name_is_known_by_its_new_identifier() {
        let mut all = Workloads::new(Limits::default(), false);
        let list = Origin::from("deployments");
        for uid in ["first", "second"] {
            let mut made = deployment("web", "r.example/a:1");
            made.object.as_mut().unwrap()["metadata"]["uid"] = uid.into();
            all.take(News::Begun(list.clone()));
            all.take(News::There(list.clone(), made));
            assert_eq!(counts(&all.take(News::Read(list.clone()))), (0, 0));
            assert_eq!(all.get(1).unwrap().uid(), uid);
        }
    }

    #[test]
    fn an_object_that_grows_beyond_the_room_there_is_has_none() {
        let mut all = Workloads::new(Limits { bytes: 4096, ..Limits::default() }, true);
        let list = Origin::from("deployments");
        let mut grown = deployment("web", "r.example/a:1");
        assert_eq!(counts(&all.take(News::There(list.clone(), grown.clone()))), (1, 0));
        grown.object.as_mut().unwrap()["metadata"]["labels"] = json!({"a": "x".repeat(4096)});
        assert_eq!(counts(&all.take(News::There(list.clone(), grown))), (0, 1));
        assert_eq!((all.len(), all.beyond(), all.bytes()), (0, 1, 0));
        assert_eq!(counts(&all.take(News::There(list, deployment("web", "r.example/a:1")))), (1, 0));
    }

    #[test]
    fn what_has_no_room_is_counted_and_nothing_grows() {
        let mut all = Workloads::new(Limits { workloads: 2, ..Limits::default() }, true);
        let list = Origin::from("deployments");
        let full = ["a", "b", "c", "d", "c"]
            .map(|name| all.take(News::There(list.clone(), deployment(name, "r.example/a:1"))).full);
        assert_eq!(full, [false, false, true, false, false], "said once");
        assert_eq!((all.len(), all.beyond()), (2, 2));
        all.take(News::Gone(list.clone(), deployment("d", "x").name));
        assert_eq!(all.beyond(), 1);
        all.take(News::Gone(list.clone(), deployment("a", "x").name));
        assert_eq!(counts(&all.take(News::There(list, deployment("c", "r.example/a:1")))), (1, 0));
        assert_eq!((all.len(), all.beyond()), (2, 0));
        let mut few = Workloads::new(Limits { bytes: 10, ..Limits::default() }, true);
        few.take(News::There(Origin::from("x"), deployment("a", "r.example/a:1")));
        assert_eq!((few.len(), few.beyond()), (0, 1));
    }

    #[test]
    fn pods_that_are_alike_take_room_too() {
        let limits = Limits { bytes: 64 << 10, ..Limits::default() };
        let (mut all, pods) = (Workloads::new(limits, false), Origin::from("pods"));
        for number in 0..1000 {
            all.take(News::There(pods.clone(), pod(&format!("web-{number}"), "0")));
            assert!(all.bytes() <= limits.bytes);
        }
        assert!(all.len() == 1 && all.beyond() > 500, "{}", all.beyond());
        for number in 0..1000 {
            all.take(News::Gone(pods.clone(), pod(&format!("web-{number}"), "0").name));
        }
        assert_eq!((all.len(), all.beyond(), all.bytes()), (0, 0, 0));
    }
}
