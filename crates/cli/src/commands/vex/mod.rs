//! `countersign vex`: saying whether a vulnerability touches a product, and taking what others say into account.

mod create;
mod filter;
mod merge;

use clap::{Args, Subcommand};
use countersign_attestation::JsonError;
use countersign_attestation::predicate::openvex::write::Author;
use countersign_clock::{Clock as _, SystemClock};

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The largest document or report, in bytes.
const MAX_FILE: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign vex create --author Acme --vulnerability CVE-2024-1 --status not_affected \\
    --justification component_not_present --product registry.example/app@sha256:9f86… > vex.json
  countersign attest --type openvex --predicate vex.json registry.example/app@sha256:9f86…
  countersign vex merge --author Acme a.json b.json > all.json
  countersign vex filter trivy.json registry.example/app@sha256:9f86… \\
    --vex vex.sigstore.json --key vex.pub")]
pub(crate) struct VexCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(create::Create),
    Merge(merge::Merge),
    Filter(Box<filter::Filter>),
}

impl VexCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Create(command) => command.run(terminal),
            Action::Merge(command) => command.run(terminal),
            Action::Filter(command) => command.run(terminal),
        }
    }
}

/// Who speaks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who says it")]
struct AuthorArgs {
    /// Who says it; the signature says whether that is so
    #[arg(long, value_name = "NAME")]
    author: String,
    /// As what: vendor, maintainer
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// The name of the document, an IRI; else one made from what it says
    #[arg(long, value_name = "IRI")]
    id: Option<String>,
}

impl AuthorArgs {
    fn author(&self) -> Author {
        Author {
            name: self.author.clone(),
            role: self.role.clone().unwrap_or_default(),
            id: self.id.clone().unwrap_or_default(),
            time: SystemClock.now(),
        }
    }
}

/// A document that cannot be made, because of what was asked for.
fn refused(error: &JsonError) -> Failure {
    Failure::usage(error.to_string())
}
