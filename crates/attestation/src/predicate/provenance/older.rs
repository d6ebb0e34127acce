//! Provenance v0.1 and v0.2 as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Builder, Completeness, JsonError, MAX_DIGESTS, Provenance, Resource, Version, WireResources, at,
};
use crate::json::{Bounded, UniqueMap, UniqueValue, no_items, no_members, null_is_default};

#[derive(Serialize, Deserialize)]
struct WireBuilder {
    id: String,
}

impl From<WireBuilder> for Builder {
    fn from(wire: WireBuilder) -> Self {
        Self { id: wire.id, version: BTreeMap::new(), dependencies: Vec::new() }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    #[serde(
        alias = "buildInvocationID",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    build_invocation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_started_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_finished_on: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    completeness: Completeness,
    #[serde(default, deserialize_with = "null_is_default")]
    reproducible: bool,
}

#[derive(Deserialize)]
pub(super) struct WireV01 {
    builder: WireBuilder,
    #[serde(default, deserialize_with = "null_is_default")]
    recipe: WireRecipe,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default")]
    materials: WireResources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRecipe {
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    defined_in_material: Option<usize>,
    #[serde(default, deserialize_with = "null_is_default")]
    entry_point: String,
    #[serde(default)]
    arguments: UniqueValue,
    #[serde(default)]
    environment: UniqueValue,
}

impl WireV01 {
    pub(super) fn into_model(self) -> Result<Provenance, JsonError> {
        let dependencies = self.materials.0;
        let source = match self.recipe.defined_in_material {
            None => None,
            Some(index) => Some(dependencies.get(index).cloned().ok_or_else(|| {
                let count = dependencies.len();
                JsonError::Shape(format!(
                    "recipe.definedInMaterial: expected one of {count} materials, found {index}"
                ))
            })?),
        };
        Ok(Provenance {
            version: Version::V0_1,
            builder: self.builder.into(),
            build_type: self.recipe.kind,
            source,
            entry_point: self.recipe.entry_point,
            parameters: self.recipe.arguments.0,
            environment: self.recipe.environment.0,
            dependencies,
            ..self.metadata.into_model()?
        })
    }
}

impl WireMetadata {
    fn into_model(self) -> Result<Provenance, JsonError> {
        Ok(Provenance {
            started: at("metadata.buildStartedOn", self.build_started_on)?,
            finished: at("metadata.buildFinishedOn", self.build_finished_on)?,
            invocation: self.build_invocation_id,
            completeness: self.completeness,
            reproducible: self.reproducible,
            ..Provenance::default()
        })
    }

    fn of(own: &Provenance) -> Self {
        Self {
            build_invocation_id: own.invocation.clone(),
            build_started_on: own.started.map(|time| time.to_string()),
            build_finished_on: own.finished.map(|time| time.to_string()),
            completeness: own.completeness,
            reproducible: own.reproducible,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireV02 {
    builder: WireBuilder,
    build_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    invocation: WireInvocation,
    #[serde(default, skip_serializing_if = "UniqueValue::is_null")]
    build_config: UniqueValue,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_items")]
    materials: WireResources,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireInvocation {
    #[serde(default, deserialize_with = "null_is_default")]
    config_source: WireConfigSource,
    #[serde(default, skip_serializing_if = "UniqueValue::is_null")]
    parameters: UniqueValue,
    #[serde(default, skip_serializing_if = "UniqueValue::is_null")]
    environment: UniqueValue,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConfigSource {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    uri: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "no_members")]
    digest: UniqueMap<String, MAX_DIGESTS>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    entry_point: String,
}

impl WireV02 {
    pub(super) fn into_model(self) -> Result<Provenance, JsonError> {
        let WireConfigSource { uri, digest, entry_point } = self.invocation.config_source;
        Ok(Provenance {
            version: Version::V0_2,
            builder: self.builder.into(),
            build_type: self.build_type,
            source: (!uri.is_empty()).then(|| Resource { uri, digest: digest.0, ..Resource::default() }),
            entry_point,
            parameters: self.invocation.parameters.0,
            environment: self.invocation.environment.0,
            build_config: self.build_config.0,
            dependencies: self.materials.0,
            ..self.metadata.into_model()?
        })
    }

    pub(super) fn of(own: &Provenance) -> Self {
        let source = own.source.clone().unwrap_or_default();
        let environment = if own.environment.is_null() { &own.internal_parameters } else { &own.environment };
        Self {
            builder: WireBuilder { id: own.builder.id.clone() },
            build_type: own.build_type.clone(),
            invocation: WireInvocation {
                config_source: WireConfigSource {
                    uri: source.uri,
                    digest: UniqueMap(source.digest),
                    entry_point: own.entry_point.clone(),
                },
                parameters: UniqueValue(own.parameters.clone()),
                environment: UniqueValue(environment.clone()),
            },
            build_config: UniqueValue(own.build_config.clone()),
            metadata: WireMetadata::of(own),
            materials: Bounded(own.dependencies.clone()),
        }
    }
}
