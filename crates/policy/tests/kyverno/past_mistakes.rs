//! Past mistakes of Kyverno, by their ids.

use std::cell::Cell;
use std::collections::HashMap;

use countersign_policy::kyverno::ClusterPolicy;
use countersign_policy::{Access, Answer, CouldNot, Known, Operation, Policy, PolicySet, Question, Status};
use serde_json::{Value, json};

use countersign_crypto::Signer as _;

use crate::support::{By, Cluster, digest_of, key, pod};
use crate::{key_entry, read, request, signed_by, told, verifying};

const IMAGE: &str = "ghcr.io/acme/app:v1";
const OTHER: &str = "ghcr.io/acme/other:v1";

/// A registry that says something else each time it is asked what a tag names.
struct Moving<'a>(&'a Cluster, Cell<u32>);

impl Known for Moving<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        match question {
            Question::Digest { .. } => {
                self.1.set(self.1.get() + 1);
                let word = if self.1.get() == 1 { IMAGE } else { "something else" };
                Some(Ok(Answer::Digest(digest_of(word))))
            }
            other => self.0.answer(other),
        }
    }
}

#[test]
fn cve_2022_47633_what_is_pinned_is_what_was_verified() {
    let signer = key();
    let mut cluster = Cluster::new();
    let verified = cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let policy = read(&signed_by(json!([{"entries": [key_entry(&signer)]}])));
    let moving = Moving(&cluster, Cell::new(0));
    let set = PolicySet::new(vec![Box::new(policy)]);
    let decision = set.evaluate(&request(pod(&[IMAGE])), &moving, cluster.now).unwrap();
    let pinned: Vec<&str> = decision.pins.iter().map(|pin| pin.to.as_str()).collect();
    assert_eq!(pinned, [format!("{IMAGE}@{verified}")]);
    assert_eq!((decision.results[0].status, decision.results[0].digest), (Status::Pass, Some(verified)));
}

#[test]
fn ghsa_2r43_6962_xcw5_a_moved_tag_is_another_image() {
    let signer = key();
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let policy = || read(&signed_by(json!([{"entries": [key_entry(&signer)]}])));
    assert!(cluster.decide(policy(), &request(pod(&[IMAGE]))).admits());
    cluster.tags.insert(IMAGE.into(), digest_of("moved"));
    assert!(!cluster.decide(policy(), &request(pod(&[IMAGE]))).admits());
}

#[test]
fn cve_2025_46342_a_namespace_that_cannot_be_read_is_not_one_that_does_not_match() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.away = ["the namespace".to_owned()].into();
    let selecting = json!({"any": [{"resources": {"kinds": ["Pod"],
        "namespaceSelector": {"matchLabels": {"env": "prod"}}}}]});
    let pods = json!({"any": [{"resources": {"kinds": ["Pod"]}}]});
    for (matches, exclude) in [(&selecting, &json!({})), (&pods, &selecting)] {
        let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
        policy["spec"]["rules"][0]["match"] = matches.clone();
        policy["spec"]["rules"][0]["exclude"] = exclude.clone();
        let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
        assert_eq!(told(&decision), (false, Status::Error, "unreachable"));
    }
    // The action for a namespace that is not known is the stricter one.
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["spec"]["validationFailureActionOverrides"] = json!([{"action": "Audit",
        "namespaceSelector": {"matchLabels": {"env": "test"}}}]);
    assert!(!cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits());
}

#[test]
fn issue_16336_what_annotations_say_of_verification_is_not_believed() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let mut object = pod(&[IMAGE]);
    object["metadata"]["annotations"] = json!({
        "kyverno.io/verify-images": format!("{{\"{IMAGE}\":\"pass\"}}"),
        "kyverno.io/verify-images-scoped":
            format!("{{\"version\":1,\"policies\":{{\"signed\":{{\"check\":{{\"{IMAGE}\":\"pass\"}}}}}}}}"),
    });
    let policy = read(&signed_by(json!([{"entries": [key_entry(&key())]}])));
    assert!(!cluster.decide(policy, &request(object)).admits());
}

