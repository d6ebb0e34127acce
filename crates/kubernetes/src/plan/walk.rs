//! The workloads of a cluster as they would be made anew: what makes pods first, and of pods only what these would not tell.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use countersign_policy::images::workload_images;
use futures_util::stream::{self, Stream};
use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::api::{Namespaces, NotListed, Pages, WorkloadKind};
use crate::scan::Controller;

/// How many workloads wait to be judged.
const WAITING: usize = 32;
/// What an API server writes into an object that is made.
const WRITTEN: [&str; 5] = ["uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"];

/// What comes by.
#[derive(Debug)]
pub(super) enum Walked {
    /// A workload.
    Workload {
        /// As it would be made.
        object: Value,
        /// Who makes it, for what a controller makes.
        made_by: Option<String>,
    },
    /// What could not be listed.
    Missing(NotListed),
}

/// Lists a cluster, no faster than it is taken.
pub(super) fn walk(client: Client, namespaces: Namespaces) -> impl Stream<Item = Walked> + Send {
    let (given, mut taken) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut seen = Seen::default();
        // Makers before what they make.
        for kind in WorkloadKind::ALL.into_iter().rev() {
            let mut pages = Pages::new(client.clone(), kind, namespaces.clone());
            loop {
                let walked: Vec<Walked> = match pages.next().await {
                    Ok(None) => break,
                    Ok(Some(objects)) => objects.into_iter().filter_map(|object| seen.take(object)).collect(),
                    Err(missing) => vec![Walked::Missing(missing)],
                };
                for one in walked {
                    if given.send(one).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    stream::poll_fn(move |context| taken.poll_recv(context))
}

type Images = Arc<BTreeSet<String>>;

/// What came by already.
#[derive(Debug, Default)]
struct Seen {
    /// The images of workloads, by their identifiers, and of what they made.
    named: HashMap<String, Images>,
    /// Pods that are alike are judged once.
    pods: HashSet<(String, BTreeSet<String>)>,
}

impl Seen {
    fn take(&mut self, mut object: Value) -> Option<Walked> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, uid) = (text("/kind").to_owned(), text("/metadata/uid").to_owned());
        let has_ended = kind == "Pod" && matches!(text("/status/phase"), "Succeeded" | "Failed");
        let owner = Controller::of(&object);
        // What cannot be told is judged, and refused there.
        let images: BTreeSet<String> =
            workload_images(&object).unwrap_or_default().into_iter().map(|image| image.image).collect();
        let named = owner.as_ref().and_then(|owner| self.named.get(&owner.uid).cloned());
        match (&owner, named) {
            // Nobody makes it anew.
            _ if has_ended => return None,
            (Some(_), Some(named)) if kind != "Pod" => {
                self.named.insert(uid, named);
                return None;
            }
            (Some(_), Some(named)) if images.is_subset(&named) => return None,
            // What a node runs by itself is made by nobody.
            (Some(owner), _) if kind == "Pod" && owner.kind != "Node" => {
                if !self.pods.insert((owner.uid.clone(), images)) {
                    return None;
                }
            }
            (Some(_), None) if is_asleep(&object) => return None,
            _ => drop(self.named.insert(uid, Arc::new(images))),
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !WRITTEN.contains(&name.as_str()));
        }
        let made_by = owner.map(|owner| format!("{}/{}", owner.kind, owner.name));
        Some(Walked::Workload { object, made_by })
    }
}

/// An older state, which is to have no pods.
fn is_asleep(object: &Value) -> bool {
    object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0)
}
