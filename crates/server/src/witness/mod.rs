//! Being a witness (C2SP `tlog-witness`): vouching for other logs that they show everybody one history.
//!
//! What was cosigned last is one file for each log. It is read again, and verified again, for each request; the new
//! checkpoint is on the disk, under its name, before the cosignature is made. Asking others for ours is in `asking`.

pub(crate) mod asking;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{KeyType, PublicKey, Signer, sha256};
use countersign_keys::{KeyRef, PasswordSource, create_key_pair, file, load_signer};
use countersign_tlog::add_checkpoint::{AddCheckpoint, Refusal};
use countersign_tlog::note::MAX_NOTE_BYTES;
use countersign_tlog::{Checkpoint, Note, NoteKind, NoteSigner, NoteVerifier};
use serde::Deserialize;

use crate::ServerError;
pub use asking::AskedWitness;

/// Where the state lies, below the instance's directory.
const STATE: &str = "witness";
/// The key, below the instance's directory and without extension, unless it lives elsewhere.
const KEY: &str = "keys/witness";

/// The logs that are witnessed, and as whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSection {
    /// The witness's name, as it stands in its cosignatures: usually a host name, and a path when there are several.
    pub name: String,
    /// The witness's key (Ed25519), when it is not `keys/witness.key`, which is made at the first start.
    #[serde(default)]
    pub key: Option<String>,
    /// The logs. No other is cosigned.
    #[serde(default)]
    pub logs: Vec<WitnessedLog>,
}

/// A log that is witnessed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessedLog {
    /// The first line of its checkpoints.
    pub origin: String,
    /// Its key: as it is published (name+hint+key), or a file with the public key (PEM), which signs under the origin.
    pub key: String,
}

/// Why nothing was cosigned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCosigned {
    /// The request's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours.
    #[error("{0}")]
    Failed(String),
}

/// A witness that runs.
#[derive(Debug)]
pub(crate) struct Witness {
    signer: NoteSigner,
    logs: BTreeMap<String, Vec<NoteVerifier>>,
    directory: PathBuf,
    /// No other process cosigns from this directory.
    _lock: std::fs::File,
    /// Held from the reading of what was cosigned last until the next is on the disk.
    turn: Mutex<()>,
}

impl Witness {
    /// Opens what the configuration says. The key is made when it is the instance's own and is not there yet.
    pub(crate) fn open(
        instance: &Path,
        section: &WitnessSection,
        password: &PasswordSource,
    ) -> Result<Self, ServerError> {
        let config = |message: String| ServerError::Config {
            path: instance.join(crate::config::FILE_NAME),
            message: format!("witness: {message}"),
        };
        let mut logs = BTreeMap::<String, Vec<NoteVerifier>>::new();
        for log in &section.logs {
            let verifier =
                verifier(instance, log).map_err(|e| config(format!("the log {}: {e}", log.origin)))?;
            logs.entry(log.origin.clone()).or_default().push(verifier);
        }
        if logs.is_empty() {
            return Err(config("expected at least one log in [[witness.logs]], found none".into()));
        }
        let signer = key(instance, section.key.as_deref(), password)?;
        let signer = NoteSigner::new(NoteKind::CosignatureV1, &section.name, signer)
            .map_err(|e| config(e.to_string()))?;
        let directory = instance.join(STATE);
        let failed =
            |e: &dyn std::fmt::Display| ServerError::File { path: directory.clone(), message: e.to_string() };
        std::fs::create_dir_all(&directory).map_err(|e| failed(&e))?;
        file::sync_dir(instance).map_err(|e| failed(&e))?;
        let lock =
            std::fs::File::options().create(true).truncate(false).write(true).open(directory.join("lock"));
        let lock = lock.map_err(|e| failed(&e))?;
        lock.try_lock().map_err(|_| failed(&"another process is this witness; one at a time"))?;
        let published = signer.verifier().published().unwrap_or_default();
        tracing::info!(key = published, logs = logs.len(), "this instance is a witness");
        Ok(Self { signer, logs, directory, _lock: lock, turn: Mutex::new(()) })
    }

