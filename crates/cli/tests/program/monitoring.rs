//! Following a log: what somebody signs is told once, and a log that forgot what it signed is caught with evidence. Asking
//! it: an answer is complete or says that it is not.

use countersign_crypto::Signer as _;

use serde_json::json;

use crate::api_server::ApiServer;
use crate::support::{Home, Instance};

fn copy(home: &Home, from: &str, to: &str) {
    let status = std::process::Command::new("cp").arg("-r").arg(home.path(from)).arg(home.path(to)).status();
    assert!(status.unwrap().success());
}

pub(crate) struct Bench {
    pub(crate) home: Home,
    pub(crate) instance: Instance,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let instance = Instance::start(&home);
        home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
        Self { home, instance }
    }

    pub(crate) fn sign(&self, file: &str) {
        std::fs::write(self.home.path(file), file).unwrap();
        self.home.good(&["sign", file, "--identity-token", &self.instance.token()]);
    }

    pub(crate) fn monitor(&self, more: &[&str]) -> (i32, String, String) {
        self.home.text(&[&["log", "monitor", "--state", "watch", "--once"], more].concat())
    }

    /// What was stopped goes on with what lies in the directory now.
    pub(crate) fn start_again(&mut self) {
        self.instance = Instance::start_again(&self.home);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_log_restored_from_an_old_copy_is_caught_and_the_evidence_checks_offline() {
    let mut bench = Bench::new();
    bench.instance.stop();
    // Whoever puts it back on purpose takes no mark.
    let file = bench.home.path("instance/countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let unmarked = text.replace("# mark_directory = ", "mark_directory = \"\" # ");
    assert_ne!(unmarked, text);
    std::fs::write(&file, unmarked).unwrap();
    bench.start_again();
    bench.sign("a");
    let alice = ["--watch-identity", "alice@example.com"];
    let (code, out, err) = bench.monitor(&alice);
    assert_eq!((code, out.as_str()), (0, ""), "what was there before is not told: {err}");
    bench.instance.stop();
    copy(&bench.home, "instance", "old");
    bench.start_again();
    bench.sign("b");
    let (code, out, err) = bench.monitor(&alice);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("alice@example.com (") && out.contains("signed sha256:"), "{out}");
    assert_eq!(bench.monitor(&alice).1, "", "told once");
    let kept = bench.home.good(&["log", "checkpoint"]);
    std::fs::write(bench.home.path("theirs.txt"), &kept).unwrap();
    assert_eq!(bench.monitor(&["--seen-by-others", "theirs.txt"]).0, 0);

    // Somebody puts the old copy back, and it goes on from there.
    bench.instance.stop();
    std::fs::remove_dir_all(bench.home.path("instance")).unwrap();
    copy(&bench.home, "old", "instance");
    bench.start_again();
    let (code, out, _) = bench.monitor(&alice);
    assert!(code == 2 && out.contains("it shrank"), "{code} {out}");
    bench.sign("c");
    let server = ApiServer::start().await;
    std::fs::write(bench.home.path("kube.json"), server.kubeconfig("here")).unwrap();
    let ways = ["--alert-file", "told.jsonl", "--alert-event-namespace", "x", "--kubeconfig", "kube.json"];
    let (code, out, err) = bench.monitor(&ways);
    assert!(code == 2 && out.contains("two histories"), "{code} {out} {err}");
    let (code, out, err) = bench.monitor(&alice);
    assert!(code == 2 && out.is_empty() && err.contains("still"), "told once: {out} {err}");
    let told = std::fs::read_to_string(bench.home.path("told.jsonl")).unwrap();
    assert!(told.lines().count() == 1 && told.contains("\"kind\":\"forked\""), "{told}");
    let (_, event) = server.made().remove(0);
    assert_eq!((&event["reason"], &event["type"]), (&json!("LogForked"), &json!("Warning")));
    assert!(event["note"].as_str().unwrap().contains("; evidence: watch/forked-"), "{event}");
    let journal = std::fs::read_to_string(bench.home.path("watch/alerts.jsonl")).unwrap();
    assert_eq!(journal.lines().count(), 3, "{journal}");

    let evidence = std::fs::read_dir(bench.home.path("watch")).unwrap();
    let mut names = evidence.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let forked = format!("watch/{}", names.find(|name| name.starts_with("forked-")).unwrap());
    bench.instance.stop();
    bench.home.good(&["log", "check-fork", &forked, "--key", "instance/keys/log.pub"]);
    let shown = bench.home.good(&["log", "check-fork", &forked, "--output", "json"]);
    assert!(shown.contains("\"origin\": \"localhost\""), "{shown}");
    let (code, out, err) = bench.home.text(&["log", "check-fork", &forked, "--key", "instance/keys/ct.pub"]);
    assert!(code == 2 && out.is_empty() && err.contains("no contradiction"), "{err}");
    // What lies beside the evidence is no evidence.
    std::fs::write(bench.home.path("junk.json"), "junk").unwrap();
    for (file, says) in [
        ("theirs.txt", "it is a checkpoint, not evidence"),
        ("junk.json", "expected a file of countersign.log-evidence in JSON"),
    ] {
        let (code, _, err) = bench.home.text(&["log", "check-fork", file, "--key", "instance/keys/log.pub"]);
        assert!(code == 2 && err.contains(file) && err.contains(says), "{code} {err}");
    }
    // Nobody answers: neither an alarm nor an all-clear.
    assert_eq!(bench.monitor(&[]).0, 6);
}

#[test]
fn an_instance_put_back_whole_from_an_old_copy_is_not_served_unless_marks_are_off() {
    let mut bench = Bench::new();
    bench.instance.stop();
    copy(&bench.home, "instance", "old");
    bench.start_again();
    bench.sign("a");
    bench.instance.stop();
    // The mark lies with whoever runs it, under the log's key: the instance may move.
    std::fs::rename(bench.home.path("instance"), bench.home.path("lost")).unwrap();
    copy(&bench.home, "old", "instance");
    let marks = bench.home.path(".local/state/countersign/marks");
    assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 3, "one for each log");
    let (code, out, err) = bench.home.text(&["serve", "instance", "--dev"]);
    assert!(code != 0 && out.is_empty() && err.contains("the mark in"), "{code} {out} {err}");
    assert!(err.contains("countersign log restore") && err.contains("countersign rotate log"), "{err}");
    // Nor is the copy put back by the command, whatever is brought.
    let old = std::fs::read_to_string(bench.home.path("instance/log/checkpoint")).unwrap();
    std::fs::write(bench.home.path("newest.txt"), old).unwrap();
    bench.home.good(&["log", "backup", "instance", "copy"]);
    std::fs::rename(bench.home.path("instance/log"), bench.home.path("log.old")).unwrap();
    let restore = ["log", "restore", "copy", "instance", "--newest", "newest.txt"];
    let (code, _, err) = bench.home.text(&restore);
    assert!(code == 2 && err.contains("the mark in"), "{code} {err}");
    // `doctor` says where there is no mark, and so does a server, which goes on.
    let warned = |home: &Home| home.text(&["doctor", "lost"]).1.contains("is not marked");
    assert!(!warned(&bench.home));
    std::fs::remove_dir_all(&marks).unwrap();
    assert!(warned(&bench.home));
    bench.home.good(&restore);
    bench.start_again();
    bench.sign("b");
    bench.instance.stop();
    assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 3, "a mark that is missing is made");
    // A place where nothing can be written stops nobody.
    std::fs::remove_dir_all(&marks).unwrap();
    std::fs::write(&marks, "a file").unwrap();
    bench.start_again();
    bench.sign("c");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_an_event_about_the_namespace_that_is_named() {
    const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/watch/events";
    let (bench, server) = (Bench::new(), ApiServer::start().await);
    // The current context is one where nobody answers.
    std::fs::write(bench.home.path("kube.json"), server.kubeconfig("nowhere")).unwrap();
    let named = ["--watch-identity", "ALICE@Example.com", "--alert-event-namespace", "watch"];
    let here = [&named[..], &["--kubeconfig", "kube.json", "--context", "here"]].concat();
    bench.sign("a");
    let (code, out, err) = bench.monitor(&here);
    assert!(code == 0 && out.is_empty() && server.seen().is_empty(), "nothing to tell: {out} {err}");
    bench.sign("b");
    // Busy for a while: it is told again, and once.
    server.busy(2);
    let (code, out, err) = bench.monitor(&here);
    assert!(code == 0 && out.contains("alice@example.com"), "{code} {out} {err}");
    let made = server.made();
    let [(path, event)] = made.as_slice() else { panic!("{made:?} {err}") };
    assert_eq!(path, EVENTS);
    let regarding = json!({"apiVersion": "v1", "kind": "Namespace", "name": "watch", "namespace": "watch"});
    assert_eq!(event["regarding"], regarding);
    assert_eq!((&event["reason"], &event["type"]), (&json!("LogEntryWatched"), &json!("Warning")));
    assert_eq!(event["reportingController"], "countersign.dev/log-monitor");
    let note = event["note"].as_str().unwrap();
    for part in [&bench.instance.url, "alice@example.com", "signed sha256:", "next: if nobody of yours"] {
        assert!(note.contains(part), "{part}: {note}");
    }

    // Whoever is not there, or refuses, could not be told: that is no success, and it is told at the next look.
    bench.sign("c");
    server.forbid("events");
    let (code, _, err) = bench.monitor(&here);
    assert!(code == 6 && err.contains("events is forbidden") && err.contains("alerts were refused"), "{err}");
    bench.sign("d");
    let nowhere = [&named[..], &["--kubeconfig", "kube.json"]].concat();
    let (code, _, err) = bench.monitor(&nowhere);
    assert!(code == 6 && err.contains("alerts could not be sent"), "{err}");
    // Without the sink nobody fails to be told; what waits is not forgotten.
    let (code, _, err) = bench.monitor(&named[..2]);
    assert!(code == 0 && err.contains("alerts wait for a sink that is not named"), "{err}");
    let other = ApiServer::start().await;
    std::fs::write(bench.home.path("kube.json"), other.kubeconfig("here")).unwrap();
    let (code, out, err) = bench.monitor(&here);
    assert!(code == 0 && out.is_empty(), "nothing is new: {code} {out} {err}");
    assert_eq!(bench.monitor(&here).0, 0);
    let journal = std::fs::read_to_string(bench.home.path("watch/alerts.jsonl")).unwrap();
    assert_eq!((journal.lines().count(), server.made().len(), other.made().len()), (3, 1, 2));
}

