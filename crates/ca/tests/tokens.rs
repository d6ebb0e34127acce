//! What tokens are believed: the matrix of good and bad ones, issuers that misbehave, issuers that are down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test file"
)]

mod support;

use std::sync::Arc;

use countersign_ca::config::{IssuerConfig, IssuerType};
use countersign_ca::oidc::{MAX_TOKEN_BYTES, TokenError};
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Scheme, Signer as _};
use serde_json::{Value, json};
use support::{Answer, ISSUER, OTHER_RSA, RSA, START, World, claims, jwk, publish, token, token_of, with};

const DISCOVERY: &str = "https://id.example.com/.well-known/openid-configuration";
const KEYS: &str = "https://id.example.com/keys";

#[tokio::test]
async fn a_good_token_is_believed_and_keys_are_fetched_once() {
    let world = World::new(|_| ());
    for _ in 0..3 {
        let verified = world.verify(&token(&world.claims())).await.unwrap();
        assert_eq!(verified.subject(), "u1");
        assert_eq!(verified.issuer().url(), ISSUER);
        assert_eq!(verified.claims()["email"], "alice@example.com");
    }
    assert_eq!(world.network.urls(), [DISCOVERY, KEYS]);
}

#[tokio::test]
async fn every_listed_algorithm_verifies() {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    let cases = [
        ("ES256", KeyType::EcdsaP256, Scheme::Ecdsa(Sha256)),
        ("ES384", KeyType::EcdsaP384, Scheme::Ecdsa(Sha384)),
        ("ES512", KeyType::EcdsaP521, Scheme::Ecdsa(Sha512)),
        ("EdDSA", KeyType::Ed25519, Scheme::Ed25519),
        ("RS384", KeyType::Rsa { bits: 3072 }, Scheme::RsaPkcs1(Sha384)),
        ("RS512", KeyType::Rsa { bits: 3072 }, Scheme::RsaPkcs1(Sha512)),
        ("PS256", KeyType::Rsa { bits: 3072 }, Scheme::RsaPss(Sha256)),
        ("PS384", KeyType::Rsa { bits: 3072 }, Scheme::RsaPss(Sha384)),
        ("PS512", KeyType::Rsa { bits: 3072 }, Scheme::RsaPss(Sha512)),
    ];
    for (name, key_type, scheme) in cases {
        let pkcs8 = match key_type {
            KeyType::Rsa { .. } => RSA.to_pkcs8().unwrap(),
            _ => KeyPair::generate(key_type).unwrap().to_pkcs8().unwrap(),
        };
        let key = KeyPair::from_pkcs8(&pkcs8).unwrap().with_scheme(scheme).unwrap();
        let world = World::new(|_| ());
        publish(&world.network, ISSUER, &[jwk(&key, "k1")]);
        let token = token_of(&json!({"alg": name, "kid": "k1"}), &world.claims(), &key);
        // The discovery document names RS256 alone, so nothing else is taken, as Fulcio does.
        assert!(matches!(world.verify(&token).await, Err(TokenError::Algorithm(_))), "{name}");
        let world = World::new(|_| ());
        publish(&world.network, ISSUER, &[jwk(&key, "k1")]);
        world.network.set_json(
            DISCOVERY,
            &json!({"issuer": ISSUER, "jwks_uri": KEYS, "id_token_signing_alg_values_supported": [name, "none", "HS256"]}),
        );
        world.verify(&token).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut broken = token.into_bytes();
        let last = broken.len() - 10;
        broken[last] = if broken[last] == b'A' { b'B' } else { b'A' };
        assert!(world.verify(&String::from_utf8(broken).unwrap()).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn s05_ten_million_dots_and_a_long_token_are_refused() {
    let world = World::new(|_| ());
    for bad in [".".repeat(10_000_000), "a.".repeat(MAX_TOKEN_BYTES), "a".repeat(MAX_TOKEN_BYTES + 1)] {
        assert!(matches!(world.verify(&bad).await, Err(TokenError::Malformed(_))));
    }
    let long = with(world.claims(), "padding", "x".repeat(MAX_TOKEN_BYTES).into());
    assert!(matches!(world.verify(&token(&long)).await, Err(TokenError::Malformed(_))));
    assert!(world.network.urls().is_empty());
}

#[tokio::test]
async fn s06_an_issuer_that_only_contains_the_pattern_causes_no_connection() {
    let world = World::with(&[IssuerConfig::new("https://oidc.*.example.com/id/*", IssuerType::Kubernetes)]);
    for evil in [
        "https://evil/?https://oidc.eu.example.com/id/1",
        "https://evil.org/https://oidc.eu.example.com/id/1",
        "https://oidc.evil.org/.example.com/id/1",
        "https://oidc.eu@evil.org/x.example.com/id/1",
        "https://oidc.eu.example.com/id/1/../../x",
        "https://oidc.eu.example.com/id/1#x",
        "https://oidc.eu.example.com/id/",
        "http://oidc.eu.example.com/id/1",
    ] {
        let result = world.verify(&token(&claims(evil, START))).await;
        assert!(matches!(result, Err(TokenError::UnknownIssuer(_))), "{evil}");
    }
    assert!(world.network.urls().is_empty());
    let good = "https://oidc.eu.example.com/id/1";
    publish(&world.network, good, &[jwk(&RSA, "k1")]);
    world.verify(&token(&claims(good, START))).await.unwrap();
    assert!(world.network.requests().iter().all(|r| r.public_addresses_only));
}

#[tokio::test]
async fn s07_a_redirect_to_another_host_is_not_followed() {
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "https://evil.example.org/.well-known/openid-configuration",
        "https://id.example.com:8443/x",
        "http://id.example.com/x",
        "//evil.example.org/x",
        "file:///etc/passwd",
        "https://user@id.example.com/x",
    ] {
        let world = World::new(|_| ());
        world.network.set(DISCOVERY, Answer::Redirect(target.into()));
        let result = world.verify(&token(&world.claims())).await;
        assert!(matches!(result, Err(TokenError::IssuerUnavailable { .. })), "{target}");
        assert_eq!(world.network.urls(), [DISCOVERY], "{target}");
    }
    // On the same host it is followed, and not for ever.
    let world = World::new(|_| ());
    world.network.set(DISCOVERY, Answer::Redirect("/moved".into()));
    world.network.set_json("https://id.example.com/moved", &json!({"issuer": ISSUER, "jwks_uri": KEYS}));
    world.verify(&token(&world.claims())).await.unwrap();
    let world = World::new(|_| ());
    world.network.set(KEYS, Answer::Redirect(KEYS.into()));
    assert!(world.verify(&token(&world.claims())).await.is_err());
    assert_eq!(world.network.urls().len(), 1 + 4);
}

#[tokio::test]
async fn s07_keys_on_another_host_are_refused_and_nothing_of_them_is_kept() {
    let world = World::new(|_| ());
    let evil = "https://evil.example.org/keys";
    world.network.set_json(evil, &json!({"keys": [jwk(&OTHER_RSA, "k1")]}));
    world.network.set_json(DISCOVERY, &json!({"issuer": ISSUER, "jwks_uri": evil}));
    let forged = token_of(&json!({"alg": "RS256", "kid": "k1"}), &world.claims(), &OTHER_RSA);
    assert!(world.verify(&forged).await.is_err());
    assert_eq!(world.network.urls(), [DISCOVERY]);
    // The cache holds nothing of it: once the document is right again, so is the result.
    publish(&world.network, ISSUER, &[jwk(&RSA, "k1")]);
    world.clock.advance_seconds(20);
    assert!(matches!(world.verify(&forged).await, Err(TokenError::Signature(_))));
    world.verify(&token(&world.claims())).await.unwrap();
}

#[tokio::test]
async fn s07_a_discovery_document_of_another_issuer_is_refused() {
    for issuer in ["https://id.example.com/", "https://ID.example.com", "https://other.example.com", ""] {
        let world = World::new(|_| ());
        world.network.set_json(DISCOVERY, &json!({"issuer": issuer, "jwks_uri": KEYS}));
        assert!(world.verify(&token(&world.claims())).await.is_err(), "{issuer}");
    }
    for document in ["", "[]", "{}", r#"{"issuer":"https://id.example.com"}"#, "<html>"] {
        let world = World::new(|_| ());
        world.network.set(DISCOVERY, Answer::Body(document.into()));
        assert!(world.verify(&token(&world.claims())).await.is_err(), "{document}");
    }
    let twice = format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#);
    let world = World::new(|_| ());
    world.network.set(DISCOVERY, Answer::Body(twice.into_bytes()));
    assert!(world.verify(&token(&world.claims())).await.is_err());
}

#[tokio::test]
async fn s07_the_bearer_token_goes_to_the_configured_hosts_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "the-token\n").unwrap();
    let world = World::new(|c| {
        c.issuer_type = IssuerType::Kubernetes;
        c.bearer_token_file = Some(file.clone());
    });
    world.verify(&token(&world.claims())).await.unwrap();
    assert!(world.network.requests().iter().all(|r| r.bearer_token.as_deref() == Some("the-token")));
    // K3s: the document names an address; the operator says where the keys are, and the document is not asked.
    let elsewhere = "https://10.43.0.1:6443/openid/v1/jwks";
    let world = World::new(|c| {
        c.issuer_type = IssuerType::Kubernetes;
        c.bearer_token_file = Some(file.clone());
        c.jwks_url = Some(elsewhere.into());
    });
    world.network.set_json(elsewhere, &json!({"keys": [jwk(&RSA, "k1")]}));
    world.verify(&token(&world.claims())).await.unwrap();
    assert_eq!(world.network.urls(), [elsewhere]);
    assert_eq!(world.network.requests()[0].bearer_token.as_deref(), Some("the-token"));
    // Without that, an address in the document gets neither a request nor the token.
    let world = World::new(|c| {
        c.issuer_type = IssuerType::Kubernetes;
        c.bearer_token_file = Some(file.clone());
    });
    world.network.set_json(elsewhere, &json!({"keys": [jwk(&RSA, "k1")]}));
    world.network.set_json(DISCOVERY, &json!({"issuer": ISSUER, "jwks_uri": elsewhere}));
    assert!(world.verify(&token(&world.claims())).await.is_err());
    assert_eq!(world.network.urls(), [DISCOVERY]);
}

