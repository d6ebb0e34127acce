//! A git server of one's own with the two hooks, and people who push to it with plain git.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, left_out};

const REPOSITORY: &str = "git+https://git.example/shop";
const MAIN: &str = "refs/heads/main";

/// A server, and a clone in which alice and bob work.
struct Bench {
    home: Home,
}

/// Whether git is here; says that the test is left out if not.
fn has_git() -> bool {
    let has = Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        left_out("git");
    }
    has
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    /// A server whose settings have this line more.
    fn with(more: &str) -> Self {
        let bench = Self { home: Home::new() };
        for name in ["alice", "bob", "server", "mallory"] {
            bench.home.good(&["generate-key-pair", "--output-key-prefix", name]);
        }
        let settings = format!(
            "repository: {REPOSITORY}\nverifier: https://git.example/source\nbranches: [{MAIN}]\nlog: false\n\
             server: {{key: server.pub}}\npeople:\n- {{name: alice, emails: [alice@example.com], key: alice.pub}}\n\
             - {{name: bob, emails: [bob@example.com], key: bob.pub}}\n{more}"
        );
        std::fs::write(bench.path("source.yaml"), settings).unwrap();
        bench.git(&["init", "-q", "--bare", "server.git"], "alice");
        bench.git(&["init", "-q", "-b", "main", "clone"], "alice");
        bench.git(&["-C", "clone", "remote", "add", "origin", "../server.git"], "alice");
        for (hook, more) in
            [("pre-receive", ""), ("post-receive", " --key server.key --no-tlog --no-timestamp")]
        {
            let path = bench.path(&format!("server.git/hooks/{hook}"));
            let key = more.replace("server.key", &bench.path("server.key").display().to_string());
            let text = format!(
                "#!/bin/sh\nexec {} source hook {hook} --settings {} --actor \"$ACTOR\"{key}\n",
                env!("CARGO_BIN_EXE_countersign"),
                bench.path("source.yaml").display()
            );
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    /// Runs git as a person.
    fn try_git(&self, arguments: &[&str], person: &str) -> (bool, String) {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.home.0.path()).env("HOME", self.home.0.path());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("ACTOR", person).env("COSIGN_PASSWORD", "pw");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), person);
            command.env(format!("GIT_{role}_EMAIL"), format!("{person}@example.com"));
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn git(&self, arguments: &[&str], person: &str) -> String {
        let (good, text) = self.try_git(arguments, person);
        assert!(good, "{arguments:?}: {text}");
        text.trim().to_owned()
    }

    /// A commit of a person; gives its name.
    fn commit(&self, person: &str, text: &str) -> String {
        std::fs::write(self.path("clone/file"), text).unwrap();
        self.git(&["-C", "clone", "add", "file"], person);
        self.git(&["-C", "clone", "commit", "-q", "-m", text], person);
        self.git(&["-C", "clone", "rev-parse", "HEAD"], person)
    }

    fn approve(&self, person: &str, revision: &str, more: &[&str]) {
        self.approve_for(person, revision, MAIN, more);
    }

    fn approve_for(&self, person: &str, revision: &str, branch: &str, more: &[&str]) {
        let key = format!("{person}.key");
        let own = [
            "source",
            "approve",
            revision,
            "--clone",
            "clone",
            "--repository",
            REPOSITORY,
            "--branch",
            branch,
        ];
        let sign = ["--key", &key, "--no-tlog", "--no-timestamp"];
        let arguments = [&own[..], &sign, more].concat();
        let mut command = self.home.command(&arguments);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), person);
            command.env(format!("GIT_{role}_EMAIL"), format!("{person}@example.com"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn push(&self, person: &str, refs: &[&str]) -> (bool, String) {
        self.try_git(&[&["-C", "clone", "push", "-q", "origin"], refs].concat(), person)
    }

    fn refused(&self, person: &str, refs: &[&str], code: &str) {
        let (good, text) = self.push(person, refs);
        assert!(!good, "{refs:?} was let in");
        assert!(text.contains(&format!("({code})")), "expected {code}: {text}");
    }

    /// A change of alice's that bob approves, pushed by alice.
    fn reviewed(&self, text: &str) -> String {
        let commit = self.commit("alice", text);
        self.approve("bob", "HEAD", &[]);
        let (good, out) = self.push("alice", &["main", "refs/notes/reviews"]);
        assert!(good, "{out}");
        commit
    }

    /// The statements of the server on a commit.
    fn statements(&self, commit: &str) -> Vec<Value> {
        let text = self
            .git(&["-C", "server.git", "notes", "--ref", "refs/notes/attestations", "show", commit], "alice");
        let statement = |line: &str| {
            let bundle: Value = serde_json::from_str(line).unwrap();
            let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
            let bytes = countersign_crypto::encoding::base64_decode(payload).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        text.lines().filter(|line| !line.is_empty()).map(statement).collect()
    }
}

#[test]
fn a_reviewed_change_is_let_in_and_written_down() {
    if !has_git() {
        return;
    }
    let organisation = "organisation: [SLSA_SOURCE_ORG_SCS, SLSA_SOURCE_ORG_ACCESS_CONTROL, SLSA_SOURCE_ORG_SAFE_EXPUNGE, \
                        SLSA_SOURCE_ORG_CONTINUITY]\n";
    let bench = Bench::with(organisation);
    let first = bench.reviewed("one");
    let said = bench.statements(&first);
    assert_eq!(said.len(), 2);
    assert_eq!(said[0]["subject"][0]["digest"]["gitCommit"], first.as_str());
    assert_eq!(said[0]["predicate"]["actor"], "alice");
    assert_eq!(said[1]["predicate"]["verifiedLevels"][0], "SLSA_SOURCE_LEVEL_4");
    assert_eq!(said[1]["predicate"]["resourceUri"], REPOSITORY);
    let since = |said: &[Value], name: &str| {
        let controls = said[0]["predicate"]["controls"].as_array().unwrap();
        controls.iter().find(|one| one["name"] == name).map(|one| one["since"].clone())
    };
    let review = "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW";
    let beginning = since(&said, review).unwrap();

    // What holds is carried on from revision to revision.
    let second = bench.reviewed("two");
    let said = bench.statements(&second);
    assert_eq!(said[0]["predicate"]["prev_commit"], first.as_str());
    assert_eq!(since(&said, review), Some(beginning));

    // A tag is written down with the levels of its commit, and the assessment reads all of it.
    bench.git(&["-C", "clone", "tag", "v1"], "alice");
    assert!(bench.push("alice", &["v1"]).0);
    let tag = bench.statements(&second).pop().unwrap();
    assert_eq!(tag["predicate"]["vsa_summaries"][0]["verifiedLevels"][0], "SLSA_SOURCE_LEVEL_4");
    std::fs::write(bench.path("w.yml"), "on: push\njobs:\n  a: {runs-on: x, steps: [{run: echo}]}\n")
        .unwrap();
    let assess = ["slsa", "assess", "--workflow", "w.yml", "--clone", "server.git", "--commit", &second];
    let trusting = ["--insecure-ignore-tlog", "--require", "v1.2-source=4", "--format", "json"];
    let (code, out, err) = bench.home.text(&[&assess[..], &trusting, &["--key", "server.pub"]].concat());
    assert_eq!(code, 0, "{err}\n{out}");
    let (code, ..) = bench.home.text(&[&assess[..], &trusting, &["--key", "mallory.pub"]].concat());
    assert_eq!(code, 2, "signed by another");
    let (code, ..) = bench.home.text(&[&assess[..], &trusting].concat());
    assert_eq!(code, 2, "nobody is named whose word counts");
}

#[test]
fn what_two_people_did_not_agree_to_is_refused() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    bench.commit("alice", "one");
    bench.refused("alice", &["main"], "not_reviewed");
    bench.approve("alice", "HEAD", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");
    bench.approve("mallory", "HEAD", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");

    // Bob approves one revision; what is pushed is another.
    bench.approve("bob", "HEAD", &[]);
    bench.commit("alice", "two");
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");
    // For another branch of it.
    bench.approve_for("bob", "HEAD", "refs/heads/release/1", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");
    // Bob cannot push his own approval as somebody who only reviews.
    bench.approve("bob", "HEAD", &[]);
    bench.refused("bob", &["main", "refs/notes/reviews"], "not_reviewed");
    // Nobody knows who pushes: the name in a commit is a claim.
    bench.refused("", &["main", "refs/notes/reviews"], "author_unknown");
    let (good, text) = bench.push("alice", &["main", "refs/notes/reviews"]);
    assert!(good, "{text}");
}

#[test]
fn a_rejection_is_not_taken_away_and_a_pushed_topic_hides_no_author() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    bench.reviewed("one");
    // The commits of bob are on the server already, on a branch that is not protected.
    bench.commit("bob", "two");
    assert!(bench.push("bob", &["HEAD:refs/heads/topic"]).0);
    bench.approve("bob", "HEAD", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");

    bench.commit("alice", "three");
    bench.git(&["-C", "clone", "reset", "-q", "--soft", "origin/main"], "alice");
    bench.git(&["-C", "clone", "commit", "-q", "-m", "squashed"], "alice");
    bench.approve("bob", "HEAD", &["--reject"]);
    assert!(bench.push("bob", &["refs/notes/reviews"]).0);
    bench.approve("bob", "HEAD", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "not_reviewed");
    bench.git(&["-C", "clone", "update-ref", "-d", "refs/notes/reviews"], "alice");
    bench.approve("bob", "HEAD", &[]);
    bench.refused("alice", &["main", "+refs/notes/reviews"], "not_fast_forward");

    // Nor by a further commit of notes, nor by notes of which it is claimed that there were none before.
    bench.git(&["-C", "clone", "fetch", "-q", "origin", "+refs/notes/reviews:refs/notes/reviews"], "alice");
    bench.git(&["-C", "clone", "notes", "--ref", "refs/notes/reviews", "remove", "HEAD"], "alice");
    bench.approve("bob", "HEAD", &[]);
    bench.refused("alice", &["main", "refs/notes/reviews"], "review_lost");
    assert!(bench.push("alice", &["HEAD:refs/heads/topic", "refs/notes/reviews:refs/notes/own", "-f"]).0);
    let id = |name: &str| bench.git(&["-C", "server.git", "rev-parse", name], "alice");
    let (old, new, notes) = (id("refs/heads/main"), id("refs/heads/topic"), id("refs/notes/own"));
    let pushed = format!("{old} {new} {MAIN}\n{} {notes} refs/notes/reviews\n", "0".repeat(old.len()));
    std::fs::write(bench.path("pushed"), pushed).unwrap();
    let hook = ["source", "hook", "pre-receive", "--settings", "source.yaml", "--repository", "server.git"];
    let mut command = bench.home.command(&[&hook[..], &["--actor", "alice"]].concat());
    let output = command.stdin(std::fs::File::open(bench.path("pushed")).unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("(not_reviewed)"), "{text}");
}

#[test]
fn what_the_first_hook_would_refuse_is_not_written_down_by_the_second() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    bench.reviewed("one");
    let hook = bench.path("server.git/hooks/pre-receive");
    let away = bench.path("pre-receive");
    std::fs::rename(&hook, &away).unwrap();
    let alone = bench.commit("alice", "two");
    let (good, text) = bench.push("alice", &["main"]);
    assert!(good && text.contains("not written down") && text.contains("(not_reviewed)"), "{text}");
    let show = ["-C", "server.git", "notes", "--ref", "refs/notes/attestations", "show", &alone];
    assert!(!bench.try_git(&show, "alice").0, "a level that nobody has seen");
    std::fs::rename(&away, &hook).unwrap();

    // A tag that comes with its commit has the levels of it.
    let commit = bench.commit("alice", "three");
    bench.approve("bob", "HEAD", &[]);
    bench.git(&["-C", "clone", "tag", "v3"], "alice");
    let (good, text) = bench.push("alice", &["v3", "main", "refs/notes/reviews"]);
    assert!(good, "{text}");
    let tag = bench.statements(&commit).pop().unwrap();
    assert_eq!(tag["predicate"]["tag"], "refs/tags/v3");
    let levels = tag["predicate"]["vsa_summaries"][0]["verifiedLevels"].as_array().unwrap();
    assert!(levels.contains(&"SLSA_SOURCE_SCS_TWO_PARTY_REVIEW".into()), "{tag:#}");
}

#[test]
fn a_second_name_of_a_protected_branch_is_no_way_into_it() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    let first = bench.reviewed("one");
    bench.git(&["-C", "server.git", "symbolic-ref", "refs/heads/master", MAIN], "alice");
    bench.commit("alice", "two");
    bench.refused("alice", &["HEAD:refs/heads/master"], "symbolic");
    assert_eq!(bench.git(&["-C", "server.git", "rev-parse", MAIN], "alice"), first);
    bench.refused("alice", &[&format!("HEAD:refs/replace/{first}")], "replaces");
}

#[test]
fn force_pushes_moved_tags_and_foreign_notes_are_refused() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    let first = bench.reviewed("one");
    bench.git(&["-C", "clone", "tag", "v1"], "alice");
    assert!(bench.push("alice", &["v1"]).0);
    let second = bench.reviewed("two");

    bench.git(&["-C", "clone", "reset", "-q", "--hard", &first], "alice");
    let other = bench.commit("alice", "other");
    bench.approve("bob", "HEAD", &[]);
    bench.refused("alice", &["+main", "refs/notes/reviews"], "not_fast_forward");
    bench.refused("alice", &[":main"], "deleted");
    bench.git(&["-C", "clone", "tag", "-f", "v1", &second], "alice");
    bench.refused("alice", &["+v1"], "tag_moved");
    bench.refused("alice", &[":refs/tags/v1"], "tag_deleted");
    bench.refused("alice", &["+HEAD:refs/notes/attestations"], "own_ref");
    assert!(bench.push("alice", &["+HEAD:refs/heads/topic"]).0, "what is not protected is free: {other}");
}

#[test]
fn settings_that_protect_nothing_are_refused() {
    let bench = Home::new();
    bench.good(&["generate-key-pair", "--output-key-prefix", "a"]);
    let good = "repository: r\nverifier: https://v\nbranches: [refs/heads/main]\nlog: false\nserver: {key: a.pub}\n\
                people: [{name: a, key: a.pub}, {name: b, key: a.pub}]\n";
    for (from, to, what) in [
        ("[refs/heads/main]", "[]", "protected branches"),
        ("[refs/heads/main]", "[main]", "whole name"),
        ("[refs/heads/main]", "[refs/*/main]", "whole name"),
        ("[refs/heads/main]", "[refs/tags/v1]", "refs/heads/"),
        ("log: false", "log: true", "trustedRoot"),
        ("log: false", "reviewers: 2\nlog: false", "at least 3"),
        ("{name: b", "{name: a", "twice"),
        ("server: {key: a.pub}", "server: {}", "expected key"),
        ("log: false", "log: false\nsomething: 1", "something"),
        ("log: false", "log: false\norganisation: [SLSA_SOURCE_SCS_VSA]", "SLSA_SOURCE_ORG_"),
        ("key: a.pub}, {", "key: missing.pub}, {", "missing.pub"),
    ] {
        assert!(good.contains(from));
        std::fs::write(bench.path("s.yaml"), good.replacen(from, to, 1)).unwrap();
        let (code, _, err) = bench.text(&["source", "hook", "pre-receive", "--settings", "s.yaml"]);
        assert_eq!(code, 1, "{to}");
        assert!(err.contains(what), "{to}: {err}");
    }
}
