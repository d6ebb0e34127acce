//! Measures durable appends: how many are acknowledged per second and how long each waits, beside what the disk
//! can flush.
//!
//! ```text
//! cargo run --release -p countersign-log --example append_rate -- [writers] [seconds] [entry bytes] [directory]
//! ```
//!
//! Every writer appends one entry at a time and waits for its receipt. One line of JSON comes out at the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement: any failure ends it"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, sha256};
use countersign_log::{AppendError, Format, Log, LogParams, NewEntry, Options};

/// Flushes per second of a small overwrite: two of these are the least a batch costs.
fn flushes_per_second(directory: &std::path::Path) -> f64 {
    let path = directory.join("flush-test");
    let mut file = std::fs::File::create(&path).unwrap();
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |a| a.parse().expect("a number"));
    let (writers, seconds, bytes) = (number(256), number(5), number(1500));
    let scratch = tempfile::tempdir().unwrap();
    let directory = arguments.next().map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let flushes = flushes_per_second(&directory);

    let params = LogParams {
        origin: "bench.example".into(),
        format: Format::Rekor,
        genesis: b"genesis".to_vec().into(),
    };
    let directory = directory.join("log");
    Log::create(&directory, &params).unwrap();
    let key = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
    let log = Log::open(&directory, Options::default(), vec![key], Arc::new(SystemClock)).unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let counter = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let (log, counter) = (log.clone(), counter.clone());
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    while Instant::now() < end {
                        let number = counter.fetch_add(1, Ordering::Relaxed);
                        let mut leaf = number.to_be_bytes().to_vec();
                        let dedup_key = sha256(&leaf);
                        leaf.resize(usize::try_from(bytes).expect("a length"), 0xaa);
                        let begun = Instant::now();
                        match log.append(NewEntry { dedup_key, leaf: Box::new(|_| leaf.into()) }).await {
                            Ok(_) => waits.push(begun.elapsed()),
                            Err(AppendError::Overloaded { .. }) => tokio::task::yield_now().await,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    waits
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    let elapsed = start.elapsed().as_secs_f64();
    runtime.block_on(log.shutdown());

    waits.sort();
    let at = |share: usize| waits.get(waits.len() * share / 1000).map_or(0.0, |w| w.as_secs_f64() * 1000.0);
    println!(
        "{{\"writers\":{writers},\"entry_bytes\":{bytes},\"appends_per_second\":{:.0},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"max_ms\":{:.2},\"flushes_per_second\":{flushes:.0}}}",
        waits.len() as f64 / elapsed,
        at(500),
        at(990),
        at(999),
    );
}
