//! The trees of Rekor v1: their state, their keys, that each continues what it was.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use countersign_crypto::encoding::hex_encode;
use http::{Request, StatusCode};
use serde_json::{Value, json as value};

use super::{bad, failed, json, number, parameter, rekor, unprocessable};
use crate::http::{HttpError, respond};
use crate::rekor_v1::{RekorV1, Shard, blocking};
use crate::serve::Services;

pub(super) async fn state(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let mut state = rekor.active().state();
    let retired: Vec<Value> = rekor.retired().iter().map(|s| Value::Object(s.state())).collect();
    let retired = if retired.is_empty() { Value::Null } else { Value::Array(retired) };
    state.insert("inactiveShards".into(), retired);
    Ok(json(StatusCode::OK, &Value::Object(state)))
}

/// The tree that a request names, or the present one.
fn shard(rekor: &RekorV1, request: &Request<Body>) -> Result<Arc<Shard>, HttpError> {
    let named = parameter(request, "treeID").filter(|t| !t.is_empty());
    let id = match named {
        None => None,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(text.parse().map_err(|_| bad("Bad Request"))?)
        }
        Some(_) => return Err(unprocessable(605, "treeID in query should match '^[0-9]+$'")),
    };
    rekor.shard(id).cloned().ok_or_else(|| bad("Bad Request"))
}

pub(super) async fn public_key(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let shard = shard(rekor(&services)?.as_ref(), &request)?;
    Ok(respond(StatusCode::OK, "application/x-pem-file", shard.signer.public_key().to_pem()))
}

pub(super) async fn proof(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let first = number(&request, "firstSize", 1)?.unwrap_or(1);
    let last = number(&request, "lastSize", 1)?
        .ok_or_else(|| unprocessable(602, "lastSize in query is required"))?;
    let shard = shard(rekor(&services)?.as_ref(), &request)?;
    if first > last {
        return Err(bad(format!("firstSize({first}) must be less than lastSize({last})")));
    }
    let head = shard.log.head();
    if last > head.size {
        return Err(bad(format!(
            "the tree size requested({last}) was greater than what is currently observable({})",
            head.size
        )));
    }
    let hashes = blocking(move || Ok(shard.log.consistency(first, last)?)).await.map_err(|e| failed(&e))?;
    let hashes: Vec<String> = hashes.iter().map(|h| hex_encode(h)).collect();
    // The root is that of the tree as it is, as upstream gives it.
    Ok(json(StatusCode::OK, &value!({"hashes": hashes, "rootHash": hex_encode(&head.root)})))
}
