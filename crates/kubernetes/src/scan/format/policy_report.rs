//! The Kubernetes policy working group's reports: one for each namespace, one for what has none, as a list to apply.

use std::collections::BTreeMap;

use countersign_clock::Timestamp;
use serde_json::{Value, json};

use crate::policy_report::{Family, Finding, MANAGER, fill, findings};
use crate::scan::report::Report;

pub(super) fn write(report: &Report) -> Result<String, serde_json::Error> {
    let mut by_namespace: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    // An image by itself is no object of a cluster.
    for result in report.results.iter().filter(|result| !result.resource.api_version.is_empty()) {
        let rows = by_namespace.entry(&result.resource.namespace).or_default();
        rows.extend(findings(result).map(|finding| finding.about(&result.resource)));
    }
    let items: Vec<Value> =
        by_namespace.into_iter().map(|(namespace, rows)| one(namespace, &rows, &report.time)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

fn one(namespace: &str, rows: &[Finding], time: &str) -> Value {
    let mut metadata = json!({ "name": "countersign-scan", "labels": { "app.kubernetes.io/managed-by": MANAGER },
        "annotations": { "countersign.dev/scanned-at": time } });
    if let Some(fields) = metadata.as_object_mut().filter(|_| !namespace.is_empty()) {
        fields.insert("namespace".into(), namespace.into());
    }
    let family = Family::PolicyReport;
    let mut report = json!({ "apiVersion": family.api_version(), "kind": family.kind(!namespace.is_empty()),
        "metadata": metadata });
    // A report's time is one that was written by us.
    fill(&mut report, rows, usize::MAX, time.parse().unwrap_or(Timestamp::UNIX_EPOCH));
    report
}
