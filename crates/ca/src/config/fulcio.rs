//! Fulcio's own configuration file, in YAML (today's) and JSON (older deployments), so that an operator can bring
//! the file he has.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::providers::{EXTENSION_NAMES, built_in};
use super::{CiTemplates, ConfigError, IssuerConfig, IssuerType};
use crate::json;

/// The largest file that is read, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// A Fulcio configuration file, read.
///
/// ```
/// let file = "
/// oidc-issuers:
///   https://accounts.example.com:
///     issuer-url: https://accounts.example.com
///     client-id: sigstore
///     type: email
/// ";
/// let config = countersign_ca::config::FulcioConfig::parse(file)?;
/// assert_eq!(config.issuers().len(), 1);
/// # Ok::<(), countersign_ca::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct FulcioConfig {
    issuers: Vec<IssuerConfig>,
    providers: BTreeMap<String, CiTemplates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// YAML anchors are often collected under this name; it says nothing itself. It is read all the same, since the
    /// reader forgets anchors in what it skips.
    #[serde(default, rename = "define")]
    _define: serde_json::Value,
    #[serde(default, rename = "oidc-issuers", alias = "OIDCIssuers")]
    issuers: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "meta-issuers", alias = "MetaIssuers")]
    meta: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "ci-issuer-metadata", alias = "CIIssuerMetadata")]
    metadata: Option<BTreeMap<String, Metadata>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, rename = "issuer-url", alias = "IssuerURL")]
    url: Option<String>,
    #[serde(default, rename = "client-id", alias = "ClientID")]
    client_id: Option<String>,
    #[serde(rename = "type", alias = "Type")]
    issuer_type: IssuerType,
    #[serde(default, rename = "ci-provider", alias = "CIProvider")]
    ci_provider: Option<String>,
    #[serde(default, rename = "issuer-claim", alias = "IssuerClaim")]
    issuer_claim: Option<String>,
    #[serde(default, rename = "subject-domain", alias = "SubjectDomain")]
    subject_domain: Option<String>,
    #[serde(default, rename = "spiffe-trust-domain", alias = "SPIFFETrustDomain")]
    spiffe_trust_domain: Option<String>,
    #[serde(default, rename = "challenge-claim", alias = "ChallengeClaim")]
    challenge_claim: Option<String>,
    #[serde(default, rename = "description", alias = "Description")]
    description: Option<String>,
    #[serde(default, rename = "contact", alias = "Contact")]
    contact: Option<String>,
    /// Which of Sigstore's two public instances an entry is for; says nothing to a server.
    #[serde(default, rename = "environment", alias = "Environment")]
    _environment: Option<String>,
    #[serde(default, rename = "ca-cert", alias = "CACert")]
    ca_cert: Option<String>,
    #[serde(default, rename = "skip-email-verification", alias = "SkipEmailVerification")]
    skip_email_verification: bool,
    // The following are Countersign's, so that one file can say everything.
    #[serde(default, rename = "jwks-url")]
    jwks_url: Option<String>,
    #[serde(default, rename = "jwks-file")]
    jwks_file: Option<std::path::PathBuf>,
    #[serde(default, rename = "ca-file")]
    ca_file: Option<std::path::PathBuf>,
    #[serde(default, rename = "bearer-token-file")]
    bearer_token_file: Option<std::path::PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default, rename = "default-template-values", alias = "DefaultTemplateValues")]
    defaults: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "extension-templates", alias = "ExtensionTemplates")]
    extensions: Option<BTreeMap<String, String>>,
    #[serde(rename = "subject-alternative-name-template", alias = "SubjectAlternativeNameTemplate")]
    subject: String,
    /// Countersign's: names of default values which no claim may replace.
    #[serde(default, rename = "locked-template-values", alias = "LockedTemplateValues")]
    locked: Option<BTreeSet<String>>,
}

