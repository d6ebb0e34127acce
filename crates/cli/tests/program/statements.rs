//! Statements by their types: what is checked before one is signed; VEX against a scan; bills of materials.

use countersign_attestation::predicate::registry;
use countersign_crypto::HashAlgorithm;
use serde_json::{Value, json};

use crate::support::{CYCLONEDX, Home};

/// A home with a key pair and an artifact.
struct Bench(Home);

const ARTIFACT: &str = "the artifact";

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.good(&["generate-key-pair"]);
        let bench = Self(home);
        bench.write("app.tar", ARTIFACT);
        bench
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path(name)).unwrap()
    }

    /// Signs a predicate about a file with a key: the exit code, and what is said on standard error.
    fn attested(&self, kind: &str, predicate: &str, more: &[&str]) -> (i32, String) {
        self.write("p.json", predicate);
        let attest =
            ["attest-blob", "-y", "--key", "cosign.key", "--no-tlog", "--predicate", "p.json", "--bundle"];
        let (code, _, err) =
            self.0.text(&[&attest[..], &["out.sigstore.json", "--type", kind, "app.tar"], more].concat());
        (code, err)
    }

    /// Signs a whole statement, into this file: the exit code.
    fn sign_statement(&self, statement: &Value, to: &str, more: &[&str]) -> i32 {
        self.write("s.json", &statement.to_string());
        let sign = ["attest-blob", "-y", "--key", "cosign.key", "--no-tlog", "--statement", "s.json"];
        self.0.text(&[&sign[..], &["--bundle", to, "app.tar"], more].concat()).0
    }

    /// Signs a predicate about the artifact, into this file.
    fn sign(&self, kind: &str, predicate: &str, to: &str) {
        let (code, err) = self.attested(kind, predicate, &[]);
        assert_eq!(code, 0, "{err}");
        std::fs::rename(self.0.path("out.sigstore.json"), self.0.path(to)).unwrap();
    }

    /// A document made by `vex create` about CVE-1, signed for the artifact.
    fn vex(&self, more: &[&str], to: &str) {
        let create = ["vex", "create", "--author", "Acme", "--vulnerability", "CVE-1"];
        let document = self.0.good(&[&create[..], more].concat());
        self.sign("openvex", &document, to);
    }

    /// Filters a scan with CVE-1 (high) and CVE-2 (low) in it.
    fn filter(&self, vex: &[&str], more: &[&str]) -> (i32, String, String) {
        self.write("scan.json", &scan().to_string());
        let mut all = vec!["vex", "filter", "scan.json", "app.tar", "--min-logs", "0"];
        vex.iter().for_each(|file| all.extend(["--vex", file]));
        if !more.contains(&"--key") {
            all.extend(["--key", "cosign.pub"]);
        }
        self.0.text(&[&all[..], more].concat())
    }
}

fn scan() -> Value {
    let found = |id: &str, severity: &str| {
        json!({ "VulnerabilityID": id, "PkgName": "openssl", "InstalledVersion": "3.0", "Severity": severity,
            "PkgIdentifier": { "PURL": "pkg:deb/debian/openssl@3.0?arch=amd64" } })
    };
    json!({ "SchemaVersion": 2, "Results": [{ "Target": "t", "Vulnerabilities": [found("CVE-1", "HIGH"), found("CVE-2", "LOW")] }] })
}

const CLEAR: [&str; 4] = ["--status", "not_affected", "--justification", "component_not_present"];
const AFFECTED: [&str; 4] = ["--status", "affected", "--action", "update"];

