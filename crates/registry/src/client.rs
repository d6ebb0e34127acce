//! The client of registries: one door through which every request goes, with credentials, limits and waits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_http::{Http, HttpOptions, Method, Request, Streaming, is_loopback};
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit};
use url::Url;
use zeroize::Zeroizing;

use crate::RegistryError;
use crate::auth::{Credential, Credentials, TokenServer, Tokens, parse_challenges};
use crate::reference::{DOCKER_HUB, Repository, Tag};
use crate::remote::RemoteRepository;
use crate::shared::{Gate, Shared};
use crate::store::Turn;

pub(crate) const SERVICE: &str = "the registry";

/// How long a registry may take to show that it speaks https, where plain http is allowed as well.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// How to talk to registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Limits and waits of requests; private certificate authorities; whether plain http may go to other machines
    /// (https is tried first then).
    pub http: HttpOptions,
    /// Who we are.
    pub credentials: Credentials,
    /// Registries (`host` or `host:port`) with token servers that belong to them though they are another host.
    pub token_servers: Vec<(String, String)>,
    /// How many requests to one registry run at once; 8 when not given.
    pub concurrency: Option<usize>,
    /// The registries, as all clients of the program see them.
    pub shared: Shared,
}

/// A client of registries, cheap to clone and to share.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

/// Held by whoever changes what lies at a tag.
type Turns = HashMap<(Repository, Tag), Arc<Mutex<()>>>;

#[derive(Debug)]
struct Inner {
    http: Http,
    options: RegistryOptions,
    hosts: Mutex<HashMap<String, Arc<OnceCell<Arc<Host>>>>>,
    /// The tags that are being changed.
    turns: Mutex<Turns>,
}

/// What is known of one registry.
#[derive(Debug)]
struct Host {
    base: Url,
    gate: Arc<Gate>,
    /// How it asks who we are, once it did.
    scheme: Mutex<Option<Scheme>>,
    tokens: Mutex<Tokens>,
    credentials: Mutex<HashMap<String, Arc<OnceCell<Option<Credential>>>>>,
}

#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Bearer(TokenServer),
}

/// What a request is about to do, which a token must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    fn scope(self, path: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "delete",
        };
        format!("repository:{path}:{actions}")
    }
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Nothing,
    Bytes(Bytes, String),
    File(PathBuf, u64),
}

/// A request to a registry.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// What is asked for, for errors.
    pub(crate) what: &'a str,
    pub(crate) action: Action,
    pub(crate) method: Method,
    /// Below `/v2/`, or a whole address which the registry gave.
    pub(crate) place: Place<'a>,
    pub(crate) accept: Option<&'static str>,
    pub(crate) payload: Payload,
    pub(crate) limit: usize,
    /// Whether another host may answer: for what is checked by a digest.
    pub(crate) elsewhere: bool,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// A path below the repository, with its query.
    Path(&'a str),
    /// An address which the registry gave.
    Given(Url),
}

impl<'a> Ask<'a> {
    pub(crate) fn new(what: &'a str, action: Action, method: Method, place: Place<'a>) -> Self {
        let (accept, payload) = (None, Payload::Nothing);
        Self { what, action, method, place, accept, payload, limit: 1 << 20, elsewhere: false }
    }
}

/// An answer, with its place among the requests that may run at once.
pub(crate) struct Answer {
    pub(crate) streaming: Streaming,
    pub(crate) permit: OwnedSemaphorePermit,
    /// Where the request went: what relative addresses in the answer are relative to.
    pub(crate) url: Url,
}

impl Registry {
    /// A client with these options. Asks nobody yet.
    #[must_use]
    pub fn new(options: RegistryOptions) -> Self {
        let http = Http::new(options.http.clone());
        let (hosts, turns) = Default::default();
        Self { inner: Arc::new(Inner { http, options, hosts, turns }) }
    }

    /// A repository as a store.
    #[must_use]
    pub fn repository(&self, repository: &Repository) -> RemoteRepository {
        RemoteRepository::new(self.clone(), repository.clone())
    }

