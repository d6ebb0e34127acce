//! The check of a log at rest: every file against the root that was signed.
//!
//! The newest checkpoint with a good signature says what the tree is: from the lock record's two slots and the published
//! file. The write-ahead file must lead there; from its right edge every hash above vouches for what is below it, down
//! to the entries. Nothing is written, so what is found can be looked at.

use std::path::Path;

use countersign_crypto::PublicKey;
use countersign_tlog::note::NoteError;
use countersign_tlog::tile::{TILE_WIDTH, TileKind, TilePath, items_at_level};
use countersign_tlog::{Checkpoint, Hash, Note, NoteKind, NoteVerifier, merkle};

use crate::key_file::{FILE as KEYS, Lookup};
use crate::lock_record::{LOCK_RECORD, Slot, TreeHead, slots};
use crate::log::{KeyOf, LOCK};
use crate::params::host_and_tree;
use crate::recovery::{CHECKPOINT, Replayed, read_params, read_segments, replay};
use crate::search::FILE as TERMS;
use crate::sequencer::RESERVE;
use crate::storage::{Files, LockAttempt, LockGuard, Storage};
use crate::wal::{damage, segment_path, segments};
use crate::walk::{Finding, Walk, entries, root_of};
use crate::{Format, LogError, LogParams};

/// What the check of a log found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The number of entries in the newest tree that was signed.
    pub size: u64,
    /// How many files were read.
    pub files: u64,
    /// What is not as it was written. Empty when all is well.
    pub findings: Vec<Finding>,
    /// What a crash may leave, and the next start clears away; and what could not be checked, with the reason.
    pub notes: Vec<String>,
}

impl Report {
    /// The first finding in what the log signed. Its indexes are none of that: lost, they are made anew.
    #[must_use]
    pub fn damage(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| ![KEYS, TERMS].contains(&finding.path.as_str()))
    }
}

/// Who signs a log's checkpoints.
pub(crate) fn verifier(params: &LogParams, key: &PublicKey) -> Result<NoteVerifier, LogError> {
    Ok(match params.format {
        Format::Rekor => NoteVerifier::rekor_v2(&params.origin, key.clone())?,
        Format::RekorV1 => {
            let (host, _) = host_and_tree(&params.origin)
                .ok_or_else(|| LogError::Params(format!("\"{}\" is no origin of Rekor v1", params.origin)))?;
            NoteVerifier::new(NoteKind::RekorV1, host, key.clone())?
        }
        Format::StaticCt => NoteVerifier::rfc6962(&params.origin, key.clone())?,
    })
}

/// Checks all of a log that nobody has open. `key` is that of its checkpoints; `key_of` finds an entry's key in the index
/// of duplicates, which is checked only for being whole without it.
///
/// # Errors
/// [`LogError::LockedBy`] while a process has the log open; [`LogError::NoLog`]; [`LogError::Io`] when the directory cannot be read;
/// [`LogError::Signers`] when the key is none for such a log. What is damaged is no error but a finding.
pub fn fsck(directory: &Path, key: &PublicKey, key_of: Option<&KeyOf>) -> Result<Report, LogError> {
    let guard = lock_at_rest(directory, "a check of its files")?;
    let report = check(&Files::new(directory), key, key_of);
    drop(guard);
    report
}

/// Keeps others from opening a log that nobody has open, and says what for.
pub(crate) fn lock_at_rest(directory: &Path, what_for: &str) -> Result<LockGuard, LogError> {
    if !directory.exists() {
        return Err(LogError::NoLog { directory: directory.to_owned() });
    }
    let held = Files::new(directory).lock(LOCK, &format!("{what_for}\n"));
    match held.map_err(LogError::io("taking the log's lock"))? {
        LockAttempt::Taken(guard) => Ok(guard),
        LockAttempt::HeldBy(holder) => Err(LogError::LockedBy { holder }),
    }
}

