//! The answer: a list of checks, and either what was verified or why not.

use std::collections::BTreeMap;

use countersign_attestation::{SimpleSigning, Statement};
use countersign_bundle::BundleError;
use countersign_crypto::{Digest, PublicKey};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::Reason;

crate::check_names! {
    /// The bundle's form.
    Shape = "shape";
    /// Certificate or key: is it what is required, and can it be read?
    KeyMaterial = "key_material";
    /// The artifact's digest against the one in the bundle.
    Digest = "digest";
    /// One RFC 3161 timestamp.
    Timestamp = "timestamp";
    /// The time at which a Rekor v1 log took the entry in.
    IntegratedTime = "integrated_time";
    /// Whether the time of signing is known, and from enough timestamp authorities.
    SigningTime = "signing_time";
    /// The certificate's path to the trust root, at every known time.
    CertificateChain = "certificate_chain";
    /// The promises of CT logs in the certificate.
    Sct = "sct";
    /// One log entry's promise (Rekor v1's signed entry timestamp).
    LogPromise = "log_promise";
    /// One log entry's inclusion proof.
    InclusionProof = "inclusion_proof";
    /// The checkpoint under one inclusion proof.
    Checkpoint = "checkpoint";
    /// That one log entry is of this signature, this key and this digest.
    LogBinding = "log_binding";
    /// Whether enough logs have the signature.
    Logs = "logs";
    /// Whether enough witnesses have seen the log.
    Witnesses = "witnesses";
    /// The signature.
    Signature = "signature";
    /// That the statement is about this artifact.
    Statement = "statement";
    /// What kind of thing the statement says.
    PredicateType = "predicate_type";
    /// Annotations on the statement's subject.
    Annotations = "annotations";
    /// Who signed.
    Identity = "identity";
    /// That nobody has revoked it: one check for each revocation list at hand.
    Revocation = "revocation";
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold, or cannot be made.
    Failed,
    /// Nothing of this kind is there, and nothing of this kind is required.
    NotApplicable,
}

impl Outcome {
    /// `passed`, `failed` or `not_applicable`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: CheckName,
    /// How it ended.
    pub outcome: Outcome,
    /// Which part of the evidence it was made on, such as `tlogEntries[0].inclusionProof`.
    pub source: String,
    /// What would have made it pass.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Why it failed; only with [`Outcome::Failed`].
    pub reason: Option<Reason>,
    /// The check by whose failure this one had to fail too: with that one mended, nothing shows that this one would
    /// still fail. Never a check that passed, and never one that is itself a consequence.
    pub consequence_of: Option<CheckName>,
}

/// Who signed, as far as it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signer {
    /// The holder of a certificate.
    Certificate(Box<Certificate>),
    /// One of the required keys.
    Key(PublicKey),
}

impl Signer {
    /// The first subject alternative name, as text.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Certificate(certificate) => certificate.sans().iter().find_map(|san| san.as_text()),
            Self::Key(_) => None,
        }
    }

    /// Who vouched for the identity: the issuer of the token.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Certificate(certificate) => certificate.fulcio().issuer(),
            Self::Key(_) => None,
        }
    }

    /// The key that verifies the signature.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Certificate(certificate) => certificate.public_key(),
            Self::Key(key) => key,
        }
    }
}

/// Who says when the signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeSource {
    /// A timestamp authority.
    TimestampAuthority,
    /// A Rekor v1 log, under its promise.
    Log,
    /// Nobody: the time of verification was taken, because the requirements allow it.
    Now,
    /// Nobody: the time at which the certificate begins to be valid was taken, because the requirements allow it.
    Certificate,
}

impl TimeSource {
    /// `timestamp_authority`, `log`, `now` or `certificate`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TimestampAuthority => "timestamp_authority",
            Self::Log => "log",
            Self::Now => "now",
            Self::Certificate => "certificate",
        }
    }

    /// Whether somebody vouches for it, and it was not merely taken.
    #[must_use]
    pub const fn is_vouched(self) -> bool {
        match self {
            Self::TimestampAuthority | Self::Log => true,
            Self::Now | Self::Certificate => false,
        }
    }
}

/// A time at which the signature existed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTime {
    /// When.
    pub time: Timestamp,
    /// Who says so.
    pub source: TimeSource,
    /// The name of who says so, from the trust root.
    pub authority: String,
}

