//! Bundles: what is read, what is refused, and the one form that is written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::path::Path;

use countersign_attestation::JsonError;
use countersign_bundle::{Bundle, BundleError, BundleVersion, Content, KeyMaterial, MAX_BUNDLE_LEN};
use serde_json::{Value, json};

fn sample() -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": "MAA="},
            "tlogEntries": [{
                "logIndex": "0", "logId": {"keyId": "AQI="},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "integratedTime": "0",
                "inclusionProof": {"logIndex": "0", "rootHash": "AQ==", "treeSize": "1", "hashes": [],
                                   "checkpoint": {"envelope": "c"}},
                "canonicalizedBody": "e30="
            }],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "MAA="}]}
        },
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
            "signature": "AAE="
        }
    })
}

fn dsse() -> Value {
    let mut value = sample();
    value.as_object_mut().unwrap().remove("messageSignature");
    value["dsseEnvelope"] =
        json!({"payload": "e30=", "payloadType": "t", "signatures": [{"sig": "AAE=", "keyid": ""}]});
    value
}

fn read(value: &Value) -> Result<Bundle, BundleError> {
    Bundle::from_json(value.to_string().as_bytes())
}

/// The sample with one member replaced, or taken out.
fn with(mut value: Value, path: &str, new: Option<Value>) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match (parent, new) {
        (Value::Array(list), Some(new)) => list[name.parse::<usize>().unwrap()] = new,
        (Value::Array(list), None) => drop(list.remove(name.parse().unwrap())),
        (Value::Object(map), Some(new)) => drop(map.insert(name.to_owned(), new)),
        (Value::Object(map), None) => drop(map.remove(name)),
        _ => panic!("{path}"),
    }
    value
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

#[test]
fn a_written_bundle_is_the_same_again_and_in_the_strict_form() {
    for value in [sample(), dsse()] {
        let bundle = read(&value).unwrap();
        let written = bundle.to_json().unwrap();
        assert_eq!(Bundle::from_json(&written).unwrap(), bundle);
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), value, "no member more or less");
    }
}

#[test]
fn the_writer_writes_version_0_3_whatever_was_read() {
    let old =
        with(sample(), "/mediaType", Some(json!("application/vnd.dev.sigstore.bundle+json;version=0.2")));
    let mut old = with(old, "/verificationMaterial/certificate", None);
    old["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": [{"rawBytes": "MAA="}]});
    let bundle = read(&old).unwrap();
    assert_eq!(bundle.version, BundleVersion::V0_2);
    assert_eq!(serde_json::from_slice::<Value>(&bundle.to_json().unwrap()).unwrap(), sample());
    old["verificationMaterial"]["x509CertificateChain"] =
        json!({"certificates": [{"rawBytes": "MAA="}, {"rawBytes": "MAE="}]});
    assert!(read(&old).unwrap().to_json().is_err(), "a chain cannot be said in version 0.3");
}

#[test]
fn the_writer_drops_key_ids_and_repeated_timestamps() {
    let mut value = dsse();
    value["dsseEnvelope"]["signatures"][0]["keyid"] = json!("k");
    value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] =
        json!([{"signedTimestamp": "MAA="}, {"signedTimestamp": "MAA="}]);
    let written = read(&value).unwrap().to_json().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), dsse());
}

