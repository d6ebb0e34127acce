//! Statements about images: bills of materials, provenance, scans, VEX. Each thing that can make the answer no does so alone.

use std::sync::Arc;

use countersign_attestation::predicate::vulnerabilities::Severity;
use countersign_client::image::Target;
use countersign_crypto::KeyPair;
use countersign_kubernetes::scan::{Control, Format, ImageResult, ProvenanceTable, Settings, Status};
use countersign_policy::{KeySource, PolicySet, Who};
use countersign_registry::evidence::attach_sbom;
use countersign_slsa::Roots;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{BUNDLE, Bench, OLDER, found, named, pod, scanner_with, trusting};
use crate::{key, notary_data, note, outcomes};

const SPDX: &str = "https://spdx.dev/Document";
const SCAN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const VEX: &str = "https://openvex.dev/ns";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// What a control says of one image.
async fn said(bench: &Bench, tag: &str, control: Control, settings: Settings) -> ImageResult {
    let report =
        scanner_with(&[control], settings, PolicySet::default()).scan(pod(&[&bench.image(tag)])).await;
    found(&report)[0].clone()
}

fn ago(hours: i64) -> Value {
    (Timestamp::now() - SignedDuration::from_hours(hours)).to_string().into()
}

/// A scan that ended then, with a critical vulnerability in openssl, a low one, and one of which nobody says how bad it is.
fn scan(finished: &Value) -> Value {
    let found = |id: &str, package: &str, severity: &str| {
        json!({ "VulnerabilityID": id, "PkgName": package, "InstalledVersion": "1.0", "Severity": severity,
            "PkgIdentifier": { "PURL": format!("pkg:deb/debian/{package}@1.0") }, "FixedVersion": "1.1" })
    };
    let list = json!([
        found("CVE-1", "openssl", "CRITICAL"),
        found("CVE-2", "zlib", "LOW"),
        found("CVE-3", "bash", "UNKNOWN")
    ]);
    json!({ "scanner": { "uri": "pkg:github/aquasecurity/trivy", "result": { "SchemaVersion": 2, "Results": [{ "Vulnerabilities": list }] } },
        "metadata": { "scanStartedOn": finished, "scanFinishedOn": finished } })
}

fn vex(product: Option<&str>, statements: &[(&str, &str, i64)]) -> Value {
    let statement = |(id, status, hours): &(&str, &str, i64)| {
        json!({ "vulnerability": { "name": id }, "status": status, "justification": "vulnerable_code_not_present",
            "timestamp": ago(*hours), "products": product.iter().map(|id| json!({ "@id": id })).collect::<Vec<_>>() })
    };
    json!({ "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "acme", "version": 1,
        "timestamp": ago(9), "statements": statements.iter().map(statement).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_bill_of_materials_is_signed_by_somebody_trusted_and_whole_and_about_this_image() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let other = "0".repeat(64);
    let document = |components: Value, version: &str| {
        json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": components,
            "metadata": { "component": { "version": version } } })
    };
    let whole = document(json!([{ "name": "openssl" }]), "1.0");
    for (tag, by, kind, predicate, forms, expected) in [
        ("whole", &key, "https://cyclonedx.org/bom", whole.clone(), BUNDLE, (Status::Passed, "passed")),
        ("older", &key, "https://cyclonedx.org/bom", whole.clone(), OLDER, (Status::Passed, "passed")),
        (
            "stranger",
            &stranger,
            "https://cyclonedx.org/bom",
            whole.clone(),
            BUNDLE,
            (Status::Failed, "not_trusted"),
        ),
        ("kind", &key, SPDX, whole.clone(), BUNDLE, (Status::Failed, "unreadable_sbom")),
        (
            "empty",
            &key,
            "https://cyclonedx.org/bom",
            document(json!([]), "1.0"),
            BUNDLE,
            (Status::Failed, "empty_sbom"),
        ),
        (
            "other",
            &key,
            "https://cyclonedx.org/bom",
            document(json!([{ "name": "a" }]), &format!("sha256:{other}")),
            BUNDLE,
            (Status::Failed, "sbom_of_other"),
        ),
        ("lookalike", &key, "https://cyclonedx.org/bomb", whole, BUNDLE, (Status::Failed, "no_statement")),
    ] {
        let target = bench.put(tag, tag).await;
        bench.say(&target, by, kind, &predicate, forms).await;
        let said = said(&bench, tag, Control::Sbom, trusting(&[&key])).await;
        assert_eq!((said.status, said.reason.as_str()), expected, "{tag}: {}", said.message);
    }
    let bare = bench.put("bare", "bare").await;
    attach_sbom(&bench.store, &bare.descriptor.digest, "text/spdx+json", b"{}").await.unwrap();
    assert_eq!(said(&bench, "bare", Control::Sbom, trusting(&[&key])).await.reason, "not_signed");
    let report = scanner_with(&[Control::Sbom], Settings::default(), PolicySet::default())
        .scan(pod(&["a.example/b"]))
        .await;
    assert!(report.controls[0].skipped_because.is_some(), "nobody is trusted, so nothing passes");
}

