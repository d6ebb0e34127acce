//! Keys in Google Cloud KMS: version 1 of its REST interface.

use std::time::Duration;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme};
use countersign_http::{Http, Request, Response, join, parse_url};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::environment::Context;
use crate::gcp_credentials::{GcpLogin, PLACES};
use crate::service::{Answer, Input, KeyService, RemoteKey, expect, unavailable};
use crate::{KeyError, KeyRef};

const SERVICE: &str = "Google Cloud KMS";

/// The most pages of versions that are read, of a hundred each.
const MAX_PAGES: usize = 20;
/// How often, and after what pause, a new key is looked at until it is ready.
const READY: (usize, Duration) = (20, Duration::from_millis(500));

/// A key in Google Cloud KMS.
#[derive(Debug)]
pub(crate) struct GcpKms {
    http: Http,
    login: GcpLogin,
    base: Url,
    /// `projects/…/locations/…`, the ring's name and the key's.
    location: String,
    ring: String,
    key: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    #[serde(default)]
    crypto_key_versions: Vec<Version>,
    #[serde(default)]
    next_page_token: String,
}

impl GcpKms {
    /// Finds credentials. Asks nobody yet.
    pub(crate) fn open(context: &Context, reference: &KeyRef) -> Result<Option<Self>, KeyError> {
        let KeyRef::GcpKms { project, location, ring, key, version } = reference else { return Ok(None) };
        let given = context.environment.plain("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS");
        Ok(Some(Self {
            http: context.http(),
            login: GcpLogin::find(context)?,
            base: parse_url(given.as_deref().unwrap_or("https://cloudkms.googleapis.com/"))?,
            location: format!("projects/{project}/locations/{location}"),
            ring: ring.clone(),
            key: key.clone(),
            version: version.clone(),
        }))
    }

    fn key_path(&self) -> String {
        format!("{}/keyRings/{}/cryptoKeys/{}", self.location, self.ring, self.key)
    }

