//! JUnit: a suite for each control, a case for each image. What nobody could look at is an error, not a failure.

use countersign_slsa::text::html as escaped;

use super::vulnerabilities;
use crate::scan::report::{Report, Status};

pub(super) fn write(report: &Report) -> String {
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"countersign scan\">\n");
    for summary in &report.controls {
        let cases: Vec<_> = report
            .results
            .iter()
            .flat_map(|result| result.controls.iter().map(move |control| (&result.resource, control)))
            .filter(|(_, control)| control.control == summary.id)
            .flat_map(|(resource, control)| control.images.iter().map(move |image| (resource, image)))
            .collect();
        let count =
            |status: &[Status]| cases.iter().filter(|(_, image)| status.contains(&image.status)).count();
        out.push_str(&format!(
            "  <testsuite name=\"{} {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" timestamp=\"{}\">\n",
            summary.id.id(),
            escaped(summary.name),
            cases.len(),
            count(&[Status::Failed]),
            count(&[Status::Unchecked]),
            count(&[Status::Skipped, Status::Excepted]),
            escaped(&report.time),
        ));
        for (resource, image) in cases {
            let name = escaped(&format!("{resource} {} {}", image.path, image.image));
            let message = escaped(&image.message);
            let body = match image.status {
                Status::Passed => {
                    out.push_str(&format!(
                        "    <testcase classname=\"{}\" name=\"{name}\"/>\n",
                        summary.id.id()
                    ));
                    continue;
                }
                Status::Skipped | Status::Excepted => format!("<skipped message=\"{message}\"/>"),
                Status::Failed | Status::Unchecked => {
                    let element = if image.status == Status::Failed { "failure" } else { "error" };
                    let mut lines = vulnerabilities(image);
                    lines.extend((!image.next.is_empty()).then(|| format!("next: {}", image.next)));
                    let body: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
                    let (kind, body) = (escaped(&image.reason), body.join("\n"));
                    format!("<{element} type=\"{kind}\" message=\"{message}\">{body}</{element}>")
                }
            };
            let id = summary.id.id();
            out.push_str(&format!(
                "    <testcase classname=\"{id}\" name=\"{name}\">\n      {body}\n    </testcase>\n"
            ));
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}
