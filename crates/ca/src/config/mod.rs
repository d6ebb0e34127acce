//! Which issuers are believed, for what, and where their keys come from.
//!
//! [`IssuerConfig`] is what an operator writes (in the instance's TOML, or in Fulcio's own YAML or JSON, see
//! [`FulcioConfig`]); [`Issuers`] is the same, checked, and the only thing the verifier asks.

mod fulcio;
mod issuers;
mod providers;
mod template;
mod wildcard;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use fulcio::FulcioConfig;
pub use issuers::{Issuer, Issuers};
pub use providers::{CiTemplates, EXTENSION_NAMES, built_in};
pub use template::{Template, TemplateError};
pub use wildcard::Wildcard;

pub(crate) use issuers::Kind;
pub(crate) use providers::CiProvider;

/// A mistake in the configuration of issuers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An issuer's table has a mistake.
    #[error("issuer {issuer}: {problem}")]
    Issuer {
        /// Its URL as written.
        issuer: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A CI provider's definition has a mistake.
    #[error("CI provider {provider}: {problem}")]
    Provider {
        /// Its name.
        provider: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A file in Fulcio's form that cannot be read.
    #[error("Fulcio configuration: {0}")]
    Fulcio(String),
}

/// What an issuer's tokens say about their holder, and so what the certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum IssuerType {
    /// A person, by the verified claim `email`.
    Email,
    /// A name at a domain which is not an e-mail address: `sub` and `subject_domain`.
    Username,
    /// A URI under `subject_domain`.
    Uri,
    /// A SPIFFE id of `spiffe_trust_domain`.
    Spiffe,
    /// A Kubernetes service account.
    Kubernetes,
    /// A GitHub Actions workflow.
    GithubWorkflow,
    /// A GitLab CI pipeline.
    GitlabPipeline,
    /// A Buildkite pipeline, by name only. The CI provider `buildkite-job` says more.
    BuildkiteJob,
    /// A Codefresh workflow.
    CodefreshWorkflow,
    /// A CircleCI pipeline definition.
    CircleciJob,
    /// A Chainguard identity: issuer and subject.
    ChainguardIdentity,
    /// A CI service, defined by `ci_provider` or by `templates`.
    CiProvider,
}

impl IssuerType {
    /// The name used in configuration files and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
            Self::Uri => "uri",
            Self::Spiffe => "spiffe",
            Self::Kubernetes => "kubernetes",
            Self::GithubWorkflow => "github-workflow",
            Self::GitlabPipeline => "gitlab-pipeline",
            Self::BuildkiteJob => "buildkite-job",
            Self::CodefreshWorkflow => "codefresh-workflow",
            Self::CircleciJob => "circleci-job",
            Self::ChainguardIdentity => "chainguard-identity",
            Self::CiProvider => "ci-provider",
        }
    }

    /// The claim which proofs of possession sign, unless `challenge_claim` says another.
    const fn challenge_claim(self) -> &'static str {
        match self {
            Self::Email => "email",
            _ => "sub",
        }
    }
}

/// One issuer as the operator writes it.
///
/// ```
/// let issuer: countersign_ca::config::IssuerConfig = toml::from_str(r#"
///     url = "https://accounts.example.com"
///     type = "email"
/// "#)?;
/// assert_eq!(issuer.client_id, "sigstore");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer's URL, exactly as it stands in the claim `iss`. With `*` it stands for many ([`Wildcard`]).
    pub url: String,
    /// What its tokens say.
    #[serde(rename = "type")]
    pub issuer_type: IssuerType,
    /// The audience tokens must be for.
    #[serde(default = "sigstore")]
    pub client_id: String,
    /// For `ci-provider`: the name of a built-in provider, or of one defined in the same Fulcio file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_provider: Option<String>,
    /// For `ci-provider`: its definition, written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<CiTemplates>,
    /// For `email`: where the name of the true issuer stands when this one only brokers, such as
    /// `$.federated_claims.connector_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_claim: Option<String>,
    /// For `uri` (with scheme) and `username` (without): the domain which subjects belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_domain: Option<String>,
    /// For `spiffe`: the trust domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_trust_domain: Option<String>,
    /// The claim which proofs of possession sign: `email` or `sub`. Clients sign `email` whenever a token has it, so
    /// set `email` for a CI issuer whose tokens carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_claim: Option<String>,
    /// For `email`: believe addresses without `email_verified`. Only for an identity provider of one's own which
    /// verifies addresses in another way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_email_verification: bool,
    /// Where the keys are, instead of asking the discovery document. May be on another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with the keys: nothing is fetched. It is read again when it is five minutes old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Certificates (PEM) to trust when talking to this issuer, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// The same, in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with a bearer token, sent to the hosts of `url` and `jwks_url` and to no other. Read at each use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// A remark for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whom to write to; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

fn sigstore() -> String {
    "sigstore".to_owned()
}

impl IssuerConfig {
    /// An issuer with nothing but a URL and a type, for the audience `sigstore`.
    #[must_use]
    pub fn new(url: impl Into<String>, issuer_type: IssuerType) -> Self {
        Self {
            url: url.into(),
            issuer_type,
            client_id: sigstore(),
            ci_provider: None,
            templates: None,
            issuer_claim: None,
            subject_domain: None,
            spiffe_trust_domain: None,
            challenge_claim: None,
            skip_email_verification: false,
            jwks_url: None,
            jwks_file: None,
            ca_cert: None,
            ca_file: None,
            bearer_token_file: None,
            description: None,
            contact: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_reads_back_as_it_was_written() {
        let mut config = IssuerConfig::new("https://ci.example.com", IssuerType::CiProvider);
        config.templates = built_in("github-workflow");
        config.jwks_file = Some("keys.json".into());
        config.contact = Some("a@example.com".into());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<IssuerConfig>(&text).unwrap(), config, "{text}");
        let plain = toml::to_string(&IssuerConfig::new("https://a.example.com", IssuerType::Email)).unwrap();
        assert_eq!(plain, "url = \"https://a.example.com\"\ntype = \"email\"\nclient_id = \"sigstore\"\n");
    }

    #[test]
    fn unknown_members_and_types_are_refused() {
        for text in [
            "url = \"https://a.example.com\"\ntype = \"email\"\nclientid = \"x\"",
            "url = \"https://a.example.com\"\ntype = \"e-mail\"",
            "url = \"https://a.example.com\"",
            "type = \"email\"",
        ] {
            assert!(toml::from_str::<IssuerConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_type_has_the_name_it_is_read_by() {
        for issuer_type in [
            IssuerType::Email,
            IssuerType::Username,
            IssuerType::Uri,
            IssuerType::Spiffe,
            IssuerType::Kubernetes,
            IssuerType::GithubWorkflow,
            IssuerType::GitlabPipeline,
            IssuerType::BuildkiteJob,
            IssuerType::CodefreshWorkflow,
            IssuerType::CircleciJob,
            IssuerType::ChainguardIdentity,
            IssuerType::CiProvider,
        ] {
            let json = serde_json::Value::from(issuer_type.name());
            assert_eq!(serde_json::from_value::<IssuerType>(json).unwrap(), issuer_type);
        }
    }
}
