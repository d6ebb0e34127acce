//! An instance's key that does not lie in its directory: a token, a key service.
//!
//! Such a key may be away for a while. The first request that finds out waits for it, at most a second and a half;
//! from then on every other is told at once, and a probe each second looks whether the key is back. Nothing else
//! signs in its place. The public half lies in the directory, so a server starts while a key is away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use countersign_crypto::{CryptoError, Digest, PublicKey, Scheme, Signer};
use countersign_keys::{KeyError, KeyRef, PasswordSource, load_signer};

use crate::instance::InstanceKey;

/// What a probe signs: no certificate, checkpoint, token or metadata.
const PROBE: &[u8] = b"countersign: is this key there? This text is no statement about anything.\n";

/// The longest time anyone waits for a signature; the services of keys have more patience of their own.
const PATIENCE: Duration = Duration::from_millis(1700);

/// A key that lives elsewhere. It signs with the default scheme of its type.
#[derive(Debug)]
pub(crate) struct RemoteKey {
    pub(crate) key: InstanceKey,
    public: PublicKey,
    home: Arc<Home>,
    probing: AtomicBool,
}

/// What the threads that wait for the key share.
#[derive(Debug)]
struct Home {
    key: InstanceKey,
    reference: KeyRef,
    public: PublicKey,
    password: PasswordSource,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made when the key can be reached for the first time.
    signer: Option<Arc<dyn Signer>>,
    /// Why the key cannot be used now.
    away: Option<String>,
}

impl RemoteKey {
    /// A key by its reference; `public` is what it must be. Nobody is asked yet.
    pub(crate) fn new(
        key: InstanceKey,
        reference: KeyRef,
        public: PublicKey,
        password: PasswordSource,
    ) -> Self {
        let home = Home { key, reference, public: public.clone(), password, state: Mutex::default() };
        Self { key, public, home: Arc::new(home), probing: AtomicBool::new(false) }
    }

    /// Why the key cannot be used now; `None` when it can, as far as is known.
    pub(crate) fn away(&self) -> Option<String> {
        self.home.lock().away.clone()
    }

    /// Looks whether the key can be used, and remembers it. Blocks; one at a time is enough, others return at once.
    pub(crate) fn probe(&self) {
        if self.probing.swap(true, Ordering::SeqCst) {
            return;
        }
        let result = self.in_time(|signer| signer.sign(PROBE));
        self.home.note(result.as_ref().err());
        self.probing.store(false, Ordering::SeqCst);
    }

    /// Signs on a thread of its own, which is left behind when it takes too long.
    fn in_time(
        &self,
        sign: impl FnOnce(&dyn Signer) -> Result<Vec<u8>, CryptoError> + Send + 'static,
    ) -> Result<Vec<u8>, CryptoError> {
        let home = Arc::clone(&self.home);
        let (answer, answered) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody may be waiting any more.
            let _ = answer.send(home.reach().and_then(|signer| sign(signer.as_ref())));
        });
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            Err(CryptoError::KeyUnavailable(format!("{} does not answer", self.home.reference)))
        })
    }

    fn attempt(
        &self,
        sign: impl FnOnce(&dyn Signer) -> Result<Vec<u8>, CryptoError> + Send + 'static,
    ) -> Result<Vec<u8>, CryptoError> {
        if let Some(reason) = self.away() {
            return Err(CryptoError::KeyUnavailable(reason));
        }
        let result = self.in_time(sign);
        if let Err(error @ CryptoError::KeyUnavailable(_)) = &result {
            self.home.note(Some(error));
        }
        result
    }
}

impl Home {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signer, made if there is none yet.
    fn reach(&self) -> Result<Arc<dyn Signer>, CryptoError> {
        if let Some(signer) = &self.lock().signer {
            return Ok(Arc::clone(signer));
        }
        let unavailable = |message: String| CryptoError::KeyUnavailable(message);
        let signer = load_signer(&self.reference, &self.password).map_err(|e| match e {
            KeyError::Crypto(e @ CryptoError::KeyUnavailable(_)) => e,
            other => unavailable(other.to_string()),
        })?;
        if *signer.public_key() != self.public {
            return Err(unavailable(format!(
                "another key is in its place: expected the one of {}.pub",
                self.key.stem()
            )));
        }
        self.lock().signer = Some(Arc::clone(&signer));
        Ok(signer)
    }

    fn note(&self, error: Option<&CryptoError>) {
        let mut state = self.lock();
        match error {
            Some(CryptoError::KeyUnavailable(reason)) => {
                if state.away.is_none() {
                    tracing::error!(key = self.key.name(), reason, "a key cannot be reached");
                }
                state.away = Some(reason.clone());
            }
            // A refusal of one request is that request's error; the key is there.
            _ => {
                if state.away.take().is_some() {
                    tracing::info!(key = self.key.name(), "the key is back");
                }
            }
        }
    }
}

