//! The transparency log's face: Rekor v2 (rekor-tiles' `entry.proto`), and its tiles.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use countersign_bundle::TlogEntry;
use countersign_bundle::rekor::{EntryRequest, HashedRekordV2, Verifier};
use countersign_crypto::{PublicKey, Scheme};
use countersign_log::{AppendError, Leaf, Log, NewEntry, Receipt};
use countersign_x509::Certificate;
use http::{Request, StatusCode};

use crate::http::{HttpError, Shape, read_body, respond};
use crate::rekor_v1::valid_now;
use crate::serve::{LogRole, Services};

/// A hashedrekord request is about 3 KiB; a dsse request carries its payload.
const LIMIT: usize = 4 * 1024 * 1024;
/// How long whoever reads the checkpoint waits for the witnesses' first round. It takes as long as they do.
const FIRST_ROUND: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/api/v2/log/entries", post(create))
        .route("/api/v2/checkpoint", get(checkpoint))
        .route("/api/v2/tile/{*path}", get(tile))
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
}

async fn checkpoint(State(services): State<Arc<Services>>) -> Result<Response, HttpError> {
    let role = services.log()?;
    let required = role.requires_witnesses();
    let newest = match &role.witnesses {
        Some(witnesses) if required => {
            tokio::time::timeout(FIRST_ROUND, witnesses.cosigned(0)).await.unwrap_or_default()
        }
        witnesses => witnesses.as_ref().and_then(|witnesses| witnesses.newest()),
    };
    match newest {
        Some(cosigned) if required || cosigned.size == role.log.head().size => {
            return Ok(super::tiles::checkpoint(cosigned.checkpoint.to_string()));
        }
        // From the start until the first round is over. What was cosigned before is not kept for that time: unless it were
        // flushed before each acknowledgement, it could be smaller than what was shown last, and whoever follows the log would
        // see it shrink. The witnesses cosign the tree there is, which is never smaller.
        None if required => {
            return Err(uncosigned(Shape::Text));
        }
        _ => {}
    }
    super::tiles::read(&role.log, "checkpoint".to_owned()).await
}

/// What is answered where cosignatures are required and the witnesses have not cosigned yet.
pub(super) fn uncosigned(shape: Shape) -> HttpError {
    let message = "too few witnesses have cosigned the log since the server started; ask again";
    HttpError::new(shape, StatusCode::SERVICE_UNAVAILABLE, message).retry_after(2)
}

async fn tile(
    State(services): State<Arc<Services>>,
    Path(path): Path<String>,
) -> Result<Response, HttpError> {
    super::tiles::read(&services.log()?.log, format!("tile/{path}")).await
}

async fn create(
    State(services): State<Arc<Services>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let role = services.log()?;
    let body = read_body(request, LIMIT, Shape::Grpc).await?;
    let bad = |message: String| HttpError::bad_request(Shape::Grpc, message);
    let entry = match EntryRequest::parse(&body).map_err(|e| bad(e.to_string()))? {
        EntryRequest::HashedRekord(entry) => entry,
        EntryRequest::Dsse(dsse) if role.accept_dsse => {
            let (entry, _) = dsse.into_hashedrekord().map_err(|e| bad(e.to_string()))?;
            entry
        }
        _ => return Err(bad("invalid type, must be hashedrekord".into())),
    };
    let refused = |reason: String| {
        tracing::debug!(reason, "entry refused");
        bad(format!("invalid hashedrekord request: {reason}"))
    };
    let certificate = admit(&entry).map_err(refused)?;
    let canonical = entry.canonical_body();
    if let Some(Err(reason)) = certificate.map(|certificate| valid_now(&certificate, services.clock.now()))
        && !is_logged(&role.log, countersign_crypto::sha256(&canonical)).await?
    {
        return Err(refused(reason));
    }
    let receipt = role
        .log
        .append(NewEntry {
            dedup_key: countersign_crypto::sha256(&canonical),
            leaf: Box::new(move |_| Leaf { merkle_leaf: canonical.clone(), stored: canonical }),
        })
        .await
        .map_err(|e| append_error(e, Shape::Grpc))?;
    services.metrics.tree_size("transparency", receipt.tree_size);
    let receipt = witnessed(role, receipt).await?;
    Ok(respond(StatusCode::CREATED, "application/json", log_entry(&receipt, &role.log_id).to_json()))
}

