//! An identity provider for development: whoever asks is whom he says he is.
//!
//! It exists so that a newcomer needs no account anywhere. It is for loopback only and says so in its URL, which
//! ends up in every certificate as the issuer. Functions and state only; the HTTP face is elsewhere.
//!
//! Supported: the authorization code flow with PKCE (RFC 7636, S256 only), the device flow (RFC 8628), and minting a
//! token of any claims.

mod flows;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_clock::Clock;
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{
    CryptoError, HashAlgorithm, KeyPair, KeyType, PublicKey, Scheme, Signer as _, ecdsa,
};
use serde_json::{Map, Value, json};
use url::Url;

pub use flows::{AuthorizeRequest, DeviceRequest, OAuthError, TokenRequest};

/// The path of the provider under its base URL.
pub const PATH: &str = "/development-identity-provider";
/// How long tokens are good, in seconds.
const TOKEN_SECONDS: i64 = 600;

/// The provider: one key, and the logins under way.
#[derive(Debug)]
pub struct DevelopmentProvider {
    issuer: String,
    client_id: String,
    key: KeyPair,
    kid: String,
    clock: Arc<dyn Clock>,
    codes: Mutex<HashMap<String, flows::Login>>,
    devices: Mutex<HashMap<String, flows::Device>>,
}

impl DevelopmentProvider {
    /// A provider at `{base}/development-identity-provider`.
    ///
    /// # Errors
    /// A text, when the base is not on loopback: it believes anybody, so nobody else may reach it.
    pub fn new(base: &str, client_id: &str, key: KeyPair, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let url = Url::parse(base).map_err(|e| format!("{base}: {e}"))?;
        if !is_loopback(&url) {
            return Err(format!("the development identity provider is for loopback only, found {base}"));
        }
        Ok(Self {
            issuer: format!("{}{PATH}", base.trim_end_matches('/')),
            client_id: client_id.to_owned(),
            kid: base64url_encode(key.public_key().fingerprint().get(..8).unwrap_or_default()),
            key,
            clock,
            codes: Mutex::default(),
            devices: Mutex::default(),
        })
    }

    /// The issuer's URL, as in the claim `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The discovery document, for `{issuer}/.well-known/openid-configuration`.
    #[must_use]
    pub fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "jwks_uri": at("keys"),
            "authorization_endpoint": at("auth"),
            "token_endpoint": at("token"),
            "device_authorization_endpoint": at("device/code"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", flows::DEVICE_GRANT],
            "subject_types_supported": ["public"],
            "scopes_supported": ["openid", "email"],
            "claims_supported": ["iss", "aud", "sub", "iat", "nbf", "exp", "email", "email_verified", "nonce"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": [algorithm_name(self.key.scheme())],
        })
    }

    /// The key set, for `{issuer}/keys`.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for a key of a type which JSON Web Keys do not have.
    pub fn jwks(&self) -> Result<Value, CryptoError> {
        Ok(json!({"keys": [public_jwk(self.key.public_key(), &self.kid)?]}))
    }

    /// Mints a token with these claims. `iss`, `aud`, `iat`, `nbf` and `exp` are added where they are missing.
    ///
    /// # Errors
    /// [`CryptoError`] when signing fails.
    pub fn mint(&self, claims: Map<String, Value>) -> Result<String, CryptoError> {
        let now = self.clock.now().as_second();
        let mut all = Map::new();
        all.insert("iss".into(), self.issuer.clone().into());
        all.insert("aud".into(), self.client_id.clone().into());
        all.insert("iat".into(), now.into());
        all.insert("nbf".into(), (now - 5).into());
        all.insert("exp".into(), (now + TOKEN_SECONDS).into());
        all.extend(claims);
        let header = json!({"alg": algorithm_name(self.key.scheme()), "kid": self.kid, "typ": "JWT"});
        sign_compact(&header, &Value::Object(all).to_string(), &self.key)
    }

    /// Mints the token of a person.
    ///
    /// # Errors
    /// As [`DevelopmentProvider::mint`].
    pub fn mint_email(&self, email: &str, nonce: Option<&str>) -> Result<String, CryptoError> {
        let mut claims = Map::new();
        claims.insert("sub".into(), format!("dev:{email}").into());
        claims.insert("email".into(), email.into());
        claims.insert("email_verified".into(), true.into());
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), nonce.into());
        }
        self.mint(claims)
    }

    fn codes(&self) -> std::sync::MutexGuard<'_, HashMap<String, flows::Login>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn devices(&self) -> std::sync::MutexGuard<'_, HashMap<String, flows::Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The name of a scheme in JSON Web Algorithms (RFC 7518 section 3.1).
