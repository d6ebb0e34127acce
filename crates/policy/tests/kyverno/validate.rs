//! Rules with `validate` over images: registries, digests, lists, what the registry says of an image.

use countersign_crypto::Digest;
use countersign_policy::{ImageData, Operation, Policy as _, Status};
use countersign_registry::{Descriptor, descriptor::media_type};
use serde_json::{Value, json};

use crate::support::{Cluster, digest_of, pod};
use crate::{ends, read, request};

fn policy(validate: Value, context: Value) -> Value {
    json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "checked"}, "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{"name": "check", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "context": context, "validate": validate}],
    }})
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
fn a_pattern_that_says_nothing_here_does_not_make_up_for_one_that_does_not_fit() {
    let fits = json!({"spec": {"containers": [{"image": "good.io/*"}]}});
    let says_nothing = json!({"spec": {"containers": [{"(name)": "other", "image": "bad.io/*"}]}});
    let of = |patterns: &[&Value]| policy(json!({ "anyPattern": patterns }), json!([]));
    let decide = |policy: &Value, image: &str| Cluster::new().decide(read(policy), &request(pod(&[image])));
    for patterns in [[&fits, &says_nothing], [&says_nothing, &fits]] {
        assert!(decide(&of(&patterns), "good.io/a").admits());
        assert!(!decide(&of(&patterns), "bad.io/a").admits());
    }
    let nothing = decide(&of(&[&says_nothing]), "bad.io/a");
    assert!(nothing.admits() && nothing.results.iter().all(|result| result.status == Status::Skip));
}

