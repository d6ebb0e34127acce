//! The configured issuers, checked, and the lookup by a token's `iss`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::providers::{CiProvider, compile_buildkite_type, compile_built_in};
use super::{CiTemplates, ConfigError, FulcioConfig, IssuerConfig, IssuerType, Wildcard};

/// The longest issuer URL that is looked up, in bytes.
const MAX_ISSUER_BYTES: usize = 2048;

/// Hosts of keys which are not the issuer's own, known to be run by the issuer.
const FOREIGN_KEY_HOSTS: [(&str, &str); 1] = [("https://accounts.google.com", "www.googleapis.com")];

/// All issuers that are believed.
#[derive(Debug, Clone, Default)]
pub struct Issuers {
    exact: HashMap<String, Arc<Settings>>,
    wildcards: Vec<(Wildcard, Arc<Settings>)>,
}

/// One issuer, found by the `iss` of a token.
#[derive(Debug, Clone)]
pub struct Issuer {
    url: Url,
    name: String,
    settings: Arc<Settings>,
    by_wildcard: bool,
}

#[derive(Debug)]
struct Settings {
    client_id: String,
    issuer_type: IssuerType,
    kind: Kind,
    challenge_claim: String,
    keys: KeySource,
    config: IssuerConfig,
}

/// An issuer's type with what its rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Email { issuer_path: Option<Vec<String>>, skip_verification: bool },
    Username { domain: String },
    Uri { scheme: String, host: String },
    Spiffe { trust_domain: String },
    Kubernetes,
    Chainguard,
    Ci(Box<CiProvider>),
}

/// Where an issuer's keys come from and how they are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeySource {
    pub(crate) jwks_url: Option<Url>,
    pub(crate) jwks_file: Option<PathBuf>,
    /// A host besides the issuer's own on which the discovery document may say the keys are.
    pub(crate) foreign_host: Option<&'static str>,
    pub(crate) ca_certificates_pem: Option<String>,
    pub(crate) bearer_token_file: Option<PathBuf>,
}

impl Issuer {
    /// The issuer's URL, exactly as in the claim `iss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.name
    }

    /// The audience its tokens must be for.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// Its type.
    #[must_use]
    pub fn issuer_type(&self) -> IssuerType {
        self.settings.issuer_type
    }

    /// The claim which proofs of possession sign.
    #[must_use]
    pub fn challenge_claim(&self) -> &str {
        &self.settings.challenge_claim
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.settings.kind
    }

    pub(crate) fn keys(&self) -> &KeySource {
        &self.settings.keys
    }

    pub(crate) fn parsed_url(&self) -> &Url {
        &self.url
    }

    /// Whether the exact URL came from a token and only its form from the configuration.
    pub(crate) fn by_wildcard(&self) -> bool {
        self.by_wildcard
    }
}

impl Issuers {
    /// Checks the issuers of an instance and of a Fulcio file, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`] naming the issuer or provider and the mistake; also for files that cannot be read and for an
    /// issuer given twice.
    pub fn new(configs: &[IssuerConfig], fulcio: Option<&FulcioConfig>) -> Result<Self, ConfigError> {
        let mut issuers = Self::default();
        let none = BTreeMap::new();
        for config in configs {
            issuers.add(config, &none)?;
        }
        if let Some(fulcio) = fulcio {
            // Every definition is checked, used or not.
            for (name, templates) in fulcio.providers() {
                CiProvider::compile(templates)
                    .map_err(|problem| ConfigError::Provider { provider: name.clone(), problem })?;
            }
            for config in fulcio.issuers() {
                issuers.add(config, fulcio.providers())?;
            }
        }
        Ok(issuers)
    }

