//! What a monitor of a log tells arrives: every kind of alert at a webhook, signed, and in the mail.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding::{base64_encode, hex_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, PublicKey, Signer as _, hmac_sha256};
use countersign_tlog::merkle::leaf_hash;
use countersign_tlog::tile::{self, TileKind, TilePath};
use countersign_tlog::{Checkpoint, NoteKind, NoteSigner, NoteVerifier, merkle::Frontier};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::monitoring::Bench;
use crate::receivers::{mail_server, receiver};
use crate::support::Home;

const NAME: &str = "log.test";
const SECRET: &[u8] = b"shared secret";

/// Who is told, by two ways.
struct Hearing {
    webhook: UnboundedReceiver<(HeaderMap, Bytes)>,
    mails: UnboundedReceiver<Vec<String>>,
    options: Vec<String>,
}

impl Hearing {
    async fn new(home: &Home) -> Self {
        std::fs::write(home.path("secret"), [SECRET, b"\n"].concat()).unwrap();
        let ((url, webhook), (server, mails)) = (receiver(204).await, mail_server("250 taken\r\n").await);
        let (url, server) = (url.to_string(), server.to_string());
        let options = ["--alert-webhook", &url, "--alert-webhook-secret", "secret", "--alert-email"];
        let mail = ["ops@acme.example", "--alert-email-from", "log@acme.example", "--alert-smtp", &server];
        let options = options.iter().chain(&mail).map(ToString::to_string).collect();
        Self { webhook, mails, options }
    }

    /// The one alert of a look at a log, as it arrived at both, and the exit code.
    async fn hear(&mut self, home: &Home, more: &[&str]) -> (i32, Value) {
        let options = self.options.iter().map(String::as_str);
        let command = ["log", "monitor", "--once"].into_iter().chain(more.iter().copied()).chain(options);
        let (code, out, err) = home.text(&command.collect::<Vec<_>>());
        assert!(code == 0 || code == 2, "{more:?}: {code} {out} {err}");
        assert!(!out.is_empty(), "{more:?}: nothing was told: {err}");
        (code, self.heard().await)
    }

    async fn heard(&mut self) -> Value {
        let (headers, body) = self.webhook.recv().await.unwrap();
        let expected = format!("sha256={}", hex_encode(&hmac_sha256(SECRET, &body)));
        assert_eq!(headers["x-countersign-signature-256"], expected.as_str());
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&told["schema"], told["alerts"].as_array().unwrap().len()),
            (&"countersign.alerts".into(), 1)
        );
        let alert = told["alerts"][0].clone();
        assert_eq!(alert["schema"], "countersign.log-alert");
        let mail = plain(&self.mails.recv().await.unwrap());
        for part in ["message", "next"] {
            let text = alert[part].as_str().unwrap();
            assert!(!text.is_empty() && mail.contains(text), "{text}: {mail}");
        }
        for part in ["MAIL FROM:<log@acme.example>", "RCPT TO:<ops@acme.example>", "Subject: countersign:"] {
            assert!(mail.contains(part), "{part}: {mail}");
        }
        let kind = alert["kind"].as_str().unwrap();
        let title = if kind == "watched" { "somebody who is watched" } else { kind };
        assert!(mail.contains(title), "{title}: {mail}");
        assert!(self.webhook.try_recv().is_err() && self.mails.try_recv().is_err(), "told once");
        alert
    }
}

