//! policy-controller's own documents: the invalid ones are refused, each for its own reason, and the valid ones ask for what
//! they say.

use std::path::{Path, PathBuf};

use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::{Policy as _, Question, Request};
use jiff::Timestamp;
use serde_json::Value;

use crate::support::pod;
use crate::{read, with};

fn folder(name: &str) -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/policy-controller").join(name);
    if !folder.is_dir() {
        println!("skipped: ../shared/testdata/policy-controller is not there");
        return None;
    }
    Some(folder)
}

fn document(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn each_invalid_document_is_refused_for_its_own_reason() {
    let Some(folder) = folder("invalid") else { return };
    let authority = "spec.authorities[0]";
    let reasons = [
        ("empty-keyref-and-keylessref", "", "only one"),
        ("v1beta1-empty-keyref-and-keylessref", ".key", "found none"),
        ("empty-keyref", ".key", "found none"),
        ("invalid-authority", "", "found none"),
        ("invalid-glob", "spec.images[0].glob", "letters"),
        ("invalid-keyref-awskms", ".key.kms", "arn:aws:kms"),
        ("invalid-mode", "spec.mode", "garbage"),
        ("invalid-pubkey", ".key.data", "PEM"),
        ("keylessref-with-empty-authorities", "spec.authorities", "nobody"),
        ("keylessref-with-malformed-issuer", ".keyless.identities[0].issuerRegExp", "****"),
        ("keylessref-with-malformed-subject", ".keyless.identities[0].subjectRegExp", "****"),
        ("keylessref-with-multiple-properties", ".keyless", "url or ca-cert"),
        ("keyref-with-multiple-properties", ".key", "only one"),
        ("missing-identity", ".keyless.identities", "anybody"),
        ("missing-issuer", ".keyless.identities[0].issuer", "both parts"),
        ("missing-subject", ".keyless.identities[0].subject", "both parts"),
        ("valid-keyref-and-keylessref", "", "only one"),
        ("invalid-hash-algo", ".key.hashAlgorithm", "shaINVALID"),
        ("invalid-match-resource", "spec.match[0].resource", "apple"),
    ];
    let mut refused = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let file = entry.file_name().into_string().unwrap();
        let name = file.strip_suffix(".yaml").unwrap();
        let known = |name: &str| reasons.iter().find(|(own, ..)| *own == name);
        let reason = known(name).or_else(|| known(name.strip_prefix("v1beta1-")?));
        let (_, path, message) = reason.unwrap_or_else(|| panic!("{name}: why is it invalid?"));
        let error = ClusterImagePolicy::read(&document(&entry.path())).unwrap_err();
        let expected =
            if path.starts_with("spec") { (*path).to_owned() } else { format!("{authority}{path}") };
        assert_eq!(error.path, expected, "{name}: {error}");
        assert!(error.message.contains(message), "{name}: {error}");
        refused += 1;
    }
    assert_eq!(refused, 33);
}

/// What a policy asks of an image `image1` that nobody knows anything of.
fn asks(policy: &Value, request: &Request) -> Vec<String> {
    let set = countersign_policy::PolicySet::new(vec![Box::new(read(policy))]);
    let known = std::collections::HashMap::new();
    match set.evaluate(request, &known, Timestamp::UNIX_EPOCH) {
        Err(questions) => questions.iter().map(Question::to_string).collect(),
        Ok(decision) => panic!("decided without an answer: {decision:?}"),
    }
}

