//! The metadata of the four roles and of delegations, parsed strictly from one [`Json`] value.
//!
//! The bytes that are verified are the canonical form of the very value that the typed fields are read from,
//! so nothing is parsed twice. Key ids are opaque names: what counts towards a threshold is the number of
//! distinct keys whose signatures verify.

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::{HashAlgorithm, PublicKey, encoding, sha256};
use jiff::Timestamp;

use super::TufError;
use super::json::{Json, Object, canonical_object};

mod fields;
mod keys;

pub use fields::Fields;
pub(crate) use fields::short;
use keys::read_keys;
pub use keys::{Key, Keys, RoleKeys};

/// The four names that no delegated role may bear.
pub const TOP_LEVEL: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// The most signatures on one file. The public root has five.
const MAX_SIGNATURES: usize = 256;
/// What distinguishes the content of one role from another's.
pub trait Content: Sized {
    /// The value of `_type`.
    const TYPE: &'static str;
    /// The largest file of this role that is parsed, in bytes.
    const MAX_LENGTH: u64;
    /// Reads the members of `signed` beyond the common ones.
    ///
    /// # Errors
    /// [`TufError::Malformed`].
    fn read(signed: &Fields<'_>) -> Result<Self, TufError>;
}

/// A metadata file: its content and the signatures over it, which are not verified yet.
#[derive(Debug, Clone)]
pub struct Signed<T> {
    /// The version, from 1.
    pub version: u64,
    /// After this time it is not to be trusted.
    pub expires: Timestamp,
    /// What the role says.
    pub content: T,
    /// Every member of `signed`, also those this implementation does not know.
    pub members: Object,
    /// Key id and signature.
    pub signatures: Vec<(String, Vec<u8>)>,
}

impl<T: Content> Signed<T> {
    /// Parses a metadata file. Nothing in it is verified by that.
    ///
    /// # Errors
    /// [`TufError::TooLarge`] before parsing, [`TufError::Json`], [`TufError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TufError> {
        if bytes.len() as u64 > T::MAX_LENGTH {
            return Err(TufError::TooLarge { what: format!("{}.json", T::TYPE), limit: T::MAX_LENGTH });
        }
        let Json::Object(mut file) = Json::parse(bytes)? else {
            return Err(TufError::malformed(T::TYPE, "expected an object"));
        };
        let Some(Json::Object(members)) = file.remove("signed") else {
            return Err(TufError::malformed(T::TYPE, "expected an object \"signed\""));
        };
        let signatures = read_signatures(&Fields { role: T::TYPE, members: &file })?;
        let fields = Fields { role: T::TYPE, members: &members };
        let found = fields.string("_type")?;
        if found != T::TYPE {
            return Err(fields.wrong("_type", &format!("\"{}\", found \"{}\"", T::TYPE, short(found))));
        }
        let spec = fields.string("spec_version")?;
        if spec != "1" && !spec.starts_with("1.") {
            return Err(fields.wrong("spec_version", &format!("1.x, found \"{}\"", short(spec))));
        }
        let version = fields.number("version")?;
        if version == 0 {
            return Err(fields.wrong("version", "at least 1"));
        }
        let expires: Timestamp =
            fields.string("expires")?.parse().map_err(|_| fields.wrong("expires", "an RFC 3339 time"))?;
        let content = T::read(&fields)?;
        Ok(Self { version, expires, content, members, signatures })
    }

    /// The bytes that signatures are over.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        canonical_object(&self.members)
    }

    /// Checks that enough distinct keys of a role have signed.
    ///
    /// # Errors
    /// [`TufError::Threshold`], naming `role`.
    pub fn verify(&self, role: &str, keys: &Keys, required: &RoleKeys) -> Result<(), TufError> {
        let message = self.signed_bytes();
        let mut counted: BTreeSet<[u8; 32]> = BTreeSet::new();
        for (keyid, signature) in &self.signatures {
            if !required.keyids.contains(keyid) {
                continue;
            }
            let Some((public, scheme)) = keys.get(keyid).and_then(|key| key.usable.as_ref()) else {
                continue;
            };
            let fingerprint = public.fingerprint();
            if !counted.contains(&fingerprint) && public.verify(*scheme, &message, signature).is_ok() {
                counted.insert(fingerprint);
            }
        }
        let found = counted.len() as u64;
        if found >= required.threshold {
            Ok(())
        } else {
            Err(TufError::Threshold { role: role.to_owned(), required: required.threshold, found })
        }
    }
}

fn read_signatures(file: &Fields<'_>) -> Result<Vec<(String, Vec<u8>)>, TufError> {
    let items = file.array("signatures")?;
    if items.len() > MAX_SIGNATURES {
        return Err(file.wrong("signatures", &format!("at most {MAX_SIGNATURES}, found {}", items.len())));
    }
    items
        .iter()
        .map(|item| {
            let fields = file.nested(item, "signatures")?;
            let signature = encoding::hex_decode(fields.string("sig")?)
                .map_err(|_| file.wrong("sig", "a hexadecimal signature"))?;
            Ok((fields.string("keyid")?.to_owned(), signature))
        })
        .collect()
}

