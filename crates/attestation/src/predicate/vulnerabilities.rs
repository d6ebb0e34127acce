//! Vulnerability scans: cosign's predicate and in-toto's, read into one form.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{read, time};
use crate::json::{self, Bounded, JsonError};
use crate::predicate::scan_result;
use crate::purl::Purl;

/// cosign's predicate, which holds whatever the scanner wrote.
pub const COSIGN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
/// in-toto's, first form.
pub const IN_TOTO_V0_1: &str = "https://in-toto.io/attestation/vulns/v0.1";
/// in-toto's, second form.
pub const IN_TOTO_V0_2: &str = "https://in-toto.io/attestation/vulns/v0.2";
/// The types of predicates that are read here.
pub const TYPES: [&str; 3] = [COSIGN, IN_TOTO_V0_1, IN_TOTO_V0_2];

/// The most findings of one scan.
pub const MAX_FINDINGS: usize = 50_000;
/// The most names, fixed versions or severities of one finding.
pub const MAX_NAMES: usize = 256;

/// What is told of a scan that says nothing of what it found.
const NO_RESULT: &str = "it has no result";

/// How bad a vulnerability is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing follows from it.
    Negligible,
    /// CVSS below 4.
    Low,
    /// CVSS below 7.
    Medium,
    /// CVSS below 9.
    High,
    /// CVSS of 9 and above.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [Self::Negligible, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Reads a word of those that scanners and distributions use. `None` for others, and for `unknown`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "negligible" | "none" | "unimportant" => Self::Negligible,
            "low" | "minor" => Self::Low,
            "medium" | "moderate" => Self::Medium,
            "high" | "important" | "major" => Self::High,
            "critical" => Self::Critical,
            _ => return None,
        })
    }

    /// The rating of a CVSS score. `None` for what is no score.
    #[must_use]
    pub fn of_score(score: f64) -> Option<Self> {
        match score {
            0.0 => Some(Self::Negligible),
            s if s > 0.0 && s < 4.0 => Some(Self::Low),
            s if (4.0..7.0).contains(&s) => Some(Self::Medium),
            s if (7.0..9.0).contains(&s) => Some(Self::High),
            s if (9.0..=10.0).contains(&s) => Some(Self::Critical),
            _ => None,
        }
    }

    /// A word, a score, or a list or an object of these: the worst.
    pub(super) fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text).or_else(|| Self::of_score(text.trim().parse().ok()?)),
            Value::Number(number) => Self::of_score(number.as_f64()?),
            Value::Array(list) => list.iter().filter_map(Self::of_value).max(),
            Value::Object(fields) => Self::of_value(fields.get("score").or_else(|| fields.get("severity"))?),
            Value::Null | Value::Bool(_) => None,
        }
    }
}

/// The package that a finding is about. What the scanner does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The version that is there.
    pub version: String,
    /// Its package URL.
    pub purl: Option<Purl>,
}

/// A vulnerability that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is called: `CVE-2024-1`, `GHSA-…`.
    pub id: String,
    /// What else it is called.
    pub aliases: Vec<String>,
    /// Where it is.
    pub package: Package,
    /// How bad it is; `None` when nobody says.
    pub severity: Option<Severity>,
    /// The versions in which it is mended.
    pub fixed: Vec<String>,
}

/// What made the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanner {
    /// Its name, as a URI.
    pub uri: String,
    /// Its version.
    pub version: String,
    /// When its database was last brought up to date.
    pub database_updated: Option<Timestamp>,
}

/// A scan.
#[derive(Debug, Clone, PartialEq)]
pub struct VulnerabilityScan {
    /// What made it.
    pub scanner: Scanner,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What was found; or why that cannot be told, which is never "nothing".
    pub findings: Result<Vec<Finding>, String>,
}

