//! The admission webhook as it is run.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::images;
use crate::policy::revoke_key;
use crate::registry::{Fake, answer};
use crate::support::Home;
use reqwest::{Certificate, Client};
use serde_json::{Value, json};

/// A webhook that runs, ended when dropped.
struct Webhook {
    child: Child,
    bundle: String,
    url: String,
}

impl Webhook {
    fn start(home: &Home, more: &[&str]) -> Self {
        let command =
            ["admission", "serve", "--policy", "policies", "--listen", "127.0.0.1:0", "--print-ca-bundle"];
        let mut child = home
            .command(&[&command[..], more].concat())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(home.path("webhook.log")).unwrap())
            .spawn()
            .unwrap();
        let mut bundle = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(url) = line.strip_prefix("serving ") {
                return Self { child, bundle, url: url.to_owned() };
            }
            bundle.push_str(&line);
            bundle.push('\n');
        }
        panic!("the webhook did not start: {:?}", child.wait());
    }

    fn client(&self) -> Client {
        let roots = Certificate::from_pem_bundle(self.bundle.as_bytes()).unwrap();
        Client::builder().no_proxy().tls_certs_only(roots).build().unwrap()
    }

    async fn admits(&self, image: &str) -> bool {
        let (status, answer) = self.ask(&review(image), "10s").await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["response"]["allowed"].as_bool().unwrap()
    }

    async fn ask(&self, review: &Value, timeout: &str) -> (u16, String) {
        let url = format!("{}/mutate?timeout={timeout}", self.url);
        let answer = self.client().post(url).body(review.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn review(image: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "CronJob"}, "namespace": "shop", "operation": "CREATE",
        "object": {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": {"jobTemplate":
            {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}}}}})
}

