//! R6: what is damaged on disk is found, wherever it is, and named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Signer as _, sha256};
use countersign_log::fsck::{Report, fsck};
use countersign_log::{KeyOf, Log, LogError, Options};
use countersign_tlog::IndexCommitment;
use rusqlite::types::Value;

use crate::kill_loop::number;
use crate::search::{search, until};
use crate::support::{KEY, Random, append_all, clock, options, params, runtime, signers, verified};

pub fn key_of() -> KeyOf {
    Arc::new(|stored: &[u8]| sha256(stored))
}

pub fn small() -> Options {
    Options { segment_bytes: 60_000, reserve_bytes: 0, key_of: Some(key_of()), ..options() }
}

/// A log of some thousand entries, closed: three levels of tiles cannot be had so cheaply, two can.
pub fn filled(directory: &Path) {
    Log::create(directory, &params()).unwrap();
    let log = Log::open(directory, small(), signers(), clock()).unwrap();
    runtime().block_on(async {
        for start in (0..1900).step_by(100) {
            append_all(&log, start..start + 100).await;
        }
        log.shutdown().await;
    });
}

/// The same with a search index, which the newest checkpoint commits to.
fn searched(directory: &Path) {
    filled(directory);
    let log = Log::open(directory, small(), signers(), clock()).unwrap();
    let index = search(directory, &log, "1");
    until(|| index.answer("all", Some(1901), 1).unwrap().is_some());
    runtime().block_on(append_all(&log, 1900..1901));
    let signed = IndexCommitment::of(&verified(&log.head().checkpoint)).unwrap().unwrap();
    assert_eq!(signed.size, 1901);
    until(|| index.known() == 1902);
    drop(index);
    runtime().block_on(log.shutdown());
}

pub fn check(directory: &Path) -> Report {
    fsck(directory, KEY.public_key(), Some(&key_of())).unwrap()
}

/// The files which have something to check: not the lock, which says who has it, nor what SQLite makes anew.
fn files(directory: &Path, below: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(directory.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            files(directory, &path, found);
        } else if !["lock", "index.db-shm", "terms.db-shm"].map(Path::new).contains(&path.as_path()) {
            let len = entry.metadata().unwrap().len();
            found.extend((len > 0).then_some((path, len)));
        }
    }
    found.sort();
}

fn flip(path: &Path, at: u64, bit: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

/// Everything the indexes say, but for the name of the rules: under another, the index is made anew.
fn index_rows(directory: &Path) -> Option<Vec<Vec<Value>>> {
    let mut all = Vec::new();
    for (file, table, columns) in [
        ("index.db", "entries", 2),
        ("index.db", "state", 2),
        ("terms.db", "terms", 6),
        ("terms.db", "chunks", 3),
        ("terms.db", "hashes", 3),
        ("terms.db", "state", 2),
    ] {
        let database = rusqlite::Connection::open(directory.join(file)).ok()?;
        let mut query = database.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).ok()?;
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        all.extend(query.query_map([], row).ok()?.collect::<Result<Vec<Vec<Value>>, _>>().ok()?);
    }
    Some(all)
}