/// As [`fsck`], on any storage and without its lock.
///
/// # Errors
/// As [`fsck`].
pub fn check(storage: &dyn Storage, key: &PublicKey, key_of: Option<&KeyOf>) -> Result<Report, LogError> {
    let mut report = Report::default();
    let params = match read_params(storage) {
        Ok(params) => params,
        Err(LogError::Corrupt { path, reason }) => {
            // One record with one checksum, so its place is its beginning.
            let offset = storage.read(&path).ok().flatten().map(|_| 0);
            report.findings.push(Finding { path, offset, what: reason });
            return Ok(report);
        }
        Err(other) => return Err(other),
    };
    let verifier = verifier(&params, key)?;
    let index = storage.location().and_then(|directory| Lookup::open(directory, &mut report.findings));
    let genesis = merkle::leaf_hash(&params.genesis.merkle_leaf);
    let mut visit = |position: u64, entry: &[u8]| {
        let key = if position == 0 { genesis } else { key_of?(entry) };
        index.as_ref()?.check(position, &key)
    };
    let mut go_on = || true;
    let mut walk = Walk {
        storage,
        format: params.format,
        size: 0,
        findings: std::mem::take(&mut report.findings),
        files: 1,
        go_on: &mut go_on,
        visit: &mut visit,
        stopped: false,
    };
    let head = newest(&mut walk, &params, &verifier);
    if let Some(head) = &head {
        walk.size = head.size;
        report.size = head.size;
        tree(&mut walk, head, &mut report.notes);
    }
    reserve(&mut walk);
    (report.findings, report.files) = (walk.findings, walk.files);
    if let (Some(head), Some(directory)) = (&head, storage.location())
        && let Some(checked) = crate::search::check::check(directory, head.size, &head.note)
    {
        report.files += 1;
        report.findings.extend(checked.finding);
        report.notes.extend(checked.note);
    }
    if let (Some(index), Some(key_of)) = (&index, key_of) {
        report.findings.extend(index.check_elsewhere(|position| match position {
            0 => Some(genesis),
            _ => Some(key_of(&entry_at(storage, params.format, report.size, position)?)),
        }));
        report.findings.extend(index.check_count(report.size));
    }
    Ok(report)
}

/// The checkpoint in a note, if it is one of this log's.
fn signed(note: &[u8], params: &LogParams, verifier: &NoteVerifier) -> Result<Checkpoint, String> {
    let note = Note::parse(note).map_err(|e| e.to_string())?;
    let checkpoint = Checkpoint::from_note(&note, verifier).map_err(|e| match e {
        NoteError::NoSignature { .. } => format!("{e}, or this is not the log's key"),
        _ => e.to_string(),
    })?;
    if checkpoint.origin == params.origin {
        Ok(checkpoint)
    } else {
        Err(format!("expected a checkpoint of {}, found one of {}", params.origin, checkpoint.origin))
    }
}

