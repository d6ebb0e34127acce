//! `ImageValidatingPolicy` as it is written. What is not here is refused by name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub(super) use crate::kyverno::match_conditions::Named;
pub(super) use crate::kyverno::object::{FailurePolicy, Metadata};
use crate::kyverno::selector::LabelSelector;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    /// Read by itself, since it is read again for what makes pods.
    pub(super) spec: Value,
    /// Written by Kyverno, about Kyverno.
    #[serde(default, rename = "status")]
    _status: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) match_constraints: MatchResources,
    pub(super) failure_policy: Option<FailurePolicy>,
    #[serde(default)]
    pub(super) audit_annotations: Vec<AuditAnnotation>,
    #[serde(default)]
    pub(super) validation_actions: Vec<ActionName>,
    #[serde(default)]
    pub(super) match_conditions: Vec<Named>,
    #[serde(default)]
    pub(super) variables: Vec<Named>,
    #[serde(default)]
    pub(super) validation_configurations: Configurations,
    #[serde(default)]
    pub(super) match_image_references: Vec<ImageReference>,
    pub(super) credentials: Option<Value>,
    #[serde(default)]
    pub(super) images: Vec<Named>,
    pub(super) attestors: Vec<Attestor>,
    #[serde(default)]
    pub(super) attestations: Vec<Attestation>,
    pub(super) validations: Vec<Validation>,
    #[serde(default)]
    pub(super) webhook_configuration: WebhookConfiguration,
    #[serde(default)]
    pub(super) evaluation: Evaluation,
    #[serde(default)]
    pub(super) autogen: Autogen,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchResources {
    #[serde(default)]
    pub(super) resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    pub(super) exclude_resource_rules: Vec<ResourceRule>,
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) object_selector: Option<LabelSelector>,
    #[serde(default)]
    pub(super) match_policy: MatchPolicy,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum MatchPolicy {
    Exact,
    #[default]
    Equivalent,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceRule {
    #[serde(default)]
    pub(super) api_groups: Vec<String>,
    #[serde(default)]
    pub(super) api_versions: Vec<String>,
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) operations: Vec<OperationName>,
    #[serde(default)]
    pub(super) resource_names: Vec<String>,
    #[serde(default)]
    pub(super) scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum OperationName {
    #[serde(rename = "CREATE")]
    Create,
    #[serde(rename = "UPDATE")]
    Update,
    #[serde(rename = "DELETE")]
    Delete,
    #[serde(rename = "CONNECT")]
    Connect,
    #[serde(rename = "*")]
    Any,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Scope {
    Cluster,
    Namespaced,
    #[default]
    #[serde(rename = "*")]
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum ActionName {
    Deny,
    Audit,
    Warn,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuditAnnotation {
    pub(super) key: String,
    pub(super) value_expression: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Configurations {
    pub(super) mutate_digest: Option<bool>,
    pub(super) verify_digest: Option<bool>,
    pub(super) required: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImageReference {
    #[serde(default)]
    pub(super) glob: String,
    #[serde(default)]
    pub(super) expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Validation {
    pub(super) expression: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) message_expression: String,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookConfiguration {
    pub(super) timeout_seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Evaluation {
    #[serde(default)]
    pub(super) mode: String,
    #[serde(default)]
    pub(super) admission: Enabled,
    #[serde(default)]
    pub(super) background: Enabled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Enabled {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Autogen {
    #[serde(default)]
    pub(super) pod_controllers: PodControllers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodControllers {
    pub(super) controllers: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestor {
    pub(super) name: String,
    pub(super) cosign: Option<Cosign>,
    pub(super) notary: Option<Notary>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Cosign {
    pub(super) key: Option<Key>,
    pub(super) keyless: Option<Keyless>,
    pub(super) certificate: Option<Certificate>,
    #[serde(default)]
    pub(super) source: Source,
    #[serde(default)]
    pub(super) ctlog: Ctlog,
    pub(super) trusted_root: Option<Text>,
    pub(super) tuf: Option<Value>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) data: String,
    #[serde(default)]
    pub(super) kms: String,
    #[serde(default)]
    pub(super) hash_algorithm: String,
    #[serde(default)]
    pub(super) expression: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keyless {
    #[serde(default)]
    pub(super) identities: Vec<Identity>,
    #[serde(default)]
    pub(super) roots: String,
    #[serde(default)]
    pub(super) additional_extensions: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    #[serde(default)]
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) issuer_reg_exp: String,
    #[serde(default)]
    pub(super) subject: String,
    #[serde(default)]
    pub(super) subject_reg_exp: String,
    #[serde(default)]
    pub(super) subject_expression: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Certificate {
    #[serde(default)]
    pub(super) cert: Text,
    #[serde(default)]
    pub(super) cert_chain: Text,
}

/// A text, or an expression that gives one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Text {
    #[serde(default)]
    pub(super) value: String,
    #[serde(default)]
    pub(super) expression: String,
}

/// A Secret of the namespace that whoever evaluates runs in, of a namespaced policy of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRef {
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source {
    #[serde(default)]
    pub(super) repository: String,
    #[serde(default, rename = "PullSecrets", alias = "pullSecrets")]
    pub(super) pull_secrets: Vec<SecretRef>,
    #[serde(default)]
    pub(super) tag_prefix: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ctlog {
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) rekor_pub_key: String,
    #[serde(default)]
    pub(super) ct_log_pub_key: String,
    #[serde(default)]
    pub(super) tsa_cert_chain: String,
    #[serde(default)]
    pub(super) insecure_ignore_tlog: bool,
    #[serde(default, rename = "insecureIgnoreSCT")]
    pub(super) insecure_ignore_sct: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Notary {
    #[serde(default)]
    pub(super) certs: Text,
    #[serde(default)]
    pub(super) tsa_certs: Text,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestation {
    pub(super) name: String,
    pub(super) intoto: Option<Typed>,
    pub(super) referrer: Option<Typed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Typed {
    #[serde(rename = "type")]
    pub(super) kind: String,
}
