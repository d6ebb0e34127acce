//! Provenance and summaries on the command line: with keys and with an identity, for files and images, under our verbs and
//! under slsa-verifier's.

use serde_json::{Value, json};

use crate::images;
use crate::registry::Fake;
use crate::support::{Home, Instance};

const BUILDER: &str = "https://countersign.dev/builders/userns/v1";
const SHOP: &str = "github.com/acme/shop";

/// Provenance of a builder of ours.
fn provenance() -> String {
    json!({ "buildDefinition": { "buildType": "https://countersign.dev/buildtypes/recipe/v1",
            "externalParameters": { "source": { "uri": "git+https://github.com/acme/shop", "ref": "refs/tags/v1.2.3" },
                "configPath": "build.toml" },
            "resolvedDependencies": [{ "uri": "git+https://github.com/acme/shop", "digest": { "gitCommit": "4d32" } }] },
        "runDetails": { "builder": { "id": BUILDER } } })
    .to_string()
}

/// A home with a key pair, a file, its provenance to be signed, and roots that trust the key.
fn home() -> Home {
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    let roots = "- profile: countersign\n  signer: {key: cosign.pub}\n";
    for (name, content) in [("app.tar", "app"), ("p.json", &provenance()), ("roots.yaml", roots)] {
        std::fs::write(home.path(name), content).unwrap();
    }
    home
}

fn attest(home: &Home) {
    let bundle = "app.tar.sigstore.json";
    home.good(&[
        "attest-blob",
        "--key",
        "cosign.key",
        "--no-tlog",
        "--predicate",
        "p.json",
        "--type",
        "slsaprovenance1",
        "--bundle",
        bundle,
        "app.tar",
    ]);
}

const UNLOGGED: [&str; 3] = ["--roots", "roots.yaml", "--allow-unlogged"];

#[test]
fn a_file_is_verified_by_what_lies_beside_it_and_each_option_can_say_no() {
    let home = home();
    let verify = |more: &[&str]| home.text(&[&["slsa", "verify", "app.tar"][..], &UNLOGGED, more].concat());
    assert_eq!(verify(&[]).0, 3, "no provenance is no success");
    attest(&home);
    let (code, out, _) = verify(&["--source", SHOP, "--tag", "v1.2.3", "--level", "3", "--builder", BUILDER]);
    assert_eq!(code, 0, "{out}");
    assert!(out.ends_with("VERIFIED: build level 3\n") && out.contains("no entry; you accept that"), "{out}");
    for more in [
        &["--source", "github.com/acme/other"][..],
        &["--tag", "v1.2.4"],
        &["--versioned-tag", "v2"],
        &["--branch", "main"],
        &["--builder", "https://countersign.dev/builders/development/v1"],
        &["--build-type", "https://example.com/type"],
        &["--input", "a=b"],
        &["--parameter", "configPath=other.toml"],
        &["--package", "pkg:npm/app@1.0.0"],
    ] {
        let (code, out, _) = verify(more);
        assert_eq!(code, 4, "{more:?}\n{out}");
        assert!(out.lines().last().unwrap().starts_with("REJECTED: "), "{out}");
    }
    assert_eq!(
        verify(&[
            "--parameter",
            "configPath=build.toml",
            "--build-type",
            "https://countersign.dev/buildtypes/recipe/v1"
        ])
        .0,
        0
    );
    let lower = "- profile: countersign\n  signer: {key: cosign.pub}\n  level: 2\n";
    std::fs::write(home.path("roots.yaml"), lower).unwrap();
    assert_eq!(verify(&["--level", "3"]).0, 4, "the roots say which level, not the provenance");
    std::fs::write(home.path("app.tar"), "another").unwrap();
    assert_eq!(verify(&[]).0, 2, "another file");
}

#[test]
fn mistakes_in_options_are_told_before_anything_is_read() {
    let home = home();
    attest(&home);
    for more in [
        &["--source", "shop"][..],
        &["--source", "github.com/acme/shop@v1"],
        &["--tag", ""],
        &["--versioned-tag", "latest"],
        &["--tag", "v1", "--versioned-tag", "v1"],
        &["--level", "4"],
        &["--level", "three"],
        &["--input", "a"],
        &["--input", "a=b", "--input", "a=c"],
        &["--parameter", "a", "--parameter", "a=b"],
        &["--package", "app"],
        &["--builder", "https://b/\u{430}"],
    ] {
        let (code, _, err) = home.text(&[&["slsa", "verify", "app.tar"][..], &UNLOGGED, more].concat());
        assert_eq!(code, 1, "{more:?}\n{err}");
    }
    std::fs::write(home.path("empty.yaml"), "[]").unwrap();
    let (code, _, err) =
        home.text(&["slsa", "verify", "app.tar", "--roots", "empty.yaml", "--allow-unlogged"]);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("nobody is trusted"), "{err}");
}

