//! A scanner's report as a document: its findings, and the same document without those that do not count.

use std::collections::BTreeSet;

use serde_json::Value;

use super::vulnerabilities::Finding;
use super::{read, scan_result, vulnerabilities};
use crate::json::{JsonError, UniqueValue};

/// Where the findings stand in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The report of a scanner itself.
    Report,
    /// The predicate of cosign, which has the report in it.
    Cosign,
    /// The predicate of in-toto.
    InToto,
}

/// A report: Trivy's, Grype's, SARIF, or a predicate with one in it.
#[derive(Debug, Clone)]
pub struct ScanDocument {
    /// What was found, in the order of the document.
    pub findings: Vec<Finding>,
    document: Value,
    place: Place,
}

impl ScanDocument {
    /// Reads a report.
    ///
    /// ```
    /// use countersign_attestation::predicate::scan_document::ScanDocument;
    /// let text = r#"{"matches": [{"vulnerability": {"id": "CVE-1"}, "artifact": {"name": "a"}}]}"#;
    /// let scan = ScanDocument::read(text)?;
    /// assert_eq!(scan.findings.len(), 1);
    /// assert_eq!(scan.without(&[0].into())?, r#"{"matches":[]}"#);
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: limits, a form that is not known, a scanner that looked at nothing.
    pub fn read(text: &str) -> Result<Self, JsonError> {
        let UniqueValue(document) = read(text)?;
        let place = match document.get("scanner").map(|scanner| scanner.get("result")) {
            None => Place::Report,
            Some(Some(Value::Array(_))) => Place::InToto,
            Some(_) => Place::Cosign,
        };
        let findings = match place {
            Place::Report => scan_result::read(text),
            Place::Cosign => {
                vulnerabilities::VulnerabilityScan::from_json(vulnerabilities::COSIGN, text)?.findings
            }
            Place::InToto => {
                vulnerabilities::VulnerabilityScan::from_json(vulnerabilities::IN_TOTO_V0_2, text)?.findings
            }
        };
        let findings = findings.map_err(JsonError::Shape)?;
        Ok(Self { findings, document, place })
    }

    /// The document without these findings, by their numbers.
    ///
    /// # Errors
    /// [`JsonError`] when the document has more or fewer places than findings, so that nobody can tell which is which.
    pub fn without(mut self, cleared: &BTreeSet<usize>) -> Result<String, JsonError> {
        let report = match self.place {
            Place::Report => Some(&mut self.document),
            Place::Cosign | Place::InToto => {
                self.document.get_mut("scanner").and_then(|scanner| scanner.get_mut("result"))
            }
        };
        let mut next = 0;
        let (lists, is_sarif) = report.map(lists).unwrap_or_default();
        for list in lists {
            list.retain(|one| {
                // Of those that say that something is well, none was read.
                let kind = one.get("kind").and_then(Value::as_str).filter(|_| is_sarif);
                if matches!(kind, Some("pass" | "notApplicable")) {
                    return true;
                }
                let number = next;
                next += 1;
                !cleared.contains(&number)
            });
        }
        if next != self.findings.len() {
            let text = format!("expected {} findings in the document, found {next}", self.findings.len());
            return Err(JsonError::Shape(text));
        }
        Ok(self.document.to_string())
    }
}

/// The lists in which findings stand, in the order in which they are read; and whether the document is a SARIF log.
fn lists(report: &mut Value) -> (Vec<&mut Vec<Value>>, bool) {
    if report.is_array() {
        return (report.as_array_mut().into_iter().collect(), false);
    }
    let has = |name: &str| report.get(name).is_some_and(|value| !value.is_null());
    let (parts, list, is_sarif) = if has("SchemaVersion") {
        ("Results", "Vulnerabilities", false)
    } else if has("runs") {
        ("runs", "results", true)
    } else {
        return (report.get_mut("matches").and_then(Value::as_array_mut).into_iter().collect(), false);
    };
    let parts = report.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten();
    (parts.filter_map(|part| part.get_mut(list).and_then(Value::as_array_mut)).collect(), is_sarif)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        ScanDocument::read(text).unwrap().findings.into_iter().map(|one| one.id).collect()
    }

    #[test]
    fn the_findings_that_are_taken_away_are_those_that_were_named_in_every_form() {
        let trivy =
            |ids: &[&str]| -> Vec<Value> { ids.iter().map(|id| json!({ "VulnerabilityID": id })).collect() };
        let grype = |id: &str| json!({ "vulnerability": { "id": id }, "artifact": {} });
        let in_toto = |result: Value| json!({ "scanner": { "result": result }, "metadata": {} });
        let reports = [
            json!({ "SchemaVersion": 2, "Results": [{ "Vulnerabilities": trivy(&["A", "B"]) }, {}, { "Vulnerabilities": trivy(&["C"]) }] }),
            json!({ "matches": [{ "kind": "pass", "vulnerability": { "id": "A" }, "artifact": {} }, grype("B"), grype("C")],
                    "ignoredMatches": [grype("Z")], "Results": [{ "Vulnerabilities": trivy(&["Z"]) }] }),
            json!({ "runs": [{ "tool": { "driver": {} }, "results": [{ "ruleId": "A" }, { "ruleId": "P", "kind": "pass" }, { "ruleId": "B" }] },
                             { "tool": { "driver": {} }, "results": [{ "ruleId": "C" }] }] }),
            in_toto(json!({ "matches": [grype("A"), grype("B"), grype("C")] })),
            in_toto(json!([{ "id": "A" }, { "vulnerability": { "id": "B" } }, { "id": "C" }])),
        ];
        for report in reports {
            let text = report.to_string();
            assert_eq!(names(&text), ["A", "B", "C"], "{text}");
            let read = ScanDocument::read(&text).unwrap();
            assert_eq!(names(&read.clone().without(&[1].into()).unwrap()), ["A", "C"], "{text}");
            assert_eq!(names(&read.clone().without(&[0, 2].into()).unwrap()), ["B"], "{text}");
            assert_eq!(serde_json::from_str::<Value>(&read.without(&[].into()).unwrap()).unwrap(), report);
        }
    }

    #[test]
    fn what_is_no_report_is_an_error_and_not_an_empty_one() {
        for bad in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"scanner":{}}"#,
            r#"{"scanner":1}"#,
            r#"{"matches":[],"matches":[]}"#,
            r#"{"scanner":{"result":[{}]}}"#,
            r#"{"SchemaVersion":2}"#,
        ] {
            assert!(ScanDocument::read(bad).is_err(), "{bad}");
        }
    }
}
