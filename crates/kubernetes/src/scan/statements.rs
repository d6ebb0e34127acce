//! Statements about an image that somebody trusted signed: the ground of the controls about scans, VEX, provenance and bills of
//! materials.

use std::collections::BTreeMap;

use countersign_attestation::Statement;
use countersign_http::text::printable;
use countersign_policy::{Ask, Authority, Fact, Forms, Stop, TrustSpec, What, Who};
use countersign_verify::{Report, TimeSource, nearest};
use jiff::{SignedDuration, Timestamp};

use super::look::Look;

/// How far clocks may be apart: a statement's own time and the time at which it was signed are of two machines.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// What came of asking for statements.
pub(super) struct Trusted {
    /// Those that hold, each once.
    pub(super) facts: Vec<Fact>,
    /// What came nearest, where none does.
    nearest: Option<Report>,
}

impl Trusted {
    /// Why there is none, for the end of a message.
    pub(super) fn why_none(&self) -> String {
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

impl Look {
    /// One of whom the settings name, as somebody who must have signed.
    pub(super) fn authority(&self, who: Who, index: usize) -> Authority {
        Authority {
            name: format!("signer {}", index + 1),
            who,
            trust: TrustSpec::default(),
            demands: self.settings.demands,
            annotations: BTreeMap::new(),
            repository: self.repository.clone(),
            forms: Forms::default(),
        }
    }

    /// All statements of these types by any of these.
    ///
    /// # Errors
    /// [`Stop`]: what nobody could look at may be what matters, so that one of them is enough.
    pub(super) fn statements(&self, who: &[Who], types: &[String], ask: &Ask<'_>) -> Result<Trusted, Stop> {
        let what = What::Statement(types.to_vec());
        let mut stopped = None;
        let (mut facts, mut refused): (Vec<Fact>, Vec<Report>) = (Vec::new(), Vec::new());
        for (index, who) in who.iter().enumerate() {
            match ask.judge(&self.image, &self.authority(who.clone(), index), &what) {
                Ok(judgement) => {
                    for fact in &judgement.facts {
                        if !facts.iter().any(|known| known.evidence == fact.evidence) {
                            facts.push(fact.clone());
                        }
                    }
                    refused.extend(judgement.refusal.clone());
                }
                // An open question goes before one without an answer.
                Err(Stop::Open) => stopped = Some(Stop::Open),
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        match stopped {
            Some(stop) => Err(stop),
            None => {
                let nearest = nearest(&refused).filter(|_| facts.is_empty()).cloned();
                Ok(Trusted { facts, nearest })
            }
        }
    }
}

/// Who signed, for people.
pub(super) fn signer(fact: &Fact) -> String {
    let signer = fact.verified.signer();
    match (signer.identity(), signer.issuer()) {
        (Some(name), Some(issuer)) => format!("{} (issuer {})", printable(name), printable(issuer)),
        (Some(name), None) => printable(name),
        (None, _) => "a trusted key".to_owned(),
    }
}

/// Tells signers apart: the identity, or the key.
pub(super) fn signer_key(fact: &Fact) -> Vec<u8> {
    let signer = fact.verified.signer();
    match signer.identity() {
        Some(name) => format!("{name}\n{}", signer.issuer().unwrap_or_default()).into_bytes(),
        None => signer.public_key().fingerprint().to_vec(),
    }
}

/// The earliest time at which a signature is known to have existed, in the word of a log or a timestamp authority.
pub(super) fn signed_at(fact: &Fact) -> Option<Timestamp> {
    let times = fact.verified.times().iter().filter(|time| time.source != TimeSource::Now);
    times.map(|time| time.time).min()
}

/// Whether a time that a signer states can be believed: it is no later than the signature, and not to come.
///
/// # Errors
/// In words, why not.
pub(super) fn believable(stated: Timestamp, signed: Option<Timestamp>, now: Timestamp) -> Result<(), String> {
    if stated > now + CLOCKS {
        return Err(format!("it says {stated}, which is still to come"));
    }
    match signed {
        Some(signed) if stated > signed + CLOCKS => {
            Err(format!("it says {stated}, and was signed before that, at {signed}"))
        }
        _ => Ok(()),
    }
}

/// The type and the text of a fact's predicate.
///
/// # Errors
/// In words, what is missing.
pub(super) fn predicate(fact: &Fact) -> Result<(&str, &str), String> {
    let statement: &Statement = fact.verified.statement().ok_or("it is no statement")?;
    let predicate = statement.predicate.as_ref().ok_or("its statement has no predicate")?;
    Ok((&statement.predicate_type, predicate.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_time_lies_before_the_signature_and_before_now() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let now = at(1000);
        for (stated, signed, holds) in [
            (10, Some(10), true),
            (10, Some(900), true),
            (14, Some(10), true),
            (16, Some(10), false),
            (999, None, true),
            (1004, None, true),
            (1006, None, false),
            (1006, Some(1010), false),
        ] {
            assert_eq!(believable(at(stated), signed.map(at), now).is_ok(), holds, "{stated} {signed:?}");
        }
    }
}
