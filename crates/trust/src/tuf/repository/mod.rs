//! The publisher's side: a TUF repository in a directory, ready to be served as it lies there.
//!
//! ```text
//! N.root.json       every root ever signed      root.json       a copy of the newest
//! timestamp.json    what clients ask for first
//! N.snapshot.json   N.targets.json              targets/<sha256>.<name>
//! ```
//!
//! Every operation takes the repository's lock, reads and verifies what is there, signs in memory, checks the
//! result with the client's own rules ([`TrustedMetadata`]), and only then writes: first the files nobody asks
//! for yet, the timestamp last. A change of several files goes through a journal, so that a crash leaves the
//! old state or the new one.
//!
//! Keys come as one ring of signers; each operation takes those it needs and names what is missing. Usually
//! root and targets are signed by keys kept offline, snapshot and timestamp by a key the server holds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Signer, encoding, sha256};
use countersign_keys::{KeyError, file};
use jiff::Timestamp;

use super::json::{Json, Object};
use super::metadata::{Key, Root, Signed, Snapshot, TargetInfo, Targets, short};
use super::trusted::{ExpiryRule, TrustedMetadata};
use super::{TufError, pattern};

mod parts;
mod signing;

pub use parts::{Lifetimes, Role, RoleStatus, Roles, TargetFile};
use signing::{
    can_sign, common, date, meta_file, object_member, requirements_of, root_members, sign, sign_role,
};

const JOURNAL: &str = ".pending.json";
const LOCK: &str = ".lock";

/// Signers at hand, in no order. Each operation picks those whose keys the role lists.
pub type Keyring<'a> = &'a [Arc<dyn Signer>];

/// A TUF repository in a directory.
///
/// ```
/// use std::sync::Arc;
/// use countersign_crypto::{KeyPair, KeyType, Signer};
/// use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
/// let dir = tempfile::tempdir()?;
/// let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let offline: Arc<dyn Signer> = Arc::new(KeyPair::generate(KeyType::EcdsaP256)?);
/// let online: Arc<dyn Signer> = Arc::new(KeyPair::generate(KeyType::EcdsaP256)?);
/// let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
/// let target = TargetFile::new("trusted_root.json", "{}");
/// let repository = Repository::create(
///     dir.path(), &roles, Lifetimes::default(), &[offline, online.clone()], &[target], now,
/// )?;
/// repository.refresh(&[online], now)?; // every hour, with the online key alone
/// assert_eq!(repository.target("trusted_root.json", now)?, b"{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Repository {
    dir: PathBuf,
    lifetimes: Lifetimes,
}

/// What is published now, verified.
struct State {
    trusted: TrustedMetadata,
    root: Vec<u8>,
    timestamp: Vec<u8>,
    snapshot: Vec<u8>,
    targets: Vec<u8>,
}

/// What will be published, as far as it changes.
#[derive(Default)]
struct Draft {
    root: Option<Vec<u8>>,
    timestamp: Option<Vec<u8>>,
    snapshot: Option<Vec<u8>>,
    targets: Option<Vec<u8>>,
}

impl Repository {
    /// Makes a repository in a directory that has none, and publishes the first targets.
    ///
    /// # Errors
    /// [`TufError::Repository`] when there is one already or the roles make no sense, [`TufError::Signers`] when
    /// a key is missing from the ring, [`TufError::File`].
    pub fn create(
        dir: &Path,
        roles: &Roles,
        lifetimes: Lifetimes,
        keyring: Keyring<'_>,
        targets: &[TargetFile],
        now: Timestamp,
    ) -> Result<Self, TufError> {
        let repository = Self { dir: dir.to_owned(), lifetimes };
        std::fs::create_dir_all(dir.join("targets")).map_err(io("create", dir))?;
        let _lock = repository.lock()?;
        if dir.join("1.root.json").exists() || dir.join(JOURNAL).exists() {
            return Err(TufError::Repository(format!("there is a repository in {} already", dir.display())));
        }
        let (keys, role_keys) = roles.to_json()?;
        let root = root_members(1, date(now, lifetimes.root)?, keys, role_keys);
        let root = sign("root", root, keyring, &requirements_of(roles, "root")?)?;
        let parsed = Signed::<Root>::parse(&root)?.content;

        let mut listed = Object::new();
        repository.put_targets(&mut listed, targets)?;
        let targets = repository.sign_targets(&parsed, Object::new(), listed, 1, keyring, now)?;
        let snapshot = repository.sign_snapshot(&parsed, Object::new(), &targets, 1, 1, keyring, now)?;
        let timestamp = repository.sign_timestamp(&parsed, &snapshot, 1, 1, keyring, now)?;
        let mut check = TrustedMetadata::new(&root, now, ExpiryRule::Refuse)?;
        check.update_timestamp(&timestamp)?;
        check.update_snapshot(&snapshot)?;
        check.update_targets(&targets)?;
        repository.write(&[
            ("1.targets.json".into(), targets),
            ("1.snapshot.json".into(), snapshot),
            ("1.root.json".into(), root.clone()),
            ("timestamp.json".into(), timestamp),
            ("root.json".into(), root),
        ])?;
        Ok(repository)
    }

