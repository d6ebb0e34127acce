//! What is sent to a Rekor v2 log (`dev.sigstore.rekor.v2.CreateEntryRequest`).
//!
//! Read strictly, as the real log does: a member it does not know, one given twice, or two of which only one may
//! stand, is an error. Members may be in lower camel case or in snake case.

use countersign_attestation::dsse::WireEnvelope;
use countersign_attestation::json::{self, Base64, Bounded, JsonError};
use countersign_attestation::Envelope;
use countersign_crypto::{Digest, KeyDetails, encoding};
use serde::Deserialize;

use crate::rekor::{HashedRekordV2, Verifier};

/// The largest request read, in bytes.
pub const MAX_REQUEST_LEN: usize = 4 * 1024 * 1024;
/// The most verifiers of one DSSE request.
const MAX_VERIFIERS: usize = 8;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not JSON, over a limit, or with members of unknown names or other types.
    #[error("proto: {0}")]
    Syntax(JsonError),
    /// Neither of the two kinds of request.
    #[error("invalid type, must be hashedrekord")]
    Kind,
    /// It parses, and does not make an entry.
    #[error("invalid hashedrekord request: {0}")]
    Invalid(String),
}

fn invalid(text: impl Into<String>) -> RequestError {
    RequestError::Invalid(text.into())
}

/// A verifier with the name of its algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestVerifier {
    /// Certificate or key.
    pub verifier: Verifier,
    /// Type of key and scheme.
    pub key_details: KeyDetails,
}

/// A request to log a signature over a digest. The hash is the one that belongs to the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedRekordRequestV002 {
    /// What was signed.
    pub digest: Digest,
    /// The signature.
    pub signature: Vec<u8>,
    /// What verifies it.
    pub verifier: RequestVerifier,
}

/// A request to log a DSSE envelope. Rekor v2 dropped it; sigstore-js still sends it, and it can be logged as a
/// signature over the PAE's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsseRequestV002 {
    /// The envelope.
    pub envelope: Envelope,
    /// What verifies its signatures.
    pub verifiers: Vec<RequestVerifier>,
}

/// A request for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryRequest {
    /// A signature over a digest.
    HashedRekord(HashedRekordRequestV002),
    /// A signed envelope.
    Dsse(DsseRequestV002),
}