#[test]
fn issue_16800_one_policy_does_not_pass_for_another_and_no_image_ends_the_list() {
    let (one, other) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put(OTHER);
    cluster.put("docker.io/library/nginx:1");
    cluster.sign(IMAGE, By::Key(&one), &json!({}));
    let policy = |name: &str, signer: &_| {
        let mut policy = verifying(json!({"imageReferences": ["ghcr.io/*"],
            "attestors": [{"entries": [key_entry(signer)]}]}));
        policy["metadata"]["name"] = json!(name);
        Box::new(read(&policy)) as Box<dyn countersign_policy::Policy>
    };
    let both = || vec![policy("one", &one), policy("other", &other)];
    assert!(!cluster.decide_all(both(), vec![], &request(pod(&[IMAGE]))).admits());
    cluster.sign(IMAGE, By::Key(&other), &json!({}));
    assert!(cluster.decide_all(both(), vec![], &request(pod(&[IMAGE]))).admits());
    let mixed = request(pod(&["nginx:1", IMAGE, OTHER]));
    assert!(!cluster.decide_all(vec![policy("one", &one)], vec![], &mixed).admits());
}

#[test]
fn issue_14862_each_entry_has_its_own_action() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let entry = |action: &str| json!({"imageReferences": ["*"], "failureAction": action, "attestors": [{"entries": [key_entry(&key())]}]});
    for (first, second, admitted) in
        [("Audit", "Enforce", false), ("Enforce", "Audit", false), ("Audit", "Audit", true)]
    {
        let mut policy = verifying(entry(first));
        policy["spec"]["rules"][0]["verifyImages"] = json!([entry(first), entry(second)]);
        assert_eq!(
            cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits(),
            admitted,
            "{first} {second}"
        );
    }
}

#[test]
fn cve_2023_34091_an_object_on_its_way_out_is_verified_like_any_other() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put(OTHER);
    let leaving = |image: &str| {
        let mut object = pod(&[image]);
        object["metadata"]["deletionTimestamp"] = json!("2023-11-14T00:00:00Z");
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        object
    };
    let mut update = request(leaving(OTHER));
    update.operation = Operation::Update;
    update.old_object = Some(leaving(IMAGE));
    let policy = || read(&signed_by(json!([{"entries": [key_entry(&key())]}])));
    assert!(!cluster.decide(policy(), &update).admits());
    // What was there before is not judged again: an unsigned pod can still lose its finalizer.
    update.object = leaving(IMAGE);
    assert!(cluster.decide(policy(), &update).admits());
}

#[test]
fn cve_2023_47630_another_manifest_than_the_one_that_is_meant_is_none() {
    let policy = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "x"}, "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{"name": "user", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": {"foreach": [{
            "list": "request.object.spec.containers",
            "context": [{"name": "image", "imageRegistry": {"reference": "{{ element.image }}"}}],
            "deny": {"conditions": {"all": [
                {"key": "{{ image.configData.config.User || '' }}", "operator": "Equals", "value": ""}]}},
        }]}}],
    }});
    let mut cluster = Cluster::new();
    crate::validate::with_config(&mut cluster, IMAGE, json!({"config": {"User": "1000"}}));
    assert!(cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits());
    let place = cluster.place(IMAGE);
    cluster.images.get_mut(&place).unwrap().descriptor.digest = digest_of("something else");
    let decision = cluster.decide(read(&policy), &request(pod(&[IMAGE])));
    assert_eq!(told(&decision), (false, Status::Error, "unusable"));
}

#[test]
fn cve_2026_22039_policies_make_no_calls() {
    for entry in [
        json!({"name": "x", "apiCall": {"urlPath": "/api/v1/namespaces/kube-system/secrets"}}),
        json!({"name": "x", "apiCall": {"service": {"url": "http://169.254.169.254"}}}),
        json!({"name": "x", "globalReference": {"name": "all"}}),
    ] {
        let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
        policy["spec"]["rules"][0]["context"] = json!([entry]);
        let error = ClusterPolicy::read(&policy).unwrap_err();
        assert!(error.path.starts_with("spec.rules[0].context[0]."), "{error}");
    }
}

#[test]
fn cve_2026_22039_keys_are_fetched_from_no_address_that_a_policy_names() {
    for reference in [
        "https://169.254.169.254/key",
        "http://key.example",
        "env://HOME",
        "file:///etc/passwd",
        "github://acme",
        "gitlab://acme/app",
        "pkcs11:object=a?module-path=/tmp/a.so&x=://",
        "awskms://",
    ] {
        for field in ["publicKeys", "kms"] {
            let policy = signed_by(json!([{"entries": [{"keys": {field: reference}}]}]));
            let error = ClusterPolicy::read(&policy).expect_err(reference);
            assert!(
                error.path.ends_with(&format!("entries[0].keys.{field}")),
                "{field} {reference}: {error}"
            );
        }
    }
    for reference in
        ["k8s://security/cosign", "awskms:///alias/cosign", "hashivault://cosign", "acme-kms://cosign"]
    {
        assert!(
            ClusterPolicy::read(&signed_by(json!([{"entries": [{"keys": {"kms": reference}}]}]))).is_ok()
        );
    }
}

