//! Rows of the adversarial table and of the advisories of this field, by their ids.

use countersign_bundle::{Bundle, BundleVersion, Content};
use countersign_slsa::{Expectations, Roots};
use countersign_verify::{Reason, Subject};
use serde_json::{Value, json};

use crate::world::*;

#[test]
fn v02_a_statement_of_another_type_is_no_provenance() {
    let world = World::new();
    let sbom = statement("https://cyclonedx.org/bom", json!({ "bomFormat": "CycloneDX" }));
    assert_eq!(world.reason(&workflow(WORKFLOW), &sbom, &from_shop()), Some(Reason::PredicateTypeMismatch));
    let look_alike = statement("https://slsa.dev/provenance/v1/", github(WORKFLOW)["predicate"].clone());
    assert_eq!(
        world.reason(&workflow(WORKFLOW), &look_alike, &from_shop()),
        Some(Reason::PredicateTypeMismatch)
    );
}

#[test]
fn v07_predicates_of_another_shape_are_refused() {
    let world = World::new();
    for predicate in
        [Value::Null, json!("text"), json!([]), json!({}), json!({ "builder": { "id": WORKFLOW } })]
    {
        let statement = statement(V1, predicate.clone());
        let why = world.reason(&workflow(WORKFLOW), &statement, &from_shop());
        assert_eq!(why, Some(Reason::ProvenanceMalformed), "{predicate}");
    }
}

