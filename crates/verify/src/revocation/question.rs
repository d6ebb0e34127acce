//! The question that both engines ask: does one of the lists at hand speak against this signature?

use countersign_crypto::{Digest, PublicKey, sha256};
use countersign_x509::{Certificate, FulcioExtensions};
use jiff::Timestamp;

use super::list::{Entry, ListError, Revocation, RevocationList};
use super::target::{Compiled, Name};
use crate::Reason;

/// The extension of Fulcio's certificates that names the builder: what ran, pinned to the version that ran.
const BUILD_SIGNER: &str = "build-signer-uri";

/// A list made ready to be asked many times, and what it was made from.
#[derive(Debug, Clone)]
pub struct Revocations {
    list: RevocationList,
    entries: Vec<Ready>,
    id: [u8; 32],
    from: String,
}

/// An entry that was not withdrawn.
#[derive(Debug, Clone)]
struct Ready {
    entry: Entry,
    revocation: Revocation,
    target: Compiled,
}

/// What is known of a signature, all of it verified.
#[derive(Debug, Clone, Default)]
pub struct Signature<'a> {
    /// The signer's certificate and those above it; none when a bare key signed.
    pub certificates: Vec<&'a Certificate>,
    /// The key that verifies the signature.
    pub key: Option<&'a PublicKey>,
    /// The artifact's SHA-256 digest.
    pub digest: Option<Digest>,
    /// The builders that it names, when a provenance is signed.
    pub builders: Vec<String>,
    /// When it is known to have existed, by logs and timestamp authorities.
    pub times: Vec<Timestamp>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Against {
    /// The reason's name.
    pub reason: Reason,
    /// What would have been good.
    pub expected: String,
    /// What stands against it.
    pub found: String,
}

impl Revocations {
    /// Reads a list and makes it ready. `from` says in a word or two where it came from, for messages. Whose list it is
    /// was not asked: that is [`super::open`]'s.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn read(json: &[u8], from: &str) -> Result<Self, ListError> {
        let list = RevocationList::from_json(json)?;
        let id = sha256(json);
        let mut entries = Vec::new();
        for (entry, revocation) in list.standing() {
            let target = Compiled::of(&revocation.target)
                .map_err(|detail| ListError::Entry { id: entry.id, detail })?;
            entries.push(Ready { entry: entry.clone(), revocation: revocation.clone(), target });
        }
        Ok(Self { list, entries, id, from: from.to_owned() })
    }

    /// The list.
    #[must_use]
    pub const fn list(&self) -> &RevocationList {
        &self.list
    }

    /// Tells this list from other ones.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Where it came from.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Whether the list still says something at this time.
    ///
    /// # Errors
    /// In words, that it does not, and what to do.
    pub fn check_current(&self, now: Timestamp) -> Result<(), String> {
        if now < self.list.expires {
            return Ok(());
        }
        Err(format!(
            "revocation list {} of {} has expired at {}, so nobody knows what is revoked; bring a newer one",
            self.list.number, self.from, self.list.expires
        ))
    }

    /// Whether the artifact's digest is wanted.
    pub(crate) fn wants_digest(&self) -> bool {
        self.entries.iter().any(|ready| matches!(ready.target, Compiled::Digest(_)))
    }

    /// Whether the builders of a provenance are wanted.
    pub(crate) fn wants_builders(&self) -> bool {
        self.entries.iter().any(|ready| matches!(ready.target, Compiled::Builder(_)))
    }

    /// Asks the list about a signature: what was looked at, or what stands against it.
    ///
    /// # Errors
    /// [`Against`], with [`Reason::Revoked`], or why the list cannot tell.
    pub fn ask(&self, signature: &Signature<'_>, now: Timestamp) -> Result<String, Against> {
        let list = &self.list;
        if let Err(found) = self.check_current(now) {
            let expected = "a revocation list that has not expired".to_owned();
            return Err(Against { reason: Reason::RevocationListExpired, expected, found });
        }
        for ready in &self.entries {
            if ready.revocation.expires.is_some_and(|end| now >= end) {
                continue;
            }
            if ready.matches(signature)? && !ready.spares(signature) {
                return Err(Against {
                    reason: Reason::Revoked,
                    expected: "a signature that nobody has revoked".into(),
                    found: self.tell(ready, signature),
                });
            }
        }
        let held = |ready: &&Ready| ready.revocation.expires.is_none_or(|end| now < end);
        let count = self.entries.iter().filter(held).count();
        Ok(format!(
            "not by list {} of {}, signed {} with {count} entries in force",
            list.number, self.from, list.issued_at
        ))
    }

    /// What stands against a signature: what is revoked, since when, by whom and why.
    fn tell(&self, ready: &Ready, signature: &Signature<'_>) -> String {
        let Ready { entry, revocation, .. } = ready;
        let since = revocation.since.map_or_else(|| "at all times".into(), |time| format!("since {time}"));
        let until = revocation.until.map(|time| format!(" until {time}")).unwrap_or_default();
        let signed = match signature.times.iter().max() {
            Some(time) if revocation.since.is_some() => format!("; signed at {time}"),
            None if revocation.since.is_some() => "; nobody says when it was signed".into(),
            _ => String::new(),
        };
        format!(
            "{} is revoked {since}{until}, by {} at {}: {}{signed} (entry {} of list {} of {})",
            revocation.target, entry.by, entry.at, entry.reason, entry.id, self.list.number, self.from
        )
    }
}

