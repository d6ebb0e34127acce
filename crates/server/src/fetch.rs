//! The one HTTP client of the server: GET requests to the issuers in its configuration. It is not that of
//! `countersign-http`, since it resolves names itself: the address that was judged must be the one that is called.

use std::collections::HashMap;

use countersign_ca::oidc::{
    BoxFuture, FetchRequest, FetchResponse, Transport, TransportError, is_public_address,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

/// Fetches over HTTP, without following redirects and without the machine's proxy settings for loopback.
#[derive(Debug)]
pub(crate) struct HttpTransport {
    /// Documents this process itself serves, by URL.
    answers: HashMap<String, String>,
}

impl HttpTransport {
    pub(crate) fn new() -> Self {
        Self { answers: HashMap::new() }
    }

    /// Answers one URL without a request.
    pub(crate) fn with_answer(mut self, url: &str, body: String) -> Self {
        self.answers.insert(url.to_owned(), body);
        self
    }

    async fn fetch(request: FetchRequest) -> Result<FetchResponse, TransportError> {
        let bad = |e: &dyn std::fmt::Display| TransportError(e.to_string());
        let host =
            request.url.host_str().ok_or_else(|| TransportError("the URL has no host".into()))?.to_owned();
        let port = request.url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        // Resolved once, judged, and used: the address that was judged is the address that is called.
        let lookup = tokio::net::lookup_host((bare.as_str(), port));
        let addresses: Vec<_> = tokio::time::timeout(std::time::Duration::from_secs(3), lookup)
            .await
            .map_err(|_| TransportError(format!("the name {host} was not resolved in 3 s")))?
            .map_err(|e| bad(&e))?
            .collect();
        let public = !addresses.is_empty() && addresses.iter().all(|a| is_public_address(a.ip()));
        if request.public_addresses_only && !public {
            return Err(TransportError(format!("{host} is at an address that is not public")));
        }
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(request.timeout)
            .resolve_to_addrs(&host, &addresses)
            .no_proxy()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &request.ca_certificates_pem {
            let roots = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|e| bad(&e))?;
            client = client.tls_certs_only(roots);
        }
        let client = client.build().map_err(|e| bad(&e))?;
        let mut get = client.get(request.url.clone()).header("accept", "application/json");
        if let Some(token) = &request.bearer_token {
            get = get.bearer_auth(token);
        }
        let mut response = get.send().await.map_err(|e| bad(&e))?;
        let location = response.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| bad(&e))? {
            if body.len() + chunk.len() > request.max_body_bytes {
                return Err(TransportError(format!(
                    "the answer has more than {} bytes",
                    request.max_body_bytes
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(FetchResponse { status, location, body })
    }
}

impl Transport for HttpTransport {
    fn get(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, TransportError>> {
        match self.answers.get(request.url.as_str()) {
            Some(body) => {
                let response = FetchResponse { status: 200, location: None, body: body.clone().into_bytes() };
                Box::pin(async move { Ok(response) })
            }
            None => Box::pin(Self::fetch(request)),
        }
    }
}
