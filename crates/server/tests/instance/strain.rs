//! A running instance under strain: clients that are slow, greedy, or many at once. Names begin with the row of the figures
//! to hold that they are of.

use std::time::{Duration, Instant};

use countersign_crypto::Signer as _;
use countersign_crypto::encoding::base64url_encode;
use countersign_server::serve::{Patience, ServeOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::adversarial::{is_well, key};
use crate::common::Served;
use crate::rekor_v1::{hashedrekord, only};
use crate::requests::entry_request;

/// All that a connection says until the server ends it.
async fn to_the_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the refusal is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connect(served: &Served, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.running.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Beginnings of requests that never go on: a connection without a word, half a head, half a body of each kind.
const SLOW: [&str; 4] = [
    "",
    "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"hashed",
    "POST /api/v1/timestamp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
     Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_slow_heads_and_bodies_are_cut_while_others_are_served() {
    let patience = Patience { head: Duration::from_millis(400), body: Duration::from_millis(400) };
    let served = Served::with(ServeOptions { patience, ..ServeOptions::default() }, |text| text).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        for begun in SLOW {
            slow.push(connect(&served, begun).await);
        }
    }
    is_well(&served).await;
    for (i, stream) in slow.into_iter().enumerate() {
        // That this ends at all is the point.
        let said = to_the_end(stream).await;
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 408 ");
        assert!(refused, "{i}: {said}");
        assert_eq!(said.is_empty(), i % 4 < 2, "{i}: {said}");
    }
    is_well(&served).await;
}

/// How many files this process may have open.
fn most_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

/// Healthy requests, one after the other: how long the slowest hundredth took.
async fn healthy(served: &Served, count: usize) -> Duration {
    let key = key();
    let mut times = Vec::new();
    for number in 0..count {
        let begin = Instant::now();
        if number % 4 == 0 {
            let answer = served.entry(entry_request(&key, format!("{number} {begin:?}").as_bytes())).await;
            assert_eq!(answer.0, 201, "{number}");
        } else {
            assert_eq!(served.get("/checkpoint").await.0, 200, "{number}");
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    times[count * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_two_thousand_slow_connections_keep_nobody_waiting() {
    let patience = Patience { head: Duration::from_secs(60), body: Duration::from_secs(60) };
    let served = Served::with(ServeOptions { patience, ..ServeOptions::default() }, |text| text).await;
    let baseline = healthy(&served, 200).await;
    // Each has an end here and one in the server, and other tests have files open too.
    let most = most_files().saturating_sub(1000) / 2;
    let count = most.min(2000);
    if count < 2000 {
        println!(
            "{count} slow connections instead of 2,000: this process may have {} files open",
            most_files()
        );
    }
    let mut held = Vec::new();
    for number in 0..count {
        // From four addresses, lest one client have more than its share.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("127.0.0.{}:0", 2 + number % 4).parse().unwrap()).unwrap();
        let mut stream = socket.connect(served.running.address).await.unwrap();
        let begun = SLOW[number % SLOW.len()];
        stream.write_all(begun.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let meanwhile = healthy(&served, 200).await;
    println!("{count} slow connections: p99 {meanwhile:?}, before {baseline:?}");
    // They were there all the time: none was ended.
    let (_, page) = served.get("/metrics").await;
    let page = String::from_utf8(page).unwrap();
    let open = page.lines().find_map(|line| line.strip_prefix("countersign_http_connections "));
    assert!(open.unwrap().parse::<usize>().unwrap() >= count, "{open:?}");
    drop(held);
    is_well(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_who_asks_and_never_reads_loses_the_connection() {
    let patience = Patience { head: Duration::from_millis(400), body: Duration::from_millis(400) };
    let served = Served::with(ServeOptions { patience, ..ServeOptions::default() }, |text| text).await;
    let question = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(&served, "").await;
        // Until the server reads no more, because nobody takes its answers: then it waits, or has ended already.
        loop {
            let asked =
                tokio::time::timeout(Duration::from_millis(200), stream.write_all(question.as_bytes()));
            if !matches!(asked.await, Ok(Ok(()))) {
                break;
            }
        }
        held.push(stream);
    }
    // What is left are the connections of the one who asks for the number.
    let mut asked = 0;
    loop {
        let page = String::from_utf8(served.get("/metrics").await.1).unwrap();
        let open = page.lines().find_map(|line| line.strip_prefix("countersign_http_connections "));
        if open.unwrap().parse::<usize>().unwrap() <= 2 {
            break;
        }
        asked += 1;
        assert!(asked < 20_000, "they are still held: {page}");
    }
    drop(held);
    is_well(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_one_client_cannot_hold_every_connection() {
    let served = Served::with(ServeOptions::default(), |text| {
        text.replace("connections_per_client = 1024", "connections_per_client = 3")
    })
    .await;
    let question = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&served, question).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(to_the_end(connect(&served, "").await).await, "", "the fourth is closed without a word");
    // From another address one is served.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(served.running.address).await.unwrap();
    other.write_all(question.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Every path that takes a body, and its kind.
pub(crate) const FACES: [(&str, &str); 14] = [
    ("/api/v2/signingCert", "application/json"),
    ("/api/v1/signingCert", "application/json"),
    ("/api/v2/log/entries", "application/json"),
    ("/api/v1/log/entries", "application/json"),
    ("/api/v1/log/entries/retrieve", "application/json"),
    ("/api/v1/index/retrieve", "application/json"),
    ("/api/v1/timestamp", "application/timestamp-query"),
    ("/ct/ct/v1/add-chain", "application/json"),
    ("/ct/ct/v1/add-pre-chain", "application/json"),
    ("/development-identity-provider/mint", "application/json"),
    ("/development-identity-provider/token", FORM),
    ("/development-identity-provider/device/code", FORM),
    ("/verify", FORM),
    ("/add-checkpoint", "text/plain"),
];
const FORM: &str = "application/x-www-form-urlencoded";

/// That list has every path of the description that takes a body.
#[test]
fn r16_the_list_of_faces_is_whole() {
    let described: serde_json::Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let posted: Vec<_> =
        paths.iter().filter(|(_, way)| way.get("post").is_some()).map(|(path, _)| path).collect();
    assert!(posted.len() > 5, "{posted:?}");
    for path in posted {
        assert!(FACES.iter().any(|(own, _)| own == path), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_oversized_and_endless_bodies_are_refused_by_every_face() {
    let served = Served::with_witness(ServeOptions::default()).await;
    for (path, kind) in FACES {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n");
        // Not one byte of the declared body is sent: the refusal comes at once or never.
        let declared = connect(&served, &format!("{head}Content-Length: 1000000000000\r\n\r\n")).await;
        let said = to_the_end(declared).await;
        assert!(said.starts_with("HTTP/1.1 413 "), "{path}: {said}");

        let endless = connect(&served, &format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
        let (mut read, mut write) = endless.into_split();
        let sender = tokio::spawn(async move {
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(65536));
            while write.write_all(chunk.as_bytes()).await.is_ok() {}
        });
        let mut answer = [0; 13];
        read.read_exact(&mut answer).await.unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(&answer, b"HTTP/1.1 413 ", "{path}");
        drop(read);
        sender.abort();
    }
    // A length that lies: fewer bytes than said, then the end.
    let mut liar = connect(
        &served,
        "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{}",
    )
    .await;
    liar.shutdown().await.unwrap();
    let said = to_the_end(liar).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
    is_well(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_deep_documents_are_refused_by_every_face() {
    let served = Served::with_witness(ServeOptions::default()).await;
    let deep =
        |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (path, _) in FACES {
        for depth in [129, 300] {
            for document in [deep("[", "]", depth), deep("{\"a\":", "}", depth), "[".repeat(3000)] {
                let (status, _) = served.post(path, "application/json", document).await;
                assert_eq!(status, 400, "{path} at {depth}");
            }
        }
        let number = format!("{{\"nonce\":{}}}", "9".repeat(3000));
        let (status, _) = served.post(path, "application/json", number).await;
        // Rekor v1 ignores members that it does not know, as upstream, and misses the kind of an entry.
        let expected = match path {
            "/api/v1/log/entries" => 422,
            "/api/v1/log/entries/retrieve" | "/api/v1/index/retrieve" => 200,
            _ => 400,
        };
        assert_eq!(status, expected, "{path}");
    }
    // Inside a token too.
    let part = |text: &str| base64url_encode(text.as_bytes());
    let token = format!("{}.{}.c2ln", part(r#"{"alg":"ES256"}"#), part(&deep("[", "]", 2000)));
    let body = json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": {
        "publicKey": {"algorithm": "", "content": key().public_key().to_pem()}, "proofOfPossession": "AAAA"}});
    assert_eq!(served.post("/api/v2/signingCert", "application/json", body.to_string()).await.0, 400);
    is_well(&served).await;
}

/// Sends one request a hundred times at once.
async fn at_once(served: &Served, path: &'static str, body: String) -> Vec<(u16, Value)> {
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let request = served.client.post(served.url(path)).header("content-type", "application/json");
        let request = request.body(body.clone());
        sent.spawn(async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
        });
    }
    sent.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_entries_sent_at_once_are_one_entry() {
    let served = Served::new().await;
    let answers = at_once(&served, "/api/v2/log/entries", entry_request(&key(), b"one")).await;
    assert_eq!(answers.len(), 100);
    for (status, answer) in answers {
        assert_eq!((status, answer["logIndex"].as_str()), (201, Some("1")), "{answer}");
    }
    let answers = at_once(&served, "/api/v1/log/entries", hashedrekord(&key(), b"one").to_string()).await;
    let made: Vec<_> = answers.iter().filter(|(status, _)| *status == 201).collect();
    let [(_, made)] = made.as_slice() else { panic!("{made:?}") };
    let (id, _) = only(made);
    for (status, answer) in &answers {
        assert!(*status == 201 || *status == 409, "{status} {answer}");
        assert!(answer.to_string().contains(&id), "{status} {answer}");
    }
    for path in ["/checkpoint", "/api/v1/log"] {
        let told = String::from_utf8(served.get(path).await.1).unwrap();
        let is_two = told.lines().nth(1) == Some("2") || told.contains("\"treeSize\":2");
        assert!(is_two, "{path}: {told}");
    }
}
