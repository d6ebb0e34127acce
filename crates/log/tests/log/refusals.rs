//! When the log does not open, or does not give what is on disk.

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::{KeyPair, KeyType};
use countersign_log::storage::Storage;
use countersign_log::{Log, LogError, Mark, Options};

use crate::support::{append_all, clock, options, params, runtime, signers};

fn open(directory: &Path) -> Result<Log, LogError> {
    Log::open(directory, Options { segment_bytes: 100_000, ..options() }, signers(), clock())
}

/// Appends some more and closes.
fn grow(directory: &Path, numbers: std::ops::Range<u64>) {
    let log = open(directory).unwrap();
    runtime().block_on(async {
        for start in numbers.clone().step_by(100) {
            append_all(&log, start..(start + 100).min(numbers.end)).await;
        }
        log.shutdown().await;
    });
}

fn refusal(directory: &Path) -> String {
    match open(directory) {
        Ok(log) => {
            runtime().block_on(log.shutdown());
            panic!("the log opened");
        }
        Err(error) => error.to_string(),
    }
}

fn new_log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    directory
}

#[test]
fn r9_a_second_opener_is_told_who_has_the_log() {
    let directory = new_log();
    let log = open(directory.path()).unwrap();
    let error = refusal(directory.path());
    assert!(error.contains(&format!("{} on ", std::process::id())), "{error}");
    runtime().block_on(log.shutdown());
    runtime().block_on(open(directory.path()).unwrap().shutdown());
}

/// R9: whoever deletes the lock file of a running process, because it looks left over, lets no second writer in.
#[test]
fn r9_a_deleted_lock_file_lets_nobody_in() {
    let directory = new_log();
    let log = open(directory.path()).unwrap();
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    assert!(refusal(directory.path()).contains("in use by process unknown"));
    runtime().block_on(async {
        append_all(&log, 0..1).await.pop().unwrap().1.unwrap();
        log.shutdown().await;
    });
    runtime().block_on(open(directory.path()).unwrap().shutdown());
}

/// R9: of many who open the log at once, one at a time has it, and what each acknowledged stays.
#[test]
fn r9_openers_who_race_never_fork_the_log() {
    let directory = new_log();
    let acknowledged = std::sync::Mutex::new(crate::support::Ledger::default());
    let holders = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for opener in 0..8_u64 {
            let (directory, acknowledged, holders) = (directory.path(), &acknowledged, &holders);
            scope.spawn(move || {
                let mut opened = 0;
                while opened < 10 {
                    let log = match open(directory) {
                        Ok(log) => log,
                        Err(LogError::LockedBy { .. }) => {
                            std::thread::yield_now();
                            continue;
                        }
                        Err(other) => panic!("{other}"),
                    };
                    assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    let number = opener * 100 + opened;
                    runtime().block_on(async {
                        for (number, result) in append_all(&log, number..number + 1).await {
                            acknowledged.lock().unwrap().acknowledge(number, &result.unwrap());
                        }
                        holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        log.shutdown().await;
                    });
                    opened += 1;
                }
            });
        }
    });
    let log = open(directory.path()).unwrap();
    assert_eq!(log.head().size, 81);
    acknowledged.into_inner().unwrap().check(&log);
    runtime().block_on(log.shutdown());
}

#[test]
fn a_log_is_created_once_and_never_by_opening() {
    let directory = tempfile::tempdir().unwrap();
    assert!(open(directory.path()).is_err());
    Log::create(directory.path(), &params()).unwrap();
    assert!(matches!(Log::create(directory.path(), &params()), Err(LogError::Exists { .. })));
    grow(directory.path(), 0..10);
    // S13: the record was deleted by accident.
    std::fs::remove_file(directory.path().join("lock-record")).unwrap();
    assert!(matches!(open(directory.path()), Err(LogError::NoLockRecord { .. })));
    assert!(matches!(Log::create(directory.path(), &params()), Err(LogError::Exists { .. })));
}