#[tokio::test]
async fn signed_provenance_counts_by_whom_the_settings_name() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let target = bench.put("v1", "v1").await;
    bench.attest(&target, &key, PROVENANCE, OLDER).await;
    bench.put("none", "none").await;
    for (keys, tag, expected) in [
        (&[][..], "v1", "passed"),
        (&[&key][..], "v1", "passed"),
        (&[&stranger][..], "v1", "not_trusted"),
        (&[&key][..], "none", "no_statement"),
    ] {
        assert_eq!(said(&bench, tag, Control::Provenance, trusting(keys)).await.reason, expected);
    }
}

#[tokio::test]
async fn a_scan_is_fresh_by_its_own_time_and_signed_by_somebody_trusted() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let ended_before =
        json!({ "scanner": {}, "metadata": { "scanStartedOn": ago(1), "scanFinishedOn": ago(2) } });
    for (tag, predicate, expected) in [
        ("fresh", scan(&ago(2)), (Status::Passed, "passed")),
        ("old", scan(&ago(25)), (Status::Failed, "scan_too_old")),
        ("timeless", scan(&Value::Null), (Status::Failed, "unusable_scan")),
        ("zero", scan(&"0001-01-01T00:00:00Z".into()), (Status::Failed, "unusable_scan")),
        ("to_come", scan(&ago(-2)), (Status::Failed, "unusable_scan")),
        ("backwards", ended_before, (Status::Failed, "unusable_scan")),
        ("malformed", json!({}), (Status::Failed, "unusable_scan")),
    ] {
        let target = bench.put(tag, tag).await;
        bench.say(&target, &key, SCAN, &predicate, BUNDLE).await;
        let said = said(&bench, tag, Control::ScanFresh, trusting(&[&key])).await;
        assert_eq!((said.status, said.reason.as_str()), expected, "{tag}: {}", said.message);
    }
    bench.put("none", "none").await;
    assert_eq!(said(&bench, "none", Control::ScanFresh, trusting(&[&key])).await.reason, "no_scan");
    // Each setting alone.
    assert_eq!(said(&bench, "fresh", Control::ScanFresh, trusting(&[&stranger])).await.reason, "no_scan");
    let scanners = Settings { scanners: vec![Who::Key(named(&stranger))], ..trusting(&[&key]) };
    assert_eq!(said(&bench, "fresh", Control::ScanFresh, scanners).await.reason, "no_scan");
    let sooner = Settings { scan_max_age: SignedDuration::from_hours(1), ..trusting(&[&key]) };
    assert_eq!(said(&bench, "fresh", Control::ScanFresh, sooner).await.reason, "scan_too_old");
    let only = Settings { scanners: vec![Who::Key(named(&key))], ..trusting(&[]) };
    assert_eq!(said(&bench, "fresh", Control::ScanFresh, only).await.status, Status::Passed);
    // The newest decides.
    let target = bench.put("old", "old").await;
    bench.say(&target, &key, SCAN, &scan(&ago(3)), OLDER).await;
    assert_eq!(said(&bench, "old", Control::ScanFresh, trusting(&[&key])).await.status, Status::Passed);
}

