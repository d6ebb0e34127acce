//! An evaluation of a policy on a request: what expressions see, and the functions that ask for images, signatures and
//! statements.
//!
//! Nothing is kept from one evaluation to the next. When a question is open the evaluation ends there, and comes here
//! again with the answer; so a statement that [`extractPayload`](Evaluation::payload) gives is always one that was
//! verified just before, on facts which may be cached, and never a cached yes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use countersign_registry::Reference;
use countersign_verify::Payload;
use jiff::Timestamp;

use super::expressions::FUNCTIONS;
use super::images::{Images, is_meant, parts};
use super::variant::{Variant, Wording};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::cel::{self, Halt, Host, Problem, Program, Value, Variables};
use crate::finding::{Finding, Held, Why};
use crate::kyverno::cluster::shared;
use crate::kyverno::jmespath::Budget;
use crate::kyverno::match_conditions::{namespace_member, seen};
use crate::question::CouldNot;
use crate::request::Request;

/// How deep expressions that are evaluated within expressions (variables of variables, attestors of attestors) may be
/// together.
const MAX_DEPTH: usize = 2 * cel::MAX_DEPTH;

/// What judging one attestor counts, in steps, so that an expression does not ask for it without end.
const JUDGING: usize = 200;

/// Why somebody's signature or statement is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    /// The image.
    pub(super) image: String,
    /// The stable code.
    pub(super) reason: String,
    /// In words.
    pub(super) text: String,
}

/// What was found out in an evaluation.
#[derive(Debug, Default)]
struct Found {
    /// Images of which something was verified.
    verified: BTreeSet<String>,
    /// Verified statements, by image and attestation.
    payloads: BTreeMap<(String, String), Value>,
    misses: Vec<Miss>,
    could_not: Option<CouldNot>,
    /// Variables by name; without a value while it is being found.
    variables: BTreeMap<String, Option<Result<Value, Problem>>>,
}

