//! The program as its users run it: help texts and checklists compared with kept ones, exit codes, and a whole life
//! of an instance: made, served, trusted, signed with, verified without it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p countersign` writes the kept texts anew.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::{Home, Instance, golden, left_out, settled};
use countersign_crypto::{KeyPair, KeyType, encoding};
use countersign_tlog::{NoteKind, NoteSigner};

/// A trusted root that trusts nobody but has the form of one: keys alone decide.
const TRUSTS_NOBODY: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;

#[test]
fn help_texts_are_as_kept() {
    let home = Home::new();
    golden("help.txt", &home.good(&["--help"]));
    for command in ["sign", "verify", "quickstart", "serve", "trust"] {
        golden(&format!("help-{command}.txt"), &home.good(&[command, "-h"]));
    }
}

#[test]
fn completions_and_manual_pages_know_the_arguments_of_each_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = home.good(&["completion", shell]);
        assert!(text.contains("min-logs") && text.contains("registry-cacert"), "{shell}");
    }
    home.good(&["man", "pages"]);
    let page = std::fs::read_to_string(home.path("pages/countersign-verify.1")).unwrap();
    assert!(page.contains("min\\-logs"), "{page}");
    assert!(home.path("pages/countersign-log-checkpoint.1").exists());
}

#[test]
fn mistakes_in_the_command_line_exit_with_1() {
    let home = Home::new();
    std::fs::write(home.path("f"), "x").unwrap();
    for (arguments, told) in [
        (&[][..], "Usage: countersign"),
        (&["nonsense"], "unrecognized subcommand"),
        (&["sign"], "<FILE|IMAGE>"),
        (&["sign", "not-there"], "there is no file"),
        (&["verify", "f"], "nobody is named"),
        (&["verify", "not-there", "--key", "k"], "there is no file"),
        (&["verify", "f", "--key", "k"], "k: open"),
        (&["verify", "f", "--email", "a@b.c"], "no issuer is named"),
        (&["verify", "f", "--min-logs", "many", "--key", "k"], "expected a number, found \"many\""),
        (&["verify-blob", "f", "--bundle", "b", "--key", "k", "--insecure-ignore-sct"], "is not taken"),
        (&["sign-blob", "f", "--sk"], "--sk is not taken"),
        (&["sign-blob", "f", "--new-bundle-format=false"], "is not taken"),
        (&["generate-key-pair", "--kms", "awskms:///x"], "awskms:///KEY"),
        (&["generate-key-pair", "--kms", "k8s://ns/secret"], "expected a key service"),
        (&["generate-key-pair", "hashivault://k"], "expected k8s://NAMESPACE/SECRET"),
        (&["generate-key-pair", "k8s://ns/secret", "--kms", "hashivault://k"], "cannot be used with"),
        (&["generate-key-pair", "k8s://ns/secret"], "KUBECONFIG"),
        (&["public-key", "--key", "hashivault://k"], "VAULT_ADDR"),
        (&["public-key", "--key", "no-such-plugin://k"], "sigstore-kms-no-such-plugin"),
        (&["public-key", "--key", "github://owner/repo"], "nobody can read back"),
        (&["change-password", "--key", "not-there"], "not-there"),
        (&["completion", "tcsh"], "bash"),
        (&["serve", "no-instance"], "countersign init no-instance"),
    ] {
        let (code, _, err) = home.text(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
}

#[test]
fn no_signature_no_trust_and_no_network_have_their_own_codes() {
    let home = Home::new();
    std::fs::write(home.path("f"), "x").unwrap();
    let (code, _, err) = home.text(&["verify", "f", "--email", "a@b.c", "--issuer", "i"]);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("countersign trust add"), "{err}");
    home.good(&["generate-key-pair", "--output-key-prefix", "k"]);
    let (code, out, _) = home.text(&["verify", "f", "--key", "k.pub", "--min-logs", "0"]);
    assert_eq!(code, 3, "{out}");
    assert!(out.ends_with("REJECTED\n"), "{out}");
    let (code, _, err) = home.text(&["trust", "add", "http://127.0.0.1:9", "--yes"]);
    assert_eq!(code, 6, "{err}");
    let mut vault = home.command(&["public-key", "--key", "hashivault://k"]);
    let vault = vault.env("VAULT_ADDR", "http://127.0.0.1:9").env("VAULT_TOKEN", "hunter2").output().unwrap();
    let err = String::from_utf8(vault.stderr).unwrap();
    assert!(!err.contains("hunter2"), "{err}");
    assert_eq!(vault.status.code(), Some(6), "{err}");
}

#[test]
fn a_key_file_gets_another_password_and_standard_input_is_one_to_the_byte() {
    let home = Home::new();
    let run = |arguments: &[&str], variables: &[(&str, &str)], input: &str| {
        let mut command = home.command(arguments);
        command.env_remove("COSIGN_PASSWORD").envs(variables.iter().copied()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["generate-key-pair", "--output-key-prefix", "k"], &[], "line\n").0, 0);
    let change = ["change-password", "--key", "k.key"];
    // As in cosign, the line break that `echo` adds is part of the password.
    let wrong = [("COSIGN_PASSWORD", "line"), ("COSIGN_NEW_PASSWORD", "new")];
    let (code, err) = run(&change, &wrong, "");
    assert!(code == 1 && err.contains("wrong password"), "{err}");
    let (code, err) = run(&change, &[], "line\n");
    assert!(code == 1 && err.contains("COSIGN_NEW_PASSWORD"), "{err}");
    let (code, err) = run(&change, &[("COSIGN_NEW_PASSWORD", "new")], "line\n");
    assert_eq!(code, 0, "{err}");
    let (code, err) = run(&change, &[("COSIGN_PASSWORD", "new")], "newer");
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(home.path("k.pub")).unwrap();
    let public = ["public-key", "--key", "k.key", "--outfile", "k.pub"];
    assert_eq!(run(&public, &[("COSIGN_PASSWORD", "new")], "").0, 1);
    let (code, err) = run(&public, &[], "newer");
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("newer"), "{err}");
}

