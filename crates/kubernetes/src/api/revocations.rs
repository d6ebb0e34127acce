//! The revocation lists of a cluster: followed as they change, or looked at once.

use std::sync::Arc;

use countersign_policy::Document;
use kube::Client;
use tokio::sync::mpsc;

use super::events::{Doing, Event, Events, Reason};
use super::follow::{follow, read};
use super::{ApiError, ObjectRef};
use crate::revocation::{NotTaken, RevocationLists};
use crate::webhook::Metrics;

/// The kind of object that carries a list.
const KIND: (&str, &str) = ("countersign.dev", "RevocationList");

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
