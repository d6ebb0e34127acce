//! A key on a token, as something that signs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::encoding::hex_decode;
use countersign_crypto::{CryptoError, Digest, HashAlgorithm, KeyType, PublicKey, Scheme, Signer};
use zeroize::Zeroizing;

use super::child::Worker;
use super::frame::{
    Bytes, KeyDescription, MAX_MESSAGE, Mechanism, NewKey, Pin, Reply, Request, TokenDescription,
};
use super::pool::{Pool, Trouble};
use super::uri::{KeyMatch, Pkcs11Uri, TokenMatch};
use crate::{KeyError, PasswordSource};

/// The environment variables with a PIN, the first that is set counts.
pub const PIN_VARIABLES: [&str; 2] = ["COUNTERSIGN_PKCS11_PIN", "COSIGN_PKCS11_PIN"];
/// The environment variables with the path of a module, the first that is set counts.
pub const MODULE_VARIABLES: [&str; 2] = ["COUNTERSIGN_PKCS11_MODULE_PATH", "COSIGN_PKCS11_MODULE_PATH"];

/// Time for a signature, the start of a worker and the login included. A service has two seconds to say "later".
const SIGN_TIME: Duration = Duration::from_millis(1500);
/// Time to open a token for the first time, and to look something up on it.
const OPEN_TIME: Duration = Duration::from_secs(6);
/// Time to make a key: RSA takes small devices half a minute.
const GENERATE_TIME: Duration = Duration::from_secs(120);

fn variable(names: &[&str]) -> Option<Zeroizing<String>> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .map(Zeroizing::new)
}

/// The names the module's file may have.
fn modules(uri: &Pkcs11Uri) -> Result<Vec<String>, KeyError> {
    let in_directory = |directory: &str, name: &str| {
        vec![format!("{directory}lib{name}.so"), format!("{directory}{name}.so")]
    };
    match (&uri.module_path, &uri.module_name) {
        (Some(path), Some(name)) => Ok(in_directory(&format!("{}/", path.display()), name)),
        (Some(path), None) => Ok(vec![path.display().to_string()]),
        (None, Some(name)) => Ok(in_directory("", name)),
        (None, None) => Ok(vec![default_module()?]),
    }
}

/// The module that the environment names.
///
/// # Errors
/// [`KeyError::Reference`] when it names none.
pub fn default_module() -> Result<String, KeyError> {
    variable(&MODULE_VARIABLES).map(|path| path.to_string()).ok_or_else(|| {
        KeyError::Reference(
            "no PKCS #11 module is named: add ?module-path=/path/of/the/module.so to the pkcs11: URI, or set \
             COSIGN_PKCS11_MODULE_PATH"
                .into(),
        )
    })
}

/// The PIN that stands somewhere: in the file that the URI names, or in the environment.
fn standing_pin(uri: &Pkcs11Uri) -> Result<Option<Pin>, KeyError> {
    let Some(path) = &uri.pin_source else { return Ok(variable(&PIN_VARIABLES).map(Pin::new)) };
    let bytes = PasswordSource::File(path.clone()).get("the token's PIN")?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| KeyError::Pin(format!("{} does not hold a PIN", path.display())))?;
    Ok(Some(Pin::new(Zeroizing::new(text.to_owned()))))
}

/// Calls a token with the PIN that stands somewhere; when the token asks for one and there is none, a person is asked.
fn with_token<T>(
    uri: &Pkcs11Uri,
    password: &PasswordSource,
    call: impl Fn(Arc<Pool>) -> Result<T, Trouble>,
) -> Result<T, KeyError> {
    let modules = modules(uri)?;
    let pin = standing_pin(uri)?;
    let nobody_said = pin.is_none();
    match call(Pool::of(modules.clone(), uri.token.clone(), pin)) {
        Err(Trouble::PinNeeded) if nobody_said => {
            let Some(ask) = password.prompt() else { return Err(Trouble::PinNeeded.into_key_error()) };
            let asked = ask("the token (its PIN)")
                .map_err(|e| KeyError::Pin(format!("asking for it failed: {e}")))?;
            if asked.is_empty() {
                return Err(Trouble::PinNeeded.into_key_error());
            }
            call(Pool::of(modules, uri.token.clone(), Some(Pin::new(asked)))).map_err(Trouble::into_key_error)
        }
        other => other.map_err(Trouble::into_key_error),
    }
}

fn public_key(pool: &Arc<Pool>, key: &KeyMatch) -> Result<PublicKey, Trouble> {
    let reply = pool.call(&Request::PublicKey { key: key.clone() }, OPEN_TIME)?;
    parse_public_key(reply)
}

fn parse_public_key(reply: Reply) -> Result<PublicKey, Trouble> {
    let Reply::PublicKey { spki } = reply else { return Err(other_answer()) };
    PublicKey::from_spki_der(&spki.0).map_err(|e| Trouble::Key(e.to_string()))
}

