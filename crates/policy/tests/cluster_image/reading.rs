//! What is refused when a policy is read, with the field that it is about; and what a reader is told.

use countersign_policy::Policy as _;
use countersign_policy::cluster_image::ClusterImagePolicy;
use serde_json::{Value, json};

use crate::support::key;
use crate::{alice, by_key, policy, read, with};

#[test]
fn each_field_that_cannot_be_used_is_named() {
    let authority = |changes: &[(&str, Value)]| policy(json!([with(alice(), changes)]));
    let spec =
        |name: &str, value: Value| with(policy(json!([alice()])), &[(&format!("/spec/{name}"), value)]);
    let said = |changes: &[(&str, Value)]| {
        let said = with(json!({"name": "a", "predicateType": "vuln"}), changes);
        authority(&[("/attestations", json!([said]))])
    };
    let inner = |inner: Value| said(&[("/policy", inner)]);
    let rego = "package sigstore\nisCompliant = true";
    for (policy, path, message) in [
        (spec("images", json!([])), "spec.images", "at least one pattern"),
        (spec("images", json!([{"glob": ""}])), "spec.images[0].glob", "empty"),
        (spec("images", json!([{"glob": "a?"}])), "spec.images[0].glob", "letters"),
        (spec("images", json!([{"regex": "a"}])), "spec.images[0].regex", "unknown field"),
        (spec("mode", json!("audit")), "spec.mode", "enforce"),
        (spec("match", json!([{"resource": "services"}])), "spec.match[0].resource", "pods"),
        (spec("match", json!([{"selector": {}}])), "spec.match[0].resource", "pods"),
        (spec("match", json!([{"resource": "jobs", "version": "v1"}])), "spec.match[0].group", "batch"),
        (spec("match", json!([{"resource": "pods"}])), "spec.match[0].version", "v1"),
        (
            spec(
                "match",
                json!([{"resource": "pods", "version": "v1", "selector": {"matchLabels": {"a": "*"}}}]),
            ),
            "spec.match[0].selector.matchLabels",
            "wildcard",
        ),
        (spec("authorities", json!([])), "spec.authorities", "nobody"),
        (spec("authorities", json!([{"name": "a"}])), "spec.authorities[0]", "key, keyless and static"),
        (spec("authorities", json!([alice(), alice()])), "spec.authorities[1].name", "another name"),
        (spec("other", json!(1)), "spec.other", "unknown field"),
        (authority(&[("/static", json!({"action": "pass"}))]), "spec.authorities[0]", "only one"),
        (
            authority(&[("/keyless/identities", json!([]))]),
            "spec.authorities[0].keyless.identities",
            "anybody",
        ),
        (
            authority(&[("/keyless/identities/0/issuerRegExp", json!(".*"))]),
            "spec.authorities[0].keyless.identities[0].issuer",
            "both",
        ),
        (
            authority(&[("/keyless/ca-cert", json!({"data": "x"}))]),
            "spec.authorities[0].keyless.ca-cert.data",
            "roots",
        ),
        (
            authority(&[
                ("/keyless/ca-cert", json!({"data": "x"})),
                ("/keyless/url", json!("https://a.example")),
            ]),
            "spec.authorities[0].keyless",
            "url or ca-cert",
        ),
        (
            authority(&[("/keyless/ca-cert", json!({"data": "x"})), ("/keyless/trustRootRef", json!("a"))]),
            "spec.authorities[0].keyless",
            "ca-cert or trustRootRef",
        ),
        (authority(&[("/keyless/url", json!("fulcio"))]), "spec.authorities[0].keyless.url", "address"),
        (authority(&[("/ctlog", json!({"url": "file:///x"}))]), "spec.authorities[0].ctlog.url", "address"),
        (
            authority(&[("/rfc3161timestamp", json!({}))]),
            "spec.authorities[0].rfc3161timestamp.trustRootRef",
            "TrustRoot",
        ),
        (authority(&[("/signatureFormat", json!("both"))]), "spec.authorities[0].signatureFormat", "legacy"),
        (
            authority(&[("/source", json!([{"oci": "a"}, {"oci": "b"}]))]),
            "spec.authorities[0].source",
            "one source",
        ),
        (authority(&[("/source", json!([{}]))]), "spec.authorities[0].source[0].oci", "repository"),
        (authority(&[("/source", json!([{"oci": "UPPER"}]))]), "spec.authorities[0].source[0].oci", ""),
        (
            authority(&[("/source", json!([{"oci": "ghcr.io/a/b", "tagPrefix": "a/b"}]))]),
            "spec.authorities[0].source[0].tagPrefix",
            "a tag can begin",
        ),
        (
            authority(&[("/source", json!([{"signaturePullSecrets": [{}]}]))]),
            "spec.authorities[0].source[0].signaturePullSecrets[0].name",
            "Secret",
        ),
        (said(&[("/name", json!(""))]), "spec.authorities[0].attestations[0].name", "name"),
        (
            said(&[("/predicateType", json!("vulnerability-list"))]),
            "spec.authorities[0].attestations[0].predicateType",
            "vuln",
        ),
        (inner(json!({"type": "sql"})), "spec.authorities[0].attestations[0].policy.type", "rego"),
        (inner(json!({"type": "rego"})), "spec.authorities[0].attestations[0].policy.data", "neither"),
        (
            inner(json!({"type": "rego", "data": "package sigstore"})),
            "spec.authorities[0].attestations[0].policy.data",
            "isCompliant",
        ),
        (
            inner(json!({"type": "rego", "data": rego, "includeSpec": true})),
            "spec.authorities[0].attestations[0].policy.includeSpec",
            "spec.policy only",
        ),
        (
            inner(json!({"type": "rego", "data": rego, "configMapRef": {"name": "a", "key": "b"}})),
            "spec.authorities[0].attestations[0].policy.configMapRef",
            "both",
        ),
        (
            inner(json!({"type": "rego", "configMapRef": {"name": "a"}})),
            "spec.authorities[0].attestations[0].policy.configMapRef.key",
            "name",
        ),
        (
            spec(
                "policy",
                json!({"type": "rego", "remote": {"url": "https://a.example/p", "sha256sum": "12ab"}}),
            ),
            "spec.policy.remote",
            "12ab",
        ),
        (spec("policy", json!({"type": "cue", "data": "a: 1"})), "spec.policy.type", "a == 1"),
    ] {
        let error = ClusterImagePolicy::read(&policy).unwrap_err();
        assert_eq!(error.path, path, "{error}");
        assert!(error.message.contains(message), "{path}: {error}");
    }
}

