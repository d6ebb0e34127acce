//! What a scan found, and what it comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_policy::statements::Vulnerability;
use serde::{Serialize, Serializer};

use super::audit::Audit;
use super::control::{Control, Severity};
use super::resource::ResourceName;

/// The version of the JSON document.
pub const SCHEMA_VERSION: u32 = 1;

/// How a check ended. In the order of how much it takes to be the answer of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It was not checked: the control is not configured, or says nothing of this.
    Skipped,
    /// It holds.
    Passed,
    /// It does not hold, and an exception says that this is known.
    Excepted,
    /// Nobody could look. Neither a yes nor a no.
    Unchecked,
    /// It does not hold.
    Failed,
}

impl Status {
    /// In a word, as reports spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Passed => "passed",
            Self::Excepted => "excepted",
            Self::Unchecked => "unchecked",
            Self::Failed => "failed",
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// What one control says of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageResult {
    /// Where it stands: `spec.containers[0].image`.
    pub path: String,
    /// The list it stands in: `containers`, `initContainers` and so on.
    pub list: String,
    /// The container's or the volume's name.
    pub container: String,
    /// The image as it is written; empty for the object as a whole.
    pub image: String,
    /// The digest that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The policy and the rule that say so, for a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How it ended.
    pub status: Status,
    /// A stable code.
    pub reason: String,
    /// For people: what was expected, what was found.
    pub message: String,
    /// The next command or step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// Whether it stood in the baseline already.
    pub known: bool,
    /// The line of its file on which it stands, where that was looked for and is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The vulnerabilities that the answer rests on. Workloads of one image share the list.
    #[serde(skip_serializing_if = "no_vulnerabilities", serialize_with = "listed")]
    pub vulnerabilities: Arc<[Vulnerability]>,
}

fn no_vulnerabilities(list: &Arc<[Vulnerability]>) -> bool {
    list.is_empty()
}

fn listed<S: Serializer>(list: &Arc<[Vulnerability]>, serializer: S) -> Result<S::Ok, S::Error> {
    list.serialize(serializer)
}

/// What one control says of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlResult {
    /// The control.
    pub control: Control,
    /// How it ended: the worst of the images.
    pub status: Status,
    /// Each image.
    pub images: Vec<ImageResult>,
}

impl ControlResult {
    /// The worst of these.
    #[must_use]
    pub fn new(control: Control, images: Vec<ImageResult>) -> Self {
        let mut result = Self { control, status: Status::Skipped, images };
        result.settle();
        result
    }

    /// Works the status out anew, after an image's has changed.
    pub(super) fn settle(&mut self) {
        self.status = self.images.iter().map(|image| image.status).max().unwrap_or(Status::Skipped);
    }
}

/// What all controls say of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceResult {
    /// The resource.
    pub resource: ResourceName,
    /// The controls.
    pub controls: Vec<ControlResult>,
}

impl ResourceResult {
    /// The worst of its controls.
    #[must_use]
    pub fn status(&self) -> Status {
        self.controls.iter().map(|control| control.status).max().unwrap_or(Status::Skipped)
    }
}

/// How many ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All that were checked: without those skipped.
    pub all: usize,
    /// Those that hold.
    pub passed: usize,
    /// Those that do not, excused.
    pub excepted: usize,
    /// Those that do not.
    pub failed: usize,
    /// Those at which nobody could look.
    pub unchecked: usize,
    /// Those that were not checked.
    pub skipped: usize,
}

impl Counts {
    fn add(&mut self, status: Status) {
        let count = match status {
            Status::Skipped => &mut self.skipped,
            Status::Passed => &mut self.passed,
            Status::Excepted => &mut self.excepted,
            Status::Unchecked => &mut self.unchecked,
            Status::Failed => &mut self.failed,
        };
        *count += 1;
        self.all += usize::from(status != Status::Skipped);
    }

    /// What share holds, in percent; nothing when nothing was checked. `unchecked` that hold would be so many more.
    fn share(&self, unchecked_hold: bool) -> Option<f64> {
        let hold = self.passed + self.excepted + if unchecked_hold { self.unchecked } else { 0 };
        (self.all > 0).then(|| percent(hold, self.all))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
fn percent(part: usize, all: usize) -> f64 {
    (part as f64) * 100.0 / (all as f64)
}

/// A control over all resources.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlSummary {
    /// Its identifier.
    pub id: Control,
    /// What it is called.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// From 1 to 10.
    pub score: u8,
    /// The resources.
    pub resources: Counts,
    /// Passed of all, in percent; nothing when nothing was checked.
    pub compliance_score: Option<f64>,
    /// What to do about a failure.
    pub remediation: &'static str,
    /// Why it was skipped altogether.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_because: Option<String>,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The schema's name.
    pub schema: &'static str,
    /// Its version.
    pub schema_version: u32,
    /// When, RFC 3339.
    pub time: String,
    /// The resources by their worst status.
    pub resources: Counts,
    /// The mean of the controls' scores, in percent; nothing when nothing was checked.
    pub compliance_score: Option<f64>,
    /// The controls.
    pub controls: Vec<ControlSummary>,
    /// Each resource, in the order in which they were read.
    pub results: Vec<ResourceResult>,
    /// The registries that are drawn from. Only when signatures were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// What makes a scan fail.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Thresholds {
    /// The least score, in percent.
    pub compliance: Option<f64>,
    /// The least severity of a failure that counts.
    pub severity: Option<Severity>,
}

/// What a scan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All holds that is asked for.
    Good,
    /// Something does not.
    Bad,
    /// Nothing does not hold, but not everything could be looked at.
    Unknown,
}

