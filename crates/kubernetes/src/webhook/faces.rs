//! What the webhook answers: reviews at `/mutate` and `/validate`, and what operators ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use countersign_server::http::{HttpError, Shape, read_body, respond};
use http::{Request, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;

use super::Webhook;
use crate::admit::Face;
use crate::review::{Answer, MAX_REVIEW, Outcome};

/// How long an API server waits when it does not say: its own default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits at most.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said when there is no room for a review.
const TOO_MUCH: &str = "countersign: the reviews under way take as much memory as is allowed (--max-review-memory); try again in a \
                        moment, or run more replicas\n";

const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn router(webhook: Arc<Webhook>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(webhook)
}

async fn mutate(State(webhook): State<Arc<Webhook>>, request: Request<Body>) -> Response {
    review(&webhook, Face::Mutate, request).await
}

async fn validate(State(webhook): State<Arc<Webhook>>, request: Request<Body>) -> Response {
    review(&webhook, Face::Validate, request).await
}

/// Anything but an answer under the request's id is a failure to the API server, which then refuses.
async fn review(webhook: &Webhook, face: Face, request: Request<Body>) -> Response {
    let started = Instant::now();
    let timeout = timeout_of(request.uri().query().unwrap_or_default());
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    // Given back when the review is answered.
    let Some(_room) = webhook.admission.load().room(declared) else {
        let busy = Answer { outcome: Outcome::Busy, ..Answer::default() };
        webhook.metrics.review(face, &busy, started.elapsed());
        return HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, TOO_MUCH).into_response();
    };
    let body = match read_body(request, MAX_REVIEW, Shape::Text).await {
        Ok(body) => body,
        Err(error) => {
            let unread = Answer { outcome: Outcome::Malformed, ..Answer::default() };
            webhook.metrics.review(face, &unread, started.elapsed());
            return error.into_response();
        }
    };
    let answer = webhook.admission.answer(face, &body, timeout.saturating_sub(started.elapsed())).await;
    webhook.metrics.review(face, &answer, started.elapsed());
    log(face, &answer);
    if answer.uid.is_empty() {
        return HttpError::new(Shape::Text, StatusCode::BAD_REQUEST, answer.message).into_response();
    }
    respond(StatusCode::OK, "application/json", answer.to_json())
}

fn log(face: Face, answer: &Answer) {
    let (uid, face, outcome) = (&answer.uid, face.code(), answer.outcome.code());
    if answer.allowed() {
        tracing::debug!(uid, face, outcome, pins = answer.pins.len(), "review");
    } else {
        // A field called "message" would stand in the place of the log's own, lines and all.
        tracing::info!(uid, face, outcome, why = answer.message, "review");
    }
}

/// `timeout=10s`, as API servers write it: whole seconds between 1 and 30.
fn timeout_of(query: &str) -> Duration {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("timeout="));
    let seconds = given.and_then(|given| given.strip_suffix('s')?.parse().ok());
    seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs).min(LONGEST_TIMEOUT)
}

async fn healthy() -> Response {
    respond(StatusCode::OK, TEXT, "ok\n")
}

async fn ready(State(webhook): State<Arc<Webhook>>) -> Response {
    let not =
        |why: &'static str| HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if webhook.draining.load(Ordering::SeqCst) {
        return not("ending");
    }
    match webhook.admission.policies() {
        None => not("the policies have not been read yet"),
        Some(_) => respond(StatusCode::OK, TEXT, "ready\n"),
    }
}

async fn metrics(State(webhook): State<Arc<Webhook>>) -> Response {
    webhook.metrics.certificate(webhook.certificates.not_after());
    webhook.metrics.policies(webhook.admission.policies().map_or(0, |policies| policies.names().len()));
    let page = webhook.metrics.render();
    respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", page)
}

/// A panic outside of an evaluation, which answers with a refusal itself.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    HttpError::new(
        Shape::Text,
        StatusCode::INTERNAL_SERVER_ERROR,
        "a fault of the program; its log says more",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_an_api_server_waits_is_read() {
        for (query, seconds) in [
            ("timeout=10s", 10),
            ("a=b&timeout=3s", 3),
            ("timeout=30s", 30),
            ("timeout=300s", 30),
            ("timeout=0s", 0),
            ("", 10),
            ("timeout=", 10),
            ("timeout=-1s", 10),
            ("timeout=10m", 10),
        ] {
            assert_eq!(timeout_of(query), Duration::from_secs(seconds), "{query}");
        }
    }
}