#[test]
fn each_part_of_a_static_or_a_key_authority_that_cannot_be_used_is_named() {
    let fixed = json!({"name": "fixed", "static": {"action": "pass"}});
    for (changes, path) in [
        (("/attestations", json!([{"name": "a", "predicateType": "vuln"}])), "attestations"),
        (("/source", json!([{"oci": "ghcr.io/a/b"}])), "source"),
        (("/ctlog", json!({})), "ctlog"),
        (("/rfc3161timestamp", json!({"trustRootRef": "a"})), "rfc3161timestamp"),
        (("/signatureFormat", json!("bundle")), "signatureFormat"),
        (("/static/message", json!("why")), "static.message"),
        (("/static/action", json!("maybe")), "static.action"),
    ] {
        let error = ClusterImagePolicy::read(&policy(json!([with(fixed.clone(), &[changes])]))).unwrap_err();
        assert_eq!(error.path, format!("spec.authorities[0].{path}"), "{error}");
    }
    let key = by_key(&key());
    for (source, path) in [
        (json!({}), "key"),
        (json!({"data": "-----BEGIN PUBLIC KEY-----"}), "key.data"),
        (json!({"data": "x", "kms": "hashivault://a"}), "key"),
        (json!({"secretRef": {}}), "key.secretRef.name"),
        (json!({"kms": "a"}), "key.kms"),
        (json!({"kms": "https://key.example"}), "key.kms"),
        (json!({"kms": "env://HOME"}), "key.kms"),
        (json!({"kms": "k8s://kube-system/cosign"}), "key.kms"),
        (json!({"kms": "awskms:///alias/a"}), "key.kms"),
        (json!({"kms": "awskms://host/arn:aws:kms:us-east-2:1:key/a"}), "key.kms"),
        (json!({"kms": "awskms:///arn:aws:kms:us-east-2:1:other/a"}), "key.kms"),
        (json!({"kms": "gcpkms://a", "hashAlgorithm": "md5"}), "key.hashAlgorithm"),
    ] {
        let error =
            ClusterImagePolicy::read(&policy(json!([with(key.clone(), &[("/key", source)])]))).unwrap_err();
        assert_eq!(error.path, format!("spec.authorities[0].{path}"), "{error}");
    }
}

#[test]
fn what_is_no_policy_of_these_is_refused() {
    let good = policy(json!([alice()]));
    for (pointer, value, path) in [
        ("/apiVersion", json!("policy.sigstore.dev/v1"), "apiVersion"),
        ("/kind", json!("TrustRoot"), "kind"),
        ("/metadata", json!({}), "metadata.name"),
        ("/other", json!({}), "other"),
    ] {
        assert_eq!(
            ClusterImagePolicy::read(&with(good.clone(), &[(pointer, value)])).unwrap_err().path,
            path
        );
    }
    let alpha =
        with(good, &[("/apiVersion", json!("policy.sigstore.dev/v1alpha1")), ("/status", json!({"a": 1}))]);
    read(&alpha);
}

#[test]
fn what_is_read_more_strictly_is_told() {
    let authority = with(
        alice(),
        &[
            ("/keyless/identities/0", json!({"issuer": "https://issuer.example", "subjectRegExp": ".*"})),
            ("/keyless/url", json!("https://fulcio.example")),
            ("/ctlog", json!({})),
        ],
    );
    let secret = json!({"key": {"secretRef": {"name": "a", "namespace": "other"}}});
    let hash = json!({"key": {"kms": "hashivault://a", "hashAlgorithm": "sha224"}});
    let policy = with(policy(json!([authority, secret, hash])), &[("/spec/images", json!([{"glob": "*"}]))]);
    let told: Vec<(String, &str)> =
        read(&policy).lints().into_iter().map(|lint| (lint.path, lint.code)).collect();
    for (path, code) in [
        ("spec.images[0].glob", "glob_of_docker_hub_alone"),
        ("spec.authorities[0].keyless.identities[0].subjectRegExp", "regex_matches_whole_text"),
        ("spec.authorities[0].keyless.url", "address_is_not_trust"),
        ("spec.authorities[0].ctlog", "no_log_is_asked_for"),
        ("spec.authorities[1].key.secretRef.namespace", "secret_of_another_namespace"),
        ("spec.authorities[2]", "authority_cannot_be_checked"),
    ] {
        assert!(told.contains(&(path.to_owned(), code)), "{path} {code}: {told:?}");
    }
    assert_eq!(told.len(), 6, "{told:?}");
}
