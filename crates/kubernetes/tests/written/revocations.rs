//! Revocation lists of a cluster that do not count are told at their objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_kubernetes::api::{Reporter, events, follow_revocations};
use countersign_kubernetes::certificate::Memory;
use countersign_kubernetes::revocation::{RevocationLists, RevocationOptions};
use countersign_kubernetes::webhook::Metrics;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{Entry, Revocation, RevocationAuthority, RevocationList, Target, seal};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::api_server::ApiServer;

/// A cluster with such objects: their names and what is in them.
fn cluster(objects: &[(&str, Option<String>)]) -> ApiServer {
    let server = ApiServer::default();
    let version = json!({"groupVersion": "countersign.dev/v1alpha1", "version": "v1alpha1"});
    server.put(
        "/apis",
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            {"name": "countersign.dev", "versions": [version], "preferredVersion": version}]}),
    );
    server.put(
        "/apis/countersign.dev/v1alpha1",
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "countersign.dev/v1alpha1", "resources": [
            {"name": "revocationlists", "singularName": "", "namespaced": false, "kind": "RevocationList",
                "verbs": ["get", "list", "watch"]}]}),
    );
    for (name, list) in objects {
        let spec = list.as_ref().map_or(json!({}), |list| json!({ "list": list }));
        let object = json!({"metadata": {"name": name, "uid": format!("u-{name}")}, "spec": spec});
        server.put(&format!("/apis/countersign.dev/v1alpha1/revocationlists/{name}"), object);
    }
    server
}

/// The notes of this many events, by the names of the objects which they are about.
async fn told(
    server: &ApiServer,
    lists: Result<Arc<RevocationLists>, Arc<Metrics>>,
    count: usize,
) -> BTreeMap<String, String> {
    let reporter = Reporter { controller: "countersign.dev/admission".into(), instance: "a".into() };
    let (events, writer) = events(server.client(), reporter, Arc::new(SystemClock));
    let tasks =
        [tokio::spawn(writer.run()), tokio::spawn(follow_revocations(server.client(), lists, Some(events)))];
    let written = || server.objects("/apis/events.k8s.io/v1/namespaces/default/");
    while written().len() < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // And no more, although they are seen again and again.
    tokio::time::sleep(Duration::from_secs(20)).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let text = |event: &Value, pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    written()
        .iter()
        .map(|event| {
            let name = text(event, "/regarding/name");
            for (pointer, expected) in [
                ("/regarding/kind", "RevocationList"),
                ("/regarding/uid", &format!("u-{name}")),
                ("/reason", "RevocationListRefused"),
                ("/type", "Warning"),
                ("/action", "Refused"),
            ] {
                assert_eq!(text(event, pointer), expected);
            }
            (name, text(event, "/note"))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_that_does_not_count_is_told_at_its_object_once_and_one_that_counts_is_not() {
    let soc = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let sealed = |number: u64, by: &KeyPair| {
        let now = SystemClock.now();
        let expires = now.checked_add(SignedDuration::from_hours(1)).unwrap();
        // As many as an object carries.
        let entry = |id: u32| Entry {
            id,
            revoke: Some(Revocation {
                target: Target::Digest(HashAlgorithm::Sha256.digest(&id.to_be_bytes()).to_string()),
                since: None,
                until: None,
                expires: None,
            }),
            undo: None,
            reason: "malware".into(),
            by: "soc".into(),
            at: now,
        };
        let list =
            RevocationList { number, issued_at: now, expires, entries: (1..=2900).map(entry).collect() };
        String::from_utf8(seal(&list, by).unwrap()).unwrap()
    };
    let forger = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let server = cluster(&[
        ("a-good", Some(sealed(5, &soc))),
        ("b-old", Some(sealed(4, &soc))),
        ("c-forged", Some(sealed(6, &forger))),
        ("d-empty", None),
    ]);
    let registry = Default::default();
    let source = SourceOptions { registry, cluster: Arc::new(NoCluster), trust: BTreeMap::new() };
    let lists = Arc::new(RevocationLists::new(RevocationOptions {
        authority: RevocationAuthority::new(&[soc.public_key().clone()], &[]).unwrap(),
        material: TrustMaterial::empty(),
        keeper: Arc::<Memory>::default(),
        source: Arc::new(Source::new(source)),
        metrics: Arc::default(),
        clock: Arc::new(SystemClock),
    }));
    let told = told(&server, Ok(Arc::clone(&lists)), 3).await;
    assert_eq!(*lists.changes().borrow(), 5);
    let parts = [
        ("b-old", "expected number 5 or more, found 4"),
        ("c-forged", "not signed by anybody who may revoke"),
        ("d-empty", "expected a signed list as spec.list, found none"),
    ];
    assert_eq!(told.len(), parts.len(), "{told:?}");
    for (name, part) in parts {
        assert!(told[name].contains(part), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn that_nobody_may_revoke_is_told_at_lists_that_are_there() {
    let server = cluster(&[("a", Some("{}".into()))]);
    let told = told(&server, Err(Arc::default()), 1).await;
    assert!(told["a"].contains("--revocation-key KEY"), "{told:?}");
}
