//! A running instance against those who mean it harm. Names begin with the row of the list of past mistakes (s) or of
//! the figures to hold (r) they are of.

use std::time::Duration;

use crate::common::Served;
use crate::rekor_v1::{dsse, hashedrekord, intoto};
use crate::requests::entry_request;
use countersign_crypto::encoding::{base64_encode, base64url_encode};
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_server::serve::{Patience, ServeOptions};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

fn pem_to_base64(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

/// A good request of every kind that is JSON: path, document, and the fields it may lack or have otherwise.
async fn good_requests(served: &Served) -> Vec<(&'static str, Value, &'static [&'static str])> {
    let token = served.token("alice@example.com").await;
    let key = key();
    let proof = base64_encode(&key.sign(b"alice@example.com").unwrap());
    let pem = key.public_key().to_pem();
    let public = json!({"algorithm": "ECDSA", "content": pem});
    let v2 = json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {"publicKey": public, "proofOfPossession": proof},
    });
    let v1 = json!({
        "publicKey": {"algorithm": "ecdsa", "content": base64_encode(key.public_key().spki_der())},
        "signedEmailAddress": proof,
    });
    let (status, _) = served.post("/api/v2/signingCert", "application/json", v2.to_string()).await;
    assert_eq!(status, 200);
    let bundle: Value = serde_json::from_slice(&served.get("/api/v2/trustBundle").await.1).unwrap();
    let chain: Vec<String> = bundle["chains"][0]["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pem| pem_to_base64(pem.as_str().unwrap()))
        .collect();
    let entry: Value = serde_json::from_str(&entry_request(&key, b"one")).unwrap();
    // The log makes its own.
    let payload_hash: &[&str] = &[
        "/spec/content/payloadHash",
        "/spec/content/payloadHash/algorithm",
        "/spec/content/payloadHash/value",
    ];
    let algorithm: &[&str] = &["/publicKeyRequest/publicKey/algorithm"];
    let stamp = json!({"artifactHash": base64_encode(&[1; 32]), "hashAlgorithm": "sha256", "certificates": true,
        "nonce": 5, "tsaPolicyOID": "1.3.6.1.4.1.57264.2"});
    vec![
        ("/api/v2/signingCert", v2, algorithm),
        ("/api/v1/signingCert", v1, &["/publicKey/algorithm"]),
        ("/api/v2/log/entries", entry, &[]),
        ("/api/v1/timestamp", stamp, &["/certificates", "/nonce", "/tsaPolicyOID"]),
        ("/api/v1/log/entries", hashedrekord(&key, b"one"), &[]),
        ("/api/v1/log/entries", dsse(&[&key], b"{}"), &["/spec/signatures"]),
        ("/api/v1/log/entries", intoto(&key, b"{}"), payload_hash),
        (
            "/api/v1/log/entries/retrieve",
            json!({"entryUUIDs": ["ab".repeat(32)], "logIndexes": [0], "entries": [hashedrekord(&key, b"one")]}),
            &["", "/entryUUIDs", "/logIndexes", "/entries", "/entryUUIDs/0", "/logIndexes/0", "/entries/0"],
        ),
        (
            "/api/v1/index/retrieve",
            json!({"email": "a@b.c", "subject": "x", "hash": "ab".repeat(32), "operator": "and",
                "publicKey": {"format": "x509", "content": base64_encode(pem.as_bytes())}}),
            &["", "/email", "/subject", "/hash", "/operator", "/publicKey", "/publicKey/format"],
        ),
        ("/ct/ct/v1/add-chain", json!({"chain": chain}), &[]),
        ("/ct/ct/v1/add-pre-chain", json!({"chain": chain}), &[]),
    ]
}

/// Every place in a document, as JSON pointers.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(k, v)| places(v, &format!("{at}/{k}"), out)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out))
        }
        _ => {}
    }
}

/// A document with this place taken out.
fn without(document: &Value, place: &str) -> Option<Value> {
    let (parent, name) = place.rsplit_once('/')?;
    let mut document = document.clone();
    match document.pointer_mut(parent)? {
        Value::Object(members) => drop(members.remove(name)),
        Value::Array(items) => drop(items.remove(name.parse().ok()?)),
        _ => return None,
    }
    Some(document)
}

