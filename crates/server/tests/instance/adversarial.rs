//! A running instance against those who mean it harm. Names begin with the row of the list of past mistakes (s) or of
//! the figures to hold (r) they are of; those of strain (r15 to r17) are in `strain`.
//!
//! Rows that other tests hold. s13, what logs have died of: bits that flip and files that are gone by `fsck::r6_…` of
//! `countersign-log` and `operating::r6_…`, a full disk by `crash::r5_…` there and `operating::r5_…`, an old copy put back by
//! `backup::r8_…` and `refusals::r8_…`, two who sequence by `races::r9_…` and `lease_races::r9_…`, entries lost that were
//! acknowledged by `simulator::r3_…`, two histories by `monitoring::r22_…` of the program. s14 is `simulator::r3_…`; s15 is
//! `pages::s15_…` here and, at the terminal, the tests of `countersign_http::text`.

use crate::common::{Served, alone, grown};
use crate::pages::certified_entry;
use crate::rekor_v1::{certified, dsse, hashedrekord, hashedrekord_by, intoto};
use crate::requests::entry_request;
use countersign_crypto::encoding::{base64_encode, base64url_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_server::serve::ServeOptions;
use countersign_x509::Certificate;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::strain::FACES;

pub(crate) fn key() -> KeyPair {
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

pub(crate) async fn is_well(served: &Served) {
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
async fn s05_ten_million_dots_in_any_place_are_refused_and_take_no_memory() {
    if !alone("adversarial::s05_ten_million_dots_in_any_place_are_refused_and_take_no_memory") {
        return;
    }
    let served = Served::new().await;
    let key = key();
    let dots = ".".repeat(10_000_000);
    is_well(&served).await;
    let before = grown(0);
    let request = |token: &str| {
        json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": {
            "publicKey": {"algorithm": "", "content": key.public_key().to_pem()}, "proofOfPossession": "AAAA"}})
        .to_string()
    };
    assert_eq!(served.post("/api/v2/signingCert", "application/json", request(&dots)).await.0, 413);
    assert_eq!(served.post("/api/v2/signingCert", "application/json", request(&dots[..60_000])).await.0, 400);
    let stamp = json!({"artifactHash": base64_encode(&[1; 32]), "hashAlgorithm": "sha256", "tsaPolicyOID": &dots[..3000]});
    assert_eq!(served.post("/api/v1/timestamp", "application/json", stamp.to_string()).await.0, 400);
    // In a header they are more than a request's head may have; the connection may end before all is sent. The longest
    // that a head may have is refused for what it is.
    for (length, expected) in [(dots.len(), 431), (66_000, 431), (60_000, 400), (20_000, 400)] {
        let header = served
            .client
            .post(served.url("/api/v1/signingCert"))
            .header("authorization", format!("Bearer {}", &dots[..length]));
        match header.body("{}").send().await {
            Ok(answer) => assert_eq!(answer.status(), expected, "{length}"),
            Err(error) => assert_eq!(expected, 431, "{length}: {error}"),
        }
    }
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
    assert!(grown(before) <= 64, "{} MiB more than before", grown(before));
}

/// Gzip of gigabytes of zeros in as many bytes as are asked for, about: members after each other are one file.
fn bomb(len: usize) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut member, &vec![0; 16 << 20]).unwrap();
    let member = member.finish().unwrap();
    member.iter().copied().cycle().take(len / member.len() * member.len()).collect()
}

/// The kinds whose content the upstream log unpacks are none here: nothing in a request is ever expanded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s01_s02_neither_bodies_nor_kinds_of_entries_are_unpacked() {
    if !alone("adversarial::s01_s02_neither_bodies_nor_kinds_of_entries_are_unpacked") {
        return;
    }
    let served = Served::with_witness(ServeOptions::default()).await;
    let bomb = bomb(3_000_000);
    // Five of them are as much as a request for an entry may have.
    let packed = base64_encode(&bomb[..500_000]);
    is_well(&served).await;
    let before = grown(0);
    for (path, kind) in FACES {
        for coding in ["gzip", "x-gzip", "deflate", "br", "zstd"] {
            // As much as the smallest face takes whole, and as much as the largest does.
            for sent in [&bomb[..bomb.len().min(3_000)], &bomb[..60_000], &bomb[..]] {
                let request = served.client.post(served.url(path)).header("content-type", kind);
                let request = request.header("content-encoding", coding).body(sent.to_vec());
                // Who is refused at once may find the connection ended while it sends.
                if let Ok(answer) = request.send().await {
                    let status = answer.status().as_u16();
                    assert!((400..500).contains(&status), "{path} {coding} {}: {status}", sent.len());
                }
            }
        }
    }
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
    assert!(grown(before) <= 64, "{} MiB more than before", grown(before));
}

