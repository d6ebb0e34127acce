//! Assessments: each row holds by its evidence, and by nothing less.

use std::collections::BTreeMap;

use countersign_attestation::predicate::provenance::{Builder, Provenance, Resource};
use serde_json::json;

use super::*;
use crate::source::{Control, SourceRecord};
use crate::workflow::Workflow;

const COMMIT: &str = "0123456789012345678901234567890123456789";
const ENTRY: &str = ".github/workflows/release.yml";
const HOME: &str = "https://github.com/acme/shop";
/// A workflow in which nothing is wrong.
const GOOD: &str = "on: push\npermissions: {}\njobs:\n  build:\n    runs-on: ubuntu-24.04\n    steps:\n    - run: |\n        echo built\n";

fn rules(count_asserted: bool) -> Rules {
    Rules { now: "2026-06-01T00:00:00Z".parse().unwrap(), count_asserted }
}

/// Provenance of level 3 with everything in it.
fn attested() -> Attested {
    let digest: BTreeMap<String, String> = [("gitCommit".to_owned(), COMMIT.to_owned())].into();
    let locked: BTreeMap<String, String> = [("sha256".to_owned(), "aa".to_owned())].into();
    Attested {
        statement: "11".into(),
        signer: "https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1".into(),
        level: Some(3),
        timed: true,
        provenance: Provenance {
            builder: Builder { id: "https://github.com/acme/builder".into(), ..Builder::default() },
            build_type: "https://example.com/build".into(),
            source: Some(Resource { uri: format!("git+{HOME}@refs/tags/v1"), digest, ..Resource::default() }),
            entry_point: ENTRY.into(),
            parameters: json!({ "workflow": { "path": ENTRY } }),
            internal_parameters: json!({ "network": "none" }),
            invocation: "run/1".into(),
            started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            dependencies: vec![Resource { uri: "pkg:a".into(), digest: locked, ..Resource::default() }],
            reproducible: true,
            ..Provenance::default()
        },
    }
}

fn record() -> SourceRecord {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let held = |control: Control| crate::source::Held { name: control.name().into(), since: at };
    SourceRecord {
        statement: "22".into(),
        signer: "source.pub".into(),
        repository: HOME.into(),
        held: Control::ALL.map(held).into(),
        levels: Vec::new(),
        branch: String::new(),
    }
}

fn assertion() -> Assertion {
    let text = r#"{"rows": ["v0.1/security", "v0.1/access", "v0.1/superusers", "v0.1/hermetic"], "made": "2026-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z", "text": "audited"}"#;
    Assertion::from_json(text, "ciso@example.com", "33").unwrap()
}

/// Everything that can be had.
fn whole() -> Evidence {
    Evidence {
        subject: "shop.tar".into(),
        digest: [("sha256".to_owned(), "ff".to_owned())].into(),
        provenance: Sought::Found { verified: vec![attested()], refused: Vec::new() },
        workflows: vec![Workflow::read(ENTRY, GOOD).unwrap()],
        clone: Some(CloneFacts {
            path: "shop".into(),
            commit: COMMIT.into(),
            exists: true,
            reachable: Some(("refs/tags/v1".into(), true)),
            files: [(ENTRY.to_owned(), true)].into(),
        }),
        source: Sought::Found { verified: vec![record()], refused: Vec::new() },
        assertions: vec![assertion()],
        locked: Some(Locked {
            files: vec!["Cargo.lock".into()],
            pinned: vec![("a".into(), [("sha256".to_owned(), "AA".to_owned())].into())],
            loose: Vec::new(),
        }),
        rebuilt: Some(("44".into(), "rebuilder".into())),
    }
}

fn levels(evidence: &Evidence, asserted: bool) -> [u8; 3] {
    let assessment = Assessment::of(evidence, &rules(asserted));
    [Track::V0_1, Track::Build, Track::Source].map(|track| assessment.level(track))
}

fn code(evidence: &Evidence, id: &str) -> &'static str {
    let assessment = Assessment::of(evidence, &rules(false));
    let row = assessment.tables.iter().find_map(|table| table.row(id)).expect("a row of that name");
    row.judgement.verdict.code()
}

/// Everything, but for one change of the provenance.
fn with(edit: impl FnOnce(&mut Attested)) -> Evidence {
    let mut attested = attested();
    edit(&mut attested);
    Evidence { provenance: Sought::Found { verified: vec![attested], refused: Vec::new() }, ..whole() }
}

