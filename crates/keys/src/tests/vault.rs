//! The transit engine of Vault and OpenBao: a stand-in that checks the token and the namespace.

use std::sync::atomic::Ordering;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{KeyType, Signer as _};
use serde_json::json;

use super::{Home, Mode, Reply, SECRET, Seen, Stand, no_password};
use crate::KeyRef;
use crate::environment::Context;
use crate::load::{public_key, signer};

const HOME: Home = Home {
    respond,
    is_login: |_| false,
    enter: |host, good| {
        let token = if good { SECRET } else { "another" };
        let context = Context::given(&[
            ("VAULT_ADDR", &format!("http://{host}")),
            ("VAULT_TOKEN", token),
            ("VAULT_NAMESPACE", "team"),
            ("TRANSIT_SECRET_ENGINE_PATH", "keys/transit"),
        ]);
        (context, KeyRef::parse("hashivault://release").unwrap())
    },
    places: "VAULT_TOKEN",
    key_types: &[
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Rsa { bits: 3072 },
        KeyType::Ed25519,
    ],
};

fn respond(stand: &Stand, seen: &Seen) -> Reply {
    if seen.header("x-vault-token") != SECRET || seen.header("x-vault-namespace") != "team" {
        return stand.refuse(Reply::json(403, &json!({ "errors": ["permission denied"] })));
    }
    let (kind, hash) = match stand.public().key_type() {
        KeyType::EcdsaP256 => ("ecdsa-p256", "/sha2-256"),
        KeyType::EcdsaP384 => ("ecdsa-p384", "/sha2-384"),
        KeyType::EcdsaP521 => ("ecdsa-p521", "/sha2-512"),
        KeyType::Ed25519 => ("ed25519", ""),
        _ => ("rsa-3072", "/sha2-256"),
    };
    let request = seen.json();
    let path = seen.path().strip_prefix("/v1/keys/transit/").unwrap_or_default();
    match (seen.method.as_str(), path) {
        ("GET", "keys/release") if stand.is_missing() => Reply::json(404, &json!({ "errors": [] })),
        ("GET", "keys/release") if stand.mode() == Mode::WrongType => Reply::json(
            200,
            &json!({ "data": { "type": "aes256-gcm96", "latest_version": 1, "keys": { "1": 7 } } }),
        ),
        ("GET", "keys/release") => {
            let public = match kind {
                "ed25519" => base64_encode(stand.public().raw()),
                _ => stand.public().to_pem(),
            };
            let keys = json!({ "3": { "public_key": public, "name": kind }, "2": { "public_key": "older" } });
            Reply::json(200, &json!({ "data": { "type": kind, "latest_version": 3, "keys": keys } }))
        }
        ("POST", "keys/release") => {
            assert_eq!(request, json!({ "type": kind }));
            stand.made.store(true, Ordering::SeqCst);
            Reply::text(204, "")
        }
        ("POST", path) if path == format!("sign/release{hash}") => {
            assert_eq!(request["key_version"], 3, "the version that was described");
            let input = base64_decode(request["input"].as_str().unwrap()).unwrap();
            let signature =
                if request["prehashed"] == true { stand.sign(&input) } else { stand.sign_message(&input) };
            Reply::json(
                200,
                &json!({ "data": { "signature": format!("vault:v3:{}", base64_encode(&signature)) } }),
            )
        }
        // Vault without Enterprise signs the digest itself, as if it were the message.
        ("POST", "sign/release/sha2-512") if kind == "ed25519" => {
            let input = base64_decode(request["input"].as_str().unwrap()).unwrap();
            let signature = stand.key.sign(&input).unwrap();
            Reply::json(
                200,
                &json!({ "data": { "signature": format!("vault:v3:{}", base64_encode(&signature)) } }),
            )
        }
        _ => Reply::json(404, &json!({ "errors": ["no handler"] })),
    }
}

#[test]
fn v59_vault_signs_and_refuses_as_it_must() {
    HOME.check();
    HOME.makes_keys(KeyType::EcdsaP521);
}

#[test]
fn an_ed25519_key_that_signs_digests_as_if_they_were_messages_is_found_out() {
    let running = HOME.start(HOME.signing_key(KeyType::Ed25519), Mode::Good);
    let (context, reference) = (HOME.enter)(&running.service.host(), true);
    let signer = signer(&context, &reference, &no_password(), true).unwrap();
    assert!(signer.sign(b"m").unwrap_err().to_string().contains("own public key"));
}

#[test]
fn address_and_token_come_from_their_variables_or_the_file_of_vault_login() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let address = format!("http://{}", running.service.host());
    let reference = KeyRef::parse("openbao://release").unwrap();
    let open = |variables: &[(&str, &str)]| {
        let common =
            [("BAO_NAMESPACE", "team"), ("TRANSIT_SECRET_ENGINE_PATH", "keys/transit"), ("HOME", home)];
        public_key(&Context::given(&[&common, variables].concat()), &reference)
    };
    let no_address = open(&[]).unwrap_err().to_string();
    assert!(no_address.contains("VAULT_ADDR"), "{no_address}");
    let no_token = open(&[("BAO_ADDR", &address)]).unwrap_err().to_string();
    assert!(no_token.contains("VAULT_TOKEN"), "{no_token}");
    std::fs::write(dir.path().join(".vault-token"), format!("{SECRET}\n")).unwrap();
    open(&[("BAO_ADDR", &address)]).unwrap();
    open(&[("VAULT_ADDR", "http://example.com")]).unwrap_err();
    let escaping = [("VAULT_ADDR", address.as_str()), ("TRANSIT_SECRET_ENGINE_PATH", "../sys")];
    assert!(open(&escaping).unwrap_err().to_string().contains("TRANSIT_SECRET_ENGINE_PATH"));
}
