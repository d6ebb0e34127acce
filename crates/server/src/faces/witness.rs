//! The witness's face: one request (C2SP `tlog-witness`).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use countersign_clock::Timestamp;
use countersign_tlog::add_checkpoint::{MAX_REQUEST, Refusal, SIZE_TYPE};
use http::{Request, StatusCode};

use crate::http::{HttpError, Shape, read_body, respond};
use crate::serve::Services;
use crate::witness::{NotCosigned, Witness};

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new().route("/add-checkpoint", post(add))
}

async fn add(State(services): State<Arc<Services>>, request: Request<Body>) -> Result<Response, HttpError> {
    answer(Arc::clone(services.witness()?), services.clock.now(), request).await
}

/// What a witness answers.
pub(crate) async fn answer(
    witness: Arc<Witness>,
    now: Timestamp,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let body = read_body(request, MAX_REQUEST, Shape::Text).await?;
    let broken = || HttpError::new(Shape::Text, StatusCode::INTERNAL_SERVER_ERROR, "internal error");
    match tokio::task::spawn_blocking(move || witness.cosign(&body, now)).await.map_err(|_| broken())? {
        Ok(line) => Ok(respond(StatusCode::OK, "text/plain; charset=utf-8", line)),
        Err(NotCosigned::Refused(Refusal::Conflict { known })) => {
            Ok(respond(StatusCode::CONFLICT, SIZE_TYPE, format!("{known}\n")))
        }
        Err(NotCosigned::Refused(refusal)) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            Err(HttpError::new(Shape::Text, status, refusal.to_string()))
        }
        Err(NotCosigned::Failed(why)) => {
            tracing::error!(error = why, "a checkpoint could not be cosigned");
            Err(HttpError::new(
                Shape::Text,
                StatusCode::SERVICE_UNAVAILABLE,
                "nothing can be cosigned right now",
            )
            .retry_after(30))
        }
    }
}