/// An entry of a log which has the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// The log's host name, from the trust root.
    pub log: String,
    /// The log's id.
    pub log_id: Vec<u8>,
    /// The entry's index, as the log vouches for it: that of its promise, which counts the log as a whole, or without
    /// one that of its proof, which counts the tree (for Rekor v1: the shard).
    pub index: u64,
}

/// What was signed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Payload {
    /// The artifact itself.
    Artifact,
    /// A statement about the artifact.
    Statement {
        /// The statement, read from `bytes`.
        statement: Box<Statement>,
        /// The bytes which the signature covers.
        bytes: Vec<u8>,
        /// Which of the statement's subjects is the artifact.
        subject: usize,
    },
    /// cosign's older payload, which names the artifact, an image.
    SimpleSigning {
        /// The payload, read from `bytes`.
        payload: Box<SimpleSigning>,
        /// The bytes which the signature covers.
        bytes: Vec<u8>,
    },
    /// A document of the payload type that was required; it is the artifact.
    Document {
        /// The document.
        bytes: Vec<u8>,
    },
}

/// Something that was verified. Only the engine makes one, and only when every required check has passed.
#[derive(Debug, Clone)]
pub struct Verified<T = Payload> {
    value: T,
    digest: Digest,
    signer: Signer,
    times: Vec<VerifiedTime>,
    entries: Vec<VerifiedEntry>,
    witnesses: Vec<String>,
}

impl<T> Verified<T> {
    pub(crate) const fn new(
        value: T,
        digest: Digest,
        signer: Signer,
        times: Vec<VerifiedTime>,
        entries: Vec<VerifiedEntry>,
        witnesses: Vec<String>,
    ) -> Self {
        Self { value, digest, signer, times, entries, witnesses }
    }

    /// What was verified.
    #[must_use]
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The artifact's digest by which it was verified.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// When it was signed: all that say so. Empty only for required keys without a validity of their own.
    #[must_use]
    pub fn times(&self) -> &[VerifiedTime] {
        &self.times
    }

    /// The logs' entries.
    #[must_use]
    pub fn entries(&self) -> &[VerifiedEntry] {
        &self.entries
    }

    /// The names of the witnesses that were counted.
    #[must_use]
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }
}

impl Verified<Payload> {
    /// The statement, when one was signed.
    #[must_use]
    pub fn statement(&self) -> Option<&Statement> {
        match &self.value {
            Payload::Statement { statement, .. } => Some(statement),
            Payload::Artifact | Payload::SimpleSigning { .. } | Payload::Document { .. } => None,
        }
    }

    /// What was signed along with the artifact: the annotations of the statement's subject, or `optional` of cosign's
    /// older payload. `None` when the artifact itself was signed.
    #[must_use]
    pub fn annotations(&self) -> Option<&BTreeMap<String, serde_json::Value>> {
        match &self.value {
            Payload::Statement { statement, subject, .. } => {
                statement.subjects.get(*subject).map(|s| &s.annotations)
            }
            Payload::SimpleSigning { payload, .. } => Some(&payload.optional),
            Payload::Artifact | Payload::Document { .. } => None,
        }
    }

    /// The same with the statement as value, or `None` when the artifact itself was signed.
    #[must_use]
    pub fn into_statement(self) -> Option<Verified<Statement>> {
        let Self { value, digest, signer, times, entries, witnesses } = self;
        match value {
            Payload::Statement { statement, .. } => {
                Some(Verified::new(*statement, digest, signer, times, entries, witnesses))
            }
            Payload::Artifact | Payload::SimpleSigning { .. } | Payload::Document { .. } => None,
        }
    }
}

/// Why verification failed: the first check that did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check} ({at}): expected {expected}, found {found}", at = if evidence.is_empty() { "bundle" } else { evidence })]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// Which check.
    pub check: CheckName,
    /// Which part of the evidence.
    pub evidence: String,
    /// What would have made it pass.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// All checks, and the verdict.
#[derive(Debug, Clone)]
pub struct Report {
    checks: Vec<Check>,
    verdict: Result<Box<Verified>, Rejection>,
}

