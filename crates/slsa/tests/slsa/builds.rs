//! Builds of the builders that are known, and each expectation alone.

use countersign_slsa::{CheckName, Expectations};
use countersign_verify::{Outcome, Reason};
use serde_json::{Value, json};

use crate::world::*;

fn expecting(change: impl FnOnce(&mut Expectations)) -> Expectations {
    let mut expected = from_shop();
    change(&mut expected);
    expected
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_generator_is_level_3_and_says_which_statement_it_is_by() {
    let world = World::new();
    let bundle = world.sign(&workflow(GENERATOR), &generic());
    let expected = Expectations {
        tag: some("v1.2.3"),
        branch: some("main"),
        builder: some(
            "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml",
        ),
        level: Some(3),
        ..from_shop()
    };
    let report = world.judge(&[bundle], &public(), &expected);
    let build = report.verified().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!((build.level, build.builder.as_str(), build.is_logged), (3, GENERATOR, true));
    assert_eq!(build.root.as_deref(), Some("profile slsa-github-generator"));
    assert_eq!(build.signer(), format!("{GENERATOR} (issuer {GITHUB})"));
    assert_eq!(build.provenance.as_ref().unwrap().builder.id, GENERATOR);
    assert!(build.payload().starts_with(b"{"));
    let checks = &report.deciding().unwrap().checks;
    let outcome = |name| checks.iter().find(|check| check.name == name).unwrap().outcome;
    for name in [
        CheckName::Evidence,
        CheckName::Log,
        CheckName::Agreement,
        CheckName::Runner,
        CheckName::Source,
        CheckName::Ref,
    ] {
        assert_eq!(outcome(name), Outcome::Passed, "{name}");
    }
    assert_eq!(outcome(CheckName::BuildType), Outcome::NotApplicable);
}

#[test]
fn github_and_npm_are_level_2_and_a_builder_of_ones_own_what_its_root_says() {
    let world = World::new();
    let level = |who: &Who, statement: &Value| {
        world
            .judge(&[world.sign(who, statement)], &public(), &from_shop())
            .verified()
            .map(|build| build.level)
            .ok()
    };
    assert_eq!(level(&workflow(WORKFLOW), &github(WORKFLOW)), Some(2));
    assert_eq!(
        level(&workflow(WORKFLOW), &github("https://github.com/actions/runner/github-hosted")),
        Some(2)
    );
    let roots = world.roots(
        "[{builder: https://countersign.dev/builders/userns/v1, signer: {key: own}, level: 3}, \
          {builder: https://countersign.dev/builders/development/v1, signer: {key: own}, level: 1}]",
    );
    for (builder, level) in [("userns", 3), ("development", 1)] {
        let statement = own(&format!("https://countersign.dev/builders/{builder}/v1"));
        let expected = Expectations { tag: some("v1.2.3"), ..from_shop() };
        let report = world.judge(&[world.sign(&Who::Key, &statement)], &roots, &expected);
        assert_eq!(report.verified().unwrap().level, level);
    }
}

#[test]
fn each_expectation_alone_makes_the_answer_no() {
    let world = World::new();
    let bundle = world.sign(&workflow(GENERATOR), &generic());
    let input = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    for (expected, why) in [
        (expecting(|e| e.source = some("github.com/acme/other")), Reason::SourceMismatch),
        (expecting(|e| e.source = some("github.com/acme/shop-evil")), Reason::SourceMismatch),
        (expecting(|e| e.tag = some("v1.2.4")), Reason::RefMismatch),
        (expecting(|e| e.tag = some("refs/heads/v1.2.3")), Reason::RefMismatch),
        (expecting(|e| e.versioned_tag = some("v1.3")), Reason::RefMismatch),
        (expecting(|e| e.branch = some("release")), Reason::RefMismatch),
        (expecting(|e| e.branch = some("refs/tags/v1.2.3")), Reason::RefMismatch),
        (expecting(|e| e.builder = some("https://example.com/builder")), Reason::BuilderMismatch),
        (expecting(|e| e.build_type = some("https://example.com/type")), Reason::BuildTypeMismatch),
        (expecting(|e| e.inputs = input("a", "b")), Reason::InputMismatch),
        (expecting(|e| e.parameters = [("a".to_owned(), some("b"))].into()), Reason::InputMismatch),
    ] {
        assert_eq!(
            reason(&world.judge(std::slice::from_ref(&bundle), &public(), &expected)),
            Some(why),
            "{expected:?}"
        );
    }
    let github = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    let expected = expecting(|e| e.level = Some(3));
    assert_eq!(reason(&world.judge(&[github], &public(), &expected)), Some(Reason::LevelTooLow));
    for expected in [
        expecting(|e| e.versioned_tag = some("v1")),
        expecting(|e| e.branch = some("refs/heads/main")),
        expecting(|e| e.level = Some(3)),
        expecting(|e| {
            e.build_type = some("https://github.com/slsa-framework/slsa-github-generator/generic@v1")
        }),
    ] {
        assert_eq!(
            reason(&world.judge(std::slice::from_ref(&bundle), &public(), &expected)),
            None,
            "{expected:?}"
        );
    }
}

#[test]
fn inputs_that_were_not_asked_about_are_reported() {
    let world = World::new();
    let by_hand = with(generic(), "/predicate/invocation/environment/github_event_name", "workflow_dispatch");
    let by_hand = with(
        by_hand,
        "/predicate/invocation/environment/github_event_payload",
        json!({ "inputs": { "release": "a=b", "debug": "true" } }),
    );
    let who = saying(GENERATOR, |said| {
        said.github_workflow_trigger = Some("workflow_dispatch".into());
        said.build_trigger = Some("workflow_dispatch".into());
    });
    let bundle = world.sign(&who, &by_hand);
    let expected = expecting(|e| e.inputs = [("release".to_owned(), "a=b".to_owned())].into());
    let report = world.judge(std::slice::from_ref(&bundle), &public(), &expected);
    let build = report.verified().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(
        build.notes.iter().any(|note| note.contains("debug") && !note.contains("release")),
        "{:?}",
        build.notes
    );
    let other = expecting(|e| e.inputs = [("release".to_owned(), "a".to_owned())].into());
    assert_eq!(reason(&world.judge(&[bundle], &public(), &other)), Some(Reason::InputMismatch));
}

#[test]
fn a_parameter_nobody_knows_is_refused_unless_it_is_accepted_by_name() {
    let world = World::new();
    let statement = with(
        github(WORKFLOW),
        "/predicate/buildDefinition/externalParameters",
        json!({ "workflow": { "ref": "refs/tags/v1.2.3", "repository": SHOP, "path": "p" }, "flags": "-x" }),
    );
    let bundle = world.sign(&workflow(WORKFLOW), &statement);
    let judge =
        |expected: &Expectations| reason(&world.judge(std::slice::from_ref(&bundle), &public(), expected));
    assert_eq!(judge(&from_shop()), Some(Reason::ParameterUnknown));
    assert_eq!(judge(&expecting(|e| e.parameters = [("flags".to_owned(), None)].into())), None);
    assert_eq!(judge(&expecting(|e| e.parameters = [("flags".to_owned(), some("-x"))].into())), None);
    let other = expecting(|e| e.parameters = [("flags".to_owned(), some("-y"))].into());
    assert_eq!(judge(&other), Some(Reason::InputMismatch));
    let statement =
        with(github(WORKFLOW), "/predicate/buildDefinition/buildType", "https://example.com/make");
    assert_eq!(world.reason(&workflow(WORKFLOW), &statement, &from_shop()), Some(Reason::ParameterUnknown));
}

#[test]
fn what_is_expected_and_nowhere_said_is_refused() {
    let world = World::new();
    let roots = world.roots("[{builder: https://b.example, signer: {key: own}, level: 2}]");
    let statement = statement(
        V1,
        json!({ "buildDefinition": { "buildType": "https://example.com/make", "externalParameters": {} },
        "runDetails": { "builder": { "id": "https://b.example" } } }),
    );
    let bundle = world.sign(&Who::Key, &statement);
    let judge =
        |expected: &Expectations| reason(&world.judge(std::slice::from_ref(&bundle), &roots, expected));
    assert_eq!(judge(&Expectations::default()), None);
    assert_eq!(judge(&from_shop()), Some(Reason::SourceMismatch));
    let expecting = |change: fn(&mut Expectations)| {
        let mut expected = Expectations::default();
        change(&mut expected);
        expected
    };
    assert_eq!(judge(&expecting(|e| e.tag = some("v1"))), Some(Reason::RefMismatch));
    assert_eq!(judge(&expecting(|e| e.branch = some("main"))), Some(Reason::RefMismatch));
    assert_eq!(judge(&expecting(|e| e.versioned_tag = some("v1"))), Some(Reason::RefMismatch));
}

#[test]
fn a_delegator_speaks_for_its_builders_and_for_nobody_else() {
    const DELEGATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_generic_slsa3.yml@refs/tags/v2.1.0";
    let world = World::new();
    let delegated = |builder: &str| {
        statement(
            V1,
            json!({ "buildDefinition": {
            "buildType": "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0",
            "externalParameters": { "inputs": { "x": "y" }, "vars": {} },
            "internalParameters": { "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/tags/v1.2.3", "GITHUB_REPOSITORY": "acme/shop",
                "GITHUB_WORKFLOW_REF": "acme/shop/.github/workflows/r.yml@refs/tags/v1.2.3" },
            "resolvedDependencies": [{ "uri": format!("git+{SHOP}"), "digest": { "gitCommit": "aa" } }] },
            "runDetails": { "builder": { "id": builder }, "metadata": {} } }),
        )
    };
    let maven = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_maven_slsa3.yml@refs/tags/v2.1.0";
    let who = workflow(DELEGATOR);
    let expected = Expectations { tag: some("v1.2.3"), level: Some(3), ..from_shop() };
    assert_eq!(world.reason(&who, &delegated(maven), &expected), None, "of a commit made on the way");
    assert_eq!(world.reason(&who, &delegated(GENERATOR), &expected), Some(Reason::BuilderUntrusted));
    let evil = "https://github.com/evil/builder/.github/workflows/builder_maven_slsa3.yml@refs/tags/v2.1.0";
    assert_eq!(world.reason(&who, &delegated(evil), &expected), Some(Reason::BuilderUntrusted));
}
