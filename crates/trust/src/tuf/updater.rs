//! The client: fetches over an injected transport, verifies with [`TrustedMetadata`], keeps what verified.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;

use jiff::Timestamp;

use super::cache::{Cache, Entry};
use super::metadata::{Content, Root, Snapshot, TargetInfo, Targets, TimestampRole, short};
use super::trusted::{ExpiryRule, TrustedMetadata};
use super::{TufError, pattern};

/// The most new roots followed in one run. A client further behind goes on in its next run.
pub const MAX_ROOT_ROTATIONS: usize = 256;
/// The most roles asked about one target.
const MAX_ROLES: usize = 32;
/// The largest target fetched, in bytes. Trust roots are some tens of kilobytes.
const MAX_TARGET: u64 = 64 * 1024 * 1024;

/// Why a transport gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The answer is longer than the limit given.
    #[error("the answer is too large")]
    TooLarge,
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

/// Fetches addresses. The only way this crate reaches a network.
pub trait Transport: Send + Sync {
    /// Gets an address. `None` when there is no such file (HTTP 404 or 403). An implementation stops reading
    /// after `limit` bytes and answers [`TransportError::TooLarge`].
    fn get(
        &self,
        url: &str,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;
}

impl<T: Transport + ?Sized> Transport for &T {
    fn get(
        &self,
        url: &str,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send {
        (**self).get(url, limit)
    }
}

/// A TUF client for one repository.
///
/// [`Updater::refresh`] asks the repository; [`Updater::load_cache`] verifies what an earlier run has kept,
/// without network. After either, [`Updater::target`] gives files.
#[derive(Debug)]
pub struct Updater<T> {
    transport: T,
    base: String,
    /// The folder of the targets, each segment percent-encoded.
    targets: String,
    cache: Cache,
    initial_root: Vec<u8>,
    trusted: Option<TrustedMetadata>,
    online: bool,
    /// Delegated roles that are loaded, with the role whose delegation they were verified by: two roles may
    /// delegate to one name with different keys.
    loaded: BTreeMap<String, String>,
}

impl<T: Transport> Updater<T> {
    /// A client of the repository at `base` (the address of its metadata; targets lie under `targets/`), which
    /// trusts `initial_root` and keeps what it verifies in `cache_dir`, a directory of its own.
    ///
    /// # Errors
    /// [`TufError::File`] when the directory cannot be made.
    pub fn new(transport: T, base: &str, cache_dir: &Path, initial_root: Vec<u8>) -> Result<Self, TufError> {
        Ok(Self::with_cache(transport, base, Cache::open(cache_dir)?, initial_root))
    }

    /// The same, which keeps what it verifies in memory: nothing is rolled back for as long as this client lives.
    #[must_use]
    pub fn in_memory(transport: T, base: &str, initial_root: Vec<u8>) -> Self {
        Self::with_cache(transport, base, Cache::memory(), initial_root)
    }

    fn with_cache(transport: T, base: &str, cache: Cache, initial_root: Vec<u8>) -> Self {
        Self {
            transport,
            base: base.trim_end_matches('/').to_owned(),
            targets: "targets".into(),
            cache,
            initial_root,
            trusted: None,
            online: false,
            loaded: BTreeMap::new(),
        }
    }

    /// The same for a repository whose targets lie in another folder than `targets/`; empty for none.
    ///
    /// # Errors
    /// [`TufError::UnsafeName`].
    pub fn targets_in(self, folder: &str) -> Result<Self, TufError> {
        let folder = folder.trim_matches('/');
        let targets = if folder.is_empty() { String::new() } else { pattern::target_path(folder)?.join("/") };
        Ok(Self { targets, ..self })
    }

    /// The metadata verified by the last [`Updater::refresh`] or [`Updater::load_cache`].
    #[must_use]
    pub const fn trusted(&self) -> Option<&TrustedMetadata> {
        self.trusted.as_ref()
    }

