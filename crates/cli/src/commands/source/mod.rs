//! `countersign source`: a git server of one's own as source control system of SLSA's source track.

mod approve;
mod hook;
mod notes;
mod received;
mod settings;

use clap::{Args, Subcommand};

use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign source approve HEAD --repository git+https://git.example/shop --branch refs/heads/main
  countersign source hook pre-receive --settings /srv/git/source.yaml --actor \"$REMOTE_USER\"")]
pub(crate) struct SourceCommand {
    #[command(subcommand)]
    action: SourceAction,
}

#[derive(Debug, Subcommand)]
enum SourceAction {
    Approve(Box<approve::Approve>),
    /// What git runs on the server when somebody pushes
    Hook(hook::HookCommand),
}

impl SourceCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            SourceAction::Approve(approve) => approve.run(terminal),
            SourceAction::Hook(hook) => hook.run(terminal),
        }
    }
}
