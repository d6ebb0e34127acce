//! Which requests and images an `ImageValidatingPolicy` is about, and exceptions from it.

use countersign_policy::kyverno::PolicyException;
use countersign_policy::{Operation, Request, Status};
use serde_json::{Value, json};

use super::{ALL_SIGNED, APP, by_key, decide, ends, policy, read, signed};
use crate::result;
use crate::support::{digest_of, key, pod};

#[test]
fn each_constraint_alone_decides_which_requests_are_meant() {
    let (mut cluster, _) = signed();
    cluster.namespaces.insert("prod".into(), [("env".to_owned(), "prod".to_owned())].into());
    let stranger = key();
    let rule = |changes: Value| {
        let mut rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
        for (name, value) in changes.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    };
    let constrained =
        |constraints: Value| policy(by_key(&stranger), json!({"matchConstraints": constraints}));
    let one = |changes: Value| json!({"resourceRules": [rule(changes)]});
    let and = |field: &str, value: Value| {
        let mut constraints = one(json!({}));
        constraints[field] = value;
        constraints
    };
    let mut labelled = pod(&[APP]);
    labelled["metadata"]["labels"] = json!({"app": "web"});
    // The image is not signed by the attestor: who is meant is refused.
    for (constraints, meant) in [
        (one(json!({})), true),
        (
            one(json!({"operations": ["*"], "resources": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]})),
            true,
        ),
        (one(json!({"operations": ["UPDATE"]})), false),
        (one(json!({"apiGroups": ["apps"]})), false),
        (one(json!({"resources": ["deployments"]})), false),
        (one(json!({"resources": ["pods/status"]})), false),
        (one(json!({"resourceNames": ["app"]})), true),
        (one(json!({"resourceNames": ["other"]})), false),
        (one(json!({"scope": "Namespaced"})), true),
        (one(json!({"scope": "Cluster"})), false),
        (one(json!({"apiVersions": ["v2"]})), true),
        (json!({"resourceRules": [rule(json!({"apiVersions": ["v2"]}))], "matchPolicy": "Exact"}), false),
        (and("namespaceSelector", json!({"matchLabels": {"env": "prod"}})), true),
        (and("namespaceSelector", json!({"matchLabels": {"env": "test"}})), false),
        (and("objectSelector", json!({"matchLabels": {"app": "web"}})), true),
        (and("objectSelector", json!({"matchLabels": {"app": "db"}})), false),
        (and("excludeResourceRules", json!([rule(json!({}))])), false),
        (and("excludeResourceRules", json!([rule(json!({"resourceNames": ["other"]}))])), true),
    ] {
        let decision = decide(&cluster, &constrained(constraints.clone()), &labelled);
        assert_eq!(!decision.admits(), meant, "{constraints}");
        assert_eq!(decision.results.is_empty(), !meant, "{constraints}");
    }
    // CVE-2025-46342: labels that cannot be read are not labels that do not match.
    cluster.away.insert("namespace prod".into());
    let selected = constrained(and("namespaceSelector", json!({"matchLabels": {"env": "test"}})));
    assert_eq!(ends(&cluster, &selected, &[APP]), (Status::Error, "unreachable".into()));
}

#[test]
fn conditions_and_images_decide_what_is_judged() {
    let (mut cluster, _) = signed();
    cluster.put("docker.io/library/busybox:1");
    let stranger = key();
    let changed = |changes: Value| policy(by_key(&stranger), changes);
    let condition = |text: &str| changed(json!({"matchConditions": [{"name": "c", "expression": text}]}));
    assert!(decide(&cluster, &condition("object.metadata.name == 'other'"), &pod(&[APP])).results.is_empty());
    for (text, status) in [
        (
            "request.operation == 'CREATE' && request.resource.resource == 'pods' && oldObject == null",
            Status::Fail,
        ),
        ("object.metadata.missing == 'x'", Status::Error),
        ("object.metadata.name", Status::Error),
    ] {
        assert_eq!(ends(&cluster, &condition(text), &[APP]).0, status, "{text}");
    }
    for (reference, meant) in [
        (json!({"glob": "ghcr.io/acme/*"}), true),
        (json!({"glob": "ghcr.io/acme/app:*"}), true),
        (json!({"glob": "ghcr.io/acme-evil/*"}), false),
        (json!({"expression": "image(ref).registry() == 'ghcr.io'"}), true),
        (json!({"expression": "image.registry == 'ghcr.io' && ref.endsWith(':v1')"}), true),
        (json!({"expression": "image.repository == 'acme/other'"}), false),
    ] {
        let policy = changed(json!({"matchImageReferences": [reference]}));
        let status = ends(&cluster, &policy, &[APP]).0;
        assert_eq!(status == Status::Fail, meant, "{reference}");
        // An image that the policy is not about is no concern of it, and does not end it either.
        assert_eq!(ends(&cluster, &policy, &["docker.io/library/busybox:1", APP]).0, status, "{reference}");
    }
    let wrong = changed(json!({"matchImageReferences": [{"expression": "ref"}]}));
    assert_eq!(ends(&cluster, &wrong, &[APP]).1, "expression_failed");
    // A digest is meant by a pattern with a tag.
    let pinned = format!("ghcr.io/acme/app@{}", digest_of(APP));
    let tagged = changed(json!({"matchImageReferences": [{"glob": "ghcr.io/acme/app:*"}]}));
    assert_eq!(ends(&cluster, &tagged, &[&pinned]).0, Status::Fail);
}

