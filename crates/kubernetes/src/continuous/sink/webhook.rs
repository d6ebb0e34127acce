//! Alerts as JSON by HTTP POST, signed with a shared secret if there is one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::encoding::hex_encode;
use countersign_crypto::hmac_sha256;
use countersign_http::{Http, HttpError, HttpOptions, Request};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use super::{Sending, Sink, SinkError, Told};
use crate::continuous::alert::SCHEMA_VERSION;

/// The header with the HMAC-SHA256 of the body under the shared secret: `sha256=` and hexadecimal digits.
pub const SIGNATURE_HEADER: &str = "x-countersign-signature-256";
/// How long whoever is told may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, A> {
    schema: &'static str,
    schema_version: u32,
    alerts: Vec<&'a A>,
}

/// Posts alerts to an address. The address may hold a token, and is not shown but for its host.
pub struct Webhook {
    http: Http,
    url: Url,
    secret: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.url.host_str().unwrap_or_default())
    }
}

impl Webhook {
    /// To this address.
    #[must_use]
    pub fn new(url: Url, secret: Option<Zeroizing<Vec<u8>>>) -> Self {
        // The queue tries again itself.
        let options = HttpOptions { timeout: PATIENCE, attempts: 1, ..HttpOptions::default() };
        Self { http: Http::new(options), url, secret }
    }

    async fn post<A: Told>(&self, alerts: &[Arc<A>]) -> Result<(), SinkError> {
        let host = self.url.host_str().unwrap_or_default();
        let alerts = alerts.iter().map(|alert| &**alert).collect();
        let body = Body { schema: "countersign.alerts", schema_version: SCHEMA_VERSION, alerts };
        let body = serde_json::to_vec(&body).map_err(|e| SinkError::Refused(e.to_string()))?;
        let mut request = Request::post("alert webhook", &self.url, "application/json", body.clone());
        if let Some(secret) = &self.secret {
            let signature = format!("sha256={}", hex_encode(&hmac_sha256(secret, &body)));
            request = request.header(SIGNATURE_HEADER, &signature).map_err(|e| refused(host, &e))?;
        }
        let answer = self.http.send(request).await.map_err(|error| match &error {
            HttpError::Network { message, .. } => SinkError::Away(format!("{host}: {message}")),
            // Whatever it answered, it was told.
            HttpError::TooLong { .. } => SinkError::Refused(format!("{host}: its answer is too long")),
            other => refused(host, other),
        })?;
        match answer.status {
            200..=299 => Ok(()),
            status @ (408 | 425 | 429 | 500..) => Err(SinkError::Away(format!("{host} answered {status}"))),
            status => Err(SinkError::Refused(format!(
                "{host}: expected an answer from 200 to 299, found {status}; check the address and its token"
            ))),
        }
    }
}

fn refused(host: &str, error: &HttpError) -> SinkError {
    let why = match error {
        HttpError::Usage(_) => "expected https, or http on this machine",
        HttpError::WrongAnswer { message, .. } => message,
        _ => "it could not be told",
    };
    SinkError::Refused(format!("{host}: {why}"))
}

impl<A: Told> Sink<A> for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<A>]) -> Sending<'a> {
        Box::pin(self.post(alerts))
    }
}
