//! What every database of a log must do: the one in memory, by which the rest is tested, and PostgreSQL.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use countersign_log::AppendError;
use countersign_log::storage::database::{Acquired, Change, Database, Event, Fence, Place, Request};

use crate::support::Random;
use crate::support::database::MemoryDatabase;
use crate::support::postgres::Server;

const LONG: Duration = Duration::from_secs(600);

fn token(acquired: Acquired) -> i64 {
    match acquired {
        Acquired::Lease { token } => token,
        Acquired::HeldBy(other) => panic!("held by {other}"),
    }
}

fn leases(database: &dyn Database) {
    let first = token(database.acquire("leases", "one", LONG).unwrap());
    assert_eq!(database.acquire("leases", "two", LONG).unwrap(), Acquired::HeldBy("one".into()));
    // Who has it already, by a process that forgot, gets another; the old token is worth nothing then.
    let again = token(database.acquire("leases", "one", LONG).unwrap());
    assert!(again > first);
    let (old, now) = (Fence { log: "leases", token: first }, Fence { log: "leases", token: again });
    assert!(!database.renew(old, LONG).unwrap());
    assert!(database.renew(now, LONG).unwrap());
    for change in [
        Change::Create,
        Change::Write { at: 0, bytes: b"x" },
        Change::SetLen(3),
        Change::Replace(b"x"),
        Change::Remove,
        Change::RemoveDirectory,
    ] {
        let error = database.change(old, "file", change).unwrap_err();
        assert!(error.to_string().contains("passed to another"), "{change:?}: {error}");
    }
    assert!(database.add_keys(old, &[([1; 32], 1)], 2).is_err());
    assert!(database.clear_keys(old).is_err());
    assert_eq!(database.read("leases", "file").unwrap(), None);
    database.release(old).unwrap();
    assert_eq!(database.acquire("leases", "two", LONG).unwrap(), Acquired::HeldBy("one".into()));
    database.release(now).unwrap();
    let two = token(database.acquire("leases", "two", Duration::ZERO).unwrap());
    assert!(two > again);
    // One that is over is anybody's, and until then still its holder's.
    assert!(database.renew(Fence { log: "leases", token: two }, Duration::ZERO).unwrap());
    let three = loop {
        if let Acquired::Lease { token } = database.acquire("leases", "three", LONG).unwrap() {
            break token;
        }
    };
    assert!(three > two);
    // Who must have it does not ask.
    let taken = database.take_over("leases", "four", LONG).unwrap();
    assert!(taken > three && !database.renew(Fence { log: "leases", token: three }, LONG).unwrap());
    let late = Fence { log: "leases", token: three };
    assert!(database.change(late, "file", Change::Replace(b"late")).is_err());
    assert!(database.renew(Fence { log: "leases", token: taken }, LONG).unwrap());
    assert_eq!(database.acquire("leases", "three", LONG).unwrap(), Acquired::HeldBy("four".into()));
    assert_eq!(database.take_over("leases-3", "five", LONG).unwrap(), 1, "nobody had it");
    // Other logs have their own.
    token(database.acquire("leases-2", "four", LONG).unwrap());
}

