//! Vulnerabilities at or above a severity, after VEX by somebody trusted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use countersign_attestation::predicate::openvex::{self, OpenVex};
use countersign_attestation::predicate::triage::{Held, Image, Triage, Unmatched};
use countersign_attestation::predicate::vulnerabilities::{Finding, Severity};
use countersign_crypto::Digest;
use countersign_http::text::printable;
use countersign_verify::Verified;
use jiff::{SignedDuration, Timestamp};

use super::newest::{believable, signed_at, signer_key, vouched};
use super::scans::Scans;
use super::vulnerability::{Vex, Vulnerability};
use super::{ScanRule, Target, Verdict, deciding, said, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;

/// How many vulnerabilities a result lists; those that count come first, then the worst.
const MAX_VULNERABILITIES: usize = 500;
/// How many mended versions one vulnerability lists.
const MAX_FIXED: usize = 20;
/// How many characters of a signer's words are kept.
const MAX_WORDS: usize = 512;
/// How many things of one kind one message names.
const MAX_NAMED: usize = 5;

/// The reason of an image with vulnerabilities that count.
pub const VULNERABLE: &str = "vulnerable";

/// Which vulnerabilities there may be.
#[derive(Debug, Clone)]
pub struct SeverityRule {
    /// The least severity that is a no.
    pub least: Severity,
    /// Whether one counts of which nobody says how bad it is.
    pub unknown: bool,
    /// Whose VEX is applied.
    pub vex: Vec<Authority>,
    /// How old a document may be that is applied.
    pub vex_max_age: Option<SignedDuration>,
}

/// What VEX there is.
#[derive(Default)]
struct Voices {
    /// The documents that are applied.
    documents: Vec<OpenVex>,
    /// The statements that they are in, in the same order.
    facts: Vec<Fact>,
    /// What is told of it, whatever comes out.
    notes: Vec<String>,
}

impl Voices {
    /// What cannot be read may take back what the same signer cleared before it: that then clears nothing, and what keeps a
    /// vulnerability goes on keeping it.
    fn keep_beside(&mut self, useless: &[&Fact]) {
        for (document, fact) in self.documents.iter_mut().zip(&self.facts) {
            let takes_back =
                |other: &&Fact| signer_key(other) == signer_key(fact) && may_be_newer(other, fact);
            let clears = document.statements.iter().any(|statement| statement.status.clears());
            if clears && useless.iter().any(takes_back) {
                document.statements.retain(|statement| !statement.status.clears());
                self.notes.push(format!(
                    "{} clears nothing: what {} signed after it is not applied",
                    document.id,
                    signer(fact)
                ));
            }
        }
    }
}

/// The VEX document in what was verified, where its times can be believed: one that lies ahead would be the last word until then.
///
/// # Errors
/// In words, why it cannot be applied.
pub fn vex_document(verified: &Verified, now: Timestamp) -> Result<OpenVex, String> {
    let (_, text) = said(verified)?;
    let document = OpenVex::from_json(text).map_err(|e| e.to_string())?;
    let stated = document.statements.iter().map(|statement| statement.time).max().unwrap_or(document.time);
    believable(stated, vouched(verified), now)?;
    Ok(document)
}

/// Whether what one says may be newer than what the other does. Where nobody vouches for a time, nobody can tell.
fn may_be_newer(one: &Fact, other: &Fact) -> bool {
    signed_at(one).zip(signed_at(other)).is_none_or(|(one, other)| one >= other)
}

impl ScanRule {
    /// Whether a fresh scan finds no vulnerability that counts, by what VEX leaves. `there` are the signed statements that
    /// are known to lie beside it, whoever signed them: for the message alone.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn fresh_and_below(
        &self,
        severity: &SeverityRule,
        target: &Target,
        ask: &Ask<'_>,
    ) -> Result<Verdict, Stop> {
        let scans = self.scans(target, ask)?;
        let fresh = self.fresh_of(&scans, ask.now());
        if fresh.holds { self.below_of(&scans, severity, target, &[], ask) } else { Ok(fresh) }
    }

    /// Whether the scans that count find no vulnerability as severe as the rule says, by what VEX leaves. `there` are the
    /// signed statements that are known to lie beside it, whoever signed them: for the message alone.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn below(
        &self,
        rule: &SeverityRule,
        target: &Target,
        there: &[(&str, &Digest)],
        ask: &Ask<'_>,
    ) -> Result<Verdict, Stop> {
        self.below_of(&self.scans(target, ask)?, rule, target, there, ask)
    }

    fn below_of(
        &self,
        scans: &Scans,
        rule: &SeverityRule,
        target: &Target,
        there: &[(&str, &Digest)],
        ask: &Ask<'_>,
    ) -> Result<Verdict, Stop> {
        if let Some(verdict) = scans.superseded(self) {
            return Ok(verdict);
        }
        let counting = self.counting(&scans.usable);
        if counting.is_empty() {
            return Ok(scans.none());
        }
        let scanned_by = deciding(counting.iter().map(|scan| &scan.fact));
        if let Some(why) = counting.iter().find_map(|scan| scan.scan.findings.as_ref().err()) {
            let text = format!(
                "nobody knows its vulnerabilities: what its scan found cannot be told: {}",
                printable(why)
            );
            return Ok(Verdict::fail("unreadable_scan", text, scanned_by));
        }
        let found = || counting.iter().filter_map(|scan| scan.scan.findings.as_ref().ok()).flatten();
        let mut severe: BTreeMap<(&str, &str, &str), &Finding> = BTreeMap::new();
        for finding in found().filter(|finding| rule.counts(finding)) {
            let key = (finding.id.as_str(), finding.package.name.as_str(), finding.package.version.as_str());
            let kept = severe.entry(key).or_insert(finding);
            if finding.severity > kept.severity {
                *kept = finding;
            }
        }
        let by: Vec<String> =
            counting.iter().map(|scan| format!("{} at {}", scan.scanner(), scan.at)).collect();
        let least = rule.least.name();
        let scanned = format!("scanned by {}", by.join(" and "));
        if severe.is_empty() {
            let text = format!("no vulnerability of severity {least} or above, {scanned}{}", scans.beside());
            return Ok(Verdict::pass(text, scanned_by));
        }
        let voices = rule.voices(target, there, ask)?;
        let repository = target.repository().map(ToString::to_string).unwrap_or_default();
        let image = Image { digest: target.digest(), repository: &repository };
        let vex = Triage::of(image, &[], &voices.documents);
        let listed = triaged(severe.into_values(), &vex, &voices);
        let counted: Vec<&Vulnerability> = listed.iter().filter(|one| one.counts).collect();
        let cleared = listed.len() - counted.len();
        let mut text = if counted.is_empty() {
            format!("no vulnerability of severity {least} or above that counts, {scanned}")
        } else {
            let named: Vec<String> = counted.iter().take(MAX_NAMED).map(|one| one.id.clone()).collect();
            let more = counted.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let count = counted.len();
            format!("{count} of severity {least} or above: {}{more}; {scanned}", named.join(", "))
        };
        if cleared > 0 {
            text.push_str(&format!("; {cleared} cleared by VEX"));
        }
        for note in voices.notes.iter().chain(&unmatched(&vex, &voices, found())) {
            text.push_str(&format!(". {note}"));
        }
        text.push_str(&scans.beside());
        let mut decided_by = scanned_by;
        if cleared > 0 {
            decided_by.extend(deciding(&voices.facts));
        }
        let mut verdict = if counted.is_empty() {
            Verdict::pass(text, decided_by)
        } else {
            Verdict::fail(VULNERABLE, text, decided_by)
        };
        verdict.vulnerabilities = listed.into_iter().take(MAX_VULNERABILITIES).collect::<Arc<[_]>>();
        Ok(verdict)
    }
}

