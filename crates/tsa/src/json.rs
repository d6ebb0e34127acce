//! The request as JSON, as sigstore-js sends it.

use countersign_crypto::{Digest, HashAlgorithm, encoding};
use countersign_x509::timestamp::TimestampRequest;
use der::asn1::ObjectIdentifier;
use serde::Deserialize;

use crate::error::{BadRequest, TsaError};

/// The largest JSON request read, in bytes. Real ones have about 100.
pub const MAX_JSON_LEN: usize = 4 * 1024;
/// The longest policy read, in characters.
const MAX_POLICY_LEN: usize = 128;

/// Fields as in the OpenAPI description of Sigstore's timestamp authority; others are ignored, as there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRequest {
    artifact_hash: String,
    hash_algorithm: String,
    #[serde(default)]
    certificates: bool,
    nonce: Option<u64>,
    #[serde(rename = "tsaPolicyOID")]
    tsa_policy_oid: Option<String>,
}

pub(crate) fn parse(body: &[u8]) -> Result<TimestampRequest, TsaError> {
    let bad = |what: String| TsaError::BadRequest(BadRequest::Json(what));
    if body.is_empty() {
        return Err(TsaError::EmptyBody);
    }
    if body.len() > MAX_JSON_LEN {
        return Err(bad(format!("at most {MAX_JSON_LEN} bytes are accepted, found {}", body.len())));
    }
    let request: JsonRequest = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let algorithm = HashAlgorithm::ALL
        .into_iter()
        .find(|a| a.name() == request.hash_algorithm)
        .ok_or(TsaError::WeakHash { found: request.hash_algorithm })?;
    let hash = encoding::base64_decode(&request.artifact_hash).map_err(|e| bad(e.to_string()))?;
    let imprint = Digest::new(algorithm, &hash).map_err(|_| TsaError::DigestLength {
        algorithm,
        expected: algorithm.output_len(),
        found: hash.len(),
    })?;
    let policy = match request.tsa_policy_oid {
        Some(text) if text.len() > MAX_POLICY_LEN => return Err(bad("tsaPolicyOID is too long".into())),
        Some(text) if text.is_empty() => None,
        Some(text) => Some(ObjectIdentifier::new(&text).map_err(|e| bad(format!("tsaPolicyOID: {e}")))?),
        None => None,
    };
    Ok(TimestampRequest {
        imprint,
        policy,
        nonce: request.nonce.map(integer_content),
        cert_req: request.certificates,
    })
}

/// The content of a DER INTEGER: shortest form, with a zero in front where the top bit would mean a sign.
fn integer_content(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|b| **b == 0).count().min(7);
    let significant = bytes.get(zeros..).unwrap_or(&[]);
    let sign = significant.first().is_some_and(|b| *b >= 0x80);
    [if sign { &[0][..] } else { &[] }, significant].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "E7dKvcRQpMsPFSTE6WyKdCh7yMbD1VX5cgy/Ntj0h9o=";

    #[test]
    fn a_request_of_sigstore_js_is_read() {
        let body = format!(r#"{{"artifactHash":"{HASH}","hashAlgorithm":"sha256"}}"#);
        let request = parse(body.as_bytes()).unwrap();
        assert_eq!(encoding::base64_encode(request.imprint.as_bytes()), HASH);
        assert_eq!((request.policy, request.nonce, request.cert_req), (None, None, false));
    }

    #[test]
    fn every_field_is_taken_up() {
        let body = format!(
            r#"{{"artifactHash":"{HASH}","hashAlgorithm":"sha256","certificates":true,"nonce":128,
                "tsaPolicyOID":"1.2.3","unknown":[]}}"#
        );
        let request = parse(body.as_bytes()).unwrap();
        assert_eq!(request.policy.unwrap().to_string(), "1.2.3");
        assert_eq!(request.nonce, Some(vec![0, 128]));
        assert!(request.cert_req);
    }

    #[test]
    fn faults_have_the_texts_of_the_reference() {
        let text = |body: &str| parse(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(text(""), "request in body is required");
        assert_eq!(text("{}"), "Error generating timestamp response");
        assert_eq!(text("junk"), "Error generating timestamp response");
        let with = |rest: &str| format!(r#"{{"artifactHash":"{HASH}",{rest}}}"#);
        for weak in ["sha1", "md5", "SHA256", ""] {
            let body = with(&format!(r#""hashAlgorithm":"{weak}""#));
            assert_eq!(text(&body), "Weak hash algorithm in timestamp request", "{weak}");
        }
        assert_eq!(
            text(&with(r#""hashAlgorithm":"sha512""#)),
            "Message digest has incorrect length for specified algorithm"
        );
        for bad in [
            r#""hashAlgorithm":"sha256","nonce":-1"#,
            r#""hashAlgorithm":"sha256","nonce":1.5"#,
            r#""hashAlgorithm":"sha256","nonce":"1""#,
            r#""hashAlgorithm":"sha256","tsaPolicyOID":"x""#,
        ] {
            assert_eq!(text(&with(bad)), "Error generating timestamp response", "{bad}");
        }
    }

    #[test]
    fn s05_a_long_policy_and_a_long_body_are_refused() {
        let policy = "1.".repeat(100) + "1";
        let body =
            format!(r#"{{"artifactHash":"{HASH}","hashAlgorithm":"sha256","tsaPolicyOID":"{policy}"}}"#);
        assert!(matches!(parse(body.as_bytes()), Err(TsaError::BadRequest(BadRequest::Json(_)))));
        let body = format!(r#"{{"artifactHash":"{}","hashAlgorithm":"sha256"}}"#, ".".repeat(10_000_000));
        assert!(matches!(parse(body.as_bytes()), Err(TsaError::BadRequest(BadRequest::Json(_)))));
    }

    proptest! {
        #[test]
        fn nonces_survive_the_way_into_der(nonce: u64) {
            let body = format!(r#"{{"artifactHash":"{HASH}","hashAlgorithm":"sha256","nonce":{nonce}}}"#);
            let request = parse(body.as_bytes()).unwrap();
            let again = TimestampRequest::parse(&request.encode().unwrap()).unwrap();
            let content = again.nonce.unwrap();
            prop_assert_eq!(content.iter().fold(0_u128, |n, b| n << 8 | u128::from(*b)), u128::from(nonce));
        }
    }
}
