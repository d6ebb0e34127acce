//! Two instances: the log of one is witnessed by the other.

use std::net::SocketAddr;
use std::path::Path;

use countersign_bundle::TlogEntry;
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, PublicKey, sha256};
use countersign_server::serve::{Running, ServeOptions, start};
use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
use countersign_tlog::{Checkpoint, Note, NoteVerifier, Witnesses};

use crate::common::{Served, make, socket};
use crate::requests::entry_request;

const NAME: &str = "w.example/one";

fn key_in(path: &Path) -> PublicKey {
    PublicKey::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A witness of the log whose key is here, and a log that asks it.
struct Pair {
    directory: tempfile::TempDir,
    /// `None` while it is away.
    witness: Option<Running>,
    log: Running,
    witnesses: Witnesses,
    client: reqwest::Client,
}

async fn run(path: &Path, listener: std::net::TcpListener) -> Running {
    start(path, ServeOptions { listener: Some(listener), ..ServeOptions::default() }).await.unwrap()
}

/// The socket of somebody who has ended.
fn at(address: SocketAddr) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn change(path: &Path, from: &str, to: &str) {
    let file = path.join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
}

impl Pair {
    async fn new(least: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (log, witness) = (directory.path().join("log"), directory.path().join("witness"));
        let (log_socket, witness_socket) = (socket(), socket());
        make(&log, &log_socket);
        make(&witness, &witness_socket);
        let witnessed = format!(
            "[witness]\nname = \"{NAME}\"\n[[witness.logs]]\norigin = \"localhost\"\nkey = \"{}\"\n\n[limits]",
            log.join("keys/log.pub").display()
        );
        change(&witness, "[limits]", &witnessed);
        let running = run(&witness, witness_socket).await;
        let key = NoteVerifier::cosignature_v1(NAME, key_in(&witness.join("keys/witness.pub"))).unwrap();
        let published = key.published().unwrap();
        let asked = format!(
            "[[log.witnesses]]\nurl = \"http://{}\"\nkey = \"{published}\"\n\n[limits]",
            running.address
        );
        change(&log, "[limits]", &asked);
        change(&log, "[log]", &format!("[log]\nmin_witnesses = {least}"));
        Self {
            witness: Some(running),
            log: run(&log, log_socket).await,
            witnesses: Witnesses::parse(&published).unwrap(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            directory,
        }
    }

    async fn add(&self, message: &[u8]) -> (u16, Vec<u8>) {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        self.send(entry_request(&key, message)).await
    }

    async fn send(&self, request: String) -> (u16, Vec<u8>) {
        let url = format!("http://{}/api/v2/log/entries", self.log.address);
        let answer = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .body(request)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn checkpoint(&self) -> Note {
        let (status, _, body) = self.get("/checkpoint").await;
        assert_eq!(status, 200, "{body}");
        Note::parse(body.as_bytes()).unwrap()
    }

    /// The status, after how many seconds to ask again, and the body.
    async fn get(&self, path: &str) -> (u16, Option<String>, String) {
        let answer = self.client.get(format!("http://{}{path}", self.log.address)).send().await.unwrap();
        let again = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), again, answer.text().await.unwrap())
    }

    async fn end_witness(&mut self) -> SocketAddr {
        let witness = self.witness.take().unwrap();
        let address = witness.address;
        witness.shutdown();
        witness.wait().await.unwrap();
        address
    }

    async fn begin_witness(&mut self, address: SocketAddr) {
        self.witness = Some(run(&self.directory.path().join("witness"), at(address)).await);
    }

    /// The log ends, its configuration is changed, and it is there again.
    async fn restart_log(self, from: &str, to: &str) -> Self {
        let Self { directory, witness, log, witnesses, client } = self;
        let address = log.address;
        log.shutdown();
        log.wait().await.unwrap();
        let path = directory.path().join("log");
        change(&path, from, to);
        Self { log: run(&path, at(address)).await, directory, witness, witnesses, client }
    }

    fn cosigners(&self, note: &Note) -> usize {
        self.witnesses.cosigners(note, SystemClock.now()).unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_acknowledged_only_in_a_tree_that_the_witness_has_cosigned() {
    let mut pair = Pair::new(1).await;
    for number in 0..5_u8 {
        let (status, body) = pair.add(&[number]).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        let entry = TlogEntry::from_json(&body).unwrap();
        let proof = entry.inclusion_proof.unwrap();
        let note = Note::parse(proof.checkpoint.as_bytes()).unwrap();
        assert_eq!(pair.cosigners(&note), 1);
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.clone().try_into().unwrap()).collect();
        let leaf = leaf_hash(&entry.canonicalized_body);
        verify_inclusion(&leaf, entry.log_index, checkpoint.size, &hashes, &checkpoint.root).unwrap();
        assert_eq!(pair.cosigners(&pair.checkpoint().await), 1, "the served one too");
    }
    // Without its witness it acknowledges nothing, and serves what was cosigned.
    let address = pair.end_witness().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let request = entry_request(&key, b"alone");
    let (status, body) = pair.send(request.clone()).await;
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    assert!(String::from_utf8_lossy(&body).contains("too few witnesses"));
    let served = pair.checkpoint().await;
    assert_eq!(pair.cosigners(&served), 1);
    // It comes back, and knows where it was.
    pair.begin_witness(address).await;
    let (status, body) = pair.send(request).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let entry = TlogEntry::from_json(&body).unwrap();
    assert_eq!(entry.log_index, Checkpoint::parse(served.text()).unwrap().size, "logged once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_just_started_shows_no_checkpoint_that_its_witnesses_have_not_cosigned() {
    let mut pair = Pair::new(1).await;
    assert_eq!(pair.add(b"a").await.0, 201);
    let before = Checkpoint::parse(pair.checkpoint().await.text()).unwrap().size;
    let address = pair.end_witness().await;
    // Where nobody waits for them, the log's own signature is enough.
    let pair = pair.restart_log("min_witnesses = 1", "min_witnesses = 0").await;
    assert_eq!(pair.cosigners(&pair.checkpoint().await), 0);
    let mut pair = pair.restart_log("min_witnesses = 0", "min_witnesses = 1").await;
    for path in ["/checkpoint", "/api/v2/checkpoint"] {
        let (status, again, body) = pair.get(path).await;
        assert_eq!((status, again.as_deref()), (503, Some("2")), "{path}: {body}");
        assert!(body.contains("too few witnesses"), "{body}");
    }
    // They are back, nobody appends anything, and it is there.
    pair.begin_witness(address).await;
    let shown = async {
        loop {
            match pair.get("/checkpoint").await {
                (503, ..) => tokio::task::yield_now().await,
                (status, _, body) => break (status, Note::parse(body.as_bytes()).unwrap()),
            }
        }
    };
    let (status, note) = tokio::time::timeout(std::time::Duration::from_secs(60), shown).await.unwrap();
    assert_eq!((status, pair.cosigners(&note)), (200, 1));
    assert_eq!(Checkpoint::parse(note.text()).unwrap().size, before);
}

/// The checkpoints that the search and the page of an entry show.
impl Pair {
    async fn searched(&self, message: &[u8]) -> Note {
        let digest = HashAlgorithm::Sha256.digest(message);
        let (status, _, body) = self.get(&format!("/api/v1/search?term=digest:{digest}")).await;
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        let note = Note::parse(answer["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(answer["treeSize"], Checkpoint::parse(note.text()).unwrap().size);
        note
    }

    async fn entry(&self, body: &[u8]) -> Note {
        let page = format!("/entry/{}", hex_encode(&sha256(body)));
        let (status, _, json) = self.get(&format!("{page}/entry.json")).await;
        assert_eq!(status, 200, "{json}");
        let entry = TlogEntry::from_json(json.as_bytes()).unwrap();
        let proof = entry.inclusion_proof.unwrap();
        let note = Note::parse(proof.checkpoint.as_bytes()).unwrap();
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.clone().try_into().unwrap()).collect();
        let leaf = leaf_hash(&entry.canonicalized_body);
        verify_inclusion(&leaf, entry.log_index, checkpoint.size, &hashes, &checkpoint.root).unwrap();
        // What people read is the same.
        let (status, _, html) = self.get(&page).await;
        assert_eq!((status, html.contains(NAME)), (200, self.cosigners(&note) == 1), "{html}");
        note
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_and_entries_are_answered_in_the_tree_that_the_witness_has_cosigned() {
    let mut pair = Pair::new(1).await;
    let (status, answer) = pair.add(b"a").await;
    assert_eq!(status, 201);
    let body = TlogEntry::from_json(&answer).unwrap().canonicalized_body;
    let served = pair.checkpoint().await;
    for note in [pair.searched(b"a").await, pair.entry(&body).await] {
        assert_eq!((pair.cosigners(&note), note.text()), (1, served.text()));
    }
    // The next entry is in the log and in no tree that the witness has seen: it is not shown, and the others are as before.
    let address = pair.end_witness().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let (status, _) = pair.send(entry_request(&key, b"alone")).await;
    assert_eq!(status, 503);
    for note in [pair.searched(b"alone").await, pair.searched(b"a").await, pair.entry(&body).await] {
        assert_eq!((pair.cosigners(&note), note.text()), (1, served.text()));
    }
    // Nothing is shown by a server that has just started, until the witness is back.
    let mut pair = pair.restart_log("min_witnesses = 1", "min_witnesses = 1 ").await;
    let entry = format!("/entry/{}", hex_encode(&sha256(&body)));
    for path in ["/api/v1/search?term=email:a@example.com", &entry, &format!("{entry}/entry.json")] {
        let (status, _, answer) = pair.get(path).await;
        assert!(
            status == 503 && answer.contains("oo few witnesses have cosigned"),
            "{path}: {status} {answer}"
        );
    }
    pair.begin_witness(address).await;
    let shown = async { while pair.get(&entry).await.0 != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), shown).await.unwrap();
    assert_eq!(pair.cosigners(&pair.entry(&body).await), 1);
    // Where nobody waits, the log's own signature is enough, and cosignatures are there as soon as they are.
    let pair = pair.restart_log("min_witnesses = 1 ", "min_witnesses = 0").await;
    let cosigned = async {
        // The index is there a moment after the start.
        while pair.get("/api/v1/search?term=email:a@example.com").await.0 == 404 {
            tokio::task::yield_now().await;
        }
        while pair.cosigners(&pair.searched(b"a").await) + pair.cosigners(&pair.entry(&body).await) < 2 {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), cosigned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_waits_the_served_checkpoint_gets_its_cosignature_after() {
    let pair = Pair::new(0).await;
    assert_eq!(pair.add(b"a").await.0, 201);
    let cosigned = async {
        loop {
            let note = pair.checkpoint().await;
            let size = Checkpoint::parse(note.text()).unwrap().size;
            if pair.cosigners(&note) == 1 && size == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), cosigned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_witness_answers_with_the_statuses_of_the_protocol() {
    let pair = Pair::new(1).await;
    assert_eq!(pair.add(b"a").await.0, 201);
    let ask = async |body: String| {
        let url = format!("http://{}/add-checkpoint", pair.witness.as_ref().unwrap().address);
        let answer = pair.client.post(url).body(body).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    };
    let note = pair.checkpoint().await.to_string();
    let size = Checkpoint::parse(pair.checkpoint().await.text()).unwrap().size;
    assert_eq!(ask("junk".into()).await.0, 400);
    assert_eq!(ask(format!("old 9999\n\n{note}")).await.0, 400);
    assert_eq!(ask(format!("old 0\n\n{}", note.replace("localhost", "elsewhere"))).await.0, 404);
    let forged = note.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1);
    assert_eq!(ask(format!("old {size}\n\n{forged}")).await.0, 403);
    let (status, kind, body) = ask(format!("old 0\n\n{note}")).await;
    assert_eq!((status, kind.as_str(), body), (409, "text/x.tlog.size", format!("{size}\n")));
    let hash = countersign_crypto::encoding::base64_encode(&[0; 32]);
    assert_eq!(ask(format!("old {size}\n{hash}\n\n{note}")).await.0, 422);
    let (status, _, line) = ask(format!("old {size}\n\n{note}")).await;
    assert!(status == 200 && line.contains(NAME), "{status} {line}");
    // An instance that is no witness has no such route.
    let served = Served::new().await;
    assert_eq!(served.post("/add-checkpoint", "text/plain", "junk").await.0, 404);
}
