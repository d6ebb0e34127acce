//! Storage past one machine: tiles in an object store, everything whose order matters in a database.
//!
//! The lock is a lease with a fencing token. The database refuses every write under an older token, so whoever was
//! held up past its lease and goes on can change nothing that matters; the object store knows no tokens, but what is
//! written there follows from entries that were committed, and is the same whoever writes it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::database::{Acquired, Change, Database, Fence, lease_lost};
use super::objects::Objects;
use super::{KeyTable, LockAttempt, Storage, StorageFile};
use crate::index::Key;

/// How long a lease lasts unless it is renewed. Others take over when it is over.
pub const LEASE: Duration = Duration::from_secs(10);
/// How long outdated partial tiles stay for those who have just learnt of them.
const OUTDATED: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Lease {
    token: i64,
    /// When it is over if it is not renewed, by this machine's clock: not after the database's.
    until: Instant,
}

#[derive(Debug)]
struct Inner {
    log: String,
    /// Tells this user of the files from all others, in this process too.
    name: u64,
    database: Arc<dyn Database>,
    term: Duration,
    /// Whether the lease is taken from whoever has it.
    takes_over: bool,
    lease: Mutex<Option<Lease>>,
}

/// A log's files in a database and an object store, as one process sees them.
#[derive(Clone)]
pub struct Distributed {
    inner: Arc<Inner>,
    objects: Objects,
}

impl fmt::Debug for Distributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distributed").field("log", &self.inner.log).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(log: &str, database: Arc<dyn Database>, term: Duration) -> Self {
        // Every such state has keys of its own.
        let name = RandomState::new().build_hasher().finish();
        Self { log: log.to_owned(), name, database, term, takes_over: false, lease: Mutex::new(None) }
    }

    fn lease(&self) -> std::sync::MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fence(&self) -> io::Result<Fence<'_>> {
        let lease = self.lease().ok_or_else(lease_lost)?;
        Ok(Fence { log: &self.log, token: lease.token })
    }

    fn change(&self, path: &str, change: Change<'_>) -> io::Result<()> {
        self.database.change(self.fence()?, path, change)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.database.read(&self.log, path)
    }

    /// Whether the lease is ours, as far as is known here without asking.
    fn still_ours(&self) -> io::Result<()> {
        match *self.lease() {
            Some(lease) if Instant::now() < lease.until => Ok(()),
            _ => Err(lease_lost()),
        }
    }

    /// Prolongs a lease; false when it is gone for good.
    fn renew(&self, token: i64) -> bool {
        let begun = Instant::now();
        let renewed = self.database.renew(Fence { log: &self.log, token }, self.term);
        let mut lease = self.lease();
        let Some(own) = lease.as_mut().filter(|own| own.token == token) else { return false };
        match renewed {
            Ok(true) => own.until = begun + self.term,
            Ok(false) => {
                tracing::warn!(log = self.log, "the lease of the log has passed to another process");
                *lease = None;
            }
            // It may be back before the lease is over; if not, somebody else may take it.
            Err(error) => tracing::warn!(log = self.log, %error, "the lease of the log could not be renewed"),
        }
        lease.is_some()
    }
}

/// Gives the lease up when dropped.
struct Held {
    inner: Arc<Inner>,
    token: i64,
    /// Dropped to end the thread that renews.
    renewing: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.renewing.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.inner.lease().take_if(|lease| lease.token == self.token);
        if let Err(error) = self.inner.database.release(Fence { log: &self.inner.log, token: self.token }) {
            tracing::debug!(%error, "the lease was not given up; it ends by itself");
        }
    }
}

fn is_tile(path: &str) -> bool {
    path.starts_with("tile/")
}

impl Distributed {
    /// The files of the log of some name. Nothing is read or written yet.
    #[must_use]
    pub fn new(log: &str, database: Arc<dyn Database>, objects: &Objects, term: Duration) -> Self {
        Self { inner: Arc::new(Inner::new(log, database, term)), objects: objects.below(log) }
    }

    /// The same files for another user in this process, without the lease that this one may have.
    pub(crate) fn without_lease(&self) -> Self {
        let Inner { log, database, term, .. } = self.inner.as_ref();
        Self { inner: Arc::new(Inner::new(log, Arc::clone(database), *term)), objects: self.objects.clone() }
    }

    /// The same files for a user who does not wait for the lease, but takes it from whoever has it.
    pub(crate) fn taking_over(&self) -> Self {
        let Inner { log, database, term, .. } = self.inner.as_ref();
        let inner = Inner { takes_over: true, ..Inner::new(log, Arc::clone(database), *term) };
        Self { inner: Arc::new(inner), objects: self.objects.clone() }
    }

    pub(crate) fn log(&self) -> &str {
        &self.inner.log
    }

    pub(crate) fn database(&self) -> &dyn Database {
        self.inner.database.as_ref()
    }

