//! One login for many artifacts: the token is asked for once and kept until it runs out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use super::discovery::Provider;
use super::{Ambient, AmbientProvider, DevicePrompt, IdToken, MAX_TOKEN, ambient, browser, device};
use crate::ClientError;
use countersign_http::Http;

/// A token is asked for anew when it has fewer seconds left than this.
const MARGIN: i64 = 20;

/// Where a given token lies.
#[derive(Debug, Clone)]
pub enum TokenFrom {
    /// The token itself.
    Text(Zeroizing<String>),
    /// A file holding it.
    File(PathBuf),
    /// Standard input, to its end.
    StandardInput,
}

impl TokenFrom {
    /// Reads what cosign's `--identity-token` takes: a token, or the path of a file; `-` is standard input.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            Self::StandardInput
        } else if IdToken::parse(text).is_ok() {
            Self::Text(Zeroizing::new(text.to_owned()))
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    fn read(&self) -> Result<IdToken, ClientError> {
        match self {
            Self::Text(text) => IdToken::parse(text),
            // What is neither a token nor a file's name may be a token with a fault: it is not repeated.
            Self::File(path) if looks_like_token(path) => Err(ClientError::Identity(
                "what was given as the token is neither a token (three parts in base64url with two dots between, with \
                 the claim iss) nor the name of a file"
                    .into(),
            )),
            Self::File(path) => ambient::read_token(path),
            Self::StandardInput => {
                use std::io::Read as _;
                let mut text = Zeroizing::new(String::new());
                std::io::stdin()
                    .lock()
                    .take(MAX_TOKEN as u64 + 1)
                    .read_to_string(&mut text)
                    .map_err(|e| ClientError::Identity(format!("standard input: {e}")))?;
                IdToken::parse(&text)
            }
        }
    }
}

/// Whether a file that is not there has the name of a token: JSON in base64 begins so, and few paths are as long as a
/// token.
fn looks_like_token(path: &Path) -> bool {
    let text = path.as_os_str().to_string_lossy();
    !path.exists() && (text.trim_start().starts_with("eyJ") || text.len() > 255)
}

/// How a person logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With a browser on this machine.
    Browser,
    /// With a code typed on another device.
    Device,
    /// Not at all: only a token that is there already.
    TokenOnly,
    /// As a service, with a client's secret.
    ClientCredentials,
}

/// How to talk to the person at the terminal.
pub trait Ui: Send + Sync + std::fmt::Debug {
    /// Shows a page, in a browser if there is one.
    fn open(&self, url: &Url);
    /// Shows the page and the code for logging in on another device.
    fn device(&self, prompt: &DevicePrompt);
}

/// Nobody to talk to: for logins that have their token.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Ui for Nobody {
    fn open(&self, _: &Url) {}
    fn device(&self, _: &DevicePrompt) {}
}

/// What decides where a token comes from.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// A token given by name; wins over everything.
    pub token: Option<TokenFrom>,
    /// Whether the surroundings are asked.
    pub ambient: bool,
    /// The one provider of the surroundings to ask.
    pub provider: Option<AmbientProvider>,
    /// How a person logs in when neither gave a token.
    pub flow: Flow,
    /// The issuer a person logs in at.
    pub issuer: Option<Url>,
    /// The name of this client at the issuer.
    pub client_id: String,
    /// The secret of this client at the issuer; public clients have none.
    pub client_secret: Option<Zeroizing<String>>,
    /// The address the browser comes back to, where an issuer insists on one.
    pub redirect: Option<Url>,
    /// The shortest time between two questions of the device flow.
    pub pace: Duration,
}

impl Default for LoginOptions {
    fn default() -> Self {
        Self {
            token: None,
            ambient: true,
            provider: None,
            flow: Flow::Browser,
            issuer: None,
            client_id: super::AUDIENCE.into(),
            client_secret: None,
            redirect: None,
            pace: Duration::from_secs(1),
        }
    }
}

/// A login: asks once, keeps the token, asks again when it has run out.
#[derive(Debug)]
pub struct Login {
    options: LoginOptions,
    ambient: Ambient,
    ui: Arc<dyn Ui>,
    kept: Mutex<Option<IdToken>>,
}

impl Login {
    /// A login that has not happened yet.
    #[must_use]
    pub fn new(options: LoginOptions, ambient: Ambient, ui: Arc<dyn Ui>) -> Self {
        Self { options, ambient, ui, kept: Mutex::default() }
    }

    /// A token that is still good for a while.
    ///
    /// # Errors
    /// [`ClientError::Identity`] saying why there is none and what to do, [`ClientError::Http`].
    pub async fn token(&self, http: &Http, now: Timestamp) -> Result<IdToken, ClientError> {
        // Held while asking: whoever comes meanwhile waits for the same login.
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|t| t.is_fresh(now, MARGIN)) {
            return Ok(token.clone());
        }
        // Standard input is read once; what came from it cannot be had again.
        if kept.is_some() && matches!(self.options.token, Some(TokenFrom::StandardInput)) {
            return Err(ClientError::Identity("the token from standard input has expired".into()));
        }
        let token = self.ask(http).await?;
        if !token.is_fresh(now, 0) {
            return Err(ClientError::Identity(
                "the token has expired; get a new one, or check this machine's clock".into(),
            ));
        }
        *kept = Some(token.clone());
        Ok(token)
    }

    async fn ask(&self, http: &Http) -> Result<IdToken, ClientError> {
        if let Some(from) = &self.options.token {
            let from = from.clone();
            return tokio::task::spawn_blocking(move || from.read())
                .await
                .map_err(|e| ClientError::Identity(format!("reading the token: {e}")))?;
        }
        if let Some(provider) = self.options.provider {
            return self.ambient.token_of(http, provider).await;
        }
        if self.options.ambient
            && let Some(token) = self.ambient.token(http).await?
        {
            return Ok(token);
        }
        if self.options.flow == Flow::TokenOnly {
            return Err(ClientError::Identity(
                "no token: none was given with --identity-token, none is in SIGSTORE_ID_TOKEN, and no CI system \
                 offers one"
                    .into(),
            ));
        }
        let issuer = self.options.issuer.as_ref().ok_or_else(|| {
            ClientError::Identity(
                "nothing says where to log in: the signing configuration names no identity provider; give one with \
                 --oidc-issuer, or a token with --identity-token"
                    .into(),
            )
        })?;
        let provider = Provider::discover(http, issuer).await?;
        let (id, secret) = (self.options.client_id.as_str(), self.options.client_secret.as_deref());
        let secret = secret.map(String::as_str);
        match self.options.flow {
            Flow::Device => {
                device::login(http, &provider, id, secret, self.options.pace, &|prompt| {
                    self.ui.device(prompt)
                })
                .await
            }
            Flow::ClientCredentials => {
                let secret = secret.ok_or_else(|| {
                    ClientError::Usage("the flow client_credentials needs --oidc-client-secret-file".into())
                })?;
                let form = [
                    ("grant_type", "client_credentials"),
                    ("scope", "openid"),
                    ("client_id", id),
                    ("client_secret", secret),
                ];
                provider.accept(provider.ask(http, &form).await?)
            }
            Flow::Browser | Flow::TokenOnly => {
                let redirect = self.options.redirect.as_ref();
                browser::login(http, &provider, id, secret, redirect, &|url| self.ui.open(url)).await
            }
        }
    }
}
