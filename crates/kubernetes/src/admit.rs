//! From a review to an answer.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use countersign_client::policy::{Deciding, Source, decide_in_time};
use countersign_clock::Clock;
use countersign_policy::{Access, Decision, Document, Operation, PolicySet, Request, RuleResult, Status};
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::load::{Limits, Load};
use crate::review::{Answer, Outcome, Review, ReviewError};
use crate::telling::Teller;

/// What an answer needs after the policies were evaluated: the way back, and the API server's own work.
const RESERVE: Duration = Duration::from_secs(1);
/// The shortest time that an evaluation gets.
const SHORTEST: Duration = Duration::from_millis(500);
/// The most lines in a refusal's message.
const MAX_LINES: usize = 20;

/// Which of the two webhooks is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// The one that may change objects, and pins images. It comes first.
    Mutate,
    /// The one that sees objects as they will be. An image that is still to be pinned was put there by somebody in
    /// between, and is refused.
    Validate,
}

impl Face {
    /// The stable name, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// What judges reviews.
pub struct Admission {
    policies: RwLock<Option<Arc<PolicySet>>>,
    exempt: BTreeSet<String>,
    secrets: bool,
    load: Load,
    teller: Option<Teller>,
    source: Arc<Source>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { policies, exempt, .. } = self;
        f.debug_struct("Admission")
            .field("policies", policies)
            .field("exempt", exempt)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// Judges by policies that are still to come; until then everything that is judged is refused.
    #[must_use]
    pub fn new(source: Arc<Source>, clock: Arc<dyn Clock>) -> Self {
        Self {
            policies: RwLock::default(),
            exempt: BTreeSet::new(),
            secrets: true,
            load: Load::default(),
            teller: None,
            source,
            clock,
            changed: watch::Sender::default(),
        }
    }

    /// Never judges what is in these namespaces: without what runs there, nothing could repair the cluster.
    #[must_use]
    pub fn exempting(mut self, namespaces: impl IntoIterator<Item = String>) -> Self {
        self.exempt.extend(namespaces);
        self
    }

    /// Asks registries with its own credentials only, and not with the pull secrets of what is judged: there is no API
    /// server to read these from.
    #[must_use]
    pub const fn without_secrets(mut self) -> Self {
        self.secrets = false;
        self
    }

    /// Takes no more than this at once.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { load: Load::new(limits), ..self }
    }

    /// What bounds it.
    pub(crate) const fn load(&self) -> &Load {
        &self.load
    }

    /// Tells of what is refused or warned about.
    #[must_use]
    pub fn telling(self, teller: Teller) -> Self {
        Self { teller: Some(teller), ..self }
    }

    /// Takes the policies of the cluster as the objects that they are, for what is told of them.
    pub(crate) fn set_objects(&self, policies: &[Document]) {
        if let Some(teller) = &self.teller {
            teller.set_policies(policies);
        }
    }

