//! `countersign scan --watch` as its users run it: it goes on, tells what changed, and ends when told.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::images;
use crate::registry::{Fake, answer};
use crate::support::{Home, Instance};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A scan that goes on, ended when dropped.
pub(crate) struct Watch {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
    });
    lines
}

impl Watch {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let all = [&["scan", "control", "C-0237", "--watch", "--interval", "1s"][..], arguments].concat();
        Self::of(home, &all)
    }

    /// That verifies the signatures in the directory `deploy`, once in an hour unless something else is to be obeyed.
    fn verifying(home: &Home, trusted: &Value, arguments: &[&str]) -> Self {
        std::fs::write(home.path("controls.json"), json!({"settings": trusted}).to_string()).unwrap();
        let all = ["scan", "control", "C-0236", "--watch", "--interval", "1h", "--format", "json", "deploy"];
        Self::of(home, &[&all[..], &["--controls-config", "controls.json"], arguments].concat())
    }

    pub(crate) fn of(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    /// The next alert.
    pub(crate) fn alert(&self) -> Value {
        let line = self
            .out
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{:?}", self.err.try_iter().collect::<Vec<_>>()));
        serde_json::from_str(&line).unwrap()
    }

    /// The next change: the workload, what was, what is.
    fn change(&self) -> (String, Value, Value) {
        let alert = self.alert();
        assert_eq!(alert["changes"].as_array().unwrap().len(), 1, "{alert}");
        let change = &alert["changes"][0];
        (alert["workload"]["name"].as_str().unwrap().to_owned(), change["was"].clone(), change["is"].clone())
    }

    pub(crate) fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn deployment(name: &str, image: &str) -> String {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}})
    .to_string()
}

