//! The client's rules as a state machine: bytes in, trusted metadata out. No files, no network, no clock.
//!
//! Order of calls (TUF specification section 5): a trusted root, every newer root in turn
//! ([`TrustedMetadata::update_root`]), then timestamp, snapshot, targets, delegated targets. What was trusted
//! before is given by [`TrustedMetadata::previous_timestamp`] and [`TrustedMetadata::previous_snapshot`], so that
//! nothing can be rolled back. A call that fails changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::TufError;
use super::metadata::{
    Content, Delegations, Keys, RoleKeys, Root, Signed, Snapshot, TOP_LEVEL, Targets, TimestampRole, short,
};

/// What to do about metadata past its date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryRule {
    /// Refuse it: the rule of every update.
    Refuse,
    /// Note it in [`TrustedMetadata::expired`]: for reading a cache without network and for a publisher who is
    /// about to sign anew. Signatures, versions and hashes are checked all the same.
    Record,
}

/// Metadata that has been verified, step by step.
#[derive(Debug, Clone)]
pub struct TrustedMetadata {
    now: Timestamp,
    rule: ExpiryRule,
    root: Signed<Root>,
    previous_timestamp: Option<Signed<TimestampRole>>,
    previous_snapshot: Option<Signed<Snapshot>>,
    timestamp: Option<Signed<TimestampRole>>,
    snapshot: Option<Signed<Snapshot>>,
    targets: BTreeMap<String, Signed<Targets>>,
    expired: BTreeSet<String>,
}

