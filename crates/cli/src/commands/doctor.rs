//! `countersign doctor`: looks at an instance and says the next step.

use clap::Args;
use countersign_clock::SystemClock;
use countersign_server::doctor::{Level, run};
use serde_json::json;

use crate::args::OutputArgs;
use crate::commands::serve::DirectoryArgs;
use crate::failure::{Outcome, USAGE};
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign doctor\n  countersign doctor /srv/countersign --output json"
)]
pub(crate) struct Doctor {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Doctor {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let findings = run(&self.directory.path(), None, &SystemClock);
        let broken = findings.iter().any(|f| f.level == Level::Problem);
        let name = |level: Level| match level {
            Level::Good => "good",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        if self.output.is_json() {
            let list: Vec<_> = findings
                .iter()
                .map(|f| json!({ "level": name(f.level), "what": f.what, "found": f.found, "next": f.next }))
                .collect();
            terminal.json("doctor", 1, &json!({ "healthy": !broken, "findings": list }))?;
        } else {
            for f in &findings {
                let mark = match f.level {
                    Level::Good => terminal.yes(),
                    Level::Warning => terminal.strong("!"),
                    Level::Problem => terminal.no(),
                };
                terminal.line(&format!("{mark} {:<20} {}", f.what, f.found))?;
                if !f.next.is_empty() {
                    terminal.line(&format!("    next  {}", f.next))?;
                }
            }
        }
        Ok(if broken { USAGE } else { 0 })
    }
}