#[test]
fn with_everything_every_level_is_reached_and_asserted_rows_count_only_if_asked() {
    assert_eq!(levels(&whole(), true), [4, 3, 4]);
    assert_eq!(levels(&whole(), false), [3, 3, 4]);
    let assessment = Assessment::of(&whole(), &rules(true));
    assert!(assessment.next.is_empty());
    assert!(assessment.threats.iter().all(|threat| matches!(threat.cover, Cover::Covered | Cover::Outside)));
    for row in assessment.tables.iter().flat_map(|table| &table.rows) {
        assert!(!row.judgement.evidence.is_empty(), "{} holds by nothing", row.id);
    }
}

#[test]
fn nothing_is_no_level_and_no_row_holds() {
    let assessment = Assessment::of(&Evidence::default(), &rules(true));
    assert_eq!(levels(&Evidence::default(), true), [0, 0, 0]);
    let rows = assessment.tables.iter().flat_map(|table| &table.rows);
    let met: Vec<&str> = rows.filter(|row| row.judgement.verdict == Verdict::Met).map(|row| row.id).collect();
    assert_eq!(met, [""; 0]);
}

#[test]
fn not_to_have_looked_is_another_thing_than_to_have_found_nothing() {
    let unsought = Evidence { provenance: Sought::Not, ..whole() };
    let nothing = Evidence { provenance: Sought::Found { verified: vec![], refused: vec![] }, ..whole() };
    let refused =
        Evidence { provenance: Sought::Found { verified: vec![], refused: vec!["no".into()] }, ..whole() };
    assert_eq!(code(&unsought, "v0.1/available"), "not_assessable");
    assert_eq!(code(&nothing, "v0.1/available"), "not_met");
    assert_eq!(code(&refused, "v1.2/exists"), "not_met");
    for evidence in [unsought, nothing, refused] {
        assert_eq!(levels(&evidence, true)[..2], [0, 0]);
    }
    let unsaid = Evidence { source: Sought::Not, ..whole() };
    assert_eq!(code(&unsaid, "v1.2/source-history"), "not_assessable");
    assert_eq!(
        code(
            &Evidence { source: Sought::Found { verified: vec![], refused: vec![] }, ..whole() },
            "v1.2/source-history"
        ),
        "not_met"
    );
}

#[test]
fn the_level_is_that_of_signer_and_builder_together_and_never_of_presence() {
    let at = |level| levels(&with(|one| one.level = level), true);
    assert_eq!(at(Some(2)), [2, 2, 4]);
    assert_eq!(at(Some(1))[1], 1);
    assert_eq!(at(None)[1], 0, "a pair that nobody names");
    let own = with(|one| one.signer = format!("{HOME}/.github/workflows/release.yml@refs/tags/v1"));
    assert_eq!(code(&own, "v1.2/unforgeable"), "not_met");
    assert_eq!(levels(&own, true)[1], 2, "a workflow of the source is no level 3");
    let alike = with(|one| one.signer = format!("{HOME}-builder/.github/workflows/release.yml@refs/tags/v1"));
    assert_eq!(code(&alike, "v1.2/unforgeable"), "met", "another repository, whose name begins alike");
}

#[test]
fn each_piece_of_provenance_alone_decides_its_row() {
    type Edit = fn(&mut Attested);
    let cases: [(&str, Edit); 13] = [
        ("v0.1/version-controlled", |one| one.provenance.source = None),
        ("v0.1/version-controlled", |one| {
            let source = one.provenance.source.as_mut().unwrap();
            source.uri = "https://example.com/a.tar".into();
            source.digest = [("sha256".to_owned(), "aa".to_owned())].into();
        }),
        ("v0.1/scripted-build", |one| one.provenance.entry_point.clear()),
        ("v0.1/scripted-build", |one| one.provenance.entry_point = "other.yml".into()),
        ("v0.1/build-as-code", |one| one.provenance.source.as_mut().unwrap().digest.clear()),
        ("v0.1/parameterless", |one| one.provenance.parameters = json!({ "flags": ["-x"] })),
        ("v0.1/hermetic", |one| one.provenance.internal_parameters = json!({ "network": "host" })),
        ("v0.1/dependencies-complete", |one| one.provenance.dependencies.clear()),
        ("v0.1/identifies-instructions", |one| one.provenance.build_type.clear()),
        ("v0.1/identifies-source", |one| one.provenance.source.as_mut().unwrap().digest.clear()),
        ("v0.1/includes-reproducible", |one| one.provenance.reproducible = false),
        ("v0.1/includes-metadata", |one| one.provenance.invocation.clear()),
        ("v1.2/consistent-process", |one| one.provenance.entry_point.clear()),
    ];
    for (id, edit) in cases {
        assert_eq!(code(&whole(), id), "met", "{id}");
        assert!(code(&with(edit), id) != "met", "{id}");
    }
    assert_eq!(code(&with(|one| one.level = Some(2)), "v0.1/hermetic"), "not_met", "its word does not count");
}

