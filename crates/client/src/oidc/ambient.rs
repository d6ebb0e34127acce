//! Tokens which the surroundings offer: a CI system, a file that Kubernetes or SPIFFE's helper keeps fresh.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{AUDIENCE, IdToken, MAX_TOKEN};
use crate::ClientError;
use countersign_http::text::printable;
use countersign_http::{Http, Request, parse_url};

/// A place that may offer a token without anyone logging in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmbientProvider {
    /// The agent of Buildkite (`BUILDKITE_AGENT_ACCESS_TOKEN`).
    Buildkite,
    /// The variable `SIGSTORE_ID_TOKEN`, as GitLab's `id_tokens` sets it.
    Variable,
    /// The file `/var/run/sigstore/cosign/oidc-token`, usually a projected token of Kubernetes.
    Filesystem,
    /// GitHub Actions with `permissions: id-token: write`.
    GitHubActions,
    /// The file named in `COUNTERSIGN_ID_TOKEN_FILE`: a token of Kubernetes projected elsewhere, or the JWT-SVID
    /// that SPIFFE's helper writes.
    NamedFile,
}

impl AmbientProvider {
    /// All, in the order in which they are asked; cosign's, with our own last.
    pub const ALL: [Self; 5] =
        [Self::Buildkite, Self::Variable, Self::Filesystem, Self::GitHubActions, Self::NamedFile];

    /// Reads the name of a provider as cosign's `--oidc-provider` spells it.
    ///
    /// # Errors
    /// [`ClientError::Usage`] naming those there are.
    pub fn parse(name: &str) -> Result<Self, ClientError> {
        match name {
            "buildkite-agent" => Ok(Self::Buildkite),
            "envvar" | "gitlab" => Ok(Self::Variable),
            "filesystem" => Ok(Self::Filesystem),
            "github" | "github-actions" => Ok(Self::GitHubActions),
            "spiffe" | "kubernetes" | "file" => Ok(Self::NamedFile),
            other => Err(ClientError::Usage(format!(
                "no identity provider is named \"{}\" here; there are github-actions, gitlab, buildkite-agent, \
                 filesystem, kubernetes and spiffe",
                printable(other)
            ))),
        }
    }

    /// How it is named in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buildkite => "the Buildkite agent",
            Self::Variable => "the variable SIGSTORE_ID_TOKEN",
            Self::Filesystem => "the file /var/run/sigstore/cosign/oidc-token",
            Self::GitHubActions => "GitHub Actions",
            Self::NamedFile => "the file named in COUNTERSIGN_ID_TOKEN_FILE",
        }
    }
}

/// Reads one environment variable.
type Variable = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The surroundings, as a program or a test sees them.
#[derive(Clone)]
pub struct Ambient {
    variable: Arc<Variable>,
    token_file: PathBuf,
}

