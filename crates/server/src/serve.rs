//! Running an instance's roles in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_ca::Ca;
use countersign_ca::ct::CtLog;
use countersign_clock::{Clock, SystemClock};
use countersign_log::Log;
use countersign_tsa::Tsa;
use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ServerError;
use crate::config::Role;
use crate::faces::router;
use crate::http::{HttpError, Shape};
use crate::index::Index;
use crate::instance::{Documents, Instance, InstanceKey};
pub use crate::listen::Patience;
use crate::listen::{self, DRAIN_TIME};
use crate::metrics::Metrics;
use crate::rate_limit::RateLimiter;
use crate::rekor_v1::RekorV1;
use crate::remote_key::RemoteKey;
use crate::scrub::Scrub;
use crate::witness::Witness;
use crate::witness::asking::Asking;

/// How often the trust root is looked after: the TUF timestamp is signed anew, changed documents are read.
const TRUST_PERIOD: Duration = Duration::from_secs(15 * 60);

/// How soon that is tried again when it failed: its key may be away.
const TRUST_RETRY: Duration = Duration::from_secs(60);

/// What `serve` may be told beyond the configuration.
#[derive(Debug)]
pub struct ServeOptions {
    /// Another address than the configured one.
    pub listen: Option<SocketAddr>,
    /// A socket already bound; wins over every address.
    pub listener: Option<std::net::TcpListener>,
    /// Other roles than the configured ones.
    pub roles: Option<BTreeSet<Role>>,
    /// Add the development identity provider, on loopback only.
    pub development: bool,
    /// The password of the keys; else from where the configuration says.
    pub password: Option<zeroize::Zeroizing<String>>,
    /// The clock of all services.
    pub clock: Arc<dyn Clock>,
    /// How long a client may take to send things.
    pub patience: Patience,
    /// Scrub the logs more often than the configuration says, which counts in hours.
    pub scrub_period: Option<Duration>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: None,
            listener: None,
            roles: None,
            development: false,
            password: None,
            clock: Arc::new(SystemClock),
            patience: Patience::default(),
            scrub_period: None,
        }
    }
}

/// The certificate authority with its CT log.
#[derive(Debug)]
pub(crate) struct CaRole {
    pub(crate) ca: Ca,
    pub(crate) ct: Arc<CtLog>,
}

/// The transparency log.
#[derive(Debug)]
pub(crate) struct LogRole {
    pub(crate) log: Log,
    /// The log's full C2SP key id.
    pub(crate) log_id: [u8; 32],
    pub(crate) accept_dsse: bool,
    /// What entries are found by, where it is wished.
    pub(crate) search: Option<Arc<Index>>,
    /// Who is asked to cosign.
    pub(crate) witnesses: Option<Arc<Asking>>,
}

impl LogRole {
    /// Whether entries are acknowledged only with cosignatures.
    pub(crate) fn requires_witnesses(&self) -> bool {
        self.witnesses.as_ref().is_some_and(|witnesses| witnesses.is_required())
    }
}

/// The trust root.
#[derive(Debug)]
pub(crate) struct TrustRole {
    /// The instance's directory.
    pub(crate) instance: PathBuf,
    pub(crate) documents: ArcSwap<Documents>,
    pub(crate) repository: PathBuf,
    /// The file with the revocation list.
    pub(crate) revocations: PathBuf,
}

/// Everything the faces answer from. A role that is not run is `None`, and its routes do not exist.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) base_url: String,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether there are pages for people.
    pub(crate) pages: bool,
    pub(crate) ca: Option<CaRole>,
    pub(crate) log: Option<LogRole>,
    /// The second log, where the role has one.
    pub(crate) rekor_v1: Option<Arc<RekorV1>>,
    pub(crate) tsa: Option<Tsa>,
    pub(crate) trust: Option<TrustRole>,
    /// Vouches for other logs.
    pub(crate) witness: Option<Arc<Witness>>,
    /// The directories of logs that were rotated out, by their names.
    pub(crate) retired: BTreeMap<String, PathBuf>,
    pub(crate) development: Option<Arc<countersign_ca::dev_idp::DevelopmentProvider>>,
    pub(crate) limiter: Option<RateLimiter>,
    pub(crate) metrics: Arc<Metrics>,
    /// Keys that may be away.
    pub(crate) remote_keys: Vec<Arc<RemoteKey>>,
    /// The logs' scrubs; none if they are not wanted.
    pub(crate) scrubs: Vec<Arc<Scrub>>,
    pub(crate) draining: AtomicBool,
}

/// The answer of a route whose role is not run. Routes are only made for roles that are, so this is a bug's answer.
fn absent() -> HttpError {
    HttpError::new(Shape::Grpc, StatusCode::NOT_FOUND, "this role is not run here")
}

