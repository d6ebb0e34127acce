//! A registry on loopback which does as it is told: honest by default, and a liar where a test says so.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use countersign_crypto::HashAlgorithm;
use countersign_http::HttpOptions;
use countersign_registry::{
    Registry, RegistryOptions, RemoteRepository, Repository, auth::Credentials, descriptor::media_type,
};
use serde_json::{Value, json};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is(&self, method: &Method, part: &str) -> bool {
        self.method == *method && self.path.contains(part)
    }
}

/// What answers instead of the registry.
type Lie = Box<dyn Fn(&Seen) -> Option<Response> + Send>;

#[derive(Default)]
struct State {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Bytes>,
    /// By repository and tag or digest: type and bytes.
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    seen: Vec<Seen>,
    lie: Option<Lie>,
    referrers: bool,
}

/// The registry.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    pub(crate) host: String,
}

impl Fake {
    /// A registry with the referrers API.
    pub(crate) async fn start() -> Self {
        Self::with_referrers(true).await
    }

    /// A registry of the older kind, which has no referrers API.
    pub(crate) async fn old() -> Self {
        Self::with_referrers(false).await
    }

    async fn with_referrers(referrers: bool) -> Self {
        let state = Arc::new(Mutex::new(State { referrers, ..State::default() }));
        let shared = Arc::clone(&state);
        let router = Router::new().fallback(move |method, uri, headers, body| {
            let shared = Arc::clone(&shared);
            async move { shared.lock().unwrap().answer(method, &uri, headers, body) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { state, host }
    }

    /// Answers in place of the registry where the closure gives an answer.
    pub(crate) fn lie(&self, lie: impl Fn(&Seen) -> Option<Response> + Send + 'static) {
        self.state.lock().unwrap().lie = Some(Box::new(lie));
    }

    /// What was asked since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    pub(crate) fn repository(&self, path: &str) -> Repository {
        Repository::parse(&format!("{}/{path}", self.host)).unwrap()
    }

    /// The repository `app` through a client of its own.
    pub(crate) fn app(&self) -> RemoteRepository {
        client().repository(&self.repository("app"))
    }

    /// What lies at a tag, as JSON.
    pub(crate) fn document(&self, path: &str, name: &str) -> Value {
        let state = self.state.lock().unwrap();
        let (_, bytes) = &state.manifests[&(path.to_owned(), name.to_owned())];
        serde_json::from_slice(bytes).unwrap()
    }

    pub(crate) fn has(&self, path: &str, name: &str) -> bool {
        self.state.lock().unwrap().manifests.contains_key(&(path.to_owned(), name.to_owned()))
    }

    pub(crate) fn put_document(&self, path: &str, name: &str, media_type: &str, bytes: impl Into<Bytes>) {
        let key = (path.to_owned(), name.to_owned());
        self.state.lock().unwrap().manifests.insert(key, (media_type.to_owned(), bytes.into()));
    }

    pub(crate) fn put_blob(&self, path: &str, digest: &str, bytes: impl Into<Bytes>) {
        self.state.lock().unwrap().blobs.insert((path.to_owned(), digest.to_owned()), bytes.into());
    }
}

/// Options with which nothing waits.
pub(crate) fn options() -> RegistryOptions {
    let zero = std::time::Duration::ZERO;
    RegistryOptions {
        http: HttpOptions { backoff: zero, longest_wait: zero, ..HttpOptions::default() },
        ..RegistryOptions::default()
    }
}

/// A client without credentials.
pub(crate) fn client() -> Registry {
    Registry::new(options())
}

/// A client with credentials.
pub(crate) fn client_with(credentials: Credentials) -> Registry {
    Registry::new(RegistryOptions { credentials, ..options() })
}

/// An answer with a status, headers and a body.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Body>) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body.into()).into_response();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

fn error(status: u16, code: &str) -> Response {
    let body = json!({ "errors": [{ "code": code, "message": format!("{code} it is") }] });
    answer(status, &[("content-type", "application/json")], body.to_string())
}

fn digest_of(bytes: &[u8]) -> String {
    HashAlgorithm::Sha256.digest(bytes).to_string()
}

impl State {
    fn answer(&mut self, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Response {
        let query = uri.query().unwrap_or_default().to_owned();
        let seen = Seen { method, path: uri.path().to_owned(), query, headers };
        self.seen.push(seen.clone());
        if let Some(lied) = self.lie.as_ref().and_then(|lie| lie(&seen)) {
            return lied;
        }
        let path = seen.path.trim_start_matches("/v2/").to_owned();
        for (kind, handler) in [
            ("/manifests/", Self::manifest as fn(&mut Self, &Seen, &str, &str, Bytes) -> Response),
            ("/blobs/uploads/", Self::upload),
            ("/blobs/", Self::blob),
            ("/referrers/", Self::list_referrers),
            ("/tags/", Self::list_tags),
        ] {
            if let Some((repository, name)) = path.split_once(kind) {
                return handler(self, &seen, repository, name, body);
            }
        }
        answer(200, &[], "{}")
    }

    fn manifest(&mut self, seen: &Seen, repository: &str, name: &str, body: Bytes) -> Response {
        let key = (repository.to_owned(), name.to_owned());
        match seen.method {
            Method::PUT => {
                let digest = digest_of(&body);
                let said = seen.header("content-type").unwrap_or_default().to_owned();
                if name.starts_with("sha256:") && name != digest {
                    return error(400, "DIGEST_INVALID");
                }
                let subject = serde_json::from_slice::<Value>(&body)
                    .ok()
                    .and_then(|v| Some(v.pointer("/subject/digest")?.as_str()?.to_owned()));
                self.manifests.insert((repository.to_owned(), digest.clone()), (said.clone(), body.clone()));
                self.manifests.insert(key, (said, body));
                let mut headers = vec![("docker-content-digest", digest.as_str())];
                if let Some(subject) = subject.as_deref().filter(|_| self.referrers) {
                    headers.push(("oci-subject", subject));
                }
                answer(201, &headers, "")
            }
            Method::DELETE => match self.manifests.remove(&key) {
                // Without its manifest a tag is nothing.
                Some(gone) => {
                    let all = name.contains(':');
                    self.manifests.retain(|(place, _), kept| place != repository || !all || *kept != gone);
                    answer(202, &[], "")
                }
                None => error(404, "MANIFEST_UNKNOWN"),
            },
            _ => match self.manifests.get(&key) {
                Some((said, bytes)) => {
                    let digest = digest_of(bytes);
                    let headers =
                        [("content-type", said.as_str()), ("docker-content-digest", digest.as_str())];
                    answer(200, &headers, bytes.clone())
                }
                None => error(404, "MANIFEST_UNKNOWN"),
            },
        }
    }

    fn upload(&mut self, seen: &Seen, repository: &str, _: &str, body: Bytes) -> Response {
        if seen.method == Method::POST {
            let place = format!("/v2/{repository}/blobs/uploads/one?state=abc");
            return answer(202, &[("location", place.as_str())], "");
        }
        let digest =
            seen.query.split('&').find_map(|p| p.strip_prefix("digest=")).unwrap().replace("%3A", ":");
        if digest_of(&body) != digest {
            return error(400, "DIGEST_INVALID");
        }
        self.blobs.insert((repository.to_owned(), digest), body);
        answer(201, &[], "")
    }

    fn blob(&mut self, _: &Seen, repository: &str, name: &str, _: Bytes) -> Response {
        match self.blobs.get(&(repository.to_owned(), name.to_owned())) {
            Some(bytes) => answer(200, &[], bytes.clone()),
            None => error(404, "BLOB_UNKNOWN"),
        }
    }

    fn list_referrers(&mut self, _: &Seen, repository: &str, name: &str, _: Bytes) -> Response {
        if !self.referrers {
            return answer(404, &[], "404 page not found");
        }
        let mut found = Vec::new();
        for ((place, key), (said, bytes)) in &self.manifests {
            // Only what a referrer of ours looks like is parsed: some tests put megabytes here.
            if place != repository || !key.starts_with("sha256:") || bytes.len() > 1 << 20 {
                continue;
            }
            let Ok(document) = serde_json::from_slice::<Value>(bytes) else { continue };
            let about = document.pointer("/subject/digest").and_then(Value::as_str) == Some(name);
            if about {
                let artifact = document.get("artifactType").or_else(|| document.pointer("/config/mediaType"));
                found.push(json!({
                    "mediaType": said, "digest": key, "size": bytes.len(),
                    "artifactType": artifact, "annotations": document.get("annotations"),
                }));
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": found });
        answer(200, &[("content-type", media_type::OCI_INDEX)], index.to_string())
    }

    fn list_tags(&mut self, _: &Seen, repository: &str, _: &str, _: Bytes) -> Response {
        let names = self.manifests.keys().filter(|(place, name)| place == repository && !name.contains(':'));
        let tags: Vec<&String> = names.map(|(_, name)| name).collect();
        answer(200, &[], json!({ "name": repository, "tags": tags }).to_string())
    }
}
