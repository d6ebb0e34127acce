//! Kyverno's own sample policies load, and decide as their documentation says; with names, keys and logs replaced by the
//! ones of these tests.

use std::path::Path;

use countersign_crypto::Signer as _;
use countersign_policy::{Pin, Status};
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::validate::with_config;
use crate::{read, request, result, told};

/// A sample, if the folder is there.
pub(crate) fn sample(name: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/kyverno-policies");
    if !folder.is_dir() {
        println!("skipped: ../shared/testdata/kyverno-policies is not there");
        return None;
    }
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    Some(serde_saphyr::from_str(&text).unwrap())
}

/// The keyless attestor of the first attestation, made Alice.
fn alices(policy: &mut Value) {
    let keyless = policy
        .pointer_mut("/spec/rules/0/verifyImages/0/attestations/0/attestors/0/entries/0/keyless")
        .unwrap();
    *keyless = json!({"subject": "alice@*", "issuer": "https://issuer.example", "rekor": {"url": "https://log0.example"}});
}

/// The status and reason over a pod with this image.
fn ends(cluster: &Cluster, policy: &Value, image: &str) -> (Status, String) {
    let decision = cluster.decide(read(policy), &request(pod(&[image])));
    let (_, status, reason) = told(&decision);
    (status, reason.to_owned())
}

#[test]
fn all_of_them_load() {
    for name in [
        "only-trustworthy-registries-set-root.yaml",
        "require-vulnerability-scan.yaml",
        "resolve-image-to-digest.yaml",
        "verify-image-slsa.yaml",
        "verify-image-with-multi-keys.yaml",
        "verify-image.yaml",
        "verify-sbom-cyclonedx.yaml",
    ] {
        let Some(policy) = sample(name) else { return };
        read(&policy);
    }
}

#[test]
fn verify_image_asks_for_a_signature_by_its_key_on_its_repository() {
    let Some(mut policy) = sample("verify-image.yaml") else { return };
    let signer = key();
    policy["spec"]["rules"][0]["verifyImages"][0]["attestors"][0]["entries"][0]["keys"]["publicKeys"] =
        json!(signer.public_key().to_pem());
    let image = "ghcr.io/kyverno/test-verify-image:signed";
    let mut cluster = Cluster::new();
    let digest = cluster.put(image);
    assert_eq!(ends(&cluster, &policy, image), (Status::Fail, "no_signature".into()));
    cluster.sign(image, By::Key(&signer), &json!({}));
    let decision = cluster.decide(read(&policy), &request(pod(&[image])));
    assert!(decision.admits());
    assert_eq!(decision.pins[0].to, format!("{image}@{digest}"));
    let elsewhere = cluster.decide(read(&policy), &request(pod(&["ghcr.io/kyverno/other:v1"])));
    assert!(elsewhere.results.is_empty());
}

#[test]
fn verify_image_with_multi_keys_asks_for_two_keys_of_a_config_map() {
    let Some(policy) = sample("verify-image-with-multi-keys.yaml") else { return };
    let (production, own) = (key(), key());
    let image = "ghcr.io/myorg/myimage:v1";
    let mut cluster = Cluster::new();
    cluster.put(image);
    assert_eq!(ends(&cluster, &policy, image), (Status::Error, "not_found".into()));
    let mut keys = |prod: &countersign_crypto::KeyPair| {
        let pem = |key: &countersign_crypto::KeyPair| key.public_key().to_pem();
        cluster.config_maps.insert(
            "default/keys".into(),
            [("production".into(), pem(&production)), ("prod".into(), pem(prod))].into(),
        );
    };
    keys(&own);
    cluster.sign(image, By::Key(&production), &json!({}));
    assert_eq!(ends(&cluster, &policy, image).0, Status::Fail);
    cluster.sign(image, By::Key(&own), &json!({}));
    assert_eq!(ends(&cluster, &policy, image).0, Status::Pass);
    // The same key twice is no second one.
    let pem = production.public_key().to_pem();
    cluster
        .config_maps
        .insert("default/keys".into(), [("production".into(), pem.clone()), ("prod".into(), pem)].into());
    assert_eq!(ends(&cluster, &policy, image), (Status::Error, "unusable".into()));
    // Nothing is asked for where no image is the policy's.
    cluster.config_maps.clear();
    let decision = cluster.decide(read(&policy), &request(pod(&["ghcr.io/other/image:v1"])));
    assert!(decision.results.is_empty());
}

