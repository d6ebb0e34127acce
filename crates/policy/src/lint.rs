//! What a reader of a policy should know about it, though it can be used as it is.

/// A remark on a policy: mostly that the language's own engine reads something more loosely than it is read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Where: `spec.rules[0].verifyImages[0].attestors[0]`.
    pub path: String,
    /// A stable name, in snake case.
    pub code: &'static str,
    /// For people: what is done here, and what to write for something else.
    pub message: String,
}

impl Lint {
    /// A remark.
    #[must_use]
    pub fn new(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), code, message: message.into() }
    }
}
