//! An instance has several logs: what is looked for is looked for in all of them, and each can be followed, printed and put
//! back.

use serde_json::json;

use crate::monitoring::Bench;

#[test]
fn what_was_signed_through_the_log_of_rekor_v1_is_found_too() {
    let mut bench = Bench::new();
    bench.sign("a");
    bench.home.sign_v1("b", &bench.instance.token());
    let alice = ["--identity", "alice@example.com"];
    let ask = |command: &[&str], more: &[&str]| bench.home.text(&[command, more].concat());
    let json = |command: &[&str], more: &[&str]| -> (i32, serde_json::Value) {
        let (code, out, err) = ask(&[command, &["--output", "json"]].concat(), more);
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{command:?} {e}: {out} {err}")))
    };
    let digest = |name: &str| countersign_crypto::HashAlgorithm::Sha256.digest(name.as_bytes()).to_string();
    for command in [&["log", "find"][..], &["log", "search"], &["incident"]] {
        let (code, found) = json(command, &alice);
        let entries = found["entries"].as_array().unwrap();
        let in_log = |name: &str| {
            let entry = entries.iter().find(|entry| entry["digest"] == digest(name).as_str()).unwrap();
            entry["log"].as_str().unwrap().to_owned()
        };
        assert_eq!((code, entries.len()), (0, 2), "{found}");
        assert_eq!(in_log("a").trim_end_matches('/'), bench.instance.url.trim_end_matches('/'), "{found}");
        assert!(in_log("b").starts_with("localhost - "), "{found}");
        assert_eq!(found["logs"].as_array().unwrap().len(), 2, "{found}");
        assert_eq!(found["notLookedAt"], json!([]), "{found}");
        // Of the one that is in v1's log alone; and of one that is in none.
        let (code, out, err) = ask(command, &["--digest", &digest("b")]);
        assert!(code == 0 && out.contains(&in_log("b")), "{command:?}: {out} {err}");
        let (code, out, err) = ask(command, &["--digest", &digest("c")]);
        assert_eq!(code, 3, "{command:?}: {out} {err}");
    }
    let (_, found) = json(&["log", "search"], &alice);
    assert_eq!((&found["complete"], &found["missing"]), (&json!(true), &json!(null)), "{found}");

    // With its proofs.
    bench.home.good(&[&["incident", "--evidence", "alice.json"][..], &alice].concat());
    let shown = bench.home.good(&["incident", "verify", "alice.json", "--trusted-root", "root.json"]);
    assert!(shown.contains(&digest("a")) && shown.contains(&digest("b")), "{shown}");

    // When the server does not show the log any more, no answer is complete.
    bench.instance.stop();
    let file = bench.home.path("instance/countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("rekor_v1 = true"), "{text}");
    std::fs::write(&file, text.replace("rekor_v1 = true", "rekor_v1 = false")).unwrap();
    bench.start_again();
    for command in [&["log", "find"][..], &["log", "search"], &["incident"]] {
        let (code, out, err) = bench.home.text(&[command, &["--digest", &digest("b")]].concat());
        assert!(code == 6 && format!("{out}{err}").contains("could not be looked at"), "{code} {out} {err}");
        assert!(!err.contains("; complete"), "{err}");
    }
}

#[test]
fn a_key_is_named_by_its_file_or_its_fingerprint() {
    let bench = Bench::new();
    std::fs::write(bench.home.path("a"), "a").unwrap();
    bench.home.good(&["generate-key-pair", "--output-key-prefix", "k"]);
    bench.home.good(&["sign", "a", "--key", "k.key"]);
    let pem = std::fs::read_to_string(bench.home.path("k.pub")).unwrap();
    let print = countersign_crypto::PublicKey::from_pem(&pem).unwrap().fingerprint();
    let print = format!("sha256:{}", countersign_crypto::encoding::hex_encode(&print));
    for command in ["find", "search"] {
        for key in ["k.pub", &print] {
            let (code, out, err) = bench.home.text(&["log", command, "--key", key]);
            assert!(code == 0 && out.lines().count() == 1, "{command} {key}: {out} {err}");
        }
        let other = format!("sha256:{}", "0".repeat(64));
        assert_eq!(bench.home.text(&["log", command, "--key", &other]).0, 3);
        let (code, _, err) = bench.home.text(&["log", command, "--key", "sha256:12"]);
        assert_eq!(code, 1, "{err}");
    }
}

#[test]
fn the_log_of_rekor_v1_is_followed_with_its_own_key_and_its_checkpoint_is_printed() {
    let bench = Bench::new();
    bench.home.sign_v1("a", &bench.instance.token());
    let url = bench.instance.url.trim_end_matches('/').to_owned();
    // Who follows the one is told of the other.
    let (code, _, err) = bench.monitor(&["--whole"]);
    assert!(code == 0 && err.contains("log monitor --rekor-v1 --state watch-v1"), "{code} {err}");
    let v1 = |state: &str, more: &[&str]| {
        let told = ["log", "monitor", "--once", "--rekor-v1", "--state", state];
        bench.home.text(&[&told, more].concat())
    };
    for (state, more) in [("one", &[][..]), ("two", &["--log", &url])] {
        let watch = [&["--whole", "--watch-identity", "alice@example.com"][..], more].concat();
        let (code, out, err) = v1(state, &watch);
        assert!(
            code == 0 && out.contains("somebody who is watched") && err.contains("localhost - "),
            "{code} {out} {err}"
        );
        assert!(!err.contains("is not followed"), "{err}");
    }
    let key = ["--log", &url, "--origin", "localhost", "--log-key"];
    assert_eq!(v1("three", &[&key[..], &["instance/keys/log-v1.pub"]].concat()).0, 0);
    let (code, out, err) = v1("four", &[&key[..], &["instance/keys/log.pub"]].concat());
    assert!(code == 1 && out.is_empty() && err.contains("Ed25519"), "{code} {out} {err}");
    assert!(!bench.home.path("four").exists(), "nothing was fetched, nothing is written");
    // A trust root without such a log.
    let root = std::fs::read(bench.home.path("root.json")).unwrap();
    let mut root: serde_json::Value = serde_json::from_slice(&root).unwrap();
    let is_v2 = |log: &serde_json::Value| log["publicKey"]["keyDetails"] == "PKIX_ED25519";
    root["tlogs"].as_array_mut().unwrap().retain(is_v2);
    std::fs::write(bench.home.path("v2.json"), root.to_string()).unwrap();
    for more in [&[][..], &["--log", &url]] {
        let (code, _, err) = v1("four", &[&["--trusted-root", "v2.json"], more].concat());
        assert!(code == 1 && err.contains("no log of Rekor v1"), "{code} {err}");
    }

    // The checkpoints of all logs, each verified with its own key.
    let checkpoint = |more: &[&str]| bench.home.good(&[&["log", "checkpoint"], more].concat());
    assert!(checkpoint(&[]).starts_with(
        "localhost
"
    ));
    assert!(checkpoint(&["--rekor-v1"]).starts_with("localhost - "));
    assert!(checkpoint(&["--ct"]).starts_with(
        "localhost/ct
"
    ));
    let ct = format!("{url}/ct");
    assert!(checkpoint(&["--ct", "--log", &ct]).starts_with(
        "localhost/ct
"
    ));
    let of_key = |key: &str, origin: &str, more: &[&str]| {
        let told = ["log", "checkpoint", "--log-key", key, "--origin", origin];
        bench.home.text(&[&told, more].concat())
    };
    let v1_key = "instance/keys/log-v1.pub";
    assert_eq!(of_key(v1_key, "localhost", &["--rekor-v1", "--log", &url]).0, 0);
    assert_eq!(of_key("instance/keys/ct.pub", "localhost/ct", &["--ct", "--log", &ct]).0, 0);
    assert_eq!(of_key(v1_key, "localhost/ct", &["--ct", "--log", &ct]).0, 2, "another key");
    for (more, part) in [
        (&["--rekor-v1", "--ct"][..], "cannot be used with"),
        (&["--rekor-v1", "--log", "instance/log"], "address"),
        (&["--ct", "--log", "http://127.0.0.1:1"], "--log-key and --origin"),
        (&["--log", "http://127.0.0.1:1"], "--log-key and --origin"),
        (&["--rekor-v1", "--log", "http://127.0.0.1:1"], "--log-key and --origin"),
    ] {
        let (code, out, err) = bench.home.text(&[&["log", "checkpoint"], more].concat());
        assert!(code != 0 && out.is_empty() && err.contains(part), "{more:?}: {code} {err}");
    }
}

#[test]
fn all_logs_of_an_instance_are_put_back_with_the_checkpoints_that_were_printed() {
    let mut bench = Bench::new();
    bench.sign("a");
    bench.home.sign_v1("b", &bench.instance.token());
    bench.home.good(&["log", "backup", "instance", "backup"]);
    for (file, more) in [("log.txt", &[][..]), ("v1.txt", &["--rekor-v1"]), ("ct.txt", &["--ct"])] {
        let note = bench.home.good(&[&["log", "checkpoint"], more].concat());
        std::fs::write(bench.home.path(file), note).unwrap();
    }
    bench.instance.stop();
    for log in ["log", "log-v1", "ct"] {
        std::fs::remove_dir_all(bench.home.path("instance").join(log)).unwrap();
    }
    let restore = ["log", "restore", "backup", "instance", "--newest", "log.txt"];
    let (code, _, err) = bench.home.text(&[&restore[..], &["--newest", "ct.txt"]].concat());
    assert!(code == 1 && err.contains("localhost - "), "{code} {err}");
    bench.home.good(&[&restore[..], &["--newest", "ct.txt", "--newest", "v1.txt"]].concat());
    bench.start_again();
    let found = bench.home.good(&["log", "find", "--identity", "alice@example.com"]);
    assert_eq!(found.lines().count(), 2, "{found}");
}
