//! Google Cloud KMS: a stand-in whose token endpoint checks the service account's own token.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use countersign_crypto::encoding::{base64_decode, base64_encode, base64url_decode, pem_encode};
use countersign_crypto::{CryptoError, KeyPair, KeyType, Scheme, Signer as _};
use serde_json::{Value, json};

use super::{Home, Mode, Reply, SECRET, Seen, Server, Stand, is_unavailable, no_password, pss_key};
use crate::KeyRef;
use crate::environment::Context;
use crate::load::{public_key, signer};

const KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/k";

const HOME: Home = Home {
    respond,
    is_login: |seen| seen.path() == "/token",
    enter: |host, good| {
        let account = if good { account() } else { stranger() };
        let pem = pem_encode("PRIVATE KEY", &account.to_pkcs8().unwrap());
        let file = json!({
            "type": "service_account", "client_email": "signer@p.iam.gserviceaccount.com",
            "private_key_id": "kid", "private_key": pem, "token_uri": format!("http://{host}/token")
        });
        (context(host, &file), KeyRef::parse(&format!("gcpkms://{KEY}")).unwrap())
    },
    places: "GOOGLE_APPLICATION_CREDENTIALS",
    key_types: &[KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa { bits: 3072 }, KeyType::Ed25519],
};

/// A context whose credentials file has this content. The file stays: contexts outlive this function.
fn context(host: &str, file: &Value) -> Context {
    let path = tempfile::Builder::new().disable_cleanup(true).tempfile().unwrap().into_temp_path();
    std::fs::write(&path, file.to_string()).unwrap();
    Context::given(&[
        ("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap()),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", &format!("http://{host}/")),
    ])
}

fn account() -> &'static KeyPair {
    static ACCOUNT: OnceLock<KeyPair> = OnceLock::new();
    ACCOUNT.get_or_init(|| KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap())
}

fn stranger() -> &'static KeyPair {
    static STRANGER: OnceLock<KeyPair> = OnceLock::new();
    STRANGER.get_or_init(|| KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap())
}

/// Whether a token by which an account shows its key is one: RS256, the right claims, the right signature.
fn is_asserted(seen: &Seen) -> bool {
    let token = seen.field("assertion");
    let Some((input, signature)) = token.rsplit_once('.') else { return false };
    let claims = base64url_decode(input.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    let signature = base64url_decode(signature).unwrap();
    let account = account();
    seen.field("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        && claims["iss"] == "signer@p.iam.gserviceaccount.com"
        && claims["aud"] == format!("http://{}/token", seen.header("host"))
        && claims["scope"] == "https://www.googleapis.com/auth/cloudkms"
        && (1..=3600).contains(&life)
        && account.public_key().verify(account.scheme(), input.as_bytes(), &signature).is_ok()
}

fn respond(stand: &Stand, seen: &Seen) -> Reply {
    let token =
        || Reply::json(200, &json!({ "access_token": SECRET, "expires_in": 3600, "token_type": "Bearer" }));
    if seen.path() == "/token" {
        let user = seen.field("grant_type") == "refresh_token" && seen.field("refresh_token") == "refresh";
        let exchanged = seen.field("subject_token") == "external" && seen.field("audience") == "pool";
        if user || exchanged || is_asserted(seen) {
            return token();
        }
        return stand.refuse(Reply::json(400, &json!({ "error": "invalid_grant" })));
    }
    if seen.header("authorization") != format!("Bearer {SECRET}") {
        return stand.refuse(Reply::text(401, ""));
    }
    let algorithm = match (stand.key.scheme(), stand.public().key_type()) {
        _ if stand.mode() == Mode::WrongType => "EC_SIGN_SECP256K1_SHA256",
        (Scheme::RsaPss(_), _) => "RSA_SIGN_PSS_3072_SHA256",
        (_, KeyType::EcdsaP256) => "EC_SIGN_P256_SHA256",
        (_, KeyType::EcdsaP384) => "EC_SIGN_P384_SHA384",
        (_, KeyType::Ed25519) => "EC_SIGN_ED25519",
        _ => "RSA_SIGN_PKCS1_3072_SHA256",
    };
    let version = |number: u32, state: &str| json!({ "name": format!("{KEY}/cryptoKeyVersions/{number}"), "state": state });
    let missing = stand.is_missing();
    let not_found = || Reply::json(404, &json!({ "error": { "status": "NOT_FOUND" } }));
    let path = seen.path().strip_prefix("/v1/").unwrap_or_default();
    match (seen.method.as_str(), path) {
        ("GET", path) if path == format!("{KEY}/cryptoKeyVersions") => {
            if missing {
                return not_found();
            }
            // Two pages, not in order: numbers are compared as numbers.
            if seen.field("pageToken").is_empty() {
                let page = json!([version(9, "ENABLED"), version(11, "DISABLED")]);
                return Reply::json(200, &json!({ "cryptoKeyVersions": page, "nextPageToken": "two" }));
            }
            Reply::json(200, &json!({ "cryptoKeyVersions": [version(10, "ENABLED")] }))
        }
        ("GET", path) if path == format!("{KEY}/cryptoKeyVersions/10/publicKey") => {
            Reply::json(200, &json!({ "pem": stand.public().to_pem(), "algorithm": algorithm }))
        }
        ("POST", path) if path == format!("{KEY}/cryptoKeyVersions/10:asymmetricSign") => {
            let request = seen.json();
            let bytes = |value: &Value| base64_decode(value.as_str().unwrap()).unwrap();
            let signature = match request["digest"].as_object() {
                Some(digest) => stand.sign(&bytes(digest.values().next().unwrap())),
                None => stand.sign_message(&bytes(&request["data"])),
            };
            Reply::json(200, &json!({ "signature": base64_encode(&signature) }))
        }
        ("GET", "projects/p/locations/global/keyRings/r") => not_found(),
        ("POST", "projects/p/locations/global/keyRings") => {
            assert_eq!(seen.field("keyRingId"), "r");
            Reply::text(409, "{}")
        }
        ("POST", "projects/p/locations/global/keyRings/r/cryptoKeys") => {
            assert_eq!(seen.field("cryptoKeyId"), "k");
            let wanted =
                json!({ "purpose": "ASYMMETRIC_SIGN", "versionTemplate": { "algorithm": algorithm } });
            assert_eq!(seen.json(), wanted);
            stand.made.store(true, Ordering::SeqCst);
            Reply::text(200, "{}")
        }
        ("GET", path) if path == format!("{KEY}/cryptoKeyVersions/1") => {
            Reply::json(200, &version(1, "ENABLED"))
        }
        _ => not_found(),
    }
}

#[test]
fn v59_google_cloud_kms_signs_and_refuses_as_it_must() {
    HOME.check();
    HOME.makes_keys(KeyType::EcdsaP384);
}

#[test]
fn the_algorithm_of_the_key_decides_how_it_signs() {
    let running = HOME.start(pss_key(), Mode::Good);
    let opened = HOME.open(&running).unwrap();
    assert!(matches!(opened.scheme(), Scheme::RsaPss(_)));
    opened.sign(b"m").unwrap();
    // Ed25519 here signs whole messages only, and an artifact is not sent.
    let running = HOME.start(HOME.signing_key(KeyType::Ed25519), Mode::Good);
    let (context, reference) = (HOME.enter)(&running.service.host(), true);
    let error = signer(&context, &reference, &no_password(), true).unwrap_err().to_string();
    assert!(error.contains("ECDSA or RSA"), "{error}");
}

#[test]
fn the_newest_of_some_versions_is_not_taken_for_the_newest() {
    let service = Server::start(|seen| match seen.path() {
        "/token" => Reply::json(200, &json!({ "access_token": SECRET, "expires_in": 3600 })),
        _ => Reply::json(
            200,
            &json!({ "cryptoKeyVersions": [{ "name": "x/1", "state": "ENABLED" }], "nextPageToken": "on" }),
        ),
    });
    let (context, reference) = (HOME.enter)(&service.host(), true);
    let error = public_key(&context, &reference).unwrap_err().to_string();
    assert!(error.contains("more than 2000 versions"), "{error}");
}

#[test]
fn a_token_is_asked_for_once_while_it_lives() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let signer = HOME.open(&running).unwrap();
    for _ in 0..3 {
        signer.sign(b"m").unwrap();
    }
    assert_eq!(running.service.seen().iter().filter(|seen| seen.path() == "/token").count(), 1);
}

#[test]
fn a_token_that_is_not_taken_is_not_kept() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let signer = HOME.open(&running).unwrap();
    *running.stand.mode.lock().unwrap() = Mode::Revoked;
    assert!(matches!(signer.sign(b"m"), Err(CryptoError::Signing(_))));
    *running.stand.mode.lock().unwrap() = Mode::Good;
    signer.sign(b"m").unwrap();
    assert_eq!(running.service.seen().iter().filter(|seen| seen.path() == "/token").count(), 2);
}

