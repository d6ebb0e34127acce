//! JSON Web Key sets (RFC 7517) turned into public keys.

use countersign_crypto::encoding::base64url_decode;
use countersign_crypto::{KeyType, PublicKey};
use serde_json::{Map, Value};

use super::Algorithm;
use crate::json;

/// The most keys a key set may have. Real ones have one to ten.
pub const MAX_KEYS: usize = 100;

/// The most keys tried on one token; more than one fits only when key ids are missing or given twice.
const MAX_TRIES: usize = 4;

/// The signature keys of an issuer.
#[derive(Debug, Clone, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Debug, Clone)]
struct Jwk {
    kid: Option<String>,
    /// The one algorithm the issuer allows for this key, when it names one.
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

impl JwkSet {
    /// Reads a key set. Keys that are not for signatures, of a type or size that is not supported, or which carry
    /// their private half are left out, since issuers publish keys of several kinds side by side.
    ///
    /// # Errors
    /// A text for the log: not a key set, more than [`MAX_KEYS`] keys, or no usable key at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document = json::parse_object(bytes)?;
        let Some(Value::Array(items)) = document.get("keys") else {
            return Err("expected an array \"keys\"".into());
        };
        if items.len() > MAX_KEYS {
            return Err(format!("expected at most {MAX_KEYS} keys, found {}", items.len()));
        }
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        for item in items {
            match read_key(item) {
                Ok(key) => keys.push(key),
                Err(why) => left_out.push(why),
            }
        }
        if keys.is_empty() {
            left_out.truncate(3);
            return Err(format!("no usable signature key among {} ({})", items.len(), left_out.join("; ")));
        }
        Ok(Self { keys })
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no usable key. Never true of a set made by [`JwkSet::parse`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys to try on a token: those with its key id (all, if it has none) which fit its algorithm.
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&PublicKey> {
        self.keys
            .iter()
            .filter(|k| kid.is_none() || k.kid.as_deref() == kid)
            .filter(|k| k.algorithm.is_none_or(|a| a == algorithm) && algorithm.fits(k.key.key_type()))
            .map(|k| &k.key)
            .take(MAX_TRIES)
            .collect()
    }
}

fn read_key(item: &Value) -> Result<Jwk, String> {
    let Value::Object(members) = item else {
        return Err("a key which is not an object".into());
    };
    if let Some(usage) = text(members, "use")?
        && usage != "sig"
    {
        return Err("a key not for signatures".into());
    }
    match members.get("key_ops") {
        None => {}
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
        Some(_) => return Err("a key not for verifying".into()),
    }
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|private| members.contains_key(*private)) {
        return Err("a key published with its private half".into());
    }
    let algorithm = match text(members, "alg")? {
        None => None,
        Some(name) => Some(Algorithm::from_name(name).ok_or("a key for an algorithm not supported")?),
    };
    let key = match text(members, "kty")? {
        Some("RSA") => PublicKey::from_rsa_numbers(&number(members, "n")?, &number(members, "e")?),
        Some("EC") => {
            let key_type = match text(members, "crv")? {
                Some("P-256") => KeyType::EcdsaP256,
                Some("P-384") => KeyType::EcdsaP384,
                Some("P-521") => KeyType::EcdsaP521,
                _ => return Err("an EC key on a curve not supported".into()),
            };
            PublicKey::from_coordinates(key_type, &number(members, "x")?, &number(members, "y")?)
        }
        Some("OKP") if text(members, "crv")? == Some("Ed25519") => {
            PublicKey::from_ed25519(&number(members, "x")?)
        }
        _ => return Err("a key of a type not supported".into()),
    }
    .map_err(|e| e.to_string())?;
    if let Some(algorithm) = algorithm
        && !algorithm.fits(key.key_type())
    {
        return Err("a key whose \"alg\" does not go with its type".into());
    }
    Ok(Jwk { kid: text(members, "kid")?.map(str::to_owned), algorithm, key })
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(format!("a key whose \"{name}\" is not a string")),
    }
}

