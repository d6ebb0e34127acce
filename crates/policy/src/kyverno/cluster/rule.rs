//! One rule: which requests it is about, what it sees, and what it asks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::context::{Names, check_conditions};
use super::entry::{Written, access};
use super::extract::Extractors;
use super::pin::Pinning;
use super::schema::{self, FailureAction, Override};
use super::validate::Check;
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::kyverno::conditions::Conditions;
use crate::kyverno::match_conditions::MatchConditions;
use crate::kyverno::matching::{Matching, globs, namespace};
use crate::kyverno::selector::LabelSelector;
use crate::lint::Lint;
use crate::pattern::Glob;
use crate::read::{ReadError, from_value};
use crate::request::Request;

/// The longest name of a rule.
const MAX_NAME: usize = 63;

/// A rule, ready for use.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    matches: Matching,
    exclude: Option<Matching>,
    pub(super) names: Names,
    pub(super) preconditions: Option<Conditions>,
    pub(super) cel_preconditions: MatchConditions,
    pub(super) extractors: Extractors,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) body: Body,
    /// What to do when the rule as a whole does not hold, or cannot be checked.
    pub(super) actions: Actions,
    /// What registries may be asked with.
    pub(super) access: Access,
}

/// What a rule asks.
#[derive(Debug)]
pub(super) enum Body {
    /// Signatures and attestations.
    Verify(Vec<Written>),
    /// What an object looks like.
    Validate {
        /// What is asked.
        check: Check,
        /// Whether what was so before may stay so.
        allows_existing: bool,
    },
    /// Images pinned to their digests.
    Pin(Pinning),
}

impl Body {
    /// The action of the entries: to enforce, if one does; to audit, if all do.
    fn strictest(&self) -> Option<FailureAction> {
        let Self::Verify(entries) = self else { return None };
        if entries.iter().any(|entry| entry.action() == Some(FailureAction::Enforce)) {
            return Some(FailureAction::Enforce);
        }
        let all_audit = entries.iter().all(|entry| entry.action() == Some(FailureAction::Audit));
        all_audit.then_some(FailureAction::Audit)
    }
}

/// What to do when a rule does not hold: for some namespaces, and else.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions {
    overrides: Vec<ActionIn>,
    otherwise: Option<FailureAction>,
}

#[derive(Debug, Clone)]
struct ActionIn {
    action: FailureAction,
    namespaces: Vec<Glob>,
    selector: Option<LabelSelector>,
}

impl Actions {
    /// Reads the overrides and the action.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        overrides: &[Override],
        otherwise: Option<FailureAction>,
        path: &str,
    ) -> Result<Self, ReadError> {
        let mut read = Vec::new();
        for (index, written) in overrides.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if written.namespaces.is_empty() && written.namespace_selector.is_none() {
                return Err(ReadError::new(path, "expected namespaces or namespaceSelector, found neither"));
            }
            if let Some(selector) = &written.namespace_selector {
                selector.check().map_err(|e| ReadError::new(format!("{path}.namespaceSelector"), e))?;
            }
            read.push(ActionIn {
                action: written.action,
                namespaces: globs(&written.namespaces, &format!("{path}.namespaces"))?,
                selector: written.namespace_selector.clone(),
            });
        }
        Ok(Self { overrides: read, otherwise })
    }

    /// The action for a request, if one is given. Labels that are not known leave the stricter action.
    ///
    /// # Errors
    /// [`Stop::Open`].
    pub(super) fn of(&self, request: &Request, ask: &Ask<'_>) -> Result<Option<FailureAction>, Stop> {
        let namespace = namespace(request);
        for of in &self.overrides {
            if !of.namespaces.is_empty() && !of.namespaces.iter().any(|glob| glob.matches(namespace)) {
                continue;
            }
            let Some(selector) = &of.selector else { return Ok(Some(of.action)) };
            match ask.namespace_labels(namespace) {
                Ok(labels) if selector.matches(&labels) => return Ok(Some(of.action)),
                Ok(_) => {}
                Err(Stop::CouldNot(_)) => return Ok(Some(FailureAction::Enforce)),
                Err(Stop::Open) => return Err(Stop::Open),
            }
        }
        Ok(self.otherwise)
    }
}

