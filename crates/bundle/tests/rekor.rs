//! Rekor's bodies and requests, against one complete exchange with a real Rekor v2 (rekor-tiles 2.3.0).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use countersign_attestation::dsse::{Envelope, Signature};
use countersign_bundle::rekor::{
    BodyV1, DsseRequestV002, DsseSignatureV1, EntryRequest, HashedRekordV2, ProposalError, ProposalV1,
    RequestError, Verifier,
};
use countersign_bundle::{InclusionProof, TlogEntry};
use countersign_crypto::{Digest, HashAlgorithm, KeyDetails, encoding, sha256};
use proptest::prelude::*;

const DIGEST: &str = "WzUT9YDIOXIS/yyPRZwZnvwMkOQ1Sl81M63wo//zpTA=";
const SIGNATURE: &str =
    "MEQCIFfTjRzVJ7H7h8LrJtn4rTmzsG9CjkGhfPKnwcRyVGTxAiB5VMNIHjxKHNcNhn/7hf64lyO7SjVgy48NmuHOMiNxEA==";
const ROOT: &str = "JyNfYLcuY/d1y6+0IEX+FY8GcSYhF83hEutTuuVU3SE=";

fn certificate() -> &'static str {
    include_str!("data/fulcio-leaf.b64").trim()
}

fn b64(text: &str) -> Vec<u8> {
    encoding::base64_decode(text).unwrap()
}

fn entry() -> HashedRekordV2 {
    HashedRekordV2 {
        digest: Digest::new(HashAlgorithm::Sha256, &b64(DIGEST)).unwrap(),
        signature: b64(SIGNATURE),
        verifier: Verifier::Certificate(b64(certificate())),
        key_details: KeyDetails::from_name("PKIX_ECDSA_P256_SHA_256").unwrap(),
    }
}

fn request() -> String {
    format!(
        concat!(
            r#"{{"hashedRekordRequestV002":{{"digest":"{}","signature":{{"content":"{}","#,
            r#""verifier":{{"x509Certificate":{{"rawBytes":"{}"}},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}}}}}"#
        ),
        DIGEST,
        SIGNATURE,
        certificate()
    )
}

#[test]
fn the_body_of_a_real_entry_is_rebuilt_byte_for_byte() {
    let expected = format!(
        concat!(
            r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":"#,
            r#"{{"algorithm":"SHA2_256","digest":"{}"}},"signature":{{"content":"{}","verifier":"#,
            r#"{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{{"rawBytes":"{}"}}}}}}}}}}}}"#
        ),
        DIGEST,
        SIGNATURE,
        certificate()
    );
    let body = entry().canonical_body();
    assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
    // The tree had this one leaf, so its root is the leaf's hash.
    assert_eq!(sha256(&[&[0], body.as_slice()].concat()).as_slice(), b64(ROOT));
    assert_eq!(HashedRekordV2::parse_body(&body).unwrap(), entry());
}

#[test]
fn a_real_request_is_read_and_written() {
    assert_eq!(EntryRequest::parse(request().as_bytes()).unwrap(), EntryRequest::HashedRekord(entry()));
    assert_eq!(String::from_utf8(entry().to_request()).unwrap(), request());
    let snake = request()
        .replace("hashedRekordRequestV002", "hashed_rekord_request_v002")
        .replace("x509Certificate", "x509_certificate")
        .replace("rawBytes", "raw_bytes")
        .replace("keyDetails", "key_details");
    assert_eq!(EntryRequest::parse(snake.as_bytes()).unwrap(), EntryRequest::HashedRekord(entry()));
}