    /// Asks for something in a repository. Error statuses but 401 are answers.
    pub(crate) async fn ask(&self, repository: &Repository, ask: &Ask<'_>) -> Result<Answer, RegistryError> {
        let host = self.host(repository).await?;
        let permit = Arc::clone(&host.gate.transfers)
            .acquire_owned()
            .await
            .map_err(|_| RegistryError::Usage("this client was closed".into()))?;
        let url = match &ask.place {
            Place::Path(path) => host
                .base
                .join(&format!("{}/{path}", repository.path()))
                .map_err(|_| RegistryError::Usage(format!("{}: not an address", ask.what)))?,
            Place::Given(url) => url.clone(),
        };
        // A credential goes to the registry itself and nowhere else.
        let own = url.origin() == host.base.origin();
        let scope = ask.action.scope(repository.path());
        let known = if own { self.authorization(&host, repository, &scope).await? } else { None };
        let answer = self.send(&host, ask, &url, known.as_ref()).await?;
        if answer.status() != 401 || !own {
            return Ok(Answer { streaming: answer, permit, url });
        }
        self.learn(&host, repository, &answer).await?;
        if known.is_some() {
            // A token that was refused is not tried again.
            host.tokens.lock().await.forget(&scope);
        }
        let now = self.authorization(&host, repository, &scope).await?;
        let Some(now) = now else {
            return Err(unauthorized(ask.what, repository, "no credential for it was found"));
        };
        let answer = self.send(&host, ask, &url, Some(&now)).await?;
        if answer.status() == 401 {
            let words = RegistryError::network(
                ask.what,
                answer.whole().await.map_err(|e| RegistryError::network(ask.what, e))?.into_error(),
            );
            let anonymous = self.credential(&host, repository).await?.is_none();
            let tried =
                if anonymous { "no credential for it was found" } else { "the credential was refused" };
            return Err(unauthorized(ask.what, repository, &format!("{tried} ({words})")));
        }
        Ok(Answer { streaming: answer, permit, url })
    }

    async fn send(
        &self,
        host: &Host,
        ask: &Ask<'_>,
        url: &Url,
        authorization: Option<&(&'static str, Zeroizing<String>)>,
    ) -> Result<Streaming, RegistryError> {
        let failed = |e| RegistryError::network(ask.what, e);
        let mut request = Request::new(SERVICE, ask.method.clone(), url).limit(ask.limit);
        // What the registry gives by an address elsewhere is not the registry.
        if url.origin() == host.base.origin() {
            request = request.pausing(&host.gate.pause);
        }
        if ask.elsewhere {
            request = request.follow_elsewhere();
        }
        if let Some(accept) = ask.accept {
            request = request.accept(accept);
        }
        request = match &ask.payload {
            Payload::Nothing => request,
            Payload::Bytes(bytes, media_type) => {
                request.body(bytes.clone()).header("content-type", media_type).map_err(failed)?
            }
            Payload::File(path, length) => request
                .file(path.clone(), *length)
                .header("content-type", "application/octet-stream")
                .map_err(failed)?,
        };
        if let Some((scheme, value)) = authorization {
            request = request.authorization(scheme, value).map_err(failed)?;
        }
        self.inner.http.open(request).await.map_err(failed)
    }

    /// What is known of the registry of a repository, asked for its scheme where that is not clear.
    async fn host(&self, repository: &Repository) -> Result<Arc<Host>, RegistryError> {
        let name = repository.registry();
        // One registry that is slow to say how it is spoken to does not hold up the others.
        let cell = Arc::clone(self.inner.hosts.lock().await.entry(name.to_owned()).or_default());
        let host = cell.get_or_try_init(async || {
            let (base, options) = (self.base(name).await?, &self.inner.options);
            Ok::<_, RegistryError>(Arc::new(Host {
                base,
                gate: options.shared.gate(name, options.concurrency.unwrap_or(8)),
                scheme: Mutex::new(None),
                tokens: Mutex::new(Tokens::default()),
                credentials: Mutex::new(HashMap::new()),
            }))
        });
        host.await.cloned()
    }

    /// Waits until nobody else with this client changes what lies at a tag.
    pub(crate) async fn turn(&self, repository: &Repository, tag: &Tag) -> Turn {
        let turn = {
            let mut turns = self.inner.turns.lock().await;
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry((repository.clone(), tag.clone())).or_default())
        };
        Turn { _held: Some(turn.lock_owned().await) }
    }

