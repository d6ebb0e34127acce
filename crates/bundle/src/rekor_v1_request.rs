//! What is sent to a Rekor v1 log: proposed entries.
//!
//! Members nobody knows are ignored, as the real log does, which keeps only what it knows. What names an address is
//! among them: a key is bytes, and nothing is ever fetched.

use countersign_attestation::Envelope;
use countersign_attestation::dsse::Signature;
use countersign_attestation::json::{self, Base64, Bounded, JsonError};
use countersign_crypto::{Digest, HashAlgorithm, encoding};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::rekor::{MAX_REQUEST_LEN, Verifier};
use crate::rekor_v1::{WireHash, WireHashedRekord, twice};

/// The most signatures and the most verifiers of one envelope: each may have to be tried with each.
pub const MAX_VERIFIERS_V1: usize = 8;

/// Why a proposed entry was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// The request is empty, or does not say what it is.
    #[error("{0} in body is required")]
    Missing(&'static str),
    /// A kind that is not taken.
    #[error("invalid kind value: {0:?}")]
    Kind(String),
    /// A version of a kind that is not taken.
    #[error(
        "{kind} implementation for version '{version}' not found: unable to locate entry for version {version}"
    )]
    Version {
        /// The kind.
        kind: String,
        /// The version.
        version: String,
    },
    /// Not JSON, over a limit, or with members missing or of other types.
    #[error("{0}")]
    Syntax(JsonError),
    /// It parses, and does not make an entry.
    #[error("{0}")]
    Invalid(String),
}

impl From<JsonError> for ProposalError {
    fn from(error: JsonError) -> Self {
        Self::Syntax(error)
    }
}

fn invalid(text: impl Into<String>) -> ProposalError {
    ProposalError::Invalid(text.into())
}

/// A certificate or key, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierV1 {
    /// What it is.
    pub verifier: Verifier,
    /// The PEM, as it was sent.
    pub sent: String,
}

impl VerifierV1 {
    fn read(bytes: &Base64) -> Result<Self, ProposalError> {
        let wrong = |why: &str| invalid(format!("invalid public key: {why}"));
        let sent = String::from_utf8(bytes.0.clone()).map_err(|_| wrong("failure decoding PEM"))?;
        let blocks = encoding::pem_decode(&sent).map_err(|_| wrong("failure decoding PEM"))?;
        let verifier = match <[_; 1]>::try_from(blocks) {
            Ok([block]) => match block.label.as_str() {
                "CERTIFICATE" => Verifier::Certificate(block.der),
                "PUBLIC KEY" => Verifier::PublicKey(block.der),
                _ => return Err(wrong("expected a PEM block CERTIFICATE or PUBLIC KEY")),
            },
            Err(_) => return Err(wrong("expected one PEM block, found several; send the certificate alone")),
        };
        Ok(Self { verifier, sent })
    }

    /// The PEM as the log writes it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        match &self.verifier {
            Verifier::Certificate(der) => encoding::pem_encode("CERTIFICATE", der),
            Verifier::PublicKey(spki) => encoding::pem_encode("PUBLIC KEY", spki),
        }
    }
}

/// A proposed entry. No signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposalV1 {
    /// `hashedrekord 0.0.1`.
    HashedRekord {
        /// The digest that was signed.
        digest: Digest,
        /// The signature.
        signature: Vec<u8>,
        /// What verifies it.
        verifier: VerifierV1,
    },
    /// `dsse 0.0.1`.
    Dsse {
        /// The envelope.
        envelope: Envelope,
        /// Digest of the envelope's text as it was sent.
        envelope_hash: Digest,
        /// What verifies its signatures, in no order.
        verifiers: Vec<VerifierV1>,
    },
    /// `intoto 0.0.2`.
    Intoto {
        /// The envelope.
        envelope: Envelope,
        /// Digest of the envelope, as the client says.
        envelope_hash: Digest,
        /// What verifies each of its signatures, in their order.
        verifiers: Vec<VerifierV1>,
    },
}

impl ProposalV1 {
    /// Reads a proposed entry.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProposalError> {
        if bytes.trim_ascii().is_empty() {
            return Err(ProposalError::Missing("proposedEntry"));
        }
        let Some(head) = json::from_slice::<Option<WireHead>>(bytes, MAX_REQUEST_LEN)? else {
            return Err(ProposalError::Missing("proposedEntry"));
        };
        let kind = head.kind.filter(|k| !k.is_empty()).ok_or(ProposalError::Missing("kind"))?;
        let version = head.api_version.ok_or(ProposalError::Missing("apiVersion"))?;
        match (kind.as_str(), version.as_str()) {
            ("hashedrekord", "0.0.1") => hashed_rekord(spec(bytes)?),
            ("dsse", "0.0.1") => dsse(spec(bytes)?),
            ("intoto", "0.0.2") => intoto(spec(bytes)?),
            ("hashedrekord" | "dsse" | "intoto", _) => Err(ProposalError::Version { kind, version }),
            _ => Err(ProposalError::Kind(kind)),
        }
    }
}

