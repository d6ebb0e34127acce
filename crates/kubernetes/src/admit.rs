//! From a review to an answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use countersign_client::policy::{Source, decide};
use countersign_clock::Clock;
use countersign_policy::{Decision, Operation, PolicySet, RuleResult, Status};

use crate::review::{Answer, Review, ReviewError};

/// What an answer needs after the policies were evaluated: the way back, and the API server's own work.
const RESERVE: Duration = Duration::from_secs(1);
/// The shortest time that an evaluation gets.
const SHORTEST: Duration = Duration::from_millis(500);
/// The most lines in a refusal's message.
const MAX_LINES: usize = 20;

/// What judges reviews.
pub struct Admission {
    policies: RwLock<Arc<PolicySet>>,
    source: Arc<Source>,
    clock: Arc<dyn Clock + Send + Sync>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("policies", &self.policies).finish_non_exhaustive()
    }
}

impl Admission {
    /// Judges by these policies.
    #[must_use]
    pub fn new(policies: PolicySet, source: Arc<Source>, clock: Arc<dyn Clock + Send + Sync>) -> Self {
        Self { policies: RwLock::new(Arc::new(policies)), source, clock }
    }

    /// Puts other policies into the place of those that are there. Reviews under way go on with what they began with.
    pub fn set_policies(&self, policies: PolicySet) {
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
    }

    /// Answers a review, always: `timeout` is how long the API server waits.
    pub async fn answer(&self, body: &[u8], timeout: Duration) -> Answer {
        let review = match Review::from_json(body) {
            Ok(review) => review,
            Err(error) => return unreadable(&error),
        };
        if !is_judged(&review) {
            return Answer { uid: review.uid, allowed: true, ..Answer::default() };
        }
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner).clone();
        let budget = timeout.saturating_sub(RESERVE).max(SHORTEST.min(timeout));
        let decision = decide(&policies, &review.request, &self.source, &*self.clock, budget).await;
        answer(review.uid, decision)
    }
}

/// Whether a review can bring an image into the cluster. What is taken away, connected to, scaled or only reported
/// about cannot.
fn is_judged(review: &Review) -> bool {
    let request = &review.request;
    matches!(request.operation, Operation::Create | Operation::Update)
        && !matches!(request.subresource.as_str(), "status" | "scale" | "binding" | "eviction")
}

fn unreadable(error: &ReviewError) -> Answer {
    Answer {
        uid: error.uid.clone().unwrap_or_default(),
        code: 500,
        message: format!("countersign: {error}"),
        ..Answer::default()
    }
}

fn answer(uid: String, decision: Decision) -> Answer {
    let refusing: Vec<&RuleResult> = decision.results.iter().filter(|result| result.denies()).collect();
    let warnings = decision.results.iter().filter(|result| result.warns()).map(line).collect();
    let audit = decision
        .results
        .iter()
        .filter(|result| matches!(result.status, Status::Fail | Status::Error))
        .map(|result| (format!("{}.{}", result.policy.name, result.rule), line(result)))
        .collect();
    if refusing.is_empty() {
        return Answer { uid, allowed: true, warnings, pins: decision.pins, audit, ..Answer::default() };
    }
    // That something could not be checked is told only where nothing was found to be wrong.
    let failed = refusing.iter().any(|result| result.status == Status::Fail);
    let mut lines: Vec<String> = refusing.iter().take(MAX_LINES).map(|result| line(result)).collect();
    if refusing.len() > MAX_LINES {
        lines.push(format!("and {} more", refusing.len() - MAX_LINES));
    }
    Answer {
        uid,
        allowed: false,
        code: if failed { 403 } else { 500 },
        message: lines.join("\n"),
        warnings,
        audit,
        ..Answer::default()
    }
}

/// A result as one paragraph for people.
fn line(result: &RuleResult) -> String {
    let rule = if result.rule.is_empty() { String::new() } else { format!(", rule {}", result.rule) };
    let of = result.image.as_ref().map(|image| format!("{image}: ")).unwrap_or_default();
    let unchecked = if result.status == Status::Error { "could not be checked: " } else { "" };
    format!("{of}{unchecked}{} ({}{rule})", result.message, result.policy)
}
