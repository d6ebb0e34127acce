//! Rules over what is known: provenance, a bill of materials, a scan with VEX, results of tests, a review. Each field alone, and
//! each statement alone, can make the answer no.

use countersign_bundle::Bundle;
use countersign_policy::{
    Answer, CouldNot, CouldNotReason, Known, Memo, PolicySet, Question, Request, Status,
};
use countersign_registry::Descriptor;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::Form;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sigstore::T;
use crate::support::{By, Cluster, key, pod, statement};
use crate::{IMAGE, alice, answer, decide, holder, policy, read, reasons, with};

pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
pub(crate) const SBOM: &str = "https://cyclonedx.org/bom";
pub(crate) const SCAN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
pub(crate) const VEX: &str = "https://openvex.dev/ns/v0.2.0";
pub(crate) const TESTS: &str = "https://in-toto.io/attestation/test-result/v0.1";
pub(crate) const REVIEW: &str = "https://countersign.dev/code-review/v1";
const BUILDER: &str = "https://builds.example/hermetic/v1";

fn ago(seconds: i64) -> String {
    Timestamp::from_second(T - seconds).unwrap().to_string()
}

pub(crate) fn built() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://countersign.dev/buildtypes/recipe/v1",
            "externalParameters": { "source": { "uri": "git+https://git.example/a", "ref": "refs/tags/v1.2.3",
                "digest": { "gitCommit": "a".repeat(40) } } },
        },
        "runDetails": { "builder": { "id": BUILDER } },
    })
}

pub(crate) fn bill() -> Value {
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "metadata": { "timestamp": ago(60), "authors": [{ "name": "acme" }],
            "component": { "bom-ref": "app", "type": "application", "name": "app", "version": "1", "supplier": { "name": "acme" },
                "purl": "pkg:generic/app@1" } },
        "components": [{ "bom-ref": "openssl", "type": "library", "name": "openssl", "version": "3", "supplier": { "name": "openssl" },
            "purl": "pkg:deb/debian/openssl@3" }],
        "dependencies": [{ "ref": "app", "dependsOn": ["openssl"] }],
    })
}

/// A scan that found something critical, which VEX clears, and something of which nobody says how bad it is.
pub(crate) fn scan(finished: i64) -> Value {
    let found = |id: &str, package: &str, severity: &str| {
        json!({ "VulnerabilityID": id, "PkgName": package, "InstalledVersion": "1.0", "Severity": severity,
            "PkgIdentifier": { "PURL": format!("pkg:deb/debian/{package}@1.0") } })
    };
    json!({
        "scanner": { "uri": "pkg:github/aquasecurity/trivy", "db": { "lastUpdate": ago(finished + 7200) },
            "result": { "SchemaVersion": 2, "Results": [{ "Vulnerabilities":
                [found("CVE-1", "openssl", "CRITICAL"), found("CVE-2", "zlib", "LOW"), found("CVE-3", "bash", "UNKNOWN")] }] } },
        "metadata": { "scanStartedOn": ago(finished + 60), "scanFinishedOn": ago(finished) },
    })
}

pub(crate) fn vex(statements: &[(&str, &str)]) -> Value {
    let statement = |(id, status): &(&str, &str)| json!({ "vulnerability": { "name": id }, "status": status, "justification": "vulnerable_code_not_present" });
    json!({ "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "acme", "version": 1,
        "timestamp": ago(60), "statements": statements.iter().map(statement).collect::<Vec<_>>() })
}

pub(crate) fn tested() -> Value {
    json!({ "result": "PASSED", "configuration": [{ "uri": "ci.yml" }], "passedTests": ["unit", "integration"] })
}

pub(crate) fn reviewed() -> Value {
    json!({ "repository": "git+https://git.example/a", "verdict": "approved", "authors": [{ "id": "ann@example.com" }],
        "reviewers": [{ "id": "bob@example.com" }] })
}

/// What is said of the image, in the order of the rules.
fn all() -> Vec<(&'static str, Value)> {
    vec![
        (PROVENANCE, built()),
        (SBOM, bill()),
        (SCAN, scan(120)),
        (VEX, vex(&[("CVE-1", "not_affected"), ("CVE-3", "fixed")])),
        (TESTS, tested()),
        (REVIEW, reviewed()),
    ]
}

