//! Reports of what runs, one for each resource, kept in the cluster: in whichever of the two families of reports it has.
//!
//! Whoever puts a report never waits. What is to be written waits by resource, the newest alone; it is written one after
//! the other, and only when something changed. A report belongs to its resource and goes with it; one that nobody puts any
//! more, since no policy or no control is about its resource now, is taken away after a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_clock::Clock;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::object::ObjectRef;
use super::pace::Pace;
use super::{Complaints, Trouble, in_time};
use crate::policy_report::{Family, Finding, MANAGER, fill, findings, fingerprint};
use crate::scan::{ResourceName, ResourceResult};

/// How many resources may wait.
const MAX_WAITING: usize = 50_000;
/// How many writes there may be at once, and how often one more.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(50);
/// How often it is looked which reports the cluster has, and which of ours are old.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often those of a family are listed again: somebody may have taken one away.
const LIST_AGAIN: Duration = Duration::from_secs(10 * 60);
/// The most results in a report; an object has room for a thousand and more.
const MAX_RESULTS: usize = 500;
/// How many reports are listed at once.
const PAGE: u32 = 500;
/// Where a report says what it says.
const FINGERPRINT: &str = "countersign.dev/fingerprint";
const LABEL: &str = "app.kubernetes.io/managed-by";

/// What is written, and for how long.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The families that may be written, as far as the cluster has them.
    pub families: Vec<Family>,
    /// How long a report stays that nobody puts: longer than it takes to come round to a resource again.
    pub stale: Duration,
}

/// What became of reports.
#[derive(Debug, Clone, Default)]
pub struct ReportCounts {
    /// Written, since they were new or said something else than before.
    pub written: Counter,
    /// Not written: they say what is there.
    pub unchanged: Counter,
    /// Taken away.
    pub removed: Counter,
    /// Dropped: too many waited.
    pub dropped: Counter,
    /// The API server did not take them.
    pub failed: Counter,
}

impl ReportCounts {
    /// Shows them on a page of metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("countersign_reports");
        registry.register("written", "Reports written", self.written.clone());
        registry.register("unchanged", "Reports that say what is there", self.unchanged.clone());
        registry.register("removed", "Reports taken away", self.removed.clone());
        registry.register("dropped", "Reports dropped because too many waited", self.dropped.clone());
        registry.register("failed", "Reports that the API server did not take", self.failed.clone());
    }
}

/// What is to be written of a resource.
#[derive(Debug)]
enum Wanted {
    Report(Vec<Finding>),
    Nothing,
}

#[derive(Debug, Default)]
struct Waiting {
    of: BTreeMap<ObjectRef, Wanted>,
    /// Whoever put things is gone.
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Notify,
}

/// Takes reports; clones are the same. When the last is dropped, what waits is written, and the writer ends.
#[derive(Debug, Clone)]
pub struct Reports {
    shared: Arc<Putting>,
    counts: ReportCounts,
}

/// As long as this is there, something may be put.
#[derive(Debug)]
struct Putting(Arc<Shared>);

impl Drop for Putting {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.0.came.notify_one();
    }
}

impl Reports {
    /// What was found of a resource. It replaces what was found before, also what waits. Only what the API server has given
    /// an id can have a report.
    pub fn put(&self, uid: &str, found: &ResourceResult) {
        let findings: Vec<Finding> = findings(found).collect();
        let wanted = if findings.is_empty() { Wanted::Nothing } else { Wanted::Report(findings) };
        self.want(uid, &found.resource, wanted);
    }

    /// A resource that is gone, or of which nothing is found any more.
    pub fn remove(&self, uid: &str, resource: &ResourceName) {
        self.want(uid, resource, Wanted::Nothing);
    }

    fn want(&self, uid: &str, resource: &ResourceName, wanted: Wanted) {
        if uid.is_empty() {
            return;
        }
        let object = ObjectRef {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            uid: uid.to_owned(),
        };
        let mut waiting = self.shared.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.of.len() >= MAX_WAITING && !waiting.of.contains_key(&object) {
            self.counts.dropped.inc();
            return;
        }
        waiting.of.insert(object, wanted);
        drop(waiting);
        self.shared.0.came.notify_one();
    }

    /// What became of all that was put.
    #[must_use]
    pub const fn counts(&self) -> &ReportCounts {
        &self.counts
    }
}

/// A report by its family, its namespace and its name.
type Key = (Family, String, String);

/// A report that is there.
#[derive(Debug)]
struct Known {
    fingerprint: String,
    /// When it was put last, or found.
    put: Instant,
}

/// Things are put, without a long pause.
#[derive(Debug, Clone, Copy)]
struct Active {
    since: Instant,
    last: Instant,
}

