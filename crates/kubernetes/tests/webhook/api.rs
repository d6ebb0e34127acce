//! What the webhook keeps in a cluster, through an API server that answers as a real one does.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use countersign_clock::SystemClock;
use countersign_crypto::encoding::base64_encode;
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::api::{Client, follow_controller, keep_configurations};
use countersign_kubernetes::policies::{Policies, PoliciesOptions};
use countersign_policy::{load, read_documents};
use kube::Config;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::in_cluster::labelled;
use crate::support::{Hook, pod, review, source};

/// An API server that keeps objects by their path.
#[derive(Clone)]
struct Server {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    written: watch::Sender<usize>,
}

impl Server {
    async fn start(objects: &[(&str, Value)]) -> (Self, Client) {
        let objects = objects.iter().map(|(path, object)| (path.to_string(), object.clone())).collect();
        let server = Self { objects: Arc::new(Mutex::new(objects)), written: watch::Sender::new(0) };
        let answering = server.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let server = answering.clone();
            async move { server.answer(&method, uri.path(), &body) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        (server, Client::try_from(Config::new(url.parse().unwrap())).unwrap())
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Response {
        let json = |status, object: &Value| {
            (status, [("content-type", "application/json")], object.to_string()).into_response()
        };
        let mut objects = self.objects.lock().unwrap();
        let Some(object) = objects.get_mut(path) else {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                "message": format!("{path} not found"), "code": 404});
            return json(StatusCode::NOT_FOUND, &status);
        };
        if *method == Method::PUT {
            *object = serde_json::from_slice(body).unwrap();
            self.written.send_modify(|count| *count += 1);
        }
        json(StatusCode::OK, object)
    }

    fn object(&self, path: &str) -> Value {
        self.objects.lock().unwrap()[path].clone()
    }
}

const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/countersign-admission";
const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign-admission";

/// A configuration with one rule that somebody wrote.
fn configuration(kind: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": "countersign-admission", "resourceVersion": "1"},
        "webhooks": [{"name": "a.countersign.dev", "clientConfig": {"url": "https://x"}, "rules": [written()]}]})
}

fn written() -> Value {
    json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"], "scope": "*"})
}

#[tokio::test]
async fn the_webhooks_own_configurations_get_its_bundle_and_the_rules_that_policies_need() {
    let group = json!({"name": "tekton.dev", "versions": [{"groupVersion": "tekton.dev/v1", "version": "v1"}],
        "preferredVersion": {"groupVersion": "tekton.dev/v1", "version": "v1"}});
    let task = json!({"name": "tasks", "singularName": "task", "namespaced": true, "kind": "Task",
        "verbs": ["get", "list", "create"]});
    let (server, client) = Server::start(&[
        ("/api", json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ("/api/v1", json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})),
        ("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})),
        (
            "/apis/tekton.dev/v1",
            json!({"kind": "APIResourceList", "groupVersion": "tekton.dev/v1", "resources": [task]}),
        ),
        (MUTATING, configuration("MutatingWebhookConfiguration")),
        (VALIDATING, configuration("ValidatingWebhookConfiguration")),
    ])
    .await;
    let policy = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "tasks"},
        "spec": {"rules": [{"name": "signed", "match": {"any": [{"resources": {"kinds": ["Task"]}}]},
            "imageExtractors": {"Task": [{"path": "/spec/steps/*/image"}], "Unserved": [{"path": "/spec/x"}]},
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [
                {"keyless": {"issuer": "https://i.example", "subject": "a", "rekor": {"url": "https://r.example"}}}]}]}]}]}});
    let hook = Hook::start(Vec::new()).await;
    hook.admission
        .set_policies(load(read_documents(&policy.to_string()).unwrap()).unwrap().into_policy_set(&[]));
    let mut writes = server.written.subscribe();
    let (certificates, admission) = (Arc::clone(&hook.certificates), Arc::clone(&hook.admission));
    let keeping =
        tokio::spawn(keep_configurations(client, "countersign-admission".into(), certificates, admission));
    writes.wait_for(|count| *count == 2).await.unwrap();
    keeping.abort();
    let added = json!({"apiGroups": ["tekton.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
        "resources": ["tasks"], "scope": "*"});
    for path in [MUTATING, VALIDATING] {
        let found = server.object(path);
        let bundle = base64_encode(hook.certificates.bundle().as_bytes());
        assert_eq!(found["webhooks"][0]["clientConfig"]["caBundle"], bundle, "{path}");
        assert_eq!(found["webhooks"][0]["rules"], json!([written(), added]), "{path}");
        assert_eq!(
            found["metadata"]["annotations"]["countersign.dev/added-rules"],
            json!([added]).to_string()
        );
        assert_eq!(found["metadata"]["resourceVersion"], "1", "under the version that was read");
    }
}

#[tokio::test]
async fn policy_controllers_config_map_is_read_where_it_is_and_what_is_wrong_in_it_permits_nothing() {
    let policy = json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
        "metadata": {"name": "other"}, "spec": {"images": [{"glob": "r.example/other"}],
            "authorities": [{"static": {"action": "fail"}}]}});
    let place = "/api/v1/namespaces/elsewhere/configmaps/config-policy-controller";
    for (map, namespace, admitted) in [
        (json!({"no-match-policy": "allow"}), "elsewhere", true),
        (json!({"no-match-policy": "allow"}), "cosign-system", false),
        (json!({"no-match-policy": "allow everything"}), "elsewhere", false),
        (json!({"enable-oci11": "true"}), "elsewhere", false),
        (Value::Null, "elsewhere", false),
    ] {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-policy-controller"},
            "data": map.clone()});
        let (_server, client) = Server::start(&[(place, object)]).await;
        let source = Arc::new(source(labelled(&[("policy.sigstore.dev/include", "true")])));
        let admission = Admission::new(Arc::clone(&source), Arc::new(SystemClock)).without_secrets();
        let hook = Hook::of(admission).await;
        let policies = Arc::new(Policies::new(PoliciesOptions {
            admission: Arc::clone(&hook.admission),
            source,
            metrics: Arc::default(),
            installation: BTreeMap::new(),
            exceptions: Vec::new(),
            files: false,
            cluster: true,
        }));
        policies.set_cluster(read_documents(&policy.to_string()).unwrap());
        let following = tokio::spawn(follow_controller(client, namespace.into(), policies));
        while hook.get("/readyz").await.0 != 200 {}
        following.abort();
        let answer = hook.review("/mutate", &review("CREATE", &pod(&["r.example/a"]))).await;
        assert_eq!(answer.allowed(), admitted, "{map} {namespace} {answer:?}");
        assert!(admitted || answer.message().contains("ClusterImagePolicy"), "{answer:?}");
    }
}
