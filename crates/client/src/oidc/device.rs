//! Logging in on another device (RFC 8628): for machines without a browser.

use std::time::Duration;

use serde::Deserialize;

use super::discovery::{Provider, post_form};
use super::{IdToken, another_login, pkce_challenge, unpredictable};
use crate::ClientError;
use countersign_http::text::printable;
use countersign_http::{Http, parse_url};

/// What a person needs to log in on another device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePrompt {
    /// The page to open.
    pub url: String,
    /// The code to type there.
    pub code: String,
}

#[derive(Deserialize)]
struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: Option<u64>,
    interval: Option<u64>,
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Logs in: shows the prompt, then asks the provider until the person is done or the code has expired.
///
/// `pace` is the shortest time between two questions, whatever the provider says.
pub(super) async fn login(
    http: &Http,
    provider: &Provider,
    client_id: &str,
    client_secret: Option<&str>,
    pace: Duration,
    show: &(dyn Fn(&DevicePrompt) + Send + Sync),
) -> Result<IdToken, ClientError> {
    let endpoint = provider.device.as_ref().ok_or_else(|| {
        ClientError::Identity(format!(
            "{} offers no login by device code; use a browser, or a token with --identity-token",
            printable(&provider.issuer)
        ))
    })?;
    let verifier = unpredictable()?;
    let challenge = pkce_challenge(&verifier);
    let nonce = unpredictable()?;
    let mut form = vec![
        ("client_id", client_id),
        ("scope", "openid email"),
        ("nonce", &nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    form.extend(client_secret.map(|secret| ("client_secret", secret)));
    let response = http.send(post_form("the identity provider", endpoint, &form)).await?.expect(&[200])?;
    let started: Started = response.json()?;
    // Only a web page may be shown: anything else could be clicked in a terminal.
    let page = started.verification_uri_complete.as_ref().unwrap_or(&started.verification_uri);
    let page = parse_url(page).map_err(|e| response.wrong(e))?;
    show(&DevicePrompt { url: page.to_string(), code: printable(&started.user_code) });

    let mut interval = Duration::from_secs(started.interval.unwrap_or(5).min(60)).max(pace);
    let lifetime = Duration::from_secs(started.expires_in.unwrap_or(600).min(1800));
    let asking = async {
        loop {
            tokio::time::sleep(interval).await;
            let mut form = vec![
                ("grant_type", GRANT),
                ("device_code", started.device_code.as_str()),
                ("client_id", client_id),
                ("code_verifier", &verifier),
            ];
            form.extend(client_secret.map(|secret| ("client_secret", secret)));
            let answer = provider.ask(http, &form).await?;
            match answer.error.as_deref() {
                Some("authorization_pending") => {}
                Some("slow_down") => interval += pace.max(Duration::from_millis(5)) * 5,
                _ => {
                    let token = provider.accept(answer)?;
                    // Providers may leave it out here. One that is there must be ours.
                    if token.claims().nonce.as_ref().is_some_and(|found| *found != nonce) {
                        return Err(another_login());
                    }
                    return Ok(token);
                }
            }
        }
    };
    tokio::time::timeout(lifetime, asking)
        .await
        .map_err(|_| ClientError::Identity("nobody logged in before the code expired; sign again".into()))?
}
