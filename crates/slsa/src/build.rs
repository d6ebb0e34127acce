//! What provenance says of a build, by its type: the source, the ref, the inputs, and which of the parameters that whoever
//! asked for the build could choose are known for that type. What is not known is named, so that it can be refused.

use std::collections::BTreeMap;

use countersign_attestation::predicate::provenance::{Provenance, Resource, Version};
use serde_json::Value;

use crate::git::Source;

const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator";

/// How a type of build is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A workflow named among the parameters.
    Workflow,
    /// slsa-github-generator and npm in v0.2: the run is in the environment.
    Environment,
    /// slsa-github-generator in v1: the run is among the internal parameters.
    Run,
    /// Google Cloud Build, v0.1.
    CloudBuild,
    /// Google Cloud Build, v1.
    CloudBuildV1,
    /// Builds whose parameters say the source as such.
    Sourced,
    /// Builds whose source is the first repository that went into them.
    FirstRepository,
}

/// The types of builds that are read: URI, how, and the names of their external parameters.
const TYPES: [(&str, Kind, &[&str]); 24] = [
    ("https://countersign.dev/buildtypes/recipe/v1", Kind::Sourced, &["source", "configPath"]),
    ("https://countersign.dev/buildtypes/ci/v1", Kind::Sourced, &["source", "entryPoint", "parameters"]),
    ("https://countersign.dev/buildtypes/command/v1", Kind::Sourced, &["source", "command"]),
    ("https://actions.github.io/buildtypes/workflow/v1", Kind::Workflow, &["workflow", "inputs", "vars"]),
    (
        "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
        Kind::Workflow,
        &["workflow", "inputs", "vars"],
    ),
    ("https://github.com/npm/cli/gha@v1", Kind::Environment, &[]),
    ("https://github.com/npm/cli/gha/v2", Kind::Environment, &[]),
    ("https://github.com/slsa-framework/slsa-github-generator/go@v1", Kind::Environment, OLDER),
    ("https://github.com/slsa-framework/slsa-github-generator/generic@v1", Kind::Environment, OLDER),
    ("https://github.com/slsa-framework/slsa-github-generator/container@v1", Kind::Environment, OLDER),
    ("https://github.com/slsa-framework/slsa-github-generator-go@v1", Kind::Environment, OLDER),
    ("https://github.com/slsa-framework/slsa-github-generator@v1", Kind::Environment, OLDER),
    (
        "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0",
        Kind::Run,
        &["inputs", "vars"],
    ),
    (
        "https://slsa.dev/container-based-build/v0.1?draft",
        Kind::Run,
        &["source", "builderImage", "configPath", "buildConfig"],
    ),
    ("https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1", Kind::CloudBuild, CLOUD_BUILD),
    ("https://cloudbuild.googleapis.com/CloudBuildSteps@v0.1", Kind::CloudBuild, CLOUD_BUILD),
    (
        "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
        Kind::CloudBuildV1,
        &["buildConfigSource", "sourceToBuild", "substitutions"],
    ),
    ("https://tekton.dev/chains/v2/slsa", Kind::FirstRepository, &["runSpec"]),
    ("https://tekton.dev/chains/v2/slsa-tekton", Kind::FirstRepository, &["runSpec"]),
    ("tekton.dev/v1beta1/TaskRun", Kind::Sourced, &[]),
    ("tekton.dev/v1beta1/PipelineRun", Kind::Sourced, &[]),
    ("https://tekton.dev/attestations/chains@v2", Kind::Sourced, &[]),
    ("https://witness.dev/slsa-build@v0.1", Kind::FirstRepository, &["command"]),
    ("https://witness.testifysec.com/slsa-build@v0.1", Kind::FirstRepository, &["command"]),
];

/// What the generator wrote among the parameters before it had an environment.
const OLDER: &[&str] =
    &["version", "event_name", "ref_type", "ref", "base_ref", "head_ref", "actor", "sha1", "event_payload"];
/// What Google's record of a build holds.
const CLOUD_BUILD: &[&str] = &[
    "@type",
    "id",
    "name",
    "options",
    "sourceProvenance",
    "steps",
    "substitutions",
    "images",
    "artifacts",
    "timeout",
    "logsBucket",
    "serviceAccount",
    "tags",
    "queueTtl",
    "availableSecrets",
    "secrets",
    "source",
];

