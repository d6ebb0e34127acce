//! `countersign policy explain`: what policies demand, in plain words.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_client::trust::INSTANCE_VARIABLE;
use countersign_clock::Timestamp;
use countersign_http::text::printable_lines;
use countersign_policy::{Document, convert, load, own};
use countersign_trust::instances::Instances;
use serde_json::Value;

use super::{documents, files, loaded, wrong};
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, counted};

/// Tell in plain words what policies demand, of which images, and what happens if it is not there
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign policy explain policy.yaml")]
pub(super) struct Explain {
    /// Files or directories with policies
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
}

impl Explain {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let loaded = loaded(&self.files)?;
        for path in files(&self.files)? {
            for document in documents(&path)?.map_err(|error| wrong(&path, &[error]))? {
                explain(terminal, &path, &document)?;
            }
        }
        for exception in &loaded.own_exceptions {
            terminal.line(&terminal.strong(&format!("PolicyException {}", exception.name())))?;
            for line in exception.explain() {
                terminal.line(&printable_lines(&format!("  {line}")))?;
            }
        }
        Ok(0)
    }
}

/// A policy in plain words: those of the same policy in our own language.
fn explain(terminal: &Terminal, path: &Path, document: &Document) -> Result<(), Failure> {
    let is_policy = load(vec![document.clone()]).is_ok_and(|loaded| loaded.policies().next().is_some());
    if !is_policy {
        return Ok(());
    }
    terminal.line(&terminal.strong(&printable_lines(&document.title())))?;
    let converted = match convert(document) {
        Ok(converted) => converted,
        Err(error) => {
            let words = format!("  is evaluated as it is, and cannot be told in plain words: {error}");
            return terminal.line(&printable_lines(&words));
        }
    };
    for document in &converted.documents {
        let policy = own::ImagePolicy::read(document).map_err(|error| wrong(path, &[error]))?;
        for line in policy.explain().into_iter().chain(revoked(document)) {
            terminal.line(&printable_lines(&format!("  {line}")))?;
        }
    }
    Ok(())
}

/// What is revoked by whoever may revoke under the trust root that a policy names, or else under the one that is meant; none
/// where this machine knows nobody who may.
fn revoked(policy: &Value) -> Option<String> {
    let trust = |field: &str| policy.pointer(&format!("/spec/trust/{field}")).and_then(Value::as_str);
    if trust("document").is_some() {
        return None;
    }
    // That nobody is known by the name, or as the one that is meant, is told when something is verified.
    let instances = Instances::for_user().ok()?;
    let meant = std::env::var(INSTANCE_VARIABLE).ok().filter(|name| !name.is_empty());
    let instance = match trust("root").map(str::to_owned).or(meant) {
        Some(name) => instances.get(&name).ok(),
        None => instances.default_instance().ok().flatten(),
    }?;
    let name = &instance.name;
    match instance.revocations(Timestamp::MAX) {
        Ok(None) => None,
        Ok(Some(list)) => {
            let list = list.list();
            let count = u64::try_from(list.standing().count()).unwrap_or(u64::MAX);
            Some(format!(
                "what the revocation list of {name} names does not count, whoever signed it: list {} with {}, which holds \
                 until {}",
                list.number,
                counted(count, "entry", "entries"),
                list.expires
            ))
        }
        Err(error) => Some(format!(
            "what is revoked under {name} is not known, so that nothing could be checked: {error}"
        )),
    }
}
