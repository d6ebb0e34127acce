//! `countersign policy explain`: what policies demand, in plain words.

use std::path::PathBuf;

use clap::Args;
use countersign_http::text::printable_lines;

use super::loaded;
use crate::failure::Outcome;
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
        for policy in &loaded.policies {
            terminal.line(&terminal.strong(&policy.name().to_string()))?;
            let words = policy.explain();
            if words.is_empty() {
                terminal.line(
                    "  is read, and has no description in plain words; its own language says what it demands",
                )?;
            }
            for line in words {
                terminal.line(&printable_lines(&format!("  {line}")))?;
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
