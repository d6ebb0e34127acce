//! Packages that a lockfile in the source names by digest, as inputs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use countersign_attestation::predicate::provenance::Resource;
use countersign_attestation::purl::Purl;
use countersign_crypto::{Digest, HashAlgorithm};
use url::Url;

use super::archive::{Members, Unpacking, unpack};
use super::modules::Module;
use super::store::Store;
use super::tree::Tree;
use crate::BuildError;
use crate::materials::LockFile;
use crate::recipe::{Input, Lockfile, is_plain};

/// A package of a lockfile.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// As the lockfile names it.
    resource: Resource,
    /// What is fetched.
    form: Form,
    /// Where it lies among the inputs.
    path: String,
}

/// How a package comes, and how it lies among the inputs.
#[derive(Debug, Clone)]
enum Form {
    /// The file that it is.
    File(Input),
    /// Of an archive the files, as cargo vendors them; every name in it begins with `name-version`.
    Crate(Input, String),
    /// A file that is known by what is in it.
    Module(Module),
}

impl Package {
    /// Sees to it that it is in the store.
    ///
    /// # Errors
    /// [`BuildError::Input`].
    pub(crate) async fn fetch(&self, store: &Store) -> Result<(), BuildError> {
        match &self.form {
            Form::File(input) | Form::Crate(input, _) => store.fetch(input).await,
            Form::Module(module) => module.fetch(store).await,
        }
    }

    /// By what it is known.
    fn known_by(&self) -> String {
        match &self.form {
            Form::File(input) | Form::Crate(input, _) => input.digest.to_string(),
            Form::Module(module) => module.known_by(),
        }
    }
}

/// Reads a lockfile of the source.
pub(crate) fn read(lockfile: &Lockfile, bytes: &[u8]) -> Result<Vec<Package>, BuildError> {
    let fails = |message: String| BuildError::Input { name: lockfile.path.clone(), message };
    let name = lockfile.path.rsplit('/').next().unwrap_or_default();
    let kind = LockFile::of(name).filter(|kind| directory(*kind).is_some());
    let kind = kind.ok_or_else(|| {
        fails("expected Cargo.lock, package-lock.json, uv.lock, poetry.lock or go.sum: others do not say by which digest a file can be known".into())
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
    if let (LockFile::Go, Some(hash)) = (kind, resource.digest.get("dirHash1")) {
        let module = Module::read(&purl, hash, lockfile.url.as_deref()).map_err(|e| wrong(&e))?;
        return Ok(Package { path: module.path.clone(), form: Form::Module(module), resource });
    }
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
        Some(pattern) => {
            let file = purl.qualifiers.get("file_name").map_or("", String::as_str);
            let package = match purl.namespace.as_str() {
                "" => purl.name.clone(),
                scope => format!("{scope}/{}", purl.name),
            };
            pattern
                .replace("{package}", &package)
                .replace("{name}", &purl.name)
                .replace("{version}", &version)
                .replace("{file}", file)
        }
        None => resource.download_location.clone(),
    };
    let url = Url::parse(&address)
        .map_err(|_| wrong("the lockfile does not say where it is; give the recipe's lockfile a url with {package} or {name} and {version}, or {file}"))?;
    let stem = format!("{}-{version}", purl.name);
    let file = match kind {
        LockFile::Cargo => format!("{stem}.crate"),
        _ => url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned(),
    };
    let top = directory(kind).unwrap_or_default();
    // Scopes have packages of one name each.
    let parts = match kind {
        LockFile::Cargo => vec![top, &stem],
        LockFile::Npm if !purl.namespace.is_empty() => vec![top, &purl.namespace, &file],
        _ => vec![top, &file],
    };
    if !parts.iter().all(|part| is_plain(part) && !part.contains('/')) {
        return Err(wrong("its name is no name of a file"));
    }
    let path = parts.join("/");
    let input = Input { name: file, url, digest };
    let form = if kind == LockFile::Cargo { Form::Crate(input, stem) } else { Form::File(input) };
    Ok(Package { resource, form, path })
}

/// The directory among the inputs; `None` for lockfiles whose packages cannot be fetched by digest.
fn directory(kind: LockFile) -> Option<&'static str> {
    match kind {
        LockFile::Cargo => Some("cargo"),
        LockFile::Npm => Some("npm"),
        LockFile::Uv | LockFile::Poetry => Some("python"),
        LockFile::Go => Some("go"),
        _ => None,
    }
}

/// What lies where among the inputs, and by what it is known.
#[derive(Debug, Default)]
pub(crate) struct Placed(BTreeMap<String, String>);