impl TrustedMetadata {
    /// Begins with a root that is trusted for reasons of its own. It must at least be signed by itself; its
    /// date does not matter yet.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn new(root: &[u8], now: Timestamp, rule: ExpiryRule) -> Result<Self, TufError> {
        let root = Signed::<Root>::parse(root)?;
        root.verify("root", &root.content.keys, root.content.role("root")?)?;
        Ok(Self {
            now,
            rule,
            root,
            previous_timestamp: None,
            previous_snapshot: None,
            timestamp: None,
            snapshot: None,
            targets: BTreeMap::new(),
            expired: BTreeSet::new(),
        })
    }

    /// The root trusted now.
    #[must_use]
    pub const fn root(&self) -> &Signed<Root> {
        &self.root
    }

    /// The timestamp trusted now.
    #[must_use]
    pub const fn timestamp(&self) -> Option<&Signed<TimestampRole>> {
        self.timestamp.as_ref()
    }

    /// The snapshot trusted now.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Signed<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The targets of the top level (`targets`) or of a delegated role, once loaded.
    #[must_use]
    pub fn targets(&self, role: &str) -> Option<&Signed<Targets>> {
        self.targets.get(role)
    }

    /// Roles whose metadata is past its date; always empty under [`ExpiryRule::Refuse`].
    #[must_use]
    pub const fn expired(&self) -> &BTreeSet<String> {
        &self.expired
    }

    /// When the first of what has been accepted ends: after that, nobody can tell whether it is still the newest.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        let dates = self.dates().filter_map(|(_, expires)| expires);
        dates.min().unwrap_or(self.root.expires)
    }

    /// Takes the next root: version one higher, signed by the thresholds of the old and of the new root.
    ///
    /// # Errors
    /// [`TufError`]; the old root stays trusted.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        if self.timestamp.is_some() {
            return Err(TufError::Order("a new root after the timestamp"));
        }
        let new = Signed::<Root>::parse(bytes)?;
        let old = &self.root;
        let signer = |version: u64| format!("root (by the keys of version {version})");
        new.verify(&signer(old.version), &old.content.keys, old.content.role("root")?)?;
        let expected = old.version.saturating_add(1);
        if new.version != expected {
            return Err(TufError::Version { role: "root".into(), expected, found: new.version });
        }
        new.verify(&signer(new.version), &new.content.keys, new.content.role("root")?)?;
        self.root = new;
        Ok(())
    }

    /// Remembers a timestamp from an earlier run, as a floor under versions. Its date does not matter.
    ///
    /// # Errors
    /// [`TufError`] when this root does not vouch for it: it is then no floor.
    pub fn previous_timestamp(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.previous_timestamp = Some(self.parse_top_level(bytes)?);
        Ok(())
    }

    /// Remembers a snapshot from an earlier run, as a floor under versions. Its date does not matter.
    ///
    /// # Errors
    /// [`TufError`] when this root does not vouch for it: it is then no floor.
    pub fn previous_snapshot(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.previous_snapshot = Some(self.parse_top_level(bytes)?);
        Ok(())
    }

    /// Takes the timestamp. Says whether it is new: when it has the version of the previous one, the previous
    /// one stays.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn update_timestamp(&mut self, bytes: &[u8]) -> Result<bool, TufError> {
        if self.snapshot.is_some() {
            return Err(TufError::Order("a new timestamp after the snapshot"));
        }
        self.check_date("root", self.root.expires)?;
        let mut new: Signed<TimestampRole> = self.parse_top_level(bytes)?;
        let mut is_new = true;
        if let Some(previous) = self.timestamp.as_ref().or(self.previous_timestamp.as_ref()) {
            rollback("timestamp", previous.version, new.version)?;
            rollback("snapshot", previous.content.snapshot.version, new.content.snapshot.version)?;
            if previous.version == new.version {
                new = previous.clone();
                is_new = false;
            }
        }
        self.check_date("timestamp", new.expires)?;
        self.timestamp = Some(new);
        self.note_dates();
        Ok(is_new)
    }

    /// Takes the snapshot which the timestamp names.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn update_snapshot(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        let Some(timestamp) = &self.timestamp else {
            return Err(TufError::Order("a snapshot before its timestamp"));
        };
        if !self.targets.is_empty() {
            return Err(TufError::Order("a new snapshot after the targets"));
        }
        let listed = &timestamp.content.snapshot;
        listed.check("snapshot.json", bytes)?;
        let new: Signed<Snapshot> = self.parse_top_level(bytes)?;
        same_version("snapshot", listed.version, new.version)?;
        if let Some(previous) = &self.previous_snapshot {
            rollback("snapshot", previous.version, new.version)?;
            for (file, old) in &previous.content.meta {
                match new.content.meta.get(file) {
                    None => return Err(TufError::Unlisted { file: short(file) }),
                    Some(now) => rollback(file, old.version, now.version)?,
                }
            }
        }
        self.check_date("snapshot", new.expires)?;
        self.snapshot = Some(new);
        self.note_dates();
        Ok(())
    }

    /// Takes the targets of the top level.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn update_targets(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        let root = &self.root.content;
        let checked = self.check_targets(bytes, "targets", &root.keys, root.role("targets")?)?;
        self.targets.insert("targets".into(), checked);
        self.note_dates();
        Ok(())
    }

    /// Takes the targets of a role which `parent` delegates to.
    ///
    /// # Errors
    /// [`TufError::UnknownRole`] when the parent is not loaded or does not delegate to it, or the name is one of
    /// the top level; else [`TufError`].
    pub fn update_delegated(&mut self, bytes: &[u8], role: &str, parent: &str) -> Result<(), TufError> {
        let unknown = |detail| TufError::UnknownRole { role: short(role), detail };
        if TOP_LEVEL.contains(&role) {
            return Err(unknown("it is a role of the top level"));
        }
        let delegations: &Delegations = &self
            .targets
            .get(parent)
            .ok_or_else(|| unknown("the role that would delegate to it is not loaded"))?
            .content
            .delegations;
        let delegation = delegations
            .roles
            .iter()
            .find(|d| d.name == role)
            .ok_or_else(|| unknown("it is not among the delegations"))?;
        let checked = self.check_targets(bytes, role, &delegations.keys, &delegation.keys)?;
        self.targets.insert(role.to_owned(), checked);
        self.note_dates();
        Ok(())
    }

    fn check_targets(
        &self,
        bytes: &[u8],
        role: &str,
        keys: &Keys,
        required: &RoleKeys,
    ) -> Result<Signed<Targets>, TufError> {
        let Some(snapshot) = &self.snapshot else {
            return Err(TufError::Order("targets before their snapshot"));
        };
        let listed = snapshot.content.meta.get(&format!("{role}.json")).ok_or_else(|| {
            TufError::UnknownRole { role: short(role), detail: "the snapshot does not list it" }
        })?;
        listed.check(&short(role), bytes)?;
        let new = Signed::<Targets>::parse(bytes)?;
        new.verify(&short(role), keys, required)?;
        same_version(role, listed.version, new.version)?;
        self.check_date(role, new.expires)?;
        Ok(new)
    }

    fn parse_top_level<T: Content>(&self, bytes: &[u8]) -> Result<Signed<T>, TufError> {
        let new = Signed::<T>::parse(bytes)?;
        let root = &self.root.content;
        new.verify(T::TYPE, &root.keys, root.role(T::TYPE)?)?;
        Ok(new)
    }

    fn check_date(&self, role: &str, expires: Timestamp) -> Result<(), TufError> {
        if expires <= self.now && self.rule == ExpiryRule::Refuse {
            return Err(TufError::Expired { role: short(role), expires, now: self.now });
        }
        Ok(())
    }

    /// Notes every accepted role that is past its date.
    fn note_dates(&mut self) {
        self.expired = self
            .dates()
            .filter(|(_, expires)| expires.is_some_and(|e| e <= self.now))
            .map(|(role, _)| role.to_owned())
            .collect();
    }

    /// Until when each role's metadata is good, as far as it has been accepted.
    fn dates(&self) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
        let top = [
            ("root", Some(self.root.expires)),
            ("timestamp", self.timestamp.as_ref().map(|m| m.expires)),
            ("snapshot", self.snapshot.as_ref().map(|m| m.expires)),
        ];
        top.into_iter().chain(self.targets.iter().map(|(role, m)| (role.as_str(), Some(m.expires))))
    }
}

fn rollback(role: &str, trusted: u64, found: u64) -> Result<(), TufError> {
    if found < trusted { Err(TufError::Rollback { role: short(role), trusted, found }) } else { Ok(()) }
}

fn same_version(role: &str, expected: u64, found: u64) -> Result<(), TufError> {
    if expected == found { Ok(()) } else { Err(TufError::Version { role: short(role), expected, found }) }
}