#[test]
fn the_reader_takes_what_other_writers_write() {
    let expected = read(&sample()).unwrap();
    for (what, value) in [
        ("index as number", with(sample(), &format!("{ENTRY}/logIndex"), Some(json!(0)))),
        ("integratedTime missing", with(sample(), &format!("{ENTRY}/integratedTime"), None)),
        ("null promise", with(sample(), &format!("{ENTRY}/inclusionPromise"), Some(Value::Null))),
        ("zero index missing", with(sample(), &format!("{ENTRY}/inclusionProof/logIndex"), None)),
        ("hashes missing", with(sample(), &format!("{ENTRY}/inclusionProof/hashes"), None)),
        ("unknown member", with(sample(), "/unknown", Some(json!({"a": [1]})))),
        ("unknown member inside", with(sample(), &format!("{ENTRY}/unknown"), Some(json!(1)))),
        ("null for the other content", with(sample(), "/dsseEnvelope", Some(Value::Null))),
        (
            "old spelling",
            with(sample(), "/mediaType", Some(json!("application/vnd.dev.sigstore.bundle+json;version=0.3"))),
        ),
    ] {
        assert_eq!(read(&value).as_ref(), Ok(&expected), "{what}");
    }
    let snake = sample()
        .to_string()
        .replace("mediaType", "media_type")
        .replace("verificationMaterial", "verification_material")
        .replace("tlogEntries", "tlog_entries")
        .replace("logIndex", "log_index")
        .replace("canonicalizedBody", "canonicalized_body")
        .replace("messageSignature", "message_signature");
    assert_eq!(Bundle::from_json(snake.as_bytes()), Ok(expected));
}

#[test]
fn other_versions_are_refused() {
    for other in [
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle.v0.3.2+json",
        "application/vnd.dev.sigstore.bundle+json;version=99.9",
        "application/json",
        "",
    ] {
        let value = with(sample(), "/mediaType", Some(json!(other)));
        assert!(matches!(read(&value), Err(BundleError::MediaType { found, .. }) if found == other));
    }
    assert!(read(&with(sample(), "/mediaType", None)).is_err());
}

#[test]
fn each_version_demands_its_proofs() {
    let version = |v: &str| json!(format!("application/vnd.dev.sigstore.bundle+json;version={v}"));
    let promise = json!({"signedEntryTimestamp": "AAE="});
    let no_proof = with(sample(), &format!("{ENTRY}/inclusionProof"), None);
    let no_checkpoint = with(sample(), &format!("{ENTRY}/inclusionProof/checkpoint"), None);
    let empty_checkpoint =
        with(sample(), &format!("{ENTRY}/inclusionProof/checkpoint"), Some(json!({"envelope": ""})));
    for v in ["0.2", "0.3"] {
        for bad in [&no_proof, &no_checkpoint, &empty_checkpoint] {
            let bad = with(bad.clone(), "/mediaType", Some(version(v)));
            assert!(read(&bad).is_err());
            assert!(read(&with(bad, &format!("{ENTRY}/inclusionPromise"), Some(promise.clone()))).is_err());
        }
    }
    let old = with(no_proof, "/mediaType", Some(version("0.1")));
    assert!(read(&old).is_err(), "neither promise nor proof");
    assert!(read(&with(old, &format!("{ENTRY}/inclusionPromise"), Some(promise))).is_ok());
}

