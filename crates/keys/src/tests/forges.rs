//! GitLab's variables and GitHub's secrets: stand-ins that keep, and decrypt, what they are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{KeyType, PublicKey, Signer as _};
use serde_json::json;

use super::{Reply, SECRET, Server, is_unavailable, no_password};
use crate::environment::Context;
use crate::load::{create, public_key, signer};
use crate::{KeyError, KeyRef, PasswordSource, key_pair_from_pem, sealed_box};

type Kept = Arc<Mutex<BTreeMap<String, String>>>;

fn gitlab(kept: &Kept) -> Server {
    let kept = Arc::clone(kept);
    Server::start(move |seen| {
        if seen.header("private-token") != SECRET {
            return Reply::json(401, &json!({ "message": "401 Unauthorized" }));
        }
        let rest = seen.path().strip_prefix("/api/v4/projects/group%2Fsub%2Fproject/variables");
        let mut kept = kept.lock().unwrap();
        match (seen.method.as_str(), rest) {
            ("GET", Some(name)) => match kept.get(name.trim_start_matches('/')) {
                Some(value) => Reply::json(200, &json!({ "key": name, "value": value })),
                None => Reply::text(404, "{}"),
            },
            ("POST", Some("")) => {
                let text = |name: &str| seen.json()[name].as_str().unwrap().to_owned();
                kept.insert(text("key"), text("value"));
                Reply::text(201, "{}")
            }
            _ => Reply::text(404, "{}"),
        }
    })
}

#[test]
fn a_pair_in_gitlab_variables_is_made_and_used() {
    let kept = Kept::default();
    let server = gitlab(&kept);
    let context = Context::given(&[("GITLAB_TOKEN", SECRET), ("GITLAB_HOST", &server.url(""))]);
    let reference = KeyRef::parse("gitlab://group/sub/project").unwrap();
    let missing = signer(&context, &reference, &no_password(), true).unwrap_err().to_string();
    assert!(missing.contains("COSIGN_PRIVATE_KEY"), "{missing}");
    let made = create(&context, &reference, None, &PasswordSource::literal("pw")).unwrap();
    let names: Vec<String> = kept.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, ["COSIGN_PASSWORD", "COSIGN_PRIVATE_KEY", "COSIGN_PUBLIC_KEY"]);
    assert_eq!(public_key(&context, &reference).unwrap(), made.public);
    let signer = signer(&context, &reference, &no_password(), true).unwrap();
    made.public.verify(signer.scheme(), b"m", &signer.sign(b"m").unwrap()).unwrap();
    let before = kept.lock().unwrap().clone();
    let again = create(&context, &reference, None, &PasswordSource::literal("pw")).unwrap_err().to_string();
    assert!(again.contains("not replaced"), "{again}");
    assert_eq!(*kept.lock().unwrap(), before);
}

