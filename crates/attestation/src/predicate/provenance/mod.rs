//! SLSA provenance: three forms of it, read into one model, which is written as v1, or as v0.2 for old readers. Who may be
//! believed at which level is for whoever reads it to say, by signer and builder together; that provenance is there says
//! nothing.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::resource::{self, Resources};
use super::{read, time};
use crate::json::{JsonError, null_is_default};

mod older;
mod v1;

pub use super::resource::{MAX_DIGESTS, Resource};

/// The most dependencies of one build.
pub const MAX_DEPENDENCIES: usize = 50_000;
/// The most versions of parts that one builder names.
pub const MAX_VERSIONS: usize = 256;

/// Which form provenance is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// `https://slsa.dev/provenance/v0.1`.
    V0_1,
    /// `https://slsa.dev/provenance/v0.2`.
    V0_2,
    /// `https://slsa.dev/provenance/v1`.
    #[default]
    V1,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1 => "v0.1",
            Self::V0_2 => "v0.2",
            Self::V1 => "v1",
        })
    }
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

/// Whether a predicate of this type is provenance: one of [`types`], or of a version that nobody reads yet.
///
/// ```
/// use countersign_attestation::predicate::provenance::is_type;
/// assert!(is_type("https://in-toto.io/Provenance/v0.1") && is_type("https://slsa.dev/provenance/v2"));
/// assert!(!is_type("https://slsa.dev/verification_summary/v1"));
/// ```
#[must_use]
pub fn is_type(predicate_type: &str) -> bool {
    types().contains(&predicate_type) || predicate_type.starts_with("https://slsa.dev/provenance/")
}

/// Who built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Builder {
    /// Its URI; never empty where it was read.
    pub id: String,
    /// The versions of its parts, by their names. Only v1 has them.
    pub version: BTreeMap<String, String>,
    /// What it is made of, where that is not what went into the build. Only v1 has them.
    pub dependencies: Vec<Resource>,
}

/// What v0.1 and v0.2 claim to list all of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completeness {
    /// The parameters.
    #[serde(alias = "arguments", deserialize_with = "null_is_default")]
    pub parameters: bool,
    /// The environment.
    #[serde(deserialize_with = "null_is_default")]
    pub environment: bool,
    /// The materials.
    #[serde(deserialize_with = "null_is_default")]
    pub materials: bool,
}

/// How something was built.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// The form it was in.
    pub version: Version,
    /// Who built.
    pub builder: Builder,
    /// How to read the parameters.
    pub build_type: String,
    /// The source, where the type of build is one of which that is known.
    pub source: Option<Resource>,
    /// What was run: a workflow, a target.
    pub entry_point: String,
    /// What whoever asked for the build could choose.
    pub parameters: Value,
    /// What the builder set itself; null for nothing. Only v1 has it.
    pub internal_parameters: Value,
    /// What the builder set itself, in v0.1 and v0.2; null for nothing.
    pub environment: Value,
    /// The steps, in v0.2; null for none.
    pub build_config: Value,
    /// The name of the run.
    pub invocation: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What went into it.
    pub dependencies: Vec<Resource>,
    /// What else came out of it: logs, plans. Only v1 has them.
    pub byproducts: Vec<Resource>,
    /// What v0.1 and v0.2 claim to list all of.
    pub completeness: Completeness,
    /// Whether v0.1 or v0.2 claims that another build gives the same bytes.
    pub reproducible: bool,
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
            Version::V0_1 => read::<older::WireV01>(text)?.into_model()?,
            Version::V0_2 => read::<older::WireV02>(text)?.into_model()?,
            Version::V1 => read::<v1::WireV1>(text)?.into_model()?,
        };
        found.has_builder()?;
        Ok(found)
    }

    /// Writes v1. What only v0.1 and v0.2 know goes where v1 has room for it: the environment and the steps into the
    /// internal parameters, the source and the entry point into the external ones; what they claim to be complete is left
    /// out.
    ///
    /// # Errors
    /// [`JsonError`]: no builder, no type of build, a resource that names nothing, limits, or that whoever reads it would
    /// take another source or entry point from the parameters.
    pub fn to_v1(&self) -> Result<Box<RawValue>, JsonError> {
        self.is_whole()?;
        let written = serde_json::value::to_raw_value(&v1::WireV1::of(self)?)?;
        self.is_the_same_in(Version::V1, &written)?;
        Ok(written)
    }

    /// Writes v0.2, for those who read no v1. What that has no room for is left out: the byproducts, and what the builder is
    /// made of.
    ///
    /// # Errors
    /// [`JsonError`]: no builder, no type of build, a resource that names nothing, limits.
    pub fn to_v02(&self) -> Result<Box<RawValue>, JsonError> {
        self.is_whole()?;
        let written = serde_json::value::to_raw_value(&older::WireV02::of(self))?;
        self.is_the_same_in(Version::V0_2, &written)?;
        Ok(written)
    }

    fn has_builder(&self) -> Result<(), JsonError> {
        if self.builder.id.trim().is_empty() {
            return Err(JsonError::Shape("builder.id: expected a URI, found none".into()));
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), JsonError> {
        self.has_builder()?;
        if self.build_type.trim().is_empty() {
            return Err(JsonError::Shape("buildType: expected a URI, found none".into()));
        }
        resource::check("builder.dependencies", &self.builder.dependencies)?;
        resource::check("dependencies", &self.dependencies)?;
        resource::check("byproducts", &self.byproducts)
    }

    /// That what was written is read, and as the same source.
    fn is_the_same_in(&self, version: Version, written: &RawValue) -> Result<(), JsonError> {
        let kind = KINDS.iter().find(|(_, form)| *form == version).map_or("", |(uri, _)| *uri);
        let read = Self::from_json(kind, written.get())?;
        let uri = |of: &Self| of.source.as_ref().map(|source| v1::bare(&source.uri).to_owned());
        if self.source.is_some() && uri(&read) != uri(self) {
            return Err(JsonError::Shape(format!(
                "parameters: expected them to name the source {}, found {}",
                uri(self).unwrap_or_default(),
                uri(&read).unwrap_or_else(|| "none".to_owned())
            )));
        }
        if !self.entry_point.is_empty() && read.entry_point != self.entry_point {
            return Err(JsonError::Shape(format!(
                "parameters: expected them to name the entry point {}, found {:?}",
                self.entry_point, read.entry_point
            )));
        }
        Ok(())
    }
}

