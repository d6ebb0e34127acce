//! Moving a log from one store to another, so that it goes on there with the same tree.
//!
//! At no moment can both be opened: the lock record is put aside in the old store before it is made in the new one. A
//! move that was cut off between is taken up again by the same command.

use std::io;
use std::sync::Arc;

use countersign_tlog::tile::{TILE_WIDTH, TileKind, TilePath, items_at_level};
use countersign_tlog::{Checkpoint, Hash, Note};

use crate::flusher::{flush_tiles, full_tiles};
use crate::lock_record::{FROZEN, LOCK_RECORD, MOVED, missing, parse, put_aside};
use crate::log::{LOCK, holder};
use crate::params::PARAMS;
use crate::recovery::{CHECKPOINT, read_params};
use crate::storage::{LockAttempt, LockGuard, Storage};
use crate::wal::{WAL, segment_path, segments};
use crate::{Format, LogError, LogParams};

/// In the new store what will be [`MOVED`] in the old one: only the store that has it may get the log.
const COMING: &str = "lock-record.coming";
/// The length of a move's number: a record that was put aside ends with it.
const NUMBER: usize = 32;
/// How many tiles are copied together.
const TOGETHER: usize = 64;

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The number of entries.
    pub size: u64,
    /// The root of the tree, in the old store and in the new one.
    pub root: Hash,
    /// How many full tiles and bundles were copied.
    pub tiles: u64,
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
    LogError::io(what)
}

fn lock(storage: &dyn Storage) -> Result<LockGuard, LogError> {
    match storage.lock(LOCK, &holder()).map_err(doing("taking the log's lock"))? {
        LockAttempt::Taken(guard) => Ok(guard),
        LockAttempt::HeldBy(holder) => Err(LogError::LockedBy { holder }),
    }
}

fn read(storage: &dyn Storage, path: &str) -> Result<Option<Vec<u8>>, LogError> {
    storage.read(path).map_err(doing(format!("reading {path}")))
}

/// Puts a file in place and flushes it.
fn write(storage: &dyn Storage, path: &str, content: &[u8]) -> Result<(), LogError> {
    storage
        .replace(path, content)
        .and_then(|()| storage.sync(path))
        .and_then(|()| storage.sync_dir(path.rsplit_once('/').map_or("", |(directory, _)| directory)))
        .map_err(doing(format!("writing {path}")))
}

/// Moves a log. Neither store may be in use; the new one has no log, or an older state of this one that was moved away
/// before. Whoever opens the log in the new store recovers it there, which checks that what was copied leads to the
/// signed root.
///
/// # Errors
/// [`LogError::LockedBy`] when either is in use, [`LogError::Exists`] when the new store has a log,
/// [`LogError::NoLockRecord`] when the old one has none, [`LogError::Corrupt`] and [`LogError::Io`].
pub fn migrate(from: &Arc<dyn Storage>, to: &Arc<dyn Storage>) -> Result<Migrated, LogError> {
    move_from(from, to, LOCK_RECORD)
}

/// Moves a log that was rotated out of the store past one machine to files, where the directory that it lies in says that it
/// was. Else it is as [`migrate`].
///
/// # Errors
/// As [`migrate`].
pub fn migrate_retired(from: &Arc<dyn Storage>, to: &Arc<dyn Storage>) -> Result<Migrated, LogError> {
    move_from(from, to, FROZEN)
}

