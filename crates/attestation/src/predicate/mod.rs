//! Predicates: what is said in a statement. [`registry`] knows them by name and type; [`wrap`] makes of a file what cosign
//! makes of it before it signs.
//!
//! | module | predicate |
//! |---|---|
//! | [`registry`] | which there are, in which versions, by which names |
//! | [`provenance`] | SLSA provenance v0.1, v0.2, v1 |
//! | [`vsa`], [`levels`] | summaries of verification, and the words for levels in them |
//! | [`svr`] | simple verification results |
//! | [`vulnerabilities`] | vulnerability scans: cosign's, in-toto's |
//! | [`scan_document`] | scanners' reports as files, and without what VEX clears |
//! | [`openvex`], [`triage`] | OpenVEX, and which statement holds for a finding |
//! | [`sbom`] | CycloneDX and SPDX, as far as it takes to judge them |
//! | [`link`], [`scai`], [`test_result`], [`release`], [`runtime_trace`], [`reference`](mod@reference) | in-toto's others |
//! | [`code_review`], [`sarif`] | our own: reviews, and what any tool found |
//! | [`resource`], [`small`] | what they have in common |

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::json::{self, JsonError};
use crate::statement::MAX_STATEMENT_LEN;

pub mod code_review;
pub mod levels;
pub mod link;
pub mod openvex;
pub mod provenance;
pub mod reference;
pub mod registry;
pub mod release;
pub mod resource;
pub mod runtime_trace;
pub mod sarif;
pub mod sbom;
pub mod scai;
pub mod scan_document;
mod scan_result;
pub mod small;
pub mod svr;
pub mod test_result;
pub mod triage;
pub mod vsa;
pub mod vulnerabilities;

pub use registry::{CUSTOM, names};

/// The predicate type behind a name, or the URI itself; `None` for what is neither.
///
/// ```
/// use countersign_attestation::predicate;
/// assert_eq!(predicate::type_of("spdxjson"), Some("https://spdx.dev/Document"));
/// assert_eq!(predicate::type_of("https://example.com/p"), Some("https://example.com/p"));
/// assert_eq!(predicate::type_of("spx"), None);
/// ```
#[must_use]
pub fn type_of(name: &str) -> Option<&str> {
    registry::named(name).or_else(|| is_uri(name).then_some(name))
}

/// A scheme, a colon, and something behind it without white space.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let word = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(word)
        && !rest.is_empty()
        && !rest.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// What a file becomes as predicate of this type, by cosign's rules: `custom` is any text with the time, `spdx` the
/// text as a string, everything else the JSON object it is. `time` is RFC 3339.
///
/// # Errors
/// [`JsonError`]: limits, and what must be a JSON object and is none.
pub fn wrap(name: &str, text: &str, time: &str) -> Result<Box<RawValue>, JsonError> {
    if text.len() > MAX_STATEMENT_LEN {
        return Err(JsonError::TooLarge { limit: MAX_STATEMENT_LEN, found: text.len() });
    }
    let wrapped = match type_of(name) {
        Some(CUSTOM) => json!({ "Data": text, "Timestamp": time }),
        _ if name == "spdx" => Value::from(text),
        _ => {
            let text = text.trim();
            json::check(text.as_bytes(), MAX_STATEMENT_LEN)?;
            if !text.starts_with('{') {
                return Err(JsonError::Shape("a predicate of this type is a JSON object".into()));
            }
            return Ok(serde_json::from_str(text)?);
        }
    };
    Ok(serde_json::value::to_raw_value(&wrapped)?)
}

/// Reads a predicate into its type, with the path of what is wrong.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    json::check(text.as_bytes(), MAX_STATEMENT_LEN)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|e| JsonError::Shape(format!("{}: {}", e.path(), e.inner())))?;
    deserializer.end()?;
    Ok(value)
}

/// A time, RFC 3339. Go's zero time is what its programs write for none.
fn time(path: &str, text: &str) -> Result<Option<Timestamp>, JsonError> {
    let time: Timestamp = text.trim().parse().map_err(|e| {
        JsonError::Shape(format!("{path}: expected a time (RFC 3339), found \"{text}\": {e}"))
    })?;
    Ok(Some(time).filter(|_| !text.trim().starts_with("0001-01-01T00:00:00")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_uris_are_types_and_nothing_else_is() {
        for (name, uri) in registry::KINDS.iter().flat_map(|kind| kind.names) {
            let (name, uri) = (*name, *uri);
            assert_eq!(type_of(name), Some(uri));
            assert_eq!(type_of(uri), Some(uri));
        }
        for bad in ["", "SPDX", "spdx ", ":", "x:", "1a:b", "https://a b"] {
            assert_eq!(type_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_are_wrapped_as_cosign_wraps_them() {
        let wrapped = |name, text| wrap(name, text, "2026-01-01T00:00:00Z").map(|raw| raw.get().to_owned());
        let custom = r#"{"Data":"any \"text\"","Timestamp":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(wrapped("custom", "any \"text\"").unwrap(), custom);
        assert_eq!(wrapped(CUSTOM, "any \"text\"").unwrap(), custom);
        assert_eq!(wrapped("spdx", "SPDXVersion: 2").unwrap(), "\"SPDXVersion: 2\"");
        assert_eq!(wrapped("spdxjson", " {\"a\": 1.0}\n").unwrap(), "{\"a\": 1.0}", "its spelling is kept");
        for bad in ["", "[]", "1", "text", "{", "{} {}"] {
            assert!(wrapped("spdxjson", bad).is_err(), "{bad}");
            assert!(wrapped("https://example.com/p", bad).is_err(), "{bad}");
        }
        assert!(wrapped("cyclonedx", &"[".repeat(1000)).is_err());
    }
}