impl Report {
    /// Ends a report. Without a failed check, the engine must hand over what it has verified.
    pub(crate) fn new(checks: Vec<Check>, verified: Option<Verified>) -> Self {
        let failed = checks.iter().find(|c| c.outcome == Outcome::Failed);
        let verdict = match (failed, verified) {
            (None, Some(verified)) => Ok(Box::new(verified)),
            (Some(check), _) => Err(Rejection {
                reason: check.reason.unwrap_or(Reason::Internal),
                check: check.name,
                evidence: check.source.clone(),
                expected: check.expected.clone(),
                found: check.found.clone(),
            }),
            (None, None) => Err(Rejection {
                reason: Reason::Internal,
                check: CheckName::Shape,
                evidence: String::new(),
                expected: "every check to have run".into(),
                found: "one that did not".into(),
            }),
        };
        Self { checks, verdict }
    }

    fn of_one_failure(reason: Reason, expected: &str, found: String) -> Self {
        let check = Check {
            name: CheckName::Shape,
            outcome: Outcome::Failed,
            source: String::new(),
            expected: expected.to_owned(),
            found,
            reason: Some(reason),
            consequence_of: None,
        };
        Self::new(vec![check], None)
    }

    /// The report on an artifact for which there is no signature at all.
    #[must_use]
    pub fn no_signature() -> Self {
        Self::of_one_failure(Reason::NoSignature, "a signature", "none".into())
    }

    /// The report on a bundle that does not parse.
    #[must_use]
    pub fn malformed(error: &BundleError) -> Self {
        Self::of_one_failure(Reason::BundleMalformed, "a well-formed Sigstore bundle", error.to_string())
    }

    /// The checks in their order. The first that failed decides.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What was verified.
    ///
    /// # Errors
    /// [`Rejection`]: the first check that failed.
    pub fn verified(&self) -> Result<&Verified, &Rejection> {
        self.verdict.as_deref()
    }

    /// As [`Report::verified`], by value.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn into_verified(self) -> Result<Verified, Rejection> {
        self.verdict.map(|verified| *verified)
    }

    /// 0 when verified, else [`Reason::exit_code`] of the first check that failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.verdict {
            Ok(_) => 0,
            Err(rejection) => rejection.reason.exit_code(),
        }
    }
}

/// Gathers the checks of one run.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Vec<Check>);

impl Recorder {
    pub(crate) fn pass(
        &mut self,
        name: CheckName,
        source: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.push(name, Outcome::Passed, source.into(), expected.into(), found.into(), None);
    }

    pub(crate) fn fail(
        &mut self,
        name: CheckName,
        source: impl Into<String>,
        reason: Reason,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.push(name, Outcome::Failed, source.into(), expected.into(), found.into(), Some(reason));
    }

    pub(crate) fn skip(&mut self, name: CheckName, source: impl Into<String>, found: impl Into<String>) {
        self.push(name, Outcome::NotApplicable, source.into(), "nothing".into(), found.into(), None);
    }

    fn push(
        &mut self,
        name: CheckName,
        outcome: Outcome,
        source: String,
        expected: String,
        found: String,
        reason: Option<Reason>,
    ) {
        self.0.push(Check { name, outcome, source, expected, found, reason, consequence_of: None });
    }
}

/// A failure on its way into a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Failure {
    pub(crate) fn new(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, expected: expected.into(), found: found.into() }
    }
}

impl Recorder {
    /// Says of the check just recorded that it failed only because an earlier one of these did.
    pub(crate) fn follows_when(&mut self, known: bool, causes: &[CheckName]) {
        let Some((last, earlier)) = self.0.split_last_mut().filter(|_| known) else { return };
        let cause = earlier.iter().find(|c| c.outcome == Outcome::Failed && causes.contains(&c.name));
        last.consequence_of = cause.map(|c| c.consequence_of.unwrap_or(c.name));
    }

    pub(crate) fn count_failed(&self, name: CheckName) -> usize {
        self.0.iter().filter(|c| c.name == name && c.outcome == Outcome::Failed).count()
    }

    pub(crate) fn has_failed(&self, name: CheckName, source: &str) -> bool {
        self.0.iter().any(|c| c.name == name && c.outcome == Outcome::Failed && c.source == source)
    }

    pub(crate) fn refuse(&mut self, name: CheckName, source: impl Into<String>, failure: Failure) {
        self.fail(name, source, failure.reason, failure.expected, failure.found);
    }
}