fn image(statements: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    for (kind, predicate) in statements {
        cluster.attest(IMAGE, By::Alice, kind, predicate);
    }
    cluster
}

fn root(changes: Value) -> Value {
    let signer = json!({"subject": "alice@example.com", "issuer": "https://issuer.example"});
    with(json!({"builder": BUILDER, "signer": signer, "level": 3}), changes)
}

/// One field with all that it can ask for.
fn field(name: &str) -> Value {
    match name {
        "provenance" => {
            json!({"level": 3, "roots": [root(json!({}))], "source": "https://git.example/a", "tag": "v1.2.3",
            "buildType": "https://countersign.dev/buildtypes/recipe/v1", "notOlderThan": "30d"})
        }
        "sbom" => json!({"signedBy": alice(), "formats": ["cyclonedx"], "ntia": true, "notOlderThan": "30d"}),
        "scan" => {
            json!({"signedBy": alice(), "scanners": ["pkg:github/aquasecurity/*"], "notOlderThan": "24h",
            "databaseNotOlderThan": "48h", "severityBelow": "high", "vex": {"signedBy": alice(), "notOlderThan": "30d"}})
        }
        "tests" => json!({"signedBy": alice(), "passed": ["unit", "int*"], "notOlderThan": "30d"}),
        _ => json!({"signedBy": alice(), "approvals": 1, "notOlderThan": "30d"}),
    }
}

const FIELDS: [&str; 5] = ["provenance", "sbom", "scan", "tests", "review"];

/// A policy that asks for everything, with one field changed.
fn everything(name: &str, changes: Value) -> Value {
    let mut spec = json!({});
    for field_name in FIELDS {
        let changes = if field_name == name { changes.clone() } else { json!({}) };
        spec[field_name] = with(field(field_name), changes);
    }
    policy(spec)
}

#[test]
fn each_field_alone_can_make_the_answer_no() {
    let cluster = image(&all());
    let stranger = key();
    let with_key = || json!({"key": holder(&stranger)["key"]});
    for (name, changes, expected) in [
        ("", json!({}), Ok(())),
        (
            "provenance",
            json!({"roots": [root(json!({"level": 2})), root(json!({"builder": "https://b/3"}))]}),
            Err("level_too_low"),
        ),
        (
            "provenance",
            json!({"roots": [root(json!({"builder": "https://builds.example/hermetic"}))]}),
            Err("unknown_builder"),
        ),
        ("provenance", json!({"roots": [root(json!({"signer": with_key()}))]}), Err("no_provenance")),
        ("provenance", json!({"source": "https://git.example/b"}), Err("other_origin review_of_other")),
        ("provenance", json!({"tag": "v1.2.4"}), Err("other_origin")),
        ("provenance", json!({"tag": null, "branch": "main"}), Err("other_origin")),
        ("provenance", json!({"tag": null, "versionedTag": "v1.2"}), Ok(())),
        ("provenance", json!({"tag": null, "versionedTag": "v1.3"}), Err("other_origin")),
        (
            "provenance",
            json!({"buildType": "https://countersign.dev/buildtypes/other/v1"}),
            Err("other_origin"),
        ),
        ("provenance", json!({"notOlderThan": "59m"}), Err("too_old")),
        ("sbom", json!({"signedBy": with_key()}), Err("not_trusted")),
        ("sbom", json!({"signedBy": {"anyOf": [with_key(), alice()]}}), Ok(())),
        ("sbom", json!({"formats": ["spdx"]}), Err("not_trusted")),
        ("sbom", json!({"formats": ["spdx", "cyclonedx"]}), Ok(())),
        ("sbom", json!({"notOlderThan": "59m"}), Err("too_old")),
        ("scan", json!({"signedBy": with_key()}), Err("no_scan")),
        ("scan", json!({"scanners": ["pkg:github/anchore/*"]}), Err("other_scanner")),
        ("scan", json!({"scanners": ["pkg:github/anchore/*", "*trivy"]}), Ok(())),
        ("scan", json!({"notOlderThan": "1h"}), Err("scan_too_old")),
        ("scan", json!({"databaseNotOlderThan": "3h"}), Err("database_too_old")),
        ("scan", json!({"severityBelow": "low"}), Err("vulnerable")),
        ("scan", json!({"vex": null}), Err("vulnerable")),
        ("scan", json!({"vex": null, "severityBelow": null}), Ok(())),
        ("scan", json!({"vex": {"signedBy": with_key()}}), Err("vulnerable")),
        ("scan", json!({"vex": {"signedBy": alice(), "notOlderThan": "59m"}}), Err("vulnerable")),
        ("tests", json!({"signedBy": with_key()}), Err("no_statement")),
        ("tests", json!({"passed": ["end-to-end"]}), Err("test_missing")),
        ("tests", json!({"notOlderThan": "59m"}), Err("too_old")),
        ("review", json!({"signedBy": with_key()}), Err("no_statement")),
        ("review", json!({"approvals": 2}), Err("not_approved")),
        ("review", json!({"notOlderThan": "59m"}), Err("too_old")),
    ] {
        let found = answer(&cluster, &everything(name, changes.clone()));
        assert_eq!(found, expected.map_err(str::to_owned), "{name} {changes}");
    }
    let unknown = |counts: bool| {
        let cluster = image(&[(SCAN, scan(120)), (VEX, vex(&[("CVE-1", "not_affected")]))]);
        let scan = json!({"signedBy": alice(), "severityBelow": "high", "vex": {"signedBy": alice()}, "unknownSeverity": counts});
        answer(&cluster, &policy(json!({ "scan": scan })))
    };
    assert_eq!((unknown(false), unknown(true)), (Ok(()), Err("vulnerable".into())));
}