/// The root: all keys, and who may sign what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// All keys of the four roles.
    pub keys: Keys,
    /// The keys of each role.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Whether file names carry versions and hashes.
    pub consistent_snapshot: bool,
}

impl Root {
    /// The keys of a top-level role.
    ///
    /// # Errors
    /// [`TufError::UnknownRole`].
    pub fn role(&self, name: &str) -> Result<&RoleKeys, TufError> {
        self.roles.get(name).ok_or_else(|| TufError::UnknownRole {
            role: short(name),
            detail: "the root knows root, snapshot, targets and timestamp",
        })
    }

    /// Whether a role has the same keys and threshold in both. Key ids are not compared.
    #[must_use]
    pub fn same_role(&self, other: &Self, name: &str) -> bool {
        let view = |root: &Self| {
            root.roles.get(name).map(|role| {
                let keys: BTreeSet<Option<[u8; 32]>> = role
                    .keyids
                    .iter()
                    .map(|id| root.keys.get(id).and_then(Key::public_key).map(PublicKey::fingerprint))
                    .collect();
                (keys, role.threshold)
            })
        };
        view(self) == view(other)
    }
}

impl Content for Root {
    const TYPE: &'static str = "root";
    const MAX_LENGTH: u64 = 512 * 1024;

    fn read(signed: &Fields<'_>) -> Result<Self, TufError> {
        let listed = signed.object("roles")?;
        let mut roles = BTreeMap::new();
        for name in TOP_LEVEL {
            roles.insert(name.to_owned(), RoleKeys::read(&listed.object(name)?)?);
        }
        let consistent_snapshot = signed.optional("consistent_snapshot", Fields::boolean)?.unwrap_or(false);
        Ok(Self { keys: read_keys(signed)?, roles, consistent_snapshot })
    }
}

/// What is known of another metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes, if listed.
    pub length: Option<u64>,
    /// Its SHA-256 and SHA-512, as far as listed.
    pub hashes: Option<Hashes>,
}

impl MetaFile {
    fn read(json: &Json, parent: &Fields<'_>) -> Result<Self, TufError> {
        let fields = parent.nested(json, "meta")?;
        let version = fields.number("version")?;
        if version == 0 {
            return Err(fields.wrong("version", "at least 1"));
        }
        Ok(Self {
            version,
            length: fields.optional("length", Fields::number)?,
            hashes: fields.optional("hashes", Hashes::read)?,
        })
    }

    /// Checks bytes against what is listed.
    ///
    /// # Errors
    /// [`TufError::Mismatch`].
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), TufError> {
        check_length(what, self.length, bytes)?;
        self.hashes.as_ref().map_or(Ok(()), |hashes| hashes.check(what, bytes))
    }
}

/// Hashes of a file. At least one is of an algorithm known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes(BTreeMap<String, String>);

impl Hashes {
    fn read(parent: &Fields<'_>, name: &str) -> Result<Self, TufError> {
        let object = parent.object(name)?;
        let mut hashes = BTreeMap::new();
        for (algorithm, value) in object.members {
            let Json::String(value) = value else {
                return Err(parent.wrong(name, "hexadecimal strings"));
            };
            if let Some(length) = match algorithm.as_str() {
                "sha256" => Some(64),
                "sha512" => Some(128),
                _ => None,
            } {
                if value.len() != length || !value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(parent.wrong(name, &format!("{length} hexadecimal digits for {algorithm}")));
                }
                hashes.insert(algorithm.clone(), value.clone());
            }
        }
        if hashes.is_empty() {
            return Err(parent.wrong(name, "at least one of sha256 and sha512"));
        }
        Ok(Self(hashes))
    }

    /// The name of the copy in a consistent snapshot: SHA-256 where there is one.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.get("sha256").or_else(|| self.0.get("sha512")).map_or("", String::as_str)
    }

    /// Every one of them, by algorithm.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(algorithm, value)| (algorithm.as_str(), value.as_str()))
    }

    /// Checks bytes against every hash.
    ///
    /// # Errors
    /// [`TufError::Mismatch`].
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), TufError> {
        for (algorithm, expected) in &self.0 {
            let Some(known) = HashAlgorithm::from_name(algorithm) else { continue };
            let found = encoding::hex_encode(known.digest(bytes).as_bytes());
            if found != *expected {
                return Err(TufError::Mismatch {
                    what: what.to_owned(),
                    expected: format!("{algorithm}:{expected}"),
                    found: format!("{algorithm}:{found}"),
                });
            }
        }
        Ok(())
    }
}

fn check_length(what: &str, expected: Option<u64>, bytes: &[u8]) -> Result<(), TufError> {
    match expected {
        Some(expected) if expected != bytes.len() as u64 => Err(TufError::Mismatch {
            what: what.to_owned(),
            expected: format!("{expected} bytes"),
            found: format!("{} bytes", bytes.len()),
        }),
        _ => Ok(()),
    }
}

