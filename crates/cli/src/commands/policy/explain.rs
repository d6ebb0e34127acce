//! `countersign policy explain`: what policies demand, in plain words.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_http::text::printable_lines;
use countersign_policy::{Document, convert, load, own};

use super::{documents, files, loaded, wrong};
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

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
    for policy in &converted.documents {
        let policy = own::ImagePolicy::read(policy).map_err(|error| wrong(path, &[error]))?;
        for line in policy.explain() {
            terminal.line(&printable_lines(&format!("  {line}")))?;
        }
    }
    Ok(())
}
