//! The journal: what control did, in its order, one line of JSON for each thing. It is all that the signer sees. Each line names the digest of the
//! one before it, and only one that was closed makes a statement: a build that was cut short leaves none.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use countersign_attestation::predicate::provenance::Resource;
use countersign_crypto::HashAlgorithm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BuildError;
use crate::sandbox::Output;

/// The longest journal, in bytes.
pub const MAX_JOURNAL: usize = 64 << 20;

/// How a build is kept apart from everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces, with tools by digest.
    Userns,
    /// The same, with tools of the host of which nobody knows what they are.
    Development,
}

impl Isolation {
    /// The name in the builder's id.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Userns => "userns",
            Self::Development => "development",
        }
    }
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event", content = "of", deny_unknown_fields)]
pub enum Event {
    /// The build began.
    Begun {
        /// Its name.
        invocation: String,
        /// Where the ids of the builder's kinds are: `https://countersign.dev`.
        base: String,
        /// How it is kept apart.
        isolation: Isolation,
        /// The version of this program.
        version: String,
        /// This program itself.
        program: Resource,
        /// What was asked for, as external parameters.
        parameters: Value,
    },
    /// The source, or something that is in it: known by what came, not by what was asked for.
    Resolved(Resource),
    /// An input was fetched.
    Input(Resource),
    /// What the sandbox was told.
    Planned(Value),
    /// Every process of the build is dead; the log was kept.
    Ended(Resource),
    /// A file that it left, hashed after that.
    Output(Output),
    /// A second build, under other circumstances, left the same bytes.
    Reproduced(Value),
    /// The end.
    Closed,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// SHA-256 of the line before, empty for the first.
    pub previous: String,
    /// When.
    pub at: String,
    /// What.
    pub did: Event,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    previous: String,
}

impl Journal {
    /// A new one.
    ///
    /// # Errors
    /// [`BuildError::File`].
    pub fn create(path: &Path) -> Result<Self, BuildError> {
        let file = File::create_new(path).map_err(BuildError::file(path.display()))?;
        Ok(Self { file, previous: String::new() })
    }

    /// Adds a line, and sees that it is on the disk.
    ///
    /// # Errors
    /// [`BuildError::Journal`].
    pub fn write(&mut self, event: Event) -> Result<(), BuildError> {
        let fails = |e: &dyn std::fmt::Display| BuildError::Journal(e.to_string());
        let line = Line { previous: self.previous.clone(), at: Timestamp::now().to_string(), did: event };
        let mut text = serde_json::to_vec(&line).map_err(|e| fails(&e))?;
        self.previous = HashAlgorithm::Sha256.digest(&text).to_hex();
        text.push(b'\n');
        self.file.write_all(&text).and_then(|()| self.file.sync_data()).map_err(|e| fails(&e))
    }
}

/// Reads a journal, whose lines must follow on each other.
///
/// # Errors
/// [`BuildError::Journal`]: a line that is none, or one that does not name the one before it.
pub fn read(bytes: &[u8]) -> Result<Vec<Line>, BuildError> {
    if bytes.len() > MAX_JOURNAL {
        return Err(BuildError::Journal(format!("expected at most {MAX_JOURNAL} bytes, found more")));
    }
    let Some(whole) = bytes.strip_suffix(b"\n") else {
        return Err(BuildError::Journal("its last line is cut short, or there is none".into()));
    };
    let mut previous = String::new();
    let mut lines = Vec::new();
    for (at, text) in whole.split(|byte| *byte == b'\n').enumerate() {
        let line: Line =
            serde_json::from_slice(text).map_err(|e| BuildError::Journal(format!("line {}: {e}", at + 1)))?;
        if line.previous != previous {
            return Err(BuildError::Journal(format!("line {} does not follow on the one before it", at + 1)));
        }
        previous = HashAlgorithm::Sha256.digest(text).to_hex();
        lines.push(line);
    }
    Ok(lines)
}