impl SeverityRule {
    /// Whether a finding is severe enough. One of which nobody says how bad it is may be of any severity.
    fn counts(&self, finding: &Finding) -> bool {
        finding.severity.map_or(self.unknown, |severity| severity >= self.least)
    }

    /// Whether a document may be applied by its age.
    fn is_fresh(&self, fact: &Fact, now: Timestamp) -> Result<(), String> {
        let Some(max_age) = self.vex_max_age else { return Ok(()) };
        let at = signed_at(fact).ok_or("no log and no timestamp authority says when it was signed")?;
        if now.duration_since(at) > max_age {
            return Err(format!("expected one not older than {max_age:#}, found one of {at}"));
        }
        Ok(())
    }

    fn voices(&self, target: &Target, there: &[(&str, &Digest)], ask: &Ask<'_>) -> Result<Voices, Stop> {
        let trusted = ask.statements(target, &self.vex, &openvex::TYPES.map(str::to_owned))?;
        let mut voices = Voices::default();
        let mut useless: Vec<&Fact> = Vec::new();
        for fact in &trusted.facts {
            let fresh = self.is_fresh(fact, ask.now());
            let is_fresh = fresh.is_ok();
            match fresh.and_then(|()| vex_document(&fact.verified, ask.now())) {
                Ok(mut document) => {
                    document.id = printable(&document.id);
                    voices.documents.push(document);
                    voices.facts.push(fact.clone());
                }
                Err(why) => {
                    useless.extend(is_fresh.then_some(fact));
                    let by = signer(fact);
                    voices.notes.push(format!("VEX signed by {by} is not applied: {}", printable(&why)));
                }
            }
        }
        voices.keep_beside(&useless);
        let known: HashSet<_> = trusted.facts.iter().map(|fact| fact.evidence).collect();
        let strangers = there
            .iter()
            .filter(|(kind, digest)| openvex::TYPES.contains(kind) && !known.contains(digest))
            .count();
        if strangers > 0 {
            voices.notes.push(format!(
                "{strangers} VEX {} by nobody who is trusted, and not applied",
                if strangers == 1 { "document is" } else { "documents are" }
            ));
        }
        Ok(voices)
    }
}

