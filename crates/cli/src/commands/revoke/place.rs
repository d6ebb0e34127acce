//! Where the list lies and who signs it: an instance, or a file and a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_crypto::{PublicKey, Signer};
use countersign_keys::{KeyRef, load_signer};
use countersign_server::revoke::{VALID_DAYS, list, revoke};
use countersign_trust::revocations::REVOCATIONS;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{
    Change, MAX_SIGNED_LIST, RevocationAuthority, RevocationList, open, seal,
};
use jiff::SignedDuration;

use crate::args::number;
use crate::commands::init::{DIRECTORY, server_failure};
use crate::commands::keys::password;
use crate::failure::{Failure, TRUST};

/// Arguments about where the list lies.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the list is")]
pub(crate) struct PlaceArgs {
    /// The instance's directory, whose list it is
    #[arg(long, value_name = "DIR", default_value = DIRECTORY, conflicts_with_all = ["list", "sign_with"])]
    dir: PathBuf,
    /// A list of its own in this file, which is made if it is not there; goes with --sign-with
    #[arg(long, value_name = "FILE", requires = "sign_with")]
    list: Option<PathBuf>,
    /// The key that signs the list in the file: a file, or a key elsewhere (docs/keys.md)
    #[arg(long, value_name = "KEY", requires = "list")]
    sign_with: Option<String>,
    /// How many days the list is valid; then it must be signed anew
    #[arg(long, value_name = "DAYS", value_parser = days, default_value_t = VALID_DAYS)]
    valid_days: i64,
}

fn days(text: &str) -> Result<i64, String> {
    let days = number::<i64>(text)?;
    if (1..=3650).contains(&days) {
        Ok(days)
    } else {
        Err(format!("expected a number of days from 1 to 3650, found {days}"))
    }
}

/// A list that was written.
pub(crate) struct Written {
    pub(crate) list: RevocationList,
    pub(crate) path: PathBuf,
    /// Where it is served, if it is.
    pub(crate) url: Option<String>,
    pub(crate) is_first: bool,
}

impl PlaceArgs {
    /// The list as it is.
    pub(crate) fn open(&self) -> Result<Place, Failure> {
        match (&self.list, &self.sign_with) {
            (Some(path), Some(key)) => {
                let signer = load_signer(&KeyRef::parse(key)?, &password(false))?;
                let list = read(path, signer.public_key())?;
                Ok(Place {
                    home: Home::File { path: path.clone(), signer },
                    list,
                    valid_days: self.valid_days,
                })
            }
            _ => {
                let found = list(&self.dir).map_err(|e| server_failure(&e))?;
                let list = found.map(|found| found.list().clone());
                Ok(Place { home: Home::Instance(self.dir.clone()), list, valid_days: self.valid_days })
            }
        }
    }

    /// The command that prints the list as an object for a cluster.
    pub(crate) fn printing(&self) -> String {
        let place = match (&self.list, &self.sign_with) {
            (Some(path), Some(key)) => format!("--list {} --sign-with {key}", path.display()),
            _ => format!("--dir {}", self.dir.display()),
        };
        format!("countersign revoke list --kubernetes {place}")
    }

    /// The file with the list.
    pub(crate) fn file(&self) -> PathBuf {
        self.list.clone().unwrap_or_else(|| self.dir.join(REVOCATIONS))
    }
}

enum Home {
    Instance(PathBuf),
    File { path: PathBuf, signer: Arc<dyn Signer> },
}

/// A list where it lies.
pub(crate) struct Place {
    home: Home,
    pub(crate) list: Option<RevocationList>,
    valid_days: i64,
}

impl Place {
    /// The list as it would be after a change.
    pub(crate) fn preview(&self, change: &Change) -> Result<RevocationList, Failure> {
        let usage = |e: &dyn std::fmt::Display| Failure::usage(e.to_string());
        let now = SystemClock.now();
        let expires =
            now.checked_add(SignedDuration::from_hours(24 * self.valid_days)).map_err(|e| usage(&e))?;
        RevocationList::following(self.list.as_ref(), change, now, expires).map_err(|e| usage(&e))
    }

    /// Changes the list.
    pub(crate) fn write(&self, change: &Change) -> Result<Written, Failure> {
        // What is wrong with the change is said before anything is signed.
        let list = self.preview(change)?;
        match &self.home {
            Home::Instance(dir) => {
                let report = revoke(dir, change, self.valid_days, None, &SystemClock);
                let report = report.map_err(|e| server_failure(&e))?;
                let url = Some(report.url);
                Ok(Written { list: report.list, path: report.path, url, is_first: report.is_first })
            }
            Home::File { path, signer } => {
                let sealed = seal(&list, signer.as_ref()).map_err(|e| Failure::usage(e.to_string()))?;
                write_atomically(path, &sealed)?;
                Ok(Written { list, path: path.clone(), url: None, is_first: false })
            }
        }
    }
}

/// The list in a file, which must be signed by the key that is to sign the next one.
fn read(path: &Path, key: &PublicKey) -> Result<Option<RevocationList>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let authority = RevocationAuthority::new(std::slice::from_ref(key), &[]);
    let authority = authority.map_err(|e| Failure::usage(e.to_string()))?;
    let bytes = read_limited(path, MAX_SIGNED_LIST + 1)?;
    let name = path.display().to_string();
    let opened = open(&bytes, &authority, &TrustMaterial::empty(), &name, Timestamp::MAX).map_err(|e| {
        Failure::new(TRUST, format!("{name}: {e}"))
            .next("go on with the key that signed it before, or begin a new list in another file")
    })?;
    Ok(Some(opened.list().clone()))
}
