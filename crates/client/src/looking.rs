//! What the entries of a log say of who signed what, held against what is looked for.

use countersign_bundle::rekor::{BodyV1, HashedRekordV2, Verifier};
use countersign_clock::Timestamp;
use countersign_crypto::{Digest, PublicKey};
use countersign_http::text::printable;
use countersign_verify::revocation::{Entry, Revocation, RevocationList, Revocations, Signature, Target};
use countersign_x509::Certificate;
use serde_json::json;

use crate::ClientError;

/// An entry that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its place in the log.
    pub index: u64,
    /// When its certificate was issued.
    pub issued: Option<Timestamp>,
    /// Who signed, in words.
    pub signer: String,
    /// What was signed.
    pub digest: String,
}

impl Hit {
    fn of(index: u64, by: &By, digest: Digest) -> Self {
        let issued = match by {
            By::Certificate(leaf) => Some(leaf.not_before()),
            By::Key(_) => None,
        };
        Self { index, issued, signer: by.words(), digest: digest.to_string() }
    }

    /// As the commands print it in JSON; `log` is the one it is in.
    #[must_use]
    pub fn to_json(&self, log: &str) -> serde_json::Value {
        json!({"log": log, "index": self.index, "issued": self.issued.map(|time| time.to_string()),
            "signer": self.signer, "digest": self.digest})
    }

    /// As the commands print it for people.
    #[must_use]
    pub fn to_line(&self, log: &str) -> String {
        let issued = self.issued.map_or_else(|| "at a time nobody knows".into(), |time| time.to_string());
        printable(&format!("{:>8}  {issued}  {}  {}  in {log}", self.index, self.digest, self.signer))
    }
}

/// What is looked for, as a list that would revoke it: what is found is what `revoke` would stop.
///
/// # Errors
/// [`ClientError::Usage`] for what nothing can be: a pattern that is none, a digest of another length.
pub fn looked_for(targets: Vec<Target>, now: Timestamp) -> Result<Revocations, ClientError> {
    let mut entries = Vec::new();
    for (id, target) in (1..).zip(targets) {
        let revoke = Some(Revocation { target, since: None, until: None, expires: None });
        let (reason, by) = ("looked for".to_owned(), "this command".to_owned());
        entries.push(Entry { id, revoke, undo: None, reason, by, at: now });
    }
    let usage = |e: &dyn std::fmt::Display| ClientError::Usage(e.to_string());
    let list = RevocationList { number: 1, issued_at: now, expires: Timestamp::MAX, entries };
    let json = list.to_json().map_err(|e| usage(&e))?;
    Revocations::read(&json, "this command").map_err(|e| usage(&e))
}

/// By whom something was signed, as a log says it.
enum By {
    Certificate(Box<Certificate>),
    Key(PublicKey),
}

impl By {
    fn pem(text: &str) -> Option<Self> {
        match Certificate::from_pem(text) {
            Ok(certificate) => Some(Self::Certificate(Box::new(certificate))),
            Err(_) => PublicKey::from_pem(text).ok().map(Self::Key),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Certificate(leaf) => {
                let name = leaf.sans().iter().find_map(|san| san.as_text()).unwrap_or("(no name)");
                format!("{name} ({})", leaf.fulcio().issuer().unwrap_or("no issuer"))
            }
            Self::Key(key) => format!("{key:?}"),
        }
    }
}

/// The key that signed what is in an entry, where one did that has no certificate.
pub(crate) fn key_in(body: &[u8]) -> Option<PublicKey> {
    signed(body)?.into_iter().find_map(|(by, _)| match by {
        By::Key(key) => Some(key),
        By::Certificate(_) => None,
    })
}

/// Who signed what in an entry; `None` when it is of a kind that says nothing of signers.
fn signed(body: &[u8]) -> Option<Vec<(By, Digest)>> {
    if let Ok(entry) = HashedRekordV2::parse_body(body) {
        let by = match &entry.verifier {
            Verifier::Certificate(der) => By::Certificate(Box::new(Certificate::from_der(der).ok()?)),
            Verifier::PublicKey(spki) => By::Key(PublicKey::from_spki_der(spki).ok()?),
        };
        return Some(vec![(by, entry.digest)]);
    }
    let kinds = [("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2")];
    match kinds.iter().find_map(|(kind, version)| BodyV1::parse(kind, version, body).ok())? {
        BodyV1::HashedRekord { digest, verifier_pem, .. } => Some(vec![(By::pem(&verifier_pem)?, digest)]),
        BodyV1::Dsse { payload_hash, signatures, .. } | BodyV1::Intoto { payload_hash, signatures, .. } => {
            signatures.iter().map(|s| Some((By::pem(&s.verifier_pem)?, payload_hash))).collect()
        }
        _ => None,
    }
}

/// All that an entry says; `None` when it is of a kind that says nothing of signers.
pub fn every(index: u64, body: &[u8]) -> Option<Vec<Hit>> {
    Some(signed(body)?.into_iter().map(|(by, digest)| Hit::of(index, &by, digest)).collect())
}

/// What of an entry is looked for. `None` when it is of a kind that says nothing of signers.
#[must_use]
pub fn hits(index: u64, body: &[u8], wanted: &Revocations, now: Timestamp) -> Option<Vec<Hit>> {
    let mut hits = Vec::new();
    for (by, digest) in signed(body)? {
        let (certificate, key) = match &by {
            By::Certificate(certificate) => (Some(&**certificate), None),
            By::Key(key) => (None, Some(key)),
        };
        let certificates = certificate.into_iter().collect();
        let signature = Signature { certificates, key, digest: Some(digest), ..Signature::default() };
        if wanted.ask(&signature, now).is_err() {
            hits.push(Hit::of(index, &by, digest));
        }
    }
    Some(hits)
}
