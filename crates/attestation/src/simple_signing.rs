//! Simple signing: cosign's older payload for images. It names the image by its digest, and is what the signature
//! covers; the image itself is never signed.

use std::collections::BTreeMap;

use countersign_crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::json::{self, JsonError, UniqueMap};

/// The largest payload read, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 1024 * 1024;
/// The most members of `optional`.
pub const MAX_OPTIONAL: usize = 256;
/// What stands in `critical.type`.
pub const SIGNATURE_TYPE: &str = "cosign container image signature";
/// The media type of the layer which holds a payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What a simple signature says.
///
/// ```
/// use countersign_attestation::SimpleSigning;
/// use countersign_crypto::HashAlgorithm;
/// let own = SimpleSigning {
///     docker_reference: "registry.example/app".into(),
///     digest: HashAlgorithm::Sha256.digest(b"a manifest"),
///     optional: Default::default(),
/// };
/// assert_eq!(SimpleSigning::from_json(&own.to_json()?)?, own);
/// # Ok::<(), countersign_attestation::JsonError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleSigning {
    /// Where the signer says the image lives. Signed, and yet no identity: an image is its digest. May be empty.
    pub docker_reference: String,
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// Further facts, such as cosign's `-a key=value`.
    pub optional: BTreeMap<String, Value>,
}

impl SimpleSigning {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`JsonError`]: limits, another `type`, a digest that is not SHA-256 in small hexadecimal letters, members
    /// missing, given twice, of another type, or unknown outside `optional`: what is critical must be understood.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonError> {
        let wire: Wire = json::from_slice(bytes, MAX_PAYLOAD_LEN)?;
        let critical = wire.critical;
        if critical.kind != SIGNATURE_TYPE {
            let found = critical.kind;
            let text = format!("critical.type: expected \"{SIGNATURE_TYPE}\", found \"{found}\"");
            return Err(JsonError::Shape(text));
        }
        let text = critical.image.docker_manifest_digest;
        let digest = Digest::parse(&text)
            .ok()
            .filter(|d| d.algorithm() == HashAlgorithm::Sha256 && d.to_string() == text)
            .ok_or_else(|| {
                JsonError::Shape(format!(
                    "critical.image.docker-manifest-digest: expected sha256:<64 hexadecimal digits>, found \"{text}\""
                ))
            })?;
        Ok(Self {
            docker_reference: critical.identity.docker_reference,
            digest,
            optional: wire.optional.unwrap_or_default().0,
        })
    }

    /// Writes the payload byte for byte as cosign does: no white space, names in `optional` in their order, `null`
    /// when there are none, and the characters `<`, `>`, `&` escaped.
    ///
    /// # Errors
    /// [`JsonError`] when it is over the limits of [`SimpleSigning::from_json`].
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        let optional =
            if self.optional.is_empty() { Value::Null } else { serde_json::to_value(&self.optional)? };
        let text = format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":{}}},\"image\":{{\"docker-manifest-digest\":\"{}\"}},\
             \"type\":\"{SIGNATURE_TYPE}\"}},\"optional\":{optional}}}",
            Value::from(self.docker_reference.as_str()),
            self.digest,
        );
        let bytes = escape(&text).into_bytes();
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

/// The escapes which Go's writer adds so that JSON can stand in a web page. These characters occur in strings only.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    critical: Critical,
    #[serde(default, deserialize_with = "nullable")]
    optional: Option<UniqueMap<Value, MAX_OPTIONAL>>,
}

fn nullable<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<UniqueMap<Value, MAX_OPTIONAL>>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn good() -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.example/app"}},"image":{{"docker-manifest-digest":"sha256:{HEX}"}},"type":"cosign container image signature"}},"optional":{{"commit":"abc"}}}}"#
        )
    }

    #[test]
    fn the_writer_gives_the_bytes_cosign_gives() {
        let mut own = SimpleSigning::from_json(good().as_bytes()).unwrap();
        assert_eq!(own.optional["commit"], "abc");
        assert_eq!(own.to_json().unwrap(), good().as_bytes());
        own.optional.clear();
        let none = String::from_utf8(own.to_json().unwrap()).unwrap();
        assert!(none.ends_with(r#""type":"cosign container image signature"},"optional":null}"#), "{none}");
        own.optional.insert("a".into(), "<&>".into());
        let escaped = String::from_utf8(own.to_json().unwrap()).unwrap();
        assert!(escaped.ends_with(r#""optional":{"a":"\u003c\u0026\u003e"}}"#), "{escaped}");
        assert_eq!(SimpleSigning::from_json(escaped.as_bytes()).unwrap(), own);
    }

    #[test]
    fn whatever_is_critical_and_not_understood_is_refused() {
        for (from, to) in [
            ("cosign container image signature", "atomic container signature"),
            ("\"type\":\"cosign container image signature\"", "\"type\":\"\""),
            (",\"type\":\"cosign container image signature\"", ""),
            ("\"docker-reference\":\"r.example/app\"", ""),
            ("\"docker-reference\":\"r.example/app\"", "\"docker-reference\":null"),
            ("\"docker-reference\":\"r.example/app\"", "\"docker-reference\":\"a\",\"more\":1"),
            ("\"type\"", "\"expires\":1,\"type\""),
            ("\"optional\"", "\"required\":{},\"optional\""),
            ("\"docker-manifest-digest\"", "\"docker-manifest-digest\":\"\",\"docker-manifest-digest\""),
            ("{\"commit\":\"abc\"}", "{\"commit\":\"abc\",\"commit\":\"def\"}"),
            ("{\"commit\":\"abc\"}", "[]"),
            ("sha256:9f", "sha256:9F"),
            ("sha256:9f", "sha256:"),
            ("sha256:9f", "sha512:9f"),
            ("sha256:9f", "9f"),
        ] {
            assert!(good().contains(from), "{from}");
            assert!(SimpleSigning::from_json(good().replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(SimpleSigning::from_json(format!("{} {{}}", good()).as_bytes()).is_err(), "more behind it");
        for junk in ["", "null", "[]", "{}", "hello"] {
            assert!(SimpleSigning::from_json(junk.as_bytes()).is_err(), "{junk}");
        }
    }

    #[test]
    fn v16_a_payload_over_the_limit_is_refused_unread() {
        let long = good().replace("abc", &"a".repeat(MAX_PAYLOAD_LEN));
        assert!(matches!(SimpleSigning::from_json(long.as_bytes()), Err(JsonError::TooLarge { .. })));
    }

    #[test]
    fn optional_may_be_null_or_absent() {
        let null = good().replace("{\"commit\":\"abc\"}", "null");
        assert!(SimpleSigning::from_json(null.as_bytes()).unwrap().optional.is_empty());
        let absent = good().replace(",\"optional\":{\"commit\":\"abc\"}", "");
        assert!(SimpleSigning::from_json(absent.as_bytes()).unwrap().optional.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(docker_reference in ".*", key in ".*", value in ".*") {
            let digest = HashAlgorithm::Sha256.digest(key.as_bytes());
            let own = SimpleSigning { docker_reference, digest, optional: [(key, value.into())].into() };
            prop_assert_eq!(SimpleSigning::from_json(&own.to_json().unwrap()).unwrap(), own);
        }
    }
}
