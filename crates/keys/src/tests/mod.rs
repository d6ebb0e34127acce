//! Every home against a server on loopback which speaks its protocol and checks what a real one checks: the
//! signature of the request, the token, the secret. What may go wrong goes wrong for each of them.

mod aws;
mod azure;
mod forges;
mod gcp;
mod kubernetes;
mod plugin;
mod server;
mod vault;
mod waiting;
mod web;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use countersign_crypto::{CryptoError, HashAlgorithm, KeyPair, KeyType, PublicKey, Scheme, Signer as _};

use self::server::{Reply, Seen, Server};
use crate::environment::Context;
use crate::load::{create, key_pair, public_key, signer};
use crate::{KeyError, KeyRef, PasswordSource};

/// A secret that must never be seen in an error.
const SECRET: &str = "hunter2-hunter2-hunter2";

fn no_password() -> PasswordSource {
    PasswordSource::FirstSet(vec![])
}

/// What a stand-in does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All that a real service does.
    Good,
    /// There is no such key.
    Missing,
    /// The key is not one that signs.
    WrongType,
    /// Signatures are made with another key.
    WrongSignature,
    /// Every answer is an internal error.
    Broken,
    /// Credentials that were good are not taken any more.
    Revoked,
    /// Every answer is larger than any real one.
    Huge,
    /// Every answer sends to another host.
    Redirect,
}

/// A stand-in for a key service.
struct Stand {
    key: KeyPair,
    other: KeyPair,
    mode: Mutex<Mode>,
    /// For creating: whether the key was made.
    made: AtomicBool,
    /// How often something was refused for its credentials.
    refused: AtomicUsize,
}

impl Stand {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn is_missing(&self) -> bool {
        self.mode() == Mode::Missing && !self.made.load(Ordering::SeqCst)
    }

    fn public(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// Signs a digest as the service would.
    fn sign(&self, digest: &[u8]) -> Vec<u8> {
        let key = if self.mode() == Mode::WrongSignature { &self.other } else { &self.key };
        let algorithm = HashAlgorithm::ALL.into_iter().find(|a| a.output_len() == digest.len()).unwrap();
        key.sign_digest(&countersign_crypto::Digest::new(algorithm, digest).unwrap()).unwrap()
    }

    /// Signs a whole message as the service would.
    fn sign_message(&self, message: &[u8]) -> Vec<u8> {
        if self.mode() == Mode::WrongSignature { &self.other } else { &self.key }.sign(message).unwrap()
    }

    fn refuse(&self, reply: Reply) -> Reply {
        self.refused.fetch_add(1, Ordering::SeqCst);
        reply
    }
}

/// A home under test.
struct Home {
    /// Answers as the service does; its token endpoints too.
    respond: fn(&Stand, &Seen) -> Reply,
    /// Whether a request is for a token endpoint, which stays good when the service itself goes wrong.
    is_login: fn(&Seen) -> bool,
    /// Variables and reference, for a service at this `host:port`, with good or bad credentials.
    enter: fn(&str, bool) -> (Context, KeyRef),
    /// A part of the message which says where credentials come from.
    places: &'static str,
    key_types: &'static [KeyType],
}

/// A running stand-in, and the one to which nothing may ever be sent.
struct Running {
    stand: Arc<Stand>,
    service: Server,
    thief: Server,
}

impl Home {
    fn start(&self, key: KeyPair, mode: Mode) -> Running {
        let scheme = key.scheme();
        let other = KeyPair::generate(match key.public_key().key_type() {
            // The smallest new RSA keys have 3072 bits.
            KeyType::Rsa { .. } => KeyType::Rsa { bits: 3072 },
            other => other,
        });
        let stand = Arc::new(Stand {
            other: other.unwrap().with_scheme(scheme).unwrap(),
            key,
            mode: Mutex::new(mode),
            made: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
        });
        let thief = Server::start(|_| Reply::text(200, "{}"));
        let (shared, respond, is_login) = (Arc::clone(&stand), self.respond, self.is_login);
        let elsewhere = thief.url("/");
        let service = Server::start(move |seen| match shared.mode() {
            _ if is_login(seen) => respond(&shared, seen),
            Mode::Broken => Reply::text(500, "{}"),
            Mode::Revoked => Reply::text(401, "{}"),
            Mode::Huge => Reply::text(200, &"x".repeat(8 << 20)),
            Mode::Redirect => Reply::text(307, "").with("location", &elsewhere),
            _ => respond(&shared, seen),
        });
        Running { stand, service, thief }
    }

    fn signing_key(&self, key_type: KeyType) -> KeyPair {
        KeyPair::generate(key_type).unwrap()
    }

    /// Everything that is asked of every key service.
    fn check(&self) {
        for key_type in self.key_types {
            self.signs_with(*key_type);
        }
        let kind = self.key_types[0];
        self.wrong_credentials_are_refused(kind);
        self.refuses(kind, Mode::Missing, "no such key");
        self.refuses(kind, Mode::WrongType, "");
        self.refuses(kind, Mode::Huge, "longer than");
        self.never_follows_elsewhere(kind);
        self.tells_when_it_cannot_be_reached(kind);
        self.checks_each_signature(kind);
    }