/// What is known of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the type of build is known here.
    pub is_known_type: bool,
    /// The repository, in one spelling.
    pub repository: Option<String>,
    /// The ref, in full.
    pub reference: Option<String>,
    /// The branch: the ref itself, or what the event says of the branch below a tag.
    pub branch: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Whether it is of a commit made on the way, and not of the one that started it.
    pub is_of_another_commit: bool,
    /// The event that started it.
    pub trigger: Option<String>,
    /// The number of the repository.
    pub repository_id: Option<String>,
    /// The number of its owner.
    pub owner_id: Option<String>,
    /// Whose machine it ran on, where that is said.
    pub runner: Option<String>,
    /// What was asked of the workflow by hand; `None` where it was not started so.
    pub inputs: Option<BTreeMap<String, String>>,
    /// Names of external parameters that are not known for this type of build.
    pub unknown_parameters: Vec<String>,
    /// What in it contradicts itself.
    pub contradiction: Option<String>,
}

impl Facts {
    /// Reads what provenance says.
    #[must_use]
    pub fn of(provenance: &Provenance) -> Self {
        let known = TYPES.iter().find(|(uri, ..)| *uri == provenance.build_type);
        let (kind, parameters) = match known {
            Some((_, kind, parameters)) => (*kind, *parameters),
            None => (Kind::Sourced, &[][..]),
        };
        let is_known_type = known.is_some();
        let mut facts = Self { is_known_type, ..Self::default() };
        facts.unknown_parameters = names(&provenance.parameters, parameters);
        let source = match kind {
            Kind::Run if provenance.source.is_none() => provenance.dependencies.first(),
            Kind::CloudBuild => provenance.source.as_ref().or_else(|| provenance.dependencies.first()),
            Kind::FirstRepository => {
                provenance.dependencies.iter().find(|found| found.uri.starts_with("git+"))
            }
            _ => provenance.source.as_ref(),
        };
        if let Some(source) = source {
            facts.take_source(source);
        }
        match kind {
            Kind::Workflow => facts.take_workflow(provenance),
            Kind::Environment => facts.take_run(&provenance.environment),
            Kind::Run => facts.take_run(&provenance.internal_parameters),
            Kind::CloudBuild => facts.take_substitutions(member(&provenance.parameters, "substitutions")),
            Kind::CloudBuildV1 => {
                facts.take_substitutions(member(&provenance.internal_parameters, "systemSubstitutions"))
            }
            Kind::Sourced => {
                let named = member(&provenance.parameters, "source");
                facts.take_reference(text(named, "ref"));
                facts.commit = facts.commit.take().or_else(|| commit(named));
                facts.inputs = inputs(member(&provenance.parameters, "parameters"));
            }
            Kind::FirstRepository => {}
        }
        facts.check_material(provenance, kind);
        if facts.branch.is_none() {
            facts.branch = facts.reference.clone().filter(|reference| reference.starts_with("refs/heads/"));
        }
        facts
    }

    fn take_source(&mut self, source: &Resource) {
        if let Some(read) = Source::parse(&source.uri) {
            self.repository = Some(read.repository);
            self.reference = read.reference;
        }
        self.commit = ["gitCommit", "sha1"].iter().find_map(|name| source.digest.get(*name)).cloned();
    }

    fn take_reference(&mut self, found: Option<String>) {
        match (&self.reference, found) {
            (None, Some(found)) => self.reference = Some(found),
            (Some(own), Some(found)) if *own != found => self.contradict("the ref", own.clone(), found),
            _ => {}
        }
    }

    fn contradict(&mut self, what: &str, one: impl Into<String>, other: impl Into<String>) {
        let (one, other) = (one.into(), other.into());
        self.contradiction.get_or_insert(format!("{what} is {one} in one place and {other} in another"));
    }

    fn take_workflow(&mut self, provenance: &Provenance) {
        let (workflow, github) =
            (member(&provenance.parameters, "workflow"), member(&provenance.internal_parameters, "github"));
        self.take_reference(text(workflow, "ref"));
        self.trigger = text(github, "event_name");
        self.repository_id = text(github, "repository_id");
        self.owner_id = text(github, "repository_owner_id");
        self.runner = text(github, "runner_environment");
        self.inputs =
            inputs(member(&provenance.parameters, "inputs")).or_else(|| inputs(member(workflow, "inputs")));
    }

