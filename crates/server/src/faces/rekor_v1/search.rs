//! Rekor v1's search: the ids of entries with a digest, a key, an address.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{LIMIT, bad, failed, json, json_body, rekor, unprocessable};
use crate::http::HttpError;
use crate::rekor_v1::{Query, QueryError, blocking};
use crate::serve::Services;

pub(super) async fn retrieve(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let body = json_body(request).await?;
    let query = Query::parse(&body, LIMIT).map_err(|error| match error {
        QueryError::Form(member) => {
            unprocessable(605, format!("{member} in body should be a digest in hexadecimal"))
        }
        QueryError::Operator => unprocessable(606, "operator in body should be one of [and or]"),
        QueryError::Key => bad("public key provided could not be parsed"),
        QueryError::Syntax(reason) => bad(reason),
    })?;
    let found = blocking(move || rekor.search(&query)).await.map_err(|e| failed(&e))?;
    Ok(json(StatusCode::OK, &Value::from(found)))
}
