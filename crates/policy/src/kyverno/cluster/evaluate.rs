//! A policy over a request: rule by rule, image by image.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_crypto::Digest;
use countersign_registry::Reference;
use serde_json::Value;

use super::ClusterPolicy;
use super::context::of_request;
use super::entry::{Entry, Written};
use super::extract::Extracted;
use super::rule::{Body, Rule};
use super::schema::FailureAction;
use super::validate::{Check, Verdict, holds};
use super::verify::verify;
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::decision::{Action, Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::finding::{Finding, Held, Why};
use crate::kyverno::Context;
use crate::kyverno::matching::written;
use crate::lint::Lint;
use crate::question::CouldNot;
use crate::request::{CustomObject, Operation, Request};

impl Policy for ClusterPolicy {
    fn name(&self) -> PolicyName {
        self.name.clone()
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn custom_objects(&self) -> Vec<CustomObject> {
        self.rules.iter().flat_map(|rule| rule.extractors.kinds()).map(CustomObject::Kind).collect()
    }

    fn access(&self) -> Access {
        self.rules_access()
    }

    fn lints(&self) -> Vec<Lint> {
        self.lints.clone()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let elsewhere = self.name.is_elsewhere(&request.namespace);
        let enabled = if request.background { self.background } else { self.admission };
        let mut run = Run { policy: self, request, ask, results: Vec::new(), pins: Vec::new(), unsure: None };
        if elsewhere || !enabled {
            return Ok((run.results, run.pins));
        }
        match self.conditions.hold(request, ask) {
            Ok(true) => {}
            Ok(false) => return Ok((run.results, run.pins)),
            Err(Stop::CouldNot(could_not)) => run.unsure = Some(could_not),
            Err(Stop::Open) => return Err(Stop::Open),
        }
        let mut open = false;
        for rule in &self.rules {
            let before = run.results.len();
            match run.rule(rule) {
                Ok(()) => {}
                Err(Stop::Open) => open = true,
                Err(Stop::CouldNot(could_not)) => run.could_not(rule, &could_not)?,
            }
            let said = run.results.get(before..).unwrap_or_default();
            let applied = said.iter().any(|result| result.status != Status::Skip);
            if self.only_first && (applied || open) {
                break;
            }
        }
        if open { Err(Stop::Open) } else { Ok((run.results, run.pins)) }
    }
}

struct Run<'a> {
    policy: &'a ClusterPolicy,
    request: &'a Request,
    ask: &'a Ask<'a>,
    results: Vec<RuleResult>,
    pins: Vec<Pin>,
    /// Why nobody can tell whether the webhook would be asked.
    unsure: Option<CouldNot>,
}

/// What a result is about.
#[derive(Clone, Copy)]
struct About<'a> {
    image: Option<&'a str>,
    digest: Option<Digest>,
    action: FailureAction,
}

/// How it ended.
struct Ended {
    status: Status,
    reason: String,
    message: String,
}

impl Ended {
    fn new(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }

    fn could_not(could_not: &CouldNot) -> Self {
        Self::new(Status::Error, could_not.reason.code(), could_not.text.clone())
    }
}

/// What came of an image.
enum Judged {
    /// A question is open.
    Open,
    /// It does not hold, or could not be checked.
    Ended(Ended),
    /// It holds.
    Verified { digest: Digest, message: String },
}

impl Judged {
    fn ended(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self::Ended(Ended::new(status, reason, message))
    }
}

