//! Transparency logs that take signatures: Rekor v2 (tiles, the one kind hashedrekord 0.0.2) and Rekor v1 (the
//! public instance's older interface).

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_attestation::Envelope;
use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_bundle::{InclusionProof, TlogEntry};
use countersign_crypto::{Digest, KeyDetails, PublicKey, encoding};
use countersign_tlog::NoteVerifier;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::ClientError;
use crate::log::{LogReader, LogSource};
use countersign_http::{Http, Request, Response, join};

const SERVICE: &str = "the transparency log";

/// A log answers when the entry is in the tree: up to ten seconds at a busy one.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The largest answer, in bytes: a body, a proof and a checkpoint with many cosignatures.
const MAX_ANSWER: usize = 4 << 20;

/// Which interface a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekorVersion {
    /// Rekor v1.
    V1,
    /// Rekor v2.
    V2,
}

/// A transparency log to submit to.
#[derive(Debug, Clone)]
pub struct Rekor {
    /// Its base address.
    pub base: Url,
    /// Its interface.
    pub version: RekorVersion,
}

/// Whose signature it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The holder of this certificate, DER.
    Certificate(Vec<u8>),
    /// The holder of this key.
    PublicKey(PublicKey),
}

impl Holder {
    /// As Rekor v1 has it: PEM.
    fn to_pem(&self) -> String {
        match self {
            Self::Certificate(der) => encoding::pem_encode("CERTIFICATE", der),
            Self::PublicKey(key) => key.to_pem(),
        }
    }
}

/// A signature to be logged.
#[derive(Debug, Clone)]
pub struct Proposal<'a> {
    /// The digest that was signed: of the artifact, or of the pre-authentication encoding of the envelope.
    pub digest: &'a Digest,
    /// The signature.
    pub signature: &'a [u8],
    /// Whose it is.
    pub holder: &'a Holder,
    /// How it was made.
    pub key_details: KeyDetails,
    /// The envelope, when a statement was signed. Rekor v1 wants all of it.
    pub envelope: Option<&'a Envelope>,
}

impl Rekor {
    /// Submits a signature and gives the log's entry, whose body must be about this signature. An entry that is
    /// there already is fetched, from tiles with `key` in version 2.
    ///
    /// The proof in the answer is checked with the rest of the bundle, by the engine.
    ///
    /// # Errors
    /// [`ClientError::Http`] with the log's words, and for an entry about something
    /// else.
    pub async fn submit(
        &self,
        http: &Http,
        proposal: &Proposal<'_>,
        key: Option<&NoteVerifier>,
    ) -> Result<TlogEntry, ClientError> {
        match self.version {
            RekorVersion::V1 => self.submit_v1(http, proposal).await,
            RekorVersion::V2 => self.submit_v2(http, proposal, key).await,
        }
    }

    async fn submit_v2(
        &self,
        http: &Http,
        proposal: &Proposal<'_>,
        key: Option<&NoteVerifier>,
    ) -> Result<TlogEntry, ClientError> {
        let url = join(&self.base, "/api/v2/log/entries");
        let verifier = match proposal.holder {
            Holder::Certificate(der) => Verifier::Certificate(der.clone()),
            Holder::PublicKey(key) => Verifier::PublicKey(key.spki_der().to_vec()),
        };
        if proposal.key_details.name().is_none() {
            return Err(ClientError::Usage(format!(
                "a transparency log takes no signature by {} with a key of {}",
                proposal.key_details.scheme, proposal.key_details.key_type
            )));
        }
        let submitted = HashedRekordV2 {
            digest: *proposal.digest,
            signature: proposal.signature.to_vec(),
            verifier,
            key_details: proposal.key_details,
        };
        let body = submitted.to_request();
        let request =
            Request::post(SERVICE, &url, "application/json", body).timeout(TIMEOUT).limit(MAX_ANSWER);
        let response = http.send(request).await?;
        let entry = match (response.status, response.header("x-log-index").and_then(|i| i.parse().ok()), key)
        {
            (409, Some(index), Some(key)) => self.existing(http, index, key).await?,
            _ => {
                let response = response.expect(&[200, 201])?;
                TlogEntry::from_json(&response.body).map_err(|e| response.wrong(e))?
            }
        };
        // The body every verifier rebuilds from the bundle, byte for byte.
        if entry.canonicalized_body != submitted.canonical_body() {
            return Err(self.wrong("the entry is about another signature than ours"));
        }
        Ok(entry)
    }