fn other_answer() -> Trouble {
    Trouble::Away("the PKCS #11 worker answered something else".into())
}

/// A private key on a token. The module runs in a child process; clones and other keys of the token share it.
#[derive(Clone)]
pub struct Pkcs11Signer {
    uri: Pkcs11Uri,
    pool: Arc<Pool>,
    public: PublicKey,
    scheme: Scheme,
}

impl Pkcs11Signer {
    /// Opens the token and finds the key. The PIN comes from the file that the URI names, from the environment
    /// ([`PIN_VARIABLES`]), or from the prompt in `password`; a password meant for key files is never tried.
    ///
    /// # Errors
    /// [`KeyError::Pin`], [`KeyError::NoSuchKey`], [`KeyError::Token`], or [`CryptoError::KeyUnavailable`] when the
    /// module or the token is not there.
    pub fn open(uri: &Pkcs11Uri, password: &PasswordSource) -> Result<Self, KeyError> {
        with_token(uri, password, |pool| {
            let public = public_key(&pool, &uri.key)?;
            Ok(Self { scheme: public.key_type().default_scheme(), uri: uri.clone(), public, pool })
        })
    }

    /// The same key, signing with another scheme that fits it, such as RSA-PSS.
    ///
    /// # Errors
    /// [`CryptoError::SchemeMismatch`]; [`CryptoError::Unsupported`] for Ed25519ph, which tokens do not offer.
    pub fn with_scheme(mut self, scheme: Scheme) -> Result<Self, CryptoError> {
        if !scheme.fits(self.public.key_type()) {
            return Err(CryptoError::SchemeMismatch { scheme, key: self.public.key_type() });
        }
        if scheme == Scheme::Ed25519ph {
            return Err(CryptoError::Unsupported(
                "Ed25519ph on a token, which signs whole messages with Ed25519; use an ECDSA or RSA key for files".into(),
            ));
        }
        self.scheme = scheme;
        Ok(self)
    }

    fn ask(&self, mechanism: Mechanism, input: Vec<u8>) -> Result<Vec<u8>, CryptoError> {
        let request = Request::Sign { key: self.uri.key.clone(), mechanism, input: Bytes(input) };
        match self.pool.call(&request, SIGN_TIME) {
            Ok(Reply::Signature { signature }) => Ok(signature.0),
            Ok(_) => Err(other_answer().into_crypto_error()),
            Err(trouble) => Err(trouble.into_crypto_error()),
        }
    }
}

/// A signature that does not verify is not handed out: the device is faulty, or another key has taken this one's name.
fn checked(signature: Vec<u8>, verdict: Result<(), CryptoError>) -> Result<Vec<u8>, CryptoError> {
    verdict.map(|()| signature).map_err(|_| {
        CryptoError::KeyUnavailable(
            "the token's signature does not verify under the known public key: is another key in its place?"
                .into(),
        )
    })
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if let Some(hash) = self.scheme.hash() {
            return self.sign_digest(&hash.digest(message));
        }
        if message.len() > MAX_MESSAGE {
            return Err(CryptoError::Unsupported(format!(
                "an Ed25519 key on a token signs messages of at most {MAX_MESSAGE} bytes, found {}",
                message.len()
            )));
        }
        let signature = self.ask(Mechanism::Eddsa, message.to_vec())?;
        let verdict = self.public.verify(self.scheme, message, &signature);
        checked(signature, verdict)
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        let refused = || {
            CryptoError::Unsupported(format!("{} cannot sign a {} digest", self.scheme, digest.algorithm()))
        };
        if self.scheme.hash() != Some(digest.algorithm()) {
            return Err(refused());
        }
        let (mechanism, input) = match (self.scheme, digest.algorithm()) {
            (Scheme::Ecdsa(_), _) => (Mechanism::Ecdsa, digest.as_bytes().to_vec()),
            (Scheme::RsaPkcs1(_), hash) => {
                (Mechanism::RsaPkcs1, [digest_info(hash)?.as_slice(), digest.as_bytes()].concat())
            }
            (Scheme::RsaPss(_), HashAlgorithm::Sha256) => {
                (Mechanism::RsaPssSha256, digest.as_bytes().to_vec())
            }
            (Scheme::RsaPss(_), HashAlgorithm::Sha384) => {
                (Mechanism::RsaPssSha384, digest.as_bytes().to_vec())
            }
            (Scheme::RsaPss(_), HashAlgorithm::Sha512) => {
                (Mechanism::RsaPssSha512, digest.as_bytes().to_vec())
            }
            _ => return Err(refused()),
        };
        let signature = self.ask(mechanism, input)?;
        let verdict = self.public.verify_digest(self.scheme, digest, &signature);
        checked(signature, verdict)
    }
}