/// What is to be told of statements that are about none of these findings.
fn unmatched<'f>(
    vex: &Triage<'_>,
    voices: &Voices,
    findings: impl Iterator<Item = &'f Finding>,
) -> Option<String> {
    let why = |one: &Unmatched<'_>| {
        let name = printable(one.statement.vulnerability.first().map_or("", String::as_str));
        let why = if one.is_about {
            "no scan found that there"
        } else {
            "it names another product than this image"
        };
        let document = voices.documents.get(one.document).map_or("", |document| document.id.as_str());
        format!("{name} {} in {document}: {why}", one.statement.status.code())
    };
    let findings: Vec<Finding> = findings.cloned().collect();
    let mut told: Vec<String> = vex.unmatched(&findings).iter().map(why).collect();
    told.sort();
    let count = told.len();
    told.truncate(MAX_NAMED);
    let more = count.saturating_sub(told.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (count > 0).then(|| format!("VEX that matches nothing found here: {}{more}", told.join("; ")))
}

/// The findings with what VEX says of each: those that count first, and of these the worst.
fn triaged<'f>(
    findings: impl Iterator<Item = &'f Finding>,
    vex: &Triage<'_>,
    voices: &Voices,
) -> Vec<Vulnerability> {
    let mut listed: Vec<_> = findings
        .map(|finding| (vulnerability(finding, vex.held(finding), voices), finding.severity))
        .collect();
    // Of which nobody says how bad it is may be the worst.
    listed.sort_by_key(|(one, severity)| (!one.counts, severity.is_some(), std::cmp::Reverse(*severity)));
    listed.into_iter().map(|(one, _)| one).collect()
}

/// The beginning of what a signer says: results and reports repeat it for each object.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        None => printable(text),
        Some((end, _)) => format!("{}…", printable(text.get(..end).unwrap_or_default())),
    }
}

fn vulnerability(finding: &Finding, held: Option<Held<'_>>, voices: &Voices) -> Vulnerability {
    let by = |held: &Held<'_>| voices.documents.get(held.document).zip(voices.facts.get(held.document));
    let said = held.and_then(|held| Some((held.statement, by(&held)?)));
    let vex = said.map(|(statement, (document, fact))| Vex {
        status: statement.status.code(),
        because: shortened(statement.justification.as_ref().unwrap_or(&statement.words)),
        document: document.id.clone(),
        signer: signer(fact),
        time: statement.time.to_string(),
    });
    Vulnerability {
        id: printable(&finding.id),
        package: printable(&finding.package.name),
        version: printable(&finding.package.version),
        severity: finding.severity.map_or("unknown", |severity| severity.name()),
        fixed: finding.fixed.iter().take(MAX_FIXED).map(|version| shortened(version)).collect(),
        counts: !said.is_some_and(|(statement, _)| statement.status.clears()),
        vex,
    }
}
