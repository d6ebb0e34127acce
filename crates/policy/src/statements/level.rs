//! Provenance: the SLSA level of a build, from who signed it and which builder it names, by a table. That provenance is there
//! says nothing of a level.

use std::collections::{BTreeMap, BTreeSet};

use countersign_attestation::predicate::provenance::{self, Provenance};
use countersign_http::text::printable;
use countersign_slsa::Facts;
use countersign_slsa::git::{branch_reference, is_version, same_repository, tag_reference};
use countersign_slsa::roots::{self, Builder, Text};
use countersign_verify::Signer;
use countersign_x509::is_hosted_runner;
use jiff::SignedDuration;

use super::{Target, Verdict, deciding, note, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::{Authority, IdentityRule, KeySource, Who};
use crate::judge::Fact;
use crate::pattern::Pattern;

/// How many builders one message names.
const MAX_NAMED: usize = 3;

/// The highest level that is believed of a builder when somebody signs for it.
#[derive(Debug, Clone)]
pub struct Root {
    /// The builders.
    pub builder: Builder,
    /// Who signs.
    pub by: Authority,
    /// From 1 to 3.
    pub level: u8,
    /// Whether builds are believed on machines that the platform does not keep.
    pub self_hosted: bool,
}

impl Root {
    /// A root of trust as it is written, of somebody who was made of its signer. `None` for one that says nothing of levels.
    #[must_use]
    pub fn of(root: &roots::Root, mut by: Authority) -> Option<Self> {
        by.demands.log &= !root.unlogged;
        let &roots::Root { level, self_hosted, .. } = root;
        (level > 0).then(|| Self { builder: root.builder.clone(), by, level, self_hosted })
    }
}

impl Who {
    /// The signer of a root of trust.
    #[must_use]
    pub fn of_root(signer: &roots::Signer) -> Self {
        let pattern = |text: &Text| match text {
            Text::Exact(text) => Pattern::Exact(text.clone()),
            Text::Expression(text) => Pattern::Regex(text.clone()),
        };
        match signer {
            roots::Signer::Key(text) if text.contains("-----BEGIN") => {
                Self::Key(KeySource::Pem(text.clone()))
            }
            roots::Signer::Key(text) => Self::Key(KeySource::Reference(text.clone())),
            roots::Signer::Identity { subject, issuer } => Self::Identities(vec![IdentityRule {
                subject: pattern(subject),
                issuer: vec![pattern(issuer)],
                extensions: BTreeMap::new(),
            }]),
        }
    }
}

/// What a build must have been made from, and how. What is given must hold; what provenance does not say does not, and one that
/// contradicts itself says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The repository of the source.
    pub repository: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// The version that the tag is, from the left: `v1` is any of 1.
    pub versioned_tag: Option<String>,
    /// The type of the build.
    pub build_type: Option<String>,
    /// External parameters which the type of build does not have by what is known of it, and which are fine all the same.
    pub parameters: Vec<String>,
}

impl Origin {
    /// Whether provenance says so.
    ///
    /// # Errors
    /// In words, what was expected and what it says.
    pub fn check(&self, provenance: &Provenance, facts: &Facts) -> Result<(), String> {
        if let Some(contradiction) = &facts.contradiction {
            return Err(format!("it contradicts itself: {}", printable(contradiction)));
        }
        if *self == Self::default() {
            return Ok(());
        }
        let said = |text: &Option<String>| text.as_deref().map_or_else(|| "none".to_owned(), printable);
        if let Some(wanted) = &self.repository
            && !facts.repository.as_ref().is_some_and(|found| same_repository(wanted, found))
        {
            return Err(format!("expected the source {wanted}, found {}", said(&facts.repository)));
        }
        let branch = self.branch.as_deref().map(branch_reference);
        let tag = self.tag.as_deref().map(tag_reference);
        for (wanted, found) in [(branch, &facts.branch), (tag, &facts.reference)] {
            if wanted.is_some() && wanted != *found {
                return Err(format!("expected the source at {}, found {}", said(&wanted), said(found)));
            }
        }
        if let Some(wanted) = &self.versioned_tag
            && facts.reference.as_ref().is_none_or(|found| is_version(found, wanted) != Ok(true))
        {
            let found = said(&facts.reference);
            return Err(format!("expected the source at a tag of the version {wanted}, found {found}"));
        }
        let found = printable(&provenance.build_type);
        if let Some(wanted) = self.build_type.as_ref().filter(|wanted| **wanted != provenance.build_type) {
            return Err(format!("expected a build of the type {wanted}, found {found}"));
        }
        let unknown = |name: &&String| !self.parameters.contains(name);
        if let Some(name) = facts.unknown_parameters.iter().find(unknown) {
            let name = printable(name);
            return Err(format!(
                "expected external parameters that are known of builds of the type {found}, found {name}; name it in \
                 parameters if it may be chosen freely"
            ));
        }
        Ok(())
    }
}

