//! SLSA provenance: three forms of it, read into one. Who may be believed at which level is for whoever reads it to say, by
//! signer and builder together; that provenance is there says nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{read, time};
use crate::json::{Bounded, JsonError, UniqueMap, null_is_default};

/// The most dependencies of one build.
pub const MAX_DEPENDENCIES: usize = 50_000;
/// The most digests of one dependency.
pub const MAX_DIGESTS: usize = 32;

/// Which form provenance is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// `https://slsa.dev/provenance/v0.1`.
    V0_1,
    /// `https://slsa.dev/provenance/v0.2`.
    V0_2,
    /// `https://slsa.dev/provenance/v1`.
    V1,
}

/// The types and the form that each is.
const KINDS: [(&str, Version); 4] = [
    ("https://slsa.dev/provenance/v1", Version::V1),
    ("https://slsa.dev/provenance/v0.2", Version::V0_2),
    ("https://slsa.dev/provenance/v0.1", Version::V0_1),
    ("https://in-toto.io/Provenance/v0.1", Version::V0_1),
];
/// What some tools write by mistake; nobody says what is in it.
const MISTAKEN: &str = "https://slsa.dev/provenance/v1.0";

/// The types of predicates that are read here.
#[must_use]
pub fn types() -> [&'static str; 4] {
    KINDS.map(|(uri, _)| uri)
}

/// Something that went into a build, or that it was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// Where it is.
    pub uri: String,
    /// Its digests by algorithm; hexadecimal.
    pub digest: BTreeMap<String, String>,
}

/// How something was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// The form it was in.
    pub version: Version,
    /// Who built; never empty.
    pub builder: String,
    /// How to read the parameters.
    pub build_type: String,
    /// The source, where the type of build is one of which that is known.
    pub source: Option<Resource>,
    /// What was run: a workflow, a target.
    pub entry_point: String,
    /// What whoever asked for the build could choose.
    pub parameters: Value,
    /// The name of the run.
    pub invocation: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What went into it.
    pub dependencies: Vec<Resource>,
}

impl Provenance {
    /// Reads a predicate of one of [`types`].
    ///
    /// ```
    /// use countersign_attestation::predicate::provenance::Provenance;
    /// let text = r#"{"builder": {"id": "https://example.com/builder"}, "buildType": "https://example.com/make",
    ///                "invocation": {"configSource": {"uri": "git+https://example.com/shop", "entryPoint": "build.yml"}}}"#;
    /// let read = Provenance::from_json("https://slsa.dev/provenance/v0.2", text)?;
    /// assert_eq!(read.source.expect("a source").uri, "git+https://example.com/shop");
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, members missing or of another type, a builder without a name.
    pub fn from_json(predicate_type: &str, text: &str) -> Result<Self, JsonError> {
        let known = KINDS.iter().find(|(uri, _)| *uri == predicate_type);
        let Some((_, version)) = known else {
            let hint = if predicate_type == MISTAKEN {
                "; there is no such version: whoever wrote it means https://slsa.dev/provenance/v1, and has to write that"
            } else {
                ""
            };
            return Err(JsonError::Shape(format!(
                "expected SLSA provenance ({}), found {predicate_type}{hint}",
                types().join(", ")
            )));
        };
        let found = match version {
            Version::V0_1 => read::<WireV01>(text)?.into_model()?,
            Version::V0_2 => read::<WireV02>(text)?.into_model()?,
            Version::V1 => read::<WireV1>(text)?.into_model()?,
        };
        if found.builder.trim().is_empty() {
            return Err(JsonError::Shape("builder.id: expected a URI, found none".into()));
        }
        Ok(found)
    }
}

fn at(path: &str, text: Option<String>) -> Result<Option<Timestamp>, JsonError> {
    text.map_or(Ok(None), |text| time(path, &text))
}

