//! The two ways to log in: authorization code with PKCE, and device code.

use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{random, sha256};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{DevelopmentProvider, TOKEN_SECONDS};

/// The grant type of the device flow (RFC 8628 section 3.4).
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long an authorization code is good, in seconds.
const CODE_SECONDS: i64 = 60;
/// How long a device code is good, in seconds.
const DEVICE_SECONDS: i64 = 300;
/// How many logins may be under way.
const MAX_PENDING: usize = 1000;
/// Letters which are not mistaken for each other.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The query of the authorization endpoint (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AuthorizeRequest {
    /// Must be `code`.
    pub response_type: String,
    /// Must be the provider's client.
    pub client_id: String,
    /// Where the browser goes with the code; on loopback.
    pub redirect_uri: String,
    /// Returned with the code, untouched.
    pub state: String,
    /// Goes into the token.
    pub nonce: Option<String>,
    /// SHA-256 of the verifier, in base64url.
    pub code_challenge: String,
    /// Must be `S256`.
    pub code_challenge_method: String,
}

/// The form posted to the token endpoint, of either flow.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TokenRequest {
    /// `authorization_code` or the device grant.
    pub grant_type: String,
    /// The authorization code.
    pub code: String,
    /// The same as in the authorization request.
    pub redirect_uri: String,
    /// The secret behind the code challenge.
    pub code_verifier: String,
    /// The device code.
    pub device_code: String,
}

/// The form posted to the device authorization endpoint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Must be the provider's client.
    pub client_id: String,
    /// Goes into the token.
    pub nonce: Option<String>,
    /// SHA-256 of a verifier, in base64url; when it is there, the token is given only for the verifier.
    pub code_challenge: Option<String>,
}

/// An answer of RFC 6749 section 5.2: status 400, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {description}")]
pub struct OAuthError {
    /// The code, such as `invalid_grant`.
    pub error: &'static str,
    /// What was expected and what was found.
    pub description: String,
}

impl OAuthError {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"error": self.error, "error_description": self.description})
    }
}

#[derive(Debug)]
pub(super) struct Login {
    email: String,
    nonce: Option<String>,
    redirect_uri: String,
    challenge: String,
    expires: i64,
}

#[derive(Debug)]
pub(super) struct Device {
    user_code: String,
    nonce: Option<String>,
    challenge: Option<String>,
    email: Option<String>,
    expires: i64,
}

/// The S256 challenge of a verifier (RFC 7636 section 4.2).
fn challenge_of(verifier: &str) -> String {
    base64url_encode(&sha256(verifier.as_bytes()))
}

fn secret() -> Result<String, OAuthError> {
    let mut bytes = [0; 32];
    random(&mut bytes).map_err(|e| OAuthError::new("server_error", e.to_string()))?;
    Ok(base64url_encode(&bytes))
}

impl DevelopmentProvider {
    /// Checks the query of the authorization endpoint, before a page asks who is there.
    ///
    /// # Errors
    /// [`OAuthError`]; shown to the person, never sent to the redirect URI of a bad request.
    pub fn check_authorize(&self, request: &AuthorizeRequest) -> Result<(), OAuthError> {
        let bad = |what: String| Err(OAuthError::new("invalid_request", what));
        if request.response_type != "code" {
            return bad(format!("expected response_type code, found {:?}", request.response_type));
        }
        if request.client_id != self.client_id {
            return bad(format!("expected client_id {}, found {:?}", self.client_id, request.client_id));
        }
        if request.code_challenge_method != "S256" || request.code_challenge.len() != 43 {
            return bad("expected PKCE with code_challenge_method S256".into());
        }
        if request.state.is_empty() {
            return bad("expected a state".into());
        }
        match Url::parse(&request.redirect_uri) {
            Ok(url) if url.scheme() == "http" && super::is_loopback(&url) && url.fragment().is_none() => {
                Ok(())
            }
            _ => bad(format!("expected a redirect_uri on loopback, found {:?}", request.redirect_uri)),
        }
    }