    /// Opens a repository and verifies all of it. Metadata past its date is no error here: it is what the
    /// publisher comes to renew.
    ///
    /// # Errors
    /// [`TufError`] naming the file that does not verify.
    pub fn open(dir: &Path, lifetimes: Lifetimes, now: Timestamp) -> Result<Self, TufError> {
        let repository = Self { dir: dir.to_owned(), lifetimes };
        let _lock = repository.lock()?;
        repository.load(now)?;
        Ok(repository)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The metadata published now, verified from the first root on; dates are noted, not enforced.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn trusted(&self, now: Timestamp) -> Result<TrustedMetadata, TufError> {
        let _lock = self.lock()?;
        Ok(self.load(now)?.trusted)
    }

    /// Version and date of each role, for alarms before something expires.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn status(&self, now: Timestamp) -> Result<Vec<RoleStatus>, TufError> {
        let trusted = self.trusted(now)?;
        let root = trusted.root();
        let mut status = vec![RoleStatus { role: "root", version: root.version, expires: root.expires }];
        if let Some(m) = trusted.targets("targets") {
            status.push(RoleStatus { role: "targets", version: m.version, expires: m.expires });
        }
        if let Some(m) = trusted.snapshot() {
            status.push(RoleStatus { role: "snapshot", version: m.version, expires: m.expires });
        }
        if let Some(m) = trusted.timestamp() {
            status.push(RoleStatus { role: "timestamp", version: m.version, expires: m.expires });
        }
        Ok(status)
    }

