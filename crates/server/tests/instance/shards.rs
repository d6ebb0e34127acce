//! The trees of the log of Rekor v1 over the years: rotated, and given to an instance that had none.

use std::sync::Arc;

use countersign_bundle::TrustedRoot;
use countersign_clock::{Clock, SystemClock};
use countersign_crypto::PublicKey;
use countersign_server::instance::{InitOptions, init};
use countersign_server::rotate::{NewKeys, Target, rotate};
use countersign_server::serve::{Running, ServeOptions, start};
use serde_json::{Value, json};

use crate::rekor_v1::{ENTRIES, JSON, check, hashedrekord, key, only};

fn serve_options() -> ServeOptions {
    let listener = crate::common::socket();
    ServeOptions { listener: Some(listener), development: true, ..ServeOptions::default() }
}

async fn ask(running: &Running, path: &str) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}{path}", running.address)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn make(running: &Running, message: &[u8]) -> (String, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{}{ENTRIES}", running.address)).header("content-type", JSON);
    let answer = request.body(hashedrekord(&key(), message).to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    only(&answer.json().await.unwrap())
}

async fn end(running: Running) {
    running.shutdown();
    running.wait().await.unwrap();
}

/// R20: after a rotation what was promised stays promised, under the old tree's key, at the same virtual index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_the_log_of_rekor_v1_rotates_and_its_old_trees_are_inactive_shards() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instance");
    init(&path, &InitOptions { requests_per_second: 0, ..InitOptions::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = start(&path, serve_options()).await.unwrap();
    let (old_id, old) = make(&running, b"old").await;
    let state = ask(&running, "/api/v1/log").await;
    end(running).await;
    let report = rotate(&path, Target::LogV1, &NewKeys::default(), None, &clock).unwrap();
    assert!(report.readable_at.unwrap().contains("/retired/logv1-"));

    let running = start(&path, serve_options()).await.unwrap();
    let now = ask(&running, "/api/v1/log").await;
    assert_ne!(now["treeID"], state["treeID"]);
    assert_eq!(now["inactiveShards"][0]["treeID"], state["treeID"]);
    assert_eq!(now["inactiveShards"][0]["signedTreeHead"], state["signedTreeHead"]);
    let (new_id, new) = make(&running, b"new").await;
    // Two of the old tree, the first of the new one, then this.
    assert_eq!((&old["logIndex"], &new["logIndex"]), (&json!(1), &json!(3)));
    assert_eq!(new["verification"]["inclusionProof"]["logIndex"], 1);
    let key_of = async |tree: &Value| {
        let url =
            format!("http://{}/api/v1/log/publicKey?treeID={}", running.address, tree.as_str().unwrap());
        PublicKey::from_pem(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap()
    };
    let keys = (key_of(&state["treeID"]).await, key_of(&now["treeID"]).await);
    assert_ne!(keys.0, keys.1);
    for (place, id, key) in [
        (format!("{ENTRIES}?logIndex=1"), &old_id, &keys.0),
        (format!("{ENTRIES}/{old_id}"), &old_id, &keys.0),
        (format!("{ENTRIES}/{}", &old_id[16..]), &old_id, &keys.0),
        (format!("{ENTRIES}?logIndex=3"), &new_id, &keys.1),
    ] {
        let (found, entry) = only(&ask(&running, &place).await);
        assert_eq!(found, *id, "{place}");
        check(&found, &entry, key);
    }
    let root =
        TrustedRoot::from_json(ask(&running, "/trusted_root.json").await.to_string().as_bytes()).unwrap();
    assert_eq!(root.tlogs.len(), 3);
    for (key, in_use) in [(&keys.0, false), (&keys.1, true)] {
        let listed = root.tlogs.iter().find(|l| l.log_id == key.fingerprint()).unwrap();
        assert_eq!(listed.public_key.valid_for.end.is_none(), in_use);
    }
    end(running).await;
    // Nobody holds a tree any more: it rotates once more, and there are two shards then.
    rotate(&path, Target::LogV1, &NewKeys::default(), None, &clock).unwrap();
    let running = start(&path, serve_options()).await.unwrap();
    let now = ask(&running, "/api/v1/log").await;
    assert_eq!(now["inactiveShards"].as_array().unwrap().len(), 2);
    let (_, entry) = only(&ask(&running, &format!("{ENTRIES}?logIndex=3")).await);
    assert_eq!((&entry["body"], &entry["logIndex"]), (&new["body"], &json!(3)));
    end(running).await;
    // The other log did not notice.
    assert_eq!(root.tlogs.iter().filter(|l| l.public_key.key_details == "PKIX_ED25519").count(), 1);
}

/// An instance made before there was such a log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_instance_gets_the_log_by_one_command_and_no_half_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instance");
    init(&path, &InitOptions { requests_per_second: 0, ..InitOptions::default() }).unwrap();
    let file = path.join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("rekor_v1 = true\n").unwrap();
    std::fs::write(&file, format!("{before}{after}")).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let add = || rotate(&path, Target::LogV1, &NewKeys::default(), None, &clock);
    // Switched off: no routes, and what there is of it is not overwritten.
    let running = start(&path, serve_options()).await.unwrap();
    let url = format!("http://{}/api/v1/log", running.address);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 404);
    end(running).await;
    assert!(add().unwrap_err().to_string().contains("switched off"));
    std::fs::remove_dir_all(path.join("log-v1")).unwrap();
    for name in ["log-v1.key", "log-v1.pub"] {
        std::fs::remove_file(path.join("keys").join(name)).unwrap();
    }
    // What fails in the middle leaves nothing behind.
    let (tuf, aside) = (path.join("tuf"), path.join("tuf.aside"));
    std::fs::rename(&tuf, &aside).unwrap();
    add().unwrap_err();
    std::fs::rename(&aside, &tuf).unwrap();
    assert!(!path.join("log-v1").exists() && !path.join("keys/log-v1.key").exists());
    assert!(!std::fs::read_to_string(&file).unwrap().contains("rekor_v1 = true"));

    assert_eq!(add().unwrap().retired, None);
    let running = start(&path, serve_options()).await.unwrap();
    make(&running, b"first").await;
    let root =
        TrustedRoot::from_json(ask(&running, "/trusted_root.json").await.to_string().as_bytes()).unwrap();
    assert_eq!(root.tlogs.iter().filter(|l| l.public_key.valid_for.end.is_none()).count(), 2);
    assert_eq!(root.tlogs.len(), 3, "with the one that was switched off");
    let config = ask(&running, "/signing_config.v0.2.json").await;
    let versions: Vec<u64> = config["rekorTlogUrls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["majorApiVersion"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [2, 1]);
    end(running).await;
}
