//! Which images, who must have signed, whom to believe, and what happens: each field alone can make the answer no.

use countersign_crypto::encoding::pem_encode;
use countersign_crypto::{KeyPair, Signer as _};
use countersign_policy::{
    Action, Answer, CouldNot, CouldNotReason, Known, PolicySet, Question, Request, Status,
};
use serde_json::{Value, json};

use crate::support::{By, Cluster, digest_of, key, pod};
use crate::{IMAGE, alice, answer, decide, holder, policy, read, reasons, with};

/// A cluster with an image that Alice has signed.
fn by_alice() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({"stage": "prod"}));
    cluster
}

fn signed_by(who: Value) -> Value {
    policy(json!({"signedBy": who}))
}

#[test]
fn each_field_of_an_identity_alone_can_fail() {
    let cluster = by_alice();
    let no = Err("identity_mismatch".to_owned());
    let issuer = Err("issuer_mismatch".to_owned());
    let subject = |subject: &str| json!({"email": null, "subject": subject});
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"email": "bob@example.com"}), no.clone()),
        (json!({"issuer": "https://other.example"}), issuer.clone()),
        (json!({"issuer": "https://*.example"}), Ok(())),
        (json!({"issuer": "https://issuer.exampl"}), issuer.clone()),
        (json!({"issuer": null, "issuerRegex": "https://issuer\\.example"}), Ok(())),
        (json!({"issuer": null, "issuerRegex": "https://issuer"}), issuer),
        (subject("*@example.com"), Ok(())),
        (subject("*@example.co"), no.clone()),
        (json!({"email": null, "subjectRegex": "alice@.*"}), Ok(())),
        (json!({"email": null, "subjectRegex": "alice"}), no.clone()),
        (json!({"extensions": {"source-repository-uri": "https://git.example/*"}}), Ok(())),
        (
            json!({"extensions": {"source-repository-uri": "https://git.evil/*"}}),
            Err("extension_mismatch".into()),
        ),
        (json!({"email": null, "issuer": null, "repo": "acme/app"}), no.clone()),
        (json!({"email": null, "issuer": null, "gitlab": "acme/app"}), no),
        (json!({"annotations": {"stage": "prod"}}), Ok(())),
        (json!({"annotations": {"stage": "test"}}), Err("annotation_mismatch".into())),
    ] {
        let found = answer(&cluster, &signed_by(with(alice(), changes.clone())));
        assert_eq!(found, expected, "{changes}");
    }
}

#[test]
fn a_key_must_be_the_one_that_signed_and_may_stand_elsewhere() {
    let (mine, other) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&mine), &json!({}));
    assert_eq!(answer(&cluster, &signed_by(holder(&mine))), Ok(()));
    assert_eq!(answer(&cluster, &signed_by(holder(&other))), Err("wrong_key".into()));
    assert_eq!(answer(&cluster, &signed_by(alice())), Err("certificate_expected".into()));
    let elsewhere = signed_by(json!({"key": "k8s://security/cosign"}));
    assert_eq!(answer(&cluster, &elsewhere), Err("not_found".into()));
    cluster.keys.insert("k8s://security/cosign".into(), vec![mine.public_key().clone()]);
    assert_eq!(answer(&cluster, &elsewhere), Ok(()));
    cluster.keys.insert("k8s://security/cosign".into(), vec![other.public_key().clone()]);
    assert_eq!(answer(&cluster, &elsewhere), Err("wrong_key".into()));
}

/// An image signed by Alice and by the first of two keys.
fn by_two() -> (Cluster, KeyPair, KeyPair) {
    let (first, second) = (key(), key());
    let mut cluster = by_alice();
    cluster.sign(IMAGE, By::Key(&first), &json!({}));
    (cluster, first, second)
}

#[test]
fn any_all_and_at_least_count() {
    let (cluster, first, second) = by_two();
    let (a, b, c) = (alice(), holder(&first), holder(&second));
    for (who, holds) in [
        (json!({"anyOf": [c, a]}), true),
        (json!({"anyOf": [c]}), false),
        (json!({"allOf": [a, b]}), true),
        (json!({"allOf": [a, b, c]}), false),
        (json!({"atLeast": 2, "of": [c, a, b]}), true),
        (json!({"atLeast": 3, "of": [c, a, b]}), false),
        (json!({"allOf": [a, {"anyOf": [b, c]}]}), true),
        (json!({"allOf": [a, {"allOf": [b, c]}]}), false),
        (json!({"atLeast": 1, "of": [{"allOf": [b, c]}, {"allOf": [a, b]}]}), true),
    ] {
        assert_eq!(answer(&cluster, &signed_by(who.clone())).is_ok(), holds, "{who}");
    }
}

