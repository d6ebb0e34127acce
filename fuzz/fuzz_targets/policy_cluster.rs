//! Kyverno's policies and exceptions as JSON. What can be read decides about a pod with an image of which nothing is known:
//! it asks, or answers, and pins nothing.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;

use countersign_policy::kyverno::{ClusterPolicy, PolicyException};
use countersign_policy::{Policy as _, PolicySet, Question, Request};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let spec = json!({"containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}, {"name": "b", "image": "nginx"}]});
    let metadata = json!({"name": "app", "namespace": "prod", "labels": {"app": "web"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"template": {"metadata": metadata, "spec": spec}}});
    [pod, deployment].map(Request::of_object).into()
});

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    if let Ok(exception) = PolicyException::read(&value) {
        assert_eq!(value.pointer("/metadata/name").and_then(Value::as_str), Some(exception.name()));
    }
    let Ok(policy) = ClusterPolicy::read(&value) else { return };
    assert!(policy.lints().iter().all(|lint| !lint.path.is_empty()));
    let set = PolicySet::new(vec![Box::new(policy)]);
    for request in REQUESTS.iter() {
        let known: HashMap<Question, _> = HashMap::new();
        if let Ok(decision) = set.evaluate(request, &known, Timestamp::UNIX_EPOCH) {
            assert!(decision.pins.is_empty(), "nothing is known of any image");
        }
    }
});
