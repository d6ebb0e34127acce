//! Provenance v1 as it is written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Builder, Completeness, JsonError, MAX_VERSIONS, Provenance, Resource, Version, WireResources, at,
};
use crate::json::{Bounded, UniqueMap, UniqueValue, no_items, no_members, null_is_default};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireV1 {
    build_definition: WireDefinition,
    run_details: WireRun,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDefinition {
    build_type: String,
    external_parameters: UniqueValue,
    #[serde(default, skip_serializing_if = "UniqueValue::is_null")]
    internal_parameters: UniqueValue,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_items")]
    resolved_dependencies: WireResources,
}

#[derive(Serialize, Deserialize)]
struct WireRun {
    builder: WireBuilder,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_items")]
    byproducts: WireResources,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBuilder {
    id: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_members")]
    version: UniqueMap<String, MAX_VERSIONS>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_items")]
    builder_dependencies: WireResources,
}

/// What is said of the run itself.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    #[serde(
        alias = "invocationID",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    invocation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_on: Option<String>,
}

impl WireV1 {
    pub(super) fn into_model(self) -> Result<Provenance, JsonError> {
        let parameters = self.build_definition.external_parameters.0;
        if !parameters.is_object() {
            return Err(JsonError::Shape("buildDefinition.externalParameters: expected an object".into()));
        }
        let internal_parameters = self.build_definition.internal_parameters.0;
        if !internal_parameters.is_object() && !internal_parameters.is_null() {
            return Err(JsonError::Shape("buildDefinition.internalParameters: expected an object".into()));
        }
        let dependencies = self.build_definition.resolved_dependencies.0;
        let (source, entry_point) = source_of(&parameters, &dependencies);
        let WireRun { builder, metadata, byproducts } = self.run_details;
        Ok(Provenance {
            version: Version::V1,
            builder: Builder {
                id: builder.id,
                version: builder.version.0,
                dependencies: builder.builder_dependencies.0,
            },
            build_type: self.build_definition.build_type,
            source,
            entry_point,
            parameters,
            internal_parameters,
            environment: Value::Null,
            build_config: Value::Null,
            started: at("runDetails.metadata.startedOn", metadata.started_on)?,
            finished: at("runDetails.metadata.finishedOn", metadata.finished_on)?,
            invocation: metadata.invocation_id,
            dependencies,
            byproducts: byproducts.0,
            completeness: Completeness::default(),
            reproducible: false,
        })
    }

    pub(super) fn of(own: &Provenance) -> Result<Self, JsonError> {
        let (parameters, dependencies) = external(own);
        let builder = WireBuilder {
            id: own.builder.id.clone(),
            version: UniqueMap(own.builder.version.clone()),
            builder_dependencies: Bounded(own.builder.dependencies.clone()),
        };
        let metadata = WireMetadata {
            invocation_id: own.invocation.clone(),
            started_on: own.started.map(|time| time.to_string()),
            finished_on: own.finished.map(|time| time.to_string()),
        };
        Ok(Self {
            build_definition: WireDefinition {
                build_type: own.build_type.clone(),
                external_parameters: UniqueValue(parameters.into()),
                internal_parameters: UniqueValue(internal(own)?),
                resolved_dependencies: Bounded(dependencies),
            },
            run_details: WireRun { builder, metadata, byproducts: Bounded(own.byproducts.clone()) },
        })
    }
}

/// The external parameters, with the source and the entry point where they do not name them; and the dependencies, with
/// the source where it is none of them.
fn external(own: &Provenance) -> (Map<String, Value>, Vec<Resource>) {
    let mut parameters = match &own.parameters {
        Value::Null => Map::new(),
        Value::Object(members) => members.clone(),
        // The arguments of v0.1 may be anything.
        other => Map::from_iter([("arguments".to_owned(), other.clone())]),
    };
    let mut dependencies = own.dependencies.clone();
    if let Some(source) = &own.source {
        let listed = |one: &Resource| bare(&one.uri) == bare(&source.uri);
        if !source.digest.is_empty() && !dependencies.iter().any(listed) {
            dependencies.insert(0, source.clone());
        }
        let whole = Value::Object(parameters.clone());
        let (told, entry_point) = source_of(&whole, &dependencies);
        if told.is_none() {
            parameters.entry("source").or_insert_with(|| source.uri.clone().into());
        }
        if entry_point.is_empty() && !own.entry_point.is_empty() {
            parameters.entry("entryPoint").or_insert_with(|| own.entry_point.clone().into());
        }
    }
    (parameters, dependencies)
}

/// The internal parameters, with what v0.1 and v0.2 have beside them.
fn internal(own: &Provenance) -> Result<Value, JsonError> {
    let mut members = match &own.internal_parameters {
        Value::Null => Map::new(),
        Value::Object(members) => members.clone(),
        _ => return Err(JsonError::Shape("internalParameters: expected an object".into())),
    };
    for (name, value) in [("environment", &own.environment), ("buildConfig", &own.build_config)] {
        if !value.is_null() {
            members.entry(name).or_insert_with(|| value.clone());
        }
    }
    Ok(if members.is_empty() { Value::Null } else { members.into() })
}

/// The address of a source without what says that git fetches it.
pub(super) fn bare(uri: &str) -> &str {
    uri.strip_prefix("git+").unwrap_or(uri)
}

/// The source and the entry point that parameters of known builds name: a workflow of GitHub (`workflow`), Google's Cloud
/// Build (`buildConfigSource`, `sourceToBuild`), and builds with a `source`, beside which the entry point stands as
/// `entryPoint` or `configPath`. The digest is that of the dependency of the same address.
fn source_of(parameters: &Value, dependencies: &[Resource]) -> (Option<Resource>, String) {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let named = ["workflow", "source", "sourceToBuild", "buildConfigSource"]
        .into_iter()
        .find_map(|name| parameters.get(name).filter(|value| !value.is_null()));
    let Some(named) = named else { return (None, String::new()) };
    let (repository, reference) = match named {
        Value::String(uri) => (uri.clone(), String::new()),
        other if other.get("uri").is_some() => (text(other, "uri"), String::new()),
        other => (text(other, "repository"), text(other, "ref")),
    };
    if repository.is_empty() {
        return (None, String::new());
    }
    let uri = if reference.is_empty() { repository } else { format!("{repository}@{reference}") };
    let resolved = dependencies.iter().find(|dependency| bare(&dependency.uri) == bare(&uri));
    let entry_points = [text(named, "path"), text(parameters, "entryPoint"), text(parameters, "configPath")];
    let entry_point = entry_points.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    (Some(resolved.cloned().unwrap_or_else(|| Resource::at(uri))), entry_point)
}
