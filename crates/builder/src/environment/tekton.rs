//! Tekton. It sets no variables: the Task in deploy/ci/tekton.yaml sets these from its context and parameters.

use serde_json::{Map, Value};

use super::{Environment, EnvironmentError, Reader, branch};

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const SET: &str = "the Task in deploy/ci/tekton.yaml sets it";
    let reference = reader.get("TEKTON_SOURCE_REF")?.map(branch).unwrap_or_default();
    let source = reader.source("TEKTON_SOURCE_URL", &reference, "TEKTON_SOURCE_COMMIT")?;
    let namespace = reader.need("TEKTON_NAMESPACE", SET)?;
    let run = reader.need("TEKTON_TASK_RUN", SET)?;
    let id = reader.need("TEKTON_TASK_RUN_UID", SET)?;
    let mut found = reader.environment(
        reader.address("TEKTON_BUILDER", "the cluster's name, an address, as whoever runs it gives it")?,
        Some(source),
        reader.need("TEKTON_TASK", SET)?.to_owned(),
        format!("{namespace}/{run}#{id}"),
        asked,
    );
    reader.tell(&mut found, &[("pipelineRun", "TEKTON_PIPELINE_RUN"), ("namespace", "TEKTON_NAMESPACE")])?;
    Ok(found)
}
