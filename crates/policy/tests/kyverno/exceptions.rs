//! Exceptions: whose, from what, for whom.

use countersign_policy::kyverno::PolicyException;
use countersign_policy::{Request, Status};
use serde_json::{Value, json};

use crate::support::{Cluster, key, pod};
use crate::{key_entry, read, request, signed_by};

const IMAGE: &str = "ghcr.io/acme/app:v1";

fn exception(changes: &Value) -> Value {
    let mut exception = json!({"apiVersion": "kyverno.io/v2", "kind": "PolicyException",
    "metadata": {"name": "legacy", "namespace": "kyverno"}, "spec": {
        "match": {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["prod"]}}]},
        "exceptions": [{"policyName": "signed", "ruleNames": ["check"]}],
    }});
    for (pointer, value) in changes.as_object().unwrap() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        exception.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    exception
}

/// Whether a policy that the image does not satisfy lets it in.
fn excepted(exceptions: &[Value], request: &Request) -> bool {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let policy = read(&signed_by(json!([{"entries": [key_entry(&key())]}])));
    let exceptions = exceptions.iter().map(|exception| PolicyException::read(exception).unwrap()).collect();
    let decision = cluster.decide_all(vec![Box::new(policy)], exceptions, request);
    let skipped =
        decision.results.iter().any(|r| (r.status, r.reason.as_str()) == (Status::Skip, "exception"));
    assert_eq!(decision.admits(), skipped);
    skipped
}

#[test]
fn each_part_of_an_exception_alone_can_make_it_none() {
    let prod = request(pod(&[IMAGE]));
    let condition = |value: &str| json!({"/spec/conditions": {"all": [{"key": "{{ request.object.metadata.name }}", "operator": "Equals", "value": value}]}});
    for (changes, expected) in [
        (json!({}), true),
        (json!({"/spec/exceptions": [{"policyName": "signed", "ruleNames": ["ch*"]}]}), true),
        (json!({"/spec/exceptions": [{"policyName": "signed", "ruleNames": ["other"]}]}), false),
        (json!({"/spec/exceptions": [{"policyName": "other", "ruleNames": ["*"]}]}), false),
        (json!({"/spec/exceptions": [{"policyName": "prod/signed", "ruleNames": ["*"]}]}), false),
        (json!({"/spec/match": {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["test"]}}]}}), false),
        (json!({"/metadata/namespace": "prod"}), false),
        (condition("app"), true),
        (condition("other"), false),
    ] {
        assert_eq!(excepted(&[exception(&changes)], &prod), expected, "{changes}");
    }
    let mut scanned = prod;
    scanned.background = true;
    assert!(excepted(&[exception(&json!({}))], &scanned));
    assert!(!excepted(&[exception(&json!({"/spec/background": false}))], &scanned));
}

#[test]
fn cve_2024_48921_exceptions_of_other_namespaces_and_parts_of_two_do_not_count() {
    let prod = request(pod(&[IMAGE]));
    let elsewhere = exception(&json!({"/metadata/namespace": "prod"}));
    assert!(!excepted(&[elsewhere], &prod), "whoever may write there is not whom the cluster asks");
    // One is for this pod and another rule, one for this rule and another pod.
    let narrow = exception(&json!({"/spec/exceptions": [{"policyName": "signed", "ruleNames": ["other"]}]}));
    let broad = exception(&json!({"/spec/match": {"any": [{"resources": {"namespaces": ["test"]}}]}}));
    assert!(!excepted(&[narrow, broad], &prod));
}

#[test]
fn an_exception_that_says_nothing_is_refused() {
    for (changes, path) in [
        (json!({"/spec/exceptions": []}), "spec.exceptions"),
        (json!({"/spec/exceptions": [{"policyName": "", "ruleNames": ["*"]}]}), "spec.exceptions[0]"),
        (json!({"/spec/exceptions": [{"policyName": "x", "ruleNames": []}]}), "spec.exceptions[0]"),
        (json!({"/spec/match": {}}), "spec.match"),
        (json!({"/spec/match": {"any": [{}]}}), "spec.match.any[0]"),
        (json!({"/spec/podSecurity": []}), "spec.podSecurity"),
        (json!({"/spec/images": []}), "spec.images"),
        (json!({"/kind": "Exception"}), "kind"),
    ] {
        let error = PolicyException::read(&exception(&changes)).unwrap_err();
        assert_eq!(error.path, path, "{error}");
    }
}