/// Two descriptions of the same person are one signature.
#[test]
fn one_signature_counts_once_however_many_descriptions_fit_it() {
    let cluster = by_alice();
    let pattern = json!({"subject": "*@example.com", "issuer": "https://issuer.example"});
    for who in [json!({"allOf": [alice(), pattern]}), json!({"atLeast": 2, "of": [pattern, alice()]})] {
        assert_eq!(answer(&cluster, &signed_by(who)), Err("same_signer".into()));
    }
    assert_eq!(answer(&cluster, &signed_by(json!({"anyOf": [alice(), pattern]}))), Ok(()));
}

#[test]
fn one_signer_who_cannot_be_checked_does_not_hide_that_too_few_signed() {
    let (cluster, first, second) = by_two();
    let away = json!({"key": "k8s://security/away"});
    let need = |n: usize| signed_by(json!({"atLeast": n, "of": [alice(), holder(&second), away]}));
    assert_eq!(answer(&cluster, &need(1)), Ok(()));
    assert_eq!(answer(&cluster, &need(2)), Err("not_found".into()), "it might be the second");
    assert_eq!(answer(&cluster, &need(3)), Err("key_expected".into()), "whoever that is, it is not enough");
    let found = answer(&cluster, &signed_by(json!({"atLeast": 2, "of": [away, alice(), holder(&first)]})));
    assert_eq!(found, Ok(()));
}

#[test]
fn each_field_of_trust_alone_can_fail() {
    let mut cluster = by_alice();
    cluster.roots.insert("acme".into(), cluster.world.root.clone());
    let pem = |der: &[u8]| pem_encode("CERTIFICATE", der);
    let other = Cluster::new();
    let own_ca = pem(&cluster.world.root.certificate_authorities[0].certificates[0]);
    let other_ca = pem(&other.world.root.certificate_authorities[0].certificates[0]);
    let (log, ct) = (cluster.world.logs[0].public_key().to_pem(), cluster.world.ct[0].public_key().to_pem());
    let stranger = key().public_key().to_pem();
    let document = |cluster: &Cluster| String::from_utf8(cluster.world.root.to_json().unwrap()).unwrap();
    for (trust, expected) in [
        (json!({}), Ok(())),
        (json!({"certificateAuthorities": own_ca}), Ok(())),
        (json!({"certificateAuthorities": other_ca}), Err("certificate_untrusted")),
        (json!({"transparencyLogs": log, "transparencyLogUrl": "https://log0.example"}), Ok(())),
        // The newer logs are known by their names too.
        (json!({"transparencyLogs": log}), Err("log_untrusted")),
        (json!({"transparencyLogs": stranger}), Err("log_untrusted")),
        (json!({"transparencyLogUrl": "https://log0.example"}), Ok(())),
        (json!({"transparencyLogUrl": "https://log1.example"}), Err("log_untrusted")),
        (json!({"transparencyLogUrl": "https://log9.example"}), Err("unusable")),
        (json!({"ctLogs": ct}), Ok(())),
        (json!({"ctLogs": stranger}), Err("sct_untrusted")),
        (json!({"timestampAuthorities": other_ca}), Err("timestamp_untrusted")),
        (json!({"document": document(&cluster)}), Ok(())),
        (json!({"document": document(&other)}), Err("timestamp_invalid")),
        (json!({"root": "acme"}), Ok(())),
        (json!({"root": "nobody"}), Err("not_found")),
    ] {
        let found = answer(&cluster, &policy(json!({"signedBy": alice(), "trust": trust})));
        assert_eq!(found, expected.map_err(str::to_owned), "{trust}");
    }
    let mut away = by_alice();
    away.away.insert("the trust root \"acme\"".into());
    let named = policy(json!({"signedBy": alice(), "trust": {"root": "acme"}}));
    assert_eq!(answer(&away, &named), Err("unreachable".into()), "another root is not taken in its place");
}