#[test]
fn a_policy_for_pods_is_one_for_what_makes_pods() {
    let (mut cluster, signer) = signed();
    cluster.put("ghcr.io/acme/unsigned:v1");
    let condition = json!([{"name": "c", "expression": "has(object.spec.containers)"}]);
    let all = policy(by_key(&signer), json!({"matchConditions": condition}));
    let some =
        policy(by_key(&signer), json!({"autogen": {"podControllers": {"controllers": ["deployments"]}}}));
    let none = policy(by_key(&signer), json!({"autogen": {"podControllers": {"controllers": []}}}));
    for (group, kind) in
        [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job"), ("batch/v1", "CronJob")]
    {
        let object = |image: &str| {
            let template = json!({"spec": {"containers": [{"name": "a", "image": image}]}});
            let spec = if kind == "CronJob" {
                json!({"jobTemplate": {"spec": {"template": template}}})
            } else {
                json!({"template": template})
            };
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": "a", "namespace": "prod"}, "spec": spec})
        };
        let good = decide(&cluster, &all, &object(APP));
        assert_eq!((result(&good).status, good.pins.len()), (Status::Pass, 1), "{kind}");
        let bad = object("ghcr.io/acme/unsigned:v1");
        assert!(!decide(&cluster, &all, &bad).admits(), "{kind}");
        assert_eq!(decide(&cluster, &some, &bad).admits(), kind != "Deployment", "{kind}");
        assert!(decide(&cluster, &none, &bad).results.is_empty(), "{kind}");
    }
}

#[test]
fn a_change_that_brings_no_image_is_not_verified_again() {
    let (mut cluster, signer) = signed();
    let mut request = Request::of_object(pod(&[APP]));
    request.operation = Operation::Update;
    request.old_object = Some(pod(&[APP]));
    cluster.away.insert("the evidence of".into());
    let ours = policy(by_key(&signer), json!({}));
    assert!(cluster.decide(read(&ours), &request).results.is_empty());
    // What is said of more than images is looked at whatever the change brings.
    let named = format!("object.metadata.name == 'other' && {ALL_SIGNED}");
    let named = policy(by_key(&signer), json!({"validations": [{"expression": named}]}));
    assert!(!cluster.decide(read(&named), &request).admits());
    request.old_object = Some(pod(&["ghcr.io/acme/app:v0"]));
    assert_eq!(result(&cluster.decide(read(&ours), &request)).status, Status::Error);
    request.operation = Operation::Delete;
    assert!(cluster.decide(read(&ours), &request).results.is_empty());
}

#[test]
fn a_policy_of_a_namespace_is_about_that_one_and_a_scan_asks_for_what_is_enabled() {
    let (cluster, _) = signed();
    let mut namespaced = policy(by_key(&key()), json!({}));
    namespaced["kind"] = "NamespacedImageValidatingPolicy".into();
    for (namespace, meant) in [("prod", true), ("test", false)] {
        namespaced["metadata"]["namespace"] = namespace.into();
        assert_eq!(decide(&cluster, &namespaced, &pod(&[APP])).admits(), !meant, "{namespace}");
    }
    for (field, background) in [("background", true), ("admission", false)] {
        let off = policy(by_key(&key()), json!({"evaluation": {field: {"enabled": false}}}));
        let mut request = Request::of_object(pod(&[APP]));
        request.background = background;
        assert!(cluster.decide(read(&off), &request).results.is_empty(), "{field}");
        request.background = !background;
        assert!(!cluster.decide(read(&off), &request).admits(), "{field}");
    }
}

#[test]
fn extractors_find_images_in_other_kinds() {
    let (mut cluster, signer) = signed();
    cluster.put("ghcr.io/acme/unsigned:v1");
    let constraints = json!({"resourceRules": [{"apiGroups": ["tekton.dev"], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["taskruns"]}]});
    let steps = json!([{"name": "steps", "expression": "object.spec.steps.map(s, s.image)"}]);
    let check = json!([{"expression": "images.steps.all(i, verifyImageSignatures(i, [attestors.who]) > 0)"}]);
    let policy = policy(
        by_key(&signer),
        json!({"matchConstraints": constraints, "images": steps, "validations": check,
        "validationConfigurations": {"verifyDigest": false}}),
    );
    let object = |image: Value| json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "a"}, "spec": {"steps": [{"image": image}]}});
    assert!(decide(&cluster, &policy, &object(json!(APP))).admits());
    assert!(!decide(&cluster, &policy, &object(json!("ghcr.io/acme/unsigned:v1"))).admits());
    assert_eq!(result(&decide(&cluster, &policy, &object(json!(7)))).status, Status::Error);
}