#[test]
fn each_valid_document_asks_for_what_it_says() {
    let Some(folder) = folder("valid") else { return };
    let digest = format!("@sha256:{}", "a".repeat(64));
    let kms = "awskms:///arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let secret = "the public key k8s://cosign-system/secret-name";
    let vault = "the public key hashivault://key/path";
    let evidence = "the evidence of";
    let certificates = "the certificates k8s://cosign-system/ca-cert-secret";
    // A name, an image that it is about, questions, lints.
    let demands: [(&str, &str, &[&str], &[&str]); 14] = [
        ("v1beta1-valid-keylessref-awskms", "images.1", &[], &["authority_cannot_be_checked"]),
        ("valid-keylessref-awskms", "images.1", &[], &["authority_cannot_be_checked"]),
        ("v1beta1-valid-keyref-awskms", "images.1", &[kms, evidence], &[]),
        ("valid-keyref-awskms", "images.1", &[kms, evidence], &[]),
        (
            "v1beta1-valid-policy-glob",
            "image1",
            &[secret, vault, evidence, "the trust root", certificates],
            &[],
        ),
        (
            "valid-policy-glob",
            "image1",
            &[secret, vault, evidence, certificates],
            &["regex_matches_whole_text"],
        ),
        ("v1beta1-valid-policy", "image1", &[secret, vault, evidence], &["authority_cannot_be_checked"]),
        ("valid-policy", "image1", &[secret, vault, evidence], &["authority_cannot_be_checked"]),
        ("valid-policy-hash-algo", "image1", &[secret, vault, evidence], &["authority_cannot_be_checked"]),
        ("valid-policy-hash-algo-sha512", "ghcr.io/sgtcodfish/ace:0.5", &["the digest of"], &[]),
        (
            "valid-policy-keyless-ignore-sct",
            "image1",
            &[secret, vault, evidence, certificates],
            &["regex_matches_whole_text"],
        ),
        ("valid-policy-match-resource", "image1", &[], &["authority_cannot_be_checked"]),
        ("valid-policy-match-resource-label", "image1", &[], &["authority_cannot_be_checked"]),
        ("valid-keyless-with-source", "images.1", &[certificates, evidence], &["regex_matches_whole_text"]),
    ];
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), demands.len());
    for (name, image, questions, lints) in demands {
        let policy = document(&folder.join(format!("{name}.yaml")));
        let by_tag = image.contains(":0.5");
        let image = if by_tag { image.to_owned() } else { format!("{image}{digest}") };
        let request = Request::of_object(pod(&[&image]));
        let told = read(&policy).lints();
        for code in lints {
            assert!(told.iter().any(|lint| lint.code == *code), "{name}: {code}: {told:?}");
        }
        assert!(!lints.is_empty() || told.is_empty(), "{name}: {told:?}");
        if name.contains("match-resource") {
            let set = countersign_policy::PolicySet::new(vec![Box::new(read(&policy))]);
            let decision = set.evaluate(&request, &std::collections::HashMap::new(), Timestamp::UNIX_EPOCH);
            assert_eq!(
                decision.map(|decision| decision.results.len()),
                Ok(0),
                "{name}: it is about deployments"
            );
        } else if questions.is_empty() {
            // Nothing that it asks for can be checked here, and that is not a pass.
            let set = countersign_policy::PolicySet::new(vec![Box::new(read(&policy))]);
            let decision =
                set.evaluate(&request, &std::collections::HashMap::new(), Timestamp::UNIX_EPOCH).unwrap();
            assert!(!decision.admits(), "{name}");
            assert_eq!(decision.results[0].reason, "unsupported", "{name}");
        } else {
            let asked = asks(&policy, &request);
            for question in questions {
                assert!(asked.iter().any(|asked| asked.contains(question)), "{name}: {question}: {asked:?}");
            }
        }
        let elsewhere = Request::of_object(pod(&["ghcr.io/other/app:v1"]));
        let set = countersign_policy::PolicySet::new(vec![Box::new(read(&policy))]);
        let decision = set.evaluate(&elsewhere, &std::collections::HashMap::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(decision.map(|decision| decision.results.len()), Ok(0), "{name}: not about this image");
    }
}

#[test]
fn the_documents_over_deployments_judge_deployments() {
    let Some(folder) = folder("valid") else { return };
    let image = format!("image1@sha256:{}", "a".repeat(64));
    let deployment = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "prod", "labels": {"match": "match"}},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}});
    for (name, object, about) in [
        ("valid-policy-match-resource", deployment.clone(), true),
        ("valid-policy-match-resource-label", deployment.clone(), true),
        (
            "valid-policy-match-resource-label",
            with(deployment, &[("/metadata/labels/match", "other".into())]),
            false,
        ),
    ] {
        let policy = document(&folder.join(format!("{name}.yaml")));
        let set = countersign_policy::PolicySet::new(vec![Box::new(read(&policy))]);
        let decided = set.evaluate(
            &Request::of_object(object),
            &std::collections::HashMap::new(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(decided.is_err(), about, "{name}: {decided:?}");
    }
}
