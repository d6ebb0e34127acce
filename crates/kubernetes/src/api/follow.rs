//! The policies, exceptions and trust roots of a cluster, followed as they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::Document;
use futures_util::StreamExt as _;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, discovery};
use tokio::sync::mpsc;

use super::{ApiError, PATIENCE, Trouble, in_time, with_causes};
use crate::policies::Policies;

/// What is followed: group and kind. In which version, the API server says.
const FOLLOWED: [(&str, &str); 10] = [
    ("countersign.dev", "ImagePolicy"),
    ("countersign.dev", "PolicyException"),
    ("kyverno.io", "ClusterPolicy"),
    ("kyverno.io", "Policy"),
    ("kyverno.io", "PolicyException"),
    ("policies.kyverno.io", "ImageValidatingPolicy"),
    ("policies.kyverno.io", "NamespacedImageValidatingPolicy"),
    ("policies.kyverno.io", "PolicyException"),
    ("policy.sigstore.dev", "ClusterImagePolicy"),
    ("policy.sigstore.dev", "TrustRoot"),
];
/// How often it is looked whether a kind is there that was not.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How many come at once.
const PAGE: u32 = 500;
/// How long to wait after something went wrong.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) type Objects = BTreeMap<String, Document>;

/// Follows the policies of a cluster, for ever. They hold once all kinds have been read that the cluster has.
pub async fn follow_policies(client: Client, policies: Arc<Policies>) {
    let (told, mut telling) = mpsc::channel(FOLLOWED.len());
    for kind in FOLLOWED {
        tokio::spawn(follow(client.clone(), kind, told.clone()));
    }
    let mut known: BTreeMap<(&str, &str), Objects> = BTreeMap::new();
    while let Some((kind, objects)) = telling.recv().await {
        known.insert(kind, objects);
        // What else has come meanwhile.
        while let Ok((kind, objects)) = telling.try_recv() {
            known.insert(kind, objects);
        }
        if known.len() == FOLLOWED.len() {
            policies.set_cluster(known.values().flat_map(BTreeMap::values).cloned().collect());
        }
    }
}

/// The policies of a cluster as they are now.
///
/// # Errors
/// [`ApiError`]: a kind that cannot be read may hold policies, so there is no list without it.
pub async fn read_policies(client: &Client) -> Result<Vec<Document>, ApiError> {
    let mut documents = Vec::new();
    for kind in FOLLOWED {
        documents.extend(read(client, kind, "policies").await?.into_values());
    }
    Ok(documents)
}

/// The objects of a kind as they are now; none while the API server has no such kind.
///
/// # Errors
/// [`ApiError`], which calls them by this name.
pub(super) async fn read(
    client: &Client,
    (group, kind): (&str, &str),
    called: &str,
) -> Result<Objects, ApiError> {
    let unread = |trouble: Trouble| ApiError(format!("the {called} of the kind {kind} ({group}): {trouble}"));
    match resource(client, (group, kind)).await.map_err(unread)? {
        Some(resource) => list(client, &resource).await.map_err(unread),
        None => Ok(Objects::new()),
    }
}

async fn list(client: &Client, resource: &ApiResource) -> Result<Objects, Trouble> {
    let all = Api::<DynamicObject>::all_with(client.clone(), resource);
    let mut objects = Objects::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = in_time(all.list(&parameters)).await?;
        objects.extend(page.items.iter().map(|object| (key(object), document(resource, object))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok(objects),
            token => parameters.continue_token = token,
        }
    }
}

pub(super) type Told = mpsc::Sender<((&'static str, &'static str), Objects)>;

/// Tells of the objects of a kind as they change, all of them each time; of none while the API server has no such kind.
pub(super) async fn follow(client: Client, kind: (&'static str, &'static str), told: Told) {
    loop {
        match resource(&client, kind).await {
            Ok(Some(resource)) => {
                if let Err(error) = watch(&client, kind, &resource, &told).await {
                    let error = with_causes(&error);
                    tracing::warn!(
                        error,
                        kind = kind.1,
                        group = kind.0,
                        "a kind of policies cannot be watched"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(None) => {
                if told.send((kind, Objects::new())).await.is_err() {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            // What was there before is there until the API server says otherwise.
            Err(error) => {
                tracing::warn!(%error, kind = kind.1, group = kind.0, "the API server cannot be asked for a kind");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How the API server serves a kind, in its most stable version; `None` when it does not.
async fn resource(client: &Client, (group, kind): (&str, &str)) -> Result<Option<ApiResource>, Trouble> {
    let groups = in_time(client.list_api_groups()).await?;
    if !groups.groups.iter().any(|found| found.name == group) {
        return absent(client, group).await.map(|()| None);
    }
    let found = in_time(discovery::group(client, group)).await?;
    let mut resources = found.resources_by_stability().into_iter().map(|(resource, _)| resource);
    Ok(resources.find(|resource| resource.kind == kind))
}

/// Makes sure that a group is not served. An API server that has just begun leaves groups out of its list which it will
/// serve in a moment; asked for one of these alone, it says that it is not ready, and "not found" only when it is.
async fn absent(client: &Client, group: &str) -> Result<(), Trouble> {
    let request = http::Request::get(format!("/apis/{group}")).body(Vec::new());
    let request = request.map_err(|e| Trouble::Other(e.to_string()))?;
    match in_time(client.request_text(request)).await {
        Err(Trouble::NotFound) => Ok(()),
        Err(trouble) => Err(trouble),
        Ok(_) => Err(Trouble::Other(format!("its list of groups leaves out {group}, which it serves"))),
    }
}

/// Watches a kind until something goes wrong: then it may be gone, or served otherwise.
async fn watch(
    client: &Client,
    kind: (&'static str, &'static str),
    resource: &ApiResource,
    told: &Told,
) -> Result<(), watcher::Error> {
    let all = Api::<DynamicObject>::all_with(client.clone(), resource);
    let mut events = watcher(all, watcher::Config::default()).boxed();
    let (mut objects, mut complete) = (Objects::new(), false);
    while let Some(event) = events.next().await {
        match event? {
            Event::Init => {
                objects.clear();
                complete = false;
            }
            Event::InitDone => complete = true,
            Event::InitApply(object) | Event::Apply(object) => {
                objects.insert(key(&object), document(resource, &object));
            }
            Event::Delete(object) => drop(objects.remove(&key(&object))),
        }
        if complete && told.send_timeout((kind, objects.clone()), PATIENCE).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn key(object: &DynamicObject) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&object.metadata.namespace), part(&object.metadata.name))
}

/// An object as a file would have it.
fn document(resource: &ApiResource, object: &DynamicObject) -> Document {
    // An object that was read as JSON can be written as such.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        // Objects in a list need not say what they are.
        fields.insert("apiVersion".into(), resource.api_version.clone().into());
        fields.insert("kind".into(), resource.kind.clone().into());
    }
    Document { index: 0, api_version: resource.api_version.clone(), kind: resource.kind.clone(), value }
}
