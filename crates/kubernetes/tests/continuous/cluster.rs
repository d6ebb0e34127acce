//! What a cluster runs, watched; and alerts as events there.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use countersign_client::policy::Cluster as _;
use countersign_clock::{ManualClock, Timestamp};
use countersign_kubernetes::api::{ApiCluster, Client, Namespaces, Reporter, Watching, events};
use countersign_kubernetes::continuous::sink::event::{EventSink, at_workload};
use countersign_kubernetes::continuous::{News, Origin, Sink as _};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::alert;

/// An API server with pods alone: those that are there, and what becomes of them. Deployments it does not show.
struct Server {
    client: Client,
    /// `null` ends the connection of the watch in the middle of a line.
    changes: mpsc::UnboundedSender<Value>,
    /// How many watches of pods it will refuse.
    refuses: Arc<AtomicUsize>,
    written: mpsc::UnboundedReceiver<Value>,
}

fn server(pods: Vec<Value>) -> Server {
    let (changes, changed) = mpsc::unbounded_channel::<Value>();
    let (to, written) = mpsc::unbounded_channel();
    let changed = Arc::new(tokio::sync::Mutex::new(changed));
    let refuses = Arc::<AtomicUsize>::default();
    let left = Arc::clone(&refuses);
    let router = Router::new().fallback(move |request: Request| {
        let (changed, pods, to, left) = (Arc::clone(&changed), pods.clone(), to.clone(), Arc::clone(&left));
        async move {
            let (parts, body) = request.into_parts();
            let watches = parts.uri.query().unwrap_or_default().contains("watch=true");
            let plural = parts.uri.path().rsplit('/').next().unwrap().to_owned();
            if parts.method == Method::POST {
                let body = to_bytes(body, 1 << 20).await.unwrap();
                to.send(serde_json::from_slice(&body).unwrap()).unwrap();
                return ([("content-type", "application/json")], body).into_response();
            }
            match (plural.as_str(), watches) {
                ("deployments", _) => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                        "reason": "Forbidden", "message": "deployments is forbidden"});
                    (StatusCode::FORBIDDEN, status.to_string()).into_response()
                }
                // One namespace by itself has other labels, so that it is seen who was asked.
                ("shop", _) => labelled("asked").to_string().into_response(),
                ("namespaces", false) => {
                    let list = json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
                        "items": [labelled("watched")]});
                    list.to_string().into_response()
                }
                ("pods", true)
                    if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() =>
                {
                    (StatusCode::SERVICE_UNAVAILABLE, "the server is starting").into_response()
                }
                ("pods" | "namespaces", true) => {
                    let lines = stream::unfold(changed, async |changed| {
                        let change = changed.lock().await.recv().await?;
                        let line = match change {
                            Value::Null => Err(std::io::Error::other("the connection ends")),
                            change => Ok(Bytes::from(format!("{change}\n"))),
                        };
                        Some((line, changed))
                    });
                    Response::new(Body::from_stream(lines))
                }
                (_, true) => Response::new(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())),
                (_, false) => {
                    let items = if plural == "pods" { pods } else { Vec::new() };
                    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
                    ([("content-type", "application/json")], list.to_string()).into_response()
                }
            }
        }
    });
    Server { client: Client::new(router, "default"), changes, refuses, written }
}

fn pod(name: &str, namespace: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "2"},
        "spec": {"serviceAccountName": "robot", "containers": [{"name": "a", "image": "r.example/a:1"}]},
        "status": {"phase": phase}})
}

fn labelled(by: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"by": by}}})
}

fn watching(namespaces: Namespaces) -> Watching {
    Watching { namespaces, secrets: true }
}

