//! `countersign admission`: the admission webhook of Kubernetes.

mod plan;
mod reverify;
mod serve;

use clap::{Args, Subcommand};

pub(in crate::commands) use serve::{follow_files, texts, unusable};

use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign admission plan --policy policies/\n  countersign admission serve --policy policy.yaml --tls-dir tls"
)]
pub(crate) struct AdmissionCommand {
    #[command(subcommand)]
    action: AdmissionAction,
}

#[derive(Debug, Subcommand)]
enum AdmissionAction {
    Plan(Box<plan::Plan>),
    /// Run the webhook
    Serve(Box<serve::Serve>),
}

impl AdmissionCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            AdmissionAction::Plan(plan) => plan.run(terminal),
            AdmissionAction::Serve(serve) => serve.run(terminal),
        }
    }
}
