//! `matchConstraints`: which requests a policy is about.

use super::schema::{MatchPolicy, MatchResources, OperationName, ResourceRule, Scope};
use crate::ask::{Ask, Stop};
use crate::kyverno::match_conditions::plural;
use crate::read::ReadError;
use crate::request::{CustomObject, Operation, Request, labels};

/// Checks constraints when a policy is read.
///
/// # Errors
/// [`ReadError`].
pub(super) fn check(of: &MatchResources, path: &str) -> Result<(), ReadError> {
    if of.resource_rules.is_empty() {
        let message = "expected at least one rule of what the policy is about, found none";
        return Err(ReadError::new(format!("{path}.resourceRules"), message));
    }
    for (list, rules) in
        [("resourceRules", &of.resource_rules), ("excludeResourceRules", &of.exclude_resource_rules)]
    {
        for (index, rule) in rules.iter().enumerate() {
            let empty = [
                ("apiGroups", rule.api_groups.is_empty()),
                ("apiVersions", rule.api_versions.is_empty()),
                ("resources", rule.resources.is_empty()),
                ("operations", rule.operations.is_empty()),
            ];
            if let Some((field, _)) = empty.into_iter().find(|(_, empty)| *empty) {
                let message = "expected at least one, found none: the rule would be about nothing";
                return Err(ReadError::new(format!("{path}.{list}[{index}].{field}"), message));
            }
        }
    }
    for (field, selector) in
        [("namespaceSelector", &of.namespace_selector), ("objectSelector", &of.object_selector)]
    {
        if let Some(selector) = selector {
            selector.check().map_err(|e| ReadError::new(format!("{path}.{field}"), e))?;
        }
    }
    Ok(())
}

/// Whether a request is meant.
///
/// # Errors
/// [`Stop`]: the labels of the namespace are not known. That is not "no".
pub(super) fn matches(of: &MatchResources, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
    let equivalent = of.match_policy == MatchPolicy::Equivalent;
    let meant = of.resource_rules.iter().any(|rule| rule_matches(rule, request, equivalent, true));
    let excluded =
        of.exclude_resource_rules.iter().any(|rule| rule_matches(rule, request, equivalent, false));
    if !meant || excluded {
        return Ok(false);
    }
    if let Some(selector) = &of.object_selector {
        let objects = std::iter::once(&request.object).chain(&request.old_object);
        if !objects.into_iter().any(|object| selector.matches(&labels(object))) {
            return Ok(false);
        }
    }
    match &of.namespace_selector {
        None => Ok(true),
        Some(selector) if request.kind.kind == "Namespace" => Ok(selector.matches(&labels(&request.object))),
        // As in Kubernetes: what is in no namespace is not kept out by a selector of namespaces.
        Some(_) if request.namespace.is_empty() => Ok(true),
        Some(selector) => Ok(selector.matches(&*ask.namespace_labels(&request.namespace)?)),
    }
}

/// The objects that constraints name and that are no workloads. What they name by `*` is whatever else is sent.
pub(super) fn custom_objects(of: &MatchResources) -> Vec<CustomObject> {
    const WORKLOADS: [&str; 9] = [
        "pods",
        "deployments",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "jobs",
        "cronjobs",
        "replicationcontrollers",
        "podtemplates",
    ];
    let mut found = Vec::new();
    for rule in &of.resource_rules {
        for resource in &rule.resources {
            let plain = resource.split('/').next().unwrap_or_default();
            if plain == "*" || WORKLOADS.contains(&plain) {
                continue;
            }
            let named =
                |group: &String| CustomObject::Resource { group: group.clone(), resource: resource.clone() };
            found.extend(rule.api_groups.iter().map(named));
        }
    }
    found
}

/// Whether a rule is about a request. `wide` rules about pods are about containers that are put into them as well.
fn rule_matches(rule: &ResourceRule, request: &Request, equivalent: bool, wide: bool) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|found| found == "*" || found == wanted);
    let operation = match request.operation {
        Operation::Create => OperationName::Create,
        Operation::Update => OperationName::Update,
        Operation::Delete => OperationName::Delete,
        Operation::Connect => OperationName::Connect,
    };
    let scope = match rule.scope {
        Scope::Any => true,
        Scope::Namespaced => !request.namespace.is_empty() && request.kind.kind != "Namespace",
        Scope::Cluster => request.namespace.is_empty() || request.kind.kind == "Namespace",
    };
    scope
        && (rule.operations.contains(&operation) || rule.operations.contains(&OperationName::Any))
        && has(&rule.api_groups, &request.kind.group)
        && (equivalent || has(&rule.api_versions, &request.kind.version))
        && (rule.resource_names.is_empty() || rule.resource_names.contains(&request.name))
        && rule.resources.iter().any(|resource| resource_matches(resource, request, wide))
}

fn resource_matches(wanted: &str, request: &Request, wide: bool) -> bool {
    let plural = plural(&request.kind.kind);
    let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
    let same = resource == "*" || resource == plural;
    let into_pod = wide && request.subresource == "ephemeralcontainers" && subresource.is_empty();
    same && (subresource == request.subresource || subresource == "*" || into_pod)
}
