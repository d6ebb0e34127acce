//! `countersign rotate`: a new key for one of the services, so that what was signed with the old one stays valid.
//!
//! The order is: put the old key and certificate away, make the new ones in their place, publish a trust root that knows
//! both. A step that fails puts everything back. A server that runs lets go of the instance meanwhile and keeps its clients
//! waiting (`handover`), so nothing is refused, and nothing is signed with a key that is not published yet. When
//! the process is ended before it publishes, whoever opens the instance next puts everything back (`moves`); when it is
//! ended in between, `doctor` says so, and rotating once more heals it. A log past one machine is not moved away but ended
//! where it is (`succession`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_clock::{Clock, Timestamp};
use countersign_crypto::Signer;
use countersign_keys::{KeyRef, PasswordSource};
use countersign_log::{Log, LogError, Options};
use countersign_trust::documents::{self, Window};
use countersign_trust::tuf::repository::{Role as TufRole, Roles};
use zeroize::Zeroizing;

use crate::ServerError;
use crate::config::{self, FILE_NAME};
use crate::handover::Handover;
use crate::instance::{Instance, InstanceKey, create, paths};
use crate::moves::{self, Moves};
use crate::store::{Store, names};
use crate::succession::Succession;
use crate::{retired, revoke};

/// What to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The issuing key and certificate; the root stays.
    Ca,
    /// The CT log: a new log with a new key.
    Ct,
    /// The timestamp authority's key and certificate; its root stays.
    Tsa,
    /// The transparency log: a new log with a new key.
    Log,
    /// The log of Rekor v1: a new tree with a new key. An instance that has no such log gets one.
    LogV1,
    /// TUF's keys: both, with the root signed by the old and the new one.
    Tuf,
    /// The key of revocation lists; the list goes on, signed with the new one.
    Revocation,
}

impl Target {
    /// What is replaced.
    const fn keys(self) -> &'static [InstanceKey] {
        match self {
            Self::Ca => &[InstanceKey::Ca],
            Self::Ct => &[InstanceKey::Ct],
            Self::Tsa => &[InstanceKey::Tsa],
            Self::Log => &[InstanceKey::Log],
            Self::LogV1 => &[InstanceKey::LogV1],
            Self::Tuf => &[InstanceKey::TufRoot, InstanceKey::TufOnline],
            Self::Revocation => &[InstanceKey::Revocation],
        }
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "ca" => Ok(Self::Ca),
            "ct" => Ok(Self::Ct),
            "tsa" => Ok(Self::Tsa),
            "log" => Ok(Self::Log),
            "log-v1" => Ok(Self::LogV1),
            "tuf" => Ok(Self::Tuf),
            "revocation" => Ok(Self::Revocation),
            other => Err(format!("expected ca, ct, tsa, log, log-v1, tuf or revocation, found \"{other}\"")),
        }
    }
}

/// Where new keys are to live, when not in files of the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewKeys {
    /// The key that is replaced; of [`Target::Tuf`], the one of snapshot and timestamp.
    pub key: Option<KeyRef>,
    /// Of [`Target::Tuf`], the one of root and targets.
    pub root_key: Option<KeyRef>,
}

impl NewKeys {
    fn of(&self, key: InstanceKey) -> Option<&KeyRef> {
        if key == InstanceKey::TufRoot { self.root_key.as_ref() } else { self.key.as_ref() }
    }

    /// A key that lives elsewhere has no successor by itself; better to say so before anything moves.
    fn check(&self, instance: &Instance, keys: &[InstanceKey]) -> Result<(), ServerError> {
        for key in keys {
            let option = if *key == InstanceKey::TufRoot { "--root-key" } else { "--key" };
            let message = match (instance.reference(*key), self.of(*key)) {
                (Some(_), None) => format!("lives outside of the instance: name its successor with {option}"),
                (Some(old), Some(new)) if old == *new => {
                    format!("is the key to be replaced: name another one with {option}")
                }
                _ => continue,
            };
            return Err(ServerError::Key { path: instance.place(*key), message });
        }
        if self.root_key.is_some() && !keys.contains(&InstanceKey::TufRoot) {
            return Err(ServerError::Trust("--root-key: expected with `rotate tuf` only".into()));
        }
        Ok(())
    }
}

