//! The certificate and timestamp authorities, well behaved and not, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use countersign_client::ClientError;
use countersign_client::fulcio::Fulcio;
use countersign_client::oidc::IdToken;
use countersign_client::tsa::timestamp;
use countersign_crypto::encoding::{base64_decode, base64url_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, PublicKey, Signer};
use countersign_http::{Http, HttpError, HttpOptions};
use countersign_x509::issue::{AuthorityProfile, LeafProfile, Precertificate, root_ca, tsa_leaf};
use countersign_x509::sct::{Sct, signed_data};
use countersign_x509::timestamp::{Authority, Responder, TimestampRequest, respond};
use countersign_x509::{Certificate, FulcioExtensions, Name, San, oid};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn profile(name: &str) -> AuthorityProfile {
    AuthorityProfile {
        subject: Name::new(Some("test"), Some(name)),
        not_before: at(NOW - 1_000_000),
        not_after: at(NOW + 1_000_000),
        serial: [3; 20],
    }
}

struct Authority0 {
    key: KeyPair,
    certificate: Certificate,
}

fn root(name: &str) -> Authority0 {
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let certificate = Certificate::from_der(&root_ca(&profile(name), None, &key).unwrap()).unwrap();
    Authority0 { key, certificate }
}

async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

fn http() -> Http {
    Http::new(HttpOptions { backoff: Duration::ZERO, ..HttpOptions::default() })
}

/// How a certificate authority misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    OtherKey,
    Detached,
    Nothing,
    Untrusted,
    Refuses,
    Crowd,
    NobodyTrusted,
}

fn leaf(ca: &Authority0, key: &PublicKey) -> Certificate {
    let leaf = LeafProfile {
        public_key: key.clone(),
        san: San::Email("alice@example.com".into()),
        fulcio: FulcioExtensions { issuer_v2: Some("https://idp".into()), ..Default::default() },
        not_before: at(NOW),
        not_after: at(NOW + 600),
        serial: [7; 20],
    };
    let pre = Precertificate::build(&leaf, &ca.certificate, &ca.key).unwrap();
    let log = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let data = signed_data(1, pre.entry(), &[]).unwrap();
    let sct = Sct {
        log_id: log.public_key().fingerprint(),
        timestamp_ms: 1,
        extensions: vec![],
        scheme: log.scheme(),
        signature: log.sign(&data).unwrap(),
    };
    Certificate::from_der(&pre.into_certificate(&[sct], &ca.key).unwrap()).unwrap()
}

/// Asks an authority with this fault for a certificate.
async fn issued(fault: Fault) -> Result<(), ClientError> {
    let trusted = root("trusted");
    let anchor = trusted.certificate.clone();
    let issuing = Arc::new(if fault == Fault::Untrusted { root("stranger") } else { trusted });
    let handler = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        if fault == Fault::Refuses || !headers["authorization"].to_str().unwrap().starts_with("Bearer e30.") {
            let text = "There was an error processing the identity token";
            return (StatusCode::BAD_REQUEST, Json(json!({"code":3,"message":text})));
        }
        let request = &body["publicKeyRequest"];
        let key = PublicKey::from_pem(request["publicKey"]["content"].as_str().unwrap()).unwrap();
        let proof = base64_decode(request["proofOfPossession"].as_str().unwrap()).unwrap();
        key.verify(key.key_type().default_scheme(), b"alice@example.com", &proof).unwrap();
        let other = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let pem = leaf(&issuing, if fault == Fault::OtherKey { other.public_key() } else { &key }).to_pem();
        let chain = match fault {
            Fault::Nothing => json!({ "certificates": [] }),
            Fault::Crowd => json!({ "certificates": vec![pem; 11] }),
            _ => json!({ "certificates": [pem, issuing.certificate.to_pem()] }),
        };
        let form = if fault == Fault::Detached {
            "signedCertificateDetachedSct"
        } else {
            "signedCertificateEmbeddedSct"
        };
        (StatusCode::OK, Json(json!({ form: { "chain": chain } })))
    };
    let base = serve(Router::new().route("/api/v2/signingCert", post(handler))).await;
    let claims = json!({"iss":"https://idp","sub":"u","email":"alice@example.com","email_verified":true});
    let token =
        IdToken::parse(&format!("e30.{}.c2ln", base64url_encode(claims.to_string().as_bytes()))).unwrap();
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let anchors: &[Certificate] = if fault == Fault::NobodyTrusted { &[] } else { &[anchor] };
    let issued = Fulcio::new(base).certificate(&http(), &token, &key, anchors, &[], at(NOW + 5)).await?;
    assert!(issued.is_fresh(at(NOW + 5), 30));
    assert!(!issued.is_fresh(at(NOW + 580), 30));
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_for_our_key_and_leads_to_the_trust_root() {
    issued(Fault::None).await.unwrap();
}