impl Services {
    pub(crate) fn ca(&self) -> Result<&CaRole, HttpError> {
        self.ca.as_ref().ok_or_else(absent)
    }
    pub(crate) fn log(&self) -> Result<&LogRole, HttpError> {
        self.log.as_ref().ok_or_else(absent)
    }
    pub(crate) fn rekor_v1(&self) -> Result<&Arc<RekorV1>, HttpError> {
        self.rekor_v1.as_ref().ok_or_else(absent)
    }
    pub(crate) fn tsa(&self) -> Result<&Tsa, HttpError> {
        self.tsa.as_ref().ok_or_else(absent)
    }
    pub(crate) fn trust(&self) -> Result<&TrustRole, HttpError> {
        self.trust.as_ref().ok_or_else(absent)
    }
    pub(crate) fn witness(&self) -> Result<&Arc<Witness>, HttpError> {
        self.witness.as_ref().ok_or_else(absent)
    }
    pub(crate) fn development(&self) -> Result<&countersign_ca::dev_idp::DevelopmentProvider, HttpError> {
        self.development.as_deref().ok_or_else(absent)
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (&'static str, &Log)> {
        let transparency = self.log.iter().map(|r| ("transparency", &r.log));
        let v1 = self.rekor_v1.iter().map(|r| ("Rekor v1", &r.active().log));
        transparency.chain(v1).chain(self.ca.iter().map(|r| ("CT", r.ct.log())))
    }

    /// A key that lives elsewhere.
    pub(crate) fn remote_key(&self, key: InstanceKey) -> Option<Arc<RemoteKey>> {
        self.remote_keys.iter().find(|remote| remote.key == key).cloned()
    }

    /// The keys that cannot be used now, with the reasons.
    pub(crate) fn keys_away(&self) -> Vec<(InstanceKey, String)> {
        self.remote_keys.iter().filter_map(|remote| Some((remote.key, remote.away()?))).collect()
    }

    /// Whether a role run here still answers while these keys are away.
    pub(crate) fn answers_without(&self, away: &[(InstanceKey, String)]) -> bool {
        let there = |key: InstanceKey| !away.iter().any(|(gone, _)| *gone == key);
        self.ca.is_some() && there(InstanceKey::Ca) && there(InstanceKey::Ct)
            || self.log.is_some() && there(InstanceKey::Log)
            || self.rekor_v1.is_some() && there(InstanceKey::LogV1)
            || self.tsa.is_some() && there(InstanceKey::Tsa)
            // What is published stays there.
            || self.trust.is_some()
    }

    /// The logs in whose tiles the last scrub found damage.
    pub(crate) fn damaged(&self) -> Vec<&'static str> {
        self.scrubs.iter().filter(|scrub| scrub.damaged() > 0).map(|scrub| scrub.name()).collect()
    }

    /// Whether a log has stopped because its disk failed it.
    pub(crate) fn failed(&self) -> bool {
        self.logs().any(|(_, log)| log.failed().borrow().is_some())
    }
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The base URL its clients use, without a slash at the end.
    pub url: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    /// What listens at this address, ends when `stop` says so, and is then done when the task is.
    #[must_use]
    pub fn new(
        address: SocketAddr,
        url: String,
        stop: watch::Sender<bool>,
        task: JoinHandle<Result<(), ServerError>>,
    ) -> Self {
        Self { address, url, stop, task }
    }

    /// Orders the end: running requests finish, nothing new is taken. Returns at once.
    pub fn shutdown(&self) {
        let _ = self.stop.send(true);
    }

