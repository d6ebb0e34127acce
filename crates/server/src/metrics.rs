//! Metrics in Prometheus' text format. Labels come from fixed sets only (route templates, known methods, status
//! codes): no client can make a new series.

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLabels {
    log: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: &'static str,
}

/// The counters of one server.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    tree_size: Family<LogLabels, Gauge>,
    search_lag: Gauge,
    keys: Family<KeyLabels, Gauge>,
    scrubbed: Family<LogLabels, Counter>,
    damaged: Family<LogLabels, Gauge>,
    certificates: Counter,
    timestamps: Counter,
    connections: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn duration_buckets() -> Histogram {
    // 100 µs to 26 s, each bucket four times the one before.
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<RouteLabels, Histogram>::new_with_constructor(duration_buckets);
        let tree_size = Family::<LogLabels, Gauge>::default();
        let keys = Family::<KeyLabels, Gauge>::default();
        let (scrubbed, damaged) =
            (Family::<LogLabels, Counter>::default(), Family::<LogLabels, Gauge>::default());
        let (certificates, timestamps, connections) =
            (Counter::default(), Counter::default(), Gauge::default());
        let search_lag = Gauge::default();
        let mut registry = Registry::with_prefix("countersign");
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time to answer", durations.clone());
        registry.register("log_tree_size_entries", "Entries in the log", tree_size.clone());
        registry.register(
            "log_search_lag_entries",
            "Entries not in the search index yet",
            search_lag.clone(),
        );
        registry.register("log_scrubbed_files", "Files of the log read again and checked", scrubbed.clone());
        registry.register("log_damaged_places", "Damaged places the last scrub found", damaged.clone());
        registry.register("key_available", "Whether a key outside of the instance can be used", keys.clone());
        registry.register("ca_certificates_issued", "Certificates issued", certificates.clone());
        registry.register("tsa_timestamps_issued", "Timestamps issued", timestamps.clone());
        registry.register("http_connections", "Connections open now", connections.clone());
        Self {
            registry: Mutex::new(registry),
            requests,
            durations,
            tree_size,
            search_lag,
            keys,
            scrubbed,
            damaged,
            certificates,
            timestamps,
            connections,
        }
    }

    /// Counts one answered request. `route` is the template it matched, never the path as sent.
    pub(crate) fn request(&self, route: &str, method: &http::Method, status: u16, took: Duration) {
        let method = match *method {
            http::Method::GET => "GET",
            http::Method::POST => "POST",
            http::Method::HEAD => "HEAD",
            http::Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), method, status }).inc();
        self.durations.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    pub(crate) fn certificate(&self) {
        self.certificates.inc();
    }

    pub(crate) fn timestamp(&self) {
        self.timestamps.inc();
    }

    pub(crate) fn tree_size(&self, log: &'static str, size: u64) {
        self.tree_size.get_or_create(&LogLabels { log }).set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// How many entries the search index is behind the log.
    pub(crate) fn search_lag(&self, entries: u64) {
        self.search_lag.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// What a scrub read and found.
    pub(crate) fn scrubbed(&self, log: &'static str, files: u64, damaged: u64) {
        self.scrubbed.get_or_create(&LogLabels { log }).inc_by(files);
        self.damaged.get_or_create(&LogLabels { log }).set(i64::try_from(damaged).unwrap_or(i64::MAX));
    }

    /// Whether a key that lives outside of the instance can be used.
    pub(crate) fn key_available(&self, key: &'static str, available: bool) {
        self.keys.get_or_create(&KeyLabels { key }).set(i64::from(available));
    }

    pub(crate) fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The whole page.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = encode(&mut page, &registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_methods_outside_the_known_ones_share_one_series() {
        let metrics = Metrics::new();
        for i in 0..1000 {
            let method = http::Method::from_bytes(format!("M{i}").as_bytes()).unwrap();
            metrics.request("other", &method, 404, Duration::from_millis(1));
        }
        let page = metrics.render();
        let series = page.lines().filter(|l| l.starts_with("countersign_http_requests_total")).count();
        assert_eq!(series, 1, "{page}");
        assert!(
            page.contains(
                r#"countersign_http_requests_total{route="other",method="other",status="404"} 1000"#
            )
        );
    }
}