#[test]
fn who_is_not_named_and_who_speaks_for_itself_is_not_believed() {
    let unnamed = Evidence { clone: None, ..with(|one| one.level = None) };
    assert_eq!(code(&unnamed, "v0.1/version-controlled"), "not_assessable");
    assert_eq!(code(&Evidence { clone: None, ..whole() }, "v0.1/version-controlled"), "met");
    let own = with(|one| one.signer = "rebuilder".into());
    assert_eq!(
        (code(&whole(), "v0.1/reproducible"), code(&own, "v0.1/reproducible")),
        ("met", "not_assessable")
    );
}

#[test]
fn what_the_source_control_system_does_not_say_of_the_organisation_somebody_can_answer_for() {
    let mut own = record();
    own.held.clear();
    let mut word = assertion();
    word.rows = vec!["v1.2/source-scs".into(), "v1.2/source-history".into()];
    let silent = Evidence {
        source: Sought::Found { verified: vec![own], refused: vec![] },
        assertions: vec![word],
        ..whole()
    };
    assert_eq!(code(&silent, "v1.2/source-scs"), "asserted");
    assert_eq!(code(&silent, "v1.2/source-history"), "not_met", "that it would have said");
}

#[test]
fn claims_are_about_rows() {
    let beside = |title: &str| {
        let claims = Claims { from: "us".into(), rows: vec![(title.into(), vec![4])] };
        Assessment::of(&whole(), &rules(false)).beside(claims)
    };
    let json = Format::Json.write(&beside("Hermetic").unwrap()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["claims"]["rows"][0], json!({ "title": "Hermetic", "levels": [4] }));
    assert!(beside("Hermetik").unwrap_err().contains("Hermetik"));
}

#[test]
fn the_clone_is_asked_about_the_commit_of_the_provenance() {
    let clone = |edit: fn(&mut CloneFacts)| {
        let mut all = whole();
        edit(all.clone.as_mut().unwrap());
        all
    };
    assert_eq!(code(&clone(|one| one.exists = false), "v0.1/version-controlled"), "not_met");
    let unreachable = clone(|one| one.reachable = Some(("refs/tags/v1".into(), false)));
    assert_eq!(code(&unreachable, "v0.1/version-controlled"), "not_met");
    let other = clone(|one| one.commit = COMMIT.replace('0', "a"));
    assert_eq!(code(&other, "v0.1/version-controlled"), "not_assessable");
    assert_eq!(code(&other, "v0.1/build-as-code"), "not_assessable");
    let absent = clone(|one| one.files = [(ENTRY.to_owned(), false)].into());
    assert_eq!(code(&absent, "v0.1/scripted-build"), "not_met");
    assert_eq!(code(&absent, "v0.1/build-as-code"), "not_met");
    assert_eq!(code(&Evidence { clone: None, ..whole() }, "v0.1/build-as-code"), "not_assessable");
}