    pub(crate) fn has_lease(&self) -> bool {
        self.inner.still_ours().is_ok()
    }

    fn write_tiles(&self, files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        self.objects.write(files, move || inner.still_ours())
    }
}

impl Storage for Distributed {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        if is_tile(path) { self.objects.read(path) } else { self.inner.read(path) }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        if self.inner.read(path)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(OpenFile { inner: Arc::clone(&self.inner), path: path.to_owned() }))
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        self.inner.change(path, Change::Create)?;
        Ok(Box::new(OpenFile { inner: Arc::clone(&self.inner), path: path.to_owned() }))
    }

    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()> {
        if is_tile(path) {
            self.write_tiles(vec![(path.to_owned(), content.to_vec())])
        } else {
            self.inner.change(path, Change::Replace(content))
        }
    }

    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let (tiles, others): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| is_tile(path));
        for (path, content) in others {
            self.inner.change(path, Change::Replace(content))?;
        }
        self.write_tiles(tiles.into_iter().cloned().collect())
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        // What was written is durable when writing returns, in both stores.
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if is_tile(path) {
            self.inner.still_ours()?;
            self.objects.remove(&[path.to_owned()])
        } else {
            self.inner.change(path, Change::Remove)
        }
    }

    fn discard(&self, paths: Vec<String>) {
        self.objects.remove_later(paths, Vec::new(), OUTDATED);
    }

    fn discard_dirs(&self, paths: Vec<String>) {
        self.objects.remove_later(Vec::new(), paths, OUTDATED);
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        if !is_tile(path) {
            return self.inner.change(path, Change::RemoveDirectory);
        }
        let names = self.objects.list(path)?;
        let paths: Vec<String> = names.iter().map(|name| format!("{path}/{name}")).collect();
        self.inner.still_ours()?;
        self.objects.remove(&paths)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        if is_tile(path) {
            return self.objects.list(path);
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let paths = self.inner.database.paths(&self.inner.log)?;
        let below = paths.iter().filter_map(|p| p.strip_prefix(&prefix)?.split('/').next());
        let mut names: BTreeSet<String> = below.map(str::to_owned).collect();
        if path.is_empty() {
            names.extend(self.objects.list("")?);
        }
        Ok(names.into_iter().collect())
    }

    fn lock(&self, _: &str, holder: &str) -> io::Result<LockAttempt> {
        let Inner { log, database, term, .. } = self.inner.as_ref();
        if self.has_lease() {
            return Ok(LockAttempt::HeldBy(holder.trim().to_owned()));
        }
        let begun = Instant::now();
        let holder = format!("{} ({:016x})", holder.trim(), self.inner.name);
        let token = if self.inner.takes_over {
            database.take_over(log, &holder, *term)?
        } else {
            match database.acquire(log, &holder, *term)? {
                Acquired::Lease { token } => token,
                Acquired::HeldBy(other) => return Ok(LockAttempt::HeldBy(other)),
            }
        };
        *self.inner.lease() = Some(Lease { token, until: begun + *term });
        let (renewing, end) = channel::<()>();
        let (inner, pause) = (Arc::clone(&self.inner), *term / 4);
        let thread = std::thread::Builder::new().name("log-lease".into()).spawn(move || {
            while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && inner.renew(token) {}
        });
        let mut held = Held { inner: Arc::clone(&self.inner), token, renewing: Some(renewing), thread: None };
        // If it did not start, dropping gives the lease up.
        held.thread = Some(thread?);
        Ok(LockAttempt::Taken(Box::new(held)))
    }

    fn location(&self) -> Option<&Path> {
        None
    }

    fn key_table(&self) -> Option<Arc<dyn KeyTable>> {
        Some(Arc::new(Keys(Arc::clone(&self.inner))))
    }
}

#[derive(Debug)]
struct OpenFile {
    inner: Arc<Inner>,
    path: String,
}

impl StorageFile for OpenFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = self.inner.read(&self.path)?.ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let piece = content.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.change(&self.path, Change::Write { at: offset, bytes })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.inner.change(&self.path, Change::SetLen(len))
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        // Every write shows the lease anew.
        Ok(self.inner.still_ours().is_ok())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The keys of entries, in the database.
#[derive(Debug)]
struct Keys(Arc<Inner>);

impl KeyTable for Keys {
    fn upto(&self) -> io::Result<u64> {
        self.0.database.keys_upto(&self.0.log)
    }

    fn find(&self, keys: &[Key]) -> io::Result<HashMap<Key, u64>> {
        self.0.database.find_keys(&self.0.log, keys)
    }

    fn add(&self, rows: &[(Key, u64)], upto: u64, _: bool) -> io::Result<()> {
        self.0.database.add_keys(self.0.fence()?, rows, upto)
    }

    fn clear(&self) -> io::Result<()> {
        self.0.database.clear_keys(self.0.fence()?)
    }
}
