//! A policy, read: for one kind of objects.

use std::collections::BTreeMap;

use super::attestors::Attestors;
use super::constraints;
use super::expressions::{Place, Programs, compile};
use super::schema::{Attestation, ImageReference, MatchResources, Named, Spec, Typed, Validation};
use crate::cel::Program;
use crate::kyverno::cluster::shared::ImagePattern;
use crate::lint::Lint;
use crate::read::ReadError;

/// The most expressions in a list of a policy.
const MAX_EXPRESSIONS: usize = 64;

/// A policy, read: for one kind of objects.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) constraints: MatchResources,
    pub(super) conditions: Vec<(String, Program)>,
    pub(super) variables: BTreeMap<String, Program>,
    pub(super) images: Vec<Wanted>,
    pub(super) extractors: Vec<(String, Program)>,
    pub(super) attestors: Attestors,
    /// What is said, by name.
    pub(super) attestations: BTreeMap<String, Wording>,
    pub(super) validations: Vec<Check>,
    pub(super) audit: Vec<(String, Program)>,
    /// The expressions of attestors.
    pub(super) programs: Programs,
    /// Whether images are pinned to what was verified.
    pub(super) pins: bool,
    /// Whether images must be named by digest.
    pub(super) must_be_pinned: bool,
    /// Whether each image must have been verified.
    pub(super) required: bool,
}

/// What must be said of an image, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wording {
    /// A statement of this type.
    Statement(String),
    /// A document of this artifact type, attached and signed as the Notary Project does.
    Document(String),
}

/// Which images.
#[derive(Debug)]
pub(super) enum Wanted {
    Pattern(ImagePattern),
    Expression(Program),
}

/// A condition that must hold.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) program: Program,
    pub(super) message: String,
    pub(super) message_program: Option<Program>,
    /// The machine-readable reason that the policy gives.
    pub(super) reason: String,
}

impl Check {
    /// Whether it speaks of nothing but images and who signed them.
    pub(super) fn is_of_images(&self) -> bool {
        self.program.names().iter().all(|name| matches!(*name, "images" | "attestors" | "attestations"))
    }
}

impl Variant {
    /// Reads the specification of a policy in this namespace.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(spec: Spec, namespace: &str, lints: &mut Vec<Lint>) -> Result<Self, ReadError> {
        constraints::check(&spec.match_constraints, "spec.matchConstraints")?;
        let mut programs = Programs::default();
        let attestors = Attestors::read(spec.attestors, namespace, &mut programs, lints)?;
        let configured = &spec.validation_configurations;
        let required = configured.required.unwrap_or(true);
        let validations = checks(&spec.validations)?;
        let variables = named(&spec.variables, "variables", Place::Anywhere)?;
        let verifies = |program: &Program| {
            ["verifyImageSignatures(", "verifyAttestationSignatures("]
                .iter()
                .any(|function| program.text().contains(function))
        };
        let anybody = validations.iter().map(|check| &check.program).chain(variables.iter().map(|(_, p)| p));
        if required && !anybody.into_iter().any(verifies) {
            let message = "expected verifyImageSignatures() or verifyAttestationSignatures(), found neither: no image \
                           could ever pass. With validationConfigurations.required: false it is not asked for";
            return Err(ReadError::new("spec.validations", message));
        }
        let mut audit = Vec::new();
        for (index, annotation) in spec.audit_annotations.iter().enumerate() {
            let path = format!("spec.auditAnnotations[{index}].valueExpression");
            let program = compile(&annotation.value_expression, &path, Place::Anywhere)?;
            audit.push((annotation.key.clone(), program));
        }
        Ok(Self {
            constraints: spec.match_constraints,
            conditions: named(&spec.match_conditions, "matchConditions", Place::Request)?,
            variables: variables.into_iter().collect(),
            images: wanted(&spec.match_image_references, lints)?,
            extractors: named(&spec.images, "images", Place::Variables)?,
            attestors,
            attestations: attestations(&spec.attestations)?,
            validations,
            audit,
            programs,
            pins: configured.mutate_digest.unwrap_or(true),
            must_be_pinned: configured.verify_digest.unwrap_or(true),
            required,
        })
    }
}

/// Expressions with names of their own.
fn named(list: &[Named], field: &str, place: Place) -> Result<Vec<(String, Program)>, ReadError> {
    if list.len() > MAX_EXPRESSIONS {
        let message = format!("expected at most {MAX_EXPRESSIONS}, found {}", list.len());
        return Err(ReadError::new(format!("spec.{field}"), message));
    }
    let mut programs: Vec<(String, Program)> = Vec::new();
    for (index, named) in list.iter().enumerate() {
        let path = format!("spec.{field}[{index}]");
        if named.name.is_empty() || programs.iter().any(|(name, _)| *name == named.name) {
            let message = format!("expected a name of its own, found \"{}\"", named.name);
            return Err(ReadError::new(format!("{path}.name"), message));
        }
        let program = compile(&named.expression, &format!("{path}.expression"), place)?;
        programs.push((named.name.clone(), program));
    }
    Ok(programs)
}

fn checks(list: &[Validation]) -> Result<Vec<Check>, ReadError> {
    if list.is_empty() || list.len() > MAX_EXPRESSIONS {
        let message = format!("expected 1 to {MAX_EXPRESSIONS} conditions, found {}", list.len());
        return Err(ReadError::new("spec.validations", message));
    }
    let read = |(index, written): (usize, &Validation)| {
        let path = format!("spec.validations[{index}]");
        let message_program = match written.message_expression.as_str() {
            "" => None,
            text => Some(compile(text, &format!("{path}.messageExpression"), Place::Anywhere)?),
        };
        Ok(Check {
            program: compile(&written.expression, &format!("{path}.expression"), Place::Anywhere)?,
            message: written.message.clone(),
            message_program,
            reason: written.reason.clone(),
        })
    };
    list.iter().enumerate().map(read).collect()
}

fn wanted(list: &[ImageReference], lints: &mut Vec<Lint>) -> Result<Vec<Wanted>, ReadError> {
    let mut read = |(index, written): (usize, &ImageReference)| {
        let path = format!("spec.matchImageReferences[{index}]");
        match (written.glob.as_str(), written.expression.as_str()) {
            ("", "") => Err(ReadError::new(path, "expected glob or expression, found neither")),
            (glob, "") => ImagePattern::read(glob, &format!("{path}.glob"), lints).map(Wanted::Pattern),
            ("", text) => compile(text, &format!("{path}.expression"), Place::Image).map(Wanted::Expression),
            _ => Err(ReadError::new(path, "expected glob or expression, found both; write two entries")),
        }
    };
    list.iter().enumerate().map(&mut read).collect()
}

fn attestations(list: &[Attestation]) -> Result<BTreeMap<String, Wording>, ReadError> {
    let mut types = BTreeMap::new();
    for (index, written) in list.iter().enumerate() {
        let path = format!("spec.attestations[{index}]");
        let wording = match (&written.intoto, &written.referrer) {
            (Some(Typed { kind }), None) if !kind.is_empty() => {
                let kind = countersign_attestation::predicate::type_of(kind).unwrap_or(kind);
                Wording::Statement(kind.to_owned())
            }
            (None, Some(Typed { kind })) if !kind.is_empty() => Wording::Document(kind.clone()),
            _ => return Err(ReadError::new(path, "expected intoto or referrer with a type, and only one")),
        };
        if written.name.is_empty() || types.insert(written.name.clone(), wording).is_some() {
            let message = format!("expected a name of its own, found \"{}\"", written.name);
            return Err(ReadError::new(format!("{path}.name"), message));
        }
    }
    Ok(types)
}
