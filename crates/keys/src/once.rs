//! One password for several key files, with what scrypt made of it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use countersign_crypto::random;
use zeroize::Zeroizing;

use crate::encrypted::{self, DerivedKey, SALT_LEN};
use crate::{KeyError, PasswordSource};

/// A password that is had once and derived from once for each salt. Made by [`PasswordSource::once`].
pub struct OnePassword {
    source: PasswordSource,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    password: Option<Zeroizing<Vec<u8>>>,
    /// Of the keys that are written.
    salt: Option<[u8; SALT_LEN]>,
    derived: Vec<(Vec<u8>, u32, DerivedKey)>,
}

impl OnePassword {
    pub(crate) fn new(source: PasswordSource) -> Self {
        Self { source, known: Mutex::default() }
    }

    #[cfg(all(unix, feature = "pkcs11"))]
    pub(crate) const fn source(&self) -> &PasswordSource {
        &self.source
    }

    /// The salt of the keys that are written.
    pub(crate) fn salt(&self) -> Result<[u8; SALT_LEN], KeyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salt) = known.salt {
            return Ok(salt);
        }
        let mut salt = [0; SALT_LEN];
        random(&mut salt)?;
        Ok(*known.salt.insert(salt))
    }

    pub(crate) fn password(&self, purpose: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        had(&mut known.password, &self.source, purpose).cloned()
    }

    /// The key under a salt. Whoever asks for the same one meanwhile waits for it.
    pub(crate) fn derive(&self, purpose: &str, salt: &[u8], n: u32) -> Result<DerivedKey, KeyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, key)) = known.derived.iter().find(|(s, cost, _)| s == salt && *cost == n) {
            return Ok(key.clone());
        }
        let key = encrypted::derive(had(&mut known.password, &self.source, purpose)?, salt, n)?;
        known.derived.push((salt.to_vec(), n, key.clone()));
        Ok(key)
    }
}

fn had<'a>(
    known: &'a mut Option<Zeroizing<Vec<u8>>>,
    source: &PasswordSource,
    purpose: &str,
) -> Result<&'a Zeroizing<Vec<u8>>, KeyError> {
    match known {
        Some(password) => Ok(password),
        None => Ok(known.insert(source.get(purpose)?)),
    }
}

impl fmt::Debug for OnePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Once({:?})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{KeyRef, create_key_pair, load_signer};
    use countersign_crypto::{KeyType, Signer as _};

    #[test]
    fn several_keys_ask_once_and_open_again_with_the_password_alone() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let once = PasswordSource::Prompt(Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Zeroizing::new("secret".to_owned()))
        }))
        .once();
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|name| create_key_pair(&dir.path().join(name), KeyType::EcdsaP256, &once).unwrap())
            .collect();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let text = |at: usize| std::fs::read_to_string(&made[at].private).unwrap();
        assert_ne!(text(0), text(1));
        for files in &made {
            let reference = KeyRef::File(files.private.clone());
            let plain = load_signer(&reference, &PasswordSource::literal("secret")).unwrap();
            let kept = load_signer(&reference, &once).unwrap();
            assert_eq!(plain.public_key(), kept.public_key());
            let wrong = PasswordSource::literal("other").once();
            assert!(matches!(load_signer(&reference, &wrong), Err(KeyError::WrongPassword)));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let PasswordSource::Once(one) = &once else { panic!("it is one") };
        assert_eq!(one.known.lock().unwrap().derived.len(), 1, "one salt, one derivation");
        assert!(!format!("{once:?}").contains("secret"));
    }
}
