//! `celPreconditions` and `webhookConfiguration.matchConditions`: for which requests a rule, or a policy, holds.

use countersign_policy::{Operation, Policy as _, Request, Status};
use serde_json::{Value, json};

use crate::support::{Cluster, key, pod};
use crate::{key_entry, read, request, signed_by};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// A cluster with an image that nobody signed, so that a policy that holds refuses it.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.namespaces.insert("prod".into(), [("tier".to_owned(), "gold".to_owned())].into());
    cluster
}

fn with_preconditions(conditions: Value) -> Value {
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["spec"]["rules"][0]["celPreconditions"] = conditions;
    policy
}

fn with_match_conditions(conditions: Value) -> Value {
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["spec"]["webhookConfiguration"] = json!({ "matchConditions": conditions });
    policy
}

fn one(expression: &str) -> Value {
    json!([{"name": "c", "expression": expression}])
}

/// What decides: whether the rule said no, said nothing, or could not tell.
fn said(policy: &Value, request: &Request) -> Option<Status> {
    let decision = cluster().decide(read(policy), request);
    let worst = decision.results.iter().map(|result| result.status).max();
    assert_eq!(decision.admits(), !matches!(worst, Some(Status::Fail | Status::Error)), "{decision:?}");
    worst.filter(|status| *status != Status::Skip)
}

#[test]
fn a_condition_decides_alone_whether_a_rule_and_a_policy_hold() {
    for (expression, expected) in [
        ("true", Some(Status::Fail)),
        ("false", None),
        ("object.metadata.name == 'app'", Some(Status::Fail)),
        ("object.metadata.name == 'other'", None),
        ("request.userInfo.username == 'ci'", Some(Status::Fail)),
        ("request.userInfo.username == 'admin'", None),
        ("request.operation == 'CREATE'", Some(Status::Fail)),
        ("namespaceObject.metadata.labels.tier == 'gold'", Some(Status::Fail)),
        ("namespaceObject.metadata.labels.tier == 'tin'", None),
        ("oldObject == null", Some(Status::Fail)),
        ("object.metadata.nothing == 1", Some(Status::Error)),
        ("object.metadata.name", Some(Status::Error)),
    ] {
        let mut request = request(pod(&[IMAGE]));
        request.user.name = "ci".into();
        assert_eq!(said(&with_preconditions(one(expression)), &request), expected, "rule: {expression}");
        assert_eq!(said(&with_match_conditions(one(expression)), &request), expected, "policy: {expression}");
    }
}

#[test]
fn one_condition_that_does_not_hold_is_enough_whatever_cannot_be_told_of_another() {
    let two = |first: &str, second: &str| json!([{"name": "a", "expression": first}, {"name": "b", "expression": second}]);
    let pod = request(pod(&[IMAGE]));
    for (first, second, expected) in [
        ("true", "true", Some(Status::Fail)),
        ("true", "false", None),
        ("object.x == 1", "false", None),
        ("true", "object.x == 1", Some(Status::Error)),
    ] {
        assert_eq!(said(&with_match_conditions(two(first, second)), &pod), expected, "{first}, {second}");
        assert_eq!(said(&with_preconditions(two(first, second)), &pod), expected, "{first}, {second}");
    }
    let ignoring = {
        let mut policy = with_match_conditions(one("object.x == 1"));
        policy["spec"]["failurePolicy"] = "Ignore".into();
        policy
    };
    assert!(cluster().decide(read(&ignoring), &pod).admits());
    let mut away = cluster();
    away.away.insert("the namespace".into());
    let asks = with_match_conditions(one("namespaceObject.metadata.labels.tier == 'gold'"));
    let decision = away.decide(read(&asks), &pod);
    assert!(!decision.admits());
    assert_eq!(decision.results[0].reason, "unreachable");
}

#[test]
fn what_makes_pods_is_looked_at_in_its_template_and_what_is_there_without_a_request() {
    let of_pods = with_preconditions(one("object.spec.containers.exists(c, c.name == 'c0')"));
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "prod"}, "spec": {"template": {"spec": pod(&[IMAGE])["spec"]}}});
    assert_eq!(said(&of_pods, &request(deployment)), Some(Status::Fail));
    let mut background = request(pod(&[IMAGE]));
    background.background = true;
    let by_nobody = with_match_conditions(one("request.userInfo.username != ''"));
    assert_eq!(said(&by_nobody, &background), Some(Status::Fail), "nobody asks, so it says nothing");
    assert_eq!(said(&with_match_conditions(one("object.metadata.name == 'other'")), &background), None);
    let mut update = request(pod(&[IMAGE]));
    update.operation = Operation::Update;
    update.old_object = Some(pod(&["ghcr.io/acme/app:v0"]));
    let changed =
        with_match_conditions(one("oldObject.spec.containers[0].image != object.spec.containers[0].image"));
    assert_eq!(said(&changed, &update), Some(Status::Fail));
    let lints: Vec<&str> = read(&of_pods).lints().iter().map(|lint| lint.code).collect();
    assert_eq!(lints, ["cel_preconditions_hold"]);
}
