//! SARIF 2.1.0: a result for each failure and for each place at which nobody could look.

use countersign_slsa::text::{message, uri};
use serde_json::{Value, json};

use super::vulnerabilities;
use crate::scan::baseline::fingerprint;
use crate::scan::control::{Control, Severity};
use crate::scan::report::{ImageResult, Report, Status};
use crate::scan::resource::ResourceName;

pub(super) fn write(report: &Report) -> Result<String, serde_json::Error> {
    let rules: Vec<Value> = report
        .controls
        .iter()
        .map(|control| {
            json!({ "id": control.id.id(), "name": control.name, "shortDescription": { "text": control.name },
                "help": { "text": control.remediation },
                "defaultConfiguration": { "level": level(control.severity) },
                "properties": { "security-severity": format!("{}.0", control.score) } })
        })
        .collect();
    let results: Vec<Value> = [Status::Failed, Status::Excepted, Status::Unchecked]
        .into_iter()
        .flat_map(|status| report.images(status))
        .map(|(resource, control, image)| result(resource, control, image))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "countersign", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

fn result(resource: &ResourceName, control: Control, image: &ImageResult) -> Value {
    let unchecked = image.status == Status::Unchecked;
    let listed: String = vulnerabilities(image).iter().map(|line| format!("\n- {line}")).collect();
    let text = format!(
        "{resource} {} {}: {}{}{}",
        image.path,
        image.image,
        if unchecked { "could not be checked: " } else { "" },
        image.message,
        if image.next.is_empty() { String::new() } else { format!(". Next: {}", image.next) }
    ) + &listed;
    let source = if resource.source.is_empty() { "image" } else { &resource.source };
    let mut physical = json!({ "artifactLocation": { "uri": uri(source) } });
    if let (Some(fields), Some(line)) = (physical.as_object_mut(), image.line) {
        fields.insert("region".into(), json!({ "startLine": line }));
    }
    let mut result = json!({
        "ruleId": control.id(),
        // A place at which nobody could look is no verdict on it.
        "kind": if unchecked { "open" } else { "fail" },
        "level": if unchecked { "none" } else { level(control.severity()) },
        "message": { "text": message(&text) },
        "locations": [{
            "physicalLocation": physical,
            "logicalLocations": [{ "fullyQualifiedName": format!("{resource}#{}", image.path), "kind": "resource" }],
        }],
        "partialFingerprints": { "finding/v1": fingerprint(resource, control, image) },
        "properties": { "reason": image.reason, "digest": image.digest },
    });
    if let Some(properties) = result.pointer_mut("/properties").and_then(Value::as_object_mut)
        && !image.vulnerabilities.is_empty()
    {
        properties.insert("vulnerabilities".into(), json!(&image.vulnerabilities[..]));
    }
    if let Some(fields) = result.as_object_mut() {
        if image.known {
            fields.insert("baselineState".into(), "unchanged".into());
        }
        if image.status == Status::Excepted {
            fields.insert("suppressions".into(), json!([{ "kind": "external", "status": "accepted" }]));
        }
    }
    result
}
