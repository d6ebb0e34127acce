//! The answer: a list of checks, and what follows from them.

use std::collections::BTreeMap;

use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::policy::Level;
use crate::{Attributes, Reason, Refusal, TargetArtifact};

countersign_verify::check_names! {
    /// What the trust policy says of this artifact.
    Policy = "trust_policy";
    /// The envelope's form and its attributes.
    Envelope = "envelope";
    /// What the specification asks of the certificates.
    Certificates = "certificates";
    /// The signature.
    Signature = "signature";
    /// That it is of this artifact.
    Artifact = "artifact";
    /// Metadata in the signature that is asked for.
    Metadata = "metadata";
    /// The chain's way to a trust store.
    TrustStore = "trust_store";
    /// Who signed.
    Identity = "identity";
    /// The signature's own "best before".
    Expiry = "expiry";
    /// That the certificates were valid when it was signed.
    AuthenticTimestamp = "authentic_timestamp";
    /// That no certificate has been revoked by its authority.
    Revocation = "revocation";
    /// That nobody who may has revoked it: one check for each such list at hand.
    Revoked = "revoked";
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold, or cannot be made, and the policy enforces it.
    Failed,
    /// It does not hold, or cannot be made, and the policy only logs it.
    Logged,
    /// The policy skips it, or nothing of this kind is there and needed.
    NotApplicable,
}

impl Outcome {
    /// `passed`, `failed`, `logged` or `not_applicable`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Logged => "logged",
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
    /// What would have made it pass.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Why it does not hold; only with [`Outcome::Failed`] and [`Outcome::Logged`].
    pub reason: Option<Reason>,
}

/// A time of signing that somebody trusted vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticTime {
    /// A timestamp authority: it was signed before this time.
    TimestampAuthority {
        /// When it was stamped.
        time: Timestamp,
        /// The authority.
        authority: String,
    },
    /// The signing authority itself.
    SigningAuthority(Timestamp),
}

/// A signature that was accepted. Only [`crate::verify()`] makes one, and only when every check passed which the policy
/// enforces. What the policy only logs may not hold: it is in [`Verified::logged`].
#[derive(Debug, Clone)]
pub struct Verified {
    pub(crate) target: TargetArtifact,
    pub(crate) attributes: Attributes,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) signer: Option<Certificate>,
    pub(crate) time: Option<AuthenticTime>,
    pub(crate) statement: String,
    pub(crate) level: Level,
    pub(crate) logged: Vec<Check>,
}

impl Verified {
    /// The artifact, as it is signed.
    #[must_use]
    pub const fn target(&self) -> &TargetArtifact {
        &self.target
    }

    /// The metadata which the signer vouches for.
    #[must_use]
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.target.annotations
    }

    /// The signed attributes.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Who signed; `None` when the policy accepts a signature of nobody it trusts (level `audit`).
    #[must_use]
    pub const fn signer(&self) -> Option<&Certificate> {
        self.signer.as_ref()
    }

    /// The certificates in the envelope. Whether anybody trusts them says [`Verified::signer`].
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// When it was signed, if somebody trusted vouches for it.
    #[must_use]
    pub const fn authentic_time(&self) -> Option<&AuthenticTime> {
        self.time.as_ref()
    }

    /// The statement of the trust policy by which it was accepted.
    #[must_use]
    pub fn statement(&self) -> &str {
        &self.statement
    }

    /// The level of that statement.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Checks that do not hold and which the policy only logs. Empty for a signature which has nothing against it.
    #[must_use]
    pub fn logged(&self) -> &[Check] {
        &self.logged
    }
}

/// Why verification failed: the first check that did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: expected {expected}, found {found}")]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// Which check.
    pub check: CheckName,
    /// What would have made it pass.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What follows from the checks.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The signature was accepted.
    Verified(Box<Verified>),
    /// The trust policy says that signatures of this artifact are not verified. Nothing is known about it.
    Skipped,
    /// The signature was refused.
    Rejected(Rejection),
}

/// All checks, and the verdict.
#[derive(Debug, Clone)]
pub struct Report {
    checks: Vec<Check>,
    verdict: Verdict,
}

impl Report {
    /// Ends a report. Without a failed check, the engine must hand over what it has verified.
    pub(crate) fn new(checks: Vec<Check>, verified: Option<Verified>) -> Self {
        let failed = checks.iter().find(|check| check.outcome == Outcome::Failed);
        let verdict = match (failed, verified) {
            (None, Some(mut verified)) => {
                verified.logged =
                    checks.iter().filter(|check| check.outcome == Outcome::Logged).cloned().collect();
                Verdict::Verified(Box::new(verified))
            }
            (Some(check), _) => Verdict::Rejected(Rejection {
                reason: check.reason.unwrap_or(Reason::Internal),
                check: check.name,
                expected: check.expected.clone(),
                found: check.found.clone(),
            }),
            (None, None) => Verdict::Rejected(Rejection {
                reason: Reason::Internal,
                check: CheckName::Envelope,
                expected: "every check to have run".into(),
                found: "one that did not".into(),
            }),
        };
        Self { checks, verdict }
    }

    pub(crate) fn skipped(statement: &str) -> Self {
        let check = Check {
            name: CheckName::Policy,
            outcome: Outcome::NotApplicable,
            expected: "nothing".into(),
            found: format!("the statement {statement:?} says to skip verification"),
            reason: None,
        };
        Self { checks: vec![check], verdict: Verdict::Skipped }
    }

    /// The report on an artifact for which nothing can be verified: there is no signature, no statement of the policy
    /// is for it, or its envelope is of no known kind.
    #[must_use]
    pub fn of_refusal(name: CheckName, refusal: &Refusal) -> Self {
        let mut recorder = Recorder::default();
        recorder.refuse(name, Outcome::Failed, refusal.clone());
        Self::new(recorder.0, None)
    }

    /// The report on an artifact for which there is no signature at all.
    #[must_use]
    pub fn no_signature() -> Self {
        Self::of_refusal(
            CheckName::Envelope,
            &Refusal::new(Reason::NoSignature, "a Notary Project signature", "none"),
        )
    }

    /// The checks in their order. The first that failed decides.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What follows.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What was verified, if it was.
    #[must_use]
    pub fn verified(&self) -> Option<&Verified> {
        match &self.verdict {
            Verdict::Verified(verified) => Some(verified),
            _ => None,
        }
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub const fn rejection(&self) -> Option<&Rejection> {
        match &self.verdict {
            Verdict::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// 0 when the signature was accepted, or the policy says to skip; else [`Reason::exit_code`] of the first check
    /// that failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.rejection().map_or(0, |rejection| rejection.reason.exit_code())
    }
}

/// Gathers the checks of one run.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Vec<Check>);

impl Recorder {
    pub(crate) fn pass(&mut self, name: CheckName, expected: impl Into<String>, found: impl Into<String>) {
        self.0.push(Check {
            name,
            outcome: Outcome::Passed,
            expected: expected.into(),
            found: found.into(),
            reason: None,
        });
    }

    pub(crate) fn leave_out(&mut self, name: CheckName, found: impl Into<String>) {
        self.0.push(Check {
            name,
            outcome: Outcome::NotApplicable,
            expected: "nothing".into(),
            found: found.into(),
            reason: None,
        });
    }

    pub(crate) fn refuse(&mut self, name: CheckName, outcome: Outcome, refusal: Refusal) {
        self.0.push(Check {
            name,
            outcome,
            expected: refusal.expected,
            found: refusal.found,
            reason: Some(refusal.reason),
        });
    }
}