#[test]
fn an_alert_that_a_webhook_does_not_take_is_kept_and_ends_with_6() {
    let bench = Bench::new();
    let told = ["--watch-identity", "alice@example.com", "--alert-webhook", "http://127.0.0.1:1/"];
    assert_eq!(bench.monitor(&told).0, 0, "nothing to tell");
    bench.sign("a");
    let (code, out, err) = bench.monitor(&told);
    assert!(code == 6 && out.contains("alice@example.com") && err.contains("were not taken"), "{out} {err}");
    // It is told at each look from now on, also when nothing is new.
    let (code, out, err) = bench.monitor(&told);
    assert!(code == 6 && out.is_empty() && err.contains("left=1"), "{out} {err}");
    let file = bench.home.path("watch/untold.json");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let waiting = kept["waiting"]["webhook"].as_array().unwrap();
    assert!(waiting.len() == 1 && waiting[0]["kind"] == "watched", "{kept}");
    // What cannot be read is not taken for nothing.
    std::fs::write(&file, "{}").unwrap();
    let (code, _, err) = bench.monitor(&told);
    assert!(code == 1 && err.contains("untold.json"), "{code} {err}");
}

#[test]
fn each_option_of_a_monitor_that_cannot_be_heard_is_refused() {
    let home = Home::new();
    let instance = Instance::start(&home);
    home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
    let refused = |more: &[&str], part: &str| {
        let (code, out, err) = home.text(&[&["log", "monitor", "--state", "watch"], more].concat());
        assert!(code == 1 && out.is_empty() && err.contains(part), "{more:?}: {code} {err}");
    };
    refused(&["--once", "--interval", "5m"], "--interval");
    refused(&["--interval", "0s"], "none at all");
    refused(&["--timeout", "5s"], "--once");
    refused(
        &[
            "--once",
            "--log",
            "instance/log",
            "--log-key",
            "instance/keys/log.pub",
            "--origin",
            "x",
            "--rekor-v1",
        ],
        "no tiles",
    );
    refused(&["--once", "--watch-key", "none.pub"], "none.pub");
    refused(&["--once", "--watch-digest", "zz"], "--watch-digest: expected sha256:");
    refused(&["--once", "--watch-identity-regexp", "("], "--watch-identity-regexp: the pattern");
    refused(&["--once", "--seen-by-others", "none.txt"], "none.txt");
    refused(&["--once", "--alert-webhook-secret", "none"], "--alert-webhook");
    refused(
        &["--once", "--alert-webhook", "ftp://a.example/"],
        "--alert-webhook: expected an address with https://",
    );
    refused(&["--once", "--alert-webhook", "http://a.example/"], "found http://");
    refused(&["--once", "--kubeconfig", "kube.json"], "--alert-event-namespace");
    refused(&["--once", "--context", "here"], "--alert-event-namespace");
    refused(&["--once", "--alert-event-namespace", "a/b"], "expected a namespace");
    refused(&["--once", "--alert-event-namespace", "x", "--kubeconfig", "none.json"], "none.json");
    refused(&["--once", "--alert-event-namespace", "x"], "or a kubeconfig");
    // A checkpoint of another log is no checkpoint of this one, and that is told.
    std::fs::write(
        home.path("theirs.txt"),
        "other\n1\nJyNfYLcuY/d1y6+0IEX+FY8GcSYhF83hEutTuuVU3SE=\n\n\u{2014} other AAAAAAE=\n",
    )
    .unwrap();
    let (code, _, err) =
        home.text(&["log", "monitor", "--state", "watch", "--once", "--seen-by-others", "theirs.txt"]);
    assert!(code == 2 && err.contains("not a checkpoint of"), "{code} {err}");
    // A witness that is demanded and did not cosign.
    let key = "w.example+";
    let (code, _, err) = home.text(&["log", "monitor", "--state", "watch", "--once", "--witness", key]);
    assert!(code == 1 && err.contains("--witness"), "{code} {err}");
}

