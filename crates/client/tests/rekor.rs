//! Both interfaces of transparency logs, well behaved and not, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_bundle::TlogEntry;
use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_client::ClientError;
use countersign_client::rekor::{Holder, Proposal, Rekor, RekorVersion};
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{Digest, HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_tlog::tile::push_entry;
use countersign_tlog::{Checkpoint, NoteSigner, NoteVerifier, merkle};
use serde_json::{Value, json};
use url::Url;

struct Signature {
    digest: Digest,
    signature: Vec<u8>,
    key: KeyPair,
    holder: Holder,
}

impl Signature {
    fn new() -> Self {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let holder = Holder::PublicKey(key.public_key().clone());
        let digest = HashAlgorithm::Sha256.digest(b"artifact");
        Self { digest, signature: key.sign(b"artifact").unwrap(), key, holder }
    }

    fn proposal(&self) -> Proposal<'_> {
        Proposal {
            digest: &self.digest,
            signature: &self.signature,
            holder: &self.holder,
            key_details: self.key.public_key().key_details(),
            envelope: None,
        }
    }

    async fn submit(&self, router: Router, version: RekorVersion) -> Result<TlogEntry, ClientError> {
        self.submit_known(router, version, None).await
    }

    async fn submit_known(
        &self,
        router: Router,
        version: RekorVersion,
        key: Option<&NoteVerifier>,
    ) -> Result<TlogEntry, ClientError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let http = Http::new(HttpOptions { backoff: Duration::ZERO, ..HttpOptions::default() });
        Rekor { base, version }.submit(&http, &self.proposal(), key).await
    }
}

/// Rekor v1's answer about a body.
fn answer_v1(body: &Value) -> Json<Value> {
    Json(json!({ "24296fb24b8ad77a": {
        "body": base64_encode(body.to_string().as_bytes()),
        "integratedTime": 1_795_233_363, "logID": "45b0", "logIndex": 3,
        "verification": {
            "inclusionProof": { "checkpoint": "log - 1\n4\nAA==\n\n", "hashes": ["9f38"], "logIndex": 2,
                "rootHash": "f7f0", "treeSize": 4 },
            "signedEntryTimestamp": "AAEC"
        }
    }}))
}

#[tokio::test]
async fn an_entry_of_version_1_is_read_with_its_promise_and_proof() {
    let handler = |Json(body): Json<Value>| async move { (StatusCode::CREATED, answer_v1(&body)) };
    let router = Router::new().route("/api/v1/log/entries", post(handler));
    let entry = Signature::new().submit(router, RekorVersion::V1).await.unwrap();
    assert_eq!((entry.kind.as_str(), entry.version.as_str(), entry.log_index), ("hashedrekord", "0.0.1", 3));
    assert_eq!(entry.integrated_time, Some(1_795_233_363));
    assert_eq!(entry.inclusion_promise, Some(vec![0, 1, 2]));
    let proof = entry.inclusion_proof.unwrap();
    assert_eq!((proof.log_index, proof.tree_size, proof.hashes), (2, 4, vec![vec![0x9f, 0x38]]));
}

#[tokio::test]
async fn an_entry_that_is_there_already_is_fetched_from_the_same_log_only() {
    for (location, good) in
        [("/api/v1/log/entries/24296fb2", true), ("http://127.0.0.1:9/x", false), ("", false)]
    {
        let signature = Signature::new();
        let pem = signature.key.public_key().to_pem();
        let body = json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": { "signature": {
            "content": base64_encode(&signature.signature), "publicKey": { "content": base64_encode(pem.as_bytes()) } } } });
        let router = Router::new()
            .route(
                "/api/v1/log/entries",
                post(move || async move {
                    (StatusCode::CONFLICT, [(header::LOCATION, location)]).into_response()
                }),
            )
            .route("/api/v1/log/entries/24296fb2", get(move || async move { answer_v1(&body) }));
        let result = signature.submit(router, RekorVersion::V1).await;
        assert_eq!(result.is_ok(), good, "{location}: {result:?}");
    }
}

#[tokio::test]
async fn v01_an_entry_about_another_signature_is_refused() {
    let other = |Json(mut body): Json<Value>| async move {
        body["spec"]["signature"]["content"] = "AAAA".into();
        (StatusCode::CREATED, answer_v1(&body))
    };
    let router = Router::new().route("/api/v1/log/entries", post(other));
    let error = Signature::new().submit(router, RekorVersion::V1).await.unwrap_err();
    assert!(error.to_string().contains("another signature"), "{error}");
}