async fn is_well(served: &Served) {
    for path in ["/healthz", "/readyz", "/checkpoint", "/ct/checkpoint"] {
        assert_eq!(served.get(path).await.0, 200, "{path}");
    }
    let key = key();
    assert_eq!(served.entry(entry_request(&key, b"still here")).await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_each_field_null_absent_or_of_another_type_is_the_clients_fault_and_the_server_lives() {
    let served = Served::new().await;
    let types = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!("x"),
        json!(""),
        json!([]),
        json!([null]),
        json!({}),
    ];
    for (path, good, optional) in good_requests(&served).await {
        let mut all = Vec::new();
        places(&good, "", &mut all);
        for place in all {
            let replaced = types.iter().map(|other| {
                let mut document = good.clone();
                *document.pointer_mut(&place).unwrap() = other.clone();
                document
            });
            for document in replaced.chain(without(&good, &place)) {
                let sent = document.to_string();
                let (status, answer) = served.post(path, "application/json", sent.clone()).await;
                let may = if optional.contains(&place.as_str()) { 200..500 } else { 400..500 };
                let told = String::from_utf8_lossy(&answer).into_owned();
                assert!(may.contains(&status), "{path} {place}: {status} {told}\n{sent}");
            }
        }
    }
    is_well(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_ten_million_dots_in_any_place_are_refused() {
    let served = Served::new().await;
    let key = key();
    let dots = ".".repeat(10_000_000);
    let request = |token: &str| {
        json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": {
            "publicKey": {"algorithm": "", "content": key.public_key().to_pem()}, "proofOfPossession": "AAAA"}})
        .to_string()
    };
    assert_eq!(served.post("/api/v2/signingCert", "application/json", request(&dots)).await.0, 413);
    assert_eq!(served.post("/api/v2/signingCert", "application/json", request(&dots[..60_000])).await.0, 400);
    let stamp = json!({"artifactHash": base64_encode(&[1; 32]), "hashAlgorithm": "sha256", "tsaPolicyOID": &dots[..3000]});
    assert_eq!(served.post("/api/v1/timestamp", "application/json", stamp.to_string()).await.0, 400);
    // In a header they are more than a request's head may have; the connection may end before all is sent.
    let header = served
        .client
        .post(served.url("/api/v1/signingCert"))
        .header("authorization", format!("Bearer {dots}"));
    if let Ok(answer) = header.body("{}").send().await {
        assert_eq!(answer.status(), 431);
    }
    let header = served
        .client
        .post(served.url("/api/v1/signingCert"))
        .header("authorization", format!("Bearer {}", &dots[..20_000]));
    assert_eq!(header.body("{}").send().await.unwrap().status(), 400);
    // In the places of an entry of Rekor v1 that are taken apart.
    let entry = hashedrekord(&key, b"one");
    for place in ["/kind", "/apiVersion", "/spec/data/hash/value", "/spec/signature/publicKey/content"] {
        for text in [&dots[..], &dots[..3_000_000]] {
            let mut document = entry.clone();
            *document.pointer_mut(place).unwrap() = json!(text);
            let (status, _) =
                served.post("/api/v1/log/entries", "application/json", document.to_string()).await;
            assert!([400, 413, 422].contains(&status), "{place}: {status}");
        }
    }
    is_well(&served).await;
}

