//! Judgements that are kept: the same evidence of one image, judged by the same authority under the same trust, has the
//! same outcome. Conditions over what was verified are no part of it; they are evaluated each time.

use std::collections::HashMap;
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

/// What a judgement depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JudgementKey {
    pub(crate) image: Digest,
    pub(crate) evidence: [u8; 32],
    pub(crate) trust: [u8; 32],
    pub(crate) authority: Authority,
    pub(crate) what: What,
}

/// What trust material depends on: what the policy says, and the trust root it says it of.
type MaterialKey = (TrustSpec, [u8; 32]);

/// Judgements and trust material that are kept. Bounded; safe to share.
#[derive(Debug)]
pub struct Memo {
    capacity: usize,
    judgements: Mutex<HashMap<JudgementKey, (Timestamp, Arc<Judgement>)>>,
    materials: Mutex<HashMap<MaterialKey, Arc<Material>>>,
}

impl Memo {
    /// Keeps at most this many judgements.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), judgements: Mutex::default(), materials: Mutex::default() }
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
            let kept = self.judgements.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, judgement)) = kept.get(&key).filter(|(since, _)| fresh(*since)) {
                return judgement.clone();
            }
        }
        let judgement = Arc::new(judge());
        let mut kept = self.judgements.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.capacity {
            kept.retain(|_, (since, _)| fresh(*since));
        }
        if kept.len() < self.capacity {
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
        if kept.len() >= self.capacity {
            kept.clear();
        }
        kept.insert(key, material.clone());
        Ok(material)
    }
}
