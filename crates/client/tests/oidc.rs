//! Logins against a small identity provider on loopback: browser, device, tokens given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::HashMap;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_client::ClientError;
use countersign_client::oidc::{Ambient, DevicePrompt, Flow, Login, LoginOptions, TokenFrom, Ui};
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::sha256;
use countersign_http::{Http, HttpError, HttpOptions, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", base64url_encode(claims.to_string().as_bytes()))
}

/// What the provider knows and how it misbehaves.
#[derive(Debug, Default)]
struct Idp {
    issuer: String,
    asked: Vec<HashMap<String, String>>,
    authorized: HashMap<String, String>,
    pending: usize,
    wrong_nonce: bool,
    announced_issuer: Option<String>,
    lifetime: i64,
}

type Shared = Arc<Mutex<Idp>>;

async fn discovery(State(idp): State<Shared>) -> Json<Value> {
    let idp = idp.lock().unwrap();
    let base = &idp.issuer;
    Json(json!({
        "issuer": idp.announced_issuer.as_ref().unwrap_or(base),
        "authorization_endpoint": format!("{base}/auth"),
        "token_endpoint": format!("{base}/token"),
        "device_authorization_endpoint": format!("{base}/device"),
    }))
}

async fn token_endpoint(State(idp): State<Shared>, body: String) -> (StatusCode, Json<Value>) {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut idp = idp.lock().unwrap();
    idp.asked.push(form.clone());
    if form["grant_type"].ends_with("device_code") && idp.pending > 0 {
        idp.pending -= 1;
        let error = if idp.pending == 0 { "slow_down" } else { "authorization_pending" };
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    }
    if form["grant_type"] == "authorization_code" {
        // PKCE: the verifier must hash to the challenge of the authorization.
        let challenge = base64url_encode(&sha256(form["code_verifier"].as_bytes()));
        if idp.authorized["code_challenge"] != challenge
            || form["redirect_uri"] != idp.authorized["redirect_uri"]
        {
            return (StatusCode::BAD_REQUEST, Json(json!({"error":"invalid_grant"})));
        }
    }
    let nonce = if idp.wrong_nonce { Some("other".into()) } else { idp.authorized.get("nonce").cloned() };
    let claims = json!({
        "iss": idp.issuer, "sub": "u1", "email": "alice@example.com", "email_verified": true, "aud": "sigstore",
        "nonce": nonce, "exp": NOW + idp.lifetime,
    });
    (StatusCode::OK, Json(json!({ "id_token": token(&claims) })))
}

async fn device_endpoint() -> Json<Value> {
    Json(json!({"device_code":"d1","user_code":"ABCD-EFGH","verification_uri":"https://idp.example/device",
        "expires_in":60,"interval":0}))
}

async fn start(idp: Idp) -> (Shared, Url) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let shared = Arc::new(Mutex::new(Idp { issuer: issuer.clone(), lifetime: 600, ..idp }));
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/token", post(token_endpoint))
        .route("/device", post(device_endpoint))
        .with_state(Arc::clone(&shared));
    tokio::spawn(axum::serve(listener, router).into_future());
    (shared, Url::parse(&issuer).unwrap())
}

/// A person whose browser answers with what `answer` makes of the authorization request.
struct Person {
    idp: Option<Shared>,
    answer: fn(&HashMap<String, String>) -> String,
    shown: Mutex<Vec<DevicePrompt>>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person")
    }
}

impl Ui for Person {
    fn open(&self, url: &Url) {
        let query: HashMap<String, String> = Query::try_from_uri(&url.as_str().parse().unwrap()).unwrap().0;
        if let Some(idp) = &self.idp {
            idp.lock().unwrap().authorized = query.clone();
        }
        let back = Url::parse(&format!("{}?{}", query["redirect_uri"], (self.answer)(&query))).unwrap();
        let icon = back.join("/favicon.ico").unwrap();
        tokio::spawn(async move {
            let http = http();
            assert_eq!(http.send(Request::get("browser", &icon)).await.unwrap().status, 404);
            http.send(Request::get("browser", &back)).await.unwrap();
        });
    }
    fn device(&self, prompt: &DevicePrompt) {
        self.shown.lock().unwrap().push(prompt.clone());
    }
}

