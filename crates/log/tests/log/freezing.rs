//! A log past one machine that is rotated out under those who serve it: it ends with what was acknowledged, nobody appends
//! to it any more, and it stays readable.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::sha256;
use countersign_log::storage::{Distributed, LEASE, Storage};
use countersign_log::{AppendError, Frozen, Log, LogError, freeze, migrate, thaw};

use crate::past_one_machine::{World, small};
use crate::search::until;
use crate::support::sim::Fault;
use crate::support::{Ledger, append_all, clock, entry, leaf, open, options, params, runtime, signers};

fn end(storage: &Distributed, successor: &str) -> Result<Frozen, LogError> {
    freeze(storage, &small(), &signers(), &(clock() as _), successor)
}

fn record(world: &World) -> bool {
    world.store(&world.wire(), LEASE).read("lock-record").unwrap().is_some()
}

#[test]
fn a_log_ends_with_all_that_was_acknowledged_and_whoever_writes_on_is_told() {
    let world = World::new();
    let fronts = [world.join(small()).0, world.join(small()).0];
    let mut ledger = Ledger::default();
    runtime().block_on(async {
        for (number, result) in append_all(&fronts[0], 0..300).await {
            ledger.acknowledge(number, &result.unwrap());
        }
        let writers: Vec<_> = (0..8_u64)
            .map(|writer| {
                let log = fronts[usize::try_from(writer).unwrap() % 2].clone();
                tokio::spawn(async move {
                    let mut written = Vec::new();
                    for number in 1000 * (writer + 1).. {
                        match log.append(entry(number)).await {
                            Ok(receipt) => written.push((number, receipt)),
                            Err(AppendError::RotatedOut) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    written
                })
            })
            .collect();
        let storage = world.store(&world.wire(), LEASE);
        let frozen = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(300));
            end(&storage, "log-2").unwrap()
        });
        for writer in writers {
            for (number, receipt) in writer.await.unwrap() {
                ledger.acknowledge(number, &receipt);
            }
        }
        let frozen = frozen.await.unwrap();
        assert_eq!(
            frozen.size,
            ledger.entries.len() as u64 + 1,
            "what was acknowledged, and the first entry"
        );
        assert!(frozen.size > 301, "they were writing");
        for log in &fronts {
            until(|| log.is_rotated_out() && log.head().size == frozen.size);
            assert_eq!(log.append(entry(1)).await, Err(AppendError::RotatedOut));
            assert_eq!(*log.failed().borrow(), None, "nothing went wrong");
            ledger.check(log);
        }
        assert_eq!(world.database.queued(), 0, "nothing waits for nobody");
        // A server that begins only now, with what it knew.
        let (late, wire) = world.join(small());
        assert!(late.is_rotated_out());
        assert_eq!(late.append(entry(1)).await, Err(AppendError::RotatedOut));
        ledger.check(&late);

        // It does not open, is not made anew, moved away, or ended twice.
        let storage = world.store(&wire, LEASE);
        let files: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut error = LogError::Params(String::new());
        // Whoever would have taken its lease finds out a moment later, too.
        until(|| {
            error = open(&files, small()).unwrap_err();
            !matches!(error, LogError::LockedBy { .. })
        });
        assert!(matches!(&error, LogError::Frozen { successor } if successor == "log-2"), "{error}");
        let told = error.to_string();
        assert!(told.contains("log-2") && told.contains("Copy the instance's directory"), "{told}");
        assert!(matches!(Log::create_on(&storage, &params()), Err(LogError::Exists { .. })), "it was there");
        let other = World::empty();
        let elsewhere: Arc<dyn Storage> = Arc::new(other.store(&other.wire(), LEASE));
        assert!(matches!(migrate(&files, &elsewhere), Err(LogError::Frozen { .. })));
        let again = [end(&storage, "log-2"), end(&storage, "log-3")];
        assert_eq!(*again[0].as_ref().unwrap(), frozen);
        assert!(matches!(&again[1], Err(LogError::Frozen { successor }) if successor == "log-2"));

        // Any number of processes read it, without a lease.
        let read = || Log::open_to_read(&files, small().key_of, signers()).unwrap();
        for log in [read(), read()] {
            assert_eq!((log.head().size, log.head().root), (frozen.size, frozen.root));
            ledger.check(&log);
            let (number, index) = ledger.entries[7];
            assert_eq!(log.find_key(&sha256(&leaf(number))).unwrap(), Some(index));
            assert_eq!(log.append(entry(1)).await, Err(AppendError::RotatedOut));
            log.shutdown().await;
        }
        for log in fronts.iter().chain([&late]) {
            log.shutdown().await;
        }
    });
}

