//! Keys which a program named `sigstore-kms-NAME` reaches: version 1 of sigstore's plugin protocol.
//!
//! The program is started for each question: its first argument is the protocol's version, its second the question
//! in JSON, its standard input what is to be signed. It answers with JSON on standard output; its exit code says
//! nothing.

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{HashAlgorithm, KeyType, PublicKey, Scheme};
use countersign_http::text::printable;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::{Answer, Input, KeyService, RemoteKey, unavailable};
use crate::{KeyError, command};

const PROTOCOL: &str = "v1";

/// The longest answer of a plugin, in bytes. A public key and a signature take a few KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// A key behind a plugin.
#[derive(Debug)]
pub(crate) struct Plugin {
    program: String,
    resource: String,
}

/// What a plugin answers. Each question has its own member.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginAnswer {
    error_message: String,
    default_algorithm: Option<DefaultAlgorithm>,
    public_key: Option<Published>,
    create_key: Option<Published>,
    sign_message: Option<Signed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefaultAlgorithm {
    default_algorithm: String,
}

#[derive(Debug, Deserialize)]
struct Published {
    #[serde(rename = "publicKeyPEM")]
    pem: String,
}

#[derive(Debug, Deserialize)]
struct Signed {
    signature: String,
}

impl PluginAnswer {
    /// Reads what a plugin wrote.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it is too long, no JSON of the protocol, or tells of an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_ANSWER {
            return Err(KeyError::Refused(format!("an answer longer than {MAX_ANSWER} bytes")));
        }
        // A list would do for serde, and is not of the protocol.
        let object: serde_json::Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| KeyError::Refused(format!("an answer which is not of the protocol: {error}")))?;
        let answer: Self = serde_json::from_value(Value::Object(object))
            .map_err(|error| KeyError::Refused(format!("an answer which is not of the protocol: {error}")))?;
        if answer.error_message.is_empty() {
            Ok(answer)
        } else {
            Err(KeyError::Refused(printable(&answer.error_message)))
        }
    }

    /// The public key in the answer.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when there is none, [`KeyError::Crypto`] when it is not usable.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let published = self.public_key.as_ref().or(self.create_key.as_ref());
        let published =
            published.ok_or_else(|| KeyError::Refused("an answer without a public key".into()))?;
        let pem = base64_decode(&published.pem)?;
        Ok(PublicKey::from_pem(&String::from_utf8_lossy(&pem))?)
    }

    /// The signature in the answer.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when there is none, [`KeyError::Crypto`] when it is not base64.
    pub fn signature(&self) -> Result<Vec<u8>, KeyError> {
        let signed = self.sign_message.as_ref();
        let signed = signed.ok_or_else(|| KeyError::Refused("an answer without a signature".into()))?;
        Ok(base64_decode(&signed.signature)?)
    }
}

/// A hash function as the protocol numbers it: like Go's package `crypto`.
fn number(hash: Option<HashAlgorithm>) -> u8 {
    match hash {
        Some(HashAlgorithm::Sha384) => 6,
        Some(HashAlgorithm::Sha512) => 7,
        _ => 5,
    }
}

impl Plugin {
    /// Names the program. Starts nothing yet.
    pub(crate) fn open(scheme: &str, resource: &str) -> Self {
        Self { program: format!("sigstore-kms-{scheme}"), resource: resource.to_owned() }
    }

    /// A program by its path, for tests, which share one PATH.
    #[cfg(test)]
    pub(crate) fn at(program: &std::path::Path, resource: &str) -> Self {
        Self { program: program.display().to_string(), resource: resource.to_owned() }
    }

