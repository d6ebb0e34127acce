//! Where an identity comes from: a token given, the CI system's, a browser, another device.
//!
//! Tokens are read here only to know the name a certificate will carry and when to ask again. Whether a token is
//! true is the certificate authority's to decide.

mod ambient;
mod browser;
mod device;
mod discovery;
mod login;
mod spiffe;

use countersign_crypto::encoding;
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::ClientError;
use countersign_http::text::printable;

pub use ambient::{Ambient, AmbientProvider};
pub use device::DevicePrompt;
pub use discovery::Provider;
pub use login::{Flow, Login, LoginOptions, Nobody, TokenFrom, Ui};
pub use spiffe::first_svid;

/// The audience the certificate authority expects, and the public client's name at identity providers.
pub const AUDIENCE: &str = "sigstore";

/// The largest token that is read, in bytes.
pub const MAX_TOKEN: usize = 64 * 1024;

/// An OpenID Connect token, read but not checked.
#[derive(Clone)]
pub struct IdToken {
    raw: Zeroizing<String>,
    claims: Claims,
}

/// What is read of a token's claims.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    /// Who says so.
    pub iss: String,
    /// The name within the issuer.
    #[serde(default)]
    pub sub: String,
    /// The end of its validity, in seconds since 1970.
    #[serde(default)]
    pub exp: Option<i64>,
    /// The e-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the issuer has checked the address: a boolean, or the text `true` at some issuers.
    #[serde(default)]
    pub email_verified: Option<serde_json::Value>,
    /// The value tying the token to one login.
    #[serde(default)]
    pub nonce: Option<String>,
    /// For whom it is: a text or a list.
    #[serde(default)]
    pub aud: Option<serde_json::Value>,
}

impl IdToken {
    /// Reads a token in its compact form.
    ///
    /// ```
    /// use countersign_client::oidc::IdToken;
    /// use countersign_crypto::encoding::base64url_encode;
    /// let claims = base64url_encode(br#"{"iss":"https://idp.example","sub":"u1"}"#);
    /// let token = IdToken::parse(&format!("e30.{claims}.c2ln"))?;
    /// assert_eq!(token.subject()?, "u1");
    /// # Ok::<(), countersign_client::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Identity`]; the token is never part of the message.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let bad = |what: &str| ClientError::Identity(format!("not an OpenID Connect token: {what}"));
        let text = text.trim();
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.len() > MAX_TOKEN {
            return Err(bad(&format!("it is longer than {MAX_TOKEN} bytes")));
        }
        // At most four pieces are cut, however many dots there are.
        let mut parts = text.splitn(4, '.');
        let (Some(_header), Some(payload), Some(_signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("expected three parts with two dots between"));
        };
        let payload = encoding::base64url_decode(payload).map_err(|_| bad("the claims are not base64url"))?;
        let claims: Claims = serde_json::from_slice(&payload)
            .map_err(|e| bad(&format!("the claims: {}", printable(&e.to_string()))))?;
        Ok(Self { raw: Zeroizing::new(text.to_owned()), claims })
    }

    /// The token as it travels.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.raw
    }

    /// Its claims, as read.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The name the certificate authority wants signed as proof of possession: the e-mail address if there is
    /// one, which must be verified, else the subject.
    ///
    /// # Errors
    /// [`ClientError::Identity`] for an address which the issuer has not verified, or no name at all.
    pub fn subject(&self) -> Result<&str, ClientError> {
        if let Some(email) = self.claims.email.as_deref().filter(|e| !e.is_empty()) {
            let verified = match &self.claims.email_verified {
                Some(serde_json::Value::Bool(verified)) => *verified,
                Some(serde_json::Value::String(text)) => text == "true",
                _ => false,
            };
            return if verified {
                Ok(email)
            } else {
                Err(ClientError::Identity(format!(
                    "{} has not verified the address {}; verify it there, then sign again",
                    printable(&self.claims.iss),
                    printable(email)
                )))
            };
        }
        if self.claims.sub.is_empty() {
            return Err(ClientError::Identity("the token names nobody (neither email nor sub)".into()));
        }
        Ok(&self.claims.sub)
    }

    /// Whether it will still be valid after some seconds. A token without an end counts as valid: the
    /// certificate authority decides.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp, seconds: i64) -> bool {
        self.claims.exp.is_none_or(|exp| exp > now.as_second().saturating_add(seconds))
    }

    /// Whether it is meant for this audience.
    #[must_use]
    pub fn has_audience(&self, audience: &str) -> bool {
        match &self.claims.aud {
            Some(serde_json::Value::String(one)) => one == audience,
            Some(serde_json::Value::Array(many)) => many.iter().any(|a| a.as_str() == Some(audience)),
            _ => false,
        }
    }
}

