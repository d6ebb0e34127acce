//! Scans against a registry on loopback: every form of signature, none, and registries that do not answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

#[path = "../../../registry/tests/it/images.rs"]
mod images;
#[path = "../../../registry/tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod registry;
mod statements;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_client::image::Target;
use countersign_client::notary;
use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{KeyPair, KeyType};
use countersign_kubernetes::scan::{Control, Report, Resource, Status, Thresholds, Verdict, read_resources};
use countersign_notary::Format;
use countersign_policy::{
    Action, Ask, Pin, Policy, PolicyKind, PolicyName, PolicySet, Request, RuleResult, Status as RuleStatus,
    Stop,
};
use countersign_registry::Name;
use countersign_registry::evidence::{Material, SimpleSigned, attach_signature};
use jiff::Timestamp;
use serde_json::json;

use support::{BUNDLE, Bench, OLDER, found, pod, scanner};

const SBOM: &str = "https://spdx.dev/Document";

fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())
}

async fn scan(control: Control, keys: &[&Arc<KeyPair>], resources: Vec<Resource>) -> Report {
    scanner(&[control], keys, PolicySet::default()).scan(resources).await
}

/// Where a signer of the Notary Project and its certificates are.
fn notary_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/data/notary")
}

/// Signs an image with the Notary Project's tools.
async fn note(bench: &Bench, target: &Target) {
    let pem = std::fs::read_to_string(notary_data().join("signer.key")).unwrap();
    let signing = notary::Signing {
        format: Format::Jws,
        signer: Arc::new(KeyPair::from_pkcs8(&pem_decode(&pem).unwrap().pop().unwrap().der).unwrap()),
        chain: notary::read_certificates(&notary_data().join("chain.pem")).unwrap(),
        metadata: BTreeMap::new(),
        expiry: None,
        timestamp: None,
        now: Timestamp::now(),
    };
    let name = Name::Digest(target.descriptor.digest);
    notary::sign_image(&bench.store, &bench.store, &name, &signing).await.unwrap();
}

/// The status and the reason of each image.
fn outcomes(report: &Report) -> Vec<(Status, &str)> {
    found(report).iter().map(|image| (image.status, image.reason.as_str())).collect()
}

#[tokio::test]
async fn a_signature_in_any_form_is_one() {
    let bench = Bench::start().await;
    let key = key();
    let bundled = bench.put("bundle", "bundle").await;
    bench.sign(&bundled, &key, BUNDLE).await;
    let older = bench.put("older", "older").await;
    bench.sign(&older, &key, OLDER).await;
    let noted = bench.put("notary", "notary").await;
    note(&bench, &noted).await;
    bench.put("unsigned", "unsigned").await;
    let names = ["bundle", "older", "notary", "unsigned"].map(|tag| bench.image(tag));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let report = scan(Control::SignatureExists, &[], pod(&names)).await;
    assert_eq!(
        outcomes(&report),
        [
            (Status::Passed, "passed"),
            (Status::Passed, "passed"),
            (Status::Passed, "passed"),
            (Status::Failed, "no_signature")
        ]
    );
    let unsigned = &found(&report)[3];
    assert_eq!(unsigned.path, "spec.containers[3].image");
    assert!(
        unsigned.next.starts_with("countersign sign ") && unsigned.next.contains("@sha256:"),
        "{}",
        unsigned.next
    );
    assert_eq!(report.verdict(&Thresholds::default()), Verdict::Bad);
    let audit = report.audit.as_ref().unwrap();
    assert_eq!((audit.registries[&bench.host].images, audit.registries[&bench.host].unsigned), (4, 1));
}

#[tokio::test]
async fn what_is_no_signature_of_this_image_does_not_count() {
    let bench = Bench::start().await;
    let key = key();
    let other = bench.put("other", "other").await;
    bench.sign(&other, &key, OLDER).await;
    let target = bench.put("v1", "v1").await;
    let layer =
        countersign_registry::evidence::discover(&bench.store, &other.descriptor.digest, &Default::default())
            .await
            .unwrap()
            .remove(0);
    let signature = layer.annotations["dev.cosignproject.cosign/signature"].clone();
    let moved = SimpleSigned { payload: layer.bytes, signature, material: Material::default() };
    attach_signature(&bench.store, &target.descriptor.digest, &moved).await.unwrap();
    bench.attest(&target, &key, SBOM, BUNDLE).await;
    let report = scan(Control::SignatureExists, &[], pod(&[&bench.image("v1")])).await;
    assert_eq!(outcomes(&report), [(Status::Failed, "no_signature")]);
    assert!(found(&report)[0].message.contains(SBOM), "a statement is told as that");
}