#[test]
fn v02_v07_a_predicate_of_a_known_type_is_checked_before_it_is_signed() {
    let bench = Bench::new();
    for kind in [
        "spdxjson",
        "cyclonedx",
        "slsaprovenance1",
        "vuln",
        "vulns",
        "openvex",
        "vsa",
        "svr",
        "scai",
        "link",
        "test-result",
        "release",
        "runtime-trace",
        "reference",
        "code-review",
        "sarif",
    ] {
        let (code, err) = bench.attested(kind, "{}", &[]);
        assert_eq!(code, 1, "{kind}: {err}");
        assert!(err.contains("not a predicate of the type https://"), "{kind}: {err}");
        assert_eq!(bench.attested(kind, "{}", &["--allow-unknown-type"]).0, 1, "{kind} is known");
    }
    assert!(!bench.0.path("out.sigstore.json").exists(), "nothing was signed");
    assert_eq!(bench.attested("cyclonedx", CYCLONEDX, &[]).0, 0);
    assert_eq!(bench.attested("spdxjson", CYCLONEDX, &[]).0, 1, "another type's predicate");
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT.as_bytes()).to_hex();
    let statement = |kind: &str| {
        let text = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [{ "digest": { "sha256": digest } }],
            "predicateType": kind, "predicate": {} });
        bench.sign_statement(&text, "s.out", &[])
    };
    assert_eq!(statement("https://slsa.dev/provenance/v1"), 1, "a whole statement too");
    assert_eq!(statement("https://example.com/p"), 0);
}

#[test]
fn what_looks_like_a_known_type_is_signed_only_when_that_is_asked_for() {
    let bench = Bench::new();
    for kind in
        ["https://slsa.dev/provenance/v1.0", "https://cyclonedx.org/bom/v9", "http://slsa.dev/provenance/v1"]
    {
        let (code, err) = bench.attested(kind, "{}", &[]);
        assert!(code == 1 && err.contains("--allow-unknown-type"), "{kind}: {code} {err}");
        assert_eq!(bench.attested(kind, "{}", &["--allow-unknown-type"]).0, 0, "{kind}");
    }
    let (code, err) = bench.attested("https://example.com/p", "{}", &[]);
    assert!(code == 0 && err.contains("was not checked"), "{err}");
}

#[test]
fn every_name_stands_in_the_help() {
    let bench = Bench::new();
    for command in ["attest", "attest-blob"] {
        let help = bench.0.good(&[command, "--help"]);
        let words: Vec<&str> = help.split([' ', ',', '\n']).collect();
        for (name, _) in registry::KINDS.iter().flat_map(|kind| kind.names) {
            assert!(words.contains(name), "{command}: {name}");
        }
    }
}

