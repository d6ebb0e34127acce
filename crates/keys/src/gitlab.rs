//! Key pairs in the variables of a GitLab project, under cosign's names.

use std::time::Duration;

use countersign_http::{Http, Request, Response, parse_url};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::Context;
use crate::secret_store::{NewPair, PASSWORD, PRIVATE, PUBLIC, StoredKey, taken};
use crate::service::{expect, secret_json, wait};

const SERVICE: &str = "GitLab";
const PLACES: &str = "GITLAB_TOKEN (scope api, role Maintainer)";

/// The variables of a project.
pub(crate) struct Variables {
    http: Http,
    base: Url,
    token: Zeroizing<String>,
    project: String,
    patience: Duration,
}

#[derive(Deserialize)]
struct Variable {
    value: Zeroizing<String>,
}

impl Variables {
    /// Finds address and token. Asks nobody yet.
    pub(crate) fn open(context: &Context, project: &str) -> Result<Self, KeyError> {
        let host = context.environment.plain("GITLAB_HOST").unwrap_or_else(|| "https://gitlab.com".into());
        let base = if host.contains("://") { host } else { format!("https://{host}") };
        let token = context.environment.get("GITLAB_TOKEN");
        Ok(Self {
            http: context.http(),
            base: parse_url(&base)?,
            token: token
                .ok_or_else(|| KeyError::Refused(format!("{SERVICE}: no token; expected it in {PLACES}")))?,
            project: project.to_owned(),
            patience: context.patience,
        })
    }

    /// The private key, with its password.
    pub(crate) fn private(self) -> Result<StoredKey, KeyError> {
        wait(SERVICE, self.patience, async move {
            let private = self.value(PRIVATE).await?.ok_or_else(|| self.missing(PRIVATE))?;
            let password = self.value(PASSWORD).await?;
            let password = password.map(|text| Zeroizing::new(text.as_bytes().to_vec()));
            Ok(StoredKey { private, password })
        })
    }

    /// The public key, in PEM.
    pub(crate) fn public(self) -> Result<String, KeyError> {
        wait(SERVICE, self.patience, async move {
            let public = self.value(PUBLIC).await?.ok_or_else(|| self.missing(PUBLIC))?;
            Ok(public.to_string())
        })
    }

    fn missing(&self, name: &str) -> KeyError {
        KeyError::Refused(format!(
            "gitlab://{0}: no such project, or no variable {name} in it; `countersign generate-key-pair gitlab://{0}` \
             makes one",
            self.project
        ))
    }

    async fn value(&self, name: &str) -> Result<Option<Zeroizing<String>>, KeyError> {
        let answer = self.ask(Some(name), None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = expect(answer, &[200], PLACES)?;
        Ok(Some(secret_json::<Variable>(answer, "expected a variable in JSON")?.value))
    }

    /// Stores a new pair. Variables which are there are left alone.
    pub(crate) fn store(self, pair: NewPair) -> Result<NewPair, KeyError> {
        wait(SERVICE, self.patience, async move {
            for (name, _) in pair.secrets()? {
                if self.value(name).await?.is_some() {
                    return Err(taken(
                        &format!("gitlab://{}", self.project),
                        &format!("the variable {name}"),
                    ));
                }
            }
            for (name, value) in pair.secrets()? {
                let body = Zeroizing::new(
                    json!({
                        "key": name, "value": value, "variable_type": "env_var", "protected": false,
                        "masked": false, "environment_scope": "*"
                    })
                    .to_string(),
                );
                expect(self.ask(None, Some(body)).await?, &[201], PLACES)?;
            }
            Ok(pair)
        })
    }

    async fn ask(&self, name: Option<&str>, body: Option<Zeroizing<String>>) -> Result<Response, KeyError> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // A project's path is one part of the address: its slashes are escaped.
            path.pop_if_empty().extend(["api", "v4", "projects", &self.project, "variables"]).extend(name);
        }
        let request = match body {
            Some(body) => {
                let body = Zeroizing::new(body.as_bytes().to_vec());
                Request::post(SERVICE, &url, "application/json", Vec::new()).secret_body(body)
            }
            None => Request::get(SERVICE, &url),
        };
        Ok(self.http.send(request.secret_header("private-token", &self.token)?.limit(1 << 18)).await?)
    }
}
