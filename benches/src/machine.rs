//! What the machine itself allows, measured beside the services: flushes to disk, signatures, and HTTP that does nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use clap::Args;
use countersign_crypto::{KeyPair, KeyType, Signer};
use serde::Serialize;

use crate::growth::ENTRY_LEN;
use crate::load::{Request, closed_loop};
use crate::services::Size;
use crate::table::{Beside, Table, median, time};

/// Rates of the whole machine, all cores at work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Requests per second to a server that only says hello, from 64 clients of the same generator.
    pub(crate) hello: f64,
    /// P-256 signatures per second.
    pub(crate) signatures: f64,
    /// P-256 verifications per second.
    pub(crate) verifications: f64,
}

impl Machine {
    /// Measures, and adds its rows. `folder` is on the file system of the services.
    pub(crate) async fn measure(table: &mut Table, folder: &Path, size: Size) -> Result<Self> {
        let flushes = flushes(folder, size.requests.min(300), 4096)?;
        let rate = 1.0 / flushes.as_secs_f64();
        table.add("machine: fdatasync of 4 KiB", format!("{rate:.0}/s, p50 {}", time(flushes)), []);
        let key = KeyPair::generate(KeyType::EcdsaP256)?;
        let message = [7; 256];
        let signature = key.sign(&message)?;
        let scheme = key.scheme();
        let signatures = per_second(size.spell, || key.sign(&message).is_ok())?;
        let verifications =
            per_second(size.spell, || key.public_key().verify(scheme, &message, &signature).is_ok())?;
        table.add("machine: P-256 signatures, all cores", format!("{signatures:.0}/s"), []);
        table.add("machine: P-256 verifications, all cores", format!("{verifications:.0}/s"), []);
        let server = Hello::start()?;
        let requests = vec![Request::get(server.address, "/"); size.requests];
        let hello = closed_loop(server.address, requests, 64, 200).await?.per_second;
        table.add("machine: HTTP server that says hello, 64 clients", format!("{hello:.0}/s"), []);
        Ok(Self { hello, signatures, verifications })
    }

    /// What the machine allows a service whose answer takes these operations: an HTTP exchange, and nothing else but
    /// the cryptography.
    pub(crate) fn limit(&self, signatures: u32, verifications: u32) -> f64 {
        let seconds = 1.0 / self.hello
            + f64::from(signatures) / self.signatures
            + f64::from(verifications) / self.verifications;
        1.0 / seconds
    }

    /// A rate beside that limit.
    pub(crate) fn beside(&self, per_second: f64, signatures: u32, verifications: u32) -> Beside {
        let limit = self.limit(signatures, verifications);
        let text =
            format!("machine: hello, P-256 signed {signatures}, verified {verifications}: {limit:.0}/s");
        Beside::new(text, per_second / limit)
    }
}

/// The median time of the flush of an append of so many bytes.
fn flushes(folder: &Path, count: usize, length: usize) -> Result<Duration> {
    let append = vec![0; length];
    let path = folder.join("flushes");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        file.write_all(&append)?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(median(times))
}

/// How often some work can be done in a second, on all cores at once.
fn per_second(spell: Duration, work: impl Fn() -> bool + Sync) -> Result<f64> {
    per_second_of(std::thread::available_parallelism()?.get(), spell, work)
}

fn per_second_of(threads: usize, spell: Duration, work: impl Fn() -> bool + Sync) -> Result<f64> {
    let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while started.elapsed() < spell {
                    let count = if work() { &done } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    anyhow::ensure!(failed.into_inner() == 0, "an operation failed while it was timed");
    #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
    let done = done.into_inner() as f64;
    Ok(done / started.elapsed().as_secs_f64())
}

/// Measures what the machine allows a log, and prints one line of JSON.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// A directory on the disk to measure
    directory: PathBuf,
}

#[derive(Debug, Serialize)]
struct Allowed {
    /// Entries a second whose cost is an exchange and a verification each, on all cores.
    exchanges: f64,
    /// Verifications a second of one core.
    verifications_of_one_core: f64,
    /// Flushes a second, one after the other, of a batch with an entry of each client.
    flushes: f64,
    /// How many entries such a batch has.
    batch: usize,
}

/// What `interop/bench-log` sets servers beside.
pub(crate) async fn limits(arguments: &Limits, size: Size) -> Result<()> {
    const BATCH: usize = 64;
    let machine = Machine::measure(&mut Table::default(), &arguments.directory, size).await?;
    let key = KeyPair::generate(KeyType::EcdsaP256)?;
    let message = [7; 256];
    let signature = key.sign(&message)?;
    let verify = || key.public_key().verify(key.scheme(), &message, &signature).is_ok();
    let batch = flushes(&arguments.directory, size.requests.min(300), BATCH * ENTRY_LEN)?;
    let allowed = Allowed {
        exchanges: machine.limit(0, 1),
        verifications_of_one_core: per_second_of(1, size.spell, verify)?,
        flushes: 1.0 / batch.as_secs_f64(),
        batch: BATCH,
    };
    println!("{}", serde_json::to_string(&allowed)?);
    Ok(())
}

/// A server in a process of its own, as the services are.
struct Hello {
    child: Child,
    address: SocketAddr,
}

impl Hello {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("hello")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse().context("the hello server did not say where it listens")?;
        Ok(Self { child, address })
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server that says hello: prints its address and serves until it is killed.
pub(crate) async fn serve_hello() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/", get(async || "hello"))).await?;
    Ok(())
}
