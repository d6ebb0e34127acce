//! Conditions over statements, in CEL.

use std::fmt;

use crate::cel::{Program, Variables};

/// What a condition may speak of.
const NAMES: [&str; 5] = ["predicate", "signer", "image", "artifact", "signedAt"];

/// What must hold of a statement.
#[derive(Debug)]
pub(super) struct Condition(Program);

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let program = Program::compile(text).map_err(|e| e.to_string())?;
        if let Some(name) = program.names().into_iter().find(|name| !NAMES.contains(name)) {
            return Err(format!("expected the names {}, found {name}", NAMES.join(", ")));
        }
        Ok(Self(program))
    }

    /// Whether it holds with these variables.
    ///
    /// # Errors
    /// In words, why that cannot be told.
    pub(super) fn holds(&self, variables: &Variables) -> Result<bool, String> {
        self.0.holds(variables).map_err(|e| e.to_string())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.text())
    }
}