    /// A handle that orders the end, for use while [`Running::wait`] waits.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + use<> {
        let stop = self.stop.clone();
        move || {
            let _ = stop.send(true);
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When a log failed: what was acknowledged is safe, but the process must end and be looked at.
    pub async fn wait(self) -> Result<(), ServerError> {
        self.task.await.unwrap_or_else(|e| Err(ServerError::Trust(format!("the server task ended: {e}"))))
    }
}

/// Starts an instance's roles and returns when the socket takes connections.
///
/// # Errors
/// Any [`ServerError`]: unusable configuration, keys or logs, a port in use, a second server on one directory.
pub async fn start(directory: &Path, mut options: ServeOptions) -> Result<Running, ServerError> {
    let instance = Instance::open(directory)?;
    let config = &instance.config;
    let roles = options.roles.take().unwrap_or_else(|| config.roles.clone());
    let listener = match options.listener.take() {
        Some(bound) => tokio::net::TcpListener::from_std(bound).map_err(|source| ServerError::Listen {
            address: config.listen,
            source,
            hint: "the socket handed over cannot be used",
        })?,
        None => listen::bind(options.listen.unwrap_or(config.listen)).await?,
    };
    let address = listen::address_of(&listener, config.listen)?;
    if options.development && !address.ip().is_loopback() {
        return Err(ServerError::Config {
            path: directory.join(crate::config::FILE_NAME),
            message: format!(
                "the development identity provider vouches for anyone, so it runs on loopback only; {address} is \
                 not; leave out --dev, or listen on 127.0.0.1"
            ),
        });
    }
    let tls = match &config.tls {
        Some(tls) => {
            Some(listen::tls_acceptor(&directory.join(&tls.certificate), &directory.join(&tls.key))?)
        }
        None => None,
    };
    let services = Arc::new(instance.services(&roles, &options).await?);
    let url = instance.config.base_url();
    let (limits, patience) = (instance.config.limits.clone(), options.patience);
    let (stop, stopped) = watch::channel(false);
    let app = router(Arc::clone(&services));
    tracing::info!(%address, %url, roles = ?roles, "serving");
    let stop_all = stop.clone();
    let task = tokio::spawn(async move {
        let asking = services.log.as_ref().and_then(|role| role.witnesses.clone());
        let asking = asking.map(|asking| tokio::spawn(asking.run()));
        let keeper = tokio::spawn(keep(Arc::clone(&services), instance, options, stop_all.clone()));
        let scrubs: Vec<_> = services
            .scrubs
            .iter()
            .map(|scrub| {
                let (scrub, metrics, asked) =
                    (Arc::clone(scrub), Arc::clone(&services.metrics), stopped.clone());
                tokio::spawn(scrub.run(metrics, move || *asked.borrow()))
            })
            .collect();
        let mut stopping = stopped.clone();
        let marker = Arc::clone(&services);
        tokio::spawn(async move {
            let _ = stopping.wait_for(|s| *s).await;
            marker.draining.store(true, Ordering::SeqCst);
        });
        let open = services.metrics.connections().clone();
        listen::serve(listener, app, tls, &limits, patience, open, stopped).await;
        keeper.abort();
        scrubs.iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(asking) = asking {
            asking.abort();
        }
        let mut outcome = Ok(());
        for (name, log) in services.logs() {
            if let Some(cause) = log.failed().borrow().as_deref().map(str::to_owned) {
                outcome = Err(ServerError::Log { log: name, message: cause });
            }
            if tokio::time::timeout(DRAIN_TIME, log.shutdown()).await.is_err() {
                tracing::warn!(
                    log = name,
                    "the log did not end in time; it repairs itself at the next start"
                );
            }
        }
        if let Some(rekor) = &services.rekor_v1 {
            // They take no entries, so there is nothing to wait for but their locks.
            for shard in rekor.retired() {
                shard.log.shutdown().await;
            }
        }
        outcome
    });
    Ok(Running::new(address, url, stop, task))
}

/// Looks after what changes with time: the TUF timestamp, and logs whose disk failed.
async fn keep(services: Arc<Services>, instance: Instance, options: ServeOptions, stop: watch::Sender<bool>) {
    let (instance, options) = (Arc::new(instance), Arc::new(options));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut since_trust = Duration::ZERO;
    loop {
        second.tick().await;
        if services.failed() {
            tracing::error!("a log failed; the server stops so that nothing unproven is acknowledged");
            let _ = stop.send(true);
            return;
        }
        for (name, log) in services.logs() {
            services.metrics.tree_size(name, log.head().size);
        }
        if let Some((search, log)) = services.log.iter().find_map(|r| Some((r.search.as_ref()?, &r.log))) {
            services.metrics.search_lag(log.head().size.saturating_sub(search.known()));
        }
        for key in &services.remote_keys {
            let away = key.away().is_some();
            services.metrics.key_available(key.key.name(), !away);
            if away {
                let key = Arc::clone(key);
                tokio::task::spawn_blocking(move || key.probe());
            }
        }
        since_trust += Duration::from_secs(1);
        if since_trust >= TRUST_PERIOD {
            since_trust = Duration::ZERO;
            if let Some(role) = &services.trust {
                // Key derivation and files: not for the threads that answer requests.
                let (instance, options) = (Arc::clone(&instance), Arc::clone(&options));
                let remote = services.remote_key(InstanceKey::TufOnline);
                match tokio::task::spawn_blocking(move || instance.refresh_trust(&options, remote)).await {
                    Ok(Ok(documents)) => role.documents.store(Arc::new(documents)),
                    Ok(Err(e)) => {
                        tracing::error!(error = %e, "the trust root could not be refreshed");
                        since_trust = TRUST_PERIOD - TRUST_RETRY;
                    }
                    Err(e) => tracing::error!(error = %e, "the trust root could not be refreshed"),
                }
            }
        }
    }
}
