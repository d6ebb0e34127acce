//! `trusted_root.json`: the certificate authorities, logs and timestamp authorities to trust, and when.

use countersign_attestation::JsonError;
use countersign_attestation::json::{self, Base64, Bounded};
use countersign_crypto::HashAlgorithm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{LogId, RawBytes, WireTimeRange};
use crate::{BundleError, shape};

/// The largest trusted root read, in bytes of JSON.
pub(crate) const MAX_ROOT_LEN: usize = 16 * 1024 * 1024;
/// The most authorities or logs of one kind.
const MAX_INSTANCES: usize = 256;
/// The most certificates of one authority.
const MAX_CHAIN: usize = 16;

/// The media type which is written: the only one that all deployed clients read.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

/// A closed interval of time: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidFor {
    /// The first moment.
    pub start: Timestamp,
    /// The last moment; `None` while in use.
    pub end: Option<Timestamp>,
}

impl ValidFor {
    /// Whether a moment lies in it.
    ///
    /// ```
    /// use countersign_bundle::ValidFor;
    /// let valid = ValidFor { start: "2024-01-01T00:00:00Z".parse()?, end: Some("2025-01-01T00:00:00Z".parse()?) };
    /// assert!(valid.contains("2025-01-01T00:00:00Z".parse()?));
    /// assert!(!valid.contains("2025-01-01T00:00:01Z".parse()?));
    /// # Ok::<(), jiff::Error>(())
    /// ```
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && self.end.is_none_or(|end| at <= end)
    }
}

/// A log's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// The key, DER `SubjectPublicKeyInfo` (very old entries: PKCS#1, which is not supported here).
    pub raw_bytes: Vec<u8>,
    /// Sigstore's name of key type and scheme, such as `PKIX_ED25519`.
    pub key_details: String,
    /// When the key signs.
    pub valid_for: ValidFor,
}

/// A transparency log or a CT log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransparencyLog {
    /// Where it is; the host name is the log's name in Rekor v2's checkpoints.
    pub base_url: String,
    /// The tree's hash.
    pub hash_algorithm: HashAlgorithm,
    /// Its key.
    pub public_key: LogKey,
    /// Its id: SHA-256 of the key (Rekor v1, CT), the full C2SP key id (Rekor v2).
    pub log_id: Vec<u8>,
    /// The key id in checkpoints, when it is given apart from the log id.
    pub checkpoint_key_id: Option<Vec<u8>>,
    /// Who runs it.
    pub operator: Option<String>,
}

/// A certificate authority or a timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// The organisation in its subject.
    pub organization: String,
    /// The common name in its subject.
    pub common_name: String,
    /// Where it is; may be empty.
    pub uri: String,
    /// The chain, DER, the trust anchor last. A timestamp authority's begins with its leaf.
    pub certificates: Vec<Vec<u8>>,
    /// When it issues.
    pub valid_for: ValidFor,
    /// Who runs it.
    pub operator: Option<String>,
}

/// Everything to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedRoot {
    /// Transparency logs.
    pub tlogs: Vec<TransparencyLog>,
    /// Authorities for signing certificates.
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// Logs of certificates.
    pub ctlogs: Vec<TransparencyLog>,
    /// Authorities for RFC 3161 timestamps.
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

impl TrustedRoot {
    /// Reads a trusted root in any of its three media types.
    ///
    /// # Errors
    /// [`BundleError`]: limits, another media type, members missing or of another type. A log's key without
    /// `validFor.start` is refused. An authority without one counts from 1970; its certificates have dates too.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        json::from_slice::<WireRoot>(bytes, MAX_ROOT_LEN)?.read()
    }

    /// Writes it with the media type which all clients read, and without the members that the strict ones of
    /// them do not know (`checkpointKeyId`, `operator`).
    ///
    /// # Errors
    /// [`BundleError`] when [`TrustedRoot::from_json`] would not read it again.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let bytes = serde_json::to_vec(&WireRoot::of(self)).map_err(JsonError::from)?;
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireRoot {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    tlogs: Bounded<WireLog, MAX_INSTANCES>,
    #[serde(alias = "certificate_authorities", default, deserialize_with = "json::null_is_default")]
    certificate_authorities: Bounded<WireAuthority, MAX_INSTANCES>,
    #[serde(default, deserialize_with = "json::null_is_default")]
    ctlogs: Bounded<WireLog, MAX_INSTANCES>,
    #[serde(alias = "timestamp_authorities", default, deserialize_with = "json::null_is_default")]
    timestamp_authorities: Bounded<WireAuthority, MAX_INSTANCES>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    #[serde(alias = "base_url", default, deserialize_with = "json::null_is_default")]
    base_url: String,
    #[serde(alias = "hash_algorithm", default, deserialize_with = "json::null_is_default")]
    hash_algorithm: String,
    #[serde(alias = "public_key")]
    public_key: WireKey,
    #[serde(alias = "log_id", default, deserialize_with = "json::null_is_default")]
    log_id: LogId,
    #[serde(alias = "checkpoint_key_id", default, skip_serializing)]
    checkpoint_key_id: Option<LogId>,
    #[serde(default, skip_serializing)]
    operator: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    #[serde(alias = "raw_bytes")]
    raw_bytes: Base64,
    #[serde(alias = "key_details", default, deserialize_with = "json::null_is_default")]
    key_details: String,
    #[serde(alias = "valid_for", default, deserialize_with = "json::null_is_default")]
    valid_for: WireTimeRange,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireName {
    #[serde(default, deserialize_with = "json::null_is_default")]
    organization: String,
    #[serde(alias = "common_name", default, deserialize_with = "json::null_is_default")]
    common_name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireChain {
    #[serde(default, deserialize_with = "json::null_is_default")]
    certificates: Bounded<RawBytes, MAX_CHAIN>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    #[serde(default, deserialize_with = "json::null_is_default")]
    subject: WireName,
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "String::is_empty")]
    uri: String,
    #[serde(alias = "cert_chain")]
    cert_chain: WireChain,
    #[serde(alias = "valid_for", default, deserialize_with = "json::null_is_default")]
    valid_for: WireTimeRange,
    #[serde(default, skip_serializing)]
    operator: Option<String>,
}