    /// Brings the metadata up to date. `now` is the time for the whole run.
    ///
    /// # Errors
    /// [`TufError`]. What verified before the error is kept, nothing else; the next run starts from there.
    pub async fn refresh(&mut self, now: Timestamp) -> Result<(), TufError> {
        self.forget();
        let mut trusted = self.cached_roots(now, ExpiryRule::Refuse)?;
        self.new_roots(&mut trusted).await?;

        if let Some(cached) = self.cache.read(Entry::Timestamp, TimestampRole::MAX_LENGTH)? {
            // Not vouched for by this root: no floor, as after a change of keys.
            trusted.previous_timestamp(&cached).ok();
        }
        let bytes = self.required("timestamp.json", TimestampRole::MAX_LENGTH).await?;
        if trusted.update_timestamp(&bytes)? {
            self.cache.write(Entry::Timestamp, &bytes)?;
        }

        let listed = trusted.timestamp().map(|t| t.content.snapshot.clone());
        let (version, length) = listed.map_or((0, None), |l| (l.version, l.length));
        let cached = self.cache.read(Entry::Snapshot, Snapshot::MAX_LENGTH)?;
        if let Some(cached) = &cached {
            trusted.previous_snapshot(cached).ok();
        }
        if cached.is_none_or(|cached| trusted.update_snapshot(&cached).is_err()) {
            let name = versioned(&trusted, version, "snapshot.json");
            let limit = length.unwrap_or(Snapshot::MAX_LENGTH).min(Snapshot::MAX_LENGTH);
            let bytes = self.required(&name, limit).await?;
            trusted.update_snapshot(&bytes)?;
            self.cache.write(Entry::Snapshot, &bytes)?;
        }

        self.online = true;
        self.load_role(&mut trusted, "targets", "root").await?;
        self.trusted = Some(trusted);
        Ok(())
    }

    /// Verifies the cache again, without network: every signature, version and hash, from the initial root on.
    /// Metadata past its date is listed in [`TrustedMetadata::expired`] and left to the caller to judge, since
    /// a date protects freshness, which a cache cannot give anyway.
    ///
    /// # Errors
    /// [`TufError::NotFound`] for what was never fetched, else as for [`Updater::refresh`].
    pub fn load_cache(&mut self, now: Timestamp) -> Result<(), TufError> {
        self.forget();
        let mut trusted = self.cached_roots(now, ExpiryRule::Record)?;
        trusted.update_timestamp(&self.cached(Entry::Timestamp, TimestampRole::MAX_LENGTH)?)?;
        trusted.update_snapshot(&self.cached(Entry::Snapshot, Snapshot::MAX_LENGTH)?)?;
        trusted.update_targets(&self.cached(Entry::Targets("targets"), Targets::MAX_LENGTH)?)?;
        self.trusted = Some(trusted);
        Ok(())
    }

    /// What the repository says about a target, asking delegated roles in order where the top level does not
    /// list it.
    ///
    /// # Errors
    /// [`TufError::NoSuchTarget`], [`TufError::UnsafeName`], [`TufError`] when a delegated role cannot be loaded.
    pub async fn target_info(&mut self, name: &str) -> Result<TargetInfo, TufError> {
        pattern::target_path(name)?;
        let mut trusted = self.trusted.take().ok_or(TufError::Order("a target before a refresh"))?;
        let found = self.search(&mut trusted, name).await;
        self.trusted = Some(trusted);
        found
    }

    /// The bytes of a target, verified: from the cache if they are there and intact, else fetched.
    ///
    /// # Errors
    /// As [`Updater::target_info`], and [`TufError::Mismatch`], [`TufError::NotFound`], [`TufError::TooLarge`].
    pub async fn target(&mut self, name: &str) -> Result<Vec<u8>, TufError> {
        let info = self.target_info(name).await?;
        if info.length > MAX_TARGET {
            return Err(TufError::TooLarge { what: short(name), limit: MAX_TARGET });
        }
        let entry = Entry::Target(info.hashes.prefix());
        let intact = match self.cache.read(entry, info.length)? {
            Some(bytes) => info.check(name, &bytes).map(|()| Some(bytes)),
            None => Ok(None),
        };
        match (intact, self.online) {
            (Ok(Some(bytes)), _) => return Ok(bytes),
            (Err(error), false) => return Err(error),
            (Ok(None), false) => return Err(TufError::NotFound(format!("{} in the cache", short(name)))),
            (_, true) => {}
        }
        let mut segments = pattern::target_path(name)?;
        if self.trusted.as_ref().is_some_and(|t| t.root().content.consistent_snapshot)
            && let Some(last) = segments.last_mut()
        {
            *last = format!("{}.{last}", info.hashes.prefix());
        }
        segments.insert(0, self.targets.clone());
        segments.retain(|segment| !segment.is_empty());
        let bytes = self.required(&segments.join("/"), info.length).await?;
        info.check(name, &bytes)?;
        self.cache.write(entry, &bytes)?;
        Ok(bytes)
    }

    fn forget(&mut self) {
        self.trusted = None;
        self.online = false;
        self.loaded.clear();
    }

    /// Walks from the initial root through the roots that earlier runs verified. Each is verified again.
    fn cached_roots(&self, now: Timestamp, rule: ExpiryRule) -> Result<TrustedMetadata, TufError> {
        let mut trusted = TrustedMetadata::new(&self.initial_root, now, rule)?;
        loop {
            let next = trusted.root().version.saturating_add(1);
            match self.cache.read(Entry::Root(next), Root::MAX_LENGTH)? {
                Some(bytes) if trusted.update_root(&bytes).is_ok() => {}
                _ => return Ok(trusted),
            }
        }
    }