    /// Completes a login in the browser: the URL to send the browser to, with code and state.
    ///
    /// # Errors
    /// As [`DevelopmentProvider::check_authorize`], and `temporarily_unavailable` when too many logins are under way.
    pub fn approve(&self, request: &AuthorizeRequest, email: &str) -> Result<String, OAuthError> {
        self.check_authorize(request)?;
        let mut target = Url::parse(&request.redirect_uri)
            .map_err(|e| OAuthError::new("invalid_request", e.to_string()))?;
        let code = secret()?;
        let now = self.clock.now().as_second();
        let mut codes = self.codes();
        codes.retain(|_, login| login.expires > now);
        if codes.len() >= MAX_PENDING {
            return Err(OAuthError::new("temporarily_unavailable", "too many logins under way"));
        }
        codes.insert(
            code.clone(),
            Login {
                email: email.to_owned(),
                nonce: request.nonce.clone(),
                redirect_uri: request.redirect_uri.clone(),
                challenge: request.code_challenge.clone(),
                expires: now + CODE_SECONDS,
            },
        );
        target.query_pairs_mut().append_pair("code", &code).append_pair("state", &request.state);
        Ok(target.into())
    }

    /// Answers the token endpoint. A code is good once.
    ///
    /// # Errors
    /// [`OAuthError`]; `authorization_pending` while a device waits for its person.
    pub fn token(&self, request: &TokenRequest) -> Result<Value, OAuthError> {
        let now = self.clock.now().as_second();
        let bad = |what: &str| OAuthError::new("invalid_grant", what);
        let (email, nonce) = match request.grant_type.as_str() {
            "authorization_code" => {
                let login = self.codes().remove(&request.code).ok_or_else(|| bad("unknown or used code"))?;
                if login.expires <= now {
                    return Err(bad("the code has expired"));
                }
                if login.redirect_uri != request.redirect_uri {
                    return Err(bad("expected the redirect_uri of the authorization request"));
                }
                if challenge_of(&request.code_verifier) != login.challenge {
                    return Err(bad("the code_verifier is not the one behind the code_challenge"));
                }
                (login.email, login.nonce)
            }
            DEVICE_GRANT => {
                let mut devices = self.devices();
                let device =
                    devices.get(&request.device_code).ok_or_else(|| bad("unknown or used device code"))?;
                if device.expires <= now {
                    return Err(OAuthError::new("expired_token", "the device code has expired"));
                }
                if device.challenge.as_ref().is_some_and(|c| *c != challenge_of(&request.code_verifier)) {
                    return Err(bad("the code_verifier is not the one behind the code_challenge"));
                }
                if device.email.is_none() {
                    return Err(OAuthError::new("authorization_pending", "nobody has entered the code yet"));
                }
                let device = devices.remove(&request.device_code);
                match device {
                    Some(Device { email: Some(email), nonce, .. }) => (email, nonce),
                    _ => return Err(bad("unknown or used device code")),
                }
            }
            other => return Err(OAuthError::new("unsupported_grant_type", format!("found {other:?}"))),
        };
        let token = self
            .mint_email(&email, nonce.as_deref())
            .map_err(|e| OAuthError::new("server_error", e.to_string()))?;
        Ok(json!({
            "access_token": secret()?,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": token,
        }))
    }

