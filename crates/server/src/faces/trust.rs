//! The trust root: the documents clients verify with, and the TUF repository they refresh them from.

use std::path::{Component, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::http::{HttpError, Shape, respond};
use crate::serve::Services;

/// The largest file of a TUF repository that is served.
const LIMIT: u64 = 16 * 1024 * 1024;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/trusted_root.json", get(|s: State<Arc<Services>>| target(s, "trusted_root.json")))
        .route(
            "/signing_config.v0.2.json",
            get(|s: State<Arc<Services>>| target(s, "signing_config.v0.2.json")),
        )
        .route("/trust_config.json", get(trust_config))
        .route("/root.json", get(|s: State<Arc<Services>>| file(s, "root.json".into())))
        .route("/revocations.json", get(revocations))
        .route("/tuf/{*path}", get(|s: State<Arc<Services>>, Path(path): Path<String>| file(s, path)))
}

/// A document by its plain name, as it is in the TUF repository.
async fn target(State(services): State<Arc<Services>>, name: &'static str) -> Result<Response, HttpError> {
    let documents = services.trust()?.documents.load();
    let bytes = match name {
        "trusted_root.json" => documents.trusted_root.clone(),
        _ => documents.signing_config.clone(),
    };
    Ok(respond(StatusCode::OK, "application/json", bytes))
}

/// Both documents in one file, for `sigstore --trust-config`.
async fn trust_config(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let documents = services.trust()?.documents.load();
    Ok(respond(StatusCode::OK, "application/json", documents.trust_config.clone()))
}

/// What was revoked. The file is read for each request: what is written into it holds at once.
async fn revocations(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let path = services.trust()?.revocations.clone();
    let bytes = super::plain_file(path, LIMIT).await.ok_or_else(|| {
        HttpError::new(Shape::Text, StatusCode::NOT_FOUND, "this instance has no revocation list")
    })?;
    let mut response = respond(StatusCode::OK, "application/json", bytes);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// A file of the TUF repository. Only plain names below its directory are served; links are not followed.
async fn file(State(services): State<Arc<Services>>, path: String) -> Result<Response, HttpError> {
    let missing = || HttpError::new(Shape::Text, StatusCode::NOT_FOUND, "not found in this repository");
    let relative = PathBuf::from(&path);
    // Files that begin with a dot are the repository's own: its lock, and changes under way.
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(name) if !name.to_string_lossy().starts_with('.')));
    if !plain || path.len() > 300 || path.contains('\0') {
        return Err(missing());
    }
    let full = services.trust()?.repository.join(relative);
    let bytes = super::plain_file(full, LIMIT).await.ok_or_else(missing)?;
    let mut response = respond(StatusCode::OK, "application/json", bytes);
    // timestamp.json changes in place; everything else is named by version or digest.
    let cache =
        if path == "timestamp.json" || path == "root.json" { "no-cache" } else { "public, max-age=3600" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(response)
}
