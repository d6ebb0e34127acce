//! What clients send to ask for a certificate, and the proof that they hold the key it is for.
//!
//! Three shapes are in use (`fulcio.proto`, `fulcio_legacy.proto`): a public key with a signature over the token's
//! name (sigstore-go, cosign, sigstore-js, sigstore-rust), a certificate signing request (sigstore-python), and
//! version 1's public key (sigstore-rs, gitsign). The token is in the body or in the `Authorization` header; the body
//! wins. Fields which are not known are ignored, as Fulcio does.

use countersign_crypto::PublicKey;
use countersign_crypto::encoding::{base64_decode, pem_decode};
use countersign_x509::csr;
use serde::{Deserialize, Deserializer};

use crate::identity::Principal;
use crate::{CaError, weak_key};

/// The longest key or signing request that is read, in bytes of text.
const MAX_KEY_TEXT: usize = 16 * 1024;

/// A request for a certificate, not yet judged.
#[derive(Clone, PartialEq, Eq)]
pub struct IssueRequest {
    /// The identity token; empty when there is none.
    pub token: String,
    /// The key to be certified.
    pub key: KeyRequest,
}

impl std::fmt::Debug for IssueRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssueRequest").field("token", &"(secret)").field("key", &self.key).finish()
    }
}

/// The key in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRequest {
    /// Neither a key nor a signing request. It is told only after the token was checked.
    Missing,
    /// A certificate signing request (PKCS#10, RFC 2986), PEM or DER. Only its key counts, and its own signature is
    /// the proof of possession; the subject in it is ignored.
    Csr(Vec<u8>),
    /// A public key.
    PublicKey {
        /// The `SubjectPublicKeyInfo`, in PEM, or in base64 of DER or of PEM.
        content: String,
        /// The signature over the token's name.
        proof_of_possession: Vec<u8>,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BodyV2 {
    #[serde(deserialize_with = "nullable")]
    credentials: Credentials,
    #[serde(alias = "publicKeyRequest")]
    public_key_request: Option<PublicKeyRequest>,
    #[serde(alias = "certificateSigningRequest")]
    certificate_signing_request: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Credentials {
    #[serde(alias = "oidcIdentityToken")]
    oidc_identity_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicKeyRequest {
    #[serde(alias = "publicKey", deserialize_with = "nullable")]
    public_key: KeyText,
    #[serde(alias = "proofOfPossession")]
    proof_of_possession: Option<String>,
}

/// `algorithm` beside the content is not read: clients put anything there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyText {
    content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BodyV1 {
    #[serde(alias = "publicKey")]
    public_key: Option<KeyText>,
    #[serde(alias = "signedEmailAddress")]
    signed_email_address: Option<String>,
    #[serde(alias = "certificateSigningRequest")]
    certificate_signing_request: Option<String>,
}

/// A member that is null is a member that is absent (protobuf's JSON).
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl IssueRequest {
    /// Reads the body of `POST /api/v2/signingCert`. `bearer` is the token of the `Authorization` header.
    ///
    /// ```
    /// use countersign_ca::{IssueRequest, KeyRequest};
    /// let request = IssueRequest::from_v2_json(b"{}", Some("a.b.c".into()))?;
    /// assert_eq!((request.token.as_str(), request.key), ("a.b.c", KeyRequest::Missing));
    /// # Ok::<(), countersign_ca::CaError>(())
    /// ```
    ///
    /// # Errors
    /// [`CaError::Request`] when the body is not JSON of this shape, [`CaError::Csr`] and [`CaError::Proof`] when a
    /// part of it is not base64.
    pub fn from_v2_json(body: &[u8], bearer: Option<String>) -> Result<Self, CaError> {
        let body: BodyV2 = read(body)?;
        let token = body.credentials.oidc_identity_token.filter(|t| !t.is_empty()).or(bearer);
        let key = match (body.public_key_request, body.certificate_signing_request) {
            (Some(_), Some(_)) => return Err(both()),
            (Some(request), None) => public_key(request.public_key, request.proof_of_possession.as_deref())?,
            (None, Some(text)) => signing_request(&text)?,
            (None, None) => KeyRequest::Missing,
        };
        Ok(Self { token: token.unwrap_or_default(), key })
    }

    /// Reads the body of version 1's `POST /api/v1/signingCert`.
    ///
    /// # Errors
    /// As [`IssueRequest::from_v2_json`].
    pub fn from_v1_json(body: &[u8], bearer: Option<String>) -> Result<Self, CaError> {
        let body: BodyV1 = read(body)?;
        let request = body.certificate_signing_request.filter(|text| !text.is_empty());
        let key = match (body.public_key, request) {
            (Some(_), Some(_)) => return Err(both()),
            (Some(key), None) => public_key(key, body.signed_email_address.as_deref())?,
            (None, Some(text)) => signing_request(&text)?,
            (None, None) => KeyRequest::Missing,
        };
        Ok(Self { token: bearer.unwrap_or_default(), key })
    }
}

fn both() -> CaError {
    CaError::Request("expected either a public key or a certificate signing request, found both".into())
}

/// An empty body reads as an empty object, as gRPC gateways do.
fn read<T: Default + for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, CaError> {
    let Some(first) = body.iter().find(|b| !b.is_ascii_whitespace()) else { return Ok(T::default()) };
    if !b"{[\"-0123456789tfn".contains(first) {
        let shown = char::from(*first).escape_default();
        return Err(CaError::Request(format!("invalid character '{shown}' looking for beginning of value")));
    }
    if *first != b'{' {
        return Err(CaError::Request("expected a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|e| CaError::Request(format!("malformed request: {e}")))
}

fn public_key(key: KeyText, proof: Option<&str>) -> Result<KeyRequest, CaError> {
    let proof_of_possession = any_base64(proof.unwrap_or_default()).ok_or(CaError::Proof)?;
    Ok(KeyRequest::PublicKey { content: key.content.unwrap_or_default(), proof_of_possession })
}

fn signing_request(text: &str) -> Result<KeyRequest, CaError> {
    any_base64(text).map(KeyRequest::Csr).ok_or_else(|| CaError::Csr("not base64".into()))
}

/// Base64 in either alphabet, padded or not, as protobuf's JSON allows for bytes.
fn any_base64(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_KEY_TEXT {
        return None;
    }
    let mut standard: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    base64_decode(&standard).ok()
}

impl KeyRequest {
    /// The key, if the client has shown that it holds its private half.
    ///
    /// A proof is a signature over [`Principal::name`] with the scheme that is usual for the key's type: SHA-256, 384,
    /// 512 for P-256, P-384, P-521, PKCS#1 v1.5 with SHA-256 for RSA, pure Ed25519.
    ///
    /// # Errors
    /// [`CaError::PublicKey`], [`CaError::Csr`] or [`CaError::Proof`].
    pub fn prove(&self, principal: &Principal) -> Result<PublicKey, CaError> {
        let key = match self {
            Self::Missing => return Err(CaError::PublicKey("no key in the request".into())),
            Self::Csr(bytes) => {
                let der = csr_der(bytes).map_err(CaError::Csr)?;
                csr::parse(&der).map_err(|e| CaError::Csr(e.to_string()))?
            }
            Self::PublicKey { content, proof_of_possession } => {
                let key = read_key(content).map_err(CaError::PublicKey)?;
                let scheme = key.key_type().default_scheme();
                key.verify(scheme, principal.name().as_bytes(), proof_of_possession)
                    .map_err(|_| CaError::Proof)?;
                key
            }
        };
        weak_key::check(&key).map_err(CaError::PublicKey)?;
        Ok(key)
    }
}

fn csr_der(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.first() == Some(&0x30) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "neither PEM nor DER".to_owned())?;
    let blocks = pem_decode(text).map_err(|e| e.to_string())?;
    match <[_; 1]>::try_from(blocks) {
        Ok([block]) if matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") => {
            Ok(block.der)
        }
        Ok([block]) => Err(format!("expected a CERTIFICATE REQUEST, found {}", block.label)),
        Err(blocks) => Err(format!("expected one PEM block, found {}", blocks.len())),
    }
}

fn read_key(content: &str) -> Result<PublicKey, String> {
    if content.len() > MAX_KEY_TEXT {
        return Err(format!("expected at most {MAX_KEY_TEXT} bytes, found {}", content.len()));
    }
    if content.contains("-----BEGIN") {
        return PublicKey::from_pem(content).map_err(|e| e.to_string());
    }
    let bytes = any_base64(content.trim()).ok_or("neither PEM nor base64")?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => PublicKey::from_pem(text).map_err(|e| e.to_string()),
        _ => PublicKey::from_spki_der(&bytes).map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::base64_encode;
    use countersign_crypto::{KeyPair, KeyType, Signer as _};
    use serde_json::json;

    use super::*;

    fn v2(body: &serde_json::Value) -> IssueRequest {
        IssueRequest::from_v2_json(body.to_string().as_bytes(), Some("header".into())).unwrap()
    }

    #[test]
    fn the_shapes_of_real_clients_are_read() {
        let key = KeyRequest::PublicKey { content: "PEM".into(), proof_of_possession: b"sig".to_vec() };
        let request =
            json!({"publicKey": {"algorithm": "ECDSA", "content": "PEM"}, "proofOfPossession": "c2ln"});
        let cosign = v2(&json!({"publicKeyRequest": request}));
        assert_eq!((cosign.token.as_str(), &cosign.key), ("header", &key));
        // sigstore-js: the token in the body wins over the header's.
        let js = v2(&json!({"credentials": {"oidcIdentityToken": "body"}, "publicKeyRequest": request}));
        assert_eq!((js.token.as_str(), &js.key), ("body", &key));
        let python = v2(&json!({"certificateSigningRequest": base64_encode(b"-----BEGIN")}));
        assert_eq!(python.key, KeyRequest::Csr(b"-----BEGIN".to_vec()));
        let snake = v2(&json!({
            "credentials": {"oidc_identity_token": "body"}, "unknown": {"deep": []},
            "public_key_request": {"public_key": {"content": "PEM"}, "proof_of_possession": "c2ln", "x": 1}
        }));
        assert_eq!((snake.token.as_str(), &snake.key), ("body", &key));
        let v1 = json!({"publicKey": {"algorithm": "ecdsa", "content": "PEM"}, "signedEmailAddress": "c2ln"});
        let v1 = IssueRequest::from_v1_json(v1.to_string().as_bytes(), Some("header".into())).unwrap();
        assert_eq!((v1.token.as_str(), &v1.key), ("header", &key));
        let v1 = json!({"certificateSigningRequest": base64_encode(b"csr")}).to_string();
        let v1 = IssueRequest::from_v1_json(v1.as_bytes(), None).unwrap();
        assert_eq!((v1.token.as_str(), v1.key), ("", KeyRequest::Csr(b"csr".to_vec())));
    }

    #[test]
    fn empty_and_null_mean_absent() {
        for body in ["", " \n", "{}", r#"{"credentials":null,"publicKeyRequest":null}"#] {
            assert_eq!(
                IssueRequest::from_v2_json(body.as_bytes(), None).unwrap().key,
                KeyRequest::Missing,
                "{body}"
            );
            assert_eq!(
                IssueRequest::from_v1_json(body.as_bytes(), None).unwrap().key,
                KeyRequest::Missing,
                "{body}"
            );
        }
        let empty = v2(&json!({"credentials": {"oidcIdentityToken": ""}}));
        assert_eq!(empty.token, "header");
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let refuse = |body: &str| IssueRequest::from_v2_json(body.as_bytes(), None).unwrap_err();
        assert_eq!(refuse("zz").to_string(), "invalid character 'z' looking for beginning of value");
        for body in ["[]", "1", "\"x\"", "{", r#"{"credentials":1}"#, r#"{"publicKeyRequest":1}"#] {
            assert!(matches!(refuse(body), CaError::Request(_)), "{body}");
        }
        let twice = r#"{"credentials":{"oidcIdentityToken":"a"},"credentials":{"oidcIdentityToken":"b"}}"#;
        assert!(matches!(refuse(twice), CaError::Request(_)));
        assert!(matches!(refuse(r#"{"certificateSigningRequest":"%"}"#), CaError::Csr(_)));
        assert_eq!(refuse(r#"{"publicKeyRequest":{"proofOfPossession":"%"}}"#), CaError::Proof);
        let both = r#"{"publicKeyRequest":{},"certificateSigningRequest":"AAAA"}"#;
        assert!(matches!(refuse(both), CaError::Request(_)));
    }

    #[test]
    fn a_key_is_read_in_each_of_its_spellings() {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let public = key.public_key();
        for content in [
            public.to_pem(),
            base64_encode(public.spki_der()),
            base64_encode(public.spki_der()).trim_end_matches('=').replace('+', "-").replace('/', "_"),
            base64_encode(public.to_pem().as_bytes()),
        ] {
            assert_eq!(read_key(&content).unwrap(), *public, "{content}");
        }
        for bad in ["", "junk", "-----BEGIN PUBLIC KEY-----", &"A".repeat(20_000)] {
            assert!(read_key(bad).is_err());
        }
    }

    #[test]
    fn a_request_does_not_show_its_token() {
        let request = IssueRequest { token: "header.claims.sig".into(), key: KeyRequest::Missing };
        assert!(!format!("{request:?}").contains("claims"));
    }
}
