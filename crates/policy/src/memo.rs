//! Judgements that are kept: the same evidence of one image, judged by the same authority under the same trust, has the
//! same outcome. Conditions over what was verified are no part of it; they are evaluated each time.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_crypto::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::authority::Authority;
use crate::judge::{Judgement, What};
use crate::trust::{Material, TrustSpec};

/// How long a judgement is kept: long enough for a rollout, short against the windows in which keys and certificates are
/// valid, which a judgement depends on.
const KEPT: SignedDuration = SignedDuration::from_secs(60);

/// How much trust material is kept. Each new revocation list makes more, and that of the last one is of no use any more.
const MATERIALS: usize = 512;

/// What a judgement depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JudgementKey {
    pub(crate) image: Digest,
    pub(crate) evidence: [u8; 32],
    pub(crate) trust: [u8; 32],
    /// Long, and the same in most: shared.
    pub(crate) authority: Arc<Authority>,
    pub(crate) what: What,
}

/// What trust material depends on: what the policy says, and the trust root it says it of.
type MaterialKey = (TrustSpec, [u8; 32]);

/// Judgements, each with the time at which it was made.
#[derive(Debug, Default)]
struct Judgements {
    kept: HashMap<JudgementKey, (Timestamp, Arc<Judgement>)>,
    /// When those that are over were last thrown away.
    swept: Timestamp,
}

/// Judgements and trust material that are kept. Bounded; safe to share.
#[derive(Debug)]
pub struct Memo {
    capacity: usize,
    judgements: Mutex<Judgements>,
    authorities: Mutex<HashSet<Arc<Authority>>>,
    materials: Mutex<HashMap<MaterialKey, Arc<Material>>>,
}

impl Memo {
    /// Keeps at most this many judgements.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            judgements: Mutex::default(),
            authorities: Mutex::default(),
            materials: Mutex::default(),
        }
    }

    /// The one copy of an authority for the keys of judgements.
    pub(crate) fn shared(&self, authority: &Authority) -> Arc<Authority> {
        let mut known = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(authority) {
            return known.clone();
        }
        // Those that no judgement has are of policies that are gone.
        if known.len() >= self.capacity {
            known.retain(|known| Arc::strong_count(known) > 1);
        }
        let shared = Arc::new(authority.clone());
        known.insert(shared.clone());
        shared
    }

    /// The kept judgement, or a new one. Two that ask at once may both judge; the outcome is the same.
    pub(crate) fn judgement(
        &self,
        key: JudgementKey,
        now: Timestamp,
        judge: impl FnOnce() -> Judgement,
    ) -> Arc<Judgement> {
        let fresh = |since: Timestamp| now >= since && now.duration_since(since) < KEPT;
        {
            let Judgements { kept, .. } = &*self.judgements.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, judgement)) = kept.get(&key).filter(|(since, _)| fresh(*since)) {
                return judgement.clone();
            }
        }
        let judgement = Arc::new(judge());
        let Judgements { kept, swept } = &mut *self.judgements.lock().unwrap_or_else(PoisonError::into_inner);
        if !fresh(*swept) {
            kept.retain(|_, (since, _)| fresh(*since));
            *swept = now;
        }
        if kept.len() < self.capacity || kept.contains_key(&key) {
            kept.insert(key, (now, judgement.clone()));
        }
        judgement
    }

    /// The kept trust material, or a new one. What cannot be built is not kept.
    pub(crate) fn material(
        &self,
        spec: &TrustSpec,
        base: [u8; 32],
        build: impl FnOnce() -> Result<Material, String>,
    ) -> Result<Arc<Material>, String> {
        let key = (spec.clone(), base);
        if let Some(kept) = self.materials.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(kept.clone());
        }
        let material = Arc::new(build()?);
        let mut kept = self.materials.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MATERIALS {
            kept.clear();
        }
        kept.insert(key, material.clone());
        Ok(material)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use countersign_crypto::HashAlgorithm;

    use super::*;
    use crate::authority::{Demands, Forms, Who};

    fn authority(name: &str) -> Authority {
        Authority {
            name: name.to_owned(),
            who: Who::AnyIdentity,
            trust: TrustSpec::default(),
            demands: Demands::default(),
            annotations: BTreeMap::new(),
            repository: None,
            forms: Forms::default(),
        }
    }

    fn key(memo: &Memo, image: &str) -> JudgementKey {
        JudgementKey {
            image: HashAlgorithm::Sha256.digest(image.as_bytes()),
            evidence: [1; 32],
            trust: [2; 32],
            authority: memo.shared(&authority("a")),
            what: What::Signature,
        }
    }

    /// Whether it had to be judged.
    fn is_judged(memo: &Memo, key: JudgementKey, second: i64) -> bool {
        let (mut judged, image) = (false, key.image);
        memo.judgement(key, Timestamp::from_second(second).unwrap(), || {
            judged = true;
            Judgement { image, facts: Vec::new(), refusal: None, passed_over: BTreeSet::new() }
        });
        judged
    }

    #[test]
    fn a_judgement_is_used_for_the_same_alone_and_each_part_can_differ() {
        let memo = Memo::new(100);
        let same = || key(&memo, "one");
        assert!(is_judged(&memo, same(), 0));
        assert!(!is_judged(&memo, same(), 59));
        for other in [
            key(&memo, "two"),
            JudgementKey { evidence: [3; 32], ..same() },
            JudgementKey { trust: [3; 32], ..same() },
            JudgementKey { authority: memo.shared(&authority("b")), ..same() },
            JudgementKey { what: What::Statement(Vec::new()), ..same() },
        ] {
            assert!(is_judged(&memo, other, 0));
        }
        assert!(is_judged(&memo, same(), 60), "too long ago");
        assert!(is_judged(&memo, same(), 59), "of a time that is still to come");
    }

    #[test]
    fn what_is_over_is_thrown_away_and_what_is_too_much_is_judged_each_time() {
        let memo = Memo::new(2);
        let count = || memo.judgements.lock().unwrap().kept.len();
        for (image, second, kept) in [("one", 0, 1), ("two", 10, 2), ("three", 20, 2), ("one", 60, 2)] {
            assert!(is_judged(&memo, key(&memo, image), second), "{image}");
            assert_eq!(count(), kept, "{image}");
        }
        assert!(!is_judged(&memo, key(&memo, "one"), 61));
        assert!(is_judged(&memo, key(&memo, "three"), 200));
        assert_eq!(count(), 1);
    }

    #[test]
    fn an_authority_is_kept_once_and_not_longer_than_it_is_used() {
        let memo = Memo::new(2);
        let [one, two] = ["a", "b"].map(|name| memo.shared(&authority(name)));
        assert!(Arc::ptr_eq(&one, &memo.shared(&authority("a"))) && !Arc::ptr_eq(&one, &two));
        drop(two);
        memo.shared(&authority("c"));
        assert_eq!(memo.authorities.lock().unwrap().len(), 2);
    }
}
