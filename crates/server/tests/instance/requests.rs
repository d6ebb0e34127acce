//! What is sent to an instance, and what is in its answers: for the tests here and for those of the program, each of which
//! sends it in its own way.

use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, Signer as _};
use serde_json::{Value, json};

/// Where the development identity provider gives a token for whatever claims it gets.
pub(crate) const MINT: &str = "/development-identity-provider/mint";

pub(crate) fn claims(email: &str) -> String {
    json!({"sub": email, "email": email, "email_verified": true}).to_string()
}

/// The token in its answer.
pub(crate) fn token_in(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    answer["id_token"].as_str().unwrap().to_owned()
}

pub(crate) fn entry_request(key: &KeyPair, message: &[u8]) -> String {
    let digest = HashAlgorithm::Sha256.digest(message);
    json!({"hashedRekordRequestV002": {
        "digest": base64_encode(digest.as_bytes()),
        "signature": {
            "content": base64_encode(&key.sign_digest(&digest).unwrap()),
            "verifier": {
                "publicKey": {"rawBytes": base64_encode(key.public_key().spki_der())},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }})
    .to_string()
}
