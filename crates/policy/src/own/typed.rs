//! Rules over what is known: provenance, bills of materials, scans, results of tests, reviews.

use std::collections::BTreeSet;

use countersign_attestation::predicate::vulnerabilities::Severity;
use countersign_slsa::Roots;
use countersign_slsa::roots::MAX_LEVEL;
use jiff::SignedDuration;

use super::age;
use super::explain::listed;
use super::schema::{BillFormat, ProvenanceSpec, ReviewSpec, SbomSpec, ScanSpec, Spec, TestsSpec};
use super::who::Reader;
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::pattern::Glob;
use crate::read::ReadError;
use crate::statements::{
    BillRule, LevelRule, Origin, ReviewRule, ScanRule, SeverityRule, Target, TestRule, Verdict,
};

/// How old a scan may be unless told otherwise.
const SCAN_AGE: SignedDuration = SignedDuration::from_hours(24);
/// The most approvals that can be asked for.
const MAX_APPROVALS: usize = 16;
/// The most patterns of one list.
const MAX_PATTERNS: usize = 64;

/// A rule over statements.
#[derive(Debug)]
pub(super) enum Typed {
    /// How it was built.
    Provenance(LevelRule),
    /// What is in it.
    Sbom(BillRule),
    /// What a scan found, and which of that may be.
    Scan(ScanRule, Option<SeverityRule>),
    /// How tests came out.
    Tests(TestRule),
    /// Who approved of it.
    Review(ReviewRule),
}

impl Typed {
    /// Reads the rules of a policy.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(spec: &Spec, reader: &mut Reader<'_>) -> Result<Vec<Self>, ReadError> {
        let mut rules = Vec::new();
        if let Some(written) = &spec.provenance {
            rules.push(Self::Provenance(provenance(written, reader)?));
        }
        if let Some(written) = &spec.sbom {
            rules.push(Self::Sbom(bill(written, reader)?));
        }
        if let Some(written) = &spec.scan {
            let (scan, severity) = scan(written, reader)?;
            rules.push(Self::Scan(scan, severity));
        }
        if let Some(written) = &spec.tests {
            rules.push(Self::Tests(tests(written, reader)?));
        }
        if let Some(written) = &spec.review {
            let repository = spec.provenance.as_ref().and_then(|provenance| provenance.source.clone());
            rules.push(Self::Review(review(written, repository, reader)?));
        }
        if !rules.is_empty() {
            reader.remark_on_time();
        }
        Ok(rules)
    }

    /// As it is called in results: by its field.
    pub(super) const fn rule(&self) -> &'static str {
        match self {
            Self::Provenance(_) => "provenance",
            Self::Sbom(_) => "sbom",
            Self::Scan(..) => "scan",
            Self::Tests(_) => "tests",
            Self::Review(_) => "review",
        }
    }

    /// What comes of it.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn judge(&self, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        match self {
            Self::Provenance(rule) => rule.judge(target, ask, &BTreeSet::new),
            Self::Sbom(rule) => rule.judge(target, ask),
            Self::Scan(rule, None) => rule.fresh(target, ask),
            Self::Scan(rule, Some(severity)) => rule.fresh_and_below(severity, target, ask),
            Self::Tests(rule) => rule.judge(target, ask),
            Self::Review(rule) => rule.judge(target, ask),
        }
    }

    /// Somebody of it; what is demanded of the evidence is the same for all.
    pub(super) fn first(&self) -> Option<&Authority> {
        match self {
            Self::Provenance(rule) => rule.roots.first().map(|root| &root.by),
            Self::Sbom(BillRule { by, .. })
            | Self::Scan(ScanRule { by, .. }, _)
            | Self::Tests(TestRule { by, .. })
            | Self::Review(ReviewRule { by, .. }) => by.first(),
        }
    }

    /// In plain words.
    pub(super) fn in_words(&self, lines: &mut Vec<String>) {
        match self {
            Self::Provenance(rule) => {
                let age = older(rule.max_age);
                lines.push(format!(
                    "it must be built at level {} or above, by provenance{age} of",
                    rule.level
                ));
                for root in &rule.roots {
                    let own = if root.self_hosted { ", also on machines of one's own" } else { "" };
                    lines.push(format!(
                        "  {}, signed by {}: level {}{own}",
                        root.builder, root.by.name, root.level
                    ));
                }
                origin(&rule.origin, lines);
            }
            Self::Sbom(rule) => {
                let age = older(rule.max_age);
                let formats = BillFormat::ALL.into_iter().filter(|format| format.is_in(&rule.types));
                let formats = formats.map(BillFormat::name).collect::<Vec<_>>().join(" or ");
                lines.push(format!("there must be a bill of materials in {formats}{age}, by"));
                names(&rule.by, lines);
                if rule.ntia {
                    lines.push("  with the minimum elements of the NTIA".into());
                }
            }
            Self::Scan(rule, severity) => {
                let scanners = match rule.scanners.as_slice() {
                    [] => String::new(),
                    list => format!(" of {}", listed(list)),
                };
                lines.push(format!(
                    "there must be a scan for vulnerabilities{scanners}{}, by",
                    older(rule.max_age)
                ));
                names(&rule.by, lines);
                if let Some(age) = rule.database_max_age {
                    lines.push(format!("  with a database not older than {age:#}"));
                }
                if let Some(severity) = severity {
                    below(severity, lines);
                }
            }
            Self::Tests(rule) => {
                lines.push(format!("tests must have passed, by results{} of", older(rule.max_age)));
                names(&rule.by, lines);
                if !rule.passed.is_empty() {
                    lines.push(format!("  among them {}", listed(&rule.passed)));
                }
            }
            Self::Review(rule) => {
                let who = if rule.approvals == 1 {
                    "somebody who did not write it".to_owned()
                } else {
                    format!("{} who did not write it", rule.approvals)
                };
                lines.push(format!("{who} must have approved, in the word{} of", older(rule.max_age)));
                names(&rule.by, lines);
                lines.extend(rule.repository.iter().map(|wanted| format!("  on a change of {wanted}")));
            }
        }
    }
}