#[test]
fn what_a_policy_of_a_namespace_may_be_asked_with_is_for_that_namespace() {
    let credentials = json!({"allowInsecureRegistry": true, "providers": ["amazon"], "secrets": ["regcred"]});
    let mut older = verifying(json!({"imageReferences": ["*"], "imageRegistryCredentials": credentials,
        "attestors": [{"entries": [key_entry(&key())]}]}));
    older["kind"] = json!("Policy");
    let attestor = json!({"cosign": {"key": {"data": key().public_key().to_pem()}}});
    let mut newer = crate::image_validating::policy(attestor, json!({"credentials": credentials}));
    newer["kind"] = json!("NamespacedImageValidatingPolicy");
    for policy in [&mut older, &mut newer] {
        policy["metadata"]["namespace"] = json!("prod");
    }
    let cluster = || Box::new(read(&signed_by(json!([{"entries": [key_entry(&key())]}])))) as Box<dyn Policy>;
    let older: Box<dyn Policy> = Box::new(read(&older));
    let newer: Box<dyn Policy> =
        Box::new(countersign_policy::kyverno::ImageValidatingPolicy::read(&newer).unwrap());
    for policy in [older, newer] {
        let given = policy.access();
        assert!(given.insecure && given.secrets.len() == 1 && given.providers.len() == 1, "{given:?}");
        let set = PolicySet::new(vec![cluster(), policy]);
        let asked_in = |namespace: &str| -> Vec<Access> {
            let mut object = pod(&[IMAGE]);
            object["metadata"]["namespace"] = json!(namespace);
            let open = set.evaluate(&request(object), &HashMap::new(), Cluster::new().now).unwrap_err();
            let of = |question: &Question| match question {
                Question::Digest { access, .. } => Access::clone(access),
                other => panic!("{other}"),
            };
            open.iter().map(of).collect()
        };
        // The policy of the cluster asks without it there too.
        assert_eq!(asked_in("prod"), [Access::default(), given]);
        assert_eq!(asked_in("test"), [Access::default()]);
    }
}

#[test]
fn ghsa_459x_q9hg_4gpq_a_policy_of_a_namespace_reads_nothing_of_others() {
    let policy = |context: Value, keys: Value| {
        let mut policy = signed_by(json!([{"entries": [{"keys": keys}]}]));
        policy["kind"] = json!("Policy");
        policy["metadata"]["namespace"] = json!("prod");
        policy["spec"]["rules"][0]["context"] = context;
        policy
    };
    for keys in [
        json!({"publicKeys": "k8s://kube-system/cosign"}),
        json!({"secret": {"name": "cosign", "namespace": "kube-system"}}),
        json!({"kms": "k8s://kube-system/cosign"}),
        // Key services are asked with the credentials of whoever evaluates.
        json!({"kms": "awskms://169.254.169.254:80/alias/cosign"}),
        json!({"publicKeys": "hashivault://cosign"}),
    ] {
        let error = ClusterPolicy::read(&policy(json!([]), keys.clone())).expect_err(&keys.to_string());
        assert!(
            error.path.starts_with("spec.rules[0].verifyImages[0].attestors[0].entries[0].keys."),
            "{error}"
        );
    }
    assert!(ClusterPolicy::read(&policy(json!([]), json!({"publicKeys": "k8s://prod/cosign"}))).is_ok());
    // A namespace that a variable names is told by then.
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let pem = key().public_key().to_pem();
    cluster.config_maps.insert("kube-system/keys".into(), [("key".into(), pem)].into());
    let context =
        json!([{"name": "keys", "configMap": {"name": "keys", "namespace": "{{ 'kube-system' }}"}}]);
    let reading = policy(context, json!({"publicKeys": "{{ keys.data.key }}"}));
    let decision = cluster.decide(read(&reading), &request(pod(&[IMAGE])));
    assert_eq!(told(&decision), (false, Status::Error, "unusable"));
    // So is one of a Secret.
    let context = json!([{"name": "ns", "variable": {"value": "kube-system"}}]);
    let reading = policy(context, json!({"publicKeys": "k8s://{{ ns }}/cosign"}));
    cluster.keys.insert("k8s://kube-system/cosign".into(), vec![key().public_key().clone()]);
    let decision = cluster.decide(read(&reading), &request(pod(&[IMAGE])));
    assert_eq!(told(&decision), (false, Status::Error, "unusable"));
}