    /// The newest root, as clients are given it to begin with. Its SHA-256 is the fingerprint people compare.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn root_json(&self, now: Timestamp) -> Result<Vec<u8>, TufError> {
        let _lock = self.lock()?;
        Ok(self.load(now)?.root)
    }

    /// The content of a published target, checked against the metadata.
    ///
    /// # Errors
    /// [`TufError::NoSuchTarget`], [`TufError::Mismatch`].
    pub fn target(&self, name: &str, now: Timestamp) -> Result<Vec<u8>, TufError> {
        let trusted = self.trusted(now)?;
        let missing = || TufError::NoSuchTarget(short(name));
        let info: &TargetInfo = trusted
            .targets("targets")
            .and_then(|targets| targets.content.targets.get(name))
            .ok_or_else(missing)?;
        pattern::target_path(name)?;
        let bytes = self
            .read(&format!("targets/{}.{name}", info.hashes.prefix()))?
            .ok_or_else(|| TufError::NotFound(short(name)))?;
        info.check(name, &bytes)?;
        Ok(bytes)
    }

    /// The file a client asks for by its path under the repository's address, such as `3.targets.json`. Paths
    /// that no client of TUF asks for have no file.
    ///
    /// # Errors
    /// [`TufError::File`] when the file is there and cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TufError> {
        let plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'%' | b'~'))
        };
        let served = match path.split_once('/') {
            Some(("targets", name)) => plain(name),
            Some(_) => false,
            None => plain(path) && path.ends_with(".json"),
        };
        if !served {
            return Ok(None);
        }
        let path = self.dir.join(path);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io("read", &path)(e)),
        }
    }

    /// Signs the timestamp anew, and the snapshot too when a third or less of its time is left and the ring has
    /// its keys. The server calls this every hour.
    ///
    /// # Errors
    /// [`TufError::Signers`], [`TufError`].
    pub fn refresh(&self, keyring: Keyring<'_>, now: Timestamp) -> Result<(), TufError> {
        let _lock = self.lock()?;
        let state = self.load(now)?;
        let root = &state.trusted.root().content;
        let mut draft = Draft::default();
        let due = state.trusted.snapshot().is_some_and(|s| {
            let left = s.expires.duration_since(now);
            left.as_secs() <= self.lifetimes.snapshot.as_secs() / 3
        });
        if due && can_sign(keyring, &root.keys, root.role("snapshot")?) {
            draft.snapshot = Some(self.next_snapshot(&state, root, &state.targets, keyring, now)?);
        }
        self.next_timestamp(&state, root, &mut draft, keyring, now)?;
        self.commit(&state, draft, now)
    }

    /// Publishes files and withdraws others. With neither, the targets are signed anew with a new date.
    ///
    /// # Errors
    /// [`TufError::Signers`], [`TufError::UnsafeName`], [`TufError::NoSuchTarget`] for a name to withdraw which
    /// is not published.
    pub fn publish(
        &self,
        put: &[TargetFile],
        remove: &[&str],
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<(), TufError> {
        let _lock = self.lock()?;
        let state = self.load(now)?;
        let root = &state.trusted.root().content;
        let (version, members) = state
            .trusted
            .targets("targets")
            .map(|t| (t.version, t.members.clone()))
            .ok_or(TufError::Order("targets before their snapshot"))?;
        let mut listed = object_member(&members, "targets");
        for name in remove {
            listed.remove(*name).ok_or_else(|| TufError::NoSuchTarget((*name).to_owned()))?;
        }
        self.put_targets(&mut listed, put)?;
        let targets = self.sign_targets(root, members, listed, version.saturating_add(1), keyring, now)?;
        let mut draft = Draft {
            snapshot: Some(self.next_snapshot(&state, root, &targets, keyring, now)?),
            targets: Some(targets),
            ..Draft::default()
        };
        self.next_timestamp(&state, root, &mut draft, keyring, now)?;
        self.commit(&state, draft, now)
    }

    /// Publishes a new root: other keys or thresholds, or the same with a new date. The ring needs the threshold
    /// of the old root keys, of the new ones, and of every other role that changes, since that role's metadata
    /// is signed anew in the same step.
    ///
    /// # Errors
    /// [`TufError::Signers`] before anything is written, [`TufError`].
    pub fn update_root(&self, roles: &Roles, keyring: Keyring<'_>, now: Timestamp) -> Result<(), TufError> {
        let _lock = self.lock()?;
        let state = self.load(now)?;
        let old = state.trusted.root();
        let (keys, role_keys) = roles.to_json()?;
        let members =
            root_members(old.version.saturating_add(1), date(now, self.lifetimes.root)?, keys, role_keys);
        let mut required = requirements_of(roles, "root")?;
        required.push((old.content.keys.clone(), old.content.role("root")?.clone()));
        let bytes = sign("root", members, keyring, &required)?;
        let new = Signed::<Root>::parse(&bytes)?.content;

        let changed = |role: &str| !new.same_role(&old.content, role);
        let mut draft = Draft { root: Some(bytes), ..Draft::default() };
        if changed("targets") {
            let (version, members) = state
                .trusted
                .targets("targets")
                .map(|t| (t.version, t.members.clone()))
                .ok_or(TufError::Order("targets before their snapshot"))?;
            let listed = object_member(&members, "targets");
            draft.targets =
                Some(self.sign_targets(&new, members, listed, version.saturating_add(1), keyring, now)?);
        }
        if draft.targets.is_some() || changed("snapshot") {
            let targets = draft.targets.as_ref().unwrap_or(&state.targets);
            draft.snapshot = Some(self.next_snapshot(&state, &new, targets, keyring, now)?);
        }
        if draft.snapshot.is_some() || changed("timestamp") {
            self.next_timestamp(&state, &new, &mut draft, keyring, now)?;
        }
        self.commit(&state, draft, now)
    }

    /// The roles as the newest root lists them, to change one of them in [`Repository::update_root`].
    ///
    /// # Errors
    /// [`TufError`].
    pub fn roles(&self, now: Timestamp) -> Result<Roles, TufError> {
        let trusted = self.trusted(now)?;
        let root = &trusted.root().content;
        let role = |name: &str| {
            let listed = root.role(name)?;
            let keys = listed
                .keyids
                .iter()
                .filter_map(|id| root.keys.get(id).and_then(Key::public_key).cloned())
                .collect();
            Ok::<_, TufError>(Role { keys, threshold: listed.threshold })
        };
        Ok(Roles {
            root: role("root")?,
            targets: role("targets")?,
            snapshot: role("snapshot")?,
            timestamp: role("timestamp")?,
        })
    }

    fn lock(&self) -> Result<File, TufError> {
        let path = self.dir.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open the lock", &path))?;
        file.lock().map_err(io("lock", &path))?;
        Ok(file)
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, TufError> {
        self.read(name)?.ok_or_else(|| TufError::NotFound(self.dir.join(name).display().to_string()))
    }

    /// Reads and verifies what is published, after finishing a change that a crash interrupted.
    fn load(&self, now: Timestamp) -> Result<State, TufError> {
        self.replay()?;
        let mut root = self.required("1.root.json")?;
        let mut trusted = TrustedMetadata::new(&root, now, ExpiryRule::Record)?;
        while let Some(next) =
            self.read(&format!("{}.root.json", trusted.root().version.saturating_add(1)))?
        {
            trusted.update_root(&next)?;
            root = next;
        }
        let timestamp = self.required("timestamp.json")?;
        trusted.update_timestamp(&timestamp)?;
        let version = trusted.timestamp().map_or(0, |t| t.content.snapshot.version);
        let snapshot = self.required(&format!("{version}.snapshot.json"))?;
        trusted.update_snapshot(&snapshot)?;
        let listed = trusted.snapshot().and_then(|s| s.content.meta.get("targets.json"));
        let targets = self.required(&format!("{}.targets.json", listed.map_or(0, |m| m.version)))?;
        trusted.update_targets(&targets)?;
        Ok(State { trusted, root, timestamp, snapshot, targets })
    }

    fn put_targets(&self, listed: &mut Object, put: &[TargetFile]) -> Result<(), TufError> {
        for target in put {
            target.check_name()?;
        }
        for target in put {
            let path = self.dir.join("targets").join(target.file_name());
            file::replace(&path, &target.content, file::PUBLIC)?;
            let hash = Json::from(encoding::hex_encode(&sha256(&target.content)));
            let mut info = Object::from([
                ("hashes".to_owned(), Json::from([("sha256", hash)])),
                ("length".to_owned(), Json::from(target.content.len() as u64)),
            ]);
            if let Some(custom) = &target.custom {
                info.insert("custom".into(), custom.clone());
            }
            listed.insert(target.name.clone(), Json::Object(info));
        }
        Ok(())
    }

    fn sign_targets(
        &self,
        root: &Root,
        mut members: Object,
        listed: Object,
        version: u64,
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, TufError> {
        common(&mut members, "targets", version, date(now, self.lifetimes.targets)?);
        members.insert("targets".into(), Json::Object(listed));
        sign_role(root, "targets", members, keyring)
    }

    #[expect(clippy::too_many_arguments, reason = "what a snapshot is made of")]
    fn sign_snapshot(
        &self,
        root: &Root,
        mut members: Object,
        targets: &[u8],
        targets_version: u64,
        version: u64,
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, TufError> {
        common(&mut members, "snapshot", version, date(now, self.lifetimes.snapshot)?);
        let mut meta = object_member(&members, "meta");
        meta.insert("targets.json".into(), meta_file(targets, targets_version));
        members.insert("meta".into(), Json::Object(meta));
        sign_role(root, "snapshot", members, keyring)
    }

    fn sign_timestamp(
        &self,
        root: &Root,
        snapshot: &[u8],
        snapshot_version: u64,
        version: u64,
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, TufError> {
        let mut members = Object::new();
        common(&mut members, "timestamp", version, date(now, self.lifetimes.timestamp)?);
        members.insert("meta".into(), Json::from([("snapshot.json", meta_file(snapshot, snapshot_version))]));
        sign_role(root, "timestamp", members, keyring)
    }

    fn next_snapshot(
        &self,
        state: &State,
        root: &Root,
        targets: &[u8],
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, TufError> {
        let old = state.trusted.snapshot().ok_or(TufError::Order("a snapshot before its timestamp"))?;
        let targets_version = Signed::<Targets>::parse(targets)?.version;
        let version = old.version.saturating_add(1);
        self.sign_snapshot(root, old.members.clone(), targets, targets_version, version, keyring, now)
    }

    fn next_timestamp(
        &self,
        state: &State,
        root: &Root,
        draft: &mut Draft,
        keyring: Keyring<'_>,
        now: Timestamp,
    ) -> Result<(), TufError> {
        let snapshot = draft.snapshot.as_ref().unwrap_or(&state.snapshot);
        let snapshot_version = Signed::<Snapshot>::parse(snapshot)?.version;
        let version = state.trusted.timestamp().map_or(1, |t| t.version.saturating_add(1));
        draft.timestamp =
            Some(self.sign_timestamp(root, snapshot, snapshot_version, version, keyring, now)?);
        Ok(())
    }

    /// Checks the draft as a client who has seen the current state would, and publishes it.
    fn commit(&self, state: &State, draft: Draft, now: Timestamp) -> Result<(), TufError> {
        let mut check = TrustedMetadata::new(&state.root, now, ExpiryRule::Record)?;
        if let Some(root) = &draft.root {
            check.update_root(root)?;
        }
        // No floor when the keys of the role have changed: then clients drop what they had, too.
        if check.previous_timestamp(&state.timestamp).is_ok() {
            check.previous_snapshot(&state.snapshot).ok();
        }
        check.update_timestamp(draft.timestamp.as_ref().unwrap_or(&state.timestamp))?;
        check.update_snapshot(draft.snapshot.as_ref().unwrap_or(&state.snapshot))?;
        check.update_targets(draft.targets.as_ref().unwrap_or(&state.targets))?;

        let mut files = Vec::new();
        if let (Some(bytes), Some(new)) = (draft.targets, check.targets("targets")) {
            files.push((format!("{}.targets.json", new.version), bytes));
        }
        if let (Some(bytes), Some(new)) = (draft.snapshot, check.snapshot()) {
            files.push((format!("{}.snapshot.json", new.version), bytes));
        }
        if let Some(bytes) = &draft.root {
            files.push((format!("{}.root.json", check.root().version), bytes.clone()));
        }
        files.extend(draft.timestamp.map(|bytes| ("timestamp.json".to_owned(), bytes)));
        files.extend(draft.root.map(|bytes| ("root.json".to_owned(), bytes)));
        self.write(&files)
    }

    /// Writes files in order. More than one goes through the journal.
    fn write(&self, files: &[(String, Vec<u8>)]) -> Result<(), TufError> {
        if let [(name, bytes)] = files {
            return Ok(file::replace(&self.dir.join(name), bytes, file::PUBLIC)?);
        }
        let entries = files
            .iter()
            .map(|(name, bytes)| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Json::Array(vec![name.as_str().into(), text.into()])
            })
            .collect();
        file::replace(&self.dir.join(JOURNAL), &Json::Array(entries).pretty(), file::PRIVATE)?;
        self.replay()
    }

    /// Carries out the journal, if there is one.
    fn replay(&self) -> Result<(), TufError> {
        let path = self.dir.join(JOURNAL);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io("read", &path)(e)),
        };
        let damaged = || TufError::Repository(format!("the journal {} is damaged", path.display()));
        let Json::Array(entries) = Json::parse(&bytes)? else { return Err(damaged()) };
        for entry in entries {
            let Json::Array(pair) = entry else { return Err(damaged()) };
            let [Json::String(name), Json::String(text)] = pair.as_slice() else { return Err(damaged()) };
            if name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(damaged());
            }
            file::replace(&self.dir.join(name), text.as_bytes(), file::PUBLIC)?;
        }
        std::fs::remove_file(&path).map_err(io("remove", &path))?;
        Ok(file::sync_dir(&self.dir)?)
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TufError {
    let path = path.to_owned();
    move |source| TufError::File(KeyError::Io { action, path, source })
}
