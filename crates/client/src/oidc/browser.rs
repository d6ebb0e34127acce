//! Logging in with a browser: authorization code with PKCE (RFC 7636), `state` and `nonce`, the answer coming
//! back to a listener on loopback (RFC 8252).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use super::discovery::Provider;
use super::{IdToken, another_login, pkce_challenge, unpredictable};
use crate::ClientError;
use countersign_http::Http;
use countersign_http::text::printable;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a connection to the listener may take to send its request.
const READ_TIME: Duration = Duration::from_secs(10);
/// How many connections are read at once.
const MAX_CONNECTIONS: usize = 16;
/// The longest request the listener reads, in bytes.
const MAX_REQUEST: usize = 16 * 1024;
/// The path the provider sends the browser back to; the one public Sigstore clients are registered with.
const CALLBACK: &str = "/auth/callback";

const DONE: &str = "You are logged in. This page can be closed; the rest happens in the terminal.";
const FAILED: &str = "The login did not work. The terminal says why; this page can be closed.";

/// Logs in. `open` shows the address to the person, in a browser or as text.
pub(super) async fn login(
    http: &Http,
    provider: &Provider,
    client_id: &str,
    client_secret: Option<&str>,
    redirect: Option<&Url>,
    open: &(dyn Fn(&Url) + Send + Sync),
) -> Result<IdToken, ClientError> {
    let authorization = provider.authorization.as_ref().ok_or_else(|| {
        ClientError::Identity(format!("{} offers no login by browser", printable(&provider.issuer)))
    })?;
    let listener = listen(redirect).await?;
    let redirect_uri = match redirect {
        Some(url) => url.to_string(),
        None => {
            let address = listener.local_addr().map_err(|e| callback_error(&e))?;
            format!("http://localhost:{}{CALLBACK}", address.port())
        }
    };
    let path = redirect.map_or(CALLBACK, |url| url.path());
    let (state, nonce, verifier) = (unpredictable()?, unpredictable()?, unpredictable()?);
    let mut url = authorization.clone();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", client_id)
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("scope", "openid email")
        .append_pair("state", &state)
        .append_pair("nonce", &nonce)
        .append_pair("code_challenge", &pkce_challenge(&verifier))
        .append_pair("code_challenge_method", "S256");
    open(&url);

    let waiting = wait_for_code(&listener, path, &state, &provider.issuer);
    let code = tokio::time::timeout(PATIENCE, waiting)
        .await
        .map_err(|_| ClientError::Identity("nobody logged in within five minutes; sign again".into()))??;
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("client_id", client_id),
        ("code_verifier", verifier.as_str()),
    ];
    form.extend(client_secret.map(|secret| ("client_secret", secret)));
    let token = provider.accept(provider.ask(http, &form).await?)?;
    if token.claims().nonce.as_deref() != Some(nonce.as_str()) {
        return Err(another_login());
    }
    Ok(token)
}

fn callback_error(error: &std::io::Error) -> ClientError {
    ClientError::Identity(format!("cannot listen on loopback for the browser's answer: {error}"))
}

async fn listen(redirect: Option<&Url>) -> Result<TcpListener, ClientError> {
    let port = match redirect {
        None => 0,
        Some(url) if countersign_http::is_loopback(url) => url.port_or_known_default().unwrap_or(0),
        Some(url) => {
            return Err(ClientError::Usage(format!(
                "the redirect address {} is not on this machine; expected http://localhost:PORT/PATH",
                countersign_http::shown(url)
            )));
        }
    };
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| callback_error(&e))
}

