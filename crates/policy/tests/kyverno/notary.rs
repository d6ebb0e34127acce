//! Signatures of the Notary Project.

use countersign_crypto::{KeyPair, encoding::pem_decode};
use countersign_notary::{Format, SignRequest, SigningScheme, TargetArtifact, sign};
use countersign_policy::Status;
use countersign_registry::Descriptor;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Attached, Form, Found, Origin};
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
        let place = cluster.place(IMAGE);
        sign_as_notary(&mut cluster, &place, descriptor, metadata, None);
    }
    cluster
}

/// Signs what this descriptor is of, and puts the signature beside it.
pub(crate) fn sign_as_notary(
    cluster: &mut Cluster,
    place: &str,
    descriptor: Descriptor,
    metadata: &[(&str, &str)],
    expiry: Option<jiff::Timestamp>,
) {
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
        expiry,
        agent: None,
        chain: &Certificate::chain_from_pem(CHAIN).unwrap(),
        signer: &key,
    })
    .unwrap();
    let envelope = draft.finish(None).unwrap().0;
    let layer = Descriptor::of(Format::Jws.media_type(), &envelope);
    let manifest = Descriptor::of(media_type::OCI_MANIFEST, layer.digest.to_string().as_bytes());
    cluster.evidence.entry(place.to_owned()).or_default().push(Found {
        form: Form::Notary,
        origin: Origin::ReferrersApi,
        manifest,
        layer,
        annotations: Default::default(),
        bytes: envelope,
    });
}

