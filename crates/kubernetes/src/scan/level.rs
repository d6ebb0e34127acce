//! The SLSA level of a build: from who signed its provenance and which builder that names, by a table of the settings. That
//! provenance is there says nothing of a level.

use std::collections::BTreeSet;

use countersign_attestation::Statement;
use countersign_attestation::predicate::provenance::{self, Provenance};
use countersign_http::text::printable;
use countersign_policy::{Ask, Fact, Stop, Who, bundle_of};

use super::look::{Look, Outcome, There};
use super::statements::{predicate, signer};

/// How many builders one message names.
const MAX_NAMED: usize = 3;

/// A build at a level.
struct Built {
    level: u8,
    builder: String,
    signer: String,
    source: String,
}

impl Look {
    /// Whether an image was built at the level that is asked for.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn level(&self, there: &There, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let provenance = &self.settings.provenance;
        let (mut best, mut others, mut stopped): (Option<Built>, BTreeSet<String>, Option<Stop>) =
            (None, BTreeSet::new(), None);
        let mut asked: Vec<&Who> = Vec::new();
        for root in &provenance.roots {
            if asked.contains(&&root.who) {
                continue;
            }
            asked.push(&root.who);
            let types = provenance::types().map(str::to_owned);
            match self.statements(std::slice::from_ref(&root.who), &types, ask) {
                Ok(trusted) => {
                    for fact in &trusted.facts {
                        match self.built(fact, &root.who) {
                            Ok(built) if best.as_ref().is_none_or(|best| built.level > best.level) => {
                                best = Some(built);
                            }
                            Ok(_) => {}
                            Err(why) => drop(others.insert(why)),
                        }
                    }
                }
                Err(Stop::Open) => stopped = Some(Stop::Open),
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        let wanted = provenance.level;
        match (best, stopped) {
            (Some(best), _) if best.level >= wanted => Ok(Outcome::pass(format!(
                "build level {} by {}, signed by {}{}",
                best.level, best.builder, best.signer, best.source
            ))),
            // Somebody else's provenance might be of a higher level.
            (_, Some(stop)) => Err(stop),
            (Some(best), None) => Ok(Outcome::fail(
                "level_too_low",
                format!(
                    "expected build level {wanted} or above, found {} by {}, signed by {}",
                    best.level, best.builder, best.signer
                ),
            )),
            (None, None) => Ok(unknown(wanted, &others, there)),
        }
    }

    /// The level of a build whose provenance somebody of these signed.
    ///
    /// # Errors
    /// In words, why there is none.
    fn built(&self, fact: &Fact, who: &Who) -> Result<Built, String> {
        let (kind, text) = predicate(fact)?;
        let read = Provenance::from_json(kind, text).map_err(|e| {
            format!("the provenance signed by {} cannot be read: {}", signer(fact), printable(&e.to_string()))
        })?;
        let builder = printable(&read.builder.id);
        let of = |root: &&super::ProvenanceRoot| {
            root.who == *who && root.builder.compile().is_ok_and(|pattern| pattern.matches(&read.builder.id))
        };
        let level = self.settings.provenance.roots.iter().filter(of).map(|root| root.level).max();
        let level = level.ok_or_else(|| {
            format!("{} signed for the builder {builder}, and no entry names the two together", signer(fact))
        })?;
        let source =
            read.source.map_or_else(String::new, |source| format!(", from {}", printable(&source.uri)));
        Ok(Built { level, builder, signer: signer(fact), source })
    }
}

/// Level 0, and how to come by another.
fn unknown(wanted: u8, others: &BTreeSet<String>, there: &There) -> Outcome {
    let claimed = claimed(there);
    if others.is_empty() && claimed.is_empty() {
        let text = format!("expected build level {wanted} or above, found 0: there is no provenance of it");
        return Outcome::fail("no_provenance", text);
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
    Outcome::fail("unknown_builder", text)
}

/// The builders that provenance names, whoever signed it.
fn claimed(there: &There) -> BTreeSet<String> {
    let types = provenance::types();
    let builder = |piece| {
        let bundle = bundle_of(piece)?.ok()?;
        let statement = Statement::from_json(&bundle.content.envelope()?.payload).ok()?;
        let kind = types.iter().find(|kind| **kind == statement.predicate_type)?;
        Some(Provenance::from_json(kind, statement.predicate?.get()).ok()?.builder.id)
    };
    there.evidence.found().iter().filter_map(builder).collect()
}