#[test]
fn lists_within_lists_are_bounded_together_and_bring_their_credentials() {
    let image = json!({"name": "image", "imageRegistry": {"reference": "{{ element }}",
        "imageRegistryCredentials": {"secrets": ["regcred"]}}});
    let nested = |context: Value| {
        policy(
            json!({"foreach": [{"list": "request.object.spec.containers", "foreach": [{"list": "element.command",
                "context": context,
                "deny": {"conditions": {"all": [{"key": "{{ element }}", "operator": "Equals", "value": "sh"}]}}}]}]}),
            json!([]),
        )
    };
    let of = |commands: usize| {
        let mut object = pod(&["a", "b"]);
        for container in object["spec"]["containers"].as_array_mut().unwrap() {
            container["command"] = json!(vec!["true"; commands]);
        }
        object
    };
    assert!(ends(&Cluster::new(), &nested(json!([])), of(500)).0);
    let many = ends(&Cluster::new(), &nested(json!([])), of(520));
    assert_eq!(many, (false, Status::Error, "unusable".to_owned()));
    let secrets = read(&nested(json!([image]))).access().secrets;
    assert_eq!(secrets.into_iter().map(|secret| secret.name).collect::<Vec<_>>(), ["regcred"]);
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
fn of_an_image_for_several_platforms_the_configuration_of_one_is_seen() {
    let policy = policy(
        json!({"foreach": [{"list": "request.object.spec.containers",
            "context": [{"name": "image", "imageRegistry": {"reference": "{{ element.image }}"}}],
            "deny": {"conditions": {"all": [{"key": "{{ image.configData.config.User || '' }}", "operator": "Equals", "value": ""}]}}}]}),
        json!([]),
    );
    let index = "ghcr.io/acme/app:v1";
    for (user, admitted) in [("1000", true), ("", false)] {
        let mut cluster = Cluster::new();
        with_config(&mut cluster, index, json!({}));
        let one = with_config(&mut cluster, "ghcr.io/acme/app:amd64", json!({"config": {"User": user}}));
        let other = with_config(&mut cluster, "ghcr.io/acme/app:arm64", json!({"config": {}}));
        let entry = |digest: Digest, architecture: &str| json!({"digest": digest.to_string(), "platform": {"os": "linux", "architecture": architecture}});
        let place = cluster.place(index);
        let data = cluster.images.get_mut(&place).unwrap();
        data.manifest = json!({"manifests": [entry(other, "arm64"), entry(one, "amd64")]});
        data.config = None;
        assert_eq!(ends(&cluster, &policy, pod(&[index])).0, admitted, "{user}");
    }
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

#[test]
fn what_an_object_looks_like_does_not_keep_it() {
    let pattern = policy(json!({"pattern": {"spec": {"containers": [{"image": "good.io/*"}]}}}), json!([]));
    let deny = |operation: &str| {
        let condition = json!({"key": "{{ request.operation }}", "operator": "Equals", "value": operation});
        policy(json!({"deny": {"conditions": {"all": [condition]}}}), json!([]))
    };
    let mut delete = request(pod(&["bad.io/a"]));
    delete.operation = Operation::Delete;
    delete.old_object = Some(std::mem::take(&mut delete.object));
    assert!(Cluster::new().decide(read(&pattern), &delete).admits());
    assert!(
        !Cluster::new().decide(read(&deny("DELETE")), &delete).admits(),
        "unless the policy is about that"
    );
    assert!(Cluster::new().decide(read(&deny("CREATE")), &delete).admits());
}

#[test]
fn names_of_the_context_are_values_expressions_and_defaults() {
    let cluster = Cluster::new();
    let with = |variable: Value| {
        policy(
            json!({"deny": {"conditions": {"all": [{"key": "{{ found }}", "operator": "NotEquals", "value": "app"}]}}}),
            json!([{"name": "wanted", "variable": {"value": {"name": "app"}}}, {"name": "found", "variable": variable}]),
        )
    };
    for (variable, expected) in [
        (json!({"value": "app"}), Ok(true)),
        (json!({"value": "other"}), Ok(false)),
        (json!({"value": "{{ wanted.name }}"}), Ok(true)),
        (json!({"value": {"a": ["app"]}, "jmesPath": "a[0]"}), Ok(true)),
        (json!({"value": {"a": ["app"]}, "jmesPath": "b", "default": "app"}), Ok(true)),
        (json!({"jmesPath": "request.object.metadata.name"}), Ok(true)),
        (json!({"jmesPath": "request.object.metadata.labels.x", "default": "{{ wanted.name }}"}), Ok(true)),
        (json!({"jmesPath": "request.object.metadata.labels.x", "default": "other"}), Ok(false)),
        (json!({"jmesPath": "request.object.metadata.labels.x"}), Err(Status::Error)),
    ] {
        let (admits, status, _) = ends(&cluster, &with(variable.clone()), pod(&["a"]));
        match expected {
            Ok(expected) => assert_eq!(admits, expected, "{variable}"),
            Err(expected) => assert_eq!((admits, status), (false, expected), "{variable}"),
        }
    }
}

#[test]
fn lists_within_lists_and_patterns_over_the_whole_object() {
    let nested = |value: &str| {
        policy(
            json!({"foreach": [{"list": "request.object.spec.containers", "foreach": [{
                "list": "element.command",
                "deny": {"conditions": {"any": [{"key": "{{ element1 }}", "operator": "Equals", "value": value},
                    {"key": "{{ element0.name }}-{{ elementIndex1 }}", "operator": "Equals", "value": value}]}}}]}]}),
            json!([]),
        )
    };
    let mut object = pod(&["a", "b"]);
    object["spec"]["containers"][1]["command"] = json!(["sh", "-c"]);
    for (value, admitted) in [("-c", false), ("c1-1", false), ("c1-2", true), ("bash", true)] {
        assert_eq!(ends(&Cluster::new(), &nested(value), object.clone()).0, admitted, "{value}");
    }
    let scoped = |scope: bool| {
        let pattern = if scope { json!({"name": "c?"}) } else { json!({"metadata": {"name": "app"}}) };
        policy(
            json!({"foreach": [{"list": "request.object.spec.containers", "elementScope": scope, "pattern": pattern}]}),
            json!([]),
        )
    };
    for scope in [true, false] {
        assert!(ends(&Cluster::new(), &scoped(scope), object.clone()).0);
        let mut other = object.clone();
        other["metadata"]["name"] = json!("other");
        other["spec"]["containers"][0]["name"] = json!("other");
        assert!(!ends(&Cluster::new(), &scoped(scope), other).0);
    }
}

#[test]
fn what_reports_are_to_say_stands_in_the_result() {
    let mut policy =
        policy(json!({"message": "no {{ request.namespace }}", "pattern": {"spec": {"x": "y"}}}), json!([]));
    policy["metadata"]["annotations"] =
        json!({"policies.kyverno.io/severity": "high", "policies.kyverno.io/category": "Supply chain"});
    policy["spec"]["rules"][0]["reportProperties"] = json!({"team": "blue"});
    let decision = Cluster::new().decide(read(&policy), &request(pod(&["a"])));
    let result = crate::result(&decision);
    let expected = [("category", "Supply chain"), ("severity", "high"), ("team", "blue")];
    assert!(result.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
    assert!(
        result.message.starts_with("no prod (/spec/x: expected \"y\", found nothing"),
        "{}",
        result.message
    );
}
