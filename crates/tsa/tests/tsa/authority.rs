//! Answers, refusals, time.

use std::sync::Arc;

use countersign_crypto::{KeyPair, KeyType};
use countersign_tsa::{SetupError, Tsa, TsaError};
use countersign_x509::chain::ChainError;
use countersign_x509::timestamp::{TimestampError, TimestampRequest, TimestampToken};
use countersign_x509::{Certificate, oid};

use crate::support::{LEAF_END, NOW, at, instance, request};

#[test]
fn der_and_json_requests_get_timestamps_that_verify() {
    for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Ed25519] {
        let it = instance(key_type);
        let request = TimestampRequest {
            policy: Some(oid::SIGSTORE_TSA_POLICY),
            nonce: Some(vec![1, 2, 3]),
            cert_req: true,
            ..request()
        };
        let response = it.tsa.respond(&request.encode().unwrap()).unwrap();
        let verified = it.verify(&response).unwrap();
        assert_eq!(verified.time(), at(NOW));
        assert_eq!(verified.info().nonce, request.nonce);

        let hash = countersign_crypto::encoding::base64_encode(request.imprint.as_bytes());
        let json =
            format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256","certificates":true,"nonce":7}}"#);
        let response = it.tsa.respond_json(json.as_bytes()).unwrap();
        assert_eq!(it.verify(&response).unwrap().info().nonce, Some(vec![7]));
        assert_eq!(TimestampToken::parse(&response).unwrap().embedded_certificates().len(), 1);
    }
}

#[test]
fn serial_numbers_are_all_different() {
    let it = instance(KeyType::EcdsaP256);
    let der = request().encode().unwrap();
    let serials: std::collections::HashSet<_> =
        (0..50).map(|_| it.verify(&it.tsa.respond(&der).unwrap()).unwrap().info().serial.clone()).collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().any(|s| s.len() >= 20));
}

#[test]
fn refusals_have_the_texts_codes_and_failures_of_the_reference() {
    let it = instance(KeyType::EcdsaP256);
    let good = request().encode().unwrap();
    let mut sha1 = good.clone();
    let at = sha1.windows(9).position(|w| w == [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]).unwrap();
    sha1[at + 8] = 0x7f;
    let mut short = good.clone();
    // The same digest one byte shorter, with all lengths around it corrected.
    short.pop();
    for holder in [1, 6, 23] {
        short[holder] -= 1;
    }
    let other = TimestampRequest { policy: Some(oid::CODE_SIGNING), ..request() };
    for (name, body, status, code, text) in [
        ("empty", vec![], 422, 602, "request in body is required"),
        ("junk", b"junk".to_vec(), 400, 400, "Error generating timestamp response"),
        ("trailing", [good, vec![0]].concat(), 400, 400, "Error generating timestamp response"),
        ("large", vec![0x30; 5000], 400, 400, "Error generating timestamp response"),
        ("weak", sha1, 400, 400, "Weak hash algorithm in timestamp request"),
        ("short", short, 400, 400, "Message digest has incorrect length for specified algorithm"),
        (
            "policy",
            other.encode().unwrap(),
            400,
            400,
            "unaccepted policy: requested TSA policy is not supported by the TSA",
        ),
    ] {
        let error = it.tsa.respond(&body).unwrap_err();
        assert_eq!((error.http_status(), error.code()), (status, code), "{name}: {error:?}");
        assert_eq!(error.to_string(), text, "{name}: {error:?}");
        assert_eq!(
            TimestampToken::parse(&error.rejection()),
            Err(TimestampError::NotGranted { status: 2, text: text.into() })
        );
    }
    assert!(it.stamp().is_ok(), "and the authority still works");
}

#[test]
fn r10_time_never_goes_back() {
    let it = instance(KeyType::EcdsaP256);
    assert_eq!(it.stamp(), Ok(NOW));
    it.clock.advance_seconds(10);
    assert_eq!(it.stamp(), Ok(NOW + 10));
    it.clock.advance_seconds(-1);
    assert_eq!(it.stamp(), Ok(NOW + 10), "within the accuracy the latest second is used again");
    it.clock.advance_seconds(-1);
    let refused = it.stamp().unwrap_err();
    assert_eq!(refused, TsaError::ClockWentBack { last: at(NOW + 10), now: at(NOW + 8) });
    assert_eq!(refused.http_status(), 503);
    it.clock.advance_seconds(3);
    assert_eq!(it.stamp(), Ok(NOW + 11));
}

#[test]
fn outside_of_its_certificates_validity_it_stamps_nothing() {
    let it = instance(KeyType::EcdsaP256);
    it.clock.set(at(LEAF_END));
    assert_eq!(it.stamp(), Ok(LEAF_END));
    it.clock.set(at(LEAF_END + 1));
    assert!(matches!(it.stamp(), Err(TsaError::OutsideValidity { .. })));
}

#[test]
fn an_authority_of_a_wrong_chain_or_key_does_not_start() {
    let it = instance(KeyType::EcdsaP256);
    let start = |chain: &[Certificate], key: &Arc<KeyPair>| {
        Tsa::new(chain.to_vec(), key.clone(), it.clock.clone(), oid::SIGSTORE_TSA_POLICY).map(drop)
    };
    let [leaf, middle, root] = <[Certificate; 3]>::try_from(it.chain.clone()).unwrap();
    assert_eq!(start(&it.chain, &it.key), Ok(()));
    assert_eq!(start(&[leaf.clone(), middle.clone()], &it.key), Ok(()), "an intermediate as the last");
    assert_eq!(start(&[], &it.key), Err(SetupError::ChainTooShort { found: 0 }));
    assert_eq!(start(std::slice::from_ref(&leaf), &it.key), Err(SetupError::ChainTooShort { found: 1 }));
    assert!(matches!(start(&[leaf.clone(), root.clone()], &it.key), Err(SetupError::Chain(_))));
    assert!(matches!(
        start(&[root.clone(), middle.clone(), leaf.clone()], &it.key),
        Err(SetupError::Chain(_))
    ));
    let doubled = [leaf, middle.clone(), middle, root];
    assert_eq!(start(&doubled, &it.key), Err(SetupError::Order));
    let other = Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap());
    assert!(matches!(start(&it.chain, &other), Err(SetupError::Responder(_))));
    it.clock.set(at(LEAF_END + 1));
    assert!(matches!(start(&it.chain, &it.key), Err(SetupError::Chain(ChainError::Expired { .. }))));
}

#[test]
fn the_chain_is_given_as_pem_leaf_first() {
    let it = instance(KeyType::EcdsaP256);
    assert_eq!(Certificate::chain_from_pem(&it.tsa.chain_pem()).unwrap(), it.chain);
    assert_eq!(it.tsa.chain(), it.chain);
}