#[test]
fn slsa_verifiers_commands_end_in_0_or_1_with_its_lines() {
    let home = home();
    attest(&home);
    let artifact = |source: &str, more: &[&str]| {
        let given = [
            "slsa",
            "verify-artifact",
            "--provenance-path",
            "app.tar.sigstore.json",
            "--source-uri",
            source,
            "app.tar",
        ];
        home.text(&[&given[..], more].concat())
    };
    let (code, out, err) =
        artifact(SHOP, &[&UNLOGGED[..], &["--source-tag", "v1.2.3", "--print-provenance"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        err.ends_with("Verifying artifact app.tar: PASSED\n\nPASSED: SLSA verification passed\n"),
        "{err}"
    );
    let printed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(printed["predicate"]["runDetails"]["builder"]["id"], BUILDER);
    for (source, more) in [
        ("github.com/acme/other", &[][..]),
        (SHOP, &["--source-tag", "v1.2.4"]),
        (SHOP, &["--source-branch", "main"]),
        (SHOP, &["--source-versioned-tag", "v2"]),
        (SHOP, &["--builder-id", "https://example.com/b"]),
        (SHOP, &["--build-workflow-input", "a=b=c"]),
    ] {
        let (code, out, err) = artifact(source, &[&UNLOGGED[..], more].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{more:?}");
        assert!(err.contains("\nFAILED: SLSA verification failed: "), "{err}");
    }
    assert_eq!(artifact(SHOP, &["--roots", "roots.yaml"]).0, 1, "in no log, and nobody accepts that");
    let (code, _, err) = home.text(&[
        "slsa",
        "verify-github-attestation",
        "app.tar",
        "--attestation-path",
        "app.tar.sigstore.json",
        "--source-uri",
        SHOP,
        "--builder-id",
        BUILDER,
        "--roots",
        "roots.yaml",
        "--allow-unlogged",
    ]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_summary_is_signed_of_what_holds_and_verified_by_its_seven_steps() {
    let home = home();
    attest(&home);
    let who = ["--verifier-id", "https://verify.example", "--resource-uri", "pkg:generic/app"];
    let summarize = |more: &[&str]| {
        let given = ["slsa", "summarize", "app.tar", "--source", SHOP, "--key", "cosign.key", "--no-tlog"];
        home.text(&[&given[..], &UNLOGGED, &who, more].concat())
    };
    let (code, _, err) = summarize(&["--tag", "v1.2.4"]);
    assert_eq!(code, 4, "{err}");
    assert!(!home.path("app.tar.vsa.sigstore.json").exists(), "of a refusal nothing is signed");
    let (code, _, err) = summarize(&[]);
    assert_eq!(code, 0, "{err}");
    let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"app").to_string();
    let verify = |file: &str, digest: &str, more: &[&str]| {
        let given = [
            "slsa",
            "verify-vsa",
            "--attestation-path",
            file,
            "--public-key-path",
            "cosign.pub",
            "--subject-digest",
            digest,
        ];
        home.text(&[&given[..], &who, more].concat())
    };
    let file = "app.tar.vsa.sigstore.json";
    let (code, out, err) =
        verify(file, &digest, &["--verified-level", "SLSA_BUILD_LEVEL_3", "--print-attestation"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.ends_with("PASSED: SLSA verification passed\n") && out.contains("\"slsaVersion\":\"1.2\""),
        "{out}{err}"
    );
    for (digest, more) in [
        (digest.as_str(), &["--verified-level", "SLSA_SOURCE_LEVEL_1"][..]),
        (&digest, &["--subject-digest", "gce_image_id:1"]),
        (&digest, &["--public-key-id", "another"]),
        ("sha256:00", &[]),
    ] {
        assert_eq!(verify(file, digest, more).0, 1, "{digest} {more:?}");
    }
    let (code, _, err) = summarize(&["--tag", "v1.2.4", "--failed", "--summary", "failed.json"]);
    assert_eq!(code, 4, "{err}");
    assert_eq!(verify("failed.json", &digest, &[]).0, 1, "signed that it failed");
}

/// What can be read only once: whoever reads it a second time for its digest signs of something else than was verified.
#[test]
fn a_summary_is_of_the_very_bytes_that_were_verified() {
    let home = home();
    attest(&home);
    let given = ["slsa", "summarize", "-", "--provenance", "app.tar.sigstore.json", "--summary", "out.json"];
    let who = ["--verifier-id", "https://verify.example", "--resource-uri", "pkg:generic/app"];
    let mut command =
        home.command(&[&given[..], &UNLOGGED, &who, &["--key", "cosign.key", "--no-tlog"]].concat());
    let output = command.stdin(std::fs::File::open(home.path("app.tar")).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"app").to_string();
    let verify = ["slsa", "verify-vsa", "--attestation-path", "out.json", "--public-key-path", "cosign.pub"];
    let (code, out, err) =
        home.text(&[&verify[..], &who, &["--subject-digest", &digest, "--print-attestation"]].concat());
    assert_eq!(code, 0, "{err}");
    let roots =
        countersign_crypto::HashAlgorithm::Sha256.digest(&std::fs::read(home.path("roots.yaml")).unwrap());
    let statement: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(statement["predicate"]["policy"]["digest"]["sha256"], roots.to_hex());
    // Of two signatures, the one that calls its key as it is asked for is the one that has to hold.
    let bundle: Value = serde_json::from_slice(&std::fs::read(home.path("out.json")).unwrap()).unwrap();
    let good = &bundle["dsseEnvelope"];
    let mut bad = good.clone();
    bad["signatures"] = json!([{ "sig": "MAYCAQECAQE=", "keyid": "wanted" }]);
    std::fs::write(home.path("two.jsonl"), format!("{bad}\n{good}\n")).unwrap();
    let of_two = |more: &[&str]| {
        let verify =
            ["slsa", "verify-vsa", "--attestation-path", "two.jsonl", "--public-key-path", "cosign.pub"];
        home.text(&[&verify[..], &who, &["--subject-digest", &digest], more].concat()).0
    };
    assert_eq!((of_two(&[]), of_two(&["--public-key-id", "wanted"])), (0, 1));
}

#[test]
fn where_the_provenance_of_an_image_is_named_its_registry_is_not_asked_for_any() {
    let home = home();
    attest(&home);
    let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"app");
    // Nothing listens there.
    let image = format!("127.0.0.1:1/app@{digest}");
    let verify = |more: &[&str]| home.text(&[&["slsa", "verify", &image][..], &UNLOGGED, more].concat());
    let (code, _, err) = verify(&["--provenance", "app.tar.sigstore.json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(verify(&[]).0, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_verified_by_what_its_registry_has() {
    let fake = Fake::start().await;
    let digest = images::image(&fake.app(), "v1", "content").await.digest;
    let home = home();
    let image = format!("{}/app:v1", fake.host);
    let by_digest = format!("{}/app@{digest}", fake.host);
    let verify =
        |image: &str| home.text(&[&["slsa", "verify", image, "--source", SHOP][..], &UNLOGGED].concat());
    assert_eq!(verify(&image).0, 3, "nothing is beside it");
    home.good(&[
        "attest",
        "--key",
        "cosign.key",
        "--no-tlog",
        "--predicate",
        "p.json",
        "--type",
        "slsaprovenance1",
        &image,
    ]);
    let (code, out, err) = verify(&image);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&by_digest), "{out}");
    let dropped = |image: &str| {
        home.text(&[&["slsa", "verify-image", image, "--source-uri", SHOP][..], &UNLOGGED].concat())
    };
    assert_eq!(dropped(&by_digest).0, 0);
    let (code, _, err) = dropped(&image);
    assert_eq!(code, 1);
    assert!(err.contains("can be moved"), "{err}");
}

#[test]
fn an_identity_speaks_for_a_builder_as_the_roots_say() {
    let home = home();
    let instance = Instance::start(&home);
    home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
    home.good(&[
        "attest-blob",
        "--identity-token",
        &instance.token(),
        "--predicate",
        "p.json",
        "--type",
        "slsaprovenance1",
        "--bundle",
        "app.tar.intoto.jsonl",
        "app.tar",
    ]);
    let issuer = format!("{}/development-identity-provider", instance.url);
    let roots = |name: &str| {
        let text = format!(
            "[{{builder: '{BUILDER}', signer: {{subject: '{name}', issuer: '{issuer}'}}, level: 2}}]"
        );
        std::fs::write(home.path("identity.yaml"), text).unwrap();
    };
    roots("alice@example.com");
    let verify = ["slsa", "verify", "app.tar", "--roots", "identity.yaml", "--source", SHOP, "-o", "json"];
    let document: Value = serde_json::from_str(&home.good(&verify)).unwrap();
    let result = &document["reports"][0]["result"];
    assert_eq!((&result["level"], &result["isLogged"]), (&json!(2), &json!(true)), "{document}");
    assert_eq!(result["identity"], "alice@example.com");
    roots("bob@example.com");
    let (code, out, _) = home.text(&verify);
    assert_eq!(code, 4, "{out}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["reports"][0]["reason"], "identity_mismatch");
    assert_eq!(
        home.text(&["slsa", "verify", "app.tar", "--source", SHOP]).0,
        4,
        "the public builders are others"
    );
}
