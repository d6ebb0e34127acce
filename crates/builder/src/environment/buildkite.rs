//! Buildkite.

use serde_json::{Map, Value};

use super::{Environment, EnvironmentError, Reader, branch};

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const SET: &str = "Buildkite's agent sets it";
    let reference = match reader.get("BUILDKITE_TAG")? {
        Some(tag) => format!("refs/tags/{tag}"),
        None => branch(reader.need("BUILDKITE_BRANCH", SET)?),
    };
    let source = reader.source("BUILDKITE_REPO", &reference, "BUILDKITE_COMMIT")?;
    let organization = reader.need("BUILDKITE_ORGANIZATION_SLUG", SET)?;
    let build = reader.address("BUILDKITE_BUILD_URL", SET)?;
    let job = reader.need("BUILDKITE_JOB_ID", SET)?;
    // The address of a build begins with that of its organization.
    let (before, _) = build.split_once(&format!("/{organization}/")).ok_or_else(|| {
        reader.malformed("BUILDKITE_BUILD_URL", "an address below that of the organization")
    })?;
    let mut found = reader.environment(
        format!("{before}/{organization}"),
        Some(source),
        reader.need("BUILDKITE_PIPELINE_SLUG", SET)?.to_owned(),
        format!("{build}#{job}"),
        asked,
    );
    reader.tell(
        &mut found,
        &[
            ("agentId", "BUILDKITE_AGENT_ID"),
            ("compute", "BUILDKITE_COMPUTE_TYPE"),
            ("event", "BUILDKITE_SOURCE"),
            ("step", "BUILDKITE_STEP_KEY"),
        ],
    )?;
    Ok(found)
}
