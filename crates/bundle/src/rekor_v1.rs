//! Bodies of Rekor v1's entries, as far as bundles carry them: read, and written as the log stores them.

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
    /// The hint at the key which `intoto` keeps; empty when there is none.
    pub keyid: String,
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
        /// Digest of the envelope as its sender wrote it, which nobody can check.
        envelope_hash: Digest,
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

    /// Kind and version as they stand in a log entry.
    #[must_use]
    pub const fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord { .. } => ("hashedrekord", "0.0.1"),
            Self::Dsse { .. } => ("dsse", "0.0.1"),
            Self::Intoto { .. } => ("intoto", "0.0.2"),
        }
    }

    /// The body: exactly the bytes which the log stores and hashes, JCS (RFC 8785). The signatures of an envelope under
    /// `dsse` stand in the order of their texts.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        let base64 = encoding::base64_encode;
        let (kind, version) = self.kind();
        let spec = match self {
            Self::HashedRekord { digest, signature, verifier_pem } => format!(
                "\"data\":{{\"hash\":{}}},\"signature\":{{\"content\":\"{}\",\"publicKey\":{{\"content\":\"{}\"}}}}",
                hash_member(digest),
                base64(signature),
                base64(verifier_pem.as_bytes())
            ),
            Self::Dsse { envelope_hash, payload_hash, signatures } => {
                let mut signatures: Vec<(String, String)> = signatures
                    .iter()
                    .map(|s| (base64(&s.signature), base64(s.verifier_pem.as_bytes())))
                    .collect();
                signatures.sort();
                let signatures: Vec<String> = signatures
                    .iter()
                    .map(|(sig, pem)| format!("{{\"signature\":\"{sig}\",\"verifier\":\"{pem}\"}}"))
                    .collect();
                format!(
                    "\"envelopeHash\":{},\"payloadHash\":{},\"signatures\":[{}]",
                    hash_member(envelope_hash),
                    hash_member(payload_hash),
                    signatures.join(",")
                )
            }
            Self::Intoto { payload_type, envelope_hash, payload_hash, signatures } => {
                let signatures: Vec<String> = signatures
                    .iter()
                    .map(|s| {
                        let keyid = match s.keyid.as_str() {
                            "" => String::new(),
                            keyid => format!("\"keyid\":{},", string(keyid)),
                        };
                        let sig = base64(base64(&s.signature).as_bytes());
                        let pem = base64(s.verifier_pem.as_bytes());
                        format!("{{{keyid}\"publicKey\":\"{pem}\",\"sig\":\"{sig}\"}}")
                    })
                    .collect();
                format!(
                    "\"content\":{{\"envelope\":{{\"payloadType\":{},\"signatures\":[{}]}},\"hash\":{},\"payloadHash\":{}}}",
                    string(payload_type),
                    signatures.join(","),
                    hash_member(envelope_hash),
                    hash_member(payload_hash)
                )
            }
        };
        format!("{{\"apiVersion\":\"{version}\",\"kind\":\"{kind}\",\"spec\":{{{spec}}}}}").into_bytes()
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
                .map(|s| {
                    let verifier_pem = pem(&s.verifier)?;
                    Ok(DsseSignatureV1 { signature: s.signature.0, verifier_pem, keyid: String::new() })
                })
                .collect::<Result<_, BundleError>>()?,
        })
    }

    fn intoto(spec: WireIntoto) -> Result<Self, BundleError> {
        let content = spec.content;
        Ok(Self::Intoto {
            payload_type: content.envelope.payload_type,
            envelope_hash: content.hash.read("spec.content.hash")?,
            payload_hash: content.payload_hash.read("spec.content.payloadHash")?,
            signatures: content
                .envelope
                .signatures
                .0
                .into_iter()
                .map(|s| {
                    let signature = twice(&s.sig)
                        .map_err(|e| shape(format!("spec.content.envelope.signatures: sig {e}")))?;
                    Ok(DsseSignatureV1 { signature, verifier_pem: pem(&s.public_key)?, keyid: s.keyid })
                })
                .collect::<Result<_, BundleError>>()?,
        })
    }
}

/// Base64 of base64: the log takes the text of an envelope's member for bytes.
pub(crate) fn twice(once: &Base64) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(&once.0).map_err(|_| "is not base64 of base64".to_owned())?;
    encoding::base64_decode(text).map_err(|e| format!("is not base64 of base64: {e}"))
}

fn pem(bytes: &Base64) -> Result<String, BundleError> {
    String::from_utf8(bytes.0.clone()).map_err(|_| shape("the entry's certificate or key is not PEM"))
}

fn hash_member(digest: &Digest) -> String {
    format!("{{\"algorithm\":\"{}\",\"value\":\"{}\"}}", digest.algorithm().name(), digest.to_hex())
}

/// A text as JCS writes it, which is as `serde_json` does.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
pub(crate) struct WireHash {
    algorithm: String,
    value: String,
}

impl WireHash {
    pub(crate) fn read(&self, what: &str) -> Result<Digest, BundleError> {
        let wrong = |text: String| shape(format!("{what}: {text}"));
        let algorithm = HashAlgorithm::from_name(&self.algorithm)
            .ok_or_else(|| wrong(format!("unknown hash algorithm \"{}\"", self.algorithm)))?;
        let bytes = encoding::hex_decode(&self.value).map_err(|e| wrong(e.to_string()))?;
        Digest::new(algorithm, &bytes).map_err(|e| wrong(e.to_string()))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireHashedRekord {
    pub(crate) data: WireData,
    pub(crate) signature: WireSignature,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireData {
    pub(crate) hash: WireHash,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireSignature {
    pub(crate) content: Base64,
    pub(crate) public_key: WirePem,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WirePem {
    pub(crate) content: Base64,
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
    hash: WireHash,
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
    #[serde(default, deserialize_with = "json::null_is_default")]
    keyid: String,
}
