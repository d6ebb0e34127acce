//! What a named instance has revoked: who may say so comes with its trust root, the list from a fixed address, and the last
//! list that was seen is kept beside both.
//!
//! The kept list is the memory too: an older one, or another one under the same number, is refused.

use std::path::Path;
use std::sync::Arc;

use countersign_bundle::TrustedRoot;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::sha256;
use countersign_keys::file;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{MAX_SIGNED_LIST, Memory, RevocationAuthority, Revocations, open};
use jiff::{SignedDuration, Timestamp};

use crate::instances::{Instance, InstanceError, Instances, read, unusable};
use crate::tuf::{Transport, TransportError};

/// Who may revoke, as a target of the TUF repository and as a file.
pub const REVOCATION_AUTHORITY: &str = "revocation_authority.json";
/// The list, as a path below an instance's address and as a file.
pub const REVOCATIONS: &str = "revocations.json";
/// How old a list may be before it is fetched anew by who looks once, where the network may be used.
pub const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);
/// The same for who goes on looking: it is fetched, read and obeyed within [`FRESH_FOR`].
pub const FOLLOWED_FOR: SignedDuration = SignedDuration::from_secs(30);

impl Instance {
    /// Who may revoke for this instance; `None` when it says nothing about it, as instances made before do.
    ///
    /// # Errors
    /// [`InstanceError::File`], [`InstanceError::Document`].
    pub fn revocation_authority(&self) -> Result<Option<RevocationAuthority>, InstanceError> {
        authority(&self.dir)
    }

    /// The list that is kept; `None` when this instance has nobody who may revoke.
    ///
    /// # Errors
    /// [`InstanceError::NoRevocations`] when there is somebody and no list was ever fetched: then nobody knows what is
    /// revoked. [`InstanceError::Revocations`] for one that does not verify.
    pub fn revocations(&self, now: Timestamp) -> Result<Option<Arc<Revocations>>, InstanceError> {
        let Some(authority) = self.revocation_authority()? else { return Ok(None) };
        let path = self.dir.join(REVOCATIONS);
        if !path.exists() {
            return Err(InstanceError::NoRevocations(self.name.clone()));
        }
        let list = self.open(read(&path)?.as_bytes(), &authority, now)?;
        Ok(Some(Arc::new(list)))
    }

    /// Where the list is served; `None` for an instance that came from a file.
    #[must_use]
    pub fn revocations_url(&self) -> Option<String> {
        self.description.url.as_deref().map(url_of)
    }

    /// Whether the list should be fetched anew: there is one to be had, and the kept one is older than this.
    ///
    /// # Errors
    /// As [`Instance::revocation_authority`].
    pub fn revocations_due(&self, now: Timestamp, fresh_for: SignedDuration) -> Result<bool, InstanceError> {
        if self.description.url.is_none() || self.revocation_authority()?.is_none() {
            return Ok(false);
        }
        let checked = self.description.revocations_checked.as_deref().and_then(|text| text.parse().ok());
        let age = checked.map(|checked: Timestamp| now.duration_since(checked));
        // A time in the future says nothing.
        Ok(age.is_none_or(|age| age >= fresh_for || age.is_negative()))
    }

    fn open(
        &self,
        bytes: &[u8],
        authority: &RevocationAuthority,
        now: Timestamp,
    ) -> Result<Revocations, InstanceError> {
        let failed = |detail: String| InstanceError::Revocations { name: self.name.clone(), detail };
        let root = TrustedRoot::from_json(&self.trusted_root()?).map_err(|e| failed(e.to_string()))?;
        let material = TrustMaterial::from_trusted_root(&root).map_err(|e| failed(e.to_string()))?;
        open(bytes, authority, &material, &self.name, now).map_err(|e| failed(e.to_string()))
    }
}

