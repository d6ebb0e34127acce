//! Descriptors: what points at bytes by their digest; and the media types in use.

use std::collections::BTreeMap;

use countersign_crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

use crate::reference::parse_digest;

/// Media types and artifact types, each named once.
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index of manifests.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's list of manifests.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The configuration of an image.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer that is not compressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// The empty object, where a manifest needs a configuration and there is none.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// How the type of a Sigstore bundle begins, whatever its version.
    pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
    /// A Sigstore bundle of version 0.3.
    pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    /// The payload of cosign's older signatures.
    pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    /// A DSSE envelope, the layer of cosign's older attestations.
    pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
    /// An in-toto statement, bare or in an envelope.
    pub const IN_TOTO: &str = "application/vnd.in-toto+json";
    /// The artifact type of cosign's older signatures when they were written as referrers.
    pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
    /// A signature of the Notary Project.
    pub const NOTARY_SIGNATURE: &str = "application/vnd.cncf.notary.signature";
}

/// Points at bytes: what they are, how many, and their digest. Fields in the order in which others write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    #[serde(default)]
    pub media_type: String,
    /// The number of bytes.
    pub size: u64,
    /// Their digest.
    #[serde(with = "digest_text")]
    pub digest: Digest,
    /// Notes of whoever wrote the descriptor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
    /// The platform of an image in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact a manifest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// The descriptor of bytes at hand, with SHA-256.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            digest: HashAlgorithm::Sha256.digest(bytes),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Only what says which bytes: without annotations, platform and artifact type.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            media_type: self.media_type.clone(),
            size: self.size,
            digest: self.digest,
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// A platform that an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, `amd64` say.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, `linux` say.
    #[serde(default)]
    pub os: String,
    /// The variant of the processor, `v8` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// `null` is read as nothing: Go writes it for an empty list or map.
pub(crate) fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Digests as text in JSON.
mod digest_text {
    use super::{Digest, parse_digest};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        parse_digest(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
