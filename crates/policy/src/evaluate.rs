//! All policies over one request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::decision::{Action, Decision, Pin, PolicyName, RuleResult, Status};
use crate::kyverno::PolicyException;
use crate::lint::Lint;
use crate::own;
use crate::pattern::Glob;
use crate::question::{CouldNot, CouldNotReason, Known, Question};
use crate::request::{CustomObject, Request};

/// A policy of any language, read and checked.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Which it is.
    fn name(&self) -> PolicyName;

    /// The objects that it is made of: itself, unless it is several together.
    fn names(&self) -> Vec<PolicyName> {
        vec![self.name()]
    }

    /// How long whoever asks may be kept waiting for what it says, if it names a time.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Objects that are no workloads and are looked into all the same, which an API server has to be told.
    fn custom_objects(&self) -> Vec<CustomObject> {
        Vec::new()
    }

    /// What registries may be asked with on its behalf, and on no other policy's.
    fn access(&self) -> Access {
        Access::default()
    }

    /// The same for one request, where it depends on the request's namespace.
    fn access_for(&self, _: &Request) -> Access {
        self.access()
    }

    /// What a reader of it should know.
    fn lints(&self) -> Vec<Lint> {
        Vec::new()
    }

    /// What it says of a request. A request that it is not about has no results. What could not be checked is a result
    /// with [`Status::Error`](crate::Status::Error), never an absence.
    ///
    /// # Errors
    /// [`Stop::Open`] when a question is open; it was noted. The policy should go on where it can, so that all that
    /// is open is asked at once.
    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop>;
}

/// The policies that hold.
#[derive(Debug, Default)]
pub struct PolicySet {
    policies: Vec<Box<dyn Policy>>,
    exceptions: Vec<PolicyException>,
    own_exceptions: Vec<own::PolicyException>,
}

impl PolicySet {
    /// These.
    #[must_use]
    pub fn new(policies: Vec<Box<dyn Policy>>) -> Self {
        Self { policies, exceptions: Vec::new(), own_exceptions: Vec::new() }
    }

    /// The same with these exceptions, as far as they are of namespaces that may have any. Who may write an object in
    /// some namespace may not therefore take the policies of the cluster away, so no patterns mean no exceptions.
    #[must_use]
    pub fn excepting(mut self, exceptions: Vec<PolicyException>, namespaces: &[Glob]) -> Self {
        let allowed = |of: &PolicyException| namespaces.iter().any(|pattern| pattern.matches(of.namespace()));
        self.exceptions.extend(exceptions.into_iter().filter(allowed));
        self
    }

    /// The same with exceptions of our own language, which are objects of the cluster and hold for policies of every
    /// language.
    #[must_use]
    pub fn excusing(mut self, exceptions: Vec<own::PolicyException>) -> Self {
        self.own_exceptions.extend(exceptions);
        self
    }

    /// The policies.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Policy> {
        self.policies.iter().map(|policy| &**policy)
    }

    /// The objects that they are made of.
    #[must_use]
    pub fn names(&self) -> Vec<PolicyName> {
        self.policies.iter().flat_map(|policy| policy.names()).collect()
    }

    /// The kinds that are no workloads and that policies look into.
    #[must_use]
    pub fn custom_objects(&self) -> BTreeSet<CustomObject> {
        self.policies.iter().flat_map(|policy| policy.custom_objects()).collect()
    }

    /// The shortest time that a policy names which is about a request, by what is known of it. One that still asks
    /// something may be about it.
    pub fn timeout(&self, request: &Request, known: &dyn Known, now: Timestamp) -> Option<Duration> {
        let own = Arc::new(request.access.clone());
        let about = |policy: &dyn Policy| {
            let ask = Ask::new(known, access_of(policy, request, &own), now).excepting(&self.exceptions);
            !matches!(policy.evaluate(request, &ask), Ok((results, _)) if results.is_empty())
        };
        let timeouts = self.iter().filter_map(|policy| Some((policy, policy.timeout()?)));
        let mut timeouts: Vec<_> = timeouts.collect();
        timeouts.sort_by_key(|(_, timeout)| *timeout);
        timeouts.into_iter().find(|(policy, _)| about(*policy)).map(|(_, timeout)| timeout)
    }

    /// Evaluates all policies.
    ///
    /// # Errors
    /// The questions that are open: answer them and evaluate again. Their number is bounded by what the policies and
    /// the request name, and each round answers all that are known to be open.
    pub fn evaluate(
        &self,
        request: &Request,
        known: &dyn Known,
        now: Timestamp,
    ) -> Result<Decision, Vec<Question>> {
        let own = Arc::new(request.access.clone());
        let mut decision = Decision::default();
        let mut open: Vec<Question> = Vec::new();
        let mut named = BTreeMap::new();
        for policy in self.iter() {
            let ask = Ask::new(known, access_of(policy, request, &own), now).excepting(&self.exceptions);
            match policy.evaluate(request, &ask) {
                Ok((results, pins)) => {
                    let other = other_than(&mut named, &results, &pins);
                    decision.results.extend(results);
                    decision.results.extend(other.map(|other| could_not(policy.name(), &other.into())));
                    decision.pins.extend(pins);
                }
                // Noted when it was asked.
                Err(Stop::Open) if ask.is_open() => {}
                Err(stop) => decision.results.push(could_not(policy.name(), &stop)),
            }
            for question in ask.into_open() {
                if !open.contains(&question) {
                    open.push(question);
                }
            }
        }
        if !open.is_empty() {
            return Err(open);
        }
        for result in &mut decision.results {
            self.own_exceptions.iter().for_each(|exception| exception.apply(result, request, now));
        }
        decision.pins.sort();
        // Of one digest in two spellings, one is written.
        decision.pins.dedup_by(|one, other| one.pointer == other.pointer);
        Ok(decision)
    }
}

