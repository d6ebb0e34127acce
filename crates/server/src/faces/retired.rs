//! Logs that were rotated out, read-only: their last checkpoint and their tiles, as files.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use countersign_log::storage::Storage;
use countersign_tlog::tile::TilePath;
use http::{HeaderValue, StatusCode, header};

use crate::http::{HttpError, Shape, respond};
use crate::serve::Services;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/retired/{name}/checkpoint", get(checkpoint))
        .route("/retired/{name}/tile/{*path}", get(tile))
}

fn missing(what: &'static str) -> HttpError {
    HttpError::new(Shape::Text, StatusCode::NOT_FOUND, what)
}

/// The files of a log. Only names found when the server started are known, so none leads elsewhere.
fn tree(services: &Services, name: &str) -> Result<Arc<dyn Storage>, HttpError> {
    services.retired.get(name).cloned().ok_or_else(|| missing("no retired log of this name"))
}

async fn checkpoint(
    State(services): State<Arc<Services>>,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    file(tree(&services, &name)?, "checkpoint".to_owned(), "text/plain; charset=utf-8").await
}

async fn tile(
    State(services): State<Arc<Services>>,
    Path((name, path)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let tree = tree(&services, &name)?;
    let path = TilePath::parse(&format!("tile/{path}")).map_err(|_| missing("not a tile"))?;
    file(tree, path.to_string(), "application/octet-stream").await
}

async fn file(tree: Arc<dyn Storage>, path: String, kind: &'static str) -> Result<Response, HttpError> {
    let read = tokio::task::spawn_blocking(move || tree.read(&path));
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes.ok_or_else(|| missing("not found in this log"))?,
        failed => {
            tracing::warn!(?failed, "a retired log cannot be read");
            let what = "the log cannot be read right now";
            return Err(HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, what).retry_after(5));
        }
    };
    let mut response = respond(StatusCode::OK, kind, bytes);
    // Nothing of it ever changes, the checkpoint neither.
    let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(response)
}
