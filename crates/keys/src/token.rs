//! Bearer tokens as OAuth 2.0 services give them out: fetched when needed, kept while they live, never shown.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use countersign_http::{Http, Request, Response};
use serde::{Deserialize, Deserializer};
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::service::{expect, secret_json};

/// A token with less life left than this is renewed.
const MARGIN: Duration = Duration::from_secs(120);

/// A token with the time until it ends.
#[derive(Deserialize)]
pub(crate) struct Token {
    #[serde(alias = "accessToken")]
    pub(crate) access_token: Zeroizing<String>,
    /// In seconds; Azure's metadata service writes the number as text.
    #[serde(default, deserialize_with = "seconds")]
    expires_in: u64,
}

impl Token {
    /// A token of which it is not known how long it lives: it is used once.
    pub(crate) fn once(token: Zeroizing<String>) -> Self {
        Self { access_token: token, expires_in: 0 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(…, {} seconds)", self.expires_in)
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Number(number) => number,
        Either::Text(text) => text.parse().unwrap_or(0),
    })
}

/// A token that is kept.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<(Zeroizing<String>, Instant)>>);

impl Kept {
    /// The token, if it has some life left.
    pub(crate) fn get(&self) -> Option<Zeroizing<String>> {
        let kept = self.0.lock().ok()?;
        kept.as_ref().filter(|(_, end)| *end > Instant::now() + MARGIN).map(|(token, _)| token.clone())
    }

    /// Drops the token, which the service did not take: the next call asks for another.
    pub(crate) fn forget(&self) {
        if let Ok(mut kept) = self.0.lock() {
            *kept = None;
        }
    }

    /// Keeps a token and gives its text.
    pub(crate) fn keep(&self, token: Token) -> Zeroizing<String> {
        // More than a day is nobody's token.
        let end = Instant::now() + Duration::from_secs(token.expires_in.min(86_400));
        if let Ok(mut kept) = self.0.lock() {
            *kept = Some((token.access_token.clone(), end));
        }
        token.access_token
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(…)")
    }
}

/// Asks a token endpoint with a form (RFC 6749 section 4).
pub(crate) async fn grant(
    http: &Http,
    service: &'static str,
    url: &Url,
    fields: &[(&str, &str)],
    credentials: &'static str,
) -> Result<Token, KeyError> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let body = Zeroizing::new(body.into_bytes());
    let request = Request::post(service, url, "application/x-www-form-urlencoded", Vec::new())
        .secret_body(body)
        .limit(1 << 16);
    read(http.send(request).await?, credentials)
}

/// The token in an answer.
pub(crate) fn read(answer: Response, credentials: &'static str) -> Result<Token, KeyError> {
    if answer.status == 400 {
        // RFC 6749 section 5.2: a refused grant is a bad request.
        let error = KeyError::from(answer.into_error());
        return Err(KeyError::Refused(format!("{error}; the credentials come from {credentials}")));
    }
    secret_json(expect(answer, &[200], credentials)?, "expected a token in JSON")
}
