//! Copies of a log: while it runs, and back.
//!
//! A copy is a log of its own, at the tree that was signed last when the copy began: nothing beyond it is taken, so it
//! does not matter what the log does meanwhile. The lock record comes last, and without one no log opens, so half a
//! copy is none.

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::PublicKey;
use countersign_tlog::{Checkpoint, Note, NoteVerifier, merkle, proof};

use crate::flusher::{flush_tiles, full_tiles};
use crate::fsck::{check, verifier};
use crate::lock_record::{LOCK_RECORD, LockRecord, Slot, TreeHead, slots};
use crate::log::KeyOf;
use crate::params::PARAMS;
use crate::recovery::{CHECKPOINT, Content, Replayed, place_partial, read_params, replay};
use crate::storage::{Files, Storage};
use crate::tree::{Tree, TreeAt};
use crate::wal::{WAL, committed, segment_path, segments};
use crate::{Finding, Format, LogError, LogParams, key_file};

/// How often a copy is begun anew when the log moved on under it.
const TRIES: u32 = 20;

/// A copy of a log that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of entries.
    pub size: u64,
    /// The signed checkpoint of the tree in the copy.
    pub checkpoint: String,
    /// The log's name.
    pub origin: String,
    /// What is damaged in the copy that was [put back](restore), and was made anew from its write-ahead file or left out.
    pub repaired: Vec<Finding>,
}

/// Copies a log to a directory which is empty or does not exist, and checks the copy entry by entry. The log may run.
///
/// # Errors
/// [`LogError::Exists`] when something is in the way; [`LogError::Corrupt`] when the log or its copy is damaged;
/// [`LogError::Io`].
pub fn backup(log: &Path, copy: &Path, key: &PublicKey, key_of: Option<&KeyOf>) -> Result<Copied, LogError> {
    let target = Files::new(copy);
    let names = target.list("").map_err(LogError::io("listing the directory of the copy"))?;
    if let Some(found) = names.into_iter().next() {
        return Err(LogError::Exists { found });
    }
    std::fs::create_dir_all(copy).map_err(LogError::io("making the directory of the copy"))?;
    let storage = Files::new(log);
    let params = read_params(&storage)?;
    let verifier = verifier(&params, key)?;
    let state = state(&storage, &params, &verifier)?;
    write(&storage, &target, &params, &state).map_err(|error| match error {
        LogError::Io { doing, error } => LogError::Io { doing: format!("copying: {doing}"), error },
        other => other,
    })?;
    if let Err(error) = key_file::copy(log, copy, state.head.size) {
        tracing::warn!(%error, "the index of duplicates was not copied; it is made anew from the entries");
    }
    finish(&target, &state.head).map_err(LogError::io("finishing the copy"))?;
    let report = check(&target, key, key_of)?;
    if let Some(finding) = report.findings.first() {
        return Err(LogError::corrupt(&finding.path, format!("the copy is not good: {finding}")));
    }
    Ok(Copied {
        size: state.head.size,
        checkpoint: state.head.note,
        origin: params.origin,
        repaired: Vec::new(),
    })
}

/// Puts a copy in place of a log that is lost, if the copy has everything that was ever signed. `newest` is the newest
/// checkpoint that anybody keeps: a monitor, a witness, a client. Nothing on this machine can say that there is none
/// newer, so it has to be brought; that there is one, a [mark](crate::Mark) can say.
///
/// # Errors
/// [`LogError::Newest`] when that is none of this log, [`LogError::Inconsistent`] when the copy is older than it or the
/// marked one, or of another tree, and as [`backup`].
pub fn restore(
    copy: &Path,
    log: &Path,
    key: &PublicKey,
    key_of: Option<&KeyOf>,
    newest: &[u8],
    mark: Option<&Path>,
) -> Result<Copied, LogError> {
    let storage: Arc<dyn Storage> = Arc::new(Files::new(copy));
    let params = read_params(storage.as_ref())?;
    let verifier = verifier(&params, key)?;
    let newest = Note::parse(newest)
        .and_then(|note| Checkpoint::from_note(&note, &verifier))
        .map_err(LogError::Newest)?;
    let state = state(storage.as_ref(), &params, &verifier)?;
    continues(&storage, params.format, &state, &newest)?;
    if let Some(path) = mark {
        check_marked(path, &verifier, |marked| continues(&storage, params.format, &state, marked))?;
    }
    let damaged = check(storage.as_ref(), key, key_of)?.findings;
    Ok(Copied { repaired: damaged, ..backup(copy, log, key, key_of)? })
}

/// That the marked checkpoint is as it must be. One that was torn, or is another log's, says nothing.
fn check_marked(
    path: &Path,
    verifier: &NoteVerifier,
    check: impl FnOnce(&Checkpoint) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let place = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogError::Io { doing: format!("reading the mark in {place}"), error }),
    };
    let Ok(marked) = Note::parse(&bytes).and_then(|note| Checkpoint::from_note(&note, verifier)) else {
        tracing::warn!("the mark in {place} was torn, or is not of this log");
        return Ok(());
    };
    check(&marked).map_err(|error| match error {
        LogError::Inconsistent(why) => LogError::Inconsistent(format!("the mark in {place}: {why}")),
        other => other,
    })
}

