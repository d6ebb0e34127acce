//! CI providers: how the claims of a build service's tokens become a certificate's name and extensions.
//!
//! The providers Sigstore's public instance knows are built in; others are defined in the configuration.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::template::{Template, Values};
use crate::json;

/// The extensions a template may fill, by the names of Fulcio's YAML and JSON configuration. Issuer and subject are
/// not among them: they always come from the token.
pub const EXTENSION_NAMES: [(&str, &str); 20] = [
    ("github-workflow-trigger", "GithubWorkflowTrigger"),
    ("github-workflow-sha", "GithubWorkflowSHA"),
    ("github-workflow-name", "GithubWorkflowName"),
    ("github-workflow-repository", "GithubWorkflowRepository"),
    ("github-workflow-ref", "GithubWorkflowRef"),
    ("build-signer-uri", "BuildSignerURI"),
    ("build-signer-digest", "BuildSignerDigest"),
    ("runner-environment", "RunnerEnvironment"),
    ("source-repository-uri", "SourceRepositoryURI"),
    ("source-repository-digest", "SourceRepositoryDigest"),
    ("source-repository-ref", "SourceRepositoryRef"),
    ("source-repository-identifier", "SourceRepositoryIdentifier"),
    ("source-repository-owner-uri", "SourceRepositoryOwnerURI"),
    ("source-repository-owner-identifier", "SourceRepositoryOwnerIdentifier"),
    ("build-config-uri", "BuildConfigURI"),
    ("build-config-digest", "BuildConfigDigest"),
    ("build-trigger", "BuildTrigger"),
    ("run-invocation-uri", "RunInvocationURI"),
    ("source-repository-visibility-at-signing", "SourceRepositoryVisibilityAtSigning"),
    ("deployment-environment", "DeploymentEnvironment"),
];

/// A CI provider as it is written in the configuration.
///
/// ```
/// let templates: countersign_ca::config::CiTemplates = toml::from_str(r#"
///     subject = "{{ .url }}/{{ .project }}"
///     locked = ["url"]
///     [extensions]
///     source-repository-digest = "commit"
///     [defaults]
///     url = "https://ci.example.com"
/// "#)?;
/// assert_eq!(templates.defaults["url"], "https://ci.example.com");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CiTemplates {
    /// The template of the subject alternative name, a URI.
    pub subject: String,
    /// Templates of extensions, by the names in [`EXTENSION_NAMES`].
    #[serde(default)]
    pub extensions: BTreeMap<String, String>,
    /// Values for claims which a token may lack. A claim of the token wins over its default, unless locked.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// Names of defaults which no claim may replace. Lock whatever begins a URI: an issuer whose users can choose a
    /// claim's name could else choose the host in the certificate.
    #[serde(default)]
    pub locked: BTreeSet<String>,
}

/// A CI provider, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CiProvider {
    pub(crate) subject: Template,
    pub(crate) extensions: Vec<(&'static str, Template)>,
    defaults: BTreeMap<String, String>,
    locked: BTreeSet<String>,
    /// Claims the token must carry, not empty, whatever the templates use.
    required: &'static [&'static str],
}

impl CiProvider {
    /// Checks a definition: every template, every extension's name, every lock.
    pub(crate) fn compile(templates: &CiTemplates) -> Result<Self, String> {
        let subject = Template::parse(&templates.subject).map_err(|e| format!("subject: {e}"))?;
        let mut extensions = Vec::new();
        for (name, text) in &templates.extensions {
            let known = EXTENSION_NAMES
                .iter()
                .find(|(yaml, _)| yaml == name)
                .ok_or_else(|| format!("there is no extension named \"{name}\" that a template may fill"))?;
            // Fulcio's file has empty templates for extensions which are not wanted.
            if !text.trim().is_empty() {
                extensions.push((known.0, Template::parse(text).map_err(|e| format!("{name}: {e}"))?));
            }
        }
        if let Some(name) = templates.locked.iter().find(|n| !templates.defaults.contains_key(*n)) {
            return Err(format!("\"{name}\" is locked but has no default value"));
        }
        Ok(Self {
            subject,
            extensions,
            defaults: templates.defaults.clone(),
            locked: templates.locked.clone(),
            required: &[],
        })
    }

    /// What the templates see of a token.
    pub(crate) fn values<'a>(&'a self, claims: &'a Map<String, Value>) -> Result<ClaimValues<'a>, String> {
        for name in self.required {
            if claim_text(claims, name)?.is_none_or(|text| text.is_empty()) {
                return Err(format!("expected the claim \"{name}\", found none"));
            }
        }
        Ok(ClaimValues { provider: self, claims })
    }
}

