//! Markdown: the table as people know it, what decides each row, what stands in the workflow files, threats, next steps.

use super::super::Assessment;
use super::super::row::Table;
use super::{beside, effort, level, levels, listed, verdict};
use crate::text::markdown as escaped;

pub(super) fn write(assessment: &Assessment) -> String {
    let mut out = format!("# SLSA assessment: {}\n\n", escaped(&assessment.subject));
    out.push_str(&format!(
        "{}. Y: met, N: not met, A: asserted, ?: not assessable; empty: not asked for at that level.\n",
        assessment.time
    ));
    for table in &assessment.tables {
        out.push_str(&format!("\n## {}: {}\n\n", table.track.title(), level(table, assessment)));
        matrix(table, &mut out);
    }
    let compared = beside(assessment);
    if let Some(claims) = assessment.claims.as_ref().filter(|_| !compared.is_empty()) {
        out.push_str(&format!("\n## Claims of {}, beside what was found\n\n", escaped(&claims.from)));
        out.push_str("| Requirement | Claimed | Found | What decides |\n| --- | --- | --- | --- |\n");
        for cells in &compared {
            out.push_str(&row(cells));
        }
    }
    for table in &assessment.tables {
        out.push_str(&format!("\n## What decides: {}\n\n", table.track.title()));
        out.push_str(
            "| Row | Levels | Verdict | Why | Rule | Evidence |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        for one in &table.rows {
            let judged = &one.judgement;
            let evidence: Vec<String> =
                judged.evidence.iter().map(|proof| escaped(&proof.to_string())).collect();
            let cells =
                [one.id, &levels(one), &verdict(&judged.verdict), &judged.why, judged.rule].map(escaped);
            out.push_str(&format!("| {} | {} |\n", cells.join(" | "), evidence.join("<br>")));
        }
    }
    if !assessment.findings.is_empty() {
        out.push_str("\n## Workflow files\n\n| Where | Rule | What | Why | What to do |\n| --- | --- | --- | --- | --- |\n");
        let (shown, more) = listed(&assessment.findings);
        for (path, finding) in shown {
            let at = format!("{path}:{}", finding.line);
            out.push_str(&row(&[&at, finding.rule.id(), &finding.text, &finding.why, finding.rule.remedy()]));
        }
        if more > 0 {
            out.push_str(&format!("\nAnd {more} more, which --format json lists.\n"));
        }
    }
    out.push_str("\n## Threats\n\n| | Threat | Covered | By | |\n| --- | --- | --- | --- | --- |\n");
    for threat in &assessment.threats {
        let by: Vec<String> =
            threat.rows.iter().map(|(id, found)| format!("{id}: {}", verdict(found))).collect();
        let letter = threat.letter.to_string();
        out.push_str(&row(&[&letter, threat.title, threat.cover.name(), &by.join("; "), threat.note]));
    }
    if !assessment.next.is_empty() {
        out.push_str("\n## Next steps\n\n| Towards | Row | What to do | Work |\n| --- | --- | --- | --- |\n");
        for step in &assessment.next {
            let towards = format!("{}, level {}", step.track.title(), step.level);
            out.push_str(&row(&[&towards, step.row, step.text, effort(step.effort)]));
        }
    }
    out
}

/// One row for each requirement, one column for each level.
fn matrix(table: &Table, out: &mut String) {
    let columns = 1..=table.track.highest();
    let head: Vec<String> = columns.clone().map(|level| format!("**L{level}**")).collect();
    out.push_str(&format!("| **Requirement** | {} |\n", head.join(" | ")));
    out.push_str(&format!("| --- |{}\n", " --- |".repeat(head.len())));
    let mut last = "";
    for (group, title, cells) in table.lines() {
        if group != last {
            out.push_str(&format!("| **{group}** |{}\n", "  |".repeat(head.len())));
            last = group;
        }
        let signs: Vec<&str> = columns
            .clone()
            .map(|level| cells.get(&level).map_or("", |row| row.judgement.verdict.sign()))
            .collect();
        let optional = if cells.values().all(|row| row.optional) { " ○" } else { "" };
        out.push_str(&format!("| {}{optional} | {} |\n", escaped(title), signs.join(" | ")));
    }
}

fn row<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell.as_ref())).collect();
    format!("| {} |\n", cells.join(" | "))
}
