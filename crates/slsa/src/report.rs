//! The answer: for each signed statement what the engine says of its signature, the checks of its content, and what was
//! built, by whom, at which level.

use countersign_attestation::Statement;
use countersign_attestation::predicate::provenance::Provenance;
use countersign_crypto::Digest;
use countersign_verify::{Check as EngineCheck, Outcome, Reason, Rejection, Report as Engine, Verified};

use crate::Facts;
use crate::wire::Document;

countersign_verify::check_names! {
    /// Whether the document holds something that can be verified.
    Document = "document";
    /// Signature, subject and type of the statement: all that the engine checks.
    Evidence = "evidence";
    /// That a transparency log has it.
    Log = "transparency_log";
    /// What the statement says.
    Provenance = "provenance";
    /// The pair of signer and builder.
    Builder = "builder";
    /// The level that the pair is believed at.
    Level = "level";
    /// That what is said in several places is the same: in the provenance, in the certificate, in both.
    Agreement = "agreement";
    /// On whose machine it was built.
    Runner = "runner";
    /// The repository it was built from.
    Source = "source";
    /// The tag or branch.
    Ref = "ref";
    /// How it was built.
    BuildType = "build_type";
    /// With which inputs it was started.
    Inputs = "inputs";
    /// That all its external parameters are known.
    Parameters = "parameters";
    /// The package and its version.
    Package = "package";
    /// That a verification summary is about what is asked about.
    Subject = "subject";
    /// Who verified.
    Verifier = "verifier";
    /// What was verified, by its address.
    Resource = "resource";
    /// How verification came out.
    Result = "result";
    /// The levels and properties that were verified.
    Levels = "levels";
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
    /// Why it failed; only with [`Outcome::Failed`].
    pub reason: Option<Reason>,
}

/// Why it was refused: the first check that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: expected {expected}, found {found}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which check, of the engine or of the content.
    pub check: &'static str,
    /// What would have made it pass.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Something that was built, as far as it was verified. Only verification makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Build {
    /// What the engine verified: the statement, who signed it, when, which logs have it.
    pub verified: Verified,
    /// The digest (SHA-256) of the signed statement: which one it is.
    pub statement_digest: Digest,
    /// The document it was in.
    pub document: Option<Document>,
    /// How it was built; `None` for a statement of who uploaded it.
    pub provenance: Option<Provenance>,
    /// What the provenance says by its type of build.
    pub facts: Facts,
    /// The builder.
    pub builder: String,
    /// The level that signer and builder together are believed at; 0 for none.
    pub level: u8,
    /// The root of trust which says so; `None` for the level of whoever stands in none.
    pub root: Option<String>,
    /// Whether a transparency log has it.
    pub is_logged: bool,
    /// What is worth knowing and no reason to refuse.
    pub notes: Vec<String>,
}

impl Build {
    /// The statement.
    #[must_use]
    pub fn statement(&self) -> Option<&Statement> {
        self.verified.statement()
    }

    /// The signed bytes of the statement.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self.verified.value() {
            countersign_verify::Payload::Statement { bytes, .. } => bytes,
            _ => &[],
        }
    }

    /// Who signed, in words.
    #[must_use]
    pub fn signer(&self) -> String {
        signer_in_words(self.verified.signer())
    }
}

/// Who signed, in words.
pub(crate) fn signer_in_words(signer: &countersign_verify::Signer) -> String {
    match (signer.identity(), signer.issuer()) {
        (Some(name), Some(issuer)) => format!("{name} (issuer {issuer})"),
        (Some(name), None) => name.to_owned(),
        _ => {
            let print = signer.public_key().fingerprint();
            format!("the holder of the key sha256:{}", countersign_crypto::encoding::hex_encode(&print))
        }
    }
}

/// What verification can come to.
pub trait Verdict {
    /// What the higher of two is chosen by.
    fn height(&self) -> u8;
}

impl Verdict for Build {
    fn height(&self) -> u8 {
        self.level
    }
}

/// What the engine says of a signature: its checks, and why it refused.
#[derive(Debug)]
pub struct Signed {
    /// The checks in their order.
    pub checks: Vec<EngineCheck>,
    /// The first that failed; `None` when the signature holds.
    pub rejection: Option<Rejection>,
}

impl Signed {
    /// Takes a report of the engine apart: a large statement is moved on and not copied.
    pub(crate) fn of(engine: Engine) -> (Self, Option<Verified>) {
        let checks = engine.checks().to_vec();
        match engine.into_verified() {
            Ok(verified) => (Self { checks, rejection: None }, Some(verified)),
            Err(rejection) => (Self { checks, rejection: Some(rejection) }, None),
        }
    }
}

/// One statement and what came of it.
#[derive(Debug)]
pub struct Attempt<T = Build> {
    /// Where the statement was.
    pub place: String,
    /// What the engine says of the signature; `None` for what could not be read.
    pub signed: Option<Signed>,
    /// The checks of the content, in their order.
    pub checks: Vec<Check>,
    verdict: Result<Box<T>, Refusal>,
}

