//! Which events a review makes, and at what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_clock::SystemClock;
use countersign_kubernetes::admit::{Admission, Face};
use countersign_kubernetes::api::{Reporter, events};
use countersign_kubernetes::policies::{Policies, PoliciesOptions};
use countersign_kubernetes::telling::Teller;
use countersign_policy::{
    Action, Ask, Pin, Policy, PolicyKind, PolicyName, PolicySet, Request, RuleResult, Status, Stop,
    read_documents,
};
use serde_json::{Value, json};

use crate::api_server::ApiServer;

/// A policy that says this of everything.
#[derive(Debug)]
struct Says(&'static str, Status, Action);

impl Policy for Says {
    fn name(&self) -> PolicyName {
        PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: self.0.into() }
    }

    fn evaluate(&self, _: &Request, _: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let result = RuleResult {
            policy: self.name(),
            rule: String::new(),
            image: Some("r.example/app:1".into()),
            digest: None,
            status: self.1,
            action: self.2,
            fail_closed: true,
            reason: "no_signature".into(),
            message: "r.example/app:1 is not signed".into(),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        };
        Ok((vec![result], Vec::new()))
    }
}

/// The events of reviews, under these policies; `known` stands in the cluster, others in files.
async fn told(policies: Vec<Says>, reviews: &[(Face, Value)]) -> Vec<Value> {
    let server = ApiServer::default();
    let reporter = Reporter { controller: "countersign.dev/admission".into(), instance: "a".into() };
    let (events, writer) = events(server.client(), reporter, Arc::new(SystemClock));
    let registry = Default::default();
    let source = SourceOptions { registry, cluster: Arc::new(NoCluster), trust: BTreeMap::new() };
    let source = Arc::new(Source::new(source));
    let admission = Admission::new(Arc::clone(&source), Arc::new(SystemClock)).telling(Teller::new(events));
    let admission = Arc::new(admission);
    let cluster = Policies::new(PoliciesOptions {
        admission: Arc::clone(&admission),
        source,
        metrics: Arc::default(),
        installation: BTreeMap::new(),
        exceptions: Vec::new(),
        files: false,
        cluster: true,
    });
    let known = "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: known, uid: u-policy}\n\
                 spec: {images: [\"r.example/*\"], signedBy: {repo: acme/app}}\n";
    cluster.set_cluster(read_documents(known).unwrap());
    drop(cluster);
    admission.set_policies(PolicySet::new(
        policies.into_iter().map(|says| Box::new(says) as Box<dyn Policy>).collect(),
    ));
    for (face, review) in reviews {
        let answer = admission.answer(*face, review.to_string().as_bytes(), Duration::from_secs(10)).await;
        assert_eq!(answer.uid, "u");
    }
    drop(admission);
    writer.run().await;
    server.objects("/apis/events.k8s.io/v1/")
}

fn review(operation: &str, metadata: &Value, dry_run: bool) -> Value {
    let pod = |image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"containers": [{"name": "c", "image": image}]}})
    };
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
        "name": metadata["name"], "operation": operation, "dryRun": dry_run, "object": pod("r.example/app:1"),
        "oldObject": if operation == "UPDATE" { pod("r.example/app:0") } else { Value::Null }}})
}

fn summary(event: &Value) -> [&str; 5] {
    let text = |value: &'static str| event.pointer(value).and_then(Value::as_str).unwrap();
    [text("/regarding/kind"), text("/regarding/uid"), text("/reason"), text("/action"), text("/note")]
}

const NOTE: &str = "r.example/app:1 is not signed (ImagePolicy known)";

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_the_policy_alone_before_the_object_is_there() {
    let refused = (Face::Mutate, review("CREATE", &json!({"name": "app"}), false));
    let found = told(vec![Says("known", Status::Fail, Action::Deny)], &[refused]).await;
    assert_eq!(found.len(), 1);
    let note = format!("Pod shop/app: {NOTE}");
    assert_eq!(summary(&found[0]), ["ImagePolicy", "u-policy", "PolicyViolation", "Refused", &note]);
    assert_eq!(found[0]["metadata"]["namespace"], "default");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_controller_are_told_at_the_controller_and_once() {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "u-set", "controller": true}]);
    let metadata = json!({"name": "", "generateName": "app-", "ownerReferences": owner});
    let refused = || (Face::Mutate, review("CREATE", &metadata, false));
    let found = told(vec![Says("known", Status::Error, Action::Deny)], &[refused(), refused()]).await;
    let mut found: Vec<_> =
        found.iter().map(|event| (summary(event), event["series"]["count"].as_i64())).collect();
    found.sort_unstable();
    let note = format!("a Pod of ReplicaSet shop/app: could not be checked: {NOTE}");
    assert_eq!(
        found,
        [
            (["ImagePolicy", "u-policy", "CouldNotCheck", "Refused", &note], Some(2)),
            (["ReplicaSet", "u-set", "CouldNotCheck", "Refused", &note], Some(2)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_at_the_object_and_a_warning_once_for_both_faces() {
    let change = review("UPDATE", &json!({"name": "app", "namespace": "shop", "uid": "u-pod"}), false);
    let both = [(Face::Mutate, change.clone()), (Face::Validate, change)];
    let found = told(vec![Says("in-a-file", Status::Fail, Action::Warn)], &both).await;
    let note = format!("a change of Pod shop/app: {}", NOTE.replace("known", "in-a-file"));
    assert_eq!(
        found.iter().map(summary).collect::<Vec<_>>(),
        [["Pod", "u-pod", "PolicyViolation", "Warned", &note]]
    );
    assert!(found[0].get("series").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_or_admitted_or_audited_makes_no_event() {
    let tried = (Face::Mutate, review("CREATE", &json!({"name": "app"}), true));
    assert!(told(vec![Says("known", Status::Fail, Action::Deny)], &[tried]).await.is_empty());
    for says in [Says("known", Status::Pass, Action::Deny), Says("known", Status::Fail, Action::Audit)] {
        let real = (Face::Validate, review("CREATE", &json!({"name": "app"}), false));
        assert!(told(vec![says], &[real]).await.is_empty());
    }
}