#[test]
fn require_vulnerability_scan_asks_for_one_that_is_not_older_than_a_week() {
    let Some(mut policy) = sample("require-vulnerability-scan.yaml") else { return };
    alices(&mut policy);
    let image = "ghcr.io/myorg/myrepo:v1";
    // The time of the evaluation is 2023-11-14T23:13:20Z.
    for (finished, expected) in [
        ("2023-11-14T20:00:00Z", Status::Pass),
        ("2023-11-08T00:00:00Z", Status::Pass),
        ("2023-11-07T00:00:00Z", Status::Fail),
        ("yesterday", Status::Fail),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(image);
        let predicate = json!({"metadata": {"scanFinishedOn": finished}});
        cluster.attest(image, By::Alice, "cosign.sigstore.dev/attestation/vuln/v1", &predicate);
        assert_eq!(ends(&cluster, &policy, image).0, expected, "{finished}");
    }
    let mut other = Cluster::new();
    other.put(image);
    let predicate = json!({"metadata": {"scanFinishedOn": "2023-11-14T20:00:00Z"}});
    other.attest(image, By::Key(&key()), "cosign.sigstore.dev/attestation/vuln/v1", &predicate);
    assert_eq!(ends(&other, &policy, image).0, Status::Fail);
}

#[test]
fn verify_slsa_provenance_asks_for_the_builder() {
    let Some(mut policy) = sample("verify-image-slsa.yaml") else { return };
    alices(&mut policy);
    let image = "myreg.org/path/repo:v1";
    let generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml";
    for (builder, expected) in [
        (format!("{generator}@refs/tags/v1.2.3"), Status::Pass),
        (format!("{generator}@refs/heads/main"), Status::Fail),
        (format!("https://evil.example/?{generator}@refs/tags/v1.2.3"), Status::Fail),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(image);
        cluster.attest(
            image,
            By::Alice,
            "https://slsa.dev/provenance/v0.2",
            &json!({"builder": {"id": builder}}),
        );
        assert_eq!(ends(&cluster, &policy, image).0, expected, "{builder}");
    }
}

#[test]
fn verify_sbom_cyclonedx_asks_for_the_format() {
    let Some(mut policy) = sample("verify-sbom-cyclonedx.yaml") else { return };
    alices(&mut policy);
    let image = "myreg.org/path/repo:v1";
    for (format, expected) in [("CycloneDX", Status::Pass), ("SPDX", Status::Fail)] {
        let mut cluster = Cluster::new();
        cluster.put(image);
        cluster.attest(
            image,
            By::Alice,
            "https://cyclonedx.org/schema",
            &json!({"Data": {"bomFormat": format}}),
        );
        assert_eq!(ends(&cluster, &policy, image).0, expected, "{format}");
    }
}

#[test]
fn only_trustworthy_registries_set_root_lets_root_come_from_ghcr_alone() {
    let Some(policy) = sample("only-trustworthy-registries-set-root.yaml") else { return };
    let mut cluster = Cluster::new();
    let root = json!({"config": {}});
    let user = json!({"config": {"User": "1000"}});
    for (image, config, expected) in [
        ("ghcr.io/acme/root:v1", &root, Status::Pass),
        ("quay.io/acme/root:v1", &root, Status::Fail),
        ("quay.io/acme/user:v1", &user, Status::Pass),
    ] {
        with_config(&mut cluster, image, config.clone());
        let decision = cluster.decide(read(&policy), &request(pod(&[image])));
        assert_eq!(result(&decision).status, expected, "{image}");
        assert!(decision.admits(), "it audits");
    }
}

#[test]
fn resolve_image_to_digest_pins_what_the_tag_names() {
    let Some(policy) = sample("resolve-image-to-digest.yaml") else { return };
    let image = "ghcr.io/acme/app:v1";
    let mut cluster = Cluster::new();
    let digest = with_config(&mut cluster, image, json!({}));
    let decision = cluster.decide(read(&policy), &request(pod(&[image])));
    let pin = Pin {
        pointer: "/spec/containers/0/image".into(),
        from: image.into(),
        to: format!("ghcr.io/acme/app@{digest}"),
    };
    assert_eq!(decision.pins, [pin]);
    let spec = json!({"template": {"spec": pod(&[image])["spec"]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "prod"}, "spec": spec});
    let decision = cluster.decide(read(&policy), &request(deployment));
    assert_eq!(decision.pins[0].pointer, "/spec/template/spec/containers/0/image");
    // What would be written and is no pin is refused.
    let mut other = policy;
    other["spec"]["rules"][0]["mutate"]["foreach"][0]["patchStrategicMerge"]["spec"]["containers"][0]["image"] =
        json!("evil.example/app@sha256:{{ 'x' }}");
    let decision = cluster.decide(read(&other), &request(pod(&[image])));
    assert!(decision.pins.is_empty());
    assert_eq!(told(&decision).1, Status::Fail);
}
