//! Named trust roots on a user's machine: one directory each, made by one act of trust and refreshed from there.
//!
//! ```text
//! $XDG_CONFIG_HOME/countersign/instances/
//!   default                      the name of the one used when none is given
//!   <name>/
//!     instance.toml              where it came from
//!     root.json                  the TUF root that was trusted when it was added
//!     tuf/                       what the TUF client keeps
//!     trusted_root.json          what verification reads
//!     signing_config.v0.2.json   what signing reads, if the instance publishes it
//!     revocation_authority.json  who may revoke, if the instance says so
//!     revocations.json           the last revocation list, and its number in revocations.seen
//! ```
//!
//! Verification reads the documents and asks nobody; [`Instances::update`] is the only refresh.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use countersign_bundle::{SigningConfig, TrustedRoot};
use countersign_crypto::{encoding, sha256};
use countersign_keys::{KeyError, file};
use countersign_verify::revocation::RevocationAuthority;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::error::InstanceError;
use crate::revocations::{REVOCATION_AUTHORITY, fetch};
use crate::tuf::metadata::{Content as _, Root};
use crate::tuf::{ExpiryRule, Transport, TransportError, TrustedMetadata, TufError, Updater};

/// The name of the trusted root, as a target and as a file.
pub const TRUSTED_ROOT: &str = "trusted_root.json";
/// The name of the signing configuration, as a target and as a file.
pub const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// The media type of the file that [`Instances::export`] writes.
pub const CLIENT_TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

const ROOT: &str = "root.json";
const DESCRIPTION: &str = "instance.toml";
const DEFAULT: &str = "default";
const CACHE: &str = "tuf";
/// The largest document read, in bytes.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// Where an instance came from: the content of `instance.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The address the user gave; absent when it came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The address of the TUF metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuf_url: Option<String>,
    /// SHA-256 of the root (or of the file) that was trusted, in hex.
    pub fingerprint: String,
    /// When it was added (RFC 3339).
    pub added: String,
    /// When its documents were last refreshed (RFC 3339).
    pub updated: String,
    /// When its revocation list was last fetched (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations_checked: Option<String>,
}

/// A named instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Where it came from.
    pub description: Description,
    /// Whether it is used when none is named.
    pub is_default: bool,
}

impl Instance {
    /// The trusted root document.
    ///
    /// # Errors
    /// [`InstanceError::File`].
    pub fn trusted_root(&self) -> Result<Vec<u8>, InstanceError> {
        Ok(read(&self.dir.join(TRUSTED_ROOT))?.into_bytes())
    }

    /// The signing configuration, if the instance has one.
    ///
    /// # Errors
    /// [`InstanceError::File`].
    pub fn signing_config(&self) -> Result<Option<Vec<u8>>, InstanceError> {
        let path = self.dir.join(SIGNING_CONFIG);
        if path.exists() { Ok(Some(read(&path)?.into_bytes())) } else { Ok(None) }
    }
}

/// A root that was fetched and is not trusted yet: the user compares its fingerprint first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRoot {
    url: String,
    tuf_url: String,
    bytes: Vec<u8>,
}

impl FetchedRoot {
    /// Fetches the root of the instance at an address: `tuf/root.json` below it, or `root.json` where the address
    /// is that of a TUF repository. It must be a root and signed by itself, which proves nothing about whose it is.
    ///
    /// # Errors
    /// [`InstanceError::NoRoot`], [`InstanceError::Tuf`].
    pub async fn fetch<T: Transport>(transport: &T, url: &str) -> Result<Self, InstanceError> {
        let url = url.trim_end_matches('/').to_owned();
        for tuf_url in [format!("{url}/tuf"), url.clone()] {
            let address = format!("{tuf_url}/{ROOT}");
            let bytes = match transport.get(&address, Root::MAX_LENGTH).await {
                Ok(None) => continue,
                Ok(Some(bytes)) if bytes.len() as u64 <= Root::MAX_LENGTH => bytes,
                Ok(Some(_)) | Err(TransportError::TooLarge) => {
                    return Err(TufError::TooLarge { what: address, limit: Root::MAX_LENGTH }.into());
                }
                Err(TransportError::Failed(detail)) => {
                    return Err(TufError::Transport { url: address, detail }.into());
                }
            };
            return Self::from_bytes(&url, &tuf_url, bytes);
        }
        Err(InstanceError::NoRoot { url })
    }

