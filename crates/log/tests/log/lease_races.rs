//! R9: two writers of one log past one machine. One is held up somewhere, its lease ends, the other takes over; then
//! the first goes on. Whatever was acknowledged by either is in one tree.
//!
//! `COUNTERSIGN_RACES` says how often (500 if unset, a tenth of it on PostgreSQL), `COUNTERSIGN_SEED` repeats a run.

use std::sync::Arc;
use std::time::Duration;

use countersign_log::storage::database::Database;
use countersign_log::storage::{Distributed, LEASE, Objects, Storage};
use countersign_log::{AppendError, Log, LogError, Options, Receipt};
use object_store::memory::InMemory;

use crate::support::database::MemoryDatabase;
use crate::support::postgres::Server;
use crate::support::wire::Wire;
use crate::support::{Ledger, Random, append_all, open, options, params, runtime};

/// How often everything acknowledged so far is looked for in the tree.
const CHECKED: u64 = 100;

type Answers = Vec<(u64, Result<Receipt, AppendError>)>;

#[derive(Default)]
struct Counts {
    held: u64,
    refused: u64,
    acknowledged: u64,
}

struct Race<'a> {
    name: &'a str,
    database: Arc<dyn Database>,
    objects: Objects,
    term: Duration,
    /// Ends every lease at once, where that is possible.
    expire: Option<&'a dyn Fn()>,
    ledger: Ledger,
    next: u64,
    counts: Counts,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl Race<'_> {
    fn writer(&self) -> (Wire, Arc<dyn Storage>) {
        let wire = Wire::to(Arc::clone(&self.database));
        let storage = Distributed::new(self.name, Arc::new(wire.clone()), &self.objects, self.term);
        (wire, Arc::new(storage))
    }

    fn options() -> Options {
        Options { segment_bytes: 5_000, reserve_bytes: 0, ..options() }
    }

    /// Opens the log as soon as the other's lease is over.
    fn take_over(&self, storage: &Arc<dyn Storage>) -> Log {
        loop {
            match open(storage, Self::options()) {
                Ok(log) => return log,
                // A lease may end while the log is opened, on a machine that is busy.
                Err(LogError::LockedBy { .. } | LogError::Io { .. }) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn acknowledge(&mut self, answers: Answers) {
        for (number, result) in answers {
            match result {
                Ok(receipt) => {
                    self.ledger.acknowledge(number, &receipt);
                    self.counts.acknowledged += 1;
                }
                Err(AppendError::Storage(_)) => self.counts.refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn once(&mut self, random: &mut Random) {
        let (wire, storage) = self.writer();
        let first = self.take_over(&storage);
        // Also once in a while nowhere, so that both run at the same time.
        wire.hold_after(random.below(12));
        let begin = self.next;
        self.next += 20;
        let appending = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut answers = Answers::new();
                for at in 0..4 {
                    answers.extend(append_all(&first, begin + at * 2..begin + at * 2 + 2).await);
                }
                first.shutdown().await;
                answers
            })
        });
        let held = wire.wait_held(Duration::from_millis(20 + random.below(20)));
        self.counts.held += u64::from(held);
        if let Some(expire) = self.expire {
            expire();
        }
        let (_, storage) = self.writer();
        let second = self.take_over(&storage);
        let answers = runtime().block_on(append_all(&second, begin + 10..begin + 13));
        assert!(
            self.expire.is_none() || answers.iter().all(|(_, result)| result.is_ok()),
            "the second writer has the lease"
        );
        self.acknowledge(answers);
        wire.release();
        let more = runtime().block_on(append_all(&second, begin + 13..begin + 15));
        self.acknowledge(more);
        let late = appending.join().unwrap();
        self.acknowledge(late);
        runtime().block_on(second.shutdown());
    }

    fn run(&mut self, races: u64) {
        let seed = number("COUNTERSIGN_SEED").unwrap_or(1);
        let mut random = Random(seed);
        Log::create_on(self.writer().1.as_ref(), &params()).unwrap();
        for race in 1..=races {
            self.once(&mut random);
            if race % CHECKED == 0 || race == races {
                let (_, storage) = self.writer();
                let log = self.take_over(&storage);
                self.ledger.check(&log);
                let mut indexes: Vec<_> = self.ledger.entries.iter().map(|(_, index)| *index).collect();
                indexes.sort_unstable();
                assert!(indexes.windows(2).all(|pair| pair[0] != pair[1]), "an index was given twice");
                self.ledger = Ledger::default();
                self.ledger.see(&log);
                runtime().block_on(log.shutdown());
            }
        }
        let Counts { held, refused, acknowledged } = self.counts;
        println!(
            "seed {seed}: {races} races, {held} with a writer held up past its lease; {acknowledged} entries \
             acknowledged, 0 lost, {refused} refused to writers without the lease, 0 forks"
        );
        assert!(races < 20 || held > races / 4 && refused > 0, "the races did not happen");
    }
}

#[test]
fn r9_a_writer_held_up_past_its_lease_never_forks_the_tree() {
    let database = MemoryDatabase::default();
    let expire = || database.expire();
    let mut race = Race {
        name: "races",
        database: Arc::new(database.clone()),
        objects: Objects::new(Arc::new(InMemory::new()), ""),
        term: LEASE,
        expire: Some(&expire),
        ledger: Ledger::default(),
        next: 0,
        counts: Counts::default(),
    };
    race.run(number("COUNTERSIGN_RACES").unwrap_or(500));
}

#[test]
fn r9_a_writer_held_up_past_its_lease_never_forks_the_tree_on_postgresql() {
    let Some(server) = Server::shared() else { return };
    let mut race = Race {
        name: "races",
        database: Arc::new(server.database()),
        objects: Objects::new(Arc::new(InMemory::new()), ""),
        term: Duration::from_millis(400),
        expire: None,
        ledger: Ledger::default(),
        next: 0,
        counts: Counts::default(),
    };
    race.run(number("COUNTERSIGN_RACES").unwrap_or(500).div_ceil(10));
}
