//! Attestations, policies over them in Rego, and the policy over all that was verified.

use std::collections::BTreeMap;

use countersign_policy::{ImageData, Status};
use countersign_registry::Descriptor;
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::{IMAGE, alice, by_key, policy, read, request, result, told, with};

const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const CLEAN: &str = "package sigstore\ndefault isCompliant = false\nisCompliant { input.predicateType == \
                     \"https://cosign.sigstore.dev/attestation/vuln/v1\"; input.predicate.findings == 0 }";

fn scanned(findings: u32) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.attest(IMAGE, By::Alice, VULN, &json!({"findings": findings}));
    cluster
}

fn wanting(attestations: Value) -> Value {
    policy(json!([with(alice(), &[("/attestations", attestations)])]))
}

fn rego(text: &str) -> Value {
    json!({"type": "rego", "data": text})
}

#[test]
fn cve_2022_35930_a_valid_attestation_of_another_type_is_none() {
    let cluster = scanned(0);
    assert!(told(&cluster, &wanting(json!([{"name": "scan", "predicateType": "vuln"}]))).0);
    assert!(told(&cluster, &wanting(json!([{"name": "scan", "predicateType": VULN}]))).0);
    for kind in ["spdxjson", "custom", "slsaprovenance1", "https://cosign.sigstore.dev/attestation/vuln/v2"] {
        let policy = wanting(json!([{"name": "a", "predicateType": kind}]));
        let (admitted, status, _) = told(&cluster, &policy);
        assert_eq!((admitted, status), (false, Status::Fail), "{kind}");
        let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
        assert!(result(&decision).message.contains(VULN), "what there is instead is told");
    }
}

#[test]
fn an_attestation_is_no_signature_and_a_signature_no_attestation() {
    let mut cluster = scanned(0);
    assert!(!told(&cluster, &policy(json!([alice()]))).0);
    cluster.evidence.clear();
    cluster.sign(IMAGE, By::Alice, &json!({}));
    assert!(!told(&cluster, &wanting(json!([{"name": "scan", "predicateType": "vuln"}]))).0);
}

#[test]
fn all_attestations_of_an_authority_must_be_there_and_be_its_own() {
    let mut cluster = scanned(0);
    let both = wanting(json!([
        {"name": "scan", "predicateType": "vuln"}, {"name": "sbom", "predicateType": "spdxjson"}]));
    assert!(!told(&cluster, &both).0);
    cluster.attest(IMAGE, By::Key(&key()), "https://spdx.dev/Document", &json!({}));
    assert!(!told(&cluster, &both).0, "another's");
    cluster.attest(IMAGE, By::Alice, "https://spdx.dev/Document", &json!({}));
    assert!(told(&cluster, &both).0);
}

#[test]
fn a_policy_over_an_attestation_must_hold_of_one_of_them() {
    let clean = wanting(json!([{"name": "scan", "predicateType": "vuln", "policy": rego(CLEAN)}]));
    assert!(told(&scanned(0), &clean).0);
    let mut cluster = scanned(3);
    assert_eq!(told(&cluster, &clean), (false, Status::Fail, "policy_not_met".into()));
    cluster.attest(IMAGE, By::Key(&key()), VULN, &json!({"findings": 0}));
    assert!(!told(&cluster, &clean).0, "another's");
    cluster.attest(IMAGE, By::Alice, VULN, &json!({"findings": 0}));
    assert!(told(&cluster, &clean).0);
}

#[test]
fn a_policy_in_a_config_map_is_read_when_it_is_needed() {
    let reference = json!({"type": "rego", "configMapRef": {"name": "policies", "key": "clean.rego"}});
    let policy = wanting(json!([{"name": "scan", "predicateType": "vuln", "policy": reference}]));
    let mut cluster = scanned(0);
    assert_eq!(told(&cluster, &policy).1, Status::Error, "no ConfigMap");
    let put = |cluster: &mut Cluster, key: &str, text: &str| {
        let data = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        cluster.config_maps.insert("cosign-system/policies".into(), data);
    };
    put(&mut cluster, "other.rego", CLEAN);
    assert_eq!(told(&cluster, &policy).1, Status::Error, "no such key");
    put(&mut cluster, "clean.rego", "package sigstore\nisCompliant { http.send({}) }");
    assert_eq!(told(&cluster, &policy).1, Status::Error, "one that may not be evaluated");
    put(&mut cluster, "clean.rego", "package sigstore\nisCompliant { false }");
    assert_eq!(told(&cluster, &policy).1, Status::Fail);
    put(&mut cluster, "clean.rego", CLEAN);
    assert_eq!(told(&cluster, &policy).1, Status::Pass);
}