/// What provenance must say.
#[derive(Debug, Clone)]
pub struct LevelRule {
    /// The least level that passes.
    pub level: u8,
    /// Pairs of signer and builder.
    pub roots: Vec<Root>,
    /// What it must have been built from, and how.
    pub origin: Origin,
    /// How old the statement may be.
    pub max_age: Option<SignedDuration>,
}

/// A build at a level.
struct Built<'f> {
    level: u8,
    builder: String,
    source: String,
    /// Whether it was built from what it should be; else why not.
    origin: Result<(), String>,
    fact: &'f Fact,
}

impl LevelRule {
    /// Whether it was built at the level that is asked for. `claimed` is asked for the builders that provenance beside it
    /// names, whoever signed that: for the message alone.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn judge(
        &self,
        target: &Target,
        ask: &Ask<'_>,
        claimed: &dyn Fn() -> BTreeSet<String>,
    ) -> Result<Verdict, Stop> {
        let (mut best, mut failed, mut stopped): (Option<Verdict>, Option<Verdict>, Option<Stop>) =
            (None, None, None);
        let mut others = BTreeSet::new();
        let mut asked: Vec<&Authority> = Vec::new();
        for root in &self.roots {
            if asked.iter().any(|by| same_evidence(by, &root.by)) {
                continue;
            }
            asked.push(&root.by);
            match self.by(&root.by, target, ask, &mut others) {
                Ok(Some(verdict)) if best.as_ref().is_none_or(|best| rank(&verdict) > rank(best)) => {
                    best = Some(verdict);
                }
                Ok(_) => {}
                Err(Refused::Verdict(verdict)) => failed = failed.or(Some(*verdict)),
                Err(Refused::Stop(stop)) => note(&mut stopped, stop),
            }
        }
        match (best, stopped) {
            (Some(best), _) if best.holds => Ok(best),
            // Somebody else's provenance might be of a higher level.
            (_, Some(stop)) => Err(stop),
            (Some(best), None) => Ok(best),
            (None, None) => Ok(failed.unwrap_or_else(|| unknown(self.level, &others, &claimed()))),
        }
    }

    /// The best that the newest provenance by one of the signers comes to.
    fn by(
        &self,
        by: &Authority,
        target: &Target,
        ask: &Ask<'_>,
        others: &mut BTreeSet<String>,
    ) -> Result<Option<Verdict>, Refused> {
        let types = provenance::types().map(str::to_owned);
        let trusted = ask.statements(target, std::slice::from_ref(by), &types).map_err(Refused::Stop)?;
        if trusted.facts.is_empty() {
            return Ok(None);
        }
        let current = trusted.current("provenance", self.max_age, ask.now(), |_| ());
        let current = current.map_err(|verdict| Refused::Verdict(Box::new(verdict)))?;
        let mut best: Option<Built<'_>> = None;
        for fact in current {
            match self.built(fact, by) {
                Ok(built) => {
                    let rank = |built: &Built<'_>| (built.origin.is_ok(), built.level);
                    if best.as_ref().is_none_or(|best| rank(&built) > rank(best)) {
                        best = Some(built);
                    }
                }
                Err(why) => drop(others.insert(why)),
            }
        }
        Ok(best.map(|built| self.verdict(&built)))
    }

    fn verdict(&self, built: &Built<'_>) -> Verdict {
        let Built { level, builder, source, origin, fact } = built;
        let by = signer(fact);
        let verdict = if let Err(why) = origin {
            let text = format!("{why}, in the provenance by {builder} that {by} signed");
            Verdict::fail("other_origin", text, deciding([*fact]))
        } else if *level >= self.level {
            let text = format!("build level {level} by {builder}, signed by {by}{source}");
            Verdict::pass(text, deciding([*fact]))
        } else {
            let wanted = self.level;
            let text =
                format!("expected build level {wanted} or above, found {level} by {builder}, signed by {by}");
            Verdict::fail("level_too_low", text, deciding([*fact]))
        };
        Verdict { level: Some(*level), ..verdict }
    }

    /// The level of a build whose provenance somebody of these signed.
    ///
    /// # Errors
    /// In words, why there is none.
    fn built<'f>(&self, fact: &'f Fact, by: &Authority) -> Result<Built<'f>, String> {
        let (kind, text) = predicate(fact)?;
        let read = Provenance::from_json(kind, text).map_err(|e| {
            format!("the provenance signed by {} cannot be read: {}", signer(fact), printable(&e.to_string()))
        })?;
        let builder = printable(&read.builder.id);
        let by_whom = fact.verified.signer();
        let facts = Facts::of(&read);
        let self_hosted = is_self_hosted(by_whom, &facts);
        let of = |root: &&Root| {
            same_evidence(&root.by, by)
                && root.builder.matches(&read.builder.id, by_whom.identity())
                && (root.self_hosted || !self_hosted)
        };
        let level = self.roots.iter().filter(of).map(|root| root.level).max();
        let level = level.ok_or_else(|| {
            format!("{} signed for the builder {builder}, and no entry names the two together", signer(fact))
        })?;
        // The authority vouches for what the certificate says of the build; whoever ran it may have written the provenance.
        let agreed = match by_whom {
            Signer::Certificate(certificate) => {
                countersign_slsa::agrees(certificate, &read, &facts).map_err(|why| printable(&why))
            }
            _ => Ok(()),
        };
        let origin = agreed.and_then(|()| self.origin.check(&read, &facts));
        let source =
            read.source.map_or_else(String::new, |source| format!(", from {}", printable(&source.uri)));
        Ok(Built { level, builder, source, origin, fact })
    }
}