#[tokio::test]
async fn googles_keys_are_on_googles_other_host() {
    let google = "https://accounts.google.com";
    let world = World::with(&[IssuerConfig::new(google, IssuerType::Email)]);
    let keys = "https://www.googleapis.com/oauth2/v3/certs";
    let document = "https://accounts.google.com/.well-known/openid-configuration";
    world.network.set_json(document, &json!({"issuer": google, "jwks_uri": keys}));
    world.network.set_json(keys, &json!({"keys": [jwk(&RSA, "k1")]}));
    world.verify(&token(&claims(google, START))).await.unwrap();
}

#[tokio::test]
async fn a_keys_file_and_certificates_of_ones_own_are_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, json!({"keys": [jwk(&RSA, "k1")]}).to_string()).unwrap();
    let world = World::new(|c| c.jwks_file = Some(file.clone()));
    world.verify(&token(&world.claims())).await.unwrap();
    assert!(world.network.urls().is_empty());
    // It is read again, so keys can be rotated.
    std::fs::write(&file, json!({"keys": [jwk(&OTHER_RSA, "k2")]}).to_string()).unwrap();
    world.clock.advance_seconds(11);
    let rotated = token_of(&json!({"alg": "RS256", "kid": "k2"}), &world.claims(), &OTHER_RSA);
    world.verify(&rotated).await.unwrap();
    // The certificates reach the transport.
    let pem = countersign_crypto::encoding::pem_encode("CERTIFICATE", b"\x30\x00");
    let world = World::new(|c| c.ca_cert = Some(pem.clone()));
    world.verify(&token(&world.claims())).await.unwrap();
    assert!(world.network.requests().iter().all(|r| r.ca_certificates_pem.as_ref() == Some(&pem)));
}

