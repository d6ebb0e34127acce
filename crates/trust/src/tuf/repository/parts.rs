//! What a repository is made of: roles and their keys, lifetimes, files to publish.

use countersign_crypto::{PublicKey, encoding, sha256};
use jiff::{SignedDuration, Timestamp};

use crate::tuf::TufError;
use crate::tuf::json::{Json, Object};
use crate::tuf::metadata::{Key, short};

/// The keys of a role and how many of them must sign.
#[derive(Debug, Clone)]
pub struct Role {
    /// ECDSA P-256 or Ed25519 keys.
    pub keys: Vec<PublicKey>,
    /// From 1 to the number of keys.
    pub threshold: u64,
}

impl Role {
    /// A role that one key signs for.
    #[must_use]
    pub fn single(key: &PublicKey) -> Self {
        Self { keys: vec![key.clone()], threshold: 1 }
    }
}

/// The keys of the four roles.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Signs roots: the keys of last resort.
    pub root: Role,
    /// Signs the list of targets.
    pub targets: Role,
    /// Signs the versions of targets files.
    pub snapshot: Role,
    /// Signs, often, which snapshot is current.
    pub timestamp: Role,
}

impl Roles {
    /// The usual division: root and targets by keys kept offline, snapshot and timestamp by one online key.
    #[must_use]
    pub fn offline_and_online(offline: Role, online: &PublicKey) -> Self {
        Self {
            root: offline.clone(),
            targets: offline,
            snapshot: Role::single(online),
            timestamp: Role::single(online),
        }
    }

    pub(super) fn by_name(&self) -> [(&'static str, &Role); 4] {
        [
            ("root", &self.root),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
            ("timestamp", &self.timestamp),
        ]
    }

    /// The members of a root's `signed` that say who signs what.
    pub(super) fn to_json(&self) -> Result<(Json, Json), TufError> {
        let mut keys = Object::new();
        let mut roles = Object::new();
        for (name, role) in self.by_name() {
            let mut ids = Vec::new();
            for public in &role.keys {
                let key = Key::new(public)?;
                let id = Json::from(key.id());
                if ids.contains(&id) {
                    return Err(TufError::Repository(format!("the {name} role lists the same key twice")));
                }
                keys.insert(key.id(), key.json().clone());
                ids.push(id);
            }
            if role.threshold == 0 || role.threshold > role.keys.len() as u64 {
                return Err(TufError::Repository(format!(
                    "the {name} role has {} keys: expected a threshold from 1 to that, found {}",
                    role.keys.len(),
                    role.threshold
                )));
            }
            let entry = Json::from([("keyids", Json::Array(ids)), ("threshold", role.threshold.into())]);
            roles.insert(name.to_owned(), entry);
        }
        Ok((Json::Object(keys), Json::Object(roles)))
    }
}

/// For how long signatures of each role are good.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Of roots.
    pub root: SignedDuration,
    /// Of targets files.
    pub targets: SignedDuration,
    /// Of snapshots.
    pub snapshot: SignedDuration,
    /// Of timestamps: how long a client can be kept from seeing an update.
    pub timestamp: SignedDuration,
}

/// A year for root, targets and snapshot, a week for the timestamp.
impl Default for Lifetimes {
    fn default() -> Self {
        let days = |n: i64| SignedDuration::from_hours(24 * n);
        Self { root: days(365), targets: days(365), snapshot: days(365), timestamp: days(7) }
    }
}

/// A file to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// What the targets metadata says about it besides length and hash.
    pub custom: Option<Json>,
}

impl TargetFile {
    /// A file without custom metadata.
    #[must_use]
    pub fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), content: content.into(), custom: None }
    }

    /// Adds the `custom.sigstore` object that clients before `trusted_root.json` go by: `usage` is `Fulcio`,
    /// `Rekor`, `CTFE` or `TSA`; a retired key is published as not active.
    #[must_use]
    pub fn with_usage(mut self, usage: &str, active: bool, uri: &str) -> Self {
        let status = if active { "Active" } else { "Expired" };
        let entry = Json::from([("status", status.into()), ("uri", uri.into()), ("usage", usage.into())]);
        self.custom = Some(Json::from([("sigstore", entry)]));
        self
    }

    pub(super) fn check_name(&self) -> Result<(), TufError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty()
            || self.name.len() > 100
            || self.name.starts_with('.')
            || !self.name.chars().all(allowed)
        {
            return Err(TufError::UnsafeName {
                name: short(&self.name),
                detail: "expected up to 100 letters, digits, \".\", \"_\" and \"-\", not beginning with a dot",
            });
        }
        Ok(())
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.{}", encoding::hex_encode(&sha256(&self.content)), self.name)
    }
}

/// How a role stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStatus {
    /// `root`, `targets`, `snapshot` or `timestamp`.
    pub role: &'static str,
    /// Its version.
    pub version: u64,
    /// Until when it is good.
    pub expires: Timestamp,
}
