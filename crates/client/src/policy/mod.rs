//! Policies driven: their questions answered by registries, key homes and the cluster, within a time.

mod answer;
mod cluster;
mod flight;
mod registries;
mod trust_objects;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use countersign_clock::Clock;
use countersign_policy::{
    Answer, CouldNot, CouldNotReason, Decision, Known, Memo, PolicySet, Question, Request,
};
use countersign_verify::revocation::Revocations;
use futures_util::future::join_all;
use tokio::time::Instant;

pub use answer::{Source, SourceOptions};
pub use cluster::{Cluster, NoCluster, SecretData, Told};
pub use trust_objects::TrustTrouble;

/// The most rounds of questions in one evaluation: an image is resolved, then its evidence is asked for in up to three
/// parts, then what a condition names. More is a policy that does not end.
const MAX_ROUNDS: usize = 16;
/// The most questions of one evaluation.
const MAX_QUESTIONS: usize = 2000;

/// What is known in one evaluation.
struct Answers<'a> {
    answers: HashMap<Question, Result<Answer, CouldNot>>,
    memo: &'a Memo,
    revocations: Result<Vec<Arc<Revocations>>, CouldNot>,
}

impl Known for Answers<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.answers.answer(question).or_else(|| self.within_another(question))
    }

    fn memo(&self) -> Option<&Memo> {
        Some(self.memo)
    }

    fn revocations(&self) -> Result<Vec<Arc<Revocations>>, CouldNot> {
        self.revocations.clone()
    }
}

impl Answers<'_> {
    /// The evidence that stands in the answer to a wider question: what is known is not asked for again. Where that one has
    /// no answer, this one may have.
    fn within_another(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        let Question::Evidence(of) = question else { return None };
        self.answers.iter().find_map(|(other, answer)| match (other, answer) {
            (Question::Evidence(other), Ok(Answer::Evidence(found))) if of.is_within(other) => {
                Some(Ok(Answer::Evidence(Arc::new(found.of_forms(&of.forms)))))
            }
            _ => None,
        })
    }
}

/// Evaluates policies over a request, and answers what they ask until `budget` has passed. There is always a decision:
/// what has no answer by then could not be checked.
///
/// A tag is resolved once; answers that are cached are as old as [`Source`] allows. When the decision is a refusal and
/// rests on evidence or a ConfigMap from the cache, these are fetched anew once: whoever signs an image after it was
/// refused need not wait.
pub async fn decide(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    budget: Duration,
) -> Decision {
    Deciding::new(policies, request, source, clock, budget).decide().await
}

/// As [`decide`], by what is so now: no answer counts that is from before `since`. Several evaluations with the same
/// `since` share what they ask for.
pub async fn decide_anew(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    budget: Duration,
    since: Instant,
) -> Decision {
    Deciding::new(policies, request, source, clock, budget).since(since).decide().await
}

/// One evaluation, and how it is driven. [`decide`] and its like are the usual ways.
pub struct Deciding<'a> {
    policies: &'a PolicySet,
    request: &'a Request,
    source: &'a Source,
    clock: &'a dyn Clock,
    began: Instant,
    deadline: Instant,
    /// Whether the times that policies name count.
    obeys: bool,
    /// Answers from before this do not count.
    since: Option<Instant>,
}

impl std::fmt::Debug for Deciding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { request, obeys, since, .. } = self;
        f.debug_struct("Deciding")
            .field("request", request)
            .field("obeys", obeys)
            .field("since", since)
            .finish_non_exhaustive()
    }
}

impl<'a> Deciding<'a> {
    /// By these policies over this request, as [`decide`] does it. The budget begins now.
    #[must_use]
    pub fn new(
        policies: &'a PolicySet,
        request: &'a Request,
        source: &'a Source,
        clock: &'a dyn Clock,
        budget: Duration,
    ) -> Self {
        let began = Instant::now();
        let deadline = began + budget;
        Self { policies, request, source, clock, began, deadline, obeys: false, since: None }
    }

    /// Somebody waits for the answer: the shortest time that a policy names which is about the request ends it too.
    #[must_use]
    pub const fn in_time(mut self) -> Self {
        self.obeys = true;
        self
    }

    /// No answer counts that is from before this, as in [`decide_anew`].
    #[must_use]
    pub const fn since(mut self, since: Instant) -> Self {
        self.since = Some(since);
        self
    }

    /// The decision.
    pub async fn decide(&self) -> Decision {
        let mut known = Answers {
            answers: HashMap::new(),
            memo: self.source.memo(),
            revocations: self.source.revocations(),
        };
        let mut stale = HashSet::new();
        let decision = self.rounds(&mut known, &mut stale).await;
        let is_last = decision.admits() || stale.is_empty() || self.since.is_some();
        if is_last || Instant::now() >= self.deadline(&known) {
            return decision;
        }
        for question in stale.drain() {
            self.source.forget(&question);
            known.answers.remove(&question);
        }
        self.rounds(&mut known, &mut stale).await
    }

    /// When there must be a decision, by what is known of which policies are about the request.
    fn deadline(&self, known: &Answers<'_>) -> Instant {
        let named =
            self.obeys.then(|| self.policies.timeout(self.request, known, self.clock.now())).flatten();
        named.map_or(self.deadline, |named| self.deadline.min(self.began + named))
    }

    async fn rounds(&self, known: &mut Answers<'_>, stale: &mut HashSet<Question>) -> Decision {
        let mut round = 0;
        loop {
            let open = match self.policies.evaluate(self.request, known, self.clock.now()) {
                Ok(decision) => return decision,
                Err(open) => open,
            };
            let (deadline, now) = (self.deadline(known), self.clock.now());
            let too_many = round >= MAX_ROUNDS || known.answers.len() + open.len() > MAX_QUESTIONS;
            let answered = join_all(open.into_iter().map(|question| async move {
                let answer = if too_many {
                    let text = format!("{question}: the policies ask more than {MAX_QUESTIONS} questions, or in more than {MAX_ROUNDS} rounds");
                    Err(CouldNot::new(CouldNotReason::Unsupported, text))
                } else {
                    match tokio::time::timeout_at(deadline, self.source.answer(&question, self.since, now)).await {
                        Ok(answered) => return (question, answered.answer, answered.cached),
                        Err(_) => Err(CouldNot::new(
                            CouldNotReason::Unreachable,
                            format!("{question}: no answer within the time that an evaluation has"),
                        )),
                    }
                };
                (question, answer, false)
            }))
            .await;
            for (question, answer, cached) in answered {
                // An error that is kept spares the registry; it is no evidence that could have changed.
                let may_have_changed = matches!(
                    question,
                    Question::Evidence(_) | Question::Attached(_) | Question::ConfigMap(_)
                );
                if cached && answer.is_ok() && may_have_changed {
                    stale.insert(question.clone());
                }
                known.answers.insert(question, answer);
            }
            round += 1;
        }
    }
}