    /// The run of a workflow as GitHub's variables tell it, in either case.
    fn take_run(&mut self, run: &Value) {
        let variable = |name: &str| text(run, name).or_else(|| text(run, &name.to_ascii_lowercase()));
        self.trigger = variable("GITHUB_EVENT_NAME");
        self.repository_id = variable("GITHUB_REPOSITORY_ID");
        self.owner_id = variable("GITHUB_REPOSITORY_OWNER_ID");
        self.runner = variable("RUNNER_ENVIRONMENT");
        if let (Some(found), Some(own)) = (variable("GITHUB_REPOSITORY"), self.repository.clone()) {
            let found = Source::parse(&format!("https://github.com/{found}"));
            if found.as_ref().is_none_or(|found| found.repository != own) {
                self.contradict(
                    "the repository",
                    own,
                    found.map_or_else(|| "another".into(), |found| found.repository),
                );
            }
        }
        let reference = variable("GITHUB_REF");
        // A delegated build may be of another commit than the one that started it, and then names no ref.
        let workflow =
            variable("GITHUB_WORKFLOW_REF").and_then(|text| Some(text.split_once('@')?.1.to_owned()));
        if self.reference.is_none() {
            self.reference = reference.clone().or(workflow);
        } else {
            self.take_reference(reference.clone());
        }
        let payload = [member(run, "GITHUB_EVENT_PAYLOAD"), member(run, "github_event_payload")]
            .into_iter()
            .find(|v| !v.is_null());
        let Some(payload) = payload else { return };
        let below = match self.trigger.as_deref() {
            Some("push") => text(payload, "base_ref"),
            Some("release") => text(member(payload, "release"), "target_commitish")
                .map(|branch| format!("refs/heads/{branch}")),
            _ => None,
        };
        self.branch =
            below.filter(|_| reference.is_some_and(|reference| reference.starts_with("refs/tags/")));
        if self.trigger.as_deref() == Some("workflow_dispatch") {
            self.inputs = Some(inputs(member(payload, "inputs")).unwrap_or_default());
        }
    }

    fn take_substitutions(&mut self, substitutions: &Value) {
        // These are names and never refs: a tag may itself be called refs/heads/main.
        if let Some(tag) = text(substitutions, "TAG_NAME") {
            self.take_reference(Some(format!("refs/tags/{tag}")));
        } else if let Some(branch) = text(substitutions, "BRANCH_NAME") {
            self.take_reference(Some(format!("refs/heads/{branch}")));
        }
        if let (Some(found), Some(own)) = (text(substitutions, "COMMIT_SHA"), self.commit.clone())
            && found != own
        {
            self.contradict("the commit", own, found);
        }
    }

    /// What started a build and what went into it first are the same repository at the same ref, where both are named.
    fn check_material(&mut self, provenance: &Provenance, kind: Kind) {
        if !matches!(kind, Kind::Workflow | Kind::Environment | Kind::Run) {
            return;
        }
        let Some(first) = provenance.dependencies.first() else { return };
        let Some(material) = Source::parse(&first.uri) else { return };
        self.is_of_another_commit = kind == Kind::Run && material.reference.is_none();
        if let Some(own) = self.repository.clone()
            && own != material.repository
        {
            self.contradict("the repository", own, material.repository);
        }
        if let (Some(own), Some(found)) = (self.reference.clone(), material.reference)
            && own != found
        {
            self.contradict("the ref", own, found);
        }
        let commit = ["gitCommit", "sha1"].iter().find_map(|name| first.digest.get(*name)).cloned();
        match (self.commit.clone(), commit) {
            (Some(own), Some(found)) if own != found => self.contradict("the commit", own, found),
            (None, found) => self.commit = found,
            _ => {}
        }
        if provenance.version == Version::V1
            && provenance.build_type.starts_with(GENERATOR)
            && self.commit.is_none()
        {
            self.contradiction.get_or_insert_with(|| "no commit is named".to_owned());
        }
    }
}

