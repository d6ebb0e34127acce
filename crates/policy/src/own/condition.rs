//! Conditions over statements.

use std::fmt;

use serde_json::Value;

/// What must hold of a statement.
#[derive(Debug)]
pub(super) struct Condition {
    text: String,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        Err(format!("expected no conditions, which are not read yet, found {text}"))
    }

    /// Whether it holds with these variables.
    ///
    /// # Errors
    /// In words, why that cannot be told.
    pub(super) fn holds(&self, variables: &[(&str, Value)]) -> Result<bool, String> {
        Err(format!("{} {}", self.text, variables.len()))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
