//! `countersign log migrate`: an instance's logs from its directory into a store past one machine, and back.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_clock::{Clock, SystemClock};
use countersign_crypto::encoding;
use countersign_server::store::{Destination, move_logs};

use crate::commands::init::{DIRECTORY, server_failure};
use crate::failure::Outcome;
use crate::out::{Terminal, counted};

/// Move an instance's logs into the store of its configuration, or back into its directory
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log migrate --to distributed
  countersign log migrate --to local /srv/countersign",
    after_help = "The section [store] of countersign.toml names the store. Stop every process that serves the logs \
                  first: a log in use is not moved. A move that was cut off is taken up again by the same command."
)]
pub(crate) struct Migrate {
    /// Where to: distributed or local
    #[arg(long, value_name = "STORE")]
    to: Destination,
    /// The instance's directory
    #[arg(value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
}

impl Migrate {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let moved = move_logs(&self.directory, self.to, &clock).map_err(|e| server_failure(&e))?;
        for (log, moved) in &moved {
            terminal.line(&format!(
                "{} {log} log: {}, root {}",
                terminal.yes(),
                counted(moved.size, "entry", "entries"),
                encoding::base64_encode(&moved.root)
            ))?;
        }
        terminal.talk(match self.to {
            Destination::Local => {
                "next: take the section [store] out of countersign.toml, and start the server"
            }
            _ => "next: start the server, on as many machines as you like",
        });
        Ok(0)
    }
}