fn hashed_rekord(spec: WireHashedRekord) -> Result<ProposalV1, ProposalError> {
    let verifier = VerifierV1::read(&spec.signature.public_key.content)?;
    if spec.signature.content.0.is_empty() {
        return Err(invalid("missing signature content"));
    }
    let digest = spec.data.hash.read("invalid value for hash").map_err(|e| invalid(e.to_string()))?;
    Ok(ProposalV1::HashedRekord { digest, signature: spec.signature.content.0, verifier })
}

fn dsse(spec: WireDsse) -> Result<ProposalV1, ProposalError> {
    if spec.envelope_hash.is_some() || spec.payload_hash.is_some() || spec.signatures.is_some() {
        return Err(invalid(
            "expected proposedContent alone: the log makes the hashes and signatures itself",
        ));
    }
    let content = spec.proposed_content.ok_or_else(|| invalid("missing proposedContent"))?;
    let verifiers = content.verifiers.0.iter().map(VerifierV1::read).collect::<Result<Vec<_>, _>>()?;
    let envelope = Envelope::from_json(content.envelope.as_bytes())?;
    let envelope_hash = HashAlgorithm::Sha256.digest(content.envelope.as_bytes());
    limited(ProposalV1::Dsse { envelope, envelope_hash, verifiers })
}

fn intoto(spec: WireIntoto) -> Result<ProposalV1, ProposalError> {
    let WireContent { envelope, hash } = spec.content;
    let text = |name: &str, bytes: &Base64| twice(bytes).map_err(|e| invalid(format!("{name} {e}")));
    let mut signatures = Vec::new();
    let mut verifiers = Vec::new();
    for signature in envelope.signatures.0 {
        let sig = text("envelope.signatures: sig", &signature.sig)?;
        signatures.push(Signature { sig, keyid: signature.keyid });
        verifiers.push(VerifierV1::read(&signature.public_key)?);
    }
    if envelope.payload_type.is_empty() || envelope.payload.0.is_empty() {
        return Err(invalid("missing envelope content: expected payloadType and payload"));
    }
    let envelope = Envelope {
        payload: text("envelope.payload", &envelope.payload)?,
        payload_type: envelope.payload_type,
        signatures,
    };
    let envelope_hash = hash.read("spec.content.hash").map_err(|e| invalid(e.to_string()))?;
    limited(ProposalV1::Intoto { envelope, envelope_hash, verifiers })
}

/// An envelope of which every signature can be tried with every verifier.
fn limited(proposal: ProposalV1) -> Result<ProposalV1, ProposalError> {
    let (ProposalV1::Dsse { envelope, verifiers, .. } | ProposalV1::Intoto { envelope, verifiers, .. }) =
        &proposal
    else {
        return Ok(proposal);
    };
    for (what, found) in [("signatures", envelope.signatures.len()), ("verifiers", verifiers.len())] {
        if !(1..=MAX_VERIFIERS_V1).contains(&found) {
            return Err(invalid(format!("expected 1 to {MAX_VERIFIERS_V1} {what}, found {found}")));
        }
    }
    if envelope.signatures.iter().any(|s| s.sig.is_empty()) {
        return Err(invalid("missing signature content"));
    }
    Ok(proposal)
}

/// The part of a proposal of a known kind.
fn spec<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProposalError> {
    Ok(json::from_slice::<WireProposal<T>>(bytes, MAX_REQUEST_LEN)?.spec)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHead {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default, rename = "spec")]
    _spec: IgnoredAny,
}

#[derive(Debug, Deserialize)]
struct WireProposal<T> {
    spec: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDsse {
    #[serde(default)]
    proposed_content: Option<WireProposed>,
    #[serde(default)]
    envelope_hash: Option<IgnoredAny>,
    #[serde(default)]
    payload_hash: Option<IgnoredAny>,
    #[serde(default)]
    signatures: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct WireProposed {
    envelope: String,
    verifiers: Bounded<Base64, MAX_VERIFIERS_V1>,
}

#[derive(Debug, Deserialize)]
struct WireIntoto {
    content: WireContent,
}

#[derive(Debug, Deserialize)]
struct WireContent {
    envelope: WireEnvelope,
    hash: WireHash,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload: Base64,
    payload_type: String,
    signatures: Bounded<WireSignature, MAX_VERIFIERS_V1>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSignature {
    sig: Base64,
    public_key: Base64,
    #[serde(default, deserialize_with = "json::null_is_default")]
    keyid: String,
}