#[test]
fn what_a_builder_chooses_freely_and_whose_machine_it_was_are_refused_unless_told_otherwise() {
    let mut predicate = built();
    predicate["buildDefinition"]["externalParameters"]["debug"] = json!(true);
    let cluster = image(&[(PROVENANCE, predicate)]);
    let ask =
        |changes: Value| answer(&cluster, &policy(json!({"provenance": with(field("provenance"), changes)})));
    assert_eq!(ask(json!({})), Err("other_origin".into()));
    assert_eq!(ask(json!({"parameters": ["debug"]})), Ok(()));
    assert_eq!(ask(json!({"source": null, "tag": null, "buildType": null})), Ok(()), "nothing is expected");
}

#[test]
fn a_branch_is_no_tag_and_a_tag_no_branch_however_they_are_spelled() {
    for (reference, wanted) in [
        ("refs/heads/main", json!({"tag": "refs/heads/main"})),
        ("refs/heads/main", json!({"tag": "main"})),
        ("refs/tags/v1", json!({"tag": null, "branch": "refs/tags/v1"})),
        ("refs/tags/v1", json!({"tag": null, "branch": "v1"})),
    ] {
        let mut predicate = built();
        predicate["buildDefinition"]["externalParameters"]["source"]["ref"] = reference.into();
        let cluster = image(&[(PROVENANCE, predicate)]);
        let ask = |changes: &Value| {
            answer(&cluster, &policy(json!({"provenance": with(field("provenance"), changes.clone())})))
        };
        let right = if reference == "refs/tags/v1" {
            json!({"tag": reference})
        } else {
            json!({"tag": null, "branch": reference})
        };
        assert_eq!(ask(&right), Ok(()), "{reference}");
        assert_eq!(ask(&wanted), Err("other_origin".into()), "{reference}: {wanted}");
    }
}

