//! The policy working group's reports and their successors: what was found of resources, as objects of a cluster. A scan
//! prints them, and continuous verification writes them.

use std::collections::BTreeMap;

use countersign_clock::Timestamp;
use countersign_crypto::HashAlgorithm;
use serde::Serialize;
use serde_json::{Value, json};

use crate::review::shortened;
use crate::scan::{
    Control, ImageResult, NO_POLICY, ResourceName, ResourceResult, Severity, Status, vulnerabilities,
};

/// What these objects say of who made them.
pub(crate) const MANAGER: &str = "countersign";
/// The longest message, in bytes: a report has room for a thousand of them.
const MAX_MESSAGE: usize = 1024;
/// The longest list of vulnerabilities of one image, in bytes.
const MAX_LIST: usize = 4096;
/// The most bytes of results in one report: an API server keeps no object above a mebibyte and a half.
const MAX_BYTES: usize = 1 << 20;

/// Which reports: both say the same in the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `PolicyReport` and `ClusterPolicyReport`, `wgpolicyk8s.io/v1alpha2`.
    PolicyReport,
    /// `Report` and `ClusterReport`, `openreports.io/v1alpha1`.
    OpenReports,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::PolicyReport, Self::OpenReports];

    /// The API's group and version.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::PolicyReport => "wgpolicyk8s.io/v1alpha2",
            Self::OpenReports => "openreports.io/v1alpha1",
        }
    }

    /// The names of the kinds in paths, for something in a namespace and of the cluster.
    pub(crate) const fn plural(self, namespaced: bool) -> &'static str {
        match (self, namespaced) {
            (Self::PolicyReport, true) => "policyreports",
            (Self::PolicyReport, false) => "clusterpolicyreports",
            (Self::OpenReports, true) => "reports",
            (Self::OpenReports, false) => "clusterreports",
        }
    }

    /// The kind, for something in a namespace or of the cluster.
    #[must_use]
    pub const fn kind(self, namespaced: bool) -> &'static str {
        match (self, namespaced) {
            (Self::PolicyReport, true) => "PolicyReport",
            (Self::PolicyReport, false) => "ClusterPolicyReport",
            (Self::OpenReports, true) => "Report",
            (Self::OpenReports, false) => "ClusterReport",
        }
    }
}

/// What one control says of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    source: &'static str,
    policy: String,
    rule: String,
    category: &'static str,
    result: &'static str,
    severity: &'static str,
    scored: bool,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Value>,
    properties: BTreeMap<&'static str, String>,
}

impl Finding {
    fn new(resource: &ResourceName, control: Control, image: &ImageResult) -> Self {
        let said_by = image.policy.as_deref().unwrap_or(control.id());
        let text = format!("{said_by} {resource} {} {}", image.path, image.image);
        // `ClusterPolicy check-images, rule signed`.
        let (policy, rule) = match &image.policy {
            Some(policy) => policy.split_once(", rule ").unwrap_or((policy, "")),
            None => (control.id(), control.name()),
        };
        let (kind, policy) = policy.split_once(' ').unwrap_or(("", policy));
        Self {
            source: MANAGER,
            policy: policy.to_owned(),
            rule: rule.to_owned(),
            category: "Supply chain",
            result: match image.status {
                Status::Passed => "pass",
                Status::Failed => "fail",
                Status::Unchecked => "error",
                Status::Skipped | Status::Excepted => "skip",
            },
            severity: match control.severity() {
                Severity::Low => "low",
                Severity::Medium => "medium",
                Severity::High => "high",
                Severity::Critical => "critical",
            },
            scored: true,
            message: shortened(&image.message, MAX_MESSAGE),
            resources: Vec::new(),
            properties: BTreeMap::from([
                ("kind", kind.to_owned()),
                ("path", image.path.clone()),
                ("image", image.image.clone()),
                ("digest", image.digest.clone().unwrap_or_default()),
                ("reason", image.reason.clone()),
                ("vulnerabilities", whole_lines(&vulnerabilities(image), MAX_LIST)),
                ("resultID", HashAlgorithm::Sha256.digest(text.as_bytes()).to_hex()),
            ])
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .collect(),
        }
    }

