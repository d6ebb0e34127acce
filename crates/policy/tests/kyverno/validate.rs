//! Rules with `validate` over images: registries, digests, lists, what the registry says of an image.

use countersign_crypto::Digest;
use countersign_policy::{ImageData, Operation, Status};
use countersign_registry::{Descriptor, descriptor::media_type};
use serde_json::{Value, json};

use crate::support::{Cluster, digest_of, pod};
use crate::{read, request, told};

fn policy(validate: Value, context: Value) -> Value {
    json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "checked"}, "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{"name": "check", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "context": context, "validate": validate}],
    }})
}

fn ends(cluster: &Cluster, policy: &Value, object: Value) -> (bool, Status, String) {
    let decision = cluster.decide(read(policy), &request(object));
    let (admits, status, reason) = told(&decision);
    (admits, status, reason.to_owned())
}

/// The same pod in a Deployment.
fn deployed(pod: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": "prod"},
        "spec": {"template": {"metadata": pod["metadata"], "spec": pod["spec"]}}})
}

#[test]
fn registries_are_restricted_by_pattern_in_pods_and_in_what_makes_them() {
    let image = json!([{"image": "eu.foo.io/* | bar.io/*"}]);
    let policy = policy(
        json!({"message": "Unknown image registry.", "pattern": {"spec": {
            "=(ephemeralContainers)": image, "=(initContainers)": image, "containers": image}}}),
        json!([]),
    );
    let cluster = Cluster::new();
    for (image, expected) in
        [("bar.io/app:v1", true), ("bar.io.evil.example/app:v1", false), ("docker.io/bar.io/app", false)]
    {
        let object = pod(&["eu.foo.io/ok", image]);
        assert_eq!(ends(&cluster, &policy, object.clone()).0, expected, "{image}");
        assert_eq!(ends(&cluster, &policy, deployed(&object)).0, expected, "{image} deployed");
    }
}

#[test]
fn digests_are_demanded_by_pattern() {
    let policy = policy(json!({"pattern": {"spec": {"containers": [{"image": "*@sha256:*"}]}}}), json!([]));
    let pinned = format!("ghcr.io/a@{}", digest_of("a"));
    assert!(ends(&Cluster::new(), &policy, pod(&[&pinned])).0);
    assert!(!ends(&Cluster::new(), &policy, pod(&[&pinned, "ghcr.io/a:v1"])).0);
}

#[test]
fn any_of_several_patterns_is_enough() {
    let of = |registry: &str| json!({"spec": {"containers": [{"image": format!("{registry}/*")}]}});
    let policy = policy(json!({"anyPattern": [of("a.io"), of("b.io")]}), json!([]));
    assert!(ends(&Cluster::new(), &policy, pod(&["b.io/x", "b.io/y"])).0);
    assert!(!ends(&Cluster::new(), &policy, pod(&["a.io/x", "b.io/y"])).0);
}

#[test]
fn images_are_compared_with_what_a_config_map_allows() {
    let policy = policy(
        json!({"message": "{{ element.image }} is of another registry", "foreach": [{
            "list": "request.object.spec.[containers, initContainers][]",
            "deny": {"conditions": {"all": [{
                "key": "{{ images.containers.\"{{ element.name }}\".registry }}",
                "operator": "AnyNotIn", "value": "{{ registries.data.allowed }}"}]}},
        }]}),
        json!([{"name": "registries", "configMap": {"name": "registries", "namespace": "kyverno"}}]),
    );
    let mut cluster = Cluster::new();
    let unknown = ends(&cluster, &policy, pod(&["ghcr.io/a"]));
    assert_eq!(unknown, (false, Status::Error, "not_found".to_owned()), "what is allowed is not known");
    let allowed = [("allowed".to_owned(), "[\"ghcr.io\", \"docker.io\"]".to_owned())];
    cluster.config_maps.insert("kyverno/registries".into(), allowed.into());
    assert!(ends(&cluster, &policy, pod(&["ghcr.io/a", "nginx"])).0);
    assert!(!ends(&cluster, &policy, pod(&["ghcr.io/a", "quay.io/nginx"])).0);
}

/// An image whose configuration says this.
pub(crate) fn with_config(cluster: &mut Cluster, image: &str, config: Value) -> Digest {
    let digest = cluster.put(image);
    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, image.as_bytes());
    descriptor.digest = digest;
    let data = ImageData { descriptor, manifest: json!({}), config: Some(config) };
    cluster.images.insert(cluster.place(image), data);
    digest
}

