//! The one way to the network: limits, timeouts, retries and redirects decided in one place.
//!
//! - Plain `http` goes to loopback only, unless allowed by name: tokens travel here.
//! - Loopback is never reached through a proxy; everything else honours `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`,
//!   `SSL_CERT_FILE` and `SSL_CERT_DIR`.
//! - Redirects are followed within the same scheme, host and port, so that a token never goes elsewhere. A request
//!   for content which is checked by its digest may allow other hosts: they get no header but `Accept`, and they
//!   are no loopback and no link-local address unless the first host was one.
//! - An answer is read up to the limit its reader gave, and no further.
//! - Connect errors, 429 and 5xx are tried again a bounded number of times; `Retry-After` is honoured up to a bound, by all
//!   who share a [`Pause`].

mod error;
pub mod grpc;
mod pause;
mod request;
mod response;
pub mod text;
mod upload;
mod waiting;

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{self, HeaderMap};
use reqwest::{Certificate, Client, Identity, StatusCode, redirect};
use tokio::time::Instant;
use url::{Host, Url};
use zeroize::Zeroizing;

pub use crate::error::HttpError;
pub use crate::pause::Pause;
use crate::request::Body;
pub use crate::request::Request;
pub use crate::response::{Response, Streaming};
use crate::text::printable;
use crate::waiting::Waiting;
pub use crate::waiting::waiting;
pub use reqwest::Method;

/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// How to talk to services.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The time for one request with its answer. Long bodies get a second more for every 64 KiB that moved.
    pub timeout: Duration,
    /// How often a request is tried at most, the first time included.
    pub attempts: u32,
    /// The wait before the second attempt, doubled before each further one.
    pub backoff: Duration,
    /// The longest wait between two attempts, whatever the server asks for.
    pub longest_wait: Duration,
    /// Whether plain `http` may go to another machine.
    pub allow_plain_http: bool,
    /// Certificates of authorities that are trusted beside the system's: PEM, any number in each.
    pub authorities: Vec<Vec<u8>>,
    /// For servers which know their clients by a certificate.
    pub identity: Option<ClientIdentity>,
    /// Whether never to use a proxy: for a machine's own services, such as a cloud's metadata.
    pub no_proxy: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_millis(250),
            longest_wait: Duration::from_secs(20),
            allow_plain_http: false,
            authorities: Vec::new(),
            identity: None,
            no_proxy: false,
        }
    }
}

/// A TLS client certificate and its private key, both in PEM. Never shown.
#[derive(Clone)]
pub struct ClientIdentity(Zeroizing<Vec<u8>>);

impl From<Zeroizing<Vec<u8>>> for ClientIdentity {
    fn from(pem: Zeroizing<Vec<u8>>) -> Self {
        Self(pem)
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(…)")
    }
}

/// A client for HTTP, cheap to keep and to share by reference.
#[derive(Debug)]
pub struct Http {
    options: HttpOptions,
    /// Made when first needed: reading the system's certificates takes longer than a signature.
    direct: OnceLock<Client>,
    local: OnceLock<Client>,
    outside: OnceLock<Client>,
}

impl Http {
    /// A client with these options. Opens nothing yet.
    #[must_use]
    pub fn new(options: HttpOptions) -> Self {
        Self { options, direct: OnceLock::new(), local: OnceLock::new(), outside: OnceLock::new() }
    }

