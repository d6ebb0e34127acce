//! An incident: what somebody signed is found in the log, in a registry and in a cluster, kept as evidence, and revoked.

use serde_json::{Value, json};

use crate::api_server::{ApiServer, pod};
use crate::images;
use crate::registry::Fake;
use crate::support::{Home, Instance};

/// Something that is changed in evidence.
type Change = Box<dyn Fn(&mut Value)>;

struct Bench {
    home: Home,
    instance: Instance,
    fake: Fake,
    signed: String,
}

impl Bench {
    /// alice signed a file and an image, which runs; another image runs that nobody signed.
    async fn new() -> (Self, ApiServer) {
        let (home, fake, server) = (Home::new(), Fake::start().await, ApiServer::start().await);
        let instance = Instance::start(&home);
        home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
        let signed = images::image(&fake.app(), "signed", "signed").await.digest.to_string();
        let other = images::image(&fake.app(), "other", "other").await.digest.to_string();
        std::fs::write(home.path("a"), "a").unwrap();
        let bench = Self { home, instance, fake, signed };
        bench.home.good(&["sign", "a", "--identity-token", &bench.instance.token()]);
        bench.home.good(&["sign", &bench.image("signed"), "--identity-token", &bench.instance.token()]);
        std::fs::write(bench.home.path("kube.json"), server.kubeconfig("here")).unwrap();
        for (name, tag, digest) in [("bad", "signed", &bench.signed), ("good", "other", &other)] {
            let mut object = pod(name, &bench.image(tag), Some(digest), None);
            object["metadata"]["namespace"] = "prod".into();
            server.put("pods", object);
        }
        bench.home.good(&["trust", "export", "--out", "site.json"]);
        let site: Value =
            serde_json::from_slice(&std::fs::read(bench.home.path("site.json")).unwrap()).unwrap();
        std::fs::write(bench.home.path("root.json"), site["trustedRoot"].to_string()).unwrap();
        (bench, server)
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.fake.host)
    }

    fn incident(&self, more: &[&str]) -> (i32, String, String) {
        let repository = format!("{}/app", self.fake.host);
        let everywhere = ["incident", "--in", &repository, "--kubeconfig", "kube.json"];
        self.home.text(&[&everywhere[..], more].concat())
    }

    fn verify(&self, evidence: &Value) -> (i32, String, String) {
        std::fs::write(self.home.path("changed.json"), evidence.to_string()).unwrap();
        self.home.text(&["incident", "verify", "changed.json", "--trusted-root", "root.json"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_signed_is_found_in_log_registry_and_cluster_and_blocked() {
    let (bench, server) = Bench::new().await;
    let alice = ["--identity", "alice@example.com", "--since", "1h"];
    let (code, out, err) = bench.incident(&[&alice[..], &["--output", "json"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["entries"].as_array().unwrap().len(), 2, "{out}");
    let images = found["images"].as_array().unwrap();
    assert!(images.len() == 1 && images[0]["image"].as_str().unwrap().ends_with(&bench.signed), "{out}");
    let runs = found["runs"].as_array().unwrap();
    assert!(runs.len() == 1 && runs[0]["workload"] == "Pod/prod/bad", "{out}");
    assert_eq!((&found["notLookedAt"], &found["revoked"]), (&json!([]), &Value::Null), "{out}");

    // Words, and what was not looked at is not said to be clean.
    let (code, out, err) = bench.home.text(&[&["incident"][..], &alice].concat());
    assert!(code == 0 && out.contains("alice@example.com") && !out.contains("runs now"), "{out}");
    assert!(err.contains("no registry was looked at") && err.contains("no cluster was looked at"), "{err}");
    // An e-mail address is found and revoked in whatever case it is written.
    let other_case = ["--identity", "ALICE@Example.com", "--since", "1h"];
    for command in [&["incident"][..], &["log", "find"]] {
        let (code, out, _) = bench.home.text(&[command, &other_case].concat());
        assert!(code == 0 && out.contains("alice@example.com"), "{command:?}: {code} {out}");
    }
    let (code, out, _) = bench.incident(&["--identity", "bob@example.com"]);
    assert_eq!(code, 3, "{out}");
    let (code, out, _) =
        bench.home.text(&["incident", "--identity", "bob@example.com", "--in", "127.0.0.1:1/app"]);
    assert!(code == 6 && out.contains("could not be looked at: 127.0.0.1:1/app"), "{code} {out}");
    let (code, out, _) =
        bench.home.text(&["incident", "--digest", &bench.signed, "--kubeconfig", "none.json"]);
    assert!(code == 6 && out.contains("could not be looked at: the cluster"), "{code} {out}");
    // What is named runs, whoever signed it.
    let (code, out, err) = bench.incident(&["--digest", &bench.signed]);
    assert!(
        code == 0 && out.contains("Pod/prod/bad") && !out.contains("Pod/prod/good"),
        "{code} {out} {err}"
    );

    let list = || std::fs::read(bench.home.path("instance/revocations.json")).unwrap();
    let before = list();
    let place = ["--dir", "instance", "--reason", "stolen", "--by", "carol"];
    for missing in [&["--block"][..], &["--reason", "stolen"]] {
        assert_eq!(bench.incident(&[&alice[..], missing].concat()).0, 1, "{missing:?}");
    }
    let (code, out, err) = bench.incident(&[&other_case[..], &["--dry-run"], &place].concat());
    assert!(code == 0 && out.contains("identity ALICE@Example.com, since"), "{out}{err}");
    assert!(err.contains("nothing is written") && list() == before, "{err}");
    // To look needs neither a reason nor who decided.
    let (code, out, err) = bench.incident(&[&alice[..], &["--dry-run", "--dir", "instance"]].concat());
    assert!(code == 0 && out.contains("by (--by) at") && out.contains("(--reason)"), "{out}{err}");
    assert!(list() == before && server.made().is_empty());
    server.serve("countersign.dev/v1alpha1", "RevocationList", "revocationlists");
    server.forbid("revocationlists");
    let (code, out, err) = bench.incident(&[&other_case[..], &["--block"], &place].concat());
    // Revoked, and not everywhere: that is no success, and the line is at hand for whoever may do it.
    assert!(code == 6 && err.contains("list 2 is in"), "{code} {out}{err}");
    assert!(err.contains("the cluster does not have list 2") && err.contains("is forbidden"), "{err}");
    let line = "countersign revoke list --kubernetes --dir instance | kubectl apply --server-side --kubeconfig kube.json -f -";
    assert!(err.contains(line), "{err}");
    // Once more, where it may: nothing is added, and the cluster has it.
    let (after, other) = (list(), ApiServer::start().await);
    other.serve("countersign.dev/v1alpha1", "RevocationList", "revocationlists");
    std::fs::write(bench.home.path("kube.json"), other.kubeconfig("here")).unwrap();
    let (code, out, err) = bench.incident(&[&other_case[..], &["--block"], &place].concat());
    assert!(code == 0 && err.contains("already revoked by entry 1"), "{code} {out}{err}");
    assert!(err.contains("the cluster has list 2 as RevocationList revocations"), "{err}");
    let made = other.made();
    let [(path, object)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(path, "/apis/countersign.dev/v1alpha1/revocationlists/revocations");
    assert_eq!(object["spec"]["list"].as_str().unwrap().as_bytes(), after);
    assert!(list() == after, "nothing was written");
    // What is to hold for longer is not revoked already.
    let longer = ["incident", "--identity", "ALICE@Example.com", "--dry-run", "--dir", "instance"];
    let (_, out, err) = bench.home.text(&longer);
    assert!(out.contains("at all times") && !err.contains("already"), "{out}{err}");
    let json = ["incident", "--identity", "ALICE@Example.com", "--since", "1m", "--output", "json"];
    let (_, out, _) = bench.home.text(&[&json[..], &["--block"], &place].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    let revoked = &found["revoked"];
    assert_eq!(
        (&revoked["dryRun"], &revoked["file"], &revoked["cluster"]),
        (&json!(false), &json!(null), &json!(null))
    );
    assert_eq!(revoked["already"][0]["entry"], 1, "{revoked}");
    bench.home.good(&["trust", "update"]);
    let issuer = format!("{}/development-identity-provider", bench.instance.url.trim_end_matches('/'));
    let verify = ["verify", "a", "--email", "alice@example.com", "--issuer", &issuer];
    let (code, out, _) = bench.home.text(&verify);
    assert!(code == 2 && out.contains("stolen"), "{out}");
    // What is revoked is found all the same, with its proofs.
    assert_eq!(bench.incident(&[&alice[..], &["--evidence", "after.json"]].concat()).0, 0);
    bench.home.good(&["incident", "verify", "after.json", "--trusted-root", "root.json"]);
}

#[test]
fn what_is_wrong_is_said_of_the_option_that_it_is_wrong_with() {
    let home = Home::new();
    let (digest, pattern) = ("expected sha256: and 64", "is not a regular expression");
    for command in [&["incident"][..], &["log", "find"], &["revoke", "--reason", "r"]] {
        for (option, value, expected) in [
            ("--digest", "zz", digest),
            ("--identity-regexp", "(", pattern),
            ("--builder-regexp", "(", pattern),
            ("--key", "sha256:zz", "expected a SHA-256"),
            ("--certificate", "sha256:zz", "expected a SHA-256"),
            ("--identity", "", "found an empty one"),
            ("--builder", "", "found an empty one"),
            ("--issuer", "", "found an empty one"),
        ] {
            let (code, _, err) = home.text(&[command, &[option, value]].concat());
            let named = err.contains(&format!("{option}: ")) && err.contains(expected);
            assert!(code == 1 && named && !err.contains("entry 1"), "{command:?} {option}: {code} {err}");
        }
        let (code, _, err) = home.text(command);
        let nothing =
            if command[0] == "revoke" { "nothing is named to revoke" } else { "nothing to look for" };
        assert!(code == 1 && err.contains(nothing), "{command:?}: {err}");
        let help = home.good(&[command, &["--help"]].concat());
        let headings = ["What is revoked:", "What to look for:"].map(|heading| help.contains(heading));
        assert_eq!(headings, [command[0] == "revoke", command[0] != "revoke"], "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_verifies_offline_and_whatever_is_changed_in_it_is_noticed() {
    let (mut bench, server) = Bench::new().await;
    let (code, out, err) =
        bench.incident(&["--identity", "alice@example.com", "--since", "1h", "--evidence", "alice.json"]);
    assert!(code == 0 && err.contains("incident verify alice.json"), "{out}{err}");
    drop(server);
    bench.instance.stop();
    let shown = bench.home.good(&["incident", "verify", "alice.json", "--trusted-root", "root.json"]);
    assert!(
        shown.contains("alice@example.com") && shown.contains(&format!("signed: {}/app@", bench.fake.host))
    );
    let evidence: Value =
        serde_json::from_slice(&std::fs::read(bench.home.path("alice.json")).unwrap()).unwrap();
    assert_eq!(bench.verify(&evidence).0, 0);
    std::fs::write(bench.home.path("junk.json"), "junk").unwrap();
    std::fs::write(bench.home.path("note.txt"), evidence["logs"][0]["checkpoint"].as_str().unwrap()).unwrap();
    for (file, says) in [
        ("note.txt", "it is a checkpoint, not evidence"),
        ("junk.json", "expected a file of countersign.incident-evidence in JSON"),
    ] {
        let (code, _, err) = bench.home.text(&["incident", "verify", file, "--trusted-root", "root.json"]);
        assert!(code == 2 && err.contains(file) && err.contains(says), "{code} {err}");
    }

    let flipped = |text: &Value| -> Value {
        // A character in the middle of the base64.
        let mut text = text.as_str().unwrap().to_owned().into_bytes();
        let middle = text.len() / 2;
        text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
        Value::from(String::from_utf8(text).unwrap())
    };
    let other = format!("{}/app@sha256:{}", bench.fake.host, "0".repeat(64));
    let changes: Vec<(&str, Change)> = vec![
        ("/logs/0/entries/0/body", Box::new(flipped_at("/logs/0/entries/0/body", flipped))),
        ("/logs/0/entries/1/proof/0", Box::new(flipped_at("/logs/0/entries/1/proof/0", flipped))),
        (
            "a proof less",
            Box::new(|v| drop(v["logs"][0]["entries"][0]["proof"].as_array_mut().unwrap().pop())),
        ),
        (
            "another place",
            Box::new(|v| v["logs"][0]["entries"][0]["index"] = v["logs"][0]["entries"][1]["index"].clone()),
        ),
        (
            "twice",
            Box::new(|v| {
                let first = v["logs"][0]["entries"][0].clone();
                v["logs"][0]["entries"].as_array_mut().unwrap().insert(0, first);
            }),
        ),
        (
            "a log twice",
            Box::new(|v| {
                let first = v["logs"][0].clone();
                v["logs"].as_array_mut().unwrap().push(first);
            }),
        ),
        ("no log", Box::new(|v| v["logs"] = json!([]))),
        (
            "an entry of one log in another",
            Box::new(|v| {
                let first = v["logs"][0]["entries"][0].clone();
                v["logs"][1]["entries"].as_array_mut().unwrap().push(first);
            }),
        ),
        (
            "another checkpoint",
            Box::new(|v| {
                let text = v["logs"][0]["checkpoint"].as_str().unwrap().replacen("\n3\n", "\n4\n", 1);
                v["logs"][0]["checkpoint"] = text.into();
            }),
        ),
        ("the signed image", Box::new(move |v| v["images"][0]["image"] = other.as_str().into())),
        ("/images/0/bundle", Box::new(flipped_at("/images/0/bundle", flipped))),
        (
            "somebody else",
            Box::new(|v| {
                v["targets"] = json!([{"identity": {"name": {"exact": "bob@example.com"}}}]);
            }),
        ),
        ("later", Box::new(|v| v["since"] = "2100-01-01T00:00:00Z".into())),
        ("another root", Box::new(|v| v["trustedRoot"] = format!("sha256:{}", "0".repeat(64)).into())),
        ("a member more", Box::new(|v| v["verified"] = true.into())),
        ("another schema", Box::new(|v| v["schemaVersion"] = 1.into())),
    ];
    for (what, change) in changes {
        let mut changed = evidence.clone();
        change(&mut changed);
        assert!(changed != evidence, "{what}");
        let (code, out, err) = bench.verify(&changed);
        assert!((code == 2 || code == 1) && out.is_empty(), "{what}: {code} {out} {err}");
    }
    // By another trusted root it shows nothing.
    std::fs::write(bench.home.path("root.json"), crate::policy::TRUSTS_NOBODY).unwrap();
    let (code, _, err) = bench.verify(&evidence);
    assert!(code == 2 && err.contains("expected the trusted root"), "{code} {err}");
}

/// A change of the text at a place.
fn flipped_at(place: &'static str, flip: impl Fn(&Value) -> Value) -> impl Fn(&mut Value) {
    move |value| {
        let found = value.pointer_mut(place).unwrap();
        *found = flip(found);
    }
}
