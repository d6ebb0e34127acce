//! Jenkins, with the variables of its git plugin: `GIT_COMMIT`, `GIT_BRANCH`, `GIT_URL`.

use serde_json::{Map, Value};

use super::{Environment, EnvironmentError, Reader, branch};

pub(super) fn read(reader: &Reader<'_>, asked: Map<String, Value>) -> Result<Environment, EnvironmentError> {
    const GIT: &str = "the git plugin sets it where a pipeline checks out: in a scripted one say \
         `def scm = checkout(scm)` and `withEnv(scm.collect { k, v -> \"$k=$v\" })`";
    const SET: &str = "Jenkins sets it";
    const URL: &str =
        "Jenkins sets it once its own address is configured (Manage Jenkins, System, Jenkins URL)";
    reader.need("GIT_URL", GIT)?;
    reader.need("GIT_COMMIT", GIT)?;
    let named = reader.need("GIT_BRANCH", GIT)?;
    let change = reader.get("CHANGE_ID")?;
    let reference = match (reader.get("TAG_NAME")?, change) {
        (Some(tag), _) => format!("refs/tags/{tag}"),
        // A merge that Jenkins made has no name in the repository.
        (None, Some(_)) => String::new(),
        (None, None) if named == "detached" => String::new(),
        (None, None) => branch(named.strip_prefix("origin/").unwrap_or(named)),
    };
    let source = reader.source("GIT_URL", &reference, "GIT_COMMIT")?;
    let mut found = reader.environment(
        reader.address("JENKINS_URL", URL)?,
        Some(source),
        reader.need("JOB_NAME", SET)?.to_owned(),
        reader.address("BUILD_URL", URL)?,
        asked,
    );
    if let Some(change) = change {
        found.notes.push(format!(
            "this run is for change {change}: its commit may be a merge that only Jenkins has"
        ));
    }
    reader.tell(&mut found, &[("buildTag", "BUILD_TAG"), ("node", "NODE_NAME"), ("change", "CHANGE_ID")])?;
    Ok(found)
}
