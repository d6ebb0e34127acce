//! The search index: it follows the tree, is made anew from it, and its answers are proven by signed checkpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_log::search::{Answer, reindex};
use countersign_log::{Log, LogError, Search, Terms, TermsOf};
use countersign_tlog::IndexCommitment;
use countersign_tlog::map::key_of;

use crate::support::{KEY, clock, entry, options, params, runtime, signers, verified};

/// One term for all entries, one for each tenth of them, one of its own for each.
fn terms_of(stored: &[u8]) -> Vec<String> {
    let sum = stored.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte));
    vec!["all".into(), format!("tenth:{}", sum % 10), format!("own:{stored:?}"), "all".into()]
}

pub fn terms(of: TermsOf, rules: &'static str) -> Terms {
    Terms { of, rules, key_id: None }
}

pub fn search(directory: &std::path::Path, log: &Log, rules: &'static str) -> Search {
    Search::open(directory, log.clone(), terms(Arc::new(terms_of), rules), true).unwrap()
}

fn open(directory: &std::path::Path) -> Log {
    Log::open(directory, options(), signers(), clock()).unwrap()
}

/// Waits until something holds, which the follower's thread brings about.
pub fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "it never came to hold");
        std::thread::yield_now();
    }
}

/// The entries of a tree that have a term, found by reading all of it.
fn model(log: &Log, term: &str, size: u64) -> Vec<u64> {
    (0..size).filter(|index| terms_of(&log.entry(*index).unwrap()).iter().any(|own| own == term)).collect()
}

/// That an answer is proven by its checkpoint, and is the model's for the size that it is of.
pub fn check(log: &Log, term: &str, answer: &Answer) {
    let checkpoint = verified(&answer.head.checkpoint);
    let index = IndexCommitment::of(&checkpoint).unwrap().unwrap();
    assert_eq!(answer.index, Some(index));
    let expected = model(log, term, index.size);
    match answer.proof.verify(&key_of(term), &index.root).unwrap() {
        Some(leaf) => {
            answer.page.verify(&leaf).unwrap();
            let start = usize::try_from(answer.page.start).unwrap();
            assert_eq!(answer.page.entries, expected[start..], "{term}");
        }
        None => assert_eq!(expected, Vec::<u64>::new(), "{term}"),
    }
}

fn append(log: &Log, numbers: std::ops::Range<u64>) {
    runtime().block_on(async {
        for number in numbers {
            log.append(entry(number)).await.unwrap();
        }
    });
}

#[test]
fn every_answer_is_proven_by_the_newest_checkpoint_and_find_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let log = open(directory.path());
    let index = search(directory.path(), &log, "1");
    let mut proven = 0;
    for round in 0..30 {
        append(&log, round * 40..round * 40 + 1 + round);
        let own = terms_of(&log.entry(log.head().size - 1).unwrap()).remove(2);
        let size = log.head().size;
        // Found as soon as it is acknowledged.
        assert_eq!(index.find(&own, 5).unwrap(), [size - 1]);
        let newest: Vec<u64> = (0..size).rev().take(7).collect();
        assert_eq!(index.find("all", 7).unwrap(), newest);
        for term in ["all", "tenth:3", "tenth:11", &own, "nothing"] {
            let answer = index.answer(term, None, 300).unwrap().expect("the signed index is kept");
            if answer.index.is_some() {
                check(&log, term, &answer);
                proven += 1;
            }
        }
        until(|| index.known() == size);
    }
    assert!(proven > 100, "{proven}");
    let answer = index.answer("all", None, 1).unwrap().unwrap();
    assert!(
        answer.page.start >= 256,
        "an answer of one entry has a chunk at the most: {}",
        answer.page.start
    );
    assert!(index.answer("all", Some(7), 1).unwrap().is_none(), "no index of this size was made");
    runtime().block_on(log.shutdown());
}

#[test]
fn the_index_is_the_same_after_reopening_and_after_it_was_lost_or_damaged() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let log = open(directory.path());
    append(&log, 0..700);
    let index = search(directory.path(), &log, "1");
    until(|| index.answer("all", Some(701), 1).unwrap().is_some());
    // The next checkpoint commits to what is known; then the index goes on.
    append(&log, 700..701);
    until(|| index.answer("all", Some(702), 1).unwrap().is_some());
    check(&log, "tenth:3", &index.answer("tenth:3", None, 1000).unwrap().unwrap());
    let signed = verified(&log.head().checkpoint);
    drop(index);
    runtime().block_on(log.shutdown());
    let file = directory.path().join("terms.db");
    for damage in
        [None, Some(&b""[..]), Some(b"this is no database, and long enough to be taken for one at first")]
    {
        if let Some(bytes) = damage {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, bytes).unwrap();
        }
        let log = open(directory.path());
        assert_eq!(verified(&log.head().checkpoint), signed);
        let index = search(directory.path(), &log, "1");
        until(|| index.answer("all", Some(702), 1).unwrap().is_some());
        for term in ["all", "tenth:3", "nothing"] {
            check(&log, term, &index.answer(term, None, 1000).unwrap().unwrap());
        }
        drop(index);
        runtime().block_on(log.shutdown());
    }
}