#[test]
fn signed_vex_clears_what_it_names_and_the_rest_remains() {
    let bench = Bench::new();
    bench.vex(&CLEAR, "v.json");
    let (code, out, err) = bench.filter(&["v.json"], &[]);
    assert_eq!((code, err.as_str()), (2, ""), "{out}");
    assert!(
        out.contains("2 findings: 1 cleared by VEX, 1 remain") && out.contains("component_not_present"),
        "{out}"
    );
    let (code, out, _) = bench.filter(&["v.json"], &["--at-least", "high", "--write", "left.json"]);
    assert!(code == 0 && out.contains("1 below high, 0 remain"), "{out}");
    let left: Value = serde_json::from_str(&bench.read("left.json")).unwrap();
    assert_eq!(left["Results"][0]["Vulnerabilities"], json!([]));
    let (code, ..) = bench.filter(&["v.json"], &["--write", "left.json"]);
    let left: Value = serde_json::from_str(&bench.read("left.json")).unwrap();
    assert_eq!((code, &left["Results"][0]["Vulnerabilities"][0]["VulnerabilityID"]), (2, &json!("CVE-2")));
    let (_, out, _) = bench.filter(&["v.json"], &["-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&document["remain"], &document["findings"][0]["cleared"]), (&json!(1), &json!(true)));
    assert_eq!(document["findings"][0]["vex"]["signer"], "the key");
}

#[test]
fn vex_that_nobody_trusted_signed_or_about_another_artifact_clears_nothing() {
    let bench = Bench::new();
    bench.vex(&CLEAR, "v.json");
    bench.0.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    let (code, out, err) = bench.filter(&["v.json"], &["--key", "other.pub"]);
    assert!(matches!(code, 2 | 4) && out.is_empty() && !err.is_empty(), "{code} {out} {err}");
    let document =
        bench.0.good(&[&["vex", "create", "--author", "A", "--vulnerability", "CVE-1"][..], &CLEAR].concat());
    bench.write("bare.json", &document);
    let (code, out, _) = bench.filter(&["bare.json"], &[]);
    assert!(code == 2 && out.is_empty(), "a document without signature");
    assert_eq!(bench.filter(&["none.json"], &[]).0, 3);
    bench.write("app.tar", "another artifact");
    let (code, out, err) = bench.filter(&["v.json"], &[]);
    assert!(code != 0 && out.is_empty() && err.contains("subject"), "{code} {err}");
    bench.write("app.tar", ARTIFACT);
    bench.sign("cyclonedx", CYCLONEDX, "s.json");
    assert_ne!(bench.filter(&["s.json"], &[]).0, 0, "a statement of another type");
    let changed = bench.read("v.json").replacen("payload\":\"", "payload\":\"e", 1);
    bench.write("changed.json", &changed);
    let (code, out, _) = bench.filter(&["changed.json"], &[]);
    assert!(code == 2 && out.is_empty(), "an altered one");
}

#[test]
fn vex_for_another_product_keeps_the_finding_and_is_told_even_where_all_else_is_quiet() {
    let bench = Bench::new();
    let other = [&CLEAR[..], &["--product", "pkg:generic/other@1"]].concat();
    bench.vex(&other, "v.json");
    let (code, out, err) = bench.filter(&["v.json"], &["-q", "--name", "pkg:generic/app@1"]);
    assert!(code == 2 && out.contains("0 cleared by VEX, 2 remain"), "{out}");
    assert!(err.contains("matches nothing") && err.contains("another product"), "{err}");
    let (_, out, err) = bench.filter(&["v.json"], &["--name", "pkg:generic/other@1"]);
    assert!(out.contains("1 cleared by VEX") && err.is_empty(), "{out} {err}");
    let part = [&CLEAR[..], &["--product", "pkg:generic/app@1", "--part", "pkg:deb/debian/zlib"]].concat();
    bench.vex(&part, "p.json.out");
    let (_, out, _) = bench.filter(&["p.json.out"], &["--name", "pkg:generic/app@1"]);
    assert!(out.contains("0 cleared"), "another part of it: {out}");
    // A platform that the product names and the artifact's name does not is another product.
    let qualified = [&CLEAR[..], &["--product", "pkg:generic/app@1?os_name=debian"]].concat();
    bench.vex(&qualified, "q.json");
    let (_, out, err) = bench.filter(&["q.json"], &["--name", "pkg:generic/app@1?distro=debian"]);
    assert!(out.contains("0 cleared") && err.contains("another product"), "{out}");
}

#[test]
fn vex_affected_after_not_affected_keeps_the_finding_in_whatever_order_the_files_are_named() {
    let bench = Bench::new();
    bench.vex(&CLEAR, "first.json");
    bench.vex(&AFFECTED, "second.json");
    for files in [["first.json", "second.json"], ["second.json", "first.json"]] {
        let (code, out, _) = bench.filter(&files, &[]);
        assert!(code == 2 && out.contains("0 cleared by VEX") && out.contains("affected (update)"), "{out}");
    }
    bench.vex(&CLEAR, "third.json");
    let (_, out, _) = bench.filter(&["third.json", "second.json"], &[]);
    assert!(out.contains("1 cleared by VEX"), "{out}");
}

#[test]
fn vex_of_a_time_to_come_is_refused_and_one_that_cannot_be_read_ends_the_command() {
    let bench = Bench::new();
    let document =
        bench.0.good(&[&["vex", "create", "--author", "A", "--vulnerability", "CVE-1"][..], &CLEAR].concat());
    let mut later: Value = serde_json::from_str(&document).unwrap();
    later["statements"][0]["timestamp"] = "2199-01-01T00:00:00Z".into();
    bench.sign("openvex", &later.to_string(), "later.json");
    let (code, out, err) = bench.filter(&["later.json"], &[]);
    assert!(code == 2 && out.is_empty() && err.contains("still to come"), "{code} {err}");
    // Signed by somebody who did not check it.
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT.as_bytes()).to_hex();
    let mut statement = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [{ "digest": { "sha256": digest } }],
        "predicateType": "https://openvex.dev/ns/v9", "predicate": later });
    assert_eq!(bench.sign_statement(&statement, "v.out", &["--allow-unknown-type"]), 0);
    assert_ne!(bench.filter(&["v.out"], &[]).0, 0, "a version that is not known is another type");
    statement["predicateType"] = "https://openvex.dev/ns".into();
    statement["predicate"]["statements"][0]["status"] = "fine".into();
    assert_eq!(bench.sign_statement(&statement, "v.out", &[]), 1);
}

