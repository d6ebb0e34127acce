//! A policy in Rego over an input, as a policy over a static pass: a line `---` parts the policy from the input. It ends, and
//! what it says is a yes, a no or an error.
#![no_main]

use std::collections::HashMap;

use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::{PolicySet, Question, Request, Status};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (rego, input) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    let Ok(input) = serde_json::from_str::<Value>(input) else { return };
    let policy = ClusterImagePolicy::read(&json!({
        "apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": "fuzz"},
        "spec": {"images": [{"glob": "**"}], "authorities": [{"static": {"action": "pass"}}],
            "policy": {"type": "rego", "data": rego, "includeObjectMeta": true}},
    }));
    let Ok(policy) = policy else { return };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "annotations": input},
        "spec": {"containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}]}});
    let known: HashMap<Question, _> = HashMap::new();
    let set = PolicySet::new(vec![Box::new(policy)]);
    let decision =
        set.evaluate(&Request::of_object(pod), &known, Timestamp::UNIX_EPOCH).expect("it asks nothing");
    let [result] = decision.results.as_slice() else { panic!("{decision:?}") };
    assert!(decision.admits() == (result.status == Status::Pass));
});
