//! The rules on the build: what runs it, where, and what can reach into it.

use super::evidence::{Attested, Evidence};
use super::provenance::{at_level, extra_parameters, of_best, proof};
use super::row::{Judgement, Proof, Verdict};
use crate::workflow::{At, Finding, Job, Rule, Workflow};

/// How many lines one row shows.
const MAX_SHOWN: usize = 12;

/// A finding as evidence.
fn line(workflow: &Workflow, finding: &Finding) -> Proof {
    let text = format!("{} ({})", finding.text, finding.rule.id());
    Proof::Line { path: workflow.path.clone(), line: finding.line, text }
}

/// The findings of these rules, as evidence and by number. What fetches comes first: it says most.
fn found(evidence: &Evidence, wanted: impl Fn(Rule) -> bool) -> (usize, Vec<Proof>) {
    let mut all = Vec::new();
    for workflow in &evidence.workflows {
        let findings = workflow.findings();
        let ours = findings.iter().filter(|finding| wanted(finding.rule));
        all.extend(ours.map(|finding| (finding.rule, line(workflow, finding))));
    }
    let count = all.len();
    all.sort_by_key(|(rule, _)| match rule {
        Rule::NetworkCommand => 0,
        Rule::MutableImage => 1,
        _ => 2,
    });
    (count, all.into_iter().map(|(_, proof)| proof).take(MAX_SHOWN).collect())
}

/// The actions and workflows that a file calls, which do what stands elsewhere.
fn actions(workflow: &Workflow) -> impl Iterator<Item = Proof> {
    let called = |job: &'_ Job| -> Vec<At> {
        job.uses.iter().chain(job.steps.iter().filter_map(|step| step.uses.as_ref())).cloned().collect()
    };
    workflow.jobs.iter().flat_map(called).map(move |at| Proof::Line {
        path: workflow.path.clone(),
        line: at.line,
        text: at.text,
    })
}

/// The workflow that an entry point names: a file of that path, or of one that ends so.
fn workflow_of<'a>(evidence: &'a Evidence, entry: &str) -> Option<&'a Workflow> {
    let name = entry.rsplit('/').next().filter(|name| !name.is_empty())?;
    evidence.workflows.iter().find(|workflow| workflow.path.rsplit('/').next() == Some(name))
}

/// Whether the commit of the clone is the one that the provenance names.
fn is_commit(attested: &Attested, commit: &str) -> bool {
    let source = attested.provenance.source.as_ref();
    source.is_some_and(|source| source.digest.values().any(|hex| hex.eq_ignore_ascii_case(commit)))
}

pub(super) fn scripted(evidence: &Evidence) -> Judgement {
    let rule = "the provenance names an entry point, and it is a file of the source";
    if let (true, Some(workflow)) = (evidence.best().is_none(), evidence.workflows.first())
        && matches!(evidence.provenance, super::Sought::Not)
    {
        let jobs = workflow.jobs.len();
        let first = workflow.jobs.first();
        let proof = first.map(|job| Proof::Line {
            path: workflow.path.clone(),
            line: job.line,
            text: format!("job {}", job.id),
        });
        let why = format!(
            "{} describes {jobs} jobs; that a release was made by it, only its provenance tells",
            workflow.path
        );
        return Judgement::met(rule, why, proof.into_iter().collect());
    }
    of_best(evidence, rule, |best, mut proofs| {
        let entry = &best.provenance.entry_point;
        if entry.is_empty() {
            return Judgement::not_met(rule, "the provenance names no entry point", proofs);
        }
        let clone = evidence.clone.as_ref().filter(|clone| is_commit(best, &clone.commit));
        match clone.map(|clone| (clone, clone.files.get(entry))) {
            Some((clone, Some(there))) => {
                proofs.push(Proof::Commit { path: clone.path.clone(), commit: clone.commit.clone() });
                let why = if *there { "is a file" } else { "is no file" };
                Judgement::holds_if(*there, rule, format!("{entry} {why} of commit {}", clone.commit), proofs)
            }
            _ if workflow_of(evidence, entry).is_some() => Judgement::met(
                rule,
                format!("{entry}, which was given; whether it is the one of that commit, a clone would tell"),
                proofs,
            ),
            _ => {
                Judgement::unknown(rule, format!("{entry} is named; neither a clone nor the file was given"))
            }
        }
    })
}

pub(super) fn service(evidence: &Evidence) -> Judgement {
    let hosted =
        at_level(evidence, 2, "builder and signer together are a build service in the roots of trust");
    let (count, proofs) = found(evidence, |rule| rule == Rule::SelfHostedRunner);
    if count > 0 && hosted.verdict != Verdict::NotMet {
        let why = "a job runs on a machine of the project's own";
        return Judgement::not_met(hosted.rule, why, [hosted.evidence, proofs].concat());
    }
    hosted
}

pub(super) fn as_code(evidence: &Evidence) -> Judgement {
    let rule = "the entry point is in the source, at the commit that the provenance names";
    of_best(evidence, rule, |best, mut proofs| {
        let own = &best.provenance;
        let Some(source) = own.source.as_ref().filter(|source| !source.digest.is_empty()) else {
            return Judgement::not_met(rule, "the source is not named by digest", proofs);
        };
        if own.entry_point.is_empty() {
            return Judgement::not_met(rule, "no entry point is named", proofs);
        }
        match &evidence.clone {
            Some(clone) if !is_commit(best, &clone.commit) => {
                let why = format!(
                    "the clone was asked about {}, which is not the source {}",
                    clone.commit, source.uri
                );
                Judgement::unknown(rule, why)
            }
            Some(clone) => {
                let there = clone.exists && clone.files.get(&own.entry_point) == Some(&true);
                proofs.push(Proof::Commit { path: clone.path.clone(), commit: clone.commit.clone() });
                let why = if there { "is a file" } else { "is no file" };
                Judgement::holds_if(
                    there,
                    rule,
                    format!("{} {why} of commit {}", own.entry_point, clone.commit),
                    proofs,
                )
            }
            None => Judgement::unknown(rule, "no clone was given to look for the entry point in"),
        }
    })
}

