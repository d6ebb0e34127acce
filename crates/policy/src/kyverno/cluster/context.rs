//! What a rule's expressions see: the request, its images, and what the rule's `context` names.

use countersign_crypto::Digest;
use countersign_registry::Reference;
use serde_json::{Value, json};

use super::extract::{Extracted, images_value};
use super::schema::ContextEntry;
use crate::access::ObjectName;
use crate::ask::{Ask, Stop};
use crate::kyverno::conditions::Conditions;
use crate::kyverno::jmespath::{Budget, Expression};
use crate::kyverno::{Context, substitute, variables};
use crate::question::{CouldNot, CouldNotReason, ImageData};
use crate::read::ReadError;
use crate::request::Request;

/// Names that the request has, which a rule cannot take.
pub(super) const TAKEN: [&str; 6] =
    ["request", "images", "element", "elementIndex", "serviceAccountName", "serviceAccountNamespace"];
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What is behind a name.
#[derive(Debug, Clone)]
enum Source {
    Variable { value: Option<Value>, path: String, default: Option<Value> },
    ConfigMap { name: String, namespace: String },
    Image { reference: String, path: String },
}

/// The names of a rule's context, in their order: later ones see earlier ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    entries: Vec<(String, Source)>,
    /// The namespace of a namespaced policy, whose ConfigMaps alone it may name.
    namespace: String,
}

impl Names {
    /// Reads `context`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(written: &[ContextEntry], namespace: &str, path: &str) -> Result<Self, ReadError> {
        let mut entries = Vec::new();
        for (index, entry) in written.iter().enumerate() {
            let path = format!("{path}[{index}]");
            entries.push((entry.name.clone(), read(entry, namespace, &path)?));
        }
        Ok(Self { entries, namespace: namespace.to_owned() })
    }

    /// The context with these names.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn load(&self, mut context: Context, ask: &Ask<'_>) -> Result<Context, Stop> {
        for (name, source) in &self.entries {
            let value = self.value(source, &context, ask).map_err(|stop| match stop {
                Stop::CouldNot(could_not) => {
                    let text = format!("context \"{name}\": {}", could_not.text);
                    CouldNot::new(could_not.reason, text).into()
                }
                open @ Stop::Open => open,
            })?;
            context = context.with(name, value);
        }
        Ok(context)
    }

    fn value(&self, source: &Source, context: &Context, ask: &Ask<'_>) -> Result<Value, Stop> {
        match source {
            Source::Variable { value, path, default } => {
                variable(value.as_ref(), path, default.as_ref(), context)
            }
            Source::ConfigMap { name, namespace } => {
                let name = ObjectName { namespace: text(namespace, context)?, name: text(name, context)? };
                if !self.namespace.is_empty() && name.namespace != self.namespace {
                    let own = &self.namespace;
                    return Err(unusable(format!(
                        "expected a ConfigMap of the policy's own namespace {own}, found {name}"
                    )));
                }
                let data = ask.config_map(&name)?;
                Ok(json!({"data": *data, "metadata": {"name": name.name, "namespace": name.namespace}}))
            }
            Source::Image { reference, path } => {
                let written = text(reference, context)?;
                let image = Reference::parse(&written).map_err(|e| unusable(e.to_string()))?;
                let data = image_value(&image, &written, ask)?;
                match path.as_str() {
                    "" => Ok(data),
                    path => search(path, &data, ask),
                }
            }
        }
    }
}

