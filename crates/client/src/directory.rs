//! Directories as artifacts: a list of the files in it with their digests, whose digest is that of the directory.
//!
//! A line for each file, sorted by the bytes of its path: the SHA-256 in hexadecimal, two spaces, the path below the directory with
//! `/` between its parts, a line feed. That is what `sha256sum` writes, and what Go's module sums are made of:
//!
//! ```sh
//! cd dist && find . -type f | sed 's,^\./,,' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
//! ```
//!
//! Names and contents count; modes, owners, times and empty directories do not.

use std::path::{Path, PathBuf};

use countersign_crypto::HashAlgorithm;

use crate::ClientError;
use crate::artifact::hash_reader;

/// The most files of one directory.
const MAX_FILES: usize = 200_000;
/// How deep directories may nest.
const MAX_DEPTH: usize = 64;

/// The list of the files in a directory. What is no file and no directory is an error: a link may lead elsewhere by the time that
/// somebody looks.
///
/// # Errors
/// [`ClientError`]: what cannot be read, links and the like, names that are no UTF-8 or have line breaks, limits, no file at all.
pub fn listing(directory: &Path) -> Result<Vec<u8>, ClientError> {
    let mut files = Vec::new();
    collect(directory, "", 0, &mut files)?;
    if files.is_empty() {
        return Err(ClientError::Usage(format!(
            "{}: expected files in the directory, found none",
            directory.display()
        )));
    }
    files.sort();
    let mut lines = String::new();
    for (name, path) in files {
        let file = std::fs::File::open(&path).map_err(ClientError::file("open", &path))?;
        let found = hash_reader(file, &[HashAlgorithm::Sha256]).map_err(ClientError::file("read", &path))?;
        let digest = found.get(HashAlgorithm::Sha256).map(countersign_crypto::Digest::to_hex);
        lines.push_str(&format!("{}  {name}\n", digest.unwrap_or_default()));
    }
    Ok(lines.into_bytes())
}

fn collect(
    directory: &Path,
    below: &str,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), ClientError> {
    let wrong = |path: &Path, what: &str| Err(ClientError::Usage(format!("{}: {what}", path.display())));
    if depth > MAX_DEPTH {
        return wrong(directory, &format!("expected directories at most {MAX_DEPTH} deep"));
    }
    for entry in std::fs::read_dir(directory).map_err(ClientError::file("list", directory))? {
        let entry = entry.map_err(ClientError::file("list", directory))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(ClientError::file("look at", &path))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.contains(['\n', '\r', '\\'])) else {
            return wrong(&path, "expected a name in UTF-8 without line breaks and backslashes");
        };
        let name = format!("{below}{name}");
        if kind.is_dir() {
            collect(&path, &format!("{name}/"), depth + 1, files)?;
        } else if kind.is_file() {
            files.push((name, path));
        } else {
            return wrong(
                &path,
                "expected files and directories only, found a link or a device; pack it with tar",
            );
        }
        if files.len() > MAX_FILES {
            return wrong(directory, &format!("expected at most {MAX_FILES} files; pack it with tar"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::hash_file;
    use countersign_crypto::Digest;

    fn digest(path: &Path) -> Digest {
        hash_file(path, &[HashAlgorithm::Sha256]).unwrap().digests[0]
    }

    #[test]
    fn a_directory_is_the_list_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("dist");
        std::fs::create_dir_all(own.join("b/c")).unwrap();
        std::fs::create_dir(own.join("empty")).unwrap();
        std::fs::write(own.join("b/c/x"), "x").unwrap();
        std::fs::write(own.join("b.txt"), "y").unwrap();
        let of = |text: &str| HashAlgorithm::Sha256.digest(text.as_bytes()).to_hex();
        let expected = format!("{}  b.txt\n{}  b/c/x\n", of("y"), of("x"));
        assert_eq!(String::from_utf8(listing(&own).unwrap()).unwrap(), expected);
        let before = digest(&own);
        assert_eq!(before, HashAlgorithm::Sha256.digest(expected.as_bytes()));
        assert_eq!(digest(&dir.path().join("dist/")), before, "however it is spelled");
        // Each of name, content and place alone makes it another.
        std::fs::write(own.join("b.txt"), "z").unwrap();
        assert_ne!(digest(&own), before);
        std::fs::write(own.join("b.txt"), "y").unwrap();
        assert_eq!(digest(&own), before);
        std::fs::rename(own.join("b.txt"), own.join("c.txt")).unwrap();
        assert_ne!(digest(&own), before);
        std::fs::rename(own.join("c.txt"), own.join("b/b.txt")).unwrap();
        assert_ne!(digest(&own), before);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(listing(dir.path()).unwrap_err().to_string().contains("found none"));
        std::fs::write(dir.path().join("a"), "").unwrap();
        listing(dir.path()).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
            assert!(listing(dir.path()).unwrap_err().to_string().contains("link"));
            std::fs::remove_file(dir.path().join("link")).unwrap();
            std::fs::write(dir.path().join("a\nb"), "").unwrap();
            assert!(listing(dir.path()).unwrap_err().to_string().contains("line breaks"));
        }
    }
}
