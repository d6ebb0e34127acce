//! JSON: everything, for programs.

use serde_json::{Value, json};

use super::super::Assessment;
use super::super::row::{Proof, Row, Table, Verdict};

pub(super) fn write(assessment: &Assessment) -> Result<String, serde_json::Error> {
    let tables: Vec<Value> = assessment.tables.iter().map(|table| of_table(table, assessment)).collect();
    let findings: Vec<Value> = assessment
        .findings
        .iter()
        .map(|(path, finding)| {
            json!({ "rule": finding.rule.id(), "path": path, "line": finding.line, "job": finding.job, "text": finding.text,
                "why": finding.why, "remedy": finding.rule.remedy() })
        })
        .collect();
    let threats: Vec<Value> = assessment
        .threats
        .iter()
        .map(|threat| {
            let rows: Vec<Value> =
                threat.rows.iter().map(|(id, found)| json!({ "row": id, "verdict": found.code() })).collect();
            json!({ "letter": threat.letter.to_string(), "title": threat.title, "cover": threat.cover.name(), "rows": rows,
                "note": threat.note })
        })
        .collect();
    let next: Vec<Value> = assessment
        .next
        .iter()
        .map(|step| {
            json!({ "track": step.track.name(), "level": step.level, "row": step.row, "text": step.text, "effort": step.effort })
        })
        .collect();
    let mut document = json!({ "schema": "countersign.slsa.assessment", "schemaVersion": 1, "subject": assessment.subject,
        "time": assessment.time.to_string(), "assertedCounts": assessment.count_asserted, "tables": tables,
        "findings": findings, "threats": threats, "next": next });
    if let (Some(claims), Some(fields)) = (&assessment.claims, document.as_object_mut()) {
        let rows: Vec<Value> =
            claims.rows.iter().map(|(title, levels)| json!({ "title": title, "levels": levels })).collect();
        fields.insert("claims".into(), json!({ "from": claims.from, "rows": rows }));
    }
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn of_table(table: &Table, assessment: &Assessment) -> Value {
    let rows: Vec<Value> = table.rows.iter().map(of_row).collect();
    json!({ "track": table.track.name(), "level": table.level(assessment.count_asserted),
        "levelWithoutAsserted": table.level(false), "rows": rows })
}

fn of_row(row: &Row) -> Value {
    let judged = &row.judgement;
    let mut out = json!({ "id": row.id, "group": row.group, "title": row.title, "levels": row.levels, "optional": row.optional,
        "verdict": judged.verdict.code(), "why": judged.why, "rule": judged.rule,
        "evidence": judged.evidence.iter().map(proof).collect::<Vec<_>>() });
    if let (Verdict::Asserted { by, until }, Some(fields)) = (&judged.verdict, out.as_object_mut()) {
        fields.insert("by".into(), by.as_str().into());
        fields.insert("until".into(), until.to_string().into());
    }
    out
}

fn proof(proof: &Proof) -> Value {
    match proof {
        Proof::Line { path, line, text } => json!({ "path": path, "line": line, "text": text }),
        Proof::Statement { sha256, what } => json!({ "sha256": sha256, "what": what }),
        Proof::Commit { path, commit } => json!({ "clone": path, "commit": commit }),
    }
}
