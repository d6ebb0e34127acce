//! The checks of log entries, and the counting of logs and witnesses.

use std::collections::{BTreeMap, HashSet};

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
    /// The witnesses of its checkpoint: name by key.
    witnesses: BTreeMap<[u8; 32], String>,
}

impl Run<'_> {
    pub(super) fn logs(
        &mut self,
        claimed: &Claimed<'_>,
        times: &[Timestamp],
    ) -> (Vec<VerifiedEntry>, Vec<String>) {
        let entries = &self.bundle.verification_material.tlog_entries;
        let mut verified = Vec::new();
        let mut counted = HashSet::new();
        let mut witnesses = BTreeMap::new();
        // What would be counted if every entry were good.
        let (mut logs_there, mut witnesses_there) = (HashSet::new(), HashSet::new());
        for (i, entry) in entries.iter().enumerate() {
            let source = format!("tlogEntries[{i}]");
            let found = self.entry(i, entry, &source, claimed, times);
            logs_there.insert(found.log.as_ref().map_or(entry.log_id.clone(), |log| log.1.to_vec()));
            witnesses_there.extend(found.witnesses.keys().copied());
            let (true, Some((name, key))) = (found.good, found.log) else { continue };
            counted.insert(key);
            witnesses.extend(found.witnesses);
            verified.push(VerifiedEntry { log: name, log_id: entry.log_id.clone(), index: entry.log_index });
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
        let required = self.requirements.witnesses;
        let expected = format!("cosignatures of at least {required} witnesses");
        let found = witnesses.len().to_string();
        if witnesses.len() < required {
            self.out.fail(CheckName::Witnesses, "tlogEntries", Reason::TooFewWitnesses, expected, found);
            let unread = self.out.count_failed(CheckName::Checkpoint) > 0;
            self.out.follows_when(unread || witnesses_there.len() >= required, ENTRY_CHECKS);
        } else if witnesses.is_empty() {
            self.out.skip(CheckName::Witnesses, "tlogEntries", "no trusted witness");
        } else {
            self.out.pass(CheckName::Witnesses, "tlogEntries", expected, found);
        }
        (verified, witnesses.into_values().collect())
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
        let Some(log) = logs.first().copied() else { return Found::default() };
        let mut good = true;
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
                        log::key_was_trusted(&logs, times, now)?;
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
        Found { good, log: Some((log.name.clone(), log.counted_as)), witnesses }
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