/// Attaches a document to the image, and signs it if asked for.
pub(crate) fn attach(cluster: &mut Cluster, kind: &str, document: &Value, signed: bool) {
    let bytes = document.to_string().into_bytes();
    let layer = Descriptor::of("application/json", &bytes);
    let manifest = Descriptor::of(media_type::OCI_MANIFEST, format!("{kind} {document}").as_bytes());
    let place = cluster.place(IMAGE);
    let (repository, _) = place.split_once('@').unwrap();
    if signed {
        let of_document = format!("{repository}@{}", manifest.digest);
        sign_as_notary(cluster, &of_document, manifest.clone(), &[], None);
    }
    let attached = Attached { manifest, layer, bytes };
    cluster.attached.entry(place).or_default().push((kind.to_owned(), attached));
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

const SCAN: &str = "application/vnd.example.scan+json";

/// A policy that wants a scan, signed below these certificates, of which this holds.
fn scanned(root: &str, conditions: Value, more: Value) -> Value {
    let mut said = json!({"name": "scan", "type": SCAN, "conditions": conditions,
        "attestors": [{"entries": [{"certificates": {"certChain": root}}]}]});
    for (name, value) in more.as_object().unwrap() {
        said[name] = value.clone();
    }
    verifying(json!({"imageReferences": ["*"], "type": "Notary", "attestations": [said]}))
}

fn no_critical() -> Value {
    json!([{"all": [{"key": "{{ critical }}", "operator": "Equals", "value": 0}]}])
}

#[test]
fn an_attached_document_counts_by_its_own_signature_and_what_it_says() {
    let other = crate::support::Cluster::new().world.root.certificate_authorities[0].certificates[0].clone();
    let other = countersign_crypto::encoding::pem_encode("CERTIFICATE", &other);
    let ours = scanned(ROOT, no_critical(), json!({}));
    for (documents, policy, expected) in [
        (&[(SCAN, 0, true)][..], &ours, (true, "verified")),
        (&[], &ours, (false, "no_signature")),
        (&[(SCAN, 0, false)], &ours, (false, "no_signature")),
        (&[("application/json", 0, true)], &ours, (false, "no_signature")),
        (&[(SCAN, 2, true)], &ours, (false, "condition_not_met")),
        (&[(SCAN, 0, true), (SCAN, 2, true)], &ours, (false, "condition_not_met")),
        // What nobody who is meant signed says nothing.
        (&[(SCAN, 0, true), (SCAN, 2, false)], &ours, (true, "verified")),
        (&[(SCAN, 0, true)], &scanned(&other, no_critical(), json!({})), (false, "certificate_untrusted")),
        (&[(SCAN, 2, true)], &scanned(ROOT, json!([]), json!({})), (true, "verified")),
        (
            &[(SCAN, 0, true)],
            &scanned(ROOT, no_critical(), json!({"type": "other"})),
            (false, "no_signature"),
        ),
    ] {
        // A signature of the image itself is none of a document.
        let mut cluster = cluster(true, &[]);
        for (kind, critical, signed) in documents {
            attach(&mut cluster, kind, &json!({ "critical": critical }), *signed);
        }
        let (admits, _, reason) = ends(&cluster, policy);
        assert_eq!((admits, reason.as_str()), expected, "{documents:?}");
    }
}

#[test]
fn documents_are_asked_for_and_what_is_away_is_not_missing() {
    let mut cluster = cluster(true, &[]);
    attach(&mut cluster, SCAN, &json!({"critical": 0}), true);
    for away in ["the documents", "the evidence"] {
        cluster.away = [away.to_owned()].into();
        let (admits, status, _) = ends(&cluster, &scanned(ROOT, no_critical(), json!({})));
        assert_eq!((admits, status), (false, Status::Error), "{away}");
    }
    // Together with others: across documents, by name.
    cluster.away.clear();
    let mut denied = scanned(ROOT, json!([]), json!({}));
    denied["spec"]["rules"][0]["verifyImages"][0]["validate"] = json!({"message": "no scan without findings",
        "deny": {"conditions": {"all": [{"key": "{{ scan.critical }}", "operator": "Equals", "value": 0}]}}});
    assert_eq!(ends(&cluster, &denied).2, "denied_by_validate");
}

#[test]
fn a_document_is_asked_for_in_cel_by_a_referrer_and_read_after_it_was_verified() {
    use crate::image_validating::{passes, policy as in_cel};
    let who = || json!({"notary": {"certs": {"value": ROOT}}});
    let by = |attestor: Value, said: Value, expression: &str| {
        let expression = format!("images.containers.all(image, {expression})");
        in_cel(attestor, json!({"attestations": [said], "validations": [{ "expression": expression }]}))
    };
    let referrer = || json!({"name": "scan", "referrer": {"type": SCAN}});
    let verified = "verifyAttestationSignatures(image, attestations.scan, [attestors.who]) > 0";
    let clean = format!("{verified} && extractPayload(image, attestations.scan).critical == 0");
    let mut cluster = cluster(false, &[]);
    assert!(!passes(&cluster, &by(who(), referrer(), verified)));
    attach(&mut cluster, SCAN, &json!({"critical": 0}), true);
    assert!(passes(&cluster, &by(who(), referrer(), verified)));
    assert!(passes(&cluster, &by(who(), referrer(), &clean)));
    let dirty = clean.replace("== 0", "== 1");
    assert!(!passes(&cluster, &by(who(), referrer(), &dirty)));
    // A statement is made by others than sign as the Notary Project does, and a document by these.
    assert!(!passes(&cluster, &by(who(), json!({"name": "scan", "intoto": {"type": SCAN}}), verified)));
    let key = json!({"cosign": {"key": {"data": countersign_crypto::Signer::public_key(&crate::support::key()).to_pem()}}});
    assert!(!passes(&cluster, &by(key, referrer(), verified)));
}

#[test]
fn cve_2024_23332_v56_a_signature_past_its_expiry_is_none_though_it_is_good() {
    let ours = policy(json!({"certChain": ROOT}));
    for (after, expected) in [(3600, (true, "verified")), (-1, (false, "signature_expired"))] {
        let mut cluster = cluster(false, &[]);
        let signed_at = cluster.now;
        let descriptor = cluster.images[&cluster.place(IMAGE)].descriptor.clone();
        let place = cluster.place(IMAGE);
        let expiry = signed_at + jiff::SignedDuration::from_hours(1);
        sign_as_notary(&mut cluster, &place, descriptor, &[], Some(expiry));
        cluster.now = expiry - jiff::SignedDuration::from_secs(after);
        let (admits, _, reason) = ends(&cluster, &ours);
        assert_eq!((admits, reason.as_str()), expected, "{after}");
    }
}

#[test]
fn a_timestamp_is_demanded_in_cel_where_its_authority_is_named() {
    use crate::image_validating::{passes, policy as in_cel};
    let by = |more: Value| {
        let mut notary = json!({"certs": {"value": ROOT}});
        for (name, value) in more.as_object().unwrap() {
            notary[name] = value.clone();
        }
        in_cel(json!({ "notary": notary }), json!({}))
    };
    let cluster = cluster(true, &[]);
    assert!(passes(&cluster, &by(json!({}))));
    assert!(!passes(&cluster, &by(json!({"tsaCerts": {"value": ROOT}}))));
}
