//! Small pieces of protobuf JSON used by several documents.

use countersign_attestation::json::{self, Base64};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BundleError, ValidFor, shape};

/// `{"rawBytes": …}`: a certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawBytes {
    #[serde(alias = "raw_bytes")]
    pub(crate) raw_bytes: Base64,
}

impl RawBytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { raw_bytes: Base64(bytes.to_vec()) }
    }
}

/// `{"keyId": …}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogId {
    #[serde(alias = "key_id", default, deserialize_with = "json::null_is_default")]
    pub(crate) key_id: Base64,
}

/// `{"start": …, "end": …}` as text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireTimeRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<String>,
}

/// Reads an RFC 3339 time, as protobuf writes it.
fn time(text: &str, what: &str) -> Result<Timestamp, BundleError> {
    let wrong = || shape(format!("{what}: expected a time such as 2024-01-01T00:00:00Z, found \"{text}\""));
    // jiff reads more than RFC 3339; the shape is checked so that one text has one meaning.
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.get(10) != Some(&b'T') || !text.is_ascii() {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

impl WireTimeRange {
    /// The interval; `start` is required.
    pub(crate) fn read(&self, what: &str) -> Result<ValidFor, BundleError> {
        let start = self
            .start
            .as_deref()
            .ok_or_else(|| shape(format!("{what}: validFor.start is required and was not found")))?;
        let start = time(start, &format!("{what}: validFor.start"))?;
        let end = self.end.as_deref().map(|t| time(t, &format!("{what}: validFor.end"))).transpose()?;
        if end.is_some_and(|end| end < start) {
            return Err(shape(format!("{what}: validFor ends before it starts")));
        }
        Ok(ValidFor { start, end })
    }
}

impl From<&ValidFor> for WireTimeRange {
    fn from(valid: &ValidFor) -> Self {
        Self { start: Some(valid.start.to_string()), end: valid.end.map(|t| t.to_string()) }
    }
}
