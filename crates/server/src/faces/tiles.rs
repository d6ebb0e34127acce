//! Reading a log: checkpoint, hash tiles and entry bundles, as C2SP tlog-tiles and static-ct-api lay them out.

use axum::response::{IntoResponse as _, Response};
use countersign_log::Log;
use http::{HeaderValue, StatusCode, header};

use crate::http::{HttpError, Shape, respond};

/// Answers with a checkpoint.
pub(super) fn checkpoint(note: impl Into<axum::body::Body>) -> Response {
    let mut response = respond(StatusCode::OK, "text/plain; charset=utf-8", note);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Answers one path below a log's root, such as `checkpoint` or `tile/0/000`.
pub(super) async fn read(log: &Log, path: String) -> Result<Response, HttpError> {
    let is_checkpoint = path == "checkpoint";
    let reader = log.clone();
    // Tiles come from disk, or from memory right after their batch; the read may block.
    let found = tokio::task::spawn_blocking(move || reader.read(&path)).await;
    match found {
        Ok(Ok(Some(bytes))) if is_checkpoint => Ok(checkpoint(bytes)),
        Ok(Ok(Some(bytes))) => {
            let mut response = respond(StatusCode::OK, "application/octet-stream", bytes);
            let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
            response.headers_mut().insert(header::CACHE_CONTROL, cache);
            Ok(response)
        }
        Ok(Ok(None)) => {
            Ok(HttpError::new(Shape::Text, StatusCode::NOT_FOUND, "not found in this log").into_response())
        }
        Ok(Err(e)) => {
            tracing::error!(error = %e, "a tile could not be read");
            Err(HttpError::new(
                Shape::Text,
                StatusCode::SERVICE_UNAVAILABLE,
                "the log cannot be read right now",
            )
            .retry_after(5))
        }
        Err(_) => Err(HttpError::new(Shape::Text, StatusCode::INTERNAL_SERVER_ERROR, "internal error")),
    }
}
