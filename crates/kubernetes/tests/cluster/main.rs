//! What a cluster runs, listed from an API server in the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[expect(dead_code, reason = "shared with the tests of the program, which need more of it")]
mod api_server;

use std::collections::BTreeSet;

use api_server::{ApiServer, pod, workload};
use countersign_kubernetes::api::{
    Client, Listing, Namespaces, NotListed, Pages, WorkloadKind, read_policies,
};
use countersign_kubernetes::scan::Resource;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

fn client(server: &ApiServer) -> Client {
    let config = kube::Config::new(server.url.parse().unwrap());
    Client::try_from(config).unwrap()
}

fn kind(name: &str) -> WorkloadKind {
    WorkloadKind::parse(name).unwrap()
}

fn namespaces(included: &[&str], excluded: &[&str]) -> Namespaces {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    Namespaces { included: set(included), excluded: set(excluded) }
}

/// The names of all objects of a kind, and what could not be listed.
async fn names(server: &ApiServer, of: &str, namespaces: Namespaces) -> (Vec<String>, Vec<NotListed>) {
    let mut pages = Pages::new(client(server), kind(of), namespaces);
    let (mut names, mut missing) = (Vec::new(), Vec::new());
    loop {
        match pages.next().await {
            Ok(None) => return (names, missing),
            Ok(Some(objects)) => {
                names.extend(
                    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()),
                );
            }
            Err(error) => missing.push(error),
        }
    }
}

async fn many(count: usize) -> ApiServer {
    let server = ApiServer::start().await;
    for number in 0..count {
        server.put("pods", pod(&format!("p{number:05}"), "r.example/app:1", None, None));
    }
    server
}

fn all(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p{number:05}")).collect()
}

#[tokio::test]
async fn long_lists_come_in_pages_and_nothing_twice_when_one_is_begun_anew() {
    let server = many(1201).await;
    assert_eq!(names(&server, "Pod", Namespaces::default()).await, (all(1201), vec![]));
    assert_eq!(server.seen().len(), 3);
    assert!(server.seen()[0].contains("limit=500") && server.seen()[1].contains("continue=500"));

    server.forget(2);
    assert_eq!(names(&server, "Pod", Namespaces::default()).await, (all(1201), vec![]));
    // A server that forgets for ever is not asked for ever.
    server.forget(100);
    let (some, missing) = names(&server, "Pod", Namespaces::default()).await;
    assert_eq!((some.len(), missing.len()), (500, 1), "{missing:?}");
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    let server = many(2).await;
    server.busy(1);
    assert_eq!(names(&server, "Pod", Namespaces::default()).await, (all(2), vec![]));
}

#[tokio::test]
async fn namespaces_are_chosen_by_the_server_and_each_is_asked_for_by_itself() {
    let server = ApiServer::start().await;
    for (name, namespace) in [("a", "prod"), ("b", "dev"), ("c", "kube-system")] {
        let mut object = pod(name, "r.example/app:1", None, None);
        object["metadata"]["namespace"] = namespace.into();
        server.put("pods", object);
    }
    let chosen = async |included: &[&str], excluded: &[&str]| {
        names(&server, "Pod", namespaces(included, excluded)).await.0
    };
    assert_eq!(chosen(&[], &[]).await, ["a", "b", "c"]);
    assert_eq!(chosen(&["dev", "prod"], &[]).await, ["b", "a"]);
    assert_eq!(chosen(&[], &["kube-system"]).await, ["a", "b"]);
    assert!(server.seen().iter().any(|asked| asked.contains("metadata.namespace%21%3Dkube-system")));
    assert_eq!(chosen(&["dev", "prod"], &["prod"]).await, ["b"]);

    server.forbid("dev/pods");
    let (some, missing) = names(&server, "Pod", namespaces(&["dev", "prod"], &[])).await;
    assert_eq!(some, ["a"], "what may be listed is");
    assert!(missing[0].forbidden && missing[0].namespace.as_deref() == Some("dev"), "{missing:?}");
    let (some, missing) = names(&server, "Pod", namespaces(&["../secrets"], &[])).await;
    assert_eq!((some.len(), missing.len()), (0, 1), "no name of a namespace is put into an address unread");
}

#[tokio::test]
async fn what_says_nothing_of_images_is_left_out() {
    let server = ApiServer::start().await;
    let mut object = pod("a", "r.example/app:1", None, None);
    object["metadata"]["annotations"] =
        json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}", "own": "x" });
    server.put("pods", object);
    let mut pages = Pages::new(client(&server), kind("Pod"), Namespaces::default());
    let object = pages.next().await.unwrap().unwrap().remove(0);
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("v1"), &json!("Pod")));
    assert_eq!(object["metadata"]["annotations"], json!({ "own": "x" }));
    assert!(object["metadata"].get("managedFields").is_none() && object["status"].get("podIP").is_none());
    assert_eq!(object["status"]["containerStatuses"][0]["name"], "main");
}

