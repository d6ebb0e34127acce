//! Events: the same once, held back, and never in the way of whoever tells them.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use countersign_clock::{ManualClock, Timestamp};
use countersign_kubernetes::api::{Doing, Event, EventError, Events, ObjectRef, Reason, Reporter, events};
use countersign_kubernetes::continuous::sink::event::EventSink;
use countersign_kubernetes::continuous::{Metrics, Sink, Sinks, Told};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api_server::ApiServer;

const SHOP: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

fn start(server: &ApiServer, instance: &str) -> (Events, JoinHandle<()>) {
    let reporter = Reporter { controller: "countersign.dev/admission".into(), instance: instance.into() };
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let (events, writer) = events(server.client(), reporter, clock);
    (events, tokio::spawn(writer.run()))
}

/// Waits until all that was told is written.
async fn end((events, writer): (Events, JoinHandle<()>)) {
    drop(events);
    writer.await.unwrap();
}

fn event(name: &str, note: &str) -> Event {
    Event {
        regarding: ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: name.into(),
            uid: "u".into(),
        },
        related: None,
        reason: Reason::PolicyViolation,
        doing: Doing::Refused,
        note: note.into(),
    }
}

fn count(event: &Value) -> i64 {
    event["series"]["count"].as_i64().unwrap_or(1)
}

#[tokio::test(start_paused = true)]
async fn an_event_says_what_the_api_wants_to_know() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    let mut told = event("app", &format!("first\nsecond {}", "é".repeat(600)));
    told.related =
        Some(ObjectRef { kind: "ImagePolicy".into(), name: "signed".into(), ..ObjectRef::default() });
    running.0.tell(told);
    let mut of_cluster = event("signed", "a");
    (of_cluster.regarding.namespace, of_cluster.reason) = (String::new(), Reason::ImageVerified);
    running.0.tell(of_cluster);
    end(running).await;

    let found = server.objects(SHOP).remove(0);
    assert_eq!(
        found["regarding"],
        json!({"apiVersion": "v1", "kind": "Pod", "name": "app", "namespace": "shop", "uid": "u"})
    );
    assert_eq!(found["related"], json!({"kind": "ImagePolicy", "name": "signed"}));
    assert_eq!((&found["type"], &found["reason"]), (&json!("Warning"), &json!("PolicyViolation")));
    assert_eq!((&found["action"], &found["reportingInstance"]), (&json!("Refused"), &json!("pod-1")));
    assert_eq!(found["reportingController"], "countersign.dev/admission");
    assert_eq!(found["eventTime"], "2027-01-15T08:00:00.000000Z");
    assert!(found.get("series").is_none());
    let note = found["note"].as_str().unwrap();
    assert!(note.len() <= 1024 && note.starts_with("first; second é") && note.ends_with('…'), "{note}");
    let default = server.objects("/apis/events.k8s.io/v1/namespaces/default/events");
    assert_eq!(default[0]["type"], "Normal");
}

