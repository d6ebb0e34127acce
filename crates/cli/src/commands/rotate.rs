//! `countersign rotate`: a new key for one of an instance's services.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_clock::{Clock, SystemClock};
use countersign_keys::KeyRef;
use countersign_server::rotate::{NewKeys, Target, rotate};

use crate::commands::init::{DIRECTORY, server_failure};
use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign rotate ca\n  countersign rotate log /srv/countersign\n  countersign rotate ca --key 'pkcs11:token=hsm;object=ca-2027?module-path=/usr/lib/hsm.so'",
    after_help = "Bring the offline keys back for the command. A server that runs lets go of the instance meanwhile, keeps its \
                  clients waiting, and goes on with the new key. It is done when no server runs, too. Logs past one machine are \
                  rotated in their store; servers on other machines take no entries until they have the directory as it is then."
)]
pub(crate) struct Rotate {
    /// What to replace: ca, ct, tsa, log, log-v1, tuf or revocation
    #[arg(value_name = "WHAT")]
    target: Target,
    /// The instance's directory
    #[arg(value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
    /// Where the new key is to live, instead of in a file: pkcs11:…; one that is not there yet is made
    #[arg(long, value_name = "REFERENCE")]
    key: Option<String>,
    /// The same for the key of TUF's root, with `rotate tuf`
    #[arg(long, value_name = "REFERENCE")]
    root_key: Option<String>,
}

impl Rotate {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let reference = |text: &Option<String>| text.as_deref().map(KeyRef::parse).transpose();
        let new = NewKeys { key: reference(&self.key)?, root_key: reference(&self.root_key)? };
        let report =
            rotate(&self.directory, self.target, &new, None, &clock).map_err(|e| server_failure(&e))?;
        terminal.line(&format!("{} new key sha256:{}", terminal.yes(), report.fingerprint))?;
        if let Some(retired) = &report.retired {
            terminal.talk(&format!("the old one is in {}", retired.display()));
        }
        if let Some(address) = &report.readable_at {
            terminal.talk(&format!("the old log stays readable: countersign log checkpoint --log {address}"));
        }
        if report.past_one_machine {
            terminal.talk(&format!(
                "servers on other machines: copy {} to them, and start them again; until then they take no entries for a \
                 log that was rotated",
                self.directory.display()
            ));
        }
        terminal.talk(match report.served {
            true => {
                "the server goes on with the new key; clients learn of it with `countersign trust update`"
            }
            false => "next: start the server; clients learn of it with `countersign trust update`",
        });
        Ok(0)
    }
}