impl WireRoot {
    pub(crate) fn read(self) -> Result<TrustedRoot, BundleError> {
        match self.media_type.as_str() {
            MEDIA_TYPE
            | "application/vnd.dev.sigstore.trustedroot.v0.1+json"
            | "application/vnd.dev.sigstore.trustedroot.v0.2+json" => {}
            _ => return Err(BundleError::MediaType { expected: MEDIA_TYPE, found: self.media_type }),
        }
        Ok(TrustedRoot {
            tlogs: read_all(self.tlogs.0, "tlogs", WireLog::read)?,
            certificate_authorities: read_all(
                self.certificate_authorities.0,
                "certificateAuthorities",
                WireAuthority::read,
            )?,
            ctlogs: read_all(self.ctlogs.0, "ctlogs", WireLog::read)?,
            timestamp_authorities: read_all(
                self.timestamp_authorities.0,
                "timestampAuthorities",
                WireAuthority::read,
            )?,
        })
    }

    pub(crate) fn of(root: &TrustedRoot) -> Self {
        Self {
            media_type: MEDIA_TYPE.to_owned(),
            tlogs: Bounded(root.tlogs.iter().map(WireLog::of).collect()),
            certificate_authorities: Bounded(
                root.certificate_authorities.iter().map(WireAuthority::of).collect(),
            ),
            ctlogs: Bounded(root.ctlogs.iter().map(WireLog::of).collect()),
            timestamp_authorities: Bounded(
                root.timestamp_authorities.iter().map(WireAuthority::of).collect(),
            ),
        }
    }
}

fn read_all<W, T>(
    items: Vec<W>,
    what: &str,
    read: impl Fn(W, &str) -> Result<T, BundleError>,
) -> Result<Vec<T>, BundleError> {
    items.into_iter().enumerate().map(|(i, item)| read(item, &format!("{what}[{i}]"))).collect()
}

impl WireLog {
    fn read(self, what: &str) -> Result<TransparencyLog, BundleError> {
        let hash_algorithm = match self.hash_algorithm.as_str() {
            "" => HashAlgorithm::Sha256,
            name => HashAlgorithm::from_protobuf_name(name).ok_or_else(|| {
                shape(format!("{what}: hashAlgorithm: expected SHA2_256, found \"{name}\""))
            })?,
        };
        Ok(TransparencyLog {
            base_url: self.base_url,
            hash_algorithm,
            public_key: LogKey {
                raw_bytes: self.public_key.raw_bytes.0,
                key_details: self.public_key.key_details,
                valid_for: self.public_key.valid_for.read(what)?,
            },
            log_id: self.log_id.key_id.0,
            checkpoint_key_id: self.checkpoint_key_id.map(|id| id.key_id.0).filter(|id| !id.is_empty()),
            operator: self.operator.filter(|o| !o.is_empty()),
        })
    }

    fn of(log: &TransparencyLog) -> Self {
        Self {
            base_url: log.base_url.clone(),
            hash_algorithm: log.hash_algorithm.protobuf_name().to_owned(),
            public_key: WireKey {
                raw_bytes: Base64(log.public_key.raw_bytes.clone()),
                key_details: log.public_key.key_details.clone(),
                valid_for: (&log.public_key.valid_for).into(),
            },
            log_id: LogId { key_id: Base64(log.log_id.clone()) },
            checkpoint_key_id: None,
            operator: None,
        }
    }
}

impl WireAuthority {
    fn read(self, what: &str) -> Result<CertificateAuthority, BundleError> {
        let mut valid_for = self.valid_for;
        valid_for.start.get_or_insert_with(|| Timestamp::UNIX_EPOCH.to_string());
        Ok(CertificateAuthority {
            organization: self.subject.organization,
            common_name: self.subject.common_name,
            uri: self.uri,
            certificates: self.cert_chain.certificates.0.into_iter().map(|c| c.raw_bytes.0).collect(),
            valid_for: valid_for.read(what)?,
            operator: self.operator.filter(|o| !o.is_empty()),
        })
    }

    fn of(authority: &CertificateAuthority) -> Self {
        Self {
            subject: WireName {
                organization: authority.organization.clone(),
                common_name: authority.common_name.clone(),
            },
            uri: authority.uri.clone(),
            cert_chain: WireChain {
                certificates: Bounded(authority.certificates.iter().map(|c| RawBytes::of(c)).collect()),
            },
            valid_for: (&authority.valid_for).into(),
            operator: None,
        }
    }
}
