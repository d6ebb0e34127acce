//! Signatures over other hashes than the one that goes with a key, and under tags that begin with something.

use std::sync::LazyLock;

use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Scheme, Signer as _};
use countersign_policy::Status;
use serde_json::{Value, json};

use crate::support::{Cluster, pod};
use crate::{ends, signed_by};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// A cluster with an image that somebody signed over this hash, and the key.
fn signed_over(hash: HashAlgorithm) -> (Cluster, KeyPair) {
    // A key of RSA can sign over any of them.
    static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap().to_pkcs8().unwrap().to_vec()
    });
    let signer = KeyPair::from_pkcs8(&KEY).unwrap().with_scheme(Scheme::RsaPkcs1(hash)).unwrap();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign_older(IMAGE, &signer, &json!({}));
    (cluster, signer)
}

fn by(signer: &KeyPair, inside: Value, outside: Value) -> Value {
    let mut keys = json!({"publicKeys": signer.public_key().to_pem(), "rekor": {"ignoreTlog": true}});
    for (name, value) in inside.as_object().unwrap() {
        keys[name] = value.clone();
    }
    let mut entry = json!({ "keys": keys });
    for (name, value) in outside.as_object().unwrap() {
        entry[name] = value.clone();
    }
    signed_by(json!([{"entries": [entry]}]))
}

#[test]
fn a_signature_is_over_the_hash_that_the_policy_names_and_no_other() {
    let none = || json!({});
    let algorithm = |name: &str| json!({"signatureAlgorithm": name});
    for (signed, inside, outside, admits) in [
        (HashAlgorithm::Sha256, none(), none(), true),
        (HashAlgorithm::Sha256, algorithm("sha256"), algorithm("sha256"), true),
        (HashAlgorithm::Sha256, algorithm("sha512"), none(), false),
        (HashAlgorithm::Sha512, algorithm("sha512"), none(), true),
        (HashAlgorithm::Sha512, none(), algorithm("sha512"), true),
        (HashAlgorithm::Sha512, algorithm("sha384"), none(), false),
        (HashAlgorithm::Sha512, none(), none(), false),
        (HashAlgorithm::Sha384, none(), algorithm("sha384"), true),
    ] {
        let (cluster, signer) = signed_over(signed);
        let (admitted, status, reason) =
            ends(&cluster, &by(&signer, inside.clone(), outside.clone()), pod(&[IMAGE]));
        assert_eq!(admitted, admits, "{signed} {inside} {outside}: {reason}");
        assert_eq!(status, if admits { Status::Pass } else { Status::Fail });
    }
}

#[test]
fn the_same_in_a_policy_in_cel_and_under_a_prefix() {
    use crate::image_validating::{passes, policy};
    let (mut cluster, signer) = signed_over(HashAlgorithm::Sha512);
    let by = |hash: &str, prefix: &str| {
        let key = json!({"data": signer.public_key().to_pem(), "hashAlgorithm": hash});
        let cosign =
            json!({"key": key, "source": {"tagPrefix": prefix}, "ctlog": {"insecureIgnoreTlog": true}});
        policy(json!({ "cosign": cosign }), json!({}))
    };
    assert!(passes(&cluster, &by("sha512", "")));
    assert!(!passes(&cluster, &by("sha384", "")));
    assert!(!passes(&cluster, &by("", "")));
    assert!(!passes(&cluster, &by("sha512", "release-")), "the tag has no such prefix");
    let layer = cluster.evidence[&cluster.place(IMAGE)][0].layer.digest;
    cluster.prefixes.insert(layer, "release-".into());
    assert!(passes(&cluster, &by("sha512", "release-")));
    assert!(!passes(&cluster, &by("sha512", "")));
}