#[test]
fn an_index_made_anew_at_rest_is_the_signed_one_and_one_by_other_rules_is_not() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let log = open(directory.path());
    append(&log, 0..300);
    let key = countersign_crypto::Signer::public_key(&**KEY).clone();
    let again = |of: TermsOf, rules| reindex(directory.path(), &key, terms(of, rules));
    let index = search(directory.path(), &log, "1");
    until(|| index.answer("all", Some(301), 1).unwrap().is_some());
    let held = again(Arc::new(terms_of), "1");
    assert!(matches!(held, Err(LogError::LockedBy { .. })), "{held:?}");
    append(&log, 300..301);
    let signed = IndexCommitment::of(&verified(&log.head().checkpoint)).unwrap().unwrap();
    drop(index);
    runtime().block_on(log.shutdown());

    std::fs::write(directory.path().join("terms.db"), b"damaged").unwrap();
    let made = again(Arc::new(terms_of), "1").unwrap();
    assert_eq!((made.index.size, made.as_signed), (302, Some(true)));
    assert!(signed.size <= 302);
    // It is the one that the log goes on with.
    let log = open(directory.path());
    let index = search(directory.path(), &log, "1");
    assert_eq!(index.known(), 302);
    until(|| index.answer("all", Some(302), 1).unwrap().is_some());
    assert_eq!(index.answer("all", Some(302), 1).unwrap().unwrap().index, Some(made.index));
    drop(index);
    runtime().block_on(log.shutdown());

    let other = again(Arc::new(|_: &[u8]| vec!["other".to_owned()]), "2").unwrap();
    assert_eq!(other.as_signed, Some(false));
    // A damaged entry is not indexed.
    let bundle = directory.path().join("tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let damaged = again(Arc::new(terms_of), "1");
    assert!(matches!(damaged, Err(LogError::Corrupt { .. })), "{damaged:?}");
}

#[test]
fn an_index_made_by_other_rules_is_made_anew_and_no_index_is_committed_to_unless_wished() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let log = open(directory.path());
    append(&log, 0..20);
    let index = search(directory.path(), &log, "1");
    until(|| index.known() == 21);
    drop(index);
    let others = Arc::new(|_: &[u8]| vec!["other".to_owned()]);
    let index = Search::open(directory.path(), log.clone(), terms(others, "2"), false).unwrap();
    until(|| index.known() == 21);
    assert_eq!(index.find("all", 10).unwrap(), Vec::<u64>::new());
    assert_eq!(index.find("other", 100).unwrap().len(), 21);
    drop(index);
    runtime().block_on(log.shutdown());
    let log = open(directory.path());
    append(&log, 20..21);
    assert_eq!(verified(&log.head().checkpoint).extensions, Vec::<String>::new());
    runtime().block_on(log.shutdown());
}

#[test]
fn checkpoints_name_the_key_of_hidden_identities_and_an_index_under_another_key_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    Log::create(directory.path(), &params()).unwrap();
    let key = countersign_crypto::Signer::public_key(&**KEY).clone();
    let mut numbers = 0_u64..;
    for key_id in [None, Some([1; 32]), Some([2; 32]), Some([2; 32]), None] {
        let log = open(directory.path());
        let own = format!("{key_id:?}");
        let term = own.clone();
        let terms = Terms { of: Arc::new(move |_: &[u8]| vec![term.clone()]), rules: "1", key_id };
        let index = Search::open(directory.path(), log.clone(), terms.clone(), true).unwrap();
        let signed = loop {
            let number = numbers.next().unwrap();
            append(&log, number..number + 1);
            if let Some(signed) = IndexCommitment::of(&verified(&log.head().checkpoint)).unwrap() {
                break signed;
            }
        };
        assert_eq!(signed.key_id, key_id);
        // Every entry has the term of this key, also those that were indexed under the key before.
        let all = usize::try_from(log.head().size).unwrap();
        assert_eq!(index.find(&own, all + 1).unwrap().len(), all);
        drop(index);
        runtime().block_on(log.shutdown());
        let other = Terms { key_id: Some([9; 32]), ..terms.clone() };
        assert_eq!(reindex(directory.path(), &key, other).unwrap().as_signed, Some(false));
        assert_eq!(reindex(directory.path(), &key, terms).unwrap().as_signed, Some(true));
    }
}
