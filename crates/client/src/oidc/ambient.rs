//! Tokens which the surroundings offer: a CI system, a cloud's metadata server, a SPIFFE agent, a file that
//! Kubernetes or SPIFFE's helper keeps fresh.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Host;
use zeroize::Zeroizing;

use super::{AUDIENCE, IdToken, MAX_TOKEN, spiffe};
use crate::ClientError;
use countersign_http::text::printable;
use countersign_http::{Http, HttpOptions, Request, is_loopback, parse_url};

/// The variable that says where Google's metadata server is.
const METADATA_HOST: &str = "GCE_METADATA_HOST";
/// How long somebody on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The metadata server of Google's cloud: the service account of this machine or pod.
    Google,
    /// The SPIFFE agent on the socket in `SPIFFE_ENDPOINT_SOCKET`.
    Spiffe,
    /// CircleCI, through the `circleci` program of its jobs.
    CircleCi,
    /// The file named in `COUNTERSIGN_ID_TOKEN_FILE`: a token of Kubernetes projected elsewhere, or the JWT-SVID
    /// that spiffe-helper writes.
    NamedFile,
}

impl AmbientProvider {
    /// All, in the order in which they are asked; cosign's, with our own last.
    pub const ALL: [Self; 8] = [
        Self::Buildkite,
        Self::Variable,
        Self::Filesystem,
        Self::GitHubActions,
        Self::Google,
        Self::Spiffe,
        Self::CircleCi,
        Self::NamedFile,
    ];

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
            "google" | "google-workload-identity" => Ok(Self::Google),
            "spiffe" => Ok(Self::Spiffe),
            "circleci" => Ok(Self::CircleCi),
            "kubernetes" | "file" => Ok(Self::NamedFile),
            other => Err(ClientError::Usage(format!(
                "no identity provider is named \"{}\" here; there are github-actions, gitlab, buildkite-agent, \
                 circleci, google, spiffe, kubernetes, filesystem and file",
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
            Self::Google => "Google's metadata server",
            Self::Spiffe => "the SPIFFE agent",
            Self::CircleCi => "CircleCI",
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
    /// The file in which the firmware says what machine this is.
    product_file: PathBuf,
}

impl Ambient {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let own = Self::new(|name| std::env::var(name).ok(), "/var/run/sigstore/cosign/oidc-token");
        Self { product_file: "/sys/class/dmi/id/product_name".into(), ..own }
    }

    /// Other surroundings: variables from `variable`, the well-known token file at `token_file`.
    pub fn new(
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        token_file: impl Into<PathBuf>,
    ) -> Self {
        Self { variable: Arc::new(variable), token_file: token_file.into(), product_file: PathBuf::new() }
    }

    /// Reads what machine this is from another file.
    #[must_use]
    pub fn with_product_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.product_file = path.into();
        self
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
    /// [`ClientError::Identity`], [`ClientError::Http`].
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
            AmbientProvider::Google => self.var(METADATA_HOST).is_some() || self.is_google_machine(),
            // The usual path of the socket, where anybody on the machine may put one, counts only by name.
            AmbientProvider::Spiffe => self.var(spiffe::SOCKET_VARIABLE).is_some(),
            AmbientProvider::CircleCi => self.var("CIRCLECI").is_some_and(|value| value == "true"),
            AmbientProvider::NamedFile => self.var("COUNTERSIGN_ID_TOKEN_FILE").is_some(),
        }
    }

    /// The token of one provider.
    ///
    /// # Errors
    /// [`ClientError::Identity`] saying what is missing, [`ClientError::Http`].
    pub async fn token_of(&self, http: &Http, provider: AmbientProvider) -> Result<IdToken, ClientError> {
        match provider {
            AmbientProvider::Buildkite => self.buildkite(http).await,
            AmbientProvider::GitHubActions => self.github(http).await,
            AmbientProvider::Google => self.google().await,
            AmbientProvider::Spiffe => {
                let address = self.var(spiffe::SOCKET_VARIABLE);
                spiffe::token(address.as_deref().unwrap_or(spiffe::DEFAULT_SOCKET), PATIENCE).await
            }
            AmbientProvider::CircleCi => self.circleci().await,
            AmbientProvider::Variable => {
                let text = Zeroizing::new(self.needed("SIGSTORE_ID_TOKEN", "so there is no token in it")?);
                IdToken::parse(&text)
            }
            AmbientProvider::Filesystem => read_token(&self.token_file),
            AmbientProvider::NamedFile => {
                let why = "and tokens of Kubernetes are read from the file it names (a projected token with the \
                           audience sigstore; the JWT-SVID that spiffe-helper writes will do too)";
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

impl Ambient {
    fn is_google_machine(&self) -> bool {
        crate::artifact::read_limited(&self.product_file, 256).is_ok_and(|name| {
            matches!(std::str::from_utf8(&name).map(str::trim), Ok("Google" | "Google Compute Engine"))
        })
    }

    /// The identity token of the machine's service account, with its address.
    async fn google(&self) -> Result<IdToken, ClientError> {
        let host = self.var(METADATA_HOST).unwrap_or_else(|| "metadata.google.internal".into());
        let mut url = parse_url(&format!(
            "http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
        ))?;
        let link = matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_link_local());
        if !is_loopback(&url) && !link && url.host_str() != Some("metadata.google.internal") {
            return Err(ClientError::Identity(format!(
                "{METADATA_HOST}: expected the machine's metadata service, found \"{}\"",
                printable(&host)
            )));
        }
        url.query_pairs_mut().append_pair("audience", AUDIENCE).append_pair("format", "full");
        // The server answers on the machine's own link, in plain http, and only there may the question go.
        let link = Http::new(HttpOptions {
            timeout: PATIENCE,
            allow_plain_http: true,
            no_proxy: true,
            ..HttpOptions::default()
        });
        let request = Request::get("Google's metadata server", &url)
            .header("metadata-flavor", "Google")?
            .limit(MAX_TOKEN);
        let answer = link.send(request).await?.expect(&[200])?;
        if answer.header("metadata-flavor") != Some("Google") {
            return Err(answer
                .wrong("expected the header Metadata-Flavor: Google; something else answers there")
                .into());
        }
        let text = Zeroizing::new(String::from_utf8_lossy(&answer.body).into_owned());
        IdToken::parse(&text)
    }

    /// The token that CircleCI's own program gets for this audience; the one in the job's variables is for another.
    async fn circleci(&self) -> Result<IdToken, ClientError> {
        let program = self.program("circleci")?;
        let claims = serde_json::json!({ "aud": AUDIENCE }).to_string();
        let child = tokio::process::Command::new(&program)
            .args(["run", "oidc", "get", "--claims", &claims])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let failed = |what: String| ClientError::Identity(format!("circleci run oidc get: {what}"));
        let output = tokio::time::timeout(PATIENCE, child)
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|e| failed(e.to_string()))?;
        let text = Zeroizing::new(output.stdout);
        if !output.status.success() {
            return Err(failed(format!("{}; may this job have tokens?", output.status)));
        }
        let text = std::str::from_utf8(&text).map_err(|_| failed("its answer is not text".into()))?;
        IdToken::parse(text)
    }

    /// A program on the search path. Relative parts of the path are passed over: what lies in the directory of the
    /// sources is not run.
    fn program(&self, name: &str) -> Result<PathBuf, ClientError> {
        let path = self.var("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
        found.into_iter().find(|file| file.is_file()).ok_or_else(|| {
            ClientError::Identity(format!("the program {name} is not on the PATH, and tokens come from it"))
        })
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
