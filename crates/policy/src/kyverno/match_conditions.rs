//! Conditions in CEL over a request: `matchConditions` of webhooks and policies, `celPreconditions` of rules. And the
//! request as CEL sees it, for all that is written in CEL.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::ask::{Ask, Stop};
use crate::cel::{self, CelError, Host, Problem, Program, Variables};
use crate::kyverno::jmespath::Budget;
use crate::question::{CouldNot, CouldNotReason};
use crate::read::ReadError;
use crate::request::Request;

/// What a condition may speak of.
const NAMES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];
/// The most conditions of a list, as Kubernetes has it.
const MAX_CONDITIONS: usize = 64;

/// A condition, a variable or an extractor as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) expression: String,
}

/// Conditions, all of which must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct MatchConditions(Vec<(String, Program)>);

impl MatchConditions {
    /// Reads a list of conditions.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(list: &[Named], path: &str) -> Result<Self, ReadError> {
        if list.len() > MAX_CONDITIONS {
            let message = format!("expected at most {MAX_CONDITIONS} conditions, found {}", list.len());
            return Err(ReadError::new(path, message));
        }
        let mut conditions: Vec<(String, Program)> = Vec::new();
        for (index, named) in list.iter().enumerate() {
            let at = |field: &str| format!("{path}[{index}].{field}");
            if named.name.is_empty() || conditions.iter().any(|(name, _)| *name == named.name) {
                let message = format!("expected a name of its own, found \"{}\"", named.name);
                return Err(ReadError::new(at("name"), message));
            }
            let program = Program::compile(&named.expression)
                .map_err(|error| ReadError::new(at("expression"), error.to_string()))?;
            if let Some(other) = program.names().into_iter().find(|name| !NAMES.contains(name)) {
                let hint = match other {
                    "authorizer" => ": nobody is asked what a user may do; name users in request.userInfo",
                    _ => "",
                };
                let message = format!("expected one of {}, found \"{other}\"{hint}", NAMES.join(", "));
                return Err(ReadError::new(at("expression"), message));
            }
            conditions.push((named.name.clone(), program));
        }
        Ok(Self(conditions))
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. As in Kubernetes one that does not is the answer, whatever cannot be told of the others. Where
    /// what is there is looked over nobody asks, so that what speaks of the request says nothing.
    ///
    /// # Errors
    /// [`Stop`]: whether one holds cannot be told. That is not "no".
    pub(super) fn hold(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        if self.is_empty() {
            return Ok(true);
        }
        let variables = seen(request, ask.now());
        let host = OfRequest { request, ask };
        let mut stopped = None;
        for (name, program) in &self.0 {
            if request.background && program.names().contains("request") {
                continue;
            }
            let stop = match program.run(&variables, &host, &Budget::default()) {
                Ok(cel::Value::Bool(true)) => continue,
                Ok(cel::Value::Bool(false)) => return Ok(false),
                Ok(other) => unusable(name, &format!("expected true or false, found {}", other.kind())),
                Err(halt) => match halt.problem {
                    Problem::Stop(stop) => stop,
                    _ => unusable(name, &CelError::from(halt).to_string()),
                },
            };
            if stopped.is_none() || stop == Stop::Open {
                stopped = Some(stop);
            }
        }
        stopped.map_or(Ok(true), Err)
    }
}

fn unusable(name: &str, text: &str) -> Stop {
    CouldNot::new(CouldNotReason::Unusable, format!("the condition {name}: {text}")).into()
}

/// What is asked for while a condition is evaluated.
struct OfRequest<'a> {
    request: &'a Request,
    ask: &'a Ask<'a>,
}

impl Host for OfRequest<'_> {
    fn functions(&self) -> &'static [(&'static str, usize)] {
        &[]
    }

    fn call(&self, name: &str, _: &[cel::Value]) -> Result<cel::Value, Problem> {
        Err(format!("there is no function {name}()").into())
    }

    fn member(&self, of: &str, name: &str) -> Option<Result<cel::Value, Problem>> {
        (of == "namespaceObject").then(|| namespace_member(name, self.request, self.ask))
    }
}

/// A member of the request's namespace: what is known of it.
///
/// # Errors
/// [`Problem`].
pub(super) fn namespace_member(name: &str, request: &Request, ask: &Ask<'_>) -> Result<cel::Value, Problem> {
    if name != "metadata" {
        return Err(format!("only metadata is known of a namespace, not {name}").into());
    }
    let labels = ask.namespace_labels(&request.namespace)?;
    Ok(cel::Value::from_json(&json!({"name": request.namespace, "labels": *labels})))
}

/// The request as expressions see it.
pub(super) fn seen(request: &Request, now: Timestamp) -> Variables {
    let (kind, user) = (&request.kind, &request.user);
    let group_version_kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = json!({"group": kind.group, "version": kind.version, "resource": plural(&kind.kind)});
    let described = json!({
        "kind": group_version_kind,
        "resource": resource,
        "subResource": request.subresource,
        "requestKind": group_version_kind,
        "requestResource": resource,
        "requestSubResource": request.subresource,
        "name": request.name,
        "namespace": request.namespace,
        "operation": request.operation.code(),
        "userInfo": {"username": user.name, "groups": user.groups},
        "dryRun": request.dry_run,
    });
    let old = request.old_object.as_ref().unwrap_or(&serde_json::Value::Null);
    let variables = Variables::new(now)
        .with("object", &request.object)
        .with("oldObject", old)
        .with("request", &described);
    if request.namespace.is_empty() {
        variables.with_value("namespaceObject", cel::Value::Null)
    } else {
        variables
    }
}

/// The name of a kind's resource, as Kubernetes forms it.
pub(super) fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    if lower == "endpoints" {
        lower
    } else if lower.ends_with('s') {
        format!("{lower}es")
    } else if let Some(stem) = lower.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{lower}s")
    }
}