/// `COUNTERSIGN_FLIPS` says how many bits, each in turn (100 if unset); `COUNTERSIGN_SEED` which.
#[test]
fn r6_every_flipped_bit_is_found_and_its_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    searched(directory);
    let report = check(directory);
    assert!(report.findings.is_empty() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.size, 1902);

    let mut all = Vec::new();
    files(directory, Path::new(""), &mut all);
    let rows = index_rows(directory).unwrap();
    let mut random = Random(number("COUNTERSIGN_SEED").unwrap_or(1));
    let flips = number("COUNTERSIGN_FLIPS").unwrap_or(100);
    let (mut by_kind, mut idle, mut exact) = (BTreeMap::<String, u64>::new(), 0, 0);
    for turn in 0..flips {
        // Half of them spread over the bytes, half over the files, so that small files have their share.
        let total: u64 = all.iter().map(|(_, len)| len).sum();
        let (path, at) = if turn % 2 == 0 {
            let (path, len) = &all[usize::try_from(random.below(all.len() as u64)).unwrap()];
            (path, random.below(*len))
        } else {
            let mut at = random.below(total);
            let (path, _) = all
                .iter()
                .find(|(_, len)| {
                    at < *len || {
                        at -= len;
                        false
                    }
                })
                .unwrap();
            (path, at)
        };
        let bit = random.below(8);
        let name = path.to_str().unwrap();
        flip(&directory.join(path), at, bit);
        let report = check(directory);
        flip(&directory.join(path), at, bit);
        *by_kind.entry(name.split('/').next().unwrap().to_owned()).or_default() += 1;
        let Some(finding) = report.findings.iter().find(|finding| finding.path == name) else {
            // A database has bytes that mean nothing: the flip must have changed nothing that is read.
            assert!(name.ends_with(".db"), "byte {at} bit {bit} of {name} was not found: {report:?}");
            flip(&directory.join(path), at, bit);
            assert_eq!(index_rows(directory).as_ref(), Some(&rows), "byte {at} bit {bit}");
            flip(&directory.join(path), at, bit);
            idle += 1;
            continue;
        };
        match finding.offset {
            Some(offset) => assert!(offset <= at, "{name} byte {at}: {finding}"),
            // SQLite does not say where.
            None => assert!(name.ends_with(".db"), "{name} byte {at}: no place: {finding}"),
        }
        exact += u64::from(finding.offset.is_some());
        if name.starts_with("tile/0/") || name.starts_with("tile/1/") {
            assert!(at - finding.offset.unwrap() < 32, "byte {at}: {finding}");
        }
        if name.starts_with("tile/entries/") {
            // An entry has 60 bytes at most, its length included.
            assert!(at - finding.offset.unwrap() < 64, "byte {at}: {finding}");
        }
        assert!(report.findings.iter().all(|finding| finding.path == name), "{name} byte {at}: {report:?}");
    }
    let report = check(directory);
    assert!(report.findings.is_empty(), "{report:?}");
    println!(
        "{flips} flipped bits, {by_kind:?}: {exact} named with their place, {idle} in bytes of the indexes that mean nothing"
    );
}

/// R6: the search index is held against the tree and against the checkpoint that commits to it.
#[test]
fn r6_a_search_index_that_is_not_the_signed_one_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    searched(directory);
    let file = directory.join("terms.db");
    let good = std::fs::read(&file).unwrap();
    let found = |what: &str| {
        let report = check(directory);
        assert!(report.notes.is_empty(), "{report:?}");
        let [finding] = report.findings.as_slice() else { panic!("{what}: {report:?}") };
        assert_eq!((finding.path.as_str(), finding.offset), ("terms.db", None), "{finding}");
        assert!(finding.what.contains(what) && finding.what.contains("countersign log reindex"), "{finding}");
        std::fs::write(&file, &good).unwrap();
    };
    let change = |sql: &str| {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.execute_batch(&format!("{sql}; PRAGMA wal_checkpoint(TRUNCATE)")).unwrap();
    };
    change("UPDATE state SET upto = 1903");
    found("it knows 1903 entries, the log has 1902");
    change("UPDATE chunks SET entries = zeroblob(2048) WHERE number = 1");
    found("not those of their hash");
    change("DELETE FROM chunks WHERE number = 0");
    found("a part of a term's entries is missing");
    change("DELETE FROM hashes WHERE number = 6");
    found("the record of a term");
    change("UPDATE terms SET leaf = zeroblob(32) WHERE chunks = 0");
    found("the record of a term");
    change("UPDATE terms SET last = last + 1 WHERE chunks > 0");
    found("the record of a term");
    change("INSERT INTO chunks SELECT zeroblob(32), number, entries FROM chunks LIMIT 1");
    found("entries of terms that it does not have");
    // Whole in itself, but a term is missing.
    change("DELETE FROM terms WHERE key = (SELECT key FROM terms WHERE chunks = 0 AND last < 1901 LIMIT 1)");
    found("not the index that the newest checkpoint commits to");
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    found("");

    // A power cut may leave it behind.
    change("UPDATE state SET upto = 1900; DELETE FROM terms; DELETE FROM chunks; DELETE FROM hashes");
    let report = check(directory);
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.notes.concat().contains("knows 1900 entries"), "{report:?}");
    // One that nobody signed is whole or not, and the check says that it knows no more.
    std::fs::remove_file(&file).unwrap();
    assert!(check(directory).notes.is_empty(), "there is none");
    let log = Log::open(directory, small(), signers(), clock()).unwrap();
    runtime().block_on(append_all(&log, 1901..1902));
    let index = search(directory, &log, "1");
    until(|| index.known() == 1903);
    drop(index);
    runtime().block_on(log.shutdown());
    let report = check(directory);
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.notes.concat().contains("no checkpoint commits to it"), "{report:?}");
}

