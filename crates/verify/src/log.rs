//! Log entries: the log's promise, the inclusion proof, the checkpoint under it, and its witnesses.

use std::collections::BTreeMap;

use countersign_bundle::{InclusionProof, TlogEntry};
use countersign_crypto::encoding;
use countersign_tlog::note::{Note, NoteError};
use countersign_tlog::witness::WitnessError;
use countersign_tlog::{Checkpoint, Hash, NoteVerifier, merkle};
use jiff::Timestamp;

use crate::Reason;
use crate::binding::is_v2;
use crate::material::{Log, TrustMaterial};
use crate::report::Failure;

/// The logs of the trust root with the entry's id. More than one when a log stands there with several windows.
pub(crate) fn find<'a>(entry: &TlogEntry, material: &'a TrustMaterial) -> Result<Vec<&'a Log>, Failure> {
    let found: Vec<&Log> = material.tlogs.iter().filter(|log| log.id == entry.log_id).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let id = encoding::hex_encode(&entry.log_id);
    Err(if material.tlogs.is_empty() {
        Failure::new(Reason::NoTrustedLog, "a transparency log in the trust root", "none")
    } else {
        Failure::new(Reason::LogUntrusted, "an entry of a log in the trust root", format!("log id {id}"))
    })
}

/// Of logs with one id, those windows which are of this log's key: another key's say nothing about what it signed.
pub(crate) fn windows<'a>(logs: &[&'a Log], log: &Log) -> Vec<&'a Log> {
    logs.iter().copied().filter(|other| other.counted_as == log.counted_as).collect()
}

/// Checks the promise of Rekor v1: a signature over the entry's body, time, log and index in canonical JSON. It is a
/// promise with a time, and the window of the log's key is held against that; without one there is no promise.
pub(crate) fn verify_promise(entry: &TlogEntry, promise: &[u8], log: &Log) -> Result<(), Failure> {
    let Some(time) = entry.integrated_time else {
        return Err(Failure::new(Reason::PromiseInvalid, "a promise with the time it was given", "no time"));
    };
    // JCS orders members by name; base64, hex and integers need no escaping.
    let signed = format!(
        "{{\"body\":\"{}\",\"integratedTime\":{time},\"logID\":\"{}\",\"logIndex\":{}}}",
        encoding::base64_encode(&entry.canonicalized_body),
        encoding::hex_encode(&entry.log_id),
        entry.log_index
    );
    log.key.verify(log.key.key_type().default_scheme(), signed.as_bytes(), promise).map_err(|e| {
        Failure::new(Reason::PromiseInvalid, format!("a promise signed by {}", log.name), e.to_string())
    })
}

/// The time of a verified promise, if it counts: inside the window of the log's key, and not in the future.
pub(crate) fn integrated_time(seconds: i64, logs: &[&Log], now: Timestamp) -> Result<Timestamp, Failure> {
    let time = Timestamp::from_second(seconds)
        .map_err(|e| Failure::new(Reason::LogEntryMalformed, "a time", e.to_string()))?;
    if time > now {
        return Err(Failure::new(Reason::TimeInFuture, format!("a time not after {now}"), time.to_string()));
    }
    if logs.iter().any(|log| log.valid_for.contains(time)) {
        return Ok(time);
    }
    Err(Failure::new(Reason::LogKeyNotValid, "a time at which the log's key is trusted", time.to_string()))
}

/// Checks that the log's key was trusted at the times at which the signature is known to have existed. For entries
/// without a time of their own.
pub(crate) fn key_was_trusted(logs: &[&Log], times: &[Timestamp], now: Timestamp) -> Result<(), Failure> {
    let trusted = |log: &&&Log| {
        if times.is_empty() {
            log.valid_for.start <= now
        } else {
            times.iter().all(|t| log.valid_for.contains(*t))
        }
    };
    if logs.iter().find(trusted).is_some() {
        return Ok(());
    }
    let found = times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Failure::new(Reason::LogKeyNotValid, "a time at which the log's key is trusted", found))
}

