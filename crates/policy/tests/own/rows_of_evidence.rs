//! Rows of the adversarial tables about signatures and statements, by their ids, in every language that they concern.

use countersign_crypto::Signer as _;
use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::kyverno::{ClusterPolicy, ImageValidatingPolicy};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Policy, Request, Status};
use serde_json::{Value, json};

use crate::languages::{ALL, Signer};
use crate::rows::{ALICE, IMAGE, OTHER, SCAN, decide, passes, person, signed_by_alice};
use crate::support::{By, Cluster, key, pod, statement};

#[test]
fn v03_cve_2022_35930_a_valid_attestation_of_another_type_is_none_in_every_language() {
    let mut cluster = signed_by_alice();
    cluster.attest(IMAGE, By::Alice, "https://example.com/other", &json!({}));
    for language in ALL {
        assert!(!passes(&cluster, language, &ALICE, Some(SCAN)), "{language:?}");
    }
    cluster.attest(IMAGE, By::Alice, SCAN, &json!({}));
    for language in ALL {
        assert!(passes(&cluster, language, &ALICE, Some(SCAN)), "{language:?}");
        // Nor is one by somebody else, whatever it is of.
        assert!(!passes(
            &cluster,
            language,
            &person("bob@example.com", "https://issuer.example", false),
            Some(SCAN)
        ));
    }
}

#[test]
fn v07_v53_a_statement_that_is_none_or_about_another_image_is_none_in_every_language() {
    let mut cluster = Cluster::new();
    let (digest, other) = (cluster.put(IMAGE), cluster.put(OTHER));
    let mut bad = vec![
        statement(&other, SCAN, &json!({}), &json!({})),
        json!("not a statement"),
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": SCAN, "subject": [null], "predicate": {}}),
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": SCAN, "subject": [], "predicate": {}}),
    ];
    let mut untyped = statement(&digest, SCAN, &json!({}), &json!({}));
    untyped["predicateType"] = "".into();
    bad.push(untyped);
    for statement in &bad {
        cluster.add_bundle(IMAGE, By::Alice, statement, true);
    }
    for language in ALL {
        assert!(!passes(&cluster, language, &ALICE, Some(SCAN)), "{language:?}");
        assert!(!passes(&cluster, language, &ALICE, None), "{language:?}");
    }
}

#[test]
fn p11_a_weak_digest_that_is_equal_does_not_make_up_for_a_strong_one_that_is_not() {
    let mut cluster = Cluster::new();
    let (digest, other) = (cluster.put(IMAGE), cluster.put(OTHER));
    let mut mixed = statement(&other, SCAN, &json!({}), &json!({}));
    mixed["subject"][0]["digest"]["sha1"] = digest.to_hex()[..40].into();
    mixed["subject"][0]["digest"]["md5"] = digest.to_hex()[..32].into();
    cluster.add_bundle(IMAGE, By::Alice, &mixed, true);
    for language in ALL {
        assert!(!passes(&cluster, language, &ALICE, Some(SCAN)), "{language:?}");
    }
}

#[test]
fn p01_an_empty_or_another_signature_is_none_in_every_language() {
    for spoil in [|bytes: &mut Vec<u8>| bytes.clear(), |bytes: &mut Vec<u8>| bytes.reverse()] {
        let mut cluster = signed_by_alice();
        let place = cluster.place(IMAGE);
        for found in cluster.evidence.get_mut(&place).unwrap() {
            let mut bundle: Value = serde_json::from_slice(&found.bytes).unwrap();
            let signature = bundle.pointer_mut("/dsseEnvelope/signatures/0/sig").unwrap();
            let mut bytes = countersign_crypto::encoding::base64_decode(signature.as_str().unwrap()).unwrap();
            spoil(&mut bytes);
            *signature = countersign_crypto::encoding::base64_encode(&bytes).into();
            found.bytes = bundle.to_string().into_bytes();
        }
        for language in ALL {
            assert!(!passes(&cluster, language, &ALICE, None), "{language:?}");
        }
    }
}

