//! `verifyImages` over an image: who signed it, what is said of it, and what follows.

use countersign_registry::Reference;

use super::attestors::{Node, Set};
use super::context::text;
use super::entry::{Entry, Said};
use crate::ask::Ask;
use crate::authority::Authority;
use crate::finding::{Finding, Held, Why};
use crate::kyverno::Context;
use crate::kyverno::conditions::Conditions;
use crate::question::CouldNot;

/// The most combinations of statements that `validate` is evaluated for.
const MAX_COMBINATIONS: usize = 256;

/// Judges an image, which is given by its digest, by an entry.
pub(super) fn verify(entry: &Entry, image: &Reference, context: &Context, ask: &Ask<'_>) -> Finding<Held> {
    let judging = Judging { image, context, ask };
    let mut finding = judging.all(&entry.attestors, &mut |authority| ask.find_signed(image, authority));
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
    fn all(&self, sets: &[Set], judge: &mut dyn FnMut(&Authority) -> Finding<Held>) -> Finding<Held> {
        sets.iter().fold(Finding::Holds(Vec::new()), |found, set| found.and(self.set(set, judge)))
    }

    /// As many as are needed of a set. The rest is not looked at.
    fn set(&self, set: &Set, judge: &mut dyn FnMut(&Authority) -> Finding<Held>) -> Finding<Held> {
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

    /// A statement by somebody, with what must hold of it. Every statement of the type that they made counts, as in
    /// Kyverno; what others made does not.
    fn statement(&self, authority: &Authority, said: &Said) -> Finding<Held> {
        let found = self.ask.find_said(self.image, authority, &said.kind);
        let Finding::Holds(all) = &found else { return found };
        for held in all {
            if let Err(text) = self.conditions(held, &said.conditions) {
                let text = format!("the statement {} of type {}: {text}", held.evidence(), said.kind);
                return Finding::No(Why::new("condition_not_met", text));
            }
        }
        found
    }

    fn conditions(&self, held: &Held, conditions: &[Conditions]) -> Result<(), String> {
        if conditions.is_empty() {
            return Ok(());
        }
        let context = self.context.merged_over(held.predicate()?);
        for conditions in conditions {
            let outcome = conditions.hold(&context).map_err(|e| e.to_string())?;
            if !outcome.holds {
                return Err(outcome.because.join("; "));
            }
        }
        Ok(())
    }

    /// What must not be said by the statements together, whichever of several one takes.
    fn together(
        &self,
        statements: &[(&str, Vec<Held>)],
        conditions: &Conditions,
        message: &str,
    ) -> Finding<Held> {
        let no = |text: String| Finding::No(Why::new("denied_by_validate", text));
        let mut contexts = vec![self.context.clone()];
        for (name, facts) in statements {
            let mut next = Vec::new();
            for held in distinct(facts) {
                match held.predicate() {
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

/// What lies in different documents.
fn distinct(found: &[Held]) -> Vec<&Held> {
    let mut kept: Vec<&Held> = Vec::new();
    for held in found {
        if !kept.iter().any(|other| other.evidence() == held.evidence()) {
            kept.push(held);
        }
    }
    kept
}
