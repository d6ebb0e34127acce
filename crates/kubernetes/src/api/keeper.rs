//! What the webhook keeps in secrets, for all replicas: its certificate authority, and the last revocation list.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::{Trouble, in_time};
use crate::certificate::{FILE_NAME, Keeper, KeeperError, Keeping, Kept};

/// Keeps a text in a secret.
#[derive(Clone)]
pub struct SecretKeeper {
    client: Client,
    namespace: String,
    name: String,
    key: &'static str,
}

impl std::fmt::Debug for SecretKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKeeper({}/{})", self.namespace, self.name)
    }
}

impl SecretKeeper {
    /// In this secret, which may be there already and empty: then nobody needs the right to make secrets.
    #[must_use]
    pub const fn new(client: Client, namespace: String, name: String) -> Self {
        Self { client, namespace, name, key: FILE_NAME }
    }

    /// The same under another key of the secret.
    #[must_use]
    pub const fn under(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn failed(&self, trouble: &Trouble) -> KeeperError {
        KeeperError(format!("the secret {}/{}: {trouble}", self.namespace, self.name))
    }

    async fn get(&self) -> Result<Option<Secret>, KeeperError> {
        match in_time(self.api().get(&self.name)).await {
            Ok(secret) => Ok(Some(secret)),
            Err(Trouble::NotFound) => Ok(None),
            Err(trouble) => Err(self.failed(&trouble)),
        }
    }
}

fn version(secret: &Secret) -> String {
    secret.metadata.resource_version.clone().unwrap_or_default()
}

impl Keeper for SecretKeeper {
    fn read(&self) -> Keeping<'_, Option<Kept>> {
        Box::pin(async move {
            let Some(mut secret) = self.get().await? else { return Ok(None) };
            let version = version(&secret);
            let Some(bytes) = secret.data.as_mut().and_then(|data| data.remove(self.key)) else {
                return Ok(None);
            };
            let text = String::from_utf8(bytes.0)
                .map_err(|_| KeeperError(format!("{self:?}: {} is no text", self.key)))?;
            Ok(Some(Kept { text: Zeroizing::new(text), version }))
        })
    }

    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool> {
        Box::pin(async move {
            let there = self.get().await?;
            let unchanged = match (&there, old) {
                (Some(secret), Some(old)) => version(secret) == old.version,
                (Some(secret), None) => secret.data.as_ref().is_none_or(|data| !data.contains_key(self.key)),
                (None, old) => old.is_none(),
            };
            if !unchanged {
                return Ok(false);
            }
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            };
            let is_there = there.is_some();
            let mut secret = there.unwrap_or(Secret { metadata, ..Secret::default() });
            let data = secret.data.get_or_insert_default();
            data.insert(self.key.to_owned(), ByteString(new.as_bytes().to_vec()));
            let post = PostParams::default();
            let written = if is_there {
                // It carries the version that was read.
                in_time(self.api().replace(&self.name, &post, &secret)).await
            } else {
                in_time(self.api().create(&post, &secret)).await
            };
            match written {
                Ok(_) => Ok(true),
                Err(Trouble::Conflict) => Ok(false),
                Err(trouble) => Err(self.failed(&trouble)),
            }
        })
    }
}
