//! HTML: one page without scripts.

use countersign_slsa::text::html as escaped;

use super::{SECTIONS, SUMMARY, score, summary, vulnerabilities};
use crate::scan::report::Report;

/// Light and dark as the reader has it. What is long breaks, so that nothing is wider than the screen; on a narrow one each row of
/// a table becomes a block, in which each cell says what it is.
const STYLE: &str = ":root{color-scheme:light dark}\
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:80em}\
table{border-collapse:collapse;margin:1em 0;width:100%}\
th,td{border:1px solid #8888;padding:.3em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#8882;overflow-wrap:normal}td.short{overflow-wrap:normal;white-space:nowrap}\
code{font-size:.92em}ul{margin:.3em 0;padding-left:1.2em}\
.failed{color:light-dark(#a00,#f88)}.unchecked{color:light-dark(#750,#ec6)}\
@media(max-width:45em){tr:first-child{display:none}tr,td{display:block}tr{border:1px solid #8888;margin:.6em 0}\
td{border:0}td.short{white-space:normal}td::before{content:attr(data-label) \": \";font-weight:600}td:empty{display:none}}";

/// The titles of what is found.
const FINDINGS: [&str; 6] = ["Control", "Resource", "Path", "Image", "Why", "Next"];

pub(super) fn write(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>countersign scan</title><style>{STYLE}</style></head>\n\
         <body>\n<h1>Scan: {} compliance</h1>\n<p>{}: {} resources, {} failed, {} not checked, {} excepted.</p>\n",
        score(report.compliance_score),
        escaped(&report.time),
        report.resources.all,
        report.resources.failed,
        report.resources.unchecked,
        report.resources.excepted,
    );
    out.push_str("<table>\n");
    out.push_str(&titles(&SUMMARY));
    for control in &report.controls {
        out.push_str(&row(&SUMMARY, &summary(control).map(|text| escaped(&text))));
    }
    out.push_str("</table>\n");
    for (status, title) in SECTIONS {
        let mut rows = report.images(status).peekable();
        if rows.peek().is_none() {
            continue;
        }
        out.push_str(&format!("<h2 class=\"{}\">{title}</h2>\n<table>\n", status.code()));
        out.push_str(&titles(&FINDINGS));
        for (resource, control, image) in rows {
            let list: String =
                vulnerabilities(image).iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
            let list = if list.is_empty() { list } else { format!("<ul>{list}</ul>") };
            let next = escaped(&image.next);
            let next = if next.is_empty() { next } else { format!("<code>{next}</code>") };
            let cells = [
                escaped(control.id()),
                escaped(&resource.to_string()),
                escaped(&image.path),
                escaped(&image.image),
                format!("{}{list}", escaped(&image.message)),
                next,
            ];
            out.push_str(&row(&FINDINGS, &cells));
        }
        out.push_str("</table>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn titles(titles: &[&str]) -> String {
    let cells: String = titles.iter().map(|title| format!("<th>{title}</th>")).collect();
    format!("<tr>{cells}</tr>\n")
}

/// A row of cells, which are markup. The first is a word that stays whole.
fn row(titles: &[&str], cells: &[String]) -> String {
    let first = std::iter::once(" class=\"short\"").chain(std::iter::repeat(""));
    let cells: String = titles
        .iter()
        .zip(cells)
        .zip(first)
        .map(|((title, markup), class)| format!("<td{class} data-label=\"{title}\">{markup}</td>"))
        .collect();
    format!("<tr>{cells}</tr>\n")
}