#[test]
fn a_real_answer_is_read_and_goes_into_a_bundle() {
    let checkpoint = "localhost\n1\nJyNfYLcuY/d1y6+0IEX+FY8GcSYhF83hEutTuuVU3SE=\n\n\u{2014} localhost k5yWm5V2yClDMCWhWvePjaZktN6+gSbT29yjN3liFxFHfV4r4puJOaxQJxb8BO1NX1e0ZaybHHAgi69+KNFBEFWH8Qw=\n";
    let answer = format!(
        concat!(
            r#"{{"logIndex":"0", "logId":{{"keyId":"k5yWmxCCShy6oDqAKZ4kElrcIy8CCE6qMWyEtdZtLo8="}}, "#,
            r#""kindVersion":{{"kind":"hashedrekord", "version":"0.0.2"}}, "integratedTime":"0", "#,
            r#""inclusionPromise":null, "inclusionProof":{{"logIndex":"0", "rootHash":"{}", "treeSize":"1", "#,
            r#""hashes":[], "checkpoint":{{"envelope":{}}}}}, "canonicalizedBody":"{}"}}"#
        ),
        ROOT,
        serde_json::Value::from(checkpoint),
        encoding::base64_encode(&entry().canonical_body())
    );
    let read = TlogEntry::from_json(answer.as_bytes()).unwrap();
    assert_eq!(
        read,
        TlogEntry {
            log_index: 0,
            log_id: b64("k5yWmxCCShy6oDqAKZ4kElrcIy8CCE6qMWyEtdZtLo8="),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: Some(InclusionProof {
                log_index: 0,
                root_hash: b64(ROOT),
                tree_size: 1,
                hashes: vec![],
                checkpoint: checkpoint.into(),
            }),
            canonicalized_body: entry().canonical_body(),
        }
    );
    let written = read.to_json();
    assert_eq!(TlogEntry::from_json(&written).unwrap(), read);
    let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(value["logIndex"], "0", "always there, and a string");
    assert_eq!(value["integratedTime"], "0");
    assert_eq!(value["inclusionProof"]["logIndex"], "0");
    assert_eq!(value["inclusionProof"]["treeSize"], "1");
    assert!(value.get("inclusionPromise").is_none());
}

#[test]
fn requests_are_read_strictly() {
    let good = request();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        EntryRequest::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    for (from, to) in [
        ("{\"digest\"", "{\"foo\":1,\"digest\""),
        ("{\"hashed", "{\"foo\":1,\"hashed"),
        ("\"digest\"", "\"digest\":\"AA==\",\"digest\""),
        ("\"keyDetails\"", "\"key_details\":\"\",\"keyDetails\""),
        ("\"x509Certificate\"", "\"publicKey\":{\"rawBytes\":\"AA==\"},\"x509Certificate\""),
        (DIGEST, "!"),
        ("\"content\":\"", "\"content\":7,\"x\":\""),
    ] {
        assert!(matches!(with(from, to), RequestError::Syntax(_)), "{to}");
    }
    for (from, to) in [
        (DIGEST, "AAAA"),
        (SIGNATURE, ""),
        (certificate(), ""),
        ("PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384"),
        ("PKIX_ECDSA_P256_SHA_256", "PKIX_ED25519"),
        ("PKIX_ECDSA_P256_SHA_256", "ROT13"),
        ("\"x509Certificate\"", "\"x509Certificate\":null,\"publicKey\":null}}}}garbage"),
    ] {
        let error = with(from, to);
        assert!(matches!(error, RequestError::Invalid(_) | RequestError::Syntax(_)), "{to}: {error}");
    }
    for kindless in ["{}", "{\"hashedRekordRequestV002\":null}"] {
        assert_eq!(EntryRequest::parse(kindless.as_bytes()).unwrap_err(), RequestError::Kind);
    }
    assert_eq!(RequestError::Kind.to_string(), "invalid type, must be hashedrekord");
    for junk in ["", "hello", "null", "[]", "7"] {
        assert!(EntryRequest::parse(junk.as_bytes()).is_err(), "{junk:?}");
    }
}