/// The timestamp: which snapshot is the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRole {
    /// The current snapshot.
    pub snapshot: MetaFile,
}

impl Content for TimestampRole {
    const TYPE: &'static str = "timestamp";
    const MAX_LENGTH: u64 = 16 * 1024;

    fn read(signed: &Fields<'_>) -> Result<Self, TufError> {
        let meta = signed.object("meta")?;
        Ok(Self { snapshot: MetaFile::read(meta.get("snapshot.json")?, &meta)? })
    }
}

/// The snapshot: the version of every targets file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// By file name: `targets.json`, `<role>.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

impl Content for Snapshot {
    const TYPE: &'static str = "snapshot";
    const MAX_LENGTH: u64 = 2 * 1024 * 1024;

    fn read(signed: &Fields<'_>) -> Result<Self, TufError> {
        let listed = signed.object("meta")?;
        listed.get("targets.json")?;
        let meta = listed
            .members
            .iter()
            .map(|(name, json)| Ok((name.clone(), MetaFile::read(json, &listed)?)))
            .collect::<Result<_, TufError>>()?;
        Ok(Self { meta })
    }
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its length in bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// What the publisher says besides, such as Sigstore's `usage` and `status`.
    pub custom: Option<Json>,
}

impl TargetInfo {
    fn read(json: &Json, parent: &Fields<'_>) -> Result<Self, TufError> {
        let fields = parent.nested(json, "targets")?;
        let custom = match fields.members.get("custom") {
            Some(Json::Null) => return Err(fields.wrong("custom", "an object")),
            other => other.cloned(),
        };
        Ok(Self { length: fields.number("length")?, hashes: Hashes::read(&fields, "hashes")?, custom })
    }

    /// Checks the target's bytes.
    ///
    /// # Errors
    /// [`TufError::Mismatch`].
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        check_length(name, Some(self.length), bytes)?;
        self.hashes.check(name, bytes)
    }
}

/// Which target paths a delegated role speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Shell patterns; `*` and `?` do not cross a `/`.
    Patterns(Vec<String>),
    /// Prefixes of the hexadecimal SHA-256 of the path.
    HashPrefixes(Vec<String>),
}

impl Scope {
    /// Whether the path is in it.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|p| super::pattern::matches(p, path)),
            Self::HashPrefixes(prefixes) => {
                let hash = encoding::hex_encode(&sha256(path.as_bytes()));
                prefixes.iter().any(|p| hash.starts_with(p.as_str()))
            }
        }
    }
}

/// One delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The role's name; not safe as a file name.
    pub name: String,
    /// Who may sign.
    pub keys: RoleKeys,
    /// What it speaks for.
    pub scope: Scope,
    /// Whether nobody after it is asked about a path in its scope.
    pub terminating: bool,
}

/// The delegations of a targets role, in order of trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delegations {
    /// Keys of the delegated roles.
    pub keys: Keys,
    /// First come, first asked.
    pub roles: Vec<Delegation>,
}

impl Delegations {
    fn read(parent: &Fields<'_>, name: &str) -> Result<Self, TufError> {
        let fields = parent.object(name)?;
        let mut names = BTreeSet::new();
        let mut roles = Vec::new();
        for item in fields.array("roles")? {
            let role = fields.nested(item, "roles")?;
            let name = role.string("name")?.to_owned();
            if name.is_empty() || TOP_LEVEL.contains(&name.as_str()) || !names.insert(name.clone()) {
                return Err(role.wrong("name", &format!("a name of its own, found \"{}\"", short(&name))));
            }
            let scope =
                match (role.members.contains_key("paths"), role.members.contains_key("path_hash_prefixes")) {
                    (true, false) => Scope::Patterns(role.strings("paths")?),
                    (false, true) => Scope::HashPrefixes(role.strings("path_hash_prefixes")?),
                    _ => return Err(role.wrong("paths", "either paths or path_hash_prefixes")),
                };
            let terminating = role.optional("terminating", Fields::boolean)?.unwrap_or(false);
            roles.push(Delegation { name, keys: RoleKeys::read(&role)?, scope, terminating });
        }
        Ok(Self { keys: read_keys(&fields)?, roles })
    }
}

/// The targets, of the top level or of a delegated role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// By path.
    pub targets: BTreeMap<String, TargetInfo>,
    /// To whom it delegates.
    pub delegations: Delegations,
}

impl Content for Targets {
    const TYPE: &'static str = "targets";
    const MAX_LENGTH: u64 = 5 * 1024 * 1024;

    fn read(signed: &Fields<'_>) -> Result<Self, TufError> {
        let listed = signed.object("targets")?;
        let targets = listed
            .members
            .iter()
            .map(|(path, json)| Ok((path.clone(), TargetInfo::read(json, &listed)?)))
            .collect::<Result<_, TufError>>()?;
        Ok(Self {
            targets,
            delegations: signed.optional("delegations", Delegations::read)?.unwrap_or_default(),
        })
    }
}
