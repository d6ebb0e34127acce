//! What is sent to a Rekor v2 log (`dev.sigstore.rekor.v2.CreateEntryRequest`).
//!
//! Read strictly, as the real log does: a member it does not know, one given twice, or two of which only one may
//! stand, is an error; but an envelope in a request is read as envelopes are. Members may be in lower camel case or in
//! snake case.

use countersign_attestation::Envelope;
use countersign_attestation::dsse::WireEnvelope;
use countersign_attestation::json::{self, Base64, Bounded, JsonError};
use countersign_crypto::{Digest, HashAlgorithm, KeyDetails, encoding};
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
    /// A signature over a digest; the hash is the one that belongs to the scheme.
    HashedRekord(HashedRekordV2),
    /// A signed envelope.
    Dsse(DsseRequestV002),
}

impl EntryRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`]. Signatures are not checked here.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
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

impl DsseRequestV002 {
    /// The entry which a log makes of the request: a signature over the envelope's PAE, and the PAE itself.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] unless there is exactly one signature and one verifier.
    pub fn into_hashedrekord(self) -> Result<(HashedRekordV2, Vec<u8>), RequestError> {
        let pae = self.envelope.pae();
        let (signatures, verifiers) = (self.envelope.signatures.len(), self.verifiers.len());
        match (<[_; 1]>::try_from(self.envelope.signatures), <[_; 1]>::try_from(self.verifiers)) {
            (Ok([signature]), Ok([verifier])) => {
                // Pure Ed25519 names no hash; SHA-256 is what its registry entry is logged with.
                let algorithm = verifier.key_details.scheme.hash().unwrap_or(HashAlgorithm::Sha256);
                let entry = HashedRekordV2 {
                    digest: algorithm.digest(&pae),
                    signature: signature.sig,
                    verifier: verifier.verifier,
                    key_details: verifier.key_details,
                };
                Ok((entry, pae))
            }
            _ => Err(invalid(format!(
                "expected one signature and one verifier, found {signatures} and {verifiers}"
            ))),
        }
    }
}

impl HashedRekordV2 {
    /// The request which makes this entry.
    #[must_use]
    pub fn to_request(&self) -> Vec<u8> {
        let (verifier, details) = self.verifier_members();
        format!(
            concat!(
                "{{\"hashedRekordRequestV002\":{{\"digest\":\"{}\",\"signature\":{{\"content\":\"{}\",",
                "\"verifier\":{{{},{}}}}}}}}}"
            ),
            encoding::base64_encode(self.digest.as_bytes()),
            encoding::base64_encode(&self.signature),
            verifier,
            details
        )
        .into_bytes()
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
    #[serde(
        rename = "keyDetails",
        alias = "key_details",
        default,
        deserialize_with = "json::null_is_default"
    )]
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
            (None, None) => {
                return Err(invalid("verifier: expected publicKey or x509Certificate, found neither"));
            }
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
    fn read(self) -> Result<HashedRekordV2, RequestError> {
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
        Ok(HashedRekordV2 {
            digest,
            signature: content,
            verifier: verifier.verifier,
            key_details: verifier.key_details,
        })
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
