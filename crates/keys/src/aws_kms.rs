//! Keys in AWS KMS: its JSON interface, with requests under Signature Version 4.

use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, PublicKey, Scheme};
use countersign_http::{Http, Request, Response, is_loopback, parse_url};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::KeyError;
use crate::aws_credentials::{self, AwsLogin, PLACES, domain, host_of};
use crate::aws_signature::{Unsigned, amz_date, authorization};
use crate::environment::Context;
use crate::service::{Answer, Input, KeyService, RemoteKey, expect, unavailable};

const SERVICE: &str = "AWS KMS";
const CONTENT: &str = "application/x-amz-json-1.1";

/// The service's names of what it signs with, the preferred first.
const ALGORITHMS: [(&str, Scheme); 11] = [
    ("ECDSA_SHA_256", Scheme::Ecdsa(HashAlgorithm::Sha256)),
    ("ECDSA_SHA_384", Scheme::Ecdsa(HashAlgorithm::Sha384)),
    ("ECDSA_SHA_512", Scheme::Ecdsa(HashAlgorithm::Sha512)),
    ("RSASSA_PKCS1_V1_5_SHA_256", Scheme::RsaPkcs1(HashAlgorithm::Sha256)),
    ("RSASSA_PKCS1_V1_5_SHA_384", Scheme::RsaPkcs1(HashAlgorithm::Sha384)),
    ("RSASSA_PKCS1_V1_5_SHA_512", Scheme::RsaPkcs1(HashAlgorithm::Sha512)),
    ("RSASSA_PSS_SHA_256", Scheme::RsaPss(HashAlgorithm::Sha256)),
    ("RSASSA_PSS_SHA_384", Scheme::RsaPss(HashAlgorithm::Sha384)),
    ("RSASSA_PSS_SHA_512", Scheme::RsaPss(HashAlgorithm::Sha512)),
    ("ED25519_SHA_512", Scheme::Ed25519),
    ("ED25519_PH_SHA_512", Scheme::Ed25519ph),
];

/// The errors which mean that the credentials are not taken.
const REFUSED: [&str; 5] = [
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
];

/// A key in AWS KMS.
#[derive(Debug)]
pub(crate) struct AwsKms {
    http: Http,
    login: AwsLogin,
    endpoint: Url,
    region: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_id: String,
    public_key: String,
    key_usage: String,
    #[serde(default)]
    signing_algorithms: Vec<String>,
}

impl AwsKms {
    /// Finds credentials and region. Asks nobody yet.
    pub(crate) fn open(context: &Context, endpoint: Option<&str>, key: &str) -> Result<Self, KeyError> {
        let named = key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2));
        let region = match named {
            Some(region) => region.to_owned(),
            None => aws_credentials::region(context)?.ok_or_else(|| {
                KeyError::Refused("AWS KMS: no region; set AWS_REGION, or name the key by its ARN".into())
            })?,
        };
        if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(KeyError::Refused("AWS_REGION: expected a name such as eu-central-1".into()));
        }
        let variable = context.environment.first(&["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"]);
        let endpoint = match (endpoint, variable) {
            (Some(host), _) => {
                let secure = parse_url(&format!("https://{host}/"))?;
                // On this machine a stand-in, which speaks plain http.
                if is_loopback(&secure) { parse_url(&format!("http://{host}/"))? } else { secure }
            }
            (None, Some(url)) => parse_url(&url)?,
            (None, None) => {
                let name = if aws_credentials::wants_fips(context) { "kms-fips" } else { "kms" };
                parse_url(&format!("https://{name}.{region}.{}/", domain(&region)))?
            }
        };
        let login = AwsLogin::find(context, &region)?;
        Ok(Self { http: context.http(), login, endpoint, region, key: key.to_owned() })
    }

    async fn call(&self, action: &str, body: &Value) -> Result<Response, KeyError> {
        let credentials = self.login.credentials().await?;
        let body = body.to_string().into_bytes();
        let mut url = self.endpoint.clone();
        url.set_path("/");
        let now = SystemClock.now();
        let (host, date, target) = (host_of(&url), amz_date(now), format!("TrentService.{action}"));
        let session = credentials.session.as_ref().map(|token| token.as_str());
        let mut headers =
            vec![("content-type", CONTENT), ("host", host.as_str()), ("x-amz-date", date.as_str())];
        headers.extend(session.map(|token| ("x-amz-security-token", token)));
        headers.push(("x-amz-target", &target));
        let unsigned = Unsigned { method: "POST", path: "/", query: "", headers: &headers, body: &body };
        let signature = authorization(&unsigned, &credentials, &self.region, "kms", now);
        let mut request = Request::post(SERVICE, &url, CONTENT, body)
            .authorization("AWS4-HMAC-SHA256", &signature)?
            .header("x-amz-date", &date)?
            .header("x-amz-target", &target)?
            .limit(1 << 16);
        if let Some(token) = session {
            request = request.secret_header("x-amz-security-token", token)?;
        }
        let answer = self.http.send(request).await?;
        if answer.status == 400 && REFUSED.contains(&error_type(&answer).as_str()) {
            self.login.forget();
        }
        Ok(answer)
    }

    /// As [`AwsKms::call`], and anything but success is an error.
    async fn done(&self, action: &str, body: &Value) -> Result<Response, KeyError> {
        accept(self.call(action, body).await?)
    }

    async fn describe(&self) -> Result<Option<RemoteKey>, KeyError> {
        let answer = self.call("GetPublicKey", &json!({ "KeyId": self.key })).await?;
        if answer.status == 400 && error_type(&answer) == "NotFoundException" {
            return Ok(None);
        }
        let found: Described = accept(answer)?.json()?;
        let public = PublicKey::from_spki_der(&base64_decode(&found.public_key)?)?;
        let offered = |(name, scheme): &(&str, Scheme)| {
            (scheme.fits(public.key_type()) && found.signing_algorithms.iter().any(|a| a == name))
                .then_some(*scheme)
        };
        let schemes: Vec<Scheme> = ALGORITHMS.iter().filter_map(offered).collect();
        if found.key_usage != "SIGN_VERIFY" || schemes.is_empty() {
            return Err(KeyError::Refused(format!("{SERVICE}: {} is not a key that signs", self.key)));
        }
        // The ARN of the key behind an alias: the alias may be moved at any time.
        Ok(Some(RemoteKey { public, schemes, handle: found.key_id }))
    }
}

