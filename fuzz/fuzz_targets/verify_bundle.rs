//! The whole engine, with a fixed trust root and time: a real Rekor v2 log whose one entry is the seed's. Nothing can
//! be accepted: there is no certificate authority in the root, and the key is another one.
#![no_main]

use std::sync::LazyLock;

use countersign_bundle::{Bundle, TrustedRoot};
use countersign_crypto::{HashAlgorithm, PublicKey, encoding};
use countersign_verify::{Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const LOG_KEY: &str = "MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=";

const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{
"baseUrl":"http://localhost","hashAlgorithm":"SHA2_256","publicKey":{
"rawBytes":"MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=","keyDetails":"PKIX_ED25519",
"validFor":{"start":"2024-01-01T00:00:00Z"}},"logId":{"keyId":"k5yWmxCCShy6oDqAKZ4kElrcIy8CCE6qMWyEtdZtLo8="}}]}"#;

struct Fixed {
    material: TrustMaterial,
    requirements: [Requirements; 2],
    now: Timestamp,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let root = TrustedRoot::from_json(ROOT.as_bytes()).expect("the root is well-formed");
    let key = encoding::base64_decode(LOG_KEY).expect("base64");
    let key = PublicKey::from_spki_der(&key).expect("a key");
    Fixed {
        material: TrustMaterial::from_trusted_root(&root).expect("the root can be used"),
        requirements: [
            Requirements::builder().dangerous_any_identity().build(),
            Requirements::builder().key(key).build(),
        ],
        now: "2026-11-24T00:00:00Z".parse().expect("a time"),
    }
});

fuzz_target!(|data: &[u8]| {
    let Ok(bundle) = Bundle::from_json(data) else { return };
    for requirements in &FIXED.requirements {
        for subject in
            [Subject::from_bytes(b"hello"), Subject::from_digest(HashAlgorithm::Sha256.digest(b"hello"))]
        {
            let report = verify(&subject, &bundle, &FIXED.material, requirements, FIXED.now);
            assert!(report.verified().is_err());
            assert!(report.exit_code() >= 2);
            assert!(!report.checks().is_empty());
        }
    }
});
