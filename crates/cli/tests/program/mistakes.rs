//! What people mistype, and what they are told: never about the wrong word, never a yes to what was not checked.

use std::net::TcpListener;
use std::process::Stdio;

use crate::support::Home;

#[test]
fn a_file_that_is_not_there_is_told_before_a_password_is_asked_for() {
    let home = signed();
    for command in ["sign", "sign-blob"] {
        let mut command = home.command(&[command, "./not-there", "--key", "cosign.key", "--no-tlog"]);
        let output = command.env("COSIGN_PASSWORD", "wrong").output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(err.contains("not-there"), "{err}");
    }
}

/// A home with a key pair, a file, and its signature by that key in no log.
fn signed() -> Home {
    let home = Home::new();
    std::fs::write(home.path("app.tar"), "artifact").unwrap();
    home.good(&["generate-key-pair"]);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", "app.tar"]);
    home
}

/// The message of a command that is used wrongly.
fn refused(home: &Home, arguments: &[&str]) -> String {
    let (code, _, err) = home.text(arguments);
    assert_eq!(code, 1, "{arguments:?}: {err}");
    err
}

#[test]
fn a_flag_that_is_not_taken_is_named_and_not_the_word_behind_it() {
    let home = Home::new();
    for (flag, arguments) in [
        ("record-creation-timestamp", &["sign", "--record-creation-timestamp", "127.0.0.1:9/app:v1"][..]),
        // The image could also be a file, which is said after what matters more.
        ("record-creation-timestamp", &["sign", "--record-creation-timestamp", "app"]),
        ("sk", &["sign", "--sk", "app.tar"]),
        ("slot", &["sign", "--slot", "signature", "app.tar"]),
        ("k8s-keychain", &["verify", "--k8s-keychain", "127.0.0.1:9/app:v1"]),
        ("payload", &["verify", "--payload", "p", "app.tar"]),
        ("rekor-url", &["verify-blob", "--rekor-url", "https://rekor.example", "--bundle", "b", "app.tar"]),
        ("policy", &["verify-attestation", "--policy", "p.cue", "127.0.0.1:9/app:v1"]),
        ("k8s-keychain", &["verify-attestation", "--k8s-keychain", "127.0.0.1:9/app:v1"]),
        ("replace", &["attest", "--replace", "--predicate", "p", "127.0.0.1:9/app:v1"]),
        ("k8s-keychain", &["attest", "--k8s-keychain", "--predicate", "p", "127.0.0.1:9/app:v1"]),
        ("sk", &["attest-blob", "--sk", "--predicate", "not-there", "app.tar"]),
        ("sig-only", &["copy", "--sig-only", "127.0.0.1:9/a:v1", "127.0.0.1:9/b:v1"]),
        ("k8s-keychain", &["download", "signature", "--k8s-keychain", "127.0.0.1:9/a:v1"]),
        ("registry-referrers-mode", &["tree", "--registry-referrers-mode", "legacy", "127.0.0.1:9/a:v1"]),
        ("sk", &["public-key", "--sk"]),
        ("with-default-services", &["trusted-root", "create", "--with-default-services"]),
    ] {
        let err = refused(&home, arguments);
        assert!(err.starts_with(&format!("error: --{flag} is not taken: ")), "{arguments:?}: {err}");
    }
}

#[test]
fn options_that_would_not_be_heard_are_refused() {
    let home = signed();
    let by_key = ["--key", "cosign.pub"];
    let verify = |more: &[&str]| refused(&home, &[&["verify", "app.tar"][..], &by_key, more].concat());
    let err = verify(&["--min-logs", "2", "--insecure-ignore-tlog"]);
    assert!(err.contains("--min-logs 2"), "{err}");
    assert!(verify(&["--min-logs", "0", "--certificate", "cosign.pub"]).contains("for images"));
    assert!(verify(&["--min-logs", "0", "--max-evidence", "5"]).contains("for images"));
    assert!(verify(&["--new-bundle-format=false"]).contains("is not taken"));
    home.good(&[&["verify", "app.tar"][..], &by_key, &["--min-logs=0", "--new-bundle-format"]].concat());
    home.good(&[&["verify", "app.tar"][..], &by_key, &["--min-logs=0", "--insecure-ignore-tlog"]].concat());
    let algorithm = ["verify-blob-attestation", "--bundle", "b", "--digestAlg", "sha512", "app.tar"];
    assert!(refused(&home, &[&algorithm[..], &by_key].concat()).contains("--digest"));
    std::fs::write(home.path("site.json"), "{}").unwrap();
    for more in [["--fingerprint", "sha256:00"], ["--root", "site.json"]] {
        let err = refused(&home, &[&["trust", "add", "site.json"][..], &more].concat());
        assert!(err.contains("would not be checked") && err.contains("sha256sum site.json"), "{err}");
    }
    assert!(refused(&home, &["serve", "instance", "--timeout", "1s"]).contains("--timeout is not for serve"));
}

