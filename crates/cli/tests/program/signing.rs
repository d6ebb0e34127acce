//! Images, as cosign's tutorials have it with the program's name changed: against a registry in the test, of the kind
//! that lists referrers and of the kind that does not.

use crate::images;
use crate::registry::{Fake, answer};
use crate::support::{CYCLONEDX, Home, Instance, PROVENANCE, SCAN, left_out};
use countersign_registry::{Descriptor, RemoteRepository};
use serde_json::Value;

const SLSA: &str = "https://slsa.dev/provenance/v1";

/// A registry with the image `app:v1`, a home with the key pair `cosign`, and the image's name and digest.
struct Bench {
    fake: Fake,
    home: Home,
    image: String,
    digest: Descriptor,
}

impl Bench {
    async fn new() -> Self {
        Self::on(Fake::start().await).await
    }

    async fn on(fake: Fake) -> Self {
        let digest = images::image(&fake.app(), "v1", "content").await;
        let home = Home::new();
        home.good(&["generate-key-pair"]);
        let image = format!("{}/app:v1", fake.host);
        fake.seen();
        Self { fake, home, image, digest }
    }

    async fn both() -> [Self; 2] {
        [Self::new().await, Self::on(Fake::old().await).await]
    }

    fn sign(&self, more: &[&str]) {
        let sign = ["sign", "--key", "cosign.key", "--no-tlog", self.image.as_str()];
        self.home.good(&[&sign[..], more].concat());
    }

    fn verify(&self, more: &[&str]) -> (i32, String, String) {
        let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", self.image.as_str()];
        self.home.text(&[&verify[..], more].concat())
    }

    fn app(&self) -> RemoteRepository {
        self.fake.app()
    }

