//! An API server that lists what it was given: in pages, to those who may, and as slowly as it is told. It keeps what is made.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What it does.
#[derive(Default)]
struct State {
    /// By what stands in addresses: `pods`.
    objects: BTreeMap<String, Vec<Value>>,
    /// Versions with their kinds, beside those of workloads: `kyverno.io/v1`, `ClusterPolicy`, `clusterpolicies`.
    kinds: Vec<(String, String, String)>,
    forbidden: BTreeSet<String>,
    /// How many tokens it will have forgotten.
    gone: usize,
    /// How many requests it will be too busy for.
    busy: usize,
    /// Whether it has just begun, and knows only its own groups.
    starting: bool,
    seen: Vec<String>,
    /// What was made, where.
    made: Vec<(String, Value)>,
}

/// An API server on loopback.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    /// How many objects were put.
    puts: watch::Sender<u64>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let puts = watch::Sender::new(0);
        let counting = puts.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let (shared, puts) = (Arc::clone(&shared), counting.subscribe());
            async move {
                let now = *puts.borrow();
                let query = query(&uri);
                match query.get("watch") {
                    _ if method == Method::POST || method == Method::PATCH => {
                        shared.lock().unwrap().make(&uri, &body)
                    }
                    Some(_) => too_old(puts, query["resourceVersion"].parse().unwrap()).await,
                    None => shared.lock().unwrap().answer(&uri, now),
                }
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, state, puts }
    }

    /// A kubeconfig with two contexts: `here`, which is this one, and the current one, where nobody answers.
    pub(crate) fn kubeconfig(&self, current: &str) -> String {
        let context = |name: &str| json!({ "name": name, "context": { "cluster": name, "user": "u" } });
        let cluster = |name: &str, server: &str| json!({ "name": name, "cluster": { "server": server } });
        json!({ "apiVersion": "v1", "kind": "Config", "current-context": current,
            "clusters": [cluster("here", &self.url), cluster("nowhere", "http://127.0.0.1:1")],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [context("here"), context("nowhere")] })
        .to_string()
    }

    pub(crate) fn put(&self, plural: &str, object: Value) {
        let mut object = object;
        let mut state = self.state.lock().unwrap();
        let default = format!("{plural}-{}", state.objects.get(plural).map_or(0, Vec::len));
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.entry("uid").or_insert_with(|| default.into());
        // What was served by name is of the cluster, unless it says otherwise.
        if !state.kinds.iter().any(|(_, _, known)| known == plural) {
            metadata.entry("namespace").or_insert_with(|| "prod".into());
        }
        state.objects.entry(plural.to_owned()).or_default().push(object);
        self.puts.send_modify(|count| *count += 1);
    }

    /// Serves another kind, of a group in a version.
    pub(crate) fn serve(&self, version: &str, kind: &str, plural: &str) {
        self.state.lock().unwrap().kinds.push((version.into(), kind.into(), plural.into()));
    }

    pub(crate) fn forbid(&self, plural: &str) {
        self.state.lock().unwrap().forbidden.insert(plural.to_owned());
    }

    /// Forgets its next tokens.
    pub(crate) fn forget(&self, tokens: usize) {
        self.state.lock().unwrap().gone = tokens;
    }

    /// Is too busy for its next requests.
    pub(crate) fn busy(&self, requests: usize) {
        self.state.lock().unwrap().busy = requests;
    }

    /// Begins, or has begun.
    pub(crate) fn starting(&self, is: bool) {
        self.state.lock().unwrap().starting = is;
    }

    /// What was made so far, each with the path it was sent to.
    pub(crate) fn made(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().made.clone()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A watch: it is silent until something is put, and then says that its list is too old.
async fn too_old(mut puts: watch::Receiver<u64>, listed: u64) -> Response {
    puts.wait_for(|now| *now > listed).await.unwrap();
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old resource version",
        "reason": "Expired", "code": 410 });
    answer(StatusCode::OK, &json!({ "type": "ERROR", "object": status }))
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code });
    answer(StatusCode::from_u16(code).unwrap(), &status)
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

