//! For people: each resource that does not hold, then the summary.

use std::collections::BTreeMap;

use countersign_http::text::printable;

use super::{score, vulnerabilities};
use crate::scan::audit::{Audit, Usage};
use crate::scan::control::Control;
use crate::scan::report::{ControlResult, ImageResult, Report, ResourceResult, Status};

/// The line above a resource.
const RULE: &str = "################################################################################";

pub(super) fn write(report: &Report, verbose: bool) -> String {
    let mut out = String::new();
    let shown =
        |result: &&ResourceResult| verbose || matches!(result.status(), Status::Failed | Status::Unchecked);
    for result in report.results.iter().filter(shown) {
        out.push_str(&resource(result, verbose));
    }
    let counts = &report.resources;
    out.push_str(&format!(
        "Resources: {} (failed: {}, not checked: {}, excepted: {}, passed: {})\n\n",
        counts.all, counts.failed, counts.unchecked, counts.excepted, counts.passed
    ));
    let mut rows = Vec::new();
    for control in &report.controls {
        let compliance = match &control.skipped_because {
            Some(_) => "skipped".to_owned(),
            None => score(control.compliance_score),
        };
        rows.push(vec![
            control.severity.name().to_owned(),
            format!("{} {}", control.id.id(), control.name),
            control.resources.failed.to_string(),
            control.resources.unchecked.to_string(),
            control.resources.all.to_string(),
            compliance,
        ]);
    }
    rows.push(vec![
        String::new(),
        "Resource Summary".to_owned(),
        counts.failed.to_string(),
        counts.unchecked.to_string(),
        counts.all.to_string(),
        score(report.compliance_score),
    ]);
    let head =
        ["Severity", "Control name", "Failed resources", "Not checked", "All resources", "Compliance score"];
    out.push_str(&table(&head, &rows));
    for control in &report.controls {
        if let Some(why) = &control.skipped_because {
            out.push_str(&format!("{} was skipped: {why}\n", control.id.id()));
        }
    }
    if counts.unchecked > 0 {
        out.push_str(
            "Not checked means that nobody could look; it counts neither as signed nor as unsigned.\n",
        );
    }
    if let Some(found) = report.audit.as_ref().filter(|_| verbose) {
        out.push('\n');
        out.push_str(&audit(found));
    }
    out
}

/// Which registries are drawn from, for people.
pub(super) fn audit(audit: &Audit) -> String {
    let head = |title| [title, "Resources", "Images", "Signed", "Unsigned", "Not checked"];
    let rows = |groups: &BTreeMap<String, Usage>| -> Vec<Vec<String>> {
        groups.iter().map(|(name, usage)| usage_row(name, usage)).collect()
    };
    let registries = table(&head("Registry"), &rows(&audit.registries));
    format!("{registries}\n{}", table(&head("Namespace"), &rows(&audit.namespaces)))
}

fn usage_row(name: &str, usage: &Usage) -> Vec<String> {
    let mut row = vec![if name.is_empty() { "(none)".to_owned() } else { printable(name) }];
    row.extend(
        [usage.resources, usage.images, usage.signed, usage.unsigned, usage.unchecked].map(|n| n.to_string()),
    );
    row
}

fn resource(result: &ResourceResult, verbose: bool) -> String {
    let name = &result.resource;
    let mut out = format!("{RULE}\n");
    for (title, text) in [
        ("ApiVersion", &name.api_version),
        ("Kind", &name.kind),
        ("Name", &name.name),
        ("Namespace", &name.namespace),
        ("File", &name.source),
    ] {
        if !text.is_empty() {
            out.push_str(&format!("{title}: {}\n", printable(text)));
        }
    }
    let count = |status| result.controls.iter().filter(|control| control.status == status).count();
    out.push_str(&format!(
        "\nControls: {} (failed: {}, not checked: {})\n\n",
        result.controls.len(),
        count(Status::Failed),
        count(Status::Unchecked)
    ));
    let shown =
        |control: &&ControlResult| verbose || matches!(control.status, Status::Failed | Status::Unchecked);
    let (mut rows, mut details) = (Vec::new(), Details::default());
    for control in result.controls.iter().filter(shown) {
        for image in &control.images {
            if !verbose && !matches!(image.status, Status::Failed | Status::Unchecked) {
                continue;
            }
            rows.push(vec![
                control.control.severity().name().to_owned(),
                format!("{} {}", control.control.id(), control.control.name()),
                format!("{}{}", status(image.status), if image.known { ", known" } else { "" }),
                printable(&image.path),
            ]);
            details.add(control.control, image);
        }
    }
    out.push_str(&table(&["Severity", "Control name", "Status", "Path to fix"], &rows));
    out.push_str(&details.written());
    out.push('\n');
    out
}

/// What became of an image, as the summary calls it.
const fn status(status: Status) -> &'static str {
    match status {
        Status::Unchecked => "not checked",
        status => status.code(),
    }
}

/// The same at a glance.
const fn mark(status: Status) -> &'static str {
    match status {
        Status::Passed => "✓",
        Status::Failed => "✗",
        Status::Unchecked => "?",
        Status::Excepted | Status::Skipped => "–",
    }
}

/// What is said of each image, under its place. What several controls say alike is said once.
#[derive(Default)]
struct Details {
    places: Vec<(String, Vec<Said>)>,
}

struct Said {
    status: Status,
    controls: Vec<&'static str>,
    lines: Vec<String>,
}

impl Details {
    fn add(&mut self, control: Control, image: &ImageResult) {
        let container =
            if image.container.is_empty() { String::new() } else { format!(" ({})", image.container) };
        let place = [format!("{}{container}", image.path), image.image.clone()];
        let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
        let place = if place.is_empty() { "the object".to_owned() } else { printable(&place.join(": ")) };
        // Some messages name the image themselves.
        let message = image.message.strip_prefix(&format!("{}: ", image.image)).unwrap_or(&image.message);
        let mut lines = vec![printable(message)];
        lines.extend(vulnerabilities(image).into_iter().map(|line| format!("- {line}")));
        lines.extend((!image.next.is_empty()).then(|| format!("next: {}", printable(&image.next))));
        let index = self.places.iter().position(|(known, _)| *known == place).unwrap_or_else(|| {
            self.places.push((place, Vec::new()));
            self.places.len() - 1
        });
        let Some((_, said)) = self.places.get_mut(index) else { return };
        match said.iter_mut().find(|said| said.status == image.status && said.lines == lines) {
            Some(same) if same.controls.contains(&control.id()) => {}
            Some(same) => same.controls.push(control.id()),
            None => said.push(Said { status: image.status, controls: vec![control.id()], lines }),
        }
    }

    fn written(&self) -> String {
        let mut out = String::new();
        for (place, said) in &self.places {
            out.push_str(&format!("{place}\n"));
            for Said { status, controls, lines } in said {
                let (controls, lines) = (controls.join(", "), lines.join("\n      "));
                out.push_str(&format!("  {} {controls}: {lines}\n", mark(*status)));
            }
        }
        out
    }
}

/// A table with a frame, as wide as what stands in it.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |left: &str, middle: &str, right: &str| {
        let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", parts.join(middle))
    };
    let row = |cells: Vec<&str>| {
        let parts: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} ")).collect();
        format!("│{}│\n", parts.join("│"))
    };
    let mut out = line("┌", "┬", "┐") + &row(head.to_vec()) + &line("├", "┼", "┤");
    for cells in rows {
        out.push_str(&row(cells.iter().map(String::as_str).collect()));
    }
    out + &line("└", "┴", "┘")
}
