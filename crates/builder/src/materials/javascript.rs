//! The lock files of npm, yarn and pnpm.

use std::collections::BTreeMap;

use countersign_attestation::json::{self, UniqueMap};
use serde::Deserialize;

use super::{List, MAX_LOCK_LEN, MAX_MATERIALS, MaterialsError, integrity, purl};

/// A package by its name with scope.
fn package(name: &str, version: &str) -> countersign_attestation::purl::Purl {
    let (scope, name) = name.rsplit_once('/').unwrap_or(("", name));
    purl("npm", scope, name, version)
}

/// One that is fetched with git: `git+ssh://…#commit`.
fn commit(resolved: &str, what: &str, list: &mut List) -> Result<(), MaterialsError> {
    let (repository, commit) = resolved.rsplit_once('#').unwrap_or((resolved, ""));
    list.commit(repository, commit, what)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NpmLock {
    lockfile_version: u32,
    #[serde(default)]
    packages: UniqueMap<NpmPackage, MAX_MATERIALS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NpmPackage {
    /// What it is called where it comes from, if that is something else than its folder.
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    /// It lies in the archive of another; one that has a digest is from an archive of its own, and will lie in that of the project itself.
    #[serde(default)]
    in_bundle: bool,
}

/// Reads package-lock.json of version 2 or 3.
pub(super) fn npm(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let lock: NpmLock = json::from_slice(text.as_bytes(), MAX_LOCK_LEN)?;
    if !matches!(lock.lockfile_version, 2 | 3) {
        return Err(MaterialsError::Form(format!(
            "lockfileVersion: expected 2 or 3, found {}; npm 7 and later write one with `npm install --package-lock-only`",
            lock.lockfile_version
        )));
    }
    for (path, entry) in &lock.packages.0 {
        // The package itself, and its workspaces.
        let Some((_, folder)) = path.rsplit_once("node_modules/") else { continue };
        if entry.link || (entry.in_bundle && entry.integrity.is_none()) {
            continue;
        }
        let name = entry.name.as_deref().unwrap_or(folder);
        let purl = package(name, entry.version.as_deref().unwrap_or_default());
        let resolved = entry.resolved.as_deref().unwrap_or_default();
        if resolved.starts_with("git") {
            commit(resolved, &purl.to_string(), list)?;
            continue;
        }
        list.package(&purl, integrity(entry.integrity.as_deref().unwrap_or_default()), resolved)?;
    }
    Ok(())
}

/// Reads yarn.lock of version 1. The later ones hold digests of yarn's own archives, which nobody else has.
pub(super) fn yarn(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    if !text.lines().take(4).any(|line| line.trim() == "# yarn lockfile v1") {
        return Err(MaterialsError::Form(
            "expected \"# yarn lockfile v1\"; later versions name no digest of what is fetched".into(),
        ));
    }
    let mut block = YarnBlock::default();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            std::mem::take(&mut block).end(list)?;
            block.name = yarn_name(line);
            continue;
        }
        // What the package needs stands two deeper.
        let Some(line) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else { continue };
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim().trim_matches('"');
        match key {
            "version" => block.version = value,
            "resolved" => block.resolved = value,
            "integrity" => block.integrity = value,
            _ => {}
        }
    }
    block.end(list)
}

#[derive(Default)]
struct YarnBlock<'a> {
    name: &'a str,
    version: &'a str,
    resolved: &'a str,
    integrity: &'a str,
}

impl YarnBlock<'_> {
    fn end(self, list: &mut List) -> Result<(), MaterialsError> {
        if self.name.is_empty() {
            return Ok(());
        }
        let purl = package(self.name, self.version);
        if self.resolved.starts_with("git") || self.resolved.contains(".git#") {
            return commit(self.resolved, &purl.to_string(), list);
        }
        list.package(&purl, integrity(self.integrity), self.resolved)
    }
}

/// The name in `"@scope/name@^1.0.0", name@…:`, and that behind `npm:` where a package goes by another name.
fn yarn_name(line: &str) -> &str {
    let first = line.split(',').next().unwrap_or_default().trim().trim_end_matches(':').trim_matches('"');
    let (name, range) = split_version(first);
    range.strip_prefix("npm:").map_or(name, |other| split_version(other).0)
}