#[test]
fn v11_a_payload_that_is_no_json_or_says_a_thing_twice_is_refused() {
    let world = World::new();
    let good = github(WORKFLOW).to_string();
    let judge = |text: &str| {
        let bundle = world.sign_text(&workflow(WORKFLOW), text);
        reason(&world.judge(&[bundle], &public(), &from_shop()))
    };
    assert_eq!(judge(&good), None);
    for text in
        ["", "null", "[]", "{", "\"text\"", &good[..good.len() - 1], &format!("{good}x"), &"[".repeat(500)]
    {
        assert_eq!(judge(text), Some(Reason::StatementMalformed), "{text}");
    }
    for (one, twice) in [
        (r#""externalParameters":{"#, r#""externalParameters":{"workflow":{},"#),
        (r#""builder":{"#, r#""builder":{"id":"https://evil.example","#),
        (r#""buildDefinition":{"#, r#""buildDefinition":{"buildType":"https://evil.example","#),
        (r#""workflow":{"#, r#""workflow":{"repository":"https://github.com/evil/shop","#),
        (r#""digest":{"gitCommit":"#, r#""digest":{"gitCommit":"aa","gitCommit":"#),
    ] {
        assert!(good.contains(one), "{one}");
        assert_eq!(judge(&good.replace(one, twice)), Some(Reason::ProvenanceMalformed), "{twice}");
    }
}

#[test]
fn v08_no_subject_is_about_nothing() {
    let world = World::new();
    for subjects in
        [json!([]), json!([null]), json!([{ "name": "shop.tar" }]), json!([{ "digest": { "md5": "00" } }])]
    {
        let statement = with(github(WORKFLOW), "/subject", subjects.clone());
        let report = world.judge(&[world.sign(&workflow(WORKFLOW), &statement)], &public(), &from_shop());
        assert_eq!(reason(&report), Some(Reason::SubjectMismatch), "{subjects}");
    }
}

#[test]
fn p11_a_weak_digest_that_fits_does_not_make_up_for_a_strong_one_that_does_not() {
    let world = World::new();
    let other = "0".repeat(64);
    let mut own = subject("shop.tar");
    own["digest"]["sha256"] = other.into();
    let statement = with(github(WORKFLOW), "/subject", json!([own]));
    assert_eq!(world.reason(&workflow(WORKFLOW), &statement, &from_shop()), Some(Reason::SubjectMismatch));
    let upper = subject("shop.tar")["digest"]["sha256"].as_str().unwrap().to_ascii_uppercase();
    let statement =
        with(github(WORKFLOW), "/subject", json!([{ "name": "x", "digest": { "sha256": upper } }]));
    assert_eq!(
        world.reason(&workflow(WORKFLOW), &statement, &from_shop()),
        None,
        "hexadecimal of either case"
    );
}

#[test]
fn cve_2026_22703_a_log_entry_of_another_statement_is_refused() {
    let world = World::new();
    let mut one = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    let other = world.sign(&workflow(GENERATOR), &generic());
    one.verification_material.tlog_entries = other.verification_material.tlog_entries;
    assert!(reason(&world.judge(&[one], &public(), &from_shop())).is_some());
}

#[test]
fn r72c7_a_signature_that_is_empty_or_garbage_is_refused() {
    let world = World::new();
    let good = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    for signature in [vec![], vec![0; 64], vec![0x30, 0], world.signing_of_payload(&good)] {
        let mut bundle = good.clone();
        let Content::Dsse(envelope) = &mut bundle.content else { unreachable!("an envelope") };
        envelope.signatures[0].sig = signature.clone();
        assert!(
            reason(&world.judge(&[bundle], &public(), &from_shop())).is_some(),
            "{} bytes",
            signature.len()
        );
    }
}

#[test]
fn cli_10418_nothing_to_verify_is_no_success() {
    let world = World::new();
    let report = world.judge(&[], &public(), &from_shop());
    assert_eq!((reason(&report), report.exit_code()), (Some(Reason::NoSignature), 3));
    assert!(report.deciding().is_none());
}

#[test]
fn p09_the_good_signature_of_one_does_not_carry_the_bad_one_of_another() {
    let world = World::new();
    let good = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    let mut bad = world.sign(&workflow(GENERATOR), &generic());
    let Content::Dsse(envelope) = &mut bad.content else { unreachable!("an envelope") };
    envelope.signatures[0].sig[8] ^= 1;
    let report = world.judge(&[bad, good], &public(), &from_shop());
    assert_eq!(report.verified().unwrap().level, 2, "not 3, which only the broken one says");
}

#[test]
fn p07_duplicates_count_once_and_taking_one_away_never_helps() {
    let world = World::new();
    let good = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    let evil = world
        .sign(&workflow(WORKFLOW), &with(github(WORKFLOW), "/predicate/runDetails/builder/id", GENERATOR));
    let level = |bundles: &[Bundle]| {
        let expected = Expectations { level: Some(3), ..from_shop() };
        world.judge(bundles, &public(), &expected).verified().map(|build| build.level).ok()
    };
    assert_eq!(level(&[good.clone(), good.clone()]), None);
    assert_eq!(
        level(&[good.clone(), evil.clone()]),
        None,
        "a claim beside a good statement adds nothing to it"
    );
    assert_eq!(level(&[evil]), None);
}

#[test]
fn g04_builders_that_look_like_others_are_others() {
    let world = World::new();
    let hosted = "https://github.com/actions/runner/github-hosted";
    assert_eq!(world.reason(&workflow(WORKFLOW), &github(hosted), &from_shop()), None);
    for evil in [
        format!("{hosted}.evil"),
        format!("{hosted}@evil"),
        format!("{hosted}/"),
        format!("{hosted}\0"),
        format!("{hosted} "),
        hosted.to_ascii_uppercase(),
        hosted.replace('o', "\u{43e}"),
        "https://github.com/actions/runner/github-host".into(),
        format!("{WORKFLOW}@evil"),
        WORKFLOW.replace("build.yml", "build.yml.evil"),
        WORKFLOW.replace("acme", "ACME"),
        WORKFLOW.replace("v1.2.3", "v1.2.3\n"),
        GENERATOR.into(),
    ] {
        let why = world.reason(&workflow(WORKFLOW), &github(&evil), &from_shop());
        assert_eq!(why, Some(Reason::BuilderUntrusted), "{evil:?}");
    }
}

#[test]
fn g04_signers_that_look_like_others_are_others() {
    let world = World::new();
    for evil in [
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/heads/main",
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/heads/refs/tags/v2.1.0",
        "https://github.com/slsa-framework/slsa-github-generator.evil/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0",
        "https://github.com/evil/x/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0",
        "https://githubXcom/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0",
    ] {
        let statement = with(generic(), "/predicate/builder/id", evil);
        let expected = Expectations { level: Some(3), ..from_shop() };
        assert!(world.reason(&workflow(evil), &statement, &expected).is_some(), "{evil}");
    }
    let issuer = saying(GENERATOR, |said| {
        said.issuer_v1 = None;
        said.issuer_v2 = Some("https://token.actions.githubusercontent.com.evil.example".into());
    });
    assert_eq!(world.reason(&issuer, &generic(), &from_shop()), Some(Reason::IssuerMismatch));
}

#[test]
fn the_two_generations_of_extensions_must_agree() {
    let world = World::new();
    let other = || Some("other".to_owned());
    let cases: [fn(&mut countersign_x509::FulcioExtensions, Option<String>); 7] = [
        |said, other| said.issuer_v1 = other,
        |said, other| said.github_workflow_trigger = other,
        |said, other| said.github_workflow_sha = other,
        |said, other| said.github_workflow_repository = other,
        |said, other| said.github_workflow_ref = other,
        |said, other| said.build_config_digest = other,
        |said, other| said.build_signer_uri = other,
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let who = saying(GENERATOR, |said| change(said, other()));
        assert_eq!(world.reason(&who, &generic(), &from_shop()), Some(Reason::Contradiction), "case {index}");
        // Older certificates have one generation only.
        let who = saying(GENERATOR, |said| change(said, None));
        assert_eq!(world.reason(&who, &generic(), &from_shop()), None, "case {index}");
    }
}

#[test]
fn certificate_and_provenance_must_agree() {
    let world = World::new();
    for (pointer, value) in [
        (
            "/predicate/buildDefinition/externalParameters/workflow/repository",
            "https://github.com/acme/other",
        ),
        ("/predicate/buildDefinition/externalParameters/workflow/ref", "refs/heads/main"),
        ("/predicate/buildDefinition/resolvedDependencies/0/digest/gitCommit", "aa"),
        (
            "/predicate/buildDefinition/resolvedDependencies/0/uri",
            "git+https://github.com/acme/other@refs/tags/v1.2.3",
        ),
        ("/predicate/buildDefinition/internalParameters/github/event_name", "pull_request"),
        ("/predicate/buildDefinition/internalParameters/github/repository_id", "55"),
        ("/predicate/buildDefinition/internalParameters/github/repository_owner_id", "66"),
        (
            "/predicate/runDetails/metadata/invocationId",
            "https://github.com/acme/shop/actions/runs/8/attempts/1",
        ),
    ] {
        let statement = with(github(WORKFLOW), pointer, value);
        let expected = Expectations::default();
        assert_eq!(
            world.reason(&workflow(WORKFLOW), &statement, &expected),
            Some(Reason::Contradiction),
            "{pointer}"
        );
    }
    // Whoever runs a workflow elsewhere cannot claim to be of the shop.
    let elsewhere = saying(WORKFLOW, |said| {
        said.github_workflow_repository = Some("evil/shop".into());
        said.source_repository_uri = Some("https://github.com/evil/shop".into());
    });
    assert!(world.reason(&elsewhere, &github(WORKFLOW), &from_shop()).is_some());
}

#[test]
fn a_certificate_that_names_no_repository_vouches_for_none() {
    let world = World::new();
    let bare = saying(WORKFLOW, |said| {
        *said = countersign_x509::FulcioExtensions { issuer_v2: Some(GITHUB.into()), ..Default::default() };
    });
    let why = world.reason(
        &bare,
        &github("https://github.com/actions/runner/github-hosted"),
        &Expectations::default(),
    );
    assert_eq!(why, Some(Reason::ExtensionMismatch));
}

#[test]
fn a_machine_of_ones_own_counts_only_where_the_root_says_so() {
    let world = World::new();
    let own = || saying(WORKFLOW, |said| said.runner_environment = Some("self-hosted".into()));
    let at = "/predicate/buildDefinition/internalParameters/github/runner_environment";
    let statement = |builder: &str| with(github(builder), at, "self-hosted");
    let expected = from_shop();
    assert_eq!(world.reason(&own(), &statement(WORKFLOW), &expected), Some(Reason::SelfHosted));
    let claims = "https://github.com/actions/runner/github-hosted";
    assert_eq!(
        world.reason(&own(), &statement(claims), &expected),
        Some(Reason::SelfHosted),
        "whatever the builder says"
    );
    let honest = "https://github.com/actions/runner/self-hosted";
    let report = world.judge(&[world.sign(&own(), &statement(honest))], &public(), &expected);
    assert_eq!(report.verified().unwrap().level, 1);
    let roots = Roots::read(
        "[{signer: {subject: 'https://github.com/acme/shop/.github/workflows/build.yml@refs/tags/v1.2.3', \
        issuer: 'https://token.actions.githubusercontent.com'}, level: 2, selfHosted: true}]",
    )
    .unwrap();
    let roots = roots.ready(|_| Err("none".into())).unwrap();
    assert_eq!(reason(&world.judge(&[world.sign(&own(), &statement(WORKFLOW))], &roots, &expected)), None);
}

#[test]
fn a_pair_that_stands_nowhere_is_refused_and_level_1_for_who_asks_for_no_more() {
    let world = World::new();
    let roots = world.roots("[{builder: https://b.example/a, signer: {key: own}, level: 3}]");
    let bundle = world.sign(&Who::Key, &own("https://b.example/b"));
    let judge = |level: Option<u8>| {
        let expected = Expectations { level, ..from_shop() };
        let report = world.judge(std::slice::from_ref(&bundle), &roots, &expected);
        report.verified().map(|build| (build.level, build.root.clone())).map_err(|refusal| refusal.reason)
    };
    assert_eq!(judge(None), Err(Reason::BuilderUntrusted));
    assert_eq!(judge(Some(2)), Err(Reason::BuilderUntrusted));
    assert_eq!(judge(Some(1)), Ok((1, None)));
    assert_eq!(judge(Some(0)), Ok((1, None)));
    let named = Expectations { level: Some(1), builder: Some("https://b.example/b".into()), ..from_shop() };
    let report = world.judge(std::slice::from_ref(&bundle), &roots, &named);
    assert_eq!(
        reason(&report),
        Some(Reason::BuilderUntrusted),
        "who asks for a builder wants its own signer"
    );
    let stranger = World::new();
    let report = world.judge(&[stranger.sign(&Who::Key, &own("https://b.example/a"))], &roots, &from_shop());
    assert!(reason(&report).is_some(), "another key for a builder that is known");
    let report = world.judge(&[world.sign(&workflow(WORKFLOW), &github(WORKFLOW))], &roots, &from_shop());
    assert_eq!(reason(&report), Some(Reason::BuilderUntrusted), "an identity where only keys are named");
}

#[test]
fn another_artifact_is_another_artifact() {
    let world = World::new();
    let (roots, material, expected) = (public(), world.material(), from_shop());
    let verifier = countersign_slsa::Verifier::new(&roots, &material, &expected, false).unwrap();
    let pieces = [piece(&world.sign(&workflow(WORKFLOW), &github(WORKFLOW)))];
    let report = verifier.verify(&Subject::from_bytes(b"another"), &pieces, now());
    assert_eq!(reason(&report), Some(Reason::SubjectMismatch));
}

#[test]
fn v17_v18_what_is_signed_in_the_future_does_not_count() {
    let world = World::new();
    let (roots, material, expected) = (public(), world.material(), from_shop());
    let verifier = countersign_slsa::Verifier::new(&roots, &material, &expected, false).unwrap();
    let pieces = [piece(&world.sign(&workflow(WORKFLOW), &github(WORKFLOW)))];
    let before = jiff::Timestamp::from_second(T - 10).unwrap();
    let report = verifier.verify(&Subject::from_bytes(ARTIFACT), &pieces, before);
    assert_eq!(reason(&report), Some(Reason::TimeInFuture));
}

#[test]
fn witness_type_that_does_not_exist_is_read_for_witness_alone_and_said() {
    const MISTAKEN: &str = "https://slsa.dev/provenance/v1.0";
    const BUILDER: &str = "https://witness.dev/witness-default-builder@v0.1";
    let world = World::new();
    let made = |kind: &str, builder: &str| {
        statement(
            kind,
            json!({ "buildDefinition": { "buildType": "https://witness.dev/slsa-build@v0.1",
            "externalParameters": { "command": "make" }, "resolvedDependencies": [] },
            "runDetails": { "builder": { "id": builder } } }),
        )
    };
    let roots = world.roots("[{profile: witness, signer: {key: own}}, {builder: https://b.example, signer: {key: own}, level: 2}]");
    let judge = |statement: &Value| {
        world.judge(&[world.sign(&Who::Key, statement)], &roots, &Expectations::default())
    };
    let report = judge(&made(MISTAKEN, BUILDER));
    let build = report.verified().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(build.level, 1);
    assert!(build.notes[0].contains("does not exist"), "{:?}", build.notes);
    assert!(judge(&made(V1, BUILDER)).verified().unwrap().notes.is_empty());
    assert_eq!(reason(&judge(&made(MISTAKEN, "https://b.example"))), Some(Reason::PredicateTypeMismatch));
}

#[test]
fn a_bundle_without_a_log_entry_is_told_from_one_that_is_forged() {
    let world = World::new();
    let mut bundle = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    bundle.version = BundleVersion::Legacy;
    bundle.verification_material.tlog_entries.clear();
    let report = world.judge(&[bundle], &public(), &from_shop());
    assert_eq!(reason(&report), Some(Reason::NoLogEntry));
}

#[test]
fn a_builder_that_has_its_own_signer_is_not_believed_at_any_level_when_another_claims_it() {
    let world = World::new();
    let lowest = |level: u8| Expectations { level: Some(level), ..Expectations::default() };
    let unknown = github("https://builds.example/b");
    assert_eq!(world.reason(&workflow(WORKFLOW), &unknown, &lowest(1)), None, "one that stands nowhere");
    let other = WORKFLOW.replace("acme", "evil");
    for builder in [GENERATOR, "https://github.com/actions/runner/self-hosted", other.as_str()] {
        for level in [0, 1] {
            let why = world.reason(&workflow(WORKFLOW), &github(builder), &lowest(level));
            // Any workflow may say that its own machine was somebody's.
            let expected = (!builder.ends_with("self-hosted")).then_some(Reason::BuilderUntrusted);
            assert_eq!(why, expected, "{builder} {level}");
        }
    }
    let roots = world.roots(
        "[{builder: 'https://builds.example/b', signer: {key: own}, level: 3}, {profile: github-attestations}]",
    );
    let report = world.judge(&[world.sign(&workflow(WORKFLOW), &unknown)], &roots, &lowest(1));
    assert_eq!(reason(&report), Some(Reason::BuilderUntrusted), "the key's builder is no workflow's");
}
