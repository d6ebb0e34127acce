//! What an instance trusts and has revoked: on its server, and as the one document by which a browser is told.

use std::sync::Arc;

use countersign_attestation::json;
use countersign_bundle::TrustedRoot;
use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{self, RevocationAuthority, Revocations};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest document: a trust root, and a full revocation list.
const MAX_LEN: usize = 8 * 1024 * 1024;

/// Why there is nothing to verify with.
#[derive(Debug, thiserror::Error)]
#[error("what this instance trusts cannot be read: {0}")]
pub struct TrustError(String);

impl TrustError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What an instance trusts.
#[derive(Debug)]
pub struct Trust {
    root: TrustedRoot,
    material: TrustMaterial,
    log_id: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    trusted_root: Value,
    /// Who may revoke, and what is revoked; absent where there is no list.
    revoked: Option<Revoked>,
    log_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Revoked {
    authority: Value,
    list: Value,
}

/// The document for a browser: the trust root; who may revoke, with the signed list; and the id of the instance's own log.
///
/// # Errors
/// [`TrustError`] when one of them is no JSON.
pub fn document(
    trusted_root: &[u8],
    revoked: Option<(&[u8], &[u8])>,
    log_id: Option<&[u8]>,
) -> Result<Vec<u8>, TrustError> {
    let value = |bytes: &[u8]| json::from_slice::<Value>(bytes, MAX_LEN).map_err(TrustError::of);
    let revoked = match revoked {
        Some((authority, list)) => Some(Revoked { authority: value(authority)?, list: value(list)? }),
        None => None,
    };
    let document = Document { trusted_root: value(trusted_root)?, revoked, log_id: log_id.map(hex_encode) };
    serde_json::to_vec(&document).map_err(TrustError::of)
}

impl Trust {
    /// A trust root, what is revoked, and the id of the instance's own log.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(
        root: TrustedRoot,
        revocations: Option<Revocations>,
        log_id: Option<Vec<u8>>,
    ) -> Result<Self, TrustError> {
        let material = TrustMaterial::from_trusted_root(&root).map_err(TrustError::of)?;
        let material = match revocations {
            Some(list) => material.with_revocations(Arc::new(list)),
            None => material,
        };
        Ok(Self { root, material, log_id })
    }

    /// Reads the [document]. A revocation list that does not verify is no empty list.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustError> {
        let document: Document = json::from_slice(bytes, MAX_LEN).map_err(TrustError::of)?;
        let root =
            TrustedRoot::from_json(document.trusted_root.to_string().as_bytes()).map_err(TrustError::of)?;
        let revocations = match document.revoked {
            Some(Revoked { authority, list }) => {
                let authority = RevocationAuthority::from_json(authority.to_string().as_bytes())
                    .map_err(TrustError::of)?;
                // By the instance's own key, as on its server. Whether it has expired is asked when it is used.
                let (nobody, any_time) = (TrustMaterial::empty(), Timestamp::MAX);
                let list = list.to_string();
                let list = revocation::open(list.as_bytes(), &authority, &nobody, "this instance", any_time);
                Some(list.map_err(TrustError::of)?)
            }
            None => None,
        };
        let log_id = document.log_id.as_deref().map(hex_decode).transpose().map_err(TrustError::of)?;
        Self::new(root, revocations, log_id)
    }

    pub(crate) const fn root(&self) -> &TrustedRoot {
        &self.root
    }

    pub(crate) const fn material(&self) -> &TrustMaterial {
        &self.material
    }

    pub(crate) fn is_own_log(&self, id: &[u8]) -> bool {
        self.log_id.as_deref() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::{KeyPair, KeyType, Signer as _};
    use countersign_verify::revocation::{Change, RevocationList};

    use super::*;

    const ROOT: &[u8] = br#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;

    fn key() -> KeyPair {
        KeyPair::generate(KeyType::EcdsaP256).unwrap()
    }

    /// Who may revoke, and a list by this key.
    fn revoked(by: &KeyPair) -> (Vec<u8>, Vec<u8>) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let until = Timestamp::from_second(1_900_000_000).unwrap();
        let list = RevocationList::following(None, &Change::Renew(1), now, until).unwrap();
        let authority = RevocationAuthority::new(&[by.public_key().clone()], &[]).unwrap();
        (authority.to_json().unwrap(), revocation::seal(&list, by).unwrap())
    }

    #[test]
    fn a_browser_is_told_what_the_server_trusts() {
        let (authority, list) = revoked(&key());
        let told = document(ROOT, Some((&authority, &list)), Some(&[7; 32])).unwrap();
        let trust = Trust::from_json(&told).unwrap();
        assert_eq!(trust.material().revocations().len(), 1);
        assert!(trust.is_own_log(&[7; 32]) && !trust.is_own_log(&[8; 32]));
        let without = Trust::from_json(&document(ROOT, None, None).unwrap()).unwrap();
        assert!(without.material().revocations().is_empty() && !without.is_own_log(&[7; 32]));
    }

    #[test]
    fn a_list_that_does_not_verify_is_no_empty_list() {
        let (authority, _) = revoked(&key());
        let (_, others) = revoked(&key());
        for list in [others.as_slice(), b"{}"] {
            let told = document(ROOT, Some((&authority, list)), None).unwrap();
            assert!(Trust::from_json(&told).is_err());
        }
        assert!(document(ROOT, Some((&authority, b"no JSON")), None).is_err());
        for bad in [&b"{}"[..], b"[]", br#"{"trustedRoot": {}, "revoked": null, "logId": "zz"}"#] {
            assert!(Trust::from_json(bad).is_err());
        }
    }
}
