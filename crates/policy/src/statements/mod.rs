//! Statements about an artifact that somebody trusted signed, and what follows from them. The typed rules of our own policies
//! and the controls of the scanner are the same judgements, made here.
//!
//! Of each signer the newest statement counts, by the time that a log or a timestamp authority vouches for: an older one never
//! stands in for it, whatever it says. What nobody signed does not count, what is missing is a no, and each verdict names the
//! statements which decided it.
//!
//! | file | subject |
//! |---|---|
//! | `target` | what is judged |
//! | `newest` | which statements count, and since when they were there |
//! | `level` | provenance: level, source, and how it was built |
//! | `bill` | bills of materials |
//! | `scans` | scans for vulnerabilities, and whether they are fresh |
//! | `severity`, `vulnerability` | which vulnerabilities count after VEX |
//! | `tested`, `review` | results of tests; who approved of a change |

mod bill;
mod level;
mod newest;
mod review;
mod scans;
mod severity;
mod target;
mod tested;
mod vulnerability;

use std::collections::HashSet;
use std::sync::Arc;

use countersign_attestation::Statement;
use countersign_http::text::printable;
use countersign_verify::{Report, Verified, nearest};

use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::decision::Deciding;
use crate::judge::{Fact, What};

pub use bill::BillRule;
pub use level::{LevelRule, Origin, Root};
pub use newest::{newest, signed_at};
pub use review::ReviewRule;
pub use scans::ScanRule;
pub use severity::{SeverityRule, VULNERABLE, vex_document};
pub use target::Target;
pub use tested::TestRule;
pub use vulnerability::{Vex, Vulnerability};

/// What came of asking for statements.
#[derive(Debug)]
pub struct Trusted {
    /// Those that hold, each once.
    pub facts: Vec<Fact>,
    /// What came nearest, where none does.
    nearest: Option<Report>,
}

impl Trusted {
    /// Why there is none, for the end of a message.
    #[must_use]
    pub fn why_none(&self) -> String {
        match self.nearest.as_ref().map(Report::verified) {
            Some(Err(rejection)) => format!(
                ": expected {}, found {}",
                printable(&rejection.expected),
                printable(&rejection.found)
            ),
            _ => String::new(),
        }
    }
}

/// What came of a rule over statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// A stable code.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The statements that decided it; none where there is none.
    pub decided_by: Vec<Deciding>,
    /// The vulnerabilities that it rests on.
    pub vulnerabilities: Arc<[Vulnerability]>,
    /// The build level that was found, if that was looked for.
    pub level: Option<u8>,
}

impl Verdict {
    fn pass(message: String, decided_by: Vec<Deciding>) -> Self {
        Self {
            holds: true,
            reason: "passed",
            message,
            decided_by,
            vulnerabilities: Arc::default(),
            level: None,
        }
    }

    fn fail(reason: &'static str, message: String, decided_by: Vec<Deciding>) -> Self {
        Self { holds: false, reason, ..Self::pass(message, decided_by) }
    }
}

impl Ask<'_> {
    /// All statements of these types by any of these.
    ///
    /// # Errors
    /// [`Stop`]: what nobody could look at may be what matters, so that one of them is enough.
    pub fn statements(&self, target: &Target, by: &[Authority], types: &[String]) -> Result<Trusted, Stop> {
        let (trusted, stopped) = self.statements_there(target, by, types);
        stopped.map_or(Ok(trusted), Err)
    }

    /// The same for whom one statement that holds is enough: what was found, and what could not be looked at.
    pub fn statements_there(
        &self,
        target: &Target,
        by: &[Authority],
        types: &[String],
    ) -> (Trusted, Option<Stop>) {
        let what = What::Statement(types.to_vec());
        let mut stopped = None;
        let (mut facts, mut refused): (Vec<Fact>, Vec<Report>) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for authority in by {
            match self.judge_all(target, authority, &what) {
                Ok(judgement) => {
                    facts.extend(judgement.facts.iter().filter(|fact| known.insert(fact.evidence)).cloned());
                    refused.extend(judgement.refusal.clone());
                }
                Err(stop) => note(&mut stopped, stop),
            }
        }
        let nearest = nearest(&refused).filter(|_| facts.is_empty()).cloned();
        (Trusted { facts, nearest }, stopped)
    }
}

/// Keeps the first reason to stop; an open question goes before one without an answer.
fn note(stopped: &mut Option<Stop>, stop: Stop) {
    if stopped.is_none() || stop == Stop::Open {
        *stopped = Some(stop);
    }
}

/// Who signed, for people.
#[must_use]
pub fn signer(fact: &Fact) -> String {
    let signer = fact.verified.signer();
    match (signer.identity(), signer.issuer()) {
        (Some(name), Some(issuer)) => format!("{} (issuer {})", printable(name), printable(issuer)),
        (Some(name), None) => printable(name),
        (None, _) => {
            let digits: String =
                signer.public_key().fingerprint().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("the key sha256:{digits}")
        }
    }
}

/// The type and the text of a fact's predicate.
///
/// # Errors
/// In words, what is missing.
pub fn predicate(fact: &Fact) -> Result<(&str, &str), String> {
    said(&fact.verified)
}

/// The same of what was verified.
fn said(verified: &Verified) -> Result<(&str, &str), String> {
    let statement: &Statement = verified.statement().ok_or("it is no statement")?;
    let predicate = statement.predicate.as_ref().ok_or("its statement has no predicate")?;
    Ok((&statement.predicate_type, predicate.get()))
}

/// These as what decided.
fn deciding<'f>(facts: impl IntoIterator<Item = &'f Fact>) -> Vec<Deciding> {
    facts.into_iter().map(Deciding::of).collect()
}
