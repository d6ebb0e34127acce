//! The log of Rekor v1, spoken to as its clients speak to it: good requests and bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_bundle::rekor::BodyV1;
use countersign_clock::{Clock, SystemClock};
use countersign_crypto::encoding::{base64_decode, base64_encode, hex_decode, hex_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, PublicKey, Scheme, Signer};
use countersign_server::serve::ServeOptions;
use countersign_tlog::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use countersign_tlog::{Checkpoint, Note, NoteVerifier};
use countersign_x509::Certificate;
use serde_json::{Value, json};

use crate::common::Served;

pub(crate) const ENTRIES: &str = "/api/v1/log/entries";
pub(crate) const JSON: &str = "application/json";

pub(crate) fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

fn pem64(key: &KeyPair) -> String {
    base64_encode(key.public_key().to_pem().as_bytes())
}

pub(crate) fn hashedrekord_by(
    signer: &dyn Signer,
    algorithm: HashAlgorithm,
    verifier: &str,
    message: &[u8],
) -> Value {
    let digest = algorithm.digest(message);
    json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": algorithm.name(), "value": digest.to_hex()}},
        "signature": {"content": base64_encode(&signer.sign_digest(&digest).unwrap()), "publicKey": {"content": verifier}}}})
}

pub(crate) fn hashedrekord(key: &KeyPair, message: &[u8]) -> Value {
    hashedrekord_by(key, HashAlgorithm::Sha256, &pem64(key), message)
}

/// An envelope's text, signed by these keys.
fn envelope(keys: &[&KeyPair], payload: &[u8]) -> String {
    let kind = "application/vnd.in-toto+json";
    let pae = countersign_attestation::dsse::pae(kind, payload);
    let sig = |key: &&KeyPair| json!({"keyid": "", "sig": base64_encode(&key.sign(&pae).unwrap())});
    json!({"payload": base64_encode(payload), "payloadType": kind, "signatures": keys.iter().map(sig).collect::<Vec<_>>()})
        .to_string()
}

pub(crate) fn dsse(keys: &[&KeyPair], payload: &[u8]) -> Value {
    let verifiers: Vec<String> = keys.iter().map(|key| pem64(key)).collect();
    // cosign sends `signatures` as null.
    json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"signatures": null,
        "proposedContent": {"envelope": envelope(keys, payload), "verifiers": verifiers}}})
}

pub(crate) fn intoto(key: &KeyPair, payload: &[u8]) -> Value {
    let text = envelope(&[key], payload);
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let twice = |place: &str| base64_encode(parsed.pointer(place).unwrap().as_str().unwrap().as_bytes());
    let hash =
        |bytes: &[u8]| json!({"algorithm": "sha256", "value": HashAlgorithm::Sha256.digest(bytes).to_hex()});
    json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
        "envelope": {"payloadType": "application/vnd.in-toto+json", "payload": twice("/payload"),
            "signatures": [{"sig": twice("/signatures/0/sig"), "publicKey": pem64(key)}]},
        "hash": hash(text.as_bytes()), "payloadHash": hash(payload)}}})
}

/// The one entry in an answer: its id and what the log says of it.
pub(crate) fn only(answer: &Value) -> (String, Value) {
    let entries = answer.as_object().unwrap();
    assert_eq!(entries.len(), 1);
    entries.iter().map(|(id, entry)| (id.clone(), entry.clone())).next().unwrap()
}

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).unwrap_or_else(|| panic!("{place}: {value}")).as_str().unwrap()
}

