//! The compact form of a JSON Web Signature (RFC 7515 section 7.1).

use std::fmt;

use countersign_crypto::encoding::base64url_decode;
use countersign_crypto::{HashAlgorithm, KeyType, PublicKey, Scheme, ecdsa};
use serde_json::{Map, Value};

use super::TokenError;
use crate::json;

/// The longest token that is looked at, in bytes. Tokens of real issuers have 1 to 4 KiB.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The longest key id that is compared, in bytes.
const MAX_KID_BYTES: usize = 1024;

/// A signature algorithm of RFC 7518 section 3.1, RFC 8037 or RFC 9864 which identity tokens may use.
///
/// `none` and the HMAC algorithms have no value here, so no later mistake can accept them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5.
    Rs(HashAlgorithm),
    /// RSASSA-PSS.
    Ps(HashAlgorithm),
    /// ECDSA on the curve of the same size.
    Es(HashAlgorithm),
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs(HashAlgorithm::Sha256),
            "RS384" => Self::Rs(HashAlgorithm::Sha384),
            "RS512" => Self::Rs(HashAlgorithm::Sha512),
            "PS256" => Self::Ps(HashAlgorithm::Sha256),
            "PS384" => Self::Ps(HashAlgorithm::Sha384),
            "PS512" => Self::Ps(HashAlgorithm::Sha512),
            "ES256" => Self::Es(HashAlgorithm::Sha256),
            "ES384" => Self::Es(HashAlgorithm::Sha384),
            "ES512" => Self::Es(HashAlgorithm::Sha512),
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Whether this algorithm is used with keys of this type: an EC algorithm names its curve.
    pub(crate) const fn fits(self, key: KeyType) -> bool {
        matches!(
            (self, key),
            (Self::Rs(_) | Self::Ps(_), KeyType::Rsa { .. })
                | (Self::Es(HashAlgorithm::Sha256), KeyType::EcdsaP256)
                | (Self::Es(HashAlgorithm::Sha384), KeyType::EcdsaP384)
                | (Self::Es(HashAlgorithm::Sha512), KeyType::EcdsaP521)
                | (Self::EdDsa, KeyType::Ed25519)
        )
    }

    /// Checks a JWS signature: as [`PublicKey::verify`], but an ECDSA signature is two numbers of fixed length
    /// (RFC 7518 section 3.4) instead of DER.
    pub(crate) fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(key.key_type()) {
            return false;
        }
        match self {
            Self::Rs(hash) => key.verify(Scheme::RsaPkcs1(hash), message, signature).is_ok(),
            Self::Ps(hash) => key.verify(Scheme::RsaPss(hash), message, signature).is_ok(),
            Self::EdDsa => key.verify(Scheme::Ed25519, message, signature).is_ok(),
            Self::Es(hash) => ecdsa::der_from_fixed(key.key_type(), signature)
                .is_ok_and(|der| key.verify(Scheme::Ecdsa(hash), message, &der).is_ok()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, hash) = match self {
            Self::Rs(hash) => ("RS", hash),
            Self::Ps(hash) => ("PS", hash),
            Self::Es(hash) => ("ES", hash),
            Self::EdDsa => return f.write_str("EdDSA"),
        };
        let bits = match hash {
            HashAlgorithm::Sha256 => 256,
            HashAlgorithm::Sha384 => 384,
            _ => 512,
        };
        write!(f, "{family}{bits}")
    }
}

/// A token taken apart, its signature not yet checked.
#[derive(Debug)]
pub(crate) struct CompactJws<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    /// The bytes under the signature: the first two parts and the dot between them.
    pub(crate) signing_input: &'a [u8],
    pub(crate) claims: Map<String, Value>,
    pub(crate) signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Takes a token apart. The length is checked before anything else, and the three parts are found without an
    /// allocation, whatever the number of dots.
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed(format!(
                "expected at most {MAX_TOKEN_BYTES} bytes, found {}",
                token.len()
            )));
        }
        let parts = || TokenError::Malformed("expected three parts joined by dots".into());
        let (header, rest) = token.split_once('.').ok_or_else(parts)?;
        let (payload, signature) = rest.split_once('.').ok_or_else(parts)?;
        if signature.contains('.') || header.is_empty() || payload.is_empty() {
            return Err(parts());
        }
        let signing_input = token.get(..header.len() + 1 + payload.len()).ok_or_else(parts)?.as_bytes();
        let (algorithm, kid) = read_header(header)?;
        let claims = base64url_decode(payload)
            .map_err(|e| e.to_string())
            .and_then(|bytes| json::parse_object(&bytes))
            .map_err(|e| TokenError::Malformed(format!("claims: {e}")))?;
        let signature =
            base64url_decode(signature).map_err(|e| TokenError::Malformed(format!("signature: {e}")))?;
        Ok(Self { algorithm, kid, signing_input, claims, signature })
    }
}