/// An image that was scanned, and what its vulnerabilities come to after this VEX.
async fn after(bench: &Bench, tag: &str, key: &Arc<KeyPair>, says: &[(&Arc<KeyPair>, Value)]) -> ImageResult {
    let target = scanned(bench, tag, key).await;
    for (by, document) in says {
        bench.say(&target, by, VEX, document, BUNDLE).await;
    }
    let settings = Settings { unknown_severity: false, ..trusting(&[key]) };
    said(bench, tag, Control::Vulnerabilities, settings).await
}

async fn scanned(bench: &Bench, tag: &str, key: &Arc<KeyPair>) -> Target {
    let target = bench.put(tag, tag).await;
    bench.say(&target, key, SCAN, &scan(&ago(1)), BUNDLE).await;
    target
}

#[tokio::test]
async fn a_severe_vulnerability_fails_and_each_setting_alone_decides_which_are() {
    let bench = Bench::start().await;
    let key = key();
    scanned(&bench, "v1", &key).await;
    let of =
        |least_severity, unknown_severity| Settings { least_severity, unknown_severity, ..trusting(&[&key]) };
    let found = said(&bench, "v1", Control::Vulnerabilities, of(Severity::High, false)).await;
    assert_eq!((found.status, found.reason.as_str()), (Status::Failed, "vulnerable"), "{}", found.message);
    let [one] = &found.vulnerabilities[..] else { panic!("{found:?}") };
    assert_eq!(one.to_string(), "critical CVE-1 in openssl 1.0, fixed in 1.1");
    let ids = async |settings| {
        let found = said(&bench, "v1", Control::Vulnerabilities, settings).await;
        found.vulnerabilities.iter().map(|one| one.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(of(Severity::High, true)).await, ["CVE-3", "CVE-1"], "how bad it is nobody says");
    assert_eq!(ids(of(Severity::Low, false)).await, ["CVE-1", "CVE-2"]);
    bench.put("none", "none").await;
    let none = said(&bench, "none", Control::Vulnerabilities, of(Severity::High, false)).await;
    assert_eq!(
        (none.status, none.reason.as_str()),
        (Status::Failed, "no_scan"),
        "no scan is not no vulnerabilities"
    );
    let target = bench.put("unclear", "unclear").await;
    let unclear =
        json!({ "scanner": { "result": { "clair": [] } }, "metadata": { "scanFinishedOn": ago(1) } });
    bench.say(&target, &key, SCAN, &unclear, BUNDLE).await;
    let found = said(&bench, "unclear", Control::Vulnerabilities, of(Severity::High, false)).await;
    assert_eq!(found.reason, "unreadable_scan");
    for format in Format::ALL {
        let report =
            scanner_with(&[Control::Vulnerabilities], of(Severity::High, false), PolicySet::default())
                .scan(pod(&[&bench.image("v1")]))
                .await;
        let text = format.write(&report, true).unwrap();
        assert!(format == Format::Prometheus || text.contains("CVE-1"), "{format:?}: {text}");
    }
}

#[tokio::test]
async fn vex_clears_what_somebody_trusted_says_last_of_this_image_and_nothing_else() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    for (tag, by, document, cleared, says) in [
        ("all", &key, vex(None, &[("CVE-1", "not_affected", 1)]), true, "1 cleared by VEX"),
        ("name", &key, vex(Some("pkg:oci/app"), &[("CVE-1", "fixed", 1)]), true, "1 cleared"),
        ("package", &key, vex(Some("pkg:deb/debian/openssl"), &[("CVE-1", "fixed", 1)]), true, "1 cleared"),
        (
            "stranger",
            &stranger,
            vex(None, &[("CVE-1", "not_affected", 1)]),
            false,
            "1 VEX document is by nobody who is trusted",
        ),
        (
            "product",
            &key,
            vex(Some("pkg:oci/api"), &[("CVE-1", "not_affected", 1)]),
            false,
            "CVE-1 not_affected in https://acme.example/vex/1: it names another",
        ),
        (
            "other",
            &key,
            vex(None, &[("CVE-9", "not_affected", 1)]),
            false,
            "CVE-9 not_affected in https://acme.example/vex/1: no scan found",
        ),
        ("open", &key, vex(None, &[("CVE-1", "under_investigation", 1)]), false, "1 of severity high"),
        (
            "later",
            &key,
            vex(None, &[("CVE-1", "not_affected", 2), ("CVE-1", "affected", 1)]),
            false,
            "1 of severity high",
        ),
        (
            "again",
            &key,
            vex(None, &[("CVE-1", "affected", 2), ("CVE-1", "not_affected", 1)]),
            true,
            "1 cleared",
        ),
        ("to_come", &key, vex(None, &[("CVE-1", "not_affected", -2)]), false, "still to come"),
        ("malformed", &key, json!({}), false, "is not applied"),
    ] {
        let found = after(&bench, tag, &key, &[(by, document)]).await;
        let status = if cleared { Status::Passed } else { Status::Failed };
        assert_eq!(found.status, status, "{tag}: {}", found.message);
        assert!(found.message.contains(says), "{tag}: {}", found.message);
        assert_eq!(found.vulnerabilities[0].counts, !cleared, "{tag}");
    }
    let target = scanned(&bench, "whose", &key).await;
    bench.say(&target, &key, VEX, &vex(None, &[("CVE-1", "not_affected", 1)]), BUNDLE).await;
    let whose =
        Settings { vex: vec![Who::Key(named(&stranger))], unknown_severity: false, ..trusting(&[&key]) };
    assert_eq!(
        said(&bench, "whose", Control::Vulnerabilities, whose).await.status,
        Status::Failed,
        "vex.signers alone"
    );
}