fn number(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let value = text(members, name)?.ok_or_else(|| format!("a key without \"{name}\""))?;
    base64url_decode(value).map_err(|e| format!("a key whose \"{name}\" is {e}"))
}

#[cfg(test)]
mod tests {
    use countersign_crypto::{KeyPair, Signer as _};

    use super::*;
    use crate::dev_idp::public_jwk;

    fn set(keys: &[Value]) -> Result<JwkSet, String> {
        JwkSet::parse(serde_json::json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn every_supported_key_type_comes_back_as_the_same_key() {
        for key_type in [
            KeyType::EcdsaP256,
            KeyType::EcdsaP384,
            KeyType::EcdsaP521,
            KeyType::Ed25519,
            KeyType::Rsa { bits: 3072 },
        ] {
            let pair = KeyPair::generate(key_type).unwrap();
            let jwk = public_jwk(pair.public_key(), "k1").unwrap();
            let set = set(&[jwk]).unwrap();
            assert_eq!(set.keys[0].key, *pair.public_key(), "{key_type}");
            assert_eq!(set.keys[0].kid.as_deref(), Some("k1"));
        }
    }

    #[test]
    fn keys_of_other_use_are_left_out_and_the_rest_is_kept() {
        let good = public_jwk(KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key(), "good").unwrap();
        let with = |name: &str, value: Value| {
            let mut key = good.clone();
            key[name] = value;
            key
        };
        let bad = [
            with("use", "enc".into()),
            with("key_ops", serde_json::json!(["sign"])),
            with("d", "AAAA".into()),
            with("dp", "AAAA".into()),
            with("oth", serde_json::json!([])),
            with("alg", "RSA-OAEP".into()),
            with("alg", "ES384".into()),
            with("crv", "P-384".into()),
            with("crv", "secp256k1".into()),
            with("x", "AAAA".into()),
            with("x", 7.into()),
            with("kid", 7.into()),
            with("kty", "oct".into()),
            serde_json::json!({"kty": "oct", "k": "AAAA"}),
            serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            serde_json::json!({"kty": "RSA", "e": "AQAB"}),
            Value::Null,
        ];
        for key in &bad {
            assert!(set(std::slice::from_ref(key)).is_err(), "{key}");
        }
        let mut all = bad.to_vec();
        all.push(good);
        assert_eq!(set(&all).unwrap().len(), 1);
    }

    #[test]
    fn an_empty_set_and_a_thousand_keys_are_refused() {
        let key = public_jwk(KeyPair::generate(KeyType::Ed25519).unwrap().public_key(), "k").unwrap();
        assert!(set(&[]).is_err());
        assert!(set(&vec![key.clone(); MAX_KEYS]).is_ok());
        assert!(set(&vec![key; 1000]).unwrap_err().contains("at most 100"));
        for text in ["{}", r#"{"keys":{}}"#, "[]", "", r#"{"keys":[],"keys":[]}"#] {
            assert!(JwkSet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn candidates_need_the_key_id_and_the_algorithm() {
        let ec = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let ed = KeyPair::generate(KeyType::Ed25519).unwrap();
        let set = set(&[
            public_jwk(ec.public_key(), "a").unwrap(),
            public_jwk(ed.public_key(), "a").unwrap(),
            public_jwk(ed.public_key(), "b").unwrap(),
        ])
        .unwrap();
        let es256 = Algorithm::from_name("ES256").unwrap();
        assert_eq!(set.candidates(Some("a"), es256), [ec.public_key()]);
        assert_eq!(set.candidates(None, es256), [ec.public_key()]);
        assert_eq!(set.candidates(Some("a"), Algorithm::EdDsa), [ed.public_key()]);
        assert!(set.candidates(Some("b"), es256).is_empty());
        assert!(set.candidates(Some("c"), Algorithm::EdDsa).is_empty());
    }
}
