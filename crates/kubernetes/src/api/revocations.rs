//! The revocation lists of a cluster, followed as they change.

use std::sync::Arc;

use kube::Client;
use tokio::sync::mpsc;

use super::follow::follow;
use crate::revocation::RevocationLists;
use crate::webhook::Metrics;

/// The kind of object that carries a list.
const KIND: (&str, &str) = ("countersign.dev", "RevocationList");

/// Follows the lists of a cluster, for ever. With nobody who may revoke, that lists are there and not obeyed is told.
pub async fn follow_revocations(client: Client, lists: Result<Arc<RevocationLists>, Arc<Metrics>>) {
    let (told, mut telling) = mpsc::channel(1);
    tokio::spawn(follow(client, KIND, told));
    while let Some((_, objects)) = telling.recv().await {
        for (name, object) in &objects {
            let from = format!("RevocationList {}", name.trim_start_matches('/'));
            match (&lists, object.value.pointer("/spec/list").and_then(|list| list.as_str())) {
                (Ok(lists), Some(list)) => drop(lists.offer(&from, list.as_bytes()).await),
                (Ok(lists), None) => lists.tell(&from, "expected a signed list as spec.list, found none"),
                (Err(metrics), _) => {
                    metrics.revocations_refused();
                    tracing::error!(
                        from,
                        "the list is not obeyed: nobody is named who may revoke; start with --revocation-key KEY"
                    );
                }
            }
        }
    }
}
