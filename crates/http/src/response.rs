//! An answer: its head at once, its body piece by piece up to a limit, or as a whole.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::text::printable;
use crate::waiting::Waiting;
use crate::{HttpError, describe};

/// The slowest transfer that is waited for, in bytes for each second, beside the time limit of the request.
pub(crate) const SLOWEST: u64 = 64 << 10;

/// The time that moving so many bytes may take.
pub(crate) fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST)
}

/// An answer, of any status.
#[derive(Debug)]
pub struct Response {
    service: &'static str,
    url: String,
    /// The status.
    pub status: u16,
    headers: HeaderMap,
    /// The body, at most as long as the request's limit.
    pub body: Vec<u8>,
}

impl Response {
    /// The answer if its status is one of these; else an error with the service's own words.
    ///
    /// # Errors
    /// [`HttpError::Status`].
    pub fn expect(self, statuses: &[u16]) -> Result<Self, HttpError> {
        if statuses.contains(&self.status) { Ok(self) } else { Err(self.into_error()) }
    }

    /// This answer as an error.
    #[must_use]
    pub fn into_error(self) -> HttpError {
        let message = if (300..400).contains(&self.status) {
            "a redirect to another host, which is not followed; use the final address".to_owned()
        } else {
            message_of(&self.body)
        };
        HttpError::Status { service: self.service, url: self.url, status: self.status, message }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`HttpError::WrongAnswer`].
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|e| self.wrong(format!("expected JSON: {e}")))
    }

    /// This answer is wrong.
    #[must_use]
    pub fn wrong(&self, message: impl std::fmt::Display) -> HttpError {
        HttpError::WrongAnswer {
            service: self.service,
            url: self.url.clone(),
            message: printable(&message.to_string()),
        }
    }

    /// A header's value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// Every value of a header, as far as they are text.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        values(&self.headers, name)
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    name.into_iter().flat_map(|name| headers.get_all(name)).filter_map(|value| value.to_str().ok())
}

/// The words in an error answer: the `message`, `error_description` or `error` of JSON, the message of a
/// registry's first error, else the text.
fn message_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let named = json.as_ref().and_then(|v| {
        let first = v.pointer("/errors/0").unwrap_or(v);
        ["message", "error_description", "error", "code"].iter().find_map(|name| first.get(name)?.as_str())
    });
    let text = named.unwrap_or(&text).trim();
    if text.is_empty() {
        "no further words".into()
    } else {
        printable(&text.chars().take(500).collect::<String>())
    }
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub struct Streaming {
    pub(crate) service: &'static str,
    pub(crate) url: String,
    pub(crate) answer: reqwest::Response,
    pub(crate) limit: u64,
    pub(crate) received: u64,
    /// When the body must be there, the time for what was received not counted.
    pub(crate) deadline: Instant,
    /// Until the whole body is there, it is waited for.
    pub(crate) _waiting: Waiting,
}

impl Streaming {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }

    /// A header's value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// Every value of a header, as far as they are text.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        values(self.answer.headers(), name)
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::TooLong`] beyond the limit, [`HttpError::Network`] when the body breaks off or comes too
    /// slowly.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let deadline = self.deadline + time_for(self.received);
        let next = tokio::time::timeout_at(deadline, self.answer.chunk()).await;
        let network = |message| HttpError::Network { service: self.service, url: self.url.clone(), message };
        let Some(piece) = next
            .map_err(|_| network("the answer came too slowly".into()))?
            .map_err(|e| network(describe(&e)))?
        else {
            return Ok(None);
        };
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received > self.limit {
            return Err(HttpError::TooLong {
                service: self.service,
                url: self.url.clone(),
                limit: self.limit,
            });
        }
        Ok(Some(piece))
    }

    /// The whole answer.
    ///
    /// # Errors
    /// As [`Streaming::chunk`].
    pub async fn whole(mut self) -> Result<Response, HttpError> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Response {
            service: self.service,
            status: self.status(),
            headers: self.answer.headers().clone(),
            url: self.url,
            body,
        })
    }
}
