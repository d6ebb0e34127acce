//! What must be said of an image: type, signer, conditions, and all statements together.

use countersign_policy::Status;
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::{key_entry, verifying};

const IMAGE: &str = "ghcr.io/acme/app:v1";
const SCAN: &str = "https://scanner.example/scan/v1";
const VEX: &str = "https://openvex.dev/ns/v1";

fn ends(cluster: &Cluster, policy: &Value) -> (bool, Status, String) {
    crate::ends(cluster, policy, pod(&[IMAGE]))
}

#[test]
fn type_signer_and_conditions_each_alone_can_fail() {
    let (signer, other) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({"scanner": {"grade": "A"}, "findings": 3}));
    let policy = |kind: &str, entry: Value, conditions: Value| {
        verifying(json!({"imageReferences": ["*"], "attestations": [
            {"type": kind, "attestors": [{"entries": [entry]}], "conditions": conditions},
        ]}))
    };
    let condition = |key: &str, operator: &str, value: Value| json!([{"all": [{"key": key, "operator": operator, "value": value}]}]);
    let graded = condition("{{ scanner.grade }}", "Equals", json!("A"));
    for (kind, signed_by, conditions, expected) in [
        (SCAN, &signer, json!([]), Ok(())),
        (SCAN, &signer, graded.clone(), Ok(())),
        (VEX, &signer, graded.clone(), Err("no_signature")),
        (SCAN, &other, graded.clone(), Err("")),
        (SCAN, &signer, condition("{{ scanner.grade }}", "Equals", json!("B")), Err("condition_not_met")),
        (SCAN, &signer, condition("{{ findings }}", "LessThan", json!(3)), Err("condition_not_met")),
        // What a statement does not say does not hold.
        (SCAN, &signer, condition("{{ scanner.age }}", "NotEquals", json!("old")), Err("condition_not_met")),
    ] {
        let (admits, status, reason) =
            ends(&cluster, &policy(kind, key_entry(signed_by), conditions.clone()));
        match expected {
            Ok(()) => assert!(admits, "{kind} {conditions}: {reason}"),
            Err(expected) => {
                assert_eq!((admits, status), (false, Status::Fail), "{kind} {conditions}");
                assert!(expected.is_empty() || reason == expected, "{kind} {conditions}: {reason}");
            }
        }
    }
}

#[test]
fn a_statement_is_no_signature_and_a_signature_is_no_statement() {
    let signer = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let sets = json!([{"entries": [key_entry(&signer)]}]);
    let signed = verifying(json!({"imageReferences": ["*"], "attestors": sets}));
    let said =
        verifying(json!({"imageReferences": ["*"], "attestations": [{"type": SCAN, "attestors": sets}]}));
    let both = verifying(json!({"imageReferences": ["*"], "attestors": sets,
        "attestations": [{"type": SCAN, "attestors": sets}]}));
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({}));
    assert_eq!([&signed, &said, &both].map(|policy| ends(&cluster, policy).0), [false, true, false]);
    cluster.evidence.clear();
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    assert_eq!([&signed, &said, &both].map(|policy| ends(&cluster, policy).0), [true, false, false]);
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({}));
    assert_eq!([&signed, &said, &both].map(|policy| ends(&cluster, policy).0), [true, true, true]);
}

#[test]
fn every_statement_of_the_signer_counts_and_none_of_others() {
    let (signer, stranger) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let policy = verifying(json!({"imageReferences": ["*"], "attestations": [{
        "type": SCAN,
        "attestors": [{"entries": [key_entry(&signer)]}],
        "conditions": [{"all": [{"key": "{{ grade }}", "operator": "Equals", "value": "A"}]}],
    }]}));
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({"grade": "A"}));
    cluster.attest(IMAGE, By::Key(&stranger), SCAN, &json!({"grade": "F"}));
    assert!(ends(&cluster, &policy).0, "anybody can push a statement");
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({"grade": "F"}));
    assert_eq!(ends(&cluster, &policy).2, "condition_not_met");
}

#[test]
fn a_predicate_cannot_say_what_the_request_was() {
    let signer = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({"request": {"namespace": "test"}}));
    let policy = verifying(json!({"imageReferences": ["*"], "attestations": [{
        "type": SCAN,
        "attestors": [{"entries": [key_entry(&signer)]}],
        "conditions": [{"all": [{"key": "{{ request.namespace }}", "operator": "Equals", "value": "test"}]}],
    }]}));
    assert_eq!(ends(&cluster, &policy).2, "condition_not_met");
}

