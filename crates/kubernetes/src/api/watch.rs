//! What a cluster runs, watched: news of workloads as they come, change and go.

use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Namespaces, NotListed, WorkloadKind, with_causes};
use crate::continuous::{News, Origin};
use crate::review::access_of;
use crate::scan::{Resource, ResourceName};

/// How many objects come at once.
const PAGE: u32 = 500;
/// How long to wait before a kind that could not be watched is listed anew.
const PAUSE: Duration = Duration::from_secs(2);

/// What of a cluster is watched, and how.
#[derive(Debug, Clone)]
pub struct Watching {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Whether registries are asked with the pull secrets of workloads.
    pub secrets: bool,
}

impl Watching {
    /// Tells of all workloads, for ever, or until nobody listens. A kind that cannot be watched is told of as something at
    /// which nobody could look.
    pub async fn run(self, client: Client, news: mpsc::Sender<News>) {
        let mut watches = JoinSet::new();
        for kind in WorkloadKind::ALL {
            for place in self.places() {
                let (watching, client, news) = (self.clone(), client.clone(), news.clone());
                watches.spawn(async move { watching.watch(client, kind, place, news).await });
            }
        }
        while watches.join_next().await.is_some() {}
    }

    /// Each of some namespaces, or all at once.
    fn places(&self) -> Vec<Option<String>> {
        let Namespaces { included, excluded } = &self.namespaces;
        if included.is_empty() {
            vec![None]
        } else {
            included.difference(excluded).cloned().map(Some).collect()
        }
    }

    async fn watch(
        self,
        client: Client,
        kind: WorkloadKind,
        place: Option<String>,
        news: mpsc::Sender<News>,
    ) {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match &place {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let origin =
            Origin::from(format!("{} {}", kind.plural, place.as_deref().unwrap_or_default()).as_str());
        let config = watcher::Config::default().page_size(PAGE);
        loop {
            let mut events = watcher(api.clone(), config.clone()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let told = match event {
                    Ok(Event::Init) => Some(News::Begun(origin.clone())),
                    Ok(Event::InitDone) => Some(News::Read(origin.clone())),
                    Ok(Event::InitApply(object) | Event::Apply(object)) => {
                        self.news(&origin, value(&object, &resource.api_version, kind))
                    }
                    Ok(Event::Delete(object)) => {
                        Some(gone(&origin, &value(&object, &resource.api_version, kind)))
                    }
                    // It goes on by itself: a connection ends now and then, and a list grows too old.
                    Err(error) if is_usual(&error) => {
                        tracing::debug!(%error, kind = kind.kind, "a watch of workloads is taken up again");
                        None
                    }
                    Err(error) => {
                        let text = with_causes(&error);
                        tracing::warn!(
                            error = text,
                            kind = kind.kind,
                            "a kind of workloads cannot be watched"
                        );
                        let missing = missing(&resource, kind, place.clone(), &error);
                        let missing = News::There(origin.clone(), Box::new(Resource::not_listed(&missing)));
                        if news.send(missing).await.is_err() {
                            return;
                        }
                        if !matches!(error, watcher::Error::InitialListFailed(_)) {
                            // Only a list that is read anew says that it can be looked at again.
                            break;
                        }
                        None
                    }
                };
                if let Some(told) = told
                    && news.send(told).await.is_err()
                {
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn news(&self, origin: &Origin, object: Value) -> Option<News> {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        if !self.namespaces.takes(namespace) {
            return None;
        }
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let ended =
            matches!(object.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
        if kind == "Pod" && ended {
            return Some(gone(origin, &object));
        }
        let access = if self.secrets { access_of(&object, kind, namespace) } else { Default::default() };
        let name = gone(origin, &object);
        match Resource::of(object, "cluster") {
            Some(resource) => Some(News::There(origin.clone(), Box::new(Resource { access, ..resource }))),
            // It does not run yet, or not any more.
            None => Some(name),
        }
    }
}

fn is_usual(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchFailed(_) => true,
        watcher::Error::WatchError(status) => status.code == 410,
        _ => false,
    }
}

/// What stands for all objects of a kind that nobody can look at.
fn missing(
    resource: &ApiResource,
    kind: WorkloadKind,
    namespace: Option<String>,
    error: &watcher::Error,
) -> NotListed {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    };
    NotListed {
        api_version: resource.api_version.clone(),
        kind: kind.kind,
        namespace,
        forbidden: matches!(status, Some(401 | 403)),
        message: with_causes(error),
    }
}

fn gone(origin: &Origin, object: &Value) -> News {
    News::Gone(origin.clone(), ResourceName::of(object, "cluster"))
}

fn value(object: &DynamicObject, api_version: &str, kind: WorkloadKind) -> Value {
    // An object that was read as JSON can be written as such.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        // Objects in a list need not say what they are.
        fields.insert("apiVersion".into(), api_version.into());
        fields.insert("kind".into(), kind.kind.into());
    }
    value
}
