//! A log that several processes serve, each standing in a wire of its own to one database in memory.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::sha256;
use countersign_log::storage::{Distributed, LEASE, Objects, Storage};
use countersign_log::{AppendError, Format, Leaf, Log, LogError, LogParams, NewEntry, Options};
use countersign_tlog::static_ct::{CtEntry, TileLeaf, leaf_index_extension};
use object_store::memory::InMemory;

use crate::search::{check, search, until};
use crate::support::database::MemoryDatabase;
use crate::support::sim::Fault;
use crate::support::wire::Wire;
use crate::support::{
    Ledger, Random, append_all, clock, entry, leaf, open, options, params, runtime, signers,
};

/// The database and the object store, and the way to them for each process.
pub struct World {
    pub database: MemoryDatabase,
    objects: Objects,
}

impl World {
    pub fn new() -> Self {
        let world = Self::empty();
        Log::create_on(&world.store(&world.wire(), LEASE), &params()).unwrap();
        world
    }

    pub fn empty() -> Self {
        Self { database: MemoryDatabase::default(), objects: Objects::new(Arc::new(InMemory::new()), "logs") }
    }

    pub fn wire(&self) -> Wire {
        Wire::to(Arc::new(self.database.clone()))
    }

    pub fn store(&self, wire: &Wire, term: Duration) -> Distributed {
        Distributed::new("log", Arc::new(wire.clone()), &self.objects, term)
    }

    /// A process that serves the log, and its wire.
    pub fn join(&self, options: Options) -> (Log, Wire) {
        self.join_for(options, LEASE)
    }

    pub fn join_for(&self, options: Options, term: Duration) -> (Log, Wire) {
        let wire = self.wire();
        (Log::join(&self.store(&wire, term), options, signers(), clock()).unwrap(), wire)
    }
}

pub fn small() -> Options {
    Options { segment_bytes: 20_000, key_of: Some(Arc::new(|stored: &[u8]| sha256(stored))), ..options() }
}

#[test]
fn a_duplicate_that_the_queue_names_is_handed_out_only_if_it_is_one() {
    let world = World::new();
    // Whoever sequences keeps keys which nothing vouches for.
    let (sequences, _) = world.join(Options { key_of: None, ..small() });
    let (asks, _) = world.join(small());
    let append = |log: &Log, leaf: &'static [u8]| {
        let log = log.clone();
        let entry = NewEntry { dedup_key: sha256(b"mine"), leaf: Box::new(move |_| leaf.to_vec().into()) };
        async move { log.append(entry).await }
    };
    runtime().block_on(async {
        append(&sequences, b"somebody else's").await.unwrap();
        let refused = append(&asks, b"mine").await;
        assert!(
            matches!(&refused, Err(AppendError::Storage(why)) if why.contains("is another")),
            "{refused:?}"
        );
        asks.shutdown().await;
        sequences.shutdown().await;
    });
}

#[test]
fn front_ends_share_one_tree_and_prove_what_they_acknowledge() {
    let world = World::new();
    let (one, _) = world.join(small());
    let (two, _) = world.join(small());
    let mut ledger = Ledger::default();
    runtime().block_on(async {
        for start in (0..1200).step_by(300) {
            let (a, b) = tokio::join!(
                append_all(&one, start..start + 150),
                append_all(&two, start + 150..start + 300)
            );
            for (number, result) in a.into_iter().chain(b) {
                let receipt = result.unwrap();
                assert!(!receipt.duplicate);
                ledger.acknowledge(number, &receipt);
            }
        }
        // Each entry once, whichever front end it is sent to again.
        for (log, number) in [(&two, 7), (&one, 7), (&one, 299), (&two, 600)] {
            let again = log.append(entry(number)).await.unwrap();
            assert!(again.duplicate);
            ledger.acknowledge(number, &again);
        }
        for log in [&one, &two] {
            // The other's newest tree is looked at when somebody got an answer, or every second.
            while log.head().size < 1201 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(log.head().size, 1201);
            ledger.check(log);
            for number in [0, 700, 1199] {
                let index = log.append(entry(number)).await.unwrap().index;
                assert_eq!(log.find_key(&sha256(&leaf(number))).unwrap(), Some(index));
            }
            assert_eq!(log.find_key(&sha256(b"another")).unwrap(), None);
            let absent = log.read("tile/0/005").unwrap();
            assert_eq!(absent, None);
            assert_eq!(log.read("checkpoint").unwrap().unwrap(), log.head().checkpoint.as_bytes());
        }
        let mut indexes: Vec<_> = ledger.entries.iter().map(|(_, index)| *index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), 1200, "no index twice");
        one.shutdown().await;
        two.shutdown().await;
    });
    assert_eq!(world.database.queued(), 0, "nothing is left in the queue");
}

#[test]
fn front_ends_prove_what_the_index_of_the_one_that_sequences_says() {
    prove_each_others([0, 1]);
}

