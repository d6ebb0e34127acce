//! The timestamps in the public Sigstore vectors: all are read, and those of bundles which must verify do.

use std::path::Path;

use countersign_crypto::encoding::base64_decode;
use countersign_x509::Certificate;
use countersign_x509::timestamp::{Authority, Imprinted, TimestampToken};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/testdata/sigstore-conformance");

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    base64_decode(value.as_str()?).ok()
}

fn authorities(root: &Value) -> Vec<Authority> {
    let chain = |authority: &Value| -> Option<Authority> {
        let list = authority["certChain"]["certificates"].as_array()?;
        let certificates: Vec<Certificate> =
            list.iter().map(|c| Certificate::from_der(&bytes(&c["rawBytes"]).unwrap()).unwrap()).collect();
        Authority::from_chain(&certificates).ok()
    };
    root["timestampAuthorities"].as_array().into_iter().flatten().filter_map(chain).collect()
}

#[test]
fn every_timestamp_is_read_and_those_of_good_bundles_verify() {
    let Ok(folders) = std::fs::read_dir(format!("{ROOT}/bundle-verify")) else {
        println!("skipped: no test vectors at {ROOT}");
        return;
    };
    let production = json(Path::new(&format!("{ROOT}/production_trusted_root.json"))).unwrap();
    let (mut read, mut verified, mut refused) = (0, 0, Vec::new());
    for folder in folders {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Some(bundle) = json(&folder.join("bundle.sigstore.json")) else { continue };
        let root = json(&folder.join("trusted_root.json"));
        let authorities = authorities(root.as_ref().unwrap_or(&production));
        let signature = bytes(&bundle["messageSignature"]["signature"])
            .or_else(|| bytes(&bundle["dsseEnvelope"]["signatures"][0]["sig"]))
            .unwrap_or_default();
        let stamps = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        for stamp in stamps.as_array().into_iter().flatten() {
            let Some(der) = bytes(&stamp["signedTimestamp"]) else {
                assert!(name.ends_with("_fail"), "{name}: not base64");
                continue;
            };
            let token = TimestampToken::parse(&der).unwrap_or_else(|e| panic!("{name}: {e}"));
            read += 1;
            let results: Vec<_> =
                authorities.iter().map(|a| token.verify(Imprinted::Bytes(&signature), None, a)).collect();
            if let Some(Ok(good)) = results.iter().find(|r| r.is_ok()) {
                assert_eq!(good.time(), token.unverified_info().gen_time);
                verified += 1;
            } else {
                refused.push(format!(
                    "{name}: {:?}",
                    results.into_iter().map(Result::unwrap_err).collect::<Vec<_>>()
                ));
                assert!(name.ends_with("_fail"), "{}", refused.last().unwrap());
            }
        }
    }
    println!("{read} read, {verified} verified, refused: {refused:#?}");
    assert!(read >= 20 && verified > 0, "{read} read, {verified} verified");
}