    /// Puts other policies into the place of those that are there. Reviews under way go on with what they began with.
    pub fn set_policies(&self, policies: PolicySet) {
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(policies));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells each time that other policies were put into place: trust and exceptions come with them.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The policies, once they are known.
    #[must_use]
    pub fn policies(&self) -> Option<Arc<PolicySet>> {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a review, always: `timeout` is how long the API server still waits. A fault of the program over a review
    /// is a refusal of that review.
    pub async fn answer(&self, face: Face, body: &[u8], timeout: Duration) -> Answer {
        let mut review = match Review::from_json(body) {
            Ok(review) => review,
            Err(error) => return unreadable(&error),
        };
        if !is_judged(&review) || self.is_exempt(&review) {
            return Answer { uid: review.uid, outcome: Outcome::Passed, ..Answer::default() };
        }
        if !self.secrets {
            review.request.access = Access::default();
        }
        let Some(policies) = self.policies() else {
            let message = "countersign: the policies have not been read yet; try again in a moment".into();
            return Answer { uid: review.uid, message, ..Answer::default() };
        };
        let budget = timeout.saturating_sub(RESERVE).max(SHORTEST.min(timeout));
        let asked = Instant::now();
        let Some(_turn) = self.load.turn(budget).await else { return busy(review.uid, budget) };
        let left = budget.saturating_sub(asked.elapsed());
        let deciding = decide_in_time(&policies, &review.request, &self.source, &*self.clock, left);
        match AssertUnwindSafe(deciding).catch_unwind().await {
            Ok(decision) => {
                let answer = answer(face, review.uid, &decision);
                if let Some(teller) = &self.teller {
                    teller.tell(face, &review.request, &decision, &answer);
                }
                answer
            }
            // Its text stands in the log, where the panic wrote it.
            Err(_) => Answer {
                uid: review.uid,
                outcome: Outcome::Fault,
                message: "countersign: a fault of the program while this was judged; its log says more"
                    .into(),
                ..Answer::default()
            },
        }
    }

    /// What policies decide about a request that somebody would make; nothing when it would not be judged. As in
    /// [`answer`](Self::answer), `timeout` is how long the API server would wait. Whoever asks about many requests gives the
    /// time at which that began: what was found since then is not asked for again because it refuses.
    pub async fn decide(
        &self,
        policies: &PolicySet,
        mut request: Request,
        timeout: Duration,
        since: Instant,
    ) -> Option<Decision> {
        if self.exempts(&request.namespace) {
            return None;
        }
        if !self.secrets {
            request.access = Access::default();
        }
        let budget = timeout.saturating_sub(RESERVE);
        let deciding = Deciding::new(policies, &request, &self.source, &*self.clock, budget);
        Some(deciding.in_time().since(since).decide().await)
    }

    /// By the namespace alone: what stands in an object proves nothing.
    fn is_exempt(&self, review: &Review) -> bool {
        self.exempts(&review.request.namespace)
    }

    /// Whether nothing in this namespace is judged.
    #[must_use]
    pub fn exempts(&self, namespace: &str) -> bool {
        self.exempt.contains(namespace)
    }
}

/// Whether a review can bring an image into the cluster. What is taken away, connected to, scaled or only reported
/// about cannot.
fn is_judged(review: &Review) -> bool {
    let request = &review.request;
    matches!(request.operation, Operation::Create | Operation::Update)
        && !matches!(request.subresource.as_str(), "status" | "scale" | "binding" | "eviction")
}

fn busy(uid: String, waited: Duration) -> Answer {
    Answer {
        uid,
        outcome: Outcome::Busy,
        message: format!(
            "countersign: could not be checked: as many reviews as are allowed are evaluated (--max-reviews), and none ended \
             within {} s; try again in a moment, or run more replicas",
            waited.as_secs()
        ),
        ..Answer::default()
    }
}

fn unreadable(error: &ReviewError) -> Answer {
    Answer {
        uid: error.uid.clone().unwrap_or_default(),
        outcome: Outcome::Malformed,
        message: format!("countersign: {error}"),
        ..Answer::default()
    }
}

fn answer(face: Face, uid: String, decision: &Decision) -> Answer {
    let refusing: Vec<&RuleResult> = decision.results.iter().filter(|result| result.denies()).collect();
    let answer = Answer {
        uid,
        warnings: decision.results.iter().filter(|result| result.warns()).map(line).collect(),
        audit: decision
            .results
            .iter()
            .filter(|result| matches!(result.status, Status::Fail | Status::Error))
            .map(|result| (format!("{}.{}", result.policy.name, result.rule), line(result)))
            .collect(),
        unchecked: decision.results.iter().filter(|result| result.status == Status::Error).count(),
        ..Answer::default()
    };
    if refusing.is_empty() {
        return match face {
            Face::Mutate => Answer { outcome: Outcome::Admitted, pins: decision.pins.clone(), ..answer },
            Face::Validate => unpinned(answer, decision),
        };
    }
    // That something could not be checked is told only where nothing was found to be wrong.
    let failed = refusing.iter().any(|result| result.status == Status::Fail);
    Answer {
        outcome: if failed { Outcome::Refused } else { Outcome::CouldNotCheck },
        message: lines(refusing.into_iter().map(line).collect()),
        ..answer
    }
}

/// The end of an object: what is to be pinned has been pinned by now.
fn unpinned(answer: Answer, decision: &Decision) -> Answer {
    let unpinned: Vec<String> = decision
        .pins
        .iter()
        .filter(|pin| pin.from != pin.to)
        .map(|pin| {
            format!(
                "{}: expected the image pinned as {}, found {}: it was changed after it was pinned, or the mutating webhook \
                 of countersign was not asked",
                pin.pointer, pin.to, pin.from
            )
        })
        .collect();
    if unpinned.is_empty() {
        return Answer { outcome: Outcome::Admitted, ..answer };
    }
    Answer { outcome: Outcome::Refused, message: lines(unpinned), ..answer }
}

fn lines(mut lines: Vec<String>) -> String {
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// A result as one paragraph for people: which image, what of it, by which policy.
pub(crate) fn line(result: &RuleResult) -> String {
    const UNCHECKED: &str = "could not be checked";
    let rule = if result.rule.is_empty() { String::new() } else { format!(", rule {}", result.rule) };
    // Most policies name the image themselves.
    let of = result.image.as_ref().filter(|image| !result.message.contains(image.as_str()));
    let of = of.map(|image| format!("{image}: ")).unwrap_or_default();
    let is_told = result.status != Status::Error || result.message.contains(UNCHECKED);
    let unchecked = if is_told { String::new() } else { format!("{UNCHECKED}: ") };
    format!("{of}{unchecked}{} ({}{rule})", result.message, result.policy)
}
