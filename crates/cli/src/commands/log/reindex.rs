//! `countersign log reindex`: the search index of a log at rest, made anew from its tree.

use clap::Args;
use countersign_http::text::printable;
use countersign_log::LogError;
use countersign_log::search::{Reindexed, reindex};
use countersign_server::instance::Instance;
use serde_json::json;

use super::at_rest::log_failure;
use crate::args::OutputArgs;
use crate::commands::init::server_failure;
use crate::commands::serve::DirectoryArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, counted};

/// Make the search indexes of an instance that is stopped anew, from its logs
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log reindex /srv/countersign",
    after_help = "Every entry is checked against the signed tree before it is indexed, and the index is held against the one that the \
newest checkpoint commits to. A server does the same by itself when an index is lost, while it runs; until it is done, nothing is found. \
Exit code 2 when a log is damaged."
)]
pub(crate) struct Reindex {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Reindex {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let instance = Instance::open(&self.directory.path()).map_err(|e| server_failure(&e))?;
        let mut answers = Vec::new();
        for log in instance.logs_at_rest().map_err(|e| server_failure(&e))? {
            let Some(terms) = instance.terms(&log).map_err(|e| server_failure(&e))? else { continue };
            let made = reindex(&log.directory, &log.key, terms).map_err(|e| {
                let failure = log_failure(&log.directory, &e);
                match e {
                    LogError::LockedBy { .. } => failure.next("stop the instance first"),
                    LogError::Corrupt { .. } => failure.next("see what is damaged: countersign log fsck"),
                    _ => failure,
                }
            })?;
            let directory = log.directory.display().to_string();
            if self.output.is_json() {
                answers.push(
                    json!({"directory": directory, "size": made.index.size, "asSigned": made.as_signed}),
                );
            } else {
                say(&directory, &made, terminal)?;
            }
        }
        if self.output.is_json() {
            terminal.json("log.reindex", 1, &json!({ "logs": answers }))?;
        }
        Ok(0)
    }
}

fn say(directory: &str, made: &Reindexed, terminal: &Terminal) -> Result<(), Failure> {
    let size = counted(made.index.size, "entry", "entries");
    let signed = match made.as_signed {
        Some(true) => "as the newest checkpoint commits to it",
        Some(false) => {
            "by other rules or another key than the one that the newest checkpoint commits to; the next one commits to this"
        }
        None => "no checkpoint commits to it",
    };
    terminal.line(&format!("{} {}: {size} indexed, {signed}", terminal.yes(), printable(directory)))
}
