//! cosign's older forms: annotations and the bundle file for blobs, read with every fault, and written as cosign does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

use countersign_bundle::legacy::{
    self, Annotations, BUNDLE, CERTIFICATE, CHAIN, MAX_ANNOTATION_LEN, SIGNATURE, TIMESTAMP,
};
use countersign_bundle::{BundleVersion, Content, KeyMaterial};
use countersign_crypto::encoding::{base64_encode, pem_encode};

const BODY: &str = r#"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{}}"#;

fn promise() -> String {
    format!(
        r#"{{"SignedEntryTimestamp":"AQID","Payload":{{"body":"{}","integratedTime":1700000000,"logIndex":7,"logID":"c0d2"}}}}"#,
        base64_encode(BODY.as_bytes())
    )
}

fn good() -> Annotations {
    [
        (SIGNATURE, "AAEC".to_owned()),
        (CERTIFICATE, pem_encode("CERTIFICATE", b"leaf")),
        (CHAIN, pem_encode("CERTIFICATE", b"between") + &pem_encode("CERTIFICATE", b"root")),
        (BUNDLE, promise()),
        (TIMESTAMP, r#"{"SignedRFC3161Timestamp":"BAUG"}"#.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[test]
fn every_annotation_is_read_and_written_again_as_it_was() {
    let bundle = legacy::from_signature_layer(b"payload", &good()).unwrap();
    assert_eq!(bundle.version, BundleVersion::Legacy);
    let Content::SimpleSigning { payload, signature } = &bundle.content else { panic!() };
    assert_eq!((payload.as_slice(), signature.as_slice()), (&b"payload"[..], &[0, 1, 2][..]));
    let material = &bundle.verification_material;
    let chain = [&b"leaf"[..], b"between", b"root"].map(<[u8]>::to_vec).to_vec();
    assert_eq!(material.content, KeyMaterial::CertificateChain(chain));
    let entry = &material.tlog_entries[0];
    assert_eq!((entry.kind.as_str(), entry.version.as_str(), entry.log_index), ("hashedrekord", "0.0.1", 7));
    assert_eq!((entry.log_id.as_slice(), entry.integrated_time), (&[0xc0, 0xd2][..], Some(1_700_000_000)));
    assert_eq!(entry.canonicalized_body, BODY.as_bytes());
    assert_eq!(material.rfc3161_timestamps, [[4, 5, 6]]);
    assert_eq!(legacy::to_annotations(&bundle, &[]), good());
    let mut untimed = good();
    untimed.insert(BUNDLE.into(), promise().replace("1700000000", "0"));
    let bundle = legacy::from_signature_layer(b"payload", &untimed).unwrap();
    assert_eq!(legacy::to_annotations(&bundle, &[]), untimed, "a promise without a time is still one");
}

#[test]
fn a_signature_by_key_has_the_signature_alone_and_empty_annotations_count_as_absent() {
    let mut annotations: Annotations = [(SIGNATURE.to_owned(), "AAEC".to_owned())].into();
    for name in [CERTIFICATE, CHAIN, BUNDLE, TIMESTAMP] {
        annotations.insert(name.into(), String::new());
    }
    annotations.insert("org.example/other".into(), "anything".into());
    let bundle = legacy::from_signature_layer(b"p", &annotations).unwrap();
    assert_eq!(bundle.verification_material.content, KeyMaterial::PublicKeyHint(String::new()));
    assert!(bundle.verification_material.tlog_entries.is_empty());
}

#[test]
fn each_annotation_of_another_form_is_refused() {
    let two = pem_encode("CERTIFICATE", b"a") + &pem_encode("CERTIFICATE", b"b");
    let nine = pem_encode("CERTIFICATE", b"a").repeat(9);
    let eight = pem_encode("CERTIFICATE", b"a").repeat(8);
    let key = pem_encode("PUBLIC KEY", b"a");
    for (name, bad) in [
        (SIGNATURE, ""),
        (SIGNATURE, "not base64"),
        (CERTIFICATE, "junk"),
        (CERTIFICATE, two.as_str()),
        (CERTIFICATE, key.as_str()),
        (CERTIFICATE, &pem_encode("CERTIFICATE", b"")),
        (CHAIN, "junk"),
        (CHAIN, nine.as_str()),
        (CHAIN, eight.as_str()),
        (CHAIN, key.as_str()),
        (BUNDLE, "null"),
        (BUNDLE, "{}"),
        (BUNDLE, &promise().replace("\"AQID\"", "\"\"")),
        (BUNDLE, &promise().replace("\"c0d2\"", "\"\"")),
        (BUNDLE, &promise().replace("\"c0d2\"", "\"xy\"")),
        (BUNDLE, &promise().replace("\"logIndex\":7", "\"logIndex\":-7")),
        (BUNDLE, &promise().replace("1700000000", "-1")),
        (BUNDLE, &promise().replace("1700000000", "17000000000000")),
        (BUNDLE, &promise().replace(&base64_encode(BODY.as_bytes()), "e30=")),
        (BUNDLE, &promise().replace(&base64_encode(BODY.as_bytes()), "")),
        (BUNDLE, &promise().replacen('{', "{\"SignedEntryTimestamp\":\"AQID\",", 1)),
        (TIMESTAMP, "{}"),
        (TIMESTAMP, r#"{"SignedRFC3161Timestamp":7}"#),
    ] {
        let mut annotations = good();
        annotations.insert(name.into(), bad.to_owned());
        assert!(legacy::from_signature_layer(b"p", &annotations).is_err(), "{name}: {bad}");
    }
    let mut none = good();
    none.remove(SIGNATURE);
    assert!(legacy::from_signature_layer(b"p", &none).is_err());
}

#[test]
fn v26_annotations_and_payloads_over_their_limit_are_refused_unread() {
    for name in [SIGNATURE, CERTIFICATE, CHAIN, BUNDLE, TIMESTAMP] {
        let mut annotations = good();
        annotations.insert(name.into(), "A".repeat(MAX_ANNOTATION_LEN + 1));
        let error = legacy::from_signature_layer(b"p", &annotations).unwrap_err().to_string();
        assert!(error.contains("at most"), "{name}: {error}");
    }
    assert!(legacy::from_signature_layer(&vec![b' '; (1 << 20) + 1], &good()).is_err());
    assert!(legacy::from_attestation_layer(&vec![b' '; (16 << 20) + 1], &good()).is_err());
}

#[test]
fn an_envelope_keeps_its_text_and_has_one_signature() {
    let text = br#" {"payloadType":"t","payload":"e30=","signatures":[{"keyid":"","sig":"AA=="}]} "#;
    let mut annotations = good();
    annotations.insert(SIGNATURE.into(), String::new());
    let bundle = legacy::from_attestation_layer(text, &annotations).unwrap();
    assert_eq!(bundle.content.stamped(), text);
    assert_eq!(bundle.content.signature(), [0]);
    assert_eq!(legacy::to_annotations(&bundle, &[]), annotations);
    assert!(bundle.to_json().is_err(), "no bundle can say this");
    let mut other = bundle.clone();
    let Content::StoredDsse { text, .. } = &mut other.content else { panic!() };
    *text = br#"{"payloadType":"t","payload":"e30=","signatures":[{"sig":"AQ=="}]}"#.to_vec();
    assert!(other.check_shape().is_err(), "what is stamped is what is signed");
    let two = br#"{"payloadType":"t","payload":"e30=","signatures":[{"sig":"AA=="},{"sig":"AQ=="}]}"#;
    assert!(legacy::from_attestation_layer(two, &annotations).is_err());
    for junk in [&b""[..], b"null", b"{}", br#"{"payloadType":"t","payload":"e30=","signatures":[]}"#] {
        assert!(legacy::from_attestation_layer(junk, &annotations).is_err());
    }
}

#[test]
fn the_older_bundle_file_for_blobs_is_read_and_written() {
    let certificate = base64_encode(pem_encode("CERTIFICATE", b"leaf").as_bytes());
    let json = format!(r#"{{"base64Signature":"AAEC","cert":"{certificate}","rekorBundle":{}}}"#, promise());
    let bundle = legacy::from_blob_bundle(json.as_bytes()).unwrap();
    assert_eq!(bundle.verification_material.content.leaf(), Some(&b"leaf"[..]));
    assert_eq!(bundle.verification_material.tlog_entries[0].log_index, 7);
    assert_eq!(legacy::to_blob_bundle(&bundle).unwrap(), json.as_bytes());

    let key = base64_encode(pem_encode("PUBLIC KEY", b"key").as_bytes());
    let by_key =
        legacy::from_blob_bundle(format!(r#"{{"base64Signature":"AAEC","cert":"{key}"}}"#).as_bytes())
            .unwrap();
    assert!(matches!(by_key.verification_material.content, KeyMaterial::PublicKeyHint(_)));
    for bad in [
        "null",
        "{}",
        r#"{"base64Signature":""}"#,
        r#"{"base64Signature":"AAEC","cert":"junk"}"#,
        r#"{"base64Signature":"AAEC","rekorBundle":{}}"#,
        r#"{"base64Signature":"AAEC","base64Signature":"AAEC"}"#,
    ] {
        assert!(legacy::from_blob_bundle(bad.as_bytes()).is_err(), "{bad}");
    }
    let simple = legacy::from_signature_layer(b"p", &good()).unwrap();
    assert!(legacy::to_blob_bundle(&simple).is_err());
}
