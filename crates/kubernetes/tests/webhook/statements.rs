//! What is known of an image, asked for at the door: provenance, a bill of materials, a scan with VEX, results of tests, a review.
//! Each alone, missing or not as it must be, keeps the image out.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_client::policy::NoCluster;
use countersign_clock::{ManualClock, Timestamp};
use countersign_crypto::{Digest, KeyPair};
use countersign_kubernetes::admit::Admission;
use countersign_policy::own::ImagePolicy;
use countersign_policy::{PolicySet, TrustRoot};
use serde_json::{Value, json};

use crate::cluster::{self, By, Cluster, statement};
use crate::sigstore::T;
use crate::support::{Hook, Registry, pod, review, source};

const BUILDER: &str = "https://builds.example/hermetic/v1";
const SCAN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const VEX: &str = "https://openvex.dev/ns/v0.2.0";
const TESTS: &str = "https://in-toto.io/attestation/test-result/v0.1";
const REVIEW: &str = "https://countersign.dev/code-review/v1";

fn ago(seconds: i64) -> String {
    Timestamp::from_second(T - seconds).unwrap().to_string()
}

/// What is said of an image that is let in: by type, with the field of the policy that asks for it.
fn all() -> Vec<(&'static str, &'static str, Value)> {
    let found = json!({"VulnerabilityID": "CVE-1", "PkgName": "openssl", "Severity": "CRITICAL"});
    vec![
        (
            "provenance",
            "https://slsa.dev/provenance/v1",
            json!({"buildDefinition": {"buildType": "https://builds.example/make", "externalParameters": {}},
                "runDetails": {"builder": {"id": BUILDER}}}),
        ),
        (
            "sbom",
            "https://cyclonedx.org/bom",
            json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "openssl"}]}),
        ),
        (
            "scan",
            SCAN,
            json!({"scanner": {"uri": "pkg:github/aquasecurity/trivy",
                    "result": {"SchemaVersion": 2, "Results": [{"Class": "os-pkgs", "Vulnerabilities": [found]}]}},
                "metadata": {"scanStartedOn": ago(180), "scanFinishedOn": ago(120)}}),
        ),
        (
            "scan",
            VEX,
            json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "acme",
                "version": 1, "timestamp": ago(60), "statements": [{"vulnerability": {"name": "CVE-1"},
                    "status": "not_affected", "justification": "vulnerable_code_not_present"}]}),
        ),
        (
            "tests",
            TESTS,
            json!({"result": "PASSED", "configuration": [{"uri": "ci.yml"}], "passedTests": ["unit"]}),
        ),
        (
            "review",
            REVIEW,
            json!({"repository": "https://github.com/acme/app", "verdict": "approved",
                "authors": [{"id": "ann@example.com"}], "reviewers": [{"id": "bob@example.com"}]}),
        ),
    ]
}

/// A door before a registry, behind which all of it is asked for.
struct Door {
    registry: Registry,
    hook: Hook,
    cluster: Cluster,
    stranger: KeyPair,
}

