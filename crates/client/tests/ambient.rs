//! Tokens of the surroundings: CI systems, Google's metadata server, a SPIFFE agent, Kubernetes' files; each from a
//! local server or file that behaves as the real one, and one that does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::collections::HashMap;
use std::future::IntoFuture as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_client::oidc::{Ambient, AmbientProvider};
use countersign_crypto::encoding::base64url_encode;
use countersign_http::{Http, HttpOptions};
use serde_json::{Value, json};

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", base64url_encode(claims.to_string().as_bytes()))
}

fn http() -> Http {
    Http::new(HttpOptions { backoff: Duration::ZERO, ..HttpOptions::default() })
}

/// GitHub's and Buildkite's endpoints; each answers only to its own secret.
async fn ci() -> String {
    let router = Router::new()
        .route(
            "/github",
            get(|headers: HeaderMap, Query(query): Query<HashMap<String, String>>| async move {
                let right = headers["authorization"] == "bearer gh"
                    && query["audience"] == "sigstore"
                    && query["v"] == "2";
                let status = if right { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                (status, Json(json!({ "value": token(&json!({"iss":"gh","sub":"repo:a/b"})) })))
            }),
        )
        .route(
            "/jobs/j-1/oidc/tokens",
            post(|headers: HeaderMap, Json(body): Json<Value>| async move {
                let right = headers["authorization"] == "Token bk" && body["audience"] == "sigstore";
                let status = if right { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                (status, Json(json!({ "token": token(&json!({"iss":"bk","sub":"org:x"})) })))
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    base
}

fn variables(list: &[(&str, String)]) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    let map: HashMap<String, String> = list.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    move |name| map.get(name).cloned()
}

#[tokio::test]
async fn ci_systems_are_recognised_in_cosigns_order() {
    let base = ci().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oidc-token");
    let github = vec![
        ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{base}/github?v=2")),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "gh".into()),
    ];
    let subject = |list: Vec<(&str, String)>, file: std::path::PathBuf| {
        let ambient = Ambient::new(variables(&list), file);
        async move { ambient.token(&http()).await.map(|t| t.map(|t| t.claims().sub.clone())) }
    };
    assert_eq!(subject(vec![], file.clone()).await.unwrap(), None);
    assert_eq!(subject(github.clone(), file.clone()).await.unwrap(), Some("repo:a/b".into()));
    std::fs::write(&file, token(&json!({"iss":"k8s","sub":"sa"}))).unwrap();
    assert_eq!(subject(github.clone(), file.clone()).await.unwrap(), Some("sa".into()));
    let mut list = github.clone();
    list.push(("SIGSTORE_ID_TOKEN", token(&json!({"iss":"gitlab","sub":"project"}))));
    assert_eq!(subject(list.clone(), file.clone()).await.unwrap(), Some("project".into()));
    list.push(("BUILDKITE_AGENT_ACCESS_TOKEN", "bk".into()));
    list.push(("BUILDKITE_JOB_ID", "j-1".into()));
    list.push(("BUILDKITE_AGENT_ENDPOINT", base.clone()));
    assert_eq!(subject(list, file.clone()).await.unwrap(), Some("org:x".into()));

    // One that offers and fails is not passed over for another identity.
    let mut wrong = github;
    wrong[1].1 = "stolen".into();
    assert!(subject(wrong, dir.path().join("none")).await.is_err());
}

#[tokio::test]
async fn a_provider_asked_for_by_name_is_the_only_one_asked() {
    let dir = tempfile::tempdir().unwrap();
    let svid = dir.path().join("svid.jwt");
    std::fs::write(&svid, token(&json!({"iss":"spire","sub":"spiffe://td/w"}))).unwrap();
    let env = variables(&[
        ("COUNTERSIGN_ID_TOKEN_FILE", svid.display().to_string()),
        ("SIGSTORE_ID_TOKEN", token(&json!({"iss":"i","sub":"env"}))),
    ]);
    let ambient = Ambient::new(env, "/nonexistent");
    for name in ["file", "kubernetes"] {
        let provider = AmbientProvider::parse(name).unwrap();
        assert_eq!(ambient.token_of(&http(), provider).await.unwrap().subject().unwrap(), "spiffe://td/w");
    }
    assert!(AmbientProvider::parse("goggle").unwrap_err().to_string().contains("github-actions"));
    let missing = Ambient::new(|_| None, "/nonexistent")
        .token_of(&http(), AmbientProvider::GitHubActions)
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("id-token: write"), "{missing}");
}

/// The subject of one provider's token, or the error's text.
async fn ask(ambient: &Ambient, provider: AmbientProvider) -> Result<String, String> {
    let token = ambient.token_of(&http(), provider).await.map_err(|e| e.to_string())?;
    Ok(token.claims().sub.clone())
}

/// A metadata server: it answers who asks with its header, and says itself what it is when `honest`.
async fn metadata(honest: bool) -> String {
    let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
    let answer = move |headers: HeaderMap, Query(query): Query<HashMap<String, String>>| async move {
        let right = headers.get("metadata-flavor").is_some_and(|v| v == "Google")
            && query["audience"] == "sigstore"
            && query["format"] == "full";
        let status = if right { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let flavor = if honest { "Google" } else { "Other" };
        let claims =
            json!({"iss":"https://accounts.google.com","sub":"117","email":"ci@p.iam","email_verified":true});
        (status, [("metadata-flavor", flavor)], token(&claims))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, Router::new().route(path, get(answer))).into_future());
    host
}

#[tokio::test]
async fn googles_metadata_server_gives_the_service_accounts_token() {
    let host = metadata(true).await;
    let ambient = Ambient::new(variables(&[("GCE_METADATA_HOST", host.clone())]), "/nonexistent");
    let found = ambient.token(&http()).await.unwrap().unwrap();
    assert_eq!(found.subject().unwrap(), "ci@p.iam");
    for name in ["google", "google-workload-identity"] {
        assert_eq!(ask(&ambient, AmbientProvider::parse(name).unwrap()).await, Ok("117".into()));
    }
}

#[tokio::test]
async fn what_answers_in_place_of_googles_server_is_refused_and_nothing_else_is_asked() {
    let host = metadata(false).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, token(&json!({"iss":"i","sub":"other"}))).unwrap();
    let list = [("GCE_METADATA_HOST", host), ("COUNTERSIGN_ID_TOKEN_FILE", file.display().to_string())];
    let ambient = Ambient::new(variables(&list), "/nonexistent");
    let error = ambient.token(&http()).await.unwrap_err().to_string();
    assert!(error.contains("Metadata-Flavor"), "{error}");
}

#[tokio::test]
async fn googles_metadata_server_is_on_this_machine_or_its_link() {
    for host in ["example.com", "10.0.0.1", "metadata.google.internal.example.com", "x@10.0.0.1"] {
        let ambient = Ambient::new(variables(&[("GCE_METADATA_HOST", host.into())]), "/nonexistent");
        let error = ambient.token(&http()).await.unwrap_err().to_string();
        assert!(error.contains("GCE_METADATA_HOST") && error.contains(host), "{error}");
    }
}

#[tokio::test]
async fn a_machine_of_googles_is_known_by_its_product_name() {
    let host = metadata(true).await;
    let dir = tempfile::tempdir().unwrap();
    let product = dir.path().join("product_name");
    let ambient = || Ambient::new(|_| None, "/nonexistent").with_product_file(&product);
    for other in ["Standard PC (Q35 + ICH9, 2009)\n", "Not Google\n", ""] {
        std::fs::write(&product, other).unwrap();
        assert!(ambient().token(&http()).await.unwrap().is_none(), "{other}");
    }
    // Recognised by the file, the server found by the variable.
    std::fs::write(&product, "Google Compute Engine\n").unwrap();
    let with_host =
        Ambient::new(variables(&[("GCE_METADATA_HOST", host)]), "/nonexistent").with_product_file(&product);
    assert_eq!(with_host.token(&http()).await.unwrap().unwrap().claims().sub, "117");
}

/// A field of protobuf with a length below 128, or of two bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    if value.len() > 127 {
        out.push(u8::try_from(value.len() & 127).unwrap() | 128);
        out.push(u8::try_from(value.len() >> 7).unwrap());
    } else {
        out.push(u8::try_from(value.len()).unwrap());
    }
    [out, value.to_vec()].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// An agent of SPIFFE on a socket, which answers the one question with these bytes, or with a status.
fn agent(socket: &Path, answer: Result<Vec<u8>, &'static str>) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let method = move |headers: HeaderMap, body: Bytes| async move {
        let asked = headers.get("workload.spiffe.io").is_some_and(|v| v == "true")
            && headers["content-type"] == "application/grpc"
            && body[..] == framed(&field(1, b"sigstore"))[..];
        let (status, words, body) = match answer {
            Ok(body) if asked => ("0", "", body),
            Ok(_) => ("3", "malformed question", Vec::new()),
            Err(words) => ("7", words, Vec::new()),
        };
        ([("content-type", "application/grpc"), ("grpc-status", status), ("grpc-message", words)], body)
    };
    let router = Router::new().route("/SpiffeWorkloadAPI/FetchJWTSVID", post(method));
    tokio::spawn(axum::serve(listener, router).into_future());
}