/// That a tree continues the one of a checkpoint.
fn continues(
    storage: &Arc<dyn Storage>,
    format: Format,
    state: &State,
    newest: &Checkpoint,
) -> Result<(), LogError> {
    let size = state.head.size;
    if newest.size > size {
        return Err(LogError::Inconsistent(format!(
            "the copy has {size} entries, and a checkpoint over {} was signed: a log that goes on from the copy would sign \
             other entries in place of the {} that are missing, and whoever has a proof of them could show that it lied. \
             Look for a newer copy; if there is none, keep this one to be read and begin a successor: countersign \
             rotate log",
            newest.size,
            newest.size - size
        )));
    }
    let tree = Tree::new(storage.clone(), format);
    tree.extend(Vec::new(), &state.replayed.edge);
    let root = match newest.size {
        0 => merkle::empty_root(),
        old => proof::root(&TreeAt { tree: &tree, size }, old)?,
    };
    if root == newest.root {
        Ok(())
    } else {
        Err(LogError::Inconsistent(format!(
            "the newest checkpoint, of size {}, is not of the tree in the copy, of size {size}: keep both, they are \
             evidence of a fork",
            newest.size
        )))
    }
}

/// A log at one moment.
pub(crate) struct State {
    pub(crate) head: TreeHead,
    contents: Vec<Content>,
    pub(crate) replayed: Replayed,
}

/// What was signed last and the write-ahead file that leads there. The log may go on meanwhile, so it is tried again
/// until both fit.
pub(crate) fn state(
    storage: &dyn Storage,
    params: &LogParams,
    verifier: &NoteVerifier,
) -> Result<State, LogError> {
    let mut tried = 0;
    loop {
        match state_once(storage, params, verifier) {
            Err(LogError::Inconsistent(_) | LogError::Corrupt { .. }) if tried < TRIES => tried += 1,
            other => return other,
        }
    }
}

fn state_once(storage: &dyn Storage, params: &LogParams, verifier: &NoteVerifier) -> Result<State, LogError> {
    let record = storage.read(LOCK_RECORD).map_err(LogError::io("reading the lock record"))?;
    let record = record.ok_or(LogError::NoLockRecord { expected: LOCK_RECORD })?;
    let heads = slots(&record).into_iter().filter_map(|(_, slot)| match slot {
        Slot::Whole(head) => Some(head),
        Slot::Empty | Slot::Damaged(_) => None,
    });
    let head = heads
        .max_by_key(|head| head.generation)
        .filter(|head| head.size > 0)
        .ok_or_else(|| LogError::corrupt(LOCK_RECORD, "neither of its two slots has a signed tree"))?;
    let checkpoint = Note::parse(head.note.as_bytes()).and_then(|n| Checkpoint::from_note(&n, verifier))?;
    if (checkpoint.size, checkpoint.root, &checkpoint.origin) != (head.size, head.root, &params.origin) {
        return Err(LogError::corrupt(LOCK_RECORD, "its checkpoint is not of its tree"));
    }
    let mut contents = Vec::new();
    for base in segments(storage)?.into_iter().filter(|base| *base <= head.size) {
        let path = segment_path(base);
        let bytes = storage.read(&path).map_err(LogError::io(format!("reading {path}")))?.unwrap_or_default();
        // One that is being made, or that was removed meanwhile.
        if let Some(bytes) = committed(bytes, head.size) {
            contents.push(Content { base, bytes });
        }
    }
    let replayed = replay(&contents, params.format, head.size, |_, _| Ok(()))?;
    if replayed.edge.root() != head.root {
        return Err(LogError::Inconsistent("the write-ahead file does not lead to the signed tree".into()));
    }
    Ok(State { head, contents, replayed })
}

/// Writes everything but the lock record.
fn write(from: &dyn Storage, to: &Files, params: &LogParams, state: &State) -> Result<(), LogError> {
    let put = |path: &str, bytes: &[u8]| {
        to.replace(path, bytes).and_then(|()| to.sync(path)).map_err(LogError::io(format!("writing {path}")))
    };
    put(PARAMS, &params.encode())?;
    for content in &state.contents {
        put(&segment_path(content.base), &content.bytes)?;
    }
    for path in full_tiles(params.format, 0, state.head.size) {
        let path = path.to_string();
        let bytes = from.read(&path).map_err(LogError::io(format!("reading {path}")))?;
        let bytes = bytes.ok_or_else(|| LogError::corrupt(&path, "the tile is missing"))?;
        to.replace(&path, &bytes).map_err(LogError::io(format!("writing {path}")))?;
    }
    place_partial(to, params.format, &state.replayed.edge, &state.replayed.bundle)?;
    put(CHECKPOINT, state.head.note.as_bytes())?;
    flush_tiles(to, params.format, 0, state.head.size).map_err(LogError::io("flushing the tiles"))?;
    to.sync_dir(WAL).map_err(LogError::io("flushing the write-ahead file's name"))
}

/// Makes the copy a log.
fn finish(to: &Files, head: &TreeHead) -> std::io::Result<()> {
    to.sync_dir("")?;
    LockRecord::create_at(to, head)?;
    to.sync_dir("")
}