/// The kinds whose content the upstream log unpacks are none here: nothing in a request is ever expanded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s01_s02_no_kind_of_entry_is_unpacked() {
    let served = Served::new().await;
    let packed = base64_encode(&[&[0x1f, 0x8b, 8, 0][..], &[0; 100_000]].concat());
    for kind in ["alpine", "apk", "helm", "jar", "rpm", "tuf", "cose", "rfc3161", "rekord", "intoto"] {
        let entry = json!({"apiVersion": "0.0.1", "kind": kind, "spec": {
            "package": {"content": packed}, "archive": {"content": packed}, "chart": {"content": packed},
            "data": {"content": packed}, "publicKey": {"content": packed}}});
        let (status, answer) =
            served.post("/api/v1/log/entries", "application/json", entry.to_string()).await;
        // Of intoto there is another version.
        let expected = if kind == "intoto" { 400 } else { 422 };
        assert_eq!(status, expected, "{kind}: {}", String::from_utf8_lossy(&answer));
    }
    is_well(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s04_s06_s07_no_address_in_a_request_is_ever_connected_to() {
    let served = Served::with(ServeOptions::default(), |text| {
        text.replace("[log]", "[[ca.issuers]]\nurl = \"https://oidc.*.example.com/id\"\ntype = \"email\"\nclient_id = \"sigstore\"\n\n[log]")
    })
    .await;
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let bait = trap.local_addr().unwrap();
    let key = key();
    for issuer in [
        format!("http://{bait}"),
        format!("https://{bait}"),
        format!("http://{bait}/?https://oidc.eu.example.com/id"),
        format!("https://{bait}/oidc.eu.example.com/id"),
        format!("https://oidc.{bait}/.example.com/id"),
        format!("https://oidc.x@{bait}/.example.com/id"),
        format!("https://oidc.x.example.com/id@{bait}"),
        "http://169.254.169.254/latest".into(),
        "file:///etc/passwd".into(),
        "http://[::1]/".into(),
    ] {
        let claims = json!({"iss": issuer, "aud": "sigstore", "sub": "a", "email": "a@b.c", "email_verified": true,
            "exp": 4_000_000_000_u64, "iat": 1});
        let header = json!({"alg": "ES256", "kid": "k", "jku": format!("http://{bait}/keys"), "x5u": format!("http://{bait}/x")});
        let part = |value: &Value| base64url_encode(value.to_string().as_bytes());
        let token = format!("{}.{}.c2ln", part(&header), part(&claims));
        let body = json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": {
            "publicKey": {"algorithm": "", "content": key.public_key().to_pem()}, "proofOfPossession": "AAAA"}});
        let (status, answer) = served.post("/api/v2/signingCert", "application/json", body.to_string()).await;
        assert_eq!(status, 400, "{issuer}: {}", String::from_utf8_lossy(&answer));
    }
    // The public key of an entry is bytes, never an address.
    let entry = entry_request(&key, b"one").replace("rawBytes", "url");
    assert_eq!(served.entry(entry).await.0, 400);
    let v1 = hashedrekord(&key, b"one");
    let content = v1["spec"]["signature"]["publicKey"].to_string();
    let data = v1["spec"]["data"].to_string();
    for url in [format!("http://{bait}/key"), "http://169.254.169.254/".into(), "file:///etc/passwd".into()] {
        let url = json!({"url": url}).to_string();
        for body in [v1.to_string().replace(&content, &url), v1.to_string().replace(&data, &url)] {
            assert_eq!(served.post("/api/v1/log/entries", "application/json", body).await.0, 400);
        }
        let question = format!("{{\"publicKey\":{url}}}");
        assert_eq!(served.post("/api/v1/index/retrieve", "application/json", question).await.0, 400);
    }
    assert_eq!(trap.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody came");
}

async fn series(served: &Served) -> Vec<String> {
    let (_, text) = served.get("/metrics").await;
    let text = String::from_utf8(text).unwrap();
    let name = |line: &str| line.rsplit_once(' ').unwrap().0.to_owned();
    text.lines().filter(|line| !line.starts_with('#')).map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_r18_random_paths_and_methods_make_no_series() {
    let served = Served::new().await;
    let methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "X"];
    let send = async |i: usize| {
        let mut random = [0; 9];
        countersign_crypto::random(&mut random).unwrap();
        let name = base64url_encode(&random);
        let path = match i % 5 {
            0 => format!("/{name}"),
            4 => format!("/api/v1/log/entries/{name}"),
            1 => format!("/tile/{name}/{i}"),
            2 => format!("/ct/issuer/{name}?{name}={i}"),
            _ => format!("/tuf/{name}.json"),
        };
        let method = match i / 5 % (methods.len() + 1) {
            known if known < methods.len() => methods[known].to_owned(),
            _ => format!("M{}", name.replace(['-', '_'], "")),
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let status = served.client.request(method, served.url(&path)).send().await.unwrap().status();
        assert!(status.as_u16() < 500, "{path}: {status}");
    };
    // Every combination of path and method once; a series for the question itself is among them.
    for i in 0..400 {
        send(i).await;
    }
    series(&served).await;
    let before = series(&served).await;
    for i in 0..10_000 {
        send(i).await;
    }
    assert_eq!(series(&served).await, before);
    assert!(before.len() <= 1000, "{}", before.len());
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_slow_heads_and_bodies_are_cut_while_others_are_served() {
    let patience = Patience { head: Duration::from_millis(400), body: Duration::from_millis(400) };
    let served = Served::with(ServeOptions { patience, ..ServeOptions::default() }, |text| text).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        for begun in [
            "",
            "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
            "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"hashed",
            "POST /api/v1/timestamp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        ] {
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
const FACES: [(&str, &str); 10] = [
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
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_oversized_and_endless_bodies_are_refused_by_every_face() {
    let served = Served::new().await;
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
    let served = Served::new().await;
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
