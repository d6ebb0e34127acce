//! cosign's older forms: evidence in the annotations beside an image's payload or statement, and the bundle file
//! which cosign wrote for blobs before there were Sigstore bundles. Both become [`Bundle`]s of
//! [`BundleVersion::Legacy`], which the engine verifies like any other, and back.
//!
//! What differs from a bundle: a log entry comes with the log's promise and no proof, the certificate's chain may
//! end in its root, a timestamp is over the whole stored envelope of a statement, and nothing says which key signed.

use std::collections::BTreeMap;

use countersign_attestation::dsse::MAX_ENVELOPE_LEN;
use countersign_attestation::json::{self, Base64};
use countersign_attestation::{Envelope, simple_signing};
use countersign_crypto::{encoding, sha256};
use serde::{Deserialize, Serialize};

use crate::bundle::MAX_CERTIFICATES;
use crate::rekor::MAX_BODY_LEN;
use crate::{
    Bundle, BundleError, BundleVersion, Content, KeyMaterial, MAX_BUNDLE_LEN, TlogEntry,
    VerificationMaterial, shape,
};

/// The signature over the payload, base64. Empty beside a statement, whose envelope has it.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The signer's certificate, PEM.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The certificates above it, PEM.
pub const CHAIN: &str = "dev.sigstore.cosign/chain";
/// A log's promise (signed entry timestamp) with what it is of, JSON.
pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// An RFC 3161 timestamp, JSON.
pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The longest annotation read, in bytes.
pub const MAX_ANNOTATION_LEN: usize = 1024 * 1024;

/// The annotations of one layer.
pub type Annotations = BTreeMap<String, String>;

/// The evidence of a layer of a `.sig` manifest: the payload's bytes, and the layer's annotations.
///
/// # Errors
/// [`BundleError`]: limits, no signature, annotations that are not of their form.
pub fn from_signature_layer(payload: &[u8], annotations: &Annotations) -> Result<Bundle, BundleError> {
    if payload.len() > simple_signing::MAX_PAYLOAD_LEN {
        let limit = simple_signing::MAX_PAYLOAD_LEN;
        return Err(shape(format!("a payload of {} bytes, at most {limit} are read", payload.len())));
    }
    let text = annotation(annotations, SIGNATURE)?
        .ok_or_else(|| shape(format!("expected the annotation {SIGNATURE}, found none")))?;
    let signature = base64(SIGNATURE, text)?;
    let content = Content::SimpleSigning { payload: payload.to_vec(), signature };
    assemble(annotations, content)
}

/// The evidence of a layer of an `.att` manifest: the envelope's bytes, and the layer's annotations.
///
/// # Errors
/// [`BundleError`]: limits, an envelope or annotations that are not of their form.
pub fn from_attestation_layer(envelope: &[u8], annotations: &Annotations) -> Result<Bundle, BundleError> {
    if envelope.len() > MAX_ENVELOPE_LEN {
        return Err(shape(format!(
            "an envelope of {} bytes, at most {MAX_ENVELOPE_LEN} are read",
            envelope.len()
        )));
    }
    let content = Content::StoredDsse { envelope: Envelope::from_json(envelope)?, text: envelope.to_vec() };
    assemble(annotations, content)
}

fn assemble(annotations: &Annotations, content: Content) -> Result<Bundle, BundleError> {
    let key = match annotation(annotations, CERTIFICATE)? {
        None => KeyMaterial::PublicKeyHint(String::new()),
        Some(pem) => {
            let mut all = certificates(CERTIFICATE, pem)?;
            if all.len() != 1 {
                return Err(shape(format!("{CERTIFICATE}: expected one certificate, found {}", all.len())));
            }
            if let Some(pem) = annotation(annotations, CHAIN)? {
                all.extend(certificates(CHAIN, pem)?);
            }
            KeyMaterial::CertificateChain(all)
        }
    };
    let tlog_entries = match annotation(annotations, BUNDLE)? {
        None => Vec::new(),
        Some(text) => vec![json::from_slice::<WirePromise>(text.as_bytes(), MAX_ANNOTATION_LEN)?.read()?],
    };
    let rfc3161_timestamps = match annotation(annotations, TIMESTAMP)? {
        None => Vec::new(),
        Some(text) => vec![timestamp_from_json(text.as_bytes())?],
    };
    let bundle = Bundle {
        version: BundleVersion::Legacy,
        verification_material: VerificationMaterial { content: key, tlog_entries, rfc3161_timestamps },
        content,
    };
    bundle.check_shape()?;
    Ok(bundle)
}

