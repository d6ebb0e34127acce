//! What a monitor tells: one thing a log did, or one signature by somebody who is watched.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_client::monitor::Finding;
use countersign_clock::Timestamp;
use countersign_http::text::printable;
use countersign_kubernetes::api::Reason;
use countersign_kubernetes::continuous::Told;
use countersign_tlog::Checkpoint;
use countersign_tlog::monitor::Standing;
use serde::{Deserialize, Serialize};

use super::Hit;
use crate::failure::Failure;

/// A signature by somebody who is watched, among the kinds of alerts.
const WATCHED: &str = "watched";
/// As what is told is called among a cluster's events.
const REASONS: &[(&str, &str)] = &[
    (WATCHED, "LogEntryWatched"),
    ("checkpoint", "LogCheckpointInvalid"),
    ("origin", "LogOriginChanged"),
    ("shrunk", "LogShrunk"),
    ("forked", "LogForked"),
    ("rewritten", "LogRewritten"),
    ("discontinued", "LogDiscontinued"),
    ("withheld", "LogEntriesWithheld"),
    ("back_dated", "LogBackDated"),
    ("future_dated", "LogFutureDated"),
    ("unwitnessed", "LogUnwitnessed"),
    ("equivocated", "LogEquivocated"),
];

/// One thing that is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogAlert {
    schema: String,
    schema_version: u32,
    time: String,
    log: String,
    origin: String,
    /// `watched`, or what the log did.
    kind: String,
    tree_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
    next: String,
}

impl LogAlert {
    fn new(kind: &str, log: &str, tree: Option<&Checkpoint>, time: Timestamp) -> Self {
        Self {
            schema: "countersign.log-alert".to_owned(),
            schema_version: 1,
            time: time.to_string(),
            log: log.to_owned(),
            origin: tree.map(|tree| tree.origin.clone()).unwrap_or_default(),
            kind: kind.to_owned(),
            tree_size: tree.map(|tree| tree.size).unwrap_or_default(),
            index: None,
            signer: None,
            digest: None,
            issued: None,
            message: String::new(),
            evidence: None,
            next: String::new(),
        }
    }

    /// A signature by somebody who is watched.
    pub(super) fn of_hit(log: &str, good: &Standing, hit: Hit, time: Timestamp) -> Self {
        let Hit { index, issued, signer, digest } = hit;
        Self {
            message: format!("entry {index}: {signer} signed {digest}"),
            next: format!(
                "if nobody of yours did that: countersign revoke --digest {digest} --reason '…'; all of it: countersign log find"
            ),
            index: Some(index),
            signer: Some(signer),
            digest: Some(digest),
            issued: issued.map(|time| time.to_string()),
            ..Self::new(WATCHED, log, Some(good.checkpoint()), time)
        }
    }

    /// Something that the log did.
    pub(super) fn of_finding(log: &str, finding: &Finding, evidence: &Path, time: Timestamp) -> Self {
        let newest = finding.notes.last().and_then(|note| Checkpoint::parse(note.text()).ok());
        let next = if finding.evidence.is_some() {
            "check and hand on the evidence: countersign log check-fork FILE --key LOG-KEY"
        } else {
            "look again; if it stays so, ask who runs the log, with the file at hand"
        };
        Self {
            message: finding.alarm.to_string(),
            evidence: Some(evidence.display().to_string()),
            next: next.to_owned(),
            ..Self::new(finding.alarm.code(), log, newest.as_ref(), time)
        }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// As it is called among a cluster's events. What is not told apart yet breaks a promise all the same.
    pub(super) fn reason(&self) -> Reason {
        let known = REASONS.iter().find(|(kind, _)| *kind == self.kind);
        Reason::Alarm(known.map_or("LogPromiseBroken", |(_, reason)| *reason))
    }

    /// What an event says. It has no time: what is told again after a crash is the same event once more.
    pub(super) fn note_of_event(&self) -> String {
        let evidence = self.evidence.as_ref().map(|path| format!("; evidence: {path}")).unwrap_or_default();
        printable(&format!("{}: {}{evidence}; next: {}", self.log, self.message, self.next))
    }

    fn title(&self) -> String {
        match self.kind.as_str() {
            WATCHED => format!("{}: a signature by somebody who is watched", self.log),
            kind => format!("{}: the log breaks its promises ({kind})", self.log),
        }
    }
}

impl Told for LogAlert {
    fn subject(all: &[Arc<Self>]) -> String {
        let worst = all.iter().find(|alert| alert.kind != WATCHED).or(all.first());
        let title = worst.map(|alert| alert.title()).unwrap_or_default();
        match all.len() {
            0 | 1 => printable(&format!("countersign: {title}")),
            count => printable(&format!("countersign: {title}, and {} more", count - 1)),
        }
    }

    fn note(&self) {
        tracing::info!(log = self.log, kind = self.kind, message = self.message, "alert");
    }
}

impl fmt::Display for LogAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.time, printable(&self.title()))?;
        writeln!(f, "  {}", printable(&self.message))?;
        if let Some(issued) = &self.issued {
            writeln!(f, "  certificate issued: {issued}")?;
        }
        if let Some(evidence) = &self.evidence {
            writeln!(f, "  evidence: {}", printable(evidence))?;
        }
        writeln!(f, "  next: {}", printable(&self.next))
    }
}

/// All that was ever told, one line of JSON each.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// In the monitor's directory.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("alerts.jsonl");
        let opened = File::options().create(true).append(true).open(&path);
        let file = opened.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        Ok(Self { path, file })
    }

    /// Writes it, and waits until it is on the disk.
    pub(super) fn add(&self, alert: &LogAlert) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(alert).map_err(|e| Failure::internal(e.to_string()))?;
        line.push(b'\n');
        let written = (&self.file).write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|e| Failure::internal(format!("{}: {e}", self.path.display())))
    }
}
