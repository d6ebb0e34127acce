//! What is refused when a policy is read, with the field's path.

use countersign_policy::own::ImagePolicy;
use countersign_policy::{Policy as _, load, read_documents};
use serde_json::{Value, json};

use crate::support::key;
use crate::{alice, holder, policy, with};

fn refused(policy: &Value) -> (String, String) {
    let error = ImagePolicy::read(policy).expect_err(&policy.to_string());
    (error.path, error.message)
}

#[test]
fn what_names_nobody_or_everybody_is_refused() {
    let issuer = "https://issuer.example";
    for (who, path) in [
        (json!({}), "spec.signedBy"),
        (json!({"anyOf": []}), "spec.signedBy.anyOf"),
        (json!({"allOf": []}), "spec.signedBy.allOf"),
        (json!({"atLeast": 0, "of": [alice()]}), "spec.signedBy.atLeast"),
        (json!({"atLeast": 2, "of": [alice()]}), "spec.signedBy.atLeast"),
        (json!({"atLeast": 1}), "spec.signedBy"),
        (json!({"of": [alice()]}), "spec.signedBy"),
        (json!({"anyOf": [alice()], "allOf": [alice()]}), "spec.signedBy"),
        (json!({"anyOf": [alice()], "email": "a@b.example", "issuer": issuer}), "spec.signedBy"),
        (json!({"allOf": [alice(), with(alice(), json!({"name": "again"}))]}), "spec.signedBy.allOf[1]"),
        (json!({"anyOf": [{"allOf": [{}]}]}), "spec.signedBy.anyOf[0].allOf[0]"),
        (json!({"email": "a@b.example"}), "spec.signedBy"),
        (json!({"issuer": issuer}), "spec.signedBy"),
        (json!({"email": "*", "issuer": issuer}), "spec.signedBy.email"),
        (json!({"email": "*@b.example", "issuer": issuer}), "spec.signedBy.email"),
        (json!({"email": "a@b.example", "subject": "x", "issuer": issuer}), "spec.signedBy"),
        (json!({"subject": "", "issuer": issuer}), "spec.signedBy.subject"),
        (json!({"subject": "a", "issuer": ""}), "spec.signedBy.issuer"),
        (json!({"subject": "*", "issuer": "*"}), "spec.signedBy"),
        (json!({"subjectRegex": ".*", "issuerRegex": "^.+$"}), "spec.signedBy"),
        (json!({"subjectRegex": "(", "issuer": issuer}), "spec.signedBy.subject"),
        (json!({"subject": "a", "issuer": issuer, "issuerRegex": "b"}), "spec.signedBy"),
        (json!({"subject": "a", "issuer": issuer, "workflow": "release.yml"}), "spec.signedBy"),
        (json!({"repo": "acme"}), "spec.signedBy.repo"),
        (json!({"repo": "acme/*"}), "spec.signedBy.repo"),
        (json!({"gitlab": "acme/../x"}), "spec.signedBy.gitlab"),
        (with(alice(), json!({"extensions": {"no-such": "x"}})), "spec.signedBy.extensions"),
        (
            with(alice(), json!({"extensions": {"source-repository-uri": ""}})),
            "spec.signedBy.extensions.source-repository-uri",
        ),
        (json!({"key": ""}), "spec.signedBy.key"),
        (json!({"key": "-----BEGIN PUBLIC KEY-----\nnone"}), "spec.signedBy.key"),
        (json!({"key": "cosign.pub"}), "spec.signedBy.key"),
        (json!({"key": "https://169.254.169.254/key"}), "spec.signedBy.key"),
        (json!({"key": "env://HOME"}), "spec.signedBy.key"),
        (json!({"key": "file:///etc/passwd"}), "spec.signedBy.key"),
        (json!({"key": "pkcs11:object=a?module-path=/tmp/a.so&x=://"}), "spec.signedBy.key"),
        (json!({"key": "k8s://"}), "spec.signedBy.key"),
        (with(holder(&key()), json!({"email": "a@b.example"})), "spec.signedBy"),
        (with(alice(), json!({"who": "x"})), "spec.signedBy.who"),
    ] {
        assert_eq!(refused(&policy(json!({"signedBy": who}))).0, path, "{who}");
    }
    let two =
        format!("{}{}", holder(&key())["key"].as_str().unwrap(), holder(&key())["key"].as_str().unwrap());
    assert_eq!(refused(&policy(json!({"signedBy": {"key": two}}))).0, "spec.signedBy.key");
}

