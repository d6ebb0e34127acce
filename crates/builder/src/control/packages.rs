//! Packages that a lockfile in the source names by digest, as inputs.

use std::io::Read as _;
use std::path::Path;

use countersign_attestation::predicate::provenance::Resource;
use countersign_attestation::purl::Purl;
use countersign_crypto::{Digest, HashAlgorithm};
use url::Url;

use super::archive::{Unpacking, unpack};
use super::store::Store;
use super::tree::Tree;
use crate::BuildError;
use crate::materials::LockFile;
use crate::recipe::{Input, Lockfile, is_plain};

/// A package of a lockfile.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// As the lockfile names it.
    pub(crate) resource: Resource,
    /// What is fetched.
    pub(crate) input: Input,
    kind: LockFile,
    /// `name-version`, without what a path cannot hold.
    stem: String,
}

/// Reads a lockfile of the source.
pub(crate) fn read(lockfile: &Lockfile, bytes: &[u8]) -> Result<Vec<Package>, BuildError> {
    let fails = |message: String| BuildError::Input { name: lockfile.path.clone(), message };
    let name = lockfile.path.rsplit('/').next().unwrap_or_default();
    let kind = LockFile::of(name).filter(|kind| directory(*kind).is_some());
    let kind = kind.ok_or_else(|| {
        fails("expected Cargo.lock, package-lock.json, uv.lock or poetry.lock: other lockfiles do not say what a file's digest is".into())
    })?;
    let found = kind.read(bytes).map_err(|e| fails(e.to_string()))?;
    if let Some(loose) = found.loose.first() {
        return Err(fails(format!("{loose} has no digest, so that nobody can know what it is")));
    }
    found.pinned.into_iter().map(|resource| package(lockfile, kind, resource).map_err(&fails)).collect()
}

fn package(lockfile: &Lockfile, kind: LockFile, resource: Resource) -> Result<Package, String> {
    let wrong = |message: &str| format!("{}: {message}", resource.uri);
    let purl = Purl::parse(&resource.uri)
        .ok_or_else(|| wrong("it is no package; make it an input of the recipe"))?;
    let version = purl.version.clone().ok_or_else(|| wrong("it has no version"))?;
    let digest = HashAlgorithm::ALL
        .into_iter()
        .rev()
        .find_map(|algorithm| {
            let hex = resource.digest.get(algorithm.name())?;
            Digest::parse(&format!("{algorithm}:{hex}")).ok()
        })
        .ok_or_else(|| wrong("it has no digest of a file"))?;
    let address = match &lockfile.url {
        Some(pattern) => pattern.replace("{name}", &purl.name).replace("{version}", &version),
        None => resource.download_location.clone(),
    };
    let url = Url::parse(&address)
        .map_err(|_| wrong("the lockfile does not say where it is; give the recipe's lockfile a url with {name} and {version}"))?;
    let stem = format!("{}-{version}", purl.name);
    let file = match kind {
        LockFile::Cargo => format!("{stem}.crate"),
        _ => url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned(),
    };
    if !is_plain(&stem) || stem.contains('/') || !is_plain(&file) || file.contains('/') {
        return Err(wrong("its name is no name of a file"));
    }
    Ok(Package { resource, input: Input { name: file, url, digest }, kind, stem })
}

/// The directory among the inputs; `None` for lockfiles whose packages cannot be fetched by digest.
fn directory(kind: LockFile) -> Option<&'static str> {
    match kind {
        LockFile::Cargo => Some("cargo"),
        LockFile::Npm => Some("npm"),
        LockFile::Uv | LockFile::Poetry => Some("python"),
        _ => None,
    }
}

/// Puts a package among the inputs: crates unpacked as cargo vendors them, all others as the files they are.
pub(crate) fn place(package: &Package, store: &Store, inputs: &mut Tree) -> Result<(), BuildError> {
    let input = &package.input;
    let top = directory(package.kind).unwrap_or_default();
    if package.kind != LockFile::Cargo {
        let path = format!("{top}/{}", input.name);
        return store.read(input, |mut from| {
            // npm's and Python's files may share a name; the second would silently take the place of the first.
            inputs.write(&path, false, &mut from).map(drop).map_err(|e| e.to_string())
        });
    }
    let below = format!("{top}/{}", package.stem);
    let fails = |e: std::io::Error| BuildError::Input { name: input.name.clone(), message: e.to_string() };
    let mut tree = inputs.within(&below).map_err(fails)?;
    let strip = Unpacking { strip: Some(&package.stem), layer: false };
    store.read(input, |from| unpack(from, &mut tree, strip))?;
    let checksum = format!(r#"{{"files":{{}},"package":"{}"}}"#, input.digest.to_hex());
    tree.write(".cargo-checksum.json", false, &mut checksum.as_bytes()).map_err(fails)?;
    tree.finish().map_err(fails)
}

/// Reads a file of the source, at most so many bytes; never through a link.
pub(crate) fn source_file(source: &Path, path: &str, limit: usize) -> Result<Vec<u8>, BuildError> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let fails = |message: String| BuildError::Source(format!("{path}: {message}"));
    if !is_plain(path) {
        return Err(fails("expected a path within the source".into()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(CWD, source, flags, Mode::empty()).map_err(|e| fails(e.to_string()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(&top, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
        .map_err(|e| fails(e.to_string()))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fails(e.to_string()))?;
    if bytes.len() > limit {
        return Err(fails(format!("expected at most {limit} bytes, found more")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockfile(path: &str, url: Option<&str>) -> Lockfile {
        Lockfile { path: path.into(), url: url.map(Into::into) }
    }

    #[test]
    fn crates_are_fetched_by_the_checksum_of_the_lockfile() {
        let text = format!(
            "version = 4\n[[package]]\nname = \"hex\"\nversion = \"0.4.3\"\nsource = \"registry+https://i.example/\"\nchecksum = \"{}\"\n",
            "ab".repeat(32)
        );
        let own = lockfile("Cargo.lock", Some("https://c.example/{name}/{name}-{version}.crate"));
        let found = read(&own, text.as_bytes()).unwrap();
        assert_eq!(found[0].input.url.as_str(), "https://c.example/hex/hex-0.4.3.crate");
        assert_eq!(found[0].input.digest.to_hex(), "ab".repeat(32));
        let nowhere = read(&lockfile("Cargo.lock", None), text.as_bytes()).unwrap_err().to_string();
        assert!(nowhere.contains("{name}"), "{nowhere}");
        let unpinned =
            text.lines().filter(|line| !line.starts_with("checksum")).collect::<Vec<_>>().join("\n");
        let loose = read(&own, unpinned.as_bytes()).unwrap_err().to_string();
        assert!(loose.contains("no digest"), "{loose}");
    }

    #[test]
    fn lockfiles_whose_packages_have_no_digest_of_a_file_are_refused() {
        for name in ["go.sum", "Gemfile.lock", "Dockerfile", "notes.txt"] {
            assert!(read(&lockfile(name, None), b"").is_err(), "{name}");
        }
    }

    #[test]
    fn files_of_the_source_are_read_within_it_and_not_through_links() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), b"abc").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("l")).unwrap();
        assert_eq!(source_file(place.path(), "a", 3).unwrap(), b"abc");
        for bad in ["l", "../a", "/etc/passwd", "none"] {
            assert!(source_file(place.path(), bad, 100_000).is_err(), "{bad}");
        }
        assert!(source_file(place.path(), "a", 2).is_err());
    }
}
