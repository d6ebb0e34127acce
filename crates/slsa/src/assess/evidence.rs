//! What an assessment is made from. Everything in it was verified or read by whoever fills it in: nothing here looks anywhere.

use std::collections::BTreeMap;

use countersign_attestation::predicate::provenance::Provenance;
use jiff::Timestamp;

use super::assertion::Assertion;
use crate::source::{Control, SourceRecord};
use crate::workflow::Workflow;

/// What is known of an artifact.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What is assessed, in words.
    pub subject: String,
    /// Its digests by algorithm; none where only workflow files are read.
    pub digest: BTreeMap<String, String>,
    /// Provenance of it.
    pub provenance: Sought<Attested>,
    /// The workflow files, read.
    pub workflows: Vec<Workflow>,
    /// What a clone of the source says.
    pub clone: Option<CloneFacts>,
    /// What the source control system says of the revision, verified.
    pub source: Sought<SourceRecord>,
    /// What somebody answers for, verified.
    pub assertions: Vec<Assertion>,
    /// What was to go into the build, by its lock files.
    pub locked: Option<Locked>,
    /// Who has built it again and come to the same bytes: the statement's digest and its signer.
    pub rebuilt: Option<(String, String)>,
}

/// Statements that were looked for. Not to have looked and to have found nothing are two things.
#[derive(Debug, Clone, Default)]
pub enum Sought<T> {
    /// Nobody looked.
    #[default]
    Not,
    /// These were found and hold; those were found and do not, with the reason.
    Found {
        /// Verified.
        verified: Vec<T>,
        /// Why others do not count.
        refused: Vec<String>,
    },
}

impl<T> Sought<T> {
    /// What was verified.
    #[must_use]
    pub fn verified(&self) -> &[T] {
        match self {
            Self::Not => &[],
            Self::Found { verified, .. } => verified,
        }
    }

    /// Why what was found does not count.
    #[must_use]
    pub fn refused(&self) -> &[String] {
        match self {
            Self::Not => &[],
            Self::Found { refused, .. } => refused,
        }
    }
}

/// Provenance that verifies: its subject is the artifact, and this signer signed it.
#[derive(Debug, Clone)]
pub struct Attested {
    /// The SHA-256 of the statement, hexadecimal.
    pub statement: String,
    /// Who signed, in words: the name in the certificate, or the key.
    pub signer: String,
    /// The build level that the roots of trust give this signer and builder together; none where they do not name them.
    pub level: Option<u8>,
    /// Whether a transparency log or timestamp authority says when it was signed.
    pub timed: bool,
    /// The provenance.
    pub provenance: Provenance,
}

impl Attested {
    /// The commit of git that names the source.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let source = self.provenance.source.as_ref()?;
        let named = ["gitCommit", "sha1"].iter().filter_map(|name| source.digest.get(*name));
        let others = source.digest.values().filter(|_| source.uri.starts_with("git+"));
        let is_commit =
            |hex: &&String| matches!(hex.len(), 40 | 64) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        named.chain(others).find(is_commit).map(String::as_str)
    }
}

/// What `git` says in a clone.
#[derive(Debug, Clone, Default)]
pub struct CloneFacts {
    /// Where it is.
    pub path: String,
    /// The commit that was asked about.
    pub commit: String,
    /// Whether it is there.
    pub exists: bool,
    /// The ref that was asked about, and whether the commit is reachable from it.
    pub reachable: Option<(String, bool)>,
    /// The entry points that were asked about, and whether each is a file in that commit.
    pub files: BTreeMap<String, bool>,
}

/// What lock files name.
#[derive(Debug, Clone, Default)]
pub struct Locked {
    /// The files.
    pub files: Vec<String>,
    /// What is named with digests: the name, and the digests by algorithm.
    pub pinned: Vec<(String, BTreeMap<String, String>)>,
    /// What is named without one.
    pub loose: Vec<String>,
}

/// How an assessment judges.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The time.
    pub now: Timestamp,
    /// Whether what somebody only answers for counts towards a level.
    pub count_asserted: bool,
}

impl Evidence {
    /// The provenance that says most: of the highest level, then with a time, then the newest.
    #[must_use]
    pub fn best(&self) -> Option<&Attested> {
        let rank = |one: &&Attested| (one.level.unwrap_or(0), one.timed, one.provenance.finished);
        self.provenance.verified().iter().max_by_key(rank)
    }

    /// The controls of the source that a verified record names for the revision, and since when.
    #[must_use]
    pub fn control(&self, control: Control) -> Option<(&SourceRecord, Option<Timestamp>)> {
        self.source.verified().iter().find_map(|record| record.since(control).map(|since| (record, since)))
    }
}
