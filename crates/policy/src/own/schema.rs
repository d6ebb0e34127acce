//! The objects as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::decision::Action;
use crate::kyverno::LabelSelector;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    /// The API server's.
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

/// What else stands there is the API server's, or people's.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) images: Vec<String>,
    /// Patterns of names of files and directories.
    #[serde(default)]
    pub(super) artifacts: Vec<String>,
    #[serde(default)]
    pub(super) except_images: Vec<String>,
    /// Paths to images, by the kind of objects that are no workloads.
    #[serde(default)]
    pub(super) custom_resources: BTreeMap<String, Vec<String>>,
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) object_selector: Option<LabelSelector>,
    pub(super) signed_by: Option<SignedBy>,
    #[serde(default)]
    pub(super) attestations: Vec<Attestation>,
    pub(super) provenance: Option<ProvenanceSpec>,
    pub(super) sbom: Option<SbomSpec>,
    pub(super) scan: Option<ScanSpec>,
    pub(super) tests: Option<TestsSpec>,
    pub(super) review: Option<ReviewSpec>,
    #[serde(default)]
    pub(super) trust: Trust,
    #[serde(default)]
    pub(super) require: Require,
    pub(super) evidence_repository: Option<String>,
    #[serde(default)]
    pub(super) digest: DigestRule,
    #[serde(default)]
    pub(super) action: ActionName,
    #[serde(default)]
    pub(super) could_not_check: CouldNotCheck,
}

/// Somebody, or several of whom so many must have signed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SignedBy {
    pub(super) any_of: Option<Vec<SignedBy>>,
    pub(super) all_of: Option<Vec<SignedBy>>,
    pub(super) at_least: Option<usize>,
    pub(super) of: Option<Vec<SignedBy>>,
    pub(super) name: Option<String>,
    pub(super) key: Option<String>,
    pub(super) email: Option<String>,
    pub(super) repo: Option<String>,
    pub(super) gitlab: Option<String>,
    pub(super) workflow: Option<String>,
    #[serde(rename = "ref")]
    pub(super) git_ref: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) subject_regex: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) issuer_regex: Option<String>,
    #[serde(default)]
    pub(super) extensions: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestation {
    pub(super) name: Option<String>,
    pub(super) predicate: String,
    pub(super) signed_by: SignedBy,
    pub(super) not_older_than: Option<String>,
    #[serde(default)]
    pub(super) which: Which,
    #[serde(default)]
    pub(super) conditions: Vec<String>,
}

/// How it must have been built, by whom.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProvenanceSpec {
    pub(super) level: u8,
    /// Roots of trust, which are read by their own reader.
    pub(super) roots: Value,
    pub(super) source: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) versioned_tag: Option<String>,
    pub(super) build_type: Option<String>,
    #[serde(default)]
    pub(super) parameters: Vec<String>,
    pub(super) not_older_than: Option<String>,
}

/// A bill of materials.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SbomSpec {
    pub(super) signed_by: SignedBy,
    pub(super) formats: Option<Vec<BillFormat>>,
    #[serde(default)]
    pub(super) ntia: bool,
    pub(super) not_older_than: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BillFormat {
    CycloneDx,
    Spdx,
}

/// A scan for vulnerabilities, and what it may find.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScanSpec {
    pub(super) signed_by: SignedBy,
    pub(super) scanners: Option<Vec<String>>,
    pub(super) not_older_than: Option<String>,
    pub(super) database_not_older_than: Option<String>,
    pub(super) severity_below: Option<String>,
    pub(super) unknown_severity: Option<bool>,
    pub(super) vex: Option<VexSpec>,
}

/// Whose VEX is applied.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VexSpec {
    pub(super) signed_by: SignedBy,
    pub(super) not_older_than: Option<String>,
}

/// Results of tests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TestsSpec {
    pub(super) signed_by: SignedBy,
    #[serde(default)]
    pub(super) passed: Vec<String>,
    pub(super) not_older_than: Option<String>,
}

/// A review by somebody else than the author.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReviewSpec {
    pub(super) signed_by: SignedBy,
    pub(super) approvals: Option<usize>,
    pub(super) not_older_than: Option<String>,
}

/// Of which statements by one signer the conditions must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Which {
    /// Of all that are not too old.
    #[default]
    All,
    /// Of the newest.
    Newest,
    /// Of one.
    Any,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Trust {
    pub(super) root: Option<String>,
    pub(super) document: Option<String>,
    pub(super) certificate_authorities: Option<String>,
    pub(super) transparency_logs: Option<String>,
    pub(super) transparency_log_url: Option<String>,
    pub(super) ct_logs: Option<String>,
    pub(super) timestamp_authorities: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Require {
    pub(super) transparency_log: bool,
    pub(super) ct_log: bool,
    pub(super) timestamp: bool,
}

impl Default for Require {
    fn default() -> Self {
        Self { transparency_log: true, ct_log: true, timestamp: false }
    }
}

/// What becomes of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DigestRule {
    /// An image that passes is pinned to the digest that was verified.
    #[default]
    Pin,
    /// An image must be written by digest.
    Require,
    /// A tag stays, and may name something else in a moment.
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ActionName {
    #[default]
    Deny,
    Warn,
    Audit,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Deny => Self::Deny,
            ActionName::Warn => Self::Warn,
            ActionName::Audit => Self::Audit,
        }
    }
}

/// What happens when a registry, say, cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CouldNotCheck {
    #[default]
    Deny,
    Admit,
}
