//! A log of Rekor v1: times before the bodies, its own names, entries found by leaf hash and by term.

use std::sync::Arc;

use countersign_log::{Format, Leaf, Log, LogParams, NewEntry, Receipt, Search, Terms};
use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
use countersign_tlog::{Checkpoint, Note, NoteVerifier};

use crate::support::{KEY, clock, options, runtime, signers};

fn params() -> LogParams {
    let genesis = Leaf::v1(1_750_000_000, b"genesis".to_vec());
    LogParams { origin: "log.example - 42".into(), format: Format::RekorV1, genesis }
}

fn body(number: u64) -> Vec<u8> {
    format!("body {number}").into_bytes()
}

async fn append(log: &Log, number: u64, seconds: u64) -> Receipt {
    let body = body(number);
    let leaf = Box::new(move |_| Leaf::v1(seconds, body));
    log.append(NewEntry { dedup_key: leaf_hash(&self::body(number)), leaf }).await.unwrap()
}

/// One term for all, one for each tenth of them.
fn search(directory: &std::path::Path, log: &Log) -> Search {
    let of = |stored: &[u8]| {
        let (_, body) = Leaf::parts_v1(stored).unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let last = text.chars().last().unwrap();
        vec!["all".to_owned(), format!("last:{last}"), "all".to_owned()]
    };
    let terms = Terms { of: Arc::new(of), rules: "", key_id: None };
    Search::open(directory, log.clone(), terms, false).unwrap()
}

#[test]
fn bodies_are_the_leaves_times_are_kept_and_a_repetition_keeps_the_first_time() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    runtime().block_on(async {
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        let first = append(&log, 1, 100).await;
        let again = append(&log, 1, 200).await;
        assert_eq!((first.index, again.index, first.duplicate, again.duplicate), (1, 1, false, true));
        assert_eq!(Leaf::parts_v1(&again.leaf), Some((100, &body(1)[..])));
        let leaf = leaf_hash(&body(1));
        verify_inclusion(&leaf, 1, first.tree_size, &first.proof, &first.root).unwrap();
        let note = Note::parse(first.checkpoint.as_bytes()).unwrap();
        let verifier =
            NoteVerifier::rekor_v1("log.example", countersign_crypto::Signer::public_key(&**KEY).clone())
                .unwrap();
        let checkpoint = Checkpoint::from_note(&note, &verifier).unwrap();
        assert_eq!((checkpoint.origin.as_str(), note.signatures().len()), ("log.example - 42", 1));
        log.shutdown().await;
        // What lies there and no key of another kind continues it.
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        assert_eq!(log.params().tree_id(), Some(42));
        assert_eq!(Leaf::parts_v1(&log.entry(1).unwrap()), Some((100, &body(1)[..])));
        log.shutdown().await;
    });
}

#[test]
fn an_entry_is_found_by_its_leaf_as_soon_as_it_is_acknowledged_and_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    runtime().block_on(async {
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        for number in 1..300 {
            let receipt = append(&log, number, number).await;
            assert_eq!(log.find_leaf(&leaf_hash(&body(number))).unwrap(), Some(receipt.index));
            assert_eq!(log.leaf_hash(receipt.index).unwrap(), leaf_hash(&body(number)));
        }
        assert_eq!(log.find_leaf(&leaf_hash(b"genesis")).unwrap(), Some(0));
        assert_eq!(log.find_leaf(&leaf_hash(b"another")).unwrap(), None);
        assert!(log.leaf_hash(300).is_err(), "beyond the tree");
        log.shutdown().await;
        std::fs::remove_file(directory.path().join("index.db")).unwrap();
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        assert_eq!(log.find_leaf(&leaf_hash(&body(299))).unwrap(), Some(299));
        log.shutdown().await;
    });
}

#[test]
fn terms_are_known_at_once_and_made_anew_when_they_are_lost_damaged_or_of_a_larger_log() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    runtime().block_on(async {
        let log = Log::open(directory.path(), options(), signers(), clock()).unwrap();
        let index = search(directory.path(), &log);
        assert_eq!(index.find("all", 10).unwrap(), [0]);
        for number in 1..600 {
            append(&log, number, number).await;
            if number % 100 == 0 {
                assert_eq!(index.find("all", 2).unwrap(), [number, number - 1]);
            }
        }
        let sevens: Vec<u64> = (0..600).rev().filter(|n| n % 10 == 7).collect();
        assert_eq!(index.find("last:7", 1000).unwrap(), sevens);
        assert_eq!(index.find("last:x", 1000).unwrap(), Vec::<u64>::new());
        drop(index);
        let file = directory.path().join("terms.db");
        for damage in [None, Some(&b"this is no database, and long enough to be taken for one at first"[..])]
        {
            std::fs::remove_file(&file).unwrap();
            if let Some(bytes) = damage {
                std::fs::write(&file, bytes).unwrap();
            }
            assert_eq!(search(directory.path(), &log).find("last:7", 1000).unwrap(), sevens);
        }
        log.shutdown().await;
        let small = tempfile::tempdir().unwrap();
        Log::create(small.path(), &params()).unwrap();
        std::fs::copy(&file, small.path().join("terms.db")).unwrap();
        let log = Log::open(small.path(), options(), signers(), clock()).unwrap();
        assert_eq!(search(small.path(), &log).find("all", 10).unwrap(), [0]);
        log.shutdown().await;
    });
}