#[tokio::test]
async fn wrong_answers_of_a_certificate_authority_are_told_apart() {
    for (fault, words) in [
        (Fault::OtherKey, "another key"),
        (Fault::Detached, "a detached one"),
        (Fault::Nothing, "found none"),
        (Fault::Untrusted, "does not lead to the trust root"),
        (Fault::NobodyTrusted, "does not lead to the trust root"),
        (Fault::Refuses, "processing the identity token"),
        (Fault::Crowd, "at most 10"),
    ] {
        let error = issued(fault).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.exit_code(), 6);
    }
}

/// Which timestamp authorities are trusted.
enum Trusted {
    Ours,
    Stranger,
    Nobody,
}

/// A timestamp authority whose answer `change` may spoil.
async fn stamped(
    change: impl Fn(TimestampRequest) -> TimestampRequest + Clone + Send + Sync + 'static,
    trusted: Trusted,
) -> Result<Vec<u8>, ClientError> {
    let anchor = root("tsa root");
    let key = Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap());
    let der = tsa_leaf(&profile("tsa"), key.public_key(), &anchor.certificate, &anchor.key).unwrap();
    let leaf = Certificate::from_der(&der).unwrap();
    let responder = Arc::new(Responder::new(leaf.clone(), oid::SIGSTORE_TSA_POLICY, &*key).unwrap());
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        assert_eq!(headers["content-type"], "application/timestamp-query");
        let request = change(TimestampRequest::parse(&body).unwrap());
        respond(&responder, &request, at(NOW), &[5; 20], &*key).unwrap()
    };
    let url = serve(Router::new().route("/", post(handler))).await;
    let stranger = root("stranger").certificate;
    let authorities = match trusted {
        Trusted::Ours => vec![Authority::from_chain(&[leaf, anchor.certificate]).unwrap()],
        Trusted::Stranger => vec![Authority::from_chain(&[stranger]).unwrap()],
        Trusted::Nobody => vec![],
    };
    timestamp(&http(), &url, b"signature", &authorities).await
}

#[tokio::test]
async fn a_timestamp_is_of_our_bytes_and_of_a_trusted_authority() {
    stamped(|request| request, Trusted::Ours).await.unwrap();
}

#[tokio::test]
async fn v43_a_timestamp_with_another_nonce_is_refused() {
    let error = stamped(|r| TimestampRequest { nonce: Some(vec![1]), ..r }, Trusted::Ours).await.unwrap_err();
    assert!(error.to_string().contains("nonce"), "{error}");
    let error = stamped(|r| TimestampRequest { nonce: None, ..r }, Trusted::Ours).await.unwrap_err();
    assert!(error.to_string().contains("nonce"), "{error}");
}

#[tokio::test]
async fn a_timestamp_of_other_bytes_or_of_a_stranger_is_refused() {
    let other = |r| TimestampRequest { imprint: HashAlgorithm::Sha256.digest(b"other"), ..r };
    assert!(matches!(
        stamped(other, Trusted::Ours).await.unwrap_err(),
        ClientError::Http(HttpError::WrongAnswer { .. })
    ));
    for trusted in [Trusted::Stranger, Trusted::Nobody] {
        let error = stamped(|r| r, trusted).await.unwrap_err();
        assert!(matches!(error, ClientError::Http(HttpError::WrongAnswer { .. })), "{error}");
    }
}
