//! From a review to an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use countersign_client::policy::{Deciding, Source};
use countersign_clock::Clock;
use countersign_crypto::HashAlgorithm;
use countersign_policy::{
    Access, Decision, Document, Operation, PolicyName, PolicySet, Request, RuleResult, Status,
};
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
/// The longest name under which an API server's audit log takes something.
const MAX_AUDIT_KEY: usize = 63;

/// A fault of the program over one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault of the program while this was judged; its log says more")]
pub struct Fault;

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

    /// Where answers to the policies' questions come from.
    #[must_use]
    pub const fn source(&self) -> &Arc<Source> {
        &self.source
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
        let Review { uid, request } = match Review::from_json(body) {
            Ok(review) => review,
            Err(error) => return unreadable(&error),
        };
        let ended = |outcome, message: &str| Answer {
            uid: uid.clone(),
            outcome,
            message: message.to_owned(),
            ..Answer::default()
        };
        if !is_judged(&request) || self.exempts(&request.namespace) {
            return ended(Outcome::Passed, "");
        }
        let Some(policies) = self.policies() else {
            let message = "countersign: the policies have not been read yet; try again in a moment";
            return ended(Outcome::CouldNotCheck, message);
        };
        let budget = timeout.saturating_sub(RESERVE).max(SHORTEST.min(timeout));
        let asked = Instant::now();
        let Some(_turn) = self.load.turn(budget).await else { return busy(uid, budget) };
        let request = self.with_access(request);
        match self.decided(&policies, &request, budget.saturating_sub(asked.elapsed()), None).await {
            Ok(decision) => {
                let answer = answer(face, uid, &decision);
                if let Some(teller) = &self.teller {
                    teller.tell(face, &request, &decision, &answer);
                }
                answer
            }
            Err(Fault) => ended(Outcome::Fault, &format!("countersign: {Fault}")),
        }
    }

    /// What policies decide about a request that somebody would make, by what is so since then; nothing when it would not be
    /// judged. As in [`answer`](Self::answer), `timeout` is how long the API server would wait.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn decide(
        &self,
        policies: &PolicySet,
        request: Request,
        timeout: Duration,
        since: Instant,
    ) -> Result<Option<Decision>, Fault> {
        if !is_judged(&request) || self.exempts(&request.namespace) {
            return Ok(None);
        }
        let request = self.with_access(request);
        self.decided(policies, &request, timeout.saturating_sub(RESERVE), Some(since)).await.map(Some)
    }

    /// A request with what registries may be asked with.
    fn with_access(&self, mut request: Request) -> Request {
        if !self.secrets {
            request.access = Access::default();
        }
        request
    }

    /// The one evaluation. A fault of the program in it ends nothing else; its text stands in the log, where the panic wrote
    /// it.
    async fn decided(
        &self,
        policies: &PolicySet,
        request: &Request,
        budget: Duration,
        since: Option<Instant>,
    ) -> Result<Decision, Fault> {
        let deciding = Deciding::new(policies, request, &self.source, &*self.clock, budget).in_time();
        let deciding = match since {
            Some(since) => deciding.since(since),
            None => deciding,
        };
        AssertUnwindSafe(deciding.decide()).catch_unwind().await.map_err(|_| Fault)
    }

    /// Whether nothing in this namespace is judged. By the namespace alone: what stands in an object proves nothing.
    #[must_use]
    pub fn exempts(&self, namespace: &str) -> bool {
        self.exempt.contains(namespace)
    }
}

/// Whether a review can bring an image into the cluster. What is taken away, connected to, scaled or only reported
/// about cannot.
fn is_judged(request: &Request) -> bool {
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
        audit: audit(&decision.results),
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

/// What did not hold or could not be checked, for the API server's audit log: by policy and rule, all images together. An API
/// server drops what stands under a name that it does not know as one.
fn audit(results: &[RuleResult]) -> BTreeMap<String, String> {
    let mut by_rule: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for result in results.iter().filter(|result| matches!(result.status, Status::Fail | Status::Error)) {
        let PolicyName { kind, namespace, name } = &result.policy;
        let parts = [kind.code(), namespace, name, &result.rule];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        by_rule.entry(audit_key(&parts.join("."))).or_default().push(line(result));
    }
    by_rule.into_iter().map(|(key, told)| (key, lines(told))).collect()
}

/// The name part of a qualified name: up to 63 of these characters, and of these a letter or digit first and last. A longer
/// one ends in what tells it from others.
fn audit_key(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let key: String = text.chars().map(plain).collect();
    let fits =
        key.len() <= MAX_AUDIT_KEY && key == text && key.ends_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return key;
    }
    let digest = HashAlgorithm::Sha256.digest(text.as_bytes()).to_hex();
    let (begin, digest) = (key.get(..MAX_AUDIT_KEY - 9).unwrap_or(&key), digest.get(..8).unwrap_or_default());
    format!("{begin}-{digest}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_policy::{Action, PolicyKind};

    fn result(name: &str, rule: &str, image: &str) -> RuleResult {
        let policy =
            PolicyName { kind: PolicyKind::KyvernoPolicy, namespace: "shop".into(), name: name.into() };
        RuleResult {
            policy,
            rule: rule.into(),
            image: Some(image.into()),
            digest: None,
            status: Status::Fail,
            action: Action::Audit,
            fail_closed: true,
            reason: "no_signature".into(),
            message: format!("{image} is not signed"),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        }
    }

    #[test]
    fn the_audit_log_has_every_image_under_a_name_that_an_api_server_takes() {
        let long = "x".repeat(63);
        let results = [
            result("p", "signed", "a"),
            result("p", "signed", "b"),
            result("p", "", "c"),
            result("p", "is it signed?", "d"),
            result("p", &long, "e"),
            result("p", &format!("{long}y"), "f"),
            result("p", "ends.", "g"),
        ];
        let told = audit(&results);
        let word = PolicyKind::KyvernoPolicy.code();
        assert_eq!(told[&format!("{word}.shop.p.signed")].lines().count(), 2, "{told:?}");
        assert!(told[&format!("{word}.shop.p")].starts_with("c is not signed"));
        assert_eq!(told.len(), 6, "{told:?}");
        let ends = |key: &str| {
            key.starts_with(|c: char| c.is_ascii_alphanumeric())
                && key.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(told.keys().all(|key| key.len() <= 63 && ends(key) && key.chars().all(inside)), "{told:?}");
    }
}