fn older(max_age: Option<SignedDuration>) -> String {
    max_age.map(|age| format!(" not older than {age:#}")).unwrap_or_default()
}

fn names(by: &[Authority], lines: &mut Vec<String>) {
    lines.extend(by.iter().map(|authority| format!("  {}", authority.name)));
}

fn origin(origin: &Origin, lines: &mut Vec<String>) {
    let Origin { repository, branch, tag, versioned_tag, build_type, parameters } = origin;
    for (what, wanted) in [
        ("from the source", repository),
        ("at the branch", branch),
        ("at the tag", tag),
        ("at a tag of the version", versioned_tag),
        ("by a build of the type", build_type),
    ] {
        lines.extend(wanted.iter().map(|wanted| format!("  {what} {wanted}")));
    }
    if !parameters.is_empty() {
        lines.push(format!("  with any value of the external parameters {}", parameters.join(", ")));
    }
}

fn below(severity: &SeverityRule, lines: &mut Vec<String>) {
    let unknown = if severity.unknown { ", and none of which nobody says how bad it is" } else { "" };
    lines.push(format!(
        "  which finds no vulnerability of severity {} or above{unknown}",
        severity.least.name()
    ));
    if !severity.vex.is_empty() {
        let age = older(severity.vex_max_age);
        let by =
            severity.vex.iter().map(|authority| authority.name.as_str()).collect::<Vec<_>>().join(" or ");
        lines.push(format!("  but for those that VEX{age} by {by} clears"));
    }
}

impl BillFormat {
    const ALL: [Self; 2] = [Self::CycloneDx, Self::Spdx];

    const fn name(self) -> &'static str {
        match self {
            Self::CycloneDx => "CycloneDX",
            Self::Spdx => "SPDX",
        }
    }

    fn is_in(self, types: &[String]) -> bool {
        BillRule::types(self == Self::Spdx, self == Self::CycloneDx).iter().any(|kind| types.contains(kind))
    }
}

/// An age of a field, if it is there.
fn max_age(text: Option<&str>, path: &str) -> Result<Option<SignedDuration>, ReadError> {
    text.map(|text| age(text).map_err(|e| ReadError::new(path, e))).transpose()
}

fn filled(text: &Option<String>, path: &str) -> Result<(), ReadError> {
    if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Err(ReadError::new(path, "expected a text, found an empty one; leave it out to mean any"));
    }
    Ok(())
}

fn patterns(list: &[String], path: &str) -> Result<Vec<Glob>, ReadError> {
    if list.len() > MAX_PATTERNS {
        return Err(ReadError::new(path, format!("expected at most {MAX_PATTERNS}")));
    }
    let read = |(index, text): (usize, &String)| {
        Glob::wildcard(text).map_err(|e| ReadError::new(format!("{path}[{index}]"), e.to_string()))
    };
    list.iter().enumerate().map(read).collect()
}

fn provenance(written: &ProvenanceSpec, reader: &mut Reader<'_>) -> Result<LevelRule, ReadError> {
    const PATH: &str = "spec.provenance";
    if !(1..=MAX_LEVEL).contains(&written.level) {
        let message = format!("expected a level from 1 to {MAX_LEVEL}, found {}", written.level);
        return Err(ReadError::new(format!("{PATH}.level"), message));
    }
    let wrong = |e: countersign_slsa::RootsError| ReadError::new(format!("{PATH}.{}", e.path), e.message);
    let mut roots = Vec::new();
    for root in Roots::read(&written.roots.to_string()).map_err(wrong)?.all {
        roots.extend(reader.root(&root, &format!("{PATH}.{}", root.from))?);
    }
    if roots.iter().all(|root| root.level < written.level) {
        let message =
            format!("expected a builder of level {} or above, found none: nothing could pass", written.level);
        return Err(ReadError::new(format!("{PATH}.roots"), message));
    }
    for (field, text) in [
        ("source", &written.source),
        ("branch", &written.branch),
        ("tag", &written.tag),
        ("versionedTag", &written.versioned_tag),
        ("buildType", &written.build_type),
    ] {
        filled(text, &format!("{PATH}.{field}"))?;
    }
    let refs = [&written.branch, &written.tag, &written.versioned_tag];
    if refs.iter().filter(|wanted| wanted.is_some()).count() > 1 {
        return Err(ReadError::new(PATH, "expected one of branch, tag and versionedTag"));
    }
    if let Some(source) = &written.source
        && countersign_slsa::Source::parse(source).is_none_or(|source| source.reference.is_some())
    {
        let message =
            format!("expected a repository such as https://github.com/acme/app, found \"{source}\"");
        return Err(ReadError::new(format!("{PATH}.source"), message));
    }
    if let Some(version) = &written.versioned_tag {
        countersign_slsa::git::is_version("refs/tags/v0.0.0", version)
            .map_err(|e| ReadError::new(format!("{PATH}.versionedTag"), e))?;
    }
    Ok(LevelRule {
        level: written.level,
        roots,
        origin: Origin {
            repository: written.source.clone(),
            branch: written.branch.clone(),
            tag: written.tag.clone(),
            versioned_tag: written.versioned_tag.clone(),
            build_type: written.build_type.clone(),
            parameters: written.parameters.clone(),
        },
        max_age: max_age(written.not_older_than.as_deref(), "spec.provenance.notOlderThan")?,
    })
}

