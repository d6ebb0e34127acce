//! What went into a build, by digest, as its lock files say.
//!
//! | module | files |
//! |---|---|
//! | `rust` | Cargo.lock |
//! | `javascript` | package-lock.json and npm-shrinkwrap.json of version 2 and 3, yarn.lock of version 1, pnpm-lock.yaml |
//! | `python` | requirements*.txt, uv.lock, poetry.lock |
//! | `go` | go.sum |
//! | `ruby` | Gemfile.lock |
//! | `dockerfile` | images in Dockerfile and Containerfile |
//!
//! A lock file says what may be fetched; that nothing else was is for whoever fetches to see to. What a file names
//! without a digest is told too ([`Materials::loose`]), and is never taken for something known.

use std::collections::BTreeMap;

use countersign_attestation::json::JsonError;
use countersign_attestation::predicate::provenance::{MAX_DEPENDENCIES, Resource};
use countersign_attestation::purl::Purl;
use countersign_crypto::encoding;

use crate::address;

mod dockerfile;
mod go;
mod javascript;
mod python;
mod ruby;
mod rust;

/// The largest lock file read, in bytes.
pub const MAX_LOCK_LEN: usize = 16 * 1024 * 1024;
/// The most that is taken from one lock file.
pub const MAX_MATERIALS: usize = MAX_DEPENDENCIES;

/// The lock files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LockFile {
    /// `Cargo.lock`.
    Cargo,
    /// `package-lock.json`, `npm-shrinkwrap.json`.
    Npm,
    /// `yarn.lock`.
    Yarn,
    /// `pnpm-lock.yaml`.
    Pnpm,
    /// `requirements.txt` and its kind.
    Requirements,
    /// `uv.lock`.
    Uv,
    /// `poetry.lock`.
    Poetry,
    /// `go.sum`.
    Go,
    /// `Gemfile.lock`.
    Gemfile,
    /// `Dockerfile`, `Containerfile`.
    Dockerfile,
}

