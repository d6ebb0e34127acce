//! `ImageValidatingPolicy` over requests, with images that were really signed.

mod reading;
mod requests;
mod statements;

use std::collections::HashMap;

use countersign_crypto::{Digest, KeyPair, Signer as _, encoding::pem_encode};
use countersign_policy::kyverno::ImageValidatingPolicy;
use countersign_policy::{
    Action, Answer, CouldNot, Decision, Known, PolicySet, Question, Request, RuleResult, Status,
};
use serde_json::{Value, json};

use crate::notary::{self, ROOT};
use crate::result;
use crate::samples::sample;
use crate::support::{By, Cluster, digest_of, key, pod};
use crate::validate::with_config;

const APP: &str = "ghcr.io/acme/app:v1";

/// Every container's image signed by `attestors.who`.
const ALL_SIGNED: &str =
    "images.containers.map(image, verifyImageSignatures(image, [attestors.who])).all(count, count > 0)";

/// A policy over pods, with this attestor and these changes of its specification.
pub(crate) fn policy(attestor: Value, changes: Value) -> Value {
    let mut who = attestor;
    who["name"] = "who".into();
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]},
        "attestors": [who],
        "validations": [{"expression": ALL_SIGNED}],
    });
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
        "metadata": {"name": "signed"}, "spec": spec})
}

/// A key as an attestor.
fn by_key(key: &KeyPair) -> Value {
    json!({"cosign": {"key": {"data": key.public_key().to_pem()}}})
}

fn by_alice(identity: Value) -> Value {
    let mut who = json!({"subject": "alice@example.com", "issuer": "https://issuer.example"});
    for (name, value) in identity.as_object().unwrap() {
        who[name] = value.clone();
    }
    json!({"cosign": {"keyless": {"identities": [who]}}})
}

fn read(policy: &Value) -> ImageValidatingPolicy {
    ImageValidatingPolicy::read(policy).unwrap_or_else(|error| panic!("{error}"))
}

fn decide(cluster: &Cluster, policy: &Value, object: &Value) -> Decision {
    cluster.decide(read(policy), &Request::of_object(object.clone()))
}

/// Status and reason over a pod with these images.
fn ends(cluster: &Cluster, policy: &Value, images: &[&str]) -> (Status, String) {
    let decision = decide(cluster, policy, &pod(images));
    let RuleResult { status, reason, .. } = result(&decision);
    assert_eq!(decision.admits(), *status == Status::Pass);
    (*status, reason.clone())
}

pub(crate) fn passes(cluster: &Cluster, policy: &Value) -> bool {
    ends(cluster, policy, &[APP]).0 == Status::Pass
}

/// A cluster with an image that this key signed.
fn signed() -> (Cluster, KeyPair) {
    let (mut cluster, signer) = (Cluster::new(), key());
    cluster.put(APP);
    cluster.sign(APP, By::Key(&signer), &json!({"env": "prod"}));
    (cluster, signer)
}

fn with(mut value: Value, pointer: &str, field: &str, to: Value) -> Value {
    value.pointer_mut(pointer).unwrap()[field] = to;
    value
}

#[test]
fn a_signed_image_passes_and_is_pinned_and_an_unsigned_one_does_not() {
    let (mut cluster, signer) = signed();
    let policy = policy(by_key(&signer), json!({}));
    let decision = decide(&cluster, &policy, &pod(&[APP]));
    assert_eq!(result(&decision).status, Status::Pass, "{decision:?}");
    assert_eq!(result(&decision).digest, Some(digest_of(APP)));
    let [pin] = decision.pins.as_slice() else { panic!("{decision:?}") };
    assert_eq!(
        (pin.pointer.as_str(), &pin.to),
        ("/spec/containers/0/image", &format!("{APP}@{}", digest_of(APP)))
    );

    cluster.put("ghcr.io/acme/other:v1");
    let decision = decide(&cluster, &policy, &pod(&[APP, "ghcr.io/acme/other:v1"]));
    assert!(!decision.admits() && decision.pins.is_empty());
    let RuleResult { reason, message, .. } = result(&decision);
    assert_eq!(reason, "no_signature");
    assert!(message.contains("countersign tree ghcr.io/acme/other:v1"), "{message}");
}