#[test]
fn vex_is_made_with_what_its_status_demands_and_merged_with_its_times() {
    let bench = Bench::new();
    let create = |more: &[&str]| {
        let create = ["vex", "create", "--author", "Acme", "--vulnerability", "CVE-1"];
        bench.0.text(&[&create[..], more].concat())
    };
    let digest = HashAlgorithm::Sha256.digest(b"manifest");
    let image = format!("registry.example/team/shop@{digest}");
    let (code, out, _) = create(&[&CLEAR[..], &["--product", &image, "--alias", "GHSA-1"]].concat());
    assert!(code == 0 && out.contains("repository_url=registry.example%2Fteam%2Fshop"), "{out}");
    assert!(out.contains("GHSA-1") && out.contains("urn:countersign:vex:"), "{out}");
    bench.write("a.json", &out);
    for (more, says) in [
        (&["--status", "not_affected"][..], "nothing says why"),
        (&["--status", "affected"], "what to do about it"),
        (&["--status", "fixed", "--impact", "x"], "expected none"),
        (&["--status", "ok"], "expected one of not_affected"),
        (
            &["--status", "not_affected", "--justification", "because"],
            "expected one of component_not_present",
        ),
        (&["--status", "fixed", "--product", "registry.example/shop:v1"], "with its digest"),
        (&["--status", "fixed", "--product", "app.tar"], "expected a package URL"),
        (&["--status", "fixed", "--part", "pkg:deb/debian/zlib"], "--product"),
    ] {
        let (code, out, err) = create(more);
        assert!(code == 1 && out.is_empty() && err.contains(says), "{more:?}: {err}");
    }
    let (_, out, _) = create(
        &[&AFFECTED[..], &["--product", "pkg:npm/shop", "--id", "https://example.com/1", "--role", "vendor"]]
            .concat(),
    );
    assert!(out.contains("\"https://example.com/1\"") && out.contains("\"vendor\""), "{out}");
    bench.write("b.json", &out);
    let all = bench.0.good(&["vex", "merge", "--author", "Acme", "b.json", "a.json", "b.json"]);
    let merged: Value = serde_json::from_str(&all).unwrap();
    let times: Vec<&str> = merged["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["timestamp"].as_str().unwrap())
        .collect();
    let own = |name: &str| -> Value { serde_json::from_str(&bench.read(name)).unwrap() };
    assert_eq!(
        times,
        [own("a.json")["timestamp"].as_str().unwrap(), own("b.json")["timestamp"].as_str().unwrap()]
    );
    let (_, bare, _) = create(&CLEAR);
    bench.write("c.json", &bare);
    let (code, out, err) = bench.0.text(&["vex", "merge", "--author", "Acme", "a.json", "c.json"]);
    assert!(code == 1 && out.is_empty() && err.contains("c.json") && err.contains("attached to"), "{err}");
}

fn bill() -> Value {
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT.as_bytes()).to_hex();
    json!({ "bomFormat": "CycloneDX", "specVersion": "1.6",
        "metadata": { "timestamp": "2026-01-01T00:00:00Z", "tools": [{ "name": "syft" }],
            "component": { "bom-ref": "app", "name": "app", "hashes": [{ "alg": "SHA-256", "content": digest }] } },
        "components": [{ "bom-ref": "a", "name": "left-pad", "version": "1", "purl": "pkg:npm/left-pad@1", "supplier": { "name": "A" } }],
        "dependencies": [{ "ref": "app", "dependsOn": ["a"] }] })
}

