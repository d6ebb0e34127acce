//! Files: read up to a limit, hashed as a stream, written whole or not at all.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use countersign_crypto::{Digest, HashAlgorithm, Hasher};

use crate::ClientError;
use crate::directory::listing;

/// How much of a file is in memory at a time while it is hashed, in bytes.
const BUFFER: usize = 1 << 20;

/// The digests of an artifact, made in one reading of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactDigests {
    /// One digest for each algorithm asked for, in that order.
    pub digests: Vec<Digest>,
    /// The length in bytes.
    pub length: u64,
}

impl ArtifactDigests {
    /// The digest of one algorithm, if it was asked for.
    #[must_use]
    pub fn get(&self, algorithm: HashAlgorithm) -> Option<&Digest> {
        self.digests.iter().find(|d| d.algorithm() == algorithm)
    }
}

/// Hashes a stream to its end, with one buffer's worth of memory however long it is.
///
/// ```
/// use countersign_client::artifact::hash_reader;
/// use countersign_crypto::HashAlgorithm;
/// let found = hash_reader(&b"hello"[..], &[HashAlgorithm::Sha256])?;
/// assert_eq!(found.digests[0], HashAlgorithm::Sha256.digest(b"hello"));
/// assert_eq!(found.length, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of the reader.
pub fn hash_reader(mut reader: impl Read, algorithms: &[HashAlgorithm]) -> std::io::Result<ArtifactDigests> {
    let mut hashers: Vec<Hasher> = algorithms.iter().map(|a| Hasher::new(*a)).collect();
    let mut buffer = vec![0; BUFFER];
    let mut length = 0_u64;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        for hasher in &mut hashers {
            hasher.update(piece);
        }
        length += read as u64;
    }
    Ok(ArtifactDigests { digests: hashers.into_iter().map(Hasher::finish).collect(), length })
}

/// Hashes a file, or a directory by the list of its files ([`listing`]); `-` is standard input.
///
/// # Errors
/// [`ClientError::File`], and what [`listing`] refuses.
pub fn hash_file(path: &Path, algorithms: &[HashAlgorithm]) -> Result<ArtifactDigests, ClientError> {
    if path == Path::new("-") {
        return hash_reader(std::io::stdin().lock(), algorithms).map_err(ClientError::file("read", path));
    }
    let file = File::open(path).map_err(ClientError::file("open", path))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        if path.file_name().is_none() {
            let message = format!("{}: expected a directory by its name, such as dist", path.display());
            return Err(ClientError::Usage(message));
        }
        return hash_reader(listing(path)?.as_slice(), algorithms).map_err(ClientError::file("read", path));
    }
    hash_reader(file, algorithms).map_err(ClientError::file("read", path))
}

/// Hashes a file away from the threads that serve the network.
///
/// # Errors
/// As [`hash_file`].
pub async fn hash_file_aside(
    path: PathBuf,
    algorithms: Vec<HashAlgorithm>,
) -> Result<ArtifactDigests, ClientError> {
    tokio::task::spawn_blocking(move || hash_file(&path, &algorithms))
        .await
        .map_err(|e| ClientError::Usage(format!("hashing was interrupted: {e}")))?
}

/// Reads a file which may have at most `limit` bytes; `-` is standard input.
///
/// # Errors
/// [`ClientError::File`], [`ClientError::Malformed`] for a longer one.
pub fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(ClientError::file("open", path))?)
    };
    reader.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(ClientError::file("read", path))?;
    if bytes.len() > limit {
        return Err(ClientError::malformed(
            path.display().to_string(),
            format!("expected at most {limit} bytes, found more"),
        ));
    }
    Ok(bytes)
}

/// Writes a file whole or not at all: beside its place, flushed, then moved there.
///
/// # Errors
/// [`ClientError::File`].
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), ClientError> {
    if path == Path::new("-") || path.starts_with("/dev") {
        let mut out: Box<dyn std::io::Write> = if path == Path::new("-") {
            Box::new(std::io::stdout().lock())
        } else {
            Box::new(
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map_err(ClientError::file("open", path))?,
            )
        };
        return out.write_all(content).and_then(|()| out.flush()).map_err(ClientError::file("write", path));
    }
    countersign_keys::file::replace(path, content, countersign_keys::file::PUBLIC).map_err(ClientError::Key)
}

/// Where the signature of a file lies unless told otherwise: `FILE.sigstore.json`.
#[must_use]
pub fn bundle_path(artifact: &Path) -> PathBuf {
    beside(artifact, ".sigstore.json")
}

/// A file beside an artifact; of a directory with a slash behind it too, and never in it.
fn beside(artifact: &Path, ending: &str) -> PathBuf {
    let mut name = artifact.components().as_path().as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Finds the signature beside a file: `FILE.sigstore.json`, else `FILE.sigstore`.
///
/// # Errors
/// [`ClientError::NoSignature`] naming what was looked for.
pub fn find_bundle(artifact: &Path) -> Result<PathBuf, ClientError> {
    let first = bundle_path(artifact);
    let second = beside(artifact, ".sigstore");
    if first.is_file() {
        Ok(first)
    } else if second.is_file() {
        Ok(second)
    } else {
        Err(ClientError::NoSignature(format!(
            "expected {} or {}; name another file with --bundle, or ask the sender for it",
            first.display(),
            second.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_digests_come_from_one_reading() {
        let data = vec![7_u8; 3 * BUFFER + 5];
        let found = hash_reader(&data[..], &HashAlgorithm::ALL).unwrap();
        assert_eq!(found.length, data.len() as u64);
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(found.get(algorithm), Some(&algorithm.digest(&data)));
        }
    }

    #[test]
    fn a_signature_is_found_beside_its_file_or_said_to_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        assert_eq!(find_bundle(&file).unwrap_err().exit_code(), 3);
        std::fs::write(dir.path().join("a.txt.sigstore"), "{}").unwrap();
        assert!(find_bundle(&file).unwrap().ends_with("a.txt.sigstore"));
        std::fs::write(dir.path().join("a.txt.sigstore.json"), "{}").unwrap();
        assert!(find_bundle(&file).unwrap().ends_with("a.txt.sigstore.json"));
    }

    #[test]
    fn long_files_are_refused_and_signatures_of_directories_lie_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("long");
        std::fs::write(&file, vec![0; 101]).unwrap();
        assert!(read_limited(&file, 100).is_err());
        assert_eq!(read_limited(&file, 101).unwrap().len(), 101);
        assert_eq!(bundle_path(Path::new("out/dist/")), Path::new("out/dist.sigstore.json"));
        assert!(
            hash_file(Path::new(".."), &[HashAlgorithm::Sha256]).unwrap_err().to_string().contains("name")
        );
    }

    #[test]
    fn writing_replaces_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out");
        write_atomically(&file, b"a longer first content").unwrap();
        write_atomically(&file, b"short").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"short");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