    fn add(
        &mut self,
        config: &IssuerConfig,
        providers: &BTreeMap<String, CiTemplates>,
    ) -> Result<(), ConfigError> {
        let named = |problem: String| ConfigError::Issuer { issuer: config.url.clone(), problem };
        if config.url.contains('*') {
            let wildcard = Wildcard::parse(&config.url).map_err(named)?;
            if self.wildcards.iter().any(|(w, _)| w.as_str() == config.url) {
                return Err(named("it is given twice".into()));
            }
            for (set, name) in [
                (config.issuer_type == IssuerType::Spiffe, "the type \"spiffe\""),
                (config.jwks_url.is_some(), "\"jwks_url\""),
                (config.jwks_file.is_some(), "\"jwks_file\""),
                (config.bearer_token_file.is_some(), "\"bearer_token_file\""),
            ] {
                if set {
                    return Err(named(format!("an issuer with wildcards cannot have {name}")));
                }
            }
            let sample = issuer_url(&config.url.replace('*', "x")).map_err(named)?;
            let settings = Settings::check(config, &sample, providers).map_err(named)?;
            self.wildcards.push((wildcard, Arc::new(settings)));
        } else {
            let url = issuer_url(&config.url).map_err(named)?;
            if self.exact.contains_key(&config.url) {
                return Err(named("it is given twice".into()));
            }
            let settings = Settings::check(config, &url, providers).map_err(named)?;
            self.exact.insert(config.url.clone(), Arc::new(settings));
        }
        Ok(())
    }

    /// The issuer with this `iss`: one written exactly so, else the first whose wildcards match the whole of it.
    #[must_use]
    pub fn lookup(&self, iss: &str) -> Option<Issuer> {
        if iss.len() > MAX_ISSUER_BYTES {
            return None;
        }
        let (settings, by_wildcard) = match self.exact.get(iss) {
            Some(settings) => (settings, false),
            None => (self.wildcards.iter().find(|(w, _)| w.matches(iss)).map(|(_, s)| s)?, true),
        };
        let url = issuer_url(iss).ok()?;
        Some(Issuer { url, name: iss.to_owned(), settings: Arc::clone(settings), by_wildcard })
    }

    /// Whether no issuer is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// The answer of `GET /api/v2/configuration`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut exact: Vec<_> = self.exact.values().collect();
        exact.sort_by(|a, b| a.config.url.cmp(&b.config.url));
        let issuers: Vec<_> = exact
            .into_iter()
            .map(|s| ("issuerUrl", s))
            .chain(self.wildcards.iter().map(|(_, s)| ("wildcardIssuerUrl", s)))
            .map(|(member, s)| {
                serde_json::json!({
                    member: s.config.url,
                    "audience": s.client_id,
                    "challengeClaim": s.challenge_claim,
                    "spiffeTrustDomain": s.config.spiffe_trust_domain.as_deref().unwrap_or_default(),
                    "issuerType": match s.issuer_type {
                        // Not a name clients know.
                        IssuerType::CircleciJob => IssuerType::CiProvider.name(),
                        other => other.name(),
                    },
                    "subjectDomain": s.config.subject_domain.as_deref().unwrap_or_default(),
                    "skipEmailVerification": s.config.skip_email_verification,
                })
            })
            .collect();
        serde_json::json!({"issuers": issuers})
    }
}

impl Settings {
    fn check(
        config: &IssuerConfig,
        url: &Url,
        providers: &BTreeMap<String, CiTemplates>,
    ) -> Result<Self, String> {
        if config.client_id.is_empty() {
            return Err("expected a \"client_id\", found an empty one".into());
        }
        let challenge_claim = match config.challenge_claim.as_deref() {
            None | Some("") => config.issuer_type.challenge_claim(),
            Some(claim @ ("email" | "sub")) => claim,
            Some(other) => return Err(format!("expected \"challenge_claim\" email or sub, found {other:?}")),
        };
        refuse_misplaced(config)?;
        Ok(Self {
            client_id: config.client_id.clone(),
            issuer_type: config.issuer_type,
            kind: kind(config, url, providers)?,
            challenge_claim: challenge_claim.to_owned(),
            keys: key_source(config)?,
            config: config.clone(),
        })
    }
}

/// An option which does nothing for its issuer's type is a misunderstanding, so it is refused.
fn refuse_misplaced(config: &IssuerConfig) -> Result<(), String> {
    use IssuerType as T;
    let kind = config.issuer_type;
    for (set, name, allowed) in [
        (config.issuer_claim.is_some(), "issuer_claim", kind == T::Email),
        (config.skip_email_verification, "skip_email_verification", kind == T::Email),
        (config.subject_domain.is_some(), "subject_domain", matches!(kind, T::Uri | T::Username)),
        (config.spiffe_trust_domain.is_some(), "spiffe_trust_domain", kind == T::Spiffe),
        (config.ci_provider.is_some(), "ci_provider", kind == T::CiProvider),
        (config.templates.is_some(), "templates", kind == T::CiProvider),
    ] {
        if set && !allowed {
            return Err(format!("\"{name}\" does not go with the type \"{}\"", kind.name()));
        }
    }
    Ok(())
}