impl VulnerabilityScan {
    /// Reads a predicate of one of [`TYPES`].
    ///
    /// ```
    /// use countersign_attestation::predicate::vulnerabilities::{COSIGN, VulnerabilityScan};
    /// let text = r#"{"scanner": {"uri": "pkg:grype", "result": {"matches": []}},
    ///                "metadata": {"scanFinishedOn": "2026-01-01T00:00:00Z"}}"#;
    /// let scan = VulnerabilityScan::from_json(COSIGN, text)?;
    /// assert_eq!(scan.findings, Ok(vec![]));
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, what is no such predicate. A result of a shape that is not known is no error;
    /// see [`VulnerabilityScan::findings`].
    pub fn from_json(predicate_type: &str, predicate: &str) -> Result<Self, JsonError> {
        if !TYPES.contains(&predicate_type) {
            return Err(JsonError::Shape(format!(
                "expected a vulnerability scan ({}), found {predicate_type}",
                TYPES.join(", ")
            )));
        }
        let wire: WireScan = read(predicate)?;
        let scanner = wire.scanner;
        let findings = match scanner.result {
            None => Err(NO_RESULT.to_owned()),
            Some(result) if predicate_type == COSIGN => scan_result::read(result.get()),
            Some(result) => in_toto(result.get()),
        };
        let database_updated = match scanner.db.last_update {
            Some(text) => time("scanner.db.lastUpdate", &text)?,
            None => None,
        };
        let at = |field: &str, text: Option<String>| {
            text.map_or(Ok(None), |text| time(&format!("metadata.{field}"), &text))
        };
        Ok(Self {
            scanner: Scanner { uri: scanner.uri, version: scanner.version, database_updated },
            started: at("scanStartedOn", wire.metadata.scan_started_on)?,
            finished: at("scanFinishedOn", wire.metadata.scan_finished_on)?,
            findings,
        })
    }
}

impl VulnerabilityScan {
    /// Whether it names the scanner and when it was done, and has a result, of whatever form.
    ///
    /// # Errors
    /// [`JsonError`] with what is missing.
    pub fn is_dated(&self) -> Result<(), JsonError> {
        let missing = |what: &str| Err(JsonError::Shape(format!("{what}: expected something, found none")));
        if self.scanner.uri.is_empty() {
            return missing("scanner.uri");
        }
        if self.finished.is_none() {
            return missing("metadata.scanFinishedOn");
        }
        if self.findings.as_ref().err().is_some_and(|why| why == NO_RESULT) {
            return missing("scanner.result");
        }
        Ok(())
    }

    /// The same, and whether what was found can be told.
    ///
    /// # Errors
    /// [`JsonError`] with what is missing.
    pub fn is_whole(&self) -> Result<(), JsonError> {
        self.is_dated()?;
        match &self.findings {
            Ok(_) => Ok(()),
            Err(why) => Err(JsonError::Shape(format!("scanner.result: {why}"))),
        }
    }

    /// Writes in-toto's predicate, [`IN_TOTO_V0_2`]. Of a finding, that keeps the name and the severity; the package and its
    /// other names go into annotations.
    ///
    /// # Errors
    /// [`JsonError`]: a scan that is not whole, or without the time of its database, limits.
    pub fn to_json(&self) -> Result<Box<RawValue>, JsonError> {
        self.is_whole()?;
        let updated = self
            .scanner
            .database_updated
            .ok_or_else(|| JsonError::Shape("scanner.db.lastUpdate: expected a time, found none".into()))?;
        let findings = self.findings.as_deref().unwrap_or_default();
        let result: Vec<Value> = findings.iter().map(written).collect();
        let finished = self.finished.map(|time| time.to_string());
        let started = self.started.map_or_else(|| finished.clone(), |time| Some(time.to_string()));
        let text = json!({
            "scanner": { "uri": self.scanner.uri, "version": self.scanner.version,
                "db": { "lastUpdate": updated.to_string() }, "result": result },
            "metadata": { "scanStartedOn": started, "scanFinishedOn": finished },
        })
        .to_string();
        Self::from_json(IN_TOTO_V0_2, &text)?;
        Ok(RawValue::from_string(text)?)
    }
}