#[test]
fn a_dsse_request_becomes_a_hashedrekord_over_the_pae() {
    let json = format!(
        concat!(
            r#"{{"dsseRequestV002":{{"envelope":{{"payload":"e30=","payloadType":"t","signatures":[{{"sig":"AAE="}}]}},"#,
            r#""verifiers":[{{"x509Certificate":{{"rawBytes":"{}"}},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}]}}}}"#
        ),
        certificate()
    );
    let Ok(EntryRequest::Dsse(request)) = EntryRequest::parse(json.as_bytes()) else { panic!("not read") };
    let (made, pae) = request.clone().into_hashedrekord().unwrap();
    assert_eq!(pae, b"DSSEv1 1 t 2 {}");
    assert_eq!(
        made,
        HashedRekordV2 { digest: HashAlgorithm::Sha256.digest(&pae), signature: vec![0, 1], ..entry() }
    );
    let two = Signature { sig: vec![1], keyid: String::new() };
    let envelope = Envelope { signatures: vec![two.clone(), two], ..request.envelope.clone() };
    let twice = vec![request.verifiers[0].clone(), request.verifiers[0].clone()];
    for bad in [
        DsseRequestV002 { envelope, ..request.clone() },
        DsseRequestV002 { verifiers: vec![], ..request.clone() },
        DsseRequestV002 { verifiers: twice, ..request },
    ] {
        assert!(matches!(bad.into_hashedrekord(), Err(RequestError::Invalid(_))));
    }
    let (before, rest) = json.split_once("\"verifiers\":[").unwrap();
    let none = format!("{before}\"verifiers\":[{}", &rest[rest.find(']').unwrap()..]);
    assert_eq!(
        EntryRequest::parse(none.as_bytes()),
        Err(RequestError::Invalid("verifiers is empty".into())),
        "{none}"
    );
}

#[test]
fn v22_a_body_in_another_spelling_is_refused() {
    let body = String::from_utf8(entry().canonical_body()).unwrap();
    for (from, to) in [
        ("{\"apiVersion\"", "{ \"apiVersion\""),
        (
            "{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\"",
            "{\"kind\":\"hashedrekord\",\"apiVersion\":\"0.0.2\"",
        ),
        ("\"SHA2_256\"", "\"SHA2_\\u0032\\u0035\\u0036\""),
        ("\"spec\":{", "\"spec\":{\"x\":1,"),
        ("\"0.0.2\"", "\"0.0.1\""),
    ] {
        assert!(body.contains(from), "{from}");
        assert!(HashedRekordV2::parse_body(body.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn bodies_of_version_1_are_read() {
    let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let pem64 = encoding::base64_encode(pem.as_bytes());
    let hex = HashAlgorithm::Sha256.digest(b"").to_hex();
    let hash = format!(r#"{{"algorithm":"sha256","value":"{hex}"}}"#);
    let rekord = format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{hash}}},"signature":{{"content":"AAE=","publicKey":{{"content":"{pem64}"}}}}}}}}"#
    );
    let digest = HashAlgorithm::Sha256.digest(b"");
    assert_eq!(
        BodyV1::parse("hashedrekord", "0.0.1", rekord.as_bytes()).unwrap(),
        BodyV1::HashedRekord { digest, signature: vec![0, 1], verifier_pem: pem.into() }
    );
    let dsse = format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{hash},"payloadHash":{hash},"signatures":[{{"signature":"AAE=","verifier":"{pem64}"}}]}}}}"#
    );
    assert!(matches!(
        BodyV1::parse("dsse", "0.0.1", dsse.as_bytes()).unwrap(),
        BodyV1::Dsse { signatures, .. } if signatures[0].signature == [0, 1]
    ));
    // Base64 of base64: "AAE=" once more encoded.
    let sig = encoding::base64_encode(b"AAE=");
    let intoto = |sig: &str| {
        format!(
            r#"{{"apiVersion":"0.0.2","kind":"intoto","spec":{{"content":{{"envelope":{{"payloadType":"t","signatures":[{{"publicKey":"{pem64}","sig":"{sig}"}}]}},"hash":{hash},"payloadHash":{hash}}}}}}}"#
        )
    };
    assert!(matches!(
        BodyV1::parse("intoto", "0.0.2", intoto(&sig).as_bytes()).unwrap(),
        BodyV1::Intoto { signatures, .. } if signatures[0].signature == [0, 1]
    ));
    assert!(BodyV1::parse("intoto", "0.0.2", intoto("AAE=").as_bytes()).is_err(), "base64 once");
    // What the entry is said to be and what its body says must agree, and be of a known kind.
    assert!(BodyV1::parse("dsse", "0.0.1", rekord.as_bytes()).is_err());
    assert!(BodyV1::parse("hashedrekord", "0.0.2", rekord.as_bytes()).is_err());
    assert!(BodyV1::parse("rekord", "0.0.1", rekord.as_bytes()).is_err());
}

