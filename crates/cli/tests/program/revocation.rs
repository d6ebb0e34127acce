//! Revocation, as whoever has to do it at three in the morning: an instance, its clients, and lists of one's own.

use std::path::Path;

use crate::support::{Home, Instance};

/// A running instance that is trusted, and a file signed by alice.
struct Bench {
    home: Home,
    instance: Instance,
    issuer: String,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        let instance = Instance::start(&home);
        home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
        std::fs::write(home.path("a"), "a").unwrap();
        home.good(&["sign", "a", "--identity-token", &instance.token()]);
        let issuer = format!("{}/development-identity-provider", instance.url.trim_end_matches('/'));
        Self { home, instance, issuer }
    }

    /// A minute passes for the client.
    fn wait(&self) {
        self.home.forget_when_revocations_were_checked();
    }

    fn verify(&self, more: &[&str]) -> (i32, String, String) {
        let verify = ["verify", "a", "--email", "alice@example.com", "--issuer", &self.issuer];
        self.home.text(&[&verify[..], more].concat())
    }

    fn revoke(&self, what: &[&str]) -> String {
        let place = ["--dir", "instance", "--reason", "the laptop was stolen", "--by", "bob"];
        self.home.good(&[&["revoke"], what, &place].concat())
    }

    fn list(&self) -> std::path::PathBuf {
        self.home.path("instance/revocations.json")
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn what_is_revoked_beside_a_running_instance_is_refused_and_counts_again_when_it_is_undone() {
    let bench = Bench::new();
    let (code, out, err) = bench.verify(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("list 1 of dev"), "{out}");

    let shown = bench.revoke(&["--identity", "alice@example.com", "--since", "1h", "--dry-run"]);
    assert!(shown.contains("identity alice@example.com"), "{shown}");
    bench.wait();
    assert_eq!(bench.verify(&[]).0, 0, "a dry run writes nothing");

    let shown = bench.revoke(&["--identity", "alice@example.com", "--since", "1h"]);
    assert!(shown.starts_with("  1  identity alice@example.com, since "), "{shown}");
    assert_eq!(bench.verify(&[]).0, 0, "the kept list is not a minute old");
    bench.wait();
    assert_eq!(bench.verify(&["--offline"]).0, 0, "nobody is asked");
    let (code, out, _) = bench.verify(&[]);
    assert_eq!(code, 2, "{out}");
    for part in
        ["revoked", "the laptop was stolen", "by bob", "entry 1 of list 2 of dev", "docs/revocation.md"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(bench.verify(&["--offline"]).0, 2, "what is kept is obeyed");

    bench.home.good(&["revoke", "undo", "1", "--dir", "instance", "--reason", "found again", "--by", "bob"]);
    bench.wait();
    assert_eq!(bench.verify(&[]).0, 0);
    let listed = bench.home.good(&["revoke", "list", "--dir", "instance"]);
    assert!(listed.contains("[withdrawn by entry 2]") && listed.contains("found again"), "{listed}");
}

#[test]
fn who_may_revoke_under_the_trust_root_of_a_policy_is_told_where_it_is_explained() {
    let bench = Bench::new();
    let explained = |trust: &str| {
        let policy = format!(
            "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: p}}\nspec:\n  images: [\"a.example/**\"]\n  \
             signedBy: {{email: alice@example.com, issuer: \"{}\"}}\n{trust}",
            bench.issuer
        );
        std::fs::write(bench.home.path("policy.yaml"), policy).unwrap();
        bench.home.good(&["policy", "explain", "policy.yaml"])
    };
    bench.revoke(&["--identity", "alice@example.com", "--since", "1h"]);
    bench.wait();
    assert_eq!(bench.verify(&[]).0, 2);
    let told = "what the revocation list of dev names does not count, whoever signed it: list 2 with 1 entry";
    for trust in ["", "  trust: {root: dev}\n"] {
        let shown = explained(trust);
        assert!(shown.contains(told), "{trust}: {shown}");
    }
    let shown = explained("  trust: {root: other}\n");
    assert!(!shown.contains("revocation"), "nothing is known of it here: {shown}");
    let kept = bench.home.path(".config/countersign/instances/dev/revocations.json");
    std::fs::write(kept, "{}").unwrap();
    assert!(
        explained("").contains("what is revoked under dev is not known, so that nothing could be checked")
    );
}

#[test]
fn what_is_revoked_already_is_said_and_not_added_again() {
    let bench = Bench::new();
    let bytes = || std::fs::read(bench.list()).unwrap();
    let ask = |what: &[&str]| {
        let place = ["--dir", "instance", "--reason", "stolen", "--by", "bob"];
        bench.home.text(&[&["revoke"], what, &place].concat())
    };
    let (alice, later) = (["--identity", "alice@example.com"], "2100-01-01");
    bench.revoke(&[&alice[..], &["--since", "2h"]].concat());
    let kept = bytes();
    // The same, a later beginning, an earlier end: all of it is in entry 1.
    for more in [&["--since", "2h"][..], &["--since", "1h"], &["--since", "1h", "--expires", later]] {
        for dry in [&[][..], &["--dry-run"]] {
            let (code, out, err) = ask(&[&alice[..], more, dry].concat());
            assert!(code == 0 && out.is_empty(), "{more:?}: {code} {out} {err}");
            let said = err.contains("identity alice@example.com: already revoked by entry 1");
            assert!(said && err.contains("nothing is added to list 2"), "{more:?}: {err}");
            assert_eq!(bytes(), kept, "{more:?}");
        }
    }
    // What is not in it is added, once each, also beside what is.
    let digest = format!("sha256:{}", "0".repeat(64));
    let (code, out, err) = ask(&["--digest", &digest, "--digest", &digest]);
    assert!(code == 0 && out.lines().count() == 1 && out.starts_with("  2  "), "{out} {err}");
    for (more, added) in [(&["--since", "3h"][..], "  3  "), (&[], "  4  ")] {
        let (code, out, err) = ask(&[&alice[..], more].concat());
        assert!(code == 0 && out.starts_with(added), "{more:?}: {out} {err}");
    }
    // Once it is undone it can be revoked again.
    bench.home.good(&["revoke", "undo", "4", "--dir", "instance", "--reason", "found", "--by", "bob"]);
    assert!(ask(&alice).1.starts_with("  6  "));
    // An end that is further away, in a list of one's own.
    bench.home.good(&["generate-key-pair"]);
    let own = ["--list", "own.json", "--sign-with", "cosign.key", "--reason", "x", "--by", "y", "--expires"];
    for (end, lines) in [("2100-01-01", 1), ("2100-01-01", 0), ("2099-01-01", 0), ("2100-01-02", 1)] {
        let out = bench.home.good(&[&["revoke", "--digest", &digest][..], &own, &[end]].concat());
        assert_eq!(out.lines().count(), lines, "{end}: {out}");
    }
}

#[test]
fn each_kind_alone_is_refused_and_what_it_is_not_is_not() {
    let bench = Bench::new();
    let digest = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    let later = "2100-01-01";
    for what in [
        &["--identity", "alice@example.com"][..],
        &["--identity", "alice@example.com", "--issuer", &bench.issuer],
        &["--identity-regexp", ".*@example\\.com"],
        &["--issuer", &bench.issuer],
        &["--digest", digest],
        &["--identity", "alice@example.com", "--expires", later],
    ] {
        let id = bench.revoke(what).trim().split(' ').next().unwrap().to_owned();
        bench.home.good(&["trust", "update"]);
        assert_eq!(bench.verify(&[]).0, 2, "{what:?}");
        bench.home.good(&["revoke", "undo", &id, "--dir", "instance", "--reason", "next", "--by", "bob"]);
        bench.home.good(&["trust", "update"]);
        assert_eq!(bench.verify(&[]).0, 0, "{what:?}");
    }
    for what in [
        &["--identity", "alice@example.co"][..],
        &["--identity", "alice@example.com", "--issuer", "https://other.example"],
        &["--identity", "alice@example.com", "--until", "1h"],
        &["--builder", "https://ci.example"],
    ] {
        bench.revoke(what);
        bench.home.good(&["trust", "update"]);
        assert_eq!(bench.verify(&[]).0, 0, "{what:?}");
    }
}

#[test]
fn an_older_list_that_was_put_back_is_noticed_and_a_dead_instance_is_told() {
    let mut bench = Bench::new();
    copy(&bench.list(), &bench.home.path("old"));
    bench.revoke(&["--identity", "alice@example.com"]);
    bench.home.good(&["trust", "update"]);
    copy(&bench.home.path("old"), &bench.list());
    bench.wait();
    let (code, _, err) = bench.verify(&[]);
    assert_eq!(code, 5, "{err}");
    assert!(
        err.contains("expected number 2 or more, found 1") && err.contains("revoke renew --number 3"),
        "{err}"
    );
    // What it says to do.
    bench.home.good(&["revoke", "renew", "--number", "3", "--dir", "instance"]);
    assert_eq!(bench.verify(&[]).0, 0, "the old list, signed on: nothing is revoked");
    bench.revoke(&["--identity", "alice@example.com"]);

    assert_eq!(bench.instance.stop(), Some(0));
    bench.wait();
    let (code, out, err) = bench.verify(&[]);
    assert_eq!(code, 0, "{out}");
    assert!(
        err.contains("/revocations.json") && err.contains("the one that was fetched last is used"),
        "{err}"
    );
    let (code, _, err) = bench.verify(&["--offline"]);
    assert_eq!((code, err.contains("revocations.json")), (0, false), "{err}");
}

#[test]
fn a_list_that_somebody_else_signed_is_not_obeyed_and_not_passed_over() {
    let bench = Bench::new();
    bench.home.good(&["generate-key-pair"]);
    let entry = ["--digest", &format!("sha256:{}", "0".repeat(64)), "--reason", "x", "--by", "y"];
    let own = ["revoke", "--list", "own.json", "--sign-with", "cosign.key"];
    bench.home.good(&[&own[..], &entry].concat());
    copy(&bench.home.path("own.json"), &bench.list());
    bench.wait();
    let (code, _, err) = bench.verify(&[]);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("not signed by anybody who may revoke"), "{err}");
    std::fs::write(bench.list(), "{}").unwrap();
    assert_eq!(bench.verify(&[]).0, 5);
}

/// A file signed with a key, and nobody else in the world.
fn keys_only() -> Home {
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    std::fs::write(home.path("a"), "a").unwrap();
    home.good(&["sign", "a", "--key", "cosign.key", "--no-tlog"]);
    home
}

#[test]
fn a_list_of_ones_own_is_obeyed_by_who_is_told_whom_to_believe() {
    let home = keys_only();
    let own = ["revoke", "--list", "bad.json", "--sign-with", "soc.key", "--by", "soc", "--reason", "leaked"];
    let verify = ["verify", "a", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    let listed = ["--revocations", "bad.json", "--revocation-key", "soc.pub"];
    let judged = |more: &[&str]| home.text(&[&verify[..], more].concat());
    home.good(&[&own[..], &["--key", "soc.pub"]].concat());
    copy(&home.path("bad.json"), &home.path("first.json"));
    assert_eq!(judged(&listed).0, 0, "another key is revoked");
    home.good(&[&own[..], &["--key", "cosign.pub"]].concat());
    let (code, out, err) = judged(&listed);
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("entry 2 of list 2 of bad.json"), "{out}");
    // By its fingerprint too, since it is all that somebody may have.
    let (code, out, _) = home.text(&["revoke", "list", "--list", "bad.json", "--sign-with", "soc.key"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");

    for (more, code, part) in [
        (&["--revocations", "bad.json"][..], 1, "nobody is named who may sign"),
        (&["--revocation-key", "soc.pub"], 1, "no list is named"),
        (&["--revocations", "bad.json", "--revocation-key", "cosign.pub"], 5, "not signed by anybody"),
        (
            &[
                "--revocations",
                "bad.json",
                "--revocation-identity",
                "soc@example.com",
                "--revocation-issuer",
                "https://i",
            ],
            5,
            "",
        ),
        (&["--revocations", "none.json", "--revocation-key", "soc.pub"], 1, "none.json"),
        (&["--revocations", "first.json", "--revocation-key", "soc.pub"], 5, "expected number 2 or more"),
    ] {
        let (found, _, err) = judged(more);
        assert_eq!(found, code, "{more:?}: {err}");
        assert!(err.contains(part), "{more:?}: {err}");
    }
    assert_eq!(judged(&[]).0, 0, "nobody was told to ask a list");
}

#[test]
fn what_somebody_signed_is_found_in_the_log_before_and_after_it_is_revoked() {
    let bench = Bench::new();
    std::fs::write(bench.home.path("b"), "b").unwrap();
    bench.home.good(&["generate-key-pair"]);
    bench.home.good(&["sign", "b", "--key", "cosign.key"]);
    let digest =
        |text: &str| text.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    let found = bench.home.good(&["log", "find", "--identity", "alice@example.com", "--since", "1h"]);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains(&format!("alice@example.com ({})", bench.issuer)), "{found}");
    // What is found is what `--digest` revokes.
    bench.revoke(&["--digest", &digest(&found)]);
    bench.home.good(&["trust", "update"]);
    assert_eq!(bench.verify(&[]).0, 2);
    assert_eq!(bench.home.good(&["log", "find", "--digest", &digest(&found)]).lines().count(), 1);
    let by_key = bench.home.good(&["log", "find", "--key", "cosign.pub", "--since", "2h"]);
    assert!(by_key.contains("at a time nobody knows") && by_key.lines().count() == 1, "{by_key}");
    for nothing in [
        &["--identity", "bob@example.com"][..],
        &["--identity", "alice@example.com", "--issuer", "https://other.example"],
        &["--identity", "alice@example.com", "--since", "2100-01-01"],
        &["--builder", "https://ci.example"],
    ] {
        let (code, out, err) = bench.home.text(&[&["log", "find"], nothing].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{nothing:?}: {err}");
    }
    let json = bench.home.good(&["log", "find", "--issuer", &bench.issuer, "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["entries"].as_array().unwrap().len(), 1, "{json}");
}

#[test]
fn an_object_for_a_cluster_carries_the_signed_list_as_it_is() {
    let home = keys_only();
    let own = ["--list", "bad.json", "--sign-with", "soc.key"];
    home.good(&[&["revoke", "--key", "cosign.pub", "--reason", "r", "--by", "b"][..], &own].concat());
    let object = home.good(&[&["revoke", "list", "--kubernetes", "--name", "corp"][..], &own].concat());
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["kind"], "RevocationList");
    assert_eq!(object["metadata"]["name"], "corp");
    let list = std::fs::read_to_string(home.path("bad.json")).unwrap();
    assert_eq!(object["spec"]["list"], list);
    let json = home.good(&[&["revoke", "list", "--output", "json"][..], &own].concat());
    assert!(
        json.contains("\"number\": 1") && json.contains("\"schema\": \"countersign.revocations\""),
        "{json}"
    );
}

#[test]
fn mistakes_of_a_tired_person_are_said_before_anything_is_written() {
    let home = keys_only();
    let own = ["revoke", "--list", "bad.json", "--sign-with", "soc.key", "--by", "soc", "--reason", "leaked"];
    for (more, part) in [
        (&[][..], "nothing is named"),
        (&["--issuer", "https://i", "--key", "cosign.pub"], "--issuer"),
        (&["--digest", "sha256:00"], "64 small hex digits"),
        (&["--identity", "a", "--since", "2100-01-01"], "a time that has passed"),
        (&["--identity", "a", "--since", "yesterday"], "2026-11-26T01:00:00Z"),
        (&["--identity", "a", "--expires", "2000-01-01"], "a time to come"),
        (&["--key", "cosign.pub", "--until", "1h"], "with an identity or a builder only"),
        (&["--identity", "a", "--since", "1h", "--until", "2h"], "a time after since"),
        (&["--identity-regexp", "("], "regular expression"),
    ] {
        let (code, _, err) = home.text(&[&own[..], more].concat());
        assert_eq!(code, 1, "{more:?}: {err}");
        assert!(err.contains(part), "{more:?}: {err}");
    }
    assert!(!home.path("bad.json").exists());
    let (code, _, err) = home.text(&["revoke", "--identity", "a", "--by", "b", "--dir", "none"]);
    assert_eq!((code, err.contains("--reason")), (1, true), "{err}");
    let (code, _, err) = home.text(&[
        "revoke",
        "undo",
        "1",
        "--reason",
        "r",
        "--by",
        "b",
        "--list",
        "bad.json",
        "--sign-with",
        "soc.key",
    ]);
    assert_eq!(code, 1);
    assert!(err.contains("an earlier entry that holds"), "{err}");
    let nobody =
        ["revoke", "--list", "bad.json", "--sign-with", "soc.key", "--reason", "r", "--identity", "a"];
    let (code, _, err) = home.text(&nobody);
    assert_eq!((code, err.contains("--by")), (1, true), "{err}");
}

#[test]
fn what_is_revoked_stays_so_when_the_key_of_the_list_is_replaced() {
    let mut bench = Bench::new();
    bench.revoke(&["--identity", "alice@example.com"]);
    let old = std::fs::read(bench.list()).unwrap();
    assert_eq!(bench.instance.stop(), Some(0));
    bench.home.good(&["rotate", "revocation", "instance"]);
    bench.instance = Instance::start_again(&bench.home);
    let new = std::fs::read(bench.list()).unwrap();
    bench.home.good(&["trust", "update"]);
    assert_eq!(bench.verify(&[]).0, 2);
    // The old key signs for nobody any more.
    std::fs::write(bench.list(), old).unwrap();
    bench.wait();
    let (code, _, err) = bench.verify(&[]);
    assert_eq!((code, err.contains("not signed by anybody who may revoke")), (5, true), "{err}");
    std::fs::write(bench.list(), new).unwrap();
    bench.home.good(&["revoke", "undo", "1", "--dir", "instance", "--reason", "found", "--by", "bob"]);
    bench.home.good(&["trust", "update"]);
    assert_eq!(bench.verify(&[]).0, 0);
}

#[test]
fn an_instance_that_was_made_before_gets_its_key_when_it_first_revokes() {
    let mut bench = Bench::new();
    // As it was: no key, no list, and a trust root that says nothing of either.
    let home = &bench.home;
    assert_eq!(bench.instance.stop(), Some(0));
    for file in ["instance/keys/revocation.key", "instance/keys/revocation.pub", "instance/revocations.json"]
    {
        std::fs::remove_file(home.path(file)).unwrap();
    }
    bench.instance = Instance::start_again(home);
    assert!(home.good(&["doctor", "instance"]).contains("revocation"));
    let (code, _, err) = home.text(&["revoke", "list", "--dir", "instance"]);
    assert_eq!((code, err.contains("nothing was ever revoked")), (1, true), "{err}");
    bench.revoke(&["--identity", "alice@example.com"]);
    let offline = home.path("instance/keys/offline/tuf-root.key");
    assert!(offline.exists());
    home.good(&["trust", "remove", "dev"]);
    home.good(&["trust", "add", &bench.instance.url, "--name", "dev", "--yes"]);
    assert_eq!(bench.verify(&[]).0, 2);
}
