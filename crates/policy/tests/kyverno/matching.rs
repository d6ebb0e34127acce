//! Which requests a rule is about.

use std::collections::BTreeMap;

use countersign_policy::{Operation, Request, User};
use serde_json::{Value, json};

use crate::support::{Cluster, key, pod};
use crate::{key_entry, read, request, signed_by};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// Whether a policy with this `match` and `exclude` says anything of a request.
fn is_about(blocks: (&Value, &Value), request: &Request) -> bool {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.namespaces.insert("prod".into(), BTreeMap::from([("env".into(), "prod".into())]));
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["spec"]["rules"][0]["match"] = blocks.0.clone();
    policy["spec"]["rules"][0]["exclude"] = blocks.1.clone();
    policy["metadata"]["annotations"] = json!({"pod-policies.kyverno.io/autogen-controllers": "none"});
    !cluster.decide(read(&policy), request).results.is_empty()
}

fn a_pod() -> Request {
    let mut object = pod(&[IMAGE]);
    object["metadata"]["labels"] = json!({"app": "web"});
    object["metadata"]["annotations"] = json!({"team": "blue"});
    let mut request = request(object);
    request.user = User {
        name: "system:serviceaccount:ci:deployer".into(),
        groups: vec!["system:serviceaccounts".into()],
        roles: vec!["prod:editor".into()],
        cluster_roles: vec!["view".into()],
    };
    request
}