    /// What the registry was asked to read and to write since the last time.
    fn asked(&self) -> (usize, usize) {
        let seen = self.fake.seen();
        let read = seen.iter().filter(|s| s.method == "GET" || s.method == "HEAD").count();
        (read, seen.len() - read)
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_signed_and_verified_with_a_key_and_nobody_else() {
    for bench in Bench::both().await {
        bench.sign(&[]);
        let (code, out, err) = bench.verify(&[]);
        assert_eq!(code, 0, "{err}");
        assert!(err.trim_end().ends_with("VERIFIED"), "{err}");
        let found = json(&out);
        let critical = &found[0]["critical"];
        assert_eq!(critical["image"]["docker-manifest-digest"], bench.digest.digest.to_string());
        assert_eq!(critical["type"], "https://sigstore.dev/cosign/sign/v1");
        assert_eq!(found.as_array().unwrap().len(), 1);
        // The line that `sign` prints is one that verifies.
        let line = bench.home.good(&["sign", "--key", "cosign.key", "--no-tlog", &bench.image]);
        let words: Vec<&str> = line.trim_end().split(' ').skip(1).collect();
        bench.home.good(&words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_form_is_written_on_request_and_verified_alone() {
    for bench in Bench::both().await {
        for more in [&["--new-bundle-format=false"][..], &["--registry-referrers-mode=legacy"]] {
            bench.sign(&[more, &["-a", "env=prod"]].concat());
            let tag = format!("sha256-{}", bench.digest.digest.to_hex());
            assert!(bench.fake.has("app", &format!("{tag}.sig")) && !bench.fake.has("app", &tag));
            let (code, out, err) = bench.verify(&["-a", "env=prod"]);
            assert_eq!(code, 0, "{err}");
            let found = json(&out);
            assert_eq!(found[0]["critical"]["type"], "cosign container image signature");
            assert_eq!(found[0]["optional"]["env"], "prod");
            let document = bench.fake.document("app", &format!("{tag}.sig"));
            let layer = &document["layers"][0];
            assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
            assert!(layer["annotations"]["dev.cosignproject.cosign/signature"].is_string());
        }
        bench.sign(&["--new-bundle-format=false", "--sign-container-identity", "prod.example/app"]);
        let found = json(&bench.verify(&[]).1);
        let names: Vec<_> = found.as_array().unwrap().iter().map(|f| &f["critical"]["identity"]).collect();
        assert!(names.iter().any(|name| name["docker-reference"] == "prod.example/app"), "{names:?}");
        bench.sign(&["--also-legacy"]);
        assert_eq!(bench.verify(&[]).0, 0);
        let both = ["--new-bundle-format=false", "--registry-referrers-mode=oci-1-1", &bench.image];
        assert_eq!(bench.home.text(&[&["sign", "--key", "cosign.key"][..], &both].concat()).0, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_unreachable_and_signed_by_someone_else_have_their_own_codes() {
    for bench in Bench::both().await {
        let (code, out, err) = bench.verify(&[]);
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(err.contains("no_signature") && err.trim_end().ends_with("REJECTED"), "{err}");

        bench.home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
        bench.home.good(&["sign", "--key", "other.key", "--no-tlog", &bench.image]);
        let (code, out, err) = bench.verify(&[]);
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(err.contains("wrong_key"), "{err}");

        let missing = format!("{}/app:v2", bench.fake.host);
        let by_key = ["--key", "cosign.pub", "--insecure-ignore-tlog"];
        let (code, _, err) = bench.home.text(&[&["verify", missing.as_str()][..], &by_key].concat());
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("does not exist"), "{err}");
        let (code, _, err) =
            bench.home.text(&[&["verify", "127.0.0.1:9/app:v1", "-t", "60s"][..], &by_key].concat());
        assert_eq!(code, 6, "{err}");
        // What the registry refuses or has no time for is not "unsigned".
        for status in [401, 403, 429, 503] {
            bench.fake.lie(move |seen| {
                let evidence = ["/referrers/", "/manifests/sha256-"].iter().any(|p| seen.path.contains(p));
                evidence.then(|| answer(status, &[("retry-after", "0")], ""))
            });
            let (code, _, err) = bench.verify(&[]);
            assert_eq!(code, 6, "{status}: {err}");
            bench.fake.lie(|_| None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_command_or_a_login_and_their_absence_is_no_missing_signature() {
    let bench = Bench::new().await;
    bench.sign(&[]);
    bench.fake.lie(|seen| {
        let good = ["Basic YWxpY2U6c2VjcmV0", "Bearer given"];
        let known = seen.header("authorization").is_some_and(|found| good.contains(&found));
        let scheme = if seen.header("authorization") == Some("Bearer given") { "Bearer" } else { "Basic" };
        let challenge = format!("{scheme} realm=\"registry\"");
        (!known).then(|| answer(401, &[("www-authenticate", &challenge)], ""))
    });
    assert_eq!(bench.verify(&[]).0, 6);
    assert_eq!(bench.verify(&["--registry-username", "alice", "--registry-password", "wrong"]).0, 6);
    assert_eq!(bench.verify(&["--registry-username", "alice", "--registry-password", "secret"]).0, 0);
    assert_eq!(bench.verify(&["--registry-token", "given"]).0, 0);
    assert_eq!(bench.verify(&["--registry-username", "alice"]).0, 1);
    bench.home.good(&["login", &bench.fake.host, "-u", "alice", "-p", "secret"]);
    assert_eq!(bench.verify(&[]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verifies_is_enough_where_a_registry_refuses_to_list_referrers() {
    let bench = Bench::new().await;
    bench.sign(&["--also-legacy"]);
    bench.fake.lie(|seen| seen.path.contains("/referrers/").then(|| answer(403, &[], "")));
    assert_eq!(bench.verify(&[]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_annotation_alone_makes_the_answer_no_and_all_must_be_in_one_signature() {
    let bench = Bench::new().await;
    bench.sign(&["-a", "commit=abc", "-a", "branch=main", "-a", "repo=acme/app"]);
    assert_eq!(bench.verify(&["-a", "commit=abc", "-a", "branch=main", "-a", "repo=acme/app"]).0, 0);
    for wrong in ["commit=abd", "branch=", "missing=x"] {
        let (code, out, err) = bench.verify(&["-a", "repo=acme/app", "-a", wrong]);
        assert_eq!((code, out.as_str()), (4, ""), "{wrong}: {err}");
    }
    bench.sign(&["-a", "reviewed=yes"]);
    assert_eq!(bench.verify(&["-a", "reviewed=yes"]).0, 0);
    assert_eq!(bench.verify(&["-a", "reviewed=yes", "-a", "commit=abc"]).0, 4, "two signatures, one each");
    for bad in ["noequals", "=x"] {
        assert_eq!(bench.verify(&["-a", bad]).0, 1, "{bad}");
    }
    assert_eq!(bench.verify(&["-a", "a=1", "-a", "a=2"]).0, 1, "the same name twice");
    let (code, _, err) = bench.verify(&["--max-evidence", "1"]);
    assert_eq!(code, 2, "more evidence than is looked at: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_verification_by_digest_is_three_requests() {
    let mut bench = Bench::new().await;
    bench.sign(&["--also-legacy"]);
    bench.image = format!("{}/app@{}", bench.fake.host, bench.digest.digest);
    bench.asked();
    assert_eq!(bench.verify(&[]).0, 0);
    assert_eq!(bench.asked(), (3, 0), "list, manifest, bundle");
    bench.image = format!("{}/app:v1", bench.fake.host);
    assert_eq!(bench.verify(&[]).0, 0);
    assert_eq!(bench.asked(), (4, 0), "and what the tag names");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_is_signed_with_one_call_and_only_when_asked_for() {
    let bench = Bench::new().await;
    let all = images::two_platforms(&bench.app(), "multi").await;
    let multi = format!("{}/app:multi", bench.fake.host);
    let by_digest = |d: &Descriptor| format!("{}/app@{}", bench.fake.host, d.digest);
    let verify =
        |name: &str| bench.home.text(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", name]).0;
    bench.home.good(&["sign", "--key", "cosign.key", "--no-tlog", &multi]);
    assert_eq!(all.iter().map(|d| verify(&by_digest(d))).collect::<Vec<_>>(), [0, 3, 3]);
    let lines = bench.home.good(&["sign", "-r", "--key", "cosign.key", "--no-tlog", &multi, &multi]);
    assert_eq!(lines.lines().count(), 3, "each once: {lines}");
    assert_eq!(all.iter().map(|d| verify(&by_digest(d))).collect::<Vec<_>>(), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_shows_what_would_be_signed() {
    let bench = Bench::new().await;
    std::fs::write(bench.home.path("p.json"), CYCLONEDX).unwrap();
    let sign = ["sign", "--dry-run", "--also-legacy", "-a", "k=v", "--key", "cosign.key", &bench.image];
    let shown = bench.home.good(&sign);
    assert!(shown.contains(r#""annotations":{"k":"v"}"#), "{shown}");
    assert!(shown.contains(&format!("sha256-{}.sig", bench.digest.digest.to_hex())), "{shown}");
    let attest = ["attest", "--dry-run", "--predicate", "p.json", "--type", "cyclonedx", &bench.image];
    let shown = bench.home.good(&attest);
    assert!(shown.contains("https://cyclonedx.org/bom") && shown.contains("as a referrer"), "{shown}");
    assert_eq!(bench.asked(), (2, 0), "each image is looked at, and nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_uploaded_is_printed_or_written_to_a_file() {
    let bench = Bench::new().await;
    let sign = ["sign", "--key", "cosign.key", "--no-tlog", "--upload=false", &bench.image];
    let printed = bench.home.good(&sign);
    assert!(json(printed.lines().next().unwrap())["dsseEnvelope"].is_object(), "{printed}");
    bench.home.good(&[&sign[..], &["--bundle", "b.json"]].concat());
    assert_eq!(bench.asked().1, 0, "nothing was written");
    let digest = bench.digest.digest.to_string();
    let verify = ["verify", &digest, "--bundle", "b.json", "--key", "cosign.pub", "--min-logs", "0"];
    assert!(bench.home.good(&verify).ends_with("VERIFIED\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_goes_to_another_repository_when_one_is_named() {
    let bench = Bench::new().await;
    let evidence = format!("{}/evidence", bench.fake.host);
    bench.sign(&["--repository", &evidence]);
    assert_eq!(bench.verify(&[]).0, 3, "not beside the image");
    assert_eq!(bench.verify(&["--repository", &evidence]).0, 0);
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", &bench.image];
    let output = bench.home.command(&verify).env("COSIGN_REPOSITORY", &evidence).output().unwrap();
    assert!(output.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn v02_statements_are_attested_filtered_and_printed_one_on_each_line() {
    for bench in Bench::both().await {
        let attest = |kind: &str, more: &[&str]| {
            let predicate = if kind == "cyclonedx" { CYCLONEDX } else { PROVENANCE };
            std::fs::write(bench.home.path("p.json"), predicate).unwrap();
            let attest =
                ["attest", "--predicate", "p.json", "--key", "cosign.key", "--no-tlog", "--type", kind];
            bench.home.good(&[&attest[..], more, &[bench.image.as_str()]].concat());
        };
        let verify = |kind: &str, key: &str| {
            let verify = ["verify-attestation", "--key", key, "--insecure-ignore-tlog", "--type", kind];
            bench.home.text(&[&verify[..], &[bench.image.as_str()]].concat())
        };
        assert_eq!(verify("cyclonedx", "cosign.pub").0, 3, "no statement at all");
        attest("cyclonedx", &[]);
        let (code, out, err) = verify("cyclonedx", "cosign.pub");
        assert_eq!((code, out.lines().count()), (0, 1), "{err}");
        let envelope = json(&out);
        assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
        let (code, out, err) = verify(SLSA, "cosign.pub");
        assert_eq!((code, out.as_str()), (4, ""), "another type is none: {err}");
        assert!(err.contains("predicate_type_mismatch") && err.contains("cyclonedx.org"), "{err}");
        assert_eq!(bench.verify(&[]).0, 3, "a statement is no signature");

        attest("slsaprovenance1", &["--new-bundle-format=false"]);
        let (code, out, _) = verify(SLSA, "cosign.pub");
        assert_eq!((code, out.lines().count()), (0, 1));
        bench.home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
        // The older form names no key: whether it is another's or a broken one, nobody can say.
        let (code, _, err) = verify(SLSA, "other.pub");
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("no_key_verifies"), "{err}");
        bench.home.text(&["generate-key-pair", "--output-key-prefix", "gone"]);
        std::fs::remove_file(bench.home.path("other.key")).unwrap();
        std::fs::remove_file(bench.home.path("other.pub")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cosigns_wrapping_rules_and_whole_statements() {
    let bench = Bench::new().await;
    std::fs::write(bench.home.path("p.txt"), "any text").unwrap();
    let plain = ["attest", "--predicate", "p.txt", "--key", "cosign.key", "--no-tlog", &bench.image];
    bench.home.good(&plain);
    assert_eq!(bench.home.text(&[&plain[..], &["--type", "spdxjson"]].concat()).0, 1, "no JSON");
    assert_eq!(bench.home.text(&[&plain[..], &["--type", "no-such"]].concat()).0, 1);
    let out = bench.home.good(&["verify-attestation", "--key", "cosign.pub", "--min-logs=0", &bench.image]);
    let payload = json(&out)["payload"].as_str().unwrap().to_owned();
    let payload = countersign_crypto::encoding::base64_decode(&payload).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["predicate"]["Data"], "any text");
    assert_eq!(statement["subject"][0]["name"], format!("{}/app", bench.fake.host));

    let whole = |digest: &str| {
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{digest}"}}}}],"predicateType":"https://example.com/p","predicate":{{}}}}"#
        );
        std::fs::write(bench.home.path("s.json"), text).unwrap();
        bench.home.text(&[
            "attest",
            "--statement",
            "s.json",
            "--key",
            "cosign.key",
            "--no-tlog",
            &bench.image,
        ])
    };
    let (code, _, err) = whole(&"0".repeat(64));
    assert_eq!(code, 1, "it must be about the image: {err}");
    assert_eq!(whole(&bench.digest.digest.to_hex()).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn v01_a_signature_moved_to_another_image_is_refused() {
    let bench = Bench::new().await;
    bench.sign(&["--new-bundle-format=false"]);
    let other = images::image(&bench.app(), "v2", "other content").await;
    let own = format!("sha256-{}.sig", bench.digest.digest.to_hex());
    let copied = bench.fake.document("app", &own).to_string();
    let place = format!("sha256-{}.sig", other.digest.to_hex());
    bench.fake.put_document("app", &place, "application/vnd.oci.image.manifest.v1+json", copied);
    let image = format!("{}/app:v2", bench.fake.host);
    let (code, out, err) =
        bench.home.text(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", &image]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("subject_mismatch"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_could_be_files_or_images_are_refused_and_forced() {
    let bench = Bench::new().await;
    bench.sign(&[]);
    let forced = format!("oci:{}", bench.image);
    assert_eq!(bench.home.text(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", &forced]).0, 0);
    std::fs::write(bench.home.path("app:v1"), "x").unwrap();
    let (code, _, err) = bench.home.text(&["verify", "--key", "cosign.pub", "app:v1"]);
    assert_eq!(code, 1);
    assert!(err.contains("file:app:v1") && err.contains("oci:app:v1"), "{err}");
    let (code, _, err) =
        bench.home.text(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "file:app:v1"]);
    assert_eq!(code, 3, "{err}");
    for refused in ["--check-claims=false", "--max-workers=3", "--signature=s", "--registry-client-cert=c"] {
        let (code, _, err) = bench.verify(&[refused]);
        assert_eq!(code, 1, "{refused}");
        assert!(err.contains("is not taken: "), "{err}");
    }
    assert_eq!(bench.verify(&["--check-claims=true"]).0, 0);
    for refused in ["--output-signature=s", "--payload=p", "--record-creation-timestamp=true"] {
        let (code, _, err) = bench.home.text(&["sign", "--key", "cosign.key", refused, &bench.image]);
        assert_eq!(code, 1, "{refused}");
        assert!(err.contains("is not taken: "), "{err}");
    }
    for option in ["-r", "--also-legacy", "--upload=false"] {
        let sign = ["sign", "--key", "cosign.key", "--no-tlog", option, "file:app:v1"];
        assert_eq!(bench.home.text(&sign).0, 1, "{option} is for images");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_signed_stop_no_other_and_all_are_told_in_their_order() {
    for bench in Bench::both().await {
        let tags: Vec<String> = (1..=12).map(|n| format!("n{n}")).collect();
        let mut refused = Vec::new();
        for tag in &tags {
            let image = images::image(&bench.app(), tag, tag).await;
            if matches!(tag.as_str(), "n2" | "n11") {
                refused.push(image.digest.to_string());
            }
        }
        let names: Vec<String> = tags.iter().map(|tag| format!("{}/app:{tag}", bench.fake.host)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // What is written about two of them is refused.
        let places: Vec<String> = refused.iter().map(|digest| digest.replace(':', "-")).collect();
        bench.fake.lie(move |seen| {
            let about = places.iter().any(|place| seen.path.contains(place.as_str()));
            (seen.method == "PUT" && about).then(|| answer(403, &[], ""))
        });
        let sign = ["sign", "--key", "cosign.key", "--no-tlog", "--new-bundle-format=false"];
        let (code, out, err) = bench.home.text(&[&sign[..], &names].concat());
        assert_eq!(code, 6, "{err}");
        assert!(err.contains("2 of 12 images were not signed"), "{err}");
        let marks: Vec<&str> =
            err.lines().filter(|l| l.contains("signed: ")).map(|l| l.split(' ').next().unwrap()).collect();
        let expected: Vec<&str> = (1..=12).map(|n| if n == 2 || n == 11 { "✗" } else { "✓" }).collect();
        assert_eq!(marks, expected, "{err}");
        assert_eq!(out.lines().count(), 10, "each that was signed has its line: {out}");
        for digest in &refused {
            assert!(err.contains(&format!("@{digest}: ")) && !out.contains(digest), "{err}");
        }
        for (tag, name) in tags.iter().zip(&names) {
            let (code, ..) =
                bench.home.text(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", name]);
            assert_eq!(code, if matches!(tag.as_str(), "n2" | "n11") { 3 } else { 0 }, "{tag}");
        }
        std::fs::write(bench.home.path("p.json"), "{}").unwrap();
        let attest = [
            "attest",
            "--predicate",
            "p.json",
            "--key",
            "cosign.key",
            "--no-tlog",
            "--new-bundle-format=false",
        ];
        let (code, _, err) = bench.home.text(&[&attest[..], &names].concat());
        assert_eq!((code, err.matches("✓ attested").count()), (6, 10), "{err}");
        assert!(err.contains("2 of 12 images were not attested"), "{err}");
        // One alone says it in its own words.
        let (code, _, err) = bench.home.text(&[&sign[..], &names[1..2]].concat());
        assert!(code == 6 && err.contains("the registry refuses") && !err.contains('✗'), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_images_whose_evidence_lies_at_one_place_lose_nothing_of_each_other() {
    let bench = Bench::on(Fake::old().await).await;
    // The same content in two repositories, and one repository for the evidence of all.
    let other = images::image(
        &crate::registry::client().repository(&bench.fake.repository("other")),
        "v1",
        "content",
    )
    .await;
    assert_eq!(other.digest, bench.digest.digest);
    let place = format!("{}/evidence", bench.fake.host);
    let names = [bench.image.clone(), format!("{}/other:v1", bench.fake.host)];
    bench.sign(&["--repository", &place, &names[1]]);
    let tag = other.digest.to_string().replace(':', "-");
    let document = bench.fake.document("evidence", &tag);
    assert_eq!(document["manifests"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_signs_several_tags_with_one_login_and_is_verified_without_the_instance() {
    let bench = Bench::new().await;
    images::image(&bench.app(), "v2", "second").await;
    let instance = Instance::start(&bench.home);
    let token = instance.token();
    bench.home.good(&["trust", "add", &instance.url, "--yes"]);
    let v2 = format!("{}/app:v2", bench.fake.host);
    // A login that fails is told once, not for each image.
    let (code, _, err) = bench.home.text(&["sign", "--identity-token", "none.jwt", &bench.image, &v2]);
    assert!(code == 1 && err.contains("none.jwt") && !err.contains("not signed"), "{err}");
    let sign = ["sign", "--yes", "--identity-token", &token, "--also-legacy", &bench.image, &v2];
    let lines = bench.home.good(&sign);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    std::fs::write(bench.home.path("p.json"), SCAN).unwrap();
    let attest = ["attest", "--identity-token", &token, "--predicate", "p.json", "--type", "vuln", &v2];
    bench.home.good(&[&attest[..], &["--also-legacy"]].concat());
    let issuer = format!("{}/development-identity-provider", instance.url);
    bench.home.good(&["trust", "export", "--out", "site.json"]);
    drop(instance);
    let who = ["--certificate-identity", "alice@example.com", "--certificate-oidc-issuer", &issuer];
    // A timestamp authority that the trust root lacks can be given beside it.
    let mut site = json(&std::fs::read_to_string(bench.home.path("site.json")).unwrap());
    let root = site.get_mut("trustedRoot").unwrap();
    root["timestampAuthorities"] = Value::Array(vec![]);
    std::fs::write(bench.home.path("root.json"), root.to_string()).unwrap();
    let partly = [&["verify", v2.as_str(), "--trusted-root", "root.json"][..], &who].concat();
    assert_eq!(bench.home.text(&partly).0, 5);
    let chain = ["--timestamp-certificate-chain", "instance/certificates/tsa-chain.pem"];
    bench.home.good(&[&partly[..], &chain].concat());
    let chain = ["--timestamp-certificate-chain", "instance/certificates/ca-chain.pem"];
    assert_ne!(bench.home.text(&[&partly[..], &chain].concat()).0, 0, "another authority");
    for image in [&bench.image, &v2] {
        let (code, out, err) = bench.home.text(&[&["verify", image.as_str()][..], &who].concat());
        assert_eq!(code, 0, "{err}");
        assert_eq!(json(&out)[0]["critical"]["type"], "https://sigstore.dev/cosign/sign/v1");
        assert!(err.contains("alice@example.com"), "{err}");
    }
    let statement = ["verify-attestation", "--type", "vuln", v2.as_str()];
    bench.home.good(&[&statement[..], &who].concat());
    let bob = ["--certificate-identity", "bob@example.com", "--certificate-oidc-issuer", &issuer];
    assert_eq!(bench.home.text(&[&["verify", v2.as_str()][..], &bob].concat()).0, 4);

    // The older form has no place for the proof of this log: the timestamp says when, if that is asked for.
    bench.fake.lie(|seen| seen.path.contains("/referrers/").then(|| answer(404, &[], "")));
    let older = [&["verify", v2.as_str()][..], &who].concat();
    let (code, _, err) = bench.home.text(&older);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("no_log_entry"), "{err}");
    bench.home.good(&[&older[..], &["--insecure-ignore-tlog"]].concat());
    bench.home.good(&[&statement[..], &who, &["--insecure-ignore-tlog", "--use-signed-timestamps"]].concat());
}

/// The commands of a page of the manual.
fn commands(page: &str) -> String {
    page.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_on_images_runs() {
    let bench = Bench::new().await;
    for tag in ["v2", "v3"] {
        images::image(&bench.app(), tag, tag).await;
    }
    for tool in ["jq", "openssl"] {
        if std::process::Command::new(tool).arg("--version").output().is_err() {
            return left_out(tool);
        }
    }
    let home = &bench.home;
    // The page makes the key pair itself; the certificate of one's own authority is for that key.
    for name in ["cosign.key", "cosign.pub"] {
        std::fs::remove_file(home.path(name)).unwrap();
    }
    for (name, text) in [("sbom.spdx.json", r#"{"spdxVersion":"SPDX-2.3"}"#), ("provenance.json", PROVENANCE)]
    {
        std::fs::write(home.path(name), text).unwrap();
    }
    std::fs::write(home.path("pod.yaml"), format!("spec:\n  containers:\n  - image: {}\n", bench.image))
        .unwrap();
    let instance = Instance::start(home);
    home.good(&["trust", "add", &instance.url, "--yes"]);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images.md")).unwrap();
    let issue = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem \
                 -subj /CN=root -days 2 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign\n\
                 openssl x509 -new -force_pubkey cosign.pub -CA root.pem -CAkey root.key -subj /CN=build -days 1 \
                 -extfile extensions -out leaf.pem\ncp root.pem chain.pem\n";
    std::fs::write(
        home.path("extensions"),
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nsubjectAltName=email:build@acme.example\n",
    )
    .unwrap();
    let (first, rest) = commands(&page).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let script = format!("{first}\n{issue}{rest}")
        .replace("localhost:5000", &bench.fake.host)
        .replace("https://idp.example.com", &format!("{}/development-identity-provider", instance.url));
    assert!(script.lines().count() > 25, "the page has its lines");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-eux", "-c", &script])
        .current_dir(home.path("."))
        .env_clear()
        .env("PATH", format!("{}:{path}", program.display()))
        .env("HOME", home.path("."))
        .env("COSIGN_PASSWORD", "")
        .env("SIGSTORE_ID_TOKEN", instance.token());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
