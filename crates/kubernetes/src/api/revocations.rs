//! The revocation lists of a cluster: followed as they change, or looked at once.

use std::sync::Arc;

use countersign_policy::Document;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::events::{Doing, Event, Events, Reason};
use super::follow::{follow, read};
use super::{ApiError, ObjectRef, Trouble, in_time};
use crate::revocation::{NotTaken, RevocationLists};
use crate::webhook::Metrics;

/// The kind of object that carries a list.
const KIND: (&str, &str) = ("countersign.dev", "RevocationList");
/// The version in which it is written.
const VERSION: &str = "v1alpha1";

/// Follows the lists of a cluster, for ever. What does not count is told at the object too. With nobody who may revoke, that
/// lists are there and not obeyed is told.
pub async fn follow_revocations(
    client: Client,
    lists: Result<Arc<RevocationLists>, Arc<Metrics>>,
    events: Option<Events>,
) {
    let (told, mut telling) = mpsc::channel(1);
    tokio::spawn(follow(client, KIND, told));
    while let Some((_, objects)) = telling.recv().await {
        for object in objects.values() {
            let refused = match &lists {
                Ok(lists) => offer(lists, object).await.err().map(|error| error.to_string()),
                Err(metrics) => Some(unheard(metrics, object)),
            };
            if let (Some(note), Some(events), Some(regarding)) =
                (refused, &events, ObjectRef::of(&object.value))
            {
                let (reason, doing) = (Reason::RevocationListRefused, Doing::Refused);
                events.tell(Event { regarding, related: None, reason, doing, note });
            }
        }
    }
}

/// The object that carries a signed list.
#[must_use]
pub fn revocation_object(name: &str, list: &str) -> Value {
    json!({
        "apiVersion": format!("{}/{VERSION}", KIND.0),
        "kind": KIND.1,
        "metadata": { "name": name },
        "spec": { "list": list },
    })
}

/// Puts a signed list into a cluster, as `kubectl apply --server-side` does.
///
/// # Errors
/// [`ApiError`], whatever is missing: the kind, the right, or the API server.
pub async fn put_revocations(client: &Client, name: &str, list: &str) -> Result<(), ApiError> {
    let kind = GroupVersionKind::gvk(KIND.0, VERSION, KIND.1);
    let resource = ApiResource::from_gvk_with_plural(&kind, "revocationlists");
    let all = Api::<DynamicObject>::all_with(client.clone(), &resource);
    // As kubectl calls itself: the two ways take turns, and neither is a conflict for the other.
    let params = PatchParams::apply("kubectl").force();
    match in_time(all.patch(name, &params, &Patch::Apply(revocation_object(name, list)))).await {
        Ok(_) => Ok(()),
        Err(Trouble::NotFound) => Err(ApiError(format!(
            "it has no kind {} ({}): the webhook's definitions are not there",
            KIND.1, KIND.0
        ))),
        Err(trouble) => Err(ApiError(trouble.to_string())),
    }
}

/// Looks at the lists of a cluster as they are now, and gives what does not count.
///
/// # Errors
/// [`ApiError`]: they cannot be read, so nobody knows what is revoked.
pub async fn look_at_revocations(
    client: &Client,
    lists: &RevocationLists,
) -> Result<Vec<NotTaken>, ApiError> {
    let mut refused = Vec::new();
    for object in read(client, KIND, "revocation lists").await?.values() {
        refused.extend(offer(lists, object).await.err());
    }
    Ok(refused)
}

async fn offer(lists: &RevocationLists, object: &Document) -> Result<bool, NotTaken> {
    let from = name(object);
    match object.value.pointer("/spec/list").and_then(|list| list.as_str()) {
        Some(list) => lists.offer(&from, list.as_bytes()).await,
        None => Err(lists.refuse(from, "expected a signed list as spec.list, found none".into())),
    }
}

fn unheard(metrics: &Metrics, object: &Document) -> String {
    const WHY: &str =
        "the list is not obeyed: nobody is named who may revoke; start the webhook with --revocation-key KEY";
    metrics.revocations_refused();
    tracing::error!(from = name(object), "{WHY}");
    WHY.into()
}

fn name(object: &Document) -> String {
    let name = object.value.pointer("/metadata/name").and_then(|name| name.as_str());
    format!("RevocationList {}", name.unwrap_or_default())
}
