//! What is counted, in Prometheus' text format. Labels come from fixed sets, but for namespaces, of which a bounded number
//! is named.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::alert::Standing;
use super::state::State;
use crate::scan::Control;

/// How many namespaces are named; those beyond are one, without a name.
const MAX_NAMESPACES: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    control: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SinkLabels {
    pub(super) sink: &'static str,
}

/// What is so now, and what was done. Cheap to copy: all copies count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    workloads: Family<StatusLabels, Gauge>,
    checks: Family<CheckLabels, Gauge>,
    failed: Family<NamespaceLabels, Gauge>,
    verifications: Counter,
    faults: Counter,
    changes: Family<CheckLabels, Counter>,
    late: Gauge,
    beyond: Gauge,
    bytes: Gauge,
    active: Gauge,
    pub(super) told: Family<SinkLabels, Counter>,
    pub(super) refused: Family<SinkLabels, Counter>,
    pub(super) dropped: Family<SinkLabels, Counter>,
    pub(super) waiting: Family<SinkLabels, Gauge>,
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Puts all of them into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("countersign_continuous");
        registry.register("workloads", "Workloads by how they stand now", self.workloads.clone());
        registry.register(
            "checks",
            "Checks of images by control and how they stand now",
            self.checks.clone(),
        );
        registry.register("failed_workloads", "Workloads that fail, by namespace", self.failed.clone());
        registry.register("verifications", "Workloads verified", self.verifications.clone());
        registry.register(
            "faults",
            "Verifications that ended by a fault of the program",
            self.faults.clone(),
        );
        registry.register("changes", "Changes told, by control and how it stands then", self.changes.clone());
        registry.register("late_seconds", "How long the first in the queue has been due", self.late.clone());
        registry.register(
            "workloads_beyond_limit",
            "Objects that had no room and are not verified",
            self.beyond.clone(),
        );
        registry.register("kept_bytes", "About how much is kept of what runs", self.bytes.clone());
        registry.register("active", "Whether this process is the one that verifies", self.active.clone());
        registry.register("alerts_sent", "Alerts that a sink took", self.told.clone());
        registry.register("alerts_refused", "Alerts that a sink refused for good", self.refused.clone());
        registry.register(
            "alerts_dropped",
            "Alerts dropped because a sink was away for long",
            self.dropped.clone(),
        );
        registry.register("alerts_waiting", "Alerts that wait for a sink", self.waiting.clone());
    }

    /// A page of these alone.
    #[must_use]
    pub fn page(&self) -> String {
        let mut registry = Registry::default();
        self.register(&mut registry);
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut page, &registry);
        page
    }

    /// Whether this process is the one that verifies.
    pub fn active(&self, is: bool) {
        self.active.set(i64::from(is));
    }

    pub(super) fn verified(&self) {
        self.verifications.inc();
    }

    pub(super) fn fault(&self) {
        self.faults.inc();
    }

    pub(super) fn changed(&self, control: Control, is: Standing) {
        self.changes.get_or_create(&CheckLabels { control: control.id(), status: is.code() }).inc();
    }

    pub(super) fn late(&self, by: Duration) {
        self.late.set(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    }

    pub(super) fn kept(&self, bytes: usize, beyond: usize) {
        self.bytes.set(number(bytes));
        self.beyond.set(number(beyond));
    }
}

/// How all workloads stand, kept up with each that changes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    metrics: Metrics,
    failed: Mutex<BTreeMap<String, usize>>,
}

/// What is counted by somebody who has stopped is not so any more: another replica counts it now.
impl Drop for Tally {
    fn drop(&mut self) {
        self.metrics.workloads.clear();
        self.metrics.checks.clear();
        self.metrics.failed.clear();
        self.metrics.late.set(0);
        self.metrics.kept(0, 0);
    }
}

impl Tally {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, failed: Mutex::default() }
    }

    /// Counts a workload.
    pub(super) fn add(&self, namespace: &str, state: &State) {
        self.count(state, 1);
        if state.worst() == Some(Standing::Failed) {
            *self.failed().entry(namespace.to_owned()).or_default() += 1;
            self.name_namespaces();
        }
    }

    /// Counts it no more.
    pub(super) fn remove(&self, namespace: &str, state: &State) {
        self.count(state, -1);
        if state.worst() == Some(Standing::Failed) {
            let mut failed = self.failed();
            if let Some(count) = failed.get_mut(namespace) {
                *count -= 1;
                if *count == 0 {
                    failed.remove(namespace);
                }
            }
            drop(failed);
            self.name_namespaces();
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State, by: i64) {
        let status = state.worst().map_or("waiting", Standing::code);
        self.metrics.workloads.get_or_create(&StatusLabels { status }).inc_by(by);
        for (control, standing) in state.standings() {
            let labels = CheckLabels { control: control.id(), status: standing.code() };
            self.metrics.checks.get_or_create(&labels).inc_by(by);
        }
    }

    fn name_namespaces(&self) {
        let failed = self.failed();
        self.metrics.failed.clear();
        let mut beyond = 0;
        for (index, (namespace, count)) in failed.iter().enumerate() {
            if index < MAX_NAMESPACES {
                self.metrics
                    .failed
                    .get_or_create(&NamespaceLabels { namespace: namespace.clone() })
                    .set(number(*count));
            } else {
                beyond += count;
            }
        }
        if beyond > 0 {
            self.metrics
                .failed
                .get_or_create(&NamespaceLabels { namespace: String::new() })
                .set(number(beyond));
        }
    }
}
