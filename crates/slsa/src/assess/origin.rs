//! The rules on the source: what it is, and what its control system says of itself.

use super::evidence::{Evidence, Sought};
use super::provenance::of_best;
use super::row::{Judgement, Proof, Verdict};
use crate::source::Control;

pub(super) fn version_controlled(evidence: &Evidence) -> Judgement {
    let rule = "the source is named by a commit of git; a clone has it, reachable from the ref";
    of_best(evidence, rule, |best, mut proofs| {
        let Some(source) = &best.provenance.source else {
            return Judgement::not_met(rule, "the provenance names no source", proofs);
        };
        let Some(commit) = best.commit() else {
            return Judgement::not_met(
                rule,
                format!("{} is not named by a commit of git", source.uri),
                proofs,
            );
        };
        let Some(clone) = &evidence.clone else {
            if best.level.is_none() {
                let why = format!(
                    "{} at {commit}, by a signer that the roots of trust do not name; no clone was given to look into",
                    source.uri
                );
                return Judgement::unknown(rule, why);
            }
            return Judgement::met(
                rule,
                format!("{} at {commit}; no clone was given to look into", source.uri),
                proofs,
            );
        };
        if !clone.commit.eq_ignore_ascii_case(commit) {
            let why =
                format!("the clone was asked about {}, and the provenance names {commit}", clone.commit);
            return Judgement::unknown(rule, why);
        }
        proofs.push(Proof::Commit { path: clone.path.clone(), commit: commit.to_owned() });
        match (&clone.exists, &clone.reachable) {
            (false, _) => Judgement::not_met(rule, format!("{commit} is not in {}", clone.path), proofs),
            (_, Some((name, false))) => {
                Judgement::not_met(rule, format!("{commit} is not reachable from {name}"), proofs)
            }
            (_, Some((name, true))) => {
                Judgement::met(rule, format!("{commit} is reachable from {name}"), proofs)
            }
            (_, None) => {
                Judgement::met(rule, format!("{commit} is in {}; no ref was named", clone.path), proofs)
            }
        }
    })
}

/// What only the source control system can say of itself: all of these controls.
pub(super) fn by_controls(evidence: &Evidence, controls: &[Control], rule: &'static str) -> Judgement {
    let mut judged: Vec<Judgement> = controls.iter().map(|one| control(evidence, *one, rule)).collect();
    // The first that does not hold decides.
    let worst = judged.iter().position(|one| one.verdict != Verdict::Met);
    match worst {
        Some(at) => judged.swap_remove(at),
        None if judged.is_empty() => Judgement::unknown(rule, "no control is asked for"),
        None => judged.swap_remove(0),
    }
}

/// One control of the source track.
pub(super) fn control(evidence: &Evidence, control: Control, rule: &'static str) -> Judgement {
    if let Some((record, since)) = evidence.control(control) {
        let why = match since {
            Some(since) => format!("{} since {since}", control.name()),
            None => format!("{}, by a summary", control.name()),
        };
        let what = format!("source record signed by {}", record.signer);
        return Judgement::met(rule, why, vec![Proof::Statement { sha256: record.statement.clone(), what }]);
    }
    if let Some(clone) = evidence.clone.as_ref().filter(|clone| clone.exists)
        && matches!(control, Control::RevisionId | Control::DiffDisplay)
    {
        let why =
            if control == Control::RevisionId { "git names it by what is in it" } else { "git shows it" };
        let proof = Proof::Commit { path: clone.path.clone(), commit: clone.commit.clone() };
        return Judgement::met(rule, why, vec![proof]);
    }
    if control == Control::RepoId && evidence.best().is_some_and(|best| best.provenance.source.is_some()) {
        return super::provenance::source(evidence);
    }
    match &evidence.source {
        Sought::Not => Judgement::unknown(
            rule,
            format!("nothing of the source control system's own was given ({})", control.name()),
        ),
        // What an organisation does, its source control system need not know.
        Sought::Found { refused, .. } if refused.is_empty() && control.is_of_organisation() => {
            let why = format!("no statement of the source control system names {}", control.name());
            Judgement::unknown(rule, why)
        }
        Sought::Found { refused, .. } if refused.is_empty() => Judgement::not_met(
            rule,
            format!("no statement of the source control system names {}", control.name()),
            Vec::new(),
        ),
        Sought::Found { refused, .. } => {
            let why = format!("no statement that verifies names {}: {}", control.name(), refused.join("; "));
            Judgement::not_met(rule, why, Vec::new())
        }
    }
}