#[test]
fn p02_p12_nothing_named_and_nothing_there_is_a_no() {
    let pem = key().public_key().to_pem();
    let empty = json!([]);
    let own = |spec: Value| {
        ImagePolicy::read(&json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec}))
            .is_err()
    };
    assert!(own(json!({"images": ["**"], "attestations": empty})));
    assert!(own(json!({"images": ["**"], "attestations": [{"predicate": SCAN}]})));
    assert!(own(
        json!({"images": ["**"], "attestations": [{"predicate": SCAN, "signedBy": {"anyOf": empty}}]})
    ));
    let entry = |entry: Value| {
        let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]});
        ClusterPolicy::read(&json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}, "spec": {"rules": [rule]}}))
            .is_err()
    };
    assert!(entry(json!({"imageReferences": ["*"], "attestors": empty})));
    assert!(entry(json!({"imageReferences": ["*"], "attestations": [{"type": SCAN}]})));
    assert!(entry(
        json!({"imageReferences": ["*"], "attestations": [{"type": SCAN, "attestors": [{"entries": empty}]}]})
    ));
    let authorities = |list: Value| {
        ClusterImagePolicy::read(
            &json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
            "metadata": {"name": "p"}, "spec": {"images": [{"glob": "**"}], "authorities": list}}),
        )
        .is_err()
    };
    assert!(authorities(empty.clone()));
    assert!(authorities(json!([{"keyless": {"identities": empty}}])));
    // A condition over nobody, or over no statement, is not met.
    let cluster = signed_by_alice();
    for language in ALL {
        assert!(!passes(&cluster, language, &Signer::Key(pem.clone()), Some(SCAN)), "{language:?}");
    }
    let nobody = ImageValidatingPolicy::read(&json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
        "metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "attestors": [{"name": "a", "cosign": {"key": {"data": pem}}}],
            "validations": [{"expression": "images.containers.all(i, verifyImageSignatures(i, []) >= 0)"}]}})).unwrap();
    assert!(
        !cluster.decide(nobody, &Request::of_object(pod(&[IMAGE]))).admits(),
        "required is not talked out of it"
    );
}

#[test]
fn p06_a_name_that_only_begins_like_another_is_another() {
    let mut cluster = signed_by_alice();
    let evil = "ghcr.io/acme-evil/app:v1";
    cluster.put(evil);
    for language in ALL {
        for signer in [
            person("alice@example.co", "https://issuer.example", false),
            person("alice@example.com", "https://issuer.exampl", false),
        ] {
            assert!(!passes(&cluster, language, &signer, None), "{language:?} {signer:?}");
        }
        let decision = decide(&cluster, language, &ALICE, None, &Request::of_object(pod(&[evil])));
        assert!(decision.admits(), "{language:?}: not about {evil}: {decision:?}");
    }
}

#[test]
fn p09_only_whose_signature_holds_is_named_as_a_signer() {
    let (good, bad) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&good), &json!({}));
    // The same by somebody else, over another payload than was signed.
    cluster.sign(IMAGE, By::Key(&bad), &json!({}));
    let place = cluster.place(IMAGE);
    let last = cluster.evidence.get_mut(&place).unwrap().last_mut().unwrap();
    let mut bundle: Value = serde_json::from_slice(&last.bytes).unwrap();
    let payload = bundle.pointer_mut("/dsseEnvelope/payload").unwrap();
    let other =
        statement(&crate::support::digest_of(IMAGE), "https://example.com/other", &json!({}), &json!({}));
    *payload = countersign_crypto::encoding::base64_encode(other.to_string().as_bytes()).into();
    last.bytes = bundle.to_string().into_bytes();
    for language in ALL {
        assert!(passes(&cluster, language, &Signer::Key(good.public_key().to_pem()), None), "{language:?}");
        assert!(!passes(&cluster, language, &Signer::Key(bad.public_key().to_pem()), None), "{language:?}");
    }
}

