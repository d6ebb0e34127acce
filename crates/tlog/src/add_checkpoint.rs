//! Asking a witness, and being one (C2SP `tlog-witness`): the request, and what a witness makes of it.
//!
//! The witness's promise is that it never cosigns two histories. So what it answers depends on what it cosigned last, and
//! whoever runs it keeps the new checkpoint durably before the cosignature leaves: [`AddCheckpoint::judge`] says what is to
//! be kept, and signs nothing.

use countersign_crypto::encoding;

use crate::note::{MAX_NOTE_BYTES, NoteError};
use crate::{Checkpoint, Hash, Note, NoteVerifier, merkle};

/// The most hashes of a proof: a tree has no more levels.
pub const MAX_PROOF: usize = 63;
/// The largest request, in bytes.
pub const MAX_REQUEST: usize = MAX_NOTE_BYTES + 64 + MAX_PROOF * 64;
/// The content type of an answer that says which size the witness knows.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A request for a cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is thought to have cosigned last; 0 for none.
    pub old: u64,
    /// The proof that the new tree continues that one.
    pub proof: Vec<Hash>,
    /// The new checkpoint, signed by the log.
    pub note: Note,
}

/// Why a witness cosigns nothing. Each has its status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a request (400).
    #[error("malformed request: {0}")]
    Malformed(String),
    /// A log that this witness does not know (404).
    #[error("the log {0} is not witnessed here")]
    UnknownLog(String),
    /// Not signed by the log (403).
    #[error("no signature by the log: {0}")]
    NotSigned(NoteError),
    /// A tree that is smaller than the one it is said to continue (400).
    #[error("the old size {old} is above the checkpoint's, {new}")]
    Shrinking {
        /// The old size.
        old: u64,
        /// The checkpoint's.
        new: u64,
    },
    /// Another size was cosigned last, or another root of this size (409).
    #[error("the checkpoint cosigned last has the size {known}")]
    Conflict {
        /// The size.
        known: u64,
    },
    /// A proof that does not show it (422).
    #[error("the tree does not continue the one cosigned last: {0}")]
    Proof(String),
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Shrinking { .. } => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict { .. } => 409,
            Self::Proof(_) => 422,
        }
    }
}

