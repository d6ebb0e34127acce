//! `countersign log verify`: that a log has not lost, changed or hidden anything.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_bundle::{Bundle, InclusionProof};
use countersign_client::ClientError;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_http::text::printable;

use super::opened::Opened;
use super::{LogArgs, MAX_FILE, entries, witnessed};
use crate::failure::{Failure, NO_SIGNATURE, Outcome, REJECTED};
use crate::out::Terminal;

/// Check that the log has not lost, changed or hidden anything
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign log verify --kept checkpoint.txt        the log continues what was seen before
  countersign log verify --bundle app.tar.sigstore.json   the bundle's entry is still in the log
  countersign log verify --all                        fetch every entry and rebuild the tree
  countersign log verify --all --rekor-v1             the same of the log of Rekor v1")]
pub(super) struct Verify {
    /// A checkpoint kept from before; replaced by the newest one with --update
    #[arg(long, value_name = "FILE")]
    kept: Option<PathBuf>,
    /// Write the newest checkpoint over the kept one once the log is found to continue it
    #[arg(long, requires = "kept")]
    update: bool,
    /// A bundle whose entries must be in the log
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Fetch every entry
    #[arg(long)]
    all: bool,
    /// The log of Rekor v1
    #[arg(long)]
    rekor_v1: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl Verify {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        if self.kept.is_none() && self.bundle.is_none() && !self.all {
            return Err(Failure::usage("nothing to compare the log with: give --kept, --bundle or --all")
                .next(
                    "keep a checkpoint now, to compare later: countersign log checkpoint > checkpoint.txt",
                ));
        }
        self.log.with_opened(terminal, self.rekor_v1, async |log: &Opened<'_>| {
            let old = match &self.kept {
                Some(path) => Some((path, log.check(&read_limited(path, MAX_FILE)?)?)),
                None => None,
            };
            let now = log.newest(old.as_ref().map(|(_, old)| &*old.origin)).await?;
            terminal.line(&format!(
                "{} checkpoint    {}, signed by {}",
                terminal.yes(),
                entries(&now.checkpoint),
                printable(&now.checkpoint.origin)
            ))?;
            if let Some(line) = witnessed(&now) {
                terminal.line(&format!("{} witnesses     {line}", terminal.yes()))?;
            }
            if let Some((path, old)) = &old {
                log.consistency(old, &now.checkpoint).await?;
                terminal.line(&format!(
                    "{} consistency   continues the tree of {}",
                    terminal.yes(),
                    entries(old)
                ))?;
                if self.update {
                    write_atomically(path, now.note.as_bytes())?;
                }
            }
            if let Some(path) = &self.bundle {
                check_bundle(terminal, log, path).await?;
            }
            if self.all {
                log.read_all(&now.checkpoint).await?;
                terminal.line(&format!(
                    "{} entries       all {} make the tree",
                    terminal.yes(),
                    now.checkpoint.size
                ))?;
            }
            Ok(())
        })?;
        terminal.line(&terminal.good("VERIFIED"))?;
        Ok(0)
    }
}

async fn check_bundle(terminal: &Terminal, log: &Opened<'_>, path: &Path) -> Result<(), Failure> {
    let bundle = Bundle::from_json(&read_limited(path, MAX_FILE)?)
        .map_err(|e| Failure::new(REJECTED, printable(&format!("{}: {e}", path.display()))))?;
    let proofs: Vec<(&InclusionProof, &[u8])> = bundle
        .verification_material
        .tlog_entries
        .iter()
        .filter_map(|e| Some((e.inclusion_proof.as_ref()?, e.canonicalized_body.as_slice())))
        .collect();
    if proofs.is_empty() {
        return Err(Failure::new(NO_SIGNATURE, format!("{} has no log entry", path.display())));
    }
    for (proof, body) in proofs {
        // The tree the bundle was given must be a part of the tree of today, and the entry where it said.
        let old = log.check(proof.checkpoint.as_bytes())?;
        let now = log.newest(Some(&old.origin)).await?;
        log.consistency(&old, &now.checkpoint).await?;
        let found = log.entry(&log.name_of(proof.log_index, body)).await?;
        let is_there = found.in_tree == proof.log_index && found.tree.checkpoint.origin == old.origin;
        if !is_there || found.body != body {
            return Err(ClientError::Proof(format!(
                "the log has another entry at index {} than the bundle; keep both, they are evidence",
                proof.log_index
            ))
            .into());
        }
        terminal.line(&format!(
            "{} inclusion     entry {} is the bundle's",
            terminal.yes(),
            proof.log_index
        ))?;
    }
    Ok(())
}
