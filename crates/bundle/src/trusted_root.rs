//! The trusted root: which authorities and logs to trust, and when (`TrustedRoot` of sigstore_trustroot.proto).

use countersign_attestation::json::{self, Base64, Bounded};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{LogId, RawBytes, WireTimeRange};
use crate::{BundleError, shape};

/// The largest trusted root read, in bytes of JSON.
pub(crate) const MAX_ROOT_LEN: usize = 4 * 1024 * 1024;

/// Certificates in one chain at most.
const MAX_CHAIN: usize = 16;

/// The media type written: the one every deployed client accepts.
pub const TRUSTED_ROOT: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

const MEDIA_TYPES: [&str; 4] = [
    TRUSTED_ROOT,
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// Logs, and authorities, in one trusted root at most.
const MAX_AUTHORITIES: usize = 128;

/// A closed interval of time; without an end it is open into the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidFor {
    /// The first moment.
    pub start: Timestamp,
    /// The last moment.
    pub end: Option<Timestamp>,
}

impl ValidFor {
    /// Whether the moment lies in the interval; both ends belong to it.
    ///
    /// ```
    /// use countersign_bundle::ValidFor;
    /// let valid: ValidFor = ValidFor { start: "2024-01-01T00:00:00Z".parse()?, end: Some("2024-12-31T00:00:00Z".parse()?) };
    /// assert!(valid.contains("2024-12-31T00:00:00Z".parse()?));
    /// assert!(!valid.contains("2024-12-31T00:00:01Z".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && self.end.is_none_or(|end| at <= end)
    }
}

/// The key of a log, with the time in which it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// DER `SubjectPublicKeyInfo`.
    pub raw_bytes: Vec<u8>,
    /// Sigstore's name for type and scheme, such as `PKIX_ED25519`. Deprecated names are still met in old roots.
    pub key_details: String,
    /// When the key signs.
    pub valid_for: ValidFor,
}

/// A transparency log or a CT log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransparencyLog {
    /// The log's address. For Rekor v2 its host name is the name in the checkpoints.
    pub base_url: String,
    /// The hash of the tree; `SHA2_256` everywhere so far.
    pub hash_algorithm: String,
    /// The log's key.
    pub public_key: LogKey,
    /// The log's key id, as in entries and SCTs.
    pub log_id: Vec<u8>,
}

/// The name of an authority, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DistinguishedName {
    /// Organization.
    #[serde(default)]
    pub organization: String,
    /// Common name.
    #[serde(default, alias = "common_name")]
    pub common_name: String,
}

/// A certificate authority or a timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// Whose it is.
    pub subject: DistinguishedName,
    /// Its address.
    pub uri: String,
    /// DER; the certificate closest to the leaf first (a timestamp authority's own leaf), the anchor last.
    pub cert_chain: Vec<Vec<u8>>,
    /// When it issues.
    pub valid_for: ValidFor,
}