#[test]
fn a_line_of_the_workflow_decides_with_its_place() {
    let changed = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        Evidence { workflows: vec![Workflow::read(ENTRY, &GOOD.replace(from, to)).unwrap()], ..whole() }
    };
    let pulled = changed("echo built", "docker pull acme/tools:1");
    let assessment = Assessment::of(&pulled, &rules(true));
    let hermetic = assessment.tables[0].row("v0.1/hermetic").unwrap();
    assert_eq!(hermetic.judgement.verdict, Verdict::NotMet, "what was asserted of it does not help");
    let at = |proof: &Proof| matches!(proof, Proof::Line { path, line: 8, .. } if path == ENTRY);
    assert!(hermetic.judgement.evidence.iter().any(at), "{:?}", hermetic.judgement.evidence);
    assert_eq!(levels(&pulled, true)[0], 3);
    assert_eq!(
        code(&changed("on: push", "on: {workflow_dispatch: {inputs: {v: {}}}}"), "v0.1/parameterless"),
        "not_met"
    );
    let own = changed("ubuntu-24.04", "self-hosted");
    assert_eq!((code(&own, "v1.2/hosted"), code(&own, "v1.2/isolated")), ("not_met", "not_met"));
    let cache =
        changed("- run: |", "- uses: actions/cache@0123456789012345678901234567890123456789\n    - run: |");
    assert_eq!((code(&cache, "v1.2/isolated"), code(&cache, "v1.2/hosted")), ("not_met", "met"));
    let claims = with(|one| {
        one.provenance.internal_parameters = serde_json::Value::Null;
        one.provenance.completeness.materials = true;
    });
    assert_eq!(code(&claims, "v0.1/hermetic"), "met");
    let called = "- uses: acme/build@0123456789012345678901234567890123456789\n    - run: |";
    let called = Evidence {
        workflows: changed("- run: |", called).workflows,
        assertions: Vec::new(),
        ..claims.clone()
    };
    assert_eq!(code(&called, "v0.1/hermetic"), "not_assessable", "what an action does, nobody has read");
    let other = vec![Workflow::read("lint.yml", GOOD).unwrap()];
    let other = Evidence { workflows: other, assertions: Vec::new(), ..claims.clone() };
    assert_eq!(code(&other, "v0.1/hermetic"), "not_assessable", "another workflow");
    let unseen = Evidence { workflows: changed("echo built", "make release").workflows, ..claims };
    assert_eq!(code(&Evidence { assertions: Vec::new(), ..unseen }, "v0.1/hermetic"), "not_assessable");
}

#[test]
fn lock_files_are_compared_by_digest() {
    let locked = |edit: fn(&mut Locked)| {
        let mut all = whole();
        edit(all.locked.as_mut().unwrap());
        code(&all, "v0.1/dependencies-complete")
    };
    assert_eq!(locked(|_| {}), "met");
    assert_eq!(locked(|one| one.loose.push("b".into())), "not_met");
    assert_eq!(locked(|one| one.pinned.push(("b".into(), BTreeMap::new()))), "not_met");
    assert_eq!(locked(|one| *one = Locked::default()), "not_assessable");
}

#[test]
fn an_assertion_ends_and_is_of_its_rows_only() {
    let one = |edit: fn(&mut Assertion)| {
        let mut own = assertion();
        edit(&mut own);
        code(&Evidence { assertions: vec![own], ..whole() }, "v0.1/security")
    };
    assert_eq!(one(|_| {}), "asserted");
    assert_eq!(one(|own| own.until = "2026-05-01T00:00:00Z".parse().unwrap()), "not_assessable");
    assert_eq!(one(|own| own.made = "2026-07-01T00:00:00Z".parse().unwrap()), "not_assessable");
    assert_eq!(one(|own| own.rows = vec!["v0.1/access".into()]), "not_assessable");
}

#[test]
fn what_the_generator_isolates_is_said() {
    let own = with(|one| {
        one.provenance.builder.id =
            "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0".into();
    });
    let assessment = Assessment::of(&own, &rules(false));
    let row = assessment.tables[0].row("v0.1/isolated").unwrap();
    assert!(row.judgement.why.contains("not the generator"), "{}", row.judgement.why);
}

#[test]
fn a_level_that_nobody_could_look_at_is_told_from_one_that_is_refuted() {
    let page = |evidence: &Evidence| Format::Markdown.write(&Assessment::of(evidence, &rules(true))).unwrap();
    let title = "## SLSA v1.2, build track: level 0";
    let unsought = page(&Evidence { provenance: Sought::Not, ..whole() });
    assert!(unsought.contains(&format!("{title}; of level 1 nothing is refuted")), "{unsought}");
    let nothing =
        page(&Evidence { provenance: Sought::Found { verified: vec![], refused: vec![] }, ..whole() });
    assert!(nothing.contains(&format!("{title}\n")), "{nothing}");
}

#[test]
fn the_next_steps_are_those_of_the_next_level_by_effort() {
    let assessment = Assessment::of(&with(|one| one.level = Some(2)), &rules(true));
    let build: Vec<&Next> = assessment.next.iter().filter(|step| step.track == Track::Build).collect();
    assert!(!build.is_empty() && build.iter().all(|step| step.level == 3));
    assert!(build.is_sorted_by_key(|step| step.effort));
}

