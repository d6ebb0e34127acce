//! Power cuts, failing operations and full disks, on a simulated disk: whatever happens, what was acknowledged
//! is in the log, and the log never signs a tree that does not continue the one before. One thing at a time; see the
//! simulator for everything at once.

use std::sync::Arc;

use crate::support::sim::{Fault, SimFs};
use crate::support::{Ledger, Random, append_all, open, options, params, runtime};
use countersign_log::storage::Storage;
use countersign_log::{AppendError, Log, LogError, Options};

fn storage(disk: &SimFs) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

fn new_log(disk: &SimFs) {
    Log::create_on(disk, &params()).unwrap();
}

/// Appends until something fails or all is in; says whether all went well.
fn append_until_failure(
    log: &Log,
    ledger: &mut Ledger,
    next: &mut u64,
    bursts: u64,
    random: &mut Random,
) -> bool {
    runtime().block_on(async {
        let mut well = true;
        for _ in 0..bursts {
            let burst = 1 + if random.below(4) == 0 { random.below(300) } else { random.below(4) };
            for (number, result) in append_all(log, *next..*next + burst).await {
                match result {
                    Ok(receipt) => ledger.acknowledge(number, &receipt),
                    Err(AppendError::Storage(_)) => well = false,
                    Err(other) => panic!("{other}"),
                }
            }
            *next += burst;
            if !well {
                break;
            }
        }
        log.shutdown().await;
        well
    })
}

/// R2, R4: every operation in turn fails once, in each way; the log stops, and opened again has everything.
#[test]
fn r4_every_operation_may_fail_and_nothing_acknowledged_is_lost() {
    for fault in
        [Fault::NotDone, Fault::DoneButError, Fault::FlushLost, Fault::PowerCut, Fault::PowerCutAfter]
    {
        for at in 0.. {
            let disk = SimFs::default();
            new_log(&disk);
            let (mut ledger, mut next) = (Ledger::default(), 0);
            let mut random = Random(7);
            // Enough for full tiles and several segments.
            let options = || Options { segment_bytes: 12_000, ..options() };
            disk.fail_after(at, fault);
            let planned = disk.operations() + at;
            let mut well = false;
            if let Ok(log) = open(&storage(&disk), options()) {
                well = append_until_failure(&log, &mut ledger, &mut next, 8, &mut random);
                if !well {
                    assert!(log.failed().borrow().is_some(), "it says that it failed");
                }
            }
            let reached = disk.operations() > planned;
            disk.heal();
            let reopen = |disk: &SimFs| {
                open(&storage(disk), options())
                    .unwrap_or_else(|error| panic!("{fault:?} at operation {at}: {error}"))
            };
            // As after a power cut, then as a new process finds it.
            let log = reopen(&disk.after_power_cut(&mut random));
            ledger.check(&log);
            runtime().block_on(log.shutdown());
            let log = reopen(&disk);
            ledger.check(&log);
            // What the new process has shown, and what it acknowledges, must survive a power cut in its turn.
            ledger.see(&log);
            if at % 2 == 0 {
                assert!(append_until_failure(&log, &mut ledger, &mut next, 3, &mut random));
            } else {
                runtime().block_on(log.shutdown());
            }
            let log = reopen(&disk.after_power_cut(&mut random));
            ledger.check(&log);
            runtime().block_on(log.shutdown());
            if !reached {
                assert!(well);
                println!("{fault:?}: {at} operations failed in turn");
                assert!(at > 60);
                break;
            }
        }
    }
}

/// R4: a tile whose flush failed can be read until the power is cut. It is written anew before the write-ahead file
/// that covers it goes.
#[test]
fn r4_a_tile_whose_flush_was_lost_is_written_anew() {
    let disk = SimFs::default();
    new_log(&disk);
    let mut ledger = Ledger::default();
    let small = || Options { segment_bytes: 12_000, ..options() };
    let log = open(&storage(&disk), small()).unwrap();
    disk.lose_flush("tile/0/000");
    runtime().block_on(async {
        for (number, result) in append_all(&log, 0..300).await {
            ledger.acknowledge(number, &result.unwrap());
        }
        log.shutdown().await;
    });
    assert!(log.failed().borrow().as_deref().is_some_and(|reason| reason.contains("flushing tiles")));
    let log = open(&storage(&disk), small()).unwrap();
    runtime().block_on(async {
        for (number, result) in append_all(&log, 300..301).await {
            ledger.acknowledge(number, &result.unwrap());
        }
        log.shutdown().await;
    });
    assert!(disk.read("wal/00000000000000000000").unwrap().is_none(), "the tile is said to be durable");
    let log = open(&storage(&disk.after_power_cut(&mut Random(1))), small()).unwrap();
    ledger.check(&log);
    runtime().block_on(log.shutdown());
}

/// R5: wherever the disk fills up, appends are refused, reading goes on, and appends resume with the space.
#[test]
fn r5_a_full_disk_refuses_appends_and_recovers() {
    let mut refused = 0;
    for spare in (0..60_000).step_by(1777) {
        let disk = SimFs::default();
        new_log(&disk);
        let options = || Options { segment_bytes: 12_000, reserve_bytes: 40_000, ..options() };
        let log = open(&storage(&disk), options()).unwrap();
        disk.set_capacity(Some(disk.used() + spare));
        let (mut ledger, mut next) = (Ledger::default(), 0);
        runtime().block_on(async {
            loop {
                let results = append_all(&log, next..next + 50).await;
                next += 50;
                let full = results.iter().any(|(_, r)| r == &Err(AppendError::Full));
                for (number, result) in results {
                    match result {
                        Ok(receipt) => ledger.acknowledge(number, &receipt),
                        Err(error) => assert_eq!(error, AppendError::Full),
                    }
                }
                if full {
                    break;
                }
            }
            refused += 1;
            assert!(log.failed().borrow().is_none(), "a full disk is not a failed one");
            ledger.check(&log);
            disk.set_capacity(None);
            for (number, result) in append_all(&log, next..next + 300).await {
                ledger.acknowledge(number, &result.unwrap());
            }
            ledger.check(&log);
            log.shutdown().await;
        });
        let log = open(&storage(&disk), options()).unwrap();
        ledger.check(&log);
        runtime().block_on(log.shutdown());
    }
    println!("{refused} full disks");
}

/// R9: a second writer that got past the lock is found at the commit; nothing is forked.
#[test]
fn r9_a_second_writer_stops_at_the_lock_record() {
    let disk = SimFs::default();
    new_log(&disk);
    let log = open(&storage(&disk), options()).unwrap();
    assert!(matches!(open(&storage(&disk), options()), Err(LogError::LockedBy { .. })));
    // The record is not as this writer left it.
    let older = disk.read("lock-record").unwrap().unwrap();
    runtime().block_on(async {
        append_all(&log, 0..1).await.pop().unwrap().1.unwrap();
        let mut file = disk.open("lock-record").unwrap();
        file.write_at(0, &older).unwrap();
        let error = append_all(&log, 1..2).await.pop().unwrap().1.unwrap_err();
        assert!(
            matches!(&error, AppendError::Storage(reason) if reason.contains("another writer")),
            "{error}"
        );
        assert!(log.failed().borrow().is_some());
        log.shutdown().await;
    });
}
