//! What appending and reading give.

use std::sync::{Arc, mpsc};

use countersign_crypto::{CryptoError, Digest, KeyPair, KeyType, PublicKey, Scheme, Signer, sha256};
use countersign_log::{AppendError, Format, Leaf, Log, LogParams, NewEntry, Options};
use countersign_tlog::static_ct::{CtEntry, TileLeaf, leaf_index_extension};
use countersign_tlog::tile::{self, TileKind, TilePath};
use countersign_tlog::{Checkpoint, Note, NoteVerifier, merkle};

use crate::support::{KEY, Ledger, append_all, clock, entry, leaf, options, params, runtime, signers};

fn new_log(options: Options) -> (tempfile::TempDir, Log) {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let log = Log::open(directory.path(), options, signers(), clock()).unwrap();
    (directory, log)
}

#[test]
fn receipts_prove_their_entries_and_nobody_gets_index_0() {
    let (_directory, log) = new_log(options());
    let mut ledger = Ledger::default();
    assert_eq!(&log.entry(0).unwrap()[..], b"genesis");
    runtime().block_on(async {
        for range in [0..1, 1..2, 2..300, 300..301, 301..900] {
            for (number, result) in append_all(&log, range).await {
                let receipt = result.unwrap();
                assert!(!receipt.duplicate);
                ledger.acknowledge(number, &receipt);
            }
        }
        assert_eq!(log.head().size, 901);
        ledger.check(&log);
        log.shutdown().await;
    });
}

/// R26: a retried request gets the same entry, with a proof in the present tree.
#[test]
fn r26_a_thousand_duplicates_are_one_entry() {
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let log = log.clone();
            tasks.spawn(async move { log.append(entry(7)).await.unwrap() });
        }
        let receipts = tasks.join_all().await;
        assert!(receipts.iter().all(|r| r.index == 1 && r.leaf[..] == leaf(7)[..]));
        assert_eq!(receipts.iter().filter(|r| !r.duplicate).count(), 1);
        assert_eq!(log.head().size, 2);
        append_all(&log, 100..400).await;
        let again = log.append(entry(7)).await.unwrap();
        assert_eq!((again.index, again.duplicate, again.tree_size), (1, true, 302));
        Ledger::default().acknowledge(7, &again);
        log.shutdown().await;
        // And after the log was closed, from the index or, without it, from the write-ahead file.
        for remove in [false, true] {
            if remove {
                std::fs::remove_file(directory.path().join("index.db")).unwrap();
            }
            let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
            let again = log.append(entry(7)).await.unwrap();
            assert_eq!((again.index, again.duplicate), (1, true));
            log.shutdown().await;
        }
    });
}

#[test]
fn a_lost_index_is_made_anew_from_the_entries() {
    let options = || Options {
        segment_bytes: 20_000,
        key_of: Some(Arc::new(|stored: &[u8]| sha256(stored))),
        ..options()
    };
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        for start in (0..2000).step_by(200) {
            append_all(&log, start..start + 200).await;
        }
        log.shutdown().await;
        // The first segment is gone, so its keys are only in the index and in the entries.
        assert!(!directory.path().join("wal/00000000000000000000").exists());
        for file in ["index.db", "index.db-wal", "index.db-shm"] {
            let _ = std::fs::remove_file(directory.path().join(file));
        }
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        for number in (0..2000).step_by(111) {
            assert!(log.append(entry(number)).await.unwrap().duplicate, "{number}");
        }
        assert_eq!(log.head().size, 2001);
        let index = log.append(entry(1998)).await.unwrap().index;
        assert_eq!(log.find_key(&sha256(&leaf(1998))).unwrap(), Some(index));
        log.shutdown().await;
    });
}

#[test]
fn an_entry_is_found_by_its_key_as_soon_as_it_is_acknowledged() {
    let options = || Options { key_of: Some(Arc::new(|stored: &[u8]| sha256(stored))), ..options() };
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        // No index takes part: entries are in it a moment later, or when it can be written again.
        let database = rusqlite::Connection::open(directory.path().join("index.db")).unwrap();
        database.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
        database.execute_batch("ALTER TABLE entries RENAME TO elsewhere").unwrap();
        append_all(&log, 0..600).await;
        for number in [0, 255, 256, 599] {
            let index = log.append(entry(number)).await.unwrap().index;
            assert_eq!(log.find_key(&sha256(&leaf(number))).unwrap(), Some(index));
        }
        database.execute_batch("ALTER TABLE elsewhere RENAME TO entries").unwrap();
        drop(database);
        assert_eq!(log.find_key(&sha256(b"genesis")).unwrap(), Some(0));
        assert_eq!(log.find_key(&sha256(b"another")).unwrap(), None);
        log.shutdown().await;
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        let index = log.append(entry(7)).await.unwrap().index;
        assert_eq!(log.find_key(&sha256(&leaf(7))).unwrap(), Some(index));
        log.shutdown().await;
        // Keys that are not told from the entries are not looked for.
        let log =
            Log::open(directory.path(), Options { key_of: None, ..options() }, signers(), clock()).unwrap();
        assert_eq!(log.find_key(&sha256(&leaf(7))).unwrap(), None);
        log.shutdown().await;
    });
}

