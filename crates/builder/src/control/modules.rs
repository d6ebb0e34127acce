//! Modules of Go. go.sum knows them by the digest of a list of what is in them (`h1:`), and not by that of the archive they come in: only who reads
//! the archive can tell whether it is the right one.

use std::fs::File;
use std::io::{self, Read, Seek};

use countersign_attestation::purl::Purl;
use countersign_crypto::{Digest, HashAlgorithm, Hasher};
use url::Url;

use super::store::Store;
use super::zip::{Archive, MAX_ARCHIVE};
use crate::BuildError;

/// The largest go.mod, in bytes: as Go has it.
const MAX_DESCRIPTION: u64 = 16 << 20;

/// Which file of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its files, in an archive.
    Archive,
    /// Its `go.mod`.
    Description,
}

/// A file of a module.
#[derive(Debug, Clone)]
pub(super) struct Module {
    name: String,
    url: Url,
    part: Part,
    hash: Digest,
    /// Where it lies for `GOPROXY=file://{inputs}/go`.
    pub(super) path: String,
}

impl Module {
    /// The file that a line of go.sum is about. `pattern` has `{module}` and `{version}`, and lacks the ending.
    pub(super) fn read(purl: &Purl, hash: &str, pattern: Option<&str>) -> Result<Self, String> {
        let pattern = pattern.ok_or(
            "go.sum does not say where modules are; give the recipe's lockfile a url such as https://proxy.example/{module}/@v/{version}",
        )?;
        let hash = Digest::parse(&format!("{}:{hash}", HashAlgorithm::Sha256)).map_err(|e| e.to_string())?;
        let part = if purl.subpath == "go.mod" { Part::Description } else { Part::Archive };
        let version = purl.version.as_deref().unwrap_or_default();
        let name = match purl.namespace.as_str() {
            "" => purl.name.clone(),
            namespace => format!("{namespace}/{}", purl.name),
        };
        let (module, version) = (escaped(&name)?, escaped(version)?);
        let ending = part.ending();
        let address = pattern.replace("{module}", &module).replace("{version}", &version);
        let url = Url::parse(&format!("{address}.{ending}")).map_err(|e| format!("{address}: {e}"))?;
        let path = format!("go/{module}/@v/{version}.{ending}");
        Ok(Self { name: format!("{name}@{version}.{ending}"), url, part, hash, path })
    }

    /// What it must be, in go.sum's words.
    pub(super) fn known_by(&self) -> String {
        format!("h1:{}", self.hash.to_hex())
    }

    /// Where it lies in the store. An archive with one file and that file may have one hash, and are two things.
    fn kept(&self) -> String {
        format!("dirHash1.{}/{}", self.part.ending(), self.hash.to_hex())
    }

    /// Sees to it that it is in the store.
    pub(super) async fn fetch(&self, store: &Store) -> Result<(), BuildError> {
        store
            .fetch_checked(&self.name, &self.url, &self.kept(), self.part.limit(), |file| self.check(file))
            .await
    }

    /// Takes it out of the store: a file that nobody else has, its bytes checked, with their digest.
    pub(super) fn open(&self, store: &Store) -> Result<(File, Digest), BuildError> {
        store.copy_checked(&self.name, &self.kept(), self.part.limit(), |file| self.check(file))
    }

    fn check(&self, file: &mut File) -> Result<(), String> {
        let found = match self.part {
            Part::Archive => module_hash(file)?,
            Part::Description => {
                list_hash(vec![("go.mod".into(), hashed(file).map_err(|e| e.to_string())?)])?
            }
        };
        if found == self.hash {
            return Ok(());
        }
        Err(format!("expected {}, found h1:{}", self.known_by(), found.to_hex()))
    }
}

impl Part {
    fn ending(self) -> &'static str {
        match self {
            Self::Archive => "zip",
            Self::Description => "mod",
        }
    }

    fn limit(self) -> u64 {
        match self {
            Self::Archive => MAX_ARCHIVE,
            Self::Description => MAX_DESCRIPTION,
        }
    }
}

/// A module's path or version as it stands in addresses and names of files: `!` and the small letter for a capital, since there are file systems to
/// which the two are one.
fn escaped(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let parts =
        text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.'));
    if !parts || !text.chars().all(plain) {
        return Err(format!("{text:?} is no path or version of a module"));
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            out.push('!');
        }
        out.push(c.to_ascii_lowercase());
    }
    Ok(out)
}

fn hashed(from: &mut (impl Read + ?Sized)) -> io::Result<Digest> {
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// The digest of a list of files: a line for each, by name, with the digest of its bytes before it.
fn list_hash(mut files: Vec<(String, Digest)>) -> Result<Digest, String> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    for (name, digest) in files {
        if name.contains('\n') {
            return Err(format!("{name:?}: a name of two lines"));
        }
        hasher.update(format!("{}  {name}\n", digest.to_hex()).as_bytes());
    }
    Ok(hasher.finish())
}

