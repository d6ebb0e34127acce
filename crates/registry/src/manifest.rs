//! Manifests: the documents of a registry. Their bytes are kept, because their digest is their name.
//!
//! A document is an image or an index, never both: one that could be read either way is refused (CVE-2021-41190).

use std::collections::BTreeMap;

use countersign_crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

use crate::RegistryError;
use crate::descriptor::{Descriptor, media_type, or_null};

/// The largest manifest, in bytes: what the distribution specification asks registries to take.
pub const MAX_MANIFEST_LEN: usize = 4 << 20;

/// The most descriptors in one manifest.
const MAX_DESCRIPTORS: usize = 50_000;

/// A manifest: its bytes, what they are called, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Media type, size and digest of the bytes.
    pub descriptor: Descriptor,
    /// The bytes, as they were served.
    pub bytes: Vec<u8>,
    /// What they say.
    pub kind: Kind,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One image, or another artifact of that form.
    Image(Box<ImageManifest>),
    /// A list of manifests: one for each platform, say.
    Index(Box<ImageIndex>),
}

/// An image manifest, OCI's or Docker's. Fields in the order in which others write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u64,
    /// The media type, if the document names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first; for evidence, its documents.
    #[serde(deserialize_with = "or_null")]
    pub layers: Vec<Descriptor>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
    /// What this is evidence of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl ImageManifest {
    /// The artifact type: named, or else the type of the configuration, as the specification says.
    #[must_use]
    pub fn artifact_type(&self) -> &str {
        self.artifact_type.as_deref().filter(|t| !t.is_empty()).unwrap_or(&self.config.media_type)
    }
}

/// An index of manifests, OCI's or Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u64,
    /// The media type, if the document names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "or_null")]
    pub manifests: Vec<Descriptor>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
    /// What this is evidence of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// What a document has at its top, to tell an image from an index before reading it as either.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(default)]
    config: Present,
    #[serde(default)]
    layers: Present,
    #[serde(default)]
    fs_layers: Present,
    #[serde(default)]
    manifests: Present,
}

/// Whether a field is there, whatever it holds.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Manifest {
    /// Reads a manifest. `said` is the media type that came with it, `what` is how errors name it.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] and [`RegistryError::Malformed`].
    pub fn parse(what: &str, said: Option<&str>, bytes: Vec<u8>) -> Result<Self, RegistryError> {
        Self::parse_as(what, said, HashAlgorithm::Sha256, bytes)
    }

    /// Reads a manifest that was asked for by this digest.
    ///
    /// # Errors
    /// [`RegistryError::WrongDigest`] when the bytes are others; else as [`Manifest::parse`].
    pub fn parse_checked(
        what: &str,
        said: Option<&str>,
        expected: &Digest,
        bytes: Vec<u8>,
    ) -> Result<Self, RegistryError> {
        let found = expected.algorithm().digest(&bytes);
        if found != *expected {
            return Err(RegistryError::wrong_digest(what, expected, &found));
        }
        Self::parse_as(what, said, expected.algorithm(), bytes)
    }

    fn parse_as(
        what: &str,
        said: Option<&str>,
        algorithm: HashAlgorithm,
        bytes: Vec<u8>,
    ) -> Result<Self, RegistryError> {
        let wrong = |message: String| RegistryError::malformed(what, message);
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(RegistryError::too_large(what, "4 MiB for a manifest"));
        }
        let shape: Shape =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("expected a manifest in JSON: {e}")))?;
        if shape.fs_layers.0 || shape.schema_version != Some(2) {
            return Err(wrong("expected a manifest of schema version 2".into()));
        }
        let image = shape.config.0 || shape.layers.0;
        if image == shape.manifests.0 {
            let found = if image { "both an image and an index" } else { "neither an image nor an index" };
            return Err(wrong(format!("expected an image or an index, found {found}")));
        }
        let said = said.map(|s| s.split(';').next().unwrap_or(s).trim()).filter(|s| is_manifest_type(s));
        if let (Some(said), Some(own)) = (said, &shape.media_type)
            && said != own
        {
            return Err(wrong(format!("it came as {said} and calls itself {own}")));
        }
        let named = shape.media_type.as_deref().or(said);
        let types = if image {
            [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST]
        } else {
            [media_type::OCI_INDEX, media_type::DOCKER_LIST]
        };
        let named = named.unwrap_or(types[0]);
        if !types.contains(&named) {
            return Err(wrong(format!("expected {}, found {named}", types.join(" or "))));
        }
        let named = named.to_owned();
        let unreadable = |e: serde_json::Error| RegistryError::malformed(what, e.to_string());
        let (kind, count) = if image {
            let image: ImageManifest = serde_json::from_slice(&bytes).map_err(unreadable)?;
            let count = image.layers.len();
            (Kind::Image(Box::new(image)), count)
        } else {
            let index: ImageIndex = serde_json::from_slice(&bytes).map_err(unreadable)?;
            let count = index.manifests.len();
            (Kind::Index(Box::new(index)), count)
        };
        if count > MAX_DESCRIPTORS {
            return Err(RegistryError::too_large(what, format!("{MAX_DESCRIPTORS} descriptors")));
        }
        let descriptor = Descriptor { digest: algorithm.digest(&bytes), ..Descriptor::of(&named, &bytes) };
        Ok(Self { descriptor, bytes, kind })
    }

    /// What this is evidence of, if it says so.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        match &self.kind {
            Kind::Image(image) => image.subject.as_ref(),
            Kind::Index(index) => index.subject.as_ref(),
        }
    }

    /// The descriptor under which this is listed as a referrer: with artifact type and annotations.
    #[must_use]
    pub fn as_referrer(&self) -> Descriptor {
        let (artifact_type, annotations) = match &self.kind {
            Kind::Image(image) => (Some(image.artifact_type().to_owned()), image.annotations.clone()),
            Kind::Index(index) => (index.artifact_type.clone(), index.annotations.clone()),
        };
        Descriptor { artifact_type, annotations, ..self.descriptor.clone() }
    }
}

