//! Clouds whose registries are known by their names, each with its own way to a credential.

use zeroize::Zeroizing;

use super::{Credential, helper};
use crate::RegistryError;

/// A cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// `docker-credential-ecr-login`, for `*.dkr.ecr.*.amazonaws.com`.
    Amazon,
    /// `docker-credential-acr-env`, for `*.azurecr.io`.
    Azure,
    /// `docker-credential-gcr`, for `gcr.io` and `*-docker.pkg.dev`.
    Google,
    /// The token in `GITHUB_TOKEN`, for `ghcr.io`.
    Github,
}

impl Cloud {
    /// Whether a registry is one of the cloud's, by its whole name: nobody else is shown its credential.
    fn owns(self, registry: &str) -> bool {
        match self {
            Self::Amazon => {
                let rest =
                    [".amazonaws.com", ".amazonaws.com.cn"].iter().find_map(|end| registry.strip_suffix(end));
                rest.is_some_and(|rest| {
                    matches!(
                        rest.split('.').collect::<Vec<_>>().as_slice(),
                        [_, "dkr", "ecr" | "ecr-fips", _]
                    )
                })
            }
            Self::Azure => registry.strip_suffix(".azurecr.io").is_some_and(|name| !name.contains('.')),
            Self::Google => {
                registry == "gcr.io"
                    || registry.strip_suffix(".gcr.io").is_some_and(|name| !name.contains('.'))
                    || registry.strip_suffix("-docker.pkg.dev").is_some_and(|name| !name.contains('.'))
            }
            Self::Github => registry == "ghcr.io",
        }
    }

    /// The cloud's credential for a registry; `None` when it is not the cloud's, or the cloud's helper is not there.
    pub(super) async fn credential(self, registry: &str) -> Result<Option<Credential>, RegistryError> {
        if !self.owns(registry) {
            return Ok(None);
        }
        let name = match self {
            Self::Amazon => "ecr-login",
            Self::Azure => "acr-env",
            Self::Google => "gcr",
            Self::Github => return Ok(github_token(std::env::var("GITHUB_TOKEN").ok())),
        };
        if helper::is_there(name) { helper::ask(name, registry).await } else { Ok(None) }
    }
}

fn github_token(found: Option<String>) -> Option<Credential> {
    let password = Zeroizing::new(found.filter(|token| !token.is_empty())?);
    Some(Credential::Password { user: "x-access-token".into(), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v59_a_cloud_is_asked_for_its_own_registries_and_for_no_other() {
        for (cloud, own, foreign) in [
            (
                Cloud::Amazon,
                &["1.dkr.ecr.eu-west-1.amazonaws.com", "1.dkr.ecr.cn-north-1.amazonaws.com.cn"][..],
                &[
                    "1.dkr.ecr.eu-west-1.amazonaws.com.evil.io",
                    "amazonaws.com",
                    "x.amazonaws.com",
                    "1.dkr.evil.amazonaws.com",
                ][..],
            ),
            (
                Cloud::Azure,
                &["acme.azurecr.io"],
                &["azurecr.io", "acme.azurecr.io.evil.io", "a.b.azurecr.io", "acmeazurecr.io"],
            ),
            (
                Cloud::Google,
                &["gcr.io", "eu.gcr.io", "europe-docker.pkg.dev"],
                &["evilgcr.io", "gcr.io.evil.io", "a.b.gcr.io", "docker.pkg.dev", "a.b-docker.pkg.dev"],
            ),
            (Cloud::Github, &["ghcr.io"], &["ghcr.io.evil.io", "x.ghcr.io", "ghcr.io:443"]),
        ] {
            for host in own {
                assert!(cloud.owns(host), "{cloud:?} {host}");
            }
            for host in foreign {
                assert!(!cloud.owns(host), "{cloud:?} {host}");
            }
        }
    }

    #[tokio::test]
    async fn a_cloud_whose_helper_is_not_there_has_no_credential() {
        assert_eq!(Cloud::Azure.credential("acme.azurecr.io").await.unwrap(), None);
        assert_eq!(github_token(Some(String::new())), None);
        assert_eq!(github_token(Some("t".into())), Some(Credential::password("x-access-token", "t")));
    }
}
