//! The simulator: the real log, driven on one thread over a simulated disk and clock, crashed and opened again many
//! times. A seed decides everything, so it repeats its run. And the same log, the same way, over a simulated database and
//! object store, where a process that was replaced may go on instead of dying.
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

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use countersign_clock::ManualClock;
use countersign_log::storage::{Distributed, LEASE, Objects, Storage};
use countersign_log::{AppendError, Driven, Log, LogError, Options, Receipt};
use countersign_tlog::{Checkpoint, Note, merkle};

use crate::support::database::MemoryDatabase;
use crate::support::objects::FailingObjects;
use crate::support::sim::{Fault, SimFs};
use crate::support::wire::Wire;
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
    replaced: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What the log lies on.
trait Ground {
    /// The way to it for a process that starts.
    fn storage(&mut self) -> Arc<dyn Storage>;
    /// Some trouble for the next operations.
    fn brew(&mut self, random: &mut Random);
    /// The process is gone. Says whether more went with it than the process.
    fn crash(&mut self, random: &mut Random) -> bool;
    /// The published checkpoints that anybody can have read, as far as it knows them.
    fn published(&self) -> BTreeSet<Vec<u8>>;
    /// Whether a process that was replaced may go on.
    const REPLACED_GO_ON: bool;
}

impl Ground for SimFs {
    fn storage(&mut self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    fn brew(&mut self, random: &mut Random) {
        match random.below(6) {
            0..=2 => {
                let fault = Fault::any(random);
                self.fail_after(random.below(160), fault);
            }
            3 => self.storm(1 + random.below(20), Random(random.next())),
            4 => {
                let spare = usize::try_from(random.below(60_000)).unwrap();
                self.set_capacity(Some(self.used() + spare));
            }
            _ => {}
        }
    }

    fn crash(&mut self, random: &mut Random) -> bool {
        let power_cut = self.is_off() || random.coin();
        if power_cut {
            *self = self.after_power_cut(random);
        }
        self.heal();
        self.set_capacity(None);
        power_cut
    }

    fn published(&self) -> BTreeSet<Vec<u8>> {
        Self::published(self)
    }

    const REPLACED_GO_ON: bool = false;
}

/// A database and an object store, and the wire of the process that runs.
struct Machines {
    database: MemoryDatabase,
    objects: FailingObjects,
    wire: Wire,
    /// What its next process will meet.
    fault: Option<(u64, Fault)>,
}

impl Machines {
    fn new() -> Self {
        let database = MemoryDatabase::default();
        let wire = Wire::to(Arc::new(database.clone()));
        Self { database, objects: FailingObjects::default(), wire, fault: None }
    }
}

impl Ground for Machines {
    fn storage(&mut self) -> Arc<dyn Storage> {
        // Whoever had the lease has it no longer, and may not know.
        self.database.expire();
        self.wire = Wire::to(Arc::new(self.database.clone()));
        if let Some((after, fault)) = self.fault.take() {
            self.wire.fail_after(after, fault);
        }
        let objects = Objects::new(Arc::new(self.objects.clone()), "logs");
        Arc::new(Distributed::new("log", Arc::new(self.wire.clone()), &objects, LEASE))
    }

    fn brew(&mut self, random: &mut Random) {
        match random.below(6) {
            0..=2 => {
                let fault = Fault::any(random);
                self.fault = Some((random.below(160), fault));
            }
            3 => self.objects.weather(Some((1 + random.below(20), Random(random.next())))),
            _ => {}
        }
    }

    fn crash(&mut self, random: &mut Random) -> bool {
        self.objects.weather(None);
        self.fault = None;
        // One whose wire is whole may go on.
        let cut = random.coin();
        if cut {
            self.wire.cut();
        }
        cut
    }

    fn published(&self) -> BTreeSet<Vec<u8>> {
        BTreeSet::new()
    }

    const REPLACED_GO_ON: bool = true;
}

struct World<'a, G> {
    random: Random,
    ground: G,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    /// The number of the next new entry.
    next: u64,
    /// The latest time in a checkpoint that was shown.
    time_ms: u64,
    runtime: &'a tokio::runtime::Runtime,
    totals: &'a Totals,
}

