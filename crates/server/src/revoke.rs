//! `countersign revoke` for an instance: its list, signed with its own key, put where the server serves it from.
//!
//! Who may revoke is told to clients by the TUF repository, so that it is as well guarded as the rest of the trust root.
//! The list is a file of its own: it changes at once, without the offline key, and beside a server that runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_clock::{Clock, Timestamp};
use countersign_crypto::Signer;
use countersign_keys::PasswordSource;
use countersign_trust::revocations::REVOCATION_AUTHORITY;
use countersign_trust::tuf::repository::TargetFile;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{Change, RevocationAuthority, RevocationList, Revocations, open, seal};
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::ServerError;
use crate::instance::create::days;
use crate::instance::{Instance, InstanceKey, paths, write_public};

/// How long a list is valid unless told otherwise. A server that runs signs it anew after half of it.
pub const VALID_DAYS: i64 = 30;
/// Held while the list is changed.
const LOCK: &str = ".revocations.lock";

/// What became of a list.
#[derive(Debug, Clone)]
pub struct RevokeReport {
    /// The list as it is now.
    pub list: RevocationList,
    /// Where it lies.
    pub path: PathBuf,
    /// Where the server serves it.
    pub url: String,
    /// Whether the instance had nobody who may revoke before: clients learn of it with their next update of the trust root.
    pub is_first: bool,
}

/// Changes the list of an instance, which may be running. An instance that has nobody yet who may revoke gets a key for it
/// and publishes it, for which the offline key is needed once.
///
/// # Errors
/// [`ServerError::Key`] when a key cannot be had, [`ServerError::Trust`] when the list that is there does not verify or
/// somebody else is changing it.
pub fn revoke(
    directory: &Path,
    change: &Change,
    valid_days: i64,
    password: Option<&Zeroizing<String>>,
    clock: &dyn Clock,
) -> Result<RevokeReport, ServerError> {
    let instance = Instance::open(directory)?;
    let source = instance.password(password);
    let now = clock.now();
    let _held = hold(&instance)?;
    let is_first = !InstanceKey::Revocation.public(&instance.directory).exists();
    if is_first {
        introduce(&instance, &source, now)?;
    }
    let list = change_held(&instance, change, valid_days, &source, now)?;
    Ok(RevokeReport {
        list,
        path: instance.directory.join(paths::REVOCATIONS),
        url: format!("{}/{}", instance.config.base_url(), paths::REVOCATIONS),
        is_first,
    })
}

/// The list of an instance; `None` when it has none yet.
///
/// # Errors
/// [`ServerError::Trust`] when it does not verify.
pub fn list(directory: &Path) -> Result<Option<Revocations>, ServerError> {
    current(&Instance::open(directory)?)
}

/// Who may revoke, and the signed list, as both are published.
pub(crate) struct Published {
    pub(crate) authority: Vec<u8>,
    pub(crate) list: Vec<u8>,
}

/// What an instance has published; `None` when it has no list yet. It is not verified here.
pub(crate) fn published(directory: &Path) -> Result<Option<Published>, ServerError> {
    let instance = Instance::open(directory)?;
    let path = instance.directory.join(paths::REVOCATIONS);
    if !path.exists() {
        return Ok(None);
    }
    let list = std::fs::read(&path).map_err(|e| ServerError::File { path, message: e.to_string() })?;
    let authority = authority(&instance)?.to_json().map_err(|e| ServerError::Trust(e.to_string()))?;
    Ok(Some(Published { authority, list }))
}

/// The file by which clients learn who may revoke.
pub(crate) fn authority_target(instance: &Instance) -> Result<TargetFile, ServerError> {
    let json = authority(instance)?.to_json().map_err(|e| ServerError::Trust(e.to_string()))?;
    Ok(TargetFile::new(REVOCATION_AUTHORITY, json))
}

/// The first list of a new instance, with nothing in it.
pub(crate) fn begin(
    instance: &Instance,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<(), ServerError> {
    change_held(instance, &Change::Renew(1), VALID_DAYS, password, now).map(drop)
}

/// Publishes another key than before, and signs the list with it that was signed with the old one.
pub(crate) fn rotate_to(
    instance: &Instance,
    old: &RevocationList,
    keyring: &[Arc<dyn Signer>],
    password: &PasswordSource,
    now: Timestamp,
) -> Result<(), ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Trust(e.to_string());
    let expires = days(now, VALID_DAYS)?;
    let list = RevocationList::following(Some(old), &Change::Renew(0), now, expires).map_err(|e| bad(&e))?;
    let target = authority_target(instance)?;
    instance.repository(now)?.publish(&[target], &[], keyring, now).map_err(|e| bad(&e))?;
    write(instance, &list, password)
}

