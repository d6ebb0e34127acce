//! Opening a log: from what is on disk to a state which may be built upon, or a refusal that says why.
//!
//! The lock record says which tree was signed last; the write-ahead file must lead exactly there. Everything
//! else is compared with it or made again from it. Nothing is signed here.

use std::sync::Arc;

use countersign_tlog::proof;
use countersign_tlog::tile::{TILE_WIDTH, TileKind, TilePath, items_at_level};
use countersign_tlog::{Checkpoint, Note, NoteSigner, merkle};

use crate::lock_record::{LOCK_RECORD, LockRecord, TreeHead};
use crate::params::{LogParams, PARAMS};
use crate::sequencer::{Recent, partial_paths};
use crate::storage::Storage;
use crate::tree::{Edge, Tree, TreeAt};
use crate::wal::{Record, Segment, WAL, open_segment, segment_path, segments};
use crate::{Format, LogError};

/// The file with the published checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// A log's state, recovered.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) lock: LockRecord,
    pub(crate) tree: Tree,
    pub(crate) edge: Edge,
    pub(crate) bundle: Vec<u8>,
    pub(crate) segment: Segment,
    /// The keys in the write-ahead file.
    pub(crate) recent: Recent,
    /// The keys in the write-ahead file in their order, and the index of the first.
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) first_key: u64,
    pub(crate) partial: Vec<TilePath>,
    /// Segments before the current one, by the sizes at their beginnings and ends: to be flushed and removed.
    pub(crate) finished: Vec<(u64, u64)>,
}

/// A segment as it was read.
pub(crate) struct Content {
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
}

fn inconsistent<T>(what: String) -> Result<T, LogError> {
    Err(LogError::Inconsistent(what))
}

/// Reads the parameters of a log.
pub(crate) fn read_params(storage: &dyn Storage) -> Result<LogParams, LogError> {
    let bytes = storage.read(PARAMS).map_err(LogError::io("reading the log's parameters"))?;
    match bytes {
        Some(bytes) => LogParams::decode(&bytes),
        None => match storage.location().filter(|directory| !directory.exists()) {
            Some(directory) => Err(LogError::NoLog { directory: directory.to_owned() }),
            None => Err(LogError::corrupt(PARAMS, "it is missing: there is no log in this directory")),
        },
    }
}

/// Checks that the committed head is a checkpoint of this log under the first of these keys.
pub(crate) fn check_signed(head: &TreeHead, origin: &str, signers: &[NoteSigner]) -> Result<(), LogError> {
    let Some(signer) = signers.first() else {
        return Err(LogError::Signers("there is none".into()));
    };
    if head.size == 0 {
        return Ok(());
    }
    let corrupt = |e: countersign_tlog::note::NoteError| LogError::corrupt(LOCK_RECORD, e);
    let note = Note::parse(head.note.as_bytes()).map_err(corrupt)?;
    let checkpoint = Checkpoint::from_note(&note, signer.verifier())?;
    if (checkpoint.size, &checkpoint.root, checkpoint.origin.as_str()) == (head.size, &head.root, origin) {
        Ok(())
    } else {
        Err(LogError::corrupt(
            LOCK_RECORD,
            "its checkpoint is not that of its tree head and this log's origin",
        ))
    }
}

