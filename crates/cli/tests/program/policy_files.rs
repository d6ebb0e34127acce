//! Files and directories by policies, and the records of decisions.

use serde_json::{Value, json};

use crate::policy::TRUSTS_NOBODY;
use crate::support::Home;

const BUILDER: &str = "https://builds.example/hermetic/v1";

/// A home with two keys, and a policy: whatever has one of these names must be built at level 3, by the first key's word.
fn home() -> Home {
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    let pem = std::fs::read_to_string(home.path("cosign.pub")).unwrap();
    let policy = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "files"}, "spec": {
        "artifacts": ["*.whl", "*.crate", "*.tgz", "*.jar", "*.war", "*.deb", "*.tar.gz", "tool", "dist"],
        "require": {"transparencyLog": false},
        "provenance": {"level": 3, "roots": [{"builder": BUILDER, "signer": {"key": pem}, "level": 3}]},
    }});
    let predicate = json!({"buildDefinition": {"buildType": "https://builds.example/make", "externalParameters": {}},
        "runDetails": {"builder": {"id": BUILDER}}});
    std::fs::write(home.path("policy.yaml"), policy.to_string()).unwrap();
    std::fs::write(home.path("provenance.json"), predicate.to_string()).unwrap();
    std::fs::write(home.path("trust.json"), TRUSTS_NOBODY).unwrap();
    home
}

fn attest(home: &Home, key: &str, name: &str, bundle: &str) {
    home.good(&[
        "attest-blob",
        "--key",
        key,
        "--no-tlog",
        "--type",
        "slsaprovenance1",
        "--predicate",
        "provenance.json",
        "--bundle",
        bundle,
        name,
    ]);
}

fn verify(home: &Home, more: &[&str]) -> (i32, String, String) {
    home.text(&[&["verify", "--policy", "policy.yaml", "--trusted-root", "trust.json"], more].concat())
}

#[test]
fn any_artifact_is_verified_by_its_name_and_digest() {
    let home = home();
    std::fs::create_dir_all(home.path("dist/lib")).unwrap();
    std::fs::write(home.path("dist/lib/a.so"), "a").unwrap();
    std::fs::write(home.path("dist/b"), "b").unwrap();
    let files = ["app-1.whl", "app.crate", "app.tgz", "app.jar", "app.war", "app.deb", "app.tar.gz", "tool"];
    for name in files {
        std::fs::write(home.path(name), name).unwrap();
    }
    for name in files.into_iter().chain(["dist"]) {
        attest(&home, "cosign.key", name, &format!("{name}.sigstore.json"));
        let (code, out, err) = verify(&home, &[name]);
        assert_eq!((code, out.trim()), (0, name), "{err}");
        assert!(err.contains("build level 3") && err.contains("by sha256:"), "{err}");
    }
    assert_eq!(verify(&home, &["dist/", "tool"]).0, 0, "however it is spelled");
    // Changed after it was signed; signed by somebody else; by nobody; of no policy.
    std::fs::write(home.path("dist/b"), "c").unwrap();
    assert_ne!(verify(&home, &["dist"]).0, 0);
    std::fs::write(home.path("tool"), "another tool").unwrap();
    assert_ne!(verify(&home, &["tool"]).0, 0);
    attest(&home, "other.key", "tool", "tool.sigstore.json");
    let (code, out, err) = verify(&home, &["tool"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("there is no provenance"), "{err}");
    std::fs::remove_file(home.path("tool.sigstore.json")).unwrap();
    assert_eq!(verify(&home, &["tool"]).0, 2);
    std::fs::write(home.path("notes.txt"), "").unwrap();
    let (code, _, err) = verify(&home, &["notes.txt"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("no policy is about a file of this name"), "{err}");
    assert_eq!(verify(&home, &["gone.whl"]).0, 1, "a file that is not there is a mistake");
}

#[test]
fn bundles_are_named_one_by_one_in_lines_and_by_their_directory() {
    let home = home();
    std::fs::write(home.path("tool"), "tool").unwrap();
    std::fs::create_dir(home.path("statements")).unwrap();
    attest(&home, "other.key", "tool", "statements/a.json");
    attest(&home, "cosign.key", "tool", "statements/b.json");
    for (bundles, code) in [
        (&["statements/a.json"][..], 2),
        (&["statements/b.json"][..], 0),
        (&["statements/a.json", "statements/b.json"][..], 0),
        (&["statements"][..], 0),
    ] {
        let named: Vec<&str> = bundles.iter().flat_map(|bundle| ["--bundle", *bundle]).collect();
        assert_eq!(verify(&home, &[&named[..], &["tool"]].concat()).0, code, "{bundles:?}");
    }
    let lines: Vec<String> = ["a", "b"]
        .map(|name| {
            std::fs::read_to_string(home.path(&format!("statements/{name}.json"))).unwrap().trim().to_owned()
        })
        .into();
    std::fs::write(home.path("tool.sigstore.jsonl"), lines.join("\n")).unwrap();
    assert_eq!(verify(&home, &["tool"]).0, 0, "lines beside it");
    std::fs::write(home.path("broken.json"), "{").unwrap();
    assert_eq!(verify(&home, &["--bundle", "broken.json", "tool"]).0, 1);
    let (code, _, err) = verify(&home, &["--bundle", "statements", "oci:registry.example/app:v1"]);
    assert!(code == 1 && err.contains("--bundle goes with files"), "{err}");
}

#[test]
fn a_decision_is_recorded_as_a_signed_summary_of_each_artifact() {
    let home = home();
    std::fs::write(home.path("tool"), "tool").unwrap();
    std::fs::write(home.path("app.jar"), "jar").unwrap();
    attest(&home, "cosign.key", "tool", "tool.sigstore.json");
    let record = [
        "--record",
        "record.jsonl",
        "--key",
        "other.key",
        "--no-tlog",
        "--verifier",
        "https://acme.example/verifier",
    ];
    let (code, _, err) = verify(&home, &[&record[..], &["tool", "app.jar"]].concat());
    assert_eq!(code, 2, "{err}");
    let text = std::fs::read_to_string(home.path("record.jsonl")).unwrap();
    let statements: Vec<Value> = text.lines().map(payload).collect();
    let [passed, failed] = &statements[..] else { panic!("{text}") };
    assert_eq!(passed["predicateType"], "https://slsa.dev/verification_summary/v1");
    assert_eq!(passed["subject"][0]["name"], "tool");
    let said = &passed["predicate"];
    assert_eq!(said["verificationResult"], "PASSED");
    assert_eq!(said["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_3"]));
    assert_eq!(said["verifier"]["id"], "https://acme.example/verifier");
    assert_eq!(said["policy"]["uri"], "policy.yaml");
    assert_eq!(said["inputAttestations"].as_array().unwrap().len(), 1);
    assert_eq!(failed["predicate"]["verificationResult"], "FAILED");
    assert_eq!(failed["predicate"]["verifiedLevels"], json!(["FAILED"]));
    // The record is a statement like any other: a policy can ask for it, of whoever made it.
    let first = text.lines().next().unwrap();
    std::fs::write(home.path("summary.json"), first).unwrap();
    for (key, expected) in [("other.pub", 0), ("cosign.pub", 2)] {
        let pem = std::fs::read_to_string(home.path(key)).unwrap();
        let policy = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "summary"},
            "spec": {"artifacts": ["tool"], "require": {"transparencyLog": false}, "attestations": [{
                "predicate": "https://slsa.dev/verification_summary/v1", "signedBy": {"key": pem},
                "conditions": ["predicate.verificationResult == 'PASSED' && 'SLSA_BUILD_LEVEL_3' in predicate.verifiedLevels"]}]}});
        std::fs::write(home.path("summary.yaml"), policy.to_string()).unwrap();
        let (code, _, err) = home.text(&[
            "verify",
            "--policy",
            "summary.yaml",
            "--trusted-root",
            "trust.json",
            "--bundle",
            "summary.json",
            "tool",
        ]);
        assert_eq!(code, expected, "{key}: {err}");
    }
    let (code, _, err) = verify(&home, &["--key", "other.key", "tool"]);
    assert!(code == 1 && err.contains("give --record"), "{err}");
    let (code, _, err) = verify(&home, &["--verifier", "https://acme.example", "tool"]);
    assert_eq!(code, 1, "{err}");
}

