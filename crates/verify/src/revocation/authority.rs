//! Who may revoke: what an instance publishes beside its trust root, and what others are told by hand.

use countersign_attestation::json::{self, Bounded, JsonError};
use countersign_crypto::{CryptoError, PublicKey};
use serde::{Deserialize, Serialize};

use super::target::Text;
use crate::{Identity, RequirementsError};

/// The largest document read, in bytes.
const MAX_LEN: usize = 64 * 1024;
/// The most keys, and the most identities.
const MAX_SIGNERS: usize = 32;

/// Why nobody may revoke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Not JSON of the expected shape.
    #[error("who may revoke: {0}")]
    Json(#[from] JsonError),
    /// A key that does not parse.
    #[error("who may revoke: a key: {0}")]
    Key(#[from] CryptoError),
    /// A text or a pattern that cannot be.
    #[error("who may revoke: {0}")]
    Text(#[from] RequirementsError),
    /// Nobody at all.
    #[error("who may revoke: expected at least one key or identity, found none")]
    Nobody,
}

/// Who may sign a revocation list. Never empty.
#[derive(Debug, Clone)]
pub struct RevocationAuthority {
    wire: Wire,
    keys: Vec<PublicKey>,
    identities: Vec<Identity>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    /// PEM.
    #[serde(default)]
    keys: Bounded<String, MAX_SIGNERS>,
    #[serde(default)]
    identities: Bounded<Named, MAX_SIGNERS>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    name: Text,
    issuer: Text,
}

impl RevocationAuthority {
    /// These keys, and these identities by name and issuer.
    ///
    /// # Errors
    /// [`AuthorityError`]; nobody at all is one.
    pub fn new(keys: &[PublicKey], identities: &[(Text, Text)]) -> Result<Self, AuthorityError> {
        let named = |(name, issuer): &(Text, Text)| Named { name: name.clone(), issuer: issuer.clone() };
        Self::of(Wire {
            keys: Bounded(keys.iter().map(PublicKey::to_pem).collect()),
            identities: Bounded(identities.iter().map(named).collect()),
        })
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, AuthorityError> {
        Self::of(json::from_slice(bytes, MAX_LEN)?)
    }

    fn of(wire: Wire) -> Result<Self, AuthorityError> {
        let keys = wire.keys.0.iter().map(|pem| PublicKey::from_pem(pem)).collect::<Result<Vec<_>, _>>()?;
        let mut identities = Vec::with_capacity(wire.identities.0.len());
        for Named { name, issuer } in &wire.identities.0 {
            identities.push(Identity::new(name.matcher()?, issuer.matcher()?));
        }
        if keys.is_empty() && identities.is_empty() {
            return Err(AuthorityError::Nobody);
        }
        Ok(Self { wire, keys, identities })
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`AuthorityError::Json`], which texts and lists never give.
    pub fn to_json(&self) -> Result<Vec<u8>, AuthorityError> {
        Ok(serde_json::to_vec_pretty(&self.wire).map_err(JsonError::from)?)
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The identities.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }
}
