//! Logins: what is asked for, what is sent, and above all where it is not sent.

use axum::http::Method;
use axum::response::Response;
use countersign_crypto::encoding::base64_encode;
use countersign_registry::auth::{Credential, Credentials, DockerConfig};
use countersign_registry::evidence::{Search, discover};
use countersign_registry::{Registry, RegistryError, RegistryOptions, Store};

use crate::images::{image, tagged};
use crate::support::{Fake, Seen, answer, client, client_with, options};

fn user() -> Credential {
    Credential::password("alice", "hunter2")
}

fn basic() -> String {
    format!("Basic {}", base64_encode(b"alice:hunter2"))
}

fn challenge(value: &str) -> Response {
    answer(401, &[("www-authenticate", value)], r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#)
}

/// A registry which wants a token, and the token server in the same place. Tokens are `t:<scope>`.
fn with_tokens(seen: &Seen, realm: &str, anonymous: bool) -> Option<Response> {
    if seen.path == "/token" {
        let scope = seen.query.split('&').find_map(|p| p.strip_prefix("scope=")).unwrap_or_default();
        let known = seen.header("authorization") == Some(&basic());
        return Some(if known || anonymous {
            answer(200, &[], format!(r#"{{"token":"t-{scope}","expires_in":300}}"#))
        } else {
            answer(401, &[], r#"{"errors":[{"message":"no such user"}]}"#)
        });
    }
    let said = seen.header("authorization").unwrap_or_default();
    let wanted = if seen.method == Method::GET || seen.method == Method::HEAD { "pull" } else { "push" };
    let good = said.starts_with("Bearer t-repository%3Aapp%3A") && said.contains(wanted);
    (!good).then(|| challenge(&format!("Bearer realm=\"{realm}\",service=\"here\"")))
}

#[tokio::test]
async fn a_private_repository_is_read_and_written_with_one_login() {
    let fake = Fake::start().await;
    let realm = format!("http://{}/token", fake.host);
    fake.lie(move |seen| with_tokens(seen, &realm, false));
    let registry = client_with(Credentials::anonymous().with(&fake.host, user()));
    let store = registry.repository(&fake.repository("app"));
    image(&store, "v1", "content").await;
    assert!(store.fetch(&tagged("v1")).await.is_ok());
    let seen = fake.seen();
    let tokens: Vec<&Seen> = seen.iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(tokens.len(), 1, "one token for pushing serves for pulling too");
    assert!(tokens[0].query.starts_with("service=here&scope=repository%3Aapp%3Apull"));
    // The password went to the token server and nowhere else.
    for seen in seen.iter().filter(|seen| seen.path != "/token") {
        assert!(!seen.header("authorization").unwrap_or_default().contains("Basic"));
    }
}

#[tokio::test]
async fn without_a_credential_a_token_is_asked_for_anonymously() {
    let fake = Fake::start().await;
    image(&fake.app(), "v1", "content").await;
    let realm = format!("http://{}/token", fake.host);
    fake.lie(move |seen| with_tokens(seen, &realm, true));
    assert!(fake.app().fetch(&tagged("v1")).await.is_ok());
}

#[tokio::test]
async fn no_login_a_wrong_login_and_no_right_are_told_apart() {
    let fake = Fake::start().await;
    let realm = format!("http://{}/token", fake.host);
    fake.lie(move |seen| with_tokens(seen, &realm, false));
    let error = fake.app().fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");

    fake.lie(|seen| {
        let known = seen.header("authorization") == Some(&basic());
        (!known).then(|| challenge("Basic realm=\"x\""))
    });
    let error = fake.app().fetch(&tagged("v1")).await.unwrap_err();
    assert!(error.to_string().contains("countersign login"), "{error}");
    let wrong = Credentials::anonymous().with(&fake.host, Credential::password("alice", "wrong"));
    let store = client_with(wrong).repository(&fake.repository("app"));
    let error = store.fetch(&tagged("v1")).await.unwrap_err();
    assert!(error.to_string().contains("the credential was refused"), "{error}");
    assert!(!error.to_string().contains("wrong\""), "{error}");

    fake.lie(|_| Some(answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#)));
    let error = fake.app().fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Forbidden { message, .. } if message == "not yours"), "{error}");
}

#[tokio::test]
async fn identity_tokens_are_exchanged_and_registry_tokens_sent_as_they_are() {
    let fake = Fake::start().await;
    image(&fake.app(), "v1", "content").await;
    let realm = format!("http://{}/exchange", fake.host);
    fake.lie(move |seen| {
        if seen.path == "/exchange" {
            let posted = seen.method == Method::POST && seen.header("authorization").is_none();
            return Some(answer(if posted { 200 } else { 500 }, &[], r#"{"access_token":"exchanged"}"#));
        }
        let said = seen.header("authorization").unwrap_or_default();
        let good = said == "Bearer exchanged" || said == "Bearer mine";
        (!good).then(|| challenge(&format!("Bearer realm=\"{realm}\"")))
    });
    for credential in
        [Credential::Identity("i".to_owned().into()), Credential::Token("mine".to_owned().into())]
    {
        let store = client_with(Credentials::anonymous().with(&fake.host, credential))
            .repository(&fake.repository("app"));
        assert!(store.fetch(&tagged("v1")).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_replaced_once() {
    let fake = Fake::start().await;
    image(&fake.app(), "v1", "content").await;
    let realm = format!("http://{}/token", fake.host);
    let count = std::sync::atomic::AtomicUsize::new(0);
    fake.lie(move |seen| {
        if seen.path == "/token" {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return Some(answer(200, &[], format!(r#"{{"token":"n{n}"}}"#)));
        }
        let good = seen.header("authorization") == Some("Bearer n1");
        (!good).then(|| challenge(&format!("Bearer realm=\"{realm}\"")))
    });
    let store = fake.app();
    let error = store.fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(store.fetch(&tagged("v1")).await.is_ok());
}

#[tokio::test]
async fn g04_a_foreign_token_server_gets_no_credential_unless_it_is_named() {
    let (fake, foreign) = (Fake::start().await, Fake::start().await);
    image(&fake.app(), "v1", "content").await;
    let realm = format!("http://{}/token", foreign.host);
    let lie = realm.clone();
    fake.lie(move |seen| with_tokens(seen, &lie, false));
    foreign.lie(move |seen| with_tokens(seen, &realm, false));
    let credentials = Credentials::anonymous().with(&fake.host, user());
    let store = client_with(credentials.clone()).repository(&fake.repository("app"));
    let error = store.fetch(&tagged("v1")).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    let seen = foreign.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.header("authorization").is_none()));

    let token_servers = vec![(fake.host.clone(), foreign.host.clone())];
    let registry = Registry::new(RegistryOptions { credentials, token_servers, ..options() });
    assert!(registry.repository(&fake.repository("app")).fetch(&tagged("v1")).await.is_ok());
}

#[tokio::test]
async fn v27_v59_a_credential_for_one_registry_is_not_sent_to_another() {
    let (mine, evil) = (Fake::start().await, Fake::start().await);
    let config = format!(r#"{{"auths":{{"{}":{{"username":"alice","password":"hunter2"}}}}}}"#, mine.host);
    let config = DockerConfig::parse(config.as_bytes()).unwrap();
    let registry = client_with(Credentials::anonymous().with_config(config).with(&mine.host, user()));
    evil.lie(|seen| {
        let asked = seen.path != "/token";
        asked.then(|| challenge("Basic realm=\"azure\""))
    });
    let error = registry.repository(&evil.repository("x")).fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(evil.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn g04_a_redirect_of_a_blob_takes_no_credential_along() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    let registry = client_with(Credentials::anonymous().with(&fake.host, user()));
    let store = registry.repository(&fake.repository("app"));
    let image = image(&store, "v1", "content").await;
    crate::evidence::attach_all(&store, &image).await;
    let place = storage.host.clone();
    fake.lie(move |seen| {
        if seen.header("authorization") != Some(&basic()) {
            return Some(challenge("Basic realm=\"x\""));
        }
        let target = format!("http://{place}{}", seen.path);
        seen.path.contains("/blobs/sha256:").then(|| answer(307, &[("location", target.as_str())], ""))
    });
    for bytes in [b"{\"bundle\":1}".as_slice(), b"{}"] {
        storage.put_blob(
            "app",
            &countersign_crypto::HashAlgorithm::Sha256.digest(bytes).to_string(),
            bytes.to_vec(),
        );
    }
    let search = Search::of([countersign_registry::evidence::Form::Bundle]);
    let found = discover(&store, &image.digest, &search).await.unwrap();
    assert_eq!(found[0].bytes, b"{\"bundle\":1}");
    let seen = storage.seen();
    assert!(!seen.is_empty());
    for name in ["authorization", "cookie"] {
        assert!(seen.iter().all(|seen| seen.header(name).is_none()), "{name}");
    }
    // What the other host sends is checked like everything else.
    storage.lie(|_| Some(answer(200, &[], "{\"bundle\":2}")));
    let error = discover(&store, &image.digest, &search).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn g04_a_manifest_is_not_followed_elsewhere_and_an_upload_takes_no_credential_along() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    let registry = client_with(Credentials::anonymous().with(&fake.host, user()));
    let store = registry.repository(&fake.repository("app"));
    let place = other.host.clone();
    fake.lie(move |seen| {
        if seen.header("authorization") != Some(&basic()) {
            return Some(challenge("Basic realm=\"x\""));
        }
        let target = format!("http://{place}{}", seen.path);
        Some(match seen.method {
            Method::POST => answer(202, &[("location", target.as_str())], ""),
            _ => answer(307, &[("location", target.as_str())], ""),
        })
    });
    let error = store.fetch(&tagged("v1")).await.unwrap_err();
    assert!(error.to_string().contains("not followed"), "{error}");
    assert!(other.seen().is_empty(), "the other host was asked for a manifest");
    crate::images::blob(&store, "x", b"content").await;
    let seen = other.seen();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
}

#[tokio::test]
async fn a_login_of_an_unknown_kind_is_no_missing_image() {
    let fake = Fake::start().await;
    for header in ["Negotiate", "Digest realm=\"x\"", "", "Bearer service=\"x\"", "Bearer realm=\"::\""] {
        fake.lie(move |_| Some(challenge(header)));
        let error = client().repository(&fake.repository("app")).fetch(&tagged("v1")).await.unwrap_err();
        let told = matches!(error, RegistryError::Unauthorized { .. } | RegistryError::Malformed { .. });
        assert!(told, "{header}: {error}");
    }
}

/// The helper that the test below finds: it knows this machine, and nothing else.
const HELPER: &str = r#"#!/bin/sh
read -r server
case "$server" in
127.0.0.1:*) printf '{"ServerURL":"%s","Username":"alice","Secret":"hunter2"}' "$server" ;;
*) printf 'credentials not found in native keychain'; exit 1 ;;
esac
"#;

/// Runs itself once more with a helper in its PATH: a process changes its own environment only while it starts.
#[tokio::test]
async fn a_credential_helper_is_asked_for_the_host_and_its_answer_is_used() {
    let fake = Fake::start().await;
    if std::env::var_os("WITH_HELPER").is_none() {
        let directory = tempfile::tempdir().unwrap();
        let helper = directory.path().join("docker-credential-countersign-test");
        std::fs::write(&helper, HELPER).unwrap();
        std::fs::write(directory.path().join("config.json"), br#"{"credsStore":"countersign-test"}"#)
            .unwrap();
        std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "login::a_credential_helper_is_asked_for_the_host_and_its_answer_is_used"])
            .env("PATH", path)
            .env("WITH_HELPER", "1")
            .env("DOCKER_CONFIG", directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    // In the second process, with the configuration from where the environment says.
    let credentials = Credentials::from_environment().unwrap();
    image(&fake.app(), "v1", "content").await;
    fake.lie(|seen| (seen.header("authorization") != Some(&basic())).then(|| challenge("Basic realm=\"x\"")));
    assert!(client_with(credentials).repository(&fake.repository("app")).fetch(&tagged("v1")).await.is_ok());
    fake.seen();
    // A helper which is not there is an error, and not the same as no credential.
    let broken = format!(r#"{{"credHelpers":{{"{}":"countersign-none"}}}}"#, fake.host);
    let config = DockerConfig::parse(broken.as_bytes()).unwrap();
    let store = client_with(Credentials::anonymous().with_config(config)).repository(&fake.repository("app"));
    let error = store.fetch(&tagged("v1")).await.unwrap_err();
    assert!(error.to_string().contains("cannot be run"), "{error}");
    assert!(fake.seen().iter().all(|seen| seen.header("authorization").is_none()));
}
