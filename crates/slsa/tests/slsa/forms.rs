//! The forms in which provenance circulates, from their bytes to the verdict.

use countersign_bundle::Bundle;
use countersign_crypto::Signer as _;
use countersign_crypto::encoding::{base64_encode, pem_encode};
use countersign_slsa::expect::Package;
use countersign_slsa::{Expectations, Report, Verifier, npm, wire};
use countersign_verify::{Reason, Subject};
use serde_json::{Value, json};

use crate::world::*;

fn unlogged() -> Expectations {
    Expectations { allow_unlogged: true, ..from_shop() }
}

/// A line as slsa-github-generator wrote it before it wrote bundles.
fn line(world: &World, who: &Who, statement: &Value) -> String {
    let envelope = world.envelope(statement.to_string().as_bytes());
    let mut line: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
    if let Who::Workflow(name, said) = who {
        line["signatures"][0]["cert"] = pem_encode("CERTIFICATE", &world.certificate(name, said)).into();
    }
    line.to_string()
}

#[test]
fn an_old_line_without_a_log_entry_is_said_and_refused_unless_it_is_accepted() {
    let world = World::new();
    let text = format!("{}\n", line(&world, &workflow(GENERATOR), &generic()));
    let pieces = wire::read_named("shop.intoto.jsonl", text.as_bytes());
    let judge = |expected: &Expectations| world.judge_pieces(&pieces, &public(), expected);
    assert!(matches!(reason(&judge(&from_shop())), Some(Reason::NoLogEntry | Reason::NoTime)));
    let report = judge(&unlogged());
    let build = report.verified().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!((build.level, build.is_logged), (3, false));
    assert_eq!(build.verified.times()[0].source.code(), "certificate", "nobody else says when");
    assert_eq!(build.document.as_ref().unwrap().uri, "shop.intoto.jsonl");
    let other = generic().to_string().replace("v1.2.3", "v1.2.4");
    let forged =
        text.replace(&base64_encode(generic().to_string().as_bytes()), &base64_encode(other.as_bytes()));
    assert_ne!(forged, text);
    let pieces = wire::read(forged.as_bytes()).unwrap();
    assert_eq!(reason(&world.judge_pieces(&pieces, &public(), &unlogged())), Some(Reason::SignatureInvalid));
}

