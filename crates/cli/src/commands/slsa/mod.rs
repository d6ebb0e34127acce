//! `countersign slsa`: levels of artifacts.

mod assess;

use clap::{Args, Subcommand};

use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign slsa assess --workflow .github/workflows/release.yml")]
pub(crate) struct SlsaCommand {
    #[command(subcommand)]
    action: SlsaAction,
}

#[derive(Debug, Subcommand)]
enum SlsaAction {
    Assess(Box<assess::Assess>),
}

impl SlsaCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            SlsaAction::Assess(assess) => assess.run(terminal),
        }
    }
}