/// The next news that is about something, in words.
async fn next(news: &mut mpsc::Receiver<News>) -> String {
    loop {
        match news.recv().await.unwrap() {
            News::There(_, resource) => {
                let accounts = resource.access.service_accounts.len();
                let images =
                    resource.images.map_or_else(|e| e.to_string(), |images| images.len().to_string());
                return format!("there {} {images} {accounts}", resource.name);
            }
            News::Gone(_, name) => return format!("gone {name}"),
            News::Begun(_) | News::Read(_) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pods_are_told_of_as_they_come_change_and_go_and_what_cannot_be_watched_is_told_too() {
    let server = server(vec![
        pod("one", "shop", "Running"),
        pod("done", "shop", "Succeeded"),
        pod("off", "dev", "Running"),
    ]);
    let (to, mut news) = mpsc::channel(64);
    let namespaces = Namespaces { excluded: ["dev".to_owned()].into(), ..Namespaces::default() };
    tokio::spawn(watching(namespaces).run(server.client.clone(), to));
    let mut first = vec![next(&mut news).await, next(&mut news).await, next(&mut news).await];
    first.sort();
    assert_eq!(first[0], "gone Pod/shop/done");
    assert!(
        first[1].starts_with("there Deployment/*") && first[1].contains("could not be listed"),
        "{first:?}"
    );
    assert_eq!(first[2], "there Pod/shop/one 1 1", "with the pull secrets of its account");
    for (kind, object, told) in [
        ("ADDED", pod("two", "shop", "Pending"), "there Pod/shop/two 1 1"),
        ("ADDED", pod("hidden", "dev", "Running"), ""),
        ("MODIFIED", pod("two", "shop", "Failed"), "gone Pod/shop/two"),
        ("DELETED", pod("one", "shop", "Running"), "gone Pod/shop/one"),
    ] {
        server.changes.send(json!({"type": kind, "object": object})).unwrap();
        while !told.is_empty() {
            // A kind that cannot be watched is tried again, and told again.
            let next = next(&mut news).await;
            if !next.starts_with("there Deployment/*") {
                assert_eq!(next, told);
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_is_taken_up_again_and_what_could_not_be_watched_is_looked_at_again() {
    let server = server(vec![pod("one", "shop", "Running")]);
    let (to, mut news) = mpsc::channel(64);
    tokio::spawn(watching(Namespaces::default()).run(server.client.clone(), to));
    let mut of_pods = async || loop {
        let told = match news.recv().await.unwrap() {
            News::There(_, resource) if resource.name.kind == "Pod" => format!("there {}", resource.name),
            News::Read(origin) if origin == Origin::from("pods ") => "read".to_owned(),
            _ => continue,
        };
        return told;
    };
    assert_eq!((of_pods().await, of_pods().await), ("there Pod/shop/one".into(), "read".into()));
    // A connection that ends is no news.
    server.changes.send(Value::Null).unwrap();
    server.changes.send(json!({"type": "ADDED", "object": pod("two", "shop", "Running")})).unwrap();
    assert_eq!(of_pods().await, "there Pod/shop/two");
    // One that cannot be had again is, until the list was read anew.
    server.refuses.store(1, SeqCst);
    server.changes.send(Value::Null).unwrap();
    let told = [of_pods().await, of_pods().await, of_pods().await];
    assert_eq!(
        told,
        ["there Pod/*", "there Pod/shop/one", "read"],
        "what stood for all pods is gone with that"
    );
}

#[tokio::test(start_paused = true)]
async fn labels_of_namespaces_come_from_the_watch_again_after_it_broke() {
    let server = server(Vec::new());
    let cluster = ApiCluster::new(server.client.clone());
    tokio::spawn(cluster.clone().watch_namespaces());
    let until = async |by: &str| {
        let told = async {
            while cluster.namespace_labels("shop").await.unwrap()["by"] != by {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    };
    until("watched").await;
    server.changes.send(Value::Null).unwrap();
    until("asked").await;
    until("watched").await;
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_an_event_at_its_workload() {
    let mut server = server(Vec::new());
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let reporter = Reporter { controller: "countersign.dev/admission".into(), instance: "a".into() };
    let (events, writer) = events(server.client.clone(), reporter, clock);
    tokio::spawn(writer.run());
    EventSink::new(events, at_workload).send(&[alert("web").await]).await.unwrap();
    let event = server.written.recv().await.unwrap();
    assert_eq!((&event["reason"], &event["type"]), (&"PolicyViolation".into(), &"Warning".into()));
    assert_eq!(
        (&event["regarding"]["kind"], &event["regarding"]["name"]),
        (&"Deployment".into(), &"web".into())
    );
    assert_eq!(
        event["note"],
        "Check if signature exists: r.example/bad:1: expected a signature, found none; next: countersign tree"
    );
}
