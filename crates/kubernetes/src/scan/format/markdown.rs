//! Markdown: the summary, and a table of what does not hold.

use countersign_slsa::text::markdown as escaped;

use super::{SECTIONS, SUMMARY, score, summary, vulnerabilities};
use crate::scan::report::Report;

/// Below the head of a table of six columns.
const RULE: &str = "| --- | --- | --- | --- | --- | --- |\n";

pub(super) fn write(report: &Report) -> String {
    let mut out = format!("# Scan: {} compliance\n\n", score(report.compliance_score));
    out.push_str(&row(&SUMMARY));
    out.push_str(RULE);
    for control in &report.controls {
        out.push_str(&row(&summary(control).each_ref().map(String::as_str)));
    }
    for (status, title) in SECTIONS {
        let mut rows = report.images(status).peekable();
        if rows.peek().is_none() {
            continue;
        }
        out.push_str(&format!("\n## {title}\n\n| Control | Resource | Path | Image | Why | Next |\n"));
        out.push_str(RULE);
        for (resource, control, image) in rows {
            let mut why = vec![image.message.clone()];
            why.extend(vulnerabilities(image).into_iter().map(|line| format!("- {line}")));
            let why: Vec<String> = why.iter().map(|line| escaped(line)).collect();
            let cells = [control.id(), &resource.to_string(), &image.path, &image.image].map(escaped);
            out.push_str(&format!(
                "| {} | {} | {} |\n",
                cells.join(" | "),
                why.join("<br>"),
                escaped(&image.next)
            ));
        }
    }
    out
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}
