//! Who must have signed: every field of an attestor alone can make the answer no.

use countersign_crypto::Signer as _;
use countersign_policy::Status;
use serde_json::{Value, json};

use crate::support::{By, Cluster, digest_of, key, pod};
use crate::{alice, key_entry, read, request, result, signed_by, told, verifying};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// A cluster with an image that Alice has signed.
fn by_alice() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({"stage": "prod"}));
    cluster
}

fn ends(cluster: &Cluster, policy: &Value) -> (bool, Status, String) {
    crate::ends(cluster, policy, pod(&[IMAGE]))
}

#[test]
fn cve_2025_29778_each_identity_field_alone_can_fail() {
    let cluster = by_alice();
    let other_root = Cluster::new().world.root.certificate_authorities[0].certificates[0].clone();
    let other_root = countersign_crypto::encoding::pem_encode("CERTIFICATE", &other_root);
    let key = key().public_key().to_pem();
    let issuer = json!("https://issuer.example");
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"subject": "*@example.com"}), Ok(())),
        (json!({"subject": "bob@example.com"}), Err("identity_mismatch")),
        (json!({"issuer": "https://other.example"}), Err("issuer_mismatch")),
        (json!({"issuer": "https://*.example"}), Ok(())),
        (json!({"subject": "", "subjectRegExp": "^alice@example\\.com$"}), Ok(())),
        (json!({"subject": "", "subjectRegExp": "^bob@.*$"}), Err("identity_mismatch")),
        (json!({"subject": "", "subjectRegExp": "alice"}), Err("identity_mismatch")),
        (json!({"subject": "bob@example.com", "subjectRegExp": "^alice@.*$"}), Ok(())),
        (json!({"issuer": "", "issuerRegExp": "^https://issuer\\.example$"}), Ok(())),
        (json!({"issuer": "", "issuerRegExp": "^https://other\\.example$"}), Err("issuer_mismatch")),
        (json!({"issuer": issuer, "issuerRegExp": "^https://other\\.example$"}), Err("issuer_mismatch")),
        (json!({"additionalExtensions": {"sourceRepositoryURI": "https://git.example/*"}}), Ok(())),
        (json!({"additionalExtensions": {"1.3.6.1.4.1.57264.1.12": "https://git.example/a"}}), Ok(())),
        (
            json!({"additionalExtensions": {"sourceRepositoryURI": "https://git.evil/*"}}),
            Err("extension_mismatch"),
        ),
        (json!({"additionalExtensions": {"githubWorkflowName": "x"}}), Err("extension_mismatch")),
        (json!({"roots": other_root}), Err("certificate_untrusted")),
        (json!({"rekor": {"url": "https://log0.example", "pubkey": key}}), Err("log_untrusted")),
        (json!({"rekor": {"url": "https://log1.example"}}), Err("log_untrusted")),
        (json!({"ctlog": {"pubkey": key}}), Err("sct_untrusted")),
        (json!({"ctlog": {"pubkey": key, "ignoreSCT": true}}), Ok(())),
        (json!({"ctlog": {"tsaCertChain": other_root}}), Err("timestamp_untrusted")),
    ] {
        let (admits, status, reason) =
            ends(&cluster, &signed_by(json!([{"entries": [alice(changes.clone())]}])));
        match expected {
            Ok(()) => assert!(admits && status == Status::Pass, "{changes}: {reason}"),
            Err(_) => assert_eq!(
                (admits, status, reason.as_str()),
                (false, Status::Fail, expected.unwrap_err()),
                "{changes}"
            ),
        }
    }
}

#[test]
fn the_annotations_and_the_repository_alone_can_fail() {
    let cluster = by_alice();
    let with = |field: &str, value: Value| {
        let mut entry = alice(json!({}));
        entry[field] = value;
        ends(&cluster, &signed_by(json!([{"entries": [entry]}])))
    };
    assert!(with("annotations", json!({"stage": "prod"})).0);
    assert_eq!(with("annotations", json!({"stage": "test"})).2, "annotation_mismatch");
    assert_eq!(with("repository", json!("ghcr.io/acme/signatures")).2, "no_signature");
    let mut whole =
        verifying(json!({"imageReferences": ["*"], "attestors": [{"entries": [alice(json!({}))]}],
        "repository": "ghcr.io/acme/signatures"}));
    assert_eq!(ends(&cluster, &whole).2, "no_signature");
    let mut cluster = cluster;
    let moved = cluster.evidence.remove(&cluster.place(IMAGE)).unwrap();
    cluster.evidence.insert(format!("ghcr.io/acme/signatures@{}", digest_of(IMAGE)), moved);
    assert!(ends(&cluster, &whole).0);
    whole["spec"]["rules"][0]["verifyImages"][0]["annotations"] = json!({"stage": "test"});
    assert_eq!(ends(&cluster, &whole).2, "annotation_mismatch");
}