    /// Takes a root that came another way (`--root FILE`), for the repository at `tuf_url`.
    ///
    /// # Errors
    /// [`InstanceError::Tuf`] when it is no root or not signed by itself.
    pub fn from_bytes(url: &str, tuf_url: &str, bytes: Vec<u8>) -> Result<Self, InstanceError> {
        TrustedMetadata::new(&bytes, Timestamp::MIN, ExpiryRule::Record)?;
        Ok(Self { url: url.to_owned(), tuf_url: tuf_url.to_owned(), bytes })
    }

    /// SHA-256 of the root, in hex: what the instance's operator publishes and the user compares.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        encoding::hex_encode(&sha256(&self.bytes))
    }

    /// Checks the fingerprint against one the user has from elsewhere, with or without `sha256:`.
    ///
    /// # Errors
    /// [`InstanceError::Fingerprint`].
    pub fn check(&self, expected: &str) -> Result<(), InstanceError> {
        let wanted = expected.trim().trim_start_matches("sha256:").to_ascii_lowercase();
        let found = self.fingerprint();
        if wanted == found { Ok(()) } else { Err(InstanceError::Fingerprint { expected: wanted, found }) }
    }
}

/// The directory of instances.
#[derive(Debug, Clone)]
pub struct Instances {
    dir: PathBuf,
}

impl Instances {
    /// The instances of the current user: `countersign/instances` below `XDG_CONFIG_HOME`, or below
    /// `HOME/.config` where that is not set.
    ///
    /// # Errors
    /// [`InstanceError::NoHome`].
    pub fn for_user() -> Result<Self, InstanceError> {
        Self::for_environment(&|name| std::env::var_os(name))
    }

