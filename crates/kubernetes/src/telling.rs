//! What was refused or warned about, told as events: at the policy, where its owner looks, and at what it is about, where
//! that is in the cluster already. Nothing else is written by reviews: before it is admitted an object has no id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use countersign_policy::{Decision, Document, Operation, PolicyName, Request, RuleResult, Status};

use crate::admit::{Face, line};
use crate::api::{Doing, Event, Events, ObjectRef, Reason};
use crate::review::{Answer, Outcome};

/// The most policies that are told of one request.
const MAX_POLICIES: usize = 20;

/// Tells what was decided.
#[derive(Debug)]
pub struct Teller {
    events: Events,
    /// The policies of the cluster by kind, namespace and name; those of files are no objects.
    policies: RwLock<BTreeMap<(String, String, String), ObjectRef>>,
}

impl Teller {
    /// Through these events.
    #[must_use]
    pub fn new(events: Events) -> Self {
        Self { events, policies: RwLock::default() }
    }

    /// Takes the policies that the cluster has now.
    pub(crate) fn set_policies(&self, documents: &[Document]) {
        let objects = documents.iter().filter_map(|document| ObjectRef::of(&document.value));
        let key = |object: ObjectRef| {
            ((object.kind.clone(), object.namespace.clone(), object.name.clone()), object)
        };
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = objects.map(key).collect();
    }

    fn object(&self, PolicyName { kind, namespace, name }: &PolicyName) -> Option<ObjectRef> {
        let key = (kind.code().to_owned(), namespace.clone(), name.clone());
        self.policies.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Tells of a request that was refused or warned about, unless it was only tried. It never waits.
    pub(crate) fn tell(&self, face: Face, request: &Request, decision: &Decision, answer: &Answer) {
        let refused = !answer.allowed();
        // What is only warned about is seen by both faces.
        if request.dry_run || (!refused && (face == Face::Mutate || answer.warnings.is_empty())) {
            return;
        }
        let about = about(request);
        let counts = |result: &&RuleResult| if refused { result.denies() } else { result.warns() };
        let results: Vec<&RuleResult> = decision.results.iter().filter(counts).collect();
        let doing = if refused { Doing::Refused } else { Doing::Warned };
        let policies: BTreeSet<&PolicyName> = results.iter().map(|result| &result.policy).collect();
        for policy in policies.into_iter().take(MAX_POLICIES) {
            let Some(regarding) = self.object(policy) else { continue };
            let of = results.iter().filter(|result| result.policy == *policy);
            let lines: Vec<String> = of.clone().map(|result| line(result)).collect();
            self.events.tell(Event {
                regarding,
                related: about.there.clone(),
                reason: reason(of.copied()),
                doing,
                note: format!("{}: {}", about.words, lines.join("\n")),
            });
        }
        if let Some(regarding) = about.there {
            let unchecked = refused && answer.outcome == Outcome::CouldNotCheck;
            let reason = match refused {
                true if unchecked => Reason::CouldNotCheck,
                true => Reason::PolicyViolation,
                false => reason(results.into_iter()),
            };
            let note = if refused { answer.message.clone() } else { answer.warnings.join("\n") };
            let note = format!("{}: {note}", about.words);
            self.events.tell(Event { regarding, related: None, reason, doing, note });
        }
    }
}

/// That something could not be checked is told only where nothing was found to be wrong.
fn reason<'a>(mut results: impl Iterator<Item = &'a RuleResult>) -> Reason {
    match results.any(|result| result.status == Status::Fail) {
        true => Reason::PolicyViolation,
        false => Reason::CouldNotCheck,
    }
}

struct About {
    /// What is there already: the object, or its controller.
    there: Option<ObjectRef>,
    /// The same for every pod of a controller, so that these are one event.
    words: String,
}

fn about(request: &Request) -> About {
    let kind = &request.kind.kind;
    if request.operation == Operation::Update {
        let there = request.old_object.as_ref().and_then(ObjectRef::of);
        return About { words: format!("a change of {kind} {}", place(request, &request.name)), there };
    }
    if let Some(controller) = ObjectRef::controller_of(&request.object, &request.namespace) {
        return About { words: format!("a {kind} of {controller}"), there: Some(controller) };
    }
    let metadata = |name: &str| request.object.pointer(&format!("/metadata/{name}"));
    let name = match request.name.as_str() {
        "" => metadata("generateName").and_then(|name| name.as_str()).unwrap_or_default().to_owned() + "*",
        name => name.to_owned(),
    };
    About { there: None, words: format!("{kind} {}", place(request, &name)) }
}

fn place(request: &Request, name: &str) -> String {
    if request.namespace.is_empty() { name.to_owned() } else { format!("{}/{name}", request.namespace) }
}
