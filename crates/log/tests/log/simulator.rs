//! The simulator: the real log, driven on one thread over a simulated disk and clock, crashed and opened again many
//! times. A seed decides everything, so it repeats its run.
//!
//! After each opening the whole tree is made anew from the entries: nothing acknowledged is lost, and every checkpoint
//! that was ever shown (in a receipt, at an opening, in the published file) is a part of it. Receipts are verified as
//! they come, as a client would.
//!
//! ```text
//! COUNTERSIGN_SEEDS=100000 cargo test --release -p countersign-log --test log simulator -- --nocapture
//! ```
//!
//! `COUNTERSIGN_SEED` runs one seed alone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use countersign_clock::ManualClock;
use countersign_log::storage::Storage;
use countersign_log::{AppendError, Driven, Log, LogError, Options, Receipt};
use countersign_tlog::{Checkpoint, Note, merkle};

use crate::support::sim::{Fault, SimFs};
use crate::support::{Ledger, Random, clock, entry, options, params, runtime, signers};

/// As many as take a few seconds: an unoptimised build is slow.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 2000 };

type Append = Pin<Box<dyn Future<Output = Result<Receipt, AppendError>>>>;

/// What was seen over all runs.
#[derive(Debug, Default)]
struct Totals {
    openings: AtomicU64,
    power_cuts: AtomicU64,
    kills: AtomicU64,
    failures: AtomicU64,
    refused_as_full: AtomicU64,
    acknowledged: AtomicU64,
    shown: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

struct World<'a> {
    random: Random,
    disk: SimFs,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    /// The number of the next new entry.
    next: u64,
    /// The latest time in a checkpoint that was shown.
    time_ms: u64,
    runtime: &'a tokio::runtime::Runtime,
    totals: &'a Totals,
}

