//! policy-controller's policies as JSON. What can be read decides about a pod with images of which nothing is known: it asks,
//! or answers, and pins nothing; alone, and with the settings of the controller.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;

use countersign_policy::cluster_image::{ClusterImagePolicy, Namespaces, PolicyController};
use countersign_policy::{Policy, PolicySet, Question, Request};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static REQUEST: LazyLock<Request> = LazyLock::new(|| {
    Request::of_object(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": "prod"},
        "spec": {"containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}, {"name": "b", "image": "nginx"}]}}),
    )
});

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(policy) = ClusterImagePolicy::read(&value) else { return };
    assert!(policy.lints().iter().all(|lint| !lint.path.is_empty()));
    let all = PolicyController::new(vec![policy.clone()]).namespaces(Namespaces::All);
    let policies: [Box<dyn Policy>; 2] = [Box::new(policy), Box::new(all)];
    for policy in policies {
        let set = PolicySet::new(vec![policy]);
        let known: HashMap<Question, _> = HashMap::new();
        if let Ok(decision) = set.evaluate(&REQUEST, &known, Timestamp::UNIX_EPOCH) {
            assert!(decision.pins.is_empty(), "nothing is known of any image");
        }
    }
});
