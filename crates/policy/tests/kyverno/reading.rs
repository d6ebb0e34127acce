//! Reading policies: what is refused, by the path of the field; defaults; and what is told about a policy.

use std::time::Duration;

use countersign_policy::kyverno::ClusterPolicy;
use countersign_policy::{Access, ObjectName, Policy as _, PolicyKind, Provider};
use serde_json::{Value, json};

use crate::support::key;
use crate::{alice, key_entry, read, signed_by, verifying};

/// A good policy with a change.
fn changed(pointer: &str, value: Value) -> Value {
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    policy.pointer_mut(parent).unwrap()[name] = value;
    policy
}

/// A good entry with a change.
fn entry(field: &str, value: Value) -> Value {
    changed(&format!("/spec/rules/0/verifyImages/0/{field}"), value)
}

fn attestors(value: Value) -> Value {
    entry("attestors", value)
}

#[test]
fn what_cannot_be_used_is_refused_with_its_path() {
    const ENTRY: &str = "spec.rules[0].verifyImages[0]";
    let in_entry = |rest: &str| format!("{ENTRY}{rest}");
    let own = key_entry(&key());
    let broken = json!({"key": "{{ a( }}", "operator": "Equals", "value": "b"});
    let no_subject = alice(json!({"subject": ""}));
    let nobody = json!({"keyless": {"rekor": {"url": "https://log.example"}}});
    for (policy, path) in [
        (changed("/apiVersion", json!("kyverno.io/v3")), "apiVersion".to_owned()),
        (changed("/kind", json!("Deployment")), "kind".into()),
        (changed("/spec/rules", json!([])), "spec.rules".into()),
        (changed("/spec/rule", json!([])), "spec.rule".into()),
        (changed("/spec/webhookTimeoutSeconds", json!(31)), "spec.webhookTimeoutSeconds".into()),
        (changed("/spec/failurePolicy", json!("Open")), "spec.failurePolicy".into()),
        (
            changed(
                "/spec/webhookConfiguration",
                json!({"matchConditions": [{"name": "x", "expression": "authorizer.path('/x')"}]}),
            ),
            "spec.webhookConfiguration.matchConditions[0].expression".into(),
        ),
        (
            changed("/spec/validationFailureActionOverrides", json!([{"action": "Audit"}])),
            "spec.validationFailureActionOverrides[0]".into(),
        ),
        (
            changed("/spec/rules/0/celPreconditions", json!([{"name": "", "expression": "true"}])),
            "spec.rules[0].celPreconditions[0].name".into(),
        ),
        (changed("/spec/rules/0/match", json!({})), "spec.rules[0].match".into()),
        (changed("/spec/rules/0/match", json!({"any": [{}]})), "spec.rules[0].match.any[0]".into()),
        (
            changed("/spec/rules/0/exclude", json!({"any": [{"resources": {"kind": ["Pod"]}}]})),
            "spec.rules[0].exclude.any[0].resources.kind".into(),
        ),
        (changed("/spec/rules/0/generate", json!({"kind": "x"})), "spec.rules[0].generate".into()),
        (changed("/spec/rules/0/validate", json!({"pattern": {}})), "spec.rules[0]".into()),
        (changed("/spec/rules/0/name", json!("")), "spec.rules[0].name".into()),
        (entry("imageReferences", json!([])), in_entry(".imageReferences")),
        (entry("imageReferences", json!([""])), in_entry(".imageReferences[0]")),
        (entry("imageReferences", json!(["ghcr.io/acme/"])), in_entry(".imageReferences[0]")),
        (entry("imageReferences", json!(["https://ghcr.io/*"])), in_entry(".imageReferences[0]")),
        (entry("skipImageReferences", json!([""])), in_entry(".skipImageReferences[0]")),
        (entry("type", json!("PGP")), in_entry(".type")),
        (entry("mutateDigests", json!(true)), in_entry(".mutateDigests")),
        (entry("repository", json!("not a name")), in_entry(".repository")),
        (entry("validate", json!({"message": "x"})), in_entry(".validate")),
        (
            entry("imageRegistryCredentials", json!({"secrets": ["a/b/c"]})),
            in_entry(".imageRegistryCredentials.secrets[0]"),
        ),
        (
            entry("imageRegistryCredentials", json!({"providers": ["x"]})),
            in_entry(".imageRegistryCredentials.providers[0]"),
        ),
        (attestors(json!([])), ENTRY.into()),
        (attestors(json!([{"entries": []}])), in_entry(".attestors")),
        (attestors(json!([{"count": 0, "entries": [own]}])), in_entry(".attestors[0].count")),
        (attestors(json!([{"count": 2, "entries": [own]}])), in_entry(".attestors[0].count")),
        (attestors(json!([{"entries": [own, own]}])), in_entry(".attestors[0].entries[1]")),
        (attestors(json!([{"entries": [{}]}])), in_entry(".attestors[0].entries[0]")),
        (attestors(json!([{"entries": [{"keys": {}}]}])), in_entry(".attestors[0].entries[0].keys")),
        (
            attestors(json!([{"entries": [{"keys": {"publicKeys": "/etc/key.pub"}}]}])),
            in_entry(".attestors[0].entries[0].keys"),
        ),
        (
            attestors(
                json!([{"entries": [{"keys": {"publicKeys": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}}]}]),
            ),
            in_entry(".attestors[0].entries[0].keys.publicKeys"),
        ),
        (
            attestors(
                json!([{"entries": [{"keys": {"kms": "awskms:///x", "signatureAlgorithm": "sha224"}}]}]),
            ),
            in_entry(".attestors[0].entries[0].keys.signatureAlgorithm"),
        ),
        (
            attestors(json!([{"entries": [{"keys": {"kms": "awskms:///x", "rekor": {"pubkey": "x"}}}]}])),
            in_entry(".attestors[0].entries[0].keys"),
        ),
        (
            attestors(json!([{"entries": [{"certificates": {}}]}])),
            in_entry(".attestors[0].entries[0].certificates"),
        ),
        (
            attestors(json!([{"entries": [{"certificates": {"cert": "x"}}]}])),
            in_entry(".attestors[0].entries[0].certificates.cert"),
        ),
        (attestors(json!([{"entries": [nobody]}])), in_entry(".attestors[0].entries[0].keyless")),
        (attestors(json!([{"entries": [no_subject]}])), in_entry(".attestors[0].entries[0].keyless")),
        (
            attestors(json!([{"entries": [alice(json!({"issuer": ""}))]}])),
            in_entry(".attestors[0].entries[0].keyless"),
        ),
        (
            attestors(json!([{"entries": [alice(json!({"rekor": null}))]}])),
            in_entry(".attestors[0].entries[0].keyless"),
        ),
        (
            attestors(json!([{"entries": [alice(json!({"subjectRegExp": "("}))]}])),
            in_entry(".attestors[0].entries[0].keyless"),
        ),
        (
            attestors(json!([{"entries": [alice(json!({"additionalExtensions": {"x": "y"}}))]}])),
            in_entry(".attestors[0].entries[0].keyless"),
        ),
        (
            attestors(json!([{"entries": [{"attestor": {"entries": []}}]}])),
            in_entry(".attestors[0].entries[0].attestor.entries"),
        ),
        (entry("attestations", json!([{"type": "x"}])), in_entry(".attestations[0].attestors")),
        (
            entry(
                "attestations",
                json!([{"type": "x", "attestors": [{"entries": [own]}], "conditions": [{"all": [broken]}]}]),
            ),
            in_entry(".attestations[0].conditions[0]"),
        ),
        (
            changed("/spec/rules/0/preconditions", json!({"all": [broken]})),
            "spec.rules[0].preconditions".into(),
        ),
        (
            entry("attestations", json!([{"attestors": [{"entries": [own]}]}])),
            in_entry(".attestations[0].type"),
        ),
        (
            entry(
                "attestations",
                json!([{"type": "x", "predicateType": "y", "attestors": [{"entries": [own]}]}]),
            ),
            in_entry(".attestations[0].type"),
        ),
    ] {
        let error = ClusterPolicy::read(&policy).expect_err(&path);
        assert_eq!(error.path, path, "{error}");
    }
}