/// What a verifier trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedRoot {
    /// Transparency logs.
    pub tlogs: Vec<TransparencyLog>,
    /// Certificate authorities.
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// CT logs.
    pub ctlogs: Vec<TransparencyLog>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireRoot {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    tlogs: Bounded<WireLog, MAX_AUTHORITIES>,
    #[serde(default, alias = "certificate_authorities", deserialize_with = "json::null_is_default")]
    certificate_authorities: Bounded<WireAuthority, MAX_AUTHORITIES>,
    #[serde(default, deserialize_with = "json::null_is_default")]
    ctlogs: Bounded<WireLog, MAX_AUTHORITIES>,
    #[serde(default, alias = "timestamp_authorities", deserialize_with = "json::null_is_default")]
    timestamp_authorities: Bounded<WireAuthority, MAX_AUTHORITIES>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    #[serde(default, alias = "base_url")]
    base_url: String,
    #[serde(alias = "hash_algorithm")]
    hash_algorithm: String,
    #[serde(alias = "public_key")]
    public_key: WireKey,
    #[serde(alias = "log_id")]
    log_id: LogId,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    #[serde(alias = "raw_bytes")]
    raw_bytes: Base64,
    #[serde(alias = "key_details")]
    key_details: String,
    #[serde(default, alias = "valid_for")]
    valid_for: WireTimeRange,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    #[serde(default)]
    subject: Option<DistinguishedName>,
    #[serde(default)]
    uri: String,
    #[serde(alias = "cert_chain")]
    cert_chain: WireChain,
    #[serde(default, alias = "valid_for")]
    valid_for: WireTimeRange,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireChain {
    #[serde(default)]
    certificates: Bounded<RawBytes, MAX_CHAIN>,
}

impl WireLog {
    fn read(self, what: &str) -> Result<TransparencyLog, BundleError> {
        Ok(TransparencyLog {
            base_url: self.base_url,
            hash_algorithm: self.hash_algorithm,
            public_key: LogKey {
                raw_bytes: self.public_key.raw_bytes.0,
                key_details: self.public_key.key_details,
                valid_for: self.public_key.valid_for.read(what)?,
            },
            log_id: self.log_id.key_id.0,
        })
    }

    fn of(log: &TransparencyLog) -> Self {
        Self {
            base_url: log.base_url.clone(),
            hash_algorithm: log.hash_algorithm.clone(),
            public_key: WireKey {
                raw_bytes: Base64(log.public_key.raw_bytes.clone()),
                key_details: log.public_key.key_details.clone(),
                valid_for: (&log.public_key.valid_for).into(),
            },
            log_id: LogId { key_id: Base64(log.log_id.clone()) },
        }
    }
}

impl WireAuthority {
    fn read(self, what: &str) -> Result<CertificateAuthority, BundleError> {
        Ok(CertificateAuthority {
            subject: self.subject.unwrap_or_default(),
            uri: self.uri,
            cert_chain: self.cert_chain.certificates.0.into_iter().map(|c| c.raw_bytes.0).collect(),
            valid_for: self.valid_for.read(what)?,
        })
    }

    fn of(authority: &CertificateAuthority) -> Self {
        Self {
            subject: Some(authority.subject.clone()),
            uri: authority.uri.clone(),
            cert_chain: WireChain {
                certificates: Bounded(authority.cert_chain.iter().map(|der| RawBytes::of(der)).collect()),
            },
            valid_for: (&authority.valid_for).into(),
        }
    }
}

impl WireRoot {
    pub(crate) fn read(self) -> Result<TrustedRoot, BundleError> {
        if !MEDIA_TYPES.contains(&self.media_type.as_str()) {
            return Err(BundleError::MediaType {
                expected: "a trusted root of version 0.1 or 0.2",
                found: self.media_type.chars().take(200).collect(),
            });
        }
        let logs = |logs: Bounded<WireLog, MAX_AUTHORITIES>, what: &str| {
            logs.0.into_iter().map(|log| log.read(what)).collect::<Result<Vec<_>, _>>()
        };
        let authorities = |list: Bounded<WireAuthority, MAX_AUTHORITIES>, what: &str| {
            list.0.into_iter().map(|authority| authority.read(what)).collect::<Result<Vec<_>, _>>()
        };
        let root = TrustedRoot {
            tlogs: logs(self.tlogs, "tlogs")?,
            certificate_authorities: authorities(self.certificate_authorities, "certificateAuthorities")?,
            ctlogs: logs(self.ctlogs, "ctlogs")?,
            timestamp_authorities: authorities(self.timestamp_authorities, "timestampAuthorities")?,
        };
        if root == TrustedRoot::default() {
            return Err(shape("the trusted root names no authority and no log, so it trusts nobody"));
        }
        Ok(root)
    }

    pub(crate) fn of(root: &TrustedRoot) -> Self {
        Self {
            media_type: TRUSTED_ROOT.into(),
            tlogs: Bounded(root.tlogs.iter().map(WireLog::of).collect()),
            certificate_authorities: Bounded(
                root.certificate_authorities.iter().map(WireAuthority::of).collect(),
            ),
            ctlogs: Bounded(root.ctlogs.iter().map(WireLog::of).collect()),
            timestamp_authorities: Bounded(root.timestamp_authorities.iter().map(WireAuthority::of).collect()),
        }
    }
}

impl TrustedRoot {
    /// Reads a trusted root.
    ///
    /// # Errors
    /// [`BundleError`]: too many bytes or authorities, another shape or version, a log or authority which does not
    /// say from when it is to be trusted, and a root that names nobody.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        json::from_slice::<WireRoot>(bytes, MAX_ROOT_LEN)?.read()
    }

    /// The trusted root's JSON.
    ///
    /// # Errors
    /// [`BundleError`] when [`TrustedRoot::from_json`] would not read it again.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let bytes = serde_json::to_vec(&WireRoot::of(self)).map_err(json::JsonError::from)?;
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> TrustedRoot {
        let valid_for = ValidFor { start: "2024-01-01T00:00:00Z".parse().unwrap(), end: None };
        TrustedRoot {
            tlogs: vec![TransparencyLog {
                base_url: "http://localhost".into(),
                hash_algorithm: "SHA2_256".into(),
                public_key: LogKey {
                    raw_bytes: vec![1],
                    key_details: "PKIX_ED25519".into(),
                    valid_for,
                },
                log_id: vec![2],
            }],
            timestamp_authorities: vec![CertificateAuthority {
                subject: DistinguishedName { organization: "o".into(), common_name: "c".into() },
                uri: "http://localhost/api/v1/timestamp".into(),
                cert_chain: vec![vec![3], vec![4]],
                valid_for: ValidFor { end: Some("2025-01-01T00:00:00.999Z".parse().unwrap()), ..valid_for },
            }],
            ..TrustedRoot::default()
        }
    }

    #[test]
    fn trusted_roots_round_trip_with_the_deployed_media_type() {
        let json = String::from_utf8(root().to_json().unwrap()).unwrap();
        assert!(json.contains(TRUSTED_ROOT));
        assert_eq!(TrustedRoot::from_json(json.as_bytes()).unwrap(), root());
        for media_type in MEDIA_TYPES {
            let other = json.replace(TRUSTED_ROOT, media_type);
            assert!(TrustedRoot::from_json(other.as_bytes()).is_ok(), "{media_type}");
        }
        let other = json.replace(TRUSTED_ROOT, "application/json");
        assert!(TrustedRoot::from_json(other.as_bytes()).is_err());
    }

    #[test]
    fn a_log_without_a_start_is_refused() {
        let json = String::from_utf8(root().to_json().unwrap()).unwrap().replacen(r#""start":"2024-01-01T00:00:00Z""#, "", 1);
        assert!(TrustedRoot::from_json(json.as_bytes()).is_err());
    }

    #[test]
    fn null_ends_are_no_ends() {
        let json = String::from_utf8(root().to_json().unwrap()).unwrap().replacen(
            r#""start":"2024-01-01T00:00:00Z""#,
            r#""start":"2024-01-01T00:00:00Z","end":null"#,
            1,
        );
        assert_eq!(TrustedRoot::from_json(json.as_bytes()).unwrap(), root());
    }
}