/// `@scope/name@version` apart, at the at sign which is not the scope's.
fn split_version(text: &str) -> (&str, &str) {
    let from = usize::from(text.starts_with('@'));
    match text.get(from..).and_then(|rest| rest.find('@')) {
        Some(at) => {
            (text.get(..from + at).unwrap_or_default(), text.get(from + at + 1..).unwrap_or_default())
        }
        None => (text, ""),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PnpmLock {
    lockfile_version: String,
    #[serde(default)]
    packages: BTreeMap<String, PnpmPackage>,
}

#[derive(Deserialize)]
struct PnpmPackage {
    #[serde(default)]
    resolution: Resolution,
}

#[derive(Default, Deserialize)]
struct Resolution {
    integrity: Option<String>,
    tarball: Option<String>,
    repo: Option<String>,
    commit: Option<String>,
    /// Where a package of the workspace lies.
    directory: Option<String>,
}

/// Reads pnpm-lock.yaml of version 6 or 9.
pub(super) fn pnpm(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let lock: PnpmLock = serde_saphyr::from_str(text).map_err(|e| MaterialsError::Form(e.to_string()))?;
    if !lock.lockfile_version.starts_with("6.") && !lock.lockfile_version.starts_with("9.") {
        return Err(MaterialsError::Form(format!(
            "lockfileVersion: expected 6 or 9, found {}",
            lock.lockfile_version
        )));
    }
    for (key, entry) in &lock.packages {
        let found = &entry.resolution;
        if found.directory.is_some() {
            continue;
        }
        let (name, version) = split_version(key.trim_start_matches('/'));
        // Behind a bracket stands with which others it was resolved.
        let version = version.split('(').next().unwrap_or_default();
        let tarball = found.tarball.as_deref().unwrap_or_default();
        if let (Some(repository), Some(commit)) = (&found.repo, &found.commit) {
            list.commit(repository, commit, &package(name, "").to_string())?;
        } else {
            // A version may be an address, with what is secret in it.
            let version = if version.contains(':') { "" } else { version };
            let digests = integrity(found.integrity.as_deref().unwrap_or_default());
            list.package(&package(name, version), digests, tarball)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::super::{LockFile, MaterialsError};

    /// 64 bytes, all the same.
    fn sri(byte: u8) -> String {
        format!("sha512-{}", countersign_crypto::encoding::base64_encode(&[byte; 64]))
    }

    #[test]
    fn npm_names_packages_by_their_folders() {
        let commit = "c0ffee".repeat(6) + "c0ff";
        let text = serde_json::json!({ "lockfileVersion": 3, "packages": {
            "": { "name": "shop" },
            "packages/own": { "version": "1.0.0" },
            "node_modules/own": { "link": true, "resolved": "packages/own" },
            "node_modules/a": { "version": "1.0.0", "resolved": "https://files.example/a.tgz", "integrity": sri(1) },
            "node_modules/a/node_modules/@s/b": { "version": "2.0.0", "integrity": sri(2) },
            "node_modules/alias": { "name": "real", "version": "3.0.0", "integrity": sri(3) },
            "node_modules/bundled": { "version": "1.0.0", "inBundle": true },
            "node_modules/own-bundle": { "version": "1.0.0", "inBundle": true, "integrity": sri(4) },
            "node_modules/bare": { "version": "1.0.0", "resolved": "https://files.example/bare.tgz" },
            "node_modules/fork": { "version": "1.0.0", "resolved": format!("git+ssh://git@git.example/fork.git#{commit}") },
            "node_modules/moving": { "version": "1.0.0", "resolved": "git+ssh://git@git.example/moving.git#main" },
        } });
        let (pinned, loose) = read(LockFile::Npm, &text.to_string());
        assert_eq!(
            pinned,
            [
                "git+ssh://git.example/fork.git gitCommit:c0ff",
                "pkg:npm/%40s/b@2.0.0 sha512:0202",
                "pkg:npm/a@1.0.0 sha512:0101",
                "pkg:npm/own-bundle@1.0.0 sha512:0404",
                "pkg:npm/real@3.0.0 sha512:0303",
            ]
        );
        assert_eq!(loose, ["pkg:npm/bare@1.0.0", "pkg:npm/moving@1.0.0"]);
        let found = LockFile::Npm.read(text.to_string().as_bytes()).unwrap();
        assert_eq!(found.pinned[2].download_location, "https://files.example/a.tgz");
    }

    #[test]
    fn npm_of_the_first_version_is_refused_and_a_member_given_twice_too() {
        let old = LockFile::Npm.read(br#"{"lockfileVersion":1,"dependencies":{}}"#).unwrap_err();
        assert!(matches!(old, MaterialsError::Form(text) if text.contains("expected 2 or 3, found 1")));
        for bad in [
            "{}",
            "[]",
            r#"{"lockfileVersion":3,"packages":{"node_modules/a":{},"node_modules/a":{}}}"#,
            r#"{"lockfileVersion":3,"packages":{"node_modules/a":{"version":1}}}"#,
        ] {
            assert!(LockFile::Npm.read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn yarn_names_packages_by_what_was_asked_for() {
        let (one, two, three) = (sri(1), sri(2), sri(3));
        let commit = "c0ffee".repeat(6) + "c0ff";
        let text = format!(
            "# THIS IS AN AUTOGENERATED FILE.\n# yarn lockfile v1\n\n\n\
             \"@s/a@^1.0.0\", \"@s/a@^1.1.0\":\n  version \"1.1.0\"\n  resolved \"https://files.example/a.tgz#abc\"\n  \
             integrity {one}\n  dependencies:\n    version \"^9.0.0\"\n\n\
             b@~2:\n  version \"2.0.1\"\n  integrity {two}\n\n\
             alias@npm:real@^3:\n  version \"3.0.0\"\n  integrity {three}\n\n\
             fork@https://git.example/fork.git:\n  version \"1.0.0\"\n  resolved \"https://git.example/fork.git#{commit}\"\n\n\
             bare@1:\n  version \"1.0.0\"\n"
        );
        let (pinned, loose) = read(LockFile::Yarn, &text);
        assert_eq!(
            pinned,
            [
                "git+https://git.example/fork.git gitCommit:c0ff",
                "pkg:npm/%40s/a@1.1.0 sha512:0101",
                "pkg:npm/b@2.0.1 sha512:0202",
                "pkg:npm/real@3.0.0 sha512:0303",
            ]
        );
        assert_eq!(loose, ["pkg:npm/bare@1.0.0"]);
        assert!(LockFile::Yarn.read(b"__metadata:\n  version: 8\n").is_err());
    }

    #[test]
    fn pnpm_names_packages_by_keys_of_both_forms() {
        let commit = "c0ffee".repeat(6) + "c0ff";
        for (version, slash) in [("9.0", ""), ("6.0", "/")] {
            let text = format!(
                "lockfileVersion: '{version}'\npackages:\n  '{slash}@s/a@1.0.0':\n    resolution: {{integrity: {}}}\n  \
                 '{slash}b@2.0.0(react@18.0.0)':\n    resolution: {{integrity: {}, tarball: https://files.example/b.tgz}}\n  \
                 fork@https://git.example/fork/{commit}:\n    resolution: {{commit: {commit}, repo: 'https://git.example/fork', \
                 type: git}}\n  own@file:own:\n    resolution: {{directory: own, type: directory}}\n  \
                 'bare@https://u:s3cret@files.example/x':\n    resolution: {{tarball: 'https://u:s3cret@files.example/x'}}\n",
                sri(1),
                sri(2)
            );
            let (pinned, loose) = read(LockFile::Pnpm, &text);
            assert_eq!(
                pinned,
                [
                    "git+https://git.example/fork gitCommit:c0ff",
                    "pkg:npm/%40s/a@1.0.0 sha512:0101",
                    "pkg:npm/b@2.0.0 sha512:0202",
                ],
                "{version}"
            );
            assert_eq!(loose, ["pkg:npm/bare"], "{version}");
        }
        assert!(LockFile::Pnpm.read(b"lockfileVersion: '5.4'\n").is_err());
        assert!(LockFile::Pnpm.read(b"packages: {}\n").is_err());
    }
}
