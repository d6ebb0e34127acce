//! References of a workflow to what is elsewhere: whether each will mean the same tomorrow.

use super::{At, Findings, Job, Rule};

/// The one whose provenance can only be verified when it is named by tag; its verifier looks for that.
const GENERATOR: &str = "slsa-framework/slsa-github-generator/";

pub(super) fn look(job: &Job, found: &mut Findings) {
    if let Some(uses) = &job.uses {
        action(Rule::MutableWorkflow, uses, &job.id, found);
    }
    for at in &job.images {
        image(&at.text, at.line, &job.id, found);
    }
    for uses in job.steps.iter().filter_map(|step| step.uses.as_ref()) {
        match uses.text.strip_prefix("docker://") {
            Some(name) => image(name, uses.line, &job.id, found),
            None => action(Rule::MutableAction, uses, &job.id, found),
        }
    }
}

/// An action or a workflow. What is in the source itself is as old as the commit.
fn action(rule: Rule, uses: &At, job: &str, found: &mut Findings) {
    if uses.text.starts_with("./") || is_pinned(&uses.text) {
        return;
    }
    let why = match uses.text.rsplit_once('@') {
        None => "names no version at all".to_owned(),
        Some((name, version)) if name.starts_with(GENERATOR) => format!(
            "{version} can be moved to other code; the verifiers of this generator accept it by tag only, so it cannot be pinned"
        ),
        Some((_, version)) => format!("{version} can be moved to other code without a change of this file"),
    };
    found.add(rule, uses.line, job, &uses.text, why);
}

/// An image, which only a digest names for good.
pub(super) fn image(name: &str, line: u64, job: &str, found: &mut Findings) {
    let pinned = name.rsplit_once("@sha256:").is_some_and(|(_, digest)| is_hex(digest, 64));
    if !name.is_empty() && !pinned {
        let why = "the tag can be moved to another image without a change of this file";
        found.add(Rule::MutableImage, line, job, name, why);
    }
}

/// Whether an action is named by a commit.
fn is_pinned(uses: &str) -> bool {
    uses.rsplit_once('@').is_some_and(|(_, version)| is_hex(version, 40) || is_hex(version, 64))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}
