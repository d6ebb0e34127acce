//! Resource descriptors of in-toto, by which predicates name files, images, repositories and each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::{Base64, Bounded, JsonError, UniqueMap, UniqueValue, no_members, null_is_default};
use crate::statement::MAX_ANNOTATIONS;

/// The most digests of one resource.
pub const MAX_DIGESTS: usize = 32;

/// Something outside of the predicate: a file, an image, a repository, another statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireResource", into = "WireResource")]
pub struct Resource {
    /// What it is called where it stands.
    pub name: String,
    /// What or where it is.
    pub uri: String,
    /// Its digests by algorithm; hexadecimal.
    pub digest: BTreeMap<String, String>,
    /// What kind of bytes it is.
    pub media_type: String,
    /// Where to get it, if not at its URI.
    pub download_location: String,
    /// What else is said of it.
    pub annotations: BTreeMap<String, Value>,
    /// The thing itself, if it is small.
    pub content: Option<Vec<u8>>,
}

impl Resource {
    /// A resource of which no more is known than its address.
    #[must_use]
    pub fn at(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), ..Self::default() }
    }

    /// Whether it names anything at all: it has an address, a digest, or its bytes.
    #[must_use]
    pub fn names_something(&self) -> bool {
        !self.uri.is_empty() || !self.digest.is_empty() || self.content.is_some()
    }

    /// Whether this is the resource of a digest: the same algorithm and the same bytes, hexadecimal of either case.
    #[must_use]
    pub fn matches(&self, digest: &countersign_crypto::Digest) -> bool {
        let found = self.digest.get(digest.algorithm().name());
        found.is_some_and(|found| found.eq_ignore_ascii_case(&digest.to_hex()))
    }
}

/// That each of a list names something.
pub(super) fn check(path: &str, resources: &[Resource]) -> Result<(), JsonError> {
    match resources.iter().position(|resource| !resource.names_something()) {
        None => Ok(()),
        Some(at) => Err(JsonError::Shape(format!(
            "{path}[{at}]: expected one of uri, digest and content, found none"
        ))),
    }
}

/// A list of resources as it is read and written.
pub(super) type Resources<const N: usize> = Bounded<Resource, N>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireResource {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    uri: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_members")]
    digest: UniqueMap<String, MAX_DIGESTS>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    content: Option<Base64>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    download_location: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_members")]
    annotations: UniqueMap<UniqueValue, MAX_ANNOTATIONS>,
}

impl From<WireResource> for Resource {
    fn from(wire: WireResource) -> Self {
        Self {
            name: wire.name,
            uri: wire.uri,
            digest: wire.digest.0,
            media_type: wire.media_type,
            download_location: wire.download_location,
            annotations: wire.annotations.0.into_iter().map(|(name, value)| (name, value.0)).collect(),
            content: wire.content.map(|content| content.0),
        }
    }
}

impl From<Resource> for WireResource {
    fn from(own: Resource) -> Self {
        let annotations = own.annotations.into_iter().map(|(name, value)| (name, UniqueValue(value)));
        Self {
            name: own.name,
            uri: own.uri,
            digest: UniqueMap(own.digest),
            content: own.content.map(Base64),
            download_location: own.download_location,
            media_type: own.media_type,
            annotations: UniqueMap(annotations.collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::HashAlgorithm;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_absent_is_not_written() {
        let text = concat!(
            r#"{"name":"a","uri":"u","digest":{"sha256":"00"},"content":"aGk=","downloadLocation":"d","#,
            r#""mediaType":"m","annotations":{"k":[1]}}"#
        );
        let read: Resource = serde_json::from_str(text).unwrap();
        assert_eq!(read.content.as_deref(), Some(&b"hi"[..]));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(serde_json::to_string(&Resource::at("u")).unwrap(), r#"{"uri":"u"}"#);
        for bad in [
            r#"{"digest":{"a":"1","a":"1"}}"#,
            r#"{"content":"a"}"#,
            r#"{"uri":1}"#,
            r#"{"annotations":{"a":{"b":1,"b":2}}}"#,
            "\"u\"",
        ] {
            assert!(serde_json::from_str::<Resource>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_resource_is_named_by_address_digest_or_bytes_and_matched_by_digest_alone() {
        let digest = HashAlgorithm::Sha256.digest(b"x");
        let mut own = Resource { name: "x".into(), ..Resource::default() };
        assert!(
            check("list", &[Resource::at("u"), own.clone()]).unwrap_err().to_string().contains("list[1]")
        );
        assert!(!own.matches(&digest));
        own.digest.insert("sha256".into(), digest.to_hex().to_uppercase());
        assert!(own.matches(&digest) && check("list", &[own]).is_ok());
        assert!(Resource { content: Some(Vec::new()), ..Resource::default() }.names_something());
    }
}
