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

#[test]
fn entries_of_rekor_v1_are_got_and_proven_by_index_and_uuid_also_from_a_tree_that_was_closed() {
    let mut bench = Bench::new();
    bench.home.sign_v1("a", &bench.instance.token());
    let kept = |file: &str, more: &[&str]| {
        let note = bench.home.good(&[&["log", "checkpoint", "--rekor-v1"], more].concat());
        std::fs::write(bench.home.path(file), note).unwrap();
    };
    kept("one.txt", &[]);
    bench.home.sign_v1("b", &bench.instance.token());
    let told = |command: &str, more: &[&str]| bench.home.text(&[&["log", command], more].concat());
    let proof = |more: &[&str]| -> serde_json::Value {
        let (code, out, err) = told("proof", more);
        assert_eq!(code, 0, "{more:?}: {out} {err}");
        serde_json::from_str(&out).unwrap()
    };
    let digest = |name: &str| {
        let digest = countersign_crypto::HashAlgorithm::Sha256.digest(name.as_bytes()).to_string();
        digest.trim_start_matches("sha256:").to_owned()
    };
    // The first entry only begins the log.
    let shown = proof(&["2", "--rekor-v1"]);
    let uuid = shown["uuid"].as_str().unwrap().to_owned();
    assert_eq!(
        (&shown["kind"], &shown["logIndex"], &shown["treeSize"]),
        (&json!("inclusion"), &json!(2), &json!(3))
    );
    assert_eq!(uuid.len(), 80, "{shown}");
    // The proof holds, by the checkpoint in it.
    let (_, body, _) = told("get", &["2", "--rekor-v1"]);
    let note = countersign_tlog::Note::parse(shown["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    let tree = countersign_tlog::Checkpoint::parse(note.text()).unwrap();
    let hash = |text: &serde_json::Value| {
        countersign_crypto::encoding::base64_decode(text.as_str().unwrap()).unwrap().try_into().unwrap()
    };
    let hashes: Vec<_> = shown["hashes"].as_array().unwrap().iter().map(hash).collect();
    let leaf = countersign_tlog::merkle::leaf_hash(body.trim_end().as_bytes());
    countersign_tlog::merkle::verify_inclusion(&leaf, 2, 3, &hashes, &tree.root).unwrap();
    for name in [&["2", "--rekor-v1"][..], &[&uuid], &[&uuid[16..]], &[&uuid, "--rekor-v1"]] {
        let (code, out, err) = told("get", name);
        assert!(
            code == 0 && out.contains(&digest("b")) && err.contains(&uuid),
            "{name:?}: {code} {out} {err}"
        );
        assert_eq!(proof(name)["uuid"], uuid.as_str(), "{name:?}");
    }
    // In a file, byte for byte.
    bench.home.good(&["log", "get", &uuid, "--out", "entry.json"]);
    assert_eq!(std::fs::read(bench.home.path("entry.json")).unwrap(), body.trim_end().as_bytes());
    // What is not there, and what is meant for the other log.
    let none = format!("{}{}", &uuid[..16], "0".repeat(64));
    let key = countersign_crypto::KeyPair::generate(countersign_crypto::KeyType::Ed25519).unwrap();
    let key = countersign_crypto::Signer::public_key(&key).clone();
    let witness = countersign_tlog::NoteVerifier::cosignature_v1("w.example", key).unwrap();
    let witness = witness.published().unwrap();
    for (name, expected) in [
        (&["3", "--rekor-v1"][..], "says that it has none"),
        (&[&none], "says that it has none"),
        (&["zz"], "expected an index, or the UUID"),
        (&["1", "--rekor-v1", "--log", "instance/log-v1"], "address"),
        (&["1", "--rekor-v1", "--witness", &witness], "nobody cosigns"),
    ] {
        let (code, out, err) = told("get", name);
        assert!(code != 0 && out.is_empty() && err.contains(expected), "{name:?}: {code} {out} {err}");
    }
    // The tree only grew, and still has what bundles say.
    assert_eq!(proof(&["--kept", "one.txt", "--rekor-v1"])["oldSize"], 2);
    let verify = |more: &[&str]| told("verify", &[&["--rekor-v1"], more].concat());
    for more in [&["--kept", "one.txt"][..], &["--all"], &["--bundle", "a.sigstore.json"]] {
        let (code, out, err) = verify(more);
        assert!(code == 0 && out.contains("VERIFIED"), "{more:?}: {code} {out} {err}");
    }

    // In the next tree the index goes on, and the closed one is read as before, by its own key.
    bench.home.good(&["rotate", "log-v1", "instance"]);
    bench.home.sign_v1("c", &bench.instance.token());
    for (name, file, index) in [("2", "b", 2), (uuid.as_str(), "b", 2), ("4", "c", 1)] {
        let (code, out, err) = told("get", &[name, "--rekor-v1"]);
        assert!(code == 0 && out.contains(&digest(file)), "{name}: {code} {out} {err}");
        assert_eq!(proof(&[name, "--rekor-v1"])["logIndex"], index, "{name}");
    }
    assert_eq!(proof(&["4", "--rekor-v1"])["indexOverAllTrees"], 4);
    for more in
        [&["--kept", "one.txt"][..], &["--bundle", "a.sigstore.json"], &["--bundle", "c.sigstore.json"]]
    {
        let (code, out, err) = verify(more);
        assert!(code == 0 && out.contains("VERIFIED"), "{more:?}: {code} {out} {err}");
    }
    // By the present key alone, what the closed tree has is not believed.
    let url = bench.instance.url.trim_end_matches('/').to_owned();
    let key = ["--rekor-v1", "--log", &url, "--log-key", "instance/keys/log-v1.pub", "--origin", "localhost"];
    assert_eq!(told("get", &[&["4"][..], &key].concat()).0, 0);
    assert_eq!(told("get", &[&["2"][..], &key].concat()).0, 2);
    bench.instance.stop();
    assert_eq!(told("get", &["1", "--rekor-v1"]).0, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_rekor_v1_with_more_entries_than_are_read_is_named_with_what_to_do() {
    use axum::routing::{get, post};
    let bench = Bench::new();
    bench.sign("a");
    bench.home.sign_v1("b", &bench.instance.token());
    let key = std::sync::Arc::new(
        countersign_crypto::KeyPair::generate(countersign_crypto::KeyType::EcdsaP256).unwrap(),
    );
    let spki = countersign_crypto::Signer::public_key(&*key).spki_der().to_vec();
    let signer =
        countersign_tlog::NoteSigner::new(countersign_tlog::NoteKind::RekorV1, "127.0.0.1", key).unwrap();
    let size = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_000_001));
    let shown = std::sync::Arc::clone(&size);
    let info = move || async move {
        let size = shown.load(std::sync::atomic::Ordering::SeqCst);
        let origin = "127.0.0.1 - 7".to_owned();
        let tree = countersign_tlog::Checkpoint { origin, size, root: [7; 32], extensions: vec![] };
        let note = tree.sign(std::slice::from_ref(&signer), 0).unwrap().to_string();
        axum::Json(json!({"treeID": "7", "signedTreeHead": note}))
    };
    let router = axum::Router::new()
        .route("/api/v1/log", get(info))
        .route("/api/v1/log/entries/retrieve", post(|| async { axum::Json(json!([])) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let root = std::fs::read(bench.home.path("root.json")).unwrap();
    let mut root: serde_json::Value = serde_json::from_slice(&root).unwrap();
    let base64 = |bytes: &[u8]| countersign_crypto::encoding::base64_encode(bytes);
    root["tlogs"].as_array_mut().unwrap().push(json!({
        "baseUrl": url, "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": base64(&spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2020-01-01T00:00:00Z"}},
        "logId": {"keyId": base64(&countersign_crypto::sha256(&spki))},
    }));
    std::fs::write(bench.home.path("large.json"), root.to_string()).unwrap();
    let ask = |command: &[&str], more: &[&str]| {
        let who = ["--identity", "alice@example.com", "--trusted-root", "large.json"];
        bench.home.text(&[command, &who[..], more].concat())
    };
    for command in [&["log", "find"][..], &["log", "search"], &["incident"]] {
        let (code, out, err) = ask(command, &[]);
        let all = format!("{out}{err}");
        assert_eq!(code, 6, "{command:?}: {all}");
        // The others are looked at, and it is said which was not, why, and what can be done.
        let logs = ["in localhost - ", "127.0.0.1 - 7: it has 1000001 entries", "up to 1000000 are read"];
        for part in logs.into_iter().chain([&*format!("log monitor --rekor-v1 --log {url}")]) {
            assert!(all.contains(part), "{command:?}: {part}: {all}");
        }
        let (code, out, _) = ask(command, &["--output", "json"]);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, found["entries"].as_array().unwrap().len()), (6, 2), "{found}");
        assert!(found["notLookedAt"][0].as_str().unwrap().contains("1000001 entries"), "{found}");
    }
    // One entry less, and it is read: this one does not show them.
    size.store(1_000_000, std::sync::atomic::Ordering::SeqCst);
    for command in [&["log", "find"][..], &["log", "search"], &["incident"]] {
        let (code, _, err) = ask(command, &[]);
        assert!(
            code == 2 && err.contains("do not make the tree of its checkpoint"),
            "{command:?}: {code} {err}"
        );
    }
}

#[test]
fn a_closed_log_whose_checkpoint_does_not_verify_is_an_alarm_and_one_that_is_gone_is_not() {
    let bench = Bench::new();
    bench.sign("a");
    bench.home.good(&["rotate", "log", "instance"]);
    bench.home.good(&["trust", "update"]);
    bench.sign("b");
    let retired = std::fs::read_dir(bench.home.path("instance/retired")).unwrap();
    let retired =
        retired.map(|entry| entry.unwrap().path()).find(|path| path.join("tree/checkpoint").exists());
    let name = retired.as_ref().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let path = retired.unwrap().join("tree/checkpoint");
    let good = std::fs::read_to_string(&path).unwrap();
    let size = good.lines().nth(1).unwrap().to_owned();
    let ask = |command: &[&str], more: &[&str]| {
        bench.home.text(&[command, &["--identity", "alice@example.com"][..], more].concat())
    };
    let commands = [&["log", "find"][..], &["log", "search"], &["incident"]];
    for command in commands {
        let (code, out, err) = ask(command, &[]);
        assert_eq!((code, out.matches("alice@example.com").count()), (0, 2), "{command:?}: {out} {err}");
    }
    // Another size than was signed; no note any more.
    for spoilt in [good.replacen(&format!("\n{size}\n"), "\n9\n", 1), "gone\n".to_owned()] {
        std::fs::write(&path, spoilt).unwrap();
        for command in commands {
            let (code, out, err) = ask(command, &[]);
            assert_eq!((code, out.matches("alice@example.com").count()), (2, 1), "{command:?}: {out} {err}");
            for part in ["ALARM: the log at ", &name, "which is closed: the checkpoint of ", "evidence"] {
                assert!(err.contains(part), "{command:?}: {part}: {err}");
            }
            assert!(!format!("{out}{err}").contains("could not be looked at"), "{command:?}: {out} {err}");
            let (code, out, _) = ask(command, &["--output", "json"]);
            let found: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert!(code == 2 && found["alarms"][0].as_str().unwrap().contains(&name), "{found}");
            assert_eq!(found["notLookedAt"], json!([]), "{found}");
            // Nothing that is looked for in the others: still no all-clear.
            let nobody =
                bench.home.text(&[command, &["--digest", &format!("sha256:{}", "0".repeat(64))]].concat());
            assert_eq!(nobody.0, 2, "{nobody:?}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    for command in commands {
        let (code, out, err) = ask(command, &[]);
        let all = format!("{out}{err}");
        assert!(
            code == 6 && all.contains("could not be looked at") && !all.contains("ALARM"),
            "{code} {all}"
        );
    }
}
