//! `countersign version`.

use clap::Args;
use serde_json::json;

use crate::args::OutputArgs;
use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign version\n  countersign version --json")]
pub(crate) struct Version {
    #[command(flatten)]
    output: OutputArgs,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        if self.json || self.output.is_json() {
            let system = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
            terminal.json("version", 1, &json!({ "version": version, "platform": system }))?;
        } else {
            terminal.line(&format!("countersign {version}"))?;
        }
        Ok(0)
    }
}