async fn bench() -> (Fake, Home) {
    let fake = Fake::start().await;
    for tag in ["signed", "unsigned"] {
        images::image(&fake.app(), tag, tag).await;
    }
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", &format!("{}/app:signed", fake.host)]);
    std::fs::create_dir(home.path("deploy")).unwrap();
    let signed = deployment("web", &format!("{}/app:signed", fake.host));
    std::fs::write(home.path("deploy/web.json"), signed).unwrap();
    (fake, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn k16_a_signature_that_is_deleted_while_it_is_watched_is_told_and_so_is_its_return() {
    let (fake, home) = bench().await;
    let watch = Watch::start(
        &home,
        &["--format", "json", "--metrics-listen", "127.0.0.1:0", "--alert-file", "changes.jsonl", "deploy"],
    );
    let told = watch.err.recv_timeout(PATIENCE).unwrap();
    let url = told.strip_prefix("metrics at ").unwrap().to_owned();
    let page = async || {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    while !page().await.contains("countersign_continuous_workloads{status=\"passed\"} 1") {
        tokio::task::yield_now().await;
    }
    fake.lie(|seen| {
        let evidence = seen.path.contains("/referrers/") || seen.path.contains("/manifests/sha256-");
        evidence.then(|| answer(404, &[], "{}"))
    });
    assert_eq!(watch.change(), ("web".into(), "passed".into(), "failed".into()));
    fake.lie(|_| None);
    assert_eq!(watch.change(), ("web".into(), "failed".into(), "passed".into()));
    assert!(
        page().await.contains("countersign_continuous_changes_total{control=\"C-0237\",status=\"failed\"} 1")
    );
    assert_eq!(watch.stop(), Some(0));
    let written = std::fs::read_to_string(home.path("changes.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 2, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_exceptions_are_read_again() {
    let (fake, home) = bench().await;
    std::fs::write(home.path("exceptions.json"), "[]").unwrap();
    let watch = Watch::start(&home, &["--format", "json", "--exceptions", "exceptions.json", "deploy"]);
    let unsigned = deployment("bad", &format!("{}/app:unsigned", fake.host));
    std::fs::write(home.path("deploy/bad.json"), unsigned).unwrap();
    assert_eq!(watch.change(), ("bad".into(), Value::Null, "failed".into()));
    let exceptions = json!([{"name": "known", "actions": ["alertOnly"],
        "resources": [{"designatorType": "Attributes", "attributes": {"name": "bad"}}],
        "posturePolicies": [{"controlID": "C-0237"}]}]);
    std::fs::write(home.path("exceptions.json"), exceptions.to_string()).unwrap();
    assert_eq!(watch.change(), ("bad".into(), "failed".into(), "passed".into()));
    // What cannot be used leaves what held before.
    std::fs::write(home.path("exceptions.json"), "[{").unwrap();
    let said = watch.err.recv_timeout(PATIENCE).unwrap();
    assert!(said.contains("what held before goes on"), "{said}");
    std::fs::write(home.path("exceptions.json"), "[]").unwrap();
    assert_eq!(watch.change(), ("bad".into(), "passed".into(), "failed".into()));
    std::fs::remove_file(home.path("deploy/bad.json")).unwrap();
    assert_eq!(watch.change(), ("bad".into(), "failed".into(), "gone".into()));
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_a_file_is_obeyed_as_soon_as_it_is_another_one() {
    let (_fake, home) = bench().await;
    home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    let place = ["--list", "bad.json", "--sign-with", "soc.key", "--reason", "leaked", "--by", "soc"];
    let revoke = |what: &[&str]| home.good(&[&["revoke"], what, &place].concat());
    revoke(&["--key", "soc.pub"]);
    std::fs::copy(home.path("bad.json"), home.path("first.json")).unwrap();
    let key = std::fs::read_to_string(home.path("cosign.pub")).unwrap();
    let trusted = json!({"postureControlInputs": {"trustedCosignPublicKeys": [key]},
        "countersign": {"transparencyLog": false}});
    let watch =
        Watch::verifying(&home, &trusted, &["--revocations", "bad.json", "--revocation-key", "soc.pub"]);
    revoke(&["--key", "cosign.pub"]);
    let (name, _, is) = watch.change();
    assert_eq!((name, is), ("web".into(), "failed".into()));
    revoke(&["undo", "2"]);
    assert_eq!(watch.change(), ("web".into(), "failed".into(), "passed".into()));
    // An old one that is put back is told, and what held before goes on.
    std::fs::copy(home.path("first.json"), home.path("bad.json")).unwrap();
    let said = watch.err.recv_timeout(PATIENCE).unwrap();
    assert!(said.contains("expected number 3 or more, found 1"), "{said}");
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_instance_revokes_is_obeyed_long_before_the_next_turn() {
    let (fake, home) = bench().await;
    let instance = Instance::start(&home);
    home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
    images::image(&fake.app(), "keyless", "keyless").await;
    let image = format!("{}/app:keyless", fake.host);
    home.good(&["sign", &image, "--identity-token", &instance.token()]);
    std::fs::write(home.path("deploy/web.json"), deployment("web", &image)).unwrap();
    let issuer = format!("{}/development-identity-provider", instance.url.trim_end_matches('/'));
    let watch = Watch::verifying(
        &home,
        &json!({"countersign": {"trustedIdentities": [{"subject": "alice@example.com", "issuer": issuer}]}}),
        &[],
    );
    let place = ["--dir", "instance", "--reason", "stolen", "--by", "bob"];
    home.good(&[&["revoke", "--identity", "alice@example.com"][..], &place].concat());
    home.forget_when_revocations_were_checked();
    let (name, _, is) = watch.change();
    assert_eq!((name, is), ("web".into(), "failed".into()));
    home.good(&[&["revoke", "undo", "1"][..], &place].concat());
    home.forget_when_revocations_were_checked();
    assert_eq!(watch.change(), ("web".into(), "failed".into(), "passed".into()));
    assert_eq!(watch.stop(), Some(0));
}

#[test]
fn what_cannot_be_watched_or_told_is_refused_at_once() {
    let home = Home::new();
    std::fs::write(home.path("web.json"), deployment("web", "r.example/a:1")).unwrap();
    std::fs::write(home.path("empty"), "\n").unwrap();
    for (arguments, expected) in [
        (&["scan", "--alert-file", "a", "web.json"][..], "--alert-file is for changes, which --watch tells"),
        (&["scan", "--alert-webhook", "https://a.example", "web.json"], "--alert-webhook is for changes"),
        (&["scan", "--alert-unchecked-after", "1m", "web.json"], "--alert-unchecked-after is for changes"),
        (&["scan", "--verify-rate", "1", "web.json"], "--verify-rate is for changes"),
        (&["scan", "--interval", "1m", "web.json"], "--watch"),
        (&["scan", "--metrics-listen", "127.0.0.1:0", "web.json"], "--watch"),
        (&["scan", "--reports", "auto", "web.json"], "--watch"),
        (&["scan", "--watch", "--reports", "auto", "web.json"], "--reports is for what a cluster runs"),
        (&["scan", "--watch", "-"], "standard input cannot be read again"),
        (&["scan", "--watch", "--interval", "0s", "web.json"], "expected an interval"),
        (&["scan", "--watch", "--format", "sarif", "web.json"], "pretty or json"),
        (&["scan", "--watch", "--output", "a", "web.json"], "--output"),
        (&["scan", "--watch", "--severity-threshold", "low", "web.json"], "--severity-threshold"),
        (&["scan", "--watch", "--timeout", "1m", "web.json"], "--timeout is not for --watch"),
        (&["scan", "--watch", "missing.json"], "missing.json"),
        (&["scan", "image", "--watch", "r.example/a:1"], "--watch is not for images"),
        (&["scan", "workload", "--watch", "Deployment/a"], "--watch is not for one workload"),
        (&["scan", "control", "C-0237", "--watch", "--cluster-policies", "--kubeconfig", "none"], "none"),
        (&["scan", "--watch", "--alert-webhook-secret", "web.json", "web.json"], "is for --alert-webhook"),
        (
            &[
                "scan",
                "--watch",
                "--alert-webhook",
                "https://a.example",
                "--alert-webhook-secret",
                "empty",
                "web.json",
            ],
            "expected a secret",
        ),
        (&["scan", "--watch", "--alert-email", "a@b.example", "web.json"], "--alert-smtp"),
        (&["scan", "--watch", "--alert-smtp", "smtp://127.0.0.1", "web.json"], "--alert-email"),
        (
            &["scan", "--watch", "--alert-email", "nobody", "--alert-smtp", "smtp://127.0.0.1", "web.json"],
            "expected an e-mail address",
        ),
        (
            &[
                "scan",
                "--watch",
                "--alert-email",
                "a@b.example",
                "--alert-smtp",
                "https://a.example",
                "web.json",
            ],
            "expected smtps://",
        ),
        (
            &[
                "scan",
                "--watch",
                "--alert-email",
                "a@b.example",
                "--alert-smtp",
                "smtp://127.0.0.1",
                "--alert-email-from",
                "x",
                "web.json",
            ],
            "expected an e-mail address",
        ),
        (
            &[
                "scan",
                "--watch",
                "--alert-email",
                "a@b.example",
                "--alert-smtp",
                "smtp://127.0.0.1",
                "--alert-smtp-user",
                "me",
                "web.json",
            ],
            "needs a password",
        ),
        (
            &[
                "scan",
                "--watch",
                "--alert-email",
                "a@b.example",
                "--alert-smtp",
                "smtp://127.0.0.1",
                "--alert-smtp-user",
                "me",
                "--alert-smtp-password",
                "empty",
                "web.json",
            ],
            "expected a secret",
        ),
        (
            &["scan", "--watch", "--alert-webhook", "ftp://a.example", "web.json"],
            "--alert-webhook: expected an address with https://",
        ),
        (&["admission", "serve", "--policy", "p.yaml", "--reverify", "10m"], "--cluster"),
        (&["admission", "serve", "--cluster", "--reverify", "10ms"], "at least 1s"),
        (
            &["admission", "serve", "--cluster", "--reverify", "10m", "--alert-webhook", "ftp://a.example"],
            "--alert-webhook: expected an address with https://",
        ),
        (&["admission", "serve", "--cluster", "--reports", "off"], "--reverify"),
        (&["admission", "serve", "--cluster", "--reverify", "10m", "--reports", "all"], "policyreport"),
        (
            &["admission", "serve", "--cluster", "--alert-file", "a"],
            "--alert-file is for changes of what runs, which --reverify tells",
        ),
    ] {
        let (code, _, err) = home.text(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}
