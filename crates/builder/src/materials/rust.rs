//! Cargo.lock.

use countersign_attestation::json::Bounded;
use serde::Deserialize;

use super::{List, MAX_MATERIALS, MaterialsError, at_registry, hex_digest, purl};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Bounded<Package, MAX_MATERIALS>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// None for members of the workspace and for folders.
    source: Option<String>,
    checksum: Option<String>,
}

/// Reads a lock file; of the first version, whose checksums stood elsewhere, all is loose.
pub(super) fn cargo(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let lock: Lock = toml::from_str(text).map_err(|e| MaterialsError::Form(e.to_string()))?;
    for package in lock.package.0 {
        let Some(source) = &package.source else { continue };
        let purl = purl("cargo", "", &package.name, &package.version);
        if let Some(address) = source.strip_prefix("git+") {
            let (repository, commit) = address.rsplit_once('#').unwrap_or((address, ""));
            list.commit(repository, commit, &purl.to_string())?;
            continue;
        }
        let registry = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
        let checksum = package.checksum.as_deref().unwrap_or_default();
        list.package(&at_registry(purl, registry.unwrap_or_default()), hex_digest("sha256", checksum), "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::super::{LockFile, MaterialsError};

    const CHECKSUM: &str = "7f24254aa9a54b5c858eaee2f5bccdb46aaf0e486a595ed5fd8f86ba55232a70";

    #[test]
    fn registries_git_and_folders_are_told_apart() {
        let commit = "c0ffee".repeat(6) + "c0ff";
        let text = format!(
            r#"
version = 4
[[package]]
name = "hex"
version = "0.4.3"
source = "sparse+https://index.example/"
checksum = "{CHECKSUM}"
[[package]]
name = "fork"
version = "0.1.0"
source = "git+https://u:p@git.example/fork?branch=main#{commit}"
[[package]]
name = "moving"
version = "0.1.0"
source = "git+https://git.example/moving?branch=main"
[[package]]
name = "bare"
version = "1.0.0+b"
source = "registry+https://index.example/"
[[package]]
name = "own"
version = "0.1.0"
dependencies = ["hex"]
"#
        );
        let (pinned, loose) = read(LockFile::Cargo, &text);
        assert_eq!(
            pinned,
            [
                "git+https://git.example/fork gitCommit:c0ff",
                "pkg:cargo/hex@0.4.3?repository_url=https:%2F%2Findex.example%2F sha256:7f24",
            ]
        );
        assert_eq!(
            loose,
            [
                "pkg:cargo/bare@1.0.0%2Bb?repository_url=https:%2F%2Findex.example%2F",
                "pkg:cargo/moving@0.1.0"
            ]
        );
    }

    #[test]
    fn the_lock_file_of_this_workspace_is_pinned_whole() {
        let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let found = LockFile::Cargo.read(&text).unwrap();
        assert!(found.pinned.len() > 100, "{}", found.pinned.len());
        assert_eq!(found.loose, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_lock_file_is_refused() {
        for bad in ["package = 1", "[[package]]\nname = 1", "{", "[[package]]\nname = 'a'"] {
            assert!(matches!(LockFile::Cargo.read(bad.as_bytes()), Err(MaterialsError::Form(_))), "{bad}");
        }
        let nested = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(LockFile::Cargo.read(nested.as_bytes()), Err(MaterialsError::Form(_))));
    }
}
