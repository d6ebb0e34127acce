//! Certificates: what is issued, and what is not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test file")]

#[path = "support/lab.rs"]
mod lab;
mod support;

use std::sync::Arc;

use countersign_ca::authority::AuthorityError;
use countersign_ca::config::{IssuerConfig, IssuerType, Issuers};
use countersign_ca::oidc::{BoxFuture, TokenVerifier};
use countersign_ca::{Ca, CaError, IssueRequest, KeyRequest, SctSource};
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer};
use countersign_tlog::static_ct::parse_leaf_index;
use countersign_x509::chain::{Purpose, verify};
use countersign_x509::issue::Precertificate;
use countersign_x509::sct::Sct;
use countersign_x509::{Certificate, San};
use lab::{Choices, Lab, YEAR, intermediate, key, root};
use serde_json::json;
use support::{Answer, ISSUER, START, claims, token, with};

fn request(token: &str, key: &KeyPair, name: &str) -> IssueRequest {
    IssueRequest {
        token: token.to_owned(),
        key: KeyRequest::PublicKey {
            content: key.public_key().to_pem(),
            proof_of_possession: key.sign(name.as_bytes()).unwrap(),
        },
    }
}

fn good(key: &KeyPair) -> IssueRequest {
    request(&token(&claims(ISSUER, START)), key, "alice@example.com")
}

async fn issue(lab: &Lab, request: IssueRequest) -> Result<Certificate, CaError> {
    let chain = lab.ca.issue(request).await?;
    assert_eq!(chain.len(), 1 + lab.chain.len());
    assert!(chain[1..].iter().zip(&lab.chain).all(|(der, c)| der == c.der()));
    Ok(Certificate::from_der(&chain[0]).unwrap())
}

#[tokio::test]
async fn a_certificate_has_fulcios_profile_and_an_sct() {
    let lab = Lab::new(&Choices::default());
    let signer = key();
    let certificate = issue(&lab, good(&signer)).await.unwrap();
    assert_eq!(certificate.sans(), [San::Email("alice@example.com".into())]);
    assert_eq!(certificate.public_key(), signer.public_key());
    assert!(certificate.subject().is_empty());
    assert_eq!(certificate.not_before().as_second(), START);
    assert_eq!(certificate.not_after().as_second(), START + 600);
    assert_eq!(certificate.fulcio().issuer(), Some(ISSUER));
    assert_eq!(certificate.fulcio().get(1), Some(ISSUER));
    assert_eq!(certificate.fulcio().get(24), Some("u1"));
    assert!(certificate.key_usage().unwrap().digital_signature());
    let path = verify(
        &certificate,
        &lab.chain[..1],
        &lab.chain[1..],
        Purpose::CodeSigning,
        certificate.not_before(),
    );
    let path = path.unwrap();
    let scts = certificate.scts().unwrap();
    assert_eq!(scts.len(), 1, "sigstore-python wants exactly one");
    scts[0].verify(&certificate, path.issuer().public_key(), lab.ct.log_key()).unwrap();
    assert_eq!(parse_leaf_index(&scts[0].extensions), Some(1), "the root has index 0");
    let next = issue(&lab, good(&signer)).await.unwrap();
    assert_eq!(parse_leaf_index(&next.scts().unwrap()[0].extensions), Some(2));
    assert_ne!(next.serial(), certificate.serial());
    assert!(certificate.serial().len() >= 16, "160 random bits");
}

#[tokio::test]
async fn the_leaf_index_can_be_left_out_of_scts() {
    let lab = Lab::new(&Choices { leaf_index: false, ..Choices::default() });
    let certificate = issue(&lab, good(&key())).await.unwrap();
    assert!(certificate.scts().unwrap()[0].extensions.is_empty());
}

