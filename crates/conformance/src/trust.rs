//! Whom to trust: the files that are given, else an instance trusted on this machine. Nothing is fetched.

use std::path::PathBuf;

use clap::Args;
use countersign_client::ClientError;
use countersign_client::trust::{Trust, TrustFrom};

/// The instance that stands for the public staging services.
const STAGING: &str = "staging";

/// Arguments about whom to trust.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// For what no file is given, the trusted instance called "staging" instead of the default one
    #[arg(long)]
    staging: bool,
    /// A file with the trusted root
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

impl TrustArgs {
    /// The trust root, and the signing configuration where one is wanted.
    pub(crate) fn load(&self, signing_config: Option<PathBuf>) -> Result<Trust, ClientError> {
        let by_file = self.trusted_root.is_some();
        let from = TrustFrom {
            trusted_root: self.trusted_root.clone(),
            signing_config,
            trust_config: None,
            // A file decides alone: a root is never put together from two places.
            instance: (self.staging && !by_file).then(|| STAGING.to_owned()),
        };
        Trust::load(&from).map_err(|error| match error {
            ClientError::Trust(found) if !by_file => ClientError::Trust(format!(
                "expected --trusted-root, or {} trusted on this machine beforehand, because nothing is fetched \
                 here; {found}",
                if self.staging { "an instance called \"staging\"" } else { "a default instance" }
            )),
            other => other,
        })
    }
}
