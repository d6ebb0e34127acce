//! Fetching an issuer's keys: OpenID Connect Discovery 1.0 section 4, with the limits that keep it from being turned
//! against the house it runs in.
//!
//! A redirect is followed to the same scheme, host and port only. Keys are fetched from the issuer's own host, or
//! from where the operator said. A bearer token goes only to hosts which the operator named.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::{Algorithm, FetchRequest, JwkSet, Transport};
use crate::config::Issuer;
use crate::json;

/// The longest discovery document or key set, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// How long one exchange may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long both exchanges may take together, redirects included.
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 3;

/// What was learned about an issuer.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    pub(crate) keys: JwkSet,
    /// The algorithms its discovery document names; `None` when none was asked for.
    algorithms: Option<Vec<Algorithm>>,
}

impl IssuerKeys {
    pub(crate) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.as_ref().is_none_or(|list| list.contains(&algorithm))
    }
}

/// Fetches the keys of an issuer anew. The error is a text for the operator's log.
pub(crate) async fn fetch(issuer: &Issuer, transport: &dyn Transport) -> Result<IssuerKeys, String> {
    let work = async {
        let source = issuer.keys();
        if let Some(path) = &source.jwks_file {
            let text = read_limited(path).await?;
            return Ok(IssuerKeys { keys: JwkSet::parse(&text)?, algorithms: None });
        }
        if let Some(url) = &source.jwks_url {
            let body = get(issuer, transport, url.clone()).await?;
            return Ok(IssuerKeys { keys: JwkSet::parse(&body)?, algorithms: None });
        }
        let address = format!("{}/.well-known/openid-configuration", issuer.url().trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|e| e.to_string())?;
        let document = json::parse_object(&get(issuer, transport, address).await?)
            .map_err(|e| format!("discovery document: {e}"))?;
        let url = keys_url(issuer, &document)?;
        let body = get(issuer, transport, url).await?;
        Ok(IssuerKeys { keys: JwkSet::parse(&body)?, algorithms: Some(algorithms(&document)) })
    };
    match tokio::time::timeout(TOTAL_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", TOTAL_TIMEOUT.as_secs())),
    }
}

fn keys_url(issuer: &Issuer, document: &Map<String, Value>) -> Result<Url, String> {
    match document.get("issuer") {
        Some(Value::String(name)) if name == issuer.url() => {}
        Some(Value::String(name)) => {
            return Err(format!(
                "discovery document: expected issuer {}, found {}",
                issuer.url(),
                super::for_log(name)
            ));
        }
        _ => return Err("discovery document: expected a string \"issuer\"".into()),
    }
    let Some(Value::String(text)) = document.get("jwks_uri") else {
        return Err("discovery document: expected a string \"jwks_uri\"".into());
    };
    let url = Url::parse(text).map_err(|e| format!("discovery document: jwks_uri: {e}"))?;
    let known = issuer
        .keys()
        .foreign_host
        .is_some_and(|host| url.scheme() == "https" && url.host_str() == Some(host) && url.port().is_none());
    if !same_origin(&url, issuer.parsed_url()) && !known {
        return Err(format!(
            "discovery document: expected jwks_uri on the issuer's own host, found {}",
            super::for_log(text)
        ));
    }
    Ok(url)
}

/// The algorithms a discovery document names, of those known here; RS256 when it names none.
fn algorithms(document: &Map<String, Value>) -> Vec<Algorithm> {
    let named: Vec<Algorithm> = match document.get("id_token_signing_alg_values_supported") {
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter_map(Algorithm::from_name).collect()
        }
        _ => Vec::new(),
    };
    if named.is_empty() { Algorithm::from_name("RS256").into_iter().collect() } else { named }
}

/// Scheme, host and port are the same.
fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin() && a.origin().is_tuple() && a.username().is_empty() && a.password().is_none()
}

async fn get(issuer: &Issuer, transport: &dyn Transport, start: Url) -> Result<Vec<u8>, String> {
    let source = issuer.keys();
    let mut url = start.clone();
    for _ in 0..=MAX_REDIRECTS {
        let trusted = same_origin(&url, issuer.parsed_url())
            || source.jwks_url.as_ref().is_some_and(|configured| same_origin(&url, configured));
        let bearer_token = match &source.bearer_token_file {
            Some(path) if trusted => {
                let text = read_limited(path).await?;
                let text = String::from_utf8(text).map_err(|_| "the bearer token is not text".to_owned())?;
                Some(text.trim().to_owned())
            }
            _ => None,
        };
        let response = transport
            .get(FetchRequest {
                url: url.clone(),
                max_body_bytes: MAX_BODY,
                timeout: FETCH_TIMEOUT,
                ca_certificates_pem: source.ca_certificates_pem.clone(),
                bearer_token,
                public_addresses_only: issuer.by_wildcard(),
            })
            .await
            .map_err(|e| format!("{url}: {e}"))?;
        match response.status {
            200 if response.body.len() <= MAX_BODY => return Ok(response.body),
            200 => return Err(format!("{url}: expected at most {MAX_BODY} bytes")),
            301 | 302 | 303 | 307 | 308 => {
                let location = response.location.ok_or_else(|| format!("{url}: a redirect to nowhere"))?;
                let next = url.join(&location).map_err(|e| format!("{url}: redirect: {e}"))?;
                if !same_origin(&next, &start) {
                    return Err(format!(
                        "{url}: a redirect to another host is not followed ({})",
                        super::for_log(&location)
                    ));
                }
                url = next;
            }
            status => return Err(format!("{url}: expected HTTP status 200, found {status}")),
        }
    }
    Err(format!("{start}: more than {MAX_REDIRECTS} redirects"))
}

async fn read_limited(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() > MAX_BODY {
        return Err(format!("{}: expected at most {MAX_BODY} bytes, found more", path.display()));
    }
    Ok(bytes)
}