#[test]
fn statements_are_compared_with_each_other() {
    let signer = key();
    let sets = json!([{"entries": [key_entry(&signer)]}]);
    let policy = verifying(json!({"imageReferences": ["*"],
        "attestations": [{"name": "scan", "type": SCAN, "attestors": sets},
            {"name": "vex", "type": VEX, "attestors": sets}],
        "validate": {"message": "{{ length(scan.findings) }} findings", "deny": {"conditions": {"any": [
            {"key": "{{ scan.findings }}", "operator": "AnyNotIn", "value": "{{ vex.fixed }}"},
        ]}}},
    }));
    let with = |findings: Value, fixed: Value| {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.attest(IMAGE, By::Key(&signer), SCAN, &json!({"findings": findings}));
        cluster.attest(IMAGE, By::Key(&signer), VEX, &json!({"fixed": fixed}));
        cluster
    };
    assert!(ends(&with(json!(["a"]), json!(["a", "b"])), &policy).0);
    let (admits, status, reason) = ends(&with(json!(["a", "c"]), json!(["a", "b"])), &policy);
    assert_eq!((admits, status, reason.as_str()), (false, Status::Fail, "denied_by_validate"));
    // A second statement does not hide the first.
    let mut cluster = with(json!(["c"]), json!(["a"]));
    cluster.attest(IMAGE, By::Key(&signer), VEX, &json!({"fixed": ["c"]}));
    assert!(!ends(&cluster, &policy).0);
    // What cannot be compared is not allowed.
    let mut cluster = with(json!(["a"]), json!(["a"]));
    cluster.attest(IMAGE, By::Key(&signer), VEX, &json!({"other": 1}));
    assert!(!ends(&cluster, &policy).0);
}

#[test]
fn the_statements_of_our_own_rules_are_judged_by_conditions_too() {
    let signer = key();
    let at = |hours: i64| {
        (crate::sigstore::at(crate::sigstore::T) - jiff::SignedDuration::from_hours(hours)).to_string()
    };
    let scan = |hours: i64, severity: &str| {
        json!({"scanner": {"uri": "pkg:github/aquasecurity/trivy", "result": {"SchemaVersion": 2, "Results": [{"Vulnerabilities":
            [{"VulnerabilityID": "CVE-1", "PkgName": "openssl", "Severity": severity}]}]}}, "metadata": {"scanFinishedOn": at(hours)}})
    };
    let built = |builder: &str| {
        json!({"buildDefinition": {"buildType": "https://acme.example/make", "externalParameters": {}},
            "runDetails": {"builder": {"id": builder}}})
    };
    let bill =
        |components: Value| json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components});
    let tested = |result: &str| json!({"result": result, "configuration": [{"uri": "ci.yml"}]});
    let all = |key: &str, operator: &str, value: Value| json!([{"all": [{"key": key, "operator": operator, "value": value}]}]);
    let age = "{{ time_since('', '{{ metadata.scanFinishedOn }}', '') }}";
    let severities = "{{ scanner.result.Results[].Vulnerabilities[].Severity }}";
    for (kind, conditions, good, bad) in [
        (
            "https://cosign.sigstore.dev/attestation/vuln/v1",
            all(age, "LessThanOrEquals", json!("24h")),
            scan(2, "LOW"),
            scan(30, "LOW"),
        ),
        (
            "https://cosign.sigstore.dev/attestation/vuln/v1",
            all(severities, "AllNotIn", json!(["HIGH", "CRITICAL"])),
            scan(2, "LOW"),
            scan(2, "CRITICAL"),
        ),
        (
            "https://slsa.dev/provenance/v1",
            all("{{ runDetails.builder.id }}", "Equals", json!("https://builds.example/hermetic/v1")),
            built("https://builds.example/hermetic/v1"),
            built("https://builds.example/hermetic/v1-evil"),
        ),
        (
            "https://cyclonedx.org/bom",
            all("{{ length(components) }}", "GreaterThan", json!(0)),
            bill(json!([{"name": "openssl"}])),
            bill(json!([])),
        ),
        (
            "https://in-toto.io/attestation/test-result/v0.1",
            all("{{ result }}", "Equals", json!("PASSED")),
            tested("PASSED"),
            tested("FAILED"),
        ),
    ] {
        let policy = verifying(json!({"imageReferences": ["*"], "attestations": [
            {"type": kind, "attestors": [{"entries": [key_entry(&signer)]}], "conditions": conditions}]}));
        let say = |predicate: &Value| {
            let mut cluster = Cluster::new();
            cluster.put(IMAGE);
            cluster.attest(IMAGE, By::Key(&signer), kind, predicate);
            ends(&cluster, &policy)
        };
        let (admits, _, reason) = say(&good);
        assert!(admits, "{kind}: {reason}");
        assert_eq!(say(&bad).2, "condition_not_met", "{kind}");
    }
}
