//! Real certificates: a leaf of Fulcio 1.8.8 with an embedded SCT of a static-ct log, and, where the public
//! test vectors are at hand, every certificate in them.

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{KeyType, Scheme};
use countersign_x509::{Certificate, FulcioExtension, San, sct};

const FULCIO_LEAF: &[u8] = include_bytes!("../data/fulcio_leaf.der");

#[test]
fn a_real_fulcio_leaf_is_read_whole() {
    let leaf = Certificate::from_der(FULCIO_LEAF).unwrap();
    assert_eq!(leaf.der(), FULCIO_LEAF);
    assert_eq!(leaf.tbs_der(), &FULCIO_LEAF[4..4 + 0x255]);
    assert!(leaf.subject().is_empty());
    assert_eq!(leaf.issuer().to_string(), "O=local, CN=local-root");
    assert_eq!(leaf.not_before().to_string(), "2026-11-21T03:37:22Z");
    assert_eq!(leaf.not_after().to_string(), "2026-11-21T03:47:22Z");
    assert_eq!(leaf.serial().len(), 20);
    assert_eq!(leaf.public_key().key_type(), KeyType::EcdsaP256);
    assert_eq!(leaf.signature_scheme().unwrap(), Scheme::ECDSA_SHA256);
    assert_eq!(leaf.sans(), [San::Email("alice@example.com".into())]);
    assert!(!leaf.is_ca() && !leaf.is_self_signed() && !leaf.is_precertificate());
    assert!(leaf.key_usage().unwrap().digital_signature() && !leaf.key_usage().unwrap().key_cert_sign());
    assert!(leaf.extended_key_usage().unwrap().is_only(&countersign_x509::oid::CODE_SIGNING));
    assert!(leaf.unknown_critical_extensions().is_empty());
    assert_eq!(leaf.subject_key_id().unwrap().len(), 20);
    assert_eq!(leaf.authority_key_id().unwrap().len(), 20);
    let extensions: Vec<FulcioExtension<'_>> = leaf.fulcio().iter().collect();
    let seen: Vec<_> = extensions.iter().map(|e| (e.arc, e.value)).collect();
    assert_eq!(seen, [(1, "http://localhost:9998"), (8, "http://localhost:9998"), (24, "u1")]);
    assert_eq!(leaf.fulcio().issuer(), Some("http://localhost:9998"));

    let scts = leaf.scts().unwrap();
    assert_eq!(scts.len(), 1);
    assert_eq!(base64_encode(&scts[0].log_id), "MIDqiYGaPjy2WwdwUHrYDAEub0rEPm4ka4rPSGW1K9A=");
    assert_eq!(scts[0].timestamp_ms, 1_795_232_242_223);
    assert_eq!(sct::leaf_index(&scts[0].extensions), Some(0));
    assert_eq!(scts[0].scheme, Scheme::ECDSA_SHA256);
    assert!(leaf.tbs_for_sct().unwrap().len() < leaf.tbs_der().len());
}

#[test]
fn every_cut_and_every_changed_byte_is_read_or_refused_without_panic() {
    for end in 0..FULCIO_LEAF.len() {
        assert!(Certificate::from_der(&FULCIO_LEAF[..end]).is_err(), "cut at {end}");
    }
    for at in 0..FULCIO_LEAF.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = FULCIO_LEAF.to_vec();
            bytes[at] ^= flip;
            if let Ok(certificate) = Certificate::from_der(&bytes) {
                assert_eq!(certificate.der(), bytes);
                let _ = (certificate.scts(), certificate.tbs_for_sct(), certificate.is_self_signed());
            }
        }
    }
    assert!(Certificate::from_der(&[FULCIO_LEAF, &[0]].concat()).is_err(), "a byte behind the end");
    assert!(Certificate::from_der(&vec![0x30; 65 * 1024]).is_err(), "too large");
}

#[test]
fn pem_of_one_and_of_many() {
    let leaf = Certificate::from_der(FULCIO_LEAF).unwrap();
    let pem = leaf.to_pem();
    assert_eq!(Certificate::from_pem(&pem).unwrap(), leaf);
    assert_eq!(Certificate::chain_from_pem(&pem.repeat(3)).unwrap().len(), 3);
    assert!(Certificate::from_pem(&pem.repeat(2)).is_err());
    assert!(Certificate::chain_from_pem("").is_err());
    assert!(Certificate::chain_from_pem(&pem.repeat(65)).is_err());
    assert!(Certificate::chain_from_pem(&leaf.public_key().to_pem()).is_err(), "another label");
}

/// All certificates of the public vectors, wherever they stand in the JSON.
#[test]
fn the_certificates_of_the_public_vectors_are_read() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/testdata/sigstore-conformance");
    let Ok(folders) = std::fs::read_dir(format!("{root}/bundle-verify")) else {
        println!("skipped: no test vectors at {root}");
        return;
    };
    let mut files = vec![std::path::PathBuf::from(format!("{root}/production_trusted_root.json"))];
    for folder in folders {
        let folder = folder.unwrap().path();
        files.extend(["bundle.sigstore.json", "trusted_root.json"].map(|name| folder.join(name)));
    }
    let mut count = 0;
    for file in files {
        let Some(json) = std::fs::read(&file).ok().and_then(|b| serde_json::from_slice(&b).ok()) else {
            continue;
        };
        let mut found = Vec::new();
        collect(&json, &mut found);
        for der in found {
            if let Err(e) = Certificate::from_der(&der) {
                panic!("{}: {e}", file.display());
            }
            count += 1;
        }
    }
    println!("{count} certificates read");
    assert!(count > 100, "{count}");
}

fn collect(json: &serde_json::Value, found: &mut Vec<Vec<u8>>) {
    match json {
        serde_json::Value::Array(items) => items.iter().for_each(|i| collect(i, found)),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("certificates", serde_json::Value::Array(list)) => found.extend(
                        list.iter()
                            .filter_map(|c| c.get("rawBytes")?.as_str())
                            .filter_map(|text| base64_decode(text).ok()),
                    ),
                    ("certificate", serde_json::Value::Object(c)) => {
                        found.extend(c.get("rawBytes").and_then(|v| base64_decode(v.as_str()?).ok()))
                    }
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}
