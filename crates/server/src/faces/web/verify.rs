//! Verifying on a page: a signature, the digest of a file, and who should have signed.
//!
//! A program that was built with the engine for browsers ([`ENGINE`]) has it verify where the page is read: neither the file
//! nor its signature is sent. Otherwise, and without scripts, the signature comes here and is verified here; of the file only
//! the digest comes. Both say the same in the same words, and where they were said.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use countersign_web::{Asked, Place, Trust, document, escaped, lines, problem};
use http::{HeaderValue, Request, StatusCode, header};

use super::{asset, page, trusted_root, words};
use crate::http::{HttpError, Shape, read_body, respond};
use crate::revoke;
use crate::serve::Services;

/// The largest form: a signature is a few KiB, with a statement some more.
const LIMIT: usize = 8 * 1024 * 1024;

/// The engine compiled to WebAssembly and compressed, by `browser/build`.
#[cfg(feature = "browser")]
pub(super) const ENGINE: Option<&[u8]> = Some(include_bytes!("engine.wasm.gz"));
#[cfg(not(feature = "browser"))]
pub(super) const ENGINE: Option<&[u8]> = None;

/// The policy of this page: its script and, where there is one, the engine, with what it verifies with. The word for
/// compiling WebAssembly is `'wasm-unsafe-eval'`; no text becomes code by it.
const POLICY: &str = if ENGINE.is_some() {
    "default-src 'none'; style-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'"
} else {
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
};

fn whole(services: &Services, status: StatusCode, main: &str) -> Response {
    let mut response = page(services, status, "Verify a file", main);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The engine, which every browser that can run it takes compressed.
pub(super) fn engine(compressed: &'static [u8]) -> Response {
    let mut response = asset("application/wasm", compressed);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

pub(super) async fn form(State(services): State<Arc<Services>>) -> Response {
    whole(&services, StatusCode::OK, &form_with(&Asked::default(), ""))
}

/// The form with what was asked, under an answer, which is markup.
fn form_with(asked: &Asked, answer: &str) -> String {
    let open = if asked.identity.is_empty() && asked.key.is_empty() { "" } else { " open" };
    let engine = if ENGINE.is_some() { " data-engine=\"/assets/engine.wasm\"" } else { "" };
    format!(
        "<h1>Verify a file</h1>\n<div id=\"answer\" tabindex=\"-1\">{answer}</div>\n\
         <form id=\"verify\" action=\"/verify\" method=\"post\"{engine}>\n\
         <div id=\"drop\" class=\"drop\" hidden><p><strong>Drop a file and its signature here</strong>, or \
         <label class=\"pick\">choose them<input id=\"files\" type=\"file\" multiple></label></p>\
         <p id=\"said\" role=\"status\" aria-live=\"polite\"></p></div>\n\
         <p class=\"note\" id=\"there\">The signature is sent to this server, which verifies it with what it trusts. The file stays with you: \
         its digest is computed in your browser<span class=\"noscript\">, or by you: <code>sha256sum FILE</code></span>. To trust nobody's \
         server, use <code>countersign verify</code>.</p>\n\
         <p class=\"note\" id=\"here\" hidden>Neither the file nor its signature is sent: they are verified in your browser, by the engine of \
         <code>countersign verify</code>. The engine and what it trusts come from this server. To trust nobody's server, use \
         <code>countersign verify</code> itself.</p>\n\
         <label for=\"digests\">Digest of the file</label>\n\
         <textarea id=\"digests\" name=\"digests\" rows=\"3\" required spellcheck=\"false\" placeholder=\"sha256:…\">{}</textarea>\n\
         <label for=\"bundle\">Signature (FILE.sigstore.json)</label>\n\
         <textarea id=\"bundle\" name=\"bundle\" rows=\"6\" required spellcheck=\"false\" placeholder=\"{{&quot;mediaType&quot;: …}}\">{}</textarea>\n\
         <details{open}><summary>Who should have signed</summary>\n\
         <label for=\"identity\">Identity</label>\n<input id=\"identity\" name=\"identity\" value=\"{}\" autocapitalize=\"off\" \
         spellcheck=\"false\" placeholder=\"alice@example.com\">\n\
         <label for=\"issuer\">Its issuer</label>\n<input id=\"issuer\" name=\"issuer\" value=\"{}\" autocapitalize=\"off\" \
         spellcheck=\"false\" placeholder=\"https://accounts.example.com\">\n\
         <label for=\"key\">Or a public key (PEM)</label>\n<textarea id=\"key\" name=\"key\" rows=\"4\" spellcheck=\"false\">{}</textarea>\n\
         </details>\n<button>Verify</button>\n</form>\n<script src=\"/assets/verify.js\"></script>\n",
        lines(&asked.digests),
        lines(&asked.bundle),
        escaped(&asked.identity),
        escaped(&asked.issuer),
        lines(&asked.key),
    )
}

pub(super) async fn answer(State(services): State<Arc<Services>>, request: Request<Body>) -> Response {
    let body = match read_body(request, LIMIT, Shape::Text).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let own = Arc::clone(&services);
    let answered = tokio::task::spawn_blocking(move || {
        let asked = Asked::read(&body);
        let (status, answer) = match trust(&own) {
            Ok(trust) => match countersign_web::answer(&asked, &trust, own.clock.now(), Place::Server) {
                Ok(answer) => (StatusCode::OK, answer),
                Err(why) => (StatusCode::BAD_REQUEST, problem(&why)),
            },
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, problem(why)),
        };
        (status, form_with(&asked, &answer))
    });
    match answered.await {
        Ok((status, main)) => whole(&services, status, &main),
        Err(error) => {
            tracing::error!(%error, "a verification ended early");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            words(&services, status, "Not verified", "The verification ended early.")
        }
    }
}

const NO_TRUST: &str = "This process has no trust root, so it cannot verify. Use countersign verify.";
const UNUSABLE: &str = "What this server trusts cannot be read right now.";

fn unusable(error: &dyn std::fmt::Display) -> &'static str {
    tracing::error!(%error, "the page that verifies has nothing to verify with");
    UNUSABLE
}

fn own_log(services: &Services) -> Option<&[u8]> {
    services.log.as_ref().map(|role| role.log_id.as_slice())
}

/// What this instance trusts, with what it has revoked: a list that cannot be read is no empty list.
fn trust(services: &Services) -> Result<Trust, &'static str> {
    let role = services.trust.as_ref().ok_or(NO_TRUST)?;
    let root = trusted_root(services).ok_or_else(|| unusable(&"the trust root does not parse"))?;
    let revocations = revoke::list(&role.instance).map_err(|e| unusable(&e))?;
    Trust::new(root, revocations, own_log(services).map(<[u8]>::to_vec)).map_err(|e| unusable(&e))
}

/// The same as a document, for the engine in a browser.
pub(super) async fn trust_document(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let own = Arc::clone(&services);
    let read = tokio::task::spawn_blocking(move || {
        let role = own.trust.as_ref().ok_or(NO_TRUST)?;
        let revoked = revoke::published(&role.instance).map_err(|e| unusable(&e))?;
        let revoked = revoked.as_ref().map(|both| (both.authority.as_slice(), both.list.as_slice()));
        document(&role.documents.load().trusted_root, revoked, own_log(&own)).map_err(|e| unusable(&e))
    });
    let failed = |why: &str| HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, why);
    let document = read.await.map_err(|e| failed(unusable(&e)))?.map_err(failed)?;
    let mut response = respond(StatusCode::OK, "application/json", document);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
