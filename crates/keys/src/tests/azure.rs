//! Azure Key Vault: a stand-in with its token endpoint.

use std::sync::atomic::Ordering;

use countersign_crypto::encoding::{base64url_decode, base64url_encode};
use countersign_crypto::{KeyType, Scheme, ecdsa};
use serde_json::json;

use super::{Home, Mode, Reply, SECRET, Seen, Server, Stand};
use crate::KeyRef;
use crate::environment::Context;
use crate::load::public_key;

const VERSION: &str = "0123456789abcdef";

const HOME: Home = Home {
    respond,
    is_login: |seen| seen.path().starts_with("/tenant/"),
    enter: |host, good| {
        let secret = if good { SECRET } else { "another" };
        let context = Context::given(&[
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_CLIENT_SECRET", secret),
            ("AZURE_AUTHORITY_HOST", &format!("http://{host}")),
        ]);
        (context, KeyRef::parse(&format!("azurekms://{host}/release")).unwrap())
    },
    places: "AZURE_CLIENT_SECRET",
    key_types: &[KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Rsa { bits: 3072 }],
};

fn respond(stand: &Stand, seen: &Seen) -> Reply {
    if seen.path() == "/tenant/oauth2/v2.0/token" {
        let known = seen.field("client_secret") == SECRET || seen.field("client_assertion") == "federated";
        let asked = seen.field("grant_type") == "client_credentials"
            && seen.field("client_id") == "client"
            && seen.field("scope") == "https://vault.azure.net/.default";
        if known && asked {
            return Reply::json(200, &json!({ "access_token": "bearer", "expires_in": 3599 }));
        }
        return stand.refuse(Reply::json(401, &json!({ "error": "invalid_client" })));
    }
    if seen.header("authorization") != "Bearer bearer" || seen.field("api-version").is_empty() {
        return stand.refuse(Reply::text(401, ""));
    }
    let kid = format!("https://v.vault.azure.net/keys/release/{VERSION}");
    let key_type = stand.public().key_type();
    let curve = match key_type {
        KeyType::EcdsaP256 => "P-256",
        KeyType::EcdsaP384 => "P-384",
        KeyType::EcdsaP521 => "P-521",
        _ => "",
    };
    match (seen.method.as_str(), seen.path()) {
        ("GET", "/keys/release") if stand.is_missing() => {
            Reply::json(404, &json!({ "error": { "code": "KeyNotFound" } }))
        }
        ("GET", "/keys/release") if stand.mode() == Mode::WrongType => {
            Reply::json(200, &json!({ "key": { "kid": kid, "kty": "oct-HSM" } }))
        }
        ("GET", "/keys/release") => {
            let mut key = match stand.public().coordinates() {
                Some((x, y)) => json!({
                    "kty": "EC-HSM", "crv": curve, "x": base64url_encode(x), "y": base64url_encode(y)
                }),
                None => {
                    let (n, e) = stand.public().rsa_numbers().unwrap();
                    json!({ "kty": "RSA", "n": base64url_encode(&n), "e": base64url_encode(&e) })
                }
            };
            key["kid"] = kid.into();
            Reply::json(200, &json!({ "key": key, "attributes": { "enabled": true } }))
        }
        ("POST", path) if path == format!("/keys/release/{VERSION}/sign") => {
            let request = seen.json();
            let name = match key_type {
                KeyType::EcdsaP256 => "ES256",
                KeyType::EcdsaP384 => "ES384",
                KeyType::EcdsaP521 => "ES512",
                _ => "RS256",
            };
            assert_eq!(request["alg"], name);
            let mut signature = stand.sign(&base64url_decode(request["value"].as_str().unwrap()).unwrap());
            if let Scheme::Ecdsa(_) = countersign_crypto::Signer::scheme(&stand.key) {
                signature = ecdsa::fixed_from_der(key_type, &signature).unwrap();
            }
            Reply::json(200, &json!({ "kid": kid, "value": base64url_encode(&signature) }))
        }
        ("POST", "/keys/release/create") => {
            assert_eq!(seen.json(), json!({ "kty": "EC", "crv": curve, "key_ops": ["sign", "verify"] }));
            stand.made.store(true, Ordering::SeqCst);
            Reply::text(200, "{}")
        }
        _ => Reply::text(404, "{}"),
    }
}

#[test]
fn v59_azure_key_vault_signs_and_refuses_as_it_must() {
    HOME.check();
    HOME.makes_keys(KeyType::EcdsaP256);
}

#[test]
fn credentials_come_from_workload_identity_and_managed_identity() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let host = running.service.host();
    let reference = KeyRef::parse(&format!("azurekms://{host}/release")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("federated");
    std::fs::write(&file, "federated").unwrap();
    let machine = Server::start(|seen| {
        let machine = seen.path() == "/metadata/identity/oauth2/token" && seen.header("metadata") == "true";
        let service = seen.path() == "/service" && seen.header("x-identity-header") == SECRET;
        if (machine || service) && seen.field("resource") == "https://vault.azure.net" {
            Reply::json(200, &json!({ "access_token": "bearer", "expires_in": "86399" }))
        } else {
            Reply::text(400, "{}")
        }
    });
    let (authority, service, machine) = (format!("http://{host}"), machine.url("/service"), machine.url(""));
    let places: [&[(&str, &str)]; 3] = [
        &[
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", &authority),
        ],
        &[("IDENTITY_ENDPOINT", &service), ("IDENTITY_HEADER", SECRET)],
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &machine)],
    ];
    for place in places {
        public_key(&Context::given(place), &reference).unwrap();
    }
    assert_eq!(running.stand.refused.load(Ordering::SeqCst), 0);
    for (variable, value) in
        [("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://example.com"), ("AZURE_TENANT_ID", "../elsewhere")]
    {
        let context =
            Context::given(&[("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s"), (variable, value)]);
        let error = public_key(&context, &reference).unwrap_err().to_string();
        assert!(error.contains(variable), "{error}");
    }
}