/// The annotations which say what a bundle says, as far as the older forms can: of the log entries the first with a
/// promise, of the timestamps the first. `chain` are the certificates above the leaf, DER.
///
/// ```
/// use countersign_bundle::legacy;
/// # use countersign_bundle::{Bundle, BundleVersion, Content, KeyMaterial, VerificationMaterial};
/// let content = Content::SimpleSigning { payload: b"{}".to_vec(), signature: vec![1, 2] };
/// # let content_key = KeyMaterial::PublicKeyHint(String::new());
/// # let verification_material =
/// #     VerificationMaterial { content: content_key, tlog_entries: vec![], rfc3161_timestamps: vec![] };
/// let bundle = Bundle { version: BundleVersion::Legacy, verification_material, content };
/// let annotations = legacy::to_annotations(&bundle, &[]);
/// assert_eq!(annotations[legacy::SIGNATURE], "AQI=");
/// assert_eq!(legacy::from_signature_layer(b"{}", &annotations)?, bundle);
/// # Ok::<(), countersign_bundle::BundleError>(())
/// ```
#[must_use]
pub fn to_annotations(bundle: &Bundle, chain: &[Vec<u8>]) -> Annotations {
    let material = &bundle.verification_material;
    let mut out = Annotations::new();
    let signature = match &bundle.content {
        Content::Dsse(_) | Content::StoredDsse { .. } => String::new(),
        Content::SimpleSigning { signature, .. } | Content::MessageSignature { signature, .. } => {
            encoding::base64_encode(signature)
        }
    };
    out.insert(SIGNATURE.into(), signature);
    let (leaf, sent) = match &material.content {
        KeyMaterial::Certificate(leaf) => (Some(leaf), &[][..]),
        KeyMaterial::CertificateChain(all) => match all.split_first() {
            Some((leaf, sent)) => (Some(leaf), sent),
            None => (None, &[][..]),
        },
        KeyMaterial::PublicKeyHint(_) => (None, &[][..]),
    };
    if let Some(leaf) = leaf {
        out.insert(CERTIFICATE.into(), encoding::pem_encode("CERTIFICATE", leaf));
        let above = if chain.is_empty() { sent } else { chain };
        if !above.is_empty() {
            let pem = above.iter().map(|der| encoding::pem_encode("CERTIFICATE", der)).collect();
            out.insert(CHAIN.into(), pem);
        }
    }
    if let Some(promise) = material.tlog_entries.iter().find_map(WirePromise::of) {
        out.insert(BUNDLE.into(), text_of(&promise));
    }
    if let Some(token) = material.rfc3161_timestamps.first() {
        out.insert(TIMESTAMP.into(), timestamp_to_json(token));
    }
    out
}

/// Reads a timestamp as cosign keeps it by itself: `{"SignedRFC3161Timestamp": …}`.
///
/// # Errors
/// [`BundleError`].
pub fn timestamp_from_json(bytes: &[u8]) -> Result<Vec<u8>, BundleError> {
    Ok(json::from_slice::<WireTimestamp>(bytes, MAX_ANNOTATION_LEN)?.token.0)
}

/// Writes a timestamp as cosign keeps it by itself.
#[must_use]
pub fn timestamp_to_json(token: &[u8]) -> String {
    text_of(&WireTimestamp { token: Base64(token.to_vec()) })
}

/// Reads cosign's older bundle file for blobs.
///
/// # Errors
/// [`BundleError`]: limits, members missing or of another type, no signature.
pub fn from_blob_bundle(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let wire: WireBlobBundle = json::from_slice(bytes, MAX_BUNDLE_LEN)?;
    let content = match wire.cert.as_deref().filter(|text| !text.is_empty()) {
        None => KeyMaterial::PublicKeyHint(String::new()),
        Some(text) => key_or_certificate(text)?,
    };
    let tlog_entries = wire.rekor_bundle.map(WirePromise::read).transpose()?.into_iter().collect();
    let bundle = Bundle {
        version: BundleVersion::Legacy,
        verification_material: VerificationMaterial { content, tlog_entries, rfc3161_timestamps: Vec::new() },
        content: Content::MessageSignature { digest: None, signature: wire.base64_signature.0 },
    };
    bundle.check_shape()?;
    Ok(bundle)
}

/// Writes cosign's older bundle file for a blob: signature, certificate, and the first log entry with a promise.
///
/// # Errors
/// [`BundleError`] for a signature that is not over a blob.
pub fn to_blob_bundle(bundle: &Bundle) -> Result<Vec<u8>, BundleError> {
    let Content::MessageSignature { signature, .. } = &bundle.content else {
        return Err(shape("expected a signature over a blob, found one over a statement or payload"));
    };
    let material = &bundle.verification_material;
    let pem = material.content.leaf().map(|der| encoding::pem_encode("CERTIFICATE", der));
    let wire = WireBlobBundle {
        base64_signature: Base64(signature.clone()),
        cert: pem.map(|pem| encoding::base64_encode(pem.as_bytes())),
        rekor_bundle: material.tlog_entries.iter().find_map(WirePromise::of),
    };
    Ok(text_of(&wire).into_bytes())
}