#[test]
fn issue_14500_identity_and_annotations_must_be_of_one_signature() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let stranger = key();
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster.sign(IMAGE, By::Key(&stranger), &json!({"reviewed": "yes"}));
    let mut entry = alice(json!({}));
    entry["annotations"] = json!({"reviewed": "yes"});
    assert!(!ends(&cluster, &signed_by(json!([{"entries": [entry]}]))).0);
}

#[test]
fn keys_count_as_they_are_written_and_each_signer_once() {
    let keys = [key(), key(), key()];
    let pems = keys.each_ref().map(|key| key.public_key().to_pem());
    let entries = |count: Value, pems: &[&String]| {
        let entries: Vec<Value> = pems
            .iter()
            .map(|pem| json!({"keys": {"publicKeys": pem, "rekor": {"ignoreTlog": true}}}))
            .collect();
        signed_by(json!([{"count": count, "entries": entries}]))
    };
    let all = [&pems[0], &pems[1], &pems[2]];
    let two_in_one = format!("{}{}", pems[0], pems[1]);
    for (signers, policy, expected) in [
        (vec![0], entries(json!(1), &all), true),
        (vec![], entries(json!(1), &all), false),
        (vec![0], entries(json!(2), &all), false),
        (vec![0, 2], entries(json!(2), &all), true),
        (vec![0, 2], entries(Value::Null, &all), false),
        (vec![0, 1, 2], entries(Value::Null, &all), true),
        // Several keys in one text are several attestors; without a count all of them.
        (vec![0], entries(Value::Null, &[&two_in_one]), false),
        (vec![0, 1], entries(Value::Null, &[&two_in_one]), true),
        (vec![1], entries(json!(1), &[&two_in_one]), true),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        for signer in &signers {
            cluster.sign_older(IMAGE, &keys[*signer], &json!({}));
        }
        assert_eq!(ends(&cluster, &policy).0, expected, "{signers:?} {policy}");
    }
}

#[test]
fn sets_are_all_of_and_nest() {
    let (one, other, third) = (key(), key(), key());
    let nested = json!({"attestor": {"count": 1, "entries": [key_entry(&other), key_entry(&third)]}});
    let both = signed_by(json!([{"entries": [key_entry(&one)]}, {"entries": [key_entry(&other)]}]));
    let inner = signed_by(json!([{"count": 2, "entries": [key_entry(&one), nested]}]));
    for (signers, policy, expected) in [
        (vec![&one], &both, false),
        (vec![&other], &both, false),
        (vec![&one, &other], &both, true),
        (vec![&one], &inner, false),
        (vec![&one, &third], &inner, true),
        (vec![&other, &third], &inner, false),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        for signer in signers {
            cluster.sign(IMAGE, By::Key(signer), &json!({}));
        }
        assert_eq!(ends(&cluster, policy).0, expected);
    }
}

#[test]
fn keys_elsewhere_are_asked_for_by_reference() {
    let signer = key();
    for (keys, reference) in [
        (json!({"publicKeys": "k8s://security/cosign"}), "k8s://security/cosign"),
        (json!({"secret": {"name": "cosign", "namespace": "security"}}), "k8s://security/cosign"),
        (json!({"kms": "awskms:///alias/cosign"}), "awskms:///alias/cosign"),
    ] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.sign(IMAGE, By::Key(&signer), &json!({}));
        let policy = signed_by(json!([{"entries": [{"keys": keys}]}]));
        assert_eq!(ends(&cluster, &policy), (false, Status::Error, "not_found".to_owned()), "{reference}");
        cluster.keys.insert(reference.into(), vec![signer.public_key().clone()]);
        assert!(ends(&cluster, &policy).0, "{reference}");
        cluster.keys.insert(reference.into(), vec![key().public_key().clone()]);
        assert!(!ends(&cluster, &policy).0, "{reference}");
    }
}

#[test]
fn a_log_is_asked_for_unless_the_policy_says_otherwise() {
    let signer = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign_older(IMAGE, &signer, &json!({}));
    let pem = signer.public_key().to_pem();
    let policy =
        |rekor: Value| signed_by(json!([{"entries": [{"keys": {"publicKeys": pem, "rekor": rekor}}]}]));
    assert!(!ends(&cluster, &policy(json!({"url": "https://log0.example"}))).0);
    assert!(!ends(&cluster, &signed_by(json!([{"entries": [{"keys": {"publicKeys": pem}}]}]))).0);
    assert!(ends(&cluster, &policy(json!({"ignoreTlog": true}))).0);
    // The address that the API server fills in is none of ours: that cannot be checked, and is no absence.
    assert_eq!(ends(&cluster, &policy(json!({}))), (false, Status::Error, "unusable".to_owned()));
}

