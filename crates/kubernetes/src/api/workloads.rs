//! What a cluster runs, read kind by kind and page by page, without what nobody here looks at.
//!
//! A kind that may not be read is an error and never an empty list.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use kube::core::{ApiResource, GroupVersionKind, Request};
use kube::{Client, api::ListParams};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::object::is_namespace_name;
use super::{Trouble, in_this_time};

/// How many objects come at once.
const PAGE: u32 = 500;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a list is begun anew because what it went through is gone, or asked for again because the server is busy.
const AGAIN: usize = 3;
/// How long to wait for a busy server.
const PAUSE: Duration = Duration::from_secs(1);
/// What `kubectl apply` keeps for itself: the object once more.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A kind whose objects have pods, or are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKind {
    /// The API group; empty for the core one.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// As addresses have it.
    pub plural: &'static str,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str) -> WorkloadKind {
    WorkloadKind { group, kind, plural }
}

impl WorkloadKind {
    /// All: what is made comes before what makes it.
    pub const ALL: [Self; 8] = [
        kind("", "Pod", "pods"),
        kind("apps", "ReplicaSet", "replicasets"),
        kind("batch", "Job", "jobs"),
        kind("", "ReplicationController", "replicationcontrollers"),
        kind("apps", "Deployment", "deployments"),
        kind("apps", "StatefulSet", "statefulsets"),
        kind("apps", "DaemonSet", "daemonsets"),
        kind("batch", "CronJob", "cronjobs"),
    ];

    /// The kind of this name, as people write it: `Deployment`, `deployment`, `deployments`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(|kind| is(kind.kind) || is(kind.plural))
    }

    /// How an API server serves it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }
}

/// Which namespaces are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Only these; all when there are none.
    pub included: BTreeSet<String>,
    /// But not these.
    pub excluded: BTreeSet<String>,
}

impl Namespaces {
    /// Whether this one is meant.
    #[must_use]
    pub fn takes(&self, namespace: &str) -> bool {
        (self.included.is_empty() || self.included.contains(namespace)) && !self.excluded.contains(namespace)
    }

    /// What to ask for: in each of some namespaces, or in all at once.
    fn places(&self) -> VecDeque<Option<String>> {
        if self.included.is_empty() {
            return [None].into();
        }
        self.included.difference(&self.excluded).cloned().map(Some).collect()
    }

    /// The API server leaves out what is not meant.
    fn selector(&self) -> Option<String> {
        let names = self.excluded.iter().filter(|name| is_namespace_name(name));
        let terms = names.map(|name| format!("metadata.namespace!={name}"));
        let terms = terms.collect::<Vec<_>>().join(",");
        (!terms.is_empty()).then_some(terms)
    }
}

/// A kind that could not be listed, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}: could not be listed: {message}", namespace.as_ref().map(|name| format!(" in the namespace {name}")).unwrap_or_default())]
pub struct NotListed {
    /// Its `apiVersion`.
    pub api_version: String,
    /// The kind.
    pub kind: &'static str,
    /// Where; everywhere when nothing is named.
    pub namespace: Option<String>,
    /// Whether it is the right to do so that is missing.
    pub forbidden: bool,
    /// Why.
    pub message: String,
}

