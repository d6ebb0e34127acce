//! `PolicyException`: rules that do not hold for some requests (`kyverno.io`), and policies that do not
//! (`policies.kyverno.io`, read in `image_validating`).
//!
//! Whose exceptions count is decided where policies are put together
//! ([`PolicySet::excepting`](crate::PolicySet::excepting)): by the namespace they are in, and by default nobody's.

use serde::Deserialize;
use serde_json::Value;

use super::conditions::Conditions;
use super::context::Context;
use super::image_validating::Excepted as ExceptedPolicies;
use super::matching::{Block, Matching, globs};
use crate::ask::{Ask, Stop};
use crate::pattern::Glob;
use crate::question::{CouldNot, CouldNotReason};
use crate::read::{ReadError, from_value};
use crate::request::Request;

/// The versions of the API in which exceptions are the same.
const VERSIONS: [&str; 2] = ["kyverno.io/v2", "kyverno.io/v2beta1"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    background: Option<bool>,
    #[serde(rename = "match")]
    matches: Block,
    conditions: Option<Conditions>,
    exceptions: Vec<Excepted>,
    pod_security: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Excepted {
    policy_name: String,
    rule_names: Vec<String>,
}

/// An exception, read and checked.
#[derive(Debug, Clone)]
pub struct PolicyException {
    namespace: String,
    name: String,
    of: Of,
}

/// From what.
#[derive(Debug, Clone)]
enum Of {
    Rules(Box<Rules>),
    Policies(Box<ExceptedPolicies>),
}

/// The rules of `kyverno.io`, and for which requests they do not hold.
#[derive(Debug, Clone)]
struct Rules {
    background: bool,
    matches: Matching,
    conditions: Option<Conditions>,
    /// Policies by name, of a namespace as `namespace/name`, each with patterns of its rules.
    excepted: Vec<(String, Vec<Glob>)>,
}

impl PolicyException {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if version.starts_with("policies.kyverno.io/") {
            let (namespace, name, excepted) = ExceptedPolicies::read(value)?;
            return Ok(Self { namespace, name, of: Of::Policies(Box::new(excepted)) });
        }
        let object: Object = from_value(value)?;
        if !VERSIONS.contains(&object.api_version.as_str()) || object.kind != "PolicyException" {
            let found = format!("{} {}", object.api_version, object.kind);
            return Err(ReadError::new(
                "kind",
                format!("expected kyverno.io/v2 PolicyException, found {found}"),
            ));
        }
        let spec = object.spec;
        if spec.pod_security.is_some() {
            return Err(ReadError::new(
                "spec.podSecurity",
                "expected exceptions from rules over images only",
            ));
        }
        let Some(matches) = Matching::read(&spec.matches, "spec.match")? else {
            return Err(ReadError::new("spec.match", "expected what is excepted, found nothing"));
        };
        if let Some(conditions) = &spec.conditions {
            conditions.check().map_err(|e| ReadError::new("spec.conditions", e.to_string()))?;
        }
        let mut excepted = Vec::new();
        for (index, of) in spec.exceptions.into_iter().enumerate() {
            let path = format!("spec.exceptions[{index}]");
            if of.policy_name.is_empty() || of.rule_names.is_empty() {
                return Err(ReadError::new(path, "expected the name of a policy and of its rules"));
            }
            excepted.push((of.policy_name, globs(&of.rule_names, &format!("{path}.ruleNames"))?));
        }
        if excepted.is_empty() {
            return Err(ReadError::new(
                "spec.exceptions",
                "expected at least one policy with its rules, found none",
            ));
        }
        let rules = Rules {
            background: spec.background.unwrap_or(true),
            matches,
            conditions: spec.conditions,
            excepted,
        };
        let Metadata { name, namespace } = object.metadata;
        Ok(Self { namespace, name, of: Of::Rules(Box::new(rules)) })
    }

    /// The namespace it is in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The policies that it is from, if it is one of `policies.kyverno.io`.
    pub(super) fn policies(&self) -> Option<&ExceptedPolicies> {
        match &self.of {
            Of::Policies(excepted) => Some(excepted),
            Of::Rules(_) => None,
        }
    }

    /// Whether a rule does not hold for a request. The policy is given as `name`, or `namespace/name`.
    ///
    /// # Errors
    /// [`Stop`]; then the rule holds as if there were no exception.
    pub fn applies(
        &self,
        policy: &str,
        rule: &str,
        request: &Request,
        context: &Context,
        ask: &Ask<'_>,
    ) -> Result<bool, Stop> {
        let Of::Rules(of) = &self.of else { return Ok(false) };
        let is_of = |(name, rules): &(String, Vec<Glob>)| {
            name == policy && rules.iter().any(|pattern| pattern.matches(rule))
        };
        if !of.excepted.iter().any(is_of) || (request.background && !of.background) {
            return Ok(false);
        }
        if !of.matches.matches(request, ask)? {
            return Ok(false);
        }
        of.conditions.as_ref().map_or(Ok(true), |conditions| {
            conditions
                .hold(context)
                .map(|outcome| outcome.holds)
                .map_err(|e| CouldNot::new(CouldNotReason::Unusable, e.to_string()).into())
        })
    }
}
