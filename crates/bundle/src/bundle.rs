//! The bundle: everything needed to verify one signature, in one document.

use countersign_attestation::dsse::{Envelope, WireEnvelope};
use countersign_attestation::json::{self, Base64, Bounded};
use countersign_attestation::{JsonError, simple_signing};
use countersign_crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

use crate::rekor::HashedRekordV2;
use crate::tlog_entry::WireEntry;
use crate::wire::RawBytes;
use crate::{BundleError, TlogEntry, shape};

/// The largest bundle read, in bytes of JSON.
pub const MAX_BUNDLE_LEN: usize = 16 * 1024 * 1024;
/// The most log entries of one bundle.
const MAX_TLOG_ENTRIES: usize = 32;
/// The most timestamps of one bundle.
const MAX_TIMESTAMPS: usize = 32;
/// The most certificates of one bundle.
pub(crate) const MAX_CERTIFICATES: usize = 8;

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BundleVersion {
    /// No bundle yet: cosign's older forms, see [`crate::legacy`]. Every log entry has a promise, and the chain may
    /// end in its root.
    Legacy,
    /// 0.1: every log entry has a promise.
    V0_1,
    /// 0.2: every log entry has a proof with a checkpoint.
    V0_2,
    /// 0.3: and no certificate chain, only the leaf.
    V0_3,
}

impl BundleVersion {
    /// The media type of a bundle of this version; of [`BundleVersion::Legacy`], that of its usual layer.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Legacy => simple_signing::MEDIA_TYPE,
            Self::V0_1 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V0_2 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V0_3 => "application/vnd.dev.sigstore.bundle.v0.3+json",
        }
    }

    fn read(media_type: &str) -> Result<Self, BundleError> {
        match media_type {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => Ok(Self::V0_1),
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => Ok(Self::V0_2),
            "application/vnd.dev.sigstore.bundle+json;version=0.3"
            | "application/vnd.dev.sigstore.bundle.v0.3+json" => Ok(Self::V0_3),
            other => Err(BundleError::MediaType {
                expected: "a Sigstore bundle of version 0.1, 0.2 or 0.3",
                found: other.to_owned(),
            }),
        }
    }
}

/// Whose signature it is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// The leaf certificate, DER.
    Certificate(Vec<u8>),
    /// Leaf first, then intermediates, DER; versions 0.1 and 0.2.
    CertificateChain(Vec<Vec<u8>>),
    /// A hint at a key which the verifier has, by custom base64 of its SHA-256.
    PublicKeyHint(String),
}

impl KeyMaterial {
    /// The leaf certificate, if there is one.
    #[must_use]
    pub fn leaf(&self) -> Option<&[u8]> {
        match self {
            Self::Certificate(der) => Some(der),
            Self::CertificateChain(chain) => chain.first().map(Vec::as_slice),
            Self::PublicKeyHint(_) => None,
        }
    }
}

/// What the signature is verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationMaterial {
    /// Key or certificate.
    pub content: KeyMaterial,
    /// Entries of transparency logs.
    pub tlog_entries: Vec<TlogEntry>,
    /// RFC 3161 responses, DER.
    pub rfc3161_timestamps: Vec<Vec<u8>>,
}

/// What is signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A signature over an artifact.
    MessageSignature {
        /// A hint at the artifact's digest.
        digest: Option<Digest>,
        /// The signature's bytes.
        signature: Vec<u8>,
    },
    /// A signed statement.
    Dsse(Envelope),
    /// cosign's older payload, which names an image, and the signature over its bytes.
    SimpleSigning {
        /// The payload, exactly as it was signed.
        payload: Vec<u8>,
        /// The signature's bytes.
        signature: Vec<u8>,
    },
    /// A signed statement in cosign's older form.
    StoredDsse {
        /// The statement's envelope.
        envelope: Envelope,
        /// The text from which the envelope was read: what timestamps are over.
        text: Vec<u8>,
    },
}