#[test]
fn a_search_finds_by_each_term_and_says_for_how_large_a_tree_it_is_complete() {
    let bench = Bench::new();
    bench.sign("a");
    bench.sign("b");
    let search = |more: &[&str]| bench.home.text(&[&["log", "search"], more].concat());
    let (code, out, err) = search(&["--email", "Alice@example.com"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out} {err}");
    assert!(err.contains("complete for a tree of 3 entries"), "{err}");
    assert!(err.contains("and a tree of 1 entry"), "{err}");
    let a = countersign_crypto::HashAlgorithm::Sha256.digest(b"a").to_string();
    let (code, out, _) = search(&["--digest", &a, "--identity", "alice@example.com"]);
    assert!(code == 0 && out.lines().count() == 1 && out.contains(&a), "{out}");
    let key = countersign_crypto::KeyPair::generate(countersign_crypto::KeyType::EcdsaP256).unwrap();
    std::fs::write(bench.home.path("other.pub"), key.public_key().to_pem()).unwrap();
    // Each of these alone makes it find nothing, which is proven too.
    for nothing in [
        ["--email", "mallory@example.com"],
        ["--identity", "https://ci.example/build"],
        ["--issuer", "https://elsewhere.example"],
        ["--repository", "https://git.example/a/b"],
        ["--workflow", "https://git.example/a/b/build.yml@refs/heads/main"],
        ["--key", "other.pub"],
        ["--until", "2020-01-01"],
        ["--since", "2100-01-01"],
    ] {
        let (code, out, err) = search(&[&["--digest", a.as_str()][..], &nothing].concat());
        assert!(code == 3 && out.is_empty() && err.contains("complete for a tree of 3"), "{out} {err}");
    }
    let (code, out, _) = search(&["--email", "alice@example.com", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && json.to_string().contains("\"complete\":true"), "{out}");
    let (code, _, err) = search(&[]);
    assert!(code != 0 && err.contains("nothing to look for"), "{err}");
    let (code, out, err) = search(&["--digest", &a, "--since", "1h", "--until", "2h"]);
    assert!(code == 1 && out.is_empty() && err.contains("until is before since"), "{code} {out} {err}");

    // A key for an index that hides nothing; before a checkpoint commits to an index nothing is said of it.
    std::fs::write(bench.home.path("any.key"), format!("{}\n", "5a".repeat(32))).unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(bench.home.path("any.key"), mode).unwrap();
    let email = ["--email", "alice@example.com"];
    let told = (0..20).find_map(|number| {
        bench.sign(&format!("c{number}"));
        let (code, out, err) = search(&[&email[..], &["--search-key", "any.key"]].concat());
        assert!(code == 0 && err.contains("complete for a tree"), "{out} {err}");
        err.contains("this index hides nothing; --search-key is not needed").then_some(())
    });
    assert!(told.is_some());
    assert!(!search(&email).2.contains("--search-key"), "nobody gave one");
}

#[test]
fn an_index_that_hides_identities_proves_its_answer_to_who_has_its_key_and_to_nobody_else() {
    let mut bench = Bench::new();
    bench.instance.stop();
    let file = bench.home.path("instance/countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let hidden = text.replace("# hide_identities = true", "hide_identities = true");
    assert_ne!(hidden, text);
    std::fs::write(&file, hidden).unwrap();
    bench.start_again();
    bench.sign("a");
    let search = |bench: &Bench, more: &[&str]| bench.home.text(&[&["log", "search"], more].concat());
    let email = ["--email", "alice@example.com"];
    let key = ["--search-key", "instance/keys/search.key"];
    // Until a checkpoint commits to an index that has the entry, it is read from the log itself.
    let number = (0..)
        .find(|number| {
            bench.sign(&format!("b{number}"));
            let (code, out, _) = search(&bench, &[&email[..], &["--output", "json"]].concat());
            assert_eq!(code, 0, "{out}");
            let json: serde_json::Value = serde_json::from_str(&out).unwrap();
            json["logs"][0]["indexSize"].as_u64().unwrap() >= 2
        })
        .unwrap();
    let tree = number + 3;

    let (code, out, err) = search(&bench, &email);
    assert_eq!((code, out.lines().count()), (0, number + 2), "{out} {err}");
    assert!(err.contains("not complete") && err.contains("the log's word"), "{err}");
    assert!(err.contains("--search-key") && err.contains("countersign log find"), "{err}");
    let complete = |out: &str| {
        let json: serde_json::Value = serde_json::from_str(out).unwrap();
        (json["complete"].as_bool().unwrap(), json["missing"].to_string().contains("the log's word"))
    };
    let json = ["--output", "json"];
    let (_, out, _) = search(&bench, &[email, json].concat());
    assert_eq!(complete(&out), (false, true), "{out}");
    let (code, _, err) = search(&bench, &["--email", "nobody@example.com"]);
    assert!(code == 3 && err.contains("not complete"), "{code} {err}");

    // With the key, and for what is not hidden, it is proven.
    let (code, out, err) = search(&bench, &[email, key].concat());
    assert_eq!((code, out.lines().count()), (0, number + 2), "{out} {err}");
    assert!(
        err.contains(&format!("complete for a tree of {tree} entries")) && !err.contains("not complete"),
        "{err}"
    );
    let (_, out, _) = search(&bench, &[email, key, json].concat());
    assert_eq!(complete(&out), (true, false), "{out}");
    let a = countersign_crypto::HashAlgorithm::Sha256.digest(b"a").to_string();
    let (code, _, err) = search(&bench, &["--digest", &a]);
    assert!(code == 0 && err.contains("complete for a tree") && !err.contains("not complete"), "{err}");
    let (code, _, err) = search(&bench, &[&["--email", "nobody@example.com"][..], &key].concat());
    assert!(code == 3 && err.contains("complete for a tree") && !err.contains("not complete"), "{err}");

    // A key that is not the index's, or none at all.
    std::fs::write(bench.home.path("other.key"), format!("{}\n", "5a".repeat(32))).unwrap();
    std::fs::write(bench.home.path("none.key"), "secret").unwrap();
    for path in ["other.key", "none.key"] {
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        std::fs::set_permissions(bench.home.path(path), mode).unwrap();
    }
    for (path, expected) in [
        ("other.key", "ask the log's operator for keys/search.key"),
        ("none.key", "64 hexadecimal digits"),
        ("missing.key", "missing.key"),
    ] {
        let (code, out, err) = search(&bench, &[&email[..], &["--search-key", path]].concat());
        assert!(code == 1 && out.is_empty() && err.contains(expected), "{path}: {code} {out} {err}");
        assert!(!err.contains("5a5a5a5a") && !err.contains("secret"), "{err}");
    }

    // At rest the index is made under the same key; under another it is another.
    bench.instance.stop();
    let out = bench.home.good(&["log", "reindex", "instance"]);
    assert!(out.contains("as the newest checkpoint commits to it"), "{out}");
    std::fs::copy(bench.home.path("other.key"), bench.home.path(key[1])).unwrap();
    let out = bench.home.good(&["log", "reindex", "instance"]);
    assert!(out.contains("another key than the one that the newest checkpoint commits to"), "{out}");
}