/// Writes reports. It is to be run by a task of its own.
pub struct ReportWriter {
    client: Client,
    options: ReportOptions,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    counts: ReportCounts,
    /// The families that the cluster has, and when their reports were listed.
    families: BTreeMap<Family, Instant>,
    known: HashMap<Key, Known>,
    /// One of several replicas that puts nothing takes nothing away.
    active: Option<Active>,
    pace: Pace,
    complaints: Complaints,
    begun: Instant,
}

impl std::fmt::Debug for ReportWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportWriter").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Where reports are put, and who writes them.
#[must_use]
pub fn reports(client: Client, options: ReportOptions, clock: Arc<dyn Clock>) -> (Reports, ReportWriter) {
    let (shared, counts) = (Arc::<Shared>::default(), ReportCounts::default());
    let writer = ReportWriter {
        client,
        options,
        clock,
        shared: Arc::clone(&shared),
        counts: counts.clone(),
        families: BTreeMap::new(),
        known: HashMap::new(),
        active: None,
        pace: Pace::new(BURST, EVERY),
        complaints: Complaints::default(),
        begun: Instant::now(),
    };
    (Reports { shared: Arc::new(Putting(shared)), counts }, writer)
}

impl ReportWriter {
    /// Writes what is put, until nobody is left who could put anything.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        // The first is at once: nothing is written before it is known what there is.
        tick.tick().await;
        self.look().await;
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => {
                    self.look().await;
                    self.sweep().await;
                }
                () = shared.came.notified() => {
                    // What comes meanwhile has notified again.
                    if self.next().await {
                        return;
                    }
                }
            }
        }
    }

    /// Writes one of those that wait. True when none does and none will come.
    async fn next(&mut self) -> bool {
        let (next, ended) = {
            let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            (waiting.of.pop_first(), waiting.ended)
        };
        let Some((object, wanted)) = next else { return ended };
        self.shared.came.notify_one();
        self.wake().await;
        for family in self.families.keys().copied().collect::<Vec<_>>() {
            match &wanted {
                Wanted::Report(findings) => self.write(family, &object, findings).await,
                Wanted::Nothing => self.remove(&key(family, &object)).await,
            }
        }
        false
    }

    /// After a pause, what is there is read again: another replica may have written meanwhile.
    async fn wake(&mut self) {
        let now = Instant::now();
        let slept = self.active.map(|active| now - active.last);
        let begins = slept.is_none_or(|slept| slept >= self.options.stale);
        let since = self.active.filter(|_| !begins).map_or(now, |active| active.since);
        self.active = Some(Active { since, last: now });
        if begins {
            self.known.values_mut().for_each(|known| known.put = now);
        }
        if slept.unwrap_or_else(|| self.begun.elapsed()) > LOOK_AGAIN {
            for family in self.families.keys().copied().collect::<Vec<_>>() {
                self.list(family).await;
            }
        }
    }

    async fn write(&mut self, family: Family, object: &ObjectRef, findings: &[Finding]) {
        let (key, now) = (key(family, object), Instant::now());
        let fingerprint = fingerprint(findings);
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.fingerprint == fingerprint) {
            known.put = now;
            self.counts.unchanged.inc();
            return;
        }
        self.pace.wait().await;
        let report = self.report(&key, object, findings, &fingerprint);
        let params = PatchParams::apply(MANAGER).force();
        match in_time(api(&self.client, &key).patch(&key.2, &params, &Patch::Apply(report))).await {
            Ok(_) => {
                self.counts.written.inc();
                self.known.insert(key, Known { fingerprint, put: now });
            }
            Err(trouble) => {
                self.counts.failed.inc();
                self.complaints.about("a report cannot be written", &trouble);
            }
        }
    }

    fn report(&self, key: &Key, object: &ObjectRef, findings: &[Finding], fingerprint: &str) -> Value {
        let (family, namespace, name) = key;
        let ObjectRef { api_version, kind, uid, .. } = object;
        let mut metadata = json!({ "name": name, "labels": { LABEL: MANAGER }, "annotations": { FINGERPRINT: fingerprint },
            "ownerReferences": [{ "apiVersion": api_version, "kind": kind, "name": object.name, "uid": uid }] });
        if let Some(fields) = metadata.as_object_mut().filter(|_| !namespace.is_empty()) {
            fields.insert("namespace".into(), namespace.clone().into());
        }
        let mut report = json!({ "apiVersion": family.api_version(), "kind": family.kind(!namespace.is_empty()),
            "metadata": metadata, "scope": object.reference() });
        fill(&mut report, findings, MAX_RESULTS, self.clock.now());
        report
    }

    async fn remove(&mut self, key: &Key) {
        if self.known.remove(key).is_none() {
            return;
        }
        self.pace.wait().await;
        match in_time(api(&self.client, key).delete(&key.2, &DeleteParams::default())).await {
            Ok(_) => drop(self.counts.removed.inc()),
            // It went with its resource.
            Err(Trouble::NotFound) => {}
            Err(trouble) => {
                self.counts.failed.inc();
                self.complaints.about("a report cannot be taken away", &trouble);
            }
        }
    }

    /// Takes away what nobody has put for long, once everything had its turn.
    async fn sweep(&mut self) {
        let stale = self.options.stale;
        let is_round = |active: Active| active.since.elapsed() >= stale && active.last.elapsed() < stale;
        if !self.active.is_some_and(is_round) {
            return;
        }
        let old: Vec<Key> = self
            .known
            .iter()
            .filter(|(_, known)| known.put.elapsed() >= stale)
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            self.remove(&key).await;
        }
    }

    /// Looks which families the cluster has. Of one that is new, the reports are listed that an earlier run has written.
    async fn look(&mut self) {
        for family in self.options.families.clone() {
            let found = in_time(self.client.list_api_group_resources(family.api_version())).await;
            let is_there = match found {
                Ok(list) => list.resources.iter().any(|kind| kind.name == family.plural(true)),
                Err(Trouble::NotFound) => false,
                Err(trouble) => {
                    self.complaints
                        .about("the API server cannot be asked for its kinds of reports", &trouble);
                    continue;
                }
            };
            let listed = self.families.get(&family).copied();
            match (is_there, listed) {
                (false, None) => {}
                (false, Some(_)) => {
                    tracing::info!(kind = family.kind(true), "reports of this kind are no longer written");
                    self.families.remove(&family);
                    self.known.retain(|(of, ..), _| *of != family);
                }
                (true, None) => {
                    tracing::info!(kind = family.kind(true), "reports of this kind are written");
                    self.list(family).await;
                }
                (true, Some(listed)) if self.active.is_some() && listed.elapsed() >= LIST_AGAIN => {
                    self.list(family).await;
                }
                (true, Some(_)) => {}
            }
        }
    }

    /// Learns which reports are there. Those that were known stay as old as they are.
    async fn list(&mut self, family: Family) {
        self.families.insert(family, Instant::now());
        let found = match self.listed(family).await {
            Ok(found) => found,
            Err(trouble) => {
                return self.complaints.about("the reports of an earlier run cannot be listed", &trouble);
            }
        };
        let (mut before, now) = (std::mem::take(&mut self.known), Instant::now());
        for (key, fingerprint) in found {
            let put = before.remove(&key).map_or(now, |known| known.put);
            self.known.insert(key, Known { fingerprint, put });
        }
        before.retain(|(of, ..), _| *of != family);
        self.known.extend(before);
    }

    async fn listed(&self, family: Family) -> Result<Vec<(Key, String)>, Trouble> {
        let mut found = Vec::new();
        for namespaced in [true, false] {
            let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource(family, namespaced));
            let mut params = ListParams::default().labels(&format!("{LABEL}={MANAGER}")).limit(PAGE);
            loop {
                let page = match in_time(api.list_metadata(&params)).await {
                    // Not every cluster that has reports has those of the cluster as a whole.
                    Err(Trouble::NotFound) => break,
                    page => page?,
                };
                found.extend(page.items.into_iter().filter_map(|report| there(family, report.metadata)));
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params.continue_token = Some(token),
                    None => break,
                }
            }
        }
        Ok(found)
    }
}

/// A report that is there, and what it says. One that a scan printed, and somebody applied, is not ours to keep.
fn there(family: Family, metadata: ObjectMeta) -> Option<(Key, String)> {
    let fingerprint = metadata.annotations?.remove(FINGERPRINT)?;
    Some(((family, metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default()), fingerprint))
}

/// Kyverno's report of a resource is called by the resource's id alone.
fn key(family: Family, object: &ObjectRef) -> Key {
    (family, object.namespace.clone(), format!("{MANAGER}-{}", object.uid))
}

fn api(client: &Client, (family, namespace, _): &Key) -> Api<DynamicObject> {
    let resource = resource(*family, !namespace.is_empty());
    match namespace.as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

fn resource(family: Family, namespaced: bool) -> ApiResource {
    let (group, version) = family.api_version().split_once('/').unwrap_or_default();
    let kind = GroupVersionKind::gvk(group, version, family.kind(namespaced));
    ApiResource::from_gvk_with_plural(&kind, family.plural(namespaced))
}
