//! What a test of Kyverno says beside resources: values of variables, labels of namespaces, who asks.

use std::collections::BTreeMap;

use countersign_policy::{Document, ObjectName, Operation, Request, User};
use serde::Deserialize;
use serde_json::Value;

/// `variables`: a file of values, or `values` in the test itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Values {
    #[serde(default)]
    global_values: BTreeMap<String, Value>,
    #[serde(default)]
    policies: Vec<OfPolicy>,
    #[serde(default)]
    namespace_selector: Vec<Labels>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPolicy {
    name: String,
    #[serde(default)]
    rules: Vec<Named>,
    #[serde(default)]
    resources: Vec<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    #[serde(default)]
    values: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// `userinfo`: who asks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asking {
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    cluster_roles: Vec<String>,
    #[serde(default)]
    user_info: UserInfo,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserInfo {
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

impl From<Asking> for User {
    fn from(asking: Asking) -> Self {
        Self {
            name: asking.user_info.username,
            groups: asking.user_info.groups,
            roles: asking.roles,
            cluster_roles: asking.cluster_roles,
        }
    }
}

/// Entries of ConfigMaps.
pub(super) type Entries = Vec<(ObjectName, String, String)>;

impl Values {
    /// Labels by namespace.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, String>)> {
        self.namespace_selector.iter().map(|of| (&of.name, &of.labels))
    }

    /// Puts the values for a policy over a resource into a request, and gives the entries of ConfigMaps that they are.
    /// Later ones go before earlier ones: of all policies, of a rule, of a resource.
    ///
    /// # Errors
    /// In words, what has no place in a request.
    pub(super) fn put(
        &self,
        policy: &str,
        rule: Option<&str>,
        resource: &str,
        policies: &[Document],
        request: &mut Request,
    ) -> Result<Entries, String> {
        let of_policy = self.policies.iter().filter(|of| of.name == policy);
        let (mut of_rules, mut of_resources) = (Vec::new(), Vec::new());
        for of in of_policy {
            of_rules.extend(of.rules.iter().filter(|named| rule.is_none_or(|rule| named.name == rule)));
            of_resources.extend(of.resources.iter().filter(|named| named.name == resource));
        }
        let mut values = self.global_values.clone();
        for named in of_rules.into_iter().chain(of_resources) {
            values.extend(named.values.clone());
        }
        let mut entries = Vec::new();
        for (name, value) in &values {
            if !put_into_request(name, value, request)? {
                entries.push(entry(name, value, policy, policies)?);
            }
        }
        if request.operation == Operation::Delete && request.old_object.is_none() {
            request.old_object = Some(std::mem::take(&mut request.object));
        }
        Ok(entries)
    }
}

/// Puts a value into the place of a request that it is for; whether there is one.
fn put_into_request(name: &str, value: &Value, request: &mut Request) -> Result<bool, String> {
    let text = || value.as_str().ok_or_else(|| format!("{name}: expected a text, found {value}"));
    let list = || {
        let wrong = || format!("{name}: expected a list of texts, found {value}");
        let items = value.as_array().ok_or_else(wrong)?.iter();
        items.map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()
    };
    match name {
        "request.operation" => {
            request.operation = match text()? {
                "CREATE" => Operation::Create,
                "UPDATE" => Operation::Update,
                "DELETE" => Operation::Delete,
                "CONNECT" => Operation::Connect,
                other => {
                    return Err(format!("{name}: expected CREATE, UPDATE, DELETE or CONNECT, found {other}"));
                }
            }
        }
        "request.namespace" => text()?.clone_into(&mut request.namespace),
        "request.name" => text()?.clone_into(&mut request.name),
        "request.userInfo.username" => text()?.clone_into(&mut request.user.name),
        "request.userInfo.groups" => request.user.groups = list()?,
        "request.roles" => request.user.roles = list()?,
        "request.clusterRoles" => request.user.cluster_roles = list()?,
        "request.dryRun" => {
            request.dry_run =
                value.as_bool().ok_or_else(|| format!("{name}: expected true or false, found {value}"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The entry of the ConfigMap behind a name in a rule's context: `NAME.data.KEY`.
fn entry(
    name: &str,
    value: &Value,
    policy: &str,
    policies: &[Document],
) -> Result<(ObjectName, String, String), String> {
    let unknown = || {
        format!(
            "{name}: expected request.operation, request.namespace, request.userInfo.username and the like, or NAME.data.KEY of \
             a ConfigMap in the policy's context; what registries say of images they are asked"
        )
    };
    let (context, key) = name.split_once(".data.").ok_or_else(unknown)?;
    let own = policies.iter().filter(|document| {
        document.value.pointer("/metadata/name").and_then(Value::as_str)
            == Some(policy.rsplit_once('/').map_or(policy, |(_, name)| name))
    });
    let rules = own.flat_map(|document| {
        document.value.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten()
    });
    let contexts = rules.flat_map(|rule| rule.get("context").and_then(Value::as_array).into_iter().flatten());
    let found = contexts
        .filter(|entry| entry.get("name").and_then(Value::as_str) == Some(context))
        .find_map(|entry| entry.get("configMap"))
        .ok_or_else(unknown)?;
    let text = |field: &str| found.get(field).and_then(Value::as_str).unwrap_or_default();
    let namespace = if text("namespace").is_empty() { "default" } else { text("namespace") };
    if text("name").contains("{{") || namespace.contains("{{") {
        return Err(format!(
            "{name}: the ConfigMap's name has variables; put the ConfigMap among the resources"
        ));
    }
    let value = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let object = ObjectName { namespace: namespace.to_owned(), name: text("name").to_owned() };
    Ok((object, key.to_owned(), value))
}

/// Where two objects first differ, in words.
pub(super) fn difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            names.into_iter().find_map(|name| {
                let member = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                difference(&member(expected), &member(found), &format!("{path}.{name}"))
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => expected
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(index, (a, b))| difference(a, b, &format!("{path}[{index}]"))),
        _ if expected == found => None,
        _ => Some(format!("{}: expected {expected}, found {found}", path.trim_start_matches('.'))),
    }
}
