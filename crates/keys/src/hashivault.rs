//! Keys in the transit engine of HashiCorp Vault or OpenBao.

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme};
use countersign_http::{Http, HttpOptions, Request, Response, join, parse_url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::{Context, read_optional, read_settings};
use crate::service::{Answer, Input, KeyService, RemoteKey, expect};

const SERVICE: &str = "Vault";
const PLACES: &str = "VAULT_TOKEN (or BAO_TOKEN) or ~/.vault-token, which `vault login` writes";

/// A key in a transit engine.
pub(crate) struct HashiVault {
    http: Http,
    base: Url,
    token: Zeroizing<String>,
    namespace: Option<String>,
    /// Where the engine is mounted.
    engine: String,
    key: String,
}

impl std::fmt::Debug for HashiVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashiVault({}, {}/{})", self.base, self.engine, self.key)
    }
}

#[derive(Deserialize)]
struct Reply<T> {
    data: T,
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u64,
    #[serde(default)]
    keys: Map<String, Value>,
}

impl HashiVault {
    /// Finds address and token. Asks nobody yet.
    pub(crate) fn open(context: &Context, key: &str) -> Result<Self, KeyError> {
        let environment = &context.environment;
        let missing = |what: &str| KeyError::Refused(format!("{SERVICE}: {what}"));
        let address = environment.first(&["VAULT_ADDR", "BAO_ADDR"]);
        let address = address.ok_or_else(|| missing("no address; set VAULT_ADDR"))?;
        let token = match environment.first(&["VAULT_TOKEN", "BAO_TOKEN"]) {
            Some(token) => Some(token),
            None => read_optional(environment.below_home(".vault-token"))?,
        };
        let engine = environment.plain("TRANSIT_SECRET_ENGINE_PATH").unwrap_or_else(|| "transit".into());
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !engine.split('/').all(part) {
            return Err(missing("TRANSIT_SECRET_ENGINE_PATH: expected a path such as transit"));
        }
        let mut options: HttpOptions = context.options.clone();
        if let Some(file) = environment.first(&["VAULT_CACERT", "BAO_CACERT"]) {
            options.authorities.push(read_settings(std::path::Path::new(file.as_str()))?.as_bytes().to_vec());
        }
        Ok(Self {
            http: Http::new(options),
            base: parse_url(&address)?,
            token: token.ok_or_else(|| missing(&format!("no token; expected it in {PLACES}")))?,
            namespace: environment.first(&["VAULT_NAMESPACE", "BAO_NAMESPACE"]).map(|n| n.to_string()),
            engine,
            key: key.to_owned(),
        })
    }

    async fn call(&self, path: &str, body: Option<&Value>) -> Result<Response, KeyError> {
        let url = join(&self.base, &format!("/v1/{}/{path}", self.engine));
        let request = match body {
            Some(body) => Request::post(SERVICE, &url, "application/json", body.to_string().into_bytes()),
            None => Request::get(SERVICE, &url),
        };
        let mut request = request.secret_header("x-vault-token", &self.token)?;
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace)?;
        }
        Ok(self.http.send(request).await?)
    }

    async fn describe(&self) -> Result<Option<RemoteKey>, KeyError> {
        let answer = self.call(&format!("keys/{}", self.key), None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = expect(answer, &[200], PLACES)?;
        let found = answer.json::<Reply<Described>>()?.data;
        let version = found.latest_version.to_string();
        let published =
            found.keys.get(&version).and_then(|key| key.get("public_key")).and_then(Value::as_str);
        let Some(published) = published else {
            return Err(KeyError::Refused(format!(
                "{SERVICE}: {} is a key of type {}, which has no public half",
                self.key,
                countersign_http::text::printable(&found.kind)
            )));
        };
        let (public, schemes) = match found.kind.as_str() {
            // 32 bytes in base64, not PEM. Only Vault Enterprise signs digests with such a key; where it does not,
            // the answer fails its check.
            "ed25519" => {
                let public = PublicKey::from_ed25519(&base64_decode(published)?)?;
                (public, vec![Scheme::Ed25519, Scheme::Ed25519ph])
            }
            _ => {
                let public = PublicKey::from_pem(published)?;
                let scheme = public.key_type().default_scheme();
                (public, vec![scheme])
            }
        };
        Ok(Some(RemoteKey { public, schemes, handle: version }))
    }
}

/// The end of the address for a scheme's hash.
fn hash_path(hash: Option<HashAlgorithm>) -> &'static str {
    match hash {
        Some(HashAlgorithm::Sha256) => "/sha2-256",
        Some(HashAlgorithm::Sha384) => "/sha2-384",
        Some(HashAlgorithm::Sha512) => "/sha2-512",
        _ => "",
    }
}

impl KeyService for HashiVault {
    fn find(&self) -> Answer<'_, Option<RemoteKey>> {
        Box::pin(self.describe())
    }

    fn sign<'a>(&'a self, key: &'a RemoteKey, scheme: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let version: u64 = key.handle.parse().unwrap_or(0);
            // The last two are for RSA and for ECDSA; each kind of key passes over the other.
            let request = json!({
                "input": base64_encode(input.bytes()), "key_version": version,
                "prehashed": matches!(input, Input::Digest(_)),
                "signature_algorithm": "pkcs1v15", "marshaling_algorithm": "asn1"
            });
            let path = format!("sign/{}{}", self.key, hash_path(scheme.hash()));
            let answer = expect(self.call(&path, Some(&request)).await?, &[200], PLACES)?;
            #[derive(Deserialize)]
            struct Signed {
                signature: String,
            }
            let signed = answer.json::<Reply<Signed>>()?.data.signature;
            // `vault:v3:BASE64`
            let text = signed.rsplit(':').next().unwrap_or_default();
            Ok(base64_decode(text)?)
        })
    }

    fn create(&self, key_type: KeyType) -> Answer<'_, ()> {
        Box::pin(async move {
            let kind = match key_type {
                KeyType::EcdsaP256 => "ecdsa-p256".to_owned(),
                KeyType::EcdsaP384 => "ecdsa-p384".to_owned(),
                KeyType::EcdsaP521 => "ecdsa-p521".to_owned(),
                KeyType::Ed25519 => "ed25519".to_owned(),
                KeyType::Rsa { bits } => format!("rsa-{bits}"),
                other => return Err(CryptoError::Unsupported(format!("a {other} key in {SERVICE}")).into()),
            };
            let answer = self.call(&format!("keys/{}", self.key), Some(&json!({ "type": kind }))).await?;
            expect(answer, &[200, 204], PLACES).map(drop)
        })
    }
}