/// Checks the lock record and the published checkpoint, and gives the newest tree head that was signed.
fn newest(walk: &mut Walk<'_>, params: &LogParams, verifier: &NoteVerifier) -> Option<TreeHead> {
    let mut heads: Vec<TreeHead> = Vec::new();
    if let Some(bytes) = walk.read(LOCK_RECORD) {
        for (offset, slot) in slots(&bytes) {
            match slot {
                Slot::Empty => {}
                Slot::Damaged(at) => {
                    let what = "expected a tree head and zeros after it: the slot is damaged, or a crash cut its \
                                writing short and nothing was appended since";
                    walk.found(LOCK_RECORD, Some(offset + at), what);
                }
                Slot::Whole(head) => {
                    let agrees = |c: Checkpoint| (c.size, c.root) == (head.size, head.root);
                    match signed(head.note.as_bytes(), params, verifier).map(agrees) {
                        _ if head.size == 0 => heads.push(head),
                        Ok(true) => heads.push(head),
                        Ok(false) => {
                            walk.found(LOCK_RECORD, Some(offset), "its checkpoint is not of its tree")
                        }
                        Err(error) => walk.found(LOCK_RECORD, Some(offset), error),
                    }
                }
            }
        }
    }
    heads.sort_by_key(|head| head.generation);
    if let [old, new] = heads.as_slice()
        && (old.generation.checked_add(1) != Some(new.generation) || old.size > new.size)
    {
        walk.found(LOCK_RECORD, None, "its two slots do not follow each other");
    }
    let committed = heads.pop();
    if committed.as_ref().is_some_and(|head| head.size == 0) && heads.is_empty() {
        return committed;
    }
    let published = walk.read(CHECKPOINT)?;
    if committed.as_ref().is_some_and(|head| head.note.as_bytes() == published) {
        return committed;
    }
    match signed(&published, params, verifier) {
        Ok(found) if committed.as_ref().is_none_or(|head| head.size < found.size) => {
            let what =
                format!("expected the tree of size {} that was published, found an older one", found.size);
            walk.found(LOCK_RECORD, None, what);
            let note = String::from_utf8_lossy(&published).into_owned();
            Some(TreeHead { generation: 0, size: found.size, time_ms: 0, root: found.root, note })
        }
        Ok(_) | Err(_) => {
            let note = committed.as_ref().map_or(&[][..], |head| head.note.as_bytes());
            let what = "expected the checkpoint in the lock record, found another";
            walk.found(CHECKPOINT, Some(first_difference(note, &published)), what);
            committed
        }
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> u64 {
    one.iter().zip(other).take_while(|(a, b)| a == b).count() as u64
}

/// Checks everything below a tree head.
fn tree(walk: &mut Walk<'_>, head: &TreeHead, notes: &mut Vec<String>) {
    let replayed = write_ahead(walk, head, notes);
    let edge = match &replayed {
        Some(replayed) => replayed.edge.to_base(&[]).levels,
        None => match edge_on_disk(walk, head) {
            Some(edge) => edge,
            None => return,
        },
    };
    let number = head.size / u64::from(TILE_WIDTH);
    if let Some(replayed) = &replayed {
        for (path, tree) in replayed.edge.tiles() {
            same(walk, &path.to_string(), tree.hashes().as_flattened());
        }
        if let Some(path) = TilePath::in_tree(walk.format.entries(), number, head.size) {
            same(walk, &path.to_string(), &replayed.bundle);
            if let Some(hashes) = edge.first() {
                walk.entries_of(&path.to_string(), number, &replayed.bundle, hashes);
            }
        }
    } else if let Some(path) = TilePath::in_tree(walk.format.entries(), number, head.size)
        && let Some(bundle) = walk.read(&path.to_string())
        && let Some(hashes) = edge.first()
    {
        walk.entries_of(&path.to_string(), number, &bundle, hashes);
    }
    walk.run(&edge);
}

/// Compares a file with what it must be.
fn same(walk: &mut Walk<'_>, path: &str, expected: &[u8]) {
    if let Some(found) = walk.read(path)
        && found != expected
    {
        walk.found(path, Some(first_difference(expected, &found)), "it is not what the write-ahead file has");
    }
}

/// Checks the write-ahead file and gives the right edge it leads to.
fn write_ahead(walk: &mut Walk<'_>, head: &TreeHead, notes: &mut Vec<String>) -> Option<Replayed> {
    let failed = match read_segments(walk.storage, head.size).and_then(|(contents, unused)| {
        let replayed = replay(&contents, walk.format, head.size, |_, _| Ok(()))?;
        walk.files += contents.len() as u64;
        notes.extend(unused.map(|path| format!("{path} was never used; the next start removes it")));
        for (content, (base, end)) in contents.iter().zip(&replayed.ends) {
            if (content.bytes.len() as u64) > *end {
                let path = segment_path(*base);
                notes.push(format!(
                    "{path} has a batch at byte {end} that was not committed; the next start cuts it off"
                ));
            }
        }
        Ok(replayed)
    }) {
        Ok(replayed) if replayed.edge.root() == head.root => return Some(replayed),
        Ok(_) => LogError::Inconsistent("it leads to a tree with another root than the signed one".into()),
        Err(error) => error,
    };
    // The records carry checksums, which say where.
    let mut place = None;
    for base in segments(walk.storage).unwrap_or_default() {
        let path = segment_path(base);
        let content = walk.storage.read(&path).ok().flatten().unwrap_or_default();
        place = place.or_else(|| damage(&content).map(|at| (path.clone(), at)));
    }
    match place {
        Some((path, at)) => walk.found(&path, Some(at), format!("a record is damaged ({failed})")),
        None => walk.found(crate::wal::WAL, None, failed.to_string()),
    }
    None
}

/// The right edge from the partial tiles on disk, if they have the signed root.
fn edge_on_disk(walk: &mut Walk<'_>, head: &TreeHead) -> Option<Vec<Vec<Hash>>> {
    let mut edge = Vec::new();
    for level in (0_u8..8).take_while(|level| items_at_level(*level, head.size) > 0) {
        let index = items_at_level(level, head.size) / u64::from(TILE_WIDTH);
        let mut hashes = Vec::new();
        if let Some(path) = TilePath::in_tree(TileKind::Hashes { level }, index, head.size) {
            let bytes = walk.read(&path.to_string())?;
            hashes = countersign_tlog::tile::parse_hashes(&bytes, path.width).ok()?;
        }
        edge.push(hashes);
    }
    if root_of(&edge) == head.root {
        return Some(edge);
    }
    walk.found(
        "tile",
        None,
        "the partial tiles do not have the signed root, so nothing can be held against it",
    );
    None
}

/// An entry, unchecked.
fn entry_at(storage: &dyn Storage, format: Format, size: u64, position: u64) -> Option<Vec<u8>> {
    let path = TilePath::in_tree(format.entries(), position / u64::from(TILE_WIDTH), size)?;
    let bundle = storage.read(&path.to_string()).ok()??;
    let place = usize::try_from(position % u64::from(TILE_WIDTH)).ok()?;
    Some(entries(format, &bundle).get(place)?.1?.to_vec())
}

/// The reserve is zeros.
fn reserve(walk: &mut Walk<'_>) {
    if let Ok(Some(bytes)) = walk.storage.read(RESERVE)
        && let Some(at) = bytes.iter().position(|byte| *byte != 0)
    {
        walk.found(RESERVE, Some(at as u64), "expected zeros; it may be removed while the log is stopped");
    }
}
