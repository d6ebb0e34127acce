//! One file for each protocol the instance speaks, and the router that joins them on one origin.

mod ct;
mod development;
mod fulcio;
mod operations;
mod rekor;
mod rekor_v1;
mod retired;
mod search;
mod tiles;
mod timestamp;
mod trust;
mod web;
pub(crate) mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, Request, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::{HttpError, Shape};
use crate::listen::Peer;
use crate::rate_limit::Allowance;
use crate::serve::Services;

/// Every route, with what it answers. The OpenAPI document is checked against this list by a test.
pub(crate) fn router(services: Arc<Services>) -> Router {
    let mut router = operations::routes();
    if services.ca.is_some() {
        router = router.merge(fulcio::routes()).merge(ct::routes());
    }
    if services.log.is_some() {
        router = router.merge(rekor::routes()).merge(search::routes());
    }
    if services.rekor_v1.is_some() {
        router = router.merge(rekor_v1::routes());
    }
    if services.witness.is_some() {
        router = router.merge(witness::routes());
    }
    if services.ca.is_some() || services.log.is_some() {
        router = router.merge(retired::routes());
    }
    if services.tsa.is_some() {
        router = router.merge(timestamp::routes());
    }
    if services.trust.is_some() {
        router = router.merge(trust::routes());
    }
    if services.pages {
        router = router.merge(web::routes(services.log.is_some()));
    }
    if services.development.is_some() {
        router = router.merge(development::routes());
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&services), guard))
        .with_state(services)
}

/// A file of at most `limit` bytes; a link or a directory is none.
async fn plain_file(path: PathBuf, limit: u64) -> Option<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() <= limit { std::fs::read(&path).ok() } else { None }
    });
    read.await.ok().flatten()
}

async fn not_found() -> HttpError {
    HttpError::new(Shape::Grpc, StatusCode::NOT_FOUND, "Not Found")
}

async fn method_not_allowed() -> HttpError {
    HttpError::new(Shape::Grpc, StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A panic answers this one request with a plain 500; its text stays in the server's log.
#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let text = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = text, "a request handler panicked");
    HttpError::new(Shape::Plain, StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

/// Before and after every request: rate limit, cross-origin headers, metrics.
async fn guard(
    State(services): State<Arc<Services>>,
    request: Request<axum::body::Body>,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |m| m.as_str().to_owned());
    let allowance = match (&services.limiter, request.extensions().get::<Peer>()) {
        (Some(limiter), Some(Peer(address))) if method == Method::POST => {
            Some(limiter.take(*address, started))
        }
        _ => None,
    };
    let mut response = match allowance {
        Some(Allowance { allowed: false, reset, .. }) => {
            HttpError::new(Shape::Grpc, StatusCode::TOO_MANY_REQUESTS, "too many requests from this address")
                .retry_after(reset)
                .into_response()
        }
        // Browsers ask first; the services hold no cookies, so every origin may ask.
        _ if method == Method::OPTIONS => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    if let Some(a) = allowance {
        headers.insert("ratelimit-limit", HeaderValue::from(a.limit));
        headers.insert("ratelimit-remaining", HeaderValue::from(a.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(a.reset));
    }
    services.metrics.request(&route, &method, response.status().as_u16(), started.elapsed());
    response
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert("access-control-allow-methods", HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(
        "access-control-allow-headers",
        HeaderValue::from_static("authorization, content-type, accept"),
    );
    headers.insert("access-control-max-age", HeaderValue::from_static("86400"));
    response
}
