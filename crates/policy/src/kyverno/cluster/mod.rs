//! `ClusterPolicy` and `Policy`: `verifyImages`, and the rules over images that are written with `validate`.
//!
//! | file | subject |
//! |---|---|
//! | `schema/` | the objects as they are written |
//! | `autogen` | rules for pods become rules for what makes pods |
//! | `rule` | one rule: what it is about, what it asks |
//! | `context`, `extract` | what expressions see; the images of an object |
//! | `references`, `attestors`, `entry`, `verify` | `verifyImages`: which images, who, read, judged |
//! | `validate`, `overlay` | `validate`: lists, conditions; patterns over objects |
//! | `shared` | what the other language of Kyverno has in common with this one |
//! | `pin` | `mutate`, as far as it pins images |
//! | `evaluate` | a policy over a request |
//! | `convert` | a policy in our own language |
//!
//! # Where this differs from Kyverno
//! - Image volumes are images, and what an extractor finds adds to the containers of a pod.
//! - Nothing is believed because an annotation says so. An image that was there before a change is not judged again.
//! - What could not be checked under an `Audit` rule is told and refuses nothing; Kyverno refuses it with
//!   `failurePolicy: Fail`.
//! - A predicate does not take the place of the request's names.
//! - A policy of a namespace reads ConfigMaps and Secrets of that namespace only, and no key services; what it says of
//!   registries holds there only.
//! - What is not there fits no pattern under `^(…)`.
//! - What is read more strictly in one policy is told by [`Policy::lints`](crate::Policy::lints).

mod attestors;
mod autogen;
mod context;
mod convert;
mod entry;
mod evaluate;
mod extract;
mod overlay;
mod pin;
mod references;
mod rule;
mod schema;
pub(super) mod shared;
mod validate;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub(crate) use self::convert::convert;
pub(super) use self::convert::{images as patterns, no_time_of_its_own};
pub(crate) use self::extract::Extractors;
use self::rule::{Actions, Body, Rule};
use self::schema::{ApplyRules, FailureAction, FailurePolicy, Object};
use crate::access::Access;
use crate::decision::{PolicyKind, PolicyName};
use crate::kyverno::match_conditions::MatchConditions;
use crate::kyverno::object::timeout;
use crate::lint::Lint;
use crate::read::{ReadError, from_value};

/// The versions of the API in which these policies are the same.
const VERSIONS: [&str; 2] = ["kyverno.io/v1", "kyverno.io/v2beta1"];
/// The most rules of a policy, as they are written.
const MAX_RULES: usize = 256;

/// A `ClusterPolicy` or `Policy`, read and checked.
#[derive(Debug)]
pub struct ClusterPolicy {
    name: PolicyName,
    /// Of the requests that the webhook would be asked about.
    conditions: MatchConditions,
    rules: Vec<Rule>,
    actions: Actions,
    fail_closed: bool,
    /// Whether the first rule that says something is the last.
    only_first: bool,
    background: bool,
    admission: bool,
    emit_warning: bool,
    /// How long the API server is to wait for an answer, if the policy says.
    timeout: Option<Duration>,
    /// Severity and category.
    properties: BTreeMap<String, String>,
    lints: Vec<Lint>,
}

