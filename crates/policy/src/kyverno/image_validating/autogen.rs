//! A policy for pods becomes one for what makes pods, as Kyverno does it: paths of pods replaced by those of templates.

use serde_json::{Value, json};

use super::schema::Spec;
use crate::read::ReadError;

/// The controllers, with the group of each.
const TEMPLATED: [(&str, &str); 5] = [
    ("daemonsets", "apps"),
    ("deployments", "apps"),
    ("jobs", "batch"),
    ("replicasets", "apps"),
    ("statefulsets", "apps"),
];
const CRON: (&str, &str) = ("cronjobs", "batch");

/// The specifications for what makes pods; none if the policy is about more than pods, or picks some by their own names
/// or labels.
///
/// # Errors
/// [`ReadError`]: a controller is named that does not exist.
pub(super) fn generated(spec: &Spec, written: &Value) -> Result<Vec<Value>, ReadError> {
    let all = || TEMPLATED.iter().chain([&CRON]).map(|(name, _)| (*name).to_owned()).collect();
    let wanted: Vec<String> = spec.autogen.pod_controllers.controllers.clone().unwrap_or_else(all);
    for (index, name) in wanted.iter().enumerate() {
        if *name != CRON.0 && !TEMPLATED.iter().any(|(known, _)| known == name) {
            let known = TEMPLATED.iter().chain([&CRON]).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(ReadError::new(
                format!("spec.autogen.podControllers.controllers[{index}]"),
                format!("expected one of {known}, found {name}"),
            ));
        }
    }
    if !can_be_generated(spec) {
        return Ok(Vec::new());
    }
    let named = |of: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
        of.iter().filter(|(name, _)| wanted.iter().any(|wanted| wanted == name)).copied().collect()
    };
    let kinds = [(named(&TEMPLATED), "spec.template"), (named(&[CRON]), "spec.jobTemplate.spec.template")];
    let made = kinds.into_iter().filter(|(targets, _)| !targets.is_empty());
    Ok(made.map(|(targets, template)| for_targets(written, &targets, template)).collect())
}

fn can_be_generated(spec: &Spec) -> bool {
    let constraints = &spec.match_constraints;
    let picks = constraints
        .object_selector
        .as_ref()
        .is_some_and(|selector| !selector.match_labels.is_empty() || !selector.match_expressions.is_empty());
    let [rule] = constraints.resource_rules.as_slice() else { return false };
    !picks
        && constraints.exclude_resource_rules.is_empty()
        && rule.resource_names.is_empty()
        && rule.api_groups == [""]
        && rule.api_versions == ["v1"]
        && rule.resources == ["pods"]
}

fn for_targets(written: &Value, targets: &[(&str, &str)], template: &str) -> Value {
    let mut spec = replaced(written, template);
    let operations =
        written.pointer("/matchConstraints/resourceRules/0/operations").cloned().unwrap_or_default();
    let rules = targets.iter().map(|(resource, group)| {
        json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": operations})
    });
    let mut constraints = json!({"resourceRules": rules.collect::<Vec<_>>()});
    if let (Some(selector), Value::Object(fields)) =
        (written.pointer("/matchConstraints/namespaceSelector"), &mut constraints)
    {
        fields.insert("namespaceSelector".into(), selector.clone());
    }
    if let Value::Object(fields) = &mut spec {
        fields.insert("matchConstraints".into(), constraints);
    }
    spec
}

/// Paths of pods in all texts. The namespace stays that of the object.
pub(in crate::kyverno) fn replaced(value: &Value, template: &str) -> Value {
    match value {
        Value::String(text) => {
            let text = replace(text, "spec", &format!("{template}.spec"));
            Value::String(replace(&text, "metadata", &format!("{template}.metadata")))
        }
        Value::Array(items) => items.iter().map(|item| replaced(item, template)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), replaced(field, template))).collect()
        }
        other => other.clone(),
    }
}

fn replace(text: &str, from: &str, to: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (pattern, object) = (format!("object.{from}"), "object.".len());
    let mut made = String::new();
    let mut done = 0;
    // Without regard to case, since `oldObject.` ends in it.
    for (at, _) in text.to_ascii_lowercase().match_indices(&pattern) {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + pattern.len()..).unwrap_or_default();
        let whole = !after.starts_with(is_name) && (!before.ends_with(is_name) || before.ends_with("old"));
        let of_namespace = after.strip_prefix(".namespace").is_some_and(|rest| !rest.starts_with(is_name));
        if whole && !of_namespace {
            made.push_str(text.get(done..at + object).unwrap_or_default());
            made.push_str(to);
            done = at + pattern.len();
        }
    }
    made.push_str(text.get(done..).unwrap_or_default());
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_pods_become_those_of_templates() {
        for (text, expected) in [
            ("object.spec.x", "object.spec.template.spec.x"),
            ("oldObject.metadata.labels", "oldObject.spec.template.metadata.labels"),
            ("object.metadata.namespace", "object.metadata.namespace"),
            ("object.metadata.namespaceFoo", "object.spec.template.metadata.namespaceFoo"),
            ("object.specific", "object.specific"),
            ("myobject.spec", "myobject.spec"),
            (
                "has(object.spec.a) && object.spec.b",
                "has(object.spec.template.spec.a) && object.spec.template.spec.b",
            ),
        ] {
            assert_eq!(replaced(&text.into(), "spec.template"), expected, "{text}");
        }
    }
}
