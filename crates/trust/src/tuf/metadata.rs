//! The metadata of the four roles and of delegations, parsed strictly from one [`Json`] value.
//!
//! The bytes that are verified are the canonical form of the very value that the typed fields are read from,
//! so nothing is parsed twice. Key ids are opaque names: what counts towards a threshold is the number of
//! distinct keys whose signatures verify.

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::{KeyType, PublicKey, Scheme, encoding, sha256};
use jiff::Timestamp;

use super::TufError;
use super::json::{Json, Object, canonical_object};

/// The four names that no delegated role may bear.
pub const TOP_LEVEL: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// The most signatures on one file. The public root has five.
const MAX_SIGNATURES: usize = 256;
/// The most keys in one file.
const MAX_KEYS: usize = 1024;
/// The DER prefix that turns 32 bytes of Ed25519 key into a `SubjectPublicKeyInfo` (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for 65 bytes of uncompressed P-256 point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

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

/// A key as metadata lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    json: Json,
    /// Absent for a key type or scheme not known here: such a key never counts.
    usable: Option<(PublicKey, Scheme)>,
}

/// Keys by key id.
pub type Keys = BTreeMap<String, Key>;

impl Key {
    /// The form in which a key of ours is published: ECDSA P-256 as PEM under `ecdsa`, Ed25519 as hex.
    ///
    /// # Errors
    /// [`TufError::Repository`] for another type of key, which not every client can read.
    pub fn new(public: &PublicKey) -> Result<Self, TufError> {
        let (keytype, scheme, text) = match public.key_type() {
            KeyType::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256", public.to_pem()),
            KeyType::Ed25519 => ("ed25519", "ed25519", encoding::hex_encode(public.raw())),
            other => {
                return Err(TufError::Repository(format!(
                    "a TUF key is ECDSA P-256 or Ed25519, found {other}: not every client reads that"
                )));
            }
        };
        let json = Json::from([
            ("keytype", keytype.into()),
            ("keyval", Json::from([("public", text.into())])),
            ("scheme", scheme.into()),
        ]);
        Ok(Self { json, usable: Some((public.clone(), public.key_type().default_scheme())) })
    }

    fn read(json: &Json, parent: &Fields<'_>) -> Result<Self, TufError> {
        let fields = parent.nested(json, "keys")?;
        let keytype = fields.string("keytype")?;
        let scheme = fields.string("scheme")?;
        let value = fields.object("keyval")?;
        let public = || value.string("public");
        let usable = match (keytype, scheme) {
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                Some((pem(public()?, KeyType::EcdsaP256, &fields)?, Scheme::ECDSA_SHA256))
            }
            ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
                let key = pem(public()?, KeyType::EcdsaP384, &fields)?;
                let scheme = key.key_type().default_scheme();
                Some((key, scheme))
            }
            ("ed25519", "ed25519") => {
                let raw = encoding::hex_decode(public()?)
                    .map_err(|_| fields.wrong("keyval", "a hexadecimal Ed25519 key"))?;
                let key = PublicKey::from_spki_der(&[&ED25519_SPKI[..], &raw].concat())
                    .map_err(|e| fields.wrong("keyval", &format!("an Ed25519 key: {e}")))?;
                Some((key, Scheme::Ed25519))
            }
            ("rsa", "rsassa-pss-sha256") => {
                let key = PublicKey::from_pem(public()?)
                    .map_err(|e| fields.wrong("keyval", &format!("an RSA key in PEM: {e}")))?;
                Some((key, Scheme::RsaPss(countersign_crypto::HashAlgorithm::Sha256)))
            }
            _ => None,
        };
        Ok(Self { json: json.clone(), usable })
    }

    /// The key id that every client computes alike: SHA-256 of the canonical form, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        encoding::hex_encode(&sha256(&self.json.canonical()))
    }

    /// As it is listed in metadata.
    #[must_use]
    pub const fn json(&self) -> &Json {
        &self.json
    }

    /// The key, if its type and scheme are known here.
    #[must_use]
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.usable.as_ref().map(|(key, _)| key)
    }
}