impl Ambient {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok(), "/var/run/sigstore/cosign/oidc-token")
    }

    /// Other surroundings: variables from `variable`, the well-known token file at `token_file`.
    pub fn new(
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        token_file: impl Into<PathBuf>,
    ) -> Self {
        Self { variable: Arc::new(variable), token_file: token_file.into() }
    }

    fn var(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A variable that must be there once another one is.
    fn needed(&self, name: &str, why: &str) -> Result<String, ClientError> {
        self.var(name).ok_or_else(|| ClientError::Identity(format!("the variable {name} is not set, {why}")))
    }

    /// The token of the first provider that offers one; `None` when none does. A provider that offers and then
    /// fails is an error: another identity is not used in its place.
    ///
    /// # Errors
    /// [`ClientError::Identity`], [`ClientError::Network`] and its kin.
    pub async fn token(&self, http: &Http) -> Result<Option<IdToken>, ClientError> {
        for provider in AmbientProvider::ALL {
            if self.offers(provider) {
                return self.token_of(http, provider).await.map(Some);
            }
        }
        Ok(None)
    }

    fn offers(&self, provider: AmbientProvider) -> bool {
        match provider {
            AmbientProvider::Buildkite => {
                self.var("BUILDKITE_AGENT_ACCESS_TOKEN").is_some() && self.var("BUILDKITE_JOB_ID").is_some()
            }
            AmbientProvider::Variable => self.var("SIGSTORE_ID_TOKEN").is_some(),
            AmbientProvider::Filesystem => self.token_file.is_file(),
            AmbientProvider::GitHubActions => self.var("ACTIONS_ID_TOKEN_REQUEST_URL").is_some(),
            AmbientProvider::NamedFile => self.var("COUNTERSIGN_ID_TOKEN_FILE").is_some(),
        }
    }

    /// The token of one provider.
    ///
    /// # Errors
    /// [`ClientError::Identity`] saying what is missing, [`ClientError::Network`] and its kin.
    pub async fn token_of(&self, http: &Http, provider: AmbientProvider) -> Result<IdToken, ClientError> {
        match provider {
            AmbientProvider::Buildkite => self.buildkite(http).await,
            AmbientProvider::GitHubActions => self.github(http).await,
            AmbientProvider::Variable => {
                let text = Zeroizing::new(self.needed("SIGSTORE_ID_TOKEN", "so there is no token in it")?);
                IdToken::parse(&text)
            }
            AmbientProvider::Filesystem => read_token(&self.token_file),
            AmbientProvider::NamedFile => {
                let why = "and tokens of Kubernetes and SPIFFE are read from the file it names (a projected token \
                           with the audience sigstore, or the JWT-SVID that spiffe-helper writes)";
                read_token(Path::new(&self.needed("COUNTERSIGN_ID_TOKEN_FILE", why)?))
            }
        }
    }

    async fn github(&self, http: &Http) -> Result<IdToken, ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            value: String,
        }
        let why = "so this job may not ask for a token; give it `permissions: id-token: write`";
        let mut url = parse_url(&self.needed("ACTIONS_ID_TOKEN_REQUEST_URL", why)?)?;
        let secret = Zeroizing::new(self.needed("ACTIONS_ID_TOKEN_REQUEST_TOKEN", why)?);
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        let request = Request::get("GitHub Actions", &url).authorization("bearer", &secret)?;
        let answer: Answer = http.send(request).await?.expect(&[200])?.json()?;
        IdToken::parse(&Zeroizing::new(answer.value))
    }

    async fn buildkite(&self, http: &Http) -> Result<IdToken, ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let why = "so this is not a job of Buildkite";
        let secret = Zeroizing::new(self.needed("BUILDKITE_AGENT_ACCESS_TOKEN", why)?);
        let job = self.needed("BUILDKITE_JOB_ID", why)?;
        if !job.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(ClientError::Identity("BUILDKITE_JOB_ID is not a job's id".into()));
        }
        let base =
            self.var("BUILDKITE_AGENT_ENDPOINT").unwrap_or_else(|| "https://agent.buildkite.com/v3".into());
        let url = countersign_http::join(&parse_url(&base)?, &format!("/jobs/{job}/oidc/tokens"));
        let body = serde_json::json!({ "audience": AUDIENCE }).to_string().into_bytes();
        let request =
            Request::post("Buildkite", &url, "application/json", body).authorization("Token", &secret)?;
        let answer: Answer = http.send(request).await?.expect(&[200, 201])?.json()?;
        IdToken::parse(&Zeroizing::new(answer.token))
    }
}

impl std::fmt::Debug for Ambient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ambient").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

/// Reads a token from a file.
pub(super) fn read_token(path: &Path) -> Result<IdToken, ClientError> {
    let bytes = Zeroizing::new(crate::artifact::read_limited(path, MAX_TOKEN)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| ClientError::Identity(format!("{} holds no token", path.display())))?;
    IdToken::parse(text)
}