impl FulcioConfig {
    /// Reads a file: JSON when it begins with a brace, else YAML.
    ///
    /// # Errors
    /// [`ConfigError::Fulcio`] for a file that is malformed, too large or has a member Fulcio does not know, and
    /// [`ConfigError::Issuer`] for an entry whose key and `issuer-url` differ. The rest is checked by
    /// [`super::Issuers::new`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_FILE {
            return Err(ConfigError::Fulcio(format!(
                "expected at most {MAX_FILE} bytes, found {}",
                text.len()
            )));
        }
        let file: File = if text.trim_start().starts_with('{') {
            // The last of two entries of one name would win silently.
            let members = json::parse_object(text.trim().as_bytes()).map_err(ConfigError::Fulcio)?;
            serde_json::from_value(members.into()).map_err(|e| ConfigError::Fulcio(e.to_string()))?
        } else {
            serde_saphyr::from_str(&spaced_aliases(text)).map_err(|e| ConfigError::Fulcio(e.to_string()))?
        };
        let mut config = Self::default();
        for (key, entry) in file.issuers.unwrap_or_default() {
            config.issuers.push(entry.into_config(key, false)?);
        }
        for (key, entry) in file.meta.unwrap_or_default() {
            config.issuers.push(entry.into_config(key, true)?);
        }
        for (name, metadata) in file.metadata.unwrap_or_default() {
            let templates = metadata.into_templates(&name)?;
            config.providers.insert(name, templates);
        }
        Ok(config)
    }

    /// The issuers, those with wildcards last.
    #[must_use]
    pub fn issuers(&self) -> &[IssuerConfig] {
        &self.issuers
    }

    /// The CI providers by name.
    #[must_use]
    pub const fn providers(&self) -> &BTreeMap<String, CiTemplates> {
        &self.providers
    }
}

/// `*name:` as a key becomes `*name :`. YAML 1.2 lets a colon be part of an alias's name; the reader Fulcio uses does
/// not, and its files are written for that.
fn spaced_aliases(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let name_len = line.get(indent..).and_then(|rest| rest.strip_prefix('*')).map(|rest| {
            rest.len()
                - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c)).len()
        });
        match name_len.and_then(|len| line.split_at_checked(indent + 1 + len)) {
            Some((alias, rest)) if rest.starts_with(':') => {
                out.push_str(alias);
                out.push(' ');
                out.push_str(rest);
            }
            _ => out.push_str(line),
        }
    }
    out
}

impl Entry {
    fn into_config(self, key: String, meta: bool) -> Result<IssuerConfig, ConfigError> {
        let bad = |problem: String| ConfigError::Issuer { issuer: key.clone(), problem };
        match &self.url {
            Some(url) if !meta && *url != key => {
                return Err(bad(format!("expected \"issuer-url\" as its key, found {url:?}")));
            }
            _ => {}
        }
        if meta != key.contains('*') {
            return Err(bad("issuers with \"*\" belong under meta-issuers, and only they".into()));
        }
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let mut config = IssuerConfig {
            client_id: self.client_id.unwrap_or_default(),
            ci_provider: given(self.ci_provider),
            issuer_claim: given(self.issuer_claim),
            subject_domain: given(self.subject_domain),
            spiffe_trust_domain: given(self.spiffe_trust_domain),
            challenge_claim: given(self.challenge_claim),
            description: given(self.description),
            contact: given(self.contact),
            ca_cert: given(self.ca_cert),
            skip_email_verification: self.skip_email_verification,
            jwks_url: given(self.jwks_url),
            jwks_file: self.jwks_file,
            ca_file: self.ca_file,
            bearer_token_file: self.bearer_token_file,
            ..IssuerConfig::new(key, self.issuer_type)
        };
        // Fulcio files of old carry a provider's name beside one of the types that came before providers.
        if config.issuer_type != IssuerType::CiProvider {
            config.ci_provider = None;
        }
        in_cluster(&mut config, std::path::Path::new("/var/run"));
        Ok(config)
    }
}

