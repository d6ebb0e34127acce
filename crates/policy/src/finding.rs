//! What came of asking whether somebody signed an image, or says something of it. The languages make their answers of
//! these.

use std::sync::Arc;

use countersign_crypto::Digest;
use countersign_registry::Reference;
use serde_json::Value;

use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::{Fact, Judgement, What};
use crate::judge_notary::NotaryDocument;
use crate::question::CouldNot;
use crate::statements::Target;

/// What came of asking for something.
#[derive(Debug, Clone)]
pub(crate) enum Finding<F> {
    /// It is there: what was verified, and can be looked at.
    Holds(Vec<F>),
    /// It is not.
    No(Why),
    /// It could not be checked.
    CouldNot(CouldNot),
    /// A question is open. It was noted.
    Open,
}

/// Why not.
#[derive(Debug, Clone)]
pub(crate) struct Why {
    /// The stable code.
    pub(crate) reason: String,
    /// In words.
    pub(crate) text: String,
}

impl Why {
    pub(crate) fn new(reason: &str, text: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), text: text.into() }
    }
}

impl<F> From<Stop> for Finding<F> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Open => Self::Open,
            Stop::CouldNot(could_not) => Self::CouldNot(could_not),
        }
    }
}

impl<F> Finding<F> {
    /// Both: a no is final, what could not be checked outweighs what is open, and all must hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Holds(mut facts), Self::Holds(others)) => {
                facts.extend(others);
                Self::Holds(facts)
            }
            (no @ Self::No(_), _) | (_, no @ Self::No(_)) => no,
            (could_not @ Self::CouldNot(_), _) | (_, could_not @ Self::CouldNot(_)) => could_not,
            (Self::Open, _) | (_, Self::Open) => Self::Open,
        }
    }

    /// The same with what holds in another form.
    pub(crate) fn map<T>(self, into: impl FnMut(F) -> T) -> Finding<T> {
        match self {
            Self::Holds(facts) => Finding::Holds(facts.into_iter().map(into).collect()),
            Self::No(why) => Finding::No(why),
            Self::CouldNot(could_not) => Finding::CouldNot(could_not),
            Self::Open => Finding::Open,
        }
    }
}

/// What was verified, by either engine.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// A signature or a statement.
    Fact(Fact),
    /// A document under a signature of the Notary Project.
    Document(NotaryDocument),
}

impl Held {
    /// Who signed, by name.
    pub(crate) fn signer(&self) -> Option<&str> {
        match self {
            Self::Fact(fact) => fact.verified.signer().identity(),
            Self::Document(_) => None,
        }
    }

    /// The digest of the document it is in.
    pub(crate) const fn evidence(&self) -> Digest {
        match self {
            Self::Fact(fact) => fact.evidence,
            Self::Document(document) => document.manifest,
        }
    }

    /// What it says.
    pub(crate) fn predicate(&self) -> Result<Value, String> {
        match self {
            Self::Fact(fact) => predicate(fact),
            Self::Document(document) => document.json(),
        }
    }
}

impl Ask<'_> {
    /// What an authority of either kind signed of an image. Of signatures of the Notary Project there is nothing to look
    /// at.
    pub(crate) fn find_signed(&self, image: &Reference, authority: &Authority) -> Finding<Held> {
        if !authority.is_of_notary() {
            return self.find(image, authority, &What::Signature).map(Held::Fact);
        }
        match self.judge_notary(image, authority) {
            Err(stop) => stop.into(),
            Ok(judgement) if judgement.holds() => Finding::Holds(Vec::new()),
            Ok(judgement) => Finding::No(judgement.why(authority)),
        }
    }

    /// What an authority of either kind said of an image: statements of this type; of the Notary Project documents of
    /// this artifact type.
    pub(crate) fn find_said(&self, image: &Reference, authority: &Authority, kind: &str) -> Finding<Held> {
        if !authority.is_of_notary() {
            return self.find(image, authority, &What::Statement(vec![kind.to_owned()])).map(Held::Fact);
        }
        match self.notary_documents(image, authority, kind) {
            Ok(found) => found.map(Held::Document),
            Err(stop) => stop.into(),
        }
    }

    /// What an authority signed of an image, or said of it.
    pub(crate) fn find(&self, image: &Reference, authority: &Authority, what: &What) -> Finding<Fact> {
        found(self.judge(image, authority, what), authority, what)
    }

    /// The same of what is known by its digest: an image, or a file.
    pub(crate) fn find_target(&self, target: &Target, authority: &Authority, what: &What) -> Finding<Fact> {
        found(self.judge_target(target, authority, what), authority, what)
    }

    /// All of it, which is more than one that is enough.
    pub(crate) fn find_all(&self, target: &Target, authority: &Authority, what: &What) -> Finding<Fact> {
        found(self.judge_all(target, authority, what), authority, what)
    }
}

/// What a judgement comes to.
fn found(judged: Result<Arc<Judgement>, Stop>, authority: &Authority, what: &What) -> Finding<Fact> {
    let judgement = match judged {
        Err(stop) => return stop.into(),
        Ok(judgement) => judgement,
    };
    if judgement.holds() {
        return Finding::Holds(judgement.facts.clone());
    }
    let Some(rejection) = judgement.rejection() else {
        return Finding::No(Why::new("internal", "a judgement with neither a fact nor a refusal"));
    };
    let kind = match what {
        What::Signature => "a signature".to_owned(),
        What::Statement(types) => format!("a statement of type {}", types.join(" or ")),
    };
    let mut text = format!("expected {kind} by {}: {rejection}", authority.name);
    if !judgement.passed_over.is_empty() {
        let others: Vec<&str> = judgement.passed_over.iter().map(String::as_str).collect();
        text.push_str(&format!(" (of other types there is {})", others.join(", ")));
    }
    Finding::No(Why::new(rejection.reason.code(), text))
}

/// The predicate of a verified statement.
///
/// # Errors
/// In words, why there is none.
pub(crate) fn predicate(fact: &Fact) -> Result<Value, String> {
    let statement = fact.verified.statement().ok_or("expected a statement, found a signature")?;
    let Some(predicate) = &statement.predicate else { return Ok(Value::Null) };
    serde_json::from_str(predicate.get()).map_err(|e| format!("the predicate: {e}"))
}
