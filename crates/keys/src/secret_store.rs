//! Key pairs kept as secrets, under cosign's names, by services that store secrets.

use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer as _};
use zeroize::Zeroizing;

use crate::{KeyError, PasswordSource, encrypted};

/// The names of the secrets at GitLab and GitHub.
pub(crate) const PRIVATE: &str = "COSIGN_PRIVATE_KEY";
pub(crate) const PUBLIC: &str = "COSIGN_PUBLIC_KEY";
pub(crate) const PASSWORD: &str = "COSIGN_PASSWORD";

/// What a service keeps of a private key.
pub(crate) struct StoredKey {
    /// PEM, encrypted.
    pub(crate) private: Zeroizing<String>,
    /// The password beside it, when there is one.
    pub(crate) password: Option<Zeroizing<Vec<u8>>>,
}

/// A new pair, ready to be stored.
pub(crate) struct NewPair {
    pub(crate) public: PublicKey,
    pub(crate) private_pem: Zeroizing<String>,
    pub(crate) public_pem: String,
    pub(crate) password: Zeroizing<Vec<u8>>,
}

impl NewPair {
    /// Makes a key pair and encrypts it under the password, which will be stored beside it.
    pub(crate) fn make(key_type: KeyType, password: &PasswordSource, name: &str) -> Result<Self, KeyError> {
        let password = password.get(name)?;
        let pair = KeyPair::generate(key_type)?;
        let public = pair.public_key().clone();
        let private_pem = Zeroizing::new(encrypted::encrypt(&pair.to_pkcs8()?, &password)?);
        Ok(Self { public_pem: public.to_pem(), public, private_pem, password })
    }

    /// The three secrets with their names, the private key first.
    pub(crate) fn secrets(&self) -> Result<[(&'static str, &str); 3], KeyError> {
        let password = std::str::from_utf8(&self.password)
            .map_err(|_| KeyError::Password("it is not UTF-8, which these secrets must be".into()))?;
        Ok([(PRIVATE, &self.private_pem), (PASSWORD, password), (PUBLIC, &self.public_pem)])
    }
}

/// Nothing is replaced: who wants a new key moves the old one away.
pub(crate) fn taken(name: &str, what: &str) -> KeyError {
    KeyError::Refused(format!(
        "{name}: {what} is there already and is not replaced; delete it first, or choose another name"
    ))
}
