//! What a monitor keeps in its directory: where it stands, and evidence, one file for each thing that a log did.

use std::path::{Path, PathBuf};

use countersign_attestation::json::{self, Base64, Bounded};
use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::sha256;
use countersign_tlog::fork::ForkEvidence;
use countersign_tlog::monitor::{Monitor, Standing};
use countersign_tlog::note::MAX_NOTE_BYTES;
use countersign_tlog::{Hash, Note};
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::ClientError;
use crate::artifact::{read_limited, write_atomically};
use crate::incident::not_evidence;

/// The largest file of evidence, in bytes: two notes as JSON writes them, and hashes.
pub const MAX_EVIDENCE: usize = 3 * MAX_NOTE_BYTES;
/// The most hashes of a tree's edge, or of evidence.
const MAX_HASHES: usize = 256;
const STATE: &str = "state.json";
const STATE_SCHEMA: &str = "countersign.log-monitor";
const EVIDENCE_SCHEMA: &str = "countersign.log-evidence";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct State {
    schema: String,
    schema_version: u32,
    checkpoint: String,
    edge: Bounded<Base64, MAX_HASHES>,
    latest: Option<String>,
    seen: String,
    /// Not in files of older versions.
    #[serde(default)]
    again: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Evidence {
    schema: String,
    schema_version: u32,
    /// What the log did, in a stable word, for people to read; it is not believed.
    alarm: String,
    message: String,
    notes: Bounded<String, 2>,
    hashes: Bounded<Base64, MAX_HASHES>,
}

fn hashes(read: Vec<Base64>) -> Option<Vec<Hash>> {
    read.into_iter().map(|hash| Hash::try_from(hash.0).ok()).collect()
}

fn written(hashes: &[Hash]) -> Vec<Base64> {
    hashes.iter().map(|hash| Base64(hash.to_vec())).collect()
}

/// Reads a file of evidence. Nothing in it is verified.
///
/// # Errors
/// [`ClientError::Malformed`], also when it holds one note only.
pub fn read_evidence(what: &str, bytes: &[u8]) -> Result<ForkEvidence, ClientError> {
    let wrong = |e: &dyn std::fmt::Display| ClientError::malformed(what, e);
    let read: Evidence =
        json::from_slice(bytes, MAX_EVIDENCE).map_err(|e| not_evidence(what, EVIDENCE_SCHEMA, bytes, &e))?;
    if (read.schema.as_str(), read.schema_version) != (EVIDENCE_SCHEMA, 1) {
        return Err(wrong(&format!(
            "expected {EVIDENCE_SCHEMA} 1, found {} {}",
            read.schema, read.schema_version
        )));
    }
    let notes: Vec<Note> = read
        .notes
        .0
        .iter()
        .map(|n| Note::parse(n.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(&e))?;
    let [first, second] = <[Note; 2]>::try_from(notes)
        .map_err(|n| wrong(&format!("expected two notes that contradict each other, found {}", n.len())))?;
    let hashes = hashes(read.hashes.0).ok_or_else(|| wrong(&"a hash that has not 32 bytes"))?;
    Ok(ForkEvidence { first, second, hashes })
}

/// The directory in which a monitor keeps what it knows of one log.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    /// No other monitor writes there.
    _lock: std::fs::File,
}

impl Kept {
    /// This directory, made if it is not there.
    ///
    /// # Errors
    /// [`ClientError::File`], [`ClientError::Usage`] when another monitor works there.
    pub fn open(dir: &Path) -> Result<Self, ClientError> {
        std::fs::create_dir_all(dir).map_err(ClientError::file("create the directory", dir))?;
        let path = dir.join("lock");
        let lock = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(ClientError::file("open", &path))?;
        lock.try_lock().map_err(|_| {
            ClientError::Usage(format!(
                "{}: another monitor works there; each has a directory of its own",
                dir.display()
            ))
        })?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Where the monitor stood, if it ever stood anywhere. What is damaged is never taken for a beginning.
    ///
    /// # Errors
    /// [`ClientError::File`], [`ClientError::Malformed`] when it is damaged, or of another log.
    pub fn standing(&self, monitor: &Monitor) -> Result<Option<Standing>, ClientError> {
        let path = self.dir.join(STATE);
        if !path.try_exists().map_err(ClientError::file("look for", &path))? {
            return Ok(None);
        }
        let limit = 2 * MAX_NOTE_BYTES;
        let bytes = read_limited(&path, limit)?;
        let wrong = |e: &dyn std::fmt::Display| ClientError::malformed(path.display().to_string(), e);
        let state: State = json::from_slice(&bytes, limit).map_err(|e| wrong(&e))?;
        if (state.schema.as_str(), state.schema_version) != (STATE_SCHEMA, 1) {
            return Err(wrong(&format!(
                "expected {STATE_SCHEMA} 1, found {} {}",
                state.schema, state.schema_version
            )));
        }
        let edge = hashes(state.edge.0).ok_or_else(|| wrong(&"a hash that has not 32 bytes"))?;
        let time = |text: String| text.parse::<Timestamp>().map_err(|e| wrong(&e));
        let (latest, seen) = (state.latest.map(time).transpose()?, time(state.seen)?);
        let standing = monitor.resume(state.checkpoint.as_bytes(), edge, (latest, seen), state.again);
        standing.map(Some).map_err(|e| wrong(&e))
    }

    /// Keeps where it stands now: written beside, flushed, then moved into place.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn keep(&self, standing: &Standing) -> Result<(), ClientError> {
        let state = State {
            schema: STATE_SCHEMA.into(),
            schema_version: 1,
            checkpoint: standing.note().to_string(),
            edge: Bounded(written(standing.peaks())),
            latest: standing.latest().map(|time| time.to_string()),
            seen: standing.seen().to_string(),
            again: standing.again(),
        };
        write(&self.dir.join(STATE), &state)
    }

    /// Where what shows a finding is kept, and whether it is there already: what a log goes on doing is one file, not many.
    ///
    /// # Errors
    /// [`ClientError::File`].
    pub fn evidence_of(&self, finding: &Finding) -> Result<(PathBuf, bool), ClientError> {
        // Cosignatures change with each look; what was signed does not.
        let texts: Vec<&str> = finding.notes.iter().map(Note::text).collect();
        let print = hex_encode(&sha256(format!("{}\n{}", finding.alarm, texts.join("\n")).as_bytes()));
        let name = format!("{}-{}.json", finding.alarm.code(), print.get(..16).unwrap_or(&print));
        let path = self.dir.join(name);
        let is_there = path.try_exists().map_err(ClientError::file("look for", &path))?;
        Ok((path, is_there))
    }

    /// Keeps what shows a finding, and from then on it is known.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn keep_evidence(&self, finding: &Finding) -> Result<(), ClientError> {
        let (path, is_there) = self.evidence_of(finding)?;
        if is_there {
            return Ok(());
        }
        let (notes, hashes) = match &finding.evidence {
            Some(ForkEvidence { first, second, hashes }) => {
                (vec![first.to_string(), second.to_string()], &hashes[..])
            }
            None => (finding.notes.iter().take(2).map(ToString::to_string).collect(), &[][..]),
        };
        let evidence = Evidence {
            schema: EVIDENCE_SCHEMA.into(),
            schema_version: 1,
            alarm: finding.alarm.code().to_owned(),
            message: finding.alarm.to_string(),
            notes: Bounded(notes),
            hashes: Bounded(written(hashes)),
        };
        write(&path, &evidence)
    }
}

fn write(path: &Path, content: &impl Serialize) -> Result<(), ClientError> {
    let bytes = serde_json::to_vec_pretty(content)
        .map_err(|e| ClientError::malformed(path.display().to_string(), e))?;
    write_atomically(path, &bytes)
}
