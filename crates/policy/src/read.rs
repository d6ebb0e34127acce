//! Reading policies: an error names the field it is about.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The path of the document itself.
const DOCUMENT: &str = "document";

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ReadError {
    /// The field: `spec.rules[0].verifyImages[0].type`.
    pub path: String,
    /// What was expected, what was found, what to write.
    pub message: String,
}

impl ReadError {
    /// An error of a field.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same, further in: of a part that was read by itself.
    #[must_use]
    pub fn within(self, path: &str) -> Self {
        let path = match self.path.as_str() {
            DOCUMENT => path.to_owned(),
            own if own.starts_with('[') => format!("{path}{own}"),
            own => format!("{path}.{own}"),
        };
        Self { path, ..self }
    }
}

/// A value as a type, with the path of the field that does not fit.
///
/// # Errors
/// [`ReadError`].
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => DOCUMENT.to_owned(),
            path => path,
        };
        ReadError::new(path, error.inner().to_string())
    })
}