    /// Starts a device flow: the answer of the device authorization endpoint (RFC 8628 section 3.2).
    ///
    /// # Errors
    /// [`OAuthError`] for another client, or when too many are under way.
    pub fn device(&self, request: &DeviceRequest) -> Result<Value, OAuthError> {
        if request.client_id != self.client_id {
            return Err(OAuthError::new("invalid_client", format!("expected client_id {}", self.client_id)));
        }
        let mut letters = [0_u8; 8];
        random(&mut letters).map_err(|e| OAuthError::new("server_error", e.to_string()))?;
        let letter = |b: &u8| USER_CODE_LETTERS.get(usize::from(*b) % 20).copied().map_or('B', char::from);
        let mut user_code: String = letters.iter().map(letter).collect();
        user_code.insert(4, '-');
        let now = self.clock.now().as_second();
        let device_code = secret()?;
        let mut devices = self.devices();
        devices.retain(|_, device| device.expires > now);
        if devices.len() >= MAX_PENDING {
            return Err(OAuthError::new("temporarily_unavailable", "too many logins under way"));
        }
        let device = Device {
            user_code: user_code.clone(),
            nonce: request.nonce.clone(),
            challenge: request.code_challenge.clone().filter(|c| !c.is_empty()),
            email: None,
            expires: now + DEVICE_SECONDS,
        };
        devices.insert(device_code.clone(), device);
        let page = format!("{}/device", self.issuer);
        Ok(json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": DEVICE_SECONDS,
            "interval": 1,
        }))
    }

    /// Completes a device flow: the person with this user code is this one. Case does not matter.
    ///
    /// # Errors
    /// [`OAuthError`] when there is no such code, or it has expired.
    pub fn approve_device(&self, user_code: &str, email: &str) -> Result<(), OAuthError> {
        let now = self.clock.now().as_second();
        let wanted = user_code.trim().to_ascii_uppercase();
        let mut devices = self.devices();
        let device = devices.values_mut().find(|d| d.user_code == wanted && d.expires > now);
        match device {
            Some(device) if device.email.is_none() => {
                device.email = Some(email.to_owned());
                Ok(())
            }
            _ => Err(OAuthError::new("invalid_grant", "unknown, used or expired code")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_clock::{ManualClock, Timestamp};
    use countersign_crypto::{KeyPair, KeyType};

    use super::*;

    fn idp() -> (DevelopmentProvider, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        (DevelopmentProvider::new("http://localhost:1", "sigstore", key, clock.clone()).unwrap(), clock)
    }

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn request() -> AuthorizeRequest {
        AuthorizeRequest {
            response_type: "code".into(),
            client_id: "sigstore".into(),
            redirect_uri: "http://localhost:5000/auth/callback?x=1".into(),
            state: "st&ate".into(),
            nonce: Some("n-1".into()),
            // The example of RFC 7636 appendix B.
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            code_challenge_method: "S256".into(),
        }
    }

    fn form(redirect: &str) -> TokenRequest {
        let url = Url::parse(redirect).unwrap();
        let code = url.query_pairs().find(|(k, _)| k == "code").unwrap().1.into_owned();
        TokenRequest {
            grant_type: "authorization_code".into(),
            code,
            redirect_uri: request().redirect_uri,
            code_verifier: VERIFIER.into(),
            ..TokenRequest::default()
        }
    }

    fn claims(answer: &Value) -> Value {
        let token = answer["id_token"].as_str().unwrap();
        let part = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&countersign_crypto::encoding::base64url_decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_code_gives_one_token_with_the_nonce() {
        let (idp, _) = idp();
        let redirect = idp.approve(&request(), "alice@example.com").unwrap();
        assert!(redirect.starts_with("http://localhost:5000/auth/callback?x=1&code="), "{redirect}");
        assert!(redirect.ends_with("&state=st%26ate"), "{redirect}");
        let answer = idp.token(&form(&redirect)).unwrap();
        let claims = claims(&answer);
        assert_eq!(claims["email"], "alice@example.com");
        assert_eq!(claims["email_verified"], true);
        assert_eq!(claims["nonce"], "n-1");
        assert_eq!(claims["iss"], idp.issuer());
        assert_eq!(idp.token(&form(&redirect)).unwrap_err().error, "invalid_grant", "used");
    }

    #[test]
    fn each_part_of_the_exchange_is_checked() {
        type Change = fn(&mut AuthorizeRequest);
        let changes: [Change; 8] = [
            |r| r.response_type = "token".into(),
            |r| r.client_id = "other".into(),
            |r| r.redirect_uri = "http://evil.example/".into(),
            |r| r.redirect_uri = "https://localhost/".into(),
            |r| r.redirect_uri = "http://localhost/#x".into(),
            |r| r.state.clear(),
            |r| r.code_challenge_method = "plain".into(),
            |r| r.code_challenge.clear(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let (idp, _) = idp();
            let mut bad = request();
            change(&mut bad);
            assert_eq!(idp.approve(&bad, "a@example.com").unwrap_err().error, "invalid_request", "{i}");
        }
        type ChangeForm = fn(&mut TokenRequest);
        let changes: [ChangeForm; 4] = [
            |f| f.code_verifier.push('x'),
            |f| f.redirect_uri.push('x'),
            |f| f.code.push('x'),
            |f| f.grant_type = "password".into(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let (idp, _) = idp();
            let mut bad = form(&idp.approve(&request(), "a@example.com").unwrap());
            change(&mut bad);
            assert!(idp.token(&bad).is_err(), "{i}");
        }
    }

    #[test]
    fn codes_expire() {
        let (idp, clock) = idp();
        let redirect = idp.approve(&request(), "a@example.com").unwrap();
        clock.advance_seconds(CODE_SECONDS);
        assert!(idp.token(&form(&redirect)).unwrap_err().description.contains("expired"));
    }

    #[test]
    fn a_device_waits_for_its_person() {
        let (idp, clock) = idp();
        let device = || {
            idp.device(&DeviceRequest { client_id: "sigstore".into(), ..DeviceRequest::default() }).unwrap()
        };
        let answer = device();
        let poll = TokenRequest {
            grant_type: DEVICE_GRANT.into(),
            device_code: answer["device_code"].as_str().unwrap().into(),
            ..TokenRequest::default()
        };
        assert_eq!(idp.token(&poll).unwrap_err().error, "authorization_pending");
        let user_code = answer["user_code"].as_str().unwrap();
        assert!(idp.approve_device("XXXX-XXXX", "bob@example.com").is_err());
        idp.approve_device(&user_code.to_lowercase(), "bob@example.com").unwrap();
        assert!(idp.approve_device(user_code, "eve@example.com").is_err(), "taken");
        assert_eq!(claims(&idp.token(&poll).unwrap())["email"], "bob@example.com");
        assert_eq!(idp.token(&poll).unwrap_err().error, "invalid_grant", "used");
        let late = device();
        clock.advance_seconds(DEVICE_SECONDS);
        assert!(idp.approve_device(late["user_code"].as_str().unwrap(), "bob@example.com").is_err());
        let other = DeviceRequest { client_id: "other".into(), ..DeviceRequest::default() };
        assert_eq!(idp.device(&other).unwrap_err().error, "invalid_client");
    }

    #[test]
    fn a_device_with_a_challenge_needs_its_verifier() {
        let (idp, _) = idp();
        let device = DeviceRequest {
            client_id: "sigstore".into(),
            code_challenge: Some(request().code_challenge),
            ..DeviceRequest::default()
        };
        let answer = idp.device(&device).unwrap();
        idp.approve_device(answer["user_code"].as_str().unwrap(), "bob@example.com").unwrap();
        let mut poll = TokenRequest {
            grant_type: DEVICE_GRANT.into(),
            device_code: answer["device_code"].as_str().unwrap().into(),
            ..TokenRequest::default()
        };
        assert_eq!(idp.token(&poll).unwrap_err().error, "invalid_grant");
        poll.code_verifier = VERIFIER.into();
        assert!(idp.token(&poll).is_ok());
    }

    #[test]
    fn logins_under_way_are_counted() {
        let (idp, clock) = idp();
        for _ in 0..MAX_PENDING {
            idp.approve(&request(), "a@example.com").unwrap();
        }
        assert_eq!(idp.approve(&request(), "a@example.com").unwrap_err().error, "temporarily_unavailable");
        clock.advance_seconds(CODE_SECONDS);
        assert!(idp.approve(&request(), "a@example.com").is_ok());
    }
}