#[test]
fn an_authority_that_needs_cue_never_holds_and_another_may() {
    let cue = json!({"type": "cue", "data": "predicate: findings: 0"});
    let scan = json!([{"name": "scan", "predicateType": "vuln", "policy": cue}]);
    let cluster = scanned(0);
    assert_eq!(told(&cluster, &wanting(scan.clone())), (false, Status::Error, "unsupported".into()));
    let decision = cluster.decide(read(&wanting(scan.clone())), &request(pod(&[IMAGE])));
    assert!(result(&decision).message.contains("predicate.findings == 0"), "{}", result(&decision).message);
    let clean = json!([{"name": "scan", "predicateType": "vuln", "policy": rego(CLEAN)}]);
    let both = policy(json!([
        with(alice(), &[("/attestations", scan), ("/name", json!("cue"))]),
        with(alice(), &[("/attestations", clean)])
    ]));
    assert!(told(&cluster, &both).0);
}

#[test]
fn the_policy_over_all_sees_who_matched_and_what_it_asks_for() {
    let key = key();
    let mut cluster = scanned(0);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster.sign(IMAGE, By::Key(&key), &json!({}));
    let place = cluster.place(IMAGE);
    let config = json!({"os": "linux", "architecture": "arm64", "variant": "v8", "config": {"User": "1000"}});
    let mut descriptor = Descriptor::of("application/vnd.oci.image.manifest.v1+json", b"{}");
    descriptor.digest = crate::support::digest_of(IMAGE);
    cluster.images.insert(place, ImageData { descriptor, manifest: json!({}), config: Some(config) });
    let scan = with(
        alice(),
        &[("/attestations", json!([{"name": "vuln", "predicateType": "vuln"}])), ("/name", json!("scan"))],
    );
    let fixed = json!({"name": "fixed", "static": {"action": "pass"}});
    let over_all = |condition: &str, changes: &[(&str, Value)]| {
        let mut inner = rego(&format!("package sigstore\nisCompliant {{ {condition} }}"));
        for (name, value) in changes {
            inner[*name] = value.clone();
        }
        let policy = policy(json!([
            alice(),
            by_key(&key),
            scan,
            fixed,
            by_key(&crate::support::key()).as_object().map(|other| {
                let mut other = other.clone();
                other.insert("name".into(), "other".into());
                other
            })
        ]));
        with(policy, &[("/spec/policy", inner)])
    };
    for (condition, changes, holds) in [
        ("input.authorityMatches.alice.signatures[_].subject == \"alice@example.com\"", vec![], true),
        ("input.authorityMatches.alice.signatures[_].issuer == \"https://issuer.example\"", vec![], true),
        ("input.authorityMatches.alice.signatures[_].subject == \"bob@example.com\"", vec![], false),
        ("count(input.authorityMatches.key.signatures) == 1", vec![], true),
        ("input.authorityMatches.scan.attestations.vuln[_].predicateType == \"vuln\"", vec![], true),
        ("input.authorityMatches.fixed.static == true", vec![], true),
        ("input.authorityMatches.other", vec![], false),
        ("input.spec", vec![], false),
        ("count(input.spec.containers) == 1", vec![("includeSpec", json!(true))], true),
        ("input.metadata.name == \"app\"", vec![], false),
        ("input.metadata.name == \"app\"", vec![("includeObjectMeta", json!(true))], true),
        ("input.typemeta.kind == \"Pod\"", vec![("includeTypeMeta", json!(true))], true),
        ("input.typemeta.kind == \"Pod\"", vec![("includeTypeMeta", json!(false))], false),
        (
            "input.config[\"linux/arm64/v8\"].config.User == \"1000\"",
            vec![("fetchConfigFile", json!(true))],
            true,
        ),
        (
            "input.config[\"linux/arm64/v8\"].config.User == \"0\"",
            vec![("fetchConfigFile", json!(true))],
            false,
        ),
    ] {
        let (admitted, _, reason) = told(&cluster, &over_all(condition, &changes));
        assert_eq!(admitted, holds, "{condition} {changes:?}: {reason}");
    }
    cluster.images.clear();
    let changes = [("fetchConfigFile", json!(true))];
    assert_eq!(
        told(&cluster, &over_all("input.config", &changes)).1,
        Status::Error,
        "no configuration to be had"
    );
}

#[test]
fn two_who_signed_the_same_in_the_older_form_are_two() {
    let keys = [key(), key()];
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let public = keys.iter().map(|key| countersign_crypto::Signer::public_key(key).clone()).collect();
    cluster.keys.insert("hashivault://release".into(), public);
    let authority = json!({"name": "release", "key": {"kms": "hashivault://release"}});
    let two = "package sigstore\nisCompliant { count(input.authorityMatches.release.signatures) == 2 }";
    let both = with(policy(json!([authority])), &[("/spec/policy", rego(two))]);
    cluster.sign_older(IMAGE, &keys[0], &json!({}));
    assert!(!told(&cluster, &both).0);
    cluster.sign_older(IMAGE, &keys[1], &json!({}));
    assert_eq!(told(&cluster, &both), (true, Status::Pass, "verified".into()));
}

#[test]
fn the_policy_over_all_is_not_asked_when_nobody_has_signed() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let always =
        with(policy(json!([alice()])), &[("/spec/policy", rego("package sigstore\nisCompliant = true"))]);
    assert_eq!(told(&cluster, &always).1, Status::Fail);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    assert_eq!(told(&cluster, &always).1, Status::Pass);
}
