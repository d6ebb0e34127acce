//! The files below a folder, by digest. Links are not followed: neither out of the tree nor in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use countersign_client::artifact::hash_reader;
use countersign_crypto::{Digest, HashAlgorithm};

use super::{Patterns, RunError};

/// The most files of one tree.
pub const MAX_FILES: usize = 50_000;
/// How deep folders may stand in each other.
const MAX_DEPTH: usize = 128;

/// What is below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Files by their path from there, with slashes.
    pub files: BTreeMap<String, Digest>,
    /// Links, which were left out: what they lead to stands under its own name, if it is in the tree.
    pub links: Vec<String>,
    /// Pipes, sockets and devices, which were left out.
    pub others: Vec<String>,
}

/// Hashes the files that one of the patterns means. Git's own folders are left out.
///
/// # Errors
/// [`RunError`]: too many files, names that are no text, a file that cannot be read or is exchanged while it is.
pub fn record(root: &Path, wanted: &[&Patterns]) -> Result<Tree, RunError> {
    let mut tree = Tree::default();
    let mut open = vec![(root.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(RunError::Deep(folder));
        }
        for entry in fs::read_dir(&folder).map_err(RunError::file(&folder))? {
            let path = entry.map_err(RunError::file(&folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| RunError::Name(path.clone()))?;
            let relative = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let kind = path.symlink_metadata().map_err(RunError::file(&path))?.file_type();
            if kind.is_dir() {
                if name != ".git" {
                    open.push((path, relative, depth + 1));
                }
                continue;
            }
            if !wanted.iter().any(|patterns| patterns.matches(&relative)) {
                continue;
            }
            if kind.is_symlink() {
                tree.links.push(relative);
            } else if kind.is_file() {
                let digest = digest(&path)?;
                tree.files.insert(relative, digest);
            } else {
                tree.others.push(relative);
            }
            if tree.files.len() + tree.links.len() + tree.others.len() > MAX_FILES {
                return Err(RunError::ManyFiles);
            }
        }
    }
    tree.links.sort();
    tree.others.sort();
    Ok(tree)
}

/// The digest of a file which was seen to be one, and must be the same when it is open.
fn digest(path: &Path) -> Result<Digest, RunError> {
    let seen = path.symlink_metadata().map_err(RunError::file(path))?;
    let file = File::open(path).map_err(RunError::file(path))?;
    let opened = file.metadata().map_err(RunError::file(path))?;
    if !same(&seen, &opened) {
        return Err(RunError::Exchanged(PathBuf::from(path)));
    }
    let found = hash_reader(file, &[HashAlgorithm::Sha256]).map_err(RunError::file(path))?;
    found.get(HashAlgorithm::Sha256).copied().ok_or_else(|| RunError::Exchanged(PathBuf::from(path)))
}

#[cfg(unix)]
fn same(seen: &fs::Metadata, opened: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    seen.file_type().is_file() && (seen.dev(), seen.ino()) == (opened.dev(), opened.ino())
}

#[cfg(not(unix))]
fn same(seen: &fs::Metadata, opened: &fs::Metadata) -> bool {
    seen.file_type().is_file() && opened.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_recorded_whatever_is_ignored_and_links_are_not_followed() {
        let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir_all(at("a/.git")).unwrap();
        std::fs::write(at("a/.git/config"), "").unwrap();
        std::fs::write(at("a/b"), "b").unwrap();
        std::fs::write(at(".gitignore"), "a\n").unwrap();
        symlink(outside.path().join("secret"), at("out")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        symlink("a/b", at("in")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let found = record(tree.path(), &[&Patterns::all()]).unwrap();
        assert_eq!(found.files.keys().collect::<Vec<_>>(), [".gitignore", "a/b"]);
        assert_eq!(found.files["a/b"], HashAlgorithm::Sha256.digest(b"b"));
        assert_eq!(found.links, ["folder", "in", "loop", "out"]);
    }

    #[test]
    fn only_what_a_pattern_means_is_read() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("a.txt"), "").unwrap();
        std::fs::write(tree.path().join("b.bin"), "").unwrap();
        let only = Patterns::parse(&["*.txt".into()]).unwrap();
        assert_eq!(record(tree.path(), &[&only]).unwrap().files.len(), 1);
        assert_eq!(record(tree.path(), &[]).unwrap(), Tree::default());
    }

    #[test]
    fn a_file_that_is_exchanged_for_a_link_is_not_read() {
        let tree = tempfile::tempdir().unwrap();
        let (link, target) = (tree.path().join("link"), tree.path().join("target"));
        std::fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        assert!(matches!(digest(&link), Err(RunError::Exchanged(_))));
        assert!(digest(&target).is_ok());
    }

    #[test]
    fn a_socket_is_told_and_not_waited_for() {
        let tree = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("socket")).unwrap();
        assert_eq!(record(tree.path(), &[&Patterns::all()]).unwrap().others, ["socket"]);
    }
}
