//! A load generator that costs little itself: prepared requests over HTTP/1.1 connections on loopback, plain or with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
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
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        if field("transfer-encoding:") == Some("chunked") {
            loop {
                if let Some(body) = chunks(self.buffer.get(head..).unwrap_or_default())? {
                    return Ok((status, body));
                }
                ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended early");
            }
        }
        let length: usize = field("content-length:")
            .and_then(|v| v.parse().ok())
            .context("neither content-length nor chunks in the answer")?;
        while self.buffer.len() < head + length {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended early");
        }
        Ok((status, self.buffer.get(head..head + length).unwrap_or_default().to_vec()))
    }
}

/// A body in chunks without trailers, as servers in Go send what is longer than their buffer; none while it is not whole.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let (line, after) = rest.split_at(end);
        let length = usize::from_str_radix(std::str::from_utf8(line)?, 16).context("no length of a chunk")?;
        let Some(chunk) = after.get(2..2 + length) else { return Ok(None) };
        let Some(end) = after.get(2 + length..4 + length) else { return Ok(None) };
        ensure!(end == b"\r\n", "a chunk does not end where it says");
        if length == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        rest = after.get(4 + length..).unwrap_or_default();
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
    closed_loop_where(&[target.into()], requests, connections, move |status, _| status == expected).await
}

/// The same, with connections spread over several targets and answers that must be as they are wanted.
pub(crate) async fn closed_loop_where(
    targets: &[Target],
    requests: Vec<Request>,
    connections: usize,
    wanted: impl Fn(u16, &[u8]) -> bool + Clone + Send + 'static,
) -> Result<Outcome> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(connections);
    for target in targets.iter().cycle().take(connections).cloned() {
        let (requests, next, wanted) = (Arc::clone(&requests), Arc::clone(&next), wanted.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(target).await?;
            let mut times = Vec::new();
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let (status, body) = connection.send(request).await?;
                times.push(sent.elapsed());
                judge(status, &body, &wanted)?;
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::with_capacity(requests.len());
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(Outcome::of(times, started.elapsed()))
}

fn judge(status: u16, body: &[u8], wanted: &impl Fn(u16, &[u8]) -> bool) -> Result<()> {
    ensure!(
        wanted(status, body),
        "an answer that was not wanted: {status} {}",
        String::from_utf8_lossy(body)
    );
    Ok(())
}

/// Sends requests at a fixed rate whatever the answers do, so that a slow server cannot slow its own judge; times
/// count from the moment a request was due. The targets take turns.
pub(crate) async fn open_loop(
    targets: &[Target],
    requests: Vec<Request>,
    per_second: u32,
    wanted: impl Fn(u16, &[u8]) -> bool + Clone + Send + 'static,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(requests.len());
    let pools: Vec<_> =
        targets.iter().map(|t| (t, Arc::new(tokio::sync::Mutex::new(Vec::<Connection>::new())))).collect();
    for (i, (request, (target, pool))) in requests.into_iter().zip(pools.iter().cycle()).enumerate() {
        let due = started + Duration::from_secs_f64(f64::from(u32::try_from(i)?) / f64::from(per_second));
        tokio::time::sleep_until(due.into()).await;
        let (target, pool, wanted) = ((*target).clone(), Arc::clone(pool), wanted.clone());
        tasks.push(tokio::spawn(async move {
            let idle = pool.lock().await.pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(target).await?,
            };
            let (status, body) = connection.send(&request).await?;
            let took = due.elapsed();
            judge(status, &body, &wanted)?;
            pool.lock().await.push(connection);
            anyhow::Ok(took)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_read_when_it_is_whole_and_not_before() {
        let sent = b"4\r\nlogI\r\n5\r\nndex!\r\n0\r\n\r\n";
        for length in 0..sent.len() {
            assert!(chunks(&sent[..length]).unwrap().is_none(), "{length}");
        }
        assert_eq!(chunks(sent).unwrap().as_deref(), Some(b"logIndex!".as_slice()));
        assert!(chunks(b"4\r\nlogIxx0\r\n\r\n").is_err());
    }
}
