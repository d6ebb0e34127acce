//! The timestamp authority over HTTP (RFC 3161 section 3.4, and the paths of Sigstore's authority).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use countersign_tsa::{Tsa, TsaError};
use http::{HeaderValue, Request, StatusCode, header};

use crate::http::{HttpError, Shape, media_type, read_body, respond};
use crate::instance::InstanceKey;
use crate::serve::Services;

/// A request is about 60 bytes.
const LIMIT: usize = 4 * 1024;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new().route("/api/v1/timestamp", post(timestamp)).route("/api/v1/timestamp/certchain", get(chain))
}

async fn timestamp(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tsa = services.tsa()?;
    // `Accept` is ignored on purpose: there is one form of answer.
    let kind = media_type(&request);
    let json = match kind.as_deref() {
        Some("application/timestamp-query") => false,
        Some("application/json") => true,
        other => {
            return Err(HttpError::new(
                Shape::Plain,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "unsupported media type {:?}, only [application/timestamp-query application/json] are allowed",
                    other.unwrap_or_default()
                ),
            ));
        }
    };
    let body = read_body(request, LIMIT, Shape::Plain).await?;
    let answer = if services.remote_key(InstanceKey::Tsa).is_some() {
        // Signing asks a device: not on the threads that answer requests.
        let services = Arc::clone(&services);
        let work = move || services.tsa().map(|tsa| answer(tsa, json, &body));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(HttpError::new(Shape::Plain, StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
        })?
    } else {
        answer(tsa, json, &body)
    };
    let token = answer.map_err(|e| {
        tracing::debug!(error = %e, "no timestamp");
        let status = StatusCode::from_u16(e.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refused = HttpError::new(Shape::Plain, status, e.to_string()).code(e.code());
        if status == StatusCode::SERVICE_UNAVAILABLE { refused.retry_after(5) } else { refused }
    })?;
    services.metrics.timestamp();
    let mut response = respond(StatusCode::OK, "application/timestamp-reply", token);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn answer(tsa: &Tsa, json: bool, body: &[u8]) -> Result<Vec<u8>, TsaError> {
    if json { tsa.respond_json(body) } else { tsa.respond(body) }
}

async fn chain(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let pem = services.tsa()?.chain_pem();
    let mut response = respond(StatusCode::OK, "application/pem-certificate-chain", pem).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400, immutable"));
    Ok(response)
}
