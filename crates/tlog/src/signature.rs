//! The kinds of signature under notes: who may verify and who may make them.
//!
//! | kind | key id (first four bytes: hint) | over |
//! |---|---|---|
//! | [`NoteKind::Ed25519`] | SHA-256(name, 0A, 01, key) | the text |
//! | [`NoteKind::Ecdsa`] | SHA-256(SPKI) | the text |
//! | [`NoteKind::RsaPkcs1`] | SHA-256(name, 0A, FF, "PKIX-RSA-PKCS#1v1.5", SPKI) | the text |
//! | [`NoteKind::RekorV1`] | SHA-256(SPKI) | the text |
//! | [`NoteKind::CosignatureV1`] | SHA-256(name, 0A, 04, key) | a header with the time, and the text |
//! | [`NoteKind::Rfc6962`] | SHA-256(name, 0A, 05, SHA-256(SPKI)) | RFC 6962's tree head with the time |

use std::sync::Arc;

use countersign_crypto::{KeyType, PublicKey, Signer, sha256};
use jiff::Timestamp;

use crate::note::{Note, NoteError, NoteSignature, check_name};
use crate::{Checkpoint, Hash};

/// A kind of signature under a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoteKind {
    /// C2SP `signed-note` type 01.
    Ed25519,
    /// C2SP `signed-note` type 02: ECDSA over the text with the hash that goes with the curve.
    Ecdsa,
    /// RSA PKCS#1 v1.5 with SHA-256, as Rekor v2 makes them (`signed-note` type FF).
    RsaPkcs1,
    /// Rekor v1: any key, hint from the SPKI alone.
    RekorV1,
    /// C2SP `tlog-cosignature` type 04: an Ed25519 cosignature of a witness, with a time.
    CosignatureV1,
    /// C2SP `static-ct-api` type 05: RFC 6962's signed tree head, with a time.
    Rfc6962,
}

impl NoteKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519 note",
            Self::Ecdsa => "ECDSA note",
            Self::RsaPkcs1 => "RSA note",
            Self::RekorV1 => "Rekor v1 note",
            Self::CosignatureV1 => "cosignature/v1",
            Self::Rfc6962 => "RFC 6962 tree head",
        }
    }

    fn key_id(self, name: &str, key: &PublicKey) -> Hash {
        let tagged = |tag: &[u8], key: &[u8]| sha256(&[name.as_bytes(), b"\n", tag, key].concat());
        match self {
            Self::Ed25519 => tagged(&[1], key.raw()),
            Self::Ecdsa | Self::RekorV1 => key.fingerprint(),
            Self::RsaPkcs1 => tagged(b"\xffPKIX-RSA-PKCS#1v1.5", key.spki_der()),
            Self::CosignatureV1 => tagged(&[4], key.raw()),
            Self::Rfc6962 => tagged(&[5], &key.fingerprint()),
        }
    }

    /// Says whether a key can make signatures of this kind.
    fn check_key(self, key: &PublicKey) -> Result<(), NoteError> {
        let fits = match (self, key.key_type()) {
            (Self::RekorV1, _)
            | (Self::Ed25519 | Self::CosignatureV1, KeyType::Ed25519)
            | (Self::Ecdsa, KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521)
            | (Self::RsaPkcs1, KeyType::Rsa { .. })
            // RFC 6962 section 2.1.4: P-256 or RSA, with SHA-256.
            | (Self::Rfc6962, KeyType::EcdsaP256 | KeyType::Rsa { .. }) => true,
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(NoteError::Key { kind: self.name(), reason: format!("it is an {} key", key.key_type()) })
        }
    }
}

/// What a verified signature says beyond the text it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// When it was made, in the kinds that state it.
    pub time: Option<Timestamp>,
}