/// Signs the list anew when half of its time is over.
pub(crate) fn renew_if_due(
    instance: &Instance,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<(), ServerError> {
    let due = |list: &RevocationList| {
        let life = list.expires.duration_since(list.issued_at);
        list.expires.duration_since(now) <= life.checked_div(2).unwrap_or(SignedDuration::ZERO)
    };
    if !current(instance)?.is_some_and(|list| due(list.list())) {
        return Ok(());
    }
    let _held = hold(instance)?;
    // Somebody may have been faster.
    let Some(list) = current(instance)?.filter(|list| due(list.list())) else { return Ok(()) };
    let life = list.list().expires.duration_since(list.list().issued_at);
    let valid_days = (life.as_hours() / 24).max(1);
    change_held(instance, &Change::Renew(0), valid_days, password, now).map(drop)
}

/// Nobody else changes the list while this is held.
fn hold(instance: &Instance) -> Result<File, ServerError> {
    let path = instance.directory.join(LOCK);
    let failed = |message: String| ServerError::File { path: path.clone(), message };
    let file = File::create(&path).map_err(|e| failed(e.to_string()))?;
    // Whoever holds it signs one list; nobody has to try again for that.
    file.lock().map_err(|e| failed(e.to_string()))?;
    Ok(file)
}

fn authority(instance: &Instance) -> Result<RevocationAuthority, ServerError> {
    let key = InstanceKey::Revocation.load_public(&instance.directory)?;
    RevocationAuthority::new(&[key], &[]).map_err(|e| ServerError::Trust(e.to_string()))
}

fn current(instance: &Instance) -> Result<Option<Revocations>, ServerError> {
    let path = instance.directory.join(paths::REVOCATIONS);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |message: String| ServerError::File { path: path.clone(), message };
    let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
    // By the instance's own key: nobody else's word is needed.
    let (nobody, any_time) = (TrustMaterial::empty(), Timestamp::MAX);
    open(&bytes, &authority(instance)?, &nobody, "this instance", any_time).map(Some).map_err(|e| {
        failed(format!(
            "{e}; restore it from a backup: a list that begins anew is refused by who knows this one"
        ))
    })
}

/// Makes the key and publishes it.
fn introduce(instance: &Instance, password: &PasswordSource, now: Timestamp) -> Result<(), ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Trust(e.to_string());
    // Better to miss it before anything is made.
    let offline = instance.load_key(InstanceKey::TufRoot, password)?;
    let online = instance.load_key(InstanceKey::TufOnline, password)?;
    instance.create_key(InstanceKey::Revocation, password)?;
    let published = authority_target(instance).and_then(|target| {
        // The list is there before anybody looks for it.
        begin(instance, password, now)?;
        instance.repository(now)?.publish(&[target], &[], &[offline, online], now).map_err(|e| bad(&e))
    });
    if published.is_err() && instance.reference(InstanceKey::Revocation).is_none() {
        // Ours, made a moment ago: with it the next attempt would take the key for published.
        let key = InstanceKey::Revocation;
        let made = [key.private(&instance.directory), key.public(&instance.directory)];
        made.iter().chain([&instance.directory.join(paths::REVOCATIONS)]).for_each(|path| {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "not removed");
            }
        });
    }
    published
}

fn change_held(
    instance: &Instance,
    change: &Change,
    valid_days: i64,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<RevocationList, ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Trust(e.to_string());
    let old = current(instance)?;
    let old = old.as_ref().map(Revocations::list);
    let list = RevocationList::following(old, change, now, days(now, valid_days)?).map_err(|e| bad(&e))?;
    write(instance, &list, password)?;
    Ok(list)
}

fn write(instance: &Instance, list: &RevocationList, password: &PasswordSource) -> Result<(), ServerError> {
    let signer = instance.load_key(InstanceKey::Revocation, password)?;
    let sealed = seal(list, signer.as_ref()).map_err(|e| ServerError::Trust(e.to_string()))?;
    write_public(&instance.directory.join(paths::REVOCATIONS), &sealed)
}
