//! `countersign log backup` and `restore`: copies of a log, and what may be put back.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_http::text::printable;
use countersign_log::LogError;
use countersign_log::backup::{Copied, backup, restore};
use countersign_server::instance::LogAtRest;
use countersign_tlog::note::NoteError;
use countersign_tlog::{Checkpoint, Note};

use super::at_rest::{KeyArgs, key_beside, log_failure};
use super::fsck::check_all;
use crate::args::OutputArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, counted};

const MAX_CHECKPOINT: usize = 1 << 20;

/// Copy the logs of an instance, which may run, and check the copy
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    before_help = "Examples:
  countersign log backup /srv/countersign /backup/2026-11-27
  countersign log backup verify /backup/2026-11-27",
    after_help = "Private keys and the configuration are not copied: keep those apart."
)]
pub(crate) struct Backup {
    #[command(subcommand)]
    action: Option<BackupAction>,
    /// The instance's directory
    #[arg(value_name = "DIR", required = true)]
    directory: Option<PathBuf>,
    /// The copy's directory; it must be empty or not be there
    #[arg(value_name = "DEST", required = true)]
    destination: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Debug, Subcommand)]
enum BackupAction {
    Verify(BackupVerify),
}

/// Check every byte of a copy
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign log backup verify /backup/2026-11-27")]
struct BackupVerify {
    /// The copy's directory
    #[arg(value_name = "DEST")]
    copy: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Backup {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        if let Some(BackupAction::Verify(verify)) = &self.action {
            let advice = "do not rely on this copy; take another: countersign log backup DIR DEST";
            return check_all(&verify.key.copies(&verify.copy)?, advice, verify.output.is_json(), terminal);
        }
        let (Some(directory), Some(destination)) = (&self.directory, &self.destination) else {
            return Err(Failure::usage("expected the instance's directory and that of the copy"));
        };
        let logs = self.key.logs(directory)?;
        let is_used = std::fs::read_dir(destination).is_ok_and(|mut names| names.next().is_some());
        if is_used {
            return Err(Failure::usage(format!("{} is not empty", destination.display()))
                .next("name a new directory for the copy"));
        }
        for log in logs {
            let to = destination.join(log.name);
            let copied = backup(&log.directory, &to, &log.key, log.key_of.as_ref())
                .map_err(|e| log_failure(&to, &e))?;
            if !log.name.is_empty() {
                write_atomically(&key_beside(destination, log.name), log.key.to_pem().as_bytes())?;
            }
            say("copied and checked", &copied, terminal)?;
        }
        Ok(0)
    }
}

fn say(done: &str, copied: &Copied, terminal: &Terminal) -> Result<(), Failure> {
    let (origin, size) = (printable(&copied.origin), counted(copied.size, "entry", "entries"));
    terminal.line(&format!("{} {origin}: {size} {done}", terminal.yes()))
}

/// The newest checkpoint known of a log, as it was given.
struct Newest<'n> {
    path: &'n Path,
    note: Vec<u8>,
    origin: String,
}

impl<'n> Newest<'n> {
    fn read(path: &'n Path) -> Result<Self, Failure> {
        let note = read_limited(path, MAX_CHECKPOINT)?;
        let origin = origin_of(&note)
            .map_err(|e| Failure::usage(printable(&format!("{} is no checkpoint: {e}", path.display()))))?;
        Ok(Self { path, note, origin })
    }
}

fn origin_of(note: &[u8]) -> Result<String, NoteError> {
    Note::parse(note).and_then(|note| Ok(Checkpoint::parse(note.text())?.origin))
}

/// Put a copy in place of logs that are lost, if nothing newer was ever signed
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log restore /backup/2026-11-27 /srv/countersign --newest log.txt --newest ct.txt",
    after_help = "A log that goes on from an old copy forks: it would sign other entries under numbers it has given \
                  away. So the newest checkpoint that anybody keeps has to be brought (a monitor, a witness, or a client with \
                  `countersign log checkpoint`), one for each log, and a copy that lacks entries of it is refused. Logs \
                  that are still in the instance's directory are left alone: move a damaged one away first."
)]
pub(crate) struct Restore {
    /// The copy
    #[arg(value_name = "BACKUP")]
    copy: PathBuf,
    /// The instance's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The newest checkpoint known of a log
    #[arg(long, value_name = "FILE", required = true)]
    newest: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

impl Restore {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let newest = self.newest.iter().map(|path| Newest::read(path)).collect::<Result<Vec<_>, _>>()?;
        let (there, lost): (Vec<LogAtRest>, Vec<LogAtRest>) =
            self.key.logs(&self.directory)?.into_iter().partition(|log| log.directory.exists());
        if lost.is_empty() {
            let shown = self.directory.display();
            let names: Vec<_> = there.iter().map(|log| log.name).filter(|name| !name.is_empty()).collect();
            let message = match names.as_slice() {
                [] => format!("{shown} is there"),
                names => format!("{shown} has {}", names.join(", ")),
            };
            return Err(Failure::usage(message).next("move the damaged one away first, and keep it"));
        }
        // Before anything is written.
        let known = lost.iter().map(|log| self.newest_of(log, &newest)).collect::<Result<Vec<_>, _>>()?;
        for (log, known) in lost.iter().zip(known) {
            let from = self.copy.join(log.name);
            let copied = restore(
                &from,
                &log.directory,
                &log.key,
                log.key_of.as_ref(),
                &known.note,
                log.mark.as_deref(),
            )
            .map_err(|e| match e {
                LogError::Newest(_) => Failure::usage(format!("{}: {e}", known.path.display())),
                _ => log_failure(&from, &e),
            })?;
            if copied.repaired.is_empty() {
                say("put back and checked", &copied, terminal)?;
                continue;
            }
            say("put back, repaired and checked", &copied, terminal)?;
            for finding in &copied.repaired {
                let finding = printable(&format!("{}/{finding}", from.display()));
                terminal.line(&format!("  damaged in the copy, made anew: {finding}"))?;
            }
        }
        Ok(0)
    }

    /// The checkpoint which is this log's.
    fn newest_of<'n>(&self, log: &LogAtRest, newest: &'n [Newest<'n>]) -> Result<&'n Newest<'n>, Failure> {
        if let ([one], "") = (newest, log.name) {
            return Ok(one);
        }
        // A log of Rekor v1 is named by itself alone, so by its copy.
        let origin = if log.origin.is_empty() {
            let own = read_limited(&self.copy.join(log.name).join("checkpoint"), MAX_CHECKPOINT)?;
            origin_of(&own).unwrap_or_default()
        } else {
            log.origin.clone()
        };
        newest.iter().find(|known| known.origin == origin).ok_or_else(|| {
            let given: Vec<_> =
                newest.iter().map(|known| format!("{} of {}", known.path.display(), known.origin)).collect();
            let given = given.join(", ");
            Failure::usage(printable(&format!(
                "expected the newest checkpoint of {origin} with --newest, found {given}"
            )))
            .next("ask whoever watches the log: a monitor, a witness, a client that kept one")
        })
    }
}