const A: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const B: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn listed(server: &ApiServer, secrets: bool) -> Vec<Resource> {
    let listing = Listing { namespaces: Namespaces::default(), whole: false, secrets };
    listing.start(client(server)).collect().await
}

/// Each resource with its images: where, which, and the digest that runs.
fn shown(resources: &[Resource]) -> Vec<String> {
    let images = |resource: &Resource| match &resource.images {
        Err(error) => vec![error.message.clone()],
        Ok(images) => images
            .iter()
            .map(|image| {
                let digest = image.running.map(|digest| format!("={}", &digest.to_hex()[..2]));
                format!("{} {}{}", image.path, image.image, digest.unwrap_or_default())
            })
            .collect(),
    };
    resources.iter().map(|resource| format!("{}: {}", resource.name, images(resource).join(", "))).collect()
}

#[tokio::test]
async fn a_finding_is_named_by_the_workload_and_is_about_what_its_pods_run() {
    let server = ApiServer::start().await;
    let image = "r.example/app:1";
    server.put("deployments", workload("shop", "d1", image, None));
    server.put("replicasets", workload("shop-1", "r1", "r.example/app:0", Some(("Deployment", "d1"))));
    server.put("replicasets", workload("shop-2", "r2", image, Some(("Deployment", "d1"))));
    server.put("pods", pod("shop-1-a", "r.example/app:0", Some(B), Some(("ReplicaSet", "r1"))));
    for name in ["shop-2-a", "shop-2-b"] {
        server.put("pods", pod(name, image, Some(A), Some(("ReplicaSet", "r2"))));
    }
    let mut injected = pod("shop-2-c", image, Some(A), Some(("ReplicaSet", "r2")));
    injected["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "proxy", "image": "r.example/proxy:2" }));
    server.put("pods", injected);
    server.put("pods", pod("alone", image, Some(A), None));
    server.put("pods", pod("mirror", image, Some(A), Some(("Node", "n1"))));
    server.put("statefulsets", workload("db", "s1", "r.example/db:1", None));
    let mut ended = pod("job-1-a", image, Some(B), Some(("Job", "j1")));
    ended["status"]["phase"] = "Succeeded".into();
    server.put("pods", ended);
    server.put("jobs", workload("job-1", "j1", image, Some(("CronJob", "c1"))));
    let cron = json!({ "metadata": { "name": "job", "uid": "c1" }, "spec": { "jobTemplate": { "spec": { "template": {
        "spec": { "containers": [{ "name": "main", "image": image }] } } } } } });
    server.put("cronjobs", cron);
    assert_eq!(
        shown(&listed(&server, false).await),
        [
            "Pod/prod/alone: spec.containers[0].image r.example/app:1=44",
            "Pod/prod/mirror: spec.containers[0].image r.example/app:1=44",
            "Deployment/prod/shop: spec.template.spec.containers[0].image r.example/app:0=e3, \
             spec.template.spec.containers[0].image r.example/app:1=44, pods: spec.containers[1].image r.example/proxy:2",
            "StatefulSet/prod/db: spec.template.spec.containers[0].image r.example/db:1",
            "CronJob/prod/job: spec.jobTemplate.spec.template.spec.containers[0].image r.example/app:1",
        ]
    );
}

#[tokio::test]
async fn what_may_not_be_listed_is_told_and_what_runs_of_it_is_not_lost() {
    let server = ApiServer::start().await;
    server.put("replicasets", workload("shop-1", "r1", "r.example/app:1", Some(("Deployment", "d1"))));
    server.put("pods", pod("shop-1-a", "r.example/app:1", Some(A), Some(("ReplicaSet", "r1"))));
    server.put("pods", pod("clone-a", "r.example/app:2", Some(A), Some(("CloneSet", "clones"))));
    server.forbid("deployments");
    let found = shown(&listed(&server, false).await);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].starts_with("Deployment/*: Deployment: could not be listed: deployments is forbidden"),
        "{found:?}"
    );
    assert_eq!(
        found[1..],
        [
            "CloneSet/prod/clones: pods: spec.containers[0].image r.example/app:2=44",
            "Deployment/prod/d1: pods: spec.containers[0].image r.example/app:1=44",
        ]
    );
}