/// A certificate with an empty list of extended key usages; all lengths are made anew on the way up.
fn without_purposes(mut der: &[u8]) -> Vec<u8> {
    const PURPOSES: [u8; 5] = [6, 3, 0x55, 0x1d, 0x25];
    let mut out = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let (long, rest) = rest.split_at(if *first < 0x80 { 0 } else { usize::from(first & 0x7f) });
        let len = match *first {
            short if short < 0x80 => usize::from(short),
            _ => long.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
        };
        let (content, rest) = rest.split_at(len);
        let content = match content {
            extension if extension.starts_with(&PURPOSES) => [&PURPOSES[..], &[4, 2, 0x30, 0]].concat(),
            nested if tag & 0x20 != 0 => without_purposes(nested),
            plain => plain.to_vec(),
        };
        out.push(*tag);
        let [.., high, low] = content.len().to_be_bytes();
        match (high, low) {
            (0, short) if short < 0x80 => out.push(short),
            (0, low) => out.extend([0x81, low]),
            (high, low) => out.extend([0x82, high, low]),
        }
        out.extend(content);
        der = rest;
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_certificate_with_an_empty_list_of_purposes_is_refused_by_every_log() {
    let served = Served::new().await;
    let (alice, pem) = certified(&served, "alice@example.com").await;
    let good = Certificate::from_pem(&pem).unwrap();
    let empty = without_purposes(good.der());
    assert!(good.extended_key_usage().is_some() && empty.len() < good.der().len());
    let digest = HashAlgorithm::Sha256.digest(b"one");
    let signature = alice.sign_digest(&digest).unwrap();
    let pem_of = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64_encode(der))
    };
    let bundle: Value = serde_json::from_slice(&served.get("/api/v2/trustBundle").await.1).unwrap();
    let above: Vec<String> = bundle["chains"][0]["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pem| pem_to_base64(pem.as_str().unwrap()))
        .collect();
    for (der, refused) in [(good.der(), false), (&empty[..], true)] {
        let v1 =
            hashedrekord_by(&alice, HashAlgorithm::Sha256, &base64_encode(pem_of(der).as_bytes()), b"one");
        let chain = [&[base64_encode(der)], &above[..]].concat();
        let chain = json!({ "chain": chain }).to_string();
        for (path, body) in [
            ("/api/v2/log/entries", certified_entry(&digest, &signature, der)),
            ("/api/v1/log/entries", v1.to_string()),
            ("/ct/ct/v1/add-chain", chain.clone()),
            ("/ct/ct/v1/add-pre-chain", chain),
        ] {
            let (status, answer) = served.post(path, "application/json", body).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            // That of a certificate for a precertificate is refused either way.
            let expected = if refused || path.ends_with("pre-chain") { 400 } else { status.min(201) };
            assert_eq!(status, expected, "{path}: {answer}");
            assert_eq!(answer.contains("no purpose is listed"), refused, "{path}: {answer}");
        }
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

/// A connection that asks many things at once and reads the answers' statuses.
struct Asking {
    stream: TcpStream,
    answers: Vec<u8>,
}

impl Asking {
    async fn begin(served: &Served) -> Self {
        Self { stream: TcpStream::connect(served.running.address).await.unwrap(), answers: Vec::new() }
    }

    /// Sends requests and waits for as many answers.
    async fn ask(&mut self, requests: &[String]) {
        const LINE: &[u8] = b"HTTP/1.1 ";
        self.stream.write_all(requests.concat().as_bytes()).await.unwrap();
        let mut seen = 0;
        while seen < requests.len() {
            let read = self.stream.read_buf(&mut self.answers).await.unwrap();
            assert!(read > 0, "the connection ended after {seen} of {} answers", requests.len());
            let mut next = 0;
            while let Some(at) = self.answers[next..].windows(LINE.len()).position(|window| window == LINE) {
                let status = next + at + LINE.len();
                let Some(digit) = self.answers.get(status) else { break };
                assert!((b'2'..b'5').contains(digit), "{}", requests[seen]);
                seen += 1;
                next = status;
            }
            // What is left may be the beginning of a line.
            self.answers.drain(..next.max(self.answers.len().saturating_sub(LINE.len())));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_r18_random_paths_and_methods_make_no_series_and_take_no_memory() {
    if !alone("adversarial::s08_r18_random_paths_and_methods_make_no_series_and_take_no_memory") {
        return;
    }
    let served = Served::new().await;
    let methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "X"];
    let request = |i: usize| {
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
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    // Every combination of path and method once; a series for the question itself is among them.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut asking = Asking::begin(&served).await;
        asking.ask(&(0..400).map(request).collect::<Vec<_>>()).await;
        held.push(asking);
    }
    series(&served).await;
    let (before, memory) = (series(&served).await, grown(0));
    for begin in (0..100_000).step_by(200) {
        let number = begin / 200 % held.len();
        held[number].ask(&(begin..begin + 200).map(request).collect::<Vec<_>>()).await;
    }
    assert_eq!(series(&served).await, before);
    assert!(before.len() <= 1000, "{}", before.len());
    println!("100,000 random paths and methods: {} MiB more than before", grown(memory));
    assert!(grown(memory) <= 64, "{} MiB more than before", grown(memory));
}