impl std::fmt::Debug for IdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdToken")
            .field("iss", &self.claims.iss)
            .field("sub", &self.claims.sub)
            .finish_non_exhaustive()
    }
}

/// An unpredictable text for `state`, `nonce` and PKCE verifiers: 32 bytes in base64url.
pub(crate) fn unpredictable() -> Result<String, ClientError> {
    let mut bytes = [0; 32];
    countersign_crypto::random(&mut bytes)?;
    Ok(encoding::base64url_encode(&bytes))
}

/// A token with another nonce than ours.
pub(crate) fn another_login() -> ClientError {
    ClientError::Identity(
        "the token was not made for this login (its nonce differs), so it is not used".into(),
    )
}

/// The PKCE challenge of a verifier, method S256 (RFC 7636 section 4.2).
pub(crate) fn pkce_challenge(verifier: &str) -> String {
    encoding::base64url_encode(&countersign_crypto::sha256(verifier.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A token with these claims and no true signature.
    pub(crate) fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", encoding::base64url_encode(claims.to_string().as_bytes()))
    }

    fn subject(claims: &serde_json::Value) -> Result<String, String> {
        IdToken::parse(&token(claims)).and_then(|t| t.subject().map(str::to_owned)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_name_is_the_verified_address_else_the_subject() {
        let claims = |v: serde_json::Value| serde_json::json!({"iss":"i","sub":"s","email":"a@b.c","email_verified":v});
        assert_eq!(subject(&claims(true.into())), Ok("a@b.c".into()));
        assert_eq!(subject(&claims("true".into())), Ok("a@b.c".into()));
        for not in [false.into(), "false".into(), 1.into(), serde_json::Value::Null, "yes".into()] {
            assert!(subject(&claims(not)).unwrap_err().contains("not verified"));
        }
        assert_eq!(subject(&serde_json::json!({"iss":"i","sub":"repo:x"})), Ok("repo:x".into()));
        assert_eq!(subject(&serde_json::json!({"iss":"i","sub":"s","email":""})), Ok("s".into()));
        assert!(subject(&serde_json::json!({"iss":"i"})).is_err());
    }

    #[test]
    fn s05_many_dots_are_refused_without_cutting_them_all() {
        let error = IdToken::parse(&".".repeat(MAX_TOKEN)).unwrap_err().to_string();
        assert!(error.contains("three parts"), "{error}");
        assert!(IdToken::parse(&".".repeat(10_000_000)).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn neither_debug_nor_errors_show_the_token() {
        let raw = token(&serde_json::json!({"iss":"i","sub":"s"}));
        assert!(!format!("{:?}", IdToken::parse(&raw).unwrap()).contains(&raw));
        let broken = format!("{raw}.more");
        assert!(!IdToken::parse(&broken).unwrap_err().to_string().contains("e30"));
    }

    #[test]
    fn audiences_are_a_text_or_a_list() {
        let has = |aud: serde_json::Value| {
            IdToken::parse(&token(&serde_json::json!({"iss":"i","sub":"s","aud":aud})))
                .unwrap()
                .has_audience("sigstore")
        };
        assert!(has("sigstore".into()));
        assert!(has(serde_json::json!(["other", "sigstore"])));
        assert!(!has("sigstore2".into()));
        assert!(!has(serde_json::json!([])));
        assert!(!has(serde_json::Value::Null));
    }

    #[test]
    fn pkce_matches_the_example_of_the_rfc() {
        assert_eq!(
            pkce_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
