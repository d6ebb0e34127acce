//! AWS KMS: a stand-in that computes the signature of each request anew, from AWS's description of the algorithm.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use countersign_crypto::encoding::{base64_decode, base64_encode, hex_encode};
use countersign_crypto::{KeyType, Scheme, Signer as _, hmac_sha256, sha256};
use serde_json::json;

use super::{Home, Mode, Reply, SECRET, Seen, Server, Stand, no_password, pss_key};
use crate::KeyRef;
use crate::environment::Context;
use crate::load::{create, public_key, signer};

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

const HOME: Home = Home {
    respond,
    is_login: |_| false,
    enter: |host, good| {
        let secret = if good { SECRET } else { "another" };
        let context = Context::given(&[
            ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_SESSION_TOKEN", "session"),
            ("AWS_REGION", "eu-central-1"),
        ]);
        (context, KeyRef::parse(&format!("awskms://{host}/alias/release")).unwrap())
    },
    places: "AWS_ACCESS_KEY_ID",
    key_types: &[
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Rsa { bits: 3072 },
        KeyType::Ed25519,
    ],
};

/// Checks a request as AWS documents it: task 1 canonical request, task 2 string to sign, task 3 signature. Works
/// on what came over the wire, and shares no code with the signer.
fn is_signed(seen: &Seen, secret: &str, service: &str) -> bool {
    let Some(rest) = seen.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else { return false };
    let parts: BTreeMap<&str, &str> = rest.split(", ").filter_map(|part| part.split_once('=')).collect();
    let scope: Vec<&str> = parts["Credential"].split('/').collect();
    let names: Vec<&str> = parts["SignedHeaders"].split(';').collect();
    // What decides who is asked for what must be under the signature.
    let mut needed = vec!["host", "x-amz-date"];
    needed.extend(seen.headers.keys().map(String::as_str).filter(|name| name.starts_with("x-amz-")));
    if !needed.iter().all(|name| names.contains(name)) || !names.is_sorted() {
        return false;
    }
    let mut canonical = format!("{}\n{}\n\n", seen.method, seen.target);
    for name in &names {
        canonical += &format!("{name}:{}\n", seen.header(name));
    }
    canonical += &format!("\n{}\n{}", names.join(";"), hex_encode(&sha256(&seen.body)));
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        seen.header("x-amz-date"),
        scope[1..].join("/"),
        hex_encode(&sha256(canonical.as_bytes()))
    );
    let date = hmac_sha256(format!("AWS4{secret}").as_bytes(), scope[1].as_bytes());
    let region = hmac_sha256(&date, scope[2].as_bytes());
    let signing = hmac_sha256(&hmac_sha256(&region, service.as_bytes()), b"aws4_request");
    scope[3] == service
        && seen.header("x-amz-date").starts_with(scope[1])
        && parts["Signature"] == hex_encode(&hmac_sha256(&signing, to_sign.as_bytes()))
}

fn respond(stand: &Stand, seen: &Seen) -> Reply {
    let error = |kind: &str| Reply::json(400, &json!({ "__type": kind, "message": "words" }));
    if !is_signed(seen, SECRET, "kms") || seen.header("x-amz-security-token") != "session" {
        return stand.refuse(error("com.amazonaws.kms#InvalidSignatureException"));
    }
    let request = seen.json();
    let key_type = stand.public().key_type();
    let algorithms = match stand.key.scheme() {
        Scheme::RsaPss(_) => vec!["RSASSA_PSS_SHA_256"],
        _ => match key_type {
            KeyType::EcdsaP256 => vec!["ECDSA_SHA_256"],
            KeyType::EcdsaP384 => vec!["ECDSA_SHA_384"],
            KeyType::EcdsaP521 => vec!["ECDSA_SHA_512"],
            KeyType::Ed25519 => vec!["ED25519_SHA_512", "ED25519_PH_SHA_512"],
            _ => vec!["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512"],
        },
    };
    match seen.header("x-amz-target") {
        "TrentService.GetPublicKey" if stand.is_missing() => error("NotFoundException"),
        "TrentService.GetPublicKey" => {
            let usage = if stand.mode() == Mode::WrongType { "KEY_AGREEMENT" } else { "SIGN_VERIFY" };
            Reply::json(
                200,
                &json!({
                    "KeyId": ARN, "KeyUsage": usage, "SigningAlgorithms": algorithms,
                    "PublicKey": base64_encode(stand.public().spki_der())
                }),
            )
        }
        "TrentService.Sign" => {
            // The key itself is named, not the alias, which may have been moved.
            assert_eq!(request["KeyId"], ARN);
            assert!(algorithms.contains(&request["SigningAlgorithm"].as_str().unwrap()), "{request}");
            let message = base64_decode(request["Message"].as_str().unwrap()).unwrap();
            let signature = match (request["MessageType"].as_str(), request["SigningAlgorithm"].as_str()) {
                (Some("RAW"), Some("ED25519_SHA_512")) => stand.sign_message(&message),
                (Some("DIGEST"), Some("ED25519_PH_SHA_512")) => {
                    let key =
                        countersign_crypto::KeyPair::from_pkcs8(&stand.key.to_pkcs8().unwrap()).unwrap();
                    let digest =
                        countersign_crypto::Digest::new(countersign_crypto::HashAlgorithm::Sha512, &message);
                    key.with_scheme(Scheme::Ed25519ph).unwrap().sign_digest(&digest.unwrap()).unwrap()
                }
                (Some("DIGEST"), _) => stand.sign(&message),
                _ => return error("ValidationException"),
            };
            Reply::json(200, &json!({ "KeyId": ARN, "Signature": base64_encode(&signature) }))
        }
        "TrentService.CreateKey" => {
            assert_eq!(
                (&request["KeySpec"], &request["KeyUsage"]),
                (&"ECC_NIST_P384".into(), &"SIGN_VERIFY".into())
            );
            Reply::json(200, &json!({ "KeyMetadata": { "KeyId": "new" } }))
        }
        "TrentService.CreateAlias" => {
            assert_eq!(request, json!({ "AliasName": "alias/release", "TargetKeyId": "new" }));
            stand.made.store(true, Ordering::SeqCst);
            Reply::text(200, "")
        }
        _ => error("UnknownOperationException"),
    }
}

