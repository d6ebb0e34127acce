//! The CT log's API: what is taken, what is refused, what an SCT says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test file")]

#[path = "support/lab.rs"]
mod lab;
mod support;

use countersign_ca::SctSource as _;
use countersign_ca::ct::CtError;
use countersign_crypto::encoding::{base64_decode, base64_encode, hex_encode};
use countersign_crypto::{KeyPair, Signer as _, sha256};
use countersign_tlog::static_ct::{TileLeaf, parse_leaf_index};
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{LeafProfile, Precertificate};
use countersign_x509::sct::{Sct, parse_digitally_signed};
use countersign_x509::{Certificate, FulcioExtensions, San};
use lab::{Choices, Lab, YEAR, intermediate, key, open_ct, root};
use serde_json::{Value, json};
use support::{ISSUER, START};

fn precertificate(issuer: &Certificate, issuer_key: &KeyPair, serial: u8) -> Precertificate {
    let profile = LeafProfile {
        public_key: key().public_key().clone(),
        san: San::Email("alice@example.com".into()),
        fulcio: FulcioExtensions { issuer_v2: Some(ISSUER.into()), ..FulcioExtensions::default() },
        not_before: issuer.not_before(),
        not_after: issuer.not_after(),
        serial: [serial; 20],
    };
    Precertificate::build(&profile, issuer, issuer_key).unwrap()
}

fn body(chain: &[&[u8]]) -> Vec<u8> {
    let chain: Vec<String> = chain.iter().map(|der| base64_encode(der)).collect();
    json!({"chain": chain}).to_string().into_bytes()
}

fn sct(answer: &Value) -> Sct {
    assert_eq!(answer["sct_version"], 0);
    let bytes = |name: &str| base64_decode(answer[name].as_str().unwrap()).unwrap();
    let (scheme, signature) = parse_digitally_signed(&bytes("signature")).unwrap();
    Sct {
        log_id: bytes("id").try_into().unwrap(),
        timestamp_ms: answer["timestamp"].as_u64().unwrap(),
        extensions: bytes("extensions"),
        scheme,
        signature,
    }
}

#[tokio::test]
async fn a_precertificate_gets_an_sct_which_verifies_in_the_certificate() {
    let lab = Lab::new(&Choices::default());
    let pre = precertificate(&lab.chain[0], &lab.ca_key, 1);
    let answer = lab.ct.add_pre_chain(&body(&[pre.der(), lab.chain[0].der()])).await.unwrap();
    let sct = sct(&answer);
    assert_eq!(sct.log_id, lab.ct.log_id());
    assert_eq!(sct.timestamp_ms, u64::try_from(START).unwrap() * 1000);
    assert_eq!(answer["extensions"], "AAAFAAAAAAE=");
    let der = pre.into_certificate(std::slice::from_ref(&sct), &*lab.ca_key).unwrap();
    let certificate = Certificate::from_der(&der).unwrap();
    sct.verify(&certificate, lab.chain[0].public_key(), lab.ct.log_key()).unwrap();
    // The final certificate can be logged too, as an entry of its own.
    let answer = lab.ct.add_chain(&body(&[&der, lab.chain[0].der(), lab.chain[1].der()])).await.unwrap();
    self::sct(&answer).verify_detached(&certificate, lab.ct.log_key()).unwrap();
    assert_eq!(parse_leaf_index(&self::sct(&answer).extensions), Some(2));
}

#[tokio::test]
async fn a_submission_sent_again_gets_the_same_time_and_index() {
    let lab = Lab::new(&Choices::default());
    let pre = precertificate(&lab.chain[0], &lab.ca_key, 1);
    let body = body(&[pre.der(), lab.chain[0].der()]);
    let first = sct(&lab.ct.add_pre_chain(&body).await.unwrap());
    lab.clock.advance_seconds(100);
    let again = sct(&lab.ct.add_pre_chain(&body).await.unwrap());
    assert_eq!((first.timestamp_ms, &first.extensions), (again.timestamp_ms, &again.extensions));
    // Also by the short way of the authority itself.
    let own = lab.ct.submit(&pre, &lab.chain).await.unwrap();
    assert_eq!((first.timestamp_ms, &first.extensions), (own.timestamp_ms, &own.extensions));
    assert_eq!(lab.ct.log().head().size, 2);
}