#[test]
fn each_field_of_an_attestor_alone_makes_the_answer_no() {
    let (mut cluster, signer) = signed();
    cluster.sign(APP, By::Alice, &json!({}));
    let other = key();
    let ours = policy(by_key(&signer), json!({}));
    let alice = policy(by_alice(json!({})), json!({}));
    for good in [&ours, &alice] {
        assert!(passes(&cluster, good), "{good}");
    }
    let cosign = "/spec/attestors/0/cosign";
    let identity = "/spec/attestors/0/cosign/keyless/identities/0";
    let other_pem = other.public_key().to_pem();
    let other_root =
        pem_encode("CERTIFICATE", &Cluster::new().world.root.certificate_authorities[0].certificates[0]);
    for (what, policy) in [
        ("key", policy(by_key(&other), json!({}))),
        ("annotations", with(ours.clone(), cosign, "annotations", json!({"env": "test"}))),
        (
            "repository",
            with(ours.clone(), cosign, "source", json!({"repository": "ghcr.io/acme/signatures"})),
        ),
        ("log key", with(ours.clone(), cosign, "ctlog", json!({"rekorPubKey": other_pem}))),
        ("log", with(ours.clone(), cosign, "ctlog", json!({"url": "https://elsewhere.example"}))),
        ("trusted root", with(ours.clone(), cosign, "trustedRoot", json!({"value": empty_root()}))),
        ("subject", with(alice.clone(), identity, "subject", json!("bob@example.com"))),
        ("issuer", with(alice.clone(), identity, "issuer", json!("https://other.example"))),
        ("issuerRegExp", with(alice.clone(), identity, "issuerRegExp", json!("https://other.*"))),
        ("subjectRegExp", policy_of_subject(json!({"subjectRegExp": "bob@.*"}))),
        ("subjectExpression", policy_of_subject(json!({"subjectExpression": "'bob@' + 'example.com'"}))),
        ("part of a subject", policy_of_subject(json!({"subjectRegExp": "alice"}))),
        (
            "extensions",
            with(
                alice.clone(),
                "/spec/attestors/0/cosign/keyless",
                "additionalExtensions",
                json!({"githubWorkflowName": "release"}),
            ),
        ),
        ("roots", with(alice.clone(), "/spec/attestors/0/cosign/keyless", "roots", json!(other_root))),
        ("CT log", with(alice.clone(), cosign, "ctlog", json!({"ctLogPubKey": other_pem}))),
        ("timestamps", with(alice, cosign, "ctlog", json!({"tsaCertChain": other_root}))),
    ] {
        assert_ne!(ends(&cluster, &policy, &[APP]).0, Status::Pass, "{what}");
    }
    // The same fields, right.
    for (what, policy) in [
        ("annotations", with(ours.clone(), cosign, "annotations", json!({"env": "prod"}))),
        ("log", with(ours, cosign, "ctlog", json!({"url": "https://log0.example"}))),
        ("subjectRegExp", policy_of_subject(json!({"subjectRegExp": "alice@.*"}))),
        ("subjectExpression", policy_of_subject(json!({"subjectExpression": "'alice@' + 'example.com'"}))),
    ] {
        assert_eq!(ends(&cluster, &policy, &[APP]), (Status::Pass, "verified".into()), "{what}");
    }
}

fn policy_of_subject(subject: Value) -> Value {
    let mut who = subject;
    who["issuer"] = "https://issuer.example".into();
    policy(json!({"cosign": {"keyless": {"identities": [who]}}}), json!({}))
}

fn empty_root() -> String {
    json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}).to_string()
}

#[test]
fn without_a_log_only_where_the_policy_says_so() {
    let (mut cluster, signer) = (Cluster::new(), key());
    cluster.put(APP);
    cluster.sign_older(APP, &signer, &json!({}));
    let ours = policy(by_key(&signer), json!({}));
    assert_ne!(ends(&cluster, &ours, &[APP]).0, Status::Pass);
    let loose = with(ours, "/spec/attestors/0/cosign", "ctlog", json!({"insecureIgnoreTlog": true}));
    assert!(passes(&cluster, &loose));
}

#[test]
fn a_certificate_that_no_ct_log_has_counts_only_where_the_policy_says_so() {
    let mut cluster = Cluster::new();
    cluster.put(APP);
    cluster.sign(APP, By::Alice, &json!({}));
    let by = |ignored: bool| {
        let mut who = by_alice(json!({}));
        who["cosign"]["ctlog"] = json!({"url": "https://log0.example", "insecureIgnoreSCT": ignored});
        policy(who, json!({}))
    };
    assert!(passes(&cluster, &by(false)));
    cluster.world.root.ctlogs.clear();
    assert!(!passes(&cluster, &by(false)));
    assert!(passes(&cluster, &by(true)));
}