impl ClusterPolicy {
    /// Reads an object, with the API server's defaults where it says nothing.
    ///
    /// # Errors
    /// [`ReadError`], naming the field.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let object: Object = from_value(value)?;
        let name = name_of(&object)?;
        let spec = &object.spec;
        let webhook = spec.webhook_configuration.as_ref();
        let conditions = webhook.map_or(&[][..], |webhook| webhook.match_conditions.as_slice());
        let conditions = MatchConditions::read(conditions, "spec.webhookConfiguration.matchConditions")?;
        let seconds = webhook.and_then(|webhook| webhook.timeout_seconds).or(spec.webhook_timeout_seconds);
        let timeout_seconds = timeout(seconds, "spec.webhookTimeoutSeconds")?;
        let failure = webhook.and_then(|webhook| webhook.failure_policy).or(spec.failure_policy);
        let mut lints = Vec::new();
        let rules = rules(&object, &name, &mut lints)?;
        if spec.validation_failure_action == FailureAction::Audit {
            lints.extend(pins_under_audit(&rules));
        }
        Ok(Self {
            conditions,
            rules,
            actions: Actions::read(
                &spec.validation_failure_action_overrides,
                Some(spec.validation_failure_action),
                "spec.validationFailureActionOverrides",
            )?,
            fail_closed: failure != Some(FailurePolicy::Ignore),
            only_first: spec.apply_rules == ApplyRules::One,
            background: spec.background,
            admission: spec.admission,
            emit_warning: spec.emit_warning,
            timeout: timeout_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            properties: object.metadata.properties(),
            lints,
            name,
        })
    }

    /// What registries may be asked with on behalf of its rules.
    fn rules_access(&self) -> Access {
        let mut access = Access::default();
        self.rules.iter().for_each(|rule| access.extend(&rule.access));
        access
    }
}

fn name_of(object: &Object) -> Result<PolicyName, ReadError> {
    if !VERSIONS.contains(&object.api_version.as_str()) {
        let message = format!("expected {}, found {}", VERSIONS.join(" or "), object.api_version);
        return Err(ReadError::new("apiVersion", message));
    }
    let metadata = &object.metadata;
    let (kind, namespace) = match object.kind.as_str() {
        // Whatever stands there, one of the cluster is in no namespace.
        "ClusterPolicy" => (PolicyKind::KyvernoClusterPolicy, String::new()),
        "Policy" if metadata.namespace.is_empty() => (PolicyKind::KyvernoPolicy, "default".to_owned()),
        "Policy" => (PolicyKind::KyvernoPolicy, metadata.namespace.clone()),
        other => {
            return Err(ReadError::new("kind", format!("expected ClusterPolicy or Policy, found {other}")));
        }
    };
    if metadata.name.is_empty() {
        return Err(ReadError::new("metadata.name", "expected a name, found none"));
    }
    Ok(PolicyName { kind, namespace, name: metadata.name.clone() })
}

/// The rules as they are written, and those that are made of them.
fn rules(object: &Object, policy: &PolicyName, lints: &mut Vec<Lint>) -> Result<Vec<Rule>, ReadError> {
    let namespace = &policy.namespace;
    let written = &object.spec.rules;
    if written.is_empty() || written.len() > MAX_RULES {
        let message = format!("expected 1 to {MAX_RULES} rules, found {}", written.len());
        return Err(ReadError::new("spec.rules", message));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (index, rule) in written.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        let rule = Rule::read(rule, namespace, &path, lints)?;
        if rules.iter().any(|other| other.name == rule.name) {
            let message = format!("expected a name of its own, found \"{}\" again", rule.name);
            return Err(ReadError::new(format!("{path}.name"), message));
        }
        rules.push(rule);
    }
    for rule in autogen::generated(written, &object.metadata.annotations) {
        // Their lints are those of the rules that they are made of.
        rules.push(Rule::read(&rule, namespace, "spec.rules[generated]", &mut Vec::new())?);
    }
    Ok(rules)
}

fn pins_under_audit(rules: &[Rule]) -> Option<Lint> {
    let pins = rules.iter().any(|rule| match &rule.body {
        Body::Verify(entries) => entries.iter().any(|entry| entry.pins()),
        Body::Validate { .. } | Body::Pin(_) => false,
    });
    pins.then(|| {
        Lint::new(
            "spec.validationFailureAction",
            "audit_pins",
            "an image that passes is pinned to its digest under Audit too; write mutateDigest: false to leave objects as \
             they are, as newer versions of Kyverno demand",
        )
    })
}
