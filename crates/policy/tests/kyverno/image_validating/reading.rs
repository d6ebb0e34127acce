//! What of an `ImageValidatingPolicy` is refused when it is read, and what a reader is told.

use std::time::Duration;

use countersign_crypto::Signer as _;
use countersign_policy::Policy as _;
use countersign_policy::kyverno::ImageValidatingPolicy;
use serde_json::{Value, json};

use super::{by_key, policy, read};
use crate::support::key;

fn refused(policy: &Value) -> String {
    match ImageValidatingPolicy::read(policy) {
        Ok(_) => panic!("read: {policy}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_field_that_cannot_be_used_is_refused_by_its_path() {
    let ours = || policy(by_key(&key()), json!({}));
    let pem = key().public_key().to_pem();
    for (pointer, value, path) in [
        (
            "",
            json!({"apiVersion": "policies.kyverno.io/v2", "kind": "ImageValidatingPolicy", "metadata": {"name": "x"}, "spec": {}}),
            "apiVersion",
        ),
        ("/kind", json!("ValidatingPolicy"), "kind"),
        ("/metadata/name", json!(""), "metadata.name"),
        ("/spec/other", json!(1), "spec.other"),
        ("/spec/matchConstraints", json!({}), "spec.matchConstraints.resourceRules"),
        (
            "/spec/matchConstraints/resourceRules/0/operations",
            json!([]),
            "spec.matchConstraints.resourceRules[0].operations",
        ),
        (
            "/spec/matchConstraints/resourceRules/0/operations",
            json!(["LOOK"]),
            "spec.matchConstraints.resourceRules[0].operations[0]",
        ),
        (
            "/spec/matchConstraints/objectSelector",
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            "spec.matchConstraints.objectSelector",
        ),
        ("/spec/validationActions", json!(["Deny", "Warn"]), "spec.validationActions"),
        ("/spec/validationActions", json!(["Shrug"]), "spec.validationActions[0]"),
        ("/spec/failurePolicy", json!("Maybe"), "spec.failurePolicy"),
        ("/spec/evaluation", json!({"mode": "JSON"}), "spec.evaluation.mode"),
        (
            "/spec/webhookConfiguration",
            json!({"timeoutSeconds": 31}),
            "spec.webhookConfiguration.timeoutSeconds",
        ),
        (
            "/spec/autogen",
            json!({"podControllers": {"controllers": ["gadgets"]}}),
            "spec.autogen.podControllers.controllers[0]",
        ),
        ("/spec/credentials", json!({"providers": ["nobody"]}), "spec.credentials.providers[0]"),
        (
            "/spec/matchConditions",
            json!([{"name": "a", "expression": "1 +"}]),
            "spec.matchConditions[0].expression",
        ),
        (
            "/spec/matchConditions",
            json!([{"name": "a", "expression": "images.containers == []"}]),
            "spec.matchConditions[0].expression",
        ),
        (
            "/spec/variables",
            json!([{"name": "a", "expression": "http.Get('x')"}]),
            "spec.variables[0].expression",
        ),
        (
            "/spec/variables",
            json!([{"name": "a", "expression": "resource.x"}]),
            "spec.variables[0].expression",
        ),
        (
            "/spec/variables",
            json!([{"name": "a", "expression": "1"}, {"name": "a", "expression": "1"}]),
            "spec.variables[1].name",
        ),
        ("/spec/matchImageReferences", json!([{}]), "spec.matchImageReferences[0]"),
        (
            "/spec/matchImageReferences",
            json!([{"glob": "a", "expression": "true"}]),
            "spec.matchImageReferences[0]",
        ),
        ("/spec/matchImageReferences", json!([{"glob": "{a,b}"}]), "spec.matchImageReferences[0].glob"),
        ("/spec/images", json!([{"name": "a", "expression": "images.a"}]), "spec.images[0].expression"),
        ("/spec/attestors", json!([]), "spec.attestors"),
        ("/spec/attestors/0/cosign", json!({}), "spec.attestors[0].cosign"),
        (
            "/spec/attestors/0/cosign",
            json!({"key": {"data": pem}, "keyless": {"identities": []}}),
            "spec.attestors[0].cosign",
        ),
        (
            "/spec/attestors/0/cosign/key",
            json!({"data": pem, "kms": "awskms:///x"}),
            "spec.attestors[0].cosign.key",
        ),
        ("/spec/attestors/0/cosign/key", json!({"data": "no key"}), "spec.attestors[0].cosign.key"),
        (
            "/spec/attestors/0/cosign/key",
            json!({"data": format!("{pem}{}", key().public_key().to_pem())}),
            "spec.attestors[0].cosign.key",
        ),
        (
            "/spec/attestors/0/cosign/key",
            json!({"data": pem, "expression": "'x'"}),
            "spec.attestors[0].cosign.key",
        ),
        (
            "/spec/attestors/0/cosign/key",
            json!({"data": pem, "hashAlgorithm": "sha224"}),
            "spec.attestors[0].cosign.key.hashAlgorithm",
        ),
        (
            "/spec/attestors/0/cosign/tuf",
            json!({"mirror": "https://tuf.example"}),
            "spec.attestors[0].cosign.tuf",
        ),
        (
            "/spec/attestors/0/cosign/source",
            json!({"PullSecrets": [{"name": ""}]}),
            "spec.attestors[0].cosign.source.PullSecrets[0].name",
        ),
        (
            "/spec/attestors/0/cosign/source",
            json!({"tagPrefix": "/"}),
            "spec.attestors[0].cosign.source.tagPrefix",
        ),
        (
            "/spec/attestors/0/cosign/source",
            json!({"repository": "Not A Place"}),
            "spec.attestors[0].cosign.key",
        ),
        (
            "/spec/attestors/0/cosign/trustedRoot",
            json!({"value": "{}x"}),
            "spec.attestors[0].cosign.trustedRoot",
        ),
        ("/spec/attestors/0/cosign/ctlog", json!({"rekorPubKey": "no key"}), "spec.attestors[0].cosign.key"),
        (
            "/spec/attestors/0",
            json!({"name": "who", "cosign": {"keyless": {"identities": []}}}),
            "spec.attestors[0].cosign.keyless.identities",
        ),
        (
            "/spec/attestors/0",
            json!({"name": "who", "cosign": {"keyless": {"identities": [{"issuer": "x"}]}}}),
            "spec.attestors[0].cosign.keyless.identities[0]",
        ),
        (
            "/spec/attestors/0",
            json!({"name": "who", "cosign": {"keyless": {"identities": [{"subject": "x"}]}}}),
            "spec.attestors[0].cosign.keyless.identities[0]",
        ),
        (
            "/spec/attestors/0",
            json!({"name": "who", "cosign": {"keyless": {"identities": [{"issuer": "x", "subjectRegExp": "("}]}}}),
            "spec.attestors[0].cosign.keyless.identities[0]",
        ),
        (
            "/spec/attestors/0",
            json!({"name": "who", "cosign": {"certificate": {}}}),
            "spec.attestors[0].cosign.certificate",
        ),
        ("/spec/attestors/0", json!({"name": "who", "notary": {}}), "spec.attestors[0].notary.certs"),
        (
            "/spec/attestors/0",
            json!({"name": "who", "notary": {"certs": {"value": "none"}}}),
            "spec.attestors[0].notary",
        ),
        ("/spec/attestors/0/name", json!(""), "spec.attestors[0].name"),
        ("/spec/attestations", json!([{"name": "a", "referrer": {"type": ""}}]), "spec.attestations[0]"),
        ("/spec/attestations", json!([{"name": "a"}]), "spec.attestations[0]"),
        ("/spec/validations", json!([]), "spec.validations"),
        ("/spec/validations", json!([{"expression": "true"}]), "spec.validations"),
        (
            "/spec/validations",
            json!([{"expression": "imageverify.verify(1)"}]),
            "spec.validations[0].expression",
        ),
        (
            "/spec/validations/0/messageExpression",
            json!("exceptions.x"),
            "spec.validations[0].messageExpression",
        ),
        (
            "/spec/auditAnnotations",
            json!([{"key": "a", "valueExpression": "nope()"}]),
            "spec.auditAnnotations[0].valueExpression",
        ),
    ] {
        let mut policy = ours();
        match pointer.rsplit_once('/') {
            None => policy = value,
            Some((parent, field)) => match policy.pointer_mut(parent).unwrap() {
                Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
                parent => parent[field] = value,
            },
        }
        let told = refused(&policy);
        assert!(told.starts_with(&format!("{path}: ")), "{pointer}: {told}");
    }
}

#[test]
fn a_policy_of_a_namespace_names_secrets_of_its_own_only() {
    let mut namespaced = policy(by_key(&key()), json!({"credentials": {"secrets": ["pull"]}}));
    namespaced["kind"] = "NamespacedImageValidatingPolicy".into();
    namespaced["metadata"]["namespace"] = "prod".into();
    let access = read(&namespaced).access();
    assert_eq!(access.secrets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["prod/pull"]);
    let pulling = with_pull_secret(&namespaced);
    assert_eq!(
        read(&pulling).access().secrets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["prod/evidence", "prod/pull"]
    );
    namespaced["spec"]["credentials"]["secrets"] = json!(["other/pull"]);
    assert!(refused(&namespaced).starts_with("spec.credentials.secrets[0]: "));
    namespaced["spec"]["credentials"] = json!({"allowInsecureRegistry": true, "providers": ["amazon"]});
    assert!(read(&namespaced).access().insecure);
    namespaced["spec"]["attestors"][0]["cosign"]["key"] = json!({"kms": "k8s://other/key"});
    assert!(refused(&namespaced).starts_with("spec.attestors[0].cosign.key: "));
}

fn with_pull_secret(policy: &Value) -> Value {
    let mut policy = policy.clone();
    policy["spec"]["attestors"][0]["cosign"]["source"] = json!({"PullSecrets": [{"name": "evidence"}]});
    policy
}

#[test]
fn what_is_read_more_strictly_is_told() {
    let identity = json!({"issuer": "https://issuer.example", "subjectRegExp": "alice"});
    let loose = policy(
        json!({"cosign": {"keyless": {"identities": [identity]}}}),
        json!({"matchImageReferences": [{"glob": "ghcr.io/acme/app:*"}]}),
    );
    let lints = read(&loose).lints();
    let told: Vec<(&str, &str)> = lints.iter().map(|lint| (lint.path.as_str(), lint.code)).collect();
    assert_eq!(
        told,
        [
            ("spec.attestors[0].cosign.keyless.identities[0].subjectRegExp", "regex_matches_the_whole"),
            ("spec.matchImageReferences[0].glob", "tag_pattern_matches_digests"),
        ]
    );
    let mut webhook = policy(by_key(&key()), json!({"webhookConfiguration": {"timeoutSeconds": 30}}));
    assert_eq!(read(&webhook).timeout(), Some(Duration::from_secs(30)));
    webhook["status"] = json!({"ready": true});
    assert!(read(&webhook).lints().is_empty());
}