#[test]
fn nobody_is_named_by_required_alone() {
    let bare = json!({"imageReferences": ["*"]});
    assert!(ClusterPolicy::read(&verifying(bare)).is_err());
    let nothing =
        json!({"imageReferences": ["*"], "required": false, "mutateDigest": false, "verifyDigest": false});
    assert!(ClusterPolicy::read(&verifying(nothing)).is_err());
}

#[test]
fn what_the_api_server_writes_is_read() {
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["metadata"]["managedFields"] = json!([{}]);
    policy["metadata"]["uid"] = json!("x");
    policy["status"] = json!({"ready": true});
    policy["spec"]["validationFailureAction"] = json!("audit");
    policy["spec"]["rules"][0]["skipBackgroundRequests"] = json!(true);
    for empty in ["exclude", "validate", "mutate", "generate"] {
        policy["spec"]["rules"][0][empty] = json!({});
    }
    policy["spec"]["webhookConfiguration"] = json!({"timeoutSeconds": 20});
    let read = read(&policy);
    assert_eq!(read.name().kind, PolicyKind::KyvernoClusterPolicy);
    assert_eq!(read.timeout(), Some(Duration::from_secs(20)));
}

#[test]
fn what_registries_may_be_asked_with_is_the_policys() {
    let credentials =
        json!({"allowInsecureRegistry": true, "providers": ["amazon"], "secrets": ["regcred", "x/y"]});
    let name = |namespace: &str, name: &str| ObjectName { namespace: namespace.into(), name: name.into() };
    let expected = Access {
        insecure: true,
        providers: [Provider::Amazon].into(),
        secrets: [name("", "regcred"), name("x", "y")].into(),
        ..Access::default()
    };
    assert_eq!(read(&entry("imageRegistryCredentials", credentials)).access(), expected);
    let mut own = entry("imageRegistryCredentials", json!({"secrets": ["regcred"]}));
    own["kind"] = json!("Policy");
    own["metadata"]["namespace"] = json!("prod");
    assert_eq!(read(&own).access().secrets, [name("prod", "regcred")].into());
    own["spec"]["rules"][0]["verifyImages"][0]["imageRegistryCredentials"]["secrets"] =
        json!(["other/regcred"]);
    assert!(ClusterPolicy::read(&own).is_err());
}

