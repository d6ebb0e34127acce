//! A log under load, known by where it listens: what `interop/bench-log` runs beside each server in turn.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use countersign_bundle::TlogEntry;
use countersign_tlog::merkle::{leaf_hash, verify_inclusion};
use countersign_tlog::{Checkpoint, Hash, Note};
use serde::Serialize;

use crate::load::{Outcome, Target, closed_loop_where, open_loop};
use crate::services::entries;

/// Of so many answers, one has its proof checked.
const SAMPLE: usize = 50;
/// How many entries each connection sends before anything counts.
const WARM_UP: usize = 8;

/// Appends entries to a log that speaks Rekor v2 and prints one line of JSON.
#[derive(Debug, Args)]
pub(crate) struct Append {
    /// Where the log listens; connections are spread over several front ends
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
    /// So many connections, each sending its next entry when its answer is there; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "64")]
    connections: Vec<usize>,
    /// Then so many entries a second, whatever the answers do
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// What a measurement gave; times in milliseconds.
#[derive(Debug, Serialize)]
struct Figures {
    entries: usize,
    per_second: f64,
    p50: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Printed {
    /// For each number of connections.
    saturated: Vec<Figures>,
    steady: Figures,
    /// All entries that were acknowledged, with those of the warming up.
    entries: usize,
    /// How many of them had their proof checked.
    proofs: usize,
}

impl Figures {
    fn of(outcome: &Outcome, entries: usize) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self { entries, per_second: outcome.per_second, p50: ms(outcome.p50), p99: ms(outcome.p99) }
    }
}

/// What the answers say, as far as it is looked at.
#[derive(Debug, Clone, Default)]
struct Answers(Arc<(AtomicUsize, Mutex<BTreeSet<u64>>)>);

impl Answers {
    fn wanted(&self, status: u16, body: &[u8]) -> bool {
        let number = self.0.0.fetch_add(1, Ordering::Relaxed);
        status == 201
            && (!number.is_multiple_of(SAMPLE)
                || self
                    .check(body)
                    .inspect_err(|error| eprintln!("an answer proves nothing: {error:#}"))
                    .is_ok())
    }

    /// That an entry is in the tree of the checkpoint that comes with it, at an index which no other was given.
    fn check(&self, body: &[u8]) -> Result<()> {
        let index = proven(body)?;
        let mut seen = self.0.1.lock().map_err(|_| anyhow::anyhow!("another check went wrong"))?;
        ensure!(seen.insert(index), "index {index} was given twice");
        Ok(())
    }

    fn counts(&self) -> Result<(usize, usize)> {
        let proofs = self.0.1.lock().map_err(|_| anyhow::anyhow!("a check went wrong"))?.len();
        Ok((self.0.0.load(Ordering::Relaxed), proofs))
    }
}

/// The index of an entry whose proof holds. Whose signature the checkpoint has is not looked at.
fn proven(body: &[u8]) -> Result<u64> {
    let entry = TlogEntry::from_json(body)?;
    let proof = entry.inclusion_proof.context("no inclusion proof")?;
    let hash = |bytes: &[u8]| Hash::try_from(bytes).context("a hash of another length");
    let hashes = proof.hashes.iter().map(|h| hash(h)).collect::<Result<Vec<_>>>()?;
    let checkpoint = Checkpoint::parse(Note::parse(proof.checkpoint.as_bytes())?.text())?;
    let leaf = leaf_hash(&entry.canonicalized_body);
    verify_inclusion(&leaf, proof.log_index, checkpoint.size, &hashes, &checkpoint.root)?;
    Ok(proof.log_index)
}

/// Measures, at saturation and at a steady rate.
pub(crate) async fn append(arguments: &Append) -> Result<()> {
    let targets: Vec<Target> = arguments.addresses.iter().map(|a| Target::from(*a)).collect();
    let host = *arguments.addresses.first().context("no address")?;
    let answers = Answers::default();
    let wanted = {
        let answers = answers.clone();
        move |status: u16, body: &[u8]| answers.wanted(status, body)
    };
    let mut saturated = Vec::with_capacity(arguments.connections.len());
    for &connections in &arguments.connections {
        let run = async |count: usize| {
            closed_loop_where(&targets, entries(host, count)?, connections, wanted.clone()).await
        };
        // As many entries as it takes that long to append, as far as a shorter run told.
        let mut outcome = run(connections * WARM_UP).await?;
        let figures = loop {
            let count = whole(outcome.per_second * f64::from(arguments.seconds)).max(connections);
            outcome = run(count).await?;
            if outcome.total.as_secs_f64() * 2.0 > f64::from(arguments.seconds) {
                break Figures::of(&outcome, count);
            }
        };
        saturated.push(figures);
    }
    let count = usize::try_from(u64::from(arguments.rate) * u64::from(arguments.seconds))?;
    let outcome = open_loop(&targets, entries(host, count)?, arguments.rate, wanted).await?;
    let (entries, proofs) = answers.counts()?;
    ensure!(proofs > 0, "no answer had its proof checked");
    let steady = Figures::of(&outcome, count);
    println!("{}", serde_json::to_string(&Printed { saturated, steady, entries, proofs })?);
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive count far below 2^52"
)]
const fn whole(count: f64) -> usize {
    count as usize
}

#[cfg(test)]
mod tests {
    use countersign_bundle::InclusionProof;

    use super::*;

    /// The answer of a log with this entry alone.
    fn answer(body: &[u8], root_of: &[u8]) -> Vec<u8> {
        let root = leaf_hash(root_of);
        let checkpoint = Checkpoint { origin: "log.example".into(), size: 1, root, extensions: vec![] };
        let key = countersign_crypto::KeyPair::generate(countersign_crypto::KeyType::Ed25519).unwrap();
        let signer = countersign_tlog::NoteSigner::rekor_v2("log.example", Arc::new(key)).unwrap();
        let note = checkpoint.sign(&[signer], 0).unwrap();
        let entry = TlogEntry {
            log_index: 0,
            log_id: vec![1; 32],
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: Some(InclusionProof {
                log_index: 0,
                root_hash: root.to_vec(),
                tree_size: 1,
                hashes: vec![],
                checkpoint: note.to_string(),
            }),
            canonicalized_body: body.to_vec(),
        };
        entry.to_json()
    }

    #[test]
    fn only_a_created_entry_in_the_checkpoints_tree_is_wanted() {
        assert!(Answers::default().wanted(201, &answer(b"{}", b"{}")));
        assert!(!Answers::default().wanted(200, &answer(b"{}", b"{}")));
        assert!(!Answers::default().wanted(201, &answer(b"{}", b"{\"another\":1}")));
        assert!(!Answers::default().wanted(201, b"{}"));
    }

    #[test]
    fn an_index_that_is_given_twice_is_not_wanted() {
        let answers = Answers::default();
        answers.check(&answer(b"{}", b"{}")).unwrap();
        assert!(answers.check(&answer(b"{}", b"{}")).is_err());
    }
}
