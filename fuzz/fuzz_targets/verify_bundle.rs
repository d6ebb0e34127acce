//! The whole engine, with fixed trust roots and a fixed time. Under the root of a real instance, of which two seeds are,
//! only what its user signed is accepted, whatever is around it. Under a root of a log alone nothing is: there is no
//! certificate authority in it, and the key is another one.
#![no_main]

use std::sync::LazyLock;

use countersign_bundle::{Bundle, TrustedRoot};
use countersign_crypto::{HashAlgorithm, PublicKey, encoding};
use countersign_verify::{Identity, Payload, Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const LOG_KEY: &str = "MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=";

const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{
"baseUrl":"http://localhost","hashAlgorithm":"SHA2_256","publicKey":{
"rawBytes":"MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=","keyDetails":"PKIX_ED25519",
"validFor":{"start":"2024-01-01T00:00:00Z"}},"logId":{"keyId":"k5yWmxCCShy6oDqAKZ4kElrcIy8CCE6qMWyEtdZtLo8="}}]}"#;

/// The root of the instance that signed the seeds `message` and `attestation`.
const INSTANCE: &[u8] = include_bytes!("../seeds/bundle_trusted_root/instance");
const SIGNER: &str = "alice@example.com";
const ISSUER: &str = "http://localhost:35103/development-identity-provider";
/// What those seeds are about.
const SIGNED: &[u8] = b"hello\n";
/// The one statement that was signed.
const STATEMENT: &str = "https://example.com/x";

struct Fixed {
    material: TrustMaterial,
    requirements: [Requirements; 2],
    instance: TrustMaterial,
    alice: Requirements,
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
        instance: {
            let root = TrustedRoot::from_json(INSTANCE).expect("the root is well-formed");
            TrustMaterial::from_trusted_root(&root).expect("the root can be used")
        },
        alice: {
            let alice = Identity::exact(SIGNER, ISSUER).expect("an identity");
            Requirements::builder().identity(alice).build()
        },
        now: "2026-11-30T00:00:00Z".parse().expect("a time"),
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
    // Nobody but the signer has the key, so there are two things it has ever said.
    let report = verify(&Subject::from_bytes(SIGNED), &bundle, &FIXED.instance, &FIXED.alice, FIXED.now);
    if let Ok(verified) = report.verified() {
        assert_eq!(verified.signer().identity(), Some(SIGNER));
        assert!(!verified.times().is_empty() && !verified.entries().is_empty());
        match verified.value() {
            Payload::Artifact => {}
            Payload::Statement { statement, .. } => assert_eq!(statement.predicate_type, STATEMENT),
            other => panic!("nobody signed {other:?}"),
        }
    }
    let other = verify(&Subject::from_bytes(b"other"), &bundle, &FIXED.instance, &FIXED.alice, FIXED.now);
    assert!(other.verified().is_err());
});
