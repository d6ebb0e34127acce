//! The forms in which a report is written. What strangers wrote is made harmless for each of them.

mod csv;
mod html;
mod json;
mod junit;
mod markdown;
mod policy_report;
mod pretty;
mod prometheus;
mod sarif;

use countersign_http::text::printable;

use super::report::{ControlSummary, ImageResult, Report, Status};

/// How many vulnerabilities of one image are shown.
const MAX_VULNERABILITIES: usize = 20;

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Pretty,
    /// One document with `schema` and `schemaVersion`.
    Json,
    /// For test reports.
    Junit,
    /// For code scanning.
    Sarif,
    /// A page.
    Html,
    /// A line for each finding.
    Csv,
    /// For comments on pull requests.
    Markdown,
    /// Metrics, as text.
    Prometheus,
    /// The Kubernetes policy working group's reports, as a list to apply.
    PolicyReport,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pretty,
        Self::Json,
        Self::Junit,
        Self::Sarif,
        Self::Html,
        Self::Csv,
        Self::Markdown,
        Self::Prometheus,
        Self::PolicyReport,
    ];

    /// As it is named in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Prometheus => "prometheus",
            Self::PolicyReport => "policyreport",
        }
    }

    /// Writes a report. `verbose` shows resources that pass where a form leaves them out otherwise.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, which what the scanner makes always can.
    pub fn write(self, report: &Report, verbose: bool) -> Result<String, serde_json::Error> {
        Ok(match self {
            Self::Pretty => pretty::write(report, verbose),
            Self::Json => json::write(report)?,
            Self::Junit => junit::write(report),
            Self::Sarif => sarif::write(report)?,
            Self::Html => html::write(report),
            Self::Csv => csv::write(report),
            Self::Markdown => markdown::write(report),
            Self::Prometheus => prometheus::write(report),
            Self::PolicyReport => policy_report::write(report)?,
        })
    }
}

/// Which registries are drawn from, for people.
pub(super) fn audit(audit: &super::Audit) -> String {
    pretty::audit(audit)
}

/// A score as people read it.
fn score(score: Option<f64>) -> String {
    score.map_or_else(|| "–".to_owned(), |score| format!("{score:.1} %"))
}

/// The vulnerabilities of a result, a line each; there may be very many, and JSON has them all.
pub(crate) fn vulnerabilities(image: &ImageResult) -> Vec<String> {
    let mut lines: Vec<String> = image
        .vulnerabilities
        .iter()
        .take(MAX_VULNERABILITIES)
        .map(|one| printable(&one.to_string()))
        .collect();
    let more = image.vulnerabilities.len().saturating_sub(lines.len());
    if more > 0 {
        lines.push(format!("and {more} more, which --format json lists"));
    }
    lines
}

/// What a page lists, and under which title.
const SECTIONS: [(Status, &str); 3] =
    [(Status::Failed, "Failed"), (Status::Unchecked, "Could not be checked"), (Status::Excepted, "Excepted")];

/// The titles of a page's summary.
const SUMMARY: [&str; 6] = ["Severity", "Control", "Failed", "Not checked", "All", "Compliance"];

/// A control in a page's summary. One that was skipped has no counts.
fn summary(control: &ControlSummary) -> [String; 6] {
    let counts = &control.resources;
    let count = |count: usize| match &control.skipped_because {
        Some(_) => "–".to_owned(),
        None => count.to_string(),
    };
    [
        control.severity.name().to_owned(),
        format!("{} {}", control.id.id(), control.name),
        count(counts.failed),
        count(counts.unchecked),
        count(counts.all),
        match &control.skipped_because {
            Some(why) => format!("skipped: {why}"),
            None => score(control.compliance_score),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::{changed_sample, golden, sample};

    #[test]
    fn each_form_is_as_it_was() {
        for format in Format::ALL {
            golden(&format!("scan.{}", format.name()), &format.write(&sample(), false).unwrap());
        }
        golden("scan-verbose.pretty", &Format::Pretty.write(&sample(), true).unwrap());
    }

    #[test]
    fn what_strangers_write_breaks_no_form() {
        let evil = "\"><script>x</script>&'|`\n\u{1b}[31m,=cmd()";
        let report = changed_sample(|resource, image| {
            resource.name = evil.into();
            image.message = format!("{evil}{}", image.message);
            image.container = evil.into();
        });
        for format in Format::ALL {
            let text = format.write(&report, true).unwrap();
            assert!(!text.contains('\u{1b}'), "{format:?}");
            match format {
                Format::Json | Format::Sarif | Format::PolicyReport => {
                    serde_json::from_str::<serde_json::Value>(&text).unwrap();
                }
                Format::Html | Format::Junit => assert!(!text.contains("<script>"), "{format:?}"),
                Format::Csv | Format::Markdown | Format::Prometheus | Format::Pretty => {
                    assert!(format != Format::Markdown || !text.contains("<script>"));
                    let lines = format.write(&sample(), true).unwrap().lines().count();
                    assert_eq!(text.lines().count(), lines, "{format:?}: no line of its own");
                }
            }
        }
    }
}
