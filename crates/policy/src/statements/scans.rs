//! Scans for vulnerabilities: which of them count, and whether they are fresh.

use std::collections::{BTreeMap, BTreeSet};

use countersign_attestation::predicate::vulnerabilities::{TYPES, VulnerabilityScan};
use countersign_http::text::printable;
use jiff::{SignedDuration, Timestamp};

use super::newest::{believable, signed_at, signer_key};
use super::{Target, Trusted, Verdict, deciding, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;
use crate::pattern::Glob;

/// How many reasons one message gives.
const MAX_REASONS: usize = 3;

/// What a scan must be.
#[derive(Debug, Clone)]
pub struct ScanRule {
    /// Whose count.
    pub by: Vec<Authority>,
    /// Patterns of scanners' names; none for any.
    pub scanners: Vec<Glob>,
    /// How old the newest may be. Of one signer's other scanners, those count that are at most so much older than it.
    pub max_age: Option<SignedDuration>,
    /// How old the scanner's database may have been when it scanned.
    pub database_max_age: Option<SignedDuration>,
    /// Whether a log or a timestamp authority must vouch for the time at which it was signed.
    pub trusted_time: bool,
}

/// A scan that somebody trusted signed and whose time can be believed.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) scan: VulnerabilityScan,
    /// When it ended.
    pub(super) at: Timestamp,
    pub(super) fact: Fact,
    signer: Vec<u8>,
}

impl Scan {
    fn read(fact: &Fact, rule: &ScanRule, now: Timestamp) -> Result<Self, String> {
        let (kind, text) = predicate(fact)?;
        let scan = VulnerabilityScan::from_json(kind, text).map_err(|e| e.to_string())?;
        let at = scan.finished.ok_or("it does not say when it ended")?;
        if scan.started.is_some_and(|started| started > at) {
            return Err("it says that it ended before it began".to_owned());
        }
        let signed = signed_at(fact);
        if rule.trusted_time && signed.is_none() {
            return Err("no log and no timestamp authority says when it was signed".to_owned());
        }
        believable(at, signed, now)?;
        Ok(Self { scan, at, fact: fact.clone(), signer: signer_key(fact) })
    }

    /// When it was made, as far as somebody vouches for it: that decides which is the newest.
    fn since(&self) -> Timestamp {
        signed_at(&self.fact).unwrap_or(self.at)
    }

    /// What made it, for people.
    pub(super) fn scanner(&self) -> String {
        match printable(&self.scan.scanner.uri) {
            uri if uri.is_empty() => "a scanner without a name".to_owned(),
            uri => uri,
        }
    }
}

/// The scans of an artifact.
pub(super) struct Scans {
    /// Those that can be used, the newest first.
    pub(super) usable: Vec<Scan>,
    /// Those that cannot, and why.
    useless: Vec<(Fact, String)>,
    /// Scanners of which scans are not asked for.
    others: BTreeSet<String>,
    trusted: Trusted,
}

impl Scans {
    /// Why there is none that can be used.
    pub(super) fn none(&self) -> Verdict {
        if self.useless.is_empty() && !self.others.is_empty() {
            let others = self.others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let text =
                format!("expected a scan by one of the scanners that are named, found only by {others}");
            return Verdict::fail("other_scanner", text, Vec::new());
        }
        if self.useless.is_empty() {
            let text = format!(
                "nobody knows its vulnerabilities: there is no scan that somebody trusted signed{}",
                self.trusted.why_none()
            );
            return Verdict::fail("no_scan", text, Vec::new());
        }
        let text = format!("no scan of it can be used: {}", self.why_useless());
        Verdict::fail("unusable_scan", text, deciding(self.useless.iter().map(|(fact, _)| fact)))
    }

    /// A scan that cannot be used, and is newer than one of the same signer which counts: that one does not stand in for it.
    /// Which scanner it is by, nobody can tell, so that it may be of any.
    pub(super) fn superseded(&self, rule: &ScanRule) -> Option<Verdict> {
        let counting = rule.counting(&self.usable);
        let newer = |fact: &Fact| {
            let of = signer_key(fact);
            let first = counting.iter().filter(|scan| scan.signer == of).map(|scan| scan.since()).min();
            first.zip(signed_at(fact)).is_some_and(|(first, at)| at > first)
        };
        let (fact, why) = self.useless.iter().find(|(fact, _)| newer(fact))?;
        let text = format!("a scan cannot be used, and none before it counts: {why}");
        Some(Verdict::fail("unusable_scan", text, deciding([fact])))
    }

