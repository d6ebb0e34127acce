//! This workspace's verifier beside the `sigstore-verify` crate: the same verdict, or a stricter one for a reason which
//! is written down here. The inputs are the public vectors and thousands of mutations of those which verify, the
//! same in every run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::judges::{Other, Own};
use support::mutate::mutations;
use support::vectors::{Case, load};

/// How many mutations of each bundle that verifies. There are 21 of those.
const EACH: usize = 250;

/// Where this workspace refuses what the other one accepts: our reason's code, a part of what the mutation is
/// called, and why that is right.
const STRICTER: &[(&str, &str, &str)] = &[
    (
        "log_untrusted",
        "/logId",
        "a Rekor v2 entry names its log by its id; the other one goes by the checkpoint's key hint only",
    ),
    (
        "checkpoint_untrusted",
        "/logId",
        "likewise: the checkpoint must be signed by the log which the entry names",
    ),
    (
        "inclusion_proof_invalid",
        "/inclusionProof/",
        "index, size and root in the proof must be those of the checkpoint; the other one does not look at them",
    ),
    (
        "checkpoint_malformed",
        "/checkpoint/envelope: line",
        "a note ends with a newline and holds no empty lines but one (C2SP signed-note)",
    ),
    (
        "checkpoint_untrusted",
        "/checkpoint/envelope: character",
        "a signature counts by key name and hint together (C2SP signed-note), not by hint alone",
    ),
    ("bundle_malformed", "with a leading zero", "an integer has one spelling"),
    ("bundle_malformed", "/logId/keyId = \"\"", "an empty log id names no log"),
    (
        "bundle_malformed",
        "of rekor2-no-inclusion-proof_fail",
        "every entry of a bundle of version 0.2 or later has a proof, not only the first",
    ),
    (
        "bundle_malformed",
        "/logIndex",
        "Rekor v2 counts an entry once: its index and that in its proof are one number",
    ),
];

/// Where this workspace accepts what the other one refuses: the place that is left empty, the case, and why that is right.
/// A place that is changed in any other way is never among them.
const LOOSER: &[(&str, &str, &str)] = &[(
    "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint",
    "happy-path-v0.1",
    "in version 0.1 the log's promise is required and verified; an inclusion proof without a checkpoint is \
     not asked for and counts for nothing (sigstore_bundle.proto)",
)];

fn allowed(code: &str, what: &str) -> bool {
    STRICTER.iter().any(|(own, part, _)| *own == code && what.contains(part))
}

fn allowed_looser(name: &str, what: &str) -> bool {
    let empty =
        [" gone", " = null", " = {}", " = []", "/envelope gone", "/envelope = null", "/envelope = \"\""];
    let left_empty = |place: &str| what.strip_prefix(place).is_some_and(|rest| empty.contains(&rest));
    LOOSER.iter().any(|(place, case, _)| *case == name && left_empty(place))
}

#[derive(Default)]
struct Counts {
    compared: usize,
    both_accept: usize,
    both_refuse: usize,
    looser: usize,
    stricter: BTreeMap<String, usize>,
    problems: Vec<String>,
}

impl Counts {
    fn add(
        &mut self,
        name: &str,
        what: &str,
        own: &Result<(), (String, String)>,
        other: &Result<(), String>,
    ) {
        self.compared += 1;
        match (own, other) {
            (Ok(()), Ok(())) => self.both_accept += 1,
            (Err(_), Err(_)) => self.both_refuse += 1,
            (Err((code, found)), Ok(())) => {
                *self.stricter.entry(code.clone()).or_default() += 1;
                if !allowed(code, what) {
                    self.problems.push(format!("stricter [{code}] {name}: {what}: {found}"));
                }
            }
            (Ok(()), Err(theirs)) => {
                self.looser += 1;
                if !allowed_looser(name, what) {
                    self.problems.push(format!("LOOSER {name}: {what}: they say: {theirs}"));
                }
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.compared += other.compared;
        self.both_accept += other.both_accept;
        self.both_refuse += other.both_refuse;
        self.looser += other.looser;
        self.problems.extend(other.problems);
        for (code, count) in other.stricter {
            *self.stricter.entry(code).or_default() += count;
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} compared, {} accepted by both, {} refused by both, {} looser here, stricter: {:?}",
            self.compared, self.both_accept, self.both_refuse, self.looser, self.stricter
        );
        assert!(self.problems.is_empty(), "{} differ:\n{}", self.problems.len(), self.problems.join("\n"));
    }
}

#[test]
fn every_vector_has_the_same_verdict_by_path_and_by_digest() {
    let Some(cases) = load() else { return };
    let mut counts = Counts::default();
    let (mut accepted, mut refused) = (0, 0);
    for case in &cases {
        let (own, other) = (Own::of(case), Other::of(case));
        let (bundle, artifact) = (fs::read(&case.bundle).unwrap(), fs::read(&case.artifact).unwrap());
        for by_digest in [false, true] {
            let verdict = own.verdict(&bundle, &artifact, by_digest);
            assert_eq!(verdict.is_ok(), case.must_pass(), "{}: {verdict:?}", case.name);
            *if verdict.is_ok() { &mut accepted } else { &mut refused } += 1;
            let theirs = other.verdict(&bundle, &artifact, by_digest);
            counts.add(&case.name, "as it is", &verdict, &theirs);
        }
    }
    counts.print("vectors");
    assert_eq!((accepted, refused), (42, 98));
}

#[test]
fn no_mutation_of_a_good_bundle_is_judged_more_loosely() {
    let Some(cases) = load() else { return };
    let good: Vec<&Case> = cases.iter().filter(|c| c.must_pass()).collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counts = Counts::default();
                while let Some(case) = good.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (own, other) = (Own::of(case), Other::of(case));
                    for mutation in mutations(case, &cases, EACH) {
                        let verdict = own.verdict(&mutation.bundle, &mutation.artifact, false);
                        let theirs = other.verdict(&mutation.bundle, &mutation.artifact, false);
                        counts.add(&case.name, &mutation.what, &verdict, &theirs);
                    }
                }
                total.lock().unwrap().merge(counts);
            });
        }
    });
    let total = total.into_inner().unwrap();
    assert!(total.compared >= 5_000, "{} mutations", total.compared);
    assert!(total.both_refuse > total.compared / 2, "most mutations break something");
    total.print("mutations");
}