fn is_manifest_type(text: &str) -> bool {
    use media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn config() -> String {
        format!(r#""config":{{"mediaType":"{}","size":2,"digest":"{EMPTY}"}}"#, media_type::OCI_EMPTY)
    }

    fn parse(said: Option<&str>, text: &str) -> Result<Manifest, RegistryError> {
        Manifest::parse("it", said, text.as_bytes().to_vec())
    }

    #[test]
    fn images_and_indexes_are_told_apart() {
        let image = parse(None, &format!(r#"{{"schemaVersion":2,{},"layers":[]}}"#, config())).unwrap();
        assert!(matches!(image.kind, Kind::Image(_)));
        assert_eq!(image.descriptor.media_type, media_type::OCI_MANIFEST);
        let index = parse(Some(media_type::DOCKER_LIST), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert!(matches!(index.kind, Kind::Index(_)));
        assert_eq!(index.descriptor.media_type, media_type::DOCKER_LIST);
    }

    #[test]
    fn g01_a_document_that_is_both_is_neither() {
        for text in [
            format!(r#"{{"schemaVersion":2,{},"layers":[],"manifests":[]}}"#, config()),
            r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,{},"manifests":null}}"#, config()),
            r#"{"schemaVersion":2}"#.to_owned(),
        ] {
            for said in [None, Some(media_type::OCI_INDEX), Some(media_type::OCI_MANIFEST)] {
                let error = parse(said, &text).unwrap_err();
                assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
            }
        }
    }

    #[test]
    fn g01_the_types_said_outside_and_inside_agree() {
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
        assert!(parse(Some(media_type::OCI_INDEX), &index).is_ok());
        assert!(parse(Some("application/json"), &index).is_ok());
        assert!(parse(Some(media_type::OCI_MANIFEST), &index).is_err());
        let lying =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_MANIFEST);
        assert!(parse(None, &lying).is_err());
        let bare = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(parse(Some(media_type::OCI_MANIFEST), bare).is_err());
    }

    #[test]
    fn other_documents_are_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"schemaVersion":2,"manifests":{}}"#,
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{"size":-1,"digest":"sha256:00"}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"size":1,"digest":"sha256:../../x"}]}"#,
        ] {
            assert!(parse(None, text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(None, &deep).is_err());
    }

    #[test]
    fn v16_ten_million_layers_meet_the_limit_before_the_parser() {
        let huge = vec![b' '; MAX_MANIFEST_LEN + 1];
        assert!(matches!(Manifest::parse("it", None, huge).unwrap_err(), RegistryError::TooLarge { .. }));
    }

    #[test]
    fn v54_the_bytes_decide_not_the_name() {
        let text = format!(r#"{{"schemaVersion":2,{},"layers":[]}}"#, config()).into_bytes();
        let digest = HashAlgorithm::Sha512.digest(&text);
        let manifest = Manifest::parse_checked("it", None, &digest, text.clone()).unwrap();
        assert_eq!(manifest.descriptor.digest, digest);
        let other = HashAlgorithm::Sha256.digest(b"other");
        let error = Manifest::parse_checked("it", None, &other, text).unwrap_err();
        assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    }
}
