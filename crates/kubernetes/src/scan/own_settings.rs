//! Our own section of the settings as it is written.

use countersign_attestation::predicate::vulnerabilities::Severity;
use countersign_notary::policy::{DistinguishedName, TrustedIdentities};
use countersign_policy::{Demands, IdentityRule, Pattern, Who};
use countersign_slsa::Roots;
use countersign_slsa::roots::MAX_LEVEL;
use countersign_x509::Certificate;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::settings::{NotaryTrust, OWN, Settings, SettingsError, key_source, wrong};

/// The most signers and roots of one list: each is a judgement for each image.
const MAX_SIGNERS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Own {
    #[serde(default)]
    trusted_identities: Vec<OwnSigner>,
    #[serde(default = "yes")]
    transparency_log: bool,
    #[serde(default = "yes")]
    certificate_log: bool,
    #[serde(default)]
    timestamp: bool,
    notary: Option<OwnNotary>,
    vulnerability_scan: Option<OwnScan>,
    vex: Option<OwnVex>,
    provenance: Option<OwnProvenance>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnSigner {
    key: Option<String>,
    subject: Option<String>,
    subject_reg_exp: Option<String>,
    issuer: Option<String>,
    issuer_reg_exp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnNotary {
    certificates: String,
    #[serde(default)]
    timestamp_certificates: String,
    trusted_identities: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnScan {
    #[serde(default)]
    signers: Vec<OwnSigner>,
    max_age: Option<String>,
    severity: Option<String>,
    #[serde(default = "yes")]
    unknown_severity: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnVex {
    signers: Vec<OwnSigner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnProvenance {
    level: u8,
    /// Roots of trust, which are read by their own reader.
    roots: Value,
}

const fn yes() -> bool {
    true
}

/// Takes the section into the settings.
///
/// # Errors
/// [`SettingsError`].
pub(super) fn take(settings: &mut Settings, own: &Value) -> Result<(), SettingsError> {
    let own = Own::deserialize(own).map_err(|e| wrong(OWN, e.to_string()))?;
    let path = |rest: &str| format!("{OWN}.{rest}");
    settings.demands =
        Demands { log: own.transparency_log, sct: own.certificate_log, timestamp: own.timestamp };
    for (index, identity) in own.trusted_identities.into_iter().enumerate() {
        let path = path(&format!("trustedIdentities[{index}]"));
        if identity.key.is_some() {
            return Err(wrong(format!("{path}.key"), "keys stand in trustedCosignPublicKeys"));
        }
        settings.identities.push(identity.identity(&path)?);
    }
    if let Some(notary) = own.notary {
        settings.notary = Some(notary.read(&path("notary"))?);
    }
    if let Some(scan) = own.vulnerability_scan {
        let path = path("vulnerabilityScan");
        settings.scanners = signers(scan.signers, &format!("{path}.signers"))?;
        if let Some(text) = scan.max_age {
            settings.scan_max_age = age(&text).map_err(|e| wrong(format!("{path}.maxAge"), e))?;
        }
        if let Some(text) = scan.severity {
            settings.least_severity = Severity::parse(&text).ok_or_else(|| {
                let known = Severity::ALL.map(Severity::name).join(", ");
                wrong(format!("{path}.severity"), format!("expected one of {known}, found \"{text}\""))
            })?;
        }
        settings.unknown_severity = scan.unknown_severity;
    }
    if let Some(vex) = own.vex {
        settings.vex = signers(vex.signers, &path("vex.signers"))?;
        if settings.vex.is_empty() {
            return Err(wrong(path("vex.signers"), "expected at least one signer, found none"));
        }
    }
    if let Some(provenance) = own.provenance {
        let path = path("provenance");
        settings.provenance.level = level(provenance.level).map_err(|e| wrong(format!("{path}.level"), e))?;
        let roots = Roots::read(&provenance.roots.to_string())
            .map_err(|e| wrong(format!("{path}.{}", e.path), e.message))?;
        settings.provenance.roots = roots.all;
    }
    Ok(())
}

fn check_count(count: usize, path: &str) -> Result<(), SettingsError> {
    if count > MAX_SIGNERS {
        return Err(wrong(path, format!("expected at most {MAX_SIGNERS}, found {count}")));
    }
    Ok(())
}

fn signers(written: Vec<OwnSigner>, path: &str) -> Result<Vec<Who>, SettingsError> {
    check_count(written.len(), path)?;
    let read = |(index, signer): (usize, OwnSigner)| signer.who(&format!("{path}[{index}]"));
    written.into_iter().enumerate().map(read).collect()
}

fn level(level: u8) -> Result<u8, String> {
    if (1..=MAX_LEVEL).contains(&level) {
        return Ok(level);
    }
    Err(format!("expected a level from 1 to {MAX_LEVEL}, found {level}"))
}

fn age(text: &str) -> Result<SignedDuration, String> {
    let age: SignedDuration =
        text.parse().map_err(|e| format!("expected an age such as \"24h\", found \"{text}\": {e}"))?;
    if age.is_positive() { Ok(age) } else { Err(format!("expected an age above zero, found \"{text}\"")) }
}

impl OwnSigner {
    fn who(self, path: &str) -> Result<Who, SettingsError> {
        let Some(key) = &self.key else { return Ok(Who::Identities(vec![self.identity(path)?])) };
        let others = [&self.subject, &self.subject_reg_exp, &self.issuer, &self.issuer_reg_exp];
        if others.iter().any(|other| other.is_some()) {
            return Err(wrong(path, "expected a key or an identity, found both"));
        }
        if key.trim().is_empty() {
            return Err(wrong(format!("{path}.key"), "expected a key, found an empty text"));
        }
        Ok(Who::Key(key_source(key.trim().to_owned())))
    }

    fn identity(self, path: &str) -> Result<IdentityRule, SettingsError> {
        let subject = one_of("subject", self.subject, self.subject_reg_exp, path)?;
        let issuer = one_of("issuer", self.issuer, self.issuer_reg_exp, path)?;
        Ok(IdentityRule { subject, issuer: vec![issuer], extensions: Default::default() })
    }
}

impl OwnNotary {
    fn read(self, path: &str) -> Result<NotaryTrust, SettingsError> {
        for (field, pem) in
            [("certificates", &self.certificates), ("timestampCertificates", &self.timestamp_certificates)]
        {
            if field == "timestampCertificates" && pem.is_empty() {
                continue;
            }
            match Certificate::chain_from_pem(pem) {
                Ok(read) if !read.is_empty() => {}
                Ok(_) => {
                    return Err(wrong(format!("{path}.{field}"), "expected certificates in PEM, found none"));
                }
                Err(e) => {
                    return Err(wrong(
                        format!("{path}.{field}"),
                        format!("expected certificates in PEM: {e}"),
                    ));
                }
            }
        }
        let identities = match self.trusted_identities {
            None => TrustedIdentities::Any,
            Some(texts) => TrustedIdentities::Names(names(&texts, &format!("{path}.trustedIdentities"))?),
        };
        Ok(NotaryTrust {
            certificates: self.certificates,
            timestamp_certificates: self.timestamp_certificates,
            identities,
        })
    }
}

/// Names as trust policies of the Notary Project write them: `x509.subject: C=…, ST=…, O=…`.
fn names(texts: &[String], path: &str) -> Result<Vec<DistinguishedName>, SettingsError> {
    if texts.is_empty() {
        return Err(wrong(path, "expected at least one name, found none: nobody could sign"));
    }
    let read = |(index, text): (usize, &String)| {
        let path = format!("{path}[{index}]");
        let name = text.strip_prefix("x509.subject:").ok_or_else(|| {
            wrong(&path, format!("expected \"x509.subject: C=…, ST=…, O=…\", found \"{text}\""))
        })?;
        DistinguishedName::parse(name).map_err(|e| wrong(&path, e.to_string()))
    };
    texts.iter().enumerate().map(read).collect()
}

/// A name that is given exactly or as a regular expression: one of the two.
fn one_of(
    field: &str,
    exact: Option<String>,
    pattern: Option<String>,
    path: &str,
) -> Result<Pattern, SettingsError> {
    let wrong = |why: String| wrong(format!("{path}.{field}"), why);
    let found = match (exact, pattern) {
        (Some(text), None) => Pattern::Exact(text),
        (None, Some(text)) => Pattern::Regex(text),
        (None, None) => {
            return Err(wrong(format!(
                "expected {field} or {field}RegExp, found neither; a name without it says nothing"
            )));
        }
        (Some(_), Some(_)) => return Err(wrong(format!("expected {field} or {field}RegExp, found both"))),
    };
    found.compile().map_err(|e| wrong(e.to_string()))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(section: &str) -> Result<Settings, SettingsError> {
        Settings::read(&format!("settings: {{countersign: {section}}}"))
    }

    #[test]
    fn scans_vex_and_builders_are_read() {
        let own = read(
            "{vulnerabilityScan: {maxAge: 36h, severity: medium, unknownSeverity: false, signers: [{key: awskms:///a}]}, \
             vex: {signers: [{subject: a@b.c, issuer: https://i}]}, \
             provenance: {level: 2, roots: [{builderRegExp: 'https://b/.*', level: 3, signer: {subjectRegExp: .*, issuer: i}}]}}",
        )
        .unwrap();
        assert_eq!(own.scan_max_age, SignedDuration::from_hours(36));
        assert_eq!((own.least_severity, own.unknown_severity), (Severity::Medium, false));
        assert!(matches!(own.scanners.as_slice(), [Who::Key(_)]));
        assert!(matches!(own.vex.as_slice(), [Who::Identities(_)]));
        assert_eq!((own.provenance.level, own.provenance.roots.len()), (2, 1));
        assert!(own.names_anybody() && !own.names_signers() && !own.needs_no_trust_root());
        let nobody = read("{}").unwrap();
        assert_eq!(
            (nobody.scan_max_age, nobody.least_severity),
            (SignedDuration::from_hours(24), Severity::High)
        );
        assert!(nobody.unknown_severity && !nobody.names_anybody());
        let key = "{transparencyLog: false, vex: {signers: [{key: awskms:///a}]}}";
        assert!(read(key).unwrap().needs_no_trust_root());
    }

    #[test]
    fn what_cannot_be_used_is_an_error_with_its_path() {
        let root = |rest: &str| format!("{{provenance: {{level: 1, roots: [{{{rest}}}]}}}}");
        let many = format!("{{vex: {{signers: [{}]}}}}", "{key: a},".repeat(MAX_SIGNERS + 1));
        for (section, path) in [
            ("{trustedIdentities: [{key: a}]}", "trustedIdentities[0].key"),
            ("{notary: {certificates: ''}}", "notary.certificates"),
            ("{notary: {certificates: words}}", "notary.certificates"),
            ("{vulnerabilityScan: {maxAge: 1}}", ""),
            ("{vulnerabilityScan: {maxAge: soon}}", "vulnerabilityScan.maxAge"),
            ("{vulnerabilityScan: {maxAge: 0h}}", "vulnerabilityScan.maxAge"),
            ("{vulnerabilityScan: {maxAge: -1h}}", "vulnerabilityScan.maxAge"),
            ("{vulnerabilityScan: {severity: bad}}", "vulnerabilityScan.severity"),
            ("{vulnerabilityScan: {signers: [{}]}}", "vulnerabilityScan.signers[0].subject"),
            ("{vulnerabilityScan: {signers: [{key: ' '}]}}", "vulnerabilityScan.signers[0].key"),
            ("{vex: {signers: []}}", "vex.signers"),
            ("{vex: {signers: [{key: a, subject: b}]}}", "vex.signers[0]"),
            ("{vex: {signers: [{subject: b}]}}", "vex.signers[0].issuer"),
            (&many, "vex.signers"),
            ("{provenance: {level: 0, roots: []}}", "provenance.level"),
            ("{provenance: {level: 4, roots: []}}", "provenance.level"),
            ("{provenance: {level: 1, roots: []}}", "provenance.roots"),
            (&root("builder: '', level: 1, signer: {key: a}"), "provenance.roots[0].builder"),
            (
                &root("builder: b, builderRegExp: b, level: 1, signer: {key: a}"),
                "provenance.roots[0].builder",
            ),
            (&root("builder: b, level: 1, signer: {key: a}, other: 1"), "provenance.roots[0]"),
            (&root("builder: b, level: 9, signer: {key: a}"), "provenance.roots[0].level"),
            (&root("builder: b, level: 1, signer: {}"), "provenance.roots[0].signer.subject"),
        ] {
            let found = read(section).unwrap_err().path;
            let expected = format!("{OWN}.{path}");
            assert_eq!(found, expected.trim_end_matches('.'), "{section}");
        }
    }
}
