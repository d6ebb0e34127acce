//! What scanners write, as far as their shapes are known: Trivy's JSON, Grype's JSON, and SARIF. A shape that is not known,
//! and a report of a scanner that looked at nothing, is not "nothing found".

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::sarif::Invocation;
use super::vulnerabilities::{Finding, MAX_FINDINGS, MAX_NAMES, Package, Severity};
use crate::json::{Bounded, null_is_default};
use crate::purl::Purl;

/// What Trivy calls targets in which it looks for something else than vulnerabilities.
const NO_PACKAGES: [&str; 5] = ["config", "custom", "license", "license-file", "secret"];
/// The most targets of one Trivy report, and runs of one SARIF log.
const MAX_PARTS: usize = 4096;

/// The findings of a scanner's report.
///
/// # Errors
/// In words, what was expected and what was found.
pub(super) fn read(text: &str) -> Result<Vec<Finding>, String> {
    let shape: Shape = serde_json::from_str(text).map_err(|_| unknown("something that is no JSON object"))?;
    let read: fn(&str) -> Result<Vec<Finding>, String> = match shape {
        Shape { schema_version: Some(_), matches: None, runs: None } => trivy,
        Shape { schema_version: None, matches: Some(_), runs: None } => grype,
        Shape { schema_version: None, matches: None, runs: Some(_) } => sarif,
        _ => return Err(unknown("another one")),
    };
    let findings = read(text)?;
    if findings.len() > MAX_FINDINGS {
        return Err(format!("expected at most {MAX_FINDINGS} findings, found {}", findings.len()));
    }
    if findings.iter().any(|finding| finding.id.is_empty()) {
        return Err("a vulnerability in it has no name".to_owned());
    }
    Ok(findings)
}

fn unknown(found: &str) -> String {
    format!("expected a result in the form of Trivy, Grype or SARIF, found {found}")
}

/// What tells the forms apart.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "SchemaVersion")]
    schema_version: Option<IgnoredAny>,
    matches: Option<IgnoredAny>,
    runs: Option<IgnoredAny>,
}

