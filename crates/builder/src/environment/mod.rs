//! Where a build runs, as its variables say: from which source, started how, by whom.
//!
//! | module | platform | known by |
//! |---|---|---|
//! | `github` | GitHub Actions | `GITHUB_ACTIONS` |
//! | `gitlab` | GitLab CI | `GITLAB_CI` |
//! | `jenkins` | Jenkins | `JENKINS_URL` or `BUILD_URL` with `JOB_NAME` |
//! | `tekton` | Tekton | `TEKTON_TASK_RUN`, which our Task sets |
//! | `buildkite` | Buildkite | `BUILDKITE` |
//! | `circleci` | CircleCI | `CIRCLECI` |
//! | `shell` | anything else | |
//!
//! Variables are given, not looked up, so that one answer belongs to one set of them. Only those which are named here are
//! read, and what whoever asks names; nothing else of the environment is ever told.

use std::collections::BTreeMap;
use std::fmt;

use countersign_attestation::predicate::provenance::{Builder, Provenance, Resource};
use serde_json::{Map, Value, json};

use crate::address;
use crate::checkout::Checkout;

mod buildkite;
mod circleci;
mod github;
mod gitlab;
mod jenkins;
mod shell;
mod tekton;
#[cfg(test)]
mod tests;

/// The variables of a process.
pub type Variables = BTreeMap<String, String>;

/// The type of build of platforms that have published none of their own. docs/provenance.md says what is in it.
pub const CI_BUILD_TYPE: &str = "https://countersign.dev/buildtypes/ci/v1";
/// The longest value of a variable that is told, in bytes.
pub const MAX_VALUE_LEN: usize = 4096;
/// All variables that are read, in the order of the alphabet.
pub const READ: [&str; 70] = [
    "BUILDKITE",
    "BUILDKITE_AGENT_ID",
    "BUILDKITE_BRANCH",
    "BUILDKITE_BUILD_URL",
    "BUILDKITE_COMMIT",
    "BUILDKITE_COMPUTE_TYPE",
    "BUILDKITE_JOB_ID",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_REPO",
    "BUILDKITE_SOURCE",
    "BUILDKITE_STEP_KEY",
    "BUILDKITE_TAG",
    "BUILD_TAG",
    "BUILD_URL",
    "CARGO_PKG_VERSION",
    "CHANGE_ID",
    "CIRCLECI",
    "CIRCLE_BRANCH",
    "CIRCLE_BUILD_URL",
    "CIRCLE_JOB",
    "CIRCLE_ORGANIZATION_ID",
    "CIRCLE_PROJECT_ID",
    "CIRCLE_REPOSITORY_URL",
    "CIRCLE_SHA1",
    "CIRCLE_TAG",
    "CIRCLE_WORKFLOW_ID",
    "CIRCLE_WORKFLOW_JOB_ID",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_SHA",
    "CI_COMMIT_TAG",
    "CI_CONFIG_PATH",
    "CI_JOB_NAME",
    "CI_JOB_URL",
    "CI_MERGE_REQUEST_REF_PATH",
    "CI_PIPELINE_SOURCE",
    "CI_PROJECT_ID",
    "CI_PROJECT_NAMESPACE_ID",
    "CI_PROJECT_URL",
    "CI_RUNNER_ID",
    "CI_RUNNER_VERSION",
    "GITHUB_ACTIONS",
    "GITHUB_EVENT_NAME",
    "GITHUB_REF",
    "GITHUB_REPOSITORY",
    "GITHUB_REPOSITORY_ID",
    "GITHUB_REPOSITORY_OWNER_ID",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW_REF",
    "GITLAB_CI",
    "GIT_BRANCH",
    "GIT_COMMIT",
    "GIT_URL",
    "JENKINS_URL",
    "JOB_NAME",
    "NODE_NAME",
    "RUNNER_ENVIRONMENT",
    "TAG_NAME",
    "TEKTON_BUILDER",
    "TEKTON_NAMESPACE",
    "TEKTON_PIPELINE_RUN",
    "TEKTON_SOURCE_COMMIT",
    "TEKTON_SOURCE_REF",
    "TEKTON_SOURCE_URL",
    "TEKTON_TASK",
    "TEKTON_TASK_RUN",
    "TEKTON_TASK_RUN_UID",
];
/// What a resource with changes that nobody committed is marked with: how many files.
pub const UNCOMMITTED: &str = "countersign_uncommitted";