/// What a rotation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotateReport {
    /// Where the old key and, of a log, the old tree were put; nowhere when there was none.
    pub retired: Option<PathBuf>,
    /// Where the old log stays readable, when a log was rotated.
    pub readable_at: Option<String>,
    /// SHA-256 of the new public key, in hexadecimal.
    pub fingerprint: String,
    /// Whether a server was running, and goes on with the new key.
    pub served: bool,
    /// Whether the logs lie past one machine, so that others need the instance's directory as it is now.
    pub past_one_machine: bool,
}

/// Rotates one key of an instance. A server that runs it lets go of it, and goes on afterwards.
///
/// # Errors
/// [`ServerError::File`] when another rotation is under way or a server does not let go, [`ServerError::Log`] when a
/// process does not that cannot be asked, [`ServerError::Key`] when an offline key that is needed is not
/// there, and whatever goes wrong with certificates, logs and the TUF repository. The old keys are in place again then.
pub fn rotate(
    directory: &Path,
    target: Target,
    new: &NewKeys,
    password: Option<&Zeroizing<String>>,
    clock: &Arc<dyn Clock>,
) -> Result<RotateReport, ServerError> {
    moves::heal(directory)?;
    let instance = Instance::open(directory)?;
    let source = instance.password(password);
    new.check(&instance, target.keys())?;
    // What can be missing is missed before a server is asked for anything, and the password's work is done.
    instance.load_key(InstanceKey::TufRoot, &source)?;
    if target.keys().iter().any(|key| key.log().is_some()) {
        Store::of(&instance)?;
    }
    // Both held to the end: a server that starts meanwhile must not sign with a key that is being retired.
    let handover = Handover::take(directory)?;
    // Another rotation may have ended a moment ago.
    let instance = Instance::open(directory)?;
    let tuf_root = instance.load_key(InstanceKey::TufRoot, &source)?;
    let mut held = hold_logs(&instance, &source, clock)?;
    let done = rotate_held(&instance, target, new, &source, &tuf_root, clock, &mut held);
    // Their locks are free when this returns, and not a moment later: whoever starts the server next may be quick.
    let ended = held.iter().try_for_each(|(_, log)| end(log));
    done.and_then(|report| {
        ended.map(|()| RotateReport {
            served: handover.from_server,
            past_one_machine: instance.config.store.is_some(),
            ..report
        })
    })
}

fn rotate_held(
    instance: &Instance,
    target: Target,
    new: &NewKeys,
    source: &PasswordSource,
    tuf_root: &Arc<dyn Signer>,
    clock: &Arc<dyn Clock>,
    held: &mut Vec<(InstanceKey, Log)>,
) -> Result<RotateReport, ServerError> {
    let now = clock.now();
    let directory = &instance.directory;
    let [key] = *target.keys() else {
        return rotate_tuf(instance, target.keys(), new, source, tuf_root, now);
    };
    if key == InstanceKey::Revocation {
        return rotate_revocation(instance, new, source, tuf_root, now);
    }
    if key == InstanceKey::LogV1 && !instance.config.log.rekor_v1 {
        return begin_log_v1(instance, new, source, tuf_root, now);
    }
    // A log that is moved must not be writing: it would write into the place of its successor. The other one stays
    // held, and without it no server starts.
    if let Some(at) = held.iter().position(|(held, _)| *held == key) {
        let (_, log) = held.swap_remove(at);
        end(&log)?;
    }
    let retired = retired_directory(instance, target, now)?;
    let readable_at = key.log().map(|_| {
        let name = retired.file_name().unwrap_or_default().to_string_lossy();
        retired::address(&instance.config.base_url(), &name)
    });
    let succession = Succession::begin(instance, key, source, clock)?;
    let mut moves = Moves::begin(directory);
    let mut steps = || {
        let instance = renew(instance, key, new, &retired, source, &mut moves)?;
        if let Some((_, place)) = key.log() {
            moves.rename(&directory.join(place), &retired.join("tree"))?;
            succession.as_ref().map_or(Ok(()), Succession::succeed)?;
        }
        replace(&instance, key, &retired, source, now, &mut moves)?;
        moves.publishing()?;
        publish(&instance, source, tuf_root, readable_at.as_deref(), now)
    };
    let done = steps();
    if let Err(e) = done {
        moves.undo();
        if let Some(succession) = succession {
            succession.undo();
        }
        return Err(e);
    }
    let public = key.load_public(directory)?;
    let fingerprint = countersign_crypto::encoding::hex_encode(&public.fingerprint());
    Ok(RotateReport { retired: Some(retired), readable_at, fingerprint, ..RotateReport::default() })
}