fn policy(home: &Home, host: &str, key: &str) -> String {
    let pem = std::fs::read_to_string(home.path(key)).unwrap();
    json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": [format!("{host}/**")], "signedBy": {"key": pem},
            "require": {"transparencyLog": false}}})
    .to_string()
}

/// A registry with `app:v1`, signed by `cosign.key`, and `app:unsigned`; and a policy by that key.
async fn bench() -> (Fake, Home) {
    let fake = Fake::start().await;
    images::image(&fake.app(), "v1", "content").await;
    images::image(&fake.app(), "unsigned", "other content").await;
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", &format!("{}/app:v1", fake.host)]);
    std::fs::create_dir(home.path("policies")).unwrap();
    std::fs::write(home.path("policies/own.yaml"), policy(&home, &fake.host, "cosign.pub")).unwrap();
    (fake, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_answered_by_the_policies_of_files_as_they_are_now() {
    let (fake, home) = bench().await;
    let (signed, unsigned) = (format!("{}/app:v1", fake.host), format!("{}/app:unsigned", fake.host));
    let webhook = Webhook::start(&home, &[]);
    assert!(webhook.admits(&signed).await && !webhook.admits(&unsigned).await);

    std::fs::write(home.path("policies/own.yaml"), policy(&home, &fake.host, "other.pub")).unwrap();
    while webhook.admits(&signed).await {}
    // What is wrong in a file leaves what held before: the next good one shows that it was read.
    std::fs::write(home.path("policies/own.yaml"), "kind: [").unwrap();
    std::fs::write(home.path("policies/more.yaml"), policy(&home, &fake.host, "cosign.pub")).unwrap();
    assert!(!webhook.admits(&unsigned).await);
    std::fs::remove_file(home.path("policies/own.yaml")).unwrap();
    while !webhook.admits(&signed).await {}
    assert!(!webhook.admits(&unsigned).await);
    assert_eq!(webhook.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_exempt_only_when_that_is_said() {
    let (fake, home) = bench().await;
    let unsigned = format!("{}/app:unsigned", fake.host);
    for (more, admitted) in [
        (&["--exempt-namespace", "shop"][..], true),
        (&["--exempt-namespace", "shops"], false),
        (&["--namespace", "shop"], true),
    ] {
        assert_eq!(Webhook::start(&home, more).admits(&unsigned).await, admitted, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_kept_where_that_is_said_and_names_are_those_that_are_given() {
    let (_fake, home) = bench().await;
    let health = |webhook: &Webhook| webhook.client().get(format!("{}/healthz", webhook.url)).send();
    let first = Webhook::start(&home, &["--tls-dir", "tls"]);
    let bundle = first.bundle.clone();
    assert!(health(&first).await.is_ok());
    assert_eq!(first.stop(), Some(0));
    let again = Webhook::start(&home, &["--tls-dir", "tls"]);
    assert_eq!(again.bundle, bundle);
    assert_ne!(Webhook::start(&home, &[]).bundle, bundle);
    let named = Webhook::start(&home, &["--tls-name", "webhook.example"]);
    assert!(health(&named).await.is_err(), "reached by another name");
    assert!(health(&Webhook::start(&home, &["--tls-name", "127.0.0.1"])).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_be_obeyed_is_refused() {
    let (_fake, home) = bench().await;
    std::fs::write(home.path("wrong.yaml"), "apiVersion: v1\nkind: [").unwrap();
    let serve = ["admission", "serve", "--policy", "policies", "--listen", "127.0.0.1:0"];
    for (more, word) in [
        (&["--registry-token", "x"][..], "--registry-token"),
        (&["--registry-username", "x", "--registry-password", "y"], "--registry-username"),
        (&["--registry-token-server", "x"], "--registry-token-server"),
        (&["--repository", "x"], "--repository"),
        (&["--timeout", "3s"], "--timeout"),
        (&["--kubeconfig", "x"], "--cluster"),
        (&["--cluster", "--kubeconfig", "none"], "kubeconfig"),
        (&["--policy-controller-namespace", "x"], "--cluster"),
        (&["--no-match-policy", "perhaps"], "--no-match-policy"),
        (&["--max-review-memory", "7"], "--max-review-memory"),
        (&["--policy", "wrong.yaml"], "wrong.yaml"),
        (&["--policy", "nowhere.yaml"], "nowhere.yaml"),
        (&["--trusted-root", "nowhere.json"], "nowhere.json"),
    ] {
        let (code, out, err) = home.text(&[&serve[..], more].concat());
        assert!(code != 0 && err.contains(word) && out.is_empty(), "{more:?}: {code} {err}");
    }
    let (code, _, err) = home.text(&["admission", "serve"]);
    assert!(code == 1 && err.contains("--policy"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_kyverno_hold_in_the_namespaces_that_are_named() {
    let (fake, home) = bench().await;
    let unsigned = format!("{}/app:unsigned", fake.host);
    let pem = std::fs::read_to_string(home.path("cosign.pub")).unwrap();
    let policy = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "own"},
        "spec": {"validationFailureAction": "Enforce", "rules": [{"name": "signed",
            "match": {"any": [{"resources": {"kinds": ["CronJob"]}}]},
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keys": {"publicKeys": pem}}]}]}]}]}});
    let exception = json!({"apiVersion": "kyverno.io/v2", "kind": "PolicyException",
        "metadata": {"name": "late", "namespace": "platform"},
        "spec": {"exceptions": [{"policyName": "own", "ruleNames": ["signed"]}],
            "match": {"any": [{"resources": {"kinds": ["CronJob"]}}]}}});
    std::fs::write(home.path("policies/own.yaml"), format!("{policy}\n---\n{exception}\n")).unwrap();
    for (more, admitted) in [
        (&[][..], false),
        (&["--exception-namespace", "shop"], false),
        (&["--exception-namespace", "plat*"], true),
    ] {
        assert_eq!(Webhook::start(&home, more).admits(&unsigned).await, admitted, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_no_cluster_image_policy_is_about_are_treated_as_is_said() {
    let (fake, home) = bench().await;
    let pem = std::fs::read_to_string(home.path("cosign.pub")).unwrap();
    let policy = json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
        "metadata": {"name": "own"}, "spec": {"images": [{"glob": "r.example/**"}],
            "authorities": [{"key": {"data": pem}}]}});
    std::fs::write(home.path("policies/own.yaml"), policy.to_string()).unwrap();
    let other = format!("{}/app:v1", fake.host);
    for (more, admitted, warned) in [
        (&[][..], true, false),
        (&["--no-match-policy", "deny"], false, false),
        (&["--no-match-policy", "warn"], true, true),
        (&["--no-match-policy", "allow"], true, false),
    ] {
        let (_, answer) = Webhook::start(&home, more).ask(&review(&other), "10s").await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["response"]["allowed"], admitted, "{more:?} {answer}");
        assert_eq!(answer["response"]["warnings"].is_array(), warned, "{more:?} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_form_that_is_asked_for_and_the_name_is_the_services() {
    let (_fake, home) = bench().await;
    for (more, json) in [(&[][..], false), (&["--log-format", "json"], true)] {
        let webhook = Webhook::start(&home, more);
        assert_eq!(webhook.stop(), Some(0));
        let log = std::fs::read_to_string(home.path("webhook.log")).unwrap();
        let line = log.lines().find(|line| line.contains("policies hold")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(line).is_ok(), json, "{line}");
    }
    for (more, host) in [
        (&[][..], "countersign-admission.countersign.svc"),
        (&["--name", "gate"], "gate.countersign.svc"),
        (&["--namespace", "security"], "countersign-admission.security.svc"),
    ] {
        let webhook = Webhook::start(&home, more);
        let address = webhook.url.strip_prefix("https://").unwrap().parse().unwrap();
        let roots = Certificate::from_pem_bundle(webhook.bundle.as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only(roots).resolve(host, address);
        let url = format!("https://{host}:{}/healthz", address.port());
        assert_eq!(client.build().unwrap().get(url).send().await.unwrap().status(), 200, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_taken_at_once_than_is_said() {
    let (_fake, home) = bench().await;
    // A registry that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    std::fs::write(home.path("policies/own.yaml"), policy(&home, &host, "cosign.pub")).unwrap();
    let mut large = review(&format!("{host}/app:v1"));
    large["request"]["object"]["metadata"]["annotations"] = json!({"a": "b".repeat(5 << 20)});
    for (more, expected) in [
        (&[][..], (200, "no answer within the time")),
        (&["--max-reviews", "1"], (200, "--max-reviews")),
        (&["--max-review-memory", "8"], (503, "--max-review-memory")),
    ] {
        let webhook = Webhook::start(&home, more);
        let waiting = webhook.ask(&large, "20s");
        let asked = async {
            // The first is under way when its image is asked for.
            let _first = silent.accept().await.unwrap();
            webhook.ask(&large, "1s").await
        };
        tokio::pin!(waiting);
        let (status, answer) = tokio::select! {
            answer = &mut waiting => panic!("the first has no answer yet: {answer:?}"),
            answered = asked => answered,
        };
        assert!((status, answer.contains(expected.1)) == (expected.0, true), "{more:?} {status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_lists_of_files_and_addresses_are_obeyed_as_they_are_now() {
    let (fake, home) = bench().await;
    let signed = format!("{}/app:v1", fake.host);
    revoke_key(&home, "other.pub");
    let key = ["--revocation-key", "soc.pub"];
    let webhook =
        Webhook::start(&home, &[&key[..], &["--revocations", "bad.json", "--tls-dir", "tls"]].concat());
    assert!(webhook.admits(&signed).await, "another key is revoked");
    let first = std::fs::read(home.path("bad.json")).unwrap();
    revoke_key(&home, "cosign.pub");
    while webhook.admits(&signed).await {}
    assert_eq!(webhook.stop(), Some(0));
    // A restart with the old file: the webhook remembers.
    let list = std::fs::read(home.path("bad.json")).unwrap();
    std::fs::write(home.path("bad.json"), first).unwrap();
    let webhook =
        Webhook::start(&home, &[&key[..], &["--revocations", "bad.json", "--tls-dir", "tls"]].concat());
    assert!(!webhook.admits(&signed).await);
    assert_eq!(webhook.stop(), Some(0));

    fake.lie(move |seen| (seen.path == "/revocations.json").then(|| answer(200, &[], list.clone())));
    let url = format!("http://{}/revocations.json", fake.host);
    let webhook = Webhook::start(&home, &[&key[..], &["--revocation-url", &url]].concat());
    assert!(!webhook.admits(&signed).await);
    let nowhere =
        Webhook::start(&home, &[&key[..], &["--revocation-url", &url.replace("s.json", "")]].concat());
    assert!(!nowhere.admits(&signed).await, "nobody knows what is revoked");

    let serve = ["admission", "serve", "--policy", "policies", "--listen", "127.0.0.1:0"];
    for (wrong, part) in [
        (&["--revocations", "bad.json"][..], "nobody is named who may sign one"),
        (&["--revocation-url", "http://localhost/x"], "nobody is named who may sign one"),
        (&key, "no list is named"),
    ] {
        let (code, _, err) = home.text(&[&serve[..], wrong].concat());
        assert_eq!((code, err.contains(part)), (1, true), "{wrong:?}: {err}");
    }
}