/// The claims of a token over the defaults of a provider, under its locks.
#[derive(Debug)]
pub(crate) struct ClaimValues<'a> {
    provider: &'a CiProvider,
    claims: &'a Map<String, Value>,
}

impl Values for ClaimValues<'_> {
    fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, String> {
        let default = || self.provider.defaults.get(name).map(|v| Cow::Borrowed(v.as_str()));
        if self.provider.locked.contains(name) {
            return Ok(default());
        }
        Ok(claim_text(self.claims, name)?.or_else(default))
    }
}

/// A claim as text: strings as they are, whole numbers without a fraction, truth values as words. `null` is no value.
fn claim_text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<Cow<'a, str>>, String> {
    Ok(match claims.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Cow::Borrowed(text)),
        Some(Value::Bool(value)) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        // Rust prints a float without exponent and 5.0 as "5", as Go's 'f' format does.
        Some(Value::Number(number)) => Some(Cow::Owned(match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float}"),
            _ => number.to_string(),
        })),
        Some(other) => {
            return Err(format!("expected the claim \"{name}\" a string, found {}", json::kind(other)));
        }
    })
}

type Pairs = &'static [(&'static str, &'static str)];

struct BuiltIn {
    name: &'static str,
    subject: &'static str,
    extensions: Pairs,
    defaults: Pairs,
    locked: &'static [&'static str],
}