fn http() -> Http {
    Http::new(HttpOptions { backoff: Duration::ZERO, ..HttpOptions::default() })
}

fn good(query: &HashMap<String, String>) -> String {
    format!("state={}&code=c1", query["state"])
}

fn person(idp: &Shared, answer: fn(&HashMap<String, String>) -> String) -> Arc<Person> {
    Arc::new(Person { idp: Some(Arc::clone(idp)), answer, shown: Mutex::default() })
}

fn nowhere() -> Ambient {
    Ambient::new(|_| None, "/nonexistent/token")
}

fn options(issuer: &Url, flow: Flow) -> LoginOptions {
    LoginOptions { flow, issuer: Some(issuer.clone()), pace: Duration::ZERO, ..LoginOptions::default() }
}

#[tokio::test]
async fn a_browser_login_is_bound_by_pkce_and_nonce_and_happens_once() {
    let (idp, issuer) = start(Idp::default()).await;
    let login = Login::new(options(&issuer, Flow::Browser), nowhere(), person(&idp, good));
    for _ in 0..3 {
        assert_eq!(login.token(&http(), now()).await.unwrap().subject().unwrap(), "alice@example.com");
    }
    let idp = idp.lock().unwrap();
    assert_eq!(idp.asked.len(), 1, "one login for many artifacts");
    assert_eq!(idp.authorized["code_challenge_method"], "S256");
    assert!(idp.authorized["redirect_uri"].starts_with("http://localhost:"));
    assert_eq!(idp.authorized["scope"], "openid email");
}

#[tokio::test]
async fn v28_a_callback_with_another_state_aborts() {
    let (idp, issuer) = start(Idp::default()).await;
    let other = person(&idp, |_| "state=forged&code=c1".into());
    let error = Login::new(options(&issuer, Flow::Browser), nowhere(), other)
        .token(&http(), now())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("state differs"), "{error}");
    assert!(idp.lock().unwrap().asked.is_empty(), "the code was redeemed");
}

#[tokio::test]
async fn a_token_of_another_login_or_issuer_is_not_used() {
    let (idp, issuer) = start(Idp { wrong_nonce: true, ..Idp::default() }).await;
    let login = Login::new(options(&issuer, Flow::Browser), nowhere(), person(&idp, good));
    assert!(login.token(&http(), now()).await.unwrap_err().to_string().contains("nonce"));

    let (idp, issuer) = start(Idp { announced_issuer: Some("https://evil".into()), ..Idp::default() }).await;
    let login = Login::new(options(&issuer, Flow::Browser), nowhere(), person(&idp, good));
    assert!(matches!(
        login.token(&http(), now()).await.unwrap_err(),
        ClientError::Http(HttpError::WrongAnswer { .. })
    ));
}

#[tokio::test]
async fn a_refused_login_says_so() {
    let (idp, issuer) = start(Idp::default()).await;
    let refused = person(&idp, |q| format!("state={}&error=access_denied&error_description=no", q["state"]));
    let error = Login::new(options(&issuer, Flow::Browser), nowhere(), refused)
        .token(&http(), now())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("access_denied no"), "{error}");
}

#[tokio::test]
async fn a_device_login_waits_until_the_person_is_done() {
    let (idp, issuer) = start(Idp { pending: 3, ..Idp::default() }).await;
    let person = person(&idp, good);
    let ui: Arc<dyn Ui> = person.clone();
    let token =
        Login::new(options(&issuer, Flow::Device), nowhere(), ui).token(&http(), now()).await.unwrap();
    assert_eq!(token.subject().unwrap(), "alice@example.com");
    assert_eq!(idp.lock().unwrap().asked.len(), 4);
    let shown = person.shown.lock().unwrap();
    assert_eq!(*shown, [DevicePrompt { url: "https://idp.example/device".into(), code: "ABCD-EFGH".into() }]);
}

#[tokio::test]
async fn a_device_login_s_token_of_another_login_is_not_used() {
    let (idp, issuer) = start(Idp { wrong_nonce: true, ..Idp::default() }).await;
    let login = Login::new(options(&issuer, Flow::Device), nowhere(), person(&idp, good));
    assert!(login.token(&http(), now()).await.unwrap_err().to_string().contains("nonce"));
}