fn read(entry: &ContextEntry, namespace: &str, path: &str) -> Result<Source, ReadError> {
    let wrong = |field: &str, message: &str| Err(ReadError::new(format!("{path}.{field}"), message));
    if entry.name.is_empty() || TAKEN.contains(&entry.name.as_str()) {
        return wrong("name", "expected a name of its own, found none or one that is taken");
    }
    if entry.api_call.is_some() {
        return wrong("apiCall", "calls are not made on behalf of a policy; use configMap or a variable");
    }
    if entry.global_reference.is_some() {
        return wrong("globalReference", "global contexts are not kept here; use configMap or a variable");
    }
    let at = |field: &str, error: &dyn std::fmt::Display| {
        ReadError::new(format!("{path}.{field}"), error.to_string())
    };
    // No variables are replaced in a path that is not one itself.
    let checked = |text: &str, field: &str| match text {
        "" => Ok(()),
        text => Expression::parse(text).map(drop).map_err(|e| at(field, &e)),
    };
    let replaced = |value: &Value, field: &str| variables::check(value).map_err(|e| at(field, &e));
    match (&entry.variable, &entry.config_map, &entry.image_registry) {
        (Some(variable), None, None) => {
            if variable.value.is_none() && variable.jmes_path.is_empty() {
                return wrong("variable", "expected value, jmesPath or both, found neither");
            }
            match &variable.value {
                Some(value) => {
                    replaced(value, "variable.value")?;
                    checked(&variable.jmes_path, "variable.jmesPath")?;
                }
                None => replaced(&as_variable(&variable.jmes_path), "variable.jmesPath")?,
            }
            if let Some(default) = &variable.default {
                replaced(default, "variable.default")?;
            }
            Ok(Source::Variable {
                value: variable.value.clone(),
                path: variable.jmes_path.clone(),
                default: variable.default.clone(),
            })
        }
        (None, Some(config_map), None) => {
            let namespace = match (config_map.namespace.as_str(), namespace) {
                ("", "") => "default",
                ("", own) => own,
                (given, _) => given,
            };
            replaced(&json!([config_map.name, namespace]), "configMap")?;
            Ok(Source::ConfigMap { name: config_map.name.clone(), namespace: namespace.to_owned() })
        }
        (None, None, Some(image)) => {
            replaced(&image.reference.as_str().into(), "imageRegistry.reference")?;
            checked(&image.jmes_path, "imageRegistry.jmesPath")?;
            Ok(Source::Image { reference: image.reference.clone(), path: image.jmes_path.clone() })
        }
        _ => wrong("name", "expected one of variable, configMap and imageRegistry beside it, and only one"),
    }
}

/// The text that is one variable.
fn as_variable(expression: &str) -> Value {
    Value::String(format!("{{{{ {expression} }}}}"))
}

fn variable(
    value: Option<&Value>,
    path: &str,
    default: Option<&Value>,
    context: &Context,
) -> Result<Value, Stop> {
    let found = match (value, path) {
        (Some(value), "") => substitute(value, context),
        (Some(value), path) => match substitute(value, context) {
            Ok(value) => return search_or(path, &value, default, context),
            Err(error) => Err(error),
        },
        (None, path) => substitute(&as_variable(path), context),
    };
    match (found, default) {
        (Ok(Value::Null) | Err(_), Some(default)) => substituted(default, context),
        (Ok(value), _) => Ok(value),
        (Err(error), None) => Err(unusable(error.to_string())),
    }
}

fn search_or(path: &str, value: &Value, default: Option<&Value>, context: &Context) -> Result<Value, Stop> {
    let found = Expression::parse(path)
        .and_then(|expression| expression.search(value, context.now(), &Budget::default()));
    match (found, default) {
        (Ok(Value::Null) | Err(_), Some(default)) => substituted(default, context),
        (Ok(value), _) => Ok(value),
        (Err(error), None) => Err(unusable(error.to_string())),
    }
}

fn search(path: &str, value: &Value, ask: &Ask<'_>) -> Result<Value, Stop> {
    Expression::parse(path)
        .and_then(|expression| expression.search(value, ask.now(), &Budget::default()))
        .map_err(|error| unusable(error.to_string()))
}

/// A document with its variables replaced.
///
/// # Errors
/// [`Stop::CouldNot`].
pub(super) fn substituted(document: &Value, context: &Context) -> Result<Value, Stop> {
    substitute(document, context).map_err(|error| unusable(error.to_string()))
}