async fn fetch(served: &Served, path: &str) -> (u16, Value) {
    let (status, body) = served.get(path).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn post(served: &Served, path: &str, body: impl ToString) -> (u16, Value) {
    let (status, body) = served.post(path, JSON, body.to_string()).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn log_key(served: &Served) -> PublicKey {
    let (status, pem) = served.get("/api/v1/log/publicKey").await;
    assert_eq!(status, 200);
    PublicKey::from_pem(&String::from_utf8(pem).unwrap()).unwrap()
}

/// Checks all that a client checks of an entry: the promise, the proof, the checkpoint, the id.
pub(crate) fn check(id: &str, entry: &Value, key: &PublicKey) -> BodyV1 {
    let body = text(entry, "/body");
    let time = entry["integratedTime"].as_u64().unwrap();
    let log_id = hex_encode(&key.fingerprint());
    assert_eq!(text(entry, "/logID"), log_id);
    let promised = format!(
        "{{\"body\":\"{body}\",\"integratedTime\":{time},\"logID\":\"{log_id}\",\"logIndex\":{}}}",
        entry["logIndex"]
    );
    let promise = base64_decode(text(entry, "/verification/signedEntryTimestamp")).unwrap();
    key.verify(Scheme::ECDSA_SHA256, promised.as_bytes(), &promise).unwrap();
    let canonical = base64_decode(body).unwrap();
    let leaf = leaf_hash(&canonical);
    let proof = &entry["verification"]["inclusionProof"];
    let hashes: Vec<[u8; 32]> = proof["hashes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| hex_decode(h.as_str().unwrap()).unwrap().try_into().unwrap())
        .collect();
    let root: [u8; 32] = hex_decode(text(proof, "/rootHash")).unwrap().try_into().unwrap();
    let (index, size) = (proof["logIndex"].as_u64().unwrap(), proof["treeSize"].as_u64().unwrap());
    verify_inclusion(&leaf, index, size, &hashes, &root).unwrap();
    let note = Note::parse(text(proof, "/checkpoint").as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 1, "Go's clients refuse a second line");
    let verifier = NoteVerifier::rekor_v1("localhost", key.clone()).unwrap();
    let checkpoint = Checkpoint::from_note(&note, &verifier).unwrap();
    let tree = u64::from_str_radix(&id[..16], 16).unwrap();
    assert_eq!(checkpoint.origin, format!("localhost - {tree}"));
    assert_eq!((checkpoint.size, checkpoint.root), (size, root));
    assert_eq!(id[16..], hex_encode(&leaf));
    let head: Value = serde_json::from_slice(&canonical).unwrap();
    let parsed = BodyV1::parse(text(&head, "/kind"), text(&head, "/apiVersion"), &canonical).unwrap();
    assert_eq!(parsed.canonical_body(), canonical, "what is stored is canonical");
    parsed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_logged_proven_and_found_again() {
    let served = Served::new().await;
    let (log, one, two) = (log_key(&served).await, key(), key());
    let mut made = Vec::new();
    for (number, proposal) in
        [hashedrekord(&one, b"a"), dsse(&[&one, &two], br#"{"b":1}"#), intoto(&one, br#"{"c":1}"#)]
            .iter()
            .enumerate()
    {
        let request =
            served.client.post(served.url(ENTRIES)).header("content-type", JSON).body(proposal.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (location, tag) = (header("location"), header("etag"));
        let (id, entry) = only(&response.json().await.unwrap());
        assert_eq!((location, tag.as_str()), (format!("{ENTRIES}/{id}"), id.as_str()));
        assert_eq!(entry["logIndex"], number + 1, "index 0 is the log's own");
        check(&id, &entry, &log);
        // At once, by each of its names.
        for path in [
            format!("{ENTRIES}/{id}"),
            format!("{ENTRIES}/{}", &id[16..]),
            format!("{ENTRIES}/{}", id.to_uppercase()),
            format!("{ENTRIES}?logIndex={}", number + 1),
        ] {
            let (status, answer) = fetch(&served, &path).await;
            assert_eq!(status, 200, "{path}");
            let (found, read) = only(&answer);
            assert_eq!(
                (&found, &read["body"], &read["integratedTime"]),
                (&id, &entry["body"], &entry["integratedTime"])
            );
            check(&found, &read, &log);
        }
        let (status, conflict) = post(&served, ENTRIES, proposal).await;
        assert_eq!(status, 409);
        let message = format!("an equivalent entry already exists in the transparency log with UUID {id}");
        assert_eq!(conflict, json!({"code": 409, "message": message}));
        made.push(id);
    }
    // The first entry is one too, whose signature verifies.
    let (_, first) = fetch(&served, &format!("{ENTRIES}?logIndex=0")).await;
    let (id, entry) = only(&first);
    let BodyV1::HashedRekord { digest, signature, verifier_pem } = check(&id, &entry, &log) else { panic!() };
    assert_eq!(PublicKey::from_pem(&verifier_pem).unwrap(), log);
    log.verify_digest(Scheme::ECDSA_SHA256, &digest, &signature).unwrap();
    // What a client adds that nobody knows makes no other entry; a new line in a key neither.
    let mut odd = hashedrekord(&one, b"d");
    let (status, _) = post(&served, ENTRIES, &odd).await;
    assert_eq!(status, 201);
    odd["unknown"] = json!(1);
    odd["spec"]["unknown"] = json!([1]);
    let key = format!("\n{}\n\n", one.public_key().to_pem());
    odd["spec"]["signature"]["publicKey"]["content"] = json!(base64_encode(key.as_bytes()));
    assert_eq!(post(&served, ENTRIES, &odd).await.0, 409);

    let (status, several) = post(
        &served,
        &format!("{ENTRIES}/retrieve"),
        json!({
        "entryUUIDs": [made[0], &made[1][16..], "ab".repeat(32)], "logIndexes": [3, 999],
        "entries": [intoto(&one, br#"{"c":1}"#), hashedrekord(&two, b"never")]}),
    )
    .await;
    // ECDSA's signatures differ each time, so neither proposal is there; the others are.
    let ids: Vec<String> = several.as_array().unwrap().iter().map(|e| only(e).0).collect();
    let mut expected = made.clone();
    expected.sort();
    assert_eq!((status, ids), (200, expected));
}

/// As cosign, Kyverno and policy-controller ask for an attestation without a promise: as both kinds that upstream may have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_taken_is_asked_for_beside_one_that_is() {
    let served = Served::new().await;
    let key = key();
    let kept = dsse(&[&key], b"{}");
    assert_eq!(post(&served, ENTRIES, &kept).await.0, 201);
    let mut other = intoto(&key, b"{}");
    other["apiVersion"] = json!("0.0.1");
    for (entries, expected) in [(json!([kept, other]), 1), (json!([other]), 0)] {
        let (status, found) =
            post(&served, &format!("{ENTRIES}/retrieve"), json!({"entries": entries})).await;
        assert_eq!((status, found.as_array().map(Vec::len)), (200, Some(expected)), "{found}");
    }
    assert_eq!(post(&served, ENTRIES, &other).await.0, 400, "it is not taken in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_the_log_and_that_it_grows_are_proven() {
    let served = Served::new().await;
    let (log, signer) = (log_key(&served).await, key());
    let mut states = Vec::new();
    for number in 0..6 {
        let (status, state) = fetch(&served, "/api/v1/log?stable=true").await;
        assert_eq!(status, 200);
        assert_eq!((&state["treeSize"], &state["inactiveShards"]), (&json!(number + 1), &Value::Null));
        states.push(state);
        assert_eq!(post(&served, ENTRIES, hashedrekord(&signer, &[number])).await.0, 201);
    }
    let (first, last) = (&states[1], &states[5]);
    let note = Note::parse(text(last, "/signedTreeHead").as_bytes()).unwrap();
    let verifier = NoteVerifier::rekor_v1("localhost", log).unwrap();
    let checkpoint = Checkpoint::from_note(&note, &verifier).unwrap();
    assert_eq!(checkpoint.origin, format!("localhost - {}", text(last, "/treeID")));
    assert_eq!((checkpoint.size, hex_encode(&checkpoint.root)), (6, text(last, "/rootHash").to_owned()));
    let tree = text(last, "/treeID");
    let (status, proof) =
        fetch(&served, &format!("/api/v1/log/proof?firstSize=2&lastSize=6&treeID={tree}")).await;
    assert_eq!(status, 200);
    let hash = |text: &str| -> [u8; 32] { hex_decode(text).unwrap().try_into().unwrap() };
    let hashes: Vec<[u8; 32]> =
        proof["hashes"].as_array().unwrap().iter().map(|h| hash(h.as_str().unwrap())).collect();
    verify_consistency(2, &hash(text(first, "/rootHash")), 6, &checkpoint.root, &hashes).unwrap();
    for (path, expected, code) in [
        ("/api/v1/log/proof?firstSize=3&lastSize=2", 400, 400),
        ("/api/v1/log/proof?lastSize=9999", 400, 400),
        ("/api/v1/log/proof?firstSize=0&lastSize=2", 422, 609),
        ("/api/v1/log/proof?lastSize=-1", 422, 609),
        ("/api/v1/log/proof", 422, 602),
        ("/api/v1/log/proof?lastSize=x", 422, 601),
        ("/api/v1/log/proof?lastSize=2&treeID=1", 400, 400),
        ("/api/v1/log/proof?lastSize=2&treeID=x", 422, 605),
        ("/api/v1/log/publicKey?treeID=1", 400, 400),
        ("/api/v1/log/publicKey?treeID=99999999999999999999999", 400, 400),
        ("/api/v1/log/entries", 422, 602),
        ("/api/v1/log/entries?logIndex=-1", 422, 609),
        ("/api/v1/log/entries/zz", 422, 605),
    ] {
        let (status, answer) = fetch(&served, path).await;
        assert_eq!((status, answer["code"].as_u64()), (expected, Some(code)), "{path}: {answer}");
    }
    let unknown = "ab".repeat(32);
    for path in [
        format!("{ENTRIES}?logIndex=999"),
        format!("{ENTRIES}/{unknown}"),
        format!("{ENTRIES}/0000000000000001{unknown}"),
    ] {
        assert_eq!(served.get(&path).await, (404, vec![]), "{path}");
    }
    assert_eq!(served.get("/ping").await, (200, b".".to_vec()));
}

/// Signed by a certificate of the instance's own authority.
pub(crate) async fn certified(served: &Served, email: &str) -> (KeyPair, String) {
    let key = key();
    let token = served.token(email).await;
    let proof = base64_encode(&key.sign(email.as_bytes()).unwrap());
    let request = json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": {
        "publicKey": {"algorithm": "", "content": key.public_key().to_pem()}, "proofOfPossession": proof}});
    let (status, answer) = post(served, "/api/v2/signingCert", request).await;
    assert_eq!(status, 200);
    let pem = text(&answer, "/signedCertificateEmbeddedSct/chain/certificates/0").to_owned();
    (key, pem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_found_by_digest_address_and_key_and_nothing_is_fetched() {
    let served = Served::new().await;
    let (bare, (alice, certificate)) = (key(), certified(&served, "Alice@example.com").await);
    let by_alice = |message: &[u8]| {
        hashedrekord_by(&alice, HashAlgorithm::Sha256, &base64_encode(certificate.as_bytes()), message)
    };
    let mut ids = BTreeMap::new();
    for (name, proposal) in
        [("bare", hashedrekord(&bare, b"x")), ("alice x", by_alice(b"x")), ("alice y", by_alice(b"y"))]
    {
        let (status, answer) = post(&served, ENTRIES, &proposal).await;
        assert_eq!(status, 201, "{name}: {answer}");
        ids.insert(only(&answer).0, name);
    }
    let find = async |question: Value| {
        let (status, answer) = post(&served, "/api/v1/index/retrieve", &question).await;
        assert_eq!(status, 200, "{question}: {answer}");
        let names = answer.as_array().unwrap().iter().map(|id| ids[id.as_str().unwrap()]);
        names.collect::<Vec<_>>().join(", ")
    };
    let x = HashAlgorithm::Sha256.digest(b"x").to_hex();
    assert_eq!(find(json!({"hash": x})).await, "alice x, bare");
    assert_eq!(find(json!({"hash": format!("sha256:{}", x.to_uppercase())})).await, "alice x, bare");
    assert_eq!(find(json!({"email": "alice@Example.com"})).await, "alice y, alice x");
    assert_eq!(find(json!({"subject": "alice@example.com"})).await, "alice y, alice x");
    assert_eq!(find(json!({"email": "alice@example.com", "hash": x, "operator": "and"})).await, "alice x");
    assert_eq!(find(json!({"email": "alice@example.com", "hash": x})).await, "alice y, alice x, bare");
    assert_eq!(find(json!({"email": "bob@example.com"})).await, "");
    assert_eq!(find(json!({})).await, "");
    let key_of =
        |pem: &str| json!({"publicKey": {"format": "x509", "content": base64_encode(pem.as_bytes())}});
    assert_eq!(find(key_of(&bare.public_key().to_pem())).await, "bare");
    assert_eq!(find(key_of(&certificate)).await, "alice y, alice x");
    for (question, expected, code) in [
        (json!({"hash": "junk"}), 422, 605),
        (json!({"hash": x, "operator": "xor"}), 422, 606),
        (json!({"publicKey": {"format": "x509", "url": "http://127.0.0.1:1/"}}), 400, 400),
        (json!({"email": 7}), 400, 400),
    ] {
        let (status, answer) = post(&served, "/api/v1/index/retrieve", &question).await;
        assert_eq!((status, answer["code"].as_u64()), (expected, Some(code)), "{question}");
    }
}

/// The size of the tree: what was refused is not in it.
async fn size(served: &Served) -> u64 {
    fetch(served, "/api/v1/log").await.1["treeSize"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_does_not_verify_enters_the_tree_of_rekor_v1() {
    let served = Served::new().await;
    let (one, two) = (key(), key());
    let before = size(&served).await;
    let with = |mut proposal: Value, place: &str, value: Value| {
        *proposal.pointer_mut(place).unwrap() = value;
        proposal
    };
    let good = hashedrekord(&one, b"a");
    let statement = dsse(&[&one], b"{}");
    let verifiers = "/spec/proposedContent/verifiers";
    let twice = intoto(&one, b"{}");
    let long = "x".repeat(70_000);
    for (proposal, expected, says) in [
        (with(good.clone(), "/spec/signature/content", json!("AAAA")), 400, "verifying signature"),
        (with(good.clone(), "/spec/data/hash/value", json!("ab".repeat(32))), 400, "verifying signature"),
        (
            with(good.clone(), "/spec/signature/publicKey/content", json!(pem64(&two))),
            400,
            "verifying signature",
        ),
        (with(good.clone(), "/spec/data/hash/value", json!("abc")), 400, "invalid value for hash"),
        (with(good.clone(), "/spec/data/hash/algorithm", json!("md5")), 400, "md5"),
        (with(good.clone(), "/spec/signature/publicKey/content", json!("AAAA")), 400, "failure decoding PEM"),
        (with(good.clone(), "/spec/signature/content", json!("")), 400, "missing signature content"),
        (with(good.clone(), "/kind", json!("nope")), 422, "invalid kind value: \"nope\""),
        (with(good.clone(), "/kind", json!("rekord")), 422, "invalid kind value"),
        (with(good.clone(), "/apiVersion", json!("9.9.9")), 400, "unable to locate entry for version 9.9.9"),
        (with(statement.clone(), verifiers, json!([pem64(&two)])), 400, "all signatures must have a key"),
        (with(statement.clone(), verifiers, json!([pem64(&one), pem64(&two)])), 400, "verifies no signature"),
        (with(statement.clone(), verifiers, json!([])), 400, "expected 1 to 8 verifiers"),
        (with(statement.clone(), verifiers, json!(vec![pem64(&one); 9])), 400, "more than 8 items"),
        (with(statement.clone(), "/spec/proposedContent/envelope", json!("{}")), 400, "payload"),
        (with(statement.clone(), "/spec/signatures", json!([{}])), 400, "proposedContent alone"),
        (with(twice.clone(), "/spec/content/envelope/payload", json!("ISEhIQ==")), 400, "base64"),
        (with(twice.clone(), "/spec/content/envelope/payload", json!("ZTMwPQ==")), 201, ""),
        (
            with(twice.clone(), "/spec/content/envelope/payloadType", json!("other")),
            400,
            "could not verify envelope",
        ),
        (
            with(twice.clone(), "/spec/content/envelope/signatures/0/publicKey", json!(pem64(&two))),
            400,
            "could not",
        ),
        (with(twice, "/spec/content/envelope/payloadType", json!(long)), 400, "could not verify"),
    ] {
        let (status, answer) = post(&served, ENTRIES, &proposal).await;
        assert_eq!(status, expected, "{says}: {answer}");
        assert!(expected == 201 || text(&answer, "/message").contains(says), "{says}: {answer}");
    }
    assert_eq!(size(&served).await, before + 1, "the one that was good in other words");
    for (body, expected, code) in [
        (String::new(), 422, 602),
        ("null".into(), 422, 602),
        ("{}".into(), 422, 602),
        ("hello".into(), 400, 400),
        ("[]".into(), 422, 602),
        ("[".repeat(100_000), 400, 400),
        ("x".repeat(5 << 20), 413, 413),
    ] {
        let short: String = body.chars().take(40).collect();
        let (status, answer) = post(&served, ENTRIES, body).await;
        assert_eq!((status, answer["code"].as_u64()), (expected, Some(code)), "{short}: {answer}");
    }
    let (status, answer) = served.post(ENTRIES, "text/plain", good.to_string()).await;
    assert_eq!(status, 415);
    assert!(String::from_utf8_lossy(&answer).contains("only [application/json] are allowed"));
    let retrieve = format!("{ENTRIES}/retrieve");
    for (body, expected, code) in [
        (json!({"logIndexes": (0..11).collect::<Vec<_>>()}), 422, 611),
        (json!({"entryUUIDs": vec!["ab".repeat(32); 11]}), 422, 611),
        (json!({"entryUUIDs": ["zz"]}), 422, 605),
        (json!({"logIndexes": [-1]}), 422, 609),
        (json!({"entries": vec![json!({}); 11]}), 400, 400),
        (json!({"entries": [{"kind": "nope", "apiVersion": "1"}]}), 422, 422),
    ] {
        let (status, answer) = post(&served, &retrieve, &body).await;
        assert_eq!((status, answer["code"].as_u64()), (expected, Some(code)), "{body}: {answer}");
    }
    assert_eq!(post(&served, &retrieve, "{}").await, (200, json!([])));
    assert_eq!(size(&served).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_are_logged() {
    let served = Served::new().await;
    let log = log_key(&served).await;
    for (key_type, algorithm, scheme) in [
        (KeyType::EcdsaP256, HashAlgorithm::Sha256, Scheme::Ecdsa(HashAlgorithm::Sha256)),
        (KeyType::EcdsaP384, HashAlgorithm::Sha384, Scheme::Ecdsa(HashAlgorithm::Sha384)),
        (KeyType::EcdsaP521, HashAlgorithm::Sha512, Scheme::Ecdsa(HashAlgorithm::Sha512)),
        (KeyType::Ed25519, HashAlgorithm::Sha512, Scheme::Ed25519ph),
    ] {
        let key = KeyPair::generate(key_type).unwrap().with_scheme(scheme).unwrap();
        let (status, answer) =
            post(&served, ENTRIES, hashedrekord_by(&key, algorithm, &pem64(&key), b"m")).await;
        assert_eq!(status, 201, "{key_type} {scheme}: {answer}");
        let (id, entry) = only(&answer);
        check(&id, &entry, &log);
    }
    // Envelopes are signed with the key's own scheme; pure Ed25519 too, because all of the message is there.
    for key_type in [KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Ed25519] {
        let key = KeyPair::generate(key_type).unwrap();
        for proposal in [dsse(&[&key], b"{}"), intoto(&key, b"{}")] {
            let (status, answer) = post(&served, ENTRIES, &proposal).await;
            assert_eq!(status, 201, "{key_type}: {answer}");
        }
    }
    let pure = KeyPair::generate(KeyType::Ed25519).unwrap();
    let digest = HashAlgorithm::Sha256.digest(b"m");
    let mut proposal = hashedrekord(&key(), b"m");
    proposal["spec"]["signature"] = json!({"content": base64_encode(&pure.sign(digest.as_bytes()).unwrap()),
        "publicKey": {"content": pem64(&pure)}});
    assert_eq!(
        post(&served, ENTRIES, &proposal).await.0,
        400,
        "pure Ed25519 cannot be checked from a digest"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_must_be_valid_when_its_entry_is_taken_in_by_rekor_v1() {
    let clock = Arc::new(countersign_clock::ManualClock::new(SystemClock.now()));
    let options = ServeOptions { clock: clock.clone(), ..ServeOptions::default() };
    let served = Served::with(options, |text| text).await;
    let (alice, certificate) = certified(&served, "alice@example.com").await;
    let pem = base64_encode(certificate.as_bytes());
    let entry = |message: &[u8]| hashedrekord_by(&alice, HashAlgorithm::Sha256, &pem, message);
    let kept = entry(b"in time");
    let (status, answer) = post(&served, ENTRIES, &kept).await;
    assert_eq!(status, 201, "{answer}");
    let at = |second| countersign_clock::Timestamp::from_second(second).unwrap();
    let leaf = Certificate::from_pem(&certificate).unwrap();
    let (begins, ends) = (leaf.not_before().as_second(), leaf.not_after().as_second());
    for second in [ends + 1, begins - 6, begins - 3600] {
        clock.set(at(second));
        let (status, answer) = post(&served, ENTRIES, entry(b"out of time")).await;
        assert_eq!(status, 400);
        assert!(text(&answer, "/message").contains("the certificate must be valid now"), "{answer}");
    }
    assert_eq!(size(&served).await, 2);
    // By an authority whose clock is ahead it is issued a moment before it begins, and the log waits for that: its own time
    // on the entry is never before.
    clock.set(at(begins - 5));
    let (early, ()) = tokio::join!(post(&served, ENTRIES, entry(b"early")), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        clock.set(at(begins));
    });
    assert_eq!(early.0, 201, "{}", early.1);
    assert_eq!(only(&early.1).1["integratedTime"], begins);
    assert_eq!(size(&served).await, 3);
    // It is found again for as long as there is the log.
    let (status, found) = post(&served, &format!("{ENTRIES}/retrieve"), json!({"entries": [kept]})).await;
    assert_eq!((status, found.as_array().unwrap().len()), (200, 1));
}
