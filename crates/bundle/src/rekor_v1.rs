//! Bodies of Rekor v1's entries, as far as bundles carry them.

use countersign_attestation::json::{self, Base64, Bounded};
use countersign_crypto::{Digest, HashAlgorithm, encoding};
use serde::Deserialize;

use crate::rekor::MAX_BODY_LEN;
use crate::{BundleError, shape};

/// The most signatures of one entry.
const MAX_SIGNATURES: usize = 32;

/// A signature over an envelope, with what verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsseSignatureV1 {
    /// The signature.
    pub signature: Vec<u8>,
    /// A certificate or a key, PEM.
    pub verifier_pem: String,
}

/// The body of an entry of Rekor v1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyV1 {
    /// `hashedrekord 0.0.1`: a signature over an artifact's digest.
    HashedRekord {
        /// The digest.
        digest: Digest,
        /// The signature.
        signature: Vec<u8>,
        /// A certificate or a key, PEM.
        verifier_pem: String,
    },
    /// `dsse 0.0.1`: an envelope, its text and its payload as digests.
    Dsse {
        /// Digest of the envelope's JSON as it was sent, which a bundle cannot tell.
        envelope_hash: Digest,
        /// Digest of the payload.
        payload_hash: Digest,
        /// The signatures.
        signatures: Vec<DsseSignatureV1>,
    },
    /// `intoto 0.0.2`: likewise, in an older form.
    Intoto {
        /// The payload's type.
        payload_type: String,
        /// Digest of the payload.
        payload_hash: Digest,
        /// The signatures.
        signatures: Vec<DsseSignatureV1>,
    },
}

impl BodyV1 {
    /// Reads a body of the given kind and version; the body must say the same of itself.
    ///
    /// # Errors
    /// [`BundleError`], also for a kind that is not supported.
    pub fn parse(kind: &str, version: &str, body: &[u8]) -> Result<Self, BundleError> {
        match (kind, version) {
            ("hashedrekord", "0.0.1") => Self::hashed_rekord(&read_spec(kind, version, body)?),
            ("dsse", "0.0.1") => Self::dsse(read_spec(kind, version, body)?),
            ("intoto", "0.0.2") => Self::intoto(read_spec(kind, version, body)?),
            _ => Err(shape(format!(
                "expected an entry of kind hashedrekord 0.0.1, dsse 0.0.1 or intoto 0.0.2, found {kind} {version}"
            ))),
        }
    }

    fn hashed_rekord(spec: &WireHashedRekord) -> Result<Self, BundleError> {
        Ok(Self::HashedRekord {
            digest: spec.data.hash.read("spec.data.hash")?,
            signature: spec.signature.content.0.clone(),
            verifier_pem: pem(&spec.signature.public_key.content)?,
        })
    }

    fn dsse(spec: WireDsse) -> Result<Self, BundleError> {
        Ok(Self::Dsse {
            envelope_hash: spec.envelope_hash.read("spec.envelopeHash")?,
            payload_hash: spec.payload_hash.read("spec.payloadHash")?,
            signatures: spec
                .signatures
                .0
                .into_iter()
                .map(|s| Ok(DsseSignatureV1 { signature: s.signature.0, verifier_pem: pem(&s.verifier)? }))
                .collect::<Result<_, BundleError>>()?,
        })
    }

    fn intoto(spec: WireIntoto) -> Result<Self, BundleError> {
        let content = spec.content;
        Ok(Self::Intoto {
            payload_type: content.envelope.payload_type,
            payload_hash: content.payload_hash.read("spec.content.payloadHash")?,
            signatures: content
                .envelope
                .signatures
                .0
                .into_iter()
                .map(|s| {
                    // Base64 of base64: the log took the envelope's text for bytes.
                    let inner = String::from_utf8(s.sig.0).map_err(|_| {
                        shape("spec.content.envelope.signatures: sig is not base64 of base64")
                    })?;
                    let signature = encoding::base64_decode(&inner)
                        .map_err(|e| shape(format!("spec.content.envelope.signatures: sig: {e}")))?;
                    Ok(DsseSignatureV1 { signature, verifier_pem: pem(&s.public_key)? })
                })
                .collect::<Result<_, BundleError>>()?,
        })
    }
}

fn pem(bytes: &Base64) -> Result<String, BundleError> {
    String::from_utf8(bytes.0.clone()).map_err(|_| shape("the entry's certificate or key is not PEM"))
}

fn read_spec<T: serde::de::DeserializeOwned>(
    kind: &str,
    version: &str,
    body: &[u8],
) -> Result<T, BundleError> {
    let wire: WireBody<T> = json::from_slice(body, MAX_BODY_LEN)?;
    if (wire.kind.as_str(), wire.api_version.as_str()) != (kind, version) {
        return Err(shape(format!(
            "the entry is said to be {kind} {version}, its body says {} {}",
            wire.kind, wire.api_version
        )));
    }
    Ok(wire.spec)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBody<T> {
    api_version: String,
    kind: String,
    spec: T,
}

#[derive(Debug, Deserialize)]
struct WireHash {
    algorithm: String,
    value: String,
}

impl WireHash {
    fn read(&self, what: &str) -> Result<Digest, BundleError> {
        let wrong = |text: String| shape(format!("{what}: {text}"));
        let algorithm = HashAlgorithm::from_name(&self.algorithm)
            .ok_or_else(|| wrong(format!("unknown hash algorithm \"{}\"", self.algorithm)))?;
        let bytes = encoding::hex_decode(&self.value).map_err(|e| wrong(e.to_string()))?;
        Digest::new(algorithm, &bytes).map_err(|e| wrong(e.to_string()))
    }
}

#[derive(Debug, Deserialize)]
struct WireHashedRekord {
    data: WireData,
    signature: WireSignature,
}

#[derive(Debug, Deserialize)]
struct WireData {
    hash: WireHash,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSignature {
    content: Base64,
    public_key: WirePem,
}

#[derive(Debug, Deserialize)]
struct WirePem {
    content: Base64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDsse {
    envelope_hash: WireHash,
    payload_hash: WireHash,
    signatures: Bounded<WireDsseSignature, MAX_SIGNATURES>,
}

#[derive(Debug, Deserialize)]
struct WireDsseSignature {
    signature: Base64,
    verifier: Base64,
}

#[derive(Debug, Deserialize)]
struct WireIntoto {
    content: WireIntotoContent,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIntotoContent {
    envelope: WireIntotoEnvelope,
    payload_hash: WireHash,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIntotoEnvelope {
    payload_type: String,
    signatures: Bounded<WireIntotoSignature, MAX_SIGNATURES>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIntotoSignature {
    sig: Base64,
    public_key: Base64,
}