/// Recovers a log whose lock this process holds.
pub(crate) fn recover(
    storage: &Arc<dyn Storage>,
    params: &LogParams,
    signers: &[NoteSigner],
) -> Result<Recovered, LogError> {
    let mut lock = LockRecord::open(storage.as_ref())?;
    let head = lock.current().clone();
    check_signed(&head, &params.origin, signers)?;

    let (contents, unused) = read_segments(storage.as_ref(), head.size)?;
    // Once to see that it leads to the signed tree, before anything is written; once more to write.
    let replayed = replay(&contents, params.format, head.size, |_, _| Ok(()))?;
    if replayed.edge.root() != head.root {
        return inconsistent(format!(
            "the write-ahead file leads to a tree of size {} with another root than the lock record's",
            head.size
        ));
    }
    if let Some(path) = unused {
        // For good: if it came back after the segment before it went on, the two would contradict each other.
        let removed = storage.remove(&path).and_then(|()| storage.sync_dir(WAL));
        removed.map_err(LogError::io(format!("removing the unused {path}")))?;
    }
    let tree = Tree::new(storage.clone(), params.format);
    check_not_restored(storage.as_ref(), params.format, &head, &replayed.edge)?;
    lock.settle().map_err(LogError::io("flushing the lock record"))?;
    // Every tile, also one which looks right: what can be read is not always on the disk (see `settle`).
    let written = replay(&contents, params.format, head.size, |path, content| {
        let name = path.to_string();
        storage.replace(&name, content).map_err(LogError::io(format!("placing {name} again")))
    })?;
    let Replayed { edge, bundle, keys, first_key, ends } = written;
    place_partial(storage.as_ref(), params.format, &edge, &bundle)?;
    tree.extend(Vec::new(), &edge);
    check_edge(&tree, &edge)?;
    check_published(&tree, &head, signers)?;
    if head.size > 0 {
        storage
            .replace(CHECKPOINT, head.note.as_bytes())
            .map_err(LogError::io("publishing the checkpoint again"))?;
    }

    let mut recent = Recent::new(first_key);
    for (key, index) in keys.iter().zip(first_key..) {
        recent.insert(*key, index);
    }
    let Some(((last, end), finished)) = ends.split_last() else {
        return inconsistent("there is no write-ahead segment".into());
    };
    let segment = Segment::resume(storage.as_ref(), *last, *end)
        .map_err(LogError::io("taking the write-ahead file up again"))?;
    let starts: Vec<u64> = ends.iter().map(|(base, _)| *base).collect();
    let finished = finished.iter().zip(starts.iter().skip(1)).map(|((from, _), to)| (*from, *to)).collect();
    let partial = partial_paths(&edge, params.format);
    Ok(Recovered { lock, tree, edge, bundle, segment, recent, keys, first_key, partial, finished })
}

/// The right edge of the committed tree from the write-ahead file alone. Nothing is written.
pub(crate) fn edge_from_segments(
    storage: &dyn Storage,
    format: Format,
    head: &TreeHead,
) -> Result<Edge, LogError> {
    let (contents, _) = read_segments(storage, head.size)?;
    Ok(replay(&contents, format, head.size, |_, _| Ok(()))?.edge)
}

/// Reads the segments, and names one apart that was being made when the process ended.
pub(crate) fn read_segments(
    storage: &dyn Storage,
    committed: u64,
) -> Result<(Vec<Content>, Option<String>), LogError> {
    let mut contents: Vec<Content> = Vec::new();
    let mut unused = None;
    let bases = segments(storage)?;
    for (place, base) in bases.iter().enumerate() {
        let path = segment_path(*base);
        let bytes = storage.read(&path).map_err(LogError::io(format!("reading {path}")))?.unwrap_or_default();
        let opened = open_segment(&bytes);
        if opened.as_ref().is_some_and(|(b, _)| b.size != *base) {
            return Err(LogError::corrupt(path, "it does not begin at the size in its name"));
        }
        let last = place + 1 == bases.len();
        let empty = opened.as_ref().is_none_or(|(_, rest)| Record::parse(rest).is_none());
        // A new segment gets its first batch only when it is durable itself. So one without a batch at the end
        // is one that was being made, or that could not be for want of space; the one before goes on. If its
        // first batch is damaged instead, the one before does not lead to the committed tree, and all stays.
        if last && empty && !contents.is_empty() {
            unused = Some(path);
            continue;
        }
        if opened.is_none() {
            return Err(LogError::corrupt(path, "its beginning is damaged"));
        }
        if *base > committed {
            return inconsistent(format!(
                "{path} begins beyond the committed size {committed}: the lock record is older than the \
                 write-ahead file, as after restoring a backup of it"
            ));
        }
        contents.push(Content { base: *base, bytes });
    }
    if contents.is_empty() {
        return inconsistent(format!("there is no write-ahead segment in {WAL}"));
    }
    Ok((contents, unused))
}

pub(crate) struct Replayed {
    pub(crate) edge: Edge,
    pub(crate) bundle: Vec<u8>,
    keys: Vec<[u8; 32]>,
    first_key: u64,
    /// For each segment the size at its beginning, and the length in bytes up to which it is committed.
    pub(crate) ends: Vec<(u64, u64)>,
}