    /// The same, which says itself what it is about.
    pub(crate) fn about(mut self, resource: &ResourceName) -> Self {
        let mut object =
            json!({ "apiVersion": resource.api_version, "kind": resource.kind, "name": resource.name });
        if let Some(fields) = object.as_object_mut().filter(|_| !resource.namespace.is_empty()) {
            fields.insert("namespace".into(), resource.namespace.clone().into());
        }
        self.resources = vec![object];
        self
    }
}

/// So many of these lines as stand in so many bytes, the first ones.
fn whole_lines(lines: &[String], most: usize) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() >= most {
            text.push('…');
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

/// What was found of a resource. That no policy is about it is nothing that was found.
pub(crate) fn findings(found: &ResourceResult) -> impl Iterator<Item = Finding> {
    found.controls.iter().flat_map(|control| {
        let images = control.images.iter().filter(|image| image.reason != NO_POLICY);
        images.map(|image| Finding::new(&found.resource, control.control, image))
    })
}

/// A digest of what was found, whenever that was.
pub(crate) fn fingerprint(findings: &[Finding]) -> String {
    // What stands in a finding can be written.
    let text = serde_json::to_vec(findings).unwrap_or_default();
    HashAlgorithm::Sha256.digest(&text).to_hex()
}

/// `summary`, which counts all, and so many `results` as have room, found at this time, the worst first.
pub(crate) fn fill(report: &mut Value, findings: &[Finding], most: usize, at: Timestamp) {
    let count = |result: &str| findings.iter().filter(|finding| finding.result == result).count();
    let summary: Value = ["pass", "fail", "warn", "error", "skip"]
        .map(|result| (result.to_owned(), Value::from(count(result))))
        .into_iter()
        .collect();
    let mut order: Vec<&Finding> = findings.iter().collect();
    order.sort_by_key(|finding| match finding.result {
        "fail" => 0,
        "error" => 1,
        _ => 2,
    });
    let timestamp = json!({ "seconds": at.as_second(), "nanos": at.subsec_nanosecond() });
    let results = order.into_iter().take(most).map(|finding| {
        let mut value = json!(finding);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("timestamp".into(), timestamp.clone());
        }
        value
    });
    let mut bytes = 0;
    let results: Vec<Value> = results
        .take_while(|result| {
            bytes += result.to_string().len();
            bytes <= MAX_BYTES
        })
        .collect();
    if let Some(fields) = report.as_object_mut() {
        fields.insert("summary".into(), summary);
        fields.insert("results".into(), results.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Vulnerability;
    use crate::scan::tests::sample;

    #[test]
    fn a_report_has_room_in_an_api_server_whatever_stands_in_it() {
        let mut report = sample();
        let found = &mut report.results[0];
        let one = Vulnerability {
            id: "CVE-1".into(),
            package: "x".repeat(300),
            version: String::new(),
            severity: "high",
            fixed: Vec::new(),
            vex: None,
            counts: true,
        };
        for image in found.controls.iter_mut().flat_map(|control| &mut control.images) {
            image.vulnerabilities = vec![one.clone(); 100].into();
            image.message = "x".repeat(5000);
        }
        let images = std::mem::take(&mut found.controls[0].images);
        found.controls[0].images = images.into_iter().cycle().take(500).collect();
        let findings: Vec<Finding> = findings(found).collect();
        let mut report = json!({});
        fill(&mut report, &findings, 500, Timestamp::UNIX_EPOCH);
        assert!(report.to_string().len() <= MAX_BYTES + (1 << 10), "{}", report.to_string().len());
        assert_eq!(report["summary"]["fail"], findings.len(), "all are counted");
        let listed = report["results"][0]["properties"]["vulnerabilities"].as_str().unwrap();
        assert!(listed.len() <= MAX_LIST + 3 && listed.ends_with('…') && listed.lines().count() > 5);
    }
}
