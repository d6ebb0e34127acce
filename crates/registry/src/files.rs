//! Files of strangers: regular ones only, never through a symbolic link, never more than a limit.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::RegistryError;

/// Reads a file of at most `limit` bytes; `None` when there is none. The user's own: links are followed.
pub(crate) fn read_small(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, RegistryError> {
    match File::open(path) {
        Ok(file) => read_open(path, &file, limit).map(Some),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(RegistryError::file(path, &e)),
    }
}

/// Reads a regular file that no symbolic link stands for; `None` when there is none.
pub(crate) fn read_regular(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, RegistryError> {
    open_regular(path)?.map(|(file, _)| read_open(path, &file, limit)).transpose()
}

/// Opens a regular file that no symbolic link stands for, and says how long it is; `None` when there is none.
/// What it holds is judged by a digest or a parser afterwards: this keeps a layout from naming a device, a pipe
/// or a file elsewhere.
pub(crate) fn open_regular(path: &Path) -> Result<Option<(File, u64)>, RegistryError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(RegistryError::file(path, &e)),
    };
    if !found.is_file() {
        return Err(RegistryError::File {
            path: path.display().to_string(),
            message: "expected a file, found a link or something else".into(),
        });
    }
    let file = File::open(path).map_err(|e| RegistryError::file(path, &e))?;
    Ok(Some((file, found.len())))
}

/// Checks that a directory is one, and no symbolic link to one.
pub(crate) fn check_directory(path: &Path) -> Result<(), RegistryError> {
    let found = std::fs::symlink_metadata(path).map_err(|e| RegistryError::file(path, &e))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(RegistryError::File {
        path: path.display().to_string(),
        message: "expected a directory, found a link or something else".into(),
    })
}

fn read_open(path: &Path, file: &File, limit: usize) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let limit_and_one = (limit as u64).saturating_add(1);
    file.take(limit_and_one).read_to_end(&mut bytes).map_err(|e| RegistryError::file(path, &e))?;
    if bytes.len() > limit {
        return Err(RegistryError::too_large(path.display().to_string(), format!("{limit} bytes")));
    }
    Ok(bytes)
}