/// As Fulcio does: in a pod, the cluster's own issuer is asked with the pod's token, and the cluster's certificates
/// are trusted, unless the entry says otherwise. `run` is `/var/run`, but for tests.
fn in_cluster(config: &mut IssuerConfig, run: &std::path::Path) {
    let own = config
        .url
        .strip_prefix("https://kubernetes.default.svc")
        .is_some_and(|rest| matches!(rest.trim_end_matches('/'), "" | ".cluster.local"));
    if !own || config.issuer_type != IssuerType::Kubernetes {
        return;
    }
    if config.ca_cert.is_none() && config.ca_file.is_none() {
        config.ca_file = ["fulcio/ca.crt", "secrets/kubernetes.io/serviceaccount/ca.crt"]
            .iter()
            .map(|file| run.join(file))
            .find(|path| path.is_file());
    }
    if config.bearer_token_file.is_none() {
        config.bearer_token_file =
            Some(run.join("secrets/kubernetes.io/serviceaccount/token")).filter(|path| path.is_file());
    }
}

impl Metadata {
    fn into_templates(self, name: &str) -> Result<CiTemplates, ConfigError> {
        let mut extensions = BTreeMap::new();
        for (key, template) in self.extensions.unwrap_or_default() {
            // JSON files name the extensions as Go does.
            let yaml =
                EXTENSION_NAMES.iter().find(|(_, go)| *go == key).map_or(key.as_str(), |(yaml, _)| yaml);
            extensions.insert(yaml.to_owned(), template);
        }
        let defaults = self.defaults.unwrap_or_default();
        // A provider of a name built in here locks what the built-in one locks, although Fulcio has no locks: the
        // host of a certificate's name is not for a claim to choose.
        let mut locked = self.locked.unwrap_or_default();
        if let Some(known) = built_in(name) {
            locked.extend(known.locked.into_iter().filter(|n| defaults.contains_key(n)));
        }
        if self.subject.trim().is_empty() {
            return Err(ConfigError::Provider {
                provider: name.to_owned(),
                problem: "expected a subject-alternative-name-template, found an empty one".into(),
            });
        }
        Ok(CiTemplates { subject: self.subject, extensions, defaults, locked })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Issuers;
    use super::*;

    const YAML: &str = r#"
# A file with anchors, as they are in use.
define:
  - &job "my-ci"
oidc-issuers:
  https://accounts.example.com:
    issuer-url: https://accounts.example.com
    client-id: sigstore
    type: email
    issuer-claim: $.federated_claims.connector_id
    contact: a@example.com
    description: "people"
    environment: staging
  https://ci.example.com:
    issuer-url: https://ci.example.com
    client-id: sigstore
    type: ci-provider
    ci-provider: *job
  https://actions.example.com:
    issuer-url: https://actions.example.com
    client-id: sigstore
    type: ci-provider
    ci-provider: github-workflow
meta-issuers:
  https://oidc.*.example.com/id/*:
    client-id: sigstore
    type: kubernetes
ci-issuer-metadata:
  *job:
    default-template-values:
      url: "https://ci.example.com"
      environment: ""
    extension-templates:
      build-signer-uri: "{{ .url }}/{{ .job }}"
      source-repository-ref: refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}
      build-config-uri: '{{.url}}/{{(index . "ci.example.com/id")}}/config'
      build-trigger: ""
    subject-alternative-name-template: "{{ .url }}/{{ .job }}"
"#;

    #[test]
    fn a_yaml_file_with_anchors_is_read() {
        let config = FulcioConfig::parse(YAML).unwrap();
        assert_eq!(config.issuers().len(), 4);
        let issuers = Issuers::new(&[], Some(&config)).unwrap();
        assert!(issuers.lookup("https://ci.example.com").is_some());
        assert!(issuers.lookup("https://actions.example.com").is_some(), "built-in provider");
        assert!(issuers.lookup("https://oidc.eu.example.com/id/1").is_some());
        let provider = &config.providers()["my-ci"];
        assert_eq!(
            provider.extensions["build-config-uri"],
            r#"{{.url}}/{{(index . "ci.example.com/id")}}/config"#
        );
        assert!(provider.locked.is_empty(), "as Fulcio, unless said otherwise");
    }