impl LockFile {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Cargo,
        Self::Npm,
        Self::Yarn,
        Self::Pnpm,
        Self::Requirements,
        Self::Uv,
        Self::Poetry,
        Self::Go,
        Self::Gemfile,
        Self::Dockerfile,
    ];

    /// Which of them a file is, by its name without folders.
    ///
    /// ```
    /// use countersign_builder::materials::LockFile;
    /// assert_eq!(LockFile::of("requirements-dev.txt"), Some(LockFile::Requirements));
    /// assert_eq!(LockFile::of("notes.txt"), None);
    /// ```
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "Cargo.lock" => Self::Cargo,
            "package-lock.json" | "npm-shrinkwrap.json" => Self::Npm,
            "yarn.lock" => Self::Yarn,
            "pnpm-lock.yaml" => Self::Pnpm,
            "uv.lock" => Self::Uv,
            "poetry.lock" => Self::Poetry,
            "go.sum" => Self::Go,
            "Gemfile.lock" | "gems.locked" => Self::Gemfile,
            "Dockerfile" | "Containerfile" => Self::Dockerfile,
            other if other.contains('/') => return None,
            other if other.starts_with("Dockerfile.") || other.ends_with(".Dockerfile") => Self::Dockerfile,
            other if other.starts_with("requirements") && other.ends_with(".txt") => Self::Requirements,
            _ => return None,
        })
    }

    /// Reads one.
    ///
    /// ```
    /// use countersign_builder::materials::LockFile;
    /// let text = r#"
    /// version = 4
    /// [[package]]
    /// name = "hex"
    /// version = "0.4.3"
    /// source = "registry+https://index.example"
    /// checksum = "7f24254aa9a54b5c858eaee2f5bccdb46aaf0e486a595ed5fd8f86ba55232a70"
    /// "#;
    /// let found = LockFile::Cargo.read(text.as_bytes())?;
    /// assert_eq!(found.pinned[0].uri, "pkg:cargo/hex@0.4.3?repository_url=https:%2F%2Findex.example%2F");
    /// # Ok::<(), countersign_builder::materials::MaterialsError>(())
    /// ```
    ///
    /// # Errors
    /// [`MaterialsError`]: over a limit, or not of the form its name says.
    pub fn read(self, bytes: &[u8]) -> Result<Materials, MaterialsError> {
        if bytes.len() > MAX_LOCK_LEN {
            return Err(MaterialsError::TooLarge { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|e| MaterialsError::Form(e.to_string()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut list = List::default();
        match self {
            Self::Cargo => rust::cargo(text, &mut list)?,
            Self::Npm => javascript::npm(text, &mut list)?,
            Self::Yarn => javascript::yarn(text, &mut list)?,
            Self::Pnpm => javascript::pnpm(text, &mut list)?,
            Self::Requirements => python::requirements(text, &mut list)?,
            Self::Uv => python::uv(text, &mut list)?,
            Self::Poetry => python::poetry(text, &mut list)?,
            Self::Go => go::sum(text, &mut list)?,
            Self::Gemfile => ruby::gemfile(text, &mut list)?,
            Self::Dockerfile => dockerfile::images(text, &mut list)?,
        }
        Ok(list.end())
    }
}

/// What a lock file names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Materials {
    /// What it names by digest: package URLs, images, commits; each once, sorted by address.
    pub pinned: Vec<Resource>,
    /// What it names otherwise, as it stands there; sorted.
    pub loose: Vec<String>,
}

/// Why a lock file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialsError {
    /// Larger than what is read.
    #[error("{found} bytes, at most {MAX_LOCK_LEN} are read")]
    TooLarge {
        /// The size found in bytes.
        found: usize,
    },
    /// More than what is read.
    #[error("more than {MAX_MATERIALS} entries")]
    TooMany,
    /// Not of the form expected; the text says what was.
    #[error("{0}")]
    Form(String),
}

impl From<JsonError> for MaterialsError {
    fn from(error: JsonError) -> Self {
        Self::Form(error.to_string())
    }
}

/// Digests by algorithm, in hexadecimal.
type Digests = BTreeMap<String, String>;

/// What was found so far.
#[derive(Debug, Default)]
struct List {
    /// Where each is from, if that is said, by address and digests.
    pinned: BTreeMap<(String, Digests), String>,
    loose: BTreeMap<String, ()>,
}

impl List {
    /// A package of these digests, from there. Without a digest that holds, or with a name that is none, it is loose.
    fn package(&mut self, purl: &Purl, digests: Digests, location: &str) -> Result<(), MaterialsError> {
        let text = purl.to_string();
        if Purl::parse(&text).is_none() || !digests.keys().any(|name| holds(name)) {
            return self.loose(&text);
        }
        self.pin(text, digests, address::public(location).unwrap_or_default())
    }

    /// A commit of a repository.
    fn commit(&mut self, repository: &str, commit: &str, what: &str) -> Result<(), MaterialsError> {
        match (address::git(repository, ""), is_commit(commit)) {
            (Some(uri), true) => {
                self.pin(uri, [("gitCommit".into(), commit.to_ascii_lowercase())].into(), String::new())
            }
            _ => self.loose(what),
        }
    }

    fn pin(&mut self, uri: String, digests: Digests, location: String) -> Result<(), MaterialsError> {
        self.pinned.insert((uri, digests), location);
        self.check()
    }

    /// Something of which only the name is known.
    fn loose(&mut self, what: &str) -> Result<(), MaterialsError> {
        self.loose.insert(what.chars().take(256).collect(), ());
        self.check()
    }

    fn check(&self) -> Result<(), MaterialsError> {
        if self.pinned.len() + self.loose.len() > MAX_MATERIALS {
            return Err(MaterialsError::TooMany);
        }
        Ok(())
    }

    fn end(self) -> Materials {
        let resource = |((uri, digest), download_location)| Resource {
            uri,
            digest,
            download_location,
            ..Resource::default()
        };
        Materials {
            pinned: self.pinned.into_iter().map(resource).collect(),
            loose: self.loose.into_keys().collect(),
        }
    }
}

/// A package URL of a kind.
fn purl(kind: &str, namespace: &str, name: &str, version: &str) -> Purl {
    Purl {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
        version: Some(version.to_owned()).filter(|version| !version.is_empty()),
        qualifiers: BTreeMap::new(),
        subpath: String::new(),
    }
}

/// The qualifier that tells a package from one of the same name elsewhere.
fn at_registry(mut purl: Purl, registry: &str) -> Purl {
    if let Some(registry) = address::public(registry) {
        purl.qualifiers.insert("repository_url".into(), registry);
    }
    purl
}

/// A digest of which nobody finds a second text.
fn holds(algorithm: &str) -> bool {
    matches!(algorithm, "sha256" | "sha384" | "sha512" | "dirHash1")
}

/// The digest under its algorithm, when it is as long as those of it are.
fn hex_digest(algorithm: &str, hex: &str) -> Digests {
    let length = match algorithm {
        "sha1" => 40,
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Digests::new(),
    };
    if hex.len() != length || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Digests::new();
    }
    [(algorithm.to_owned(), hex.to_ascii_lowercase())].into()
}