/// Alice's certificates name the repository `https://git.example/a`.
#[test]
fn provenance_that_the_certificate_or_itself_contradicts_counts_for_nothing_whatever_is_expected() {
    let of = |uri: &str| {
        let mut predicate = built();
        predicate["buildDefinition"]["externalParameters"]["source"]["uri"] = uri.into();
        predicate
    };
    let mut two_refs = of("git+https://git.example/a@refs/heads/main");
    two_refs["buildDefinition"]["externalParameters"]["source"]["ref"] = "refs/tags/v1".into();
    let (other, key) = (of("git+https://git.example/b"), key());
    for (predicate, by, holds) in [
        (&built(), By::Alice, true),
        (&other, By::Alice, false),
        (&other, By::Key(&key), true),
        (&two_refs, By::Alice, false),
        (&two_refs, By::Key(&key), false),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.attest(IMAGE, by, PROVENANCE, predicate);
        let roots = json!([root(json!({})), root(json!({"signer": {"key": holder(&key)["key"]}}))]);
        let found = answer(&cluster, &policy(json!({"provenance": {"level": 1, "roots": roots}})));
        assert_eq!(found, if holds { Ok(()) } else { Err("other_origin".into()) }, "{predicate}");
    }
}

/// The documents, one of them changed, missing, or said by somebody else.
#[test]
fn each_statement_removed_altered_aged_or_by_another_is_refused_with_the_reason() {
    let stranger = key();
    let reasons = [
        (PROVENANCE, "no_provenance", "other_origin"),
        (SBOM, "not_trusted", "unreadable_sbom"),
        (SCAN, "no_scan", "unusable_scan"),
        (VEX, "vulnerable", "vulnerable"),
        (TESTS, "no_statement", "unreadable_results"),
        (REVIEW, "no_statement", "unreadable_review"),
    ];
    for (kind, missing, useless) in reasons {
        let mut without: Vec<_> = all();
        without.retain(|(other, _)| *other != kind);
        let ask = |cluster: &Cluster| answer(cluster, &everything("", json!({})));
        let mut removed = image(&without);
        assert_eq!(ask(&removed), Err(missing.into()), "{kind} removed");

        let predicate = all().into_iter().find(|(other, _)| *other == kind).unwrap().1;
        removed.attest(IMAGE, By::Key(&stranger), kind, &predicate);
        assert_eq!(ask(&removed), Err(missing.into()), "{kind} by another");

        // The same statement, its bytes changed after it was signed.
        let mut altered = image(&without);
        altered.attest(IMAGE, By::Alice, kind, &predicate);
        alter(&mut altered);
        let found = decide(&altered, &everything("", json!({})));
        assert!(!found.admits(), "{kind} altered");
        let told: Vec<&str> =
            found.results.iter().filter(|r| r.denies()).map(|r| r.reason.as_str()).collect();
        assert_eq!(told, [missing], "{kind} altered");

        // Another document under the name.
        let mut other = image(&without);
        let document = match kind {
            PROVENANCE => {
                json!({"buildDefinition": {"buildType": "x", "externalParameters": {}}, "runDetails": {"builder": {"id": BUILDER}}})
            }
            _ => json!({"anything": 1}),
        };
        other.attest(IMAGE, By::Alice, kind, &document);
        assert_eq!(ask(&other), Err(useless.into()), "{kind} says something else");

        // Unsigned: a bare statement in the place of a signed one.
        let mut bare = image(&without);
        let digest = countersign_registry::Reference::parse(IMAGE).unwrap();
        let digest = bare.tags[&digest.to_string()];
        let bytes = serde_json::to_vec(&statement(&digest, kind, &predicate, &json!({}))).unwrap();
        let layer = Descriptor::of("application/vnd.in-toto+json", &bytes);
        bare.add(IMAGE, countersign_registry::evidence::Form::InToto, layer, Default::default(), bytes);
        assert_eq!(ask(&bare), Err(missing.into()), "{kind} unsigned");
    }
    let mut aged = image(&all());
    for (hours, expected) in [(23, Ok(())), (25, Err("scan_too_old"))] {
        aged.now = Timestamp::from_second(T + hours * 3600).unwrap();
        let unhurried = everything("scan", json!({"databaseNotOlderThan": "60d"}));
        assert_eq!(answer(&aged, &unhurried), expected.map_err(str::to_owned), "{hours} hours");
    }
    aged.now = Timestamp::from_second(T + 31 * 86_400).unwrap();
    let found = decide(&aged, &everything("", json!({})));
    let told: Vec<&str> = found.results.iter().map(|result| result.reason.as_str()).collect();
    assert_eq!(told, ["too_old", "too_old", "scan_too_old", "too_old", "too_old"]);
}