/// A text with its variables replaced.
///
/// # Errors
/// [`Stop::CouldNot`], also when it becomes something else than a text.
pub(super) fn text(text: &str, context: &Context) -> Result<String, Stop> {
    match substituted(&Value::String(text.to_owned()), context)? {
        Value::String(text) => Ok(text),
        other => Err(unusable(format!("expected a text from {text}, found {other}"))),
    }
}

pub(super) fn unusable(text: impl Into<String>) -> Stop {
    CouldNot::new(CouldNotReason::Unusable, text).into()
}

/// Checks the variables of conditions as far as that goes without a request.
///
/// # Errors
/// [`ReadError`].
pub(super) fn check_conditions(conditions: &Conditions, path: &str) -> Result<(), ReadError> {
    conditions.check().map_err(|e| ReadError::new(path, e.to_string()))
}

/// Whether a document has variables.
pub(super) fn has_variables(document: &Value) -> bool {
    variables::has_variables(document)
}

/// What Kyverno says of an image in a registry.
pub(super) fn image_value(image: &Reference, written: &str, ask: &Ask<'_>) -> Result<Value, Stop> {
    let data = ask.image(image)?;
    // Of an image for several platforms, the configuration of one.
    let config = match (&data.config, platform(&data)) {
        (Some(config), _) => config.clone(),
        (None, Some(digest)) => ask.image(&image.at(digest))?.config.clone().unwrap_or_default(),
        (None, None) => Value::Null,
    };
    let repository = image.repository();
    let registry = match repository.registry() {
        "docker.io" => "index.docker.io",
        other => other,
    };
    let identifier = match (image.digest(), image.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.map(ToString::to_string).unwrap_or_default(),
    };
    Ok(json!({
        "image": written,
        "resolvedImage": format!("{registry}/{}@{}", repository.path(), data.descriptor.digest),
        "registry": registry,
        "repository": repository.path(),
        "identifier": identifier,
        "manifest": data.manifest,
        "configData": config,
    }))
}

/// The manifest for Linux on amd64 in an index, as Kyverno picks it; else the first one for any platform.
fn platform(data: &ImageData) -> Option<Digest> {
    let manifests = data.manifest.get("manifests")?.as_array()?;
    let says = |manifest: &Value, field: &str, wanted: &str| {
        manifest.pointer(&format!("/platform/{field}")).and_then(Value::as_str) == Some(wanted)
    };
    let usual = manifests.iter().find(|m| says(m, "os", "linux") && says(m, "architecture", "amd64"));
    let any = || manifests.iter().find(|m| m.get("platform").is_some() && !says(m, "os", "unknown"));
    let digest = usual.or_else(any)?.get("digest")?.as_str()?;
    Digest::parse(digest).ok()
}

/// The request and its images, as expressions see them.
pub(super) fn of_request(request: &Request, images: &[Extracted], ask: &Ask<'_>) -> Context {
    let user = &request.user;
    let kind = &request.kind;
    let mut seen = json!({
        "object": request.object,
        "namespace": request.namespace,
        "name": request.name,
        "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "subResource": request.subresource,
        "userInfo": {"username": user.name, "groups": user.groups},
        "roles": user.roles,
        "clusterRoles": user.cluster_roles,
        "dryRun": request.dry_run,
    });
    if let (Value::Object(seen), Some(old)) = (&mut seen, &request.old_object) {
        seen.insert("oldObject".into(), old.clone());
    }
    // Nobody asks for anything when what is there is looked over.
    if let (Value::Object(seen), false) = (&mut seen, request.background) {
        seen.insert("operation".into(), request.operation.code().into());
    }
    let account = user.name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
    let (namespace, name) = account.unwrap_or_default();
    let root = json!({
        "request": seen,
        "images": images_value(images),
        "serviceAccountName": name,
        "serviceAccountNamespace": namespace,
    });
    Context::new(root, ask.now())
}