/// The providers of Sigstore's public instance, with its templates. Where a claim names the platform on purpose
/// (Codefresh, Buddy: several regions and private installations) the default is not locked.
const BUILT_IN: [BuiltIn; 6] = [
    BuiltIn {
        name: "github-workflow",
        subject: "{{ .url }}/{{ .job_workflow_ref }}",
        extensions: &[
            ("github-workflow-trigger", "event_name"),
            ("github-workflow-sha", "sha"),
            ("github-workflow-name", "workflow"),
            ("github-workflow-repository", "repository"),
            ("github-workflow-ref", "ref"),
            ("build-signer-uri", "{{ .url }}/{{ .job_workflow_ref }}"),
            ("build-signer-digest", "job_workflow_sha"),
            ("runner-environment", "runner_environment"),
            ("source-repository-uri", "{{ .url }}/{{ .repository }}"),
            ("source-repository-digest", "sha"),
            ("source-repository-ref", "ref"),
            ("source-repository-identifier", "repository_id"),
            ("source-repository-owner-uri", "{{ .url }}/{{ .repository_owner }}"),
            ("source-repository-owner-identifier", "repository_owner_id"),
            ("build-config-uri", "{{ .url }}/{{ .workflow_ref }}"),
            ("build-config-digest", "workflow_sha"),
            ("build-trigger", "event_name"),
            (
                "run-invocation-uri",
                "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}",
            ),
            ("source-repository-visibility-at-signing", "repository_visibility"),
            ("deployment-environment", "environment"),
        ],
        defaults: &[("url", "https://github.com"), ("environment", "")],
        locked: &["url"],
    },
    BuiltIn {
        name: "gitlab-pipeline",
        subject: "https://{{ .ci_config_ref_uri }}",
        extensions: &[
            ("build-signer-uri", "https://{{ .ci_config_ref_uri }}"),
            ("build-signer-digest", "ci_config_sha"),
            ("runner-environment", "runner_environment"),
            ("source-repository-uri", "{{ .url }}/{{ .project_path }}"),
            ("source-repository-digest", "sha"),
            (
                "source-repository-ref",
                r#"refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}"#,
            ),
            ("source-repository-identifier", "project_id"),
            ("source-repository-owner-uri", "{{ .url }}/{{ .namespace_path }}"),
            ("source-repository-owner-identifier", "namespace_id"),
            ("build-config-uri", "https://{{ .ci_config_ref_uri }}"),
            ("build-config-digest", "ci_config_sha"),
            ("build-trigger", "pipeline_source"),
            ("run-invocation-uri", "{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}"),
            ("source-repository-visibility-at-signing", "project_visibility"),
            ("deployment-environment", "environment"),
        ],
        // GitLab sends no ci_config_sha when the pipeline's definition lives in another project.
        defaults: &[
            ("url", "https://gitlab.com"),
            ("environment", ""),
            ("ci_config_sha", ""),
            ("project_visibility", ""),
        ],
        locked: &["url"],
    },
    BuiltIn {
        name: "codefresh-workflow",
        subject: "{{.platform_url}}/{{.account_name}}/{{.pipeline_name}}:{{.account_id}}/{{.pipeline_id}}",
        extensions: &[
            ("build-signer-uri", "{{.platform_url}}/build/{{ .workflow_id }}"),
            ("runner-environment", "runner_environment"),
            ("source-repository-uri", "scm_repo_url"),
            ("source-repository-ref", "scm_ref"),
            ("build-config-uri", "{{.platform_url}}/api/pipelines/{{ .pipeline_id }}"),
            ("run-invocation-uri", "{{.platform_url}}/build/{{ .workflow_id }}"),
        ],
        defaults: &[
            ("platform_url", "https://g.codefresh.io"),
            ("scm_repo_url", ""),
            ("scm_ref", ""),
            ("runner_environment", ""),
        ],
        locked: &[],
    },
    BuiltIn {
        name: "buildkite-job",
        subject: "{{.url}}/{{.organization_slug}}/{{.pipeline_slug}}",
        extensions: &[
            (
                "run-invocation-uri",
                "{{.url}}/{{.organization_slug}}/{{.pipeline_slug}}/builds/{{.build_number}}#{{.job_id}}",
            ),
            ("runner-environment", "runner_environment"),
            ("source-repository-digest", "build_commit"),
            ("build-trigger", "build_source"),
        ],
        defaults: &[("url", "https://buildkite.com")],
        locked: &["url"],
    },
    BuiltIn {
        name: "circleci-job",
        subject: CIRCLECI_DEFINITION,
        extensions: &[
            ("build-signer-uri", CIRCLECI_DEFINITION),
            (
                "build-config-uri",
                r#"{{.api_url}}/pipeline/{{(index . "oidc.circleci.com/pipeline-id")}}/config"#,
            ),
            (
                "run-invocation-uri",
                r#"{{.platform_url}}/workflow/{{(index . "oidc.circleci.com/workflow-id")}}/job/{{(index . "oidc.circleci.com/job-id")}}"#,
            ),
            (
                "runner-environment",
                r#"{{if eq (index . "oidc.circleci.com/ssh-rerun") "true"}}ssh-rerun{{ else }}""{{end}}"#,
            ),
            ("source-repository-ref", r#"{{index . "oidc.circleci.com/vcs-ref"}}"#),
            ("source-repository-uri", r#"{{index . "oidc.circleci.com/vcs-origin"}}"#),
        ],
        defaults: &[
            ("api_url", "https://circleci.com/api/v2"),
            ("platform_url", "https://app.circleci.com/"),
        ],
        locked: &["api_url", "platform_url"],
    },
    BuiltIn {
        name: "buddy-pipeline",
        subject: BUDDY_PIPELINE,
        extensions: &[
            ("build-signer-uri", BUDDY_PIPELINE),
            ("build-trigger", "triggered_on"),
            ("runner-environment", "runner_environment"),
            ("source-repository-uri", "{{.base_url}}/{{.workspace_domain}}/{{.project_name}}"),
            ("source-repository-digest", "revision"),
            ("source-repository-ref", "ref"),
            ("source-repository-owner-uri", "{{.base_url}}/{{.workspace_domain}}"),
            (
                "run-invocation-uri",
                "{{.base_url}}/{{.workspace_domain}}/{{.project_name}}/pipelines/pipeline/{{.pipeline_id}}/execution/{{.execution_id}}",
            ),
        ],
        defaults: &[("base_url", "https://app.buddy.works"), ("revision", ""), ("ref", "")],
        locked: &[],
    },
];

const CIRCLECI_DEFINITION: &str = r#"{{.api_url}}/projects/{{(index . "oidc.circleci.com/project-id")}}/pipeline-definitions/{{(index . "oidc.circleci.com/pipeline-definition-id")}}"#;
const BUDDY_PIPELINE: &str =
    "{{.base_url}}/{{.workspace_domain}}/{{.project_name}}/pipelines/pipeline/{{.pipeline_id}}";

/// Claims which must be there and not be empty: without them the certificate would name nobody in particular, such as
/// `https://github.com/`.
const REQUIRED: [(&str, &[&str]); 6] = [
    ("github-workflow", &["job_workflow_ref"]),
    ("gitlab-pipeline", &["ci_config_ref_uri"]),
    ("codefresh-workflow", &["account_name", "pipeline_name", "account_id", "pipeline_id"]),
    ("buildkite-job", &["organization_slug", "pipeline_slug"]),
    ("circleci-job", &["oidc.circleci.com/project-id", "oidc.circleci.com/pipeline-definition-id"]),
    ("buddy-pipeline", &["workspace_domain", "project_name", "pipeline_id"]),
];

/// A built-in provider's definition, by Fulcio's name for it.
#[must_use]
pub fn built_in(name: &str) -> Option<CiTemplates> {
    let pairs = |pairs: Pairs| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    BUILT_IN.iter().find(|p| p.name == name).map(|p| CiTemplates {
        subject: p.subject.to_owned(),
        extensions: pairs(p.extensions),
        defaults: pairs(p.defaults),
        locked: p.locked.iter().map(|n| (*n).to_owned()).collect(),
    })
}

/// A built-in provider ready for use, with the claims it insists on.
pub(crate) fn compile_built_in(name: &str) -> Result<CiProvider, String> {
    let templates = built_in(name).ok_or_else(|| {
        let names: Vec<_> = BUILT_IN.iter().map(|p| p.name).collect();
        format!("there is no CI provider \"{name}\"; built in are {}", names.join(", "))
    })?;
    let mut provider = CiProvider::compile(&templates)?;
    provider.required = required(name);
    Ok(provider)
}

fn required(name: &str) -> &'static [&'static str] {
    REQUIRED.iter().find(|(n, _)| *n == name).map_or(&[], |(_, claims)| claims)
}

/// The provider of the issuer type `buildkite-job`, older than the CI provider of that name: a name, no extensions.
pub(crate) fn compile_buildkite_type() -> Result<CiProvider, String> {
    let mut templates = built_in("buildkite-job").unwrap_or_default();
    templates.extensions.clear();
    let mut provider = CiProvider::compile(&templates)?;
    provider.required = required("buildkite-job");
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => unreachable!(),
        }
    }

    fn provider(locked: &[&str]) -> CiProvider {
        CiProvider::compile(&CiTemplates {
            subject: "{{ .url }}/{{ .name }}".into(),
            defaults: [("url".to_owned(), "https://ci.example".to_owned())].into(),
            locked: locked.iter().map(|n| (*n).to_owned()).collect(),
            ..CiTemplates::default()
        })
        .unwrap()
    }

    #[test]
    fn a_locked_default_cannot_be_replaced_by_a_claim() {
        let token = claims(serde_json::json!({"name": "job", "url": "https://evil.example"}));
        let subject = |p: &CiProvider| p.subject.render(&p.values(&token).unwrap()).unwrap();
        assert_eq!(subject(&provider(&["url"])), "https://ci.example/job");
        // As Fulcio does it: the claim wins.
        assert_eq!(subject(&provider(&[])), "https://evil.example/job");
    }

    #[test]
    fn every_built_in_provider_compiles_and_locks_fixed_hosts() {
        for built in BUILT_IN {
            let compiled = compile_built_in(built.name).unwrap();
            assert_eq!(compiled.extensions.len(), built.extensions.len(), "{}", built.name);
        }
        for built in BUILT_IN {
            let required = compile_built_in(built.name).unwrap().required;
            assert!(!required.is_empty(), "{}", built.name);
            assert!(required.iter().all(|claim| built.subject.contains(claim)), "{}", built.name);
        }
        for name in ["github-workflow", "gitlab-pipeline", "buildkite-job"] {
            assert!(built_in(name).unwrap().locked.contains("url"), "{name}");
        }
        assert!(compile_built_in("nope").unwrap_err().contains("github-workflow"));
    }

    #[test]
    fn mistakes_in_a_definition_are_named() {
        let with = |change: fn(&mut CiTemplates)| {
            let mut templates = built_in("github-workflow").unwrap();
            change(&mut templates);
            CiProvider::compile(&templates).unwrap_err()
        };
        assert!(with(|t| t.subject = "{{ range }}".into()).contains("position 3"));
        assert!(with(|t| t.subject.clear()).contains("found nothing"));
        assert!(with(|t| _ = t.extensions.insert("issuer".into(), "iss".into())).contains("\"issuer\""));
        assert!(with(|t| _ = t.extensions.insert("subject".into(), "x".into())).contains("\"subject\""));
        assert!(
            with(|t| _ = t.extensions.insert("build-trigger".into(), "{{".into())).contains("build-trigger")
        );
        assert!(with(|t| _ = t.locked.insert("urll".into())).contains("no default"));
    }

    #[test]
    fn claims_of_other_json_types_become_text_or_are_refused() {
        let token = claims(serde_json::json!({
            "int": 42, "whole": 5.0, "part": 1.5, "big": 1e20, "yes": true, "null": null, "list": [1], "map": {}
        }));
        let text = |name| claim_text(&token, name).map(|t| t.map(Cow::into_owned));
        assert_eq!(text("int").unwrap().unwrap(), "42");
        assert_eq!(text("whole").unwrap().unwrap(), "5");
        assert_eq!(text("part").unwrap().unwrap(), "1.5");
        assert_eq!(text("big").unwrap().unwrap(), "100000000000000000000");
        assert_eq!(text("yes").unwrap().unwrap(), "true");
        assert_eq!(text("null").unwrap(), None);
        assert!(text("list").is_err());
        assert!(text("map").is_err());
    }
}
