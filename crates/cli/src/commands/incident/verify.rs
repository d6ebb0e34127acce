//! `countersign incident verify`: what a file of evidence shows, with nobody asked.

use std::path::PathBuf;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::incident::{Evidence, MAX_EVIDENCE, ShownLog};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use serde_json::json;

use crate::args::OutputArgs;
use crate::args::services::TrustArgs;
use crate::failure::Outcome;
use crate::out::{Terminal, counted};

/// Check a file of evidence offline: by the trusted root alone
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign incident verify alice.json --trusted-root trusted_root.json
  countersign incident verify alice.json --output json",
    after_help = "Everything in the file must hold, or it shows nothing: exit code 2. When it was gathered is its author's word."
)]
pub(super) struct Verify {
    /// The evidence
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Verify {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let bytes = read_limited(&self.file, MAX_EVIDENCE)?;
        let evidence = Evidence::from_json(&self.file.display().to_string(), &bytes)?;
        let shown = evidence.verify(&self.trust.load(None)?.root, SystemClock.now())?;
        let hits = || shown.logs.iter().flat_map(|log| log.hits.iter().map(|hit| (hit, &*log.origin)));
        if self.output.is_json() {
            let entries: Vec<_> = hits().map(|(hit, log)| hit.to_json(log)).collect();
            let log = |log: &ShownLog| json!({"origin": log.origin, "treeSize": log.size});
            let logs: Vec<_> = shown.logs.iter().map(log).collect();
            let content = json!({"logs": logs, "entries": entries, "images": shown.images,
                "collected": shown.collected.to_string()});
            terminal.json("incident.evidence", 2, &content)?;
            return Ok(0);
        }
        for (hit, log) in hits() {
            terminal.line(&hit.to_line(log))?;
        }
        for image in &shown.images {
            terminal.line(&printable(&format!("  signed: {image}")))?;
        }
        let log = |log: &ShownLog| format!("{} ({})", log.origin, counted(log.size, "entry", "entries"));
        let logs: Vec<_> = shown.logs.iter().map(log).collect();
        terminal.talk(&printable(&format!(
            "{} {} of {}, and {} hold; gathered, as the file says, at {}",
            terminal.yes(),
            counted(hits().count() as u64, "entry", "entries"),
            logs.join(" and "),
            counted(shown.images.len() as u64, "signature of an image", "signatures of images"),
            shown.collected
        )));
        Ok(0)
    }
}