impl AddCheckpoint {
    /// Writes the body of the request.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&encoding::base64_encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note.to_string());
        text
    }

    /// Reads the body of a request. Nothing in it is verified.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::Malformed(what.to_owned());
        if bytes.len() > MAX_REQUEST {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        let (head, note) =
            text.split_once("\n\n").ok_or_else(|| bad("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old =
            lines.next().and_then(|line| line.strip_prefix("old ")).ok_or_else(|| bad("no old size"))?;
        let plain = old.bytes().all(|b| b.is_ascii_digit()) && (old == "0" || !old.starts_with('0'));
        let old = old.parse().ok().filter(|_| plain).ok_or_else(|| bad("the old size is no number"))?;
        let hash = |line| encoding::base64_decode(line).ok().and_then(|hash| Hash::try_from(hash).ok());
        let proof: Vec<Hash> = lines
            .take(MAX_PROOF + 1)
            .map(hash)
            .collect::<Option<_>>()
            .ok_or_else(|| bad("a line of the proof is not a hash in base64"))?;
        if proof.len() > MAX_PROOF {
            return Err(bad("the proof has more than 63 lines"));
        }
        let note = Note::parse(note.as_bytes()).map_err(|e| Refusal::Malformed(e.to_string()))?;
        Ok(Self { old, proof, note })
    }

    /// The log that the checkpoint is said to be of.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it is no checkpoint.
    pub fn origin(&self) -> Result<String, Refusal> {
        let checkpoint =
            Checkpoint::parse(self.note.text()).map_err(|e| Refusal::Malformed(e.to_string()))?;
        Ok(checkpoint.origin)
    }

    /// Whether a witness that knows the log by these keys, and cosigned `latest` last, cosigns this: the checkpoint that it
    /// is to keep before it does.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self, keys: &[NoteVerifier], latest: Option<&Checkpoint>) -> Result<Checkpoint, Refusal> {
        let checkpoint = self.signed(keys)?;
        let (old, new) = (self.old, checkpoint.size);
        if old > new {
            return Err(Refusal::Shrinking { old, new });
        }
        let known = latest.map_or(0, |latest| latest.size);
        let conflict = Err(Refusal::Conflict { known });
        if old != known {
            return conflict;
        }
        // Of the empty tree there is one root, whether or not anything was cosigned.
        let root = latest.map_or_else(merkle::empty_root, |latest| latest.root);
        if old == new && checkpoint.root != root {
            return conflict;
        }
        merkle::verify_consistency(old, &root, new, &checkpoint.root, &self.proof)
            .map_err(|e| Refusal::Proof(e.to_string()))?;
        Ok(checkpoint)
    }

    /// The checkpoint, signed by one of the log's keys.
    fn signed(&self, keys: &[NoteVerifier]) -> Result<Checkpoint, Refusal> {
        let mut last = None;
        for key in keys {
            match Checkpoint::from_note(&self.note, key) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error @ NoteError::NoSignature { .. }) => last = last.or(Some(error)),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(Refusal::NotSigned(error)),
            None => Err(Refusal::UnknownLog(self.origin()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_crypto::{KeyPair, KeyType};

    use super::*;
    use crate::NoteSigner;
    use crate::merkle::{Frontier, leaf_hash};
    use crate::proof::{Leaves, consistency};

    fn leaves(changed: Option<u8>) -> Leaves {
        Leaves((0..40_u8).map(|i| leaf_hash(&[i, u8::from(changed == Some(i))])).collect())
    }

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::rekor_v2(name, Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap())).unwrap()
    }

    fn request(signer: &NoteSigner, tree: &Leaves, old: u64, new: u64) -> AddCheckpoint {
        let mut edge = Frontier::default();
        tree.0[..usize::try_from(new).unwrap()].iter().for_each(|leaf| edge.push(*leaf));
        let origin = signer.verifier().name.clone();
        let checkpoint = Checkpoint { origin, size: new, root: edge.root(), extensions: vec![] };
        let note = checkpoint.sign(std::slice::from_ref(signer), 0).unwrap();
        AddCheckpoint { old, proof: consistency(tree, old.min(new), new).unwrap(), note }
    }

    #[test]
    fn growth_is_cosigned_from_any_size_to_any_other() {
        let (log, tree) = (signer("log.test"), leaves(None));
        let keys = [log.verifier().clone()];
        for old in 0..40 {
            for new in old..=40 {
                let asked = request(&log, &tree, old, new);
                let read = AddCheckpoint::parse(asked.to_text().as_bytes()).unwrap();
                assert_eq!(read, asked);
                let latest = Checkpoint::parse(request(&log, &tree, 0, old).note.text()).unwrap();
                let latest = (old > 0).then_some(&latest);
                assert_eq!(read.judge(&keys, latest).unwrap().size, new, "{old} {new}");
            }
        }
    }

    #[test]
    fn each_refusal_has_the_status_of_the_protocol() {
        let (log, stranger) = (signer("log.test"), signer("log.test"));
        let (honest, forked) = (leaves(None), leaves(Some(3)));
        let keys = [log.verifier().clone()];
        let latest = Checkpoint::parse(request(&log, &honest, 0, 9).note.text()).unwrap();
        let status = |asked: &AddCheckpoint, latest: Option<&Checkpoint>| {
            asked.judge(&keys, latest).map(|c| c.size).map_err(|refusal| refusal.status())
        };
        let good = request(&log, &honest, 9, 20);
        assert_eq!(status(&good, Some(&latest)), Ok(20));
        assert_eq!(good.judge(&[], Some(&latest)).unwrap_err().status(), 404);
        assert_eq!(status(&request(&stranger, &honest, 9, 20), Some(&latest)), Err(403));
        assert_eq!(status(&AddCheckpoint { old: 21, ..good.clone() }, Some(&latest)), Err(400));
        assert_eq!(status(&request(&log, &honest, 8, 20), Some(&latest)), Err(409));
        assert_eq!(status(&good, None), Err(409));
        assert_eq!(status(&request(&log, &honest, 0, 20), Some(&latest)), Err(409));
        assert_eq!(
            status(&request(&log, &forked, 9, 9), Some(&latest)),
            Err(409),
            "another root of one size"
        );
        assert_eq!(status(&request(&log, &forked, 9, 20), Some(&latest)), Err(422), "another history");
        assert_eq!(status(&AddCheckpoint { proof: vec![], ..good.clone() }, Some(&latest)), Err(422));
        let first = request(&log, &honest, 0, 20);
        assert_eq!(status(&first, None), Ok(20));
        assert_eq!(status(&AddCheckpoint { proof: vec![[0; 32]], ..first }, None), Err(422));
        let same = request(&log, &honest, 9, 9);
        assert_eq!(status(&same, Some(&latest)), Ok(9));
        assert_eq!(status(&AddCheckpoint { proof: vec![[0; 32]], ..same }, Some(&latest)), Err(422));
        // A log that says its empty tree has another root.
        let odd = Checkpoint { origin: "log.test".into(), size: 0, root: [1; 32], extensions: vec![] };
        let note = odd.sign(std::slice::from_ref(&log), 0).unwrap();
        assert_eq!(status(&AddCheckpoint { old: 0, proof: vec![], note }, None), Err(409));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let (log, tree) = (signer("log.test"), leaves(None));
        let good = request(&log, &tree, 9, 20).to_text();
        assert!(AddCheckpoint::parse(good.as_bytes()).is_ok());
        let hash = encoding::base64_encode(&[0; 32]);
        let long = good.replacen('\n', &format!("\n{}", format!("{hash}\n").repeat(64)), 1);
        for bad in [
            String::new(),
            "old 9".into(),
            good.replace("old 9", "old 09"),
            good.replace("old 9", "old -9"),
            good.replace("old 9", "old "),
            good.replace("old 9", "new 9"),
            good.replacen('\n', "\nAAAA\n", 1),
            good[..good.len() - 3].to_owned(),
            long,
        ] {
            assert!(matches!(AddCheckpoint::parse(bad.as_bytes()), Err(Refusal::Malformed(_))), "{bad:?}");
        }
        let huge = format!("{good}{}", " ".repeat(MAX_REQUEST));
        assert!(AddCheckpoint::parse(huge.as_bytes()).is_err());
    }
}