#[test]
fn a_signature_by_itself_is_read_in_base64_and_raw() {
    let home = signed();
    let sign = ["sign-blob", "--key", "cosign.key", "--no-tlog", "app.tar", "--output-signature"];
    home.good(&[&sign[..], &["text"]].concat());
    home.good(&[&sign[..], &["raw", "--b64=false"]].concat());
    let verify = ["verify-blob", "--key", "cosign.pub", "--insecure-ignore-tlog", "app.tar", "--signature"];
    for name in ["text", "raw"] {
        home.good(&[&verify[..], &[name]].concat());
    }
    std::fs::write(home.path("app.tar"), "another").unwrap();
    for name in ["text", "raw"] {
        assert_eq!(home.text(&[&verify[..], &[name]].concat()).0, 2, "{name}");
    }
}

#[test]
fn a_signature_in_no_log_is_made_only_when_that_is_said() {
    let home = signed();
    let nobody = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;
    std::fs::write(home.path("root.json"), nobody).unwrap();
    let sign = ["sign", "--key", "cosign.key", "--trusted-root", "root.json", "app.tar"];
    let (code, _, err) = home.text(&sign);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("no transparency log") && err.contains("--no-tlog"), "{err}");
    home.good(&[&sign[..], &["--no-tlog"]].concat());
}

#[test]
fn a_key_s_home_that_never_answers_is_waited_for_as_long_as_was_said() {
    let home = Home::new();
    // It accepts, by its backlog, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let mut command = home.command(&["public-key", "--key", "hashivault://k", "-t", "100ms"]);
    let output = command.env("VAULT_ADDR", address).env("VAULT_TOKEN", "t").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert!(err.contains("not done within 0.1 s (--timeout)"), "{err}");
}

#[test]
#[cfg(unix)]
fn a_verdict_that_nobody_reads_is_told_by_the_exit_code() {
    let home = signed();
    std::fs::write(home.path("app.tar"), "tampered").unwrap();
    let verify = [
        "verify-blob",
        "--key",
        "cosign.pub",
        "--min-logs=0",
        "--bundle",
        "app.tar.sigstore.json",
        "app.tar",
    ];
    let (gone, closed) = std::io::pipe().unwrap();
    drop(gone);
    let status = home.command(&verify).stdout(Stdio::null()).stderr(closed).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn an_instance_says_what_to_do_next_and_that_can_be_done() {
    let home = Home::new();
    let init = |arguments: &[&str]| {
        let (code, _, err) = home.text(&[&["init"][..], arguments].concat());
        assert_eq!(code, 0, "{err}");
        err.lines().last().unwrap().to_owned()
    };
    assert_eq!(init(&["near", "--dev"]), "next: countersign serve near --dev");
    // The development provider is for loopback only, so it is no advice here.
    let next = init(&["far", "--url", "https://sigstore.example.com"]);
    assert!(next.contains("[[ca.issuers]]") && !next.contains("--dev"), "{next}");
    let known =
        ["known", "--url", "https://sigstore.example.com", "--oidc-issuer", "https://idp.example.com"];
    assert_eq!(init(&known), "next: countersign serve known");
}

#[test]
fn a_selector_is_kept_from_the_base_unless_another_is_given() {
    let home = Home::new();
    let service = "url=https://log.example.com,api-version=2,operator=o,start-time=2026-01-01T00:00:00Z";
    let create = ["signing-config", "create"];
    let base = ["--rekor", service, "--rekor-config", "ALL", "--out", "base.json"];
    home.good(&[&create[..], &base].concat());
    let selector = |more: &[&str]| {
        let out = home.good(&[&create[..], &["--base-config", "base.json"], more].concat());
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        json["rekorTlogConfig"]["selector"].as_str().unwrap().to_owned()
    };
    assert_eq!(selector(&[]), "ALL");
    assert_eq!(selector(&["--rekor-config", "ANY"]), "ANY");
}

#[test]
fn what_foreign_text_says_to_a_terminal_is_shown_in_errors_too() {
    let home = Home::new();
    std::fs::write(home.path("Dockerfile"), "FROM a.example/$\u{1b}[2KX\n").unwrap();
    home.good(&["generate-key-pair"]);
    let err = refused(&home, &["dockerfile", "verify", "--key", "cosign.pub", "Dockerfile"]);
    assert!(err.contains("\\u{1b}") && !err.contains('\u{1b}'), "{err}");
}