/// Takes a token apart and throws the result away: `Ok` when its form, header and claims are well made. Says nothing
/// about the signature. For fuzzing and for clients which want to complain early.
///
/// # Errors
/// [`TokenError::Malformed`] or [`TokenError::Algorithm`].
pub fn parse_unverified(token: &str) -> Result<(), TokenError> {
    CompactJws::parse(token).map(|_| ())
}

/// The two members of the header which count. `jwk`, `jku`, `x5u` and `x5c` are never read: a token does not get to
/// say which key it is checked with. `crit` demands an understanding of extensions, and none is known here.
fn read_header(part: &str) -> Result<(Algorithm, Option<String>), TokenError> {
    let bad = |e: String| TokenError::Malformed(format!("header: {e}"));
    let bytes = base64url_decode(part).map_err(|e| bad(e.to_string()))?;
    let header = json::parse_object(&bytes).map_err(bad)?;
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(bad("\"crit\" and \"b64\" are not supported".into()));
    }
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err(bad("encrypted and compressed tokens are not supported".into()));
    }
    let name = match header.get("alg") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(bad(format!("expected \"alg\" a string, found {}", json::kind(other)))),
        None => return Err(bad("\"alg\" is missing".into())),
    };
    let algorithm = Algorithm::from_name(name).ok_or_else(|| TokenError::Algorithm(super::for_log(name)))?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid.clone()),
        Some(Value::String(_)) => return Err(bad(format!("\"kid\" has more than {MAX_KID_BYTES} bytes"))),
        Some(other) => return Err(bad(format!("expected \"kid\" a string, found {}", json::kind(other)))),
    };
    Ok((algorithm, kid))
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::base64url_encode;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", base64url_encode(header.as_bytes()), base64url_encode(payload.as_bytes()))
    }

    #[test]
    fn s05_ten_million_dots_are_refused_before_any_split() {
        let dots = ".".repeat(10_000_000);
        assert!(matches!(CompactJws::parse(&dots), Err(TokenError::Malformed(e)) if e.contains("at most")));
        // Within the limit: found to have too many parts by scanning, never by collecting them.
        let short = ".".repeat(MAX_TOKEN_BYTES);
        assert!(
            matches!(CompactJws::parse(&short), Err(TokenError::Malformed(e)) if e.contains("three parts"))
        );
    }

    #[test]
    fn exactly_three_parts_are_a_token() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        assert!(CompactJws::parse(&good).is_ok());
        let (two, _) = good.rsplit_once('.').unwrap();
        for bad in [two, &format!("{good}.AAAA"), &format!("{good}.AA.AA"), "", ".", "..", "a..b"] {
            assert!(CompactJws::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn s11_algorithms_outside_the_list_have_no_value() {
        for name in
            ["none", "None", "HS256", "HS384", "HS512", "ES256K", "RSA-OAEP", "dir", "", "rs256", "Ed448"]
        {
            let token = token(&format!(r#"{{"alg":"{name}"}}"#), "{}");
            assert!(matches!(CompactJws::parse(&token), Err(TokenError::Algorithm(_))), "{name}");
        }
    }

    #[test]
    fn s11_headers_that_ask_for_more_are_refused() {
        for header in [
            r#"{"alg":"RS256","crit":["exp"]}"#,
            r#"{"alg":"RS256","b64":false}"#,
            r#"{"alg":"RS256","zip":"DEF"}"#,
            r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
            r#"{"alg":1}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{}"#,
            r#"[]"#,
        ] {
            assert!(CompactJws::parse(&token(header, "{}")).is_err(), "{header}");
        }
    }

    #[test]
    fn base64_is_read_strictly() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        assert!(CompactJws::parse(&good.replace("AAAA", "AA==")).is_err());
        assert!(CompactJws::parse(&good.replace("AAAA", "AA A")).is_err());
        assert!(CompactJws::parse(&format!("{good}\n")).is_err());
    }
}