impl Run<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), Stop> {
        let request = self.request;
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        // What goes, and who looks into a container, brings no image.
        if !changes && !matches!(rule.body, Body::Validate { .. }) || !rule.is_about(request, self.ask)? {
            return Ok(());
        }
        if let Some(unsure) = &self.unsure {
            return Err(unsure.clone().into());
        }
        let object = written(request);
        let images = match rule.extractors.images(object, self.ask.now()) {
            Ok(images) => images,
            Err(text) => {
                let about = self.about_object(rule)?;
                let ended = Ended::new(Status::Fail, "images_unreadable", text);
                self.say(rule, about, ended);
                return Ok(());
            }
        };
        let judged = rule.extractors.judged(&images, request, self.ask.now());
        match &rule.body {
            // A rule that is about none of the images is not about the request, whatever its context has.
            Body::Verify(entries) if !is_about_any(entries, &judged) => return Ok(()),
            // What is there is looked at, and not changed.
            Body::Pin(_) if request.background => return Ok(()),
            Body::Verify(_) | Body::Validate { .. } | Body::Pin(_) => {}
        }
        let context = of_request(request, &images, self.ask);
        if self.is_excepted(rule, &context)? {
            return Ok(());
        }
        let context = rule.names.load(context, self.ask)?;
        if !holds(rule.preconditions.as_ref(), &context)?
            || !rule.cel_preconditions.hold(request, self.ask)?
        {
            let about = self.about_object(rule)?;
            self.say(rule, about, Ended::new(Status::Skip, "preconditions", "the preconditions do not hold"));
            return Ok(());
        }
        match &rule.body {
            Body::Verify(entries) => self.verify_all(rule, entries, &judged, &context),
            Body::Validate { check, allows_existing } => {
                // Who changes an object without bringing an image has not made it worse.
                let before = self.request.old_object.as_ref().filter(|_| {
                    *allows_existing && judged.is_empty() && request.operation == Operation::Update
                });
                self.validate(rule, check, before, &context)
            }
            Body::Pin(pinning) => match pinning.pins(&images, &context, self.ask)? {
                Ok(pins) => {
                    let about = self.about_object(rule)?;
                    let message = format!("{} images are pinned to their digests", pins.len());
                    self.pins.extend(pins);
                    self.say(rule, about, Ended::new(Status::Pass, "pinned", message));
                    Ok(())
                }
                Err(Why { reason, text }) => {
                    let about = self.about_object(rule)?;
                    self.say(rule, about, Ended::new(Status::Fail, &reason, text));
                    Ok(())
                }
            },
        }
    }

    /// Whether an exception holds. One that cannot be checked does not.
    fn is_excepted(&mut self, rule: &Rule, context: &Context) -> Result<bool, Stop> {
        let name = match self.policy.name.namespace.as_str() {
            "" => self.policy.name.name.clone(),
            namespace => format!("{namespace}/{}", self.policy.name.name),
        };
        for exception in self.ask.exceptions() {
            match exception.applies(&name, &rule.name, self.request, context, self.ask) {
                Ok(true) => {
                    let message = format!("excepted by {}/{}", exception.namespace(), exception.name());
                    let about = self.about_object(rule)?;
                    self.say(rule, about, Ended::new(Status::Skip, "exception", message));
                    return Ok(true);
                }
                Ok(false) | Err(Stop::CouldNot(_)) => {}
                Err(Stop::Open) => return Err(Stop::Open),
            }
        }
        Ok(false)
    }

    fn validate(
        &mut self,
        rule: &Rule,
        check: &Check,
        before: Option<&Value>,
        context: &Context,
    ) -> Result<(), Stop> {
        let about = self.about_object(rule)?;
        let result = check.evaluate(written(self.request), context, self.ask);
        let ended = match result {
            Err(Stop::CouldNot(could_not)) => Ended::could_not(&could_not),
            Err(open) => return Err(open),
            Ok(Verdict::Pass) => Ended::new(Status::Pass, "passed", "the object is as the rule asks"),
            Ok(Verdict::Skip) => {
                Ended::new(Status::Skip, "not_about_this", "the rule asks nothing of this object")
            }
            Ok(Verdict::Fail(why)) if self.was_so(before, rule, check)? => {
                let message = format!("it was so before the change, with the same images: {why}");
                Ended::new(Status::Skip, "existing_violation", message)
            }
            Ok(Verdict::Fail(why)) => Ended::new(Status::Fail, "not_as_asked", why),
        };
        self.say(rule, about, ended);
        Ok(())
    }

    /// Whether the object failed before the change too.
    fn was_so(&self, before: Option<&Value>, rule: &Rule, check: &Check) -> Result<bool, Stop> {
        let Some(old) = before else { return Ok(false) };
        let request = Request { object: old.clone(), ..self.request.clone() };
        let images = rule.extractors.images(old, self.ask.now()).unwrap_or_default();
        let context = rule.names.load(of_request(&request, &images, self.ask), self.ask)?;
        Ok(matches!(check.evaluate(old, &context, self.ask)?, Verdict::Fail(_)))
    }

    fn verify_all(
        &mut self,
        rule: &Rule,
        written: &[Written],
        images: &[Extracted],
        context: &Context,
    ) -> Result<(), Stop> {
        let images = by_name(images);
        let mut open = false;
        for entry in written {
            // Variables without a value may be those of images that the entry is not about.
            if !images.keys().any(|name| entry.may_be_about(name)) {
                continue;
            }
            let (references, entry) = match entry.prepare(context) {
                Ok(ready) => ready,
                Err(Stop::CouldNot(could_not)) => {
                    self.could_not(rule, &could_not)?;
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            for (name, uses) in images.iter().map(|(name, uses)| (*name, uses)) {
                let about = self.about_image(name, &entry)?;
                let judged = match Reference::parse(name) {
                    Err(error) => Judged::ended(Status::Fail, "image_malformed", error.to_string()),
                    Ok(image) if !references.matches(&image, name) => continue,
                    Ok(image) => self.verify(&entry, &image, name, context),
                };
                match judged {
                    Judged::Open => open = true,
                    Judged::Ended(ended) => self.say(rule, about, ended),
                    Judged::Verified { digest, message } => {
                        let about = About { digest: Some(digest), ..about };
                        self.say(rule, about, Ended::new(Status::Pass, "verified", message));
                        if entry.pin && !name.contains('@') {
                            let pin = |found: &&Extracted| Pin {
                                pointer: found.image.pointer.clone(),
                                from: name.to_owned(),
                                to: format!("{name}@{digest}"),
                            };
                            self.pins.extend(uses.iter().map(pin));
                        }
                    }
                }
            }
        }
        if open { Err(Stop::Open) } else { Ok(()) }
    }

    fn verify(&self, entry: &Entry, image: &Reference, name: &str, context: &Context) -> Judged {
        let digest = match self.ask.digest(image) {
            Ok(digest) => digest,
            Err(Stop::CouldNot(could_not)) => return Judged::Ended(Ended::could_not(&could_not)),
            Err(Stop::Open) => return Judged::Open,
        };
        if entry.must_be_pinned && !entry.pin && image.digest().is_none() {
            let message = format!("{name}: expected a digest, found a tag; write {name}@{digest}");
            return Judged::ended(Status::Fail, "not_pinned", message);
        }
        let pinned = image.at(digest);
        match verify(entry, &pinned, context, self.ask) {
            Finding::Open => Judged::Open,
            Finding::CouldNot(could_not) => Judged::Ended(Ended::could_not(&could_not)),
            Finding::No(Why { reason, text }) => {
                let message = format!("{name}: {text}; see countersign tree {pinned}");
                Judged::ended(Status::Fail, &reason, message)
            }
            Finding::Holds(facts) => {
                let signers: BTreeSet<&str> = facts.iter().filter_map(Held::signer).collect();
                let by = if signers.is_empty() { "" } else { ", signed by " };
                let signers = signers.into_iter().collect::<Vec<_>>().join(", ");
                Judged::Verified {
                    digest,
                    message: format!("{name}: all that is asked for is there{by}{signers}"),
                }
            }
        }
    }

    fn could_not(&mut self, rule: &Rule, could_not: &CouldNot) -> Result<(), Stop> {
        let about = self.about_object(rule)?;
        self.say(rule, about, Ended::could_not(could_not));
        Ok(())
    }

    fn about_object<'i>(&self, rule: &Rule) -> Result<About<'i>, Stop> {
        let own = rule.actions.of(self.request, self.ask)?;
        Ok(About { image: None, digest: None, action: self.action(own)? })
    }

    fn about_image<'i>(&self, image: &'i str, entry: &Entry) -> Result<About<'i>, Stop> {
        Ok(About { image: Some(image), digest: None, action: self.action(entry.action)? })
    }

    /// The rule's or entry's own action, else the policy's.
    fn action(&self, own: Option<FailureAction>) -> Result<FailureAction, Stop> {
        match own {
            Some(action) => Ok(action),
            None => Ok(self.policy.actions.of(self.request, self.ask)?.unwrap_or_default()),
        }
    }

    fn say(&mut self, rule: &Rule, about: About<'_>, ended: Ended) {
        let action = match about.action {
            FailureAction::Enforce => Action::Deny,
            FailureAction::Audit if self.policy.emit_warning => Action::Warn,
            FailureAction::Audit => Action::Audit,
        };
        let mut properties = self.policy.properties.clone();
        properties.extend(rule.properties.clone());
        self.results.push(RuleResult {
            policy: self.policy.name.clone(),
            rule: rule.name.clone(),
            image: about.image.map(str::to_owned),
            digest: about.digest,
            status: ended.status,
            action,
            fail_closed: self.policy.fail_closed,
            reason: ended.reason,
            message: ended.message,
            properties,
            decided_by: Vec::new(),
            level: None,
        });
    }
}

/// Whether an entry is, or may be, about one of the images.
fn is_about_any(entries: &[Written], images: &[Extracted]) -> bool {
    images.iter().any(|found| entries.iter().any(|entry| entry.may_be_about(&found.image.image)))
}

/// The images by their names: each is judged once, however often it is used.
fn by_name(images: &[Extracted]) -> BTreeMap<&str, Vec<&Extracted>> {
    let mut found: BTreeMap<&str, Vec<&Extracted>> = BTreeMap::new();
    for image in images {
        found.entry(image.image.image.as_str()).or_default().push(image);
    }
    found
}