/// PEM, or base64 of it; a certificate, or the public key, which is a hint only.
fn key_or_certificate(text: &str) -> Result<KeyMaterial, BundleError> {
    let pem = if text.contains("-----BEGIN ") {
        text.to_owned()
    } else {
        String::from_utf8(base64("cert", text)?)
            .map_err(|_| shape("cert: expected PEM, found other bytes"))?
    };
    let blocks = encoding::pem_decode(&pem).map_err(|e| shape(format!("cert: {e}")))?;
    match blocks.as_slice() {
        [only] if only.label == "CERTIFICATE" => Ok(KeyMaterial::Certificate(only.der.clone())),
        [only] if only.label == "PUBLIC KEY" => {
            Ok(KeyMaterial::PublicKeyHint(encoding::base64_encode(&sha256(&only.der))))
        }
        _ => Err(shape("cert: expected one certificate or public key")),
    }
}

/// An annotation that is there and not empty. cosign writes some of them empty.
fn annotation<'a>(annotations: &'a Annotations, name: &str) -> Result<Option<&'a str>, BundleError> {
    match annotations.get(name) {
        Some(text) if text.len() > MAX_ANNOTATION_LEN => {
            let (found, limit) = (text.len(), MAX_ANNOTATION_LEN);
            Err(shape(format!("{name}: {found} bytes, at most {limit} are read")))
        }
        other => Ok(other.map(String::as_str).filter(|text| !text.is_empty())),
    }
}

fn base64(name: &str, text: &str) -> Result<Vec<u8>, BundleError> {
    encoding::base64_decode(text.trim()).map_err(|e| shape(format!("{name}: {e}")))
}

fn certificates(name: &str, pem: &str) -> Result<Vec<Vec<u8>>, BundleError> {
    let blocks = encoding::pem_decode(pem).map_err(|e| shape(format!("{name}: {e}")))?;
    if blocks.len() > MAX_CERTIFICATES {
        return Err(shape(format!(
            "{name}: {} certificates, at most {MAX_CERTIFICATES} are read",
            blocks.len()
        )));
    }
    match blocks.iter().find(|block| block.label != "CERTIFICATE") {
        Some(other) => Err(shape(format!("{name}: expected certificates, found \"{}\"", other.label))),
        None => Ok(blocks.into_iter().map(|block| block.der).collect()),
    }
}

#[expect(clippy::expect_used, reason = "strings and numbers only: there is nothing JSON cannot say")]
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

#[derive(Serialize, Deserialize)]
struct WireTimestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: Base64,
}

#[derive(Serialize, Deserialize)]
struct WireBlobBundle {
    #[serde(rename = "base64Signature")]
    base64_signature: Base64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    #[serde(rename = "rekorBundle", default, skip_serializing_if = "Option::is_none")]
    rekor_bundle: Option<WirePromise>,
}

/// What cosign called a bundle: the promise, and what it is of.
#[derive(Serialize, Deserialize)]
struct WirePromise {
    #[serde(rename = "SignedEntryTimestamp")]
    signed_entry_timestamp: Base64,
    #[serde(rename = "Payload")]
    payload: WirePayload,
}

#[derive(Serialize, Deserialize)]
struct WirePayload {
    body: Base64,
    #[serde(rename = "integratedTime")]
    integrated_time: u32,
    #[serde(rename = "logIndex")]
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What every entry's body says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
}

impl WirePromise {
    fn read(self) -> Result<TlogEntry, BundleError> {
        let payload = self.payload;
        if self.signed_entry_timestamp.0.is_empty() {
            return Err(shape("SignedEntryTimestamp: expected a signature, found an empty one"));
        }
        let head: Head = json::from_slice(&payload.body.0, MAX_BODY_LEN)?;
        let log_id = encoding::hex_decode(&payload.log_id).map_err(|e| shape(format!("logID: {e}")))?;
        Ok(TlogEntry {
            log_index: payload.log_index,
            log_id,
            kind: head.kind,
            version: head.api_version,
            integrated_time: (payload.integrated_time != 0).then_some(i64::from(payload.integrated_time)),
            inclusion_promise: Some(self.signed_entry_timestamp.0),
            inclusion_proof: None,
            canonicalized_body: payload.body.0,
        })
    }

    fn of(entry: &TlogEntry) -> Option<Self> {
        Some(Self {
            signed_entry_timestamp: Base64(entry.inclusion_promise.clone()?),
            payload: WirePayload {
                body: Base64(entry.canonicalized_body.clone()),
                integrated_time: u32::try_from(entry.integrated_time.unwrap_or(0)).ok()?,
                log_index: entry.log_index,
                log_id: encoding::hex_encode(&entry.log_id),
            },
        })
    }
}
