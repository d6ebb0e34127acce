//! A request: where to, with what, and how much answer may come back.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use crate::{HttpError, Pause};

/// What a request carries. It can be sent again when an attempt fails.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Bytes at hand.
    Bytes(Bytes),
    /// The first bytes of a file, read while they are sent.
    File(PathBuf, u64),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

/// A request to a service.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) service: &'static str,
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) limit: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) elsewhere: bool,
    pub(crate) pause: Option<&'a Pause>,
}

impl<'a> Request<'a> {
    /// A request with any method. `service` is how errors name the one asked; the answer may have up to 1 MiB.
    #[must_use]
    pub fn new(service: &'static str, method: Method, url: &'a Url) -> Self {
        Self {
            service,
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Bytes(Bytes::new()),
            limit: 1 << 20,
            timeout: None,
            elsewhere: false,
            pause: None,
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(service: &'static str, url: &'a Url) -> Self {
        Self::new(service, Method::GET, url)
    }

    /// A POST of a body with this content type.
    #[must_use]
    pub fn post(service: &'static str, url: &'a Url, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut request = Self::new(service, Method::POST, url).body(body);
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    /// Waits while the service is to be left alone, and tells others when it asks for that.
    #[must_use]
    pub const fn pausing(mut self, pause: &'a Pause) -> Self {
        self.pause = Some(pause);
        self
    }

    /// Sets the bytes to send.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    /// Sets the bytes to send, which are wiped from memory when the request is done with.
    #[must_use]
    pub fn secret_body(self, body: Zeroizing<Vec<u8>>) -> Self {
        self.body(Bytes::from_owner(body))
    }

    /// Sends the first `length` bytes of a file, which is read while it is sent. It must not change meanwhile.
    #[must_use]
    pub fn file(mut self, path: PathBuf, length: u64) -> Self {
        self.body = Body::File(path, length);
        self
    }

    /// Sets a header.
    ///
    /// # Errors
    /// [`HttpError::Usage`] when the value holds characters which no header can carry.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self, HttpError> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| HttpError::Usage(format!("no header can carry this value of {name}")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Sets a header whose value is never shown.
    ///
    /// # Errors
    /// As [`Request::header`].
    pub fn secret_header(self, name: &'static str, value: &str) -> Result<Self, HttpError> {
        let mut request = self.header(name, value)?;
        if let Some(value) = request.headers.get_mut(name) {
            value.set_sensitive(true);
        }
        Ok(request)
    }

    /// Sets what kind of answer is understood.
    #[must_use]
    pub fn accept(mut self, content_type: &'static str) -> Self {
        self.headers.insert(header::ACCEPT, HeaderValue::from_static(content_type));
        self
    }

    /// Adds `Authorization: <scheme> <token>`. The value is never shown.
    ///
    /// # Errors
    /// [`HttpError::Usage`] when the token holds characters which no header can carry.
    pub fn authorization(mut self, scheme: &str, token: &str) -> Result<Self, HttpError> {
        let mut value = HeaderValue::from_str(&format!("{scheme} {token}"))
            .map_err(|_| HttpError::Usage("the token holds characters which no token has".into()))?;
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    /// Sets the largest answer, in bytes.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes as u64;
        self
    }

    /// Sets another time limit than the usual.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets a GET or HEAD be redirected to another host: for content that is checked by its digest. No header
    /// of this request but `Accept` goes there, so no credential does.
    #[must_use]
    pub fn follow_elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }
}