/// Whether the forge or the builder says that the machine was somebody's own.
fn is_self_hosted(signer: &Signer, facts: &Facts) -> bool {
    let vouched = match signer {
        Signer::Certificate(certificate) => certificate.fulcio().get_by_name("runnerEnvironment"),
        _ => None,
    };
    let said = vouched.into_iter().chain(facts.runner.as_deref());
    said.into_iter().any(|runner| !is_hosted_runner(runner))
}

/// Whether what counts by one counts by the other: the same signer, with the same evidence beside the signature. A root that
/// does without a log says nothing of one that asks for it.
fn same_evidence(one: &Authority, other: &Authority) -> bool {
    one.who == other.who && one.demands == other.demands
}

/// What holds goes before what does not, and the higher level before the lower.
fn rank(verdict: &Verdict) -> (bool, Option<u8>) {
    (verdict.holds, verdict.level)
}

/// Why there is no build of one signer.
enum Refused {
    Verdict(Box<Verdict>),
    Stop(Stop),
}

/// Level 0, and how to come by another.
fn unknown(wanted: u8, others: &BTreeSet<String>, claimed: &BTreeSet<String>) -> Verdict {
    if others.is_empty() && claimed.is_empty() {
        let text = format!(
            "expected build level {wanted} or above, found 0: there is no provenance of it by a signer of the roots"
        );
        return Verdict::fail("no_provenance", text, Vec::new());
    }
    let why = if others.is_empty() {
        let named: Vec<String> = claimed.iter().take(MAX_NAMED).map(|name| printable(name)).collect();
        format!(
            "its provenance names the builder {}, and nobody of provenance.roots signed it",
            named.join(" and ")
        )
    } else {
        others.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ")
    };
    let builder = claimed.iter().next().map_or_else(|| "URI".to_owned(), |name| printable(name));
    let text = format!(
        "expected build level {wanted} or above, found 0: {why}. If that builder is trusted with this signer, add to \
         provenance.roots: {{builder: \"{builder}\", signer: {{subject: …, issuer: …}} or {{key: …}}, level: …}}"
    );
    Verdict::fail("unknown_builder", text, Vec::new())
}