fn kind(config: &IssuerConfig, url: &Url, providers: &BTreeMap<String, CiTemplates>) -> Result<Kind, String> {
    Ok(match config.issuer_type {
        IssuerType::Email => Kind::Email {
            issuer_path: config.issuer_claim.as_deref().map(json_path).transpose()?,
            skip_verification: config.skip_email_verification,
        },
        IssuerType::Username => {
            let domain = config.subject_domain.as_deref().unwrap_or_default();
            if domain.is_empty() || !domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
                return Err(format!(
                    "expected \"subject_domain\" a host name without scheme, found {domain:?}"
                ));
            }
            same_owner(domain, url)?;
            Kind::Username { domain: domain.to_owned() }
        }
        IssuerType::Uri => {
            let text = config.subject_domain.as_deref().unwrap_or_default();
            let domain = Url::parse(text).ok().filter(|d| text.contains("://") && d.host_str().is_some());
            let domain = domain.ok_or_else(|| {
                format!("expected \"subject_domain\" a URL with scheme and host, found {text:?}")
            })?;
            if domain.scheme() != url.scheme() {
                return Err(format!(
                    "expected \"subject_domain\" with the issuer's scheme {}, found {}",
                    url.scheme(),
                    domain.scheme()
                ));
            }
            let host = domain.host_str().unwrap_or_default().to_owned();
            same_owner(&host, url)?;
            Kind::Uri { scheme: domain.scheme().to_owned(), host }
        }
        IssuerType::Spiffe => {
            let domain = config.spiffe_trust_domain.as_deref().unwrap_or_default();
            let domain = domain.strip_prefix("spiffe://").unwrap_or(domain);
            if !crate::identity::is_trust_domain(domain) {
                return Err(format!("expected \"spiffe_trust_domain\" a trust domain, found {domain:?}"));
            }
            Kind::Spiffe { trust_domain: domain.to_owned() }
        }
        IssuerType::Kubernetes => Kind::Kubernetes,
        IssuerType::ChainguardIdentity => Kind::Chainguard,
        IssuerType::BuildkiteJob => Kind::Ci(Box::new(compile_buildkite_type()?)),
        IssuerType::GithubWorkflow
        | IssuerType::GitlabPipeline
        | IssuerType::CodefreshWorkflow
        | IssuerType::CircleciJob => Kind::Ci(Box::new(compile_built_in(config.issuer_type.name())?)),
        IssuerType::CiProvider => Kind::Ci(Box::new(match (&config.ci_provider, &config.templates) {
            (None, Some(templates)) => CiProvider::compile(templates)?,
            (Some(name), None) => match providers.get(name) {
                Some(templates) => CiProvider::compile(templates)?,
                None => compile_built_in(name)?,
            },
            _ => return Err("expected either \"ci_provider\" or \"templates\"".into()),
        })),
    })
}

/// `$.a.b` as a list of member names.
fn json_path(text: &str) -> Result<Vec<String>, String> {
    let path: Vec<String> =
        text.strip_prefix("$.").map(|rest| rest.split('.').map(str::to_owned).collect()).unwrap_or_default();
    let plain = |part: &String| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if path.is_empty() || path.len() > 8 || !path.iter().all(plain) {
        return Err(format!(
            "expected \"issuer_claim\" like $.federated_claims.connector_id, found {text:?}"
        ));
    }
    Ok(path)
}

/// The domain of subjects must be the issuer's host, or share its last two labels.
fn same_owner(domain: &str, issuer: &Url) -> Result<(), String> {
    let host = issuer.host_str().unwrap_or_default();
    let tail = |name: &str| {
        let mut labels = name.rsplit('.').map(str::to_ascii_lowercase);
        labels.next().zip(labels.next())
    };
    let shared = matches!((tail(domain), tail(host)), (Some(a), Some(b)) if a == b);
    if domain == host || shared {
        Ok(())
    } else {
        Err(format!("expected \"subject_domain\" under the issuer's own domain ({host}), found {domain}"))
    }
}

