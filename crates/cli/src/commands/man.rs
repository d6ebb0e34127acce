//! `countersign man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use countersign_client::ClientError;

use crate::cli::Cli;
use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign man /usr/local/share/man/man1\n  man ./man/countersign-sign.1"
)]
pub(crate) struct Man {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let failed = || ClientError::file("write the manual pages to", &self.directory);
        std::fs::create_dir_all(&self.directory).map_err(failed())?;
        clap_mangen::generate_to(Cli::command(), &self.directory).map_err(failed())?;
        terminal.talk(&format!("manual pages written to {}", self.directory.display()));
        Ok(0)
    }
}
