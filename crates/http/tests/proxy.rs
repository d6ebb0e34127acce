//! Proxies: who is reached through one and who is not. The variables that name a proxy belong to a whole process, so
//! each case is a process of its own: this test again.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::process::Command;

use axum::Router;
use countersign_http::{Http, HttpOptions, Request};
use url::Url;

/// Tells the child whom to ask, and whether with `no_proxy`.
const ASK: &str = "COUNTERSIGN_TEST_ASK";
const DIRECT: &str = "COUNTERSIGN_TEST_DIRECT";

async fn serve(answer: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(move || async move { answer })).into_future());
    address
}

/// What the child does: asks, and prints who answered.
async fn ask(url: &str) {
    let http = Http::new(HttpOptions {
        attempts: 1,
        allow_plain_http: true,
        no_proxy: std::env::var_os(DIRECT).is_some(),
        ..HttpOptions::default()
    });
    let answer = http.send(Request::get("test", &Url::parse(url).unwrap())).await.unwrap();
    println!("answered by {}", String::from_utf8(answer.body).unwrap());
}

/// Who answers a child with these variables.
async fn answered(url: String, variables: Vec<(&'static str, String)>) -> String {
    let run = move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--nocapture", "--test-threads=1"]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env(ASK, url).envs(variables).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let who = text.lines().find_map(|line| line.split_once("answered by ")).map(|(_, who)| who.to_owned());
    who.unwrap_or_else(|| format!("nobody: {text}"))
}

#[tokio::test]
async fn loopback_and_metadata_services_are_never_reached_through_a_proxy() {
    if let Ok(url) = std::env::var(ASK) {
        return ask(&url).await;
    }
    let (proxy, server) = (serve("the proxy").await, serve("the server").await);
    // On Linux the unspecified address is this machine too, and is no loopback by name: a host "outside".
    let (outside, inside) = (format!("http://0.0.0.0:{}/", server.port()), format!("http://{server}/"));
    let proxied = || vec![("http_proxy", format!("http://{proxy}"))];
    let with = |name, value: &str| [proxied(), vec![(name, value.to_owned())]].concat();
    assert_eq!(answered(outside.clone(), vec![]).await, "the server");
    assert_eq!(answered(outside.clone(), proxied()).await, "the proxy");
    assert_eq!(answered(outside.clone(), with("no_proxy", "0.0.0.0")).await, "the server");
    assert_eq!(answered(outside, with(DIRECT, "1")).await, "the server", "no_proxy of the options");
    assert_eq!(answered(inside, proxied()).await, "the server", "loopback");
}
