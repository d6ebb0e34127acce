//! The face of Rekor v1: the REST interface of the public instance and of the clients that only know it.
//!
//! What it answers, and to mistakes too, is what clients of the upstream server look at: status, codes, members.

mod entries;
mod search;
mod tree;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};

use crate::http::{HttpError, Shape, media_type, read_body, respond};
use crate::rekor_v1::{RekorError, RekorV1};
use crate::serve::Services;

/// A statement travels whole, in base64. The upstream server has no limit.
const LIMIT: usize = 4 * 1024 * 1024;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/api/v1/log/entries", post(entries::create).get(entries::by_index))
        .route("/api/v1/log/entries/retrieve", post(entries::retrieve))
        .route("/api/v1/log/entries/{id}", get(entries::by_id))
        .route("/api/v1/log", get(tree::state))
        .route("/api/v1/log/publicKey", get(tree::public_key))
        .route("/api/v1/log/proof", get(tree::proof))
        .route("/api/v1/index/retrieve", post(search::retrieve))
}

fn rekor(services: &Services) -> Result<Arc<RekorV1>, HttpError> {
    services.rekor_v1().map(Arc::clone)
}

/// A request's JSON, as bytes.
async fn json_body(request: Request<Body>) -> Result<Bytes, HttpError> {
    let kind = media_type(&request).unwrap_or_default();
    if kind != "application/json" {
        return Err(HttpError::new(
            Shape::Plain,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("unsupported media type {kind:?}, only [application/json] are allowed"),
        ));
    }
    read_body(request, LIMIT, Shape::Plain).await
}

fn bad(message: impl Into<String>) -> HttpError {
    HttpError::bad_request(Shape::Plain, message)
}

/// A member or parameter that is not of its form, under the code which the upstream server's framework has for it: 602
/// missing, 605 pattern, 606 none of the known values, 609 too small, 611 too many items.
fn unprocessable(code: u16, message: impl Into<String>) -> HttpError {
    HttpError::new(Shape::Plain, StatusCode::UNPROCESSABLE_ENTITY, message).code(code)
}

/// Nothing under this number: the clients look at the status only.
fn nothing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

fn failed(error: &RekorError) -> HttpError {
    tracing::error!(%error, "a request to the log of Rekor v1 could not be answered");
    let message = "the log cannot answer right now";
    HttpError::new(Shape::Plain, StatusCode::SERVICE_UNAVAILABLE, message).retry_after(5)
}

/// An answer about the present, which nobody should keep.
fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = respond(status, "application/json", value.to_string());
    let cache = "no-cache, no-store, no-transform, must-revalidate, private, max-age=0";
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// The value of a parameter in a URL's query, percent-decoded.
fn parameter(request: &Request<Body>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

/// A whole number from `least` on, in a URL's query.
fn number(request: &Request<Body>, name: &str, least: u64) -> Result<Option<u64>, HttpError> {
    let Some(text) = parameter(request, name).filter(|t| !t.is_empty()) else { return Ok(None) };
    let too_small =
        || unprocessable(609, format!("{name} in query should be greater than or equal to {least}"));
    match text.parse::<i64>() {
        Ok(number) => match u64::try_from(number) {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(too_small()),
        },
        Err(_) => Err(unprocessable(601, format!("{name} in query must be of type int64"))),
    }
}