#[test]
fn each_demand_on_the_evidence_alone_can_fail() {
    let key = key();
    let mut unstamped = Cluster::new();
    unstamped.put(IMAGE);
    let statement = crate::support::statement(
        &digest_of(IMAGE),
        countersign_verify::SIGN_PREDICATE_TYPE,
        &json!({}),
        &json!({}),
    );
    unstamped.add_bundle(IMAGE, By::Key(&key), &statement, false);
    let of = |require: Value| policy(json!({"signedBy": holder(&key), "require": require}));
    assert_eq!(answer(&unstamped, &of(json!({}))), Ok(()));
    assert_eq!(answer(&unstamped, &of(json!({"timestamp": true}))), Err("too_few_timestamps".into()));

    let mut unlogged = Cluster::new();
    unlogged.put(IMAGE);
    unlogged.sign_older(IMAGE, &key, &json!({}));
    assert_eq!(answer(&unlogged, &of(json!({}))), Err("no_log_entry".into()));
    assert_eq!(answer(&unlogged, &of(json!({"transparencyLog": false}))), Ok(()));
    let codes = |policy: &Value| {
        let lints = countersign_policy::Policy::lints(&read(policy));
        lints.into_iter().map(|lint| lint.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&of(json!({"transparencyLog": false}))), ["no_transparency_log"]);

    let mut cluster = by_alice();
    cluster.world.root.ctlogs.clear();
    let by_alice = |require: Value| policy(json!({"signedBy": alice(), "require": require}));
    assert_eq!(answer(&cluster, &by_alice(json!({}))), Err("no_trusted_ct_log".into()));
    assert_eq!(answer(&cluster, &by_alice(json!({"ctLog": false}))), Ok(()));
    assert_eq!(codes(&by_alice(json!({"ctLog": false}))), ["no_ct_log"]);
}

#[test]
fn evidence_is_looked_for_where_the_policy_says() {
    let mut cluster = by_alice();
    let elsewhere = policy(json!({"signedBy": alice(), "evidenceRepository": "ghcr.io/acme/signatures"}));
    assert_eq!(answer(&cluster, &elsewhere), Err("no_signature".into()));
    let found = cluster.evidence.remove(&cluster.place(IMAGE)).unwrap();
    cluster.evidence.insert(format!("ghcr.io/acme/signatures@{}", digest_of(IMAGE)), found);
    assert_eq!(answer(&cluster, &elsewhere), Ok(()));
}

#[test]
fn a_policy_is_about_the_images_and_objects_that_it_names_and_no_others() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.namespaces.insert("prod".into(), [("tier".to_owned(), "prod".to_owned())].into());
    for (changes, about) in [
        (json!({}), true),
        (json!({"images": ["ghcr.io/other/**"]}), false),
        (json!({"exceptImages": ["ghcr.io/acme/app"]}), false),
        (json!({"exceptImages": ["ghcr.io/acme/other"]}), true),
        (json!({"namespaces": ["prod"]}), true),
        (json!({"namespaces": ["pro"]}), false),
        (json!({"namespaces": ["test-*", "pr*"]}), true),
        (json!({"namespaceSelector": {"matchLabels": {"tier": "prod"}}}), true),
        (json!({"namespaceSelector": {"matchLabels": {"tier": "test"}}}), false),
        (json!({"objectSelector": {"matchLabels": {"app": "web"}}}), true),
        (
            json!({"objectSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}),
            false,
        ),
    ] {
        let mut object = pod(&[IMAGE]);
        object["metadata"]["labels"] = json!({"app": "web"});
        let read = read(&policy(with(json!({"signedBy": alice()}), changes.clone())));
        let decision = cluster.decide(read, &Request::of_object(object));
        assert_eq!(!decision.results.is_empty(), about, "{changes}");
        assert_eq!(decision.admits(), !about, "{changes}");
    }
    // Whether the namespace is meant cannot be told, which is not no.
    cluster.namespaces.clear();
    let selecting = json!({"signedBy": alice(), "namespaceSelector": {"matchLabels": {"tier": "prod"}}});
    assert_eq!(answer(&cluster, &policy(selecting)), Err("not_found".into()));
}

#[test]
fn each_action_does_what_it_says() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    for (action, admits, warns) in [("deny", false, false), ("warn", true, true), ("audit", true, false)] {
        let decision = decide(&cluster, &policy(json!({"signedBy": alice(), "action": action})));
        let [result] = &decision.results[..] else { panic!("{decision:?}") };
        assert_eq!((decision.admits(), result.warns()), (admits, warns), "{action}");
        assert_eq!((result.status, result.reason.as_str()), (Status::Fail, "no_signature"));
        assert!(result.message.contains("countersign tree ghcr.io/acme/app"), "{}", result.message);
    }
}

#[test]
fn what_could_not_be_checked_is_neither_unsigned_nor_admitted_unless_the_policy_says_so() {
    let mut cluster = by_alice();
    cluster.away.insert("evidence".into());
    let of = |word: &str| policy(json!({"signedBy": alice(), "couldNotCheck": word}));
    let decision = decide(&cluster, &of("deny"));
    assert!(!decision.admits());
    assert_eq!((decision.results[0].status, reasons(&decision)), (Status::Error, vec!["unreachable"]));
    let decision = decide(&cluster, &of("admit"));
    assert!(decision.admits() && decision.results[0].warns() && decision.pins.is_empty());
    assert_eq!(decision.results[0].action, Action::Deny);
    let unsigned = policy(json!({"signedBy": holder(&key()), "couldNotCheck": "admit"}));
    assert_eq!(answer(&by_alice(), &unsigned), Err("key_expected".into()));
}

