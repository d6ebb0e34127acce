//! Running an instance's roles in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use countersign_ca::Ca;
use countersign_ca::ct::CtLog;
use countersign_clock::{Clock, SystemClock};
use countersign_log::storage::Storage;
use countersign_log::{Head, Log};
use countersign_tsa::Tsa;
use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ServerError;
use crate::config::Role;
use crate::epoch::{Epoch, Lasting};
use crate::gate::Gate;
use crate::handover::{LOOK, Serving, wanted};
use crate::http::{HttpError, Shape};
use crate::index::Index;
use crate::instance::{Documents, Instance, InstanceKey};
use crate::listen;
pub use crate::listen::Patience;
use crate::metrics::Metrics;
use crate::moves;
use crate::rate_limit::RateLimiter;
use crate::rekor_v1::RekorV1;
use crate::remote_key::RemoteKey;
use crate::scrub::Scrub;
use crate::tls::{self, CertificateFiles};
use crate::witness::Witness;
use crate::witness::asking::Asking;

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
    /// Where logs are marked unless the configuration says it, see [`crate::marks::usual`]; without it they are not.
    pub marks: Option<PathBuf>,
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
            marks: None,
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

    /// The tree that is shown: the newest one, with the cosignatures that its checkpoint has. Where cosignatures are required
    /// the newest one that has enough, and none before the witnesses have cosigned one.
    pub(crate) fn shown(&self) -> Option<Arc<Head>> {
        let (head, required) = (self.log.head(), self.requires_witnesses());
        match self.witnesses.as_ref().and_then(|witnesses| witnesses.newest()) {
            Some(cosigned) if required || cosigned.size == head.size => Some(cosigned),
            _ => (!required).then_some(head),
        }
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
    /// The logs that were rotated out, by their names.
    pub(crate) retired: BTreeMap<String, Arc<dyn Storage>>,
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

    /// The logs that were rotated out on another machine: here they are only read.
    pub(crate) fn rotated_out(&self) -> Vec<&'static str> {
        self.logs().filter(|(_, log)| log.is_rotated_out()).map(|(name, _)| name).collect()
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
    // Where there is none, nothing is waited for and nothing made. Then as it is after a rotation that is under way.
    Instance::open(directory)?;
    let serving = begin(directory).await?;
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
    let files = config
        .tls
        .as_ref()
        .map(|tls| CertificateFiles::open(&directory.join(&tls.certificate), &directory.join(&tls.key)));
    let files = files.transpose()?;
    let tls = files.clone().map(|files| tls::acceptor(files)).transpose().map_err(|e| {
        ServerError::Config { path: directory.join(crate::config::FILE_NAME), message: format!("TLS: {e}") }
    })?;
    let lasting = Lasting::new(&instance, &options)?;
    let services = instance.services(&roles, &options, &lasting).await?;
    let (url, limits) = (config.base_url(), config.limits.clone());
    let (stop, stopped) = watch::channel(false);
    let (epoch, app) = Epoch::begin(instance, services, Arc::new(options), stop.clone());
    let gate = Gate::new(app);
    tracing::info!(%address, %url, roles = ?roles, "serving");
    let patience = epoch.options.patience;
    let open = lasting.metrics.connections().clone();
    let router = gate.router();
    let listening = async move {
        let followed = files.map(|files| tokio::spawn(files.follow()));
        listen::serve(listener, router, tls, &limits, patience, open, stopped).await;
        if let Some(followed) = followed {
            followed.abort();
        }
    };
    let watched = Served { gate, roles, lasting, directory: directory.to_owned(), stop: stop.clone() };
    let task = tokio::spawn(watched.run(serving, epoch, tokio::spawn(listening)));
    Ok(Running::new(address, url, stop, task))
}

/// A server from its start to its end, through all rotations of its instance.
struct Served {
    directory: PathBuf,
    roles: BTreeSet<Role>,
    lasting: Lasting,
    gate: Arc<Gate>,
    stop: watch::Sender<bool>,
}

impl Served {
    async fn run(
        self,
        mut serving: Option<Serving>,
        mut epoch: Epoch,
        listening: JoinHandle<()>,
    ) -> Result<(), ServerError> {
        let mut stopped = self.stop.subscribe();
        loop {
            let ending = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => true,
                () = rotation(&self.directory, serving.is_some()) => false,
            };
            if ending {
                epoch.services.draining.store(true, Ordering::SeqCst);
                let _ = listening.await;
                return epoch.end().await;
            }
            let (asked, mut closed) = (Instant::now(), self.gate.close().await);
            let options = Arc::clone(&epoch.options);
            let ended = epoch.end().await;
            epoch.let_go().await;
            let opened = match ended {
                Ok(()) => {
                    drop(serving.take());
                    tokio::select! {
                        opened = self.open_again(&options) => opened.map(Some),
                        _ = stopped.wait_for(|stop| *stop) => Ok(None),
                    }
                }
                Err(error) => Err(error),
            };
            match opened {
                Ok(Some((again, instance, services))) => {
                    serving = again;
                    let app;
                    (epoch, app) = Epoch::begin(instance, services, options, self.stop.clone());
                    closed.put(app);
                    tracing::info!(
                        waited_ms = asked.elapsed().as_millis(),
                        "the instance was rotated; serving again"
                    );
                }
                // Whoever waits is told that nobody will answer.
                ended => {
                    drop(closed);
                    let _ = self.stop.send(true);
                    let _ = listening.await;
                    return ended.map(|_| ());
                }
            }
        }
    }

    /// Waits for the end of the rotation, and opens what it left.
    async fn open_again(
        &self,
        options: &ServeOptions,
    ) -> Result<(Option<Serving>, Instance, Services), ServerError> {
        let serving = begin(&self.directory).await?;
        let instance = Instance::open(&self.directory)?;
        let services = instance.services(&self.roles, options, &self.lasting).await?;
        Ok((serving, instance, services))
    }
}

/// How often a rotation that was cut off is tried to be undone.
const HEALING: u32 = 10;

/// Waits until no rotation has the instance, and keeps the next one waiting. What one left that was cut off is put back first.
async fn begin(directory: &Path) -> Result<Option<Serving>, ServerError> {
    let mut failed = 0;
    loop {
        let serving = Serving::begin(directory).await?;
        // Nobody rotates now, so that it is not of one that is under way.
        if !moves::cut_off(directory) {
            return Ok(serving);
        }
        drop(serving);
        let place = directory.to_owned();
        let healed = tokio::task::spawn_blocking(move || moves::heal(&place)).await;
        let healed =
            healed.unwrap_or_else(|e| Err(ServerError::Trust(format!("undoing a rotation ended: {e}"))));
        if let Err(error) = healed {
            // Another server may be doing it.
            failed += 1;
            if failed == HEALING {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Waits until a rotation wants the instance.
async fn rotation(instance: &Path, noticed: bool) {
    loop {
        tokio::time::sleep(LOOK).await;
        if noticed && wanted(instance) {
            return;
        }
    }
}
