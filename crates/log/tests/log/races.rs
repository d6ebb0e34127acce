//! R9: processes that all want the same log. One at a time has it, the others are told at once who that is; holders are
//! stopped in the middle and go on later, their lock file is deleted under them; the tree is never forked.
//!
//! `COUNTERSIGN_RACES` says how often the log changes hands (60 if unset), `COUNTERSIGN_SEED` repeats the parent's
//! choices.
//!
//! ```text
//! COUNTERSIGN_RACES=10000 cargo test -p countersign-log --test log races -- --nocapture
//! ```

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_log::LogError;

use crate::kill_loop::{Acknowledged, new_log, number, open, read_ledger, try_open};
use crate::support::{Ledger, Random, entry, runtime};

const DIRECTORY: &str = "COUNTERSIGN_RACE_DIRECTORY";
const RACER: &str = "COUNTERSIGN_RACE_RACER";
const WINS: &str = "COUNTERSIGN_RACE_WINS";
const RACERS: u64 = 4;

/// Not a test of its own: what each racer runs. Whenever it gets the log it appends one entry and gives the log back.
#[test]
fn child_that_races() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let (racer, wins) = (number(RACER).unwrap(), number(WINS).unwrap());
    let mut ledger = Acknowledged::open(&directory.join(format!("ledger-{racer}")));
    let (mut won, mut refused, mut slowest) = (0, 0_u64, Duration::ZERO);
    while won < wins {
        let start = Instant::now();
        match try_open(&directory) {
            Ok(log) => {
                let number = ((racer + 1) << 32) + won;
                runtime().block_on(async {
                    let receipt = log.append(entry(number)).await.unwrap();
                    ledger.write(&[Acknowledged::record(number, &receipt)]);
                    log.shutdown().await;
                });
                won += 1;
            }
            Err(LogError::LockedBy { holder }) => {
                assert!(holder.contains(" on ") || holder.contains("unknown"), "{holder}");
                slowest = slowest.max(start.elapsed());
                refused += 1;
                std::thread::sleep(Duration::from_micros(500));
            }
            Err(other) => panic!("{other}"),
        }
    }
    println!("racer {racer}: {won} wins, {refused} refusals, the slowest after {slowest:?}");
}

fn racer(directory: &Path, racer: u64, wins: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "races::child_that_races", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(RACER, racer.to_string())
        .env(WINS, wins.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends a signal to a child of ours.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
    // It may have ended by itself meanwhile.
    assert!(sent.is_ok(), "there is no kill here");
}

#[test]
fn r9_processes_that_race_and_are_stopped_never_fork_the_log() {
    let races = number("COUNTERSIGN_RACES").unwrap_or(60);
    let mut random = Random(number("COUNTERSIGN_SEED").unwrap_or_else(|| u64::from(std::process::id())));
    println!("seed {}", random.0);
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    new_log(directory);
    let start = Instant::now();
    let mut children: Vec<_> = (0..RACERS).map(|r| racer(directory, r, races.div_ceil(RACERS))).collect();
    let (mut stops, mut deletions) = (0, 0);
    loop {
        let running: Vec<&mut Child> =
            children.iter_mut().filter_map(|c| c.try_wait().unwrap().is_none().then_some(c)).collect();
        if running.is_empty() {
            break;
        }
        let stopped = &running[usize::try_from(random.below(running.len() as u64)).unwrap()];
        signal(stopped, "-STOP");
        if random.below(8) == 0 {
            // As somebody does who takes it for a left-over.
            let _ = std::fs::remove_file(directory.join("log/lock"));
            deletions += 1;
        }
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        signal(stopped, "-CONT");
        stops += 1;
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("racer")) {
            println!("{line}");
        }
    }
    let mut ledger = Ledger::default();
    (0..RACERS).for_each(|racer| read_ledger(&directory.join(format!("ledger-{racer}")), &mut ledger));
    let log = open(directory);
    assert_eq!(ledger.entries.len() as u64, races.div_ceil(RACERS) * RACERS);
    assert_eq!(log.head().size, ledger.entries.len() as u64 + 1, "each entry once");
    ledger.rebuild(&log);
    runtime().block_on(log.shutdown());
    println!(
        "{} changes of hands in {:.1} s, {stops} holders or waiters stopped and resumed, {deletions} lock files deleted, \
         0 forks",
        ledger.entries.len(),
        start.elapsed().as_secs_f64()
    );
}

/// R9: a holder that is stopped still holds; whoever comes is told its process id within a second. Resumed, it goes on.
#[test]
fn r9_a_stopped_holder_still_holds_and_a_second_process_is_told_within_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    new_log(directory);
    let child = racer(directory, 0, 1_000_000);
    let holder = format!("{} on ", child.id());
    let wait = Instant::now();
    // Stopped at a moment at which it has the log.
    loop {
        signal(&child, "-STOP");
        let start = Instant::now();
        match try_open(directory) {
            Err(LogError::LockedBy { holder: found }) => {
                assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
                if found.starts_with(&holder) {
                    break;
                }
            }
            Err(other) => panic!("{other}"),
            Ok(log) => runtime().block_on(log.shutdown()),
        }
        signal(&child, "-CONT");
        assert!(wait.elapsed() < Duration::from_secs(60), "it never has the log");
        std::thread::sleep(Duration::from_millis(3));
    }
    let before = std::fs::metadata(directory.join("ledger-0")).map_or(0, |file| file.len());
    signal(&child, "-CONT");
    let wait = Instant::now();
    while std::fs::metadata(directory.join("ledger-0")).map_or(0, |file| file.len()) <= before {
        assert!(wait.elapsed() < Duration::from_secs(60), "it does not go on");
        std::thread::sleep(Duration::from_millis(3));
    }
    signal(&child, "-KILL");
    drop(child.wait_with_output().unwrap());
    let mut ledger = Ledger::default();
    read_ledger(&directory.join("ledger-0"), &mut ledger);
    let log = open(directory);
    ledger.rebuild(&log);
    runtime().block_on(log.shutdown());
}
