//! What is signed: a JSON document which describes the artifact (`signature-specification.md`, "Payload").

use std::collections::BTreeMap;

use countersign_attestation::json::{self, UniqueMap};
use countersign_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::{Reason, Refusal};

/// The only type of payload.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
/// Names of annotations that begin so belong to the specification.
pub const RESERVED_PREFIX: &str = "io.cncf.notary";
/// The largest payload read, in bytes.
const MAX_LEN: usize = 256 * 1024;
/// How many annotations an artifact may have.
const MAX_ANNOTATIONS: usize = 256;

/// A descriptor of an artifact: an image's manifest, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetArtifact {
    /// What kind of thing it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Metadata which the signer vouches for.
    pub annotations: BTreeMap<String, String>,
}

/// The payload: what was signed, and the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The artifact.
    pub target: TargetArtifact,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<T> {
    target_artifact: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTarget {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: UniqueMap<String, MAX_ANNOTATIONS>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenTarget<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Payload {
    /// Reads the document.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let expected = "a payload with a descriptor \"targetArtifact\"";
        let bad = |found: String| Refusal::new(Reason::PayloadMalformed, expected, found);
        let wire: Wire<WireTarget> = json::from_slice(bytes, MAX_LEN).map_err(|e| bad(e.to_string()))?;
        let target = wire.target_artifact;
        if target.media_type.is_empty() {
            return Err(bad("an empty mediaType".into()));
        }
        let digest = Digest::parse(&target.digest).map_err(|e| bad(e.to_string()))?;
        // One spelling: what compares digests as texts must come to the same answer.
        if digest.to_string() != target.digest {
            return Err(bad(format!("a digest that is not in lower case: {:?}", target.digest)));
        }
        let target = TargetArtifact {
            media_type: target.media_type,
            digest,
            size: target.size,
            annotations: target.annotations.0,
        };
        Ok(Self { target, bytes: bytes.to_vec() })
    }

    /// Writes the document.
    pub(crate) fn of(target: &TargetArtifact) -> Result<Self, Refusal> {
        let bad =
            |found: String| Refusal::new(Reason::PayloadMalformed, "an artifact that can be signed", found);
        if let Some(name) = target.annotations.keys().find(|name| name.starts_with(RESERVED_PREFIX)) {
            return Err(bad(format!("the annotation {name:?}, whose name is reserved")));
        }
        let written = WrittenTarget {
            media_type: &target.media_type,
            digest: target.digest.to_string(),
            size: target.size,
            annotations: &target.annotations,
        };
        let bytes = serde_json::to_vec(&Wire { target_artifact: written }).map_err(|e| bad(e.to_string()))?;
        Self::parse(&bytes)
    }

    /// The document as it is signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::HashAlgorithm;

    fn target() -> TargetArtifact {
        TargetArtifact {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: HashAlgorithm::Sha256.digest(b"x"),
            size: 7,
            annotations: BTreeMap::from([("build".to_owned(), "123".to_owned())]),
        }
    }

    #[test]
    fn a_payload_reads_back() {
        let payload = Payload::of(&target()).unwrap();
        assert_eq!(Payload::parse(payload.bytes()).unwrap().target, target());
        let plain = TargetArtifact { annotations: BTreeMap::new(), ..target() };
        assert!(!String::from_utf8_lossy(Payload::of(&plain).unwrap().bytes()).contains("annotations"));
    }

    #[test]
    fn reserved_annotations_are_not_signed() {
        let mut reserved = target();
        reserved.annotations.insert("io.cncf.notary.x".into(), "y".into());
        assert_eq!(Payload::of(&reserved).unwrap_err().reason, Reason::PayloadMalformed);
    }

    #[test]
    fn what_two_readers_could_take_in_two_ways_is_refused() {
        let hex = "ab".repeat(32);
        let good = format!(r#"{{"targetArtifact":{{"mediaType":"a/b","digest":"sha256:{hex}","size":1}}}}"#);
        assert!(Payload::parse(good.as_bytes()).is_ok());
        for (name, bad) in [
            ("another digest twice", good.replace(r#""size":1"#, r#""size":1,"size":2"#)),
            (
                "the artifact twice",
                good.replace("{\"targetArtifact\"", "{\"targetArtifact\":{},\"targetArtifact\""),
            ),
            ("a digest in upper case", good.replace(&hex, &hex.to_uppercase())),
            ("a negative size", good.replace(r#""size":1"#, r#""size":-1"#)),
            ("no size", good.replace(r#","size":1"#, "")),
            ("a weak digest", good.replace(&format!("sha256:{hex}"), "md5:00")),
            (
                "an annotation twice",
                good.replace(r#""size":1"#, r#""size":1,"annotations":{"a":"1","a":"2"}"#),
            ),
            ("bytes behind the end", format!("{good}x")),
            ("no artifact", "{}".into()),
            ("an empty media type", good.replace("a/b", "")),
        ] {
            assert_eq!(
                Payload::parse(bad.as_bytes()).unwrap_err().reason,
                Reason::PayloadMalformed,
                "{name}"
            );
        }
    }
}