#[tokio::test]
async fn every_client_key_type_is_certified() {
    let lab = Lab::new(&Choices::default());
    for key_type in [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ] {
        let signer = KeyPair::generate(key_type).unwrap();
        let certificate = issue(&lab, good(&signer)).await.unwrap_or_else(|e| panic!("{key_type}: {e}"));
        assert_eq!(certificate.public_key(), signer.public_key());
    }
}

#[tokio::test]
async fn a_certificate_does_not_outlast_its_authority() {
    let lab = Lab::new(&Choices { until: START + 300, ..Choices::default() });
    let certificate = issue(&lab, good(&key())).await.unwrap();
    assert_eq!(certificate.not_after().as_second(), START + 300);
    lab.clock.advance_seconds(301);
    let late = request(&token(&claims(ISSUER, START + 301)), &key(), "alice@example.com");
    assert!(matches!(issue(&lab, late).await, Err(CaError::Backend(_))));
}

#[tokio::test]
async fn the_key_must_be_proved() {
    let lab = Lab::new(&Choices::default());
    let good_token = token(&claims(ISSUER, START));
    let signer = key();
    for (name, what) in [("u1", "subject"), ("", "nothing"), ("alice@example.com ", "more")] {
        let result = issue(&lab, request(&good_token, &signer, name)).await;
        assert_eq!(result.unwrap_err(), CaError::Proof, "{what}");
    }
    let mut other = good(&signer);
    if let KeyRequest::PublicKey { content, .. } = &mut other.key {
        *content = key().public_key().to_pem();
    }
    assert_eq!(issue(&lab, other).await.unwrap_err(), CaError::Proof);
    let content = signer.public_key().to_pem();
    let empty = KeyRequest::PublicKey { content, proof_of_possession: Vec::new() };
    assert_eq!(
        issue(&lab, IssueRequest { token: good_token.clone(), key: empty }).await.unwrap_err(),
        CaError::Proof
    );
    let junk = KeyRequest::PublicKey { content: "junk".into(), proof_of_possession: Vec::new() };
    let result = issue(&lab, IssueRequest { token: good_token.clone(), key: junk }).await;
    assert!(matches!(result, Err(CaError::PublicKey(_))));
    let result = issue(&lab, IssueRequest { token: good_token.clone(), key: KeyRequest::Missing }).await;
    assert_eq!(result.unwrap_err().to_string(), "The public key supplied in the request could not be parsed");
    let result =
        issue(&lab, IssueRequest { token: good_token, key: KeyRequest::Csr(b"junk".to_vec()) }).await;
    assert_eq!(result.unwrap_err().to_string(), "The certificate signing request could not be parsed");
}

/// Made with `openssl req -new`, P-256: with an empty subject as sigstore-python sends it, and with the subject
/// `CN=älice@example.com`.
const REQUESTS: [&str; 2] = [
    "-----BEGIN CERTIFICATE REQUEST-----
MIG6MGICAQAwADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC2VRf+YJMTfj2Z5
iEDZRl0i7HKokUzx8B4kgzgo62J+YYS/t44SYVI9//fFZyJxnQQNpYaFtxtaFfiB
pBvncjugADAKBggqhkjOPQQDAgNIADBFAiA/wjydhPZKJKIwlCYzZYQ87Ca+FqBw
+9ZpMl1m6Z3TzgIhAM4O35cjvvz4fH6r07zcsWM2FUeeoBlf4640bFLhh1VV
-----END CERTIFICATE REQUEST-----
",
    "-----BEGIN CERTIFICATE REQUEST-----
MIHYMH8CAQAwHTEbMBkGA1UEAwwSw6RsaWNlQGV4YW1wbGUuY29tMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAELZVF/5gkxN+PZnmIQNlGXSLscqiRTPHwHiSDOCjr
Yn5hhL+3jhJhUj3/98VnInGdBA2lhoW3G1oV+IGkG+dyO6AAMAoGCCqGSM49BAMC
A0kAMEYCIQCk5FnGBwID16mxRS90gx0i25Tdo3Q0O2ILMxkgGjUiMgIhAL1N0yOz
6KLmewhbLuTE4MjmvZoLRHWL6mwRoMSx4tEY
-----END CERTIFICATE REQUEST-----
",
];

