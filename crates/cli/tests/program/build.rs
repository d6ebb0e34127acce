//! `countersign build`, from a repository to a verified statement, with the tools of this machine.

#[path = "../../../builder/tests/support/namespaces.rs"]
mod namespaces;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Home;

const RECIPE: &str =
    "version = 1\noutputs = [\"copy\"]\n[[step]]\nrun = [\"cp\", \"{source}/file\", \"{out}/copy\"]\n";

fn git(directory: &Path, arguments: &[&str]) {
    let ran = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A home with a key and a repository; gives the source.
fn world(recipe: &str) -> (Home, String) {
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    let repository = home.path("repository");
    fs::create_dir_all(repository.join(".countersign")).unwrap();
    fs::write(repository.join(".countersign/build.toml"), recipe).unwrap();
    fs::write(repository.join("file"), b"content\n").unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main", "."]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "--message", "one"]);
    let source = format!("git+file://{}@main", repository.display());
    (home, source)
}

fn statement(bundle: &Path) -> (Value, Value) {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = countersign_crypto::encoding::base64_decode(payload).unwrap();
    (serde_json::from_slice(&payload).unwrap(), bundle)
}

fn built(home: &Home) -> PathBuf {
    home.path("built")
}

#[test]
fn a_build_is_signed_and_its_provenance_verifies_for_what_it_built_and_for_nothing_else() {
    if !namespaces::namespaces() {
        return;
    }
    let (home, source) = world(RECIPE);
    let line = ["-q", "build", &source, "--development", "--twice", "--key", "cosign.key", "--no-tlog"];
    let printed = home.good(&line);
    assert!(printed.trim_end().ends_with("built/outputs/copy"), "{printed}");
    let (said, bundle) = statement(&built(&home).join("provenance.sigstore.json"));
    let builder = &said["predicate"]["runDetails"]["builder"]["id"];
    assert_eq!(builder, "https://countersign.dev/builders/development/v1");
    assert_eq!(said["predicate"]["buildDefinition"]["internalParameters"]["reproduced"]["bitwise"], true);
    let check = [
        "verify-blob-attestation",
        "--key",
        "cosign.pub",
        "--type",
        "slsaprovenance1",
        "--insecure-ignore-tlog",
    ];
    let verify = |bundle: &str, file: &str| home.text(&[&check[..], &["--bundle", bundle, file]].concat()).0;
    assert_eq!(verify("built/provenance.sigstore.json", "built/outputs/copy"), 0);
    fs::write(home.path("other"), b"other\n").unwrap();
    assert_ne!(verify("built/provenance.sigstore.json", "other"), 0);
    // Provenance that somebody changed afterwards is nobody's.
    let forged = said.to_string().replace("development", "userns");
    let mut changed = bundle;
    changed["dsseEnvelope"]["payload"] =
        countersign_crypto::encoding::base64_encode(forged.as_bytes()).into();
    fs::write(home.path("forged.json"), changed.to_string()).unwrap();
    assert_eq!(verify("forged.json", "built/outputs/copy"), 2);
}

#[test]
fn the_signer_signs_nothing_but_the_journal_of_a_whole_build() {
    if !namespaces::namespaces() {
        return;
    }
    let (home, source) = world(RECIPE);
    home.good(&["build", &source, "--development", "--key", "cosign.key", "--no-tlog"]);
    let journal = fs::read(built(&home).join("journal.jsonl")).unwrap();
    let sign = |journal: &[u8]| {
        let mut signer = home
            .command(&["__build-signer", "build", &source, "--key", "cosign.key", "--no-tlog"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut signer.stdin.take().unwrap(), journal).unwrap();
        let ended = signer.wait_with_output().unwrap();
        (ended.status.code(), ended.stdout.len())
    };
    assert!(matches!(sign(&journal), (Some(0), length) if length > 0));
    let cut = &journal[..journal.len() - 30];
    let changed = String::from_utf8(journal.clone()).unwrap().replace("development", "userns").into_bytes();
    for bad in [cut, &changed, b"", b"{}\n"] {
        assert_eq!(sign(bad), (Some(7), 0), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_build_that_is_not_the_same_twice_fails_is_not_there_or_has_no_tools_is_not_signed() {
    if !namespaces::namespaces() {
        return;
    }
    for (recipe, options, code, says) in [
        ("cp {source}/file {out}/copy", &["--development"][..], 0, ""),
        ("date +%s%N > {out}/copy", &["--development", "--twice"], 2, "differs from byte"),
        ("exit 3", &["--development"], 2, "a step failed"),
        ("true", &["--development"], 2, "found no such file"),
        ("true", &[], 1, "--development"),
        ("true", &["--development", "--config", "none.toml"], 1, "none.toml"),
        ("true", &["--development", "--config", "../file"], 1, "within"),
        ("true", &["--host-path", "/opt"], 1, "--development"),
        ("true", &["--development", "--host-path", "/no/such/path"], 1, "/no/such/path"),
        ("true", &["--development", "--host-path", "usr"], 1, "whole path"),
        ("true", &["--development", "--signer-user", "no-such-user"], 1, "no-such-user"),
        ("true", &["--development", "--place", "https://a.example"], 1, "slash"),
        ("true", &["--development", "--builder-base", "nowhere"], 1, "nowhere"),
    ] {
        let recipe =
            format!("version = 1\noutputs = [\"copy\"]\n[[step]]\nrun = [\"sh\", \"-c\", '''{recipe}''']\n");
        let (home, source) = world(&recipe);
        let line = [&["build", source.as_str(), "--key", "cosign.key", "--no-tlog"], options].concat();
        let (found, out, said) = home.text(&line);
        assert_eq!(found, code, "{options:?}: {said}");
        assert!(said.contains(says), "{options:?}: {said}");
        assert_eq!(built(&home).join("provenance.sigstore.json").exists(), code == 0, "{options:?}");
        assert_eq!(out.is_empty(), code != 0, "{options:?}");
    }
}

#[test]
fn a_directory_that_is_there_is_not_written_to_and_a_source_that_is_none_is_refused() {
    if !namespaces::namespaces() {
        return;
    }
    let (home, source) = world(RECIPE);
    fs::create_dir(built(&home)).unwrap();
    let line = ["build", &source, "--development", "--key", "cosign.key", "--no-tlog"];
    let (code, _, said) = home.text(&line);
    assert!(code == 1 && said.contains("--output"), "{said}");
    let elsewhere = ["--output", "elsewhere", "--store", "store"];
    home.good(&[&line[..], &elsewhere].concat());
    assert!(home.path("elsewhere/provenance.sigstore.json").exists() && home.path("store").exists());
    let none = source.replace("@main", "@none");
    let (code, _, said) = home.text(&[
        "build",
        &none,
        "--development",
        "--output",
        "third",
        "--key",
        "cosign.key",
        "--no-tlog",
    ]);
    assert!(code == 1 && said.contains("none"), "{said}");
    assert_eq!(home.text(&["build", "https://a.example/b"]).0, 1);
    assert_eq!(home.text(&["build"]).0, 1);
}

#[test]
fn without_a_home_nobody_guesses_where_inputs_are_kept() {
    let (home, source) = world(RECIPE);
    let mut build = home.command(&["build", &source, "--development", "--key", "cosign.key", "--no-tlog"]);
    let ended = build.env_remove("HOME").env_remove("XDG_CACHE_HOME").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && said.contains("--store"), "{said}");
    assert!(!built(&home).exists());
}

/// Nothing is built that could not be signed: the journal would be lost, and with it the build.
#[test]
fn what_is_missing_for_signing_is_told_before_anything_is_built() {
    let (home, source) = world(RECIPE);
    fs::write(home.path("none.key"), b"no key\n").unwrap();
    for (options, password, says) in [
        (&["--key", "away.key", "--no-tlog"][..], None, "away.key"),
        (&["--key", "none.key", "--no-tlog"], None, "none.key"),
        (&["--key", "cosign.key", "--no-tlog"], Some("wrong"), "password"),
        (&["--key", "cosign.key"], None, "--no-tlog"),
        (&["--key", "cosign.key", "--no-tlog", "--certificate", "none.key"], None, "--certificate-chain"),
        (&[], None, "trust"),
    ] {
        let mut build = home.command(&[&["build", source.as_str(), "--development"], options].concat());
        if let Some(password) = password {
            build.env("COSIGN_PASSWORD", password);
        }
        let ended = build.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(says), "{options:?}: {said}");
        assert!(!built(&home).exists() && !said.contains("resolving"), "{options:?}: {said}");
    }
}

/// The key is another user's: only the signer's process can read it, and it is that user.
#[test]
fn the_signer_of_a_build_by_root_is_the_user_who_has_the_key() {
    if !namespaces::namespaces() {
        return;
    }
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let (home, source) = world(RECIPE);
    let key = home.path("cosign.key");
    if fs::metadata(&key).unwrap().uid() != 0 {
        crate::support::left_out("root, who alone can start a process of another user");
        return;
    }
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = 65534;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let line =
        ["build", &source, "--development", "--key", "cosign.key", "--no-tlog", "--signer-user", "65534"];
    // Root's key is not that user's.
    let (code, _, said) = home.text(&line);
    assert!(code != 0 && said.contains("cosign.key"), "{said}");
    assert!(!built(&home).exists(), "found out after the build");
    chown(&key, Some(owner), None).unwrap();
    home.good(&line);
}
