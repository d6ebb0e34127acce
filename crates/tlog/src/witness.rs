//! Witnesses: whose cosignatures under a checkpoint count, and the texts in which their keys are given
//! (C2SP `signed-note`, "Verifier keys": name, hint and key with a plus sign between them).

use std::collections::BTreeMap;

use countersign_crypto::{PublicKey, encoding};
use jiff::Timestamp;

use crate::note::{Note, NoteError};
use crate::{Hash, NoteKind, NoteVerifier};

/// The most witnesses read from one text.
const MAX_WITNESSES: usize = 100;

/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410, section 4).
const ED25519_SPKI_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a witness's key or cosignature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// A text that is not the key of a witness.
    #[error("line {line}: expected a witness's key such as name+1a2b3c4d+B…, found {found}")]
    Key {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        found: String,
    },
    /// A text without any key, which is never what somebody meant to trust.
    #[error("expected the key of at least one witness, found none")]
    Empty,
    /// More keys than are read.
    #[error("at most {MAX_WITNESSES} witnesses are read, found more")]
    TooMany,
    /// A line of a known witness whose signature does not verify.
    #[error("the cosignature of {name}: {source}")]
    Invalid {
        /// The witness.
        name: String,
        /// What is wrong with its signature.
        source: NoteError,
    },
    /// A cosignature from the future.
    #[error("the cosignature of {name}: expected a time not after {now}, found {time}")]
    Future {
        /// The witness.
        name: String,
        /// When it says it signed.
        time: Timestamp,
        /// The time it was looked at.
        now: Timestamp,
    },
}

/// The witnesses one trusts. They are counted by key: one key under two names is one witness.
///
/// ```
/// use countersign_tlog::Witnesses;
/// let text = "# ours\nwitness.example+a764aed9+BOpKYuVZ+H1yOr6mS3Z6QwbDjw3DGBeE9g7QmNmIKFHa\n";
/// assert!(Witnesses::parse(text).is_err(), "the hint is another key's");
/// assert!(Witnesses::parse("# nobody\n").is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnesses(Vec<NoteVerifier>);

impl Witnesses {
    /// Reads verifier keys, one on each line; empty lines and those that begin with `#` say nothing. Keys of type
    /// 04 (cosignature/v1) and of type 01 (Ed25519, as several witnesses publish theirs) are taken.
    ///
    /// # Errors
    /// [`WitnessError::Key`], [`WitnessError::Empty`], [`WitnessError::TooMany`].
    pub fn parse(text: &str) -> Result<Self, WitnessError> {
        let mut own = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if own.0.len() == MAX_WITNESSES {
                return Err(WitnessError::TooMany);
            }
            let key = parse_key(line).map_err(|found| WitnessError::Key { line: number + 1, found })?;
            own.add(key);
        }
        if own.0.is_empty() { Err(WitnessError::Empty) } else { Ok(own) }
    }

    /// Adds a witness by its name and its Ed25519 key.
    ///
    /// # Errors
    /// [`NoteError::Key`] for a key of another type and a name that cannot stand in a note.
    pub fn insert(&mut self, name: &str, key: PublicKey) -> Result<(), NoteError> {
        self.add(NoteVerifier::cosignature_v1(name, key)?);
        Ok(())
    }

    /// Adds those of another list.
    pub fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|witness| self.add(witness));
    }

    fn add(&mut self, witness: NoteVerifier) {
        if !self.0.contains(&witness) {
            self.0.push(witness);
        }
    }

    /// How many different keys there are: the most that can ever be counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.key.fingerprint()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Who of them cosigned a checkpoint, each under its key's fingerprint. Lines of others are passed over.
    ///
    /// # Errors
    /// [`WitnessError::Invalid`] when a line of a known witness does not verify, over another checkpoint say, and
    /// [`WitnessError::Future`].
    pub fn cosigners(&self, note: &Note, now: Timestamp) -> Result<BTreeMap<Hash, String>, WitnessError> {
        let mut seen = BTreeMap::new();
        for witness in &self.0 {
            let name = || witness.name.clone();
            let verified = match witness.verify(note) {
                Err(NoteError::NoSignature { .. }) => continue,
                other => other.map_err(|source| WitnessError::Invalid { name: name(), source })?,
            };
            if let Some(time) = verified.time.filter(|t| *t > now) {
                return Err(WitnessError::Future { name: name(), time, now });
            }
            seen.entry(witness.key.fingerprint()).or_insert_with(name);
        }
        Ok(seen)
    }
}

