//! Reviews of revisions, by the person who signed each. What a predicate says of other reviewers is nobody's signature.

use countersign_attestation::JsonError;
use countersign_attestation::predicate::code_review::{CodeReview, Opinion};
use countersign_attestation::predicate::small::Predicate as _;

use crate::signed::Signed;

/// A verified review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The person who signed it.
    pub by: String,
    /// The revision.
    pub commit: String,
    /// What they say of it.
    pub said: CodeReview,
}

impl Review {
    /// The review of a commit in a statement that this person signed; `None` for a statement on something else.
    ///
    /// # Errors
    /// [`JsonError`] for a review that cannot be read.
    pub fn of(signed: &Signed, commit: &str, by: &str) -> Result<Option<Self>, JsonError> {
        let kind = signed.statement.predicate_type.as_str();
        if !CodeReview::TYPES.contains(&kind) || !signed.is_about("gitCommit", commit) {
            return Ok(None);
        }
        let said = CodeReview::from_json(kind, signed.predicate())?;
        Ok(Some(Self { by: by.to_owned(), commit: commit.to_owned(), said }))
    }

    /// Whether it is of this branch of this repository. One that names no branch is of none: what is right for one may be wrong for
    /// another.
    pub(super) fn is_for(&self, commit: &str, branch: &str, repository: &str) -> bool {
        self.commit == commit && self.said.branch == branch && self.said.repository == repository
    }

    /// Whether it approves.
    pub(super) fn approves(&self) -> bool {
        self.said.verdict == Opinion::Approved
    }
}
