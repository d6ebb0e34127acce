//! Storage in a directory of the machine's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LockAttempt, Storage, StorageFile};

/// How long a lock's holder is given to write its name.
const NAME_TRIES: u32 = 20;
const NAME_WAIT: Duration = Duration::from_millis(10);

/// A directory on a local disk.
///
/// The file system must be a local one: locks and flushes of network file systems do not hold what the log
/// promises.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Names a directory; nothing is touched yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

/// Does something to a file, and once more after making its directory if that is what was missing.
fn with_directory<T>(path: &Path, mut act: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
    match act(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            act(path)
        }
        other => other,
    }
}

/// What is missing already need not be removed.
fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Storage for Files {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(path)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(path))?;
        Ok(Box::new(LocalFile(file)))
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = with_directory(&self.path(path), |path| {
            OpenOptions::new().read(true).write(true).create_new(true).open(path)
        })?;
        Ok(Box::new(LocalFile(file)))
    }

    fn replace(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = self.path(path);
        let mut name = path.clone().into_os_string();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        with_directory(&temporary, |path| File::create(path)?.write_all(content))?;
        fs::rename(&temporary, &path)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.sync(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        unless_missing(fs::remove_file(self.path(path)))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        unless_missing(fs::remove_dir_all(self.path(path)))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn lock(&self, path: &str, holder: &str) -> io::Result<LockAttempt> {
        let path = self.path(path);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(holder.as_bytes())?;
                Ok(LockAttempt::Taken(Box::new(Locked(file))))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // It writes its name right after it has taken the lock.
                for _ in 0..NAME_TRIES {
                    (&file).take(1000).read_to_string(&mut holder)?;
                    if !holder.trim().is_empty() {
                        return Ok(LockAttempt::HeldBy(holder.trim().to_owned()));
                    }
                    std::thread::sleep(NAME_WAIT);
                }
                Ok(LockAttempt::HeldBy("unknown (it has not written its name)".to_owned()))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn location(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// Releases the lock when dropped. Closing the file is not enough: a process being started at that moment has it
/// open too, until it runs its own program.
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock.
        let _ = self.0.unlock();
    }
}

#[derive(Debug)]
struct LocalFile(File);

impl Drop for LocalFile {
    fn drop(&mut self) {
        // As for `Locked`; without a lock this does nothing.
        let _ = self.0.unlock();
    }
}

impl StorageFile for LocalFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