#[test]
fn b30c5791_70e0849d_a_timestamp_is_demanded_where_its_authority_is_named_in_every_language() {
    for stamped in [true, false] {
        let mut cluster = Cluster::new();
        let digest = cluster.put(IMAGE);
        let signature = statement(&digest, countersign_verify::SIGN_PREDICATE_TYPE, &json!({}), &json!({}));
        cluster.add_bundle(IMAGE, By::Alice, &signature, stamped);
        cluster.roots.insert("tsa".into(), cluster.world.root.clone());
        let chain: String = cluster.world.root.timestamp_authorities[0]
            .certificates
            .iter()
            .map(|der| countersign_crypto::encoding::pem_encode("CERTIFICATE", der))
            .collect();
        let keyless = json!({"subject": "alice@example.com", "issuer": "https://issuer.example",
            "rekor": {"url": "https://log0.example"}, "ctlog": {"tsaCertChain": chain}});
        let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keyless": keyless}]}]}]});
        let identity = json!({"subject": "alice@example.com", "issuer": "https://issuer.example"});
        let policies: Vec<Box<dyn Policy>> = vec![
            Box::new(ClusterPolicy::read(&json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"},
                "spec": {"validationFailureAction": "Enforce", "rules": [rule]}})).unwrap()),
            Box::new(ImageValidatingPolicy::read(&json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
                "metadata": {"name": "p"}, "spec": {
                    "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
                    "attestors": [{"name": "a", "cosign": {"keyless": {"identities": [identity]},
                        "ctlog": {"url": "https://log0.example", "tsaCertChain": chain}}}],
                    "validations": [{"expression": "images.containers.all(i, verifyImageSignatures(i, [attestors.a]) > 0)"}]}})).unwrap()),
            Box::new(ClusterImagePolicy::read(&json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
                "metadata": {"name": "p"}, "spec": {"images": [{"glob": "**"}], "authorities": [{
                    "keyless": {"identities": [identity]}, "rfc3161timestamp": {"trustRootRef": "tsa"}}]}})).unwrap()),
            Box::new(ImagePolicy::read(&json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"},
                "spec": {"images": ["**"], "signedBy": identity, "require": {"timestamp": true}}})).unwrap()),
        ];
        for policy in policies {
            let name = policy.name();
            let decision = cluster.decide_all(vec![policy], Vec::new(), &Request::of_object(pod(&[IMAGE])));
            assert_eq!(decision.admits(), stamped, "{name}: {decision:?}");
        }
    }
}

#[test]
fn v52_a_log_that_nobody_trusts_is_not_asked_for_its_own_key() {
    let cluster = signed_by_alice();
    let keyless = json!({"subject": "alice@example.com", "issuer": "https://issuer.example", "rekor": {"url": "https://evil.example"}});
    let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keyless": keyless}]}]}]});
    let policy = ClusterPolicy::read(
        &json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"},
        "spec": {"validationFailureAction": "Enforce", "rules": [rule]}}),
    )
    .unwrap();
    let decision = cluster.decide(policy, &Request::of_object(pod(&[IMAGE])));
    assert!(!decision.admits());
    assert_eq!(decision.results[0].status, Status::Error);
    assert!(decision.results[0].message.contains("https://evil.example"), "{decision:?}");
}

#[test]
fn v10_a_rego_policy_that_answers_with_something_else_is_a_no() {
    let mut cluster = signed_by_alice();
    cluster.attest(IMAGE, By::Alice, SCAN, &json!({"n": 1}));
    for (answer, admits) in [
        ("isCompliant { input.predicate.n == 1 }", true),
        ("isCompliant = [\"x\"]", false),
        ("isCompliant[x] { x := \"x\" }", false),
        ("isCompliant = {\"result\": true}", false),
        ("isCompliant = null", false),
        ("isCompliant = \"true\"", false),
    ] {
        let inner = json!({"type": "rego", "data": format!("package sigstore\n{answer}")});
        let authority = json!({"keyless": {"identities": [{"subject": "alice@example.com", "issuer": "https://issuer.example"}]},
            "attestations": [{"name": "scan", "predicateType": SCAN, "policy": inner}]});
        let policy = ClusterImagePolicy::read(
            &json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
            "metadata": {"name": "p"}, "spec": {"images": [{"glob": "**"}], "authorities": [authority]}}),
        )
        .unwrap();
        let decision = cluster.decide(policy, &Request::of_object(pod(&[IMAGE])));
        assert_eq!(decision.admits(), admits, "{answer}: {decision:?}");
    }
}

#[test]
fn a_signature_of_a_platforms_manifest_is_none_of_the_index_and_the_other_way_round() {
    let mut cluster = Cluster::new();
    let index = cluster.put(IMAGE);
    let platform = crate::support::digest_of("the manifest for one platform");
    let by_platform = format!("ghcr.io/acme/app@{platform}");
    for (signed, pulled) in [(index, by_platform.clone()), (platform, IMAGE.to_owned())] {
        cluster.evidence.clear();
        cluster.sign(&format!("ghcr.io/acme/app@{signed}"), By::Alice, &json!({}));
        for language in ALL {
            let request = Request::of_object(pod(&[&pulled]));
            assert!(!decide(&cluster, language, &ALICE, None, &request).admits(), "{language:?} {pulled}");
        }
    }
}