#[tokio::test]
async fn a_log_opened_again_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::new(&Choices::default());
    let ct_key = key();
    let pre = precertificate(&lab.chain[0], &lab.ca_key, 1);
    let body = body(&[pre.der(), lab.chain[0].der()]);
    let ct = open_ct(directory.path(), &lab.chain, true, &lab.clock, ct_key.clone(), true);
    let first = sct(&ct.add_pre_chain(&body).await.unwrap());
    ct.log().shutdown().await;
    drop(ct);
    lab.clock.advance_seconds(10);
    let ct = open_ct(directory.path(), &lab.chain, true, &lab.clock, ct_key, false);
    let again = sct(&ct.add_pre_chain(&body).await.unwrap());
    assert_eq!((first.timestamp_ms, first.extensions), (again.timestamp_ms, again.extensions));
    ct.log().shutdown().await;
}

#[tokio::test]
async fn the_entry_in_the_log_is_the_one_that_was_promised() {
    let lab = Lab::new(&Choices::default());
    let pre = precertificate(&lab.chain[0], &lab.ca_key, 1);
    let sct = lab.ct.submit(&pre, &lab.chain).await.unwrap();
    let stored = lab.ct.log().entry(1).unwrap();
    let (leaf, rest) = TileLeaf::parse(&stored).unwrap();
    assert!(rest.is_empty());
    let signed = countersign_x509::sct::signed_data(sct.timestamp_ms, pre.entry(), &sct.extensions).unwrap();
    assert_eq!(leaf.merkle_leaf().unwrap(), signed);
    assert_eq!(leaf.chain, [sha256(lab.chain[0].der()), sha256(lab.chain[1].der())]);
    for hash in &leaf.chain {
        assert!(lab.ct.issuer(&hex_encode(hash)).is_some(), "issuers named in entries can be fetched");
    }
    assert_eq!(lab.ct.issuer(&"0".repeat(64)), None);
    assert_eq!(lab.ct.get_roots(), json!({"certificates": [base64_encode(lab.chain[1].der())]}));
    let (genesis, _) = TileLeaf::parse(&lab.ct.log().entry(0).unwrap()).map(|(l, _)| (l, ())).unwrap();
    assert_eq!(genesis.leaf_index(), Some(0));
}

#[tokio::test]
async fn the_root_may_be_left_out() {
    let lab = Lab::new(&Choices::default());
    let root = lab.chain[1].clone();
    let own = precertificate(&root, &lab.root_key, 1);
    assert!(lab.ct.add_pre_chain(&body(&[own.der()])).await.is_ok(), "issued by the root itself");
    let below = precertificate(&lab.chain[0], &lab.ca_key, 1);
    assert!(lab.ct.add_pre_chain(&body(&[below.der()])).await.is_err(), "an intermediate cannot be left out");
    assert!(lab.ct.add_pre_chain(&body(&[below.der(), lab.chain[0].der(), root.der()])).await.is_ok());
}