/// Random changes, compared with those of a vector.
fn files(database: &dyn Database) {
    let fence = Fence { log: "files", token: token(database.acquire("files", "me", LONG).unwrap()) };
    let read = |path: &str| database.read("files", path).unwrap();
    database.change(fence, "a", Change::Create).unwrap();
    assert_eq!(read("a").unwrap(), b"");
    assert_eq!(
        database.change(fence, "a", Change::Create).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    let (mut model, mut random) = (Vec::new(), Random(3));
    for step in 0..300 {
        let at = usize::try_from(random.below(60)).unwrap();
        match random.below(8) {
            0 => {
                model.resize(at, 0);
                database.change(fence, "a", Change::SetLen(at as u64)).unwrap();
            }
            1 if random.below(4) == 0 => {
                model = vec![7; at];
                database.change(fence, "a", Change::Replace(&model)).unwrap();
            }
            _ => {
                let bytes =
                    vec![u8::try_from(step % 251).unwrap(); usize::try_from(1 + random.below(30)).unwrap()];
                model.resize(model.len().max(at + bytes.len()), 0);
                model[at..at + bytes.len()].copy_from_slice(&bytes);
                database.change(fence, "a", Change::Write { at: at as u64, bytes: &bytes }).unwrap();
            }
        }
        assert_eq!(read("a").unwrap(), model, "step {step}");
    }
    for path in ["wal/1", "wal/2", "walrus", "a"] {
        database.change(fence, path, Change::Replace(path.as_bytes())).unwrap();
    }
    assert_eq!(database.paths("files").unwrap(), ["a", "wal/1", "wal/2", "walrus"]);
    database.change(fence, "wal", Change::RemoveDirectory).unwrap();
    database.change(fence, "a", Change::Remove).unwrap();
    database.change(fence, "none", Change::Remove).unwrap();
    assert_eq!(database.paths("files").unwrap(), ["walrus"]);
    assert_eq!((read("a"), database.read("other", "walrus").unwrap()), (None, None));
}

fn keys(database: &dyn Database) {
    let fence = Fence { log: "keys", token: token(database.acquire("keys", "me", LONG).unwrap()) };
    assert_eq!(database.keys_upto("keys").unwrap(), 0);
    database.add_keys(fence, &[([1; 32], 1), ([2; 32], 2), ([1; 32], 3)], 4).unwrap();
    database.add_keys(fence, &[([2; 32], 4)], 5).unwrap();
    database.add_keys(fence, &[], 6).unwrap();
    let found = database.find_keys("keys", &[[1; 32], [2; 32], [3; 32]]).unwrap();
    assert_eq!((found.len(), found[&[1; 32]], found[&[2; 32]]), (2, 1, 2), "the first index of each stays");
    assert_eq!((database.keys_upto("keys").unwrap(), database.keys_upto("other").unwrap()), (6, 0));
    assert!(database.find_keys("other", &[[1; 32]]).unwrap().is_empty());
    database.clear_keys(fence).unwrap();
    assert!(database.find_keys("keys", &[[1; 32]]).unwrap().is_empty());
    assert_eq!(database.keys_upto("keys").unwrap(), 0);
}

fn queue(database: &dyn Database) {
    let request = |n: u8| Request { id: [n; 16], key: [n; 32], form: vec![n; 5] };
    database.enqueue("queue", &[request(1), request(2)]).unwrap();
    database.enqueue("queue", &[request(2), request(3)]).unwrap();
    database.enqueue("other", &[request(9)]).unwrap();
    assert_eq!(database.waiting("queue", 10).unwrap(), [request(1), request(2), request(3)]);
    assert_eq!(database.waiting("queue", 1).unwrap(), [request(1)]);
    assert!(database.collect("queue", &[[1; 16], [2; 16]]).unwrap().is_empty());
    let place = Place { index: 77, duplicate: true };
    let refused = AppendError::InvalidLeaf("too long".into());
    let answers = [([1; 16], Ok(place)), ([2; 16], Err(refused.clone())), ([8; 16], Ok(place))];
    database.answer("queue", &answers).unwrap();
    // The first answer stays.
    database.answer("queue", &[([1; 16], Err(AppendError::Full))]).unwrap();
    assert_eq!(database.waiting("queue", 10).unwrap(), [request(3)]);
    database.enqueue("queue", &[request(1)]).unwrap();
    assert_eq!(
        database.waiting("queue", 10).unwrap(),
        [request(3)],
        "an answered one is not asked for again"
    );
    let mut collected = database.collect("queue", &[[1; 16], [2; 16], [3; 16]]).unwrap();
    collected.sort_by_key(|(id, _)| *id);
    assert_eq!(collected, [([1; 16], Ok(place)), ([2; 16], Err(refused))]);
    assert!(database.collect("queue", &[[1; 16]]).unwrap().is_empty(), "an answer is given once");
    database.answer("queue", &[([3; 16], Err(AppendError::Signing("gone".into())))]).unwrap();
    assert_eq!(
        database.collect("queue", &[[3; 16]]).unwrap(),
        [([3; 16], Err(AppendError::Signing("gone".into())))]
    );
    database.enqueue("queue", &[request(4), request(5)]).unwrap();
    database.withdraw("queue", &[[4; 16]]).unwrap();
    database.forget("queue", LONG).unwrap();
    assert_eq!(database.waiting("queue", 10).unwrap(), [request(5)]);
    database.forget("queue", Duration::ZERO).unwrap();
    assert!(database.waiting("queue", 10).unwrap().is_empty());
    assert_eq!(database.waiting("other", 10).unwrap(), [request(9)]);
}

/// Who listens is called when something happens.
fn notifications(database: &dyn Database) {
    let most = Duration::from_secs(30);
    let request = Request { id: [1; 16], key: [1; 32], form: Vec::new() };
    let place = Place { index: 1, duplicate: false };
    for event in [Event::Queued, Event::Answered] {
        let (calls, called) = mpsc::channel();
        database.listen("calls", event, Box::new(move || calls.send(()).unwrap()));
        let happen = || match event {
            Event::Queued => database.enqueue("calls", std::slice::from_ref(&request)).unwrap(),
            Event::Answered => database.answer("calls", &[([1; 16], Ok(place))]).unwrap(),
        };
        // It may take a moment until there is somebody who hears.
        let end = Instant::now() + most;
        while called.recv_timeout(Duration::from_millis(100)).is_err() {
            assert!(Instant::now() < end, "{event:?}: nobody was called");
            happen();
        }
        while called.recv_timeout(Duration::from_millis(300)).is_ok() {}
        happen();
        called.recv_timeout(most).unwrap();
    }
}

fn contract(database: &dyn Database) {
    leases(database);
    files(database);
    keys(database);
    queue(database);
    notifications(database);
}

#[test]
fn the_database_in_memory_keeps_the_contract() {
    contract(&MemoryDatabase::default());
}

#[test]
fn postgresql_keeps_the_contract() {
    let Some(server) = Server::shared() else { return };
    contract(&server.database());
}
