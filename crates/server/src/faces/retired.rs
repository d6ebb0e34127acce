//! Logs that were rotated out, read-only: their last checkpoint and their tiles, as files.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use countersign_tlog::tile::TilePath;
use http::{HeaderValue, StatusCode, header};

use crate::http::{HttpError, Shape, respond};
use crate::serve::Services;

/// The largest tile: 256 entries of a CT log.
const LIMIT: u64 = 256 << 18;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/retired/{name}/checkpoint", get(checkpoint))
        .route("/retired/{name}/tile/{*path}", get(tile))
}

fn missing(what: &'static str) -> HttpError {
    HttpError::new(Shape::Text, StatusCode::NOT_FOUND, what)
}

/// The directory of a log. Only names found when the server started are known, so none leads elsewhere.
fn tree(services: &Services, name: &str) -> Result<PathBuf, HttpError> {
    services.retired.get(name).cloned().ok_or_else(|| missing("no retired log of this name"))
}

async fn checkpoint(
    State(services): State<Arc<Services>>,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    file(tree(&services, &name)?.join("checkpoint"), "text/plain; charset=utf-8").await
}

async fn tile(
    State(services): State<Arc<Services>>,
    Path((name, path)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let tree = tree(&services, &name)?;
    let path = TilePath::parse(&format!("tile/{path}")).map_err(|_| missing("not a tile"))?;
    file(tree.join(path.to_string()), "application/octet-stream").await
}

async fn file(path: PathBuf, kind: &'static str) -> Result<Response, HttpError> {
    let bytes = super::plain_file(path, LIMIT).await.ok_or_else(|| missing("not found in this log"))?;
    let mut response = respond(StatusCode::OK, kind, bytes);
    // Nothing of it ever changes, the checkpoint neither.
    let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(response)
}