#[test]
fn p03_p10_nothing_named_is_nothing_allowed() {
    let mut policy = signed_by(json!([{"entries": [key_entry(&key())]}]));
    policy["spec"]["rules"] = json!([]);
    assert!(ClusterPolicy::read(&policy).is_err(), "no rules");
    for empty in [
        json!({"subject": "", "issuer": ""}),
        json!({"subject": "", "subjectRegExp": ""}),
        json!({"additionalExtensions": {"githubWorkflowName": ""}}),
    ] {
        let policy = signed_by(json!([{"entries": [crate::alice(empty.clone())]}]));
        assert!(ClusterPolicy::read(&policy).is_err(), "{empty}");
    }
}

#[test]
fn p04_conditions_hold_of_each_attestation_and_each_attestor() {
    let (one, other) = (key(), key());
    let grade =
        |wanted: &str| json!([{"all": [{"key": "{{ grade }}", "operator": "Equals", "value": wanted}]}]);
    let said = |by: &_, kind: &str| json!({"type": kind, "attestors": [{"entries": [key_entry(by)]}], "conditions": grade("A")});
    for (grades, admitted) in [(["A", "A"], true), (["F", "A"], false), (["A", "F"], false)] {
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.attest(IMAGE, By::Key(&one), "x/one", &json!({"grade": grades[0]}));
        cluster.attest(IMAGE, By::Key(&other), "x/other", &json!({"grade": grades[1]}));
        let policy = verifying(json!({"imageReferences": ["*"],
            "attestations": [said(&one, "x/one"), said(&other, "x/other")]}));
        assert_eq!(cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits(), admitted, "{grades:?}");
        // The same of two who say the same kind of thing.
        let mut cluster = Cluster::new();
        cluster.put(IMAGE);
        cluster.attest(IMAGE, By::Key(&one), "x/one", &json!({"grade": grades[0]}));
        cluster.attest(IMAGE, By::Key(&other), "x/one", &json!({"grade": grades[1]}));
        let policy = verifying(json!({"imageReferences": ["*"], "attestations": [{"type": "x/one",
            "attestors": [{"entries": [key_entry(&one), key_entry(&other)]}], "conditions": grade("A")}]}));
        assert_eq!(cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits(), admitted, "{grades:?}");
    }
}

#[test]
fn p07_a_signature_that_lies_there_twice_is_one() {
    let (one, other) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Key(&one), &json!({}));
    let found = cluster.evidence.get_mut(&format!("ghcr.io/acme/app@{}", digest_of(IMAGE))).unwrap();
    found.push(found[0].clone());
    let policy = signed_by(json!([{"count": 2, "entries": [key_entry(&one), key_entry(&other)]}]));
    assert!(!cluster.decide(read(&policy), &request(pod(&[IMAGE]))).admits());
}

/// Answers what was asked in earlier rounds.
struct Rounds<'a>(&'a Cluster, Vec<Question>);

impl Known for Rounds<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.1.contains(question).then(|| self.0.answer(question).unwrap())
    }
}

#[test]
fn issue_16657_an_image_is_asked_for_once_however_often_it_is_used() {
    let keys = [key(), key(), key(), key(), key()];
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    for key in &keys {
        cluster.sign(IMAGE, By::Key(key), &json!({}));
    }
    let entries: Vec<Value> = keys.iter().map(key_entry).collect();
    let set = PolicySet::new(vec![Box::new(read(&signed_by(json!([{"entries": entries}]))))]);
    let object = request(pod(&[IMAGE; 8]));
    let mut rounds = Rounds(&cluster, Vec::new());
    let mut count = 0;
    let decision = loop {
        match set.evaluate(&object, &rounds, cluster.now) {
            Ok(decision) => break decision,
            Err(open) => rounds.1.extend(open),
        }
        count += 1;
        assert!(count < 5, "{:?}", rounds.1);
    };
    assert!(decision.admits() && decision.pins.len() == 8);
    let asked: Vec<String> = rounds.1.iter().map(ToString::to_string).collect();
    assert_eq!(asked.len(), 3, "the digest, the evidence, the trust root: {asked:?}");
}
