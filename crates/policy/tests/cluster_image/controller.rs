//! Several policies together, namespaces that opted in, and images that no policy is about.

use std::collections::BTreeMap;

use countersign_policy::cluster_image::{ClusterImagePolicy, Namespaces, NoMatch, PolicyController};
use countersign_policy::{Decision, Operation, Policy as _, Status};
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::{IMAGE, alice, by_key, policy, read, request, with};

fn signed() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster
}

/// A policy over images of this pattern.
fn over(glob: &str, authority: Value) -> ClusterImagePolicy {
    read(&with(policy(json!([authority])), &[("/spec/images", json!([{"glob": glob}]))]))
}

fn all(policies: Vec<ClusterImagePolicy>) -> PolicyController {
    PolicyController::new(policies).namespaces(Namespaces::All)
}

fn statuses(decision: &Decision) -> Vec<Status> {
    decision.results.iter().map(|result| result.status).collect()
}

#[test]
fn all_policies_about_an_image_must_be_satisfied() {
    let mut cluster = signed();
    let key = key();
    let both =
        all(vec![over("ghcr.io/acme/**", alice()), over("**", by_key(&key)), over("other/**", by_key(&key))]);
    let decide = |cluster: &Cluster| cluster.decide(both.clone(), &request(pod(&[IMAGE])));
    assert_eq!(statuses(&decide(&cluster)), [Status::Pass, Status::Fail]);
    assert!(!decide(&cluster).admits());
    cluster.sign(IMAGE, By::Key(&key), &json!({}));
    assert_eq!(statuses(&decide(&cluster)), [Status::Pass, Status::Pass]);
    assert!(decide(&cluster).admits());
}

#[test]
fn an_image_that_no_policy_is_about_has_a_result_of_its_own() {
    let cluster = signed();
    for (setting, status, admits, warns) in [
        (None, Status::Fail, false, false),
        (Some(NoMatch::Deny), Status::Fail, false, false),
        (Some(NoMatch::Warn), Status::Fail, true, true),
        (Some(NoMatch::Allow), Status::Skip, true, false),
    ] {
        let mut controller = all(vec![over("ghcr.io/acme/**", alice())]);
        if let Some(setting) = setting {
            controller = controller.no_match(setting);
        }
        let decision = cluster.decide(controller, &request(pod(&[IMAGE, "docker.io/library/nginx"])));
        assert_eq!(decision.admits(), admits, "{setting:?}");
        let [signed, other] = decision.results.as_slice() else { panic!("{decision:#?}") };
        assert_eq!(
            (signed.status, other.status, other.warns()),
            (Status::Pass, status, warns),
            "{setting:?}"
        );
        assert_eq!(other.reason, "no_matching_policy");
    }
    assert!(!cluster.decide(all(Vec::new()), &request(pod(&[IMAGE]))).admits(), "no policy at all");
}

#[test]
fn only_namespaces_with_the_label_are_judged_and_what_cannot_be_read_is_not_without_it() {
    let mut cluster = Cluster::new();
    let controller = PolicyController::new(Vec::new());
    let decide = |cluster: &Cluster| cluster.decide(controller.clone(), &request(pod(&[IMAGE])));
    let error = decide(&cluster);
    assert_eq!((error.admits(), statuses(&error)), (false, vec![Status::Error]));
    for (value, judged) in
        [(None, false), (Some("false"), false), (Some("True"), false), (Some("true"), true)]
    {
        let labels = value.map(|value| ("policy.sigstore.dev/include".to_owned(), value.to_owned()));
        cluster.namespaces.insert("prod".into(), BTreeMap::from_iter(labels));
        assert_eq!(decide(&cluster).results.len(), usize::from(judged), "{value:?}");
        assert_eq!(decide(&cluster).admits(), !judged, "{value:?}");
    }
}

#[test]
fn a_static_pass_is_about_no_more_images_than_in_policy_controller() {
    let mut cluster = Cluster::new();
    let digest = cluster.put("ghcr.io/acme/base:v1");
    let pass = json!({"static": {"action": "pass"}});
    let pinned = format!("ghcr.io/acme/base@{digest}");
    let decide = |authority: &Value, image: &str| {
        let controller = all(vec![over("ghcr.io/acme/base:v1", authority.clone())]);
        cluster.decide(controller, &request(pod(&[image]))).results[0].reason.clone()
    };
    assert_eq!(decide(&pass, "ghcr.io/acme/base:v1"), "verified");
    assert_eq!(decide(&pass, &pinned), "no_matching_policy");
    assert_eq!(decide(&alice(), &pinned), "no_signature");
}

#[test]
fn a_policy_is_about_the_objects_that_it_names() {
    let cluster = signed();
    let pods = json!([{"group": "", "version": "v1", "resource": "pods"}]);
    let labelled = json!([{"group": "", "version": "*", "resource": "pods", "selector": {"matchLabels": {"app": "web"}}}]);
    let none = json!([{"group": "apps", "version": "v1", "resource": "deployments"}]);
    let in_one_of = json!([{"group": "apps", "version": "v1", "resource": "deployments"},
        {"group": "", "version": "v1", "resource": "pods"}]);
    let web = with(pod(&[IMAGE]), &[("/metadata/labels", json!({"app": "web"}))]);
    let api = with(pod(&[IMAGE]), &[("/metadata/labels", json!({"app": "api"}))]);
    for (matches, object, about) in [
        (&pods, &web, true),
        (&none, &web, false),
        (&in_one_of, &web, true),
        (&labelled, &web, true),
        (&labelled, &api, false),
        (&labelled, &pod(&[IMAGE]), false),
    ] {
        let policy = read(&with(policy(json!([alice()])), &[("/spec/match", matches.clone())]));
        let decision = cluster.decide(policy.clone(), &request(object.clone()));
        assert_eq!(decision.results.len(), usize::from(about), "{matches}");
        // What no policy is about is refused: a selector is no way out.
        assert_eq!(cluster.decide(all(vec![policy]), &request(object.clone())).admits(), about, "{matches}");
    }
}

#[test]
fn what_goes_and_what_did_not_change_is_not_judged() {
    let nothing = Cluster::new();
    let mut gone = request(pod(&[IMAGE]));
    gone.operation = Operation::Delete;
    let mut status = request(pod(&[IMAGE]));
    status.subresource = "status".into();
    let mut scaled = request(with(pod(&[IMAGE]), &[("/metadata/labels", json!({"scaled": "down"}))]));
    (scaled.operation, scaled.old_object) = (Operation::Update, Some(pod(&[IMAGE])));
    for request in [gone, status, scaled] {
        assert!(nothing.decide(all(Vec::new()), &request).results.is_empty(), "{:?}", request.operation);
    }
    let broken = json!({"kind": "Pod", "spec": {"containers": 1}});
    assert!(!nothing.decide(all(Vec::new()), &request(broken)).admits(), "what cannot be read is refused");
}

#[test]
fn pull_secrets_are_those_of_the_objects_namespace() {
    let source = json!([{"oci": "ghcr.io/acme/signatures", "signaturePullSecrets": [{"name": "pull"}]}]);
    let policy = over("**", with(alice(), &[("/source", source)]));
    let access = all(vec![policy]).access_for(&request(pod(&[IMAGE])));
    let secrets: Vec<String> = access.secrets.iter().map(ToString::to_string).collect();
    assert_eq!(secrets, ["prod/pull"]);
    assert!(!access.insecure && access.providers.is_empty());
}
