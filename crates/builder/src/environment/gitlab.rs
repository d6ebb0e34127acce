//! GitLab CI. The runner's own type of build lists the names of all variables; ours is `ci/v1`, which does not.

use serde_json::{Map, Value};

use super::{Environment, EnvironmentError, Reader, branch};

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const SET: &str = "GitLab's runner sets it";
    let reference = match (
        reader.get("CI_COMMIT_TAG")?,
        reader.get("CI_MERGE_REQUEST_REF_PATH")?,
        reader.get("CI_COMMIT_BRANCH")?,
    ) {
        (Some(tag), _, _) => format!("refs/tags/{tag}"),
        (None, Some(path), _) => path.to_owned(),
        (None, None, Some(name)) => branch(name),
        (None, None, None) => reader.need("CI_COMMIT_BRANCH", SET).map(branch)?,
    };
    // Not CI_REPOSITORY_URL: that one has a token in it.
    let source = reader.source("CI_PROJECT_URL", &reference, "CI_COMMIT_SHA")?;
    let project = reader.address("CI_PROJECT_URL", SET)?;
    let runner = reader.need("CI_RUNNER_ID", SET)?;
    let mut found = reader.environment(
        // As GitLab's runner calls itself.
        format!("{project}/-/runners/{runner}"),
        Some(source),
        reader.need("CI_CONFIG_PATH", SET)?.to_owned(),
        reader.address("CI_JOB_URL", SET)?,
        asked,
    );
    reader.need("CI_JOB_NAME", SET)?;
    reader.tell(
        &mut found,
        &[
            ("job", "CI_JOB_NAME"),
            ("event", "CI_PIPELINE_SOURCE"),
            ("projectId", "CI_PROJECT_ID"),
            ("namespaceId", "CI_PROJECT_NAMESPACE_ID"),
            ("runnerVersion", "CI_RUNNER_VERSION"),
        ],
    )?;
    Ok(found)
}
