//! The admission webhook as a server: TLS with its own certificates, the faces, and what is looked after.

mod faces;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_server::ServerError;
use countersign_server::config::Limits;
use countersign_server::listen::{self, Patience};
use countersign_server::serve::Running;
use countersign_server::tls;
use tokio::sync::watch;

use crate::admit::Admission;
use crate::certificate::Certificates;
pub use metrics::Metrics;

/// How often certificates are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// What the webhook runs with.
#[derive(Debug)]
pub struct WebhookOptions {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What judges.
    pub admission: Arc<Admission>,
    /// What is served with.
    pub certificates: Arc<Certificates>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How long a client may take to send things.
    pub patience: Patience,
}

/// What the faces answer from.
#[derive(Debug)]
struct Webhook {
    admission: Arc<Admission>,
    certificates: Arc<Certificates>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
}

/// Starts the webhook, and returns when it takes connections.
///
/// # Errors
/// [`ServerError`]: the address cannot be had.
pub async fn start(options: WebhookOptions) -> Result<Running, ServerError> {
    let WebhookOptions { listen: address, admission, certificates, metrics, patience } = options;
    let listener = listen::bind(address).await?;
    let address = listen::address_of(&listener, address)?;
    let tls = tls::acceptor(Arc::clone(&certificates) as _)
        .map_err(|e| ServerError::Trust(format!("TLS cannot be set up: {e}")))?;
    let webhook = Arc::new(Webhook { admission, certificates, metrics, draining: AtomicBool::new(false) });
    let router = faces::router(Arc::clone(&webhook));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let keeper = tokio::spawn(keep(Arc::clone(&webhook)));
        let mut stopping = stopped.clone();
        let marked = Arc::clone(&webhook);
        tokio::spawn(async move {
            let _ = stopping.wait_for(|stop| *stop).await;
            marked.draining.store(true, Ordering::SeqCst);
        });
        let open = webhook.metrics.connections().clone();
        // All of one API server's requests may come through one connection.
        listen::serve(listener, router, Some(tls), &Limits::default(), patience, open, stopped).await;
        keeper.abort();
        Ok(())
    });
    Ok(Running::new(address, format!("https://{address}"), stop, task))
}

/// Looks after the certificates. What is served with stays when they cannot be renewed: there are weeks to repair that.
async fn keep(webhook: Arc<Webhook>) {
    let mut tick = tokio::time::interval(LOOK_AFTER);
    loop {
        tick.tick().await;
        if let Err(e) = webhook.certificates.refresh().await {
            tracing::error!(error = %e, "the webhook's certificates could not be looked after");
        }
    }
}