#[test]
fn what_is_let_in_though_it_did_not_hold_is_not_recorded_as_passed() {
    let home = home();
    std::fs::write(home.path("tool"), "tool").unwrap();
    std::fs::write(home.path("app.jar"), "jar").unwrap();
    attest(&home, "cosign.key", "tool", "tool.sigstore.json");
    let document = std::fs::read_to_string(home.path("policy.yaml")).unwrap();
    let policy = |changes: &[(&str, Value)]| {
        let mut policy: Value = serde_json::from_str(&document).unwrap();
        for (field, value) in changes {
            policy["spec"][*field] = value.clone();
        }
        std::fs::write(home.path("policy.yaml"), policy.to_string()).unwrap();
    };
    let recorded = |more: &[&str], name: &str| {
        let record = ["--record", "record.jsonl", "--key", "other.key", "--no-tlog", name];
        let _ = std::fs::remove_file(home.path("record.jsonl"));
        let (code, _, err) = verify(&home, &[more, &record].concat());
        let text = std::fs::read_to_string(home.path("record.jsonl")).ok();
        let verdict = text.map(|text| payload(&text)["predicate"]["verificationResult"].clone());
        assert_eq!(code, 0, "{name}: {err}");
        verdict
    };
    for action in ["warn", "audit"] {
        policy(&[("action", action.into())]);
        assert_eq!(recorded(&[], "tool"), Some("PASSED".into()), "{action}");
        assert_eq!(recorded(&[], "app.jar"), Some("FAILED".into()), "{action}");
    }
    let exception = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "PolicyException", "metadata": {"name": "for-now"},
        "spec": {"policies": ["files"], "artifacts": ["app.jar"], "owner": "ann@example.com", "reason": "late", "until": "2999-01-01"}});
    std::fs::write(home.path("exception.yaml"), exception.to_string()).unwrap();
    policy(&[]);
    assert_eq!(recorded(&["--policy", "exception.yaml"], "app.jar"), Some("FAILED".into()));
    // A trust root that nobody has: nobody can tell how it came out.
    policy(&[
        ("couldNotCheck", "admit".into()),
        ("trust", json!({"root": "nobody"})),
        ("require", json!({"transparencyLog": true})),
    ]);
    assert_eq!(recorded(&[], "tool"), None);
}

/// The statement in a bundle.
fn payload(bundle: &str) -> Value {
    use countersign_crypto::encoding::base64_decode;
    let bundle: Value = serde_json::from_str(bundle).unwrap();
    let payload = base64_decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
