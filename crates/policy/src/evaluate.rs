//! All policies over one request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::decision::{Action, Decision, Pin, PolicyName, RuleResult, Status};
use crate::kyverno::PolicyException;
use crate::lint::Lint;
use crate::own;
use crate::pattern::Glob;
use crate::question::{CouldNotReason, Known, Question};
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

    /// What registries may be asked with on its behalf.
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
        let about = |policy: &dyn Policy| {
            let ask = Ask::new(known, Access::default(), now).excepting(&self.exceptions);
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
        let mut access = request.access.clone();
        for policy in &self.policies {
            access.extend(&policy.access_for(request));
        }
        let ask = Ask::new(known, access, now).excepting(&self.exceptions);
        let mut decision = Decision::default();
        for policy in &self.policies {
            match policy.evaluate(request, &ask) {
                Ok((results, pins)) => {
                    decision.results.extend(results);
                    decision.pins.extend(pins);
                }
                // Noted when it was asked.
                Err(Stop::Open) if ask.is_open() => {}
                Err(stop) => decision.results.push(could_not(policy.name(), &stop)),
            }
        }
        let open = ask.into_open();
        if !open.is_empty() {
            return Err(open);
        }
        for result in &mut decision.results {
            self.own_exceptions.iter().for_each(|exception| exception.apply(result, request, now));
        }
        decision.pins.sort();
        decision.pins.dedup();
        Ok(decision)
    }
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
    use std::sync::Arc;

    use super::*;
    use crate::decision::PolicyKind;
    use crate::question::{Answer, CouldNot};

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