impl Content {
    /// The bytes of the signature: what logs are bound to.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::MessageSignature { signature, .. } | Self::SimpleSigning { signature, .. } => signature,
            Self::Dsse(envelope) | Self::StoredDsse { envelope, .. } => {
                envelope.signatures.first().map_or(&[], |s| &s.sig)
            }
        }
    }

    /// What timestamps are over: the signature, and in cosign's older form of statements all that was stored.
    #[must_use]
    pub fn stamped(&self) -> &[u8] {
        match self {
            Self::StoredDsse { text, .. } => text,
            other => other.signature(),
        }
    }

    /// The envelope, when a statement is signed.
    #[must_use]
    pub const fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Dsse(envelope) | Self::StoredDsse { envelope, .. } => Some(envelope),
            Self::MessageSignature { .. } | Self::SimpleSigning { .. } => None,
        }
    }
}

/// A Sigstore bundle as it was read: nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The version it was read in. [`Bundle::to_json`] writes 0.3 whatever stands here.
    pub version: BundleVersion,
    /// What the signature is verified with.
    pub verification_material: VerificationMaterial,
    /// What is signed.
    pub content: Content,
}

impl Bundle {
    /// Reads a bundle of version 0.1, 0.2 or 0.3.
    ///
    /// # Errors
    /// [`BundleError`]: limits, another media type, members missing, given twice or of another type, and
    /// whatever [`Bundle::check_shape`] finds.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        let bundle = json::from_slice::<WireBundle>(bytes, MAX_BUNDLE_LEN)?.read()?;
        bundle.check_shape()?;
        Ok(bundle)
    }

    /// Checks what the bundle's version demands: proofs or promises, the number of certificates and
    /// signatures, no empty parts.
    ///
    /// # Errors
    /// [`BundleError::Shape`].
    pub fn check_shape(&self) -> Result<(), BundleError> {
        let material = &self.verification_material;
        match &material.content {
            KeyMaterial::Certificate(der) if der.is_empty() => {
                return Err(shape("the certificate is empty"));
            }
            KeyMaterial::CertificateChain(_) if self.version >= BundleVersion::V0_3 => {
                return Err(shape("a bundle of version 0.3 carries one certificate, found a chain"));
            }
            KeyMaterial::CertificateChain(chain) => {
                if chain.is_empty() || chain.iter().any(Vec::is_empty) {
                    return Err(shape("the certificate chain is empty or has an empty certificate"));
                }
                check_count(chain.len(), MAX_CERTIFICATES, "certificates")?;
            }
            KeyMaterial::Certificate(_) | KeyMaterial::PublicKeyHint(_) => {}
        }
        check_count(material.tlog_entries.len(), MAX_TLOG_ENTRIES, "log entries")?;
        check_count(material.rfc3161_timestamps.len(), MAX_TIMESTAMPS, "timestamps")?;
        for (i, entry) in material.tlog_entries.iter().enumerate() {
            check_entry(self.version, entry).map_err(|what| shape(format!("tlogEntries[{i}]: {what}")))?;
        }
        if let Some(envelope) = self.content.envelope()
            && envelope.signatures.len() != 1
        {
            return Err(shape(format!(
                "the DSSE envelope of a bundle has one signature, found {}",
                envelope.signatures.len()
            )));
        }
        if self.content.signature().is_empty() {
            return Err(shape("the signature is empty"));
        }
        if let Content::StoredDsse { envelope, text } = &self.content
            && Envelope::from_json(text).as_ref() != Ok(envelope)
        {
            return Err(shape("the envelope is another than the text that it is said to be read from"));
        }
        Ok(())
    }

    /// Writes version 0.3 in the form that every known client reads: members in lower camel case, integers as
    /// strings, indices and sizes always there, no `keyid`, each timestamp once.
    ///
    /// # Errors
    /// [`BundleError::Shape`] for what version 0.3 cannot say: a chain of more than one certificate, an entry
    /// without a proof and a checkpoint, cosign's older content; and for what [`Bundle::check_shape`] finds.
    /// [`JsonError::TooLarge`] for what [`Bundle::from_json`] would not read again.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let mut bundle = self.clone();
        bundle.version = BundleVersion::V0_3;
        if let KeyMaterial::CertificateChain(chain) = &mut bundle.verification_material.content
            && chain.len() == 1
            && let Some(leaf) = chain.pop()
        {
            bundle.verification_material.content = KeyMaterial::Certificate(leaf);
        }
        let mut unique: Vec<Vec<u8>> = Vec::new();
        for token in std::mem::take(&mut bundle.verification_material.rfc3161_timestamps) {
            if !unique.contains(&token) {
                unique.push(token);
            }
        }
        bundle.verification_material.rfc3161_timestamps = unique;
        if let Content::Dsse(envelope) = &mut bundle.content {
            for signature in &mut envelope.signatures {
                signature.keyid.clear();
            }
        }
        bundle.check_shape()?;
        let bytes = serde_json::to_vec(&WireBundle::of(&bundle)?).map_err(JsonError::from)?;
        json::check(&bytes, MAX_BUNDLE_LEN)?;
        Ok(bytes)
    }
}

