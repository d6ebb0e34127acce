//! `countersign log find`: what an identity, a key or a builder has signed, for who has to know what to revoke.

use clap::Args;
use countersign_client::log::LogReader;
use countersign_client::looking::{Hit, hits as hits_of, looked_for};
use countersign_clock::{Clock as _, SystemClock};
use serde_json::json;

use super::log::LogArgs;
use super::revoke::target::TargetArgs;
use super::revoke::when::{When, past};
use crate::args::OutputArgs;
use crate::failure::{NO_SIGNATURE, Outcome};
use crate::out::{Terminal, counted};

/// List what an identity, a key or a builder has signed
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log find --identity alice@example.com --since 2h
  countersign log find --key release.pub --output json
  countersign log find --builder 'https://ci.example/build.yml@refs/heads/main' --since 2026-11-26",
    after_help = "The whole log is read and must make the tree of its checkpoint, so nothing is left out. A log says by which certificate \
or key each entry is, and of which digest: that of a file, or of the envelope around a statement. When a certificate was issued is \
when it was used, within its ten minutes; of a bare key nobody knows, so --since leaves none of its entries out. Exit code 3 when \
there is nothing."
)]
pub(super) struct Find {
    #[command(flatten, next_help_heading = "What to look for")]
    targets: TargetArgs,
    /// Only what was signed from this time on: 2026-11-26T01:00:00Z, a day, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<When>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Find {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let now = SystemClock.now();
        let since = self.since.map(|since| since.at(now)).transpose()?;
        let wanted = looked_for(self.targets.sought()?, now)?;
        let (hits, unread, size) = self.log.with_reader(terminal, async |reader: &LogReader<'_>| {
            let checkpoint = reader.checkpoint().await?.checkpoint;
            let (mut hits, mut unread) = (Vec::new(), 0_u64);
            reader
                .each(&checkpoint, |index, body| match hits_of(index, body, &wanted, now) {
                    Some(found) => hits.extend(found),
                    None => unread += 1,
                })
                .await?;
            Ok((hits, unread, checkpoint.size))
        })?;
        let is_old = |hit: &Hit| hit.issued.zip(since).is_some_and(|(issued, since)| issued < since);
        let hits: Vec<Hit> = hits.into_iter().filter(|hit| !is_old(hit)).collect();
        if self.output.is_json() {
            let entries: Vec<_> = hits.iter().map(Hit::to_json).collect();
            terminal.json(
                "log.find",
                1,
                &json!({"treeSize": size, "notRead": unread, "entries": entries}),
            )?;
        } else {
            for hit in &hits {
                terminal.line(&hit.to_line())?;
            }
        }
        terminal.talk(&format!(
            "{} of {}; {unread} of another kind were not read",
            counted(hits.len() as u64, "entry", "entries"),
            counted(size, "entry", "entries")
        ));
        Ok(if hits.is_empty() { NO_SIGNATURE } else { 0 })
    }
}