#[tokio::test]
async fn registries_are_asked_with_the_pull_secrets_of_workloads_and_of_their_accounts() {
    let server = ApiServer::start().await;
    let account =
        |name: &str, secrets: Value| json!({ "metadata": { "name": name }, "imagePullSecrets": secrets });
    server.put("serviceaccounts", account("default", json!([])));
    server.put("serviceaccounts", account("puller", json!([{ "name": "of-account" }])));
    for name in ["plain", "plain2", "account", "own"] {
        let mut object = pod(name, "r.example/app:1", None, None);
        if name == "account" {
            object["spec"]["serviceAccountName"] = "puller".into();
        }
        if name == "own" {
            object["spec"]["imagePullSecrets"] = json!([{ "name": "of-pod" }]);
        }
        server.put("pods", object);
    }
    let secrets = |resources: &[Resource]| -> Vec<Vec<String>> {
        resources.iter().map(|r| r.access.secrets.iter().map(ToString::to_string).collect()).collect()
    };
    let found = listed(&server, true).await;
    assert_eq!(secrets(&found), [&[][..], &[], &["prod/of-account".to_owned()], &["prod/of-pod".to_owned()]]);
    assert!(found.iter().all(|resource| resource.access.service_accounts.is_empty()));
    let asked = server.seen().iter().filter(|asked| asked.contains("serviceaccounts")).count();
    assert_eq!(asked, 2, "each account is read once");
    assert!(listed(&server, false).await.iter().all(|resource| resource.access == Default::default()));

    // What may not be read stays to be asked for, and is told then.
    server.forbid("serviceaccounts");
    assert_eq!(listed(&server, true).await[0].access.service_accounts.len(), 1);
}

#[tokio::test]
async fn one_workload_is_found_by_its_name_whoever_made_it() {
    let server = ApiServer::start().await;
    server.put("deployments", workload("shop", "d1", "r.example/app:1", None));
    server.put("replicasets", workload("shop-1", "r1", "r.example/app:1", Some(("Deployment", "d1"))));
    server.put("pods", pod("shop-1-a", "r.example/app:1", Some(A), Some(("ReplicaSet", "r1"))));
    let one = async |of: &str, name: &str, namespace: &str| {
        let listing = Listing { namespaces: namespaces(&[namespace], &[]), whole: false, secrets: false };
        listing
            .one(client(&server), kind(of), name)
            .await
            .map(|found| found.map(|found| shown(&[found]).remove(0)))
    };
    for (of, name, path) in [
        ("deployments", "shop", "spec.template.spec."),
        ("ReplicaSet", "shop-1", "spec.template.spec."),
        ("pod", "shop-1-a", "spec."),
    ] {
        let found = one(of, name, "prod").await.unwrap().unwrap();
        assert!(found.ends_with(&format!(": {path}containers[0].image r.example/app:1=44")), "{found}");
    }
    assert_eq!(one("Deployment", "shop", "dev").await, Ok(None));
    assert_eq!(one("Deployment", "shop-1", "prod").await, Ok(None));
    server.forbid("prod/pods");
    assert!(one("Deployment", "shop", "prod").await.unwrap_err().forbidden, "what runs cannot be told");
}

#[tokio::test]
async fn the_policies_of_a_cluster_are_all_of_them_or_none() {
    let server = ApiServer::start().await;
    assert!(read_policies(&client(&server)).await.unwrap().is_empty());
    server.serve("countersign.dev/v1alpha1", "ImagePolicy", "imagepolicies");
    server.serve("kyverno.io/v1", "ClusterPolicy", "clusterpolicies");
    for number in 0..501 {
        let policy = json!({ "metadata": { "name": format!("p{number}") }, "spec": { "images": ["**"] } });
        server.put("imagepolicies", policy);
    }
    let found = read_policies(&client(&server)).await.unwrap();
    assert_eq!((found.len(), found[0].kind.as_str()), (501, "ImagePolicy"));
    server.forbid("clusterpolicies");
    let error = read_policies(&client(&server)).await.unwrap_err().to_string();
    assert!(error.contains("ClusterPolicy") && error.contains("forbidden"), "{error}");
}

#[tokio::test]
async fn an_api_server_that_has_just_begun_and_shows_few_groups_is_not_one_without_policies() {
    let server = ApiServer::start().await;
    server.serve("countersign.dev/v1alpha1", "ImagePolicy", "imagepolicies");
    server.put("imagepolicies", json!({ "metadata": { "name": "p" }, "spec": { "images": ["**"] } }));
    server.starting(true);
    let error = read_policies(&client(&server)).await.unwrap_err().to_string();
    assert!(error.contains("ImagePolicy") && error.contains("starting"), "{error}");
    server.starting(false);
    assert_eq!(read_policies(&client(&server)).await.unwrap().len(), 1);
}