#[tokio::test]
async fn a_spiffe_agent_gives_the_workloads_token_and_its_refusals_are_passed_on() {
    let svid = token(&json!({"iss":"https://spire","sub":"spiffe://td/w","aud":["sigstore"]}));
    let entry = [field(1, b"spiffe://td/w"), field(2, svid.as_bytes())].concat();
    let alien = field(1, &field(2, token(&json!({"iss":"i","sub":"mallory"})).as_bytes()));
    let good = framed(&field(1, &entry));
    let mut longer = good.clone();
    longer.push(0);
    let cases = [
        (Ok(good), Ok("spiffe://td/w")),
        (Err("no identity issued"), Err("answered 7: no identity issued")),
        (Ok(framed(b"")), Err("without a JWT-SVID")),
        (Ok(framed(&alien)), Err("names no SPIFFE id")),
        (Ok(longer), Err("one whole message")),
        (Ok(Vec::new()), Err("expected a message")),
        (Ok(framed(&vec![0; 300_000])), Err("longer than")),
    ];
    for (answer, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        agent(&socket, answer);
        let list = [("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()))];
        let ambient = Ambient::new(variables(&list), "/nonexistent");
        let found = ambient.token(&http()).await.map(|t| t.unwrap().claims().sub.clone());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(told)) => assert!(error.to_string().contains(told), "{told}: {error}"),
            (found, expected) => panic!("expected {expected:?}, found {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_spiffe_socket_without_an_agent_is_an_error_and_not_another_identity() {
    let dir = tempfile::tempdir().unwrap();
    let missing = format!("unix://{}", dir.path().join("none.sock").display());
    for address in [missing, "tcp://127.0.0.1:1".into()] {
        let list = [("SPIFFE_ENDPOINT_SOCKET", address), ("CIRCLECI", "true".into())];
        let ambient = Ambient::new(variables(&list), "/nonexistent");
        let error = ambient.token(&http()).await.unwrap_err().to_string();
        assert!(error.contains("SPIFFE"), "{error}");
    }
}

/// A `circleci` program that answers the one question.
fn circleci(dir: &Path, script: &str) {
    let path = dir.join("circleci");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn circleci_is_asked_through_its_program_for_the_right_audience() {
    let raw = token(&json!({"iss":"https://oidc.circleci.com/org/o","sub":"org/o/project/p"}));
    let dir = tempfile::tempdir().unwrap();
    let list =
        [("CIRCLECI", "true".to_owned()), ("PATH", format!("relative:{}:/nowhere", dir.path().display()))];
    let ambient = Ambient::new(variables(&list), "/nonexistent");
    let circle = AmbientProvider::CircleCi;
    assert!(ask(&ambient, circle).await.unwrap_err().contains("not on the PATH"));
    circleci(
        dir.path(),
        &format!(r#"[ "$1 $2 $3 $4 $5" = 'run oidc get --claims {{"aud":"sigstore"}}' ] && echo {raw}"#),
    );
    assert_eq!(ambient.token(&http()).await.unwrap().unwrap().claims().sub, "org/o/project/p");
    circleci(dir.path(), &format!("echo {raw}; exit 1"));
    assert!(ask(&ambient, circle).await.unwrap_err().contains("may this job have tokens"));
    circleci(dir.path(), "echo no token");
    assert!(ask(&ambient, circle).await.unwrap_err().contains("not an OpenID Connect token"));
    // In a directory of the search path that depends on where one stands, nothing is run.
    let here = [("CIRCLECI", "true".to_owned()), ("PATH", ":.:relative".to_owned())];
    let ambient = Ambient::new(variables(&here), "/nonexistent");
    assert!(ask(&ambient, circle).await.unwrap_err().contains("not on the PATH"));
}

#[tokio::test]
async fn projected_tokens_of_kubernetes_are_read_and_a_bad_file_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (cosigns, ours) = (dir.path().join("oidc-token"), dir.path().join("projected"));
    std::fs::write(&ours, token(&json!({"iss":"https://cluster","sub":"system:serviceaccount:n:ours"})))
        .unwrap();
    let list = [("COUNTERSIGN_ID_TOKEN_FILE", ours.display().to_string())];
    let ambient = Ambient::new(variables(&list), &cosigns);
    let subject = async || ambient.token(&http()).await.map(|t| t.unwrap().claims().sub.clone());
    assert_eq!(subject().await.unwrap(), "system:serviceaccount:n:ours");
    std::fs::write(
        &cosigns,
        token(&json!({"iss":"https://cluster","sub":"system:serviceaccount:n:cosign"})) + "\n",
    )
    .unwrap();
    assert_eq!(subject().await.unwrap(), "system:serviceaccount:n:cosign");
    let long = vec![b'a'; 64 * 1024 + 1];
    for bad in [&b""[..], b"not a token", b"\xff.\xff.\xff", &long] {
        std::fs::write(&cosigns, bad).unwrap();
        assert!(subject().await.is_err(), "{} bytes", bad.len());
    }
    std::fs::remove_file(&cosigns).unwrap();
    std::fs::remove_file(&ours).unwrap();
    let error = ask(&ambient, AmbientProvider::parse("kubernetes").unwrap()).await.unwrap_err();
    assert!(error.contains("projected"), "{error}");
}
