//! The log as its tree grows: appends, proofs, memory and the time to open it, at sizes from a thousand entries up.
//!
//! The log is used as a library, with no HTTP in between, in processes of their own, so that each starts with fresh
//! memory: one grows the log to a size and times the last appends, one opens it and asks it for proofs. On files, or, for
//! `interop/bench-log`, on a database and an object store.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, sha256};
use countersign_log::storage::{Distributed, LEASE, Objects, Postgres, PostgresAccess};
use countersign_log::{Format, Log, LogParams, NewEntry, Options};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::instance::resident_mib;
use crate::load::Outcome;
use crate::services::Size;
use crate::table::{Beside, Table, time};

/// As long as a logged signature with its key is.
pub(crate) const ENTRY_LEN: usize = 600;
/// How many appends wait at a time while a log is filled.
const CROWD: u64 = 4096;
/// How many clients append while it is timed.
const CLIENTS: u64 = 64;

/// Where the log is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// The database of a log past one machine
    #[arg(long, requires = "objects")]
    database: Option<String>,
    /// Its object store
    #[arg(long, requires = "database")]
    objects: Option<url::Url>,
}

impl Place {
    fn distributed(&self) -> Result<Option<Distributed>> {
        let (Some(database), Some(objects)) = (&self.database, &self.objects) else { return Ok(None) };
        let database = Arc::new(Postgres::connect(PostgresAccess::parse(database, None)?)?);
        Ok(Some(Distributed::new("growing-log", database, &Objects::s3(objects, None)?, LEASE)))
    }

    fn arguments(&self) -> Vec<String> {
        let objects = self.objects.as_ref().map(url::Url::to_string);
        let options = [("--database", self.database.clone()), ("--objects", objects)];
        options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
    }

    /// What rows of a log in this place are called.
    const fn name(&self) -> &'static str {
        if self.database.is_some() { "log on PostgreSQL + S3" } else { "log" }
    }
}

/// Measures a growing log alone and prints the table.
#[derive(Debug, Args)]
pub(crate) struct Growth {
    folder: PathBuf,
    /// The largest tree, as a power of ten
    largest: u32,
    #[command(flatten)]
    place: Place,
}

/// Grows a log to a size.
#[derive(Debug, Args)]
pub(crate) struct Grow {
    folder: PathBuf,
    size: u64,
    /// How many of the last appends are timed.
    timed: u64,
    #[command(flatten)]
    place: Place,
}

/// Opens a log.
#[derive(Debug, Args)]
pub(crate) struct Open {
    folder: PathBuf,
    proofs: u32,
    #[command(flatten)]
    place: Place,
}

/// What growing gave.
#[derive(Debug, Serialize, Deserialize)]
struct Grown {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// What opening gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opened {
    opening: Duration,
    resident_mib: f64,
    proof: Duration,
}