/// What a policy may ask registries with: what the request brings, and what it names itself. What another policy names is
/// not for it, so that whoever writes one for a namespace does not have those of the cluster believe a registry without TLS.
fn access_of(policy: &dyn Policy, request: &Request, own: &Arc<Access>) -> Arc<Access> {
    let named = policy.access_for(request);
    if named == Access::default() {
        return Arc::clone(own);
    }
    let mut access = Access::clone(own);
    access.extend(&named);
    Arc::new(access)
}

/// What an image was to an earlier policy, if it is another one to this policy: each asks with its own access, and a registry
/// may say something else to each. Neither judged what the other one did, so that none of the two is what may run.
fn other_than(
    named: &mut BTreeMap<String, String>,
    results: &[RuleResult],
    pins: &[Pin],
) -> Option<CouldNot> {
    let judged =
        results.iter().filter_map(|result| Some((result.image.as_ref()?, result.digest?.to_string())));
    let pinned = pins.iter().filter_map(|pin| Some((&pin.from, pin.to.rsplit_once('@')?.1.to_owned())));
    judged.chain(pinned).find_map(|(image, digest)| {
        let before = named.entry(image.clone()).or_insert_with(|| digest.clone());
        (*before != digest).then(|| {
            let text = format!(
                "{image}: expected {before}, which another policy was told that it is, found {digest}; name the image by \
                 digest, or let both policies ask the registry with the same credentials"
            );
            CouldNot::new(CouldNotReason::Unusable, text)
        })
    })
}

