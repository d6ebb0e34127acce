//! R1: a process that appends under load is killed with SIGKILL at random moments, again and again. What it had
//! acknowledged is in the log, and every checkpoint continues the last.
//!
//! `COUNTERSIGN_KILLS` says how often (20 if unset), `COUNTERSIGN_SEED` repeats a run's moments.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{Ledger, Random, clock, entry, params, runtime};
use countersign_log::{Log, LogError, Options, Receipt};
use countersign_tlog::Hash;

const DIRECTORY: &str = "COUNTERSIGN_KILL_DIRECTORY";
const FIRST: &str = "COUNTERSIGN_KILL_FIRST";
const WRITERS: usize = 32;
/// Number, index, tree size and root of an acknowledged entry.
const RECORD: usize = 8 + 8 + 8 + 32;

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

pub fn try_open(directory: &Path) -> Result<Log, LogError> {
    let options = Options { segment_bytes: 200_000, reserve_bytes: 0, ..Options::default() };
    Log::open(&directory.join("log"), options, vec![key(directory)], clock())
}

pub fn open(directory: &Path) -> Log {
    try_open(directory).unwrap()
}

/// A log in a directory, beside the key which every process that opens it will use.
pub fn new_log(directory: &Path) {
    Log::create(&directory.join("log"), &params()).unwrap();
    std::fs::write(directory.join("key"), crate::support::KEY.to_pkcs8().unwrap()).unwrap();
}

/// A file of what was acknowledged, flushed before anybody is told.
pub struct Acknowledged(std::fs::File);

impl Acknowledged {
    pub fn open(path: &Path) -> Self {
        Self(std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    pub fn record(number: u64, receipt: &Receipt) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&number.to_be_bytes());
        record[8..16].copy_from_slice(&receipt.index.to_be_bytes());
        record[16..24].copy_from_slice(&receipt.tree_size.to_be_bytes());
        record[24..].copy_from_slice(&receipt.root);
        record
    }

    pub fn write(&mut self, records: &[[u8; RECORD]]) {
        self.0.write_all(records.as_flattened()).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// The same key in every process.
pub fn key(directory: &Path) -> std::sync::Arc<dyn countersign_crypto::Signer> {
    let pkcs8 = std::fs::read(directory.join("key")).unwrap();
    std::sync::Arc::new(countersign_crypto::KeyPair::from_pkcs8(&pkcs8).unwrap())
}

/// Not a test of its own: what the killed process runs. It appends until it is killed; each acknowledged entry
/// goes into the ledger, flushed, and then a line says so.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let first = number(FIRST).unwrap();
    let log = open(&directory);
    let (sender, receiver) = mpsc::channel::<[u8; RECORD]>();
    let mut ledger = Acknowledged::open(&directory.join("ledger"));
    std::thread::spawn(move || {
        while let Ok(record) = receiver.recv() {
            let mut records = vec![record];
            records.extend(receiver.try_iter());
            ledger.write(&records);
            println!("acknowledged {}", records.len());
        }
    });
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for first in (first..).take(WRITERS) {
            let (log, sender) = (log.clone(), sender.clone());
            tasks.spawn(async move {
                for number in (first..).step_by(WRITERS) {
                    let receipt = log.append(entry(number)).await.unwrap();
                    sender.send(Acknowledged::record(number, &receipt)).unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
}

/// Runs a process until it has acknowledged some entries and a little longer, then kills it.
fn run_and_kill(directory: &Path, first: u64, random: &mut Random) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_loop::child_that_appends_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Read to the end of the process, lest it fail for want of a reader.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let wanted = usize::try_from(random.below(30)).unwrap();
    let seen = lines.by_ref().filter(|line| line.contains("acknowledged")).take(wanted).count();
    assert_eq!(seen, wanted, "the process ended by itself");
    // Any instruction of the next batches, and of opening when nothing was waited for.
    let end = Instant::now() + Duration::from_micros(random.below(20_000));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Adds what is in a file of acknowledgements.
pub fn read_ledger(path: &Path, ledger: &mut Ledger) {
    let bytes = std::fs::read(path).unwrap_or_default();
    // The kill may have cut the last record.
    for record in bytes.as_chunks::<RECORD>().0 {
        let number = |at: usize| u64::from_be_bytes(*record[at..].first_chunk().unwrap());
        ledger.entries.push((number(0), number(8)));
        let head: (u64, Hash) = (number(16), *record[24..].first_chunk().unwrap());
        if ledger.heads.last() != Some(&head) {
            ledger.heads.push(head);
        }
    }
}

#[test]
fn r1_no_kill_loses_what_was_acknowledged() {
    let kills = number("COUNTERSIGN_KILLS").unwrap_or(20);
    let seed = number("COUNTERSIGN_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut random = Random(seed);
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    new_log(directory);
    let mut checked = 0;
    for kill in 0..kills {
        // Numbers far apart, so that no process repeats another's entries.
        run_and_kill(directory, (kill + 1) << 32, &mut random);
        let mut ledger = Ledger::default();
        read_ledger(&directory.join("ledger"), &mut ledger);
        let log = open(directory);
        // What this process acknowledged, each time; all of it, now and then and at the end.
        let complete = kill + 1 == kills || kill % 25 == 24;
        let known = if complete { 0 } else { checked };
        checked = ledger.entries.len();
        ledger.entries.drain(..known);
        if !complete {
            let keep = ledger.heads.len().saturating_sub(200);
            ledger.heads.drain(..keep);
        }
        ledger.check(&log);
        runtime().block_on(log.shutdown());
    }
    println!("{kills} kills, {checked} entries acknowledged, 0 lost, every checkpoint consistent");
    assert!(kills == 0 || checked > 0);
}
