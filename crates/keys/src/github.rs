//! Key pairs as secrets of GitHub Actions, under cosign's names. They can be written, never read.

use std::time::Duration;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_http::{Http, Method, Request, Response, join, parse_url};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::Context;
use crate::sealed_box::seal;
use crate::secret_store::{NewPair, taken};
use crate::service::{expect, wait};

const SERVICE: &str = "GitHub";
const PLACES: &str = "GITHUB_TOKEN (permission to write secrets)";

/// The secrets of a repository or an organisation.
pub(crate) struct Secrets {
    http: Http,
    base: Url,
    token: Zeroizing<String>,
    owner: String,
    repository: Option<String>,
    patience: Duration,
}

#[derive(Deserialize)]
struct Recipient {
    key_id: String,
    key: String,
}

impl Secrets {
    /// Finds address and token. Asks nobody yet.
    pub(crate) fn open(context: &Context, owner: &str, repository: Option<&str>) -> Result<Self, KeyError> {
        let base = match context.environment.plain("GITHUB_HOST") {
            None => parse_url("https://api.github.com/")?,
            Some(host) => {
                let host = if host.contains("://") { host } else { format!("https://{host}") };
                join(&parse_url(&host)?, "/api/v3/")
            }
        };
        let token = context.environment.get("GITHUB_TOKEN");
        Ok(Self {
            http: context.http(),
            base,
            token: token
                .ok_or_else(|| KeyError::Refused(format!("{SERVICE}: no token; expected it in {PLACES}")))?,
            owner: owner.to_owned(),
            repository: repository.map(str::to_owned),
            patience: context.patience,
        })
    }

    /// Stores a new pair. Secrets which are there are left alone.
    pub(crate) fn store(self, pair: NewPair) -> Result<NewPair, KeyError> {
        wait(SERVICE, self.patience, async move {
            for (name, _) in pair.secrets()? {
                let answer = self.ask(Method::GET, name, None).await?;
                if expect(answer, &[200, 404], PLACES)?.status == 200 {
                    return Err(taken(&format!("github://{}", self.place()), &format!("the secret {name}")));
                }
            }
            let recipient: Recipient =
                expect(self.ask(Method::GET, "public-key", None).await?, &[200], PLACES)?.json()?;
            let key: [u8; 32] = base64_decode(&recipient.key)?
                .try_into()
                .map_err(|_| KeyError::Refused(format!("{SERVICE}: expected a public key of 32 bytes")))?;
            for (name, value) in pair.secrets()? {
                let mut body = json!({
                    "encrypted_value": base64_encode(&seal(&key, value.as_bytes())?), "key_id": recipient.key_id
                });
                if let (None, Some(fields)) = (&self.repository, body.as_object_mut()) {
                    fields.insert("visibility".into(), "private".into());
                }
                expect(self.ask(Method::PUT, name, Some(&body)).await?, &[201, 204], PLACES)?;
            }
            Ok(pair)
        })
    }

    fn place(&self) -> String {
        match &self.repository {
            Some(repository) => format!("{}/{repository}", self.owner),
            None => self.owner.clone(),
        }
    }

    async fn ask(&self, method: Method, name: &str, body: Option<&Value>) -> Result<Response, KeyError> {
        let whose = if self.repository.is_some() { "repos" } else { "orgs" };
        let url = join(&self.base, &format!("/{whose}/{}/actions/secrets/{name}", self.place()));
        let mut request = Request::new(SERVICE, method, &url)
            .authorization("Bearer", &self.token)?
            .accept("application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")?;
        if let Some(body) = body {
            request = request.header("content-type", "application/json")?.body(body.to_string().into_bytes());
        }
        Ok(self.http.send(request).await?)
    }
}