/// An evaluation.
pub(super) struct Evaluation<'a> {
    variant: &'a Variant,
    request: &'a Request,
    ask: &'a Ask<'a>,
    seen: Variables,
    budget: Budget,
    depth: Cell<usize>,
    found: RefCell<Found>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(variant: &'a Variant, request: &'a Request, ask: &'a Ask<'a>) -> Self {
        Self {
            variant,
            request,
            ask,
            seen: seen(request, ask.now()),
            budget: Budget::default(),
            depth: Cell::new(0),
            found: RefCell::default(),
        }
    }

    /// The same with the images that expressions see.
    pub(super) fn with_images(mut self, images: &Images) -> Self {
        let lists = images
            .iter()
            .map(|(name, list)| (name.as_str(), Value::list(list.iter().map(|image| Value::text(image)))));
        self.seen = self.seen.with_value("images", Value::map(lists));
        self
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.ask.now()
    }

    /// The value of an expression.
    pub(super) fn run(&self, program: &Program) -> Result<Value, Halt> {
        self.run_with(program, &self.seen)
    }

    pub(super) fn run_with(&self, program: &Program, variables: &Variables) -> Result<Value, Halt> {
        let outer = self.depth.get();
        let depth = outer + program.depth();
        if depth > MAX_DEPTH {
            let problem =
                format!("expected at most {MAX_DEPTH} parts within parts, variables included, found more");
            return Err(Halt { at: 0, problem: problem.into() });
        }
        self.depth.set(depth);
        let value = program.run(variables, self, &self.budget);
        self.depth.set(outer);
        value
    }

    /// Whether something about an image was verified.
    pub(super) fn has_verified(&self, image: &str) -> bool {
        self.found.borrow().verified.contains(image)
    }

    /// Forgets who missed and who could not be checked, and tells it.
    pub(super) fn take_misses(&self) -> (Vec<Miss>, Option<CouldNot>) {
        let mut found = self.found.borrow_mut();
        (std::mem::take(&mut found.misses), found.could_not.take())
    }

    fn variable(&self, name: &str) -> Result<Value, Problem> {
        let Some(program) = self.variant.variables.get(name) else {
            return Err(format!("there is no variable \"{name}\"").into());
        };
        match self.found.borrow().variables.get(name) {
            Some(Some(known)) => return known.clone(),
            Some(None) => return Err(format!("the variable \"{name}\" speaks of itself").into()),
            None => {}
        }
        self.found.borrow_mut().variables.insert(name.to_owned(), None);
        let value = self.run(program).map_err(|halt| halt.problem);
        self.found.borrow_mut().variables.insert(name.to_owned(), Some(value.clone()));
        value
    }

    fn authority(&self, name: &str) -> Result<Authority, Problem> {
        self.variant.attestors.get(name, &|text| {
            let program = self.variant.programs.get(text).ok_or("there is no such expression")?;
            match self.run(program).map_err(|halt| halt.problem)? {
                Value::Text(text) => Ok(text.to_string()),
                other => Err(format!("the attestor {name}: expected a text, found {}", other.kind()).into()),
            }
        })
    }

    /// How many of the attestors signed an image, or said something of it. Each counts once. What holds is given to
    /// `then`.
    fn count(
        &self,
        image: &str,
        attestors: &Value,
        wording: Option<&Wording>,
        then: &mut dyn FnMut(Vec<Held>),
    ) -> Result<Value, Problem> {
        let names = names(attestors)?;
        if !is_meant(self.variant, image, self).map_err(|halt| halt.problem)? {
            return Ok(Value::Int(0));
        }
        let reference = Reference::parse(image).map_err(|e| e.to_string())?;
        let (mut count, mut open, mut unsure) = (0, false, None);
        for name in &names {
            self.budget.steps(JUDGING).map_err(|_| Problem::TooMuch)?;
            match self.judge(&reference, &self.authority(name)?, wording) {
                Finding::Holds(held) => {
                    count += 1;
                    then(held);
                }
                Finding::No(Why { reason, text }) => {
                    let miss = Miss { image: image.to_owned(), reason, text };
                    self.found.borrow_mut().misses.push(miss);
                }
                Finding::Open => open = true,
                Finding::CouldNot(could_not) => unsure = unsure.or(Some(could_not)),
            }
        }
        match unsure {
            _ if open => return Err(Stop::Open.into()),
            Some(could_not) if count == 0 => return Err(Stop::CouldNot(could_not).into()),
            Some(could_not) => self.found.borrow_mut().could_not = Some(could_not),
            None => {}
        }
        if count > 0 {
            self.found.borrow_mut().verified.insert(image.to_owned());
        }
        Ok(Value::Int(count))
    }

    /// What holds by one attestor. Statements are made by signers of Sigstore, and documents signed by those of the Notary
    /// Project.
    fn judge(&self, image: &Reference, authority: &Authority, wording: Option<&Wording>) -> Finding<Held> {
        let other = |what: &str| {
            Finding::No(Why::new("other_kind_of_attestor", format!("{}: expected {what}", authority.name)))
        };
        match (wording, authority.is_of_notary()) {
            (None, _) => self.ask.find_signed(image, authority),
            (Some(Wording::Statement(kind)), false) | (Some(Wording::Document(kind)), true) => {
                self.ask.find_said(image, authority, kind)
            }
            (Some(Wording::Statement(_)), true) => other(
                "an attestor with cosign beside intoto; signers of the Notary Project make no statements",
            ),
            (Some(Wording::Document(_)), false) => other("an attestor with notary beside referrer"),
        }
    }

    fn said(&self, image: &str, attestation: &str, attestors: &Value) -> Result<Value, Problem> {
        let mut newest: Option<Held> = None;
        let counted = self.count(image, attestors, Some(self.attestation(attestation)?), &mut |all| {
            for held in all {
                if newest.as_ref().is_none_or(|known| signed_at(&held) > signed_at(known)) {
                    newest = Some(held);
                }
            }
        })?;
        if let Some(held) = newest {
            let json = payload(&held)?;
            self.budget.value(&json).map_err(|_| Problem::TooMuch)?;
            let key = (image.to_owned(), attestation.to_owned());
            self.found.borrow_mut().payloads.insert(key, Value::from_json(&json));
        }
        Ok(counted)
    }

    fn attestation(&self, name: &str) -> Result<&'a Wording, Problem> {
        let wording = self.variant.attestations.get(name);
        wording.ok_or_else(|| format!("there is no attestation \"{name}\"").into())
    }

    /// The statement that was verified last in this evaluation; never one that nobody vouches for.
    fn payload(&self, image: &str, attestation: &str) -> Result<Value, Problem> {
        self.attestation(attestation)?;
        let key = (image.to_owned(), attestation.to_owned());
        self.found.borrow().payloads.get(&key).cloned().ok_or_else(|| {
            format!(
                "extractPayload(): nothing was verified as \"{attestation}\" of {image}; ask for \
                 verifyAttestationSignatures(…) > 0 before it, with &&"
            )
            .into()
        })
    }

    /// What the registry has under the name.
    fn image_data(&self, image: &str) -> Result<Value, Problem> {
        let reference = Reference::parse(image).map_err(|e| e.to_string())?;
        let mut data = shared::image_value(&reference, image, self.ask)?;
        self.budget.value(&data).map_err(|_| Problem::TooMuch)?;
        if let serde_json::Value::Object(data) = &mut data {
            let config = data.remove("configData").unwrap_or_default();
            data.insert("config".into(), config);
            data.insert("tag".into(), reference.tag().map(ToString::to_string).into());
            data.insert("digest".into(), self.ask.digest(&reference)?.to_string().into());
        }
        Ok(Value::from_json(&data))
    }
}

