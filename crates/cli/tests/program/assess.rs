//! Assessments as the program prints them: a workflow alone, an artifact with provenance, and each thing that alone makes it less.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Home, left_out};

const BUILDER: &str = "https://ci.example/builder";
const COMMIT: &str = "0123456789012345678901234567890123456789";

/// A workflow in which something is found.
const WORKFLOW: &str = "on:\n  workflow_dispatch: {inputs: {version: {}}}\njobs:\n  build:\n    runs-on: ubuntu-24.04\n    steps:\n    \
                        - uses: actions/checkout@v4\n    - run: |\n        docker pull acme/tools:1\n        make release\n";

/// An artifact with provenance of level 3, signed with a key.
fn bench(parameters: Value) -> Home {
    let home = Home::new();
    for name in ["builder", "ciso", "other"] {
        home.good(&["generate-key-pair", "--output-key-prefix", name]);
    }
    std::fs::write(home.path("app.tar"), "app").unwrap();
    let provenance = json!({
        "buildDefinition": { "buildType": "https://countersign.dev/buildtypes/recipe/v1", "externalParameters": parameters,
            "internalParameters": { "network": "none" },
            "resolvedDependencies": [{ "uri": "git+https://git.example/shop@refs/tags/v1", "digest": { "gitCommit": COMMIT } }] },
        "runDetails": { "builder": { "id": BUILDER }, "metadata": { "invocationId": "1", "startedOn": "2026-01-01T00:00:00Z" } } });
    std::fs::write(home.path("p.json"), provenance.to_string()).unwrap();
    attest(&home, "builder", "slsaprovenance1", "p.json", "p.sigstore.json");
    let roots = format!("- {{builder: \"{BUILDER}\", signer: {{key: builder.pub}}, level: 3}}\n");
    std::fs::write(home.path("roots.yaml"), roots).unwrap();
    home
}

fn attest(home: &Home, key: &str, kind: &str, predicate: &str, bundle: &str) {
    let key = format!("{key}.key");
    let sign = ["attest-blob", "--key", &key, "--no-tlog", "--no-timestamp", "--type", kind];
    home.good(&[&sign[..], &["--predicate", predicate, "--bundle", bundle, "app.tar"]].concat());
}

fn source() -> Value {
    json!({ "source": { "uri": "git+https://git.example/shop@refs/tags/v1" }, "configPath": "build.yaml" })
}

