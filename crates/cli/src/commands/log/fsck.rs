//! `countersign log fsck`: whether every byte of a log on disk is as it was written.

use clap::Args;
use countersign_http::text::printable;
use countersign_log::fsck::{Report, fsck};
use countersign_server::instance::LogAtRest;
use serde_json::json;

use super::at_rest::{KeyArgs, log_failure};
use crate::args::OutputArgs;
use crate::commands::serve::DirectoryArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::{Terminal, counted};

/// Check every file of a log at rest against the root it signed
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log fsck /srv/countersign           the logs of an instance that is stopped
  countersign log fsck copy/log --log-key copy/log.pub",
    after_help = "A running instance checks itself: see scrub_hours in its configuration. Exit code 2 when anything is \
                  not as it was written."
)]
pub(crate) struct Fsck {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Fsck {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let advice = "stop the instance, keep the damaged files, and put a good copy in their place: countersign log restore";
        check_all(&self.key.logs(&self.directory.path())?, advice, self.output.is_json(), terminal)
    }
}

/// Checks logs at rest and says what was found, and the advice for when something is.
pub(super) fn check_all(logs: &[LogAtRest], advice: &str, as_json: bool, terminal: &Terminal) -> Outcome {
    let mut damaged = 0;
    let mut answers = Vec::new();
    for log in logs {
        let report = fsck(&log.directory, &log.key, log.key_of.as_ref()).map_err(|e| {
            let failure = log_failure(&log.directory, &e);
            match e {
                countersign_log::LogError::LockedBy { .. } => {
                    failure.next("check a copy instead: countersign log backup DIR DEST")
                }
                _ => failure,
            }
        })?;
        damaged += report.findings.len();
        if as_json {
            answers.push(answer(log, &report));
        } else {
            say(log, &report, terminal)?;
        }
    }
    if as_json {
        terminal.json("log.fsck", 1, &json!({ "logs": answers }))?;
    }
    if damaged > 0 {
        let found = counted(damaged as u64, "damaged place", "damaged places");
        return Err(Failure::new(REJECTED, format!("{found} found")).next(advice));
    }
    Ok(0)
}

fn answer(log: &LogAtRest, report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| json!({ "path": finding.path, "offset": finding.offset, "what": finding.what }))
        .collect();
    json!({ "directory": log.directory, "size": report.size, "files": report.files, "findings": findings,
            "notes": report.notes })
}

fn say(log: &LogAtRest, report: &Report, terminal: &Terminal) -> Result<(), Failure> {
    let directory = printable(&log.directory.display().to_string());
    for note in &report.notes {
        terminal.line(&format!("{directory}: {}", printable(note)))?;
    }
    for finding in &report.findings {
        terminal.line(&format!("{} {directory}/{}", terminal.no(), printable(&finding.to_string())))?;
    }
    if report.findings.is_empty() {
        let size = counted(report.size, "entry", "entries");
        let files = counted(report.files, "file", "files");
        terminal
            .line(&format!("{} {directory}: {size} in {files}, all as they were signed", terminal.yes()))?;
    }
    Ok(())
}