/// R8: parts restored from an old backup, each alone and together.
#[test]
fn r8_a_restored_lock_record_is_never_signed_upon() {
    for grown in [11..12, 11..30, 11..400, 11..3000_u64] {
        let directory = new_log();
        let path = |name: &str| directory.path().join(name);
        grow(directory.path(), 0..11);
        let old = std::fs::read(path("lock-record")).unwrap();
        grow(directory.path(), grown.clone());
        let new = std::fs::read(path("lock-record")).unwrap();
        std::fs::write(path("lock-record"), &old).unwrap();
        let error = refusal(directory.path());
        assert!(error.contains("nothing will be signed"), "{grown:?}: {error}");
        // The checkpoint alone tells.
        let published = std::fs::read(path("checkpoint")).unwrap();
        std::fs::remove_file(path("checkpoint")).unwrap();
        refusal(directory.path());
        // With everything as it was it opens.
        std::fs::write(path("lock-record"), &new).unwrap();
        std::fs::write(path("checkpoint"), &published).unwrap();
        grow(directory.path(), 5000..5001);
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// R8: everything restored at once contradicts nothing in the directory; the mark outside of it tells.
#[test]
fn r8_a_directory_restored_whole_is_not_signed_upon_when_there_is_a_mark_elsewhere() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = |name: &str| directory.path().join(name);
    let mark = elsewhere.path().join("mark");
    let open = |mark: Option<&Path>| {
        let mark = mark.map(|path| Mark { path: path.to_owned(), needed: true });
        let options = Options { mark, ..options() };
        Log::open(&place("log"), options, signers(), clock())
    };
    let append = |number: u64, mark: Option<&Path>| {
        let log = open(mark).unwrap();
        runtime().block_on(async {
            append_all(&log, number..number + 1).await.pop().unwrap().1.unwrap();
            log.shutdown().await;
        });
    };
    Log::create(&place("log"), &params()).unwrap();
    append(1, Some(&mark));
    copy_all(&place("log"), &place("old"));
    append(2, Some(&mark));
    std::fs::rename(place("log"), place("lost")).unwrap();
    copy_all(&place("old"), &place("log"));

    let error = open(Some(&mark)).unwrap_err().to_string();
    assert!(error.contains("the mark in") && error.contains("has size 3, the lock record 2"), "{error}");
    assert!(error.contains("countersign log restore") && error.contains("countersign rotate log"), "{error}");
    // Another entry of the same number, signed by a process without the mark: the tree has the size, and is another.
    append(9, None);
    let error = open(Some(&mark)).unwrap_err().to_string();
    assert!(error.contains("is not of the same tree"), "{error}");
    // The lost one is found again.
    std::fs::remove_dir_all(place("log")).unwrap();
    std::fs::rename(place("lost"), place("log")).unwrap();
    append(3, Some(&mark));
    // A mark that was asked for and cannot be kept is no mark.
    let nowhere = elsewhere.path().join("no/such/directory/mark");
    assert!(matches!(open(Some(&nowhere)), Err(LogError::Io { .. })));
    // Nor does one that nobody asked for stop the log.
    let options = Options { mark: Some(Mark { path: nowhere.clone(), needed: false }), ..options() };
    let log = Log::open(&place("log"), options, signers(), clock()).unwrap();
    runtime().block_on(async {
        append_all(&log, 4..5).await.pop().unwrap().1.unwrap();
        log.shutdown().await;
    });
    assert!(!nowhere.exists());
}

#[test]
fn r8_a_restored_write_ahead_file_is_refused() {
    let directory = new_log();
    grow(directory.path(), 0..10);
    let segment = directory.path().join("wal/00000000000000000000");
    let old = std::fs::read(&segment).unwrap();
    grow(directory.path(), 10..20);
    std::fs::write(&segment, &old).unwrap();
    assert!(refusal(directory.path()).contains("missing"));
    std::fs::remove_file(&segment).unwrap();
    assert!(refusal(directory.path()).contains("no write-ahead segment"));
}

#[test]
fn a_log_of_the_same_size_with_other_entries_is_refused() {
    let (one, other) = (new_log(), new_log());
    grow(one.path(), 0..10);
    grow(other.path(), 50..60);
    let copy = |name: &str| std::fs::copy(other.path().join(name), one.path().join(name)).unwrap();
    copy("checkpoint");
    assert!(refusal(one.path()).contains("not of the same tree"));
    std::fs::remove_file(one.path().join("checkpoint")).unwrap();
    copy("lock-record");
    assert!(refusal(one.path()).contains("another root"));
}

#[test]
fn other_keys_are_refused() {
    let directory = new_log();
    grow(directory.path(), 0..1);
    let key = Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap());
    for signers in [vec![key as _], vec![]] {
        let opened = Log::open(directory.path(), options(), signers, clock());
        assert!(matches!(opened, Err(LogError::Signers(_))));
    }
}

