//! SARIF 2.1.0: a result for each finding in a workflow file, at its line, and for each row that does not hold by such a line.

use serde_json::{Value, json};

use super::super::Assessment;
use super::super::row::{Proof, Verdict};
use crate::text::{message, uri};
use crate::workflow::{Rule, Weight};

pub(super) fn write(assessment: &Assessment) -> Result<String, serde_json::Error> {
    let mut rules: Vec<Value> = Rule::ALL
        .iter()
        .map(|rule| {
            json!({ "id": rule.id(), "name": rule.id(), "shortDescription": { "text": rule.id().replace('-', " ") },
                "help": { "text": rule.remedy() }, "defaultConfiguration": { "level": level(rule.weight()) } })
        })
        .collect();
    let mut results: Vec<Value> = assessment
        .findings
        .iter()
        .map(|(path, finding)| {
            let text = format!("{}: {}. {}", finding.text, finding.why, finding.rule.remedy());
            json!({ "ruleId": finding.rule.id(), "level": level(finding.rule.weight()), "message": { "text": message(&text) },
                "locations": [location(path, finding.line)],
                // The same finding on another line is the same finding.
                "partialFingerprints": { "finding/v1": format!("{}:{path}:{}:{}", finding.rule.id(), finding.job, finding.text) } })
        })
        .collect();
    for table in &assessment.tables {
        for row in &table.rows {
            let lines: Vec<Value> = row.judgement.evidence.iter().filter_map(line).collect();
            let open = row.judgement.verdict != Verdict::Met && !lines.is_empty();
            if !open {
                continue;
            }
            rules.push(json!({ "id": row.id, "name": row.title, "shortDescription": { "text": row.title },
                "help": { "text": row.next }, "defaultConfiguration": { "level": "note" } }));
            let unknown = row.judgement.verdict != Verdict::NotMet;
            let text = format!("{}: {}", row.title, row.judgement.why);
            results.push(json!({ "ruleId": row.id, "kind": if unknown { "open" } else { "fail" },
                "level": if unknown { "none" } else { "note" }, "message": { "text": message(&text) },
                "locations": lines.first().map(|first| vec![first.clone()]).unwrap_or_default(), "relatedLocations": lines,
                "partialFingerprints": { "finding/v1": format!("{}:{}", row.id, assessment.subject) } }));
        }
    }
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

const fn level(weight: Weight) -> &'static str {
    match weight {
        Weight::Note => "note",
        Weight::Warning => "warning",
        Weight::Error => "error",
    }
}

fn line(proof: &Proof) -> Option<Value> {
    match proof {
        Proof::Line { path, line, .. } => Some(location(path, *line)),
        _ => None,
    }
}

fn location(path: &str, line: u64) -> Value {
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri(path) }, "region": { "startLine": line } } })
}
