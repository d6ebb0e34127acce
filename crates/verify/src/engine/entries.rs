//! The checks of log entries, and the counting of logs and witnesses.

use std::collections::{BTreeMap, HashMap, HashSet};

use countersign_bundle::TlogEntry;
use jiff::Timestamp;

use super::{Claimed, Run};
use crate::{CheckName, Reason, VerifiedEntry, binding, log};

/// The checks of a single entry.
const ENTRY_CHECKS: &[CheckName] =
    &[CheckName::LogPromise, CheckName::InclusionProof, CheckName::Checkpoint, CheckName::LogBinding];

/// What was found of an entry.
#[derive(Default)]
struct Found {
    /// Whether all of it holds.
    good: bool,
    /// Its log's name and key, when the trust root has it.
    log: Option<(String, [u8; 32])>,
    /// Its index in the log, as the log vouches for it.
    index: u64,
    /// The witnesses of its checkpoint: name by key.
    witnesses: BTreeMap<[u8; 32], String>,
}

impl Run<'_> {
    /// The entries that hold, and the names of their witnesses: `None` when there are too few of either.
    pub(super) fn logs(
        &mut self,
        claimed: &Claimed<'_>,
        times: &[Timestamp],
    ) -> Option<(Vec<VerifiedEntry>, Vec<String>)> {
        let entries = &self.bundle.verification_material.tlog_entries;
        let mut verified = Vec::new();
        let mut counted = HashSet::new();
        let mut witnesses = BTreeMap::new();
        // Of each log's checkpoints, the most witnesses that one of them has: only those of one and the same checkpoint
        // have seen the same tree.
        let mut most_witnesses: HashMap<[u8; 32], usize> = HashMap::new();
        // What would be counted if every entry were good.
        let mut logs_there = HashSet::new();
        let mut witnesses_there: HashMap<[u8; 32], usize> = HashMap::new();
        for (i, entry) in entries.iter().enumerate() {
            let source = format!("tlogEntries[{i}]");
            let found = self.entry(i, entry, &source, claimed, times);
            logs_there.insert(found.log.as_ref().map_or(entry.log_id.clone(), |log| log.1.to_vec()));
            let Some((name, key)) = found.log else { continue };
            let raise = |most: &mut HashMap<[u8; 32], usize>| {
                let most = most.entry(key).or_default();
                *most = found.witnesses.len().max(*most);
            };
            raise(&mut witnesses_there);
            if !found.good {
                continue;
            }
            raise(&mut most_witnesses);
            counted.insert(key);
            witnesses.extend(found.witnesses);
            verified.push(VerifiedEntry { log: name, log_id: entry.log_id.clone(), index: found.index });
        }
        let required = self.requirements.logs;
        let expected = format!("entries of at least {required} transparency logs");
        match counted.len() {
            0 if required == 0 => self.out.skip(CheckName::Logs, "tlogEntries", "no entry"),
            0 if entries.is_empty() && self.material.tlogs.is_empty() => {
                self.out.fail(CheckName::Logs, "tlogEntries", Reason::NoTrustedLog, expected, "none");
            }
            0 if entries.is_empty() => {
                self.out.fail(CheckName::Logs, "tlogEntries", Reason::NoLogEntry, expected, "none");
            }
            found if found < required => {
                let reason = Reason::TooFewLogs;
                self.out.fail(CheckName::Logs, "tlogEntries", reason, expected, found.to_string());
                self.out.follows_when(logs_there.len() >= required, ENTRY_CHECKS);
            }
            found => self.out.pass(CheckName::Logs, "tlogEntries", expected, found.to_string()),
        }
        let enough = counted.len() >= required;
        let seen = self.witnesses(&most_witnesses, &witnesses_there);
        (enough && seen).then(|| (verified, witnesses.into_values().collect()))
    }

    /// Whether as many logs as are required, and at least one, were seen by enough witnesses each.
    fn witnesses(&mut self, most: &HashMap<[u8; 32], usize>, there: &HashMap<[u8; 32], usize>) -> bool {
        let required = self.requirements.witnesses;
        let logs = self.requirements.logs.max(1);
        // By how many witnesses that many logs were seen, each of them.
        let seen_by = |most: &HashMap<[u8; 32], usize>| {
            let mut counts: Vec<usize> = most.values().copied().collect();
            counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
            counts.get(logs - 1).copied().unwrap_or(0)
        };
        let name = CheckName::Witnesses;
        let expected = match logs {
            1 => format!("a checkpoint with cosignatures of at least {required} witnesses"),
            _ => {
                format!("checkpoints of {logs} logs, each with cosignatures of at least {required} witnesses")
            }
        };
        let found = seen_by(most);
        if found < required {
            self.out.fail(name, "tlogEntries", Reason::TooFewWitnesses, expected, found.to_string());
            let unread = self.out.count_failed(CheckName::Checkpoint) > 0;
            self.out.follows_when(unread || seen_by(there) >= required, ENTRY_CHECKS);
            return false;
        }
        match most.values().max() {
            None | Some(0) => self.out.skip(name, "tlogEntries", "no trusted witness"),
            Some(most) => {
                let found = if required == 0 { *most } else { found };
                self.out.pass(name, "tlogEntries", expected, found.to_string());
            }
        }
        true
    }

    /// Checks one entry.
    fn entry(
        &mut self,
        i: usize,
        entry: &TlogEntry,
        source: &str,
        claimed: &Claimed<'_>,
        times: &[Timestamp],
    ) -> Found {
        let (material, now) = (self.material, self.now);
        let logs = match log::find(entry, material) {
            Ok(logs) => logs,
            Err(failure) => {
                self.out.refuse(CheckName::Checkpoint, source, failure);
                self.said_with_the_time(source);
                self.bound(entry, source, claimed);
                return Found::default();
            }
        };
        let Some(first) = logs.first().copied() else { return Found::default() };
        let mut good = true;
        // Of logs with this id, the one that made the promise.
        let by =
            |promise: &Vec<u8>| logs.iter().copied().find(|log| self.promise(i, entry, promise, log).is_ok());
        let log = entry.inclusion_promise.as_ref().and_then(by).unwrap_or(first);
        let promised = entry.inclusion_promise.as_ref().map(|promise| self.promise(i, entry, promise, log));
        let promise_source = format!("{source}.inclusionPromise");
        let has_promise = matches!(promised, Some(Ok(()))) && !binding::is_v2(entry);
        match promised {
            None => self.out.skip(CheckName::LogPromise, promise_source, "no promise"),
            Some(Ok(())) => {
                let expected = format!("a promise signed by {}", log.name);
                self.out.pass(CheckName::LogPromise, promise_source, expected, "one that verifies");
            }
            Some(Err(failure)) => {
                good = false;
                self.out.refuse(CheckName::LogPromise, promise_source, failure);
                self.said_with_the_time(source);
            }
        }
        let mut witnesses = BTreeMap::new();
        let proof_source = format!("{source}.inclusionProof");
        if let Some(proof) = &entry.inclusion_proof {
            match log::verify_inclusion(entry, proof) {
                Ok(()) => {
                    let found = format!("index {} of {}", proof.log_index, proof.tree_size);
                    let expected = "a proof that leads to its root";
                    self.out.pass(CheckName::InclusionProof, proof_source.as_str(), expected, found);
                }
                Err(failure) => {
                    good = false;
                    self.out.refuse(CheckName::InclusionProof, proof_source.as_str(), failure);
                }
            }
        }
        let with_checkpoint = entry.inclusion_proof.as_ref().filter(|p| !p.checkpoint.is_empty());
        match with_checkpoint {
            Some(proof) => {
                let timed = has_promise && entry.integrated_time.is_some();
                let checked = log::verify_checkpoint(entry, proof, log, material, now).and_then(|seen| {
                    if !timed {
                        log::key_was_trusted(&log::windows(&logs, log), times, now)?;
                    }
                    Ok(seen)
                });
                let source = format!("{proof_source}.checkpoint");
                match checked {
                    Ok(seen) => {
                        witnesses = seen;
                        let expected = format!("a checkpoint of {} with the proof's root", log.name);
                        self.out.pass(CheckName::Checkpoint, source, expected, "one that verifies");
                    }
                    Err(failure) => {
                        good = false;
                        self.out.refuse(CheckName::Checkpoint, source, failure);
                    }
                }
            }
            None if has_promise => {
                self.out.skip(CheckName::Checkpoint, proof_source, "no checkpoint; the log's promise counts");
            }
            None => {
                good = false;
                let reason = Reason::InclusionProofMissing;
                let expected = "an inclusion proof with a checkpoint";
                self.out.fail(CheckName::InclusionProof, proof_source, reason, expected, "none");
            }
        }
        good &= self.bound(entry, source, claimed);
        // The promise is over the index in the log as a whole; a proof is of the one in its tree.
        let proven = entry.inclusion_proof.as_ref().map(|proof| proof.log_index);
        let index = proven.filter(|_| !has_promise).unwrap_or(entry.log_index);
        Found { good, log: Some((log.name.clone(), log.counted_as)), index, witnesses }
    }

    /// The time of an entry is under the same promise of the same log: when that failed, it was said there.
    fn said_with_the_time(&mut self, source: &str) {
        let same = self.out.has_failed(CheckName::IntegratedTime, &format!("{source}.integratedTime"));
        self.out.follows_when(same, &[CheckName::IntegratedTime]);
    }

    fn bound(&mut self, entry: &TlogEntry, source: &str, claimed: &Claimed<'_>) -> bool {
        let source = format!("{source}.canonicalizedBody");
        let bound = binding::verify_binding(entry, &self.bundle.content, claimed.holder(), self.subject);
        match bound {
            Ok(()) => {
                let expected = "an entry of this signature, this key and this digest";
                let found = format!("{} {}", entry.kind, entry.version);
                self.out.pass(CheckName::LogBinding, source, expected, found);
                true
            }
            Err(failure) => {
                self.out.refuse(CheckName::LogBinding, source, failure);
                let content = &self.bundle.content;
                let good = self.meant.as_ref().is_some_and(|meant| {
                    binding::verify_binding(entry, content, claimed.holder(), meant).is_ok()
                });
                self.out.follows_when(good, &[CheckName::Digest]);
                false
            }
        }
    }
}
