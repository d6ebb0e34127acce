//! Evidence of an incident: what somebody signed, in one file that verifies offline.
//!
//! A file says nothing by itself. Given the trusted root whose digest it names, each checkpoint is shown to be a log's, each
//! entry to be in the tree of its checkpoint and to be by whoever is looked for, and each signature of an image to verify.

use countersign_attestation::json::{self, Base64, Bounded};
use countersign_bundle::{Bundle, KeyMaterial, TrustedRoot};
use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{Digest, PublicKey, sha256};
use countersign_registry::Reference;
use countersign_tlog::note::MAX_NOTE_BYTES;
use countersign_tlog::{Checkpoint, Hash, Note, merkle};
use countersign_verify::revocation::{Revocations, Signature, Target};
use countersign_verify::{Requirements, Subject, TrustMaterial};
use countersign_x509::Certificate;
use serde::{Deserialize, Serialize};

use crate::ClientError;
use crate::log_tree::Proven;
use crate::looking::{Hit, hits, key_in, looked_for};
use crate::trust::verifier_of;

/// Why a file is none of this kind of evidence. What lies beside it is a checkpoint, so that is what is given by mistake.
pub(crate) fn not_evidence(
    what: &str,
    schema: &str,
    bytes: &[u8],
    error: &dyn std::fmt::Display,
) -> ClientError {
    let is_checkpoint = Note::parse(bytes).is_ok_and(|note| Checkpoint::parse(note.text()).is_ok());
    let message = match is_checkpoint {
        true => format!("it is a checkpoint, not evidence; expected a file of {schema}"),
        false => format!("expected a file of {schema} in JSON: {error}"),
    };
    ClientError::malformed(what, message)
}

/// The largest file of evidence, in bytes.
pub const MAX_EVIDENCE: usize = 256 << 20;
/// The most entries of the logs, and the most signatures of images, in a file.
pub const MAX_ITEMS: usize = 10_000;
/// The most things that are looked for.
const MAX_TARGETS: usize = 1000;
/// The most logs.
const MAX_LOGS: usize = 100;
/// The most hashes of a proof.
const MAX_PROOF: usize = 64;
const SCHEMA: &str = "countersign.incident-evidence";

/// What was found, with its proofs. Nothing in a file that was read is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    schema: String,
    schema_version: u32,
    /// When it was gathered.
    collected: Timestamp,
    /// What was looked for.
    targets: Bounded<Target, MAX_TARGETS>,
    since: Option<Timestamp>,
    /// SHA-256 of the trusted root, in its own JSON.
    trusted_root: String,
    logs: Bounded<Log, MAX_LOGS>,
    images: Bounded<Signed, MAX_ITEMS>,
}

/// A log, and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Log {
    checkpoint: String,
    entries: Bounded<Entry, MAX_ITEMS>,
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    index: u64,
    body: Base64,
    proof: Bounded<Base64, MAX_PROOF>,
}

/// A signature of an image, as its registry had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Signed {
    image: String,
    bundle: Base64,
}

/// What evidence shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// When it is said to have been gathered: nobody vouches for this.
    pub collected: Timestamp,
    /// What was signed, as each log has it.
    pub logs: Vec<ShownLog>,
    /// Images that were signed.
    pub images: Vec<String>,
}

/// What evidence shows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownLog {
    /// Which log.
    pub origin: String,
    /// How large it was.
    pub size: u64,
    /// What was signed, as the log has it.
    pub hits: Vec<Hit>,
}

impl Evidence {
    /// Begins a file: what is looked for, by which trusted root.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when too much is looked for, [`ClientError::Malformed`] for a root that cannot be written.
    pub fn new(
        targets: Vec<Target>,
        since: Option<Timestamp>,
        root: &TrustedRoot,
        collected: Timestamp,
    ) -> Result<Self, ClientError> {
        if targets.len() > MAX_TARGETS {
            return Err(ClientError::Usage(format!("expected at most {MAX_TARGETS} things to look for")));
        }
        Ok(Self {
            schema: SCHEMA.to_owned(),
            schema_version: 2,
            collected,
            targets: Bounded(targets),
            since,
            trusted_root: digest_of(root)?,
            logs: Bounded(Vec::new()),
            images: Bounded(Vec::new()),
        })
    }

