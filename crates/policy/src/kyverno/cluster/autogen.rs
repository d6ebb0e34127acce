//! Rules for pods become rules for what makes pods, as Kyverno does it: with the paths of pods replaced by those of the
//! templates.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kyverno::image_validating;

/// The annotation that says for which kinds.
const ANNOTATION: &str = "pod-policies.kyverno.io/autogen-controllers";
/// The kinds of which the template lies at `spec.template`.
const TEMPLATED: [&str; 6] =
    ["DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"];
/// The longest name of a rule.
const MAX_NAME: usize = 63;

/// The rules that are made of those for pods. Rules are taken as they are written, since paths stand anywhere in them.
pub(super) fn generated(rules: &[Value], annotations: &BTreeMap<String, String>) -> Vec<Value> {
    let kinds: Vec<&str> = match annotations.get(ANNOTATION).map(String::as_str) {
        Some("none") => return Vec::new(),
        None | Some("") => TEMPLATED.iter().copied().chain(["CronJob"]).collect(),
        Some(list) => list.split(',').map(str::trim).collect(),
    };
    if !rules.iter().all(can_be_generated) {
        return Vec::new();
    }
    let templated: Vec<&str> = kinds.iter().copied().filter(|kind| TEMPLATED.contains(kind)).collect();
    let mut made = Vec::new();
    for rule in rules.iter().filter(|rule| is_for_pods(rule)) {
        if !templated.is_empty() {
            made.push(of_rule(rule, "autogen", &templated, "spec.template"));
        }
        if kinds.contains(&"CronJob") {
            made.push(of_rule(rule, "autogen-cronjob", &["CronJob"], "spec.jobTemplate.spec.template"));
        }
    }
    made
}

/// The resources of `match` and `exclude`.
fn resources(rule: &Value) -> impl Iterator<Item = &Value> {
    ["match", "exclude"].into_iter().filter_map(|block| rule.get(block)).flat_map(|block| {
        let lists = ["any", "all"].into_iter().filter_map(|list| block.get(list)?.as_array()).flatten();
        lists.chain([block]).filter_map(|filter| filter.get("resources"))
    })
}

