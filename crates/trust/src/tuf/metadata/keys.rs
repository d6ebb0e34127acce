//! Keys as metadata lists them, and the keys of a role.

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::{HashAlgorithm, KeyType, PublicKey, Scheme, encoding, sha256};

use super::fields::Fields;
use crate::tuf::TufError;
use crate::tuf::json::Json;

/// The most keys in one file.
const MAX_KEYS: usize = 1024;
/// The DER prefix that turns 32 bytes of Ed25519 key into a `SubjectPublicKeyInfo` (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for 65 bytes of uncompressed P-256 point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key as metadata lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    json: Json,
    /// Absent for a key type or scheme not known here: such a key never counts.
    pub(super) usable: Option<(PublicKey, Scheme)>,
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
                Some((key, Scheme::RsaPss(HashAlgorithm::Sha256)))
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

pub(super) fn read_keys(fields: &Fields<'_>) -> Result<Keys, TufError> {
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
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, TufError> {
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