impl World<'_> {
    fn open(&mut self) -> Result<(Log, Driven), LogError> {
        let segment_bytes = [3_000, 12_000, 60_000][usize::try_from(self.random.below(3)).unwrap()];
        let reserve_bytes = [0, 4096, 40_000][usize::try_from(self.random.below(3)).unwrap()];
        let options = Options { segment_bytes, reserve_bytes, ..options() };
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let opened = Log::open_driven(&storage, options, signers(), self.clock.clone());
        count(&self.totals.openings, 1);
        match &opened {
            Ok((log, _)) => self.see(log),
            // An operation that fails is said to have failed; the files are never said to contradict each other.
            Err(error) => assert!(matches!(error, LogError::Io { .. }), "{error}"),
        }
        opened
    }

    /// Notes down what the log shows to everybody.
    fn see(&mut self, log: &Log) {
        let head = log.head();
        assert!(head.time_ms >= self.time_ms, "the time in checkpoints went back");
        self.time_ms = head.time_ms;
        self.ledger.see(log);
    }

    /// Some trouble for the log's next operations.
    fn brew(&mut self) {
        match self.random.below(6) {
            0..=2 => {
                let fault = Fault::any(&mut self.random);
                self.disk.fail_after(self.random.below(160), fault);
            }
            3 => self.disk.storm(1 + self.random.below(20), Random(self.random.next())),
            4 => {
                let spare = usize::try_from(self.random.below(60_000)).unwrap();
                self.disk.set_capacity(Some(self.disk.used() + spare));
            }
            _ => {}
        }
    }

    /// The number of an entry to append: a new one as a rule, else one that was sent before.
    fn number(&mut self) -> u64 {
        if self.next > 0 && self.random.below(12) == 0 {
            return self.next - 1 - self.random.below(self.next.min(40));
        }
        self.next += 1;
        self.next - 1
    }

    /// Sends entries and lets the log work, until something fails or it is enough.
    fn live(&mut self, log: &Log, mut driven: Driven) {
        for _ in 0..=self.random.below(6) {
            let burst =
                1 + if self.random.below(8) == 0 { self.random.below(300) } else { self.random.below(4) };
            let mut appends: Vec<(u64, Append)> = Vec::new();
            for _ in 0..burst {
                let (number, log) = (self.number(), log.clone());
                let mut append: Append = Box::pin(async move { log.append(entry(number)).await });
                match append.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => appends.push((number, append)),
                    Poll::Ready(result) => self.answered(number, result),
                }
                // Now and then the batch is closed early.
                if self.random.below(40) == 0 {
                    driven.commit();
                }
            }
            let seconds = i64::try_from(self.random.below(7200)).unwrap() - 3600;
            self.clock.advance_seconds(seconds);
            if self.random.below(10) == 0 {
                // It is killed with entries in its queue; who waits is told that nobody is there.
                drop(driven);
                return self.finish(appends);
            }
            while driven.commit() {}
            if self.random.coin() {
                driven.flush();
            }
            if log.failed().borrow().is_some() {
                count(&self.totals.failures, 1);
                drop(driven);
                return self.finish(appends);
            }
            self.finish(appends);
            self.see(log);
        }
    }

    fn finish(&mut self, appends: Vec<(u64, Append)>) {
        for (number, append) in appends {
            let result = self.runtime.block_on(append);
            self.answered(number, result);
        }
    }

    fn answered(&mut self, number: u64, result: Result<Receipt, AppendError>) {
        match result {
            Ok(receipt) => {
                self.ledger.acknowledge(number, &receipt);
                count(&self.totals.acknowledged, 1);
            }
            Err(AppendError::Full) => count(&self.totals.refused_as_full, 1),
            Err(AppendError::Storage(_) | AppendError::ShuttingDown) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// The process is gone, and the machine with it if its power was cut or is cut now.
    fn crash(&mut self) {
        if self.disk.is_off() || self.random.coin() {
            self.disk = self.disk.after_power_cut(&mut self.random);
            count(&self.totals.power_cuts, 1);
        } else {
            count(&self.totals.kills, 1);
        }
        self.disk.heal();
        self.disk.set_capacity(None);
    }

    /// Opens without trouble and checks everything.
    fn check(&mut self) {
        let (log, driven) = self.open().unwrap_or_else(|error| panic!("it does not open: {error}"));
        for note in self.disk.published() {
            let note = Note::parse(&note).unwrap();
            let checkpoint = Checkpoint::parse(note.text()).unwrap();
            self.ledger.heads.push((checkpoint.size, checkpoint.root));
        }
        self.ledger.heads.sort_unstable();
        self.ledger.heads.dedup();
        let entries = self.ledger.rebuild(&log);
        // And some proofs in today's tree, of any entries and any trees that were seen.
        let head = log.head();
        for _ in 0..8 {
            let index = self.random.below(head.size);
            let proof = log.proof(index, head.size).unwrap();
            let hash = merkle::leaf_hash(&entries[usize::try_from(index).unwrap()]);
            merkle::verify_inclusion(&hash, index, head.size, &proof, &head.root).unwrap();
            let place = usize::try_from(self.random.below(self.ledger.heads.len() as u64)).unwrap();
            let (size, root) = self.ledger.heads[place];
            let proof = log.consistency(size, head.size).unwrap();
            merkle::verify_consistency(size, &root, head.size, &head.root, &proof).unwrap();
        }
        drop(driven);
    }
}

fn run(seed: u64, runtime: &tokio::runtime::Runtime, totals: &Totals) {
    let disk = SimFs::default();
    Log::create_on(&disk, &params()).unwrap();
    let (random, ledger) = (Random(seed), Ledger::default());
    let mut world = World { random, disk, clock: clock(), ledger, next: 0, time_ms: 0, runtime, totals };
    for _ in 0..3 + world.random.below(5) {
        world.brew();
        if let Ok((log, driven)) = world.open() {
            world.live(&log, driven);
        }
        world.crash();
        // What repairs a crash may crash as well.
        while world.random.below(3) == 0 {
            world.brew();
            drop(world.open());
            world.crash();
        }
        world.check();
    }
    count(&totals.shown, world.ledger.heads.len() as u64);
}

/// R1 to R5, R10: kills, power cuts, failing and full disks, clocks that jump, one after the other and at once.
#[test]
fn r3_no_seed_loses_or_forks_anything() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("COUNTERSIGN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COUNTERSIGN_SEEDS").unwrap_or(SEEDS),
    };
    let (next, totals) = (AtomicU64::new(seeds.start), Totals::default());
    let start = std::time::Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let runtime = runtime();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let shown = Shown(seed);
                    run(seed, &runtime, &totals);
                    drop(shown);
                    if seed % 10_000 == 9_999 {
                        println!("{} seeds in {:.0} s", seed + 1, start.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    println!("{} seeds in {:.1} s: {totals:?}", seeds.end - seeds.start, start.elapsed().as_secs_f64());
    println!("0 acknowledged entries lost, 0 forks, 0 wrong proofs");
    assert!(totals.acknowledged.into_inner() > 0);
}

/// Names the seed of a run that fails.
struct Shown(u64);
impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0} failed; to repeat it:\n  COUNTERSIGN_SEED={0} cargo test -p countersign-log --test log \
                 simulator -- --nocapture",
                self.0
            );
        }
    }
}

/// The same seed gives the same run: what a seed is good for.
#[test]
fn a_seed_repeats_its_run_exactly() {
    let runtime = runtime();
    for seed in 0..5 {
        let (once, again) = (Totals::default(), Totals::default());
        run(seed, &runtime, &once);
        run(seed, &runtime, &again);
        assert_eq!(format!("{once:?}"), format!("{again:?}"), "seed {seed}");
    }
}