    #[test]
    fn a_json_file_of_older_deployments_is_read() {
        let text = r#"{
          "OIDCIssuers": {"https://a.example.com": {"IssuerURL": "https://a.example.com", "ClientID": "sigstore", "Type": "email"}},
          "MetaIssuers": {"https://oidc.*.example.com/id/*": {"ClientID": "sigstore", "Type": "kubernetes"}},
          "CIIssuerMetadata": {"x": {"ExtensionTemplates": {"BuildSignerURI": "{{ .a }}"}, "SubjectAlternativeNameTemplate": "a"}}
        }"#;
        let config = FulcioConfig::parse(text).unwrap();
        assert_eq!(config.issuers().len(), 2);
        assert_eq!(config.providers()["x"].extensions["build-signer-uri"], "{{ .a }}");
        assert!(Issuers::new(&[], Some(&config)).is_ok());
    }

    #[test]
    fn an_issuer_given_twice_is_refused_in_either_form() {
        let json = r#"{"OIDCIssuers": {
            "https://a.example.com": {"ClientID": "sigstore", "Type": "email"},
            "https://a.example.com": {"ClientID": "other", "Type": "email"}
        }}"#;
        assert!(FulcioConfig::parse(json).unwrap_err().to_string().contains("twice"));
        let entry = "  https://a.example.com:\n    client-id: sigstore\n    type: email\n";
        assert!(FulcioConfig::parse(&format!("oidc-issuers:\n{entry}")).is_ok());
        assert!(FulcioConfig::parse(&format!("oidc-issuers:\n{entry}{entry}")).is_err());
    }

    #[test]
    fn values_are_locked_on_request_and_for_known_providers() {
        let with = YAML.replace(
            "    extension-templates:",
            "    locked-template-values: [url]\n    extension-templates:",
        );
        assert!(FulcioConfig::parse(&with).unwrap().providers()["my-ci"].locked.contains("url"));
        let known = YAML.replace("\"my-ci\"", "\"github-workflow\"");
        assert!(FulcioConfig::parse(&known).unwrap().providers()["github-workflow"].locked.contains("url"));
    }

    #[test]
    fn mistakes_are_refused() {
        for (from, to) in [
            ("    type: email", "    type: emial"),
            ("    contact:", "    contacts:"),
            ("issuer-url: https://accounts.example.com", "issuer-url: https://other.example.com"),
            ("https://oidc.*.example.com/id/*:", "https://oidc.example.com/id:"),
            ("{{ .url }}/{{ .job }}\"\n      source", "{{ range }}\"\n      source"),
            ("build-signer-uri", "build-signer"),
            (
                "subject-alternative-name-template: \"{{ .url }}/{{ .job }}\"",
                "subject-alternative-name-template: \"\"",
            ),
            ("ci-provider: github-workflow", "ci-provider: gihub-workflow"),
            ("    client-id: sigstore\n    type: kubernetes", "    type: kubernetes"),
            ("oidc-issuers:", "oidc-issuers: ["),
        ] {
            assert!(YAML.contains(from), "{from}");
            let text = YAML.replacen(from, to, 1);
            let result = FulcioConfig::parse(&text).and_then(|c| Issuers::new(&[], Some(&c)));
            assert!(result.is_err(), "{from} -> {to}");
        }
        assert!(FulcioConfig::parse(&" ".repeat(MAX_FILE + 1)).is_err());
    }

    #[test]
    fn s07_the_pods_token_is_for_the_clusters_own_issuer_only() {
        let run = tempfile::tempdir().unwrap();
        let secrets = run.path().join("secrets/kubernetes.io/serviceaccount");
        std::fs::create_dir_all(&secrets).unwrap();
        for file in ["token", "ca.crt"] {
            std::fs::write(secrets.join(file), "x").unwrap();
        }
        for (url, own) in [
            ("https://kubernetes.default.svc", true),
            ("https://kubernetes.default.svc.cluster.local", true),
            ("https://kubernetes.default.svc.evil.example", false),
            ("https://kubernetes.default.svc/x", false),
            ("https://oidc.example.com", false),
        ] {
            let mut config = IssuerConfig::new(url, IssuerType::Kubernetes);
            in_cluster(&mut config, run.path());
            assert_eq!(config.bearer_token_file.is_some(), own, "{url}");
            assert_eq!(config.ca_file.is_some(), own, "{url}");
        }
    }

    #[test]
    fn a_file_of_aliases_of_aliases_is_refused() {
        let mut text = String::from("define:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let items = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("  - &a{i} [{items}]\n"));
        }
        assert!(FulcioConfig::parse(&text).is_err());
    }
}
