//! The conditions of policies that people run, on predicates as tools write them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::Path;

use countersign_policy::kyverno::{Conditions, Context, substitute};
use serde_json::{Value, json};

/// A document of the samples, or nothing where they are not there.
fn sample(name: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/kyverno-policies");
    let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
        println!("skipped: ../shared/testdata/kyverno-policies is not there");
        return None;
    };
    Some(serde_saphyr::from_str(&text).unwrap())
}

fn context() -> Context {
    Context::new(
        json!({"request": {"namespace": "prod", "operation": "CREATE"}}),
        "2026-11-26T12:00:00Z".parse().unwrap(),
    )
}

fn attestation_conditions(policy: &Value) -> Conditions {
    let conditions = policy.pointer("/spec/rules/0/verifyImages/0/attestations/0/conditions").unwrap();
    let conditions = read(conditions);
    conditions.check().unwrap();
    conditions
}

fn read(conditions: &Value) -> Conditions {
    serde_json::from_value(conditions.clone()).unwrap()
}

#[track_caller]
fn holds(conditions: &Conditions, predicate: Value) -> Option<bool> {
    conditions.hold(&context().merged_over(predicate)).ok().map(|outcome| outcome.holds)
}

#[test]
fn a_scan_is_not_older_than_a_week() {
    let Some(policy) = sample("require-vulnerability-scan.yaml") else { return };
    let conditions = attestation_conditions(&policy);
    let scan = |at: &str| json!({"scanner": {"uri": "trivy"}, "metadata": {"scanFinishedOn": at}});
    assert_eq!(holds(&conditions, scan("2026-11-25T12:00:00Z")), Some(true));
    assert_eq!(holds(&conditions, scan("2026-11-19T12:00:00Z")), Some(true));
    assert_eq!(holds(&conditions, scan("2026-11-19T11:59:59Z")), Some(false));
    // Neither a scan without a time, nor one with something else there, is new.
    assert_eq!(holds(&conditions, json!({"metadata": {}})), None);
    assert_eq!(holds(&conditions, scan("")), None);
    assert_eq!(holds(&conditions, scan("','','') || '1h' || time_since('','2026-11-25T12:00:00Z")), None);
    assert_eq!(holds(&conditions, json!({"metadata": {"scanFinishedOn": null}})), None);
}

#[test]
fn provenance_names_its_builder() {
    let Some(policy) = sample("verify-image-slsa.yaml") else { return };
    let conditions = attestation_conditions(&policy);
    let generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/\
        generator_container_slsa3.yml@refs/tags/";
    let built = |by: String| json!({"builder": {"id": by}});
    assert_eq!(holds(&conditions, built(format!("{generator}v1.2.3"))), Some(true));
    assert_eq!(holds(&conditions, built(format!("{generator}v1.2.3-rc1"))), Some(false));
    assert_eq!(holds(&conditions, built(format!("https://evil.example/?{generator}v1.2.3"))), Some(false));
    assert_eq!(holds(&conditions, built("x') || to_boolean('true".to_owned())), Some(false));
    assert_eq!(holds(&conditions, json!({"builder": {}})), None);
    assert_eq!(holds(&conditions, json!({})), None);
}

#[test]
fn a_bill_of_materials_is_of_its_format() {
    let Some(policy) = sample("verify-sbom-cyclonedx.yaml") else { return };
    let conditions = attestation_conditions(&policy);
    assert_eq!(holds(&conditions, json!({"Data": {"bomFormat": "CycloneDX"}})), Some(true));
    assert_eq!(holds(&conditions, json!({"Data": {"bomFormat": "SPDX"}})), Some(false));
    assert_eq!(holds(&conditions, json!({"Data": {"bomFormat": null}})), Some(false));
    assert_eq!(holds(&conditions, json!({"Data": {}})), None);
}

#[test]
fn keys_come_from_a_config_map_by_the_namespace() {
    let Some(policy) = sample("verify-image-with-multi-keys.yaml") else { return };
    let entries = policy.pointer("/spec/rules/0/verifyImages/0/attestors/0/entries").unwrap();
    let data = json!({"data": {"production": "PEM 1", "prod": "PEM 2"}});
    let replaced = substitute(entries, &context().with("keys", data)).unwrap();
    assert_eq!(replaced, json!([{"keys": {"publicKeys": "PEM 1"}}, {"keys": {"publicKeys": "PEM 2"}}]));
    let error = substitute(entries, &context().with("keys", json!({"data": {"production": "PEM 1"}})));
    assert_eq!(error.unwrap_err().path, "[1].keys.publicKeys");
}

#[test]
fn preconditions_and_denials_on_a_request() {
    let Some(policy) = sample("only-trustworthy-registries-set-root.yaml") else { return };
    let preconditions = read(policy.pointer("/spec/rules/0/preconditions").unwrap());
    assert!(preconditions.hold(&context()).unwrap().holds);
    let background = Context::new(json!({}), context().now());
    // Without a request, the default stands in: "BACKGROUND".
    assert!(preconditions.hold(&background).unwrap().holds);
    let delete = Context::new(json!({"request": {"operation": "DELETE"}}), context().now());
    assert!(!preconditions.hold(&delete).unwrap().holds);
    let denial = policy.pointer("/spec/rules/0/validate/foreach/0/deny/conditions").unwrap();
    let denial = read(denial);
    let image = |registry: &str, user: Value| {
        let data = json!({"registry": registry, "configData": {"config": {"User": user}}});
        denial.hold(&context().with("imageData", data)).unwrap().holds
    };
    assert!(image("docker.io", json!("")));
    assert!(image("docker.io", json!(null)));
    assert!(!image("docker.io", json!("1000")));
    assert!(!image("ghcr.io", json!("")));
}