#[test]
fn githubs_own_instance_has_a_timestamp_and_no_log() {
    let world = World::new();
    let mut bundle = world.sign(&workflow(WORKFLOW), &github(WORKFLOW));
    bundle.verification_material.tlog_entries.clear();
    let (roots, material) = (public(), world.material_without_logs());
    let judge = |bundle: &Bundle, expected: &Expectations, without_sct: bool| {
        let verifier = Verifier::new(&roots, &material, expected, without_sct).unwrap();
        let report = verifier.verify(&Subject::from_bytes(ARTIFACT), &[piece(bundle)], now());
        report
            .verified()
            .map(|build| build.verified.times()[0].source.code())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(judge(&bundle, &unlogged(), true), Ok("timestamp_authority"));
    assert_eq!(judge(&bundle, &unlogged(), false), Err(Reason::NoTrustedCtLog));
    assert_eq!(judge(&bundle, &from_shop(), true), Err(Reason::NoTrustedLog));
    bundle.verification_material.rfc3161_timestamps = vec![vec![0x30, 0]];
    assert!(
        judge(&bundle, &unlogged(), true).is_err(),
        "a timestamp that does not verify is not passed over"
    );
}

#[test]
fn chainloop_3397_an_envelope_with_neither_certificate_nor_known_key_is_nobodys() {
    let world = World::new();
    let pieces = wire::read(line(&world, &Who::Key, &own("https://b.example")).as_bytes()).unwrap();
    assert_eq!(reason(&world.judge_pieces(&pieces, &public(), &unlogged())), Some(Reason::BuilderUntrusted));
    let stranger = World::new();
    let roots = stranger.roots("[{builder: https://b.example, signer: {key: own}, level: 3}]");
    assert_eq!(reason(&stranger.judge_pieces(&pieces, &roots, &unlogged())), Some(Reason::NoKeyVerifies));
}

#[test]
fn ampel_1_3_9_a_statement_that_nobody_signed_is_no_evidence() {
    let world = World::new();
    let text = generic().to_string();
    let bare = format!(
        "{text}\n{{\"payload\":\"{}\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[]}}",
        base64_encode(text.as_bytes())
    );
    let pieces = wire::read(bare.as_bytes()).unwrap();
    assert_eq!(pieces.len(), 2);
    let report = world.judge_pieces(&pieces, &public(), &Expectations { level: Some(0), ..unlogged() });
    assert_eq!(reason(&report), Some(Reason::BundleMalformed));
}

#[test]
fn of_several_lines_one_that_holds_is_enough() {
    let world = World::new();
    let roots = world.roots("[{builder: https://b.example, signer: {key: own}, level: 2, unlogged: true}]");
    let good = line(&world, &Who::Key, &own("https://b.example"));
    let text = format!("{{broken\n{}\n{good}\n", line(&World::new(), &Who::Key, &own("https://b.example")));
    let pieces = wire::read(text.as_bytes()).unwrap();
    assert_eq!(pieces.len(), 3);
    let report = world.judge_pieces(&pieces, &roots, &from_shop());
    assert_eq!(reason(&report), None);
    assert_eq!(report.deciding().unwrap().place, "line 3");
    let pieces = wire::read(text.replace(&good, "{}").as_bytes()).unwrap();
    assert!(reason(&world.judge_pieces(&pieces, &roots, &from_shop())).is_some());
}

#[test]
fn google_needs_no_log_and_its_unsigned_copy_is_not_believed() {
    let world = World::new();
    let roots = world.roots("[{profile: google-cloud-build, signer: {key: own}}]");
    let made = |builder: &str| {
        json!({ "_type": "https://in-toto.io/Statement/v0.1", "subject": [subject("https://host/app")],
        "predicateType": "https://slsa.dev/provenance/v0.1", "predicate": { "builder": { "id": builder },
            "recipe": { "type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1", "entryPoint": "cloudbuild.yaml",
                "arguments": { "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build",
                    "substitutions": { "TAG_NAME": "v1.2.3", "COMMIT_SHA": COMMIT } } },
            "materials": [{ "uri": format!("git+{SHOP}"), "digest": { "sha1": COMMIT } }] } })
    };
    let judge = |statement: &Value| {
        let envelope: Value =
            serde_json::from_slice(&world.envelope(statement.to_string().as_bytes()).to_json()).unwrap();
        let text = json!({ "image_summary": {}, "provenance_summary": { "provenance": [
            { "build": { "intotoStatement": made("https://cloudbuild.googleapis.com/GoogleHostedWorker") }, "envelope": envelope }] } });
        let pieces = wire::read(text.to_string().as_bytes()).unwrap();
        let expected = Expectations { tag: Some("v1.2.3".into()), ..from_shop() };
        let report = world.judge_pieces(&pieces, &roots, &expected);
        report.verified().map(|build| build.level).map_err(|refusal| refusal.reason)
    };
    assert_eq!(judge(&made("https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.3")), Ok(3));
    assert_eq!(judge(&made("https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.2")), Ok(2));
    assert_eq!(
        judge(&made("https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.1")),
        Err(Reason::BuilderUntrusted)
    );
    let moved = with(
        made("https://cloudbuild.googleapis.com/GoogleHostedWorker"),
        "/predicate/recipe/arguments/substitutions/COMMIT_SHA",
        "aa",
    );
    assert_eq!(judge(&moved), Err(Reason::Contradiction));
}

#[test]
fn a_key_without_a_log_counts_only_where_its_own_root_says_so() {
    let world = World::new();
    let text = line(&world, &Who::Key, &own("https://b.example"));
    let pieces = wire::read(text.as_bytes()).unwrap();
    // Another root's leniency is not this one's.
    let roots = world.roots(
        "[{builder: https://b.example, signer: {key: own}, level: 3}, \
        {builder: https://c.example, signer: {key: own}, level: 1, unlogged: true}]",
    );
    assert_eq!(reason(&world.judge_pieces(&pieces, &roots, &from_shop())), Some(Reason::NoLogEntry));
    let roots = world.roots(
        "[{builder: https://b.example, signer: {key: own}, level: 3}, \
        {builder: https://b.example, signer: {key: own}, level: 1, unlogged: true}]",
    );
    let report = world.judge_pieces(&pieces, &roots, &from_shop());
    assert_eq!(report.verified().unwrap().level, 1, "the higher level asks for a log");
}

const FILE: &str = "shop_app-1.0-py3-none-any.whl";

/// A publish attestation of PyPI, in its own form.
fn pep740(bundle: &Bundle) -> Value {
    let stored: Value = serde_json::from_slice(&bundle.to_json().unwrap()).unwrap();
    let (material, envelope) = (&stored["verificationMaterial"], &stored["dsseEnvelope"]);
    json!({ "version": 1, "verification_material": { "certificate": material["certificate"]["rawBytes"],
            "transparency_entries": material["tlogEntries"] },
        "envelope": { "statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"] } })
}

