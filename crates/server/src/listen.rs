//! The listening socket: connections with limits and time-outs, and a drain at the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::ServerError;
use crate::config::Limits;
use crate::connections::PerClient;
use crate::patient::Patient;

/// How long a client may take to send things, before its connection is given to others.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, and for a TLS handshake.
    pub head: Duration,
    /// For a whole body, and for taking anything at all of an answer. With the largest cap (4 MiB) half a minute asks for 140 KiB/s; the caps of the faces people
    /// reach over slow lines are 64 KiB and less.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), body: Duration::from_secs(30) }
    }
}

/// How long running requests may go on after the order to stop.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The address of the peer, given to handlers as a request extension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address that a socket has got.
///
/// # Errors
/// [`ServerError::Listen`].
pub fn address_of(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, ServerError> {
    listener.local_addr().map_err(|source| ServerError::Listen {
        address: asked,
        source,
        hint: "the socket has no address",
    })
}

/// Binds the address, with an error that names the holder's likely cause.
///
/// # Errors
/// [`ServerError::Listen`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program listens there; stop it, or set another address with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege; choose a higher one with --listen"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; set one of its own with --listen"
            }
            _ => "set another address with --listen",
        };
        ServerError::Listen { address, source: e, hint }
    })
}

/// Accepts connections until told to stop, then lets running requests finish. `open` counts the connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: &Limits,
    patience: Patience,
    open: Gauge,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let clients = PerClient::new(limits.connections_per_client);
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(patience.head);
    let builder = Arc::new(builder);
    loop {
        // With every slot taken, further clients wait in the kernel's queue instead of in our memory.
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stop.wait_for(|s| *s) => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, most likely: wait for connections to end.
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // One client with too many connections loses the newest; the others never notice.
        let Some(held) = clients.take(peer.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let tls = tls.clone();
        let builder = Arc::clone(&builder);
        let watcher = graceful.watcher();
        let open = open.clone();
        tokio::spawn(async move {
            open.inc();
            connection(stream, peer.ip(), router, tls, patience, &builder, watcher).await;
            open.dec();
            drop((held, slot));
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in {} s and are cut", DRAIN_TIME.as_secs());
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    tls: Option<TlsAcceptor>,
    patience: Patience,
    builder: &auto::Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    match tls {
        None => http(stream, peer, router, patience, builder, watcher).await,
        Some(acceptor) => match tokio::time::timeout(patience.head, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, router, patience, builder, watcher).await,
            Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as much as tells HTTP/1 from HTTP/2, in the time a client has. The library that tells them apart waits for
/// this without end, and its own time limits begin only afterwards.
async fn first_words<S: AsyncRead + Unpin>(stream: &mut S, patience: Patience) -> Option<Vec<u8>> {
    let mut words = Vec::with_capacity(PREFACE.len());
    let read = async {
        while words.len() < PREFACE.len() && PREFACE.starts_with(&words) {
            let missing = u64::try_from(PREFACE.len() - words.len()).unwrap_or_default();
            if (&mut *stream).take(missing).read_buf(&mut words).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::time::timeout(patience.head, read).await.ok()?.ok()?;
    Some(words)
}

async fn http<S>(
    stream: S,
    peer: IpAddr,
    router: Router,
    patience: Patience,
    builder: &auto::Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(patience);
        request.map(axum::body::Body::new)
    });
    let mut stream = Patient::new(stream, patience.body);
    let Some(words) = first_words(&mut stream, patience).await else { return };
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(std::io::Cursor::new(words).chain(read), write);
    let served =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(e) = watcher.watch(served.into_owned()).await {
        tracing::debug!(error = %e, "connection ended");
    }
}
