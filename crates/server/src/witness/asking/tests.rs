//! Processes that serve one log ask one witness: each of them sees what it cosigned for another.

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{KeyPair, KeyType, sha256};
use countersign_keys::PasswordSource;
use countersign_log::storage::database::Database;
use countersign_log::storage::{Distributed, LEASE, Objects};
use countersign_log::{Format, LogParams, NewEntry, Options, Receipt};
use countersign_tlog::{NoteSigner, Witnesses};
use object_store::memory::InMemory;

use super::*;
use crate::witness::{Witness, WitnessSection, WitnessedLog};

#[path = "../../../../log/tests/log/support/database.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests of the log, which need more of it")]
mod database;

const ORIGIN: &str = "log.test";
const NAME: &str = "w.test";

/// A log past one machine, and a witness of it.
struct Bench {
    key: Arc<KeyPair>,
    database: Arc<dyn Database>,
    objects: Objects,
    witness: AskedWitness,
    witnesses: Witnesses,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let key = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
        let log = NoteSigner::rekor_v2(ORIGIN, key.clone()).unwrap().verifier().published().unwrap();
        let logs = vec![WitnessedLog { origin: ORIGIN.into(), key: log }];
        let section = WitnessSection { name: NAME.into(), key: None, logs };
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("keys")).unwrap();
        let password = PasswordSource::Literal("secret".to_owned().into());
        let witness = Arc::new(Witness::open(directory.path(), &section, &password).unwrap());
        let published = witness.signer.verifier().published().unwrap();
        let answer = move |request: http::Request<Body>| {
            crate::faces::witness::answer(Arc::clone(&witness), SystemClock.now(), request)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().route("/add-checkpoint", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let bench = Self {
            key,
            database: Arc::new(database::MemoryDatabase::default()),
            objects: Objects::new(Arc::new(InMemory::new()), ""),
            witnesses: Witnesses::parse(&published).unwrap(),
            witness: AskedWitness { url, key: published },
            directory,
        };
        let params =
            LogParams { origin: ORIGIN.into(), format: Format::Rekor, genesis: b"genesis".to_vec().into() };
        let storage = bench.storage();
        tokio::task::spawn_blocking(move || Log::create_on(&storage, &params).unwrap()).await.unwrap();
        bench
    }

    fn storage(&self) -> Distributed {
        Distributed::new("log", Arc::clone(&self.database), &self.objects, LEASE)
    }

    /// A process that serves the log.
    fn front_end(&self) -> Log {
        let options = Options { linger: Duration::ZERO, reserve_bytes: 0, ..Options::default() };
        Log::join(&self.storage(), options, vec![self.key.clone()], Arc::new(SystemClock)).unwrap()
    }

    /// Who asks the witness in such a process.
    fn asking(&self, log: &Log, shared: bool) -> Arc<Asking> {
        let section =
            LogSection { witnesses: vec![self.witness.clone()], min_witnesses: 1, ..LogSection::default() };
        Asking::new(self.directory.path(), &section, log, shared).unwrap().unwrap()
    }

    /// The checkpoint has the witness's cosignature.
    fn is_good(&self, cosigned: &Head) {
        let note = Note::parse(cosigned.checkpoint.as_bytes()).unwrap();
        assert_eq!(self.witnesses.cosigners(&note, SystemClock.now()).unwrap().len(), 1);
    }
}

async fn append(log: &Log, number: u64) -> Receipt {
    let leaf = number.to_be_bytes().to_vec();
    log.append(NewEntry { dedup_key: sha256(&leaf), leaf: Box::new(|_| leaf.into()) }).await.unwrap()
}

/// Whether its only witness is left alone for a while.
fn left_alone(asking: &Asking) -> bool {
    held(&asking.witnesses[0].away).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_behind_another_asks_again_when_it_has_read_the_larger_tree() {
    let bench = Bench::new().await;
    let (one, two) = (bench.front_end(), bench.front_end());
    let (by_one, by_two) = (bench.asking(&one, true), bench.asking(&two, true));
    append(&two, 1).await;
    let before = two.head();
    append(&one, 2).await;
    assert_eq!(by_one.round(&one.head()).await, Round::Enough);
    // The other has not read that yet: no cosignature, and nobody is to blame.
    assert_eq!(by_two.round(&before).await, Round::Overtaken);
    assert!(by_two.newest().is_none() && !left_alone(&by_two));
    // A log that nobody else serves would be an old copy of itself.
    let alone = bench.asking(&two, false);
    assert_eq!(alone.round(&before).await, Round::TooFew);
    assert!(alone.newest().is_none() && left_alone(&alone));
    // Now it has, and the witness takes the next tree from it, and then from the first again.
    let receipt = append(&two, 3).await;
    assert_eq!(by_two.round(&two.head()).await, Round::Enough);
    let cosigned = by_two.newest().unwrap();
    assert!(cosigned.size >= receipt.tree_size);
    bench.is_good(&cosigned);
    append(&one, 4).await;
    assert_eq!(by_one.round(&one.head()).await, Round::Enough);
    bench.is_good(&by_one.newest().unwrap());
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_through_several_processes_at_once_all_get_their_cosignature() {
    let bench = Bench::new().await;
    let logs = [bench.front_end(), bench.front_end(), bench.front_end()];
    let all = logs.each_ref().map(|log| bench.asking(log, true));
    let running = all.each_ref().map(|asking| tokio::spawn(Arc::clone(asking).run()));
    // Nothing goes through the last one.
    let [one, two, reader] = &all;
    let mut largest = 0;
    for number in 0..10 {
        let cosigned = async |log: &Log, asking: &Asking, number| {
            let receipt = append(log, number).await;
            let cosigned = asking.cosigned(receipt.tree_size).await.unwrap();
            assert!(cosigned.size >= receipt.tree_size && cosigned.size > receipt.index);
            bench.is_good(&cosigned);
            receipt.tree_size
        };
        let (a, b) =
            tokio::join!(cosigned(&logs[0], one, 2 * number), cosigned(&logs[1], two, 2 * number + 1));
        largest = largest.max(a).max(b);
    }
    assert_eq!(largest, 21, "with the log's own first entry");
    let mut newest = reader.newest.subscribe();
    let follows = newest.wait_for(|newest| newest.as_ref().is_some_and(|found| found.size >= largest));
    let cosigned = tokio::time::timeout(Duration::from_secs(60), follows).await.unwrap().unwrap().clone();
    bench.is_good(&cosigned.unwrap());
    running.iter().for_each(tokio::task::JoinHandle::abort);
    for log in &logs {
        log.shutdown().await;
    }
}
