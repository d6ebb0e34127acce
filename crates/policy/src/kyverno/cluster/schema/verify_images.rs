//! `verifyImages` as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Deny, FailureAction, yes};
use crate::access::Provider;
use crate::kyverno::conditions::Conditions;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct VerifyImages {
    pub(in super::super) failure_action: Option<FailureAction>,
    #[serde(default, rename = "type")]
    pub(in super::super) kind: Kind,
    #[serde(default)]
    pub(in super::super) image_references: Vec<String>,
    #[serde(default)]
    pub(in super::super) skip_image_references: Vec<String>,
    #[serde(default)]
    pub(in super::super) attestors: Vec<AttestorSet>,
    #[serde(default)]
    pub(in super::super) attestations: Vec<Attestation>,
    pub(in super::super) validate: Option<ValidateAttestations>,
    #[serde(default)]
    pub(in super::super) repository: String,
    /// Signatures are looked for in both places, so this says where one of them is.
    #[serde(default, rename = "cosignOCI11")]
    pub(in super::super) _cosign_oci11: bool,
    #[serde(default = "yes")]
    pub(in super::super) mutate_digest: bool,
    #[serde(default = "yes")]
    pub(in super::super) verify_digest: bool,
    #[serde(default = "yes")]
    pub(in super::super) required: bool,
    /// Facts are kept by digest and conditions evaluated each time, so a cache is never an answer.
    #[serde(default = "yes", rename = "useCache")]
    pub(in super::super) _use_cache: bool,
    pub(in super::super) image_registry_credentials: Option<RegistryCredentials>,
    // The older form, of one attestor.
    #[serde(default)]
    pub(in super::super) image: String,
    #[serde(default)]
    pub(in super::super) key: String,
    #[serde(default)]
    pub(in super::super) roots: String,
    #[serde(default)]
    pub(in super::super) subject: String,
    #[serde(default)]
    pub(in super::super) issuer: String,
    #[serde(default)]
    pub(in super::super) additional_extensions: BTreeMap<String, String>,
    #[serde(default)]
    pub(in super::super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(in super::super) enum Kind {
    #[default]
    Cosign,
    SigstoreBundle,
    Notary,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct AttestorSet {
    pub(in super::super) count: Option<usize>,
    #[serde(default)]
    pub(in super::super) entries: Vec<Attestor>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct Attestor {
    pub(in super::super) keys: Option<KeysAttestor>,
    pub(in super::super) certificates: Option<CertificatesAttestor>,
    pub(in super::super) keyless: Option<KeylessAttestor>,
    pub(in super::super) attestor: Option<AttestorSet>,
    #[serde(default)]
    pub(in super::super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(in super::super) repository: String,
    #[serde(default)]
    pub(in super::super) signature_algorithm: SignatureAlgorithm,
}

/// The hash that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum SignatureAlgorithm {
    Sha224,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct KeysAttestor {
    #[serde(default)]
    pub(in super::super) public_keys: String,
    pub(in super::super) secret: Option<SecretRef>,
    #[serde(default)]
    pub(in super::super) kms: String,
    #[serde(default)]
    pub(in super::super) signature_algorithm: SignatureAlgorithm,
    pub(in super::super) rekor: Option<Rekor>,
    pub(in super::super) ctlog: Option<Ctlog>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct SecretRef {
    pub(in super::super) name: String,
    pub(in super::super) namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct CertificatesAttestor {
    #[serde(default)]
    pub(in super::super) cert: String,
    #[serde(default)]
    pub(in super::super) cert_chain: String,
    pub(in super::super) rekor: Option<Rekor>,
    pub(in super::super) ctlog: Option<Ctlog>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct KeylessAttestor {
    #[serde(default)]
    pub(in super::super) issuer: String,
    #[serde(default)]
    pub(in super::super) issuer_reg_exp: String,
    #[serde(default)]
    pub(in super::super) subject: String,
    #[serde(default)]
    pub(in super::super) subject_reg_exp: String,
    #[serde(default)]
    pub(in super::super) roots: String,
    #[serde(default)]
    pub(in super::super) additional_extensions: BTreeMap<String, String>,
    pub(in super::super) rekor: Option<Rekor>,
    pub(in super::super) ctlog: Option<Ctlog>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Rekor {
    #[serde(default = "public_rekor")]
    pub(in super::super) url: String,
    #[serde(default)]
    pub(in super::super) pubkey: String,
    #[serde(default, rename = "ignoreTlog")]
    pub(in super::super) ignore_tlog: bool,
}

fn public_rekor() -> String {
    "https://rekor.sigstore.dev".into()
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Ctlog {
    #[serde(default, rename = "ignoreSCT")]
    pub(in super::super) ignore_sct: bool,
    #[serde(default)]
    pub(in super::super) pubkey: String,
    #[serde(default, rename = "tsaCertChain")]
    pub(in super::super) tsa_cert_chain: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct Attestation {
    #[serde(default)]
    pub(in super::super) name: String,
    #[serde(default, rename = "type")]
    pub(in super::super) kind: String,
    #[serde(default)]
    pub(in super::super) predicate_type: String,
    #[serde(default)]
    pub(in super::super) attestors: Vec<AttestorSet>,
    #[serde(default)]
    pub(in super::super) conditions: Vec<Conditions>,
}

/// What must not be said by the attestations together.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct ValidateAttestations {
    #[serde(default)]
    pub(in super::super) message: String,
    pub(in super::super) deny: Option<Deny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct RegistryCredentials {
    #[serde(default)]
    pub(in super::super) allow_insecure_registry: bool,
    #[serde(default)]
    pub(in super::super) providers: Vec<ProviderName>,
    #[serde(default)]
    pub(in super::super) secrets: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum ProviderName {
    Default,
    Google,
    Azure,
    Amazon,
    Github,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Default => Self::Default,
            ProviderName::Google => Self::Google,
            ProviderName::Azure => Self::Azure,
            ProviderName::Amazon => Self::Amazon,
            ProviderName::Github => Self::Github,
        }
    }
}