#[test]
fn what_says_nothing_or_something_unknown_is_refused() {
    let signed = |changes: Value| policy(with(json!({"signedBy": alice()}), changes));
    let with_condition = |text: &str| {
        policy(json!({"attestations": [{"predicate": "spdx", "signedBy": alice(), "conditions": [text]}]}))
    };
    for (policy, path) in [
        (policy(json!({})), "spec"),
        (policy(json!({"attestations": []})), "spec"),
        (signed(json!({"images": []})), "spec.images"),
        (signed(json!({"namespaces": []})), "spec.namespaces"),
        (signed(json!({"namespaces": [""]})), "spec.namespaces[0]"),
        (signed(json!({"namespaceSelector": {}})), "spec.namespaceSelector"),
        (signed(json!({"objectSelector": {}})), "spec.objectSelector"),
        (signed(json!({"action": "block"})), "spec.action"),
        (signed(json!({"digest": "yes"})), "spec.digest"),
        (signed(json!({"couldNotCheck": "maybe"})), "spec.couldNotCheck"),
        (signed(json!({"evidenceRepository": "Not A Name"})), "spec.evidenceRepository"),
        (signed(json!({"trust": {"root": ""}})), "spec.trust"),
        (signed(json!({"trust": {"root": "a", "document": "{}"}})), "spec.trust"),
        (signed(json!({"trust": {"document": "{"}})), "spec.trust.document"),
        (signed(json!({"trust": {"certificateAuthorities": ""}})), "spec.trust"),
        (signed(json!({"trust": {"transparencyLogUrl": "log.example"}})), "spec.trust.transparencyLogUrl"),
        (signed(json!({"trust": {"rekor": "x"}})), "spec.trust.rekor"),
        (signed(json!({"require": {"logs": true}})), "spec.require.logs"),
        (
            signed(json!({"attestations": [{"predicate": "spx", "signedBy": alice()}]})),
            "spec.attestations[0].predicate",
        ),
        (
            signed(json!({"attestations": [{"predicate": "spdx", "signedBy": {}}]})),
            "spec.attestations[0].signedBy",
        ),
        (
            signed(
                json!({"attestations": [{"predicate": "spdx", "signedBy": alice(), "notOlderThan": "-1d"}]}),
            ),
            "spec.attestations[0].notOlderThan",
        ),
        (
            signed(
                json!({"attestations": [{"predicate": "spdx", "signedBy": alice(), "notOlderThan": "0s"}]}),
            ),
            "spec.attestations[0].notOlderThan",
        ),
        (
            signed(
                json!({"attestations": [{"predicate": "spdx", "signedBy": alice(), "notOlderThan": "30"}]}),
            ),
            "spec.attestations[0].notOlderThan",
        ),
        (
            signed(json!({"attestations": [{"predicate": "spdx", "signedBy": alice(), "which": "one"}]})),
            "spec.attestations[0].which",
        ),
        (
            signed(
                json!({"attestations": [{"predicate": "spdx", "signedBy": alice()}, {"predicate": "spdx", "signedBy": alice()}]}),
            ),
            "spec.attestations[1].name",
        ),
        (signed(json!({"imagess": []})), "spec.imagess"),
        (with_condition("predicate.critical =="), "spec.attestations[0].conditions[0]"),
        (with_condition("nonsense(predicate)"), "spec.attestations[0].conditions[0]"),
        (with_condition("preddicate.critical == 0"), "spec.attestations[0].conditions[0]"),
    ] {
        assert_eq!(refused(&policy).0, path, "{policy}");
    }
    assert!(refused(&policy(json!({"attestations": [{"predicate": "spdx"}]}))).1.contains("signedBy"));
    for (field, value) in [("apiVersion", "countersign.dev/v1"), ("kind", "Policy")] {
        let mut policy = signed(json!({}));
        policy[field] = value.into();
        assert_eq!(refused(&policy).0, field);
    }
    let mut policy = signed(json!({}));
    policy["metadata"]["name"] = "".into();
    assert_eq!(refused(&policy).0, "metadata.name");
}

#[test]
fn everybody_of_an_issuer_is_a_remark_and_everybody_is_one_under_ones_own_authority() {
    let codes = |policy: &Value| {
        let lints = ImagePolicy::read(policy).unwrap().lints();
        lints.into_iter().map(|lint| (lint.path, lint.code)).collect::<Vec<_>>()
    };
    let remark = vec![("spec.signedBy".to_owned(), "any_subject")];
    let of = json!({"signedBy": {"subject": "*", "issuer": "https://issuer.example"}});
    assert_eq!(codes(&policy(of)), remark);
    let own = json!({"signedBy": {"subject": "*", "issuer": "*"}, "trust": {"root": "acme"}});
    assert_eq!(codes(&policy(own)), remark);
    assert_eq!(codes(&policy(json!({"signedBy": alice()}))), []);
}

#[test]
fn nesting_and_numbers_have_limits() {
    let mut who = alice();
    for _ in 0..12 {
        who = json!({"anyOf": [who]});
    }
    assert!(refused(&policy(json!({"signedBy": who}))).1.contains("levels"));
    let many: Vec<Value> =
        (0..300).map(|n| with(alice(), json!({"email": format!("a{n}@b.example")}))).collect();
    assert!(refused(&policy(json!({"signedBy": {"anyOf": many}}))).1.contains("signers"));
}

#[test]
fn both_kinds_load_from_a_file() {
    let text = "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: acme}\nspec:\n  \
                images: [\"ghcr.io/acme/**\"]\n  signedBy: {repo: acme/app}\n---\n\
                apiVersion: countersign.dev/v1alpha1\nkind: PolicyException\nmetadata: {name: old}\nspec:\n  \
                policies: [acme]\n  images: [ghcr.io/acme/old]\n  owner: me@acme.example\n  reason: old\n  until: 2026-12-31\n";
    let loaded = load(read_documents(text).unwrap()).unwrap();
    let names: Vec<String> = loaded.policies().map(|policy| policy.name().to_string()).collect();
    assert_eq!((names, loaded.own_exceptions.len()), (vec!["ImagePolicy acme".to_owned()], 1));
}