/// What selects the pod, and what does not, field by field.
fn filters() -> Vec<(Value, bool)> {
    let resources = |field: &str, value: Value| json!({"resources": {field: value}});
    vec![
        (resources("kinds", json!(["Pod"])), true),
        (resources("kinds", json!(["v1/Pod"])), true),
        (resources("kinds", json!(["*/*"])), true),
        (resources("kinds", json!(["P*"])), true),
        (resources("kinds", json!(["Deployment", "Pod"])), true),
        (resources("kinds", json!(["Deployment"])), false),
        (resources("kinds", json!(["v2/Pod"])), false),
        (resources("kinds", json!(["apps/v1/Pod"])), false),
        (resources("kinds", json!(["*/Pod"])), true),
        (resources("kinds", json!(["Pod/exec"])), false),
        (resources("kinds", json!(["*/exec"])), false),
        (resources("kinds", json!(["v1/Pod/exec"])), false),
        (resources("kinds", json!(["v1beta1/Pod"])), false),
        (resources("name", json!("a??")), true),
        (resources("name", json!("b*")), false),
        (resources("names", json!(["b", "app"])), true),
        (resources("names", json!(["b"])), false),
        (resources("namespaces", json!(["pr*"])), true),
        (resources("namespaces", json!(["test"])), false),
        (resources("annotations", json!({"team": "b*"})), true),
        (resources("annotations", json!({"team": "red"})), false),
        (resources("selector", json!({"matchLabels": {"app": "web"}})), true),
        (resources("selector", json!({"matchLabels": {"app": "db"}})), false),
        (resources("namespaceSelector", json!({"matchLabels": {"env": "prod"}})), true),
        (resources("namespaceSelector", json!({"matchLabels": {"env": "test"}})), false),
        (resources("operations", json!(["CREATE"])), true),
        (resources("operations", json!(["UPDATE"])), false),
        (json!({"roles": ["prod:editor"]}), true),
        (json!({"roles": ["prod:owner"]}), false),
        (json!({"clusterRoles": ["view"]}), true),
        (json!({"clusterRoles": ["cluster-admin"]}), false),
        (json!({"subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "ci"}]}), true),
        (json!({"subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "test"}]}), false),
        (json!({"subjects": [{"kind": "Group", "name": "system:serviceaccounts"}]}), true),
        (json!({"subjects": [{"kind": "Group", "name": "system:masters"}]}), false),
        (json!({"subjects": [{"kind": "User", "name": "system:serviceaccount:ci:*"}]}), true),
        (json!({"subjects": [{"kind": "User", "name": "alice"}]}), false),
    ]
}

#[test]
fn each_field_alone_decides_in_match_and_in_exclude() {
    let pods = json!({"any": [{"resources": {"kinds": ["Pod"]}}]});
    let none = json!({});
    for (filter, selects) in filters() {
        for list in ["any", "all"] {
            let block = json!({ list: [filter] });
            assert_eq!(is_about((&block, &none), &a_pod()), selects, "match {block}");
            assert_eq!(is_about((&pods, &block), &a_pod()), !selects, "exclude {block}");
        }
        assert_eq!(is_about((&filter, &none), &a_pod()), selects, "match {filter}");
    }
}

#[test]
fn any_is_one_and_all_is_every_one() {
    let (yes, no) = (json!({"resources": {"kinds": ["Pod"]}}), json!({"resources": {"kinds": ["Service"]}}));
    let none = json!({});
    assert!(is_about((&json!({"any": [no, yes]}), &none), &a_pod()));
    assert!(!is_about((&json!({"all": [no, yes]}), &none), &a_pod()));
    assert!(is_about((&json!({"all": [yes, yes]}), &none), &a_pod()));
}

#[test]
fn containers_put_into_a_running_pod_are_the_pods() {
    let pods = json!({"any": [{"resources": {"kinds": ["Pod"]}}]});
    let mut request = a_pod();
    request.operation = Operation::Update;
    request.subresource = "ephemeralcontainers".into();
    request.old_object = Some(pod(&[IMAGE]));
    request.object["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": IMAGE}]);
    assert!(is_about((&pods, &json!({})), &request));
    request.subresource = "status".into();
    assert!(!is_about((&pods, &json!({})), &request));
    for (kinds, expected) in
        [("Pod/status", true), ("*/status", true), ("*/*", true), ("Pod.status", true), ("Pod/scale", false)]
    {
        let block = json!({"any": [{"resources": {"kinds": [kinds]}}]});
        assert_eq!(is_about((&block, &json!({})), &request), expected, "{kinds}");
    }
}

#[test]
fn a_policy_of_a_namespace_is_for_that_namespace() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["kind"] = json!("Policy");
    for (namespace, expected) in [("prod", false), ("test", true)] {
        policy["metadata"]["namespace"] = json!(namespace);
        assert_eq!(cluster.decide(read(&policy), &a_pod()).admits(), expected, "{namespace}");
    }
}

#[test]
fn rules_for_pods_hold_for_what_makes_pods_and_for_every_container() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let policy = || read(&signed_by(json!([{"entries": [key_entry(&key())]}])));
    let container = json!([{"name": "a", "image": IMAGE}]);
    for spec in [
        json!({"containers": container}),
        json!({"initContainers": container}),
        json!({"ephemeralContainers": container}),
        json!({"volumes": [{"name": "v", "image": {"reference": IMAGE}}]}),
    ] {
        let template = json!({"template": {"spec": spec}});
        for (api_version, kind, spec) in [
            ("v1", "Pod", spec.clone()),
            ("apps/v1", "Deployment", template.clone()),
            ("apps/v1", "StatefulSet", template.clone()),
            ("apps/v1", "DaemonSet", template.clone()),
            ("apps/v1", "ReplicaSet", template.clone()),
            ("v1", "ReplicationController", template.clone()),
            ("batch/v1", "Job", template.clone()),
            ("batch/v1", "CronJob", json!({"jobTemplate": {"spec": template}})),
        ] {
            let object = json!({"apiVersion": api_version, "kind": kind,
                "metadata": {"name": "x", "namespace": "prod"}, "spec": spec});
            assert!(!cluster.decide(policy(), &request(object)).admits(), "{kind} {spec}");
        }
    }
}

#[test]
fn scans_and_requests_are_told_apart() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    let mut scan = a_pod();
    scan.background = true;
    for (background, admission) in [(true, true), (false, true), (true, false)] {
        policy["spec"]["background"] = json!(background);
        policy["spec"]["admission"] = json!(admission);
        assert_eq!(cluster.decide(read(&policy), &scan).admits(), !background);
        assert_eq!(cluster.decide(read(&policy), &a_pod()).admits(), !admission);
    }
}
