//! Reviews: whether somebody else than who wrote a change approved of it.

use std::collections::BTreeSet;

use countersign_attestation::predicate::code_review::{CodeReview, Opinion, spelled};
use countersign_attestation::predicate::small::Predicate as _;
use countersign_http::text::printable;
use countersign_slsa::git::same_repository;
use jiff::SignedDuration;

use super::{Target, Verdict, deciding, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;

/// How many people one message names.
const MAX_NAMED: usize = 5;

/// What a review must be.
#[derive(Debug, Clone)]
pub struct ReviewRule {
    /// Whose word on who reviewed counts.
    pub by: Vec<Authority>,
    /// How old the statement may be.
    pub max_age: Option<SignedDuration>,
    /// How many must have approved who wrote none of it; at least one.
    pub approvals: usize,
    /// The repository of the change, if it is known.
    pub repository: Option<String>,
}

impl ReviewRule {
    /// Whether so many others than the authors approved, by the newest word of each signer, and nobody's is against it.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn judge(&self, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let types: Vec<String> = CodeReview::TYPES.iter().map(|kind| (*kind).to_owned()).collect();
        let trusted = ask.statements(target, &self.by, &types)?;
        let current = match trusted.current("a review", self.max_age, ask.now(), |_| ()) {
            Ok(current) => current,
            Err(verdict) => return Ok(verdict),
        };
        let mut reviews = Vec::new();
        for fact in &current {
            match self.read(fact) {
                Ok(review) => reviews.push((fact.verified.signer(), review)),
                Err((reason, text)) => return Ok(Verdict::fail(reason, text, deciding([*fact]))),
            }
        }
        // Who is an author by anybody's word is one.
        let authors: BTreeSet<String> = reviews
            .iter()
            .flat_map(|(_, review)| review.authors.iter().map(|author| spelled(&author.id)))
            .collect();
        let approved: BTreeSet<String> = reviews
            .iter()
            .flat_map(|(by, review)| review.approved_by(by.identity().unwrap_or_default()))
            .map(spelled)
            .filter(|name| !name.is_empty() && !authors.contains(name))
            .collect();
        let listed = |names: &BTreeSet<String>| {
            let named: Vec<String> = names.iter().take(MAX_NAMED).map(|name| printable(name)).collect();
            if named.is_empty() { "nobody".to_owned() } else { named.join(", ") }
        };
        if approved.len() >= self.approvals {
            return Ok(Verdict::pass(format!("approved by {}", listed(&approved)), deciding(current)));
        }
        let text = format!(
            "expected the approval of {} who did not write it, found {}; it was written by {}",
            self.approvals,
            listed(&approved),
            listed(&authors),
        );
        Ok(Verdict::fail("not_approved", text, deciding(current)))
    }
}

impl ReviewRule {
    /// A review of this repository that is not against it.
    ///
    /// # Errors
    /// The reason, and in words why not.
    fn read(&self, fact: &Fact) -> Result<CodeReview, (&'static str, String)> {
        let by = signer(fact);
        let review = predicate(fact)
            .and_then(|(kind, text)| CodeReview::from_json(kind, text).map_err(|e| e.to_string()))
            .map_err(|why| {
                let text = format!("the review signed by {by} cannot be read: {}", printable(&why));
                ("unreadable_review", text)
            })?;
        if let Some(wanted) = &self.repository
            && !same_repository(wanted, &review.repository)
        {
            let found = printable(&review.repository);
            return Err((
                "review_of_other",
                format!("expected a review of a change of {wanted}, found one by {by} of {found}"),
            ));
        }
        if review.verdict == Opinion::Approved {
            return Ok(review);
        }
        Err(("not_approved", format!("expected a review that approves, found one by {by} that does not")))
    }
}