fn key_source(config: &IssuerConfig) -> Result<KeySource, String> {
    if config.jwks_url.is_some() && config.jwks_file.is_some() {
        return Err("expected \"jwks_url\" or \"jwks_file\", found both".into());
    }
    if config.ca_cert.is_some() && config.ca_file.is_some() {
        return Err("expected \"ca_cert\" or \"ca_file\", found both".into());
    }
    let ca_certificates_pem = match (&config.ca_cert, &config.ca_file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => {
            Some(std::fs::read_to_string(path).map_err(|e| format!("\"ca_file\" {}: {e}", path.display()))?)
        }
        (None, None) => None,
    };
    if let Some(pem) = &ca_certificates_pem {
        let blocks =
            countersign_crypto::encoding::pem_decode(pem).map_err(|e| format!("CA certificates: {e}"))?;
        if blocks.iter().any(|b| b.label != "CERTIFICATE") {
            return Err("expected only CERTIFICATE blocks in the CA certificates".into());
        }
    }
    Ok(KeySource {
        jwks_url: config
            .jwks_url
            .as_deref()
            .map(|text| secure_url(text).map_err(|e| format!("\"jwks_url\": {e}")))
            .transpose()?,
        jwks_file: config.jwks_file.clone(),
        foreign_host: FOREIGN_KEY_HOSTS.iter().find(|(iss, _)| *iss == config.url).map(|(_, host)| *host),
        ca_certificates_pem,
        bearer_token_file: config.bearer_token_file.clone(),
    })
}

/// Reads an issuer's URL: `https`, or `http` on the own machine; no user, query or fragment; in normal form, so that
/// one issuer has one spelling.
pub(crate) fn issuer_url(text: &str) -> Result<Url, String> {
    let url = secure_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an issuer has no query and no fragment".into());
    }
    if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') {
        return Err(format!("expected the normal form {url}"));
    }
    Ok(url)
}

fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("expected a URL, found {text:?} ({e})"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user or a password".into());
    }
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        other => Err(format!("expected https:// (http:// only on loopback), found {other}://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut IssuerConfig)) -> Result<Issuers, String> {
        let mut config = IssuerConfig::new("https://id.example.com", IssuerType::Email);
        change(&mut config);
        Issuers::new(&[config], None).map_err(|e| e.to_string())
    }

    #[test]
    fn an_issuer_is_found_by_its_exact_spelling_only() {
        let issuers = check(|_| ()).unwrap();
        assert_eq!(issuers.lookup("https://id.example.com").unwrap().url(), "https://id.example.com");
        for other in [
            "https://id.example.com/",
            "https://ID.example.com",
            "HTTPS://id.example.com",
            "http://id.example.com",
            "https://id.example.com:443",
            "https://id.example.com/x",
            "id.example.com",
            "",
        ] {
            assert!(issuers.lookup(other).is_none(), "{other}");
        }
        assert!(
            check(|c| c.url = "https://id.example.com/".into())
                .unwrap()
                .lookup("https://id.example.com")
                .is_none()
        );
    }

    #[test]
    fn s06_a_wildcard_matches_and_stays_in_normal_form() {
        let issuers = check(|c| {
            c.url = "https://oidc.*.example.com/id/*".into();
            c.issuer_type = IssuerType::Kubernetes;
        })
        .unwrap();
        let issuer = issuers.lookup("https://oidc.eu-1.example.com/id/AB").unwrap();
        assert!(issuer.by_wildcard());
        assert!(issuers.lookup("https://oidc.EU-1.example.com/id/AB").is_none(), "not the normal form");
        assert!(issuers.lookup("https://evil/?https://oidc.eu-1.example.com/id/AB").is_none());
        assert!(issuers.lookup(&format!("https://oidc.x.example.com/id/{}", "a".repeat(4000))).is_none());
    }

    #[test]
    fn each_mistake_is_refused_by_name() {
        type Change = fn(&mut IssuerConfig);
        let cases: [(Change, &str); 27] = [
            (|c| c.url = "http://id.example.com".into(), "expected https://"),
            (|c| c.url = "https://u@id.example.com".into(), "user"),
            (|c| c.url = "https://id.example.com/?x".into(), "no query"),
            (|c| c.url = "https://ID.example.com".into(), "normal form"),
            (|c| c.url = "id.example.com".into(), "expected a URL"),
            (|c| c.url = "https://*.com".into(), "last two labels"),
            (|c| c.client_id.clear(), "client_id"),
            (|c| c.challenge_claim = Some("name".into()), "challenge_claim"),
            (|c| c.issuer_claim = Some("federated".into()), "issuer_claim"),
            (|c| c.subject_domain = Some("x".into()), "subject_domain"),
            (|c| c.spiffe_trust_domain = Some("x".into()), "spiffe_trust_domain"),
            (|c| c.ci_provider = Some("x".into()), "ci_provider"),
            (|c| c.templates = Some(CiTemplates::default()), "templates"),
            (|c| c.issuer_type = IssuerType::CiProvider, "either"),
            (|c| c.issuer_type = IssuerType::Spiffe, "trust domain"),
            (|c| c.issuer_type = IssuerType::Uri, "subject_domain"),
            (|c| c.issuer_type = IssuerType::Username, "subject_domain"),
            (|c| (c.issuer_type, c.skip_email_verification) = (IssuerType::Kubernetes, true), "skip_email"),
            (
                |c| (c.issuer_type, c.issuer_claim) = (IssuerType::Kubernetes, Some("$.a".into())),
                "issuer_claim",
            ),
            (|c| c.jwks_url = Some("ftp://x".into()), "jwks_url"),
            (|c| (c.jwks_url, c.jwks_file) = (Some("https://x/".into()), Some("f".into())), "found both"),
            (|c| (c.ca_cert, c.ca_file) = (Some("x".into()), Some("f".into())), "found both"),
            (|c| c.ca_cert = Some("junk".into()), "CA certificates"),
            (|c| c.ca_file = Some("/does/not/exist".into()), "ca_file"),
            (
                |c| (c.url, c.jwks_url) = ("https://*.a.example.com".into(), Some("https://x/".into())),
                "wildcards",
            ),
            (
                |c| (c.url, c.bearer_token_file) = ("https://*.a.example.com".into(), Some("f".into())),
                "wildcards",
            ),
            (
                |c| (c.issuer_type, c.ci_provider) = (IssuerType::CiProvider, Some("nope".into())),
                "no CI provider",
            ),
        ];
        for (change, expected) in cases {
            let error = check(change).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let twice = [
            IssuerConfig::new("https://a.example", IssuerType::Email),
            IssuerConfig::new("https://a.example", IssuerType::Uri),
        ];
        assert!(Issuers::new(&twice, None).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_subject_domain_belongs_to_the_issuer() {
        let uri = |domain: &'static str| {
            check(|c| (c.issuer_type, c.subject_domain) = (IssuerType::Uri, Some(domain.into())))
        };
        for good in ["https://example.com", "https://id.example.com", "https://users.example.com"] {
            assert!(uri(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com",
            "https://example.org",
            "https://evil.com",
            "https://com",
            "example.com",
            "https:example.com",
        ] {
            assert!(uri(bad).is_err(), "{bad}");
        }
        let name = |domain: &'static str| {
            check(|c| (c.issuer_type, c.subject_domain) = (IssuerType::Username, Some(domain.into())))
        };
        assert!(name("users.example.com").is_ok());
        for bad in ["https://example.com", "example.org", "com", "a!b.example.com"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_configuration_answer_has_fulcios_members() {
        let answer = check(|_| ()).unwrap().to_json();
        assert_eq!(
            answer.to_string(),
            serde_json::json!({"issuers": [{
                "issuerUrl": "https://id.example.com", "audience": "sigstore", "challengeClaim": "email",
                "spiffeTrustDomain": "", "issuerType": "email", "subjectDomain": "", "skipEmailVerification": false
            }]})
            .to_string()
        );
        let wildcard = check(|c| {
            c.url = "https://ci.example.com/org/*".into();
            c.issuer_type = IssuerType::CircleciJob;
        });
        let answer = wildcard.unwrap().to_json();
        assert_eq!(answer["issuers"][0]["wildcardIssuerUrl"], "https://ci.example.com/org/*");
        assert_eq!(answer["issuers"][0]["issuerType"], "ci-provider");
        assert_eq!(answer["issuers"][0]["challengeClaim"], "sub");
    }

    #[test]
    fn http_is_for_the_own_machine() {
        for good in ["http://localhost:9998", "http://127.0.0.1:1/x", "http://[::1]:1", "http://a.localhost"]
        {
            assert!(issuer_url(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1", "http://localhost.example.com", "http://dex:5556"] {
            assert!(issuer_url(bad).is_err(), "{bad}");
        }
    }
}