    async fn new_roots(&self, trusted: &mut TrustedMetadata) -> Result<(), TufError> {
        for _ in 0..MAX_ROOT_ROTATIONS {
            let next = trusted.root().version.saturating_add(1);
            let Some(bytes) = self.get(&format!("{next}.root.json"), Root::MAX_LENGTH).await? else {
                return Ok(());
            };
            let old = trusted.root().content.clone();
            trusted.update_root(&bytes)?;
            // Versions signed by keys that are no longer trusted are no floor: an attacker may have pushed
            // them far ahead.
            let new = &trusted.root().content;
            if !old.same_role(new, "timestamp") || !old.same_role(new, "snapshot") {
                self.cache.remove(Entry::Timestamp)?;
                self.cache.remove(Entry::Snapshot)?;
            }
            self.cache.write(Entry::Root(next), &bytes)?;
        }
        Err(TufError::TooManyRotations { limit: MAX_ROOT_ROTATIONS })
    }

    /// Pre-order depth-first search through the delegations that cover the target.
    async fn search(&mut self, trusted: &mut TrustedMetadata, name: &str) -> Result<TargetInfo, TufError> {
        let mut visited = BTreeSet::new();
        let mut stack = vec![("targets".to_owned(), "root".to_owned())];
        while let Some((role, parent)) = stack.pop() {
            if visited.len() >= MAX_ROLES {
                break;
            }
            if !visited.insert(role.clone()) {
                continue;
            }
            if role != "targets" && self.loaded.get(&role) != Some(&parent) {
                self.load_role(trusted, &role, &parent).await?;
                self.loaded.insert(role.clone(), parent);
            }
            let Some(targets) = trusted.targets(&role) else { break };
            if let Some(info) = targets.content.targets.get(name) {
                return Ok(info.clone());
            }
            let mut next = Vec::new();
            for delegation in targets.content.delegations.roles.iter().filter(|d| d.scope.covers(name)) {
                next.push((delegation.name.clone(), role.clone()));
                if delegation.terminating {
                    stack.clear();
                    break;
                }
            }
            stack.extend(next.into_iter().rev());
        }
        Err(TufError::NoSuchTarget(short(name)))
    }

    /// Loads targets metadata: from the cache if the snapshot still names it, else from the repository.
    async fn load_role(
        &self,
        trusted: &mut TrustedMetadata,
        role: &str,
        parent: &str,
    ) -> Result<(), TufError> {
        let update = |trusted: &mut TrustedMetadata, bytes: &[u8]| {
            if parent == "root" {
                trusted.update_targets(bytes)
            } else {
                trusted.update_delegated(bytes, role, parent)
            }
        };
        let file = format!("{}.json", pattern::role_file(role)?);
        let cached = match self.cache.read(Entry::Targets(role), Targets::MAX_LENGTH)? {
            Some(bytes) => update(trusted, &bytes),
            None => Err(TufError::NotFound(format!("{file} in the cache"))),
        };
        if cached.is_ok() || !self.online {
            return cached;
        }
        let listed =
            trusted.snapshot().and_then(|s| s.content.meta.get(&format!("{role}.json"))).ok_or_else(
                || TufError::UnknownRole { role: short(role), detail: "the snapshot does not list it" },
            )?;
        let name = versioned(trusted, listed.version, &file);
        let limit = listed.length.unwrap_or(Targets::MAX_LENGTH).min(Targets::MAX_LENGTH);
        let bytes = self.required(&name, limit).await?;
        update(trusted, &bytes)?;
        self.cache.write(Entry::Targets(role), &bytes)
    }

    fn cached(&self, entry: Entry<'_>, limit: u64) -> Result<Vec<u8>, TufError> {
        self.cache
            .read(entry, limit)?
            .ok_or_else(|| TufError::NotFound("trust metadata in the cache; it was never fetched".into()))
    }

    async fn required(&self, path: &str, limit: u64) -> Result<Vec<u8>, TufError> {
        self.get(path, limit).await?.ok_or_else(|| TufError::NotFound(format!("{}/{path}", self.base)))
    }

    async fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        let url = format!("{}/{path}", self.base);
        match self.transport.get(&url, limit).await {
            // A transport that forgot its limit is not a way around it.
            Ok(Some(bytes)) if bytes.len() as u64 > limit => Err(TufError::TooLarge { what: url, limit }),
            Ok(answer) => Ok(answer),
            Err(TransportError::TooLarge) => Err(TufError::TooLarge { what: url, limit }),
            Err(TransportError::Failed(detail)) => Err(TufError::Transport { url, detail }),
        }
    }
}

/// The name a metadata file is fetched by.
fn versioned(trusted: &TrustedMetadata, version: u64, file: &str) -> String {
    if trusted.root().content.consistent_snapshot { format!("{version}.{file}") } else { file.to_owned() }
}
