//! The metrics of a verifier that stands alone, over plain HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use countersign_server::ServerError;
use countersign_server::config::Limits;
use countersign_server::http::respond;
use countersign_server::listen::{self, Patience};
use countersign_server::serve::Running;
use http::StatusCode;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::metrics::Metrics;

/// Serves `/metrics` and `/healthz`; returns when it takes connections.
///
/// # Errors
/// [`ServerError`]: the address cannot be had.
pub async fn serve_metrics(address: SocketAddr, metrics: Metrics) -> Result<Running, ServerError> {
    let listener = listen::bind(address).await?;
    let address = listen::address_of(&listener, address)?;
    let router =
        Router::new().route("/metrics", get(page)).route("/healthz", get(healthy)).with_state(metrics);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let (limits, patience) = (Limits::default(), Patience::default());
        listen::serve(listener, router, None, &limits, patience, Gauge::default(), stopped).await;
        Ok(())
    });
    Ok(Running::new(address, format!("http://{address}"), stop, task))
}

async fn page(State(metrics): State<Metrics>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    respond(StatusCode::OK, kind, metrics.page())
}

async fn healthy() -> Response {
    respond(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}