#[test]
fn credentials_come_from_users_external_accounts_and_the_machine() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let host = running.service.host();
    let reference = KeyRef::parse(&format!("gcpkms://{KEY}")).unwrap();
    let token_url = format!("http://{host}/token");
    let user = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": "refresh",
        "token_uri": token_url
    });
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, r#"{"access_token":"external"}"#).unwrap();
    let external = |token_url: &str| {
        json!({
            "type": "external_account", "audience": "pool", "subject_token_type": "jwt", "token_url": token_url,
            "credential_source": { "file": token_file, "format": { "type": "json" } }
        })
    };
    for file in [&user, &external(&token_url)] {
        public_key(&context(&host, file), &reference).unwrap();
    }
    let error = public_key(&context(&host, &external("https://sts.example.com/token")), &reference);
    assert!(error.unwrap_err().to_string().contains("googleapis.com"));
    // A source that looks like an address, and is another kind.
    for kind in ["environment_id", "executable", "certificate"] {
        let mut file = external(&token_url);
        file["credential_source"][kind] = json!({});
        let error = public_key(&context(&host, &file), &reference).unwrap_err().to_string();
        assert!(error.contains("other sources"), "{kind}: {error}");
    }
    let error = public_key(&context(&host, &json!({ "type": "other", "private_key": SECRET })), &reference);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("Google credentials") && !error.contains(SECRET), "{error}");
    let metadata = |honest: bool| {
        let machine = Server::start(move |seen| {
            assert_eq!(seen.header("metadata-flavor"), "Google");
            let reply = Reply::json(200, &json!({ "access_token": SECRET, "expires_in": 3600 }));
            if honest { reply.with("metadata-flavor", "Google") } else { reply }
        });
        let endpoint = format!("http://{host}/");
        let variables =
            [("GCE_METADATA_HOST", machine.host()), ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", endpoint)];
        let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
        public_key(&Context::given(&variables), &reference)
    };
    metadata(true).unwrap();
    assert!(metadata(false).unwrap_err().to_string().contains("Metadata-Flavor"));
    let nobody = Context::given(&[("GCE_METADATA_HOST", "127.0.0.1:9")]);
    assert!(is_unavailable(&public_key(&nobody, &reference).unwrap_err()));
    assert!(public_key(&Context::given(&[("GCE_METADATA_HOST", "example.com")]), &reference).is_err());
    let gone = Context::given(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")]);
    assert!(public_key(&gone, &reference).unwrap_err().to_string().contains("/nonexistent"));
}