#[tokio::test]
async fn a_signature_verifies_by_a_trusted_key_only() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let target = bench.put("v1", "v1").await;
    bench.sign(&target, &key, BUNDLE).await;
    let older = bench.put("v2", "v2").await;
    bench.sign(&older, &key, OLDER).await;
    bench.put("v3", "v3").await;
    let names = ["v1", "v2", "v3"].map(|tag| bench.image(tag));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let report = scan(Control::SignatureVerifies, &[&stranger, &key], pod(&names)).await;
    assert_eq!(
        outcomes(&report),
        [(Status::Passed, "passed"), (Status::Passed, "passed"), (Status::Failed, "no_signature")]
    );
    let report = scan(Control::SignatureVerifies, &[&stranger], pod(&names[..2])).await;
    assert!(outcomes(&report).iter().all(|(status, _)| *status == Status::Failed), "{report:?}");
    let scanner = scanner(&[Control::SignatureVerifies], &[], PolicySet::default());
    let report = scanner.scan(pod(&names)).await;
    assert!(report.results[0].controls.is_empty(), "nobody is named, so nothing passes and nothing fails");
    assert!(report.controls[0].skipped_because.is_some());
}

#[tokio::test]
async fn what_nobody_could_look_at_is_never_unsigned() {
    let bench = Bench::start().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let hex = "0".repeat(64);
    let names = [
        format!("{closed}/app:v1"),
        format!("{closed}/app@sha256:{hex}"),
        format!("{}/secret:v1", bench.host),
        format!("{}/secret@sha256:{hex}", bench.host),
        bench.image("missing"),
        format!("{}/app@sha256:{hex}", bench.host),
        "Not An Image".to_owned(),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let key = key();
    for control in [
        Control::SignatureExists,
        Control::SignatureVerifies,
        Control::Sbom,
        Control::Provenance,
        Control::ScanFresh,
        Control::Vulnerabilities,
    ] {
        let report = scan(control, &[&key], pod(&names)).await;
        let expected = [
            "unreachable",
            "unreachable",
            "unauthorized",
            "unauthorized",
            "not_found",
            "not_found",
            "malformed",
        ];
        assert_eq!(outcomes(&report), expected.map(|reason| (Status::Unchecked, reason)), "{control:?}");
        assert_eq!(report.verdict(&Thresholds::default()), Verdict::Unknown);
        assert_eq!((report.resources.unchecked, report.compliance_score), (1, Some(0.0)));
    }
}

/// A pod with a status, made by a workload.
fn running(name: &str, image: &str, digest: &str) -> Vec<Resource> {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "ownerReferences": [{ "kind": "ReplicaSet", "name": "app", "uid": "u", "controller": true }] },
        "spec": { "containers": [{ "name": "app", "image": image }] },
        "status": { "containerStatuses": [{ "name": "app", "imageID": format!("x.example/app@{digest}") }] } });
    read_resources(&pod.to_string(), "cluster").unwrap()
}

#[tokio::test]
async fn what_runs_is_looked_at_and_an_index_answers_for_its_images() {
    let bench = Bench::start().await;
    let key = key();
    let all = images::two_platforms(&bench.store, "v1").await;
    let (index, arm) = (bench.target(&all[0]), bench.target(&all[2]));
    bench.sign(&index, &key, BUNDLE).await;
    let stale = bench.put("stale", "stale").await;
    for control in [Control::SignatureExists, Control::SignatureVerifies] {
        let status = |report: &Report| outcomes(report)[0].0;
        let by = |digest: &countersign_crypto::Digest| running("a", &bench.image("v1"), &digest.to_string());
        let report = scan(control, &[&key], by(&index.descriptor.digest)).await;
        assert_eq!(status(&report), Status::Passed, "the index runs");
        let report = scan(control, &[&key], by(&arm.descriptor.digest)).await;
        assert_eq!(status(&report), Status::Passed, "an image in it runs");
        assert_eq!(found(&report)[0].digest.as_deref(), Some(arm.descriptor.digest.to_string().as_str()));
        let report = scan(control, &[&key], by(&stale.descriptor.digest)).await;
        assert_eq!(status(&report), Status::Failed, "the tag is signed, and something else runs");
        let pinned = format!("{}/app@{}", bench.host, arm.descriptor.digest);
        let report = scan(control, &[&key], pod(&[&pinned])).await;
        assert_eq!(status(&report), Status::Failed, "no tag leads to the index");
    }
}