fn algorithm_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::RsaPkcs1(HashAlgorithm::Sha384) => "RS384",
        Scheme::RsaPkcs1(HashAlgorithm::Sha512) => "RS512",
        Scheme::RsaPss(HashAlgorithm::Sha256) => "PS256",
        Scheme::RsaPss(HashAlgorithm::Sha384) => "PS384",
        Scheme::RsaPss(HashAlgorithm::Sha512) => "PS512",
        Scheme::Ecdsa(HashAlgorithm::Sha256) => "ES256",
        Scheme::Ecdsa(HashAlgorithm::Sha384) => "ES384",
        Scheme::Ecdsa(HashAlgorithm::Sha512) => "ES512",
        Scheme::Ed25519 => "EdDSA",
        _ => "RS256",
    }
}

/// A compact JWS of any header and payload, signed with the key whatever the header says.
///
/// # Errors
/// [`CryptoError`] when signing fails.
pub fn sign_compact(header: &Value, payload: &str, key: &KeyPair) -> Result<String, CryptoError> {
    let input = format!(
        "{}.{}",
        base64url_encode(header.to_string().as_bytes()),
        base64url_encode(payload.as_bytes())
    );
    let mut signature = key.sign(input.as_bytes())?;
    if matches!(key.scheme(), Scheme::Ecdsa(_)) {
        signature = ecdsa::fixed_from_der(key.public_key().key_type(), &signature)?;
    }
    Ok(format!("{input}.{}", base64url_encode(&signature)))
}

/// A public key as a JSON Web Key (RFC 7518 section 6, RFC 8037).
///
/// # Errors
/// [`CryptoError::Unsupported`] for a type that has no such form.
pub fn public_jwk(key: &PublicKey, kid: &str) -> Result<Value, CryptoError> {
    let unsupported = || CryptoError::Unsupported(format!("a JSON Web Key of a {} key", key.key_type()));
    let ec = |curve: &str| {
        let (x, y) = key.coordinates().ok_or_else(unsupported)?;
        Ok(json!({
            "kty": "EC", "crv": curve, "use": "sig", "kid": kid,
            "x": base64url_encode(x), "y": base64url_encode(y)
        }))
    };
    match key.key_type() {
        KeyType::EcdsaP256 => ec("P-256"),
        KeyType::EcdsaP384 => ec("P-384"),
        KeyType::EcdsaP521 => ec("P-521"),
        KeyType::Ed25519 => Ok(json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": base64url_encode(key.raw())
        })),
        KeyType::Rsa { .. } => {
            let (modulus, exponent) = key.rsa_numbers().ok_or_else(unsupported)?;
            Ok(json!({
                "kty": "RSA", "use": "sig", "kid": kid,
                "n": base64url_encode(&modulus), "e": base64url_encode(&exponent)
            }))
        }
        _ => Err(unsupported()),
    }
}

#[cfg(test)]
mod tests {
    use countersign_clock::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn it_refuses_to_serve_others_than_its_own_machine() {
        let make = |base: &str| {
            let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
            DevelopmentProvider::new(base, "sigstore", key, Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)))
        };
        for base in ["http://localhost:8411", "http://127.0.0.1:1/", "http://[::1]:1"] {
            let idp = make(base).unwrap();
            assert!(idp.issuer().ends_with("/development-identity-provider"), "{}", idp.issuer());
        }
        for base in ["https://example.com", "http://10.0.0.1", "http://localhost.example.com", "junk"] {
            assert!(make(base).is_err(), "{base}");
        }
    }
}