impl Door {
    async fn new() -> Self {
        let (registry, cluster) = (Registry::start().await, Cluster::new());
        let alice = json!({"email": "alice@example.com", "issuer": "https://issuer.example"});
        let signer = json!({"subject": "alice@example.com", "issuer": "https://issuer.example"});
        let policy = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "all"}, "spec": {
            "images": [format!("{}/**", registry.host)],
            "provenance": {"level": 3, "roots": [{"builder": BUILDER, "signer": signer, "level": 3}]},
            "sbom": {"signedBy": alice},
            "scan": {"signedBy": alice, "severityBelow": "high", "vex": {"signedBy": alice}},
            "tests": {"signedBy": alice, "passed": ["unit"]},
            "review": {"signedBy": alice},
        }});
        let source = Arc::new(source(NoCluster));
        let root = TrustRoot::new(cluster.world.root.clone()).unwrap();
        source.set_trust(BTreeMap::from([(None, Arc::new(root))]));
        let clock = Arc::new(ManualClock::new(cluster.now));
        let hook = Hook::of(Admission::new(source, clock).without_secrets()).await;
        hook.admission.set_policies(PolicySet::new(vec![Box::new(ImagePolicy::read(&policy).unwrap())]));
        Self { registry, hook, cluster, stranger: cluster::key() }
    }

    /// Says something of what a tag names, and when.
    async fn say(&mut self, tag: &str, by_stranger: bool, kind: &str, predicate: &Value, at: i64) {
        let pinned = self.registry.put(tag).await;
        let digest = Digest::parse(pinned.rsplit_once('@').unwrap().1).unwrap();
        self.cluster.stamped_at = at;
        let said = statement(&digest, kind, predicate, &json!({}));
        let by = if by_stranger { By::Key(&self.stranger) } else { By::Alice };
        let bundle = self.cluster.bundle(by, &said, true).to_json().unwrap();
        self.registry.attach(tag, kind, &bundle).await;
    }

    /// What both faces of the webhook say: nothing against it, or all of the one that is asked first.
    async fn refusal(&self, tag: &str) -> Option<String> {
        let pinned = self.registry.put(tag).await;
        let image = self.registry.image(tag);
        let asked = review("CREATE", &pod(&[&image]));
        let answer = self.hook.review("/mutate?timeout=10s", &asked).await;
        let by_digest = review("CREATE", &pod(&[&pinned]));
        let again = self.hook.review("/validate?timeout=10s", &by_digest).await;
        assert_eq!(answer.allowed(), again.allowed(), "{tag}: {answer:?} {again:?}");
        if answer.allowed() {
            assert_eq!(answer.pins().values().collect::<Vec<_>>(), [&pinned], "{tag}");
            return None;
        }
        assert!(answer.pins().is_empty(), "{tag}");
        Some(answer.message().to_owned())
    }
}

#[tokio::test]
async fn each_statement_that_is_missing_or_by_a_stranger_keeps_the_image_out_alone() {
    let mut door = Door::new().await;
    for (kind, predicate) in all().into_iter().map(|(_, kind, predicate)| (kind, predicate)) {
        door.say("whole", false, kind, &predicate, T).await;
    }
    assert_eq!(door.refusal("whole").await, None);
    for (index, (field, left_out, said)) in all().into_iter().enumerate() {
        let tag = format!("without-{index}");
        for (_, kind, predicate) in all().into_iter().filter(|(_, kind, _)| *kind != left_out) {
            door.say(&tag, false, kind, &predicate, T).await;
        }
        for by_stranger in [false, true] {
            if by_stranger {
                door.say(&tag, true, left_out, &said, T).await;
            }
            let refused = door.refusal(&tag).await.expect(left_out);
            assert!(refused.contains("all") && refused.contains(field), "{left_out}: {refused}");
            let others = all().into_iter().map(|(other, ..)| other).filter(|other| *other != field);
            for other in others {
                assert!(!refused.contains(&format!(", {other}:")), "{left_out}: {refused}");
            }
        }
    }
}

#[tokio::test]
async fn a_later_statement_of_the_signer_keeps_out_what_was_let_in_and_a_strangers_does_not() {
    let mut door = Door::new().await;
    let mut failed = all();
    for (_, kind, predicate) in &mut failed {
        match *kind {
            SCAN => predicate["scanner"]["result"] = json!({"clair": []}),
            VEX => predicate["statements"][0]["status"] = "affected".into(),
            TESTS => *predicate = json!({"result": "FAILED", "configuration": [], "failedTests": ["unit"]}),
            REVIEW => predicate["verdict"] = "rejected".into(),
            "https://cyclonedx.org/bom" => predicate["components"] = json!([]),
            _ => predicate["runDetails"]["builder"]["id"] = "https://builds.example/other/v1".into(),
        }
    }
    for (index, (field, kind, predicate)) in failed.into_iter().enumerate() {
        for by_stranger in [false, true] {
            let tag = format!("later-{index}-{by_stranger}");
            for (_, kind, predicate) in all() {
                door.say(&tag, false, kind, &predicate, T - 30).await;
            }
            door.say(&tag, by_stranger, kind, &predicate, T).await;
            let refused = door.refusal(&tag).await;
            assert_eq!(refused.is_none(), by_stranger, "{kind}: {refused:?}");
            assert!(refused.is_none_or(|refused| refused.contains(field)), "{kind}");
        }
    }
}