    /// Sends a request, trying again where that can help, and reads the whole answer.
    ///
    /// # Errors
    /// [`HttpError::Usage`] for an address this program does not go to, [`HttpError::Network`] when the service
    /// cannot be reached, [`HttpError::TooLong`] for an answer beyond the limit. Error statuses are answers.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        self.open(request).await?.whole().await
    }

    /// Sends a request, trying again where that can help; the body of the answer is read by the caller.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn open(&self, request: Request<'_>) -> Result<Streaming, HttpError> {
        let mut place = request.url.clone();
        let mut headers = request.headers.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.persist(&request, &place, &headers).await?;
            let Some(next) = elsewhere(&request, &answer)? else { return Ok(answer) };
            headers =
                headers.remove(header::ACCEPT).map(|value| (header::ACCEPT, value)).into_iter().collect();
            place = next;
        }
        Err(HttpError::WrongAnswer {
            service: request.service,
            url: shown(request.url),
            message: format!("more than {REDIRECTS} redirects"),
        })
    }

    /// Asks one address until it answers with something final.
    async fn persist(
        &self,
        request: &Request<'_>,
        place: &Url,
        headers: &HeaderMap,
    ) -> Result<Streaming, HttpError> {
        self.check_url(place)?;
        let client = self.client(place)?;
        let mut wait = self.options.backoff;
        let mut attempt = 1;
        loop {
            let last = attempt >= self.options.attempts;
            self.leave_alone(request, place).await;
            match self.once(client, request, place, headers).await {
                Ok(answer) if !worth_retrying(answer.status()) => return Ok(answer),
                Ok(answer) => {
                    let asked = answer.header("retry-after").and_then(retry_after);
                    if let (Some(pause), Some(asked)) = (request.pause, asked) {
                        pause.begin(asked.min(self.options.longest_wait));
                    }
                    if last {
                        return Ok(answer);
                    }
                    let asked = asked.unwrap_or(wait);
                    let why = format!("{} at {} answered {}", request.service, shown(place), answer.status());
                    drop(answer);
                    self.pause(asked, &why).await;
                }
                Err((error, retry)) if last || !retry => return Err(error),
                Err((error, _)) => self.pause(wait, &error.to_string()).await,
            }
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    /// Waits while a service is to be left alone.
    async fn leave_alone(&self, request: &Request<'_>, place: &Url) {
        let Some(pause) = request.pause else { return };
        // Somebody else may be told to wait longer meanwhile.
        while let Some(left) = pause.left() {
            self.pause(left, &format!("{} at {} asked to be left alone", request.service, shown(place)))
                .await;
        }
    }

    /// Waits before the next attempt.
    async fn pause(&self, asked: Duration, why: &str) {
        let pause = asked.min(self.options.longest_wait);
        let _waiting = Waiting::new(format!("{why}, asked again after {:.1} s", pause.as_secs_f32()));
        tokio::time::sleep(pause).await;
    }

    async fn once(
        &self,
        client: &Client,
        request: &Request<'_>,
        place: &Url,
        headers: &HeaderMap,
    ) -> Result<Streaming, (HttpError, bool)> {
        let url = shown(place);
        let network = |message: String, retry: bool| {
            (HttpError::Network { service: request.service, url: url.clone(), message }, retry)
        };
        let waiting = Waiting::new(format!("{} at {url} has not answered yet", request.service));
        let body = match &request.body {
            Body::Bytes(bytes) => reqwest::Body::from(bytes.clone()),
            Body::File(path, length) => reqwest::Body::wrap(
                upload::FileBody::open(path, *length)
                    .await
                    .map_err(|e| (HttpError::Usage(format!("{}: {e}", path.display())), false))?,
            ),
        };
        let time = request.timeout.unwrap_or(self.options.timeout);
        let deadline = Instant::now() + time + response::time_for(request.body.len());
        let sent =
            client.request(request.method.clone(), place.clone()).headers(headers.clone()).body(body).send();
        let answer = tokio::time::timeout_at(deadline, sent)
            .await
            .map_err(|_| network("no answer in time".into(), false))?
            .map_err(|e| network(describe(&e), e.is_connect()))?;
        let (service, limit) = (request.service, request.limit);
        Ok(Streaming { service, url: url.clone(), answer, limit, received: 0, deadline, _waiting: waiting })
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

    /// The authorities of the options, read.
    fn authorities(&self) -> Result<Vec<Certificate>, HttpError> {
        let mut found = Vec::new();
        for pem in &self.options.authorities {
            let read = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if read.is_empty() {
                return Err(HttpError::Usage(
                    "expected certificates of authorities in PEM, found none".into(),
                ));
            }
            found.extend(read);
        }
        Ok(found)
    }

    fn client(&self, url: &Url) -> Result<&Client, HttpError> {
        let (cell, direct) = match (is_loopback(url), url.scheme()) {
            (true, "http") => (&self.direct, true),
            (true, _) => (&self.local, false),
            (false, _) => (&self.outside, false),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(redirect::Policy::custom(same_origin));
        if is_loopback(url) || self.options.no_proxy {
            builder = builder.no_proxy();
        }
        if direct {
            builder = builder.tls_certs_only([]);
        } else {
            builder = builder.tls_certs_merge(self.authorities()?);
            if let Some(pem) = &self.options.identity {
                builder = builder.identity(Identity::from_pem(&pem.0).map_err(|_| {
                    HttpError::Usage("expected a client certificate and its private key in PEM".into())
                })?);
            }
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

/// Where an answer redirects to, if that is another host and the request may go there.
fn elsewhere(request: &Request<'_>, answer: &Streaming) -> Result<Option<Url>, HttpError> {
    let readable = request.method == Method::GET || request.method == Method::HEAD;
    if !request.elsewhere || !readable || !answer.answer.status().is_redirection() {
        return Ok(None);
    }
    let wrong = |message: String| HttpError::WrongAnswer {
        service: request.service,
        url: shown(answer.answer.url()),
        message,
    };
    let from = answer.answer.url();
    let place = answer.header("location").ok_or_else(|| wrong("a redirect without a place".into()))?;
    let next = from.join(place).map_err(|_| wrong("a redirect to something which is no address".into()))?;
    if (from.scheme() == "https" && next.scheme() != "https") || (is_near(&next) && !is_near(request.url)) {
        return Err(wrong(format!("a redirect to {}, which is not followed", shown(&next))));
    }
    Ok(Some(next))
}

/// Whether an address names this machine or one that only it can reach: no stranger may send us there.
#[must_use]
pub fn is_near(url: &Url) -> bool {
    is_loopback(url)
        || match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_link_local() || ip.is_unspecified(),
            Some(Host::Ipv6(ip)) => {
                ip.is_unicast_link_local()
                    || ip.is_unspecified()
                    || ip
                        .to_ipv4_mapped()
                        .is_some_and(|ip| ip.is_loopback() || ip.is_link_local() || ip.is_unspecified())
            }
            _ => false,
        }
}

/// Follows redirects within the origin of the first request, at most five.
fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
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
        Some(Host::Domain(name)) => {
            // One dot at the end says that the name is whole.
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_this_machine_or_its_link_is_a_place_for_a_stranger_to_send_us_to() {
        for host in [
            "localhost",
            "localhost.",
            "LOCALHOST",
            "a.localhost.",
            "127.0.0.1",
            "127.1",
            "0x7f.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:0.0.0.0]",
            "[::ffff:169.254.169.254]",
        ] {
            assert!(is_near(&parse_url(&format!("http://{host}/")).unwrap()), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "[2001:db8::1]"] {
            assert!(!is_near(&parse_url(&format!("http://{host}/")).unwrap()), "{host}");
        }
    }

    #[test]
    fn waits_are_given_in_seconds_or_as_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO), "in the past");
        assert!(
            retry_after("Fri, 01 Jan 2100 00:00:00 GMT").is_some_and(|wait| wait > Duration::from_secs(9))
        );
        for junk in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(junk), None, "{junk}");
        }
    }
}
