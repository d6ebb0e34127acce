//! Reports: what stands in them, when they are written, and when they go.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use countersign_clock::{ManualClock, Timestamp};
use countersign_kubernetes::api::{ReportOptions, Reports, reports};
use countersign_kubernetes::continuous::{Judge, Judging, Metrics, News, Options, Origin, Sinks, Verifier};
use countersign_kubernetes::policy_report::Family;
use countersign_kubernetes::scan::{
    Control, ControlResult, ImageResult, Resource, ResourceName, ResourceResult, Status,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api_server::ApiServer;

const POLICY_REPORTS: &str = "/apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports/";
const REPORTS: &str = "/apis/openreports.io/v1alpha1/namespaces/shop/reports/";
const STALE: Duration = Duration::from_secs(1800);

/// A cluster that has these families.
fn cluster(families: &[Family]) -> ApiServer {
    let server = ApiServer::default();
    families.iter().for_each(|family| install(&server, *family));
    server
}

fn install(server: &ApiServer, family: Family) {
    let name = if family == Family::OpenReports { "reports" } else { "policyreports" };
    let resource =
        json!({"name": name, "singularName": "", "namespaced": true, "kind": family.kind(true), "verbs": []});
    let list =
        json!({"kind": "APIResourceList", "groupVersion": family.api_version(), "resources": [resource]});
    server.put(&format!("/apis/{}", family.api_version()), list);
}

fn start(server: &ApiServer, families: &[Family]) -> (Reports, JoinHandle<()>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let options = ReportOptions { families: families.to_vec(), stale: STALE };
    let (reports, writer) = reports(server.client(), options, clock);
    (reports, tokio::spawn(writer.run()))
}

async fn end((reports, writer): (Reports, JoinHandle<()>)) {
    drop(reports);
    writer.await.unwrap();
}

fn found(name: &str, statuses: &[Status]) -> ResourceResult {
    let images = statuses.iter().enumerate().map(|(number, status)| ImageResult {
        path: format!("spec.containers[{number}].image"),
        list: "containers".into(),
        container: "c".into(),
        image: "r.example/app:1".into(),
        digest: None,
        policy: None,
        status: *status,
        reason: "no_signature".into(),
        message: "it is not signed".into(),
        next: String::new(),
        known: false,
        line: None,
        vulnerabilities: Default::default(),
    });
    ResourceResult {
        resource: ResourceName {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: name.into(),
            source: "cluster".into(),
        },
        controls: vec![ControlResult::new(Control::SignatureExists, images.collect())],
    }
}

fn names(server: &ApiServer, below: &str) -> Vec<String> {
    let objects = server.objects(below);
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_report_says_of_what_it_is_and_what_was_found() {
    let server = cluster(&Family::ALL);
    let running = start(&server, &Family::ALL);
    running
        .0
        .put("u1", &found("app", &[Status::Passed, Status::Failed, Status::Unchecked, Status::Excepted]));
    running.0.put("", &found("in-a-file", &[Status::Failed]));
    end(running).await;
    for (family, path, kind) in [
        ("wgpolicyk8s.io/v1alpha2", POLICY_REPORTS, "PolicyReport"),
        ("openreports.io/v1alpha1", REPORTS, "Report"),
    ] {
        let [report] = server.objects(path).try_into().unwrap();
        assert_eq!((&report["apiVersion"], &report["kind"]), (&json!(family), &json!(kind)));
        assert_eq!(report["metadata"]["name"], "countersign-u1");
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "app", "uid": "u1"}]);
        assert_eq!(report["metadata"]["ownerReferences"], owner);
        assert_eq!(report["scope"]["uid"], "u1");
        assert_eq!(report["summary"], json!({"pass": 1, "fail": 1, "warn": 0, "error": 1, "skip": 1}));
        let results = report["results"].as_array().unwrap();
        let outcomes: Vec<&Value> = results.iter().map(|result| &result["result"]).collect();
        assert_eq!(outcomes, ["fail", "error", "pass", "skip"], "the worst first");
        let first = &results[0];
        assert_eq!((&first["policy"], &first["severity"]), (&json!("C-0237"), &json!("high")));
        assert_eq!(first["timestamp"], json!({"seconds": 1_800_000_000, "nanos": 0}));
        assert_eq!(first["properties"]["image"], "r.example/app:1");
    }
    assert_eq!(server.asked("fieldManager=countersign"), 2);
}

