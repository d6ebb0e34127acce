//! Objects that are no workloads.

use countersign_policy::{CustomObject, Operation, Policy as _, Request};
use serde_json::{Value, json};

use crate::support::{By, Cluster};
use crate::{IMAGE, alice, policy, read, with};

fn task(image: &str) -> Value {
    json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t", "namespace": "shop"},
        "spec": {"steps": [{"name": "a", "image": image}, {"name": "b"}]}})
}

#[test]
fn an_image_at_a_path_is_judged_and_pinned_and_only_where_a_policy_names_the_kind() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("ghcr.io/acme/other:v1");
    cluster.sign(IMAGE, By::Alice, &json!({}));
    let own = |custom: Value| policy(json!({"signedBy": alice(), "customResources": custom}));
    let tasks = own(json!({"Task": ["/spec/steps/*/image"]}));
    assert_eq!(read(&tasks).custom_objects(), [CustomObject::Kind("Task".into())]);
    let decide = |policy: &Value, image: &str| cluster.decide(read(policy), &Request::of_object(task(image)));

    let decision = decide(&tasks, IMAGE);
    let pins: Vec<&str> = decision.pins.iter().map(|pin| pin.pointer.as_str()).collect();
    assert!(decision.admits() && pins == ["/spec/steps/0/image"], "{decision:?}");
    assert!(!decide(&tasks, "ghcr.io/acme/other:v1").admits());
    for elsewhere in
        [json!({}), json!({"Pipeline": ["/spec/steps/*/image"]}), json!({"Task": ["/spec/sidecars/*/image"]})]
    {
        assert!(decide(&own(elsewhere.clone()), "ghcr.io/acme/other:v1").results.is_empty(), "{elsewhere}");
    }
    let broken = with(task(IMAGE), json!({"spec": {"steps": [{"image": 1}]}}));
    assert!(
        !cluster.decide(read(&tasks), &Request::of_object(broken)).admits(),
        "what cannot be read is not nothing"
    );

    let mut update = Request::of_object(task("ghcr.io/acme/other:v1"));
    update.operation = Operation::Update;
    update.old_object = Some(task("ghcr.io/acme/other:v1"));
    assert!(cluster.decide(read(&tasks), &update).results.is_empty(), "it was there before");
    update.old_object = Some(task(IMAGE));
    assert!(!cluster.decide(read(&tasks), &update).admits());
}

#[test]
fn a_path_that_leads_nowhere_is_refused_when_the_policy_is_read() {
    for (custom, path) in [
        (json!({"Task": []}), "spec.customResources.Task"),
        (json!({"Task": ["spec/image"]}), "spec.customResources.Task[0]"),
        (json!({"Task": ["/spec/image", "/spec/*"]}), "spec.customResources.Task[1]"),
        (json!({"Task": ["/spec//image"]}), "spec.customResources.Task[0]"),
        (json!({"Task": ["/spec/"]}), "spec.customResources.Task[0]"),
    ] {
        let written = policy(json!({"signedBy": alice(), "customResources": custom}));
        let error = countersign_policy::own::ImagePolicy::read(&written).unwrap_err();
        assert_eq!(error.path, path, "{custom}");
    }
}
