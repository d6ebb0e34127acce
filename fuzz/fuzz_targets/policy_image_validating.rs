//! `ImageValidatingPolicy` and its exceptions as JSON. What can be read decides about objects with images of which nothing
//! is known: it asks, or answers, and pins nothing.
#![no_main]

use std::collections::HashMap;

use countersign_policy::kyverno::{ImageValidatingPolicy, PolicyException};
use countersign_policy::{Glob, Policy as _, PolicySet, Question, Request};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    // {"policy": …, "exception": …}
    let Ok(Value::Object(input)) = serde_json::from_slice::<Value>(data) else { return };
    let exception = input.get("exception").and_then(|value| PolicyException::read(value).ok());
    let Some(Ok(policy)) = input.get("policy").map(ImageValidatingPolicy::read) else { return };
    assert!(policy.lints().iter().all(|lint| !lint.path.is_empty()));
    let anywhere = Glob::wildcard("*").expect("a pattern");
    let set = PolicySet::new(vec![Box::new(policy)]).excepting(exception.into_iter().collect(), &[anywhere]);
    let spec = json!({"containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}]});
    let metadata = json!({"name": "app", "namespace": "prod", "labels": {"app": "web"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"template": {"metadata": metadata, "spec": spec}}});
    for object in [pod, deployment] {
        let known: HashMap<Question, _> = HashMap::new();
        if let Ok(decision) = set.evaluate(&Request::of_object(object), &known, Timestamp::UNIX_EPOCH) {
            assert!(decision.pins.is_empty(), "nothing is known of any image");
        }
    }
});
