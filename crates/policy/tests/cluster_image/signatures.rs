//! Signatures: who must have signed, under which trust, in which form.

use countersign_bundle::Bundle;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Scheme, Signer as _};
use countersign_policy::{Action, Status};
use countersign_registry::Descriptor;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::Form;
use countersign_x509::Certificate;
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::{IMAGE, alice, by_key, policy, read, request, result, told, with};

/// Alice signed the image.
fn signed_by_alice() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster
}

#[test]
fn who_has_signed_is_admitted_and_the_image_pinned() {
    let mut cluster = signed_by_alice();
    let key = key();
    for authority in [alice(), by_key(&key)] {
        cluster.sign(IMAGE, By::Key(&key), &json!({}));
        let decision = cluster.decide(read(&policy(json!([authority]))), &request(pod(&[IMAGE])));
        assert!(decision.admits(), "{decision:#?}");
        assert_eq!(result(&decision).reason, "verified");
        let digest = result(&decision).digest.unwrap();
        assert_eq!(decision.pins[0].to, format!("{IMAGE}@{digest}"));
    }
}

#[test]
fn each_part_of_a_keyless_authority_alone_makes_the_answer_no() {
    let cluster = signed_by_alice();
    let yes = policy(json!([alice()]));
    assert_eq!(told(&cluster, &yes), (true, Status::Pass, "verified".into()));
    let other_ca =
        Certificate::from_der(&Cluster::new().world.root.certificate_authorities[0].certificates[0]);
    let other_ca = other_ca.unwrap().to_pem();
    let identity = |identity: Value| ("/keyless/identities/0", identity);
    for (change, expected) in [
        (identity(json!({"issuer": "https://other.example", "subject": "alice@example.com"})), Status::Fail),
        (identity(json!({"issuer": "https://issuer.example", "subject": "bob@example.com"})), Status::Fail),
        (identity(json!({"issuer": "https://issuer.example", "subjectRegExp": "alice"})), Status::Fail),
        (identity(json!({"issuerRegExp": "issuer", "subject": "alice@example.com"})), Status::Fail),
        (("/keyless/ca-cert", json!({"data": other_ca})), Status::Fail),
        (("/keyless/trustRootRef", json!("other")), Status::Fail),
        (("/keyless/trustRootRef", json!("nowhere")), Status::Error),
        (("/ctlog", json!({"url": "https://log7.example"})), Status::Error),
        (("/ctlog", json!({"trustRootRef": "other"})), Status::Fail),
        (("/rfc3161timestamp", json!({"trustRootRef": "other"})), Status::Fail),
        (("/signatureFormat", json!("legacy")), Status::Fail),
        (("/source", json!([{"oci": "ghcr.io/acme/signatures"}])), Status::Fail),
        (("/attestations", json!([{"name": "sbom", "predicateType": "spdxjson"}])), Status::Fail),
    ] {
        let mut cluster = signed_by_alice();
        cluster.roots.insert("other".into(), Cluster::new().world.root);
        let authority = with(alice(), std::slice::from_ref(&change));
        let (admitted, status, reason) = told(&cluster, &policy(json!([authority])));
        assert!(!admitted, "{change:?}");
        assert_eq!(status, expected, "{change:?}: {reason}");
    }
}

#[test]
fn what_still_fits_is_admitted() {
    for change in [
        ("/keyless/identities/0", json!({"issuerRegExp": "https://.*", "subjectRegExp": "alice@.*"})),
        (
            "/keyless/identities/0",
            json!({"issuer": "https://issuer.example", "subjectRegExp": "bob|.*alice.*"}),
        ),
        ("/keyless/trustRootRef", json!("same")),
        ("/keyless/url", json!("https://fulcio.sigstore.dev")),
        ("/ctlog", json!({"url": "https://log0.example"})),
        ("/ctlog", json!({"trustRootRef": "same"})),
        ("/ctlog", json!({})),
        ("/rfc3161timestamp", json!({"trustRootRef": "same"})),
        ("/signatureFormat", json!("bundle")),
        ("/source", json!([{"oci": "ghcr.io/acme/app"}])),
        ("/source", json!([{"signaturePullSecrets": [{"name": "pull"}]}])),
    ] {
        let mut cluster = signed_by_alice();
        cluster.roots.insert("same".into(), cluster.world.root.clone());
        let (admitted, _, reason) =
            told(&cluster, &policy(json!([with(alice(), std::slice::from_ref(&change))])));
        assert!(admitted, "{change:?}: {reason}");
    }
}

#[test]
fn a_certificate_authority_in_the_policy_takes_the_place_of_the_trusted_ones() {
    let mut cluster = signed_by_alice();
    let own = cluster.world.root.certificate_authorities[0].certificates[0].clone();
    let own = Certificate::from_der(&own).unwrap().to_pem();
    cluster.world.root.certificate_authorities.clear();
    assert!(!told(&cluster, &policy(json!([alice()]))).0);
    let authority = with(alice(), &[("/keyless/ca-cert", json!({"data": own}))]);
    assert!(told(&cluster, &policy(json!([authority]))).0);
}