#[tokio::test]
async fn the_level_comes_from_signer_and_builder_together() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let built = |builder: &str| {
        json!({ "buildDefinition": { "buildType": "https://acme.example/make", "externalParameters": { "source": "git+https://a/b" } },
            "runDetails": { "builder": { "id": builder } } })
    };
    let target = bench.put("v1", "v1").await;
    bench.say(&target, &key, PROVENANCE, &built("https://acme.example/builder"), BUNDLE).await;
    bench.put("none", "none").await;
    let root = |key: &Arc<KeyPair>, builder: &str, level: u8| {
        let KeySource::Pem(pem) = named(key) else { panic!("a key in the settings") };
        let root = json!([{ "builder": builder, "signer": { "key": pem }, "level": level }]);
        Roots::read(&root.to_string()).unwrap().all.remove(0)
    };
    let own = root(&key, "https://acme.example/builder", 2);
    for (tag, level, roots, expected) in [
        ("v1", 2, vec![own.clone()], "passed"),
        ("v1", 3, vec![own.clone()], "level_too_low"),
        ("v1", 3, vec![own.clone(), root(&key, "https://acme.example/builder", 3)], "passed"),
        ("v1", 1, vec![root(&stranger, "https://acme.example/builder", 3)], "unknown_builder"),
        ("v1", 1, vec![root(&key, "https://acme.example/build", 3)], "unknown_builder"),
        ("none", 1, vec![own], "no_provenance"),
    ] {
        let settings = Settings { provenance: ProvenanceTable { level, roots }, ..trusting(&[]) };
        let found = said(&bench, tag, Control::ProvenanceLevel, settings).await;
        assert_eq!(found.reason, expected, "{tag} {level}: {}", found.message);
        if expected == "unknown_builder" {
            assert!(
                found.message.contains("{builder: \"https://acme.example/builder\""),
                "{}",
                found.message
            );
        }
    }
}