/// Goes through the write-ahead file up to the committed size, and gives every tile that becomes full to `place`.
pub(crate) fn replay(
    contents: &[Content],
    format: Format,
    committed: u64,
    mut place: impl FnMut(TilePath, &[u8]) -> Result<(), LogError>,
) -> Result<Replayed, LogError> {
    let mut state: Option<Replayed> = None;
    let mut full = Vec::new();
    for content in contents {
        let path = segment_path(content.base);
        let damaged = |reason: &str| LogError::corrupt(&path, reason);
        let Some((base, mut rest)) = open_segment(&content.bytes) else {
            return Err(damaged("its beginning is damaged"));
        };
        let edge = Edge::from_base(&base).ok_or_else(|| damaged("its beginning does not fit its size"))?;
        let mut now = match state.take() {
            None => Replayed {
                edge,
                bundle: base.bundle,
                keys: Vec::new(),
                first_key: base.size,
                ends: Vec::new(),
            },
            Some(before) => {
                let follows = before.edge.size() == base.size
                    && before.edge.root() == edge.root()
                    && before.bundle == base.bundle;
                if !follows {
                    return inconsistent(format!(
                        "{path} does not continue the segment before it, which ends at size {}",
                        before.edge.size()
                    ));
                }
                before
            }
        };
        while now.edge.size() < committed {
            let Some((Record::Batch { first, entries }, tail)) = Record::parse(rest) else { break };
            let end = first.checked_add(entries.len() as u64);
            if first != now.edge.size() || end.is_none_or(|end| end > committed) {
                return inconsistent(format!(
                    "{path} has a batch of {} entries from {first}; expected one from {} up to {committed} at most",
                    entries.len(),
                    now.edge.size()
                ));
            }
            for entry in entries {
                if format.leaf_hash(entry.stored).as_ref() != Some(entry.leaf_hash) {
                    return Err(damaged("an entry does not have the hash written beside it"));
                }
                let index = now.edge.size() / u64::from(TILE_WIDTH);
                now.keys.push(*entry.key);
                now.edge.push(*entry.leaf_hash, &mut full);
                format.push(&mut now.bundle, entry.stored)?;
                if now.edge.width() == 0 {
                    place(TilePath { kind: format.entries(), index, width: TILE_WIDTH }, &now.bundle)?;
                    now.bundle.clear();
                }
                for tile in full.drain(..) {
                    let kind = TileKind::Hashes { level: tile.level };
                    let path = TilePath { kind, index: tile.index, width: TILE_WIDTH };
                    place(path, tile.tree.hashes().as_flattened())?;
                }
            }
            rest = tail;
        }
        if now.edge.size() == committed {
            check_tail(&path, rest, committed)?;
        }
        now.ends.push((content.base, (content.bytes.len() - rest.len()) as u64));
        state = Some(now);
    }
    match state {
        Some(state) if state.edge.size() == committed => Ok(state),
        Some(state) => inconsistent(format!(
            "the lock record has a tree of size {committed}, the write-ahead file ends at size {}: committed \
             entries are missing from it",
            state.edge.size()
        )),
        None => inconsistent("there is no write-ahead segment".into()),
    }
}

/// What follows the committed entries is at most one batch, which was not committed. A second would have been
/// written only after the first was committed.
fn check_tail(path: &str, tail: &[u8], committed: u64) -> Result<(), LogError> {
    if let Some((Record::Batch { first, entries }, rest)) = Record::parse(tail)
        && first == committed
        && let Some((Record::Batch { first: second, .. }, _)) = Record::parse(rest)
        && first.checked_add(entries.len() as u64) == Some(second)
    {
        return inconsistent(format!(
            "{path} goes on beyond the committed size {committed} by more than the batch that may have been \
             under way: the lock record is older than the write-ahead file, as after restoring a backup of it"
        ));
    }
    Ok(())
}

