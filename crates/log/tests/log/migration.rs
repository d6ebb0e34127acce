//! Moving a log between stores.

use std::sync::Arc;

use countersign_crypto::Signer as _;
use countersign_log::fsck::check;
use countersign_log::storage::{Distributed, Files, LEASE, Objects, Storage};
use countersign_log::{Log, LogError, Options, freeze, migrate, migrate_retired};
use object_store::memory::InMemory;

use crate::support::database::MemoryDatabase;
use crate::support::sim::Fault;
use crate::support::wire::Wire;
use crate::support::{KEY, Ledger, append_all, clock, entry, open, options, params, runtime, signers};

struct Stores {
    local: Arc<dyn Storage>,
    distributed: Arc<dyn Storage>,
    store: Distributed,
    wire: Wire,
    _directory: tempfile::TempDir,
}

fn stores() -> Stores {
    let directory = tempfile::tempdir().unwrap();
    let wire = Wire::to(Arc::new(MemoryDatabase::default()));
    let objects = Objects::new(Arc::new(InMemory::new()), "");
    let store = Distributed::new("log", Arc::new(wire.clone()), &objects, LEASE);
    Stores {
        local: Arc::new(Files::new(directory.path())),
        distributed: Arc::new(store.clone()),
        store,
        wire,
        _directory: directory,
    }
}

fn small() -> Options {
    Options { segment_bytes: 20_000, ..options() }
}

/// Appends some entries; everything before them is there.
fn grow(storage: &Arc<dyn Storage>, numbers: std::ops::Range<u64>, ledger: &mut Ledger) {
    let log = open(storage, small()).unwrap();
    ledger.check(&log);
    runtime().block_on(async {
        for (number, result) in append_all(&log, numbers).await {
            ledger.acknowledge(number, &result.unwrap());
        }
        ledger.check(&log);
        log.shutdown().await;
    });
}

#[test]
fn a_log_moves_there_and_back_with_the_same_root_and_goes_on() {
    let Stores { local, distributed, .. } = &stores();
    let mut ledger = Ledger::default();
    Log::create_on(local.as_ref(), &params()).unwrap();
    grow(local, 0..700, &mut ledger);
    let mut next = 700;
    for (from, to) in [(local, distributed), (distributed, local), (local, distributed)] {
        let moved = migrate(from, to).unwrap();
        assert_eq!((moved.size, moved.root), *ledger.heads.last().unwrap());
        // Nobody signs on in the old store, nor makes a new log there.
        assert!(matches!(open(from, small()), Err(LogError::Moved { .. })));
        assert!(matches!(Log::create_on(from.as_ref(), &params()), Err(LogError::Exists { .. })));
        assert!(matches!(migrate(from, to), Err(LogError::Exists { .. })));
        grow(to, next..next + 300, &mut ledger);
        next += 300;
        // Nor does anybody make a second copy of the old state elsewhere.
        let other = stores();
        assert!(matches!(migrate(from, &other.distributed), Err(LogError::Moved { .. })));
        // Requests sent again are found, also those from before the move.
        let log = open(to, small()).unwrap();
        runtime().block_on(async {
            assert!(log.append(entry(next - 1)).await.unwrap().duplicate);
            log.shutdown().await;
        });
    }
}

#[test]
fn a_log_in_use_is_not_moved_and_none_is_overwritten() {
    let Stores { local, distributed, .. } = &stores();
    Log::create_on(local.as_ref(), &params()).unwrap();
    let log = open(local, small()).unwrap();
    assert!(matches!(migrate(local, distributed), Err(LogError::LockedBy { .. })));
    runtime().block_on(log.shutdown());
    Log::create_on(distributed.as_ref(), &params()).unwrap();
    assert!(matches!(migrate(local, distributed), Err(LogError::Exists { .. })));
    let log = open(distributed, small()).unwrap();
    assert!(matches!(migrate(local, distributed), Err(LogError::LockedBy { .. })));
    runtime().block_on(log.shutdown());
    // Nor is what is left of another log taken for one that was moved.
    let other = stores();
    other.local.replace("params", b"of another log").unwrap();
    runtime().block_on(open(local, small()).unwrap().shutdown());
    assert!(matches!(migrate(local, &other.local), Err(LogError::Exists { .. })));
    let empty = stores();
    assert!(matches!(migrate(&empty.distributed, local), Err(LogError::Exists { .. })));
    assert!(matches!(migrate(&empty.distributed, &empty.local), Err(LogError::NoLockRecord { .. })));
}

#[test]
fn a_move_cut_off_anywhere_is_taken_up_again_and_the_log_is_never_in_both_stores() {
    for fault in [Fault::NotDone, Fault::DoneButError] {
        for at in 0.. {
            let Stores { local, distributed, wire, .. } = &stores();
            let mut ledger = Ledger::default();
            Log::create_on(local.as_ref(), &params()).unwrap();
            grow(local, 0..300, &mut ledger);
            wire.fail_after(at, fault);
            let planned = wire.operations() + at;
            let well = migrate(local, distributed).is_ok();
            if well && wire.operations() <= planned {
                break;
            }
            let record = |storage: &Arc<dyn Storage>| storage.read("lock-record").unwrap().is_some();
            assert!(!(record(local) && record(distributed)), "{fault:?} at {at}");
            match migrate(local, distributed) {
                Ok(moved) => assert_eq!((moved.size, moved.root), *ledger.heads.last().unwrap()),
                // It was there already.
                Err(LogError::Exists { .. }) => assert!(record(distributed)),
                Err(other) => panic!("{fault:?} at {at}: {other}"),
            }
            grow(distributed, 300..310, &mut ledger);
        }
    }
}

/// What was rotated out comes back with every file by which it is read, and is never in two stores.
#[test]
fn a_log_that_was_rotated_out_moves_to_files_and_the_move_can_be_cut_off_anywhere() {
    for fault in [Fault::NotDone, Fault::DoneButError] {
        for at in 0.. {
            let Stores { local, distributed, store, wire, .. } = &stores();
            let mut ledger = Ledger::default();
            Log::create_on(distributed.as_ref(), &params()).unwrap();
            grow(distributed, 0..300, &mut ledger);
            assert!(matches!(migrate_retired(distributed, local), Err(LogError::NoLockRecord { .. })));
            let frozen = freeze(store, &small(), &signers(), &(clock() as _), "log-2").unwrap();
            wire.fail_after(at, fault);
            let planned = wire.operations() + at;
            let well = migrate_retired(distributed, local).is_ok();
            if well && wire.operations() <= planned {
                break;
            }
            let here = local.read("lock-record").unwrap().is_some();
            let there = distributed.read("lock-record.frozen").unwrap().is_some();
            assert!(!(here && there), "{fault:?} at {at}");
            if !here {
                let moved = migrate_retired(distributed, local).unwrap();
                assert_eq!((moved.size, moved.root), (frozen.size, frozen.root));
            }
            // To be read as it lies, and opened like any other.
            let report = check(local.as_ref(), KEY.public_key(), None).unwrap();
            assert!(report.size == 301 && report.findings.is_empty(), "{:?}", report.findings);
            let log = open(local, small()).unwrap();
            ledger.check(&log);
            runtime().block_on(log.shutdown());
            assert!(matches!(open(distributed, small()), Err(LogError::Moved { .. })));
        }
    }
}
