//! Where the webhook keeps what must survive a restart: its certificate authority, the last revocation list.

use std::fmt::Debug;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// The name of the authority's file, and of its key in a secret; other things are kept under other names.
pub(crate) const FILE_NAME: &str = "ca.pem";
/// The most bytes that are read.
const MAX_LENGTH: u64 = 1 << 20;

/// Why something cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeeperError(pub String);

/// What is kept, and which version of it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The text.
    pub text: Zeroizing<String>,
    /// What tells this version from others; empty where the text does.
    pub version: String,
}

/// An answer of a keeper.
pub type Keeping<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeeperError>> + Send + 'a>>;

/// Keeps a text for all replicas.
pub trait Keeper: Send + Sync + Debug {
    /// What is kept, if anything.
    fn read(&self) -> Keeping<'_, Option<Kept>>;

    /// Keeps another text. False when something else than `old` is kept by now: then nothing was changed.
    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool>;
}

/// Keeps a text as long as the process runs.
#[derive(Default)]
pub struct Memory(Mutex<Option<Zeroizing<String>>>);

impl Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Keeper for Memory {
    fn read(&self) -> Keeping<'_, Option<Kept>> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async { Ok(text.map(|text| Kept { text, version: String::new() })) })
    }

    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool> {
        Box::pin(async move {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.as_ref() != old.map(|old| &old.text) {
                return Ok(false);
            }
            *kept = Some(Zeroizing::new(new.to_owned()));
            Ok(true)
        })
    }
}

/// Keeps a text in a file that only its owner can read.
#[derive(Debug)]
pub struct Directory {
    directory: PathBuf,
    name: &'static str,
}

impl Directory {
    /// In this directory, which is made when it is not there.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), name: FILE_NAME }
    }

    /// The same under another name.
    #[must_use]
    pub const fn under(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn read_file(&self) -> Result<Option<Kept>, KeeperError> {
        let path = self.directory.join(self.name);
        let failed = |e: std::io::Error| KeeperError(format!("{}: {e}", path.display()));
        let length = match std::fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
            Ok(found) => found.len(),
        };
        if length > MAX_LENGTH {
            return Err(KeeperError(format!("{}: {length} bytes are too many", path.display())));
        }
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(failed)?);
        Ok(Some(Kept { text, version: String::new() }))
    }

    /// A whole file takes the other's place at once. A first one does not take the place of one that came in between.
    fn write_file(&self, old: Option<&Kept>, new: &str) -> Result<bool, KeeperError> {
        let failed = |e: std::io::Error| KeeperError(format!("{}: {e}", self.directory.display()));
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        if self.read_file()?.map(|kept| kept.text) != old.map(|old| old.text.clone()) {
            return Ok(false);
        }
        let draft = self.directory.join(format!("{}.{}", self.name, std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft).map_err(failed)?;
        file.write_all(new.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        let path = self.directory.join(self.name);
        if old.is_some() {
            std::fs::rename(&draft, path).map_err(failed)?;
            return self.flush().map(|()| true).map_err(failed);
        }
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft).map_err(failed)?;
        match linked {
            Ok(()) => self.flush().map(|()| true).map_err(failed),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }

    /// A name is kept when its directory is flushed: else an older list may be there again after a crash.
    fn flush(&self) -> std::io::Result<()> {
        // Windows gives no handle to a directory and orders names itself.
        if cfg!(unix) { std::fs::File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }
}

// Small files, read a few times a day.
impl Keeper for Directory {
    fn read(&self) -> Keeping<'_, Option<Kept>> {
        Box::pin(async { self.read_file() })
    }

    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool> {
        Box::pin(async move { self.write_file(old, new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_kept_in_between_stays() {
        let folder = tempfile::tempdir().unwrap();
        for keeper in [&Memory::default() as &dyn Keeper, &Directory::new(&folder.path().join("tls"))] {
            assert!(keeper.read().await.unwrap().is_none());
            assert!(keeper.replace(None, "a").await.unwrap());
            assert!(!keeper.replace(None, "b").await.unwrap());
            let first = keeper.read().await.unwrap().unwrap();
            assert!(keeper.replace(Some(&first), "c").await.unwrap());
            assert!(!keeper.replace(Some(&first), "d").await.unwrap());
            assert_eq!(*keeper.read().await.unwrap().unwrap().text, "c");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_is_read_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let keeper = Directory::new(folder.path());
        assert!(keeper.replace(None, "a").await.unwrap());
        let mode = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