impl EntryRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`]. Signatures are not checked here.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RequestError> {
        let wire: WireRequest = json::from_slice(bytes, MAX_REQUEST_LEN).map_err(RequestError::Syntax)?;
        match (wire.hashed_rekord, wire.dsse) {
            (Some(request), None) => request.read().map(Self::HashedRekord),
            (None, Some(request)) => request.read().map(Self::Dsse),
            (None, None) => Err(RequestError::Kind),
            (Some(_), Some(_)) => Err(RequestError::Syntax(JsonError::Shape(
                "oneof dev.sigstore.rekor.v2.CreateEntryRequest.spec is already set".into(),
            ))),
        }
    }
}

impl HashedRekordRequestV002 {
    /// The entry which the log makes of the request.
    #[must_use]
    pub fn to_entry(&self) -> HashedRekordV2 {
        HashedRekordV2 {
            digest: self.digest,
            signature: self.signature.clone(),
            verifier: self.verifier.verifier.clone(),
            key_details: self.verifier.key_details,
        }
    }

    /// Writes the request.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for a pair of key and scheme without a name.
    pub fn to_json(&self) -> Result<Vec<u8>, RequestError> {
        let details = self
            .verifier
            .key_details
            .name()
            .ok_or_else(|| invalid(format!("{} has no name in Sigstore", self.verifier.key_details.scheme)))?;
        let (member, bytes) = match &self.verifier.verifier {
            Verifier::Certificate(der) => ("x509Certificate", der),
            Verifier::PublicKey(spki) => ("publicKey", spki),
        };
        Ok(format!(
            concat!(
                "{{\"hashedRekordRequestV002\":{{\"digest\":\"{}\",\"signature\":{{\"content\":\"{}\",",
                "\"verifier\":{{\"{}\":{{\"rawBytes\":\"{}\"}},\"keyDetails\":\"{}\"}}}}}}}}"
            ),
            encoding::base64_encode(self.digest.as_bytes()),
            encoding::base64_encode(&self.signature),
            member,
            encoding::base64_encode(bytes),
            details
        )
        .into_bytes())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest {
    #[serde(rename = "hashedRekordRequestV002", alias = "hashed_rekord_request_v002", default)]
    hashed_rekord: Option<WireHashedRekord>,
    #[serde(rename = "dsseRequestV002", alias = "dsse_request_v002", default)]
    dsse: Option<WireDsse>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHashedRekord {
    #[serde(default)]
    digest: Option<Base64>,
    #[serde(default)]
    signature: Option<WireSignature>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    #[serde(default)]
    content: Option<Base64>,
    #[serde(default)]
    verifier: Option<WireVerifier>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVerifier {
    #[serde(rename = "publicKey", alias = "public_key", default)]
    public_key: Option<StrictRawBytes>,
    #[serde(rename = "x509Certificate", alias = "x509_certificate", default)]
    x509_certificate: Option<StrictRawBytes>,
    #[serde(rename = "keyDetails", alias = "key_details", default, deserialize_with = "json::null_is_default")]
    key_details: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictRawBytes {
    #[serde(rename = "rawBytes", alias = "raw_bytes", default, deserialize_with = "json::null_is_default")]
    raw_bytes: Base64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDsse {
    #[serde(default)]
    envelope: Option<WireEnvelope>,
    #[serde(default, deserialize_with = "json::null_is_default")]
    verifiers: Bounded<WireVerifier, MAX_VERIFIERS>,
}

impl WireVerifier {
    fn read(self) -> Result<RequestVerifier, RequestError> {
        let (verifier, bytes) = match (self.x509_certificate, self.public_key) {
            (Some(certificate), None) => {
                (Verifier::Certificate as fn(Vec<u8>) -> Verifier, certificate.raw_bytes.0)
            }
            (None, Some(key)) => (Verifier::PublicKey as fn(Vec<u8>) -> Verifier, key.raw_bytes.0),
            (None, None) => return Err(invalid("verifier: expected publicKey or x509Certificate, found neither")),
            (Some(_), Some(_)) => {
                return Err(RequestError::Syntax(JsonError::Shape(
                    "oneof dev.sigstore.rekor.v2.Verifier.verifier is already set".into(),
                )));
            }
        };
        if bytes.is_empty() {
            return Err(invalid("verifier: rawBytes is empty"));
        }
        let key_details =
            KeyDetails::from_name(&self.key_details).map_err(|e| invalid(format!("verifier: {e}")))?;
        Ok(RequestVerifier { verifier: verifier(bytes), key_details })
    }
}

impl WireHashedRekord {
    fn read(self) -> Result<HashedRekordRequestV002, RequestError> {
        let signature = self.signature.ok_or_else(|| invalid("signature is missing"))?;
        let content = signature.content.unwrap_or_default().0;
        if content.is_empty() {
            return Err(invalid("signature.content is empty"));
        }
        let verifier = signature.verifier.ok_or_else(|| invalid("signature.verifier is missing"))?.read()?;
        let algorithm = verifier.key_details.scheme.hash().ok_or_else(|| {
            invalid("a pure Ed25519 signature cannot be checked from a digest; use Ed25519ph")
        })?;
        let digest = Digest::new(algorithm, &self.digest.unwrap_or_default().0)
            .map_err(|e| invalid(format!("digest: {e}")))?;
        Ok(HashedRekordRequestV002 { digest, signature: content, verifier })
    }
}

impl WireDsse {
    fn read(self) -> Result<DsseRequestV002, RequestError> {
        let envelope = self.envelope.ok_or_else(|| invalid("envelope is missing"))?;
        let verifiers =
            self.verifiers.0.into_iter().map(WireVerifier::read).collect::<Result<Vec<_>, _>>()?;
        if verifiers.is_empty() {
            return Err(invalid("verifiers is empty"));
        }
        let envelope = envelope.try_into().map_err(RequestError::Syntax)?;
        Ok(DsseRequestV002 { envelope, verifiers })
    }
}