fn bill(written: &SbomSpec, reader: &mut Reader<'_>) -> Result<BillRule, ReadError> {
    let formats = written.formats.as_deref().unwrap_or(&BillFormat::ALL);
    if formats.is_empty() {
        let message = "expected cyclonedx, spdx or both, found none; leave it out to mean either";
        return Err(ReadError::new("spec.sbom.formats", message));
    }
    let has = |format| formats.contains(&format);
    Ok(BillRule {
        by: reader.any_of(&written.signed_by, "spec.sbom.signedBy")?,
        types: BillRule::types(has(BillFormat::Spdx), has(BillFormat::CycloneDx)),
        ntia: written.ntia,
        max_age: max_age(written.not_older_than.as_deref(), "spec.sbom.notOlderThan")?,
    })
}

fn scan(written: &ScanSpec, reader: &mut Reader<'_>) -> Result<(ScanRule, Option<SeverityRule>), ReadError> {
    const PATH: &str = "spec.scan";
    if written.scanners.as_ref().is_some_and(Vec::is_empty) {
        let message = "expected at least one scanner, found none; leave it out to mean any";
        return Err(ReadError::new(format!("{PATH}.scanners"), message));
    }
    let rule = ScanRule {
        by: reader.any_of(&written.signed_by, "spec.scan.signedBy")?,
        scanners: patterns(written.scanners.as_deref().unwrap_or_default(), "spec.scan.scanners")?,
        max_age: max_age(written.not_older_than.as_deref(), "spec.scan.notOlderThan")?.or(Some(SCAN_AGE)),
        database_max_age: max_age(
            written.database_not_older_than.as_deref(),
            "spec.scan.databaseNotOlderThan",
        )?,
        trusted_time: true,
    };
    let Some(severity) = &written.severity_below else {
        if written.vex.is_some() || written.unknown_severity.is_some() {
            let message =
                "expected severityBelow beside vex and unknownSeverity, which say nothing without it";
            return Err(ReadError::new(PATH, message));
        }
        return Ok((rule, None));
    };
    let least = Severity::parse(severity).ok_or_else(|| {
        let known = Severity::ALL.map(Severity::name).join(", ");
        let message = format!("expected one of {known}, found \"{severity}\"");
        ReadError::new(format!("{PATH}.severityBelow"), message)
    })?;
    let (vex, vex_max_age) = match &written.vex {
        None => (Vec::new(), None),
        Some(vex) => (
            reader.any_of(&vex.signed_by, "spec.scan.vex.signedBy")?,
            max_age(vex.not_older_than.as_deref(), "spec.scan.vex.notOlderThan")?,
        ),
    };
    let unknown = written.unknown_severity.unwrap_or(true);
    Ok((rule, Some(SeverityRule { least, unknown, vex, vex_max_age })))
}

fn tests(written: &TestsSpec, reader: &mut Reader<'_>) -> Result<TestRule, ReadError> {
    Ok(TestRule {
        by: reader.any_of(&written.signed_by, "spec.tests.signedBy")?,
        passed: patterns(&written.passed, "spec.tests.passed")?,
        max_age: max_age(written.not_older_than.as_deref(), "spec.tests.notOlderThan")?,
    })
}

fn review(
    written: &ReviewSpec,
    repository: Option<String>,
    reader: &mut Reader<'_>,
) -> Result<ReviewRule, ReadError> {
    let approvals = written.approvals.unwrap_or(1);
    if !(1..=MAX_APPROVALS).contains(&approvals) {
        let message = format!("expected 1 to {MAX_APPROVALS}, found {approvals}");
        return Err(ReadError::new("spec.review.approvals", message));
    }
    Ok(ReviewRule {
        by: reader.any_of(&written.signed_by, "spec.review.signedBy")?,
        approvals,
        repository,
        max_age: max_age(written.not_older_than.as_deref(), "spec.review.notOlderThan")?,
    })
}
