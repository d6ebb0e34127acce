//! What people are told: what was, what is, since when, why, and the next command.

use std::fmt;
use std::sync::Arc;

use countersign_clock::Timestamp;
use countersign_http::text::printable;
use serde::{Serialize, Serializer};

use super::sink::Told;
use crate::scan::{Control, ResourceName, Severity};

/// The version of the JSON document.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// It holds, or does not and is excused.
    Passed,
    /// Nobody could look, and that has lasted.
    Unchecked,
    /// It does not hold.
    Failed,
    /// It is no longer there, or no longer checked.
    Gone,
}

impl Standing {
    /// In a word, as metrics spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unchecked => "unchecked",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unchecked => "could not be checked",
            Self::Failed => "failed",
            Self::Gone => "is no longer there",
        }
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// One check of one image that ended otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The control.
    pub control: Control,
    /// How much it matters.
    pub severity: Severity,
    /// The policy and the rule, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Where the image stands: `spec.containers[0].image`; empty for the object as a whole.
    pub path: String,
    /// The image as it is written.
    pub image: String,
    /// The digest that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How it stood; nothing for what is seen for the first time.
    pub was: Option<Standing>,
    /// How it stands.
    pub is: Standing,
    /// Since when it stands so.
    pub since: Timestamp,
    /// A stable code.
    pub reason: String,
    /// For people: what was expected, what was found.
    pub message: String,
    /// The next command or step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// What changed of one workload at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// The schema's name.
    pub schema: &'static str,
    /// Its version.
    pub schema_version: u32,
    /// When it was found.
    pub time: Timestamp,
    /// The workload; of pods that are alike, one.
    pub workload: ResourceName,
    /// The object's identifier in its cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// What changed; at least one.
    pub changes: Vec<Change>,
}

impl Alert {
    /// Of these changes, if there are any.
    pub(super) fn of(
        workload: &ResourceName,
        uid: &str,
        changes: Vec<Change>,
        time: Timestamp,
    ) -> Option<Self> {
        if changes.is_empty() {
            return None;
        }
        Some(Self {
            schema: "countersign.alert",
            schema_version: SCHEMA_VERSION,
            time,
            workload: workload.clone(),
            uid: uid.to_owned(),
            changes,
        })
    }

    /// The worst that it tells.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let rank = |standing: &Standing| match standing {
            Standing::Failed => 3,
            Standing::Unchecked => 2,
            Standing::Passed => 1,
            Standing::Gone => 0,
        };
        self.changes.iter().map(|change| change.is).max_by_key(rank).unwrap_or(Standing::Gone)
    }

    /// In one line.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {}", printable(&self.workload.to_string()), self.standing().words())
    }
}

impl Told for Alert {
    /// The worst first.
    fn subject(alerts: &[Arc<Self>]) -> String {
        if let [alert] = alerts {
            return format!("countersign: {}", alert.title());
        }
        let count = |standing| alerts.iter().filter(|alert| alert.standing() == standing).count();
        format!(
            "countersign: {} workloads changed: {} failed, {} could not be checked, {} passed",
            alerts.len(),
            count(Standing::Failed),
            count(Standing::Unchecked),
            count(Standing::Passed),
        )
    }

    fn note(&self) {
        let (standing, changes) = (self.standing().code(), self.changes.len());
        tracing::info!(workload = %self.workload, standing, changes, "alert");
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.time, self.title())?;
        for change in &self.changes {
            let was = change.was.map_or("seen for the first time", Standing::words);
            let what = change.policy.as_deref().unwrap_or(change.control.name());
            let id = change.control.id();
            writeln!(
                f,
                "  {id} {}: was: {was}; is: {}, since {}",
                printable(what),
                change.is.words(),
                change.since
            )?;
            if !change.image.is_empty() {
                let digest = change.digest.as_ref().map(|digest| format!(" ({digest})")).unwrap_or_default();
                writeln!(
                    f,
                    "    image: {}{digest} at {}",
                    printable(&change.image),
                    printable(&change.path)
                )?;
            }
            writeln!(f, "    why: {} [{}]", printable(&change.message), printable(&change.reason))?;
            if !change.next.is_empty() {
                writeln!(f, "    next: {}", printable(&change.next))?;
            }
        }
        Ok(())
    }
}