    async fn ask(
        &self,
        method: &str,
        hash: Option<HashAlgorithm>,
        arguments: Value,
        input: &[u8],
    ) -> Result<PluginAnswer, KeyError> {
        let question = json!({
            "initOptions": {
                "protocolVersion": PROTOCOL, "keyResourceID": self.resource, "hashFunc": number(hash),
                "rpcOptions": { "keyVersion": "", "remoteVerification": false }
            },
            "methodName": method,
            method: arguments
        });
        let arguments = [PROTOCOL.to_owned(), question.to_string()];
        let found = command::output(&self.program, &arguments, &[], input, MAX_ANSWER).await?;
        if found.iter().all(u8::is_ascii_whitespace) {
            return Err(unavailable(format!("the program {} ended without an answer", self.program)));
        }
        PluginAnswer::parse(&found).map_err(|error| self.named(&error))
    }

    fn named(&self, error: &KeyError) -> KeyError {
        KeyError::Refused(format!("{}: {error}", self.program))
    }

    async fn describe(&self) -> Result<Option<RemoteKey>, KeyError> {
        let options = json!({ "publicKeyOptions": { "rpcOptions": {} } });
        let public = self
            .ask("publicKey", None, options, b"")
            .await?
            .public_key()
            .map_err(|error| self.named(&error))?;
        let schemes = match public.key_type() {
            KeyType::Ed25519 => vec![Scheme::Ed25519, Scheme::Ed25519ph],
            other => vec![other.default_scheme()],
        };
        Ok(Some(RemoteKey { public, schemes, handle: String::new() }))
    }

    /// Makes a key of the plugin's default algorithm: a plugin names its algorithms as it likes.
    async fn make(&self) -> Result<PublicKey, KeyError> {
        let answer = self.ask("defaultAlgorithm", None, json!({}), b"").await?;
        let algorithm = answer.default_algorithm.map(|found| found.default_algorithm);
        let algorithm = algorithm
            .ok_or_else(|| KeyError::Refused(format!("{}: an answer without an algorithm", self.program)))?;
        let answer = self.ask("createKey", None, json!({ "algorithm": algorithm }), b"").await?;
        answer.public_key().map_err(|error| self.named(&error))
    }
}

/// Makes a key through a plugin.
pub(crate) fn create(plugin: Plugin, patience: std::time::Duration) -> Result<PublicKey, KeyError> {
    let program = plugin.program.clone();
    crate::service::wait(&program, patience, async move { plugin.make().await })
}

impl KeyService for Plugin {
    fn find(&self) -> Answer<'_, Option<RemoteKey>> {
        Box::pin(self.describe())
    }

    fn sign<'a>(&'a self, _: &'a RemoteKey, scheme: Scheme, input: &'a Input) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let (message, options): (&[u8], Value) = match input {
                Input::Digest(digest) => (
                    b"",
                    json!({
                        "digest": base64_encode(digest.as_bytes()), "hashFunc": number(Some(digest.algorithm()))
                    }),
                ),
                Input::Message(message) => (message, json!({})),
            };
            let arguments = json!({ "signOptions": { "rpcOptions": {}, "messageOptions": options } });
            let answer = self.ask("signMessage", scheme.hash(), arguments, message).await?;
            answer.signature().map_err(|error| self.named(&error))
        })
    }

    fn create(&self, _: KeyType) -> Answer<'_, ()> {
        Box::pin(async move { self.make().await.map(drop) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_errors_in_them_are_errors() {
        let parse = |text: &str| PluginAnswer::parse(text.as_bytes());
        assert_eq!(parse(r#"{"signMessage":{"signature":"AQI="}}"#).unwrap().signature().unwrap(), [1, 2]);
        for text in [r#"{"signMessage":{"signature":"A"}}"#, r#"{"signMessage":null}"#, "{}"] {
            assert!(parse(text).unwrap().signature().is_err(), "{text}");
            assert!(parse(text).unwrap().public_key().is_err(), "{text}");
        }
        for text in ["", "[]", "{\"signMessage\":7}", "junk"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error =
            parse(r#"{"errorMessage":"no\u001bkey","signMessage":{"signature":"AQI="}}"#).unwrap_err();
        assert_eq!(error.to_string(), "no\\u{1b}key");
        assert!(parse(&format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_ANSWER))).is_err());
    }
}