/// R6: the index is no part of the signed tree. A flipped bit in it must not give one entry to the owner of another.
#[test]
fn r6_a_damaged_index_answers_nobody_with_anothers_entry() {
    let options = || Options { key_of: Some(Arc::new(|stored: &[u8]| sha256(stored))), ..options() };
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        for number in 0..10 {
            assert_eq!(log.append(entry(number)).await.unwrap().index, number + 1);
        }
        log.shutdown().await;
        let database = rusqlite::Connection::open(directory.path().join("index.db")).unwrap();
        let changed = database.execute("UPDATE entries SET position = 3 WHERE position = 8", []).unwrap();
        assert_eq!(changed, 1);
        drop(database);
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        assert_eq!(log.find_key(&sha256(&leaf(7))).unwrap(), None, "it is not taken for another");
        let again = log.append(entry(7)).await.unwrap();
        assert_eq!((again.index, &again.leaf[..]), (8, &leaf(7)[..]), "from the write-ahead file");
        Ledger::default().acknowledge(7, &again);
        log.shutdown().await;
    });
}

#[test]
fn an_index_that_cannot_be_written_keeps_its_segment_and_does_not_hold_up_the_shutdown() {
    let options = || Options { segment_bytes: 12_000, ..options() };
    let (directory, log) = new_log(options());
    let first = directory.path().join("wal/00000000000000000000");
    runtime().block_on(async {
        let database = rusqlite::Connection::open(directory.path().join("index.db")).unwrap();
        database.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
        database.execute_batch("ALTER TABLE entries RENAME TO elsewhere").unwrap();
        append_all(&log, 0..300).await;
        append_all(&log, 300..301).await;
        tokio::time::timeout(std::time::Duration::from_secs(60), log.shutdown()).await.unwrap();
        assert!(first.exists(), "it has the keys that the index lacks");
        database.execute_batch("ALTER TABLE elsewhere RENAME TO entries").unwrap();
        drop(database);
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        for number in [0, 150, 299, 300] {
            assert!(log.append(entry(number)).await.unwrap().duplicate, "{number}");
        }
        log.shutdown().await;
        assert!(!first.exists(), "now the index has them");
    });
}

/// R5: a reserve which was being written when the process ended is none.
#[test]
fn r5_half_a_reserve_is_made_whole() {
    let (directory, log) = new_log(options());
    runtime().block_on(log.shutdown());
    let reserve = directory.path().join("reserve");
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 4096);
    std::fs::write(&reserve, [0; 100]).unwrap();
    let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 4096);
    runtime().block_on(log.shutdown());
}

/// R10: whatever the clock does, the time in checkpoints does not go back.
#[test]
fn r10_the_time_in_checkpoints_never_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let clock = clock();
    let open = || Log::open(directory.path(), options(), signers(), clock.clone()).unwrap();
    let log = open();
    let hour = 3600;
    runtime().block_on(async {
        let mut last = log.head().time_ms;
        for (number, step) in
            [(0, 1), (1, -hour), (2, 365 * 24 * hour), (3, 0), (4, -hour), (5, -hour * hour)]
        {
            clock.advance_seconds(step);
            log.append(entry(number)).await.unwrap();
            assert!(log.head().time_ms >= last, "after {step} s");
            last = log.head().time_ms;
        }
        log.shutdown().await;
        let log = open();
        log.append(entry(6)).await.unwrap();
        assert_eq!(log.head().time_ms, last, "nor after opening again");
        log.shutdown().await;
    });
}

#[test]
fn files_are_those_of_tlog_tiles_and_reads_give_the_same() {
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        append_all(&log, 0..699).await;
        let head = log.head();
        assert_eq!(head.size, 700);
        let on_disk = |path: &str| std::fs::read(directory.path().join(path)).unwrap();
        assert_eq!(on_disk("checkpoint"), head.checkpoint.as_bytes());
        for path in [
            "checkpoint",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/188",
            "tile/1/000.p/2",
            "tile/entries/000",
            "tile/entries/002.p/188",
        ] {
            assert_eq!(log.read(path).unwrap().unwrap(), on_disk(path), "{path}");
        }
        // Narrower tiles are cut from wider ones.
        let hashes = log.read("tile/0/002.p/5").unwrap().unwrap();
        assert_eq!(hashes, on_disk("tile/0/002.p/188")[..160]);
        let bundle = log.read("tile/entries/001.p/3").unwrap().unwrap();
        assert_eq!(tile::parse_entries(&bundle, 3).unwrap().len(), 3);
        for absent in [
            "",
            "lock-record",
            "../lock",
            "tile/0/003",
            "tile/0/002",
            "tile/0/002.p/189",
            "tile/1/000.p/3",
            "tile/2/000.p/1",
            "tile/63/000",
            "tile/entries/002",
            "tile/data/000",
        ] {
            assert_eq!(log.read(absent).unwrap(), None, "{absent}");
        }
        assert!(log.entry(700).is_err() && log.proof(0, 701).is_err() && log.consistency(5, 701).is_err());
        log.shutdown().await;
    });
}