#[tokio::test]
async fn other_chains_are_refused() {
    let lab = Lab::new(&Choices::default());
    let (ca, root_certificate) = (&lab.chain[0], &lab.chain[1]);
    let pre = precertificate(ca, &lab.ca_key, 1);
    let sct = lab.ct.submit(&pre, &lab.chain).await.unwrap();
    let final_der = pre.clone().into_certificate(&[sct], &*lab.ca_key).unwrap();
    // An authority of the same name with another key, and one for timestamps under the same root.
    let (foreign_key, foreign_root_key) = (key(), key());
    let foreign_root = root(&foreign_root_key, START - 10, START + YEAR);
    let foreign = intermediate(&foreign_key, &foreign_root, &foreign_root_key, Purpose::CodeSigning);
    let foreign_pre = precertificate(&foreign, &foreign_key, 1);
    let size = lab.ct.log().head().size;
    for (what, chain, text) in [
        ("foreign", vec![foreign_pre.der(), foreign.der(), foreign_root.der()], "not issued by an authority"),
        ("foreign under our issuer", vec![foreign_pre.der(), ca.der()], "not issued by an authority"),
        ("foreign alone", vec![foreign_pre.der()], "not issued by an authority"),
        ("wrong order", vec![pre.der(), root_certificate.der(), ca.der()], "not issued by an authority"),
        ("a stranger at the end", vec![pre.der(), ca.der(), foreign_root.der()], "in order"),
        ("too long", vec![pre.der(), ca.der(), root_certificate.der(), root_certificate.der()], "in order"),
        ("an authority", vec![ca.der(), root_certificate.der()], "mismatch"),
        ("the final certificate", vec![&final_der, ca.der()], "cert / precert mismatch"),
    ] {
        let error = lab.ct.add_pre_chain(&body(&chain)).await.unwrap_err();
        assert!(error.is_client_error(), "{what}");
        assert!(error.to_string().contains(text), "{what}: {error}");
    }
    let error = lab.ct.add_chain(&body(&[pre.der(), ca.der()])).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to verify add-chain contents: cert / precert mismatch");
    let error = lab.ct.add_chain(&body(&[ca.der(), root_certificate.der()])).await.unwrap_err();
    assert!(error.to_string().contains("an authority"), "{error}");
    // A certificate for another purpose.
    let tsa = countersign_x509::issue::tsa_leaf(
        &lab::profile("tsa", START, START + 100),
        key().public_key(),
        ca,
        &*lab.ca_key,
    );
    let error = lab.ct.add_chain(&body(&[&tsa.unwrap(), ca.der()])).await.unwrap_err();
    assert!(error.to_string().contains("code signing"), "{error}");
    assert_eq!(lab.ct.log().head().size, size, "nothing was logged");
}

#[tokio::test]
async fn malformed_bodies_get_tesseracts_texts() {
    let lab = Lab::new(&Choices::default());
    for bad in ["", "junk", "[1", "{\"chain\":7}", "{\"chain\":[7]}", "{\"chain\":[\"%\"]}"] {
        let error = lab.ct.add_chain(bad.as_bytes()).await.unwrap_err();
        assert!(matches!(error, CtError::Body(_)), "{bad}");
        assert!(error.to_string().starts_with("failed to parse add-chain body"), "{error}");
    }
    for empty in ["{}", "{\"chain\":[]}", "{\"chain\":null}"] {
        let error = lab.ct.add_pre_chain(empty.as_bytes()).await.unwrap_err();
        assert_eq!(error.to_string(), "cert chain was empty");
    }
    let many = vec![lab.chain[1].der(); 9];
    assert!(matches!(lab.ct.add_chain(&body(&many)).await, Err(CtError::Chain(_))));
    assert!(matches!(lab.ct.add_chain(&body(&[b"\x30\x03\x02\x01\x00"])).await, Err(CtError::Chain(_))));
    assert!(matches!(lab.ct.add_chain(&vec![b' '; 2 << 20]).await, Err(CtError::Body(_))));
}

#[tokio::test]
async fn a_log_needs_a_root_and_a_key_that_ct_knows() {
    let lab = Lab::new(&Choices::default());
    let make = |key: KeyPair, chains: &[Vec<Certificate>]| {
        countersign_ca::ct::CtLog::new(
            lab.ct.log().clone(),
            std::sync::Arc::new(key),
            chains,
            true,
            lab.clock.clone(),
        )
        .map(|_| ())
    };
    let generate = |t| KeyPair::generate(t).unwrap();
    use countersign_crypto::KeyType::{EcdsaP256, Ed25519};
    let chains = [lab.chain.clone()];
    assert!(make(generate(EcdsaP256), &chains).is_ok());
    assert!(matches!(make(generate(Ed25519), &chains), Err(CtError::Key(_))));
    assert_eq!(make(generate(EcdsaP256), &[]), Err(CtError::NoRoots));
    assert_eq!(make(generate(EcdsaP256), &[lab.chain[..1].to_vec()]), Err(CtError::NoRoots));
}