#[test]
fn what_is_read_more_strictly_is_told() {
    let codes = |policy: &Value| read(policy).lints().iter().map(|lint| lint.code).collect::<Vec<_>>();
    let roots = || {
        let der =
            crate::support::Cluster::new().world.root.certificate_authorities[0].certificates[0].clone();
        countersign_crypto::encoding::pem_encode("CERTIFICATE", &der)
    };
    let plain = signed_by(json!([{"entries": [key_entry(&key())]}]));
    assert_eq!(codes(&plain), [""; 0]);
    for (policy, expected) in [
        (entry("imageReferences", json!(["ghcr.io/acme/app:*"])), "tag_pattern_matches_digests"),
        (
            attestors(json!([{"entries": [alice(json!({"subjectRegExp": "alice"}))]}])),
            "regex_matches_the_whole",
        ),
        (attestors(json!([{"entries": [{"keyless": {"roots": roots()}}]}])), "any_identity_below_the_roots"),
        (entry("required", json!(false)), "always_required"),
        (changed("/spec/validationFailureAction", json!("Audit")), "audit_pins"),
    ] {
        assert_eq!(codes(&policy), [expected]);
    }
}

#[test]
fn rules_that_are_not_about_images_are_refused_with_their_path() {
    let rule = |field: &str, value: Value| {
        json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "x"}, "spec": {"rules": [
            {"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, field: value}]}})
    };
    let broken = json!({"key": "{{ a( }}", "operator": "Equals", "value": "b"});
    let each = |changes: Value| {
        let mut each = json!({"list": "request.object.spec.containers"});
        for (name, value) in changes.as_object().unwrap() {
            each[name] = value.clone();
        }
        json!({ "foreach": [each] })
    };
    let patch = |container: Value| json!({"patchStrategicMerge": {"spec": {"containers": [container]}}});
    let context = |entry: Value| each(json!({"pattern": {"a": "b"}, "context": [entry]}));
    for (policy, path) in [
        (rule("validate", json!({"message": "x"})), "validate"),
        (
            rule(
                "validate",
                json!({"pattern": {}, "deny": {"conditions": {"all": [{"key": "a", "operator": "Equals", "value": "b"}]}}}),
            ),
            "validate",
        ),
        (rule("validate", json!({"cel": {"expressions": []}})), "validate.cel"),
        (rule("validate", json!({"assert": {}})), "validate.assert"),
        (rule("validate", json!({"podSecurity": {"level": "baseline"}})), "validate.podSecurity"),
        (rule("validate", json!({"manifests": {"attestors": []}})), "validate.manifests"),
        (rule("validate", each(patch(json!({})))), "validate.foreach[0].patchStrategicMerge"),
        (
            rule("validate", each(json!({"pattern": {}, "patchesJson6902": "x"}))),
            "validate.foreach[0].patchesJson6902",
        ),
        (rule("validate", context(json!({"name": "x"}))), "validate.foreach[0].context[0].name"),
        (
            rule("validate", context(json!({"name": "request", "variable": {"value": 1}}))),
            "validate.foreach[0].context[0].name",
        ),
        (
            rule("validate", context(json!({"name": "x", "variable": {}}))),
            "validate.foreach[0].context[0].variable",
        ),
        (
            rule("validate", context(json!({"name": "x", "apiCall": {"urlPath": "/"}}))),
            "validate.foreach[0].context[0].apiCall",
        ),
        (
            rule("validate", context(json!({"name": "x", "variable": {"value": 1, "jmesPath": "a("}}))),
            "validate.foreach[0].context[0].variable.jmesPath",
        ),
        (
            rule("validate", context(json!({"name": "x", "variable": {"jmesPath": "a("}}))),
            "validate.foreach[0].context[0].variable.jmesPath",
        ),
        (
            rule("validate", context(json!({"name": "x", "variable": {"value": "{{ a( }}"}}))),
            "validate.foreach[0].context[0].variable.value",
        ),
        (
            rule("validate", context(json!({"name": "x", "variable": {"value": 1, "default": "{{ a( }}"}}))),
            "validate.foreach[0].context[0].variable.default",
        ),
        (
            rule("validate", context(json!({"name": "x", "configMap": {"name": "{{ a( }}"}}))),
            "validate.foreach[0].context[0].configMap",
        ),
        (
            rule(
                "validate",
                context(json!({"name": "x", "imageRegistry": {"reference": "a", "jmesPath": "a("}})),
            ),
            "validate.foreach[0].context[0].imageRegistry.jmesPath",
        ),
        (
            rule("validate", context(json!({"name": "x", "imageRegistry": {"reference": "{{ a( }}"}}))),
            "validate.foreach[0].context[0].imageRegistry.reference",
        ),
        (rule("validate", json!({"deny": {"conditions": {"all": [broken]}}})), "validate.deny.conditions"),
        (
            rule("validate", each(json!({"pattern": {}, "preconditions": {"all": [broken]}}))),
            "validate.foreach[0].preconditions",
        ),
        (rule("mutate", json!({"patchesJson6902": "x"})), "mutate.patchesJson6902"),
        (
            rule("mutate", each(patch(json!({"name": "a", "image": "b", "command": ["sh"]})))),
            "mutate.foreach[0].patchStrategicMerge",
        ),
        (
            rule("mutate", each(json!({"patchStrategicMerge": {"metadata": {"labels": {"a": "b"}}}}))),
            "mutate.foreach[0].patchStrategicMerge",
        ),
        (rule("mutate", each(json!({"pattern": {}}))), "mutate.foreach[0].list"),
        (rule("imageExtractors", json!({"Task": [{"path": "spec"}]})), "imageExtractors.Task[0].path"),
        (rule("imageExtractors", json!({"Task": [{"path": "/spec/*"}]})), "imageExtractors.Task[0].path"),
        (
            rule("imageExtractors", json!({"Task": [{"path": "/spec/a", "jmesPath": "("}]})),
            "imageExtractors.Task[0].jmesPath",
        ),
    ] {
        let error = ClusterPolicy::read(&policy).expect_err(path);
        assert_eq!(error.path, format!("spec.rules[0].{path}"), "{error}");
    }
}
