//! `countersign log find`: what an identity, a key or a builder has signed, for who has to know what to revoke.

use clap::Args;
use countersign_client::log_tree::LogTree;
use countersign_client::looking::looked_for;
use countersign_clock::{Clock as _, SystemClock};
use serde_json::json;

use super::log::LogArgs;
use super::log::trees::{Logged, hits};
use super::revoke::target::TargetArgs;
use super::revoke::when::{When, past};
use crate::args::OutputArgs;
use crate::failure::Outcome;
use crate::out::Terminal;

/// List what an identity, a key or a builder has signed
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log find --identity alice@example.com --since 2h
  countersign log find --key release.pub --output json
  countersign log find --builder 'https://ci.example/build.yml@refs/heads/main' --since 2026-11-26",
    after_help = "Every log that the trust root names is read (--log: those at one address), of Rekor v1 too, and must make the tree of its checkpoint, \
so nothing is left out. A log says by which certificate \
or key each entry is, and of which digest: that of a file, or of the envelope around a statement. When a certificate was issued is \
when it was used, within its ten minutes; of a bare key nobody knows, so --since leaves none of its entries out. A log that could \
not be read is named, and ends it with exit code 6; a closed one that does not verify is an alarm, with exit code 2. Exit code 3 when there is nothing."
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
        let looked = self
            .log
            .with_trees(terminal, async |tree: &LogTree<'_>| Logged::read(tree, &wanted, since, now).await)?;
        if self.output.is_json() {
            let entries: Vec<_> = hits(&looked.found).map(|(hit, log)| hit.to_json(log)).collect();
            let logs: Vec<_> = looked.found.iter().map(Logged::log).collect();
            let content = json!({"logs": logs, "notLookedAt": looked.unseen, "alarms": looked.alarms, "entries": entries});
            terminal.json("log.find", 2, &content)?;
        } else {
            for (hit, log) in hits(&looked.found) {
                terminal.line(&hit.to_line(log))?;
            }
        }
        looked.found.iter().for_each(|log| log.say(terminal));
        looked.say_unseen(terminal);
        Ok(looked.code(hits(&looked.found).next().is_none()))
    }
}
