//! Entries of Rekor v1: made, and read by index, by id and by what they are of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use countersign_attestation::json::{Bounded, from_slice};
use countersign_bundle::rekor::{BodyV1, ProposalError, ProposalV1};
use countersign_clock::{Clock, Timestamp};
use countersign_log::{AppendError, MAX_V1_BODY_BYTES};
use countersign_tlog::merkle::leaf_hash;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{LIMIT, bad, failed, json, json_body, nothing, number, rekor, unprocessable};
use crate::http::{HttpError, Shape};
use crate::rekor_v1::{Appended, CLOCKS_APART, EntryId, NotAppended, RekorError, admit, begins, blocking};
use crate::serve::Services;

/// The most entries asked for at once.
const MOST: usize = 10;

/// How soon it is looked again whether a certificate has begun.
const A_MOMENT: Duration = Duration::from_millis(50);

const ID_PATTERN: &str = "'^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'";

/// One entry under its id.
fn under_id((id, entry): (String, Value)) -> Value {
    Value::Object([(id, entry)].into_iter().collect())
}

fn processing(reason: impl std::fmt::Display) -> HttpError {
    bad(format!("error processing entry: {reason}"))
}

fn refused(error: &ProposalError) -> HttpError {
    match error {
        ProposalError::Missing(_) => unprocessable(602, error.to_string()),
        ProposalError::Kind(_) => unprocessable(422, error.to_string()),
        other => processing(other),
    }
}

/// The entry that a request makes, all of its signatures verified. Blocks.
fn make(body: &[u8], now: Option<Timestamp>) -> Result<BodyV1, HttpError> {
    made(ProposalV1::parse(body).map_err(|e| refused(&e))?, now)
}

fn made(proposal: ProposalV1, now: Option<Timestamp>) -> Result<BodyV1, HttpError> {
    let entry = admit(proposal, now).map_err(processing)?;
    let len = entry.canonical_body().len();
    if len > MAX_V1_BODY_BYTES {
        return Err(processing(format!("the entry has {len} bytes, at most {MAX_V1_BODY_BYTES} are stored")));
    }
    Ok(entry)
}

pub(super) async fn create(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let body = json_body(request).await?;
    let now = Some(rekor.clock.now());
    let entry = blocking(move || Ok(make(&body, now)))
        .await
        .map_err(|e| failed(&e))?
        .inspect_err(|error| tracing::debug!(?error, "entry refused"))?;
    has_begun(&*rekor.clock, &entry).await?;
    let (mut response, id) = match rekor.append(&entry).await {
        Ok(Appended::New(id, told)) => (json(StatusCode::CREATED, &under_id((id.clone(), told))), id),
        Ok(Appended::Before(id)) => {
            let message =
                format!("an equivalent entry already exists in the transparency log with UUID {id}");
            (json(StatusCode::CONFLICT, &serde_json::json!({"code": 409, "message": message})), id)
        }
        Err(NotAppended::Append(error)) => return Err(not_appended(error)),
        Err(NotAppended::Told(error)) => return Err(failed(&error)),
    };
    services.metrics.tree_size("Rekor v1", rekor.active().log.head().size);
    let mut set = |name: HeaderName, value: String| {
        // Hexadecimal digits and slashes always make one.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::LOCATION, format!("/api/v1/log/entries/{id}"));
    set(header::ETAG, id);
    Ok(response)
}

/// Waits for the beginning of an entry's certificates, which an authority whose clock is ahead has issued: the time that the
/// log puts on the entry must not be before it, or no verifier takes it.
async fn has_begun(clock: &dyn Clock, entry: &BodyV1) -> Result<(), HttpError> {
    let Some(begins) = begins(entry) else { return Ok(()) };
    let longest = Instant::now() + CLOCKS_APART.unsigned_abs();
    while clock.now() < begins {
        if Instant::now() >= longest {
            return Err(processing(format!("the certificate must be valid now: it begins at {begins}")));
        }
        tokio::time::sleep(A_MOMENT).await;
    }
    Ok(())
}

fn not_appended(error: AppendError) -> HttpError {
    match error {
        AppendError::InvalidLeaf(reason) => processing(reason),
        other => crate::faces::rekor::append_error(other, Shape::Plain),
    }
}

pub(super) async fn by_index(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let index = number(&request, "logIndex", 0)?
        .ok_or_else(|| unprocessable(602, "logIndex in query is required"))?;
    let found = blocking(move || rekor.by_index(index)).await.map_err(|e| failed(&e))?;
    Ok(found.map_or_else(nothing, |entry| json(StatusCode::OK, &under_id(entry))))
}

pub(super) async fn by_id(
    State(services): State<Arc<Services>>,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let id = EntryId::parse(&id)
        .ok_or_else(|| unprocessable(605, format!("entryUUID in path should match {ID_PATTERN}")))?;
    let found = blocking(move || rekor.by_id(&id)).await.map_err(|e| failed(&e))?;
    Ok(found.map_or_else(nothing, |entry| json(StatusCode::OK, &under_id(entry))))
}

/// The id of the entry that a proposal would make or has made. None for `intoto 0.0.1`, which upstream knows and this log takes
/// none of: cosign asks for an attestation in that form and as `dsse 0.0.1` at once.
fn proposed(entry: &Value) -> Result<Option<EntryId>, HttpError> {
    let proposal = match ProposalV1::parse(entry.to_string().as_bytes()) {
        Err(ProposalError::Version { kind, version }) if (&*kind, &*version) == ("intoto", "0.0.1") => {
            return Ok(None);
        }
        parsed => parsed.map_err(|e| refused(&e))?,
    };
    let body = made(proposal, None)?.canonical_body();
    Ok(Some(EntryId { tree_id: None, leaf: leaf_hash(&body) }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default, rename = "entryUUIDs")]
    ids: Option<Vec<String>>,
    #[serde(default)]
    log_indexes: Option<Vec<i64>>,
    #[serde(default)]
    entries: Option<Bounded<Value, MOST>>,
}

/// Several entries at once. What is not there is left out.
pub(super) async fn retrieve(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let rekor = rekor(&services)?;
    let body = json_body(request).await?;
    let wanted: Wanted = from_slice(&body, LIMIT).map_err(|e| bad(e.to_string()))?;
    let (ids, indexes) = (wanted.ids.unwrap_or_default(), wanted.log_indexes.unwrap_or_default());
    for (name, found) in [("entryUUIDs", ids.len()), ("logIndexes", indexes.len())] {
        if found > MOST {
            return Err(unprocessable(611, format!("{name} in body should have at most {MOST} items")));
        }
    }
    let mut by_id = ids
        .iter()
        .map(|id| EntryId::parse(id))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unprocessable(605, format!("entryUUIDs in body should match {ID_PATTERN}")))?;
    let indexes = indexes
        .into_iter()
        .map(|index| u64::try_from(index).ok())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unprocessable(609, "logIndexes in body should be greater than or equal to 0"))?;
    let proposals = wanted.entries.unwrap_or_default().0;
    let proposed = blocking(move || Ok(proposals.iter().map(proposed).collect::<Result<Vec<_>, _>>()));
    by_id.extend(proposed.await.map_err(|e| failed(&e))??.into_iter().flatten());
    let found = blocking(move || {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for index in indexes {
            found.extend(rekor.by_index(index)?);
        }
        for id in &by_id {
            found.extend(rekor.by_id(id)?);
        }
        Ok::<_, RekorError>(found)
    });
    let found = found.await.map_err(|e| failed(&e))?;
    let entries: Vec<Value> = found.into_iter().map(under_id).collect();
    Ok(json(StatusCode::OK, &Value::Array(entries)))
}