/// Gives an instance the log of Rekor v1 that it did not have. What fails leaves it without one.
fn begin_log_v1(
    instance: &Instance,
    new: &NewKeys,
    password: &PasswordSource,
    tuf_root: &Arc<dyn Signer>,
    now: Timestamp,
) -> Result<RotateReport, ServerError> {
    let key = InstanceKey::LogV1;
    let directory = &instance.directory;
    let (tree, path) = (directory.join(paths::LOG_V1), directory.join(FILE_NAME));
    let own = [key.private(directory), key.public(directory)];
    if let Some(found) = own.iter().chain([&tree]).find(|path| path.exists()) {
        return Err(ServerError::File {
            path: found.clone(),
            message:
                "there was a log of Rekor v1 here, and it is switched off: set rekor_v1 = true in [log] of \
                      countersign.toml, or move its key and its tree away"
                    .into(),
        });
    }
    let before = std::fs::read(&path)
        .map_err(|e| ServerError::File { path: path.clone(), message: format!("cannot be read: {e}") })?;
    let steps = || {
        if let Some(reference) = new.of(key) {
            config::set_key(&path, key, reference)?;
        }
        config::set_rekor_v1(&path)?;
        let instance = Instance::open(directory)?;
        instance.create_key(key, password)?;
        if instance.config.store.is_some() {
            // What a run before this one left in the store under its name is of another key.
            names::write(&tree, names::NAME, &names::fresh(paths::LOG_V1, now)?)?;
        }
        create::make_log_v1(&instance, password, now)?;
        publish(&instance, password, tuf_root, None, now)?;
        key.load_public(directory)
    };
    let public = steps().inspect_err(|_| {
        // Ours, made a moment ago; the error that matters is the first one.
        let _ = std::fs::remove_dir_all(&tree);
        own.iter().for_each(|path| drop(std::fs::remove_file(path)));
        let _ = crate::instance::write_public(&path, &before);
    })?;
    let fingerprint = countersign_crypto::encoding::hex_encode(&public.fingerprint());
    Ok(RotateReport { fingerprint, ..RotateReport::default() })
}

/// Opens the logs in the instance's directory, which nobody else can while we do. Of those past one machine only the one
/// that is rotated out is touched: see [`Succession`].
fn hold_logs(
    instance: &Instance,
    password: &PasswordSource,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(InstanceKey, Log)>, ServerError> {
    let mut held = Vec::new();
    if instance.config.store.is_some() {
        return Ok(held);
    }
    let both = [("transparency", paths::LOG, InstanceKey::Log), ("CT", paths::CT, InstanceKey::Ct)];
    let v1 = instance.config.log.rekor_v1.then_some(("Rekor v1", paths::LOG_V1, InstanceKey::LogV1));
    for (name, sub, key) in both.into_iter().chain(v1) {
        let signer = instance.load_key(key, password)?;
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let log = Log::open(&instance.directory.join(sub), options, vec![signer], Arc::clone(clock))
            .map_err(|e| {
                let hint = match e {
                    LogError::LockedBy { .. } => "; stop the server, rotate, and start it again",
                    _ => "",
                };
                ServerError::Log { log: name, message: format!("{e}{hint}") }
            })?;
        held.push((key, log));
    }
    Ok(held)
}

/// Waits until a log has written what it has to write and stopped. On a thread of its own, because the caller may or may
/// not be inside a runtime.
pub(crate) fn end(log: &Log) -> Result<(), ServerError> {
    let failed = |message: String| ServerError::Log { log: "retiring", message };
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(log.shutdown());
            Ok::<(), std::io::Error>(())
        });
        ending
            .join()
            .map_err(|_| failed("it could not be stopped".into()))?
            .map_err(|e| failed(e.to_string()))
    })
}