#[tokio::test]
async fn each_digest_is_looked_at_once_and_pods_that_are_alike_once() {
    let bench = Bench::start().await;
    bench.put("v1", "same").await;
    let target = bench.put("v2", "same").await;
    let mut resources = Vec::new();
    for _ in 0..20 {
        resources.extend(pod(&[&bench.image("v1"), &bench.image("v2")]));
    }
    let digest = target.descriptor.digest.to_string();
    resources.extend(running("a", &bench.image("v2"), &digest));
    resources.extend(running("b", &bench.image("v2"), &digest));
    bench.fake.seen();
    let report = scan(Control::SignatureExists, &[], resources).await;
    assert_eq!((report.results.len(), report.resources.failed), (21, 21));
    let seen: Vec<String> =
        bench.fake.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    let count = |part: &str| seen.iter().filter(|path| path.contains(part)).count();
    assert_eq!((count("/manifests/v1"), count(".sig"), count("/referrers/")), (1, 1, 1), "{seen:?}");
}

/// Refuses one image.
#[derive(Debug)]
struct Refuses(String);

impl Policy for Refuses {
    fn name(&self) -> PolicyName {
        PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: "refuses".into() }
    }

    fn evaluate(&self, request: &Request, _: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let results = request.judged_images().unwrap().into_iter().map(|image| RuleResult {
            policy: self.name(),
            rule: "r".into(),
            status: if image.image == self.0 { RuleStatus::Fail } else { RuleStatus::Pass },
            image: Some(image.image),
            digest: None,
            action: Action::Audit,
            fail_closed: true,
            reason: "refused".into(),
            message: "not this one".into(),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        });
        Ok((results.collect(), Vec::new()))
    }
}

#[tokio::test]
async fn what_one_control_has_read_no_other_asks_for_again() {
    let bench = Bench::start().await;
    let key = key();
    let target = bench.put("v1", "v1").await;
    bench.sign(&target, &key, BUNDLE).await;
    let requests = async |controls: &[Control]| {
        bench.fake.seen();
        let report = scanner(controls, &[&key], PolicySet::default()).scan(pod(&[&bench.image("v1")])).await;
        (bench.fake.seen().len(), report)
    };
    let (alone, _) = requests(&[Control::SignatureExists]).await;
    let (both, report) = requests(&[Control::SignatureExists, Control::SignatureVerifies]).await;
    assert_eq!(both, alone);
    assert_eq!(report.resources.passed, 1);
    let (all, _) = requests(&Control::ALL).await;
    let (statements, _) = requests(&[Control::SignatureExists, Control::Sbom]).await;
    assert_eq!(all, statements, "however many controls read statements");
}

#[tokio::test]
async fn a_policy_that_refuses_fails_its_control_at_the_image() {
    let policies = PolicySet::new(vec![Box::new(Refuses("r.example/b:1".into()))]);
    let scanner = scanner(&[Control::Policy], &[], policies);
    let report = scanner.scan(pod(&["r.example/a:1", "r.example/b:1"])).await;
    assert_eq!(outcomes(&report), [(Status::Passed, "refused"), (Status::Failed, "refused")]);
    let failed = &found(&report)[1];
    assert_eq!(failed.path, "spec.containers[1].image");
    assert!(failed.message.contains("ImagePolicy refuses, rule r"), "{}", failed.message);
    let report = scanner.scan([Resource::of_image("r.example/b:1")]).await;
    assert_eq!(outcomes(&report), [(Status::Failed, "refused")], "an image by itself is in a pod");
    let mut kept = pod(&["r.example/b:1"]);
    kept[0].object = None;
    assert_eq!(outcomes(&scanner.scan(kept).await), [(Status::Unchecked, "no_object")]);
}

#[tokio::test]
async fn what_runs_of_a_tag_that_nobody_could_look_at_is_not_passed_by_what_the_policies_say_of_the_tag() {
    let bench = Bench::start().await;
    let target = bench.put("v1", "v1").await;
    let digest = target.descriptor.digest.to_string();
    let policies = || PolicySet::new(vec![Box::new(Refuses("nothing".into()))]);
    let scan = async || {
        let scanner = scanner(&[Control::Policy], &[], policies());
        scanner.scan(running("a", &bench.image("v1"), &digest)).await
    };
    assert_eq!(outcomes(&scan().await), [(Status::Passed, "refused")]);
    bench.fake.lie(|seen| seen.path.ends_with("/manifests/v1").then(|| registry::answer(503, &[], "")));
    let report = scan().await;
    assert_eq!(outcomes(&report), [(Status::Passed, "refused"), (Status::Unchecked, "unreachable")]);
    assert_eq!(report.verdict(&Thresholds::default()), Verdict::Unknown);
}