#[test]
fn v11_junk_in_every_member_of_a_body_is_an_error() {
    let pem64 = encoding::base64_encode(b"x");
    let hex = HashAlgorithm::Sha256.digest(b"").to_hex();
    let body = serde_json::json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex}},
        "signature": {"content": "AAE=", "publicKey": {"content": pem64}}}});
    assert!(BodyV1::parse("hashedrekord", "0.0.1", body.to_string().as_bytes()).is_ok());
    for path in [
        "/spec",
        "/spec/data",
        "/spec/data/hash",
        "/spec/data/hash/value",
        "/spec/data/hash/algorithm",
        "/spec/signature",
        "/spec/signature/content",
        "/spec/signature/publicKey",
        "/spec/signature/publicKey/content",
    ] {
        for junk in [
            serde_json::json!(null),
            serde_json::json!(1),
            serde_json::json!([]),
            serde_json::json!({}),
            serde_json::json!("A"),
        ] {
            let mut bad = body.clone();
            *bad.pointer_mut(path).unwrap() = junk;
            assert!(BodyV1::parse("hashedrekord", "0.0.1", bad.to_string().as_bytes()).is_err(), "{bad}");
        }
    }
}

proptest! {
    #[test]
    fn bodies_are_jcs_and_round_trip(digest: [u8; 32], signature: Vec<u8>, bytes in prop::collection::vec(any::<u8>(), 1..200), key: bool) {
        let verifier = if key { Verifier::PublicKey(bytes) } else { Verifier::Certificate(bytes) };
        let entry = HashedRekordV2 {
            digest: Digest::new(HashAlgorithm::Sha256, &digest).unwrap(), signature, verifier, key_details: entry().key_details,
        };
        let body = entry.canonical_body();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), body.clone());
        prop_assert_eq!(HashedRekordV2::parse_body(&body).unwrap(), entry);
    }
}