/// As browsers do: connections that were opened in advance and say nothing.
#[tokio::test]
async fn connections_on_which_nothing_comes_hold_nobody_up() {
    let (idp, issuer) = start(Idp::default()).await;
    let silent = person(&idp, |query| {
        let back = Url::parse(&query["redirect_uri"]).unwrap();
        for _ in 0..3 {
            let idle = std::net::TcpStream::connect(("127.0.0.1", back.port().unwrap())).unwrap();
            // Left open for as long as the test runs.
            std::mem::forget(idle);
        }
        good(query)
    });
    let login = Login::new(options(&issuer, Flow::Browser), nowhere(), silent);
    let token = tokio::time::timeout(Duration::from_secs(5), login.token(&http(), now())).await;
    assert_eq!(token.unwrap().unwrap().subject().unwrap(), "alice@example.com");
}

#[tokio::test]
async fn a_given_token_with_a_fault_is_not_repeated() {
    for text in ["eyJhbGciOiJub25lIn0.hunter2".to_owned(), format!("e30.{}.c2ln", "hunter2".repeat(40))] {
        let error = Login::new(given(&text), nowhere(), nobody()).token(&http(), now()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("neither a token") && !text.contains("hunter2"), "{text}");
    }
    let error = Login::new(given("not-there"), nowhere(), nobody()).token(&http(), now()).await.unwrap_err();
    assert!(error.to_string().contains("not-there"), "{error}");
}

#[tokio::test]
async fn an_expired_token_is_asked_for_again() {
    let (idp, issuer) = start(Idp::default()).await;
    let login = Login::new(options(&issuer, Flow::Browser), nowhere(), person(&idp, good));
    login.token(&http(), now()).await.unwrap();
    let later = Timestamp::from_second(NOW + 595).unwrap();
    idp.lock().unwrap().lifetime = 1200;
    login.token(&http(), later).await.unwrap();
    assert_eq!(idp.lock().unwrap().asked.len(), 2);
}

#[tokio::test]
async fn a_service_logs_in_with_its_secret() {
    let (idp, issuer) = start(Idp::default()).await;
    let without = options(&issuer, Flow::ClientCredentials);
    let with = LoginOptions { client_secret: Some("s3".to_owned().into()), ..without.clone() };
    assert_eq!(
        Login::new(without, nowhere(), person(&idp, good))
            .token(&http(), now())
            .await
            .unwrap_err()
            .exit_code(),
        1
    );
    Login::new(with, nowhere(), person(&idp, good)).token(&http(), now()).await.unwrap();
    assert_eq!(idp.lock().unwrap().asked[0]["client_secret"], "s3");
}

fn given(raw: &str) -> LoginOptions {
    LoginOptions { token: Some(TokenFrom::parse(raw)), flow: Flow::TokenOnly, ..LoginOptions::default() }
}

fn nobody() -> Arc<Person> {
    Arc::new(Person { idp: None, answer: good, shown: Mutex::default() })
}

#[tokio::test]
async fn a_given_token_wins_and_may_lie_in_a_file() {
    let raw = token(&json!({"iss":"i","sub":"given","exp":NOW + 60}));
    let ambient = Ambient::new(
        |name| (name == "SIGSTORE_ID_TOKEN").then(|| token(&json!({"iss":"i","sub":"env"}))),
        "/x",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{raw}\n")).unwrap();
    for from in [raw.as_str(), file.to_str().unwrap()] {
        let login = Login::new(given(from), ambient.clone(), nobody());
        assert_eq!(login.token(&http(), now()).await.unwrap().subject().unwrap(), "given");
    }
}

#[tokio::test]
async fn an_expired_given_token_is_refused_before_it_travels() {
    let raw = token(&json!({"iss":"i","sub":"s","exp":NOW - 1}));
    let error = Login::new(given(&raw), nowhere(), nobody()).token(&http(), now()).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn without_any_source_the_error_says_where_was_looked() {
    let options = LoginOptions { flow: Flow::TokenOnly, ..LoginOptions::default() };
    let error = Login::new(options, nowhere(), nobody()).token(&http(), now()).await.unwrap_err().to_string();
    assert!(error.contains("--identity-token") && error.contains("SIGSTORE_ID_TOKEN"), "{error}");
}
