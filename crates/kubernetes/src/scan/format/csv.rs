//! CSV: a line for each image and control, passed ones too.

use super::vulnerabilities;
use crate::scan::report::Report;

const HEADER: [&str; 15] = [
    "control",
    "severity",
    "status",
    "apiVersion",
    "kind",
    "namespace",
    "name",
    "path",
    "container",
    "image",
    "digest",
    "reason",
    "message",
    "next",
    "vulnerabilities",
];

pub(super) fn write(report: &Report) -> String {
    let mut out = HEADER.join(",") + "\n";
    for result in &report.results {
        let resource = &result.resource;
        for control in &result.controls {
            for image in &control.images {
                let cells = [
                    control.control.id(),
                    control.control.severity().name(),
                    image.status.code(),
                    &resource.api_version,
                    &resource.kind,
                    &resource.namespace,
                    &resource.name,
                    &image.path,
                    &image.container,
                    &image.image,
                    image.digest.as_deref().unwrap_or_default(),
                    &image.reason,
                    &image.message,
                    &image.next,
                    &vulnerabilities(image).join("; "),
                ];
                out.push_str(&cells.map(cell).join(","));
                out.push('\n');
            }
        }
    }
    out
}

/// A cell. One that a spreadsheet would take for a formula begins with an apostrophe.
fn cell(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_hold_what_is_in_them_and_no_formula() {
        assert_eq!(cell("a"), "a");
        assert_eq!(cell("a,\"b\"\nc"), "\"a,\"\"b\"\" c\"");
        for formula in ["=1", "+1", "-1", "@a", " =1"] {
            assert!(cell(formula).starts_with('\''), "{formula}");
        }
    }
}