/// Changes the last piece of evidence after it was signed.
fn change(cluster: &mut Cluster, change: impl FnOnce(&mut Bundle)) {
    let place = cluster.place(IMAGE);
    let piece = cluster.evidence.get_mut(&place).unwrap().last_mut().unwrap();
    let mut bundle = Bundle::from_json(&piece.bytes).unwrap();
    change(&mut bundle);
    piece.bytes = bundle.to_json().unwrap();
    piece.layer = Descriptor::of(media_type::BUNDLE, &piece.bytes);
}

fn alter(cluster: &mut Cluster) {
    change(cluster, |bundle| {
        let countersign_bundle::Content::Dsse(envelope) = &mut bundle.content else { panic!("a statement") };
        let text = String::from_utf8(envelope.payload.clone()).unwrap();
        assert!(text.contains("\"name\":\"image\""));
        envelope.payload = text.replace("\"name\":\"image\"", "\"name\":\"imagf\"").into_bytes();
    });
}

#[test]
fn a_level_for_what_a_log_has_is_none_of_what_no_log_has_whichever_root_stands_first() {
    let key = key();
    let signer = || json!({"key": holder(&key)["key"]});
    let low = root(json!({"signer": signer(), "level": 1, "unlogged": true}));
    let high = root(json!({"signer": signer()}));
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.attest(IMAGE, By::Key(&key), PROVENANCE, &built());
    let orders = [json!([low, high]), json!([high, low])];
    let ask = |cluster: &Cluster, level: u8, roots: &Value| {
        answer(cluster, &policy(json!({"provenance": {"level": level, "roots": roots}})))
    };
    for roots in &orders {
        assert_eq!(ask(&cluster, 3, roots), Ok(()), "{roots}");
    }
    change(&mut cluster, |bundle| bundle.verification_material.tlog_entries.clear());
    for roots in &orders {
        assert_eq!(ask(&cluster, 3, roots), Err("level_too_low".into()), "{roots}");
        assert_eq!(ask(&cluster, 1, roots), Ok(()), "{roots}");
    }
}

#[test]
fn the_newest_of_a_signer_decides_and_an_older_one_never_stands_in_for_it() {
    let bad = |kind: &str| match kind {
        PROVENANCE => {
            with(built(), json!({"runDetails": {"builder": {"id": "https://builds.example/other/v1"}}}))
        }
        SBOM => with(bill(), json!({"components": []})),
        SCAN => with(
            scan(100),
            json!({"scanner": {"uri": "pkg:github/aquasecurity/trivy", "result": {"clair": []},
            "db": {"lastUpdate": ago(7200)}}}),
        ),
        TESTS => with(tested(), json!({"result": "FAILED", "failedTests": ["unit"]})),
        _ => with(reviewed(), json!({"verdict": "rejected"})),
    };
    for (name, kind, reason) in [
        ("provenance", PROVENANCE, "unknown_builder"),
        ("sbom", SBOM, "empty_sbom"),
        ("scan", SCAN, "unreadable_scan"),
        ("tests", TESTS, "tests_failed"),
        ("review", REVIEW, "not_approved"),
    ] {
        let good = all().into_iter().find(|(other, _)| *other == kind).unwrap().1;
        for good_is_newer in [true, false] {
            let mut cluster = Cluster::new();
            cluster.put(IMAGE);
            cluster.attest(IMAGE, By::Alice, VEX, &vex(&[("CVE-1", "not_affected"), ("CVE-3", "fixed")]));
            let (first, second) =
                if good_is_newer { (bad(kind), good.clone()) } else { (good.clone(), bad(kind)) };
            cluster.stamped_at = T - 30;
            cluster.attest(IMAGE, By::Alice, kind, &first);
            cluster.stamped_at = T;
            cluster.attest(IMAGE, By::Alice, kind, &second);
            let mut spec = json!({});
            spec[name] = field(name);
            let expected = if good_is_newer { Ok(()) } else { Err(reason.to_owned()) };
            assert_eq!(answer(&cluster, &policy(spec)), expected, "{name}");
        }
    }
}