/// A plugin of a few lines, around openssl, for what a user does with a key in a home of its own.
#[test]
#[cfg(unix)]
fn a_plugin_makes_a_key_signs_and_is_the_public_key_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var("PATH").unwrap();
    let present = Command::new("openssl").arg("version").output().is_ok_and(|found| found.status.success());
    if !present {
        return left_out("openssl");
    }
    let home = Home::new();
    let program = home.path("sigstore-kms-test");
    std::fs::write(&program, include_str!("plugin.sh")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(home.path("app.tar"), "artifact").unwrap();
    std::fs::write(home.path("root.json"), TRUSTS_NOBODY).unwrap();
    let key = format!("test://{}", home.path("plugin.pem").display());
    let path = format!("{}:{path}", home.0.path().display());
    let run = |arguments: &[&str]| {
        let output = home.command(arguments).env("PATH", &path).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, err) = run(&["generate-key-pair", "--kms", &key]);
    assert!(code == 0 && err.contains("cosign.pub"), "{err}");
    let (code, _, err) = run(&["generate-key-pair", "--kms", &key]);
    assert!(code == 1 && err.contains("not replaced"), "{err}");
    let sign = ["sign", "app.tar", "--key", &key, "--trusted-root", "root.json", "--tlog-upload=false"];
    let (code, out, err) = run(&sign);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("--key {key}")), "{out}");
    for public in [key.as_str(), "cosign.pub"] {
        let verify = ["verify", "app.tar", "--key", public, "--min-logs", "0", "--trusted-root", "root.json"];
        let (code, out, err) = run(&verify);
        assert_eq!(code, 0, "{out}{err}");
    }
    std::fs::write(home.path("app.tar"), "another").unwrap();
    assert_eq!(
        run(&["verify", "app.tar", "--key", &key, "--min-logs", "0", "--trusted-root", "root.json"]).0,
        2
    );
}

#[test]
fn a_key_signs_and_verifies_without_any_service() {
    let home = Home::new();
    std::fs::write(home.path("app.tar"), "artifact").unwrap();
    home.good(&["generate-key-pair", "--output-key-prefix", "k"]);
    std::fs::write(home.path("root.json"), TRUSTS_NOBODY).unwrap();
    let line = home.good(&[
        "sign",
        "app.tar",
        "--key",
        "k.key",
        "--trusted-root",
        "root.json",
        "--tlog-upload=false",
    ]);
    assert_eq!(line, "countersign verify app.tar --key k.pub --min-logs 0 --trusted-root root.json\n");
    let verify = ["verify", "app.tar", "--key", "k.pub", "--min-logs", "0"];
    assert!(home.good(&verify).ends_with("VERIFIED\n"));
    // Without being told, a signature no log has seen is not enough.
    let (code, _, _) = home.text(&["verify", "app.tar", "--key", "k.pub", "--trusted-root", "root.json"]);
    assert_ne!(code, 0);
    home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    let (code, out, _) = home.text(&["verify", "app.tar", "--key", "other.pub", "--min-logs", "0"]);
    assert_eq!(code, 4, "{out}");
    std::fs::write(home.path("app.tar"), "tampered").unwrap();
    let (code, out, _) = home.text(&verify);
    assert_eq!(code, 2);
    assert!(out.contains("digest_mismatch") && out.ends_with("REJECTED\n"), "{out}");
}