#[tokio::test(start_paused = true)]
async fn the_same_is_one_event_with_a_count() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    for told in
        [event("app", "a"), event("app", "a"), event("app", "b"), event("other", "a"), event("app", "a")]
    {
        running.0.tell(told);
    }
    let counts = running.0.counts().clone();
    end(running).await;
    let mut found: Vec<i64> = server.objects(SHOP).iter().map(count).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 1, 3]);
    assert_eq!((counts.written.get(), counts.repeated.get()), (4, 2), "three made, one counted once");
    assert_eq!(server.asked("POST"), 4, "the one that is there already is tried too");
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_is_counted_once_a_minute() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    for _ in 0..3 {
        for _ in 0..100 {
            running.0.tell(event("app", "a"));
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(server.objects(SHOP).iter().map(count).collect::<Vec<_>>(), [300]);
    assert!(server.asked("") <= 10);
    end(running).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_and_restarts_count_in_the_same_event() {
    let server = ApiServer::default();
    let (one, two) = (start(&server, "pod-1"), start(&server, "pod-2"));
    one.0.tell(event("app", "a"));
    two.0.tell(event("app", "a"));
    end(one).await;
    end(two).await;
    let again = start(&server, "pod-1");
    again.0.tell(event("app", "a"));
    end(again).await;
    assert_eq!(server.objects(SHOP).iter().map(count).collect::<Vec<_>>(), [3]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_another_replica_counts_too_is_read_again() {
    let server = ApiServer::default();
    let one = start(&server, "pod-1");
    one.0.tell(event("app", "a"));
    end(one).await;
    server.refuse("PUT ", StatusCode::CONFLICT, 1);
    let two = start(&server, "pod-2");
    two.0.tell(event("app", "a"));
    end(two).await;
    assert_eq!(server.objects(SHOP).iter().map(count).collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn writing_is_held_back_and_the_queue_has_an_end() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    let before = Instant::now();
    // The writer has not run yet: nothing has been taken out.
    for number in 0..2000 {
        running.0.tell(event("app", &number.to_string()));
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits");
    let counts = running.0.counts().clone();
    assert_eq!(counts.dropped.get(), 2000 - 1024);
    end(running).await;
    assert_eq!(server.objects(SHOP).len(), 1024);
    // A burst of 25, then five in a second.
    assert_eq!(before.elapsed().as_secs(), (1024 - 25) / 5);
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_loses_events_and_nothing_else() {
    let server = ApiServer::default();
    server.refuse("POST ", StatusCode::FORBIDDEN, 2);
    let running = start(&server, "pod-1");
    for note in ["a", "b", "c", "a"] {
        running.0.tell(event("app", note));
    }
    let counts = running.0.counts().clone();
    end(running).await;
    assert_eq!(
        (counts.failed.get(), counts.written.get()),
        (2, 2),
        "what failed is tried when it is told again"
    );
    assert_eq!(server.objects(SHOP).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_must_know_hears_whether_an_event_is_written() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    running.0.write(event("app", "a")).await.unwrap();
    assert_eq!(server.objects(SHOP).len(), 1, "it is written when that is said");
    for (status, now) in [
        (StatusCode::SERVICE_UNAVAILABLE, true),
        (StatusCode::TOO_MANY_REQUESTS, true),
        (StatusCode::INTERNAL_SERVER_ERROR, true),
        (StatusCode::FORBIDDEN, false),
        (StatusCode::NOT_FOUND, false),
        (StatusCode::UNPROCESSABLE_ENTITY, false),
    ] {
        server.refuse("POST ", status, 1);
        let error = running.0.write(event("app", "b")).await.unwrap_err();
        assert_eq!(matches!(error, EventError::NotNow(_)), now, "{status}: {error}");
    }
    assert_eq!(server.objects(SHOP).len(), 1);
    running.0.write(event("app", "b")).await.unwrap();
    let mut missing = event("app", "c");
    missing.regarding.namespace = "gone".into();
    server.refuse("/namespaces/gone/", StatusCode::NOT_FOUND, 1);
    let error = running.0.write(missing).await.unwrap_err().to_string();
    assert!(error.contains("expected a namespace gone"), "{error}");
    let (events, writer) = running;
    writer.abort();
    assert!(writer.await.is_err());
    assert!(matches!(events.write(event("app", "d")).await, Err(EventError::NotNow(_))));
    assert_eq!(server.objects(SHOP).len(), 2);
}

/// Something that is told, and which is about no workload.
#[derive(Debug, serde::Serialize)]
struct Word(&'static str);

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl Told for Word {
    fn subject(_: &[Arc<Self>]) -> String {
        String::new()
    }

    fn note(&self) {}
}

#[tokio::test(start_paused = true)]
async fn any_alert_may_be_an_event_and_is_told_again_until_it_is_written() {
    let server = ApiServer::default();
    let running = start(&server, "pod-1");
    let event = |word: &Word| {
        let (regarding, reason) = (ObjectRef::of_namespace(word.0)?, Reason::Alarm("LogForked"));
        Some(Event { regarding, reason, ..event("", "it shows two histories") })
    };
    let sink = EventSink::new(running.0.clone(), event);
    server.refuse("/namespaces/second/", StatusCode::INTERNAL_SERVER_ERROR, 3);
    let sinks = Sinks::start(vec![Arc::new(sink) as Arc<dyn Sink<Word>>], &Metrics::default());
    for word in ["first", "Of no namespace", "second", "third"] {
        sinks.tell(Word(word));
    }
    sinks.finish(Duration::from_secs(60)).await;
    drop(sinks);
    end(running).await;
    let found = server.objects("/apis/events.k8s.io/v1/");
    let of = |event: &Value| {
        assert_eq!((&event["reason"], &event["type"]), (&json!("LogForked"), &json!("Warning")));
        let namespace = event["metadata"]["namespace"].clone();
        let regarding =
            json!({"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace});
        assert_eq!(event["regarding"], regarding);
        (namespace, count(event))
    };
    // What was written before another was not taken is not written again.
    let once = ["first", "second", "third"].map(|name| (json!(name), 1));
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), once);
}