#[tokio::test(start_paused = true)]
async fn each_family_alone_can_be_chosen_and_only_what_the_cluster_has_is_written() {
    let one = || found("app", &[Status::Passed]);
    for (has, may, expected) in [
        (&Family::ALL[..], &[Family::PolicyReport][..], (1, 0)),
        (&Family::ALL[..], &[Family::OpenReports][..], (0, 1)),
        (&[Family::OpenReports][..], &Family::ALL[..], (0, 1)),
        (&[Family::PolicyReport][..], &Family::ALL[..], (1, 0)),
        (&[][..], &Family::ALL[..], (0, 0)),
    ] {
        let server = cluster(has);
        let running = start(&server, may);
        running.0.put("u1", &one());
        end(running).await;
        assert_eq!((server.objects(POLICY_REPORTS).len(), server.objects(REPORTS).len()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_written_when_something_changed_and_not_again_after_a_restart() {
    let server = cluster(&[Family::PolicyReport]);
    let running = start(&server, &Family::ALL);
    for status in [Status::Failed, Status::Failed, Status::Passed, Status::Passed] {
        running.0.put("u1", &found("app", &[status]));
        // A minute between two looks.
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(server.asked("PATCH"), 2);
    end(running).await;

    let again = start(&server, &Family::ALL);
    again.0.put("u1", &found("app", &[Status::Passed]));
    end(again).await;
    assert_eq!(server.asked("PATCH"), 0, "the earlier run's reports are known");
}

#[tokio::test(start_paused = true)]
async fn of_what_waits_the_newest_alone_is_written_and_not_too_fast() {
    let server = cluster(&[Family::PolicyReport]);
    let running = start(&server, &Family::ALL);
    for _ in 0..3 {
        for number in 0..450 {
            running.0.put(&format!("u{number}"), &found("app", &[Status::Failed]));
        }
    }
    let before = tokio::time::Instant::now();
    end(running).await;
    assert_eq!(server.asked("PATCH"), 450);
    // A burst of 50, then twenty in a second.
    assert_eq!(before.elapsed().as_secs(), (450 - 50) / 20);
}

#[tokio::test(start_paused = true)]
async fn what_nothing_is_found_of_any_more_loses_its_report() {
    let server = cluster(&[Family::PolicyReport]);
    let running = start(&server, &Family::ALL);
    for uid in ["u1", "u2", "u3"] {
        running.0.put(uid, &found(uid, &[Status::Failed]));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // No policy is about it any more; it is gone; somebody else was faster.
    running.0.put("u1", &ResourceResult { controls: Vec::new(), ..found("u1", &[]) });
    running.0.remove("u2", &found("u2", &[]).resource);
    server.refuse("DELETE", StatusCode::NOT_FOUND, 1);
    let counts = running.0.counts().clone();
    end(running).await;
    assert_eq!(server.asked("DELETE"), 2);
    assert_eq!((counts.removed.get(), counts.failed.get()), (1, 0));
    assert!(names(&server, POLICY_REPORTS).contains(&"countersign-u3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_goes_when_nobody_puts_it_and_never_by_an_idle_replica() {
    let server = cluster(&[Family::PolicyReport]);
    let earlier = start(&server, &Family::ALL);
    earlier.0.put("old", &found("old", &[Status::Failed]));
    earlier.0.put("app", &found("app", &[Status::Failed]));
    end(earlier).await;
    // Somebody else's, and what a scan printed.
    for name in ["u1", "countersign-scan"] {
        let labels = json!({"app.kubernetes.io/managed-by": "countersign"});
        server.put(
            &format!("{POLICY_REPORTS}{name}"),
            json!({"apiVersion": "wgpolicyk8s.io/v1alpha2",
            "kind": "PolicyReport", "metadata": {"name": name, "namespace": "shop", "labels": labels}}),
        );
    }
    let (busy, idle) = (start(&server, &Family::ALL), start(&server, &Family::ALL));
    for _ in 0..3 {
        busy.0.put("app", &found("app", &[Status::Failed]));
        tokio::time::sleep(STALE / 2).await;
    }
    assert_eq!(names(&server, POLICY_REPORTS), ["countersign-app", "countersign-scan", "u1"]);
    assert_eq!(server.asked("DELETE"), 1);
    end(busy).await;
    tokio::time::sleep(STALE * 3).await;
    assert_eq!(server.asked("DELETE"), 0, "whoever judges nothing takes nothing away");
    end(idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_somebody_takes_away_is_there_again() {
    let server = cluster(&[Family::PolicyReport]);
    let running = start(&server, &Family::ALL);
    running.0.put("u1", &found("app", &[Status::Failed]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.remove(&format!("{POLICY_REPORTS}countersign-u1"));
    // Something is put all the time, so that nobody wakes up to look.
    for _ in 0..22 {
        running.0.put("u1", &found("app", &[Status::Failed]));
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(names(&server, POLICY_REPORTS), ["countersign-u1"]);
    assert_eq!(server.asked("PATCH"), 2);
    end(running).await;
}

#[tokio::test(start_paused = true)]
async fn reports_begin_and_end_with_their_definitions() {
    let server = cluster(&[]);
    let running = start(&server, &Family::ALL);
    running.0.put("u1", &found("app", &[Status::Failed]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.asked("PATCH"), 0);
    install(&server, Family::OpenReports);
    tokio::time::sleep(Duration::from_secs(61)).await;
    running.0.put("u1", &found("app", &[Status::Failed]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&server, REPORTS), ["countersign-u1"]);
    server.refuse("GET /apis/openreports.io/v1alpha1", StatusCode::NOT_FOUND, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.0.put("u1", &found("app", &[Status::Passed]));
    end(running).await;
    assert_eq!(server.asked("PATCH"), 1, "the one before the definition went");
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_or_a_conflict_is_tried_again_when_it_is_put_again() {
    let server = cluster(&[Family::PolicyReport]);
    for status in [StatusCode::FORBIDDEN, StatusCode::CONFLICT] {
        server.refuse("PATCH", status, 1);
    }
    let running = start(&server, &Family::ALL);
    for _ in 0..3 {
        running.0.put("u1", &found("app", &[Status::Failed]));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let counts = running.0.counts().clone();
    end(running).await;
    assert_eq!((counts.failed.get(), counts.written.get()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_takes_over_reads_what_another_has_written() {
    let server = cluster(&[Family::PolicyReport]);
    let standby = start(&server, &Family::ALL);
    tokio::time::sleep(STALE).await;
    let first = start(&server, &Family::ALL);
    first.0.put("app", &found("app", &[Status::Failed]));
    first.0.put("other", &found("other", &[Status::Failed]));
    end(first).await;
    assert_eq!(server.asked("PATCH"), 2);
    standby.0.put("app", &found("app", &[Status::Failed]));
    // Others have their turn before anything is taken away.
    tokio::time::sleep(STALE / 2).await;
    assert_eq!((server.asked("PATCH"), names(&server, POLICY_REPORTS).len()), (0, 2));
    standby.0.put("app", &found("app", &[Status::Passed]));
    end(standby).await;
    assert_eq!(server.asked("PATCH"), 1);
}

/// Says that nothing is signed.
#[derive(Debug)]
struct Unsigned;

impl Judge for Unsigned {
    fn judge(&self, resource: Resource, _: Instant) -> Judging<'_> {
        Box::pin(async move { Some(found(&resource.name.name, &[Status::Failed])) })
    }

    fn needs_objects(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_gone_or_has_ended_loses_its_report_at_once() {
    let server = cluster(&[Family::PolicyReport]);
    let running = start(&server, &Family::ALL);
    let metrics = Metrics::default();
    let sinks = Arc::new(Sinks::start(Vec::new(), &metrics));
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let verifier = Verifier::new(Options::default(), Arc::new(Unsigned), sinks, metrics, clock);
    let (news, telling) = mpsc::channel(4);
    tokio::spawn(verifier.reporting(Some(running.0.clone())).run(telling));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": "shop", "uid": "u1"},
        "spec": {"containers": [{"name": "a", "image": "r.example/app:1"}]}});
    let pod = Resource::of(pod, "cluster").unwrap();
    let origin = Origin::from("pods");
    news.send(News::There(origin.clone(), Box::new(pod.clone()))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&server, POLICY_REPORTS), ["countersign-u1"]);
    news.send(News::Gone(origin, pod.name)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(names(&server, POLICY_REPORTS).is_empty());
}