#[test]
fn what_was_undone_goes_on_everywhere() {
    let world = World::new();
    let (log, _) = world.join(small());
    let storage = world.store(&world.wire(), LEASE);
    let mut ledger = Ledger::default();
    runtime().block_on(async {
        ledger.acknowledge(0, &log.append(entry(0)).await.unwrap());
    });
    let frozen = end(&storage, "log-2").unwrap();
    until(|| log.is_rotated_out());
    // Only whoever did it undoes it.
    assert!(matches!(thaw(&storage, "log-3"), Err(LogError::Frozen { .. })));
    assert!(!record(&world));
    thaw(&storage, "log-2").unwrap();
    assert!(record(&world));
    until(|| !log.is_rotated_out());
    runtime().block_on(async {
        let next = log.append(entry(1)).await.unwrap();
        assert_eq!(next.index, frozen.size);
        ledger.acknowledge(1, &next);
        ledger.check(&log);
        log.shutdown().await;
    });
    // There is nothing to undo, and nothing happens.
    thaw(&storage, "log-2").unwrap();
    assert!(record(&world));
}

#[test]
fn who_sequenced_it_and_was_held_up_changes_nothing_when_it_goes_on() {
    let mut tried = 0;
    // At each of the first operations of a commit, and after it.
    for at in 0..12 {
        let world = World::new();
        let (log, wire) = world.join(small());
        let mut ledger = Ledger::default();
        runtime().block_on(async {
            ledger.acknowledge(0, &log.append(entry(0)).await.unwrap());
            wire.hold_after(at);
            let append = tokio::spawn({
                let log = log.clone();
                async move { log.append(entry(1)).await }
            });
            let (waits, storage) = (wire.clone(), world.store(&world.wire(), LEASE));
            let frozen = tokio::task::spawn_blocking(move || {
                waits.wait_held(Duration::from_secs(60)).then(|| end(&storage, "log-2").unwrap())
            });
            let frozen = frozen.await.unwrap().unwrap();
            wire.release();
            let told = append.await.unwrap();
            match &told {
                Ok(receipt) => ledger.acknowledge(1, receipt),
                Err(error) => assert_eq!(*error, AppendError::RotatedOut, "at {at}"),
            }
            until(|| log.is_rotated_out() && log.head().size == frozen.size);
            assert!(!record(&world), "at {at}");
            ledger.check(&log);
            let read: Arc<dyn Storage> = Arc::new(world.store(&world.wire(), LEASE));
            let read = Log::open_to_read(&read, None, signers()).unwrap();
            assert_eq!((read.head().size, read.head().root), (frozen.size, frozen.root), "at {at}");
            ledger.check(&read);
            tried += 1;
            log.shutdown().await;
        });
    }
    assert_eq!(tried, 12);
}

/// Every operation on the database fails once, before and after it took effect, and the same command ends it.
#[test]
fn an_end_that_is_cut_off_anywhere_is_taken_up_again_or_undone() {
    for fault in [Fault::NotDone, Fault::DoneButError] {
        for (at, undo) in (0..).flat_map(|at| [(at, false), (at, true)]) {
            let world = World::new();
            let mut ledger = Ledger::default();
            let files: Arc<dyn Storage> = Arc::new(world.store(&world.wire(), LEASE));
            let grow = |numbers: std::ops::Range<u64>, ledger: &mut Ledger| {
                let log = open(&files, options()).unwrap();
                runtime().block_on(async {
                    for (number, result) in append_all(&log, numbers).await {
                        ledger.acknowledge(number, &result.unwrap());
                    }
                    log.shutdown().await;
                });
            };
            grow(0..300, &mut ledger);
            let wire = world.wire();
            let storage = world.store(&wire, LEASE);
            wire.fail_after(at, fault);
            let planned = wire.operations() + at;
            let well = end(&storage, "log-2").is_ok();
            if well && wire.operations() <= planned {
                assert!(at > 10, "{at}");
                break;
            }
            if undo {
                thaw(&storage, "log-2").unwrap();
                grow(300..310, &mut ledger);
            }
            let frozen = end(&storage, "log-2").unwrap();
            assert!(!record(&world), "{fault:?} at {at}");
            assert_eq!(frozen.size, if undo { 311 } else { 301 });
            ledger.check(&Log::open_to_read(&files, None, signers()).unwrap());
        }
    }
}
