//! An API server in memory: objects by their paths, with versions; what it refuses and what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use kube::Client;
use serde_json::{Value, json};

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<String>,
    /// What is answered instead, to requests that contain a text, and how often.
    instead: Vec<(String, StatusCode, usize)>,
}

/// Clones are the same server.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

impl ApiServer {
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let router = Router::new().fallback(move |request: Request| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                server.answer(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &body)
            }
        });
        Client::new(router, "default")
    }

    /// Answers the next requests whose method and path contain a text with a status.
    pub(crate) fn refuse(&self, part: &str, status: StatusCode, times: usize) {
        self.0.lock().unwrap().instead.push((part.to_owned(), status, times));
    }

    /// Puts an object there, and gives its version.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path).unwrap();
    }

    /// The objects below a path.
    pub(crate) fn objects(&self, below: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|(path, _)| path.starts_with(below)).map(|(_, v)| v.clone()).collect()
    }

    /// The requests whose method and path contain a text, since the last time.
    pub(crate) fn asked(&self, part: &str) -> usize {
        let mut state = self.0.lock().unwrap();
        let count = state.asked.iter().filter(|request| request.contains(part)).count();
        state.asked.clear();
        count
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: &Bytes) -> Response {
        let mut state = self.0.lock().unwrap();
        let request = format!("{method} {path}?{query}");
        state.asked.push(request.clone());
        let instead = state.instead.iter_mut().find(|(part, _, left)| *left > 0 && request.contains(part));
        if let Some((_, status, left)) = instead {
            *left -= 1;
            return refusal(*status);
        }
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        match *method {
            Method::GET => match state.objects.get(path) {
                Some(object) => done(object),
                None => state.list(path),
            },
            Method::POST => {
                let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
                match state.objects.contains_key(&path) {
                    true => refusal(StatusCode::CONFLICT),
                    false => done(state.store(&path, sent)),
                }
            }
            Method::PUT => match state.objects.get(path) {
                None => refusal(StatusCode::NOT_FOUND),
                Some(there) if version(there) != version(&sent) => refusal(StatusCode::CONFLICT),
                Some(_) => done(state.store(path, sent)),
            },
            // Server-side apply by the one manager there is: what it says is what is there.
            Method::PATCH => done(state.store(path, sent)),
            Method::DELETE => match state.objects.remove(path) {
                None => refusal(StatusCode::NOT_FOUND),
                Some(object) => done(&object),
            },
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> &Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), object);
        &self.objects[path]
    }

    /// A collection, if one is kept there or below a namespace.
    fn list(&self, path: &str) -> Response {
        let (group, plural) = path.rsplit_once('/').unwrap();
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(at, _)| at.starts_with(group) && at.rsplit('/').nth(1) == Some(plural))
            .map(|(_, object)| object)
            .collect();
        if items.is_empty() && !plural.ends_with('s') {
            return refusal(StatusCode::NOT_FOUND);
        }
        let version = self.version.to_string();
        done(
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

fn done(object: &Value) -> Response {
    axum::Json(object).into_response()
}

fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap();
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason} by the test"), "reason": reason.replace(' ', ""), "code": status.as_u16()});
    (status, axum::Json(body)).into_response()
}