/// A key that may verify notes: name, key and kind of signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    /// The name in the signature line.
    pub name: String,
    /// The full key id; its first four bytes are the hint in the signature line. In Rekor v2 this is the log id.
    pub key_id: Hash,
    /// The key.
    pub key: PublicKey,
    /// The kind of signature.
    pub kind: NoteKind,
}

impl NoteVerifier {
    /// A verifier of one kind.
    ///
    /// # Errors
    /// [`NoteError::Key`] when the key cannot make such signatures or the name cannot stand in a note.
    pub fn new(kind: NoteKind, name: &str, key: PublicKey) -> Result<Self, NoteError> {
        kind.check_key(&key)?;
        check_name(name).map_err(|reason| NoteError::Key { kind: kind.name(), reason: reason.to_owned() })?;
        Ok(Self { name: name.to_owned(), key_id: kind.key_id(name, &key), key, kind })
    }

    /// The key of a Rekor v2 log, by its host name: Ed25519, ECDSA or RSA by the type of the key.
    ///
    /// # Errors
    /// As [`NoteVerifier::new`].
    pub fn rekor_v2(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        let kind = match key.key_type() {
            KeyType::Ed25519 => NoteKind::Ed25519,
            KeyType::Rsa { .. } => NoteKind::RsaPkcs1,
            _ => NoteKind::Ecdsa,
        };
        Self::new(kind, name, key)
    }

    /// The key of a Rekor v1 log, by its host name.
    ///
    /// # Errors
    /// As [`NoteVerifier::new`].
    pub fn rekor_v1(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        Self::new(NoteKind::RekorV1, name, key)
    }

    /// The key of a static CT log, by the log's origin.
    ///
    /// # Errors
    /// As [`NoteVerifier::new`].
    pub fn rfc6962(origin: &str, key: PublicKey) -> Result<Self, NoteError> {
        Self::new(NoteKind::Rfc6962, origin, key)
    }

    /// The Ed25519 key of a witness.
    ///
    /// # Errors
    /// As [`NoteVerifier::new`].
    pub fn cosignature_v1(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        Self::new(NoteKind::CosignatureV1, name, key)
    }

    /// The four bytes by which a signature line points at this key.
    #[must_use]
    pub fn hint(&self) -> [u8; 4] {
        self.key_id.first_chunk().copied().unwrap_or_default()
    }

    /// Verifies the signature of this key over a note, and ignores all others.
    ///
    /// # Errors
    /// [`NoteError::NoSignature`] when no line has this key's name and hint, [`NoteError::SignatureInvalid`]
    /// when one has and does not verify: one bad line of a known key spoils the note.
    pub fn verify(&self, note: &Note) -> Result<VerifiedSignature, NoteError> {
        let hint = self.hint();
        let mut verified = None;
        for line in note.signatures().iter().filter(|s| s.name == self.name && s.hint == hint) {
            let found = self.verify_line(note.text(), &line.bytes)?;
            verified.get_or_insert(found);
        }
        verified.ok_or_else(|| NoteError::NoSignature {
            name: self.name.clone(),
            hint,
            found: signers_of(note),
        })
    }

    fn verify_line(&self, text: &str, bytes: &[u8]) -> Result<VerifiedSignature, NoteError> {
        let invalid = || NoteError::SignatureInvalid { name: self.name.clone() };
        let scheme = self.key.key_type().default_scheme();
        match self.kind {
            NoteKind::Ed25519 | NoteKind::Ecdsa | NoteKind::RsaPkcs1 | NoteKind::RekorV1 => {
                self.key.verify(scheme, text.as_bytes(), bytes).map_err(|_| invalid())?;
                Ok(VerifiedSignature { time: None })
            }
            NoteKind::CosignatureV1 => {
                let (time, signature) = bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
                let seconds = i64::try_from(u64::from_be_bytes(*time)).map_err(|_| invalid())?;
                let message = cosigned_message(text, seconds.unsigned_abs())?;
                self.key.verify(scheme, &message, signature).map_err(|_| invalid())?;
                let time = Timestamp::from_second(seconds).map_err(|_| invalid())?;
                Ok(VerifiedSignature { time: Some(time) })
            }
            NoteKind::Rfc6962 => {
                let (time, rest) = bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
                let time_ms = u64::from_be_bytes(*time);
                let signature = digitally_signed(&self.key, rest).ok_or_else(invalid)?;
                let message = tree_head(text, time_ms)?;
                self.key.verify(scheme, &message, signature).map_err(|_| invalid())?;
                let milliseconds = i64::try_from(time_ms).map_err(|_| invalid())?;
                let time = Timestamp::from_millisecond(milliseconds).map_err(|_| invalid())?;
                Ok(VerifiedSignature { time: Some(time) })
            }
        }
    }
}

