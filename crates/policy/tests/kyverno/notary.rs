//! Signatures of the Notary Project.

use countersign_crypto::{KeyPair, encoding::pem_decode};
use countersign_notary::{Format, SignRequest, SigningScheme, TargetArtifact, sign};
use countersign_policy::Status;
use countersign_registry::Descriptor;
use countersign_registry::evidence::Form;
use countersign_x509::Certificate;
use serde_json::{Value, json};

use crate::support::{Cluster, pod};
use crate::validate::with_config;
use crate::{read, request, told, verifying};

// A signer with certificates, as the tests of the client have one.
const SIGNER: &str = include_str!("../../../client/tests/data/notary/signer.key");
const CHAIN: &str = include_str!("../../../client/tests/data/notary/chain.pem");
pub(crate) const ROOT: &str = include_str!("../../../client/tests/data/notary/root.pem");
pub(crate) const IMAGE: &str = "ghcr.io/acme/app:v1";

fn policy(certificates: Value) -> Value {
    verifying(json!({"imageReferences": ["*"], "type": "Notary",
        "attestors": [{"entries": [{"certificates": certificates}]}]}))
}

/// A cluster at a time when the certificates are valid, with an image and, if asked for, its signature.
pub(crate) fn cluster(signed: bool, metadata: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.now = "2030-01-01T00:00:00Z".parse().unwrap();
    with_config(&mut cluster, IMAGE, json!({}));
    if signed {
        let descriptor = cluster.images[&cluster.place(IMAGE)].descriptor.clone();
        let key = KeyPair::from_pkcs8(&pem_decode(SIGNER).unwrap().pop().unwrap().der).unwrap();
        let target = TargetArtifact {
            media_type: descriptor.media_type,
            digest: descriptor.digest,
            size: descriptor.size,
            annotations: metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let draft = sign(&SignRequest {
            format: Format::Jws,
            scheme: SigningScheme::X509,
            target: &target,
            signing_time: cluster.now,
            expiry: None,
            agent: None,
            chain: &Certificate::chain_from_pem(CHAIN).unwrap(),
            signer: &key,
        })
        .unwrap();
        let envelope = draft.finish(None).unwrap().0;
        let layer = Descriptor::of(Format::Jws.media_type(), &envelope);
        cluster.add(IMAGE, Form::Notary, layer, Default::default(), envelope);
    }
    cluster
}

fn ends(cluster: &Cluster, policy: &Value) -> (bool, Status, String) {
    crate::ends(cluster, policy, pod(&[IMAGE]))
}

#[test]
fn a_signer_below_the_certificates_is_accepted_and_nobody_else() {
    let ours = policy(json!({"certChain": ROOT}));
    assert_eq!(ends(&cluster(true, &[]), &ours), (true, Status::Pass, "verified".to_owned()));
    assert_eq!(ends(&cluster(false, &[]), &ours), (false, Status::Fail, "no_signature".to_owned()));
    assert!(ends(&cluster(true, &[]), &policy(json!({"cert": ROOT}))).0);
    let other = crate::support::Cluster::new().world.root.certificate_authorities[0].certificates[0].clone();
    let other = countersign_crypto::encoding::pem_encode("CERTIFICATE", &other);
    let (admits, _, reason) = ends(&cluster(true, &[]), &policy(json!({"certChain": other})));
    assert_eq!((admits, reason.as_str()), (false, "certificate_untrusted"));
    // What cert names is all that is trusted.
    assert!(!ends(&cluster(true, &[]), &policy(json!({"cert": other, "certChain": ROOT}))).0);
}

#[test]
fn metadata_and_a_timestamp_are_demanded_where_the_policy_names_them() {
    let mut wanted = policy(json!({"certChain": ROOT}));
    wanted["spec"]["rules"][0]["verifyImages"][0]["attestors"][0]["entries"][0]["annotations"] =
        json!({"build": "42"});
    assert!(ends(&cluster(true, &[("build", "42")]), &wanted).0);
    assert_eq!(ends(&cluster(true, &[("build", "43")]), &wanted).2, "metadata_mismatch");
    let stamped = policy(json!({"certChain": ROOT, "ctlog": {"tsaCertChain": ROOT}}));
    assert_eq!(ends(&cluster(true, &[]), &stamped).2, "timestamp_missing");
}

#[test]
fn a_signature_of_another_image_and_two_in_one_manifest_are_refused() {
    let ours = policy(json!({"certChain": ROOT}));
    let mut moved = cluster(true, &[]);
    let found = moved.evidence.remove(&moved.place(IMAGE)).unwrap();
    with_config(&mut moved, "ghcr.io/acme/other:v1", json!({}));
    moved.evidence.insert(moved.place("ghcr.io/acme/other:v1"), found);
    let decision = moved.decide(read(&ours), &request(pod(&["ghcr.io/acme/other:v1"])));
    assert_eq!(told(&decision), (false, Status::Fail, "artifact_mismatch"));
    let mut twice = cluster(true, &[]);
    let place = twice.place(IMAGE);
    let found = twice.evidence.get_mut(&place).unwrap();
    found.push(found[0].clone());
    assert_eq!(ends(&twice, &ours).2, "envelope_malformed");
    let mut away = cluster(true, &[]);
    away.away = ["the manifest of".to_owned()].into();
    assert_eq!(ends(&away, &ours), (false, Status::Error, "unreachable".to_owned()));
}