#[test]
fn a_certificate_without_an_sct_passes_only_where_the_policy_says_so() {
    let mut cluster = signed_by_alice();
    cluster.world.root.ctlogs.clear();
    assert!(!told(&cluster, &policy(json!([alice()]))).0);
    for (ignored, admitted) in [(true, true), (false, false)] {
        let authority = with(alice(), &[("/keyless/insecureIgnoreSCT", json!(ignored))]);
        assert_eq!(told(&cluster, &policy(json!([authority]))).0, admitted, "{ignored}");
    }
}

#[test]
fn a_log_and_a_timestamp_are_needed_where_they_are_named() {
    let key = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign_older(IMAGE, &key, &json!({}));
    cluster.roots.insert("own".into(), cluster.world.root.clone());
    assert!(told(&cluster, &policy(json!([by_key(&key)]))).0, "a key without ctlog needs no log");
    for change in [
        ("/ctlog", json!({"url": "https://log0.example"})),
        ("/ctlog", json!({"trustRootRef": "own"})),
        ("/rfc3161timestamp", json!({"trustRootRef": "own"})),
        ("/signatureFormat", json!("bundle")),
    ] {
        let authority = with(by_key(&key), std::slice::from_ref(&change));
        let (admitted, status, _) = told(&cluster, &policy(json!([authority])));
        assert_eq!((admitted, status), (false, Status::Fail), "{change:?}");
    }
}

#[test]
fn a_key_may_be_elsewhere_and_where_it_cannot_be_had_nothing_is_unsigned() {
    let key = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&key), &json!({}));
    for (reference, source) in [
        ("k8s://cosign-system/pub", json!({"secretRef": {"name": "pub"}})),
        ("k8s://other/pub", json!({"secretRef": {"name": "pub", "namespace": "other"}})),
        ("hashivault://key", json!({"kms": "hashivault://key"})),
    ] {
        let policy = policy(json!([{"key": source}]));
        let told_of = |cluster: &Cluster| {
            let (admitted, status, _) = told(cluster, &policy);
            (admitted, status)
        };
        assert_eq!(told_of(&cluster), (false, Status::Error), "{reference}");
        cluster.keys.insert(reference.into(), vec![crate::support::key().public_key().clone()]);
        assert_eq!(told_of(&cluster), (false, Status::Fail), "{reference}");
        cluster.keys.insert(reference.into(), vec![key.public_key().clone()]);
        assert_eq!(told_of(&cluster), (true, Status::Pass), "{reference}");
        cluster.keys.clear();
    }
}

#[test]
fn one_authority_of_a_policy_is_enough_and_none_is_not() {
    let mut cluster = signed_by_alice();
    let other = by_key(&key());
    assert!(told(&cluster, &policy(json!([other, alice()]))).0);
    let nobody = policy(json!([other]));
    assert_eq!(told(&cluster, &nobody).1, Status::Fail);
    let decision = cluster.decide(read(&nobody), &request(pod(&[IMAGE])));
    assert!(result(&decision).message.contains("countersign tree"), "{}", result(&decision).message);
    // One that could not be asked might have held.
    let away = json!({"key": {"kms": "hashivault://away"}});
    assert_eq!(told(&cluster, &policy(json!([other, away]))).1, Status::Error);
    assert!(told(&cluster, &policy(json!([away, alice()]))).0);
    cluster.away.insert("the evidence of".into());
    assert_eq!(told(&cluster, &policy(json!([alice()]))), (false, Status::Error, "unreachable".into()));
}

#[test]
fn a_static_authority_passes_or_fails_and_asks_nothing() {
    let nothing = Cluster::new();
    let fixed = |action: Value| policy(json!([{"static": action}]));
    assert_eq!(told(&nothing, &fixed(json!({"action": "pass"}))), (true, Status::Pass, "verified".into()));
    let refused = fixed(json!({"action": "fail", "message": "end of life"}));
    assert_eq!(told(&nothing, &refused), (false, Status::Fail, "static_fail".into()));
    let decision = nothing.decide(read(&refused), &request(pod(&[IMAGE])));
    assert!(result(&decision).message.contains("end of life"));
    assert!(nothing.decide(read(&fixed(json!({"action": "pass"}))), &request(pod(&[IMAGE]))).pins.is_empty());
}

#[test]
fn the_mode_says_what_a_no_does() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    for (mode, action, admits) in [("enforce", Action::Deny, false), ("warn", Action::Warn, true)] {
        let policy = with(policy(json!([alice()])), &[("/spec/mode", json!(mode))]);
        let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
        assert_eq!((result(&decision).action, decision.admits()), (action, admits), "{mode}");
        assert_eq!(result(&decision).warns(), admits, "{mode}");
    }
    // Whatever the mode: nobody can tell what this is.
    let policy = with(policy(json!([alice()])), &[("/spec/mode", json!("warn"))]);
    assert!(!cluster.decide(read(&policy), &request(pod(&["UPPER/case"]))).admits());
}