fn written(finding: &Finding) -> Value {
    let severity = finding.severity.map_or("unknown", Severity::name);
    let package = match &finding.package.purl {
        Some(purl) => purl.to_string(),
        None => finding.package.name.clone(),
    };
    let annotations =
        [("package", vec![package]), ("aliases", finding.aliases.clone()), ("fixed", finding.fixed.clone())];
    let annotations: Vec<Value> = annotations
        .into_iter()
        .filter(|(_, values)| values.iter().any(|value| !value.is_empty()))
        .map(|(name, values)| json!({ "name": name, "value": values.join(" ") }))
        .collect();
    let severity = json!([{ "method": "rating", "score": severity }]);
    json!({ "id": finding.id, "severity": severity, "annotations": annotations })
}

#[derive(Deserialize)]
struct WireScan {
    scanner: WireScanner,
    #[serde(default, deserialize_with = "json::null_is_default")]
    metadata: WireMetadata,
}

#[derive(Deserialize)]
struct WireScanner {
    #[serde(default, deserialize_with = "json::null_is_default")]
    uri: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    version: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    db: WireDatabase,
    result: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct WireDatabase {
    #[serde(rename = "lastUpdate")]
    last_update: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    scan_started_on: Option<String>,
    scan_finished_on: Option<String>,
}

/// A vulnerability of in-toto's predicate; the first form has it one level deeper.
#[derive(Deserialize)]
struct WireVulnerability {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    severity: Value,
    #[serde(default)]
    vulnerability: Option<Box<WireVulnerability>>,
}

fn in_toto(result: &str) -> Result<Vec<Finding>, String> {
    let wire: Bounded<WireVulnerability, MAX_FINDINGS> =
        serde_json::from_str(result).map_err(|e| format!("scanner.result: {e}"))?;
    let read = |outer: WireVulnerability| {
        let inner = outer.vulnerability.map_or_else(
            || (outer.id.clone(), Severity::of_value(&outer.severity)),
            |inner| (inner.id, Severity::of_value(&inner.severity).or(Severity::of_value(&outer.severity))),
        );
        let id =
            inner.0.filter(|id| !id.is_empty()).ok_or("scanner.result: a vulnerability without an id")?;
        Ok(Finding {
            id,
            aliases: Vec::new(),
            package: Package::default(),
            severity: inner.1,
            fixed: Vec::new(),
        })
    };
    wire.0.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_toto_scan(kind: &str, result: &Value) -> VulnerabilityScan {
        let text = json!({
            "scanner": { "uri": "https://example.com/scan", "version": "1", "db": { "lastUpdate": "2026-01-01T00:00:00Z" },
                         "result": result },
            "metadata": { "scanStartedOn": "2026-01-01T00:00:01Z", "scanFinishedOn": "2026-01-01T01:00:02+01:00" },
        });
        VulnerabilityScan::from_json(kind, &text.to_string()).unwrap()
    }

    #[test]
    fn both_forms_of_in_toto_are_read() {
        let severity = json!([{ "method": "nvd", "score": "9.8" }, { "method": "vendor", "score": "low" }]);
        for (kind, result) in [
            (IN_TOTO_V0_1, json!([{ "vulnerability": { "id": "CVE-1", "severity": severity } }])),
            (IN_TOTO_V0_2, json!([{ "id": "CVE-1", "severity": severity, "annotations": [] }])),
        ] {
            let scan = in_toto_scan(kind, &result);
            let [finding] = scan.findings.as_deref().unwrap() else { panic!("{scan:?}") };
            assert_eq!((finding.id.as_str(), finding.severity), ("CVE-1", Some(Severity::Critical)));
            assert_eq!(scan.started, Some("2026-01-01T00:00:01Z".parse().unwrap()));
            assert_eq!(scan.finished, Some("2026-01-01T00:00:02Z".parse().unwrap()));
            assert!(scan.scanner.database_updated.is_some());
        }
        assert_eq!(in_toto_scan(IN_TOTO_V0_2, &json!([])).findings, Ok(Vec::new()));
    }

    #[test]
    fn a_scan_is_written_as_the_second_form_and_each_gap_alone_keeps_it_from_being_written() {
        let severity = json!([{ "method": "nvd", "score": "9.8" }]);
        let mut scan =
            in_toto_scan(IN_TOTO_V0_2, &json!([{ "id": "CVE-1", "severity": severity }, { "id": "CVE-2" }]));
        if let Ok(findings) = &mut scan.findings {
            findings[0].package.purl = Purl::parse("pkg:deb/debian/openssl@3");
        }
        let text = scan.to_json().unwrap();
        assert!(text.get().contains(r#"{"name":"package","value":"pkg:deb/debian/openssl@3"}"#), "{text}");
        let again = VulnerabilityScan::from_json(IN_TOTO_V0_2, text.get()).unwrap();
        assert_eq!(
            (again.started, again.finished, &again.scanner),
            (scan.started, scan.finished, &scan.scanner)
        );
        let named = |scan: &VulnerabilityScan| {
            let findings = scan.findings.clone().unwrap();
            findings.into_iter().map(|one| (one.id, one.severity)).collect::<Vec<_>>()
        };
        assert_eq!(named(&again), named(&scan));
        type Change = fn(&mut VulnerabilityScan);
        let changes: [(&str, Change); 4] = [
            ("scanner.uri", |scan| scan.scanner.uri.clear()),
            ("scanFinishedOn", |scan| scan.finished = None),
            ("lastUpdate", |scan| scan.scanner.database_updated = None),
            ("nobody knows", |scan| scan.findings = Err("nobody knows".into())),
        ];
        for (says, change) in changes {
            let mut changed = scan.clone();
            change(&mut changed);
            assert!(changed.to_json().unwrap_err().to_string().contains(says), "{says}");
        }
    }

    #[test]
    fn a_report_of_a_scanner_that_is_not_known_may_be_signed_and_none_may_not() {
        let scan = |result: Value| {
            let text = json!({ "scanner": { "uri": "u", "result": result },
                "metadata": { "scanFinishedOn": "2026-01-01T00:00:00Z" } });
            VulnerabilityScan::from_json(COSIGN, &text.to_string()).unwrap()
        };
        let unknown = scan(json!({ "vulnerabilities": [] }));
        assert!(unknown.is_dated().is_ok() && unknown.is_whole().is_err());
        assert!(scan(Value::Null).is_dated().unwrap_err().to_string().contains("scanner.result"));
    }

    #[test]
    fn a_result_that_is_not_understood_is_not_an_empty_one() {
        for result in [Value::Null, json!({}), json!([1]), json!([{}]), json!([{ "id": "" }]), json!("none")]
        {
            assert!(in_toto_scan(IN_TOTO_V0_2, &result).findings.is_err(), "{result}");
            let text = json!({ "scanner": { "result": result } }).to_string();
            assert!(VulnerabilityScan::from_json(COSIGN, &text).unwrap().findings.is_err(), "{result}");
        }
    }

    #[test]
    fn times_may_be_missing_and_gos_zero_is_none_but_what_is_no_time_is_an_error() {
        let with = |time: Value| {
            let text = json!({ "scanner": {}, "metadata": { "scanFinishedOn": time } }).to_string();
            VulnerabilityScan::from_json(COSIGN, &text).map(|scan| scan.finished)
        };
        assert_eq!(with(Value::Null), Ok(None));
        assert_eq!(with("0001-01-01T00:00:00Z".into()), Ok(None));
        assert!(with("yesterday".into()).unwrap_err().to_string().contains("metadata.scanFinishedOn"));
        for text in ["", "[]", "1", "{}", "{\"scanner\":1}", "{\"scanner\":{},\"metadata\":[]}"] {
            assert!(VulnerabilityScan::from_json(COSIGN, text).is_err(), "{text}");
        }
        assert!(VulnerabilityScan::from_json("https://example.com", "{\"scanner\":{}}").is_err());
    }

    #[test]
    fn severities_are_words_and_scores() {
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(&severity.name().to_uppercase()), Some(severity));
        }
        for (score, severity) in
            [(0.0, 0), (0.1, 1), (3.9, 1), (4.0, 2), (6.9, 2), (7.0, 3), (8.9, 3), (9.0, 4), (10.0, 4)]
        {
            assert_eq!(Severity::of_score(score), Some(Severity::ALL[severity]), "{score}");
        }
        for none in [-0.1, 10.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Severity::of_score(none), None);
        }
        assert_eq!(Severity::parse("unknown"), None);
        assert_eq!(Severity::of_value(&json!("CVSS:3.1/AV:N")), None);
    }
}