/// Moves a log whose lock record lies under this name.
fn move_from(from: &Arc<dyn Storage>, to: &Arc<dyn Storage>, record: &str) -> Result<Migrated, LogError> {
    let _from_guard = lock(from.as_ref())?;
    let _to_guard = lock(to.as_ref())?;
    if read(to.as_ref(), LOCK_RECORD)?.is_some() {
        return Err(LogError::Exists { found: LOCK_RECORD.into() });
    }
    let at = record;
    let Some(record) = read(from.as_ref(), at)? else { return take_up(from.as_ref(), to.as_ref(), at) };
    let (record, _) = put_aside(&record);
    let head = parse(record)?;
    let params = read_params(from.as_ref())?;
    check_older(to.as_ref(), &params, head.size)?;

    write(to.as_ref(), PARAMS, &params.encode())?;
    let mut tiles = 0;
    let mut batch = Vec::new();
    let place = |batch: &mut Vec<_>| {
        let placed = to.replace_all(batch).map_err(doing("copying tiles"));
        batch.clear();
        placed
    };
    for path in full_tiles(params.format, 0, head.size) {
        let path = path.to_string();
        let content =
            read(from.as_ref(), &path)?.ok_or_else(|| LogError::corrupt(&path, "the tile is missing"))?;
        batch.push((path, content));
        tiles += 1;
        if batch.len() == TOGETHER {
            place(&mut batch)?;
        }
    }
    place(&mut batch)?;
    if at == FROZEN {
        // Else whoever opens it makes them anew; this one need not be opened to be read.
        for path in partial_tiles(params.format, head.size) {
            let content =
                read(from.as_ref(), &path)?.ok_or_else(|| LogError::corrupt(&path, "the tile is missing"))?;
            write(to.as_ref(), &path, &content)?;
        }
    }
    flush_tiles(to.as_ref(), params.format, 0, head.size).map_err(doing("flushing the copied tiles"))?;

    to.remove_dir(WAL).map_err(doing("removing an older write-ahead file"))?;
    for base in segments(from.as_ref())? {
        let path = segment_path(base);
        let content =
            read(from.as_ref(), &path)?.ok_or_else(|| LogError::corrupt(&path, "the segment is missing"))?;
        write(to.as_ref(), &path, &content)?;
    }
    if let Some(checkpoint) = read(from.as_ref(), CHECKPOINT)? {
        write(to.as_ref(), CHECKPOINT, &checkpoint)?;
    }
    to.sync_dir("").map_err(doing("flushing the names of the copied files"))?;

    let mut number = [0; NUMBER];
    countersign_crypto::random(&mut number).map_err(|e| doing("numbering the move")(io::Error::other(e)))?;
    let aside = [record, &number].concat();
    write(to.as_ref(), COMING, &aside)?;
    // From here on the log is in neither store, until it is in the new one.
    write(from.as_ref(), MOVED, &aside)?;
    finish(from.as_ref(), to.as_ref(), record, at)?;
    Ok(Migrated { size: head.size, root: head.root, tiles })
}

/// The tiles and the bundle at the right edge of a tree that are not full.
fn partial_tiles(format: Format, size: u64) -> impl Iterator<Item = String> {
    let hashes = (0..8_u8).map(|level| (TileKind::Hashes { level }, level));
    hashes.chain([(format.entries(), 0)]).filter_map(move |(kind, level)| {
        let index = items_at_level(level, size) / u64::from(TILE_WIDTH);
        Some(TilePath::in_tree(kind, index, size)?.to_string())
    })
}

/// Takes a move up that was cut off when the lock record had been put aside, if it was to this store.
fn take_up(from: &dyn Storage, to: &dyn Storage, at: &str) -> Result<Migrated, LogError> {
    let aside = read(from, MOVED)?.ok_or_else(|| missing(from))?;
    if read(to, COMING)?.as_ref() != Some(&aside) {
        return Err(LogError::Moved { record: MOVED });
    }
    let (record, _) = aside.split_at(aside.len().saturating_sub(NUMBER));
    let head = parse(record)?;
    finish(from, to, record, at)?;
    Ok(Migrated { size: head.size, root: head.root, tiles: 0 })
}

/// The last steps: out of the old store, into the new one.
fn finish(from: &dyn Storage, to: &dyn Storage, record: &[u8], at: &str) -> Result<(), LogError> {
    from.remove(at)
        .and_then(|()| from.sync_dir(""))
        .map_err(doing("putting the old store's lock record aside"))?;
    write(to, LOCK_RECORD, record)?;
    to.remove(MOVED)
        .and_then(|()| to.remove(COMING))
        .and_then(|()| to.sync_dir(""))
        .map_err(doing("removing outdated lock records"))
}

/// Refuses a store that has another log, or once had a larger tree than the one that is moved there: the log went on from
/// an old state. What a move that was cut off left there is of the same log and not larger.
fn check_older(to: &dyn Storage, params: &LogParams, size: u64) -> Result<(), LogError> {
    if read(to, PARAMS)?.is_some_and(|own| own != params.encode()) {
        return Err(LogError::Exists { found: PARAMS.into() });
    }
    let moved = read(to, MOVED)?.map(|record| parse(&record)).transpose()?.map(|head| head.size);
    let published = match read(to, CHECKPOINT)? {
        None => None,
        Some(bytes) => Some(Note::parse(&bytes).and_then(|note| Checkpoint::parse(note.text()))?.size),
    };
    match moved.max(published) {
        Some(before) if before > size => Err(LogError::Inconsistent(format!(
            "the store that it is moved to had a tree of size {before}; this one has {size}"
        ))),
        _ => Ok(()),
    }
}