/// The kind of an error, without the name space that some answers put before it.
fn error_type(answer: &Response) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let kind = body.get("__type").and_then(Value::as_str).unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().to_owned()
}

fn accept(answer: Response) -> Result<Response, KeyError> {
    let kind = error_type(&answer);
    if answer.status == 400 {
        let error = KeyError::from(answer.into_error());
        return Err(match kind.as_str() {
            "ThrottlingException" | "LimitExceededException" | "KeyUnavailableException" => {
                unavailable(error.to_string())
            }
            kind if REFUSED.contains(&kind) => {
                KeyError::Refused(format!("{error} ({kind}); the credentials come from {PLACES}"))
            }
            _ => KeyError::Refused(format!("{error} ({kind})")),
        });
    }
    expect(answer, &[200], PLACES)
}

impl KeyService for AwsKms {
    fn find(&self) -> Answer<'_, Option<RemoteKey>> {
        Box::pin(self.describe())
    }

    fn sign<'a>(&'a self, key: &'a RemoteKey, scheme: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let named = ALGORITHMS.iter().find(|(_, known)| *known == scheme);
            let (algorithm, _) = named.ok_or_else(|| CryptoError::Unsupported(scheme.to_string()))?;
            let kind = match input {
                Input::Digest(_) => "DIGEST",
                Input::Message(_) => "RAW",
            };
            let request = json!({
                "KeyId": key.handle, "Message": base64_encode(input.bytes()), "MessageType": kind,
                "SigningAlgorithm": algorithm
            });
            let answer = self.done("Sign", &request).await?;
            #[derive(Deserialize)]
            #[serde(rename_all = "PascalCase")]
            struct Signed {
                signature: String,
            }
            Ok(base64_decode(&answer.json::<Signed>()?.signature)?)
        })
    }

    fn create(&self, key_type: KeyType) -> Answer<'_, ()> {
        Box::pin(async move {
            let alias = match self.key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(4)) {
                Some(resource) => resource,
                None => &self.key,
            };
            if !alias.starts_with("alias/") {
                return Err(KeyError::Refused(
                    "AWS KMS gives new keys their id itself; name the key awskms:///alias/NAME".into(),
                ));
            }
            let spec = match key_type {
                KeyType::EcdsaP256 => "ECC_NIST_P256",
                KeyType::EcdsaP384 => "ECC_NIST_P384",
                KeyType::EcdsaP521 => "ECC_NIST_P521",
                KeyType::Ed25519 => "ECC_NIST_EDWARDS25519",
                KeyType::Rsa { bits: 2048 } => "RSA_2048",
                KeyType::Rsa { bits: 3072 } => "RSA_3072",
                KeyType::Rsa { bits: 4096 } => "RSA_4096",
                other => return Err(CryptoError::Unsupported(format!("a {other} key in {SERVICE}")).into()),
            };
            #[derive(Deserialize)]
            #[serde(rename_all = "PascalCase")]
            struct Made {
                key_metadata: Metadata,
            }
            #[derive(Deserialize)]
            #[serde(rename_all = "PascalCase")]
            struct Metadata {
                key_id: String,
            }
            let request = json!({
                "KeySpec": spec, "KeyUsage": "SIGN_VERIFY", "Description": "Made by Countersign for signatures"
            });
            let made: Made = self.done("CreateKey", &request).await?.json()?;
            let id = made.key_metadata.key_id;
            let named = json!({ "AliasName": alias, "TargetKeyId": id });
            self.done("CreateAlias", &named).await.map_err(|error| {
                KeyError::Refused(format!("the key {id} was made, and its name {alias} was refused: {error}"))
            })?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_for_validated_endpoints_decides_who_is_asked() {
        let host = |variables: &[(&str, &str)]| {
            let login =
                [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "us-east-1")];
            let context = Context::given(&[&login, variables].concat());
            host_of(&AwsKms::open(&context, None, "alias/x").unwrap().endpoint)
        };
        for (value, name) in [("true", "kms-fips"), ("TRUE", "kms-fips"), ("false", "kms"), ("", "kms")] {
            let expected = format!("{name}.us-east-1.amazonaws.com");
            assert_eq!(host(&[("AWS_USE_FIPS_ENDPOINT", value)]), expected, "{value}");
        }
        // An address that somebody gave is the one they mean.
        let given = [("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_ENDPOINT_URL_KMS", "https://kms.example")];
        assert_eq!(host(&given), "kms.example");
    }
}