impl Placed {
    /// Puts a package among the inputs: crates unpacked as cargo vendors them, all others as the files they are. Never in the place of
    /// another, nor into it: the build would find one, or a mixture, and its provenance name both. Gives what provenance tells of it.
    pub(crate) fn place(
        &mut self,
        package: &Package,
        store: &Store,
        inputs: &mut Tree,
    ) -> Result<Resource, BuildError> {
        let Package { resource, form, path } = package;
        let mut resource = resource.clone();
        let fails = |message: String| BuildError::Input { name: path.clone(), message };
        let file = |e: std::io::Error| fails(e.to_string());
        let known_by = package.known_by();
        let before = self.0.insert(path.clone(), known_by.clone());
        if let Some(other) = before.as_ref().filter(|other| **other != known_by) {
            return Err(fails(format!("two packages would lie in {path}: {other} and {known_by}")));
        }
        match form {
            // As another lockfile of the source has it.
            Form::File(_) | Form::Crate(..) if before.is_some() => {}
            Form::File(input) => store.read(input, |mut from| {
                inputs.write(path, false, &mut from).map(drop).map_err(|e| e.to_string())
            })?,
            Form::Crate(input, stem) => {
                let mut tree = inputs.within(path).map_err(file)?;
                let strip = Unpacking { strip: Some(stem), members: Members::All };
                store.read(input, |from| unpack(from, &mut tree, strip))?;
                let checksum = format!(r#"{{"files":{{}},"package":"{}"}}"#, input.digest.to_hex());
                tree.write(".cargo-checksum.json", false, &mut checksum.as_bytes()).map_err(file)?;
                tree.finish().map_err(file)?;
            }
            Form::Module(module) => {
                let (mut from, digest) = module.open(store)?;
                inputs.write(path, false, &mut from).map_err(file)?;
                resource.digest.insert(digest.algorithm().name().into(), digest.to_hex());
            }
        }
        Ok(resource)
    }
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
    use countersign_crypto::encoding;
    use countersign_http::{Http, HttpOptions};

    use super::super::store::Place;
    use super::super::tree::Links;
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
        let Form::Crate(input, stem) = &found[0].form else { panic!("{found:?}") };
        assert_eq!(input.url.as_str(), "https://c.example/hex/hex-0.4.3.crate");
        assert_eq!((input.digest.to_hex(), stem.as_str()), ("ab".repeat(32), "hex-0.4.3"));
        let nowhere = read(&lockfile("Cargo.lock", None), text.as_bytes()).unwrap_err().to_string();
        assert!(nowhere.contains("{name}"), "{nowhere}");
        let unpinned =
            text.lines().filter(|line| !line.starts_with("checksum")).collect::<Vec<_>>().join("\n");
        let loose = read(&own, unpinned.as_bytes()).unwrap_err().to_string();
        assert!(loose.contains("no digest"), "{loose}");
    }

    /// Puts the packages of lockfiles among inputs that are made in a directory; their files lie there in `mirror`.
    async fn placed(place: &Path, lockfiles: &[(&str, String)]) -> Result<(), BuildError> {
        let mirror = Place::parse(&format!("https://f.example/=file://{}/mirror/", place.display()))?;
        let store = Store::new(place.join("store"), vec![mirror], Http::new(HttpOptions::default()))?;
        let mut inputs = Tree::new(&place.join("inputs"), Links::Refused, 0).unwrap();
        let mut placed = Placed::default();
        for (name, text) in lockfiles {
            for package in read(&lockfile(name, Some("https://f.example/{file}")), text.as_bytes())? {
                package.fetch(&store).await?;
                placed.place(&package, &store, &mut inputs)?;
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn no_package_takes_the_place_of_another() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("mirror")).unwrap();
        for (file, content) in [("a.whl", "one"), ("b.whl", "two")] {
            std::fs::write(place.path().join("mirror").join(file), content).unwrap();
        }
        let poetry = |file: &str, content: &str| {
            let digest = HashAlgorithm::Sha256.digest(content.as_bytes());
            let text = format!(
                "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [{{ file = \"{file}\", hash = \"{digest}\" }}]\n"
            );
            ("poetry.lock", text)
        };
        let (one, two) = (poetry("a.whl", "one"), poetry("b.whl", "two"));
        placed(place.path(), &[one.clone(), two, one.clone()]).await.unwrap();
        for (file, content) in [("a.whl", "one"), ("b.whl", "two")] {
            let found = std::fs::read(place.path().join("inputs/python").join(file)).unwrap();
            assert_eq!(found, content.as_bytes());
        }
        // Of the same name, from elsewhere.
        let there = place.path().join("mirror/other");
        std::fs::create_dir(&there).unwrap();
        std::fs::write(there.join("a.whl"), "three").unwrap();
        let error =
            placed(place.path(), &[one, poetry("other/a.whl", "three")]).await.unwrap_err().to_string();
        assert!(error.contains("two packages would lie in python/a.whl"), "{error}");
    }

    #[test]
    fn packages_of_one_name_in_two_scopes_lie_in_two_places() {
        let sri = |byte: u8| format!("sha512-{}", encoding::base64_encode(&[byte; 64]));
        let entry = |scope: &str, byte| serde_json::json!({ "version": "1.0.0", "resolved": format!("https://f.example/{scope}/core/-/core-1.0.0.tgz"), "integrity": sri(byte) });
        let text = serde_json::json!({ "lockfileVersion": 3, "packages": {
            "node_modules/@a/core": entry("@a", 1), "node_modules/@b/core": entry("@b", 2),
        } });
        let found = read(&lockfile("package-lock.json", None), text.to_string().as_bytes()).unwrap();
        let paths: Vec<_> = found.iter().map(|package| package.path.as_str()).collect();
        assert_eq!(paths, ["npm/@a/core-1.0.0.tgz", "npm/@b/core-1.0.0.tgz"]);
        // As npm writes it when it leaves out what its registry is.
        let text = text.to_string().replace("resolved", "unresolved");
        let pattern = "https://n.example/{package}/-/{name}-{version}.tgz";
        let found = read(&lockfile("package-lock.json", Some(pattern)), text.as_bytes()).unwrap();
        let Form::File(input) = &found[1].form else { panic!("{found:?}") };
        assert_eq!(input.url.as_str(), "https://n.example/@b/core/-/core-1.0.0.tgz");
        assert_eq!(found[1].path, "npm/@b/core-1.0.0.tgz");
        assert!(read(&lockfile("package-lock.json", None), text.as_bytes()).is_err());
    }

    #[test]
    fn lockfiles_whose_packages_have_no_digest_of_a_file_are_refused() {
        for name in ["Gemfile.lock", "Dockerfile", "notes.txt"] {
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
