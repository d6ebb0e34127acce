//! HTML: one page without scripts, for light and dark, wide and narrow.

use super::super::Assessment;
use super::super::row::{Row, Table};
use super::{beside, effort, level, levels, listed, verdict};
use crate::text::html as escaped;
use crate::workflow::Weight;

const STYLE: &str = ":root{color-scheme:light dark;--line:#8886;--head:#8882;--met:#0a7d2c;--no:#c02020;--may:#8a6100}\
@media(prefers-color-scheme:dark){:root{--met:#5fd38a;--no:#ff8080;--may:#e0b050}}\
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;padding:1.2em;max-width:75em}\
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.6em 0;width:100%}\
th,td{border:1px solid var(--line);padding:.35em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:var(--head)}td.sign{text-align:center;font-weight:600;width:3em}\
.met{color:var(--met)}.not_met,.error,.open{color:var(--no)}.asserted,.not_assessable,.warning,.partly{color:var(--may)}\
.covered{color:var(--met)}code{font-size:.92em}ul{margin:0;padding-left:1.1em}\
@media(max-width:45em){body{padding:.6em;font-size:15px}.list table{min-width:40em}td.sign,th{padding:.3em .35em}}";

pub(super) fn write(assessment: &Assessment) -> String {
    let subject = escaped(&assessment.subject);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>SLSA assessment: {subject}</title><style>{STYLE}</style></head>\n<body>\n<h1>SLSA assessment: {subject}</h1>\n\
         <p>{}. Y: met, N: not met, A: asserted, ?: not assessable; empty: not asked for at that level.</p>\n",
        assessment.time
    );
    for table in &assessment.tables {
        out.push_str(&format!("<h2>{}: {}</h2>\n", table.track.title(), escaped(&level(table, assessment))));
        matrix(table, &mut out);
    }
    let compared = beside(assessment);
    if let Some(claims) = assessment.claims.as_ref().filter(|_| !compared.is_empty()) {
        out.push_str(&format!("<h2>Claims of {}, beside what was found</h2>\n", escaped(&claims.from)));
        let rows = compared.iter().map(|cells| cells.each_ref().map(|cell| escaped(cell)).to_vec());
        list(&["Requirement", "Claimed", "Found", "What decides"], rows, &mut out);
    }
    for table in &assessment.tables {
        out.push_str(&format!("<h2>What decides: {}</h2>\n", table.track.title()));
        list(
            &["Row", "Levels", "Verdict", "Why", "Rule", "Evidence"],
            table.rows.iter().map(decided),
            &mut out,
        );
    }
    if !assessment.findings.is_empty() {
        out.push_str("<h2>Workflow files</h2>\n");
        let (shown, more) = listed(&assessment.findings);
        let rows = shown.iter().map(|(path, finding)| {
            let class = match finding.rule.weight() {
                Weight::Error => "error",
                Weight::Warning => "warning",
                Weight::Note => "note",
            };
            vec![
                format!("<code>{}:{}</code>", escaped(path), finding.line),
                format!("<span class=\"{class}\">{}</span>", finding.rule.id()),
                format!("<code>{}</code>", escaped(&finding.text)),
                escaped(&finding.why),
                escaped(finding.rule.remedy()),
            ]
        });
        list(&["Where", "Rule", "What", "Why", "What to do"], rows, &mut out);
        if more > 0 {
            out.push_str(&format!("<p>And {more} more, which --format json lists.</p>\n"));
        }
    }
    out.push_str("<h2>Threats</h2>\n");
    let threats = assessment.threats.iter().map(|threat| {
        let by: Vec<String> = threat
            .rows
            .iter()
            .map(|(id, found)| format!("<li>{id}: {}</li>", escaped(&verdict(found))))
            .collect();
        let cover = threat.cover.name();
        vec![
            threat.letter.to_string(),
            escaped(threat.title),
            format!("<span class=\"{cover}\">{cover}</span>"),
            format!("<ul>{}</ul>", by.concat()),
            escaped(threat.note),
        ]
    });
    list(&["", "Threat", "Covered", "By", ""], threats, &mut out);
    if !assessment.next.is_empty() {
        out.push_str("<h2>Next steps</h2>\n");
        let rows = assessment.next.iter().map(|step| {
            let towards = format!("{}, level {}", step.track.title(), step.level);
            vec![towards, step.row.to_owned(), escaped(step.text), effort(step.effort).to_owned()]
        });
        list(&["Towards", "Row", "What to do", "Work"], rows, &mut out);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn matrix(table: &Table, out: &mut String) {
    let columns = 1..=table.track.highest();
    out.push_str("<div class=\"wide\"><table>\n<tr><th>Requirement</th>");
    for level in columns.clone() {
        out.push_str(&format!("<th>L{level}</th>"));
    }
    out.push_str("</tr>\n");
    let mut last = "";
    for (group, title, cells) in table.lines() {
        if group != last {
            out.push_str(&format!("<tr><th colspan=\"{}\">{group}</th></tr>\n", table.track.highest() + 1));
            last = group;
        }
        let optional = if cells.values().all(|row| row.optional) { " ○" } else { "" };
        out.push_str(&format!("<tr><td>{}{optional}</td>", escaped(title)));
        for level in columns.clone() {
            let verdict = cells.get(&level).map(|row| &row.judgement.verdict);
            let (class, sign) = verdict.map_or(("", ""), |verdict| (verdict.code(), verdict.sign()));
            out.push_str(&format!("<td class=\"sign {class}\">{sign}</td>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn decided(row: &Row) -> Vec<String> {
    let judged = &row.judgement;
    let evidence: Vec<String> = judged
        .evidence
        .iter()
        .map(|proof| format!("<li><code>{}</code></li>", escaped(&proof.to_string())))
        .collect();
    vec![
        row.id.to_owned(),
        levels(row),
        format!("<span class=\"{}\">{}</span>", judged.verdict.code(), escaped(&verdict(&judged.verdict))),
        escaped(&judged.why),
        escaped(judged.rule),
        format!("<ul>{}</ul>", evidence.concat()),
    ]
}

/// A table of cells that are HTML already.
fn list(head: &[&str], rows: impl Iterator<Item = Vec<String>>, out: &mut String) {
    out.push_str("<div class=\"wide list\"><table>\n<tr>");
    for cell in head {
        out.push_str(&format!("<th>{cell}</th>"));
    }
    out.push_str("</tr>\n");
    for cells in rows {
        out.push_str("<tr>");
        for cell in cells {
            out.push_str(&format!("<td>{cell}</td>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}