/// R6: a flipped bit in a tile or bundle is found when it is read, and never served.
#[test]
fn r6_flipped_bits_are_found_on_reading() {
    let directory = new_log();
    grow(directory.path(), 0..2000);
    let mut flips = 0;
    for file in ["tile/0/000", "tile/0/003", "tile/entries/000", "tile/entries/002"] {
        let path = directory.path().join(file);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(1009) {
            // A new log each time, because tiles that were read stay in memory.
            let log = open(directory.path()).unwrap();
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, bad).unwrap();
            let read = log.read(file);
            assert!(matches!(&read, Err(LogError::Corrupt { path, .. }) if path == file), "{file} byte {at}");
            std::fs::write(&path, &good).unwrap();
            assert_eq!(log.read(file).unwrap().unwrap(), good);
            runtime().block_on(log.shutdown());
            flips += 1;
        }
    }
    println!("{flips} flipped bits, all found");
}

/// R6: a damaged newest segment looks like one that was never used; it is kept and nothing is signed.
#[test]
fn r6_a_damaged_segment_is_refused_and_kept() {
    let disk = crate::support::sim::SimFs::default();
    Log::create_on(&disk, &params()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let open = || crate::support::open(&storage, Options { segment_bytes: 3000, ..options() });
    let log = open().unwrap();
    runtime().block_on(async {
        append_all(&log, 0..60).await;
        append_all(&log, 60..61).await;
        log.shutdown().await;
    });
    let newest = storage.list("wal").unwrap().pop().unwrap();
    let path = format!("wal/{newest}");
    let good = storage.read(&path).unwrap().unwrap();
    // With a segment before it, one without an intact batch could be one that was being made.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    storage.replace(&path, &bad).unwrap();
    storage.replace("wal/00000000000000000000", &first_segment()).unwrap();
    assert!(open().is_err());
    assert_eq!(storage.read(&path).unwrap(), Some(bad), "the damaged segment is kept");
}

/// The segment of a new log.
fn first_segment() -> Vec<u8> {
    let disk = crate::support::sim::SimFs::default();
    Log::create_on(&disk, &params()).unwrap();
    disk.read("wal/00000000000000000000").unwrap().unwrap()
}

/// R6: the log does not build upon a damaged edge.
#[test]
fn r6_a_damaged_edge_is_found_on_opening() {
    let directory = new_log();
    grow(directory.path(), 0..2000);
    // The newest full tile and bundle below the write-ahead file, which cannot make them again.
    let segments = std::fs::read_dir(directory.path().join("wal")).unwrap().count();
    assert_eq!(segments, 1);
    let wal = std::fs::read_dir(directory.path().join("wal")).unwrap().next().unwrap().unwrap().path();
    let mut content = std::fs::read(&wal).unwrap();
    let good = content.clone();
    for at in (0..good.len()).step_by(997) {
        content[at] ^= 0x10;
        std::fs::write(&wal, &content).unwrap();
        refusal(directory.path());
        content[at] ^= 0x10;
    }
    std::fs::write(&wal, &good).unwrap();
    grow(directory.path(), 3000..3001);
}
