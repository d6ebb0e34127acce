//! The Kubernetes policy working group's reports: for each namespace, and for what has none, as a list to apply.

use std::collections::BTreeMap;

use countersign_clock::Timestamp;
use serde_json::{Value, json};

use crate::policy_report::{Family, Finding, MANAGER, fill, findings};
use crate::scan::report::Report;

/// The most results in one report, and the most bytes of them: with more, `kubectl apply` has no room for its note of what it
/// applied.
const MAX_RESULTS: usize = 200;
const MAX_BYTES: usize = 200 << 10;
/// About what is added to a finding where it stands in a report: its time.
const ADDED: usize = 64;

pub(super) fn write(report: &Report) -> Result<String, serde_json::Error> {
    let mut by_namespace: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    // An image by itself is no object of a cluster.
    for result in report.results.iter().filter(|result| !result.resource.api_version.is_empty()) {
        let rows = by_namespace.entry(&result.resource.namespace).or_default();
        rows.extend(findings(result).map(|finding| finding.about(&result.resource)));
    }
    let mut items: Vec<Value> = Vec::new();
    for (namespace, rows) in by_namespace {
        let parts = parts(rows).into_iter().zip(1..);
        items.extend(parts.map(|(part, number)| one(namespace, number, &part, &report.time)));
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

/// The findings of one report after the other.
fn parts(rows: Vec<Finding>) -> Vec<Vec<Finding>> {
    let (mut parts, mut bytes) = (Vec::<Vec<Finding>>::new(), 0);
    for row in rows {
        let own = json!(row).to_string().len() + ADDED;
        bytes += own;
        match parts.last_mut().filter(|part| part.len() < MAX_RESULTS && bytes <= MAX_BYTES) {
            Some(part) => part.push(row),
            None => {
                bytes = own;
                parts.push(vec![row]);
            }
        }
    }
    parts
}

fn one(namespace: &str, number: usize, rows: &[Finding], time: &str) -> Value {
    let name = if number == 1 { "countersign-scan".to_owned() } else { format!("countersign-scan-{number}") };
    let mut metadata = json!({ "name": name, "labels": { "app.kubernetes.io/managed-by": MANAGER },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::{changed_sample, sample};

    #[test]
    fn reports_with_long_lists_are_more() {
        let mut report = changed_sample(|_, image| image.message = "x".repeat(5000));
        report.results =
            report.results.iter().filter(|r| r.resource.name == "shop").cycle().take(300).cloned().collect();
        let list: Value = serde_json::from_str(&write(&report).unwrap()).unwrap();
        let items = list["items"].as_array().unwrap();
        let results: usize = items.iter().map(|report| report["results"].as_array().unwrap().len()).sum();
        assert_eq!(results, 600, "none is left out");
        assert!(items.len() > 3 && items.iter().all(|report| report.to_string().len() < 256 << 10));
    }

    #[test]
    fn long_reports_are_several() {
        let mut report = sample();
        report.results =
            report.results.iter().filter(|r| r.resource.name == "shop").cycle().take(201).cloned().collect();
        let list: Value = serde_json::from_str(&write(&report).unwrap()).unwrap();
        let sizes: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|report| {
                assert!(report.to_string().len() < 256 << 10);
                (
                    report["metadata"]["name"].as_str().unwrap(),
                    report["results"].as_array().unwrap().len(),
                    &report["summary"]["fail"],
                )
            })
            .collect();
        let expected =
            [("countersign-scan", 200, 200), ("countersign-scan-2", 200, 200), ("countersign-scan-3", 2, 2)];
        assert_eq!(sizes.len(), 3);
        for (found, (name, results, failed)) in sizes.into_iter().zip(expected) {
            assert_eq!(found, (name, results, &json!(failed)));
        }
    }
}