/// The assessment of the artifact, as JSON, with the exit code.
fn assess(home: &Home, more: &[&str]) -> (i32, Value) {
    let own = ["slsa", "assess", "app.tar", "--insecure-ignore-tlog", "--format", "json"];
    let (code, out, err) = home.text(&[&own[..], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}")))
}

const PROVEN: [&str; 4] = ["--provenance", "p.sigstore.json", "--roots", "roots.yaml"];

fn level(assessment: &Value, track: &str) -> u64 {
    let tables = assessment["tables"].as_array().unwrap();
    tables.iter().find(|table| table["track"] == track).unwrap()["level"].as_u64().unwrap()
}

fn row(assessment: &Value, id: &str) -> Value {
    let tables = assessment["tables"].as_array().unwrap();
    let mut rows = tables.iter().flat_map(|table| table["rows"].as_array().unwrap());
    rows.find(|row| row["id"] == id).unwrap_or_else(|| panic!("no row {id}")).clone()
}

#[test]
fn a_workflow_alone_is_read_with_its_lines() {
    let home = Home::new();
    std::fs::write(home.path("release.yml"), WORKFLOW).unwrap();
    let text = home.good(&["slsa", "assess", "--workflow", "release.yml"]);
    assert!(text.contains("| Hermetic |  |  |  | N |"), "{text}");
    assert!(text.contains("release.yml:9"), "{text}");
    let sarif = home.good(&["slsa", "assess", "--workflow", "release.yml", "--format", "sarif"]);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert!(sarif["runs"][0]["results"].as_array().unwrap().len() > 4);
    let page = home.good(&["slsa", "assess", "--workflow", "release.yml", "--format", "html"]);
    assert!(page.starts_with("<!doctype html>") && !page.contains("<script"));
    std::fs::write(home.path("claims.yaml"), "from: our site\nclaims: {Hermetic: [4]}\n").unwrap();
    let beside = home.good(&["slsa", "assess", "--workflow", "release.yml", "--claims", "claims.yaml"]);
    assert!(beside.contains("| Hermetic | 4 | L4 N |"), "{beside}");
    let claimed = ["slsa", "assess", "--workflow", "release.yml", "--claims", "claims.yaml"];
    let json = home.good(&[&claimed[..], &["--format", "json"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["claims"]["from"], "our site");
    assert_eq!(home.text(&[&claimed[..], &["--format", "sarif"]].concat()).0, 1, "would not be heard");
    std::fs::write(home.path("claims.yaml"), "claims: {Hermetik: [4]}\n").unwrap();
    assert_eq!(home.text(&claimed).0, 1, "a claim about no row");
    let required = ["slsa", "assess", "--workflow", "release.yml", "--require", "v0.1=1"];
    assert_eq!(home.text(&required).0, 2);
    // What would not be heard is refused.
    let alone = ["slsa", "assess", "--workflow", "release.yml"];
    for more in
        [["--roots", "r"], ["--provenance", "p"], ["--statement", "s"], ["--key", "k.pub"], ["--ref", "r"]]
    {
        assert_eq!(home.text(&[&alone[..], &more].concat()).0, 1, "{more:?}");
    }
    assert_eq!(home.text(&[&alone[..], &["--count-asserted"]].concat()).0, 1);
    assert_eq!(home.text(&[&alone[..], &["--verifier", "https://v"]].concat()).0, 1);
}

#[test]
fn a_level_is_of_verified_provenance_and_of_nothing_less() {
    let home = bench(source());
    let (code, whole) = assess(&home, &[&PROVEN[..], &["--require", "v1.2-build=3"]].concat());
    assert_eq!((code, level(&whole, "v1.2-build")), (0, 3), "{whole:#}");
    assert_eq!(row(&whole, "v0.1/parameterless")["verdict"], "met");
    let evidence = &row(&whole, "v1.2/unforgeable")["evidence"][0];
    assert_eq!(evidence["sha256"].as_str().map(str::len), Some(64));

    // Nobody looked.
    assert_eq!(level(&assess(&home, &[]).1, "v1.2-build"), 0);
    // Roots that do not name the builder with this key.
    std::fs::write(
        home.path("roots.yaml"),
        format!("- {{builder: \"{BUILDER}\", signer: {{key: other.pub}}, level: 3}}\n"),
    )
    .unwrap();
    let (code, other) = assess(&home, &[&PROVEN[..], &["--require", "v1.2-build=1"]].concat());
    assert_eq!((code, level(&other, "v1.2-build")), (2, 0));
    assert_eq!(row(&other, "v0.1/available")["verdict"], "not_met");
    // Another artifact.
    let home = bench(source());
    std::fs::write(home.path("app.tar"), "another").unwrap();
    assert_eq!(level(&assess(&home, &PROVEN).1, "v1.2-build"), 0);
    // Without a log entry, unless that is accepted.
    let home = bench(source());
    let strict = ["slsa", "assess", "app.tar", "--provenance", "p.sigstore.json", "--roots", "roots.yaml"];
    assert_ne!(home.text(&strict).0, 0, "no trust root, no verdict");
}

#[test]
fn self_assessments_count_for_their_rows_only_if_asked_and_only_by_whom_is_named() {
    let home = bench(source());
    let rows = json!({ "rows": ["v0.1/security", "v0.1/access"], "made": "2026-01-01T00:00:00Z",
        "expires": "2100-01-01T00:00:00Z", "text": "audited" });
    std::fs::write(home.path("self.json"), rows.to_string()).unwrap();
    let kind = "https://countersign.dev/slsa-self-assessment/v1";
    attest(&home, "ciso", kind, "self.json", "self.sigstore.json");
    let given = [&PROVEN[..], &["--statement", "self.sigstore.json"]].concat();
    let with = |key: &str| assess(&home, &[&given[..], &["--key", key]].concat()).1;
    let own = row(&with("ciso.pub"), "v0.1/security");
    assert_eq!((&own["verdict"], &own["until"]), (&json!("asserted"), &json!("2100-01-01T00:00:00Z")));
    assert_eq!(row(&with("ciso.pub"), "v0.1/superusers")["verdict"], "not_assessable");
    assert_eq!(
        row(&with("ciso.pub"), "v1.2/source-history")["verdict"],
        "not_assessable",
        "the source control system was not asked"
    );
    assert_eq!(row(&with("other.pub"), "v0.1/security")["verdict"], "not_assessable");
    let (code, ..) =
        home.text(&[&["slsa", "assess", "app.tar", "--insecure-ignore-tlog"], &given[..]].concat());
    assert_eq!(code, 1, "nobody is named who may sign it");
    let counted = [&given[..], &["--key", "ciso.pub", "--count-asserted"]].concat();
    assert_eq!(assess(&home, &counted).1["assertedCounts"], true);
}

#[test]
fn each_piece_beside_the_provenance_decides_its_row() {
    let home = bench(source());
    std::fs::write(home.path("release.yml"), WORKFLOW).unwrap();
    let (_, read) = assess(&home, &[&PROVEN[..], &["--workflow", "release.yml"]].concat());
    let hermetic = row(&read, "v0.1/hermetic");
    assert_eq!(hermetic["verdict"], "not_met");
    assert_eq!(hermetic["evidence"][1]["line"], 9);
    assert_eq!(row(&read, "v0.1/parameterless")["verdict"], "not_met");

    std::fs::write(
        home.path("go.sum"),
        "example.com/a v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    )
    .unwrap();
    let (_, locked) = assess(&home, &[&PROVEN[..], &["--lock-file", "go.sum"]].concat());
    assert_eq!(row(&locked, "v0.1/dependencies-complete")["verdict"], "not_met");

    let other = bench(
        json!({ "source": { "uri": "git+https://git.example/shop@refs/tags/v1" }, "configPath": "b", "inputs": {"v": "1"} }),
    );
    let (_, chosen) = assess(&other, &PROVEN);
    assert_ne!(row(&chosen, "v0.1/parameterless")["verdict"], "met");
}

#[test]
fn a_clone_is_asked_for_the_commit_and_the_entry_point() {
    if !Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return left_out("git");
    }
    let home = bench(source());
    assert!(
        Command::new("git")
            .args(["init", "-q", "clone"])
            .current_dir(home.0.path())
            .status()
            .unwrap()
            .success()
    );
    // What the repository says is to be run is not: nothing that is missing is fetched.
    let mut config = std::fs::OpenOptions::new().append(true).open(home.path("clone/.git/config")).unwrap();
    let pwned = home.path("pwned").display().to_string();
    let evil = format!(
        "[core]\n\tfsmonitor = touch {pwned}\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n\
         [protocol \"ext\"]\n\tallow = always\n[remote \"origin\"]\n\tpromisor = true\n\turl = \"ext::sh -c touch% {pwned}\"\n"
    );
    std::io::Write::write_all(&mut config, evil.as_bytes()).unwrap();
    let (_, read) = assess(&home, &[&PROVEN[..], &["--clone", "clone"]].concat());
    assert!(!home.path("pwned").exists());
    let given = ["slsa", "assess", "app.tar", "--insecure-ignore-tlog", "--clone", "clone", "--commit"];
    let other = "1".repeat(40);
    let (code, _, err) = home.text(&[&given[..], &[&other], &PROVEN].concat());
    assert!(code == 1 && err.contains("--commit"), "another commit than the provenance names: {err}");
    let row = row(&read, "v0.1/version-controlled");
    assert_eq!(row["verdict"], "not_met", "{row}");
    let (code, ..) =
        home.text(&["slsa", "assess", "app.tar", "--insecure-ignore-tlog", "--clone", "nowhere"]);
    assert_eq!(code, 1);
}

#[test]
fn a_summary_is_written_for_an_artifact() {
    let home = bench(source());
    let own = [
        "slsa",
        "assess",
        "app.tar",
        "--insecure-ignore-tlog",
        "--format",
        "vsa",
        "--verifier",
        "https://v.example",
    ];
    let text = home.good(&[&own[..], &["--resource", "pkg:generic/shop"], &PROVEN].concat());
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["predicate"]["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_3"]));
    assert_ne!(home.text(&[&own[..], &PROVEN].concat()).0, 0, "of what?");
}

/// The worked example of docs/assessment.md: what it shows is what is printed.
#[test]
fn the_worked_example_is_as_the_documents_print_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workflow = root.join("../shared/testdata/kubeedge/release.yml");
    let Ok(workflow) = std::fs::read(&workflow) else {
        eprintln!("skipped: {} is not there", workflow.display());
        return;
    };
    let home = Home::new();
    std::fs::create_dir_all(home.path(".github/workflows")).unwrap();
    std::fs::write(home.path(".github/workflows/release.yml"), workflow).unwrap();
    std::fs::copy(root.join("docs/kubeedge-claims.yaml"), home.path("claims.yaml")).unwrap();
    let assess = ["slsa", "assess", "--workflow", ".github/workflows/release.yml", "--claims", "claims.yaml"];
    let text = home.good(&assess);
    let document = std::fs::read_to_string(root.join("docs/assessment.md")).unwrap();
    for (title, next) in [
        ("## SLSA v0.1: ", "## SLSA v1.2, build"),
        ("## Claims of ", "## What decides: SLSA v0.1"),
        ("## Workflow files", "## Threats"),
    ] {
        let (_, rest) = text.split_once(title).unwrap_or_else(|| panic!("no {title}: {text}"));
        let (printed, _) = rest.split_once(next).unwrap();
        let (_, table) = printed.split_once("\n\n").unwrap();
        assert!(
            document.contains(table.trim()),
            "docs/assessment.md does not show what is printed:\n{}",
            table.trim()
        );
    }
}
