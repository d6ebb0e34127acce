//! The development identity provider: whoever asks is believed. On loopback only, and named as what it is in every
//! certificate's issuer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use countersign_ca::dev_idp::{AuthorizeRequest, DeviceRequest, OAuthError, TokenRequest};
use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::{HttpError, Shape, read_body, respond};
use crate::serve::Services;

const LIMIT: usize = 64 * 1024;

/// Who signs in when the request does not say.
const DEFAULT_EMAIL: &str = "developer@example.com";

pub(super) fn routes() -> Router<Arc<Services>> {
    let path = |rest: &str| format!("{}{rest}", countersign_ca::dev_idp::PATH);
    Router::new()
        .route(&path("/.well-known/openid-configuration"), get(discovery))
        .route(&path("/keys"), get(keys))
        .route(&path("/auth"), get(authorize))
        .route(&path("/token"), post(token))
        .route(&path("/device/code"), post(device))
        .route(&path("/device"), get(approve_device))
        .route(&path("/mint"), post(mint))
}

fn json(value: &serde_json::Value) -> Response {
    let mut response = respond(StatusCode::OK, "application/json", value.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused(error: &OAuthError) -> Response {
    respond(StatusCode::BAD_REQUEST, "application/json", error.to_json().to_string())
}

async fn form<T: DeserializeOwned>(request: Request<Body>) -> Result<T, HttpError> {
    let body = read_body(request, LIMIT, Shape::Plain).await?;
    let parsed = http::Uri::builder()
        .path_and_query(format!("/?{}", String::from_utf8_lossy(&body)))
        .build()
        .map_err(|e| HttpError::bad_request(Shape::Plain, e.to_string()))?;
    Query::<T>::try_from_uri(&parsed)
        .map(|Query(form)| form)
        .map_err(|e| HttpError::bad_request(Shape::Plain, e.to_string()))
}

async fn discovery(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    Ok(json(&services.development()?.discovery()))
}

async fn keys(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let jwks = services
        .development()?
        .jwks()
        .map_err(|e| HttpError::new(Shape::Plain, StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json(&jwks))
}

#[derive(Deserialize)]
struct Hint {
    #[serde(default)]
    login_hint: Option<String>,
}

/// Signs in at once as the address in `login_hint`: there is no password to ask for.
async fn authorize(
    State(services): State<Arc<Services>>,
    Query(request): Query<AuthorizeRequest>,
    Query(hint): Query<Hint>,
) -> Result<Response, HttpError> {
    let email = hint.login_hint.unwrap_or_else(|| DEFAULT_EMAIL.into());
    match services.development()?.approve(&request, &email) {
        Ok(target) => {
            let target = HeaderValue::from_str(&target)
                .map_err(|e| HttpError::bad_request(Shape::Plain, e.to_string()))?;
            let mut response = StatusCode::FOUND.into_response();
            response.headers_mut().insert(header::LOCATION, target);
            Ok(response)
        }
        Err(e) => Ok(refused(&e)),
    }
}

async fn token(State(services): State<Arc<Services>>, request: Request<Body>) -> Result<Response, HttpError> {
    let form: TokenRequest = form(request).await?;
    Ok(match services.development()?.token(&form) {
        Ok(answer) => json(&answer),
        Err(e) => refused(&e),
    })
}

async fn device(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let form: DeviceRequest = form(request).await?;
    Ok(match services.development()?.device(&form) {
        Ok(answer) => json(&answer),
        Err(e) => refused(&e),
    })
}

#[derive(Deserialize)]
struct Approval {
    user_code: String,
    #[serde(default)]
    email: Option<String>,
}

async fn approve_device(
    State(services): State<Arc<Services>>,
    Query(approval): Query<Approval>,
) -> Result<Response, HttpError> {
    let email = approval.email.unwrap_or_else(|| DEFAULT_EMAIL.into());
    Ok(match services.development()?.approve_device(&approval.user_code, &email) {
        Ok(()) => respond(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "Signed in. You can go back to the terminal.\n",
        ),
        Err(e) => refused(&e),
    })
}

/// A token with any claims: for scripts and tests which play a CI system.
async fn mint(State(services): State<Arc<Services>>, request: Request<Body>) -> Result<Response, HttpError> {
    let body = read_body(request, LIMIT, Shape::Plain).await?;
    let claims: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).map_err(|e| {
        HttpError::bad_request(Shape::Plain, format!("expected a JSON object of claims: {e}"))
    })?;
    let token = services
        .development()?
        .mint(claims)
        .map_err(|e| HttpError::new(Shape::Plain, StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json(&serde_json::json!({ "id_token": token })))
}