#[test]
fn v59_gitlab_refusing_down_or_sending_elsewhere() {
    let server = gitlab(&Kept::default());
    let reference = KeyRef::parse("gitlab://group/sub/project").unwrap();
    let ask = |token: &str, host: &str| {
        let context = Context::given(&[("GITLAB_TOKEN", token), ("GITLAB_HOST", host)]);
        public_key(&context, &reference).unwrap_err()
    };
    let error = ask("another", &server.url("")).to_string();
    assert!(error.contains("GITLAB_TOKEN (") && !error.contains("another"), "{error}");
    assert!(ask("", &server.url("")).to_string().contains("no token"));
    assert!(is_unavailable(&ask(SECRET, "http://127.0.0.1:9")));
    let thief = Server::start(|_| Reply::text(200, "{}"));
    let elsewhere = thief.url("/");
    let redirecting = Server::start(move |_| Reply::text(308, "").with("location", &elsewhere));
    assert!(ask(SECRET, &redirecting.url("")).to_string().contains("redirect"));
    assert_eq!(thief.count(), 0);
    let wrong = Server::start(|_| Reply::text(200, r#"{"value":{"a":"hunter3"}}"#));
    let error = ask(SECRET, &wrong.url("")).to_string();
    assert!(error.contains("expected a variable") && !error.contains("hunter3"), "{error}");
}

/// The recipient's secret key.
const RECIPIENT: [u8; 32] = [7; 32];

fn github(kept: &Kept, base: &'static str) -> Server {
    let kept = Arc::clone(kept);
    let key = curve25519_dalek::MontgomeryPoint::mul_base_clamped(RECIPIENT).to_bytes();
    Server::start(move |seen| {
        if seen.header("authorization") != format!("Bearer {SECRET}") {
            return Reply::json(401, &json!({ "message": "Bad credentials" }));
        }
        let Some(name) = seen.path().strip_prefix(base) else { return Reply::text(404, "{}") };
        let mut kept = kept.lock().unwrap();
        match (seen.method.as_str(), name) {
            ("GET", "public-key") => Reply::json(200, &json!({ "key_id": "7", "key": base64_encode(&key) })),
            ("GET", name) if kept.contains_key(name) => Reply::json(200, &json!({ "name": name })),
            ("PUT", name) => {
                let body = seen.json();
                assert_eq!(body["key_id"], "7");
                assert_eq!(body.get("visibility").is_some(), base.contains("/orgs/"));
                let sealed = base64_decode(body["encrypted_value"].as_str().unwrap()).unwrap();
                let opened = sealed_box::open(RECIPIENT, &sealed).unwrap();
                kept.insert(name.to_owned(), String::from_utf8(opened).unwrap());
                Reply::text(201, "")
            }
            _ => Reply::text(404, "{}"),
        }
    })
}

#[test]
fn a_pair_is_sealed_for_github_and_cannot_be_read_back() {
    for (text, base) in [
        ("github://owner/repo", "/api/v3/repos/owner/repo/actions/secrets/"),
        ("github://owner", "/api/v3/orgs/owner/actions/secrets/"),
    ] {
        let kept = Kept::default();
        let server = github(&kept, base);
        let context = Context::given(&[("GITHUB_TOKEN", SECRET), ("GITHUB_HOST", &server.url(""))]);
        let reference = KeyRef::parse(text).unwrap();
        let password = PasswordSource::literal("pw");
        let made = create(&context, &reference, Some(KeyType::Ed25519), &password).unwrap();
        let secrets = kept.lock().unwrap().clone();
        assert_eq!(secrets["COSIGN_PASSWORD"], "pw");
        assert_eq!(PublicKey::from_pem(&secrets["COSIGN_PUBLIC_KEY"]).unwrap(), made.public);
        let pair = key_pair_from_pem(&secrets["COSIGN_PRIVATE_KEY"], "k", &password).unwrap();
        assert_eq!(pair.public_key(), &made.public);
        let again = create(&context, &reference, None, &password).unwrap_err().to_string();
        assert!(again.contains("not replaced"), "{again}");
        assert_eq!(*kept.lock().unwrap(), secrets);
        let error = signer(&context, &reference, &password, true).unwrap_err();
        assert!(matches!(error, KeyError::Unsupported { .. }));
        assert!(error.to_string().contains("env://COSIGN_PRIVATE_KEY"), "{error}");
        assert!(public_key(&context, &reference).is_err());
    }
}

#[test]
fn v59_github_refusing_down_or_sending_elsewhere() {
    let server = github(&Kept::default(), "/api/v3/repos/o/r/actions/secrets/");
    let reference = KeyRef::parse("github://o/r").unwrap();
    let ask = |token: &str, host: &str| {
        let context = Context::given(&[("GITHUB_TOKEN", token), ("GITHUB_HOST", host)]);
        create(&context, &reference, None, &PasswordSource::literal("")).unwrap_err()
    };
    let error = ask("another", &server.url("")).to_string();
    assert!(error.contains("GITHUB_TOKEN (") && !error.contains("another"), "{error}");
    assert!(ask("", &server.url("")).to_string().contains("no token"));
    assert!(is_unavailable(&ask(SECRET, "http://127.0.0.1:9")));
    let thief = Server::start(|_| Reply::text(200, "{}"));
    let elsewhere = thief.url("/");
    let redirecting = Server::start(move |_| Reply::text(307, "").with("location", &elsewhere));
    assert!(ask(SECRET, &redirecting.url("")).to_string().contains("redirect"));
    assert_eq!(thief.count(), 0);
}
