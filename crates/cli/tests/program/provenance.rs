//! `provenance` and `run`: what is signed in a CI job, what never is, and that what was signed verifies.

use std::process::Command;

use crate::images;
use crate::registry::Fake;
use crate::support::Home;
use serde_json::Value;

const SLSA: &str = "https://slsa.dev/provenance/v1";
/// With a key and nobody else.
const ALONE: [&str; 3] = ["--key", "cosign.key", "--no-tlog"];

/// A home with a key pair and a file, and the variables of a platform.
struct Job {
    home: Home,
    variables: Vec<(String, String)>,
}

impl Job {
    fn new() -> Self {
        let home = Home::new();
        home.good(&["generate-key-pair"]);
        std::fs::create_dir(home.path("dist")).unwrap();
        std::fs::write(home.path("dist/app.tar"), "app").unwrap();
        Self { home, variables: Vec::new() }
    }

    /// In a platform, as the variables recorded for its tests have it.
    fn of(platform: &str) -> Self {
        let path =
            format!("{}/../builder/src/environment/recorded/{platform}.env", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let pairs = text.lines().map(|line| line.split_once('=').unwrap());
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { variables, ..Self::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Exit code, standard output and standard error.
    fn text(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.home.command(arguments);
        // Nothing of a git around the test.
        command
            .envs(self.variables.iter().cloned())
            .env("PATH", "/usr/bin:/bin")
            .env("COSIGN_PASSWORD", "pw");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn good(&self, arguments: &[&str]) -> (String, String) {
        let (code, out, err) = self.text(arguments);
        assert_eq!(code, 0, "{arguments:?}\n{out}\n{err}");
        (out, err)
    }

    /// The statement that would be signed.
    fn dry(&self, more: &[&str]) -> Value {
        let (out, _) =
            self.good(&[&["provenance", "--dry-run", "--subject", "dist/app.tar"][..], more].concat());
        serde_json::from_str(&out).unwrap()
    }

    fn verify(&self, kind: &str, bundle: &str, file: &str) -> i32 {
        let verify = ["verify-blob-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog"];
        self.text(&[&verify[..], &["--type", kind, "--bundle", bundle, file]].concat()).0
    }

    fn git(&self, arguments: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(self.home.path(""))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The statement in a bundle.
fn statement(job: &Job, bundle: &str) -> Value {
    let bundle: Value = serde_json::from_slice(&std::fs::read(job.home.path(bundle)).unwrap()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    serde_json::from_slice(&countersign_crypto::encoding::base64_decode(payload).unwrap()).unwrap()
}

#[test]
fn provenance_of_a_file_lies_beside_it_and_verifies_until_the_file_changes() {
    for platform in ["github-actions", "gitlab-ci", "jenkins", "tekton", "buildkite", "circleci"] {
        let job = Job::of(platform);
        let (out, err) = job.good(&[&["provenance", "--subject", "dist/app.tar"][..], &ALONE].concat());
        let bundle = "dist/app.tar.provenance.sigstore.json";
        assert_eq!(out, format!("{bundle}\n"));
        assert!(err.contains(&format!("platform {platform}, source git+")), "{err}");
        assert!(err.contains("SLSA Build level 1: a key signed") && err.contains("never level 3"), "{err}");
        assert_eq!(statement(&job, bundle)["subject"][0]["name"], "dist/app.tar");
        assert_eq!(job.verify("slsaprovenance1", bundle, "dist/app.tar"), 0, "{platform}");
        assert_eq!(job.verify("slsaprovenance02", bundle, "dist/app.tar"), 4, "another type");
        std::fs::write(job.home.path("dist/app.tar"), "another").unwrap();
        assert_eq!(job.verify("slsaprovenance1", bundle, "dist/app.tar"), 2, "{platform}");
    }
}

#[test]
fn each_option_changes_the_statement_and_nothing_else_of_the_environment_is_in_it() {
    let job = Job::of("github-actions").with("CHANNEL", "beta");
    let plain = job.dry(&[]);
    assert_eq!(plain["predicateType"], SLSA);
    assert!(!plain.to_string().contains("s3cret") && !plain.to_string().contains("beta"), "{plain}");
    let definition = &plain["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://actions.github.io/buildtypes/workflow/v1");
    assert_eq!(job.dry(&["--type", "v0.2"])["predicateType"], "https://slsa.dev/provenance/v0.2");
    let asked = job.dry(&["--parameter", "CHANNEL"]);
    assert_eq!(asked["predicate"]["buildDefinition"]["externalParameters"]["inputs"]["CHANNEL"], "beta");
    let named = job.dry(&["--builder-id", "https://builds.example/1"]);
    assert_eq!(named["predicate"]["runDetails"]["builder"]["id"], "https://builds.example/1");
    let shell = job.dry(&["--platform", "shell"]);
    assert_eq!(
        shell["predicate"]["runDetails"]["builder"]["id"],
        "https://countersign.dev/builders/shell/v1"
    );
    std::fs::write(job.home.path("app.tar"), "app").unwrap();
    for (arguments, told) in [
        (&["--type", "v2"][..], "v0.2"),
        (&["--parameter", "NOT_THERE"], "NOT_THERE is missing"),
        (&["--builder-id", "https://me:s3cret@builds.example"], "without a password"),
        (&["--platform", "travis"], "expected one of github-actions"),
        (&["--lock-file", "dist/app.tar"], "no lock file is called so"),
        (&["--lock-file", "not/Cargo.lock"], "not/Cargo.lock"),
        (&["--subject", "dist/../dist/app.tar", "app.tar"], "two subjects are called \"app.tar\""),
        (&["--subject", "-"], "standard input has no name"),
    ] {
        let all = [&["provenance", "--dry-run", "--subject", "dist/app.tar"][..], arguments].concat();
        let (code, _, err) = job.text(&all);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    assert!(!job.home.path("dist/app.tar.provenance.sigstore.json").exists(), "a dry run writes nothing");
}

#[test]
fn a_variable_that_is_missing_is_named_and_nothing_is_signed() {
    let job = Job::of("jenkins").with("GIT_COMMIT", "");
    let (code, _, err) = job.text(&[&["provenance", "--subject", "dist/app.tar"][..], &ALONE].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("the variable GIT_COMMIT is missing") && err.contains("withEnv"), "{err}");
    assert!(!job.home.path("dist/app.tar.provenance.sigstore.json").exists());
}

#[test]
fn a_secret_that_got_into_a_parameter_or_a_command_is_not_signed() {
    let job = Job::of("github-actions").with("COPY", "ghs_s3cretgithubtoken");
    let (code, out, err) =
        job.text(&["provenance", "--dry-run", "--subject", "dist/app.tar", "--parameter", "COPY"]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("the value of GITHUB_TOKEN") && !err.contains("s3cret"), "{err}");
    let run = ["--", "sh", "-c", "echo x > out; : ghs_s3cretgithubtoken"];
    let (code, _, err) = job.text(&[&["run"][..], &ALONE, &run].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("GITHUB_TOKEN") && !job.home.path("provenance.sigstore.json").exists(), "{err}");
}

#[test]
fn lock_files_of_the_folder_are_materials_and_what_they_leave_open_is_told() {
    let job = Job::of("gitlab-ci");
    let sum = "ab".repeat(32);
    std::fs::write(job.home.path("requirements.txt"), format!("a==1 --hash=sha256:{sum}\nb==2\n")).unwrap();
    std::fs::write(job.home.path("go.sum"), "not a lock file\n").unwrap();
    let (out, err) = job.good(&["provenance", "--dry-run", "--subject", "dist/app.tar"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    let dependencies = found["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let package = dependencies.iter().find(|one| one["uri"] == "pkg:pypi/a@1").unwrap();
    assert_eq!(package["digest"]["sha256"], sum);
    for name in ["requirements.txt", "go.sum"] {
        assert!(dependencies.iter().any(|one| one["name"] == name), "{name}");
    }
    assert!(err.contains("requirements.txt: 1 without a digest, not recorded: pkg:pypi/b@2"), "{err}");
    assert!(err.contains("go.sum: line 1: expected") && err.contains("only its digest is recorded"), "{err}");
    let named = ["provenance", "--dry-run", "--subject", "dist/app.tar", "--lock-file", "go.sum"];
    assert_eq!(job.text(&named).0, 1, "one that is named must be readable");
}

#[test]
fn changes_in_the_work_tree_are_said() {
    let job = Job::new();
    job.git(&["init", "-q"]);
    job.git(&["add", "dist"]);
    job.git(&["commit", "-q", "-m", "first"]);
    job.git(&["remote", "add", "origin", "https://me:s3cret@git.example/shop"]);
    std::fs::write(job.home.path("dist/app.tar"), "changed").unwrap();
    let (out, err) = job.good(&["provenance", "--dry-run", "--subject", "dist/app.tar"]);
    assert!(err.contains("files differ from commit") && !err.contains("s3cret"), "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let source = &found["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    assert_eq!(source["uri"], "git+https://git.example/shop@refs/heads/main");
    assert!(source["annotations"]["countersign_uncommitted"].as_u64().unwrap() >= 1);
}

#[test]
fn run_records_what_a_command_finds_and_leaves() {
    let job = Job::new();
    std::fs::write(job.home.path("in.c"), "in").unwrap();
    let options = ["--product", "*.o", "--log", "build.log", "--link", "link.json", "--step", "compile"];
    let command = ["--", "sh", "-c", "echo said; cp in.c in.o; echo x > other"];
    let (out, err) = job.good(&[&["run"][..], &ALONE, &options, &command].concat());
    assert_eq!(out, "said\n");
    assert!(err.contains("SLSA Build level 1") && err.contains("could still change a product"), "{err}");
    assert_eq!(std::fs::read(job.home.path("build.log")).unwrap(), b"said\n");
    let provenance = statement(&job, "provenance.sigstore.json");
    assert_eq!(provenance["subject"].as_array().unwrap().len(), 1);
    assert_eq!(provenance["subject"][0]["name"], "in.o");
    let definition = &provenance["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://countersign.dev/buildtypes/command/v1");
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    assert!(materials.iter().any(|one| one["name"] == "in.c"), "{materials:?}");
    assert_eq!(job.verify("slsaprovenance1", "provenance.sigstore.json", "in.o"), 0);
    assert_eq!(job.verify("slsaprovenance1", "provenance.sigstore.json", "other"), 2);
    let link = "https://in-toto.io/attestation/link/v0.3";
    assert_eq!(statement(&job, "link.json")["predicate"]["name"], "compile");
    assert_eq!(job.verify(link, "link.json", "in.o"), 0);
    // Materials by patterns, and where the bundle lies.
    let fewer = ["--material", "*.h", "--bundle", "own.json", "--", "sh", "-c", "echo y > other"];
    job.good(&[&["run"][..], &ALONE, &fewer].concat());
    let fewer = statement(&job, "own.json");
    assert_eq!(fewer["predicate"]["buildDefinition"]["resolvedDependencies"], Value::Null, "{fewer}");
}

#[test]
fn run_hands_the_exit_code_through_and_signs_nothing_of_a_failure_or_of_nothing() {
    let job = Job::new();
    for (script, code) in
        [("echo x > out; exit 7", 7), ("kill -KILL $$", 137), ("true", 1), ("echo x > a", 1)]
    {
        let options = ["--product", "out*", "--", "sh", "-c", script];
        let (found, _, err) = job.text(&[&["run"][..], &ALONE, &options].concat());
        assert_eq!(found, code, "{script}: {err}");
        assert!(!job.home.path("provenance.sigstore.json").exists(), "{script}");
    }
    for (arguments, told) in [
        (&["--product", "../x", "--", "true"][..], "--product: the pattern"),
        (&["--material", "[a]", "--", "true"], "--material: the pattern"),
        (&["--", "/no/such/program"], "could not be started"),
        (&["--link", "l", "--", "true"], "--step"),
        (&["--log", "no/such/folder/log", "--", "true"], "no/such/folder"),
        (&[], "COMMAND"),
    ] {
        let (code, _, err) = job.text(&[&["run"][..], &ALONE, arguments].concat());
        assert_ne!(code, 0, "{arguments:?}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    // A key that cannot be read is told before the command is run.
    let (code, _, _) = job.text(&["run", "--key", "none.key", "--no-tlog", "--", "sh", "-c", "echo > ran"]);
    assert!(code != 0 && !job.home.path("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn provenance_is_attached_to_images_and_verifies_there() {
    for fake in [Fake::start().await, Fake::old().await] {
        let digest = images::image(&fake.app(), "v1", "content").await;
        let job = Job::of("gitlab-ci");
        let image = format!("{}/app:v1", fake.host);
        let subjects = ["provenance", "--subject", image.as_str(), "dist/app.tar", "-o", "json"];
        let dry = job.good(&[&subjects[..4], &["--dry-run"]].concat()).0;
        assert!(dry.contains(&digest.digest.to_hex()), "{dry}");
        let (out, _) = job.good(&[&subjects[..], &ALONE].concat());
        let found: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&found["schema"], &found["level"]), (&"countersign.provenance".into(), &1.into()));
        let verify = ["verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog", "--type"];
        let (_, err) = job.good(&[&verify[..], &["slsaprovenance1", &image]].concat());
        assert!(err.contains("VERIFIED"), "{err}");
        assert_ne!(job.text(&[&verify[..], &["slsaprovenance02", &image]].concat()).0, 0);
        // One statement about both.
        let beside = "dist/app.tar.provenance.sigstore.json";
        assert_eq!(statement(&job, beside)["subject"].as_array().unwrap().len(), 2);
        assert_eq!(job.verify("slsaprovenance1", beside, "dist/app.tar"), 0);
    }
}