/// Names and hints of the signers of a note, a few of them, for an error message.
fn signers_of(note: &Note) -> String {
    let mut out = String::new();
    for signature in note.signatures().iter().take(5) {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.extend(signature.name.chars().take(100).flat_map(char::escape_debug));
        out.push_str(" (");
        out.push_str(&countersign_crypto::encoding::hex_encode(&signature.hint));
        out.push(')');
    }
    out
}

/// What a witness signs (tlog-cosignature, "Ed25519 signed message"). Only checkpoints are cosigned.
fn cosigned_message(text: &str, seconds: u64) -> Result<Vec<u8>, NoteError> {
    Checkpoint::parse(text)?;
    Ok(format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes())
}

/// RFC 6962 section 3.5, `TreeHeadSignature`: version v1, type tree_hash, time, size, root.
fn tree_head(text: &str, time_ms: u64) -> Result<Vec<u8>, NoteError> {
    let checkpoint = Checkpoint::parse(text)?;
    if !checkpoint.extensions.is_empty() {
        return Err(NoteError::Checkpoint("RFC 6962 signatures cannot cover extension lines".into()));
    }
    let mut message = vec![0, 1];
    message.extend_from_slice(&time_ms.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(&checkpoint.root);
    Ok(message)
}

/// The two bytes of TLS's `SignatureAndHashAlgorithm` (RFC 5246 section 7.4.1.4.1) for a key under RFC 6962.
fn tls_algorithm(key: &PublicKey) -> [u8; 2] {
    const SHA256: u8 = 4;
    if matches!(key.key_type(), KeyType::Rsa { .. }) { [SHA256, 1] } else { [SHA256, 3] }
}

/// Opens TLS's `DigitallySigned` (RFC 5246 section 4.7), exactly filled, of the key's own algorithm.
fn digitally_signed<'a>(key: &PublicKey, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (algorithm, rest) = bytes.split_first_chunk::<2>()?;
    let (len, signature) = rest.split_first_chunk::<2>()?;
    let exact = usize::from(u16::from_be_bytes(*len)) == signature.len();
    (exact && *algorithm == tls_algorithm(key)).then_some(signature)
}

/// A key that signs notes.
#[derive(Debug, Clone)]
pub struct NoteSigner {
    verifier: NoteVerifier,
    signer: Arc<dyn Signer>,
}

impl NoteSigner {
    /// A signer of one kind.
    ///
    /// # Errors
    /// [`NoteError::Key`] when the key cannot make such signatures, is set to another scheme than notes use,
    /// or the name cannot stand in a note.
    pub fn new(kind: NoteKind, name: &str, signer: Arc<dyn Signer>) -> Result<Self, NoteError> {
        let verifier = NoteVerifier::new(kind, name, signer.public_key().clone())?;
        let expected = signer.public_key().key_type().default_scheme();
        if signer.scheme() != expected {
            let reason = format!("expected the scheme {expected}, found {}", signer.scheme());
            return Err(NoteError::Key { kind: kind.name(), reason });
        }
        Ok(Self { verifier, signer })
    }

