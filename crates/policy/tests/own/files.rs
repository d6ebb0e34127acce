//! Files and directories: policies by their names, evidence that whoever asks has.

use countersign_policy::own::PolicyException;
use countersign_policy::{Artifact, Decision, PolicySet, Request};
use countersign_registry::Descriptor;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Form, Found, Origin};
use serde_json::{Value, json};

use crate::known::{PROVENANCE, built};
use crate::support::{By, Cluster, digest_of, key, statement};
use crate::{IMAGE, alice, policy, read, reasons, with};

/// A cluster where this is said of a file.
fn of_file(name: &str, kind: &str, predicate: &Value, by: By<'_>) -> (Cluster, Artifact) {
    let mut cluster = Cluster::new();
    let digest = digest_of(name);
    let bytes = cluster.bundle(by, &statement(&digest, kind, predicate, &json!({})), true).to_json().unwrap();
    let layer = Descriptor::of(media_type::BUNDLE, &bytes);
    let (form, origin, manifest) = (Form::Bundle, Origin::ReferrersApi, layer.clone());
    let found = Found { form, origin, manifest, layer, annotations: Default::default(), bytes };
    cluster.files.insert(digest.to_string(), vec![found]);
    (cluster, Artifact { name: name.to_owned(), digest })
}

fn wheels(changes: Value) -> Value {
    let spec = json!({"images": [], "artifacts": ["*.whl"], "attestations": [{"predicate": PROVENANCE, "signedBy": alice()}]});
    policy(with(spec, changes))
}

fn decide(cluster: &Cluster, policy: &Value, artifact: &Artifact) -> Decision {
    cluster.decide(read(policy), &Request::of_artifact(artifact.clone()))
}

#[test]
fn a_file_is_judged_by_its_name_and_its_digest_and_who_said_what_of_it() {
    let (cluster, artifact) = of_file("app-1.0.whl", PROVENANCE, &built(), By::Alice);
    let found = decide(&cluster, &wheels(json!({})), &artifact);
    assert!(found.admits() && found.results.len() == 1, "{found:?}");
    assert_eq!(found.results[0].digest, Some(artifact.digest));
    assert_eq!(found.results[0].decided_by.len(), 1);
    let condition = |text: &str| {
        let said = json!([{"predicate": PROVENANCE, "signedBy": alice(), "conditions": [text]}]);
        reasons(&decide(&cluster, &wheels(json!({"attestations": said})), &artifact)).join(" ")
    };
    assert_eq!(condition("artifact.name == 'app-1.0.whl' && artifact.digest.startsWith('sha256:')"), "");
    assert_eq!(condition("artifact.name == 'other.whl'"), "condition_not_met");
    assert_eq!(condition("image.name == 'app-1.0.whl'"), "condition_not_met", "a file is no image");

    // Another file, under the same name.
    let other = Artifact { digest: digest_of("other"), ..artifact.clone() };
    assert_eq!(reasons(&decide(&cluster, &wheels(json!({})), &other)), ["not_found"]);
    // Somebody else.
    let stranger = key();
    let (cluster, artifact) = of_file("app-1.0.whl", PROVENANCE, &built(), By::Key(&stranger));
    assert!(!decide(&cluster, &wheels(json!({})), &artifact).admits());
}

#[test]
fn a_policy_is_about_the_files_that_it_names_and_never_about_images_by_the_way() {
    let (mut cluster, artifact) = of_file("app-1.0.tgz", PROVENANCE, &built(), By::Alice);
    assert!(decide(&cluster, &wheels(json!({})), &artifact).results.is_empty());
    let images = policy(json!({"signedBy": alice()}));
    assert!(decide(&cluster, &images, &artifact).results.is_empty());
    cluster.put(IMAGE);
    let files =
        cluster.decide(read(&wheels(json!({"artifacts": ["*"]}))), &Request::of_object(crate::pod(&[IMAGE])));
    assert!(files.results.is_empty(), "{files:?}");
}

#[test]
fn an_exception_is_for_files_by_their_names() {
    let stranger = key();
    let (cluster, artifact) = of_file("app-1.0.whl", PROVENANCE, &built(), By::Key(&stranger));
    let excused = |changes: Value| {
        let spec = json!({"policies": ["acme"], "artifacts": ["app-*.whl"], "owner": "a@b.example", "reason": "later",
            "until": "2999-01-01"});
        let exception = PolicyException::read(
            &json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "PolicyException",
            "metadata": {"name": "e"}, "spec": with(spec, changes)}),
        )
        .unwrap();
        let set = PolicySet::new(vec![Box::new(read(&wheels(json!({}))))]).excusing(vec![exception]);
        set.evaluate(&Request::of_artifact(artifact.clone()), &cluster, cluster.now).unwrap().admits()
    };
    assert!(excused(json!({})));
    assert!(!excused(json!({"artifacts": ["other-*.whl"]})));
    assert!(!excused(json!({"artifacts": [], "images": ["**"]})), "a file is no image");
    assert!(!excused(json!({"until": "2020-01-01"})));
}