impl State {
    /// An answer to whatever is asked, while it is busy.
    fn too_busy(&mut self) -> Option<Response> {
        self.busy = self.busy.checked_sub(1)?;
        Some(status(429, "TooManyRequests", "too many requests"))
    }

    fn make(&mut self, uri: &Uri, body: &[u8]) -> Response {
        self.seen.push(uri.to_string());
        if let Some(busy) = self.too_busy() {
            return busy;
        }
        // What is applied has its name behind its kind.
        let known = |part: &&str| self.kinds.iter().any(|(_, _, plural)| plural == part);
        let plural = uri.path().rsplit('/').find(known).or(uri.path().rsplit('/').next()).unwrap();
        if self.forbidden.contains(plural) {
            let message = format!("{plural} is forbidden: User \"u\" cannot create resource \"{plural}\"");
            return status(403, "Forbidden", &message);
        }
        let object: Value = serde_json::from_slice(body).unwrap();
        self.made.push((uri.path().to_owned(), object.clone()));
        answer(StatusCode::CREATED, &object)
    }

    fn answer(&mut self, uri: &Uri, now: u64) -> Response {
        self.seen.push(uri.to_string());
        if let Some(busy) = self.too_busy() {
            return busy;
        }
        let query = query(uri);
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        match parts.as_slice() {
            ["version"] => answer(
                StatusCode::OK,
                &json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0",
                "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
            ),
            ["apis"] => answer(StatusCode::OK, &self.groups()),
            // A real one says 503, which its client asks again about for a while.
            ["apis", _] if self.starting => status(500, "InternalError", "the server is starting"),
            ["apis", group] => match self.groups()["groups"].as_array().unwrap() {
                groups if groups.iter().any(|found| found["name"] == *group) => {
                    answer(StatusCode::OK, &json!({}))
                }
                _ => status(404, "NotFound", "the server could not find the requested resource"),
            },
            ["apis", group, version] => answer(StatusCode::OK, &self.kinds_of(&format!("{group}/{version}"))),
            [.., "namespaces", namespace, plural] => self.list(plural, Some(namespace), &query, now),
            ["api", "v1", "namespaces", name] => {
                let labels =
                    json!({ "kubernetes.io/metadata.name": name, "policy.sigstore.dev/include": "true" });
                answer(
                    StatusCode::OK,
                    &json!({ "apiVersion": "v1", "kind": "Namespace",
                    "metadata": { "name": name, "labels": labels } }),
                )
            }
            [.., "namespaces", namespace, plural, name] => self.one(plural, namespace, name),
            [.., plural] => self.list(plural, None, &query, now),
            [] => status(404, "NotFound", "not found"),
        }
    }