fn kinds(resources: &Value) -> Vec<&str> {
    let kinds = resources.get("kinds").and_then(Value::as_array);
    kinds.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_pod(kind: &str) -> bool {
    matches!(kind, "Pod" | "v1/Pod" | "*/Pod")
}

/// What is selected by the pod's own name or labels, or beside pods, says nothing of templates.
fn can_be_generated(rule: &Value) -> bool {
    let given = |resources: &Value, field: &str| {
        resources
            .get(field)
            .is_some_and(|value| !matches!(value, Value::Null) && *value != json!([]) && *value != json!(""))
    };
    rule.get("generate").is_none_or(|generate| generate.is_null() || *generate == json!({}))
        && resources(rule).all(|resources| {
            let selected =
                ["name", "names", "selector", "annotations"].iter().any(|field| given(resources, field));
            let kinds = kinds(resources);
            let mixed = kinds.len() > 1 && kinds.iter().any(|kind| is_pod(kind));
            !(selected || mixed)
        })
}

fn is_for_pods(rule: &Value) -> bool {
    let block = rule.get("match");
    let own = json!({"match": block});
    resources(&own).any(|resources| kinds(resources).iter().any(|kind| is_pod(kind)))
}

fn of_rule(rule: &Value, prefix: &str, kinds: &[&str], template: &str) -> Value {
    let mut made = replace(rule, template);
    if let Some(name) = made.get_mut("name") {
        let made: String =
            format!("{prefix}-{}", name.as_str().unwrap_or_default()).chars().take(MAX_NAME).collect();
        *name = made.trim_end_matches('-').into();
    }
    for block in ["match", "exclude"] {
        if let Some(block) = made.get_mut(block) {
            for_controllers(block, kinds);
        }
    }
    if let (Some(made), Some(written)) = (made.get_mut("celPreconditions"), rule.get("celPreconditions")) {
        *made = image_validating::in_template(written, template);
    }
    let wrap =
        |pattern: &Value| template.rsplit('.').fold(pattern.clone(), |inner, field| json!({ field: inner }));
    if let Some(Value::Object(validate)) = made.get_mut("validate") {
        if let Some(pattern) = validate.get_mut("pattern") {
            *pattern = wrap(pattern);
        }
        if let Some(Value::Array(patterns)) = validate.get_mut("anyPattern") {
            patterns.iter_mut().for_each(|pattern| *pattern = wrap(pattern));
        }
    }
    if let Some(Value::Array(each)) = made.pointer_mut("/mutate/foreach") {
        for patch in each.iter_mut().filter_map(|each| each.get_mut("patchStrategicMerge")) {
            *patch = wrap(patch);
        }
    }
    made
}

/// Pods become these kinds.
fn for_controllers(block: &mut Value, controllers: &[&str]) {
    let of_pods = |resources: &mut Value| {
        let is_for_pods = kinds(resources).iter().any(|kind| is_pod(kind));
        if let Some(kinds) = resources.get_mut("kinds").filter(|_| is_for_pods) {
            *kinds = controllers.into();
        }
    };
    for list in ["any", "all"] {
        if let Some(Value::Array(filters)) = block.get_mut(list) {
            filters.iter_mut().filter_map(|filter| filter.get_mut("resources")).for_each(of_pods);
        }
    }
    if let Some(resources) = block.get_mut("resources") {
        of_pods(resources);
    }
}

/// Paths of pods in all texts.
fn replace(value: &Value, template: &str) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for object in ["request.object", "request.oldObject"] {
                for part in ["spec", "metadata"] {
                    text = text.replace(&format!("{object}.{part}"), &format!("{object}.{template}.{part}"));
                }
            }
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(|item| replace(item, template)).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, field)| (name.clone(), replace(field, template))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resources: &Value) -> Value {
        json!({"name": "r", "match": {"any": [{"resources": resources}]},
            "preconditions": {"all": [{"key": "{{ request.object.spec.x }}{{ request.object.metadata.y }}"}]},
            "validate": {"pattern": {"spec": {"a": "b"}}}})
    }

    fn names(rules: &[Value], annotation: Option<&str>) -> Vec<String> {
        let annotations =
            annotation.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
        generated(rules, &annotations).iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn rules_for_pods_are_rules_for_templates() {
        let made = generated(&[rule(&json!({"kinds": ["Pod"]}))], &BTreeMap::new());
        let [all, cron] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!(all["name"], "autogen-r");
        assert_eq!(all["match"]["any"][0]["resources"]["kinds"], json!(TEMPLATED));
        assert_eq!(
            all["preconditions"]["all"][0]["key"],
            "{{ request.object.spec.template.spec.x }}{{ request.object.spec.template.metadata.y }}"
        );
        assert_eq!(all["validate"]["pattern"], json!({"spec": {"template": {"spec": {"a": "b"}}}}));
        assert_eq!(cron["name"], "autogen-cronjob-r");
        assert_eq!(
            cron["validate"]["pattern"],
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"a": "b"}}}}}})
        );
    }

    #[test]
    fn the_annotation_and_what_selects_pods_themselves_decide() {
        let pods = || rule(&json!({"kinds": ["Pod"]}));
        assert_eq!(names(&[pods()], Some("none")), [""; 0]);
        assert_eq!(names(&[pods()], Some("Deployment,CronJob")), ["autogen-r", "autogen-cronjob-r"]);
        assert_eq!(names(&[pods()], Some("CronJob")), ["autogen-cronjob-r"]);
        for (field, value) in [
            ("name", json!("x")),
            ("names", json!(["x"])),
            ("selector", json!({"matchLabels": {"a": "b"}})),
            ("annotations", json!({"a": "b"})),
            ("kinds", json!(["Pod", "Deployment"])),
        ] {
            let mut resources = json!({"kinds": ["Pod"]});
            resources[field] = value;
            assert_eq!(names(&[pods(), rule(&resources)], None), [""; 0], "{field}");
        }
        assert_eq!(names(&[rule(&json!({"kinds": ["Deployment"]}))], None), [""; 0]);
        let both = [pods(), rule(&json!({"kinds": ["Task"]}))];
        assert_eq!(names(&both, None), ["autogen-r", "autogen-cronjob-r"]);
    }
}
