//! The search index's face: which entries have a term, with the proof that these are all.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use countersign_crypto::encoding::{base64_encode, hex_encode};
use countersign_log::search::Answer;
use countersign_tlog::map::key_of;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::json;

use crate::http::{HttpError, Shape, respond};
use crate::serve::Services;

/// The longest term, in bytes.
const LONGEST: usize = 4096;
/// The most entries of an answer, about: the newest.
const MOST: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new().route("/api/v1/search", get(search))
}

/// What is asked.
struct Question {
    term: String,
    size: Option<u64>,
    limit: usize,
}

impl Question {
    fn read(request: &Request<Body>) -> Result<Self, String> {
        let (mut term, mut size, mut limit) = (None, None, MOST);
        let number = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| format!("{name}: expected a whole number"))
        };
        for (name, value) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        {
            match name.as_ref() {
                "term" if term.is_some() => return Err("term: expected one".into()),
                "term" => term = Some(value.into_owned()),
                "size" => size = Some(number("size", &value)?),
                "limit" => limit = usize::try_from(number("limit", &value)?).unwrap_or(MOST).min(MOST),
                other => {
                    return Err(format!("expected term, size and limit, found {}", other.escape_debug()));
                }
            }
        }
        match term {
            Some(term) if term.len() <= LONGEST && term.contains(':') => Ok(Self { term, size, limit }),
            _ => Err(format!(
                "term: expected <kind>:<value> of at most {LONGEST} bytes, as email:a@example.com"
            )),
        }
    }
}

async fn search(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let question = Question::read(&request).map_err(|e| HttpError::bad_request(Shape::Grpc, e))?;
    let role = services.log()?;
    let Some(index) = role.search.clone() else {
        return Err(HttpError::new(Shape::Grpc, StatusCode::NOT_FOUND, "this log has no search index"));
    };
    // In the tree that is served, with the cosignatures that its checkpoint has there.
    let head = role.shown().ok_or_else(|| super::rekor::uncosigned(Shape::Grpc))?;
    let Question { term, size, limit } = question;
    match tokio::task::spawn_blocking(move || index.answer(&head, &term, size, limit)).await {
        Ok(Ok(Some((term, answer)))) => {
            let mut response =
                respond(StatusCode::OK, "application/json", written(&term, &answer).to_string());
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        Ok(Ok(None)) => Err(HttpError::new(
            Shape::Grpc,
            StatusCode::NOT_FOUND,
            "the index of this size is not kept; take the size from the newest checkpoint",
        )),
        Ok(Err(error)) => {
            tracing::error!(%error, "the search index could not be read");
            let message = "the search index cannot be read right now";
            Err(HttpError::new(Shape::Grpc, StatusCode::SERVICE_UNAVAILABLE, message).retry_after(5))
        }
        Err(_) => Err(HttpError::new(Shape::Grpc, StatusCode::INTERNAL_SERVER_ERROR, "internal error")),
    }
}

/// The answer about a term, which is the hash of the one asked for where the index hides it. Without an index that the
/// checkpoint commits to there is nothing in it but the checkpoint.
fn written(term: &str, answer: &Answer) -> serde_json::Value {
    let mut value = json!({
        "term": term,
        "key": hex_encode(&key_of(term)),
        "treeSize": answer.head.size,
        "checkpoint": &*answer.head.checkpoint,
        "index": null,
    });
    if let (Some(index), Some(members)) = (&answer.index, value.as_object_mut()) {
        let page = &answer.page;
        let found = json!({
            "size": index.size,
            "rootHash": base64_encode(&index.root),
            "proof": base64_encode(&answer.proof.to_bytes()),
            "start": page.start,
            "peaks": page.peaks.iter().map(|hash| base64_encode(hash)).collect::<Vec<_>>(),
            "entries": page.entries,
        });
        members.insert("index".into(), found);
    }
    value
}