impl Instances {
    /// Fetches the list of an instance and keeps it, when it is no older one. Gives nothing when the instance has nobody
    /// who may revoke.
    ///
    /// # Errors
    /// [`InstanceError::RevocationsAway`] when it cannot be fetched, [`InstanceError::Revocations`] when it does not
    /// count; the kept one stays.
    pub async fn update_revocations<T: Transport>(
        &self,
        name: &str,
        transport: &T,
        now: Timestamp,
    ) -> Result<Option<Arc<Revocations>>, InstanceError> {
        let mut instance = self.get(name)?;
        let Some(url) = instance.description.url.clone() else { return Ok(None) };
        let list = fetch(&instance, &url, transport, now).await?;
        if list.is_some() {
            instance.description.revocations_checked = Some(now.to_string());
            crate::instances::write_description(&instance.dir, &instance.description)?;
        }
        Ok(list)
    }
}

/// Where an instance at an address, or the one whose TUF repository is there, serves its list.
fn url_of(url: &str) -> String {
    format!("{}/{REVOCATIONS}", url.trim_end_matches('/').trim_end_matches("/tuf"))
}

/// Fetches, checks and keeps the list of an instance that lies in a directory, which may be one under way.
pub(crate) async fn fetch<T: Transport>(
    instance: &Instance,
    url: &str,
    transport: &T,
    now: Timestamp,
) -> Result<Option<Arc<Revocations>>, InstanceError> {
    let Some(authority) = instance.revocation_authority()? else { return Ok(None) };
    let url = url_of(url);
    let away = |detail: String| InstanceError::RevocationsAway { url: url.clone(), detail };
    let bytes = match transport.get(&url, MAX_SIGNED_LIST as u64).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(away("there is none".into())),
        Err(TransportError::TooLarge) => {
            return Err(away(format!("it has more than {MAX_SIGNED_LIST} bytes")));
        }
        Err(TransportError::Failed(detail)) => return Err(away(detail)),
    };
    let list = instance.open(&bytes, &authority, now)?;
    let seen = instance.dir.join(SEEN);
    check_seen(&seen, &instance.name, &list)?;
    // The list first: with the memory of one that is not there, the one before would be an older one.
    file::replace(&instance.dir.join(REVOCATIONS), &bytes, file::PUBLIC)?;
    keep_seen(&seen, &list)?;
    Ok(Some(Arc::new(list)))
}

/// Remembers a list that came as a file, beside the instances of this machine: of those whom these sign, the highest.
///
/// # Errors
/// [`InstanceError::Revocations`] when a higher one was seen, or another one under the same number.
pub fn remember(
    instances: &Instances,
    authority: &RevocationAuthority,
    list: &Revocations,
) -> Result<(), InstanceError> {
    let failed = |detail: String| InstanceError::Revocations { name: list.from().to_owned(), detail };
    let who = sha256(&authority.to_json().map_err(|e| failed(e.to_string()))?);
    let dir = instances.beside("revocations");
    file::create_private_dir(&dir)?;
    let path = dir.join(format!("{}.seen", hex_encode(&who)));
    check_seen(&path, list.from(), list)?;
    keep_seen(&path, list)
}

/// Whether a list may follow on the one whose number is in a file; by whomever that one was signed, since who may revoke
/// may have changed.
fn check_seen(path: &Path, name: &str, list: &Revocations) -> Result<(), InstanceError> {
    if !path.exists() {
        return Ok(());
    }
    let seen = Memory::parse(&read(path)?).and_then(|memory| memory.check(list));
    seen.map_err(|e| InstanceError::Revocations { name: name.to_owned(), detail: e.to_string() })
}

fn keep_seen(path: &Path, list: &Revocations) -> Result<(), InstanceError> {
    Ok(file::replace(path, format!("{}\n", Memory::of(list)).as_bytes(), file::PUBLIC)?)
}

/// The number and digest of the kept list.
const SEEN: &str = "revocations.seen";

fn authority(dir: &Path) -> Result<Option<RevocationAuthority>, InstanceError> {
    let path = dir.join(REVOCATION_AUTHORITY);
    if !path.exists() {
        return Ok(None);
    }
    let read = RevocationAuthority::from_json(read(&path)?.as_bytes());
    read.map(Some).map_err(|e| unusable(REVOCATION_AUTHORITY, e))
}