    fn open(&self, running: &Running) -> Result<Arc<dyn countersign_crypto::Signer>, KeyError> {
        let (context, reference) = (self.enter)(&running.service.host(), true);
        signer(&context, &reference, &no_password(), false)
    }

    fn signs_with(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::Good);
        let (context, reference) = (self.enter)(&running.service.host(), true);
        assert_eq!(&public_key(&context, &reference).unwrap(), running.stand.public());
        let signer = signer(&context, &reference, &no_password(), false).unwrap();
        assert_eq!(signer.public_key(), running.stand.public());
        let signature = signer.sign(b"message").unwrap();
        running.stand.public().verify(signer.scheme(), b"message", &signature).unwrap();
        if let Some(hash) = signer.scheme().hash() {
            let digest = hash.digest(b"message");
            let signature = signer.sign_digest(&digest).unwrap();
            running.stand.public().verify(signer.scheme(), b"message", &signature).unwrap();
            let wrong = HashAlgorithm::ALL.into_iter().find(|a| *a != hash).unwrap().digest(b"message");
            assert!(matches!(signer.sign_digest(&wrong), Err(CryptoError::Unsupported(_))));
        }
        assert!(matches!(key_pair(&context, &reference, &no_password()), Err(KeyError::Unsupported { .. })));
        assert_eq!(running.stand.refused.load(Ordering::SeqCst), 0, "every request was well signed");
    }

    fn wrong_credentials_are_refused(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::Good);
        let (context, reference) = (self.enter)(&running.service.host(), false);
        let error = signer(&context, &reference, &no_password(), false).unwrap_err();
        assert!(running.stand.refused.load(Ordering::SeqCst) > 0, "the stand-in checks credentials");
        assert!(matches!(error, KeyError::Refused(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(self.places) && !text.contains(SECRET), "{text}");
    }

    fn refuses(&self, key_type: KeyType, mode: Mode, words: &str) {
        let running = self.start(self.signing_key(key_type), mode);
        let error = self.open(&running).unwrap_err();
        assert!(!is_unavailable(&error), "{mode:?}: {error}");
        assert!(error.to_string().contains(words), "{mode:?}: {error}");
    }

    fn never_follows_elsewhere(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::Redirect);
        let error = self.open(&running).unwrap_err();
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(running.thief.count(), 0, "nothing was sent to another host");
    }

    fn tells_when_it_cannot_be_reached(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::Broken);
        assert!(is_unavailable(&self.open(&running).unwrap_err()));
        *running.stand.mode.lock().unwrap() = Mode::Good;
        let signer = self.open(&running).unwrap();
        signer.sign(b"m").unwrap();
        // Gone while in use, and back again: nothing takes its place, nothing needs a restart.
        *running.stand.mode.lock().unwrap() = Mode::Broken;
        assert!(matches!(signer.sign(b"m"), Err(CryptoError::KeyUnavailable(_))));
        *running.stand.mode.lock().unwrap() = Mode::Good;
        signer.sign(b"m").unwrap();
        // Nobody listens there at all.
        let (context, reference) = (self.enter)("127.0.0.1:9", true);
        assert!(is_unavailable(
            &crate::load::signer(&context, &reference, &no_password(), false).unwrap_err()
        ));
    }

    fn checks_each_signature(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::WrongSignature);
        let signer = self.open(&running).unwrap();
        match signer.sign(b"message") {
            Err(CryptoError::Signing(text)) => assert!(text.contains("own public key"), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    /// A key is made where there is none, and found where there is one.
    fn makes_keys(&self, key_type: KeyType) {
        let running = self.start(self.signing_key(key_type), Mode::Missing);
        let (context, reference) = (self.enter)(&running.service.host(), true);
        let made = create(&context, &reference, Some(key_type), &no_password()).unwrap();
        assert!(made.is_new && &made.public == running.stand.public());
        let again = create(&context, &reference, Some(key_type), &no_password()).unwrap();
        assert!(!again.is_new && again.public == made.public);
        assert_eq!(create(&context, &reference, None, &no_password()).unwrap(), again);
        // One of another kind is not what was asked for.
        let error = create(&context, &reference, Some(KeyType::Rsa { bits: 4096 }), &no_password());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("RSA 4096") && error.contains(&key_type.to_string()), "{error}");
    }
}

fn is_unavailable(error: &KeyError) -> bool {
    matches!(error, KeyError::Crypto(CryptoError::KeyUnavailable(_)))
}

/// An RSA key that signs with PSS.
fn pss_key() -> KeyPair {
    KeyPair::generate(KeyType::Rsa { bits: 3072 })
        .unwrap()
        .with_scheme(Scheme::RsaPss(HashAlgorithm::Sha256))
        .unwrap()
}
