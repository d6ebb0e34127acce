//! Policies driven: their questions answered by registries, key homes and the cluster, within a time.

mod answer;
mod cluster;
mod flight;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use countersign_clock::Clock;
use countersign_policy::{
    Answer, CouldNot, CouldNotReason, Decision, Known, Memo, PolicySet, Question, Request,
};
use futures_util::future::join_all;
use tokio::time::Instant;

pub use answer::{Source, SourceOptions};
pub use cluster::{Cluster, NoCluster, SecretData, Told};

/// The most rounds of questions in one evaluation: an image is resolved, then its evidence is asked for in up to three
/// parts, then what a condition names. More is a policy that does not end.
const MAX_ROUNDS: usize = 16;
/// The most questions of one evaluation.
const MAX_QUESTIONS: usize = 2000;

/// What is known in one evaluation.
struct Answers<'a> {
    answers: HashMap<Question, Result<Answer, CouldNot>>,
    memo: &'a Memo,
}

impl Known for Answers<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.answers.answer(question).or_else(|| self.within_another(question))
    }

    fn memo(&self) -> Option<&Memo> {
        Some(self.memo)
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
/// rests on evidence from the cache, the evidence is fetched anew once: whoever signs an image after it was refused
/// need not wait.
pub async fn decide(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    budget: Duration,
) -> Decision {
    decide_with(policies, request, source, clock, budget, None).await
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
    decide_with(policies, request, source, clock, budget, Some(since)).await
}

async fn decide_with(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    budget: Duration,
    since: Option<Instant>,
) -> Decision {
    let deadline = Instant::now() + budget;
    let mut known = Answers { answers: HashMap::new(), memo: source.memo() };
    let mut stale = HashSet::new();
    let bounds = Bounds { deadline, since };
    let decision = rounds(policies, request, source, clock, bounds, &mut known, &mut stale).await;
    if decision.admits() || stale.is_empty() || since.is_some() || Instant::now() >= deadline {
        return decision;
    }
    for question in stale.drain() {
        source.forget(&question);
        known.answers.remove(&question);
    }
    rounds(policies, request, source, clock, bounds, &mut known, &mut stale).await
}

/// Between which times answers count.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    since: Option<Instant>,
    deadline: Instant,
}

async fn rounds(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    bounds: Bounds,
    known: &mut Answers<'_>,
    stale: &mut HashSet<Question>,
) -> Decision {
    let mut round = 0;
    loop {
        let open = match policies.evaluate(request, known, clock.now()) {
            Ok(decision) => return decision,
            Err(open) => open,
        };
        let too_many = round >= MAX_ROUNDS || known.answers.len() + open.len() > MAX_QUESTIONS;
        let answered = join_all(open.into_iter().map(|question| async move {
            let answer = if too_many {
                let text = format!("{question}: the policies ask more than {MAX_QUESTIONS} questions, or in more than {MAX_ROUNDS} rounds");
                Err(CouldNot::new(CouldNotReason::Unsupported, text))
            } else {
                match tokio::time::timeout_at(bounds.deadline, source.answer(&question, bounds.since)).await {
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
            if cached && answer.is_ok() && matches!(question, Question::Evidence(_)) {
                stale.insert(question.clone());
            }
            known.answers.insert(question, answer);
        }
        round += 1;
    }
}