#[test]
fn an_empty_promise_is_no_promise_and_refused() {
    for bad in [json!({"signedEntryTimestamp": ""}), json!({}), json!([])] {
        assert!(
            read(&with(sample(), &format!("{ENTRY}/inclusionPromise"), Some(bad.clone()))).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn key_material_is_exactly_one_and_not_empty() {
    let material = |key: Value| {
        let mut value = with(sample(), "/verificationMaterial/certificate", None);
        for (name, member) in key.as_object().unwrap() {
            value["verificationMaterial"][name] = member.clone();
        }
        value
    };
    let cert = json!({"rawBytes": "MAA="});
    assert!(matches!(
        read(&material(json!({"publicKey": {"hint": "h"}}))).unwrap().verification_material.content,
        KeyMaterial::PublicKeyHint(hint) if hint == "h"
    ));
    for bad in [
        json!({}),
        json!({"certificate": null}),
        json!({"certificate": {}}),
        json!({"certificate": {"rawBytes": ""}}),
        json!({"certificate": cert, "publicKey": {"hint": "h"}}),
        json!({"x509CertificateChain": {"certificates": [cert]}}),
    ] {
        assert!(read(&material(bad.clone())).is_err(), "{bad}");
    }
    let old = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    for bad in [json!([]), json!([{"rawBytes": ""}]), json!(vec![cert.clone(); 9]), json!([null])] {
        let value = with(
            material(json!({"x509CertificateChain": {"certificates": bad}})),
            "/mediaType",
            Some(old.clone()),
        );
        assert!(read(&value).is_err(), "{bad}");
    }
    let eight = with(
        material(json!({"x509CertificateChain": {"certificates": vec![cert; 8]}})),
        "/mediaType",
        Some(old),
    );
    assert!(read(&eight).is_ok());
}

#[test]
fn v37_an_envelope_with_other_than_one_signature_is_refused() {
    let sig = json!({"sig": "AAE="});
    for bad in [json!([]), json!([sig, sig]), Value::Null] {
        assert!(read(&with(dsse(), "/dsseEnvelope/signatures", Some(bad))).is_err());
    }
}

#[test]
fn content_is_exactly_one_and_not_empty() {
    let mut both = dsse();
    both["messageSignature"] = sample()["messageSignature"].clone();
    assert!(read(&both).is_err());
    assert!(read(&with(sample(), "/messageSignature", None)).is_err());
    assert!(read(&with(sample(), "/messageSignature/signature", Some(json!("")))).is_err());
    assert!(read(&with(dsse(), "/dsseEnvelope/signatures/0/sig", Some(json!("")))).is_err());
}

#[test]
fn v17_v18_too_many_items_are_refused_before_they_are_read() {
    let entry = sample().pointer(ENTRY).unwrap().clone();
    let many = |n: usize, last: Value| {
        let mut list = vec![entry.clone(); n];
        list.push(last);
        with(sample(), "/verificationMaterial/tlogEntries", Some(json!(list)))
    };
    assert!(read(&many(31, entry.clone())).is_ok());
    let error = read(&many(32, json!("not even an entry"))).unwrap_err().to_string();
    assert!(error.contains("more than 32 items"), "{error}");
    let stamps = |n: usize| {
        let list = vec![json!({"signedTimestamp": "MAA="}); n];
        with(sample(), "/verificationMaterial/timestampVerificationData/rfc3161Timestamps", Some(json!(list)))
    };
    assert!(read(&stamps(32)).is_ok());
    assert!(read(&stamps(33)).is_err());
    let huge = vec![b' '; MAX_BUNDLE_LEN + 1];
    assert!(Bundle::from_json(&huge).unwrap_err().to_string().contains("at most"));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert!(Bundle::from_json(deep.as_bytes()).unwrap_err().to_string().contains("nested"));
}

#[test]
fn a_bundle_that_nobody_could_read_again_is_not_written() {
    let mut bundle = read(&dsse()).unwrap();
    let grow = |bundle: &mut Bundle, len: usize| {
        let Content::Dsse(envelope) = &mut bundle.content else { panic!("a statement") };
        envelope.payload = vec![b'x'; len];
    };
    grow(&mut bundle, MAX_BUNDLE_LEN / 4 * 3 - 3000);
    assert!(Bundle::from_json(&bundle.to_json().unwrap()).is_ok());
    grow(&mut bundle, MAX_BUNDLE_LEN / 4 * 3);
    assert!(matches!(bundle.to_json(), Err(BundleError::Json(JsonError::TooLarge { .. }))));
}

#[test]
fn v11_junk_in_every_member_is_an_error_or_the_same_as_absent() {
    let paths = [
        "/verificationMaterial",
        "/verificationMaterial/certificate/rawBytes",
        "/verificationMaterial/tlogEntries",
        "/verificationMaterial/tlogEntries/0",
        "/verificationMaterial/tlogEntries/0/logIndex",
        "/verificationMaterial/tlogEntries/0/logId",
        "/verificationMaterial/tlogEntries/0/kindVersion",
        "/verificationMaterial/tlogEntries/0/integratedTime",
        "/verificationMaterial/tlogEntries/0/inclusionPromise",
        "/verificationMaterial/tlogEntries/0/inclusionProof",
        "/verificationMaterial/tlogEntries/0/canonicalizedBody",
        "/verificationMaterial/timestampVerificationData",
        "/messageSignature",
        "/messageSignature/signature",
        "/messageSignature/messageDigest",
    ];
    for path in paths {
        for junk in [json!(-1), json!(1.5), json!("!"), json!(true)] {
            assert!(read(&with(sample(), path, Some(junk.clone()))).is_err(), "{path} = {junk}");
        }
        // Must not crash; whether null may stand there is another question.
        drop(read(&with(sample(), path, Some(Value::Null))));
    }
}

#[test]
fn negative_numbers_are_refused() {
    for name in ["logIndex", "integratedTime", "inclusionProof/logIndex", "inclusionProof/treeSize"] {
        for bad in [json!("-1"), json!(-1)] {
            assert!(read(&with(sample(), &format!("{ENTRY}/{name}"), Some(bad))).is_err(), "{name}");
        }
    }
}

#[test]
fn a_digest_hint_of_unknown_algorithm_or_wrong_length_is_refused() {
    let hint = |hint: Value| read(&with(sample(), "/messageSignature/messageDigest", Some(hint)));
    let digest_of = |bundle: Bundle| match bundle.content {
        Content::MessageSignature { digest, .. } => digest,
        _ => None,
    };
    assert!(digest_of(read(&sample()).unwrap()).is_some());
    assert_eq!(digest_of(hint(Value::Null).unwrap()), None);
    for bad in [
        json!({"algorithm": "SHA3_256", "digest": "AAE="}),
        json!({"algorithm": "SHA2_256", "digest": "AAE="}),
        json!({"algorithm": "SHA2_256"}),
        json!({"digest": "AAE="}),
        json!({}),
        json!([]),
    ] {
        assert!(hint(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn rekor_v2_counts_an_entry_once() {
    for index in ["1", "9223372036854775807"] {
        assert!(read(&with(sample(), &format!("{ENTRY}/logIndex"), Some(json!(index)))).is_err());
    }
    let v1 = with(sample(), &format!("{ENTRY}/kindVersion/version"), Some(json!("0.0.1")));
    assert!(read(&with(v1, &format!("{ENTRY}/logIndex"), Some(json!("1")))).is_ok(), "shards of Rekor v1");
}

#[test]
fn the_same_member_twice_is_refused() {
    let text = sample().to_string();
    for (from, to) in [
        ("\"mediaType\"", "\"mediaType\":\"x\",\"mediaType\""),
        ("\"signature\"", "\"signature\":\"AAE=\",\"signature\""),
        ("\"logIndex\"", "\"log_index\":\"1\",\"logIndex\""),
        ("\"canonicalizedBody\"", "\"canonicalizedBody\":\"e30=\",\"canonicalizedBody\""),
    ] {
        assert!(Bundle::from_json(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn public_vectors_are_read_or_refused_as_their_shape_demands() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/testdata/sigstore-conformance/bundle-verify");
    let Ok(folders) = std::fs::read_dir(&dir) else {
        println!("skipped: no vectors at {}", dir.display());
        return;
    };
    let malformed = [
        "bundle-empty-certificate-chain_fail",
        "bundle-invalid-base64-signature_fail",
        "bundle-malformed-json_fail",
        "bundle-negative-log-index_fail",
        "bundle-unknown-version_fail",
        "intoto-missing-inclusion-proof_fail",
        "invalid-inclusion-proof_fail",
        "rekor2-no-inclusion-proof_fail",
    ];
    let (mut read, mut refused) = (0, 0);
    for folder in folders.flatten() {
        let name = folder.file_name().into_string().unwrap();
        let Ok(bytes) = std::fs::read(folder.path().join("bundle.sigstore.json")) else { continue };
        match Bundle::from_json(&bytes) {
            Ok(bundle) => {
                assert!(!malformed.contains(&name.as_str()), "{name} was read");
                if bundle.version == BundleVersion::V0_3 {
                    let again = Bundle::from_json(&bundle.to_json().unwrap()).unwrap();
                    assert_eq!(again, bundle, "{name}");
                }
                read += 1;
            }
            Err(error) => {
                assert!(malformed.contains(&name.as_str()), "{name}: {error}");
                refused += 1;
            }
        }
    }
    assert_eq!((read, refused), (62, 8));
}