#[derive(Deserialize)]
struct WireBuilder {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireResource {
    #[serde(default, deserialize_with = "null_is_default")]
    uri: String,
    #[serde(default, deserialize_with = "null_is_default")]
    digest: UniqueMap<String, MAX_DIGESTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    entry_point: String,
}

impl From<WireResource> for Resource {
    fn from(wire: WireResource) -> Self {
        Self { uri: wire.uri, digest: wire.digest.0 }
    }
}

type WireResources = Bounded<WireResource, MAX_DEPENDENCIES>;

fn resources(wire: WireResources) -> Vec<Resource> {
    wire.0.into_iter().map(Resource::from).collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    #[serde(alias = "invocationId", alias = "invocationID", default, deserialize_with = "null_is_default")]
    build_invocation_id: String,
    #[serde(alias = "startedOn")]
    build_started_on: Option<String>,
    #[serde(alias = "finishedOn")]
    build_finished_on: Option<String>,
}

#[derive(Deserialize)]
struct WireV01 {
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
    arguments: Value,
}

impl WireV01 {
    fn into_model(self) -> Result<Provenance, JsonError> {
        let dependencies = resources(self.materials);
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
            builder: self.builder.id,
            build_type: self.recipe.kind,
            source,
            entry_point: self.recipe.entry_point,
            parameters: self.recipe.arguments,
            started: at("metadata.buildStartedOn", self.metadata.build_started_on)?,
            finished: at("metadata.buildFinishedOn", self.metadata.build_finished_on)?,
            invocation: self.metadata.build_invocation_id,
            dependencies,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireV02 {
    builder: WireBuilder,
    build_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    invocation: WireInvocation,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default")]
    materials: WireResources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireInvocation {
    #[serde(default, deserialize_with = "null_is_default")]
    config_source: WireResource,
    #[serde(default)]
    parameters: Value,
}

impl WireV02 {
    fn into_model(self) -> Result<Provenance, JsonError> {
        let mut config = self.invocation.config_source;
        let entry_point = std::mem::take(&mut config.entry_point);
        Ok(Provenance {
            version: Version::V0_2,
            builder: self.builder.id,
            build_type: self.build_type,
            source: (!config.uri.is_empty()).then(|| config.into()),
            entry_point,
            parameters: self.invocation.parameters,
            started: at("metadata.buildStartedOn", self.metadata.build_started_on)?,
            finished: at("metadata.buildFinishedOn", self.metadata.build_finished_on)?,
            invocation: self.metadata.build_invocation_id,
            dependencies: resources(self.materials),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireV1 {
    build_definition: WireDefinition,
    run_details: WireRun,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDefinition {
    build_type: String,
    external_parameters: Value,
    #[serde(default, deserialize_with = "null_is_default")]
    resolved_dependencies: WireResources,
}

#[derive(Deserialize)]
struct WireRun {
    builder: WireBuilder,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: WireMetadata,
}

impl WireV1 {
    fn into_model(self) -> Result<Provenance, JsonError> {
        let parameters = self.build_definition.external_parameters;
        if !parameters.is_object() {
            return Err(JsonError::Shape("buildDefinition.externalParameters: expected an object".into()));
        }
        let dependencies = resources(self.build_definition.resolved_dependencies);
        let (source, entry_point) = source_of(&parameters, &dependencies);
        let metadata = self.run_details.metadata;
        Ok(Provenance {
            version: Version::V1,
            builder: self.run_details.builder.id,
            build_type: self.build_definition.build_type,
            source,
            entry_point,
            parameters,
            started: at("runDetails.metadata.startedOn", metadata.build_started_on)?,
            finished: at("runDetails.metadata.finishedOn", metadata.build_finished_on)?,
            invocation: metadata.build_invocation_id,
            dependencies,
        })
    }
}

/// The source and the entry point that parameters of known builds name: a workflow of GitHub (`workflow`), Google's Cloud
/// Build (`buildConfigSource`, `sourceToBuild`), and builds with a `source`. The digest is that of the dependency of the
/// same address.
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
    let bare = |uri: &str| uri.strip_prefix("git+").unwrap_or(uri).to_owned();
    let resolved = dependencies.iter().find(|dependency| bare(&dependency.uri) == bare(&uri));
    (Some(resolved.cloned().unwrap_or(Resource { uri, digest: BTreeMap::new() })), text(named, "path"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V1: &str = "https://slsa.dev/provenance/v1";
    const V02: &str = "https://slsa.dev/provenance/v0.2";
    const V01: &str = "https://slsa.dev/provenance/v0.1";

    fn v1() -> Value {
        json!({
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "externalParameters": { "workflow": { "ref": "refs/heads/main", "repository": "https://github.com/acme/shop",
                    "path": ".github/workflows/build.yml" } },
                "resolvedDependencies": [{ "uri": "git+https://github.com/acme/shop@refs/heads/main",
                    "digest": { "gitCommit": "ab" } }] },
            "runDetails": { "builder": { "id": "https://github.com/actions/runner/github-hosted" },
                "metadata": { "invocationID": "run/1", "startedOn": "2026-01-01T00:00:00Z" } },
        })
    }

    fn parse(kind: &str, value: &Value) -> Result<Provenance, String> {
        Provenance::from_json(kind, &value.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn three_forms_come_to_one_model() {
        let new = parse(V1, &v1()).unwrap();
        let materials = json!([{ "uri": "git+https://github.com/acme/shop@refs/heads/main", "digest": { "gitCommit": "ab" } }]);
        let second = json!({ "builder": { "id": "https://github.com/actions/runner/github-hosted" }, "buildType": "b",
            "invocation": { "configSource": { "uri": "git+https://github.com/acme/shop@refs/heads/main",
                "digest": { "gitCommit": "ab" }, "entryPoint": ".github/workflows/build.yml" } },
            "metadata": { "buildInvocationId": "run/1", "buildStartedOn": "2026-01-01T00:00:00Z" }, "materials": materials });
        let first = json!({ "builder": { "id": "https://github.com/actions/runner/github-hosted" },
            "recipe": { "type": "b", "definedInMaterial": 0, "entryPoint": ".github/workflows/build.yml" },
            "metadata": { "buildInvocationId": "run/1", "buildStartedOn": "2026-01-01T00:00:00Z" }, "materials": materials });
        for (kind, older) in
            [(V02, second), (V01, first.clone()), ("https://in-toto.io/Provenance/v0.1", first)]
        {
            let older = parse(kind, &older).unwrap();
            assert_eq!((&older.source, &older.entry_point), (&new.source, &new.entry_point), "{kind}");
            assert_eq!((&older.builder, &older.started), (&new.builder, &new.started), "{kind}");
            assert_eq!(
                (&older.invocation, &older.dependencies),
                (&new.invocation, &new.dependencies),
                "{kind}"
            );
        }
        assert_eq!(new.source.unwrap().digest["gitCommit"], "ab");
    }

    #[test]
    fn the_source_is_told_for_known_parameters_and_for_no_others() {
        let source = |parameters: Value| {
            let mut changed = v1();
            changed["buildDefinition"]["externalParameters"] = parameters;
            parse(V1, &changed).unwrap().source.map(|source| source.uri)
        };
        assert_eq!(source(json!({ "source": "git+https://a/b" })).as_deref(), Some("git+https://a/b"));
        assert_eq!(source(json!({ "source": { "uri": "https://a/b" } })).as_deref(), Some("https://a/b"));
        let cloud = json!({ "buildConfigSource": { "repository": "https://a/b", "ref": "refs/tags/v1", "path": "p" } });
        assert_eq!(source(cloud).as_deref(), Some("https://a/b@refs/tags/v1"));
        assert_eq!(source(json!({ "repository": "https://a/b" })), None);
        assert_eq!(source(json!({ "workflow": {} })), None);
    }

    #[test]
    fn what_is_missing_is_an_error_and_another_type_is_never_taken_for_a_known_one() {
        for pointer in
            ["/runDetails/builder/id", "/buildDefinition/externalParameters", "/buildDefinition/buildType"]
        {
            let mut changed = v1();
            *changed.pointer_mut(pointer).unwrap() = Value::Null;
            assert!(parse(V1, &changed).is_err(), "{pointer}");
        }
        let mut nobody = v1();
        nobody["runDetails"]["builder"]["id"] = " ".into();
        assert!(parse(V1, &nobody).unwrap_err().contains("builder.id"));
        assert!(parse(MISTAKEN, &v1()).unwrap_err().contains("no such version"));
        assert!(parse("https://slsa.dev/provenance/v2", &v1()).is_err());
        assert!(parse(V02, &v1()).is_err(), "one form is not read as another");
        let outside =
            json!({ "builder": { "id": "b" }, "recipe": { "definedInMaterial": 1 }, "materials": [{}] });
        assert!(parse(V01, &outside).unwrap_err().contains("definedInMaterial"));
    }
}