    /// Adds a log: its checkpoint, and what was found in it.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when there are too many.
    pub fn add_log(&mut self, checkpoint: &str, entries: Vec<Proven>) -> Result<(), ClientError> {
        room(self.logs.0.len(), 1, MAX_LOGS)?;
        let before = self.logs.0.iter().map(|log| log.entries.0.len()).sum();
        room(before, entries.len(), MAX_ITEMS)?;
        let entry = |Proven { index, body, proof }: Proven| {
            let proof = Bounded(proof.iter().map(|hash| Base64(hash.to_vec())).collect());
            Entry { index, body: Base64(body), proof }
        };
        let entries = Bounded(entries.into_iter().map(entry).collect());
        self.logs.0.push(Log { checkpoint: checkpoint.to_owned(), entries });
        Ok(())
    }

    /// Adds a signature of an image.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when there are too many, [`ClientError::Malformed`] for a form that no file holds.
    pub fn add_image(&mut self, image: &Reference, bundle: &Bundle) -> Result<(), ClientError> {
        let json = bundle.to_json().map_err(|e| ClientError::malformed("a bundle", &e))?;
        room(self.images.0.len(), 1, MAX_ITEMS)?;
        self.images.0.push(Signed { image: image.to_string(), bundle: Base64(json) });
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ClientError::Malformed`].
    pub fn from_json(what: &str, bytes: &[u8]) -> Result<Self, ClientError> {
        let read: Self =
            json::from_slice(bytes, MAX_EVIDENCE).map_err(|e| not_evidence(what, SCHEMA, bytes, &e))?;
        if (read.schema.as_str(), read.schema_version) != (SCHEMA, 2) {
            let found = format!("expected {SCHEMA} 2, found {} {}", read.schema, read.schema_version);
            return Err(ClientError::malformed(what, &found));
        }
        Ok(read)
    }

    /// The file.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] when it would be too large to be read again.
    pub fn to_json(&self) -> Result<Vec<u8>, ClientError> {
        let json = serde_json::to_vec(self).map_err(|e| ClientError::malformed("the evidence", &e))?;
        if json.len() > MAX_EVIDENCE {
            let found = format!("expected at most {MAX_EVIDENCE} bytes, found {}", json.len());
            return Err(ClientError::malformed("the evidence", &found));
        }
        Ok(json)
    }

    /// Verifies everything in it. One thing that does not hold, and the file shows nothing.
    ///
    /// # Errors
    /// [`ClientError::Proof`] with what does not hold.
    pub fn verify(&self, root: &TrustedRoot, now: Timestamp) -> Result<Shown, ClientError> {
        let found = digest_of(root)?;
        if found != self.trusted_root {
            return Err(ClientError::Proof(format!(
                "expected the trusted root {}, found {found}",
                self.trusted_root
            )));
        }
        let wanted = looked_for(self.targets.0.clone(), now)?;
        if self.logs.0.is_empty() {
            return Err(ClientError::Proof("expected the checkpoint of a log in it, found none".into()));
        }
        let mut shown = Shown { collected: self.collected, logs: Vec::new(), images: Vec::new() };
        let mut known = Vec::new();
        for log in &self.logs.0 {
            let (checkpoint, key) = log.checkpoint(root)?;
            // Else one entry would be shown as two.
            if known.contains(&(key, checkpoint.origin.clone())) {
                return Err(ClientError::Proof(format!("the log {} is in it twice", checkpoint.origin)));
            }
            known.push((key, checkpoint.origin.clone()));
            let hits = log.hits(&checkpoint, &wanted, self.since, now)?;
            shown.logs.push(ShownLog { origin: checkpoint.origin, size: checkpoint.size, hits });
        }
        let material =
            TrustMaterial::from_trusted_root(root).map_err(|e| ClientError::Trust(e.to_string()))?;
        for Signed { image, bundle } in &self.images.0 {
            let not =
                |e: &dyn std::fmt::Display| ClientError::Proof(format!("the signature of {image}: {e}"));
            let reference = Reference::parse(image).map_err(|e| not(&e))?;
            let digest = *reference.digest().ok_or_else(|| not(&"expected a digest, found none"))?;
            let bundle = Bundle::from_json(&bundle.0).map_err(|e| not(&e))?;
            if !is_by(&bundle, &digest, &wanted, now) {
                return Err(not(&"it is not by what is looked for"));
            }
            verify_image(&bundle, digest, &material, now).map_err(|e| not(&e))?;
            shown.images.push(image.clone());
        }
        Ok(shown)
    }
}

impl Log {
    /// Its checkpoint, and the id of the key that signed it.
    fn checkpoint(&self, root: &TrustedRoot) -> Result<(Checkpoint, Hash), ClientError> {
        let wrong = |e: &dyn std::fmt::Display| ClientError::Proof(format!("the checkpoint: {e}"));
        if self.checkpoint.len() > MAX_NOTE_BYTES {
            return Err(wrong(&"it is too long"));
        }
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(|e| wrong(&e))?;
        let mut verifiers = root.tlogs.iter().filter_map(|log| verifier_of(log).ok());
        let found = verifiers
            .find_map(|verifier| Some((Checkpoint::from_note(&note, &verifier).ok()?, verifier.key_id)));
        found.ok_or_else(|| wrong(&"no log of the trusted root has signed it"))
    }

    /// What its entries show, which are in their order.
    fn hits(
        &self,
        checkpoint: &Checkpoint,
        wanted: &Revocations,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<Hit>, ClientError> {
        let (mut shown, mut last) = (Vec::new(), None);
        for entry in &self.entries.0 {
            if last.is_some_and(|last| entry.index <= last) {
                return Err(ClientError::Proof(format!("the entry {} is out of order", entry.index)));
            }
            last = Some(entry.index);
            shown.extend(entry.hits(checkpoint, wanted, since, now)?);
        }
        Ok(shown)
    }
}

impl Entry {
    /// What it shows.
    fn hits(
        &self,
        checkpoint: &Checkpoint,
        wanted: &Revocations,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<Hit>, ClientError> {
        let wrong = |e: &dyn std::fmt::Display| ClientError::Proof(format!("the entry {}: {e}", self.index));
        let proof = self.proof.0.iter().map(|hash| Hash::try_from(hash.0.clone()));
        let proof = proof.collect::<Result<Vec<_>, _>>().map_err(|_| wrong(&"a hash has not 32 bytes"))?;
        let leaf = merkle::leaf_hash(&self.body.0);
        merkle::verify_inclusion(&leaf, self.index, checkpoint.size, &proof, &checkpoint.root)
            .map_err(|e| wrong(&e))?;
        let found: Vec<Hit> = hits(self.index, &self.body.0, wanted, now)
            .unwrap_or_default()
            .into_iter()
            .filter(|hit| is_recent(hit, since))
            .collect();
        if found.is_empty() { Err(wrong(&"it is not by what is looked for")) } else { Ok(found) }
    }
}

/// Whether something was signed from a time on; of a bare key nobody knows, so it may have been.
#[must_use]
pub fn is_recent(hit: &Hit, since: Option<Timestamp>) -> bool {
    hit.issued.zip(since).is_none_or(|(issued, since)| issued >= since)
}

fn room(held: usize, more: usize, most: usize) -> Result<(), ClientError> {
    if held.saturating_add(more) <= most {
        return Ok(());
    }
    Err(ClientError::Usage(format!("there are more than {most} to keep in one file: narrow it by --since")))
}

fn digest_of(root: &TrustedRoot) -> Result<String, ClientError> {
    let json = root.to_json().map_err(|e| ClientError::malformed("the trusted root", &e))?;
    Ok(format!("sha256:{}", hex_encode(&sha256(&json))))
}

/// The key that signed, for a bundle without a certificate: as its log entry says.
fn key_of(bundle: &Bundle) -> Option<PublicKey> {
    let material = &bundle.verification_material;
    matches!(material.content, KeyMaterial::PublicKeyHint(_))
        .then(|| material.tlog_entries.iter().find_map(|entry| key_in(&entry.canonicalized_body)))
        .flatten()
}

/// Whether an image's signature is by what is looked for, as it says itself.
#[must_use]
pub fn is_by(bundle: &Bundle, image: &Digest, wanted: &Revocations, now: Timestamp) -> bool {
    let leaf = bundle.verification_material.content.leaf();
    let leaf = leaf.and_then(|der| Certificate::from_der(der).ok());
    let key = key_of(bundle);
    let signature = Signature {
        certificates: leaf.iter().collect(),
        key: key.as_ref(),
        digest: Some(*image),
        ..Signature::default()
    };
    wanted.ask(&signature, now).is_err()
}

/// Verifies an image's signature, whoever made it: who that must be was asked by [`is_by`]. What was revoked since does
/// not matter, as it is to be shown that it was there.
///
/// # Errors
/// Why it does not verify.
pub fn verify_image(
    bundle: &Bundle,
    image: Digest,
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<(), String> {
    let requirements = match key_of(bundle) {
        Some(key) => Requirements::builder().key(key).build(),
        None => Requirements::builder().dangerous_any_identity().build(),
    };
    let report =
        countersign_verify::verify(&Subject::from_digests([image]), bundle, material, &requirements, now);
    report.verified().map(|_| ()).map_err(|e| e.to_string())
}
