//! The one way to the network: limits, timeouts, retries and redirects decided in one place.
//!
//! - Plain `http` goes to loopback only, unless allowed by name: tokens travel here.
//! - Loopback is never reached through a proxy; everything else honours `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`,
//!   `SSL_CERT_FILE` and `SSL_CERT_DIR`.
//! - Redirects are followed within the same scheme, host and port, so that a token never goes elsewhere.
//! - An answer is read up to the limit its reader gave, and no further.
//! - Connect errors, 429 and 5xx are tried again a bounded number of times; `Retry-After` is honoured up to a bound.

mod error;
pub mod grpc;
pub mod text;

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, redirect};
use url::{Host, Url};

pub use crate::error::HttpError;
use crate::text::printable;

/// How to talk to services.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The time for one request with its answer.
    pub timeout: Duration,
    /// How often a request is tried at most, the first time included.
    pub attempts: u32,
    /// The wait before the second attempt, doubled before each further one.
    pub backoff: Duration,
    /// The longest wait between two attempts, whatever the server asks for.
    pub longest_wait: Duration,
    /// Whether plain `http` may go to another machine.
    pub allow_plain_http: bool,
    /// Whether the proxies of the environment are honoured. Not for what must stay on this host's own link.
    pub proxies: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_millis(250),
            longest_wait: Duration::from_secs(20),
            allow_plain_http: false,
            proxies: true,
        }
    }
}

/// A request to a service.
#[derive(Debug)]
pub struct Request<'a> {
    service: &'static str,
    method: Method,
    url: &'a Url,
    headers: HeaderMap,
    body: Vec<u8>,
    limit: usize,
    timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    /// A GET. `service` is how errors name the one asked; the answer may have up to 1 MiB.
    #[must_use]
    pub fn get(service: &'static str, url: &'a Url) -> Self {
        Self {
            service,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Vec::new(),
            limit: 1 << 20,
            timeout: None,
        }
    }

    /// A POST of a body with this content type.
    #[must_use]
    pub fn post(service: &'static str, url: &'a Url, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut request = Self { method: Method::POST, body, ..Self::get(service, url) };
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
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

    /// Adds a header that the service insists on.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Sets the largest answer, in bytes.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Sets another time limit than the usual.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
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
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        self.headers.get(name)?.to_str().ok()
    }
}

/// The words in an error answer: the `message`, `error_description` or `error` of JSON, else the text.
fn message_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let named = json.as_ref().and_then(|v| {
        ["message", "error_description", "error"].iter().find_map(|name| v.get(name)?.as_str())
    });
    let text = named.unwrap_or(&text).trim();
    if text.is_empty() {
        "no further words".into()
    } else {
        printable(&text.chars().take(500).collect::<String>())
    }
}

/// A client for HTTP, cheap to keep and to share by reference.
#[derive(Debug)]
pub struct Http {
    options: HttpOptions,
    /// Made when first needed: reading the system's certificates takes longer than a signature.
    direct: OnceLock<Client>,
    outside: OnceLock<Client>,
}

impl Http {
    /// A client with these options. Opens nothing yet.
    #[must_use]
    pub fn new(options: HttpOptions) -> Self {
        Self { options, direct: OnceLock::new(), outside: OnceLock::new() }
    }

    /// Sends a request, trying again where that can help.
    ///
    /// # Errors
    /// [`HttpError::Usage`] for an address this program does not go to, [`HttpError::Network`] when the service
    /// cannot be reached, [`HttpError::WrongAnswer`] for an answer beyond the limit. Error statuses are answers.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        self.check_url(request.url)?;
        let client = self.client(request.url)?;
        let mut wait = self.options.backoff;
        let mut attempt = 1;
        loop {
            let last = attempt >= self.options.attempts;
            match self.once(client, &request).await {
                Ok(response) if last || !worth_retrying(response.status) => return Ok(response),
                Ok(response) => {
                    let asked = response.header("retry-after").and_then(retry_after);
                    tokio::time::sleep(asked.unwrap_or(wait).min(self.options.longest_wait)).await;
                }
                Err((error, retry)) if last || !retry => return Err(error),
                Err(_) => tokio::time::sleep(wait.min(self.options.longest_wait)).await,
            }
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    async fn once(&self, client: &Client, request: &Request<'_>) -> Result<Response, (HttpError, bool)> {
        let url = shown(request.url);
        let network = |message: String, retry: bool| {
            (HttpError::Network { service: request.service, url: url.clone(), message }, retry)
        };
        let mut answer = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .timeout(request.timeout.unwrap_or(self.options.timeout))
            .body(request.body.clone())
            .send()
            .await
            .map_err(|e| network(describe(&e), e.is_connect()))?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| network(describe(&e), false))? {
            if body.len() + chunk.len() > request.limit {
                let error = HttpError::WrongAnswer {
                    service: request.service,
                    url: url.clone(),
                    message: format!("the answer is longer than {} bytes", request.limit),
                };
                return Err((error, false));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { service: request.service, url, status, headers, body })
    }

    fn check_url(&self, url: &Url) -> Result<(), HttpError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_loopback(url) || self.options.allow_plain_http => Ok(()),
            "http" => Err(HttpError::Usage(format!(
                "{} is plain http to another machine, where anyone between could read the token; expected https",
                shown(url)
            ))),
            _ => Err(HttpError::Usage(format!("{}: expected an http or https address", shown(url)))),
        }
    }

    fn client(&self, url: &Url) -> Result<&Client, HttpError> {
        let (cell, direct) = if is_loopback(url) && url.scheme() == "http" {
            (&self.direct, true)
        } else {
            (&self.outside, false)
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(redirect::Policy::custom(same_origin));
        if direct {
            builder = builder.no_proxy().tls_certs_only([]);
        } else if is_loopback(url) || !self.options.proxies {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| HttpError::Network {
            service: "TLS",
            url: shown(url),
            message: format!(
                "the system's certificates cannot be used: {}; install the package ca-certificates, or name a PEM \
                 file in SSL_CERT_FILE",
                describe(&e)
            ),
        })?;
        Ok(cell.get_or_init(|| client))
    }
}

/// Follows redirects within the origin of the first request, at most five.
fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
}

fn worth_retrying(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|s| {
        s == StatusCode::TOO_MANY_REQUESTS || (s.is_server_error() && s != StatusCode::NOT_IMPLEMENTED)
    })
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    let now: Timestamp = std::time::SystemTime::now().try_into().ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Whether an address names this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// An address for messages: without user, password, query and fragment, where secrets travel.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail for addresses which cannot have a user at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    printable(url.as_str())
}

/// An error of the HTTP library with its causes, without the address (which may hold a token in its query).
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut text =
        if error.is_connect() { "cannot connect".to_owned() } else { "the exchange failed".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    printable(&text)
}

/// Reads an address.
///
/// # Errors
/// [`HttpError::Usage`] naming it.
pub fn parse_url(text: &str) -> Result<Url, HttpError> {
    Url::parse(text)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https") && u.host().is_some())
        .ok_or_else(|| HttpError::Usage(format!("\"{}\" is not an http or https address", printable(text))))
}

/// A base address with a path appended, whether or not the base ends with a slash.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
