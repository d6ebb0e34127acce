//! `verifyImages` over an image: who signed it, what is said of it, and what follows.

use std::sync::Arc;

use countersign_attestation::Statement;
use countersign_registry::Reference;
use serde_json::Value;

use super::attestors::{Node, Set};
use super::context::text;
use super::entry::{Entry, Said};
use crate::ask::{Ask, Stop};
use crate::authority::{Authority, Who};
use crate::judge::{Fact, What};
use crate::kyverno::Context;
use crate::kyverno::conditions::Conditions;
use crate::question::CouldNot;

/// The most combinations of statements that `validate` is evaluated for.
const MAX_COMBINATIONS: usize = 256;

/// What came of asking for something.
#[derive(Debug, Clone)]
pub(super) enum Finding {
    /// It is there: the facts are what was verified, none for signatures of the Notary Project.
    Holds(Vec<Fact>),
    /// It is not.
    No(Why),
    /// It could not be checked.
    CouldNot(CouldNot),
    /// A question is open. It was noted.
    Open,
}

/// Why not.
#[derive(Debug, Clone)]
pub(super) struct Why {
    /// The stable code.
    pub(super) reason: String,
    /// In words.
    pub(super) text: String,
}

impl Why {
    pub(super) fn new(reason: &str, text: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), text: text.into() }
    }
}

impl From<Stop> for Finding {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Open => Self::Open,
            Stop::CouldNot(could_not) => Self::CouldNot(could_not),
        }
    }
}

impl Finding {
    /// Both: a no is final, what could not be checked outweighs what is open, and all must hold.
    fn and(self, other: Self) -> Self {
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
}

/// Judges an image, which is given by its digest, by an entry.
pub(super) fn verify(entry: &Entry, image: &Reference, context: &Context, ask: &Ask<'_>) -> Finding {
    let judging = Judging { image, context, ask };
    let mut finding = judging.all(&entry.attestors, &mut |authority| judging.signature(authority));
    let mut statements = Vec::new();
    for said in &entry.attestations {
        let found = judging.all(&said.attestors, &mut |authority| judging.statement(authority, said));
        if let Finding::Holds(facts) = &found {
            statements.push((said.name.as_str(), facts.clone()));
        }
        finding = finding.and(found);
    }
    match (&entry.deny, &finding) {
        (Some((conditions, message)), Finding::Holds(_)) => {
            finding.and(judging.together(&statements, conditions, message))
        }
        _ => finding,
    }
}

struct Judging<'a> {
    image: &'a Reference,
    context: &'a Context,
    ask: &'a Ask<'a>,
}