#[test]
fn so_do_processes_with_one_index_in_one_directory() {
    prove_each_others([0, 0]);
}

/// Two processes with their indexes in these of two directories.
fn prove_each_others(places: [usize; 2]) {
    let world = World::new();
    let (directories, logs) =
        ([(); 2].map(|()| tempfile::tempdir().unwrap()), [(); 2].map(|()| world.join(small()).0));
    let [one, two] = [0, 1].map(|at| search(directories[places[at]].path(), &logs[at], "1"));
    let mut proven = 0;
    for round in 0..40 {
        runtime().block_on(async {
            for number in 0..5 {
                logs[round % 2].append(entry(round as u64 * 5 + number)).await.unwrap();
            }
        });
        for (log, index) in logs.iter().zip([&one, &two]) {
            // Neither makes the maps of the same sizes as the other, and one of them signs.
            let mut answer = None;
            until(|| {
                answer = index.answer("tenth:3", None, 100).unwrap();
                answer.is_some()
            });
            let answer = answer.unwrap();
            if answer.index.is_some() {
                check(log, "tenth:3", &answer);
                proven += 1;
            }
        }
        let size = logs[round % 2].head().size;
        until(|| one.known() >= size && two.known() >= size);
    }
    assert!(proven > 40, "{proven}");
    drop((one, two));
    runtime().block_on(async { tokio::join!(logs[0].shutdown(), logs[1].shutdown()) });
}

/// R26: the same request, sent to two front ends at once.
#[test]
fn r26_duplicates_at_several_front_ends_are_one_entry() {
    let world = World::new();
    let (one, _) = world.join(small());
    let (two, _) = world.join(small());
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for log in [&one, &two].into_iter().cycle().take(200) {
            let log = log.clone();
            tasks.spawn(async move { log.append(entry(7)).await.unwrap() });
        }
        let receipts = tasks.join_all().await;
        assert!(receipts.iter().all(|r| r.index == 1));
        assert_eq!(receipts.iter().filter(|r| !r.duplicate).count(), 1);
        one.shutdown().await;
        two.shutdown().await;
    });
}

#[test]
fn entries_that_are_none_are_refused_where_they_come_in() {
    let world = World::new();
    let (log, _) = world.join(small());
    runtime().block_on(async {
        let panics = NewEntry { dedup_key: [1; 32], leaf: Box::new(|_| panic!("deliberate")) };
        let long = NewEntry { dedup_key: [2; 32], leaf: Box::new(|_| vec![0; 70_000].into()) };
        for bad in [panics, long] {
            assert!(matches!(log.append(bad).await, Err(AppendError::InvalidLeaf(_))));
        }
        assert_eq!(log.append(entry(1)).await.unwrap().index, 1);
        log.shutdown().await;
        assert_eq!(log.append(entry(2)).await, Err(AppendError::ShuttingDown));
    });
}

#[test]
fn leaves_of_static_ct_have_their_index_whoever_makes_them() {
    let world = World::empty();
    let make = |number: u64, with_index: bool| {
        move |index: u64| {
            let leaf = TileLeaf {
                timestamp_ms: 1_750_000_000_000,
                entry: CtEntry::X509 { certificate: format!("certificate {number}").into_bytes() },
                extensions: if with_index {
                    leaf_index_extension(index).unwrap().to_vec()
                } else {
                    Vec::new()
                },
                chain: vec![[5; 32]],
            };
            Leaf { merkle_leaf: leaf.merkle_leaf().unwrap(), stored: leaf.encode().unwrap() }
        }
    };
    let params =
        LogParams { origin: "ct.example".into(), format: Format::StaticCt, genesis: make(0, true)(0) };
    Log::create_on(&world.store(&world.wire(), LEASE), &params).unwrap();
    let (one, _) = world.join(options());
    let (two, _) = world.join(options());
    runtime().block_on(async {
        for number in 1..40_u64 {
            let log = if number % 2 == 0 { &one } else { &two };
            let with_index = number % 3 != 0;
            let new = NewEntry {
                dedup_key: sha256(&number.to_be_bytes()),
                leaf: Box::new(make(number, with_index)),
            };
            let receipt = log.append(new).await.unwrap();
            let (leaf, _) = TileLeaf::parse(&receipt.leaf).unwrap();
            assert_eq!(leaf.leaf_index(), with_index.then_some(receipt.index));
            assert_eq!(leaf.entry, TileLeaf::parse(&make(number, false)(0).stored).unwrap().0.entry);
            assert_eq!(log.entry(receipt.index).unwrap(), receipt.leaf);
        }
        one.shutdown().await;
        two.shutdown().await;
    });
}