/// The names of an object's members that are not among the known ones.
fn names(parameters: &Value, known: &[&str]) -> Vec<String> {
    match parameters {
        Value::Object(members) => {
            let unknown =
                members.iter().filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
            unknown.map(|(name, _)| name.clone()).collect()
        }
        Value::Null => Vec::new(),
        // Not an object: it can only be known as a whole.
        _ => vec!["parameters".to_owned()],
    }
}

/// A member; null for one that is not there.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn text(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn commit(source: &Value) -> Option<String> {
    ["gitCommit", "sha1"].iter().find_map(|name| text(member(source, "digest"), name))
}

/// Inputs as texts, as a form on a web page gives them.
fn inputs(value: &Value) -> Option<BTreeMap<String, String>> {
    let members = value.as_object()?.iter();
    let read = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), text)
    };
    Some(members.map(read).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provenance(kind: &str, predicate: &Value) -> Provenance {
        Provenance::from_json(&format!("https://slsa.dev/provenance/{kind}"), &predicate.to_string()).unwrap()
    }

    const GIT: &str = "git+https://github.com/acme/shop@refs/tags/v1.2.3";

    fn generator() -> Value {
        json!({ "builder": { "id": "b" }, "buildType": format!("{GENERATOR}/generic@v1"),
            "invocation": { "configSource": { "uri": GIT, "digest": { "sha1": "ab" }, "entryPoint": "r.yml" }, "parameters": {},
                "environment": { "github_event_name": "push", "github_ref": "refs/tags/v1.2.3", "github_ref_type": "tag",
                    "github_repository_id": "7", "github_event_payload": { "base_ref": "refs/heads/main", "inputs": null } } },
            "materials": [{ "uri": GIT, "digest": { "sha1": "ab" } }] })
    }

    #[test]
    fn the_generators_run_is_in_the_environment() {
        let facts = Facts::of(&provenance("v0.2", &generator()));
        assert_eq!(facts.repository.as_deref(), Some("https://github.com/acme/shop"));
        assert_eq!(facts.reference.as_deref(), Some("refs/tags/v1.2.3"));
        assert_eq!(facts.branch.as_deref(), Some("refs/heads/main"), "the branch below the tag");
        assert_eq!((facts.commit.as_deref(), facts.repository_id.as_deref()), (Some("ab"), Some("7")));
        assert!(facts.is_known_type && facts.unknown_parameters.is_empty() && facts.contradiction.is_none());
        assert_eq!(facts.inputs, None, "nobody started it by hand");
        let mut by_hand = generator();
        by_hand["invocation"]["environment"]["github_event_name"] = "workflow_dispatch".into();
        by_hand["invocation"]["environment"]["github_event_payload"]["inputs"] =
            json!({ "a": "b=c", "n": 1, "yes": true });
        let inputs = Facts::of(&provenance("v0.2", &by_hand)).inputs.unwrap();
        assert_eq!(
            (inputs["a"].as_str(), inputs["n"].as_str(), inputs["yes"].as_str()),
            ("b=c", "1", "true")
        );
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        for (pointer, value) in [
            ("/materials/0/uri", json!("git+https://github.com/acme/evil@refs/tags/v1.2.3")),
            ("/materials/0/uri", json!("git+https://github.com/acme/shop@refs/heads/main")),
            ("/materials/0/digest/sha1", json!("cd")),
            ("/invocation/environment/github_ref", json!("refs/heads/main")),
        ] {
            let mut changed = generator();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(Facts::of(&provenance("v0.2", &changed)).contradiction.is_some(), "{pointer}");
        }
    }

    #[test]
    fn a_parameter_that_is_not_known_is_named_for_every_type() {
        let of = |build_type: &str, parameters: Value| {
            let predicate = json!({ "buildDefinition": { "buildType": build_type, "externalParameters": parameters },
                "runDetails": { "builder": { "id": "b" } } });
            Facts::of(&provenance("v1", &predicate))
        };
        for (uri, kind, known) in TYPES {
            if matches!(kind, Kind::Environment | Kind::CloudBuild) {
                continue;
            }
            let mut all: serde_json::Map<String, Value> =
                known.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
            assert!(of(uri, all.clone().into()).unknown_parameters.is_empty(), "{uri}");
            all.insert("compilerFlags".into(), json!("-evil"));
            assert_eq!(of(uri, all.into()).unknown_parameters, ["compilerFlags"], "{uri}");
        }
        let facts =
            of("https://example.com/make", json!({ "source": "git+https://example.com/a", "x": null }));
        assert!(!facts.is_known_type);
        assert_eq!(facts.unknown_parameters, ["source"], "of a type nobody knows, nothing is known");
        assert_eq!(facts.repository.as_deref(), Some("https://example.com/a"));
    }

    #[test]
    fn workflows_delegators_containers_and_cloud_builds_name_their_source() {
        let run = json!({ "GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_REF": "refs/heads/main", "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_EVENT_PAYLOAD": { "inputs": { "x": "y" } } });
        let git = json!({ "uri": "git+https://github.com/acme/shop@refs/heads/main", "digest": { "gitCommit": "ab" } });
        let cases = [
            (
                "https://actions.github.io/buildtypes/workflow/v1",
                json!({ "workflow": { "ref": "refs/heads/main", "repository": "https://github.com/acme/shop", "path": "p" }, "inputs": { "x": "y" } }),
                json!({ "github": { "event_name": "workflow_dispatch" } }),
            ),
            (
                "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0",
                json!({ "inputs": {} }),
                run.clone(),
            ),
            ("https://slsa.dev/container-based-build/v0.1?draft", json!({ "source": git }), run),
        ];
        for (build_type, external, internal) in cases {
            let predicate = json!({ "buildDefinition": { "buildType": build_type, "externalParameters": external,
                "internalParameters": internal, "resolvedDependencies": [git] }, "runDetails": { "builder": { "id": "b" } } });
            let facts = Facts::of(&provenance("v1", &predicate));
            assert_eq!(facts.repository.as_deref(), Some("https://github.com/acme/shop"), "{build_type}");
            assert_eq!(facts.reference.as_deref(), Some("refs/heads/main"), "{build_type}");
            assert_eq!(facts.branch, facts.reference, "{build_type}");
            assert_eq!(facts.commit.as_deref(), Some("ab"), "{build_type}");
            assert_eq!(facts.trigger.as_deref(), Some("workflow_dispatch"), "{build_type}");
            assert_eq!(facts.inputs.unwrap()["x"], "y", "{build_type}");
            assert_eq!(facts.contradiction, None, "{build_type}");
        }
        let cloud = json!({ "builder": { "id": "b" }, "recipe": { "type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1",
                "arguments": { "@type": "t", "substitutions": { "TAG_NAME": "v1", "COMMIT_SHA": "ab" } } },
            "materials": [{ "uri": "git+https://github.com/acme/shop", "digest": { "sha1": "ab" } }] });
        let facts = Facts::of(&provenance("v0.1", &cloud));
        assert_eq!(
            (facts.repository.as_deref(), facts.reference.as_deref()),
            (Some("https://github.com/acme/shop"), Some("refs/tags/v1"))
        );
        assert_eq!(facts.contradiction, None);
    }

    #[test]
    fn a_tag_that_is_called_like_a_branch_is_none_and_a_branch_called_like_a_tag_no_tag() {
        let of = |substitutions: Value| {
            let cloud = json!({ "builder": { "id": "b" }, "recipe": { "type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1",
                    "arguments": { "substitutions": substitutions } } });
            let facts = Facts::of(&provenance("v0.1", &cloud));
            (facts.reference.unwrap(), facts.branch)
        };
        assert_eq!(of(json!({ "TAG_NAME": "refs/heads/main" })), ("refs/tags/refs/heads/main".into(), None));
        let branch = "refs/heads/refs/tags/v1".to_owned();
        assert_eq!(of(json!({ "BRANCH_NAME": "refs/tags/v1" })), (branch.clone(), Some(branch)));
    }

    #[test]
    fn a_delegated_build_of_another_repository_than_its_run_contradicts_itself() {
        let predicate = json!({ "buildDefinition": {
            "buildType": "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0", "externalParameters": {},
            "internalParameters": { "GITHUB_REPOSITORY": "acme/evil" },
            "resolvedDependencies": [{ "uri": "git+https://github.com/acme/shop", "digest": { "gitCommit": "ab" } }] },
            "runDetails": { "builder": { "id": "b" } } });
        assert!(Facts::of(&provenance("v1", &predicate)).contradiction.unwrap().contains("repository"));
    }
}