    fn groups(&self) -> Value {
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let known = self.kinds.iter().filter(|_| !self.starting);
        for (group, version) in known.filter_map(|(version, _, _)| version.split_once('/')) {
            groups.entry(group).or_default().insert(version);
        }
        let groups = groups.into_iter().map(|(group, versions)| {
            let version =
                |version| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
            let versions: Vec<Value> = versions.into_iter().map(version).collect();
            json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
        });
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() })
    }

    fn kinds_of(&self, version: &str) -> Value {
        let resources = self.kinds.iter().filter(|(of, _, _)| of == version).map(|(_, kind, plural)| {
            json!({ "name": plural, "singularName": "", "namespaced": false, "kind": kind, "verbs": ["get", "list"] })
        });
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
            "resources": resources.collect::<Vec<_>>() })
    }

    fn one(&self, plural: &str, namespace: &str, name: &str) -> Response {
        if self.forbidden.contains(plural) {
            return status(
                403,
                "Forbidden",
                &format!("{plural} is forbidden: User \"u\" cannot get resource"),
            );
        }
        let is = |object: &&Value| {
            object["metadata"]["name"] == name && object["metadata"]["namespace"] == namespace
        };
        let found = self.objects.get(plural).into_iter().flatten().find(is);
        found.map_or_else(|| status(404, "NotFound", "not found"), |object| answer(StatusCode::OK, object))
    }

    /// A page: where the next one begins stands in the token.
    fn list(
        &mut self,
        plural: &str,
        namespace: Option<&str>,
        query: &BTreeMap<String, String>,
        now: u64,
    ) -> Response {
        let scope =
            namespace.map_or("at the cluster scope".into(), |name| format!("in the namespace \"{name}\""));
        let key = namespace.map(|name| format!("{name}/{plural}"));
        if self.forbidden.contains(plural) || key.is_some_and(|key| self.forbidden.contains(&key)) {
            let message =
                format!("{plural} is forbidden: User \"u\" cannot list resource \"{plural}\" {scope}");
            return status(403, "Forbidden", &message);
        }
        let token = query.get("continue");
        if token.is_some() && self.gone > 0 {
            self.gone -= 1;
            return status(410, "Expired", "The provided continue parameter is too old");
        }
        let begin: usize = token.map_or(0, |token| token.parse().unwrap());
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let left_out: Vec<&str> = query
            .get("fieldSelector")
            .map(|terms| {
                terms.split(',').filter_map(|term| term.strip_prefix("metadata.namespace!=")).collect()
            })
            .unwrap_or_default();
        let meant = |object: &&Value| {
            let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
            namespace.is_none_or(|name| name == own) && !left_out.contains(&own)
        };
        let all: Vec<&Value> = self.objects.get(plural).into_iter().flatten().filter(meant).collect();
        let end = all.len().min(begin.saturating_add(limit));
        let next = if end < all.len() { end.to_string() } else { String::new() };
        // Objects in a list do not say what they are.
        let items: Vec<Value> = all[begin..end]
            .iter()
            .map(|object| {
                let mut object = (*object).clone();
                object.as_object_mut().unwrap().retain(|name, _| name != "apiVersion" && name != "kind");
                object
            })
            .collect();
        let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": now.to_string(), "continue": next },
            "items": items });
        answer(StatusCode::OK, &list)
    }
}

/// A pod that runs a digest of an image, made by somebody.
pub(crate) fn pod(name: &str, image: &str, running: Option<&str>, owner: Option<(&str, &str)>) -> Value {
    let repository = image.rsplit_once(':').map_or(image, |(repository, _)| repository);
    let mut metadata =
        json!({ "name": name, "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:spec": {} } }] });
    if let Some((kind, uid)) = owner {
        metadata["ownerReferences"] = owned_by(kind, uid);
    }
    let id = running.map(|digest| format!("{repository}@{digest}")).unwrap_or_default();
    json!({ "metadata": metadata,
        "spec": { "serviceAccountName": "default", "containers": [{ "name": "main", "image": image }] },
        "status": { "phase": "Running", "podIP": "10.0.0.1",
            "containerStatuses": [{ "name": "main", "image": image, "imageID": id }] } })
}

/// A workload with one container.
pub(crate) fn workload(name: &str, uid: &str, image: &str, owner: Option<(&str, &str)>) -> Value {
    let mut metadata = json!({ "name": name, "uid": uid });
    if let Some((kind, uid)) = owner {
        metadata["ownerReferences"] = owned_by(kind, uid);
    }
    json!({ "metadata": metadata, "spec": { "replicas": 1, "template": {
        "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

fn owned_by(kind: &str, uid: &str) -> Value {
    let (group, name) = (if kind == "Job" || kind == "CronJob" { "batch" } else { "apps" }, uid);
    json!([{ "apiVersion": format!("{group}/v1"), "kind": kind, "name": name, "uid": uid, "controller": true }])
}
