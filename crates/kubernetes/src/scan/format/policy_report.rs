//! The Kubernetes policy working group's reports: one for each namespace, one for what has none, as a list to apply.

use std::collections::BTreeMap;

use countersign_crypto::HashAlgorithm;
use serde_json::{Value, json};

use super::vulnerabilities;
use crate::scan::control::{Control, Severity};
use crate::scan::report::{ImageResult, Report, Status};
use crate::scan::resource::ResourceName;

pub(super) fn write(report: &Report) -> Result<String, serde_json::Error> {
    let mut by_namespace: BTreeMap<&str, Vec<(&ResourceName, Control, &ImageResult)>> = BTreeMap::new();
    for result in &report.results {
        // An image by itself is no object of a cluster.
        for control in result.controls.iter().filter(|_| !result.resource.api_version.is_empty()) {
            let rows = by_namespace.entry(&result.resource.namespace).or_default();
            rows.extend(control.images.iter().map(|image| (&result.resource, control.control, image)));
        }
    }
    let items: Vec<Value> =
        by_namespace.into_iter().map(|(namespace, rows)| one(namespace, &rows, &report.time)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

fn one(namespace: &str, rows: &[(&ResourceName, Control, &ImageResult)], time: &str) -> Value {
    let count =
        |status: &[Status]| rows.iter().filter(|(_, _, image)| status.contains(&image.status)).count();
    let mut metadata = json!({ "name": "countersign-scan", "labels": { "app.kubernetes.io/managed-by": "countersign" },
        "annotations": { "countersign.dev/scanned-at": time } });
    if let Some(fields) = metadata.as_object_mut().filter(|_| !namespace.is_empty()) {
        fields.insert("namespace".into(), namespace.into());
    }
    json!({
        "apiVersion": "wgpolicyk8s.io/v1alpha2",
        "kind": if namespace.is_empty() { "ClusterPolicyReport" } else { "PolicyReport" },
        "metadata": metadata,
        "summary": { "pass": count(&[Status::Passed]), "fail": count(&[Status::Failed]),
            "warn": 0, "error": count(&[Status::Unchecked]), "skip": count(&[Status::Skipped, Status::Excepted]) },
        "results": rows.iter().map(|(resource, control, image)| result(resource, *control, image)).collect::<Vec<_>>(),
    })
}

fn result(resource: &ResourceName, control: Control, image: &ImageResult) -> Value {
    let mut object =
        json!({ "apiVersion": resource.api_version, "kind": resource.kind, "name": resource.name });
    if let Some(fields) = object.as_object_mut().filter(|_| !resource.namespace.is_empty()) {
        fields.insert("namespace".into(), resource.namespace.clone().into());
    }
    let outcome = match image.status {
        Status::Passed => "pass",
        Status::Failed => "fail",
        Status::Unchecked => "error",
        Status::Skipped | Status::Excepted => "skip",
    };
    let severity = match control.severity() {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    let finding = format!("{} {resource} {} {}", control.id(), image.path, image.image);
    let mut result = json!({
        "source": "countersign", "policy": control.id(), "rule": control.name(), "category": "Supply chain",
        "result": outcome, "severity": severity, "scored": true, "message": image.message, "resources": [object],
        "properties": { "path": image.path, "image": image.image, "digest": image.digest.clone().unwrap_or_default(),
            "reason": image.reason, "resultID": HashAlgorithm::Sha256.digest(finding.as_bytes()).to_hex() },
    });
    let lines = vulnerabilities(image);
    if let Some(properties) =
        result.pointer_mut("/properties").and_then(Value::as_object_mut).filter(|_| !lines.is_empty())
    {
        properties.insert("vulnerabilities".into(), lines.join("\n").into());
    }
    result
}