/// What stands before the digest in a DER `DigestInfo` (RFC 8017 section 9.2, note 1).
fn digest_info(hash: HashAlgorithm) -> Result<Vec<u8>, CryptoError> {
    hex_decode(match hash {
        HashAlgorithm::Sha256 => "3031300d060960864801650304020105000420",
        HashAlgorithm::Sha384 => "3041300d060960864801650304020205000430",
        HashAlgorithm::Sha512 => "3051300d060960864801650304020305000440",
        other => return Err(CryptoError::Unsupported(format!("RSA PKCS#1 with {other} on a token"))),
    })
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Signer({}, {:?}, {})", self.uri, self.public, self.scheme)
    }
}

/// Makes a key on a token, which it cannot leave, and gives its public half. The URI names its label, and its id
/// unless any will do.
///
/// # Errors
/// [`KeyError::Token`] when a key of this label or id is there already, or the token makes none of this kind; else as
/// [`Pkcs11Signer::open`].
pub fn generate(
    uri: &Pkcs11Uri,
    key_type: KeyType,
    password: &PasswordSource,
) -> Result<PublicKey, KeyError> {
    let kind = match key_type {
        KeyType::EcdsaP256 => NewKey::P256,
        KeyType::EcdsaP384 => NewKey::P384,
        KeyType::EcdsaP521 => NewKey::P521,
        KeyType::Ed25519 => NewKey::Ed25519,
        KeyType::Rsa { bits: 3072 } => NewKey::Rsa3072,
        KeyType::Rsa { bits: 4096 } => NewKey::Rsa4096,
        other => return Err(CryptoError::Unsupported(format!("a new {other} key on a token")).into()),
    };
    with_token(uri, password, |pool| {
        parse_public_key(pool.call(&Request::Generate { key: uri.key.clone(), kind }, GENERATE_TIME)?)
    })
}

/// The key that a URI names, made if there is none: ECDSA P-256 unless a type is given. Says whether it is new.
///
/// # Errors
/// As [`Pkcs11Signer::open`] and [`generate`]; [`KeyError::Token`] for a key of another type.
pub fn find_or_generate(
    uri: &Pkcs11Uri,
    key_type: Option<KeyType>,
    password: &PasswordSource,
) -> Result<(PublicKey, bool), KeyError> {
    match Pkcs11Signer::open(uri, password) {
        Ok(signer) => of_type(signer.public, key_type).map(|public| (public, false)),
        Err(KeyError::NoSuchKey(_)) => {
            Ok((generate(uri, key_type.unwrap_or(KeyType::EcdsaP256), password)?, true))
        }
        Err(e) => Err(e),
    }
}

/// A key that was there already, if it is what was asked for.
fn of_type(public: PublicKey, wanted: Option<KeyType>) -> Result<PublicKey, KeyError> {
    match wanted.filter(|wanted| *wanted != public.key_type()) {
        None => Ok(public),
        Some(wanted) => Err(KeyError::Token(format!(
            "expected a {wanted} key, found a {} key, which was there already; choose another label",
            public.key_type()
        ))),
    }
}

/// Lists the tokens of a module. No PIN is needed.
///
/// # Errors
/// [`CryptoError::KeyUnavailable`] when the module cannot be loaded or does not answer.
pub fn list_tokens(module: &str) -> Result<Vec<TokenDescription>, KeyError> {
    let deadline = std::time::Instant::now() + OPEN_TIME;
    let ask = || {
        let request = Request::Tokens { modules: vec![module.to_owned()] };
        match Worker::start(deadline)?.call(&request, deadline)? {
            Reply::Tokens { tokens } => Ok(tokens),
            Reply::Failed { kind, message } => Err(Trouble::from_failure(kind, message)),
            _ => Err(other_answer()),
        }
    };
    ask().map_err(Trouble::into_key_error)
}

/// Lists the private keys of the token in a slot.
///
/// # Errors
/// As [`Pkcs11Signer::open`].
pub fn list_keys(
    module: &str,
    slot: u64,
    password: &PasswordSource,
) -> Result<Vec<KeyDescription>, KeyError> {
    let uri = Pkcs11Uri {
        token: TokenMatch { slot: Some(slot), ..TokenMatch::default() },
        key: KeyMatch::default(),
        object_type: None,
        module_path: Some(module.into()),
        module_name: None,
        pin_source: None,
    };
    with_token(&uri, password, |pool| match pool.call(&Request::Keys, OPEN_TIME)? {
        Reply::Keys { keys } => Ok(keys),
        _ => Err(other_answer()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_type_is_not_what_was_asked_for() {
        let key = countersign_crypto::KeyPair::generate(KeyType::EcdsaP256).unwrap();
        for fine in [None, Some(KeyType::EcdsaP256)] {
            assert_eq!(&of_type(key.public_key().clone(), fine).unwrap(), key.public_key());
        }
        let error = of_type(key.public_key().clone(), Some(KeyType::EcdsaP384)).unwrap_err().to_string();
        assert!(error.contains("P-384") && error.contains("P-256"), "{error}");
    }
}