fn check_count(found: usize, limit: usize, what: &str) -> Result<(), BundleError> {
    if found > limit {
        return Err(shape(format!("{found} {what}, at most {limit} are read")));
    }
    Ok(())
}

fn check_entry(version: BundleVersion, entry: &TlogEntry) -> Result<(), &'static str> {
    if entry.log_id.is_empty() {
        return Err("the log id is empty");
    }
    if entry.canonicalized_body.is_empty() {
        return Err("the body is empty");
    }
    let by_promise = version <= BundleVersion::V0_1;
    if by_promise && entry.inclusion_promise.is_none() {
        return Err("a bundle of version 0.1 has an inclusion promise, found none");
    }
    let Some(proof) = &entry.inclusion_proof else {
        return if by_promise {
            Ok(())
        } else {
            Err("a bundle of version 0.2 or later has an inclusion proof, found none")
        };
    };
    if !by_promise && proof.checkpoint.is_empty() {
        return Err("a bundle of version 0.2 or later has a checkpoint, found none");
    }
    // Rekor v1 counts an entry in the log as a whole and in its shard; Rekor v2 has one count.
    if (entry.kind.as_str(), entry.version.as_str()) == (HashedRekordV2::KIND, HashedRekordV2::VERSION)
        && entry.log_index != proof.log_index
    {
        return Err("the entry and its inclusion proof give different log indices");
    }
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBundle {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(alias = "verification_material")]
    verification_material: WireMaterial,
    #[serde(alias = "message_signature", default, skip_serializing_if = "Option::is_none")]
    message_signature: Option<WireMessageSignature>,
    #[serde(alias = "dsse_envelope", default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<WireEnvelope>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMaterial {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<RawBytes>,
    #[serde(alias = "x509_certificate_chain", default, skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<WireChain>,
    #[serde(alias = "public_key", default, skip_serializing_if = "Option::is_none")]
    public_key: Option<WireHint>,
    #[serde(alias = "tlog_entries", default, deserialize_with = "json::null_is_default")]
    tlog_entries: Bounded<WireEntry, MAX_TLOG_ENTRIES>,
    #[serde(alias = "timestamp_verification_data", default, skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<WireTimestamps>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireChain {
    #[serde(default, deserialize_with = "json::null_is_default")]
    certificates: Bounded<RawBytes, MAX_CERTIFICATES>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireHint {
    #[serde(default, deserialize_with = "json::null_is_default")]
    hint: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTimestamps {
    #[serde(alias = "rfc3161_timestamps", default, deserialize_with = "json::null_is_default")]
    rfc3161_timestamps: Bounded<WireTimestamp, MAX_TIMESTAMPS>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTimestamp {
    #[serde(alias = "signed_timestamp")]
    signed_timestamp: Base64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMessageSignature {
    #[serde(alias = "message_digest", default, skip_serializing_if = "Option::is_none")]
    message_digest: Option<WireDigest>,
    signature: Base64,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireDigest {
    algorithm: String,
    digest: Base64,
}

impl WireDigest {
    fn read(&self) -> Result<Digest, BundleError> {
        let algorithm = HashAlgorithm::from_protobuf_name(&self.algorithm)
            .ok_or_else(|| shape(format!("messageDigest: unknown hash algorithm \"{}\"", self.algorithm)))?;
        Digest::new(algorithm, &self.digest.0).map_err(|e| shape(format!("messageDigest: {e}")))
    }
}

impl WireBundle {
    fn read(self) -> Result<Bundle, BundleError> {
        let version = BundleVersion::read(&self.media_type)?;
        let material = self.verification_material;
        let content = match (material.certificate, material.x509_certificate_chain, material.public_key) {
            (Some(leaf), None, None) => KeyMaterial::Certificate(leaf.raw_bytes.0),
            (None, Some(chain), None) => KeyMaterial::CertificateChain(
                chain.certificates.0.into_iter().map(|c| c.raw_bytes.0).collect(),
            ),
            (None, None, Some(key)) => KeyMaterial::PublicKeyHint(key.hint),
            _ => {
                return Err(shape(
                    "verificationMaterial: expected one of certificate, x509CertificateChain and publicKey",
                ));
            }
        };
        let verification_material = VerificationMaterial {
            content,
            tlog_entries: material
                .tlog_entries
                .0
                .into_iter()
                .map(WireEntry::read)
                .collect::<Result<_, _>>()?,
            rfc3161_timestamps: material
                .timestamp_verification_data
                .map(|d| d.rfc3161_timestamps.0.into_iter().map(|t| t.signed_timestamp.0).collect())
                .unwrap_or_default(),
        };
        let content = match (self.message_signature, self.dsse_envelope) {
            (Some(message), None) => Content::MessageSignature {
                digest: message.message_digest.map(|d| d.read()).transpose()?,
                signature: message.signature.0,
            },
            (None, Some(envelope)) => Content::Dsse(envelope.try_into()?),
            _ => return Err(shape("expected one of messageSignature and dsseEnvelope")),
        };
        Ok(Bundle { version, verification_material, content })
    }

    fn of(bundle: &Bundle) -> Result<Self, BundleError> {
        let material = &bundle.verification_material;
        let mut wire = WireMaterial {
            tlog_entries: Bounded(material.tlog_entries.iter().map(WireEntry::of).collect()),
            timestamp_verification_data: (!material.rfc3161_timestamps.is_empty()).then(|| WireTimestamps {
                rfc3161_timestamps: Bounded(
                    material
                        .rfc3161_timestamps
                        .iter()
                        .map(|t| WireTimestamp { signed_timestamp: Base64(t.clone()) })
                        .collect(),
                ),
            }),
            ..WireMaterial::default()
        };
        match &material.content {
            KeyMaterial::Certificate(der) => wire.certificate = Some(RawBytes::of(der)),
            KeyMaterial::CertificateChain(chain) => {
                wire.x509_certificate_chain = Some(WireChain {
                    certificates: Bounded(chain.iter().map(|c| RawBytes::of(c)).collect()),
                });
            }
            KeyMaterial::PublicKeyHint(hint) => wire.public_key = Some(WireHint { hint: hint.clone() }),
        }
        let (message_signature, dsse_envelope) = match &bundle.content {
            Content::MessageSignature { digest, signature } => (
                Some(WireMessageSignature {
                    message_digest: digest.map(|d| WireDigest {
                        algorithm: d.algorithm().protobuf_name().to_owned(),
                        digest: Base64(d.as_bytes().to_vec()),
                    }),
                    signature: Base64(signature.clone()),
                }),
                None,
            ),
            Content::Dsse(envelope) => (None, Some(envelope.into())),
            Content::SimpleSigning { .. } | Content::StoredDsse { .. } => {
                return Err(shape("expected content of a bundle, found cosign's older form"));
            }
        };
        Ok(Self {
            media_type: bundle.version.media_type().to_owned(),
            verification_material: wire,
            message_signature,
            dsse_envelope,
        })
    }
}