#[test]
fn pypi_says_who_uploaded_and_no_level() {
    let world = World::new();
    let publish = |name: &str| {
        json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [subject(name)],
        "predicateType": "https://docs.pypi.org/attestations/publish/v1", "predicate": null })
    };
    let expecting = |level: Option<u8>| Expectations {
        level,
        package: Some(Package::Python(FILE.into())),
        ..from_shop()
    };
    let judge = |statement: &Value, level: Option<u8>| {
        let bundle = world.sign(&workflow(WORKFLOW), statement);
        let file = json!({ "version": 1, "attestation_bundles": [
            { "publisher": { "kind": "GitHub", "repository": "lies/here" }, "attestations": [pep740(&bundle)] }] });
        let mut pieces = wire::read(file.to_string().as_bytes()).unwrap();
        // The form has no place for a timestamp: on PyPI the log dates it, and the log of these tests gives no times.
        let read = pieces[0].bundle.as_mut().unwrap();
        read.verification_material.rfc3161_timestamps =
            bundle.verification_material.rfc3161_timestamps.clone();
        assert_eq!(*read, bundle, "nothing is lost on the way");
        reason(&world.judge_pieces(&pieces, &public(), &expecting(level)))
    };
    assert_eq!(judge(&publish("Shop.App-1.0-py3-none-any.whl"), Some(0)), None);
    assert_eq!(judge(&publish(FILE), None), Some(Reason::LevelTooLow), "it is no provenance");
    assert_eq!(judge(&publish(FILE), Some(1)), Some(Reason::LevelTooLow));
    assert_eq!(judge(&publish("shop_app-1.1-py3-none-any.whl"), Some(0)), Some(Reason::PackageMismatch));
    let two = with(publish(FILE), "/subject", json!([subject(FILE), subject("other-1.0-py3-none-any.whl")]));
    assert_eq!(judge(&two, Some(0)), Some(Reason::PackageMismatch));
    let more = with(publish(FILE), "/predicate", json!({ "level": 3 }));
    assert_eq!(judge(&more, Some(0)), Some(Reason::ProvenanceMalformed));
    // Whatever a root says of it, and though its signer is known: it is no provenance.
    let who = format!("signer: {{subject: '{WORKFLOW}', issuer: '{GITHUB}'}}");
    for roots in [
        format!("[{{builder: 'https://docs.pypi.org/attestations/publish/v1', {who}, level: 3}}]"),
        format!("[{{builder: 'https://b.example', {who}, level: 3}}]"),
    ] {
        let bundle = world.sign(&workflow(WORKFLOW), &publish(FILE));
        let report = world.judge(&[bundle], &world.roots(&roots), &expecting(Some(1)));
        assert!(report.verified().is_err(), "{roots}");
    }
}

#[test]
fn a_machine_of_gitlabs_own_is_one_of_the_platform() {
    const PIPELINE: &str = "https://gitlab.com/acme/shop//.gitlab-ci.yml@refs/tags/v1.2.3";
    let world = World::new();
    let judge = |runner: &str| {
        let said = countersign_x509::FulcioExtensions {
            issuer_v2: Some("https://gitlab.com".into()),
            build_signer_uri: Some(PIPELINE.into()),
            runner_environment: Some(runner.into()),
            source_repository_uri: Some("https://gitlab.com/acme/shop".into()),
            ..Default::default()
        };
        let publish = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [subject(FILE)],
            "predicateType": "https://docs.pypi.org/attestations/publish/v1", "predicate": null });
        let expected = Expectations {
            source: Some("gitlab.com/acme/shop".into()),
            level: Some(0),
            ..Expectations::default()
        };
        world.reason(&Who::Workflow(PIPELINE, Box::new(said)), &publish, &expected)
    };
    assert_eq!(judge("gitlab-hosted"), None);
    assert_eq!(judge("self-hosted"), Some(Reason::SelfHosted));
    assert_eq!(judge("gitlab-hosted.evil"), Some(Reason::SelfHosted));
}

/// npm's two statements, and the keys that its registry has.
struct Npm {
    world: World,
    keys: Value,
}