fn hash(bytes: &[u8], what: &str) -> Result<Hash, Failure> {
    Hash::try_from(bytes).map_err(|_| {
        Failure::new(
            Reason::InclusionProofInvalid,
            format!("{what} of 32 bytes"),
            format!("{} bytes", bytes.len()),
        )
    })
}

/// Checks that the entry's leaf is in the tree with the proof's root.
pub(crate) fn verify_inclusion(entry: &TlogEntry, proof: &InclusionProof) -> Result<(), Failure> {
    let root = hash(&proof.root_hash, "a root hash")?;
    let hashes = proof.hashes.iter().map(|h| hash(h, "a hash")).collect::<Result<Vec<_>, _>>()?;
    let leaf = merkle::leaf_hash(&entry.canonicalized_body);
    merkle::verify_inclusion(&leaf, proof.log_index, proof.tree_size, &hashes, &root).map_err(|e| {
        Failure::new(Reason::InclusionProofInvalid, "a proof that leads to its root", e.to_string())
    })
}

/// Checks the checkpoint: the log signed it, it is the log's own, and it is of the tree of the proof. Returns the
/// trusted witnesses which cosigned it: name by key.
pub(crate) fn verify_checkpoint(
    entry: &TlogEntry,
    proof: &InclusionProof,
    log: &Log,
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<BTreeMap<Hash, String>, Failure> {
    let malformed =
        |e: NoteError| Failure::new(Reason::CheckpointMalformed, "a signed checkpoint", e.to_string());
    let note = Note::parse(proof.checkpoint.as_bytes()).map_err(malformed)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(malformed)?;
    let v2 = is_v2(entry);
    let verifiers = if v2 { log.v2.as_slice() } else { log.v1.as_slice() };
    let signed = |v: &&NoteVerifier| note.signatures().iter().any(|s| s.name == v.name && s.hint == v.hint());
    let Some(verifier) = verifiers.iter().find(signed).or_else(|| verifiers.first()) else {
        return Err(Failure::new(
            Reason::CheckpointUntrusted,
            "a log with a host name in the trust root",
            format!("\"{}\"", log.name),
        ));
    };
    verifier.verify(&note).map_err(|e| {
        let reason = match e {
            NoteError::NoSignature { .. } => Reason::CheckpointUntrusted,
            NoteError::SignatureInvalid { .. } => Reason::CheckpointInvalid,
            _ => Reason::CheckpointMalformed,
        };
        Failure::new(reason, format!("a checkpoint signed by {}", verifier.name), e.to_string())
    })?;
    // Rekor v1 appends the number of its tree to its name.
    let name = verifier.name.as_str();
    let own = checkpoint.origin == name
        || (!v2 && checkpoint.origin.strip_prefix(name).is_some_and(|rest| rest.starts_with(" - ")));
    if !own {
        return Err(Failure::new(Reason::CheckpointOrigin, format!("origin {name}"), checkpoint.origin));
    }
    if checkpoint.size != proof.tree_size || checkpoint.root.as_slice() != proof.root_hash {
        let tree = |size: u64, root: &[u8]| format!("size {size}, root {}", encoding::hex_encode(root));
        return Err(Failure::new(
            Reason::CheckpointMismatch,
            format!("the tree of the proof: {}", tree(proof.tree_size, &proof.root_hash)),
            tree(checkpoint.size, &checkpoint.root),
        ));
    }
    witnesses(&note, material, now)
}

fn witnesses(
    note: &Note,
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<BTreeMap<Hash, String>, Failure> {
    material.witnesses.cosigners(note, now).map_err(|e| {
        let reason = match e {
            WitnessError::Future { .. } => Reason::TimeInFuture,
            _ => Reason::WitnessInvalid,
        };
        Failure::new(reason, "cosignatures over this checkpoint, of now or before", e.to_string())
    })
}
