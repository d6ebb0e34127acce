//! Which images an entry is about, and where they are in an object.

use countersign_policy::{Operation, Status};
use serde_json::{Value, json};

use crate::support::{By, Cluster, digest_of, key, pod};
use crate::{key_entry, read, request, told, verifying};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// An entry whose key nobody has, so that every image it is about is refused.
fn refusing(changes: Value) -> Value {
    let mut entry = json!({"imageReferences": ["*"], "attestors": [{"entries": [key_entry(&key())]}]});
    for (name, value) in changes.as_object().unwrap() {
        entry[name] = value.clone();
    }
    verifying(entry)
}

fn admits(policy: &Value, object: Value) -> bool {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("docker.io/library/nginx:latest");
    cluster.decide(read(policy), &request(object)).admits()
}

#[test]
fn references_and_what_is_skipped_each_alone_decide() {
    let pinned = format!("ghcr.io/acme/app@{}", digest_of(IMAGE));
    for (changes, image, admitted) in [
        (json!({}), IMAGE, false),
        (json!({"imageReferences": ["ghcr.io/acme/*"]}), IMAGE, false),
        (json!({"imageReferences": ["ghcr.io/other/*"]}), IMAGE, true),
        (json!({"imageReferences": ["ghcr.io/other/*", "ghcr.io/acme/app:v1"]}), IMAGE, false),
        (json!({"imageReferences": ["ghcr.io/acme/app:*"]}), &pinned, false),
        (json!({"imageReferences": ["docker.io/nginx:*"]}), "nginx", false),
        (json!({"imageReferences": ["docker.io/library/nginx*"]}), "nginx", false),
        (json!({"skipImageReferences": ["ghcr.io/acme/*"]}), IMAGE, true),
        (json!({"skipImageReferences": ["ghcr.io/acme/app:*"]}), &pinned, false),
    ] {
        assert_eq!(admits(&refusing(changes.clone()), pod(&[image])), admitted, "{changes} {image}");
    }
}

#[test]
fn references_may_be_a_config_maps() {
    let mut policy = refusing(json!({"imageReferences": ["{{ ours.data.images }}"]}));
    policy["spec"]["rules"][0]["context"] =
        json!([{"name": "ours", "configMap": {"name": "ours", "namespace": "kyverno"}}]);
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let decide = |cluster: &Cluster| {
        let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
        (decision.admits(), decision.results.len())
    };
    assert_eq!(decide(&cluster), (false, 1), "what is ours is not known");
    for (images, expected) in [("ghcr.io/acme/*", (false, 1)), ("ghcr.io/other/*", (true, 0))] {
        cluster.config_maps.insert("kyverno/ours".into(), [("images".into(), images.into())].into());
        assert_eq!(decide(&cluster), expected, "{images}");
    }
}

#[test]
fn images_of_custom_resources_are_found_verified_and_pinned() {
    let signer = key();
    let mut policy = verifying(json!({"imageReferences": ["ghcr.io/*"],
        "attestors": [{"entries": [key_entry(&signer)]}]}));
    let rule = &mut policy["spec"]["rules"][0];
    rule["match"] = json!({"any": [{"resources": {"kinds": ["tekton.dev/v1/Task"]}}]});
    let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task",
        "metadata": {"name": "build", "namespace": "prod"},
        "spec": {"steps": [{"name": "a", "image": IMAGE}, {"name": "b", "script": "true"}]}});
    let mut cluster = Cluster::new();
    let digest = cluster.put(IMAGE);
    assert!(cluster.decide(read(&policy), &request(task.clone())).results.is_empty(), "no images are seen");
    policy["spec"]["rules"][0]["imageExtractors"] =
        json!({"Task": [{"path": "/spec/steps/*", "value": "image", "key": "name"}]});
    assert!(!cluster.decide(read(&policy), &request(task.clone())).admits());
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let decision = cluster.decide(read(&policy), &request(task.clone()));
    assert!(decision.admits());
    assert_eq!(decision.pins[0].pointer, "/spec/steps/0/image");
    assert_eq!(decision.pins[0].to, format!("{IMAGE}@{digest}"));
    // A part of the object that is not understood is not one without images.
    let mut odd = task;
    odd["spec"]["steps"] = json!("ghcr.io/acme/app:v1");
    let decision = cluster.decide(read(&policy), &request(odd));
    assert_eq!(told(&decision), (false, Status::Fail, "images_unreadable"));
}

#[test]
fn an_extractor_that_makes_names_pins_nothing() {
    let entry = |mutate: bool| {
        let mut policy = refusing(json!({"mutateDigest": mutate, "verifyDigest": false}));
        policy["spec"]["rules"][0]["imageExtractors"] =
            json!({"Task": [{"path": "/spec/image", "jmesPath": "trim_prefix(@, 'docker://')"}]});
        policy
    };
    let error = countersign_policy::kyverno::ClusterPolicy::read(&entry(true)).unwrap_err();
    assert_eq!(error.path, "spec.rules[0].imageExtractors");
    read(&entry(false));
}

#[test]
fn a_name_that_cannot_be_read_is_refused() {
    for image in ["ghcr.io/Acme/app", "ghcr.io/acme/app@sha256:1", "https://ghcr.io/acme/app"] {
        let decision = Cluster::new().decide(read(&refusing(json!({}))), &request(pod(&[image])));
        assert_eq!(told(&decision), (false, Status::Fail, "image_malformed"), "{image}");
    }
    let mut object = pod(&[]);
    object["spec"]["containers"] = json!({"image": IMAGE});
    assert!(!admits(&refusing(json!({})), object));
}

#[test]
fn an_image_that_was_there_before_is_not_judged_again_and_one_beside_it_is() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("ghcr.io/acme/new:v1");
    let policy = refusing(json!({}));
    let update = |images: &[&str]| {
        let mut request = request(pod(images));
        request.operation = Operation::Update;
        request.old_object = Some(pod(&[IMAGE]));
        request
    };
    assert!(cluster.decide(read(&policy), &update(&[IMAGE])).results.is_empty());
    let decision = cluster.decide(read(&policy), &update(&[IMAGE, "ghcr.io/acme/new:v1"]));
    assert_eq!(decision.results.len(), 1);
    assert_eq!(decision.results[0].image.as_deref(), Some("ghcr.io/acme/new:v1"));
}
