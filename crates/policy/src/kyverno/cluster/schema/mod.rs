//! The objects as they are written: `ClusterPolicy` and `Policy` of `kyverno.io`, with the API server's defaults.
//!
//! A field that is not known is refused. So is one that is known and not supported; what reads the object says what to
//! write instead.

mod verify_images;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::kyverno::conditions::Conditions;
use crate::kyverno::match_conditions::Named;
use crate::kyverno::matching::Block;
use crate::kyverno::object::Metadata;
use crate::kyverno::selector::LabelSelector;

pub(super) use crate::kyverno::object::FailurePolicy;

pub(super) use verify_images::{
    Attestation, Attestor, AttestorSet, CertificatesAttestor, Ctlog, KeylessAttestor, KeysAttestor, Kind,
    RegistryCredentials, Rekor, SignatureAlgorithm, VerifyImages,
};

/// The whole object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    /// What Kyverno's controllers write.
    #[serde(default, rename = "status")]
    pub(super) _status: serde::de::IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) validation_failure_action: FailureAction,
    #[serde(default)]
    pub(super) validation_failure_action_overrides: Vec<Override>,
    pub(super) failure_policy: Option<FailurePolicy>,
    pub(super) webhook_timeout_seconds: Option<u32>,
    pub(super) webhook_configuration: Option<WebhookConfiguration>,
    #[serde(default)]
    pub(super) apply_rules: ApplyRules,
    #[serde(default = "yes")]
    pub(super) background: bool,
    #[serde(default = "yes")]
    pub(super) admission: bool,
    #[serde(default)]
    pub(super) emit_warning: bool,
    /// Read one by one, since rules are made of them as they are written.
    pub(super) rules: Vec<Value>,
}

pub(super) const fn yes() -> bool {
    true
}

/// What to do when a rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum FailureAction {
    #[default]
    #[serde(alias = "audit")]
    Audit,
    #[serde(alias = "enforce")]
    Enforce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum ApplyRules {
    #[default]
    All,
    One,
}

/// Another action for some namespaces.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Override {
    pub(super) action: FailureAction,
    #[serde(default)]
    pub(super) namespaces: Vec<String>,
    pub(super) namespace_selector: Option<LabelSelector>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookConfiguration {
    pub(super) failure_policy: Option<FailurePolicy>,
    pub(super) timeout_seconds: Option<u32>,
    #[serde(default)]
    pub(super) match_conditions: Vec<Named>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: String,
    #[serde(default)]
    pub(super) context: Vec<ContextEntry>,
    #[serde(default)]
    pub(super) report_properties: BTreeMap<String, String>,
    #[serde(rename = "match")]
    pub(super) matches: Block,
    #[serde(default)]
    pub(super) exclude: Option<Block>,
    pub(super) preconditions: Option<Conditions>,
    #[serde(default)]
    pub(super) cel_preconditions: Vec<Named>,
    #[serde(default)]
    pub(super) image_extractors: BTreeMap<String, Vec<Extractor>>,
    /// There is no controller here that would ask in the background, so whether its requests are skipped is the same.
    #[serde(default, rename = "skipBackgroundRequests")]
    pub(super) _skip_background_requests: Option<bool>,
    #[serde(default)]
    pub(super) verify_images: Vec<Value>,
    pub(super) validate: Option<Validate>,
    pub(super) mutate: Option<Mutate>,
    pub(super) generate: Option<Value>,
}

/// A name for the context of a rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContextEntry {
    pub(super) name: String,
    pub(super) variable: Option<Variable>,
    pub(super) config_map: Option<ConfigMapRef>,
    pub(super) image_registry: Option<ImageRegistry>,
    pub(super) api_call: Option<Value>,
    pub(super) global_reference: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) value: Option<Value>,
    #[serde(default)]
    pub(super) jmes_path: String,
    pub(super) default: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfigMapRef {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImageRegistry {
    pub(super) reference: String,
    #[serde(default)]
    pub(super) jmes_path: String,
    pub(super) image_registry_credentials: Option<RegistryCredentials>,
}

/// Where the images of a kind are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Extractor {
    pub(super) path: String,
    #[serde(default)]
    pub(super) value: String,
    #[serde(default)]
    pub(super) key: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) jmes_path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Validate {
    pub(super) failure_action: Option<FailureAction>,
    #[serde(default)]
    pub(super) failure_action_overrides: Vec<Override>,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default = "yes")]
    pub(super) allow_existing_violations: bool,
    pub(super) pattern: Option<Value>,
    #[serde(default)]
    pub(super) any_pattern: Vec<Value>,
    pub(super) deny: Option<Deny>,
    #[serde(default)]
    pub(super) foreach: Vec<ForEach>,
    pub(super) cel: Option<Value>,
    pub(super) assert: Option<Value>,
    pub(super) pod_security: Option<Value>,
    pub(super) manifests: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Deny {
    pub(super) conditions: Conditions,
}

/// A check of each element of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ForEach {
    pub(super) list: String,
    pub(super) element_scope: Option<bool>,
    #[serde(default)]
    pub(super) context: Vec<ContextEntry>,
    pub(super) preconditions: Option<Conditions>,
    pub(super) pattern: Option<Value>,
    #[serde(default)]
    pub(super) any_pattern: Vec<Value>,
    pub(super) deny: Option<Deny>,
    #[serde(default)]
    pub(super) foreach: Vec<ForEach>,
    pub(super) patch_strategic_merge: Option<Value>,
}

/// Only what pins images to their digests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mutate {
    #[serde(default)]
    pub(super) foreach: Vec<ForEach>,
}