#[tokio::test]
async fn s11_no_algorithm_and_hmac_with_the_public_key_are_refused() {
    let world = World::new(|_| ());
    let input = |header: &Value| {
        let part = |v: &Value| base64url_encode(v.to_string().as_bytes());
        format!("{}.{}", part(header), part(&world.claims()))
    };
    for (algorithm, signature) in [
        ("none", ""),
        ("None", ""),
        ("HS256", "AAAA"),
        ("HS512", "AAAA"),
        ("ES256", "AAAA"),
        ("EdDSA", "AAAA"),
        ("RS256", ""),
        ("RS256", "AAAA"),
    ] {
        let token = format!("{}.{signature}", input(&json!({"alg": algorithm, "kid": "k1"})));
        assert!(world.verify(&token).await.is_err(), "{algorithm}");
    }
}

#[tokio::test]
async fn s11_s12_a_key_which_the_token_brings_along_is_not_used() {
    let world = World::new(|_| ());
    let own = jwk(&OTHER_RSA, "mine");
    for header in [
        json!({"alg": "RS256", "kid": "k1", "jwk": own}),
        json!({"alg": "RS256", "jwk": own}),
        json!({"alg": "RS256", "kid": "mine", "jku": "https://evil.example.org/keys"}),
        json!({"alg": "RS256", "kid": "mine", "x5u": "https://evil.example.org/c"}),
        json!({"alg": "RS256", "kid": "k1", "x5c": ["AAAA"]}),
    ] {
        let forged = token_of(&header, &world.claims(), &OTHER_RSA);
        assert!(world.verify(&forged).await.is_err(), "{header}");
    }
    assert!(world.network.urls().iter().all(|u| u.starts_with(ISSUER)), "nothing else is fetched");
    // Beside a true signature they are only not looked at.
    let header = json!({"alg": "RS256", "kid": "k1", "x5t": "abc", "jwk": own, "typ": "JWT"});
    world.verify(&token_of(&header, &world.claims(), &RSA)).await.unwrap();
}