/// The hash of a module's archive, which may be anybody's, as go.sum has it behind `h1:`.
///
/// # Errors
/// In words: no archive, a limit, or what two readers could read differently.
pub fn module_hash(archive: &mut (impl Read + Seek)) -> Result<Digest, String> {
    let mut archive = Archive::new(archive)?;
    let members = archive.members().to_vec();
    let mut files = Vec::with_capacity(members.len());
    for member in members {
        let digest = archive.read(&member, |from| hashed(from))?;
        files.push((member.name, digest));
    }
    list_hash(files)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Seek as _};

    use super::super::zip::tests::archive;
    use super::*;

    fn purl(namespace: &str, name: &str, version: &str, subpath: &str) -> Purl {
        Purl {
            kind: "golang".into(),
            namespace: namespace.into(),
            name: name.into(),
            version: Some(version.into()),
            qualifiers: std::collections::BTreeMap::new(),
            subpath: subpath.into(),
        }
    }

    const URL: Option<&str> = Some("https://p.example/{module}/@v/{version}");

    #[test]
    fn a_line_is_an_archive_or_a_description_under_the_escaped_name() {
        let hash = "ab".repeat(32);
        let module =
            Module::read(&purl("github.com/Acme", "Mod", "v2.0.0-Rc1+incompatible", ""), &hash, URL).unwrap();
        let name = "github.com/!acme/!mod/@v/v2.0.0-!rc1+incompatible.zip";
        assert_eq!(module.url.as_str(), format!("https://p.example/{name}"));
        assert_eq!(module.path, format!("go/{name}"));
        let description = Module::read(&purl("", "rsc.io", "v1.0.0", "go.mod"), &hash, URL).unwrap();
        assert_eq!(description.path, "go/rsc.io/@v/v1.0.0.mod");
        assert_ne!(module.kept(), description.kept());
        for (namespace, name, version) in [
            ("a/..", "b", "v1"),
            ("a", "b!c", "v1"),
            ("a", "b", "v1/../x"),
            ("a", "b", ""),
            ("a", "b c", "v1"),
        ] {
            assert!(
                Module::read(&purl(namespace, name, version, ""), &hash, URL).is_err(),
                "{namespace}/{name}@{version}"
            );
        }
        assert!(Module::read(&purl("a", "b", "v1", ""), &hash, None).unwrap_err().contains("{module}"));
        assert!(Module::read(&purl("a", "b", "v1", ""), "ab", URL).is_err());
    }

    #[test]
    fn the_hash_is_of_the_names_and_the_digests_of_the_files() {
        let mut zip = Cursor::new(archive(&[("m@v1/b.go", b"package b\n"), ("m@v1/a.go", b"package a\n")]));
        let one = module_hash(&mut zip).unwrap();
        let lines = [("a", "package a\n"), ("b", "package b\n")].map(|(name, content)| {
            format!("{}  m@v1/{name}.go\n", HashAlgorithm::Sha256.digest(content.as_bytes()).to_hex())
        });
        assert_eq!(one, HashAlgorithm::Sha256.digest(lines.concat().as_bytes()));
        let turned = archive(&[("m@v1/a.go", b"package a\n"), ("m@v1/b.go", b"package b\n")]);
        assert_eq!(module_hash(&mut Cursor::new(turned)).unwrap(), one, "in whichever order");
        assert!(module_hash(&mut Cursor::new(archive(&[("a\nb", b"")]))).is_err());
    }

    #[tokio::test]
    async fn a_module_is_held_against_its_hash_when_it_is_fetched_and_when_it_is_read() {
        use countersign_http::{Http, HttpOptions};
        use std::fs;

        let place = tempfile::tempdir().unwrap();
        let there = place.path().join("mirror/m.example/!a/@v");
        fs::create_dir_all(&there).unwrap();
        let (good, evil) = (archive(&[("m@v1/a.go", b"good")]), archive(&[("m@v1/a.go", b"evil")]));
        let hash = module_hash(&mut Cursor::new(&good)).unwrap().to_hex();
        let mirror = format!("https://p.example/=file://{}/mirror/", place.path().display());
        let mirror = super::super::store::Place::parse(&mirror).unwrap();
        let kept = place.path().join("store");
        let store = Store::new(kept.clone(), vec![mirror], Http::new(HttpOptions::default())).unwrap();
        let module = Module::read(&purl("m.example", "A", "v1", ""), &hash, URL).unwrap();
        let says = |error: BuildError, what: &str| assert!(error.to_string().contains(what), "{error}");
        says(module.fetch(&store).await.unwrap_err(), "v1.zip");
        for (bad, what) in [(&evil[..], "expected h1:"), (&good[1..], "directory"), (b"", "ZIP")] {
            fs::write(there.join("v1.zip"), bad).unwrap();
            says(module.fetch(&store).await.unwrap_err(), what);
            assert!(!kept.join(module.kept()).exists());
        }
        fs::write(there.join("v1.zip"), &good).unwrap();
        module.fetch(&store).await.unwrap();
        let (mut file, digest) = module.open(&store).unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!((digest, read), (HashAlgorithm::Sha256.digest(&good), good));
        // Changed in the store it is not used, and not kept.
        fs::write(kept.join(module.kept()), &evil).unwrap();
        says(module.open(&store).unwrap_err(), "was changed");
        assert!(!kept.join(module.kept()).exists());
    }

    #[test]
    fn a_description_is_hashed_as_a_list_of_one() {
        let mut file = tempfile::tempfile().unwrap();
        io::copy(&mut &b"module rsc.io/quote\n"[..], &mut file).unwrap();
        file.rewind().unwrap();
        let line = format!("{}  go.mod\n", HashAlgorithm::Sha256.digest(b"module rsc.io/quote\n").to_hex());
        let hash = HashAlgorithm::Sha256.digest(line.as_bytes()).to_hex();
        let module = Module::read(&purl("rsc.io", "quote", "v1.0.0", "go.mod"), &hash, URL).unwrap();
        module.check(&mut file).unwrap();
        let other =
            Module::read(&purl("rsc.io", "quote", "v1.0.0", "go.mod"), &"ab".repeat(32), URL).unwrap();
        file.rewind().unwrap();
        assert!(other.check(&mut file).unwrap_err().starts_with("expected h1:abab"));
    }
}