#[test]
fn tiles_lost_before_they_were_flushed_are_made_again_byte_for_byte() {
    let (directory, log) = new_log(options());
    runtime().block_on(async {
        append_all(&log, 0..699).await;
        log.shutdown().await;
    });
    let files =
        ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/188"];
    let read = || files.map(|file| std::fs::read(directory.path().join(file)).unwrap());
    let before = read();
    std::fs::remove_dir_all(directory.path().join("tile")).unwrap();
    std::fs::remove_file(directory.path().join("checkpoint")).unwrap();
    let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
    assert_eq!(read(), before);
    assert_eq!(std::fs::read(directory.path().join("checkpoint")).unwrap(), log.head().checkpoint.as_bytes());
    runtime().block_on(log.shutdown());
}

#[test]
fn a_static_ct_log_signs_tree_heads_and_keeps_data_tiles() {
    let directory = tempfile::tempdir().unwrap();
    let make = |index: u64| {
        let leaf = TileLeaf {
            timestamp_ms: 1_750_000_000_000,
            entry: CtEntry::X509 { certificate: format!("certificate {index}").into_bytes() },
            extensions: leaf_index_extension(index).unwrap().to_vec(),
            chain: vec![[5; 32]],
        };
        Leaf { merkle_leaf: leaf.merkle_leaf().unwrap(), stored: leaf.encode().unwrap() }
    };
    let origin = "ct.example/2026".to_owned();
    let params = LogParams { origin: origin.clone(), format: Format::StaticCt, genesis: make(0) };
    Log::create(directory.path(), &params).unwrap();
    let ed25519: Arc<dyn Signer> = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
    let signers = vec![KEY.clone() as Arc<dyn Signer>, ed25519.clone()];
    let log = Log::open(directory.path(), options(), signers, clock()).unwrap();
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..299_u64 {
            let log = log.clone();
            let dedup_key = sha256(&number.to_be_bytes());
            tasks.spawn(
                async move { log.append(NewEntry { dedup_key, leaf: Box::new(make) }).await.unwrap() },
            );
        }
        for receipt in tasks.join_all().await {
            let (leaf, _) = TileLeaf::parse(&receipt.leaf).unwrap();
            assert_eq!(leaf.leaf_index(), Some(receipt.index));
            let hash = merkle::leaf_hash(&leaf.merkle_leaf().unwrap());
            let (index, size) = (receipt.index, receipt.tree_size);
            merkle::verify_inclusion(&hash, index, size, &receipt.proof, &receipt.root).unwrap();
        }
        let head = log.head();
        let note = Note::parse(head.checkpoint.as_bytes()).unwrap();
        let tree_head = NoteVerifier::rfc6962(&origin, KEY.public_key().clone()).unwrap();
        let time = tree_head.verify(&note).unwrap().time.unwrap();
        assert_eq!(time.as_second(), 1_750_000_000);
        let beside = NoteVerifier::rekor_v2(&origin, ed25519.public_key().clone()).unwrap();
        assert_eq!(Checkpoint::from_note(&note, &beside).unwrap().size, 300);
        let path = TilePath { kind: TileKind::Data, index: 1, width: 44 }.to_string();
        let data = log.read(&path).unwrap().unwrap();
        assert_eq!(TileLeaf::parse_tile(&data, 44).unwrap().len(), 44);
        assert_eq!(log.read("tile/entries/000").unwrap(), None);
        // An entry that is no TileLeaf, or whose two forms differ, is refused and takes no index.
        for bad in [b"junk".to_vec().into(), Leaf { stored: make(301).stored, ..make(300) }] {
            let new = NewEntry { dedup_key: sha256(b"bad"), leaf: Box::new(move |_| bad) };
            assert!(matches!(log.append(new).await, Err(AppendError::InvalidLeaf(_))));
        }
        assert_eq!(log.head().size, 300);
        log.shutdown().await;
    });
}