#[test]
fn v59_aws_kms_signs_and_refuses_as_it_must() {
    HOME.check();
    HOME.makes_keys(KeyType::EcdsaP384);
}

#[test]
fn a_key_that_only_signs_with_pss_signs_with_pss() {
    let running = HOME.start(pss_key(), Mode::Good);
    let signer = HOME.open(&running).unwrap();
    assert!(matches!(signer.scheme(), Scheme::RsaPss(_)));
    signer.sign(b"m").unwrap();
}

#[test]
fn an_ed25519_key_signs_digests_for_artifacts() {
    let running = HOME.start(HOME.signing_key(KeyType::Ed25519), Mode::Good);
    let (context, reference) = (HOME.enter)(&running.service.host(), true);
    let signer = signer(&context, &reference, &no_password(), true).unwrap();
    assert_eq!(signer.scheme(), Scheme::Ed25519ph);
    signer.sign(b"m").unwrap();
}

#[test]
fn a_key_without_an_alias_is_not_made() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Missing);
    let (context, _) = (HOME.enter)(&running.service.host(), true);
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let reference = KeyRef::parse(&format!("awskms://{}/{id}", running.service.host())).unwrap();
    let error = create(&context, &reference, None, &no_password()).unwrap_err().to_string();
    assert!(error.contains("alias/NAME"), "{error}");
}

#[test]
fn without_a_region_nobody_is_asked() {
    let context = Context::given(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let error = public_key(&context, &KeyRef::parse("awskms:///alias/x").unwrap()).unwrap_err().to_string();
    assert!(error.contains("AWS_REGION"), "{error}");
}

/// Credentials from every other place: what each gives signs a request that the service takes.
#[test]
fn credentials_come_from_roles_containers_and_machines() {
    let running = HOME.start(HOME.signing_key(KeyType::EcdsaP256), Mode::Good);
    let handed = json!({
        "AccessKeyId": "AKIDTEST", "SecretAccessKey": SECRET, "Token": "session",
        "Expiration": "2099-01-01T00:00:00Z"
    });
    let sts = Server::start(move |seen| {
        let web =
            seen.field("Action") == "AssumeRoleWithWebIdentity" && seen.field("WebIdentityToken") == "jwt";
        let role = seen.field("Action") == "AssumeRole" && is_signed(seen, "base-secret", "sts");
        if (!web && !role) || seen.field("RoleArn") != "arn:aws:iam::111122223333:role/signer" {
            return Reply::text(403, "<Error><Code>AccessDenied</Code></Error>");
        }
        Reply::text(
            200,
            &format!(
                "<R><Credentials><AccessKeyId>AKIDTEST</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
                 <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>"
            ),
        )
    });
    let container = handed.clone();
    let machine = Server::start(move |seen| match (seen.method.as_str(), seen.path()) {
        ("GET", "/container") if seen.header("authorization") == "container-token" => {
            Reply::json(200, &container)
        }
        ("PUT", "/latest/api/token") => Reply::text(200, "imds-token"),
        ("GET", path) if seen.header("x-aws-ec2-metadata-token") == "imds-token" => match path {
            "/latest/meta-data/iam/security-credentials/" => Reply::text(200, "role\n"),
            "/latest/meta-data/iam/security-credentials/role" => Reply::json(200, &handed),
            _ => Reply::text(404, ""),
        },
        _ => Reply::text(401, ""),
    });
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("token"), "jwt\n").unwrap();
    std::fs::write(
        path("config"),
        "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/signer\nsource_profile = base\n\
         [profile base]\naws_access_key_id = BASE\naws_secret_access_key = base-secret\n",
    )
    .unwrap();
    let role = "arn:aws:iam::111122223333:role/signer";
    let (sts, container, machine) = (sts.url(""), machine.url("/container"), machine.url(""));
    let places: [&[(&str, &str)]; 4] = [
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &path("token")),
            ("AWS_ROLE_ARN", role),
            ("AWS_ENDPOINT_URL_STS", &sts),
        ],
        &[("AWS_CONFIG_FILE", &path("config")), ("AWS_PROFILE", "role"), ("AWS_ENDPOINT_URL_STS", &sts)],
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token"),
        ],
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &machine)],
    ];
    for place in places {
        let context = Context::given(&[place, &[("AWS_REGION", "eu-central-1")]].concat());
        let reference = KeyRef::parse(&format!("awskms://{}/alias/release", running.service.host())).unwrap();
        let signer = signer(&context, &reference, &no_password(), false).unwrap();
        signer.sign(b"m").unwrap();
    }
    assert_eq!(running.stand.refused.load(Ordering::SeqCst), 0);
}
