//! Files by digest: fetched from the places that whoever runs the builder allows, kept by their digest, and checked again whenever they are
//! read. Nothing else is shared between builds.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use countersign_crypto::{Digest, HashAlgorithm, Hasher};
use countersign_http::{Http, Request, shown};
use nix::libc;
use tempfile::NamedTempFile;
use url::Url;

use crate::BuildError;
use crate::recipe::Input;

/// The largest input, in bytes.
const MAX_INPUT: u64 = 16 << 30;

/// A place that inputs may come from: addresses that begin so, perhaps taken from elsewhere instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    prefix: String,
    instead: Option<String>,
}

impl Place {
    /// Reads `https://host/path/`, or `https://host/path/=file:///mirror/` for a mirror of it; `oci://registry/path/` for images, which have
    /// no mirrors.
    ///
    /// # Errors
    /// [`BuildError::Input`] when a part is no address of a directory.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let (prefix, instead) = match text.split_once('=') {
            Some((prefix, instead)) => (prefix, Some(instead)),
            None => (text, None),
        };
        // As the addresses of inputs are written, which begin so or do not.
        let directory = |part: &str| {
            let url = Url::parse(part).ok().filter(|url| match url.scheme() {
                "https" | "http" | "file" => true,
                "oci" => instead.is_none() && url.has_host(),
                _ => false,
            });
            // Without the slash, https://a.example would allow https://a.example.evil too.
            url.filter(|_| part.ends_with('/')).map(String::from).ok_or_else(|| BuildError::Input {
                name: text.into(),
                message: "expected an address with a slash at its end, or two with = between".into(),
            })
        };
        Ok(Self { prefix: directory(prefix)?, instead: instead.map(directory).transpose()? })
    }

    fn take(&self, url: &Url) -> Option<Url> {
        let rest = url.as_str().strip_prefix(&self.prefix)?;
        match &self.instead {
            None => Some(url.clone()),
            Some(instead) => Url::parse(&format!("{instead}{rest}")).ok(),
        }
    }
}

/// Whether a path would lead up for whoever reads it: what is spelled `..%2F` is a name in an address, and leads up in a file system.
fn leads_up(url: &Url) -> bool {
    let path = url.path().to_ascii_lowercase().replace("%2e", ".");
    path.replace("%2f", "/").replace("%5c", "/").split('/').any(|part| part == "..")
}

/// Opens a file of a mirror; with it comes its length. Pipes and devices, which have no end, are none.
fn open_file(path: &Path, limit: u64) -> io::Result<(File, u64)> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    match found.len() {
        _ if !found.is_file() => Err(io::Error::other("expected a file, found something else")),
        length if length > limit => {
            Err(io::Error::other(format!("expected at most {limit} bytes, found {length}")))
        }
        length => Ok((file, length)),
    }
}

/// The store, and where what is not in it comes from.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    places: Vec<Place>,
    http: Http,
}