/// The parts of proposals: a key in PEM, a hash, an envelope.
fn pem64() -> String {
    encoding::base64_encode(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
}

fn proposal(kind: &str) -> serde_json::Value {
    let hex = HashAlgorithm::Sha256.digest(b"{}").to_hex();
    let hash = serde_json::json!({"algorithm": "sha256", "value": hex});
    let spec = match kind {
        "hashedrekord" => serde_json::json!({"data": {"hash": hash},
            "signature": {"content": "AAE=", "publicKey": {"content": pem64()}}}),
        "dsse" => serde_json::json!({"signatures": null, "proposedContent": {"verifiers": [pem64()],
            "envelope": r#"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AAE="}]}"#}}),
        // "e30=" and "AAE=", each in base64 once more.
        _ => {
            serde_json::json!({"content": {"hash": hash, "envelope": {"payload": "ZTMwPQ==", "payloadType": "t",
            "signatures": [{"sig": "QUFFPQ==", "publicKey": pem64()}]}}})
        }
    };
    let version = if kind == "intoto" { "0.0.2" } else { "0.0.1" };
    serde_json::json!({"kind": kind, "apiVersion": version, "spec": spec, "unknown": [1]})
}

#[test]
fn proposals_of_version_1_are_read() {
    let read = |kind: &str| ProposalV1::parse(proposal(kind).to_string().as_bytes()).unwrap();
    let ProposalV1::HashedRekord { digest, signature, verifier } = read("hashedrekord") else { panic!() };
    assert_eq!((digest, signature), (HashAlgorithm::Sha256.digest(b"{}"), vec![0, 1]));
    assert_eq!(verifier.verifier, Verifier::PublicKey(vec![0, 0, 0]));
    assert_eq!(encoding::base64_encode(verifier.to_pem().as_bytes()), pem64());
    let ProposalV1::Dsse { envelope, verifiers, .. } = read("dsse") else { panic!() };
    assert_eq!((envelope.payload.as_slice(), verifiers.len()), (&b"{}"[..], 1));
    let ProposalV1::Intoto { envelope: twice, verifiers, .. } = read("intoto") else { panic!() };
    assert_eq!((twice, verifiers.len()), (envelope, 1));
}

#[test]
fn s03_a_proposal_without_any_of_its_members_is_an_error() {
    fn members(value: &serde_json::Value, at: &str, out: &mut Vec<String>) {
        let serde_json::Value::Object(own) = value else { return };
        for (name, member) in own {
            out.push(format!("{at}/{name}"));
            members(member, &format!("{at}/{name}"), out);
        }
    }
    for kind in ["hashedrekord", "dsse", "intoto"] {
        let good = proposal(kind);
        let mut all = Vec::new();
        members(&good, "", &mut all);
        for place in all.iter().filter(|p| !["/unknown", "/spec/signatures"].contains(&p.as_str())) {
            let (parent, name) = place.rsplit_once('/').unwrap();
            let mut without = good.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            assert!(ProposalV1::parse(without.to_string().as_bytes()).is_err(), "{kind} without {place}");
            for junk in [serde_json::json!(7), serde_json::json!([[]]), serde_json::json!("\u{0}")] {
                let mut other = good.clone();
                *other.pointer_mut(place).unwrap() = junk;
                // A type of payload may be any text.
                if place.ends_with("/payloadType") && other.pointer(place).unwrap().is_string() {
                    continue;
                }
                assert!(ProposalV1::parse(other.to_string().as_bytes()).is_err(), "{kind}: {other}");
            }
        }
    }
    let said = |text: &str| ProposalV1::parse(text.as_bytes()).unwrap_err();
    assert_eq!(said(" "), ProposalError::Missing("proposedEntry"));
    assert_eq!(said("{}"), ProposalError::Missing("kind"));
    assert_eq!(said(r#"{"kind":"rpm","apiVersion":"0.0.1"}"#), ProposalError::Kind("rpm".into()));
    assert!(matches!(said(r#"{"kind":"dsse","apiVersion":"9"}"#), ProposalError::Version { .. }));
}

#[test]
fn bodies_of_version_1_are_written_as_the_log_stores_them() {
    let digest = HashAlgorithm::Sha256.digest(b"");
    let signature = |sig: u8, keyid: &str| DsseSignatureV1 {
        signature: vec![sig],
        verifier_pem: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(),
        keyid: keyid.into(),
    };
    let hash = format!(r#"{{"algorithm":"sha256","value":"{}"}}"#, digest.to_hex());
    let pem64 = pem64();
    // In the order of their texts, not of how they came.
    let dsse = BodyV1::Dsse {
        envelope_hash: digest,
        payload_hash: digest,
        signatures: vec![signature(255, ""), signature(0, "")],
    };
    let expected = format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{hash},"payloadHash":{hash},"signatures":[{{"signature":"/w==","verifier":"{pem64}"}},{{"signature":"AA==","verifier":"{pem64}"}}]}}}}"#
    );
    assert_eq!(String::from_utf8(dsse.canonical_body()).unwrap(), expected);
    let intoto = BodyV1::Intoto {
        payload_type: "a/\"b\u{1}é<\u{7f}".into(),
        envelope_hash: digest,
        payload_hash: digest,
        signatures: vec![signature(255, "k\\"), signature(0, "")],
    };
    let expected = format!(
        concat!(
            r#"{{"apiVersion":"0.0.2","kind":"intoto","spec":{{"content":{{"envelope":{{"payloadType":"a/\"b\u0001é<{}","#,
            r#""signatures":[{{"keyid":"k\\","publicKey":"{}","sig":"L3c9PQ=="}},{{"publicKey":"{}","sig":"QUE9PQ=="}}]}},"#,
            r#""hash":{},"payloadHash":{}}}}}}}"#
        ),
        '\u{7f}', pem64, pem64, hash, hash
    );
    assert_eq!(String::from_utf8(intoto.canonical_body()).unwrap(), expected);
    for body in [dsse, intoto] {
        let (kind, version) = body.kind();
        let canonical = body.canonical_body();
        assert_eq!(BodyV1::parse(kind, version, &canonical).unwrap().canonical_body(), canonical);
    }
}