impl<T: Verdict> Attempt<T> {
    /// Ends an attempt. Without a failed check, verification must hand over what was built.
    pub(crate) fn new(place: String, signed: Option<Signed>, recorder: Recorder, found: Option<T>) -> Self {
        let failed = recorder.0.iter().find(|check| check.outcome == Outcome::Failed);
        let refused = signed.as_ref().and_then(|signed| signed.rejection.as_ref());
        let verdict = match (refused, failed, found) {
            (None, None, Some(found)) if signed.is_some() => Ok(Box::new(found)),
            (Some(rejection), ..) => Err(Refusal {
                reason: rejection.reason,
                check: rejection.check.code(),
                expected: rejection.expected.clone(),
                found: rejection.found.clone(),
            }),
            (None, Some(check), _) => Err(Refusal {
                reason: check.reason.unwrap_or(Reason::Internal),
                check: check.name.code(),
                expected: check.expected.clone(),
                found: check.found.clone(),
            }),
            (None, None, _) => Err(Refusal {
                reason: Reason::Internal,
                check: CheckName::Evidence.code(),
                expected: "every check to have run".into(),
                found: "one that did not".into(),
            }),
        };
        Self { place, signed, checks: recorder.0, verdict }
    }

    /// What was verified.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verified(&self) -> Result<&T, &Refusal> {
        self.verdict.as_deref()
    }

    /// How far it came: an attempt whose signature holds tells more than one whose does not.
    fn rank(&self) -> (bool, usize) {
        let signed = self.signed.as_ref().is_some_and(|signed| signed.rejection.is_none());
        let passed = self.checks.iter().filter(|check| check.outcome == Outcome::Passed).count();
        let of_engine = self.signed.as_ref().map_or(0, |signed| {
            signed.checks.iter().filter(|check| check.outcome == Outcome::Passed).count()
        });
        (signed, passed + of_engine)
    }
}

/// All statements, and the verdict.
#[derive(Debug)]
pub struct Report<T = Build> {
    attempts: Vec<Attempt<T>>,
}

impl<T: Verdict> Report<T> {
    pub(crate) fn new(attempts: Vec<Attempt<T>>) -> Self {
        Self { attempts }
    }

    /// The statements that were looked at, in the order in which they were found.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt<T>] {
        &self.attempts
    }

    /// The attempt that decides: of those that hold the one of the highest level, else the one that came nearest; `None`
    /// when there was nothing to look at.
    #[must_use]
    pub fn deciding(&self) -> Option<&Attempt<T>> {
        let height = |attempt: &&Attempt<T>| attempt.verified().map(Verdict::height).ok();
        let best = self.attempts.iter().filter(|a| a.verified().is_ok()).rev().max_by_key(height);
        best.or_else(|| self.attempts.iter().rev().max_by_key(|attempt| attempt.rank()))
    }

    /// What was verified, by the statement that decides.
    ///
    /// # Errors
    /// [`Refusal`]; without any statement that there is no signature.
    pub fn verified(&self) -> Result<&T, Refusal> {
        match self.deciding() {
            Some(attempt) => attempt.verified().map_err(Clone::clone),
            None => Err(Refusal {
                reason: Reason::NoSignature,
                check: CheckName::Document.code(),
                expected: "a signed statement".into(),
                found: "none".into(),
            }),
        }
    }

    /// 0 when it holds, else [`Reason::exit_code`] of the refusal.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.verified().map_or_else(|refusal| refusal.reason.exit_code(), |_| 0)
    }
}

/// Gathers the checks of one statement.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Vec<Check>);

impl Recorder {
    pub(crate) fn pass(&mut self, name: CheckName, expected: impl Into<String>, found: impl Into<String>) {
        self.push(name, Outcome::Passed, expected.into(), found.into(), None);
    }

    pub(crate) fn fail(
        &mut self,
        name: CheckName,
        reason: Reason,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.push(name, Outcome::Failed, expected.into(), found.into(), Some(reason));
    }

    pub(crate) fn skip(&mut self, name: CheckName, found: impl Into<String>) {
        self.push(name, Outcome::NotApplicable, "nothing".into(), found.into(), None);
    }

    /// Passes or fails.
    pub(crate) fn settle(
        &mut self,
        name: CheckName,
        holds: bool,
        reason: Reason,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        if holds { self.pass(name, expected, found) } else { self.fail(name, reason, expected, found) }
    }

    fn push(
        &mut self,
        name: CheckName,
        outcome: Outcome,
        expected: String,
        found: String,
        reason: Option<Reason>,
    ) {
        self.0.push(Check { name, outcome, expected, found, reason });
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.iter().any(|check| check.outcome == Outcome::Failed)
    }
}
