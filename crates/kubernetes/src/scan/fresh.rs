//! Scans for vulnerabilities: which of them count, and whether they are fresh.

use std::collections::BTreeMap;

use countersign_attestation::predicate::vulnerabilities::{TYPES, VulnerabilityScan};
use countersign_http::text::printable;
use countersign_policy::{Ask, Fact, Stop};
use jiff::Timestamp;

use super::look::{Look, Outcome};
use super::statements::{Trusted, believable, predicate, signed_at, signer, signer_key};

/// How many reasons one message gives.
const MAX_REASONS: usize = 3;

/// A scan that somebody trusted signed and whose time can be believed.
pub(super) struct Scan {
    pub(super) scan: VulnerabilityScan,
    /// When it ended.
    pub(super) at: Timestamp,
    /// Who signed it, for people.
    pub(super) by: String,
    signer: Vec<u8>,
}

impl Scan {
    fn read(fact: &Fact, now: Timestamp) -> Result<Self, String> {
        let (kind, text) = predicate(fact)?;
        let scan = VulnerabilityScan::from_json(kind, text).map_err(|e| e.to_string())?;
        let at = scan.finished.ok_or("it does not say when it ended")?;
        if scan.started.is_some_and(|started| started > at) {
            return Err("it says that it ended before it began".to_owned());
        }
        believable(at, signed_at(fact), now)?;
        Ok(Self { scan, at, by: signer(fact), signer: signer_key(fact) })
    }

    /// What made it, for people.
    pub(super) fn scanner(&self) -> String {
        match printable(&self.scan.scanner.uri) {
            uri if uri.is_empty() => "a scanner without a name".to_owned(),
            uri => uri,
        }
    }
}

/// The scans of an image.
pub(super) struct Scans {
    /// Those that can be used, the newest first.
    pub(super) usable: Vec<Scan>,
    /// Why others cannot.
    useless: Vec<String>,
    trusted: Trusted,
}

impl Scans {
    /// Why there is none that can be used.
    pub(super) fn none(&self) -> Outcome {
        if self.useless.is_empty() {
            let text = format!(
                "nobody knows its vulnerabilities: there is no scan that somebody trusted signed{}",
                self.trusted.why_none()
            );
            return Outcome::fail("no_scan", text);
        }
        let text = format!("no scan of it can be used: {}", self.why_useless());
        Outcome::fail("unusable_scan", text)
    }

    fn why_useless(&self) -> String {
        let mut listed: Vec<&str> = self.useless.iter().map(String::as_str).collect();
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

impl Look {
    /// The scans of an image by whom the settings name.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn scans(&self, ask: &Ask<'_>) -> Result<Scans, Stop> {
        let trusted = self.statements(&self.settings.scan_signers(), &TYPES.map(str::to_owned), ask)?;
        let (mut usable, mut useless) = (Vec::new(), Vec::new());
        for fact in &trusted.facts {
            match Scan::read(fact, ask.now()) {
                Ok(scan) => usable.push(scan),
                Err(why) => useless.push(format!("one signed by {}: {}", signer(fact), printable(&why))),
            }
        }
        usable.sort_by_key(|scan| std::cmp::Reverse(scan.at));
        Ok(Scans { usable, useless, trusted })
    }

    /// Whether the newest scan is fresh.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn fresh(&self, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let scans = self.scans(ask)?;
        let Some(newest) = scans.usable.first() else { return Ok(scans.none()) };
        let limit = self.settings.scan_max_age;
        let age = ask.now().duration_since(newest.at);
        let found = format!("of {} by {}, signed by {}", newest.at, newest.scanner(), newest.by);
        if age > limit {
            let text = format!(
                "expected a scan not older than {limit:#}, found the newest {found}{}",
                scans.beside()
            );
            return Ok(Outcome::fail("scan_too_old", text));
        }
        let unclear = match &newest.scan.findings {
            Ok(_) => String::new(),
            Err(why) => format!("; what it found cannot be told: {}", printable(why)),
        };
        Ok(Outcome::pass(format!("a scan {found}{unclear}{}", scans.beside())))
    }

    /// The scans that count together: of each signer the newest, and beside it those of other scanners that are as fresh as
    /// they must be. Older ones are over, since statements gather beside an image and are never taken away.
    pub(super) fn counting<'a>(&self, usable: &'a [Scan]) -> Vec<&'a Scan> {
        let mut newest: BTreeMap<&[u8], Timestamp> = BTreeMap::new();
        let mut seen: BTreeMap<(&[u8], &str), ()> = BTreeMap::new();
        usable
            .iter()
            .filter(|scan| scan.scan.findings.is_ok())
            .filter(|scan| {
                let last = *newest.entry(&scan.signer).or_insert(scan.at);
                let first_of_scanner =
                    seen.insert((&scan.signer, scan.scan.scanner.uri.as_str()), ()).is_none();
                first_of_scanner && last.duration_since(scan.at) <= self.settings.scan_max_age
            })
            .collect()
    }
}