impl Npm {
    fn new() -> Self {
        let world = World::new();
        let key = |id: &str, usage: &str, der: &[u8]| {
            json!({ "keyId": id, "keyUsage": usage, "publicKey": {
            "rawBytes": base64_encode(der), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": { "start": "2023-01-01T00:00:00Z" } } })
        };
        let other = World::new();
        let own = world.signing.public_key().spki_der();
        let keys = json!({ "keys": [
            key("SHA256:other", "npm:attestations", other.signing.public_key().spki_der()),
            key("SHA256:own", "npm:attestations", own), key("SHA256:signatures", "npm:signatures", own)] });
        Self { world, keys }
    }

    fn publish(&self, hint: &str, change: impl FnOnce(Value) -> Value) -> Bundle {
        let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "subject": [subject("pkg:npm/%40acme/shop@1.2.3")],
            "predicateType": npm::PUBLISH, "predicate": { "name": "@acme/shop", "version": "1.2.3", "registry": "https://r" } });
        let mut bundle = self.world.sign(&Who::Key, &change(statement));
        bundle.verification_material.content = countersign_bundle::KeyMaterial::PublicKeyHint(hint.into());
        bundle
    }

    fn judge(&self, bundle: &Bundle) -> Option<Reason> {
        self.report(bundle, ARTIFACT).verified().err().map(|refusal| refusal.reason)
    }

    fn report(&self, bundle: &Bundle, artifact: &[u8]) -> Report {
        let keys = npm::Keys::from_json(self.keys.to_string().as_bytes()).unwrap();
        let (pieces, material) = ([piece(bundle)], self.world.material());
        npm::verify_publish(
            &Subject::from_bytes(artifact),
            &pieces,
            &keys,
            ("@acme/shop", "1.2.3"),
            &material,
            now(),
        )
        .unwrap()
    }
}

#[test]
fn r2xv_v53_npms_publish_attestation_is_checked_in_all_its_parts() {
    let npm = Npm::new();
    let same = |statement: Value| statement;
    let good = npm.publish("SHA256:own", same);
    assert_eq!(npm.judge(&good), None);
    assert_eq!(npm.report(&good, b"another tarball").exit_code(), 2, "its digest is compared");
    assert_eq!(
        npm.judge(&npm.publish("SHA256:other", same)),
        Some(Reason::EntryKeyMismatch),
        "another key of the registry"
    );
    assert_eq!(
        npm.judge(&npm.publish("SHA256:signatures", same)),
        Some(Reason::WrongKey),
        "a key for other things"
    );
    assert_eq!(npm.judge(&npm.publish("SHA256:none", same)), Some(Reason::WrongKey));
    for (pointer, value) in [
        ("/predicate/version", json!("1.2.4")),
        ("/predicate/name", json!("@evil/shop")),
        ("/subject/0/name", json!("pkg:npm/%40acme/shop@1.2.4")),
        ("/subject", json!([subject("pkg:npm/%40acme/shop@1.2.3"), subject("pkg:npm/evil@1.0.0")])),
    ] {
        let bundle = npm.publish("SHA256:own", |statement| with(statement, pointer, value.clone()));
        assert_eq!(npm.judge(&bundle), Some(Reason::PackageMismatch), "{pointer}");
    }
    let other = npm.publish("SHA256:own", |statement| {
        with(statement, "/predicateType", "https://slsa.dev/provenance/v1")
    });
    assert_eq!(npm.judge(&other), Some(Reason::PredicateTypeMismatch));
    for signature in [vec![0x30, 6, 2, 1, 1, 2, 1, 1], npm.world.signing_of_payload(&good)] {
        let mut garbage = good.clone();
        let countersign_bundle::Content::Dsse(envelope) = &mut garbage.content else {
            unreachable!("an envelope")
        };
        envelope.signatures[0].sig = signature;
        assert!(npm.judge(&garbage).is_some(), "garbage, and a signature over the bare payload");
    }
    assert_eq!(
        npm.report(&npm.world.sign(&workflow(WORKFLOW), &github(WORKFLOW)), ARTIFACT).exit_code(),
        3,
        "provenance does not stand in for it"
    );
}

#[test]
fn v21_a_key_of_npm_counts_while_it_is_valid() {
    let mut npm = Npm::new();
    npm.keys["keys"][1]["publicKey"]["validFor"] =
        json!({ "start": "1999-01-01T00:00:00Z", "end": "2000-01-01T00:00:00Z" });
    let good = npm.publish("SHA256:own", |statement| statement);
    assert_eq!(npm.judge(&good), Some(Reason::KeyNotValid));
    npm.keys["keys"][1]["publicKey"]["validFor"] = json!({ "start": "tomorrow" });
    assert!(
        npm::Keys::from_json(npm.keys.to_string().as_bytes()).is_err(),
        "a time that cannot be read is not any time"
    );
    assert!(npm::Keys::from_json(b"{\"keys\":[]}").is_err());
}

#[test]
fn npms_provenance_is_of_the_package_and_of_no_other() {
    let world = World::new();
    let of =
        |name: &str| with(github("https://github.com/actions/runner/github-hosted"), "/subject/0/name", name);
    let expected = Expectations {
        package: Some(Package::Npm { name: "@acme/shop".into(), version: Some("1.2.3".into()) }),
        ..from_shop()
    };
    assert_eq!(world.reason(&workflow(WORKFLOW), &of("pkg:npm/%40acme/shop@1.2.3"), &expected), None);
    let other = of("pkg:npm/%40acme/shop@1.2.4");
    assert_eq!(world.reason(&workflow(WORKFLOW), &other, &expected), Some(Reason::PackageMismatch));
}
