//! CircleCI.

use serde_json::{Map, Value};
use url::Url;

use super::{Environment, EnvironmentError, Reader, branch};

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const SET: &str = "CircleCI sets it";
    let reference = match reader.get("CIRCLE_TAG")? {
        Some(tag) => format!("refs/tags/{tag}"),
        None => branch(reader.need("CIRCLE_BRANCH", SET)?),
    };
    let source = reader.source("CIRCLE_REPOSITORY_URL", &reference, "CIRCLE_SHA1")?;
    let build = reader.address("CIRCLE_BUILD_URL", SET)?;
    let server = Url::parse(&build).map(|url| url.origin().ascii_serialization());
    let mut found = reader.environment(
        server.map_err(|_| reader.malformed("CIRCLE_BUILD_URL", "an address"))?,
        Some(source),
        reader.need("CIRCLE_JOB", SET)?.to_owned(),
        build,
        asked,
    );
    reader.need("CIRCLE_WORKFLOW_ID", SET)?;
    reader.tell(
        &mut found,
        &[
            ("workflowId", "CIRCLE_WORKFLOW_ID"),
            ("workflowJobId", "CIRCLE_WORKFLOW_JOB_ID"),
            ("projectId", "CIRCLE_PROJECT_ID"),
            ("organizationId", "CIRCLE_ORGANIZATION_ID"),
        ],
    )?;
    Ok(found)
}