/// The objects of a kind, page by page.
pub struct Pages {
    client: Client,
    kind: WorkloadKind,
    resource: ApiResource,
    namespaces: Namespaces,
    places: VecDeque<Option<String>>,
    next: Option<String>,
    /// What was given already: a list may have to be begun anew.
    given: HashSet<String>,
    again: usize,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages")
            .field("kind", &self.kind)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Pages {
    /// Of this kind, in these namespaces.
    #[must_use]
    pub fn new(client: Client, kind: WorkloadKind, namespaces: Namespaces) -> Self {
        let places = namespaces.places();
        let resource = kind.resource();
        Self { client, kind, resource, namespaces, places, next: None, given: HashSet::new(), again: 0 }
    }

    /// The next page, which may be empty; `None` at the end. No object comes twice.
    ///
    /// # Errors
    /// [`NotListed`]: something is missing here. What comes next are other namespaces, if some were named.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, NotListed> {
        loop {
            let Some(place) = self.places.front().cloned() else { return Ok(None) };
            let page = match self.page(place.as_deref()).await {
                Ok(page) => page,
                // What the token stood for is forgotten: from the beginning, but for what was given.
                Err(Trouble::Gone) if self.next.is_some() && self.again < AGAIN => {
                    (self.next, self.again) = (None, self.again + 1);
                    continue;
                }
                Err(Trouble::Busy(_)) if self.again < AGAIN => {
                    self.again += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(trouble) => return Err(self.not_listed(place, &trouble)),
            };
            self.next = page.metadata.next.filter(|token| !token.is_empty());
            if self.next.is_none() {
                self.end_of_place();
            }
            let objects = page.items.unwrap_or_default().into_iter().filter_map(|item| self.object(item));
            return Ok(Some(objects.collect()));
        }
    }

    fn end_of_place(&mut self) {
        self.places.pop_front();
        (self.next, self.again) = (None, 0);
    }

    fn not_listed(&mut self, namespace: Option<String>, trouble: &Trouble) -> NotListed {
        self.end_of_place();
        let forbidden = matches!(trouble, Trouble::Forbidden(_));
        let api_version = self.resource.api_version.clone();
        NotListed { api_version, kind: self.kind.kind, namespace, forbidden, message: trouble.to_string() }
    }

    async fn page(&self, namespace: Option<&str>) -> Result<Page, Trouble> {
        let parameters = ListParams {
            limit: Some(PAGE),
            continue_token: self.next.clone(),
            field_selector: self.namespaces.selector().filter(|_| namespace.is_none()),
            ..ListParams::default()
        };
        let mut path = match self.kind.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        if let Some(namespace) = namespace {
            if !is_namespace_name(namespace) {
                return Err(Trouble::Other("a namespace cannot have this name".into()));
            }
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        let request = Request::new(format!("{path}/{}", self.kind.plural)).list(&parameters);
        let request = request.map_err(|e| Trouble::Other(e.to_string()))?;
        let text = in_this_time(PATIENCE, self.client.request_text(request)).await?;
        serde_json::from_str(&text).map_err(|e| Trouble::Other(format!("expected a list of objects: {e}")))
    }

    /// An object, unless it was given before or is in a namespace that is not meant.
    fn object(&mut self, item: Item) -> Option<Value> {
        let text = |name: &str| item.metadata.rest.get(name).and_then(Value::as_str).unwrap_or_default();
        if !self.namespaces.takes(text("namespace")) || !self.given.insert(text("uid").to_owned()) {
            return None;
        }
        Some(item.into_object(&self.resource))
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<Item>>,
}

#[derive(Debug, Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// An object without what is large and says nothing about images.
#[derive(Debug, Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    status: Option<ItemStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// Half of an object, often.
    #[serde(default, rename = "managedFields")]
    _managed_fields: IgnoredAny,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What of a status says which images run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemStatus {
    #[serde(default)]
    phase: Value,
    #[serde(default)]
    init_container_statuses: Value,
    #[serde(default)]
    container_statuses: Value,
    #[serde(default)]
    ephemeral_container_statuses: Value,
}

impl Item {
    fn into_object(self, resource: &ApiResource) -> Value {
        let mut metadata = self.metadata.rest;
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(APPLIED);
        }
        let mut object = json!({ "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": metadata, "spec": self.spec });
        let status = self.status.filter(|status| !status.phase.is_null());
        if let (Some(status), Some(fields)) = (status, object.as_object_mut()) {
            let status = json!({ "phase": status.phase,
                "initContainerStatuses": status.init_container_statuses,
                "containerStatuses": status.container_statuses,
                "ephemeralContainerStatuses": status.ephemeral_container_statuses });
            fields.insert("status".into(), status);
        }
        object
    }
}