#[tokio::test]
async fn s11_an_encrypted_token_is_refused() {
    let world = World::new(|_| ());
    let header = base64url_encode(
        br#"{"alg":"PBES2-HS256+A128KW","enc":"A128CBC-HS256","p2c":2147483647,"zip":"DEF"}"#,
    );
    assert!(world.verify(&format!("{header}.AAAA.AAAA.AAAA.AAAA")).await.is_err());
    assert!(world.verify(&format!("{header}.AAAA.AAAA")).await.is_err());
}

#[tokio::test]
async fn a_key_id_may_be_missing_unknown_or_given_twice() {
    let world = World::new(|_| ());
    world.verify(&token_of(&json!({"alg": "RS256"}), &world.claims(), &RSA)).await.unwrap();
    let unknown = token_of(&json!({"alg": "RS256", "kid": "k9"}), &world.claims(), &RSA);
    assert!(matches!(world.verify(&unknown).await, Err(TokenError::UnknownKey { .. })));
    let world = World::new(|_| ());
    publish(&world.network, ISSUER, &[jwk(&OTHER_RSA, "k1"), jwk(&RSA, "k1")]);
    world.verify(&token(&world.claims())).await.unwrap();
    let world = World::new(|_| ());
    publish(&world.network, ISSUER, &[jwk(&OTHER_RSA, "k1")]);
    assert!(matches!(world.verify(&token(&world.claims())).await, Err(TokenError::Signature(_))));
}

#[tokio::test]
async fn rotated_keys_are_fetched_for_an_unknown_key_id_but_not_often() {
    let world = World::new(|_| ());
    world.verify(&token(&world.claims())).await.unwrap();
    publish(&world.network, ISSUER, &[jwk(&OTHER_RSA, "k2"), jwk(&RSA, "k1")]);
    let rotated = token_of(&json!({"alg": "RS256", "kid": "k2"}), &world.claims(), &OTHER_RSA);
    world.clock.advance_seconds(11);
    world.verify(&rotated).await.unwrap();
    let fetched = world.network.urls().len();
    assert_eq!(fetched, 4);
    for i in 0..50 {
        let made_up = token_of(&json!({"alg": "RS256", "kid": format!("x{i}")}), &world.claims(), &RSA);
        assert!(world.verify(&made_up).await.is_err());
    }
    assert_eq!(world.network.urls().len(), fetched, "made-up key ids cause no fetches");
    world.clock.advance_seconds(10);
    for i in 0..50 {
        let made_up = token_of(&json!({"alg": "RS256", "kid": format!("y{i}")}), &world.claims(), &RSA);
        assert!(world.verify(&made_up).await.is_err());
    }
    assert_eq!(world.network.urls().len(), fetched + 2, "one in ten seconds");
}

#[tokio::test]
async fn r30_an_issuer_that_is_down_leaves_its_keys_for_an_hour() {
    let world = World::new(|_| ());
    world.verify(&token(&world.claims())).await.unwrap();
    world.network.set(DISCOVERY, Answer::Broken);
    for minutes in [4, 10, 30, 59] {
        world.clock.set(countersign_clock::Timestamp::from_second(START + minutes * 60).unwrap());
        world.verify(&token(&world.claims())).await.unwrap_or_else(|e| panic!("{minutes} min: {e}"));
    }
    world.clock.set(countersign_clock::Timestamp::from_second(START + 3600).unwrap());
    let result = world.verify(&token(&world.claims())).await;
    assert!(matches!(result, Err(TokenError::IssuerUnavailable { .. })), "{result:?}");
    let asked = world.network.urls().len();
    assert!(world.verify(&token(&world.claims())).await.is_err());
    assert_eq!(world.network.urls().len(), asked, "it is not asked again at once");
    // And it comes back by itself.
    publish(&world.network, ISSUER, &[jwk(&RSA, "k1")]);
    world.clock.advance_seconds(10);
    world.verify(&token(&world.claims())).await.unwrap();
}