#[test]
fn each_part_of_an_exception_alone_keeps_the_policy() {
    let (mut cluster, _) = signed();
    cluster.put("ghcr.io/acme/second:v1");
    let exception = |changes: Value| {
        let mut spec = json!({"policyRefs": [{"name": "signed", "kind": "ImageValidatingPolicy"}],
            "matchConditions": [{"name": "app", "expression": "object.metadata.name == 'app'"}]});
        for (name, value) in changes.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({"apiVersion": "policies.kyverno.io/v1", "kind": "PolicyException",
            "metadata": {"name": "x", "namespace": "kyverno"}, "spec": spec})
    };
    let status = |exception: &Value, images: &[&str]| {
        let exception = PolicyException::read(exception).unwrap_or_else(|error| panic!("{error}"));
        let policy = read(&policy(by_key(&key()), json!({})));
        let request = Request::of_object(pod(images));
        let decision = cluster.decide_all(vec![Box::new(policy)], vec![exception], &request);
        let [result] = decision.results.as_slice() else { panic!("{decision:?}") };
        assert_eq!(decision.admits(), result.status != Status::Fail);
        result.status
    };
    let condition = |text: &str| json!({"matchConditions": [{"name": "c", "expression": text}]});
    for (what, changes, expected) in [
        ("all of it", json!({}), Status::Skip),
        ("passed", json!({"reportResult": "pass"}), Status::Pass),
        ("name", json!({"policyRefs": [{"name": "other", "kind": "ImageValidatingPolicy"}]}), Status::Fail),
        (
            "kind",
            json!({"policyRefs": [{"name": "signed", "kind": "NamespacedImageValidatingPolicy"}]}),
            Status::Fail,
        ),
        ("condition", condition("object.metadata.name == 'other'"), Status::Fail),
        ("no value", condition("object.missing == 'x'"), Status::Fail),
        ("no condition", condition("'true'"), Status::Fail),
        ("images", json!({"images": ["ghcr.io/acme/app:*"]}), Status::Skip),
        ("other images", json!({"images": ["ghcr.io/other/*"]}), Status::Fail),
    ] {
        assert_eq!(status(&exception(changes), &[APP]), expected, "{what}");
    }
    // One image that is excepted takes no other along.
    let one = exception(json!({"images": ["ghcr.io/acme/app:*"], "matchConditions": []}));
    assert_eq!(status(&one, &[APP]), Status::Skip);
    assert_eq!(status(&one, &[APP, "ghcr.io/acme/second:v1"]), Status::Fail);
    assert_eq!(status(&one, &[]), Status::Pass, "no image is none that is excepted");
    for (changes, path) in [
        (json!({"policyRefs": []}), "spec.policyRefs"),
        (json!({"policyRefs": [{"name": "x", "kind": "ValidatingPolicy"}]}), "spec.policyRefs[0].kind"),
        (json!({"policyRefs": [{"name": "", "kind": "ImageValidatingPolicy"}]}), "spec.policyRefs[0].name"),
        (json!({"matchConditions": []}), "spec.matchConditions"),
        (condition("images.containers == []"), "spec.matchConditions[0].expression"),
        (json!({"images": [""]}), "spec.images[0]"),
        (json!({"allowedValues": ["x"]}), "spec.allowedValues"),
        (json!({"other": 1}), "spec.other"),
    ] {
        let error = PolicyException::read(&exception(changes)).unwrap_err();
        assert_eq!(error.path, path, "{error}");
    }
    // Those of another place in the cluster count for nothing.
    let mut elsewhere = exception(json!({}));
    elsewhere["metadata"]["namespace"] = "prod".into();
    assert_eq!(status(&elsewhere, &[APP]), Status::Fail);
}
