//! A policy over a request.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_crypto::Digest;
use countersign_registry::Reference;

use super::ImageValidatingPolicy;
use super::constraints;
use super::functions::Evaluation;
use super::images::{Images, of_object};
use super::variant::{Check, Variant};
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::cel::{CelError, Halt, Problem, Value};
use crate::decision::{Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::images::workload_images;
use crate::lint::Lint;
use crate::question::CouldNot;
use crate::request::{CustomObject, Operation, Request};

impl Policy for ImageValidatingPolicy {
    fn name(&self) -> PolicyName {
        self.name.clone()
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn custom_objects(&self) -> Vec<CustomObject> {
        let constraints = self.variants.iter().map(|variant| &variant.constraints);
        constraints.flat_map(constraints::custom_objects).collect()
    }

    fn access(&self) -> Access {
        self.access.clone()
    }

    fn lints(&self) -> Vec<Lint> {
        self.lints.clone()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let none = || Ok((Vec::new(), Vec::new()));
        let elsewhere = self.name.is_elsewhere(&request.namespace);
        let enabled = if request.background { self.background } else { self.admission };
        // What goes, and who looks into a container, brings no image.
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if elsewhere || !enabled || !changes {
            return none();
        }
        let told = match self.variant(request, ask) {
            Ok(None) => return none(),
            Ok(Some(variant)) => self.judge(variant, request, ask),
            Err(stop) => Err(stop.into()),
        };
        match told {
            Ok(None) => none(),
            Ok(Some((ended, pins))) => Ok((vec![self.result(ended)], pins)),
            Err(halt) => Ok((vec![self.result(could_not(halt)?)], Vec::new())),
        }
    }
}

/// How it ended.
#[derive(Debug)]
struct Ended {
    status: Status,
    reason: String,
    message: String,
    /// What the policy wants in reports.
    properties: Vec<(String, String)>,
    /// The image and its digest, if there is one alone.
    image: Option<(String, Option<Digest>)>,
}

impl Ended {
    fn new(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            message: message.into(),
            properties: Vec::new(),
            image: None,
        }
    }

    fn could_not(could_not: &CouldNot) -> Self {
        Self::new(Status::Error, could_not.reason.code(), could_not.text.clone())
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self { at: 0, problem: Problem::Stop(stop) }
    }
}

/// What an expression without a value comes to.
///
/// # Errors
/// [`Stop::Open`].
fn could_not(halt: Halt) -> Result<Ended, Stop> {
    match halt.problem {
        Problem::Stop(Stop::Open) => Err(Stop::Open),
        Problem::Stop(Stop::CouldNot(could_not)) => Ok(Ended::could_not(&could_not)),
        _ => Ok(Ended::new(Status::Error, "expression_failed", CelError::from(halt).to_string())),
    }
}

/// A new image of an object, or one that was there.
struct Meant {
    name: String,
    reference: Reference,
    digest: Digest,
}

impl ImageValidatingPolicy {
    /// The one that is about this request, if one is.
    fn variant(&self, request: &Request, ask: &Ask<'_>) -> Result<Option<&Variant>, Stop> {
        for variant in &self.variants {
            if constraints::matches(&variant.constraints, request, ask)? {
                return Ok(Some(variant));
            }
        }
        Ok(None)
    }

    fn judge(
        &self,
        variant: &Variant,
        request: &Request,
        ask: &Ask<'_>,
    ) -> Result<Option<(Ended, Vec<Pin>)>, Halt> {
        let evaluation = Evaluation::new(variant, request, ask);
        for (name, condition) in &variant.conditions {
            match evaluation.run(condition)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(None),
                other => {
                    let text =
                        format!("the condition {name}: expected true or false, found {}", other.kind());
                    return Err(Halt { at: 0, problem: text.into() });
                }
            }
        }
        let images = of_object(variant, &request.object, &evaluation)?;
        let names: BTreeSet<&str> = images.values().flatten().map(String::as_str).collect();
        if let Some(ended) = self.excepted(&names, &evaluation, ask)? {
            return Ok(Some((ended, Vec::new())));
        }
        let brings = brings_images(variant, request, ask, &names);
        let evaluation = evaluation.with_images(&images);
        let meant = match self.meant(&names, brings, ask)? {
            Ok(meant) => meant,
            Err(ended) => return Ok(Some((ended, Vec::new()))),
        };
        let only = |ended: Ended| match (names.first(), names.len()) {
            (Some(name), 1) => {
                let digest = meant.first().map(|image| image.digest);
                Ended { image: Some(((*name).to_owned(), digest)), ..ended }
            }
            _ => ended,
        };
        let pins = if variant.pins { pins(request, &meant) } else { Vec::new() };
        if let Some(ended) = not_pinned(variant, request, &meant, &pins) {
            return Ok(Some((only(ended), Vec::new())));
        }
        let mut checks =
            variant.validations.iter().filter(|check| brings || !check.is_of_images()).peekable();
        if checks.peek().is_none() {
            return Ok(None);
        }
        if let Some(ended) = all_hold(checks, &evaluation)? {
            return Ok(Some((only(annotated(variant, ended, &evaluation)?), Vec::new())));
        }
        if variant.required
            && let Some(image) = meant.iter().find(|image| !evaluation.has_verified(&image.name))
        {
            let message = format!(
                "{}: expected that the policy verified a signature or statement, found that none was asked for; see \
                 countersign tree {}",
                image.name,
                image.reference.at(image.digest)
            );
            return Ok(Some((only(Ended::new(Status::Fail, "not_verified", message)), Vec::new())));
        }
        let message = format!("{} images are as the policy asks", names.len());
        let ended = annotated(variant, Ended::new(Status::Pass, "verified", message), &evaluation)?;
        Ok(Some((only(ended), if request.background { Vec::new() } else { pins })))
    }

    /// What it comes to when an exception holds. One that cannot be checked does not.
    fn excepted(
        &self,
        names: &BTreeSet<&str>,
        evaluation: &Evaluation<'_>,
        ask: &Ask<'_>,
    ) -> Result<Option<Ended>, Halt> {
        for exception in ask.exceptions() {
            let Some(excepted) = exception.policies() else { continue };
            if !excepted.is_from(&self.name) || !excepted.covers(names.iter().copied()) {
                continue;
            }
            match excepted.holds(evaluation) {
                Ok(true) => {
                    let message = format!("excepted by {}/{}", exception.namespace(), exception.name());
                    return Ok(Some(Ended::new(excepted.status(), "exception", message)));
                }
                Err(halt) if halt.problem == Problem::Stop(Stop::Open) => return Err(halt),
                Ok(false) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The images with their digests, all asked for at once; none if a change brings no new one.
    fn meant(
        &self,
        names: &BTreeSet<&str>,
        brings: bool,
        ask: &Ask<'_>,
    ) -> Result<Result<Vec<Meant>, Ended>, Halt> {
        let (mut meant, mut stopped) = (Vec::new(), None);
        for name in names.iter().filter(|_| brings) {
            let reference = match Reference::parse(name) {
                Ok(reference) => reference,
                Err(error) => return Ok(Err(Ended::new(Status::Fail, "image_malformed", error.to_string()))),
            };
            match ask.digest(&reference) {
                Ok(digest) => meant.push(Meant { name: (*name).to_owned(), reference, digest }),
                Err(Stop::Open) => stopped = Some(Stop::Open),
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        stopped.map_or(Ok(Ok(meant)), |stop| Err(stop.into()))
    }

    fn result(&self, ended: Ended) -> RuleResult {
        let mut properties = self.properties.clone();
        properties.extend(ended.properties);
        let (image, digest) = ended.image.unzip();
        RuleResult {
            policy: self.name.clone(),
            rule: self.name.name.clone(),
            image,
            digest: digest.flatten(),
            status: ended.status,
            action: self.action,
            fail_closed: self.fail_closed,
            reason: ended.reason,
            message: ended.message,
            properties,
            decided_by: Vec::new(),
            level: None,
        }
    }
}

/// Whether an image is judged that was not there before. What was there and cannot be read counts as not there.
fn brings_images(variant: &Variant, request: &Request, ask: &Ask<'_>, names: &BTreeSet<&str>) -> bool {
    let (Operation::Update, Some(old)) = (request.operation, &request.old_object) else { return true };
    let before = Request { object: old.clone(), ..request.clone() };
    let images: Images = match of_object(variant, old, &Evaluation::new(variant, &before, ask)) {
        Ok(images) => images,
        Err(_) => return true,
    };
    names.iter().any(|name| !images.values().flatten().any(|old| old == name))
}

/// The pins of containers whose images are named by tag.
fn pins(request: &Request, meant: &[Meant]) -> Vec<Pin> {
    let uses = workload_images(&request.object).unwrap_or_default();
    let tagged = uses.into_iter().filter(|image| !image.image.contains('@'));
    let pin = |image: crate::images::ImageUse| {
        let found = meant.iter().find(|meant| meant.name == image.image)?;
        Some(Pin {
            pointer: image.pointer,
            to: format!("{}@{}", image.image, found.digest),
            from: image.image,
        })
    };
    tagged.filter_map(pin).collect()
}

/// An image that must be named by digest, is not, and will not be.
fn not_pinned(variant: &Variant, request: &Request, meant: &[Meant], pins: &[Pin]) -> Option<Ended> {
    // What runs was pinned when it came, or came before the policy.
    if !variant.must_be_pinned || (variant.pins && request.background) {
        return None;
    }
    let stays =
        |image: &&Meant| image.reference.digest().is_none() && !pins.iter().any(|pin| pin.from == image.name);
    let Meant { name, digest, .. } = meant.iter().find(stays)?;
    let message = format!("{name}: expected a digest, found a tag; write {name}@{digest}");
    Some(Ended::new(Status::Fail, "not_pinned", message))
}

/// The first condition that does not hold. All are evaluated, so that all that is open is asked for at once.
fn all_hold<'c>(
    checks: impl Iterator<Item = &'c Check>,
    evaluation: &Evaluation<'_>,
) -> Result<Option<Ended>, Halt> {
    let (mut first, mut open) = (None, None);
    for check in checks {
        let ended = match evaluation.run(&check.program) {
            Ok(Value::Bool(true)) => None,
            Ok(Value::Bool(false)) => Some(does_not_hold(check, evaluation)),
            Ok(other) => {
                let problem = format!("expected true or false, found {}", other.kind()).into();
                Some(could_not(Halt { at: 0, problem }))
            }
            Err(halt) => Some(could_not(halt)),
        };
        evaluation.take_misses();
        match ended {
            Some(Err(stop)) => open = Some(stop),
            Some(Ok(ended)) => first = first.or(Some(ended)),
            None => {}
        }
    }
    open.map_or(Ok(first), |stop| Err(stop.into()))
}

fn does_not_hold(check: &Check, evaluation: &Evaluation<'_>) -> Result<Ended, Stop> {
    let (misses, unsure) = evaluation.take_misses();
    if let Some(unsure) = unsure {
        return Ok(Ended::could_not(&unsure));
    }
    let written = || {
        let text = check.message.trim();
        if text.is_empty() { format!("expected {}", check.program.text().trim()) } else { text.to_owned() }
    };
    let mut message = match check.message_program.as_ref().map(|program| evaluation.run(program)) {
        Some(Ok(Value::Text(text))) if !text.is_empty() => text.to_string(),
        Some(Err(halt)) if halt.problem == Problem::Stop(Stop::Open) => return Err(Stop::Open),
        _ => written(),
    };
    let mut images: Vec<&str> = Vec::new();
    for miss in &misses {
        message.push_str(&format!("; {}: {}", miss.image, miss.text));
        if !images.contains(&miss.image.as_str()) {
            images.push(&miss.image);
        }
    }
    if !images.is_empty() {
        message.push_str(&format!("; see countersign tree {}", images.join(" ")));
    }
    let reason = misses.first().map_or("not_as_asked", |miss| miss.reason.as_str());
    let mut ended = Ended::new(Status::Fail, reason, message);
    if !check.reason.is_empty() {
        ended.properties.push(("reason".into(), check.reason.clone()));
    }
    Ok(ended)
}

/// The same with what the policy wants written down. An annotation without a value is left out.
fn annotated(variant: &Variant, mut ended: Ended, evaluation: &Evaluation<'_>) -> Result<Ended, Halt> {
    for (key, program) in &variant.audit {
        match evaluation.run(program) {
            Ok(Value::Text(text)) if !text.is_empty() => {
                ended.properties.push((key.clone(), text.to_string()))
            }
            Err(halt) if halt.problem == Problem::Stop(Stop::Open) => return Err(halt),
            _ => {}
        }
    }
    Ok(ended)
}