fn purl(text: &Option<String>) -> Option<Purl> {
    Purl::parse(text.as_deref()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyReport {
    schema_version: u32,
    results: Option<Bounded<TrivyTarget, MAX_PARTS>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyTarget {
    #[serde(default, deserialize_with = "null_is_default")]
    class: String,
    #[serde(default, deserialize_with = "null_is_default")]
    vulnerabilities: Bounded<TrivyVulnerability, MAX_FINDINGS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyVulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(rename = "VendorIDs", default, deserialize_with = "null_is_default")]
    vendor_ids: Bounded<String, MAX_NAMES>,
    #[serde(default, deserialize_with = "null_is_default")]
    pkg_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pkg_identifier: TrivyIdentifier,
    #[serde(default, deserialize_with = "null_is_default")]
    installed_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    fixed_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    severity: String,
}

#[derive(Default, Deserialize)]
struct TrivyIdentifier {
    #[serde(rename = "PURL")]
    purl: Option<String>,
}

fn trivy(text: &str) -> Result<Vec<Finding>, String> {
    let report: TrivyReport = serde_json::from_str(text).map_err(|e| format!("Trivy's report: {e}"))?;
    if report.schema_version != 2 {
        return Err(format!("Trivy's report: expected SchemaVersion 2, found {}", report.schema_version));
    }
    let results = report.results.filter(|results| !results.0.is_empty());
    let results = results.ok_or("Trivy's report names no target, so nothing was looked at")?;
    if results.0.iter().all(|target| NO_PACKAGES.contains(&target.class.as_str())) {
        return Err(
            "Trivy's report is of other things than packages, so no vulnerability was looked for".to_owned()
        );
    }
    let finding = |found: TrivyVulnerability| Finding {
        id: found.id,
        aliases: found.vendor_ids.0,
        package: Package {
            name: found.pkg_name,
            version: found.installed_version,
            purl: purl(&found.pkg_identifier.purl),
        },
        severity: Severity::parse(&found.severity),
        fixed: found
            .fixed_version
            .split(',')
            .map(str::trim)
            .filter(|version| !version.is_empty())
            .take(MAX_NAMES)
            .map(str::to_owned)
            .collect(),
    };
    Ok(results.0.into_iter().flat_map(|target| target.vulnerabilities.0).map(finding).collect())
}

#[derive(Deserialize)]
struct GrypeReport {
    matches: Bounded<GrypeMatch, MAX_FINDINGS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GrypeMatch {
    vulnerability: GrypeVulnerability,
    #[serde(default, deserialize_with = "null_is_default")]
    related_vulnerabilities: Bounded<GrypeName, MAX_NAMES>,
    artifact: GrypeArtifact,
}

#[derive(Deserialize)]
struct GrypeVulnerability {
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    severity: String,
    #[serde(default, deserialize_with = "null_is_default")]
    fix: GrypeFix,
}

#[derive(Default, Deserialize)]
struct GrypeFix {
    #[serde(default, deserialize_with = "null_is_default")]
    versions: Bounded<String, MAX_NAMES>,
}

#[derive(Deserialize)]
struct GrypeName {
    id: String,
}

#[derive(Deserialize)]
struct GrypeArtifact {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    version: String,
    purl: Option<String>,
}

fn grype(text: &str) -> Result<Vec<Finding>, String> {
    let report: GrypeReport = serde_json::from_str(text).map_err(|e| format!("Grype's report: {e}"))?;
    let finding = |found: GrypeMatch| Finding {
        id: found.vulnerability.id,
        aliases: found.related_vulnerabilities.0.into_iter().map(|name| name.id).collect(),
        package: Package {
            name: found.artifact.name,
            version: found.artifact.version,
            purl: purl(&found.artifact.purl),
        },
        severity: Severity::parse(&found.vulnerability.severity),
        fixed: found.vulnerability.fix.versions.0,
    };
    Ok(report.matches.0.into_iter().map(finding).collect())
}

#[derive(Deserialize)]
struct SarifLog {
    runs: Bounded<SarifRun, MAX_PARTS>,
}

#[derive(Deserialize)]
struct SarifRun {
    tool: SarifTool,
    #[serde(default, deserialize_with = "null_is_default")]
    invocations: Bounded<Invocation, MAX_PARTS>,
    results: Option<Bounded<SarifResult, MAX_FINDINGS>>,
}

#[derive(Deserialize)]
struct SarifTool {
    driver: SarifDriver,
}

#[derive(Deserialize)]
struct SarifDriver {
    #[serde(default, deserialize_with = "null_is_default")]
    rules: Bounded<SarifRule, MAX_FINDINGS>,
}

#[derive(Deserialize)]
struct SarifRule {
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    properties: SarifProperties,
}

#[derive(Default, Deserialize)]
struct SarifProperties {
    #[serde(rename = "security-severity", default)]
    severity: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: Option<String>,
    kind: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    properties: SarifProperties,
}

fn sarif(text: &str) -> Result<Vec<Finding>, String> {
    let log: SarifLog = serde_json::from_str(text).map_err(|e| format!("the SARIF log: {e}"))?;
    if log.runs.0.is_empty() {
        return Err("the SARIF log has no run, so nothing was looked at".to_owned());
    }
    let mut findings = Vec::new();
    for run in log.runs.0 {
        let rules: HashMap<String, Option<Severity>> =
            run.tool.driver.rules.0.into_iter().fold(HashMap::new(), |mut rules, rule| {
                // A rule that stands there twice is as bad as the worse of the two.
                let kept = rules.entry(rule.id).or_insert(None);
                *kept = (*kept).max(Severity::of_value(&rule.properties.severity));
                rules
            });
        // A run that did not end has no results, which is not an empty list of them.
        let results = run.results.ok_or("the SARIF log has a run without results")?;
        if !run.invocations.0.iter().all(Invocation::ended_well) {
            return Err("the SARIF log has a run that says that it failed".to_owned());
        }
        for result in results.0 {
            if matches!(result.kind.as_deref(), Some("pass" | "notApplicable")) {
                continue;
            }
            let id = result.rule_id.ok_or("the SARIF log has a result without ruleId")?;
            let severity =
                Severity::of_value(&result.properties.severity).or_else(|| rules.get(&id).copied().flatten());
            findings.push(Finding {
                aliases: vulnerability_in(&id).into_iter().collect(),
                id,
                package: Package::default(),
                severity,
                fixed: Vec::new(),
            });
        }
    }
    Ok(findings)
}

/// The CVE with which the name of a rule begins, as in `CVE-2024-1-openssl`.
fn vulnerability_in(rule: &str) -> Option<String> {
    let mut parts = rule.split('-');
    let (cve, year, number) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (cve == "CVE" && digits(year) && digits(number) && parts.next().is_some())
        .then(|| format!("CVE-{year}-{number}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(report: &Value) -> Result<Vec<Finding>, String> {
        read(&report.to_string())
    }

    #[test]
    fn trivys_report_is_read() {
        let report = json!({ "SchemaVersion": 2, "ArtifactName": "r.example/shop", "Results": [
            { "Target": "debian", "Class": "os-pkgs", "Vulnerabilities": [{
                "VulnerabilityID": "CVE-1", "VendorIDs": ["DSA-1"], "PkgName": "openssl", "InstalledVersion": "3.0.1",
                "PkgIdentifier": { "PURL": "pkg:deb/debian/openssl@3.0.1", "UID": "x" }, "FixedVersion": "3.0.2, 3.1.0",
                "Severity": "CRITICAL" }] },
            { "Target": "app" }, { "Target": "b", "Vulnerabilities": null } ] });
        let [one] = &found(&report).unwrap()[..] else { panic!("one") };
        assert_eq!((one.id.as_str(), one.aliases[0].as_str()), ("CVE-1", "DSA-1"));
        assert_eq!(one.package.purl, Purl::parse("pkg:deb/debian/openssl@3.0.1"));
        assert_eq!((one.severity, one.fixed.len()), (Some(Severity::Critical), 2));
    }

    #[test]
    fn grypes_report_is_read() {
        let report = json!({ "matches": [{
            "vulnerability": { "id": "GHSA-1", "severity": "High", "fix": { "versions": ["1.1"], "state": "fixed" } },
            "relatedVulnerabilities": [{ "id": "CVE-2", "severity": "Low" }],
            "artifact": { "name": "left-pad", "version": "1.0", "purl": "pkg:npm/left-pad@1.0" } }],
            "descriptor": { "name": "grype" } });
        let [one] = &found(&report).unwrap()[..] else { panic!("one") };
        assert_eq!(
            (one.id.as_str(), one.aliases[0].as_str(), one.fixed[0].as_str()),
            ("GHSA-1", "CVE-2", "1.1")
        );
        assert_eq!((one.severity, one.package.name.as_str()), (Some(Severity::High), "left-pad"));
    }

    #[test]
    fn a_sarif_log_is_read() {
        let run = json!({ "tool": { "driver": { "name": "s", "rules": [
                { "id": "CVE-2024-1-openssl", "properties": { "security-severity": "9.8" } }, { "id": "CVE-2024-2" }] } },
            "results": [{ "ruleId": "CVE-2024-1-openssl", "message": { "text": "m" } }, { "ruleId": "CVE-2024-2" },
                        { "ruleId": "CVE-2024-3", "kind": "pass" }] });
        let both = found(&json!({ "version": "2.1.0", "runs": [run] })).unwrap();
        assert_eq!((both[0].severity, both[0].aliases[0].as_str()), (Some(Severity::Critical), "CVE-2024-1"));
        assert_eq!((both[1].id.as_str(), both[1].severity, both.len()), ("CVE-2024-2", None, 2));
    }

    #[test]
    fn what_is_not_known_or_looked_at_nothing_is_not_an_empty_list() {
        for report in [
            json!({}),
            json!([]),
            json!({ "SchemaVersion": 2 }),
            json!({ "SchemaVersion": 2, "Results": [] }),
            json!({ "SchemaVersion": 1, "Results": [{}] }),
            json!({ "SchemaVersion": 2, "matches": [] }),
            json!({ "SchemaVersion": 2, "Results": [{ "Vulnerabilities": [{}] }] }),
            json!({ "SchemaVersion": 2, "Results": [{ "Vulnerabilities": [{ "VulnerabilityID": "" }] }] }),
            json!({ "matches": null }),
            json!({ "matches": [{}] }),
            json!({ "runs": [] }),
            json!({ "runs": [{ "tool": { "driver": {} } }] }),
            json!({ "runs": [{ "tool": { "driver": {} }, "results": null }] }),
            json!({ "runs": [{ "tool": { "driver": {} }, "results": [{}] }] }),
            json!({ "runs": [{ "tool": { "driver": {} }, "results": [], "invocations": [{ "executionSuccessful": false }] }] }),
            json!({ "SchemaVersion": 2, "Results": [{ "Class": "secret" }, { "Class": "config" }] }),
        ] {
            assert!(found(&report).is_err(), "{report}");
        }
        for result in [
            json!({ "SchemaVersion": 2, "Results": [{}] }),
            json!({ "SchemaVersion": 2, "Results": [{ "Class": "secret" }, { "Class": "os-pkgs" }] }),
            json!({ "runs": [{ "tool": { "driver": {} }, "results": [], "invocations": [{ "executionSuccessful": true }, {}] }] }),
        ] {
            assert_eq!(found(&result), Ok(Vec::new()), "{result}");
        }
        assert_eq!(found(&json!({ "matches": [] })), Ok(Vec::new()));
    }
}