fn retired_directory(instance: &Instance, target: Target, now: Timestamp) -> Result<PathBuf, ServerError> {
    let name = format!("{target:?}-{}", now.strftime("%Y%m%dT%H%M%SZ")).to_lowercase();
    let all = instance.directory.join(retired::RETIRED);
    let path = all.join(name);
    countersign_keys::file::create_private_dir(&all)
        .and_then(|()| countersign_keys::file::create_private_dir(&path))
        .map_err(|e| ServerError::File { path: path.clone(), message: e.to_string() })?;
    Ok(path)
}

/// Puts a new key into the place of an old one: its files away, its new home into the configuration. Gives the instance
/// with that configuration.
fn renew(
    instance: &Instance,
    key: InstanceKey,
    new: &NewKeys,
    retired: &Path,
    password: &PasswordSource,
    moves: &mut Moves,
) -> Result<Instance, ServerError> {
    let directory = &instance.directory;
    let old = key.load_public(directory)?;
    for path in [key.private(directory), key.public(directory)] {
        // The private half of a key that lives elsewhere is not here.
        if path.exists() {
            let name = path.file_name().unwrap_or_default();
            moves.rename(&path, &retired.join(name))?;
        }
    }
    if let Some(reference) = new.of(key) {
        let path = directory.join(FILE_NAME);
        let kept = retired.join(format!("{}-{FILE_NAME}", key.name()));
        moves.copy(&path, &kept)?;
        config::set_key(&path, key, reference)?;
    }
    let instance = Instance::open(directory)?;
    instance.create_key(key, password)?;
    if key.load_public(directory)? == old {
        let message = "is the key to be replaced, under another reference".to_owned();
        return Err(ServerError::Key { path: instance.place(key), message });
    }
    Ok(instance)
}

/// What a new key is for: new certificates, or a new log.
fn replace(
    instance: &Instance,
    key: InstanceKey,
    retired: &Path,
    password: &PasswordSource,
    now: Timestamp,
    moves: &mut Moves,
) -> Result<(), ServerError> {
    let directory = &instance.directory;
    let organization = &instance.config.organization;
    match key {
        InstanceKey::Ca => {
            let root = instance.load_key(InstanceKey::CaRoot, password)?;
            let old = instance.chain(paths::CA_CHAIN)?.pop();
            moves.copy(&directory.join(paths::CA_CHAIN), &retired.join("ca-chain.pem"))?;
            create::make_ca_chain(directory, organization, root.as_ref(), now, old)
        }
        InstanceKey::Tsa => {
            let root = instance.load_key(InstanceKey::TsaRoot, password)?;
            let old = instance.chain(paths::TSA_CHAIN)?.pop();
            moves.copy(&directory.join(paths::TSA_CHAIN), &retired.join("tsa-chain.pem"))?;
            create::make_tsa_chain(directory, organization, root.as_ref(), now, old)
        }
        InstanceKey::Log => create::make_transparency_log(instance, now),
        InstanceKey::LogV1 => create::make_log_v1(instance, password, now),
        InstanceKey::Ct => create::make_ct_log(instance, now),
        _ => Err(ServerError::Trust("this key has a rotation of its own".into())),
    }
}

