//! Keys in Azure Key Vault and Managed HSM: their REST interface.

use countersign_crypto::encoding::{base64url_decode, base64url_encode};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme, ecdsa};
use countersign_http::{Http, Request, Response, is_loopback, join, parse_url};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::KeyError;
use crate::azure_credentials::{AzureLogin, PLACES};
use crate::environment::Context;
use crate::service::{Answer, Input, KeyService, RemoteKey, expect};

const SERVICE: &str = "Azure Key Vault";
const API: &str = "7.4";

/// A key in a vault.
#[derive(Debug)]
pub(crate) struct AzureKms {
    http: Http,
    login: AzureLogin,
    base: Url,
    key: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Bundle {
    key: Jwk,
}

/// A JSON Web Key, as far as it is of interest.
#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    fn public_key(&self) -> Result<PublicKey, KeyError> {
        let number = |value: &Option<String>| -> Result<Vec<u8>, KeyError> {
            Ok(base64url_decode(value.as_deref().unwrap_or_default())?)
        };
        // Those in hardware are called EC-HSM and RSA-HSM.
        let key = match (self.kty.trim_end_matches("-HSM"), self.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                PublicKey::from_coordinates(KeyType::EcdsaP256, &number(&self.x)?, &number(&self.y)?)
            }
            ("EC", Some("P-384")) => {
                PublicKey::from_coordinates(KeyType::EcdsaP384, &number(&self.x)?, &number(&self.y)?)
            }
            ("EC", Some("P-521")) => {
                PublicKey::from_coordinates(KeyType::EcdsaP521, &number(&self.x)?, &number(&self.y)?)
            }
            ("RSA", _) => PublicKey::from_rsa_numbers(&number(&self.n)?, &number(&self.e)?),
            _ => Err(CryptoError::Unsupported(format!(
                "a key in {SERVICE} which is neither RSA nor on the curves P-256, P-384 and P-521"
            ))),
        };
        Ok(key?)
    }
}

/// The service's name of a scheme (RFC 7518 section 3.1).
fn algorithm(scheme: Scheme) -> Option<&'static str> {
    Some(match scheme {
        Scheme::Ecdsa(HashAlgorithm::Sha256) => "ES256",
        Scheme::Ecdsa(HashAlgorithm::Sha384) => "ES384",
        Scheme::Ecdsa(HashAlgorithm::Sha512) => "ES512",
        Scheme::RsaPkcs1(HashAlgorithm::Sha256) => "RS256",
        _ => return None,
    })
}

impl AzureKms {
    /// Finds credentials. Asks nobody yet.
    pub(crate) fn open(
        context: &Context,
        vault: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Self, KeyError> {
        let secure = parse_url(&format!("https://{vault}/"))?;
        // On this machine a stand-in, which speaks plain http.
        let base = if is_loopback(&secure) { parse_url(&format!("http://{vault}/"))? } else { secure };
        Ok(Self {
            http: context.http(),
            login: AzureLogin::find(context, vault)?,
            base,
            key: key.to_owned(),
            version: version.map(str::to_owned),
        })
    }

    async fn call(&self, path: &str, body: Option<&Value>) -> Result<Response, KeyError> {
        let token = self.login.token().await?;
        let mut url = join(&self.base, path);
        url.query_pairs_mut().append_pair("api-version", API);
        let request = match body {
            Some(body) => Request::post(SERVICE, &url, "application/json", body.to_string().into_bytes()),
            None => Request::get(SERVICE, &url),
        };
        let answer = self.http.send(request.authorization("Bearer", &token)?.limit(1 << 16)).await?;
        if answer.status == 401 {
            self.login.forget();
        }
        Ok(answer)
    }

    async fn describe(&self) -> Result<Option<RemoteKey>, KeyError> {
        let version = self.version.as_ref().map(|v| format!("/{v}")).unwrap_or_default();
        let answer = self.call(&format!("/keys/{}{version}", self.key), None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = expect(answer, &[200], PLACES)?;
        let found: Bundle = answer.json()?;
        // The id is an address of the vault; only its last part, the version, is used.
        let version = found.key.kid.rsplit('/').next().unwrap_or_default();
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(answer.wrong("expected a key id that ends in a version").into());
        }
        let public = found.key.public_key()?;
        let schemes = vec![public.key_type().default_scheme()];
        Ok(Some(RemoteKey { public, schemes, handle: version.to_owned() }))
    }
}

impl KeyService for AzureKms {
    fn find(&self) -> Answer<'_, Option<RemoteKey>> {
        Box::pin(self.describe())
    }

    fn sign<'a>(&'a self, key: &'a RemoteKey, scheme: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let name = algorithm(scheme).ok_or_else(|| CryptoError::Unsupported(scheme.to_string()))?;
            let request = json!({ "alg": name, "value": base64url_encode(input.bytes()) });
            let answer =
                self.call(&format!("/keys/{}/{}/sign", self.key, key.handle), Some(&request)).await?;
            #[derive(Deserialize)]
            struct Signed {
                value: String,
            }
            let signature = base64url_decode(&expect(answer, &[200], PLACES)?.json::<Signed>()?.value)?;
            match scheme {
                Scheme::Ecdsa(_) => Ok(ecdsa::der_from_fixed(key.public.key_type(), &signature)?),
                _ => Ok(signature),
            }
        })
    }

    fn create(&self, key_type: KeyType) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.version.is_some() {
                return Err(KeyError::Refused(format!(
                    "{SERVICE}: versions are named by the service; name the key without a version"
                )));
            }
            let operations = json!(["sign", "verify"]);
            let request = match key_type {
                KeyType::EcdsaP256 => json!({ "kty": "EC", "crv": "P-256", "key_ops": operations }),
                KeyType::EcdsaP384 => json!({ "kty": "EC", "crv": "P-384", "key_ops": operations }),
                KeyType::EcdsaP521 => json!({ "kty": "EC", "crv": "P-521", "key_ops": operations }),
                KeyType::Rsa { bits } => json!({ "kty": "RSA", "key_size": bits, "key_ops": operations }),
                other => return Err(CryptoError::Unsupported(format!("a {other} key in {SERVICE}")).into()),
            };
            let answer = self.call(&format!("/keys/{}/create", self.key), Some(&request)).await?;
            expect(answer, &[200], PLACES).map(drop)
        })
    }
}
