//! The certificate authority's face: Fulcio's API v2, and what is still used of v1.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use countersign_ca::{CaError, IssueRequest};
use countersign_crypto::encoding::pem_encode;
use http::{HeaderMap, Request, StatusCode, header};

use crate::http::{HttpError, Shape, read_body, respond};
use crate::serve::{CaRole, Services};

/// A token of 16 KiB and a key are well within.
const LIMIT: usize = 64 * 1024;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/api/v2/signingCert", post(signing_certificate))
        .route("/api/v2/trustBundle", get(trust_bundle))
        .route("/api/v2/configuration", get(configuration))
        .route("/api/v1/signingCert", post(signing_certificate_v1))
        .route("/api/v1/rootCert", get(root_certificate_v1))
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn ca_error(error: &CaError) -> HttpError {
    let status =
        if error.is_client_error() { StatusCode::BAD_REQUEST } else { StatusCode::SERVICE_UNAVAILABLE };
    let answer = HttpError::new(Shape::Grpc, status, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { answer.retry_after(5) } else { answer }
}

async fn issue(
    services: &Services,
    role: &CaRole,
    request: Result<IssueRequest, CaError>,
) -> Result<Vec<String>, HttpError> {
    let request = request.map_err(|e| ca_error(&e))?;
    let chain = role.ca.issue(request).await.map_err(|e| {
        tracing::debug!(error = %e, "no certificate");
        ca_error(&e)
    })?;
    services.metrics.certificate();
    Ok(chain.iter().map(|der| pem_encode("CERTIFICATE", der)).collect())
}

async fn signing_certificate(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let role = services.ca()?;
    let token = bearer(request.headers());
    // `Accept` is ignored on purpose: sigstore-python asks for PEM here and reads JSON.
    let body = read_body(request, LIMIT, Shape::Grpc).await?;
    let chain = issue(&services, role, IssueRequest::from_v2_json(&body, token)).await?;
    let answer = serde_json::json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}});
    Ok(respond(StatusCode::OK, "application/json", answer.to_string()))
}

async fn signing_certificate_v1(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let role = services.ca()?;
    let token = bearer(request.headers());
    let body = read_body(request, LIMIT, Shape::Grpc).await?;
    let chain = issue(&services, role, IssueRequest::from_v1_json(&body, token)).await?;
    Ok(respond(StatusCode::CREATED, "application/pem-certificate-chain", chain.concat()))
}

async fn trust_bundle(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let pems = services.ca()?.ca.chain_pems();
    let answer = serde_json::json!({"chains": [{"certificates": pems}]});
    Ok(respond(StatusCode::OK, "application/json", answer.to_string()))
}

async fn configuration(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let answer = services.ca()?.ca.configuration_json();
    Ok(respond(StatusCode::OK, "application/json", answer.to_string()))
}

async fn root_certificate_v1(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let pems = services.ca()?.ca.chain_pems();
    Ok(respond(StatusCode::OK, "application/pem-certificate-chain", pems.concat()))
}