/// When something was signed, by the latest time that is known.
fn signed_at(held: &Held) -> Option<Timestamp> {
    match held {
        Held::Fact(fact) => fact.verified.times().iter().map(|time| time.time).max(),
        Held::Document(_) => None,
    }
}

/// What was said: the whole statement, or the document.
fn payload(held: &Held) -> Result<serde_json::Value, String> {
    match held {
        Held::Document(document) => document.json(),
        Held::Fact(fact) => match fact.verified.value() {
            Payload::Statement { bytes, .. } => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
            _ => Err("expected a statement, found a signature".into()),
        },
    }
}

/// The names of attestors in a list, each once.
fn names(attestors: &Value) -> Result<BTreeSet<String>, Problem> {
    let wrong = || Problem::from("expected a list of attestors, such as [attestors.release]");
    let Value::List(items) = attestors else { return Err(wrong()) };
    let name = |item: &Value| match item.field("name") {
        Some(Value::Text(name)) => Ok(name.to_string()),
        _ => Err(wrong()),
    };
    items.iter().map(name).collect()
}

impl Host for Evaluation<'_> {
    fn functions(&self) -> &'static [(&'static str, usize)] {
        &FUNCTIONS
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Problem> {
        match (name, arguments) {
            ("verifyImageSignatures", [Value::Text(image), attestors]) => {
                self.count(image, attestors, None, &mut drop)
            }
            ("verifyAttestationSignatures", [Value::Text(image), Value::Text(attestation), attestors]) => {
                self.said(image, attestation, attestors)
            }
            ("extractPayload", [Value::Text(image), Value::Text(attestation)]) => {
                self.payload(image, attestation)
            }
            ("getImageData", [Value::Text(image)]) => self.image_data(image),
            ("isImage", [Value::Text(image)]) => Ok(Value::Bool(Reference::parse(image).is_ok())),
            ("image", [Value::Text(image)]) => {
                Reference::parse(image).map(|image| parts(&image)).map_err(|e| e.to_string().into())
            }
            (part, [image @ Value::Map(_)]) => {
                image.field(part).cloned().ok_or_else(|| format!("expected image(…) before {part}()").into())
            }
            _ => {
                let kinds: Vec<_> = arguments.iter().map(Value::kind).collect();
                Err(format!("there is no {name}() of {}", kinds.join(", ")).into())
            }
        }
    }

    fn member(&self, of: &str, name: &str) -> Option<Result<Value, Problem>> {
        Some(match (of, name) {
            ("variables", name) => self.variable(name),
            ("attestors", name) if self.variant.attestors.has(name) => {
                Ok(Value::map([("name", Value::text(name))]))
            }
            ("attestors", name) => Err(format!("there is no attestor \"{name}\"").into()),
            ("attestations", name) => self.attestation(name).map(|_| Value::text(name)),
            ("namespaceObject", name) => namespace_member(name, self.request, self.ask),
            _ => return None,
        })
    }
}