/// Digests as `algorithm:hex`.
fn colon_digest(text: &str) -> Digests {
    text.split_once(':').map_or_else(Digests::new, |(algorithm, hex)| hex_digest(algorithm, hex))
}

/// Digests as browsers and npm write them: `sha512-base64`, several with spaces between, options behind a question mark.
/// Of two of one algorithm, of which either would do, none is taken.
fn integrity(text: &str) -> Digests {
    let mut found = Digests::new();
    let mut twice = Vec::new();
    for part in text.split_ascii_whitespace() {
        let Some((algorithm, value)) = part.split_once('-') else { continue };
        let value = value.split_once('?').map_or(value, |(value, _)| value);
        let Ok(bytes) = encoding::base64_decode(value) else { continue };
        for (name, hex) in hex_digest(algorithm, &encoding::hex_encode(&bytes)) {
            if found.get(&name).is_some_and(|other| *other != hex) {
                twice.push(name.clone());
            }
            found.insert(name, hex);
        }
    }
    found.retain(|name, _| !twice.contains(name));
    found
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a lock file says, shortened to what tests look at.
    pub(super) fn read(file: LockFile, text: &str) -> (Vec<String>, Vec<String>) {
        let found = file.read(text.as_bytes()).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let pinned = found.pinned.into_iter().map(|resource| {
            let digests: Vec<_> =
                resource.digest.iter().map(|(name, hex)| format!("{name}:{}", &hex[..4])).collect();
            format!("{} {}", resource.uri, digests.join(","))
        });
        (pinned.collect(), found.loose)
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        for (name, file) in [
            ("Cargo.lock", Some(LockFile::Cargo)),
            ("npm-shrinkwrap.json", Some(LockFile::Npm)),
            ("requirements/dev.txt", None),
            ("requirements.in", None),
            ("Dockerfile.release", Some(LockFile::Dockerfile)),
            ("cargo.lock", None),
            ("", None),
        ] {
            assert_eq!(LockFile::of(name), file, "{name}");
        }
    }

    #[test]
    fn what_is_too_large_or_no_text_is_refused_by_each() {
        for file in LockFile::ALL {
            let large = vec![b' '; MAX_LOCK_LEN + 1];
            assert_eq!(file.read(&large), Err(MaterialsError::TooLarge { found: MAX_LOCK_LEN + 1 }));
            assert!(matches!(file.read(b"\xff\xfe"), Err(MaterialsError::Form(_))), "{file:?}");
        }
    }

    #[test]
    fn a_list_ends_at_its_limit() {
        let line =
            |n: usize| format!("a.example/m v0.0.{n} h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=\n");
        let text = |count: usize| (0..count).map(line).collect::<String>();
        assert_eq!(LockFile::Go.read(text(MAX_MATERIALS).as_bytes()).unwrap().pinned.len(), MAX_MATERIALS);
        assert_eq!(LockFile::Go.read(text(MAX_MATERIALS + 1).as_bytes()), Err(MaterialsError::TooMany));
    }

    #[test]
    fn digests_are_as_long_as_their_algorithm_says() {
        let sha256 = "AB".repeat(32);
        assert_eq!(hex_digest("sha256", &sha256)["sha256"], "ab".repeat(32));
        for (algorithm, hex) in
            [("sha256", "ab"), ("sha512", &*sha256), ("md5", &"a".repeat(32)), ("sha256", &"zz".repeat(32))]
        {
            assert_eq!(hex_digest(algorithm, hex), Digests::new(), "{algorithm}:{hex}");
        }
    }

    #[test]
    fn of_two_digests_of_one_algorithm_none_is_believed() {
        let digest = |byte: u8| format!("sha256-{}", encoding::base64_encode(&[byte; 32]));
        assert_eq!(integrity(&digest(1)).len(), 1);
        assert_eq!(integrity(&format!("{} {}?x", digest(1), digest(1))).len(), 1, "the same twice is one");
        assert_eq!(integrity(&format!("{} {} {}", digest(1), digest(2), digest(1))), Digests::new());
        assert_eq!(integrity("sha256 sha256- sha256-! md5-AAAA"), Digests::new());
    }

    #[test]
    fn sha1_alone_is_no_digest_that_holds() {
        let mut list = List::default();
        list.package(&purl("npm", "", "a", "1"), hex_digest("sha1", &"a".repeat(40)), "").unwrap();
        let found = list.end();
        assert_eq!((found.pinned.len(), found.loose), (0, vec!["pkg:npm/a@1".to_owned()]));
    }

    #[test]
    fn passwords_in_addresses_stay_in_the_lock_file() {
        let mut list = List::default();
        let digests = || hex_digest("sha256", &"a".repeat(64));
        let secret = "https://user:s3cret@files.example/a.tgz?token=s3cret";
        list.package(&at_registry(purl("npm", "", "a", "1"), secret), digests(), secret).unwrap();
        list.commit(secret, &"a".repeat(40), "").unwrap();
        assert!(!format!("{:?}", list.end()).contains("s3cret"));
    }

    /// What the fuzz target demands, of its seeds with some bytes changed: by the same numbers each time.
    #[test]
    fn changed_seeds_are_read_with_addresses_and_digests_or_refused() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/builder_materials");
        let mut state = 1_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut read = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            let file = LockFile::ALL[usize::from(seed[0] - b'A')];
            assert!(!file.read(&seed[1..]).unwrap().pinned.is_empty(), "{file:?}");
            for _ in 0..500 {
                let mut text = seed[1..].to_vec();
                for _ in 0..=next(4) {
                    let at = next(text.len());
                    match next(3) {
                        0 => text[at] = b"@#:/%?[]{}\"'\\ \n=-,$<"[next(20)],
                        1 => drop(text.drain(at..(at + next(8)).min(text.len()))),
                        _ => text.splice(at..at, text[..next(16).min(text.len())].to_vec()).for_each(drop),
                    }
                    if text.is_empty() {
                        break;
                    }
                }
                let Ok(found) = file.read(&text) else { continue };
                read += 1;
                for resource in found.pinned {
                    let uri = resource.uri.as_str();
                    let plain = address::git(uri, "").as_deref() == Some(uri);
                    assert!(plain || Purl::parse(uri).is_some(), "{file:?}: {uri}");
                    assert!(!resource.digest.is_empty());
                    let location = resource.download_location.as_str();
                    assert!(location.is_empty() || address::public(location).as_deref() == Some(location));
                }
            }
        }
        assert!(read > 500, "only {read} were read: the changes are too coarse");
    }
}