#[test]
fn ghsa_ccxc_vr6p_4858_the_log_entry_of_another_signature_is_none() {
    let key = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("ghcr.io/acme/other:v1");
    cluster.sign(IMAGE, By::Key(&key), &json!({}));
    cluster.sign("ghcr.io/acme/other:v1", By::Key(&key), &json!({}));
    let authority = with(by_key(&key), &[("/ctlog", json!({"url": "https://log0.example"}))]);
    assert!(told(&cluster, &policy(json!([authority.clone()]))).0);

    let other = cluster.evidence[&cluster.place("ghcr.io/acme/other:v1")][0].bytes.clone();
    let place = cluster.place(IMAGE);
    let mut bundle = Bundle::from_json(&cluster.evidence[&place][0].bytes).unwrap();
    bundle.verification_material.tlog_entries =
        Bundle::from_json(&other).unwrap().verification_material.tlog_entries;
    cluster.evidence.remove(&place);
    let bytes = bundle.to_json().unwrap();
    let layer = Descriptor::of(media_type::BUNDLE, &bytes);
    cluster.add(IMAGE, Form::Bundle, layer, std::collections::BTreeMap::new(), bytes);
    let (admitted, status, reason) = told(&cluster, &policy(json!([authority])));
    assert_eq!((admitted, status), (false, Status::Fail), "{reason}");
}

#[test]
fn identity_parts_of_different_signatures_are_nobodys() {
    // Alice by her issuer is one identity; a policy that wants her subject of another issuer has no signature.
    let cluster = signed_by_alice();
    let identities = json!([
        {"issuer": "https://issuer.example", "subject": "bob@example.com"},
        {"issuer": "https://other.example", "subject": "alice@example.com"},
    ]);
    let authority = with(alice(), &[("/keyless/identities", identities)]);
    assert_eq!(told(&cluster, &policy(json!([authority]))).1, Status::Fail);
}

#[test]
fn a_hash_other_than_was_signed_over_is_not_passed() {
    let key = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&key), &json!({}));
    for (hash, expected) in [("sha256", Status::Pass), ("sha384", Status::Fail), ("sha512", Status::Fail)] {
        let authority = with(by_key(&key), &[("/key/hashAlgorithm", json!(hash))]);
        assert_eq!(told(&cluster, &policy(json!([authority]))).1, expected, "{hash}");
    }
}

#[test]
fn a_certificate_authority_may_lie_in_a_secret_and_what_is_away_is_not_missing() {
    let mut cluster = signed_by_alice();
    let own = cluster.world.root.certificate_authorities[0].certificates[0].clone();
    let own = Certificate::from_der(&own).unwrap().to_pem();
    cluster.world.root.certificate_authorities.clear();
    let authority = with(alice(), &[("/keyless/ca-cert", json!({"secretRef": {"name": "ca"}}))]);
    let policy = policy(json!([authority]));
    assert_eq!(told(&cluster, &policy), (false, Status::Error, "not_found".into()));
    cluster.certificates.insert("k8s://cosign-system/ca".into(), own);
    assert!(told(&cluster, &policy).0);
    let other = Certificate::from_der(&Cluster::new().world.root.certificate_authorities[0].certificates[0]);
    cluster.certificates.insert("k8s://cosign-system/ca".into(), other.unwrap().to_pem());
    assert_eq!(told(&cluster, &policy).1, Status::Fail);
    cluster.certificates.insert("k8s://cosign-system/ca".into(), "no certificate".into());
    assert_eq!(told(&cluster, &policy), (false, Status::Error, "unusable".into()));
    let kms = with(alice(), &[("/keyless/ca-cert", json!({"kms": "hashivault://ca"}))]);
    assert_eq!(told(&cluster, &crate::policy(json!([kms]))).2, "unsupported");
}

#[test]
fn a_hash_and_a_prefix_are_demanded_where_they_are_named() {
    let signer = KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap();
    let signer = signer.with_scheme(Scheme::RsaPkcs1(HashAlgorithm::Sha512)).unwrap();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign_older(IMAGE, &signer, &json!({}));
    let by = |hash: &str, prefix: Option<&str>| {
        let mut authority = with(by_key(&signer), &[("/key/hashAlgorithm", json!(hash))]);
        if let Some(prefix) = prefix {
            authority["source"] = json!([{ "tagPrefix": prefix }]);
        }
        policy(json!([authority]))
    };
    assert!(told(&cluster, &by("sha512", None)).0);
    for hash in ["sha256", "sha384"] {
        assert_eq!(told(&cluster, &by(hash, None)).1, Status::Fail, "{hash}");
    }
    assert_eq!(told(&cluster, &by("sha224", None)).1, Status::Error);
    assert!(!told(&cluster, &by("sha512", Some("release-"))).0);
    let layer = cluster.evidence[&cluster.place(IMAGE)][0].layer.digest;
    cluster.prefixes.insert(layer, "release-".into());
    assert!(told(&cluster, &by("sha512", Some("release-"))).0);
    assert!(!told(&cluster, &by("sha512", None)).0);
}