#[test]
fn cve_2022_47633_what_was_verified_is_what_is_pinned() {
    let cluster = by_alice();
    let pinned = format!("{IMAGE}@{}", digest_of(IMAGE));
    let decision = decide(&cluster, &policy(json!({"signedBy": alice()})));
    let [pin] = &decision.pins[..] else { panic!("{decision:?}") };
    assert_eq!((pin.from.as_str(), pin.to.as_str()), (IMAGE, pinned.as_str()));
    assert_eq!(pin.pointer, "/spec/containers/0/image");
    assert!(decide(&cluster, &policy(json!({"signedBy": alice(), "digest": "keep"}))).pins.is_empty());
    let require = policy(json!({"signedBy": alice(), "digest": "require"}));
    assert_eq!(answer(&cluster, &require), Err("not_pinned".into()));
    let by_digest = cluster.decide(read(&require), &Request::of_object(pod(&[&pinned])));
    assert!(by_digest.admits() && by_digest.pins.is_empty() && !by_digest.results.is_empty());
    let refused = decide(&cluster, &policy(json!({"signedBy": holder(&key())})));
    assert!(refused.pins.is_empty(), "what did not pass is not pinned");
}

#[test]
fn a_name_that_is_none_is_refused_since_nobody_can_tell_whether_it_is_meant() {
    let cluster = by_alice();
    let decision = cluster.decide(
        read(&policy(json!({"signedBy": alice()}))),
        &Request::of_object(pod(&["ghcr.io/Acme/App:v1"])),
    );
    assert!(!decision.admits());
    assert_eq!(reasons(&decision), ["image_malformed"]);
    let malformed = json!({"kind": "Pod", "spec": {"containers": 1}});
    let decision =
        cluster.decide(read(&policy(json!({"signedBy": alice()}))), &Request::of_object(malformed));
    assert_eq!((decision.admits(), reasons(&decision)), (false, vec!["images_malformed"]));
}

/// In the older form all of them sign the same document.
#[test]
fn each_of_several_signatures_over_one_document_is_looked_at() {
    let keys = [key(), key(), key()];
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign_older(IMAGE, &keys[0], &json!({}));
    cluster.sign_older(IMAGE, &keys[1], &json!({}));
    let asked = |who: Value| {
        let require = json!({"transparencyLog": false, "ctLog": false});
        answer(&cluster, &policy(json!({"signedBy": who, "require": require}))).is_ok()
    };
    assert!(asked(holder(&keys[0])) && asked(holder(&keys[1])) && !asked(holder(&keys[2])));
    assert!(asked(json!({"allOf": [holder(&keys[0]), holder(&keys[1])]})));
    assert!(!asked(json!({"allOf": [holder(&keys[0]), holder(&keys[2])]})));
}

/// Answers as a cluster does, but for the trust root of the installation.
struct Without(Cluster, CouldNotReason);

impl Known for Without {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        match question {
            Question::Trust(None) => Some(Err(CouldNot::new(self.1, "no trust root is set"))),
            other => self.0.answer(other),
        }
    }
}

#[test]
fn a_key_alone_needs_no_trust_root_and_everything_else_does() {
    let (mine, other) = (key(), key());
    let admits = |who: Value, require: Value, reason: CouldNotReason| {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.sign_older(IMAGE, &mine, &json!({}));
        let now = cluster.now;
        let set = PolicySet::new(vec![Box::new(read(&policy(json!({"signedBy": who, "require": require}))))]);
        set.evaluate(&Request::of_object(pod(&[IMAGE])), &Without(cluster, reason), now).unwrap().admits()
    };
    let none = json!({"transparencyLog": false, "ctLog": false, "timestamp": false});
    let missing = CouldNotReason::NotFound;
    assert!(admits(holder(&mine), none.clone(), missing));
    assert!(!admits(holder(&other), none.clone(), missing), "another key");
    assert!(!admits(alice(), none.clone(), missing), "an identity");
    assert!(!admits(holder(&mine), with(none.clone(), json!({"transparencyLog": true})), missing));
    assert!(!admits(holder(&mine), with(none.clone(), json!({"timestamp": true})), missing));
    assert!(!admits(holder(&mine), none, CouldNotReason::Unreachable), "not known is not nobody");
}