impl Judging<'_> {
    /// Every set must be satisfied.
    fn all(&self, sets: &[Set], judge: &mut dyn FnMut(&Authority) -> Finding) -> Finding {
        sets.iter().fold(Finding::Holds(Vec::new()), |found, set| found.and(self.set(set, judge)))
    }

    /// As many as are needed of a set. The rest is not looked at.
    fn set(&self, set: &Set, judge: &mut dyn FnMut(&Authority) -> Finding) -> Finding {
        let (mut facts, mut held, mut unsure, mut open) = (Vec::new(), 0, 0, false);
        let (mut could_not, mut why): (Option<CouldNot>, Option<Why>) = (None, None);
        for node in &set.nodes {
            let found = match node {
                Node::One(authority) => judge(authority),
                Node::Set(nested) => self.set(nested, judge),
            };
            match found {
                Finding::Holds(more) => {
                    held += 1;
                    facts.extend(more);
                    if held == set.need {
                        return Finding::Holds(facts);
                    }
                }
                Finding::No(no) => why = why.or(Some(no)),
                Finding::CouldNot(error) => {
                    unsure += 1;
                    could_not = could_not.or(Some(error));
                }
                Finding::Open => open = true,
            }
        }
        match (open, could_not, why) {
            (true, ..) => Finding::Open,
            (false, Some(error), _) if held + unsure >= set.need => Finding::CouldNot(error),
            (false, _, Some(mut why)) => {
                if set.nodes.len() > 1 {
                    let (need, all) = (set.need, set.nodes.len());
                    why.text = format!(
                        "{need} of {all} attestors must hold, {held} do; the first that does not: {}",
                        why.text
                    );
                }
                Finding::No(why)
            }
            (false, Some(error), None) => Finding::CouldNot(error),
            // Sets are never empty and never need more than they have.
            (false, None, None) => {
                Finding::No(Why::new("no_attestor", "nobody is named who could have signed"))
            }
        }
    }

    fn signature(&self, authority: &Authority) -> Finding {
        if matches!(authority.who, Who::Notary { .. }) {
            return match self.ask.judge_notary(self.image, authority) {
                Err(stop) => stop.into(),
                Ok(judgement) if judgement.holds() => Finding::Holds(Vec::new()),
                Ok(judgement) => Finding::No(match judgement.report.rejection() {
                    Some(rejection) => {
                        Why::new(rejection.reason.code(), format!("{}: {rejection}", authority.name))
                    }
                    None => Why::new("internal", "a report without a verdict"),
                }),
            };
        }
        self.judge(authority, &What::Signature)
    }

    fn judge(&self, authority: &Authority, what: &What) -> Finding {
        let judgement = match self.ask.judge(self.image, authority, what) {
            Err(stop) => return stop.into(),
            Ok(judgement) => judgement,
        };
        match judgement.report.verified() {
            _ if judgement.holds() => Finding::Holds(judgement.facts.clone()),
            Err(rejection) => {
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
            Ok(_) => Finding::No(Why::new("internal", "a report that holds without a fact")),
        }
    }

    /// A statement by somebody, with what must hold of it. Every statement of the type that they made counts, as in
    /// Kyverno; what others made does not.
    fn statement(&self, authority: &Authority, said: &Said) -> Finding {
        let found = self.judge(authority, &What::Statement(vec![said.kind.clone()]));
        let Finding::Holds(facts) = &found else { return found };
        for fact in facts {
            if let Err(text) = self.conditions(fact, &said.conditions) {
                let document = fact.evidence;
                let text = format!("the statement {document} of type {}: {text}", said.kind);
                return Finding::No(Why::new("condition_not_met", text));
            }
        }
        found
    }

    fn conditions(&self, fact: &Fact, conditions: &[Conditions]) -> Result<(), String> {
        if conditions.is_empty() {
            return Ok(());
        }
        let context = self.context.merged_over(predicate(fact)?);
        for conditions in conditions {
            let outcome = conditions.hold(&context).map_err(|e| e.to_string())?;
            if !outcome.holds {
                return Err(outcome.because.join("; "));
            }
        }
        Ok(())
    }

    /// What must not be said by the statements together, whichever of several one takes.
    fn together(&self, statements: &[(&str, Vec<Fact>)], conditions: &Conditions, message: &str) -> Finding {
        let no = |text: String| Finding::No(Why::new("denied_by_validate", text));
        let mut contexts = vec![self.context.clone()];
        for (name, facts) in statements {
            let mut next = Vec::new();
            for fact in distinct(facts) {
                match predicate(fact) {
                    Ok(predicate) => {
                        next.extend(
                            contexts.iter().map(|context| context.clone().with(name, predicate.clone())),
                        );
                    }
                    Err(error) => return no(error),
                }
                if next.len() > MAX_COMBINATIONS {
                    return no(format!(
                        "expected at most {MAX_COMBINATIONS} combinations of statements, found more"
                    ));
                }
            }
            contexts = next;
        }
        for context in &contexts {
            match conditions.hold(context) {
                Ok(outcome) if !outcome.holds => {}
                Ok(outcome) => {
                    let message = match text(message, context) {
                        Ok(message) if !message.is_empty() => message,
                        _ => "validate.deny holds".to_owned(),
                    };
                    return no(format!("{message}: {}", outcome.because.join("; ")));
                }
                Err(error) => return no(format!("validate.deny: {error}")),
            }
        }
        Finding::Holds(Vec::new())
    }
}

/// Facts of different documents.
fn distinct(facts: &[Fact]) -> Vec<&Fact> {
    let mut found: Vec<&Fact> = Vec::new();
    for fact in facts {
        if !found
            .iter()
            .any(|other| Arc::ptr_eq(&other.verified, &fact.verified) || other.evidence == fact.evidence)
        {
            found.push(fact);
        }
    }
    found
}

/// The predicate of a verified statement.
fn predicate(fact: &Fact) -> Result<Value, String> {
    let statement: &Statement = fact.verified.statement().ok_or("expected a statement, found a signature")?;
    let Some(predicate) = &statement.predicate else { return Ok(Value::Null) };
    serde_json::from_str(predicate.get()).map_err(|e| format!("the predicate: {e}"))
}
