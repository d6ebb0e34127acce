//! Copies of a log that runs, and what may be put back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_crypto::Signer as _;
use countersign_log::backup::{Copied, backup, restore};
use countersign_log::{Log, LogError};

use crate::fsck::{check, filled, key_of, small};
use crate::support::{KEY, Ledger, append_all, clock, entry, runtime, signers};

fn copy(log: &Path, to: &Path) -> Result<Copied, LogError> {
    backup(log, to, KEY.public_key(), Some(&key_of()))
}

fn put_back(from: &Path, to: &Path, newest: &str) -> Result<Copied, LogError> {
    restore(from, to, KEY.public_key(), Some(&key_of()), newest.as_bytes(), None)
}

fn open(directory: &Path) -> Log {
    Log::open(directory, small(), signers(), clock()).unwrap()
}

/// Each copy has all that was acknowledged before it was begun, opens, and knows its duplicates.
#[test]
fn copies_of_a_log_under_load_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    filled(&place("log"));
    let log = open(&place("log"));
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                let mut next = 10_000;
                while !enough.load(Ordering::SeqCst) {
                    append_all(&log, next..next + 40).await;
                    next += 40;
                }
            });
        });
        for number in 0..8 {
            // Appended and acknowledged before the copy is begun.
            let mut ledger = Ledger::default();
            let own = 50_000 + number;
            runtime().block_on(async {
                ledger.acknowledge(own, &log.append(entry(own)).await.unwrap());
            });
            let to = place(&format!("copy-{number}"));
            let copied = copy(&place("log"), &to).unwrap();
            assert!(copied.size > ledger.entries[0].1, "{copied:?}");
            assert!(check(&to).findings.is_empty());
            let opened = open(&to);
            assert_eq!(
                (opened.head().size, opened.head().checkpoint.as_ref()),
                (copied.size, copied.checkpoint.as_str())
            );
            ledger.rebuild(&opened);
            runtime().block_on(async {
                assert!(opened.append(entry(own)).await.unwrap().duplicate);
                assert!(opened.append(entry(5)).await.unwrap().duplicate);
                opened.shutdown().await;
            });
        }
        enough.store(true, Ordering::SeqCst);
    });
    runtime().block_on(log.shutdown());
}

#[test]
fn a_copy_goes_where_nothing_is_and_not_out_of_a_damaged_log() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    filled(&place("log"));
    std::fs::create_dir(place("taken")).unwrap();
    std::fs::write(place("taken").join("file"), b"").unwrap();
    assert!(matches!(copy(&place("log"), &place("taken")), Err(LogError::Exists { .. })));
    let tile = place("log").join("tile/entries/002");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[70] ^= 4;
    std::fs::write(&tile, bytes).unwrap();
    let error = copy(&place("log"), &place("copy")).unwrap_err().to_string();
    assert!(error.contains("tile/entries/002") && error.contains("entry 513"), "{error}");
}

/// R8: an old copy is not put back when a newer checkpoint is known, and what is put back goes on.
#[test]
fn r8_only_a_copy_with_everything_that_was_signed_is_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    filled(&place("log"));
    copy(&place("log"), &place("old")).unwrap();
    let log = open(&place("log"));
    let before = log.head().checkpoint.clone();
    runtime().block_on(async {
        log.append(entry(9_000)).await.unwrap();
        log.shutdown().await;
    });
    let newest = log.head().checkpoint.clone();
    copy(&place("log"), &place("new")).unwrap();

    let error = put_back(&place("old"), &place("again"), &newest).unwrap_err().to_string();
    assert!(
        error.contains("of the 1 that are missing") && error.contains("countersign rotate log"),
        "{error}"
    );
    assert!(!place("again").exists(), "nothing was written");
    // The mark on this machine says it too, whatever was brought; one that says nothing does not matter.
    let mark = place("mark");
    let marked = |from: &str, known: &str| {
        let (key, again) = (KEY.public_key(), place("again"));
        restore(&place(from), &again, key, Some(&key_of()), known.as_bytes(), Some(&mark))
    };
    std::fs::write(&mark, &*newest).unwrap();
    let error = marked("old", &before).unwrap_err().to_string();
    assert!(error.contains("the mark in") && error.contains("of the 1 that are missing"), "{error}");
    assert!(!place("again").exists(), "nothing was written");
    for content in [&newest[..], &before, "torn"] {
        std::fs::write(&mark, content).unwrap();
        marked("new", &before).unwrap();
        std::fs::remove_dir_all(place("again")).unwrap();
    }
    std::fs::remove_file(&mark).unwrap();
    marked("new", &before).unwrap();
    std::fs::remove_dir_all(place("again")).unwrap();
    // A log that is there is never written over.
    assert!(matches!(put_back(&place("new"), &place("log"), &newest), Err(LogError::Exists { .. })));
    // Another tree's checkpoint of a size that would do.
    let fork = open(&place("old"));
    runtime().block_on(async {
        fork.append(entry(9_001)).await.unwrap();
        fork.shutdown().await;
    });
    let error = put_back(&place("new"), &place("again"), &fork.head().checkpoint).unwrap_err().to_string();
    assert!(error.contains("evidence of a fork"), "{error}");
    assert!(put_back(&place("new"), &place("again"), "junk").is_err());

    for known in [&before, &newest] {
        let to = place(&format!("again-{}", known.len()));
        let _ = std::fs::remove_dir_all(&to);
        assert_eq!(put_back(&place("new"), &to, known).unwrap().size, 1902);
        let log = open(&to);
        runtime().block_on(async {
            assert_eq!(log.append(entry(9_002)).await.unwrap().index, 1902);
            log.shutdown().await;
        });
    }
}