#[test]
fn a_scan_that_says_it_is_to_come_or_after_its_signature_is_none() {
    for finished in [-7200, -600] {
        let cluster = image(&[(SCAN, scan(finished))]);
        let found = answer(&cluster, &policy(json!({"scan": {"signedBy": alice()}})));
        assert_eq!(found, Err("unusable_scan".into()), "{finished}");
    }
}

#[test]
fn an_older_scan_of_one_scanner_does_not_stand_in_for_a_newer_one_that_another_scanner_came_after() {
    let grype = |finished: i64| {
        let mut scan = scan(finished);
        scan["scanner"]["uri"] = "pkg:github/anchore/grype".into();
        scan
    };
    let useless = with(grype(120), json!({"metadata": {}}));
    for (second, expected) in [(useless, Err("unusable_scan".to_owned())), (grype(110), Ok(()))] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        for (at, predicate) in [(T - 50, grype(120)), (T - 30, second), (T, scan(120))] {
            cluster.stamped_at = at;
            cluster.attest(IMAGE, By::Alice, SCAN, &predicate);
        }
        assert_eq!(answer(&cluster, &policy(json!({"scan": {"signedBy": alice()}}))), expected);
    }
}

#[test]
fn a_scan_needs_a_time_that_somebody_vouches_for() {
    let key = key();
    let mut cluster = Cluster::new();
    let digest = cluster.put(IMAGE);
    cluster.add_bundle(IMAGE, By::Key(&key), &statement(&digest, SCAN, &scan(120), &json!({})), false);
    let by_key = policy(json!({"scan": {"signedBy": holder(&key)}}));
    assert_eq!(answer(&cluster, &by_key), Err("unusable_scan".into()));
}

#[test]
fn nobody_approves_of_their_own_work_and_a_later_no_takes_an_approval_back() {
    let review = |changes: Value| with(reviewed(), changes);
    let people = |names: &[&str]| names.iter().map(|name| json!({ "id": name })).collect::<Vec<_>>();
    for (predicate, holds) in [
        (review(json!({})), true),
        (review(json!({"reviewers": people(&["ann@example.com"])})), false),
        (review(json!({"reviewers": people(&["ANN@example.com "])})), false),
        (review(json!({"authors": null})), false),
        (review(json!({"reviewers": null})), true),
        (review(json!({"reviewers": null, "authors": people(&["alice@example.com"])})), false),
        (review(json!({"verdict": "rejected"})), false),
    ] {
        let cluster = image(&[(REVIEW, predicate.clone())]);
        let found = answer(&cluster, &policy(json!({"review": {"signedBy": alice()}})));
        assert_eq!(found.is_ok(), holds, "{predicate}: {found:?}");
    }
}

#[test]
fn a_review_of_another_repository_than_the_source_that_is_asked_for_is_none_of_this() {
    let mut statements = all();
    for (repository, expected) in
        [("https://git.example/a.git", Ok(())), ("https://git.example/b", Err("review_of_other".to_owned()))]
    {
        statements[5].1["repository"] = repository.into();
        assert_eq!(answer(&image(&statements), &everything("", json!({}))), expected, "{repository}");
    }
    let alone = policy(json!({"review": field("review")}));
    assert_eq!(answer(&image(&statements), &alone), Ok(()), "no source is asked for");
}

#[test]
fn every_verdict_names_the_statements_that_decided_it() {
    let cluster = image(&all());
    let decision = decide(&cluster, &everything("", json!({})));
    assert_eq!(decision.results.len(), 5);
    for result in &decision.results {
        assert_eq!(result.status, Status::Pass, "{}", result.message);
        let expected = if result.rule == "scan" { 2 } else { 1 };
        assert_eq!(result.decided_by.len(), expected, "{}", result.rule);
        for deciding in &result.decided_by {
            assert_eq!(deciding.signer, "alice@example.com (issuer https://issuer.example)");
            assert_eq!(deciding.at, Some(Timestamp::from_second(T).unwrap()));
            let there = &cluster.evidence[&cluster.place(IMAGE)];
            assert!(there.iter().any(|piece| piece.layer.digest == deciding.statement));
        }
    }
    assert_eq!(decision.results[0].level, Some(3));
    let refused = decide(&cluster, &everything("tests", json!({"passed": ["end-to-end"]})));
    let tests = refused.results.iter().find(|result| result.rule == "tests").unwrap();
    assert_eq!((tests.status, tests.decided_by.len()), (Status::Fail, 1));
}