/// What a policy that could not be evaluated at all comes to: a refusal, whatever it would have done.
fn could_not(policy: PolicyName, stop: &Stop) -> RuleResult {
    let reason = match stop {
        Stop::CouldNot(could_not) => could_not.reason.code(),
        Stop::Open => CouldNotReason::Unusable.code(),
    };
    RuleResult {
        policy,
        rule: String::new(),
        image: None,
        digest: None,
        status: Status::Error,
        action: Action::Deny,
        fail_closed: true,
        reason: reason.into(),
        message: stop.to_string(),
        properties: BTreeMap::new(),
        decided_by: Vec::new(),
        level: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use countersign_crypto::HashAlgorithm;
    use countersign_registry::Reference;

    use super::*;
    use crate::access::Provider;
    use crate::decision::PolicyKind;
    use crate::question::Answer;

    /// A policy that asks for the labels of a namespace, and for a ConfigMap.
    #[derive(Debug)]
    struct Asking(&'static str);

    impl Policy for Asking {
        fn name(&self) -> PolicyName {
            PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: self.0.into() }
        }

        fn evaluate(&self, _: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
            ask.namespace_labels(self.0)?;
            Ok((Vec::new(), Vec::new()))
        }
    }

    fn set() -> PolicySet {
        PolicySet::new(vec![Box::new(Asking("a")), Box::new(Asking("b"))])
    }

    fn request() -> Request {
        Request::of_object(serde_json::json!({"apiVersion": "v1", "kind": "Pod"}))
    }

    #[test]
    fn all_that_is_open_is_asked_at_once_and_once() {
        let two = PolicySet::new(vec![Box::new(Asking("a")), Box::new(Asking("b")), Box::new(Asking("a"))]);
        let open = two.evaluate(&request(), &HashMap::new(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(open, [Question::Namespace("a".into()), Question::Namespace("b".into())]);
    }

    const IMAGE: &str = "registry.example/app:v1";

    /// A policy that resolves an image, over plain HTTP if need be or not, and tells what it is, or pins it.
    #[derive(Debug)]
    struct Resolving {
        insecure: bool,
        pins: bool,
    }

    impl Policy for Resolving {
        fn name(&self) -> PolicyName {
            PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: "resolving".into() }
        }

        fn access(&self) -> Access {
            Access { insecure: self.insecure, ..Access::default() }
        }

        fn evaluate(&self, _: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
            let digest = ask.digest(&Reference::parse(IMAGE).unwrap())?;
            let passed = RuleResult {
                image: Some(IMAGE.into()),
                digest: Some(digest),
                status: Status::Pass,
                ..could_not(self.name(), &Stop::Open)
            };
            let pin = Pin { pointer: "/image".into(), from: IMAGE.into(), to: format!("{IMAGE}@{digest}") };
            Ok(if self.pins { (Vec::new(), vec![pin]) } else { (vec![passed], Vec::new()) })
        }
    }

    #[test]
    fn what_one_policy_may_ask_with_is_for_no_other() {
        let asked = |insecure: &[bool], known: &HashMap<Question, Result<Answer, CouldNot>>| {
            let policy = |&insecure| Box::new(Resolving { insecure, pins: false }) as Box<dyn Policy>;
            let mut request = request();
            request.access.providers.insert(Provider::Google);
            let set = PolicySet::new(insecure.iter().map(policy).collect());
            set.evaluate(&request, known, Timestamp::UNIX_EPOCH).unwrap_err()
        };
        let question = |insecure| Question::Digest {
            image: Reference::parse(IMAGE).unwrap(),
            access: Arc::new(Access { insecure, providers: [Provider::Google].into(), ..Access::default() }),
        };
        let nothing = HashMap::new();
        assert_eq!(asked(&[false, true], &nothing), [question(false), question(true)]);
        assert_eq!(asked(&[true, false, true], &nothing), [question(true), question(false)]);

        // What came over plain HTTP answers the one policy, and leaves the other without an answer.
        let known =
            HashMap::from([(question(true), Ok(Answer::Digest(HashAlgorithm::Sha256.digest(b"app"))))]);
        assert_eq!(asked(&[false, true], &known), [question(false)]);
    }

    #[test]
    fn an_image_that_is_something_else_to_each_of_two_policies_is_refused() {
        let known = |secure: &[u8], insecure: &[u8]| {
            let answered = |(insecure, word): (bool, &[u8])| {
                let question = Question::Digest {
                    image: Reference::parse(IMAGE).unwrap(),
                    access: Arc::new(Access { insecure, ..Access::default() }),
                };
                (question, Ok(Answer::Digest(HashAlgorithm::Sha256.digest(word))))
            };
            HashMap::from([(false, secure), (true, insecure)].map(answered))
        };
        for pins in [[false, false], [false, true], [true, false], [true, true]] {
            let policy = |insecure, pins| Box::new(Resolving { insecure, pins }) as Box<dyn Policy>;
            let set = PolicySet::new(vec![policy(false, pins[0]), policy(true, pins[1])]);
            let decided =
                |known: &HashMap<_, _>| set.evaluate(&request(), known, Timestamp::UNIX_EPOCH).unwrap();
            let alike = decided(&known(b"app", b"app"));
            assert!(alike.admits() && alike.pins.len() == usize::from(pins[0] || pins[1]), "{alike:?}");
            let apart = decided(&known(b"app", b"other"));
            let refusing: Vec<_> = apart.results.iter().filter(|result| result.denies()).collect();
            let [refusing] = refusing[..] else { panic!("{apart:?}") };
            assert_eq!(refusing.reason, "unusable");
            assert!(refusing.message.contains("another policy was told"), "{}", refusing.message);
        }
    }

    #[test]
    fn a_question_without_an_answer_refuses_and_an_answer_admits() {
        let labels = || Ok(Answer::Labels(Arc::default()));
        let mut known = HashMap::from([(Question::Namespace("a".into()), labels())]);
        let unreachable = CouldNot::new(CouldNotReason::Unreachable, "no answer from the API server");
        known.insert(Question::Namespace("b".into()), Err(unreachable));
        let decision = set().evaluate(&request(), &known, Timestamp::UNIX_EPOCH).unwrap();
        assert!(!decision.admits());
        let [result] = &decision.results[..] else { panic!("{decision:?}") };
        assert_eq!((result.status, result.reason.as_str()), (Status::Error, "unreachable"));

        known.insert(Question::Namespace("b".into()), labels());
        assert!(set().evaluate(&request(), &known, Timestamp::UNIX_EPOCH).unwrap().admits());
    }

    #[test]
    fn an_answer_of_another_kind_is_no_answer() {
        let wrong = Ok(Answer::ConfigMap(Arc::default()));
        let known = HashMap::from([
            (Question::Namespace("a".into()), wrong.clone()),
            (Question::Namespace("b".into()), wrong),
        ]);
        assert!(!set().evaluate(&request(), &known, Timestamp::UNIX_EPOCH).unwrap().admits());
    }
}