#[test]
fn another_takes_over_when_the_holder_is_killed_and_nothing_acknowledged_is_lost() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let mut next = 0;
    let term = Duration::from_millis(500);
    let (mut holder, mut wire) = world.join_for(small(), term);
    runtime().block_on(async {
        for _ in 0..4 {
            let mut take = async |log: &Log, next: &mut u64| {
                for (number, result) in append_all(log, *next..*next + 50).await {
                    ledger.acknowledge(number, &result.unwrap());
                }
                *next += 50;
            };
            take(&holder, &mut next).await;
            let (other, other_wire) = world.join_for(small(), term);
            take(&other, &mut next).await;
            wire.cut();
            take(&other, &mut next).await;
            ledger.check(&other);
            (holder, wire) = (other, other_wire);
        }
        holder.shutdown().await;
    });
}

#[test]
fn what_the_database_loses_of_the_queue_is_put_there_again() {
    let world = World::new();
    let (log, wire) = world.join(small());
    runtime().block_on(async {
        log.append(entry(1)).await.unwrap();
        // Held up before it reads the queue the next time, or puts the entry there.
        let append = tokio::spawn({
            let log = log.clone();
            async move { log.append(entry(2)).await }
        });
        tokio::task::yield_now().await;
        wire.hold_after(0);
        assert!(wire.wait_held(Duration::from_secs(60)));
        world.database.lose_queue();
        wire.release();
        assert_eq!(append.await.unwrap().unwrap().index, 2);
        log.shutdown().await;
    });
}

/// R4: every operation on the database fails once, in each way, or the process dies there.
#[test]
fn r4_every_operation_on_the_database_may_fail_and_nothing_acknowledged_is_lost() {
    let mut runs = 0;
    for fault in [Fault::NotDone, Fault::DoneButError, Fault::PowerCut, Fault::PowerCutAfter] {
        for at in 0.. {
            let world = World::new();
            let wire = world.wire();
            let storage = |wire: &Wire| -> Arc<dyn Storage> { Arc::new(world.store(wire, LEASE)) };
            let options = || Options { segment_bytes: 12_000, reserve_bytes: 0, ..options() };
            wire.fail_after(at, fault);
            let planned = wire.operations() + at;
            let (mut ledger, mut next, mut random) = (Ledger::default(), 0, Random(7));
            let mut well = false;
            if let Ok(log) = open(&storage(&wire), options()) {
                well = true;
                runtime().block_on(async {
                    for _ in 0..8 {
                        let burst =
                            1 + if random.below(4) == 0 { random.below(300) } else { random.below(4) };
                        for (number, result) in append_all(&log, next..next + burst).await {
                            match result {
                                Ok(receipt) => ledger.acknowledge(number, &receipt),
                                Err(AppendError::Storage(_)) => well = false,
                                Err(other) => panic!("{other}"),
                            }
                        }
                        next += burst;
                    }
                    log.shutdown().await;
                });
            }
            world.database.expire();
            let log = open(&storage(&world.wire()), options()).unwrap();
            ledger.check(&log);
            runtime().block_on(async {
                for (number, result) in append_all(&log, next..next + 3).await {
                    ledger.acknowledge(number, &result.unwrap());
                }
                ledger.check(&log);
                log.shutdown().await;
            });
            runs += 1;
            if well && wire.operations() < planned {
                break;
            }
        }
    }
    println!("{runs} failures of the database, 0 entries lost");
    assert!(runs > 100);
}

/// R8: the database was restored from an old backup, or a standby that was behind became the primary.
#[test]
fn r8_a_database_that_lost_commits_is_never_signed_upon() {
    for grown in [11..12, 11..30, 11..400_u64] {
        let world = World::new();
        let storage: Arc<dyn Storage> = Arc::new(world.store(&world.wire(), LEASE));
        let grow = |numbers| {
            let log = open(&storage, options()).unwrap();
            runtime().block_on(async {
                append_all(&log, numbers).await;
                log.shutdown().await;
            });
        };
        grow(0..11);
        let old = world.database.snapshot();
        grow(grown.clone());
        let new = world.database.snapshot();
        world.database.restore(&old);
        let error = open(&storage, options()).unwrap_err().to_string();
        assert!(error.contains("nothing will be signed"), "{grown:?}: {error}");
        // With everything as it was it opens.
        world.database.restore(&new);
        grow(5000..5001);
    }
}

#[test]
fn a_log_is_created_once_and_by_one() {
    let world = World::new();
    let store = world.store(&world.wire(), LEASE);
    assert!(matches!(Log::create_on(&store, &params()), Err(LogError::Exists { .. })));
    let (log, _) = world.join(options());
    runtime().block_on(async {
        log.append(entry(1)).await.unwrap();
        assert!(matches!(Log::create_on(&store, &params()), Err(LogError::LockedBy { .. })));
        log.shutdown().await;
    });
    let nobody = Distributed::new("none", Arc::new(world.database.clone()), &world.objects, LEASE);
    assert!(Log::join(&nobody, options(), signers(), clock()).is_err());
}
