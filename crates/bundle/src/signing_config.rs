//! `signing_config.v0.2.json`: which services a signer uses; and the trust configuration which carries it
//! together with the trusted root in one file.

use std::collections::BTreeSet;

use countersign_attestation::JsonError;
use countersign_attestation::json::{self, Bounded};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::trusted_root::{MAX_ROOT_LEN, WireRoot};
use crate::wire::WireTimeRange;
use crate::{BundleError, TrustedRoot, ValidFor, shape};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const CLIENT_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
/// The largest signing configuration read, in bytes of JSON.
const MAX_CONFIG_LEN: usize = 1024 * 1024;
/// The most services of one kind.
const MAX_SERVICES: usize = 256;

/// A service a signer may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where it is: a base URL, for timestamp authorities the full one.
    pub url: String,
    /// The major version of its API.
    pub major_api_version: u32,
    /// When to use it.
    pub valid_for: ValidFor,
    /// Who runs it; services of one operator count once.
    pub operator: String,
}

/// How many of several services to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// Every one.
    All,
    /// Any one.
    Any,
    /// This many, of as many operators.
    Exact(u32),
}

/// How to choose among services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceConfiguration {
    /// How many to use.
    pub selector: Selector,
}

/// Which services to sign with, version 0.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// Certificate authorities.
    pub ca_urls: Vec<Service>,
    /// Identity providers.
    pub oidc_urls: Vec<Service>,
    /// Transparency logs; none means that signatures are not logged.
    pub rekor_tlog_urls: Vec<Service>,
    /// How many logs.
    pub rekor_tlog_config: ServiceConfiguration,
    /// Timestamp authorities; none means no timestamps.
    pub tsa_urls: Vec<Service>,
    /// How many timestamps.
    pub tsa_config: ServiceConfiguration,
}

/// Why no choice of services was possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Too few services, of too few operators, are valid now with a version which is spoken here.
    #[error(
        "expected {expected} usable service(s) of different operators, found {found} among {listed} listed"
    )]
    TooFew {
        /// How many are needed.
        expected: u32,
        /// How many operators have one.
        found: usize,
        /// How many services the configuration lists.
        listed: usize,
    },
    /// An exact count of zero.
    #[error("the selector EXACT needs a count of at least 1, found 0")]
    ZeroCount,
}

impl ServiceConfiguration {
    /// Chooses services: valid now, of the highest version listed in `versions`, at most one of each operator;
    /// in the order of the list.
    ///
    /// ```
    /// # use countersign_bundle::{Selector, Service, ServiceConfiguration, ValidFor};
    /// # let now = "2026-01-01T00:00:00Z".parse::<jiff::Timestamp>()?;
    /// # let service = |url: &str, v| Service { url: url.into(), major_api_version: v, operator: "o".into(),
    /// #     valid_for: ValidFor { start: now, end: None } };
    /// let services = [service("https://old", 1), service("https://new", 2)];
    /// let any = ServiceConfiguration { selector: Selector::Any };
    /// assert_eq!(any.select(&services, &[1, 2], now)?[0].url, "https://new");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SelectError`].
    pub fn select<'a>(
        &self,
        services: &'a [Service],
        versions: &[u32],
        now: Timestamp,
    ) -> Result<Vec<&'a Service>, SelectError> {
        let usable = |s: &&Service| s.valid_for.contains(now) && versions.contains(&s.major_api_version);
        let best = services.iter().filter(usable).map(|s| s.major_api_version).max();
        let mut operators = BTreeSet::new();
        let mut chosen: Vec<&Service> = services
            .iter()
            .filter(usable)
            .filter(|s| Some(s.major_api_version) == best)
            .filter(|s| operators.insert(s.operator.as_str()))
            .collect();
        let expected = match self.selector {
            Selector::Exact(0) => return Err(SelectError::ZeroCount),
            Selector::Exact(count) => count,
            Selector::All | Selector::Any => 1,
        };
        let wanted = usize::try_from(expected).unwrap_or(usize::MAX);
        if chosen.len() < wanted {
            return Err(SelectError::TooFew { expected, found: chosen.len(), listed: services.len() });
        }
        if self.selector != Selector::All {
            chosen.truncate(wanted);
        }
        Ok(chosen)
    }
}

impl SigningConfig {
    /// Reads a signing configuration of version 0.2.
    ///
    /// # Errors
    /// [`BundleError`]: limits, another media type, members missing or of another type.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        json::from_slice::<WireConfig>(bytes, MAX_CONFIG_LEN)?.read()
    }

    /// Writes it in the form of version 0.2 which all clients read.
    ///
    /// # Errors
    /// [`BundleError`] when [`SigningConfig::from_json`] would not read it again.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let bytes = serde_json::to_vec(&WireConfig::of(self)).map_err(JsonError::from)?;
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

/// Trusted root and signing configuration in one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrustConfig {
    /// What to trust.
    pub trusted_root: TrustedRoot,
    /// What to sign with.
    pub signing_config: SigningConfig,
}

