//! For operators: health, readiness, metrics, and the description of the interface.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use crate::http::{HttpError, Shape, respond};
use crate::serve::Services;

/// The OpenAPI document, checked in and compared with the routes by a test.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/", get(index))
        .route(
            "/healthz",
            get(|| async { respond(StatusCode::OK, "application/json", r#"{"status":"SERVING"}"#) }),
        )
        .route("/readyz", get(ready))
        .route("/ping", get(|| async { respond(StatusCode::OK, "text/plain; charset=utf-8", ".") }))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { respond(StatusCode::OK, "application/json", OPENAPI) }))
}

/// For whoever opens the address: a page in a browser, a few lines elsewhere.
async fn index(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if services.pages && accepted.is_some_and(|kinds| kinds.contains("text/html")) {
        return super::web::home(&services);
    }
    let base = &services.base_url;
    let text = format!(
        "This is a Countersign instance: a private Sigstore.\n\n\
         Trust it on a client:   countersign trust add {base}\n\
         Sign a file:            countersign sign FILE\n\
         Trust root:             {base}/trusted_root.json\n\
         Signing configuration:  {base}/signing_config.v0.2.json\n\
         TUF repository:         {base}/tuf/ (root: {base}/root.json)\n\
         What is revoked:        {base}/revocations.json\n\
         Interface:              {base}/openapi.json\n"
    );
    respond(StatusCode::OK, "text/plain; charset=utf-8", text)
}

async fn ready(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let no =
        |why: &str| Err(HttpError::new(Shape::Plain, StatusCode::SERVICE_UNAVAILABLE, why).retry_after(5));
    if services.draining.load(Ordering::SeqCst) {
        return no("shutting down");
    }
    if services.failed() {
        return no("a log has failed; see the server's log");
    }
    let rotated = services.rotated_out();
    if !rotated.is_empty() {
        return no(&format!(
            "rotated out on another machine: the {} log; copy the instance's directory from there, and start the server \
             again",
            rotated.join(" log, the ")
        ));
    }
    let (away, damaged) = (services.keys_away(), services.damaged());
    if away.is_empty() && damaged.is_empty() {
        return Ok(respond(StatusCode::OK, "application/json", r#"{"status":"READY"}"#));
    }
    let names: Vec<&str> = away.iter().map(|(key, _)| key.name()).collect();
    if !services.answers_without(&away) {
        return no(&format!("these keys cannot be reached: {}; see the server's log", names.join(", ")));
    }
    // Other roles go on, so the instance stays in service, as it does with a damaged tile, which is not served; why, is
    // for the server's log.
    let answer = serde_json::json!({"status": "DEGRADED", "keysAway": names, "damagedLogs": damaged});
    Ok(respond(StatusCode::OK, "application/json", answer.to_string()))
}

async fn metrics(State(services): State<Arc<Services>>) -> Response {
    respond(
        StatusCode::OK,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        services.metrics.render(),
    )
}
