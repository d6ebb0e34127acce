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
use countersign_verify::revocation::Revocations;
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
    revocations: Result<Vec<Arc<Revocations>>, CouldNot>,
}

impl Known for Answers<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.answers.answer(question)
    }

    fn memo(&self) -> Option<&Memo> {
        Some(self.memo)
    }

    fn revocations(&self) -> Result<Vec<Arc<Revocations>>, CouldNot> {
        self.revocations.clone()
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
    let deadline = Instant::now() + budget;
    let mut known =
        Answers { answers: HashMap::new(), memo: source.memo(), revocations: source.revocations() };
    let mut stale = HashSet::new();
    let decision = rounds(policies, request, source, clock, deadline, &mut known, &mut stale).await;
    if decision.admits() || stale.is_empty() || Instant::now() >= deadline {
        return decision;
    }
    for question in stale.drain() {
        source.forget(&question);
        known.answers.remove(&question);
    }
    rounds(policies, request, source, clock, deadline, &mut known, &mut stale).await
}

async fn rounds(
    policies: &PolicySet,
    request: &Request,
    source: &Source,
    clock: &dyn Clock,
    deadline: Instant,
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
                match tokio::time::timeout_at(deadline, source.answer(&question)).await {
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