#[test]
fn what_could_not_be_checked_is_no_answer_about_the_statement() {
    let mut cluster = image(&all());
    cluster.away.insert("evidence".into());
    let decision = decide(&cluster, &everything("", json!({})));
    assert!(
        decision
            .results
            .iter()
            .all(|result| result.status == Status::Error && result.reason == "unreachable")
    );
    assert!(!decision.admits());
}

#[test]
fn vex_that_cannot_be_read_takes_back_what_its_signer_cleared_before_it() {
    let stranger = key();
    let clears = vex(&[("CVE-1", "not_affected"), ("CVE-3", "fixed")]);
    let unreadable = with(
        clears.clone(),
        json!({"statements": [{"vulnerability": {"name": "CVE-1"}, "status": "worse"}]}),
    );
    for (by, first, second, expected) in [
        (By::Alice, &clears, &unreadable, Err("vulnerable".to_owned())),
        (By::Alice, &unreadable, &clears, Ok(())),
        (By::Key(&stranger), &clears, &unreadable, Ok(())),
    ] {
        let mut cluster = image(&[(SCAN, scan(120))]);
        cluster.stamped_at = T - 30;
        cluster.attest(IMAGE, By::Alice, VEX, first);
        cluster.stamped_at = T;
        cluster.attest(IMAGE, by, VEX, second);
        let trusted = json!({"anyOf": [alice(), holder(&stranger)]});
        let scan = with(field("scan"), json!({"vex": {"signedBy": trusted}}));
        assert_eq!(answer(&cluster, &policy(json!({ "scan": scan }))), expected);
    }
}

/// A registry that has what is asked for and does not tell of the older forms.
struct Half<'a>(&'a Cluster);

impl Known for Half<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        match question {
            Question::Evidence(of) if !of.forms.contains(&Form::Bundle) => {
                Some(Err(CouldNot::new(CouldNotReason::Unreachable, "no answer")))
            }
            other => self.0.answer(other),
        }
    }
}

#[test]
fn what_could_not_be_looked_at_may_be_the_newest_whatever_holds_beside_it() {
    let cluster = image(&all());
    let told = |spec: Value| {
        let set = PolicySet::new(vec![Box::new(read(&policy(spec)))]);
        let decision =
            set.evaluate(&Request::of_object(pod(&[IMAGE])), &Half(&cluster), cluster.now).unwrap();
        decision.results.iter().map(|result| result.status).collect::<Vec<_>>()
    };
    for name in FIELDS {
        let mut spec = json!({});
        spec[name] = field(name);
        assert_eq!(told(spec), [Status::Error], "{name}");
    }
    for (which, status) in [("all", Status::Error), ("newest", Status::Error), ("any", Status::Pass)] {
        let said = json!({"predicate": TESTS, "signedBy": alice(), "which": which});
        assert_eq!(told(json!({"attestations": [said]})), [status], "{which}");
    }
}

/// A cluster whose judgements are kept, as the webhook keeps them.
struct Kept<'a>(&'a Cluster, Memo);

impl Known for Kept<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.0.answer(question)
    }

    fn memo(&self) -> Option<&Memo> {
        Some(&self.1)
    }
}

#[test]
fn ages_are_judged_anew_over_judgements_that_are_kept() {
    let cluster = image(&all());
    let set = PolicySet::new(vec![Box::new(read(&everything("scan", json!({"notOlderThan": "3630s"}))))]);
    let kept = Kept(&cluster, Memo::new(100));
    let at = |seconds: i64| {
        let now = Timestamp::from_second(T + 3500 + seconds).unwrap();
        let decision = set.evaluate(&Request::of_object(pod(&[IMAGE])), &kept, now).unwrap();
        reasons(&decision).join(" ")
    };
    assert_eq!([at(0), at(10), at(11), at(20)], ["", "", "scan_too_old", "scan_too_old"]);
}
