//! Statements of reviewers: this revision, for this branch of this repository, is approved or is not. Who reviewed is who signed.

use countersign_attestation::JsonError;
use countersign_attestation::json;
use serde::Deserialize;
use serde_json::{Value, json};

/// The type of the predicate.
pub const REVIEW_TYPE: &str = "https://countersign.dev/code-review/v1";
/// The largest predicate read, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// What a reviewer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReviewVerdict {
    /// Yes.
    Approved,
    /// No.
    Rejected,
}

/// A verified review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The person who signed it.
    pub by: String,
    /// The revision.
    pub commit: String,
    /// The repository.
    pub repository: String,
    /// The branch that it may go into.
    pub branch: String,
    /// Yes or no.
    pub verdict: ReviewVerdict,
}

#[derive(Deserialize)]
struct Wire {
    repository: String,
    branch: String,
    verdict: ReviewVerdict,
}

impl Review {
    /// Reads the predicate of a statement on a commit that this person signed.
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing or of another type.
    pub fn from_json(text: &str, commit: &str, by: &str) -> Result<Self, JsonError> {
        let wire: Wire = json::from_slice(text.as_bytes(), MAX_LEN)?;
        Ok(Self {
            by: by.to_owned(),
            commit: commit.to_owned(),
            repository: wire.repository,
            branch: wire.branch,
            verdict: wire.verdict,
        })
    }

    /// The predicate of a review.
    #[must_use]
    pub fn predicate(repository: &str, branch: &str, approved: bool, comment: &str) -> Value {
        let verdict = if approved { "approved" } else { "rejected" };
        json!({ "repository": repository, "branch": branch, "verdict": verdict, "comment": comment })
    }
}
