//! `PolicyException` of `policies.kyverno.io`: policies that do not hold for some requests, or for some images of them.
//!
//! Where an exception names images, a policy is excepted only if it is about no other image of the object. In Kyverno
//! the images say nothing in policies over images, and an exception with no conditions takes the whole policy away.

use serde::Deserialize;
use serde_json::Value;

use super::VERSIONS;
use super::expressions::{Place, compile};
use super::functions::Evaluation;
use super::schema::{Metadata, Named};
use crate::cel::{self, Halt, Program};
use crate::decision::{PolicyKind, PolicyName, Status};
use crate::pattern::Glob;
use crate::read::{ReadError, from_value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    policy_refs: Vec<PolicyRef>,
    #[serde(default)]
    match_conditions: Vec<Named>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    allowed_values: Vec<String>,
    #[serde(default)]
    report_result: ReportResult,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyRef {
    name: String,
    kind: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReportResult {
    #[default]
    Skip,
    Pass,
}

/// What is excepted, and when.
#[derive(Debug, Clone)]
pub(in crate::kyverno) struct Excepted {
    /// Kinds and names of policies.
    policies: Vec<(PolicyKind, String)>,
    conditions: Vec<Program>,
    images: Vec<Glob>,
    report: ReportResult,
}

impl Excepted {
    /// Reads an object: its namespace, its name, what it excepts.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::kyverno) fn read(value: &Value) -> Result<(String, String, Self), ReadError> {
        let object: Object = from_value(value)?;
        if !VERSIONS.contains(&object.api_version.as_str()) || object.kind != "PolicyException" {
            let found = format!("{} {}", object.api_version, object.kind);
            let message = format!("expected {} PolicyException, found {found}", VERSIONS.join(" or "));
            return Err(ReadError::new("kind", message));
        }
        let spec = object.spec;
        if !spec.allowed_values.is_empty() {
            let message = "expected matchConditions or images: policies over images have no values to allow";
            return Err(ReadError::new("spec.allowedValues", message));
        }
        if spec.policy_refs.is_empty() {
            return Err(ReadError::new("spec.policyRefs", "expected at least one policy, found none"));
        }
        if spec.match_conditions.is_empty() && spec.images.is_empty() {
            let message = "expected what is excepted, found nothing, which is everything; write the expression \"true\" if \
                           that is meant";
            return Err(ReadError::new("spec.matchConditions", message));
        }
        let mut policies = Vec::new();
        for (index, of) in spec.policy_refs.iter().enumerate() {
            let path = format!("spec.policyRefs[{index}]");
            let kind = match of.kind.as_str() {
                "ImageValidatingPolicy" => PolicyKind::ImageValidatingPolicy,
                "NamespacedImageValidatingPolicy" => PolicyKind::NamespacedImageValidatingPolicy,
                other => {
                    let message = format!(
                        "expected ImageValidatingPolicy or NamespacedImageValidatingPolicy, found {other}"
                    );
                    return Err(ReadError::new(format!("{path}.kind"), message));
                }
            };
            if of.name.is_empty() {
                return Err(ReadError::new(
                    format!("{path}.name"),
                    "expected the name of a policy, found none",
                ));
            }
            policies.push((kind, of.name.clone()));
        }
        let mut conditions = Vec::new();
        for (index, named) in spec.match_conditions.iter().enumerate() {
            let path = format!("spec.matchConditions[{index}].expression");
            conditions.push(compile(&named.expression, &path, Place::Request)?);
        }
        let mut images = Vec::new();
        for (index, text) in spec.images.iter().enumerate() {
            let glob = Glob::wildcard(text);
            images.push(glob.map_err(|e| ReadError::new(format!("spec.images[{index}]"), e.to_string()))?);
        }
        let Metadata { name, namespace, .. } = object.metadata;
        Ok((namespace, name, Self { policies, conditions, images, report: spec.report_result }))
    }

    /// Whether it is from this policy at all.
    pub(super) fn is_from(&self, policy: &PolicyName) -> bool {
        self.policies.iter().any(|(kind, name)| *kind == policy.kind && *name == policy.name)
    }

    /// Whether all of these images are excepted, and there is one. Without patterns every one is.
    pub(super) fn covers<'i>(&self, images: impl Iterator<Item = &'i str>) -> bool {
        let mut images = images.peekable();
        let excepted = |image: &str| self.images.iter().any(|pattern| pattern.matches(image));
        self.images.is_empty() || images.peek().is_some() && images.all(excepted)
    }

    /// Whether the conditions hold.
    ///
    /// # Errors
    /// [`Halt`]; then the policy holds as if there were no exception.
    pub(super) fn holds(&self, evaluation: &Evaluation<'_>) -> Result<bool, Halt> {
        for condition in &self.conditions {
            match evaluation.run(condition)? {
                cel::Value::Bool(true) => {}
                cel::Value::Bool(false) => return Ok(false),
                other => {
                    let problem = format!("expected true or false, found {}", other.kind()).into();
                    return Err(Halt { at: 0, problem });
                }
            }
        }
        Ok(true)
    }

    /// How what is excepted is written down.
    pub(super) const fn status(&self) -> Status {
        match self.report {
            ReportResult::Skip => Status::Skip,
            ReportResult::Pass => Status::Pass,
        }
    }
}