/// The body of an entry of version 2 with this signature in it.
fn body_v2(signature: &Signature, content: Vec<u8>) -> Vec<u8> {
    let entry = HashedRekordV2 {
        digest: signature.digest,
        signature: content,
        verifier: Verifier::PublicKey(signature.key.public_key().spki_der().to_vec()),
        key_details: signature.key.public_key().key_details(),
    };
    entry.canonical_body()
}

/// Rekor v2's answer about an entry.
fn answer_v2(signature: &Signature, content: Vec<u8>) -> Vec<u8> {
    let body = body_v2(signature, content);
    let entry = json!({ "logIndex": "7", "logId": { "keyId": "AAAA" },
        "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" }, "integratedTime": "0", "inclusionPromise": null,
        "inclusionProof": { "logIndex": "7", "rootHash": base64_encode(&[1; 32]), "treeSize": "8", "hashes": [],
            "checkpoint": { "envelope": "log\n8\nAA==\n\n" } },
        "canonicalizedBody": base64_encode(&body) });
    entry.to_string().into_bytes()
}

#[tokio::test]
async fn an_entry_of_version_2_has_exactly_the_body_every_verifier_rebuilds() {
    let signature = Signature::new();
    for (content, good) in [(signature.signature.clone(), true), (vec![0; 70], false)] {
        let answer = answer_v2(&signature, content);
        let handler = move |Json(body): Json<Value>| async move {
            assert!(body["hashedRekordRequestV002"]["digest"].is_string());
            (StatusCode::CREATED, answer)
        };
        let router = Router::new().route("/api/v2/log/entries", post(handler));
        let result = signature.submit(router, RekorVersion::V2).await;
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}

/// A log of one entry, which says of every other that it is there already. Its tree is over `promised`.
fn known_v2(signer: &NoteSigner, promised: &[u8], served: &[u8]) -> Router {
    let leaf = merkle::leaf_hash(promised);
    let checkpoint = Checkpoint { origin: "log.test".into(), size: 1, root: leaf, extensions: vec![] };
    let note = checkpoint.sign(std::slice::from_ref(signer), 0).unwrap().to_string();
    let mut entries = Vec::new();
    push_entry(&mut entries, served).unwrap();
    Router::new()
        .route(
            "/api/v2/log/entries",
            post(|| async { (StatusCode::CONFLICT, [("x-log-index", "0")]).into_response() }),
        )
        .route("/checkpoint", get(move || async move { note }))
        .route("/tile/0/000.p/1", get(move || async move { leaf.to_vec() }))
        .route("/tile/entries/000.p/1", get(move || async move { entries }))
}

#[tokio::test]
async fn an_entry_of_version_2_that_is_there_already_comes_from_the_tiles_with_its_proof() {
    let (ours, theirs) = (Signature::new(), Signature::new());
    let note_signer = || {
        let key = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
        NoteSigner::rekor_v2("log.test", key).unwrap()
    };
    let (log, stranger) = (note_signer(), note_signer());
    let own = body_v2(&ours, ours.signature.clone());
    let other = body_v2(&theirs, theirs.signature.clone());
    let submit = async |router, key| ours.submit_known(router, RekorVersion::V2, key).await;
    let entry = submit(known_v2(&log, &own, &own), Some(log.verifier())).await.unwrap();
    assert_eq!((entry.log_index, &entry.canonicalized_body), (0, &own));
    assert_eq!(entry.inclusion_proof.unwrap().root_hash, merkle::leaf_hash(&own));
    for (router, key, words) in [
        (known_v2(&log, &other, &other), Some(log.verifier()), "another signature than ours"),
        (known_v2(&log, &other, &own), Some(log.verifier()), "not what its checkpoint covers"),
        (known_v2(&stranger, &own, &own), Some(log.verifier()), "checkpoint"),
        (known_v2(&log, &own, &own), None, "answered 409"),
    ] {
        let error = submit(router, key).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn a_frozen_log_says_so_in_its_own_words() {
    let handler = || async {
        (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"code":9,"message":"This log has been frozen"})))
    };
    let router = Router::new().route("/api/v2/log/entries", post(handler));
    let error = Signature::new().submit(router, RekorVersion::V2).await.unwrap_err();
    assert!(error.to_string().contains("frozen"), "{error}");
    assert_eq!(error.exit_code(), 6);
}
