//! From a token to a [`VerifiedToken`].

use std::sync::Arc;

use countersign_clock::{Clock, Timestamp};
use serde_json::{Map, Value};

use super::jws::CompactJws;
use super::key_store::KeyStore;
use super::{Transport, for_log};
use crate::config::{Issuer, Issuers};
use crate::json;

/// How far in the future `nbf` and `iat` may lie, for clocks that are not quite the same, in seconds. `exp` has no
/// leeway: a token is over when it says so.
pub const FUTURE_LEEWAY_SECONDS: i64 = 60;

/// Why a token is not believed. For the operator's log only: a client gets one text for all of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a compact JWS with a usable header and JSON claims.
    #[error("not a compact JWS: {0}")]
    Malformed(String),
    /// An algorithm outside the list.
    #[error("algorithm \"{0}\" is not accepted")]
    Algorithm(String),
    /// Nobody configured this issuer.
    #[error("issuer \"{0}\" is not configured")]
    UnknownIssuer(String),
    /// The issuer's keys cannot be had, and none are cached that are young enough.
    #[error("the keys of issuer {issuer} cannot be fetched: {reason}")]
    IssuerUnavailable {
        /// The issuer.
        issuer: String,
        /// What happened.
        reason: String,
    },
    /// None of the issuer's keys is the one the token names, for the algorithm it names.
    #[error("issuer {issuer} has no key \"{kid}\" for {algorithm}")]
    UnknownKey {
        /// The issuer.
        issuer: String,
        /// The key id in the token's header, or nothing.
        kid: String,
        /// The algorithm in the token's header.
        algorithm: String,
    },
    /// The signature is not the issuer's.
    #[error("the signature does not verify with the keys of issuer {0}")]
    Signature(String),
    /// A claim is missing or has the wrong form or value.
    #[error("claim \"{claim}\": expected {expected}, found {found}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// A token whose signature, issuer, audience and times were checked. There is no other way to make one than
/// [`TokenVerifier::verify`].
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    issuer: Issuer,
    subject: String,
    claims: Map<String, Value>,
}

impl VerifiedToken {
    /// Who vouches.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The claim `sub`, never empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All claims.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Checks tokens against the configured issuers.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: Arc<Issuers>,
    keys: KeyStore,
    clock: Arc<dyn Clock>,
}

impl TokenVerifier {
    /// A verifier with an empty cache: the first token of an issuer fetches its keys.
    #[must_use]
    pub fn new(issuers: Arc<Issuers>, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { issuers, keys: KeyStore::new(transport, Arc::clone(&clock)), clock }
    }

    /// The configured issuers.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Checks a token (OpenID Connect Core section 3.1.3.7): form, issuer, signature, audience, times, subject.
    ///
    /// # Errors
    /// [`TokenError`], precise; not for the client's eyes.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let jws = CompactJws::parse(token)?;
        let iss = match jws.claims.get("iss") {
            Some(Value::String(iss)) => iss,
            other => return Err(claim("iss", "a string", other)),
        };
        // Before anything is fetched: is this anybody we know?
        let issuer = self.issuers.lookup(iss).ok_or_else(|| TokenError::UnknownIssuer(for_log(iss)))?;
        self.check_signature(&issuer, &jws).await?;
        let subject = check_claims(&issuer, &jws.claims, self.clock.now())?;
        Ok(VerifiedToken { issuer, subject, claims: jws.claims })
    }

    async fn check_signature(&self, issuer: &Issuer, jws: &CompactJws<'_>) -> Result<(), TokenError> {
        let mut known = self
            .keys
            .keys(issuer)
            .await
            .map_err(|reason| TokenError::IssuerUnavailable { issuer: issuer.url().to_owned(), reason })?;
        let kid = jws.kid.as_deref();
        if known.keys.candidates(kid, jws.algorithm).is_empty()
            && let Some(newer) = self.keys.newer(issuer, &known).await
        {
            known = newer;
        }
        if !known.allows(jws.algorithm) {
            return Err(TokenError::Algorithm(jws.algorithm.to_string()));
        }
        let candidates = known.keys.candidates(kid, jws.algorithm);
        if candidates.is_empty() {
            return Err(TokenError::UnknownKey {
                issuer: issuer.url().to_owned(),
                kid: for_log(kid.unwrap_or_default()),
                algorithm: jws.algorithm.to_string(),
            });
        }
        if candidates.iter().any(|key| jws.algorithm.verify(key, jws.signing_input, &jws.signature)) {
            Ok(())
        } else {
            Err(TokenError::Signature(issuer.url().to_owned()))
        }
    }

    /// How many issuers have an entry in the cache of keys. Bounded, whatever tokens arrive.
    #[must_use]
    pub fn cached_issuers(&self) -> usize {
        self.keys.remembered()
    }
}

/// Audience, times and subject. Gives the subject.
fn check_claims(issuer: &Issuer, claims: &Map<String, Value>, now: Timestamp) -> Result<String, TokenError> {
    let for_us = |value: &Value| value.as_str() == Some(issuer.client_id());
    match claims.get("aud") {
        Some(audience) if for_us(audience) => {}
        Some(Value::Array(list)) if list.iter().any(for_us) => {}
        other => return Err(claim("aud", &format!("\"{}\"", issuer.client_id()), other)),
    }
    let now = now.as_second();
    let after = |limit: i64| format!("a time after {limit}");
    match time(claims, "exp")? {
        Some(exp) if exp > whole(now) => {}
        _ => return Err(claim("exp", &after(now), claims.get("exp"))),
    }
    for name in ["nbf", "iat"] {
        let latest = now.saturating_add(FUTURE_LEEWAY_SECONDS);
        if time(claims, name)?.is_some_and(|at| at > whole(latest)) {
            return Err(claim(name, &format!("a time not after {latest}"), claims.get(name)));
        }
    }
    match claims.get("sub") {
        Some(Value::String(subject)) if !subject.is_empty() => Ok(subject.clone()),
        other => Err(claim("sub", "a string that is not empty", other)),
    }
}

/// Seconds since the epoch (RFC 7519's NumericDate, a number which may have a fraction); `None` when it is absent.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(at) if at.is_finite() && at >= 0.0 => Ok(Some(at)),
            _ => Err(claim(name, "a time in seconds", claims.get(name))),
        },
        other => Err(claim(name, "a time in seconds", other)),
    }
}

/// Seconds as they compare with a NumericDate; exact for the next 285 million years.
#[allow(clippy::cast_precision_loss, reason = "times in seconds are far below 2^53")]
const fn whole(seconds: i64) -> f64 {
    seconds as f64
}

fn claim(name: &'static str, expected: &str, found: Option<&Value>) -> TokenError {
    let found = match found {
        None => "nothing".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        // Texts of a token whose signature was checked, or of one that is about to be refused: cut and escaped.
        Some(Value::String(text)) => format!("\"{}\"", for_log(text)),
        Some(other) => json::kind(other).to_owned(),
    };
    TokenError::Claim { claim: name, expected: expected.to_owned(), found }
}