/// A message as it was written, out of its lines on the way: quoted-printable (RFC 2045), a dot before each that begins a
/// line (RFC 5321).
fn plain(lines: &[String]) -> String {
    let lines =
        lines.iter().map(|line| line.strip_prefix("..").map_or(line.clone(), |rest| format!(".{rest}")));
    let (text, mut bytes) = (lines.collect::<Vec<_>>().join("\n").replace("=\n", ""), Vec::new());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let coded = (*first == b'=').then(|| after.get(..2)).flatten();
        let coded = coded.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(coded.unwrap_or(*first));
        rest = if coded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_being_watched_is_told_to_the_webhook_and_in_the_mail() {
    let bench = Bench::new();
    bench.home.good(&["generate-key-pair", "--output-key-prefix", "k"]);
    bench.sign("a");
    std::fs::write(bench.home.path("b"), "b").unwrap();
    bench.home.good(&["sign", "b", "--key", "k.key"]);
    let pem = std::fs::read_to_string(bench.home.path("k.pub")).unwrap();
    let print = hex_encode(&PublicKey::from_pem(&pem).unwrap().fingerprint());
    let digest = |name: &str| HashAlgorithm::Sha256.digest(name.as_bytes()).to_string();
    let (a, print, mut hearing) = (digest("a"), format!("sha256:{print}"), Hearing::new(&bench.home).await);
    for (number, (option, value, found)) in [
        ("--watch-identity", "alice@example.com", "a"),
        ("--watch-identity-regexp", ".*@example\\.com", "a"),
        ("--watch-digest", &a, "a"),
        ("--watch-key", "k.pub", "b"),
        ("--watch-key", &print, "b"),
    ]
    .into_iter()
    .enumerate()
    {
        let state = format!("state-{number}");
        let watch = ["--whole", "--state", &state, option, value];
        let (code, alert) = hearing.hear(&bench.home, &watch).await;
        assert_eq!(code, 0, "{alert}");
        assert_eq!((&alert["kind"], &alert["digest"]), (&"watched".into(), &digest(found).into()), "{alert}");
        assert_eq!(
            alert["log"].as_str().unwrap().trim_end_matches('/'),
            bench.instance.url.trim_end_matches('/')
        );
    }
}

/// A log of a test: its key, and what it shows in a directory or at an address.
struct Log {
    signer: NoteSigner,
    entries: Vec<String>,
}

impl Log {
    fn new(kind: NoteKind, key: KeyType, home: &Home) -> Self {
        let key = KeyPair::generate(key).unwrap();
        std::fs::write(home.path("log.pub"), key.public_key().to_pem()).unwrap();
        let signer = NoteSigner::new(kind, NAME, Arc::new(key)).unwrap();
        Self { signer, entries: (0..10).map(|i| format!("entry {i}")).collect() }
    }

    fn note(&self, origin: &str) -> String {
        let mut tree = Frontier::default();
        self.entries.iter().for_each(|entry| tree.push(leaf_hash(entry.as_bytes())));
        let (size, root) = (tree.size(), tree.root());
        let checkpoint = Checkpoint { origin: origin.into(), size, root, extensions: vec![] };
        checkpoint.sign(std::slice::from_ref(&self.signer), 0).unwrap().to_string()
    }

    /// Writes it in place of what is there: up to 256 entries, which are one tile.
    fn write(&self, home: &Home) {
        let _ = std::fs::remove_dir_all(home.path("log"));
        let hashes: Vec<u8> = self.entries.iter().flat_map(|entry| leaf_hash(entry.as_bytes())).collect();
        self.put(home, TileKind::Hashes { level: 0 }, &hashes);
        self.write_entries(home);
        std::fs::write(home.path("log/checkpoint"), self.note(NAME)).unwrap();
    }

    fn write_entries(&self, home: &Home) {
        let mut bundle = Vec::new();
        self.entries.iter().for_each(|entry| tile::push_entry(&mut bundle, entry.as_bytes()).unwrap());
        self.put(home, TileKind::Entries, &bundle);
    }

    fn put(&self, home: &Home, kind: TileKind, bytes: &[u8]) {
        let size = u64::try_from(self.entries.len()).unwrap();
        let path = home.path("log").join(TilePath::in_tree(kind, 0, size).unwrap().to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_promise_that_a_log_breaks_is_told_to_the_webhook_and_in_the_mail() {
    let home = Home::new();
    let mut hearing = Hearing::new(&home).await;
    let log = Log::new(NoteKind::Ed25519, KeyType::Ed25519, &home);
    let place = ["--log", "log", "--log-key", "log.pub", "--origin", NAME];
    let other = KeyPair::generate(KeyType::Ed25519).unwrap();
    let witness = NoteVerifier::cosignature_v1("w.example", other.public_key().clone()).unwrap();
    let witness = witness.published().unwrap();
    let rewritten = {
        let mut log = Log { signer: log.signer.clone(), entries: log.entries.clone() };
        log.entries[3].push('!');
        log
    };
    std::fs::write(home.path("theirs.txt"), rewritten.note(NAME)).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut entries = log.entries.clone();
        change(&mut entries);
        Log { signer: log.signer.clone(), entries }.write(&home);
    };
    let checkpoint = |note: String| std::fs::write(home.path("log/checkpoint"), note).unwrap();
    let stranger = NoteSigner::new(NoteKind::Ed25519, NAME, Arc::new(other)).unwrap();
    let stranger = Log { signer: stranger, entries: log.entries.clone() };
    for (kind, more, act) in [
        ("shrunk", &[][..], &(|| changed(&|entries| drop(entries.pop()))) as &dyn Fn()),
        ("forked", &[], &|| rewritten.write(&home)),
        ("discontinued", &[], &|| {
            changed(&|entries| {
                entries[3].push('!');
                entries.push("more".into());
            });
        }),
        ("rewritten", &["--again"], &|| rewritten.write_entries(&home)),
        ("withheld", &[], &|| {
            changed(&|entries| entries.push("more".into()));
            std::fs::remove_dir_all(home.path("log/tile/entries")).unwrap();
        }),
        ("checkpoint", &[], &|| stranger.write(&home)),
        ("origin", &[], &|| checkpoint(log.note("other.test"))),
        ("unwitnessed", &["--witness", &witness], &|| ()),
        ("equivocated", &["--seen-by-others", "theirs.txt"], &|| ()),
    ] {
        log.write(&home);
        let look = [&["--state", kind][..], &place].concat();
        home.good(&[&["log", "monitor", "--once"][..], &look].concat());
        act();
        let (code, alert) = hearing.hear(&home, &[&look[..], more].concat()).await;
        assert_eq!((code, &alert["kind"]), (2, &kind.into()), "{alert}");
        assert_eq!(alert["log"], "log", "{alert}");
        if kind == "rewritten" {
            let message = alert["message"].as_str().unwrap();
            assert!(message.ends_with("entry 3, in tile/entries/000.p/10, is another"), "{message}");
        }
        let evidence = alert["evidence"].as_str().unwrap();
        assert!(evidence.starts_with(&format!("{kind}/{kind}-")) && home.path(evidence).exists(), "{alert}");
    }
    // Without being told to, the monitor reads the old entries again in their turn.
    log.write(&home);
    let look = [&["--state", "in-turn"][..], &place].concat();
    home.good(&[&["log", "monitor", "--once"][..], &look].concat());
    home.good(&[&["log", "monitor", "--once"][..], &look].concat());
    rewritten.write_entries(&home);
    let (code, alert) = hearing.hear(&home, &look).await;
    assert_eq!((code, &alert["kind"]), (2, &"rewritten".into()), "{alert}");
    assert!(alert["message"].as_str().unwrap().contains("entry 3, in tile/entries/000.p/10"), "{alert}");
    // Once it shows again what it signed, it keeps its promises.
    log.write(&home);
    home.good(&[&["log", "monitor", "--once"][..], &look].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_cannot_be_are_told_to_the_webhook_and_in_the_mail() {
    let home = Home::new();
    let mut hearing = Hearing::new(&home).await;
    let log = Arc::new(Mutex::new((Log::new(NoteKind::RekorV1, KeyType::EcdsaP256, &home), Vec::new())));
    let (state, entries) = (Arc::clone(&log), Arc::clone(&log));
    let info = move || async move {
        let note = state.lock().unwrap().0.note(&format!("{NAME} - 7"));
        Json(json!({"treeID": "7", "signedTreeHead": note}))
    };
    let retrieve = move |Json(asked): Json<Value>| async move {
        let (log, times) = &*entries.lock().unwrap();
        let entry = |index: &Value| {
            let index = usize::try_from(index.as_u64().unwrap()).unwrap();
            json!({ format!("{index:064x}"): {"logIndex": index, "integratedTime": times[index],
                "body": base64_encode(log.entries[index].as_bytes())}})
        };
        Json(asked["logIndexes"].as_array().unwrap().iter().map(entry).collect::<Value>())
    };
    let router =
        Router::new().route("/api/v1/log", get(info)).route("/api/v1/log/entries/retrieve", post(retrieve));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let now = SystemClock.now().as_second();
    for (kind, time) in [("back_dated", now - 86_400), ("future_dated", now + 86_400)] {
        let look = ["--state", kind, "--rekor-v1", "--whole", "--log", &url, "--log-key", "log.pub"];
        let look = [&look[..], &["--origin", NAME]].concat();
        {
            let (log, times) = &mut *log.lock().unwrap();
            log.entries = vec!["first".into()];
            *times = vec![now, time];
        }
        home.good(&[&["log", "monitor", "--once"][..], &look].concat());
        log.lock().unwrap().0.entries.push("second".into());
        let (code, alert) = hearing.hear(&home, &look).await;
        assert_eq!((code, &alert["kind"]), (2, &kind.into()), "{alert}");
    }
}
