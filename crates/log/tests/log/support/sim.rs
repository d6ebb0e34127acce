//! A disk in memory that fails, fills up and loses power on demand.
//!
//! A power cut keeps what was flushed. Of everything else, each 512-byte piece of each write, each change of a
//! length and each new name may be kept or lost, one without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use countersign_log::storage::{LockAttempt, Storage, StorageFile};

use super::Random;

const SECTOR: usize = 512;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has no effect and says so.
    NotDone,
    /// It has its effect and says it has not.
    DoneButError,
    /// A flush fails, and what it should have flushed is forgotten: it can be read, and later flushes succeed
    /// without it. Any other operation is as with [`Fault::DoneButError`].
    FlushLost,
    /// It has no effect, and nothing after it has: the machine is off.
    PowerCut,
    /// It has its effect, then the machine is off.
    PowerCutAfter,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    flushed: Vec<u8>,
    changes: Vec<Change>,
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                data.resize(data.len().max(at + bytes.len()), 0);
                data[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLen(len) => data.resize(*len, 0),
        }
    }
}

impl Inode {
    /// Makes what was changed durable, or loses it.
    fn flush(&mut self, lost: bool) {
        for change in self.changes.drain(..).filter(|_| !lost) {
            change.apply(&mut self.flushed);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    flushed_names: BTreeMap<String, usize>,
    flushed_dirs: BTreeSet<String>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    losing: bool,
    /// The file whose next flush by name is lost.
    lost_path: Option<String>,
    capacity: Option<usize>,
    locked: bool,
}

/// The disk.
#[derive(Debug, Clone, Default)]
pub struct SimFs(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimFile {
    disk: SimFs,
    inode: usize,
}

struct SimLock(SimFs);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The directories of a path, outermost first, without the root.
fn directories(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

impl State {
    fn full(&self, more: usize) -> bool {
        let used: usize = self.names.values().map(|i| self.inodes[*i].data.len()).sum();
        self.capacity.is_some_and(|capacity| used + more > capacity)
    }

    fn change(&mut self, inode: usize, change: Change) {
        change.apply(&mut self.inodes[inode].data);
        self.inodes[inode].changes.push(change);
    }

    fn new_inode(&mut self, path: &str) -> usize {
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }
}

impl SimFs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation and does it, or fails as planned.
    fn operate<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let error = || Err(io::Error::other("simulated failure"));
        let mut state = self.state();
        if state.off {
            return error();
        }
        state.operations += 1;
        match state.fault {
            Some((at, fault)) if at == state.operations => {
                if matches!(fault, Fault::DoneButError | Fault::PowerCutAfter | Fault::FlushLost) {
                    state.losing = fault == Fault::FlushLost;
                    let done = act(&mut state).map(drop);
                    state.losing = false;
                    done?;
                }
                state.off = matches!(fault, Fault::PowerCut | Fault::PowerCutAfter);
                error()
            }
            _ => act(&mut state),
        }
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Plans a failure for the operation after so many more.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + 1 + operations, fault));
    }

    /// Plans that the next flush of a file by its name is lost, as with [`Fault::FlushLost`].
    pub fn lose_flush(&self, path: &str) {
        self.state().lost_path = Some(path.to_owned());
    }

    /// Plans no failure.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
        state.off = false;
    }

    /// Limits the bytes of all files.
    pub fn set_capacity(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    /// The bytes of all files.
    pub fn used(&self) -> usize {
        let state = self.state();
        state.names.values().map(|i| state.inodes[*i].data.len()).sum()
    }

    /// The disk as a new process finds it after a power cut.
    pub fn after_power_cut(&self, random: &mut Random) -> Self {
        let state = self.state();
        let mut new = State { capacity: state.capacity, ..State::default() };
        let mut lost_dirs = BTreeSet::new();
        let names: BTreeSet<&String> = state.names.keys().chain(state.flushed_names.keys()).collect();
        for name in names {
            let mut reachable = true;
            for directory in directories(name) {
                if !state.flushed_dirs.contains(&directory) && !new.flushed_dirs.contains(&directory) {
                    if lost_dirs.contains(&directory) || random.coin() {
                        lost_dirs.insert(directory);
                        reachable = false;
                        break;
                    }
                    new.flushed_dirs.insert(directory);
                } else {
                    new.flushed_dirs.insert(directory);
                }
            }
            let (now, before) = (state.names.get(name), state.flushed_names.get(name));
            let kept = if now == before || random.coin() { before } else { now };
            if let (true, Some(inode)) = (reachable, kept) {
                let old = &state.inodes[*inode];
                let mut data = old.flushed.clone();
                for change in &old.changes {
                    lose_parts(change, random, &mut data);
                }
                new.inodes.push(Inode { data: data.clone(), flushed: data, changes: Vec::new() });
                new.names.insert(name.clone(), new.inodes.len() - 1);
            }
        }
        new.flushed_names = new.names.clone();
        Self(Arc::new(Mutex::new(new)))
    }
}