#[test]
fn a_leaf_that_cannot_be_made_harms_nobody_else() {
    let (_directory, log) = new_log(options());
    runtime().block_on(async {
        let panics = NewEntry { dedup_key: [1; 32], leaf: Box::new(|_| panic!("deliberate")) };
        let long = NewEntry { dedup_key: [2; 32], leaf: Box::new(|_| vec![0; 70_000].into()) };
        let (a, b, c) = tokio::join!(log.append(panics), log.append(long), log.append(entry(1)));
        assert!(
            matches!(a, Err(AppendError::InvalidLeaf(_))) && matches!(b, Err(AppendError::InvalidLeaf(_)))
        );
        assert_eq!(c.unwrap().index, 1);
        // The key of a refused entry is free.
        let good = NewEntry { dedup_key: [1; 32], leaf: Box::new(|_| b"good".to_vec().into()) };
        assert_eq!(log.append(good).await.unwrap().index, 2);
        log.shutdown().await;
    });
}

#[test]
fn a_full_queue_pushes_back_and_shutdown_commits_what_waits() {
    let (_directory, log) = new_log(Options { queue: 2, ..options() });
    runtime().block_on(async {
        // The sequencer is held in the making of a leaf.
        let (started, wait_started) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let held = NewEntry {
            dedup_key: [1; 32],
            leaf: Box::new(move |_| {
                started.send(()).unwrap();
                wait_release.recv().unwrap();
                b"held".to_vec().into()
            }),
        };
        let spawn = |entry| {
            tokio::spawn({
                let log = log.clone();
                async move { log.append(entry).await }
            })
        };
        let held = spawn(held);
        tokio::task::yield_now().await;
        wait_started.recv().unwrap();
        let waiting = [spawn(entry(1)), spawn(entry(2))];
        tokio::task::yield_now().await;
        assert!(matches!(log.append(entry(3)).await, Err(AppendError::Overloaded { .. })));
        let closing = tokio::spawn({
            let log = log.clone();
            async move { log.shutdown().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(log.append(entry(4)).await, Err(AppendError::ShuttingDown));
        release.send(()).unwrap();
        assert_eq!(held.await.unwrap().unwrap().index, 1);
        for task in waiting {
            assert!(task.await.unwrap().is_ok(), "what was queued is committed");
        }
        closing.await.unwrap();
        assert_eq!(log.head().size, 4);
        assert_eq!(log.append(entry(5)).await, Err(AppendError::ShuttingDown));
        assert_eq!(&log.entry(1).unwrap()[..], b"held", "reading goes on");
    });
}

/// Fails when told to, as an HSM does.
#[derive(Debug)]
struct Flaky(std::sync::atomic::AtomicBool);

/// Panics at every signature after the first.
#[derive(Debug)]
struct Panics(std::sync::atomic::AtomicBool);
impl Signer for Panics {
    fn public_key(&self) -> &PublicKey {
        KEY.public_key()
    }
    fn scheme(&self) -> Scheme {
        KEY.scheme()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        assert!(!self.0.swap(true, std::sync::atomic::Ordering::SeqCst), "deliberate");
        KEY.sign(message)
    }
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        KEY.sign_digest(digest)
    }
}

#[test]
fn a_panic_in_the_sequencer_stops_the_log_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let signer = Arc::new(Panics(false.into()));
    let log = Log::open(directory.path(), options(), vec![signer], clock()).unwrap();
    runtime().block_on(async {
        // Written down and not signed: it may be in the log, or not.
        let error = log.append(entry(1)).await.unwrap_err();
        assert!(matches!(&error, AppendError::Storage(reason) if reason.contains("panicked")), "{error}");
        assert!(log.failed().borrow().is_some());
        log.shutdown().await;
    });
    let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
    assert_eq!(log.head().size, 1);
    runtime().block_on(log.shutdown());
}
impl Signer for Flaky {
    fn public_key(&self) -> &PublicKey {
        KEY.public_key()
    }
    fn scheme(&self) -> Scheme {
        KEY.scheme()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if self.0.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(CryptoError::Signing("the token is gone".into()));
        }
        KEY.sign(message)
    }
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, CryptoError> {
        KEY.sign_digest(digest)
    }
}

#[test]
fn a_signer_that_fails_leaves_the_log_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let signer = Arc::new(Flaky(true.into()));
    let open = || Log::open(directory.path(), options(), vec![signer.clone()], clock());
    assert!(open().is_err(), "a new log needs its first signature");
    signer.0.store(false, std::sync::atomic::Ordering::SeqCst);
    let log = open().unwrap();
    runtime().block_on(async {
        log.append(entry(1)).await.unwrap();
        signer.0.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(log.append(entry(2)).await, Err(AppendError::Signing(_))));
        assert!(log.failed().borrow().is_none());
        signer.0.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(log.append(entry(3)).await.unwrap().index, 2);
        assert!(!log.append(entry(2)).await.unwrap().duplicate);
        log.shutdown().await;
    });
    runtime().block_on(open().unwrap().shutdown());
}