impl<G: Ground> World<'_, G> {
    fn open(&mut self) -> Result<(Log, Driven), LogError> {
        let segment_bytes = [3_000, 12_000, 60_000][usize::try_from(self.random.below(3)).unwrap()];
        let reserve_bytes = [0, 4096, 40_000][usize::try_from(self.random.below(3)).unwrap()];
        let options = Options { segment_bytes, reserve_bytes, ..options() };
        let storage = self.ground.storage();
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
                return self.finish(appends, None);
            }
            while driven.commit() {}
            if self.random.coin() {
                driven.flush();
            }
            if log.failed().borrow().is_some() {
                count(&self.totals.failures, 1);
                drop(driven);
                return self.finish(appends, None);
            }
            self.finish(appends, Some(&mut driven));
            self.see(log);
        }
    }

    /// Waits for the answers. The log may go on working: an entry that is looked for in an object store reaches the queue
    /// late.
    fn finish(&mut self, appends: Vec<(u64, Append)>, mut driven: Option<&mut Driven>) {
        for (number, mut append) in appends {
            let result = loop {
                let most = Duration::from_millis(if driven.is_some() { 2 } else { 60_000 });
                match self.runtime.block_on(async { tokio::time::timeout(most, &mut append).await }) {
                    Ok(result) => break result,
                    Err(_) => while driven.as_mut().unwrap().commit() {},
                }
            };
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
        let cut = self.ground.crash(&mut self.random);
        count(if cut { &self.totals.power_cuts } else { &self.totals.kills }, 1);
    }

    /// A process that another one has replaced goes on, and can have nothing acknowledged that is not in the other's tree.
    fn goes_on(&mut self, replaced: (Log, Driven)) {
        let (log, mut driven) = replaced;
        let mut appends: Vec<(u64, Append)> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let (number, log) = (self.number(), log.clone());
            let mut append: Append = Box::pin(async move { log.append(entry(number)).await });
            match append.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => appends.push((number, append)),
                Poll::Ready(result) => self.answered(number, result),
            }
        }
        while driven.commit() {}
        drop(driven);
        self.finish(appends, None);
        count(&self.totals.replaced, 1);
    }

    /// Whether the process that was opened now is to be replaced while it runs.
    fn may_go_on(&mut self) -> bool {
        G::REPLACED_GO_ON && self.random.below(3) == 0
    }

    /// Opens without trouble and checks everything.
    fn check(&mut self) {
        let (log, driven) = self.open().unwrap_or_else(|error| panic!("it does not open: {error}"));
        for note in self.ground.published() {
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

fn run(seed: u64, mut ground: impl Ground, runtime: &tokio::runtime::Runtime, totals: &Totals) {
    Log::create_on(ground.storage().as_ref(), &params()).unwrap();
    let (random, ledger) = (Random(seed), Ledger::default());
    let mut world = World { random, ground, clock: clock(), ledger, next: 0, time_ms: 0, runtime, totals };
    for _ in 0..3 + world.random.below(5) {
        world.ground.brew(&mut world.random);
        let mut replaced = None;
        if let Ok((log, driven)) = world.open() {
            if world.may_go_on() {
                replaced = Some((log, driven));
            } else {
                world.live(&log, driven);
            }
        }
        world.crash();
        // What repairs a crash may crash as well.
        while world.random.below(3) == 0 {
            world.ground.brew(&mut world.random);
            drop(world.open());
            world.crash();
        }
        world.check();
        if let Some(replaced) = replaced {
            world.goes_on(replaced);
            world.check();
        }
    }
    count(&totals.shown, world.ledger.heads.len() as u64);
}

/// Runs seeds on all cores: one in `share` of as many as `COUNTERSIGN_SEEDS` says, or the one of `COUNTERSIGN_SEED`.
fn run_all<G: Ground>(test: &'static str, share: u64, ground: impl Fn() -> G + Sync) -> Totals {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("COUNTERSIGN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COUNTERSIGN_SEEDS").unwrap_or(SEEDS) / share,
    };
    let (next, totals) = (AtomicU64::new(seeds.start), Totals::default());
    let start = std::time::Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let runtime = runtime();
                let _within = runtime.enter();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let shown = Shown(seed, test);
                    run(seed, ground(), &runtime, &totals);
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
    totals
}

/// R1 to R5, R10: kills, power cuts, failing and full disks, clocks that jump, one after the other and at once.
#[test]
fn r3_no_seed_loses_or_forks_anything() {
    let totals = run_all("r3_no_seed_loses", 1, SimFs::default);
    assert!(totals.acknowledged.into_inner() > 0);
}

/// R9, R19: the same past one machine; operations of the database and the object store fail, processes die or are replaced
/// while they run. A quarter of the seeds: theirs wait for threads.
#[test]
fn r19_no_seed_loses_or_forks_anything_past_one_machine() {
    let totals = run_all("r19_no_seed_loses", 4, Machines::new);
    assert!(totals.acknowledged.into_inner() > 0 && totals.replaced.into_inner() > 0);
}

/// Names the seed of a run that fails.
struct Shown(u64, &'static str);
impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0} failed; to repeat it:\n  COUNTERSIGN_SEED={0} cargo test -p countersign-log --test log \
                 {1} -- --nocapture",
                self.0, self.1
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
        run(seed, SimFs::default(), &runtime, &once);
        run(seed, SimFs::default(), &runtime, &again);
        assert_eq!(format!("{once:?}"), format!("{again:?}"), "seed {seed}");
    }
}