    /// The address of a registry's API: https, except on this machine and where plain http is allowed. There https
    /// is tried first when there is reason to: private authorities, or permission for plain http to others.
    async fn base(&self, name: &str) -> Result<Url, RegistryError> {
        let host = if name == DOCKER_HUB { "registry-1.docker.io" } else { name };
        let address = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/v2/"))
                .map_err(|_| RegistryError::Usage(format!("{host} is not a host")))
        };
        let (https, http) = (address("https")?, address("http")?);
        let options = &self.inner.options.http;
        let near = is_loopback(&http);
        if !near && !options.allow_plain_http {
            return Ok(https);
        }
        if near && options.authorities.is_empty() {
            return Ok(http);
        }
        let probe =
            tokio::time::timeout(PROBE_TIME, self.inner.http.open(Request::get(SERVICE, &https))).await;
        Ok(if matches!(probe, Ok(Ok(_))) { https } else { http })
    }

    /// Reads how a registry asks who we are, from its refusal.
    async fn learn(
        &self,
        host: &Host,
        repository: &Repository,
        refusal: &Streaming,
    ) -> Result<(), RegistryError> {
        let challenges: Vec<_> =
            refusal.header_values("www-authenticate").flat_map(parse_challenges).collect();
        let named = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let scheme = if let Some(challenge) = named("bearer") {
            let also = &self.inner.options.token_servers;
            Scheme::Bearer(TokenServer::new(challenge, repository.registry(), &host.base, also)?)
        } else if named("basic").is_some() {
            Scheme::Basic
        } else {
            let message = "it asks for a login in no way that is known here; expected Bearer or Basic";
            return Err(RegistryError::Unauthorized {
                what: repository.to_string(),
                message: message.to_owned(),
            });
        };
        *host.scheme.lock().await = Some(scheme);
        Ok(())
    }

    /// The value of `Authorization` for a scope, as far as the registry said that it wants one.
    async fn authorization(
        &self,
        host: &Host,
        repository: &Repository,
        scope: &str,
    ) -> Result<Option<(&'static str, Zeroizing<String>)>, RegistryError> {
        let Some(scheme) = host.scheme.lock().await.clone() else { return Ok(None) };
        let credential = self.credential(host, repository).await?;
        let server = match (scheme, &credential) {
            (_, Some(Credential::Token(token))) => return Ok(Some(("Bearer", token.clone()))),
            (Scheme::Basic, Some(Credential::Password { user, password })) => {
                return Ok(Some(("Basic", crate::auth::basic(user, password))));
            }
            (Scheme::Basic, _) => return Ok(None),
            (Scheme::Bearer(server), _) => server,
        };
        // Held while asking, so that ten requests at once ask for one token.
        let mut tokens = host.tokens.lock().await;
        let wider = Action::Push.scope(repository.path());
        let kept = tokens.get(scope).or_else(|| {
            (scope == Action::Pull.scope(repository.path())).then(|| tokens.get(&wider)).flatten()
        });
        if let Some(token) = kept {
            return Ok(Some(("Bearer", token)));
        }
        let (token, life) =
            server.ask(&self.inner.http, repository.registry(), scope, credential.as_ref()).await?;
        tokens.put(scope, &token, life);
        Ok(Some(("Bearer", token)))
    }

    /// The credential for a repository, looked for once.
    async fn credential(
        &self,
        host: &Host,
        repository: &Repository,
    ) -> Result<Option<Credential>, RegistryError> {
        let cell = Arc::clone(host.credentials.lock().await.entry(repository.path().to_owned()).or_default());
        cell.get_or_try_init(|| self.inner.options.credentials.find(repository)).await.cloned()
    }
}

fn unauthorized(what: &str, repository: &Repository, tried: &str) -> RegistryError {
    let registry = repository.registry();
    RegistryError::Unauthorized {
        what: what.to_owned(),
        message: format!("{tried}; log in with: countersign login {registry}"),
    }
}
