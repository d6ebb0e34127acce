//! The search index of a log: how fast it is made, and how fast it answers with its proof.
//!
//! The log is used as a library. Beside making the index stands reading the same entries, and beside an answer reading
//! all of them, which is what finding without an index takes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType};
use countersign_log::{Format, Log, LogParams, Options, Search, Terms};

use crate::growth::fill;
use crate::services::Size;
use crate::table::{Beside, Table, time};

/// How many appends wait at a time while the log is filled.
const CROWD: u64 = 4096;
/// How many answers are timed.
const ANSWERS: u32 = 200;
/// The longest that the index may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// As many terms as an entry signed with a certificate has: one that all share, some that many share, its own.
fn terms_of(stored: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stored);
    let number: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    let names = ["repository", "workflow", "subject"].map(|kind| format!("{kind}:{}", number % 1000));
    let own = ["digest", "key", "commit"].map(|kind| format!("{kind}:{number}"));
    ["issuer:all".to_owned()].into_iter().chain(names).chain(own).collect()
}

fn until(mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds()? {
        ensure!(started.elapsed() < LONGEST, "the index took longer than {LONGEST:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The rows, at 10^5 entries; at as many as the other rows of the log have when these are fewer, or ten million.
pub(crate) async fn rows(table: &mut Table, work: &Path, size: Size) -> Result<()> {
    let exponent = if size.largest_tree < 7 { size.largest_tree.min(5) } else { size.largest_tree };
    let folder = work.join("searched-log");
    let params = LogParams {
        origin: "log.example".into(),
        format: Format::Rekor,
        genesis: b"log.example begins".to_vec().into(),
    };
    Log::create(&folder, &params)?;
    let key = Arc::new(KeyPair::generate(KeyType::Ed25519)?);
    let log = Log::open(&folder, Options::default(), vec![key], Arc::new(SystemClock))?;
    fill(&log, 10_u64.pow(exponent), CROWD).await?;
    let entries = log.head().size;

    let started = Instant::now();
    let mut read = 0;
    while read < entries {
        read += log.entries_from(read, entries)?.len() as u64;
    }
    let reading = started.elapsed();

    let terms = Terms { of: Arc::new(terms_of), rules: "", key_id: None };
    let started = Instant::now();
    let search = Search::open(&folder, log.clone(), terms, true)?;
    until(|| Ok(search.known() == entries))?;
    let indexing = started.elapsed();
    until(|| Ok(search.answer("issuer:all", Some(entries), 1)?.is_some()))?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 entries")]
    let per_second = |took: Duration| entries as f64 / took.as_secs_f64();
    let beside = format!("reading them alone: {:.0}/s", per_second(reading));
    table.add(
        format!("search: indexing 10^{exponent} entries of seven terms"),
        format!("{:.0}/s", per_second(indexing)),
        [Beside::new(beside, per_second(indexing) / per_second(reading))],
    );

    for (what, term, limit) in [
        ("one entry", "digest:77", 100),
        ("the newest hundred of many", "issuer:all", 100),
        ("a term that nothing has", "digest:none", 100),
    ] {
        let started = Instant::now();
        for _ in 0..ANSWERS {
            let answer = search.answer(term, Some(entries), limit)?.context("the index is not there")?;
            ensure!(answer.index.is_some(), "an answer without a proof");
        }
        let took = started.elapsed() / ANSWERS;
        let ratio = took.as_secs_f64() / reading.as_secs_f64();
        table.add(
            format!("search in 10^{exponent} entries, proven: {what}"),
            time(took),
            [Beside::new(format!("reading all: {}", time(reading)), ratio)],
        );
    }
    drop(search);
    log.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