impl Ready {
    fn matches(&self, signature: &Signature<'_>) -> Result<bool, Against> {
        let leaf = signature.certificates.first();
        Ok(match &self.target {
            Compiled::Identity { name, issuer } => leaf.is_some_and(|leaf| {
                name.as_ref().is_none_or(|wanted| is_named(leaf, wanted))
                    && issuer
                        .as_ref()
                        .is_none_or(|wanted| leaf.fulcio().issuer().is_some_and(|i| wanted.matches(i)))
            }),
            Compiled::Key(print) => {
                let above = signature.certificates.iter().map(|c| c.public_key());
                signature.key.into_iter().chain(above).any(|key| key.fingerprint() == *print)
            }
            Compiled::Certificate(print) => signature.certificates.iter().any(|c| sha256(c.der()) == *print),
            Compiled::Digest(digest) => match signature.digest {
                Some(own) => own == *digest,
                None => {
                    return Err(Against {
                        reason: Reason::DigestUnavailable,
                        expected: "the artifact's sha256 digest, to compare with those that are revoked"
                            .into(),
                        found: "other digests only".into(),
                    });
                }
            },
            Compiled::Builder(wanted) => {
                let signer = leaf.and_then(|leaf| {
                    FulcioExtensions::arc_of(BUILD_SIGNER).and_then(|arc| leaf.fulcio().get(arc))
                });
                signature.builders.iter().map(String::as_str).chain(signer).any(|found| wanted.matches(found))
            }
        })
    }

    /// Whether the signature is known to be older or newer than what is revoked.
    fn spares(&self, signature: &Signature<'_>) -> bool {
        let Revocation { since, until, .. } = self.revocation;
        let times = &signature.times;
        let older = since.is_some_and(|since| !times.is_empty() && times.iter().all(|time| *time < since));
        let issued = signature.certificates.first().map(|leaf| leaf.not_before());
        let newer = until.is_some_and(|until| issued.is_some_and(|issued| issued >= until));
        older || newer
    }
}

/// Whether a certificate has a name: among its subject alternative names; without any, as its subject.
fn is_named(leaf: &Certificate, wanted: &Name) -> bool {
    let mut names = leaf.sans().iter().filter(|san| san.as_text().is_some()).peekable();
    if names.peek().is_none() {
        return wanted.is_text(&leaf.subject().to_string());
    }
    names.any(|san| wanted.matches(san))
}
