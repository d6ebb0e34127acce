//! Which services to sign with, by the signing configuration or by hand.

use countersign_bundle::{Selector, Service, ServiceConfiguration, SigningConfig};
use jiff::Timestamp;
use url::Url;

use crate::ClientError;
use crate::rekor::{Rekor, RekorVersion};
use countersign_http::parse_url;

/// The services of one signing.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// The certificate authority.
    pub ca: Option<Url>,
    /// The identity provider.
    pub oidc: Option<Url>,
    /// The transparency logs; every one is used.
    pub logs: Vec<Rekor>,
    /// The timestamp authorities, by their whole addresses; every one is used.
    pub timestamps: Vec<Url>,
}

/// The versions of each interface that are spoken here.
const CA_VERSIONS: &[u32] = &[1];
const OIDC_VERSIONS: &[u32] = &[1];
const LOG_VERSIONS: &[u32] = &[1, 2];
const TSA_VERSIONS: &[u32] = &[1];

impl Services {
    /// Chooses services by a signing configuration: those valid now, of the highest version spoken here, one of each
    /// operator, as many as the configuration's selector says. Kinds it does not list are not used.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the configuration asks for more than there are.
    pub fn choose(config: &SigningConfig, now: Timestamp) -> Result<Self, ClientError> {
        let one = ServiceConfiguration { selector: Selector::Any };
        let ca = select("certificate authorities", one, &config.ca_urls, CA_VERSIONS, now)?;
        let oidc = select("identity providers", one, &config.oidc_urls, OIDC_VERSIONS, now)?;
        let logs = select(
            "transparency logs",
            config.rekor_tlog_config,
            &config.rekor_tlog_urls,
            LOG_VERSIONS,
            now,
        )?;
        let timestamps =
            select("timestamp authorities", config.tsa_config, &config.tsa_urls, TSA_VERSIONS, now)?;
        Ok(Self {
            ca: ca.first().map(|s| parse_url(&s.url)).transpose()?,
            oidc: oidc.first().map(|s| parse_url(&s.url)).transpose()?,
            logs: logs
                .iter()
                .map(|s| {
                    let version = if s.major_api_version == 2 { RekorVersion::V2 } else { RekorVersion::V1 };
                    Ok(Rekor { base: parse_url(&s.url)?, version })
                })
                .collect::<Result<_, ClientError>>()?,
            timestamps: timestamps.iter().map(|s| parse_url(&s.url)).collect::<Result<_, _>>()?,
        })
    }
}

fn select<'a>(
    what: &str,
    how: ServiceConfiguration,
    listed: &'a [Service],
    versions: &[u32],
    now: Timestamp,
) -> Result<Vec<&'a Service>, ClientError> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    how.select(listed, versions, now)
        .map_err(|e| ClientError::Trust(format!("the signing configuration's {what}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_bundle::ValidFor;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn service(url: &str, version: u32, operator: &str, end: Option<i64>) -> Service {
        Service {
            url: url.into(),
            major_api_version: version,
            operator: operator.into(),
            valid_for: ValidFor { start: at(100), end: end.map(at) },
        }
    }

    fn config(logs: Vec<Service>, selector: Selector) -> SigningConfig {
        SigningConfig {
            ca_urls: vec![service("https://ca", 1, "a", None)],
            oidc_urls: vec![],
            rekor_tlog_urls: logs,
            rekor_tlog_config: ServiceConfiguration { selector },
            tsa_urls: vec![service("https://tsa/api/v1/timestamp", 1, "a", None)],
            tsa_config: ServiceConfiguration { selector: Selector::Any },
        }
    }

    fn logs(logs: Vec<Service>, selector: Selector) -> Result<Vec<(String, RekorVersion)>, u8> {
        Services::choose(&config(logs, selector), at(1000))
            .map(|s| s.logs.into_iter().map(|l| (l.base.to_string(), l.version)).collect())
            .map_err(|e| e.exit_code())
    }

    #[test]
    fn the_highest_version_within_its_time_is_used() {
        let list = || {
            vec![
                service("https://v1", 1, "a", None),
                service("https://v2-old", 2, "a", Some(999)),
                service("https://v2", 2, "a", None),
                service("https://v3", 3, "a", None),
            ]
        };
        assert_eq!(logs(list(), Selector::Any), Ok(vec![("https://v2/".into(), RekorVersion::V2)]));
        let only_v1 = vec![service("https://v1", 1, "a", None)];
        assert_eq!(logs(only_v1, Selector::Any), Ok(vec![("https://v1/".into(), RekorVersion::V1)]));
    }

    #[test]
    fn one_of_each_operator_counts_and_too_few_is_a_fault_of_the_configuration() {
        let list = || {
            vec![
                service("https://a1", 2, "a", None),
                service("https://a2", 2, "a", None),
                service("https://b", 2, "b", None),
            ]
        };
        assert_eq!(logs(list(), Selector::All).unwrap().len(), 2);
        assert_eq!(logs(list(), Selector::Exact(2)).unwrap().len(), 2);
        assert_eq!(logs(list(), Selector::Exact(3)), Err(5));
        assert_eq!(logs(vec![service("https://v9", 9, "a", None)], Selector::Any), Err(5));
    }

    #[test]
    fn kinds_that_are_not_listed_are_not_used() {
        let services = Services::choose(&config(vec![], Selector::Any), at(1000)).unwrap();
        assert!(services.logs.is_empty() && services.oidc.is_none());
        assert_eq!(services.timestamps[0].as_str(), "https://tsa/api/v1/timestamp");
    }
}