impl Report {
    /// Sums up. `skipped` says why a control was not checked at all.
    #[must_use]
    pub fn new(
        time: String,
        controls: &[Control],
        skipped: &BTreeMap<Control, String>,
        results: Vec<ResourceResult>,
    ) -> Self {
        let audit = controls.contains(&Control::SignatureExists).then(|| Audit::of(&results));
        let mut report = Self {
            schema: "countersign.scan",
            schema_version: SCHEMA_VERSION,
            time,
            resources: Counts::default(),
            compliance_score: None,
            controls: Vec::new(),
            results,
            audit,
        };
        report.sum_up(controls, skipped);
        report
    }

    fn sum_up(&mut self, controls: &[Control], skipped: &BTreeMap<Control, String>) {
        for result in &self.results {
            self.resources.add(result.status());
        }
        for control in controls {
            let mut resources = Counts::default();
            for found in self.results.iter().flat_map(|result| &result.controls) {
                if found.control == *control {
                    resources.add(found.status);
                }
            }
            self.controls.push(ControlSummary {
                id: *control,
                name: control.name(),
                severity: control.severity(),
                score: control.score(),
                remediation: control.remediation(),
                compliance_score: resources.share(false),
                resources,
                skipped_because: skipped.get(control).cloned(),
            });
        }
        self.compliance_score = self.mean(false);
    }

    fn mean(&self, unchecked_hold: bool) -> Option<f64> {
        let shares: Vec<f64> =
            self.controls.iter().filter_map(|control| control.resources.share(unchecked_hold)).collect();
        let sum: f64 = shares.iter().sum();
        // The mean as a share of as many hundreds as there are controls.
        (!shares.is_empty()).then(|| sum * percent(1, shares.len()) / 100.0)
    }

    /// The report with its images changed, summed up anew.
    #[must_use]
    pub(super) fn changed(
        mut self,
        mut change: impl FnMut(&ResourceName, Control, &mut ImageResult),
    ) -> Self {
        for result in &mut self.results {
            for control in &mut result.controls {
                for image in &mut control.images {
                    change(&result.resource, control.control, image);
                }
                control.settle();
            }
        }
        let controls: Vec<Control> = self.controls.iter().map(|summary| summary.id).collect();
        let skipped =
            self.controls.into_iter().filter_map(|summary| Some((summary.id, summary.skipped_because?)));
        Self::new(self.time, &controls, &skipped.collect(), self.results)
    }

    /// Each image that ended in a status, with its resource and control.
    pub fn images(&self, status: Status) -> impl Iterator<Item = (&ResourceName, Control, &ImageResult)> {
        self.results.iter().flat_map(move |result| {
            result.controls.iter().flat_map(move |control| {
                let images = control.images.iter().filter(move |image| image.status == status);
                images.map(|image| (&result.resource, control.control, image))
            })
        })
    }

    /// What the scan comes to. Without thresholds every failure counts; what the baseline knows already does not.
    #[must_use]
    pub fn verdict(&self, thresholds: &Thresholds) -> Verdict {
        let counts = |status| {
            self.images(status).any(|(_, control, image)| {
                !image.known && thresholds.severity.is_none_or(|least| control.severity() >= least)
            })
        };
        let by_severity = thresholds.severity.is_some() || thresholds.compliance.is_none();
        let mut verdict = Verdict::Good;
        if let Some(least) = thresholds.compliance {
            // Nothing checked is nothing that holds.
            if self.mean(true).unwrap_or(0.0) < least {
                return Verdict::Bad;
            }
            if self.compliance_score.unwrap_or(0.0) < least {
                verdict = Verdict::Unknown;
            }
        }
        if by_severity && counts(Status::Failed) {
            return Verdict::Bad;
        }
        if by_severity && counts(Status::Unchecked) {
            return Verdict::Unknown;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::sample;

    #[test]
    fn scores_count_what_nobody_could_look_at_as_not_passed() {
        let report = sample();
        let signed = &report.controls[0];
        assert_eq!((signed.resources.all, signed.resources.failed, signed.resources.unchecked), (4, 1, 1));
        assert_eq!(signed.compliance_score, Some(50.0));
        assert_eq!(report.controls[1].compliance_score, Some(75.0));
        assert_eq!(report.compliance_score, Some(62.5));
    }

    #[test]
    fn each_threshold_alone_can_fail_a_scan() {
        let report = sample();
        let verdict = |compliance, severity| report.verdict(&Thresholds { compliance, severity });
        assert_eq!(verdict(None, None), Verdict::Bad);
        assert_eq!(verdict(None, Some(Severity::High)), Verdict::Bad);
        assert_eq!(verdict(None, Some(Severity::Critical)), Verdict::Good);
        assert_eq!(verdict(Some(62.5), None), Verdict::Good);
        // With the one that nobody could look at it might be 75.
        assert_eq!(verdict(Some(70.0), None), Verdict::Unknown);
        assert_eq!(verdict(Some(80.0), None), Verdict::Bad);
        assert_eq!(verdict(Some(10.0), Some(Severity::High)), Verdict::Bad);
    }

    #[test]
    fn what_nobody_could_look_at_is_neither_good_nor_bad() {
        let mut report = sample();
        report.results.retain(|result| result.status() == Status::Unchecked);
        assert_eq!(report.verdict(&Thresholds::default()), Verdict::Unknown);
    }
}
