//! Bearer tokens: asked for at the server which the registry names, kept until they end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use countersign_crypto::encoding::base64_encode;
use countersign_http::{Http, Request, is_loopback, shown};
use serde::Deserialize;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{Challenge, Credential};
use crate::RegistryError;

const SERVICE: &str = "the registry's token server";

/// How long a token lives when its server does not say, as the specification says.
const USUAL_LIFE: Duration = Duration::from_secs(60);

/// Token servers of registries on another host, known to belong to them.
const KNOWN: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Where tokens are asked for, as a challenge says.
#[derive(Debug, Clone)]
pub(crate) struct TokenServer {
    realm: Url,
    service: Option<String>,
    /// Whether the registry's credential may go there.
    trusted: bool,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
}

impl TokenServer {
    /// Reads a challenge of the registry whose API is at `base`. `also` lists pairs of registry and token server
    /// which the user declared to belong together.
    pub(crate) fn new(
        challenge: &Challenge,
        registry: &str,
        base: &Url,
        also: &[(String, String)],
    ) -> Result<Self, RegistryError> {
        let wrong = |message: &str| RegistryError::malformed(registry, message);
        let realm = challenge.parameters.get("realm").ok_or_else(|| wrong("a challenge without a realm"))?;
        let realm = Url::parse(realm)
            .ok()
            .filter(|url| url.host().is_some() && url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| wrong("a challenge whose realm is no address"))?;
        if (base.scheme() == "https" && realm.scheme() != "https")
            || (is_loopback(&realm) && !is_loopback(base))
        {
            return Err(wrong(&format!(
                "it names {} as its token server, which is not asked",
                shown(&realm)
            )));
        }
        let place = realm.port().map_or_else(
            || realm.host_str().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", realm.host_str().unwrap_or_default()),
        );
        let trusted = realm.origin() == base.origin()
            || (KNOWN.contains(&(registry, place.as_str())) && realm.scheme() == "https")
            || also.iter().any(|(one, other)| one == registry && *other == place);
        Ok(Self { realm, service: challenge.parameters.get("service").cloned(), trusted })
    }

    /// Asks for a token for a scope.
    pub(crate) async fn ask(
        &self,
        http: &Http,
        registry: &str,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<(Zeroizing<String>, Duration), RegistryError> {
        let credential = credential.filter(|_| self.trusted);
        let answer = match credential {
            Some(Credential::Identity(token)) => self.exchange(http, scope, token).await,
            _ => self.get(http, scope, credential).await,
        };
        let answer = answer.and_then(|answer| answer.expect(&[200])).map_err(|error| {
            let error = RegistryError::network(registry, error);
            if let (RegistryError::Unauthorized { what, message }, false) = (&error, self.trusted) {
                let (what, message) = (what.clone(), message.clone());
                let host = self.realm.host_str().unwrap_or_default();
                return RegistryError::Unauthorized {
                    what,
                    message: format!(
                        "{message}; its token server {host} is another host and was asked without a login; if it \
                         belongs to {registry}, name it with --registry-token-server"
                    ),
                };
            }
            error
        })?;
        let said: Answer = serde_json::from_slice(&answer.body)
            .map_err(|_| RegistryError::malformed(registry, "expected a token from its token server"))?;
        let token = said.token.or(said.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| RegistryError::malformed(registry, "an empty token"))?;
        Ok((token, said.expires_in.map_or(USUAL_LIFE, Duration::from_secs)))
    }

    async fn get(
        &self,
        http: &Http,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<countersign_http::Response, countersign_http::HttpError> {
        let mut url = self.realm.clone();
        if let Some(service) = &self.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", scope);
        let mut request = Request::get(SERVICE, &url);
        if let Some(Credential::Password { user, password }) = credential {
            request = request.authorization("Basic", &basic(user, password))?;
        }
        http.send(request).await
    }

    /// Exchanges an identity token for one of this scope (OAuth 2.0, `refresh_token`).
    async fn exchange(
        &self,
        http: &Http,
        scope: &str,
        token: &str,
    ) -> Result<countersign_http::Response, countersign_http::HttpError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", self.service.as_deref().unwrap_or_default())
            .append_pair("scope", scope)
            .append_pair("client_id", "countersign")
            .append_pair("refresh_token", token)
            .finish();
        let form = form.into_bytes();
        http.send(Request::post(SERVICE, &self.realm, "application/x-www-form-urlencoded", form)).await
    }
}

/// The value of `Authorization: Basic`.
pub(crate) fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let both = Zeroizing::new(format!("{user}:{password}"));
    Zeroizing::new(base64_encode(both.as_bytes()))
}

/// Tokens of one registry, by scope.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<String, (Zeroizing<String>, Instant)>);

impl Tokens {
    /// A token for this scope that lives for some seconds more.
    pub(crate) fn get(&self, scope: &str) -> Option<Zeroizing<String>> {
        let (token, end) = self.0.get(scope)?;
        (Instant::now() < *end).then(|| token.clone())
    }

    /// Forgets what cannot be used: the token of this scope, and the wider ones that may stand in for it.
    pub(crate) fn forget(&mut self, scope: &str) {
        let repository = scope.rsplit_once(':').map_or(scope, |(repository, _)| repository).to_owned();
        self.0.retain(|kept, _| kept.rsplit_once(':').is_none_or(|(other, _)| other != repository));
    }

    /// Keeps a token for most of its life, and for an hour at most.
    pub(crate) fn put(&mut self, scope: &str, token: &Zeroizing<String>, life: Duration) {
        let life = life.min(Duration::from_secs(3600)) * 9 / 10;
        self.0.insert(scope.to_owned(), (token.clone(), Instant::now() + life));
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::parse_challenges;

    fn server(registry: &str, base: &str, realm: &str) -> Result<TokenServer, RegistryError> {
        let header = format!("Bearer realm=\"{realm}\",service=\"s\"");
        let also = [("r.example".to_owned(), "sso.example:8443".to_owned())];
        TokenServer::new(&parse_challenges(&header)[0], registry, &Url::parse(base).unwrap(), &also)
    }

    #[test]
    fn g04_a_credential_goes_only_to_token_servers_that_belong_to_the_registry() {
        for (registry, base, realm, trusted) in [
            ("r.example", "https://r.example/v2/", "https://r.example/token", true),
            ("r.example", "https://r.example/v2/", "https://evil.io/token", false),
            ("r.example", "https://r.example/v2/", "https://r.example:8443/token", false),
            ("r.example", "https://r.example/v2/", "https://r.example.evil.io/token", false),
            ("r.example", "https://r.example/v2/", "https://sso.example:8443/token", true),
            ("other.example", "https://other.example/v2/", "https://sso.example:8443/token", false),
            ("docker.io", "https://registry-1.docker.io/v2/", "https://auth.docker.io/token", true),
            ("evil.io", "https://evil.io/v2/", "https://auth.docker.io/token", false),
        ] {
            assert_eq!(server(registry, base, realm).unwrap().trusted, trusted, "{registry} {realm}");
        }
    }

    #[test]
    fn g04_a_registry_does_not_send_us_to_this_machine_or_to_plain_http() {
        for realm in [
            "http://r.example/token",
            "https://127.0.0.1/x",
            "https://localhost:9/x",
            "x",
            "https://u:p@r.example/t",
        ] {
            assert!(server("r.example", "https://r.example/v2/", realm).is_err(), "{realm}");
        }
    }
}
