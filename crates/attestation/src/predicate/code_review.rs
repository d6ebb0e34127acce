//! Code reviews: that somebody looked at a change, and what they came to. No specification has a predicate for this; the type
//! is our own, about a commit as subject (`gitCommit`). Whoever signs is the reviewer, unless the predicate names others, which
//! is what a place does that keeps the reviews of many.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::small::{self, Predicate, filled, whenever};
use crate::json::JsonError;

/// The type.
pub const TYPE: &str = "https://countersign.dev/code-review/v1";

/// Somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// By what the place that knows them tells them apart: an address, an account.
    pub id: String,
}

/// What the reviewers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opinion {
    /// The change may go in.
    Approved,
    /// It may not.
    Rejected,
}

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeReview {
    /// The repository of the change.
    pub repository: String,
    /// Where the change is to go: `refs/heads/main`; empty for anywhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// What they came to.
    pub verdict: Opinion,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Who wrote the change, as far as it is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub authors: Vec<Person>,
    /// Who looked at it, if not whoever signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub reviewers: Vec<Person>,
    /// When.
    #[serde(default, with = "whenever", skip_serializing_if = "Option::is_none")]
    pub reviewed_on: Option<Timestamp>,
}

impl CodeReview {
    /// Those who approved of the change and wrote none of it, where `signer` signed this: whoever approves of their own work,
    /// or is the same by another spelling of the letters, is not one of them. Where nobody says who wrote it, nobody can tell,
    /// and there are none.
    #[must_use]
    pub fn approved_by<'a>(&'a self, signer: &'a str) -> Vec<&'a str> {
        if self.verdict != Opinion::Approved || self.authors.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<&str> = self.reviewers.iter().map(|person| person.id.as_str()).collect();
        if all.is_empty() {
            all.push(signer);
        }
        let mut others: Vec<&str> = Vec::new();
        for one in all {
            let same = |other: &str| spelled(other) == spelled(one);
            if !self.authors.iter().any(|author| same(&author.id)) && !others.iter().any(|other| same(other))
            {
                others.push(one);
            }
        }
        others
    }
}

/// Somebody's name in one spelling: in small letters, and of `Ann <ann@example.com>`, as git has it, the address alone.
///
/// ```
/// use countersign_attestation::predicate::code_review::spelled;
/// assert_eq!(spelled("Ann <Ann@Example.com>"), spelled(" ann@example.com"));
/// ```
#[must_use]
pub fn spelled(name: &str) -> String {
    let address =
        name.trim().strip_suffix('>').and_then(|name| name.rsplit_once('<')).map(|(_, address)| address);
    address.filter(|address| !address.trim().is_empty()).unwrap_or(name).trim().to_lowercase()
}

impl Predicate for CodeReview {
    const TYPES: &'static [&'static str] = &[TYPE];

    fn check(&self) -> Result<(), JsonError> {
        filled("repository", &self.repository)?;
        if !self.branch.is_empty() && !self.branch.starts_with("refs/") {
            let text =
                format!("branch: expected a whole name such as refs/heads/main, found {:?}", self.branch);
            return Err(JsonError::Shape(text));
        }
        self.authors.iter().try_for_each(|author| filled("authors[].id", &author.id))?;
        self.reviewers.iter().try_for_each(|reviewer| filled("reviewers[].id", &reviewer.id))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::small::tests::refused;
    use super::*;

    fn review() -> Value {
        json!({ "repository": "https://git.example/shop", "branch": "refs/heads/main", "verdict": "approved",
            "authors": [{ "id": "ann@example.com" }], "reviewers": [{ "id": "bob@example.com" }],
            "reviewedOn": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn a_review_is_read_and_each_defect_alone_refuses_it() {
        refused::<CodeReview>(
            &review(),
            &[
                ("/repository", json!(""), "repository"),
                ("/branch", json!("main"), "refs/heads/main"),
                ("/verdict", json!("APPROVED"), "verdict"),
                ("/verdict", Value::Null, "verdict"),
                ("/authors/0/id", json!(""), "authors[].id"),
                ("/reviewers/0", json!({}), "id"),
                ("/reviewers/0/id", json!(" "), "reviewers[].id"),
                ("/reviewedOn", json!("today"), "reviewedOn"),
            ],
        );
    }

    #[test]
    fn only_somebody_else_than_the_author_approves() {
        let approved = |change: fn(&mut CodeReview), signer: &str| {
            let mut own = CodeReview::from_json(TYPE, &review().to_string()).unwrap();
            change(&mut own);
            own.approved_by(signer).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(approved(|_| {}, "ci"), ["bob@example.com"], "the place that signs is no reviewer");
        assert_eq!(approved(|own| own.reviewers.clear(), "eve"), ["eve"]);
        let twice: fn(&mut CodeReview) = |own| own.reviewers.push(Person { id: " BOB@example.com".into() });
        assert_eq!(approved(twice, "ci").len(), 1, "one person counts once");
        type Change = fn(&mut CodeReview);
        let refusals: [(Change, &str); 6] = [
            (|own| own.verdict = Opinion::Rejected, "eve"),
            (|own| own.authors.clear(), "eve"),
            (|own| own.reviewers.clear(), "Ann@Example.com"),
            (|own| own.reviewers[0].id = "ANN@example.com ".into(), "eve"),
            (|own| own.reviewers[0].id = "Ann A. <ann@example.com>".into(), "eve"),
            (
                |own| {
                    own.authors[0].id = "Ann <Ann@example.com> ".into();
                    own.reviewers.clear();
                },
                "ann@example.com",
            ),
        ];
        for (change, signer) in refusals {
            assert_eq!(approved(change, signer), [""; 0]);
        }
    }
}
