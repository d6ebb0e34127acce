//! What a real API server asked, once more: `interop/kubernetes/record` recorded it.
//!
//! The recordings name images of `registry.example`; a registry of the test stands in its place. What both faces answer,
//! and what becomes of the object, is kept in `golden/recorded-reviews.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_crypto::encoding::{base64_decode, hex_encode};
use countersign_crypto::{KeyPair, Signer as _};
use countersign_policy::Policy;
use countersign_policy::kyverno::ClusterPolicy;
use serde_json::{Value, json};

use crate::support::{Hook, Registry, Reviewed, key, signed_by};

/// The registry in the recordings.
const RECORDED: &str = "registry.example";
/// The fewest recordings that there are.
const RECORDINGS: usize = 50;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn recordings() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder("reviews")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.insert(name, std::fs::read_to_string(&path).unwrap());
    }
    all
}

/// A policy over a custom resource, which only an extractor knows the images of.
fn over_tasks(registry: &Registry, key: &KeyPair) -> Box<dyn Policy> {
    let entry = json!({"keys": {"publicKeys": key.public_key().to_pem(),
        "rekor": {"ignoreTlog": true}, "ctlog": {"ignoreSCT": true}}});
    let document = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "tasks"},
        "spec": {"validationFailureAction": "Enforce", "rules": [{
            "name": "steps", "match": {"any": [{"resources": {"kinds": ["tekton.dev/v1/Task"]}}]},
            "imageExtractors": {"Task": [{"path": "/spec/steps/*", "value": "image", "key": "name"}]},
            "verifyImages": [{"imageReferences": [format!("{}/*", registry.host)],
                "attestors": [{"entries": [entry]}]}]}]}});
    Box::new(ClusterPolicy::read(&document).unwrap())
}

/// An answer without what differs in each run, and without the audit log's copy of it.
fn kept(registry: &Registry, key: &KeyPair, Reviewed(mut answer): Reviewed) -> Value {
    let members = answer.as_object_mut().unwrap();
    members.remove("uid");
    members.remove("auditAnnotations");
    if let Some(patch) = answer.get("patch").cloned() {
        let patch = base64_decode(patch.as_str().unwrap()).unwrap();
        answer["patch"] = serde_json::from_slice(&patch).unwrap();
    }
    let fingerprint = hex_encode(&key.public_key().fingerprint());
    let text = answer.to_string().replace(&registry.host, RECORDED).replace(&fingerprint, "KEY");
    serde_json::from_str(&text.replace(&fingerprint[..16], "KEY")).unwrap()
}

/// Every image that is written anywhere in an object.
fn images(object: &Value, found: &mut Vec<String>) {
    match object {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("image" | "reference", Value::String(image)) => found.push(image.clone()),
                    _ => images(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| images(value, found)),
        _ => {}
    }
}

/// Puts the images in that an answer pins.
fn patched(review: &Value, answer: &Reviewed) -> Value {
    let mut review = review.clone();
    for (pointer, to) in answer.pins() {
        *review["request"]["object"].pointer_mut(&pointer).expect("what is pinned is there") = to.into();
    }
    review
}

#[tokio::test]
async fn every_review_that_a_real_api_server_asked_is_answered_as_before() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("signed").await;
    registry.put("unsigned").await;
    registry.sign("signed", &own).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own), over_tasks(&registry, &own)]).await;
    let mut told = BTreeMap::new();
    let (mut admitted, mut refused) = (0, 0);
    for (name, recorded) in recordings() {
        let asked: Value = serde_json::from_str(&recorded.replace(RECORDED, &registry.host)).unwrap();
        let answer = hook.review("/mutate?timeout=10s", &asked).await;
        let direct = hook.review("/validate?timeout=10s", &asked).await;
        let is_allowed = answer.allowed();
        let after = if is_allowed {
            admitted += 1;
            // The API server asks the other face about the object as it was made.
            let pinned = patched(&asked, &answer);
            let after = hook.review("/validate?timeout=10s", &pinned).await;
            assert!(after.allowed() && after.pins().is_empty(), "{name}: {after:?}");
            let mut found = Vec::new();
            images(&pinned["request"]["object"], &mut found);
            found.into_iter().map(|image| image.replace(&registry.host, RECORDED)).collect()
        } else {
            refused += 1;
            assert!(!direct.allowed(), "{name}: what one face refuses, the other refuses: {direct:?}");
            Vec::new()
        };
        let mutate = kept(&registry, &own, answer);
        let validate = kept(&registry, &own, direct);
        told.insert(name, json!({"mutate": mutate, "validate": validate, "images": after}));
    }
    assert!(
        told.len() >= RECORDINGS && admitted > 10 && refused > 10,
        "{admitted} admitted, {refused} refused"
    );
    let found = serde_json::to_string_pretty(&told).unwrap() + "\n";
    let path = folder("golden/recorded-reviews.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "run with UPDATE_GOLDEN=1 if the change is meant");
}