    fn why_useless(&self) -> String {
        let mut listed: Vec<&str> = self.useless.iter().map(|(_, why)| why.as_str()).collect();
        listed.truncate(MAX_REASONS);
        let more = self.useless.len().saturating_sub(listed.len());
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{more}", listed.join("; "))
    }

    /// The end of a message about others that cannot be used.
    pub(super) fn beside(&self) -> String {
        if self.useless.is_empty() {
            String::new()
        } else {
            format!("; another scan cannot be used: {}", self.why_useless())
        }
    }
}

impl ScanRule {
    /// The scans of an artifact by whom the rule names.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn scans(&self, target: &Target, ask: &Ask<'_>) -> Result<Scans, Stop> {
        let trusted = ask.statements(target, &self.by, &TYPES.map(str::to_owned))?;
        let (mut usable, mut useless, mut others) = (Vec::new(), Vec::new(), BTreeSet::new());
        for fact in &trusted.facts {
            match Scan::read(fact, self, ask.now()) {
                Ok(scan) if self.is_of(&scan) => usable.push(scan),
                Ok(scan) => drop(others.insert(scan.scanner())),
                Err(why) => useless
                    .push((fact.clone(), format!("one signed by {}: {}", signer(fact), printable(&why)))),
            }
        }
        usable.sort_by_key(|scan| std::cmp::Reverse((scan.since(), scan.at)));
        Ok(Scans { usable, useless, others, trusted })
    }

    fn is_of(&self, scan: &Scan) -> bool {
        let of = |glob: &Glob| glob.matches(&scan.scan.scanner.uri);
        self.scanners.is_empty() || self.scanners.iter().any(of)
    }

    /// Whether the newest scan is fresh.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn fresh(&self, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let scans = self.scans(target, ask)?;
        Ok(self.fresh_of(&scans, ask.now()))
    }

    /// The same of scans that were asked for.
    pub(super) fn fresh_of(&self, scans: &Scans, now: Timestamp) -> Verdict {
        let Some(newest) = scans.usable.first() else { return scans.none() };
        if let Some(verdict) = scans.superseded(self) {
            return verdict;
        }
        let by = deciding([&newest.fact]);
        let found = format!("of {} by {}, signed by {}", newest.at, newest.scanner(), signer(&newest.fact));
        if let Some(limit) = self.max_age
            && now.duration_since(newest.at) > limit
        {
            let text = format!(
                "expected a scan not older than {limit:#}, found the newest {found}{}",
                scans.beside()
            );
            return Verdict::fail("scan_too_old", text, by);
        }
        if let Some(limit) = self.database_max_age {
            let updated = newest.scan.scanner.database_updated;
            let old =
                updated.is_none_or(|updated| updated > newest.at || now.duration_since(updated) > limit);
            if old {
                let age = updated.map_or_else(|| "no word of it".to_owned(), |at| format!("one of {at}"));
                let text = format!(
                    "expected a database of vulnerabilities not older than {limit:#}, found {age} in the scan {found}"
                );
                return Verdict::fail("database_too_old", text, by);
            }
        }
        let unclear = match &newest.scan.findings {
            Ok(_) => String::new(),
            Err(why) => format!("; what it found cannot be told: {}", printable(why)),
        };
        Verdict::pass(format!("a scan {found}{unclear}{}", scans.beside()), by)
    }

    /// The scans that count together: of each signer the newest, and beside it those of other scanners that are as fresh as
    /// they must be. Older ones are over, since statements gather beside an image and are never taken away.
    pub(super) fn counting<'a>(&self, usable: &'a [Scan]) -> Vec<&'a Scan> {
        let mut newest: BTreeMap<&[u8], Timestamp> = BTreeMap::new();
        let mut seen: BTreeMap<(&[u8], &str), ()> = BTreeMap::new();
        usable
            .iter()
            .filter(|scan| {
                let last = *newest.entry(&scan.signer).or_insert(scan.at);
                let first_of_scanner =
                    seen.insert((&scan.signer, scan.scan.scanner.uri.as_str()), ()).is_none();
                let fresh = self.max_age.is_none_or(|limit| last.duration_since(scan.at) <= limit);
                first_of_scanner && fresh
            })
            .collect()
    }
}
