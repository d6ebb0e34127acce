//! The services of an instance between two rotations, with the tasks that look after them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use countersign_ca::dev_idp::DevelopmentProvider;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ServerError;
use crate::faces::router;
use crate::instance::{Instance, InstanceKey};
use crate::listen::DRAIN_TIME;
use crate::metrics::Metrics;
use crate::serve::{ServeOptions, Services};

/// How often the trust root is looked after: the TUF timestamp is signed anew, changed documents are read.
const TRUST_PERIOD: Duration = Duration::from_secs(15 * 60);

/// How soon that is tried again when it failed: its key may be away.
const TRUST_RETRY: Duration = Duration::from_secs(60);

/// What stays the same through all epochs of a server.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) development: Option<Arc<DevelopmentProvider>>,
}

impl Lasting {
    pub(crate) fn new(instance: &Instance, options: &ServeOptions) -> Result<Self, ServerError> {
        let development = options.development.then(|| instance.development(options)).transpose()?;
        Ok(Self { metrics: Arc::new(Metrics::new()), development: development.map(Arc::new) })
    }
}

/// Services, and what looks after them.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) services: Arc<Services>,
    pub(crate) options: Arc<ServeOptions>,
    over: watch::Sender<bool>,
    asking: Option<JoinHandle<()>>,
    /// They end by themselves when it is over: none of them may be writing then.
    tasks: Vec<JoinHandle<()>>,
}

impl Epoch {
    /// Starts the tasks. The router answers from the services; `stop` ends the server when a log fails.
    pub(crate) fn begin(
        instance: Instance,
        services: Services,
        options: Arc<ServeOptions>,
        stop: watch::Sender<bool>,
    ) -> (Self, Router) {
        let services = Arc::new(services);
        let over = watch::Sender::new(false);
        let asking = services.log.as_ref().and_then(|role| role.witnesses.clone());
        let asking = asking.map(|asking| tokio::spawn(asking.run()));
        let keeper = keep(Arc::clone(&services), instance, Arc::clone(&options), stop, over.subscribe());
        let mut tasks = vec![tokio::spawn(keeper)];
        tasks.extend(services.scrubs.iter().map(|scrub| {
            tokio::spawn(Arc::clone(scrub).run(Arc::clone(&services.metrics), over.subscribe()))
        }));
        let app = router(Arc::clone(&services));
        (Self { services, options, over, asking, tasks }, app)
    }

    /// Ends the tasks and the logs. What was acknowledged is safe whatever this returns.
    ///
    /// # Errors
    /// That of a log which failed: the process must end and be looked at.
    pub(crate) async fn end(&mut self) -> Result<(), ServerError> {
        self.over.send_replace(true);
        if let Some(asking) = self.asking.take() {
            asking.abort();
            let _ = asking.await;
        }
        for task in self.tasks.drain(..) {
            // One that panicked has ended.
            let _ = task.await;
        }
        let mut outcome = Ok(());
        for (name, log) in self.services.logs() {
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
        if let Some(rekor) = &self.services.rekor_v1 {
            // They take no entries, so there is nothing to wait for but their locks.
            for shard in rekor.retired() {
                shard.log.shutdown().await;
            }
        }
        outcome
    }

    /// Closes every file of the services, once whoever was asked something has answered.
    pub(crate) async fn let_go(self) {
        let end = Instant::now() + DRAIN_TIME;
        let mut services = self.services;
        loop {
            match Arc::try_unwrap(services) {
                // Indexes wait for their threads.
                Ok(alone) => break drop(tokio::task::spawn_blocking(move || drop(alone)).await),
                Err(shared) if Instant::now() < end => services = shared,
                Err(_) => break tracing::warn!("something of the services is still in use"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Looks after what changes with time: the TUF timestamp, and logs whose disk failed.
async fn keep(
    services: Arc<Services>,
    instance: Instance,
    options: Arc<ServeOptions>,
    stop: watch::Sender<bool>,
    mut over: watch::Receiver<bool>,
) {
    let instance = Arc::new(instance);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut since_trust = Duration::ZERO;
    loop {
        tokio::select! {
            _ = second.tick() => {}
            _ = over.wait_for(|over| *over) => return,
        }
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