/// What runs the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// GitHub Actions.
    GithubActions,
    /// GitLab CI.
    GitlabCi,
    /// Jenkins.
    Jenkins,
    /// Tekton, through the Task in deploy/ci.
    Tekton,
    /// Buildkite.
    Buildkite,
    /// CircleCI.
    CircleCi,
    /// None that is known: somebody's shell.
    Shell,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::GithubActions,
        Self::GitlabCi,
        Self::Jenkins,
        Self::Tekton,
        Self::Buildkite,
        Self::CircleCi,
        Self::Shell,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GithubActions => "github-actions",
            Self::GitlabCi => "gitlab-ci",
            Self::Jenkins => "jenkins",
            Self::Tekton => "tekton",
            Self::Buildkite => "buildkite",
            Self::CircleCi => "circleci",
            Self::Shell => "shell",
        }
    }

    /// The platform of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.name() == name)
    }

    /// Which platform these variables are of.
    ///
    /// ```
    /// use countersign_builder::environment::{Platform, Variables};
    /// let variables = Variables::from([("GITLAB_CI".to_owned(), "true".to_owned())]);
    /// assert_eq!(Platform::detect(&variables), Platform::GitlabCi);
    /// assert_eq!(Platform::detect(&Variables::new()), Platform::Shell);
    /// ```
    #[must_use]
    pub fn detect(variables: &Variables) -> Self {
        let set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        let is_true =
            |name: &str| variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        // Jenkins last: its variables have names that others use too.
        if is_true("GITHUB_ACTIONS") {
            Self::GithubActions
        } else if is_true("GITLAB_CI") {
            Self::GitlabCi
        } else if is_true("BUILDKITE") {
            Self::Buildkite
        } else if is_true("CIRCLECI") {
            Self::CircleCi
        } else if set("TEKTON_TASK_RUN") {
            Self::Tekton
        } else if set("JENKINS_URL") || (set("BUILD_URL") && set("JOB_NAME")) {
            Self::Jenkins
        } else {
            Self::Shell
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the environment does not say what provenance must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable that the platform sets is not there.
    #[error("{platform}: the variable {name} is missing: {hint}")]
    Missing {
        /// The platform.
        platform: Platform,
        /// The variable.
        name: String,
        /// What it is, or who sets it.
        hint: &'static str,
    },
    /// A variable is not what it should be. Its value is not told: it may be a secret in the wrong place.
    #[error("{platform}: the variable {name} is not as expected: expected {expected}")]
    Malformed {
        /// The platform.
        platform: Platform,
        /// The variable.
        name: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// What the variables say.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// The platform.
    pub platform: Platform,
    /// How to read the parameters.
    pub build_type: String,
    /// Who builds: its URI.
    pub builder: String,
    /// What is built: `git+https://…@refs/…` and its commit. In a shell that is what is checked out, if anything is.
    pub source: Option<Resource>,
    /// What in the source says how.
    pub entry_point: String,
    /// What whoever asked for the build could choose.
    pub parameters: Value,
    /// What the platform says beside that.
    pub internal: Value,
    /// The name of the run.
    pub invocation: String,
    /// What else went in: the work tree, where it is of another commit than the run.
    pub dependencies: Vec<Resource>,
    /// What whoever signs this should know.
    pub notes: Vec<String>,
}

impl Environment {
    /// Reads the variables of a platform, with those that `asked` names as parameters, and takes up what is checked out.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn read(
        platform: Platform,
        variables: &Variables,
        asked: &[String],
        checkout: Option<&Checkout>,
    ) -> Result<Self, EnvironmentError> {
        let reader = Reader { platform, variables };
        let asked = reader.parameters(asked)?;
        let mut found = match platform {
            Platform::GithubActions => github::read(&reader, asked)?,
            Platform::GitlabCi => gitlab::read(&reader, asked)?,
            Platform::Jenkins => jenkins::read(&reader, asked)?,
            Platform::Tekton => tekton::read(&reader, asked)?,
            Platform::Buildkite => buildkite::read(&reader, asked)?,
            Platform::CircleCi => circleci::read(&reader, asked)?,
            Platform::Shell => shell::read(&reader, asked, checkout),
        };
        if let Some(checkout) = checkout {
            found.compare(checkout);
        }
        Ok(found)
    }

    /// Provenance of what was built here, without subjects, times and materials.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        Provenance {
            builder: Builder {
                id: self.builder.clone(),
                version: [("countersign".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
                ..Builder::default()
            },
            build_type: self.build_type.clone(),
            source: self.source.clone(),
            entry_point: self.entry_point.clone(),
            parameters: self.parameters.clone(),
            internal_parameters: self.internal.clone(),
            invocation: self.invocation.clone(),
            dependencies: self.source.iter().chain(&self.dependencies).cloned().collect(),
            ..Provenance::default()
        }
    }

    /// Holds the work tree against the source: it may have changes, or be of another commit.
    fn compare(&mut self, checkout: &Checkout) {
        let commit = |resource: &Resource| resource.digest.get("gitCommit").cloned();
        if checkout.changed > 0 {
            self.notes.push(format!(
                "{} files differ from commit {}: what was built is not what that commit has",
                checkout.changed, checkout.commit
            ));
        }
        match self.source.as_mut().filter(|source| commit(source).as_ref() == Some(&checkout.commit)) {
            Some(source) => mark(source, checkout.changed),
            None => {
                if let Some(source) = &self.source {
                    self.notes.push(format!(
                        "the work tree is at commit {}, and the run is for {}; both are recorded",
                        checkout.commit,
                        commit(source).unwrap_or_default()
                    ));
                }
                self.dependencies.push(checkout.resource());
            }
        }
    }
}

/// Says of a resource how many files nobody committed; of none it says nothing.
pub(crate) fn mark(resource: &mut Resource, changed: usize) {
    if changed > 0 {
        resource.annotations.insert(UNCOMMITTED.into(), changed.into());
    }
}

/// Reads variables of a platform.
struct Reader<'a> {
    platform: Platform,
    variables: &'a Variables,
}