/// Reads one verifier key of a witness, or says what is wrong with it.
fn parse_key(text: &str) -> Result<NoteVerifier, String> {
    let published = NoteVerifier::parse(text)?;
    NoteVerifier::cosignature_v1(&published.name, published.key).map_err(|e| e.to_string())
}

impl NoteVerifier {
    /// Reads a verifier key as it is published, name, hint and key with a plus sign between them, of type 01 (Ed25519) or
    /// 04 (cosignature/v1), or says what is wrong with it.
    ///
    /// # Errors
    /// What was found instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Base64 has plus signs too; a name has none.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hint), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a text without two plus signs".into());
        };
        let bytes = encoding::base64_decode(key).map_err(|_| "a key that is not base64".to_owned())?;
        let (kind, raw) = match bytes.split_first() {
            Some((1, raw)) => (NoteKind::Ed25519, raw),
            Some((4, raw)) => (NoteKind::CosignatureV1, raw),
            Some((other, _)) => {
                return Err(format!("a key of type {other:02x}; those of witnesses are 01 and 04"));
            }
            None => return Err("an empty key".into()),
        };
        let spki = [ED25519_SPKI_PREFIX, raw].concat();
        let key = PublicKey::from_spki_der(&spki).map_err(|e| e.to_string())?;
        // The hint guards against a key that was mistyped or cut; it is of the key as it is published.
        let published = Self::new(kind, name, key).map_err(|e| e.to_string())?;
        let own = encoding::hex_encode(&published.hint());
        if hint != own {
            return Err(format!(
                "the hint {hint}, while name and key make {own}",
                hint = hint.escape_debug()
            ));
        }
        Ok(published)
    }

    /// The key as it is published, for kinds that are: Ed25519 and cosignature/v1.
    #[must_use]
    pub fn published(&self) -> Option<String> {
        let kind = match self.kind {
            NoteKind::Ed25519 => 1,
            NoteKind::CosignatureV1 => 4,
            _ => return None,
        };
        let key = encoding::base64_encode(&[&[kind], self.key.raw()].concat());
        Some(format!("{}+{}+{key}", self.name, encoding::hex_encode(&self.hint())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_crypto::{KeyPair, KeyType, Signer as _};

    use super::*;
    use crate::{Checkpoint, NoteSigner};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn pair() -> Arc<KeyPair> {
        Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap())
    }

    fn signer(name: &str, key: &Arc<KeyPair>) -> NoteSigner {
        NoteSigner::new(NoteKind::CosignatureV1, name, key.clone()).unwrap()
    }

    /// As a witness publishes its key.
    fn published(name: &str, key: &KeyPair, kind: NoteKind, tag: u8) -> String {
        let hint = NoteVerifier::new(kind, name, key.public_key().clone()).unwrap().hint();
        let key = encoding::base64_encode(&[&[tag], key.public_key().raw()].concat());
        format!("{name}+{}+{key}", encoding::hex_encode(&hint))
    }

    fn cosigned(size: u64, signers: &[NoteSigner]) -> Note {
        let checkpoint = Checkpoint { origin: "log.example".into(), size, root: [9; 32], extensions: vec![] };
        checkpoint.sign(signers, NOW_MS).unwrap()
    }

    #[test]
    fn keys_of_both_types_are_read_and_verify_cosignatures() {
        let key = pair();
        for text in [
            published("w.example", &key, NoteKind::CosignatureV1, 4),
            published("w.example", &key, NoteKind::Ed25519, 1),
        ] {
            let witnesses = Witnesses::parse(&format!("# of us\n\n {text}\r\n{text}\n")).unwrap();
            assert_eq!(witnesses.count(), 1);
            let note = cosigned(7, &[signer("w.example", &key)]);
            let seen = witnesses.cosigners(&note, now()).unwrap();
            assert_eq!(
                seen.into_iter().collect::<Vec<_>>(),
                [(key.public_key().fingerprint(), "w.example".into())]
            );
        }
    }

    #[test]
    fn a_key_is_published_in_the_form_in_which_it_is_read() {
        for verifier in [
            NoteVerifier::cosignature_v1("w.example", pair().public_key().clone()).unwrap(),
            NoteVerifier::rekor_v2("l.example", pair().public_key().clone()).unwrap(),
        ] {
            assert_eq!(NoteVerifier::parse(&verifier.published().unwrap()), Ok(verifier));
        }
    }

    #[test]
    fn texts_that_are_no_witnesses_key_are_refused_with_their_line() {
        let key = pair();
        let good = published("w.example", &key, NoteKind::CosignatureV1, 4);
        let raw = good.rsplit('+').next().unwrap();
        for bad in [
            "w.example".to_owned(),
            "w.example+00000000".to_owned(),
            format!("w.example+00000000+{raw}"),
            good.replace("w.example", "v.example"),
            good.replace("w.example", ""),
            format!("{good}AAAA"),
            good[..good.len() - 4].to_owned(),
            published("w.example", &key, NoteKind::CosignatureV1, 2),
            good.replace(raw, ""),
        ] {
            let error = Witnesses::parse(&format!("{good}\n{bad}")).unwrap_err();
            assert!(matches!(error, WitnessError::Key { line: 2, .. }), "{bad}: {error}");
        }
        assert_eq!(Witnesses::parse("\n# none\n"), Err(WitnessError::Empty));
        let names: Vec<String> =
            (0..=100).map(|i| published(&format!("w{i}"), &key, NoteKind::CosignatureV1, 4)).collect();
        assert_eq!(Witnesses::parse(&names.join("\n")), Err(WitnessError::TooMany));
    }

    #[test]
    fn one_key_under_two_names_is_one_witness_and_strangers_are_none() {
        let (key, stranger) = (pair(), pair());
        let mut witnesses = Witnesses::default();
        witnesses.insert("a.example", key.public_key().clone()).unwrap();
        witnesses.insert("b.example", key.public_key().clone()).unwrap();
        assert_eq!(witnesses.count(), 1);
        let both = cosigned(7, &[signer("a.example", &key), signer("b.example", &key)]);
        assert_eq!(witnesses.cosigners(&both, now()).unwrap().len(), 1);
        // A stranger under a known name has another hint, and is passed over.
        let other = cosigned(7, &[signer("a.example", &stranger), signer("c.example", &stranger)]);
        assert_eq!(witnesses.cosigners(&other, now()).unwrap().len(), 0);
    }

    #[test]
    fn cosignatures_over_another_checkpoint_and_from_the_future_are_refused() {
        let key = pair();
        let mut witnesses = Witnesses::default();
        witnesses.insert("w.example", key.public_key().clone()).unwrap();
        let note = cosigned(7, &[signer("w.example", &key)]);
        let moved =
            Note::new(cosigned(8, &[signer("w.example", &key)]).text(), note.signatures().to_vec()).unwrap();
        assert!(matches!(witnesses.cosigners(&moved, now()), Err(WitnessError::Invalid { .. })));
        let earlier = Timestamp::from_second(1_699_999_999).unwrap();
        assert!(matches!(witnesses.cosigners(&note, earlier), Err(WitnessError::Future { .. })));
        assert!(
            witnesses
                .insert("w.example", KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().clone())
                .is_err()
        );
    }
}