/// The same place in a tree that enough witnesses have cosigned, where that is required.
async fn witnessed(role: &LogRole, receipt: Receipt) -> Result<Receipt, HttpError> {
    let Some(witnesses) = &role.witnesses else { return Ok(receipt) };
    if !role.requires_witnesses() {
        witnesses.wake();
        return Ok(receipt);
    }
    let unavailable =
        |message| HttpError::new(Shape::Grpc, StatusCode::SERVICE_UNAVAILABLE, message).retry_after(5);
    let cosigned = witnesses.cosigned(receipt.tree_size).await.ok_or_else(|| {
        unavailable(
            "too few witnesses have cosigned the tree with this entry; ask again, it is not logged twice",
        )
    })?;
    let (log, index, tree_size) = (role.log.clone(), receipt.index, cosigned.size);
    let proof = tokio::task::spawn_blocking(move || log.proof(index, tree_size)).await;
    let Ok(Ok(proof)) = proof else {
        return Err(unavailable("the proof in the cosigned tree cannot be made right now"));
    };
    let (root, checkpoint) = (cosigned.root, Arc::clone(&cosigned.checkpoint));
    Ok(Receipt { proof, tree_size, root, checkpoint, ..receipt })
}

/// Whether an entry is in the log: it is answered again after its certificate has expired.
async fn is_logged(log: &Log, key: [u8; 32]) -> Result<bool, HttpError> {
    let log = log.clone();
    match tokio::task::spawn_blocking(move || log.find_key(&key)).await {
        Ok(Ok(found)) => Ok(found.is_some()),
        _ => Err(HttpError::new(
            Shape::Grpc,
            StatusCode::SERVICE_UNAVAILABLE,
            "it cannot be looked up right now whether the entry is in the log",
        )
        .retry_after(5)),
    }
}

/// Nothing enters the tree that does not verify: the key must be of a kind the log takes, and the signature must be
/// of this digest by this key. If the key is a certificate's, that is the answer: whether it is [valid now](valid_now)
/// matters to a new entry only.
fn admit(entry: &HashedRekordV2) -> Result<Option<Certificate>, String> {
    let (key, certificate) = match &entry.verifier {
        Verifier::Certificate(der) => {
            let certificate =
                Certificate::from_der(der).map_err(|e| format!("the certificate cannot be read: {e}"))?;
            (certificate.public_key().clone(), Some(certificate))
        }
        Verifier::PublicKey(spki) => {
            let key =
                PublicKey::from_spki_der(spki).map_err(|e| format!("the public key cannot be read: {e}"))?;
            (key, None)
        }
    };
    let details = entry.key_details;
    if details.scheme == Scheme::Ed25519 {
        return Err("Ed25519 signs messages, not digests; use Ed25519ph (PKIX_ED25519_PH)".into());
    }
    if details.key_type != key.key_type() {
        return Err(format!("keyDetails say {}, the key is {}", details.key_type, key.key_type()));
    }
    key.verify_digest(details.scheme, &entry.digest, &entry.signature).map_err(|e| e.to_string())?;
    Ok(certificate)
}

/// Why an entry was not taken, in the shape its clients know.
pub(super) fn append_error(error: AppendError, shape: Shape) -> HttpError {
    match error {
        AppendError::Full => {
            HttpError::new(shape, StatusCode::INSUFFICIENT_STORAGE, "the log's disk is full").retry_after(5)
        }
        AppendError::Overloaded { .. } => {
            HttpError::new(shape, StatusCode::SERVICE_UNAVAILABLE, "too many entries are waiting")
                .retry_after(1)
        }
        AppendError::ShuttingDown => {
            HttpError::new(shape, StatusCode::SERVICE_UNAVAILABLE, "the log is shutting down").retry_after(5)
        }
        error @ AppendError::RotatedOut => {
            HttpError::new(shape, StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(5)
        }
        AppendError::Unanswered(reason) => {
            tracing::warn!(reason, "an entry was not answered");
            HttpError::new(
                shape,
                StatusCode::SERVICE_UNAVAILABLE,
                "the log did not answer in time; the entry may be in it, send it again",
            )
            .retry_after(2)
        }
        AppendError::Signing(reason) => {
            tracing::debug!(reason, "a checkpoint could not be signed");
            HttpError::new(
                shape,
                StatusCode::SERVICE_UNAVAILABLE,
                "the log's signing key cannot be used right now; nothing was logged, try again",
            )
            .retry_after(5)
        }
        other => {
            tracing::error!(error = %other, "an entry could not be appended");
            HttpError::new(shape, StatusCode::SERVICE_UNAVAILABLE, "the log cannot take entries right now")
                .retry_after(30)
        }
    }
}

/// The answer, in the form that goes into a bundle unchanged.
fn log_entry(receipt: &Receipt, log_id: &[u8]) -> TlogEntry {
    TlogEntry {
        log_index: receipt.index,
        log_id: log_id.to_vec(),
        kind: "hashedrekord".into(),
        version: "0.0.2".into(),
        integrated_time: None,
        inclusion_promise: None,
        inclusion_proof: Some(countersign_bundle::InclusionProof {
            log_index: receipt.index,
            root_hash: receipt.root.to_vec(),
            tree_size: receipt.tree_size,
            hashes: receipt.proof.iter().map(|h| h.to_vec()).collect(),
            checkpoint: receipt.checkpoint.to_string(),
        }),
        canonicalized_body: receipt.leaf.to_vec(),
    }
}