/// Publishes a trust root which knows the old and the new. A log that has just been retired is named by the address at
/// which it stays readable; its host name, which is the log's own name, is the same.
fn publish(
    instance: &Instance,
    password: &PasswordSource,
    tuf_root: &Arc<dyn Signer>,
    readable_at: Option<&str>,
    now: Timestamp,
) -> Result<(), ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Trust(e.to_string());
    let repository = instance.repository(now)?;
    let read = |name: &str| repository.target(name, now).map_err(|e| bad(&e));
    let old_root =
        countersign_bundle::TrustedRoot::from_json(&read("trusted_root.json")?).map_err(|e| bad(&e))?;
    let old_config = countersign_bundle::SigningConfig::from_json(&read("signing_config.v0.2.json")?)
        .map_err(|e| bad(&e))?;
    let description = instance.description()?;
    // The old key may have signed up to this second; the new one from this second on.
    let window = Window { starts: now, retires: now };
    let mut root = documents::rotate_trusted_root(&old_root, &description, window).map_err(|e| bad(&e))?;
    if let Some(address) = readable_at {
        for (logs, url) in
            [(&mut root.tlogs, &description.log.url), (&mut root.ctlogs, &description.ct_log.url)]
        {
            for log in logs.iter_mut().filter(|l| l.base_url == *url && l.public_key.valid_for.end.is_some())
            {
                address.clone_into(&mut log.base_url);
            }
        }
    }
    let config = documents::rotate_signing_config(&old_config, &description, window).map_err(|e| bad(&e))?;
    let targets = documents::targets(&root, &config).map_err(|e| bad(&e))?;
    let online = instance.load_key(InstanceKey::TufOnline, password)?;
    repository.publish(&targets, &[], &[Arc::clone(tuf_root), online], now).map_err(|e| bad(&e))
}

/// What was revoked stays revoked: the list is read with the old key and signed with the new one.
fn rotate_revocation(
    instance: &Instance,
    new: &NewKeys,
    password: &PasswordSource,
    tuf_root: &Arc<dyn Signer>,
    now: Timestamp,
) -> Result<RotateReport, ServerError> {
    let list = revoke::list(&instance.directory)?.ok_or_else(|| {
        let message =
            "there is no revocation list yet, and no key to replace: `countersign revoke` makes both";
        ServerError::Trust(message.into())
    })?;
    let online = instance.load_key(InstanceKey::TufOnline, password)?;
    let retired = retired_directory(instance, Target::Revocation, now)?;
    let mut moves = Moves::begin(&instance.directory);
    let renewed = renew(instance, InstanceKey::Revocation, new, &retired, password, &mut moves);
    let done = renewed.and_then(|instance| {
        moves.publishing()?;
        revoke::rotate_to(&instance, list.list(), &[Arc::clone(tuf_root), online], password, now)
    });
    if let Err(e) = done {
        moves.undo();
        return Err(e);
    }
    let public = InstanceKey::Revocation.load_public(&instance.directory)?;
    let fingerprint = countersign_crypto::encoding::hex_encode(&public.fingerprint());
    Ok(RotateReport { retired: Some(retired), fingerprint, ..RotateReport::default() })
}

fn rotate_tuf(
    instance: &Instance,
    keys: &[InstanceKey],
    new: &NewKeys,
    password: &PasswordSource,
    old_root: &Arc<dyn Signer>,
    now: Timestamp,
) -> Result<RotateReport, ServerError> {
    let old_online = instance.load_key(InstanceKey::TufOnline, password)?;
    let repository = instance.repository(now)?;
    let retired = retired_directory(instance, Target::Tuf, now)?;
    let mut moves = Moves::begin(&instance.directory);
    let mut steps = || {
        for key in keys {
            renew(instance, *key, new, &retired, password, &mut moves)?;
        }
        let renewed = Instance::open(&instance.directory)?;
        let new_root = renewed.load_key(InstanceKey::TufRoot, password)?;
        let new_online = renewed.load_key(InstanceKey::TufOnline, password)?;
        let roles =
            Roles::offline_and_online(TufRole::single(new_root.public_key()), new_online.public_key());
        let fingerprint = new_root.public_key().fingerprint();
        moves.publishing()?;
        repository
            .update_root(&roles, &[Arc::clone(old_root), Arc::clone(&old_online), new_root, new_online], now)
            .map_err(|e| ServerError::Trust(e.to_string()))?;
        Ok(countersign_crypto::encoding::hex_encode(&fingerprint))
    };
    match steps() {
        Ok(fingerprint) => {
            Ok(RotateReport { retired: Some(retired), fingerprint, ..RotateReport::default() })
        }
        Err(e) => {
            moves.undo();
            Err(e)
        }
    }
}
