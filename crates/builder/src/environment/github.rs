//! GitHub Actions, by the type of build that GitHub's own attestations have, with its fields and no others.

use countersign_attestation::predicate::provenance::Resource;
use serde_json::{Map, Value, json};

use super::{Environment, EnvironmentError, Platform, Reader};

/// GitHub's own. It has no place for what a run was started with.
const WORKFLOW: &str = "https://actions.github.io/buildtypes/workflow/v1";
/// The one that has, `inputs`, and is the same else.
const WITH_INPUTS: &str = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1";

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const SET: &str = "GitHub's runner sets it; a container needs it handed in";
    let server = reader.address("GITHUB_SERVER_URL", SET)?;
    let repository = reader.need("GITHUB_REPOSITORY", SET)?;
    let reference = reader.need("GITHUB_REF", SET)?;
    let commit = reader.commit("GITHUB_SHA")?;
    // owner/name/path@ref
    let workflow = reader.need("GITHUB_WORKFLOW_REF", SET)?;
    let parts = workflow
        .strip_prefix(repository)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.split_once('@'));
    let Some((path, at)) = parts.filter(|(path, at)| !path.is_empty() && *at == reference) else {
        return Err(reader.malformed(
            "GITHUB_WORKFLOW_REF",
            "the repository, the workflow's path, and behind @ the same as in GITHUB_REF",
        ));
    };
    let runner = reader.need("RUNNER_ENVIRONMENT", SET)?;
    if !matches!(runner, "github-hosted" | "self-hosted") {
        return Err(reader.malformed("RUNNER_ENVIRONMENT", "github-hosted or self-hosted"));
    }
    let (run, attempt) = (reader.need("GITHUB_RUN_ID", SET)?, reader.need("GITHUB_RUN_ATTEMPT", SET)?);
    let workflow = json!({ "ref": at, "repository": format!("{server}/{repository}"), "path": path });
    let build_type = if asked.is_empty() { WORKFLOW } else { WITH_INPUTS };
    let mut parameters = Map::from_iter([("workflow".to_owned(), workflow)]);
    if !asked.is_empty() {
        parameters.insert("inputs".into(), asked.into());
    }
    Ok(Environment {
        platform: Platform::GithubActions,
        build_type: build_type.to_owned(),
        builder: format!("https://github.com/actions/runner/{runner}"),
        source: Some(Resource {
            uri: format!("git+{server}/{repository}@{reference}"),
            digest: [("gitCommit".to_owned(), commit)].into(),
            ..Resource::default()
        }),
        entry_point: path.to_owned(),
        parameters: parameters.into(),
        internal: json!({ "github": {
            "event_name": reader.need("GITHUB_EVENT_NAME", SET)?,
            "repository_id": reader.need("GITHUB_REPOSITORY_ID", SET)?,
            "repository_owner_id": reader.need("GITHUB_REPOSITORY_OWNER_ID", SET)?,
            "runner_environment": runner,
        } }),
        invocation: format!("{server}/{repository}/actions/runs/{run}/attempts/{attempt}"),
        dependencies: Vec::new(),
        notes: Vec::new(),
    })
}
