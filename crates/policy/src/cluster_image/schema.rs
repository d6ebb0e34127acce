//! `ClusterImagePolicy` as it is written: v1beta1 and v1alpha1, which differ in nothing that is read here. What is not
//! listed is refused.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::kyverno::LabelSelector;

/// The object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    /// What the controller says of it.
    #[serde(rename = "status", default)]
    _status: Option<IgnoredAny>,
}

/// What is needed of the metadata; the rest is the API server's.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) images: Vec<ImagePattern>,
    #[serde(default)]
    pub(super) authorities: Vec<Written>,
    #[serde(default)]
    pub(super) policy: Option<Inner>,
    #[serde(default)]
    pub(super) mode: Option<Mode>,
    #[serde(rename = "match", default)]
    pub(super) matches: Vec<MatchResource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagePattern {
    #[serde(default)]
    pub(super) glob: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Enforce,
    Warn,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchResource {
    #[serde(default)]
    pub(super) group: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) resource: String,
    #[serde(default)]
    pub(super) selector: Option<LabelSelector>,
}

/// An authority.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) key: Option<KeyRef>,
    #[serde(default)]
    pub(super) keyless: Option<Keyless>,
    #[serde(rename = "static", default)]
    pub(super) fixed: Option<Static>,
    #[serde(default)]
    pub(super) source: Vec<Source>,
    #[serde(default)]
    pub(super) ctlog: Option<Ctlog>,
    #[serde(default)]
    pub(super) rfc3161timestamp: Option<Rfc3161>,
    #[serde(default)]
    pub(super) attestations: Vec<Attestation>,
    #[serde(default)]
    pub(super) signature_format: Option<SignatureFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SignatureFormat {
    Legacy,
    Bundle,
}

/// A key, or where it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyRef {
    #[serde(default)]
    pub(super) data: String,
    #[serde(default)]
    pub(super) secret_ref: Option<SecretRef>,
    #[serde(default)]
    pub(super) kms: String,
    #[serde(default)]
    pub(super) hash_algorithm: Option<Hash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRef {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keyless {
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) identities: Vec<Identity>,
    #[serde(rename = "ca-cert", default)]
    pub(super) ca_cert: Option<KeyRef>,
    #[serde(default)]
    pub(super) trust_root_ref: String,
    #[serde(rename = "insecureIgnoreSCT", default)]
    pub(super) insecure_ignore_sct: Option<bool>,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Static {
    pub(super) action: StaticAction,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StaticAction {
    Pass,
    Fail,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source {
    #[serde(default)]
    pub(super) oci: String,
    #[serde(default)]
    pub(super) signature_pull_secrets: Vec<LocalRef>,
    #[serde(default)]
    pub(super) tag_prefix: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalRef {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ctlog {
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) trust_root_ref: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rfc3161 {
    #[serde(default)]
    pub(super) trust_root_ref: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestation {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) predicate_type: String,
    #[serde(default)]
    pub(super) policy: Option<Inner>,
}

/// A policy in CUE or Rego, or where it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Inner {
    #[serde(rename = "type")]
    pub(super) language: Language,
    #[serde(default)]
    pub(super) data: String,
    #[serde(default)]
    pub(super) remote: Option<Remote>,
    #[serde(default)]
    pub(super) config_map_ref: Option<ConfigMapRef>,
    #[serde(default)]
    pub(super) fetch_config_file: Option<bool>,
    #[serde(default)]
    pub(super) include_spec: Option<bool>,
    #[serde(default)]
    pub(super) include_object_meta: Option<bool>,
    #[serde(default)]
    pub(super) include_type_meta: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    Cue,
    Rego,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remote {
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) sha256sum: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigMapRef {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) key: String,
}