    fn for_environment(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, InstanceError> {
        // A relative path would read trust from the working directory; the XDG specification ignores it too.
        let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .ok_or(InstanceError::NoHome)?;
        Ok(Self::at(&config.join("countersign").join("instances")))
    }

    /// Instances in a directory of the caller's choice.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// A directory beside that of the instances.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`InstanceError::File`], [`InstanceError::Document`].
    pub fn list(&self) -> Result<Vec<Instance>, InstanceError> {
        let mut names: Vec<String> = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries
                .filter_map(|e| e.ok()?.file_name().into_string().ok())
                .filter(|name| check_name(name).is_ok() && self.dir.join(name).join(DESCRIPTION).is_file())
                .collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io("list", &self.dir)(e).into()),
        };
        names.sort();
        names.iter().map(|name| self.load(name)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`InstanceError::Unknown`] naming those there are.
    pub fn get(&self, name: &str) -> Result<Instance, InstanceError> {
        check_name(name)?;
        if self.dir.join(name).join(DESCRIPTION).is_file() {
            return self.load(name);
        }
        let known: Vec<String> = self.list()?.into_iter().map(|instance| instance.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(InstanceError::Unknown { name: name.to_owned(), known })
    }

    /// The one used when none is named: the one chosen, or the only one there is.
    ///
    /// # Errors
    /// [`InstanceError::Unknown`] when the chosen one is gone.
    pub fn default_instance(&self) -> Result<Option<Instance>, InstanceError> {
        match self.default_name()? {
            Some(name) => self.get(&name).map(Some),
            None => {
                let mut all = self.list()?;
                Ok(if all.len() == 1 { all.pop() } else { None })
            }
        }
    }

    /// Chooses the one used when none is named.
    ///
    /// # Errors
    /// [`InstanceError::Unknown`], [`InstanceError::File`].
    pub fn set_default(&self, name: &str) -> Result<(), InstanceError> {
        self.get(name)?;
        Ok(file::replace(&self.dir.join(DEFAULT), format!("{name}\n").as_bytes(), file::PUBLIC)?)
    }

    /// Trusts a root under a name, and fetches what it publishes. `expected` is a fingerprint the user has from
    /// elsewhere; without it, the caller has shown [`FetchedRoot::fingerprint`] and been told to go on.
    ///
    /// # Errors
    /// [`InstanceError`]; nothing is left behind.
    pub async fn add<T: Transport>(
        &self,
        name: &str,
        root: &FetchedRoot,
        expected: Option<&str>,
        transport: &T,
        now: Timestamp,
    ) -> Result<Instance, InstanceError> {
        if let Some(expected) = expected {
            root.check(expected)?;
        }
        let staged = self.stage(name)?;
        let dir = staged.path();
        file::write_new(&dir.join(ROOT), &root.bytes, file::PUBLIC)?;
        let mut description = Description {
            url: Some(root.url.clone()),
            tuf_url: Some(root.tuf_url.clone()),
            fingerprint: root.fingerprint(),
            added: now.to_string(),
            updated: now.to_string(),
            revocations_checked: None,
        };
        refresh(dir, &root.tuf_url, root.bytes.clone(), transport, now).await?;
        let staging = Instance {
            name: name.to_owned(),
            dir: dir.to_owned(),
            description: description.clone(),
            is_default: false,
        };
        if fetch(&staging, &root.url, transport, now).await?.is_some() {
            description.revocations_checked = Some(now.to_string());
        }
        self.place(name, staged, &description)
    }

    /// Trusts a file: a client trust config (as [`Instances::export`] writes), or a bare trusted root. The way for
    /// a machine without network. Such an instance is never refreshed.
    ///
    /// # Errors
    /// [`InstanceError`]; nothing is left behind.
    pub fn add_file(&self, name: &str, bytes: &[u8], now: Timestamp) -> Result<Instance, InstanceError> {
        let (trusted_root, signing_config) = split_file(bytes)?;
        let staged = self.stage(name)?;
        put_documents(staged.path(), &trusted_root, signing_config.as_deref())?;
        let description = Description {
            url: None,
            tuf_url: None,
            fingerprint: encoding::hex_encode(&sha256(bytes)),
            added: now.to_string(),
            updated: now.to_string(),
            revocations_checked: None,
        };
        self.place(name, staged, &description)
    }

    /// Refreshes an instance from where it came.
    ///
    /// # Errors
    /// [`InstanceError::NoAddress`], [`InstanceError::Tuf`]; the documents stay as they were.
    pub async fn update<T: Transport>(
        &self,
        name: &str,
        transport: &T,
        now: Timestamp,
    ) -> Result<Instance, InstanceError> {
        let mut instance = self.get(name)?;
        let Some(tuf_url) = instance.description.tuf_url.clone() else {
            return Err(InstanceError::NoAddress(name.to_owned()));
        };
        let root = read(&instance.dir.join(ROOT))?.into_bytes();
        refresh(&instance.dir, &tuf_url, root, transport, now).await?;
        instance.description.updated = now.to_string();
        write_description(&instance.dir, &instance.description)?;
        self.update_revocations(name, transport, now).await?;
        self.get(name)
    }

    /// Stops trusting an instance: removes its directory.
    ///
    /// # Errors
    /// [`InstanceError::Unknown`], [`InstanceError::File`].
    pub fn remove(&self, name: &str) -> Result<(), InstanceError> {
        let instance = self.get(name)?;
        if self.default_name()?.as_deref() == Some(name) {
            let path = self.dir.join(DEFAULT);
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
        }
        std::fs::remove_dir_all(&instance.dir).map_err(io("remove", &instance.dir))?;
        Ok(())
    }

    /// An instance as one file, for another machine or for `sigstore --trust-config`.
    ///
    /// # Errors
    /// [`InstanceError::Unknown`], [`InstanceError::File`], [`InstanceError::Document`].
    pub fn export(&self, name: &str) -> Result<Vec<u8>, InstanceError> {
        let instance = self.get(name)?;
        let trusted_root = instance.trusted_root()?;
        let signing_config = instance.signing_config()?;
        let file = TrustConfig {
            media_type: CLIENT_TRUST_CONFIG.into(),
            trusted_root: raw(TRUSTED_ROOT, &trusted_root)?,
            signing_config: signing_config.as_ref().map(|bytes| raw(SIGNING_CONFIG, bytes)).transpose()?,
        };
        let mut bytes = serde_json::to_vec(&file).map_err(|e| unusable(TRUSTED_ROOT, e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn load(&self, name: &str) -> Result<Instance, InstanceError> {
        let dir = self.dir.join(name);
        let description =
            toml::from_str(&read(&dir.join(DESCRIPTION))?).map_err(|e| unusable(DESCRIPTION, e))?;
        let is_default = self.default_name()?.as_deref() == Some(name);
        Ok(Instance { name: name.to_owned(), dir, description, is_default })
    }

    fn default_name(&self) -> Result<Option<String>, InstanceError> {
        let path = self.dir.join(DEFAULT);
        if !path.is_file() {
            return Ok(None);
        }
        let name = read(&path)?.trim().to_owned();
        check_name(&name)?;
        Ok(Some(name))
    }

    /// A directory in which a new instance is made, beside its place.
    fn stage(&self, name: &str) -> Result<tempfile::TempDir, InstanceError> {
        check_name(name)?;
        file::create_private_dir(&self.dir)?;
        if self.dir.join(name).symlink_metadata().is_ok() {
            return Err(InstanceError::Exists(name.to_owned()));
        }
        Ok(tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.dir)
            .map_err(io("write in", &self.dir))?)
    }

    /// Moves it there in one step.
    fn place(
        &self,
        name: &str,
        staged: tempfile::TempDir,
        description: &Description,
    ) -> Result<Instance, InstanceError> {
        write_description(staged.path(), description)?;
        let dir = self.dir.join(name);
        std::fs::rename(staged.path(), &dir).map_err(io("make", &dir))?;
        // It has moved: there is nothing left to clean up.
        drop(staged.keep());
        file::sync_dir(&self.dir)?;
        self.load(name)
    }
}

/// A client trust config, with its documents as they are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustConfig {
    media_type: String,
    trusted_root: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_config: Option<Box<RawValue>>,
}

/// The one member by which documents are told apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaType {
    media_type: String,
}

fn split_file(bytes: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), InstanceError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(unusable(TRUSTED_ROOT, format!("larger than {MAX_DOCUMENT} bytes")));
    }
    let kind: MediaType = serde_json::from_slice(bytes).map_err(|e| unusable(TRUSTED_ROOT, e))?;
    if kind.media_type != CLIENT_TRUST_CONFIG {
        return Ok((bytes.to_vec(), None));
    }
    let config: TrustConfig = serde_json::from_slice(bytes).map_err(|e| unusable("the trust config", e))?;
    let text = |value: Box<RawValue>| value.get().as_bytes().to_vec();
    Ok((text(config.trusted_root), config.signing_config.map(text)))
}

