//! Key pairs in Kubernetes secrets, as cosign keeps them: `cosign.key`, `cosign.pub` and `cosign.password`.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_http::{Http, Request, Response, join};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::Context;
use crate::kubeconfig::{Access, PLACES};
use crate::secret_store::{NewPair, StoredKey, taken};
use crate::service::{expect, secret_json, wait};

const SERVICE: &str = "Kubernetes";

/// The largest secret, as the server bounds it, with what base64 and JSON add.
const MAX_SECRET: usize = 3 << 20;

/// A secret in a cluster.
pub(crate) struct Secret {
    access: Access,
    namespace: String,
    name: String,
    patience: Duration,
}

impl Secret {
    /// Finds the cluster. Asks nobody yet.
    pub(crate) fn open(context: &Context, namespace: &str, name: &str) -> Result<Self, KeyError> {
        Ok(Self {
            access: Access::find(context)?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            patience: context.patience,
        })
    }

    /// The private key, with its password.
    pub(crate) fn private(self) -> Result<StoredKey, KeyError> {
        let mut data = self.data()?;
        let mut take = |name: &str| data.remove(name).map(|text| decode(name, &text)).transpose();
        let private =
            take("cosign.key")?.ok_or_else(|| KeyError::Refused("the secret holds no cosign.key".into()))?;
        let private = std::str::from_utf8(&private)
            .map_err(|_| KeyError::Malformed("cosign.key in the secret is not text (expected PEM)".into()))?;
        Ok(StoredKey { private: Zeroizing::new(private.to_owned()), password: take("cosign.password")? })
    }

    /// The public key, in PEM.
    pub(crate) fn public(self) -> Result<String, KeyError> {
        let text = self.data()?.remove("cosign.pub");
        let text = text.ok_or_else(|| KeyError::Refused("the secret holds no cosign.pub".into()))?;
        Ok(String::from_utf8_lossy(&decode("cosign.pub", &text)?).into_owned())
    }

    fn data(self) -> Result<BTreeMap<String, Zeroizing<String>>, KeyError> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            data: BTreeMap<String, Zeroizing<String>>,
        }
        wait(SERVICE, self.patience, async move {
            let answer = self.ask(&format!("/{}", self.name), None).await?;
            if answer.status == 404 {
                return Err(KeyError::Refused(format!(
                    "k8s://{0}/{1}: no such secret; `countersign generate-key-pair k8s://{0}/{1}` makes one",
                    self.namespace, self.name
                )));
            }
            let answer = expect(answer, &[200], PLACES)?;
            Ok(secret_json::<Document>(answer, "expected a secret in JSON")?.data)
        })
    }

    /// Stores a new pair. A secret which is there is left alone.
    pub(crate) fn store(self, pair: NewPair) -> Result<NewPair, KeyError> {
        wait(SERVICE, self.patience, async move {
            let body = Zeroizing::new(
                json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
                    "metadata": { "name": self.name, "namespace": self.namespace },
                    "data": {
                        "cosign.key": base64_encode(pair.private_pem.as_bytes()),
                        "cosign.pub": base64_encode(pair.public_pem.as_bytes()),
                        "cosign.password": base64_encode(&pair.password)
                    }
                })
                .to_string(),
            );
            let answer = self.ask("", Some(body)).await?;
            if answer.status == 409 {
                return Err(taken(&format!("k8s://{}/{}", self.namespace, self.name), "the secret"));
            }
            expect(answer, &[200, 201], PLACES)?;
            Ok(pair)
        })
    }

    async fn ask(&self, path: &str, body: Option<Zeroizing<String>>) -> Result<Response, KeyError> {
        let login = self.access.login().await?;
        let url: Url = join(&login.server, &format!("/api/v1/namespaces/{}/secrets{path}", self.namespace));
        let mut request = match body {
            Some(body) => {
                let body = Zeroizing::new(body.as_bytes().to_vec());
                Request::post(SERVICE, &url, "application/json", Vec::new()).secret_body(body)
            }
            None => Request::get(SERVICE, &url),
        };
        if let Some((scheme, value)) = &login.authorization {
            request = request.authorization(scheme, value)?;
        }
        Ok(Http::new(login.options).send(request.accept("application/json").limit(MAX_SECRET)).await?)
    }
}

fn decode(name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    base64_decode(text)
        .map(Zeroizing::new)
        .map_err(|_| KeyError::Malformed(format!("{name} in the secret is not base64")))
}
