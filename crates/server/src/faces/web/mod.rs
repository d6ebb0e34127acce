//! Pages for people: the log's state, searching it, an entry with its proof, and verifying a file.
//!
//! Made on the server, whole without scripts; the one script is that of the page that verifies. Nothing is fetched from
//! elsewhere, which the content security policy holds browsers to. What strangers wrote goes through [`escaped`] and is never
//! markup.

mod entry;
mod find;
mod home;
mod proof;
mod proven;
mod search;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use countersign_bundle::TrustedRoot;
use countersign_web::{escaped, fact, fact_of, lines};
use http::{HeaderValue, StatusCode, header};

pub(super) use home::home;

use crate::http::respond;
use crate::serve::Services;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("verify.js");

/// Nothing from elsewhere, nothing inline, no script, no plugin, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

pub(super) fn routes(with_log: bool) -> Router<Arc<Services>> {
    let router = Router::new()
        .route("/verify", get(verify::form).post(verify::answer))
        .route("/assets/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/verify.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }));
    let router = match verify::ENGINE {
        Some(engine) => router
            .route("/verify/trust.json", get(verify::trust_document))
            .route("/assets/engine.wasm", get(move || async move { verify::engine(engine) })),
        None => router,
    };
    if !with_log {
        return router;
    }
    router
        .route("/search", get(search::results))
        .route("/entry/{hash}", get(entry::page))
        .route("/entry/{hash}/body", get(entry::body))
        .route("/entry/{hash}/entry.json", get(entry::with_proof))
}

fn asset(kind: &'static str, content: impl Into<Body>) -> Response {
    let mut response = respond(StatusCode::OK, kind, content);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// A page. `title` is text, `main` is markup.
fn page(services: &Services, status: StatusCode, title: &str, main: &str) -> Response {
    let search = if services.log.is_some() { "<a href=\"/search\">Search</a>" } else { "" };
    let title = escaped(title);
    let host = services.base_url.split_once("://").map_or(services.base_url.as_str(), |(_, host)| host);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · {host}</title>\n<link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">To the content</a>\n\
         <header><a class=\"name\" href=\"/\">{host}</a><nav>{search}<a href=\"/verify\">Verify a file</a></nav></header>\n\
         <main id=\"main\">\n{main}</main>\n\
         <footer>A log of signatures, kept by Countersign. Everything here can be checked without trusting this page: \
         <code>countersign log verify</code>.</footer>\n</body>\n</html>\n",
        host = escaped(host),
    );
    let mut response = respond(status, "text/html; charset=utf-8", text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A page with nothing but a few words on it, which are text.
fn words(services: &Services, status: StatusCode, title: &str, text: &str) -> Response {
    let main = format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(title), escaped(text));
    page(services, status, title, &main)
}

/// What a page says when the log cannot be read.
fn unreadable(services: &Services, error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "the log could not be read for a page");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    words(services, status, "Not now", "The log cannot be read right now. Try again in a moment.")
}

/// Commands as they are typed, one on a line.
fn command(text: &str) -> String {
    format!("<pre class=\"command\" tabindex=\"0\"><code>{}</code></pre>\n", lines(text))
}

/// A word of a command that means itself to a shell.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@%+=,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What this instance trusts, when it serves a trust root.
fn trusted_root(services: &Services) -> Option<TrustedRoot> {
    let documents = services.trust.as_ref()?.documents.load();
    TrustedRoot::from_json(&documents.trusted_root).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_a_command_means_itself() {
        assert_eq!(quoted("alice@example.com"), "alice@example.com");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(id)`;'"), r"'$(id)`;'\'''");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_policy_lets_nothing_in_from_elsewhere_and_no_page_needs_what_it_forbids() {
        assert!(
            POLICY.starts_with("default-src 'none'")
                && !POLICY.contains("unsafe")
                && !POLICY.contains("http")
        );
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval(") && !SCRIPT.contains("http"));
    }
}
