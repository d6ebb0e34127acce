//! Services which sign with keys they never give away: asked from any thread, answered in bounded time, believed
//! only when the signature verifies.
//!
//! A [`Signer`] is called from ordinary threads, the network is asynchronous. One thread of this crate, started
//! when a service is first asked, runs all exchanges; whoever asks waits for the answer. It never borrows a
//! runtime of the caller, so it works inside one too (on a thread which may block) and outside.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use countersign_crypto::{CryptoError, Digest, KeyType, PublicKey, Scheme, Signer};
use countersign_http::{HttpError, Response};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::KeyError;

/// What a service is asked for.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// A key as its service describes it.
#[derive(Debug, Clone)]
pub(crate) struct RemoteKey {
    pub(crate) public: PublicKey,
    /// The schemes the service signs with by this key, the preferred first.
    pub(crate) schemes: Vec<Scheme>,
    /// Names this key in its present version, so that a rotation cannot put another in its place between the
    /// public key and the signature.
    pub(crate) handle: String,
}

/// What is to be signed.
#[derive(Debug)]
pub(crate) enum Input {
    /// A digest, of the scheme's algorithm.
    Digest(Digest),
    /// A whole message, for pure Ed25519.
    Message(Vec<u8>),
}

impl Input {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Digest(digest) => digest.as_bytes(),
            Self::Message(message) => message,
        }
    }
}

/// A service that holds one key.
pub(crate) trait KeyService: fmt::Debug + Send + Sync + 'static {
    /// The key, or none when the service knows no such key.
    fn find(&self) -> Answer<'_, Option<RemoteKey>>;

    /// A signature. The caller checks it.
    fn sign<'a>(&'a self, key: &'a RemoteKey, scheme: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>>;

    /// Makes the key, which is not there.
    fn create(&self, key_type: KeyType) -> Answer<'_, ()>;
}

/// A key behind a service, with all that is needed to use it.
#[derive(Debug)]
pub(crate) struct Remote {
    service: Arc<dyn KeyService>,
    /// The reference, for messages.
    name: String,
    patience: Duration,
}

impl Remote {
    pub(crate) fn new(service: impl KeyService, name: String, patience: Duration) -> Self {
        Self { service: Arc::new(service), name, patience }
    }

    fn find(&self) -> Result<Option<RemoteKey>, KeyError> {
        let service = Arc::clone(&self.service);
        wait(&self.name, self.patience, async move { service.find().await })
    }

    fn existing(&self) -> Result<RemoteKey, KeyError> {
        self.find()?.ok_or_else(|| {
            KeyError::Refused(format!(
                "{}: no such key; `countersign generate-key-pair --kms {}` makes one",
                self.name, self.name
            ))
        })
    }

    pub(crate) fn public_key(&self) -> Result<PublicKey, KeyError> {
        self.existing().map(|key| key.public)
    }

    /// A signer. For artifacts, which may be too large to be sent anywhere, it is one that signs digests.
    pub(crate) fn signer(&self, for_artifacts: bool) -> Result<Arc<dyn Signer>, KeyError> {
        let key = self.existing()?;
        let scheme = key.schemes.iter().find(|scheme| !for_artifacts || scheme.hash().is_some());
        let Some(scheme) = scheme.copied().filter(|scheme| scheme.fits(key.public.key_type())) else {
            return Err(KeyError::Refused(format!(
                "{}: the service signs with this {} key only whole messages, and artifacts are signed by their \
                 digest; use an ECDSA or RSA key",
                self.name,
                key.public.key_type()
            )));
        };
        Ok(Arc::new(RemoteSigner {
            service: Arc::clone(&self.service),
            key: Arc::new(key),
            scheme,
            name: self.name.clone(),
            patience: self.patience,
        }))
    }

    /// Makes the key unless it is there: its public key, and whether it is new. Of no type in particular means
    /// ECDSA P-256.
    pub(crate) fn create(&self, key_type: Option<KeyType>) -> Result<(PublicKey, bool), KeyError> {
        let (public, is_new) = match self.find()? {
            Some(key) => (key.public, false),
            None => {
                let (service, wanted) = (Arc::clone(&self.service), key_type.unwrap_or(KeyType::EcdsaP256));
                wait(&self.name, self.patience, async move { service.create(wanted).await })?;
                (self.public_key()?, true)
            }
        };
        if let Some(wanted) = key_type
            && wanted != public.key_type()
        {
            let note = if is_new { "" } else { ", which was there already" };
            return Err(KeyError::Refused(format!(
                "{}: expected a {wanted} key, found a {} key{note}",
                self.name,
                public.key_type()
            )));
        }
        Ok((public, is_new))
    }
}

