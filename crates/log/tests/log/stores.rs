//! The log on PostgreSQL and a server of the S3 kind, both real programs or stand-ins on loopback.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::sha256;
use countersign_log::storage::database::Database;
use countersign_log::storage::{Credentials, Distributed, LEASE, Objects, Storage};
use countersign_log::{Log, Options};
use zeroize::Zeroizing;

use crate::support::database::MemoryDatabase;
use crate::support::postgres::Server;
use crate::support::s3::{FakeS3, Trouble};
use crate::support::{Ledger, append_all, clock, entry, open, options, params, runtime, signers};

fn objects(server: &FakeS3) -> Objects {
    let credentials =
        Credentials { id: "tester".into(), secret: Zeroizing::new("not a secret".into()), token: None };
    Objects::s3(&server.url("logs"), Some(&credentials)).unwrap()
}

fn small() -> Options {
    Options {
        segment_bytes: 20_000,
        reserve_bytes: 0,
        key_of: Some(Arc::new(|stored: &[u8]| sha256(stored))),
        ..options()
    }
}

/// Two front ends, one after the other the holder; everything acknowledged is in the tree of both.
fn two_front_ends(database: &Arc<dyn Database>, objects: &Objects, name: &str) {
    let store = || Distributed::new(name, Arc::clone(database), objects, LEASE);
    Log::create_on(&store(), &params()).unwrap();
    let join = || Log::join(&store(), small(), signers(), clock()).unwrap();
    let (one, two) = (join(), join());
    let mut ledger = Ledger::default();
    runtime().block_on(async {
        for start in (0..600).step_by(200) {
            let (a, b) = tokio::join!(
                append_all(&one, start..start + 100),
                append_all(&two, start + 100..start + 200)
            );
            for (number, result) in a.into_iter().chain(b) {
                ledger.acknowledge(number, &result.unwrap());
            }
        }
        let again = two.append(entry(7)).await.unwrap();
        assert!(again.duplicate);
        ledger.acknowledge(7, &again);
        one.shutdown().await;
        let after = two.append(entry(1000)).await.unwrap();
        assert_eq!(after.index, 601);
        ledger.acknowledge(1000, &after);
        ledger.check(&two);
        two.shutdown().await;
    });
}

#[test]
fn front_ends_on_postgresql_and_s3_share_one_tree() {
    let Some(server) = Server::shared() else { return };
    let database: Arc<dyn Database> = Arc::new(server.database());
    let store = FakeS3::start();
    two_front_ends(&database, &objects(&store), "stores");
    let (requests, unsigned) = store.requests();
    assert!(requests > 10 && unsigned == 0, "{requests} requests, {unsigned} without a signature");
    assert!(store.keys().contains(&"logs/stores/tile/0/000".to_owned()), "{:?}", store.keys());
}

#[test]
fn an_object_store_that_fails_now_and_then_holds_nothing_up() {
    for trouble in [Trouble::Busy, Trouble::NoAnswer, Trouble::Slow(Duration::from_millis(20))] {
        let store = FakeS3::start();
        store.trouble(Some((5, trouble)));
        let database: Arc<dyn Database> = Arc::new(MemoryDatabase::default());
        two_front_ends(&database, &objects(&store), "troubled");
    }
}

#[test]
fn a_tile_changed_in_the_object_store_is_never_believed_nor_overwritten() {
    let (store, database) = (FakeS3::start(), MemoryDatabase::default());
    let objects = objects(&store);
    let storage: Arc<dyn Storage> = Arc::new(Distributed::new("log", Arc::new(database), &objects, LEASE));
    Log::create_on(storage.as_ref(), &params()).unwrap();
    let options = || Options { segment_bytes: 1 << 20, ..small() };
    let log = open(&storage, options()).unwrap();
    runtime().block_on(async {
        append_all(&log, 0..600).await;
        log.shutdown().await;
    });
    store.tamper("logs/log/tile/0/001", &[7; 8192]);
    let error = open(&storage, options()).unwrap_err().to_string();
    assert!(error.contains("another tile/0/001"), "{error}");
}
