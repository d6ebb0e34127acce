//! A world without a network: a clock that is moved by hand, issuers in memory, requests written down.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; each test file uses a part of them"
)]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use countersign_ca::config::{IssuerConfig, IssuerType, Issuers};
use countersign_ca::dev_idp::{public_jwk, sign_compact};
use countersign_ca::oidc::{
    BoxFuture, FetchRequest, FetchResponse, TokenError, TokenVerifier, Transport, TransportError,
    VerifiedToken,
};
use countersign_clock::{Clock as _, ManualClock, Timestamp};
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use serde_json::{Value, json};

/// The issuer of most tests.
pub const ISSUER: &str = "https://id.example.com";
/// When tests begin.
pub const START: i64 = 1_800_000_000;

/// An RSA key; making one takes a while, so there are two for all tests.
pub static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap());
/// Another RSA key.
pub static OTHER_RSA: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap());

/// What the network answers under a URL.
#[derive(Debug, Clone)]
pub enum Answer {
    Body(Vec<u8>),
    Status(u16),
    Redirect(String),
    Broken,
    Hangs,
    /// This body, once it is let through.
    When(Arc<tokio::sync::Notify>, Vec<u8>),
}

/// A network in memory.
#[derive(Debug, Default)]
pub struct Network {
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<FetchRequest>>,
}

impl Network {
    pub fn set(&self, url: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(url.to_owned(), answer);
    }

    pub fn set_json(&self, url: &str, body: &Value) {
        self.set(url, Answer::Body(body.to_string().into_bytes()));
    }

    pub fn requests(&self) -> Vec<FetchRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub fn urls(&self) -> Vec<String> {
        self.requests().iter().map(|r| r.url.to_string()).collect()
    }
}

impl Transport for Network {
    fn get(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, TransportError>> {
        let answer = self.answers.lock().unwrap().get(request.url.as_str()).cloned();
        let limit = request.max_body_bytes;
        self.requests.lock().unwrap().push(request);
        Box::pin(async move {
            let respond = |status, location, body| Ok(FetchResponse { status, location, body });
            match answer {
                Some(Answer::Body(body)) if body.len() > limit => Err(TransportError("body too long".into())),
                Some(Answer::Body(body)) => respond(200, None, body),
                Some(Answer::Status(status)) => respond(status, None, Vec::new()),
                Some(Answer::Redirect(to)) => respond(302, Some(to), Vec::new()),
                Some(Answer::Broken) | None => Err(TransportError("connection refused".into())),
                Some(Answer::Hangs) => std::future::pending().await,
                Some(Answer::When(gate, body)) => {
                    gate.notified().await;
                    respond(200, None, body)
                }
            }
        })
    }
}

/// A verifier with one issuer, its network and its clock.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub network: Arc<Network>,
    pub verifier: TokenVerifier,
}

impl World {
    /// One issuer of type e-mail at [`ISSUER`] with the key [`RSA`] under the id `k1`, changed as wanted.
    pub fn new(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let mut config = IssuerConfig::new(ISSUER, IssuerType::Email);
        change(&mut config);
        Self::with(&[config])
    }

    pub fn with(configs: &[IssuerConfig]) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(START).unwrap()));
        let network = Arc::new(Network::default());
        publish(&network, ISSUER, &[jwk(&RSA, "k1")]);
        let issuers = Arc::new(Issuers::new(configs, None).unwrap());
        let verifier = TokenVerifier::new(issuers, network.clone(), clock.clone());
        Self { clock, network, verifier }
    }

    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        self.verifier.verify(token).await
    }

    /// Claims of a good token of [`ISSUER`].
    pub fn claims(&self) -> Value {
        claims(ISSUER, self.clock.now().as_second())
    }
}

/// Claims of a good token.
pub fn claims(issuer: &str, now: i64) -> Value {
    json!({
        "iss": issuer, "aud": "sigstore", "sub": "u1", "iat": now, "nbf": now - 5, "exp": now + 600,
        "email": "alice@example.com", "email_verified": true
    })
}

pub fn jwk(key: &KeyPair, kid: &str) -> Value {
    public_jwk(key.public_key(), kid).unwrap()
}

/// Puts discovery document and keys of an issuer on the network.
pub fn publish(network: &Network, issuer: &str, keys: &[Value]) {
    let base = issuer.trim_end_matches('/');
    let uri = format!("{base}/keys");
    network.set_json(&uri, &json!({"keys": keys}));
    network.set_json(
        &format!("{base}/.well-known/openid-configuration"),
        &json!({"issuer": issuer, "jwks_uri": uri, "id_token_signing_alg_values_supported": ["RS256"]}),
    );
}

/// A token with these claims, RS256 by [`RSA`] under the id `k1`.
pub fn token(claims: &Value) -> String {
    token_of(&json!({"alg": "RS256", "kid": "k1"}), claims, &RSA)
}

pub fn token_of(header: &Value, claims: &Value, key: &KeyPair) -> String {
    sign_compact(header, &claims.to_string(), key).unwrap()
}

/// A value with one member replaced, or removed when the new value is null.
pub fn with(mut value: Value, name: &str, new: Value) -> Value {
    let members = value.as_object_mut().unwrap();
    if new.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), new);
    }
    value
}