#[tokio::test]
async fn keys_from_before_the_clock_was_set_back_are_not_fresh_for_ever() {
    let world = World::new(|_| ());
    world.verify(&token(&world.claims())).await.unwrap();
    world.clock.advance_seconds(-3600);
    world.network.set(DISCOVERY, Answer::Broken);
    assert!(matches!(world.verify(&token(&world.claims())).await, Err(TokenError::IssuerUnavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn r30_an_issuer_that_never_answers_is_given_up() {
    for url in [DISCOVERY, KEYS] {
        let world = World::new(|_| ());
        world.network.set(url, Answer::Hangs);
        let result = world.verify(&token(&world.claims())).await;
        assert!(
            matches!(&result, Err(TokenError::IssuerUnavailable { reason, .. }) if reason.contains("10 s"))
        );
        assert!(world.network.requests().iter().all(|r| r.timeout.as_secs() <= 5));
    }
}

/// R30: a stranger's token that names the issuer, and a connection that is gone before the keys are there.
#[tokio::test]
async fn r30_a_client_that_hangs_up_does_not_keep_the_keys_from_others() {
    let world = Arc::new(World::new(|_| ()));
    let gate = Arc::new(tokio::sync::Notify::new());
    let body = json!({"keys": [jwk(&RSA, "k1")]}).to_string().into_bytes();
    world.network.set(KEYS, Answer::When(gate.clone(), body));
    let gone = tokio::spawn({
        let world = world.clone();
        async move { world.verify(&token(&claims(ISSUER, START - 3600))).await.is_ok() }
    });
    while world.network.urls().len() < 2 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.notify_one();
    world.verify(&token(&world.claims())).await.unwrap();
    assert_eq!(world.network.urls(), [DISCOVERY, KEYS], "the one fetch went on");
}

#[tokio::test]
async fn many_who_wait_cause_one_fetch() {
    let world = Arc::new(World::new(|_| ()));
    let good = token(&world.claims());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (world, good) = (world.clone(), good.clone());
            tokio::spawn(async move { world.verify(&good).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(world.network.urls().len(), 2);
}

#[tokio::test]
async fn key_sets_have_limits() {
    for body in [
        // 10 MiB; the network refuses what is over the limit it is given.
        vec![b' '; 10 * 1024 * 1024],
        json!({"keys": vec![jwk(&RSA, "k1"); 1000]}).to_string().into_bytes(),
        json!({"keys": []}).to_string().into_bytes(),
        b"junk".to_vec(),
    ] {
        let world = World::new(|_| ());
        world.network.set(KEYS, Answer::Body(body));
        assert!(matches!(
            world.verify(&token(&world.claims())).await,
            Err(TokenError::IssuerUnavailable { .. })
        ));
        assert!(world.network.requests().iter().all(|r| r.max_body_bytes == 1024 * 1024));
    }
    for status in [204, 404, 500] {
        let world = World::new(|_| ());
        world.network.set(KEYS, Answer::Status(status));
        assert!(world.verify(&token(&world.claims())).await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn issuers_matched_by_a_wildcard_do_not_fill_the_memory() {
    let world = World::with(&[
        IssuerConfig::new("https://oidc.example.com/id/*", IssuerType::Kubernetes),
        IssuerConfig::new(ISSUER, IssuerType::Email),
    ]);
    world.verify(&token(&world.claims())).await.unwrap();
    for i in 0..300 {
        let issuer = format!("https://oidc.example.com/id/{i}");
        assert!(world.verify(&token(&claims(&issuer, START))).await.is_err());
    }
    assert!(world.verifier.cached_issuers() <= 101);
    let asked = world.network.urls().len();
    world.verify(&token(&world.claims())).await.unwrap();
    assert_eq!(world.network.urls().len(), asked, "an issuer of the configuration is never forgotten");
}

#[tokio::test]
async fn times_are_checked_with_the_stated_leeway() {
    let world = World::new(|_| ());
    let at = |name: &str, offset: i64| with(world.claims(), name, (START + offset).into());
    for (good, name, offset) in [
        (true, "exp", 1),
        (false, "exp", 0),
        (false, "exp", -1),
        (true, "nbf", 60),
        (false, "nbf", 61),
        (true, "iat", 60),
        (false, "iat", 61),
    ] {
        assert_eq!(world.verify(&token(&at(name, offset))).await.is_ok(), good, "{name} {offset}");
    }
    for (name, value) in [
        ("exp", json!("1900000000")),
        ("exp", json!(-1)),
        ("exp", json!([])),
        ("exp", json!(true)),
        ("exp", Value::Null),
        ("nbf", json!("x")),
        ("iat", json!({})),
    ] {
        let result = world.verify(&token(&with(world.claims(), name, value.clone()))).await;
        assert!(matches!(result, Err(TokenError::Claim { .. })), "{name} {value}");
    }
    // RFC 7519 allows fractions, and does not ask for nbf and iat.
    world.verify(&token(&with(world.claims(), "exp", json!(START as f64 + 0.5)))).await.unwrap();
    world.verify(&token(&with(with(world.claims(), "nbf", Value::Null), "iat", Value::Null))).await.unwrap();
}

#[tokio::test]
async fn the_audience_is_a_text_or_a_list_with_it() {
    let world = World::new(|_| ());
    for (good, audience) in [
        (true, json!("sigstore")),
        (true, json!(["sigstore"])),
        (true, json!(["other", "sigstore"])),
        (false, json!("other")),
        (false, json!("sigstore ")),
        (false, json!("Sigstore")),
        (false, json!(["other"])),
        (false, json!([])),
        (false, json!([["sigstore"]])),
        (false, json!({"sigstore": true})),
        (false, json!(1)),
        (false, Value::Null),
    ] {
        let result = world.verify(&token(&with(world.claims(), "aud", audience.clone()))).await;
        assert_eq!(result.is_ok(), good, "{audience}");
    }
    let world = World::new(|c| c.client_id = "my-client".into());
    assert!(world.verify(&token(&world.claims())).await.is_err());
    world.verify(&token(&with(world.claims(), "aud", "my-client".into()))).await.unwrap();
}

#[tokio::test]
async fn the_issuer_has_one_spelling() {
    let world = World::new(|_| ());
    for issuer in [
        json!("https://id.example.com/"),
        json!("https://ID.example.com"),
        json!("https://id.example.com:443"),
        json!("http://id.example.com"),
        json!("https://id.example.com/."),
        json!(["https://id.example.com"]),
        json!(7),
        Value::Null,
    ] {
        assert!(
            world.verify(&token(&with(world.claims(), "iss", issuer.clone()))).await.is_err(),
            "{issuer}"
        );
    }
    assert!(world.network.urls().is_empty(), "nothing is fetched for them");
}

#[tokio::test]
async fn claims_of_the_wrong_type_and_members_given_twice_are_refused() {
    let world = World::new(|_| ());
    for subject in [json!(""), json!(7), json!(["u1"]), Value::Null] {
        assert!(
            world.verify(&token(&with(world.claims(), "sub", subject.clone()))).await.is_err(),
            "{subject}"
        );
    }
    let text = world.claims().to_string();
    for twice in [
        text.replacen('{', "{\"sub\":\"u2\",", 1),
        text.replacen('{', "{\"x\":{\"a\":1,\"a\":2},", 1),
        text.replacen('{', "{\"iss\":\"https://evil.example.org\",", 1),
    ] {
        let header = json!({"alg": "RS256", "kid": "k1"});
        let token = countersign_ca::dev_idp::sign_compact(&header, &twice, &RSA).unwrap();
        assert!(matches!(world.verify(&token).await, Err(TokenError::Malformed(_))), "{twice}");
    }
}

#[tokio::test]
async fn errors_do_not_repeat_what_strangers_send_at_length() {
    let world = World::new(|_| ());
    let issuer = format!("https://x.example/\n{}", "a".repeat(5000));
    let error = world.verify(&token(&claims(&issuer, START))).await.unwrap_err().to_string();
    assert!(error.len() < 300 && !error.contains('\n'), "{error}");
    assert_eq!(RSA.public_key().key_type(), KeyType::Rsa { bits: 3072 });
}