#[test]
fn keys_and_certificates_may_come_from_expressions_and_references() {
    let (mut cluster, signer) = signed();
    let pem = signer.public_key().to_pem();
    let by_annotation = json!({"cosign": {"key": {"expression": "object.metadata.annotations.key"}}});
    let policy_by_annotation = policy(by_annotation, json!({}));
    let mut object = pod(&[APP]);
    object["metadata"]["annotations"] = json!({"key": pem});
    assert!(decide(&cluster, &policy_by_annotation, &object).admits());
    object["metadata"]["annotations"] = json!({"key": key().public_key().to_pem()});
    assert!(!decide(&cluster, &policy_by_annotation, &object).admits());
    // Without a value there is nobody, and that is no signature.
    assert_eq!(ends(&cluster, &policy_by_annotation, &[APP]).0, Status::Error);

    let kms = policy(json!({"cosign": {"key": {"kms": "k8s://keys/cosign"}}}), json!({}));
    assert_eq!(ends(&cluster, &kms, &[APP]), (Status::Error, "not_found".into()));
    cluster.keys.insert("k8s://keys/cosign".into(), vec![signer.public_key().clone()]);
    assert!(passes(&cluster, &kms));
}

#[test]
fn an_attestor_that_speaks_of_itself_ends() {
    let (cluster, _) = signed();
    let itself = "string(verifyImageSignatures(images.containers[0], [attestors.who]))";
    let policy = policy(json!({"cosign": {"key": {"expression": itself}}}), json!({}));
    assert_eq!(ends(&cluster, &policy, &[APP]), (Status::Error, "expression_failed".into()));
}

#[test]
fn variables_are_found_when_they_are_asked_for_and_end() {
    let (cluster, signer) = signed();
    let chain = |last: &str| {
        let mut variables = vec![json!({"name": "v0", "expression": last})];
        // As deep as an expression may be, all the way down.
        let nested = |n: usize| {
            (0..40).fold(format!("variables.v{}", n - 1), |inner, i| format!("[{inner}].map(x{i}, x{i})[0]"))
        };
        variables.extend((1..12).map(|n| json!({"name": format!("v{n}"), "expression": nested(n)})));
        json!(variables)
    };
    let with_variables = |variables: Value, used: &str| {
        policy(
            by_key(&signer),
            json!({"variables": variables,
            "validations": [{"expression": format!("{used} && {ALL_SIGNED}")}]}),
        )
    };
    let few = with_variables(
        json!([{"name": "prod", "expression": "object.metadata.namespace == 'prod'"},
        {"name": "both", "expression": "variables.prod && variables.prod"}, {"name": "bad", "expression": "1 / 0"}]),
        "variables.both",
    );
    assert!(passes(&cluster, &few));
    assert_eq!(
        ends(&cluster, &with_variables(chain("true"), "variables.v11"), &[APP]).1,
        "expression_failed"
    );
    assert_eq!(
        ends(&cluster, &with_variables(chain("variables.v1"), "variables.v1"), &[APP]).1,
        "expression_failed"
    );
}

#[test]
fn every_kind_of_container_is_an_image_and_required_is_not_talked_out_of_it() {
    let (mut cluster, signer) = signed();
    for list in ["initContainers", "ephemeralContainers"] {
        cluster.put("ghcr.io/acme/unsigned:v1");
        let mut object = pod(&[APP]);
        object["spec"][list] = json!([{"name": "x", "image": "ghcr.io/acme/unsigned:v1"}]);
        let decision = decide(&cluster, &policy(by_key(&signer), json!({})), &object);
        assert_eq!((decision.admits(), result(&decision).reason.as_str()), (false, "not_verified"), "{list}");
        let free = policy(by_key(&signer), json!({"validationConfigurations": {"required": false}}));
        assert!(decide(&cluster, &free, &object).admits(), "{list}");
        let all =
            format!("{ALL_SIGNED} && images.{list}.all(i, verifyImageSignatures(i, [attestors.who]) > 0)");
        let all = policy(by_key(&signer), json!({"validations": [{"expression": all}]}));
        assert_eq!(result(&decide(&cluster, &all, &object)).reason, "no_signature", "{list}");
    }
    let mut object = pod(&[APP]);
    object["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": "ghcr.io/acme/unsigned:v1"}}]);
    assert!(!decide(&cluster, &policy(by_key(&signer), json!({})), &object).admits());
    // kyverno 16853: required had no effect when the expression never asked.
    let never = format!("true || {ALL_SIGNED}");
    let never = policy(by_key(&key()), json!({"validations": [{"expression": never}]}));
    assert_eq!(ends(&cluster, &never, &[APP]), (Status::Fail, "not_verified".into()));
}

