//! Something that was refused: why, and what was expected and found.

use crate::Reason;

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What would have been accepted.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, expected: expected.into(), found: found.into() }
    }
}