#[test]
fn a_signed_bill_of_materials_is_checked_and_each_defect_alone_fails_it() {
    let bench = Bench::new();
    let check = |bill: &Value, more: &[&str]| {
        bench.sign("cyclonedx", &bill.to_string(), "b.json");
        let check = ["sbom", "check", "b.json", "app.tar", "--key", "cosign.pub", "--min-logs", "0"];
        bench.0.text(&[&check[..], more].concat())
    };
    let (code, out, err) = check(&bill(), &[]);
    assert!(code == 0 && out.ends_with("PASSED\n"), "{out}{err}");
    for (pointer, value, says) in [
        ("/components", json!([]), "at least one component"),
        ("/components/0/supplier", json!({}), "supplier name: missing with 1: pkg:npm/left-pad@1"),
        ("/metadata/timestamp", Value::Null, "timestamp: missing"),
        ("/metadata/component/hashes/0/content", json!("0".repeat(64)), "expected it to be about sha256:"),
    ] {
        let mut changed = bill();
        *changed.pointer_mut(pointer).unwrap() = value;
        let (code, out, _) = check(&changed, &[]);
        assert!(code == 2 && out.contains(says) && out.ends_with("FAILED\n"), "{pointer}: {out}");
    }
    let mut changed = bill();
    changed["components"][0]["supplier"] = Value::Null;
    assert_eq!(check(&changed, &["--without", "supplier"]).0, 0);
    assert_eq!(check(&changed, &["--without", "version"]).0, 2);
    assert_eq!(check(&changed, &["--without", "licence"]).0, 1);
    let mut silent = bill();
    silent["metadata"]["component"] = json!({ "bom-ref": "app", "name": "app" });
    let (code, out, _) = check(&silent, &["-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &document["passed"], &document["signed"]),
        (0, &json!(true), &json!(true)),
        "the signature binds it"
    );

    bench.0.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    let by_other = ["sbom", "check", "b.json", "app.tar", "--key", "other.pub", "--min-logs", "0"];
    assert!(matches!(bench.0.text(&by_other), (2 | 4, out, _) if out.is_empty()));
    bench.write("other.tar", "another");
    let of_other = ["sbom", "check", "b.json", "other.tar", "--key", "cosign.pub", "--min-logs", "0"];
    assert!(matches!(bench.0.text(&of_other), (2 | 4, out, _) if out.is_empty()));
}

#[test]
fn an_unsigned_bill_of_materials_must_name_the_artifact_itself() {
    let bench = Bench::new();
    bench.write("b.json", &bill().to_string());
    let check = ["sbom", "check", "b.json", "app.tar", "--unsigned"];
    assert_eq!(bench.0.text(&check).0, 0);
    let (code, _, err) = bench.0.text(&[&check[..], &["--key", "cosign.pub"]].concat());
    assert!(code == 1 && err.contains("--unsigned"), "what would not be heard is refused: {err}");
    assert_ne!(
        bench.0.text(&["sbom", "check", "b.json", "app.tar", "--key", "cosign.pub"]).0,
        0,
        "it is no bundle"
    );
    let mut silent = bill();
    silent["metadata"]["component"] = json!({ "bom-ref": "app", "name": "app" });
    bench.write("b.json", &silent.to_string());
    let (code, out, _) = bench.0.text(&check);
    assert!(code == 2 && out.contains("nobody signed for it"), "{out}");

    let shown = bench.0.good(&["sbom", "inspect", "b.json"]);
    assert!(shown.contains("CycloneDX 1.6") && shown.contains("✓ supplier name"), "{shown}");
    bench.sign("cyclonedx", &bill().to_string(), "s.json");
    let json: Value =
        serde_json::from_str(&bench.0.good(&["sbom", "inspect", "-o", "json", "s.json"])).unwrap();
    assert_eq!((&json["components"], &json["missing"]), (&json!(1), &json!([])));
    bench.write("b.json", "{}");
    assert_eq!(bench.0.text(&["sbom", "inspect", "b.json"]).0, 2);
    assert_eq!(bench.0.text(&check).0, 2);
}