#[test]
fn a_timestamp_is_demanded_where_its_authority_is_named() {
    // A bundle without a timestamp, in a policy that names an authority: b30c5791, 70e0849d.
    let signer = key();
    let pem = |der: &[u8]| countersign_crypto::encoding::pem_encode("CERTIFICATE", der);
    for stamped in [true, false] {
        let mut cluster = Cluster::new();
        let digest = cluster.put(IMAGE);
        let kind = countersign_verify::SIGN_PREDICATE_TYPE;
        let statement = crate::support::statement(&digest, kind, &json!({}), &json!({}));
        cluster.add_bundle(IMAGE, By::Key(&signer), &statement, stamped);
        let chain: String =
            cluster.world.root.timestamp_authorities[0].certificates.iter().map(|der| pem(der)).collect();
        let keys = json!({"publicKeys": signer.public_key().to_pem(), "rekor": {"url": "https://log0.example"},
            "ctlog": {"tsaCertChain": chain}});
        assert_eq!(ends(&cluster, &signed_by(json!([{"entries": [{"keys": keys}]}]))).0, stamped);
    }
}

#[test]
fn certificates_are_a_key_or_an_authority() {
    let mut cluster = by_alice();
    let root = cluster.world.root.certificate_authorities[0].certificates[0].clone();
    let pem = |der: &[u8]| countersign_crypto::encoding::pem_encode("CERTIFICATE", der);
    let leaf = cluster.world.certificate(&[0]);
    let other = Cluster::new();
    let other_leaf = other.world.certificate(&[0]);
    let other_root = other.world.root.certificate_authorities[0].certificates[0].clone();
    let policy = |certificates: Value| signed_by(json!([{"entries": [{"certificates": certificates}]}]));
    let rekor = json!({"url": "https://log0.example"});
    assert!(ends(&cluster, &policy(json!({"certChain": pem(&root), "rekor": rekor}))).0);
    assert!(!ends(&cluster, &policy(json!({"certChain": pem(&other_root), "rekor": rekor}))).0);
    let wrong = policy(json!({"cert": pem(&leaf), "certChain": pem(&other_root), "rekor": rekor}));
    assert!(
        countersign_policy::kyverno::ClusterPolicy::read(&wrong).unwrap_err().path.ends_with("certChain")
    );
    // A certificate stands for its key, which signed without sending it.
    let signer = crate::support::key();
    std::mem::drop(std::mem::replace(&mut cluster.world.signing, signer));
    let leaf = cluster.world.certificate(&[0]);
    let alice = &cluster.world.signing;
    let alice = countersign_crypto::KeyPair::from_pkcs8(&alice.to_pkcs8().unwrap()).unwrap();
    cluster.evidence.clear();
    cluster.sign(IMAGE, By::Key(&alice), &json!({}));
    assert!(ends(&cluster, &policy(json!({"cert": pem(&leaf), "certChain": pem(&root), "rekor": rekor}))).0);
    assert!(!ends(&cluster, &policy(json!({"cert": pem(&other_leaf), "rekor": rekor}))).0);
}

#[test]
fn the_type_says_which_forms_are_read() {
    let signer = key();
    let policy = |kind: &str| {
        verifying(
            json!({"imageReferences": ["*"], "type": kind, "attestors": [{"entries": [key_entry(&signer)]}]}),
        )
    };
    let mut older = Cluster::new();
    older.put(IMAGE);
    older.sign_older(IMAGE, &signer, &json!({}));
    assert!(ends(&older, &policy("Cosign")).0);
    assert_eq!(ends(&older, &policy("SigstoreBundle")).2, "no_signature");
    let mut bundles = Cluster::new();
    bundles.put(IMAGE);
    bundles.sign(IMAGE, By::Key(&signer), &json!({}));
    assert!(ends(&bundles, &policy("Cosign")).0);
    assert!(ends(&bundles, &policy("SigstoreBundle")).0);
    // A statement about an image is no signature of it, whatever is in the bundle.
    let mut attested = Cluster::new();
    attested.put(IMAGE);
    attested.attest(IMAGE, By::Key(&signer), "https://cyclonedx.org/bom", &json!({}));
    assert!(!ends(&attested, &policy("SigstoreBundle")).0);
}

#[test]
fn the_older_form_of_one_key_or_identity_still_works() {
    let signer = key();
    let mut cluster = by_alice();
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let policy = |entry: Value| verifying(entry);
    let pem = signer.public_key().to_pem();
    assert!(ends(&cluster, &policy(json!({"image": "ghcr.io/acme/*", "key": pem}))).0);
    assert!(!ends(&cluster, &policy(json!({"image": "*", "key": key().public_key().to_pem()}))).0);
    let keyless =
        |subject: &str| policy(json!({"image": "*", "subject": subject, "issuer": "https://issuer.example"}));
    assert!(ends(&cluster, &keyless("alice@*")).0);
    assert!(!ends(&cluster, &keyless("bob@*")).0);
}