/// Fresh and apart: what the map says of the builder, and what it says that of.
pub(super) fn isolated(evidence: &Evidence, rule: &'static str) -> Judgement {
    let mut judged = at_level(evidence, 3, rule);
    let signs_for_others = |text: &str| {
        ["generator_generic_slsa3", "generator_container_slsa3"].iter().any(|name| text.contains(name))
    };
    let mut jobs = evidence.workflows.iter().flat_map(|workflow| &workflow.jobs);
    let signs_for_others = match evidence.best() {
        Some(best) => signs_for_others(&best.provenance.builder.id),
        None => jobs.any(|job| job.uses.as_ref().is_some_and(|at| signs_for_others(&at.text))),
    };
    if signs_for_others {
        judged.why.push_str(
            "; slsa-github-generator signs digests that a job of the project hands to it, so what is isolated is that job, by the \
             virtual machine that the forge gives each job, and not the generator",
        );
    }
    let (count, proofs) = found(evidence, |rule| matches!(rule, Rule::SelfHostedRunner | Rule::Cache));
    if count > 0 {
        let why = format!("{count} places bring something of other runs into this one");
        return match judged.verdict {
            Verdict::Met => Judgement::not_met(rule, why, [judged.evidence, proofs].concat()),
            _ => Judgement {
                why: format!("{}; {why}", judged.why),
                evidence: [judged.evidence, proofs].concat(),
                ..judged
            },
        };
    }
    judged
}

pub(super) fn parameterless(evidence: &Evidence) -> Judgement {
    let rule =
        "nothing but source and entry point can be chosen: no other parameters, no inputs of the workflow";
    let (inputs, proofs) = found(evidence, |rule| rule == Rule::RunInput);
    if inputs > 0 {
        return Judgement::not_met(rule, format!("the workflow takes {inputs} inputs"), proofs);
    }
    of_best(evidence, rule, |best, own| {
        let extra = extra_parameters(best);
        if extra.is_empty() {
            Judgement::met(rule, "source and entry point are all that is chosen", own)
        } else {
            Judgement::not_met(rule, format!("also chosen: {}", extra.join(", ")), own)
        }
    })
}

pub(super) fn hermetic(evidence: &Evidence) -> Judgement {
    let rule = "the builder says that there was no network, and the workflow names nothing that can change and fetches nothing";
    let (count, proofs) = found(evidence, Rule::breaks_hermetic);
    if count > 0 {
        return Judgement::not_met(
            rule,
            format!("{count} places name what can change, or fetch while they build"),
            proofs,
        );
    }
    of_best(evidence, rule, |best, mut own| {
        let says = best.provenance.internal_parameters.get("network").and_then(|value| value.as_str())
            == Some("none");
        let trusted = best.level.unwrap_or(0) >= 3;
        if says && trusted {
            return Judgement::met(
                rule,
                "internalParameters.network is \"none\", and the builder's word counts",
                own,
            );
        }
        if !best.provenance.completeness.materials || !trusted {
            let why = "the builder does not say that there was no network (internalParameters.network), nor that it lists all \
                       that went in (completeness.materials) where its word counts";
            return Judgement::not_met(rule, why, own);
        }
        if workflow_of(evidence, &best.provenance.entry_point).is_none() {
            return Judgement::unknown(
                rule,
                "it claims to list all that went in; the workflow file that it names was not given to read",
            );
        }
        let (commands, mut lines) = found(evidence, |rule| rule == Rule::UnseenCommand);
        let actions: Vec<Proof> = evidence.workflows.iter().flat_map(actions).collect();
        let unseen = commands + actions.len();
        if unseen > 0 {
            lines.extend(actions);
            own.extend(lines.into_iter().take(MAX_SHOWN));
            let why = format!(
                "it claims to list all that went in; {unseen} commands and actions do what stands elsewhere"
            );
            return Judgement { evidence: own, ..Judgement::unknown(rule, why) };
        }
        Judgement::met(rule, "it lists all that went in, and the workflow names nothing that can change", own)
    })
}

pub(super) fn reproducible(evidence: &Evidence) -> Judgement {
    let rule = "somebody else has built it and come to the same bytes";
    match &evidence.rebuilt {
        Some((_, by)) if evidence.best().is_some_and(|best| best.signer == *by) => {
            Judgement::unknown(rule, format!("{by} says so, who signed the provenance too"))
        }
        Some((sha256, by)) => {
            let what = format!("rebuilt by {by}");
            Judgement::met(rule, what.clone(), vec![Proof::Statement { sha256: sha256.clone(), what }])
        }
        None => Judgement::unknown(rule, "no statement of a rebuild was given"),
    }
}

/// That provenance is unforgeable: at level 3, and no job that builds can sign as the workflow.
pub(super) fn unforgeable(evidence: &Evidence) -> Judgement {
    let level = super::provenance::non_falsifiable(evidence);
    let Some(best) = evidence.best().filter(|_| level.verdict == Verdict::Met) else { return level };
    let extra = extra_parameters(best);
    let v1 = best.provenance.version == countersign_attestation::predicate::provenance::Version::V1;
    if !extra.is_empty() && !v1 && !best.provenance.completeness.parameters {
        let why = format!("its parameters are not said to be all of them: {}", extra.join(", "));
        return Judgement::not_met(level.rule, why, vec![proof(best)]);
    }
    level
}
