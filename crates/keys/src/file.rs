//! Files written whole or not at all, and key files that only their owner can read.
//!
//! A write goes to a temporary file in the same directory, is flushed, takes its name in one step and has that
//! name flushed too. After a crash the file is there complete or not there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::KeyError;

/// Permission bits of a private key: the owner reads and writes.
pub const PRIVATE: u32 = 0o600;
/// Permission bits of what everyone may read.
pub const PUBLIC: u32 = 0o644;

/// Writes a new file; fails when the name is taken, also by a dangling link.
///
/// # Errors
/// [`KeyError::Exists`], [`KeyError::Io`].
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let temporary = staged(path, content, mode)?;
    temporary.persist_noclobber(path).map_err(|e| {
        if e.error.kind() == std::io::ErrorKind::AlreadyExists {
            KeyError::Exists { path: path.to_owned() }
        } else {
            KeyError::io("write", path)(e.error)
        }
    })?;
    sync_dir(parent(path))
}

/// Writes a file in place of what is there. For files the program owns, such as a cache, and for a key in another
/// form; never for another key.
///
/// # Errors
/// [`KeyError::Io`].
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let temporary = staged(path, content, mode)?;
    temporary.persist(path).map_err(|e| KeyError::io("write", path)(e.error))?;
    sync_dir(parent(path))
}

fn staged(path: &Path, content: &[u8], mode: u32) -> Result<tempfile::NamedTempFile, KeyError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".countersign-");
    let mut temporary =
        builder.tempfile_in(parent(path)).map_err(KeyError::io("create a file beside", path))?;
    set_mode(temporary.as_file(), mode).map_err(KeyError::io("set the mode of", path))?;
    temporary.write_all(content).map_err(KeyError::io("write", path))?;
    temporary.as_file().sync_all().map_err(KeyError::io("flush", path))?;
    Ok(temporary)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Flushes the names in a directory to the disk.
///
/// # Errors
/// [`KeyError::Io`].
pub fn sync_dir(dir: &Path) -> Result<(), KeyError> {
    // Windows gives no handle to a directory and orders names itself.
    if cfg!(unix) {
        File::open(dir).and_then(|d| d.sync_all()).map_err(KeyError::io("flush the directory", dir))?;
    }
    Ok(())
}

/// Makes a directory that only its owner can enter, with its parents. One which is there already is left as
/// it is.
///
/// # Errors
/// [`KeyError::Io`].
pub fn create_private_dir(dir: &Path) -> Result<(), KeyError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(KeyError::io("create the directory", dir))
}

/// Reads a private key file of at most `limit` bytes, refusing one that every user of the machine can reach.
/// The check and the reading are of the same open file.
///
/// # Errors
/// [`KeyError::TooOpen`], [`KeyError::TooLarge`], [`KeyError::Io`], [`KeyError::Malformed`] when it is not text.
pub fn read_private(path: &Path, limit: usize) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path).map_err(KeyError::io("open the private key", path))?;
    check_private(&file, path)?;
    read_text(&file, path, limit)
}

/// Reads a file of at most `limit` bytes as text.
///
/// # Errors
/// [`KeyError::TooLarge`], [`KeyError::Io`], [`KeyError::Malformed`] when it is not text.
pub fn read_public(path: &Path, limit: usize) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path).map_err(KeyError::io("open", path))?;
    read_text(&file, path, limit)
}

fn read_text(file: &File, path: &Path, limit: usize) -> Result<Zeroizing<String>, KeyError> {
    // Room for all of it at once: a vector that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(KeyError::io("read", path))?;
    if bytes.len() > limit {
        return Err(KeyError::TooLarge { what: path.display().to_string(), limit });
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| KeyError::Malformed(format!("{} is not text (expected PEM)", path.display())))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata().map_err(KeyError::io("inspect", path))?.permissions().mode() & 0o7777;
    if mode & 0o007 == 0 { Ok(()) } else { Err(KeyError::TooOpen { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_private(_: &File, _: &Path) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &File, _: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_new_file_has_its_mode_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_new(&path, b"one", PRIVATE).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(write_new(&path, b"two", PRIVATE), Err(KeyError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names(dir.path()), ["k"], "no temporary file stays behind");
    }

    #[test]
    fn a_dangling_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(write_new(&path, b"x", PRIVATE), Err(KeyError::Exists { .. })));
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn replacing_swaps_content_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one", PUBLIC).unwrap();
        replace(&path, b"two", PRIVATE).unwrap();
        assert_eq!((std::fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"two"[..], 0o600));
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn an_open_key_is_refused_with_the_command_that_closes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        for (bits, fine) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o602, false)] {
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            match read_private(&path, 10) {
                Ok(text) => assert!(fine && text.as_str() == "x", "{bits:o}"),
                Err(error) => {
                    assert!(!fine, "{bits:o}");
                    let text = error.to_string();
                    assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
                }
            }
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn large_and_binary_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_new(&path, b"12345", PRIVATE).unwrap();
        assert!(matches!(read_private(&path, 4), Err(KeyError::TooLarge { limit: 4, .. })));
        replace(&path, &[0xff, 0xfe], PRIVATE).unwrap();
        assert!(matches!(read_private(&path, 4), Err(KeyError::Malformed(_))));
    }

    #[test]
    fn a_private_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_private_dir(&path).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }
}
