//! A question: a signature, the digest of a file, and who should have signed.

use countersign_crypto::{Digest, PublicKey};
use countersign_verify::{Identity, Requirements};

/// What the form asks.
#[derive(Debug, Default)]
pub struct Asked {
    /// The signature: a bundle.
    pub bundle: String,
    /// Digests of the file, one or several of them.
    pub digests: String,
    /// Who should have signed.
    pub identity: String,
    /// Who vouches for that one.
    pub issuer: String,
    /// Or by which key, in PEM.
    pub key: String,
}

impl Asked {
    /// Reads a form as browsers send it. Fields that are none are left out.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            let field = match &*name {
                "bundle" => &mut asked.bundle,
                "digests" => &mut asked.digests,
                "identity" => &mut asked.identity,
                "issuer" => &mut asked.issuer,
                "key" => &mut asked.key,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
        asked
    }

    /// The digests given.
    pub(crate) fn digests(&self) -> Result<Vec<Digest>, String> {
        let found: Vec<Digest> = self
            .digests
            .split_whitespace()
            .map(|word| {
                let named = if word.contains(':') { word.to_lowercase() } else { format!("sha256:{word}") };
                Digest::parse(&named).map_err(|error| format!("The digest {word}: {error}."))
            })
            .collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err("Give the digest of the file, such as sha256:9f86….".into());
        }
        Ok(found)
    }

    /// Who should have signed, and whether anybody was named.
    pub(crate) fn requirements(&self) -> Result<(Requirements, bool), String> {
        match (self.identity.as_str(), self.issuer.as_str(), self.key.as_str()) {
            ("", "", "") => Ok((Requirements::builder().dangerous_any_identity().build(), false)),
            ("", "", pem) => {
                let key =
                    PublicKey::from_pem(pem).map_err(|e| format!("The public key cannot be read: {e}."))?;
                Ok((Requirements::builder().key(key).build(), true))
            }
            ("", _, _) | (_, "", _) => {
                Err("An identity counts with its issuer only: give both, or neither.".into())
            }
            (identity, issuer, "") => {
                let identity = Identity::exact(identity, issuer).map_err(|e| format!("{e}."))?;
                Ok((Requirements::builder().identity(identity).build(), true))
            }
            _ => Err("Give an identity or a key, not both.".into()),
        }
    }
}
