//! Which statements count: of each signer the newest, by a time that somebody vouches for.

use std::collections::BTreeMap;

use countersign_verify::Verified;
use jiff::{SignedDuration, Timestamp};

use super::{Trusted, Verdict, deciding, signer};
use crate::judge::Fact;

/// How far clocks may be apart: a statement's own time and the time at which it was signed are of two machines.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// The earliest time at which a signature is known to have existed, in the word of a log or a timestamp authority. The
/// machine's own clock says nothing of it.
#[must_use]
pub fn signed_at(fact: &Fact) -> Option<Timestamp> {
    vouched(&fact.verified)
}

/// The same of what was verified.
pub(super) fn vouched(verified: &Verified) -> Option<Timestamp> {
    let times = verified.times().iter().filter(|time| time.source.is_vouched());
    times.map(|time| time.time).min()
}

/// Tells signers apart: the identity, or the key.
pub(super) fn signer_key(fact: &Fact) -> Vec<u8> {
    let signer = fact.verified.signer();
    match signer.identity() {
        Some(name) => format!("{name}\n{}", signer.issuer().unwrap_or_default()).into_bytes(),
        None => signer.public_key().fingerprint().to_vec(),
    }
}

/// Of each signer and kind the newest statement. Where nobody vouches for a time, nobody can tell whether it is the newest,
/// and it counts beside the newest; so do two of one time.
pub fn newest<K: Ord>(facts: &[Fact], kind: impl Fn(&Fact) -> K) -> Vec<&Fact> {
    let mut last: BTreeMap<(Vec<u8>, K), Timestamp> = BTreeMap::new();
    for fact in facts {
        if let Some(at) = signed_at(fact) {
            let known = last.entry((signer_key(fact), kind(fact))).or_insert(at);
            *known = at.max(*known);
        }
    }
    let counts = |fact: &&Fact| {
        let last = last.get(&(signer_key(fact), kind(fact)));
        last.zip(signed_at(fact)).is_none_or(|(last, at)| *last == at)
    };
    facts.iter().filter(counts).collect()
}

impl Trusted {
    /// Of each signer and kind the newest, where none of these is older than it may be and each has a time that can be believed.
    ///
    /// # Errors
    /// The refusal. A statement whose time lies ahead would be the last word until then, so that it refuses.
    pub(super) fn current<K: Ord>(
        &self,
        what: &str,
        max_age: Option<SignedDuration>,
        now: Timestamp,
        kind: impl Fn(&Fact) -> K,
    ) -> Result<Vec<&Fact>, Verdict> {
        let newest = newest(&self.facts, kind);
        if newest.is_empty() {
            let text = format!("expected {what} that somebody trusted signed, found none{}", self.why_none());
            return Err(Verdict::fail("no_statement", text, Vec::new()));
        }
        for fact in &newest {
            if let Some(at) = signed_at(fact)
                && at > now + CLOCKS
            {
                let text = format!("{what} by {} was signed at {at}, which is still to come", signer(fact));
                return Err(Verdict::fail("time_to_come", text, deciding([*fact])));
            }
        }
        let Some(max_age) = max_age else { return Ok(newest) };
        let fresh = |fact: &&Fact| signed_at(fact).is_some_and(|at| now.duration_since(at) <= max_age);
        let kept: Vec<&Fact> = newest.iter().filter(|fact| fresh(fact)).copied().collect();
        if !kept.is_empty() {
            return Ok(kept);
        }
        let (reason, text) = match newest.iter().filter_map(|fact| signed_at(fact)).max() {
            Some(at) => (
                "too_old",
                format!("expected {what} not older than {max_age:#}, found the newest of {at}; make it anew"),
            ),
            None => (
                "signing_time_unknown",
                format!("{what}: expected a time of signing from a timestamp authority or a log, found none"),
            ),
        };
        Err(Verdict::fail(reason, text, deciding(newest)))
    }
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