#[test]
fn every_row_has_a_name_of_its_own_and_a_next_step() {
    let assessment = Assessment::of(&whole(), &rules(true));
    let mut ids: Vec<&str> =
        assessment.tables.iter().flat_map(|table| &table.rows).map(|row| row.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let rows = assessment.tables.iter().flat_map(|table| &table.rows);
    assert!(
        rows.clone()
            .all(|row| !row.next.is_empty() && (1..=4).contains(&row.effort) && !row.levels.is_empty())
    );
    let known: Vec<&str> = rows.map(|row| row.id).collect();
    for (id, _) in assessment.threats.iter().flat_map(|threat| &threat.rows) {
        assert!(known.contains(id), "{id}");
    }
}

#[test]
fn what_strangers_write_breaks_no_form() {
    let evil = "<script>x</script>|`\u{1b}[31m\"'";
    let text = GOOD.replace("echo built", "curl '<script>|x' https://a.example/\"<b>\"");
    let evidence = Evidence {
        subject: evil.into(),
        workflows: vec![Workflow::read("a <b>|.yml", &text).unwrap()],
        ..with(|one| {
            one.signer = evil.into();
            one.provenance.builder.id = evil.into();
        })
    };
    let mut assessment = Assessment::of(&evidence, &rules(false));
    assessment.claims = Some(Claims { from: evil.into(), rows: vec![("Hermetic".into(), vec![4])] });
    for format in Format::ALL {
        let text = format.write(&assessment).unwrap();
        assert!(!text.contains('\u{1b}'), "{format:?}");
        match format {
            Format::Json | Format::Sarif => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
            Format::Html | Format::Markdown => assert!(!text.contains("<script>"), "{format:?}"),
        }
    }
    let plain = Format::Markdown.write(&assessment).unwrap();
    for line in plain.lines().filter(|line| line.starts_with('|')) {
        let cells = line.replace("\\|", "").matches('|').count();
        assert!((5..=7).contains(&cells), "{line}");
    }
}

#[test]
fn the_table_has_the_layout_that_people_know() {
    let text = Format::Markdown.write(&Assessment::of(&whole(), &rules(true))).unwrap();
    for line in [
        "| **Requirement** | **L1** | **L2** | **L3** | **L4** |",
        "| **Source** |  |  |  |  |",
        "| Version controlled |  | Y | Y | Y |",
        "| Retained indefinitely |  |  | Y | Y |",
        "| Reproducible ○ |  |  |  | Y |",
        "| Security |  |  |  | A |",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}

#[test]
fn sarif_names_files_and_lines() {
    let text = GOOD.replace("echo built", "docker pull acme/tools:1");
    let evidence = Evidence { workflows: vec![Workflow::read("a b.yml", &text).unwrap()], ..whole() };
    let written = Format::Sarif.write(&Assessment::of(&evidence, &rules(false))).unwrap();
    let document: serde_json::Value = serde_json::from_str(&written).unwrap();
    let results = document["runs"][0]["results"].as_array().unwrap();
    let pull = results.iter().find(|one| one["ruleId"] == "network-command").unwrap();
    let place = &pull["locations"][0]["physicalLocation"];
    assert_eq!(
        (&place["artifactLocation"]["uri"], &place["region"]["startLine"]),
        (&json!("a%20b.yml"), &json!(8))
    );
    assert!(results.iter().any(|one| one["ruleId"] == "v0.1/hermetic" && one["kind"] == "fail"));
    let rules = document["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{}", result["ruleId"]);
    }
}

#[test]
fn a_summary_says_the_level_or_that_it_failed() {
    let written = |evidence: &Evidence| {
        let assessment = Assessment::of(evidence, &rules(true));
        assessment
            .summary(evidence, "https://v.example", "pkg:generic/shop")
            .map(|statement| statement.to_json().unwrap())
    };
    let read = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    let whole = read(written(&whole()).unwrap());
    assert_eq!(whole["predicate"]["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_3"]));
    assert_eq!(whole["subject"][0]["digest"]["sha256"], "ff");
    assert_eq!(whole["predicate"]["inputAttestations"][0]["digest"]["sha256"], "11");
    let none = read(written(&Evidence { provenance: Sought::Not, ..self::whole() }).unwrap());
    assert_eq!(none["predicate"]["verificationResult"], "FAILED");
    assert!(written(&Evidence::default()).is_err());
}