/// Refuses tiles beyond the committed size: they are placed only after the commit.
fn check_not_restored(
    storage: &dyn Storage,
    format: Format,
    head: &TreeHead,
    edge: &Edge,
) -> Result<(), LogError> {
    let beyond = |path: &str| {
        inconsistent(format!(
            "{path} lies beyond the tree of size {} in the lock record, as after restoring an old backup of it",
            head.size
        ))
    };
    for (kind, level) in [(format.entries(), 0), (TileKind::Hashes { level: 0 }, 0)] {
        let index = items_at_level(level, head.size) / u64::from(TILE_WIDTH);
        let full = TilePath { kind, index, width: TILE_WIDTH }.to_string();
        if storage.read(&full).map_err(LogError::io(format!("reading {full}")))?.is_some() {
            return beyond(&full);
        }
        let directory = format!("{full}.p");
        let names = storage.list(&directory).map_err(LogError::io(format!("listing {directory}")))?;
        if let Some(wider) = names.iter().find(|n| n.parse::<usize>().is_ok_and(|w| w > edge.width())) {
            return beyond(&format!("{directory}/{wider}"));
        }
    }
    Ok(())
}

pub(crate) fn place_partial(
    storage: &dyn Storage,
    format: Format,
    edge: &Edge,
    bundle: &[u8],
) -> Result<(), LogError> {
    let place = |path: TilePath, content: &[u8]| {
        let name = path.to_string();
        let directory = format!("{}.p", path.full());
        // Narrower ones from before the process ended.
        storage.remove_dir(&directory).map_err(LogError::io(format!("removing {directory}")))?;
        storage.replace(&name, content).map_err(LogError::io(format!("placing {name}")))
    };
    for (path, tree) in edge.tiles() {
        place(path, tree.hashes().as_flattened())?;
    }
    let index = edge.size() / u64::from(TILE_WIDTH);
    if let Some(path) = TilePath::in_tree(format.entries(), index, edge.size()) {
        place(path, bundle)?;
    }
    Ok(())
}

/// Checks the newest full tile of each level and the newest full bundle against the signed tree.
fn check_edge(tree: &Tree, edge: &Edge) -> Result<(), LogError> {
    for level in 0..7_u8 {
        let count = items_at_level(level + 1, edge.size());
        let Some(last) = count.checked_sub(1) else { break };
        tree.tile(level, last)?;
        if level == 0 {
            let path = TilePath { kind: tree.format.entries(), index: last, width: TILE_WIDTH };
            tree.bundle(path)?.ok_or_else(|| LogError::corrupt(path, "the newest full bundle is missing"))?;
        }
    }
    Ok(())
}

/// Refuses when the published checkpoint is ahead of the committed one or not consistent with it.
fn check_published(tree: &Tree, head: &TreeHead, signers: &[NoteSigner]) -> Result<(), LogError> {
    let bytes = tree.storage.read(CHECKPOINT).map_err(LogError::io("reading the published checkpoint"))?;
    bytes.map_or(Ok(()), |bytes| check_known(tree, head, signers, &bytes, "the published checkpoint"))
}

/// Refuses a tree that does not continue a checkpoint which is known. One that is torn says nothing: it is not flushed
/// when it is written.
pub(crate) fn check_known(
    tree: &Tree,
    head: &TreeHead,
    signers: &[NoteSigner],
    bytes: &[u8],
    what: &str,
) -> Result<(), LogError> {
    let known = Note::parse(bytes).and_then(|note| match signers.first() {
        Some(signer) => Checkpoint::from_note(&note, signer.verifier()),
        None => Checkpoint::parse(note.text()),
    });
    let known = match known {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!(%error, "{what} was torn, or is not of this log, and is written anew");
            return Ok(());
        }
    };
    if known.size > head.size {
        return inconsistent(format!(
            "{what} has size {}, the lock record {}: the lock record is older, as after restoring a backup. Signing on \
             would fork the log. Put back what is newer (countersign log restore); if that is lost, keep this log to be \
             read and begin a successor (countersign rotate log)",
            known.size, head.size
        ));
    }
    let root = if known.size == 0 {
        merkle::empty_root()
    } else {
        proof::root(&TreeAt { tree, size: head.size }, known.size)?
    };
    if root != known.root {
        return inconsistent(format!(
            "{what} of size {} is not of the same tree as the lock record's of size {}",
            known.size, head.size
        ));
    }
    Ok(())
}
