//! A whole instance on loopback, spoken to as its clients speak to it.
use std::sync::Arc;

use crate::common::Served;
use crate::pages::certified_entry;
use crate::rekor_v1::certified;
use crate::requests::entry_request;
use countersign_bundle::TlogEntry;
use countersign_clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_server::instance::{InitOptions, init};
use countersign_server::serve::{ServeOptions, start};
use countersign_tlog::map::{MapProof, Page, key_of};
use countersign_tlog::{Checkpoint, IndexCommitment, Note};
use countersign_x509::{Certificate, San};
use reqwest::Client;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_comes_with_an_sct_and_says_what_the_token_says() {
    let served = Served::new().await;
    let token = served.token("alice@example.com").await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let proof = base64_encode(&key.sign(b"alice@example.com").unwrap());
    let body = json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "", "content": key.public_key().to_pem()},
            "proofOfPossession": proof,
        },
        "unknown": 1,
    });
    let (status, answer) = served.post("/api/v2/signingCert", "application/json", body.to_string()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let chain = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"].as_array().unwrap();
    assert_eq!(chain.len(), 3);
    let leaf = Certificate::from_pem(chain[0].as_str().unwrap()).unwrap();
    assert_eq!(leaf.sans(), [San::Email("alice@example.com".into())]);
    assert_eq!(leaf.public_key(), key.public_key());
    assert_eq!(leaf.scts().unwrap().len(), 1);
    let issuer = leaf.fulcio().issuer().unwrap();
    assert!(issuer.contains("development-identity-provider"), "{issuer}");

    let wrong = body.to_string().replace(&proof, "AAAA");
    let (status, answer) = served.post("/api/v2/signingCert", "application/json", wrong).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&answer).contains("could not be verified"));
    let (status, _) = served.post("/api/v2/signingCert", "application/json", "{}").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_comes_with_its_proof_never_at_index_zero_and_a_retry_gets_the_same_index() {
    let served = Served::new().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let request = entry_request(&key, b"one");
    let (status, body) = served.entry(request.clone()).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let first = TlogEntry::from_json(&body).unwrap();
    assert_eq!(first.log_index, 1);
    let (_, body) = served.entry(entry_request(&key, b"two")).await;
    assert_eq!(TlogEntry::from_json(&body).unwrap().log_index, 2);
    let (status, body) = served.entry(request).await;
    assert_eq!(status, 201);
    let again = TlogEntry::from_json(&body).unwrap();
    assert_eq!((again.log_index, &again.canonicalized_body), (1, &first.canonicalized_body));
    let proof = again.inclusion_proof.unwrap();
    assert_eq!(proof.tree_size, 3);

    for path in
        ["/checkpoint", "/api/v2/checkpoint", "/tile/0/000.p/3", "/tile/entries/000.p/3", "/ct/checkpoint"]
    {
        let (status, body) = served.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(!body.is_empty(), "{path}");
    }
    let (status, _) = served.get("/tile/0/x001").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_enters_the_tree_that_does_not_verify() {
    let served = Served::new().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let (_, before) = served.get("/checkpoint").await;
    let good = entry_request(&key, b"one");
    let other = entry_request(&key, b"two");
    let part = |json: &str, pointer: &str| {
        let value: Value = serde_json::from_str(json).unwrap();
        value.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    let signature = "/hashedRekordRequestV002/signature/content";
    let swapped = good.replace(&part(&good, signature), &part(&other, signature));
    for (request, expected) in [
        (swapped, 400),
        (good.replace("PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384"), 400),
        (good.replace("hashedRekordRequestV002", "foo"), 400),
        ("{}".into(), 400),
        (String::new(), 400),
        ("hello".into(), 400),
        ("null".into(), 400),
        ("[".repeat(100_000), 400),
        ("x".repeat(5 << 20), 413),
    ] {
        let short: String = request.chars().take(80).collect();
        let (status, body) = served.entry(request).await;
        assert_eq!(status, expected, "{short}: {}", String::from_utf8_lossy(&body));
    }
    let (_, after) = served.get("/checkpoint").await;
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_must_be_valid_when_its_entry_is_taken_in_by_rekor_v2() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let options = ServeOptions { clock: clock.clone(), ..ServeOptions::default() };
    let served = Served::with(options, |text| text).await;
    let (alice, pem) = certified(&served, "alice@example.com").await;
    let certificate = Certificate::from_pem(&pem).unwrap();
    let entry = |message: &[u8]| {
        let digest = HashAlgorithm::Sha256.digest(message);
        certified_entry(&digest, &alice.sign_digest(&digest).unwrap(), certificate.der())
    };
    let kept = entry(b"in time");
    let (status, body) = served.entry(kept.clone()).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let first = TlogEntry::from_json(&body).unwrap();
    let (_, before) = served.get("/checkpoint").await;
    for out in [
        certificate.not_after().as_second() + 1,
        clock.now().as_second() + 86_400,
        certificate.not_before().as_second() - 6,
    ] {
        clock.set(Timestamp::from_second(out).unwrap());
        let (status, body) = served.entry(entry(b"out of time")).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, answer["code"].as_u64()), (400, Some(3)), "{answer}");
        let message = answer["message"].as_str().unwrap();
        let says = "invalid hashedrekord request: the certificate must be valid now";
        assert!(message.starts_with(says), "{message}");
        // What was taken in while it was valid has its place for ever, and a request for it is answered as before.
        let (status, body) = served.entry(kept.clone()).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        let again = TlogEntry::from_json(&body).unwrap();
        assert_eq!((again.log_index, again.canonicalized_body), (1, first.canonicalized_body.clone()));
        // A key has no time.
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        assert_eq!(served.entry(entry_request(&key, b"by a key")).await.0, 201);
    }
    let size = |note: &[u8]| String::from_utf8_lossy(note).lines().nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(size(&served.get("/checkpoint").await.1), size(&before) + 3, "the three of keys");
    // The authority's clock may be five seconds ahead.
    let early = Timestamp::from_second(certificate.not_before().as_second() - 5).unwrap();
    for second in [early, certificate.not_before(), certificate.not_after()] {
        clock.set(second);
        let message = second.to_string();
        assert_eq!(served.entry(entry(message.as_bytes())).await.0, 201, "{second}: the borders are in");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamps_are_given_for_der_and_json_whatever_is_accepted() {
    let served = Served::new().await;
    let query = base64_decode("MDYCAQEwMTANBglghkgBZQMEAgEFAAQgAcIztyW8CNHTOYl0aHDoU/Z9Nrtw8DzS2OFVxVFK8js=")
        .unwrap();
    let (status, reply) =
        served.post("/api/v1/timestamp", "application/timestamp-query", query.clone()).await;
    assert_eq!(status, 200);
    assert!(reply.len() > 300);
    let json = json!({"artifactHash": base64_encode(&[1; 32]), "hashAlgorithm": "sha256"}).to_string();
    let (status, _) = served.post("/api/v1/timestamp", "application/json", json).await;
    assert_eq!(status, 200);
    let accept = served
        .client
        .post(served.url("/api/v1/timestamp"))
        .header("content-type", "application/timestamp-query")
        .header("accept", "application/json")
        .body(query.clone());
    assert_eq!(accept.send().await.unwrap().status(), 200);
    for (kind, body, expected) in [
        ("text/plain", query.clone(), 415),
        ("application/timestamp-query", vec![], 422),
        ("application/timestamp-query", b"junk".to_vec(), 400),
        ("application/timestamp-query", vec![0; 5000], 413),
        ("application/json", b"{}".to_vec(), 400),
    ] {
        let (status, _) = served.post("/api/v1/timestamp", kind, body).await;
        assert_eq!(status, expected, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_described_exists_and_nothing_else_answers() {
    let served = Served::new().await;
    let (_, page) = served.get("/openapi.json").await;
    let document: Value = serde_json::from_slice(&page).unwrap();
    // Only a program with the engine for browsers has it, and its description says so.
    let without_engine = |path: &str| path == "/verify/trust.json" && !cfg!(feature = "browser");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths.iter().filter(|(path, _)| !without_engine(path)) {
        for method in methods.as_object().unwrap().keys() {
            let concrete = path.replace("{path}", "x").replace("{fingerprint}", "00").replace("{leaf}", "00");
            let request = match method.as_str() {
                "get" => served.client.get(served.url(&concrete)),
                "post" => served.client.post(served.url(&concrete)),
                other => panic!("{other}"),
            };
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let body = response.text().await.unwrap();
            let unknown = body.contains("\"Not Found\"");
            assert!(!unknown && status != 405 && status < 500, "{method} {path}: {status} {body}");
        }
    }
    for path in [
        "/tuf/.lock",
        "/tuf/../countersign.toml",
        "/tuf/%2e%2e/countersign.toml",
        "/tuf/..%2fcountersign.toml",
        "/nope",
    ] {
        let (status, _) = served.get(path).await;
        assert_eq!(status, 404, "{path}");
    }
    let (status, _) = served.get("/api/v2/signingCert").await;
    assert_eq!(status, 405);
    for path in [
        "/trusted_root.json",
        "/signing_config.v0.2.json",
        "/trust_config.json",
        "/revocations.json",
        "/root.json",
        "/tuf/timestamp.json",
        "/tuf/1.root.json",
    ] {
        let (status, body) = served.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(serde_json::from_slice::<Value>(&body).is_ok(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_directory_is_refused_and_names_the_holder() {
    let served = Served::new().await;
    let path = served.path.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = ServeOptions { listener: Some(listener), ..ServeOptions::default() };
    let error = start(&path, serve).await.unwrap_err().to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_to_stop_lets_running_requests_finish() {
    let served = Served::new().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let (status, _) = served.entry(entry_request(&key, b"one")).await;
    assert_eq!(status, 201);
    served.running.shutdown();
    served.running.wait().await.unwrap();
}

/// R20: a rotation keeps what is trusted, and the instance runs on with the new key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_every_key_rotates_and_the_trust_root_keeps_the_old_ones() {
    use countersign_bundle::TrustedRoot;
    use countersign_clock::{Clock, SystemClock};
    use countersign_server::rotate::{NewKeys, Target, rotate};
    use std::sync::Arc;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instance");
    init(&path, &InitOptions { requests_per_second: 0, ..InitOptions::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    for target in [Target::Ca, Target::Ct, Target::Tsa, Target::Log, Target::Tuf] {
        rotate(&path, target, &NewKeys::default(), None, &clock)
            .unwrap_or_else(|e| panic!("{target:?}: {e}"));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = ServeOptions { listener: Some(listener), development: true, ..ServeOptions::default() };
    let running = start(&path, serve).await.unwrap();
    let report = tokio::task::spawn_blocking({
        let path = path.clone();
        move || rotate(&path, Target::Ca, &NewKeys::default(), None, &clock).unwrap()
    });
    assert!(report.await.unwrap().served, "the server let go of it");
    let client = Client::builder().no_proxy().build().unwrap();
    let get = |name: &str| client.get(format!("http://{}/{name}", running.address)).send();
    let root = get("trusted_root.json").await.unwrap().bytes().await.unwrap();
    let root = TrustedRoot::from_json(&root).unwrap();
    assert_eq!((root.certificate_authorities.len(), root.ctlogs.len()), (3, 2));
    assert_eq!((root.timestamp_authorities.len(), root.tlogs.len()), (2, 3));
    // The one of Rekor v2, and the one of Rekor v1 beside it.
    assert_eq!(root.tlogs.iter().filter(|l| l.public_key.valid_for.end.is_none()).count(), 2);
    assert_eq!(get("readyz").await.unwrap().status(), 200);
    running.shutdown();
    running.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_index_answers_with_a_proof_that_the_checkpoint_commits_to() {
    let served = Served::new().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let term = countersign_verify::terms::of_key(key.public_key());
    let ask = async |term: &str| {
        let mut url = served.url("/api/v1/search") + "?term=";
        url.extend(url::form_urlencoded::byte_serialize(term.as_bytes()));
        let response = served.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap())
    };
    // The index follows by itself, and the next checkpoint commits to it: entries are sent until one does to the first.
    let mut number = 0_u32;
    let answer = loop {
        number += 1;
        let (status, body) = served.entry(entry_request(&key, &number.to_be_bytes())).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        let (status, body) = ask(&term).await;
        assert_eq!(status, 200);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if answer["index"]["entries"].as_array().is_some_and(|entries| entries.len() >= 2) {
            break answer;
        }
    };
    let note = Note::parse(answer["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    let index = IndexCommitment::of(&checkpoint).unwrap().unwrap();
    assert_eq!(answer["index"]["size"], index.size);
    let bytes = base64_decode(answer["index"]["proof"].as_str().unwrap()).unwrap();
    let leaf = MapProof::parse(&bytes).unwrap().verify(&key_of(&term), &index.root).unwrap().unwrap();
    let entries: Vec<u64> = serde_json::from_value(answer["index"]["entries"].clone()).unwrap();
    Page { start: 0, peaks: vec![], entries: entries.clone() }.verify(&leaf).unwrap();
    assert_eq!(entries, (1..index.size).collect::<Vec<_>>());

    let (status, body) = ask("email:nobody@example.com").await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["index"]["entries"]), (200, &json!([])));
    let bytes = base64_decode(answer["index"]["proof"].as_str().unwrap()).unwrap();
    let proof = MapProof::parse(&bytes).unwrap();
    assert_eq!(proof.verify(&key_of("email:nobody@example.com"), &index.root), Ok(None));

    for (query, expected) in [
        ("", 400),
        ("?term=", 400),
        ("?term=nokind", 400),
        ("?term=a:b&term=c:d", 400),
        ("?term=a:b&size=-1", 400),
        ("?term=a:b&more=1", 400),
        ("?term=a:b&size=99999999", 404),
        (&format!("?term=a:{}", "b".repeat(5000)), 400),
    ] {
        assert_eq!(served.get(&format!("/api/v1/search{query}")).await.0, expected, "{query}");
    }
    let (_, page) = served.get("/metrics").await;
    assert!(String::from_utf8_lossy(&page).contains("countersign_log_search_lag_entries"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_index_and_its_line_in_checkpoints_can_be_switched_off() {
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    for (from, to, expected) in
        [("enabled = true", "enabled = false", 404), ("commit = true", "commit = false", 200)]
    {
        let served = Served::with(ServeOptions::default(), |text| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            changed
        })
        .await;
        for number in 0..20_u8 {
            assert_eq!(served.entry(entry_request(&key, &[number])).await.0, 201);
        }
        let (status, body) = served.get("/api/v1/search?term=a:b").await;
        assert_eq!(status, expected);
        if status == 200 {
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["index"], Value::Null);
        }
        let (_, checkpoint) = served.get("/checkpoint").await;
        assert!(!String::from_utf8_lossy(&checkpoint).contains("countersign-index"));
    }
}