#[test]
fn r6_missing_cut_and_longer_files_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    filled(directory);
    let mut all = Vec::new();
    files(directory, Path::new(""), &mut all);
    for (path, len) in
        all.iter().filter(|(path, _)| path != Path::new("index.db") && path != Path::new("reserve"))
    {
        let file = directory.join(path);
        let good = std::fs::read(&file).unwrap();
        let name = path.to_str().unwrap();
        let found = |what: &str| match fsck(directory, KEY.public_key(), None) {
            Ok(report) => assert!(
                report.findings.iter().any(|finding| finding.path == name || name.starts_with(&finding.path)),
                "{name} {what}: {report:?}"
            ),
            Err(error) => panic!("{name} {what}: {error}"),
        };
        std::fs::remove_file(&file).unwrap();
        found("missing");
        std::fs::write(&file, &good[..usize::try_from(*len).unwrap() - 1]).unwrap();
        found("cut");
        if !name.starts_with("wal/") {
            std::fs::write(&file, [&good[..], b"x"].concat()).unwrap();
            found("longer");
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(check(directory).findings.is_empty());
}

#[test]
fn a_running_log_is_not_checked_at_rest_and_another_key_vouches_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    filled(directory);
    let log = Log::open(directory, small(), signers(), clock()).unwrap();
    assert!(matches!(fsck(directory, KEY.public_key(), None), Err(LogError::LockedBy { .. })));
    runtime().block_on(log.shutdown());
    let other = countersign_crypto::KeyPair::generate(countersign_crypto::KeyType::EcdsaP256).unwrap();
    let report = fsck(directory, other.public_key(), None).unwrap();
    assert!(report.findings.iter().any(|finding| finding.path == "lock-record"), "{report:?}");
}

/// R6: a scrub of the running log finds what rotted since it was read last, and its place.
#[test]
fn r6_a_scrub_finds_damage_under_a_running_log() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    filled(directory);
    let log = Log::open(directory, small(), signers(), clock()).unwrap();
    // In memory from now on: reading alone would not see the disk any more.
    for bundle in 0..7 {
        log.read(&format!("tile/0/00{bundle}")).unwrap().unwrap();
    }
    let well = log.scrub(&mut || true).unwrap();
    assert!(well.findings.is_empty() && well.complete, "{well:?}");
    assert_eq!(well.files, 14, "seven tiles and their bundles");
    for (path, at, offset) in [("tile/0/003", 100, 96), ("tile/entries/001", 0, 0)] {
        flip(&directory.join(path), at, 3);
        let found = log.scrub(&mut || true).unwrap().findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_str(), found[0].offset), (path, Some(offset)));
        flip(&directory.join(path), at, 3);
    }
    let mut left = 3;
    let cut = log
        .scrub(&mut || {
            left -= 1;
            left > 0
        })
        .unwrap();
    assert!(!cut.complete && cut.files < 14);
    runtime().block_on(log.shutdown());
}
