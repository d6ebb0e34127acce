//! Logs past one machine are rotated where they lie: by whoever has the instance's directory, beside a machine that has
//! the directory of before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_clock::{Clock, SystemClock};
use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer as _};
use countersign_log::storage::{Credentials, Distributed, LEASE, Objects};
use countersign_log::{LogError, freeze};
use countersign_server::ServerError;
use countersign_server::doctor::{self, Level};
use countersign_server::instance::{InitOptions, Instance, init};
use countersign_server::rotate::{NewKeys, RotateReport, Target, rotate};
use countersign_server::serve::{Running, ServeOptions, start};
use countersign_server::store::{Destination, move_logs};
use countersign_tlog::tile::{TileKind, TilePath, parse_entries};
use countersign_tlog::{Checkpoint, Note};
use reqwest::Client;
use serde_json::{Value, json};

use crate::postgres::Server;
use crate::rekor_v1::{self, check, hashedrekord, only};
use crate::requests::{MINT, claims, entry_request, token_in};
use crate::s3::FakeS3;

const ENTRIES: &str = "/api/v2/log/entries";

/// An instance whose logs are in a store, and the store.
struct World {
    database: Server,
    objects: FakeS3,
    directory: tempfile::TempDir,
    path: PathBuf,
    client: Client,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

impl World {
    fn new() -> Option<Self> {
        let database = Server::own()?;
        let (objects, directory) = (FakeS3::start(), tempfile::tempdir().unwrap());
        let path = directory.path().join("instance");
        init(&path, &InitOptions { requests_per_second: 0, ..InitOptions::default() }).unwrap();
        std::fs::write(path.join("s3"), "[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
            .unwrap();
        let file = path.join("countersign.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let store = format!(
            "\n[store]\ndatabase = \"{}\"\nobjects = \"{}\"\nobjects_credentials_file = \"s3\"\n",
            database.url(),
            objects.url("logs")
        );
        std::fs::write(&file, text + &store).unwrap();
        assert_eq!(move_logs(&path, Destination::Distributed, &clock()).unwrap().len(), 3);
        Some(Self {
            database,
            objects,
            directory,
            path,
            client: Client::builder().no_proxy().build().unwrap(),
        })
    }

    /// The directory as it is now, on another machine.
    fn copied(&self, name: &str) -> PathBuf {
        let to = self.directory.path().join(name);
        let copied = std::process::Command::new("cp").arg("-a").args([&self.path, &to]).status().unwrap();
        assert!(copied.success());
        to
    }

    async fn rotate(&self, target: Target) -> Result<RotateReport, ServerError> {
        rotate_in(&self.path, target).await
    }

    async fn get(&self, running: &Running, path: &str) -> (u16, Vec<u8>) {
        let answer = self.client.get(format!("http://{}{path}", running.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn json(&self, running: &Running, path: &str) -> Value {
        let (status, body) = self.get(running, path).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Writes an entry; gives the status, after how many seconds to ask again, and the answer.
    async fn post(&self, running: &Running, path: &str, body: String) -> (u16, Option<String>, Vec<u8>) {
        let url = format!("http://{}{path}", running.address);
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        let again = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), again, answer.bytes().await.unwrap().to_vec())
    }

    /// The bodies of all entries of a log but the first, which is its own.
    async fn entries(&self, running: &Running, place: &str) -> Vec<Vec<u8>> {
        let (status, note) = self.get(running, &format!("{place}/checkpoint")).await;
        assert_eq!(status, 200, "{place}");
        let size = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap().size;
        let mut entries = Vec::new();
        for bundle in 0.. {
            let Some(path) = TilePath::in_tree(TileKind::Entries, bundle, size) else { break };
            let (status, bytes) = self.get(running, &format!("{place}/{path}")).await;
            assert_eq!(status, 200, "{place}/{path}");
            entries.extend(parse_entries(&bytes, path.width).unwrap().into_iter().map(<[u8]>::to_vec));
        }
        assert_eq!(entries.len() as u64, size);
        entries.split_off(1)
    }
}

async fn rotate_in(path: &Path, target: Target) -> Result<RotateReport, ServerError> {
    let path = path.to_owned();
    let done =
        tokio::task::spawn_blocking(move || rotate(&path, target, &NewKeys::default(), None, &clock()));
    done.await.unwrap()
}

async fn serve(path: &Path) -> Running {
    let listener = Some(crate::common::socket());
    start(path, ServeOptions { listener, development: true, ..ServeOptions::default() }).await.unwrap()
}

async fn end(running: Running) {
    running.shutdown();
    running.wait().await.unwrap();
}

/// What it says of an instance that is wrong.
fn problems(path: &Path) -> String {
    let found = doctor::run(path, None, &SystemClock).into_iter().filter(|f| f.level == Level::Problem);
    found.map(|f| format!("{}: {}; {}\n", f.what, f.found, f.next)).collect()
}

/// A key for a certificate, with the proof that it is there.
fn request_key(email: &str) -> Value {
    let key = key();
    let proof = base64_encode(&key.sign(email.as_bytes()).unwrap());
    json!({"publicKey": {"algorithm": "", "content": key.public_key().to_pem()}, "proofOfPossession": proof})
}

/// The name by which a rotated log is read.
fn name_of(report: &RotateReport) -> String {
    let address = report.readable_at.as_deref().unwrap();
    format!("/retired/{}", address.rsplit_once('/').unwrap().1)
}

fn body_of(answer: &[u8]) -> Vec<u8> {
    let entry: Value = serde_json::from_slice(answer).unwrap();
    base64_decode(entry["canonicalizedBody"].as_str().unwrap()).unwrap()
}

/// Two servers with one directory, and a third on a machine with a copy of it, under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r20_no_write_is_refused_where_the_directory_is_and_each_entry_is_in_one_tree() {
    let Some(world) = World::new().map(Arc::new) else { return };
    let elsewhere = world.copied("elsewhere");
    let here = [serve(&world.path).await, serve(&world.path).await];
    let here = Arc::new(here);
    let there = Arc::new(serve(&elsewhere).await);
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6_u8)
        .map(|writer| {
            let (world, here, there, ended) =
                (Arc::clone(&world), Arc::clone(&here), Arc::clone(&there), Arc::clone(&ended));
            tokio::spawn(async move {
                let (key, mut bodies, mut refused) = (key(), Vec::new(), 0);
                let mut longest = Duration::ZERO;
                for number in 0_u64.. {
                    let at_home = writer < 4;
                    let server = if at_home { &here[usize::from(writer) % 2] } else { &*there };
                    let request = entry_request(&key, &[&[writer][..], &number.to_be_bytes()].concat());
                    let asked = Instant::now();
                    let (status, again, answer) = world.post(server, ENTRIES, request).await;
                    longest = longest.max(asked.elapsed());
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    match status {
                        201 => bodies.push(body_of(&answer)),
                        503 if !at_home => {
                            assert!(again.is_some() && text.contains("rotated out"), "{text}");
                            refused += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        _ => panic!("a write was refused: {status} {text}"),
                    }
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                }
                (bodies, refused, longest)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut trees = Vec::new();
    for target in [Target::Log, Target::Ca, Target::Log] {
        let report = world.rotate(target).await.unwrap();
        assert!(report.served && report.past_one_machine);
        trees.extend((target == Target::Log).then(|| name_of(&report)));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    ended.store(true, Ordering::SeqCst);
    let (mut written, mut refused, mut longest) = (Vec::new(), 0, Duration::ZERO);
    for writer in writers {
        let (bodies, away, waited) = writer.await.unwrap();
        longest = longest.max(waited);
        written.extend(bodies);
        refused += away;
    }
    assert!(refused > 0, "the other machine was told");
    trees.push("/api/v2".to_owned());
    let mut logged = Vec::new();
    for tree in &trees {
        let entries = world.entries(&here[0], tree).await;
        assert!(!entries.is_empty(), "{tree}");
        assert_eq!(entries, world.entries(&here[1], tree).await);
        logged.extend(entries);
    }
    eprintln!(
        "{} written, {refused} refused on the other machine; the longest answer took {longest:?}",
        written.len()
    );
    logged.sort();
    written.sort();
    assert!(logged == written, "each in one of the trees, once: {} logged", logged.len());

    // The other machine goes on to show what it has, and says that it is not ready.
    assert_eq!(world.entries(&there, "/api/v2").await, world.entries(&here[0], &trees[0]).await);
    let (status, text) = world.get(&there, "/readyz").await;
    let text = String::from_utf8(text).unwrap();
    assert!(status == 503 && text.contains("rotated out on another machine: the transparency log"), "{text}");
    end(Arc::into_inner(there).unwrap()).await;
    // With that directory it is not rotated again, nor moved away, and starting it forks nothing.
    let told = rotate_in(&elsewhere, Target::Log).await.unwrap_err().to_string();
    assert!(told.contains("rotated out") && told.contains("Copy the instance's directory"), "{told}");
    let moved = move_logs(&elsewhere, Destination::Local, &clock()).unwrap_err().to_string();
    assert!(moved.contains("rotated out"), "{moved}");
    let found = problems(&elsewhere);
    assert!(
        found.contains("transparency log: it was rotated out") && found.contains("copy the directory"),
        "{found}"
    );
    let again = serve(&elsewhere).await;
    let (status, wait, _) = world.post(&again, ENTRIES, entry_request(&key(), b"late")).await;
    assert_eq!((status, wait.is_some()), (503, true));
    end(again).await;
    // With a copy of today's it takes part.
    let renewed = serve(&world.copied("renewed")).await;
    let (status, _, answer) = world.post(&renewed, ENTRIES, entry_request(&key(), b"new")).await;
    assert_eq!(status, 201);
    assert_eq!(world.entries(&here[0], &trees[0]).await, world.entries(&renewed, &trees[0]).await);
    assert!(world.entries(&renewed, "/api/v2").await.contains(&body_of(&answer)));
    end(renewed).await;
    let [one, two] = Arc::into_inner(here).unwrap();
    end(one).await;
    end(two).await;
    assert_eq!(problems(&world.path), "");
}

/// The log of Rekor v1 and the CT log, twice; and all of it moved into the directory at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r20_old_trees_are_served_out_of_the_store_and_move_back_with_the_others() {
    let Some(world) = World::new() else { return };
    let mut made: Vec<(String, Value, PublicKey)> = Vec::new();
    let there = serve(&world.copied("elsewhere")).await;
    let mut running = serve(&world.path).await;
    for round in 0..3_u8 {
        let body = hashedrekord(&key(), &[round]).to_string();
        let (status, _, answer) = world.post(&running, rekor_v1::ENTRIES, body).await;
        assert_eq!(status, 201);
        let (id, entry) = only(&serde_json::from_slice(&answer).unwrap());
        let (_, pem) = world.get(&running, "/api/v1/log/publicKey").await;
        made.push((id, entry, PublicKey::from_pem(std::str::from_utf8(&pem).unwrap()).unwrap()));
        if round < 2 {
            world.rotate(Target::LogV1).await.unwrap();
            let report = world.rotate(Target::Ct).await.unwrap();
            let (status, note) = world.get(&running, &format!("{}/checkpoint", name_of(&report))).await;
            assert_eq!(status, 200);
            let size = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap().size;
            let tile = TilePath::in_tree(TileKind::Hashes { level: 0 }, 0, size).unwrap();
            assert_eq!(world.get(&running, &format!("{}/{tile}", name_of(&report))).await.0, 200);
            assert_eq!(world.get(&running, &format!("{}/tile/0/007", name_of(&report))).await.0, 404);
        }
    }
    assert_eq!(problems(&world.path), "");
    let shards = async |running: &Running| {
        let state = world.json(running, "/api/v1/log").await;
        assert_eq!(state["inactiveShards"].as_array().unwrap().len(), 2);
        for (at, (id, entry, key)) in made.iter().enumerate() {
            // Each tree has its own first entry.
            assert_eq!(entry["logIndex"], json!(2 * at + 1));
            for place in [
                format!("{}/{id}", rekor_v1::ENTRIES),
                format!("{}/{}", rekor_v1::ENTRIES, &id[16..]),
                format!("{}?logIndex={}", rekor_v1::ENTRIES, 2 * at + 1),
            ] {
                let (found, entry) = only(&world.json(running, &place).await);
                assert_eq!(found, *id, "{place}");
                check(&found, &entry, key);
            }
        }
    };
    shards(&running).await;
    // Where the directory of before is, nothing is logged and so nobody gets a certificate.
    let old = hashedrekord(&key(), b"late").to_string();
    let minted = world.post(&there, MINT, claims("alice@example.com")).await.2;
    let certificate = json!({
        "credentials": {"oidcIdentityToken": token_in(&minted)},
        "publicKeyRequest": request_key("alice@example.com"),
    });
    for (path, body, reason) in [
        (rekor_v1::ENTRIES, old, "rotated out"),
        // Of its insides a certificate authority tells no more.
        ("/api/v2/signingCert", certificate.to_string(), "error communicating with CA backend"),
    ] {
        let (status, again, text) = world.post(&there, path, body).await;
        let text = String::from_utf8(text).unwrap();
        assert!(status == 503 && again.is_some() && text.contains(reason), "{path}: {status} {text}");
    }
    let (status, text) = world.get(&there, "/readyz").await;
    let text = String::from_utf8(text).unwrap();
    assert!(status == 503 && text.contains("the Rekor v1 log, the CT log"), "{text}");
    let (status, ..) = world.post(&there, ENTRIES, entry_request(&key(), b"the same")).await;
    assert_eq!(status, 201, "that log is the one of everybody");
    end(there).await;
    // As each process of many does.
    let second = serve(&world.path).await;
    shards(&second).await;
    end(second).await;
    end(running).await;

    let moved = {
        let path = world.path.clone();
        tokio::task::spawn_blocking(move || move_logs(&path, Destination::Local, &clock())).await.unwrap()
    };
    let moved = moved.unwrap();
    let retired = moved.iter().filter(|(name, _)| name.starts_with("retired ")).count();
    assert_eq!((moved.len(), retired), (7, 4), "{moved:?}");
    let file = world.path.join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (plain, _) = text.split_once("\n[store]").unwrap();
    std::fs::write(&file, plain).unwrap();
    running = serve(&world.path).await;
    shards(&running).await;
    // Rotated here it is in files, whatever names it had.
    let report = world.rotate(Target::Log).await.unwrap();
    assert!(!report.past_one_machine);
    assert_eq!(world.get(&running, &format!("{}/checkpoint", name_of(&report))).await.0, 200);
    end(running).await;
    assert_eq!(problems(&world.path), "");
    // And the new one moves where the old one was, which is another log.
    std::fs::write(&file, &text).unwrap();
    let path = world.path.clone();
    let back =
        tokio::task::spawn_blocking(move || move_logs(&path, Destination::Distributed, &clock())).await;
    assert_eq!(back.unwrap().unwrap().len(), 3);
    running = serve(&world.path).await;
    shards(&running).await;
    assert_eq!(world.get(&running, &format!("{}/checkpoint", name_of(&report))).await.0, 200);
    let (status, ..) = world.post(&running, ENTRIES, entry_request(&key(), b"back")).await;
    assert_eq!(status, 201);
    // The old trees are files now, which one process has open and the other only reads.
    let second = serve(&world.path).await;
    shards(&second).await;
    end(second).await;
    end(running).await;
}

/// What fails puts all of it back, for whoever serves the log elsewhere as well; what is cut off is healed by rotating again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_fails_is_undone_and_one_that_is_cut_off_is_taken_up_again() {
    let Some(world) = World::new() else { return };
    let there = serve(&world.copied("elsewhere")).await;
    let write = async |number: u8| world.post(&there, ENTRIES, entry_request(&key(), &[number])).await.0;
    assert_eq!(write(1).await, 201);
    let (log, keys) = (world.path.join("log"), world.path.join("keys/log.pub"));
    let before = (std::fs::read(&keys).unwrap(), world.entries(&there, "/api/v2").await);
    let (tuf, aside) = (world.path.join("tuf"), world.path.join("tuf.aside"));
    std::fs::rename(&tuf, &aside).unwrap();
    let error = world.rotate(Target::Log).await.unwrap_err().to_string();
    assert!(error.contains("TUF"), "{error}");
    std::fs::rename(&aside, &tuf).unwrap();
    assert_eq!(std::fs::read_to_string(log.join("store-name")).unwrap(), "log\n");
    assert!(!log.join("successor").exists());
    // It learns of both within a second or so.
    let mut status = 0;
    for _ in 0..100 {
        status = write(2).await;
        if status == 201 {
            break;
        }
        assert_eq!(status, 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status, 201);
    let here = serve(&world.path).await;
    let (status, _, answer) = world.post(&here, ENTRIES, entry_request(&key(), b"put back")).await;
    assert_eq!(status, 201);
    end(there).await;
    let entries = world.entries(&here, "/api/v2").await;
    assert!(entries.starts_with(&before.1) && entries.contains(&body_of(&answer)));
    assert_eq!(std::fs::read(&keys).unwrap(), before.0);
    end(here).await;

    // Killed after the log had ended, and before anything was moved.
    let secret = Credentials { id: "a".into(), secret: "b".to_owned().into(), token: None };
    let objects = Objects::s3(&world.objects.url("logs"), Some(&secret)).unwrap();
    let stored = Distributed::new("log", Arc::new(world.database.database()), &objects, LEASE);
    std::fs::write(log.join("successor"), "log-next\n").unwrap();
    let instance = Instance::open(&world.path).unwrap();
    let password = std::fs::read_to_string(instance.directory.join("keys/password")).unwrap();
    let password = countersign_keys::PasswordSource::Literal(password.into());
    let reference = countersign_keys::KeyRef::File(world.path.join("keys/log.key"));
    let signers = [countersign_keys::load_signer(&reference, &password).unwrap()];
    let ended = async |stored: Distributed| {
        let signers = signers.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let options = countersign_log::Options::default();
            freeze(&stored, &options, &signers, &clock(), "log-next").map(|_| stored)
        });
        ended.await.unwrap().unwrap()
    };
    let stored = ended(stored).await;
    // Killed later still: what is under way was written down, and whoever serves it next puts it back.
    let retired = world.path.join("retired/log-cut-off");
    std::fs::create_dir_all(&retired).unwrap();
    let journal = world.path.join("rotation.json");
    std::fs::write(&journal, r#"[{"from": "log", "to": "retired/log-cut-off/tree"}]"#).unwrap();
    std::fs::rename(&log, retired.join("tree")).unwrap();
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("store-name"), "log-next\n").unwrap();
    assert!(problems(&world.path).contains("cut off before anything was published"));
    let here = serve(&world.path).await;
    let (status, _, answer) = world.post(&here, ENTRIES, entry_request(&key(), b"goes on")).await;
    assert_eq!(status, 201);
    let entries = [entries, vec![body_of(&answer)]].concat();
    assert_eq!(world.entries(&here, "/api/v2").await, entries);
    assert!(!journal.exists() && !log.join("successor").exists());
    end(here).await;
    std::fs::write(log.join("successor"), "log-next\n").unwrap();
    let stored = ended(stored).await;
    let found = problems(&world.path);
    assert!(found.contains("countersign rotate log` once more"), "{found}");
    let report = world.rotate(Target::Log).await.unwrap();
    assert_eq!(std::fs::read_to_string(log.join("store-name")).unwrap(), "log-next\n");
    assert_eq!(problems(&world.path), "");
    let here = serve(&world.path).await;
    assert_eq!(world.entries(&here, &name_of(&report)).await, entries);
    let (status, ..) = world.post(&here, ENTRIES, entry_request(&key(), b"next")).await;
    assert_eq!((status, world.entries(&here, "/api/v2").await.len()), (201, 1));
    end(here).await;
    // It ended for good.
    let undone =
        tokio::task::spawn_blocking(move || countersign_log::thaw(&stored, "log-other")).await.unwrap();
    assert!(matches!(undone, Err(LogError::Frozen { .. })));
}

/// An instance without a log of Rekor v1 gets one in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_rekor_v1_begins_in_the_store() {
    let Some(world) = World::new() else { return };
    let file = world.path.join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("rekor_v1 = true\n").unwrap();
    std::fs::write(&file, format!("{before}{after}")).unwrap();
    std::fs::remove_dir_all(world.path.join("log-v1")).unwrap();
    for name in ["log-v1.key", "log-v1.pub"] {
        std::fs::remove_file(world.path.join("keys").join(name)).unwrap();
    }
    let report = world.rotate(Target::LogV1).await.unwrap();
    assert_eq!(report.retired, None);
    let names: BTreeMap<_, _> =
        ["log", "log-v1"].map(|log| (log, world.path.join(log).join("lock-record").exists())).into();
    assert_eq!(names, BTreeMap::from([("log", false), ("log-v1", false)]), "not in files");
    let running = serve(&world.path).await;
    let body = hashedrekord(&key(), b"first").to_string();
    assert_eq!(world.post(&running, rekor_v1::ENTRIES, body).await.0, 201);
    end(running).await;
}