#[tokio::test]
async fn a_signing_request_gives_its_key_and_nothing_else() {
    let lab = Lab::new(&Choices::default());
    for pem in REQUESTS {
        let body = json!({"certificateSigningRequest": base64_encode(pem.as_bytes())}).to_string();
        let token = token(&claims(ISSUER, START));
        let request = IssueRequest::from_v2_json(body.as_bytes(), Some(token.clone())).unwrap();
        let certificate = issue(&lab, request).await.unwrap();
        assert_eq!(certificate.sans(), [San::Email("alice@example.com".into())]);
        assert!(certificate.subject().is_empty());
        // A request which its own key has not signed is none.
        let mut der = countersign_crypto::encoding::pem_decode(pem).unwrap().remove(0).der;
        let last = der.len() - 1;
        der[last] ^= 1;
        let request = IssueRequest { token, key: KeyRequest::Csr(der) };
        assert!(matches!(issue(&lab, request).await, Err(CaError::Csr(_))));
    }
    let certificate = base64_encode(lab.ca.chain_pems()[0].as_bytes());
    let body = json!({"certificateSigningRequest": certificate}).to_string();
    let request = IssueRequest::from_v2_json(body.as_bytes(), Some(token(&claims(ISSUER, START)))).unwrap();
    assert!(matches!(issue(&lab, request).await, Err(CaError::Csr(_))));
}

/// Made with `openssl genrsa -3 2048`: sound in form, with the public exponent 3.
const WEAK_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAs6r+OYHGP6L5vcwdAC1Z
tvGuT57LIZiEqD0rpERM/F6N58fBxzvwh20l2YdiyN98VdL9gsZCNiLBwvaPEfF8
iiT4N36LOJFj9B00MPagbA+PC4XpBqkyx680GcR+cO+5JZkTCiu7W1W+s2kL8PKp
vEbRaHPiZ3b1kZwQEoMWCz4sLKIpumIEzK2glfDlc0uOjsGcMQ6kFkuSagbM2aeK
PZofwRfhjqhl/3DwcwrE0YMCaJUoqWb7KLz9E5mYr2yP5v0HYR1n9XnfbYq6zi2e
wGnzbq49H92shRhrpll6BskHBgPTJ84ZFT4+f1kh5S0PEdhNwXpZOvCGv/BC6Zpq
nQIBAw==
-----END PUBLIC KEY-----
";
/// Its signature of `alice@example.com`.
const WEAK_PROOF: &str = concat!(
    "j5zpGg6g4zKdC+JfhigvuV3ldnzZkWYQ+K1kX9decB2wyw39MWxKjK0M8Mx2BP8z8FEtLXNzbK7c",
    "OWoxltpMhk+F/mvA8CYVSHGr3nYjGIodV4slHAT0H4sjqzZRy5TkvzEq+B74PURa5nS/Id+Mu4Sy",
    "bKPrzMI/Fe5T8qqm6i17tcBjH8EYP9ksB1+sELFqepX4ArQinQwYYWLMXGkk2NlMSXorCYBAxOj0",
    "8/r1nyOzAukscIGjLmsPwOsXx+OCRpGAVgfl0dCI+tVYQly3NE0riFAo7yWFQtBHA3UOGS/6smGO",
    "TvbM33v1DCyqEM//aVxgns1dJTExebhu6oxFWA==",
);

