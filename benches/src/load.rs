//! A load generator that costs little itself: prepared requests over HTTP/1.1 connections on loopback, plain or with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// One prepared request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A POST with a body.
    pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    /// A GET.
    pub(crate) fn get(address: SocketAddr, path: &str) -> Self {
        Self { bytes: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes() }
    }
}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Target {
    /// A server behind TLS.
    pub(crate) const fn tls(address: SocketAddr, connector: TlsConnector) -> Self {
        Self { address, tls: Some(connector) }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: impl Into<Target>) -> Result<Self> {
        let Target { address, tls } = target.into();
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            Some(tls) => Box::new(tls.connect(ServerName::from(address.ip()), stream).await?),
            None => Box::new(stream),
        };
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its answer: status and body.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(&request.bytes).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended early");
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?.to_ascii_lowercase();
        let status =
            text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status in the answer")?;
        let length: usize = text
            .lines()
            .find_map(|l| l.strip_prefix("content-length:"))
            .and_then(|v| v.trim().parse().ok())
            .context("no content-length in the answer")?;
        while self.buffer.len() < head + length {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended early");
        }
        Ok((status, self.buffer.get(head..head + length).unwrap_or_default().to_vec()))
    }
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers with the expected status per second.
    pub(crate) per_second: f64,
    /// Half of the answers came within this.
    pub(crate) p50: Duration,
    /// All but one in a hundred came within this.
    pub(crate) p99: Duration,
    /// From the first request to the last answer.
    pub(crate) total: Duration,
}

/// Sends every request once over a number of connections, each waiting for its answer before its next request.
pub(crate) async fn closed_loop(
    target: impl Into<Target>,
    requests: Vec<Request>,
    connections: usize,
    expected: u16,
) -> Result<Outcome> {
    closed_loop_where(target, requests, connections, move |status, _| status == expected).await
}

/// The same, with answers that must be as they are wanted.
pub(crate) async fn closed_loop_where(
    target: impl Into<Target>,
    requests: Vec<Request>,
    connections: usize,
    wanted: impl Fn(u16, &[u8]) -> bool + Copy + Send + 'static,
) -> Result<Outcome> {
    let (target, requests) = (target.into(), Arc::new(requests));
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let (requests, next, target) = (Arc::clone(&requests), Arc::clone(&next), target.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(target).await?;
            let mut times = Vec::new();
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let (status, body) = connection.send(request).await?;
                times.push(sent.elapsed());
                if !wanted(status, &body) {
                    bail!("an answer that was not wanted: {status} {}", String::from_utf8_lossy(&body));
                }
            }
            Ok(times)
        }));
    }
    let mut times = Vec::with_capacity(requests.len());
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(Outcome::of(times, started.elapsed()))
}

/// Sends requests at a fixed rate whatever the answers do, so that a slow server cannot slow its own judge; times
/// count from the moment a request was due.
pub(crate) async fn open_loop(
    address: SocketAddr,
    requests: Vec<Request>,
    per_second: u32,
    expected: u16,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(requests.len());
    let pool = Arc::new(tokio::sync::Mutex::new(Vec::<Connection>::new()));
    for (i, request) in requests.into_iter().enumerate() {
        let due = started + Duration::from_secs_f64(f64::from(u32::try_from(i)?) / f64::from(per_second));
        tokio::time::sleep_until(due.into()).await;
        let pool = Arc::clone(&pool);
        tasks.push(tokio::spawn(async move {
            let idle = pool.lock().await.pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let (status, _) = connection.send(&request).await?;
            ensure!(status == expected, "expected status {expected}, found {status}");
            let took = due.elapsed();
            pool.lock().await.push(connection);
            Ok(took)
        }));
    }
    let mut times = Vec::with_capacity(tasks.len());
    for task in tasks {
        times.push(task.await??);
    }
    Ok(Outcome::of(times, started.elapsed()))
}

impl Outcome {
    /// Of the times of all answers and the time of the whole run.
    pub(crate) fn of(mut times: Vec<Duration>, total: Duration) -> Self {
        times.sort_unstable();
        let at = |permille: usize| {
            times.get((times.len().saturating_sub(1)) * permille / 1000).copied().unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        let per_second = times.len() as f64 / total.as_secs_f64();
        Self { per_second, p50: at(500), p99: at(990), total }
    }
}
