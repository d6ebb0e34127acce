//! The SCTs in the public Sigstore vectors: those of bundles which must verify do, with the key of the issuer on
//! the verified path.

use std::path::Path;

use countersign_crypto::PublicKey;
use countersign_crypto::encoding::base64_decode;
use countersign_x509::Certificate;
use countersign_x509::chain::{self, Purpose};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/testdata/sigstore-conformance");

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    base64_decode(value.as_str()?).ok()
}

#[test]
fn the_scts_of_good_bundles_verify() {
    let Ok(folders) = std::fs::read_dir(format!("{ROOT}/bundle-verify")) else {
        println!("skipped: no test vectors at {ROOT}");
        return;
    };
    let production = json(Path::new(&format!("{ROOT}/production_trusted_root.json"))).unwrap();
    let (mut good, mut bad) = (0, Vec::new());
    for folder in folders {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Some(bundle) = json(&folder.join("bundle.sigstore.json")) else { continue };
        let material = &bundle["verificationMaterial"];
        let leaf = bytes(&material["certificate"]["rawBytes"])
            .or_else(|| bytes(&material["x509CertificateChain"]["certificates"][0]["rawBytes"]));
        let Some(leaf) = leaf.and_then(|der| Certificate::from_der(&der).ok()) else { continue };
        let root = json(&folder.join("trusted_root.json")).unwrap_or_else(|| production.clone());
        let verified = path(&leaf, &root).is_some_and(|issuer| {
            let scts = leaf.scts().unwrap();
            !scts.is_empty()
                && scts.iter().all(|sct| {
                    logs(&root).iter().any(|log| sct.verify(&leaf, issuer.public_key(), log).is_ok())
                })
        });
        if verified {
            good += 1;
        } else {
            assert!(name.ends_with("_fail"), "{name}");
            bad.push(name);
        }
    }
    println!("{good} good, not good: {bad:#?}");
    assert!(good > 50, "{good}");
}

fn logs(root: &Value) -> Vec<PublicKey> {
    let keys = root["ctlogs"].as_array().into_iter().flatten();
    keys.filter_map(|log| PublicKey::from_spki_der(&bytes(&log["publicKey"]["rawBytes"])?).ok()).collect()
}

/// The issuer of the leaf on a path to any authority of the trust root.
fn path(leaf: &Certificate, root: &Value) -> Option<Certificate> {
    root["certificateAuthorities"].as_array()?.iter().find_map(|authority| {
        let list = authority["certChain"]["certificates"].as_array()?;
        let chain: Vec<Certificate> =
            list.iter().filter_map(|c| Certificate::from_der(&bytes(&c["rawBytes"])?).ok()).collect();
        let (anchor, intermediates) = chain.split_last()?;
        let anchors = std::slice::from_ref(anchor);
        let path =
            chain::verify(leaf, intermediates, anchors, Purpose::CodeSigning, leaf.not_before()).ok()?;
        Some(path.issuer().clone())
    })
}