async fn refresh<T: Transport>(
    dir: &Path,
    tuf_url: &str,
    root: Vec<u8>,
    transport: &T,
    now: Timestamp,
) -> Result<(), InstanceError> {
    let mut updater = Updater::new(transport, tuf_url, &dir.join(CACHE), root)?;
    updater.refresh(now).await?;
    let trusted_root = updater.target(TRUSTED_ROOT).await?;
    let signing_config = match updater.target(SIGNING_CONFIG).await {
        Ok(bytes) => Some(bytes),
        Err(TufError::NoSuchTarget(_)) => None,
        Err(error) => return Err(error.into()),
    };
    put_documents(dir, &trusted_root, signing_config.as_deref())?;
    // Whoever may revoke is never forgotten because a repository leaves it out: that would be how to undo everything.
    match updater.target(REVOCATION_AUTHORITY).await {
        Ok(bytes) => {
            RevocationAuthority::from_json(&bytes).map_err(|e| unusable(REVOCATION_AUTHORITY, e))?;
            Ok(file::replace(&dir.join(REVOCATION_AUTHORITY), &bytes, file::PUBLIC)?)
        }
        Err(TufError::NoSuchTarget(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the documents after checking both.
fn put_documents(
    dir: &Path,
    trusted_root: &[u8],
    signing_config: Option<&[u8]>,
) -> Result<(), InstanceError> {
    TrustedRoot::from_json(trusted_root).map_err(|e| unusable(TRUSTED_ROOT, e))?;
    if let Some(bytes) = signing_config {
        SigningConfig::from_json(bytes).map_err(|e| unusable(SIGNING_CONFIG, e))?;
    }
    file::replace(&dir.join(TRUSTED_ROOT), trusted_root, file::PUBLIC)?;
    let path = dir.join(SIGNING_CONFIG);
    match signing_config {
        Some(bytes) => file::replace(&path, bytes, file::PUBLIC)?,
        None if path.exists() => std::fs::remove_file(&path).map_err(io("remove", &path))?,
        None => {}
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), InstanceError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    if first && rest && name.len() <= 64 && name != DEFAULT {
        Ok(())
    } else {
        Err(InstanceError::Name(name.chars().take(80).collect()))
    }
}

pub(crate) fn write_description(dir: &Path, description: &Description) -> Result<(), InstanceError> {
    let text = toml::to_string(description).map_err(|e| unusable(DESCRIPTION, e))?;
    Ok(file::replace(&dir.join(DESCRIPTION), text.as_bytes(), file::PUBLIC)?)
}

pub(crate) fn read(path: &Path) -> Result<String, InstanceError> {
    let file = std::fs::File::open(path).map_err(io("open", path))?;
    let mut text = String::new();
    file.take(MAX_DOCUMENT as u64 + 1).read_to_string(&mut text).map_err(io("read", path))?;
    if text.len() > MAX_DOCUMENT {
        return Err(KeyError::TooLarge { what: path.display().to_string(), limit: MAX_DOCUMENT }.into());
    }
    Ok(text)
}

fn raw(name: &'static str, bytes: &[u8]) -> Result<Box<RawValue>, InstanceError> {
    serde_json::from_slice(bytes).map_err(|e| unusable(name, e))
}

pub(crate) fn unusable(name: &'static str, detail: impl std::fmt::Display) -> InstanceError {
    InstanceError::Document { name, detail: detail.to_string() }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_file_names() {
        for good in ["prod", "a", "0", "my-team.example_1"] {
            check_name(good).unwrap();
        }
        for bad in
            ["", ".", "..", ".x", "-x", "A", "a/b", "a\\b", "../x", "a\0", "default", "é", &"a".repeat(65)]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_absolute_directories_of_the_environment_are_used() {
        let dir = |xdg: Option<&str>, home: Option<&str>| {
            Instances::for_environment(&|name| match name {
                "XDG_CONFIG_HOME" => xdg.map(OsString::from),
                "HOME" => home.map(OsString::from),
                _ => None,
            })
            .map(|instances| instances.dir)
        };
        assert_eq!(dir(Some("/x"), Some("/h")).unwrap(), Path::new("/x/countersign/instances"));
        assert_eq!(dir(Some("x"), Some("/h")).unwrap(), Path::new("/h/.config/countersign/instances"));
        assert_eq!(dir(None, Some("/h")).unwrap(), Path::new("/h/.config/countersign/instances"));
        assert!(matches!(dir(Some(""), Some("h")), Err(InstanceError::NoHome)));
    }
}