#[test]
fn the_older_bundle_file_of_cosign_is_verified() {
    let home = Home::new();
    std::fs::write(home.path("app.tar"), "artifact").unwrap();
    home.good(&["generate-key-pair"]);
    home.good(&["sign-blob", "--key", "cosign.key", "--no-tlog", "--output-signature", "sig", "app.tar"]);
    let signature = std::fs::read_to_string(home.path("sig")).unwrap();
    let verify =
        ["verify-blob", "--key", "cosign.pub", "--insecure-ignore-tlog", "--bundle", "old.json", "app.tar"];
    std::fs::write(home.path("old.json"), format!(r#"{{"base64Signature":"{signature}"}}"#)).unwrap();
    home.good(&verify);
    std::fs::write(home.path("app.tar"), "tampered").unwrap();
    assert_eq!(home.text(&verify).0, 2);
    std::fs::write(home.path("old.json"), r#"{"base64Signature":""}"#).unwrap();
    assert_eq!(home.text(&verify).0, 2, "no signature in it");
}

/// A witness: its key as it is published, and its signature line under a checkpoint.
struct Witness(NoteSigner);

impl Witness {
    fn new(name: &str, key: &Arc<KeyPair>) -> Self {
        Self(NoteSigner::new(NoteKind::CosignatureV1, name, key.clone()).unwrap())
    }

    fn key(&self) -> String {
        let verifier = self.0.verifier();
        let key = encoding::base64_encode(&[&[4], verifier.key.raw()].concat());
        format!("{}+{}+{key}", verifier.name, encoding::hex_encode(&verifier.hint()))
    }

    fn cosign(&self, note: &str) -> String {
        let text = note.split_inclusive("\n\n").next().unwrap().strip_suffix('\n').unwrap();
        format!("{note}{}", self.0.sign(text, 1_700_000_000_000).unwrap().to_line())
    }
}

/// The checkpoint in a bundle, and the bundle with another one in its place.
fn with_checkpoint(bundle: &str, change: impl Fn(&str) -> String) -> String {
    let mut json: serde_json::Value = serde_json::from_str(bundle).unwrap();
    let place =
        &mut json["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"];
    *place = change(place.as_str().unwrap()).into();
    json.to_string()
}

/// Of a signed file and a kept log: which cosignatures satisfy `--witness` and `--min-witnesses`.
fn witnesses_are_demanded(home: &Home, issuer: &str) {
    let pair = || Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
    let (key, other, unknown) = (pair(), pair(), pair());
    let a = Witness::new("a.example", &key);
    let again = Witness::new("again.example", &key);
    let b = Witness::new("b.example", &other);
    let stranger = Witness::new("stranger.example", &unknown);
    std::fs::write(home.path("witnesses"), format!("# ours\n{}\n{}\n{}\n", a.key(), again.key(), b.key()))
        .unwrap();
    let bundle = std::fs::read_to_string(home.path("a.txt.sigstore.json")).unwrap();
    let log = home.path("instance/log/checkpoint");
    let plain = std::fs::read_to_string(&log).unwrap();
    let elsewhere = a.cosign(&plain.replacen("localhost\n", "localhost\n1", 1));
    let stolen = elsewhere.lines().last().unwrap().to_owned() + "\n";
    let who = ["--certificate-identity", "alice@example.com", "--certificate-oidc-issuer", issuer];
    let both = ["--witness", "witnesses", "--min-witnesses", "2"];
    // What stands under the checkpoint, what is demanded, and the answer to it.
    type Cosign<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(&str, Cosign<'_>, &[&str], i32); 7] = [
        ("none", &|note| note.to_owned(), &["--witness", "witnesses"], 2),
        ("one", &|note| a.cosign(note), &["--witness", "witnesses"], 0),
        ("too few", &|note| a.cosign(note), &both, 2),
        ("one key under two names", &|note| again.cosign(&a.cosign(note)), &both, 2),
        ("a stranger", &|note| stranger.cosign(&a.cosign(note)), &both, 2),
        ("another checkpoint", &|note| b.cosign(note) + &stolen, &["--witness", "witnesses"], 2),
        ("two", &|note| b.cosign(&a.cosign(note)), &both, 0),
    ];
    for (case, cosign, demand, expected) in cases {
        std::fs::write(home.path("witnessed.json"), with_checkpoint(&bundle, cosign)).unwrap();
        for command in ["verify", "verify-blob"] {
            let asked = [&[command, "--bundle", "witnessed.json", "a.txt"][..], &who, demand].concat();
            let (code, out, err) = home.text(&asked);
            assert_eq!(code, expected, "{command}, {case}: {out}{err}");
        }
        std::fs::write(&log, cosign(&plain)).unwrap();
        for action in [&["checkpoint"][..], &["verify", "--all"]] {
            let asked = [&["log"], action, &["--log", "instance/log"], demand].concat();
            let (code, out, err) = home.text(&asked);
            assert_eq!(code, expected, "log {action:?}, {case}: {out}{err}");
        }
    }
    std::fs::write(&log, plain).unwrap();
}

/// The network system calls of a run, by `strace`; `None` where that cannot be used.
fn network_calls(home: &Home, arguments: &[&str]) -> Option<String> {
    let log = home.path("strace.txt");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=network", "-o"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .current_dir(home.0.path())
        .env("HOME", home.0.path())
        .stdin(Stdio::null());
    let output = command.output().ok()?;
    if String::from_utf8_lossy(&output.stderr).contains("ptrace") {
        return None; // strace is there and may not trace
    }
    let calls = std::fs::read_to_string(&log).ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(
        calls
            .lines()
            .filter(|l| !l.contains("+++") && !l.contains("---"))
            .map(|l| format!("{l}\n"))
            .collect(),
    )
}

#[test]
fn an_instance_is_made_served_trusted_and_signed_with_and_not_needed_to_verify() {
    let home = Home::new();
    for (name, content) in [("a.txt", "first"), ("b.txt", "second"), ("predicate.json", "{\"ok\":true}")] {
        std::fs::write(home.path(name), content).unwrap();
    }
    let instance = Instance::start(&home);
    let url = instance.url.clone();
    let token = instance.token();
    home.good(&["trust", "add", &url, "--name", "dev", "--yes"]);
    let lines = home.good(&["sign", "a.txt", "b.txt", "--identity-token", &token]);
    assert_eq!(lines.lines().count(), 2);
    let issuer = format!("{url}/development-identity-provider");
    let who = ["--certificate-identity", "alice@example.com", "--certificate-oidc-issuer", &issuer];

    home.good(&["sign-blob", "-y", "--identity-token", &token, "--bundle", "blob.json", "a.txt"]);
    let kind = "https://example.com/p";
    home.good(&[
        "attest-blob",
        "--identity-token",
        &token,
        "--type",
        kind,
        "--predicate",
        "predicate.json",
        "--bundle",
        "att.json",
        "a.txt",
    ]);
    let checkpoint = home.good(&["log", "checkpoint"]);
    std::fs::write(home.path("kept.txt"), checkpoint).unwrap();
    home.good(&["sign", "b.txt", "--identity-token", &token]);
    let log = home.good(&["log", "verify", "--kept", "kept.txt", "--bundle", "a.txt.sigstore.json", "--all"]);
    assert!(log.ends_with("VERIFIED\n"), "{log}");
    home.good(&["trust", "update"]);
    home.good(&["trust", "export", "--out", "site.json"]);

    // From here on there is nobody to ask.
    drop(instance);
    let verify = ["verify", "a.txt", "--email", "alice@example.com", "--issuer", &issuer];
    golden("verify-good.txt", &settled(&home.good(&verify), &url));
    match network_calls(&home, &[&verify[..], &["--offline"]].concat()) {
        Some(calls) => assert_eq!(calls, "", "verification opened a socket"),
        None => eprintln!("skipped: no strace here to count sockets with"),
    }
    // The very line that `sign` printed.
    let printed: Vec<&str> = lines.lines().next().unwrap().split(' ').skip(1).collect();
    home.good(&printed);
    home.good(&[&["verify-blob", "--bundle", "blob.json", "a.txt"][..], &who].concat());
    home.good(
        &[&["verify-blob-attestation", "--bundle", "att.json", "--type", kind, "a.txt"][..], &who].concat(),
    );

    let attestation =
        [&["verify-blob-attestation", "--bundle", "att.json", "--type", "slsaprovenance", "a.txt"][..], &who];
    assert_eq!(home.text(&attestation.concat()).0, 4, "another type of statement");
    let other = ["verify", "a.txt", "--email", "bob@example.com", "--issuer", &issuer];
    assert_eq!(home.text(&other).0, 4, "another identity");
    let swapped = [
        "verify",
        "b.txt",
        "--bundle",
        "a.txt.sigstore.json",
        "--email",
        "alice@example.com",
        "--issuer",
        &issuer,
    ];
    let (code, out, _) = home.text(&swapped);
    assert_eq!(code, 2, "another artifact");
    golden("verify-tampered.txt", &settled(&out, &url));
    let (_, json, _) = home.text(&[&swapped[..], &["--output", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["schema"].as_str(), json["verified"].as_bool()),
        (Some("countersign.verify"), Some(false))
    );
    assert_eq!(json["reports"][0]["reason"], "digest_mismatch");
    assert_eq!(json["reports"][0]["cause"]["check"], "digest");
    let checks = json["reports"][0]["checks"].as_array().unwrap();
    let followed = checks.iter().find(|c| c["name"] == "signature").unwrap();
    assert_eq!(
        (&followed["reason"], &followed["consequenceOf"]),
        (&"signature_invalid".into(), &"digest".into())
    );
    // What only follows is a line without a reason, until all is asked for.
    assert!(!out.contains("signature_invalid") && !out.contains("too_few_logs"), "{out}");
    let (_, explained, _) = home.text(&[&swapped[..], &["--explain"]].concat());
    assert!(explained.contains("signature_invalid") && explained.contains("too_few_logs"), "{explained}");

    witnesses_are_demanded(&home, &issuer);

    // The exported file serves a machine that has never seen the instance.
    let elsewhere = Home::new();
    for name in ["a.txt", "a.txt.sigstore.json", "site.json"] {
        std::fs::copy(home.path(name), elsewhere.path(name)).unwrap();
    }
    elsewhere.good(&["trust", "add", "site.json"]);
    elsewhere.good(&verify);
}

#[test]
fn r25_the_order_to_stop_ends_the_server_well() {
    let home = Home::new();
    let mut instance = Instance::start(&home);
    assert_eq!(instance.stop(), Some(0));
    let checkpoint = home.path("instance/log/checkpoint");
    assert!(checkpoint.exists(), "the log is where it was");
}

#[test]
fn quickstart_ends_well_and_leaves_nothing() {
    let home = Home::new();
    std::fs::write(home.path("README.md"), "real file").unwrap();
    let temporary = home.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = home.command(&["quickstart", "README.md"]).env("TMPDIR", &temporary).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("VERIFIED") && text.contains("REJECTED") && text.contains("What next"), "{text}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(std::fs::read(home.path("README.md")).unwrap(), b"real file");
}

#[test]
fn a_command_that_takes_too_long_says_what_it_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let busy =
                "HTTP/1.1 429 Busy\r\nretry-after: 600\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // It comes in one piece, and there is nothing in it that decides.
            std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            stream.write_all(busy.as_bytes()).unwrap();
        }
    });
    let (code, _, err) = Home::new().text(&["tree", &format!("{host}/r:v1"), "--timeout", "1s"]);
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("not done within 1 s (--timeout): "), "{err}");
    assert!(err.contains(&host.to_string()) && err.contains("answered 429, asked again after"), "{err}");
}

#[test]
#[cfg(unix)]
fn quickstart_that_is_told_to_end_leaves_nothing() {
    let home = Home::new();
    std::fs::write(home.path("README.md"), "real file").unwrap();
    let temporary = home.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for keep in [&[][..], &["--keep"]] {
        let mut command = home.command(&[&["quickstart", "README.md"], keep].concat());
        command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        // Early, and late.
        let cue = if keep.is_empty() { "root of trust" } else { "gh (statements only)" };
        let mut lines = lines.map(Result::unwrap);
        assert!(lines.any(|line| line.contains(cue)), "{cue}");
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let rest = lines.count();
        let code = child.wait().unwrap().code().expect("it ends by itself");
        assert!(keep.is_empty() || code == 0, "{code} after {rest} more lines");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{keep:?}");
    }
}