impl Rule {
    /// Reads a rule of a policy in this namespace.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        value: &Value,
        namespace: &str,
        path: &str,
        lints: &mut Vec<Lint>,
    ) -> Result<Self, ReadError> {
        let written: schema::Rule = from_value(&without_empty(value)).map_err(|e| e.within(path))?;
        let at = |field: &str| format!("{path}.{field}");
        if written.name.is_empty() || written.name.len() > MAX_NAME {
            return Err(ReadError::new(at("name"), format!("expected a name of 1 to {MAX_NAME} characters")));
        }
        let cel_preconditions = MatchConditions::read(&written.cel_preconditions, &at("celPreconditions"))?;
        if !cel_preconditions.is_empty() {
            let message = "the rule is about requests for which these hold; Kyverno looks at them in rules with validate.cel \
                           alone";
            lints.push(Lint::new(at("celPreconditions"), "cel_preconditions_hold", message));
        }
        let Some(matches) = Matching::read(&written.matches, &at("match"))? else {
            return Err(ReadError::new(at("match"), "expected any, all or resources, found nothing"));
        };
        let exclude = match &written.exclude {
            Some(block) => Matching::read(block, &at("exclude"))?,
            None => None,
        };
        let extractors = Extractors::read(&written.image_extractors, &at("imageExtractors"))?;
        let body = body(&written, &extractors, namespace, path, lints)?;
        let actions = match &written.validate {
            Some(validate) => {
                let path = at("validate.failureActionOverrides");
                Actions::read(&validate.failure_action_overrides, validate.failure_action, &path)?
            }
            None => Actions { overrides: Vec::new(), otherwise: body.strictest() },
        };
        let mut allowed = Access::default();
        if let Body::Verify(entries) = &body {
            for entry in entries {
                allowed.extend(&entry.access()?);
            }
        }
        for entry in contexts(&written) {
            let Some(image) = &entry.image_registry else { continue };
            let Some(given) = &image.image_registry_credentials else { continue };
            allowed.extend(&access(given, namespace, &at("context.imageRegistry.imageRegistryCredentials"))?);
        }
        if let Some(conditions) = &written.preconditions {
            check_conditions(conditions, &at("preconditions"))?;
        }
        Ok(Self {
            name: written.name,
            matches,
            exclude,
            names: Names::read(&written.context, namespace, &at("context"))?,
            preconditions: written.preconditions,
            cel_preconditions,
            extractors,
            properties: written.report_properties,
            actions,
            body,
            access: allowed,
        })
    }

    /// Whether the rule is about a request.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn is_about(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        Ok(self.matches.matches(request, ask)?
            && !self.exclude.as_ref().map_or(Ok(false), |exclude| exclude.matches(request, ask))?)
    }
}

/// All names of a rule's contexts, however deep its lists nest.
fn contexts(rule: &schema::Rule) -> Vec<&schema::ContextEntry> {
    let mut found: Vec<&schema::ContextEntry> = rule.context.iter().collect();
    let lists = rule.validate.iter().map(|validate| &validate.foreach);
    let mut lists: Vec<_> = lists.chain(rule.mutate.iter().map(|mutate| &mutate.foreach)).collect();
    while let Some(list) = lists.pop() {
        for each in list {
            found.extend(&each.context);
            lists.push(&each.foreach);
        }
    }
    found
}

/// The rule without the kinds of rules that it is not, which older versions of Kyverno write as empty objects.
fn without_empty(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Value::Object(fields) = &mut rule {
        let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
        fields.retain(|name, value| {
            !(matches!(name.as_str(), "validate" | "mutate" | "generate") && empty(value))
        });
    }
    rule
}

/// What the rule asks: one thing.
fn body(
    written: &schema::Rule,
    extractors: &Extractors,
    namespace: &str,
    path: &str,
    lints: &mut Vec<Lint>,
) -> Result<Body, ReadError> {
    let at = |field: &str| format!("{path}.{field}");
    if written.generate.is_some() {
        return Err(ReadError::new(at("generate"), "expected rules over images; objects are not made here"));
    }
    match (written.verify_images.as_slice(), &written.validate, &written.mutate) {
        (entries @ [_, ..], None, None) => {
            let read = |(index, entry)| {
                Written::read(entry, namespace, &at(&format!("verifyImages[{index}]")), lints)
            };
            let entries: Vec<Written> = entries.iter().enumerate().map(read).collect::<Result<_, _>>()?;
            if extractors.change_names() && entries.iter().any(Written::pins) {
                let message = "expected mutateDigest: false beside an image extractor with jmesPath: what is written \
                               there is not the image's name";
                return Err(ReadError::new(at("imageExtractors"), message));
            }
            Ok(Body::Verify(entries))
        }
        ([], Some(validate), None) => Ok(Body::Validate {
            check: Check::read(validate, namespace, &at("validate"))?,
            allows_existing: validate.allow_existing_violations,
        }),
        ([], None, Some(mutate)) => Ok(Body::Pin(Pinning::read(mutate, namespace, &at("mutate"))?)),
        _ => Err(ReadError::new(path, "expected one of verifyImages, validate and mutate, and only one")),
    }
}
