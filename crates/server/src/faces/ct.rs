//! The CT log of the certificate authority: RFC 6962 submission, static-ct reading.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{Request, StatusCode};

use crate::http::{HttpError, Shape, read_body, respond};
use crate::serve::Services;

/// A chain of four certificates is about 12 KiB in base64.
const LIMIT: usize = 512 * 1024;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/ct/ct/v1/add-pre-chain", post(add_pre_chain))
        .route("/ct/ct/v1/add-chain", post(add_chain))
        .route("/ct/ct/v1/get-roots", get(get_roots))
        .route("/ct/checkpoint", get(checkpoint))
        .route("/ct/tile/{*path}", get(tile))
        .route("/ct/issuer/{fingerprint}", get(issuer))
}

async fn add_pre_chain(
    services: State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    add(services, request, true).await
}

async fn add_chain(services: State<Arc<Services>>, request: Request<Body>) -> Result<Response, HttpError> {
    add(services, request, false).await
}

async fn add(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
    precertificate: bool,
) -> Result<Response, HttpError> {
    let ct = &services.ca()?.ct;
    let body = read_body(request, LIMIT, Shape::Text).await?;
    let answer = if precertificate { ct.add_pre_chain(&body).await } else { ct.add_chain(&body).await };
    let sct = answer.map_err(|e| {
        if e.is_client_error() {
            HttpError::bad_request(Shape::Text, e.to_string())
        } else {
            HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, e.to_string()).retry_after(5)
        }
    })?;
    Ok(respond(StatusCode::OK, "application/json", sct.to_string()))
}

async fn get_roots(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    Ok(respond(StatusCode::OK, "application/json", services.ca()?.ct.get_roots().to_string()))
}

async fn checkpoint(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    super::tiles::read(services.ca()?.ct.log(), "checkpoint".to_owned()).await
}

async fn tile(
    State(services): State<Arc<Services>>,
    Path(path): Path<String>,
) -> Result<Response, HttpError> {
    super::tiles::read(services.ca()?.ct.log(), format!("tile/{path}")).await
}

async fn issuer(
    State(services): State<Arc<Services>>,
    Path(fingerprint): Path<String>,
) -> Result<Response, HttpError> {
    match services.ca()?.ct.issuer(&fingerprint) {
        Some(der) => Ok(respond(StatusCode::OK, "application/pkix-cert", der)),
        None => Err(HttpError::new(Shape::Text, StatusCode::NOT_FOUND, "no issuer with this fingerprint")),
    }
}