#[test]
fn what_the_registry_says_of_an_image_is_asked_of_the_image_that_is_meant() {
    let policy = policy(
        json!({"foreach": [{"list": "request.object.spec.containers",
            "context": [{"name": "label", "imageRegistry": {"reference": "{{ element.image }}",
                "jmesPath": "configData.config.Labels.base || 'none'"}}],
            "deny": {"conditions": {"all": [{"key": "{{ label }}", "operator": "NotEquals", "value": "acme"}]}}}]}),
        json!([]),
    );
    let mut cluster = Cluster::new();
    with_config(&mut cluster, "ghcr.io/acme/good:v1", json!({"config": {"Labels": {"base": "acme"}}}));
    with_config(&mut cluster, "ghcr.io/acme/bad:v1", json!({"config": {}}));
    assert!(ends(&cluster, &policy, pod(&["ghcr.io/acme/good:v1"])).0);
    assert!(!ends(&cluster, &policy, pod(&["ghcr.io/acme/good:v1", "ghcr.io/acme/bad:v1"])).0);
    let gone = ends(&cluster, &policy, pod(&["ghcr.io/acme/gone:v1"]));
    assert_eq!(gone, (false, Status::Error, "not_found".to_owned()));
}

#[test]
fn preconditions_alone_can_make_a_rule_say_nothing() {
    let mut policy = policy(
        json!({"deny": {"conditions": {"all": [{"key": "a", "operator": "Equals", "value": "a"}]}}}),
        json!([]),
    );
    assert!(!ends(&Cluster::new(), &policy, pod(&["a"])).0);
    let asks = |value: &str| json!({"all": [{"key": "{{ request.operation || 'BACKGROUND' }}", "operator": "NotEquals", "value": value}]});
    policy["spec"]["rules"][0]["preconditions"] = asks("DELETE");
    assert!(!ends(&Cluster::new(), &policy, pod(&["a"])).0);
    policy["spec"]["rules"][0]["preconditions"] = asks("CREATE");
    assert!(Cluster::new().decide(read(&policy), &request(pod(&["a"]))).admits());
}

#[test]
fn what_was_so_before_may_stay_so_with_the_same_images_only() {
    let mut policy =
        policy(json!({"pattern": {"spec": {"containers": [{"image": "good.io/*"}]}}}), json!([]));
    let update = |old: &str, new: &str| {
        let mut request = request(pod(&[new]));
        request.operation = Operation::Update;
        request.old_object = Some(pod(&[old]));
        request
    };
    let admits = |policy: &Value, old: &str, new: &str| {
        Cluster::new().decide(read(policy), &update(old, new)).admits()
    };
    assert!(admits(&policy, "bad.io/a", "bad.io/a"));
    assert!(!admits(&policy, "bad.io/a", "bad.io/b"), "another image, as bad as the first");
    assert!(!admits(&policy, "good.io/a", "bad.io/a"));
    policy["spec"]["rules"][0]["validate"]["allowExistingViolations"] = json!(false);
    assert!(!admits(&policy, "bad.io/a", "bad.io/a"));
}

#[test]
fn actions_and_their_exceptions_by_namespace_decide_what_happens() {
    let mut policy =
        policy(json!({"pattern": {"spec": {"containers": [{"image": "good.io/*"}]}}}), json!([]));
    let admits = |policy: &Value| Cluster::new().decide(read(policy), &request(pod(&["bad.io/a"]))).admits();
    assert!(!admits(&policy));
    let overrides = |namespace: &str| json!([{"action": "Audit", "namespaces": [namespace]}]);
    policy["spec"]["validationFailureActionOverrides"] = overrides("test");
    assert!(!admits(&policy));
    policy["spec"]["validationFailureActionOverrides"] = overrides("pr*");
    assert!(admits(&policy));
    policy["spec"]["rules"][0]["validate"]["failureAction"] = json!("Enforce");
    assert!(!admits(&policy), "the rule's own");
    policy["spec"]["rules"][0]["validate"]["failureActionOverrides"] = overrides("prod");
    assert!(admits(&policy));
    policy["spec"]["emitWarning"] = json!(true);
    let decision = Cluster::new().decide(read(&policy), &request(pod(&["bad.io/a"])));
    assert!(decision.results.iter().any(countersign_policy::RuleResult::warns));
}

#[test]
fn with_apply_rules_one_the_first_that_says_something_is_the_last() {
    let mut policy = policy(json!({"pattern": {"spec": {"containers": [{"image": "*"}]}}}), json!([]));
    let mut second = policy["spec"]["rules"][0].clone();
    second["name"] = json!("second");
    second["validate"] = json!({"pattern": {"spec": {"containers": [{"image": "good.io/*"}]}}});
    policy["spec"]["rules"].as_array_mut().unwrap().push(second);
    let admits = |policy: &Value| Cluster::new().decide(read(policy), &request(pod(&["bad.io/a"]))).admits();
    assert!(!admits(&policy));
    policy["spec"]["applyRules"] = json!("One");
    assert!(admits(&policy));
    policy["spec"]["rules"][0]["preconditions"] =
        json!({"all": [{"key": "a", "operator": "Equals", "value": "b"}]});
    assert!(!admits(&policy), "the first says nothing");
}
