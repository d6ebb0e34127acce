//! Under which name a log lies in the store past one machine: under that of its directory in the instance, or, once it was
//! rotated, under the one in a file of that directory, which moves with it.

use std::io;
use std::path::Path;

use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_keys::file;

use crate::ServerError;
use crate::instance::LogAtRest;

/// In a log's directory: its name in the store.
pub(crate) const NAME: &str = "store-name";
/// In the directory of a log that is being rotated out: the name of its successor.
pub(crate) const SUCCESSOR: &str = "successor";
/// What a log in files has, and no other.
const LOCK_RECORD: &str = "lock-record";
const LONGEST: usize = 100;

/// Whether it can be the name of a log, which is part of paths and keys.
fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(known)
}

/// Reads the name in a file of a log's directory; `None` if there is no such file.
pub(crate) fn read(directory: &Path, file: &str) -> io::Result<Option<String>> {
    let path = directory.join(file);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let name = text.trim();
    if is_name(name) {
        return Ok(Some(name.to_owned()));
    }
    let message = format!(
        "{}: expected the name of a log in the store (a to z, 0 to 9 and -), found something else; restore the file \
         from another machine",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Writes a name into a file of a log's directory, which is made if need be.
pub(crate) fn write(directory: &Path, name_file: &str, name: &str) -> Result<(), ServerError> {
    let path = directory.join(name_file);
    let failed = |message: String| ServerError::File { path: path.clone(), message };
    std::fs::create_dir_all(directory).map_err(|e| failed(e.to_string()))?;
    file::replace(&path, format!("{name}\n").as_bytes(), file::PUBLIC).map_err(|e| failed(e.to_string()))
}

/// The name of the log of a directory of an instance.
pub(super) fn of(instance: &Path, place: &str) -> io::Result<String> {
    match read(&instance.join(place), NAME)? {
        Some(name) => Ok(name),
        None if LogAtRest::NAMES.contains(&place) => Ok(place.to_owned()),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{place}/{NAME} is missing, which says where the log is"),
        )),
    }
}

/// A name that no log has, nor had.
pub(crate) fn fresh(place: &str, now: Timestamp) -> Result<String, ServerError> {
    let mut number = [0; 4];
    countersign_crypto::random(&mut number).map_err(|e| ServerError::Trust(e.to_string()))?;
    let time = now.strftime("%Y%m%dt%H%M%Sz");
    Ok(format!("{place}-{time}-{}", hex_encode(&number)))
}

/// Whether the log of a directory lies in the store, as far as the directory says: it has a name there, and none of a
/// log's files.
pub(crate) fn is_in_store(directory: &Path) -> bool {
    directory.join(NAME).exists() && !directory.join(LOCK_RECORD).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_the_name_of_its_directory_until_it_is_given_another() {
        let instance = tempfile::tempdir().unwrap();
        assert_eq!(of(instance.path(), "log-v1").unwrap(), "log-v1");
        assert!(of(instance.path(), "retired/log-1/tree").is_err(), "of that one nothing is known");
        let directory = instance.path().join("log-v1");
        assert!(!is_in_store(&directory));
        let now = Timestamp::from_second(1_795_798_800).unwrap();
        let name = fresh("log-v1", now).unwrap();
        assert!(name.starts_with("log-v1-20261127t170000z-") && is_name(&name), "{name}");
        assert_ne!(fresh("log-v1", now).unwrap(), name);
        write(&directory, NAME, &name).unwrap();
        assert_eq!(of(instance.path(), "log-v1").unwrap(), name);
        assert!(is_in_store(&directory));
        std::fs::write(directory.join(LOCK_RECORD), "").unwrap();
        assert!(!is_in_store(&directory), "it was moved back");
        for bad in ["", "../log", "log/1", "LOG", "a b", &"a".repeat(101)] {
            std::fs::write(directory.join(NAME), bad).unwrap();
            let error = of(instance.path(), "log-v1").unwrap_err().to_string();
            assert!(error.contains("store-name: expected the name"), "{bad}: {error}");
        }
    }
}