#[test]
fn kyverno_16815_16817_images_are_pinned_or_must_be() {
    let (cluster, signer) = signed();
    let configured =
        |configuration: Value| policy(by_key(&signer), json!({"validationConfigurations": configuration}));
    let tag_only = configured(json!({"mutateDigest": false}));
    assert_eq!(ends(&cluster, &tag_only, &[APP]), (Status::Fail, "not_pinned".into()));
    let loose = configured(json!({"mutateDigest": false, "verifyDigest": false}));
    let decision = decide(&cluster, &loose, &pod(&[APP]));
    assert!(decision.admits() && decision.pins.is_empty());
    let pinned = format!("{APP}@{}", digest_of(APP));
    assert_eq!(ends(&cluster, &tag_only, &[&pinned]).0, Status::Pass);
    assert!(decide(&cluster, &configured(json!({})), &pod(&[&pinned])).pins.is_empty());
}

#[test]
fn kyverno_16336_what_an_annotation_says_was_verified_is_not() {
    let (cluster, _) = signed();
    let mut object = pod(&[APP]);
    object["metadata"]["annotations"] = json!({"kyverno.io/verify-images": format!("{{\"{APP}@{}\":\"pass\"}}", digest_of(APP)),
            "kyverno.io/image-verification-outcomes": "{\"signed\":\"pass\"}"});
    assert!(!decide(&cluster, &policy(by_key(&key()), json!({})), &object).admits());
}

#[test]
fn who_is_named_twice_counts_once_and_nobody_is_nobody() {
    let (cluster, signer) = signed();
    let twice = "images.containers.all(i, verifyImageSignatures(i, [attestors.who, attestors.who]) == 1)";
    assert!(passes(&cluster, &policy(by_key(&signer), json!({"validations": [{"expression": twice}]}))));
    let nobody = "images.containers.all(i, verifyImageSignatures(i, []) == 0)";
    let nobody = policy(by_key(&signer), json!({"validations": [{"expression": nobody}]}));
    assert_eq!(ends(&cluster, &nobody, &[APP]), (Status::Fail, "not_verified".into()));
}

#[test]
fn what_cannot_be_checked_is_an_error_and_not_unsigned() {
    let (mut cluster, signer) = signed();
    let ours = policy(by_key(&signer), json!({}));
    let absent = policy(by_key(&signer), json!({"failurePolicy": "Ignore"}));
    cluster.away.insert("the evidence of".into());
    assert_eq!(ends(&cluster, &ours, &[APP]), (Status::Error, "unreachable".into()));
    let decision = decide(&cluster, &absent, &pod(&[APP]));
    assert!(decision.admits() && result(&decision).status == Status::Error);
    cluster.away.clear();
    // One of two attestors cannot be asked: enough for one, and no verdict for two.
    let two = |needed: &str| {
        let mut two = policy(
            by_key(&signer),
            json!({"validations": [{"expression": format!(
            "images.containers.all(i, verifyImageSignatures(i, [attestors.who, attestors.kms]) {needed})")}]}),
        );
        let kms = json!({"name": "kms", "cosign": {"key": {"kms": "awskms:///alias/x"}}});
        two["spec"]["attestors"].as_array_mut().unwrap().push(kms);
        two
    };
    assert!(passes(&cluster, &two("> 0")));
    assert_eq!(ends(&cluster, &two("== 2"), &[APP]), (Status::Error, "not_found".into()));
}

#[test]
fn all_that_is_open_is_asked_at_once() {
    struct Nothing;
    impl Known for Nothing {
        fn answer(&self, _: &Question) -> Option<Result<Answer, CouldNot>> {
            None
        }
    }
    let second = "ghcr.io/acme/second:v1";
    let request = Request::of_object(pod(&[APP, second]));
    let set = || PolicySet::new(vec![Box::new(read(&policy(by_key(&key()), json!({}))))]);
    let now = Cluster::new().now;
    let open = set().evaluate(&request, &Nothing, now).unwrap_err();
    assert_eq!(
        open.iter().filter(|question| matches!(question, Question::Digest { .. })).count(),
        2,
        "{open:?}"
    );
    let known: HashMap<Question, Result<Answer, CouldNot>> = open
        .into_iter()
        .map(|question| {
            let Question::Digest { image, .. } = &question else { panic!("{question}") };
            let digest: Digest = digest_of(&image.to_string());
            (question, Ok(Answer::Digest(digest)))
        })
        .collect();
    let open = set().evaluate(&request, &known, now).unwrap_err();
    assert_eq!(
        open.iter().filter(|question| matches!(question, Question::Evidence(_))).count(),
        2,
        "{open:?}"
    );
}