#[tokio::test]
async fn a_weak_key_is_refused_although_it_is_proved() {
    let lab = Lab::new(&Choices::default());
    let body = json!({
        "publicKeyRequest": {"publicKey": {"content": WEAK_KEY}, "proofOfPossession": WEAK_PROOF}
    });
    let bearer = Some(token(&claims(ISSUER, START)));
    let request = IssueRequest::from_v2_json(body.to_string().as_bytes(), bearer).unwrap();
    let error = issue(&lab, request).await.unwrap_err();
    assert!(matches!(&error, CaError::PublicKey(reason) if reason.contains("found 3")), "{error:?}");
}

#[tokio::test]
async fn s09_no_request_of_any_shape_is_served_without_a_token() {
    let lab = Lab::new(&Choices::default());
    let signer = key();
    let proof = base64_encode(&signer.sign(b"alice@example.com").unwrap());
    let public = json!({"content": signer.public_key().to_pem(), "algorithm": "ECDSA"});
    let bodies = [
        json!({}),
        json!({"publicKeyRequest": {"publicKey": public, "proofOfPossession": proof}}),
        json!({"certificateSigningRequest": "anVuaw=="}),
        json!({"credentials": {"oidcIdentityToken": ""}, "publicKeyRequest": {"publicKey": public, "proofOfPossession": proof}}),
        json!({"credentials": null, "certificateSigningRequest": "anVuaw=="}),
        json!({"publicKey": public, "signedEmailAddress": proof}),
        json!({"signingCertificate": {}, "type": "revoke", "token": "x"}),
    ];
    let bad_tokens = [None, Some(""), Some("Bearer"), Some("a.b.c"), Some("..")];
    for body in &bodies {
        for bearer in bad_tokens {
            let bytes = body.to_string().into_bytes();
            let bearer = || bearer.map(str::to_owned);
            for request in
                [IssueRequest::from_v1_json(&bytes, bearer()), IssueRequest::from_v2_json(&bytes, bearer())]
            {
                let error = lab.ca.issue(request.unwrap()).await.unwrap_err();
                assert_eq!(error.to_string(), "There was an error processing the identity token", "{body}");
            }
        }
    }
    assert!(lab.network.urls().is_empty());
    assert_eq!(lab.ct.log().head().size, 1, "nothing was logged");
}

#[tokio::test]
async fn s09_a_token_is_worth_only_what_its_own_issuers_type_says() {
    // Two issuers with one key between them: the type is that of the `iss` in the token, never of its claims.
    let ci = "https://ci.example.com";
    let issuers =
        vec![IssuerConfig::new(ISSUER, IssuerType::Email), IssuerConfig::new(ci, IssuerType::BuildkiteJob)];
    let lab = Lab::new(&Choices { issuers, ..Choices::default() });
    support::publish(&lab.network, ci, &[support::jwk(&support::RSA, "k1")]);
    let mut both = claims(ci, START);
    both["organization_slug"] = "acme".into();
    both["pipeline_slug"] = "app".into();
    let signer = key();
    let certificate = issue(&lab, request(&token(&both), &signer, "u1")).await.unwrap();
    assert_eq!(certificate.sans(), [San::Uri("https://buildkite.com/acme/app".into())]);
    let person = claims(ci, START);
    assert!(matches!(
        issue(&lab, request(&token(&person), &signer, "alice@example.com")).await,
        Err(CaError::Identity(_))
    ));
}

/// A log between the authority and the true one, which does not do what it should.
#[derive(Debug)]
enum Faulty {
    Down,
    WrongKey(Arc<dyn SctSource>, PublicKey),
    ForAnother(Arc<dyn SctSource>, std::sync::Mutex<Option<Sct>>),
    Altered(Arc<dyn SctSource>),
}

