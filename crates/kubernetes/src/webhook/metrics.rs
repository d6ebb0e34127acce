//! What the webhook counts, in Prometheus' text format. Labels come from fixed sets only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_clock::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::admit::Face;
use crate::review::Answer;

/// How the names of all of them begin.
const PREFIX: &str = "countersign_admission";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    webhook: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: &'static str,
}

/// The counters of one webhook.
pub struct Metrics {
    registry: Mutex<Registry>,
    reviews: Family<ReviewLabels, Counter>,
    durations: Family<WebhookLabels, Histogram>,
    unchecked: Counter,
    policies: Gauge,
    unusable: Gauge,
    trust_roots: Gauge,
    certificate: Gauge,
    connections: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn duration_buckets() -> Histogram {
    // Half a millisecond to 33 s, each bucket twice the one before.
    Histogram::new(exponential_buckets(0.0005, 2.0, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        let reviews = Family::<ReviewLabels, Counter>::default();
        let durations = Family::<WebhookLabels, Histogram>::new_with_constructor(duration_buckets);
        let unchecked = Counter::default();
        let (policies, unusable, trust_roots, certificate, connections) = Default::default();
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix(PREFIX);
        registry.register("reviews", "Reviews answered, by how they ended", reviews.clone());
        registry.register("review_duration_seconds", "Time to answer a review", durations.clone());
        registry.register("rules_unchecked", "Rules that could not be checked", unchecked.clone());
        registry.register("policies", "Policies that hold", Gauge::clone(&policies));
        registry.register("policies_unusable", "Policies that cannot be read", Gauge::clone(&unusable));
        registry.register(
            "trust_roots_unusable",
            "TrustRoot objects that cannot be used, or not be fetched anew",
            Gauge::clone(&trust_roots),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate that is served with ends",
            Gauge::clone(&certificate),
        );
        registry.register("connections", "Connections open now", Gauge::clone(&connections));
        Self {
            registry: Mutex::new(all),
            reviews,
            durations,
            unchecked,
            policies,
            unusable,
            trust_roots,
            certificate,
            connections,
        }
    }
}

impl Metrics {
    /// Puts others on the page too, under names of their own.
    pub fn add(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn review(&self, face: Face, answer: &Answer, took: Duration) {
        let webhook = face.code();
        self.reviews.get_or_create(&ReviewLabels { webhook, outcome: answer.outcome.code() }).inc();
        self.durations.get_or_create(&WebhookLabels { webhook }).observe(took.as_secs_f64());
        self.unchecked.inc_by(u64::try_from(answer.unchecked).unwrap_or(u64::MAX));
    }

    pub(super) fn policies(&self, count: usize) {
        self.policies.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many policies cannot be read.
    pub fn unusable(&self, count: usize) {
        self.unusable.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many trust roots cannot be used, or not be fetched anew.
    pub(crate) fn trust_roots_unusable(&self, count: usize) {
        self.trust_roots.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn certificate(&self, not_after: Timestamp) {
        self.certificate.set(not_after.as_second());
    }

    pub(super) fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The whole page.
    pub(super) fn render(&self) -> String {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = encode(&mut page, &registry);
        page
    }
}
