//! Real certificates: a leaf of Fulcio 1.8.8 with an embedded SCT of a static-ct log, and, where the public
//! test vectors are at hand, every certificate in them.

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_crypto::{KeyType, Scheme, Signer as _};
use countersign_x509::{Certificate, FulcioExtension, San, X509Error};

use crate::support::{Spec, key};

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
    assert_eq!(scts[0].extensions, [0, 0, 5, 0, 0, 0, 0, 0], "leaf_index 0");
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

#[test]
fn extensions_that_are_doubled_or_malformed_are_refused() {
    let key = key();
    let read = |more: &[(&[u8], &[u8])]| {
        let spec = Spec::leaf("leaf").with(|s| {
            s.more = more.iter().map(|(oid, value)| (oid.to_vec(), false, value.to_vec())).collect();
        });
        Certificate::from_der(&spec.der(key.public_key(), "ca", &key))
    };
    assert!(read(&[]).is_ok());
    const UNKNOWN: &[u8] = &[0x2a, 3];
    assert!(read(&[(UNKNOWN, b"anything")]).is_ok(), "unknown and not critical");
    assert!(read(&[(UNKNOWN, b"a"), (UNKNOWN, b"b")]).is_err(), "twice");
    let id = |last: u8| [0x55, 0x1d, last];
    let fulcio = |last: u8| [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, last];
    let sct_list: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
    for (name, oid, value) in [
        ("a path length without an authority", &id(19)[..], &[0x30, 3, 2, 1, 0][..]),
        ("basic constraints of another type", &id(19), &[0x04, 0]),
        ("a subject key identifier of another type", &id(14), &[0x02, 1, 0]),
        ("no alternative name at all", &id(17), &[0x30, 0]),
        ("an e-mail address with a NUL", &id(17), &[0x30, 4, 0x81, 2, b'a', 0]),
        ("an issuer that is not DER", &fulcio(8), b"https://issuer.example"),
        ("an issuer that is not UTF-8", &fulcio(1), &[0xff]),
        ("an SCT list outside of an OCTET STRING", sct_list, &[0, 0]),
    ] {
        assert!(read(&[(oid, value)]).is_err(), "{name}");
    }
    let empty_list = read(&[(sct_list, &[0x04, 2, 0, 0])]).unwrap();
    assert!(empty_list.scts().is_err(), "an SCT list without an SCT");
    let many: Vec<Vec<u8>> = (0..130_u8).map(|n| vec![0x2a, 3, n % 100, n / 100]).collect();
    let many: Vec<(&[u8], &[u8])> = many.iter().map(|oid| (oid.as_slice(), &b""[..])).collect();
    assert!(matches!(read(&many), Err(X509Error::TooMany { .. })));
}

#[test]
fn other_versions_and_contradicting_algorithms_are_refused() {
    let at = FULCIO_LEAF.windows(5).position(|w| w == [0xa0, 3, 2, 1, 2]).unwrap();
    let mut version = FULCIO_LEAF.to_vec();
    version[at + 4] = 1;
    assert!(Certificate::from_der(&version).is_err());
    // ecdsa-with-SHA256 outside, ecdsa-with-SHA384 inside.
    let mut inner = FULCIO_LEAF.to_vec();
    let at = inner.windows(8).position(|w| w == [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]).unwrap();
    inner[at + 7] = 3;
    let error = Certificate::from_der(&inner).unwrap_err();
    assert!(error.to_string().contains("algorithm"), "{error}");
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
