//! What is done with images besides signing and verifying: looking, fetching, attaching, carrying, taking away.

use std::os::unix::fs::PermissionsExt as _;

use crate::images;
use crate::registry::{Fake, answer};
use crate::support::{CYCLONEDX, Home, golden, left_out};
use countersign_crypto::{HashAlgorithm, PublicKey};
use serde_json::Value;

/// A registry with the signed and attested image `app:v1`, and a home with the key pair that did it.
struct Bench {
    fake: Fake,
    home: Home,
    image: String,
}

impl Bench {
    async fn new(fake: Fake) -> Self {
        images::image(&fake.app(), "v1", "content").await;
        let home = Home::new();
        home.good(&["generate-key-pair"]);
        std::fs::write(home.path("p.json"), CYCLONEDX).unwrap();
        let image = format!("{}/app:v1", fake.host);
        let by_key = ["--key", "cosign.key", "--no-tlog", "--also-legacy", image.as_str()];
        home.good(&[&["sign"][..], &by_key].concat());
        home.good(&[&["attest", "--type", "cyclonedx", "--predicate", "p.json"][..], &by_key].concat());
        Self { fake, home, image }
    }

    /// Whether signature and statement of an image verify: the exit codes.
    fn verified(&self, image: &str, more: &[&str]) -> [i32; 2] {
        let by_key = ["--key", "cosign.pub", "--insecure-ignore-tlog", image];
        let run = |command: &[&str]| self.home.text(&[command, &by_key, more].concat()).0;
        [run(&["verify"]), run(&["verify-attestation", "--type", "cyclonedx"])]
    }

