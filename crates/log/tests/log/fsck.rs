//! R6: what is damaged on disk is found, wherever it is, and named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Signer as _, sha256};
use countersign_log::fsck::{Report, fsck};
use countersign_log::{KeyOf, Log, LogError, Options};

use crate::kill_loop::number;
use crate::support::{KEY, Random, append_all, clock, options, params, runtime, signers};

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
        } else if ![Path::new("lock"), Path::new("index.db-shm")].contains(&path.as_path()) {
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

/// Everything the index says.
fn index_rows(directory: &Path) -> Option<Vec<(Vec<u8>, i64)>> {
    let database = rusqlite::Connection::open(directory.join("index.db")).ok()?;
    let mut query = database.prepare("SELECT key, position FROM entries ORDER BY key").ok()?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    rows.collect::<Result<_, _>>().ok()
}

/// `COUNTERSIGN_FLIPS` says how many bits, each in turn (100 if unset); `COUNTERSIGN_SEED` which.
#[test]
fn r6_every_flipped_bit_is_found_and_its_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    filled(directory);
    let report = check(directory);
    assert!(report.findings.is_empty() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.size, 1901);

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
            assert_eq!(name, "index.db", "byte {at} bit {bit} of {name} was not found: {report:?}");
            flip(&directory.join(path), at, bit);
            assert_eq!(index_rows(directory).as_ref(), Some(&rows), "byte {at} bit {bit}");
            flip(&directory.join(path), at, bit);
            idle += 1;
            continue;
        };
        if let Some(offset) = finding.offset {
            assert!(offset <= at, "{name} byte {at}: {finding}");
            exact += 1;
        }
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
        "{flips} flipped bits, {by_kind:?}: {exact} named with their place, {idle} in bytes of the index that mean nothing"
    );
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
