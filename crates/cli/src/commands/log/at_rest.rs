//! Which logs on this machine's disk a command is about: an instance's, or one alone.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_crypto::PublicKey;
use countersign_log::LogError;
use countersign_server::config::FILE_NAME;
use countersign_server::instance::{Instance, LogAtRest};

use crate::commands::init::server_failure;
use crate::failure::{Failure, REJECTED, USAGE};

const MAX_KEY: usize = 64 * 1024;
/// The file that makes a directory a log.
const PARAMS: &str = "params";

/// The key of a log which is not in an instance's directory.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The directory is one log's own, and this is its public key (PEM)
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
}

fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    Ok(PublicKey::from_pem(&String::from_utf8_lossy(&read_limited(path, MAX_KEY)?))?)
}

impl KeyArgs {
    /// The logs in a directory: the one that it is, or those of the instance that it is.
    pub(super) fn logs(&self, directory: &Path) -> Result<Vec<LogAtRest>, Failure> {
        if let Some(log) = self.alone(directory)? {
            return Ok(vec![log]);
        }
        let shown = directory.display();
        let is_copy = LogAtRest::NAMES.iter().any(|name| key_beside(directory, name).exists());
        if is_copy && !is_instance(directory) {
            return Err(Failure::usage(format!("{shown} is a copy of an instance's logs"))
                .next(format!("countersign log backup verify {shown}")));
        }
        let instance = Instance::open(directory).map_err(|e| server_failure(&e))?;
        instance.logs_at_rest().map_err(|e| server_failure(&e))
    }

    /// The logs in a copy, which has the keys beside them.
    pub(super) fn copies(&self, directory: &Path) -> Result<Vec<LogAtRest>, Failure> {
        if let Some(log) = self.alone(directory)? {
            return Ok(vec![log]);
        }
        let shown = directory.display();
        if is_instance(directory) {
            return Err(Failure::usage(format!("{shown} is an instance, no copy"))
                .next(format!("countersign log fsck {shown}")));
        }
        let mut logs = Vec::new();
        for name in LogAtRest::NAMES {
            let at = directory.join(name);
            if at.join(PARAMS).exists() {
                logs.push(LogAtRest::new(name, at, public_key(&key_beside(directory, name))?));
            }
        }
        if logs.is_empty() {
            return Err(Failure::usage(format!("{shown} is no copy of an instance's logs"))
                .next("make one: countersign log backup DIR DEST"));
        }
        Ok(logs)
    }

    fn alone(&self, directory: &Path) -> Result<Option<LogAtRest>, Failure> {
        match &self.log_key {
            Some(path) => Ok(Some(LogAtRest::new("", directory.to_owned(), public_key(path)?))),
            None if directory.join(PARAMS).exists() => Err(Failure::usage(format!(
                "{} is one log's own directory: give its public key with --log-key, or the instance's directory",
                directory.display()
            ))),
            None => Ok(None),
        }
    }
}

fn is_instance(directory: &Path) -> bool {
    directory.join(FILE_NAME).exists()
}

/// Where a copy keeps the public key of a log.
pub(super) fn key_beside(copy: &Path, name: &str) -> PathBuf {
    copy.join(format!("{name}.pub"))
}

/// What is wrong with a log, with the exit code that says so.
pub(super) fn log_failure(directory: &Path, error: &LogError) -> Failure {
    let code = match error {
        LogError::Corrupt { .. } | LogError::Inconsistent(_) | LogError::NoLockRecord { .. } => REJECTED,
        LogError::NoLog { directory } => {
            let instance = directory.parent().unwrap_or(directory).display();
            return Failure::new(REJECTED, error.to_string())
                .next(format!("countersign log restore COPY {instance} --newest FILE"));
        }
        _ => USAGE,
    };
    Failure::new(code, format!("{}: {error}", directory.display()))
}