    /// The signer of a Rekor v2 log, by the type of the key.
    ///
    /// # Errors
    /// As [`NoteSigner::new`].
    pub fn rekor_v2(name: &str, signer: Arc<dyn Signer>) -> Result<Self, NoteError> {
        let kind = NoteVerifier::rekor_v2(name, signer.public_key().clone())?.kind;
        Self::new(kind, name, signer)
    }

    /// Who verifies these signatures.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// Signs a note's text. `time_ms` is the time in milliseconds since 1970, for the kinds that state it.
    ///
    /// # Errors
    /// [`NoteError::Signing`], and [`NoteError::Checkpoint`] for kinds which only sign checkpoints.
    pub fn sign(&self, text: &str, time_ms: u64) -> Result<NoteSignature, NoteError> {
        let bytes = match self.verifier.kind {
            NoteKind::Ed25519 | NoteKind::Ecdsa | NoteKind::RsaPkcs1 | NoteKind::RekorV1 => {
                self.signer.sign(text.as_bytes())?
            }
            NoteKind::CosignatureV1 => {
                let seconds = time_ms / 1000;
                let mut bytes = seconds.to_be_bytes().to_vec();
                bytes.extend(self.signer.sign(&cosigned_message(text, seconds)?)?);
                bytes
            }
            NoteKind::Rfc6962 => {
                let signature = self.signer.sign(&tree_head(text, time_ms)?)?;
                let len = u16::try_from(signature.len()).map_err(|_| NoteError::Key {
                    kind: self.verifier.kind.name(),
                    reason: format!("its signature of {} bytes is too long", signature.len()),
                })?;
                let mut bytes = time_ms.to_be_bytes().to_vec();
                bytes.extend_from_slice(&tls_algorithm(&self.verifier.key));
                bytes.extend_from_slice(&len.to_be_bytes());
                bytes.extend(signature);
                bytes
            }
        };
        Ok(NoteSignature { name: self.verifier.name.clone(), hint: self.verifier.hint(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::{base64_decode, hex_decode};
    use countersign_crypto::{KeyPair, PublicKey, Scheme};

    use super::*;

    const KINDS: [(NoteKind, KeyType); 9] = [
        (NoteKind::Ed25519, KeyType::Ed25519),
        (NoteKind::Ecdsa, KeyType::EcdsaP256),
        (NoteKind::Ecdsa, KeyType::EcdsaP384),
        (NoteKind::RsaPkcs1, KeyType::Rsa { bits: 3072 }),
        (NoteKind::RekorV1, KeyType::EcdsaP256),
        (NoteKind::RekorV1, KeyType::Ed25519),
        (NoteKind::CosignatureV1, KeyType::Ed25519),
        (NoteKind::Rfc6962, KeyType::EcdsaP256),
        (NoteKind::Rfc6962, KeyType::Rsa { bits: 3072 }),
    ];
    const TIME_MS: u64 = 1_700_000_000_123;

    fn signer(kind: NoteKind, name: &str, key_type: KeyType) -> NoteSigner {
        NoteSigner::new(kind, name, Arc::new(KeyPair::generate(key_type).unwrap())).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "log.example".into(), size: 7, root: [9; 32], extensions: vec![] }
    }

    fn ed25519(raw: &[u8]) -> PublicKey {
        let mut spki = hex_decode("302a300506032b6570032100").unwrap();
        spki.extend_from_slice(raw);
        PublicKey::from_spki_der(&spki).unwrap()
    }

    #[test]
    fn every_kind_signs_and_verifies_its_own_and_nothing_else() {
        let signers: Vec<_> = KINDS.iter().map(|(kind, key)| signer(*kind, "log.example", *key)).collect();
        let note = checkpoint().sign(&signers, TIME_MS).unwrap();
        let note = Note::parse(note.to_string().as_bytes()).unwrap();
        for signer in &signers {
            let kind = signer.verifier().kind;
            let verified = signer.verifier().verify(&note).unwrap();
            let expected = match kind {
                NoteKind::CosignatureV1 => Some(Timestamp::from_second(1_700_000_000).unwrap()),
                NoteKind::Rfc6962 => Some(Timestamp::from_millisecond(1_700_000_000_123).unwrap()),
                _ => None,
            };
            assert_eq!(verified.time, expected, "{kind:?}");
            assert_eq!(Checkpoint::from_note(&note, signer.verifier()).unwrap(), checkpoint());
            // Another text under the same signatures.
            let other = Checkpoint { size: 8, ..checkpoint() };
            let forged = Note::new(&other.to_text(), note.signatures().to_vec()).unwrap();
            assert_eq!(
                signer.verifier().verify(&forged),
                Err(NoteError::SignatureInvalid { name: "log.example".into() })
            );
        }
    }

    #[test]
    fn every_changed_byte_of_a_signature_is_refused() {
        for (kind, key) in KINDS {
            let signer = signer(kind, "log.example", key);
            let good = signer.sign(&checkpoint().to_text(), TIME_MS).unwrap();
            for at in 0..good.bytes.len() {
                let mut bad = good.clone();
                bad.bytes[at] ^= 1;
                let note = Note::new(&checkpoint().to_text(), vec![bad]).unwrap();
                assert!(signer.verifier().verify(&note).is_err(), "{kind:?} byte {at}");
            }
            for len in 1..good.bytes.len() {
                let bad = NoteSignature { bytes: good.bytes[..len].to_vec(), ..good.clone() };
                let note = Note::new(&checkpoint().to_text(), vec![bad]).unwrap();
                assert!(signer.verifier().verify(&note).is_err(), "{kind:?} cut to {len}");
            }
        }
    }

    #[test]
    fn same_name_with_another_key_and_same_hint_with_another_name_are_ignored() {
        let ours = signer(NoteKind::Ed25519, "log.example", KeyType::Ed25519);
        let same_name = signer(NoteKind::Ed25519, "log.example", KeyType::Ed25519);
        let text = checkpoint().to_text();
        let good = ours.sign(&text, 0).unwrap();
        let other = same_name.sign(&text, 0).unwrap();
        let same_hint = NoteSignature { name: "other.example".into(), hint: good.hint, bytes: vec![1; 64] };
        let note = Note::new(&text, vec![other.clone(), same_hint.clone(), good.clone()]).unwrap();
        ours.verifier().verify(&note).unwrap();
        let without = Note::new(&text, vec![other, same_hint]).unwrap();
        let error = ours.verifier().verify(&without).unwrap_err();
        assert!(matches!(error, NoteError::NoSignature { .. }), "{error}");
        assert!(error.to_string().contains("other.example"), "{error}");
        // A bad line under our name and hint spoils the note, good ones beside it or not.
        let bad = NoteSignature { bytes: vec![1; 64], ..good.clone() };
        for lines in [vec![good.clone(), bad.clone()], vec![bad, good]] {
            let spoilt = Note::new(&text, lines).unwrap();
            assert!(matches!(ours.verifier().verify(&spoilt), Err(NoteError::SignatureInvalid { .. })));
        }
    }

    #[test]
    fn the_example_of_the_signed_note_specification_verifies() {
        // The verifier key example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k.
        let key = base64_decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        let verifier = NoteVerifier::rekor_v2("example.com/foo", ed25519(&key[1..])).unwrap();
        assert_eq!(verifier.hint().to_vec(), hex_decode("530d903a").unwrap());
        let text = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let note = Note::parse(text.as_bytes()).unwrap();
        verifier.verify(&note).unwrap();
        assert!(Checkpoint::from_note(&note, &verifier).is_err(), "verified, but not a checkpoint");
    }

    #[test]
    fn a_checkpoint_of_a_real_rekor_v2_server_verifies() {
        let spki = base64_decode("MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=").unwrap();
        let key = PublicKey::from_spki_der(&spki).unwrap();
        let verifier = NoteVerifier::rekor_v2("localhost", key.clone()).unwrap();
        let log_id = base64_decode("k5yWmxCCShy6oDqAKZ4kElrcIy8CCE6qMWyEtdZtLo8=").unwrap();
        assert_eq!(verifier.key_id.to_vec(), log_id);
        let envelope = "localhost\n1\nJyNfYLcuY/d1y6+0IEX+FY8GcSYhF83hEutTuuVU3SE=\n\n\u{2014} localhost k5yWm5V2yClDMCWhWvePjaZktN6+gSbT29yjN3liFxFHfV4r4puJOaxQJxb8BO1NX1e0ZaybHHAgi69+KNFBEFWH8Qw=\n";
        let note = Note::parse(envelope.as_bytes()).unwrap();
        let checkpoint = Checkpoint::from_note(&note, &verifier).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("localhost", 1));
        let elsewhere = NoteVerifier::rekor_v2("localhost2", key).unwrap();
        assert!(matches!(elsewhere.verify(&note), Err(NoteError::NoSignature { .. })));
    }

    #[test]
    fn keys_that_do_not_fit_the_kind_are_refused() {
        let p384: Arc<dyn Signer> = Arc::new(KeyPair::generate(KeyType::EcdsaP384).unwrap());
        for kind in [NoteKind::Ed25519, NoteKind::CosignatureV1, NoteKind::Rfc6962, NoteKind::RsaPkcs1] {
            assert!(NoteSigner::new(kind, "n", p384.clone()).is_err(), "{kind:?}");
        }
        assert!(NoteSigner::new(NoteKind::Ecdsa, "a name", p384.clone()).is_err());
        assert!(NoteSigner::new(NoteKind::Ecdsa, "", p384).is_err());
        let prehashed = KeyPair::generate(KeyType::Ed25519).unwrap().with_scheme(Scheme::Ed25519ph).unwrap();
        assert!(NoteSigner::new(NoteKind::Ed25519, "n", Arc::new(prehashed)).is_err());
    }

    #[test]
    fn kinds_bound_to_checkpoints_sign_nothing_else() {
        let text = "just words\n";
        for (kind, key) in
            [(NoteKind::CosignatureV1, KeyType::Ed25519), (NoteKind::Rfc6962, KeyType::EcdsaP256)]
        {
            assert!(signer(kind, "n", key).sign(text, 0).is_err(), "{kind:?}");
        }
        let extended = Checkpoint { extensions: vec!["x".into()], ..checkpoint() };
        assert!(signer(NoteKind::Rfc6962, "n", KeyType::EcdsaP256).sign(&extended.to_text(), 0).is_err());
        assert!(signer(NoteKind::CosignatureV1, "n", KeyType::Ed25519).sign(&extended.to_text(), 0).is_ok());
    }

    #[test]
    fn s15_names_of_strangers_are_escaped_in_messages() {
        let text = checkpoint().to_text();
        let ours = signer(NoteKind::Ed25519, "log.example", KeyType::Ed25519);
        let line = NoteSignature { name: "a\u{202e}b".into(), hint: [0; 4], bytes: vec![1] };
        let error = ours.verifier().verify(&Note::new(&text, vec![line]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("a\\u{202e}b"), "{error}");
    }

    /// A cosignature's time is unsigned 64 bits in the wire form; above 2^63 it is refused.
    #[test]
    fn times_beyond_the_range_are_refused() {
        let signer = signer(NoteKind::CosignatureV1, "w.example", KeyType::Ed25519);
        let text = checkpoint().to_text();
        let mut line = signer.sign(&text, 0).unwrap();
        line.bytes[..8].copy_from_slice(&u64::MAX.to_be_bytes());
        let note = Note::new(&text, vec![line]).unwrap();
        assert!(signer.verifier().verify(&note).is_err());
    }
}