impl Reader<'_> {
    /// A value, if there is one.
    fn get(&self, name: &str) -> Result<Option<&str>, EnvironmentError> {
        let value = self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        match value {
            Some(value) if value.len() > MAX_VALUE_LEN || value.chars().any(char::is_control) => {
                Err(self.malformed(name, "one line of at most 4096 bytes"))
            }
            value => Ok(value),
        }
    }

    fn need(&self, name: &str, hint: &'static str) -> Result<&str, EnvironmentError> {
        self.get(name)?.ok_or_else(|| EnvironmentError::Missing {
            platform: self.platform,
            name: name.to_owned(),
            hint,
        })
    }

    fn malformed(&self, name: &str, expected: &'static str) -> EnvironmentError {
        EnvironmentError::Malformed { platform: self.platform, name: name.to_owned(), expected }
    }

    /// An address without what is secret in it, and without a slash at its end.
    fn address(&self, name: &str, hint: &'static str) -> Result<String, EnvironmentError> {
        let found = address::public(self.need(name, hint)?);
        found
            .map(|url| url.trim_end_matches('/').to_owned())
            .ok_or_else(|| self.malformed(name, "an address"))
    }

    /// The repository in one variable, at a reference, and the commit in another.
    fn source(&self, repository: &str, reference: &str, commit: &str) -> Result<Resource, EnvironmentError> {
        let address = self.need(repository, "the repository's address")?;
        let uri = address::git(address, reference)
            .ok_or_else(|| self.malformed(repository, "a repository's address"))?;
        let digest = [("gitCommit".to_owned(), self.commit(commit)?)].into();
        Ok(Resource { uri, digest, ..Resource::default() })
    }

    fn commit(&self, name: &str) -> Result<String, EnvironmentError> {
        let value = self.need(name, "the commit that is built")?;
        if !matches!(value.len(), 40 | 64) || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.malformed(name, "a whole commit, hexadecimal"));
        }
        Ok(value.to_ascii_lowercase())
    }

    /// The variables that are to be told as parameters.
    fn parameters(&self, names: &[String]) -> Result<Map<String, Value>, EnvironmentError> {
        let asked = names.iter().map(|name| {
            let value = self.need(name, "it was asked for as a parameter")?;
            Ok((name.clone(), value.into()))
        });
        asked.collect()
    }

    /// What platforms without a type of build of their own say.
    fn environment(
        &self,
        builder: String,
        source: Option<Resource>,
        entry_point: String,
        invocation: String,
        asked: Map<String, Value>,
    ) -> Environment {
        let mut parameters = Map::new();
        if let Some(source) = &source {
            parameters.insert("source".into(), source.uri.clone().into());
        }
        if !entry_point.is_empty() {
            parameters.insert("entryPoint".into(), entry_point.clone().into());
        }
        if !asked.is_empty() {
            parameters.insert("parameters".into(), asked.into());
        }
        Environment {
            platform: self.platform,
            build_type: CI_BUILD_TYPE.to_owned(),
            builder,
            source,
            entry_point,
            parameters: parameters.into(),
            internal: json!({ "platform": self.platform.name() }),
            invocation,
            dependencies: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds those of the variables that are set to what the platform says, under their names there.
    fn tell(&self, environment: &mut Environment, names: &[(&str, &str)]) -> Result<(), EnvironmentError> {
        let Value::Object(internal) = &mut environment.internal else { return Ok(()) };
        for (told, name) in names {
            if let Some(value) = self.get(name)? {
                internal.insert((*told).to_owned(), value.into());
            }
        }
        Ok(())
    }
}

/// A branch by its whole name; what is a whole name already stays.
fn branch(name: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") }
}
