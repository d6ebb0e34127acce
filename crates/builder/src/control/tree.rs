//! Writing strangers' files below a directory. Every path is resolved by the kernel within it, so that no link in what was written before leads
//! what is written next out of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, futimens, linkat, mkdirat,
    openat, openat2, symlinkat, unlinkat, utimensat,
};

/// What links on the way to a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Refused: in a source no file lies behind a link.
    Refused,
    /// Followed, with this directory as their root: layers of images write through `lib -> usr/lib`.
    Within,
}

/// A directory that is being filled.
#[derive(Debug)]
pub(crate) struct Tree {
    top: OwnedFd,
    resolve: ResolveFlags,
    times: Timestamps,
    directories: BTreeSet<String>,
}

impl Tree {
    /// Begins in a directory, which is made. All that is written bears this time, in seconds.
    pub(crate) fn new(path: &Path, links: Links, time: i64) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, path, flags, Mode::empty())?;
        fchmod(&top, Mode::from_raw_mode(0o755))?;
        let resolve = ResolveFlags::NO_MAGICLINKS
            | match links {
                Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                Links::Within => ResolveFlags::IN_ROOT,
            };
        let at = Timespec { tv_sec: time, tv_nsec: 0 };
        let times = Timestamps { last_access: at, last_modification: at };
        Ok(Self { top, resolve, times, directories: BTreeSet::from([".".to_owned()]) })
    }

    /// A directory within this one, as a tree of its own with the same rules.
    pub(crate) fn within(&mut self, path: &str) -> io::Result<Self> {
        let top = self.directory(path)?;
        Ok(Self {
            top,
            directories: BTreeSet::from([".".to_owned()]),
            resolve: self.resolve,
            times: self.times.clone(),
        })
    }

    /// The directory above a path, made with those above it, and the last name.
    fn above<'p>(&mut self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.directory(above)?, name))
    }

    fn open(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.top, path, flags, Mode::empty(), self.resolve)
    }

    /// A directory, made with those above it.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<OwnedFd> {
        match self.open(path) {
            Ok(found) => return Ok(found),
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let mut current = self.open("")?;
        let mut so_far = String::new();
        for part in path.split('/') {
            if !so_far.is_empty() {
                so_far.push('/');
            }
            so_far.push_str(part);
            current = match self.open(&so_far) {
                Err(rustix::io::Errno::NOENT) => {
                    mkdirat(&current, part, Mode::from_raw_mode(0o755))?;
                    let made = self.open(&so_far)?;
                    fchmod(&made, Mode::from_raw_mode(0o755))?;
                    self.directories.insert(so_far.clone());
                    made
                }
                other => other?,
            };
        }
        Ok(current)
    }

    /// A new file, open for writing. What was there by this name is gone, as a later member of an archive replaces an earlier one.
    pub(crate) fn file(&mut self, path: &str, executable: bool) -> io::Result<File> {
        let (above, name) = self.above(path)?;
        self.clear(&above, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&above, name, flags, Mode::from_raw_mode(0o600))?;
        fchmod(&file, Mode::from_raw_mode(if executable { 0o755 } else { 0o644 }))?;
        Ok(file.into())
    }

    /// Writes a file from a reader.
    pub(crate) fn write(
        &mut self,
        path: &str,
        executable: bool,
        from: &mut impl io::Read,
    ) -> io::Result<u64> {
        let mut file = self.file(path, executable)?;
        let written = io::copy(from, &mut file)?;
        futimens(&file, &self.times)?;
        Ok(written)
    }

    /// A symbolic link. It is never followed here but within the directory.
    pub(crate) fn symlink(&mut self, path: &str, target: impl AsRef<OsStr>) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        self.clear(&above, name)?;
        symlinkat(target.as_ref(), &above, name)?;
        Ok(utimensat(&above, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// A second name of a file that was written.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let (from, old) = self.above(target)?;
        let (above, name) = self.above(path)?;
        self.clear(&above, name)?;
        Ok(linkat(&from, old, &above, name, AtFlags::empty())?)
    }

    /// Takes a name away, with all that lies below it; none that is not there.
    pub(crate) fn remove(&mut self, path: &str) -> io::Result<()> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = match self.open(above) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            other => other?,
        };
        match unlinkat(&above, name, AtFlags::empty()) {
            Err(rustix::io::Errno::ISDIR) => {
                // Emptied from below, without a recursion.
                let inner = self.names(path)?;
                for name in inner.iter().rev() {
                    let (above, last) = self.above(name)?;
                    match unlinkat(&above, last, AtFlags::empty()) {
                        Err(rustix::io::Errno::ISDIR) => unlinkat(&above, last, AtFlags::REMOVEDIR)?,
                        other => other?,
                    }
                }
                Ok(unlinkat(&above, name, AtFlags::REMOVEDIR)?)
            }
            Err(rustix::io::Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Every path below a directory, each behind the directory it is in; none where there is no directory.
    pub(crate) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut left = vec![path.to_owned()];
        while let Some(path) = left.pop() {
            let directory = match self.open(&path) {
                Err(rustix::io::Errno::NOENT) => continue,
                other => other?,
            };
            for entry in rustix::fs::Dir::read_from(&directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let name =
                    std::str::from_utf8(name).map_err(|_| io::Error::other("a name which is no UTF-8"))?;
                let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                if entry.file_type() == rustix::fs::FileType::Directory {
                    left.push(below.clone());
                }
                found.push(below);
            }
        }
        Ok(found)
    }

    fn clear(&self, above: &OwnedFd, name: &str) -> io::Result<()> {
        match unlinkat(above, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives the directories their time, when all is written.
    pub(crate) fn finish(self) -> io::Result<()> {
        for path in self.directories.iter().rev() {
            match self.open(path) {
                Ok(found) => futimens(&found, &self.times)?,
                // Taken away again by a later layer.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