#[test]
fn actions_messages_and_annotations_are_the_policys() {
    let (cluster, _) = signed();
    let stranger = key();
    let validations = |validation: Value| {
        let mut validation = validation;
        validation["expression"] = ALL_SIGNED.into();
        json!([validation])
    };
    for (actions, action) in [
        (json!([]), Action::Deny),
        (json!(["Deny", "Audit"]), Action::Deny),
        (json!(["Audit", "Warn"]), Action::Warn),
        (json!(["Audit"]), Action::Audit),
    ] {
        let policy = policy(by_key(&stranger), json!({"validationActions": actions}));
        let decision = decide(&cluster, &policy, &pod(&[APP]));
        assert_eq!((result(&decision).action, decision.admits()), (action, action != Action::Deny));
    }
    for (validation, expected) in [
        (json!({"message": "not ours"}), "not ours; ghcr.io"),
        (json!({"message": "x", "messageExpression": "'no: ' + object.metadata.name"}), "no: app; ghcr.io"),
        (json!({"message": "x", "messageExpression": "object.missing"}), "x; ghcr.io"),
        (json!({}), "expected images.containers"),
    ] {
        let policy = policy(by_key(&stranger), json!({"validations": validations(validation)}));
        let decision = decide(&cluster, &policy, &pod(&[APP]));
        assert!(result(&decision).message.starts_with(expected), "{}", result(&decision).message);
    }
    let mut noted = policy(
        by_key(&stranger),
        json!({"validations": validations(json!({"reason": "Forbidden"})),
        "auditAnnotations": [{"key": "who", "valueExpression": "object.metadata.name"}]}),
    );
    noted["metadata"]["annotations"] = json!({"policies.kyverno.io/severity": "high"});
    let decision = decide(&cluster, &noted, &pod(&[APP]));
    let properties = &result(&decision).properties;
    assert_eq!(
        (properties["who"].as_str(), properties["reason"].as_str(), properties["severity"].as_str()),
        ("app", "Forbidden", "high")
    );
}

#[test]
fn what_an_image_is_made_of_can_be_asked() {
    let (mut cluster, signer) = signed();
    with_config(&mut cluster, APP, json!({"config": {"User": "1000"}}));
    let of = |user: &str| {
        let check = format!(
            "images.containers.all(i, getImageData(i).config.config.User == '{user}' && \
            getImageData(i).registry == 'ghcr.io' && image(i).tag() == 'v1') && {ALL_SIGNED}"
        );
        policy(by_key(&signer), json!({"validations": [{"expression": check}]}))
    };
    assert!(passes(&cluster, &of("1000")));
    assert!(!passes(&cluster, &of("0")));
    cluster.images.clear();
    assert_eq!(ends(&cluster, &of("1000"), &[APP]), (Status::Error, "not_found".into()));
}

#[test]
fn kyvernos_sample_loads_and_decides() {
    let Some(mut sample) = sample("verify-image-ivpol.yaml") else { return };
    read(&sample);
    let wanted = json!([{"glob": "ghcr.io/acme/*"}]);
    sample["spec"]["matchImageReferences"] = wanted;
    let decision = |signed: bool, policy: &Value| {
        let cluster = notary::cluster(signed, &[]);
        cluster.decide(read(policy), &Request::of_object(pod(&[notary::IMAGE])))
    };
    // Its certificate is not the one of these tests.
    assert!(!decision(true, &sample).admits());
    sample["spec"]["attestors"][0]["notary"]["certs"]["value"] = ROOT.into();
    assert_eq!(result(&decision(true, &sample)).status, Status::Pass);
    let refused = decision(false, &sample);
    let RuleResult { reason, message, .. } = result(&refused);
    assert_eq!(reason, "no_signature");
    assert!(message.starts_with("failed the verification; ghcr.io/acme/app:v1: notary: "), "{message}");
}