/// The rows of all sizes. Each stands beside the smallest: a log should not become slower as it grows.
pub(crate) fn rows(table: &mut Table, work: &Path, size: Size, place: &Place) -> Result<()> {
    let folder = work.join("growing-log");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("key"), KeyPair::generate(KeyType::Ed25519)?.to_pkcs8()?)?;
    let params = LogParams {
        origin: "log.example".into(),
        format: Format::Rekor,
        genesis: b"log.example begins".to_vec().into(),
    };
    match place.distributed()? {
        Some(storage) => Log::create_on(&storage, &params)?,
        None => Log::create(&folder.join("log"), &params)?,
    }
    let path = folder.to_str().context("the folder's name is not text")?;
    let mut first = None;
    for exponent in 3..=size.largest_tree {
        let entries = 10_u64.pow(exponent);
        let timed = u64::try_from(size.requests)?.min(entries / 2);
        let run = |what: &[&str]| [what.iter().map(|&a| a.to_owned()).collect(), place.arguments()].concat();
        let grown: Grown = child(&run(&["grow", path, &entries.to_string(), &timed.to_string()]))?;
        let opened: Opened = child(&run(&["open", path, &size.proofs.to_string()]))?;
        let smallest = first.get_or_insert_with(|| (grown.per_second, opened.clone()));
        add(table, &format!("{} of 10^{exponent}", place.name()), &grown, &opened, smallest);
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn add(table: &mut Table, log: &str, grown: &Grown, opened: &Opened, (rate, smallest): &(f64, Opened)) {
    let beside = |text: &str, own: f64, first: f64| Beside::new(format!("at 10^3: {text}"), own / first);
    table.add(
        format!("{log}: durable appends without HTTP, {CLIENTS} clients"),
        format!("{:.0}/s, p50 {}, p99 {}", grown.per_second, time(grown.p50), time(grown.p99)),
        [beside(&format!("{rate:.0}/s"), grown.per_second, *rate)],
    );
    for (what, own, first) in [
        ("an inclusion proof", opened.proof, smallest.proof),
        ("opening it", opened.opening, smallest.opening),
    ] {
        table.add(
            format!("{log}: {what}"),
            time(own),
            [beside(&time(first), own.as_secs_f64(), first.as_secs_f64())],
        );
    }
    table.add(
        format!("{log}: resident memory when opened"),
        format!("{:.0} MiB", opened.resident_mib),
        [beside(&format!("{:.0} MiB", smallest.resident_mib), opened.resident_mib, smallest.resident_mib)],
    );
}

/// Measures a growing log alone and prints the table.
pub(crate) fn growth(arguments: &Growth, size: Size) -> Result<()> {
    let mut table = Table::default();
    rows(&mut table, &arguments.folder, Size { largest_tree: arguments.largest, ..size }, &arguments.place)?;
    println!("{}", table.markdown());
    Ok(())
}

/// Runs this program again with a subcommand that prints one line of JSON.
pub(crate) fn child<T: DeserializeOwned>(arguments: &[impl AsRef<OsStr> + Debug]) -> Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{arguments:?} failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn open(folder: &Path, place: &Place) -> Result<Log> {
    let key = Arc::new(KeyPair::from_pkcs8(&std::fs::read(folder.join("key"))?)?);
    let (options, clock) = (Options::default(), Arc::new(SystemClock));
    Ok(match place.distributed()? {
        Some(storage) => Log::join(&storage, options, vec![key], clock)?,
        None => Log::open(&folder.join("log"), options, vec![key], clock)?,
    })
}

async fn append(log: &Log, number: u64) -> Result<()> {
    let mut entry = format!("entry {number} ").into_bytes();
    entry.resize(ENTRY_LEN, b'.');
    log.append(NewEntry { dedup_key: sha256(&entry), leaf: Box::new(|_| entry.into()) }).await?;
    Ok(())
}

/// Appends from the log's size up to `size`, always so many at a time.
pub(crate) async fn fill(log: &Log, size: u64, at_a_time: u64) -> Result<Vec<Duration>> {
    let next = Arc::new(AtomicU64::new(log.head().size));
    let mut tasks = JoinSet::new();
    for _ in 0..at_a_time {
        let (log, next) = (log.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= size {
                    return anyhow::Ok(times);
                }
                let started = Instant::now();
                append(&log, number).await?;
                times.push(started.elapsed());
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

/// Grows a log and times its last appends.
pub(crate) async fn grow(arguments: &Grow) -> Result<()> {
    let log = open(&arguments.folder, &arguments.place)?;
    fill(&log, arguments.size - arguments.timed, CROWD).await?;
    let started = Instant::now();
    let times = fill(&log, arguments.size, CLIENTS).await?;
    let outcome = Outcome::of(times, started.elapsed());
    log.shutdown().await;
    let grown = Grown { per_second: outcome.per_second, p50: outcome.p50, p99: outcome.p99 };
    println!("{}", serde_json::to_string(&grown)?);
    Ok(())
}

/// Opens a log and times proofs of entries all over the tree.
pub(crate) async fn open_and_prove(arguments: &Open) -> Result<()> {
    let started = Instant::now();
    let log = open(&arguments.folder, &arguments.place)?;
    let opening = started.elapsed();
    let resident_mib = resident_mib("self")?;
    let size = log.head().size;
    let started = Instant::now();
    for number in 0..u64::from(arguments.proofs) {
        // A stride that visits the whole tree in no order that a cache could use.
        log.proof(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size, size)?;
    }
    let proof = started.elapsed() / arguments.proofs.max(1);
    log.shutdown().await;
    println!("{}", serde_json::to_string(&Opened { opening, resident_mib, proof })?);
    Ok(())
}