    /// The entry at an index, with its proof, from the log's tiles.
    async fn existing(&self, http: &Http, index: u64, key: &NoteVerifier) -> Result<TlogEntry, ClientError> {
        let reader = LogReader::new(LogSource::Web { http, base: self.base.clone() }, key.clone());
        let checkpoint = reader.checkpoint().await?;
        let (body, proof) = reader.entry(index, &checkpoint.checkpoint).await?;
        Ok(TlogEntry {
            log_index: index,
            log_id: key.key_id.to_vec(),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: Some(InclusionProof {
                log_index: index,
                root_hash: checkpoint.checkpoint.root.to_vec(),
                tree_size: checkpoint.checkpoint.size,
                hashes: proof.iter().map(|h| h.to_vec()).collect(),
                checkpoint: checkpoint.note,
            }),
            canonicalized_body: body,
        })
    }

    async fn submit_v1(&self, http: &Http, proposal: &Proposal<'_>) -> Result<TlogEntry, ClientError> {
        let url = join(&self.base, "/api/v1/log/entries");
        let pem = encoding::base64_encode(proposal.holder.to_pem().as_bytes());
        let signature = encoding::base64_encode(proposal.signature);
        let hash =
            json!({ "algorithm": proposal.digest.algorithm().name(), "value": proposal.digest.to_hex() });
        let body = match proposal.envelope {
            None => json!({
                "apiVersion": "0.0.1", "kind": "hashedrekord",
                "spec": {
                    "data": { "hash": hash },
                    "signature": { "content": signature, "publicKey": { "content": pem } },
                }
            }),
            Some(envelope) => {
                let text = String::from_utf8(envelope.to_json())
                    .map_err(|e| ClientError::malformed("the envelope", e))?;
                json!({
                    "apiVersion": "0.0.1", "kind": "dsse",
                    "spec": { "proposedContent": { "envelope": text, "verifiers": [pem] } }
                })
            }
        };
        let request = Request::post(SERVICE, &url, "application/json", body.to_string().into_bytes())
            .accept("application/json")
            .timeout(TIMEOUT)
            .limit(MAX_ANSWER);
        let mut response = http.send(request).await?;
        if response.status == 409 {
            let location = response.header("location").unwrap_or_default().to_owned();
            let place =
                self.base.join(&location).map_err(|_| response.wrong("a conflict without a location"))?;
            if location.is_empty() || place.origin() != self.base.origin() {
                return Err(response.wrong("a conflict that points elsewhere").into());
            }
            response = http.send(Request::get(SERVICE, &place).timeout(TIMEOUT).limit(MAX_ANSWER)).await?;
        }
        let response = response.expect(&[200, 201])?;
        let entry = parse_v1(&response)?;
        let found: Value =
            serde_json::from_slice(&entry.canonicalized_body).map_err(|e| response.wrong(e))?;
        let holds = |text: &str| contains_text(&found, text);
        if !holds(&signature) || !holds(&pem) {
            return Err(response.wrong("the entry is about another signature than ours").into());
        }
        Ok(entry)
    }

    fn wrong(&self, message: &str) -> ClientError {
        countersign_http::HttpError::WrongAnswer {
            service: SERVICE,
            url: countersign_http::shown(&self.base),
            message: message.into(),
        }
        .into()
    }
}

/// Whether a text stands somewhere in a document.
fn contains_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|v| contains_text(v, text)),
        Value::Object(fields) => fields.values().any(|v| contains_text(v, text)),
        _ => false,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryV1 {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: VerificationV1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationV1 {
    inclusion_proof: ProofV1,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofV1 {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyV1 {
    api_version: String,
    kind: String,
}

/// Rekor v1's answer: one entry under its uuid.
fn parse_v1(response: &Response) -> Result<TlogEntry, ClientError> {
    let entries: BTreeMap<String, EntryV1> = response.json()?;
    let mut entries = entries.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(response.wrong("expected one entry").into());
    };
    let hex = |text: &str| encoding::hex_decode(text).map_err(|e| response.wrong(e));
    let base64 = |text: &str| encoding::base64_decode(text).map_err(|e| response.wrong(e));
    let body = base64(&entry.body)?;
    let kind: BodyV1 =
        serde_json::from_slice(&body).map_err(|e| response.wrong(format!("the entry's body: {e}")))?;
    let proof = entry.verification.inclusion_proof;
    if proof.hashes.len() > 64 {
        return Err(response
            .wrong(format!("expected at most 64 hashes in a proof, found {}", proof.hashes.len()))
            .into());
    }
    Ok(TlogEntry {
        log_index: entry.log_index,
        log_id: hex(&entry.log_id)?,
        kind: kind.kind,
        version: kind.api_version,
        integrated_time: Some(entry.integrated_time),
        inclusion_promise: Some(base64(&entry.verification.signed_entry_timestamp)?),
        inclusion_proof: Some(InclusionProof {
            log_index: proof.log_index,
            root_hash: hex(&proof.root_hash)?,
            tree_size: proof.tree_size,
            hashes: proof.hashes.iter().map(|h| hex(h)).collect::<Result<_, _>>()?,
            checkpoint: proof.checkpoint,
        }),
        canonicalized_body: body,
    })
}
