//! A disk in memory that fails, fills up and loses power on demand.
//!
//! A power cut keeps what was flushed. Of everything else, each sector of each write (of 512 bytes or of 4 KiB, a disk
//! has one or the other), each change of a length and each change of a name may be kept or lost, one without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use countersign_log::storage::{LockAttempt, Storage, StorageFile};

use super::Random;

const SECTORS: [usize; 2] = [512, 4096];

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
    /// It has no effect, and the system says that the disk is full.
    Full,
}

impl Fault {
    pub fn any(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::NotDone,
            1 => Self::DoneButError,
            2 => Self::FlushLost,
            3 => Self::PowerCut,
            4 => Self::PowerCutAfter,
            _ => Self::Full,
        }
    }
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
    /// What each name has become since its directory was flushed, step by step.
    renamed: BTreeMap<String, Vec<Option<usize>>>,
    flushed_dirs: BTreeSet<String>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// How many operations of a thousand fail in some way, and the chance that says which.
    weather: Option<(u64, Random)>,
    off: bool,
    losing: bool,
    /// The file whose next flush by name is lost.
    lost_path: Option<String>,
    capacity: Option<usize>,
    locked: bool,
    /// Everything that ever stood in the file that is published.
    published: BTreeSet<Vec<u8>>,
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
        let inode = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), inode);
        self.renamed.entry(path.to_owned()).or_default().push(Some(inode));
        inode
    }

    fn unlink(&mut self, path: &str) {
        if self.names.remove(path).is_some() {
            self.renamed.entry(path.to_owned()).or_default().push(None);
        }
    }

    /// What goes wrong with this operation, if anything.
    fn trouble(&mut self) -> Option<Fault> {
        if let Some((at, fault)) = self.fault
            && at == self.operations
        {
            return Some(fault);
        }
        let (rate, random) = self.weather.as_mut()?;
        (random.below(1000) < *rate).then(|| Fault::any(random))
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
        match state.trouble() {
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(fault) => {
                if matches!(fault, Fault::DoneButError | Fault::PowerCutAfter | Fault::FlushLost) {
                    state.losing = fault == Fault::FlushLost;
                    let done = act(&mut state).map(drop);
                    state.losing = false;
                    done?;
                }
                state.off = matches!(fault, Fault::PowerCut | Fault::PowerCutAfter);
                error()
            }
            None => act(&mut state),
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

    /// Lets some operations of each thousand fail, by chance and in any way.
    pub fn storm(&self, rate: u64, random: Random) {
        self.state().weather = Some((rate, random));
    }

    /// Plans no failure.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
        state.weather = None;
        state.off = false;
    }

    /// Whether the power was cut.
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Every checkpoint that ever was there for anybody to read.
    pub fn published(&self) -> BTreeSet<Vec<u8>> {
        self.state().published.clone()
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
        let mut new =
            State { capacity: state.capacity, published: state.published.clone(), ..State::default() };
        let sector = SECTORS[usize::from(random.coin())];
        let mut lost_dirs = BTreeSet::new();
        let names = state.names.keys().chain(state.flushed_names.keys()).chain(state.renamed.keys());
        let names: BTreeSet<&String> = names.collect();
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
            let before = state.flushed_names.get(name).copied();
            let since = state.renamed.get(name).map_or(&[][..], Vec::as_slice);
            let kept = match usize::try_from(random.below(since.len() as u64 + 1)).unwrap() {
                0 => before,
                step => since[step - 1],
            };
            if let (true, Some(inode)) = (reachable, kept) {
                let old = &state.inodes[inode];
                let mut data = old.flushed.clone();
                for change in &old.changes {
                    lose_parts(change, sector, random, &mut data);
                }
                new.inodes.push(Inode { data: data.clone(), flushed: data, changes: Vec::new() });
                new.names.insert(name.clone(), new.inodes.len() - 1);
            }
        }
        new.flushed_names = new.names.clone();
        Self(Arc::new(Mutex::new(new)))
    }
}

fn lose_parts(change: &Change, sector: usize, random: &mut Random, data: &mut Vec<u8>) {
    match change {
        Change::SetLen(_) => {
            if random.coin() {
                change.apply(data);
            }
        }
        Change::Write(at, bytes) => {
            // Now and then all of it or nothing, else piece by piece.
            let all = random.below(4);
            let (mut at, mut rest) = (*at, bytes.as_slice());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(sector - at % sector));
                if all == 0 || all > 1 && random.coin() {
                    Change::Write(at, piece.to_vec()).apply(data);
                }
                at += piece.len();
                rest = tail;
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
            if path == "checkpoint" {
                state.published.insert(content.to_vec());
            }
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
            state.renamed.retain(|name, _| parent(name) != path);
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
            state.unlink(path);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let prefix = format!("{path}/");
        self.operate(|state| {
            let gone: Vec<_> = state.names.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
            gone.iter().for_each(|name| state.unlink(name));
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