fn at(path: &str, text: Option<String>) -> Result<Option<Timestamp>, JsonError> {
    text.map_or(Ok(None), |text| time(path, &text))
}

type WireResources = Resources<MAX_DEPENDENCIES>;

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

    fn everything() -> Provenance {
        let file = Resource {
            name: "log".into(),
            digest: [("sha256".into(), "00".into())].into(),
            content: Some(b"hi".to_vec()),
            ..Resource::default()
        };
        Provenance {
            builder: Builder {
                id: "https://example.com/builder".into(),
                version: [("builder".into(), "1.2".into())].into(),
                dependencies: vec![file.clone()],
            },
            build_type: "https://example.com/make".into(),
            parameters: json!({ "target": "all" }),
            internal_parameters: json!({ "network": "none" }),
            source: Some(Resource {
                uri: "git+https://example.com/shop".into(),
                digest: [("gitCommit".into(), "ab".into())].into(),
                ..Resource::default()
            }),
            entry_point: "build.yml".into(),
            invocation: "run/1".into(),
            started: Some(Timestamp::UNIX_EPOCH),
            finished: Some(Timestamp::UNIX_EPOCH),
            dependencies: vec![Resource::at("pkg:cargo/serde@1")],
            byproducts: vec![file],
            ..Provenance::default()
        }
    }

    #[test]
    fn what_is_written_as_v1_is_read_again() {
        let own = everything();
        let text = own.to_v1().unwrap();
        let read = Provenance::from_json(V1, text.get()).unwrap();
        assert!(text.get().contains(r#""startedOn":"1970-01-01T00:00:00Z""#), "{text}");
        assert_eq!((&read.source, &read.entry_point), (&own.source, &own.entry_point));
        let wanted =
            json!({ "target": "all", "source": "git+https://example.com/shop", "entryPoint": "build.yml" });
        assert_eq!(read.parameters, wanted);
        assert_eq!(read.dependencies.len(), 2, "the source is one of them, with its digest");
        let known = Provenance { parameters: wanted, dependencies: read.dependencies.clone(), ..own };
        assert_eq!(read, known);
        assert_eq!(read.to_v1().unwrap().get(), text.get(), "a second time changes nothing");
    }

    #[test]
    fn older_forms_are_written_as_v1_and_v1_as_v02() {
        let own = everything();
        let older = Provenance::from_json(V02, own.to_v02().unwrap().get()).unwrap();
        assert_eq!((&older.source, &older.entry_point), (&own.source, &own.entry_point));
        assert_eq!((&older.parameters, &older.environment), (&own.parameters, &own.internal_parameters));
        assert_eq!((older.started, &older.invocation), (own.started, &own.invocation));
        assert_eq!(Provenance::from_json(V02, older.to_v02().unwrap().get()).unwrap(), older);

        let first = json!({ "builder": { "id": "b" }, "recipe": { "type": "t", "definedInMaterial": 0, "entryPoint": "e",
                "arguments": ["a"], "environment": { "E": 1 } },
            "metadata": { "completeness": { "arguments": true }, "reproducible": true },
            "materials": [{ "uri": "git+https://a/b", "digest": { "sha1": "00" } }] });
        let first = parse(V01, &first).unwrap();
        assert!(first.completeness.parameters && !first.completeness.materials && first.reproducible);
        let new = Provenance::from_json(V1, first.to_v1().unwrap().get()).unwrap();
        assert_eq!((&new.source, new.entry_point.as_str()), (&first.source, "e"));
        assert_eq!(new.parameters["arguments"], json!(["a"]));
        assert_eq!(new.internal_parameters, json!({ "environment": { "E": 1 } }));
    }

    #[test]
    fn each_defect_alone_keeps_provenance_from_being_written() {
        type Change = fn(&mut Provenance);
        let defects: [(&str, Change); 7] = [
            ("builder.id", |own| own.builder.id = " ".into()),
            ("buildType", |own| own.build_type.clear()),
            ("byproducts[0]", |own| own.byproducts[0] = Resource::default()),
            ("dependencies[0]", |own| own.dependencies[0] = Resource::default()),
            ("internalParameters", |own| own.internal_parameters = json!([])),
            ("the source", |own| own.parameters = json!({ "source": "git+https://example.com/other" })),
            ("the entry point", |own| own.parameters = json!({ "entryPoint": "other.yml" })),
        ];
        for (says, change) in defects {
            let mut own = everything();
            change(&mut own);
            let error = own.to_v1().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn parameters_that_could_be_read_in_two_ways_are_refused() {
        let text = v1().to_string().replacen(r#""path":"#, r#""path":"evil.yml","path":"#, 1);
        assert!(Provenance::from_json(V1, &text).unwrap_err().to_string().contains("twice"));
    }
}