#[test]
fn an_image_is_pinned_to_the_digest_that_was_judged_and_to_nothing_if_it_was_not() {
    let signer = key();
    let mut cluster = Cluster::new();
    let digest = cluster.put(IMAGE);
    cluster.put("ghcr.io/acme/unsigned:v1");
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let policy = |changes: Value| {
        let mut entry = json!({"imageReferences": ["*"], "attestors": [{"entries": [key_entry(&signer)]}]});
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        read(&verifying(entry))
    };
    let pinned = format!("{IMAGE}@{digest}");
    let object = request(pod(&[IMAGE, &pinned, IMAGE, "ghcr.io/acme/unsigned:v1"]));
    let decision = cluster.decide(policy(json!({})), &object);
    let pins: Vec<_> = decision.pins.iter().map(|pin| (pin.pointer.as_str(), pin.to.as_str())).collect();
    assert_eq!(pins, [("/spec/containers/0/image", pinned.as_str()), ("/spec/containers/2/image", &pinned)]);
    assert!(!decision.admits());

    let unpinned = json!({"mutateDigest": false});
    let decision = cluster.decide(policy(unpinned.clone()), &request(pod(&[IMAGE])));
    assert_eq!(told(&decision), (false, Status::Fail, "not_pinned"));
    assert!(cluster.decide(policy(unpinned), &request(pod(&[&pinned]))).admits());
    let neither = policy(json!({"mutateDigest": false, "verifyDigest": false}));
    let decision = cluster.decide(neither, &request(pod(&[IMAGE])));
    assert!(decision.admits() && decision.pins.is_empty());
}

#[test]
fn an_entry_may_ask_for_digests_alone_if_it_says_so() {
    let mut cluster = Cluster::new();
    let digest = cluster.put(IMAGE);
    let entry = json!({"imageReferences": ["*"], "required": false, "mutateDigest": false});
    let decision = cluster.decide(read(&verifying(entry.clone())), &request(pod(&[IMAGE])));
    assert_eq!(told(&decision).2, "not_pinned");
    let pinned = format!("{IMAGE}@{digest}");
    assert!(cluster.decide(read(&verifying(entry)), &request(pod(&[&pinned]))).admits());
}

#[test]
fn what_could_not_be_checked_is_neither_unsigned_nor_signed() {
    let signer = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let mut policy = signed_by(json!([{"entries": [key_entry(&signer)]}]));
    for away in ["the digest of", "the evidence of", "the trust root"] {
        cluster.away = [away.to_owned()].into();
        assert_eq!(ends(&cluster, &policy), (false, Status::Error, "unreachable".to_owned()), "{away}");
    }
    policy["spec"]["failurePolicy"] = json!("Ignore");
    assert_eq!(ends(&cluster, &policy), (true, Status::Error, "unreachable".to_owned()));
    policy["spec"]["webhookConfiguration"] = json!({"failurePolicy": "Fail"});
    assert!(!ends(&cluster, &policy).0, "the newer place of the field wins");
    policy["spec"]["webhookConfiguration"] = json!({"failurePolicy": "Ignore"});
    assert!(ends(&cluster, &policy).0);
    policy["spec"]["webhookConfiguration"] = json!({});
    cluster.away.clear();
    cluster.evidence.clear();
    assert!(!ends(&cluster, &policy).0, "unsigned is no matter of reaching anybody");
    policy["spec"]["failurePolicy"] = json!("Fail");
    policy["spec"]["validationFailureAction"] = json!("Audit");
    cluster.away = ["the evidence of".to_owned()].into();
    assert!(ends(&cluster, &policy).0, "an audit refuses nothing, and tells");
}

#[test]
fn one_attestor_that_cannot_be_asked_does_not_outweigh_one_that_holds() {
    let (signer, other) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    cluster.keys.insert("k8s://a/b".into(), vec![other.public_key().clone()]);
    cluster.away = ["the public key".to_owned()].into();
    let entries = json!([{"keys": {"publicKeys": "k8s://a/b"}}, key_entry(&signer)]);
    assert!(ends(&cluster, &signed_by(json!([{"count": 1, "entries": entries}]))).0);
    let all = ends(&cluster, &signed_by(json!([{"entries": entries}])));
    assert_eq!(all, (false, Status::Error, "unreachable".to_owned()));
}

#[test]
fn messages_say_what_was_expected_and_what_to_look_at() {
    let cluster = by_alice();
    let policy = signed_by(json!([{"entries": [alice(json!({"subject": "bob@example.com"}))]}]));
    let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
    let message = &result(&decision).message;
    for part in [
        IMAGE,
        "bob@example.com of https://issuer.example",
        "alice@example.com",
        "countersign tree ghcr.io/acme/app@sha256:",
    ] {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}