impl Signer for RemoteKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn scheme(&self) -> Scheme {
        self.public.key_type().default_scheme()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let message = message.to_vec();
        self.attempt(move |signer| signer.sign(&message))
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        let digest = *digest;
        self.attempt(move |signer| signer.sign_digest(&digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType};

    /// A key that is there or not, as a test says, and counts who asks.
    #[derive(Debug)]
    struct Moody {
        pair: KeyPair,
        there: AtomicBool,
        asked: std::sync::atomic::AtomicUsize,
    }

    impl Moody {
        fn answer(
            &self,
            sign: impl FnOnce() -> Result<Vec<u8>, CryptoError>,
        ) -> Result<Vec<u8>, CryptoError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.there.load(Ordering::SeqCst) {
                sign()
            } else {
                Err(CryptoError::KeyUnavailable("unplugged".into()))
            }
        }
    }

    impl Signer for Moody {
        fn public_key(&self) -> &PublicKey {
            self.pair.public_key()
        }
        fn scheme(&self) -> Scheme {
            self.pair.scheme()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
            self.answer(|| self.pair.sign(message))
        }
        fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
            self.answer(|| self.pair.sign_digest(digest))
        }
    }

    #[test]
    fn r21_a_key_that_is_away_is_asked_once_and_used_again_after_a_probe() {
        let pair = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let public = pair.public_key().clone();
        let moody = Arc::new(Moody { pair, there: AtomicBool::new(true), asked: Default::default() });
        let none = PasswordSource::FirstSet(Vec::new());
        let key = RemoteKey::new(InstanceKey::Ca, KeyRef::Env("UNUSED".into()), public, none);
        key.home.lock().signer = Some(moody.clone());
        let signature = key.sign(b"m").unwrap();
        key.public_key().verify(key.scheme(), b"m", &signature).unwrap();

        moody.there.store(false, Ordering::SeqCst);
        let asked = moody.asked.load(Ordering::SeqCst);
        for _ in 0..10 {
            assert_eq!(key.sign(b"m"), Err(CryptoError::KeyUnavailable("unplugged".into())));
        }
        assert_eq!(moody.asked.load(Ordering::SeqCst), asked + 1, "the others are told at once");
        key.probe();
        assert_eq!(key.away().as_deref(), Some("unplugged"));

        moody.there.store(true, Ordering::SeqCst);
        assert!(key.sign(b"m").is_err(), "until a probe has seen it");
        key.probe();
        assert_eq!(key.away(), None);
        key.sign(b"m").unwrap();
    }

    /// A key whose home takes a request and says nothing until the test ends.
    #[derive(Debug)]
    struct Silent(KeyPair, Mutex<mpsc::Receiver<()>>);

    impl Signer for Silent {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }
        fn scheme(&self) -> Scheme {
            self.0.scheme()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
            let _ = self.1.lock().unwrap().recv();
            self.0.sign(message)
        }
        fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
            self.0.sign_digest(digest)
        }
    }

    #[test]
    fn r21_a_home_that_says_nothing_is_not_waited_for() {
        let pair = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let public = pair.public_key().clone();
        let none = PasswordSource::FirstSet(Vec::new());
        let key = RemoteKey::new(InstanceKey::Ca, KeyRef::Env("UNUSED".into()), public, none);
        let (release, held) = mpsc::channel();
        key.home.lock().signer = Some(Arc::new(Silent(pair, Mutex::new(held))));
        assert!(
            matches!(key.sign(b"m"), Err(CryptoError::KeyUnavailable(m)) if m.contains("does not answer"))
        );
        assert!(key.away().is_some());
        drop(release);
        key.probe();
        assert_eq!(key.away(), None);
    }

    #[test]
    fn another_key_at_the_same_place_is_not_used() {
        // The test's own environment holds no key, so the reference leads nowhere.
        let public = KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().clone();
        let none = PasswordSource::FirstSet(Vec::new());
        let key = RemoteKey::new(
            InstanceKey::Tsa,
            KeyRef::Env("COUNTERSIGN_NO_SUCH".into()),
            public.clone(),
            none.clone(),
        );
        assert!(
            matches!(key.sign(b"m"), Err(CryptoError::KeyUnavailable(m)) if m.contains("COUNTERSIGN_NO_SUCH"))
        );

        let directory = tempfile::tempdir().unwrap();
        let files = countersign_keys::create_key_pair(
            &directory.path().join("k"),
            KeyType::EcdsaP256,
            &PasswordSource::literal(""),
        )
        .unwrap();
        let key = RemoteKey::new(
            InstanceKey::Tsa,
            KeyRef::File(files.private),
            public,
            PasswordSource::literal(""),
        );
        assert!(matches!(key.sign(b"m"), Err(CryptoError::KeyUnavailable(m)) if m.contains("another key")));
    }
}