/// A key in PEM, or a bare P-256 point in hex as the first four roots of the public Sigstore have it.
fn pem(text: &str, expected: KeyType, fields: &Fields<'_>) -> Result<PublicKey, TufError> {
    let key = match encoding::hex_decode(text) {
        Ok(point) if expected == KeyType::EcdsaP256 => {
            PublicKey::from_spki_der(&[&P256_SPKI[..], &point].concat())
        }
        _ => PublicKey::from_pem(text),
    };
    let key = key.map_err(|e| fields.wrong("keyval", &format!("a key in PEM: {e}")))?;
    if key.key_type() == expected {
        Ok(key)
    } else {
        Err(fields.wrong("keyval", &format!("an {expected} key, found {}", key.key_type())))
    }
}

fn read_keys(fields: &Fields<'_>) -> Result<Keys, TufError> {
    let object = fields.object("keys")?;
    if object.members.len() > MAX_KEYS {
        return Err(fields.wrong("keys", &format!("at most {MAX_KEYS}, found {}", object.members.len())));
    }
    object.members.iter().map(|(id, json)| Ok((id.clone(), Key::read(json, fields)?))).collect()
}

/// Which keys may sign for a role, and how many must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Key ids.
    pub keyids: BTreeSet<String>,
    /// How many distinct keys must sign; at least 1.
    pub threshold: u64,
}

impl RoleKeys {
    fn read(fields: &Fields<'_>) -> Result<Self, TufError> {
        let listed = fields.array("keyids")?;
        let keyids: BTreeSet<String> = listed
            .iter()
            .map(|id| match id {
                Json::String(id) => Ok(id.clone()),
                _ => Err(fields.wrong("keyids", "strings")),
            })
            .collect::<Result<_, _>>()?;
        if keyids.len() != listed.len() {
            return Err(fields.wrong("keyids", "each key id once"));
        }
        let threshold = fields.number("threshold")?;
        if threshold == 0 {
            return Err(fields.wrong("threshold", "at least 1, found 0"));
        }
        Ok(Self { keyids, threshold })
    }
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
            let Some(known) = countersign_crypto::HashAlgorithm::from_name(algorithm) else { continue };
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

/// The members of an object, read with errors that name the role and the member.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    role: &'static str,
    members: &'a Object,
}

impl<'a> Fields<'a> {
    fn wrong(&self, member: &str, expected: &str) -> TufError {
        TufError::malformed(self.role, format!("{}: expected {expected}", short(member)))
    }

    fn get(&self, name: &str) -> Result<&'a Json, TufError> {
        self.members.get(name).ok_or_else(|| self.wrong(name, "it, found nothing"))
    }

    fn nested(&self, json: &'a Json, name: &str) -> Result<Self, TufError> {
        match json {
            Json::Object(members) => Ok(Self { role: self.role, members }),
            _ => Err(self.wrong(name, "an object")),
        }
    }

    fn object(&self, name: &str) -> Result<Self, TufError> {
        self.nested(self.get(name)?, name)
    }

    fn array(&self, name: &str) -> Result<&'a [Json], TufError> {
        match self.get(name)? {
            Json::Array(items) => Ok(items),
            _ => Err(self.wrong(name, "an array")),
        }
    }

    fn string(&self, name: &str) -> Result<&'a str, TufError> {
        match self.get(name)? {
            Json::String(text) => Ok(text),
            _ => Err(self.wrong(name, "a string")),
        }
    }

    fn strings(&self, name: &str) -> Result<Vec<String>, TufError> {
        self.array(name)?
            .iter()
            .map(|item| match item {
                Json::String(text) => Ok(text.clone()),
                _ => Err(self.wrong(name, "strings")),
            })
            .collect()
    }

    fn number(&self, name: &str) -> Result<u64, TufError> {
        match self.get(name)? {
            Json::Integer(number) => {
                u64::try_from(*number).map_err(|_| self.wrong(name, "no negative number"))
            }
            _ => Err(self.wrong(name, "a number")),
        }
    }

    fn boolean(&self, name: &str) -> Result<bool, TufError> {
        match self.get(name)? {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.wrong(name, "true or false")),
        }
    }

    /// A member that may be absent. `null` is not absent.
    fn optional<V>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<V, TufError>,
    ) -> Result<Option<V>, TufError> {
        if self.members.contains_key(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}

/// A name out of untrusted metadata, cut and freed of control characters, for an error message.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