    async fn call(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, KeyError> {
        let token = self.login.token().await?;
        let mut url = join(&self.base, &format!("/v1/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = match body {
            Some(body) => Request::post(SERVICE, &url, "application/json", body.to_string().into_bytes()),
            None => Request::get(SERVICE, &url),
        };
        let answer = self.http.send(request.authorization("Bearer", &token)?).await?;
        if answer.status == 401 {
            self.login.forget();
        }
        Ok(answer)
    }

    /// The version to sign with: the one named, else the newest that is enabled.
    async fn version(&self) -> Result<Option<String>, KeyError> {
        if let Some(version) = &self.version {
            return Ok(Some(version.clone()));
        }
        let mut newest: Option<u64> = None;
        let mut page = String::new();
        for _ in 0..MAX_PAGES {
            let query = [("pageSize", "100"), ("pageToken", page.as_str())];
            let query = if page.is_empty() { query.get(..1) } else { Some(query.as_slice()) };
            let path = format!("{}/cryptoKeyVersions", self.key_path());
            let answer = self.call(&path, query.unwrap_or_default(), None).await?;
            if answer.status == 404 {
                return Ok(None);
            }
            let versions: Versions = expect(answer, &[200], PLACES)?.json()?;
            let enabled = versions.crypto_key_versions.iter().filter(|version| version.state == "ENABLED");
            let numbers = enabled.filter_map(|version| version.name.rsplit('/').next()?.parse().ok());
            newest = newest.max(numbers.max());
            page = versions.next_page_token;
            if page.is_empty() {
                return newest.map(|number| Some(number.to_string())).ok_or_else(|| {
                    KeyError::Refused(format!(
                        "{SERVICE}: {} has no version that is enabled",
                        self.key_path()
                    ))
                });
            }
        }
        // The newest of some is not the newest.
        Err(KeyError::Refused(format!(
            "{SERVICE}: {} has more than {} versions; name one with /cryptoKeyVersions/NUMBER",
            self.key_path(),
            MAX_PAGES * 100
        )))
    }

    async fn describe(&self) -> Result<Option<RemoteKey>, KeyError> {
        let Some(version) = self.version().await? else { return Ok(None) };
        let handle = format!("{}/cryptoKeyVersions/{version}", self.key_path());
        let answer = self.call(&format!("{handle}/publicKey"), &[], None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        #[derive(Deserialize)]
        struct Published {
            pem: String,
            algorithm: String,
        }
        let found: Published = expect(answer, &[200], PLACES)?.json()?;
        let public = PublicKey::from_pem(&found.pem)?;
        let scheme = scheme(&found.algorithm).filter(|scheme| scheme.fits(public.key_type()));
        let scheme = scheme.ok_or_else(|| {
            KeyError::Refused(format!(
                "{SERVICE}: {handle} is for {}, which is not supported; expected a key for asymmetric signing with \
                 ECDSA, RSA or Ed25519",
                countersign_http::text::printable(&found.algorithm)
            ))
        })?;
        Ok(Some(RemoteKey { public, schemes: vec![scheme], handle }))
    }

    /// Makes the key ring unless it is there.
    async fn make_ring(&self) -> Result<(), KeyError> {
        let rings = format!("{}/keyRings", self.location);
        if self.call(&format!("{rings}/{}", self.ring), &[], None).await?.status == 200 {
            return Ok(());
        }
        let answer = self.call(&rings, &[("keyRingId", &self.ring)], Some(&json!({}))).await?;
        // Somebody else may have been quicker.
        expect(answer, &[200, 409], PLACES).map(drop)
    }
}

/// What a key's algorithm signs with, by the service's name for it.
fn scheme(algorithm: &str) -> Option<Scheme> {
    let hash = match algorithm.rsplit('_').next() {
        Some("SHA256") => Some(HashAlgorithm::Sha256),
        Some("SHA384") => Some(HashAlgorithm::Sha384),
        Some("SHA512") => Some(HashAlgorithm::Sha512),
        _ => None,
    };
    match hash {
        None if algorithm == "EC_SIGN_ED25519" => Some(Scheme::Ed25519),
        Some(hash) if algorithm.starts_with("EC_SIGN_P") => Some(Scheme::Ecdsa(hash)),
        Some(hash) if algorithm.starts_with("RSA_SIGN_PKCS1_") => Some(Scheme::RsaPkcs1(hash)),
        Some(hash) if algorithm.starts_with("RSA_SIGN_PSS_") => Some(Scheme::RsaPss(hash)),
        _ => None,
    }
}

impl KeyService for GcpKms {
    fn find(&self) -> Answer<'_, Option<RemoteKey>> {
        Box::pin(self.describe())
    }

    fn sign<'a>(&'a self, key: &'a RemoteKey, _: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let bytes = base64_encode(input.bytes());
            let request = match input {
                Input::Digest(digest) => json!({ "digest": { digest.algorithm().name(): bytes } }),
                Input::Message(_) => json!({ "data": bytes }),
            };
            let answer = self.call(&format!("{}:asymmetricSign", key.handle), &[], Some(&request)).await?;
            #[derive(Deserialize)]
            struct Signed {
                signature: String,
            }
            let signed: Signed = expect(answer, &[200], PLACES)?.json()?;
            Ok(base64_decode(&signed.signature)?)
        })
    }

    fn create(&self, key_type: KeyType) -> Answer<'_, ()> {
        Box::pin(async move {
            let algorithm = match key_type {
                KeyType::EcdsaP256 => "EC_SIGN_P256_SHA256",
                KeyType::EcdsaP384 => "EC_SIGN_P384_SHA384",
                KeyType::Ed25519 => "EC_SIGN_ED25519",
                KeyType::Rsa { bits: 2048 } => "RSA_SIGN_PKCS1_2048_SHA256",
                KeyType::Rsa { bits: 3072 } => "RSA_SIGN_PKCS1_3072_SHA256",
                KeyType::Rsa { bits: 4096 } => "RSA_SIGN_PKCS1_4096_SHA256",
                other => return Err(CryptoError::Unsupported(format!("a {other} key in {SERVICE}")).into()),
            };
            if self.version.is_some() {
                return Err(KeyError::Refused(format!(
                    "{SERVICE}: versions are numbered by the service; name the key without a version"
                )));
            }
            self.make_ring().await?;
            let keys = format!("{}/keyRings/{}/cryptoKeys", self.location, self.ring);
            let request =
                json!({ "purpose": "ASYMMETRIC_SIGN", "versionTemplate": { "algorithm": algorithm } });
            let answer = self.call(&keys, &[("cryptoKeyId", &self.key)], Some(&request)).await?;
            expect(answer, &[200], PLACES)?;
            // The key pair is made in the background.
            let (attempts, pause) = READY;
            for _ in 0..attempts {
                let path = format!("{}/cryptoKeyVersions/1", self.key_path());
                let version: Version = expect(self.call(&path, &[], None).await?, &[200], PLACES)?.json()?;
                if version.state == "ENABLED" {
                    return Ok(());
                }
                tokio::time::sleep(pause).await;
            }
            Err(unavailable(format!("{SERVICE}: the new key {} is not ready yet", self.key_path())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_that_do_not_sign_artifacts_are_not_taken_for_others() {
        for name in [
            "EC_SIGN_SECP256K1_SHA256",
            "RSA_SIGN_RAW_PKCS1_2048",
            "HMAC_SHA256",
            "PQ_SIGN_ML_DSA_65",
            "RSA_DECRYPT_OAEP_2048_SHA256",
            "",
        ] {
            assert_eq!(scheme(name), None, "{name}");
        }
        assert_eq!(scheme("RSA_SIGN_PSS_4096_SHA512"), Some(Scheme::RsaPss(HashAlgorithm::Sha512)));
    }
}