    /// Cosigns a checkpoint: the line for it. Blocks.
    pub(crate) fn cosign(&self, body: &[u8], now: Timestamp) -> Result<String, NotCosigned> {
        let asked = AddCheckpoint::parse(body)?;
        let origin = asked.origin()?;
        let keys = self.logs.get(&origin).ok_or_else(|| Refusal::UnknownLog(origin.clone()))?;
        // A log that was rotated goes on under its name with another key: that is another log, with a state of its own.
        let signed = |key: &&NoteVerifier| key.verify(&asked.note).is_ok();
        let key = keys.iter().find(signed).or(keys.first()).map(std::slice::from_ref).unwrap_or_default();
        let path = self.directory.join(state_name(&origin, key));
        // One at a time: two requests that both continue what was cosigned last may be two histories.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = latest(&path, key, &origin)?;
        asked.judge(key, latest.as_ref())?;
        let failed = |e: &dyn std::fmt::Display| NotCosigned::Failed(e.to_string());
        file::replace(&path, asked.note.to_string().as_bytes(), file::PUBLIC).map_err(|e| failed(&e))?;
        let time = u64::try_from(now.as_millisecond()).map_err(|e| failed(&e))?;
        let line = self.signer.sign(asked.note.text(), time).map_err(|e| failed(&e))?;
        Ok(line.to_line())
    }
}

/// The name of the file with what was cosigned last of a log.
fn state_name(origin: &str, key: &[NoteVerifier]) -> String {
    let ids: Vec<u8> = key.iter().flat_map(|key| key.key_id).collect();
    hex_encode(&sha256(&[origin.as_bytes(), b"\n", &ids].concat()))
}

/// What was cosigned last. What is damaged is never taken for nothing.
fn latest(path: &Path, keys: &[NoteVerifier], origin: &str) -> Result<Option<Checkpoint>, NotCosigned> {
    let failed = |e: &dyn std::fmt::Display| NotCosigned::Failed(format!("{}: {e}", path.display()));
    match path.try_exists() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(e) => return Err(failed(&e)),
    }
    let text = file::read_public(path, MAX_NOTE_BYTES).map_err(|e| failed(&e))?;
    let note = Note::parse(text.as_bytes()).map_err(|e| failed(&e))?;
    let read = keys.iter().find_map(|key| Checkpoint::from_note(&note, key).ok());
    let read = read.filter(|checkpoint| checkpoint.origin == origin);
    read.map(Some).ok_or_else(|| {
        failed(&"expected a checkpoint signed by the log; put back what was there, and never an older one")
    })
}

fn verifier(instance: &Path, log: &WitnessedLog) -> Result<NoteVerifier, String> {
    if log.key.contains('+') && !log.key.starts_with('/') {
        return NoteVerifier::parse(&log.key)
            .map_err(|found| format!("expected name+hint+key, found {found}"));
    }
    let path = instance.join(&log.key);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let key = PublicKey::from_pem(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    NoteVerifier::rekor_v2(&log.origin, key).map_err(|e| e.to_string())
}

/// The witness's own key.
fn key(
    instance: &Path,
    reference: Option<&str>,
    password: &PasswordSource,
) -> Result<Arc<dyn Signer>, ServerError> {
    let stem = instance.join(KEY);
    let own = stem.with_extension("key");
    let failed =
        |e: countersign_keys::KeyError| ServerError::Key { path: own.clone(), message: e.to_string() };
    let reference = match reference {
        Some(text) => match KeyRef::parse(text).map_err(failed)? {
            // Paths in the configuration start at the instance's directory.
            KeyRef::File(path) => KeyRef::File(instance.join(path)),
            other => other,
        },
        None => {
            if !own.exists() {
                create_key_pair(&stem, KeyType::Ed25519, password).map_err(failed)?;
            }
            KeyRef::File(own.clone())
        }
    };
    load_signer(&reference, password).map_err(failed)
}

#[cfg(test)]
mod tests;