    fn settled(&self, text: &str) -> String {
        let text = text.replace(&self.fake.host, "registry.example");
        let mut out = String::new();
        for part in text.split("sha256:") {
            // Digests of signatures differ from run to run.
            let hex = part.bytes().take_while(u8::is_ascii_hexdigit).count();
            let rest = if hex == 64 { &part[64..] } else { part };
            out.push_str(if out.is_empty() { "" } else { "sha256:…" });
            out.push_str(rest);
        }
        let key = std::fs::read_to_string(self.home.path("cosign.pub")).unwrap();
        let key = PublicKey::from_pem(&key).unwrap();
        out.replace(&countersign_crypto::encoding::base64_encode(&key.fingerprint()), "KEY")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_shows_every_form_and_who_it_says_signed() {
    let bench = Bench::new(Fake::start().await).await;
    std::fs::write(bench.home.path("sbom.json"), "{}").unwrap();
    let attach = ["attach", "sbom", "--sbom", "sbom.json", "--input-format", "json", &bench.image];
    bench.home.good(&attach);
    golden("tree.txt", &bench.settled(&bench.home.good(&["tree", &bench.image])));
    let json: Value = serde_json::from_str(&bench.home.good(&["tree", "-o", "json", &bench.image])).unwrap();
    let pieces = json["images"][0]["evidence"].as_array().unwrap();
    let signed = pieces.iter().filter(|p| p["signed"] == true).count();
    assert_eq!((pieces.len(), signed), (5, 4), "a bill of materials is not signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_fetched_and_attached_elsewhere() {
    for bench in [Bench::new(Fake::start().await).await, Bench::new(Fake::old().await).await] {
        let signatures = bench.home.good(&["download", "signature", &bench.image]);
        let statements = bench.home.good(&["download", "attestation", &bench.image]);
        assert_eq!((signatures.lines().count(), statements.lines().count()), (2, 2));
        let other = ["download", "attestation", "--predicate-type", "vuln", &bench.image];
        let (code, out, _) = bench.home.text(&other);
        assert_eq!((code, out.as_str()), (3, ""), "none of this type");
        assert_eq!(bench.home.text(&["download", "sbom", &bench.image]).0, 3);

        bench.home.good(&["clean", "--force", &bench.image]);
        assert_eq!(bench.verified(&bench.image, &[]), [3, 3]);
        let bundle = signatures.lines().find(|l| l.contains("dsseEnvelope")).unwrap();
        std::fs::write(bench.home.path("b.json"), bundle).unwrap();
        std::fs::write(bench.home.path("a.jsonl"), &statements).unwrap();
        let attach = ["attach", "signature", "--bundle", "b.json", &bench.image];
        let shown = bench.home.good(&[&attach[..], &["--dry-run"]].concat());
        assert!(shown.contains("would write"), "{shown}");
        assert_eq!(bench.verified(&bench.image, &[])[0], 3, "a dry run writes nothing");
        bench.home.good(&attach);
        bench.home.good(&["attach", "attestation", "--attestation", "a.jsonl", &bench.image]);
        assert_eq!(bench.verified(&bench.image, &[]), [0, 0]);
        images::image(&bench.fake.app(), "v2", "other").await;
        let other = format!("{}/app:v2", bench.fake.host);
        for attach in [
            &["attach", "signature", "--bundle", "b.json"][..],
            &["attach", "attestation", "--attestation", "a.jsonl"],
        ] {
            let (code, _, err) = bench.home.text(&[attach, &[other.as_str()]].concat());
            assert_eq!(code, 1, "{err}");
            assert!(err.contains("says nothing about this image"), "{err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_parts_are_attached_one_by_one() {
    let bench = Bench::new(Fake::start().await).await;
    let signatures = bench.home.good(&["download", "signature", &bench.image]);
    let older: Value =
        serde_json::from_str(signatures.lines().find(|l| l.contains("Base64Signature")).unwrap()).unwrap();
    let payload = countersign_crypto::encoding::base64_decode(older["Payload"].as_str().unwrap()).unwrap();
    std::fs::write(bench.home.path("payload"), payload).unwrap();
    std::fs::write(bench.home.path("signature"), older["Base64Signature"].as_str().unwrap()).unwrap();
    bench.home.good(&["clean", "-f", &bench.image]);
    let attach = ["attach", "signature", "--payload", "payload", "--signature", "signature", &bench.image];
    bench.home.good(&attach);
    assert_eq!(bench.verified(&bench.image, &[])[0], 0);
    std::fs::write(bench.home.path("signature"), "not base64").unwrap();
    assert_eq!(bench.home.text(&attach).0, 1, "what no verifier could read is told at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_copied_saved_and_loaded_with_all_its_evidence() {
    let bench = Bench::new(Fake::start().await).await;
    let old = Fake::old().await;
    let mirror = format!("{}/mirror:v1", old.host);
    let plan = bench.home.good(&["copy", "--dry-run", &bench.image, &mirror]);
    assert!(plan.contains("would copy") && !old.has("mirror", "v1"), "{plan}");
    bench.home.good(&["copy", &bench.image, &mirror]);
    assert_eq!(bench.verified(&mirror, &[]), [0, 0]);
    images::image(&bench.fake.app(), "v2", "another image").await;
    let other = format!("{}/app:v2", bench.fake.host);
    let (code, _, err) = bench.home.text(&["copy", &other, &mirror]);
    assert_eq!(code, 1, "a tag is not moved unasked: {err}");
    bench.home.good(&["copy", "--force", &other, &mirror]);
    bench.home.good(&["copy", "-f", &bench.image, &mirror]);
    assert_eq!(bench.verified(&mirror, &[]), [0, 0]);
    let bare = format!("{}/bare:v1", old.host);
    bench.home.good(&["copy", "--only-image", &bench.image, &bare]);
    assert_eq!(bench.verified(&bare, &[]), [3, 3]);
    let same = format!("{}/same", old.host);
    bench.home.good(&["copy", &bench.image, &same]);
    assert!(old.has("same", "v1"), "under the tag it has");

    // Evidence that is kept elsewhere would stay behind, and look like none.
    let place = format!("{}/evidence", bench.fake.host);
    for carry in [
        &["copy", bench.image.as_str(), same.as_str()][..],
        &["save", "--dir", "layout", &mirror],
        &["load", "--dir", "layout", &mirror],
    ] {
        let (code, _, err) = bench.home.text(&[carry, &["--repository", &place]].concat());
        assert!(code == 1 && err.contains("lies beside an image"), "{carry:?}: {err}");
        let output = bench.home.command(carry).env("COSIGN_REPOSITORY", &place).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{carry:?}");
    }
    bench.home.good(&["copy", "--only-image", "--repository", &place, &bench.image, &same]);

    bench.home.good(&["save", "--dir", "layout", &mirror]);
    assert_eq!(bench.verified("layout", &["--local-image"])[0], 0, "no registry is asked");
    let loaded = format!("{}/loaded:v1", bench.fake.host);
    bench.home.good(&["load", "--dir", "layout", &loaded]);
    assert_eq!(bench.verified(&loaded, &[]), [0, 0]);
    let wrong = format!("{}/loaded@{}", bench.fake.host, HashAlgorithm::Sha256.digest(b"another"));
    let (code, _, err) = bench.home.text(&["load", "--dir", "layout", &wrong]);
    assert_eq!(code, 2, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_taken_away_by_kind_and_only_when_forced() {
    let bench = Bench::new(Fake::start().await).await;
    let shown = bench.home.good(&["clean", &bench.image]);
    assert!(shown.lines().count() >= 4 && shown.contains("would take away"), "{shown}");
    assert_eq!(bench.verified(&bench.image, &[]), [0, 0]);
    bench.home.good(&["clean", "--force", "--type", "signature", &bench.image]);
    assert_eq!(bench.verified(&bench.image, &[]), [3, 0]);
    bench.home.good(&["clean", "--force", "--type", "attestation", &bench.image]);
    assert_eq!(bench.verified(&bench.image, &[]), [3, 3]);
    assert_eq!(bench.home.good(&["clean", "--force", &bench.image]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn triangulate_says_where_the_older_form_lies() {
    let bench = Bench::new(Fake::start().await).await;
    let tag = bench.home.good(&["triangulate", &bench.image]);
    assert!(tag.contains("/app:sha256-") && tag.ends_with(".sig\n"), "{tag}");
    let digest = bench.home.good(&["triangulate", "--type", "digest", &bench.image]);
    assert!(digest.contains("/app@sha256:"), "{digest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_named_in_files_are_verified_and_one_bad_one_is_enough() {
    let bench = Bench::new(Fake::start().await).await;
    images::image(&bench.fake.app(), "v2", "unsigned").await;
    let unsigned = format!("{}/app:v2", bench.fake.host);
    let verify = |kind: &str, more: &[&str]| {
        let verify = [kind, "verify", "file", "--key", "cosign.pub", "--insecure-ignore-tlog"];
        bench.home.text(&[&verify[..], more].concat()).0
    };
    let write = |text: String| std::fs::write(bench.home.path("file"), text).unwrap();
    write(format!("FROM {} AS a\nFROM a\n", bench.image));
    assert_eq!(verify("dockerfile", &[]), 0);
    write(format!("ARG TAG=v2\nFROM {}/app:$TAG\nFROM {}\n", bench.fake.host, bench.image));
    assert_eq!(verify("dockerfile", &[]), 3);
    assert_eq!(verify("dockerfile", &["--base-image-only"]), 0);
    assert_eq!(verify("dockerfile", &["--build-arg", "TAG=v1"]), 0);
    let pod = |image: &str| format!("spec:\n  containers:\n  - image: {image}\n");
    write(pod(&bench.image));
    assert_eq!(verify("manifest", &[]), 0);
    write(format!("{}---\n{}", pod(&bench.image), pod(&unsigned)));
    assert_eq!(verify("manifest", &[]), 3);
    write("kind: ConfigMap\n".into());
    assert_eq!(verify("manifest", &[]), 1, "nothing to verify is not everything verified");
}

#[test]
fn a_credential_is_kept_for_its_owner_and_the_rest_of_the_file_stays() {
    let home = Home::new();
    std::fs::create_dir(home.path(".docker")).unwrap();
    let config = home.path(".docker/config.json");
    std::fs::write(&config, r#"{"auths":{"other.example":{"auth":"eDp5"}},"more":1}"#).unwrap();
    home.good(&["login", "registry.example", "-u", "alice", "-p", "secret"]);
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    assert_eq!(kept["auths"]["registry.example"]["auth"], "YWxpY2U6c2VjcmV0");
    assert_eq!((&kept["auths"]["other.example"]["auth"], &kept["more"]), (&"eDp5".into(), &1.into()));
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&config, r#"{"credsStore":"no-such-helper"}"#).unwrap();
    let (code, _, err) = home.text(&["login", "registry.example", "-u", "alice", "-p", "secret"]);
    assert_eq!(code, 1);
    assert!(err.contains("docker-credential-no-such-helper") && !err.contains("secret"), "{err}");
    assert_eq!(home.text(&["login", "registry.example", "-u", "alice"]).0, 1, "nobody to ask");
}

#[test]
fn the_environment_is_shown_without_its_secrets() {
    let home = Home::new();
    let shown = home.good(&["env"]);
    assert!(shown.contains("COSIGN_PASSWORD=********"), "{shown}");
    assert!(home.good(&["env", "--show-sensitive-values"]).contains("COSIGN_PASSWORD=pw"));
}

/// A root certificate and a certificate of it for the key `cosign.pub`, as files; by `openssl`, as people do it who have
/// an authority of their own. False where that is not installed.
fn own_authority(home: &Home, name: &str) -> bool {
    let openssl = |line: &str| {
        let line = line.replace("NAME", name);
        let mut command = std::process::Command::new("openssl");
        command.args(line.split(' ')).current_dir(home.0.path()).stderr(std::process::Stdio::null());
        command.status().map(|status| assert!(status.success(), "openssl {line}")).is_ok()
    };
    std::fs::write(
        home.path("extensions"),
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nsubjectAltName=email:build@acme.example\n",
    )
    .unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout NAME.key -out NAME.pem -subj /CN=NAME \
         -days 2 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
    ) && openssl(
        "x509 -new -force_pubkey cosign.pub -CA NAME.pem -CAkey NAME.key -subj /CN=build -days 1 -extfile extensions \
         -out NAME-leaf.pem",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_ones_own_authority_sign_and_verify_with_nobody_else() {
    let fake = Fake::start().await;
    images::image(&fake.app(), "v1", "content").await;
    let image = format!("{}/app:v1", fake.host);
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    if !own_authority(&home, "own") || !own_authority(&home, "other") {
        return left_out("openssl");
    }
    let sign =
        ["sign", "--key", "cosign.key", "--certificate", "own-leaf.pem", "--certificate-chain", "own.pem"];
    home.good(&[&sign[..], &["--no-tlog", "--also-legacy", &image]].concat());
    let verify = |more: &[&str]| {
        let verify = ["verify", "--insecure-ignore-tlog", "--certificate-identity", "build@acme.example"];
        let (code, _, err) = home.text(&[&verify[..], more, &[image.as_str()]].concat());
        (code, err)
    };
    for trusted in [
        &["--ca-roots", "own.pem"][..],
        &["--certificate-chain", "own.pem"],
        &["--ca-roots", "own.pem", "--insecure-ignore-sct"],
    ] {
        let (code, err) = verify(trusted);
        assert_eq!(code, 0, "{trusted:?}: {err}");
    }
    let (code, err) = verify(&["--ca-roots", "other.pem"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("certificate_untrusted"), "{err}");
    let (code, err) = verify(&["--ca-roots", "own.pem", "--min-scts", "1"]);
    assert_ne!(code, 0, "an SCT, if one is asked for: {err}");
    let (code, err) = verify(&["--ca-roots", "own.pem", "--use-signed-timestamps"]);
    assert_eq!(code, 2, "a timestamp, if one is asked for: {err}");
    let (code, err) = verify(&["--ca-roots", "own.pem", "--certificate-oidc-issuer", "https://i"]);
    assert_eq!(code, 4, "an issuer, if one is asked for: {err}");
    // A signature that comes without its certificate takes the one that is given.
    images::image(&fake.app(), "v2", "second").await;
    let bare = format!("{}/app:v2", fake.host);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", &bare]);
    let with = |more: &[&str]| {
        let verify = ["verify", "--insecure-ignore-tlog", "--certificate-identity", "build@acme.example"];
        home.text(&[&verify[..], more, &["--ca-roots", "own.pem", bare.as_str()]].concat()).0
    };
    assert_eq!(with(&["--certificate", "own-leaf.pem"]), 0);
    assert_eq!(with(&["--certificate", "other-leaf.pem"]), 2, "of another authority");
    assert_eq!(with(&[]), 4, "a certificate is asked for");
    // Without an authority of one's own, none of this is taken.
    for refused in [&["--insecure-ignore-sct"][..], &["--ca-intermediates", "own.pem"], &[]] {
        assert_eq!(verify(refused).0, 1, "{refused:?}");
    }
    let (code, _, err) = home.text(&["verify", "--key", "cosign.pub", "--ca-roots", "own.pem", &image]);
    assert_eq!(code, 1, "{err}");
    let bob =
        ["verify", "--insecure-ignore-tlog", "--certificate-identity", "bob@acme.example", "--ca-roots"];
    assert_eq!(home.text(&[&bob[..], &["own.pem", image.as_str()]].concat()).0, 4);
    home.good(&["generate-key-pair", "--output-key-prefix", "second"]);
    let mut wrong = sign;
    wrong[2] = "second.key";
    let (code, _, err) = home.text(&[&wrong[..], &["--no-tlog", &image]].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("for another key"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_to_a_token_server_elsewhere_only_when_it_is_named() {
    let bench = Bench::new(Fake::start().await).await;
    let elsewhere = Fake::start().await;
    let realm = format!("Bearer realm=\"http://{}/token\"", elsewhere.host);
    bench.fake.lie(move |seen| {
        let known = seen.header("authorization") == Some("Bearer of-alice");
        (!known).then(|| answer(401, &[("www-authenticate", realm.as_str())], "{}"))
    });
    elsewhere.lie(|seen| {
        let known = seen.header("authorization").is_some_and(|login| login.starts_with("Basic "));
        Some(if known { answer(200, &[], r#"{"token":"of-alice"}"#) } else { answer(401, &[], "{}") })
    });
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", bench.image.as_str()];
    let login = ["--registry-username", "alice", "--registry-password", "secret"];
    let (code, _, err) = bench.home.text(&[&verify[..], &login].concat());
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("--registry-token-server"), "{err}");
    assert!(elsewhere.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let named = ["--registry-token-server", elsewhere.host.as_str()];
    bench.home.good(&[&verify[..], &login, &named].concat());
}