/// Signs through a service.
#[derive(Debug)]
struct RemoteSigner {
    service: Arc<dyn KeyService>,
    key: Arc<RemoteKey>,
    scheme: Scheme,
    name: String,
    patience: Duration,
}

impl RemoteSigner {
    fn ask(&self, input: Input) -> Result<Vec<u8>, CryptoError> {
        let (service, key, scheme) = (Arc::clone(&self.service), Arc::clone(&self.key), self.scheme);
        let asked = wait(&self.name, self.patience, async move {
            let signature = service.sign(&key, scheme, &input).await?;
            Ok((signature, input))
        });
        let (signature, input) = asked.map_err(|error| match error {
            KeyError::Crypto(error) => error,
            other => CryptoError::Signing(other.to_string()),
        })?;
        let checked = match &input {
            Input::Digest(digest) => self.key.public.verify_digest(self.scheme, digest, &signature),
            Input::Message(message) => self.key.public.verify(self.scheme, message, &signature),
        };
        match checked {
            Ok(()) => Ok(signature),
            Err(error) => Err(CryptoError::Signing(format!(
                "{}: the service's answer is no {} signature by its own public key ({error})",
                self.name, self.scheme
            ))),
        }
    }
}

impl Signer for RemoteSigner {
    fn public_key(&self) -> &PublicKey {
        &self.key.public
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.ask(match self.scheme.hash() {
            Some(hash) => Input::Digest(hash.digest(message)),
            None => Input::Message(message.to_vec()),
        })
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        if self.scheme.hash() != Some(digest.algorithm()) {
            return Err(CryptoError::Unsupported(format!(
                "{} cannot sign a {} digest",
                self.scheme,
                digest.algorithm()
            )));
        }
        self.ask(Input::Digest(*digest))
    }
}

/// Runs an exchange with `whom` on this crate's thread and waits for its end, at most so long.
pub(crate) fn wait<T: Send + 'static>(
    whom: &str,
    patience: Duration,
    work: impl Future<Output = Result<T, KeyError>> + Send + 'static,
) -> Result<T, KeyError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let late = format!("{whom}: no answer within {} seconds", patience.as_secs());
    network()?.spawn(async move {
        let result = tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(unavailable(late)));
        // Nobody waits any more: then nobody misses the answer.
        let _ = sender.send(result);
    });
    // The runtime keeps the time; the second is for the case that the thread itself hangs.
    match receiver.recv_timeout(patience.saturating_add(Duration::from_secs(1))) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(unavailable(format!("{whom}: no answer in time"))),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(unavailable(format!("{whom}: the exchange was broken off")))
        }
    }
}

/// The runtime of the thread, which lives as long as the process.
fn network() -> Result<&'static Handle, KeyError> {
    static NETWORK: OnceLock<Handle> = OnceLock::new();
    if let Some(handle) = NETWORK.get() {
        return Ok(handle);
    }
    let failed = |error: std::io::Error| unavailable(format!("no thread for the network: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    // Two callers may come here at once: the second thread is given up at once, before anything runs on it.
    let kept = NETWORK.get_or_init(|| handle.clone());
    if kept.id() == handle.id() {
        std::thread::Builder::new()
            .name("countersign-keys".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(failed)?;
    } else {
        runtime.shutdown_background();
    }
    Ok(kept)
}

/// The home of a key cannot be reached now.
pub(crate) fn unavailable(message: String) -> KeyError {
    KeyError::Crypto(CryptoError::KeyUnavailable(message))
}

/// An answer of one of these statuses. Otherwise an error: that of a service which is busy or broken says that the
/// key cannot be reached, that of one which refuses says where the credentials come from.
pub(crate) fn expect(
    response: Response,
    statuses: &[u16],
    credentials: &'static str,
) -> Result<Response, KeyError> {
    match response.expect(statuses) {
        Ok(response) => Ok(response),
        Err(error @ HttpError::Status { status: 401 | 403, .. }) => {
            Err(KeyError::Refused(format!("{error}; the credentials come from {credentials}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The JSON of an answer with a secret in it, which is wiped from memory once read. An error does not repeat what was
/// found, as the parser's would.
pub(crate) fn secret_json<T: DeserializeOwned>(mut answer: Response, expected: &str) -> Result<T, KeyError> {
    let body = Zeroizing::new(std::mem::take(&mut answer.body));
    serde_json::from_slice(&body).map_err(|_| answer.wrong(expected).into())
}

impl From<HttpError> for KeyError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Network { .. } | HttpError::Status { status: 429 | 500..=599, .. } => {
                unavailable(error.to_string())
            }
            other => Self::Refused(other.to_string()),
        }
    }
}
