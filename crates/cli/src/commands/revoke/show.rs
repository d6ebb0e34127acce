//! `countersign revoke list`: what is revoked, in plain words, as JSON, or as an object for a cluster.

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::text::printable;
use countersign_kubernetes::api::revocation_object;
use countersign_verify::revocation::{Entry, MAX_SIGNED_LIST, RevocationList};
use serde_json::json;

use super::place::PlaceArgs;
use crate::args::OutputArgs;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The object's name in a cluster, unless it is given another.
pub(super) const NAME: &str = "revocations";

/// Show what is revoked, and what was
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign revoke list
  countersign revoke list --dir /srv/countersign --output json
  countersign revoke list --kubernetes | kubectl apply --server-side -f -
  countersign revoke list --list bad.json --sign-with soc.key")]
pub(super) struct List {
    /// Print the signed list as an object for a cluster instead
    #[arg(long, conflicts_with = "output")]
    kubernetes: bool,
    /// The object's name
    #[arg(long, value_name = "NAME", default_value = NAME, requires = "kubernetes")]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl List {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let list = self.place.open()?.list.ok_or_else(|| {
            Failure::usage(format!(
                "{} is not there: nothing was ever revoked here",
                self.place.file().display()
            ))
            .next("countersign revoke --identity NAME --reason TEXT")
        })?;
        if self.kubernetes {
            return self.object(terminal);
        }
        let now = SystemClock.now();
        if self.output.is_json() {
            let json = list.to_json().map_err(|e| Failure::internal(e.to_string()))?;
            let document: serde_json::Value =
                serde_json::from_slice(&json).map_err(|e| Failure::internal(e.to_string()))?;
            terminal.json("revocations", 1, &json!({ "list": document }))?;
            return Ok(0);
        }
        terminal.talk(&format!("list {} of {}, valid until {}", list.number, list.issued_at, list.expires));
        for entry in &list.entries {
            terminal.line(&printable(&format!("{}{}", line(entry), state(&list, entry, now))))?;
        }
        if list.standing().next().is_none() {
            terminal.talk("nothing is revoked");
        }
        if now >= list.expires {
            terminal.talk(
                "the list has expired, so whoever follows it refuses everything: countersign revoke renew",
            );
        }
        Ok(0)
    }

    /// The signed list as it is, in an object.
    fn object(&self, terminal: &Terminal) -> Outcome {
        let bytes = read_limited(&self.place.file(), MAX_SIGNED_LIST)?;
        let text = String::from_utf8(bytes).map_err(|e| Failure::usage(e.to_string()))?;
        let object = revocation_object(&self.name, &text);
        // JSON is YAML.
        let text = serde_json::to_string_pretty(&object).map_err(|e| Failure::internal(e.to_string()))?;
        terminal.line(&text)?;
        Ok(0)
    }
}

/// An entry in one line.
pub(super) fn line(entry: &Entry) -> String {
    let Entry { id, by, at, reason, .. } = entry;
    let what = match (&entry.revoke, entry.undo) {
        (Some(revoke), _) => {
            let since =
                revoke.since.map_or_else(|| ", at all times".into(), |time| format!(", since {time}"));
            let until = revoke.until.map(|time| format!(" until {time}")).unwrap_or_default();
            let expires = revoke.expires.map(|time| format!(", the entry ends {time}")).unwrap_or_default();
            format!("{}{since}{until}{expires}", revoke.target)
        }
        (None, other) => format!("entry {} is withdrawn", other.unwrap_or_default()),
    };
    format!("{id:>3}  {what}; by {by} at {at}: {reason}")
}

/// Why an entry does not hold, if it does not.
fn state(list: &RevocationList, entry: &Entry, now: Timestamp) -> String {
    let Some(revoke) = &entry.revoke else { return String::new() };
    if let Some(undo) = list.entries.iter().find(|other| other.undo == Some(entry.id)) {
        return format!("  [withdrawn by entry {}]", undo.id);
    }
    if revoke.expires.is_some_and(|end| now >= end) { "  [ended]".into() } else { String::new() }
}
