//! What Kyverno's policies have in common as objects.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::read::ReadError;

/// What is read of the metadata. The rest is the API server's.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Severity and category, which stand in reports.
    pub(super) fn properties(&self) -> BTreeMap<String, String> {
        let given = |field: &str| self.annotations.get(&format!("policies.kyverno.io/{field}")).cloned();
        ["severity", "category"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), given(field)?)))
            .collect()
    }
}

/// What becomes of a request when a policy cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum FailurePolicy {
    Ignore,
    Fail,
}

/// How long the API server is to wait, within what Kubernetes allows.
///
/// # Errors
/// [`ReadError`].
pub(super) fn timeout(seconds: Option<u32>, path: &str) -> Result<Option<u32>, ReadError> {
    match seconds.filter(|seconds| !(1..=30).contains(seconds)) {
        Some(found) => Err(ReadError::new(path, format!("expected 1 to 30 seconds, found {found}"))),
        None => Ok(seconds),
    }
}