impl ClientTrustConfig {
    /// Reads it.
    ///
    /// # Errors
    /// As [`TrustedRoot::from_json`] and [`SigningConfig::from_json`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        let wire: WireClientConfig = json::from_slice(bytes, MAX_ROOT_LEN)?;
        if wire.media_type != CLIENT_MEDIA_TYPE {
            return Err(BundleError::MediaType { expected: CLIENT_MEDIA_TYPE, found: wire.media_type });
        }
        Ok(Self { trusted_root: wire.trusted_root.read()?, signing_config: wire.signing_config.read()? })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`BundleError`] when [`ClientTrustConfig::from_json`] would not read it again.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let wire = WireClientConfig {
            media_type: CLIENT_MEDIA_TYPE.to_owned(),
            trusted_root: WireRoot::of(&self.trusted_root),
            signing_config: WireConfig::of(&self.signing_config),
        };
        let bytes = serde_json::to_vec(&wire).map_err(JsonError::from)?;
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireClientConfig {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(alias = "trusted_root")]
    trusted_root: WireRoot,
    #[serde(alias = "signing_config")]
    signing_config: WireConfig,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConfig {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(alias = "ca_urls", default, deserialize_with = "json::null_is_default")]
    ca_urls: Services,
    #[serde(alias = "oidc_urls", default, deserialize_with = "json::null_is_default")]
    oidc_urls: Services,
    #[serde(alias = "rekor_tlog_urls", default, deserialize_with = "json::null_is_default")]
    rekor_tlog_urls: Services,
    #[serde(alias = "rekor_tlog_config", default, deserialize_with = "json::null_is_default")]
    rekor_tlog_config: WireServiceConfiguration,
    #[serde(alias = "tsa_urls", default, deserialize_with = "json::null_is_default")]
    tsa_urls: Services,
    #[serde(alias = "tsa_config", default, deserialize_with = "json::null_is_default")]
    tsa_config: WireServiceConfiguration,
}

type Services = Bounded<WireService, MAX_SERVICES>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireService {
    url: String,
    #[serde(alias = "major_api_version")]
    major_api_version: u32,
    #[serde(alias = "valid_for")]
    valid_for: WireTimeRange,
    #[serde(default, deserialize_with = "json::null_is_default")]
    operator: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WireServiceConfiguration {
    #[serde(default, deserialize_with = "json::null_is_default")]
    selector: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

impl WireServiceConfiguration {
    /// `in_use` is whether there are services to choose from; without any, a missing selector is no fault.
    fn read(&self, what: &str, in_use: bool) -> Result<ServiceConfiguration, BundleError> {
        let selector = match (self.selector.as_str(), self.count) {
            ("ALL", _) => Selector::All,
            ("ANY", _) => Selector::Any,
            ("EXACT", Some(count)) if count > 0 => Selector::Exact(count),
            ("EXACT", _) => return Err(shape(format!("{what}: EXACT needs a count of at least 1"))),
            ("" | "SERVICE_SELECTOR_UNDEFINED", _) if !in_use => Selector::Any,
            (other, _) => {
                return Err(shape(format!(
                    "{what}: selector: expected ALL, ANY or EXACT, found \"{other}\""
                )));
            }
        };
        Ok(ServiceConfiguration { selector })
    }

    fn of(config: ServiceConfiguration) -> Self {
        let (selector, count) = match config.selector {
            Selector::All => ("ALL", None),
            Selector::Any => ("ANY", None),
            Selector::Exact(count) => ("EXACT", Some(count)),
        };
        Self { selector: selector.to_owned(), count }
    }
}

fn read_services(services: Services, what: &str) -> Result<Vec<Service>, BundleError> {
    services
        .0
        .into_iter()
        .map(|s| {
            Ok(Service {
                url: s.url,
                major_api_version: s.major_api_version,
                valid_for: s.valid_for.read(what)?,
                operator: s.operator,
            })
        })
        .collect()
}

fn write_services(services: &[Service]) -> Services {
    let write = |s: &Service| WireService {
        url: s.url.clone(),
        major_api_version: s.major_api_version,
        valid_for: (&s.valid_for).into(),
        operator: s.operator.clone(),
    };
    Bounded(services.iter().map(write).collect())
}

impl WireConfig {
    fn read(self) -> Result<SigningConfig, BundleError> {
        if self.media_type != MEDIA_TYPE {
            return Err(BundleError::MediaType { expected: MEDIA_TYPE, found: self.media_type });
        }
        Ok(SigningConfig {
            rekor_tlog_config: self
                .rekor_tlog_config
                .read("rekorTlogConfig", !self.rekor_tlog_urls.0.is_empty())?,
            tsa_config: self.tsa_config.read("tsaConfig", !self.tsa_urls.0.is_empty())?,
            ca_urls: read_services(self.ca_urls, "caUrls")?,
            oidc_urls: read_services(self.oidc_urls, "oidcUrls")?,
            rekor_tlog_urls: read_services(self.rekor_tlog_urls, "rekorTlogUrls")?,
            tsa_urls: read_services(self.tsa_urls, "tsaUrls")?,
        })
    }

    fn of(config: &SigningConfig) -> Self {
        Self {
            media_type: MEDIA_TYPE.to_owned(),
            ca_urls: write_services(&config.ca_urls),
            oidc_urls: write_services(&config.oidc_urls),
            rekor_tlog_urls: write_services(&config.rekor_tlog_urls),
            rekor_tlog_config: WireServiceConfiguration::of(config.rekor_tlog_config),
            tsa_urls: write_services(&config.tsa_urls),
            tsa_config: WireServiceConfiguration::of(config.tsa_config),
        }
    }
}
