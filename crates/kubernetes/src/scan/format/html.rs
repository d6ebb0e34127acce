//! HTML: one page without scripts.

use super::{SECTIONS, SUMMARY, escaped, score, summary, vulnerabilities};
use crate::scan::report::Report;

const STYLE: &str = "body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}\
th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top}th{background:#eee}\
.failed{color:#a00}.unchecked{color:#850}ul{margin:.3em 0;padding-left:1.2em}";

pub(super) fn write(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>countersign scan</title><style>{STYLE}</style></head>\n\
         <body>\n<h1>Scan: {} compliance</h1>\n<p>{}: {} resources, {} failed, {} not checked, {} excepted.</p>\n",
        score(report.compliance_score),
        escaped(&report.time),
        report.resources.all,
        report.resources.failed,
        report.resources.unchecked,
        report.resources.excepted,
    );
    out.push_str("<table>\n");
    out.push_str(&row("th", &SUMMARY));
    for control in &report.controls {
        out.push_str(&row("td", &summary(control).each_ref().map(String::as_str)));
    }
    out.push_str("</table>\n");
    for (status, title) in SECTIONS {
        let mut rows = report.images(status).peekable();
        if rows.peek().is_none() {
            continue;
        }
        out.push_str(&format!("<h2 class=\"{}\">{title}</h2>\n<table>\n", status.code()));
        out.push_str(&row("th", &["Control", "Resource", "Path", "Image", "Why", "Next"]));
        for (resource, control, image) in rows {
            let resource = resource.to_string();
            let cells =
                [control.id(), &resource, &image.path, &image.image].map(|text| cell("td", &escaped(text)));
            let list: String =
                vulnerabilities(image).iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
            let list = if list.is_empty() { list } else { format!("<ul>{list}</ul>") };
            let why = cell("td", &format!("{}{list}", escaped(&image.message)));
            let next = cell("td", &escaped(&image.next));
            out.push_str(&format!("<tr>{}{why}{next}</tr>\n", cells.concat()));
        }
        out.push_str("</table>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn row(kind: &str, cells: &[&str]) -> String {
    let cells: String = cells.iter().map(|text| cell(kind, &escaped(text))).collect();
    format!("<tr>{cells}</tr>\n")
}

fn cell(kind: &str, markup: &str) -> String {
    format!("<{kind}>{markup}</{kind}>")
}