impl SctSource for Faulty {
    fn submit<'a>(
        &'a self,
        precertificate: &'a Precertificate,
        chain: &'a [Certificate],
    ) -> BoxFuture<'a, Result<Sct, String>> {
        Box::pin(async move {
            match self {
                Self::Down => Err("connection refused".into()),
                Self::WrongKey(log, _) => log.submit(precertificate, chain).await,
                Self::ForAnother(log, first) => {
                    let sct = log.submit(precertificate, chain).await?;
                    Ok(first.lock().unwrap().get_or_insert(sct).clone())
                }
                Self::Altered(log) => {
                    let mut sct = log.submit(precertificate, chain).await?;
                    sct.timestamp_ms += 1;
                    Ok(sct)
                }
            }
        })
    }

    fn log_key(&self) -> &PublicKey {
        match self {
            Self::Down => support::RSA.public_key(),
            Self::WrongKey(_, key) => key,
            Self::ForAnother(log, _) | Self::Altered(log) => log.log_key(),
        }
    }
}

#[tokio::test]
async fn r30_no_sct_no_certificate() {
    let choices = Choices::default();
    let refused = |result: Result<Certificate, CaError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, CaError::Backend(_)), "{error:?}");
        assert_eq!(error.to_string(), "error communicating with CA backend");
        assert!(!error.is_client_error());
    };
    let lab = Lab::with_source(&choices, |_| Arc::new(Faulty::Down));
    refused(issue(&lab, good(&key())).await);
    let lab = Lab::with_source(&choices, |ct| Arc::new(Faulty::WrongKey(ct, key().public_key().clone())));
    refused(issue(&lab, good(&key())).await);
    let lab = Lab::with_source(&choices, |ct| Arc::new(Faulty::Altered(ct)));
    refused(issue(&lab, good(&key())).await);
    let lab = Lab::with_source(&choices, |ct| Arc::new(Faulty::ForAnother(ct, std::sync::Mutex::default())));
    issue(&lab, good(&key())).await.unwrap();
    refused(issue(&lab, good(&key())).await);
    // A log that was shut down.
    let lab = Lab::new(&choices);
    lab.ct.log().shutdown().await;
    refused(issue(&lab, good(&key())).await);
}

#[tokio::test]
async fn r30_an_issuer_that_is_down_is_not_the_clients_fault() {
    let lab = Lab::new(&Choices::default());
    lab.network.set(&format!("{ISSUER}/keys"), Answer::Broken);
    let error = issue(&lab, good(&key())).await.unwrap_err();
    assert!(!error.is_client_error());
    assert_eq!(error.to_string(), "There was an error processing the identity token");
}

#[tokio::test]
async fn a_signer_that_blocks_signs_on_another_thread() {
    #[derive(Debug)]
    struct Watched(Arc<KeyPair>, std::sync::Mutex<Vec<std::thread::ThreadId>>);
    impl Signer for Watched {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }
        fn scheme(&self) -> countersign_crypto::Scheme {
            self.0.scheme()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
            self.1.lock().unwrap().push(std::thread::current().id());
            self.0.sign(message)
        }
        fn sign_digest(
            &self,
            digest: &countersign_crypto::Digest,
        ) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
            self.0.sign_digest(digest)
        }
    }
    let lab = Lab::new(&Choices::default());
    let own = std::thread::current().id();
    for blocks in [false, true] {
        let signer = Arc::new(Watched(lab.ca_key.clone(), std::sync::Mutex::default()));
        let issuers = Arc::new(Issuers::new(&Choices::default().issuers, None).unwrap());
        let verifier = TokenVerifier::new(issuers, lab.network.clone(), lab.clock.clone());
        let mut ca =
            Ca::new(lab.chain.clone(), signer.clone(), lab.ct.clone(), verifier, lab.clock.clone()).unwrap();
        if blocks {
            ca = ca.with_blocking_signer();
        }
        ca.issue(good(&key())).await.unwrap();
        let threads = signer.1.lock().unwrap().clone();
        assert_eq!(threads.len(), 2, "precertificate and certificate");
        assert!(threads.iter().all(|t| (*t == own) != blocks));
    }
}

