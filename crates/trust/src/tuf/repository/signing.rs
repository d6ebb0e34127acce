//! Building and signing the metadata files.

use std::sync::Arc;

use countersign_crypto::{Signer, encoding, sha256};
use jiff::{SignedDuration, Timestamp};

use super::{Keyring, Roles};
use crate::tuf::TufError;
use crate::tuf::json::{Json, Object, canonical_object};
use crate::tuf::metadata::{Key, Keys, RoleKeys, Root, TOP_LEVEL};

/// The version of the specification that is followed.
const SPEC_VERSION: &str = "1.0.31";

pub(super) fn date(now: Timestamp, lifetime: SignedDuration) -> Result<Json, TufError> {
    let end = now
        .checked_add(lifetime)
        .and_then(|end| Timestamp::from_second(end.as_second()))
        .map_err(|e| TufError::Repository(format!("no such date: {e}")))?;
    Ok(Json::from(end.to_string()))
}

pub(super) fn common(members: &mut Object, role: &str, version: u64, expires: Json) {
    members.insert("_type".into(), role.into());
    members.insert("expires".into(), expires);
    members.insert("spec_version".into(), SPEC_VERSION.into());
    members.insert("version".into(), version.into());
}

pub(super) fn root_members(version: u64, expires: Json, keys: Json, roles: Json) -> Object {
    let mut members = Object::new();
    common(&mut members, "root", version, expires);
    members.insert("consistent_snapshot".into(), Json::Bool(true));
    members.insert("keys".into(), keys);
    members.insert("roles".into(), roles);
    members
}

pub(super) fn meta_file(bytes: &[u8], version: u64) -> Json {
    let hash = Json::from(encoding::hex_encode(&sha256(bytes)));
    Json::from([
        ("hashes", Json::from([("sha256", hash)])),
        ("length", Json::from(bytes.len() as u64)),
        ("version", Json::from(version)),
    ])
}

pub(super) fn object_member(members: &Object, name: &str) -> Object {
    match members.get(name) {
        Some(Json::Object(object)) => object.clone(),
        _ => Object::new(),
    }
}

/// The keys of a role that is to be listed, in the form of a role that is listed.
pub(super) fn requirements_of(roles: &Roles, name: &str) -> Result<Vec<(Keys, RoleKeys)>, TufError> {
    let mut required = Vec::new();
    for (_, role) in roles.by_name().into_iter().filter(|(n, _)| *n == name) {
        let keys: Keys = role
            .keys
            .iter()
            .map(|public| Key::new(public).map(|key| (key.id(), key)))
            .collect::<Result<_, _>>()?;
        let keyids = keys.keys().cloned().collect();
        required.push((keys, RoleKeys { keyids, threshold: role.threshold }));
    }
    Ok(required)
}

pub(super) fn can_sign(keyring: Keyring<'_>, keys: &Keys, role: &RoleKeys) -> bool {
    key_ids(keyring, keys, role).len() as u64 >= role.threshold
}

/// Which signers of the ring belong to the role, and under which key id.
pub(super) fn key_ids<'a>(
    keyring: Keyring<'a>,
    keys: &Keys,
    role: &RoleKeys,
) -> Vec<(String, &'a Arc<dyn Signer>)> {
    role.keyids
        .iter()
        .filter_map(|id| {
            let public = keys.get(id)?.public_key()?;
            keyring.iter().find(|signer| signer.public_key() == public).map(|signer| (id.clone(), signer))
        })
        .collect()
}

pub(super) fn sign_role(
    root: &Root,
    name: &str,
    members: Object,
    keyring: Keyring<'_>,
) -> Result<Vec<u8>, TufError> {
    debug_assert!(TOP_LEVEL.contains(&name));
    sign(name, members, keyring, &[(root.keys.clone(), root.role(name)?.clone())])
}

/// Signs with every signer of the ring that any of the roles lists; each role must reach its threshold.
pub(super) fn sign(
    name: &str,
    members: Object,
    keyring: Keyring<'_>,
    required: &[(Keys, RoleKeys)],
) -> Result<Vec<u8>, TufError> {
    let mut signers: Vec<(String, &Arc<dyn Signer>)> = Vec::new();
    for (keys, role) in required {
        let found = key_ids(keyring, keys, role);
        if (found.len() as u64) < role.threshold {
            return Err(TufError::Signers {
                role: name.to_owned(),
                required: role.threshold,
                found: found.len() as u64,
            });
        }
        for entry in found {
            if !signers.iter().any(|(id, _)| *id == entry.0) {
                signers.push(entry);
            }
        }
    }
    let message = canonical_object(&members);
    let mut signatures = Vec::new();
    for (id, signer) in signers {
        let signature = signer.sign(&message)?;
        signatures.push(Json::from([
            ("keyid", Json::from(id)),
            ("sig", Json::from(encoding::hex_encode(&signature))),
        ]));
    }
    Ok(Json::from([("signatures", Json::Array(signatures)), ("signed", Json::Object(members))]).pretty())
}
