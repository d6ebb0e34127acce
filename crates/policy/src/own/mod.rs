//! Countersign's own language: `ImagePolicy` of `countersign.dev/v1alpha1`, and `PolicyException`, which takes images
//! out of policies of every language for a while. `docs/policies.md` is the description for people.
//!
//! | file | subject |
//! |---|---|
//! | `schema` | the objects as they are written |
//! | `images`, `scope` | which images, in which objects |
//! | `who`, `trust` | who must have signed, and whom to believe that |
//! | `condition` | what must hold of a statement |
//! | `typed` | provenance, bills of materials, scans, tests, reviews |
//! | `evaluate` | a policy over a request |
//! | `write` | authorities of other languages in this one |
//! | `explain` | a policy in plain words |
//! | `exception` | what does not hold for a while |

mod condition;
mod evaluate;
mod exception;
mod explain;
mod images;
mod schema;
mod scope;
mod trust;
mod typed;
mod who;
mod write;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::Value;

use self::condition::Condition;
use self::images::Images;
use self::schema::{Attestation, CouldNotCheck, DigestRule, Object, Which};
use self::scope::Scope;
use self::typed::Typed;
use self::who::{Reader, Who};
use crate::decision::{Action, PolicyKind, PolicyName};
use crate::kyverno::Extractors;
use crate::lint::Lint;
use crate::read::{ReadError, from_value};

pub use exception::PolicyException;
pub(crate) use write::{Signers, shared};

/// The version of the language.
pub const API_VERSION: &str = "countersign.dev/v1alpha1";
/// The most attestations of one policy, and conditions of one attestation.
const MAX_LIST: usize = 64;

/// An `ImagePolicy`, read and checked.
#[derive(Debug)]
pub struct ImagePolicy {
    name: PolicyName,
    images: Images,
    /// Where images stand in objects that are no workloads.
    custom: Extractors,
    scope: Scope,
    signed_by: Option<Who>,
    attestations: Vec<Said>,
    typed: Vec<Typed>,
    digest: DigestRule,
    action: Action,
    fail_closed: bool,
    lints: Vec<Lint>,
}

/// What must be said of an image.
#[derive(Debug)]
struct Said {
    /// As it is called in results.
    rule: String,
    /// The type of the predicate.
    kind: String,
    by: Who,
    max_age: Option<SignedDuration>,
    which: Which,
    conditions: Vec<Condition>,
}

impl ImagePolicy {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ReadError`], naming the field.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let object: Object = from_value(value)?;
        check_kind(&object.api_version, &object.kind, "ImagePolicy")?;
        let spec = object.spec;
        if object.metadata.name.is_empty() {
            return Err(ReadError::new("metadata.name", "expected a name, found an empty text"));
        }
        if spec.attestations.len() > MAX_LIST {
            return Err(ReadError::new("spec.attestations", format!("expected at most {MAX_LIST}")));
        }
        let mut reader = Reader::new(&spec.trust, spec.require, spec.evidence_repository.as_deref())?;
        let signed_by = spec.signed_by.as_ref().map(|who| reader.who(who, "spec.signedBy")).transpose()?;
        let mut attestations: Vec<Said> = Vec::new();
        for (index, attestation) in spec.attestations.iter().enumerate() {
            let path = format!("spec.attestations[{index}]");
            let said = Said::read(attestation, &mut reader, &path)?;
            if attestations.iter().any(|other| other.rule == said.rule) {
                let message = format!("expected another name than the ones before, found {}", said.rule);
                return Err(ReadError::new(format!("{path}.name"), message));
            }
            attestations.push(said);
        }
        let typed = Typed::read(&spec, &mut reader)?;
        if signed_by.is_none() && attestations.is_empty() && typed.is_empty() {
            let message = "expected signedBy, attestations, provenance, sbom, scan, tests or review, found none: nobody would \
                           have to sign";
            return Err(ReadError::new("spec", message));
        }
        if let Some(said) =
            attestations.iter().find(|said| typed.iter().any(|typed| typed.rule() == said.rule))
        {
            let message = format!("expected another name than that of the field {}", said.rule);
            return Err(ReadError::new("spec.attestations", message));
        }
        Ok(Self {
            name: PolicyName {
                kind: PolicyKind::Countersign,
                namespace: String::new(),
                name: object.metadata.name,
            },
            images: Images::read(&spec.images, &spec.except_images, &spec.artifacts)?,
            custom: Extractors::at(&spec.custom_resources, "spec.customResources")?,
            scope: Scope::read(&spec.namespaces, spec.namespace_selector, spec.object_selector)?,
            signed_by,
            attestations,
            typed,
            digest: spec.digest,
            action: spec.action.into(),
            fail_closed: spec.could_not_check == CouldNotCheck::Deny,
            lints: reader.into_lints(),
        })
    }
}

impl Said {
    fn read(written: &Attestation, reader: &mut Reader<'_>, path: &str) -> Result<Self, ReadError> {
        let Some(kind) = countersign_attestation::predicate::type_of(&written.predicate) else {
            let message = format!(
                "expected the URI of a predicate type, or one of {}; found \"{}\"",
                countersign_attestation::predicate::names(),
                written.predicate
            );
            return Err(ReadError::new(format!("{path}.predicate"), message));
        };
        if written.conditions.len() > MAX_LIST {
            let message = format!("expected at most {MAX_LIST} conditions");
            return Err(ReadError::new(format!("{path}.conditions"), message));
        }
        let conditions = written.conditions.iter().enumerate().map(|(index, text)| {
            Condition::read(text).map_err(|e| ReadError::new(format!("{path}.conditions[{index}]"), e))
        });
        Ok(Self {
            rule: written.name.clone().unwrap_or_else(|| written.predicate.clone()),
            kind: kind.to_owned(),
            by: reader.who(&written.signed_by, &format!("{path}.signedBy"))?,
            max_age: written
                .not_older_than
                .as_deref()
                .map(|text| age(text).map_err(|e| ReadError::new(format!("{path}.notOlderThan"), e)))
                .transpose()?,
            which: written.which,
            conditions: conditions.collect::<Result<_, _>>()?,
        })
    }
}

/// A time as people write it: `30d`, `12h`, `1m30s`. Days have 24 hours here.
///
/// # Errors
/// In words, what was expected.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("expected a time such as 30d or 12h, found \"{text}\"");
    let span: Span = text.parse().map_err(|_| wrong())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())
}

fn age(text: &str) -> Result<SignedDuration, String> {
    let wrong = |age| format!("expected a time that has passed, such as 30d or 12h, found {age:#}");
    duration(text).and_then(|age| if age.is_positive() { Ok(age) } else { Err(wrong(age)) })
}

fn check_kind(api_version: &str, kind: &str, expected: &str) -> Result<(), ReadError> {
    if api_version != API_VERSION {
        return Err(ReadError::new("apiVersion", format!("expected {API_VERSION}, found {api_version}")));
    }
    if kind != expected {
        return Err(ReadError::new("kind", format!("expected {expected}, found {kind}")));
    }
    Ok(())
}