impl Store {
    /// A store in a directory, which is made.
    ///
    /// # Errors
    /// [`BuildError::File`].
    pub fn new(directory: PathBuf, places: Vec<Place>, http: Http) -> Result<Self, BuildError> {
        fs::create_dir_all(&directory).map_err(BuildError::file(directory.display()))?;
        Ok(Self { directory, places, http })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.to_hex())
    }

    /// Where something is taken from that a recipe or a lockfile names by an address.
    ///
    /// # Errors
    /// [`BuildError::Input`] when no place is configured for it.
    pub(super) fn place(&self, name: &str, url: &Url) -> Result<Url, BuildError> {
        let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
        // Else it would be read, or its digest told, whatever place is configured.
        if leads_up(url) {
            return Err(fails(format!("expected an address that leads down, found {}", shown(url))));
        }
        self.places.iter().find_map(|place| place.take(url)).ok_or_else(|| {
            let place = shown(url);
            fails(format!(
                "no place is configured for {place}; allow one with --place, or put the file into a mirror"
            ))
        })
    }

    /// Sees to it that an input is in the store.
    ///
    /// # Errors
    /// [`BuildError::Input`]: no place for it, it cannot be fetched, or it is another file.
    pub async fn fetch(&self, input: &Input) -> Result<(), BuildError> {
        let target = self.path(&input.digest);
        if target.exists() {
            return Ok(());
        }
        let fails = |message: String| BuildError::Input { name: input.name.clone(), message };
        let mut kept = self.begin(&target).map_err(|e| fails(e.to_string()))?;
        let mut into = Hashing { into: &mut kept, hasher: Hasher::new(input.digest.algorithm()) };
        let from = self.bring(&input.name, &input.url, MAX_INPUT, &mut into).await?;
        let found = into.hasher.finish();
        if found != input.digest {
            return Err(fails(format!("expected {}, found {found} at {}", input.digest, shown(&from))));
        }
        keep(kept, &target).map_err(|e| fails(e.to_string()))
    }

    /// The same for a file that is known by something else than a digest of its bytes, as which it is kept; only who reads it can tell.
    ///
    /// # Errors
    /// [`BuildError::Input`]: no place for it, it cannot be fetched, or it does not pass.
    pub(super) async fn fetch_checked(
        &self,
        name: &str,
        url: &Url,
        kept_as: &str,
        limit: u64,
        check: impl FnOnce(&mut File) -> Result<(), String>,
    ) -> Result<(), BuildError> {
        let target = self.directory.join(kept_as);
        if target.exists() {
            return Ok(());
        }
        let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
        let mut kept = self.begin(&target).map_err(|e| fails(e.to_string()))?;
        let from = self.bring(name, url, limit, &mut kept).await?;
        kept.rewind().map_err(|e| fails(e.to_string()))?;
        check(kept.as_file_mut()).map_err(|message| fails(format!("{message} at {}", shown(&from))))?;
        keep(kept, &target).map_err(|e| fails(e.to_string()))
    }

    /// A new file of the store, beside what it will be.
    fn begin(&self, target: &Path) -> io::Result<NamedTempFile> {
        let above = target.parent().unwrap_or(&self.directory);
        fs::create_dir_all(above)?;
        NamedTempFile::new_in(above)
    }

    /// Writes what lies at an address, and tells where it was taken from. Nobody knows yet whether it is the right one.
    async fn bring(
        &self,
        name: &str,
        url: &Url,
        limit: u64,
        into: &mut impl Write,
    ) -> Result<Url, BuildError> {
        let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
        let file = |e: io::Error| fails(e.to_string());
        let from = self.place(name, url)?;
        if from.scheme() == "file" {
            let path = from.to_file_path().map_err(|()| fails("expected a path on this machine".into()))?;
            let opened = open_file(&path, limit).map_err(|e| fails(format!("{}: {e}", path.display())))?;
            let (found, length) = opened;
            io::copy(&mut found.take(length), into).map_err(file)?;
        } else {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let request = Request::get("place of inputs", &from).limit(limit).follow_elsewhere();
            let mut answer = self.http.open(request).await.map_err(|e| fails(e.to_string()))?;
            if answer.status() != 200 {
                return Err(fails(format!("{} answered {}", shown(&from), answer.status())));
            }
            while let Some(piece) = answer.chunk().await.map_err(|e| fails(e.to_string()))? {
                into.write_all(&piece).map_err(file)?;
            }
        }
        into.flush().map_err(file)?;
        Ok(from)
    }

    /// Takes a file that [`Store::fetch_checked`] has brought, checked again, with the digest of its bytes: a copy that nobody else can change.
    ///
    /// # Errors
    /// [`BuildError::Input`] when the file was changed in the store; it is taken out of it then.
    pub(super) fn copy_checked(
        &self,
        name: &str,
        kept_as: &str,
        limit: u64,
        check: impl FnOnce(&mut File) -> Result<(), String>,
    ) -> Result<(File, Digest), BuildError> {
        let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
        let path = self.directory.join(kept_as);
        let copied = || -> io::Result<(File, Digest)> {
            let mut copy = tempfile::tempfile_in(&self.directory)?;
            let mut into = Hashing { into: &mut copy, hasher: Hasher::new(HashAlgorithm::Sha256) };
            io::copy(&mut File::open(&path)?.take(limit), &mut into)?;
            let digest = into.hasher.finish();
            copy.rewind()?;
            Ok((copy, digest))
        };
        let (mut copy, digest) = copied().map_err(|e| fails(format!("{}: {e}", path.display())))?;
        if let Err(message) = check(&mut copy) {
            // As when its digest is another.
            let _ = fs::remove_file(&path);
            return Err(fails(format!("the store's copy was changed: {message}")));
        }
        copy.rewind().map_err(|e| fails(e.to_string()))?;
        Ok((copy, digest))
    }

    /// Reads an input to its end. What the reader did counts only when this succeeds: only then was every byte the right one.
    ///
    /// # Errors
    /// [`BuildError::Input`] when the reader fails, or the file was changed in the store; it is taken out of it then.
    pub fn read<T>(
        &self,
        input: &Input,
        work: impl FnOnce(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, BuildError> {
        let fails = |message: String| BuildError::Input { name: input.name.clone(), message };
        let path = self.path(&input.digest);
        let file = File::open(&path).map_err(|e| fails(format!("{}: {e}", path.display())))?;
        let mut hasher = Hasher::new(input.digest.algorithm());
        let mut checked = Checked { from: file, hasher: &mut hasher };
        let done = work(&mut checked);
        io::copy(&mut checked, &mut io::sink()).map_err(|e| fails(e.to_string()))?;
        let found = hasher.finish();
        if found != input.digest {
            // Not kept for the next one; where it cannot be taken away, the next one finds out too.
            let _ = fs::remove_file(&path);
            return Err(fails(format!(
                "the store's copy was changed: expected {}, found {found}",
                input.digest
            )));
        }
        done.map_err(fails)
    }
}

/// Gives a file of the store its name, when it is whole.
fn keep(kept: NamedTempFile, target: &Path) -> io::Result<()> {
    kept.as_file().sync_all()?;
    kept.persist(target)?;
    Ok(())
}

/// A writer whose bytes pass a hash.
struct Hashing<'w, W> {
    into: &'w mut W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.into.write(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// A reader whose bytes pass a hash.
struct Checked<'h> {
    from: File,
    hasher: &'h mut Hasher,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::HashAlgorithm;
    use countersign_http::HttpOptions;

    fn input(url: &str, content: &[u8]) -> Input {
        let digest = HashAlgorithm::Sha256.digest(content);
        Input { name: "a".into(), url: Url::parse(url).unwrap(), digest }
    }

    fn store(directory: &Path, places: &[&str]) -> Store {
        let places = places.iter().map(|place| Place::parse(place).unwrap()).collect();
        Store::new(directory.join("store"), places, Http::new(HttpOptions::default())).unwrap()
    }

    impl Store {
        fn copy(&self, input: &Input, to: &Path) -> Result<(), BuildError> {
            self.read(input, |from| {
                let mut file = File::create_new(to).map_err(|e| e.to_string())?;
                io::copy(from, &mut file).map(drop).map_err(|e| e.to_string())
            })
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_what_was_asked_for_and_is_checked_when_it_is_read() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), b"good").unwrap();
        let mirror = format!("https://a.example/=file://{}/", place.path().display());
        let store = store(place.path(), &[&mirror]);
        let good = input("https://a.example/file", b"good");
        store.fetch(&good).await.unwrap();
        store.copy(&good, &place.path().join("copy")).unwrap();
        assert_eq!(fs::read(place.path().join("copy")).unwrap(), b"good");
        // In the store, it is fetched from nowhere.
        fs::remove_file(place.path().join("file")).unwrap();
        store.fetch(&good).await.unwrap();
        // Changed there, it is not used, and not kept.
        fs::write(store.path(&good.digest), b"evil").unwrap();
        let error = store.copy(&good, &place.path().join("again")).unwrap_err().to_string();
        assert!(error.contains("was changed"), "{error}");
        assert!(!store.path(&good.digest).exists());
        // Another file under the address is refused, and not kept either.
        fs::write(place.path().join("file"), b"evil").unwrap();
        let error = store.fetch(&good).await.unwrap_err().to_string();
        assert!(error.contains("expected sha256:"), "{error}");
        assert!(!store.path(&good.digest).exists());
    }

    #[tokio::test]
    async fn a_place_on_the_network_is_asked_and_believed_by_digest_only() {
        let place = tempfile::tempdir().unwrap();
        let paths = [("/file".to_owned(), (String::new(), b"good".to_vec()))];
        let address = super::super::server::serve(paths.into());
        let store = store(place.path(), &[&format!("http://{address}/")]);
        let good = input(&format!("http://{address}/file"), b"good");
        store.fetch(&good).await.unwrap();
        store.copy(&good, &place.path().join("copy")).unwrap();
        for (path, content, says) in [("file", "other", "expected sha256:"), ("none", "x", "answered 404")] {
            let other = input(&format!("http://{address}/{path}"), content.as_bytes());
            let error = store.fetch(&other).await.unwrap_err().to_string();
            assert!(error.contains(says) && !store.path(&other.digest).exists(), "{error}");
        }
    }

    #[tokio::test]
    async fn only_configured_places_are_asked() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), b"good").unwrap();
        let own = format!("file://{}/file", place.path().display());
        let store = store(place.path(), &["https://a.example/b/"]);
        for url in [own.as_str(), "https://a.example/c", "https://a.example.evil/b/c", "http://a.example/b/c"]
        {
            let error = store.fetch(&input(url, b"good")).await.unwrap_err().to_string();
            assert!(error.contains("no place is configured"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn nothing_beside_a_mirror_is_read_nor_is_its_digest_told() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("mirror")).unwrap();
        fs::write(place.path().join("key"), b"secret").unwrap();
        let mirror = format!("https://a.example/=file://{}/mirror/", place.path().display());
        let own = format!("file://{}/mirror/", place.path().display());
        let store = store(place.path(), &[&mirror, &own]);
        for rest in ["..%2fkey", "..%2Fkey", "%2e%2E%2fkey", "..%5ckey", "a%2f..%2f..%2fkey", "../key"] {
            for begin in ["https://a.example/", own.as_str()] {
                for content in ["secret", "other"] {
                    let asked = input(&format!("{begin}{rest}"), content.as_bytes());
                    let error = store.fetch(&asked).await.unwrap_err().to_string();
                    assert!(
                        !error.contains("found sha256") && !store.path(&asked.digest).exists(),
                        "{error}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn what_has_no_end_is_no_file_of_a_mirror() {
        let place = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(place.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", place.path().join("zero")).unwrap();
        let store = store(place.path(), &[&format!("https://a.example/=file://{}/", place.path().display())]);
        for name in ["pipe", "directory", "zero"] {
            let asked = input(&format!("https://a.example/{name}"), b"");
            let error = store.fetch(&asked).await.unwrap_err().to_string();
            assert!(error.contains("expected a file"), "{name}: {error}");
        }
    }

    #[test]
    fn a_place_is_of_whatever_begins_so_however_it_is_written() {
        let url = Url::parse("https://a.example/b/c").unwrap();
        for same in ["https://A.example:443/b/", "HTTPS://a.example/x/../b/"] {
            assert_eq!(Place::parse(same).unwrap().take(&url), Some(url.clone()), "{same}");
        }
    }

    #[test]
    fn a_place_is_a_directory() {
        assert!(
            Place::parse("https://a.example/").is_ok()
                && Place::parse("https://a.example/=file:///m/").is_ok()
                && Place::parse("oci://a.example/b/").is_ok()
        );
        for bad in [
            "https://a.example",
            "a/",
            "https://a.example/=file:///m",
            "ftp://a.example/",
            "",
            "oci://a.example/=file:///m/",
            "oci://a.example/=oci://b.example/",
            "https://a.example/=oci://b.example/",
            "oci:/",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