fn lose_parts(change: &Change, random: &mut Random, data: &mut Vec<u8>) {
    match change {
        Change::SetLen(_) => {
            if random.coin() {
                change.apply(data);
            }
        }
        Change::Write(at, bytes) => {
            // Now and then all of it or nothing, else piece by piece.
            let all = random.below(4);
            for (place, piece) in bytes.chunks(SECTOR).enumerate() {
                if all == 0 || all > 1 && random.coin() {
                    Change::Write(at + place * SECTOR, piece.to_vec()).apply(data);
                }
            }
        }
    }
}

impl Storage for SimFs {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.operate(|state| Ok(state.names.get(path).map(|i| state.inodes[*i].data.clone())))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        let inode = self
            .operate(|state| state.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into()))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        let inode = self.operate(|state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(state.new_inode(path))
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()> {
        self.operate(|state| {
            if state.full(content.len()) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let inode = state.new_inode(path);
            state.change(inode, Change::Write(0, content.to_vec()));
            Ok(())
        })
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.operate(|state| {
            let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
            let by_name = state.lost_path.take_if(|lost| lost == path).is_some();
            let lost = state.losing;
            state.inodes[inode].flush(lost || by_name);
            if by_name { Err(io::Error::other("simulated failure")) } else { Ok(()) }
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.operate(|state| {
            state.flushed_names.retain(|name, _| parent(name) != path);
            let here = state.names.iter().filter(|(name, _)| parent(name) == path);
            state.flushed_names.extend(here.map(|(name, inode)| (name.clone(), *inode)));
            let dirs =
                state.names.keys().flat_map(|name| directories(name)).filter(|dir| parent(dir) == path);
            state.flushed_dirs.extend(dirs);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.operate(|state| {
            state.names.remove(path);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let prefix = format!("{path}/");
        self.operate(|state| {
            state.names.retain(|name, _| !name.starts_with(&prefix));
            Ok(())
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.operate(|state| {
            let names: BTreeSet<_> = state
                .names
                .keys()
                .filter_map(|name| name.strip_prefix(&prefix))
                .map(|rest| rest.split('/').next().unwrap().to_owned())
                .collect();
            Ok(names.into_iter().collect())
        })
    }

    fn lock(&self, _: &str, _: &str) -> io::Result<LockAttempt> {
        let mut state = self.state();
        if state.locked {
            return Ok(LockAttempt::HeldBy("another".into()));
        }
        state.locked = true;
        Ok(LockAttempt::Taken(Box::new(SimLock(self.clone()))))
    }

    fn location(&self) -> Option<&Path> {
        None
    }
}

impl StorageFile for SimFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.disk.operate(|state| {
            let piece = state.inodes[self.inode].data.get(at..at + buffer.len());
            buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.disk.operate(|state| {
            let more = (at + bytes.len()).saturating_sub(state.inodes[self.inode].data.len());
            if more > 0 && state.full(more) {
                // Part of it fits.
                state.change(self.inode, Change::Write(at, bytes[..bytes.len() / 2].to_vec()));
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.change(self.inode, Change::Write(at, bytes.to_vec()));
            Ok(())
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.disk.operate(|state| {
            state.change(self.inode, Change::SetLen(len));
            Ok(())
        })
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        // One lock will do here: that of the lock file.
        Ok(true)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.operate(|state| {
            let lost = state.losing;
            state.inodes[self.inode].flush(lost);
            Ok(())
        })
    }
}