#[test]
fn s10_an_authority_is_checked_when_it_is_loaded() {
    let (root_key, ca_key) = (key(), key());
    let good_root = root(&root_key, START - 10, START + YEAR);
    let good_ca = intermediate(&ca_key, &good_root, &root_key, Purpose::CodeSigning);
    let check = |chain: &[&Certificate], key: &Arc<KeyPair>| {
        let clock = Arc::new(countersign_clock::ManualClock::new(
            countersign_clock::Timestamp::from_second(START).unwrap(),
        ));
        let verifier =
            TokenVerifier::new(Arc::default(), Arc::new(support::Network::default()), clock.clone());
        let chain = chain.iter().map(|c| (*c).clone()).collect();
        Ca::new(chain, key.clone(), Arc::new(Faulty::Down), verifier, clock).map(|_| ())
    };
    check(&[&good_ca, &good_root], &ca_key).unwrap();
    check(&[&good_root], &root_key).unwrap();
    assert_eq!(check(&[], &ca_key), Err(AuthorityError::Empty));
    assert!(matches!(check(&[&good_ca, &good_root], &root_key), Err(AuthorityError::OtherKey(_))));
    assert!(matches!(check(&[&good_root, &good_ca], &root_key), Err(AuthorityError::Order { .. })));
    assert!(matches!(check(&[&good_ca], &ca_key), Err(AuthorityError::Order { .. })), "the root is missing");
    let other_root = root(&key(), START - 10, START + YEAR);
    assert!(matches!(check(&[&good_ca, &other_root], &ca_key), Err(AuthorityError::Order { .. })));
    // An authority for timestamps, and a certificate which is no authority.
    let tsa = intermediate(&ca_key, &good_root, &root_key, Purpose::TimeStamping);
    assert!(matches!(check(&[&tsa, &good_root], &ca_key), Err(AuthorityError::Usage { .. })));
    let leaf = countersign_x509::issue::tsa_leaf(
        &lab::profile("leaf", START, START + 100),
        ca_key.public_key(),
        &good_root,
        &*root_key,
    );
    let leaf = Certificate::from_der(&leaf.unwrap()).unwrap();
    assert!(matches!(check(&[&leaf, &good_root], &ca_key), Err(AuthorityError::Usage { .. })));
    let old = root(&root_key, START - 100, START - 1);
    assert!(matches!(check(&[&old], &root_key), Err(AuthorityError::NotValid { .. })));
    let future = root(&root_key, START + 1, START + 100);
    assert!(matches!(check(&[&future], &root_key), Err(AuthorityError::NotValid { .. })));
    // The same root key, but with a shorter life than the intermediate it issued.
    let short = root(&root_key, START - 10, START + 100);
    assert!(matches!(check(&[&good_ca, &short], &ca_key), Err(AuthorityError::Usage { .. })));
}

#[tokio::test]
async fn what_clients_ask_about_the_authority_is_answered() {
    let lab = Lab::new(&Choices::default());
    let pems = lab.ca.chain_pems();
    assert_eq!(pems.len(), 2);
    assert_eq!(Certificate::from_pem(&pems[1]).unwrap().der(), lab.chain[1].der());
    assert_eq!(lab.ca.configuration_json()["issuers"][0]["issuerUrl"], ISSUER);
    assert_eq!(lab.ca.chain().len(), 2);
}

#[tokio::test]
async fn a_token_in_the_body_is_the_one_that_counts() {
    let lab = Lab::new(&Choices::default());
    let signer = key();
    let body = json!({
        "credentials": {"oidcIdentityToken": token(&claims(ISSUER, START))},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "junk", "content": base64_encode(signer.public_key().spki_der())},
            "proofOfPossession": base64_encode(&signer.sign(b"alice@example.com").unwrap())
        }
    });
    let expired = token(&with(claims(ISSUER, START), "exp", (START - 1).into()));
    let request = IssueRequest::from_v2_json(body.to_string().as_bytes(), Some(expired)).unwrap();
    issue(&lab, request).await.unwrap();
}