#[tokio::test]
async fn policies_over_what_is_known_are_the_same_judgements() {
    let bench = Bench::start().await;
    let (key, stranger) = (key(), key());
    let KeySource::Pem(pem) = named(&key) else { panic!("a key in the settings") };
    let signer = json!({ "key": pem });
    let builder = "https://acme.example/builder";
    let policy = json!({ "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": { "name": "known" }, "spec": {
        "images": ["**"], "require": { "transparencyLog": false },
        "provenance": { "level": 2, "roots": [{ "builder": builder, "signer": signer, "level": 2 }] },
        "tests": { "signedBy": signer } } });
    let built = json!({ "buildDefinition": { "buildType": "https://acme.example/make", "externalParameters": {} },
        "runDetails": { "builder": { "id": builder } } });
    let tested = json!({ "result": "PASSED", "configuration": [{ "uri": "ci.yml" }] });
    let tests = "https://in-toto.io/attestation/test-result/v0.1";
    for (tag, of_tests, expected) in [
        ("v1", Some(&key), Status::Passed),
        ("other", Some(&stranger), Status::Failed),
        ("none", None, Status::Failed),
    ] {
        let target = bench.put(tag, tag).await;
        bench.say(&target, &key, PROVENANCE, &built, BUNDLE).await;
        if let Some(by) = of_tests {
            bench.say(&target, by, tests, &tested, OLDER).await;
        }
        let read = countersign_policy::own::ImagePolicy::read(&policy).unwrap();
        let set = PolicySet::new(vec![Box::new(read)]);
        let report =
            scanner_with(&[Control::Policy], trusting(&[&key]), set).scan(pod(&[&bench.image(tag)])).await;
        let worst = found(&report).iter().max_by_key(|said| said.status).unwrap();
        assert_eq!(worst.status, expected, "{tag}: {}", worst.message);
    }
}

#[tokio::test]
async fn a_signature_of_the_notary_project_verifies_by_certificate_and_name() {
    let bench = Bench::start().await;
    let noted = bench.put("notary", "notary").await;
    note(&bench, &noted).await;
    bench.put("none", "none").await;
    let pem = |name: &str| std::fs::read_to_string(notary_data().join(name)).unwrap();
    let section = |certificates: &str, more: &str| {
        let text = certificates.replace('\n', "\n        ");
        let text = format!(
            "settings:\n  countersign:\n    notary:\n      certificates: |\n        {text}\n      {more}\n"
        );
        Settings::read(&text).unwrap()
    };
    let own = "trustedIdentities: ['x509.subject: C=US, ST=WA, O=acme']";
    let other = "trustedIdentities: ['x509.subject: C=US, ST=WA, O=other']";
    let stranger = include_str!("../data/stranger.pem");
    for (tag, settings, expected) in [
        ("notary", section(&pem("root.pem"), ""), Status::Passed),
        ("notary", section(&pem("root.pem"), own), Status::Passed),
        ("notary", section(&pem("root.pem"), other), Status::Failed),
        ("notary", section(stranger, ""), Status::Failed),
        ("none", section(&pem("root.pem"), ""), Status::Failed),
    ] {
        let found = said(&bench, tag, Control::SignatureVerifies, settings).await;
        assert_eq!(found.status, expected, "{tag}: {}", found.message);
    }
    // Beside keys, either is enough.
    let key = key();
    let both = Settings { notary: section(&pem("root.pem"), "").notary, ..trusting(&[&key]) };
    let report = scanner_with(&[Control::SignatureVerifies], both, PolicySet::default());
    let report = report.scan(pod(&[&bench.image("notary"), &bench.image("none")])).await;
    assert_eq!(outcomes(&report), [(Status::Passed, "passed"), (Status::Failed, "no_signature")]);
}