/// Answers connections until one brings the code. Other paths (a browser asks for its icon) get a 404; a wrong
/// `state` ends the login at once: someone else's answer is being slipped in.
async fn wait_for_code(
    listener: &TcpListener,
    path: &str,
    state: &str,
    issuer: &str,
) -> Result<String, ClientError> {
    // Browsers open connections in advance and send nothing on some: none holds up another.
    let mut reading = JoinSet::new();
    loop {
        let (mut stream, target) = tokio::select! {
            accepted = listener.accept(), if reading.len() < MAX_CONNECTIONS => {
                let (mut stream, _) = accepted.map_err(|e| callback_error(&e))?;
                reading.spawn(async move {
                    let target = tokio::time::timeout(READ_TIME, read_target(&mut stream)).await;
                    (stream, target.ok().flatten())
                });
                continue;
            }
            Some(read) = reading.join_next() => match read {
                Ok((stream, Some(target))) => (stream, target),
                _ => continue,
            },
        };
        let Some(outcome) = judge(&target, path, state, issuer) else {
            answer(&mut stream, "404 Not Found", "Not found.").await;
            continue;
        };
        match &outcome {
            Ok(_) => answer(&mut stream, "200 OK", DONE).await,
            Err(_) => answer(&mut stream, "400 Bad Request", FAILED).await,
        }
        return outcome;
    }
}

/// Reads a request's head and gives the target of a GET.
async fn read_target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 || head.len() + read > MAX_REQUEST {
            return None;
        }
        head.extend_from_slice(buffer.get(..read)?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.lines().next()?.split(' ');
    (words.next()? == "GET").then_some(())?;
    words.next().map(str::to_owned)
}

/// What a request's target means: `None` for another path, else the code or why there is none.
fn judge(target: &str, path: &str, state: &str, issuer: &str) -> Option<Result<String, ClientError>> {
    let url = Url::parse("http://localhost").ok()?.join(target).ok()?;
    if url.path() != path {
        return None;
    }
    let value = |name: &str| {
        let mut values = url.query_pairs().filter(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        match (values.next(), values.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    };
    // Compared by digest, so that the time taken says nothing about the value.
    let same = value("state").is_some_and(|found| {
        countersign_crypto::sha256(found.as_bytes()) == countersign_crypto::sha256(state.as_bytes())
    });
    if !same {
        return Some(Err(ClientError::Identity(
            "the browser's answer does not belong to this login (state differs), so the login is aborted"
                .into(),
        )));
    }
    // RFC 9207: a provider that names itself in the answer must be the one asked.
    if let Some(found) = value("iss").filter(|found| found != issuer) {
        return Some(Err(ClientError::Identity(format!(
            "expected an answer of {}, found one of {}",
            printable(issuer),
            printable(&found)
        ))));
    }
    if let Some(error) = value("error") {
        let detail = value("error_description").unwrap_or_default();
        return Some(Err(ClientError::Identity(format!(
            "the identity provider refused: {} {}",
            printable(&error),
            printable(&detail)
        ))));
    }
    Some(value("code").filter(|c| !c.is_empty()).ok_or_else(|| {
        ClientError::Identity("the identity provider's answer holds no code; log in again".into())
    }))
}

async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let body = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Countersign</title>\
         <body style=\"font-family:sans-serif;margin:4em\"><p>{text}</p></body></html>"
    );
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // The page is a courtesy; the login does not depend on it.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(target: &str) -> Option<Result<String, String>> {
        judge(target, CALLBACK, "right", "https://idp").map(|r| r.map_err(|e| e.to_string()))
    }

    #[test]
    fn the_code_comes_with_the_right_state_only() {
        assert_eq!(judged("/auth/callback?state=right&code=c1"), Some(Ok("c1".into())));
        assert_eq!(judged("/favicon.ico"), None);
        assert_eq!(judged("/auth/callback/more?state=right&code=c1"), None);
    }

    #[test]
    fn v28_another_state_or_none_or_two_aborts() {
        for target in [
            "/auth/callback?state=wrong&code=c1",
            "/auth/callback?code=c1",
            "/auth/callback?state=&code=c1",
            "/auth/callback?state=right&state=wrong&code=c1",
            "/auth/callback?state=right%00&code=c1",
        ] {
            assert!(judged(target).unwrap().unwrap_err().contains("state differs"), "{target}");
        }
    }

    #[test]
    fn refusals_and_empty_answers_are_told() {
        let told = |t: &str| judged(t).unwrap().unwrap_err();
        assert!(told("/auth/callback?state=right&error=access_denied").contains("access_denied"));
        assert!(told("/auth/callback?state=right").contains("no code"));
        assert!(told("/auth/callback?state=right&code=").contains("no code"));
        assert!(told("/auth/callback?state=right&code=c&iss=https://evil").contains("https://evil"));
    }
}
